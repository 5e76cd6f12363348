"""Batches on a real Tor: how often its descriptor changes, and what never waits."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from exitpolicy import tick
from exitpolicy.core.guard_rule import Rule
from exitpolicy.operations import guard
from exitpolicy.operations.guard import Counted
from exitpolicy.operations.host import Host
from exitpolicy.storage import config
from tests.harness.host import ExitHost, Outcome, host_maker
from tests.test_guard import at


@pytest.fixture(scope="module")
def exit_(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExitHost]:
    """Give a running exit whose guard is on."""
    with host_maker(tmp_path_factory.mktemp("batch")) as make:
        yield make(extra="guard: {connections: 100}\n")


def changes(host: ExitHost) -> int:
    """Return how often Tor has been told to read its files: each time, its policy changed."""
    return (host.tor.folder / "log").read_text().count("Received reload signal")


def sync(host: ExitHost, *entries: str, now: bool = False) -> Outcome:
    """Make the blocks of a list these."""
    more = ["--now"] if now else []
    path = host.folder / "list"
    path.write_text("".join(f"{entry}\n" for entry in entries))
    options = ("--until", "30d", "--source", "drop", "--sync", "--yes", "--json")
    return host.run("import", str(path), *options, *more)


def let_pass(host: ExitHost, seconds: float) -> None:
    """Let running time pass: the last observation was so much earlier. No clock is set."""
    text = host.state.read_text()

    def earlier(found: re.Match[str]) -> str:
        return found[1] + " ".join(f"{float(word) - seconds:.6f}" for word in found[2].split(" "))

    text = re.sub(r"(?m)^(begun [^ ]+ )([0-9.]+)$", earlier, text)
    host.state.write_text(re.sub(r"(?m)^(batch )([0-9. ]+)$", earlier, text))


def is_due(host: ExitHost) -> str | None:
    """Return why the tick would run exitpol now."""
    return tick.due(str(host.state), datetime.now(UTC).timestamp())


def states(host: ExitHost, *more: str) -> dict[str, str]:
    """Return the states that `list` shows."""
    listed = host.run("list", "--json", *more).json["blocks"]
    return {one["destination"]: one["state"] for one in listed}


def flood(host: ExitHost, *texts: str) -> guard.Run:
    """Run the guard while these destinations are flooded."""
    present = Host.of(config.load(host.config), who="timer", clock=lambda: datetime.now(UTC))
    counts = {at(text): 500 for text in texts}
    return guard.run(present, Rule(connections=100), Counted(counts, frozenset()), dry_run=False)


def test_lists_and_the_guard_change_a_relay_once_in_ten_minutes(exit_: ExitHost) -> None:
    """What waits is scheduled, and no alarm; the tick after the interval makes one change of it."""
    first = sync(exit_, "203.0.113.1", "203.0.113.2")
    assert (first.code, first.json["next_batch"]) == (0, None)
    assert exit_.tor.rejects("203.0.113.1")
    before = changes(exit_)

    # A list and the guard, again and again: nothing changes within the interval.
    for number in range(3, 6):
        done = sync(exit_, "203.0.113.2", f"203.0.113.{number}")
        assert (done.code, done.json["blocks"][0]["state"]) == (0, "scheduled")
        assert done.json["next_batch"] is not None
        flood(exit_, f"198.51.100.{number}:443")
    assert changes(exit_) == before
    shown = exit_.run("apply", "--dry-run")
    assert "+++ fragment, with the next batch (new)" in shown.out
    assert "+ExitPolicy reject 203.0.113.5:*" in shown.out
    assert states(exit_)["203.0.113.5"] == "scheduled"
    assert "wait for the next batch, at " in exit_.run("list").err
    assert not exit_.tor.rejects("203.0.113.5")
    # The ended block is enforced until then, and the history does not say otherwise.
    assert exit_.tor.rejects("203.0.113.1")
    assert states(exit_, "--all")["203.0.113.1"] == "scheduled"
    assert "lift" not in exit_.run("history", "203.0.113.1").out
    seen = exit_.run("status", "--check", "--json")
    assert (seen.json["problems"], seen.json["fragment_changed"]) == ([], False)
    assert seen.json["next_batch"] is not None
    assert not {"pending", "lifting", "drift"} & set(seen.json["faults"])
    assert "differs from what the ledger says" not in exit_.run("doctor").out

    # The tick has nothing to do before the batch is due; then it makes one change of all.
    let_pass(exit_, 500)
    assert is_due(exit_) is None
    let_pass(exit_, 101)
    assert is_due(exit_) is not None
    assert exit_.tick().code == 0
    assert changes(exit_) == before + 1
    assert exit_.tor.rejects("203.0.113.5")
    assert exit_.tor.rejects("198.51.100.3", 443)
    assert not exit_.tor.rejects("203.0.113.1")
    assert "lift" in exit_.run("history", "203.0.113.1").out
    assert set(states(exit_).values()) == {"live"}
    assert "\nbatch " not in exit_.state.read_text()
    assert exit_.run("status", "--json").json["next_batch"] is None


def test_a_block_of_the_operators_waits_for_nothing_and_takes_all_along(exit_: ExitHost) -> None:
    """Nor does a lift, also of a block of a list, nor `--now`."""
    sync(exit_, "203.0.113.20")
    sync(exit_, "203.0.113.20", "203.0.113.21")
    assert states(exit_)["203.0.113.21"] == "scheduled"
    before = changes(exit_)
    done = exit_.run("block", "192.0.2.9", "--until", "1d", "--json")
    assert (done.code, done.json["blocks"][0]["state"]) == (0, "live")
    assert changes(exit_) == before + 1
    assert states(exit_)["203.0.113.21"] == "live"

    # A lift of a block of a list, and a hand edit without a source.
    assert exit_.run("lift", "203.0.113.21").code == 0
    assert not exit_.tor.rejects("203.0.113.21")
    sync(exit_, "203.0.113.20", "203.0.113.22")
    with exit_.ledger.open("a") as file:
        file.write('- {destination: "192.0.2.10", since: "2026-11-01T00:00:00Z", until: never}\n')
    assert exit_.tick().code == 0
    assert exit_.tor.rejects("192.0.2.10")
    assert states(exit_)["203.0.113.22"] == "live"

    # Without a change of its own, a command leaves the batch alone.
    sync(exit_, "203.0.113.20", "203.0.113.23")
    before = changes(exit_)
    exit_.run("block", "192.0.2.9", "--until", "1d")
    exit_.run("apply")
    assert (changes(exit_), states(exit_)["203.0.113.23"]) == (before, "scheduled")
    shown = exit_.run("apply", "--now", "--dry-run")
    assert "+ExitPolicy reject 203.0.113.23:*" in shown.out
    assert exit_.run("apply", "--now").code == 0
    assert exit_.tor.rejects("203.0.113.23")
    sync(exit_, "203.0.113.24")
    assert sync(exit_, "203.0.113.24", now=True).code == 0
    assert exit_.tor.rejects("203.0.113.24")
    assert not exit_.tor.rejects("203.0.113.23")


@pytest.mark.slow
def test_a_batch_that_waits_survives_what_may_happen(exit_: ExitHost) -> None:
    """A restart of Tor, a lost state, a list that is refused."""
    sync(exit_, "203.0.113.30", now=True)
    before = changes(exit_)
    sync(exit_, "203.0.113.31")
    refused = sync(exit_, "203.0.113.31", "10.0.0.0/7")
    assert refused.code == 4
    exit_.tor.stop()
    exit_.tor.start()
    assert exit_.tick().code == 0
    assert states(exit_)["203.0.113.31"] == "scheduled"
    # Without the state, nothing is known of the last change: then nothing waits.
    exit_.state.unlink()
    assert exit_.tick().code == 0
    assert exit_.tor.rejects("203.0.113.31")
    assert changes(exit_) == before + 1


@pytest.mark.slow
def test_each_relay_waits_for_itself(tmp_path: Path) -> None:
    """A change of one relay neither delays another one nor takes its changes along."""
    with host_maker(tmp_path) as make:
        host = make(("ExitRelay 1",), ("ExitRelay 1",))
        sync(host, "203.0.113.1", "203.0.113.2")
        done = sync(host, "203.0.113.1", "203.0.113.2", "203.0.113.3")
        assert done.json["blocks"][0]["state"] == "scheduled"
        one = host.run("block", "192.0.2.9", "--until", "1d", "--relay", "second")
        assert one.code == 0
        first, second = host.relays
        assert not first.rejects("203.0.113.3")
        assert second.rejects("203.0.113.3")
        (listed,) = [
            block
            for block in host.run("list", "--json").json["blocks"]
            if block["destination"] == "203.0.113.3"
        ]
        assert listed["states"] == {"default": "scheduled", "second": "live"}
        assert listed["causes"].keys() == {"default"}
        let_pass(host, 601)
        assert host.tick().code == 0
        assert first.rejects("203.0.113.3")
