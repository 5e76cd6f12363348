"""Locks: to change the ledger, to change what Tor enforces, and to report.

They are taken with flock(2) here and not with a library: the lock files lie in the ledger's folder,
which may be another user's, and a library that opens them by path would follow links there.
"""

import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from exitpolicy.core.errors import InvalidFileError, LockTimeoutError
from exitpolicy.core.shell import word
from exitpolicy.storage import files

WAIT_SECONDS: Final = 120.0
"""How long to wait for a lock: its holder may let Tor verify its files, and wait for Tor."""

_POLL_SECONDS: Final = 0.02


@contextmanager
def lock(path: Path, *, seconds: float, doing: str) -> Iterator[None]:
    """Hold the lock file `path`, waiting at most `seconds`; `doing` is what its holder does.

    The kernel releases it when its holder dies; the file remains. Raises LockTimeoutError,
    InvalidFileError.
    """
    try:
        descriptor = _open(path)
    except FileNotFoundError as error:
        raise InvalidFileError(
            f"{path} cannot be locked: there is no folder {path.parent}", hint="exitpol init"
        ) from error
    except OSError as error:
        raise InvalidFileError(
            f"{path} cannot be locked: {error.strerror}", hint=files.permission_hint(path, error)
        ) from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise InvalidFileError(
                f"{path} cannot be locked: it is not a regular file",
                hint=f"remove it: rm {word(path)}",
            )
        if not _acquire(descriptor, seconds):
            raise LockTimeoutError(
                f"another exitpol has been {doing} for more than {seconds:g} s",
                hint=f"see which one holds it: fuser -v {word(path)}",
            )
        yield
    finally:
        os.close(descriptor)


@contextmanager
def locked_folder(path: Path, *, seconds: float, doing: str) -> Iterator[None]:
    """Hold a lock on a folder, as `lock` does, without a file in it. Raises the same errors."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise InvalidFileError(f"{path} cannot be locked: {error.strerror}") from error
    try:
        if not _acquire(descriptor, seconds):
            raise LockTimeoutError(
                f"another exitpol has been {doing} for more than {seconds:g} s",
                hint=f"see which one holds it: fuser -v {word(path)}",
            )
        yield
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    with files.place(path) as target:
        return target.open(os.O_RDWR | os.O_CREAT, 0o600)


def _acquire(descriptor: int, seconds: float) -> bool:
    """Lock an open file; return whether that was possible in time."""
    end = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                return False
            time.sleep(_POLL_SECONDS)
        else:
            return True


def ledger_lock_path(ledger: Path) -> Path:
    """Return the lock around reading, changing and writing the ledger."""
    return ledger.with_name(f".{ledger.name}.lock")


def apply_lock_path(ledger: Path) -> Path:
    """Return the lock around installing a fragment and talking to Tor about it."""
    return ledger.with_name(".apply.lock")


def report_lock_path(ledger: Path) -> Path:
    """Return the lock around writing the file of metrics and the record of the health."""
    return ledger.with_name(".report.lock")


def complaints_lock_path(ledger: Path) -> Path:
    """Return the lock around changing the record of complaints."""
    return ledger.with_name(".complaints.lock")


def follow_lock_path(ledger: Path) -> Path:
    """Return the lock around asking DNS servers for the followed names."""
    return ledger.with_name(".follow.lock")


def fleet_lock_path(ledger: Path) -> Path:
    """Return the lock around taking the ledger of a fleet."""
    return ledger.with_name(".fleet.lock")


def guard_lock_path(ledger: Path) -> Path:
    """Return the lock around deciding what the guard blocks."""
    return ledger.with_name(".guard.lock")


def lock_folder(ledger: Path) -> None:
    """Make the folder of the ledger, with its locks and its state. Raises InvalidFileError."""
    files.make_folder(ledger.parent)
