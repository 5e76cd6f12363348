"""`when`: the ends of blocks as people write them, and times as they are shown."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exitpolicy.core.durations import (
    count_words,
    parse_end,
    parse_start,
    parse_time,
    parse_until,
    remaining_text,
    until_text,
    utc_text,
)
from exitpolicy.core.errors import UsageError
from tests.strategies import moments

NOW = datetime(2026, 11, 22, 10, 0, 0, 250_000, tzinfo=UTC)


@given(moments)
def test_what_is_printed_is_read_back_as_the_same(moment: datetime) -> None:
    """A time printed for the ledger is read as the same one, as a start and as an end."""
    text = until_text(moment)
    assert parse_time(text) == parse_start(text) == parse_end(text) == moment


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("30d", "2026-12-22T10:00:00Z"),
        ("12h", "2026-11-22T22:00:00Z"),
        ("90m", "2026-11-22T11:30:00Z"),
        ("1s", "2026-11-22T10:00:01Z"),
        ("2w", "2026-12-06T10:00:00Z"),
        ("6mo", "2027-05-22T10:00:00Z"),
        ("1mo2m", "2026-12-22T10:02:00Z"),
        ("1y", "2027-11-22T10:00:00Z"),
        ("1d12h", "2026-11-23T22:00:00Z"),
        ("12h1d", "2026-11-23T22:00:00Z"),
        (" 30d ", "2026-12-22T10:00:00Z"),
        ("2027-01-31", "2027-02-01T00:00:00Z"),
        ("2026-11-22", "2026-11-23T00:00:00Z"),
        ("2028-02-29", "2028-03-01T00:00:00Z"),
        ("2027-01-31T18:00Z", "2027-01-31T18:00:00Z"),
        ("2027-01-31 18:00:30z", "2027-01-31T18:00:30Z"),
        ("2027-01-31T18:00:00.9Z", "2027-01-31T18:00:00Z"),
        ("2027-01-31T18:00:00,9Z", "2027-01-31T18:00:00Z"),
        ("2027-01-31T18:00+06:00", "2027-01-31T12:00:00Z"),
        ("2027-01-31T18:00-0530", "2027-01-31T23:30:00Z"),
        ("never", None),
        ("Never", None),
        ("3D", "2026-11-25T10:00:00Z"),
        ("30days", "2026-12-22T10:00:00Z"),
        ("30 days", "2026-12-22T10:00:00Z"),
        ("30 d", "2026-12-22T10:00:00Z"),
        ("1 week", "2026-11-29T10:00:00Z"),
        ("1 day 12 Hours", "2026-11-23T22:00:00Z"),
        ("90 min", "2026-11-22T11:30:00Z"),
        ("6 months", "2027-05-22T10:00:00Z"),
        ("3MO", "2027-02-22T10:00:00Z"),
        ("today", "2026-11-23T00:00:00Z"),
        ("Tomorrow", "2026-11-24T00:00:00Z"),
    ],
)
def test_an_end_is_read_as_a_person_means_it(text: str, end: str | None) -> None:
    """Durations count from now, a date means the end of that day, `never` means no end.

    Words and capital letters mean the same, where they can mean only one thing.
    """
    assert until_text(parse_until(text, NOW)) == (end or "never")


@pytest.mark.parametrize(
    ("start", "text", "end"),
    [
        ("2027-01-31T10:00:00Z", "1mo", "2027-02-28T10:00:00Z"),
        ("2028-01-31T10:00:00Z", "1mo", "2028-02-29T10:00:00Z"),
        ("2028-02-29T10:00:00Z", "1y", "2029-02-28T10:00:00Z"),
        ("2026-12-31T10:00:00Z", "2mo", "2027-02-28T10:00:00Z"),
        ("2026-10-31T10:00:00Z", "1mo1d", "2026-12-01T10:00:00Z"),
    ],
)
def test_a_month_later_is_the_same_day_or_the_months_last(start: str, text: str, end: str) -> None:
    """Months and years keep the day; where the month is shorter, its last day is taken."""
    now = parse_time(start)
    assert now is not None
    assert until_text(parse_until(text, now)) == end


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("", "is not a time or duration", "write 30d, 12h"),
        ("soon", "is not a time or duration", "or never"),
        ("30", "is not a time or duration", "write 30d"),
        ("5dayss", "is not a time or duration", "write 30d"),
        ("days", "is not a time or duration", "write 30d"),
        ("-1d", "is not a time or duration", "write 30d"),
        ("1.5d", "is not a time or duration", "write 30d"),
        ("1M", "can mean months or minutes", "6mo, 90m"),
        ("1d 3M", "can mean months or minutes", "6mo, 90m"),
        ("３d", "is not a time or duration", "write 30d"),  # noqa: RUF001
        ("1d\x00", "is not a time or duration", "write 30d"),
        ("2027-02-29", "is not a time or duration", "write 30d"),
        ("2027-13-01", "is not a time or duration", "write 30d"),
        ("0000-01-01", "is not a time or duration", "write 30d"),
        ("9999-12-31", "is not a time or duration", "write 30d"),
        ("2027-01-31T25:00Z", "is not a time or duration", "write 30d"),
        ("2027-01-31T18:00+99:00", "is not a time or duration", "write 30d"),
        ("9999-12-31T23:59:59-01:00", "is not a time or duration", "write 30d"),
        ("2027-01-31T18:00", "has no time zone", "write 2027-01-31T18:00Z if it is UTC"),
        ("1 day 2 days", "names a unit twice", "m is minutes, mo is months"),
        ("1d2d", "names a unit twice", "m is minutes, mo is months"),
        ("999999y", "reaches beyond the year 9999", "never"),
        ("999999mo", "reaches beyond the year 9999", "never"),
        ("999999w999999d", "reaches beyond the year 9999", "never"),
        ("0d", "has passed", "exitpol lift DEST"),
        ("2026-11-21", "has passed: that was 2026-11-22T00:00:00Z and now it is", "exitpol lift"),
        ("2026-11-22T10:00:00Z", "has passed", "exitpol lift DEST"),
    ],
)
def test_what_is_no_end_is_refused_with_advice(text: str, message: str, hint: str) -> None:
    """Invalid texts, times without a zone and past ends are usage errors with a hint."""
    with pytest.raises(UsageError) as caught:
        parse_until(text, NOW)
    assert message in str(caught.value)
    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("words", "count"),
    [
        (["30", "days"], 2),
        (["30", "Days", "203.0.113.7"], 2),
        (["1", "day", "12", "hours", "x"], 4),
        (["90", "m"], 2),
        (["2027-01-31", "18:00Z"], 2),
        (["30d", "days"], 0),
        (["30", "203.0.113.7"], 0),
        (["2027-01-31", "203.0.113.7"], 0),
        (["30"], 0),
        (["days", "30"], 0),
        (["３", "days"], 0),  # noqa: RUF001
        ([], 0),
    ],
)
def test_a_time_of_several_words_is_found(words: list[str], count: int) -> None:
    """Numbers with their units, and a date with its time, belong together; all else does not."""
    assert count_words(words) == count


def test_an_end_is_after_now_or_refused_to_the_second() -> None:
    """An end is accepted if it is after now, to the second."""
    now = NOW.replace(microsecond=0)
    later = now + timedelta(seconds=1)
    assert parse_until(utc_text(later), now) == later
    with pytest.raises(UsageError, match="has passed"):
        parse_until(utc_text(now), now)


@given(
    st.text(max_size=30) | st.text("0123456789ymowdhs-:TZ+., ", max_size=30),
    moments.filter(lambda moment: moment.year < 9990),
)
def test_any_text_is_an_end_after_now_or_a_usage_error(text: str, now: datetime) -> None:
    """No text raises another exception."""
    try:
        until = parse_until(text, now)
    except UsageError:
        return
    assert until is None or (until > now and until.microsecond == 0 and until.tzinfo is UTC)


@given(st.dictionaries(st.sampled_from("wdhms"), st.integers(0, 999), min_size=1), moments)
def test_a_duration_is_the_sum_of_its_steps(steps: dict[str, int], now: datetime) -> None:
    """Weeks, days, hours, minutes and seconds add up in whatever order they stand."""
    names = {"w": "weeks", "d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
    length = timedelta(**{names[unit]: count for unit, count in steps.items()})
    text = "".join(f"{count}{unit}" for unit, count in steps.items())
    if not length or now.year > 9900:
        return
    assert parse_until(text, now) == now + length


def test_a_date_begins_and_ends_on_its_day() -> None:
    """As a start a date is its first second, as an end the first one after it."""
    assert utc_text(parse_start("2027-01-31") or NOW) == "2027-01-31T00:00:00Z"
    assert utc_text(parse_end("2027-01-31") or NOW) == "2027-02-01T00:00:00Z"
    assert parse_start("2027-02-30") is None
    assert parse_end("2027-02-30") is None


@pytest.mark.parametrize(
    ("left", "text"),
    [
        (timedelta(days=30), "30d"),
        (timedelta(days=30) - timedelta(seconds=0.4), "30d"),
        (timedelta(days=29, hours=4, minutes=9), "29d 4h"),
        (timedelta(days=29, minutes=9), "29d"),
        (timedelta(hours=1), "1h"),
        (timedelta(minutes=59, seconds=59), "59m 59s"),
        (timedelta(minutes=3, seconds=20), "3m 20s"),
        (timedelta(seconds=1), "1s"),
        (timedelta(microseconds=1), "1s"),
        (timedelta(0), "ended"),
        (timedelta(seconds=-5), "ended"),
        (None, "never ends"),
    ],
)
def test_what_is_left_is_shown_in_two_units(left: timedelta | None, text: str) -> None:
    """The two largest units are shown; from the end on, `ended`."""
    assert remaining_text(None if left is None else NOW + left, NOW) == text


@given(st.integers(1, 10**9))
def test_what_is_left_is_right_to_its_smaller_unit(seconds: int) -> None:
    """The shown text is never off by more than its smaller unit."""
    text = remaining_text(NOW + timedelta(seconds=seconds), NOW)
    size = {"d": 86400, "h": 3600, "m": 60, "s": 1}
    shown = sum(int(n) * size[unit] for n, unit in re.findall(r"(\d+)([dhms])", text))
    assert abs(shown - seconds) < {"d": 3600, "h": 60, "m": 1, "s": 1}[text.split()[0][-1]] + 60


@pytest.mark.parametrize(
    "text",
    [
        "2026-W52-1T12:54:42Z",
        "20261226T125442.123Z",
        "2026-12-26T125442.1Z",
        "2026-12-26T12:54:60Z",
        "2026-12-26T24:54:42Z",
        "2026-13-26T12:54:42Z",
        "2026-12-26T12:54:4 Z",
        "2026-12-26T+1:54:42Z",
        "２026-12-26T12:54:42Z",  # noqa: RUF001
    ],
)
def test_a_text_of_twenty_characters_is_read_as_strictly_as_others(text: str) -> None:
    """The fast check for times of the ledger accepts only what the pattern accepts."""
    assert parse_time(text) is None
