"""Which letter, in which language, and the letter itself."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.headerregistry import Address
from typing import Final

from exitpolicy.reply.facts import (
    KINDS,
    LANGUAGES,
    BlockFact,
    Kind,
    Language,
    Original,
    Recipient,
    ReplyFacts,
    clean,
    clean_references,
    exonerator_urls,
    part_encoded_words,
    time_text,
)
from exitpolicy.reply.template import Template, Values, expand

WIDTH: Final = 72
"""Lines are wrapped here, in characters; only an address of the web may be longer."""

MAX_IDS: Final = 20
"""Of a longer References header the first and the last ids are kept (RFC 5322 sets no limit)."""

# A dot-atom and a host name (RFC 5322 section 3.4.1), at most as long as SMTP takes them.
_MAILBOX = re.compile(
    r"(?=.{1,64}@.{1,253}$)"
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*"
)
_MESSAGE_ID = re.compile(r"<[!-;=?-~]{1,900}>")
_REPLY_PREFIX = re.compile(
    r"\s*(?:re|aw|antw|antwort|sv|vs|odp|r|rif|rép|res)"
    r"\s*(?:\[[0-9]{1,3}\]|\([0-9]{1,3}\))?\s*[:\uff1a]",
    re.IGNORECASE,
)
_LONE_PUNCTUATION = frozenset(":;?!»")


@dataclass(frozen=True, slots=True)
class Letter:
    """A letter to send, or to paste into a mail program."""

    subject: str
    """One line, with the tickets."""
    body: str
    """Lines of at most 76 characters, addresses of the web excepted; ends with a newline."""
    headers: tuple[tuple[str, str], ...] = ()
    """From, To, In-Reply-To and References, as far as they are known and valid."""

    def __str__(self) -> str:
        return f"Subject: {self.subject}\n\n{self.body}"


def choose_kind(
    complaint_kind: str,
    *,
    recipient: Recipient,
    has_destination: bool,
    has_deadline: bool = False,
    from_cert: bool = False,
) -> Kind:
    """Choose the letter that answers a complaint.

    `complaint_kind` is what the complaint was read as (`brute force` and `brute_force` are
    `brute-force`). What it is about comes first; where that is unknown, the letter asks for what
    is missing, meets a provider's deadline or speaks to a CERT, in this order.
    """
    name = re.sub(r"[\s_]+", "-", complaint_kind.strip().lower())
    for kind in KINDS:
        if kind == name and kind != "unknown":
            return kind
    if not has_destination:
        return "no-detail"
    if has_deadline and recipient == "isp":
        return "deadline"
    return "cert" if from_cert else "unknown"


def choose_language(tag: str | None) -> Language:
    """Choose a language from a tag such as `it`, `de-AT` or `fr_CH`; English for all others."""
    primary = re.split(r"[-_.]", (tag or "").strip().lower(), maxsplit=1)[0]
    return next((language for language in LANGUAGES if language == primary), "en")


def render(template: Template, facts: ReplyFacts) -> Letter:
    """Write the letter. Pure, and never fails: the template was checked when it was compiled."""
    references = clean_references(facts.references)
    lines = expand(template.body, _values(facts, references))
    return Letter(
        _subject(template.subject, facts.original, references),
        "\n".join(_wrapped(lines)).strip("\n") + "\n",
        tuple(_headers(facts)),
    )


def mailbox(text: str | None) -> str | None:
    """Return the bare mail address in `a@example.org` or `Name <a@example.org>`; None if none.

    Display names are left out: they are the sender's to choose, and the way in for forgeries.
    """
    line = clean(text)
    if line is None:
        return None
    if line.endswith(">") and "<" in line:
        line = line[line.rindex("<") + 1 : -1]
    return line if _MAILBOX.fullmatch(line) else None


def _values(facts: ReplyFacts, references: tuple[str, ...]) -> Values:
    live = tuple(_block(block) for block in facts.blocks if block.live)
    pending = tuple(_block(block) for block in facts.blocks if not block.live)
    operator, relay = facts.operator, facts.relay
    return Values(
        texts={
            "operator": clean(operator.name),
            "contact": clean(operator.contact),
            "relay": clean(operator.relay_name) or clean(relay.nickname),
            "fingerprint": clean(relay.fingerprint),
            "address": facts.address,
            "deadline": time_text(facts.deadline),
            "references": ", ".join(references) or None,
        },
        flags={
            "isp": facts.recipient == "isp",
            "reporter": facts.recipient == "reporter",
            "blocks": bool(facts.blocks),
            "ending": all(block.until is not None for block in facts.blocks),
        },
        lists={
            "live": live,
            "pending": pending,
            "lifted": tuple(_block(block) for block in facts.lifted if not block.live),
            "exonerator": tuple(
                {"url": url} for url in exonerator_urls(facts.address, facts.incidents)
            ),
        },
    )


def _block(block: BlockFact) -> Mapping[str, str | None]:
    return {
        "destination": clean(block.destination),
        "since": time_text(block.since),
        "until": time_text(block.until),
    }


def _wrapped(lines: Iterator[str]) -> Iterator[str]:
    """Join lines to paragraphs and wrap them; at most one empty line between two."""
    paragraph: list[str] = []
    empty = False
    for line in (*lines, ""):
        if line.strip() and not line.startswith("|"):
            paragraph.append(line)
            continue
        if paragraph:
            yield from _filled(" ".join(paragraph), "", "")
            paragraph, empty = [], False
        if line.startswith("|"):
            text = line[1:].removeprefix(" ")
            indent = " " * (len(text) - len(text.lstrip(" ")))
            yield from _filled(text, indent, indent + "  ")
            empty = False
        elif not empty:
            yield ""
            empty = True


def _filled(text: str, first: str, others: str) -> Iterator[str]:
    """Wrap at blanks; web addresses stay whole, other words are cut where they are too long."""
    line = first
    for word in _words(text):
        start = line if not line.strip() else f"{line} "
        if len(start) + len(word) <= WIDTH:
            line = start + word
            continue
        if line.strip():
            yield line
            line = others
        while len(line) + len(word) > WIDTH and "://" not in word:
            room = WIDTH - len(line)
            yield line + word[:room]
            line, word = others, word[room:]  # noqa: PLW2901 - what is left of the word
        line += word
    if line.strip():
        yield line


def _words(text: str) -> Iterator[str]:
    """Yield words, with what must not start a line: `UTC`, and punctuation as French sets it."""
    kept = ""
    for word in re.split(r"[ \t]+", text.strip()):
        if kept and (word in _LONE_PUNCTUATION or word.startswith("UTC") or kept.endswith("«")):
            kept = f"{kept} {word}"
            continue
        if kept:
            yield kept
        kept = word
    if kept:
        yield kept


def _subject(default: str, original: Original | None, references: tuple[str, ...]) -> str:
    """Return the original subject as a reply, or the template's, with each ticket exactly once."""
    subject = clean(original.subject) if original else None
    if subject is not None:
        while match := _REPLY_PREFIX.match(subject):
            subject = subject[match.end() :].strip()
    subject = f"Re: {subject}" if subject else default
    for reference in references:
        before = r"(?<!\w)" if re.match(r"\w", reference) else ""
        after = r"(?!\w)" if re.search(r"\w$", reference) else ""
        whole = re.compile(before + re.escape(reference) + after, re.IGNORECASE)
        found = whole.search(subject)
        if found is None:
            # In brackets, because that is where ticket systems look.
            subject = f"{subject} [{reference}]"
            continue
        while again := whole.search(subject, found.end()):
            rest = (subject[: again.start()] + subject[again.end() :]).replace("[]", "")
            subject = " ".join(rest.split())
    # Once more: what was taken out may have stood between a `=` and a `?`.
    return part_encoded_words(subject)


def _headers(facts: ReplyFacts) -> Iterator[tuple[str, str]]:
    if (sender := mailbox(facts.operator.contact)) is not None:
        yield "From", str(Address(clean(facts.operator.name) or "", addr_spec=sender))
    if (original := facts.original) is None:
        return
    if (to := mailbox(original.reply_to)) is not None:
        yield "To", to
    # An invalid id is left out: half an id would thread the mail nowhere.
    ids = [i for i in map(str.strip, original.references) if _MESSAGE_ID.fullmatch(i)]
    answered = (original.message_id or "").strip()
    if _MESSAGE_ID.fullmatch(answered):
        yield "In-Reply-To", answered
        ids.append(answered)
    unique = list(dict.fromkeys(ids))
    if len(unique) > MAX_IDS:
        unique = [unique[0], *unique[1 - MAX_IDS :]]
    if unique:
        yield "References", " ".join(unique)
