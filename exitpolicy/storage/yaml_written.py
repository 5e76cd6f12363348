"""The form of YAML in which exitpol writes its files, read without a YAML parser.

A file in this form consists of ASCII lines `key: value`. A value is a word, a text in quotes
without escapes, a list in brackets or a mapping in braces of those; or nothing, or lines
`- {key: value, ...}` or `- "text"` below the key. Anything else is left to the YAML parser, and so
is every mistake. PyYAML takes 18 ms to import, which is more than `list` takes to read 1,000
blocks.
"""

import re
from typing import Final

from exitpolicy.storage.yaml_nodes import Fields, Items, Node, Text

_SCALAR: Final = r'"[ !#-\[\]-~]*"|[A-Za-z0-9_/.][A-Za-z0-9_/.-]*'
_PAIR: Final = rf"([a-z_0-9]{{1,50}}): ({_SCALAR})"
_LINE: Final = rf"([a-z_0-9]{{1,50}}):(?: ({_SCALAR}|\{{.*\}}|\[.*\]))?"
_ITEM: Final = r'( *)- (\{.*\}|"[ !#-\[\]-~]*")'


class _OtherFormError(Exception):
    """The text must be read as YAML."""


def read(text: str) -> Fields | None:
    """Return the mapping that a text holds; None if it is not in the form that exitpol writes."""
    if not (text.isascii() and text.replace("\n", "").isprintable()):
        return None
    try:
        return _Reader().read(text)
    except _OtherFormError:
        return None


class _Reader:
    def __init__(self) -> None:
        self._values: dict[str, Node] = {}
        self._keys: dict[str, int] = {}
        self._key = ""
        self._indent = -1

    def read(self, text: str) -> Fields:
        """Read all lines. Raises _OtherFormError."""
        start, first = 0, 0
        for number, line in enumerate(text.split("\n"), start=1):
            bare = line.lstrip(" ")
            if bare and not bare.startswith("#"):
                first = first or number
                if bare.startswith("- "):
                    self._read_item(line, number, start)
                else:
                    self._read_pair(line, number, start)
            start += len(line) + 1
        if not self._values:
            raise _OtherFormError
        begin, end = min(self._keys.values()), self._values[self._key].end
        return Fields(self._values, first, begin, end, False, self._keys)

    def _read_pair(self, line: str, number: int, start: int) -> None:
        match = re.fullmatch(_LINE, line)
        if match is None or match[1] in self._values:
            raise _OtherFormError
        self._key, self._indent = match[1], -1
        self._keys[self._key] = start
        if match[2] is None:
            end = start + len(line)
            self._values[self._key] = Text("", number, end, end)
        else:
            self._values[self._key] = _value(match[2], number, start + match.start(2))

    def _read_item(self, line: str, number: int, start: int) -> None:
        match = re.fullmatch(_ITEM, line)
        if match is None or not self._key:
            raise _OtherFormError
        item = _value(match[2], number, start + match.start(2))
        present = self._values[self._key]
        if isinstance(present, Text) and present.start == present.end:
            self._indent = len(match[1])
            place = start + self._indent
            self._values[self._key] = Items([item], number, place, item.end, False)
        elif isinstance(present, Items) and len(match[1]) == self._indent:
            present.values.append(item)
            self._values[self._key] = present._replace(end=item.end)
        else:
            raise _OtherFormError


def _value(text: str, line: int, start: int) -> Node:
    """Read a scalar, a list in brackets or a mapping in braces. Raises _OtherFormError."""
    end = start + len(text)
    if text.startswith("{"):
        values: dict[str, Node] = {}
        keys: dict[str, int] = {}
        for match in _parts(_PAIR, text):
            if match[1] in values:
                raise _OtherFormError
            keys[match[1]] = start + match.start(1)
            values[match[1]] = _scalar(match[2], line, start + match.start(2))
        return Fields(values, line, start, end, True, keys)
    if text.startswith("["):
        parts = _parts(rf"({_SCALAR})", text)
        items: list[Node] = [_scalar(m[1], line, start + m.start(1)) for m in parts]
        return Items(items, line, start, end, True)
    return _scalar(text, line, start)


def _parts(pattern: str, text: str) -> list[re.Match[str]]:
    """Return what stands between the brackets of a text. Raises _OtherFormError."""
    found: list[re.Match[str]] = []
    compiled, at, end = re.compile(pattern), 1, len(text) - 1
    while at < end:
        match = compiled.match(text, at, end)
        if match is None:
            raise _OtherFormError
        found.append(match)
        at = match.end()
        if at < end:
            if text[at : at + 2] != ", " or at + 2 == end:
                raise _OtherFormError
            at += 2
    return found


def _scalar(text: str, line: int, start: int) -> Text:
    return Text(text.strip('"'), line, start, start + len(text))
