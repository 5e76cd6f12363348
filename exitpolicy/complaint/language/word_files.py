"""Read the files of words: their format, and the check that each follows it.

`words/LANG.txt` holds the words of one language; `words/README.txt` explains the sections. The
files are part of the program. They are read once; the user's files are never read.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final, NoReturn

from exitpolicy.complaint.model import Kind
from exitpolicy.core.errors import InvalidFileError

_BEGINNING: Final = "the beginning of a word (`word*`)"
_PART: Final = "a part of a word (`*word*`)"
WORD_SECTIONS: Final[Mapping[str, frozenset[str]]] = {
    "our": frozenset({_PART}),
    "your": frozenset({_PART}),
    "from": frozenset({_PART}),
    "to": frozenset({_PART}),
    "directly to": frozenset(),
    "source": frozenset({_BEGINNING, _PART}),
    "destination": frozenset({_BEGINNING, _PART}),
    "weak source": frozenset({_BEGINNING}),
    "weak destination": frozenset({_BEGINNING}),
    "bystander": frozenset({_BEGINNING}),
    "standby": frozenset({_BEGINNING}),
    "breaks": frozenset({_BEGINNING}),
    "filler": frozenset(),
    "record": frozenset(),
    "frequent": frozenset(),
    "address": frozenset({_BEGINNING, _PART}),
    "column": frozenset({_BEGINNING}),
    "other column": frozenset(),
    "month": frozenset(),
    "number": frozenset(),
    "zone": frozenset(),
    "service": frozenset(),
    "key of service": frozenset(),
    "ticket prefix": frozenset(),
    "no ticket": frozenset(),
    "dot": frozenset(),
}
"""Sections of words, and the forms that they allow besides whole words."""
_PHRASE_SECTIONS: Final = frozenset(
    [
        *("acting", "host", "exonerating", "after source", "after destination", "kind", "type"),
        *("gateway", "version", "scanner", "whois"),
        *("active", "passive", "observing", "attacking host", "clause", "example", "link"),
        *("quiet", "bystander line", "masked", "contact", "greeting", "closing", "referring"),
        *("port", "port after number", "port is", "before port", "on", "each", "counted"),
        *("and", "and unspaced", "range", "spelling"),
        *("within", "within filler", "within after", "until", "hours", "days", "weeks"),
        *("reported activity", "answer", "time at", "time zone", "date of", "ordinal"),
        *("ticket", "ticket spaced", "ticket in subject", "ticket labelled", "ticket number"),
        *("from header", "subject header", "date header", "wrote", "automatic sender"),
        *("handshake", "script", "own letters", "fallback script"),
    ]
)
"""Sections of regular expressions."""
_KIND: Final = f"(?:{'|'.join(kind for kind in Kind if kind is not Kind.UNKNOWN)})"
ARGUMENTS: Final[Mapping[str, str]] = {
    "kind": f"{_KIND} [1-9]",
    "type": _KIND,
    "gateway": "underlines|path|(?:percent|dashes|base64) [a-z]{1,12}",
    "month": "(?:1[0-2]|[1-9])",
    "number": "[1-9][0-9]{0,2}",
    "zone": "-?(?:0[0-9]|1[0-4])[0-5][0-9]",
    "spelling": "[a-z0-9]{1,20}",
    "service": "[1-9][0-9]{0,4}",
}
"""The argument after the name of a section that can occur several times in a file."""

_HEADER: Final = re.compile(r"\[([a-z0-9 -]+)\]")
_STARRED: Final = r"\*?[^*]+\*"
ESCAPE: Final = r"\\."
"""An escaped character of an entry."""
_ENDLESS: Final = r"(?<!\\)[*+]|,\}"
_FILE: Final = r"(formats|[a-z]{2})\.txt"
MAX_COLUMNS: Final = 100
FORMATS: Final = "formats"
"""The name of the file with the words that belong to no language."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The words of one language."""

    language: str
    """ISO 639-1, or `FORMATS`."""
    sections: Mapping[str, Mapping[str, int]]
    """For each section, the entries as written and their line numbers."""

    def refuse(self, number: int, problem: str) -> NoReturn:
        """Raise InvalidFileError for a line."""
        raise InvalidFileError(
            f"words/{self.language}.txt:{number}: {problem}",
            hint="exitpolicy/complaint/language/words/README.txt explains the format",
        )


def parse(language: str, text: str) -> Vocabulary:
    """Parse the text of a language's file.

    Raises InvalidFileError with the line number. `check` makes the tests that take too long for
    every run.
    """
    sections: dict[str, dict[str, int]] = {}
    vocabulary = Vocabulary(language, sections)
    section = ""
    for number, line in _lines(vocabulary, text):
        if header := _HEADER.fullmatch(line):
            section = header[1]
            _check_section(vocabulary, number, section)
            sections[section] = {}
            continue
        if not section:
            vocabulary.refuse(number, f"{line!r} is before the first section")
        entries = line.split() if family_of(section) in WORD_SECTIONS else line.split(", ")
        for entry in entries:
            _check_entry(vocabulary, number, section, entry)
            sections[section][entry] = number
    return vocabulary


