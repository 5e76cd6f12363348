"""Read tables: a heading names the columns, and gives the addresses in rows their roles."""

import csv
import re
from dataclasses import dataclass, replace
from itertools import pairwise, starmap
from typing import Final

from exitpolicy.complaint.extract.addresses import Mention, valid_ports
from exitpolicy.complaint.extract.ports import PORT_WORD
from exitpolicy.complaint.language.senses import label_of, words_of
from exitpolicy.complaint.language.vocabulary import numbered, words
from exitpolicy.complaint.roles.scores import Role, Score, Sense

_IIS: Final = ((re.compile(r"\bs-ip\b"), "dstip"), (re.compile(r"\bc-ip\b"), "srcip"),
               (re.compile(r"\bs-port\b"), "dstport"))  # fmt: skip
_PROSE: Final = re.compile(r"[^\s.]{3}[.!?] {1,2}[^\W\d_a-zà-ÿ]")
MAX_COLUMNS: Final = 60
"""Maximum columns of a table."""
MAX_WORDS: Final = 5
"""Maximum words of a column name."""
_RULER: Final = re.compile(r"^[\s|+=*_:-]{3,}$")


_LONG_WORD: Final = re.compile(r"[^\W\d_]{3,}")


_SHORT: Final = {
    "from": (Role.SOURCE, False), "to": (Role.DESTINATION, False),
    "sa": (Role.SOURCE, False), "da": (Role.DESTINATION, False),
    "sp": (Role.SOURCE, True), "dp": (Role.DESTINATION, True),
}  # fmt: skip
"""Column names with another meaning elsewhere: their role, and whether they are ports. The last
four are those of nfdump."""


@dataclass(frozen=True, slots=True)
class Column:
    """The meaning of a column, by its name."""

    role: Role | None
    is_port: bool
    is_address: bool
    is_service: bool = False

    @property
    def sense(self) -> Sense | None:
        """What the name of the column says about its addresses."""
        return Sense(self.role, Score.COLUMN) if self.role and self.is_address else None


_NO_COLUMN: Final = Column(None, is_port=False, is_address=False)
_ENDS: Final = (":", "!", "?", ",")


@dataclass(frozen=True, slots=True)
class Table:
    """The columns of a table."""

    delimiter: str
    """`,`, `;`, a tab, `|`, two spaces, or one space."""
    columns: tuple[Column, ...]
    has_roles: bool
    """Whether the name of a column tells a role."""

    def places(self, line: str, mentions: list[Mention]) -> list[int] | None:
        """Return the column index of each address in a row; None if the row does not fit."""
        if self.delimiter.strip(" "):
            cells = _cell_starts(line, self.delimiter)
            if len(cells) == len(self.columns):
                return [sum(start <= one.start for start in cells) - 1 for one in mentions]
        order = [index for index, column in enumerate(self.columns) if column.is_address]
        fits = len(_LONG_WORD.findall(line)) <= len(self.columns) + 8
        return order if fits and len(order) == len(mentions) else None

    def fits(self, line: str) -> bool:
        """Tell whether a line has as many cells as the heading."""
        return len(cells_of(line, self.delimiter)) == len(self.columns)

    def _cells(self, line: str) -> list[str] | None:
        """Return the cells of a row; None if it does not fit.

        If single blanks separate the columns, a date may be two cells: the last cells count.
        """
        cells = cells_of(line, self.delimiter)
        if len(cells) == len(self.columns):
            return cells
        if self.delimiter.strip(" "):
            return None
        cells = line.split()[-len(self.columns) :]
        fits = len(cells) == len(self.columns) and all(
            "." in cell or ":" in cell
            for column, cell in zip(self.columns, cells, strict=True)
            if column.is_address
        )
        return cells if fits else None

    def port(self, line: str) -> int | None:
        """Return the destination port in a row."""
        cells = self._cells(line)
        if cells is None:
            return None
        ports: dict[Role | None, int] = {}
        service: int | None = None
        for column, cell in zip(self.columns, cells, strict=True):
            text = cell.strip(" \"'")
            if column.is_port and (found := valid_ports([text.partition("/")[0]])):
                ports.setdefault(column.role, found[0])
            elif column.is_port or column.is_service:
                service = service or numbered("service").get(text.lower())
        if any(column.is_port and column.role is Role.DESTINATION for column in self.columns):
            return ports.get(Role.DESTINATION, service)
        return ports.get(None, service)


def is_rule(line: str) -> bool:
    """Tell whether a line is a ruler, such as the one below a heading."""
    return _RULER.match(line) is not None


def read_heading(line: str) -> Table | None:
    """Parse a line without addresses as a table heading; None if it is none."""
    if len(line) > 1500 or "@" in line or _PROSE.search(line):
        return None
    for pattern, plain in _IIS:
        line = pattern.sub(plain, line)
    line = line.removeprefix("#Fields:").strip()
    for delimiter in ("\t", ";", "|", ",", "  "):
        if line.count(delimiter) >= 1:
            cells = cells_of(line, delimiter)
            if 2 <= len(cells) <= MAX_COLUMNS and max(len(cell) for cell in cells) <= 40:
                return _table(delimiter, [words_of(c) for c in cells])
    heading = line.split()
    if 2 <= len(heading) <= 30 and not line.endswith((".", ":", "!")):
        return _table(" ", _grouped(heading))
    return None


