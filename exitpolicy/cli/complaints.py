"""The command `complaint`: what a complaint says, and the block for it."""

import shlex
import sys
from collections.abc import Sequence
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

EXCERPT: Final = 62
"""Characters of a line of evidence that are shown; with the indent, 80 columns."""


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
        str | None, typer.Option(help="The ticket to record; the first that was found if left out.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why, for your own records.")] = "",
    yes: Annotated[
        bool, typer.Option("--yes", help="Block although the report may be spoofed.")
    ] = False,
    force: Force = False,
    cut: Annotated[
        bool, typer.Option("--cut", help="Also close the streams that are open to it (as root).")
    ] = False,
    as_json: Json = False,
) -> int:
    """Read an abuse complaint, and propose what to block.

    Example: exitpol complaint report.eml --block --until 30d
    """
    from exitpolicy.operations import complaints

    host = the_host()
    if block is None:
        _show(host, files, as_json=as_json)
        return ExitCode.DONE
    if len(files) > 1:
        raise UsageError("--block takes one complaint at a time", hint="name one FILE")
    if until is None:
        raise UsageError("--block needs an end", hint="add --until 30d")
    one = complaints.read(host, complaint_bytes(files[0]))
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


def complaint_bytes(name: str) -> bytes:
    """Return the content of FILE, or of stdin for `-`. Raises UsageError, InvalidFileError."""
    from exitpolicy.operations import complaints

    if name == "-":
        try:
            return sys.stdin.buffer.read(complaints.MAX_BYTES)
        except OSError as error:
            raise UsageError(f"stdin cannot be read: {error.strerror}") from error
    return complaints.read_file(Path(name))


def _show(host: "Host", files: Sequence[str], *, as_json: bool) -> None:
    """Read complaints, then write what they say."""
    from exitpolicy.complaint import as_json as complaint_json
    from exitpolicy.operations import complaints

    found = [complaints.read(host, complaint_bytes(name)) for name in files]
    if as_json:
        objects = [complaint_json(one) for one in found]
        say_json(**(objects[0] if len(objects) == 1 else {"complaints": objects}))
        return
    for number, one in enumerate(found):
        if number:
            say()
        if len(found) > 1:
            say(f"== {files[number]}")
        _write(one)


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
        guess = "  (a guess: nothing says that it is the victim)" if candidate.is_guess else ""
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
    """Return at most EXCERPT characters of a line, with the destination's address in them."""
    at = line.find(destination.addresses.text())
    start = max(0, min(at - EXCERPT // 2, len(line) - EXCERPT))
    end = start + EXCERPT
    return f"{'…' if start else ''}{line[start:end].strip()}{'…' if end < len(line) else ''}"


def _chosen(read: "Complaint", block: str, host: "Host", *, yes: bool) -> list[Destination]:
    """Return the destinations to block; none if the operator declines.

    Raises UsageError where there is nothing to choose or no terminal to ask on, RefusedError for
    an address of this host and for a report that may be spoofed and was not confirmed.
    """
    if block == ASK:
        chosen = _ask(read)
    else:
        from exitpolicy.operations import complaints

        chosen = read_destinations([block])
        complaints.refuse_own_addresses(host, chosen)
    if chosen and read.may_be_spoofed and not yes:
        if not sys.stdin.isatty():
            raise RefusedError(
                "such reports are often spoofed: the packets may not come from the relay",
                hint="check it, and add --yes",
            )
        if not typer.confirm("Such reports are often spoofed. Block anyway?", err=True):
            return []
    return chosen


def _ask(read: "Complaint") -> list[Destination]:
    """Ask on the terminal which candidates to block. Raises UsageError."""
    if not read.candidates:
        raise UsageError("the complaint names no destination", hint="name it: --block 203.0.113.7")
    if not sys.stdin.isatty():
        raise UsageError(
            "there is no terminal to ask which destination to block",
            hint=f"name it: --block '{read.candidates[0].destination}'",
        )
    count = len(read.candidates)
    choices = "1 or none" if count == 1 else f"1-{count}, several with commas; none"
    answer = typer.prompt(f"Block which? ({choices})", err=True)
    words = [word for word in str(answer).replace(",", " ").split() if word != "none"]
    if not all(word.isascii() and word.isdigit() and 1 <= int(word) <= count for word in words):
        raise UsageError(f"{answer!r} is none of the numbers", hint=f"type 1 to {count}, or none")
    return [read.candidates[int(word) - 1].destination for word in words]
