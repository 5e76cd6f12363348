"""Conflicts in the text of a merged ledger, in the form of git with merge.conflictStyle diff3.

Every reader of the ledger refuses their marks (`ledger_text.refuse_conflicts`).
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from exitpolicy.core.merging import Contradiction
from exitpolicy.storage.ledger_edit import line_end, lines_of
from exitpolicy.storage.ledger_text import Ledger, Source, policy_yaml, render_block

_NOT_MERGED: Final = """\
<<<<<<< {why}; below is ours
||||||| nothing is merged: git show :1:FILE is the base, :2:FILE ours, :3:FILE theirs
=======
>>>>>>> correct both, merge them by hand, and remove these four lines
"""
"""Stands above ours where nothing is merged. Git leaves ours alone in the file then, and whoever
commits all files would lose theirs."""


class Conflict(NamedTuple):
    """What a person must decide."""

    line: int
    """Where it begins in the merged text."""
    subject: str
    """The destination, or `policy`."""
    text: str
    """What contradicts what."""


def not_merged(why: str, ours: bytes) -> bytes:
    """Return the text of ours below a conflict that says why nothing is merged."""
    return _NOT_MERGED.format(why=why).encode() + ours.removeprefix(b"\xef\xbb\xbf")


def with_conflicts(
    found: Source,
    contradictions: Sequence[Contradiction],
    policies: tuple[Ledger, Ledger, Ledger] | None,
) -> tuple[str, tuple[Conflict, ...]]:
    """Return a text with a conflict in the place of each contradicted block.

    `found` is the merged text, with a block of either side in each of these places; `policies` are
    base, ours and theirs, if their base policies contradict each other.
    """
    parts = _conflict_parts(found, contradictions)
    if policies is not None:
        parts.append(_policy_conflict(found, *policies))
    return _written(found.text, sorted(parts, key=lambda part: part.start))


class _ConflictPart(NamedTuple):
    """A place in the text, and the conflict that is written there."""

    start: int
    end: int
    subject: str
    text: str
    sides: tuple[str, str, str]
    """The lines of ours, of the base and of theirs."""

    def lines(self) -> str:
        """Return the conflict, with its marks."""
        ours, base, theirs = self.sides
        return (
            f"<<<<<<< ours: {self.text}\n{ours}\n||||||| base\n{base}\n=======\n{theirs}\n"
            ">>>>>>> theirs\n"
        )


def _conflict_parts(found: Source, contradictions: Sequence[Contradiction]) -> list[_ConflictPart]:
    by_destination = {one.destination: one for one in contradictions}
    parts = []
    for entry in found.entries:
        one = by_destination.get(entry.block.destination)
        if one is not None:
            start, end = lines_of(found.text, entry)
            indent = " " * (len(found.text[start:end]) - len(found.text[start:end].lstrip(" ")))
            sides = tuple(
                f"{indent}# no block for {one.destination}"
                if block is None
                else f"{indent}- {render_block(block)}"
                for block in (one.ours, one.base, one.theirs)
            )
            parts.append(_part(start, end, str(one.destination), one.text, sides))
    return parts


def _policy_conflict(found: Source, base: Ledger, ours: Ledger, theirs: Ledger) -> _ConflictPart:
    top = found.top
    if "policy" in top.keys:
        start, end = top.keys["policy"], line_end(found.text, top.values["policy"].end)
    else:
        start = end = line_end(found.text, top.values["version"].end)
    sides = tuple(
        "# no base policy" if (yaml := policy_yaml(side)) is None else f"policy: {yaml}"
        for side in (ours, base, theirs)
    )
    return _part(start, end, "policy", "both sides changed the base policy", sides)


def _part(start: int, end: int, subject: str, text: str, sides: tuple[str, ...]) -> _ConflictPart:
    ours, base, theirs = sides
    return _ConflictPart(start, end, subject, text, (ours, base, theirs))


def _written(text: str, parts: Sequence[_ConflictPart]) -> tuple[str, tuple[Conflict, ...]]:
    pieces: list[str] = []
    conflicts: list[Conflict] = []
    at, line = 0, 1
    for part in parts:
        before = text[at : part.start]
        if before and not before.endswith("\n"):
            before += "\n"
        line += before.count("\n")
        conflicts.append(Conflict(line, part.subject, part.text))
        pieces += (before, part.lines())
        line += part.lines().count("\n")
        at = part.end
    return "".join([*pieces, text[at:]]), tuple(conflicts)
