"""Users as whom Tor runs, and files that only trusted users can change."""

import grp
import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PROGRAM_FOLDERS: Final = ("/usr/sbin", "/usr/bin", "/sbin", "/bin")


@dataclass(frozen=True, slots=True)
class User:
    """The rights with which a process reads files."""

    uid: int
    gid: int
    groups: tuple[int, ...]


def by_name(name: str) -> User | None:
    """Return the user of a name in the user database; None if there is none."""
    try:
        return _user(pwd.getpwnam(name))
    except (KeyError, OSError):
        return None


def by_uid(uid: int) -> User:
    """Return the user of a number, without groups if the user database does not know it."""
    try:
        return _user(pwd.getpwuid(uid))
    except (KeyError, OSError):
        return User(uid, uid, ())


def name_of(uid: int) -> str:
    """Return the name of a user, or its number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OSError):
        return str(uid)


def group_name(gid: int) -> str:
    """Return the name of a group, or its number where it has none."""
    try:
        return grp.getgrgid(gid).gr_name
    except (KeyError, OSError):
        return str(gid)


def home_of(uid: int) -> Path | None:
    """Return the home folder of a user; None where it has none."""
    try:
        return Path(pwd.getpwuid(uid).pw_dir)
    except (KeyError, OSError):
        return None


def _user(entry: pwd.struct_passwd) -> User:
    groups = tuple(os.getgrouplist(entry.pw_name, entry.pw_gid))
    return User(entry.pw_uid, entry.pw_gid, groups)


def trusted_program(name: str) -> str | None:
    """Return the first program of a name in PATH, or where programs are, that only root can change.

    A relative folder in PATH is that of whoever owns the working folder. None if there is none.
    """
    # Imported here, because most commands need no program but tor.
    import shutil  # noqa: PLC0415

    for folder in (*os.environ.get("PATH", "").split(os.pathsep), *_PROGRAM_FOLDERS):
        found = shutil.which(name, path=folder) if folder.startswith("/") else None
        if found is not None and only_changed_by_root(Path(os.path.realpath(found))):
            return found
    return None


def only_changed_by_root(path: Path) -> bool:
    """Tell whether nobody but root, and ourselves, can change a file or put another in its place.

    `path` must have no symbolic links in it: os.path.realpath.
    """
    trusted = {0, os.geteuid()}
    try:
        for part in (path, *path.parents):
            found = part.lstat()
            if found.st_uid not in trusted or stat.S_ISLNK(found.st_mode):
                return False
            shared = stat.S_IMODE(found.st_mode) & (stat.S_IWGRP | stat.S_IWOTH)
            # In a sticky folder nobody can replace the file of another.
            if shared and not (stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX):
                return False
    except OSError:
        return False
    return True
