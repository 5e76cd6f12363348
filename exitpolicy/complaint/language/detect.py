"""Which language the prose of a report is in: by its script, and by its most frequent words."""

import re
from typing import Final

from exitpolicy.complaint.language import vocabulary

_ORDER: Final = "en de it fr es pt nl pl cs sv da no fi hu ro tr ru uk id vi lt lv et sk sl hr bg"
_PLACE: Final = {code: place for place, code in enumerate(_ORDER.split())}
"""Of languages that fit equally well it is the first of these, else the first by name."""
_TABLE: Final = {
    word: tuple(sorted(codes, key=lambda code: _PLACE.get(code, len(_PLACE))))
    for word, codes in vocabulary.frequent().items()
}

_WORD: Final = re.compile(r"[^\W\d_]{1,20}")
_KANA: Final = re.compile(r"[\u3040-\u30ff]")
_HAN: Final = re.compile(r"[\u4e00-\u9fff]")
_SCRIPTS: Final = (
    ("ko", re.compile(r"[\uac00-\ud7a3]")),
    ("el", re.compile(r"[\u0370-\u03ff]")),
    ("he", re.compile(r"[\u0590-\u05ff]")),
    ("ar", re.compile(r"[\u0600-\u06ff]")),
    ("th", re.compile(r"[\u0e00-\u0e7f]")),
)
_UKRAINIAN: Final = re.compile(r"[іїєґІЇЄҐ]")
_KAZAKH: Final = re.compile(r"[әғқңөұүһӘҒҚҢӨҰҮҺ]")
_CYRILLIC: Final = re.compile(r"[\u0400-\u04ff]")
MIN_WORDS: Final = 2
"""Fewer frequent words than these tell no language."""
MAX_READ: Final = 20_000


def language_of(text: str) -> str | None:
    """Return the ISO 639-1 code of the language that most of a text is in."""
    text = text[:MAX_READ]
    kana, han = len(_KANA.findall(text)), len(_HAN.findall(text))
    scores: dict[str, float] = {}
    if kana >= 8:
        scores["ja"] = (kana + han) / 4
    elif han >= 8:
        scores["zh"] = han / 3
    for code, pattern in _SCRIPTS:
        count = len(pattern.findall(text))
        if count >= 12:
            scores[code] = count / 6
    _count_words(text, scores)
    cyrillic = len(_CYRILLIC.findall(text))
    if cyrillic >= 30:
        if len(_KAZAKH.findall(text)) * 20 > cyrillic:
            scores["kk"] = cyrillic / 6
        elif len(_UKRAINIAN.findall(text)) * 30 > cyrillic:
            scores["uk"] = scores.get("uk", 0) + cyrillic / 10
    if cyrillic >= 30 and not scores:
        return "ru"
    if not scores:
        return None
    best = max(scores, key=lambda code: scores[code])
    return best if scores[best] >= MIN_WORDS else None


def _count_words(text: str, scores: dict[str, float]) -> None:
    """Add up the frequent words of each language; a word of many languages counts less."""
    for word in _WORD.findall(text.lower()):
        codes = _TABLE.get(word, ())
        for code in codes:
            scores[code] = scores.get(code, 0) + 1 / len(codes) ** 0.5
