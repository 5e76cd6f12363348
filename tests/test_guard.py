"""The guard's decision: what is flooded, what is blocked, and what never is."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exitpolicy.core.destination import Destination, parse_destination
from exitpolicy.core.guard import Before, Decision, Endpoint, decide, destination_of
from exitpolicy.core.guard_rule import Rule
from exitpolicy.core.ports import parse_ports

RULE = Rule(connections=100, time=timedelta(hours=1), per_hour=3)


def at(text: str) -> Endpoint:
    """Return an address and port as numbers."""
    found = parse_destination(text)
    (only,) = found.ranges
    return only.family, only.first, found.ports[0][0]


def fit(_destination: Destination) -> None:
    """Let everything be blocked."""


def decided(
    counts: dict[str, int], rule: Rule = RULE, before: Before | None = None, room: int = 3
) -> Decision:
    """Return the decision about numbers of connections."""
    endpoints = {at(text): count for text, count in counts.items()}
    return decide(rule, endpoints, before or Before(), fit, room)


def blocked(decision: Decision) -> list[str]:
    """Return what is to be blocked as text."""
    return [str(one.destination) for one in decision.to_block]


def test_only_an_address_and_port_over_the_number_is_blocked() -> None:
    """Not the address: its other ports stay open. The largest flood comes first."""
    found = decided({"203.0.113.7:443": 101, "203.0.113.8:443": 100, "[2001:db8::1]:80": 5000})
    assert blocked(found) == ["[2001:db8::1]:80", "203.0.113.7:443"]
    assert [str(one) for one in found.flooded] == ["5,000 connections", "101 connections"]


def test_only_the_ports_of_the_rule_count() -> None:
    """Others are not even reported."""
    rule = Rule(connections=100, ports=parse_ports("80,443"))
    found = decided({"203.0.113.7:443": 101, "203.0.113.7:22": 999}, rule)
    assert blocked(found) == ["203.0.113.7:443"]
    assert len(found.flooded) == 1


def test_no_more_blocks_than_the_hour_has_room_for() -> None:
    """Those with the most connections get the room; the others are reported."""
    counts = {f"203.0.113.{number}:443": 100 + number for number in range(1, 6)}
    found = decided(counts, room=2)
    assert blocked(found) == ["203.0.113.5:443", "203.0.113.4:443"]
    assert {one.left for one in found.flooded[2:]} == {
        "3 blocks were made within an hour, the most that are allowed"
    }
    assert blocked(decided(counts, room=0)) == []
    assert blocked(decided(counts, room=-5)) == []


def test_what_is_unfit_takes_no_room() -> None:
    """A protected destination is named with the reason, and the next one is blocked."""
    counts = {at("203.0.113.7:443"): 300, at("203.0.113.8:443"): 200}
    first = destination_of(at("203.0.113.7:443"))
    found = decide(RULE, counts, Before(), lambda d: "protected" if d == first else None, 1)
    assert blocked(found) == ["203.0.113.8:443"]
    assert found.flooded[0].left == "protected"


@pytest.mark.parametrize(
    ("before", "seconds", "growth", "is_blocked"),
    [
        ({"203.0.113.7:443": 100}, 60.0, 200, True),
        ({"203.0.113.7:443": 280}, 60.0, 20, False),
        ({"203.0.113.7:443": 280}, 20.0, 60, True),
        ({"203.0.113.7:443": 100}, 600.0, 20, False),
        ({"203.0.113.7:443": 900}, 60.0, -600, False),
        # It had at most the floor.
        ({}, 60.0, 250, True),
        ({}, 601.0, None, False),
        ({}, 1.0, None, False),
    ],
)
def test_only_what_grows_is_blocked_if_the_rule_says_so(
    before: dict[str, int], seconds: float, growth: int | None, *, is_blocked: bool
) -> None:
    """The growth is that since the run before, if that was a while ago and not too long."""
    rule = Rule(connections=100, growth=50)
    known = Before({at(text): count for text, count in before.items()}, 50, seconds)
    found = decided({"203.0.113.7:443": 300}, rule, known)
    assert found.flooded[0].growth == growth
    assert (blocked(found) == ["203.0.113.7:443"]) is is_blocked
    # Without the condition the number alone decides.
    assert blocked(decided({"203.0.113.7:443": 300}, RULE, known)) == ["203.0.113.7:443"]


def test_a_flood_of_a_port_is_reported_and_not_blocked() -> None:
    """One port at many addresses; the web ports of an exit are always busy."""
    counts = {f"198.51.100.{number}:{port}": 60 for number in range(1, 31) for port in (22, 443)}
    found = decided(counts, Rule(connections=100, port_connections=1700))
    assert [str(port) for port in found.ports] == ["port 22: 1,800 connections to 30 addresses"]
    assert found.flooded == ()
    assert decided(counts, Rule(connections=100, port_connections=1800)).ports == ()
    assert decided(counts, Rule(connections=180)).ports == ()
    few = {f"198.51.100.{number}:22": 99 for number in range(1, 20)}
    assert decided(few, Rule(connections=100, port_connections=100)).ports == ()


endpoints_ = st.tuples(st.just(4), st.integers(1, 9), st.sampled_from([22, 80, 443]))
counts_ = st.dictionaries(endpoints_, st.integers(0, 500), max_size=12)


@given(counts_, counts_, st.integers(-2, 5), st.integers(0, 200), st.floats(0, 1000))
def test_no_decision_leaves_its_bounds(
    counts: dict[Endpoint, int],
    former: dict[Endpoint, int],
    room: int,
    growth: int,
    seconds: float,
) -> None:
    """Over the number only, within the room only, and only what is fit."""
    rule = Rule(connections=100, growth=growth)
    bad = {destination_of(endpoint) for endpoint in counts if endpoint[1] % 2}
    found = decide(
        rule,
        counts,
        Before(former, 50, seconds),
        lambda destination: "bad" if destination in bad else None,
        room,
    )
    assert len(found.to_block) <= max(room, 0)
    for one in found.to_block:
        (only,) = one.destination.ranges
        assert only.size == 1
        assert counts[only.family, only.first, one.destination.ports[0][0]] == one.connections > 100
        assert one.destination not in bad
        assert not growth or (one.growth is not None and one.growth >= growth)
