"""The rules that Tor drops from a policy because they change nothing.

Follows exit_policy_remove_redundancies in src/core/or/policies.c of Tor 0.4.9.11.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from exitpolicy.core.addresses import Family
from exitpolicy.policy.rule import Rule


def remove_redundancies(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """Return a policy without its redundant rules.

    Tor drops every rule after a catch-all of its family; every rule that one earlier rule covers;
    and every rule that one later rule of the same action covers, if no rule of the other action
    between them overlaps it. Tor needs quadratic time. This needs it only in the last step, and
    only where very many accept and reject rules alternate.
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
    for rule in rules:
        lengths = seen[rule.family]
        for length, networks in lengths.items():
            if length <= rule.prefix:
                around = networks.get(_cut(rule, length))
                if around is not None and around.holds(rule.low, rule.high):
                    break
        else:
            own = lengths.setdefault(rule.prefix, {}).setdefault(rule.network, _Intervals())
            own.add(rule.low, rule.high)
            yield rule


def _without_covered_later(rules: Iterable[Rule]) -> Iterator[Rule]:
    rules = list(rules)
    kinds: dict[bool, list[int]] = {True: [], False: []}
    places: defaultdict[tuple[bool, Family], dict[int, dict[int, list[int]]]] = defaultdict(dict)
    for i, rule in enumerate(rules):
        kinds[rule.accept].append(i)
        lengths = places[rule.accept, rule.family]
        lengths.setdefault(rule.prefix, {}).setdefault(rule.network, []).append(i)
    for i, rule in enumerate(rules):
        covering = len(rules)
        for length, networks in places[rule.accept, rule.family].items():
            if length <= rule.prefix:
                same = networks.get(_cut(rule, length))
                # Most rules are the only one, or the last one, of their network.
                if same is None or same[-1] <= i:
                    continue
                for j in _after(same, i):
                    if j >= covering:
                        break
                    if rules[j].low <= rule.low and rule.high <= rules[j].high:
                        covering = j
        others = kinds[not rule.accept]
        between = range(bisect_right(others, i), bisect_left(others, covering))
        if covering == len(rules) or any(_meet(rule, rules[others[at]]) for at in between):
            yield rule


def _cut(rule: Rule, length: int) -> int:
    """Return the network of a rule, widened to a shorter prefix."""
    bits = 32 if rule.family == 4 else 128
    return rule.network >> bits - length << bits - length


def _after(places: Sequence[int], i: int) -> Iterator[int]:
    """Yield the places after i."""
    for at in range(bisect_right(places, i), len(places)):
        yield places[at]


def _meet(rule: Rule, other: Rule) -> bool:
    """Tell whether some address and port belongs to both."""
    return (
        rule.family == other.family
        and rule.low <= other.high
        and other.low <= rule.high
        and rule.network <= other.last
        and other.network <= rule.last
    )
