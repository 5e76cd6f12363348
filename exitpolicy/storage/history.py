"""The history: every change of the ledger, one line of JSON each.

Lines are only appended. A file that has reached ROTATE_BYTES becomes `history.jsonl.1`, the one
before it `.2`, and so on; KEPT old files remain.
"""

import contextlib
import errno
import itertools
import json
import os
import stat
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

from exitpolicy.core.block import Block
from exitpolicy.core.durations import parse_time, until_text, utc_text
from exitpolicy.core.errors import InvalidFileError
from exitpolicy.storage import files
from exitpolicy.storage.files import Place

Action = Literal[
    "block",
    "renew",
    "lift",
    "expire",
    "remove",
    "resume",
    "relays-changed",
    "told",
    "follow",
    "unfollow",
]
"""`remove`: exitpol was removed from the host, and the block ended with it. `told`: a letter was
written that says that the block has ended. `follow`: a followed name has led to a new address.
`unfollow`: it has left one."""
PolicyAction = Literal["policy-changed", "policy-accepted", "policy-used"]

ROTATE_BYTES: Final = 16_000_000
KEPT: Final = 4
MAX_BYTES: Final = 2 * ROTATE_BYTES
"""Bytes that are read, from the end of a file. Only somebody else can make a file longer."""
MAX_LINE: Final = 1_000_000
"""Maximum bytes of a line; longer lines are skipped. A destination may have many ports."""


@dataclass(frozen=True, slots=True)
class Change:
    """One line of the history, as text."""

    time: str
    action: str
    destination: str
    until: str
    """The block's end after the change. For a lifted or expired block, the end that it had before.
    """
    reason: str
    reference: str
    who: str
    """The login name, or `timer`."""
    references: tuple[str, ...] = ()
    """Further tickets of the block."""
    name: str = ""
    """The host names of the block, separated by blanks. Lines of older versions have none."""
    relays: tuple[str, ...] = ()
    """The words for the relays of the block; empty for all."""

    @property
    def all_references(self) -> tuple[str, ...]:
        """Every ticket of the block."""
        return tuple(filter(None, (self.reference, *self.references)))


def moment(text: str) -> datetime:
    """Return a time of the history. Raises ValueError."""
    found = parse_time(text)
    if found is None:
        raise ValueError(text)
    return found


_quoted: Final = json.encoder.encode_basestring_ascii

_OPTIONAL: Final = frozenset({"references", "name", "relays"})
_WORDS: Final = tuple(f.name for f in fields(Change) if f.name not in _OPTIONAL)


def append(path: Path, action: Action, blocks: Iterable[Block], now: datetime, who: str) -> None:
    """Record that `action` was done to each of the blocks. Raises InvalidFileError.

    The caller has written the ledger and still holds its lock. All lines are written at once.
    """
    time = utc_text(now)
    # An import has thousands of blocks that differ in nothing but their destination.
    frames: dict[tuple[object, ...], tuple[str, str]] = {}
    lines: list[str] = []
    for block in blocks:
        terms = block[1:]
        frame = frames.get(terms)
        if frame is None:
            frame = frames[terms] = _frame(
                Change(
                    time,
                    action,
                    "",
                    until_text(block.until),
                    block.reason,
                    block.reference,
                    who,
                    block.references,
                    " ".join(block.names),
                    block.relays,
                )
            )
        lines.append(str(block.destination).join(frame))
    if lines:
        _write(path, lines)


def append_policy(path: Path, action: PolicyAction, text: str, now: datetime, who: str) -> None:
    """Record an observation or a change of an exit's own policy. Raises InvalidFileError."""
    change = Change(utc_text(now), action, "exit policy", "", text, "", who)
    _write(path, [change.destination.join(_frame(change))])


def _write(path: Path, lines: list[str]) -> None:
    """Append lines in one write. Raises InvalidFileError."""
    try:
        with files.place(path) as target:
            if _append(target, lines) >= ROTATE_BYTES:
                # The lines are written. A file that cannot be renamed grows until it can be.
                with contextlib.suppress(OSError):
                    _rotate(target)
    except OSError as error:
        raise InvalidFileError(
            f"{path} cannot be written: {error.strerror};"
            " the change is in the ledger but not in the history",
            hint=files.permission_hint(path, error),
        ) from error


