"""Questions on the terminal. Whoever stops at one is told what state things are in."""

import os
import select
import sys
import termios
from dataclasses import dataclass
from typing import Final

import typer

from exitpolicy.cli.output import note
from exitpolicy.core.errors import InterruptedByUserError, Interruption, UsageError

_POLL_SECONDS: Final = 0.2


@dataclass(slots=True)
class Standing:
    """What has been done so far, for whoever stops at a question."""

    state: str
    """One sentence without a final full stop."""
    hint: str
    """What to type to go on."""


class QuitError(Exception):
    """The answer to a question was `q`: ask nothing more."""


def has_terminal() -> bool:
    """Tell whether questions are seen and can be answered."""
    return sys.stdin.isatty() and shows_questions()


def shows_questions() -> bool:
    """Tell whether both results and questions are seen."""
    return sys.stdout.isatty() and sys.stderr.isatty()


def take_terminal() -> None:
    """Read answers from the terminal, where stdin was something else. Raises OSError."""
    terminal = os.open("/dev/tty", os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)
    os.dup2(terminal, 0)
    os.close(terminal)
    sys.stdin = open(0, errors="surrogateescape", closefd=False)  # noqa: SIM115 - for the whole run


def ask(question: str, standing: Standing) -> str:
    """Return the answer to a question, without blanks around it; empty for Enter alone.

    Raises QuitError for `q`, and InterruptedByUserError or TerminatedError for an interruption and
    for the end of input.
    """
    typer.echo(f"{question}: ", nl=False, err=True)
    try:
        # Not typer.prompt: a signal just before it reads is handled after the next line only.
        while not select.select([sys.stdin], [], [], _POLL_SECONDS)[0]:
            pass
        line = sys.stdin.readline()
    except Interruption as stopped:
        typer.echo(err=True)
        raise stopped.kind(f"interrupted: {standing.state}", hint=standing.hint) from stopped
    if not line:
        typer.echo(err=True)
        raise InterruptedByUserError(
            f"the input ended at a question: {standing.state}", hint=standing.hint
        )
    answer = line.strip()
    if answer.lower() in {"q", "quit"}:
        raise QuitError
    return answer


def agrees(question: str, standing: Standing) -> bool:
    """Return whether the answer is yes, which has to be typed after the question is shown."""
    termios.tcflush(sys.stdin, termios.TCIFLUSH)
    return ask(f"{question} [y/N]", standing).lower() in {"y", "yes"}


def confirmed(question: str) -> bool:
    """Return whether the answer is yes; Enter alone is no. Anything else is asked again.

    Raises typer.Abort for the end of input.
    """
    while True:
        typer.echo(f"{question} [y/N]: ", nl=False, err=True)
        line = sys.stdin.readline()
        if not line:
            typer.echo(err=True)
            raise typer.Abort
        answer = line.strip().lower()
        if answer in {"y", "yes"}:
            return True
        if answer in {"", "n", "no"}:
            return False
        note("type y or n; Enter alone is no")


def no_terminal() -> UsageError:
    """Return the error for questions that nobody can answer."""
    return UsageError(
        "handle asks on a terminal, and there is none",
        hint="exitpol complaint FILE --block DEST --until 30d\n"
        "exitpol reply FILE --eml\n"
        "for what waits in a mailbox: exitpol handle MAILDIR --list",
    )
