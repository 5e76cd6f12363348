"""The guard on a real Tor: what it counts, what it blocks, and what it never does."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from exitpolicy.core.block import Block
from exitpolicy.core.destination import parse_destination
from exitpolicy.core.errors import AttentionError, LockTimeoutError
from exitpolicy.core.guard import Before, Endpoint
from exitpolicy.core.guard_rule import Rule
from exitpolicy.operations import guard
from exitpolicy.operations.change import Changed
from exitpolicy.operations.guard import Counted
from exitpolicy.operations.host import Host
from exitpolicy.storage import config, guard_state, history
from exitpolicy.storage.guard_state import Saved
from exitpolicy.storage.locks import guard_lock_path, lock
from exitpolicy.storage.observed import Moment
from exitpolicy.tor import inspect, streams
from tests.harness.host import ExitHost, host_maker
from tests.test_guard import at

VICTIM = "203.0.113.7:443"
RULE = Rule(connections=100, per_hour=2)


def test_only_connections_that_a_process_has_made_are_counted() -> None:
    """Not those that it accepted, and not those of others."""
    with ExitStack() as stack:
        four = socket.create_server(("127.0.1.7", 0))
        six = socket.create_server(("::1", 0), family=socket.AF_INET6)
        servers = [stack.enter_context(server) for server in (four, six)]
        expected = {}
        for number, server in enumerate(servers, start=3):
            host, port = server.getsockname()[:2]
            for _ in range(number):
                stack.enter_context(socket.create_connection((host, port)))
                stack.enter_context(server.accept()[0])
            expected[at(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")] = number
        # The servers listen in this process too: their ends are accepted ones.
        counts = streams.connection_counts([os.getpid()])
        assert {end: counts.get(end) for end in expected} == expected
        assert not any(end[1] == 0 for end in counts)
        assert not expected.keys() & streams.connection_counts([os.getppid()]).keys()


def test_what_a_run_saw_is_known_to_the_next_one(tmp_path: Path) -> None:
    """Only large numbers are kept, for a short time, and for root alone."""
    path = guard_state.path_beside(tmp_path / "blocks.yaml")
    then = Moment("boot", 1000.0)
    counts = {at(VICTIM): 300, at("[2001:db8::1]:80"): 60, at("203.0.113.9:80"): 50}
    guard_state.save(path, Saved(Before(counts, 50), frozenset({22}), (-2541.0, 999.0)), then)
    assert path.stat().st_mode & 0o777 == 0o600
    assert "203.0.113.9" not in path.read_text()
    saved = guard_state.load(path, Moment("boot", 1060.0))
    assert saved.before.counts == {at(VICTIM): 300, at("[2001:db8::1]:80"): 60}
    assert (saved.before.floor, saved.before.seconds) == (50, 60.0)
    assert (saved.ports, saved.made) == (frozenset({22}), (999.0,))
    # After a boot, or from the future, it says nothing.
    assert guard_state.load(path, Moment("other", 9.0)) == Saved()
    assert guard_state.load(path, Moment("boot", 999.0)) == Saved()
    many: dict[Endpoint, int] = {(4, number, 80): 100 + number for number in range(3000)}
    guard_state.save(path, Saved(Before(many, 50)), then)
    saved = guard_state.load(path, Moment("boot", 1060.0))
    assert (len(saved.before.counts), saved.before.floor) == (1000, 2099)
    for damaged in ("", "[]", '{"version": 1}', path.read_text().replace("]]", "")):
        path.write_text(damaged)
        assert guard_state.load(path, Moment("boot", 1060.0)) == Saved()


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExitHost]:
    """Give one running exit that all tests share; each uses destinations of its own."""
    with host_maker(tmp_path_factory.mktemp("guard")) as make:
        yield make(
            extra="guard: {connections: 100, per_hour: 2}\nprotected: [198.51.100.0/24]\n"
            "repeat: {factor: 2}\n"
        )


def operated(host: ExitHost) -> Host:
    """Return the host as commands see it."""
    return Host.of(config.load(host.config), who="timer", clock=lambda: datetime.now(UTC))


def run(host: ExitHost, counts: dict[str, int], rule: Rule = RULE, **more: bool) -> guard.Run:
    """Run the guard with these numbers of connections; 192.0.2.1:9001 is a relay."""
    counted = Counted(
        {at(text): number for text, number in counts.items()}, frozenset({at("192.0.2.1:9001")})
    )
    return guard.run(operated(host), rule, counted, dry_run=more.get("dry_run", False))


def test_a_flooded_destination_is_blocked_for_a_time(observed: ExitHost) -> None:
    """Its port alone, by the source `guard`, with the numbers as the reason; then not again."""
    before = observed.snapshot()
    assert run(observed, {VICTIM: 512}, dry_run=True).decision.to_block
    assert observed.snapshot() == before
    made = run(observed, {VICTIM: 512, "203.0.113.8:443": 100})
    assert isinstance(made.result, Changed)
    assert observed.tor.rejects("203.0.113.7", 443)
    assert not observed.tor.rejects("203.0.113.7", 80)
    assert not observed.tor.rejects("203.0.113.8", 443)
    (block,) = made.result.blocks
    assert (block.source, block.reason, block.until) == (
        "guard", "512 connections", block.since + RULE.time,
    )  # fmt: skip
    again = run(observed, {VICTIM: 600})
    assert again.result is None
    assert again.decision.flooded[0].left == "it is blocked already"
    # A person ends it as any other, and the guard then blocks it for longer.
    assert observed.run("lift", VICTIM).code == 0
    second = run(observed, {VICTIM: 512}, RULE._replace(per_hour=60))
    assert isinstance(second.result, Changed)
    (block,) = second.result.blocks
    assert block.until == block.since + 2 * RULE.time
    # Two in an hour are as many as the rule allows.
    third = run(observed, {"203.0.113.9:443": 999})
    assert third.result is None
    assert "the most that are allowed" in third.decision.flooded[0].left
    assert observed.run("source", "remove", "guard", "--yes").code == 0
    assert run(observed, {"203.0.113.9:443": 999}).result is None
    # Without the state, the ledger says how many there were.
    guard_state.path_beside(operated(observed).config.ledger).unlink()
    one = RULE._replace(per_hour=1)
    assert run(observed, {"203.0.113.9:443": 999}, one).result is None


def test_two_runs_do_not_decide_at_the_same_time(
    observed: ExitHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each would have the whole `per_hour` to itself. A dry run waits for nobody."""
    monkeypatch.setattr(guard, "WAIT_SECONDS", 0.1)
    before = observed.ledger.read_bytes()
    with lock(guard_lock_path(observed.ledger), seconds=1, doing="a test"):
        with pytest.raises(LockTimeoutError, match="blocking what is flooded"):
            run(observed, {"203.0.113.33:443": 512})
        run(observed, {"203.0.113.33:443": 512}, dry_run=True)
    assert observed.ledger.read_bytes() == before


