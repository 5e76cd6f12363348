"""Another user answers at the control port while Tor is down, and asks root for everything."""

import json
import os
import re
import shutil
import socket
import time
from pathlib import Path

import pytest

from tests.evidence import Thing, record
from tests.harness.attack import NOBODY, PUBLIC_PYTHON, as_nobody, exitpol, spawn_as_nobody
from tests.harness.tor import free_port, wait_until

THING = Thing.FAKE_CONTROL
pytestmark = [
    pytest.mark.root,
    pytest.mark.tor,
    pytest.mark.skipif(not PUBLIC_PYTHON, reason="no Python that every user may run"),
]

SECRET = os.urandom(32)
PASSWORD = "correct-horse-battery"
LIVE = re.compile(r"^[0-9.:]+ +live\b|[0-9] live\b", re.MULTILINE)
"""The state of a block, or a number of such blocks."""
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
ESCAPES = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e"
COMMANDS: list[tuple[str, ...]] = [
    ("status",),
    ("status", "--check", "--json"),
    ("check", "203.0.113.7:80"),
    ("block", "203.0.113.9", "--until", "1d", "--no-wait"),
    ("lift", "203.0.113.2", "--json"),
    ("apply",),
    ("tick",),
    ("doctor",),
    ("doctor", "--json"),
    ("init",),
    ("list",),
]
METHODS = {
    "NULL": "NULL",
    "COOKIE": 'COOKIE COOKIEFILE="{secret}"',
    "SAFECOOKIE": 'SAFECOOKIE COOKIEFILE="{secret}"',
    "both cookies": 'COOKIE,SAFECOOKIE COOKIEFILE="{secret}"',
    "the real cookie": 'COOKIE,SAFECOOKIE COOKIEFILE="{cookie}"',
    "HASHEDPASSWORD": "HASHEDPASSWORD",
    "everything": 'COOKIE,SAFECOOKIE,HASHEDPASSWORD,NULL COOKIEFILE="{secret}"',
}

QUICK = [("both cookies", True)]
"""What runs with the other tests; scripts/prove runs all."""


class Stage:
    """A relay that is down, and nobody's program at its control port."""

    def __init__(self, base: Path, *, unix: bool) -> None:
        self.base = base
        self.config = base / "config.yaml"
        self.log = base / "nobody" / "log"
        self.proof = base / "nobody" / "proof"
        (base / "nobody").mkdir()
        os.chown(base / "nobody", NOBODY, NOBODY)
        (base / "data").mkdir(mode=0o700)
        self.cookie = base / "data" / "control_auth_cookie"
        self.secret = base / "secret"
        for path, content in ((self.secret, SECRET), (self.cookie, os.urandom(32))):
            path.write_bytes(content)
            path.chmod(0o600)
        password = base / "password"
        password.write_text(f"{PASSWORD}\n")
        password.chmod(0o600)
        self.address = str(base / "nobody" / "control") if unix else str(free_port())
        control = self.address if unix else f"127.0.0.1:{self.address}"
        fragment = base / "exitpol.conf"
        fragment.write_text("ExitPolicy reject 203.0.113.2:*\n")
        (base / "torrc").write_text(
            f"DataDirectory {base}/data\nORPort 127.0.0.1:auto\nExitRelay 1\nSocksPort 0\n"
            f"ControlPort {control if not unix else f'unix:{control}'}\nCookieAuthentication 1\n"
            f"%include {fragment}\n"
        )
        (base / "var").mkdir()
        (base / "var" / "blocks.yaml").write_text(
            "version: 1\nblocks:\n"
            '- {destination: "203.0.113.2", since: "2026-01-01", until: never}\n'
        )
        self.config.write_text(
            "ledger: var/blocks.yaml\nfragment: exitpol.conf\nrelays:\n- {name: demo, torrc: torrc,"
            f' control: "{control}", password_file: {password}}}\n'
        )

    def script(self, method: str, *, honest: bool) -> str:
        """Return what the fake answers; an `honest` one names the relay's own torrc."""
        methods = METHODS[method].format(secret=self.secret, cookie=self.cookie)
        evil = self.base / "nobody" / "defaults"
        named = self.base / "torrc" if honest else self.base / "nobody" / "torrc"
        return json.dumps(
            {
                "PROTOCOLINFO": f"250-PROTOCOLINFO 1\r\n250-AUTH METHODS={methods}\r\n"
                '250-VERSION Tor="0.4.9.11"\r\n250 OK\r\n',
                "AUTHCHALLENGE": f"250 AUTHCHALLENGE SERVERHASH={'A' * 64}"
                f" SERVERNONCE={'B' * 64}\r\n",
                "GETINFO version": f"250-version=0.4.9.11{ESCAPES}\r\n250 OK\r\n",
                "GETINFO process/pid": "250-process/pid={pid}\r\n250 OK\r\n",
                "GETINFO config-file": f"250-config-file={named}\r\n250 OK\r\n",
                "GETINFO config-defaults-file": f"250-config-defaults-file={evil}\r\n250 OK\r\n",
                "GETINFO exit-policy/full": f"551 {ESCAPES}gone\r\n",
            }
        )

    def lost(self, method: str, *command: str) -> list[str]:
        """Run one command against the fake; return what went wrong."""
        before = (self.base / "exitpol.conf").read_bytes()
        self.log.unlink(missing_ok=True)
        done = exitpol(self.config, *command)
        sent = self.log.read_bytes() if self.log.exists() else b""
        proof = self.proof.read_text() if self.proof.exists() else ""
        self.proof.unlink(missing_ok=True)
        reading = command[0] in ("status", "check", "doctor", "list")
        losses = {
            "": done.fault,
            "ran nobody's program": proof,
            "sent the secret": says(sent, SECRET),
            "sent the cookie": says(sent, self.cookie.read_bytes()),
            "sent the password": says(sent, PASSWORD.encode()),
            "authenticates": b"AUTHENTICATE" in sent,
            "gives orders": b"SIGNAL" in sent or b"SETCONF" in sent,
            "shows control characters": CONTROLS.search(done.output),
            "believes a block to be live": LIVE.search(done.output),
            "changed the fragment": reading and (self.base / "exitpol.conf").read_bytes() != before,
        }
        what = f"{method}, {' '.join(command)}"
        return [f"{what}: {loss} {sent!r} {done} {proof}" for loss, bad in losses.items() if bad]


