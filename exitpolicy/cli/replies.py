"""The command `reply`: the answer to a complaint."""

import os
import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from exitpolicy.cli import completion, output
from exitpolicy.cli.arguments import Json, the_host
from exitpolicy.cli.complaints import complaint_bytes
from exitpolicy.cli.output import hint, note, say_json
from exitpolicy.core.errors import ExitCode, ExitpolError, UsageError

# Typer reads these at run time, to list the choices in the help.
from exitpolicy.reply.facts import Kind, Language, Paragraph, Recipient

if TYPE_CHECKING:
    from exitpolicy.complaint import Complaint
    from exitpolicy.operations.host import Host
    from exitpolicy.operations.replies import Answer, Subject
    from exitpolicy.reply import select
    from exitpolicy.reply.compose import Letter
    from exitpolicy.reply.facts import ReplyFacts

MAX_UNSEEN = 5
"""The most relays of other hosts that are named."""
TemplateName = Literal[Kind, Paragraph]


def reply(
    about: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILE] [REFERENCE|DEST]...",
            help="The complaint; the ticket, destination or host name of blocks that the answer"
            " may name.",
            autocompletion=completion.references_and_destinations,
        ),
    ] = None,
    lang: Annotated[
        Language | None, typer.Option(help="The language; that of the complaint if left out.")
    ] = None,
    kind: Annotated[
        Kind | None, typer.Option(help="The kind of letter; that of the complaint if left out.")
    ] = None,
    to: Annotated[
        Recipient | None,
        typer.Option(help="The reader it is written for; the complaint's sender if left out."),
    ] = None,
    recipient: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="The mail address it goes to; else the sender's."),
    ] = None,
    eml: Annotated[
        bool, typer.Option("--eml", help="Write a mail with all headers of an answer.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Say once more that a block has ended.")
    ] = False,
    template: Annotated[
        TemplateName | None,
        typer.Option(help="Print this letter or paragraph as it is in use, to change it."),
    ] = None,
    as_json: Json = False,
) -> int:
    """Write the answer to a complaint, ready to send. It states only what is true.

    Example: exitpol reply report.eml --lang it
    """
    from exitpolicy.operations import complaints, replies

    if template is not None:
        output.say_text(replies.template_text(template, lang or "en"))
        return ExitCode.DONE
    about = about or []
    files, names = _files_and_names(about)
    if not files and not names:
        raise UsageError(
            "nothing to answer is named",
            hint="name a FILE, a REFERENCE or a DEST; exitpol list names the blocks that have ended"
            if kind == "lifted"
            else "name a FILE, a REFERENCE or a DEST",
        )
    if len(files) > 1:
        raise UsageError("an answer is to one complaint", hint="name one FILE")
    host = the_host()
    read = complaints.read(host, complaint_bytes(files[0])) if files else None
    subject = replies.subject(host, read, names)
    address = _addressee(read, recipient, needed=eml or as_json)
    choices = replies.Choices(kind, lang, to, address, again)
    answer = replies.answer(host, subject, choices)
    letter = answer.letter
    if as_json:
        say_json(
            kind=answer.kind,
            language=answer.language,
            to=answer.facts.recipient,
            subject=letter.subject,
            body=letter.body,
            headers=dict(letter.headers),
            ended=list(map(str, answer.ended)),
            not_blocked=[target.name for target in subject.targets],
        )
    elif eml:
        _write_mail(letter)
    else:
        output.say_text(str(letter))
    warn_of(subject, answer, files, names)
    record_end(host, answer)
    return ExitCode.DONE


def _files_and_names(about: Sequence[str]) -> tuple[list[str], list[str]]:
    # Path.is_file() raises OSError for a long name and for a folder that cannot be searched.
    files = [name for name in about if name == "-" or os.path.isfile(name)]  # noqa: PTH113
    return files, [name for name in about if name not in files]


def _write_mail(letter: "Letter") -> None:
    from email.utils import make_msgid

    from exitpolicy.reply.mail import as_eml

    mail = as_eml(letter, date=datetime.now(UTC), message_id=make_msgid())
    output.say_exact(mail.decode("ascii"))


def _addressee(read: "Complaint | None", named: str | None, *, needed: bool) -> str | None:
    """Return the mail address that the answer goes to; ask where it is in doubt and needed.

    Raises UsageError where there is no terminal to ask on.
    """
    from exitpolicy.core.mail_addresses import is_mail_address, shown_domain
    from exitpolicy.reply import select

    if named is not None and not is_mail_address(named):
        raise UsageError(
            f"{named} is not a mail address", hint="write it bare: --recipient a@b.example"
        )
    found = named
    if named is None and read is not None:
        found_or_doubt = select.address_of(read.envelope)
        if isinstance(found_or_doubt, select.Doubt):
            found = _settle(found_or_doubt, needed=needed)
        else:
            found = found_or_doubt
    if found is not None and (shown := shown_domain(found)) is not None:
        output.warn(f"{found}: mail programs may show its domain as {shown}")
    return found


