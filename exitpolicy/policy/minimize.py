"""Compute the fewest `reject` rules for a union of destinations, and the shortest text of these.

Terms. U(a) is the set of blocked ports of address a. A component of U(a) is an interval of it
that cannot be made longer. C(v), for a CIDR prefix v, is the set of ports that are blocked on
every address of v. A rule (v, K) rejects the port interval K on the prefix v. It is allowed if
and only if K is a subset of C(v). A maximal rule is one whose K is a component of U(a) for some
address a in v, and whose v is the widest prefix around a with K in C(v). Such an address a is
called exact for the rule.

Fewest. The maximal rules together reject the union, and no smaller set of allowed rules does.
Proof: for each maximal rule (v, K), choose an exact address a, and a port q in K that is not in
C(parent of v). Every allowed rule that rejects (a, q) lies within (v, K). One rule cannot reject
the chosen points of two maximal rules: it would lie within both, and then each K would be a
subset of the other. So every solution has at least one rule for each maximal rule, and each rule
of another smallest solution lies within a maximal rule of its own.

Shortest. What remains to be chosen is how much smaller than its maximal rule each rule is. Two
maximal rules that intersect cross each other: the one with the wider prefix has the narrower
ports. A prefix has a shorter text only if it becomes a single address (`10.0.0.0/31` becomes
`10.0.0.0`). That requires exactly one exact address, and other rules that reject those ports at
every other address of the prefix. Ports have a shorter text if some of them are rejected by rules
of wider prefixes that did not become single addresses. Once it is decided which rules become
single addresses, the rules no longer depend on each other. A search makes that decision. It splits
into parts of one or two rules, except for input that was constructed to prevent that.
"""

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from exitpolicy.core.addresses import BITS, AddressRange, Family, prefixes
from exitpolicy.core.destination import BOTH, EVERY_ADDRESS, Destination
from exitpolicy.core.ports import (
    ALL_PORTS,
    Interval,
    Ports,
    contains,
    intersection,
    interval_text,
    normal_ports,
)
from exitpolicy.policy.rule import Rule

_FAMILIES: Final[tuple[Family, ...]] = (4, 6)
_MANY: Final = -1
"""Stands for "more than one exact address"."""

_KEPT: Final = 4
"""Results that are kept."""

_SEARCH_LIMIT: Final = 1000
"""Alternatives tried for rules that depend on each other; the rest keep wide prefixes.

Real ledgers stay far below it. Beyond it the rules are still the fewest, but a few characters
longer.
"""


def fewest_rules(destinations: Iterable[Destination]) -> tuple[Rule, ...]:
    """Return the fewest, then shortest, rules that reject exactly the union.

    Sorted by family, network, prefix length and ports. Equal unions give equal results, however
    they are cut into destinations.
    """
    return _fewest_rules(tuple(destinations))


# A command asks for the same blocks when it previews, when it applies, and for what stays.
@lru_cache(maxsize=_KEPT)
def _fewest_rules(destinations: tuple[Destination, ...]) -> tuple[Rule, ...]:
    by_family: dict[Family, dict[Ports, list[int]]] = {family: {} for family in _FAMILIES}
    for family, first, last, ports in destinations:
        if family == BOTH:
            for part in EVERY_ADDRESS:
                by_family[part.family].setdefault(ports, []).append(part.last)
            continue
        groups, packed = by_family[family], first << BITS[family] | last
        if (ranges := groups.get(ports)) is None:
            groups[ports] = [packed]
        else:
            ranges.append(packed)
    result: list[Rule] = []
    for family, groups in by_family.items():
        if groups.keys() <= {ALL_PORTS}:
            networks = fewest_prefixes(groups.get(ALL_PORTS, []), BITS[family])
            result.extend(Rule(False, family, network, length) for network, length in networks)
        else:
            result.extend(_rules_with_ports(family, groups))
    return tuple(result)


