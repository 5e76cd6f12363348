"""Classify what a report complains about, by its phrases; those of the subject count most."""

from functools import cache
from typing import Final

from exitpolicy.complaint.language import vocabulary
from exitpolicy.complaint.model import Kind

_SUBJECT_WEIGHT: Final = 4
MAX_CHARACTERS: Final = 20_000
_MAX_REPETITIONS: Final = 4
"""Maximum matches of a pattern that count: logs repeat themselves."""

_patterns = cache(lambda: tuple(vocabulary.kinds()))


def kind_of(subject: str, text: str) -> Kind:
    """Return the kind with the highest score; `UNKNOWN` if no phrase matches."""
    scores: dict[Kind, int] = {}
    subject, text = subject.lower(), text[:MAX_CHARACTERS].lower()
    for kind, weight, pattern in _patterns():
        count = 0
        for count, _ in enumerate(pattern.finditer(text), 1):
            if count >= _MAX_REPETITIONS:
                break
        score = weight * count
        if pattern.search(subject):
            score += weight * _SUBJECT_WEIGHT
        if score:
            scores[kind] = scores.get(kind, 0) + score
    if not scores:
        return Kind.UNKNOWN
    return max(scores, key=lambda kind: scores[kind])
