r"""What the template of a letter may contain: Jinja2, limited to what a letter needs.

    Subject: Password guessing through a Tor exit
    {% include "greeting" %}

    {% if address %}
    {{ address }} is an exit of the Tor network.
    {% endif %}
    {% for block in live %}
    {% if block.until %}
    |   {{ block.destination }}, until {{ block.until }}
    {% endif %}
    {% endfor %}

- The subject is plain text. It is used only where there is no mail to answer.
- TEXTS, FLAGS and LISTS are the names of the facts. A text that is not known is missing: false in a
  condition, and an error where it is printed.
- Statements: `include`, `if`, `elif`, `else` and `for ... in LIST`. Expressions: names, the fields
  of a block, text in quotes, `and`, `or`, `not`, `... if ... else ...`, `is defined` and `default`.
- A line that holds only a tag disappears. The lines that remain are joined to paragraphs and
  wrapped, and empty lines separate them. A line that starts with `|` stays a line of its own.

All names and statements of a template are checked before it runs, and conditions depend only on
which facts are present. Therefore the length of the template and the number of blocks bound the
work, and a test with every combination of facts proves that no letter fails later.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NoReturn

import jinja2
from jinja2 import nodes
from jinja2.visitor import NodeTransformer

from exitpolicy.core.errors import InvalidFileError

TEXTS: Final = frozenset(
    {"operator", "contact", "relay", "fingerprint", "address", "deadline", "references", "provider"}
)
"""Facts that may be missing."""

FLAGS: Final = frozenset({"isp", "reporter", "blocks", "ending", "longer", "ordered"})
"""Facts for conditions only. blocks: there are live or pending blocks; ending: all of these have an
end; longer: some repeat an earlier block, and each of these lasts longer than that one; ordered:
the relays are on other hosts, so that nothing shows whether the blocks are in force."""

BLOCK_FIELDS: Final = frozenset({"destination", "since", "until"})
"""The fields of a block; `until` may be missing."""

LISTS: Final = frozenset({"live", "pending", "lifted", "targets", "exits", "exonerator"})
"""Lists of blocks. Three are lists of texts: exonerator of web addresses, targets of destinations
and host names, exits of the accused addresses with the names of their relays, if there are several.
"""

MAX_DEPTH: Final = 40
"""Levels of the syntax tree of a letter, includes counted."""

MAX_LINES: Final = 2000
"""Lines of a letter, includes counted."""

FACTS: Final = TEXTS | FLAGS | LISTS

_ALLOWED: Final = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.If, nodes.Not, nodes.And,
    nodes.Or, nodes.CondExpr,
)  # fmt: skip
"""With these and what `check` allows, a condition depends only on which facts are known."""

SUBJECT: Final = "Subject:"
"""The start of a letter's first line, by which a letter differs from a paragraph."""

_FORMER: Final = re.compile(
    r"^@(?:include|if|each|else|end)\b.{0,40}"
    rf"|\$\$|\$\{{?(?:{'|'.join(sorted(TEXTS | BLOCK_FIELDS))}|url)\b\}}?"
)
_FORMER_HINT: Final = (
    "letters are Jinja2 templates now: @if NAME is {% if NAME %}, @else is {% else %}, @end is"
    " {% endif %} or {% endfor %}, @each LIST is {% for block in LIST %} ({% for url in exonerator"
    ' %}), @include NAME is {% include "NAME" %}, $NAME is {{ NAME }}, inside a list $until is'
    " {{ block.until }}, and $$ is $; exitpol reply --template NAME prints a letter to compare"
)
_TAG: Final = re.compile(r"\{[%#].*?[%#]\}")


@dataclass(frozen=True, slots=True)
class Source:
    """The text of one template file."""

    path: str
    """What error messages call the file."""
    text: str


Place = tuple[str, int]
"""A file and a line of it."""


def fail(place: Place, message: str, hint: str | None = None) -> NoReturn:
    """Raise InvalidFileError for a place."""
    raise InvalidFileError(f"{place[0]}:{place[1]}: {message}", hint=hint)


def invalid(error: jinja2.TemplateSyntaxError, place: Place) -> InvalidFileError:
    """Return the error for a mistake that Jinja2 found."""
    message = (error.message or "a syntax error").rstrip(".")
    return InvalidFileError(f"{place[0]}:{place[1]}: {message}")


