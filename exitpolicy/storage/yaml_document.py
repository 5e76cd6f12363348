"""The strict subset of YAML in which ledger, config and policies are written.

Values are built from parser events, not by yaml.load. Every scalar is text; its reader gives it a
type. Plain YAML would turn `1:2:3:4:5:6:7:8` into an integer and read a date without a zone. It
would crash on deep input, and it loses the line and the place of a value: errors name the line, and
a change of the ledger replaces only what has changed.
"""

import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple, NoReturn, TypeVar, Union

import yaml

from exitpolicy.core.errors import ExitpolError, InvalidFileError

# The C parser is in every wheel and in Debian; the one in Python understands the same.
LOADER: Any = getattr(yaml, "CLoader", yaml.Loader)

MAX_DEPTH: Final = 8

# The C parser refuses them itself.
_SURROGATE: Final = "[\ud800-\udfff]"

T = TypeVar("T")


# Named tuples, because a ledger has several for each block and they are the fastest to make.
class Text(NamedTuple):
    """A scalar, its line, and where it starts and ends (offsets in the text, in characters)."""

    value: str
    line: int
    start: int
    end: int


class Items(NamedTuple):
    """A sequence; `flow` if it is written in brackets."""

    values: list["Node"]
    line: int
    start: int
    end: int
    flow: bool


class Fields(NamedTuple):
    """A mapping; `keys` holds the offset of each key; `flow` if it is written in braces."""

    values: dict[str, "Node"]
    line: int
    start: int
    end: int
    flow: bool
    keys: dict[str, int]


Node = Union[Text, Items, Fields]  # noqa: UP007 - a forward reference cannot stand in X | Y


