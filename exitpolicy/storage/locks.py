"""Two locks: one to change the ledger, held for milliseconds; one to change what Tor enforces."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from exitpolicy.core.errors import InvalidFileError, LockTimeoutError


@contextmanager
def lock(path: Path, *, seconds: float, doing: str) -> Iterator[None]:
    """Hold the lock file `path`, waiting at most `seconds`.

    It is flock(2): the kernel lets it go when its holder dies, and the file itself stays. Raises
    LockTimeoutError, InvalidFileError.
    """
    # FileLock would make the folder; a command that finds nothing set up is to leave no trace.
    if not os.path.isdir(path.parent):  # noqa: PTH112 - Path.is_dir may raise
        raise InvalidFileError(
            f"{path} cannot be locked: there is no folder {path.parent}", hint="exitpol init"
        )
    try:
        held = FileLock(path, timeout=seconds, mode=0o600)
        held.acquire(poll_interval=0.02)
    except Timeout:
        raise LockTimeoutError(
            f"another exitpol has been {doing} for more than {seconds:g} s",
            hint=f"see which one holds it: fuser -v {path}",
        ) from None
    except OSError as error:
        raise InvalidFileError(
            f"{path} cannot be locked: {error.strerror or error}",
            hint="run exitpol as root" if isinstance(error, PermissionError) else "exitpol init",
        ) from None
    try:
        yield
    finally:
        held.release()


def ledger_lock_path(ledger: Path) -> Path:
    """Return the lock around reading, changing and writing the ledger."""
    return ledger.with_name(f".{ledger.name}.lock")


def apply_lock_path(ledger: Path) -> Path:
    """Return the lock around installing a fragment and talking to Tor about it."""
    return ledger.with_name(".apply.lock")


def lock_folder(ledger: Path) -> None:
    """Make the folder of the ledger, with its locks and its state. Raises InvalidFileError."""
    try:
        if not ledger.parent.is_dir():
            ledger.parent.mkdir(mode=0o755, parents=True)
    except OSError as error:
        raise InvalidFileError(
            f"{ledger.parent} cannot be made: {error.strerror}",
            hint="run exitpol as root" if isinstance(error, PermissionError) else None,
        ) from None
