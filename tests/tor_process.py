"""A real Tor that stands alone: it builds and publishes to nobody, on loopback only."""

import socket
import subprocess
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import stem
from stem.control import Controller

TOR = "/usr/bin/tor"
START_SECONDS = 30


class LoneTor:
    """A running Tor, its torrc and an open control connection."""

    def __init__(self, torrc: Path, controller: Controller) -> None:
        self.torrc = torrc
        self.controller = controller

    def policy(self) -> list[str]:
        """Return the enforced policy, a rule a line."""
        return self._ask("exit-policy/full").split("\n")

    def descriptor(self) -> bytes:
        """Return what it publishes of itself."""
        return self._ask("dir/server/authority").encode()

    def reload(self, policy: Iterable[str]) -> None:
        """Reload with another ExitPolicy and wait until it is published."""
        before = self.descriptor()
        text = self.torrc.read_text()
        rest = [line for line in text.splitlines() if not line.startswith("ExitPolicy ")]
        write_torrc(self.torrc, rest, policy)
        self.controller.signal(stem.Signal.RELOAD)
        wait_until(lambda: self.descriptor() != before)

    def _ask(self, key: str) -> str:
        answer: str = self.controller.get_info(key)
        return answer


def write_torrc(torrc: Path, options: Iterable[str], policy: Iterable[str]) -> None:
    """Write a torrc; every rule of the policy gets a line of its own."""
    lines = [*options, *(f"ExitPolicy {rule}" for rule in policy)]
    torrc.write_text("".join(f"{line}\n" for line in lines))


def wait_until(condition: Callable[[], bool], seconds: float = START_SECONDS) -> None:
    """Wait for a condition, and fail when it takes too long."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds} s")
        time.sleep(0.05)


@contextmanager
def lone_tor(tmp_path: Path, policy: Iterable[str], extra: Iterable[str] = ()) -> Iterator[LoneTor]:
    """Run a relay with a policy until the block ends.

    It has a fake authority and never reaches a network. `extra` are more lines of its torrc.
    """
    control, data = tmp_path / "control", tmp_path / "data"
    for folder in control, data:
        folder.mkdir(mode=0o700)
    torrc = tmp_path / "torrc"
    options = [
        f"DataDirectory {data}",
        f"ControlSocket {control}/socket",
        "CookieAuthentication 0",
        "TestingTorNetwork 1",
        "DirAuthority fake orport=9 127.0.0.1:9 0000000000000000000000000000000000000000",
        "Address 127.0.0.1",
        "ORPort 127.0.0.1:auto",
        "AssumeReachable 1",
        "PublishServerDescriptor 0",
        "DirCache 0",
        "SocksPort 0",
        "ExitRelay 1",
        f"Log notice file {tmp_path}/log",
        *extra,
    ]
    write_torrc(torrc, options, policy)
    process = subprocess.Popen(
        [TOR, "-f", str(torrc), "--defaults-torrc", "/dev/null", "--quiet"],
    )
    try:
        wait_until(lambda: _listens(control / "socket"))
        with _connect(control / "socket") as controller:
            controller.authenticate()
            wait_until(lambda: _answers(controller))
            yield LoneTor(torrc, controller)
    finally:
        process.kill()
        process.wait()


def _listens(path: Path) -> bool:
    """Tell whether somebody listens: the socket is there a moment earlier."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def _connect(path: Path) -> Controller:
    with warnings.catch_warnings():
        # stem 1.8.2 calls Thread.setDaemon, which is deprecated and works.
        warnings.simplefilter("ignore", DeprecationWarning)
        return Controller.from_socket_file(str(path))


def _answers(controller: Controller) -> bool:
    try:
        controller.get_info("exit-policy/full")
        controller.get_info("dir/server/authority")
    except stem.ControllerError:
        return False
    return True
