"""How long ended blocks stay in the ledger: 31 days of observed running time.

A clock that is wrong for a moment may end blocks. They come back when the clock does
(`Blocks.resumed`), if they still stand in the ledger. The clock that says when to remove them must
therefore be one that nobody can set: the running time of the host, as far as ticks observed it.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from exitpolicy.core.block import Block, Blocks
from exitpolicy.core.clock import DOUBT_TIME, Time
from exitpolicy.core.durations import utc_text

RETENTION_SECONDS: Final = 31 * 86_400.0
SETTLED_SECONDS: Final = DOUBT_TIME.total_seconds()
"""How much running time after its end makes an end certain, as after a jump of the clock."""
MAX_INTERVAL_SECONDS: Final = 3600.0
"""The most that counts between two observations. The timer observes every 15 minutes."""


class Retention(NamedTuple):
    """The observed running time, and the ended blocks that were seen in it."""

    seconds: float = 0.0
    """The sum of the intervals between observations."""
    seen: Mapping[str, float] = MappingProxyType({})
    """For each ended block (`record_of`) the sum when it was first seen to have ended."""

    def observed(self, interval: float, blocks: Blocks, time: Time) -> "Retention":
        """Return this after one more observation, `interval` seconds of running time later.

        A block that is enforced, or whose record has changed, loses its count.
        """
        seconds = self.after(interval)
        records = [
            record_of(block)
            for block in blocks
            if block.ended is not None and block.has_ended(time.now) and not time.enforces(block)
        ]
        return Retention(seconds, {record: self.seen.get(record, seconds) for record in records})

    def after(self, interval: float) -> float:
        """Return the running time `interval` seconds later, of which at most an hour counts."""
        return self.seconds + min(max(interval, 0.0), MAX_INTERVAL_SECONDS)

    def is_over(self, block: Block) -> bool:
        """Tell whether an ended block may be removed from the ledger."""
        return self._has_passed(block, RETENTION_SECONDS)

    def is_certain(self, block: Block) -> bool:
        """Tell whether the end of an ended block may be told to others.

        A lift is final. A block that expired comes back if the clock was ahead for a moment.
        """
        return block.was_lifted or self._has_passed(block, SETTLED_SECONDS)

    def _has_passed(self, block: Block, seconds: float) -> bool:
        """Tell whether the host was seen to run for so long after it saw the end of a block."""
        first = self.seen.get(record_of(block))
        return first is not None and self.seconds - first >= seconds


def record_of(block: Block) -> str:
    """Return what identifies an ended block: `TIME DESTINATION`."""
    return f"{'' if block.ended is None else utc_text(block.ended)} {block.destination}"
