"""The rule of the guard, as the config has it."""

from datetime import timedelta
from typing import Final, NamedTuple

from exitpolicy.core.ports import ALL_PORTS, Ports

SOURCE: Final = "guard"
"""The source of the guard's blocks: they give way to those of the operator."""
LONGEST: Final = timedelta(days=1)
"""The longest time to which a block of the guard grows: anybody can flood the same site again."""
MIN_CONNECTIONS: Final = 20
"""The lowest number of connections that a rule may have."""


class Rule(NamedTuple):
    """When the guard blocks a destination, and for how long."""

    connections: int = 1000
    """It blocks an address and port with more connections than that."""
    growth: int = 0
    """If not 0, only one with at least so many more connections each minute."""
    ports: Ports = ALL_PORTS
    """It considers no other ports."""
    time: timedelta = timedelta(hours=1)
    """For how long it blocks."""
    per_hour: int = 10
    """The most blocks that it makes in an hour."""
    port_connections: int = 0
    """It reports a port with more connections than that in all; 0 for ten times `connections`."""

    @property
    def port_limit(self) -> int:
        """The connections above which a port is reported."""
        return self.port_connections or 10 * self.connections

    @property
    def remembered(self) -> int:
        """The connections above which a number is kept for the next run.

        Nothing else is: an exit keeps no record of where its users go.
        """
        return self.connections // 2
