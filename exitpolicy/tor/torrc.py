"""Read a torrc and its includes as Tor does, and find where it includes the fragment.

Tor itself interprets the options. This module finds the `%include` line of the fragment, and makes
a copy of the torrc in which that line includes a candidate (tor: src/lib/fs/conffile.c).
"""

import contextlib
import fnmatch
import glob
import os
import re
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Final, NamedTuple

from exitpolicy.core.errors import InvalidFileError
from exitpolicy.policy.rule import Rule, parse_entries
from exitpolicy.storage import files
from exitpolicy.tor.torrc_lines import SPACE, Line, in_quotes, lines

MAX_BYTES: Final = 16_000_000
MAX_DEPTH: Final = 30
"""How deep Tor follows includes: MAX_INCLUDE_RECURSION_LEVEL, less one for the torrc itself."""
MAX_FILES: Final = 2_000
"""The most files that a torrc may include; one that is included twice counts twice."""
MAX_INCLUDED: Final = MAX_BYTES
"""The most bytes that a torrc may include, counted likewise."""
MAX_ENTRIES: Final = 100_000
"""The most entries of folders that the patterns and folders of a torrc may search."""

_GRAIN_SECONDS: Final = 1.0
"""File systems note the time of a change as coarsely as this, or finer."""


class _Mark(Enum):
    """What is read among the rules of the ExitPolicy lines."""

    INCLUDED = auto()
    """The include of the fragment."""
    REMOVED = auto()
    """A line `/ExitPolicy`, which removes all rules above it."""


