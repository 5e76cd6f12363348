"""The fewest rules that reject exactly a set of destinations."""

from collections.abc import Iterable

from exitpolicy.destination import Destination
from exitpolicy.rule import Rule


def fewest_rules(destinations: Iterable[Destination]) -> tuple[Rule, ...]:
    """Return `reject` rules for the union of the destinations, in a fixed order."""
    rules = {
        Rule(False, destination.family, network, prefix, low, high)
        for destination in destinations
        for network, prefix in destination.prefixes()
        for low, high in destination.ports
    }
    return tuple(sorted(rules, key=lambda r: (r.family, r.network, r.prefix, r.low, r.high)))
