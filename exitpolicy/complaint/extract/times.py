# ruff: noqa: RUF001 - punctuation of Japanese and Chinese
"""Find times in a report: of the incident, and the time limit for an answer."""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

from exitpolicy.complaint.language.vocabulary import numbered, pattern
from exitpolicy.complaint.model import Incident

MAX_INCIDENTS: Final = 20
MAX_OFFSET: Final = 14 * 60
"""Maximum offset of a time zone from UTC, in minutes."""
MAX_READ: Final = 300
"""Maximum lines that are searched for times: of more, the first ones and the last ones."""

_CLOCK: Final = r"(?P<H>\d{1,2}):(?P<M>\d{2})(?::(?P<S>\d{2}))?(?:[.,]\d{1,9})?"
_ZONE: Final = (
    r"(?:\s?(?P<Z>Z)(?!\w)|\s{0,2}\(?(?P<offset>(?:UTC|GMT)?\s?[+-]\d{1,2}(?::?\d{2})?)(?![\d:.])"
    r"|\s{1,2}\(?(?=[^\W\d_]{2})(?P<zone>(?i:<<zone>>))(?![A-Za-z]))?"
)
_ISO: Final = pattern(
    r"(?<!\d)(?P<y>\d{4})[-/.](?P<m>\d{1,2})[-/.](?P<d>\d{1,2})"
    rf"(?:[T\s,_]{{1,3}}(?:(?:<<time at>>)\s)?{_CLOCK}{_ZONE})",
    0,
)
_EUROPEAN: Final = pattern(
    r"(?<![\d.])(?P<d>\d{1,2})[./-](?P<m>\d{1,2})[./-](?P<y>\d{4})"
    rf"(?:,?\s(?:<<time at>>)?\s?{_CLOCK}{_ZONE})",
    0,
)
_NAMED: Final = pattern(
    r"(?<!\d)(?P<d>\d{1,2})(?:<<ordinal>>|\.)?[\s/-](?:(?:<<date of>>)\s)?"
    r"(?P<name>[^\W\d_]{3,12})\.?,?[\s/-](?:(?:<<date of>>)\s)?"
    rf"(?P<y>\d{{4}})(?:(?::|,?\s(?:<<time at>>)?\s?){_CLOCK}{_ZONE})",
    0,
)
_ENGLISH: Final = pattern(
    r"(?P<name>[A-Z][a-z]{2,8})\.?\s(?P<d>\d{1,2})(?:<<ordinal>>)?,?\s(?P<y>\d{4}),?\s"
    rf"(?:(?:<<time at>>)\s)?{_CLOCK}{_ZONE}",
    0,
)
_CTIME: Final = pattern(
    rf"(?P<name>[A-Z][a-z]{{2}})\s{{1,2}}(?P<d>\d{{1,2}})\s{_CLOCK}{_ZONE}\s(?P<y>\d{{4}})(?!\d)", 0
)
_CJK: Final = re.compile(
    r"(?P<y>\d{4})年(?P<m>\d{1,2})月(?P<d>\d{1,2})日\s{0,2}(?:\([^)]{1,4}\))?\s?(?P<H>\d{1,2})"
    r"(?::|時|时)(?P<M>\d{2})?(?::(?P<S>\d{2}))?(?:分)?"
)
_SHAPES: Final = (_ISO, _EUROPEAN, _NAMED, _ENGLISH, _CTIME, _CJK)
_SYSLOG: Final = re.compile(
    r"(?:^|[\s>])(?P<name>[A-Z][a-z]{2})\s{1,2}(?P<d>\d{1,2})\s(?P<H>\d{2}):(?P<M>\d{2})"
    r":(?P<S>\d{2})(?!\s\d{4}\b)"
)
_TWELVE_HOURS: Final = re.compile(
    r"(?<![\d:])(1[0-2]|0?[1-9]):(\d{2}(?::\d{2})?)\s?([AaPp])\.?[Mm]\b\.?"
)
_EPOCH: Final = re.compile(
    r"(?:time|timestamp|ts|epoch)[\"']?\s?[:=]\s?[\"']?(1[5-9]\d{8})(?!\d)", re.IGNORECASE
)
_ZONE_SAID: Final = pattern(
    r"(?:<<time zone>>)(?![a-zà-ÿа-я0-9_])[^\n]{0,50}?"
    r"(?:(?<![A-Za-z])((?:UTC|GMT)\s?[+-]\s?\d{1,2}(?::?\d{2})?)"
    r"|(?<![\d:])([+-]\d{2}:?\d{2})(?!\d)"
    r"|(?<![A-Za-zА-Яа-я])(?=[^\W\d_]{2})((?-i:<<ZONE>>))(?![A-Za-zÀ-ÿА-Яа-я]))",
    re.IGNORECASE,
)
_UNITS: Final = r"(?:(?P<hours><<hours>>)|(?P<days><<days>>)|(?P<weeks><<weeks>>))"
_WITHIN: Final = pattern(
    r"(?<![^\W_])(?:<<within>>)\s(?:(?:<<within filler>>)\s){0,2}(?:max(?:imum|\.)?\s)?"
    rf"(?P<amount>\d{{1,3}}|<<number>>)\s?(?:\([^)]{{1,20}}\)\s?)?{_UNITS}"
)
_WITHIN_AFTER: Final = pattern(rf"(?P<amount>\d{{1,3}})\s?{_UNITS}\s?(?:<<within after>>)")
"""Some languages say "within" after the number: Hungarian, Turkish, Japanese, Chinese."""
_UNTIL: Final = pattern(r"(?<![^\W_])(?:<<until>>)\s?[:：]?\s{0,2}")
_DATE_ONLY: Final = (
    re.compile(r"(?P<y>\d{4})-(?P<m>\d{1,2})-(?P<d>\d{1,2})"),
    re.compile(r"(?:[^\W\d_]{3,10},?\s)?(?P<d>\d{1,2})[./]\s?(?P<m>\d{1,2})[./]\s?(?P<y>\d{4})"),
    re.compile(r"(?P<y>\d{4})[年/](?P<m>\d{1,2})[月/](?P<d>\d{1,2})"),
    pattern(
        r"(?:\w{3,10},?\s)?(?:the\s)?(?P<d>\d{1,2})(?:<<ordinal>>|\.)?\s(?:(?:<<date of>>)\s)?"
        r"(?P<name>[^\W\d_]{3,12}),?\s(?:(?:<<date of>>)\s)?(?P<y>\d{4})",
        0,
    ),
    pattern(
        r"(?:\w{3,10},?\s)?(?P<name>[A-Z][a-z]{2,8})\s(?P<d>\d{1,2})(?:<<ordinal>>)?,?\s"
        r"(?P<y>\d{4})",
        0,
    ),
)
_THEN_CLOCK: Final = pattern(rf"[T\s,]{{1,3}}(?:(?:<<time at>>)\s)?{_CLOCK}{_ZONE}", 0)
_Groups = dict[str, str | None]


