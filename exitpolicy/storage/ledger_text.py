"""The text of the ledger: one block a line, so that git and people can read a diff.

Reading gives the ledger and the places of its blocks in the text, so that a change
(`exitpolicy.storage.ledger_edit`) touches only the lines of the blocks that it changes.
"""

import gc
import re
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final, NamedTuple

from exitpolicy.core.block import MAX_NAMES, MAX_TEXT, Block, Blocks, checked_text
from exitpolicy.core.destination import Destination, parse_destination
from exitpolicy.core.durations import parse_end, parse_start, parse_time, until_text
from exitpolicy.core.errors import InvalidFileError, UsageError
from exitpolicy.storage.yaml_document import Document, is_unescaped, quoted
from exitpolicy.storage.yaml_nodes import Fields, Items, Node, Text, error_at

VERSION: Final = "2"

TOP_KEYS: Final = ("version", "policy", "blocks")
BLOCK_KEYS: Final = {
    "1": ("destination", "since", "until", "reason", "reference"),
    "2": (
        "destination",
        "since",
        "until",
        "reason",
        "reference",
        "references",
        "relays",
        "source",
        "name",
        "follow",
        "ended",
        "told",
        "forced",
    ),
}
"""The keys of a block by the version of the file, in the order in which they are written."""

_KEPT_TERMS: Final = 1024
"""Terms of blocks, which are their fields without the destination, and times: most blocks have
those of some other block.
"""
_NOWHERE: Final = Destination(4, 0, 0)
"""Stands for the destination of terms."""

_HEADER: Final = (
    "# exitpol's ledger: what is to be blocked. Edit it if you like, then: exitpol apply\n"
)


@dataclass(frozen=True, slots=True)
class Ledger:
    """What the ledger file holds."""

    blocks: Blocks
    policy: str | None = None
    """The name of the base policy below the blocks of all relays; None for none."""
    policies: Mapping[str, str] = field(default_factory=dict)
    """The names of the base policies of single relays, by relay; `policy` is None then."""

    def policy_of(self, relay: str) -> str | None:
        """Return the name of a relay's base policy; None if it has none."""
        return self.policies.get(relay, self.policy)

    def with_policy(
        self, name: str | None, relays: Collection[str], known: Collection[str]
    ) -> "Ledger":
        """Return the ledger with a base policy, or none, for some of the known relays.

        Without `relays`, it is for all, also for those that are added later.
        """
        if not relays:
            return replace(self, policy=name, policies={})
        chosen = {relay: self.policy_of(relay) for relay in (*self.policies, *known)}
        chosen |= dict.fromkeys(relays, name)
        policies = {relay: policy for relay, policy in chosen.items() if policy is not None}
        return replace(self, policy=None, policies=policies)


# A named tuple is made faster than a dataclass, and a ledger has one for each block.
class Entry(NamedTuple):
    """A block and its place in the text of the ledger."""

    block: Block
    start: int
    end: int
    """Offsets of the block, without its `- ` and without what follows on its last line."""
    node: Fields | None
    """The parsed YAML; None for a line in the form that exitpol writes."""


class Source(NamedTuple):
    """The text of a ledger, and what it says."""

    text: str
    version: str
    top: Fields
    entries: tuple[Entry, ...]
    ledger: Ledger


def parse(name: str, content: bytes) -> Ledger:
    """Return the ledger in a file's content; `name` is the file's. Raises InvalidFileError."""
    return parse_source(name, content).ledger


class _Read(NamedTuple):
    """A file that was read, and what it says."""

    name: str
    content: bytes
    source: Source


_recently_read: Final[list[_Read]] = []
"""At most _KEPT, the last one first.

A command reads the same content several times: to preview, under the lock, and to apply. After its
own change, nearly all lines are those that it has read before.
"""
_KEPT: Final = 2


def parse_source(name: str, content: bytes) -> Source:
    """Return the ledger and the places of its blocks. Raises InvalidFileError."""
    refuse_conflicts(name, content)
    present = [read for read in _recently_read if read.name == name]
    for read in present:
        if read.content == content:
            return read.source
    former = present[0].source if present else None
    source = parse_written_lines(name, content, former) or parse_any_yaml(name, content)
    _recently_read.insert(0, _Read(name, content, source))
    del _recently_read[_KEPT:]
    return source


