"""Blocks as pieces that do not overlap."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from heapq import heappop, heappush
from itertools import pairwise
from typing import Final, NamedTuple

from exitpolicy.core.addresses import Family
from exitpolicy.core.block import Block
from exitpolicy.core.destination import Destination
from exitpolicy.core.ports import ALL_PORTS

_NEVER: Final = datetime.max.replace(tzinfo=UTC)


class Piece(NamedTuple):
    """A range of addresses and of ports, and when it is no longer blocked."""

    family: Family
    first: int
    last: int
    low: int
    high: int
    until: datetime | None

    @property
    def is_whole(self) -> bool:
        """Whether all ports are in it."""
        return (self.low, self.high) == ALL_PORTS[0]


def disjoint(blocks: Iterable[Block]) -> list[Piece]:
    """Return pieces that do not overlap and that are blocked as the blocks say.

    Where blocks overlap, the latest end counts. Pieces are in ascending order.
    """
    chosen = tuple(blocks)
    families: tuple[Family, ...] = (4, 6)
    return [piece for family in families for piece in _of_family(chosen, family)]


def _of_family(blocks: Iterable[Block], family: Family) -> Iterator[Piece]:
    waiting = sorted(
        (part for block in blocks for part in _parts(block) if part.destination.family == family),
        key=lambda block: block.destination.first,
        reverse=True,
    )
    edges = sorted(
        {b.destination.first for b in waiting} | {b.destination.last + 1 for b in waiting}
    )
    active: list[tuple[int, int, Block]] = []  # by the last address
    open_pieces: list[Piece] = []
    for first, after in pairwise(edges):
        while waiting and waiting[-1].destination.first == first:
            block = waiting.pop()
            heappush(active, (block.destination.last, len(waiting), block))
        while active and active[0][0] < first:
            heappop(active)
        pieces = [
            Piece(family, first, after - 1, low, high, until)
            for low, high, until in _ports([block for _, _, block in active])
        ]
        same = [piece[3:] for piece in open_pieces] == [piece[3:] for piece in pieces]
        if same and open_pieces and open_pieces[0].last == first - 1:
            open_pieces = [piece._replace(last=after - 1) for piece in open_pieces]
        else:
            yield from open_pieces
            open_pieces = pieces
    yield from open_pieces


def _parts(block: Block) -> Iterator[Block]:
    """Yield a block for each family of addresses that a block is for."""
    ranges, ports = block.destination.ranges, block.destination.ports
    return (block._replace(destination=Destination(*part, ports)) for part in ranges)


def _ports(blocks: list[Block]) -> Iterator[tuple[int, int, datetime | None]]:
    """Yield the intervals of ports that any of the blocks rejects, with the latest end of each."""
    if len(blocks) == 1:
        yield from ((low, high, blocks[0].until) for low, high in blocks[0].destination.ports)
        return
    intervals = [
        (low, high + 1, block.until or _NEVER)
        for block in blocks
        for low, high in block.destination.ports
    ]
    found: list[tuple[int, int, datetime]] = []
    for low, after in pairwise(sorted({edge for one in intervals for edge in one[:2]})):
        ends = [until for first, last, until in intervals if first <= low and after <= last]
        if not ends:
            continue
        if found and found[-1][1:] == (low - 1, max(ends)):
            found[-1] = (found[-1][0], after - 1, max(ends))
        else:
            found.append((low, after - 1, max(ends)))
    yield from ((low, high, None if end == _NEVER else end) for low, high, end in found)
