"""Clocks that are wrong: what to believe when time has jumped.

A block must not be lifted because a dead battery moved the clock by years, nor because it was set
back before the block began.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from exitpolicy.core.block import Block, Blocks

TOO_FAR: Final = timedelta(days=31)
"""Time between two looks that is doubted: the timer looks every 15 minutes."""
HOLD: Final = timedelta(hours=1)
"""How long a doubtful clock must go on before it is believed."""


@dataclass(frozen=True, slots=True)
class Time:
    """The present, as far as it can be believed."""

    now: datetime
    """What the clock says."""
    trusted: datetime
    """The latest time that was believed; `now` unless the clock jumped."""
    leapt: datetime | None = None
    """What the clock said when it was first seen to have leapt forward; None if it has not."""

    def wants(self, block: Block) -> bool:
        """Tell whether a block is to be enforced: it is in force now, or when last believed."""
        return block.in_force(self.now) or block.in_force(self.trusted)

    def held(self, blocks: Blocks) -> Blocks:
        """Return the blocks that are kept only because the clock is doubted."""
        return Blocks.of(b for b in blocks if self.wants(b) and not b.in_force(self.now))


def believe(now: datetime, trusted: datetime | None, leapt: datetime | None) -> Time:
    """Return what to make of a clock that says `now`, after what was believed before."""
    # Differences, because the sum of a time and a span may lie beyond the year 9999.
    if trusted is None or timedelta() <= now - trusted <= TOO_FAR:
        return Time(now, now)
    if now < trusted:
        return Time(now, trusted)
    if leapt is None or not timedelta() <= now - leapt <= TOO_FAR:
        # The first leap, or another one: the hour begins anew.
        return Time(now, trusted, now)
    return Time(now, now) if now - leapt >= HOLD else Time(now, trusted, leapt)
