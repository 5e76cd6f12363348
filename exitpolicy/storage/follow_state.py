"""What DNS servers have said of the followed names: follow.json beside the ledger.

    {"version": 1, "boot": BOOT, "at": SECONDS, "running": SECONDS, "changed": {RELAY: SECONDS},
     "names": [{"name": NAME, "ports": PORTS, "due": SECONDS, "answered": SECONDS,
                "failure": TEXT, "seen": {ADDRESS: [TIMES, ABSENT_SECONDS]}}]}

`boot` and `at` tell when it was written, `running` the observed running time until then; all other
seconds are of that time. It is a cache: without it, the next run begins anew, and changes nothing
for an hour. Who could write it would choose what is blocked. So it is root's alone, also where the
ledger lies in another user's folder.
"""

import json
import os
from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any, Final, NamedTuple

from exitpolicy.core.addresses import address_text, read_address
from exitpolicy.core.errors import InvalidFileError, UsageError
from exitpolicy.core.following import (
    MAX_FOLLOWED,
    MAX_SIGHTINGS,
    TIMES,
    Address,
    Following,
    Observed,
    Sighting,
)
from exitpolicy.core.host_names import NamedHost, ascii_name
from exitpolicy.core.ports import ALL_PORTS, parse_ports, ports_text
from exitpolicy.storage import files
from exitpolicy.storage.observed import Moment

MAX_BYTES: Final = 4_000_000
_VERSION: Final = 1
_MAX_RELAYS: Final = 10_000
_MAX_FAILURE: Final = 500


class Saved(NamedTuple):
    """The state, and when it was written."""

    following: Following
    moment: Moment


def path_beside(ledger: Path) -> Path:
    """Return the file that belongs to a ledger."""
    return ledger.with_name("follow.json")


def load(path: Path) -> Saved | None:
    """Return the state; None if there is none that can be believed."""
    try:
        content = files.read_own(path, "record of names", limit=MAX_BYTES, owner=os.geteuid())
        document = json.loads(content)
        if document["version"] != _VERSION:
            return None
        running = _seconds(document["running"])
        names = dict(_name(entry, running) for entry in document["names"][:MAX_FOLLOWED])
        changed = {
            str(relay): min(_seconds(moment), running)
            for relay, moment in list(document["changed"].items())[:_MAX_RELAYS]
        }
        moment = Moment(str(document["boot"]), _seconds(document["at"]))
        return Saved(Following(running, names, changed), moment)
    except (
        *(OSError, InvalidFileError, UsageError),
        *(ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError),
    ):
        return None


def save(path: Path, following: Following, moment: Moment) -> None:
    """Write the state. The caller holds the ledger's lock. Raises InvalidFileError."""
    document = {
        "version": _VERSION,
        "boot": moment.boot,
        "at": moment.seconds,
        "running": following.seconds,
        "changed": dict(following.changed),
        "names": [_entry(host, known) for host, known in following.names.items()],
    }
    only_ours = files.Ownership(0o600, os.geteuid(), os.getegid())
    files.replace(path, f"{json.dumps(document, indent=1)}\n".encode(), only_ours)


def _entry(host: NamedHost, known: Observed) -> dict[str, object]:
    return {
        "name": host.name,
        "ports": ports_text(host.ports),
        "due": known.due,
        "answered": known.answered,
        "failure": known.failure[:_MAX_FAILURE],
        "seen": {address_text(*address): list(seen) for address, seen in known.seen.items()},
    }


def _name(entry: Mapping[str, Any], running: float) -> tuple[NamedHost, Observed]:
    """Return a name and what is known of it. Raises UsageError, ValueError, LookupError."""
    ports = ALL_PORTS if entry["ports"] == ports_text(ALL_PORTS) else parse_ports(entry["ports"])
    seen = {
        _address(text): Sighting(min(max(int(times), 0), TIMES), max(_seconds(absent), 0.0))
        for text, (times, absent) in list(entry["seen"].items())[:MAX_SIGHTINGS]
    }
    answered = min(_seconds(entry["answered"]), running)
    failure = str(entry["failure"])[:_MAX_FAILURE]
    host = NamedHost(ascii_name(str(entry["name"])), ports)
    return host, Observed(_seconds(entry["due"]), answered, seen, failure)


def _address(text: str) -> Address:
    """Return an address. Raises ValueError."""
    found = read_address(text)
    if found is None:
        raise ValueError(text)
    return found


def _seconds(value: object) -> float:
    """Return a duration that can be added and compared. Raises ValueError, TypeError."""
    if not isinstance(value, int | float) or not isfinite(value):
        raise ValueError(value)
    return float(value)