def heading_of(names: list[str]) -> Table | None:
    """Return the table whose columns have these names, if all but one are names of columns."""
    if any("." in name or name.endswith(_ENDS) for name in names):
        return None
    columns = [words_of(name) for name in names]
    usual = words("column")
    telling = sum(
        _column(name) != _NO_COLUMN or any(word in usual for word in name) for name in columns
    )
    return _table("\t", columns) if telling >= len(names) - (len(names) > 3) else None


def _table(delimiter: str, cells: list[list[str]]) -> Table | None:
    if not cells or max(len(name) for name in cells) > MAX_WORDS:
        return None
    columns = [_column(name) for name in cells]
    if any(name[0] == "c2" for name in cells if name):
        # Shadowserver names the address of the control server `cc`, beside `cc_port`.
        columns = [
            Column(Role.DESTINATION, is_port=False, is_address=True) if name == ["cc"] else column
            for column, name in zip(columns, cells, strict=True)
        ]
    usual_names = words("column")
    usual = sum(
        c.is_address or c.is_port or c.role is not None or any(word in usual_names for word in name)
        for c, name in zip(columns, cells, strict=True)
    )
    formal = sum(
        len(name) > 1 and c.role is not None for c, name in zip(columns, cells, strict=True)
    )
    if delimiter == " " and usual * 2 < len(cells) and formal < 2:
        return None
    named = {column.role for column in columns if column.role}
    telling = sum(c.is_address or c.is_port or c.role is not None for c in columns)
    if not named and (usual * 2 < len(cells) or usual < 2):
        return None
    if named and telling < 2:
        return None
    addresses = [column for column in columns if column.is_address]
    for role in (Role.SOURCE, Role.DESTINATION):
        # In `Source, Destination Port`, the column `Source` holds addresses.
        if role in named and not any(column.role is role for column in addresses):
            columns = [
                replace(c, is_address=c.is_address or (c.role is role and not c.is_port))
                for c in columns
            ]
    addressed = [column for column in columns if column.is_address]
    if not addressed:
        return None
    columns = [columns[0], *starmap(_with_role_before, pairwise(columns))]
    return Table(delimiter, tuple(columns), any(column.role for column in addressed))


def _with_role_before(before: Column, column: Column) -> Column:
    """Return a port column with the role of the address before: `Source, Port, Target, Port`."""
    is_its = before.is_address and column.is_port and column.role is None
    return replace(column, role=before.role) if is_its else column


def _column(name: list[str]) -> Column:
    is_port = any(PORT_WORD.search(word) for word in name)
    role: Role | None = None
    bare = False
    address = words("address")
    for word in name:
        sense = label_of(word)
        if sense is not None and role is None:
            role = sense.role
        bare = bare or word in address
    if name and name[-1] in words("other column"):
        return Column(None, is_port=False, is_address=False)
    if role is not None and len(name) > 1 and name[-1] == "host":
        return Column(None, is_port=False, is_address=False)
    if len(name) == 1 and name[0] in _SHORT:
        role, is_port = _SHORT[name[0]]
        bare = not is_port
    is_service = any(word in words("key of service") for word in name)
    return Column(role, is_port, not is_port and (role is not None or bare), is_service)


def _grouped(heading: list[str]) -> list[list[str]]:
    """Join the words of a heading into column names: `Source IP`, `Dest Port`."""
    cells: list[list[str]] = []
    for word in heading:
        parts = words_of(word)
        if not parts:
            continue
        follows = bool(cells) and label_of(cells[-1][0]) is not None and len(cells[-1]) == 1
        if follows and all(
            (p in words("address") or PORT_WORD.search(p)) and label_of(p) is None for p in parts
        ):
            cells[-1].extend(parts)
        else:
            cells.append(parts)
    return cells


def cells_of(line: str, delimiter: str) -> list[str]:
    """Split a line at a delimiter outside of quotation marks."""
    if delimiter in {",", ";"} and '"' in line and len(line) < 10_000:
        try:
            return next(csv.reader([line], delimiter=delimiter), [])
        except csv.Error:
            return []
    if delimiter == " ":
        return line.split()
    if delimiter == "  ":
        return re.split(r"\s{2,}", line.strip())
    if delimiter == "|":
        line = line.strip().removeprefix("|").removesuffix("|")
    return line.split(delimiter)


def _cell_starts(line: str, delimiter: str) -> list[int]:
    """Return the start of each cell."""
    starts = [0]
    quoted = False
    body = line.rstrip()
    begin = 0
    if delimiter == "|" and body.lstrip().startswith("|"):
        begin = line.index("|") + 1
        starts = [begin]
        body = body.removesuffix("|")
    for index in range(begin, len(body)):
        character = body[index]
        if character == '"':
            quoted = not quoted
        elif character == delimiter and not quoted:
            starts.append(index + 1)
    return starts
