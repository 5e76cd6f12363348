"""Read, replace and append to files without trusting the folders they lie in.

exitpol runs as root, and a ledger may lie in another user's folder. That user can put a link, a
FIFO or another file in the place of any name there. Therefore

- every folder is opened once, component by component, and files are opened relative to that handle;
- a symbolic link is followed only where root placed it, or where it leads to a folder of the user
  who could place it (`place`);
- only a regular file is opened, and only a file without a second name (hard link) is appended to;
- a file is replaced by a complete, synced file of the same owner, mode and ACL.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from exitpolicy.core.errors import InvalidFileError
from exitpolicy.core.shell import word

_FOLDER: Final = os.O_DIRECTORY | os.O_CLOEXEC | os.O_PATH
# O_NONBLOCK: opening a FIFO must not wait for its other end.
_SAFE: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MAX_LINKS: Final = 40
"""Symbolic links in one path; as in Linux, path_resolution(7)."""
_ACL: Final = "system.posix_acl_access"
_PERMISSIONS: Final = 0o777
"""The mode bits that a replaced file keeps. A set-user-ID bit is never copied."""


class Ownership(NamedTuple):
    """Mode and owner of a file, as in stat(2)."""

    mode: int
    uid: int
    gid: int


class Place(NamedTuple):
    """A name in an open folder."""

    folder: int
    """The folder's descriptor."""
    name: str
    path: Path
    """For messages."""

    def open(self, flags: int, mode: int = 0o600) -> int:
        """Open the file, never through a link and without waiting. Raises OSError.

        A new file gets the given mode, less the umask. In a folder of another user root gives the
        file to that user, who could have made it too.
        """
        if not flags & os.O_CREAT:
            return self._open_present(flags)
        try:
            descriptor = os.open(self.name, flags | os.O_EXCL | _SAFE, mode, dir_fd=self.folder)
        except FileExistsError:
            if flags & os.O_EXCL:
                raise
            return self._open_present(flags & ~os.O_CREAT)
        if (owner := self.owner_of_new()) is not None:
            os.fchown(descriptor, *owner)
        return descriptor

    def owner_of_new(self) -> tuple[int, int] | None:
        """Return the user and group that root gives a new file to; None to keep it."""
        folder = os.fstat(self.folder)
        if os.geteuid() != 0 or folder.st_uid == 0:
            return None
        return folder.st_uid, folder.st_gid

    def _open_present(self, flags: int) -> int:
        try:
            return os.open(self.name, flags | _SAFE, dir_fd=self.folder)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise OSError(
                    errno.ELOOP, "it is a symbolic link, which is not followed"
                ) from error
            raise


@contextmanager
def place(path: Path, *, follow: bool = False) -> Iterator[Place]:
    """Open the folder of `path`; with `follow`, if `path` is a link, the folder of its target.

    Root follows a symbolic link in a folder that only root can write. A link in another user's
    folder must lead to a folder of the same user: root goes no further than the link's author
    could. A link in a folder of root that others can write is not followed. Raises OSError.
    """
    folder, name = _walk(path, follow=follow)
    try:
        yield Place(folder, name, path)
    finally:
        os.close(folder)


def without_links(path: Path) -> Path:
    """Return the path of a file without symbolic links, followed as `place` does. Raises OSError.

    Who owns a folder above it can still put a link in its place later: open it with `place`.
    """
    with place(path, follow=True) as found:
        # O_PATH handles have no other way to tell where they lead.
        return Path(f"/proc/self/fd/{found.folder}").readlink() / found.name


