"""The facts that a letter may state, and how they are sanitized.

Half of the facts come from strangers' mails. Every one of them passes `clean` before it reaches a
letter or a header, so that nobody can add a header, a line or a change of writing direction.
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
    "shared",
]  # fmt: skip
"""What a letter answers. Each kind has a template file of its name in each language."""

Paragraph = Literal[
    "blocked", "close-ticket", "closing", "exonerator", "greeting", "item", "lifted-item",
    "reference", "shared-address", "signature", "tor-exit", "your-side",
]  # fmt: skip
"""The template files that letters include."""

Language = Literal["en", "it", "de", "fr", "es"]
Recipient = Literal["isp", "reporter"]
"""Whether the letter goes to the provider that passed a complaint on, or to its author."""

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
PARAGRAPHS: Final[tuple[Paragraph, ...]] = get_args(Paragraph)
LANGUAGES: Final[tuple[Language, ...]] = get_args(Language)
RECIPIENTS: Final[tuple[Recipient, ...]] = get_args(Recipient)

EXONERATOR: Final = "https://metrics.torproject.org/exonerator.html"
"""The page of Tor Metrics that tells whether an address was a relay on a given day."""

MAX_TEXT: Final = 200
"""Longest fact in characters; a longer one is cut and ends with an ellipsis."""

MAX_EXITS: Final = 10
"""A letter names at most this many addresses of exits, the first ones."""

MAX_REFERENCES: Final = 5
"""A letter names at most this many references, the first ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockFact:
    """A block, and whether Tor was seen to enforce it."""

    destination: str
    """The canonical text of a Destination."""
    since: datetime
    until: datetime | None
    """The end of the block, in the past for a lifted one; None means no end."""
    live: bool
    """Whether the enforced policy (`GETINFO exit-policy/full`) rejects the destination. Only then
    does a letter say "I have blocked", and only otherwise that a block has been lifted."""
    name: str = ""
    """The host names that it was resolved from, as far as the recipient may know them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitFact:
    """An address that a complaint accuses, and the relays that have it."""

    address: str
    relays: tuple[str, ...] = ()
    """Their names; empty if none is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """The mail that is answered; header values as decoded text, not sanitized."""

    subject: str | None = None
    message_id: str | None = None
    references: tuple[str, ...] = ()
    """The message ids of its References header, oldest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplyFacts:
    """Everything that a letter is made of. Times are aware; naive ones raise ValueError."""

    recipient: Recipient
    operator: str | None = None
    """The name of who answers."""
    contact: str | None = None
    """How to write to the operator; a mail address also becomes the sender of an .eml."""
    relay: str | None = None
    """The name of the relay."""
    fingerprint: str | None = None
    """The relay's identity fingerprint, 40 hexadecimal digits."""
    address: str | None = None
    """The IP address of the relay that the complaint is about."""
    exits: tuple[ExitFact, ...] = ()
    """All addresses of the operator's relays that the complaint is about, if there are several."""
    blocks: tuple[BlockFact, ...] = ()
    """The blocks in the ledger that the letter is about."""
    lifted: tuple[BlockFact, ...] = ()
    """Blocks that have ended; leave out those for which Tor did not answer."""
    references: tuple[str, ...] = ()
    """Ticket numbers as the complaint writes them, the most important first."""
    incidents: tuple[datetime, ...] = ()
    deadline: datetime | None = None
    targets: tuple[str, ...] = ()
    """Attacked destinations and host names that no block covers."""
    is_seen: bool = True
    """Whether the relays are on this host. On others, nothing shows whether a block is in force."""
    longer: bool = False
    """Whether some blocks repeat an earlier block, and each of these lasts longer than that one."""
    provider: str | None = None
    """The owners of the targets' addresses, separated by commas, if other sites share all of
    these."""
    to: str | None = None
    """The bare mail address that the answer goes to."""
    original: Original | None = None

    def __post_init__(self) -> None:
        times = [*self.incidents, self.deadline]
        for block in (*self.blocks, *self.lifted):
            times += [block.since, block.until]
        if any(time is not None and time.utcoffset() is None for time in times):
            raise ValueError("a time without a zone")


_BRACKETED = re.compile(r"\[[^\[\]]+\]")


def clean(text: str | None) -> str | None:
    """Return text as one harmless line of at most MAX_TEXT characters; None if nothing is left.

    Control characters (C0 and C1), line and paragraph separators become blanks. Invisible
    formatting (zero-width and bidirectional controls), lone surrogates, private and unassigned
    characters are removed. Blanks are joined. `=?` is separated, because the email package decodes
    the encoded words (RFC 2047) that it finds in a header it writes, line ends included.
    """
    if text is None:
        return None
    # Cut first as well, because a hostile header may have megabytes.
    kept = "".join(map(_harmless, text[: MAX_TEXT * 20]))
    line = part_encoded_words(" ".join(kept.split()))
    if len(line) > MAX_TEXT:
        line = line[: MAX_TEXT - 1].rstrip() + "…"
    return line or None


def part_encoded_words(text: str) -> str:
    """Return text without anything that reads as an encoded word."""
    return text.replace("=?", "= ?")


def _harmless(character: str) -> str:
    category = unicodedata.category(character)
    if category in {"Cc", "Zl", "Zp"}:
        return " "
    return "" if category.startswith("C") else character


def clean_references(references: Iterable[str]) -> tuple[str, ...]:
    """Return the references to name, each once, without those that are part of another.

    The brackets that a ticket system puts around a reference in a subject are removed.
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
    """Return `2026-12-22 10:00 UTC`; None for no time, or one that UTC cannot express."""
    if time is None:
        return None
    try:
        return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC").rjust(20, "0")
    except OverflowError:
        return None


def canonical_address(text: str | None) -> str | None:
    """Return an IP address in canonical text; None for what is no address."""
    found = read_address((text or "").strip().strip("[]").partition("%")[0])
    return None if found is None else address_text(*found)


def exonerator_urls(address: str | None, incidents: Iterable[datetime]) -> tuple[str, ...]:
    """Return the pages that show whether the address was an exit on the first and the last day.

    Without an address or a day it is the front page. Days are in UTC, as at Tor Metrics.
    """
    days = sorted({text[:10] for time in incidents if (text := time_text(time)) is not None})
    if address is None or not days:
        return (EXONERATOR,)
    ends = dict.fromkeys((days[0], days[-1]))
    return tuple(f"{EXONERATOR}?ip={address}&timestamp={day}" for day in ends)
