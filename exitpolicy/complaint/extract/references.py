# ruff: noqa: RUF001 - punctuation of Japanese and Chinese
"""Find ticket numbers, which a reply repeats in its subject."""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Final

from exitpolicy.complaint.language.vocabulary import pattern

MAX_REFERENCES: Final = 10
MAX_READ: Final = 30_000
MAX_LINE: Final = 300
"""Longer lines are not searched."""

_ID: Final = r"[A-Za-z0-9][A-Za-z0-9._/:#-]{1,60}"
_START: Final = r"(?:(?<![^\W_])(?<!-)|(?=[\u3040-\u9fff]))"
"""The start of a word; Japanese and Chinese do not mark it."""
_WORD: Final = rf"{_START}(?:<<ticket>>|<<ticket labelled>>)(?:[\s_-]?(?:<<ticket number>>))?\.?"
_MARK: Final = (
    r"(?:[\"']?\s{0,8}(?:[:#=：№]|n[°º.]|(?:nr|no|id)(?![^\W_])[.:]?|(?:\.\s?){3,40}|<<port is>>)"
    r"\s{0,8}[:#：]?\s{0,8}[\[(【\"']?|\s[\[(]|【|\s{2,20})"
)
"""What is between the word for a ticket and its number, blanks alone only if they are several."""
_BRACKETED: Final = re.compile(r"\[((?=[^\[\]]*\d\d)[^\[\]\s][^\[\]]{1,60})\]")
_HASHED: Final = re.compile(
    rf"(?<![\w&#/])((?:[A-Za-z][A-Za-z-]{{1,20}}|[A-Z]{{2,12}}\s)?[#№]\s?(?=[\w-]*\d){_ID})"
)
_PREFIXED: Final = pattern(
    r"(?<![\w/.-])((?:[A-Z]{2,12}-)?(?:<<TICKET PREFIX>>)[-_:#]?"
    r"(?=[A-Z0-9-]{0,12}\d)[A-Z0-9]{1,16}(?:[-_/.][A-Z0-9]{1,16}){0,4}"
    r"|(?!(?:<<NO TICKET>>)[-/])[A-Z]{2,10}[-/]20\d\d[-/]\d{1,10})(?![\w@])",
    0,
)
_LABELLED: Final = pattern(rf"{_WORD}{_MARK}((?=[^\s]*\d){_ID})", re.IGNORECASE)
_IN_SUBJECT: Final = pattern(rf"{_WORD}\s((?=[^\s]*\d){_ID})", re.IGNORECASE)
_SPACED: Final = pattern(
    rf"{_START}(?:(?:<<ticket>>)(?:[\s-](?:<<ticket number>>)(?![^\W_])\.?)?"
    r"|(?:<<ticket labelled>>)\s(?:<<ticket number>>)(?![^\W_])\.?)"
    r"\s{0,2}((?:[A-Za-z][A-Za-z-]{0,12}[-/#]?)?"
    r"(?=[\w/-]*\d{3})[A-Z0-9][A-Za-z0-9]{0,15}(?:[-/.][A-Za-z0-9]{1,16}){0,4})(?![\w@])",
    re.IGNORECASE,
)
_CODE: Final = re.compile(
    r"(?<![\w/.:#-])((?=[\w/-]*\d{3})[A-Z0-9]{1,12}(?:[-/][A-Z0-9]{1,12}){1,4})"
    r"(?![\w/@-]|[:.]\w)"
)
"""`YC-20260428-15`, `2026/3391`, `7F-2210`: what looks like a ticket number, in a subject."""
_GLUED: Final = pattern(
    r"(?<![\w/.:#-])((?!(?:<<NO TICKET>>)\d)[A-Z]{2,12}\d{5,12}(?:-[A-Z0-9]{1,12}){0,2}"
    r"|[A-Za-z]{2,16}_\d{5,12}(?:-[A-Z0-9]{1,12}){0,2}|(?:[A-Z]{2,5}-){0,2}[B-DF-HJ-NP-TV-Z]{8,12})"
    r"(?![\w.@]\w|\w)",
    0,
)
"""`DMCA52392934`, `EgoCERT_20261004-C67`, `CASE-QWPLKDMTRZ`: no words, in a subject."""
_SET_APART: Final = re.compile(
    r"[(\[](?:[^\W\d_]{2,15}[:.]?\s){0,2}"
    r"((?=[\w/-]*\d{3})[A-Z][A-Z0-9]{1,7}(?:[-/][A-Z0-9]{1,12}){1,4})[)\]]"
)
"""`[TH-1402981]`, `(our ID: TH-1402981)`."""
_NO_WORD: Final = re.compile(r"\d|[B-DF-HJ-NP-TV-Z]{8}")
_BARE_NUMBER: Final = re.compile(
    r"(?<=[^\W\d_]\s)(?!20\d\d[01]\d[0-3]\d\b)(\d{5,12})(?=[)\]\s,;]|$)"
)
_LABEL: Final = pattern(
    r"^(?:(?:<<ticket>>|<<ticket labelled>>)"
    r"(?:[\s_-]?(?:<<ticket number>>))?(?:\s?[#№=]\s?|[:.]?\s)|(?:cert|id)\s?[#:]\s?)"
    r"(?=[\w#-]*\d{4})",
    re.IGNORECASE,
)
_NO_CODE: Final = pattern(
    r"^(?:\d{1,4}[-/]\d{1,2}[-/]\d{1,4}$|<<no ticket>>)(?:-|$)",
    re.IGNORECASE,
)
_NO_REFERENCE: Final = re.compile(
    r"^(?:\d{1,3}(?:\.\d{1,3}){3}.*|\d{4}-\d\d-\d\d.*|\d{1,2}[./]\d{1,2}[./]\d{2,4}"
    r"|\d{1,2}:\d{2}.*|[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){3,}|\d{1,3}|https?:.*|AS\d+|RFC.?\d+"
    r"|CVE-.*|port.*|(?:(?:[\w-]+\.)+(?:[a-z]{2,}|\d{1,3})[\s,:/]*)+)$",
    re.IGNORECASE,
)


