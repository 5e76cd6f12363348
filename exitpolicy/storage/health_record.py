"""What the last ticks found wrong, in a file beside the ledger that changes only with the health.

The tick reports faults only when they change. Other programs may watch the file, to send a mail.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from exitpolicy.core.durations import utc_text
from exitpolicy.core.errors import InvalidFileError
from exitpolicy.storage import files

MAX_BYTES: Final = 10_000_000
MAX_MESSAGE: Final = 4_000
"""Characters of a message that are kept."""
_MAX_MESSAGES: Final = 200


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
    failed_after: float | None = None
    """The last observation before a tick that failed, in Unix time; a later one disproves it.

    It is compared for equality: clocks may have been set in between.
    """


def load(path: Path) -> HealthRecord | None:
    """Return the record; None if there is none, or none that can be read."""
    try:
        found = json.loads(files.read_own(path, "health record", limit=MAX_BYTES))
        after = found.get("failed_after")
        return HealthRecord(
            # Without a zone, it could not be compared.
            datetime.fromisoformat(found["since"]).astimezone(UTC),
            frozenset(map(str, found["faults"])),
            frozenset(map(str, found["places"])),
            tuple(str(message)[:MAX_MESSAGE] for message in found["messages"][:_MAX_MESSAGES]),
            None if after is None else float(after),
        )
    except (
        *(OSError, InvalidFileError, ValueError, LookupError, TypeError, AttributeError),
        *(OverflowError, RecursionError),
    ):
        return None


def update(path: Path, record: HealthRecord) -> bool:
    """Write the record if faults or places have changed; tell whether that is news.

    Without a former record, all was well. A tick that fails again after Tor was observed is news as
    well. The caller holds a lock. Raises InvalidFileError.
    """
    last = load(path)
    if last is not None and _same(last, record):
        return False
    content = {
        "schema": 1,
        "since": utc_text(record.since),
        "faults": sorted(record.faults),
        "places": sorted(record.places),
        "failed_after": record.failed_after,
        "messages": [message[:MAX_MESSAGE] for message in record.messages[:_MAX_MESSAGES]],
    }
    # ASCII: a message may quote what a Tor says, and a mail shows it.
    files.replace(path, (json.dumps(content, indent=1) + "\n").encode())
    return bool(record.faults) or last is not None


def _same(last: HealthRecord, record: HealthRecord) -> bool:
    return (last.faults, last.places, last.failed_after) == (
        record.faults,
        record.places,
        record.failed_after,
    )
