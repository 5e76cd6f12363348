"""Tell whether a running Tor sees the same file at a path as exitpol does.

systemd gives a service its own view of /tmp, /home and other folders: a file there exists outside
the service and not inside. The lists of mounts show this, and every user may read them
(proc_pid_mountinfo(5)).
"""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

_OCTAL: Final = re.compile(rb"\\([0-7]{3})")

Location = tuple[str, str]
"""A device, and a path in the file system on it."""


@dataclass(frozen=True, slots=True)
class _Mount:
    parent: str
    device: str
    root: str
    """The path in its file system that is visible at `point`."""
    point: str


class Mounts:
    """The mounts that a process sees."""

    def __init__(self, text: bytes) -> None:
        self._by_id: dict[str, _Mount] = {}
        for line in text.splitlines():
            words = line.split()
            if len(words) >= 6:
                # Identifier, parent, device, root, mount point.
                number, parent, device, root, point = (_unescaped(word) for word in words[:5])
                self._by_id[number] = _Mount(parent, device, root, point)
        self._children: dict[tuple[str, str], str] = {
            (mount.parent, mount.point): number
            for number, mount in self._by_id.items()
            if mount.parent != number
        }
        """The mount at a mount point, by the identifier of its parent and the point."""

    def locate(self, path: str) -> Location | None:
        """Return where an absolute path without links leads; None without a mount at `/`."""
        tops = [n for n, m in self._by_id.items() if m.point == "/" and m.parent not in self._by_id]
        if len(tops) != 1:
            return None
        current = self._topmost(tops[0], "/")
        for prefix in _prefixes(path):
            current = self._topmost(current, prefix)
        mount = self._by_id[current]
        inside = os.path.relpath(path, mount.point)
        return mount.device, os.path.normpath(os.path.join(mount.root, inside))  # noqa: PTH118

    def _topmost(self, number: str, point: str) -> str:
        while (child := self._children.get((number, point))) is not None:
            number = child
        return number


def hidden(pid: int, paths: Iterable[Path]) -> list[Path]:
    """Return those of the paths at which a process sees another file than we do.

    A path that does not exist stands for the file that may be made there.
    """
    here, there = _listed("self"), _listed(pid)
    # A mount has another identifier in each namespace: where the lists are equal, it is the same.
    if here is None or there is None or here == there:
        return []
    ours, theirs = _mounts(here), _mounts(there)
    found: list[Path] = []
    for path in paths:
        places = dict.fromkeys((os.path.normpath(path), os.path.realpath(path)))
        if any(ours.locate(place) != theirs.locate(place) for place in places):
            found.append(path)
    return found


def is_shared(pid: int, path: Path) -> bool:
    """Tell whether a process surely sees at a path what we see there."""
    listed = _listed("self") is not None and _listed(pid) is not None
    return listed and not hidden(pid, [path])


def _listed(pid: int | str) -> bytes | None:
    """Return the list of mounts of a process; None if it cannot be seen."""
    try:
        return Path(f"/proc/{pid}/mountinfo").read_bytes()
    except OSError:
        return None


# Relays of one host have the same mounts, or one of a few sets.
@lru_cache(maxsize=4)
def _mounts(text: bytes) -> Mounts:
    return Mounts(text)


def _prefixes(path: str) -> list[str]:
    """Return the folders that lead to a path, and the path itself, without the root."""
    parts = [part for part in path.split("/") if part]
    return ["/" + "/".join(parts[: count + 1]) for count in range(len(parts))]


def _unescaped(word: bytes) -> str:
    return os.fsdecode(_OCTAL.sub(lambda match: bytes([int(match[1], 8)]), word))
