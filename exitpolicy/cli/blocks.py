"""Commands that change or show the ledger."""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from exitpolicy.cli import (
    completion,
    ended_blocks,
    fleet_record,
    host_names,
    output,
    render,
    repeats,
    unanswered,
)
from exitpolicy.cli.arguments import (
    DEST_OR_NAME,
    ONE_DEST,
    Blocked,
    Destinations,
    DryRun,
    Force,
    Json,
    NoWait,
    OfFleet,
    OnRelays,
    Targets,
    Until,
    Yes,
    read_targets,
    the_host,
    the_set_up_host,
)
from exitpolicy.cli.output import Coloured, hint, note, say, say_json
from exitpolicy.core.block import Block, Blocks, State, checked_text
from exitpolicy.core.destination import Destination, parse_pasted_destination
from exitpolicy.core.durations import parse_until, remaining_text, until_text
from exitpolicy.core.errors import (
    ExitCode,
    InterruptedByUserError,
    NoSuchBlockError,
    UsageError,
)
from exitpolicy.core.host_names import parse_host
from exitpolicy.operations.host import Host

# What talks to Tor imports stem, which costs more than a whole `list`; so each command imports
# the operations it needs.
if TYPE_CHECKING:
    from exitpolicy.operations.apply import Applied
    from exitpolicy.operations.change import Changed, Options, RecordedOnly, Result
    from exitpolicy.operations.host_names import Resolved
    from exitpolicy.operations.listing import Listed
    from exitpolicy.operations.open_streams import OpenStreams
    from exitpolicy.operations.repeats import Repeat


def block(
    dest: Destinations,
    until: Until,
    reason: Annotated[str, typer.Option(help="The reason, for your records only.")] = "",
    reference: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="A ticket of the complaint; may be repeated."),
    ] = None,
    relay: OnRelays = None,
    dry_run: DryRun = False,
    force: Force = False,
    no_wait: NoWait = False,
    cut: Annotated[
        bool,
        typer.Option("--cut", help="Also close open streams to the destinations (as root)."),
    ] = False,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow",
            help="Look the host names up again, and block their new addresses; see exitpol follow.",
        ),
    ] = False,
    yes: Yes = False,
    ledger: OfFleet = None,
    as_json: Json = False,
) -> int:
    """Block destinations until a time.

    Example: exitpol block 203.0.113.7 --until 30d --reference 'KZ-CERT#4711'
    """
    from exitpolicy.operations import change

    host = the_set_up_host() if ledger is None else the_host()
    targets = read_targets(dest)
    now = host.clock()
    end = parse_until(until, now)
    if ledger is not None:
        _refuse_live_options(cut=cut, follow=follow)
        alter = fleet_record.block(
            host,
            ledger,
            targets,
            until=end,
            reason=reason,
            references=reference or (),
            relays=relay or (),
            force=force,
        )
        return fleet_record.record(ledger, alter, dry_run=dry_run, as_json=as_json)
    if follow and not targets.hosts:
        raise UsageError(
            "--follow is for host names, and none is given",
            hint="write www.example.org or its URL; an address has nothing to follow",
        )
    resolved = host_names.look_up(host, targets.hosts, relay or (), force=force)
    if follow:
        host_names.refuse_to_follow(host, resolved)
    host_names.show(resolved, as_json=as_json)
    if not host_names.is_confirmed(resolved, yes=yes or dry_run):
        raise InterruptedByUserError("nothing was blocked")
    names = host_names.destinations(resolved)
    options = change.Options(dry_run, force, change.watch(no_wait=no_wait, own=cut))
    with output.progress(output.TOR_READS):
        changed = change.block(
            host,
            list(dict.fromkeys((*targets.destinations, *names))),
            until=end,
            reason=checked_text("reason", reason),
            references=[checked_text("reference", ticket) for ticket in reference or ()],
            options=options,
            relays=relay or (),
            names=names,
            follow=follow,
        )
    code = say_blocked(
        host,
        changed,
        options,
        as_json=as_json,
        cut=cut,
        resolved=resolved,
        repeated=repeats.of(host, changed.blocks, end, now),
    )
    later = [b for b in changed.blocks if end is not None and (b.until is None or b.until > end)]
    for kept in later[: render.MANY]:
        note(f"{kept.destination} keeps its later end; to change it: exitpol renew")
    if follow and not dry_run:
        host_names.begin_to_follow(host, resolved)
    return code


