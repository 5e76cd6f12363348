"""What a list says: entries, entries that are no bans, and lines that are not understood."""

from dataclasses import dataclass
from datetime import datetime, tzinfo
from functools import lru_cache
from typing import Final, NamedTuple

from exitpolicy.core.block import MAX_TEXT
from exitpolicy.core.destination import Destination

MAX_QUOTED: Final = 60
"""How many characters of a line are quoted in a fault."""


class Carried(NamedTuple):
    """What only the formats of exitpol itself carry."""

    since: datetime
    reference: str
    references: tuple[str, ...]
    relays: tuple[str, ...]
    source: str
    name: str
    forced: bool


# A named tuple is made faster than a dataclass, and there are many of them.
class Entry(NamedTuple):
    """One destination of a list."""

    number: int
    """The number of its line, or of its element in JSON; from 1."""
    destination: Destination
    until: datetime | None = None
    """The end that the list names, which may have passed; None if it names none."""
    reason: str = ""
    """What the list says about it."""
    carried: Carried | None = None


class Fault(NamedTuple):
    """A line that is not understood."""

    number: int
    """As in an entry; 0 for the list as a whole."""
    text: str
    """The start of the line; empty where the message quotes it."""
    message: str


class Omitted(NamedTuple):
    """An entry that the list itself does not ban, or no longer."""

    number: int
    why: str


ENDED: Final = "ended"
"""Why an entry is omitted whose end has passed."""

Item = Entry | Fault | Omitted


@dataclass(frozen=True, slots=True)
class Moment:
    """When and where a list is read."""

    now: datetime
    """In UTC, whole seconds."""
    zone: tzinfo
    """The zone of times that name none."""


def fault(number: int, line: str, message: str) -> Fault:
    """Return the fault of a line."""
    text = line.strip()
    return Fault(number, text if len(text) <= MAX_QUOTED else f"{text[:MAX_QUOTED]}...", message)


# Most entries of a list have one of a few reasons.
@lru_cache(maxsize=1024)
def reason_of(text: str) -> str:
    """Return what a list says about an entry, cut to what a block can hold."""
    return text.strip().encode(errors="replace").decode()[:MAX_TEXT]
