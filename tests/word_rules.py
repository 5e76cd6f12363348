"""The rules of the files of words, which words/README.txt describes; errors name the line."""

import re
import unicodedata
from collections.abc import Mapping
from typing import Final, NoReturn

from exitpolicy.complaint import Kind
from exitpolicy.complaint.language.word_files import FORMATS, Vocabulary, family_of
from exitpolicy.complaint.language.word_files import parse as plainly_parsed
from exitpolicy.core.errors import InvalidFileError

_BEGINNING: Final = "the beginning of a word (`word*`)"
_PART: Final = "a part of a word (`*word*`)"
FORMS: Final[Mapping[str, frozenset[str]]] = {
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
        *("ticket", "ticket labelled", "ticket number"),
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
_ESCAPE: Final = r"\\."
_ENDLESS: Final = r"(?<!\\)[*+]|,\}"
MAX_COLUMNS: Final = 100


def parse(language: str, text: str) -> Vocabulary:
    """Return what the program reads in a file. Raises InvalidFileError with the line number."""
    sections: dict[str, dict[str, int]] = {}
    section = ""
    for number, line in _lines(language, text):
        if header := _HEADER.fullmatch(line):
            section = header[1]
            _check_section(language, number, section, sections)
            sections[section] = {}
            continue
        if not section:
            _refuse(language, number, f"{line!r} is before the first section")
        for entry in line.split() if family_of(section) in FORMS else line.split(", "):
            _check_entry(language, number, section, entry, sections)
            sections[section][entry] = number
    _check_alone(language, sections)
    found = plainly_parsed(language, text)
    assert {name: list(entries) for name, entries in sections.items()} == found.sections
    return found


def _refuse(language: str, number: int, problem: str) -> NoReturn:
    raise InvalidFileError(
        f"words/{language}.txt:{number}: {problem}",
        hint="exitpolicy/complaint/language/words/README.txt explains the format",
    )


def _check_alone(language: str, sections: Mapping[str, Mapping[str, int]]) -> None:
    """Test each entry on its own: it must match something, and must not match everywhere."""
    for section, entries in sections.items():
        for entry, number in entries.items():
            if family_of(section) in FORMS:
                strange = [c for c in entry.strip("*") if not (c.isalnum() or _is_mark(c))]
                if strange:
                    _refuse(language, number, f"{entry!r}: no word contains {strange[0]!r}")
                continue
            try:
                pattern = re.compile(entry)
            except re.error as error:
                _refuse(language, number, f"{entry!r} is not a regular expression: {error}")
            if re.search(_ENDLESS, entry):
                _refuse(language, number, f"{entry!r}: * and + have no limit, write {{0,20}}")
            if pattern.search(""):
                _refuse(language, number, f"{entry!r} matches everywhere, even in an empty text")
            if _has_bare_bar(entry):
                _refuse(language, number, f"{entry!r}: write two entries for a|b")
            if pattern.groups:
                _refuse(language, number, f"{entry!r}: write (?:…) for (…)")


def _has_bare_bar(entry: str) -> bool:
    """Tell whether a regular expression has a `|` outside of brackets."""
    depth = 0
    for character in re.sub(r"\\.", "", entry):
        depth += (character in "([") - (character in ")]")
        if character == "|" and depth == 0:
            return True
    return False


def _lines(language: str, text: str) -> list[tuple[int, str]]:
    """Return the lines with their numbers, without comments and with continuations joined."""
    lines: list[tuple[int, str]] = []
    of_words = True
    phrase = False
    for number, line in enumerate(text.splitlines(), 1):
        if len(line) > MAX_COLUMNS:
            _refuse(language, number, f"more than {MAX_COLUMNS} columns")
        if not line.strip() or line.startswith("#"):
            continue
        if line != line.rstrip():
            _refuse(language, number, "an invisible blank at the end: write [ ]")
        if not line[0].isspace():
            if found := _HEADER.fullmatch(line):
                of_words = family_of(found[1]) in FORMS
            phrase = not (found or of_words)
            lines.append((number, line))
        elif not phrase:
            _refuse(language, number, "begins with a blank, but there is no phrase to continue")
        else:
            lines[-1] = (lines[-1][0], lines[-1][1] + line.lstrip())
    return lines


def _check_section(
    language: str, number: int, section: str, sections: Mapping[str, Mapping[str, int]]
) -> None:
    family = family_of(section)
    known = family in FORMS or family in _PHRASE_SECTIONS
    argument = section.removeprefix(family).lstrip()
    if not known or not re.fullmatch(ARGUMENTS.get(family, ""), argument):
        _refuse(language, number, f"unknown section [{section}]")
    if section in sections:
        _refuse(language, number, f"a second section [{section}]")
    if section == "frequent" and language == FORMATS:
        _refuse(language, number, "[frequent] is only for languages")


def _check_entry(
    language: str, number: int, section: str, entry: str, sections: Mapping[str, Mapping[str, int]]
) -> None:
    if entry in sections[section]:
        _refuse(language, number, f"{entry!r} is in [{section}] already")
    if not entry or entry.endswith(","):
        _refuse(language, number, "nothing after a comma")
    if entry != entry.lower() and (bare := re.sub(_ESCAPE, "", entry)) != bare.lower():
        _refuse(language, number, f"{entry!r} is not in lower case")
    if "*" in entry and section in FORMS:
        form = _PART if entry.startswith("*") else _BEGINNING
        if form not in FORMS[section] or not re.fullmatch(_STARRED, entry):
            _refuse(language, number, f"{entry!r}: [{section}] does not allow {form}")


def _is_mark(character: str) -> bool:
    """Tell whether this is a vowel or tone mark above or below a letter, as in Thai."""
    return unicodedata.category(character).startswith("M")
