"""`leap`: what is believed of a clock that jumps, and which blocks are kept for it."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exitpolicy.core.block import Block, Blocks
from exitpolicy.core.clock import HOLD, TOO_FAR, Time, believe
from exitpolicy.core.destination import parse_destination
from tests.strategies import blocks, moments

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
DAY = timedelta(days=1)
INSTANT = timedelta(microseconds=1)


def lasting(since: datetime, until: datetime | None) -> Block:
    """Return a block."""
    return Block(parse_destination("203.0.113.7"), since, until)


@given(blocks(), moments)
def test_a_clock_that_is_believed_decides_alone(block: Block, now: datetime) -> None:
    """Where nothing jumped, a block is wanted exactly while it is in force, and none is held."""
    time = believe(now, None, None)
    assert time == Time(now, now)
    assert time.wants(block) == block.in_force(now)
    assert not time.held(Blocks.of([block]))


@pytest.mark.parametrize("passed", [timedelta(0), INSTANT, DAY, TOO_FAR])
def test_time_that_goes_on_is_believed(passed: timedelta) -> None:
    """Up to 31 days may pass between two looks; the very last moment of them belongs to it."""
    assert believe(NOW + passed, NOW, None) == Time(NOW + passed, NOW + passed)


@pytest.mark.parametrize("leap", [TOO_FAR + INSTANT, 365 * DAY, 3650 * DAY])
def test_a_leap_forward_is_doubted_for_an_hour(leap: timedelta) -> None:
    """A clock that leapt is believed only when it has gone on for an hour since."""
    now = NOW + leap
    first = believe(now, NOW, None)
    assert first == Time(now, NOW, now)
    later = believe(now + HOLD - INSTANT, first.trusted, first.leapt)
    assert later == Time(now + HOLD - INSTANT, NOW, now)
    assert believe(now + HOLD, later.trusted, later.leapt) == Time(now + HOLD, now + HOLD)


def test_a_clock_that_leaps_again_is_doubted_anew() -> None:
    """An hour must pass since the last leap, whichever way that one went."""
    leapt = NOW + 100 * DAY
    for again in (leapt + TOO_FAR + INSTANT, leapt - INSTANT):
        assert believe(again, NOW, leapt) == Time(again, NOW, again)


@pytest.mark.parametrize("back", [INSTANT, DAY, 31 * DAY, 3650 * DAY])
def test_a_clock_set_back_keeps_what_was_in_force(back: timedelta) -> None:
    """What was in force when last believed stays, also where the clock says it has not begun."""
    time = believe(NOW - back, NOW, None)
    assert time == Time(NOW - back, NOW)
    current = lasting(NOW, NOW + DAY)
    assert time.wants(current)
    assert list(time.held(Blocks.of([current]))) == [current]
    over = lasting(NOW - 2 * back, NOW - back + INSTANT)
    # Over when last believed, in force by the clock: rather blocked for too long.
    assert time.wants(over)
    assert not time.held(Blocks.of([over]))


def test_a_doubted_clock_lifts_nothing() -> None:
    """A block that the doubted time has ended is kept, and known as held."""
    time = Time(NOW + 100 * DAY, NOW, NOW + 100 * DAY)
    block = lasting(NOW - DAY, NOW + DAY)
    assert time.wants(block)
    assert list(time.held(Blocks.of([block]))) == [block]


def test_boundaries_are_half_open_at_both_times() -> None:
    """The first moment of a block belongs to it and the last does not, for either time."""
    for time in (Time(NOW, NOW + 9 * DAY), Time(NOW + 9 * DAY, NOW), Time(NOW, NOW)):
        assert time.wants(lasting(NOW, NOW + DAY))
        assert not time.wants(lasting(NOW - DAY, NOW))
        assert not time.wants(lasting(NOW + INSTANT, NOW + DAY))


@given(moments, st.none() | moments, st.none() | moments, blocks())
def test_any_times_give_a_time(
    now: datetime, trusted: datetime | None, leapt: datetime | None, block: Block
) -> None:
    """Whatever was written down, now is what the clock says and nothing in force is lost."""
    time = believe(now, trusted, leapt)
    assert time.now == now
    assert time.trusted in (now, trusted)
    assert time.wants(block) >= block.in_force(now)
    assert time.leapt is None or time.leapt <= now


def test_the_end_of_time_is_no_error() -> None:
    """A state that names the last days that there are is taken like any other."""
    last = datetime.max.replace(tzinfo=UTC)
    assert believe(NOW, last, last).trusted == last
    assert believe(last, NOW, last - INSTANT) == Time(last, NOW, last - INSTANT)
