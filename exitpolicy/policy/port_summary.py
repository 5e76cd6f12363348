"""The port summary of a policy, from which clients choose an exit.

A port is listed as accepted where a rule accepts it for every address while no more than
`REJECTED_LIMIT` are counted as rejected before. Follows src/core/or/policies.c of Tor 0.4.9.11.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from exitpolicy.core.addresses import Family
from exitpolicy.core.ports import ALL_PORTS, Ports, normal_ports, ports_text
from exitpolicy.policy.rule import PRIVATE, Rule, parse_rule

REJECTED_LIMIT: Final[Mapping[Family, int]] = {4: 1 << 25, 6: 1 << 48}
"""How much may be rejected of a port that the summary accepts: IPv4 addresses, IPv6 /64s.

That is two IPv4 /8s, or one IPv6 /16 (REJECT_CUTOFF_COUNT_IPV4 and _IPV6).
"""

SUMMARY_LIMIT: Final = 1_000
"""The characters of the longest port summary (MAX_EXITPOLICY_SUMMARY_LEN)."""

NO_PORT: Final = "reject 1-65535"
"""The summary of a policy that accepts no port."""

_STEPS: Final = 16
"""About the steps of one insertion into a tree of all ports."""
_COUNT_MAX: Final = (1 << 64) - 1
_PRIVATE: Final = frozenset(
    (rule.family, rule.network, rule.prefix)
    for network in PRIVATE
    for rule in parse_rule(f"reject {network}:*")
)


@dataclass(frozen=True, slots=True)
class PortCount:
    """An interval of ports that have the same counts."""

    low: int
    high: int
    rejected: int
    """What Tor counts as rejected up to the rule that accepts all addresses, or up to the end.

    In IPv4 addresses or IPv6 /64s. What two rules reject counts twice.
    """
    accepted: bool
    """Whether the summary lists the ports as accepted."""


@dataclass(frozen=True, slots=True)
class PortSummary:
    """The summary of a policy in the consensus, for one family."""

    family: Family
    counts: tuple[PortCount, ...]
    """Intervals that cover ports 1 to 65535, ascending; neighbours differ."""
    text: str
    """The `p` or `ipv6-policy` line without its keyword, such as `accept 80,443`."""
    ports: Ports
    """The ports that a client reads from the text as accepted."""

    @property
    def is_cut(self) -> bool:
        """Whether the text is too long to name all ports that are accepted."""
        return self.ports != normal_ports((c.low, c.high) for c in self.counts if c.accepted)

    def rejected(self, port: int) -> int:
        """Return the count of a port."""
        at = bisect_right(self.counts, port, key=lambda count: count.low) - 1
        return self.counts[at].rejected

    @property
    def most_rejected(self) -> int:
        """The highest count of a port that is accepted; 0 where none is."""
        return max((count.rejected for count in self.counts if count.accepted), default=0)


def port_summary(rules: Iterable[Rule], family: Family) -> PortSummary:
    """Return the summary that Tor makes of a policy (policy_summarize).

    A port is accepted where a rule accepts it for every address while no more than
    `REJECTED_LIMIT` are counted as rejected before.
    """
    own = [rule for rule in rules if rule.family == family]
    starts = sorted(
        {1, 65536, *(edge for rule in own for edge in (max(rule.low, 1), rule.high + 1))}
    )
    index = {port: i for i, port in enumerate(starts)}
    counts = _Counts(len(starts))
    decided: list[int | None] = [None] * (len(starts) - 1)
    undecided = _Undecided(len(starts))
    for rule in own:
        first, end = index[max(rule.low, 1)], index[rule.high + 1]
        if not rule.accept:
            if count := _count(rule):
                counts.add(first, count)
                counts.add(end, -count)
        elif rule.prefix == 0:
            while (i := undecided.next(first)) < end:
                decided[i] = min(counts.at(i), _COUNT_MAX)
                undecided.remove(i)
    limit = REJECTED_LIMIT[family]
    merged: list[PortCount] = []
    for i, (low, after) in enumerate(pairwise(starts)):
        at = decided[i]
        accepted = at is not None and at <= limit
        rejected = min(counts.at(i), _COUNT_MAX) if at is None else at
        start = low
        if merged and (merged[-1].rejected, merged[-1].accepted) == (rejected, accepted):
            start = merged.pop().low
        merged.append(PortCount(start, after - 1, rejected, accepted))
    text, ports = _summary_text(merged)
    return PortSummary(family, tuple(merged), text, ports)


def _count(rule: Rule) -> int:
    """Return what a reject rule adds to the count (policy_summary_reject)."""
    if (rule.family, rule.network, rule.prefix) in _PRIVATE:
        return 0
    if rule.family == 4:
        return 1 << 32 - rule.prefix
    if rule.prefix > 64:
        return 0
    return 1 << 64 - rule.prefix if rule.prefix else _COUNT_MAX


class _Counts:
    """The sums of amounts that apply from an index on: a binary indexed tree (Fenwick, 1994)."""

    def __init__(self, size: int) -> None:
        self._tree = [0] * (size + 1)
        self._added: list[tuple[int, int]] = []
        """What is not in the tree yet: a policy may begin with thousands of rules that reject."""

    def add(self, start: int, amount: int) -> None:
        """Add an amount to all indexes from `start` on."""
        self._added.append((start, amount))

    def _insert(self) -> None:
        """Put all amounts into the tree: few one by one, many in linear time."""
        if len(self._added) * _STEPS < len(self._tree):
            for start, amount in self._added:
                i = start + 1
                while i < len(self._tree):
                    self._tree[i] += amount
                    i += i & -i
        else:
            more = [0] * len(self._tree)
            for start, amount in self._added:
                more[start + 1] += amount
            for i in range(1, len(more)):
                if (above := i + (i & -i)) < len(more):
                    more[above] += more[i]
            self._tree = [a + b for a, b in zip(self._tree, more, strict=True)]
        self._added.clear()

    def at(self, index: int) -> int:
        """Return the sum at an index."""
        if self._added:
            self._insert()
        total, i = 0, index + 1
        while i:
            total += self._tree[i]
            i -= i & -i
        return total


class _Undecided:
    """A set of indexes from 0 on, from which indexes are removed."""

    def __init__(self, size: int) -> None:
        self._next = list(range(size + 1))

    def next(self, start: int) -> int:
        """Return the first index from `start` on that is in the set, or its size."""
        i = start
        while self._next[i] != i:
            self._next[i] = self._next[self._next[i]]
            i = self._next[i]
        return i

    def remove(self, index: int) -> None:
        """Remove an index that is in the set."""
        self._next[index] = index + 1


def _summary_text(counts: Iterable[PortCount]) -> tuple[str, Ports]:
    """Return the text of a summary, cut where Tor cuts it, and the ports that it accepts."""
    counts = list(counts)
    accepted = normal_ports((c.low, c.high) for c in counts if c.accepted)
    rejected = normal_ports((c.low, c.high) for c in counts if not c.accepted)
    if not accepted:
        return NO_PORT, ()
    if not rejected:
        return "accept 1-65535", ALL_PORTS
    accepts, rejects = ports_text(accepted), ports_text(rejected)
    longest = SUMMARY_LIMIT - len("accept") - 1
    if len(accepts) > longest and len(rejects) > longest:
        accepts = accepts[: accepts.rindex(",", 0, longest + 1)]
        return f"accept {accepts}", accepted[: accepts.count(",") + 1]
    if len(rejects) < len(accepts):
        return f"reject {rejects}", accepted
    return f"accept {accepts}", accepted
