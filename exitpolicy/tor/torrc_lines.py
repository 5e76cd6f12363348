"""The lines of a torrc as Tor reads them: keyword, value, quotes, comments and continuations.

Follows src/lib/encoding/confline.c of Tor.
"""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import Final, NamedTuple

_LINE_COST: Final = 100
"""What a line costs in the cache beside its characters, in characters."""
_MOST_KEPT: Final = 8_000_000
"""The cost of all cached texts. An operator's policy of 20,000 rules costs 2.7 million.

More may come from an attacker, and would fill the memory.
"""

SPACE: Final = " \t\n\v\f\r"
"""What Tor takes for space: TOR_ISSPACE, ASCII only."""
_LINE = re.compile(r"\s*(?P<keyword>[^\s#]+)[ \t]*(?P<value>.*)", re.DOTALL | re.ASCII)
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(rb"\\(x[0-9A-Fa-f]{2}|[0-7]{1,3}|.)", re.DOTALL)
_NO_VALUE = re.compile(r"#[^\n]*\n?|\\\n")
"""What Tor drops from a value of several lines: comments with their line ends, and line breaks."""
_LETTERS: Final = {b"n": b"\n", b"t": b"\t", b"r": b"\r"}


# A named tuple, because a torrc may have 20,000 lines and a named tuple is made fastest.
class Line(NamedTuple):
    """One line of a torrc; those that continue another have no keyword."""

    number: int
    text: str
    """As written, with its line end."""
    keyword: str
    """In lower case; empty for comments, blank lines and continuations."""
    value: str
    """Without the keyword, and with the lines that continue it; in quotes if written so."""
    goes_on: bool = False
    """Whether the next line continues it."""

    @property
    def content(self) -> str:
        """The value as Tor takes it: without quotes and comments."""
        # Tor takes a value for quoted only where its first line begins with the quote.
        return self.value if self.goes_on else unquoted(self.value)


_kept: Final[dict[str, tuple[Line, ...]]] = {}
"""The lines of texts that were read before.

A command asks a torrc many questions: where the fragment is, what is included, what is hidden.
"""


def lines(text: str) -> Iterable[Line]:
    """Return the lines of a torrc."""
    known = _kept.get(text)
    if known is not None:
        return known
    cost = len(text) + _LINE_COST * text.count("\n")
    if cost > _MOST_KEPT:
        return _lines(text)
    known = tuple(_lines(text))
    # A copy, because other threads add texts meanwhile.
    if cost + sum(map(_cost, _kept.copy().items())) > _MOST_KEPT:
        _kept.clear()
    _kept[text] = known
    return known


def _cost(kept: tuple[str, tuple[Line, ...]]) -> int:
    return len(kept[0]) + _LINE_COST * len(kept[1])


def _lines(text: str) -> Iterator[Line]:
    continued = False
    # Not splitlines(), which also splits at characters that end no line for Tor.
    written = text.removesuffix("\n").split("\n")
    parts = as_read(text).removesuffix("\n").split("\n")
    for number, (part, original) in enumerate(zip_longest(parts, written, fillvalue=""), start=1):
        raw = f"{part}\n"
        match = None if continued else _LINE.match(raw)
        keyword = "" if match is None else match["keyword"].lower()
        value = "" if match is None else match["value"].strip(SPACE)
        if continued:
            # A comment inside a continued value does not end the value.
            goes_on = "#" in raw or raw.endswith("\\\n")
        else:
            goes_on = (
                match is not None
                and raw.endswith("\\\n")
                and "#" not in raw
                and not value.startswith('"')
            )
            if match is not None and goes_on:
                value = _joined([match["value"], *_continuing(parts, number)])
        yield Line(number, f"{original}\n", keyword, value, goes_on)
        continued = goes_on


def as_read(text: str) -> str:
    """Return what Tor reads of a file's text: no carriage return, and nothing behind a NUL byte.

    It reads carriage returns in its standard input.
    """
    return text.partition("\0")[0].replace("\r", "")


def _continuing(parts: Sequence[str], start: int) -> Iterator[str]:
    """Yield the lines that continue a value, from `start` on."""
    for index in range(start, len(parts)):
        part = parts[index]
        yield f"{part}\n"
        # A comment inside a continued value does not end the value.
        if "#" not in part and not part.endswith("\\"):
            return


def _joined(raw: Iterable[str]) -> str:
    """Return a value of several lines on one, without their comments, as Tor does."""
    return _NO_VALUE.sub("", "".join(raw).rstrip(SPACE))


def unquoted(value: str) -> str:
    """Return the value of a line without its quotes or its comment."""
    quoted = _QUOTED.match(value)
    return _unescaped(quoted[1]) if quoted else value.partition("#")[0].strip(SPACE)


def in_quotes(text: str) -> str:
    """Return a value in quotes, on one line: another user may have chosen the name of a file."""
    content = "".join(
        chr(byte) if 0x20 <= byte < 0x7F and byte not in b'"\\' else f"\\x{byte:02x}"
        for byte in os.fsencode(text)
    )
    return f'"{content}"'


def plain_value(value: str) -> str:
    """Return an option's value as GETCONF or --dump-config print it, without quotes and escapes.

    Tor quotes a value that holds a tab, for example.
    """
    quoted = _QUOTED.fullmatch(value)
    return _unescaped(quoted[1]) if quoted else value


def _unescaped(text: str) -> str:
    """Return the text in quotes without its escapes (tor: unescape_string)."""

    def character(match: re.Match[bytes]) -> bytes:
        code: bytes = match[1]
        if len(code) > 1 and code[:1] == b"x":
            return bytes([int(code[1:], 16)])
        if code[:1].isdigit():
            return bytes([int(code, 8) & 0xFF])
        return _LETTERS.get(code, code)

    return os.fsdecode(_ESCAPE.sub(character, text.encode("utf-8", "surrogateescape")))
