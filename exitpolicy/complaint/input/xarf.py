"""Read formal reports: X-ARF v0.2 (`Key: value` YAML), XARF v3 and v4 (JSON), ARF (RFC 5965).

A report becomes lines such as `Destination: A port N`, which are read like any other text, and a
few fields. The YAML of X-ARF v0.2 has one key on each line. It is read line by line: a YAML library
would add risk and no benefit.
"""

import base64
import binascii
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from typing import Final

from exitpolicy.complaint.input.mail import Text
from exitpolicy.complaint.language import vocabulary
from exitpolicy.complaint.model import Kind

MAX_JSON: Final = 2_000_000
"""Longer JSON is read as text: its objects would need many times its size in memory."""
MAX_REPORTER: Final = 500
"""Characters of the reporter that are kept."""
_HALF_PAIR: Final = re.compile(r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
MAX_ITEMS: Final = 20_000
MAX_NESTING: Final = 40
MAX_PORTS_NAMED: Final = 20

_FLAT: Final = re.compile(
    r"^\s{0,2}['\"]?([A-Za-z][A-Za-z0-9_-]{1,40})['\"]?\s{0,4}:(?:\s+(.{0,2000}))?$"
)
_TARGET: Final = re.compile("dest|dst|target|victim|portsscanned|scannedports", re.IGNORECASE)
_REFERENCES: Final = (
    "report_id",
    "reportid",
    "ticket",
    "ticket_id",
    "ticketid",
    "case_id",
    "caseid",
)
_CAMEL: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")

_types = cache(lambda: tuple(vocabulary.family("type")))


def read_formal(text: Text) -> Text | None:
    """Return a formal report as lines for the general reader; None if it is none."""
    start = text.content[:200].lstrip()
    if start.startswith(("{", "[")) and len(text.content) <= MAX_JSON:
        return _read_json(text)
    is_headers = text.media in {"message/feedback-report", "text/rfc822-headers"}
    return _read_flat(text) if is_headers or _looks_flat(text.content) else None


def kind_named(name: str) -> Kind | None:
    """Return the kind of complaint that a report type names."""
    name = name.lower()
    for kind, pattern in _types():
        if pattern.search(name):
            return Kind(kind)
    return None


def _looks_flat(text: str) -> bool:
    keys = {match[1].lower() for line in text[:6000].split("\n") if (match := _FLAT.match(line))}
    return len(keys & {"reported-from", "report-type", "source", "source-type", "report-id",
                       "schema-url", "category", "feedback-type", "source-ip"}) >= 3  # fmt: skip


def _read_flat(text: Text) -> Text:
    """Read X-ARF v0.2 or the fields of a feedback report."""
    values: dict[str, str] = {}
    for line in text.content[:20_000].split("\n"):
        match = _FLAT.match(line.rstrip())
        if match and len(values) < 200:
            values.setdefault(match[1].lower(), (match[2] or "").strip().strip("'\""))
    port = values.get("destination-port") or values.get("port") or ""
    with_port = f" port {port}" if port.isdigit() else ""
    lines = [
        f"{name}: {values[key]}{end}"
        for name, end, keys in (
            ("Source", "", ("source", "source-ip")),
            ("Destination", with_port, ("destination", "destination-ip", "target")),
            ("Date", "", ("date", "arrival-date", "received-date")),
        )
        for key in keys
        if values.get(key)
    ]
    kind = kind_named(values.get("report-type", "") or values.get("category", ""))
    if "feedback-type" in values:
        feedback = values["feedback-type"].lower()
        kind = {"fraud": Kind.FRAUD, "virus": Kind.MALWARE, "abuse": Kind.SPAM}.get(feedback, kind)
    return replace(
        text,
        content="\n".join(lines),
        reporter=values.get("reported-from", "")[:MAX_REPORTER] or None,
        reference=values.get("report-id") or None,
        kind=kind,
    )


def _read_json(text: Text) -> Text | None:
    try:
        # JSON may hold half a surrogate pair, which is no character.
        value = json.loads(_HALF_PAIR.sub(r"\\ufffd", text.content))
    except (ValueError, RecursionError):
        return None
    items: list[tuple[tuple[str, ...], str]] = []
    for path, scalar in _walk(value):
        items.append((path, scalar))
        if len(items) >= MAX_ITEMS:
            break
    lines: list[str] = []
    flat = {path[-1].lower(): scalar for path, scalar in reversed(items) if path}
    ports = _destination_port(items)
    for path, scalar in items:
        if path and path[-1].lower() in {"payload", "data"} and len(scalar) > 16:
            lines.extend(_payload(scalar))
        elif not path or not (path[0].startswith("_") or "ports_scanned" in path):
            lines.append(_line(path, scalar, ports))
    reporter = (
        flat.get("reportercontactemail") or flat.get("reporterorgemail") or flat.get("contact")
        or flat.get("reporter_email")
    )  # fmt: skip
    name = flat.get("reporterorg") or flat.get("org")
    kind = kind_named(flat.get("type", "") if "xarf_version" in flat else "") or kind_named(
        flat.get("reporttype", "") or flat.get("report_type", "") or flat.get("category", "")
    )
    written = f"{name} <{reporter}>" if name and reporter else reporter or name
    return replace(
        text,
        content="\n".join(lines),
        reporter=written[:MAX_REPORTER] if written else None,
        reference=next((flat[key] for key in _REFERENCES if key in flat), None),
        kind=kind,
    )


def _walk(value: object) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the scalars of a JSON value with their keys, in order, without recursion."""
    pending: list[tuple[tuple[str, ...], object]] = [((), value)]
    while pending:
        path, item = pending.pop()
        if isinstance(item, dict):
            if len(path) < MAX_NESTING:
                pairs = _named_value(item) or list(item.items())
                pending.extend(((*path, str(k)), v) for k, v in reversed(pairs))
        elif isinstance(item, list):
            pending.extend((path, v) for v in reversed(item))
        elif item is not None:
            yield path, str(item)


def _named_value(item: dict[str, object]) -> list[tuple[str, object]]:
    """Return the key and value of `{"key": "target_ip", "value": …}`, a common notation."""
    name = item.get("key", item.get("name"))
    return [(str(name), item["value"])] if len(item) == 2 and name and "value" in item else []


def _destination_port(items: list[tuple[tuple[str, ...], str]]) -> str:
    ports: dict[str, None] = {}
    for path, scalar in items:
        key = "".join(path[-2:]).lower().replace("_", "")
        if "port" in key and _TARGET.search(key) and re.fullmatch(r"\d{1,5}", scalar):
            ports[scalar] = None
    return f" port {', '.join(list(ports)[:MAX_PORTS_NAMED])}" if ports else ""


def _line(path: tuple[str, ...], scalar: str, port: str) -> str:
    key = " ".join(_CAMEL.sub(" ", part).replace("_", " ") for part in path[-2:])
    scalar = " ".join(scalar.split())[:1500]
    if re.search("(?i)dest|dst|target|victim", key) and re.fullmatch(
        r"[0-9A-Fa-f.:]{7,45}", scalar
    ):
        return f"{key}: [{scalar}]{port}" if ":" in scalar else f"{key}: {scalar}{port}"
    return f"{key}: {scalar}"


def _payload(scalar: str) -> list[str]:
    """Return the lines of a base64 attachment in a report, if it is text."""
    try:
        data = base64.b64decode(scalar[:400_000], validate=True)
    except (binascii.Error, ValueError):
        return scalar[:100_000].split("\n")
    text = data.decode("utf-8", "replace")
    return text.split("\n") if text.isprintable() or "\n" in text[:2000] else []
