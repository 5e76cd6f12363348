# ruff: noqa: RUF001
# The marks of other alphabets are part of this module.
"""The sentences of a text whose lines were wrapped to the width of a mail.

What an address is said to be often stands on the line above: a report is written in sentences,
and wrapped afterwards. Log lines, tables, lists and headers stay the lines that they are.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

MAX_PARAGRAPH: Final = 4_000
"""Characters that are joined at most; what is longer is no paragraph."""

_MIN_WRAPPED: Final = 40
"""A line that is shorter ended where its writer wanted."""
_USUAL_WIDTH: Final = 60
_WIDEST: Final = 200
"""A longer line was not wrapped at all."""
_RAGGED: Final = 10
"""How much shorter than the widest line a wrapped one may be, its next word counted."""
_WORD: Final = re.compile(r"[^\W\d_]{2,}")
_PROSE_SHARE: Final = 0.55
"""How much of a line of prose is letters of words, at least; addresses are not counted."""
_MARKS: Final = re.compile(r"[\"=|;{}<>\[\]]|://| - ")
_MAX_MARKS: Final = 5
"""A line with more of the marks that logs and markup are made of is no prose."""
_UNSPACED: Final = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\u0e00-\u0e7f]")
_LONGEST_WORDS: Final = 16
"""Letters to a space: no language with spaces has longer words all along a line."""
_ADDRESS: Final = re.compile(r"[0-9A-Fa-f]*[.:\[\]\d]{3,}[0-9A-Fa-f.:\[\]/-]*")
_STRUCTURED: Final = re.compile(
    r"\t|\s{3}\S|[|=;]\S|^\s{0,8}(?:[-*•·+#>]|\(?\d{1,2}[.)]|\[)\s"
    r"|^\s{0,8}[^\s:：(][^:：.!?]{0,45}[:：](?:\s|$)"
    r"|\d{1,2}:\d{2}:\d{2}.{0,40}\d{1,2}:\d{2}:\d{2}"
    r"|^[<\[]?\d{4}-\d\d-\d\d|^[A-Z][a-z]{2} {1,2}\d{1,2} \d\d:\d\d:\d\d",
)  # fmt: skip
_NUMBERS: Final = re.compile(r"(?<![^\s,;|])\d{1,12}(?![^\s,;|])")
_MIN_NUMBERS: Final = 4
_LOGGED: Final = re.compile(r"\d{1,2}:\d{2}:\d{2}|\d{4}-\d{2}-\d{2}|[=:|\t;,\"]\S{0,60}[=:|\t;,\"]")
_ENDS: Final = re.compile(r"[.!?:：。！？][\"')\]]?\s*$")
_SENTENCE_END: Final = re.compile(
    r"(?<=[^\W\d_]{3}[.!?])[\"')\]]?\s+(?=[\"'(\[]?[^\W\d_a-zа-яёß-öø-ÿ])"
    r"|(?<=[\d)\]\"'][.!?])\s+(?=[\"'(\[]?[^\W\d_a-zа-яёß-öø-ÿ])|(?<=[。！？])",
)


def is_prose(line: str) -> bool:
    """Tell whether a line is a piece of running text, no log line, row, item or field."""
    if (
        len(line) > 1_000
        or is_row(line)
        or _STRUCTURED.search(line)
        or len(_MARKS.findall(line)) > _MAX_MARKS
    ):
        return False
    bare = _ADDRESS.sub("", line)
    words = _WORD.findall(bare)
    letters = sum(map(len, words))
    spaced = _UNSPACED.search(line) or line.count(" ") * _LONGEST_WORDS >= len(line) - 40
    return bool(spaced) and letters > 0 and letters >= _PROSE_SHARE * len(bare.replace(" ", ""))


def is_row(line: str) -> bool:
    """Tell whether a line is a row of numbers, as of a flow log without any marks."""
    return len(_NUMBERS.findall(line)) >= _MIN_NUMBERS


def looks_logged(line: str) -> bool:
    """Tell whether a line looks like one of a log, by a time of day or by its separators."""
    return _LOGGED.search(line) is not None


def unwrapped(lines: Iterable[str]) -> Iterator[str]:
    """Yield lines; those of one wrapped paragraph are joined, and cut into its sentences."""
    paragraph, last, width = "", "", 0
    for line in lines:
        if paragraph:
            if _continues(last, line, width) and len(paragraph) < MAX_PARAGRAPH:
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


def _continues(last: str, line: str, width: int) -> bool:
    """Tell whether a line goes on where the last one ended for want of room."""
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
            )
        )
    )


def sentences(paragraph: str) -> Iterator[str]:
    """Cut a paragraph where one sentence ends and the next begins with a capital letter."""
    start = 0
    for end in _SENTENCE_END.finditer(paragraph):
        yield paragraph[start : end.start()]
        start = end.end()
    yield paragraph[start:]
