"""What Tors without a control port have read last: last_read.json beside the ledger.

    {"version": 1, "relays": {"NAME": {"process": P, "options": MARK, "lines": ["OPTION MARK"],
                                      "versions": MARK}}}

It is a cache: without it, a Tor whose files changed after its start is not reloaded until the
operator says so. A mark is a short digest. A list of passwords can be tried against it, and who
could write the file could have any change loaded. So it is root's alone, also where the ledger lies
in another user's folder.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from exitpolicy.core.errors import InvalidFileError
from exitpolicy.policy.reconcile import LastRead
from exitpolicy.storage import files

MAX_BYTES: Final = 16_000_000
_VERSION: Final = 1


def path_beside(ledger: Path) -> Path:
    """Return the file that belongs to a ledger."""
    return ledger.with_name("last_read.json")


def load(path: Path) -> dict[str, LastRead]:
    """Return what is recorded by relay name; nothing if there is no file that can be read."""
    try:
        content = files.read_own(path, "record of files read", limit=MAX_BYTES, owner=os.geteuid())
        document = json.loads(content)
        if document["version"] != _VERSION:
            return {}
        return {
            str(name): LastRead(
                str(entry["process"]),
                str(entry["options"]),
                tuple(map(str, entry["lines"])),
                str(entry["versions"]),
            )
            for name, entry in document["relays"].items()
        }
    except (
        *(FileNotFoundError, InvalidFileError),
        *(ValueError, LookupError, TypeError, AttributeError, RecursionError),
    ):
        return {}


def save(path: Path, relays: Mapping[str, LastRead]) -> None:
    """Write the record. The caller holds the apply lock. Raises InvalidFileError."""
    entries = {name: read._asdict() for name, read in sorted(relays.items())}
    text = json.dumps({"version": _VERSION, "relays": entries}, indent=1)
    only_ours = files.Ownership(0o600, os.geteuid(), os.getegid())
    files.replace(path, f"{text}\n".encode("utf-8", "surrogateescape"), only_ours)
