"""Show the answer to a complaint, let the operator change it, and save or send it."""

import os
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from exitpolicy.cli import output
from exitpolicy.cli import replies as replies_output
from exitpolicy.cli.output import say
from exitpolicy.cli.questions import Standing, agrees, ask
from exitpolicy.core.errors import (
    ExitpolError,
    InterruptedByUserError,
    TerminatedError,
    UsageError,
)
from exitpolicy.operations.interruption import interrupted_state
from exitpolicy.storage.complaint_record import Answer

if TYPE_CHECKING:
    from exitpolicy.complaint import Complaint
    from exitpolicy.operations import replies
    from exitpolicy.operations.host import Host
    from exitpolicy.reply.compose import Letter
    from exitpolicy.reply.facts import Language


class Choice(StrEnum):
    """What can be done with a letter; the values are the keys."""

    DRAFT = "d"
    EDIT = "e"
    SEND = "s"
    CLOSE = "x"


def answer(
    host: "Host", read: "Complaint", language: "Language | None", folder: Path, standing: Standing
) -> Answer | None:
    """Write the answer to a complaint, and ask what to do with it; return None for nothing.

    `folder` is where drafts are saved. Raises ExitpolError if there can be no letter.
    """
    from exitpolicy.operations import replies

    to = _addressee(read, standing)
    with interrupted_state(standing.state):
        about = replies.subject(host, read, [])
        written = replies.answer(host, about, replies.Choices(language=language, to=to))
    _show(written.letter)
    replies_output.warn_of(about, written, ["FILE"], [])
    return _decided(host, written, Choice, folder, standing)


def tell_of_end(
    host: "Host", reference: str, language: "Language | None", folder: Path, standing: Standing
) -> Answer | None:
    """Write the letter that says that blocks have ended, and ask what to do with it.

    Raises ExitpolError if there can be no letter.
    """
    from exitpolicy.operations import replies

    with interrupted_state(standing.state):
        about = replies.subject(host, None, [reference])
        written = replies.answer(host, about, replies.Choices(kind="lifted", language=language))
    _show(written.letter)
    replies_output.warn_of(about, written, [], [reference])
    # The ledger knows no mail address, so that there is nobody to send it to.
    return _decided(host, written, (Choice.DRAFT, Choice.EDIT), folder, standing)


def _decided(
    host: "Host",
    written: "replies.Answer",
    choices: Iterable[Choice],
    folder: Path,
    standing: Standing,
) -> Answer | None:
    """Ask what to do with a letter until it is done; return None for nothing."""
    from exitpolicy.operations import outgoing

    names = (*written.facts.references, *(b.destination for b in written.facts.blocks))
    letter = written.letter
    while True:
        draft = outgoing.draft_path(folder, next(iter(names), written.kind))
        chosen = _choice(choices, draft, outgoing.header(letter, "To"), standing)
        try:
            match chosen:
                case None:
                    return None
                case Choice.DRAFT:
                    outgoing.save_draft(draft, outgoing.mail_of(letter, host.clock()))
                    say(f"draft saved: {draft}")
                    replies_output.record_end(host, written)
                    return Answer.DRAFTED
                case Choice.EDIT:
                    letter = _edited(letter, standing)
                    _show(letter)
                case Choice.SEND:
                    if _is_sent(host, letter, standing):
                        replies_output.record_end(host, written)
                        return Answer.SENT
                case Choice.CLOSE:
                    return Answer.CLOSED
        except (InterruptedByUserError, TerminatedError):
            raise
        except ExitpolError as error:
            output.report(error)


def _choice(
    choices: Iterable[Choice], draft: Path, to: str | None, standing: Standing
) -> Choice | None:
    """Ask what to do with a letter until the answer is a choice; return None for Enter."""
    what = {
        Choice.DRAFT: f"save it as a draft: {draft}",
        Choice.EDIT: "edit it",
        Choice.SEND: f"send it to {to or 'nobody: no address is known'}",
        Choice.CLOSE: "nothing: no answer is needed any more",
    }
    letters = ", ".join(choices)
    say()
    for choice in choices:
        say(f"  {choice}  {what[choice]}")
    while typed := ask(f"The letter? ({letters}; Enter leaves it for later)", standing).lower():
        if typed in set(choices):
            return Choice(typed)
        output.report(UsageError(f"{typed!r} is none of {letters}"))
    return None


def _addressee(read: "Complaint", standing: Standing) -> str | None:
    """Return the address that is answered; ask where it is in doubt."""
    from exitpolicy.reply import select

    found = select.address_of(read.envelope)
    if not isinstance(found, select.Doubt):
        return found
    output.warn(found.text)
    for number, address in enumerate(found.addresses, start=1):
        say(f"{number}. {replies_output.with_shown_domain(address)}")
    numbers = [str(number) for number in range(1, len(found.addresses) + 1)]
    while numbers:
        chosen = ask(f"Answer to which? ({', '.join(numbers)}; Enter for none of them)", standing)
        if not chosen:
            break
        if chosen in numbers:
            return found.addresses[int(chosen) - 1]
        output.report(UsageError(f"{chosen!r} is none of the numbers"))
    return None


def _show(letter: "Letter") -> None:
    """Write a letter with the headers that a reader sees."""
    from exitpolicy.operations import outgoing

    say()
    if (sender := outgoing.header(letter, "From")) is not None:
        say(f"From: {sender}")
    if (recipient := outgoing.header(letter, "To")) is not None:
        say(f"To: {replies_output.with_shown_domain(recipient)}")
    output.say_text(str(letter))


def _edited(letter: "Letter", standing: Standing) -> "Letter":
    from exitpolicy.operations import editor

    with interrupted_state(standing.state):
        return editor.edited(letter, os.environ)


def _is_sent(host: "Host", letter: "Letter", standing: Standing) -> bool:
    """Send a letter after a yes; tell whether it was sent. Raises what `send` raises."""
    from exitpolicy.operations import outgoing
    from exitpolicy.reply.compose import mailbox

    sender = mailbox(outgoing.header(letter, "From"))
    recipient = outgoing.header(letter, "To")
    if recipient is None:
        raise UsageError("nobody to send it to is known", hint="save a draft, and address it there")
    if sender is None:
        raise UsageError(
            f"no sender is known: {host.config.source} names no mail address of the operator's",
            hint="add to it: operator: {contact: abuse@example.org}; or save a draft",
        )
    if not agrees(f"Send it to {recipient}?", standing):
        return False
    mail = outgoing.mail_of(letter, host.clock())
    with interrupted_state(f"{standing.state}; whether the mail was sent is not known"):
        outgoing.send(mail, sender=sender, recipient=recipient)
    say(f"sent: {outgoing.SENDMAIL} took it for {recipient}")
    return True
