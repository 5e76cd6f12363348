"""The rules that Tor drops from a policy because they change nothing.

Follows exit_policy_remove_redundancies in src/core/or/policies.c of Tor 0.4.9.11.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from exitpolicy.core.addresses import BITS, Family
from exitpolicy.policy.rule import Rule

_NONE: Final = 1 << 62
"""Stands for no rule; above every index."""

_FEW: Final = 8
"""Rules of a network that are searched one by one."""


def remove_redundancies(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """Return a policy without its redundant rules.

    Tor drops every rule after a catch-all of its family; every rule that one earlier rule covers;
    and every rule that one later rule of the same action covers, if no rule of the other action
    between them overlaps it. Tor needs quadratic time. This needs it only for very many ranges of
    ports in one network.
    """
    return tuple(_without_covered_later(_without_covered_earlier(_without_unreachable(rules))))


@dataclass(slots=True)
class _Intervals:
    """Port intervals of one network, none of which contains another."""

    lows: list[int] = field(default_factory=list)
    highs: list[int] = field(default_factory=list)

    def holds(self, low: int, high: int) -> bool:
        """Tell whether one of them contains all the ports."""
        at = bisect_right(self.lows, low) - 1
        return at >= 0 and high <= self.highs[at]

    def add(self, low: int, high: int) -> None:
        """Add an interval that none of them contains."""
        start = bisect_left(self.lows, low)
        stop = start
        while stop < len(self.highs) and self.highs[stop] <= high:
            stop += 1
        self.lows[start:stop] = [low]
        self.highs[start:stop] = [high]


def _without_unreachable(rules: Iterable[Rule]) -> Iterator[Rule]:
    closed = set[Family]()
    for rule in rules:
        if rule.family not in closed:
            yield rule
            if rule.is_catch_all:
                closed.add(rule.family)


def _without_covered_earlier(rules: Iterable[Rule]) -> Iterator[Rule]:
    # By family and prefix length, then by network: the ports that a rule already decides.
    seen: defaultdict[Family, dict[int, dict[int, _Intervals]]] = defaultdict(dict)
    rules = list(rules)
    # The last rule of each single address: behind it, nobody asks what is decided there.
    last = {(rule.family, rule.network): i for i, rule in enumerate(rules) if _is_single(rule)}
    for i, rule in enumerate(rules):
        lengths = seen[rule.family]
        for length, networks in lengths.items():
            if length <= rule.prefix:
                around = networks.get(_cut(rule, length))
                if around is not None and around.holds(rule.low, rule.high):
                    break
        else:
            if not _is_single(rule) or last[rule.family, rule.network] > i:
                own = lengths.setdefault(rule.prefix, {}).setdefault(rule.network, _Intervals())
                own.add(rule.low, rule.high)
            yield rule


_Decided = tuple[int, int, int]
"""Lowest port, highest port and index of a rule."""


class _Network:
    """The rules of one network and action, or of the networks within it, with their ports.

    Rules are added from the last to the first, so that of two that match a port, the one that was
    added later comes earlier in the policy.
    """

    __slots__ = ("_first", "_rules")

    def __init__(self) -> None:
        self._rules: list[_Decided] = []
        self._first: list[_Decided] | None = None
        """Disjoint ascending intervals, each with the first rule there; None for few rules."""

    def add(self, low: int, high: int, index: int) -> None:
        """Add a rule that comes before all others."""
        self._rules.append((low, high, index))
        if self._first is not None:
            _lay(self._first, low, high, index)
        elif len(self._rules) > _FEW:
            self._first = []
            for rule in self._rules:
                _lay(self._first, *rule)

    def containing(self, low: int, high: int) -> int:
        """Return the first rule that contains all the ports; `_NONE` if there is none."""
        if self._first is not None:
            at = _place(self._first, low)
            if at == len(self._first) or self._first[at][0] > low:
                return _NONE
            if low == high:
                return self._first[at][2]
        # Only a range of ports in a network with many rules takes long.
        return next((i for a, b, i in reversed(self._rules) if a <= low and high <= b), _NONE)

    def meeting(self, low: int, high: int) -> int:
        """Return the first rule that has one of the ports; `_NONE` if there is none."""
        if self._first is None:
            return next((i for a, b, i in reversed(self._rules) if a <= high and low <= b), _NONE)
        found, at = _NONE, _place(self._first, low)
        while at < len(self._first) and self._first[at][0] <= high:
            found = min(found, self._first[at][2])
            at += 1
        return found


def _place(intervals: Sequence[_Decided], port: int) -> int:
    """Return the place of the first interval that ends at a port or above."""
    return bisect_left(intervals, port, key=lambda interval: interval[1])


def _lay(intervals: list[_Decided], low: int, high: int, index: int) -> None:
    """Let a rule be the first at its ports, in place."""
    begin = end = _place(intervals, low)
    laid = [(low, high, index)]
    while end < len(intervals) and intervals[end][0] <= high:
        a, b, other = intervals[end]
        if a < low:
            laid.insert(0, (a, low - 1, other))
        if b > high:
            laid.append((high + 1, b, other))
        end += 1
    intervals[begin:end] = laid


_Networks = dict[int, dict[int, _Network]]
"""By prefix length, then by network."""


def _without_covered_later(rules: Iterable[Rule]) -> Iterator[Rule]:
    rules = list(rules)
    own: defaultdict[tuple[bool, Family], _Networks] = defaultdict(dict)
    # The rules within each network of the other action.
    inner: defaultdict[tuple[bool, Family], _Networks] = defaultdict(dict)
    networks: defaultdict[tuple[bool, Family], dict[int, set[int]]] = defaultdict(dict)
    for rule in rules:
        networks[rule.accept, rule.family].setdefault(rule.prefix, set()).add(rule.network)
    # The first rule of each network: behind it, nobody asks what is within.
    first: dict[tuple[bool, Family, int, int], int] = {}
    for i, rule in enumerate(rules):
        first.setdefault((rule.accept, rule.family, rule.prefix, rule.network), i)
    kept: list[Rule] = []
    for i in range(len(rules) - 1, -1, -1):
        rule = rules[i]
        same, other = (rule.accept, rule.family), (not rule.accept, rule.family)
        around = _around(own[same], rule)
        covering = min((one.containing(rule.low, rule.high) for one in around), default=_NONE)
        if covering == _NONE or _meeting(own[other], inner[other], rule) < covering:
            kept.append(rule)
        if not _is_single(rule) or _is_asked_for(first, rule, i):
            _add(own[same], rule.prefix, rule.network, rule, i)
        for length, found in networks[other].items():
            if (
                length <= rule.prefix
                and (network := _cut(rule, length)) in found
                and first[*other, length, network] < i
            ):
                _add(inner[same], length, network, rule, i)
    yield from reversed(kept)


def _is_single(rule: Rule) -> bool:
    """Tell whether a rule is for a single address, as nearly all rules of a long policy are."""
    return rule.prefix == BITS[rule.family]


def _is_asked_for(
    first: Mapping[tuple[bool, Family, int, int], int], rule: Rule, index: int
) -> bool:
    """Tell whether an earlier rule for the single address of a rule exists, of any action."""
    return any(
        first.get((accept, rule.family, rule.prefix, rule.network), index) < index
        for accept in (True, False)
    )


def _add(networks: _Networks, length: int, network: int, rule: Rule, index: int) -> None:
    found = networks.setdefault(length, {})
    if network not in found:
        found[network] = _Network()
    found[network].add(rule.low, rule.high, index)


def _meeting(own: _Networks, inner: _Networks, rule: Rule) -> int:
    """Return the first of some rules that has an address and port of a rule."""
    found = (network.meeting(rule.low, rule.high) for network in _around(own, rule))
    within = inner.get(rule.prefix, {}).get(rule.network)
    return min(*found, _NONE, _NONE if within is None else within.meeting(rule.low, rule.high))


def _around(networks: _Networks, rule: Rule) -> Iterator[_Network]:
    """Yield the network of a rule and those around it."""
    for length, found in networks.items():
        if length <= rule.prefix and (network := found.get(_cut(rule, length))) is not None:
            yield network


def _cut(rule: Rule, length: int) -> int:
    """Return the network of a rule, widened to a shorter prefix."""
    bits = 32 if rule.family == 4 else 128
    return rule.network >> bits - length << bits - length
