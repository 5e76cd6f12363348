"""The command `handle`: from a complaint to the block and the answer, on a terminal."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from exitpolicy.cli import completion, output
from exitpolicy.cli.arguments import Everywhere, Json, reach_of, the_host
from exitpolicy.cli.complaints import complaint_bytes
from exitpolicy.cli.output import say, say_json
from exitpolicy.cli.questions import (
    QuitError,
    has_terminal,
    no_terminal,
    shows_questions,
    take_terminal,
)
from exitpolicy.cli.unanswered import entry_json, entry_words
from exitpolicy.core.durations import EXAMPLES, parse_until, utc_text
from exitpolicy.core.errors import ExitCode, UsageError

# Typer reads this at run time, to list the choices in the help.
from exitpolicy.reply.facts import Language

if TYPE_CHECKING:
    from exitpolicy.operations.host import Host
    from exitpolicy.storage.mailbox import Mail, Mailbox

STDIN: Final = "-"


def handle(
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="[FILE|MAILDIR|MBOX|-]",
            help="A complaint, or a mailbox of them; - is stdin. Without it, the letters about"
            " blocks that have ended.",
        ),
    ] = None,
    until: Annotated[
        str, typer.Option(metavar="WHEN", help=f"The end that is proposed: {EXAMPLES}")
    ] = "30d",
    drafts: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Where drafts are saved; the current folder if left out."
        ),
    ] = None,
    lang: Annotated[
        Language | None, typer.Option(help="The letters' language; the complaint's if left out.")
    ] = None,
    everywhere: Everywhere = None,
    show: Annotated[
        bool, typer.Option("--list", help="List what waits in the mailbox, and ask nothing.")
    ] = False,
    answered: Annotated[
        str | None,
        typer.Option(
            metavar="TICKET",
            help="Record that the complaint with this ticket or id needs no answer any more.",
            autocompletion=completion.unanswered,
        ),
    ] = None,
    as_json: Json = False,
) -> int:
    """Handle complaints on the terminal: block, prove it, and answer.

    Of a mailbox, what is new comes up, the earliest deadline first, then letters about blocks that
    have ended. Nothing is done without a yes.

    Example: exitpol handle report.eml
    """
    if answered is not None:
        if source is not None:
            raise UsageError("--answered takes no FILE", hint="exitpol handle --answered TICKET")
        return _close(answered, as_json=as_json)
    host = the_host()
    if show or as_json:
        return _list(host, source, as_json=as_json)
    from exitpolicy.cli.complaint_steps import Steps
    from exitpolicy.storage.mailbox import Mailbox

    parse_until(until, host.clock())
    if not (shows_questions() if source == STDIN else has_terminal()):
        raise no_terminal()
    opened = None if source is None else _opened(source)
    if source == STDIN:
        try:
            take_terminal()
        except OSError as error:
            raise no_terminal() from error
    steps = Steps(host, until, drafts or Path(), lang, reach_of(everywhere))
    with contextlib.suppress(QuitError):
        if opened is None:
            if not steps.tell_of_ends():
                raise UsageError(
                    "no complaint is named, and no block has ended without its letter",
                    hint="name a FILE, a MAILDIR or an MBOX",
                )
        elif isinstance(opened, Mailbox):
            steps.go_through(opened)
        else:
            steps.handle_one(opened)
    return steps.code


def _opened(source: str) -> "Mail | Mailbox":
    """Return what is named: a file, a mailbox or stdin. Raises what `load` raises."""
    from exitpolicy.storage import mailbox

    if source == STDIN:
        return mailbox.parse("stdin", complaint_bytes(STDIN))
    return mailbox.load(Path(source))


def _list(host: "Host", source: str | None, *, as_json: bool) -> int:
    """Write what waits in a mailbox, and return the exit code."""
    if source is None:
        raise UsageError("no complaint is named", hint="name a FILE, a MAILDIR or an MBOX")
    from exitpolicy.cli.complaint_steps import find, report
    from exitpolicy.operations.handling import ConfinedReader
    from exitpolicy.storage.mailbox import Mailbox

    opened = _opened(source)
    if not isinstance(opened, Mailbox):
        opened = Mailbox((opened,))
    found = find(host, opened, ConfinedReader(host))
    if as_json:
        say_json(
            waiting=[{"name": one.mail.name, **entry_json(one.entry)} for one in found.waiting],
            known=found.known,
            left_out=found.left_out,
            problems=[output.error_json(problem) for problem in found.problems],
        )
        return ExitCode.DONE
    if found.waiting:
        output.table(
            ("DEADLINE", "KIND", "ID", "REFERENCES", "MAIL"),
            (
                (
                    "" if one.entry.deadline is None else utc_text(one.entry.deadline),
                    one.entry.kind,
                    one.entry.short_id,
                    ", ".join(one.entry.references),
                    one.mail.name,
                )
                for one in found.waiting
            ),
        )
    report(found)
    return ExitCode.DONE


def _close(name: str, *, as_json: bool) -> int:
    """Record that complaints need no answer any more."""
    from exitpolicy.operations import handling

    closed = handling.close(the_host(), name)
    if as_json:
        say_json(closed=[entry_json(entry) for entry in closed])
        return ExitCode.DONE
    for entry in closed:
        say(f"{entry_words(entry)}  closed")
    return ExitCode.DONE
