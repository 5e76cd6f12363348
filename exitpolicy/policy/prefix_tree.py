"""The tree of the prefixes that blocks ask for, and the prefixes between them.

All addresses are IPv4: IPv6 rules take no space in a descriptor.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from exitpolicy.core.addresses import BITS
from exitpolicy.core.ports import Interval, ports_text

_BITS: Final = BITS[4]
_DIGITS: Final = tuple(len(str(octet)) for octet in range(256))

Prefix = tuple[int, int]
"""A network: its first address as a number, and the length of the prefix in bits."""


def size(prefix: Prefix) -> int:
    """Return the number of addresses of a prefix."""
    return 1 << _BITS - prefix[1]


@dataclass(frozen=True, slots=True)
class PrefixTree:
    """The desired prefixes, and the longest prefix around any two that are next to each other.

    Each node stands for a prefix. Every list has one item for each node, and a node comes before
    its parent.
    """

    prefixes: Sequence[Prefix]
    ranks: Sequence[int | None]
    """The rank of a desired prefix, 0 for the most important; None for one in between."""
    parents: Sequence[int]
    """The index of the parent; the number of nodes for a root."""
    complete: Sequence[bool]
    """Whether the desired prefixes at and below the node make up the whole of it."""
    whole: Sequence[bool]
    """Whether every address of the node is desired; also because of a prefix above it."""
    desired: Sequence[int]
    """The number of desired addresses of the node."""

    def addresses(self, rank: int) -> list[int]:
        """Return for each node the number of its addresses that are desired by a rank or above.

        `rank` is the least important one that counts. The last item is that of the whole tree.
        """
        return _sums(self.prefixes, self.parents, [r is not None and r <= rank for r in self.ranks])


def prefix_tree(desired: Mapping[Prefix, int]) -> PrefixTree:
    """Return the tree of prefixes, each with its rank."""
    built = _Builder()
    for prefix in sorted(desired):
        built.add(prefix, desired[prefix])
    count = len(built.prefixes)
    order = sorted(range(count), key=lambda node: -built.prefixes[node][1])
    place = {node: at for at, node in enumerate(order)} | {-1: count}
    prefixes = [built.prefixes[node] for node in order]
    ranks = [built.ranks[node] for node in order]
    parents = [place[built.parents[node]] for node in order]
    sums = _sums(prefixes, parents, [rank is not None for rank in ranks])
    sizes = [size(prefix) for prefix in prefixes]
    complete = [total == whole for total, whole in zip(sums, sizes, strict=False)]
    whole = [*complete, False]
    for node in range(count - 1, -1, -1):
        whole[node] = whole[node] or whole[parents[node]]
        if whole[node]:
            sums[node] = sizes[node]
    return PrefixTree(prefixes, ranks, parents, complete, whole[:count], sums[:count])


def _sums(prefixes: Sequence[Prefix], parents: Sequence[int], counted: Sequence[bool]) -> list[int]:
    """Return the number of addresses of the counted prefixes at and below each node."""
    sums = [0] * (len(prefixes) + 1)
    for node, ((_, length), parent, counts) in enumerate(
        zip(prefixes, parents, counted, strict=True)
    ):
        if counts:
            sums[node] = 1 << _BITS - length
        sums[parent] += sums[node]
    return sums


@dataclass(slots=True)
class _Builder:
    """Adds prefixes in ascending order."""

    prefixes: list[Prefix] = field(default_factory=list)
    ranks: list[int | None] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    _path: list[int] = field(default_factory=list)
    """The nodes from a root to the last one that was added."""

    def add(self, prefix: Prefix, rank: int) -> None:
        path, last = self._path, None
        while path and not _contains(self.prefixes[path[-1]], prefix):
            last = path.pop()
        if last is not None:
            network, _ = self.prefixes[last]
            common = _BITS - (network ^ prefix[0]).bit_length()
            if not path or self.prefixes[path[-1]][1] < common:
                shift = _BITS - common
                self.parents[last] = self._append((network >> shift << shift, common), None)
        self._append(prefix, rank)

    def _append(self, prefix: Prefix, rank: int | None) -> int:
        node = len(self.prefixes)
        self.prefixes.append(prefix)
        self.ranks.append(rank)
        self.parents.append(self._path[-1] if self._path else -1)
        self._path.append(node)
        return node


def _contains(prefix: Prefix, other: Prefix) -> bool:
    network, length = prefix
    return length <= other[1] and (network ^ other[0]) >> _BITS - length == 0


def line_bytes(prefix: Prefix, ports: Interval) -> int:
    """Return the size of a rule in a descriptor, with its line end."""
    network, length = prefix
    around = _around(ports)
    if length == 0:
        return around + 1
    digits = (
        _DIGITS[network >> 24]
        + _DIGITS[network >> 16 & 255]
        + _DIGITS[network >> 8 & 255]
        + _DIGITS[network & 255]
    )
    mask = 0 if length == _BITS else 1 + _DIGITS[length]
    return around + 3 + digits + mask


@cache
def _around(ports: Interval) -> int:
    """Return the size of a rule without its addresses."""
    return len("reject :\n") + len(ports_text((ports,)))


class AddressSet:
    """A union of ranges of addresses, to ask whether a prefix meets it."""

    def __init__(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Take ranges as (first, last)."""
        merged: list[list[int]] = []
        for first, last in sorted(ranges):
            if merged and first <= merged[-1][1]:
                merged[-1][1] = max(merged[-1][1], last)
            else:
                merged.append([first, last])
        self._firsts = [first for first, _ in merged]
        self._lasts = [last for _, last in merged]

    def meets(self, prefix: Prefix) -> bool:
        """Tell whether an address of a prefix is in the set."""
        network, length = prefix
        at = bisect_right(self._firsts, network + (1 << _BITS - length) - 1) - 1
        return at >= 0 and self._lasts[at] >= network


def wider(prefix: Prefix, shortest: int) -> Iterator[Prefix]:
    """Yield the prefixes around a prefix, the narrowest first, down to a length."""
    network, length = prefix
    for shorter in range(length - 1, shortest - 1, -1):
        shift = _BITS - shorter
        yield network >> shift << shift, shorter
