"""Find the blocks of some addresses without a comparison with every block."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator

from exitpolicy.core.addresses import BITS, Family, prefixes
from exitpolicy.core.block import Block
from exitpolicy.core.destination import Destination


class BlockIndex:
    """Blocks by their addresses.

    A block overlaps a range if it holds its first address, or begins behind it in the range. Blocks
    that hold an address are found in one step for each prefix length.
    """

    def __init__(self, blocks: Iterable[Block]) -> None:
        self._around: dict[tuple[Family, int], dict[int, list[Block]]] = {}
        self._begin: dict[Family, list[tuple[int, Block]]] = {4: [], 6: []}
        for block in blocks:
            for family, first, last in block.destination.ranges:
                self._begin[family].append((first, block))
                for network, length in prefixes(first, last, BITS[family]):
                    shift = BITS[family] - length
                    networks = self._around.setdefault((family, shift), {})
                    networks.setdefault(network >> shift, []).append(block)
        for begun in self._begin.values():
            begun.sort(key=_first)
        self._firsts = {family: list(map(_first, begun)) for family, begun in self._begin.items()}

    def overlapping(self, destination: Destination) -> Iterator[Block]:
        """Yield the blocks that have an address and a port of a destination.

        A block for both families may come twice.
        """
        for family, first, last in destination.ranges:
            for (other, shift), networks in self._around.items():
                if other == family:
                    yield from _overlapping(networks.get(first >> shift, ()), destination)
            firsts = self._firsts[family]
            begun = self._begin[family][bisect_right(firsts, first) : bisect_right(firsts, last)]
            yield from _overlapping((block for _, block in begun), destination)


def _first(begun: tuple[int, Block]) -> int:
    return begun[0]


def _overlapping(blocks: Iterable[Block], destination: Destination) -> Iterator[Block]:
    return (block for block in blocks if block.destination.overlaps(destination))
