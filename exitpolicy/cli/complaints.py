"""The commands from the complaint to the answer."""

import shlex
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from exitpolicy.cli import output
from exitpolicy.cli.arguments import ASK, Force, Json, read_destinations, the_host
from exitpolicy.cli.blocks import say_blocked
from exitpolicy.cli.output import note, printable, say, say_json
from exitpolicy.core.destination import Destination
from exitpolicy.core.durations import EXAMPLES, parse_until, utc_text
from exitpolicy.core.errors import ExitCode, RefusedError, UsageError

# Typer reads these at run time, to list the choices in the help.
from exitpolicy.reply.facts import Kind, Language, Paragraph, Recipient

if TYPE_CHECKING:
    from exitpolicy.complaint import Complaint
    from exitpolicy.operations.host import Host
    from exitpolicy.operations.replies import Subject
    from exitpolicy.reply import select
    from exitpolicy.reply.compose import Letter
    from exitpolicy.reply.facts import ReplyFacts

GUESS: Final = 40
"""A candidate with a lower score has no evidence of its role, only of being named."""
GLANCE: Final = 62
"""Characters of a line of evidence that are shown: with the indent, 80 columns."""
TemplateName = Literal[Kind, Paragraph]


def complaint(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="A mail, a text, a report; - is stdin.")
    ],
    block: Annotated[
        str | None,
        typer.Option(
            "--block",
            metavar="[DEST]",
            help="Block this destination, or ask on the terminal which.",
        ),
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="WHEN", help=EXAMPLES)] = None,
    reference: Annotated[
        str | None, typer.Option(help="The ticket to keep, if not the first that was found.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why, for you.")] = "",
    yes: Annotated[
        bool, typer.Option("--yes", help="Block although the report may be spoofed.")
    ] = False,
    force: Force = False,
    cut: Annotated[
        bool, typer.Option("--cut", help="Also close the streams that are open to it (as root).")
    ] = False,
    as_json: Json = False,
) -> int:
    """Read an abuse complaint: who complains, about what, and which destination to block.

    Example: exitpol complaint report.eml --block --until 30d
    """
    from exitpolicy.complaint import as_json as complaint_json
    from exitpolicy.operations import complaints

    host = the_host()
    if block is not None and len(files) > 1:
        raise UsageError("--block takes one complaint at a time", hint="name one FILE")
    if block is not None and until is None:
        raise UsageError("--block needs an end", hint="add --until 30d")
    found = [complaints.read(host, _bytes(name)) for name in files]
    if block is None:
        if as_json:
            objects = [complaint_json(one) for one in found]
            say_json(**(objects[0] if len(objects) == 1 else {"complaints": objects}))
        else:
            for number, one in enumerate(found):
                if len(found) > 1:
                    _say_heading(number, files[number])
                _write(one)
        return ExitCode.DONE
    assert until is not None  # noqa: S101 - looked at above
    (one,) = found
    if not as_json:
        _write(one)
        say()
    chosen = _chosen(one, block, host, yes=yes)
    if not chosen:
        note("nothing was blocked")
        return ExitCode.DONE
    from exitpolicy.core.block import checked_text
    from exitpolicy.operations import change

    kept = reference if reference is not None else next(iter(one.references), "")
    options = change.Options(force=force, watch=change.watch(no_wait=False, own=cut))
    changed = change.block(
        host,
        chosen,
        until=parse_until(until, host.clock()),
        reason=checked_text("reason", reason),
        reference=checked_text("reference", kept),
        options=options,
    )
    code = say_blocked(host, changed, options, as_json=as_json, cut=cut)
    if not as_json:
        note(f"for the answer: exitpol reply {shlex.quote(files[0])}")
    return code


