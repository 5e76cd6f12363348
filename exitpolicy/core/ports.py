"""Sets of TCP ports: parsing, canonical text and set operations.

`parse_ports` reads what a person typed and explains each mistake. `read_interval` and `read_port`
return None for any text that is no port.
"""

import re
from bisect import bisect_left
from collections.abc import Iterable
from typing import Final

from exitpolicy.core.errors import UsageError

MAX_PORT: Final = 65535

Interval = tuple[int, int]
"""A closed interval of ports: (lowest, highest)."""

Ports = tuple[Interval, ...]
"""A set of ports in normal form: ascending intervals that neither touch nor overlap."""

ALL_PORTS: Final[Ports] = ((1, MAX_PORT),)

_NUMBER: Final = r"[0-9]{1,5}"


def normal_ports(intervals: Iterable[Interval]) -> Ports:
    """Return the union of intervals in normal form."""
    merged: list[Interval] = []
    for low, high in sorted(intervals):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], high))
        else:
            merged.append((low, high))
    return tuple(merged)


def intersection(some: Ports, others: Ports) -> Ports:
    """Return the ports that are in both sets."""
    if some == others:
        return some
    result = []
    i = j = 0
    while i < len(some) and j < len(others):
        low, high = max(some[i][0], others[j][0]), min(some[i][1], others[j][1])
        if low <= high:
            result.append((low, high))
        if some[i][1] < others[j][1]:
            i += 1
        else:
            j += 1
    return tuple(result)


def difference(ports: Ports, others: Ports) -> Ports:
    """Return the ports that are in the first set only."""
    result = []
    for low, high in ports:
        start = low
        for a, b in others:
            if b >= start and a <= high:
                if a > start:
                    result.append((start, a - 1))
                start = b + 1
        if start <= high:
            result.append((start, high))
    return tuple(result)


def contains(ports: Ports, interval: Interval) -> bool:
    """Tell whether all ports of an interval are in a set."""
    at = bisect_left(ports, (interval[0] + 1,)) - 1
    return at >= 0 and interval[1] <= ports[at][1]


def overlap(some: Ports, others: Ports) -> bool:
    """Tell whether some port is in both sets."""
    return any(a <= d and c <= b for a, b in some for c, d in others)


def interval_text(low: int, high: int) -> str:
    """Return `22` or `6000-6010`."""
    return str(low) if low == high else f"{low}-{high}"


def ports_text(ports: Ports) -> str:
    """Return ports as `22`, `80,443`, `6000-6010`; `*` for all."""
    if ports == ALL_PORTS:
        return "*"
    if len(ports) == 1:
        return interval_text(*ports[0])
    return ",".join(interval_text(low, high) for low, high in ports)


def read_interval(text: str) -> Interval | None:
    """Return the interval of `22` or `6000-6010`; None if it is none within 1 to 65535.

    Leading zeros are allowed, as Tor allows them.
    """
    low, dash, high = text.partition("-")
    numbers = [low, high] if dash else [low, low]
    if not all(number.isascii() and number.isdigit() for number in numbers):
        return None
    first, last = (int(number.lstrip("0")[:6] or "0") for number in numbers)
    return (first, last) if 1 <= first <= last <= MAX_PORT else None


def read_port(text: str) -> int | None:
    """Return the port of `22`; None if it is none within 1 to 65535, or has leading zeros."""
    interval = read_interval(text)
    return None if interval is None or text != str(interval[0]) else interval[0]


def parse_ports(text: str) -> Ports:
    """Read `22`, `80,443`, `6000-6010` or `*`, as a person types it.

    Raises UsageError, whose hint says what to write instead.
    """
    if text == "*":
        return ALL_PORTS
    return normal_ports(_parse_interval(item) for item in text.split(","))


def _parse_interval(item: str) -> Interval:
    low, dash, high = item.partition("-")
    if not re.fullmatch(_NUMBER, low) or (dash and not re.fullmatch(_NUMBER, high)):
        raise UsageError(
            f"{item!r} is not a port",
            hint="write ports as :22, :80,443 or :6000-6010; without ports, all are meant",
        )
    first, last = int(low), int(high if dash else low)
    if (plain := f"{first}-{last}" if dash else f"{first}") != item:
        raise UsageError(f"port {item!r} has leading zeros", hint=f"write {plain}")
    if not 1 <= first <= MAX_PORT or not 1 <= last <= MAX_PORT:
        raise UsageError(
            f"port {item!r} is not between 1 and 65535", hint="for all ports, leave the ports out"
        )
    if first > last:
        raise UsageError(f"the port range {item!r} runs backwards", hint=f"write {high}-{low}")
    return first, last