def _walk(path: Path, *, follow: bool) -> tuple[int, str]:
    parts = str(path.absolute()).split("/")[::-1]
    folder, links, author = os.open("/", _FOLDER), 0, None
    try:
        while True:
            name = parts.pop()
            if name in {"", "."} and parts:
                continue
            last = not parts
            target = None
            if follow or not last:
                with contextlib.suppress(FileNotFoundError):
                    if stat.S_ISLNK(os.lstat(name, dir_fd=folder).st_mode):
                        target = os.readlink(name, dir_fd=folder)
            if target is not None:
                links += 1
                _check_count(links)
                author = _author(folder, name) if author is None else author
                parts += target.split("/")[::-1]
                folder = _enter(folder, "/" if target.startswith("/") else ".")
            elif last:
                _check_end(folder, author)
                return folder, name
            else:
                folder = _enter(folder, name)
    except BaseException:
        os.close(folder)
        raise


def _check_count(links: int) -> None:
    if links > _MAX_LINKS:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def _check_end(folder: int, author: int | None) -> None:
    if author is not None and os.fstat(folder).st_uid != author:
        raise OSError(
            errno.ELOOP, "a symbolic link of another user leads to a folder that is not that user's"
        )


def _enter(folder: int, name: str) -> int:
    """Return the folder `name` in `folder`, and close `folder`."""
    inner = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
    os.close(folder)
    return inner


def _author(folder: int, name: str) -> int | None:
    """Return the user whose folders a link may lead to; None for a link that root placed.

    Raises OSError for a link that anybody could have placed.
    """
    if os.geteuid() != 0:
        return None
    above, link = os.fstat(folder), os.lstat(name, dir_fd=folder)
    if above.st_uid != 0:
        return above.st_uid
    if not _is_shared(folder):
        return None
    if above.st_mode & stat.S_ISVTX:
        return link.st_uid or None
    raise OSError(errno.ELOOP, "a symbolic link in a folder that others can write is not followed")


def _is_shared(folder: int) -> bool:
    """Tell whether others than the owner of an open folder, and root's group, can write in it."""
    found = os.fstat(folder)
    if found.st_mode & stat.S_IWOTH:
        return True
    # With an ACL, the bits of the group are the mask of all whom it names.
    return bool(found.st_mode & stat.S_IWGRP) and (found.st_gid != 0 or _has_acl(folder))


def _has_acl(folder: int) -> bool:
    descriptor = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
    try:
        return bool(os.getxattr(descriptor, _ACL))
    except OSError as error:
        return error.errno not in {errno.ENODATA, errno.ENOTSUP}
    finally:
        os.close(descriptor)


def make_folder(path: Path, *, public: bool = False) -> None:
    """Make a folder and its missing parents, for their owner to write. Raises InvalidFileError.

    With `public`, every user can enter those that are made, whatever the umask is.
    """
    try:
        with contextlib.suppress(FileExistsError):
            _make(path, public=public)
        if not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    except OSError as error:
        raise InvalidFileError(
            f"{path} cannot be made: {error.strerror}", hint=permission_hint(path.parent, error)
        ) from error


def _make(path: Path, *, public: bool) -> None:
    try:
        with place(path) as made:
            _make_one(made, public=public)
    except FileNotFoundError:
        with contextlib.suppress(FileExistsError):
            _make(path.parent, public=public)
        with place(path) as made:
            _make_one(made, public=public)


def _make_one(made: Place, *, public: bool) -> None:
    os.mkdir(made.name, 0o755, dir_fd=made.folder)
    if public:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(made.name, flags, dir_fd=made.folder)
        try:
            os.fchmod(descriptor, 0o755)
        finally:
            os.close(descriptor)


def staged_path(path: Path) -> Path:
    """Return where the next content of `path` is written before it is put in place.

    The name is fixed, so that leftovers of a crash are overwritten and do not pile up. It starts
    with a dot, because Tor skips such files in an included directory.
    """
    return path.with_name(f".{path.name}.new")


