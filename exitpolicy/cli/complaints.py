"""The command `complaint`: what a complaint says, and the block for it."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from exitpolicy.cli import host_names, output, repeats
from exitpolicy.cli.arguments import (
    ASK,
    Everywhere,
    Force,
    Json,
    Targets,
    Yes,
    reach_of,
    read_targets,
    the_host,
)
from exitpolicy.cli.blocks import say_blocked
from exitpolicy.cli.output import note, printable, say, say_json
from exitpolicy.core.destination import Destination
from exitpolicy.core.durations import EXAMPLES, parse_until, utc_text
from exitpolicy.core.errors import ExitCode, RefusedError, UsageError

if TYPE_CHECKING:
    from exitpolicy.complaint import Complaint
    from exitpolicy.core.fleet import Member
    from exitpolicy.operations.host import Host
    from exitpolicy.operations.host_names import Resolved

MAX_ACCUSED: Final = 5
"""The most accused relays that are named."""
NO_RELAY: Final = "no relay of the fleet"
MAX_HOSTS: Final = 5
"""The most host names that are shown."""
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
            help="Block this destination or host name, or ask on the terminal which.",
        ),
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="WHEN", help=EXAMPLES)] = None,
    reference: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            help="A ticket to record; may be repeated. If left out, all that were found.",
        ),
    ] = None,
    reason: Annotated[str, typer.Option(help="Why, for your own records.")] = "",
    yes: Yes = False,
    despite_spoofing: Annotated[
        bool, typer.Option("--despite-spoofing", help="Block although the report may be spoofed.")
    ] = False,
    force: Force = False,
    everywhere: Everywhere = None,
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
        given = {
            "--until": until is not None,
            "--reference": reference is not None,
            "--reason": bool(reason),
            "--yes": yes,
            "--despite-spoofing": despite_spoofing,
            "--force": force,
            "--cut": cut,
            "--everywhere": everywhere is True,
            "--accused": everywhere is False,
        }
        for option in (name for name, is_given in given.items() if is_given):
            raise UsageError(
                f"{option} is for --block: without it nothing is blocked",
                hint=f"exitpol complaint {shlex.quote(files[0])} --block --until 30d",
            )
        _show(host, files, as_json=as_json)
        return ExitCode.DONE
    host.set_up()
    if len(files) > 1:
        raise UsageError("--block takes one complaint at a time", hint="name one FILE")
    if until is None:
        raise UsageError("--block needs an end", hint="add --until 30d")
    one = complaints.read(host, complaint_bytes(files[0]))
    words = complaints.relays_to_block_on(host, one, reach_of(everywhere))
    if not as_json:
        _write(host, one)
        say()
    targets = _chosen(one, block, host)
    resolved: Sequence[Resolved] = ()
    if any(targets) and _is_believed(one, despite_spoofing=despite_spoofing):
        resolved = host_names.look_up(host, targets.hosts, words, force=force)
        host_names.show(resolved, as_json=as_json)
    else:
        targets = Targets([], [])
    if not any(targets) or not host_names.is_confirmed(resolved, yes=yes):
        note("nothing was blocked")
        return ExitCode.DONE
    names = host_names.destinations(resolved)
    from exitpolicy.core.block import checked_text
    from exitpolicy.operations import change

    kept = one.references if reference is None else reference
    options = change.Options(force=force, watch=change.watch(no_wait=False, own=cut))
    now = host.clock()
    end = parse_until(until, now)
    changed = change.block(
        host,
        [*targets.destinations, *names],
        until=end,
        reason=checked_text("reason", reason),
        references=[checked_text("reference", ticket) for ticket in kept],
        options=options,
        relays=words,
        names=names,
    )
    note_reach(host, one, words)
    code = say_blocked(
        host,
        changed,
        options,
        as_json=as_json,
        cut=cut,
        resolved=resolved,
        repeated=repeats.of(host, changed.blocks, end, now),
    )
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
        objects = [
            {**complaint_json(one), "accused": accused_json(complaints.accused(host, one))}
            for one in found
        ]
        say_json(**(objects[0] if len(objects) == 1 else {"complaints": objects}))
        return
    for number, one in enumerate(found):
        if number:
            say()
        if len(found) > 1:
            say(f"== {files[number]}")
        _write(host, one)


def accused_json(accused: "Sequence[Member]") -> list[dict[str, object]]:
    """Return relays of the fleet as JSON."""
    return [
        {
            "name": member.name,
            "host": member.host or None,
            "relay": member.word,
            "addresses": [str(address) for address in member.addresses],
        }
        for member in accused
    ]


def accused_words(host: "Host", read: "Complaint") -> str | None:
    """Return the relays of the fleet that a complaint accuses, as text; None without a fleet."""
    from exitpolicy.operations import complaints

    if not host.config.fleet.members:
        return None
    found = complaints.accused(host, read)
    more = f" and {len(found) - MAX_ACCUSED} more" if len(found) > MAX_ACCUSED else ""
    return ", ".join(map(str, found[:MAX_ACCUSED])) + more or NO_RELAY


def note_reach(host: "Host", read: "Complaint", words: Sequence[str]) -> None:
    """Say on which relays a block for a complaint is, where the config names a fleet."""
    if words:
        more = f" and {len(words) - MAX_ACCUSED} more" if len(words) > MAX_ACCUSED else ""
        note(f"for the relays that the complaint accuses: {', '.join(words[:MAX_ACCUSED])}{more}")
    elif accused_words(host, read) == NO_RELAY:
        note("the complaint accuses no relay of the fleet: the block is for all relays")


def _write(host: "Host", read: "Complaint") -> None:
    """Write a complaint for people."""
    accused = accused_words(host, read)
    lines = [
        *([] if accused is None else [("accused", accused)]),
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
    _write_candidates(read)
    _write_hosts(read)
    for caution in read.cautions:
        output.warn(printable(caution.text))


def _write_candidates(read: "Complaint") -> None:
    """Write the candidates with the lines that name them, or what to ask the reporter for."""
    for number, candidate in enumerate(read.candidates, start=1):
        guess = "  (a guess: nothing says that it is the victim)" if candidate.is_guess else ""
        say(f"{'candidates' if number == 1 else '':<11} {number}. {candidate.destination}{guess}")
        for evidence in candidate.evidence[:2]:
            address = candidate.destination.ranges[0].text()
            say(f"{'':<15}{excerpt(printable(evidence), address)}")
    if not read.candidates:
        say(f"{'candidates':<11} none: the complaint names no destination")
        for question in read.ask:
            say(f"{'ask for':<11} {printable(question)}")


def _write_hosts(read: "Complaint") -> None:
    """Write the host names, each with a line that names it."""
    for number, named in enumerate(read.named_hosts[:MAX_HOSTS]):
        say(f"{'' if number else 'host names':<11} {named.name}")
        for evidence in named.evidence[:1]:
            say(f"{'':<15}{excerpt(printable(evidence), named.name)}")
    if len(read.named_hosts) > MAX_HOSTS:
        say(f"{'':<11} and {len(read.named_hosts) - MAX_HOSTS} more, in --json")


def excerpt(line: str, text: str, width: int = EXCERPT) -> str:
    """Return at most `width` characters of a line, with a text in them that it holds.

    A mark is added at each end where it was cut.
    """
    at = line.find(text)
    start = max(0, min(at - width // 2, len(line) - width))
    end = start + width
    return f"{'…' if start else ''}{line[start:end].strip()}{'…' if end < len(line) else ''}"


def _chosen(read: "Complaint", block: str, host: "Host") -> Targets:
    """Return what to block; nothing if the operator declines.

    Raises UsageError where there is nothing to choose or no terminal to ask on, and RefusedError
    for an address of this host.
    """
    if block == ASK:
        return Targets(_ask(read), [])
    from exitpolicy.operations import complaints

    chosen = read_targets([block])
    complaints.refuse_own_addresses(host, chosen.destinations)
    return chosen


def _is_believed(read: "Complaint", *, despite_spoofing: bool) -> bool:
    """Ask on the terminal whether to believe a report that may be spoofed.

    Raises RefusedError without a terminal.
    """
    from exitpolicy.cli.questions import confirmed

    if despite_spoofing or not read.may_be_spoofed:
        return True
    if not sys.stdin.isatty():
        raise RefusedError(
            "such reports are often spoofed: the packets may not come from the relay",
            hint="check it, and add --despite-spoofing",
        )
    return confirmed("Such reports are often spoofed. Block anyway?")


def _ask(read: "Complaint") -> list[Destination]:
    """Ask on the terminal which candidates to block. Raises UsageError."""
    if not read.candidates:
        named = next(iter(read.host_names), "203.0.113.7")
        raise UsageError("the complaint names no destination", hint=f"name it: --block {named}")
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
