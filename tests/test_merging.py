"""`core.merging`: the merge of blocks that two admins have changed apart."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import permutations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from exitpolicy.core.block import MAX_TEXT, Block, Blocks
from exitpolicy.core.destination import parse_destination
from exitpolicy.core.merging import Merged, merged
from tests.strategies import blocks, full_blocks

DESTINATION = parse_destination("203.0.113.7:22")
DESTINATIONS = tuple(parse_destination(f"203.0.113.{number}") for number in range(3))


def at(day: int) -> datetime:
    """Return a moment, by its day."""
    return datetime(2026, 11, 1, tzinfo=UTC) + timedelta(days=day)


def block(**fields: object) -> Block:
    """Return the block of day 3 to day 30 with other fields."""
    return Block(DESTINATION, at(3), at(30))._replace(**fields)  # type: ignore[arg-type]


def one(base: Block | None, ours: Block | None, theirs: Block | None) -> Merged:
    """Merge a single block, with the same result whichever side is ours."""
    sides = [Blocks.of(filter(None, [side])) for side in (base, ours, theirs)]
    found = merged(*sides)
    mirrored = merged(sides[0], sides[2], sides[1])
    assert mirrored.blocks == found.blocks
    assert [c.text for c in mirrored.contradictions] == [c.text for c in found.contradictions]
    return found


OLD = block()
LIFTED = block(ended=at(10))
EXPIRED = block(ended=at(30))


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "expected"),
    [
        # A change of one side, whatever it is.
        (None, OLD, None, OLD),
        (OLD, block(until=at(20)), OLD, block(until=at(20))),
        (OLD, None, OLD, None),
        (OLD, None, None, None),
        (OLD, block(reason="x"), block(reason="x"), block(reason="x")),
        # Both sides.
        (None, block(until=at(20)), OLD, OLD),
        (None, OLD, block(since=at(5), until=None), block(until=None)),
        (OLD, block(until=at(20)), block(until=at(25)), block(until=at(25))),
        (OLD, block(until=at(20)), block(reason="x"), block(until=at(20), reason="x")),
        (
            OLD,
            block(reason="scans", reference="A"),
            block(reason="brute force", reference="B"),
            block(reason="brute force; scans", reference="B", references=("A",)),
        ),
        (None, block(relays=("a",)), block(relays=("b",)), block(relays=("a", "b"))),
        (None, block(relays=("a",)), OLD._replace(reason="x"), block(reason="x")),
        (
            block(relays=("a", "b", "c")),
            block(relays=("a", "b")),
            block(relays=("b", "c", "d")),
            block(relays=("b", "d")),
        ),
        (None, block(source="x"), block(source="y"), block(source="x y")),
        (None, block(source="x"), block(reference="A"), block(reference="A")),
        (
            None,
            block(name="a.example", follow="a.example"),
            OLD._replace(forced=True),
            block(follow="a.example", forced=True),
        ),
        (None, block(name="a.example"), block(name="b.example"), block(name="a.example b.example")),
        # Ends: a lift wins over what began before it, and loses against what is newer.
        (OLD, LIFTED, block(until=None, reason="x"), block(until=at(30), ended=at(10), reason="x")),
        (None, LIFTED, block(since=at(9)), LIFTED),
        (None, LIFTED, block(since=at(10)), block(since=at(10))),
        (OLD, LIFTED, block(since=at(11), until=at(12)), block(since=at(11), until=at(12))),
        (LIFTED, None, block(since=at(11)), block(since=at(11))),
        (LIFTED, None, LIFTED._replace(told=at(11)), LIFTED._replace(told=at(11))),
        (OLD, None, LIFTED, LIFTED),
        (OLD, None, block(since=at(11)), block(since=at(11))),
        (OLD, LIFTED, block(ended=at(12)), block(ended=at(12))),
        (OLD, EXPIRED, LIFTED, LIFTED),
        (OLD, EXPIRED, block(until=at(40)), block(until=at(40))),
        (OLD, EXPIRED, block(until=at(20), ended=at(20)), EXPIRED),
        # Lifted before it began: the renewed block is the same, and is lifted.
        (
            block(since=at(15)),
            block(since=at(15), ended=at(10)),
            block(since=at(15), until=at(40)),
            block(since=at(15), ended=at(10)),
        ),
    ],
)
def test_what_both_sides_did_is_in_the_result(
    base: Block | None, ours: Block | None, theirs: Block | None, expected: Block | None
) -> None:
    """By block: a change of one side counts; of two, the promises of both are kept."""
    found = one(base, ours, theirs)
    assert not found.contradictions
    assert list(found.blocks) == ([] if expected is None else [expected])


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "text"),
    [
        (OLD, None, block(until=at(40)), "one side changed the block, the other one removed it"),
        (OLD, block(relays=("a",)), block(relays=("b",)), "each side took other relays off it"),
        (
            block(relays=("a", "b")),
            block(relays=("a",)),
            block(relays=("b",)),
            "each side took other relays off it",
        ),
        (
            block(source="x y"),
            block(source="x"),
            block(source="y"),
            "each side took other lists off it",
        ),
        (
            None,
            block(reason="x" * MAX_TEXT),
            block(reason="y" * MAX_TEXT),
            "the reasons of both have more than 1000 characters",
        ),
        (
            None,
            block(follow="a.example b.example"),
            block(follow="c.example d.example"),
            "together they follow more than 3 host names",
        ),
    ],
)
def test_what_only_a_person_can_decide_is_a_contradiction(
    base: Block | None, ours: Block | None, theirs: Block | None, text: str
) -> None:
    """The result holds no guess, and the contradiction holds all that is known."""
    found = one(base, ours, theirs)
    assert not found.blocks
    (contradiction,) = found.contradictions
    assert contradiction == (DESTINATION, text, base, ours, theirs)


def test_each_field_of_a_block_is_merged() -> None:
    """A new field needs a rule in core/merging.py, or it would be that of ours."""
    changes: dict[str, object] = {
        "since": at(4),
        "until": at(31),
        "reason": "x",
        "reference": "x",
        "relays": ("x",),
        "source": "x",
        "name": "x",
        "references": ("x",),
        "ended": at(10),
        "forced": True,
        "told": at(11),
        "follow": "x.example",
    }
    assert set(changes) == set(Block._fields) - {"destination"}
    base = block(reference="T#1")
    for field, value in changes.items():
        other: dict[str, object] = {"forced": True} if field != "forced" else {"reason": "y"}
        both = [block(**{"reference": "T#1", **fields}) for fields in ({field: value}, other)]
        expected = block(**{"reference": "T#1", **other, field: value})
        assert list(one(base, *both).blocks) == [expected]


# Small domains, so that the sides meet.
_days = st.integers(1, 6).map(at)
_few = st.lists(st.sampled_from(("a", "b", "c")), max_size=2, unique=True).map(
    lambda words: tuple(sorted(words))
)
_words = st.sampled_from(("", "a", "b", "c"))


@st.composite
def histories(draw: st.DrawFn, *, since: datetime | None = None) -> Block:
    """Return a block as one side may have it, in a few days and words."""
    begin = draw(_days) if since is None else since
    until = draw(st.none() | st.integers(1, 5).map(lambda days: begin + timedelta(days)))
    made = Block(DESTINATION, begin, until, draw(_words), draw(_words), draw(_few))
    references = tuple(word for word in draw(_few) if word != made.reference)
    made = made._replace(
        references=references if made.reference else (),
        source=" ".join(draw(_few)),
        told=draw(st.none() | _days),
        forced=draw(st.booleans()),
    )
    end = draw(st.none() | st.integers(0, 5).map(lambda days: begin + timedelta(days)))
    return made._replace(ended=end)


@st.composite
def sides_of_one_block(draw: st.DrawFn) -> tuple[Blocks, tuple[Blocks, Blocks, Blocks]]:
    """Return a base and three sides that have changed its block, removed it, or made one."""
    base = draw(st.none() | histories())
    side = st.none() | histories(since=None if base is None else base.since)
    if base is not None:
        side |= st.just(base)
    sides = [draw(side) for _ in range(3)]
    for old, new in permutations([one for one in sides if one is not None], 2):
        assume(old.ended is None or new.since <= old.since or new.since < old.ended)
    first, second, third = (Blocks.of(filter(None, [one])) for one in sides)
    return Blocks.of(filter(None, [base])), (first, second, third)


_ledgers = st.lists(blocks() | full_blocks() | histories(), max_size=4).map(Blocks.of)


@settings(max_examples=60)
@given(_ledgers, _ledgers, _ledgers)
def test_which_side_is_ours_makes_no_difference(base: Blocks, ours: Blocks, theirs: Blocks) -> None:
    """Commutative: two admins who merge each other's ledger have the same one."""
    found, mirrored = merged(base, ours, theirs), merged(base, theirs, ours)
    assert found.blocks == mirrored.blocks
    assert {c.destination for c in found.contradictions} == {
        c.destination for c in mirrored.contradictions
    }


