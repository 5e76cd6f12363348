"""What the ledger of a fleet changes in the ledger of one of its hosts.

A three-way merge, as in `core/merging.py`: the common ancestor is what the host took last. So only
what the fleet has changed since then changes here. Blocks that this host alone has made, such as
those of its guard, stay.
"""

from collections.abc import Collection, Iterator
from typing import NamedTuple

from exitpolicy.core.block import Block, Blocks, is_later
from exitpolicy.core.clock import Time
from exitpolicy.core.destination import Destination
from exitpolicy.core.durations import until_text, utc_text
from exitpolicy.core.merging import Contradiction, merged


class Difference(NamedTuple):
    """A block that is not the same on the host as in the ledger of the fleet, and stays so."""

    destination: Destination
    text: str
    """What differs, for people."""


class Taken(NamedTuple):
    """What a host takes from the ledger of its fleet."""

    blocks: Blocks
    """All blocks of the host after it."""
    ancestor: Blocks
    """The common ancestor of the next time."""
    differences: tuple[Difference, ...]
    """What is not the same on the host as in the fleet, after it."""


def taken(
    ancestor: Blocks,
    ours: Blocks,
    theirs: Blocks,
    time: Time,
    only: Collection[Destination] = (),
) -> Taken:
    """Take what the fleet has changed since `ancestor` into the blocks of the host.

    `ours` are the blocks of the host, `theirs` those of the fleet. With `only`, other destinations
    stay as they are. A block that the fleet has removed is lifted, so that the host keeps a record
    of it, unless its end was put off on the host. A block that has ended and was never on the host
    stays out. Where the two contradict each other, the host keeps its block.
    """
    before, here, there = (_of(side, only) for side in (ancestor, ours, theirs))
    result = merged(before, here, there)
    after = {
        block.destination: block
        for block in (*ours, *result.blocks)
        if block.destination in ours or not _is_over(block, time)
    }
    contradicted = {one.destination: one for one in result.contradictions}
    after |= {d: block for d, one in contradicted.items() if (block := one.ours or one.theirs)}
    for block in here:
        contradiction = contradicted.get(block.destination)
        if block.destination in result.blocks or (contradiction and _is_kept(contradiction)):
            continue
        if block.ended is None and time.enforces(block):
            after[block.destination] = block.lifted(time.now)
    blocks = Blocks(after)
    others = (block for block in ancestor if only and block.destination not in only)
    return Taken(blocks, Blocks.of((*others, *there)), tuple(_differences(blocks, there, time)))


def _of(blocks: Blocks, only: Collection[Destination]) -> Blocks:
    """Return the blocks of some destinations; all if none is named."""
    return Blocks.of(b for b in blocks if b.destination in only) if only else blocks


def _is_kept(contradiction: Contradiction) -> bool:
    """Tell whether the host keeps a block although the fleet may have removed it."""
    base, ours = contradiction.base, contradiction.ours
    if contradiction.theirs is not None or base is None or ours is None:
        return True
    return ours.until != base.until and is_later(ours.until, base.until)


def _is_over(block: Block, time: Time) -> bool:
    """Tell whether a block has ended, as far as the clock is trusted."""
    return block.ended is not None or (block.has_ended(time.now) and not time.enforces(block))


def _differences(blocks: Blocks, theirs: Blocks, time: Time) -> Iterator[Difference]:
    """Yield each block in force of the fleet that has another end on the host."""
    for block in theirs:
        if not block.in_force(time.now):
            continue
        here = blocks.by_destination.get(block.destination)
        if here is None:
            text = "its line was removed on this host"
        elif here.ended is not None:
            what = "was lifted" if here.was_lifted else "expired"
            text = f"it {what} on this host at {utc_text(here.ended)}"
        elif here.until != block.until:
            text = (
                f"it ends at {until_text(here.until)} on this host, and at"
                f" {until_text(block.until)} in the fleet"
            )
        else:
            continue
        yield Difference(block.destination, text)
