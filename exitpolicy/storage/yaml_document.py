"""The strict subset of YAML in which ledger, config and policies are written.

Every value has its line and its place: errors name the line, and a change of the ledger replaces
only what has changed. A file in the form in which exitpol writes it needs no YAML parser.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final, TypeVar

from exitpolicy.core.errors import ExitpolError, InvalidFileError
from exitpolicy.storage import yaml_written
from exitpolicy.storage.yaml_nodes import Fields, Items, Node, Text, error_at

T = TypeVar("T")


class Document:
    """The content of one file, with functions that name file and line in errors."""

    def __init__(self, source: str, content: bytes) -> None:
        """Parse `content`; `source` is the file name for errors. Raises InvalidFileError.

        Offsets of nodes count characters of the decoded text, without a byte order mark.
        """
        self.source: Final = source
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise self.error(line, "this is not UTF-8 text") from error
        self.root: Node | None = yaml_written.read(text)
        if self.root is None:
            # Imported here, because PyYAML takes longer to import than `list` to do its work.
            from exitpolicy.storage import yaml_events  # noqa: PLC0415

            self.root = yaml_events.read(source, text)

    def error(self, line: int, message: str, hint: str | None = None) -> InvalidFileError:
        """Return the error that names file and line."""
        return error_at(self.source, line, message, hint)

    def fields(self, node: Node, what: str, known: tuple[str, ...]) -> dict[str, Node]:
        """Return a mapping with no other keys than the known ones. Raises InvalidFileError."""
        if not isinstance(node, Fields):
            raise self.error(node.line, f"{what} must be a mapping: {', '.join(known)}")
        for key, value in node.values.items():
            if key not in known:
                raise self.error(
                    value.line, f"unknown key {key!r} in {what}", f"known are: {', '.join(known)}"
                )
        return node.values

    def items(self, node: Node, what: str) -> list[Node]:
        """Return the items of a sequence. Raises InvalidFileError."""
        if not isinstance(node, Items):
            raise self.error(node.line, f"{what} must be a list")
        return node.values

    def text(self, node: Node, what: str) -> str:
        """Return a scalar's text. Raises InvalidFileError."""
        if not isinstance(node, Text):
            raise self.error(node.line, f"{what} must be a single value")
        return node.value

    def parsed(self, node: Node, what: str, parse: Callable[[str], T]) -> T:
        """Return what `parse` makes of a scalar; its errors get the file and line."""
        text = self.text(node, what)
        try:
            return parse(text)
        except ExitpolError as error:
            raise self.error(node.line, f"{what}: {error}", error.hint) from error


# What stays is printable in YAML and harmless in a terminal.
_UNESCAPED: Final = r"\u00a1-\u1fff\u3001-\ud7ff\uf900-\ufefe\uff00-\uffef"
"""The characters beyond ASCII that are written as they are."""


def is_unescaped(text: str) -> bool:
    """Tell whether `quoted` writes all characters beyond ASCII as they are."""
    # Compiled when it is needed, which takes 8 ms.
    return text.isascii() or not re.search(rf"[^\x00-\x7f{_UNESCAPED}]", text)


# Blocks that were made together have the same words.
@lru_cache(maxsize=1024)
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
