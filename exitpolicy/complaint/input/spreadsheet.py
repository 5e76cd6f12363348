"""Read an Excel workbook (.xlsx, ECMA-376) as text, within limits.

The reader is calamine, which is written in Rust and is optional. It unpacks whole members and keeps
a sheet as a rectangle in memory, so that a small file could ask for gigabytes. Therefore it only
gets what was unpacked here, up to a limit, and only sheets whose rectangle is small.
"""

import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from datetime import datetime
from typing import Final

MAX_UNPACKED: Final = 4_000_000
"""Bytes of a workbook after unpacking."""
MAX_MEMBERS: Final = 200
MAX_CELLS: Final = 200_000
"""Cells of the rectangle that holds all cells of a sheet."""
MAX_CHARACTERS: Final = 64_000_000
"""Maximum characters of all cells if each held the longest text: cells may share a text."""
MAX_SHEETS: Final = 10
MAX_CELL: Final = 200
"""Characters of a cell that are kept."""
_REFERENCE: Final = re.compile(
    rb"\b(?:r|ref)\s*=\s*[\"']\$?([A-Za-z]{0,20})\$?(\d{0,20})"
    rb"(?::\$?([A-Za-z]{0,20})\$?(\d{0,20}))?[\"']"
)
"""`r="B7"` of a cell, `r="7"` of a row, `ref="A1:B7"` of a sheet."""
_UNUSUAL: Final = re.compile(rb"<!|\x00|\br\s*=\s*[\"'][^\"']{0,80}&")
"""Content that Excel never writes and that could evade the limits: comments, CDATA, declarations,
UTF-16, and cell references that contain character references."""
_CELL: Final = re.compile(rb"<(?:\w{1,20}:)?c[\s/>]")
_END_OF_TEXT: Final = re.compile(rb"</(?:\w{1,20}:)?si\s*>")
_SHEET: Final = re.compile(r"xl/worksheets/sheet\d{1,3}\.xml")
_SCHEMA: Final = "http://schemas.openxmlformats.org"


class SpreadsheetError(Exception):
    """A workbook that was not read; the text says why."""


def is_spreadsheet(data: bytes) -> bool:
    """Tell whether an archive is an Excel workbook."""
    return b"xl/workbook.xml" in data


def text_of_spreadsheet(data: bytes) -> str:
    """Return the rows of all sheets, with tabs between the cells. Raises SpreadsheetError."""
    try:
        from python_calamine import CalamineWorkbook  # noqa: PLC0415 - optional
    except ImportError as error:
        raise SpreadsheetError("python-calamine, which reads it, is not installed") from error
    safe = io.BytesIO(_checked(data))
    try:
        workbook = CalamineWorkbook.from_object(safe)
        rows = [
            "\t".join(map(_cell, row))
            for name in workbook.sheet_names[:MAX_SHEETS]
            for row in workbook.get_sheet_by_name(name).to_python()
        ]
    except BaseException as error:
        # A panic of the Rust code is no Exception.
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise SpreadsheetError("it is broken") from error
        raise
    return "\n".join(rows)


def _checked(data: bytes) -> bytes:
    """Return the workbook as a new archive whose parts were unpacked here, within the limits."""
    result = io.BytesIO()
    left = MAX_UNPACKED
    cells, longest = 0, 0
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(result, "w") as safe:
            for name, content in _members(archive, left):
                left -= len(content)
                cells += len(_CELL.findall(content))
                longest = max(longest, *map(len, _END_OF_TEXT.split(content)))
                if left <= 0 or cells * longest > MAX_CHARACTERS:
                    raise SpreadsheetError("it is too large")
                if _UNUSUAL.search(content):
                    raise SpreadsheetError("no usual program wrote it")
                if b"sheetData" in content and _area(content) > MAX_CELLS:
                    raise SpreadsheetError("it has too many cells")
                safe.writestr(name, content)
            for name, content in _relations(safe.namelist()):
                safe.writestr(name, content)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError, OSError,
            EOFError, ValueError, IndexError, OverflowError, zlib.error) as error:  # fmt: skip
        raise SpreadsheetError("it is broken") from error
    return result.getvalue()


def _members(archive: zipfile.ZipFile, limit: int) -> Iterator[tuple[str, bytes]]:
    """Yield the parts with the cells, at most `limit` bytes of each; no images and no macros."""
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        raise SpreadsheetError("it has too many parts")
    for member in members:
        if member.filename.lower().endswith((".xml", ".rels")):
            with archive.open(member) as file:
                yield member.filename, file.read(limit)


def _relations(names: list[str]) -> Iterator[tuple[str, bytes]]:
    """Yield the tables of parts that a workbook lacks, as simple programs write it.

    The identifiers are those of Excel: `rId1` for the first sheet.
    """
    sheets = sorted(name for name in names if _SHEET.fullmatch(name))
    strings = [name for name in names if name == "xl/sharedStrings.xml"]
    tables = {
        "_rels/.rels": [("rId1", "officeDocument", "xl/workbook.xml")],
        "xl/_rels/workbook.xml.rels": [
            *((f"rId{number}", "worksheet", f"/{name}") for number, name in enumerate(sheets, 1)),
            *(("rIdStrings", "sharedStrings", f"/{name}") for name in strings),
        ],
    }
    for table, parts in tables.items():
        if table not in names:
            kinds = f"{_SCHEMA}/officeDocument/2006/relationships"
            items = "".join(
                f'<Relationship Id="{key}" Type="{kinds}/{kind}" Target="{target}"/>'
                for key, kind, target in parts
            )
            head = f'<Relationships xmlns="{_SCHEMA}/package/2006/relationships">'
            yield table, f"{head}{items}</Relationships>".encode()


def _area(sheet: bytes) -> int:
    """Return the most cells that the rectangle around all cells of a sheet can have."""
    columns, rows, named = 1, 1, 0
    for found in _REFERENCE.finditer(sheet):
        for letters, digits in (found.group(1, 2), found.group(3, 4)):
            named += bool(letters)
            columns = max(columns, _column(letters or b""))
            rows = max(rows, int(digits or b"0"))
    # A cell without a reference is beside the one before it.
    unnamed = len(_CELL.findall(sheet)) - named
    return (columns + max(0, unnamed)) * rows


def _column(letters: bytes) -> int:
    number = 0
    for letter in letters.upper():
        number = number * 26 + letter - 64
    return number


def _cell(value: object) -> str:
    """Return the text of a cell; a number without a fraction as an integer."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = value.isoformat(" ") if isinstance(value, datetime) else str(value)
    return " ".join(text[:MAX_CELL].split())
