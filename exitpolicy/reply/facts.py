"""What a letter may say: the facts, and how they are made harmless.

Half of the facts come from strangers' mails. `clean` is the one place where text is made fit to
stand in a letter or a header, so that nobody can add a header, a line or a change of direction.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal, get_args

from exitpolicy.core.addresses import address_text, read_address

Kind = Literal[
    "brute-force", "port-scan", "web-attack", "spam", "ddos", "copyright", "malware", "fraud",
    "threats", "unknown", "no-detail", "deadline", "cert", "law-enforcement", "unblock", "lifted",
]  # fmt: skip
"""What the letter answers. Each has a template file of its name in each language."""

Language = Literal["en", "it", "de", "fr", "es"]
Recipient = Literal["isp", "reporter"]

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
LANGUAGES: Final[tuple[Language, ...]] = get_args(Language)
RECIPIENTS: Final[tuple[Recipient, ...]] = get_args(Recipient)

EXONERATOR: Final = "https://metrics.torproject.org/exonerator.html"
"""Tells whether an address was a Tor relay on a day (Tor Metrics)."""

MAX_TEXT: Final = 200
"""The longest fact, in characters; longer ones are cut, visibly."""

MAX_REFERENCES: Final = 5
"""A letter names no more references than this, the first ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """Who answers: the `operator` section of the config."""

    name: str | None = None
    contact: str | None = None
    """How to write to the operator; a mail address also becomes the sender of an .eml."""
    relay_name: str | None = None
    """What the operator calls the relay; Tor's nickname serves where this is missing."""
    address: str | None = None
    """The relay's own IP address, the one that the complaint is about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Relay:
    """What Tor knows about itself; fills what the operator left out."""

    nickname: str | None = None
    fingerprint: str | None = None
    address: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockFact:
    """A block, and whether Tor was seen to enforce it."""

    destination: str
    """The canonical text of a Destination."""
    since: datetime
    until: datetime | None
    """When it ends or, among the lifted ones, when it ended; None is no end."""
    live: bool
    """Rejected in the enforced policy (`GETINFO exit-policy/full`). Only then does a letter say
    "I have blocked", and only without it that a block has been lifted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """The mail that is answered; header values as decoded text, hostile until cleaned."""

    subject: str | None = None
    message_id: str | None = None
    references: tuple[str, ...] = ()
    """The message ids of its References header, oldest first."""
    reply_to: str | None = None
    """Whom to answer, with or without a display name: Reply-To, else From."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyFacts:
    """Everything that a letter is made of. All times are aware; naive ones raise ValueError."""

    recipient: Recipient
    operator: Operator = Operator()
    relay: Relay = Relay()
    blocks: tuple[BlockFact, ...] = ()
    """The blocks in the ledger that this letter is about."""
    lifted: tuple[BlockFact, ...] = ()
    """Blocks that have ended; leave out those of which Tor could not be asked."""
    references: tuple[str, ...] = ()
    """Ticket numbers as the complaint writes them, the most important first."""
    incidents: tuple[datetime, ...] = ()
    deadline: datetime | None = None
    original: Original | None = None

    def __post_init__(self) -> None:
        times = [*self.incidents, self.deadline]
        for block in (*self.blocks, *self.lifted):
            times += [block.since, block.until]
        if any(time is not None and time.utcoffset() is None for time in times):
            raise ValueError("a time without a zone")

    @property
    def address(self) -> str | None:
        """The relay's address, canonical; None when none is known or it is no address."""
        for text in (self.operator.address, self.relay.address):
            if text is not None:
                found = read_address(text.strip().strip("[]").partition("%")[0])
                if found is not None:
                    return address_text(*found)
        return None


_BRACKETED = re.compile(r"\[[^\[\]]+\]")


def clean(text: str | None) -> str | None:
    """Return text as one harmless line of at most MAX_TEXT characters; None if nothing is left.

    Control characters, line and paragraph separators become blanks; invisible formatting
    (zero-width and bidirectional controls), lone surrogates, private and unassigned characters
    vanish; blanks are joined. `=?` is parted, because the email package decodes the encoded words
    (RFC 2047) that it finds in a header it writes, line ends included.
    """
    if text is None:
        return None
    # Cut twice: first, because a hostile header may have megabytes.
    kept = "".join(map(_harmless, text[: MAX_TEXT * 20]))
    line = part_encoded_words(" ".join(kept.split()))
    if len(line) > MAX_TEXT:
        line = line[: MAX_TEXT - 1].rstrip() + "…"
    return line or None


def part_encoded_words(text: str) -> str:
    """Return text in which nothing can be taken for an encoded word."""
    return text.replace("=?", "= ?")


def _harmless(character: str) -> str:
    category = unicodedata.category(character)
    if category in {"Cc", "Zl", "Zp"}:
        return " "
    return "" if category.startswith("C") else character


def clean_references(references: Iterable[str]) -> tuple[str, ...]:
    """Return the references worth naming: no doubles, none that is a part of another.

    The brackets that a ticket system puts around them in a subject are no part of them.
    """
    texts: dict[str, str] = {}
    for reference in references:
        text = clean(reference)
        if text is not None and _BRACKETED.fullmatch(text):
            text = text[1:-1].strip()
        if text:
            texts.setdefault(text.casefold(), text)
        if len(texts) == MAX_REFERENCES:
            break
    return tuple(
        text
        for key, text in texts.items()
        if not any(key != other and key in other for other in texts)
    )


def time_text(time: datetime | None) -> str | None:
    """Return `2026-12-22 10:00 UTC`; None for none, or for one beyond the calendar in UTC."""
    if time is None:
        return None
    try:
        return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC").rjust(20, "0")
    except OverflowError:
        return None


def exonerator_urls(address: str | None, incidents: Iterable[datetime]) -> tuple[str, ...]:
    """Return where to look up that the address was an exit: at most the first and the last day.

    Without an address or a day it is the front page. Days are UTC, as Tor Metrics counts them.
    """
    days = sorted({text[:10] for time in incidents if (text := time_text(time)) is not None})
    if address is None or not days:
        return (EXONERATOR,)
    ends = dict.fromkeys((days[0], days[-1]))
    return tuple(f"{EXONERATOR}?ip={address}&timestamp={day}" for day in ends)
