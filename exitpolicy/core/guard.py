"""The guard's decision: which destinations are flooded through this host's Tors.

Anybody who uses the exit can open connections, and so choose what a guard blocks. Therefore a block
is for one address and one port, for a set time, and there are at most so many an hour.
"""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from exitpolicy.core.addresses import Family
from exitpolicy.core.destination import Destination
from exitpolicy.core.guard_rule import Rule
from exitpolicy.core.ports import contains

MAX_SECONDS: Final = 600.0
"""The longest time over which a growth is measured."""
MIN_SECONDS: Final = 20.0
"""The shortest."""
MANY_ADDRESSES: Final = 20
"""The addresses from which on a flood is one of a port."""
_WEB: Final = frozenset((80, 443))
"""Ports with many connections to many addresses at every exit: no flood of a port."""

Endpoint = tuple[Family, int, int]
"""Family, address and port, as numbers."""


class Before(NamedTuple):
    """The numbers of connections at the run before."""

    counts: Mapping[Endpoint, int] = MappingProxyType({})
    """Of the endpoints with more than `floor`."""
    floor: int = 0
    seconds: float = 0.0
    """How long ago that was, in running time."""

    def growth(self, endpoint: Endpoint, connections: int) -> int | None:
        """Return how many connections there are more each minute, at least; None if not known."""
        if not MIN_SECONDS <= self.seconds <= MAX_SECONDS:
            return None
        more = connections - self.counts.get(endpoint, self.floor)
        return int(more * 60 / self.seconds)


class Flooded(NamedTuple):
    """An address and port with more connections than the rule allows."""

    destination: Destination
    connections: int
    growth: int | None
    """How many more there are each minute; None if that is not known."""
    left: str
    """Why it is not to be blocked; empty if it is."""

    def __str__(self) -> str:
        more = f", {self.growth:,} more each minute" if self.growth and self.growth > 0 else ""
        return f"{self.connections:,} connections{more}"


class FloodedPort(NamedTuple):
    """A port with very many connections to many addresses."""

    port: int
    connections: int
    addresses: int

    def __str__(self) -> str:
        return f"port {self.port}: {self.connections:,} connections to {self.addresses:,} addresses"


class Decision(NamedTuple):
    """What the guard found."""

    flooded: tuple[Flooded, ...]
    """Those with the most connections first."""
    ports: tuple[FloodedPort, ...]

    @property
    def to_block(self) -> tuple[Flooded, ...]:
        """Those to block."""
        return tuple(one for one in self.flooded if not one.left)


def decide(
    rule: Rule,
    counts: Mapping[Endpoint, int],
    before: Before,
    unfit: Callable[[Destination], str | None],
    room: int,
) -> Decision:
    """Return what is flooded, and which of it to block.

    `counts` are the connections to each address and port, without those to relays. `unfit` tells
    why a destination must not be blocked. `room` is how many blocks may be made now.
    """
    over = sorted(
        (
            (connections, endpoint)
            for endpoint, connections in counts.items()
            if connections > rule.connections and contains(rule.ports, (endpoint[2], endpoint[2]))
        ),
        key=lambda one: (-one[0], one[1]),
    )
    found: list[Flooded] = []
    for connections, endpoint in over:
        destination = destination_of(endpoint)
        growth = before.growth(endpoint, connections)
        left = unfit(destination) or _not_growing(rule, growth)
        if not left and room < 1:
            left = f"{rule.per_hour} blocks were made within an hour, the most that are allowed"
        room -= not left
        found.append(Flooded(destination, connections, growth, left))
    flooded = {endpoint for _, endpoint in over}
    rest = ((e, n) for e, n in counts.items() if e not in flooded)
    return Decision(tuple(found), tuple(_ports(rule, rest)))


def destination_of(endpoint: Endpoint) -> Destination:
    """Return the destination of one address and port."""
    family, number, port = endpoint
    return Destination(family, number, number, ((port, port),))


def _not_growing(rule: Rule, growth: int | None) -> str:
    """Return why a number of connections does not grow enough; empty if it does."""
    if not rule.growth:
        return ""
    if growth is None:
        return "how fast it grows is known after the next run"
    if growth < rule.growth:
        return f"it grows by {max(growth, 0):,} each minute, less than {rule.growth:,}"
    return ""


def _ports(rule: Rule, counts: Iterable[tuple[Endpoint, int]]) -> list[FloodedPort]:
    """Return the flooded ports, given the connections to what is not flooded itself."""
    totals: dict[int, list[int]] = {}
    for endpoint, connections in counts:
        port = endpoint[2]
        if port not in _WEB:
            total = totals.setdefault(port, [0, 0])
            total[0] += connections
            total[1] += 1
    return [
        FloodedPort(port, connections, addresses)
        for port, (connections, addresses) in sorted(totals.items())
        if connections > rule.port_limit
        and addresses >= MANY_ADDRESSES
        and contains(rule.ports, (port, port))
    ]
