"""Operators' mistakes that would kill a relay or make one an exit, shown to be harmless."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.evidence import Thing, record
from tests.harness.host import LoneExit

pytestmark = pytest.mark.tor

REFUSED, TOR_REFUSES = 4, 5
FIRST, SECOND = "203.0.113.7", "203.0.113.9"

THING = Thing.MISTAKES

BROKEN = {
    "an unknown option": "NoSuchOption 1\n",
    "a bad exit policy": "ExitPolicy reject 300.1.1.1:*\n",
    "a missing include": "%include /nowhere/at/all.conf\n",
    "a byte-order mark": "\ufeffNickname other\n",
    "an impossible value": "ORPort seventy\n",
}


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoneExit]:
    """Set up an exit with one block."""
    with LoneExit(tmp_path_factory.mktemp("exit")) as host:
        assert host.run("init").returncode == 0
        assert host.run("block", FIRST, "--until", "30d").returncode == 0
        yield host


@pytest.mark.parametrize("what", BROKEN)
def test_broken_torrc_is_never_loaded(host: LoneExit, what: str) -> None:
    """With a broken torrc, Tor is not reloaded and runs on, the block is pending: exit code 5."""
    good = host.exit.torrc.read_text()
    host.exit.torrc.write_text(BROKEN[what] + good)
    try:
        done = host.run("block", SECOND, "--until", "1d")
        assert done.returncode == TOR_REFUSES, done.stderr
        assert "Traceback" not in done.stderr
        assert host.run("expire").returncode == TOR_REFUSES
        assert host.exit.alive
        assert host.rejected() == {f"{FIRST}:*"}
    finally:
        host.exit.torrc.write_text(good)
    healed = host.run("expire")
    assert healed.returncode == 0, healed.stderr
    lifted = host.run("lift", SECOND)
    # Refused because of the torrc, the second block may or may not have been recorded.
    assert lifted.returncode in (0, 9), lifted.stderr
    assert host.rejected() == {f"{FIRST}:*"}
    record(THING, 2)


@pytest.mark.parametrize("command", ["init", "block"])
def test_middle_relay_does_not_become_an_exit(tmp_path: Path, command: str) -> None:
    """A relay with ExitRelay auto and no exit option: exit 4, and it still exits nowhere."""
    with LoneExit(tmp_path, options="", policy="") as host:
        assert host.exit.policy() == ["reject *:*"]
        if command == "block":
            host.ledger.parent.mkdir()
            host.ledger.write_text("version: 1\nblocks: []\n")
        arguments = {"init": ["init"], "block": ["block", FIRST, "--until", "1d"]}[command]
        done = host.run(*arguments)
        assert done.returncode == REFUSED, done.stderr
        assert "exit" in done.stderr
        host.exit.reload()
        assert host.exit.policy() == ["reject *:*"]
        assert host.run("expire").returncode in (0, REFUSED, 8)
        assert host.exit.policy() == ["reject *:*"]
    record(THING, 1)