def fewest_prefixes(ranges: Iterable[int], bits: int) -> list[tuple[int, int]]:
    """Return the fewest CIDR prefixes of a union of address ranges: (network, length), ascending.

    A range is one number, `first << bits | last`, because a list of numbers is sorted several times
    faster than a list of pairs. A long list of addresses on all ports needs only this function.
    """
    mask = (1 << bits) - 1
    result: list[tuple[int, int]] = []
    add = result.append
    first, last = 0, -2
    for packed in sorted(ranges):
        start, end = packed >> bits, packed & mask
        if start > last + 1:
            if first == last:
                add((first, bits))
            elif last >= 0:
                result.extend(prefixes(first, last, bits))
            first, last = start, end
        elif end > last:
            last = end
    if first == last:
        add((first, bits))
    elif last >= 0:
        result.extend(prefixes(first, last, bits))
    return result


def _rules_with_ports(family: Family, groups: dict[Ports, list[int]]) -> list[Rule]:
    bits = BITS[family]
    # A tuple is in normal form; a list is a union.
    own: dict[tuple[int, int], Ports | list[Interval]] = {}
    mask = (1 << bits) - 1
    for ports, ranges in groups.items():
        if len(ranges) == 1 and ranges[0] >> bits == ranges[0] & mask:
            # Scattered addresses with ports of their own: there may be thousands of groups.
            found = [(ranges[0] & mask, bits)]
        else:
            found = fewest_prefixes(ranges, bits)
        for prefix in found:
            others = own.setdefault(prefix, ports)
            if isinstance(others, list):
                others.extend(ports)
            elif others is not ports:
                own[prefix] = [*others, *ports]
    chosen: list[Rule] = []
    for network in _lone_addresses(own, bits):
        intervals = own.pop((network, bits))
        if isinstance(intervals, list):
            intervals = normal_ports(intervals)
        chosen += [Rule(False, family, network, bits, low, high) for low, high in intervals]
    wide = _maximal_rules(own, bits)
    wide.sort(key=lambda rule: (rule.network, -rule.size, rule.ports))
    _shorten(family, wide)
    chosen += [
        Rule(False, family, rule.network, bits - rule.size.bit_length() + 1, *rule.ports)
        for rule in wide
    ]
    return sorted(chosen)


def _lone_addresses(own: Collection[tuple[int, int]], bits: int) -> list[int]:
    """Return the addresses that no rule of another address can meet: their rules are their ports.

    These are the prefixes (network, length) of one address, within no other prefix and without a
    blocked neighbour to be joined with. Most entries of a long ledger are such.
    """
    found: list[int] = []
    end, before = 0, -2
    for network, length in sorted(own):
        if length < bits:
            before, end = -2, max(end, network + (1 << bits - length))
            continue
        if network ^ 1 == before:
            if found and found[-1] == before:
                found.pop()
        elif network >= end:
            found.append(network)
        before = network
    return found


@dataclass(slots=True)
class _Maximal:
    """A maximal rule, which `_shorten` may make smaller."""

    network: int
    size: int
    """The number of addresses of the prefix."""
    ports: Interval
    exact: int
    """The only exact address, or `_MANY`."""


@dataclass(slots=True)
class _Node:
    """A prefix with blocked ports on every address."""

    network: int
    size: int
    common: Ports
    """C(v)."""
    live: dict[Interval, int]
    """For each interval of `common` with an exact address: the only one, or `_MANY`."""


@dataclass(slots=True)
class _Open:
    """A prefix of the input whose inner prefixes are being read."""

    network: int
    size: int
    ports: Ports
    """The ports blocked on all of it, by this prefix and by those around it."""
    inner: list[_Node] = field(default_factory=list)
    """The nodes read so far, ascending; two halves of a prefix are joined into one node."""