def reply(
    about: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILE] [REFERENCE|DEST]...",
            help="The complaint; the ticket or destination of blocks that the answer may name.",
        ),
    ] = None,
    lang: Annotated[
        Language | None, typer.Option(help="The language; that of the complaint if left out.")
    ] = None,
    kind: Annotated[
        Kind | None, typer.Option(help="The kind of letter; that of the complaint if left out.")
    ] = None,
    to: Annotated[
        Recipient | None, typer.Option(help="Whom it is written for; who wrote if left out.")
    ] = None,
    recipient: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="The mail address it goes to; else the sender's."),
    ] = None,
    eml: Annotated[
        bool, typer.Option("--eml", help="Write a mail with all headers of an answer.")
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
    files, names = _files_and_names(about or [])
    if not files and not names:
        raise UsageError("nothing to answer is named", hint="name a FILE, a REFERENCE or a DEST")
    if len(files) > 1:
        raise UsageError("an answer is to one complaint", hint="name one FILE")
    host = the_host()
    read = complaints.read(host, _bytes(files[0])) if files else None
    subject = replies.subject(host, read, names)
    address = _addressee(read, recipient, needed=eml or as_json)
    answer = replies.answer(host, subject, replies.Choices(kind, lang, to, address))
    letter = answer.letter
    if as_json:
        say_json(
            kind=answer.kind,
            language=answer.language,
            to=answer.facts.recipient,
            subject=letter.subject,
            body=letter.body,
            headers=dict(letter.headers),
        )
    elif eml:
        _write_mail(letter)
    else:
        output.say_text(str(letter))
    _warn_of_blocks(subject, answer.facts, about or [])
    return ExitCode.DONE


def _files_and_names(about: Sequence[str]) -> tuple[list[str], list[str]]:
    files = [name for name in about if name == "-" or Path(name).is_file()]
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
            f"{named} is no mail address", hint="write it bare: --recipient a@b.example"
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
    choices = [_with_shown_domain(address) for address in doubt.addresses]
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


def _with_shown_domain(address: str) -> str:
    from exitpolicy.core.mail_addresses import shown_domain

    shown = shown_domain(address)
    return address if shown is None else f"{address} (shown as {shown})"


def _warn_of_blocks(subject: "Subject", facts: "ReplyFacts", about: Sequence[str]) -> None:
    """Warn of blocks that the answer does not name, or does not claim."""
    if subject.withheld:
        tickets = list(dict.fromkeys(block.reference for block in subject.withheld))
        output.warn(
            f"not in the letter, because the complaint does not name the destination of"
            f" {', '.join(tickets)}:"
            f" {', '.join(str(block.destination) for block in subject.withheld)}"
        )
        note("hint: if the reporter may know them: exitpol reply " + shlex.join([*about, *tickets]))
    pending = [block.destination for block in facts.blocks if not block.live]
    if pending:
        output.warn(
            f"not said to be blocked, because Tor does not enforce it: {', '.join(pending)}"
        )


def _bytes(name: str) -> bytes:
    from exitpolicy.operations import complaints

    if name == "-":
        try:
            return sys.stdin.buffer.read(complaints.MAX_BYTES)
        except OSError as error:
            raise UsageError(f"stdin cannot be read: {error.strerror}") from error
    return complaints.read_file(Path(name))


def _say_heading(number: int, name: str) -> None:
    """Write the name of a file above what was read from it."""
    if number:
        say()
    say(f"== {name}")


def _write(read: "Complaint") -> None:
    """Write a complaint for people."""
    lines = [
        ("reporter", read.reporter or "not said"),
        ("reference", ", ".join(read.references) or "none"),
        ("kind", str(read.kind.value)),
        ("language", read.language or "not known"),
    ]
    times = [
        utc_text(i.time) + ("" if i.zone_said else " (the report says no zone)")
        for i in read.incidents[:3]
    ]
    if times:
        more = len(read.incidents) - len(times)
        lines.append(("incidents", ", ".join(times) + (f" and {more} more" if more else "")))
    if read.deadline is not None:
        lines.append(("deadline", utc_text(read.deadline)))
    for name, value in lines:
        say(f"{name:<11} {printable(value)}")
    for number, candidate in enumerate(read.candidates, start=1):
        guess = (
            "" if candidate.score >= GUESS else "  (a guess: nothing says that it is the victim)"
        )
        say(f"{'candidates' if number == 1 else '':<11} {number}. {candidate.destination}{guess}")
        for evidence in candidate.evidence[:2]:
            say(f"{'':<15}{_excerpt(printable(evidence), candidate.destination)}")
    if not read.candidates:
        say(f"{'candidates':<11} none: the complaint names no destination")
        for question in read.ask:
            say(f"{'ask for':<11} {printable(question)}")
    for caution in read.cautions:
        output.warn(printable(caution.text))


def _excerpt(line: str, destination: Destination) -> str:
    """Return as much of a line as is read at a glance, with the address in it."""
    at = line.find(destination.addresses.text())
    start = max(0, min(at - GLANCE // 2, len(line) - GLANCE))
    end = start + GLANCE
    return f"{'…' if start else ''}{line[start:end].strip()}{'…' if end < len(line) else ''}"


def _chosen(read: "Complaint", block: str, host: "Host", *, yes: bool) -> list[Destination]:
    """Return what is to be blocked. Raises UsageError, RefusedError."""
    if block != ASK:
        from exitpolicy.operations import complaints

        wanted = read_destinations([block])
        for own in complaints.own_addresses(host):
            if any(own.overlaps(destination) for destination in wanted):
                raise RefusedError(
                    f"{own} is an address of this host", hint="block the address it is said to harm"
                )
    else:
        if not read.candidates:
            raise UsageError(
                "the complaint names no destination", hint="name it: --block 203.0.113.7"
            )
        if not sys.stdin.isatty():
            raise UsageError(
                "there is no terminal to ask on which to block",
                hint=f"name it: --block '{read.candidates[0].destination}'",
            )
        wanted = _ask(read)
    if wanted and read.may_be_spoofed and not yes:
        if not sys.stdin.isatty():
            raise RefusedError(
                "reports of this kind are often spoofed: the packets may not be the relay's at all",
                hint="look at it, and add --yes",
            )
        if not typer.confirm("Such reports are often spoofed. Block all the same?", err=True):
            return []
    return wanted


def _ask(read: "Complaint") -> list[Destination]:
    """Ask on the terminal which candidates to block."""
    count = len(read.candidates)
    answer = typer.prompt(f"Block which? (1-{count}, several with commas; none)", err=True)
    words = [word for word in str(answer).replace(",", " ").split() if word != "none"]
    if not all(word.isascii() and word.isdigit() and 1 <= int(word) <= count for word in words):
        raise UsageError(f"{answer!r} is none of the numbers", hint=f"type 1 to {count}, or none")
    return [read.candidates[int(word) - 1].destination for word in words]
