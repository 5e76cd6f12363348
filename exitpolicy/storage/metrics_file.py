"""The file of metrics, which another program reads: node_exporter, as a user of its own.

The file and the state of the last observation have one modification time, in whole seconds, as
long as the file shows that observation. So the tick sees, without reading either, when another
command has observed Tor anew.
"""

import os
import stat
from pathlib import Path
from typing import Final

from exitpolicy.core.errors import InvalidFileError
from exitpolicy.storage import files

_PUBLIC: Final = 0o644
_START: Final = b"# HELP exitpol_"
"""How each file of metrics begins, whatever version wrote it."""


def write(path: Path, text: str) -> None:
    """Replace the file in one step, readable for everybody. Raises InvalidFileError.

    Only a file of metrics is replaced, or an empty one: not the torrc, nor /dev/null, if a mistyped
    path names them. The caller holds a lock.
    """
    try:
        folder = path.absolute().parent.stat()
    except OSError as error:
        raise InvalidFileError(
            f"{path} cannot be written: its folder: {error.strerror}",
            hint="correct metrics: in the config, or make the folder",
        ) from error
    if reason := _why_kept(path):
        raise InvalidFileError(
            f"{path} is not replaced: {reason}",
            hint="name another file, or move that one away; without --output, status writes the"
            " metrics to its output",
        )
    owner = (folder.st_uid, folder.st_gid) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    files.replace(path, text.encode(), files.Ownership(_PUBLIC, *owner))


def is_ours(path: Path) -> bool:
    """Tell whether there is a file of metrics, or an empty one, at a path."""
    return os.path.lexists(path) and not _why_kept(path)


def _why_kept(path: Path) -> str:
    """Return why what is at a path is neither replaced nor deleted; empty if it may be."""
    try:
        with files.place(path) as target:
            found = os.lstat(target.name, dir_fd=target.folder)
            if not stat.S_ISREG(found.st_mode):
                return "it is not a regular file"
            if not found.st_size:
                return ""
            descriptor = target.open(os.O_RDONLY)
            try:
                begins = os.pread(descriptor, len(_START), 0)
            finally:
                os.close(descriptor)
    except FileNotFoundError:
        return ""
    except OSError as error:
        return error.strerror or str(error)
    return "" if begins == _START else "it holds something else than metrics of exitpol"


def mark_shown(path: Path, state: Path, applied: float, now: float) -> None:
    """Note that the file shows the observation of the moment `applied`, if that is the last one.

    If this fails, the tick writes the file again.
    """
    second = int(now)
    try:
        with files.place(state) as target:
            descriptor = target.open(os.O_RDONLY)
            try:
                # Of this very file: another command may replace it meanwhile.
                head = os.pread(descriptor, 200, 0).decode("ascii", "replace").split("\n")
                if f"applied {applied:.3f}" not in head:
                    return
                os.utime(descriptor, (second, second))
            finally:
                os.close(descriptor)
        with files.place(path) as target:
            os.utime(target.name, (second, second), dir_fd=target.folder, follow_symlinks=False)
    except OSError:
        return
