"""Standard output and standard error: the one place where text leaves the program.

Results go to stdout, messages to stderr. Characters that control a terminal, or that change the
lines or the direction of a text, are escaped here, in text and in JSON: much of what is printed
comes from strangers' mails, from Tor, or from files that others can write.
"""

import contextlib
import os
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from functools import cache
from typing import Any, Final, NamedTuple, TextIO

from exitpolicy.core.durations import utc_text
from exitpolicy.core.errors import ExitpolError

SCHEMA: Final = 1
"""The version of the JSON objects."""

_NARROWEST: Final = 20
"""The fewest columns in which a text is broken between words."""

_JOINED: Final = "\N{NO-BREAK SPACE}"
"""Stands for a blank at which a text is not broken."""

TOR_READS: Final = "Tor verifies the change, then reads it"
"""What a change waits for."""

PROGRESS_SECONDS: Final = 1.0
"""How long a command waits in silence on a terminal."""

MAX_NOTE: Final = 4_000
"""Characters of a message."""

_COLOURS: Final = {
    "live": "32",
    "pending": "33",
    "left-out": "33",
    "lifting": "33",
    "due": "2",
    "unknown": "33",
    "unverified": "33",
    "removed": "33",
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
    """The result of a command cannot be written. The command itself has been carried out."""

    def __init__(self, error: OSError) -> None:
        super().__init__(
            f"the output cannot be written: {error.strerror}",
            hint="exitpol status shows what is enforced",
        )


class Coloured(NamedTuple):
    """A state or verdict, shown in its colour on a terminal."""

    word: str
    width: int = 0
    """The width to which it is padded."""

    def __str__(self) -> str:
        padded = printable(self.word).ljust(self.width)
        colour = _COLOURS.get(self.word) if _has_colours() else None
        return padded if colour is None else f"\033[{colour}m{padded}\033[0m"


def printable(text: str) -> str:
    r"""Return text as one harmless line.

    Escapes, as in `\x1b`, whatever Unicode calls a control or format character (C0, C1, bidi
    controls), a separator other than a blank, a surrogate, or unassigned.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def say(*parts: str | Coloured) -> None:
    """Write one line of a result."""
    _write("".join(printable(p) if isinstance(p, str) else str(p) for p in parts) + "\n")


def say_prose(*head: str | Coloured, text: str) -> None:
    """Write a text behind its head; on a terminal its further lines stand below its first one."""
    width = sum(len(p) if isinstance(p, str) else max(len(p.word), p.width) for p in head)
    for number, line in enumerate(_fitted(text, sys.stdout, before=width).split("\n")):
        say(*(head if number == 0 else [" " * width]), line)


def say_text(text: str) -> None:
    """Write a text of several lines, each escaped like a line of its own."""
    for line in text.split("\n")[: -1 if text.endswith("\n") else None]:
        say(line.replace("\t", "    "))


def say_exact(text: str) -> None:
    """Write a text as it is. It must come from a format that escapes what it holds."""
    _write(text)


def table(
    header: Sequence[str], rows: Iterable[Sequence[str]], *, spare: Collection[str] = ()
) -> None:
    """Write rows in columns.

    On a terminal that is too narrow, the columns in `spare` are left out, then the last column is
    broken between words, then the last columns stand below the others.
    """
    cells = [list(header), *map(_printable_row, rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    columns = _columns(sys.stdout)
    for name in spare:
        if columns is not None and _least_width(widths) > columns:
            place = cells[0].index(name)
            cells = [[*row[:place], *row[place + 1 :]] for row in cells]
            widths.pop(place)
    if columns is not None and _width(widths) > columns:
        fitted = _last_broken if _least_width(widths) <= columns else _last_below
        lines = [line for row in fitted(cells, widths, columns) for line in row]
    else:
        # One format for all rows: a ledger may have thousands.
        form = "  ".join(f"{{:<{width}}}" for width in widths)
        lines = [form.format(*row).rstrip() for row in cells]
        if _has_colours():
            lines[1:] = [_row(row, widths).rstrip() for row in cells[1:]]
    _write("\n".join(lines) + "\n")


def _printable_row(row: Sequence[str]) -> Sequence[str]:
    # One test for the usual row: a ledger may have thousands.
    return row if "".join(row).isprintable() else [printable(cell) for cell in row]


def _last_broken(
    cells: Iterable[Sequence[str]], widths: Sequence[int], columns: int
) -> Iterator[list[str]]:
    """Yield the lines of each row, with the last column broken between words."""
    before = _width(widths[:-1]) + 2
    for row in cells:
        first, *more = _broken(row[-1], columns - before) or [""]
        yield [
            f"{_row(row[:-1], widths)}  {first}".rstrip(),
            *(" " * before + line for line in more),
        ]


def _last_below(
    cells: Iterable[Sequence[str]], widths: Sequence[int], columns: int
) -> Iterator[list[str]]:
    """Yield the lines of each row, with the columns that do not fit below the others."""
    beside = len(widths) - 1
    while beside > 1 and _width(widths[:beside]) > columns:
        beside -= 1
    for row in cells:
        below = _broken("  ".join(filter(None, row[beside:])), max(columns - 4, 1))
        yield [_row(row[:beside], widths).rstrip(), *(f"    {line}" for line in below)]


def _row(row: Sequence[str], widths: Sequence[int]) -> str:
    """Return cells in columns, with the colours of states."""
    return "  ".join(str(Coloured(*cell)) for cell in zip(row, widths, strict=False))


def _width(widths: Sequence[int]) -> int:
    """Return the width of a table with these columns, two blanks apart."""
    return sum(widths) + 2 * (len(widths) - 1)


def _least_width(widths: Sequence[int]) -> int:
    """Return the width of a table whose last column is broken between words."""
    return _width([*widths[:-1], min(widths[-1], _NARROWEST)])


def say_json(**values: Any) -> None:  # noqa: ANN401 - any value of JSON
    """Write the one object of a --json run."""
    import json

    whole = {"schema": SCHEMA, **values}
    text = json.dumps(whole, indent=2, ensure_ascii=False, default=_json_value)
    if not text.replace("\n", "").isprintable():
        # Such characters stand only within strings, where an escape means the same.
        text = re.sub(r"[^ -~\n]", _json_escape, text)
    try:
        text.encode(_encoding())
    except UnicodeEncodeError:
        text = json.dumps(whole, indent=2, default=_json_value)
    _write(f"{text}\n")


def error_json(error: ExitpolError) -> dict[str, Any]:
    """Return an error as JSON."""
    return {
        "message": str(error),
        "hint": error.hint,
        "exit_code": int(error.exit_code),
        "relays": error.relay_names,
    }


@contextlib.contextmanager
def progress(text: str) -> Iterator[None]:
    """Show on a terminal what the program waits for, if that takes longer than a second."""
    if not sys.stderr.isatty():
        yield
        return
    from threading import Timer

    erase = "\n" if os.environ.get("TERM") == "dumb" else "\r\033[K"
    shown: list[str] = []

    def show() -> None:
        shown.append(text)
        _note(f"exitpol: {text} ...")

    timer = Timer(PROGRESS_SECONDS, show)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        # It may be writing just now.
        timer.join()
        if shown:
            _note(erase)


def note(text: str) -> None:
    """Write a message to stderr; on a terminal it is broken between words, never in a command."""
    _note(f"{_fitted(f'exitpol: {printable(_short(text))}', sys.stderr, indent=4)}\n")


def hint(text: str) -> None:
    """Write what to do to stderr, broken like a message."""
    note(f"hint: {text}")


def _short(text: str) -> str:
    """Return a message without its end if it is very long.

    It may quote what a Tor says, and the tick writes it to the journal every minute.
    """
    if len(text) <= MAX_NOTE:
        return text
    return f"{text[:MAX_NOTE]}... ({len(text) - MAX_NOTE:,} more characters)"


def _note(text: str) -> None:
    """Write to stderr. Where it cannot be written, the command goes on."""
    # With a log on a full disk, only the exit code is left to tell what went wrong.
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        _discard(sys.stderr)


def warn(text: str) -> None:
    """Write a warning."""
    note(f"warning: {text}")


def report(error: ExitpolError) -> None:
    """Write an error and its hint."""
    note(f"error: {error}")
    _hint_of(error)


def report_all(problems: Iterable[ExitpolError]) -> None:
    """Write errors that did not stop the rest."""
    for problem in problems:
        report(problem)


def warn_all(remarks: Iterable[ExitpolError]) -> None:
    """Write what nothing is wrong with now, as warnings with their hints."""
    for remark in remarks:
        warn(str(remark))
        _hint_of(remark)


def note_elsewhere(problems: Iterable[ExitpolError]) -> None:
    """Write the problems of relays that a change is not for, as notes with their hints."""
    for problem in problems:
        note(f"not part of this change: {problem}")
        _hint_of(problem)


def _hint_of(error: ExitpolError) -> None:
    for line in (error.hint or "").splitlines():
        hint(line)


def flush() -> None:
    """Write all output. Raises OutputError and ReaderGoneError."""
    try:
        sys.stdout.flush()
    except BrokenPipeError as error:
        raise ReaderGoneError from error
    except OSError as error:
        raise OutputError(error) from error


def discard() -> None:
    """Discard the output that is not written yet."""
    _discard(sys.stdout)


def replace_closed_streams() -> None:
    """Give each standard stream that was closed at the start a file descriptor that fails.

    Otherwise the next file that is opened takes its number, and output of this program or of a
    program that it starts would be written into that file.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            # Open for the wrong direction: reading or writing fails with EBADF.
            os.open(os.devnull, os.O_WRONLY if number == 0 else os.O_RDONLY)
            stream = open(number, "r" if number == 0 else "w", closefd=False)  # noqa: SIM115
            setattr(sys, ("stdin", "stdout", "stderr")[number], stream)


def _write(text: str) -> None:
    # A terminal may know fewer characters than we do.
    try:
        sys.stdout.write(text.encode(_encoding(), "backslashreplace").decode(_encoding()))
    except BrokenPipeError as error:
        raise ReaderGoneError from error
    except OSError as error:
        raise OutputError(error) from error


def _discard(stream: TextIO) -> None:
    """Redirect a stream to /dev/null: Python flushes it at exit, and would fail again."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def _fitted(text: str, stream: TextIO, *, before: int = 0, indent: int = 0) -> str:
    """Return a line as lines that fit the terminal; as it is where `stream` is none.

    `before` columns of each line are taken; lines after the first begin with `indent` blanks.
    """
    columns = _columns(stream)
    if columns is None or len(text) <= columns - before or columns - before < _NARROWEST:
        return text
    return ("\n" + " " * indent).join(_broken(text, columns - before, hanging=indent))


def _broken(text: str, columns: int, *, hanging: int = 0) -> list[str]:
    """Return a text as lines of at most `columns` characters, broken between words only.

    Lines after the first have `hanging` characters less. A longer word has a line of its own, and
    so has a longer command: it is to be copied.
    """
    if len(text) <= columns:
        return [text] if text else []
    import textwrap

    # textwrap breaks at ASCII blanks only.
    joined = re.sub(_command(), lambda found: found[0].replace(" ", _JOINED), text)
    lines = textwrap.wrap(
        joined,
        columns,
        subsequent_indent=" " * hanging,
        break_long_words=False,
        break_on_hyphens=False,
    )
    lines = [line.replace(_JOINED, " ") for line in lines]
    return [line[hanging:] if number else line for number, line in enumerate(lines)]


def width() -> int:
    """Return the columns of the terminal; 80 if stdout is none."""
    return _columns(sys.stdout) or 80


@cache
def _command() -> str:
    """Return the pattern of a command in a message, up to a comma or semicolon before a blank.

    A line of a crontab is a command too, up to its end: cron knows no continuation lines.
    """
    # Imported here: that module imports this one. `exitpol blocks nothing` is prose.
    from exitpolicy.cli.app import COMMANDS, GROUPS

    ours = "|".join([*COMMANDS, *GROUPS])
    others = "sudo|systemctl|journalctl|setfacl|chmod|chown|chgrp|apt|timedatectl"
    others += "|apparmor_parser|cp|mv|rm|ls|df|ps"
    # `echo`, `kill` and `tor` are words of prose as well.
    begin = rf"\b(?:exitpol (?:{ours})\b|(?:{others}) |echo '|(?:kill|tor) -)"
    return rf"{begin}(?:[^;,]|[;,](?! ))*|[*/0-9]+(?: \*){{4}} root .*"


def _columns(stream: TextIO) -> int | None:
    """Return the width of a terminal; None if `stream` is none, or does not know its width."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or None
    except (OSError, ValueError):
        return None


def _has_colours() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def _encoding() -> str:
    # None where stdout is not a file.
    return sys.stdout.encoding or "utf-8"


def _json_value(value: object) -> object:
    if isinstance(value, datetime):
        return utc_text(value)
    return str(value)


def _json_escape(found: re.Match[str]) -> str:
    """Return a character of a JSON string, escaped unless it is printable."""
    character = found[0]
    if character.isprintable():
        return character
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
