"""Complaints without an answer, as `status`, `list` and `handle` show them."""

import os
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from exitpolicy.cli.output import note, report
from exitpolicy.core.durations import remaining_text
from exitpolicy.core.errors import InvalidFileError

if TYPE_CHECKING:
    from exitpolicy.operations.host import Host
    from exitpolicy.storage.complaint_record import Entry

_FEW: Final = 3


def entry_json(entry: "Entry") -> dict[str, Any]:
    """Return the JSON of a complaint on record."""
    return {
        "id": entry.short_id,
        "kind": entry.kind,
        "deadline": entry.deadline,
        "references": entry.references,
    }


def entry_words(entry: "Entry") -> str:
    """Return the ticket of a complaint, or its id if it has none, and its kind."""
    return f"{next(iter(entry.references), entry.short_id)} ({entry.kind})"


def of_host(host: "Host") -> "tuple[Entry, ...] | None":
    """Return the complaints with a deadline that have no answer; None if that is not known.

    A record that other users must not read is not reported to them.
    """
    if not os.path.lexists(host.complaints_path):
        return ()
    from exitpolicy.storage import complaint_record

    try:
        return complaint_record.load(host.complaints_path).unanswered(host.clock())
    except InvalidFileError as error:
        if not isinstance(error.__cause__, PermissionError):
            report(error)
        return None


def as_json(host: "Host") -> list[dict[str, Any]] | None:
    """Return the value of `unanswered` in the JSON of `status` and `list`."""
    entries = of_host(host)
    return None if entries is None else [entry_json(entry) for entry in entries]


def note_unanswered(host: "Host", now: datetime) -> None:
    """Say in one line which complaints have a deadline and no answer, if any."""
    entries = of_host(host)
    if not entries:
        return
    words = []
    for entry in entries[:_FEW]:
        left = remaining_text(entry.deadline, now)
        words.append(f"{entry_words(entry)} {'overdue' if left == 'ended' else f'due in {left}'}")
    more = f" and {len(entries) - _FEW} more" if len(entries) > _FEW else ""
    close = "if none is needed: exitpol handle --answered TICKET"
    note(f"no answer yet: {', '.join(words)}{more}; {close}")