_INCLUDED: Final = _Mark.INCLUDED
_REMOVED: Final = _Mark.REMOVED
_REMOVING: Final = "/exitpolicy"
"""The keyword of a line that removes all rules above it."""


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file."""

    file: Path
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class IncludeLimitError(InvalidFileError):
    """A chain of includes is longer than Tor allows, or a torrc includes too much to be read."""


class _Level:
    """How many levels of includes may follow, and what may still be read in all of them.

    Tor's user may own the torrc. A file that includes the next one twice, 29 times over, and a
    pattern such as `/*/*/*/*` would take root's time without end.
    """

    def __init__(self, depth: int = MAX_DEPTH, spent: "_Spent | None" = None) -> None:
        self.depth = depth
        self.spent = _Spent() if spent is None else spent

    def below(self) -> "_Level":
        """Return the level of the files that a file of this level includes."""
        return _Level(self.depth - 1, self.spent)


@dataclass(slots=True)
class _Spent:
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
            self.size += os.stat(path).st_size  # noqa: PTH116 - as in _signature
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


def read_text(torrc: Path) -> str:
    """Return a torrc's text, bytes that are not UTF-8 kept. Raises InvalidFileError.

    The torrc may lie in a folder of Tor's user, and a process of that user is given the text for
    verification. It must therefore be nothing that this user could not read.
    """
    before = _signature(torrc)
    known = _texts.get(torrc)
    if known is not None and known.signature == before:
        return known.text
    try:
        content = files.read_own(torrc, "torrc", limit=MAX_BYTES, follow=True)
        text = content.decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        raise InvalidFileError(
            f"{torrc}: there is no such torrc", hint="name it: exitpol init --torrc PATH"
        ) from None
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
        found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
    )


def include_place(torrc: Path, fragment: Path, folder: Path = Path("/")) -> Place | None:
    """Return where the torrc, or a file that it includes, includes the fragment; None if nowhere.

    `folder` is the working directory of Tor, to which relative paths are relative.
    """
    return _include_place(torrc, fragment, folder, _Level())


def redirected(torrc: Path, fragment: Path, candidate: Path | str, folder: Path = Path("/")) -> str:
    """Return the torrc's text with a candidate in place of the fragment.

    A Path is included in place of the fragment; a str is inserted there. Other includes do not
    change, except those of files that include the fragment: their text is inserted.
    """
    return _redirected(torrc, fragment, candidate, folder, _Level())


def with_include(torrc: Path, fragment: Path, folder: Path = Path("/")) -> str:
    """Return the torrc's text with `%include FRAGMENT` above the first ExitPolicy line.

    Lines that a later `/ExitPolicy` removes are no such lines: it would remove the fragment's rules
    as well. An include of a file that has an ExitPolicy line counts as one. Without any,
    `%include FRAGMENT` becomes the last line. Raises InvalidFileError.
    """
    text = read_text(torrc)
    if "\0" in text:
        number = text[: text.index("\0")].count("\n") + 1
        raise InvalidFileError(
            f"{Place(torrc, number)}: a NUL byte, and Tor reads nothing behind it",
            hint="remove the NUL byte",
        )
    texts: list[str] = []
    place: int | None = None
    goes_on = False
    level = _Level()
    for line in lines(text):
        goes_on = line.goes_on
        keywords = set(_exit_policy_keywords(torrc, line, folder, level))
        if _REMOVING in keywords:
            place = None
        elif keywords and place is None:
            place = len(texts)
        texts.append(line.text)
    ours = f"%include {fragment}\n"
    if place is not None:
        texts.insert(place, ours)
    else:
        # A blank line ends a continued value, as the end of the file did.
        texts.append(f"\n{ours}" if goes_on else ours)
    return "".join(texts)


def with_other_include(torrc: Path, former: Path, fragment: Path) -> str | None:
    """Return the torrc's text with `%include FRAGMENT` in place of the one include of `former`.

    None if that is not a line of the torrc itself that names the file: it may stand in another
    file, or be a pattern or a folder. Raises InvalidFileError.
    """
    places = include_places(torrc, former)
    text = read_text(torrc)
    if len(places) != 1 or places[0].file != torrc:
        return None
    result: list[str] = []
    for line in lines(text):
        if line.number == places[0].line:
            if line.goes_on or line.content != str(former):
                return None
            result.append(f"%include {fragment}\n")
        else:
            result.append(line.text)
    return "".join(result)


def first_exit_policy(
    torrc: Path, fragment: Path, sought: Rule, folder: Path = Path("/")
) -> Place | None:
    """Return the place of the first ExitPolicy line that holds a rule; None if there is none."""
    for place, text in own_rules(torrc, fragment, folder):
        if sought in parse_entries([text]):
            return place
    return None


def include_places(torrc: Path, fragment: Path, folder: Path = Path("/")) -> list[Place]:
    """Return every place at which the fragment is included, in the order in which Tor reads."""
    return [
        place for place, part in _policy(torrc, fragment, folder, _Level()) if part is _INCLUDED
    ]


def removed_at(torrc: Path, fragment: Path, folder: Path = Path("/")) -> Place | None:
    """Return the line `/ExitPolicy` that removes the fragment's rules; None if they remain."""
    removing: Place | None = None
    included = False
    for place, part in _policy(torrc, fragment, folder, _Level()):
        if part is _INCLUDED:
            removing = None
            included = True
        elif part is _REMOVED and included and removing is None:
            removing = place
    return removing


def rules_above(
    torrc: Path, fragment: Path, folder: Path = Path("/")
) -> Iterator[tuple[Place, str]]:
    """Yield the ExitPolicy rules that Tor applies before the fragment's, each with its place."""
    remaining = _remaining(torrc, fragment, folder)
    if any(part is _INCLUDED for _, part in remaining):
        for place, part in remaining:
            if not isinstance(part, str):
                return
            yield place, part


def own_rules(torrc: Path, fragment: Path, folder: Path = Path("/")) -> Iterator[tuple[Place, str]]:
    """Yield the ExitPolicy rules outside of the fragment that Tor applies, with their places."""
    for place, part in _remaining(torrc, fragment, folder):
        if isinstance(part, str):
            yield place, part


def values(torrc: Path, names: Collection[str], folder: Path = Path("/")) -> dict[str, list[str]]:
    """Return the values of options in a torrc and its includes, in the order of the lines.

    `names` and the keys are in lower case. `+` adds and `/` clears, as in Tor. An include that
    cannot be read is left out: Tor reports it better. Raises InvalidFileError.
    """
    found: dict[str, list[str]] = {}
    _collect(torrc, frozenset(names), folder, found, _Level())
    return found