class Document:
    """The content of one file, with functions that name file and line in errors."""

    def __init__(self, source: str, content: bytes) -> None:
        """Parse `content`; `source` is the file name for errors. Raises InvalidFileError.

        Offsets of nodes count characters of the decoded text, without a byte order mark.
        """
        self.source: Final = source
        self.root: Node | None = None
        try:
            self._next = LOADER(content.decode("utf-8-sig")).get_event
            self._read()
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise self.error(line, "this is not UTF-8 text") from error
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = 1 if mark is None else mark.line + 1
            raise self.error(line, f"broken YAML: {error.problem or error.context}") from error
        except yaml.reader.ReaderError as error:
            # The C parser counts bytes, the one in Python characters.
            text = content.decode("utf-8-sig")
            before = text if error.encoding == "unicode" else text.encode().decode("latin-1")
            line = before.count("\n", 0, error.position) + 1
            what = str(error).splitlines()[0]
            raise self.error(line, f"broken YAML: {what}") from error

    def error(self, line: int, message: str, hint: str | None = None) -> InvalidFileError:
        """Return the error that names file and line."""
        return InvalidFileError(f"{self.source}:{line}: {message}", hint=hint)

    def fields(self, node: "Node", what: str, known: tuple[str, ...]) -> dict[str, "Node"]:
        """Return a mapping with no other keys than the known ones. Raises InvalidFileError."""
        if not isinstance(node, Fields):
            raise self.error(node.line, f"{what} must be a mapping: {', '.join(known)}")
        for key, value in node.values.items():
            if key not in known:
                raise self.error(
                    value.line, f"unknown key {key!r} in {what}", f"known are: {', '.join(known)}"
                )
        return node.values

    def items(self, node: "Node", what: str) -> list["Node"]:
        """Return the items of a sequence. Raises InvalidFileError."""
        if not isinstance(node, Items):
            raise self.error(node.line, f"{what} must be a list")
        return node.values

    def text(self, node: "Node", what: str) -> str:
        """Return a scalar's text. Raises InvalidFileError."""
        if not isinstance(node, Text):
            raise self.error(node.line, f"{what} must be a single value")
        return node.value

    def parsed(self, node: "Node", what: str, parse: Callable[[str], T]) -> T:
        """Return what `parse` makes of a scalar; its errors get the file and line."""
        text = self.text(node, what)
        try:
            return parse(text)
        except ExitpolError as error:
            raise self.error(node.line, f"{what}: {error}", error.hint) from error

    def _read(self) -> None:
        documents = 0
        while (event := self._next()) is not None:
            kind = type(event)
            if kind is yaml.DocumentStartEvent:
                documents += 1
                if documents > 1:
                    self._refuse(event, "a second document; one file holds one")
            elif kind in _NODES:
                self.root = self._node(event, MAX_DEPTH)

    def _node(self, event: Any, depth: int) -> "Node":  # noqa: ANN401 - PyYAML has no event type
        kind = type(event)
        line: int = event.start_mark.line + 1
        if kind is yaml.ScalarEvent:
            if event.anchor is not None or event.tag is not None:
                self._refuse(event, "anchors and tags have no meaning here")
            if not event.value.isascii() and re.search(_SURROGATE, event.value):
                self._refuse(event, "an escape without a character")
            return Text(event.value, line, event.start_mark.index, event.end_mark.index)
        if kind is yaml.AliasEvent:
            self._refuse(event, "aliases have no meaning here; write the value out")
        if event.anchor is not None or event.tag is not None:
            self._refuse(event, "anchors and tags have no meaning here")
        if depth == 0:
            self._refuse(event, f"nested deeper than {MAX_DEPTH} levels")
        if kind is yaml.SequenceStartEvent:
            items: list[Node] = []
            while type(inner := self._next()) is not yaml.SequenceEndEvent:
                items.append(self._node(inner, depth - 1))
            start = event.start_mark.index
            end = _end(inner, items, event)
            return Items(items, line, start, end, bool(event.flow_style))
        return self._mapping(event, depth)

    def _mapping(self, event: Any, depth: int) -> Fields:  # noqa: ANN401
        values: dict[str, Node] = {}
        keys: dict[str, int] = {}
        while type(inner := self._next()) is not yaml.MappingEndEvent:
            if type(inner) is not yaml.ScalarEvent or inner.anchor or inner.tag:
                self._refuse(inner, "a key must be a single word, without anchor or tag")
            if inner.value in values:
                self._refuse(inner, f"the key {inner.value!r} is here twice")
            keys[inner.value] = _offset(inner)
            values[inner.value] = self._node(self._next(), depth - 1)
        line, end = event.start_mark.line + 1, _end(inner, list(values.values()), event)
        return Fields(values, line, _offset(event), end, bool(event.flow_style), keys)

    def _refuse(self, event: Any, message: str) -> NoReturn:  # noqa: ANN401
        raise self.error(event.start_mark.line + 1, message)


def _offset(event: Any) -> int:  # noqa: ANN401
    return int(event.start_mark.index)


def _end(last: Any, values: list["Node"], first: Any) -> int:  # noqa: ANN401
    """Return where a collection ends: at its bracket, or with its last value.

    In block style the parser's own mark stands before the next token, behind all comments.
    """
    if first.flow_style:
        return int(last.end_mark.index)
    return values[-1].end if values else int(first.start_mark.index)


_NODES: Final = (
    yaml.ScalarEvent,
    yaml.AliasEvent,
    yaml.SequenceStartEvent,
    yaml.MappingStartEvent,
)


# What stays is printable in YAML and harmless in a terminal.
_UNESCAPED: Final = r"\u00a1-\u1fff\u3001-\ud7ff\uf900-\ufefe\uff00-\uffef"
"""The characters beyond ASCII that are written as they are."""


def is_unescaped(text: str) -> bool:
    """Tell whether `quoted` writes all characters beyond ASCII as they are."""
    # Compiled when it is needed, which takes 8 ms.
    return text.isascii() or not re.search(rf"[^\x00-\x7f{_UNESCAPED}]", text)


def quoted(text: str) -> str:
    """Return a YAML double-quoted scalar on one line (YAML 1.1, section 5.7)."""
    unsafe = r"[^ !#-\[\]-~]" if text.isascii() else rf"[^ !#-\[\]-~{_UNESCAPED}]"
    return f'"{re.sub(unsafe, _escape, text)}"'


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    if character in '"\\':
        return f"\\{character}"
    code = ord(character)
    if code == 0x0A:
        return "\\n"
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