_CONFLICT: Final = rb"^(?:<{7}|\|{7}|={7}|>{7})(?:[ \r\n]|\Z)"
"""A line with which git, or `exitpol merge`, marks a part of a conflict."""


def refuse_conflicts(name: str, content: bytes) -> None:
    """Raise InvalidFileError for a text with conflicts of a merge that nobody has resolved."""
    if not any(mark * 7 in content for mark in (b"<", b"|", b"=", b">")):
        return
    found = re.search(_CONFLICT, content, re.MULTILINE)
    if found is not None:
        raise error_at(
            name,
            content.count(b"\n", 0, found.start()) + 1,
            "a conflict of a merge that nobody has resolved",
            "of the lines between <<<<<<< and >>>>>>> keep those that are right, remove the others"
            " and the lines with the marks <<<<<<< ||||||| ======= >>>>>>>",
        )


def render(ledger: Ledger) -> bytes:
    """Return the text of a new ledger file."""
    lines = [_HEADER, f"version: {VERSION}\n"]
    if (policy := policy_yaml(ledger)) is not None:
        lines.append(f"policy: {policy}\n")
    lines.append("blocks:\n" if ledger.blocks else "blocks: []\n")
    lines += (f"- {render_block(block)}\n" for block in ledger.blocks)
    return "".join(lines).encode()


def policy_yaml(ledger: Ledger) -> str | None:
    """Return the base policies as a value of YAML, on one line; None if there are none."""
    if ledger.policies:
        items = (f"{quoted(relay)}: {quoted(name)}" for relay, name in ledger.policies.items())
        return f"{{{', '.join(items)}}}"
    return None if ledger.policy is None else quoted(ledger.policy)


def render_block(block: Block) -> str:
    """Return a block as one line of YAML, in braces."""
    return f'{{destination: "{block.destination}", {_written_terms(block[1:])}}}'


def fields_of(block: Block) -> dict[str, str]:
    """Return the YAML of each field that is set, in the order of the file."""
    return {"destination": f'"{block.destination}"', **_terms_of(block)}


# The blocks of a list have the same terms.
@lru_cache(maxsize=_KEPT_TERMS)
def _written_terms(terms: tuple[Any, ...]) -> str:
    """Return the terms of a block, which are its fields without the destination, as YAML."""
    fields = _terms_of(Block(_NOWHERE, *terms))
    return ", ".join(f"{key}: {value}" for key, value in fields.items())


def _terms_of(block: Block) -> dict[str, str]:
    """Return the YAML of each field that is set, without the destination."""
    fields = {
        "since": f'"{_time_text(block.since)}"',
        "until": f'"{_time_text(block.until)}"',
    }
    for key in ("reason", "reference"):
        if value := getattr(block, key):
            fields[key] = quoted(value)
    for key in ("references", "relays"):
        if values := getattr(block, key):
            fields[key] = f"[{', '.join(map(quoted, values))}]"
    for key in ("source", "name", "follow"):
        if value := getattr(block, key):
            fields[key] = quoted(value)
    for key in ("ended", "told"):
        if (moment := getattr(block, key)) is not None:
            fields[key] = f'"{_time_text(moment)}"'
    if block.forced:
        fields["forced"] = '"yes"'
    return fields


def parse_any_yaml(name: str, content: bytes) -> Source:
    """Read a ledger of any form."""
    document = Document(name, content)
    text = content.decode("utf-8-sig")
    top, version, without_blocks = _head(document)
    entries: list[Entry] = []
    found: set[object] = set()
    nodes = top.values.get("blocks")
    if nodes is not None and not (isinstance(nodes, Text) and nodes.value == ""):
        for node in document.items(nodes, "blocks"):
            entry = _entry(document, node, BLOCK_KEYS[version])
            if entry.block.destination in found:
                raise document.error(
                    node.line,
                    f"a second block for {entry.block.destination}",
                    "one line a destination: keep the one with the later end",
                )
            found.add(entry.block.destination)
            entries.append(entry)
    return _source(text, (top, version, without_blocks), entries)


