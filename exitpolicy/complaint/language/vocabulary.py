"""The words by which reports are read, from one file a language: `words/LANG.txt`.

What a section means and how its entries match is said in `words/README.txt`. The files are a part
of the programme as its modules are, and read once; no file of the user's is.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final, NoReturn

from exitpolicy.complaint.model import Kind
from exitpolicy.core.errors import InvalidFileError

_BEGIN: Final = "beginnings of words (`word*`)"
_PART: Final = "parts of words (`*word*`)"
_FORMS: Final[Mapping[str, frozenset[str]]] = {
    "our": frozenset({_PART}),
    "your": frozenset({_PART}),
    "from": frozenset({_PART}),
    "to": frozenset({_PART}),
    "source": frozenset({_BEGIN, _PART}),
    "destination": frozenset({_BEGIN, _PART}),
    "weak source": frozenset({_BEGIN}),
    "weak destination": frozenset({_BEGIN}),
    "bystander": frozenset({_BEGIN}),
    "standby": frozenset({_BEGIN}),
    "breaks": frozenset({_BEGIN}),
    "filler": frozenset(),
    "frequent": frozenset(),
}
"""The sections of words, and what they may hold besides whole words."""

_PHRASES: Final = frozenset({"acting", "host", "exonerating", "after source", "after destination"})
_KIND: Final = re.compile(r"kind (\S+) ([1-9])")
_KINDS: Final = frozenset(Kind) - {Kind.UNKNOWN}
_HEADER: Final = re.compile(r"\[([a-z0-9 -]+)\]")
_STARRED: Final = re.compile(r"\*?[^*]+\*")
_ESCAPE: Final = re.compile(r"\\.")
_ENDLESS: Final = re.compile(r"(?<!\\)[*+]|,\}")
_NOTHING: Final = "(?!)"
_FILE: Final = re.compile(r"(formats|[a-z]{2})\.txt")
MAX_COLUMNS: Final = 100
FORMATS: Final = "formats"
"""The name of the file for what belongs to no language."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The words of one language."""

    language: str
    """ISO 639-1, or `FORMATS`."""
    sections: Mapping[str, Mapping[str, int]]
    """By section, each entry as it is written, and the number of its line."""

    def refuse(self, number: int, problem: str) -> NoReturn:
        """Raise the error that says what is wrong in a line."""
        raise InvalidFileError(
            f"words/{self.language}.txt:{number}: {problem}",
            hint="exitpolicy/complaint/language/words/README.txt says how these files are written",
        )


@dataclass(frozen=True, slots=True)
class Words:
    """Words of all languages that say the same, to look one in lower case up in."""

    whole: frozenset[str]
    begins: Mapping[str, tuple[str, ...]]
    """Beginnings of words by their first letter."""
    parts: re.Pattern[str]
    """What is found within a word."""

    def __contains__(self, word: str) -> bool:
        """Tell whether this is one of the words or begins as one does."""
        return word in self.whole or word.startswith(self.begins.get(word[:1], ()))


