"""Compile the template of a letter, prove that it always renders, and fill it with facts."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Final

import jinja2
from jinja2 import meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from exitpolicy.core.errors import InvalidFileError
from exitpolicy.reply.syntax import (
    FACTS,
    SUBJECT,
    TEXTS,
    Includes,
    Place,
    Source,
    check,
    fail,
    invalid,
)


@dataclass(frozen=True, slots=True)
class Template:
    """A letter with valid statements and names, its includes replaced by their content."""

    subject: str
    """Plain text; the tickets are added to it when a letter is written."""
    body: jinja2.Template
    facts: frozenset[str]
    """The facts that it uses."""
    files: frozenset[str]
    """The names of the template and of all that it includes."""
    places: tuple[Place, ...]
    """Where each line of the body comes from."""


class _Missing(jinja2.Undefined):
    """A fact that is not known: false in a condition, an error where it is printed."""

    __slots__ = ()

    def __str__(self) -> str:
        name = self._undefined_name or "this text"
        is_field = isinstance(self._undefined_obj, dict)
        raise jinja2.UndefinedError(f"{'block.' * is_field}{name} may be missing")


def _printable(value: object) -> object:
    """Refuse to print what is no text, such as a list."""
    if isinstance(value, str | jinja2.Undefined):
        return value
    raise jinja2.TemplateRuntimeError("only a text can be printed")


_ENVIRONMENT: Final = ImmutableSandboxedEnvironment(
    undefined=_Missing,
    finalize=_printable,
    autoescape=False,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


def compile_letter(name: str, sources: Mapping[str, Source]) -> Template:
    """Compile the letter `name`; `sources` are the files of one language by name.

    Raises InvalidFileError for a name, a statement or an expression that a letter cannot have.
    """
    path = sources[name].path
    subject = _subject(sources[name])
    includes = Includes(_ENVIRONMENT, sources)
    try:
        tree = nodes.Template(includes.statements(name), lineno=1)
        # Check this first: Jinja2 would compute constants such as 9 ** 9 ** 9.
        check(tree, includes.places)
        tree.set_environment(_ENVIRONMENT)
        facts = meta.find_undeclared_variables(tree) & FACTS
        code = _ENVIRONMENT.compile(tree, name, path)
    except jinja2.TemplateSyntaxError as error:
        raise invalid(error, includes.places[error.lineno - 1]) from error
    except RecursionError as error:
        deepest, _ = includes.places[-1]
        raise InvalidFileError(f"{deepest}:1: nested too deep to be read") from error
    body = jinja2.Template.from_code(_ENVIRONMENT, code, {})
    return Template(
        subject, body, frozenset(facts), frozenset(includes.names), tuple(includes.places)
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
    except (jinja2.TemplateError, TypeError) as error:
        # A TypeError comes from a filter or a test with too many arguments.
        path, line = template.places[_line(error) - 1]
        name = str(error).partition(" ")[0]
        hint = f"put it between {{% if {name} %}} and {{% endif %}}"
        missing = isinstance(error, jinja2.UndefinedError)
        raise InvalidFileError(f"{path}:{line}: {error}", hint=hint if missing else None) from error
    return [line.rstrip() for line in text.split("\n")]


def _line(error: Exception) -> int:
    """Return the line of a template at which rendering failed."""
    line, trace = 1, error.__traceback__
    while trace is not None:
        # Jinja2 replaces the frames of templates by ones that have the template's lines.
        if "__jinja_exception__" in trace.tb_frame.f_globals:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def _combinations(facts: frozenset[str]) -> Iterator[dict[str, object]]:
    """Yield every combination of present and missing facts that a letter can tell apart.

    A list of blocks is empty, or all of them have an end, or one has none.
    """
    texts = sorted(facts & TEXTS)
    block = {"destination": "x", "since": "x"}
    states: tuple[list[dict[str, str]], ...] = (
        [],
        [{**block, "until": "x"}],
        [{**block, "until": "x"}, block],
    )
    used = facts | (
        {"live", "pending"} if facts & {"blocks", "ending", "longer", "ordered"} else set()
    )
    lists = [states if name in used else states[:1] for name in ("live", "pending", "lifted")]
    for isp, *present in product((True, False), repeat=1 + len(texts)):
        known = {name: "x" for name, there in zip(texts, present, strict=True) if there}
        flags = {"isp": isp, "reporter": not isp}
        targets: tuple[list[str], ...] = ([], ["x"]) if "targets" in facts else ([],)
        exits: tuple[list[str], ...] = ([], ["x", "x"]) if "exits" in facts else ([],)
        longer = (False, True) if "longer" in facts else (False,)
        ordered = (False, True) if "ordered" in facts else (False,)
        for (live, pending, lifted), named, several, more, unseen in product(
            product(*lists), targets, exits, longer, ordered
        ):
            if (more and not (live or pending)) or (unseen and (live or not pending)):
                continue
            yield {
                **known,
                **flags,
                "blocks": bool(live or pending),
                "ending": all("until" in item for item in (*live, *pending)),
                "longer": more,
                "ordered": unseen,
                "live": live,
                "pending": pending,
                "lifted": lifted,
                "targets": named,
                "exits": several,
                "exonerator": ["x"],
            }


def _subject(source: Source) -> str:
    place = source.path, 1
    first = source.text.partition("\n")[0]
    subject = first.removeprefix(SUBJECT).strip()
    if not first.startswith(SUBJECT) or not subject:
        fail(place, "a letter starts with its subject", "write: Subject: Your report")
    if re.search(r"\{[{%#]|\$\{?[a-z]", subject) or any(not c.isprintable() for c in subject):
        fail(
            place, "the subject is plain text",
            "remove the facts from it: the ticket numbers are added",
        )  # fmt: skip
    return subject
