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


def read(paths: Sequence[Path], owners: Collection[int]) -> bytes:
    """Return the cookie in the first of the paths that exists.

    It must be a regular file of 32 bytes that belongs to one of `owners` (user numbers). Raises
    CookieError.
    """
    for path in paths:
        try:
            # A FIFO must not hold us up, and a link must not lead elsewhere.
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(path, flags)
        except FileNotFoundError:
            continue
        except OSError as error:
            hint = "run exitpol as root" if isinstance(error, PermissionError) else "restart Tor"
            raise CookieError(
                f"its cookie {path} may not be read: {error.strerror}", hint
            ) from error
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
    named = " or ".join(str(path) for path in paths)
    raise CookieError(
        f"there is no cookie in {named}",
        "write CookieAuthentication 1 into the torrc and restart Tor; where Tor was started with"
        " another --defaults-torrc, name it in the config: defaults_torrc",
    )
