"""Repeat offenders: a destination that was blocked before is blocked for longer.

As fail2ban's `bantime.increment`: each earlier block within a window multiplies the time by a
factor, up to a bound.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

from exitpolicy.core.destination import Destination
from exitpolicy.core.ports import overlap


class Growth(NamedTuple):
    """How the time of a block grows with the earlier blocks of its destination."""

    within: timedelta = timedelta(days=90)
    """The window: an earlier block counts if it ended within this time before the new one."""
    factor: float = 2.0
    """What each earlier block multiplies the time by."""
    at_most: timedelta = timedelta(days=365)
    """The longest time to which a block grows."""

    def longer(self, until: datetime | None, now: datetime, times: int) -> datetime | None:
        """Return the end of a block that begins at `now`, given how often it was blocked before.

        It is never sooner than `until`; None is never.
        """
        if until is None or times < 1:
            return until
        asked = (until - now).total_seconds()
        seconds = asked
        bound = self.at_most.total_seconds()
        for _ in range(times):
            seconds *= self.factor
            if seconds >= bound:
                seconds = bound
                break
        return until if seconds <= asked else now + timedelta(seconds=int(seconds))


class End(NamedTuple):
    """The end of an earlier block."""

    destination: Destination
    at: datetime
    time: timedelta | None
    """For how long it was made; None if that is not known."""


class Former(NamedTuple):
    """The earlier blocks of a destination."""

    times: int
    last: End


class FormerBlocks:
    """Earlier blocks, by the addresses that they were for."""

    def __init__(self, ends: Iterable[End]) -> None:
        self._by_addresses: dict[tuple[int, int, int], list[End]] = {}
        for end in ends:
            self._by_addresses.setdefault(end.destination[:3], []).append(end)

    def of(self, destination: Destination) -> Former | None:
        """Return the earlier blocks of the same addresses with a port in common; None for none."""
        found = [
            end
            for end in self._by_addresses.get(destination[:3], ())
            if overlap(end.destination.ports, destination.ports)
        ]
        if not found:
            return None
        # Blocks of several ports of one host that ended together were one case.
        return Former(len({end.at for end in found}), max(found, key=lambda end: end.at))
