"""Times and durations as people write them: `30d`, `2027-01-31`, an ISO time with zone, `never`.

All times are aware, in UTC, to the second. The present time is always an argument.
"""

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from math import ceil
from typing import Final

from exitpolicy.core.errors import UsageError

EXAMPLES: Final = "30d, 12h, 90m, 2w, 6mo, 1y, 1d12h, 2027-01-31, 2027-01-31T18:00Z or never"

_WORDS: Final = {
    "years": "y",
    "year": "y",
    "months": "mo",
    "month": "mo",
    "weeks": "w",
    "week": "w",
    "days": "d",
    "day": "d",
    "hours": "h",
    "hour": "h",
    "minutes": "m",
    "minute": "m",
    "mins": "m",
    "min": "m",
    "seconds": "s",
    "second": "s",
}
"""The words for units, the longer ones first."""
_DAYS: Final = {"today": 0, "tomorrow": 1}
_UNITS: Final = {
    "w": timedelta(weeks=1),
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
}
_MONTHS: Final = {"y": 12, "mo": 1}
# Compiled at first use, because few commands need all of them.
_STEP: Final = r"([0-9]{1,6})(y|mo|w|d|h|m|s)"
_DATE: Final = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_TIME: Final = (
    rf"{_DATE}[T ][0-9]{{2}}:[0-9]{{2}}(:[0-9]{{2}}([.,][0-9]{{1,6}})?)?"
    r"(Z|z|[+-][0-9]{2}:?[0-9]{2})?"
)


def parse_until(text: str, now: datetime) -> datetime | None:
    """Return the end of a block that `text` names, counted from `now`; None for `never`.

    A date means the end of that day, UTC, and so do `today` and `tomorrow`. Units may be words, and
    their case does not matter: `30 days`, `3D`. Raises UsageError if it is invalid or has passed.
    """
    text = text.strip()
    lower = text.lower()
    if lower == "never":
        return None
    if lower in _DAYS:
        until = parse_end(f"{now + timedelta(days=_DAYS[lower]):%Y-%m-%d}")
    elif steps := _steps(text):
        until = _duration_from(steps, now)
    else:
        until = parse_end(text)
    if until is None:
        raise UsageError(f"{text!r} is not a time or duration", hint=f"write {EXAMPLES}")
    if until <= now:
        raise UsageError(
            f"{text!r} has passed: that was {utc_text(until)} and now it is {utc_text(now)}",
            hint="to end a block now: exitpol lift DEST",
        )
    return until


def parse_duration(text: str) -> timedelta:
    """Return the duration that `text` names; `1mo` has 31 days. Raises UsageError."""
    steps = _steps(text.strip())
    if not steps:
        raise UsageError(f"{text!r} is not a duration", hint="write 90d, 12h, 90m, 2w, 6mo or 1y")
    start = datetime(2001, 1, 1, tzinfo=UTC)
    return _duration_from(steps, start) - start


def duration_text(duration: timedelta) -> str:
    """Return a duration as `parse_duration` reads it, in one unit if it can: `60d`, `36h`.

    Parts of a second are dropped.
    """
    seconds = int(duration.total_seconds())
    units = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
    for unit, size in units:
        # `parse_duration` reads at most six digits.
        if seconds and seconds % size == 0 and seconds // size < 1_000_000:
            return f"{seconds // size}{unit}"
    text = ""
    for unit, size in units:
        count, seconds = divmod(seconds, size)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def ends_move(text: str, now: datetime) -> bool:
    """Tell whether `text` names an end that is later if it is typed later, as `30d` does."""
    try:
        return parse_until(text, now) != parse_until(text, now + timedelta(seconds=2))
    except UsageError:
        return False


def count_words(words: Sequence[str]) -> int:
    """Return how many words, from the first on, make one time or duration: 2 of `30 days`.

    0 if the first word is a time by itself, or none.
    """
    if len(words) > 1 and re.fullmatch(_DATE, words[0]) and re.match("[0-9]{2}:", words[1]):
        return 2
    units = {*_WORDS, *_UNITS, *_MONTHS}
    count = 0
    for number, unit in zip(words[::2], words[1::2], strict=False):
        if not (number.isascii() and number.isdigit() and unit.lower() in units):
            break
        count += 2
    return count


def parse_end(text: str) -> datetime | None:
    """Return the time that `text` names, for a date the end of that day; None if it is none."""
    if re.fullmatch(_DATE, text):
        start = _start_of_day(text)
        return None if start is None or start.date() == date.max else start + timedelta(days=1)
    return parse_time(text)


