"""`core.clock`: which time is trusted after a jump, and which blocks stay enforced."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exitpolicy.core.block import Block, Blocks
from exitpolicy.core.clock import DOUBT_TIME, MAX_STEP, Time, judge_clock
from exitpolicy.core.destination import parse_destination
from tests.strategies import blocks, moments

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
DAY = timedelta(days=1)
INSTANT = timedelta(microseconds=1)


def lasting(since: datetime, until: datetime | None) -> Block:
    """Return a block."""
    return Block(parse_destination("203.0.113.7"), since, until)


@given(blocks(), moments)
def test_a_trusted_clock_decides_alone(block: Block, now: datetime) -> None:
    """Without a jump, a block is enforced exactly while it is in force, and none is held."""
    time = judge_clock(now, None, None)
    assert time == Time(now, now)
    assert time.enforces(block) == block.in_force(now)
    assert not time.held(Blocks.of([block]))


@pytest.mark.parametrize("passed", [timedelta(0), INSTANT, DAY, MAX_STEP])
def test_a_step_of_up_to_31_days_is_trusted(passed: timedelta) -> None:
    """Up to 31 days may pass between two observations, 31 days included."""
    assert judge_clock(NOW + passed, NOW, None) == Time(NOW + passed, NOW + passed)


@pytest.mark.parametrize("jump", [MAX_STEP + INSTANT, 365 * DAY, 3650 * DAY])
def test_a_jump_forward_is_not_trusted_for_an_hour(jump: timedelta) -> None:
    """A clock that jumped is trusted after it has run for another hour."""
    now = NOW + jump
    first = judge_clock(now, NOW, None)
    assert first == Time(now, NOW, now)
    later = judge_clock(now + DOUBT_TIME - INSTANT, first.trusted, first.jumped_to)
    assert later == Time(now + DOUBT_TIME - INSTANT, NOW, now)
    assert judge_clock(now + DOUBT_TIME, later.trusted, later.jumped_to) == Time(
        now + DOUBT_TIME, now + DOUBT_TIME
    )


def test_a_second_jump_starts_the_hour_again() -> None:
    """The hour counts from the last jump, in either direction."""
    jumped_to = NOW + 100 * DAY
    for again in (jumped_to + MAX_STEP + INSTANT, jumped_to - INSTANT):
        assert judge_clock(again, NOW, jumped_to) == Time(again, NOW, again)


@pytest.mark.parametrize("back", [INSTANT, DAY, 31 * DAY, 3650 * DAY])
def test_a_clock_set_back_keeps_what_was_in_force(back: timedelta) -> None:
    """A block in force at the trusted time stays, even if the clock says it has not begun."""
    time = judge_clock(NOW - back, NOW, None)
    assert time == Time(NOW - back, NOW)
    current = lasting(NOW, NOW + DAY)
    assert time.enforces(current)
    assert list(time.held(Blocks.of([current]))) == [current]
    ended = lasting(NOW - 2 * back, NOW - back + INSTANT)
    # Ended at the trusted time, in force by the clock: blocking for too long is the safer error.
    assert time.enforces(ended)
    assert not time.held(Blocks.of([ended]))


def test_a_clock_that_is_not_trusted_lifts_nothing() -> None:
    """A block that ends only by the untrusted clock is kept, and reported as held."""
    time = Time(NOW + 100 * DAY, NOW, NOW + 100 * DAY)
    block = lasting(NOW - DAY, NOW + DAY)
    assert time.enforces(block)
    assert list(time.held(Blocks.of([block]))) == [block]


def test_boundaries_are_half_open_at_both_times() -> None:
    """The first moment of a block belongs to it and the last does not, for either time."""
    for time in (Time(NOW, NOW + 9 * DAY), Time(NOW + 9 * DAY, NOW), Time(NOW, NOW)):
        assert time.enforces(lasting(NOW, NOW + DAY))
        assert not time.enforces(lasting(NOW - DAY, NOW))
    for time in (Time(NOW, NOW), Time(NOW, NOW - 9 * DAY)):
        assert not time.enforces(lasting(NOW + INSTANT, NOW + DAY))


def test_after_a_step_back_a_block_between_both_times_is_enforced() -> None:
    """The right time is one of them or between: too early is the safer error, unless it ended."""
    time = Time(NOW, NOW + 9 * DAY)
    between = lasting(NOW + INSTANT, NOW + DAY)
    assert time.enforces(between)
    assert list(time.held(Blocks.of([between]))) == [between]
    assert not time.enforces(between._replace(ended=NOW + DAY))
    assert not time.enforces(lasting(NOW + 9 * DAY + INSTANT, NOW + 10 * DAY))


@given(moments, st.none() | moments, st.none() | moments, blocks())
def test_any_times_give_a_time(
    now: datetime, trusted: datetime | None, jumped_to: datetime | None, block: Block
) -> None:
    """For any recorded state, `now` is what the clock says and no block in force is lost."""
    time = judge_clock(now, trusted, jumped_to)
    assert time.now == now
    assert time.trusted in (now, trusted)
    assert time.enforces(block) >= block.in_force(now)
    assert time.jumped_to is None or time.jumped_to <= now


def test_the_end_of_time_is_no_error() -> None:
    """The last representable times cause no overflow."""
    last = datetime.max.replace(tzinfo=UTC)
    assert judge_clock(NOW, last, last).trusted == last
    assert judge_clock(last, NOW, last - INSTANT) == Time(last, NOW, last - INSTANT)
