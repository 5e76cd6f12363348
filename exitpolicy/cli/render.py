"""How things are written for people and for programs."""

import contextlib
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from exitpolicy.core.block import Block
from exitpolicy.core.destination import Destination
from exitpolicy.core.durations import remaining_text, utc_text
from exitpolicy.core.errors import ExitpolError

if TYPE_CHECKING:
    from exitpolicy.policy.rule import Rule

SCHEMA: Final = 1

_COLOURS: Final = {
    "live": "32",
    "pending": "33",
    "unknown": "33",
    "shadowed": "31",
    "rejected": "32",
    "accepted": "31",
    "partly": "33",
    "moot": "2",
    "ended": "2",
    "ok": "32",
    "warn": "33",
    "fail": "31",
    "scheduled": "2",
}


class ReaderGoneError(Exception):
    """The reader of stdout has closed the pipe, as `head` does.

    Not an OSError: Typer ends the process with code 1 at a BrokenPipeError.
    """


class OutputError(ExitpolError):
    """What a command has to say cannot be written; it has done then what it was to do."""

    def __init__(self, error: OSError) -> None:
        super().__init__(
            f"the output cannot be written: {error.strerror}",
            hint="exitpol status shows what is enforced",
        )


def say(text: str = "") -> None:
    """Write a line that was asked for."""
    _write(f"{text}\n")


def note(text: str) -> None:
    """Write a line about what is going on; where it cannot be written, the rest goes on."""
    # With a log on a full disk, the exit code is all that is left to say what was wrong.
    with contextlib.suppress(OSError):
        sys.stderr.write(f"exitpol: {text}\n")


def warn(text: str) -> None:
    """Write a line about what someone should look at."""
    note(f"warning: {text}")


def report(error: ExitpolError) -> None:
    """Write an error and its hint."""
    note(f"error: {printable(str(error))}")
    for line in (error.hint or "").splitlines():
        note(f"hint: {printable(line)}")


def say_json(**values: Any) -> None:  # noqa: ANN401 - any value of JSON
    """Write the one object of a --json run."""
    import json

    whole = {"schema": SCHEMA, **values}
    text = json.dumps(whole, indent=2, ensure_ascii=False, default=_json)
    try:
        text.encode(_encoding())
    except UnicodeEncodeError:
        text = json.dumps(whole, indent=2, default=_json)
    say(text)


def error_json(error: ExitpolError) -> dict[str, Any]:
    """Return an error as JSON."""
    return {"message": str(error), "hint": error.hint, "exit_code": int(error.exit_code)}


def coloured(word: str, width: int = 0) -> str:
    """Return a state or verdict in its colour, padded to `width`."""
    colour = _COLOURS.get(word) if _has_colours() else None
    padded = word.ljust(width)
    return padded if colour is None else f"\033[{colour}m{padded}\033[0m"


def _has_colours() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write rows in columns; the last one is as wide as it likes."""
    cells = [list(header), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    # One format for all rows: a ledger may have thousands.
    line = "  ".join(f"{{:<{width}}}" for width in widths)
    lines = [line.format(*row).rstrip() for row in cells]
    if _has_colours():
        lines[1:] = ["  ".join(map(coloured, row, widths)).rstrip() for row in cells[1:]]
    say("\n".join(lines))


def printable(text: str) -> str:
    """Return text that does nothing to a terminal and stays on its line."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def until_words(until: datetime | None, now: datetime) -> str:
    """Return `until 2026-12-22T10:00:00Z (29d 23h left)`."""
    if until is None:
        return "never ends"
    left = remaining_text(until, now)
    return f"until {utc_text(until)} ({left if left == 'ended' else f'{left} left'})"


def block_json(block: Block) -> dict[str, Any]:
    """Return a block's keys of JSON."""
    return {
        "destination": str(block.destination),
        "since": block.since,
        "until": block.until,
        "reason": block.reason,
        "reference": block.reference,
    }


def why(block: Block) -> str:
    """Return a block's reference and reason, for the end of a line."""
    return printable("  ".join(filter(None, (block.reference, block.reason))))


def report_all(problems: Iterable[ExitpolError]) -> None:
    """Write errors that did not stop the rest."""
    for problem in problems:
        report(problem)


def warn_of_shadows(shadowed_by: Mapping[Destination, "Rule"]) -> None:
    """Name the accepts that win over blocks."""
    for destination, rule in shadowed_by.items():
        warn(f"{destination} is shadowed: {str(rule)!r} stands above it in the policy")
    if shadowed_by:
        note("hint: move the %include above those ExitPolicy lines in your torrc")


def say_diff(old: str, new: str, name: str) -> None:
    """Write the change of a file as a unified diff."""
    import difflib

    before, after = old.splitlines(keepends=True), new.splitlines(keepends=True)
    diff = list(difflib.unified_diff(before, after, name, f"{name} (new)", n=2))
    for line in diff:
        _write(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n")
    if not diff:
        note(f"{name} would not change")


def _write(text: str) -> None:
    # A torrc may hold bytes that are no UTF-8, and a terminal may know fewer characters than we.
    try:
        sys.stdout.write(text.encode(_encoding(), "backslashreplace").decode(_encoding()))
    except BrokenPipeError as error:
        raise ReaderGoneError from error
    except OSError as error:
        raise OutputError(error) from None


def flush() -> None:
    """Have all output written; raises OutputError."""
    try:
        sys.stdout.flush()
    except BrokenPipeError as error:
        raise ReaderGoneError from error
    except OSError as error:
        raise OutputError(error) from None


def drop() -> None:
    """Give up what is not written yet: Python would try once more at its end, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _encoding() -> str:
    # None where stdout is not a file.
    return sys.stdout.encoding or "utf-8"


def _json(value: object) -> object:
    if isinstance(value, datetime):
        return utc_text(value)
    return str(value)
