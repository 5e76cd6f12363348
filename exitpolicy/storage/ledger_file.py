"""The ledger file: one block a line, so that git and people can read a diff."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Final

from exitpolicy.core.block import Block, Blocks, checked_text
from exitpolicy.core.destination import parse_destination
from exitpolicy.core.durations import parse_end, parse_start, until_text, utc_text
from exitpolicy.core.errors import InvalidFileError
from exitpolicy.storage import files
from exitpolicy.storage.yaml_document import Document, Node, Text, quoted

MAX_BYTES: Final = 64_000_000

_KEYS: Final = ("destination", "since", "until", "reason", "reference", "forced")
_HEADER: Final = (
    "# exitpol's ledger: what is to be blocked. Edit it if you like, then: exitpol apply\n"
)


@dataclass(frozen=True, slots=True)
class Ledger:
    """What the ledger file holds."""

    blocks: Blocks
    policy: str | None = None
    """The name of the base policy that stands below the blocks; None for none."""


def load(path: Path) -> Ledger:
    """Read the ledger. Raises InvalidFileError that names file, line and mend."""
    try:
        content = files.read_own(path, "ledger", limit=MAX_BYTES, follow=True)
    except FileNotFoundError:
        raise InvalidFileError(f"{path}: there is no ledger yet", hint="exitpol init") from None
    return parse(str(path), content)


def parse(source: str, content: bytes) -> Ledger:
    """Build the ledger from a file's content. Raises InvalidFileError."""
    document = Document(source, content)
    if document.root is None:
        raise document.error(1, "the ledger is empty", "an empty one holds: version: 1")
    top = document.fields(document.root, "the ledger", ("version", "policy", "blocks"))
    version = top.get("version")
    if version is None or document.text(version, "version") != "1":
        line = document.root.line if version is None else version.line
        raise document.error(line, "the ledger must say version: 1", "is it from a newer exitpol?")
    policy = document.text(top["policy"], "policy") if "policy" in top else None
    found: dict[object, Block] = {}
    nodes = top.get("blocks")
    if nodes is not None and not (isinstance(nodes, Text) and nodes.value == ""):
        for node in document.items(nodes, "blocks"):
            block = _block(document, node)
            if block.destination in found:
                raise document.error(
                    node.line,
                    f"a second block for {block.destination}",
                    "one line a destination: keep the one with the later end",
                )
            found[block.destination] = block
    return Ledger(Blocks.of(found.values()), policy or None)


def render(ledger: Ledger) -> bytes:
    """Return the text of the ledger file."""
    lines = [_HEADER, "version: 1\n"]
    if ledger.policy is not None:
        lines.append(f"policy: {quoted(ledger.policy)}\n")
    lines.append("blocks:\n" if ledger.blocks else "blocks: []\n")
    for block in ledger.blocks:
        fields = [
            f'destination: "{block.destination}"',
            f'since: "{utc_text(block.since)}"',
            f'until: "{until_text(block.until)}"',
        ]
        if block.reason:
            fields.append(f"reason: {quoted(block.reason)}")
        if block.reference:
            fields.append(f"reference: {quoted(block.reference)}")
        if block.forced:
            fields.append('forced: "yes"')
        lines.append(f"- {{{', '.join(fields)}}}\n")
    return "".join(lines).encode()


def save(path: Path, ledger: Ledger) -> None:
    """Replace the ledger file in one step. Raises InvalidFileError as `files.commit` does."""
    # A ledger kept in a git checkout may be a link to it: write there, keep the link.
    files.replace(path, render(ledger), follow=True)


def _block(document: Document, node: Node) -> Block:
    fields = document.fields(node, "a block", _KEYS)
    for key in ("destination", "since", "until"):
        if key not in fields:
            raise document.error(node.line, f"a block without {key!r}")
    since = _time(document, fields["since"], "since", _start)
    until = fields["until"]
    end = None
    if document.text(until, "until") != "never":
        end = _time(document, until, "until", _end)
        if end <= since:
            raise document.error(until.line, "a block that ends before it begins")
    return Block(
        document.parsed(fields["destination"], "destination", parse_destination),
        since,
        end,
        _words(document, fields, "reason"),
        _words(document, fields, "reference"),
        forced="forced" in fields and _flag(document, fields["forced"], "forced"),
    )


def _flag(document: Document, node: Node, what: str) -> bool:
    text = document.text(node, what)
    if text not in ("yes", "no"):
        raise document.error(node.line, f"{what}: {text!r} is neither yes nor no")
    return text == "yes"


# Blocks that were made together have the same times.
_start = lru_cache(maxsize=1024)(parse_start)
_end = lru_cache(maxsize=1024)(parse_end)


def _time(
    document: Document, node: Node, what: str, parse: Callable[[str], datetime | None]
) -> datetime:
    moment = document.parsed(node, what, parse)
    if moment is None:
        raise document.error(
            node.line,
            f"{what}: {document.text(node, what)!r} is no time",
            "write it as 2027-01-31T18:00:00Z or 2027-01-31" + (", or never" * (what == "until")),
        )
    return moment


def _words(document: Document, fields: dict[str, Node], key: str) -> str:
    if key not in fields:
        return ""
    return document.parsed(fields[key], key, lambda text: checked_text(key, text))