@settings(max_examples=60)
@given(_ledgers, _ledgers)
def test_a_merge_with_itself_changes_nothing(base: Blocks, ours: Blocks) -> None:
    """Idempotent; and a side that has changed nothing changes nothing."""
    for sides in ((ours, ours), (base, ours), (ours, base)):
        assert merged(base, *sides) == (ours, ())


@settings(max_examples=200)
@given(sides_of_one_block())
def test_the_order_of_merges_makes_no_difference(
    drawn: tuple[Blocks, tuple[Blocks, Blocks, Blocks]],
) -> None:
    """Associative where no conflict; and a second merge with a side changes nothing."""
    base, (first, second, third) = drawn
    left, right = merged(base, first, second), merged(base, second, third)
    assume(not left.contradictions and not right.contradictions)
    whole, other = merged(base, left.blocks, third), merged(base, first, right.blocks)
    assume(not whole.contradictions and not other.contradictions)
    assert whole == other
    assert merged(base, left.blocks, first) == left


def known(ledgers: Iterable[Blocks]) -> Mapping[object, list[Block]]:
    """Return the blocks of ledgers by destination."""
    found: dict[object, list[Block]] = {}
    for one in (block for ledger in ledgers for block in ledger):
        found.setdefault(one.destination, []).append(one)
    return found


