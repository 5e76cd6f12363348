"""The steps of `handle` from a complaint to its answer."""

import shlex
import sys
from pathlib import Path

import typer

from exitpolicy.cli import block_questions, complaint_summary, letter_questions, output
from exitpolicy.cli.arguments import Session
from exitpolicy.cli.complaints import accused_words
from exitpolicy.cli.output import note, say
from exitpolicy.cli.questions import Standing, ask
from exitpolicy.complaint import Complaint
from exitpolicy.core.durations import utc_text
from exitpolicy.core.errors import (
    ExitCode,
    ExitpolError,
    InterruptedByUserError,
    InvalidFileError,
    TerminatedError,
)
from exitpolicy.core.fleet import Reach
from exitpolicy.operations import end_letters, handling
from exitpolicy.operations.handling import ConfinedReader, Found, Reader, Waiting
from exitpolicy.operations.host import Host
from exitpolicy.reply.facts import Language
from exitpolicy.storage.complaint_record import Answer, Entry
from exitpolicy.storage.mailbox import Mail, Mailbox


class Steps:
    """Handles complaints, with what the operator chose on the command line."""

    def __init__(
        self,
        host: Host,
        until: str,
        drafts: Path,
        language: Language | None,
        reach: Reach | None = None,
    ) -> None:
        """`reach` is where blocks go; None for what the config says."""
        self.code: int = ExitCode.DONE
        """The first exit code of a step that was not done."""
        self._host = host
        self._until = until
        self._drafts = drafts
        self._language = language
        self._reach = reach
        self._reader = ConfinedReader(host)

    def go_through(self, mailbox: Mailbox) -> None:
        """Handle what waits in a mailbox. Raises QuitError."""
        found = find(self._host, mailbox, self._reader)
        report(found)
        for number, waiting in enumerate(found.waiting, start=1):
            say()
            say(f"== {number} of {len(found.waiting)}: {waiting.mail.name}")
            try:
                known, read = handling.single(self._host, waiting.mail, self._reader)
            except FileNotFoundError:
                note("it is not in the mailbox any more")
            except InvalidFileError as error:
                output.report(error)
                self._offer_to_close(waiting.entry)
            else:
                self._handle(known, read)
        # A workstation, on which mails are answered, may have no ledger. Where only the ledger is
        # kept, no Tor shows that a block has ended.
        if self._host.config.ledger.exists() and not self._host.keeps_ledger_only:
            self.tell_of_ends()

    def tell_of_ends(self) -> int:
        """Offer the letters that say that blocks have ended; return how many. Raises QuitError."""
        offered: set[str] = set()
        while block := next(
            (
                block
                for block in end_letters.due(self._host, self._host.ledger())
                if block.all_references[0] not in offered
            ),
            None,
        ):
            reference = block.all_references[0]
            offered.add(reference)
            say()
            say(f"== a block with the reference {reference} has ended: {block.destination}")
            standing = Standing("no letter says that the block has ended", _go_on())
            try:
                letter_questions.tell_of_end(
                    self._host, reference, self._language, self._drafts, standing
                )
            except (InterruptedByUserError, TerminatedError):
                raise
            except ExitpolError as error:
                output.report(error)
                self._fail(error.exit_code)
        return len(offered)

    def handle_one(self, mail: Mail) -> None:
        """Handle one complaint. Raises InvalidFileError if it cannot be read, QuitError."""
        waiting, read = handling.single(self._host, mail, self._reader)
        if waiting.entry.answer is not None:
            when = utc_text(waiting.entry.answered or waiting.entry.seen)
            note(f"this complaint was {waiting.entry.answer} at {when}")
        self._handle(waiting, read)

    def _handle(self, waiting: Waiting, read: Complaint) -> None:
        standing = _nothing_done()
        complaint_summary.write(read, self._host.clock(), accused_words(self._host, read))
        terms = block_questions.Terms(self._until, self._reach)
        self._fail(block_questions.block(self._host, read, terms, standing))
        try:
            answer = letter_questions.answer(
                self._host, read, self._language, self._drafts, standing
            )
            if answer is not None:
                handling.settle(self._host, waiting.entry, answer)
        except (InterruptedByUserError, TerminatedError):
            raise
        except ExitpolError as error:
            output.report(error)
            self._fail(error.exit_code)

    def _offer_to_close(self, entry: Entry) -> None:
        """Ask whether a complaint that nobody can read needs an answer."""
        chosen = ask("x if it needs no answer, Enter to leave it for later", _nothing_done())
        if chosen.lower() == "x":
            handling.settle(self._host, entry, Answer.CLOSED)

    def _fail(self, code: int) -> None:
        self.code = self.code or code


def _nothing_done() -> Standing:
    return Standing("nothing was blocked, and no answer was written", _go_on())


def _go_on() -> str:
    return f"to go on: {shlex.join(['exitpol', *Session.arguments])}"


def find(host: Host, mailbox: Mailbox, reader: Reader) -> Found:
    """Read what is new in a mailbox, and show the progress on a terminal."""
    if not sys.stderr.isatty():
        return handling.of_mailbox(host, mailbox, reader, lambda *_: None)

    def show(number: int, count: int) -> None:
        typer.echo(f"\rexitpol: reading new mail {number} of {count} ...", nl=False, err=True)

    try:
        return handling.of_mailbox(host, mailbox, reader, show)
    finally:
        typer.echo("\r\033[K", nl=False, err=True)


def report(found: Found) -> None:
    """Write what is to be known of a mailbox before its complaints."""
    output.report_all(found.problems)
    if found.left_out:
        output.warn(f"only the newest mails are read: {found.left_out} older ones are not")
    if not found.waiting:
        note(f"nothing waits; dealt with before: {found.known}")
