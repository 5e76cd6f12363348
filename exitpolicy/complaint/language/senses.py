"""The words by which reports tell who did it from whom it was done to.

Words, not senders: a word counts the same whoever writes it. The words themselves lie in a file
for each language, see `vocabulary`.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from exitpolicy.complaint.language import vocabulary
from exitpolicy.complaint.roles.scores import Force, Role


@dataclass(frozen=True, slots=True)
class Sense:
    """What a word says about the address that it stands beside."""

    role: Role
    force: Force


LANGUAGES: Final = frozenset(
    ["en", "de", "it", "fr", "es", "pt", "nl", "pl", "cs", "sk", "sv", "da", "no", "fi", "hu",
     "ro", "tr", "ru", "uk", "bg", "el", "id", "hr", "sl", "lt", "ja", "zh", "ko"]
)  # fmt: skip
"""Those whose words are known well enough that a sentence without any of them says nothing."""
MAX_SENTENCE: Final = 600
"""Characters of a sentence that are searched for words: what is longer is none."""
# Two words in two languages: what they say directly before an address, and further off.
_TWOFOLD: Final = {
    "su": (Role.DESTINATION, Sense(Role.SOURCE, Force.OWNER)),  # Italian on, Spanish your
    "do": (Role.DESTINATION, Sense(Role.SOURCE, Force.PREPOSITION)),  # Polish to, Portuguese of
    "an": (Role.DESTINATION, None),  # German to, English article
    "a": (Role.DESTINATION, None),  # Italian to, English article
    "à": (Role.DESTINATION, None),
    "attacking": (Role.DESTINATION, None),
    "scanning": (Role.DESTINATION, None),
    "probing": (Role.DESTINATION, None),
}
_OUR: Final = vocabulary.words("our")
_YOUR: Final = vocabulary.words("your")
_FROM: Final = vocabulary.words("from")
_TO: Final = vocabulary.words("to")
_FILLERS: Final = vocabulary.words("filler").whole
_SOURCE: Final = vocabulary.words("source")
_DESTINATION: Final = vocabulary.words("destination")
_BREAKS: Final = vocabulary.words("breaks")
_STANDBY: Final = vocabulary.words("standby")
_ACTING: Final = vocabulary.phrases("acting")
_HOST: Final = vocabulary.phrases("host")
_EXONERATED: Final = vocabulary.phrases("exonerating")

_PLAIN: Final[tuple[tuple[frozenset[str], Sense | None], ...]] = (
    (_YOUR.whole, Sense(Role.SOURCE, Force.OWNER)),
    (_OUR.whole, Sense(Role.DESTINATION, Force.OWNER)),
    (_TO.whole, Sense(Role.DESTINATION, Force.PREPOSITION)),
    (_FROM.whole, Sense(Role.SOURCE, Force.PREPOSITION)),
    (_FILLERS, None),
)
# A word that is in several of these is what the first says.
_LABELS: Final = (
    (vocabulary.words("bystander"), Sense(Role.BYSTANDER, Force.LABEL)),
    (vocabulary.words("weak destination"), Sense(Role.DESTINATION, Force.WORD)),
    (_DESTINATION, Sense(Role.DESTINATION, Force.LABEL)),
    (vocabulary.words("weak source"), Sense(Role.SOURCE, Force.WORD)),
    (_SOURCE, Sense(Role.SOURCE, Force.LABEL)),
)

_CJK: Final = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_CJK_SENSES: Final = (
    (_SOURCE.parts, Sense(Role.SOURCE, Force.LABEL)),
    (_DESTINATION.parts, Sense(Role.DESTINATION, Force.LABEL)),
    (_YOUR.parts, Sense(Role.SOURCE, Force.OWNER)),
    (_OUR.parts, Sense(Role.DESTINATION, Force.OWNER)),
    (_FROM.parts, Sense(Role.SOURCE, Force.PREPOSITION)),
    (_TO.parts, Sense(Role.DESTINATION, Force.PREPOSITION)),
)
_ASIDE: Final = re.compile(r"\s?(?:（[^）]{0,20}）)?\s?")  # noqa: RUF001 - Japanese brackets
_AFTER: Final = (
    (vocabulary.phrases("after source"), Role.SOURCE),
    (vocabulary.phrases("after destination"), Role.DESTINATION),
)

WORD: Final = re.compile(
    r"(?:[^\W_]|[\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u064b-\u0652\u05b0-\u05c2])+"
)
"""Letters and digits; in Thai, Arabic and Hebrew also the vowels that are marks of their own."""
_CAMEL: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")
_JOINED: Final = re.compile(r"\bname[ -]servers?\b|\bc&c\b|\bcommand (?:and|&) control\b")


def _join(found: re.Match[str]) -> str:
    return "nameserver" if found[0].startswith("name") else "c2"


def words_of(text: str) -> list[str]:
    """Split into words in lower case; `dstIp`, `dst_ip` and `dst-ip` are two words each."""
    return WORD.findall(_JOINED.sub(_join, _CAMEL.sub(" ", text).lower()))


def sense_of(word: str, *, adjacent: bool = False) -> Sense | None:
    """Return what a lower-case word says, or None for one that says nothing.

    `adjacent`: whether the word stands directly before the address.
    """
    if word in _TWOFOLD:
        near, far = _TWOFOLD[word]
        return Sense(near, Force.PREPOSITION) if adjacent else far
    for plain, sense in _PLAIN:
        if word in plain:
            return sense
    return _cjk_sense(word) if _CJK.search(word) else label_of(word)


@lru_cache(maxsize=8192)
def label_of(word: str) -> Sense | None:
    """Return what a word says as the name of a column or a key."""
    for listed, sense in _LABELS:
        if word in listed:
            return sense
    return _cjk_sense(word) if _CJK.search(word) else None


_SYSTEM: Final = re.compile(r"asn?\d{3,6}\Z")


def breaks_off(word: str) -> bool:
    """Tell whether a word separates an address from what was said before it.

    In "our sensor detected A", `our` is not about A.
    """
    return word in _BREAKS


def stands_by(word: str) -> bool:
    """Tell whether a word is for a host that is often named for another reason than an attack."""
    return word in _STANDBY


_LINKS: Final = re.compile(r"\bhttps?://[^\d\s]\S*")


def is_about_acting(text: str) -> bool:
    """Tell whether a sentence speaks of something that was done to somebody."""
    return _ACTING.search(_LINKS.sub(" ", text[:MAX_SENTENCE].lower())) is not None


def is_about_host(text: str) -> bool:
    """Tell whether a sentence speaks of somebody's machine or site."""
    return _HOST.search(text.lower()) is not None


