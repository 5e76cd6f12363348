"""Detect the language of a text, by its letters and by its most frequent words."""

import re
from collections import Counter
from functools import cache
from typing import Final

from exitpolicy.complaint.language import vocabulary
from exitpolicy.complaint.language.word_files import vocabularies

MIN_SCORE: Final = 2
"""The score of about two frequent words; with a lower score the language is unknown."""
MIN_ALONE: Final = 1
"""Minimum score if no other language has more than half of it."""
MAX_CHARACTERS: Final = 20_000
_MIN_LETTERS: Final = 12
"""Minimum letters of a script in a text, before the script counts."""
_LETTERS_PER_WORD: Final = 4
_OWN_SHARE: Final = 30
"""If a language has letters of its own, at least one letter in this many must be one of them."""
_WORD: Final = re.compile(r"[^\W\d_]{1,20}")


def language_of(text: str) -> str | None:
    """Return the ISO 639-1 code of the language of most of a text; None if it is unknown."""
    scores = _scores(text)
    if not scores:
        return None
    best = max(scores, key=lambda code: scores[code])
    others = max((score for code, score in scores.items() if code != best), default=0.0)
    is_alone = scores[best] >= MIN_ALONE and others * 2 <= scores[best]
    return best if scores[best] >= MIN_SCORE or is_alone else None


def language_score(text: str) -> float:
    """Return a score for how surely a text is in a known language; 0 if no part of it is known."""
    return max(_by_frequent_words(text[:MAX_CHARACTERS].lower()).values(), default=0)


def _scores(text: str) -> dict[str, float]:
    """Return a score for each language that the text may be in."""
    text = text[:MAX_CHARACTERS].lower()
    scores = _by_frequent_words(text)
    if not text.isascii():
        for code, score in _by_letters(text, "script").items():
            scores[code] = scores.get(code, 0) + score
        scores = scores or _by_letters(text, "fallback script")
    return scores


def _by_letters(text: str, section: str) -> dict[str, float]:
    """Return a score for each language whose letters, and own letters, are in the text."""
    scores: dict[str, float] = {}
    for code, script, own in _scripts(section):
        count = len(script.findall(text))
        owned = len(own.findall(text)) if own else count
        if count >= _MIN_LETTERS and owned * _OWN_SHARE > count:
            scores[code] = (count + owned) / 2 / _LETTERS_PER_WORD
    return scores


def _by_frequent_words(text: str) -> dict[str, float]:
    """Return a score for each language; a word of many languages counts less."""
    scores: dict[str, float] = {}
    frequent = _frequent()
    for word, count in Counter(_WORD.findall(text)).items():
        codes = frequent.get(word, ())
        for code in codes:
            scores[code] = scores.get(code, 0) + count / len(codes) ** 0.5
    return scores


@cache
def _frequent() -> dict[str, tuple[str, ...]]:
    """Return the languages of each frequent word, the language with the most words first.

    Of two languages with the same score, `max` takes the one whose words come first.
    """
    table = vocabulary.frequent()
    size = Counter(code for codes in table.values() for code in codes)
    return {
        word: tuple(sorted(codes, key=lambda code: -size[code])) for word, codes in table.items()
    }


@cache
def _scripts(section: str) -> list[tuple[str, re.Pattern[str], re.Pattern[str] | None]]:
    """Return the languages that have this section: code, pattern, pattern of own letters."""
    found = []
    for words in vocabularies():
        own = words.sections.get("own letters")
        if script := words.sections.get(section):
            pattern = re.compile("|".join(script))
            found.append((words.language, pattern, re.compile("|".join(own)) if own else None))
    return found
