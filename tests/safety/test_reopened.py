"""Files that Tor opens again at a reload: where it cannot, a reload would end it.

None of its options has changed, and `--verify-config` opens none of these files.
"""

import os
import shutil
import subprocess
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
    """Each command leaves Tor alive and says what is wrong; its hint makes a reload possible."""
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
        fix = done.err.partition("hint: ")[2].partition("; then: exitpol apply")[0]
        subprocess.run(["/bin/sh", "-c", fix], check=True)
        done = host.run("apply")
        assert (done.code, host.tor.alive) == (0, True), (fix, done, host.tor.log())
        assert host.tor.rejects("203.0.113.9")
        assert not host.tor.rejects("203.0.113.7")
    finally:
        host.tor.stop()
    record(THING, 1)
