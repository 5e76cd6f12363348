"""The spool: events for the hooks, in a folder that only root can change.

    {"version": 1, "spool": ID, "next": NUMBER, "events": [EVENT, ...]}

lies in events.json (0600). exitpol as root adds to it, and systemd hands a copy to the unit that
runs the hooks (exitpolicy.hook_delivery). Events have consecutive numbers; a gap says that some
were dropped. The oldest give way when the spool is full, whether they were taken or not. What
cannot be added is dropped: nothing waits for the spool longer than a second.
"""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from exitpolicy.core.errors import InvalidFileError
from exitpolicy.storage import files
from exitpolicy.storage.locks import lock

MAX_EVENTS: Final = 500
MAX_BYTES: Final = 500_000
"""Of all events. systemd hands over at most 1 MB."""
MAX_EVENT: Final = 50_000
"""Bytes of one event."""
_VERSION: Final = 1
_WAIT_SECONDS: Final = 1.0


def path_in(folder: Path) -> Path:
    """Return the file of the spool."""
    return folder / "events.json"


def files_in(folder: Path) -> tuple[Path, Path]:
    """Return the files that lie in the folder: the spool and its lock."""
    path = path_in(folder)
    return path, path.with_name(".lock")


def append(folder: Path, event: Mapping[str, Any], *, dropped: int = 0) -> None:
    """Add an event, and give it its `id` and `number`; `dropped` numbers before it stay unused.

    Makes the folder if it is missing. Raises InvalidFileError, LockTimeoutError.
    """
    path, lock_path = files_in(folder)
    make(folder)
    with lock(lock_path, seconds=_WAIT_SECONDS, doing="telling hooks"):
        spool = load(folder) or {"spool": os.urandom(8).hex(), "next": 1, "events": []}
        number = spool["next"] + dropped
        numbered = {"schema": 1, "id": f"{spool['spool']}-{number}", "number": number, **event}
        # ASCII: an event may quote what a Tor says.
        texts = [json.dumps(each) for each in (*spool["events"], numbered)][-MAX_EVENTS:]
        while sum(map(len, texts)) > MAX_BYTES and len(texts) > 1:
            del texts[0]
        head = f'{{"version": {_VERSION}, "spool": "{spool["spool"]}", "next": {number + 1}'
        events = ",\n".join(texts)
        content = f'{head}, "events": [\n{events}\n]}}\n'
        only_ours = files.Ownership(0o600, os.geteuid(), os.getegid())
        files.replace(path, content.encode(), only_ours)


def load(folder: Path) -> dict[str, Any] | None:
    """Return the spool; None if there is none that can be believed."""
    limit = 2 * MAX_BYTES
    try:
        content = files.read_own(path_in(folder), "spool", limit=limit, owner=os.geteuid())
        spool = json.loads(content)
        if spool["version"] != _VERSION:
            return None
        return {
            "spool": str(spool["spool"]),
            "next": int(spool["next"]),
            "events": [each for each in spool["events"] if isinstance(each["number"], int)],
        }
    except (
        *(OSError, InvalidFileError, ValueError, LookupError),
        *(TypeError, AttributeError, OverflowError, RecursionError),
    ):
        return None


def fault(folder: Path) -> str | None:
    """Return why no event can be added to a folder that is there; None if one can."""
    try:
        with files.place(path_in(folder)) as target:
            found = os.fstat(target.folder)
    except FileNotFoundError:
        return None
    except OSError as error:
        return error.strerror
    if found.st_uid != os.geteuid() or found.st_mode & 0o022:
        return "others than root can change it"
    return None


def make(folder: Path) -> None:
    """Make the folder, and refuse one that another user could change. Raises InvalidFileError."""
    try:
        with files.place(folder) as made, suppress(FileExistsError):
            os.mkdir(made.name, 0o700, dir_fd=made.folder)
    except OSError as error:
        raise InvalidFileError(
            f"{folder} cannot be made: {error.strerror}", hint=files.permission_hint(folder, error)
        ) from error
    if (why := fault(folder)) is not None:
        raise InvalidFileError(f"{folder} cannot be used: {why}")
