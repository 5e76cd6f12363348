"""Read the files of words: `words/LANG.txt` holds the words of one language.

`words/README.txt` explains the sections. The files are part of the program; the user's files are
never read. `tests/word_rules.py` checks that each follows the rules.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

WORD_SECTIONS: Final = frozenset(
    [
        *("our", "your", "from", "to", "directly to", "source", "destination", "weak source"),
        *("weak destination", "bystander", "standby", "breaks", "filler", "record", "frequent"),
        *("address", "column", "other column", "month", "number", "zone", "service"),
        *("key of service", "ticket prefix", "no ticket", "dot"),
    ]
)
"""Sections of words; all others hold regular expressions."""
FAMILIES: Final = frozenset(
    ("kind", "type", "gateway", "month", "number", "zone", "spelling", "service")
)
"""Sections that can occur several times in a file, each with an argument after its name."""
FORMATS: Final = "formats"
"""The name of the file with the words that belong to no language."""
_HEADER: Final = re.compile(r"\[([a-z0-9 -]+)\]")
_COMMENT: Final = re.compile(r"^#.*\n", re.MULTILINE)
_CONTINUED: Final = re.compile(r"\n[ \t]+(?=\S)")
_FILE: Final = r"(formats|[a-z]{2})\.txt"


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The words of one language."""

    language: str
    """ISO 639-1, or `FORMATS`."""
    sections: Mapping[str, list[str]]
    """The entries of each section, as written."""


def parse(language: str, text: str) -> Vocabulary:
    """Parse the text of a language's file, which follows the rules."""
    sections: dict[str, list[str]] = {}
    entries: list[str] = []
    separator: str | None = None
    for line in _CONTINUED.sub("", _COMMENT.sub("", text)).splitlines():
        if header := _HEADER.fullmatch(line):
            entries = sections.setdefault(header[1], [])
            separator = None if family_of(header[1]) in WORD_SECTIONS else ", "
        elif line.strip():
            entries.extend(line.split(separator))
    return Vocabulary(language, sections)


@cache
def vocabularies() -> tuple[Vocabulary, ...]:
    """Return the words of all languages, sorted by file name."""
    from importlib.resources import files  # noqa: PLC0415 - slow to import, used once

    folder = files("exitpolicy.complaint.language") / "words"
    named = sorted((file.name, file) for file in folder.iterdir() if re.fullmatch(_FILE, file.name))
    return tuple(
        parse(name.removesuffix(".txt"), file.read_text(encoding="utf-8")) for name, file in named
    )


def family_of(section: str) -> str:
    """Return the name of a section without its argument: `month` for `month 1`."""
    name = section.partition(" ")[0]
    return name if name in FAMILIES else section
