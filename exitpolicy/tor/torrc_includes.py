"""The files that a line `%include` of a torrc names, and how many may be read.

Follows src/lib/fs/conffile.c of Tor.
"""

import contextlib
import fnmatch
import glob
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exitpolicy.core.errors import InvalidFileError
from exitpolicy.tor.torrc_lines import Line

MAX_DEPTH: Final = 30
"""How deep Tor follows includes: MAX_INCLUDE_RECURSION_LEVEL, less one for the torrc itself."""
MAX_FILES: Final = 2_000
"""The most files that a torrc may include; one that is included twice counts twice."""
MAX_INCLUDED: Final = 16_000_000
"""The most bytes that a torrc may include, counted likewise."""
MAX_ENTRIES: Final = 100_000
"""The most entries of folders that the patterns and folders of a torrc may search."""


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file."""

    file: Path
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class IncludeLimitError(InvalidFileError):
    """A chain of includes is longer than Tor allows, or a torrc includes too much to be read."""


class Level:
    """How many levels of includes may follow, and what may still be read in all of them.

    Tor's user may own the torrc. A file that includes the next one twice, 29 times over, and a
    pattern such as `/*/*/*/*` would take root's time without end.
    """

    def __init__(self, depth: int = MAX_DEPTH, spent: "Spent | None" = None) -> None:
        self.depth = depth
        self.spent = Spent() if spent is None else spent

    def below(self) -> "Level":
        """Return the level of the files that a file of this level includes."""
        return Level(self.depth - 1, self.spent)


@dataclass(slots=True)
class Spent:
    """What the includes of one torrc have cost so far. The methods raise IncludeLimitError."""

    files: int = 0
    size: int = 0
    entries: int = 0

    def add_file(self, path: Path) -> None:
        """Count a file that is included, each time that it is."""
        self.files += 1
        if self.files > MAX_FILES:
            raise IncludeLimitError(f"{path}: the torrc includes more than {MAX_FILES} files")
        with contextlib.suppress(OSError, ValueError):
            self.size += os.stat(path).st_size  # noqa: PTH116 - Path.stat raises ValueError
        if self.size > MAX_INCLUDED:
            raise IncludeLimitError(
                f"{path}: the torrc includes more than {MAX_INCLUDED // 10**6} MB"
            )

    def add_entry(self, folder: str) -> None:
        """Count an entry of a folder that is compared with a pattern."""
        self.entries += 1
        if self.entries > MAX_ENTRIES:
            raise IncludeLimitError(
                f"{folder}: an include searches more than {MAX_ENTRIES} entries of folders",
                hint="name the file, or a pattern in one folder",
            )


def check_depth(torrc: Path, line: Line, level: Level) -> None:
    """Refuse a chain of includes that is too long for Tor, such as a file that includes itself."""
    if level.depth == 0:
        raise IncludeLimitError(
            f"{Place(torrc, line.number)}: an include that is more than {MAX_DEPTH} levels deep"
        )


def included(value: str, folder: Path, level: Level) -> list[Path]:
    """Return the files that an include takes in, in Tor's order: literal, pattern or folder."""
    if not value:
        return []
    pattern = os.path.join(folder, value)  # noqa: PTH118 - Path would drop what glob needs
    if "\0" in pattern:
        return []
    found = sorted(_matches(pattern, level)) if glob.has_magic(pattern) else [pattern]
    result: list[Path] = []
    for name in found:
        # os.path answers False where Path raises: for a name that is too long, and in a folder
        # that may not be entered.
        if os.path.isdir(name):  # noqa: PTH112
            try:
                entries = sorted(_entries(name, level))
            except OSError as error:
                raise InvalidFileError(
                    f"{name}: the folder cannot be read: {error.strerror}",
                    hint="run exitpol as root" if isinstance(error, PermissionError) else None,
                ) from error
            inside = [Path(name, entry) for entry in entries if not entry.startswith(".")]
            result += [path for path in inside if is_file(path)]
        else:
            result.append(Path(name))
    for path in result:
        level.spent.add_file(path)
    return result


def is_file(path: Path) -> bool:
    """Tell whether a path is a file; False where its name is too long or its folder is closed."""
    # Path.is_file raises there.
    return os.path.isfile(path)  # noqa: PTH113


def searched(pattern: Path, level: Level) -> Iterator[Path]:
    """Yield the folders whose entries decide which files match a pattern."""
    parts = pattern.parts
    fixed = next(count for count, part in enumerate(parts) if glob.has_magic(part))
    yield Path(*parts[:fixed])
    for count in range(fixed + 1, len(parts)):
        yield from map(Path, _matches(str(Path(*parts[:count])), level))


def _matches(pattern: str, level: Level) -> list[str]:
    """Return the paths that match an absolute pattern, as glob.glob() does, in bounded time.

    Raises IncludeLimitError.
    """
    found = ["/"]
    for part in pattern.split("/")[1:]:
        if not glob.has_magic(part):
            found = [os.path.join(path, part) for path in found]  # noqa: PTH118 - keeps an end /
            continue
        is_match = re.compile(fnmatch.translate(part)).match
        searched, found = found, []
        for folder in searched:
            with contextlib.suppress(OSError):
                for name in _entries(folder, level):
                    if is_match(name) and (part.startswith(".") or not name.startswith(".")):
                        found.append(os.path.join(folder, name))  # noqa: PTH118
    return [path for path in found if os.path.lexists(path)]


def _entries(folder: str, level: Level) -> Iterator[str]:
    """Yield the names in a folder. Raises OSError, IncludeLimitError."""
    with os.scandir(folder) as entries:
        for entry in entries:
            level.spent.add_entry(folder)
            yield entry.name
