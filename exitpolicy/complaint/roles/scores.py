"""What is found out about an address: its role in a report, and how surely it has it."""

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Final


class Role(Enum):
    """What an address does in a report."""

    SOURCE = "source"
    DESTINATION = "destination"
    BYSTANDER = "bystander"
    """Named for another reason: a resolver, a rescue console, a list of attackers."""


class Force(IntEnum):
    """How surely something tells a role, on one scale; a word that stands further off counts less.

    Only the order means anything, and the thresholds in `weighing`.
    """

    LABEL = 90
    """The name of a key: `dst=`, `victim:`."""
    COLUMN = 86
    """The name of a column."""
    ARROW = 82
    """`A -> B`."""
    LOG = 80
    """The place in a line of a log whose shape is known."""
    OWNER = 78
    """`our`, `your`."""
    SUBJECT = 76
    """A subject accuses whom it names."""
    HEADING = 74
    """The words of the line above a list."""
    WORD = 72
    """`attacked`, `infected`."""
    AFTER = 70
    """What is said after an address: `was attacked`, `(our server)`."""
    PREPOSITION = 60
    """`from`, `to`, directly before an address."""
    URL = 50
    """An address as the host of a URL, in a sentence about an attack."""
    COMPANION = 45
    """Nothing but that it stands beside a source in a line of a log."""
    SENTENCE = 41
    """Nothing but that it stands beside a source in a sentence about an attack."""
    BARE_LABEL = 30
    """`IP: A`, with no word more."""
    ALONE = 20
    """Nothing but that a sentence about an attack, or about a host, names it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The role of an address in a line."""

    role: Role
    force: int
    """See `Force`; may lie between two of them."""


BYSTANDER: Final = Finding(Role.BYSTANDER, Force.LABEL)
