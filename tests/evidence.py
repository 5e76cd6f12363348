"""What a proof measured, kept for the table that scripts/prove prints."""

import json
import os
from pathlib import Path


def record(what: str, tried: int, lost: int, note: str = "") -> None:
    """Add a line to the file that EXITPOL_EVIDENCE names; nothing where it names none.

    `lost` counts what should not have happened; a test that knows of any fails as well.
    """
    if path := os.environ.get("EXITPOL_EVIDENCE"):
        line = json.dumps({"what": what, "tried": tried, "lost": lost, "note": note})
        with Path(path).open("a") as file:
            file.write(line + "\n")
