# ruff: noqa: RUF001 - punctuation of Japanese and Chinese
"""Restore the sentences of a text that a mail program wrapped.

The words that tell the role of an address are often on the line above. Lines of logs, tables, lists
and headers are not joined.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

MAX_PARAGRAPH: Final = 4_000
"""Maximum characters of a paragraph."""

_MIN_WRAPPED: Final = 40
"""Shorter lines were not wrapped."""
_USUAL_WIDTH: Final = 60
_WIDEST: Final = 200
"""Longer lines were not wrapped."""
_RAGGED: Final = 10
"""A wrapped line is, together with the next word, at most this much shorter than the widest."""
_WORD: Final = re.compile(r"[^\W\d_]{2,}")
_PROSE_SHARE: Final = 0.55
"""Minimum share of letters in a line of prose, without its addresses."""
_MIN_LETTERS: Final = 8
"""Minimum letters in a line of prose, but for languages without spaces."""
_MARKS: Final = re.compile(r"[\"=|;{}<>\[\]]|://| - ")
_MAX_MARKS: Final = 5
"""With more marks of logs and markup than this, a line is not prose."""
_UNSPACED: Final = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\u0e00-\u0e7f]")
_LONGEST_WORDS: Final = 16
"""Maximum mean length of words in a line of prose."""
_ADDRESS: Final = re.compile(r"[0-9A-Fa-f]*[.:\[\]\d]{3,}[0-9A-Fa-f.:\[\]/-]*")
_LEADS: Final = re.compile(
    r"\s{0,8}(\S{1,60}\s{1,3})?[\[(\"'<]?(?:(?:\d{1,3}\.){3}\d|[0-9A-Fa-f]{1,4}:[0-9A-Fa-f:]{4})"
)
"""A line with an address as its first or second word."""
_STRUCTURED: Final = re.compile(
    r"\t|\s{3}\S|[|=;]\S|^\s{0,8}(?:[-*•·+#>]|\(?\d{1,2}[.)]|\[)\s"
    r"|^\s{0,8}[^\s:：(][^:：.!?]{0,45}[:：](?:\s|$)"
    r"|\d{1,2}:\d{2}:\d{2}.{0,40}\d{1,2}:\d{2}:\d{2}"
    r"|^\s{0,8}(?:\d{1,3}\.){3}\d{1,3}\s+[\[(\"]?\d"
    r"|^[<\[]?\d{4}-\d\d-\d\d|^[A-Z][a-z]{2} {1,2}\d{1,2} \d\d:\d\d:\d\d",
)  # fmt: skip
_CELLS: Final = re.compile(
    r"\t[^\t]{0,80}\t|\|[^|]{0,80}\||[,;](?!\d{3}[,;.\s])[^\s,;]{0,60}[,;]\S|[\"'][,;][\"']"
)
_NUMBERS: Final = re.compile(r"(?<![^\s,;|])\d{1,12}(?![^\s,;|])")
_MIN_NUMBERS: Final = 4
_LOGGED: Final = re.compile(r"\d{1,2}:\d{2}:\d{2}|\d{4}-\d{2}-\d{2}|[=:|\t;,\"]\S{0,60}[=:|\t;,\"]"
                               r"|=\S{1,60}\s{1,3}\w{1,30}=")  # fmt: skip
_ENDS: Final = re.compile(r"[.!?:：。！？][\"')\]]?\s*$")
_SENTENCE_END: Final = re.compile(
    r"(?<=[^\W\d_]{3}[.!?])[\"')\]]?\s+(?=[\"'(\[]?[^\W\d_a-zа-яёß-öø-ÿ])"
    r"|(?<=[\d)\]\"'][.!?])\s+(?=[\"'(\[]?[^\W\d_a-zа-яёß-öø-ÿ])|(?<=[。！？])",
)


def is_prose(line: str) -> bool:
    """Tell whether a line is prose, and no log line, table row, list item or field."""
    if (
        len(line) > 1_000
        or is_row(line)
        or has_cells(line)
        or _STRUCTURED.search(line)
        or len(_MARKS.findall(line)) > _MAX_MARKS
    ):
        return False
    bare = _ADDRESS.sub("", line)
    words = _WORD.findall(bare)
    letters = sum(map(len, words))
    spaced = _UNSPACED.search(line) or line.count(" ") * _LONGEST_WORDS >= len(line) - 40
    enough = letters >= _MIN_LETTERS or (letters > 0 and _UNSPACED.search(line) is not None)
    return bool(spaced) and enough and letters >= _PROSE_SHARE * len(bare.replace(" ", ""))


def is_row(line: str) -> bool:
    """Tell whether a line is a row of numbers, as in flow logs."""
    return len(_NUMBERS.findall(line)) >= _MIN_NUMBERS


def has_cells(line: str) -> bool:
    """Tell whether a line is a row of at least three cells."""
    return _CELLS.search(line) is not None


def looks_logged(line: str) -> bool:
    """Tell whether a line looks like a log line, by a time of day or its separators."""
    return _LOGGED.search(line) is not None


def unwrapped(lines: Iterable[str]) -> Iterator[str]:
    """Yield lines; the lines of a wrapped paragraph are joined and split into sentences."""
    paragraph, last, width = "", "", 0
    for line in lines:
        if paragraph:
            listed = paragraph == last and _is_next_item(last, line)
            if not listed and _continues(last, line, width) and len(paragraph) < MAX_PARAGRAPH:
                paragraph = f"{paragraph.rstrip()} {line.strip()}"
                last, width = line, max(width, len(line))
                continue
            yield from sentences(paragraph)
            paragraph = ""
        if len(line) >= _MIN_WRAPPED and is_prose(line):
            paragraph, last, width = line, line, len(line)
        else:
            yield line
    if paragraph:
        yield from sentences(paragraph)


def _is_next_item(last: str, line: str) -> bool:
    """Tell whether two lines are items of a list: an address is the same word of both."""
    one, other = _LEADS.match(last), _LEADS.match(line)
    return one is not None and other is not None and (one[1] is None) is (other[1] is None)


def _continues(last: str, line: str, width: int) -> bool:
    """Tell whether a line continues the last one, which was wrapped."""
    room = max(_USUAL_WIDTH, width) - _RAGGED
    first = line.split(maxsplit=1)[0] if line.strip() else ""
    return (
        bool(first)
        and len(last) <= _WIDEST
        and len(last.rstrip()) + 1 + len(first) > room
        and (not _ENDS.search(last) or last.count("(") > last.count(")"))
        and (
            is_prose(line)
            or (
                len(line) < _MIN_WRAPPED
                and _WORD.search(line) is not None
                and not _STRUCTURED.search(line)
                and not has_cells(line)
            )
        )
    )


def sentences(paragraph: str) -> Iterator[str]:
    """Split a paragraph where a sentence ends and a capital letter follows."""
    start = 0
    for end in _SENTENCE_END.finditer(paragraph):
        yield paragraph[start : end.start()]
        start = end.end()
    yield paragraph[start:]
