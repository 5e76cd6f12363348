"""A real Tor process of a test: its torrc, its life and its control port.

Every Tor of the tests stays on loopback: its only directory authority is a fake one, or one of the
test's own network. So it never reaches the Tor network.
"""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self, TypeVar

from exitpolicy.core.destination import parse_destination
from exitpolicy.policy.evaluate import Decisions
from exitpolicy.policy.rule import Rule, parse_descriptor
from exitpolicy.storage.config import Relay

TOR: Final = shutil.which("tor") or shutil.which("tor", path="/usr/sbin:/usr/bin:/sbin") or ""
TOR_GENCERT: Final = shutil.which("tor-gencert") or ""

PATIENCE: Final = 30.0
"""Seconds that a test waits for something that takes about a second."""

LOOPBACK: Final = """\
TestingTorNetwork 1
Address 127.0.0.1
AssumeReachable 1
ShutdownWaitLength 0
DisableDebuggerAttachment 0
"""
"""The torrc lines of every Tor."""

COMMON: Final = f"""\
{LOOPBACK}DataDirectory {{folder}}/data
PidFile {{folder}}/pid
Log notice file {{folder}}/log
ControlSocket {{folder}}/control/socket
CookieAuthentication 1
"""
"""The torrc lines of every Tor that has its files in one folder."""

ALONE: Final = f"""\
DirAuthority fake orport=9 127.0.0.1:9 {"0" * 40}
ORPort 127.0.0.1:auto IPv4Only
Nickname alone
ContactInfo proof@example.org
SocksPort 0
PublishServerDescriptor 0
DirCache 0
"""
"""The torrc lines of a relay that has no network, but makes its policy."""

T = TypeVar("T")


class HarnessError(RuntimeError):
    """A Tor of the test does not do what the test needs."""


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on at this moment.

    The port is below those that the kernel gives to outgoing connections: a Tor that starts 10 s
    later would sometimes find such a port taken.
    """
    while True:
        port = 10_000 + secrets.randbelow(20_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def wait_until(
    probe: Callable[[], T | None],
    seconds: float = PATIENCE,
    what: str = "the condition",
    pause: float = 0.02,
) -> T:
    """Return the first truthy result of `probe`; raise HarnessError after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        if result := probe():
            return result
        if time.monotonic() > deadline:
            raise HarnessError(f"not within {seconds:g} s: {what}")
        time.sleep(pause)


class ControlPort:
    """A connection to a Tor's control port that never waits longer than it says.

    Not that of exitpol: what the tests observe must not depend on what they test.
    """

    def __init__(self, path: Path, cookie: Path | None, timeout: float = 10) -> None:
        """Connect, and authenticate with the cookie unless it is None."""
        self.timeout = timeout
        self._events: deque[str] = deque()
        self._buffer = b""
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.settimeout(timeout)
            self._socket.connect(str(path))
            if cookie is not None:
                self.ask(f"AUTHENTICATE {cookie.read_bytes().hex()}")
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def ask(self, command: str) -> list[str]:
        """Send one command and return the lines of its 2xx reply; HarnessError for any other."""
        self._socket.sendall(command.encode() + b"\r\n")
        deadline = time.monotonic() + self.timeout
        while (reply := self._reply(deadline))[0].startswith("650"):
            self._events.append(reply[0])
        if not reply[-1].startswith("2"):
            raise HarnessError(f"{command[:60]!r}: {reply[-1]}")
        return reply

    def info(self, key: str) -> str:
        """Return the value of one GETINFO key."""
        lines = self.ask(f"GETINFO {key}")
        if lines[0].startswith("250+"):
            return "\n".join(lines[1:-1])
        return lines[0].partition("=")[2]

    def conf(self, key: str) -> list[str]:
        """Return the values of one option (GETCONF), one for each of its lines."""
        lines = [line[4:].partition("=") for line in self.ask(f"GETCONF {key}")]
        return [value for _, equals, value in lines if equals]

    def event(self, deadline: float) -> str | None:
        """Return the next asynchronous event's first line; None when the deadline passes."""
        if self._events:
            return self._events.popleft()
        try:
            return self._reply(deadline)[0]
        except TimeoutError:
            return None

    def _reply(self, deadline: float) -> list[str]:
        lines: list[str] = []
        data = False
        while True:
            line = self._line(deadline)
            if data:
                data = line != "."
                if data:
                    lines.append(line[1:] if line.startswith("..") else line)
                continue
            lines.append(line)
            data = line[3:4] == "+"
            if line[3:4] == " ":
                return lines

    def _line(self, deadline: float) -> str:
        while b"\r\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._socket.settimeout(left)
            chunk = self._socket.recv(65536)
            if not chunk:
                raise HarnessError("Tor closed the control connection")
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line.decode("utf-8", "replace")


