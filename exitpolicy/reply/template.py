r"""Templates of letters: Jinja2, limited to what a letter needs, and checked before they are used.

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

Every name and statement is known before a template runs, and conditions depend only on which facts
are there. So the work is bounded by the length of the template and the number of blocks, and
rendering it with every combination of facts proves that no letter can fail later.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Final, NoReturn

import jinja2
from jinja2 import meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from exitpolicy.core.errors import InvalidFileError

TEXTS: Final = frozenset(
    {"operator", "contact", "relay", "fingerprint", "address", "deadline", "references"}
)
"""Facts that may be missing."""

FLAGS: Final = frozenset({"isp", "reporter", "blocks", "ending"})
"""Facts for conditions only. blocks: any are live or pending; ending: all of those have an end."""

BLOCK_FIELDS: Final = frozenset({"destination", "since", "until"})
"""The fields of a block; `until` may be missing."""

LISTS: Final = frozenset({"live", "pending", "lifted", "exonerator"})
"""Lists of blocks; exonerator is a list of texts, which are web addresses."""

MAX_DEPTH: Final = 40
"""Levels of the syntax tree of a letter, includes counted."""

MAX_LINES: Final = 2000
"""Lines of a letter, includes counted."""

_FACTS: Final = TEXTS | FLAGS | LISTS
_ALLOWED: Final = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.If, nodes.Const, nodes.Not, nodes.And,
    nodes.Or, nodes.CondExpr,
)  # fmt: skip
"""With these and those that _Reader names, a condition depends only on which facts are there."""
_SUBJECT: Final = "Subject:"

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


@dataclass(frozen=True, slots=True)
class Template:
    """A letter whose statements and names are known to be valid."""

    subject: str
    """Plain text; the tickets are added to it when a letter is written."""
    body: jinja2.Template
    facts: frozenset[str]
    """The facts that it uses, its includes counted."""
    files: frozenset[str]
    """The names of the template and of all that it includes."""


class _Missing(jinja2.Undefined):
    """A fact that is not known: false in a condition, an error where it is printed."""

    __slots__ = ()

    def __str__(self) -> str:
        raise jinja2.UndefinedError(f"{self._undefined_name or 'this text'} may be missing")


def compile_letter(name: str, sources: Mapping[str, Source]) -> Template:
    """Compile the letter `name`; `sources` are the files of one language by name.

    Raises InvalidFileError for a name, a statement or an expression that a letter cannot have.
    """
    source = sources[name]
    first = source.text.partition("\n")[0]
    subject = first.removeprefix(_SUBJECT).strip()
    if not first.startswith(_SUBJECT) or not subject:
        _fail(source.path, 1, "a letter starts with its subject", "write: Subject: Your report")
    if re.search(r"\{[{%#]|\$\{?[a-z]", subject) or any(not c.isprintable() for c in subject):
        _fail(
            source.path, 1, "the subject is plain text",
            "remove the facts from it: the ticket numbers are added",
        )  # fmt: skip
    environment = _environment(sources)
    reader = _Reader(environment, sources)
    reader.read(name)
    for part in reader.trees:
        try:
            environment.get_template(part)
        except jinja2.TemplateSyntaxError as error:
            raise _invalid(error, sources[part].path) from error
    return Template(
        subject, environment.get_template(name), frozenset(reader.facts), frozenset(reader.trees)
    )


def check_letter(template: Template) -> None:
    """Render a letter with every combination of the facts that it uses.

    Raises InvalidFileError for a fact that is printed where it may be missing.
    """
    for values in _combinations(template.facts):
        fill(template, values)


def fill(template: Template, values: Mapping[str, object]) -> list[str]:
    """Return the lines of a letter before they are wrapped.

    `values` are the facts by name: a missing text is left out, all flags and lists are there.
    Raises InvalidFileError where the template prints a fact that is missing.
    """
    try:
        text = template.body.render(values)
    except jinja2.TemplateError as error:
        path, line = _place(error, template)
        name = str(error).partition(" ")[0]
        raise InvalidFileError(
            f"{path}:{line}: {error}",
            hint=f"put it between {{% if {name} %}} and {{% endif %}}",
        ) from error
    return [line.rstrip() for line in text.split("\n")]


def _environment(sources: Mapping[str, Source]) -> jinja2.Environment:
    def load(name: str) -> tuple[str, str, None]:
        return _body(sources[name]), sources[name].path, None

    return ImmutableSandboxedEnvironment(
        loader=jinja2.FunctionLoader(load),
        undefined=_Missing,
        finalize=_printable,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        auto_reload=False,
    )


def _body(source: Source) -> str:
    """Return a template without its subject, all lines at their numbers."""
    text = source.text.rstrip() + "\n"
    return "\n" + text.partition("\n")[2] if text.startswith(_SUBJECT) else text


def _printable(value: object) -> object:
    """Refuse to print what is no text, such as a list."""
    if isinstance(value, str | jinja2.Undefined):
        return value
    raise jinja2.TemplateRuntimeError("only a text can be printed")


def _place(error: jinja2.TemplateError, template: Template) -> tuple[str, int]:
    """Return the file and line of a template at which rendering failed."""
    place = (str(template.body.filename), 1)
    trace = error.__traceback__
    while trace is not None:
        # Jinja2 replaces the frames of templates by ones with the file and line of the template.
        if "__jinja_exception__" in trace.tb_frame.f_globals:
            place = (trace.tb_frame.f_code.co_filename, trace.tb_lineno)
        trace = trace.tb_next
    return place


def _combinations(facts: frozenset[str]) -> Iterator[dict[str, object]]:
    """Yield every combination of present and missing facts that a letter can tell apart.

    A list is empty, or all of its blocks have an end, or one has none.
    """
    texts = sorted(facts & TEXTS)
    block = {"destination": "x", "since": "x"}
    states: tuple[list[dict[str, str]], ...] = (
        [],
        [{**block, "until": "x"}],
        [{**block, "until": "x"}, block],
    )
    used = facts | ({"live", "pending"} if facts & {"blocks", "ending"} else set())
    lists = [states if name in used else states[:1] for name in ("live", "pending", "lifted")]
    for isp, *present in product((True, False), repeat=1 + len(texts)):
        known = {name: "x" for name, there in zip(texts, present, strict=True) if there}
        flags = {"isp": isp, "reporter": not isp}
        for live, pending, lifted in product(*lists):
            yield {
                **known,
                **flags,
                "blocks": bool(live or pending),
                "ending": all("until" in item for item in (*live, *pending)),
                "live": live,
                "pending": pending,
                "lifted": lifted,
                "exonerator": ["x"],
            }


def _fail(path: str, line: int, message: str, hint: str | None = None) -> NoReturn:
    raise InvalidFileError(f"{path}:{line}: {message}", hint=hint)


@dataclass(slots=True)
class _Reader:
    """Parses a letter with its includes, and refuses what a letter cannot have."""

    environment: jinja2.Environment
    sources: Mapping[str, Source]
    facts: set[str] = field(default_factory=set)
    trees: dict[str, nodes.Template] = field(default_factory=dict)
    including: list[str] = field(default_factory=list)
    lines: int = 0

    def read(self, name: str, item: str | None = None, depth: int = 0) -> None:
        """Read a file, which may use `item`, the name of the item where a list is repeated."""
        source = self.sources[name]
        self.lines += source.text.count("\n") + 1
        if self.lines > MAX_LINES:
            _fail(source.path, 1, f"a letter of more than {MAX_LINES} lines, includes counted")
        tree = self.trees.get(name) or _parse(self.environment, name, source)
        self.including.append(name)
        self._walk(tree, source.path, item, depth)
        self.including.pop()
        if name not in self.trees:
            # Only now, because Jinja2 computes constants such as 9 ** 9 ** 9 here.
            self.facts |= meta.find_undeclared_variables(tree) & _FACTS
            self.trees[name] = tree

    def _walk(self, node: nodes.Node, path: str, item: str | None, depth: int) -> None:
        if depth > MAX_DEPTH:
            _fail(path, node.lineno, f"nested deeper than {MAX_DEPTH}")
        match node:
            case nodes.For():
                item = _item(node, path, item)
            case nodes.Include(template=nodes.Const(value=str(name)), with_context=True):
                self._check_include(node, path, name)
                self.read(name, item, depth + 1)
            case nodes.Name() | nodes.Getattr():
                _check_name(node, path, item)
            case nodes.Test(name="defined" | "undefined") | nodes.Filter(name="default"):
                pass
            case _ if not isinstance(node, _ALLOWED):
                _fail(
                    path, node.lineno, "a letter has no such statement or expression",
                    'there are: {% include "NAME" %}, {% if NAME %}, {% for block in LIST %},'
                    " {{ NAME }}, and, or, not, is defined, default",
                )  # fmt: skip
        for child in node.iter_child_nodes():
            self._walk(child, path, item, depth + 1)

    def _check_include(self, node: nodes.Include, path: str, name: str) -> None:
        if name not in self.sources:
            _fail(
                path, node.lineno, f"there is no template {name[:60]!r} to include",
                "there are: " + ", ".join(sorted(self.sources)),
            )  # fmt: skip
        if name in self.including:
            _fail(path, node.lineno, f"{name} includes itself")
        if self.sources[name].text.startswith(_SUBJECT):
            _fail(path, node.lineno, f"{name} is a letter, which nothing can include")


def _item(node: nodes.For, path: str, outer: str | None) -> str:
    """Return the name of the item of a list; `outer` is that of the list around it."""
    match node:
        case nodes.For(iter=nodes.Name(name=items), target=nodes.Name(name=item)):
            if items in LISTS and item not in {*_FACTS, "loop"} and outer is None:
                return item
    _fail(
        path, node.lineno, "a list cannot be repeated like this",
        "write {% for block in LIST %}, not inside another list; the lists are "
        + ", ".join(sorted(LISTS)),
    )  # fmt: skip


def _check_name(node: nodes.Name | nodes.Getattr, path: str, item: str | None) -> None:
    match node:
        case nodes.Name(name=name):
            if name in _FACTS or name == item:
                return
        case nodes.Getattr(node=nodes.Name(name=owner), attr=attribute):
            name = f"{owner}.{attribute}"
            if owner == item and attribute in BLOCK_FIELDS:
                return
        case _:
            name = "of a field"
    _fail(
        path, node.lineno, f"unknown name {name[:60]}",
        f"there are: {', '.join(sorted(_FACTS))}; and inside {{% for block in live %}}: "
        + ", ".join(f"block.{field}" for field in sorted(BLOCK_FIELDS)),
    )  # fmt: skip


def _parse(environment: jinja2.Environment, name: str, source: Source) -> nodes.Template:
    for number, line in enumerate(source.text.split("\n"), 1):
        if former := _FORMER.search(line):
            _fail(source.path, number, f"{former.group()!r} is the former syntax", _FORMER_HINT)
        # With trim_blocks, a tag takes the end of its line with it.
        ending = line.rstrip()
        if ending.endswith(("%}", "#}")) and ending[-3] not in "+-" and _TAG.sub("", line).strip():
            _fail(
                source.path, number, "the tag at the end of this line joins it to the next one",
                f"write +{ending[-2:]}, or put the tag on a line of its own",
            )  # fmt: skip
    try:
        return environment.parse(_body(source), name, source.path)
    except jinja2.TemplateSyntaxError as error:
        raise _invalid(error, source.path) from error
    except (RecursionError, ValueError) as error:
        raise InvalidFileError(
            f"{source.path}:1: nested too deep, or a number too long, to be read"
        ) from error


def _invalid(error: jinja2.TemplateSyntaxError, path: str) -> InvalidFileError:
    message = (error.message or "a syntax error").rstrip(".")
    return InvalidFileError(f"{path}:{error.lineno}: {message}")