def parse_readable(name: str, content: bytes) -> Source:
    """Read the blocks of a ledger that have no error, and pass over those that have one.

    Its base policy is not read. Raises InvalidFileError for what is not YAML or not of this
    version.
    """
    document = Document(name, content)
    top = document.root
    if not isinstance(top, Fields) or "version" not in top.values:
        raise document.error(1, f"the ledger does not say version: {VERSION}")
    version = document.text(top.values["version"], "version")
    if version != VERSION:
        raise document.error(top.line, f"the ledger says version: {version!r}")
    nodes = top.values.get("blocks")
    entries: list[Entry] = []
    for node in nodes.values if isinstance(nodes, Items) else ():
        with suppress(InvalidFileError):
            entries.append(_entry(document, node, BLOCK_KEYS[version]))
    text = content.decode("utf-8-sig")
    return _source(text, (top, version, Ledger(Blocks.of())), entries)


def _source(text: str, head: tuple[Fields, str, Ledger], entries: list[Entry]) -> Source:
    top, version, without_blocks = head
    blocks = Blocks.of(entry.block for entry in entries)
    return Source(text, version, top, tuple(entries), replace(without_blocks, blocks=blocks))


def _head(document: Document) -> tuple[Fields, str, Ledger]:
    """Return the mapping at the top, the file's version, and a ledger with its base policies."""
    root = document.root
    if root is None:
        raise document.error(1, "the ledger is empty", f"an empty one holds: version: {VERSION}")
    values = document.fields(root, "the ledger", TOP_KEYS)
    assert isinstance(root, Fields)  # noqa: S101 - `fields` has refused all else
    node = values.get("version")
    if node is None:
        raise document.error(root.line, f"the ledger does not say version: {VERSION}")
    version = document.text(node, "version")
    if version not in BLOCK_KEYS:
        raise document.error(
            node.line,
            f"the ledger says version: {version!r}; this exitpol knows {', '.join(BLOCK_KEYS)}",
            "if it is from a newer exitpol, install that one; nothing was changed",
        )
    node = values.get("policy")
    if isinstance(node, Fields):
        names = {relay: _policy(document, named) for relay, named in node.values.items()}
        policies = {relay: name for relay, name in names.items() if name is not None}
        return root, version, Ledger(Blocks.of(), policies=policies)
    return root, version, Ledger(Blocks.of(), _policy(document, node))


def _policy(document: Document, node: Node | None) -> str | None:
    if node is None or not (name := document.text(node, "policy")):
        return None
    # Imported here, because few ledgers name one.
    from exitpolicy.storage import base_policies  # noqa: PLC0415

    if name not in base_policies.names():
        raise document.error(
            node.line,
            f"policy: there is no base policy {name!r}",
            f"write one of: {', '.join(base_policies.names())}; or remove the line",
        )
    return name


def _entry(document: Document, node: Node, known: tuple[str, ...]) -> Entry:
    fields = document.fields(node, "a block", known)
    assert isinstance(node, Fields)  # noqa: S101 - `fields` has refused all else
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
    block = Block(
        document.parsed(fields["destination"], "destination", parse_destination),
        since,
        end,
        _words(document, fields, "reason"),
        _words(document, fields, "reference"),
        _names(document, fields, "relays"),
        _words(document, fields, "source"),
        _words(document, fields, "name"),
        _names(document, fields, "references"),
        _time(document, fields["ended"], "ended", _moment) if "ended" in fields else None,
        "forced" in fields and _flag(document, fields["forced"], "forced"),
        _time(document, fields["told"], "told", _moment) if "told" in fields else None,
        document.parsed(fields["follow"], "follow", _followed) if "follow" in fields else "",
    )
    return Entry(block, node.start, node.end, node)


# Blocks that were made together have the same times.
_start = lru_cache(maxsize=_KEPT_TERMS)(parse_start)
_end = lru_cache(maxsize=_KEPT_TERMS)(parse_end)
_moment = lru_cache(maxsize=_KEPT_TERMS)(parse_time)
_time_text = lru_cache(maxsize=_KEPT_TERMS)(until_text)


def _time(
    document: Document, node: Node, what: str, parse: Callable[[str], datetime | None]
) -> datetime:
    moment = document.parsed(node, what, parse)
    if moment is None:
        raise document.error(
            node.line,
            f"{what}: {document.text(node, what)!r} is not a time",
            "write it as 2027-01-31T18:00:00Z"
            + (" or 2027-01-31" * (what in {"since", "until"}))
            + (", or never" * (what == "until")),
        )
    return moment


