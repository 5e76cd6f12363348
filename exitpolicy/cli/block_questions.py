"""Ask which destinations of a complaint to block, block them, and show that they are blocked."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from exitpolicy.cli import complaint_summary, host_names, output, repeats
from exitpolicy.cli.arguments import Targets, read_targets
from exitpolicy.cli.blocks import say_blocked
from exitpolicy.cli.questions import Standing, agrees, ask
from exitpolicy.cli.render import MANY, until_words
from exitpolicy.core.block import MAX_TEXT
from exitpolicy.core.destination import Destination
from exitpolicy.core.durations import parse_until
from exitpolicy.core.errors import (
    ExitCode,
    ExitpolError,
    InterruptedByUserError,
    TerminatedError,
    UsageError,
)
from exitpolicy.core.fleet import Reach
from exitpolicy.core.host_names import parse_host

if TYPE_CHECKING:
    from exitpolicy.complaint import Complaint
    from exitpolicy.operations.host import Host
    from exitpolicy.operations.host_names import Resolved

_FEW: Final = 3
"""The destinations that a question names."""


class Terms(NamedTuple):
    """What the command line says of blocks."""

    until: str
    """The end that is proposed."""
    reach: Reach | None = None
    """Where they go; None for what the config says."""


def block(host: "Host", read: "Complaint", terms: Terms, standing: Standing) -> int:
    """Ask what to block until when, and block it after a yes; return the exit code.

    What cannot be blocked is reported, and asked again.
    """
    while True:
        targets = _chosen(read, standing)
        if not any(targets):
            return ExitCode.DONE
        try:
            return _block(host, read, targets, terms, standing)
        except (InterruptedByUserError, TerminatedError):
            raise
        except ExitpolError as error:
            output.report(error)


def _chosen(read: "Complaint", standing: Standing) -> Targets:
    """Ask what to block, until the answer is clear; return nothing for none."""
    choices = complaint_summary.choices(read)
    numbers = {0: "", 1: "1, "}.get(len(choices), f"1-{len(choices)}, ")
    default = "1" if _proposes_first(read) else "n"
    question = f"Block which? {numbers}a destination, n for none [{default}]"
    while True:
        answer = ask(question, standing) or default
        if answer.lower() in {"n", "no", "none"}:
            return Targets([], [])
        try:
            return _targets(answer, choices)
        except UsageError as error:
            output.report(error)


def _proposes_first(read: "Complaint") -> bool:
    """Tell whether Enter takes the first destination: it does if nothing speaks against it."""
    from exitpolicy.complaint.model import Warn

    doubts = {Warn.SPOOFED, Warn.NOT_OURS}
    first = next(iter(read.candidates), None)
    if first is None or first.is_guess:
        return False
    return not any(caution.why in doubts for caution in read.cautions)


def _targets(answer: str, choices: Sequence[str]) -> Targets:
    """Return what numbers, destinations and host names stand for. Raises UsageError."""
    found = Targets([], [])
    for typed in answer.split():
        texts = [typed]
        if typed.strip(",").replace(",", "").isdecimal():
            texts = [_numbered(number, choices) for number in typed.split(",") if number]
        for text in texts:
            named = parse_host(text)
            one = read_targets([text]) if named is None else Targets([], [named])
            found.destinations.extend(one.destinations)
            found.hosts.extend(one.hosts)
    return found


def _numbered(number: str, choices: Sequence[str]) -> str:
    if not (number.isascii() and 1 <= int(number) <= len(choices)):
        raise UsageError(f"{number} is none of the numbers", hint="n blocks nothing")
    return choices[int(number) - 1]


def _block(
    host: "Host", read: "Complaint", targets: Targets, terms: Terms, standing: Standing
) -> int:
    """Look names up, ask for the end and for a yes, and block. Raises what `block` raises."""
    from exitpolicy.operations import change, complaints

    host.set_up()
    complaints.refuse_own_addresses(host, targets.destinations)
    words = _relays(host, read, terms)
    resolved: Sequence[Resolved] = host_names.look_up(host, targets.hosts, words, force=False)
    host_names.show(resolved, as_json=False)
    names = host_names.destinations(resolved)
    destinations = list(dict.fromkeys((*targets.destinations, *names)))
    end = _end(host, _proposed_end(host, destinations, terms.until), standing)
    count = len(destinations)
    what = ", ".join(map(str, destinations)) if count <= _FEW else f"these {count} destinations"
    if read.may_be_spoofed:
        output.warn("such reports are often spoofed: the packets may not come from the relay")
    when = until_words(end, host.clock()).partition(" (")[0]
    where = f" on {', '.join(words)}" if words else " on all relays"
    if not agrees(f"Block {what}{where if host.config.fleet.members else ''}, {when}?", standing):
        output.note("nothing was blocked")
        return ExitCode.DONE
    options = change.Options()
    with output.progress(output.TOR_READS):
        changed = change.block(
            host,
            destinations,
            until=end,
            reason="",
            references=[ticket for ticket in read.references if len(ticket) <= MAX_TEXT],
            options=options,
            relays=words,
            names=names,
        )
    code = say_blocked(host, changed, options, as_json=False, cut=False, resolved=resolved)
    if code == ExitCode.DONE:
        standing.state = f"{what} {'is' if count == 1 else 'are'} blocked; no answer was written"
        _prove(host, destinations, words)
    else:
        standing.state = f"the block of {what} is recorded; no answer was written"
    return code


def _relays(host: "Host", read: "Complaint", terms: Terms) -> tuple[str, ...]:
    """Return the words for the relays that a block is for; empty for all.

    A mailbox holds complaints that accuse others: with --accused, they block everywhere.
    """
    from exitpolicy.operations import complaints

    reach = terms.reach
    if reach is Reach.ACCUSED and not complaints.accused(host, read):
        reach = Reach.EVERYWHERE
    return complaints.relays_to_block_on(host, read, reach)


def _proposed_end(host: "Host", destinations: Sequence[Destination], until: str) -> str:
    """Return the end to propose: a longer one for what was blocked before, which is shown."""
    from exitpolicy.operations.repeats import proposals

    # A time is counted from a whole second.
    now = host.clock().replace(microsecond=0)
    found = proposals(host, destinations, parse_until(until, now), now)
    for one in found[:MANY]:
        output.note(str(one))
    return repeats.longest(found, now) or until


def _end(host: "Host", proposed: str, standing: Standing) -> datetime | None:
    """Ask until when, until the answer is a time; return None for never."""
    while True:
        try:
            return parse_until(ask(f"Until when? [{proposed}]", standing) or proposed, host.clock())
        except UsageError as error:
            output.report(error)


def _prove(host: "Host", destinations: Sequence[Destination], words: Sequence[str]) -> None:
    """Ask Tor once more, and write the rules by which it rejects the destinations now."""
    from exitpolicy.operations import query

    try:
        here = host.config.fleet.named_here(words, host.names)
        checks = query.check(host, destinations[:MANY], here)
    except ExitpolError as error:
        output.report(error)
        return
    for result in checks.results:
        rules = ", ".join(map(str, result.deciding))
        if result.verdict != "rejected":
            output.warn(f"Tor ({result.relay}) does not reject {result.destination}: {rules}")
        elif result.observed:
            output.say_prose("proof: ", text=f"Tor ({result.relay}) enforces {rules}")
    output.report_all(checks.problems)
