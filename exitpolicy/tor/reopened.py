"""What Tor opens again at a reload besides its configuration files.

A log that cannot be opened, a PidFile that cannot be written, or a control socket's folder that
others may enter, ends a running Tor at its next reload although none of its options has changed.
`--verify-config` looks at none of these. Measured; see also options_act in Tor's
src/app/config/config.c, and check_private_dir in src/lib/fs/dir.c.
"""

import contextlib
import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from exitpolicy.core.errors import TorRefusesError
from exitpolicy.tor import mounts, users
from exitpolicy.tor.users import User

NAMES: Final = (
    *("PidFile", "Log", "DataDirectory", "HiddenServiceDir"),
    *("ControlSocket", "ControlPort", "SocksPort", "ControlSocketsGroupWritable", "Sandbox"),
)
"""The options that name these files and folders, or change how Tor opens them."""

_LOG_FILE: Final = re.compile(r"[^/]*\sfile\s+(/.+)", re.IGNORECASE)
_SOCKET: Final = re.compile(r'(?:unix:)?(?:"(/[^"]+)"|(/\S+))(.*)')
_OF_THE_SYSTEM: Final = ("/dev/", "/proc/")
"""Each process sees files of its own there."""


def harm(
    name: str, options: Mapping[str, Sequence[str]], user: User, pid: int
) -> TorRefusesError | None:
    """Return why a reload would end a running Tor with unchanged options; None if nothing is known.

    `name` is the relay's, `options` are the values by name of the options NAMES, and `user` is
    Tor's. What cannot be seen, or what Tor sees elsewhere, is taken for fine.
    """
    for path, problem in _problems(options, user):
        # With another mount at this place, Tor sees another file.
        if pid and mounts.is_shared(pid, path):
            return TorRefusesError(
                f"Tor ({name}) would exit at a reload: {problem}",
                # No command: Tor's user may have chosen the path, and root would type it.
                hint="correct that, or name another place in the torrc; then: exitpol apply",
            )
    return None


def _problems(options: Mapping[str, Sequence[str]], user: User) -> Iterator[tuple[Path, str]]:
    """Yield what Tor cannot open, each with its path."""
    checks = [(Path(value), _folder) for value in options.get("DataDirectory", ())]
    checks += [(Path(value), _service) for value in options.get("HiddenServiceDir", ())]
    if list(options.get("Sandbox", ())) != ["1"]:
        checks += [(Path(value), _written) for value in options.get("PidFile", ())]
    for value in options.get("Log", ()):
        if match := _LOG_FILE.fullmatch(value.strip()):
            checks.append((Path(match[1]), _written))
    for path, check in checks:
        if path.is_absolute() and not str(path).startswith(_OF_THE_SYSTEM):
            with contextlib.suppress(OSError):  # as a user, or in the timer's unit
                if (problem := check(path, user)) is not None:
                    yield path, problem
    for path, flags in _sockets(options):
        with contextlib.suppress(OSError):
            if (problem := _private(path.parent, flags, user)) is not None:
                yield path.parent, problem


def _sockets(options: Mapping[str, Sequence[str]]) -> Iterator[tuple[Path, frozenset[str]]]:
    """Yield the paths of unix sockets with their flags in lower case.

    Those that everybody may use are left out: Tor makes them anywhere.
    """
    shared = list(options.get("ControlSocketsGroupWritable", ())) == ["1"]
    for name in ("ControlSocket", "ControlPort", "SocksPort"):
        for value in options.get(name, ()):
            if match := _SOCKET.fullmatch(value.strip()):
                flags = frozenset(match[3].lower().split())
                if shared and name == "ControlSocket":
                    flags |= {"groupwritable"}
                if "worldwritable" not in flags:
                    yield Path(match[1] or match[2]), flags


def _written(path: Path, user: User) -> str | None:
    """Return why a user cannot write a file, or make it if there is none. Raises OSError."""
    real = Path(os.path.realpath(path))
    if (problem := _entered(real.parent, user)) is not None:
        return problem
    try:
        found = real.stat()
    except FileNotFoundError:
        if _may(user, real.parent, 2):
            return None
        return _refused(user, "make files in", real.parent)
    if stat.S_ISDIR(found.st_mode):
        return f"{path} is a folder, and Tor writes a file there"
    return None if _may(user, real, 2) else _refused(user, "write", real)


def _folder(path: Path, user: User) -> str | None:
    return _entered(Path(os.path.realpath(path)), user)


def _service(path: Path, user: User) -> str | None:
    real = Path(os.path.realpath(path))
    # Tor makes the folder itself if it can.
    return None if real.is_dir() else _written(real, user)


def _entered(folder: Path, user: User) -> str | None:
    """Return why a user cannot enter a folder without links. Raises OSError."""
    for each in (*reversed(folder.parents), folder):
        try:
            found = each.stat()
        except FileNotFoundError:
            return f"there is no folder {each}"
        if not stat.S_ISDIR(found.st_mode):
            return f"{each} is no folder"
        if not _may(user, each, 1):
            return _refused(user, "enter", each)
    return None


def _private(folder: Path, flags: frozenset[str], user: User) -> str | None:
    """Return why Tor would take a folder for unsafe for its sockets. Raises OSError."""
    if (problem := _entered(Path(os.path.realpath(folder.parent)), user)) is not None:
        return problem
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return _entered(folder, user)
    owner = users.name_of(user.uid)
    shared = "groupwritable" in flags
    if not stat.S_ISDIR(found.st_mode):
        return f"{folder}, the place of its socket, is no folder"
    if found.st_uid != user.uid or (shared and found.st_gid not in {user.gid, 0}):
        return f"{folder}, the folder of its socket, does not belong to {owner}"
    unwanted = 0o027 if shared else 0o077
    if "relaxdirmodecheck" in flags:
        unwanted &= 0o022
    if stat.S_IMODE(found.st_mode) & unwanted:
        return f"other users than {owner} have rights to {folder}, the folder of its socket"
    return None


def _refused(user: User, action: str, path: Path) -> str:
    return f"Tor's user {users.name_of(user.uid)} cannot {action} {path}"


def _may(user: User, path: Path, bit: int) -> bool:
    """Tell whether a user has the right 4 (read), 2 (write) or 1 (enter). Raises OSError.

    With an access control list it is not known, and True.
    """
    found = path.stat()
    if user.uid == 0 or "system.posix_acl_access" in os.listxattr(path):
        return True
    if found.st_uid == user.uid:
        return bool(found.st_mode >> 6 & bit)
    if found.st_gid in {user.gid, *user.groups}:
        return bool(found.st_mode >> 3 & bit)
    return bool(found.st_mode & bit)
