"""Which addresses of a followed name are blocked, whatever its DNS servers say."""

import itertools
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exitpolicy.core import following
from exitpolicy.core.block import Block, Blocks
from exitpolicy.core.clock import Time
from exitpolicy.core.destination import Destination, parse_destination
from exitpolicy.core.following import (
    CHANGE_SECONDS,
    MAX_ADDRESSES,
    MAX_FOLLOWED,
    MAX_SIGHTINGS,
    MIN_SECONDS,
    Address,
    Answer,
    Change,
    Failure,
    Followed,
    Following,
    followed,
    step,
)
from exitpolicy.core.host_names import NamedHost

WWW = NamedHost("www.test")
OTHER = NamedHost("other.test")
NOW = datetime(2026, 11, 26, 10, tzinfo=UTC)
FORBIDDEN = frozenset[Address]({(4, 1), (4, 2)})


def only_allowed(_: NamedHost, address: Address) -> bool:
    """Tell whether an address may be blocked in these tests."""
    return address not in FORBIDDEN


def address(number: int) -> Address:
    """Return an IPv4 address."""
    return 4, number


def answer(*numbers: int, ttl: int = 0) -> Answer:
    """Return an answer with IPv4 addresses."""
    return Answer(frozenset(map(address, numbers)), ttl)


class Host:
    """A host that follows names: what `exitpol follow` does, without its files."""

    def __init__(self, *names: NamedHost, blocked: Iterable[int] = (10,)) -> None:
        self.blocked = {name: set(map(address, blocked)) for name in names}
        self.state = replace(Following.begun(["exit"]), seconds=0.0)
        self.changes: list[tuple[float, Change]] = []

    def hear(
        self,
        seconds: float,
        said: dict[NamedHost, Answer | Failure],
        is_fit: Callable[[NamedHost, Address], bool] = only_allowed,
    ) -> tuple[Change, ...]:
        """Let time pass, and answer the names."""
        self.state = self.state.after(seconds)
        hosts = {
            name: Followed(
                frozenset({"exit"}), frozenset(its), frozenset().union(*self.blocked.values())
            )
            for name, its in self.blocked.items()
        }
        self.state, changes = step(self.state, hosts, said, is_fit)
        for change in changes:
            self.blocked[change.host] |= set(change.added)
            self.blocked[change.host] -= set(change.dropped)
            self.changes.append((self.state.seconds, change))
        return changes

    def repeat(self, times: int, seconds: float, *said: Answer | Failure) -> None:
        """Give the same answers to the only name many times, in turn."""
        for number in range(times):
            self.hear(seconds, {WWW: said[number % len(said)]})


def test_an_address_is_added_when_it_was_seen_twice() -> None:
    """Once is not enough; afterwards both addresses are blocked."""
    host = Host(WWW)
    host.repeat(15, 300, answer(10))
    assert host.hear(300, {WWW: answer(10, 11)}) == ()
    assert host.hear(300, {WWW: answer(10, 11)}) == (Change(WWW, (address(11),), ()),)
    assert host.blocked[WWW] == {address(10), address(11)}


def test_an_address_is_dropped_when_it_was_not_seen_for_a_day() -> None:
    """A day of answers without it, not a day on the clock."""
    host = Host(WWW, blocked=(10, 11))
    host.repeat(287, 300, answer(11))
    assert host.blocked[WWW] == {address(10), address(11)}
    host.repeat(2, 300, answer(11))
    assert host.blocked[WWW] == {address(11)}


def test_failed_answers_keep_the_last_one() -> None:
    """Nothing is dropped while no answer comes, nor soon after."""
    host = Host(WWW, blocked=(10, 11))
    host.repeat(1000, 300, Failure("no answer"))
    assert host.state.names[WWW].failure == "no answer"
    host.repeat(5, 300, answer(11))
    assert host.blocked[WWW] == {address(10), address(11)}
    assert not host.state.names[WWW].failure


