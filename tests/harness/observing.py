"""What scripts in a booted Debian share. Needs the standard library only."""

import json
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

RESULT = Path("/proof/result.json")


def run(*command: str) -> dict[str, Any]:
    """Run a command and return what it came to, with its seconds."""
    begun = time.monotonic()
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    return {
        "code": done.returncode,
        "stdout": done.stdout,
        "stderr": done.stderr,
        "seconds": time.monotonic() - begun,
    }


def enforced(folder: str = "/run/tor") -> str:
    """Return the policy that the Tor with its control socket in a folder enforces."""
    with socket.socket(socket.AF_UNIX) as control:
        control.settimeout(10)
        control.connect(f"{folder}/control")
        cookie = Path(folder, "control.authcookie").read_bytes().hex()
        control.sendall(f"AUTHENTICATE {cookie}\r\nGETINFO exit-policy/full\r\nQUIT\r\n".encode())
        answer = b""
        while chunk := control.recv(65536):
            answer += chunk
    return answer.decode()


def wait_for_tor(folder: str = "/run/tor") -> None:
    """Wait until Tor has made its policy."""
    deadline = time.time() + 30
    while time.time() < deadline:
        try:
            if "accept *:*" in enforced(folder):
                return
        except OSError:
            pass  # It has not opened its control port yet.
        time.sleep(0.2)


def soon(seconds: float) -> str:
    """Return the time in so many seconds as exitpol reads it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))


def observe(main: Callable[[dict[str, Any]], None]) -> None:
    """Run a script's steps, write its observations, and end the machine."""
    RESULT.write_text('{"started": true}')
    seen: dict[str, Any] = {"started": True}
    try:
        main(seen)
    except BaseException as error:
        seen["error"] = repr(error)
        raise
    finally:
        RESULT.write_text(json.dumps(seen, indent=1))
        subprocess.run(["/usr/bin/systemctl", "exit", "0"], check=False)
