"""Merge ledgers, as a merge driver of git, with the blocks as units.

The merged text is parsed again and compared with the merged blocks. What only a person can decide
is written as a conflict.
"""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from exitpolicy.core.block import Blocks
from exitpolicy.core.errors import InvalidFileError
from exitpolicy.core.merging import merged
from exitpolicy.storage import files
from exitpolicy.storage.ledger_assembly import assembled, layout
from exitpolicy.storage.ledger_conflicts import Conflict, not_merged, with_conflicts
from exitpolicy.storage.ledger_edit import edited
from exitpolicy.storage.ledger_file import MAX_BYTES
from exitpolicy.storage.ledger_text import Ledger, Source, parse_source, render


class Result(NamedTuple):
    """A merged ledger."""

    content: bytes
    conflicts: tuple[Conflict, ...]
    added: int
    """Blocks that ours did not have."""
    changed: int
    """Blocks of ours that are others now."""
    removed: int
    """Blocks of ours that are gone."""
    remarks: tuple[str, ...] = ()
    """What was not as it should be, and did not stop the merge."""


class Unreadable(NamedTuple):
    """A merge that could not be made, because a side is not a valid ledger."""

    content: bytes
    """The text of ours below a conflict, which keeps it from being taken for the result."""
    error: InvalidFileError


def merge_files(name: str, base: Path, ours: Path, theirs: Path) -> Result | Unreadable:
    """Merge two ledger files as `merge` does, and write the result to the file of ours.

    Until then, that file is not a valid ledger: a merge that is killed is not taken for one that
    kept ours. Raises InvalidFileError if it cannot be read or written.
    """
    own = _read(ours)
    files.replace(ours, not_merged("the merge was interrupted", own), follow=True)
    result = _merge_with(name, base, own, theirs)
    if len(result.content) > MAX_BYTES:
        error = InvalidFileError(f"it would have {len(result.content) / 1e6:.0f} MB")
        result = _unreadable(name, "the result", own, error)
    files.replace(ours, result.content, follow=True)
    return result


def _merge_with(name: str, base: Path, own: bytes, theirs: Path) -> Result | Unreadable:
    contents = []
    for side, path in (("the base", base), ("theirs", theirs)):
        try:
            contents.append(_read(path))
        except InvalidFileError as error:
            return _unreadable(name, side, own, error)
    return merge(name, contents[0], own, contents[1])


def _read(path: Path) -> bytes:
    try:
        return files.read(path, "ledger", limit=MAX_BYTES)
    except FileNotFoundError as error:
        raise InvalidFileError(f"{path}: there is no such file") from error


def merge(name: str, base: bytes, ours: bytes, theirs: bytes) -> Result | Unreadable:
    """Merge the texts of two ledgers with a common ancestor; `name` is the file's, for messages.

    An empty text has no blocks: git gives it where a side has no file. A base that is no valid
    ledger is taken for one without blocks, so that nothing of either side is lost.
    """
    remarks: list[str] = []
    try:
        ancestor = _source(name, base)
    except InvalidFileError as error:
        remarks.append(f"the common ancestor is not a valid ledger, and is left out: {error}")
        ancestor = _source(name, b"")
    sides: list[Source] = []
    for side, content in (("ours", ours), ("theirs", theirs)):
        try:
            sides.append(_source(name, content))
        except InvalidFileError as error:
            return _unreadable(name, side, ours, error)
    return _merge(name, ancestor, *sides)._replace(remarks=tuple(remarks))


def _source(name: str, content: bytes) -> Source:
    # All under one name: lines that two of them have are read once.
    return parse_source(name, content if content.strip() else render(Ledger(Blocks.of())))


def _unreadable(name: str, side: str, ours: bytes, error: InvalidFileError) -> Unreadable:
    place, _, rest = str(error).removeprefix(f"{name}:").partition(":")
    # Nothing of the message but the number: it may quote what a stranger wrote.
    line, text = (place, f"line {place}:{rest}") if place.isdecimal() else ("?", str(error))
    problem = InvalidFileError(
        f"{side} is not a valid ledger: {text}; nothing was merged",
        hint="correct it and merge again; git show :1:FILE is the base, :2:FILE ours, :3:FILE"
        " theirs",
    )
    why = f"{side} is not a valid ledger, see its line {line}"
    return Unreadable(not_merged(why, ours), problem)


def _merge(name: str, base: Source, ours: Source, theirs: Source) -> Result:
    sides = [source.ledger for source in (base, ours, theirs)]
    result = merged(*(ledger.blocks for ledger in sides))
    # Until the end, a block of either side keeps the place of each conflict.
    kept = [block for one in result.contradictions if (block := one.ours or one.theirs)]
    policies = _policies(*sides)
    ledger = replace(
        sides[1] if policies is None else policies, blocks=Blocks.of((*result.blocks, *kept))
    )
    content = edited(name, assembled(name, base, ours, theirs, ledger), ledger)
    conflicts: tuple[Conflict, ...] = ()
    if result.contradictions or policies is None:
        found = parse_source(name, content)
        if found.top.flow or (result.contradictions and layout(found) is None):
            # A conflict takes whole lines.
            found = parse_source(name, render(ledger))
        contradicted = (sides[0], sides[1], sides[2]) if policies is None else None
        text, conflicts = with_conflicts(found, result.contradictions, contradicted)
        content = text.encode()
    before, after = sides[1].blocks.by_destination, result.blocks.by_destination
    undecided = {one.destination for one in result.contradictions}
    return Result(
        content,
        conflicts,
        added=len(after.keys() - before.keys()),
        changed=sum(after[key] != before[key] for key in after.keys() & before.keys()),
        removed=len(before.keys() - after.keys() - undecided),
    )


def _policies(base: Ledger, ours: Ledger, theirs: Ledger) -> Ledger | None:
    """Return a ledger with the merged base policies; None if they contradict each other."""
    pairs = [(side.policy, dict(side.policies)) for side in (base, ours, theirs)]
    if pairs[1] == pairs[2] or pairs[2] == pairs[0]:
        return ours
    if pairs[1] == pairs[0]:
        return theirs
    if any(policy is not None for policy, _ in pairs):
        return None
    found: dict[str, str] = {}
    for relay in dict.fromkeys((*ours.policies, *theirs.policies)):
        before, left, right = (side.policies.get(relay) for side in (base, ours, theirs))
        if left not in {before, right} and right != before:
            return None
        policy = right if left == before else left
        if policy is not None:
            found[relay] = policy
    return replace(ours, policies=found)
