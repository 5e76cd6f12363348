"""Files that Tor opens again at a reload: where it cannot, a reload would end it.

None of its options has changed, and `--verify-config` opens none of these files.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.evidence import Thing, record
from tests.harness.host import ExitHost
from tests.safety.relays import USER, unprivileged_host

THING = Thing.UNREADABLE
pytestmark = [pytest.mark.root, pytest.mark.tor]

LINES = (
    "Log notice file {}/extra/log",
    "HiddenServiceDir {}/service/hidden",
    "HiddenServicePort 80 127.0.0.1:80",
)


def take(path: Path) -> None:
    """Give a file or folder to root, so that Tor's user may at most read it."""
    os.chown(path, 0, 0)
    path.chmod(0o755 if path.is_dir() else 0o644)


def log_folder_gone(host: ExitHost) -> None:
    """Delete the folder of a log, as a cleaned /var/log does."""
    (host.folder / "extra/log").unlink()
    (host.folder / "extra").rmdir()


def log_of_root(host: ExitHost) -> None:
    """Make a log again as root, as a wrong logrotate does."""
    (host.folder / "extra/log").unlink()
    (host.folder / "extra/log").touch()
    take(host.folder / "extra/log")


def log_folder_of_root(host: ExitHost) -> None:
    """Delete a log in a folder that Tor's user may not write."""
    (host.folder / "extra/log").unlink()
    take(host.folder / "extra")


def log_folder_closed(host: ExitHost) -> None:
    """Close the folder of a log for everybody but root."""
    take(host.folder / "extra")
    (host.folder / "extra").chmod(0o700)


def pid_file_of_root(host: ExitHost) -> None:
    """Give the PidFile to root."""
    take(host.tor.folder / "pid")


def pid_file_is_a_folder(host: ExitHost) -> None:
    """Put a folder in place of the PidFile."""
    (host.tor.folder / "pid").unlink()
    (host.tor.folder / "pid").mkdir()


def socket_folder_open(host: ExitHost) -> None:
    """Let everybody enter the folder of the control socket."""
    host.tor.control_socket.parent.chmod(0o755)


def service_folder_gone(host: ExitHost) -> None:
    """Delete an onion service, and the folder in which Tor could make it again."""
    shutil.rmtree(host.folder / "service")


def undo(host: ExitHost) -> None:
    """Give Tor's user what he has to write and to enter again."""
    if (host.tor.folder / "pid").is_dir():
        (host.tor.folder / "pid").rmdir()
    (host.tor.folder / "pid").touch()
    host.tor.control_socket.parent.chmod(0o700)
    for name in ("extra", "service"):
        (host.folder / name).mkdir(exist_ok=True)
        (host.folder / name).chmod(0o700)
    for path in (*(host.folder / "extra").iterdir(), host.tor.folder / "pid"):
        shutil.chown(path, USER)
    for name in ("extra", "service"):
        shutil.chown(host.folder / name, USER)


CHANGES: list[Callable[[ExitHost], None]] = [
    log_folder_gone, log_of_root, log_folder_of_root, log_folder_closed, pid_file_of_root,
    pid_file_is_a_folder, socket_folder_open, service_folder_gone,
]  # fmt: skip
QUICK = (log_folder_gone,)


@pytest.mark.parametrize(
    "change",
    [pytest.param(c, marks=() if c in QUICK else pytest.mark.slow) for c in CHANGES],
    ids=lambda change: change.__name__,
)
def test_a_tor_that_cannot_open_its_files_again_is_not_reloaded(
    open_folder: Path, change: Callable[[ExitHost], None]
) -> None:
    """Each command leaves Tor alive and says what is wrong; corrected, it is reloaded."""
    for name in ("extra", "service"):
        (open_folder / name).mkdir(mode=0o700)
        shutil.chown(open_folder / name, USER)
    host = unprivileged_host(open_folder, *(line.format(open_folder) for line in LINES))
    try:
        assert host.run("init").code == 0
        assert host.run("block", "203.0.113.7", "--until", "1d").code == 0
        change(host)
        for command in (
            ("block", "203.0.113.9", "--until", "1d"), ("lift", "203.0.113.7"), ("apply",)
        ):  # fmt: skip
            done = host.run(*command)
            assert host.tor.alive, (command, done, host.tor.log())
            assert (done.code, "would exit at a reload" in done.err) == (5, True), (command, done)
        assert host.tick().code == 5
        assert host.run("status", "--check").code == 5
        assert host.tor.alive
        undo(host)
        done = host.run("apply")
        assert (done.code, host.tor.alive) == (0, True), (done, host.tor.log())
        assert host.tor.rejects("203.0.113.9")
        assert not host.tor.rejects("203.0.113.7")
    finally:
        host.tor.stop()
    record(THING, 1)


def test_no_hint_gives_a_file_of_root_away(open_folder: Path) -> None:
    """Tor's user chooses where his PidFile leads: no command for root is made of it."""
    host = unprivileged_host(open_folder)
    secret = open_folder / "secret"
    secret.touch(0o600)
    try:
        assert host.run("init").code == 0
        (host.tor.folder / "pid").unlink()
        (host.tor.folder / "pid").symlink_to(secret)
        done = host.run("block", "203.0.113.9", "--until", "1d")
        assert (done.code, host.tor.alive) == (5, True), done
        hints = [line for line in done.err.splitlines() if "hint:" in line]
        assert hints, done
        assert not any(str(secret) in line for line in hints), hints
    finally:
        host.tor.stop()
