"""Files that are never half-written: the one way in which exitpol replaces any of them."""

import contextlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from exitpolicy.core.errors import InvalidFileError


@dataclass(frozen=True, slots=True)
class Ownership:
    """Who may read a file: as stat(2) gives it."""

    mode: int
    uid: int
    gid: int


def staged_path(path: Path) -> Path:
    """Return where the next content of `path` is written before it is put in place.

    One fixed name, so that what a crash leaves behind is overwritten and does not pile up; with
    a dot in front, because Tor takes in every other file of an included directory.
    """
    return path.with_name(f".{path.name}.new")


def stage(path: Path, content: bytes, ownership: Ownership | None = None) -> Path:
    """Write the next content of `path` beside it, complete and synced; return where.

    Mode and owner are those of `ownership`, or of the present file, or 0640 and ours. The caller
    holds the lock that guards `path`. Raises InvalidFileError; `path` is unchanged then.
    """
    staged = staged_path(path)
    ownership = ownership or ownership_of(path)
    try:
        with contextlib.suppress(FileNotFoundError):
            staged.unlink()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(staged, flags, 0o600)
        try:
            # Mode and owner first: at no instant may a file be more open than it will be.
            if ownership is not None:
                if (ownership.uid, ownership.gid) != (os.geteuid(), os.getegid()):
                    os.fchown(descriptor, ownership.uid, ownership.gid)
                os.fchmod(descriptor, ownership.mode)
            else:
                os.fchmod(descriptor, 0o640)
            view = memoryview(content)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        discard(staged)
        raise _unchanged(path, error) from None
    return staged


def commit(path: Path) -> None:
    """Put the staged content of `path` in its place, for good.

    Raises InvalidFileError, which says whether `path` is unchanged or changed, but not for good.
    """
    try:
        staged_path(path).rename(path)
    except OSError as error:
        raise _unchanged(path, error) from None
    try:
        sync_folder(path.parent)
    except OSError as error:
        raise InvalidFileError(
            f"{path} is changed, but a power cut may bring the old one back:"
            f" its folder cannot be synced: {error.strerror}",
        ) from None


def replace(path: Path, content: bytes, ownership: Ownership | None = None) -> None:
    """Replace the content of `path` in one step. Raises InvalidFileError as `commit` does."""
    stage(path, content, ownership)
    commit(path)


def discard(staged: Path) -> None:
    """Remove a staged file that will not be put in place; it is no harm if it stays."""
    with contextlib.suppress(OSError):
        staged.unlink()


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def ownership_of(path: Path) -> Ownership | None:
    """Return mode and owner of a file, None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return Ownership(stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid)


def read(path: Path, what: str, *, limit: int) -> bytes:
    """Return the content of a file of at most `limit` bytes. Raises InvalidFileError.

    FileNotFoundError passes through: each file has its own way to say that it is not there.
    """
    try:
        # Without O_NONBLOCK, a FIFO in place of the file would hold us up for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise InvalidFileError(f"{path}: the {what} is not a regular file")
            content = file.read(limit + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise InvalidFileError(
            f"{path}: the {what} cannot be read: {error.strerror}",
            hint="run exitpol as root" if isinstance(error, PermissionError) else None,
        ) from None
    if len(content) > limit:
        raise InvalidFileError(f"{path}: the {what} is larger than {limit // 1_000_000} MB")
    return content


def _unchanged(path: Path, error: OSError) -> InvalidFileError:
    return InvalidFileError(
        f"{path} cannot be written: {error.strerror}; it is unchanged",
        hint="run exitpol as root" if isinstance(error, PermissionError) else None,
    )