def _refuse_live_options(*, cut: bool, follow: bool) -> None:
    """Raise UsageError for options that need an exit."""
    if cut or follow:
        raise UsageError(
            f"--{'cut' if cut else 'follow'} needs an exit, and --ledger asks none",
            hint="leave one of them out",
        )


def renew(
    dest: Blocked,
    until: Until,
    relay: OnRelays = None,
    dry_run: DryRun = False,
    no_wait: NoWait = False,
    as_json: Json = False,
) -> int:
    """Give blocks a new end, sooner or later.

    Example: exitpol renew 203.0.113.7 --until 2027-01-31
    """
    from exitpolicy.operations import change

    host = the_set_up_host()
    end = parse_until(until, host.clock())
    options = change.Options(dry_run, watch=change.watch(no_wait=no_wait))
    targets = read_targets(dest)
    named = host_names.of_blocks(host, targets.hosts)
    destinations = list(dict.fromkeys((*targets.destinations, *named)))
    with output.progress(output.TOR_READS):
        changed = change.renew(host, destinations, end, options, relay or ())
    return say_changed(host, changed, options, as_json=as_json)


def lift(
    dest: Annotated[
        list[str] | None,
        typer.Argument(metavar="[DEST...]", help=ONE_DEST, autocompletion=completion.destinations),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            help="Lift all blocks with this reference.", autocompletion=completion.references
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Lift every block; asks on a terminal.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Lift every block without asking.")] = False,
    relay: OnRelays = None,
    dry_run: DryRun = False,
    no_wait: NoWait = False,
    ledger: OfFleet = None,
    as_json: Json = False,
) -> int:
    """End blocks now.

    Example: exitpol lift 203.0.113.7
    """
    from exitpolicy.operations import change

    if "*" in (dest or ()):
        raise UsageError("'*' is not a destination", hint="for every block: exitpol lift --all")
    if [bool(dest), reference is not None, everything].count(True) != 1:
        raise UsageError(
            "lift takes destinations, a --reference or --all, one of them",
            hint="exitpol lift 203.0.113.7, or exitpol lift --reference 'KZ-CERT#4711'",
        )
    if ledger is not None:
        if everything or relay:
            raise UsageError(
                f"{'--all' if everything else '--relay'} does not go with --ledger",
                hint="edit the lines of the ledger instead",
            )
        host = the_host()
        chosen = _chosen(host, read_targets(dest or []), reference, ())
        return fleet_record.lift(host, ledger, chosen, dry_run=dry_run, as_json=as_json)
    host = the_set_up_host()
    # Which rule still rejects a destination is only known from an observation of one's own.
    options = change.Options(dry_run, watch=change.watch(no_wait=no_wait, own=True))
    if everything and not dry_run and not yes:
        _ask_to_lift(len(_lasting(host, host.ledger().blocks, host.clock(), relay or ())))
    targets = None if everything else read_targets(dest or [])
    chosen = _chosen(host, targets, reference, relay or ())
    with output.progress(output.TOR_READS):
        changed = change.lift(host, chosen, options, relay or ())
    return say_lifted(host, changed, options, as_json=as_json)


def _lasting(host: Host, blocks: Blocks, now: datetime, relays: Sequence[str]) -> Blocks:
    """Return the blocks of some relays, or of all, that have not been recorded as ended."""
    found = blocks.lasting(now)
    return host.of_relays(found, relays) if relays else found


def _chosen(
    host: Host, targets: Targets | None, reference: str | None, relays: Sequence[str]
) -> Callable[[Blocks, datetime], Iterable[Block]]:
    """Return what chooses the blocks to lift: all without targets, or those of a reference."""

    def chosen(blocks: Blocks, now: datetime) -> Iterable[Block]:
        if targets is None:
            found = _lasting(host, blocks, now, relays)
            if not found:
                raise NoSuchBlockError("there is no block to lift")
            return found
        if reference is not None:
            return blocks.referring_to(reference, now)
        typed = [blocks.current(destination, now) for destination in targets.destinations]
        named = (block for one in targets.hosts for block in blocks.named(*one, now))
        return {block.destination: block for block in (*typed, *named)}.values()

    return chosen


def _ask_to_lift(count: int) -> None:
    """Ask on the terminal whether to lift every block. Raises UsageError without a terminal."""
    from exitpolicy.cli.questions import confirmed

    if not sys.stdin.isatty():
        raise UsageError("lift --all asks on a terminal, and there is none", hint="add --yes")
    what = "the only block" if count == 1 else f"all {count} blocks"
    if count and not confirmed(f"Lift {what}?"):
        raise InterruptedByUserError("nothing was lifted")


def list_(
    expiring: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Only those that end within: 3d, 12h."),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            metavar="REFERENCE",
            help="Only those with this reference.",
            autocompletion=completion.references,
        ),
    ] = None,
    relay: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Only those for this relay; may be repeated.",
            autocompletion=completion.relays,
        ),
    ] = None,
    state: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STATE",
            help="Only those in this state; may be repeated.",
            autocompletion=completion.states,
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also blocks that are not in force.")
    ] = False,
    as_json: Json = False,
) -> int:
    """List blocks with their end, reason and last observed state.

    Example: exitpol list --expiring 3d
    """
    from exitpolicy.operations import listing

    host = the_set_up_host()
    now = host.clock()
    within: timedelta | None = None
    if expiring is not None:
        end = parse_until(expiring, now)
        within = None if end is None else end - now
    wanted = listing.Filter(
        within,
        reference,
        listing.known_states(state or ()),
        host.known_relays(relay or ()),
        everything=everything,
    )
    listed = listing.list_blocks(host, wanted)
    if as_json:
        say_json(
            blocks=[
                {
                    **render.block_json(entry.block),
                    "state": str(entry.state),
                    "states": {name: str(state) for name, state in entry.on.items()},
                    "causes": entry.causes,
                }
                for entry in listed.blocks
            ],
            observed=listed.observed,
            next_batch=listed.next_batch,
            unanswered=unanswered.as_json(host),
            not_told=ended_blocks.as_json(host),
        )
        return ExitCode.DONE
    unanswered.note_unanswered(host, listed.now)
    ended_blocks.note_not_told(host)
    if not listed.blocks:
        if reference is not None or state or relay:
            note("no block matches; to see all: exitpol list --all")
        else:
            note("nothing is blocked" if expiring is None else f"nothing ends within {expiring}")
        return ExitCode.DONE
    # Few ledgers have blocks of host names.
    named = any(entry.block.name or entry.block.follow for entry in listed.blocks)
    output.table(
        ("DESTINATION", "STATE", "UNTIL", "LEFT", *["NAME"] * named, "REFERENCE", "REASON"),
        (_row(entry, listed.now, named=named) for entry in listed.blocks),
        spare=("UNTIL",),
    )
    _note_differing(listed.blocks)
    _note_causes(listed.blocks)
    if any(State.SCHEDULED in (entry.state, *entry.on.values()) for entry in listed.blocks):
        render.note_batch(listed.next_batch)
    if listed.observed is not None:
        ago = remaining_text(listed.now, min(listed.observed, listed.now))
        seen = "now" if ago == "ended" else f"{ago} ago"
        note(f"states as observed {seen}; to ask Tor: exitpol status")
    return ExitCode.DONE


