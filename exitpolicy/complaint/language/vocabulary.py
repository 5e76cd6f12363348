"""Load the words of all languages and build regular expressions from them.

`words/LANG.txt` holds the words of one language; `words/README.txt` explains the sections. The
files are part of the program. They are read once; the user's files are never read.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Final, NoReturn, cast

from exitpolicy.complaint.model import Kind
from exitpolicy.core.errors import InvalidFileError

_BEGINNING: Final = "the beginning of a word (`word*`)"
_PART: Final = "a part of a word (`*word*`)"
_WORD_SECTIONS: Final[Mapping[str, frozenset[str]]] = {
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
    "frequent": frozenset(),
    "address": frozenset({_BEGINNING, _PART}),
    "column": frozenset({_BEGINNING}),
    "other column": frozenset(),
    "month": frozenset(),
    "number": frozenset(),
    "zone": frozenset(),
    "ticket prefix": frozenset(),
    "no ticket": frozenset(),
    "dot": frozenset(),
}
"""Sections of words, and the forms that they allow besides whole words."""
_PHRASE_SECTIONS: Final = frozenset(
    [
        *("acting", "host", "exonerating", "after source", "after destination", "kind", "type"),
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
_ARGUMENTS: Final[Mapping[str, str]] = {
    "kind": f"{_KIND} [1-9]",
    "type": _KIND,
    "month": "(?:1[0-2]|[1-9])",
    "number": "[1-9][0-9]{0,2}",
    "zone": "-?(?:0[0-9]|1[0-4])[0-5][0-9]",
    "spelling": "[a-z0-9]{1,20}",
}
"""The argument after the name of a section that can occur several times in a file."""

_HEADER: Final = re.compile(r"\[([a-z0-9 -]+)\]")
_STARRED: Final = r"\*?[^*]+\*"
_ESCAPE: Final = r"\\."
_ENDLESS: Final = r"(?<!\\)[*+]|,\}"
_PLACEHOLDER: Final = r"<<([a-z ]+|[A-Z ]+)>>"
_NOTHING: Final = "(?!)"
"""A pattern that never matches."""
_BOUNDARY: Final = r"\b"
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


@dataclass(frozen=True, slots=True)
class Words:
    """Words with the same meaning, of all languages, for the lookup of lower-case words."""

    whole: frozenset[str]
    beginnings: Mapping[str, tuple[str, ...]]
    """Beginnings of words, grouped by first letter."""
    parts: re.Pattern[str]
    """Finds parts of words."""

    def __contains__(self, word: str) -> bool:
        """Tell whether this is one of the words, or begins with one of the beginnings."""
        return word in self.whole or word.startswith(self.beginnings.get(word[:1], ()))


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
        entries = line.split() if _family(section) in _WORD_SECTIONS else line.split(", ")
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
            if _family(section) in _WORD_SECTIONS:
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


@cache
def words(section: str) -> Words:
    """Return the words of a section, of all languages together."""
    whole: set[str] = set()
    beginnings: dict[str, set[str]] = {}
    parts: set[str] = set()
    for entry in _entries(section):
        if not entry.endswith("*"):
            whole.add(entry)
        elif entry.startswith("*"):
            parts.add(entry[1:-1])
        else:
            beginnings.setdefault(entry[0], set()).add(entry[:-1])
    longest_first = sorted(parts, key=lambda part: (-len(part), part))
    return Words(
        frozenset(whole),
        {letter: tuple(some) for letter, some in beginnings.items()},
        re.compile("|".join(longest_first) or _NOTHING),
    )


@cache
def numbered(section: str) -> Mapping[str, int]:
    """Return the words of `[section N]` with their number N: names of months, numbers, zones."""
    return {
        entry: int(name.rpartition(" ")[2])
        for vocabulary in vocabularies()
        for name, entries in vocabulary.sections.items()
        if name.startswith(section + " ")
        for entry in entries
    }


def spellings() -> Iterator[tuple[str, re.Pattern[str]]]:
    """Yield each word of `[spelling WORD]`, and a pattern that finds its other spellings."""
    names = {
        name for vocabulary in vocabularies() for name in vocabulary.sections
        if _family(name) == "spelling"
    }  # fmt: skip
    for name in sorted(names):
        yield name.partition(" ")[2], re.compile(_alternatives(name))


def kinds() -> Iterator[tuple[Kind, int, re.Pattern[str]]]:
    """Yield each kind, a weight, and a pattern that finds the phrases of this weight."""
    for kind in Kind:
        for weight in range(9, 0, -1):
            section = f"kind {kind} {weight}"
            if any(section in vocabulary.sections for vocabulary in vocabularies()):
                yield kind, weight, re.compile(_alternatives(section))


def types() -> Iterator[tuple[Kind, re.Pattern[str]]]:
    """Yield each kind with a pattern that finds the types of formal reports, in the files' order.

    The first pattern that matches decides.
    """
    for vocabulary in vocabularies():
        for name, entries in vocabulary.sections.items():
            if _family(name) == "type":
                yield Kind(name.partition(" ")[2]), re.compile("|".join(entries))


def frequent() -> dict[str, tuple[str, ...]]:
    """Return the frequent words, each with its languages."""
    table: dict[str, tuple[str, ...]] = {}
    for vocabulary in vocabularies():
        for word in vocabulary.sections.get("frequent", ()):
            table[word] = (*table.get(word, ()), vocabulary.language)
    return table


def pattern(source: str, flags: int | None = None) -> re.Pattern[str]:
    """Return a regular expression that is compiled at first use.

    `<<section>>` in the source becomes an alternation of the entries of that section, in all
    languages, the longest first. `<<month>>` covers `[month 1]` to `[month 12]`. `<<ZONE>>` stands
    for the same words in upper case. Without `flags`, text is matched in lower case, which is much
    faster than with `re.IGNORECASE`; the groups of a match are in lower case then.
    """
    return cast("re.Pattern[str]", _LazyPattern(source, flags))


class _LazyPattern:
    """The methods of `re.Pattern`, compiled when the first of them is called."""

    def __init__(self, source: str, flags: int | None) -> None:
        self._source = source
        self._flags = flags

    def __getattr__(self, name: str) -> object:
        """Compile, and keep the methods as attributes, so that this is called once."""
        if name.startswith("_"):
            raise AttributeError(name)
        expanded = re.sub(_PLACEHOLDER, _expanded, self._source)
        compiled = re.compile(expanded, self._flags or 0)
        for method in ("search", "match", "fullmatch", "finditer", "findall"):
            plain = getattr(compiled, method)
            setattr(self, method, plain if self._flags is not None else _on_lower_case(plain))
        self.sub = compiled.sub
        return getattr(self, name)


def _on_lower_case(method: Callable[..., object]) -> Callable[..., object]:
    return lambda text, *span: method(lower_case(text), *span)


@lru_cache(maxsize=64)
def lower_case(text: str) -> str:
    """Return text in lower case, with each character at its former position."""
    lower = text.lower()
    if len(lower) == len(text):
        return lower
    return "".join(low if len(low := c.lower()) == 1 else c for c in text)


def _expanded(placeholder: re.Match[str]) -> str:
    section = placeholder[1]
    if section.islower():
        return _alternatives(section)
    upper = {entry.upper() for entry in _entries(section.lower())}
    return "|".join(sorted(upper, key=lambda entry: (-len(entry), entry))) or _NOTHING


def _alternatives(section: str) -> str:
    """Return the entries of a section as the alternatives of a regular expression.

    Entries with the same first letter are grouped: a search then tries few alternatives at each
    place.
    """
    entries = _entries(section)
    if _family(section) in _WORD_SECTIONS:
        entries = map(_word_expression, entries)
    entries = sorted(entries, key=len, reverse=True)
    begun = [entry.removeprefix(_BOUNDARY) for entry in entries if _begins_a_word(entry)]
    rest = _by_first_letter(entry for entry in entries if not _begins_a_word(entry))
    # A boundary is tested once at each place, not once for each entry.
    bounded = [rf"\b(?:{'|'.join(_by_first_letter(begun))})"] if begun else []
    text = "|".join(bounded + rest) or _NOTHING
    try:
        re.compile(text)
    except re.error:
        for vocabulary in vocabularies():
            check(vocabulary)
        raise
    return text


def _begins_a_word(entry: str) -> bool:
    return entry.startswith(_BOUNDARY) and not _has_bare_bar(entry)


def _by_first_letter(entries: Iterable[str]) -> list[str]:
    """Return alternatives: those with the same first letter become one."""
    groups: dict[str, list[str]] = {}
    others: list[str] = []
    for entry in entries:
        # Neither "ab|cd", whose second alternative begins with another letter, nor "a?b".
        plain = entry[0].isalnum() and entry[1:2] not in set("?*+{") and not _has_bare_bar(entry)
        (groups.setdefault(entry[0], []) if plain else others).append(entry)
    return others + [
        some[0] if len(some) == 1 else f"{letter}(?:{'|'.join(entry[1:] for entry in some)})"
        for letter, some in groups.items()
    ]


def _has_bare_bar(entry: str) -> bool:
    """Tell whether a regular expression has a `|` outside of brackets."""
    depth = 0
    for character in re.sub(_ESCAPE, "", entry):
        depth += (character in "([") - (character in ")]")
        if character == "|" and depth == 0:
            return True
    return False


def _word_expression(entry: str) -> str:
    """Return a regular expression for an entry of a section of words."""
    text = entry.strip("*")
    return rf"{text}\w{{0,20}}" if entry.endswith("*") else text


def _entries(section: str) -> Iterable[str]:
    """Return the entries of a section in all languages, each once.

    `month` stands for all of `month 1` to `month 12`.
    """
    family = section in _ARGUMENTS
    return dict.fromkeys(
        entry
        for vocabulary in vocabularies()
        for name, entries in vocabulary.sections.items()
        if name == section or (family and name.startswith(section + " "))
        for entry in entries
    )


def _family(section: str) -> str:
    """Return the name of a section without its argument: `month` for `month 1`."""
    name = section.partition(" ")[0]
    return name if name in _ARGUMENTS else section


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
                of_words = _family(found[1]) in _WORD_SECTIONS
            phrase = not (found or of_words)
            lines.append((number, line))
        elif not phrase:
            vocabulary.refuse(number, "begins with a blank, but there is no phrase to continue")
        else:
            lines[-1] = (lines[-1][0], lines[-1][1] + line.lstrip())
    return lines


def _check_section(vocabulary: Vocabulary, number: int, section: str) -> None:
    family = _family(section)
    known = family in _WORD_SECTIONS or family in _PHRASE_SECTIONS
    argument = section.removeprefix(family).lstrip()
    if not known or not re.fullmatch(_ARGUMENTS.get(family, ""), argument):
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
    if entry != entry.lower() and (bare := re.sub(_ESCAPE, "", entry)) != bare.lower():
        vocabulary.refuse(number, f"{entry!r} is not in lower case")
    if "*" in entry and section in _WORD_SECTIONS:
        form = _PART if entry.startswith("*") else _BEGINNING
        if form not in _WORD_SECTIONS[section] or not re.fullmatch(_STARRED, entry):
            vocabulary.refuse(number, f"{entry!r}: [{section}] does not allow {form}")


def _is_mark(character: str) -> bool:
    """Tell whether this is a vowel or tone mark above or below a letter, as in Thai."""
    return unicodedata.category(character).startswith("M")
