"""The commands from the complaint to the answer."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from exitpolicy.cli import output
from exitpolicy.cli.arguments import ASK, Force, Json, read_destinations, the_host
from exitpolicy.cli.blocks import say_blocked
from exitpolicy.cli.output import note, printable, say, say_json
from exitpolicy.core.destination import Destination
from exitpolicy.core.durations import EXAMPLES, parse_until, utc_text
from exitpolicy.core.errors import ExitCode, RefusedError, UsageError

if TYPE_CHECKING:
    from exitpolicy.complaint import Complaint
    from exitpolicy.operations.host import Host

GUESS: Final = 40
"""A candidate with a lower score has no evidence of its role, only of being named."""
GLANCE: Final = 62
"""Characters of a line of evidence that are shown: with the indent, 80 columns."""
REPLIES: Final = Path("/etc/exitpol/replies")
"""Where the operator's own letters are."""


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
    changed = change.block(
        host,
        chosen,
        until=parse_until(until, host.clock()),
        reason=checked_text("reason", reason),
        reference=checked_text("reference", kept),
        options=change.Options(force=force, look=cut),
    )
    code = say_blocked(host, changed, dry_run=False, waited=True, as_json=as_json, cut=cut)
    if not as_json:
        note(f"for the answer: exitpol reply {files[0]}")
    return code


def reply(
    about: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE|REFERENCE|DEST", help="The complaint, its ticket, or what was blocked."
        ),
    ] = None,
    lang: Annotated[
        str | None, typer.Option(help="en, it, de, fr or es; that of the complaint if left out.")
    ] = None,
    kind: Annotated[
        str | None, typer.Option(help="The kind of letter, if not that of the complaint.")
    ] = None,
    to: Annotated[
        str | None, typer.Option(help="isp or reporter; who wrote to you if left out.")
    ] = None,
    eml: Annotated[
        bool, typer.Option("--eml", help="Write a mail with all headers of an answer.")
    ] = False,
    template: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Print this letter or paragraph as it is in use, to change it."
        ),
    ] = None,
    as_json: Json = False,
) -> int:
    """Write the answer to a complaint, ready to send: only what is true is in it.

    Example: exitpol reply report.eml --lang it
    """
    from email.utils import make_msgid

    from exitpolicy.operations import complaints
    from exitpolicy.reply import letter as letters
    from exitpolicy.reply.facts import KINDS, LANGUAGES, RECIPIENTS
    from exitpolicy.reply.letter import choose_kind, choose_language
    from exitpolicy.reply.mail import as_eml
    from exitpolicy.reply.templates import load_template

    _one_of("--lang", lang, LANGUAGES)
    _one_of("--kind", kind, KINDS)
    _one_of("--to", to, RECIPIENTS)
    if template is not None:
        return _print_template(template, lang)
    if about is None:
        raise UsageError(
            "what is to be answered is not named", hint="name a FILE, a REFERENCE or a DEST"
        )
    host = the_host()
    if about == "-" or Path(about).is_file():
        subject = complaints.subject_of(host, complaints.read(host, _bytes(about)))
    else:
        subject = complaints.subject(host, about)
    read = subject.complaint
    recipient = next((r for r in RECIPIENTS if r == to), None) or (
        "reporter" if read is not None and not read.forwarded else "isp"
    )
    facts = complaints.facts(host, subject, recipient)
    chosen = next((k for k in KINDS if k == kind), None)
    if chosen is None and read is None:
        chosen = "lifted" if facts.lifted and not facts.blocks else "unknown"
    if chosen is None:
        assert read is not None  # noqa: S101 - looked at above
        chosen = choose_kind(
            read.kind,
            recipient=recipient,
            has_destination=bool(read.candidates),
            has_deadline=read.deadline is not None,
            from_cert=_is_cert(read.reporter),
        )
    language = choose_language(lang or _spoken(read, recipient))
    letter = letters.render(load_template(chosen, language, REPLIES), facts)
    if as_json:
        say_json(
            kind=chosen,
            language=language,
            to=recipient,
            subject=letter.subject,
            body=letter.body,
            headers=dict(letter.headers),
        )
    elif eml:
        output.say_exact(
            as_eml(letter, date=datetime.now(UTC), message_id=make_msgid()).decode("ascii")
        )
    else:
        output.say_text(str(letter))
    pending = [block.destination for block in facts.blocks if not block.live]
    if pending:
        output.warn(
            f"not said to be blocked, because Tor does not enforce it: {', '.join(pending)}"
        )
    return ExitCode.DONE


def _print_template(name: str, lang: str | None) -> int:
    """Print the source of a letter, for a file of the operator's own."""
    from exitpolicy.reply.letter import choose_language
    from exitpolicy.reply.templates import template_texts

    texts = template_texts(choose_language(lang), REPLIES)
    _one_of("--template", name, tuple(texts))
    output.say_text(texts[name])
    return ExitCode.DONE


def _spoken(read: "Complaint | None", recipient: str) -> str | None:
    """Return the language of who is answered: the provider's own words, or the reporter's."""
    if read is None:
        return None
    to_sender = recipient == "isp" or not read.forwarded
    return read.language if to_sender else read.reporter_language or read.language


def _bytes(name: str) -> bytes:
    from exitpolicy.operations import complaints

    if name == "-":
        try:
            return sys.stdin.buffer.read(complaints.MAX_BYTES)
        except OSError as error:
            raise UsageError(f"stdin cannot be read: {error.strerror}") from error
    return complaints.read_file(Path(name))


def _one_of(option: str, value: str | None, known: Sequence[str]) -> None:
    if value is not None and value not in known:
        raise UsageError(f"{option} is no {value!r}", hint=f"there are: {', '.join(known)}")


def _is_cert(reporter: str | None) -> bool:
    """Tell whether a computer emergency response team writes, by its name."""
    return any(word in (reporter or "").lower() for word in ("cert", "csirt"))


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