@dataclass
class Tor:
    """One tor process with a folder of its own.

    `torrc_text` is written by `prepare` only: a test that writes `torrc` itself changes what a
    running Tor reads at its next reload.
    """

    name: str
    folder: Path
    torrc_text: str
    process: subprocess.Popen[bytes] | None = None
    defaults: Path = Path(os.devnull)
    """The defaults-torrc; Debian's units name one that says where the relay's files are."""

    @classmethod
    def alone(cls, folder: Path, lines: Iterable[str], name: str = "alone") -> Self:
        """Return a relay without a network that has these torrc lines besides its own."""
        text = COMMON.format(folder=folder) + ALONE
        return cls(name, folder, text + "".join(f"{line}\n" for line in lines))

    @property
    def torrc(self) -> Path:
        """The configuration file that the process was started with."""
        return self.folder / "torrc"

    @property
    def control_socket(self) -> Path:
        """The control port's socket."""
        return self.folder / "control" / "socket"

    @property
    def cookie(self) -> Path:
        """The control port's cookie."""
        return self.folder / "data" / "control_auth_cookie"

    @property
    def relay(self) -> Relay:
        """The relay as exitpol's config names it."""
        return Relay(self.name, self.torrc, str(self.control_socket))

    @property
    def command(self) -> list[str]:
        """The command line, without the host's own defaults."""
        return [TOR, "-f", str(self.torrc), "--defaults-torrc", str(self.defaults), "--hush"]

    def prepare(self) -> None:
        """Write the folders and the torrc."""
        for folder in (self.folder, self.folder / "data", self.folder / "control"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.torrc.write_text(self.torrc_text)

    def add(self, *lines: str) -> None:
        """Append lines to the torrc."""
        with self.torrc.open("a") as file:
            file.writelines(f"{line}\n" for line in lines)

    def fingerprint(self) -> str:
        """Make the relay's keys where there are none yet, and return the fingerprint."""
        subprocess.run(
            [*self.command, "--list-fingerprint"], check=True, capture_output=True, timeout=60
        )
        return (self.folder / "data" / "fingerprint").read_text().split()[1]

    def start(self, *, with_policy: bool = True, seconds: float = PATIENCE) -> None:
        """Start the process; wait until it answers and, `with_policy`, until it has a policy.

        Waits at most `seconds` for each of them.
        """
        with (self.folder / "output").open("ab") as output:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        self._wait(self._ready, "opens its control port", seconds)
        if with_policy:
            self._wait(self.has_policy, "has a policy", seconds)

    def _wait(self, probe: Callable[[], bool], what: str, seconds: float) -> None:
        try:
            wait_until(probe, seconds, what)
        except HarnessError as error:
            self.stop()
            raise HarnessError(f"{self.name}: {error}\n{self.log()}") from error

    def _ready(self) -> bool:
        if self.process is not None and self.process.poll() is not None:
            raise HarnessError(f"ended with {self.process.returncode}")
        with (
            contextlib.suppress(OSError, HarnessError),
            ControlPort(self.control_socket, None) as c,
        ):
            return bool(c.ask("PROTOCOLINFO 1"))
        return False

    def has_policy(self) -> bool:
        """Tell whether Tor has built its policy and its descriptor."""
        with contextlib.suppress(OSError, HarnessError), self.control() as control:
            return bool(control.info("exit-policy/full"))
        return False

    def control(self, timeout: float = 10) -> ControlPort:
        """Open an authenticated control connection."""
        return ControlPort(self.control_socket, self.cookie, timeout)

    @property
    def alive(self) -> bool:
        """Whether the process that was started still runs."""
        return self.process is not None and self.process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        assert self.process is not None
        self.process.send_signal(number)

    def log(self) -> str:
        """Return the end of what the process has written so far."""
        texts = (self.folder / "output", self.folder / "log")
        return "".join(p.read_text(errors="replace") for p in texts if p.exists())[-8000:]

    def verifies(self) -> subprocess.CompletedProcess[bytes]:
        """Let a second tor verify what the process would read now."""
        return subprocess.run(
            [*self.command[:-1], "--verify-config"], check=False, capture_output=True, timeout=60
        )

    def policy(self) -> list[str]:
        """Return the rules that the process enforces, as Tor writes them."""
        with self.control() as control:
            return control.info("exit-policy/full").splitlines()

    def rules(self) -> tuple[Rule, ...]:
        """Return the rules that the process enforces."""
        return parse_descriptor("\n".join(self.policy()))

    def rejects(self, address: str, port: int = 80) -> bool:
        """Tell by the enforced policy whether Tor refuses a connection."""
        bracketed = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        decisions = Decisions(self.rules())
        return not any(map(decisions.accepts, decisions.deciding(parse_destination(bracketed))))

    def descriptor(self) -> bytes:
        """Return the relay's own descriptor; empty while there is none."""
        with contextlib.suppress(HarnessError), self.control() as control:
            return control.info("dir/server/authority").encode()
        return b""

    def reload(self) -> None:
        """Have the process read its configuration again."""
        with self.control() as control:
            control.ask("SIGNAL RELOAD")

    def reload_and_wait(self, seconds: float = 10) -> None:
        """Reload after a change of the policy, until the new one is enforced."""
        with self.control() as control:
            control.ask("SETEVENTS DESCCHANGED")
            control.ask("SIGNAL RELOAD")
            if control.event(time.monotonic() + seconds) is None:
                raise HarnessError("no DESCCHANGED after the reload")

    def set_policy(self, policy: Iterable[str]) -> None:
        """Replace the ExitPolicy lines of the torrc, reload, and wait for a new descriptor."""
        before = self.descriptor()
        lines = self.torrc.read_text().splitlines()
        kept = [line for line in lines if not line.startswith("ExitPolicy ")]
        kept += [f"ExitPolicy {rule}" for rule in policy]
        self.torrc.write_text("".join(f"{line}\n" for line in kept))
        self.reload()
        wait_until(lambda: self.descriptor() not in (b"", before), what="a new descriptor")

    def stop(self) -> None:
        """Kill the process, by its id; a stopped one (SIGSTOP) too."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
            self.control_socket.unlink(missing_ok=True)


@contextmanager
def lone_tor(folder: Path, policy: Iterable[str], options: Iterable[str] = ()) -> Iterator[Tor]:
    """Run an exit with a policy and more torrc lines until the block ends; it has no network."""
    tor = Tor.alone(
        folder / "tor", ["ExitRelay 1", *options, *(f"ExitPolicy {rule}" for rule in policy)]
    )
    tor.prepare()
    tor.start()
    try:
        wait_until(tor.descriptor, what="a descriptor")
        yield tor
    finally:
        tor.stop()


def close_log(path: Path) -> None:
    """Put a socket in place of a log: Tor cannot open it again, whatever its mode says."""
    path.unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


if __name__ == "__main__":
    # scripts/demo: FOLDER LINE...
    demo = Tor.alone(Path(sys.argv[1]), sys.argv[2:], "demo")
    demo.prepare()
