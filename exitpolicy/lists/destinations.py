"""Destinations as lists write them, with an error for each trap."""

import re
from typing import Final

from exitpolicy.core.destination import BOTH, Destination, parse_destination
from exitpolicy.core.errors import UsageError
from exitpolicy.core.ports import ALL_PORTS

_RANGE: Final = re.compile(r"(\S+)\s+-\s+(\S+)")
_HOST_NAME: Final = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9_*-]+(\.[A-Za-z0-9_-]+)+\.?(:[0-9,-]+)?")
_MANY: Final = re.compile(r"[0-9A-Fa-f.:/\[\]]+(\s+[0-9A-Fa-f.:/\[\]]+)+")


def destination_of(text: str) -> Destination:
    """Return the destination that an entry of a list names.

    Reads what `parse_destination` reads, and ranges with blanks (`A - B`). Raises UsageError, also
    for host names, which are not looked up, and for all addresses of a family on all ports.
    """
    try:
        found = parse_destination(text)
    except UsageError as error:
        if spaced := _RANGE.fullmatch(text):
            return destination_of(f"{spaced[1]}-{spaced[2]}")
        if _HOST_NAME.fullmatch(text):
            raise UsageError(
                f"{text!r} is a host name; names in lists are not looked up",
                hint="exitpol block NAME looks up a name, and shows its addresses first",
            ) from error
        if _MANY.fullmatch(text):
            raise UsageError(f"{text!r} is more than one word", hint="one entry a line") from error
        raise
    return checked(found)


def checked(destination: Destination) -> Destination:
    """Return a destination unless it is everything. Raises UsageError."""
    if destination.first == destination.last:
        # Most entries of a list.
        return destination
    if destination.is_port and destination.ports == ALL_PORTS:
        family = "" if destination.family == BOTH else f" IPv{destination.family}"
        raise UsageError(
            f"{destination} is every{family} address",
            hint="a list that holds it closes the exit: remove the line",
        )
    return destination