def _collect(
    torrc: Path, names: frozenset[str], folder: Path, found: dict[str, list[str]], level: _Level
) -> None:
    text = read_text(torrc)
    lower = text.lower()
    # Long lists of rules are common, and reading them line by line is slow.
    if not any(name in lower for name in (*names, "%include")):
        return
    for line in lines(text):
        name = line.keyword.lstrip("+/")
        if line.keyword == "%include":
            _check_depth(torrc, line, level)
            for path in _included(line.content, folder, level):
                if _is_file(path):
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
    for path in (torrc, *(path for _, path in includes(torrc, folder) if _is_file(path))):
        text = read_text(path)
        if "__" in text:
            keywords = (line.keyword.lstrip("+/") for line in lines(text))
            found.update(keyword for keyword in keywords if keyword.startswith("__"))
    return found


def replaces_policy(torrc: Path, fragment: Path, folder: Path = Path("/")) -> bool:
    """Tell whether a torrc, without the fragment, replaces the policy of the defaults-torrc.

    A line `+ExitPolicy` only adds to it. Raises InvalidFileError.
    """
    others = (
        path for _, path in includes(torrc, folder) if _is_file(path) and not _same(path, fragment)
    )
    return any(
        line.keyword in {"exitpolicy", _REMOVING}
        for path in (torrc, *others)
        if "exitpolicy" in (text := read_text(path)).lower()
        for line in lines(text)
    )


def includes(torrc: Path, folder: Path = Path("/")) -> list[tuple[Place, Path]]:
    """Return each file that a torrc includes, also by other includes, with its place.

    Raises InvalidFileError.
    """
    return list(_includes(torrc, folder, _Level()))


def sources(torrc: Path, folder: Path = Path("/")) -> list[Path]:
    """Return the files of a torrc, and the folders in which a new file would become one of them.

    A file that cannot be read is listed without its includes. Raises InvalidFileError
    for includes that are too deep.
    """
    found: dict[Path, None] = {}
    _add_sources(torrc, folder, found, _Level())
    return list(found)


def _add_sources(torrc: Path, folder: Path, found: dict[Path, None], level: _Level) -> None:
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
        _check_depth(torrc, line, level)
        pattern = os.path.join(folder, line.content)  # noqa: PTH118 - as in _included
        named = Path(pattern)
        if glob.has_magic(pattern):
            found |= dict.fromkeys(_searched(named, level))
        elif named.is_dir():
            found[named] = None
        for path in _included(line.content, folder, level):
            _add_sources(path, folder, found, level.below())


def _searched(pattern: Path, level: _Level) -> Iterator[Path]:
    """Yield the folders whose entries decide which files match a pattern."""
    parts = pattern.parts
    fixed = next(count for count, part in enumerate(parts) if glob.has_magic(part))
    yield Path(*parts[:fixed])
    for count in range(fixed + 1, len(parts)):
        yield from map(Path, _matches(str(Path(*parts[:count])), level))


def _includes(torrc: Path, folder: Path, level: _Level) -> Iterator[tuple[Place, Path]]:
    text = read_text(torrc)
    if "%include" not in text.lower():
        return
    for line in lines(text):
        if line.keyword == "%include":
            _check_depth(torrc, line, level)
            for path in _included(line.content, folder, level):
                yield Place(torrc, line.number), path
                if _is_file(path):
                    yield from _includes(path, folder, level.below())


def _policy(
    torrc: Path, fragment: Path, folder: Path, level: _Level
) -> Iterator[tuple[Place, "str | _Mark"]]:
    """Yield each rule of an ExitPolicy line as written, and a mark for each other part."""
    for line in lines(read_text(torrc)):
        place = Place(torrc, line.number)
        if line.keyword.lstrip("+") == "exitpolicy":
            for rule in line.content.split(","):
                yield place, rule.strip(SPACE)
        elif line.keyword == _REMOVING:
            yield place, _REMOVED
        elif line.keyword == "%include":
            _check_depth(torrc, line, level)
            for path in _included(line.content, folder, level):
                if _same(path, fragment):
                    yield place, _INCLUDED
                elif _is_file(path):
                    yield from _policy(path, fragment, folder, level.below())