def _followed(text: str) -> str:
    """Return the names that a block follows, if they are names. Raises UsageError."""
    # Imported here, because few ledgers have one.
    from exitpolicy.core.host_names import ASCII_NAME, MAX_NAME  # noqa: PLC0415

    names = text.split(" ")
    if len(names) > MAX_NAMES or not all(
        len(name) <= MAX_NAME and re.fullmatch(ASCII_NAME, name) for name in names
    ):
        raise UsageError(
            f"follow: {text!r} is not one to {MAX_NAMES} host names in lower case",
            hint="write names such as www.example.org with blanks between, or leave the key out",
        )
    return text


def _flag(document: Document, node: Node, what: str) -> bool:
    text = document.text(node, what)
    if text not in {"yes", "no"}:
        raise document.error(node.line, f"{what}: {text!r} is neither yes nor no")
    return text == "yes"


def _words(document: Document, fields: Mapping[str, Node], key: str) -> str:
    if key not in fields:
        return ""
    return document.parsed(fields[key], key, lambda text: checked_text(key, text))


def _names(document: Document, fields: Mapping[str, Node], key: str) -> tuple[str, ...]:
    """Return the words of a list, each once."""
    if key not in fields:
        return ()
    nodes = document.items(fields[key], key)
    words = (document.parsed(node, key, lambda text: _checked_name(key, text)) for node in nodes)
    return tuple(dict.fromkeys(words))


def _checked_name(key: str, text: str) -> str:
    if not text:
        raise UsageError(f"an empty word in {key}", hint="write a name, or leave the key out")
    return checked_text(key, text)


# Lines in the form that exitpol writes are read without the YAML parser, in a third of its time:
# the usual ones by their quotation marks, and those with lists, escapes, comments or characters
# beyond ASCII with one regular expression, which takes 1.8 ms to compile. All others are YAML.
# All character sets are ASCII: others take 50 ms to compile. Other characters are checked later.
_PRINTED: Final = r'[^"\\\x00-\x1f\x7f]*'
_ESCAPE: Final = r'\\(?:["\\n]|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})'
_CHARACTERS: Final = rf"{_PRINTED}(?:{_ESCAPE}{_PRINTED})*"
_STRING: Final = rf'"({_CHARACTERS})"'
_LIST: Final = rf'\[("{_CHARACTERS}"(?:, "{_CHARACTERS}")*)\]'
_PLAIN: Final = r'"([ !#-\[\]-~]*)"'
_WRITTEN: Final = (
    rf"- (\{{destination: {_PLAIN}, since: {_PLAIN}, until: {_PLAIN}"
    rf"(?:, reason: {_STRING})?(?:, reference: {_STRING})?"
    rf"(?:, references: {_LIST})?(?:, relays: {_LIST})?"
    rf"(?:, source: {_STRING})?(?:, name: {_STRING})?(?:, follow: {_PLAIN})?"
    rf'(?:, ended: {_PLAIN})?(?:, told: {_PLAIN})?(?:, forced: "(yes)")?\}})'
    r"[ \t]*(?:(?<=[ \t])#[^\r\n]*)?\r?"
)
_START: Final = "- {destination: "
_NEW: Final = (
    *(", references: [", ", relays: [", ", source: ", ", name: "),
    *(", follow: ", ", told: ", ", forced: ", ", ended: "),
)
"""What stands before the keys of version 2."""
_LISTS: Final = ("references", "relays")
"""The keys whose value is a list."""
_MAX_QUOTES: Final = 2 * (len(BLOCK_KEYS["2"]) - len(_LISTS))
"""The most quotation marks of a line without lists."""
_OTHER_BREAKS: Final = ("\x85", "\u2028", "\u2029", "\n---", "\n...")
# Compiled at first use: few ledgers hold lists or escapes.
_ESCAPED: Final = r'\\(?:(["\\])|(n)|x(..)|u(....)|U(........))'


def parse_written_lines(name: str, content: bytes, former: Source | None = None) -> Source | None:
    """Read a ledger with lines in the form that exitpol writes; None if it must be read as YAML.

    `former` is what the file said before: the blocks of its lines are not read again.

    Lines in that form are removed and the rest is read as YAML. This is equal to reading all of it
    as YAML, provided that the lines are between the key `blocks` and the next key, and not inside
    another value.
    """
    try:
        text = content.decode("utf-8-sig")
        if _has_other_breaks(text) or not is_unescaped(text):
            return None
        with _no_collection():
            written, runs = _written_lines(text, former)
        rest = Document(name, _without(runs, text).encode())
        top, version, without_blocks = _head(rest)
        _refuse_new_keys(text, version)
        others = [_entry(rest, node, BLOCK_KEYS[version]) for node in _other_nodes(rest, top, text)]
        if not _apart(written, top, others):
            return None
    except (InvalidFileError, UsageError, ValueError):
        # Read as YAML, the same text gives an error that names the line.
        return None
    entries = sorted([*written, *others], key=lambda entry: entry.start) if others else written
    source = _source(text, (top, version, without_blocks), entries)
    # Of two blocks for one destination, the error names the line.
    return source if len(source.ledger.blocks) == len(entries) else None