@settings(max_examples=60)
@given(_ledgers, _ledgers, _ledgers)
def test_nothing_is_lost(base: Blocks, ours: Blocks, theirs: Blocks) -> None:
    """A block is in the result or in a contradiction, unless a side has removed it."""
    found = merged(base, ours, theirs)
    contradicted = {c.destination for c in found.contradictions}
    for destination, present in known((ours, theirs)).items():
        if destination in contradicted:
            continue
        result = found.blocks.by_destination.get(destination)  # type: ignore[call-overload]
        if result is None:
            before = base.by_destination[destination]  # type: ignore[index]
            assert present == [before], "removed by one side, unchanged by the other one"
        elif result not in present:
            # Made of two: both tickets are there, and it ends with the later one or was lifted.
            if destination not in base:
                tickets = {ticket for one in present for ticket in one.all_references}
                assert tickets == set(result.all_references)
            if not any(one.was_lifted for one in present):
                ends = [one.until or datetime.max.replace(tzinfo=UTC) for one in present]
                assert (result.until or datetime.max.replace(tzinfo=UTC)) in ends
    assert not found.blocks.by_destination.keys() - known((ours, theirs)).keys()


@given(st.permutations(DESTINATIONS), st.permutations(DESTINATIONS))
def test_the_order_is_that_of_ours(ours: list[object], theirs: list[object]) -> None:
    """Blocks that only theirs has come last."""
    sides = [
        Blocks.of(OLD._replace(destination=one) for one in side)  # type: ignore[arg-type]
        for side in (ours[:2], theirs)
    ]
    found = merged(Blocks.of(), *sides)
    assert [one.destination for one in found.blocks] == ours
