"""Merging of two sets of blocks that were changed apart, as by two admins in git.

A three-way merge by destination: what only one side has changed is taken from that side. What both
have changed keeps the promises of both. The result does not depend on which side is which, and
a merge with itself changes nothing. Merges of several sides give the same in any order, as long as
all sides speak of one block of a destination: none of them has ended it and made a new one.
"""

from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from typing import Final, NamedTuple, TypeVar

from exitpolicy.core.block import MAX_NAMES, MAX_TEXT, Block, Blocks
from exitpolicy.core.destination import Destination

T = TypeVar("T")

_BETWEEN_REASONS: Final = "; "


class Contradiction(NamedTuple):
    """What two sides say of one destination, and only a person can decide."""

    destination: Destination
    text: str
    """What contradicts what, for people."""
    base: Block | None
    """The block in the common ancestor; None if it has none."""
    ours: Block | None
    theirs: Block | None


class Merged(NamedTuple):
    """The result of a merge."""

    blocks: Blocks
    """In the order of ours, then those that only theirs has."""
    contradictions: tuple[Contradiction, ...]
    """One for each destination that is not among `blocks` for that reason."""


class _ContradictionError(Exception):
    """Two changes that cannot be merged; its text says why."""


def merged(base: Blocks, ours: Blocks, theirs: Blocks) -> Merged:
    """Merge the blocks of two sides whose common ancestor had the blocks `base`."""
    blocks: list[Block] = []
    contradictions: list[Contradiction] = []
    for destination in dict.fromkeys((*ours.by_destination, *theirs.by_destination)):
        sides = [side.by_destination.get(destination) for side in (base, ours, theirs)]
        try:
            block = _merged(*sides)
        except _ContradictionError as error:
            contradictions.append(Contradiction(destination, str(error), *sides))
        else:
            if block is not None:
                blocks.append(block)
    return Merged(Blocks.of(blocks), tuple(contradictions))


def _merged(base: Block | None, ours: Block | None, theirs: Block | None) -> Block | None:
    """Merge one block; None stands for no block. Raises _ContradictionError."""
    if theirs in (base, ours):
        return ours
    if ours == base:
        return theirs
    if ours is None:
        return _changed_and_removed(base, theirs)
    if theirs is None:
        return _changed_and_removed(base, ours)
    for old, new in ((ours, theirs), (theirs, ours)):
        if _began_after_the_end(old, new):
            return new
    return _both_changed(base, ours, theirs)


def _changed_and_removed(base: Block | None, changed: Block | None) -> Block | None:
    """Return what one side has made of a block that the other side has removed.

    The record of an ended block is no promise, so that its removal takes nothing from a new block,
    and a removal of a block agrees with its end.
    """
    if base is None or changed is None or base.ended is not None or changed.ended is not None:
        return changed
    if changed.since > base.since:
        # It was ended and made anew.
        return changed
    raise _ContradictionError("one side changed the block, the other one removed it")


def _began_after_the_end(old: Block, new: Block) -> bool:
    """Tell whether a block is newer than the end of another. The same block never is."""
    # A block that was lifted before its beginning has `ended` before `since`.
    if old.ended is None or new.since < old.ended or new.since <= old.since:
        return False
    return new.ended is None or new.ended > old.ended


def _both_changed(base: Block | None, ours: Block, theirs: Block) -> Block:
    """Merge each field. Raises _ContradictionError."""
    since = _field(base, ours, theirs, lambda block: block.since, min)
    if base is not None and not base.since == ours.since == theirs.since:
        # At least one side made a new block: the fields of the old one say nothing about it.
        base = None
    until, ended = _field(base, ours, theirs, lambda block: (block.until, block.ended), _later_end)
    references = _set(base, ours, theirs, lambda block: block.all_references)
    reference = _field(base, ours, theirs, lambda block: block.reference, max)
    if reference not in references:
        reference = max(references, default="")
    follow = _set(base, ours, theirs, lambda block: block.followed)
    if len(follow) > MAX_NAMES:
        raise _ContradictionError(f"together they follow more than {MAX_NAMES} host names")
    return ours._replace(
        since=since,
        until=until,
        reason=_reason(base, ours, theirs),
        reference=reference,
        relays=_restriction(
            base, ours, theirs, lambda block: block.relays, "each side took other relays off it"
        ),
        source=_text(
            "lists",
            _restriction(
                base, ours, theirs, lambda block: block.sources, "each side took other lists off it"
            ),
        ),
        name=_name(base, ours, theirs),
        references=tuple(one for one in references if one != reference),
        ended=ended,
        forced=_field(base, ours, theirs, lambda block: block.forced, max),
        told=_field(base, ours, theirs, lambda block: block.told, _later_moment),
        follow=" ".join(follow),
    )


