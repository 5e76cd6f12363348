"""A reload that ended Tor is not tried again with the same files."""

from pathlib import Path

import pytest

from tests.harness.host import ExitHost, HostMaker
from tests.harness.tor import close_log, wait_until

pytestmark = pytest.mark.tor


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """Make a folder that Tor logs into."""
    folder = tmp_path / "logs"
    folder.mkdir()
    return folder


@pytest.fixture
def host(make_host: HostMaker, logs: Path) -> ExitHost:
    """Give a running exit whose next reload ends it.

    Tor opens its logs again at a reload, and ends if that fails. Its options are what its files
    say, --verify-config opens no log, and exitpol sees nothing wrong with this one.
    """
    host = make_host(["ExitRelay 1", f"Log notice file {logs}/log"])
    assert host.run("block", "203.0.113.8", "--until", "1d").code == 0
    close_log(logs / "log")
    return host


def start_again(host: ExitHost, logs: Path) -> None:
    """Start Tor as an operator would, and spoil its log once more."""
    host.tor.stop()
    (logs / "log").unlink()
    host.tor.start()
    close_log(logs / "log")


def test_the_same_files_are_not_loaded_again(host: ExitHost, logs: Path) -> None:
    """The reload ends Tor once; then every command leaves it alive, and says why (5)."""
    first = host.run("block", "203.0.113.7", "--until", "1d")
    wait_until(lambda: not host.tor.alive, what="the end of Tor")
    assert first.code == 5, first
    assert "203.0.113.7" not in host.fragment.read_text(), "Tor could start with it"
    start_again(host, logs)
    for command in (
        ("apply",), ("expire",), ("block", "203.0.113.9", "--until", "1d"), ("lift", "203.0.113.8"),
    ):  # fmt: skip
        done = host.run(*command)
        assert host.tor.alive, (command, done)
        assert done.code == 5, (command, done)
        assert "a reload of these files ended Tor (default) before" in done.err
    assert host.tick().code == 5
    assert host.tor.alive
    assert host.run("status", "--check").code != 0


def test_the_operator_may_have_them_loaded_again(host: ExitHost, logs: Path) -> None:
    """With --load-foreign, and the cause corrected, the block is live; a later one simply is."""
    host.run("block", "203.0.113.7", "--until", "1d")
    wait_until(lambda: not host.tor.alive, what="the end of Tor")
    start_again(host, logs)
    (logs / "log").unlink()
    assert host.run("apply").code == 5, "it cannot know that the cause is gone"
    assert host.run("apply", "--load-foreign").code == 0
    assert host.tor.rejects("203.0.113.7")
    assert host.run("block", "203.0.113.9", "--until", "1d").code == 0


def test_changed_files_are_loaded(host: ExitHost, logs: Path) -> None:
    """After a change of the torrc exitpol tries again by itself."""
    host.run("block", "203.0.113.7", "--until", "1d")
    wait_until(lambda: not host.tor.alive, what="the end of Tor")
    start_again(host, logs)
    (logs / "log").unlink()
    host.tor.add("# The folder of the log is there again.")
    assert host.run("apply").code == 0
    assert host.tor.rejects("203.0.113.7")