def history(
    dest: Annotated[
        str | None,
        typer.Argument(metavar="[DEST]", help=DEST_OR_NAME, autocompletion=completion.destinations),
    ] = None,
    as_json: Json = False,
) -> int:
    """Show every change of the ledger, oldest first.

    A host name shows the changes of all addresses that were blocked by it; it is not looked up.
    Example: exitpol history 203.0.113.7
    """
    from exitpolicy.operations.listing import past_changes

    target = None if dest is None else parse_host(dest) or parse_pasted_destination(dest)
    changes = list(past_changes(the_host(), target))
    if as_json:
        names = (
            *("time", "action", "destination", "until"),
            *("reason", "reference", "references", "who", "name", "relays"),
        )
        say_json(changes=[{name: getattr(entry, name) for name in names} for entry in changes])
        return ExitCode.DONE
    if not changes:
        note(
            "the ledger has not been changed yet"
            if dest is None
            else f"no change of {target} is known"
        )
        return ExitCode.DONE
    named = any(change.name for change in changes)
    chosen = any(change.relays for change in changes)
    output.table(
        ("TIME", "ACTION", "DESTINATION", "UNTIL", *["NAME"] * named, *["RELAYS"] * chosen,
         "WHO", "REFERENCE", "REASON"),
        (
            (c.time, c.action, c.destination, c.until, *[c.name] * named,
             *[_few(c.relays)] * chosen, c.who, ", ".join(c.all_references), c.reason)
            for c in changes
        ),
        spare=("WHO", "UNTIL"),
    )  # fmt: skip
    return ExitCode.DONE


