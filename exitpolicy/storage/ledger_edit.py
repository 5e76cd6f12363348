"""Edit the text of the ledger: change only the lines of changed blocks; keep comments and order.

The new text is parsed again and compared with the intended ledger.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import NamedTuple

from exitpolicy.core.block import Block
from exitpolicy.core.destination import Destination
from exitpolicy.core.errors import InvalidFileError
from exitpolicy.storage.ledger_text import (
    VERSION,
    Entry,
    Ledger,
    Source,
    fields_of,
    parse_readable,
    parse_source,
    policy_yaml,
    render,
    render_block,
)
from exitpolicy.storage.yaml_nodes import Fields, Items


class _Edit(NamedTuple):
    start: int
    end: int
    text: str


def edited(name: str, source: Source, ledger: Ledger) -> bytes:
    """Return a text that holds `ledger` and differs as little as possible from the present one."""
    for in_place in (True, False):
        text = _apply(source.text, _edits(source, ledger, in_place=in_place)).encode()
        if _says(name, text, ledger):
            return text
    # Forms that are not edited, such as a whole ledger in braces.
    return render(ledger)


def ended_around_errors(name: str, source: Source, blocks: Mapping[Destination, Block]) -> bytes:
    """Return the text of a ledger with errors, with these blocks in the place of those it has.

    `source` is what can be read of it. Lines with errors stay as they are. Raises InvalidFileError
    if the text cannot be edited so.
    """
    wanted = [blocks.get(entry.block.destination, entry.block) for entry in source.entries]
    for in_place in (True, False):
        edits = (
            edit
            for entry, block in zip(source.entries, wanted, strict=True)
            if block != entry.block
            for edit in _change(source.text, entry, block, in_place=in_place)
        )
        text = _apply(source.text, edits).encode()
        with suppress(InvalidFileError):
            if [entry.block for entry in parse_readable(name, text).entries] == wanted:
                return text
    raise InvalidFileError(f"{name}: it cannot be changed while it has errors")


def _says(name: str, text: bytes, ledger: Ledger) -> bool:
    try:
        found = parse_source(name, text)
    except InvalidFileError:
        return False
    return found.ledger == ledger and found.version == VERSION


def _apply(text: str, edits: Iterator[_Edit]) -> str:
    parts: list[str] = []
    position = 0
    for edit in sorted(edits):
        parts += (text[position : edit.start], edit.text)
        position = edit.end
    return "".join([*parts, text[position:]])


def _edits(source: Source, ledger: Ledger, *, in_place: bool) -> Iterator[_Edit]:
    """Yield the edits; with `in_place`, edit single values of a block that has several lines."""
    yield from _head_edits(source, ledger)
    blocks = ledger.blocks.by_destination
    nodes = source.top.values.get("blocks")
    flow = isinstance(nodes, Items) and nodes.flow
    if not flow:
        for entry in source.entries:
            block = blocks.get(entry.block.destination)
            if block is None:
                yield _removal(source.text, entry)
            elif block != entry.block:
                yield from _change(source.text, entry, block, in_place=in_place)
    known = set() if flow else {entry.block.destination for entry in source.entries}
    added = [b for b in ledger.blocks if b.destination not in known] if known else ledger.blocks
    yield from _additions(source, list(added))


def _head_edits(source: Source, ledger: Ledger) -> Iterator[_Edit]:
    text, top = source.text, source.top
    version = top.values["version"]
    if source.version != VERSION:
        yield _Edit(version.start, version.end, VERSION)
    policy = top.values.get("policy")
    new = policy_yaml(ledger)
    if new == policy_yaml(source.ledger):
        return
    if policy is None:
        at = line_end(text, version.end)
        yield _Edit(at, at, _new_line(text, at, f"policy: {new}"))
    elif new is None or (isinstance(policy, Fields) and not policy.flow):
        start, end = text.rfind("\n", 0, top.keys["policy"]) + 1, line_end(text, policy.end)
        yield _Edit(start, end, "" if new is None else _new_line(text, start, f"policy: {new}"))
    else:
        yield _Edit(policy.start, policy.end, new)


def lines_of(text: str, entry: Entry) -> tuple[int, int]:
    """Return where the lines of a block begin and end, with its dash and its last line break."""
    start = text.rfind("\n", 0, entry.start) + 1
    end = line_end(text, entry.end)
    # The dash may stand above, with comments between it and the value.
    at = 0 if text[start : entry.start].strip() else start
    while at > 0:
        above = text.rfind("\n", 0, at - 1) + 1
        line = text[above : at - 1].strip()
        if line.startswith("-"):
            return above, end
        if line and not line.startswith("#"):
            break
        at = above
    return start, end


def _removal(text: str, entry: Entry) -> _Edit:
    return _Edit(*lines_of(text, entry), "")


def _change(text: str, entry: Entry, block: Block, *, in_place: bool) -> Iterator[_Edit]:
    node = entry.node
    if node is not None and not node.flow and in_place:
        yield from _change_values(text, entry, node, block)
    else:
        yield _Edit(entry.start, entry.end, render_block(block) + _lost_break(text, entry.end))


def _change_values(text: str, entry: Entry, node: Fields, block: Block) -> Iterator[_Edit]:
    """Yield the changes of a block with one key a line."""
    old, new = fields_of(entry.block), fields_of(block)
    for key, value in new.items():
        if key in node.values and old.get(key) != value:
            place = node.values[key]
            yield _Edit(place.start, place.end, value + _lost_break(text, place.end))
    for key in node.values.keys() - new.keys():
        start = text.rfind("\n", 0, node.keys[key]) + 1
        yield _Edit(start, line_end(text, node.values[key].end), "")
    indent = " " * (node.start - text.rfind("\n", 0, node.start) - 1)
    at = line_end(text, node.end)
    added = [f"{indent}{key}: {new[key]}" for key in new if key not in node.values]
    if added:
        yield _Edit(at, at, _new_line(text, at, *added))


def _additions(source: Source, blocks: list[Block]) -> Iterator[_Edit]:
    """Yield the lines of new blocks, below the last one."""
    text, nodes = source.text, source.top.values.get("blocks")
    if not blocks:
        return
    indent = ""
    if nodes is None:
        yield _Edit(
            len(text),
            len(text),
            _new_line(text, len(text), "blocks:", *(f"- {render_block(b)}" for b in blocks)),
        )
        return
    if isinstance(nodes, Items) and nodes.flow:
        at = line_end(text, nodes.end)
        yield _Edit(len(text[: nodes.start].rstrip(" ")), nodes.end, "")
    elif source.entries:
        last = source.entries[-1]
        at = line_end(text, last.end)
        if last.node is not None and isinstance(nodes, Items):
            indent = " " * (nodes.start - text.rfind("\n", 0, nodes.start) - 1)
    else:
        at = line_end(text, source.top.keys["blocks"] + 1)
    yield _Edit(at, at, _new_line(text, at, *(f"{indent}- {render_block(b)}" for b in blocks)))


def line_end(text: str, at: int) -> int:
    """Return the end of the line that holds the character before `at`, line break included."""
    if at and text[at - 1] == "\n":
        return at
    end = text.find("\n", at)
    return len(text) if end < 0 else end + 1


def _new_line(text: str, at: int, *lines: str) -> str:
    """Return lines to be put at `at`, the start of a line or the end of the text."""
    newline = "\r\n" if "\r\n" in text else "\n"
    before = "" if at == 0 or text[at - 1] == "\n" else newline
    return before + "".join(f"{line}{newline}" for line in lines)


def _lost_break(text: str, end: int) -> str:
    """Return the line break at the end of a value; only a literal block has one."""
    return "\n" if end and text[end - 1] == "\n" else ""
