"""The file with the cookie that Tor writes for those who may control it."""

import os
import stat
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Final

from exitpolicy.tor import users

SIZE: Final = 32
"""Bytes in a cookie (control-spec 5.1)."""


class CookieError(Exception):
    """There is no cookie that can be used: `str()` says why, `hint` what to do."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def read_all(paths: Sequence[Path], owners: Collection[int]) -> list[bytes]:
    """Return the cookies in those of the paths that exist and hold one, at least one of them.

    A cookie is a regular file of 32 bytes that belongs to one of `owners` (user numbers). Raises
    CookieError, about the first that is none.
    """
    found: list[bytes] = []
    problems: list[CookieError] = []
    for path in paths:
        try:
            cookie = _read(path, owners)
        except CookieError as error:
            problems.append(error)
            continue
        if cookie is not None:
            found.append(cookie)
    if found:
        return found
    if problems:
        raise problems[0]
    named = " or ".join(str(path) for path in paths)
    raise CookieError(
        f"there is no cookie in {named}",
        "write CookieAuthentication 1 into the torrc and restart Tor; where Tor was started with"
        " another --defaults-torrc, name it in the config: defaults_torrc",
    )


def _read(path: Path, owners: Collection[int]) -> bytes | None:
    """Return the cookie at a path; None if there is no file. Raises CookieError."""
    try:
        # A FIFO must not block us, and no link is followed.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        return None
    except OSError as error:
        hint = "run exitpol as root" if isinstance(error, PermissionError) else "restart Tor"
        raise CookieError(f"its cookie {path} may not be read: {error.strerror}", hint) from error
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise CookieError(f"its cookie {path} is not a regular file", "restart Tor")
        if found.st_uid not in owners:
            name = users.name_of(found.st_uid)
            raise CookieError(f"its cookie {path} belongs to user {name}", "restart Tor")
        content = file.read(SIZE + 1)
    if len(content) != SIZE:
        raise CookieError(f"its cookie {path} has the wrong size", "restart Tor")
    return content