def stage(path: Path, content: bytes, ownership: Ownership | None = None) -> Path:
    """Write the next content of `path` to a file beside it, synced; return the path of that file.

    Mode and owner are those of `ownership`, or of the present file, or 0640 and the owner of a
    new file (`Place.open`); the ACL is that of the present file. The caller holds the lock that
    guards `path`. Raises InvalidFileError; `path` is unchanged then.
    """
    try:
        with place(path) as target:
            _stage(target, content, ownership)
    except OSError as error:
        raise _unchanged(path, error) from error
    return staged_path(path)


def commit(path: Path) -> None:
    """Rename the staged content of `path` into place, and sync the folder.

    Raises InvalidFileError, which says whether `path` is unchanged, or changed but not synced.
    """
    try:
        with place(path) as target:
            _commit(target)
    except OSError as error:
        raise _unchanged(path, error) from error


def replace(
    path: Path, content: bytes, ownership: Ownership | None = None, *, follow: bool = False
) -> None:
    """Replace the content of `path` in one step; with `follow`, of the file it links to.

    Raises InvalidFileError as `stage` and `commit` do.
    """
    try:
        with place(path, follow=follow) as target:
            _stage(target, content, ownership)
            _commit(target)
    except OSError as error:
        raise _unchanged(path, error) from error


def _stage(target: Place, content: bytes, ownership: Ownership | None) -> None:
    staged = Place(target.folder, f".{target.name}.new", target.path)
    present = _attributes(target)
    former, acl = (None, None) if present is None else present
    ownership = ownership or former
    with contextlib.suppress(FileNotFoundError):
        os.unlink(staged.name, dir_fd=staged.folder)
    # Not Place.open(): the owner of the folder could open a file that is his for a moment.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFE
    descriptor = os.open(staged.name, flags, 0o600, dir_fd=staged.folder)
    owner = staged.owner_of_new() if ownership is None else (ownership.uid, ownership.gid)
    try:
        try:
            # Owner and mode first: the file must never be more open than it will be.
            made = os.fstat(descriptor)
            if owner is not None and owner != (made.st_uid, made.st_gid):
                os.fchown(descriptor, *owner)
            if present is not None:
                _set_acl(descriptor, acl)
            os.fchmod(descriptor, 0o640 if ownership is None else ownership.mode)
            write_all(descriptor, content)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(staged.name, dir_fd=staged.folder)
        raise


def _commit(target: Place) -> None:
    """Rename the staged file. Raises OSError, or InvalidFileError if only the sync failed."""
    os.rename(
        f".{target.name}.new", target.name, src_dir_fd=target.folder, dst_dir_fd=target.folder
    )
    try:
        sync_folder(target.folder)
    except OSError as error:
        raise InvalidFileError(
            f"{target.path} is changed, but a power cut may bring the old one back:"
            f" its folder cannot be synced: {error.strerror}",
        ) from error


def discard(staged: Path) -> None:
    """Remove a staged file that is not needed. If that fails, the file does no harm."""
    with contextlib.suppress(OSError), place(staged) as target:
        os.unlink(target.name, dir_fd=target.folder)


