"""What a complaint says: the values that reading one results in."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from exitpolicy.complaint.roles.scores import is_guess
from exitpolicy.core.destination import Destination


class Kind(StrEnum):
    """What the reporter complains about; the values are the names of the letters that answer."""

    BRUTE_FORCE = "brute-force"
    PORT_SCAN = "port-scan"
    WEB_ATTACK = "web-attack"
    SPAM = "spam"
    DDOS = "ddos"
    COPYRIGHT = "copyright"
    MALWARE = "malware"
    FRAUD = "fraud"
    THREATS = "threats"
    UNKNOWN = "unknown"


class Warn(StrEnum):
    """Why a person should look before anything is blocked."""

    SPOOFED = "spoofed"
    """The packets may not have come from the relay at all."""
    NOT_OURS = "not ours"
    """The report is about an address that is not among the relay's own."""
    PRIVATE = "private"
    """The only destination is a private or documentation address."""
    PROTECTED = "protected"
    """The report names a destination that the configuration protects."""
    CUT = "cut"
    """The report was too large or too deep to be read wholly."""
    MANY = "many"
    """There are more destinations than are offered."""


@dataclass(frozen=True, slots=True)
class Caution:
    """Something to think of before acting on a complaint."""

    why: Warn
    text: str
    """One sentence, without a final full stop."""


@dataclass(frozen=True, slots=True)
class Incident:
    """A moment at which, by the report, something happened."""

    time: datetime
    """Aware; UTC where the report names no zone."""
    zone_said: bool = True
    """Whether the report says in which zone its times are."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A destination that the report may be about."""

    destination: Destination
    evidence: tuple[str, ...]
    """Lines of the report that speak for it, the strongest first."""
    score: int
    """How strongly, from 1 to 100; only the order means anything."""

    @property
    def is_guess(self) -> bool:
        """Whether there is no evidence of its role: it is only named."""
        return is_guess(self.score)


@dataclass(frozen=True, slots=True)
class Envelope:
    """What an answer takes from the headers of the mail that was read."""

    message_id: str | None = None
    references: str | None = None
    """The `References` header, or `In-Reply-To` where there is none."""
    subject: str = ""
    sender: str | None = None
    """The `From` header, decoded."""
    from_addresses: tuple[str, ...] = ()
    """The addresses in `From`, parsed before decoding; several if it is unclear who wrote."""
    reply_to_addresses: tuple[str, ...] | None = None
    """The addresses in `Reply-To`; None without that header, empty if it holds no usable one."""
    date: datetime | None = None

    @property
    def reply_to(self) -> str | None:
        """The first address of `Reply-To`, else of `From`."""
        return next(iter((self.reply_to_addresses or ()) + self.from_addresses), None)


@dataclass(frozen=True, slots=True)
class Complaint:
    """An abuse complaint, read."""

    envelope: Envelope
    reporter: str | None
    """Who complains, as written; behind a provider that forwards, the first reporter."""
    forwarded: bool
    """Whether someone else (a provider) passed the complaint on."""
    references: tuple[str, ...]
    """Ticket numbers as written, the ones in the subject first."""
    incidents: tuple[Incident, ...]
    """Ascending, without repetition; the first ones and the last of many."""
    deadline: datetime | None
    """Until when an answer is demanded; aware."""
    kind: Kind
    language: str | None
    """ISO 639-1 code of the words of who sent the mail; of all of its prose where those are few,
    and None where that is little as well."""
    reporter_language: str | None
    """That of all of its prose: behind a provider that forwards, mostly the reporter's."""
    candidates: tuple[Candidate, ...]
    """The destinations, the likeliest first; never an own or protected one."""
    cautions: tuple[Caution, ...]
    sources: tuple[str, ...] = ()
    """The addresses that the report accuses, in canonical text."""
    host_names: tuple[str, ...] = ()
    """Names of victims for which the report gives no address."""
    ask: tuple[str, ...] = field(default=())
    """What to ask the reporter for where there is no candidate."""

    @property
    def may_be_spoofed(self) -> bool:
        """Whether a person has to say yes before anything is blocked."""
        return any(caution.why is Warn.SPOOFED for caution in self.cautions)