def _written_lines(text: str, former: Source | None) -> tuple[list[Entry], list[tuple[int, int]]]:
    """Return the blocks of the lines in the form that exitpol writes, and where the lines are.

    Lines without another between them are one place, (start, end). Raises UsageError, and
    ValueError, also if there is no such line.
    """
    known = {} if former is None else _blocks_by_line(former)
    terms: dict[str, _Terms] = {}
    entries: list[Entry] = []
    starts: list[int] = []
    ends: list[int] = []
    at = 0
    for line in text.split("\n"):
        after = at + len(line) + 1
        if (block := known.get(line)) is not None:
            entries.append(Entry(block, at + 2, after - 1, None))
        elif (read := _written_block(line, terms)) is not None:
            entries.append(Entry(read[0], at + 2, at + read[1], None))
        else:
            at = after
            continue
        if ends and ends[-1] == at - 1:
            ends[-1] = after - 1
        else:
            starts.append(at)
            ends.append(after - 1)
        at = after
    if not entries:
        raise ValueError("no line that exitpol has written")
    return entries, list(zip(starts, ends, strict=True))


class _Terms(NamedTuple):
    """What a line says behind its destination."""

    fields: tuple[Any, ...]
    """The fields of a block without the destination."""
    rest: int
    """How many characters of the line follow the block, such as a comment."""


def _written_block(line: str, terms: dict[str, _Terms]) -> tuple[Block, int] | None:
    """Return the block of a line in the form that exitpol writes, and where it ends in the line.

    None for a line in another form. `terms` are those of lines before, by their text behind the
    destination; those of this line are added. Raises UsageError, ValueError.
    """
    start, _, behind = line.partition('"')
    destination, _, behind = behind.partition('"')
    if start == _START and (known := terms.get(behind)) is not None and _is_plain(destination):
        # Blocks that were made together differ in nothing but their destination.
        block = Block._make((parse_destination(destination), *known.fields))
        return block, len(line) - known.rest
    if (plain := _plain_fields(line)) is not None:
        block, end = _written(*plain), len(line)
    elif line.startswith("- {") and (found := re.fullmatch(_WRITTEN, line)) is not None:
        block, end = _written(*found.groups()[1:]), found.end(1)
    else:
        return None
    if len(terms) < _KEPT_TERMS:
        terms[behind] = _Terms(block[1:], len(line) - end)
    return block, end


def _refuse_new_keys(text: str, version: str) -> None:
    """Raise ValueError for a file of version 1 that may have keys of version 2."""
    if version == "1" and any(mark in text for mark in _NEW):
        raise ValueError("keys of version 2")


def _blocks_by_line(source: Source) -> dict[str, Block]:
    """Return the blocks of lines in the form that exitpol writes, if nothing follows on the line.

    A block without the keys of version 2 is the same in both versions.
    """
    text = source.text
    return {text[e.start - 2 : e.end]: e.block for e in source.entries if e.node is None}


def _has_other_breaks(text: str) -> bool:
    """Tell whether YAML sees line ends, or ends of the document, that the expression does not."""
    if "\r" in text and "\r" in text.replace("\r\n", ""):
        return True
    return any(mark in text for mark in _OTHER_BREAKS) or text.startswith(("---", "..."))


def _without(places: list[tuple[int, int]], text: str) -> str:
    """Return a text with a comment of the same length in place of each run of lines.

    The numbers of later lines change.
    """
    parts: list[str] = []
    at = 0
    for start, end in places:
        parts += (text[at:start], "#" * (end - start))
        at = end
    return "".join([*parts, text[at:]])


