"""Blocks written as lists, and read back."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exitpolicy.core.block import MAX_TEXT, Block
from exitpolicy.core.destination import Destination, parse_destination
from exitpolicy.core.ports import ALL_PORTS
from exitpolicy.lists import reading, writing
from exitpolicy.lists.disjoint import disjoint
from exitpolicy.lists.entry import Entry, Moment
from exitpolicy.policy.difference import rejecting
from exitpolicy.policy.evaluate import Decisions
from tests import strategies

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
MOMENT = Moment(NOW, UTC)

_ends = st.integers(1, 10**9).map(lambda n: NOW + timedelta(seconds=n)) | st.none()
_words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@st.composite
def lasting(draw: st.DrawFn) -> Block:
    """Draw a block in force, for anything but all addresses on all ports."""
    destination = draw(strategies.destinations().filter(lambda d: not _is_everything(d)))
    words = draw(st.lists(_words.filter(bool), max_size=2, unique=True).map(tuple))
    return Block(
        destination,
        NOW - timedelta(seconds=draw(st.integers(0, 10**6))),
        draw(_ends),
        *(draw(_words), draw(_words)),
        relays=words,
        source=draw(_words),
        name=draw(_words),
        references=words,
        forced=draw(st.booleans()),
    )


def _is_everything(destination: Destination) -> bool:
    return destination.is_port and destination.ports == ALL_PORTS


@st.composite
def crowded(draw: st.DrawFn) -> Block:
    """Draw a block among few addresses and ports, so that blocks meet."""
    family = draw(strategies.families)
    first = draw(st.integers(0, 6))
    low = draw(st.sampled_from((1, 2, 65534)))
    high = draw(st.sampled_from([port for port in (1, 2, 3, 65534, 65535) if port >= low]))
    destination = Destination(family, first, first + draw(st.integers(0, 4)), ((low, high),))
    until = draw(st.sampled_from((60, 120, None)))
    return Block(destination, NOW, None if until is None else NOW + timedelta(seconds=until))


def back(name: str, blocks: list[Block]) -> tuple[Entry, ...]:
    """Write blocks in a format, and read them."""
    listing = reading.read(writing.write(name, blocks, NOW).text.encode(), None, MOMENT)
    assert not listing.faults, listing.faults
    assert not blocks or listing.format == name
    return listing.entries


def block_of(entry: Entry) -> Block:
    """Return the block of an entry that carries all."""
    carried = entry.carried
    assert carried is not None
    return Block(
        entry.destination,
        carried.since,
        entry.until,
        entry.reason,
        carried.reference,
        carried.relays,
        carried.source,
        carried.name,
        carried.references,
        forced=carried.forced,
    )


@pytest.mark.parametrize("name", ["json", "csv"])
@settings(max_examples=50)
@given(blocks=st.lists(lasting(), max_size=4))
def test_json_and_csv_carry_all_that_the_ledger_holds(name: str, blocks: list[Block]) -> None:
    """Reading gives the very blocks that were written."""
    assert [block_of(entry) for entry in back(name, blocks)] == blocks


@settings(max_examples=50)
@given(blocks=st.lists(lasting(), max_size=4))
def test_a_plain_list_carries_destinations_and_ends(blocks: list[Block]) -> None:
    """Reading gives the destinations, ports and ends, in order."""
    found = [(entry.destination, entry.until) for entry in back("plain", blocks)]
    assert found == [(block.destination, block.until) for block in blocks]


def rejected(blocks: list[Block], moment: datetime) -> Decisions:
    """Return what blocks reject at a moment."""
    return Decisions(
        [
            rule
            for block in blocks
            if block.until is None or block.until > moment
            for rule in rejecting(block.destination)
        ]
    )


@pytest.mark.parametrize("name", ["torrc", "relayor", "nftables"])
@settings(max_examples=50)
@given(blocks=st.lists(crowded() | lasting(), max_size=5))
def test_the_others_carry_what_is_rejected_until_when(name: str, blocks: list[Block]) -> None:
    """At each moment the blocks that were read reject what those that were written reject."""
    found = [Block(e.destination, NOW, e.until) for e in back(name, blocks)]
    ends = {NOW, *(end for block in blocks if (end := block.until) is not None)}
    for moment in ends:
        ours, theirs = rejected(blocks, moment), rejected(found, moment)
        for block in blocks:
            lasts = block.until is None or block.until > moment
            assert not lasts or theirs.rejects(block.destination)
        for block in found:
            lasts = block.until is None or block.until > moment
            assert not lasts or ours.rejects(block.destination)


@pytest.mark.parametrize("name", ["plain", "torrc", "relayor"])
def test_a_port_at_every_address_is_one_entry(name: str) -> None:
    """`*:25` is written and read as one destination, and not as its IPv4 half."""
    block = Block(parse_destination("*:25"), NOW, NOW + timedelta(days=1))
    assert [entry.destination for entry in back(name, [block])] == [block.destination]


@settings(max_examples=50)
@given(blocks=st.lists(lasting(), max_size=4))
def test_crowdsec_carries_blocks_of_all_ports_and_names_the_others(blocks: list[Block]) -> None:
    """Blocks with ports are left out, and said."""
    written = writing.write("crowdsec", blocks, NOW)
    whole = [block for block in blocks if block.destination.ports == ALL_PORTS]
    assert [*written.left_out] == [block for block in blocks if block not in whole]
    entries = back("crowdsec", whole)
    latest = NOW + timedelta(seconds=writing.FOR_EVER)
    found = [Block(entry.destination, NOW, entry.until) for entry in entries]
    expected = [block._replace(until=block.until or latest) for block in whole]
    assert {block.until for block in found} == {block.until for block in expected}
    for block in expected:
        assert rejected(found, NOW).rejects(block.destination)
    for block in found:
        assert rejected(expected, NOW).rejects(block.destination)


@settings(max_examples=50)
@given(blocks=st.lists(crowded(), max_size=6))
def test_pieces_do_not_overlap(blocks: list[Block]) -> None:
    """No address and port is in two pieces: nft(8) refuses a set in which elements overlap."""
    pieces = disjoint(blocks)
    for i, one in enumerate(pieces):
        for other in pieces[i + 1 :]:
            assert (
                one.family != other.family
                or one.last < other.first
                or other.last < one.first
                or one.high < other.low
                or other.high < one.low
            )


def test_ended_blocks_are_not_exported_and_later_ones_only_where_their_begin_is_carried() -> None:
    """A block that begins tomorrow is in JSON and CSV, and in no other format."""
    day = timedelta(days=1)
    ended = Block(Destination(4, 1, 1), NOW - day, NOW)
    later = Block(Destination(4, 2, 2), NOW + day, None)
    for name in writing.FORMATS:
        text = writing.write(name, [ended, later], NOW).text
        assert "0.0.0.1" not in text
        assert ("0.0.0.2" in text) is (name in {"json", "csv"})


def test_a_table_is_safe_to_show() -> None:
    """Characters that control a terminal are escaped in CSV, and JSON is ASCII."""
    nasty = "\x1b[2J\u202e\\x41\n" + "x" * MAX_TEXT
    block = Block(Destination(4, 1, 1), NOW, None, nasty[:MAX_TEXT])
    for name in ("csv", "json"):
        text = writing.write(name, [block], NOW).text
        assert text.replace("\n", "").isprintable()
        assert [block_of(entry) for entry in back(name, [block])] == [block]
