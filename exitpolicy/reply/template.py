r"""The template language of letters: placeholders, conditions, lists and includes, checked once.

    Subject: Password guessing through a Tor exit
    @include greeting

    @if address
    $address is an exit of the Tor network.
    @end
    @each live
    |   $destination, until $until
    @end

- The subject is plain text, and only used where there is no mail to answer: an answer keeps the
  subject of what it answers.
- `$name` or `${name}` is a fact, `$$` a dollar sign.
- `@if NAME`, `@else`, `@end`: lines that disappear when the fact, the flag or the list is missing.
- `@each LIST`, `@end`: lines repeated for each item, whose fields are facts inside.
- `@include NAME`: the lines of another template of the same language.
- Other lines are joined to paragraphs and wrapped; empty lines part them. A line that starts
  with `|` stays a line of its own.

A fact that may be missing may only be used inside an `@if` (or an `@each`) that makes sure of it.
So a template that compiles leaves nothing unfilled, whatever the facts are.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NoReturn

from exitpolicy.core.errors import InvalidFileError

TEXTS: Final = frozenset(
    {"operator", "contact", "relay", "fingerprint", "address", "deadline", "references"}
)
"""Facts that may be missing."""

FLAGS: Final = frozenset({"isp", "reporter", "blocks", "ending"})
"""Conditions only. blocks: live or pending ones; ending: all of those have an end."""

BLOCK_FIELDS: Final = frozenset({"destination", "since"})
LISTS: Final[Mapping[str, frozenset[str]]] = {
    "live": BLOCK_FIELDS,
    "pending": BLOCK_FIELDS,
    "lifted": BLOCK_FIELDS,
    "exonerator": frozenset({"url"}),
}
"""Lists, and the fields that each item has for certain."""

ITEM_TEXTS: Final[Mapping[str, frozenset[str]]] = {
    name: frozenset({"until"}) if fields is BLOCK_FIELDS else frozenset()
    for name, fields in LISTS.items()
}
"""The fields of an item that may be missing."""

PLACEHOLDERS: Final = TEXTS.union(*LISTS.values(), *ITEM_TEXTS.values())

MAX_DEPTH: Final = 12
MAX_LINES: Final = 2000
"""How deep a letter may be nested and how long it may be, includes counted."""

_PLACEHOLDER = re.compile(r"\$(?:(\$)|([A-Za-z0-9_]+)|\{([^}]*)\})?")
_SUBJECT = "Subject:"


@dataclass(frozen=True, slots=True)
class Source:
    """The text of one template file."""

    path: str
    """What error messages call the file."""
    text: str


@dataclass(frozen=True, slots=True)
class Line:
    """One line of text: literal pieces at even places, names of facts at odd ones."""

    pieces: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class If:
    """Lines that depend on whether a fact, a flag or a list is there."""

    name: str
    then: tuple["Node", ...]
    otherwise: tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Each:
    """Lines that are repeated for each item of a list."""

    name: str
    body: tuple["Node", ...]


Node = Line | If | Each


@dataclass(frozen=True, slots=True)
class Template:
    """A letter that compiled: whatever the facts are, it can be rendered."""

    subject: str
    """Plain text: a subject has no placeholders, tickets are put into it by us."""
    body: tuple[Node, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """The facts by the names that templates use; every name of TEXTS, FLAGS and LISTS is there."""

    texts: Mapping[str, str | None]
    flags: Mapping[str, bool]
    lists: Mapping[str, tuple[Mapping[str, str | None], ...]]


def compile_letter(name: str, sources: Mapping[str, Source]) -> Template:
    """Compile the letter `name`; `sources` are the files of one language by name, without `.txt`.

    Raises InvalidFileError that names the file, the line and the mend.
    """
    source = sources[name]
    first, _, rest = source.text.partition("\n")
    subject = first.removeprefix(_SUBJECT).strip()
    if not first.startswith(_SUBJECT) or not subject:
        _fail(source.path, 1, "a letter starts with its subject", "write: Subject: Your report")
    if "$" in subject or any(not c.isprintable() for c in subject):
        _fail(
            source.path, 1, "the subject is plain text",
            "leave the placeholders out: the ticket numbers are added to it",
        )  # fmt: skip
    lines = _Lines(sources)
    return Template(subject, lines.compile_source(name, rest, 2, _Scope()))


def expand(nodes: tuple[Node, ...], values: Values) -> Iterator[str]:
    """Yield the lines that remain, filled; whatever wraps them comes later."""
    for node in nodes:
        if isinstance(node, Line):
            yield "".join(
                piece if index % 2 == 0 else values.texts[piece] or ""
                for index, piece in enumerate(node.pieces)
            )
        elif isinstance(node, If):
            yield from expand(node.then if _holds(node.name, values) else node.otherwise, values)
        else:
            for item in values.lists[node.name]:
                inner = Values(
                    texts={**values.texts, **item}, flags=values.flags, lists=values.lists
                )
                yield from expand(node.body, inner)


def _holds(name: str, values: Values) -> bool:
    if name in values.flags:
        return values.flags[name]
    if name in values.lists:
        return bool(values.lists[name])
    return values.texts[name] is not None


def _fail(path: str, line: int, message: str, hint: str | None = None) -> NoReturn:
    raise InvalidFileError(f"{path}:{line}: {message}", hint=hint)


def _listing(names: frozenset[str]) -> str:
    return ", ".join(f"${name}" for name in sorted(names))


@dataclass(frozen=True, slots=True)
class _Scope:
    """What may be used where we are."""

    known: frozenset[str] = frozenset()
    """The facts that are certain to be there."""
    possible: frozenset[str] = TEXTS
    """The facts that an `@if` can make certain."""
    inside_each: bool = False
    depth: int = 0

    def deeper(self, **known: str) -> "_Scope":
        return _Scope(
            self.known.union(known.values()), self.possible, self.inside_each, self.depth + 1
        )

    def within(self, items: str) -> "_Scope":
        return _Scope(
            self.known | LISTS[items],
            self.possible | LISTS[items] | ITEM_TEXTS[items],
            inside_each=True,
            depth=self.depth + 1,
        )


@dataclass(slots=True)
class _Lines:
    """Compiles files line by line."""

    sources: Mapping[str, Source]
    count: int = 0
    """Lines seen so far, over all includes."""
    including: list[str] = field(default_factory=list)

    def compile_source(self, name: str, text: str, first: int, scope: _Scope) -> tuple[Node, ...]:
        path = self.sources[name].path
        self.including.append(name)
        numbered = enumerate((line.rstrip() for line in text.rstrip().split("\n")), first)
        nodes, closed_by, _ = self._block(path, numbered, scope)
        if closed_by is not None:
            number, word = closed_by
            _fail(path, number, f"@{word} without an @if or @each before it")
        self.including.pop()
        return nodes

    def _block(
        self, path: str, lines: Iterator[tuple[int, str]], scope: _Scope
    ) -> tuple[tuple[Node, ...], tuple[int, str] | None, int]:
        """Compile up to the @else or @end that closes this block.

        Returns the nodes, (line number, word) of what closed it, None at the end of the file, and
        the number of the last line.
        """
        nodes: list[Node] = []
        number = 0
        for number, line in lines:
            self.count += 1
            if self.count > MAX_LINES:
                _fail(path, number, f"a letter of more than {MAX_LINES} lines")
            if scope.depth > MAX_DEPTH:
                _fail(path, number, f"nested deeper than {MAX_DEPTH}")
            if not line.startswith("@"):
                nodes.append(_line(path, number, line, scope))
                continue
            word, _, name = line[1:].partition(" ")
            if word in {"else", "end"} and not name:
                return tuple(nodes), (number, word), number
            if word == "include" and name:
                nodes.extend(self._include(path, number, name, scope))
            elif word == "if" and name:
                nodes.append(self._if(path, number, name, lines, scope))
            elif word == "each" and name:
                nodes.append(self._each(path, number, name, lines, scope))
            else:
                _fail(
                    path, number, f"{line[:60]!r} is no directive",
                    "there are: @include NAME, @if NAME, @else, @end, @each NAME;"
                    " to start a line of text with @, write it behind a |",
                )  # fmt: skip
        return tuple(nodes), None, number

    def _include(self, path: str, number: int, name: str, scope: _Scope) -> tuple[Node, ...]:
        if name not in self.sources:
            _fail(path, number, f"there is no template {name[:60]!r} to include")
        if name in self.including:
            _fail(path, number, f"{name} includes itself")
        if self.sources[name].text.startswith(_SUBJECT):
            _fail(path, number, f"{name} is a letter, which nothing can include")
        return self.compile_source(name, self.sources[name].text, 1, scope.deeper())

    def _if(
        self, path: str, number: int, name: str, lines: Iterator[tuple[int, str]], scope: _Scope
    ) -> If:
        conditions = scope.possible | FLAGS | LISTS.keys()
        if name not in conditions:
            _fail(
                path, number, f"@if {name[:60]}: there is no such fact",
                "there are: " + ", ".join(sorted(conditions)),
            )  # fmt: skip
        certain = {"it": name} if name in scope.possible else {}
        then, closed_by, last = self._block(path, lines, scope.deeper(**certain))
        otherwise: tuple[Node, ...] = ()
        if closed_by is not None and closed_by[1] == "else":
            otherwise, closed_by, last = self._block(path, lines, scope.deeper())
        if closed_by is None or closed_by[1] != "end":
            _fail(path, last or number, f"the @if {name} of line {number} needs one @end here")
        return If(name, then, otherwise)

    def _each(
        self, path: str, number: int, name: str, lines: Iterator[tuple[int, str]], scope: _Scope
    ) -> Each:
        if name not in LISTS:
            _fail(
                path, number, f"@each {name[:60]}: there is no such list",
                "there are: " + ", ".join(sorted(LISTS)),
            )  # fmt: skip
        if scope.inside_each:
            _fail(path, number, "an @each inside another")
        body, closed_by, last = self._block(path, lines, scope.within(name))
        if closed_by is None or closed_by[1] != "end":
            _fail(path, last or number, f"the @each {name} of line {number} needs one @end here")
        return Each(name, body)


def _line(path: str, number: int, text: str, scope: _Scope) -> Line:
    pieces: list[str] = []
    literal, start = "", 0
    for match in _PLACEHOLDER.finditer(text):
        literal += text[start : match.start()]
        start = match.end()
        dollar, bare, braced = match.groups()
        name = bare or braced
        if dollar:
            literal += "$"
            continue
        if not name:
            _fail(path, number, "a $ without a name", "write $$ for a dollar sign")
        if name not in PLACEHOLDERS:
            _fail(
                path, number, f"unknown placeholder ${name[:60]}",
                f"there are: {_listing(scope.possible)}; write $$ for a dollar sign",
            )  # fmt: skip
        if name not in scope.possible:
            _fail(path, number, f"${name} is known only inside the @each of its list")
        if name not in scope.known:
            _fail(
                path, number, f"${name} may be missing",
                f"put these lines between @if {name} and @end",
            )  # fmt: skip
        pieces += [literal, name]
        literal = ""
    return Line((*pieces, literal + text[start:]))
