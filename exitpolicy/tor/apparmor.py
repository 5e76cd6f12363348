"""Which files Debian's AppArmor profile lets Tor read.

Only the service is confined. A tor that verifies the files is not: it reads files whose reload ends
the running Tor.
"""

import os
import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from exitpolicy.tor import process

FOLDER: Final = Path("/etc/apparmor.d")
PROFILE: Final = "system_tor"
_FILES: Final = (PROFILE, "abstractions/tor", f"local/{PROFILE}")
"""The profile, what Debian includes in it, and the place for the host's own rules."""
_RULE: Final = re.compile(r"^\s*(/\S*)\s+[a-zA-Z]*r[a-zA-Z]*,", re.MULTILINE)
"""A rule that lets every user read: apparmor.d(5), FILE RULES."""
_GLOB: Final = re.compile(r"\*\*|\*|\?|\{|\}|,|\[[^]]+\]|[^*?{},[]+")
_META: Final = re.compile(r'[]*?{}[,^"\\]')
"""Characters of a path that would widen or end a rule."""
_ESCAPED: Final = r"\\\g<0>"
_IN_REGEX: Final = {"**": ".*", "*": "[^/]*", "?": "[^/]", "{": "(?:", "}": ")", ",": "|"}


def exists() -> bool:
    """Tell whether this host has the profile."""
    return (FOLDER / PROFILE).exists()


def is_enforced(pid: int) -> bool:
    """Tell whether a process is confined by the profile."""
    return (process.confinement(pid) or "") == f"{PROFILE} (enforce)"


def forbidden(paths: Iterable[Path]) -> list[Path]:
    """Return those of the files that the profile does not let Tor read; none without a profile."""
    if not exists():
        return []
    allowed = [re.compile(_regex(rule)) for rule in _rules()]
    return [
        path for path in paths
        if not any(rule.fullmatch(os.path.realpath(path)) for rule in allowed)
    ]  # fmt: skip


def how_to_allow(path: Path) -> str:
    """Return the commands that let Tor read a file."""
    rule = f'"{_META.sub(_ESCAPED, os.path.realpath(path))}" r,'
    profile = FOLDER / PROFILE
    return f"echo {shlex.quote(rule)} >> {FOLDER}/local/{PROFILE}; apparmor_parser -r {profile}"


def _rules() -> Iterator[str]:
    for name in _FILES:
        try:
            text = (FOLDER / name).read_text("utf-8", "replace")
        except OSError:
            continue
        yield from _RULE.findall(text)


def _regex(rule: str) -> str:
    """Return a path of a rule, with its wildcards, as a regular expression."""
    pieces = _GLOB.findall(rule)
    if pieces.count("{") != pieces.count("}"):
        return re.escape(rule)
    depth, found = 0, ""
    for piece in pieces:
        depth += (piece == "{") - (piece == "}")
        if piece.startswith("["):
            found += piece
        elif piece in _IN_REGEX and (piece != "," or depth):
            found += _IN_REGEX[piece]
        else:
            found += re.escape(piece)
    return found
