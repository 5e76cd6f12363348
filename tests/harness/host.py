"""A host with real Tor exits, and exitpol set up on it, in a folder of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, Final, Self

from exitpolicy import tick
from exitpolicy.cli.app import run
from tests.harness.tor import Tor

EXITPOL: Final = (sys.executable, "-m", "exitpolicy")


@dataclass(frozen=True)
class Outcome:
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:  # noqa: ANN401 - any JSON value
        """The one JSON object on stdout."""
        return json.loads(self.out)


class ExitHost:
    """Relays and a config; commands run in this process unless the method says otherwise."""

    def __init__(self, folder: Path, relays: list[Tor], extra: str = "") -> None:
        self.folder = folder
        self.relays = relays
        self.config = folder / "config.yaml"
        self.ledger = folder / "var" / "blocks.yaml"
        self.fragment = folder / "exitpol" / f"{relays[0].name}.conf"
        """That of the first relay."""
        self.fragment.parent.mkdir(mode=0o755, exist_ok=True)
        listed = "".join(
            f'- {{name: "{r.name}", torrc: "{r.torrc}", control: "{r.control_socket}"}}\n'
            for r in relays
        )
        self.config.write_text(
            f"ledger: var/blocks.yaml\nfragments: exitpol\nrelays:\n{listed}{extra}"
        )

    @property
    def tor(self) -> Tor:
        """The first relay."""
        return self.relays[0]

    @property
    def state(self) -> Path:
        """The file that the tick reads."""
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
            [*EXITPOL, "--config", str(self.config), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @property
    def metrics(self) -> Path:
        """The file of metrics, where the config names one."""
        return self.folder / "textfile" / "exitpol.prom"

    def tick(self, *metrics: Path) -> Outcome:
        """Run the tick as the timer does, with the file of metrics if the config names one."""
        result = subprocess.run(
            [
                *(
                    sys.executable,
                    "-I",
                    "-S",
                    tick.__file__,
                    str(self.state),
                    *map(str, metrics),
                    "--",
                ),
                *(*EXITPOL, "--config", str(self.config), "expire", "--quiet"),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        return Outcome(result.returncode, result.stdout, result.stderr)

    def snapshot(self) -> dict[str, bytes]:
        """Return the content of every file of exitpol and the operator, to see what changed.

        The empty files of locks are left out: a command that changes nothing takes them as well.
        """
        found = [self.config, *(r.torrc for r in self.relays)]
        found += sorted(self.fragment.parent.glob("[!.]*"))
        found += sorted(self.ledger.parent.glob("*")) if self.ledger.parent.exists() else []
        found = [p for p in found if p != self.state and p.suffix != ".lock"]
        return {str(p): p.read_bytes() for p in found if p.exists()}


HostMaker = Callable[..., ExitHost]


@contextmanager
def host_maker(folder: Path) -> Iterator[HostMaker]:
    """Give a function that makes hosts; all of their Tors are killed in the end."""
    made: list[Tor] = []

    def make(
        options: Iterable[str] = ("ExitRelay 1",),
        *more: Iterable[str],
        start: bool = True,
        init: bool = True,
        extra: str = "",
    ) -> ExitHost:
        """Return a host with a relay for each list of torrc lines."""
        names = ["default", "second", "third"]
        relays = [
            Tor.alone(folder / name, ["ExitPolicyRejectPrivate 1", *lines], name)
            for name, lines in zip(names, (options, *more), strict=False)
        ]
        made.extend(relays)
        for relay in relays:
            relay.prepare()
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


class Operated:
    """One exit that includes a fragment already; commands run in a process of their own."""

    folder: Path
    exit: Tor
    fragment: Path
    """The file that the exit's torrc includes; empty at first."""

    @property
    def ledger(self) -> Path:
        """The ledger that the config names; `exitpol init` makes it."""
        return self.folder / "ledger" / "blocks.yaml"

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which exitpol runs."""
        return {**os.environ, "EXITPOL_CONFIG": str(self.folder / "config.yaml"), "NO_COLOR": "1"}

    def write_config(self, more: str = "") -> None:
        """Write exitpol's config for this exit."""
        (self.folder / "config.yaml").write_text(
            f"ledger: {self.ledger}\nfragments: {self.fragment.parent}\nrelays:\n- {{name: exit,"
            f" torrc: {self.exit.torrc}, control: {self.exit.control_socket}}}\n{more}"
        )

    def run(
        self, *arguments: str, seconds: float = 60, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run `exitpol` for this exit, as an operator would."""
        return subprocess.run(
            [*EXITPOL, *arguments],
            env={**self.environment, **(environment or {})},
            stdin=subprocess.DEVNULL, capture_output=True, check=False, text=True, timeout=seconds,
        )  # fmt: skip

    def background(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start `exitpol` without waiting for it."""
        return subprocess.Popen(
            [*EXITPOL, *arguments], env=self.environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def rejected(self) -> set[str]:
        """Return what the exit rejects now, as rules without their action."""
        policy = self.exit.policy()
        return {rule.partition(" ")[2] for rule in policy if rule.startswith("reject")}


class LoneExit(Operated):
    """One exit that has no network but makes its policy: up in about a second."""

    def __init__(
        self,
        folder: Path,
        options: str = "ExitRelay 1\nIPv6Exit 1\nExitPolicyRejectPrivate 0\n",
        policy: str = "ExitPolicy accept *:*\n",
    ) -> None:
        self.folder = folder
        self.fragment = folder / "exitpol" / "exit.conf"
        self.fragment.parent.mkdir(mode=0o755, exist_ok=True)
        self.fragment.write_text("")
        lines = [*options.splitlines(), f"%include {self.fragment}", *policy.splitlines()]
        self.exit = Tor.alone(folder / "exit", lines, "exit")

    def __enter__(self) -> Self:
        self.exit.prepare()
        self.write_config()
        self.exit.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.exit.stop()