def parse_start(text: str) -> datetime | None:
    """Return the time that `text` names, for a date its first second; None if it is none."""
    return _start_of_day(text) if re.fullmatch(_DATE, text) else parse_time(text)


def parse_time(text: str) -> datetime | None:
    """Return an ISO 8601 time in UTC; None if it is none. Raises UsageError without a zone."""
    # The form of the ledger needs no pattern, which takes as long to compile as `list` to print.
    written = len(text) == 20 and text[10] == "T" and text[19] == "Z"
    written = written and text[4] == text[7] == "-" and text[13] == text[16] == ":"
    if not (written and text.isascii()) and not re.fullmatch(_TIME, text):
        return None
    try:
        moment = datetime.fromisoformat(text.replace(",", ".").upper())
        if moment.tzinfo is None:
            raise UsageError(f"{text!r} has no time zone", hint=f"write {text}Z if it is UTC")
        return moment.astimezone(UTC).replace(microsecond=0)
    except (ValueError, OverflowError):
        return None


# The blocks of a ledger that were made together end together.
@lru_cache(maxsize=1024)
def utc_text(moment: datetime) -> str:
    """Return `2027-01-31T18:00:00Z`, the form in the ledger and in JSON."""
    return f"{moment:%Y-%m-%dT%H:%M:%S}Z" if moment.year > 999 else moment.isoformat()


def until_text(until: datetime | None) -> str:
    """Return an end as the ledger writes it: a UTC time, or `never`."""
    return "never" if until is None else utc_text(until)


@lru_cache(maxsize=1024)
def remaining_text(until: datetime | None, now: datetime) -> str:
    """Return the remaining time in its two largest units: `29d 4h`, `3m 20s`; `ended` if none."""
    if until is None:
        return "never ends"
    seconds = ceil((until - now).total_seconds())
    if seconds <= 0:
        return "ended"
    if seconds > 3600:
        # A new block of 30 days has 30 days left, not 29 days and 23 hours.
        seconds += -seconds % 60
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        if count or parts:
            parts.append(f"{count}{unit}")
    return " ".join(part for part in parts[:2] if not part.startswith("0"))


def _steps(text: str) -> str:
    """Return a duration in its short form: `1d12h` for `1 day 12 hours`; empty if it is none."""
    if re.fullmatch(rf"({_STEP})+", text):
        return text
    if re.search(r"[0-9] ?M(?![A-Za-z])", text):
        raise UsageError(
            f"{text!r} can mean months or minutes", hint="mo is months, m is minutes: 6mo, 90m"
        )
    # A word is a unit only after a number, and before a number, a blank or the end.
    words = rf"([0-9]) ?({'|'.join(_WORDS)})(?![a-z])"
    short = re.sub(words, lambda found: found[1] + _WORDS[found[2]], text.lower())
    short = re.sub(r"(?<=[0-9]) (?=[a-z])|(?<=[a-z]) (?=[0-9])", "", short)
    return short if re.fullmatch(rf"({_STEP})+", short) else ""


def _duration_from(text: str, now: datetime) -> datetime:
    """Return `now` plus a duration such as `1d12h`, calendar months and years first."""
    steps = [(int(count), unit) for count, unit in re.findall(_STEP, text)]
    units = [unit for _, unit in steps]
    if len(set(units)) < len(units):
        raise UsageError(f"{text!r} names a unit twice", hint="m is minutes, mo is months")
    try:
        months = sum(count * _MONTHS[unit] for count, unit in steps if unit in _MONTHS)
        rest = sum((count * _UNITS[unit] for count, unit in steps if unit in _UNITS), timedelta())
        return _add_months(now.replace(microsecond=0), months) + rest
    except (OverflowError, ValueError):
        raise UsageError(
            f"{text!r} reaches beyond the year 9999", hint="for a block without an end: never"
        ) from None  # an overflow of Python's dates says nothing more


def _add_months(moment: datetime, months: int) -> datetime:
    """Return the same day `months` later, or the last day of a shorter month."""
    year, month = divmod(moment.year * 12 + moment.month - 1 + months, 12)
    for day in range(moment.day, moment.day - 4, -1):
        try:
            return moment.replace(year=year, month=month + 1, day=day)
        except ValueError:
            if year > date.max.year:
                raise
    raise AssertionError("a month has at least 28 days")


def _start_of_day(text: str) -> datetime | None:
    try:
        return datetime.combine(date.fromisoformat(text), time(), UTC)
    except ValueError:
        return None
