"""Entries with named values: the rows of tables and the objects of JSON."""

from collections.abc import Container, Mapping
from datetime import datetime
from typing import Final

from exitpolicy.core.block import checked_text
from exitpolicy.core.destination import Destination
from exitpolicy.core.durations import parse_time
from exitpolicy.core.errors import UsageError
from exitpolicy.lists.destinations import destination_of
from exitpolicy.lists.entry import ENDED, Carried, Entry, Fault, Moment, Omitted, reason_of
from exitpolicy.lists.times import end_after, end_of, seconds_of, unix_time

Record = dict[str, object]
"""Values by what they stand for: the keys of COLUMNS."""

COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "address": (
        "destination", "cidr", "network", "prefix", "subnet", "range", "ip_range", "ip",
        "ip_address", "ipaddress", "address", "addr", "dst_ip", "src_ip", "source_ip", "dest_ip",
        "value", "indicator",
    ),
    "port": ("port", "ports", "dst_port", "dest_port"),
    "until": ("until", "expires", "expires_at", "expiry", "valid_until", "end"),
    "duration": ("duration", "expiration", "ttl", "timeout"),
    "reason": ("reason", "scenario", "comment", "description", "sblid", "threat", "malware"),
    "scope": ("scope",),
    "action": ("action", "type"),
    "simulated": ("simulated",),
    "reference": ("reference",),
    "references": ("references",),
    "relays": ("relays",),
    "source": ("source",),
    "name": ("name",),
    "since": ("since",),
    "forced": ("forced",),
}  # fmt: skip
"""What columns and keys of lists stand for; of several, the first counts."""

_OWN: Final = ("since", "reference", "references", "relays", "source", "name", "forced")
_SCOPES: Final = {"ip", "range", ""}
_CROWDSEC_SCOPES: Final = {"ip", "range", "as", "country", "username", "session"}
_OTHER_ACTIONS: Final = {"captcha", "throttle", "bypass", "allow", "accept"}


def standing_for(names: Container[str]) -> dict[str, str]:
    """Return the name that stands for each value."""
    found: dict[str, str] = {}
    for meaning, known in COLUMNS.items():
        name = next((name for name in known if name in names), None)
        if name is not None:
            found[meaning] = name
    return found


def item_of(number: int, record: Mapping[str, object], moment: Moment) -> Entry | Fault | Omitted:
    """Return the item that a record is. Raises UsageError for one that is not understood."""
    scope, address = _text(record, "scope"), _text(record, "address")
    if not scope and (parts := address.partition(":"))[0].lower() in _CROWDSEC_SCOPES:
        # `Ip:192.0.2.1`, as CrowdSec writes it.
        scope, _, address = parts
    if scope.lower() not in _SCOPES:
        return Omitted(number, f"of the scope {scope[:20]}, which is no address")
    action = _text(record, "action").lower()
    if action in _OTHER_ACTIONS or (scope and action not in {"", "ban"}):
        return Omitted(number, f"a decision {action[:20]}, which is no ban")
    if _text(record, "simulated").lower() == "true":
        return Omitted(number, "simulated")
    until = _end(record, moment)
    if until is not None and until <= moment.now:
        return Omitted(number, ENDED)
    carried = None
    if "since" in record and any(record.get(key) for key in _OWN):
        carried = _carried(record)
        reason = checked_text("reason", _text(record, "reason", strip=False))
    else:
        reason = reason_of(_text(record, "reason"))
    return Entry(number, _destination(record, address), until, reason, carried)


def _destination(record: Mapping[str, object], address: str) -> Destination:
    if not address:
        raise UsageError("it names no address")
    port = _text(record, "port")
    if not port or port == "0":
        return destination_of(address)
    return destination_of(f"[{address}]:{port}" if ":" in address else f"{address}:{port}")


def _end(record: Mapping[str, object], moment: Moment) -> datetime | None:
    """Return the end of a record; None if it names none, or says never. Raises UsageError."""
    text = _text(record, "until")
    if text and text != "never":
        return unix_time(text, moment) or end_of(text, moment)
    if not (text := _text(record, "duration")):
        return None
    seconds = seconds_of(text)
    return end_of(text, moment) if seconds is None else end_after(seconds, moment)


def _carried(record: Mapping[str, object]) -> Carried:
    """Return what only exitpol carries. Raises UsageError."""
    since = parse_time(_text(record, "since"))
    if since is None:
        raise UsageError(f"since: {_text(record, 'since')[:40]!r} is not a time")
    forced = _text(record, "forced").lower()
    if forced not in {"", "yes", "no", "true", "false"}:
        raise UsageError(f"forced: {forced[:20]!r} is neither yes nor no")
    return Carried(
        since,
        checked_text("reference", _text(record, "reference", strip=False)),
        _words(record, "references"),
        _words(record, "relays"),
        checked_text("source", _text(record, "source", strip=False)),
        checked_text("name", _text(record, "name", strip=False)),
        forced in {"yes", "true"},
    )


def _words(record: Mapping[str, object], key: str) -> tuple[str, ...]:
    words = record.get(key) or ()
    if not isinstance(words, list | tuple) or not all(isinstance(w, str) and w for w in words):
        raise UsageError(f"{key}: this is no list of words")
    return tuple(dict.fromkeys(checked_text(key, word) for word in words))


def _text(record: Mapping[str, object], key: str, *, strip: bool = True) -> str:
    """Return a value as text; empty if it is missing. Raises UsageError for a list or an object."""
    value = record.get(key)
    if value is None:
        return ""
    if isinstance(value, dict | list):
        raise UsageError(f"{key}: this is no single value")
    text = str(value)
    return text.strip() if strip else text