def test_a_family_that_was_not_told_is_not_absent() -> None:
    """The servers fail to tell the IPv6 addresses: those that are blocked stay so."""
    host = Host(WWW)
    host.blocked[WWW].add((6, 10))
    host.repeat(500, 300, Answer(frozenset({address(11)}), 0, frozenset({4})))
    assert host.blocked[WWW] == {address(11), (6, 10)}
    host.repeat(500, 300, answer(11))
    assert host.blocked[WWW] == {address(11)}


def test_a_name_that_leads_only_to_forbidden_addresses_keeps_its_blocks() -> None:
    """Its owner parks it at 127.0.0.1: the promise holds until its end."""
    host = Host(WWW)
    host.repeat(500, 300, answer(1))
    assert host.blocked[WWW] == {address(10)}
    assert "may be blocked" in host.state.names[WWW].failure
    host.repeat(500, 300, answer(1, 12))
    assert host.blocked[WWW] == {address(12)}


def test_a_name_with_many_addresses_keeps_its_blocks() -> None:
    """More than eight at once are those of no single site."""
    host = Host(WWW)
    host.repeat(500, 300, answer(*range(100, 1100)))
    assert host.blocked[WWW] == {address(10)}
    assert host.state.names[WWW].failure == "it has 1,000 addresses, more than 8"


def test_the_last_block_stays() -> None:
    """Answers in turn name addresses that are never seen twice."""
    host = Host(WWW)
    for number in range(1000):
        host.hear(300, {WWW: answer(1000 + number)})
    assert host.blocked[WWW] == {address(10)}
    assert len(host.state.names[WWW].seen) <= MAX_SIGHTINGS


def test_nothing_changes_in_the_first_hour_without_a_state() -> None:
    """Who deletes the state gains nothing; it may be that a change was made a moment ago."""
    host = Host(WWW)
    host.repeat(11, 300, answer(11))
    assert host.changes == []
    host.repeat(1, 300, answer(11))
    assert len(host.changes) == 1


def test_names_that_change_in_one_run_are_one_change() -> None:
    """Each relay changes once; the next change waits for an hour."""
    host = Host(WWW, OTHER)
    for _ in range(13):
        host.hear(300, {WWW: answer(11), OTHER: answer(12)})
    assert [(at, change.host) for at, change in host.changes] == [(3600.0, WWW), (3600.0, OTHER)]
    for _ in range(10):
        assert host.hear(300, {WWW: answer(13), OTHER: answer(12)}) == ()
    assert [c.added for c in host.hear(300, {WWW: answer(13)})] == [(address(13),)]


def test_two_names_block_an_address_once() -> None:
    """Only the first one gets the block."""
    host = Host(WWW, OTHER)
    for _ in range(30):
        host.hear(300, {WWW: answer(11), OTHER: answer(11)})
    assert [change.host for _, change in host.changes] == [WWW]


def test_without_the_right_to_change_answers_are_noted() -> None:
    """The clock is doubted: sightings count, blocks stay."""
    host = Host(WWW)
    hosts = {WWW: Followed(frozenset({"exit"}), frozenset({address(10)}), frozenset())}
    state = host.state.after(3600).after(3600)
    for _ in range(3):
        state, changes = step(state, hosts, {WWW: answer(11)}, only_allowed, may_change=False)
        assert changes == ()
    assert step(state, hosts, {WWW: answer(11)}, only_allowed)[1][0].added == (address(11),)


@pytest.mark.parametrize(
    ("ttl", "wait"), [(0, 300), (299, 300), (301, 301), (3600, 3600), (2**31 - 1, 3600)]
)
def test_a_name_is_asked_again_after_its_ttl(ttl: int, wait: int) -> None:
    """At most every five minutes; at least every hour, as Tor does."""
    host = Host(WWW)
    host.hear(0, {WWW: answer(10, ttl=ttl)})
    hosts = {WWW: Followed(frozenset(), frozenset(), frozenset())}
    assert following.due(host.state.after(wait - 1), hosts) == []
    assert following.due(host.state.after(wait - 1).after(1), hosts) == [WWW]


