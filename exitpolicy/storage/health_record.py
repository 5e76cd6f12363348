"""What the last ticks found wrong, in a file beside the ledger that changes only with the health.

The tick reports faults only when they change. Other programs may watch the file, to send a mail.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from exitpolicy.core.durations import utc_text
from exitpolicy.core.errors import InvalidFileError
from exitpolicy.storage import files

MAX_BYTES: Final = 10_000_000
MAX_MESSAGE: Final = 4_000
"""Characters of a message that are kept."""


@dataclass(frozen=True, slots=True)
class HealthRecord:
    """The health since a moment."""

    since: datetime
    """When the tick first found it so."""
    faults: frozenset[str]
    """The names of the faults; empty if all is well."""
    places: frozenset[str] = frozenset()
    """Where they are: names of relays and of checks."""
    messages: tuple[str, ...] = ()
    """What the tick said then."""


def load(path: Path) -> HealthRecord | None:
    """Return the record; None if there is none, or none that can be read."""
    try:
        found = json.loads(files.read_own(path, "health record", limit=MAX_BYTES))
        return HealthRecord(
            datetime.fromisoformat(found["since"]),
            frozenset(map(str, found["faults"])),
            frozenset(map(str, found["places"])),
            tuple(map(str, found["messages"])),
        )
    except (OSError, InvalidFileError, ValueError, KeyError, TypeError, RecursionError):
        return None


def update(path: Path, record: HealthRecord) -> bool:
    """Write the record if faults or places have changed; tell whether that is news.

    Without a former record, all was well. Raises InvalidFileError.
    """
    last = load(path)
    if last is not None and (last.faults, last.places) == (record.faults, record.places):
        return False
    content = {
        "schema": 1,
        "since": utc_text(record.since),
        "faults": sorted(record.faults),
        "places": sorted(record.places),
        "messages": [message[:MAX_MESSAGE] for message in record.messages],
    }
    # ASCII: a message may quote what a Tor says, and a mail shows it.
    files.replace(path, (json.dumps(content, indent=1) + "\n").encode())
    return bool(record.faults) or last is not None
