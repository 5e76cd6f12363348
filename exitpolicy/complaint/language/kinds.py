"""What a report complains about, by the words in it, those of the subject counting most."""

from typing import Final

from exitpolicy.complaint.language import vocabulary
from exitpolicy.complaint.model import Kind

_SUBJECT_WEIGHT: Final = 4
MAX_READ: Final = 40_000
_CAP: Final = 4
"""Repetitions of one word beyond this say nothing more: logs repeat themselves."""
_PATTERNS: Final = tuple(vocabulary.kinds())


def kind_of(subject: str, text: str) -> Kind:
    """Return what a report complains about; `UNKNOWN` where its words do not tell."""
    scores: dict[Kind, int] = {}
    subject, text = subject.lower(), text[:MAX_READ].lower()
    for kind, weight, pattern in _PATTERNS:
        count = 0
        for count, _ in enumerate(pattern.finditer(text), 1):
            if count >= _CAP:
                break
        score = weight * count
        if pattern.search(subject):
            score += weight * _SUBJECT_WEIGHT
        if score:
            scores[kind] = scores.get(kind, 0) + score
    if not scores:
        return Kind.UNKNOWN
    return max(scores, key=lambda kind: scores[kind])