@contextmanager
def _no_collection() -> Iterator[None]:
    """Pause the garbage collector, which takes a third of the time when many objects are made."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _other_nodes(rest: Document, top: Fields, text: str) -> Iterator[Node]:
    """Yield the blocks in other forms. Raises ValueError if written lines cannot be among them."""
    nodes = top.values.get("blocks")
    if isinstance(nodes, Items) and not nodes.flow and text[nodes.start - 1] == "\n":
        yield from rest.items(nodes, "blocks")
    elif not (isinstance(nodes, Text) and nodes.start == nodes.end):
        raise ValueError("the key blocks has a value of its own")


def _apart(written: list[Entry], top: Fields, others: list[Entry]) -> bool:
    """Tell whether the written lines are below `blocks`, and not inside another value."""
    starts = [entry.start for entry in written] if others else [written[0].start, written[-1].start]
    begin = top.keys["blocks"]
    end = min((key for key in top.keys.values() if key > begin), default=starts[-1] + 1)
    if top.flow or starts[0] < begin or starts[-1] >= end:
        return False
    return all(bisect_left(starts, o.start) == bisect_left(starts, o.end) for o in others)


def _is_plain(text: str) -> bool:
    """Tell whether a text means itself in quotation marks."""
    return "\\" not in text and text.isascii() and text.isprintable()


def _plain_fields(line: str) -> tuple[Any, ...] | None:
    """Return the texts of a block in the order of BLOCK_KEYS; None for a line in another form."""
    if not _is_plain(line):
        return None
    parts = line.split('"', _MAX_QUOTES)
    choose = _choice(tuple(parts[::2])) if len(parts) % 2 else None
    if choose is None:
        return None
    fields: tuple[Any, ...] = choose([*parts[1::2], None])
    return fields if fields[-1] in {None, "yes"} else None


@lru_cache(maxsize=64)
def _choice(between: tuple[str, ...]) -> Callable[[Sequence[object]], tuple[Any, ...]] | None:
    """Return what chooses the fields of a block from its quoted texts and a last one, None.

    `between` is what stands around these texts; few forms occur in one ledger. Returns None for
    another form than that of exitpol.
    """
    first, *others = between
    if first != _START or len(others) < 3 or others.pop() != "}":
        return None
    keys = ["destination", *(text[2:-2] for text in others)]
    known = BLOCK_KEYS["2"]
    written = [key for key in known if key in keys and key not in _LISTS]
    framed = others == [f", {key}: " for key in keys[1:]]
    if not framed or keys != written or keys[:3] != list(known[:3]):
        return None
    places = [keys.index(key) if key in keys else -1 for key in known]
    return itemgetter(*places)


def _written(
    destination: str,
    since: str,
    until: str,
    reason: str | None,
    reference: str | None,
    *others: str | None,
) -> Block:
    """Return the block of a line as exitpol writes it. Raises UsageError, ValueError."""
    start, end = _start(since), None if until == "never" else _end(until)
    if start is None or (end is None and until != "never") or (end is not None and end <= start):
        raise ValueError("no times of a block")
    block = Block(
        parse_destination(destination),
        start,
        end,
        _unescaped("reason", reason) if reason else "",
        _unescaped("reference", reference) if reference else "",
    )
    if others.count(None) == len(others):
        return block
    references, relays, source, name, follow, ended, told, forced = others
    if source is not None and others.count(None) == len(others) - 1:
        # An imported list has thousands of them.
        return Block(*block[:6], _unescaped("source", source))
    moments = [None if text is None else _moment(text) for text in (ended, told)]
    if moments.count(None) != (ended, told).count(None):
        raise ValueError("no time of an end")
    return block._replace(
        relays=_list("relays", relays),
        source=_unescaped("source", source),
        name=_unescaped("name", name),
        references=_list("references", references),
        ended=moments[0],
        told=moments[1],
        forced=forced is not None,
        follow=_followed(follow) if follow else "",
    )


def _unescaped(key: str, text: str | None) -> str:
    """Return the text of a quoted scalar. Raises UsageError, ValueError."""
    if not text:
        return ""
    if "\\" not in text and len(text) <= MAX_TEXT:
        return text
    return checked_text(key, re.sub(_ESCAPED, _character, text))


def _character(match: re.Match[str]) -> str:
    same, newline, *codes = match.groups()
    return same or ("\n" if newline else chr(int(next(code for code in codes if code), 16)))


def _list(key: str, text: str | None) -> tuple[str, ...]:
    if text is None:
        return ()
    words = (_checked_name(key, _unescaped(key, match[1])) for match in re.finditer(_STRING, text))
    return tuple(dict.fromkeys(words))