class Includes(NodeTransformer):
    """Replaces each include with the statements of the included file."""

    def __init__(self, environment: jinja2.Environment, sources: Mapping[str, Source]) -> None:
        self.environment = environment
        self.sources = sources
        self.names: set[str] = set()
        self.places: list[Place] = []
        self._open: list[str] = []

    def statements(self, name: str) -> list[nodes.Node]:
        """Return the statements of a file, with line numbers that count all files."""
        source = self.sources[name]
        above = len(self.places)
        count = source.text.count("\n") + 1
        if above + count > MAX_LINES:
            fail((source.path, 1), f"a letter of more than {MAX_LINES} lines, includes counted")
        self.places += [(source.path, line + 1) for line in range(count)]
        self.names.add(name)
        tree = _parse(self.environment, source)
        for node in tree.find_all(nodes.Node):
            # Jinja2 gives the operands of a comparison no line.
            node.lineno = (node.lineno or 1) + above
        self._open.append(name)
        self.visit(tree)
        self._open.pop()
        return tree.body

    def visit_Include(self, node: nodes.Include) -> list[nodes.Node]:  # noqa: N802 - Jinja2's name
        """Return what an include stands for."""
        place = self.places[node.lineno - 1]
        name = node.template.value if isinstance(node.template, nodes.Const) else ""
        if not isinstance(name, str) or name not in self.sources:
            fail(
                place, f"there is no template {str(name)[:60]!r} to include",
                "there are: " + ", ".join(sorted(self.sources)),
            )  # fmt: skip
        if name in self._open:
            fail(place, f"{name} includes itself")
        if self.sources[name].text.startswith(SUBJECT):
            fail(place, f"{name} is a letter, which nothing can include")
        return self.statements(name)


def _parse(environment: jinja2.Environment, source: Source) -> nodes.Template:
    for number, line in enumerate(source.text.split("\n"), 1):
        if former := _FORMER.search(line):
            fail((source.path, number), f"{former.group()!r} is the former syntax", _FORMER_HINT)
        # With trim_blocks, a tag takes the end of its line with it.
        ending = line.rstrip()
        if (
            ending.endswith(("%}", "#}"))
            and ending[-3:-2] not in {"+", "-"}
            and _TAG.sub("", line).strip()
        ):
            fail(
                (source.path, number), "the tag at the end of this line joins it to the next one",
                f"write +{ending[-2:]}, or put the tag on a line of its own",
            )  # fmt: skip
    text = source.text.rstrip() + "\n"
    if text.startswith(SUBJECT):
        text = "\n" + text.partition("\n")[2]
    try:
        return environment.parse(text, source.path, source.path)
    except jinja2.TemplateSyntaxError as error:
        raise invalid(error, (source.path, error.lineno)) from error
    except (RecursionError, ValueError) as error:
        raise InvalidFileError(
            f"{source.path}:1: nested too deep, or a number too long, to be read"
        ) from error


def check(
    node: nodes.Node, places: Sequence[Place], item: str | None = None, depth: int = 0
) -> None:
    """Refuse syntax that a letter cannot have; inside a loop, `item` is the loop's variable."""
    place = places[node.lineno - 1]
    if depth > MAX_DEPTH:
        fail(place, f"nested deeper than {MAX_DEPTH}")
    match node:
        case nodes.For():
            item = _item(node, place, item)
        case nodes.Name() | nodes.Getattr():
            _check_name(node, place, item)
        case nodes.Test(name="defined" | "undefined") | nodes.Filter(name="default"):
            pass
        case nodes.Const(value=str() | bool()):
            pass
        case _ if not isinstance(node, _ALLOWED):
            fail(
                place, "a letter has no such statement or expression",
                'there are: {% include "NAME" %}, {% if NAME %}, {% for block in LIST %},'
                " {{ NAME }}, and, or, not, is defined, default",
            )  # fmt: skip
    for child in node.iter_child_nodes():
        check(child, places, item, depth + 1)


def _item(node: nodes.For, place: Place, outer: str | None) -> str:
    """Return the name of the item of a list; `outer` is that of the list around it."""
    match node:
        case nodes.For(iter=nodes.Name(name=items), target=nodes.Name(name=item), test=None):
            if items in LISTS and item not in {*FACTS, "loop"} and outer is None:
                return item
    fail(
        place, "a list cannot be repeated like this",
        "write {% for block in LIST %}, without an if, not inside another list; the lists are "
        + ", ".join(sorted(LISTS)),
    )  # fmt: skip


def _check_name(node: nodes.Name | nodes.Getattr, place: Place, item: str | None) -> None:
    match node:
        case nodes.Name(name=name):
            if name in FACTS or name == item:
                return
        case nodes.Getattr(node=nodes.Name(name=owner), attr=attribute):
            name = f"{owner}.{attribute}"
            if owner == item and attribute in BLOCK_FIELDS:
                return
        case _:
            name = "of a field"
    fail(
        place, f"unknown name {name[:60]}",
        f"there are: {', '.join(sorted(FACTS))}; and inside {{% for block in live %}}: "
        + ", ".join(f"block.{field}" for field in sorted(BLOCK_FIELDS)),
    )  # fmt: skip