def says(sent: bytes, secret: bytes) -> bool:
    """Tell whether a secret was sent, as it is or in hexadecimal digits."""
    return secret in sent or secret.hex().encode() in sent.lower()


@pytest.mark.parametrize("unix", [True, False], ids=["unix socket", "TCP port"])
@pytest.mark.parametrize(
    ("method", "honest"),
    [
        pytest.param(method, honest, marks=() if (method, honest) in QUICK else pytest.mark.slow)
        for method in METHODS
        for honest in (True, False)
    ],
)
def test_nobody_at_the_control_port_gets_nothing(
    open_folder: Path, method: str, *, honest: bool, unix: bool
) -> None:
    """No secret is sent, no program is run, no answer is believed or reaches the terminal."""
    stage = Stage(open_folder, unix=unix)
    # The program of the process is the attacker's choice, and so is its first argument.
    evil = open_folder / "nobody" / "tor"
    source = open_folder / "fake_tor.py"
    shutil.copy(Path(__file__).parents[1] / "harness" / "fake_tor.py", source)
    source.chmod(0o644)
    evil_text = f'#!/bin/sh\necho "$(id -u) $*" >> {stage.proof}\nexit 1\n'
    as_nobody("sh", "-c", f"cat > {evil} <<'X'\n{evil_text}X\nchmod 755 {evil}")
    start = f'exec -a {evil} {PUBLIC_PYTHON} {source} "$@"'
    script = stage.script(method, honest=honest)
    process = spawn_as_nobody("bash", "-c", start, "bash", stage.address, str(stage.log), script)
    try:
        wait_until(lambda: listens(stage.address))
        lost = [loss for command in COMMANDS for loss in stage.lost(method, *command)]
    finally:
        process.kill()
        process.wait()
    assert lost == []
    record(THING, len(COMMANDS))


def listens(address: str) -> bool:
    """Tell whether somebody listens at a socket's path or a TCP port."""
    family = socket.AF_UNIX if address.startswith("/") else socket.AF_INET
    with socket.socket(family) as probe:
        probe.settimeout(1)
        target = address if address.startswith("/") else ("127.0.0.1", int(address))
        if probe.connect_ex(target) != 0:
            time.sleep(0.05)
            return False
        return True