def _maximal_rules(own: Mapping[tuple[int, int], Iterable[Interval]], bits: int) -> list[_Maximal]:
    """Return the maximal rules, given the blocked ports of some prefixes (network, length)."""
    found: list[_Maximal] = []
    path = [_Open(0, 1 << bits, ())]
    for (network, length), intervals in sorted(own.items()):
        while path[-1].network + path[-1].size <= network:
            _close(path, found)
        around = path[-1].ports
        ports = normal_ports((*around, *intervals)) if around else normal_ports(intervals)
        if ports != around:
            path.append(_Open(network, 1 << bits - length, ports))
    while len(path) > 1:
        _close(path, found)
    for node in path[0].inner:
        _settle(node, node.live, found)
    return found


def _settle(node: _Node, intervals: Iterable[Interval], found: list[_Maximal]) -> None:
    """Record the maximal rules for intervals of a node that no wider prefix has."""
    found.extend(_Maximal(node.network, node.size, K, node.live[K]) for K in intervals)


def _close(path: list[_Open], found: list[_Maximal]) -> None:
    """Turn the innermost prefix into a node of the one around it."""
    done = path.pop()
    if len(done.inner) == 1 and done.inner[0].size == done.size:
        node = done.inner[0]
    else:
        # Between the inner nodes exactly `done.ports` are blocked, inside them more ports are.
        node = _Node(done.network, done.size, done.ports, dict.fromkeys(done.ports, _gap(done)))
        for inner in done.inner:
            _settle(inner, [K for K in inner.live if K not in node.live], found)
            node.live.update(dict.fromkeys(inner.live.keys() & node.live.keys(), _MANY))
    nodes = path[-1].inner
    while nodes and nodes[-1].size == node.size and nodes[-1].network == node.network ^ node.size:
        node = _join(nodes.pop(), node, found)
    nodes.append(node)


def _gap(done: _Open) -> int:
    """Return the only address of a prefix outside its inner nodes, or `_MANY`."""
    if done.size - sum(node.size for node in done.inner) > 1:
        return _MANY
    address = done.network
    for node in done.inner:
        if node.network != address:
            break
        address += node.size
    return address


def _join(low: _Node, high: _Node, found: list[_Maximal]) -> _Node:
    """Join the two halves of a prefix."""
    node = _Node(low.network, 2 * low.size, intersection(low.common, high.common), {})
    for half in low, high:
        if half.common == node.common:
            stays = set(half.live)
        else:
            stays = {ports for ports in half.live if contains(node.common, ports)}
            _settle(half, half.live.keys() - stays, found)
        for ports in stays:
            node.live[ports] = _MANY if ports in node.live else half.live[ports]
    return node


def _shorten(family: Family, rules: list[_Maximal]) -> None:
    """Make maximal rules smaller, so that their texts together are shortest.

    `rules` are sorted by network, the wider prefix first.
    """
    gains = {i: gain for i, rule in enumerate(rules) if (gain := _single_gain(family, rule)) > 0}
    crossing = {i: above for i, above in _crossings(rules) if above}
    # Single addresses matter only to rules whose ports can no longer be narrowed by them.
    leaning = {
        i: above
        for i, above in crossing.items()
        if not gains.keys().isdisjoint(above)
        and _length(_narrowed(rules, i, above, set()))
        < _length(_narrowed(rules, i, above, gains.keys()))
    }
    matters = set().union(*leaning.values()) & gains.keys()
    single = gains.keys() - matters
    if matters:
        search = _Search(rules, gains, crossing)
        single |= search.best(matters, list(leaning), frozenset(single))
    ports = {i: _narrowed(rules, i, above, single) for i, above in crossing.items()}
    for i, interval in ports.items():
        rules[i].ports = interval
    for i in single:
        rules[i].network, rules[i].size = rules[i].exact, 1


def _single_gain(family: Family, rule: _Maximal) -> int:
    """Return how many characters the only exact address saves, instead of the prefix."""
    if rule.exact == _MANY or rule.size in {1, 1 << BITS[family]}:
        return 0
    first, exact = rule.network, rule.exact
    wide = AddressRange(family, first, first + rule.size - 1).text()
    return len(wide) - len(AddressRange(family, exact, exact).text())


