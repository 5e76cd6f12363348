"""A broken or hostile control port costs bounded time and memory, and is reported."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.evidence import Thing, record
from tests.harness.host import EXITPOL
from tests.harness.hostile_control import BEHAVIOURS, Behaviour, HostileControl

pytestmark = pytest.mark.tor

THING = Thing.HOSTILE
SECONDS = 25
"""The most that one command may take: three conversations of 8 s, on a busy machine."""
RELOAD_SECONDS = 150
"""The same where a reload is under way: 100,000 rules take Tor more than two minutes."""
MEGABYTES = 150
DESTINATION = "203.0.113.7"
STAGES = ("", "PROTOCOLINFO", "AUTHENTICATE", "GETINFO", "GETCONF", "SIGNAL")


# The peak memory of a process counts from its fork, and so includes that of its parent. Therefore a
# small process forks it, and not the tests, which may be large.
_MEASURE = """
import os, sys
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(child, 0)
os.write(1, b"\\n%d" % usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""
MEASURED = (sys.executable, "-I", "-S", "-c", _MEASURE)


@dataclass(frozen=True)
class Result:
    """The result of one run of exitpol."""

    code: int
    output: str
    seconds: float
    megabytes: float
    """The peak memory of exitpol, or of the tor that it ran to verify."""


class Bystander:
    """A host with a hostile program at `control` in the place of Tor."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700)
        self.folder = folder
        self.control = f"{folder}/control"
        self.ledger = folder / "blocks.yaml"
        self.ledger.write_text("version: 1\nblocks: []\n")
        self.fragment = folder / "exitpol.conf"
        self.fragment.write_text("")
        self.torrc = folder / "torrc"
        self.torrc.write_text(
            f"DataDirectory {folder}/data\nORPort 127.0.0.1:9001\nExitRelay 1\nSocksPort 0\n"
            f"CookieAuthFile {folder}/cookie\n%include {self.fragment}\nExitPolicy accept *:*\n"
        )

    def run(self, *command: str, control: str = "") -> Result:
        """Run exitpol and measure it."""
        config = self.folder / "config.yaml"
        config.write_text(
            f"ledger: {self.ledger}\nfragment: {self.fragment}\nrelays:\n- {{name: r,"
            f' torrc: {self.torrc}, control: "{control or self.control}"}}\n'
        )
        begun = time.monotonic()
        with (self.folder / "output").open("w+b") as output:
            process = subprocess.Popen(
                [*MEASURED, *EXITPOL, *command],
                env={**os.environ, "EXITPOL_CONFIG": str(config)}, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip
            killer = threading.Timer(2 * RELOAD_SECONDS, os.killpg, (process.pid, signal.SIGKILL))
            killer.start()
            process.wait()
            killer.cancel()
            output.seek(0)
            text, _, kilobytes = output.read().decode("utf-8", "replace").rpartition("\n")
        seconds = time.monotonic() - begun
        return Result(process.returncode, text, seconds, int(kilobytes) / 1024)


def check(
    result: Result, host: Bystander, codes: Iterable[int] = (5, 6), seconds: float = SECONDS
) -> None:
    """Check bounded time and memory, an error for people, and that the block is recorded."""
    assert "Traceback" not in result.output, result
    # After valid answers without a policy the block is pending, and exitpol says so.
    pending = result.code in (0, 3) and "pending" in result.output and "live" not in result.output
    if not pending:
        assert result.code in codes, result
        assert "exitpol: error:" in result.output or "exitpol: hint:" in result.output, result
    assert "\x1b" not in result.output, result
    assert result.seconds < seconds, result
    assert result.megabytes < MEGABYTES, result
    assert DESTINATION in host.ledger.read_text(), result


def misbehave(folder: Path, behaviour: Behaviour, at: str) -> tuple[Result, Bystander]:
    """Run `exitpol block` against one behaviour."""
    host = Bystander(folder)
    with HostileControl(behaviour, at, host.control, str(host.torrc)):
        # Without --no-wait, a port that answers as a Tor that is still busy is given its 75 s.
        return host.run("block", DESTINATION, "--until", "1d", "--no-wait"), host


def try_all(tmp_path: Path, cases: list[tuple[str, str]]) -> list[Result]:
    """Run many cases at a time, because most of them only wait; check each."""

    def one(number: int) -> Result | str:
        name, at = cases[number]
        result, host = misbehave(tmp_path / str(number), BEHAVIOURS[name], at)
        try:
            check(result, host, seconds=RELOAD_SECONDS if at == "SIGNAL" else SECONDS)
        except AssertionError as error:
            return f"{name}, at {at or 'the beginning'}: {error}"
        return result

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(one, range(len(cases))))
    failures = [result for result in results if isinstance(result, str)]
    assert not failures, "\n".join(failures)
    return [result for result in results if isinstance(result, Result)]


def note(results: list[Result]) -> None:
    """Keep what was measured."""
    slowest = max(result.seconds for result in results)
    largest = max(result.megabytes for result in results)
    record(THING, len(results), {"at most {:.0f} s": slowest, "{:.0f} MB": largest})


@pytest.mark.slow
def test_hostile_answers_to_queries_are_survived(tmp_path: Path) -> None:
    """For any first answer: exit code 5 or 6, in time, and the block is recorded."""
    note(try_all(tmp_path, [(name, "GETINFO") for name in BEHAVIOURS]))


@pytest.mark.slow
@pytest.mark.parametrize("at", [stage for stage in STAGES if stage != "GETINFO"])
def test_hostile_answers_at_any_stage_are_survived(tmp_path: Path, at: str) -> None:
    """The same at the beginning, at authentication, and when Tor is told to reload."""
    note(try_all(tmp_path, [(name, at) for name in BEHAVIOURS]))


def test_silence_is_known_within_ten_seconds(tmp_path: Path) -> None:
    """A control port that never answers is called unreachable within 10 s: exit code 6."""
    result, host = misbehave(tmp_path / "host", BEHAVIOURS["never answers"], "")
    check(result, host, {6})
    assert result.seconds < 10


def test_silence_at_a_tcp_port_is_known_as_well(tmp_path: Path) -> None:
    """The same over TCP."""
    host = Bystander(tmp_path / "host")
    with HostileControl(BEHAVIOURS["never answers"], "", "tcp", str(host.torrc)) as control:
        check(host.run("block", DESTINATION, "--until", "1d", control=control.address), host, {6})


def _loop(path: Path) -> None:
    path.symlink_to(path.name)


def _socket_without_listener(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as unused:
        unused.bind(str(path))


NO_SOCKETS: dict[str, Callable[[Path], None]] = {
    "nothing": lambda _path: None,
    "a file": Path.touch,
    "a folder": Path.mkdir,
    "a FIFO": os.mkfifo,
    "a link to nowhere": lambda path: path.symlink_to("nowhere"),
    "a link to itself": _loop,
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "a socket that nobody listens at": _socket_without_listener,
}


@pytest.mark.parametrize("what", NO_SOCKETS)
def test_what_is_no_socket_is_called_unreachable(tmp_path: Path, what: str) -> None:
    """Something else than a socket at the socket's path: exit code 6, at once."""
    host = Bystander(tmp_path / "host")
    NO_SOCKETS[what](Path(host.control))
    result = host.run("block", DESTINATION, "--until", "1d")
    check(result, host, {6})
    assert result.seconds < 5


def test_socket_behind_a_link_is_as_bounded_as_any(tmp_path: Path) -> None:
    """A socket path that is a symbolic link is treated like any other."""
    host = Bystander(tmp_path / "host")
    target = str(tmp_path / "target")
    with HostileControl(BEHAVIOURS["endless lines"], "", target, str(host.torrc)):
        Path(host.control).symlink_to(target)
        check(host.run("block", DESTINATION, "--until", "1d"), host)


def _of_size(path: Path, size: int) -> None:
    path.touch()
    os.truncate(path, size)


COOKIES: dict[str, Callable[[Path], None]] = {
    "missing": lambda _path: None,
    "empty": Path.touch,
    "of 31 bytes": lambda path: _of_size(path, 31),
    "of 33 bytes": lambda path: _of_size(path, 33),
    "of 100 MB": lambda path: _of_size(path, 100_000_000),
    "a folder": Path.mkdir,
    "a FIFO": os.mkfifo,
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to itself": _loop,
}


@pytest.mark.parametrize("what", COOKIES)
@pytest.mark.parametrize("method", ["COOKIE", "SAFECOOKIE"])
def test_cookie_that_is_none_is_called_so(tmp_path: Path, what: str, method: str) -> None:
    """A cookie file of the wrong size or kind: exit code 6 or 5, and no endless reading."""
    host = Bystander(tmp_path / "host")
    cookie = host.folder / "cookie"
    COOKIES[what](cookie)
    auth = f'{method} COOKIEFILE="{cookie}"'
    with HostileControl(
        BEHAVIOURS["authentication required"], "AUTHENTICATE", host.control, str(host.torrc), auth
    ):
        check(host.run("block", DESTINATION, "--until", "1d"), host)
