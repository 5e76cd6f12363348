"""Read the lines of a torrc and of the files that it includes.

Tor itself interprets the options.
"""

import glob
import os
import stat
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from exitpolicy.core.errors import InvalidFileError
from exitpolicy.storage import files
from exitpolicy.tor.torrc_includes import (
    IncludeLimitError,
    Level,
    Place,
    check_depth,
    included,
    is_file,
    searched,
)
from exitpolicy.tor.torrc_lines import lines

MAX_BYTES: Final = 16_000_000
_GRAIN_SECONDS: Final = 1.0
"""File systems note the time of a change as coarsely as this, or finer."""


def read_text(torrc: Path) -> str:
    """Return a torrc's text, bytes that are not UTF-8 kept. Raises InvalidFileError.

    The torrc may lie in a folder of Tor's user, and a process of that user is given the text for
    verification. It must therefore be nothing that this user could not read.
    """
    before = _signature(torrc)
    known = _texts.get(torrc)
    if known is not None and known.signature == before:
        return known.text
    missing = InvalidFileError(
        f"{torrc}: there is no such torrc", hint="name it: exitpol init --torrc PATH"
    )
    # These need not be opened. /etc/tor/torrc-defaults is missing on most hosts, and a command asks
    # for it many times.
    if before is None and not os.path.lexists(torrc):
        raise missing
    if before is not None and not stat.S_ISREG(before.mode):
        raise InvalidFileError(f"{torrc}: the torrc is not a regular file")
    try:
        content = files.read_own(torrc, "torrc", limit=MAX_BYTES, follow=True)
        text = content.decode("utf-8", "surrogateescape")
    except FileNotFoundError as error:
        raise missing from error
    # A file that has just been changed may be changed again without another time of its change.
    if (
        before is not None
        and before == _signature(torrc)
        and before.is_older(_GRAIN_SECONDS)
        and len(text) <= _LONGEST_TEXT
        and len(_texts) < _MOST_TEXTS
    ):
        _texts[torrc] = _Text(before, text)
    return text


class _Signature(NamedTuple):
    """What differs after a change of a file, of its owner or of its mode, and for another file."""

    device: int
    inode: int
    mode: int
    size: int
    modified: int
    changed: int
    """When, in nanoseconds; no user can set it."""

    def is_older(self, seconds: float) -> bool:
        """Tell whether the file was changed that long ago at least."""
        return self.changed < time.time_ns() - seconds * 1e9


class _Text(NamedTuple):
    signature: _Signature
    text: str


_texts: Final[dict[Path, _Text]] = {}
"""The texts that this process has read. A command asks each of them twenty questions."""
_MOST_TEXTS: Final = 500
_LONGEST_TEXT: Final = 2_000_000
"""In characters. Tor's user may own the folder of an include, and must not fill the memory."""


def _signature(path: Path) -> _Signature | None:
    """Return the signature of a file; None if there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116 - Path.stat raises ValueError for some names
    except (OSError, ValueError):
        return None
    return _Signature(
        found.st_dev,
        found.st_ino,
        found.st_mode,
        found.st_size,
        found.st_mtime_ns,
        found.st_ctime_ns,
    )


def values(torrc: Path, names: Collection[str], folder: Path = Path("/")) -> dict[str, list[str]]:
    """Return the values of options in a torrc and its includes, in the order of the lines.

    `names` and the keys are in lower case. `+` adds and `/` clears, as in Tor. An include that
    cannot be read is left out: Tor reports it better. Raises InvalidFileError.
    """
    found: dict[str, list[str]] = {}
    _collect(torrc, frozenset(names), folder, found, Level())
    return found


def _collect(
    torrc: Path, names: frozenset[str], folder: Path, found: dict[str, list[str]], level: Level
) -> None:
    text = read_text(torrc)
    lower = text.lower()
    # Long lists of rules are common, and reading them line by line is slow.
    if not any(name in lower for name in (*names, "%include")):
        return
    for line in lines(text):
        name = line.keyword.lstrip("+/")
        if line.keyword == "%include":
            check_depth(torrc, line, level)
            for path in included(line.content, folder, level):
                if is_file(path):
                    try:
                        _collect(path, names, folder, found, level.below())
                    except IncludeLimitError:
                        # Continuing with the next include would take time exponential in the depth.
                        raise
                    except InvalidFileError:
                        continue
        elif name in names:
            if line.keyword.startswith("/"):
                found.pop(name, None)
            else:
                found.setdefault(name, []).append(line.content)


def hidden_names(torrc: Path, folder: Path = Path("/")) -> set[str]:
    """Return the names, in lower case, of options that Tor keeps out of config-text: `__Name`.

    Raises InvalidFileError.
    """
    found: set[str] = set()
    for path in (torrc, *(path for _, path in includes(torrc, folder) if is_file(path))):
        text = read_text(path)
        if "__" in text:
            keywords = (line.keyword.lstrip("+/") for line in lines(text))
            found.update(keyword for keyword in keywords if keyword.startswith("__"))
    return found


def includes(torrc: Path, folder: Path = Path("/")) -> list[tuple[Place, Path]]:
    """Return each file that a torrc includes, also by other includes, with its place.

    Raises InvalidFileError.
    """
    return list(includes_below(torrc, folder, Level()))


def includes_below(torrc: Path, folder: Path, level: Level) -> Iterator[tuple[Place, Path]]:
    """Yield what `includes` returns, for a file that is included at some level itself."""
    text = read_text(torrc)
    if "%include" not in text.lower():
        return
    for line in lines(text):
        if line.keyword == "%include":
            check_depth(torrc, line, level)
            for path in included(line.content, folder, level):
                yield Place(torrc, line.number), path
                if is_file(path):
                    yield from includes_below(path, folder, level.below())


def sources(torrc: Path, folder: Path = Path("/")) -> list[Path]:
    """Return the files of a torrc, and the folders in which a new file would become one of them.

    A file that cannot be read is listed without its includes. Raises InvalidFileError
    for includes that are too deep.
    """
    found: dict[Path, None] = {}
    _add_sources(torrc, folder, found, Level())
    return list(found)


def _add_sources(torrc: Path, folder: Path, found: dict[Path, None], level: Level) -> None:
    if torrc in found:
        return
    found[torrc] = None
    try:
        text = read_text(torrc)
    except InvalidFileError:
        return
    if "%include" not in text.lower():
        return
    for line in lines(text):
        if line.keyword != "%include":
            continue
        check_depth(torrc, line, level)
        pattern = os.path.join(folder, line.content)  # noqa: PTH118 - as in included()
        named = Path(pattern)
        if glob.has_magic(pattern):
            found |= dict.fromkeys(searched(named, level))
        elif named.is_dir():
            found[named] = None
        for path in included(line.content, folder, level):
            _add_sources(path, folder, found, level.below())