def sync_folder(folder: int) -> None:
    """Make the names in an open folder survive a power cut. Raises OSError."""
    descriptor = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, content: bytes) -> None:
    """Write all of `content`. Raises OSError."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def ownership_of(path: Path) -> Ownership | None:
    """Return mode and owner of a regular file, None if there is none at that name."""
    try:
        with place(path) as target:
            present = _attributes(target)
    except OSError:
        return None
    return None if present is None else present[0]


def _attributes(target: Place) -> tuple[Ownership, bytes | None] | None:
    """Return owner and ACL of a regular file; None if there is none at that name."""
    try:
        found = os.lstat(target.name, dir_fd=target.folder)
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    mode = stat.S_IMODE(found.st_mode) & _PERMISSIONS
    return Ownership(mode, found.st_uid, found.st_gid), _acl(target)


def _acl(target: Place) -> bytes | None:
    """Return the ACL of a file as the kernel stores it; None without one."""
    try:
        descriptor = target.open(os.O_RDONLY)
    except OSError:
        return None
    try:
        return os.getxattr(descriptor, _ACL)
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _set_acl(descriptor: int, acl: bytes | None) -> None:
    """Give a new file an ACL, or remove the one inherited from its folder. Raises OSError."""
    if acl is not None:
        os.setxattr(descriptor, _ACL, acl)
    else:
        with contextlib.suppress(OSError):
            os.removexattr(descriptor, _ACL)


def read(path: Path, what: str, *, limit: int) -> bytes:
    """Return the content of a file that the operator named; links are followed as `place` does.

    Otherwise another user could put a link to a secret file in its place, and read of it what an
    error quotes. `limit` is the most bytes; `what` names the file in errors. Raises
    InvalidFileError. FileNotFoundError passes through: each caller reports a missing file in its
    own words.
    """
    try:
        return _content(path, _open_named(path), what, limit)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _unreadable(path, what, error) from error


def _open_named(path: Path) -> int:
    # Without O_NONBLOCK, opening a FIFO would wait for ever.
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
    if path.absolute().parts[1:2] in {("dev",), ("proc",)}:
        # Links of the kernel, such as /dev/stdin, lead to what has no name.
        return os.open(path, flags)
    with place(path, follow=True) as target:
        return target.open(flags)


def read_own(
    path: Path, what: str, *, limit: int, follow: bool = False, owner: int | None = None
) -> bytes:
    """Return the content of a file that may lie in another user's folder.

    Like `read`, but symbolic links are followed only as `place` allows, and at the file's own name
    only with `follow`. A hard link that another user may have made is refused, and with `owner` a
    file of any other user.
    """
    try:
        with place(path, follow=follow) as target:
            descriptor = target.open(os.O_RDONLY)
            try:
                found = os.fstat(descriptor)
                _check_hard_link(target, found)
                _check_owner(found, owner)
            except OSError:
                os.close(descriptor)
                raise
            return _content(path, descriptor, what, limit)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _unreadable(path, what, error) from error


def _check_owner(found: os.stat_result, owner: int | None) -> None:
    """Refuse a file of another user than `owner`, if that is given. Raises OSError."""
    if owner is not None and found.st_uid != owner:
        raise OSError(errno.EPERM, "it belongs to another user")


def _check_hard_link(target: Place, found: os.stat_result) -> None:
    """Refuse a second name of a file in a folder that is not its owner's. Raises OSError."""
    if os.geteuid() != 0 or found.st_nlink == 1:
        return
    if os.fstat(target.folder).st_uid != found.st_uid or _is_shared(target.folder):
        raise OSError(errno.EMLINK, "it is a hard link to another user's file")


def _content(path: Path, descriptor: int, what: str, limit: int) -> bytes:
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise InvalidFileError(f"{path}: the {what} is not a regular file")
        content = file.read(limit + 1)
    if len(content) > limit:
        most = f"{limit // 1_000_000} MB" if limit >= 1_000_000 else f"{limit} bytes"
        raise InvalidFileError(f"{path}: the {what} is larger than {most}")
    return content


def permission_hint(path: Path, error: OSError) -> str | None:
    """Return a hint for a permission error; None for every other error."""
    if error.errno == errno.EROFS:
        return "if the timer reports this: exitpol init --timer; otherwise mount it read-write"
    if not isinstance(error, PermissionError):
        return None
    if os.geteuid() != 0:
        return "run exitpol as root"
    paths = f"{word(path)} {word(path.parent)}"
    return f"it may be immutable or append-only: lsattr -d {paths}"


def _unreadable(path: Path, what: str, error: OSError) -> InvalidFileError:
    return InvalidFileError(
        f"{path}: the {what} cannot be read: {error.strerror}", hint=permission_hint(path, error)
    )


def _unchanged(path: Path, error: OSError) -> InvalidFileError:
    return InvalidFileError(
        f"{path} cannot be written: {error.strerror}; it is unchanged",
        hint=permission_hint(path, error),
    )
