"""Clocks that jump: which time to trust.

A block must not be lifted because a dead battery moved the clock by years, or because the clock
was set back before the block began.
"""

from datetime import datetime, timedelta
from typing import Final, NamedTuple

from exitpolicy.core.block import Block, Blocks

MAX_STEP: Final = timedelta(days=31)
"""The longest trusted step between two observations. The timer observes every 15 minutes."""
DOUBT_TIME: Final = timedelta(hours=1)
"""How long a clock must run on after a jump until it is trusted."""


class Time(NamedTuple):
    """The present time, and the time that is trusted."""

    now: datetime
    """What the clock says."""
    trusted: datetime
    """The latest trusted time: `now`, unless the clock has jumped."""
    jumped_to: datetime | None = None
    """What the clock said when its jump forward was first seen; None if there was no jump."""

    @property
    def is_certain(self) -> bool:
        """Whether the clock is trusted."""
        return self.now == self.trusted

    def enforces(self, block: Block) -> bool:
        """Tell whether a block is to be enforced: it is in force now or at the trusted time.

        After a step back, the right time is one of those between: what is in force at any of them
        is enforced, unless its end is on record.
        """
        if block.in_force(self.now) or block.in_force(self.trusted):
            return True
        begins_in_time = self.now <= block.since <= self.trusted
        return begins_in_time and block.ended is None and not block.has_ended(self.now)

    def enforced(self, blocks: Blocks) -> Blocks:
        """Return the blocks that are to be enforced."""
        found = [block for block in blocks if self.enforces(block)]
        return blocks if len(found) == len(blocks) else Blocks.of(found)

    def held(self, blocks: Blocks) -> Blocks:
        """Return the blocks that are enforced only because the clock is not trusted."""
        return Blocks.of(b for b in blocks if self.enforces(b) and not b.in_force(self.now))

    def unrecorded_ends(self, blocks: Blocks) -> list[Block]:
        """Return the blocks that have ended, although the ledger does not say so yet."""
        return [b for b in blocks if not b.ended and b.has_ended(self.now) and not self.enforces(b)]


def judge_clock(now: datetime, trusted: datetime | None, jumped_to: datetime | None) -> Time:
    """Return the time for a clock that says `now`, given the previous `trusted` and `jumped_to`."""
    # Differences, because the sum of a time and a span may lie beyond the year 9999.
    if trusted is None or timedelta() <= now - trusted <= MAX_STEP:
        return Time(now, now)
    if now < trusted:
        return Time(now, trusted)
    if jumped_to is None or not timedelta() <= now - jumped_to <= MAX_STEP:
        # The first jump, or another one: the hour begins anew.
        return Time(now, trusted, now)
    return Time(now, now) if now - jumped_to >= DOUBT_TIME else Time(now, trusted, jumped_to)