def _field(
    base: Block | None,
    ours: Block,
    theirs: Block,
    value: Callable[[Block], T],
    join: Callable[[T, T], T],
) -> T:
    """Return a field that one side changed; of two changes what `join` makes of them."""
    left, right = value(ours), value(theirs)
    if base is not None:
        before = value(base)
        if left == before:
            return right
        if right == before:
            return left
    return left if left == right else join(left, right)


def _set(
    base: Block | None, ours: Block, theirs: Block, values: Callable[[Block], Collection[str]]
) -> tuple[str, ...]:
    """Return the words that both sides have, or that one has added, in alphabetical order."""
    before: Collection[str] = () if base is None else values(base)
    return _changed_words(before, values(ours), values(theirs))


def _changed_words(
    before: Iterable[str], left: Iterable[str], right: Iterable[str]
) -> tuple[str, ...]:
    known, one, other = set(before), set(left), set(right)
    return tuple(sorted((one & other) | (one - known) | (other - known)))


_End = tuple[datetime | None, datetime | None]
"""`until` and `ended` of a block."""


def _later_end(one: _End, other: _End) -> _End:
    """Return the end that counts: a lift before all others, then the later one.

    That a block expired is no decision: one that the other side renewed goes on.
    """
    return max(one, other, key=_order_of_end)


def _order_of_end(end: _End) -> tuple[bool, tuple[bool, float], tuple[bool, float]]:
    until, ended = end
    lifted = ended is not None and (until is None or ended < until)
    end_of_promise = (until is None, 0.0 if until is None else until.timestamp())
    end_of_record = (ended is not None, 0.0 if ended is None else ended.timestamp())
    if lifted:
        return True, end_of_record, end_of_promise
    return False, end_of_promise, end_of_record


def _later_moment(one: datetime | None, other: datetime | None) -> datetime | None:
    """Return the later moment; None is no moment."""
    return max(filter(None, (one, other)), default=None)


def _restriction(
    base: Block | None,
    ours: Block,
    theirs: Block,
    values: Callable[[Block], tuple[str, ...]],
    contradiction: str,
) -> tuple[str, ...]:
    """Merge a field that restricts the block to some relays or lists; empty for no restriction.

    Raises _ContradictionError where each side leaves out what the other one keeps.
    """

    def join(left: tuple[str, ...], right: tuple[str, ...]) -> tuple[str, ...]:
        before = set() if base is None else set(values(base))
        if set(left) == set(right):
            return tuple(sorted(left))
        if base is not None and not before:
            raise _ContradictionError(contradiction)
        if not left or not right:
            return ()
        words = _changed_words(before, left, right)
        if not words:
            raise _ContradictionError(contradiction)
        return words

    return _field(base, ours, theirs, values, join)


def _reason(base: Block | None, ours: Block, theirs: Block) -> str:
    """Return the reasons of both sides, each once. Raises _ContradictionError."""
    before = [] if base is None else base.reason.split(_BETWEEN_REASONS)

    def join(left: str, right: str) -> str:
        parts = (left.split(_BETWEEN_REASONS), right.split(_BETWEEN_REASONS))
        words = filter(None, _changed_words(before, *parts))
        return _checked("reasons", _BETWEEN_REASONS.join(words))

    return _field(base, ours, theirs, lambda block: block.reason, join)


def _name(base: Block | None, ours: Block, theirs: Block) -> str:
    """Return the host names of both sides. Raises _ContradictionError."""
    before = [] if base is None else base.name.split()

    def join(left: str, right: str) -> str:
        if (ours.follow or theirs.follow) and not (left and right):
            # A block that follows a name and was made by its address as well.
            return ""
        return _text("host names", _changed_words(before, left.split(), right.split()))

    return _field(base, ours, theirs, lambda block: block.name, join)


def _text(what: str, words: Iterable[str]) -> str:
    return _checked(what, " ".join(words))


def _checked(what: str, text: str) -> str:
    if len(text) > MAX_TEXT:
        raise _ContradictionError(f"the {what} of both have more than {MAX_TEXT} characters")
    return text