def check(vocabulary: Vocabulary) -> None:
    """Test each entry on its own: it must match something, and must not match everywhere.

    Raises InvalidFileError with the line number.
    """
    for section, entries in vocabulary.sections.items():
        for entry, number in entries.items():
            if family_of(section) in WORD_SECTIONS:
                strange = [c for c in entry.strip("*") if not (c.isalnum() or _is_mark(c))]
                if strange:
                    vocabulary.refuse(number, f"{entry!r}: no word contains {strange[0]!r}")
                continue
            try:
                pattern = re.compile(entry)
            except re.error as error:
                vocabulary.refuse(number, f"{entry!r} is not a regular expression: {error}")
            if re.search(_ENDLESS, entry):
                vocabulary.refuse(number, f"{entry!r}: * and + have no limit, write {{0,20}}")
            if pattern.search(""):
                vocabulary.refuse(number, f"{entry!r} matches everywhere, even in an empty text")
            if pattern.groups:
                vocabulary.refuse(number, f"{entry!r}: write (?:…) for (…)")


@cache
def vocabularies() -> tuple[Vocabulary, ...]:
    """Return the words of all languages, sorted by file name. Raises InvalidFileError."""
    from importlib.resources import files  # noqa: PLC0415 - slow to import, used once

    folder = files("exitpolicy.complaint.language") / "words"
    named = sorted((file.name, file) for file in folder.iterdir() if re.fullmatch(_FILE, file.name))
    return tuple(
        parse(name.removesuffix(".txt"), file.read_text(encoding="utf-8")) for name, file in named
    )


def family_of(section: str) -> str:
    """Return the name of a section without its argument: `month` for `month 1`."""
    name = section.partition(" ")[0]
    return name if name in ARGUMENTS else section


def _lines(vocabulary: Vocabulary, text: str) -> list[tuple[int, str]]:
    """Return the lines with their numbers, without comments and with continuations joined."""
    lines: list[tuple[int, str]] = []
    of_words = True
    phrase = False
    for number, line in enumerate(text.splitlines(), 1):
        if len(line) > MAX_COLUMNS:
            vocabulary.refuse(number, f"more than {MAX_COLUMNS} columns")
        if not line.strip() or line.startswith("#"):
            continue
        if line != line.rstrip():
            vocabulary.refuse(number, "an invisible blank at the end: write [ ]")
        if not line[0].isspace():
            if found := _HEADER.fullmatch(line):
                of_words = family_of(found[1]) in WORD_SECTIONS
            phrase = not (found or of_words)
            lines.append((number, line))
        elif not phrase:
            vocabulary.refuse(number, "begins with a blank, but there is no phrase to continue")
        else:
            lines[-1] = (lines[-1][0], lines[-1][1] + line.lstrip())
    return lines


def _check_section(vocabulary: Vocabulary, number: int, section: str) -> None:
    family = family_of(section)
    known = family in WORD_SECTIONS or family in _PHRASE_SECTIONS
    argument = section.removeprefix(family).lstrip()
    if not known or not re.fullmatch(ARGUMENTS.get(family, ""), argument):
        vocabulary.refuse(number, f"unknown section [{section}]")
    if section in vocabulary.sections:
        vocabulary.refuse(number, f"a second section [{section}]")
    if section == "frequent" and vocabulary.language == FORMATS:
        vocabulary.refuse(number, "[frequent] is only for languages")


def _check_entry(vocabulary: Vocabulary, number: int, section: str, entry: str) -> None:
    if entry in vocabulary.sections[section]:
        vocabulary.refuse(number, f"{entry!r} is in [{section}] already")
    if not entry or entry.endswith(","):
        vocabulary.refuse(number, "nothing after a comma")
    if entry != entry.lower() and (bare := re.sub(ESCAPE, "", entry)) != bare.lower():
        vocabulary.refuse(number, f"{entry!r} is not in lower case")
    if "*" in entry and section in WORD_SECTIONS:
        form = _PART if entry.startswith("*") else _BEGINNING
        if form not in WORD_SECTIONS[section] or not re.fullmatch(_STARRED, entry):
            vocabulary.refuse(number, f"{entry!r}: [{section}] does not allow {form}")


def _is_mark(character: str) -> bool:
    """Tell whether this is a vowel or tone mark above or below a letter, as in Thai."""
    return unicodedata.category(character).startswith("M")