def test_a_failure_is_tried_again_after_five_minutes() -> None:
    """Whatever the TTL of the last answer was."""
    host = Host(WWW)
    host.hear(0, {WWW: Failure("x")})
    assert host.state.names[WWW].due == MIN_SECONDS


answers = st.one_of(
    st.builds(
        Answer,
        st.frozensets(st.integers(1, 14).map(address), max_size=9),
        st.integers(0, 2**31 - 1),
        st.frozensets(st.sampled_from([4, 6])),
    ),
    st.builds(Failure, st.just("x")),
)
intervals = st.sampled_from([-5.0, 0.0, 1.0, 300.0, 1800.0, 3600.0, 86400.0, 1e9])


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(intervals, answers, st.none() | answers), max_size=60),
    st.sets(st.integers(3, 14), min_size=1, max_size=12),
)
def test_whatever_is_answered_the_limits_hold(
    said: list[tuple[float, Answer | Failure, Answer | Failure | None]], begun: set[int]
) -> None:
    """Never more than eight, never a forbidden one, never two changes an hour, never none."""
    host = Host(WWW, OTHER, blocked=begun)
    for interval, one, other in said:
        before = {name: set(its) for name, its in host.blocked.items()}
        given = {WWW: one} | ({} if other is None else {OTHER: other})
        for change in host.hear(interval, given):
            assert FORBIDDEN.isdisjoint(change.added)
            assert set(change.dropped) <= before[change.host]
            assert before[change.host].isdisjoint(change.added)
            assert isinstance(given[change.host], Answer)
        for name, its in host.blocked.items():
            assert 1 <= len(its) <= max(MAX_ADDRESSES, len(before[name]))
            assert len(host.state.names[name].seen) <= MAX_SIGHTINGS
    moments = sorted({at for at, _ in host.changes})
    assert all(b - a >= CHANGE_SECONDS for a, b in itertools.pairwise(moments))


def block(text: str, *, name: str = "www.test", follow: str = "www.test", days: int = 30) -> Block:
    """Return a block of a followed name."""
    return Block(parse_destination(text), NOW, NOW + timedelta(days=days), name=name, follow=follow)


def at(moment: datetime) -> Time:
    """Return a time that is trusted."""
    return Time(moment, moment)


def names_at(blocks: Iterable[Block], moment: datetime = NOW) -> dict[NamedHost, Followed]:
    """Return the names that blocks follow."""
    return followed(Blocks.of(blocks), at(moment), ["a", "b"])


def test_the_following_ends_with_the_block() -> None:
    """At its end nothing is followed, and the state forgets the name."""
    blocks = [block("203.0.113.7")]
    assert list(names_at(blocks, NOW + timedelta(days=29))) == [WWW]
    assert names_at(blocks, NOW + timedelta(days=30)) == {}
    host = Host(WWW)
    host.hear(300, {WWW: answer(10)})
    assert step(host.state, {}, {}, only_allowed)[0].names == {}


def test_a_name_with_other_ports_is_another_one() -> None:
    """Each has blocks of its own, for its relays."""
    found = names_at(
        [
            block("203.0.113.7:443"),
            block("203.0.113.7:22")._replace(relays=("a",)),
            block("198.51.100.0/24"),
            block("203.0.113.9", follow=""),
        ]
    )
    assert {str(name): its.relays for name, its in found.items()} == {
        "www.test:443": {"a", "b"},
        "www.test:22": {"a"},
    }
    assert all(its.blocked == {(4, 0xCB007107)} for its in found.values())


def test_other_blocks_and_ended_ones_are_not_touched() -> None:
    """What was blocked by hand is not taken over; what ended since is not blocked again."""
    blocks = [
        block("203.0.113.1", days=60),
        block("203.0.113.2", name="", follow=""),
        block("203.0.113.3", days=1),
        block("203.0.113.4", follow="")._replace(ended=NOW + timedelta(days=1)),
        block("203.0.113.5")._replace(ended=NOW - timedelta(days=1)),
    ]
    (its,) = names_at(blocks, NOW + timedelta(days=2)).values()
    assert {number & 0xFF for _, number in its.blocked} == {1}
    assert {number & 0xFF for _, number in its.taken} == {1, 2, 3}


