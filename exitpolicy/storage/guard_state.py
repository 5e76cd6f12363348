"""What the guard saw at its last run: guard.json beside the ledger.

    {"version": 1, "boot": BOOT, "at": SECONDS, "floor": NUMBER,
     "counts": [[ADDRESS, PORT, NUMBER]], "ports": [PORT], "made": [SECONDS]}

It holds only destinations with many connections, because an exit keeps no record of where its users
go. It is a cache, replaced at each run, and root's alone.
"""

import json
import os
from pathlib import Path
from typing import Final, NamedTuple

from exitpolicy.core.addresses import address_text, read_address
from exitpolicy.core.errors import InvalidFileError
from exitpolicy.core.guard import Before, Endpoint
from exitpolicy.storage import files
from exitpolicy.storage.observed import Moment

MAX_BYTES: Final = 1_000_000
_VERSION: Final = 1
_MAX_KEPT: Final = 1000
_HOUR: Final = 3600.0


class Saved(NamedTuple):
    """What is known of the run before."""

    before: Before = Before()
    ports: frozenset[int] = frozenset()
    """The flooded ports that it reported."""
    made: tuple[float, ...] = ()
    """When blocks were made within an hour, one for each, in seconds since the boot."""


def path_beside(ledger: Path) -> Path:
    """Return the file that belongs to a ledger."""
    return ledger.with_name("guard.json")


def load(path: Path, now: Moment) -> Saved:
    """Return what the last run saw; nothing if there is no record that can be believed."""
    try:
        content = files.read_own(path, "record of the guard", limit=MAX_BYTES, owner=os.geteuid())
        document = json.loads(content)
        then = Moment(str(document["boot"]), float(document["at"]))
        if document["version"] != _VERSION or not now.is_after(then):
            return Saved()
        counts: dict[Endpoint, int] = {}
        for text, port, count in document["counts"][:_MAX_KEPT]:
            family, number = read_address(str(text)) or (4, 0)
            counts[family, number, int(port)] = int(count)
        before = Before(counts, int(document["floor"]), now.since(then))
        made = [float(then) for then in document["made"]]
        recent = tuple(then for then in made if now.seconds - then < _HOUR)
        return Saved(before, frozenset(map(int, document["ports"])), recent)
    except (
        *(OSError, InvalidFileError, ValueError, LookupError, TypeError),
        *(AttributeError, OverflowError, RecursionError),
    ):
        return Saved()


def save(path: Path, saved: Saved, now: Moment) -> None:
    """Write what this run saw, as the next one reads it. Raises InvalidFileError."""
    floor = saved.before.floor
    kept = sorted(((n, e) for e, n in saved.before.counts.items() if n > floor), reverse=True)
    if len(kept) > _MAX_KEPT:
        floor = kept[_MAX_KEPT][0]
    document = {
        "version": _VERSION,
        "boot": now.boot,
        "at": now.seconds,
        "floor": floor,
        "counts": [[address_text(f, a), port, n] for n, (f, a, port) in kept[:_MAX_KEPT]],
        "ports": sorted(saved.ports),
        "made": list(saved.made),
    }
    only_ours = files.Ownership(0o600, os.geteuid(), os.getegid())
    files.replace(path, f"{json.dumps(document)}\n".encode(), only_ours)
