"""All that a report says about addresses, before it is weighed."""

from dataclasses import dataclass, field
from typing import Final

from exitpolicy.complaint.extract.addresses import Key
from exitpolicy.complaint.roles.scores import Role

MAX_CHARACTERS: Final = 250_000
"""Characters that are read line by line; after that, only lines with an own address are."""
MAX_RECORDS: Final = 5_000
"""Lines with addresses that are weighed; a report says the same long before."""
MAX_SIGHTINGS: Final = 20_000
"""Addresses, counted as often as they occur, that are weighed."""
LOUD: Final = 80
"""Evidence that counts even in places where reports do not name their victims."""


@dataclass(slots=True)
class Sighting:
    """An address in a line, with what the line says of it."""

    key: Key
    ports: tuple[int, ...]
    role: Role | None
    force: int
    quiet: bool
    """Whether the line is no place where a report names its victim."""
    titled: bool = False
    """Whether only its place in a subject accuses it."""


@dataclass(slots=True)
class Record:
    """A line with addresses."""

    line: str
    sightings: list[Sighting]
    loglike: bool
    acting: bool
    """Whether it speaks of something that was done to somebody."""
    hinting: bool
    """Whether it speaks of an attack or of somebody's host: a victim may be named in passing."""


@dataclass(slots=True)
class Evidence:
    """All that a report says about addresses, before it is weighed."""

    own: tuple[str, ...] = ()
    """The relay's addresses as reports write them."""
    records: list[Record] = field(default_factory=list)
    sightings: int = 0
    budget: int = MAX_CHARACTERS
    """Characters that may still be read."""
    context: int = 0
    understood: bool = True
    """Whether the report is in a language whose words we know."""
    masked: bool = False
    """Whether the report says that it does not name the destination."""
    full: bool = False
    """Whether there were more lines than are weighed."""
