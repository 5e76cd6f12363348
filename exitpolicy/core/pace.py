"""How often the exit policy of a relay may change, in seconds of observed running time.

Each change makes a descriptor that Tor uploads to every directory authority. The wait is counted
in running time: a clock that is set neither shortens nor prolongs it.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

_ROUNDING: Final = 0.01
"""Seconds by which stored times may be wrong: they are written in milliseconds."""


class Pace(NamedTuple):
    """The observed running time of a host, and when the policy of each relay changed in it."""

    seconds: float = 0.0
    """The present moment."""
    changed: Mapping[str, float] = MappingProxyType({})
    """The moment of the last change, by the relay's name."""

    def wait(self, relays: Iterable[str], interval: float) -> float:
        """Return the seconds until no relay was changed within `interval`; 0 if none was.

        A moment that lies ahead was not observed in this running time, and does not count.
        """
        since = (self.seconds - self.changed[name] for name in relays if name in self.changed)
        waits = (interval - elapsed for elapsed in since if elapsed > -_ROUNDING)
        longest = min(max(waits, default=0.0), interval)
        return longest if longest > _ROUNDING else 0.0

    def noting(self, relays: Iterable[str]) -> "Pace":
        """Return this after relays were changed now."""
        return self._replace(changed={**self.changed, **dict.fromkeys(relays, self.seconds)})