def test_no_flood_again_and_again_blocks_for_more_than_a_day(observed: ExitHost) -> None:
    """Otherwise whoever floods a site every hour has it blocked for a year."""
    again = "203.0.113.99:443"
    for days in range(1, 8):
        then = datetime.now(UTC) - timedelta(days=days)
        ended = Block(parse_destination(again), then, then, source="guard")
        history.append(operated(observed).history_path, "expire", [ended], then, "timer")
    made = run(observed, {again: 512}, RULE._replace(per_hour=60))
    assert isinstance(made.result, Changed)
    (block,) = made.result.blocks
    assert block.until == block.since + timedelta(days=1)
    done = observed.run("import", "-", "--until", "1d", "--source", "guard", stdin="203.0.113.1\n")
    assert (done.code, "would lift them" in done.err) == (2, True)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("198.51.100.9:443", "protected: 198.51.100.0/24"),
        ("192.0.2.1:443", "an address of a relay"),
        ("104.16.0.1:443", "a shared address of cloudflare"),
        ("127.0.0.1:80", "a private address"),
        ("10.0.0.1:80", "a private address"),
    ],
)
def test_some_destinations_are_never_blocked(observed: ExitHost, text: str, reason: str) -> None:
    """However many connections there are."""
    found = run(observed, {text: 10**6}, RULE._replace(per_hour=60))
    assert found.result is None
    assert found.decision.flooded[0].left.startswith(reason)


def test_after_a_jump_of_the_clock_nothing_is_blocked(observed: ExitHost) -> None:
    """Otherwise a clock that jumps would make room for more blocks."""
    later = replace(operated(observed), clock=lambda: datetime.now(UTC) + timedelta(days=400))
    counted = Counted({at("203.0.113.77:443"): 999}, frozenset())
    found = guard.run(later, RULE, counted, dry_run=False)
    assert found.result is None
    assert found.decision.flooded[0].left.startswith("the clock has jumped")


def test_the_command_counts_the_connections_of_the_running_tor(observed: ExitHost) -> None:
    """Nothing is flooded here; the control connection and the authority do not count."""
    started = time.monotonic()
    done = observed.run("guard", "--json")
    assert time.monotonic() - started < 20
    assert (done.code, done.json["flooded"], done.json["ports"]) == (0, [], [])
    quiet = observed.run("guard", "--quiet")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")
    assert "connections to" in observed.run("guard", "--dry-run").err


def test_a_tor_whose_process_is_hidden_is_not_taken_for_an_idle_one(
    observed: ExitHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where it runs in a container of its own: its connections are not known."""
    monkeypatch.setattr(inspect, "process_of", lambda _: 0)
    with pytest.raises(AttentionError, match="its connections were not counted"):
        guard.count(operated(observed))


def test_the_guard_is_off_until_it_is_configured(observed: ExitHost) -> None:
    """It says what to write; a dry run works without."""
    text = observed.config.read_text()
    observed.config.write_text("".join(
        line for line in text.splitlines(keepends=True) if not line.startswith("guard:")
    ))  # fmt: skip
    try:
        done = observed.run("guard")
        assert (done.code, "guard: {connections: 1000" in done.err) == (2, True)
        assert observed.run("guard", "--dry-run").code == 0
    finally:
        observed.config.write_text(text)


@pytest.mark.root
def test_the_health_says_that_no_timer_runs_the_guard(observed: ExitHost) -> None:
    """`status --check` and the metrics say so like doctor."""
    seen = observed.run("status", "--check", "--json")
    found = {finding["cause"]: finding for finding in seen.json["health"]}
    assert (seen.code, "guard_not_run" in seen.json["faults"]) == (3, True)
    assert "no timer runs it" in found["guard_not_run"]["observed"]
    assert 'exitpol_fault{name="guard_not_run"} 1' in observed.run("status", "--prometheus").out
    assert "no timer runs it" in observed.run("doctor").out
