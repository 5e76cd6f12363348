# ruff: noqa: RUF001 - punctuation of Japanese and Chinese
"""Find ticket numbers, which a reply repeats in its subject."""

import re
from collections.abc import Iterable
from typing import Final

from exitpolicy.complaint.language.vocabulary import pattern

MAX_REFERENCES: Final = 10
MAX_READ: Final = 30_000
MAX_LINE: Final = 300
"""Longer lines are not searched."""

_ID: Final = r"[A-Za-z0-9][A-Za-z0-9._/:-]{1,60}"
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
_LABELLED: Final = pattern(
    r"(?<![^\W_])(?<!-)(?:<<ticket>>|<<ticket spaced>>|<<ticket labelled>>)"
    r"(?:[\s_-]?(?:<<ticket number>>))?\.?"
    r"(?:\s{0,3}(?:[:#=：№]|n[°º.]|nr\.?|no\.?|id:?)\s{0,3}[:#]?\s{0,2}[\[(\"']?|\s\()((?=[^\s]*\d)"
    rf"{_ID})",
    re.IGNORECASE,
)
_IN_SUBJECT: Final = pattern(
    rf"(?<![^\W_])(?:<<ticket>>|<<ticket in subject>>)\s((?=[^\s]*\d){_ID})",
    re.IGNORECASE,
)
_SPACED: Final = pattern(
    r"(?<![^\W_])(?:<<ticket spaced>>)(?:\s(?:<<ticket number>>)(?![^\W_]))?"
    r"\s{0,2}[:：]?\s{0,2}((?:[A-Za-z][A-Za-z-]{0,12}[-/#]?)?"
    r"(?=[\w/-]*\d{3})[A-Z0-9][A-Za-z0-9]{0,15}(?:[-/.][A-Za-z0-9]{1,16}){0,4})(?![\w@])",
    re.IGNORECASE,
)
_CODE: Final = re.compile(
    r"(?<![\w/.:#-])((?=[\w/-]*\d{3})(?:[A-Z][A-Z0-9]{0,7}"
    r"|\d{2,12})(?:[-/][A-Z0-9]{1,12}){1,4})(?![\w/@:-]|\.\w)"
)
"""`YC-20260428-15`, `2026/3391`: what looks like a ticket number, in a subject."""
_GLUED: Final = pattern(
    r"(?<![\w/.:#-])((?!(?:<<NO TICKET>>)\d)[A-Z]{2,12}\d{5,12}(?:-[A-Z0-9]{1,12}){0,2}"
    r"|[A-Za-z]{2,16}_\d{5,12}(?:-[A-Z0-9]{1,12}){0,2})(?![\w.@]\w)",
    0,
)
"""`DMCA52392934`, `EgoCERT_20261004-C67`: letters and digits, in a subject."""
_SET_APART: Final = re.compile(
    r"[(\[](?:[^\W\d_]{2,15}[:.]?\s){0,2}"
    r"((?=[\w/-]*\d{3})[A-Z][A-Z0-9]{1,7}(?:[-/][A-Z0-9]{1,12}){1,4})[)\]]"
)
"""`[TH-1402981]`, `(our ID: TH-1402981)`."""
_BARE_NUMBER: Final = re.compile(
    r"(?<=[^\W\d_]\s)(?!20\d\d[01]\d[0-3]\d\b)(\d{5,12})(?=[)\]\s,;]|$)"
)
_LABEL: Final = pattern(
    r"^(?:(?:<<ticket>>|<<ticket spaced>>|<<ticket labelled>>)"
    r"(?:[\s_-]?(?:<<ticket number>>))?(?:\s?[#№]\s?|[:.]?\s)|(?:cert|id)\s?[#:]\s?)"
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


def references_in(subjects: Iterable[str], text: str, stated: Iterable[str]) -> tuple[str, ...]:
    """Return ticket numbers: of the subjects, of formal reports, of the text.

    A number is without the words before it, such as `Ticket ID:` and `#`, but with a name, such as
    `KZ-CERT#4711`, unless the report also writes it without the name.
    """
    found: dict[str, None] = {}
    for subject in subjects:
        _add_those_of(subject, _IN_SUBJECTS, found)
        if not found:
            _add_those_of(subject, (_BARE_NUMBER,), found)
    for reference in stated:
        _add(found, reference)
    for line in text[:MAX_READ].split("\n"):
        if len(line) < MAX_LINE:
            _add_those_of(line, _IN_TEXT, found)
        if len(found) >= MAX_REFERENCES:
            break
    return tuple(found)[:MAX_REFERENCES]


def _add_those_of(line: str, patterns: tuple[re.Pattern[str], ...], found: dict[str, None]) -> None:
    for shape in patterns:
        for match in shape.finditer(line):
            if shape not in {_CODE, _SET_APART} or not _NO_CODE.match(match[1]):
                _add(found, match[1])
                if patterns is _IN_TEXT and shape is _LABELLED:
                    _shorten(found, match[1].rstrip(".:,;/-"))


def _shorten(found: dict[str, None], number: str) -> None:
    """Drop the name before a number that the report also writes without it, after a label."""
    named = re.compile(rf".*[#\s]{re.escape(number)}")
    kept = dict.fromkeys(number if named.fullmatch(reference) else reference for reference in found)
    found.clear()
    found.update(kept)


def _add(found: dict[str, None], reference: str) -> None:
    plain = _LABEL.sub("", reference.strip()).lstrip("#№ ").rstrip(".:,;/-")
    if not 3 <= len(plain) <= 80 or _NO_REFERENCE.match(plain) or not re.search(r"\d", plain):
        return
    if any(plain.lower() in old.lower() for old in found):
        return
    found[plain] = None
