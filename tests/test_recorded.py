"""What is recorded, by whom first, and what goes on where it cannot be recorded."""

import fcntl
import json
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from exitpolicy.core.block import Block, Blocks
from exitpolicy.core.destination import parse_destination
from exitpolicy.core.errors import InvalidFileError
from exitpolicy.operations import removals
from exitpolicy.operations.host import Host
from exitpolicy.storage import history, ledger_file
from exitpolicy.storage.config import Config
from exitpolicy.storage.ledger_file import Ledger
from exitpolicy.storage.locks import ledger_lock_path
from exitpolicy.tor import fragment
from tests.harness.host import ExitHost, HostMaker

pytestmark = pytest.mark.tor


@pytest.fixture
def host(make_host: HostMaker) -> ExitHost:
    """Give an exit that exitpol is set up for."""
    return make_host()


def scattered(first: int) -> list[str]:
    """Return 450 destinations that need a rule each: half of what a descriptor has room for."""
    return [f"{first}.{n >> 8}.{n & 255}.77" for n in range(450)]


def test_two_blocks_that_fit_only_one_by_one_are_not_both_accepted(host: ExitHost) -> None:
    """Begun at once, one is recorded, and the other refused (4) with nothing recorded."""
    with ledger_lock_path(host.ledger).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        both = [host.spawn("block", *scattered(n), "--until", "1d") for n in (11, 12)]
        # Time in which a command that reads before it has the lock would have planned.
        time.sleep(3)
    errors = [process.communicate(timeout=120)[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 4], errors
    assert host.ledger.read_text().count("destination:") == 450
    assert host.run("status", "--check").code in (0, 3)
    assert "pending" not in host.run("list").out


def test_a_base_policy_keeps_what_was_recorded_while_it_waited(host: ExitHost) -> None:
    """A block that another command records first is still there after `policy use`."""
    with ledger_lock_path(host.ledger).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        using = host.spawn("policy", "use", "web", "--force")
        time.sleep(2)
        text = host.ledger.read_text()
        block = '- {destination: "203.0.113.7", since: "2026-01-01T00:00:00Z", until: never}'
        host.ledger.write_text(text.replace("blocks: []", f"blocks:\n{block}"))
    using.communicate(timeout=60)
    assert "203.0.113.7" in host.ledger.read_text()
    assert host.tor.rejects("203.0.113.7")


def test_a_block_that_is_made_again_after_its_end_ended_first(host: ExitHost) -> None:
    """No tick came in between, as while Tor was down: the history says both nevertheless."""
    host.tor.stop()
    host.run("block", "203.0.113.7", "--until", "2s")
    time.sleep(2.5)
    host.run("block", "203.0.113.7", "--until", "1d")
    changes = host.run("history", "203.0.113.7", "--json").json["changes"]
    assert [change["action"] for change in changes] == ["block", "expire", "block"]
    assert changes[1]["until"] == changes[0]["until"]


@pytest.mark.parametrize(("days", "said"), [(0, []), (1, ["lift"])])
def test_only_a_new_block_shows_that_the_former_one_ended(
    tmp_path: Path, days: int, said: list[str]
) -> None:
    """The same block still lasts: the command that announced its end died before it changed it."""
    begun = datetime(2026, 11, 22, tzinfo=UTC)
    old = Block(parse_destination("203.0.113.7"), begun, None)
    host = Host(Config(ledger=tmp_path / "b.yaml"), (), "root", lambda: begun + timedelta(days=2))
    removals.announce(host, "lift", [old])
    new = old._replace(since=begun + timedelta(days=days))
    ledger_file.save(host.config.ledger, Ledger(Blocks.of([new])))
    removals.record(host, ())
    assert [change.action for change in history.read(host.history_path)] == said
    assert removals.announced(host) == []


@pytest.fixture
def immutable_history(host: ExitHost) -> ExitHost:
    """Make a history that nobody can write: a folder stands in its place."""
    history = host.ledger.with_name("history.jsonl")
    history.unlink(missing_ok=True)
    history.mkdir()
    return host


def test_a_block_is_enforced_where_the_history_cannot_be_written(
    immutable_history: ExitHost,
) -> None:
    """The ledger is the promise: the block is live, and the message and code 8 say the rest."""
    host = immutable_history
    blocked = host.run("block", "203.0.113.7", "--until", "1d", "--json")
    assert host.tor.rejects("203.0.113.7")
    assert blocked.json["blocks"][0]["state"] == "live"
    assert blocked.code == 8
    assert "history.jsonl cannot be written" in blocked.err
    assert "Traceback" not in blocked.err


def test_a_lift_is_enforced_and_recorded_later_where_the_history_cannot_be_written(
    host: ExitHost,
) -> None:
    """Tor loses the rule at once; the history gets its line, once, when it can be written."""
    host.run("block", "203.0.113.7", "203.0.113.8", "--until", "1d")
    history = host.ledger.with_name("history.jsonl")
    kept = history.read_bytes()
    history.unlink()
    history.mkdir()
    lifted = host.run("lift", "203.0.113.7", "203.0.113.8")
    assert not host.tor.rejects("203.0.113.7"), lifted
    assert lifted.code == 8
    assert "history.jsonl cannot be written" in lifted.err
    history.rmdir()
    history.write_bytes(kept)
    assert host.tick().code == 0
    actions = [json.loads(line)["action"] for line in history.read_text().splitlines()]
    assert actions == ["block", "block", "lift", "lift"]


def test_a_state_that_cannot_be_written_stops_no_block(host: ExitHost) -> None:
    """The state is only what was observed: without it, the block is live and the code is 8."""
    host.state.unlink()
    host.state.mkdir()
    blocked = host.run("block", "203.0.113.7", "--until", "1d")
    assert host.tor.rejects("203.0.113.7"), blocked
    assert "203.0.113.7  live" in blocked.out
    assert blocked.code == 8


@pytest.mark.parametrize("command", ["renew", "block"])
def test_an_invalid_ledger_refuses_a_change_and_says_how_to_go_on(
    host: ExitHost, command: str
) -> None:
    """Exit code 8; the command that the hint shows makes the same change possible."""
    assert host.run("block", "203.0.113.7", "--until", "1d").code == 0
    line = host.ledger.read_text().count("\n") + 1
    with host.ledger.open("a") as file:
        file.write("bloks: []\n")
    words = [command, "203.0.113.7", "--until", "2d"]
    done = host.run(*words)
    assert (done.code, f"{host.ledger}:{line}: " in done.err) == (8, True), done
    assert "nothing was changed, and blocks end as the last valid ledger says" in done.err
    assert "then type the command again" in done.err
    shown = done.err.partition("the last valid ledger first: ")[2].splitlines()[0]
    subprocess.run(shown.split(), check=True)
    assert host.run(*words).code == 0
    # Who owns the folder could put a link in the place of either file.
    host.ledger.parent.chmod(0o777)
    host.ledger.write_text("bloks: []\n")
    assert "cp -p" not in host.run(*words).err


def test_an_error_in_the_line_of_another_block_stops_no_lift(host: ExitHost) -> None:
    """It is reported (8), and the line stays. What was lifted stays lifted when it is corrected."""
    good, other, bad = "203.0.113.7", "203.0.113.9", "203.0.113.11"
    assert host.run("block", good, other, bad, "--until", "1d", "--reference", "R1").code == 0
    right = f'"{bad}"'
    wrong = f'"{bad}/33"'
    host.ledger.write_text(host.ledger.read_text().replace(right, wrong))
    text = host.ledger.read_text()
    refused = host.run("lift", bad)
    assert (refused.code, host.ledger.read_text()) == (8, text), "its own line has the error"
    done = host.run("lift", good)
    assert (done.code, f"{good}  lifted" in done.out) == (8, True), done
    assert done.err.count("has no valid IPv4 prefix length") == 1
    assert host.ledger.read_text().splitlines()[:2] == text.splitlines()[:2]
    assert wrong in host.ledger.read_text()
    assert not host.tor.rejects(good)
    assert host.tor.rejects(other)
    assert host.tor.rejects(bad)
    assert host.run("expire", "--quiet").code == 8
    assert not host.tor.rejects(good)
    host.ledger.write_text(host.ledger.read_text().replace(wrong, right))
    assert host.run("apply").code == 0
    assert not host.tor.rejects(good)
    assert host.tor.rejects(bad)
    last = host.run("history", "--json").json["changes"][-1]
    assert (last["action"], last["destination"]) == ("lift", good)


def test_a_fragment_that_cannot_be_replaced_lifts_nothing(
    make_host: HostMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tor is in sync with it and goes on rejecting: the block is lifting, and not lifted."""
    host = make_host()
    assert host.run("block", "203.0.113.7", "203.0.113.9", "--until", "1d").code == 0

    def full(path: Path, _text: str) -> Path:
        raise InvalidFileError(f"{path} cannot be written: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(fragment, "stage", full)
        done = host.run("lift", "203.0.113.7")
    assert (done.code, "203.0.113.7  lifting" in done.out) == (8, True), done
    assert "of Tor's default policy" not in done.err
    assert host.tor.rejects("203.0.113.7")
    assert "203.0.113.7  lifting" in host.run("list").out
    assert host.run("history", "--json").json["changes"][-1]["action"] == "block"
    with monkeypatch.context() as patch:
        patch.setattr(fragment, "stage", full)
        more = host.run("block", "203.0.113.8", "--until", "1d")
    assert (more.code, "203.0.113.8  pending" in more.out) == (8, True), more
    assert "203.0.113.9  live" in host.run("list").out
    with monkeypatch.context() as patch:
        patch.setattr(fragment, "stage", full)
        done = host.run("lift", "203.0.113.9", "--relay", host.tor.name)
    assert (done.code, "203.0.113.9  lifting" in done.out) == (8, True), done
    assert host.tick().code == 0
    assert not host.tor.rejects("203.0.113.7")
    assert host.run("history", "--json").json["changes"][-1]["action"] == "lift"


def test_a_ledger_that_cannot_be_written_keeps_no_expired_block(
    host: ExitHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk it leaves Tor at its end; the tick that can record it says so, once."""
    assert host.run("block", "203.0.113.7", "--until", "3s").code == 0
    assert host.run("block", "203.0.113.9", "--until", "1d").code == 0
    time.sleep(3.1)

    def full(path: Path, _ledger: Ledger) -> None:
        raise InvalidFileError(f"{path} cannot be written: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(ledger_file, "save", full)
        for _ in range(2):
            done = host.run("expire", "--quiet")
            assert (done.code, "ended" in done.out) == (8, False), done
        assert "cannot be written" in host.run("expire").err
    assert not host.tor.rejects("203.0.113.7")
    assert host.tor.rejects("203.0.113.9")
    assert host.run("history", "--json").json["changes"][-1]["action"] == "block"
    done = host.run("expire", "--quiet")
    assert (done.code, "203.0.113.7  ended" in done.out) == (0, True), done
    changes = host.run("history", "--json").json["changes"]
    assert [change["action"] for change in changes] == ["block", "block", "expire"]


def test_an_end_that_another_command_applied_is_recorded_by_the_next_tick(host: ExitHost) -> None:
    """`apply` lifts what has ended; only the tick writes that into ledger and history."""
    assert host.run("block", "203.0.113.7", "--until", "2s").code == 0
    time.sleep(2.1)
    assert host.run("apply").code == 0
    assert "203.0.113.7" not in host.fragment.read_text()
    assert host.tick().code == 0
    changes = host.run("history", "203.0.113.7", "--json").json["changes"]
    assert [change["action"] for change in changes] == ["block", "expire"]
    # And then it has nothing to do.
    observed = host.state.read_text()
    assert host.tick().code == 0
    assert host.state.read_text() == observed
