"""Sentences about the changes of Tor's files that are not exitpol's, and that Tor has not read."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from exitpolicy.core.errors import InvalidFileError
from exitpolicy.tor.loaded import Difference
from exitpolicy.tor.torrc import read_text
from exitpolicy.tor.torrc_includes import Place, is_file
from exitpolicy.tor.torrc_lines import Line, lines

_Written = Mapping[str, Sequence[tuple[Place, Line]]]
"""The lines of files by their option in lower case."""


def sentences(found: Sequence[Difference], files: Iterable[Path]) -> tuple[str, ...]:
    """Say for each difference what a file says, on which line, and what Tor runs.

    `files` are those that Tor reads. One line each in the files and in Tor share a sentence.
    """
    if not found:
        return ()
    return tuple(dict.fromkeys(_sentences(found, _written(files))))


def _written(files: Iterable[Path]) -> _Written:
    """Return the lines of the files that can be read."""
    written: dict[str, list[tuple[Place, Line]]] = {}
    for path in filter(is_file, files):
        with suppress(InvalidFileError):
            for line in lines(read_text(path)):
                option = line.keyword.lstrip("+/")
                written.setdefault(option, []).append((Place(path, line.number), line))
    return written


def _sentences(found: Sequence[Difference], written: _Written) -> Iterator[str]:
    by_option: dict[str, list[Difference]] = {}
    for difference in found:
        by_option.setdefault(difference.name.lower(), []).append(difference)
    for option, differences in by_option.items():
        here = [difference for difference in differences if difference.in_files]
        there = [difference for difference in differences if not difference.in_files]
        places = written.get(option, ())
        if len(here) == len(there) == 1:
            yield f"{_place(here[0], places)} {here[0].line}, and Tor runs {there[0].line}"
            continue
        for difference in here:
            yield f"{_place(difference, places)} {difference.line}, and Tor runs no such line"
        for difference in there:
            yield f"Tor runs {difference.line}, and no file says so any more"


def _place(difference: Difference, written: Sequence[tuple[Place, Line]]) -> str:
    """Return `FILE:LINE says`; `the files say` where no line sets the option of the difference."""
    value = difference.value.split()
    same = (place for place, line in written if line.content.split() == value)
    # A line may be written in another form than Tor reports it.
    place = next(same, written[0][0] if written else None)
    return "the files say" if place is None else f"{place} says"
