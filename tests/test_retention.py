"""`core.retention`: no wrong clock loses a block or removes the record of one."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exitpolicy.core.block import Block, Blocks
from exitpolicy.core.clock import Time, judge_clock
from exitpolicy.core.destination import parse_destination
from exitpolicy.core.retention import (
    MAX_INTERVAL_SECONDS,
    RETENTION_SECONDS,
    Retention,
    record_of,
)

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)
SHORT, LONG, FOREVER, GONE = (parse_destination(f"203.0.113.{n}") for n in (1, 2, 3, 4))
BLOCKS = Blocks.of(
    [
        Block(SHORT, NOW - DAY, NOW + 10 * DAY),
        Block(LONG, NOW - DAY, NOW + 300 * DAY),
        Block(FOREVER, NOW - DAY, None),
        Block(GONE, NOW - DAY, NOW + 10 * DAY),
    ]
).lifted([GONE], NOW)
STEPS = st.integers(1, 10 * 365 * 24 * 60).map(lambda minutes: minutes * MINUTE)


class Host:
    """What ticks do to a ledger, with a clock that may be wrong."""

    def __init__(self) -> None:
        self.blocks = BLOCKS
        self.retention = Retention()
        self.trusted: datetime | None = None
        self.jumped_to: datetime | None = None

    def tick(self, now: datetime, interval: float = 900.0) -> Time:
        """Expire, resume and remove as `expire` does; return the time as it was judged."""
        time = judge_clock(now, self.trusted, self.jumped_to)
        self.trusted, self.jumped_to = time.trusted, time.jumped_to
        ended = [b for b in self.blocks if b.has_ended(now) and not time.enforces(b)]
        blocks = self.blocks.resumed(now)
        blocks = blocks.expired([b.destination for b in ended if b.ended is None], now)
        self.blocks = blocks.without(
            b.destination for b in ended if b.ended is not None and self.retention.is_over(b)
        )
        self.retention = self.retention.observed(interval, self.blocks, time)
        return time

    def enforced(self, time: Time) -> set[object]:
        """Return the destinations that are enforced."""
        return {block.destination for block in self.blocks if time.enforces(block)}


@settings(max_examples=200)
@given(st.lists(st.tuples(STEPS, st.booleans()), min_size=1, max_size=5))
def test_wrong_ticks_of_any_size_lose_nothing(wrong: list[tuple[timedelta, bool]]) -> None:
    """After a wrong clock of any offset is corrected, the blocks are as before."""
    host = Host()
    host.tick(NOW)
    for step, ahead in wrong:
        host.tick(NOW + step if ahead else NOW - step, interval=step.total_seconds())
    time = host.tick(NOW + MINUTE)
    assert host.enforced(time) == {SHORT, LONG, FOREVER}
    assert host.blocks == BLOCKS


@given(STEPS, st.integers(1, 30))
def test_a_clock_that_stays_wrong_for_a_month_removes_nothing(step: timedelta, days: int) -> None:
    """A wrong clock, trusted after an hour, ends blocks; their records are kept."""
    host = Host()
    host.tick(NOW)
    for hour in range(days * 24):
        host.tick(NOW + step + hour * 60 * MINUTE, interval=3600.0)
    time = host.tick(NOW + days * DAY)
    expected = {LONG, FOREVER} if days >= 10 else {SHORT, LONG, FOREVER}
    assert host.enforced(time) == expected
    assert len(host.blocks) == len(BLOCKS)


def test_after_31_days_of_running_time_an_ended_block_is_removed() -> None:
    """The sum of the intervals counts, not the clock."""
    host = Host()
    ticks = int(RETENTION_SECONDS / 900)
    for number in range(ticks + 1):
        host.tick(NOW + number * 15 * MINUTE)
        assert GONE in host.blocks
    host.tick(NOW + (ticks + 1) * 15 * MINUTE)
    assert GONE not in host.blocks
    assert SHORT in host.blocks


@pytest.mark.parametrize("interval", [3600.0, 86_400.0, 1e9, -5.0])
def test_an_interval_counts_at_most_an_hour(interval: float) -> None:
    """A host that was off, or a clock that went back, adds little or nothing."""
    retention = Retention().observed(interval, BLOCKS, Time(NOW, NOW))
    assert retention.seconds == (MAX_INTERVAL_SECONDS if interval > 0 else 0.0)


def test_a_new_record_starts_a_new_count() -> None:
    """A destination that is blocked and lifted again starts a new count."""
    seen = Retention(RETENTION_SECONDS, {record_of(BLOCKS.get(GONE)): 0.0})
    assert seen.is_over(BLOCKS.get(GONE))
    later = NOW + 2 * MINUTE
    again = BLOCKS.blocked([Block(GONE, NOW + MINUTE, None)]).lifted([GONE], later)
    assert not seen.observed(900.0, again, Time(later, later)).is_over(again.get(GONE))
