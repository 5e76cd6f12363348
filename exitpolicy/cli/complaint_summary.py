"""What a complaint says, on one screen."""

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from exitpolicy.cli import output
from exitpolicy.cli.complaints import excerpt
from exitpolicy.cli.output import printable, say
from exitpolicy.core.durations import remaining_text, utc_text

if TYPE_CHECKING:
    from datetime import datetime

    from exitpolicy.complaint import Complaint

MAX_LINES: Final = 20
MAX_CANDIDATES: Final = 5
MAX_HOSTS: Final = 3
MAX_WARNINGS: Final = 5
"""The most lines of warnings; with all facts, addresses and names, MAX_LINES are full then."""
_HEAD: Final = 11
"""The columns of the names before the values."""


def write(read: "Complaint", now: "datetime", accused: str | None) -> None:
    """Write what a complaint says in at most MAX_LINES lines that fit the terminal.

    `accused` are the relays of the fleet that it accuses, as text; None without a fleet.
    """
    for line in lines(read, now, output.width(), accused):
        say(line)


def choices(read: "Complaint") -> list[str]:
    """Return the destinations and host names that have numbers, in order."""
    destinations = [str(one.destination) for one in read.candidates[:MAX_CANDIDATES]]
    return destinations + [one.name for one in read.named_hosts[:MAX_HOSTS]]


def lines(read: "Complaint", now: "datetime", width: int, accused: str | None = None) -> list[str]:
    """Return the lines. Below a candidate is a line of the complaint, as long as there is room.

    `width` is that of the terminal, in columns.
    """
    warnings = [
        _line("" if number else "warning", part, width)
        for caution in read.cautions
        for number, part in enumerate(
            textwrap.wrap(printable(caution.text), max(width - _HEAD - 1, 20))[:2]
        )
    ]
    facts = [*([] if accused is None else [("accused", accused)]), *_facts(read, now)]
    head = [_line(name, text, width) for name, text in facts]
    head += warnings[: MAX_WARNINGS - (accused is not None)]
    numbered = list(_numbered(read)) or ["none: the complaint names no destination"]
    left = [
        f"{count} {what if count == 1 else several}"
        for count, what, several in (
            (len(read.candidates) - MAX_CANDIDATES, "address", "addresses"),
            (len(read.named_hosts) - MAX_HOSTS, "host name", "host names"),
        )
        if count > 0
    ]
    more = f"and {' and '.join(left)} more: exitpol complaint FILE"
    end = [_line("", more, width)] * bool(left)
    spare = MAX_LINES - len(head) - len(numbered) - len(end)
    quotes = _quotes(read, width)
    body: list[str] = []
    for number, text in enumerate(numbered):
        body.append(_line("" if number else "candidates", text, width))
        if number < len(quotes) and spare > 0:
            body.append(quotes[number])
            spare -= 1
    return [*head, *body, *end]


def _facts(read: "Complaint", now: "datetime") -> Iterator[tuple[str, str]]:
    yield "reporter", read.reporter or "not said"
    if read.envelope.subject:
        yield "subject", read.envelope.subject
    yield "reference", ", ".join(read.references) or "none"
    yield "kind", read.kind.value + (f" (language: {read.language})" if read.language else "")
    if read.incidents:
        first, last = read.incidents[0].time, read.incidents[-1].time
        yield "incidents", utc_text(first) + ("" if first == last else f" to {utc_text(last)}")
    if read.deadline is not None:
        left = remaining_text(read.deadline, now)
        yield (
            "deadline",
            f"{utc_text(read.deadline)} ({f'in {left}' if left != 'ended' else 'passed'})",
        )


def _numbered(read: "Complaint") -> Iterator[str]:
    guesses = [one.is_guess for one in read.candidates[:MAX_CANDIDATES]]
    for number, text in enumerate(choices(read), start=1):
        if number > len(guesses):
            yield f"{number}. {text}  (a host name, not looked up)"
        else:
            guess = "  (a guess: nothing says that it is the victim)"
            yield f"{number}. {text}{guess if guesses[number - 1] else ''}"


def _quotes(read: "Complaint", width: int) -> list[str]:
    """Return for each candidate a line of the complaint that names it."""
    indent = " " * (_HEAD + 4)
    # An excerpt has a mark at each end where it was cut.
    room = max(width - len(indent) - 2, 20)
    return [
        indent
        + excerpt(
            printable(next(iter(one.evidence), "").expandtabs(1)),
            one.destination.ranges[0].text(),
            room,
        )
        for one in read.candidates[:MAX_CANDIDATES]
    ]


def _line(name: str, text: str, width: int) -> str:
    """Return one line that fits the terminal, with a mark where it was cut."""
    line = f"{name:<{_HEAD}} {printable(text)}"
    return line if len(line) <= width else f"{line[: width - 1]}…"
