"""The values that the complaint reader returns."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from exitpolicy.complaint.roles.scores import is_guess
from exitpolicy.core.destination import Destination


class Kind(StrEnum):
    """The subject of a complaint. The values are also the names of the reply letters."""

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
    """The reason why a person should inspect a complaint before a block."""

    SPOOFED = "spoofed"
    """The source address of the packets may be forged."""
    NOT_OURS = "not ours"
    """The report accuses an address that is not the relay's own."""
    PRIVATE = "private"
    """The only destination is a private or documentation address."""
    PROTECTED = "protected"
    """The report names a destination that the config protects."""
    CUT = "cut"
    """The report was too large or nested too deeply; a part was not read."""
    MANY = "many"
    """There are more destinations than candidates."""


@dataclass(frozen=True, slots=True)
class Caution:
    """A warning about a complaint."""

    why: Warn
    text: str
    """One sentence, without a final full stop."""


@dataclass(frozen=True, slots=True)
class Incident:
    """A time at which something happened, according to the report."""

    time: datetime
    """With time zone; UTC if the report names none."""
    zone_said: bool = True
    """Whether the report names its time zone."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A possible destination of the attack."""

    destination: Destination
    evidence: tuple[str, ...]
    """Lines of the report that show it, the strongest evidence first."""
    score: int
    """1 to 100; only the order has a meaning."""

    @property
    def is_guess(self) -> bool:
        """Whether the report only mentions it, without evidence of its role."""
        return is_guess(self.score)


@dataclass(frozen=True, slots=True)
class HostName:
    """A host name that the report names."""

    name: str
    """In ASCII and lower case."""
    evidence: tuple[str, ...]
    """Lines of the report that name it."""
    is_victim: bool
    """Whether the words before it say that it is the victim's."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """The mail headers that a reply needs."""

    message_id: str | None = None
    references: str | None = None
    """The `References` header, else `In-Reply-To`."""
    subject: str = ""
    sender: str | None = None
    """The `From` header, decoded."""
    from_addresses: tuple[str, ...] = ()
    """The addresses in `From`, parsed before decoding. With several, the author is unclear."""
    reply_to_addresses: tuple[str, ...] | None = None
    """The addresses in `Reply-To`; None without that header, empty if it holds no usable one."""
    date: datetime | None = None

    @property
    def reply_to(self) -> str | None:
        """The first address of `Reply-To`, else of `From`."""
        return next(iter((self.reply_to_addresses or ()) + self.from_addresses), None)


@dataclass(frozen=True, slots=True)
class Complaint:
    """The content of an abuse complaint."""

    envelope: Envelope
    reporter: str | None
    """The author of the complaint, as written; of a forwarded one, the first author."""
    forwarded: bool
    """Whether somebody else, such as a provider, forwarded the complaint."""
    references: tuple[str, ...]
    """Ticket numbers as written. The first one is that of the person who gets the reply."""
    incidents: tuple[Incident, ...]
    """Ascending, each once. Of many, the first ones and the last."""
    deadline: datetime | None
    """The time limit for an answer, with time zone."""
    kind: Kind
    language: str | None
    """ISO 639-1 code of the language of the sender's own words; of all prose if the sender wrote
    only a few words. None if it is unknown."""
    reporter_language: str | None
    """The language of all prose. In a forwarded complaint, usually the reporter's."""
    candidates: tuple[Candidate, ...]
    """Possible destinations, the likeliest first; never an own or protected address."""
    cautions: tuple[Caution, ...]
    sources: tuple[str, ...] = ()
    """The accused addresses, in canonical text."""
    named_hosts: tuple[HostName, ...] = ()
    """The host names of the report, those of victims first."""
    ask: tuple[str, ...] = field(default=())
    """What to ask the reporter for, if there is no candidate."""

    @property
    def host_names(self) -> tuple[str, ...]:
        """The host names of the report, those of victims first."""
        return tuple(host.name for host in self.named_hosts)

    @property
    def may_be_spoofed(self) -> bool:
        """Whether a person must confirm before a block."""
        return any(caution.why is Warn.SPOOFED for caution in self.cautions)