def _crossings(rules: Sequence[_Maximal]) -> Iterator[tuple[int, list[int]]]:
    """Yield, for each rule, the rules of wider prefixes whose ports are among its own."""
    path: list[tuple[int, list[Interval], int]] = []  # its end, the ports of its rules, the first
    start = 0
    while start < len(rules):
        network, size = rules[start].network, rules[start].size
        stop = start + 1
        while stop < len(rules) and (rules[stop].network, rules[stop].size) == (network, size):
            stop += 1
        while path and path[-1][0] <= network:
            path.pop()
        for i in range(start, stop):
            low, high = rules[i].ports
            above: list[int] = []
            if low < high and (low, high) != ALL_PORTS[0]:
                for _, intervals, offset in path:
                    at = bisect_left(intervals, (low,))
                    while at < len(intervals) and intervals[at][1] <= high:
                        above.append(offset + at)
                        at += 1
            yield i, above
        path.append((network + size, [rule.ports for rule in rules[start:stop]], start))
        start = stop


def _narrowed(
    rules: Sequence[_Maximal], i: int, above: Iterable[int], single: Iterable[int]
) -> Interval:
    """Return the ports with the shortest text that rule i may have; of equal texts, the fewest.

    Tor's port summary counts twice what two rules reject, so fewer ports are better.
    """
    low, high = rules[i].ports
    others = normal_ports(rules[j].ports for j in above if j not in single)
    # The ports that no other rule rejects are within `begin` to `end`.
    begin = next((b + 1 for a, b in others if a == low), low)
    end = next((a - 1 for a, b in others if b == high), high)
    if begin == end:
        return begin, end
    return min(begin, 10 ** len(str(low)) - 1), end


def _length(interval: Interval) -> int:
    return len(interval_text(*interval))


class _Search:
    """Search for the prefixes to write as single addresses, for the shortest text."""

    def __init__(
        self, rules: Sequence[_Maximal], gains: dict[int, int], crossing: dict[int, list[int]]
    ) -> None:
        self._rules = rules
        self._gains = gains
        self._crossing = crossing
        self._left = 0

    def best(self, undecided: set[int], leaning: list[int], single: frozenset[int]) -> set[int]:
        """Return which of the undecided rules become single addresses, as those in `single` do."""
        result: set[int] = set()
        for candidates, rules in self._parts(undecided, leaning):
            self._left = _SEARCH_LIMIT
            result |= self._branch(candidates, rules, single)[1]
        return result

    def _parts(
        self, undecided: set[int], leaning: Iterable[int]
    ) -> list[tuple[set[int], list[int]]]:
        """Divide the rules into parts that do not depend on each other."""
        parts: list[tuple[set[int], list[int]]] = []
        for i in leaning:
            candidates = undecided & set(self._crossing[i])
            if not candidates:
                continue
            rules = [i]
            apart = []
            for part in parts:
                if part[0].isdisjoint(candidates):
                    apart.append(part)
                else:
                    candidates |= part[0]
                    rules += part[1]
            parts = [*apart, (candidates, rules)]
        return parts

    def _branch(
        self, candidates: set[int], leaning: list[int], single: frozenset[int]
    ) -> tuple[int, set[int]]:
        """Return the net number of characters saved, and the rules that become single addresses."""
        widest = min(candidates, key=lambda i: (-self._rules[i].size, i))
        results = []
        for chosen in frozenset({widest}), frozenset[int]():
            if self._left <= 0 and chosen:
                continue
            self._left -= 1
            now = single | chosen
            undecided = candidates - {widest}
            saved, made = sum(self._gains[i] for i in chosen), set(chosen)
            settled = [i for i in leaning if undecided.isdisjoint(self._crossing[i])]
            for i in settled:
                saved -= _length(_narrowed(self._rules, i, self._crossing[i], now))
            rest = [i for i in leaning if i not in set(settled)]
            for part, rules in self._parts(undecided, rest):
                more, also = self._branch(part, rules, now)
                saved, made = saved + more, made | also
            results.append((saved, made))
        return max(results, key=lambda result: result[0])
