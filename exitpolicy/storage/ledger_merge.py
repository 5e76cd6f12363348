"""Merge the texts of ledgers: a merge driver of git, with the blocks as units.

The text of ours stays, with its comments and its order. Blocks of theirs come in where they stand
there, with the comments around them. The new text is parsed again and compared with the intended
ledger. What only a person can decide is written as a conflict, which every reader of the ledger
refuses.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

from exitpolicy.core.block import Blocks
from exitpolicy.core.destination import Destination
from exitpolicy.core.errors import InvalidFileError
from exitpolicy.core.merging import Contradiction, merged
from exitpolicy.storage import files
from exitpolicy.storage.ledger_edit import edited, line_end, lines_of
from exitpolicy.storage.ledger_file import MAX_BYTES
from exitpolicy.storage.ledger_text import (
    Ledger,
    Source,
    parse_source,
    policy_yaml,
    render,
    render_block,
)
from exitpolicy.storage.yaml_nodes import Items

_NOT_MERGED: Final = """\
<<<<<<< {why}; below is ours
||||||| nothing is merged: git show :1:FILE is the base, :2:FILE ours, :3:FILE theirs
=======
>>>>>>> correct both, merge them by hand, and remove these four lines
"""
"""Stands above ours where nothing is merged. Git leaves ours alone in the file then, and whoever
commits all files would lose theirs."""


class Conflict(NamedTuple):
    """What a person must decide."""

    line: int
    """Where it begins in the merged text."""
    subject: str
    """The destination, or `policy`."""
    text: str
    """What contradicts what."""


class Result(NamedTuple):
    """A merged ledger."""

    content: bytes
    conflicts: tuple[Conflict, ...]
    added: int
    """Blocks that ours did not have."""
    changed: int
    """Blocks of ours that are others now."""
    removed: int
    """Blocks of ours that are gone."""
    remarks: tuple[str, ...] = ()
    """What was not as it should be, and did not stop the merge."""


class Unreadable(NamedTuple):
    """A merge that could not be made, because a side is not a valid ledger."""

    content: bytes
    """The text of ours below a conflict, which keeps it from being taken for the result."""
    error: InvalidFileError


def merge_files(name: str, base: Path, ours: Path, theirs: Path) -> Result | Unreadable:
    """Merge two ledger files as `merge` does, and write the result to the file of ours.

    Until then, that file is not a valid ledger: a merge that is killed is not taken for one that
    kept ours. Raises InvalidFileError if it cannot be read or written.
    """
    own = _read(ours)
    files.replace(ours, _not_merged("the merge was interrupted", own), follow=True)
    result = _merge_with(name, base, own, theirs)
    if len(result.content) > MAX_BYTES:
        error = InvalidFileError(f"it would have {len(result.content) / 1e6:.0f} MB")
        result = _unreadable(name, "the result", own, error)
    files.replace(ours, result.content, follow=True)
    return result


def _merge_with(name: str, base: Path, own: bytes, theirs: Path) -> Result | Unreadable:
    contents = []
    for side, path in (("the base", base), ("theirs", theirs)):
        try:
            contents.append(_read(path))
        except InvalidFileError as error:
            return _unreadable(name, side, own, error)
    return merge(name, contents[0], own, contents[1])


def _read(path: Path) -> bytes:
    try:
        return files.read(path, "ledger", limit=MAX_BYTES)
    except FileNotFoundError as error:
        raise InvalidFileError(f"{path}: there is no such file") from error


def merge(name: str, base: bytes, ours: bytes, theirs: bytes) -> Result | Unreadable:
    """Merge the texts of two ledgers with a common ancestor; `name` is the file's, for messages.

    An empty text has no blocks: git gives it where a side has no file. A base that is no valid
    ledger is taken for one without blocks, so that nothing of either side is lost.
    """
    remarks: list[str] = []
    try:
        ancestor = _source(name, base)
    except InvalidFileError as error:
        remarks.append(f"the common ancestor is not a valid ledger, and is left out: {error}")
        ancestor = _source(name, b"")
    sides: list[Source] = []
    for side, content in (("ours", ours), ("theirs", theirs)):
        try:
            sides.append(_source(name, content))
        except InvalidFileError as error:
            return _unreadable(name, side, ours, error)
    return _merge(name, ancestor, *sides)._replace(remarks=tuple(remarks))


def _source(name: str, content: bytes) -> Source:
    # All under one name: lines that two of them have are read once.
    return parse_source(name, content if content.strip() else render(Ledger(Blocks.of())))


def _unreadable(name: str, side: str, ours: bytes, error: InvalidFileError) -> Unreadable:
    place, _, rest = str(error).removeprefix(f"{name}:").partition(":")
    # Nothing of the message but the number: it may quote what a stranger wrote.
    line, text = (place, f"line {place}:{rest}") if place.isdecimal() else ("?", str(error))
    problem = InvalidFileError(
        f"{side} is not a valid ledger: {text}; nothing was merged",
        hint="correct it and merge again; git show :1:FILE is the base, :2:FILE ours, :3:FILE"
        " theirs",
    )
    why = f"{side} is not a valid ledger, see its line {line}"
    return Unreadable(_not_merged(why, ours), problem)


def _not_merged(why: str, ours: bytes) -> bytes:
    return _NOT_MERGED.format(why=why).encode() + ours.removeprefix(b"\xef\xbb\xbf")


def _merge(name: str, base: Source, ours: Source, theirs: Source) -> Result:
    sides = [source.ledger for source in (base, ours, theirs)]
    result = merged(*(ledger.blocks for ledger in sides))
    # Until the end, a block of either side keeps the place of each conflict.
    kept = [block for one in result.contradictions if (block := one.ours or one.theirs)]
    policies = _policies(*sides)
    ledger = replace(
        sides[1] if policies is None else policies, blocks=Blocks.of((*result.blocks, *kept))
    )
    content = edited(name, _assembled(name, base, ours, theirs, ledger), ledger)
    conflicts: tuple[Conflict, ...] = ()
    if result.contradictions or policies is None:
        found = parse_source(name, content)
        if _layout(found) is None:
            found = parse_source(name, render(ledger))
        parts = _conflict_parts(found, result.contradictions)
        if policies is None:
            parts.append(_policy_conflict(found, *sides))
        text, conflicts = _with_conflicts(found.text, sorted(parts, key=lambda part: part.start))
        content = text.encode()
    before, after = sides[1].blocks.by_destination, result.blocks.by_destination
    undecided = {one.destination for one in result.contradictions}
    return Result(
        content,
        conflicts,
        added=len(after.keys() - before.keys()),
        changed=sum(after[key] != before[key] for key in after.keys() & before.keys()),
        removed=len(before.keys() - after.keys() - undecided),
    )


def _policies(base: Ledger, ours: Ledger, theirs: Ledger) -> Ledger | None:
    """Return a ledger with the merged base policies; None if they contradict each other."""
    pairs = [(side.policy, dict(side.policies)) for side in (base, ours, theirs)]
    if pairs[1] == pairs[2] or pairs[2] == pairs[0]:
        return ours
    if pairs[1] == pairs[0]:
        return theirs
    if any(policy is not None for policy, _ in pairs):
        return None
    found: dict[str, str] = {}
    for relay in dict.fromkeys((*ours.policies, *theirs.policies)):
        before, left, right = (side.policies.get(relay) for side in (base, ours, theirs))
        if left not in {before, right} and right != before:
            return None
        policy = right if left == before else left
        if policy is not None:
            found[relay] = policy
    return replace(ours, policies=found)


# The text.


class _Part(NamedTuple):
    """The lines of a block, and the comments above it."""

    above: tuple[str, ...]
    lines: str


class _Layout(NamedTuple):
    """A text with one block below the other."""

    head: tuple[str, ...]
    """All lines up to the key `blocks`, with it."""
    parts: dict[Destination, _Part]
    end: tuple[str, ...]

    def comments(self) -> set[str]:
        """Return the lines that hold only a comment, without what surrounds them."""
        above = (line for part in self.parts.values() for line in part.above)
        return {line.strip() for line in (*self.head, *above, *self.end) if _is_comment(line)}


def _layout(source: Source) -> _Layout | None:
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
        above = tuple(text[at:start].splitlines(keepends=True))
        parts[entry.block.destination] = _Part(above, text[start:end])
        at = end
    return _Layout(
        tuple(head.splitlines(keepends=True)), parts, tuple(text[at:].splitlines(keepends=True))
    )


def _is_comment(line: str) -> bool:
    return line.lstrip().startswith("#")


def _assembled(name: str, base: Source, ours: Source, theirs: Source, ledger: Ledger) -> Source:
    """Return a text with the lines of both sides that says nearly what `ledger` holds.

    That of ours, if the lines of both do not make a ledger.
    """
    layouts = [_layout(source) for source in (ours, theirs)]
    if layouts[0] is None or layouts[1] is None:
        return ours
    assembly = _Assembly(_layout(base), layouts[0], layouts[1], (ours, theirs), ledger.blocks)
    try:
        return parse_source(name, assembly.text().encode())
    except InvalidFileError:
        return ours


class _Assembly:
    """The lines of two sides, put together."""

    def __init__(
        self,
        base: _Layout | None,
        ours: _Layout,
        theirs: _Layout,
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
        # Without a block of both, they come last.
        last = next(reversed(self._ours.parts), None)
        if not self._ours.parts.keys() & self._theirs.parts.keys():
            above = last
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


class _ConflictPart(NamedTuple):
    """A place in the text, and the conflict that is written there."""

    start: int
    end: int
    subject: str
    text: str
    sides: tuple[str, str, str]
    """The lines of ours, of the base and of theirs."""

    def lines(self) -> str:
        """Return the conflict as git writes it with merge.conflictStyle diff3."""
        ours, base, theirs = self.sides
        return (
            f"<<<<<<< ours: {self.text}\n{ours}\n||||||| base\n{base}\n=======\n{theirs}\n"
            ">>>>>>> theirs\n"
        )


def _conflict_parts(found: Source, contradictions: Sequence[Contradiction]) -> list[_ConflictPart]:
    by_destination = {one.destination: one for one in contradictions}
    parts = []
    for entry in found.entries:
        one = by_destination.get(entry.block.destination)
        if one is not None:
            start, end = lines_of(found.text, entry)
            indent = " " * (len(found.text[start:end]) - len(found.text[start:end].lstrip(" ")))
            sides = tuple(
                f"{indent}# no block for {one.destination}"
                if block is None
                else f"{indent}- {render_block(block)}"
                for block in (one.ours, one.base, one.theirs)
            )
            parts.append(_part(start, end, str(one.destination), one.text, sides))
    return parts


def _policy_conflict(found: Source, base: Ledger, ours: Ledger, theirs: Ledger) -> _ConflictPart:
    top = found.top
    if "policy" in top.keys:
        start, end = top.keys["policy"], line_end(found.text, top.values["policy"].end)
    else:
        start = end = line_end(found.text, top.values["version"].end)
    sides = tuple(
        "# no base policy" if (yaml := policy_yaml(side)) is None else f"policy: {yaml}"
        for side in (ours, base, theirs)
    )
    return _part(start, end, "policy", "both sides changed the base policy", sides)


def _part(start: int, end: int, subject: str, text: str, sides: tuple[str, ...]) -> _ConflictPart:
    ours, base, theirs = sides
    return _ConflictPart(start, end, subject, text, (ours, base, theirs))


def _with_conflicts(text: str, parts: Sequence[_ConflictPart]) -> tuple[str, tuple[Conflict, ...]]:
    pieces: list[str] = []
    conflicts: list[Conflict] = []
    at, line = 0, 1
    for part in parts:
        before = text[at : part.start]
        line += before.count("\n")
        conflicts.append(Conflict(line, part.subject, part.text))
        pieces += (before, part.lines())
        line += part.lines().count("\n")
        at = part.end
    return "".join([*pieces, text[at:]]), tuple(conflicts)