def is_ours(word: str) -> bool:
    """Tell whether a word calls what follows the reporter's own."""
    return word in _OUR.whole


def is_exonerating(clause: str) -> bool:
    """Tell whether a clause says that what it names has no part in the matter."""
    return _EXONERATED.search(clause.lower()) is not None


def is_agent(word: str) -> bool:
    """Tell whether a word says who did something or through whom: `by`, `from`, `via`."""
    return word in _FROM.whole


def is_filler(word: str) -> bool:
    """Tell whether a word says nothing about the address that it stands beside."""
    return (
        word in _FILLERS
        or word in _TWOFOLD
        or word.isdigit()
        or len(word) == 1
        or bool(_SYSTEM.match(word))
    )


def sense_after(text: str) -> Role | None:
    """Return what a particle directly after an address says, in languages that put it there."""
    aside = _ASIDE.match(text)
    for pattern, role in _AFTER:
        if aside and pattern.match(text, aside.end()):
            return role
    return None


def _cjk_sense(word: str) -> Sense | None:
    """Return the sense of the last telling part of words that are written without spaces."""
    best: tuple[int, Sense] | None = None
    for pattern, sense in _CJK_SENSES:
        for found in pattern.finditer(word):
            if best is None or found.end() > best[0]:
                best = (found.end(), sense)
    return best[1] if best else None
