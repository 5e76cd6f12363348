"""The text of a merged ledger, put together from the lines of both sides.

Comments and order of ours stay. A block that only theirs has comes in below the block that it
follows there, with the comments above it.
"""

from collections.abc import Iterable, Iterator
from io import StringIO
from typing import NamedTuple

from exitpolicy.core.block import Blocks
from exitpolicy.core.destination import Destination
from exitpolicy.core.errors import InvalidFileError
from exitpolicy.storage.ledger_edit import line_end, lines_of
from exitpolicy.storage.ledger_text import Ledger, Source, parse_source
from exitpolicy.storage.yaml_nodes import Items


class _Part(NamedTuple):
    """The lines of a block, and the comments above it."""

    above: tuple[str, ...]
    lines: str


class Layout(NamedTuple):
    """A text with one block below the other."""

    head: tuple[str, ...]
    """All lines up to the key `blocks`, with it."""
    parts: dict[Destination, _Part]
    end: tuple[str, ...]

    def comments(self) -> set[str]:
        """Return the lines that hold only a comment, without what surrounds them."""
        above = (line for part in self.parts.values() for line in part.above)
        return {line.strip() for line in (*self.head, *above, *self.end) if _is_comment(line)}


def layout(source: Source) -> Layout | None:
    """Return the lines of a text; None if its blocks do not have lines of their own."""
    text, top = source.text, source.top
    if "blocks" not in top.keys or top.flow:
        return None
    nodes = top.values["blocks"]
    at = line_end(text, top.keys["blocks"] + 1)
    head = text[:at]
    if isinstance(nodes, Items) and nodes.flow:
        if nodes.values or nodes.end > at:
            return None
        # Below `blocks: []` there can be no line of a block.
        head = text[: nodes.start].rstrip(" ") + text[nodes.end : at]
    parts: dict[Destination, _Part] = {}
    for entry in source.entries:
        start, end = lines_of(text, entry)
        if start < at:
            return None
        parts[entry.block.destination] = _Part(_lines(text[at:start]), text[start:end])
        at = end
    return Layout(_lines(head), parts, _lines(text[at:]))


def _lines(text: str) -> tuple[str, ...]:
    """Return the lines of a text, with their ends. str.splitlines() knows ends that are none."""
    return tuple(StringIO(text))


def _is_comment(line: str) -> bool:
    return line.lstrip().startswith("#")


def assembled(name: str, base: Source, ours: Source, theirs: Source, ledger: Ledger) -> Source:
    """Return a text with the lines of both sides that says nearly what `ledger` holds.

    That of ours, if the lines of both do not make a ledger.
    """
    layouts = [layout(source) for source in (ours, theirs)]
    if layouts[0] is None or layouts[1] is None:
        return ours
    assembly = _Assembly(layout(base), layouts[0], layouts[1], (ours, theirs), ledger.blocks)
    try:
        return parse_source(name, assembly.text().encode())
    except InvalidFileError:
        return ours


class _Assembly:
    """The lines of two sides, put together for the blocks of the merge.

    A comment that one side has removed is removed, and one that theirs has added comes in once.
    """

    def __init__(
        self,
        base: Layout | None,
        ours: Layout,
        theirs: Layout,
        sources: tuple[Source, Source],
        blocks: Blocks,
    ) -> None:
        self._ours, self._theirs = ours, theirs
        self._base_parts = {} if base is None else base.parts
        self._blocks = blocks.by_destination
        self._our_blocks, self._their_blocks = (
            source.ledger.blocks.by_destination for source in sources
        )
        before = set() if base is None else base.comments()
        present, others = ours.comments(), theirs.comments()
        self._removed = (before - others) & present
        self._new = others - before - present

    def text(self) -> str:
        """Return the text."""
        lines = [*self._head(), *self._middle()]
        lines += [*self._kept(self._ours.end), *self._added(self._theirs.end)]
        return "".join(f"{line}\n" if not line.endswith("\n") else line for line in lines)

    def _head(self) -> Iterator[str]:
        *lines, last = self._ours.head
        yield from self._kept(lines)
        yield from self._added(self._theirs.head)
        # The key `blocks`.
        yield last

    def _middle(self) -> Iterator[str]:
        newcomers = self._newcomers()
        for destination in newcomers.get(None, ()):
            yield from self._newcomer(destination)
        for destination, part in self._ours.parts.items():
            yield from self._kept(part.above)
            other = self._theirs.parts.get(destination)
            if other is not None:
                yield from self._added(other.above)
            if destination in self._blocks:
                yield self._lines(destination, part, other)
            for newcomer in newcomers.get(destination, ()):
                yield from self._newcomer(newcomer)

    def _newcomers(self) -> dict[Destination | None, list[Destination]]:
        """Return the blocks that only theirs has, by the block of both that they stand below."""
        found: dict[Destination | None, list[Destination]] = {}
        above = None
        if not self._ours.parts.keys() & self._theirs.parts.keys():
            # Without a block of both, they come last.
            above = next(reversed(self._ours.parts), None)
        for destination in self._theirs.parts:
            if destination in self._ours.parts:
                above = destination
            else:
                found.setdefault(above, []).append(destination)
        return found

    def _newcomer(self, destination: Destination) -> Iterator[str]:
        part = self._theirs.parts[destination]
        gone = destination not in self._blocks
        for line in part.above:
            if self._is_new(line) or not (line.strip() or gone):
                yield line
        if not gone:
            yield part.lines

    def _lines(self, destination: Destination, ours: _Part, theirs: _Part | None) -> str:
        """Return the lines of the side whose block it is; `edited` corrects the others."""
        if theirs is None:
            return ours.lines
        block = self._blocks[destination]
        own = block == self._our_blocks[destination]
        if block != self._their_blocks[destination]:
            return ours.lines
        before = self._base_parts.get(destination)
        # What stands behind a block, or within it, may have changed alone.
        if own and (before is None or before.lines != ours.lines):
            return ours.lines
        return theirs.lines

    def _kept(self, lines: Iterable[str]) -> Iterator[str]:
        return (line for line in lines if not (_is_comment(line) and line.strip() in self._removed))

    def _added(self, lines: Iterable[str]) -> Iterator[str]:
        return filter(self._is_new, lines)

    def _is_new(self, line: str) -> bool:
        return _is_comment(line) and line.strip() in self._new