def _frame(change: Change) -> tuple[str, str]:
    """Return what stands before and behind the destination in the line of a change.

    Few blocks have further tickets or a name.
    """
    # A command may have thousands of them, for which json.dumps takes three times as long.
    more = f', "references": {json.dumps(change.references)}' if change.references else ""
    more += f', "name": {_quoted(change.name)}' if change.name else ""
    more += f', "relays": {json.dumps(change.relays)}' if change.relays else ""
    before = f'{{"time": "{change.time}", "action": "{change.action}", "destination": "'
    behind = (
        f'", "until": "{change.until}",'
        f' "reason": {_quoted(change.reason)}, "reference": {_quoted(change.reference)},'
        f' "who": {_quoted(change.who)}{more}}}\n'
    )
    return before, behind


def _append(target: Place, lines: list[str]) -> int:
    """Write lines to the end; return the file's size. Raises OSError."""
    descriptor = target.open(os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o640)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        if found.st_nlink > 1:
            raise OSError(errno.EMLINK, "it has a second name (a hard link)")
        size = found.st_size
        # A line that a crash or a full disk cut short must not swallow the next one.
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            lines.insert(0, "\n")
        files.write_all(descriptor, "".join(lines).encode())
        os.fsync(descriptor)
        return os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)


def _rotate(target: Place) -> None:
    """Rename the file and the older ones. Raises OSError."""
    names = [path.name for path in paths(Path(target.name))]
    for old, new in reversed(list(itertools.pairwise(names))):
        with contextlib.suppress(FileNotFoundError):
            os.rename(old, new, src_dir_fd=target.folder, dst_dir_fd=target.folder)
    files.sync_folder(target.folder)


def paths(path: Path) -> tuple[Path, ...]:
    """Return the file of the history and those that keep old ones, newest first."""
    return (path, *(path.with_name(f"{path.name}.{number}") for number in range(1, KEPT + 1)))


def read(path: Path, words: Collection[bytes] = ()) -> Iterator[Change]:
    """Yield the changes, oldest first; lines that are no change are skipped.

    With `words`, only the changes whose line holds one of them: the other lines are not parsed,
    which takes most of the time. Memory is bounded: one line at a time. Raises InvalidFileError.
    """
    newest_file, *old = paths(path)
    for each in reversed(old):
        # An old file that is damaged hides only itself.
        with contextlib.suppress(InvalidFileError):
            yield from _read(each, words)
    yield from _read(newest_file, words)


def newest(path: Path, count: int) -> list[Change]:
    """Return the newest `count` changes, oldest first. Raises InvalidFileError."""
    return list(deque(read(path), maxlen=count))


def removed(path: Path) -> set[str]:
    """Return the destinations whose last change is `remove`. Raises InvalidFileError."""
    last = {change.destination: change.action for change in read(path)}
    return {destination for destination, action in last.items() if action == "remove"}


def _read(path: Path, words: Collection[bytes]) -> Iterator[Change]:
    try:
        with files.place(path) as target, os.fdopen(target.open(os.O_RDONLY), "rb") as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise InvalidFileError(f"{path}: the history is not a regular file")
            if found.st_size > MAX_BYTES:
                file.seek(found.st_size - MAX_BYTES)
                file.readline(MAX_LINE)
            # Stop at the size that the file had at the start: another exitpol may be appending.
            while file.tell() < found.st_size and (line := file.readline(MAX_LINE)):
                if words and not any(word in line for word in words):
                    continue
                if (change := _change(line)) is not None:
                    yield change
    except FileNotFoundError:
        return
    except OSError as error:
        raise InvalidFileError(
            f"{path}: the history cannot be read: {error.strerror}",
            hint=files.permission_hint(path, error),
        ) from error


def _change(line: bytes) -> Change | None:
    """Return what a line says; None if it is no change."""
    try:
        entry = json.loads(line)
        if not isinstance(entry, dict):
            return None
        values: dict[str, Any] = {name: _text(entry[name]) for name in _WORDS}
        tickets, relays = entry.get("references", []), entry.get("relays", [])
        if not (isinstance(tickets, list) and isinstance(relays, list)):
            return None
        return Change(
            **values,
            references=tuple(map(_text, tickets)),
            name=_text(entry.get("name", "")),
            relays=tuple(map(_text, relays)),
        )
    except (ValueError, KeyError, RecursionError):
        return None


def _text(value: object) -> str:
    # A login name, or a foreign line, may hold characters that a terminal or JSON cannot take.
    return str(value).encode("utf-8", "backslashreplace").decode()