def _remaining(torrc: Path, fragment: Path, folder: Path) -> list[tuple[Place, "str | _Mark"]]:
    """Return the rules, and the includes of the fragment, that no `/ExitPolicy` removes."""
    found: list[tuple[Place, str | _Mark]] = []
    for place, part in _policy(torrc, fragment, folder, _Level()):
        if part is _REMOVED:
            found.clear()
        else:
            found.append((place, part))
    return found


def _include_place(torrc: Path, fragment: Path, folder: Path, level: _Level) -> Place | None:
    policy = _policy(torrc, fragment, folder, level)
    return next((place for place, part in policy if part is _INCLUDED), None)


def _redirected(
    torrc: Path, fragment: Path, candidate: Path | str, folder: Path, level: _Level
) -> str:
    result: list[str] = []
    replaced = continuing = False
    for line in lines(read_text(torrc)):
        if continuing and replaced:
            continuing = line.goes_on
            continue
        continuing = line.goes_on
        paths = []
        if line.keyword == "%include":
            _check_depth(torrc, line, level)
            paths = _included(line.content, folder, level)
        leading = [
            path
            for path in paths
            if _same(path, fragment)
            or (_is_file(path) and _include_place(path, fragment, folder, level.below()))
        ]
        replaced = bool(leading)
        if not leading:
            result.append(line.text)
        for path in paths if leading else ():
            if _same(path, fragment):
                result.append(
                    f"%include {candidate}\n" if isinstance(candidate, Path) else candidate
                )
            elif path in leading:
                inner = _redirected(path, fragment, candidate, folder, level.below())
                # The blank line ends a continued value.
                result.append(f"{inner}\n")
            else:
                result.append(f"%include {in_quotes(str(path))}\n")
    return "".join(result)


def _check_depth(torrc: Path, line: Line, level: _Level) -> None:
    """Refuse a chain of includes that is too long for Tor, such as a file that includes itself."""
    if level.depth == 0:
        raise IncludeLimitError(
            f"{Place(torrc, line.number)}: an include that is more than {MAX_DEPTH} levels deep"
        )


def _exit_policy_keywords(torrc: Path, line: Line, folder: Path, level: _Level) -> Iterator[str]:
    """Yield the keyword of each ExitPolicy line that a line is, or includes."""
    if line.keyword == "%include":
        _check_depth(torrc, line, level)
        for path in _included(line.content, folder, level):
            if _is_file(path):
                for inner in lines(read_text(path)):
                    yield from _exit_policy_keywords(path, inner, folder, level.below())
    elif line.keyword.lstrip("+/") == "exitpolicy":
        yield line.keyword


def _is_file(path: Path) -> bool:
    # Path.is_file raises where a name is too long or a folder may not be entered.
    return os.path.isfile(path)  # noqa: PTH113


def _included(value: str, folder: Path, level: _Level) -> list[Path]:
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
                ) from None
            inside = [Path(name, entry) for entry in entries if not entry.startswith(".")]
            result += [path for path in inside if _is_file(path)]
        else:
            result.append(Path(name))
    for path in result:
        level.spent.add_file(path)
    return result


def _matches(pattern: str, level: _Level) -> list[str]:
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


def _entries(folder: str, level: _Level) -> Iterator[str]:
    """Yield the names in a folder. Raises OSError, IncludeLimitError."""
    with os.scandir(folder) as entries:
        for entry in entries:
            level.spent.add_entry(folder)
            yield entry.name


def _same(path: Path, fragment: Path) -> bool:
    # Not resolve(), which has an error of its own for links that go round.
    return path == fragment or os.path.realpath(path) == os.path.realpath(fragment)
