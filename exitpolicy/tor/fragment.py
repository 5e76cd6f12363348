"""The fragment: the one file that exitpol owns and Tor includes."""

import os
import stat
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Final

from exitpolicy.core.errors import InvalidFileError
from exitpolicy.core.shell import word
from exitpolicy.policy.rule import Entry, parse_entries, torrc_values
from exitpolicy.storage import files

MAX_BYTES: Final = 64_000_000
MODE: Final = 0o644
"""Relays that run as different users all have to read it."""

_KEPT: Final = 4
"""Cached texts and rules: a plan needs those of the installed and of the new text several times."""

_HEADER: Final = """\
# Written by exitpol; what you change here will be overwritten.
# What is blocked and why: exitpol list. To change it: exitpol block, exitpol lift.
"""
RETIRED: Final = """\
# A former fragment of exitpol, without rules: each relay includes a file of its own now.
# Delete it when no template and no backup of a torrc includes it: a Tor whose torrc includes a
# missing file exits.
"""
"""The text of the former single fragment when no torrc includes it any more."""
_KEYWORD: Final = "ExitPolicy "


def is_fragment(text: str) -> bool:
    """Tell whether a text was written by `render`: that of another relay, or a former one."""
    return text.startswith(_HEADER.partition("\n")[0])


def render(rules: Iterable[Entry]) -> str:
    """Return the text of the fragment with these rules in this order."""
    return _render(tuple(rules))


@lru_cache(maxsize=_KEPT)
def _render(rules: tuple[Entry, ...]) -> str:
    return _HEADER + "".join(f"{_KEYWORD}{value}\n" for value in torrc_values(rules))


@lru_cache(maxsize=_KEPT)
def rules_of(text: str) -> tuple[Entry, ...]:
    """Return the rules in a fragment's text."""
    return parse_entries(
        line.removeprefix(_KEYWORD) for line in text.splitlines() if line.startswith(_KEYWORD)
    )


def read(path: Path) -> str | None:
    """Return the installed text, None if there is no fragment. Raises InvalidFileError."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InvalidFileError(f"{path}: the fragment cannot be read: {error.strerror}") from error
    if stat.S_ISLNK(found.st_mode):
        # Not resolve(), which raises another error for circular links.
        paths = f"{word(os.path.realpath(path))} {word(path)}"
        raise InvalidFileError(
            f"{path} is a symbolic link; exitpol replaces its fragment by rename",
            hint=f"make it a file of its own: cp --remove-destination {paths}",
        )
    content = files.read_own(path, "fragment", limit=MAX_BYTES)
    return content.decode("utf-8", "surrogateescape")


def stage(path: Path, text: str) -> Path:
    """Write a candidate beside the fragment, readable by every Tor; return where it is.

    Raises InvalidFileError; the fragment is unchanged then.
    """
    present = files.ownership_of(path)
    # Relays of one host run as different users, so every user must be able to read the file. It is
    # no secret: the descriptors publish the same rules.
    owner = present or files.Ownership(MODE, os.geteuid(), os.getegid())
    mode = owner.mode & stat.S_IWGRP | MODE
    return files.stage(path, text.encode(), files.Ownership(mode, owner.uid, owner.gid))


def is_public(path: Path) -> bool:
    """Tell whether every Tor may read the fragment, and not everybody write it.

    `stage` makes it so.
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return mode & MODE == MODE and not mode & stat.S_IWOTH
