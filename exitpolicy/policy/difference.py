"""The difference between two exit policies, by meaning: what is accepted by only one of them."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from exitpolicy.core.addresses import BITS, Family
from exitpolicy.core.destination import BOTH, Destination
from exitpolicy.core.ports import Ports, difference, intersection, ports_text
from exitpolicy.policy.evaluate import Decisions, Meaning
from exitpolicy.policy.rule import Rule, parse_rule

MAX_TEXTS: Final = 8
"""The most destinations that a description names; more are counted."""

_FAMILIES: Final[tuple[Family, Family]] = (4, 6)
_PRIVATE: Final = parse_rule("reject private:*")

Addresses = tuple[tuple[int, int], ...]
"""Closed intervals of addresses, ascending; neighbours do not touch."""


@dataclass(frozen=True, slots=True)
class Area:
    """Addresses of one family on which the same ports differ."""

    family: Family
    addresses: Addresses
    ports: Ports
    everywhere: bool
    """Whether these are all addresses of the family but private and ignored ones."""

    @property
    def texts(self) -> tuple[str, ...]:
        """The area as destinations; `*` stands for more than half of the addresses."""
        size = sum(last - first + 1 for first, last in self.addresses)
        if size <= 1 << BITS[self.family] - 1:
            return tuple(
                str(Destination(self.family, first, last, self.ports))
                for first, last in self.addresses
            )
        star = "*" if self.family == 4 else "*6"
        more = "" if self.everywhere else " (not for all addresses)"
        return (f"{star}:{ports_text(self.ports)}{more}",)


@dataclass(frozen=True, slots=True)
class Difference:
    """What two policies treat differently, largest areas first."""

    accepted: tuple[Area, ...]
    """Rejected by the first policy, accepted by the second."""
    rejected: tuple[Area, ...]
    """Accepted by the first policy, rejected by the second."""

    def __bool__(self) -> bool:
        return bool(self.accepted or self.rejected)

    @property
    def sentences(self) -> tuple[str, ...]:
        """The difference for people: `now accepted: *:25`, `no longer accepted: ...`."""
        found = (("now accepted", self.accepted), ("no longer accepted", self.rejected))
        return tuple(f"{words}: {_listed(areas)}" for words, areas in found if areas)


def compare(
    before: Sequence[Rule], after: Sequence[Rule], *, ignoring: Sequence[Destination] = ()
) -> Difference:
    """Compare two policies. Differences on the destinations `ignoring` do not count."""
    if tuple(before) == tuple(after):
        return Difference((), ())
    hidden = tuple(rule for destination in ignoring for rule in rejecting(destination))
    one, other = (Decisions((*hidden, *rules)).meaning() for rules in (before, after))
    return Difference(_only_in(other, one, hidden), _only_in(one, other, hidden))


def rejecting(destination: Destination) -> Iterator[Rule]:
    """Yield the reject rules for a destination, one for each network and range of ports."""
    networks = [(part.family, *prefix) for part in destination.ranges for prefix in part.prefixes()]
    if destination.family == BOTH:
        # Both halves of `*:22` stand together, so that they can be written as one.
        yield from (Rule(False, *n, *interval) for interval in destination.ports for n in networks)
    else:
        yield from (Rule(False, *n, *interval) for n in networks for interval in destination.ports)


def _only_in(one: Meaning, other: Meaning, hidden: Sequence[Rule]) -> tuple[Area, ...]:
    """Return what the first policy accepts and the second does not.

    `hidden` are the rules for destinations that are ignored.
    """
    found: list[Area] = []
    for family, here, there in zip(_FAMILIES, one, other, strict=True):
        by_ports: defaultdict[Ports, list[tuple[int, int]]] = defaultdict(list)
        for first, last, ports, others in _both(family, here, there):
            if only := difference(ports, others):
                addresses = by_ports[only]
                if addresses and addresses[-1][1] + 1 == first:
                    addresses[-1] = (addresses[-1][0], last)
                else:
                    addresses.append((first, last))
        found += (
            Area(family, tuple(addresses), only, _is_everywhere(family, addresses, only, hidden))
            for only, addresses in by_ports.items()
        )
    return tuple(sorted(found, key=_size, reverse=True))


def _both(
    family: Family, one: Sequence[tuple[int, Ports]], other: Sequence[tuple[int, Ports]]
) -> Iterator[tuple[int, int, Ports, Ports]]:
    """Yield (first, last, ports, other ports) for each interval of addresses that differs."""
    i = j = first = 0
    end = 1 << BITS[family]
    while first < end:
        next_one = one[i + 1][0] if i + 1 < len(one) else end
        next_other = other[j + 1][0] if j + 1 < len(other) else end
        stop = min(next_one, next_other)
        if one[i][1] != other[j][1]:
            yield first, stop - 1, one[i][1], other[j][1]
        i += stop == next_one
        j += stop == next_other
        first = stop


def _size(area: Area) -> tuple[float, int]:
    share = sum(last - first + 1 for first, last in area.addresses) / (1 << BITS[area.family])
    return share, sum(high - low + 1 for low, high in area.ports)


def _is_everywhere(
    family: Family, addresses: Sequence[tuple[int, int]], ports: Ports, hidden: Sequence[Rule]
) -> bool:
    """Tell whether all other addresses are private or ignored."""
    if sum(last - first + 1 for first, last in addresses) <= 1 << BITS[family] - 1:
        return False
    rules = [
        *(rule for a, b in addresses for rule in rejecting(Destination(family, a, b, ports))),
        *(rule for rule in (*_PRIVATE, *hidden) if rule.family == family),
    ]
    meaning = Decisions(rules).meaning()[_FAMILIES.index(family)]
    return all(not intersection(ports, accepted) for _, accepted in meaning)


def _listed(areas: Sequence[Area]) -> str:
    texts = [text for area in areas for text in area.texts]
    more = f" and {len(texts) - MAX_TEXTS} more" if len(texts) > MAX_TEXTS else ""
    return f"{', '.join(texts[:MAX_TEXTS])}{more}"
