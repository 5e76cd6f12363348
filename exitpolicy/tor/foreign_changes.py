"""Sentences about the changes of Tor's files that are not exitpol's, and that Tor has not read."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from exitpolicy.core.errors import InvalidFileError
from exitpolicy.tor.loaded import Difference
from exitpolicy.tor.torrc import read_text
from exitpolicy.tor.torrc_includes import Place
from exitpolicy.tor.torrc_lines import lines


def sentences(found: Sequence[Difference], files: Iterable[Path]) -> tuple[str, ...]:
    """Say for each difference what a file says, on which line, and what Tor runs.

    `files` are those that Tor reads. One line each in the files and in Tor share a sentence.
    """
    paths = [path for path in files if path.is_file()]
    return tuple(dict.fromkeys(_sentences(found, paths)))


def _sentences(found: Sequence[Difference], paths: Sequence[Path]) -> Iterator[str]:
    for name in dict.fromkeys(difference.name.lower() for difference in found):
        here = [d for d in found if d.name.lower() == name and d.in_files]
        there = [d for d in found if d.name.lower() == name and not d.in_files]
        if len(here) == len(there) == 1:
            yield f"{_place(here[0], paths)} {here[0].line}, and Tor runs {there[0].line}"
            continue
        for difference in here:
            yield f"{_place(difference, paths)} {difference.line}, and Tor runs no such line"
        for difference in there:
            yield f"Tor runs {difference.line}, and no file says so any more"


def _place(difference: Difference, paths: Sequence[Path]) -> str:
    """Return `FILE:LINE says`; `the files say` where the line is not found as it is compared."""
    value = " ".join(difference.value.split())
    named: Place | None = None
    for path in paths:
        with suppress(InvalidFileError):
            for line in lines(read_text(path)):
                if line.keyword.lstrip("+/") != difference.name.lower():
                    continue
                place = Place(path, line.number)
                if " ".join(line.content.split()) == value:
                    return f"{place} says"
                named = named or place
    # It is written in another form than Tor reports it.
    return "the files say" if named is None else f"{named} says"
