"""The blocks of one source as a set: made equal to what its list says now."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from exitpolicy.core.block import Block, Blocks
from exitpolicy.core.destination import Destination

_JITTER: Final = timedelta(minutes=1)
"""Ends that differ by less are equal: lists round the time that is left."""

_MOST_SHRINK: Final = 2
_MOST_GROWTH: Final = 10


@dataclass(frozen=True, slots=True)
class Synced:
    """The blocks after a sync, and what it changed."""

    blocks: Blocks
    added: tuple[Destination, ...]
    renewed: tuple[Destination, ...]
    """Blocks with a new end, or on other relays."""
    lifted: tuple[Destination, ...]
    """Blocks that are on no list any more."""
    unchanged: int
    """How many blocks of the source stay as they are."""
    others: int
    """How many entries the operator has blocks for; these stay as they are."""
    released: int
    """How many blocks go on for another source only."""

    @property
    def changes(self) -> bool:
        """Whether anything differs from before."""
        return bool(self.added or self.renewed or self.lifted or self.released)


def of_source(blocks: Iterable[Block], source: str, now: datetime) -> list[Block]:
    """Return the blocks of a source that have not ended."""
    return [block for block in blocks if source in block.sources and not _is_over(block, now)]


def _is_over(block: Block, now: datetime) -> bool:
    return block.ended is not None or block.has_ended(now)


def synced(
    blocks: Blocks,
    source: str,
    desired: Iterable[Block],
    now: datetime,
    moving: Collection[datetime],
) -> Synced:
    """Make the blocks of a source equal to `desired`.

    A block of the operator's stays as it is. One of another source goes on for both, with the later
    end. `moving` are ends that are so long from now, and therefore later with each sync. They are
    renewed when half of the time is over, so that the sync of an unchanged list changes nothing.
    """
    after = dict(blocks.by_destination)
    added, renewed = [], []
    named: set[Destination] = set()
    others = 0
    for block in desired:
        named.add(block.destination)
        old = after.get(block.destination)
        if old is None or _is_over(old, now):
            after[block.destination] = block
            added.append(block.destination)
            continue
        if not old.source:
            others += 1
            continue
        new = _renewed(old, block, source, now, moving)
        if new != old:
            after[block.destination] = new
            renewed.append(block.destination)
    present = of_source(blocks, source, now)
    gone = [block for block in present if block.destination not in named]
    lifted = [block.destination for block in gone if block.sources == (source,)]
    shared = [block for block in gone if block.sources != (source,)]
    for block in shared:
        rest = " ".join(name for name in block.sources if name != source)
        after[block.destination] = block._replace(source=rest)
    return Synced(
        Blocks(after).lifted(lifted, now),
        tuple(added),
        tuple(renewed),
        tuple(lifted),
        len(present) - len(gone) - sum(source in blocks.get(d).sources for d in renewed),
        others,
        len(shared),
    )


def _renewed(
    old: Block, new: Block, source: str, now: datetime, moving: Collection[datetime]
) -> Block:
    """Return the block of a list as it goes on."""
    forced = old.forced or new.forced
    if old.sources != (source,):
        names = tuple(dict.fromkeys((*old.sources, source)))
        is_later = _is_later(new.until, old.until) and not _is_fresh(old, new, now, moving)
        until = new.until if is_later else old.until
        return old._replace(source=" ".join(names), until=until, forced=forced)
    if old.relays != new.relays:
        return old._replace(until=new.until, relays=new.relays, forced=forced)
    same = not (_is_later(new.until, old.until) or _is_later(old.until, new.until))
    if same or _is_fresh(old, new, now, moving):
        # A long list has thousands of them.
        return old if forced == old.forced else old._replace(forced=forced)
    return old._replace(until=new.until, forced=forced)


def _is_later(one: datetime | None, other: datetime | None) -> bool:
    """Tell whether the end `one` is later than `other`, beyond rounding; None is never."""
    return other is not None and (one is None or one - other > _JITTER)


def _is_fresh(old: Block, new: Block, now: datetime, moving: Collection[datetime]) -> bool:
    """Tell whether a moving end lies more than half of its time ahead, and not too far."""
    if new.until is None or new.until not in moving or old.until is None:
        return False
    return (new.until - now) / 2 < old.until - now <= new.until - now + _JITTER


def suspicion(present: int, desired: int) -> str | None:
    """Return why a list is not believed, given the numbers of blocks before and after."""
    if not present:
        return None
    if desired * _MOST_SHRINK < present:
        return f"it shrank from {present:,} to {desired:,} entries, by more than half"
    if desired > present * _MOST_GROWTH:
        return f"it grew from {present:,} to {desired:,} entries, more than tenfold"
    return None
