"""Write a letter: the template filled with facts, wrapped, with its subject and headers."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email.headerregistry import Address
from typing import Final

from exitpolicy.core.mail_addresses import is_mail_address
from exitpolicy.reply.facts import (
    MAX_EXITS,
    BlockFact,
    ExitFact,
    Original,
    ReplyFacts,
    canonical_address,
    clean,
    clean_references,
    exonerator_urls,
    part_encoded_words,
    time_text,
)
from exitpolicy.reply.template import Template, fill

WIDTH: Final = 72
"""Longest line in characters; only a web address may be longer."""

MAX_EXONERATOR: Final = 3
"""The most accused addresses for which a letter has pages of ExoneraTor."""

MAX_IDS: Final = 20
"""Maximum ids in a References header; of more, the first and the last ones are kept."""

_MESSAGE_ID = re.compile(r"<[!-;=?-~]{1,900}>")
_REPLY_PREFIX = re.compile(
    r"\s*(?:re|aw|antw|antwort|sv|vs|odp|r|rif|rép|res)"
    r"\s*(?:\[[0-9]{1,3}\]|\([0-9]{1,3}\))?\s*[:\uff1a]",
    re.IGNORECASE,
)
_LONE_PUNCTUATION = frozenset(":;?!»")


@dataclass(frozen=True, slots=True)
class Letter:
    """A letter to send or to paste into a mail program."""

    subject: str
    """One line, with the tickets."""
    body: str
    """Lines of at most WIDTH characters, web addresses excepted; ends with a newline."""
    headers: tuple[tuple[str, str], ...] = ()
    """From, To, In-Reply-To and References, where they are known and valid."""

    def __str__(self) -> str:
        return f"Subject: {self.subject}\n\n{self.body}"


def write(template: Template, facts: ReplyFacts) -> Letter:
    """Write the letter. A template that `check_letter` accepts renders with any facts."""
    references = clean_references(facts.references)
    lines = fill(template, _values(facts, references))
    return Letter(
        _subject(template.subject, facts.original, references),
        "\n".join(_wrapped(lines)).strip("\n") + "\n",
        tuple(_headers(facts)),
    )


def mailbox(text: str | None) -> str | None:
    """Return the mail address in `a@example.org` or `Name <a@example.org>`; None for other text."""
    line = clean(text) or ""
    if line.endswith(">") and "<" in line:
        line = line[line.rindex("<") + 1 : -1]
    return line if is_mail_address(line) else None


def _values(facts: ReplyFacts, references: tuple[str, ...]) -> dict[str, object]:
    """Return the facts by the names that templates use; a missing text is left out."""
    address = canonical_address(facts.address)
    exits = [text for one in facts.exits[:MAX_EXITS] if (text := _exit(one))]
    texts = {
        "operator": clean(facts.operator),
        "contact": clean(facts.contact),
        "relay": clean(facts.relay),
        "fingerprint": clean(facts.fingerprint),
        "address": address,
        "deadline": time_text(facts.deadline),
        "references": ", ".join(references),
        "provider": clean(facts.provider),
    }
    return {
        **{name: text for name, text in texts.items() if text},
        "isp": facts.recipient == "isp",
        "reporter": facts.recipient == "reporter",
        "blocks": bool(facts.blocks),
        "ending": all(block.until is not None for block in facts.blocks),
        "longer": bool(facts.blocks) and facts.longer,
        "ordered": bool(facts.blocks) and not facts.is_seen,
        "live": [_block(block) for block in facts.blocks if block.live],
        "pending": [_block(block) for block in facts.blocks if not block.live],
        "lifted": [_block(block) for block in facts.lifted if not block.live],
        "exits": exits if len(exits) > 1 else [],
        "targets": [text for target in facts.targets if (text := clean(target))],
        "exonerator": _exonerator(facts),
    }


def _exit(fact: ExitFact) -> str | None:
    """Return `198.51.100.7 (exit1, exit2)`; None for what is no address."""
    address = canonical_address(fact.address)
    names = ", ".join(name for one in fact.relays if (name := clean(one)))
    return f"{address} ({names})" if address and names else address


def _exonerator(facts: ReplyFacts) -> list[str]:
    """Return the pages of ExoneraTor for each of the first accused addresses."""
    addresses: list[str | None] = [one.address for one in facts.exits[:MAX_EXONERATOR]]
    addresses = addresses or [facts.address]
    urls = (exonerator_urls(canonical_address(one), facts.incidents) for one in addresses)
    return list(dict.fromkeys(url for found in urls for url in found))


def _block(block: BlockFact) -> dict[str, str]:
    destination, name = clean(block.destination) or "", clean(block.name)
    fields = {
        "destination": destination if name is None else f"{destination} ({name})",
        "since": time_text(block.since) or "",
        "until": time_text(block.until),
    }
    return {name: text for name, text in fields.items() if text is not None}


def _wrapped(lines: Iterable[str]) -> Iterator[str]:
    """Join lines to paragraphs and wrap them, with at most one empty line between two."""
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
    """Wrap text at blanks; cut a word that is longer than a line, unless it is a web address."""
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
            line, word = others, word[room:]  # noqa: PLW2901 - the rest of the word
        line += word
    if line.strip():
        yield line


def _words(text: str) -> Iterator[str]:
    """Yield words, each with what must not start a line: `UTC`, and French punctuation."""
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
    """Return the original subject with `Re:`, or the template's, with each ticket exactly once."""
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
            # Ticket systems search for the number in brackets.
            subject = f"{subject} [{reference}]"
            continue
        while again := whole.search(subject, found.end()):
            left, right = subject[: again.start()], subject[again.end() :]
            if left.endswith("[") and right.startswith("]"):
                left, right = left[:-1], right[1:]
            # The blank keeps words apart that the ticket has parted.
            subject = " ".join(f"{left} {right}".split())
    # Again, because the removed ticket may have stood between a `=` and a `?`.
    return part_encoded_words(subject)


def _headers(facts: ReplyFacts) -> Iterator[tuple[str, str]]:
    if (sender := mailbox(facts.contact)) is not None:
        yield "From", str(Address(clean(facts.operator) or "", addr_spec=sender))
    if facts.to is not None and is_mail_address(facts.to):
        yield "To", facts.to
    if (original := facts.original) is None:
        return
    # An invalid id is left out: no mail program would thread by a part of it.
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