def _settle(doubt: "select.Doubt", *, needed: bool) -> str | None:
    choices = [with_shown_domain(address) for address in doubt.addresses]
    if not needed:
        output.warn(f"{doubt.text}; before you send it, decide who gets it: {', '.join(choices)}")
        return None
    if not sys.stdin.isatty():
        raise UsageError(
            f"{doubt.text}, and there is no terminal to ask which one gets the answer",
            hint="add --recipient ADDRESS; the addresses are " + (", ".join(choices) or "unknown"),
        )
    output.warn(doubt.text)
    for number, choice in enumerate(choices, start=1):
        note(f"{number}. {choice}")
    answer = str(typer.prompt(f"Answer to which? (1-{len(choices)})", err=True)).strip()
    if not (answer.isascii() and answer.isdigit() and 1 <= int(answer) <= len(choices)):
        raise UsageError(f"{answer!r} is none of the numbers", hint="add --recipient ADDRESS")
    return doubt.addresses[int(answer) - 1]


def with_shown_domain(address: str) -> str:
    """Return a mail address, with its domain as mail programs may show it if that differs."""
    from exitpolicy.core.mail_addresses import shown_domain

    shown = shown_domain(address)
    return address if shown is None else f"{address} (shown as {shown})"


def record_end(host: "Host", answer: "Answer") -> None:
    """Record that a letter says that blocks have ended, if it does, once it is written."""
    from exitpolicy.operations import end_letters

    output.flush()
    if not answer.ended:
        return
    try:
        end_letters.record(host, answer.ended)
    except ExitpolError as error:
        output.warn(f"exitpol may offer this letter again, because it was not recorded: {error}")
        if error.hint:
            hint(error.hint)


def warn_of(
    subject: "Subject", answer: "Answer", files: Sequence[str], names: Sequence[str]
) -> None:
    """Warn of what the operator should know before a letter is sent.

    `files` and `names` are the arguments of `reply` that lead to this letter.
    """
    if not subject.has_ledger:
        note("this host has no ledger, so the letter names no block; on the relay's host it may")
    about = [*files, *names]
    _warn_of_blocks(subject, answer, about)
    if subject.other_references:
        note(f"not in the letter: further tickets, {', '.join(subject.other_references)}")
        hint(f"to name them: {_command([*about, *subject.other_references])}")
    _warn_of_complaint(subject, answer.facts, files)
    for reason in answer.not_lifted:
        output.warn(f"not in the letter: {reason}")
    for block in answer.elsewhere:
        output.warn(
            f"not in the letter: {block.destination} is blocked on {', '.join(block.relays)} only,"
            " and not on every relay that the letter is about"
        )


def _warn_of_complaint(subject: "Subject", facts: "ReplyFacts", files: Sequence[str]) -> None:
    """Warn of what the operator should know before the letter is sent."""
    from exitpolicy.complaint.model import Warn

    complaint = subject.complaint
    if complaint is None:
        return
    foreign = [c for c in complaint.cautions if c.why is Warn.NOT_OURS]
    if foreign and facts.address not in complaint.sources:
        output.warn(f"{foreign[0].text}: it is about another machine than this host")
        return
    for target in subject.targets:
        if target.provider is not None:
            output.warn(
                f"{target.name} is not blocked: it is a shared address of {target.provider}"
            )
    if free := [target.name for target in subject.targets if target.provider is None]:
        output.warn(f"not blocked: {', '.join(free)}")
        hint(
            "if the answer is to say so, first: "
            + shlex.join(["exitpol", "complaint", *files, "--block", free[0], "--until", "30d"])
        )


def _command(names: Sequence[str]) -> str:
    """Return the command that answers what is named.

    A stranger may have chosen a ticket that looks like an option.
    """
    ends_options = ["--"] if any(name.startswith("-") for name in names) else []
    return shlex.join(["exitpol", "reply", *ends_options, *names])


def _warn_of_blocks(subject: "Subject", answer: "Answer", about: Sequence[str]) -> None:
    """Warn of blocks that the answer does not name, or does not claim."""
    if subject.withheld:
        tickets = subject.withheld_references
        output.warn(
            f"not in the letter, because the complaint does not name the destination of"
            f" {', '.join(tickets)}:"
            f" {', '.join(str(block.destination) for block in subject.withheld)}"
        )
        hint(f"if the reporter may know them: {_command([*about, *tickets])}")
    pending = [block.destination for block in answer.facts.blocks if not block.live]
    if pending and answer.unseen:
        relays = ", ".join(map(str, answer.unseen[:MAX_UNSEEN]))
        output.warn(
            f"not said to be blocked: {', '.join(pending)}; what Tor enforces on {relays} is known"
            " only there"
        )
        hint(f"once the ledger is there, type on that host: {_command(about)}")
    elif pending:
        output.warn(
            f"not said to be blocked, because Tor does not enforce it: {', '.join(pending)}"
        )