def _few(words: Sequence[str]) -> str:
    """Return the first words, and how many there are more: a fleet has thousands of relays."""
    more = f" and {len(words) - 3:,} more" if len(words) > 4 else ""
    return ", ".join(words[:3] if more else words) + more


def _row(entry: "Listed", now: datetime, *, named: bool) -> tuple[str, ...]:
    block_ = entry.block
    return (
        entry.destination,
        _state_words(entry.on) or str(entry.state),
        until_text(block_.until),
        _left(entry, now),
        *[_names(block_)] * named,
        ", ".join(block_.all_references),
        block_.reason,
    )


def _left(entry: "Listed", now: datetime) -> str:
    """Return the remaining time of a block, or since when it has ended."""
    block_ = entry.block
    if not block_.has_ended(now):
        return remaining_text(block_.until, now)
    ended = min((t for t in (block_.ended, block_.until) if t is not None), default=now)
    ago = remaining_text(now, min(ended, now))
    return "ended" if ago == "ended" else f"ended {ago} ago"


def _names(block_: Block) -> str:
    """Return the names of a block; `(followed)` stands after those that are followed."""
    return " ".join(
        f"{name} (followed)" if name in block_.followed else name for name in block_.names
    )


def _state_words(on: Mapping[str, State]) -> str:
    """Return `live 2/3` for a block whose relays have different states, else nothing."""
    if len(on) < 2:
        return ""
    states = [str(state) for state in on.values()]
    return "" if len(set(states)) < 2 else f"live {states.count('live')}/{len(states)}"


def _note_differing(entries: Iterable["Listed"]) -> None:
    """Say which relays do not enforce blocks that others enforce."""
    found: Counter[tuple[str, str]] = Counter()
    for entry in entries:
        if _state_words(entry.on):
            found.update((name, str(s)) for name, s in entry.on.items() if str(s) != "live")
    for (name, state), count in sorted(found.items()):
        note(f"{name}: {count} {state}")


