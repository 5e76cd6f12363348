"""The history: every change of the ledger, one line of JSON each, only ever appended."""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from exitpolicy.core.block import Block
from exitpolicy.core.durations import until_text, utc_text
from exitpolicy.core.errors import InvalidFileError
from exitpolicy.storage import files

Action = Literal["block", "renew", "lift", "expire"]

MAX_BYTES: Final = 512_000_000


@dataclass(frozen=True, slots=True)
class Change:
    """One line of the history, as text."""

    time: str
    action: str
    destination: str
    until: str
    """The end that the block had after the change; before it, for those that end a block."""
    reason: str
    reference: str
    who: str
    """The login name, or `timer`."""


def append(path: Path, action: Action, blocks: Iterable[Block], now: datetime, who: str) -> None:
    """Remember that `action` was done to each of the blocks. Raises InvalidFileError.

    All lines go out in one write, after the ledger is in place and under its lock.
    """
    lines = [
        json.dumps(
            {
                "time": utc_text(now),
                "action": action,
                "destination": str(block.destination),
                "until": until_text(block.until),
                "reason": block.reason,
                "reference": block.reference,
                "who": who,
            }
        )
        + "\n"
        for block in blocks
    ]
    if not lines:
        return
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o640)
        try:
            size = os.fstat(descriptor).st_size
            # A line that a crash or a full disk cut short must not swallow the next one.
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                lines.insert(0, "\n")
            view = memoryview("".join(lines).encode())
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise InvalidFileError(
            f"{path} cannot be written: {error.strerror};"
            " the change stands in the ledger but not in the history"
        ) from None


def read(path: Path) -> Iterator[Change]:
    """Yield the changes, oldest first; lines that are none are passed over."""
    try:
        content = files.read(path, "history", limit=MAX_BYTES)
    except FileNotFoundError:
        return
    names = Change.__dataclass_fields__
    for line in content.splitlines():
        try:
            entry = json.loads(line)
            if not isinstance(entry, dict) or not entry.keys() >= names.keys():
                continue
            values = {name: str(entry[name]) for name in names}
        except (ValueError, RecursionError):
            continue
        # A login name, or a stranger's line, may hold what no terminal and no JSON can take.
        yield Change(
            **{
                name: value.encode("utf-8", "backslashreplace").decode()
                for name, value in values.items()
            }
        )
