"""The part of `apply` that takes the ledger of a fleet."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from exitpolicy.cli import output, render
from exitpolicy.cli.arguments import read_destinations
from exitpolicy.cli.output import note, say, say_json

if TYPE_CHECKING:
    from exitpolicy.core.block import Block
    from exitpolicy.operations.apply import Applied
    from exitpolicy.operations.change import Options
    from exitpolicy.operations.fleet_ledger import Change, TakeResult
    from exitpolicy.operations.host import Host


def take(host: "Host", file: str, only: Sequence[str], options: "Options") -> "TakeResult":
    """Take the ledger of a fleet. Raises what `fleet_ledger.take` raises."""
    from exitpolicy.operations import fleet_ledger

    theirs = fleet_ledger.read(file)
    with output.progress(output.TOR_READS):
        return fleet_ledger.take(host, theirs, read_destinations(only), options)


def applied_of(taken: "TakeResult", *, as_json: bool) -> "Applied | int":
    """Write what was taken, and return what was observed; if nothing was, the exit code."""
    from exitpolicy.operations.change import RecordedOnly

    result = taken.result
    if isinstance(result, RecordedOnly):
        if as_json:
            say_json(**as_keys(taken), error=output.error_json(result.failure))
        else:
            _say_changes(taken, dry_run=False)
        output.report(result.failure)
        return result.failure.exit_code
    if not as_json:
        _say_changes(taken, dry_run=result.applied.is_preview)
    return result.applied


def as_keys(taken: "TakeResult") -> dict[str, Any]:
    """Return the keys of the JSON."""
    return {
        "taken": [
            {"before": _json(one.before), "after": _json(one.after)} for one in taken.changes
        ],
        "differences": [
            {"destination": str(one.destination), "text": one.text} for one in taken.differences
        ],
        "remarks": [output.error_json(remark) for remark in taken.remarks],
    }


def changes_json(changes: "Sequence[Change]") -> list[dict[str, Any]]:
    """Return changed blocks as JSON."""
    return [{"before": _json(one.before), "after": _json(one.after)} for one in changes]


def _json(block: "Block | None") -> dict[str, Any] | None:
    if block is None:
        return None
    return {**render.block_json(block), "source": block.source, "ended": block.ended}


def _say_changes(taken: "TakeResult", *, dry_run: bool) -> None:
    say_changes(taken.changes, "ledger", dry_run=dry_run)
    for difference in taken.differences[: render.MANY]:
        note(f"{difference.destination}: {difference.text}")
    if len(taken.differences) > render.MANY:
        note(f"and {len(taken.differences) - render.MANY:,} more differ")
    output.warn_all(taken.remarks)


def say_changes(changes: "Sequence[Change]", ledger: str, *, dry_run: bool) -> None:
    """Write what became of blocks in a ledger."""
    would = "would be " if dry_run else ""
    for one in changes[: render.MANY]:
        say(f"{ledger}: {one.after.destination} {would}{_what(one)}")
    if len(changes) > render.MANY:
        note(f"and {len(changes) - render.MANY:,} more")


def _what(change: "Change") -> str:
    """Return what became of a block in the ledger, in a word."""
    if change.after.ended is not None:
        return "ended"
    return "changed" if change.before is not None and change.before.ended is None else "added"