_REPORTED: Final = pattern(r"<<reported activity>>")
_ANSWER: Final = pattern(r"<<answer>>")


def zone_said(text: str) -> timezone | None:
    """Return the time zone that a text states for all its times."""
    match = _ZONE_SAID.search(text[:60_000])
    if match is None:
        return None
    minutes = _minutes(match[1] or match[2] or match[3] or "")
    return None if minutes is None else timezone(timedelta(minutes=minutes))


def incidents_in(
    lines: Sequence[str], zone: timezone | None, sent: datetime | None
) -> tuple[Incident, ...]:
    """Return the times in lines, ascending.

    `zone` applies to times without a zone. `sent` is the date of the mail; it gives syslog times
    their year.
    """
    if len(lines) > MAX_READ:
        lines = [*lines[: MAX_READ // 2], *lines[-MAX_READ // 2 :]]
    found: dict[datetime, bool] = {}
    for line in lines:
        for moment, said in _moments(line[:300], zone, sent):
            if sent is None or moment <= sent + timedelta(days=2):
                found[moment] = found.get(moment, False) or said
    moments = sorted(found)
    if len(moments) > MAX_INCIDENTS:
        moments = [*moments[: MAX_INCIDENTS - 1], moments[-1]]
    return tuple(Incident(moment, found[moment]) for moment in moments)


def deadline_in(text: str, zone: timezone | None, sent: datetime | None) -> datetime | None:
    """Return the time limit for an answer; hours and days count from the date of the mail."""
    text = text[:30_000]
    for until in _UNTIL.finditer(text):
        rest = text[until.end() : until.end() + 60]
        for date in _DATE_ONLY:
            if match := date.match(rest):
                clock = _THEN_CLOCK.match(rest, match.end())
                groups = clock.groupdict() if clock else {"H": "23", "M": "59", "S": "59"}
                moment = _moment({**match.groupdict(), **groups}, zone, sent)
                if moment is not None and (sent is None or moment > sent):
                    return moment
    if sent is None:
        return None
    for within in (_WITHIN, _WITHIN_AFTER):
        for match in within.finditer(text):
            amount = match["amount"].lower()
            number = int(amount) if amount.isdigit() else numbered("number").get(amount, 0)
            hours = number * (1 if match["hours"] else 24 if match["days"] else 168)
            if 0 < hours <= 24 * 100 and not _about_past(text, match.start()):
                return sent + timedelta(hours=hours)
    return None


def _about_past(text: str, start: int) -> bool:
    """Tell whether "within 24 hours" is about the attack and not about the answer."""
    before = re.split(r"\n\n|[.!?]\s", text[max(0, start - 70) : start])[-1].lower()
    return _REPORTED.search(before) is not None and not _ANSWER.search(before)


def _moments(
    line: str, zone: timezone | None, sent: datetime | None
) -> Iterable[tuple[datetime, bool]]:
    """Yield the times in a line, and whether their zone is known."""
    found = _times(line, sent)
    zones = {said for groups in found if (said := _zone_of(groups)) is not None}
    # "from 03:12 to 05:40 (UTC+5)": the only zone of a line applies to all its times.
    zone = next(iter(zones)) if len(zones) == 1 else zone
    for groups in found:
        if moment := _moment(groups, zone, sent):
            yield moment, (_zone_of(groups) or zone) is not None
    for match in _EPOCH.finditer(line):
        yield datetime.fromtimestamp(int(match[1]), UTC), True


def _in_24_hours(found: re.Match[str]) -> str:
    """Return `19:44` for `7:44 PM`."""
    hour = int(found[1]) % 12 + (12 if found[3] in "Pp" else 0)
    return f"{hour:02}:{found[2]}"


def _times(line: str, sent: datetime | None) -> list[_Groups]:
    """Return the groups of each time in a line; see `_moment`."""
    if not re.search(r"\d[:時时]", line):
        return []
    line = _TWELVE_HOURS.sub(_in_24_hours, line)
    found = [match for shape in _SHAPES for match in shape.finditer(line)]
    if sent is not None and (syslog := _SYSLOG.search(line)):
        found.append(syslog)
    return [match.groupdict() for match in found]


def _moment(groups: _Groups, zone: timezone | None, sent: datetime | None) -> datetime | None:
    """Return a time, from the groups y, m or name, d, H, M, S, and the zone's; UTC without a zone.

    None if there is no such day.
    """
    name, day = groups.get("name"), int(groups["d"] or 0)
    month = numbered("month").get(name.lower(), 0) if name else int(groups["m"] or 0)
    if month > 12:
        day, month = month, day
    if groups.get("y"):
        year = int(groups["y"] or 0)
    else:
        # Syslog has no year: a month later than that of the mail is in the year before.
        year = sent.year - (month > sent.month) if sent else 0
    hour, minute, second = (int(groups.get(key) or 0) for key in "HMS")
    if not 1990 <= year <= 2100:
        return None
    zone = _zone_of(groups) or zone or UTC
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=zone).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _zone_of(groups: _Groups) -> timezone | None:
    """Return the zone that is written beside a time; None if there is none."""
    text = groups.get("Z") or groups.get("offset") or groups.get("zone")
    minutes = _minutes(text) if text else None
    return None if minutes is None else timezone(timedelta(minutes=minutes))


def _minutes(text: str) -> int | None:
    """Return the offset of a zone from UTC in minutes, positive to the east."""
    text = text.strip().lower().replace(" ", "")
    offset = numbered("zone").get(text)
    if offset is not None:
        hours, minutes = divmod(abs(offset), 100)
        return (hours * 60 + minutes) * (1 if offset > 0 else -1)
    match = re.fullmatch(r"(?:utc|gmt)?([+-])(\d{1,2}):?(\d{2})?", text)
    if match is None:
        return None
    minutes = int(match[2]) * 60 + int(match[3] or 0)
    return (minutes if match[1] == "+" else -minutes) if minutes <= MAX_OFFSET else None
