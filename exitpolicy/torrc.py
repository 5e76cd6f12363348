"""The operator's torrc, read as Tor reads it: its includes, and where ours is among them.

Tor does the real reading; what is needed here is to find the one `%include` line, and to make a
copy of the torrc in which it points elsewhere (tor: src/lib/fs/conffile.c,
src/lib/encoding/confline.c).
"""

import glob
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exitpolicy import files
from exitpolicy.errors import InvalidFileError

MAX_BYTES: Final = 16_000_000
MAX_DEPTH: Final = 31
"""MAX_INCLUDE_RECURSION_LEVEL of Tor."""

_LINE = re.compile(r"\s*(?P<keyword>[^\s#]+)[ \t]*(?P<value>.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a torrc; those that continue another have no keyword."""

    number: int
    text: str
    """As it stands there, with a line end."""
    keyword: str
    """In lower case; empty for comments, blank lines and continuations."""
    value: str


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file."""

    file: Path
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def read_text(torrc: Path) -> str:
    """Return a torrc's text, bytes that are not UTF-8 kept. Raises InvalidFileError."""
    try:
        return files.read(torrc, "torrc", limit=MAX_BYTES).decode("utf-8", "surrogateescape")
    except FileNotFoundError:
        raise InvalidFileError(
            f"{torrc}: there is no such torrc", hint="name it: exitpol init --torrc PATH"
        ) from None


def lines(text: str) -> Iterator[Line]:
    """Yield the lines of a torrc."""
    continued = False
    # Not splitlines(), which also splits at what Tor takes for no line end.
    for number, part in enumerate(text.removesuffix("\n").split("\n"), start=1):
        raw = f"{part}\n"
        match = None if continued else _LINE.match(raw)
        if match is None:
            yield Line(number, raw, "", "")
        else:
            yield Line(number, raw, match["keyword"].lower(), match["value"].strip())
        comment = not continued and raw.lstrip().startswith("#")
        continued = not comment and raw.rstrip("\r\n").endswith("\\")


def include_place(torrc: Path, fragment: Path, folder: Path = Path("/")) -> Place | None:
    """Return where the torrc, or a file that it includes, includes the fragment; None if nowhere.

    `folder` is the working directory of Tor, to which relative paths are relative.
    """
    return _include_place(torrc, fragment, folder, MAX_DEPTH)


def redirected(torrc: Path, fragment: Path, candidate: Path | str, folder: Path = Path("/")) -> str:
    """Return the torrc's text with a candidate in place of the fragment.

    A Path is included where the fragment was, a str stands there itself. Other includes stay as
    they are, except those that lead to the fragment: their text is taken in.
    """
    return _redirected(torrc, fragment, candidate, folder, MAX_DEPTH)


def with_include(torrc: Path, fragment: Path, folder: Path = Path("/")) -> str:
    """Return the torrc's text with `%include FRAGMENT` above the first ExitPolicy line.

    That is the first line which is one or which includes a file that has one; the end of the torrc
    if there is none.
    """
    text = read_text(torrc)
    result: list[str] = []
    ours = f"%include {fragment}\n"
    placed = False
    for line in lines(text):
        if not placed and _has_exit_policy(line, folder, MAX_DEPTH):
            result.append(ours)
            placed = True
        result.append(line.text)
    if not placed:
        result.append(ours)
    return "".join(result)


def first_exit_policy(
    torrc: Path, wanted: str, folder: Path = Path("/"), depth: int = MAX_DEPTH
) -> Place | None:
    """Return the place of the ExitPolicy line that holds the rule `wanted`; None if not found."""
    for line in lines(read_text(torrc)):
        if line.keyword.lstrip("+/") == "exitpolicy":
            if wanted.split() in (item.split() for item in line.value.partition("#")[0].split(",")):
                return Place(torrc, line.number)
        elif line.keyword == "%include" and depth:
            for path in _included(line.value, folder):
                if path.is_file():
                    place = first_exit_policy(path, wanted, folder, depth - 1)
                    if place is not None:
                        return place
    return None


def include_places(torrc: Path, fragment: Path, folder: Path = Path("/")) -> list[Place]:
    """Return every place at which the fragment is included, in the order in which Tor reads."""
    return [place for place, rule in _policy(torrc, fragment, folder, MAX_DEPTH) if rule is None]


def rules_above(
    torrc: Path, fragment: Path, folder: Path = Path("/")
) -> Iterator[tuple[Place, str]]:
    """Yield the ExitPolicy rules that Tor reads before the fragment, each with its place."""
    for place, rule in _policy(torrc, fragment, folder, MAX_DEPTH):
        if rule is None:
            return
        yield place, rule


def _policy(
    torrc: Path, fragment: Path, folder: Path, depth: int
) -> Iterator[tuple[Place, str | None]]:
    """Yield each rule of an ExitPolicy line as it stands there, and None for the fragment."""
    for line in lines(read_text(torrc)):
        place = Place(torrc, line.number)
        if line.keyword.lstrip("+") == "exitpolicy":
            for rule in line.value.partition("#")[0].split(","):
                yield place, rule.strip().strip('"')
        elif line.keyword == "%include" and depth:
            for path in _included(line.value, folder):
                if _same(path, fragment):
                    yield place, None
                elif path.is_file():
                    yield from _policy(path, fragment, folder, depth - 1)


def _include_place(torrc: Path, fragment: Path, folder: Path, depth: int) -> Place | None:
    for line in lines(read_text(torrc)):
        if line.keyword == "%include" and depth:
            for path in _included(line.value, folder):
                if _same(path, fragment):
                    return Place(torrc, line.number)
                if path.is_file():
                    place = _include_place(path, fragment, folder, depth - 1)
                    if place is not None:
                        return place
    return None


def _redirected(
    torrc: Path, fragment: Path, candidate: Path | str, folder: Path, depth: int
) -> str:
    result: list[str] = []
    for line in lines(read_text(torrc)):
        paths = _included(line.value, folder) if line.keyword == "%include" and depth else []
        leading = [
            path
            for path in paths
            if _same(path, fragment)
            or (path.is_file() and _include_place(path, fragment, folder, depth - 1))
        ]
        if not leading:
            result.append(line.text)
            continue
        for path in paths:
            if _same(path, fragment):
                result.append(
                    f"%include {candidate}\n" if isinstance(candidate, Path) else candidate
                )
            elif path in leading:
                inner = _redirected(path, fragment, candidate, folder, depth - 1)
                result.append(inner)
            else:
                result.append(f'%include "{path}"\n')
    return "".join(result)


def _has_exit_policy(line: Line, folder: Path, depth: int) -> bool:
    if line.keyword == "%include" and depth:
        return any(
            _has_exit_policy(inner, folder, depth - 1)
            for path in _included(line.value, folder)
            if path.is_file()
            for inner in lines(read_text(path))
        )
    return line.keyword.lstrip("+/") == "exitpolicy"


def _included(value: str, folder: Path) -> list[Path]:
    """Return the files that an include takes in, in Tor's order: literal, pattern or folder."""
    quoted = re.match(r'"((?:[^"\\]|\\.)*)"', value)
    pattern = re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else value.partition("#")[0].strip()
    pattern = os.path.join(folder, pattern)  # noqa: PTH118 - Path would drop what glob needs
    if "\0" in pattern:
        return []
    found = sorted(glob.glob(pattern)) if glob.has_magic(pattern) else [pattern]  # noqa: PTH207
    result: list[Path] = []
    for name in found:
        path = Path(name)
        if path.is_dir():
            entries = sorted(path.iterdir(), key=lambda entry: entry.name)
            result += [e for e in entries if not e.name.startswith(".") and e.is_file()]
        else:
            result.append(path)
    return result


def _same(path: Path, fragment: Path) -> bool:
    return path == fragment or path.resolve() == fragment.resolve()
