"""Evaluate exit policies: the first matching rule decides, for all addresses and ports at once.

A policy is a sequence of rules in order. `Decisions` computes which rule decides which ports, for
each range of addresses on which the same rules match. All questions are answered from it.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from exitpolicy.core.addresses import BITS, Family
from exitpolicy.core.destination import BOTH, Destination
from exitpolicy.core.ports import Ports
from exitpolicy.policy.rule import Rule

IMPLICIT_ACCEPT: Final = -1
"""Stands for the rule where none matches: Tor then accepts (compare_tor_addr_to_addr_policy)."""

_KEPT: Final = 8
"""Cached policies of one family: a command evaluates a few long ones again and again."""

_KEPT_ANSWERS: Final = 1000
"""Segments and ports of which a policy remembers whether it rejects them."""

_BEYOND: Final = 1 << 40
"""Above every index of a rule."""

PortDecisions = list[tuple[int, int]]
"""(lowest port, index of the deciding rule), ascending from port 1; each holds up to the next."""

_UNMATCHED: Final[PortDecisions] = [(1, IMPLICIT_ACCEPT)]

Meaning = tuple[tuple[tuple[int, Ports], ...], ...]
"""For IPv4 and IPv6: (lowest address, accepted ports), ascending; each holds up to the next."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Part of a destination that one rule decides."""

    destination: Destination
    rule: int
    """Index into the policy, or IMPLICIT_ACCEPT."""