def parse(language: str, text: str) -> Vocabulary:
    """Read the text of a language's file.

    Raises InvalidFileError, which names the line, for all that README.txt does not allow, but for
    what `check` finds, which takes too long to be done whenever a complaint is read.
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
            vocabulary.refuse(number, f"{line!r} stands before the first section")
        for entry in line.split() if section in _FORMS else line.split(", "):
            _check_entry(vocabulary, number, section, entry)
            sections[section][entry] = number
    return vocabulary


def check(vocabulary: Vocabulary) -> None:
    """Try each entry by itself: that it can be found at all, and is not found everywhere.

    Raises InvalidFileError, which names the line.
    """
    for section, entries in vocabulary.sections.items():
        for entry, number in entries.items():
            if section in _FORMS:
                strange = [c for c in entry.strip("*") if not (c.isalnum() or _is_mark(c))]
                if strange:
                    vocabulary.refuse(number, f"{entry!r}: no word has a {strange[0]!r} in it")
                continue
            try:
                pattern = re.compile(entry)
            except re.error as error:
                vocabulary.refuse(number, f"{entry!r} is no regular expression: {error}")
            if _ENDLESS.search(entry):
                vocabulary.refuse(number, f"{entry!r}: * and + have no end, write {{0,20}}")
            if pattern.search(""):
                vocabulary.refuse(number, f"{entry!r} is found everywhere, even in nothing")
            if pattern.groups:
                vocabulary.refuse(number, f"{entry!r}: write (?:…) for (…)")


@cache
def vocabularies() -> tuple[Vocabulary, ...]:
    """Return the words of all languages, in the order of their names.

    Raises InvalidFileError.
    """
    folder = files("exitpolicy.complaint.language") / "words"
    named = sorted((file.name, file) for file in folder.iterdir() if _FILE.fullmatch(file.name))
    return tuple(
        parse(name.removesuffix(".txt"), file.read_text(encoding="utf-8")) for name, file in named
    )


def words(section: str) -> Words:
    """Return the words of a section, those of all languages together."""
    whole: set[str] = set()
    begins: dict[str, set[str]] = {}
    parts: set[str] = set()
    for entry in _entries(section):
        if not entry.endswith("*"):
            whole.add(entry)
        elif entry.startswith("*"):
            parts.add(entry[1:-1])
        else:
            begins.setdefault(entry[0], set()).add(entry[:-1])
    longest_first = sorted(parts, key=lambda part: (-len(part), part))
    return Words(
        frozenset(whole),
        {letter: tuple(some) for letter, some in begins.items()},
        re.compile("|".join(longest_first) or _NOTHING),
    )


def phrases(section: str) -> re.Pattern[str]:
    """Return what finds any phrase of a section, those of all languages, in lower-case text."""
    return _compiled(section)


def kinds() -> Iterator[tuple[Kind, int, re.Pattern[str]]]:
    """Yield the kinds in their order, each with its weights and what finds their phrases."""
    for kind in Kind:
        for weight in range(9, 0, -1):
            section = f"kind {kind} {weight}"
            if any(section in vocabulary.sections for vocabulary in vocabularies()):
                yield kind, weight, _compiled(section)


def frequent() -> dict[str, tuple[str, ...]]:
    """Return the languages whose frequent words are known, by those words."""
    table: dict[str, tuple[str, ...]] = {}
    for vocabulary in vocabularies():
        for word in vocabulary.sections.get("frequent", ()):
            table[word] = (*table.get(word, ()), vocabulary.language)
    return table


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
            vocabulary.refuse(number, "a blank at the end, which nobody sees: write [ ]")
        if not line[0].isspace():
            if found := _HEADER.fullmatch(line):
                of_words = found[1] in _FORMS
            phrase = not (found or of_words)
            lines.append((number, line))
        elif not phrase:
            vocabulary.refuse(number, "begins with a blank, but there is nothing to continue")
        else:
            lines[-1] = (lines[-1][0], lines[-1][1] + line.lstrip())
    return lines


def _check_section(vocabulary: Vocabulary, number: int, section: str) -> None:
    kind = _KIND.fullmatch(section)
    if not (section in _FORMS or section in _PHRASES or (kind and kind[1] in _KINDS)):
        vocabulary.refuse(number, f"there is no section [{section}]")
    if section in vocabulary.sections:
        vocabulary.refuse(number, f"a second section [{section}]")
    if section == "frequent" and vocabulary.language == FORMATS:
        vocabulary.refuse(number, "[frequent] is for languages")


def _check_entry(vocabulary: Vocabulary, number: int, section: str, entry: str) -> None:
    if entry in vocabulary.sections[section]:
        vocabulary.refuse(number, f"{entry!r} is in [{section}] already")
    if not entry or entry.endswith(","):
        vocabulary.refuse(number, "a comma, but nothing after it in this line")
    if entry != entry.lower() and (bare := _ESCAPE.sub("", entry)) != bare.lower():
        vocabulary.refuse(number, f"{entry!r} is not all in lower case")
    if section in _FORMS and "*" in entry:
        form = _PART if entry.startswith("*") else _BEGIN
        if form not in _FORMS[section] or not _STARRED.fullmatch(entry):
            vocabulary.refuse(number, f"{entry!r}: [{section}] does not hold {form}")


def _is_mark(character: str) -> bool:
    """Tell whether this is a vowel or a tone above or below a letter, as Thai has them."""
    return unicodedata.category(character).startswith("M")


def _compiled(section: str) -> re.Pattern[str]:
    try:
        return re.compile("|".join(_entries(section)) or _NOTHING)
    except re.error:
        for vocabulary in vocabularies():
            check(vocabulary)
        raise


def _entries(section: str) -> Iterable[str]:
    """Return the entries of a section in all languages, each once."""
    return dict.fromkeys(
        entry for vocabulary in vocabularies() for entry in vocabulary.sections.get(section, ())
    )
