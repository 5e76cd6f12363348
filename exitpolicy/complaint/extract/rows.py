"""Restore table rows that a mailer broke, or that were pasted with one cell a line."""

import re
from collections.abc import Callable, Iterator
from typing import Final

from exitpolicy.complaint.extract.tables import (
    Table,
    cells_of,
    heading_of,
    read_heading,
)

MAX_BREAKS: Final = 3
"""Maximum lines that are joined to the beginning of a row."""
MAX_STACKED: Final = 12
"""Maximum columns of a table that was pasted with one cell a line."""
MAX_TRIES: Final = 100
"""Maximum lines that are tried as the first address of such a table."""
_MAX_CELL: Final = 40
"""Maximum characters of a cell or a column name in such a table."""
_REACH: Final = 6
"""Maximum lines between a heading, or a row, and the next row."""
_ADDRESS: Final = re.compile(
    r"\s*[\[(<]?(?=.*[.:].*[.:])(?=.*\d)[0-9A-Fa-f.:\[\]()]{7,45}[\])>]?\s*"
)
_DELIMITED: Final = re.compile(r"([,;|\t])[^,;|\t]{0,60}\1")


def restored(lines: list[str]) -> Iterator[str]:
    """Yield lines; of a broken or stacked table, each row is one line."""
    yield from _joined(_unstacked(lines))


def _joined(lines: list[str]) -> Iterator[str]:
    """Join the rows that a mailer broke, often at the blank of a time."""
    table: Table | None = None
    age = 0
    index = 0
    while index < len(lines):
        line = lines[index]
        index += 1
        age += 1
        if _DELIMITED.search(line):
            if line.count('"') % 2 and (taken := _until(lines, index, line, _is_quoted_whole)):
                line, index = taken
            elif table is not None and age <= _REACH and _is_short(line, table):
                taken = _until(lines, index, line, table.fits)
                line, index = taken or (line, index)
            elif line.rstrip().endswith((",", ";")) and read_heading(line):
                taken = _until(lines, index, line, _is_heading)
                line, index = taken or (line, index)
            if table is not None and table.fits(line):
                age = 0
            elif found := read_heading(line):
                table, age = found, 0
        yield line


def _is_quoted_whole(line: str) -> bool:
    return line.count('"') % 2 == 0


def _is_heading(line: str) -> bool:
    return not line.rstrip().endswith((",", ";")) and read_heading(line) is not None


def _is_short(line: str, table: Table) -> bool:
    """Tell whether a line has some cells of a row, but not all."""
    return bool(table.delimiter.strip(" ")) and 2 <= len(cells_of(line, table.delimiter)) < len(
        table.columns
    )


def _until(
    lines: list[str], index: int, line: str, is_whole: Callable[[str], bool]
) -> tuple[str, int] | None:
    """Join the next lines to a line until it is whole; None if it does not become so."""
    for end in range(index, min(index + MAX_BREAKS, len(lines))):
        if not lines[end].strip():
            return None
        line = f"{line.rstrip()} {lines[end].strip()}"
        if is_whole(line):
            return line, end + 1
    return None


def _unstacked(lines: list[str]) -> list[str]:
    """Put the cells of each row on one line, in a table with one cell a line."""
    filled = [index for index, line in enumerate(lines) if line.strip()]
    cells = [lines[index].strip() for index in filled]
    result: list[str] = []
    done = 0
    tries = 0
    place = 0
    while place < len(filled):
        if tries < MAX_TRIES and _ADDRESS.fullmatch(lines[filled[place]]):
            tries += 1
            if found := _stacked_at(cells, place):
                start, width, count = found
                first, last = start - width, start + width * count
                result.extend(lines[done : filled[first]])
                result.extend("\t".join(cells[at : at + width]) for at in range(first, last, width))
                done = filled[last - 1] + 1
                place = last
                continue
        place += 1
    return [*result, *lines[done:]] if result else lines


def _stacked_at(cells: list[str], place: int) -> tuple[int, int, int] | None:
    """Return the start of the first row, the columns and the rows of a stacked table.

    `place` is the first address in it. None if there is no such table.
    """
    for before in range(min(place, MAX_STACKED - 1)):
        start = place - before
        for width in range(max(2, before + 1), min(MAX_STACKED, start) + 1):
            names = cells[start - width : start]
            if len(names[0]) > _MAX_CELL:
                break  # a wider table would contain this line as well
            table = heading_of(names)
            if table is None or not table.columns[before].is_address:
                continue
            count = _rows_at(cells, start, width, before)
            if count > 1 or (count == 1 and start + width == len(cells)):
                return start, width, count
    return None


def _rows_at(cells: list[str], start: int, width: int, column: int) -> int:
    """Return how many rows follow that have an address in this column, and short cells."""
    count = 0
    while start + width * (count + 1) <= len(cells):
        row = cells[start + width * count : start + width * (count + 1)]
        if not _ADDRESS.fullmatch(row[column]) or max(map(len, row)) > _MAX_CELL:
            break
        count += 1
    return count