_IN_SUBJECTS: Final = (
    _BRACKETED, _HASHED, _LABELLED, _PREFIXED, _IN_SUBJECT, _SPACED, _CODE, _GLUED,
)  # fmt: skip
_IN_TEXT: Final = (_LABELLED, _PREFIXED, _SPACED, _SET_APART)


def references_in(
    subjects: Sequence[str], text: str, *, stated: Iterable[str] = (), forwarder: str = ""
) -> tuple[str, ...]:
    """Return ticket numbers, first that of the person who gets the reply.

    `subjects` begin with that of the mail. `stated` are the numbers in formal reports. `forwarder`
    are the words of the person who forwarded the complaint; empty if nobody did.

    A number is without the words before it, such as `Ticket ID:` and `#`, but with a name, such as
    `KZ-CERT#4711`, unless the report also writes it without the name.
    """
    of_subjects = [_of_subject(subject) for subject in subjects]
    of_reporter = set(chain.from_iterable(of_subjects[1:]))
    found: dict[str, None] = {}
    if forwarder:
        for reference in (*of_subjects[0], *_of_text(forwarder)):
            if reference not in of_reporter:
                _add(found, reference)
    for reference in (*chain.from_iterable(of_subjects), *stated, *_of_text(text)):
        _add(found, reference)
    return tuple(_shortened(found, text))[:MAX_REFERENCES]


def _of_subject(subject: str) -> list[str]:
    return _matches(subject, _IN_SUBJECTS) or _matches(subject, (_BARE_NUMBER,))


def _of_text(text: str) -> Iterator[str]:
    """Yield the ticket numbers in a text; of a long one, those in its beginning."""
    for line in text[:MAX_READ].split("\n"):
        if len(line) < MAX_LINE:
            yield from _matches(line, _IN_TEXT)


def _matches(line: str, shapes: tuple[re.Pattern[str], ...]) -> list[str]:
    """Return the ticket numbers in a line, without the words before them."""
    return [
        plain
        for shape in shapes
        for match in shape.finditer(line)
        if (shape not in {_CODE, _SET_APART} or not _NO_CODE.match(match[1]))
        and (plain := _plain(match[1])) is not None
    ]


def _plain(reference: str) -> str | None:
    """Return a ticket number without the words before it; None if it is something else."""
    plain = _LABEL.sub("", reference.strip()).lstrip("#№ ").rstrip(".:,;/-")
    is_one = 3 <= len(plain) <= 80 and _NO_WORD.search(plain) and not _NO_REFERENCE.match(plain)
    return plain if is_one else None


def _add(found: dict[str, None], reference: str) -> None:
    """Add a ticket number, unless it is a part of one that was found before."""
    if not any(reference.lower() in old.lower() for old in found):
        # `4711@provider.example` in a report is the whole of `4711` in its subject.
        found.pop(reference.partition("@")[0], None)
        found[reference] = None


def _shortened(found: Iterable[str], text: str) -> Iterator[str]:
    """Omit the name before a number that the text also writes without it, after a label."""
    labelled = {
        plain
        for line in text[:MAX_READ].split("\n")
        if len(line) < MAX_LINE
        for plain in _matches(line, (_LABELLED,))
    }
    for reference in found:
        number = re.split(r"[#\s]", reference)[-1]
        yield number if number in labelled else reference
