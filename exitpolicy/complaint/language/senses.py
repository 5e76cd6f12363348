"""Tell the role of an address from the words beside it.

There are no rules for single senders: a word means the same whoever writes it.
"""

import re
from functools import cache, lru_cache
from typing import Final

from exitpolicy.complaint.language import vocabulary
from exitpolicy.complaint.language.vocabulary import pattern, words
from exitpolicy.complaint.language.word_files import vocabularies
from exitpolicy.complaint.roles.scores import Role, Score, Sense

MIN_ENTRIES: Final = 30
"""Minimum entries in the file of a language to read its sentences."""
MAX_SENTENCE: Final = 600
"""Maximum characters of a sentence; the rest of a longer line is not searched for words."""

# The first section that contains a word gives its sense in a sentence.
_IN_SENTENCES: Final = (
    ("your", Sense(Role.SOURCE, Score.OWNER)),
    ("our", Sense(Role.DESTINATION, Score.OWNER)),
    ("to", Sense(Role.DESTINATION, Score.PREPOSITION)),
    ("from", Sense(Role.SOURCE, Score.PREPOSITION)),
    ("filler", None),
)
# The first section that contains a word gives its sense as a key or a column name.
_AS_LABELS: Final = (
    ("bystander", Sense(Role.BYSTANDER, Score.LABEL)),
    ("weak destination", Sense(Role.DESTINATION, Score.WORD)),
    ("destination", Sense(Role.DESTINATION, Score.LABEL)),
    ("weak source", Sense(Role.SOURCE, Score.WORD)),
    ("source", Sense(Role.SOURCE, Score.LABEL)),
)
_UNSPACED: Final = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
"""A letter of a script without spaces between words: Thai, Japanese, Chinese; and Korean."""
_PARTS: Final = (
    ("source", Sense(Role.SOURCE, Score.LABEL)),
    ("destination", Sense(Role.DESTINATION, Score.LABEL)),
    ("your", Sense(Role.SOURCE, Score.OWNER)),
    ("our", Sense(Role.DESTINATION, Score.OWNER)),
    ("from", Sense(Role.SOURCE, Score.PREPOSITION)),
    ("to", Sense(Role.DESTINATION, Score.PREPOSITION)),
)
_REMARK: Final = re.compile(r"\s?(?:（[^）]{0,20}）)?\s?")  # noqa: RUF001 - Japanese brackets
_AFTER: Final = (
    (pattern(r"<<after source>>"), Role.SOURCE),
    (pattern(r"<<after destination>>"), Role.DESTINATION),
)
_ACTING: Final = pattern(r"<<acting>>", 0)
_HOST: Final = pattern(r"<<host>>", 0)
_EXONERATING: Final = pattern(r"<<exonerating>>", 0)
_LINK: Final = re.compile(r"\bhttps?://[^\d\s]\S*")
_AUTONOMOUS_SYSTEM: Final = re.compile(r"asn?\d{3,6}\Z")

WORD: Final = re.compile(
    r"(?:[^\W_]|[\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u064b-\u0652\u05b0-\u05c2])+"
)
"""Letters and digits, and the vowels that Thai, Arabic and Hebrew write as marks."""
_CAMEL_CASE: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")

_spellings = cache(lambda: tuple(vocabulary.spellings()))


def words_of(text: str) -> list[str]:
    """Split into words in lower case; `dstIp`, `dst_ip` and `dst-ip` are two words each."""
    text = _CAMEL_CASE.sub(" ", text).lower()
    for word, spelling in _spellings():
        text = spelling.sub(word, text)
    return WORD.findall(text)


def sense_of(word: str, *, adjacent: bool = False) -> Sense | None:
    """Return the sense of a lower-case word in a sentence; None if it has none.

    `adjacent`: whether the word stands directly before the address.
    """
    return _adjacent_sense(word) if adjacent else _sense(word)


@lru_cache(maxsize=8192)
def _adjacent_sense(word: str) -> Sense | None:
    if word in words("directly to").whole:
        return Sense(Role.DESTINATION, Score.PREPOSITION)
    return _sense(word)


@lru_cache(maxsize=8192)
def _sense(word: str) -> Sense | None:
    for section, sense in _IN_SENTENCES:
        if word in words(section).whole:
            return sense
    if word in words("directly to").whole:
        return None
    return _sense_of_parts(word) if _UNSPACED.search(word) else label_of(word)


@lru_cache(maxsize=8192)
def label_of(word: str) -> Sense | None:
    """Return the sense of a lower-case word as a key or a column name; None if it has none."""
    for section, sense in _AS_LABELS:
        if word in words(section):
            return sense
    return _sense_of_parts(word) if _UNSPACED.search(word) else None


def breaks_off(word: str) -> bool:
    """Tell whether a word separates an address from the words before it.

    In "our sensor detected A", `our` is not about A.
    """
    return word in words("breaks")


def stands_by(word: str) -> bool:
    """Tell whether a word names a host that reports often mention although nobody attacked it."""
    return word in words("standby")


def is_about_acting(text: str) -> bool:
    """Tell whether a sentence says that somebody did something to somebody."""
    return _ACTING.search(_LINK.sub(" ", text[:MAX_SENTENCE].lower())) is not None


def is_about_host(text: str) -> bool:
    """Tell whether a sentence mentions somebody's machine or site."""
    return _HOST.search(text.lower()) is not None


def is_ours(word: str) -> bool:
    """Tell whether a word says that something is the reporter's own."""
    return word in words("our").whole


def is_exonerating(clause: str) -> bool:
    """Tell whether a clause says that its subject has no part in the incident."""
    return _EXONERATING.search(clause.lower()) is not None


def is_agent(word: str) -> bool:
    """Tell whether a word introduces who did something: `by`, `from`, `via`."""
    return word in words("from").whole


def is_record(word: str) -> bool:
    """Tell whether a word means an excerpt of a log."""
    return word in words("record").whole


def is_filler(word: str) -> bool:
    """Tell whether a word says nothing about the address beside it."""
    return (
        word in words("filler").whole
        or word in words("directly to").whole
        or word.isdigit()
        or len(word) == 1
        or _AUTONOMOUS_SYSTEM.match(word) is not None
    )


def sense_after(text: str) -> Role | None:
    """Return the role that a particle directly after an address gives it (Japanese, Korean)."""
    remark = _REMARK.match(text)
    for particle, role in _AFTER:
        if remark and particle.match(text, remark.end()):
            return role
    return None


def is_known(language: str) -> bool:
    """Tell whether enough words of a language are known to read its sentences.

    If so, a sentence in this language that has no known word says nothing about roles.
    """
    return any(
        language == one.language and sum(map(len, one.sections.values())) >= MIN_ENTRIES
        for one in vocabularies()
    )


def _sense_of_parts(word: str) -> Sense | None:
    """Return the sense of the last part, with a sense, of words written without spaces."""
    best: tuple[int, Sense] | None = None
    for section, sense in _PARTS:
        for found in words(section).parts.finditer(word):
            if best is None or found.end() > best[0]:
                best = (found.end(), sense)
    return best[1] if best else None
