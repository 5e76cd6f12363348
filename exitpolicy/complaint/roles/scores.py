"""Scores of evidence, on one scale, and all comparisons of them.

A score says how surely a piece of evidence shows the role of an address. Only the order of the
scores matters, and their relation to the thresholds in this module.
"""

from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Final, NamedTuple


class Role(Enum):
    """The role of an address in a report."""

    SOURCE = "source"
    DESTINATION = "destination"
    BYSTANDER = "bystander"
    """Mentioned for another reason: a resolver, a rescue console, a list of attackers."""


class Score(IntEnum):
    """The score of each kind of evidence.

    A word scores a point less for each word of unknown meaning between it and the address.
    """

    LABEL = 90
    """The name of a key: `dst=`, `victim:`."""
    COLUMN = 86
    """The name of a table column."""
    ARROW = 82
    """`A -> B`."""
    LOG = 80
    """The position in a log line of a known format."""
    OWNER = 78
    """`our`, `your`."""
    SUBJECT = 76
    """The subject of the mail, which names the accused."""
    HEADING = 74
    """The line above a list."""
    WORD = 72
    """`attacked`, `infected`."""
    AFTER = 70
    """Words after the address: `was attacked`, `(our server)`."""
    PREPOSITION = 60
    """`from`, `to`, directly before the address."""
    URL = 50
    """The address is the host of a URL, in a sentence about an attack."""
    COMPANION = 45
    """Only a source is in the same log line."""
    SENTENCE = 41
    """Only a source is in the same sentence about an attack."""
    ALONE = 20
    """Only a sentence about an attack, or about a host, mentions the address."""


GUESS: Final = 40
"""Below this score, the report only mentions a destination: its role is a guess."""
_QUIET: Final = Score.LOG
"""Minimum score of evidence from lines that usually do not name a victim, such as signatures."""
_BYSTANDER_OVERRIDE: Final = Score.PREPOSITION
"""Minimum destination score that overrides a bystander mention."""
_MAX_LINES: Final = 10
"""Maximum lines with the same role that add to the score of an address."""
_MAX_KEPT: Final = 50
"""Lines that are kept as evidence for one address."""
MAX_PORTS: Final = 16
"""With more ports, a destination is blocked with all ports."""


class Hint(IntEnum):
    """How likely a line mentions the victim without saying so. A guess needs such a line."""

    NONE = 0
    """A row of a table."""
    PORT = 1
    """Only a port beside the address hints at a victim."""
    FIELD = 2
    """A line that is no prose, such as `Server: A`, about an attack or a host."""
    PROSE = 3
    """A sentence about an attack or a host."""


class Sense(NamedTuple):
    """What a word, or a line, says about an address."""

    role: Role
    score: int
    """See `Score`; may be between two of its values."""

    @property
    def is_preposition(self) -> bool:
        """Whether the word is a preposition, which counts only directly before the address."""
        return self.score == Score.PREPOSITION

    @property
    def is_possessive(self) -> bool:
        """Whether the word is `our` or `your`."""
        return self.score == Score.OWNER

    @property
    def is_announced(self) -> bool:
        """Whether a line above says it of all addresses below."""
        return self.score == Score.HEADING


BYSTANDER: Final = Sense(Role.BYSTANDER, Score.LABEL)


def is_guess(score: int) -> bool:
    """Tell whether a destination with this score is only mentioned."""
    return score < GUESS


def is_audible(score: int, *, quiet: bool) -> bool:
    """Tell whether evidence counts. In a quiet line, only the strongest evidence does."""
    return not quiet or score >= _QUIET


def stronger(one: Sense | None, other: Sense | None) -> Sense | None:
    """Return the sense with the higher score, the first of two equal ones."""
    if one is None or other is None:
        return one or other
    return one if one.score >= other.score else other


def is_owned_in_passing(role: Role | None, score: int) -> bool:
    """Tell whether only "your", in a sentence that is not about an attack, accuses an address."""
    return role is Role.SOURCE and Score.URL < score < Score.PREPOSITION


@dataclass(slots=True)
class Tally:
    """The evidence about one address, from all lines."""

    order: int
    """Its position among the addresses of the report."""
    line: str
    """The first line that mentions it."""
    source: int = 0
    """The highest score as a source."""
    source_lines: int = 0
    destination: int = 0
    """The highest score as a destination."""
    destination_lines: int = 0
    ports: set[int] = field(default_factory=set)
    """Its ports as a destination."""
    nearby_ports: set[int] = field(default_factory=set)
    """Ports beside it in any line."""
    evidence: list[tuple[int, str]] = field(default_factory=list)
    """Scores and lines that show it as a destination."""
    lists: set[str] = field(default_factory=set)
    """The lists and table columns that it is in; not the enumerations in a sentence."""
    audible: int = 0
    """The number of its mentions in lines that may name a victim."""
    is_bystander: bool = False
    hint: Hint = Hint.NONE
    """The best hint of the lines that mention it."""

    def add_hint(self, hint: Hint, *, has_port: bool) -> None:
        """Keep the best hint. `Hint.PORT` counts only if the line names a port."""
        if hint is not Hint.PORT or has_port:
            self.hint = max(self.hint, hint)

    def add_source(self, score: int) -> None:
        """Count a line that shows the address as a source."""
        self.source = max(self.source, score)
        self.source_lines += 1

    def add_destination(self, score: int, line: str, ports: tuple[int, ...]) -> None:
        """Count a line that shows the address as a destination with these ports."""
        self.destination = max(self.destination, score)
        self.destination_lines += 1
        if len(self.ports) <= MAX_PORTS:
            self.ports.update(ports)
        if len(self.evidence) < _MAX_KEPT and (score, line) not in self.evidence:
            self.evidence.append((score, line))

    def is_source(self) -> bool:
        """Tell whether more evidence shows a source than a destination."""
        source = self.source + min(_MAX_LINES, self.source_lines) if self.source else 0
        lines = min(_MAX_LINES, self.destination_lines)
        return source > (self.destination + lines if self.destination else 0)

    def is_only_bystander(self) -> bool:
        """Tell whether it is a bystander, and no evidence overrides that."""
        return self.is_bystander and self.destination < _BYSTANDER_OVERRIDE

    def is_only_linked(self) -> bool:
        """Tell whether a URL is the only evidence for a destination."""
        return self.destination == Score.URL

    def is_only_beside(self) -> bool:
        """Tell whether a source in the same line is the only evidence, and no line names a port."""
        return self.is_companion() and not self.ports

    def is_companion(self) -> bool:
        """Tell whether a source in the same line is the only evidence."""
        return self.destination < Score.URL

    def is_sure(self) -> bool:
        """Tell whether words, a column or a log format show that it is a destination."""
        return self.destination >= Score.AFTER

    def is_named(self, *, masked: bool) -> bool:
        """Tell whether the evidence is about this address itself.

        `masked`: whether the report hides the victim's address. An address that it shows then
        needs more evidence.
        """
        return self.destination >= (Score.LOG if masked else GUESS)

    def is_rather_destination(self) -> bool:
        """Tell whether the best evidence shows a destination."""
        return self.destination > self.source

    def total(self) -> int:
        """Return the score of the candidate, 1 to 100."""
        return min(100, self.destination + min(_MAX_LINES - 1, self.destination_lines))

    def rank(self) -> tuple[int, int, int]:
        """Return a sort key: the likeliest destination first."""
        lines = min(_MAX_LINES - 1, self.destination_lines)
        return -(self.destination + lines), -self.destination_lines, self.order
