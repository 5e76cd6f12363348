"""A host with a real Tor exit and exitpol set up on it, in a folder of its own."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from exitpolicy import tick
from exitpolicy.cli.app import run
from exitpolicy.core.destination import parse_destination
from exitpolicy.policy.evaluate import Decisions
from exitpolicy.policy.rule import Rule, parse_descriptor
from exitpolicy.storage.config import Relay
from exitpolicy.tor.control import NotAnsweredError, connect
from exitpolicy.tor.sockets import answers
from tests.tor_process import TOR, wait_until


@dataclass(frozen=True)
class Outcome:
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:  # noqa: ANN401 - whatever stands there
        """The one JSON object on stdout."""
        return json.loads(self.out)


class TorExit:
    """A real Tor of its own torrc, which may be started, stopped and killed."""

    def __init__(self, folder: Path, name: str, options: Iterable[str]) -> None:
        self.name = name
        self.folder = folder / name
        self.torrc = self.folder / "torrc"
        self.socket = self.folder / "control" / "socket"
        self._process: subprocess.Popen[bytes] | None = None
        for part in ("data", "control"):
            (self.folder / part).mkdir(mode=0o700, parents=True)
        self.torrc.write_text(
            "".join(
                f"{line}\n"
                for line in (
                    f"DataDirectory {self.folder}/data",
                    f"ControlSocket {self.socket}",
                    "CookieAuthentication 1",
                    "TestingTorNetwork 1",
                    "DirAuthority fake orport=9 127.0.0.1:9 " + "0" * 40,
                    "Address 127.0.0.1",
                    "ORPort 127.0.0.1:auto",
                    "AssumeReachable 1",
                    "PublishServerDescriptor 0",
                    "DirCache 0",
                    "SocksPort 0",
                    "ExitPolicyRejectPrivate 1",
                    f"Log notice file {self.folder}/log",
                    *options,
                )
            )
        )

    def start(self, *, until_it_exits: bool = True) -> None:
        """Start it and wait until it answers, and until it has a policy if that is wanted."""
        self._process = subprocess.Popen(
            [TOR, "-f", str(self.torrc), "--defaults-torrc", "/dev/null", "--quiet"]
        )
        wait_until(lambda: answers(self.relay))
        if until_it_exits:
            wait_until(lambda: self.policy_text() is not None)

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self) -> None:
        """Kill it, stopped or not."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self.socket.unlink(missing_ok=True)
            self._process = None

    def policy_text(self) -> str | None:
        """Return the enforced policy, None while there is none."""
        with connect(self.relay) as control:
            try:
                return control.get_info("exit-policy/full")
            except NotAnsweredError:
                return None

    def policy(self) -> tuple[Rule, ...]:
        """Return the enforced policy."""
        text = self.policy_text()
        assert text is not None
        return parse_descriptor(text)

    def rejects(self, address: str, port: int = 80) -> bool:
        """Tell by its enforced policy whether it refuses a connection."""
        bracketed = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        decisions = Decisions(self.policy())
        return not any(map(decisions.accepts, decisions.deciding(parse_destination(bracketed))))

    @property
    def relay(self) -> Relay:
        """The relay as a config names it."""
        return Relay(self.name, self.torrc, str(self.socket))

    def log(self) -> str:
        """Return its log."""
        path = self.folder / "log"
        return path.read_text() if path.exists() else ""

    def add(self, *lines: str) -> None:
        """Append lines to its torrc."""
        with self.torrc.open("a") as file:
            file.writelines(f"{line}\n" for line in lines)


class ExitHost:
    """Relays and a config; commands run in this process unless said otherwise."""

    def __init__(self, folder: Path, relays: list[TorExit], extra: str = "") -> None:
        self.folder = folder
        self.relays = relays
        self.config = folder / "config.yaml"
        self.ledger = folder / "var" / "blocks.yaml"
        self.fragment = folder / "exitpol.conf"
        listed = "".join(
            f'- {{name: "{r.name}", torrc: "{r.torrc}", control: "{r.socket}"}}\n' for r in relays
        )
        self.config.write_text(
            f"ledger: var/blocks.yaml\nfragment: exitpol.conf\nrelays:\n{listed}{extra}"
        )

    @property
    def tor(self) -> TorExit:
        """The first relay."""
        return self.relays[0]

    @property
    def state(self) -> Path:
        """What the tick reads."""
        return self.ledger.with_name("state")

    def run(self, *arguments: str, stdin: str | None = None) -> Outcome:
        """Run a command in this process."""
        out, err = StringIO(), StringIO()
        old = sys.stdin
        if stdin is not None:
            sys.stdin = StringIO(stdin)
        try:
            with redirect_stdout(out), redirect_stderr(err):
                code = run(["--config", str(self.config), *arguments])
        finally:
            sys.stdin = old
        return Outcome(int(code), out.getvalue(), err.getvalue())

    def spawn(self, *arguments: str) -> "subprocess.Popen[str]":
        """Run a command in a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "exitpolicy", "--config", str(self.config), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def tick(self) -> Outcome:
        """Run the tick as the timer does."""
        command = [sys.executable, "-m", "exitpolicy", "--config", str(self.config)]
        result = subprocess.run(
            [
                *(sys.executable, "-I", "-S", tick.__file__, str(self.state), "--"),
                *(*command, "expire", "--quiet"),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        return Outcome(result.returncode, result.stdout, result.stderr)

    def snapshot(self) -> dict[str, bytes]:
        """Return all files of exitpol's and the operator's, to see whether any changed."""
        found = [self.config, self.fragment, *(r.torrc for r in self.relays)]
        found += sorted(self.ledger.parent.glob("*")) if self.ledger.parent.exists() else []
        return {str(p): p.read_bytes() for p in found if p.exists() and p != self.state}


HostMaker = Callable[..., ExitHost]


@contextmanager
def host_maker(folder: Path) -> Iterator[HostMaker]:
    """Give a function that makes hosts; all of their Tors are killed in the end."""
    made: list[TorExit] = []

    def make(
        options: Iterable[str] = ("ExitRelay 1",),
        *more: Iterable[str],
        start: bool = True,
        init: bool = True,
        extra: str = "",
    ) -> ExitHost:
        """Return a host with a relay for each list of torrc options."""
        names = ["default", "second", "third"]
        relays = [
            TorExit(folder, name, lines)
            for name, lines in zip(names, (options, *more), strict=False)
        ]
        made.extend(relays)
        host = ExitHost(folder, relays, extra)
        if start:
            for relay in relays:
                relay.start()
        if init:
            done = host.run("init")
            assert done.code == 0, done
        return host

    old = os.environ.pop("EXITPOL_CONFIG", None)
    try:
        yield make
    finally:
        for relay in made:
            relay.stop()
        if old is not None:
            os.environ["EXITPOL_CONFIG"] = old


@pytest.fixture
def make_host(tmp_path: Path) -> Iterator[HostMaker]:
    """Make hosts in the test's own folder."""
    with host_maker(tmp_path) as make:
        yield make
