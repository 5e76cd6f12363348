"""Tables: CSV with a header, also those of CrowdSec and of exitpol itself.

A column is known by its name. CrowdSec writes `cscli decisions list -o raw` with the columns
id,source,ip,reason,action,country,as,events_count,expiration,simulated,alert_id, where ip is
`Ip:ADDRESS` or `Range:NETWORK`, and reads duration,reason,scope,type,value in `cscli decisions
import` (docs.crowdsec.net, cscli decisions).
"""

import csv
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from exitpolicy.core.errors import UsageError
from exitpolicy.lists.entry import Item, Moment, fault
from exitpolicy.lists.records import COLUMNS, Record, item_of, standing_for

_SEPARATORS: Final = ",;\t"
_ADDRESSES: Final = frozenset(COLUMNS["address"])
_ESCAPED: Final = re.compile(r"\\(?:(\\)|x(..)|u(....)|U(........))")
"""What `export --format csv` writes for characters that do not print."""


def header_of(line: str) -> tuple[str, ...] | None:
    """Return the separator of a header and its columns; None if the line is no header."""
    # Some lists have their header in a comment.
    text = line.lstrip("# ")
    for separator in _SEPARATORS:
        names = _cells(text, separator)
        if len(names) > 1 and not _ADDRESSES.isdisjoint(names):
            return (separator, *names)
    name = text.strip().strip('"').lower()
    return (",", name) if name in _ADDRESSES else None


def _cells(line: str, separator: str) -> list[str]:
    try:
        cells = next(csv.reader([line], delimiter=separator), [])
    except csv.Error:
        return []
    return [cell.strip().lower().replace(" ", "_").replace("-", "_") for cell in cells]


def read_table(lines: Sequence[str], moment: Moment) -> Iterator[Item]:
    """Yield the items of a table with a header."""
    rows = ((i, line) for i, line in enumerate(lines) if line.strip())
    headers = ((i, found) for i, line in rows if (found := header_of(line)) is not None)
    start, header = next(headers, (0, ()))
    if not header:
        known = ", ".join(COLUMNS["address"][:6])
        yield fault(0, "", f"no line is a header with a column of addresses ({known}, ...)")
        return
    separator, names = header[0], header[1:]
    places = {meaning: names.index(name) for meaning, name in standing_for(names).items()}
    reader = csv.reader(
        (f"{line}\n" for line in lines[start + 1 :]), delimiter=separator, strict=True
    )
    last = 0
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            yield fault(start + 1 + reader.line_num, "", f"this is no row of CSV: {error}")
            return
        if row is None:
            return
        number, last = start + 2 + last, reader.line_num
        if not row or not "".join(row).strip() or row[0].startswith("#"):
            continue
        if len(row) != len(names):
            message = f"the row has {len(row)} cells, and the header {len(names)}"
            yield fault(number, separator.join(row), message)
            continue
        cells = {key: row[place] for key, place in places.items()}
        try:
            yield item_of(number, _record(cells), moment)
        except UsageError as error:
            yield fault(number, separator.join(row), str(error))


def _record(cells: Mapping[str, str]) -> Record:
    """Return the values of a row; a list stands in its cell as JSON. Raises UsageError."""
    is_own = "since" in cells
    record: Record = {k: _unescaped(v) if is_own else v for k, v in cells.items()}
    for key in ("references", "relays"):
        if text := cells.get(key, ""):
            try:
                record[key] = json.loads(_unescaped(text) if is_own else text)
            except (ValueError, RecursionError) as error:
                raise UsageError(f"the {key} {text[:60]!r} are no list in JSON") from error
    return record


def _unescaped(text: str) -> str:
    """Return the text of a cell that exitpol wrote. Raises UsageError."""
    if "\\" not in text:
        return text
    try:
        return _ESCAPED.sub(_character, text)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{text[:60]!r} has a backslash that exitpol does not write") from error


def _character(match: re.Match[str]) -> str:
    backslash, *codes = match.groups()
    return backslash or chr(int(next(filter(None, codes)), 16))
