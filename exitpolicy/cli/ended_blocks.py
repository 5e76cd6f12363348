"""Ended blocks whose reporter was not told, as `status` and `list` show them."""

import re
import shlex
from typing import TYPE_CHECKING, Any, Final

from exitpolicy.cli.output import note, warn
from exitpolicy.core.block import Block
from exitpolicy.core.durations import utc_text
from exitpolicy.operations import end_letters

if TYPE_CHECKING:
    from exitpolicy.operations.host import Host

_FEW: Final = 3
_PLAIN: Final = r"[A-Za-z0-9][^\s]{0,79}"
"""A reference that stands in a hint; one that a stranger chose may look like an option."""


def as_json(host: "Host") -> list[dict[str, Any]]:
    """Return the value of `not_told` in the JSON of `status` and `list`."""
    return [
        {
            "destination": str(block.destination),
            "ended": block.ended,
            "reference": block.reference,
            "references": block.references,
        }
        for block in end_letters.due(host, host.ledger())
    ]


def note_not_told(host: "Host") -> None:
    """Say in one line which blocks have ended without a letter that says so, if any."""
    ledger = host.ledger()
    if due := end_letters.due(host, ledger):
        named = ", ".join(f"{b.destination} ({b.all_references[0]})" for b in due[:_FEW])
        more = f" and {len(due) - _FEW} more" if len(due) > _FEW else ""
        note(f"ended, and no letter says so: {named}{more}; to write it: {_command(due[0])}")
    for block in end_letters.contradicted(ledger)[:_FEW]:
        warn(
            f"{block.destination} is blocked again, although a letter of"
            f" {'' if block.told is None else utc_text(block.told)} says that its block has ended"
        )


def _command(block: Block) -> str:
    """Return the command that writes the letter."""
    reference = next((r for r in block.all_references if re.fullmatch(_PLAIN, r)), None)
    return shlex.join(["exitpol", "reply", reference or str(block.destination), "--kind", "lifted"])
