"""Look up words of all languages, and build regular expressions from them."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Final, cast

from exitpolicy.complaint.language.word_files import (
    FAMILIES,
    WORD_SECTIONS,
    family_of,
    vocabularies,
)
from exitpolicy.complaint.model import Kind

_PLACEHOLDER: Final = r"<<([a-z ]+|[A-Z ]+)>>"
_NOTHING: Final = "(?!)"
"""A pattern that never matches."""
_BOUNDARY: Final = r"\b"


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
        if family_of(name) == "spelling"
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


def family(name: str) -> Iterator[tuple[str, re.Pattern[str]]]:
    """Yield the argument and a pattern of each section of a family, in the files' order.

    They are sections of phrases whose first match decides, such as `[type ddos]`.
    """
    for vocabulary in vocabularies():
        for section, entries in vocabulary.sections.items():
            if family_of(section) == name:
                yield section.partition(" ")[2], re.compile("|".join(entries))


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
    if family_of(section) in WORD_SECTIONS:
        entries = map(_word_expression, entries)
    entries = sorted(entries, key=len, reverse=True)
    begun = [entry[len(_BOUNDARY) :] for entry in entries if entry.startswith(_BOUNDARY)]
    rest = _by_first_letter(entry for entry in entries if not entry.startswith(_BOUNDARY))
    # A boundary is tested once at each place, not once for each entry.
    bounded = [rf"\b(?:{'|'.join(_by_first_letter(begun))})"] if begun else []
    return "|".join(bounded + rest) or _NOTHING


def _by_first_letter(entries: Iterable[str]) -> list[str]:
    """Return alternatives: those with the same first letter become one."""
    groups: dict[str, list[str]] = {}
    others: list[str] = []
    for entry in entries:
        plain = entry[0].isalnum() and entry[1:2] not in set("?*+{")  # not "a?b"
        (groups.setdefault(entry[0], []) if plain else others).append(entry)
    return others + [
        some[0] if len(some) == 1 else f"{letter}(?:{'|'.join(entry[1:] for entry in some)})"
        for letter, some in groups.items()
    ]


def _word_expression(entry: str) -> str:
    """Return a regular expression for an entry of a section of words."""
    text = entry.strip("*")
    return rf"{text}\w{{0,20}}" if entry.endswith("*") else text


def _entries(section: str) -> Iterable[str]:
    """Return the entries of a section in all languages, each once.

    `month` stands for all of `month 1` to `month 12`.
    """
    is_family = section in FAMILIES
    return dict.fromkeys(
        entry
        for vocabulary in vocabularies()
        for name, entries in vocabulary.sections.items()
        if name == section or (is_family and name.startswith(section + " "))
        for entry in entries
    )