def _note_causes(entries: Iterable["Listed"]) -> None:
    """Say why blocks are pending, left out, unknown or moot; those with one reason share a line."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for entry in entries:
        for name, cause in entry.causes.items():
            if entry.on[name] is State.SCHEDULED:
                continue  # One note says it for all of them.
            key = (name, str(entry.on[name]), cause)
            found.setdefault(key, []).append(entry.destination)
    for (name, state, cause), destinations in found.items():
        note(f"{render.listed(destinations, f'{state} on {name}')}: {cause}")


def _say_blocks(
    changed: Sequence[Block], states: Mapping[Destination, str], now: datetime | None
) -> None:
    """Write blocks and their states; of a long list only those without the most frequent state."""
    counts = Counter(states.values())
    usual = counts.most_common(1)[0][0]
    if len(changed) > render.MANY:
        # Of a list that does not fit, some are enforced and the others left out: both are usual.
        frequent = {usual} | (
            {"live", "left-out"} & counts.keys() if "left-out" in counts else set()
        )
        for each in sorted(frequent, key=lambda one: -counts[one]):
            say(f"{counts[each]} of {len(changed)} blocks  ", Coloured(each))
        changed = [block_ for block_ in changed if states[block_.destination] not in frequent]
    width = max((len(str(block_.destination)) for block_ in changed), default=0)
    for block_ in changed:
        end = "" if now is None else render.until_words(block_.until, now)
        state = Coloured(states[block_.destination], 8 if end else 0)
        say(f"{str(block_.destination).ljust(width)}  ", state, f"  {end}" if end else "")


def _streams_json(streams: "OpenStreams") -> dict[str, int | None]:
    return {"open_streams": streams.open, "closed_streams": streams.closed}


def _say_streams(streams: "OpenStreams") -> None:
    """Write how many streams were open before; nothing if there were none."""
    if streams.closed:
        note(f"{_count(streams.closed)} closed, {streams.open} still open")
    elif streams.open:
        close = "; to close them, add --cut" if streams.closed is None else ""
        note(f"{_count(streams.open)} to blocked destinations{close}")
    elif streams.closed == 0:
        note("no stream to it is open")
    if streams.problem is not None:
        output.warn(f"open streams: {streams.problem}")
        if streams.problem.hint:
            hint(streams.problem.hint)


def _count(streams: int) -> str:
    return f"{streams} open stream{'' if streams == 1 else 's'}"


def say_blocked(
    host: Host,
    changed: "Result",
    options: "Options",
    *,
    as_json: bool,
    cut: bool,
    resolved: Sequence["Resolved"] = (),
    repeated: Sequence["Repeat"] = (),
) -> int:
    """Write the result of a block, and the streams that were open to it; return the exit code.

    `repeated` are the blocks for which a longer time is proposed.
    """
    from exitpolicy.operations import open_streams
    from exitpolicy.operations.change import RecordedOnly

    streams = open_streams.OpenStreams(None)
    if not isinstance(changed, RecordedOnly) and not options.dry_run:
        destinations = [block_.destination for block_ in changed.blocks]
        streams = open_streams.count_open(host, changed.applied, destinations, cut=cut)
    more = {
        **_streams_json(streams),
        "resolved": host_names.as_json(resolved),
        "repeats": repeats.as_json(repeated),
    }
    code = say_changed(host, changed, options, as_json=as_json, more=more)
    repeats.propose(repeated)
    _say_streams(streams)
    return code


def say_changed(
    host: Host,
    changed: "Result",
    options: "Options",
    *,
    as_json: bool,
    more: Mapping[str, object] | None = None,
) -> int:
    """Write the result of a change that adds or keeps blocks, and return the exit code.

    `more` are further keys of the JSON.
    """
    from exitpolicy.operations.change import RecordedOnly
    from exitpolicy.operations.outcome import change_code, exit_code
    from exitpolicy.operations.rejection_causes import moot_causes, own_addresses

    if isinstance(changed, RecordedOnly):
        return _say_recorded(changed, as_json=as_json, more=more or {})
    applied = changed.seen
    states = {
        b.destination: str(applied.states.get(b.destination, "scheduled")) for b in changed.blocks
    }
    causes = moot_causes(host, applied, states)
    if as_json:
        _say_json(changed, options, states, {**(more or {}), "moot": render.causes_json(causes)})
    elif options.dry_run:
        say_diffs(applied)
    else:
        _say_blocks(changed.blocks, states, applied.time.now)
        if State.SCHEDULED in (applied.states.get(d) for d in states):
            render.note_batch(applied.next_batch)
        render.note_moot(causes)
        render.note_unverified(applied)
    for destination in own_addresses(applied, states):
        output.warn(f"{destination} is an address of this host: did you mean the address attacked?")
    render.warn_of_shadows(applied.shadowed_by)
    output.report_all(applied.problems)
    output.note_elsewhere(changed.elsewhere)
    if not options.dry_run:
        render.note_of_other_hosts(host, changed.blocks, states)
    done = {"live", "moot", "unverified", "left-out", "scheduled", "elsewhere"}
    unsettled = applied.problems and not done.issuperset(states.values())
    if unsettled and not applied.is_preview:
        _note_recorded()
    code = exit_code(applied, states, options.watch)
    return change_code(code, applied, states, options.watch)


def say_lifted(host: Host, changed: "Result", options: "Options", *, as_json: bool) -> int:
    """Write the result of a lift, name what still rejects a destination; return the exit code."""
    from exitpolicy.operations.change import RecordedOnly
    from exitpolicy.operations.outcome import change_code, removal_code, removed_state
    from exitpolicy.operations.rejection_causes import still_rejected

    if isinstance(changed, RecordedOnly):
        return _say_recorded(changed, as_json=as_json, more={})
    applied = changed.seen
    states = {b.destination: removed_state(host, applied, b) for b in changed.blocks}
    causes = () if options.dry_run else still_rejected(host, applied, states)
    if as_json:
        _say_json(changed, options, states, {"still_rejected": render.causes_json(causes)})
    elif options.dry_run:
        say_diffs(applied)
    else:
        _say_blocks(changed.blocks, states, None)
        render.note_unverified(applied)
    if not options.dry_run:
        host_names.note_unfollowed(host, changed.blocks)
        render.note_of_other_hosts(host, changed.blocks, states)
    render.warn_of_causes(causes)
    render.warn_of_shadows(applied.shadowed_by)
    output.report_all(applied.problems)
    output.note_elsewhere(changed.elsewhere)
    code = removal_code(applied, states, causes, options.watch)
    return change_code(code, applied, states, options.watch)


def say_diffs(applied: "Applied") -> None:
    """Write how the fragments would change."""
    for plan in applied.plans:
        name = "fragment" if len(applied.plans) == 1 else str(plan.path)
        former = plan.former or ""
        if plan.batch is None:
            render.say_diff(former, former if plan.text is None else plan.text, name)
        else:
            render.say_diff(former, plan.batch.text, f"{name}, with the next batch")
    render.note_batch(applied.next_batch)


def _say_json(
    changed: "Changed",
    options: "Options",
    states: Mapping[Destination, str],
    more: Mapping[str, object],
) -> None:
    say_json(
        blocks=[{**render.block_json(b), "state": states[b.destination]} for b in changed.blocks],
        dry_run=options.dry_run,
        next_batch=changed.applied.next_batch,
        problems=[output.error_json(problem) for problem in changed.applied.problems],
        **more,
    )


def _say_recorded(changed: "RecordedOnly", *, as_json: bool, more: Mapping[str, object]) -> int:
    """Write that a change is recorded but not applied, and return the exit code."""
    if as_json:
        say_json(
            blocks=[{**render.block_json(b), "state": "unknown"} for b in changed.blocks],
            error=output.error_json(changed.failure),
            **more,
        )
    output.report(changed.failure)
    _note_recorded()
    return int(changed.failure.exit_code)


def _note_recorded() -> None:
    note("the change is recorded in the ledger; the timer or exitpol apply completes it")
