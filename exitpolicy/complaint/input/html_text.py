"""Convert HTML to text: tabs separate table cells, line ends separate rows.

`html.parser` is not used: before Python 3.13.6 it needs quadratic time for unclosed tags and
comments. Two linear scans find the tags and the line breaks, which is enough here.
"""

import html
import re
from typing import Final

_TAG: Final = re.compile(r"<(/?)([A-Za-z][A-Za-z0-9:]{0,20})([^<>]{0,2000})>")
_SKIPPED: Final = re.compile(r"<(style|script|head|title)\b", re.IGNORECASE)
_CELLS: Final = frozenset({"td", "th"})
_BREAKS: Final = frozenset(
    [
        *("br", "p", "div", "tr", "li", "ul", "ol", "table", "h1", "h2", "h3", "h4", "h5", "h6"),
        *("pre", "blockquote", "hr", "dt", "dd", "section", "article"),
    ]
)
_LONG_NUMBER: Final = re.compile(r"&#(?:x[0-9a-f]{7,}|\d{8,});?", re.IGNORECASE)
"""Character references without a character; Python refuses to read very long numbers."""
_SPACE: Final = re.compile(r"[ \r\n\f\v\u00a0]+")
_LOOKS: Final = re.compile(
    r"<(?:html|body|table|div|p|br|td|span|!doctype)(?:\s[^<>]{0,500})?/?>", re.IGNORECASE
)
"""An element; not `<p.smith@example.org>`."""


def looks_like_html(text: str) -> bool:
    """Tell whether the beginning of a text is HTML."""
    return _LOOKS.search(text, 0, 2000) is not None


def text_of_html(source: str) -> str:
    """Return the visible text of HTML."""
    source = _without_comments(source)
    source = _without_skipped(source)
    pieces: list[str] = []
    end = 0
    preformatted = 0
    for tag in _TAG.finditer(source):
        pieces.append(_plain(source[end : tag.start()], keep=preformatted > 0))
        end = tag.end()
        closing, name = tag[1] == "/", tag[2].lower()
        if name == "pre":
            preformatted = max(0, preformatted + (-1 if closing else 1))
        if name in _CELLS:
            pieces.append("\t" if closing else "")
        elif name in _BREAKS:
            pieces.append("\n")
    pieces.append(_plain(source[end:], keep=preformatted > 0))
    return "\n".join(line.strip(" ").rstrip("\t") for line in "".join(pieces).split("\n"))


def _plain(text: str, *, keep: bool) -> str:
    text = html.unescape(_LONG_NUMBER.sub("\ufffd", text))
    return text if keep else _SPACE.sub(" ", text)


def _without_comments(source: str) -> str:
    pieces: list[str] = []
    start = 0
    while (opening := source.find("<!--", start)) >= 0:
        closing = source.find("-->", opening + 4)
        pieces.append(source[start:opening])
        if closing < 0:
            return "".join(pieces)
        start = closing + 3
    pieces.append(source[start:])
    return "".join(pieces)


def _without_skipped(source: str) -> str:
    """Remove elements with invisible content."""
    pieces: list[str] = []
    start = 0
    ends: dict[str, re.Pattern[str]] = {}
    while opening := _SKIPPED.search(source, start):
        name = opening[1].lower()
        pattern = ends.setdefault(name, re.compile(rf"</{name}\b[^<>]{{0,200}}>", re.IGNORECASE))
        closing = pattern.search(source, opening.end())
        pieces.append(source[start : opening.start()])
        if closing is None:
            # An unclosed element hides nothing. The rest is not searched again.
            pieces.append(source[opening.end() :])
            return "".join(pieces)
        start = closing.end()
    pieces.append(source[start:])
    return "".join(pieces)
