"""Ends of entries: durations and times as lists write them."""

import re
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final

from exitpolicy.core.durations import parse_end, parse_until
from exitpolicy.lists.entry import Moment

_STEP: Final = r"([0-9]{1,12}(?:\.[0-9]{1,12})?)(w|d|h|ms|m|s|us|µs|μs|ns)"
_SECONDS: Final = {
    "w": 604_800.0,
    "d": 86_400.0,
    "h": 3600.0,
    "m": 60.0,
    "s": 1.0,
    "ms": 1e-3,
    "us": 1e-6,
    "µs": 1e-6,
    "μs": 1e-6,
    "ns": 1e-9,
}
UNTIL: Final = re.compile(r"until (\S+)")
"""The comment in which exitpol writes the end of an entry."""
_LAST: Final = 253_402_210_800
"""The last Unix time that is read, in the year 9999; programs write later ones for never."""


# Entries that were made together end together.
@lru_cache(maxsize=1024)
def seconds_of(text: str) -> float | None:
    """Return the seconds of a duration such as `3h59m47.1s`, `2d3h` or `-1h`; None if it is none.

    These are the forms of Go (time.Duration.String), which CrowdSec prints, and of nft(8).
    """
    positive = text.removeprefix("-")
    if positive == "0":
        return 0.0
    if not re.fullmatch(rf"(?:{_STEP})+", positive):
        return None
    total = sum(float(count) * _SECONDS[unit] for count, unit in re.findall(_STEP, positive))
    return total if positive == text else -total


@lru_cache(maxsize=1024)
def end_after(seconds: float, moment: Moment) -> datetime | None:
    """Return the time `seconds` from now, to the second; None if it is beyond the year 9999."""
    try:
        return moment.now + timedelta(seconds=round(seconds))
    except OverflowError:
        return None


@lru_cache(maxsize=1024)
def end_of(text: str, moment: Moment) -> datetime | None:
    """Return the end that a time or a duration names; None for `never`. Raises UsageError.

    An end that has passed is returned as well.
    """
    seconds = seconds_of(text)
    if seconds is not None:
        return end_after(seconds, moment)
    return parse_end(text) or parse_until(text, moment.now)


def unix_time(text: str, moment: Moment) -> datetime | None:
    """Return the time of a Unix time in seconds; None if the text is none."""
    if not re.fullmatch("[0-9]{9,12}", text) or int(text) > _LAST:
        return None
    return datetime.fromtimestamp(int(text), moment.now.tzinfo)


def local_time(text: str, moment: Moment) -> datetime | None:
    """Return the time of `2026-11-22 10:00:00` in the zone of this host; None if it is none."""
    try:
        found = datetime.strptime(text, "%Y-%m-%d %H:%M:%S")  # noqa: DTZ007 - the zone follows
        return found.replace(tzinfo=moment.zone).astimezone(moment.now.tzinfo)
    except (ValueError, OverflowError):
        return None
