"""`block`: when a block is in force, and how block, renew and lift change a set of blocks."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exitpolicy.core.block import MAX_REFERENCES, MAX_TEXT, Block, Blocks, checked_text
from exitpolicy.core.destination import Destination, parse_destination
from exitpolicy.core.errors import ExitCode, NoSuchBlockError, UsageError
from exitpolicy.core.ports import ALL_PORTS
from tests.strategies import blocks, moments, words

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
DAY = timedelta(days=1)
INSTANT = timedelta(microseconds=1)
ONE, TWO = parse_destination("203.0.113.7"), parse_destination("203.0.113.0/24:22")


def block(
    destination: Destination = ONE,
    since: datetime = NOW,
    until: datetime | None = NOW + DAY,
    reason: str = "",
    reference: str = "",
) -> Block:
    """Return a block from now on for a day."""
    return Block(destination, since, until, reason, reference)


@given(blocks(), moments)
def test_a_block_is_in_force_from_its_start_until_before_its_end(b: Block, now: datetime) -> None:
    """A block is in force from its first moment, and not at its last one."""
    assert b.in_force(b.since)
    assert b.since == datetime.min.replace(tzinfo=UTC) or not b.in_force(b.since - INSTANT)
    if b.until is not None:
        assert b.in_force(b.until - INSTANT)
        assert not b.in_force(b.until)
        assert b.has_ended(b.until)
        assert not b.has_ended(b.until - INSTANT)
    assert b.in_force(now) == (b.since <= now and (b.until is None or now < b.until))
    assert not (b.in_force(now) and b.has_ended(now))


@given(blocks(), moments, moments)
def test_a_block_that_was_lifted_never_comes_back(b: Block, ended: datetime, now: datetime) -> None:
    """A block that was lifted early never is in force; for an expired one the clock decides."""
    again = b._replace(ended=ended)
    assert again.was_lifted == (b.until is None or ended < b.until)
    assert again.in_force(now) == (not again.was_lifted and b.in_force(now))
    assert again.has_ended(now) == (again.was_lifted or b.has_ended(now))


def test_a_lifted_block_changes_nothing_any_more() -> None:
    """A lifted block has no moment at which it begins or ends."""
    ledger = Blocks.of([block(since=NOW + DAY, until=NOW + 2 * DAY)._replace(ended=NOW)])
    assert ledger.next_change(NOW) is None
    assert not ledger.in_force(NOW + DAY)
    assert list(ledger.ended(NOW)) == list(ledger)


@given(st.lists(blocks(), max_size=6), moments)
def test_nothing_begins_or_ends_before_the_next_change(many: list[Block], now: datetime) -> None:
    """The blocks in force stay the same until the next change, at which one begins or ends."""
    ledger = Blocks.of(many)
    change = ledger.next_change(now)
    moments_of = {moment for b in ledger for moment in (b.since, b.until) if moment is not None}
    later = {moment for moment in moments_of if moment > now}
    assert change == (min(later) if later else None)
    if change is not None:
        assert list(ledger.in_force(now)) == list(ledger.in_force(change - INSTANT))
        assert list(ledger.ended(now)) == list(ledger.ended(change - INSTANT))
    assert not set(ledger.in_force(now)) & set(ledger.ended(now))


ends = st.none() | st.integers(1, 4).map(lambda days: NOW + days * DAY)


@given(ends, ends, words, words)
def test_blocking_again_keeps_the_later_end(
    first: datetime | None, second: datetime | None, old: str, new: str
) -> None:
    """The later of two ends counts, `never` is the latest; the new reason and reference win."""
    ledger = Blocks.of([block(until=first, reason=old, reference=new)])
    again = block(since=NOW + DAY / 2, until=second, reason=new, reference=old)
    result = ledger.blocked([again]).get(ONE)
    assert result.until == (None if first is None or second is None else max(first, second))
    assert result.since == NOW
    assert (result.reason, result.reference) == (new or old, old or new)


def test_a_block_that_was_over_is_replaced() -> None:
    """A block of a destination whose block has just ended is new, without the old reason."""
    ledger = Blocks.of([block(until=NOW, since=NOW - DAY, reason="old", reference="old")])
    new = block()
    assert list(ledger.blocked([new])) == [new]


def test_blocking_a_scheduled_destination_brings_it_forward() -> None:
    """A block that was to begin later begins now, and still ends when it was to."""
    ledger = Blocks.of([block(since=NOW + 3 * DAY, until=NOW + 5 * DAY)])
    result = ledger.blocked([block()]).get(ONE)
    assert (result.since, result.until) == (NOW, NOW + 5 * DAY)


def test_overlapping_destinations_are_blocks_of_their_own() -> None:
    """The ends of a network and of an address in it are independent."""
    ledger = Blocks.of([block(ONE)]).blocked([block(TWO, until=None)])
    assert [(b.destination, b.until) for b in ledger] == [(ONE, NOW + DAY), (TWO, None)]
    assert [b.destination for b in ledger.lifted([ONE], NOW).in_force(NOW)] == [TWO]


@pytest.mark.parametrize("until", [NOW + DAY / 2, NOW + 9 * DAY, None])
def test_renewing_moves_the_end_either_way(until: datetime | None) -> None:
    """A new end may be sooner, later or never; all else stays."""
    ledger = Blocks.of([block(reason="why", reference="who"), block(TWO)])
    renewed = ledger.renewed([ONE], until, NOW)
    assert list(renewed) == [block(until=until, reason="why", reference="who"), block(TWO)]


@pytest.mark.parametrize("until", [NOW + DAY, NOW + 2 * DAY])
def test_a_block_cannot_end_before_it_begins(until: datetime) -> None:
    """A scheduled block gets no end at or before its beginning, which no ledger may hold."""
    ledger = Blocks.of([block(since=NOW + 2 * DAY, until=None)])
    with pytest.raises(UsageError, match="before it begins, at 2026-11-24T10:00:00Z") as caught:
        ledger.renewed([ONE], until, NOW)
    assert caught.value.hint == "choose a later end, or: exitpol lift 203.0.113.7"
    with pytest.raises(UsageError, match="would end before it begins"):
        Blocks.of().blocked([block(since=NOW + 2 * DAY, until=until)])


def test_what_is_not_blocked_cannot_be_renewed_or_lifted() -> None:
    """A destination without a block of exactly its own is an error that names those near it."""
    ledger = Blocks.of([block(TWO)])

    def renew() -> Blocks:
        return ledger.renewed([ONE], None, NOW)

    def lift() -> Blocks:
        return ledger.lifted([TWO, ONE], NOW)

    for change in (renew, lift):
        with pytest.raises(NoSuchBlockError) as caught:
            change()
        assert str(caught.value) == "no block for 203.0.113.7"
        assert caught.value.hint == "blocks that overlap it: 203.0.113.0/24:22"
        assert caught.value.exit_code is ExitCode.NO_SUCH_BLOCK
    with pytest.raises(NoSuchBlockError) as caught:
        Blocks.of().get(ONE)
    assert caught.value.hint == "to see all blocks: exitpol list --all"


def test_of_many_overlapping_blocks_five_are_named() -> None:
    """The hint stays short however many blocks overlap."""
    ledger = Blocks.of(block(parse_destination(f"203.0.113.7:{port}")) for port in range(1, 8))
    with pytest.raises(NoSuchBlockError) as caught:
        ledger.get(ONE)
    assert (caught.value.hint or "").endswith("203.0.113.7:5 …")


def test_a_reference_finds_exactly_its_blocks() -> None:
    """All blocks of one ticket are found, no others; an empty or unknown one is an error."""
    ledger = Blocks.of([block(ONE, reference="A#1"), block(TWO, reference="A#11")])
    assert [b.destination for b in ledger.referring_to("A#1", NOW)] == [ONE]
    for reference in ("", "A#", "a#1"):
        with pytest.raises(NoSuchBlockError, match="no block with the reference"):
            ledger.referring_to(reference, NOW)


def test_words_are_kept_unless_too_long_or_undecodable() -> None:
    """Newlines, quotes and any character are kept; bytes that are no text are refused."""
    odd = 'a "b"\n\t\x00\x85\u2028 🙂'
    assert checked_text("reason", odd) == odd
    assert checked_text("reason", "x" * MAX_TEXT)
    with pytest.raises(UsageError, match="the reason has 1001 characters; at most 1000"):
        checked_text("reason", "x" * (MAX_TEXT + 1))
    with pytest.raises(UsageError, match="the reference holds bytes that are not UTF-8 text"):
        checked_text("reference", "caf\udce9")


@given(blocks(), moments, moments)
def test_lifting_is_for_good(b: Block, now: datetime, later: datetime) -> None:
    """No clock of any later moment brings a lifted block back, or lets it be renewed."""
    ledger = Blocks.of([b]).lifted([b.destination], now)
    assert not ledger.in_force(later)
    assert not ledger.resumable(later)
    with pytest.raises(NoSuchBlockError, match="was lifted at"):
        ledger.renewed([b.destination], None, later)
    with pytest.raises(NoSuchBlockError, match="was lifted at"):
        ledger.lifted([b.destination], later)


@given(blocks().filter(lambda b: b.until is not None), moments)
def test_an_expired_block_goes_on_if_the_clock_was_wrong(b: Block, later: datetime) -> None:
    """A block that a fast clock ended is in force again once the clock is right."""
    assert b.until is not None
    ledger = Blocks.of([b]).expired([b.destination], b.until)
    assert bool(ledger.in_force(later)) == b.in_force(later)
    assert list(ledger.resumed(later)) == ([b] if later < b.until else list(ledger))


def test_an_ended_block_is_neither_renewed_nor_found_by_its_reference() -> None:
    """An ended block cannot be changed: the error says how it ended and how to block again."""
    ledger = Blocks.of([block(reference="A#1")]).expired([ONE], NOW + DAY)
    with pytest.raises(NoSuchBlockError, match="it expired at 2026-11-23T10:00:00Z") as caught:
        ledger.renewed([ONE], None, NOW + DAY)
    assert caught.value.hint == "to block it again: exitpol block 203.0.113.7 --until WHEN"
    with pytest.raises(NoSuchBlockError, match="no block with the reference"):
        ledger.referring_to("A#1", NOW + DAY)
    assert ledger.referring_to("A#1", NOW)
    new = block(since=NOW + DAY, until=None)
    assert list(ledger.blocked([new])) == [new]
    assert not ledger.without([ONE])


def test_merged_blocks_keep_both_promises() -> None:
    """Merging keeps all relays and references, and an operator's block stays the operator's."""
    first = block(reference="A#1")._replace(relays=("a",), source="list", name="x.example")
    second = block(reference="B#2")._replace(relays=("b", "a"), references=("C#3",))
    merged = Blocks.of([first]).blocked([second]).get(ONE)
    assert (merged.relays, merged.source, merged.name) == (("a", "b"), "", "x.example")
    assert (merged.reference, merged.references) == ("B#2", ("C#3", "A#1"))
    assert Blocks.of([merged]).referring_to("A#1", NOW)
    everywhere = Blocks.of([merged]).blocked([block()]).get(ONE)
    assert everywhere.relays == ()


def test_a_block_keeps_the_names_that_it_was_made_by() -> None:
    """The newest come first, at most three; each finds it, at its ports or at any."""
    named = [block()._replace(name=name) for name in ("a.x b.x", "c.x", "d.x", "c.x")]
    ledger = Blocks.of(()).blocked(named[:1]).blocked(named[1:2]).blocked(named[2:3])
    assert [b.name for b in ledger] == ["d.x c.x a.x"]
    assert [b.name for b in ledger.blocked(named[3:])] == ["c.x d.x a.x"]
    assert [b.name for b in ledger.blocked([block()])] == ["d.x c.x a.x"]
    assert list(ledger.named("c.x", ALL_PORTS, NOW)) == list(ledger)
    web = ledger.blocked([block(parse_destination("203.0.113.7:443"))._replace(name="c.x")])
    assert len(web.named("c.x", ALL_PORTS, NOW)) == 2
    assert [str(b.destination) for b in web.named("c.x", ((443, 443),), NOW)] == ["203.0.113.7:443"]
    for name, ports in (("b.x", ALL_PORTS), ("d.x", ((443, 443),)), ("x", ALL_PORTS)):
        with pytest.raises(NoSuchBlockError, match=f"by the host name {name}"):
            web.named(name, ports, NOW)
    with pytest.raises(NoSuchBlockError):
        ledger.lifted([ONE], NOW).named("c.x", ALL_PORTS, NOW)


def test_merging_again_and_again_keeps_a_limited_number_of_tickets() -> None:
    """Whoever writes many complaints does not make the line of a block longer without end."""
    blocks = Blocks.of()
    for number in range(3 * MAX_REFERENCES):
        blocks = blocks.blocked([block(reference=f"T#{number}")])
    (kept,) = blocks
    assert kept.reference == f"T#{3 * MAX_REFERENCES - 1}"
    assert kept.references[:2] == (f"T#{3 * MAX_REFERENCES - 2}", f"T#{3 * MAX_REFERENCES - 3}")
    assert len(kept.references) == MAX_REFERENCES
