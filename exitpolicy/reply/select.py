"""Choose the letter that answers a complaint: its kind, language, recipient and mail address."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from exitpolicy.reply.facts import KINDS, LANGUAGES, Kind, Language, Recipient, ReplyFacts

if TYPE_CHECKING:
    from exitpolicy.complaint import Complaint, Envelope

_NOT_ABOUT_BLOCKS: Final = frozenset({"copyright", "threats"})
"""Kinds whose letters are about more than blocks."""
_CERT_WORDS: Final = frozenset({"cert", "certs", "csirt", "csirts", "cirt", "sirt"})
_CERT_NAMES: Final = frozenset(
    {"auscert", "cert-bund", "certbund", "circl", "govcert", "hkcert", "jpcert", "krcert",
     "singcert", "thaicert", "twcert", "uscert"}
)  # fmt: skip
"""Teams whose name is written as one word."""
_JOINED_CERT: Final = re.compile(r"[A-Za-z]*[a-z](?:CERT|CSIRT)")


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why it is not certain which address an answer goes to."""

    text: str
    """One sentence without a final full stop."""
    addresses: tuple[str, ...]
    """The addresses to choose from."""


def recipient_of(complaint: "Complaint | None") -> Recipient:
    """Return who is answered: the provider, unless the complaint comes from its reporter."""
    return "reporter" if complaint is not None and not complaint.forwarded else "isp"


def kind_of(complaint: "Complaint | None", facts: ReplyFacts) -> Kind:
    """Choose the letter by what the complaint is about.

    If other sites share all attacked addresses, the letter says why these are not blocked. If the
    kind is unknown, the letter asks for what is missing, answers a provider's deadline, or is that
    for a CERT, in this order.
    """
    if complaint is None:
        return "lifted" if facts.lifted and not facts.blocks else "unknown"
    if facts.provider and not facts.blocks and complaint.kind.value not in _NOT_ABOUT_BLOCKS:
        return "shared"
    named: Kind = next((kind for kind in KINDS if kind == complaint.kind.value), "unknown")
    if named != "unknown":
        return named
    if not complaint.candidates and not facts.targets:
        return "no-detail"
    if complaint.deadline is not None and facts.recipient == "isp":
        return "deadline"
    return "cert" if is_cert(complaint.reporter) else "unknown"


def language_of(complaint: "Complaint | None", recipient: Recipient) -> Language:
    """Choose the recipient's language: that of the provider's own words, or of the reporter's."""
    if complaint is None:
        return "en"
    tag = complaint.language
    if recipient == "reporter" and complaint.forwarded:
        tag = complaint.reporter_language or tag
    return next((language for language in LANGUAGES if language == tag), "en")


def is_cert(name: str | None) -> bool:
    """Tell whether a name or mail address is that of a computer emergency response team.

    `KZ-CERT`, `cert.org`, `CERT-FR` and `GovCERT` are; `concert` and `Certified` are not.
    """
    text = name or ""
    words = re.findall(r"[^\W\d_]+", text)
    joined = re.findall(r"[^\W_]+(?:-[^\W_]+)*", text.lower())
    return (
        any(word.lower() in _CERT_WORDS | _CERT_NAMES for word in words)
        or any(_JOINED_CERT.fullmatch(word) for word in words)
        or not _CERT_NAMES.isdisjoint(joined)
    )


def address_of(envelope: "Envelope") -> str | Doubt | None:
    """Return the address that an answer goes to; None if the complaint names no sender.

    Reply-To counts only if its domain is that of From. Anybody can write both headers: a stranger
    could otherwise have the answer to a provider sent to himself, or to somebody else.
    """
    senders, replies = envelope.from_addresses, envelope.reply_to_addresses
    sender = senders[0] if len(senders) == 1 else None
    if replies is None and len(senders) <= 1:
        return sender
    if len(senders) > 1:
        why = "From names several addresses"
    elif not replies:
        why = "Reply-To names no valid address"
    elif len(replies) > 1:
        why = "Reply-To names several addresses"
    elif sender is None or _domain(sender) != _domain(replies[0]):
        why = f"Reply-To is {replies[0]}, but From is {sender or 'no valid address'}"
    else:
        return replies[0]
    return Doubt(why, tuple(dict.fromkeys((*(replies or ()), *senders))))


def _domain(address: str) -> str:
    return address.rpartition("@")[2].lower()