def test_a_lifted_address_stays_lifted_as_long_as_its_name_is_followed() -> None:
    """Also when the blocks that stood at the lift have ended since: the name has left them."""
    day = timedelta(days=1)
    lifted = block("203.0.113.1")._replace(since=NOW, ended=NOW + 2 * day)
    left = block("203.0.113.2", follow="")._replace(since=NOW + day, ended=NOW + 5 * day)
    new = block("203.0.113.3")._replace(since=NOW + 3 * day)
    (its,) = names_at([lifted, left, new], NOW + 6 * day).values()
    assert {number & 0xFF for _, number in its.taken} == {1, 3}
    # Blocked again after all of its blocks had ended, a name begins anew.
    again = block("203.0.113.4")._replace(since=NOW + 7 * day)
    (its,) = names_at([lifted, left, again], NOW + 8 * day).values()
    assert {number & 0xFF for _, number in its.taken} == {4}


def test_a_host_follows_a_limited_number_of_names() -> None:
    """A ledger that was edited by hand may hold any number."""
    blocks = [
        block(f"203.0.113.7:{number}", name=f"n{number}.test", follow=f"n{number}.test")
        for number in range(1, 10_001)
    ]
    found = names_at(blocks)
    assert len(found) == MAX_FOLLOWED
    assert NamedHost("n1.test", ((1, 1),)) in found


def merged(*blocks: Block) -> Block:
    """Return the block of one destination after several commands."""
    found = Blocks.of()
    for each in blocks:
        found = found.blocked([each])
    (result,) = found
    return result


BY_ADDRESS = block("203.0.113.7", name="", follow="")


@pytest.mark.parametrize(
    ("made", "ends"),
    [
        ([block("203.0.113.7")], True),
        ([block("203.0.113.7", follow=""), block("203.0.113.7")], True),
        ([BY_ADDRESS, block("203.0.113.7")], False),
        ([block("203.0.113.7"), BY_ADDRESS], False),
        ([block("203.0.113.7", name="other.test", follow=""), block("203.0.113.7")], False),
        ([block("203.0.113.7", name="b.test", follow="b.test"), block("203.0.113.7")], False),
        ([block("203.0.113.7"), BY_ADDRESS, block("203.0.113.7")], False),
    ],
)
def test_a_block_that_was_also_made_otherwise_stays(made: list[Block], ends: bool) -> None:
    """A name that leaves an address ends no other promise."""
    before = merged(*made)
    assert "www.test" in before.names
    after = before.released("www.test", NOW + timedelta(days=1))
    assert (after.ended is not None) is ends
    assert "www.test" not in after.followed
    assert before.until == after.until


def test_two_followed_names_share_a_block() -> None:
    """It ends when both have left."""
    both = merged(block("203.0.113.7", name="b.test", follow="b.test"), block("203.0.113.7"))
    one = both.released("www.test", NOW)
    assert (one.name, one.follow, one.ended) == ("b.test", "b.test", None)
    assert one.released("b.test", NOW).ended is not None


def test_names_are_unfollowed_only_at_their_ports() -> None:
    """The other blocks stay as they are; a block by its address keeps the name."""
    blocks = Blocks.of([block("203.0.113.7:22", name=""), block("203.0.113.7:443")])
    after = blocks.unfollowed([("www.test", ((22, 22),))])
    assert [(b.name, b.follow) for b in after] == [("www.test", ""), ("www.test", "www.test")]


def test_a_destination_of_one_address_is_known() -> None:
    """A range has no address to follow."""
    assert following.is_address(Destination(4, 5, 5))
    assert not following.is_address(Destination(4, 5, 6))
