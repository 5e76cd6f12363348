"""What a proof measured, kept for the table that scripts/prove prints."""

import json
import os
import sys
from pathlib import Path


def record(what: str, tried: int, lost: int, note: str = "") -> None:
    """Add a line to the file that EXITPOL_EVIDENCE names; nothing where it names none.

    `lost` counts what should not have happened; a test that knows of any fails as well.
    """
    if path := os.environ.get("EXITPOL_EVIDENCE"):
        line = json.dumps({"what": what, "tried": tried, "lost": lost, "note": note})
        with Path(path).open("a") as file:
            file.write(line + "\n")


def table(lines: list[str]) -> str:
    """Return the evidence as a table; lines about the same thing are summed up."""
    sums: dict[str, tuple[int, int, list[str]]] = {}
    for entry in map(json.loads, lines):
        tried, lost, notes = sums.get(entry["what"], (0, 0, []))
        note = [entry["note"]] if entry["note"] and entry["note"] not in notes else []
        sums[entry["what"]] = (tried + entry["tried"], lost + entry["lost"], notes + note)
    rows = ["| what was tried | times | lost |", "|---|---:|---:|"]
    for what, (tried, lost, notes) in sorted(sums.items()):
        told = f"{what} ({'; '.join(notes)})" if notes else what
        rows.append(f"| {told} | {tried:,} | {lost} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.stdout.write(table(Path(sys.argv[1]).read_text().splitlines()))
