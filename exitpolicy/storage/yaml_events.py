"""YAML of any form, read by PyYAML's parser into nodes.

Values are built from parser events, not by yaml.load. Every scalar is text; its reader gives it a
type. Plain YAML would turn `1:2:3:4:5:6:7:8` into an integer and read a date without a zone. It
would crash on deep input, and it loses the line and the place of a value.
"""

import re
from typing import Any, Final, NoReturn

import yaml

from exitpolicy.storage.yaml_nodes import Fields, Items, Node, Text, error_at

# The C parser is in every wheel and in Debian; the one in Python understands the same.
LOADER: Any = getattr(yaml, "CLoader", yaml.Loader)

MAX_DEPTH: Final = 8

# The C parser refuses them itself.
_SURROGATE: Final = "[\ud800-\udfff]"

_NODES: Final = (
    yaml.ScalarEvent,
    yaml.AliasEvent,
    yaml.SequenceStartEvent,
    yaml.MappingStartEvent,
)


def read(source: str, text: str) -> Node | None:
    """Return the root of a text; None if it holds nothing. Raises InvalidFileError."""
    return _Reader(source).read(text)


class _Reader:
    def __init__(self, source: str) -> None:
        self._source = source
        self._next: Any = None

    def read(self, text: str) -> Node | None:
        try:
            self._next = LOADER(text).get_event
            return self._read()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = 1 if mark is None else mark.line + 1
            raise error_at(
                self._source, line, f"broken YAML: {error.problem or error.context}"
            ) from error
        except yaml.reader.ReaderError as error:
            # The C parser counts bytes, the one in Python characters.
            before = text if error.encoding == "unicode" else text.encode().decode("latin-1")
            line = before.count("\n", 0, error.position) + 1
            what = str(error).splitlines()[0]
            raise error_at(self._source, line, f"broken YAML: {what}") from error

    def _read(self) -> Node | None:
        documents = 0
        root: Node | None = None
        while (event := self._next()) is not None:
            kind = type(event)
            if kind is yaml.DocumentStartEvent:
                documents += 1
                if documents > 1:
                    self._refuse(event, "a second document; one file holds one")
            elif kind in _NODES:
                root = self._node(event, MAX_DEPTH)
        return root

    def _node(self, event: Any, depth: int) -> Node:  # noqa: ANN401 - PyYAML has no event type
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
        raise error_at(self._source, event.start_mark.line + 1, message)


def _offset(event: Any) -> int:  # noqa: ANN401
    return int(event.start_mark.index)


def _end(last: Any, values: list[Node], first: Any) -> int:  # noqa: ANN401
    """Return where a collection ends: at its bracket, or with its last value.

    In block style the parser's own mark stands before the next token, behind all comments.
    """
    if first.flow_style:
        return int(last.end_mark.index)
    return values[-1].end if values else int(first.start_mark.index)
