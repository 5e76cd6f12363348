"""Write the man pages exitpol(1) and exitpol.yaml(5) from the reference and the program.

    python -m scripts.manpages      (scripts/reference runs it)

The text is that of exitpolicy/docs/reference.md, whose commands come from the program: a fact
stands in one place. The pages use man(7), and pass `mandoc -Tlint` and `man --warnings`.
"""

import re
import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import typer

from exitpolicy import __version__
from exitpolicy.cli.app import program

ROOT: Final = Path(__file__).resolve().parents[1]
FOLDER: Final = ROOT / "exitpolicy" / "man"
REFERENCE: Final = ROOT / "exitpolicy" / "docs" / "reference.md"
NAMES: Final = ("exitpol.1", "exitpol.yaml.5")

_MAX_LINE: Final = 78
"""The length of a line of the source; `mandoc -Tlint` reports one of more than 80 bytes."""
_MAX_TAG: Final = 60
"""The length of an option with its choices; longer lists of choices stand in the text."""


def page(name: str, date: str) -> str:
    """Return the source of a man page; `date` (ISO) is the day of its last change."""
    sections = _sections(REFERENCE.read_text("utf-8"))
    title, number = name.rsplit(".", 1)
    lines = [
        r".\" Written by scripts/reference: change reference.md or the help of the command.",
        f'.TH {title.upper()} {number} {date} "exitpol {__version__}"',
        *(_exitpol(sections) if number == "1" else _exitpol_yaml(sections)),
    ]
    return "\n".join(lines) + "\n"


def date_of(text: str) -> str:
    """Return the date in the source of a man page."""
    found = re.search(r"^\.TH \S+ \S+ (\S+)", text, re.MULTILINE)
    assert found is not None, "a man page without a title line"
    return found[1]


def write() -> None:
    """Write the pages; one that says the same keeps its date."""
    for name in NAMES:
        path = FOLDER / name
        if path.exists() and page(name, date_of(before := path.read_text("utf-8"))) == before:
            continue
        path.write_text(page(name, f"{datetime.now(UTC):%Y-%m-%d}"), "utf-8")


def _exitpol(sections: dict[str, str]) -> Iterator[str]:
    root: Any = typer.main.get_command(program([]))
    first, _, rest = root.help.strip().partition("\n")
    yield from (".SH NAME", rf"exitpol \- {_escaped(first[0].lower() + first[1:].rstrip('.'))}")
    yield from (".SH SYNOPSIS", ".B exitpol", r"[\fB\-\-config\fR \fIFILE\fR]")
    yield from (r"\fICOMMAND\fR", r"[\fIARGUMENT\fR ...]")
    yield from (".SH DESCRIPTION", *roff(f"{first}\n{rest}"))
    # How a destination and a time are written.
    paragraphs = sections["Words"].strip().split("\n\n")
    yield from roff("\n\n".join(p for p in paragraphs if p.startswith("**")), begins=False)
    yield ".SH OPTIONS"
    for option in root.params:
        names = _escaped(", ".join(option.opts))
        value = "" if option.is_flag else r" \fIFILE\fR"
        yield from (".TP", rf"\fB{names}\fR{value}")
        yield from _filled(option.help or "")
    yield from (".TP", r"\fB\-h\fR, \fB\-\-help\fR")
    yield "Show the commands, or how one is used."
    yield from (".SH COMMANDS", *roff(sections["Commands"]))
    yield from (".SH HOST NAMES", *roff(sections["Host names"]))
    yield from (".SH STATES OF A BLOCK", *roff(sections["States of a block"]))
    yield from (".SH EXIT STATUS", *roff(sections["Exit codes"]))
    yield from (".SH ENVIRONMENT", *roff(sections["Environment"]))
    yield from (".SH FILES", *roff(sections["Files"].partition("\n### ")[0]))
    yield from (".SH SEE ALSO", r"\fBexitpol.yaml\fR(5),", r"\fBtor\fR(1)")


def _exitpol_yaml(sections: dict[str, str]) -> Iterator[str]:
    yield from (".SH NAME", r"exitpol.yaml \- config and ledger of exitpol")
    yield from (".SH SYNOPSIS", r"\fI/etc/exitpol/config.yaml\fR", ".br")
    yield r"\fI/var/lib/exitpol/blocks.yaml\fR"
    yield from (".SH CONFIG", *roff(sections["Config"]))
    yield from (".SH LEDGER", *roff(sections["Ledger"]))
    yield from (".SH SEE ALSO", r"\fBexitpol\fR(1)")


