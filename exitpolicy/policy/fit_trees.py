"""Blocks as trees of prefixes, one for each interval of ports, and the choices on them."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from exitpolicy.core.addresses import BITS
from exitpolicy.core.destination import Destination
from exitpolicy.core.ports import Interval, Ports, normal_ports, overlap
from exitpolicy.policy.cover_choice import Choice, Cover, Forest
from exitpolicy.policy.minimize import fewest_prefixes
from exitpolicy.policy.prefix_tree import (
    AddressSet,
    Prefix,
    PrefixTree,
    line_bytes,
    prefix_tree,
    size,
    wider,
)
from exitpolicy.policy.rule import Rule

_BITS: Final = BITS[4]
_CONTAINERS: Final = 50
"""Intervals of ports in which others are searched."""


class Candidate(NamedTuple):
    """A block that is to be enforced."""

    destination: Destination
    rank: int
    """0 for the most important blocks."""


@dataclass(frozen=True, slots=True)
class Widening:
    """How far rules may be wider than the blocks."""

    shortest: int
    """The shortest prefix of a widened rule."""
    off_limits: Callable[[Interval], AddressSet]
    """Returns the addresses that no widened rule for an interval of ports may cover."""
    room: int
    """How many addresses the rules may cover in all."""


class Worth(NamedTuple):
    """What a cover is worth: so much per desired address, less per address that no block names."""

    desired: int
    extra: int


PER_ADDRESS: Final = Worth(1, 0)


class Unit(NamedTuple):
    """A part of a block: one line of a descriptor, unless it becomes part of another."""

    ports: Interval
    prefix: Prefix

    @property
    def size(self) -> int:
        """The number of its addresses."""
        return size(self.prefix)

    @property
    def rule(self) -> Rule:
        """The rule that rejects it."""
        return Rule(False, 4, *self.prefix, *self.ports)


class Line(NamedTuple):
    """A rule that was chosen, and how many of its addresses are desired."""

    unit: Unit
    desired: int


@dataclass(slots=True)
class Stage:
    """What can be chosen on the trees. Each list has one item for each node."""

    parents: list[int] = field(default_factory=list)
    origins: list[tuple[Interval, int]] = field(default_factory=list)
    """The tree of each node, and its index there."""
    ranks: list[int | None] = field(default_factory=list)
    counted: list[int] = field(default_factory=list)
    """The number of desired addresses that are worth something."""
    lines: list[list[Prefix]] = field(default_factory=list)
    """The prefixes that may cover each node."""
    costs: list[list[int]] = field(default_factory=list)
    """The size of each of these lines, in bytes."""
    extra: list[list[int]] = field(default_factory=list)
    """For each of these lines, the number of its addresses that no block names."""

    @property
    def addresses(self) -> int:
        """The number of desired addresses that are worth something."""
        roots = len(self.parents)
        return sum(
            n for n, parent in zip(self.counted, self.parents, strict=True) if parent == roots
        )

    def forest(self, required: int, worth: Worth = PER_ADDRESS) -> Forest:
        """Return the choice in which all ranks before `required` must be covered."""
        covers = [
            [
                Cover(counted * worth.desired - extra * worth.extra, cost)
                for extra, cost in zip(extras, costs, strict=True)
            ]
            for counted, extras, costs in zip(self.counted, self.extra, self.costs, strict=True)
        ]
        return Forest(self.parents, covers, [r is not None and r < required for r in self.ranks])


class Trees:
    """The trees of all candidates."""

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        """Take the candidates, at most one for each destination."""
        self.candidates = candidates
        ports_at = _ports_at(candidates)
        units = [list(_units_of(one.destination, ports_at)) for one in candidates]
        ranks: dict[Unit, int] = {}
        for one, own in zip(candidates, units, strict=True):
            for unit in own:
                ranks[unit] = min(one.rank, ranks.get(unit, one.rank))
        hidden = _contained(ranks)
        self._ranks = {unit: rank for unit, rank in ranks.items() if unit not in hidden}
        self._units = units
        self._hides = [not hidden.isdisjoint(own) for own in units]
        by_ports: dict[Interval, dict[Prefix, int]] = {}
        for (ports, prefix), rank in self._ranks.items():
            by_ports.setdefault(ports, {})[prefix] = rank
        self._trees = {ports: prefix_tree(found) for ports, found in sorted(by_ports.items())}
        self.ranks = sorted(set(self._ranks.values()))
        """The ranks that occur, the most important first."""

    def addresses(self, candidates: Iterable[int], rank: int) -> int:
        """Return how many addresses of some candidates, by their index, count.

        These are the addresses that they desire by `rank` or a more important one.
        """
        ranges: dict[Interval, list[int]] = {}
        for index in candidates:
            for unit in self._units[index]:
                if self._ranks.get(unit, rank + 1) <= rank:
                    network = unit.prefix[0]
                    packed = network << _BITS | network + unit.size - 1
                    ranges.setdefault(unit.ports, []).append(packed)
        return sum(
            size(prefix) for packed in ranges.values() for prefix in fewest_prefixes(packed, _BITS)
        )

    def stage(self, rank: int, widening: Widening | None = None) -> Stage:
        """Return what can be chosen, if the addresses of the ranks up to `rank` count."""
        stage = Stage()
        roots: list[int] = []
        for ports, tree in self._trees.items():
            counted = tree.addresses(rank)
            lines = _covers(tree, ports, counted, widening)
            count = len(tree.prefixes)
            kept = [node for node in range(count) if lines[node]]
            place = [-1] * (count + 1)
            for index, node in enumerate(kept, len(stage.parents)):
                place[node] = index
            for node in range(count - 1, -1, -1):
                # A node without covers passes what is below it on to its parent.
                if not lines[node]:
                    place[node] = place[tree.parents[node]]
            for node in kept:
                parent = place[tree.parents[node]]
                if parent < 0:
                    roots.append(len(stage.parents))
                stage.parents.append(parent)
                stage.origins.append((ports, node))
                stage.ranks.append(tree.ranks[node])
                stage.counted.append(counted[node])
                stage.lines.append(lines[node])
                stage.costs.append([line_bytes(line, ports) for line in lines[node]])
                stage.extra.append([size(line) - tree.desired[node] for line in lines[node]])
        for root in roots:
            stage.parents[root] = len(stage.parents)
        return stage

    def chosen(self, stage: Stage, choice: Choice) -> tuple[list[int], list[Line]]:
        """Return the candidates that a choice covers wholly, by their index, and its rules.

        Rules that cover none of these wholly are left out.
        """
        lines: dict[tuple[Interval, int], Line] = {}
        for node, pick in choice.picks:
            ports, own = origin = stage.origins[node]
            unit = Unit(ports, stage.lines[node][pick])
            lines[origin] = Line(unit, self._trees[ports].desired[own])
        above = {ports: _selected_above(tree, ports, lines) for ports, tree in self._trees.items()}
        owners = {
            Unit(ports, tree.prefixes[node]): owner
            for ports, tree in self._trees.items()
            for node, owner in enumerate(above[ports])
            if owner is not None
        }
        kept: list[int] = []
        used: set[Line] = set()
        for index, units in enumerate(self._units):
            found = [owners.get(unit) for unit in units]
            if not self._hides[index] and None not in found:
                kept.append(index)
                used.update(line for line in found if line is not None)
        return kept, sorted(used)


def _ports_at(candidates: Iterable[Candidate]) -> dict[Prefix, Ports]:
    """Return the ports that blocks name at each prefix."""
    found: dict[Prefix, Ports] = {}
    for destination, _ in candidates:
        ports = destination.ports
        for prefix in _prefixes(destination):
            former = found.setdefault(prefix, ports)
            if former is not ports and former != ports:
                found[prefix] = normal_ports((*former, *ports))
    return found


def _prefixes(destination: Destination) -> Iterable[Prefix]:
    family, first, last, _ = destination
    if family == 4 and first == last:
        return ((first, _BITS),)
    return [p for part in destination.ranges if part.family == 4 for p in part.prefixes()]


def _units_of(destination: Destination, ports_at: Mapping[Prefix, Ports]) -> Iterator[Unit]:
    for prefix in _prefixes(destination):
        for interval in ports_at[prefix]:
            if overlap(destination.ports, (interval,)):
                yield Unit(interval, prefix)


def _contained(ranks: Mapping[Unit, int]) -> frozenset[Unit]:
    """Return the units that another one of the same or a more important rank contains.

    Only those with more ports are sought: what has the same ports is in the same tree.
    """
    counts = Counter(unit.ports for unit in ranks)
    wide = [p for p, _ in counts.most_common() if p[0] < p[1]][:_CONTAINERS]
    around = {
        ports: [o for o in wide if o != ports and o[0] <= ports[0] and ports[1] <= o[1]]
        for ports in counts
    }
    needed = {other for others in around.values() for other in others}
    if not needed:
        return frozenset()
    networks: dict[Interval, dict[int, dict[int, int]]] = {}
    for (ports, (network, length)), rank in ranks.items():
        if ports in needed:
            networks.setdefault(ports, {}).setdefault(length, {})[network] = rank
    return frozenset(
        unit
        for unit, rank in ranks.items()
        if any(_is_within(unit.prefix, rank, networks[other]) for other in around[unit.ports])
    )


def _is_within(prefix: Prefix, rank: int, networks: Mapping[int, Mapping[int, int]]) -> bool:
    network, length = prefix
    return any(
        by_network.get(network >> _BITS - other << _BITS - other, rank + 1) <= rank
        for other, by_network in networks.items()
        if other <= length
    )


def _covers(
    tree: PrefixTree, ports: Interval, worth: Sequence[int], widening: Widening | None
) -> list[list[Prefix]]:
    """Return for each node the prefixes that may cover it, each with fewer bytes than before."""
    off_limits = None if widening is None else widening.off_limits(ports)
    found: list[list[Prefix]] = []
    count = len(tree.prefixes)
    for node, prefix in enumerate(tree.prefixes):
        own: list[Prefix] = []
        if worth[node]:
            if tree.complete[node] if widening is None else tree.whole[node]:
                own.append(prefix)
            if widening is not None and off_limits is not None:
                parent = tree.parents[node]
                if parent == count or not tree.whole[parent]:
                    above = -1 if parent == count else tree.prefixes[parent][1]
                    shortest = max(above + 1, widening.shortest)
                    own += _widened(prefix, ports, shortest, off_limits, own)
        found.append(own)
    return found


def _widened(
    prefix: Prefix,
    ports: Interval,
    shortest: int,
    off_limits: AddressSet,
    own: Sequence[Prefix],
) -> Iterator[Prefix]:
    """Yield the prefixes that may cover a node although no block names all their addresses."""
    least = line_bytes(prefix, ports) if own else None
    around = wider(prefix, shortest)
    for one in around if own or prefix[1] < shortest else (prefix, *around):
        cost = line_bytes(one, ports)
        if least is None or cost < least:
            if off_limits.meets(one):
                return
            least = cost
            yield one


def _selected_above(
    tree: PrefixTree, ports: Interval, lines: Mapping[tuple[Interval, int], Line]
) -> list[Line | None]:
    """Return for each node the rule that covers it."""
    count = len(tree.prefixes)
    found: list[Line | None] = [None] * (count + 1)
    for node in range(count - 1, -1, -1):
        found[node] = found[tree.parents[node]] or lines.get((ports, node))
    return found[:count]