class Decisions:
    """Which rule of a policy decides for every address and port."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules: Final = tuple(rules)
        # The last one is that of IMPLICIT_ACCEPT, which is -1.
        self._accepts = [*(rule.accept for rule in self.rules), True]
        self._rejected: dict[tuple[int, Ports], bool] = {}
        self._segments: dict[Family, tuple[list[int], list[PortDecisions]]] = {
            family: _segments(self.rules, family) for family in (4, 6)
        }

    def pieces(self, destination: Destination) -> Iterator[Piece]:
        """Yield the parts of a destination and what decides each, by address, then port."""
        if destination.family == BOTH:
            for part in destination.ranges:
                yield from self.pieces(Destination(*part, destination.ports))
            return
        starts, decisions = self._segments[destination.family]
        index = bisect_right(starts, destination.first) - 1
        while index < len(starts) and starts[index] <= destination.last:
            first = max(starts[index], destination.first)
            end = starts[index + 1] - 1 if index + 1 < len(starts) else destination.last
            last = min(end, destination.last)
            for low, high in destination.ports:
                for start, stop, rule in _between(decisions[index], low, high):
                    yield Piece(
                        Destination(destination.family, first, last, ((start, stop),)), rule
                    )
            index += 1

    def deciding(self, destination: Destination) -> list[int]:
        """Return the rules that decide any part of a destination, in order."""
        if (only := self._only(destination)) is not None:
            return [only]
        if destination.family == BOTH:
            parts = [Destination(*part, destination.ports) for part in destination.ranges]
            return sorted({rule for part in parts for rule in self.deciding(part)})
        starts, decisions = self._segments[destination.family]
        end = bisect_right(starts, destination.last)
        index = bisect_right(starts, destination.first, 0, end) - 1
        found: set[int] = set()
        while index < end:
            decided = decisions[index]
            for low, high in destination.ports:
                # As in `_between`, written out: a command asks this for thousands of blocks.
                at = bisect_right(decided, (low, _BEYOND)) - 1
                while at < len(decided) and decided[at][0] <= high:
                    found.add(decided[at][1])
                    at += 1
            index += 1
        return sorted(found)

    def rejects(self, destination: Destination) -> bool:
        """Tell whether every address and port of a destination is rejected."""
        family, first, last, ports = destination
        if family == BOTH:
            return not any(self._accepts[rule] for rule in self.deciding(destination))
        starts, decisions = self._segments[family]
        end = bisect_right(starts, first)
        if end < len(starts) and starts[end] <= last:
            return not any(self._accepts[rule] for rule in self.deciding(destination))
        # A command asks for thousands of blocks. No address of most has rules of its own: many ask
        # for the same ports of the same segment.
        key = id(decisions[end - 1]), ports
        known = self._rejected.get(key)
        if known is None:
            known = not any(self._accepts[rule] for rule in self.deciding(destination))
            if len(self._rejected) < _KEPT_ANSWERS:
                self._rejected[key] = known
        return known

    def is_unmatched(self, family: Family, first: int, last: int) -> bool:
        """Tell whether no rule matches any port of the addresses `first` to `last`."""
        starts, decisions = self._segments[family]
        end = bisect_right(starts, first)
        if end < len(starts) and starts[end] <= last:
            some = decisions[end - 1 : bisect_right(starts, last)]
            return some.count(_UNMATCHED) == len(some)
        return decisions[end - 1] == _UNMATCHED

    def _only(self, destination: Destination) -> int | None:
        """Return the one rule that decides a destination; None if there may be several.

        A command asks this for 100,000 blocks. The same rules match all addresses of most.
        """
        family, first, last, ports = destination
        if family == BOTH:
            return None
        starts, decisions = self._segments[family]
        end = bisect_right(starts, first)
        if len(ports) != 1 or (end < len(starts) and starts[end] <= last):
            return None
        decided = decisions[end - 1]
        if len(decided) == 1:
            return decided[0][1]
        ((low, high),) = ports
        at = bisect_right(decided, (low, _BEYOND))
        return decided[at - 1][1] if at == len(decided) or decided[at][0] > high else None

    def used(self) -> set[int]:
        """Return the rules that decide anything at all."""
        return {
            index
            for _, decisions in self._segments.values()
            for decided in decisions
            for _, index in decided
        }

    def accepts(self, rule: int) -> bool:
        """Tell whether the rule with this index accepts."""
        return self._accepts[rule]

    def meaning(self) -> Meaning:
        """Return what is accepted, in a normal form: equal for policies that mean the same."""
        return tuple(_family_meaning(self.rules, family) for family in (4, 6))


def same_meaning(one: Sequence[Rule], other: Sequence[Rule]) -> bool:
    """Tell whether two policies accept and reject the same connections, all of them."""
    return tuple(one) == tuple(other) or Decisions(one).meaning() == Decisions(other).meaning()


@lru_cache(maxsize=_KEPT)
def _family_meaning(rules: tuple[Rule, ...], family: Family) -> tuple[tuple[int, Ports], ...]:
    merged: list[tuple[int, Ports]] = []
    # All addresses that no narrow rule matches share one list.
    known: dict[int, Ports] = {}
    for start, decided in zip(*_segments(rules, family), strict=True):
        accepted = known.get(id(decided))
        if accepted is None:
            accepted = known[id(decided)] = _accepted(rules, decided)
        if not merged or merged[-1][1] != accepted:
            merged.append((start, accepted))
    return tuple(merged)


def _accepted(rules: tuple[Rule, ...], decided: PortDecisions) -> Ports:
    """Return the ports that the deciding rules accept, in normal form."""
    ports: list[tuple[int, int]] = []
    begin = 0  # the lowest port of the interval that is being read; 0 outside of one
    for low, index in decided:
        if index == IMPLICIT_ACCEPT or rules[index].accept:
            begin = begin or low
        elif begin:
            ports.append((begin, low - 1))
            begin = 0
    if begin:
        ports.append((begin, 65535))
    return tuple(ports)


def _between(decided: PortDecisions, low: int, high: int) -> Iterator[tuple[int, int, int]]:
    """Yield (lowest, highest, rule) for the ports from `low` to `high`."""
    index = bisect_right(decided, (low, _BEYOND)) - 1
    while index < len(decided) and decided[index][0] <= high:
        end = decided[index + 1][0] - 1 if index + 1 < len(decided) else 65535
        yield max(low, decided[index][0]), min(high, end), decided[index][1]
        index += 1


@lru_cache(maxsize=_KEPT)
def _segments(rules: tuple[Rule, ...], family: Family) -> tuple[list[int], list[PortDecisions]]:
    """Return the addresses at which the set of matching rules changes, and what then decides."""
    wide = [i for i, rule in enumerate(rules) if rule.family == family and rule.prefix == 0]
    events: dict[int, tuple[list[int], list[int]]] = {0: ([], [])}
    for index, rule in enumerate(rules):
        if rule.family != family or rule.prefix == 0:
            continue
        events.setdefault(rule.network, ([], []))[0].append(index)
        if rule.last + 1 < 1 << BITS[family]:
            events.setdefault(rule.last + 1, ([], []))[1].append(index)
    wide_decisions = _Layers(rules, wide)
    starts: list[int] = []
    decisions: list[PortDecisions] = []
    active: set[int] = set()
    for start in sorted(events):
        begun, ended = events[start]
        active.difference_update(ended)
        active.update(begun)
        starts.append(start)
        decisions.append(wide_decisions.below(sorted(active)))
    return starts, decisions


class _Layers:
    """The decisions of the rules for all addresses, to which rules for fewer addresses are added.

    Nearly every segment has one or two narrow rules above the same long tail of wide ones
    (`accept *:80`, …). Each tail is therefore computed once.
    """

    def __init__(self, rules: Sequence[Rule], wide: list[int]) -> None:
        self._rules = rules
        self._wide = wide
        self._tails: dict[int, PortDecisions] = {len(wide): _UNMATCHED}

    def below(self, narrow: list[int]) -> PortDecisions:
        """Return the decisions where the `narrow` rules match as well as all the wide ones."""
        position = bisect_right(self._wide, narrow[-1]) if narrow else 0
        decided = self._tail(position)
        if not narrow:
            return decided
        decided = list(decided)
        for index in sorted(narrow + self._wide[:position], reverse=True):
            _lay(decided, self._rules[index], index)
        return decided

    def _tail(self, position: int) -> PortDecisions:
        if position not in self._tails:
            decided = [(1, IMPLICIT_ACCEPT)]
            for index in reversed(self._wide[position:]):
                _lay(decided, self._rules[index], index)
            self._tails[position] = decided
        return self._tails[position]


def _lay(decided: PortDecisions, rule: Rule, index: int) -> None:
    """Let an earlier rule decide its ports, in place."""
    low = max(rule.low, 1)
    if rule.high < low:
        return
    begin = bisect_left(decided, (low, IMPLICIT_ACCEPT))
    end = bisect_left(decided, (rule.high + 1, IMPLICIT_ACCEPT))
    patch = [(low, index)]
    if rule.high < 65535 and (end == len(decided) or decided[end][0] != rule.high + 1):
        # Above the rule's last port, the former rule decides again.
        patch.append((rule.high + 1, decided[end - 1][1]))
    decided[begin:end] = patch