def _sections(text: str) -> dict[str, str]:
    """Return the text below each heading of the second level, without HTML comments."""
    parts = re.split(r"^## (.+)\n", re.sub(r"<!--.*?-->\n", "", text), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def roff(text: str, *, begins: bool = True) -> Iterator[str]:
    """Yield the lines of man(7) for the Markdown that the reference uses.

    `begins`: it stands below a heading, where no .PP belongs.
    """
    code = r"^```\w*\n.*?^```$"
    for part in re.split(rf"({code})|\n\n+", text.strip(), flags=re.MULTILINE | re.DOTALL):
        lines = (part or "").strip("\n").splitlines()
        if not lines:
            continue
        if lines[0].startswith("```"):
            yield from ([] if begins else [".PP"])
            yield from (".nf", *(_line_start(_escaped(line)) for line in lines[1:-1]), ".fi")
        elif lines[0].startswith("### "):
            yield f".SS {_inline(lines[0][4:].replace('`', ''))}"
        elif lines[0].startswith("|"):
            yield from _table(lines)
        elif re.match(r"- ", lines[0]):
            yield from _items(lines)
        else:
            yield from ([] if begins else [".PP"])
            yield from _filled(" ".join(line.strip() for line in lines))
        begins = lines[0].startswith("### ")


def _table(lines: list[str]) -> Iterator[str]:
    """Yield a tagged paragraph for each row; the third cell follows the second in brackets."""
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    heads = rows[0]
    for tag, text, *others in rows[2:]:
        tag, text = _with_choices(tag.replace("\\|", "|"), text)  # noqa: PLW2901 - the same cells
        for head, cell in zip(heads[2:], others, strict=True):
            text += f" ({head} {cell})"  # noqa: PLW2901
        yield from (".TP", _inline(tag))
        # Some help texts end without a full stop.
        yield from _filled(re.sub(r"(?<!\.) Required\.$", ". Required.", text.replace("\\|", "|")))


def _with_choices(tag: str, text: str) -> tuple[str, str]:
    """Move a long list of choices from the tag to the text."""
    option, _, choices = tag.strip("`").partition(" ")
    if len(tag) <= _MAX_TAG or "|" not in choices:
        return tag, text
    value = option.lstrip("-").upper()
    return f"`{option} {value}`", f"{text} {value} is one of: {', '.join(choices.split('|'))}."


def _items(lines: list[str]) -> Iterator[str]:
    text = "\n".join(lines)
    for item in re.split(r"^- ", text, flags=re.MULTILINE)[1:]:
        yield r".IP \(bu 2"
        yield from _filled(" ".join(item.split()))


def _filled(text: str) -> Iterator[str]:
    """Yield the lines of a paragraph; each sentence begins a line, as man(7) asks for."""
    for sentence in re.split(r"(?<=[.?!:;)]) (?=[A-Z`*])", text.strip()):
        wrapped = textwrap.wrap(
            _inline(sentence), _MAX_LINE, break_long_words=False, break_on_hyphens=False
        )
        yield from map(_line_start, wrapped)


def _inline(text: str) -> str:
    """Return a text with code and emphasis in bold, and links as their text."""
    text = re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", text)
    parts = re.split(r"`([^`]+)`|\*\*(.+?)\*\*", text)
    return "".join(
        _escaped(part) if index % 3 == 0 else rf"\fB{_escaped(part)}\fR"
        for index, part in enumerate(parts)
        if part
    )


_ESCAPES: Final = {
    "\\": r"\e",
    "-": r"\-",
    "'": r"\(aq",
    "`": r"\(ga",
    "^": r"\(ha",
    "~": r"\(ti",
    '"': r"\(dq",
}


def _escaped(text: str) -> str:
    """Return a text that roff prints as it is (groff_char(7))."""
    return "".join(
        _ESCAPES.get(character, character) if character.isascii() else rf"\[u{ord(character):04X}]"
        for character in text
    )


def _line_start(line: str) -> str:
    """Return a line that roff does not take for a request."""
    return rf"\&{line}" if line.startswith((".", "'")) else line


if __name__ == "__main__":
    write()
