"""Commands for the blocks of one list as a set, and what a sync says."""

import sys
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from exitpolicy.cli import completion, output, render
from exitpolicy.cli.arguments import DryRun, Json, NoWait, the_host
from exitpolicy.cli.blocks import say_changed, say_diffs
from exitpolicy.cli.output import note, say, say_json
from exitpolicy.core.block import State
from exitpolicy.core.durations import remaining_text, until_text, utc_text
from exitpolicy.core.errors import ExitCode, InterruptedByUserError, UsageError

if TYPE_CHECKING:
    from exitpolicy.lists.sync import Synced
    from exitpolicy.operations.change import Options
    from exitpolicy.operations.host import Host
    from exitpolicy.operations.sources import SyncResult

Name = Annotated[
    str,
    typer.Argument(metavar="NAME", help="The name of the list.", autocompletion=completion.sources),
]


def list_(as_json: Json = False) -> int:
    """Show the lists that blocks come from.

    Example: exitpol source list
    """
    from exitpolicy.operations import sources

    host = the_host()
    now = host.clock()
    found = sources.summaries(host.ledger().blocks, now)
    if as_json:
        say_json(
            sources=[
                {
                    "name": one.name,
                    "blocks": one.blocks,
                    "priority": host.config.priorities.get(one.name, 0),
                    "newest": one.newest,
                    "next_end": one.next_end,
                }
                for one in found
            ]
        )
        return ExitCode.DONE
    if not found:
        note("no block comes from a list with a name")
        return ExitCode.DONE
    output.table(
        ("NAME", "BLOCKS", "PRIORITY", "NEWEST", "NEXT END"),
        (
            (
                one.name,
                str(one.blocks),
                str(host.config.priorities.get(one.name, 0)),
                utc_text(one.newest),
                until_text(one.next_end),
            )
            for one in found
        ),
    )
    return ExitCode.DONE


def show(name: Name, as_json: Json = False) -> int:
    """Show the blocks of a list.

    Example: exitpol source show spamhaus-drop
    """
    from exitpolicy.lists.sync import of_source
    from exitpolicy.operations import sources

    host = the_host()
    now = host.clock()
    blocks = host.ledger().blocks
    found = of_source(blocks, name, now)
    if not found:
        raise sources.unknown(blocks, name, now)
    if as_json:
        say_json(
            name=name,
            blocks=[{**render.block_json(block), "source": block.source} for block in found],
        )
        return ExitCode.DONE
    output.table(
        ("DESTINATION", "UNTIL", "LEFT", "ALSO FROM", "REASON"),
        (
            (
                str(block.destination),
                until_text(block.until),
                remaining_text(block.until, now),
                ", ".join(other for other in block.sources if other != name),
                block.reason,
            )
            for block in found
        ),
        spare=("UNTIL",),
    )
    return ExitCode.DONE


def remove(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Lift them without asking.")] = False,
    dry_run: DryRun = False,
    no_wait: NoWait = False,
    as_json: Json = False,
) -> int:
    """Lift the blocks of a list. Those that are on other lists as well go on.

    Example: exitpol source remove spamhaus-drop
    """
    from exitpolicy.lists.sync import of_source
    from exitpolicy.operations import change, sources

    host = the_host()
    if not yes and not dry_run:
        _ask(name, len(of_source(host.ledger().blocks, name, host.clock())))
    options = change.Options(dry_run, watch=change.watch(no_wait=no_wait))
    with output.progress(output.TOR_READS):
        done = sources.remove(host, name, options)
    return say_synced(host, done, options, as_json=as_json, more={})


def _ask(name: str, count: int) -> None:
    """Ask on the terminal whether to lift blocks. Raises UsageError without a terminal."""
    from exitpolicy.cli.questions import confirmed

    if not count:
        return
    if not sys.stdin.isatty():
        raise UsageError("source remove asks on a terminal, and there is none", hint="add --yes")
    blocks = "the only block" if count == 1 else f"all {count:,} blocks"
    if not confirmed(f"Lift {blocks} of {name}?"):
        raise InterruptedByUserError("nothing was lifted")


def say_synced(
    host: "Host",
    done: "SyncResult",
    options: "Options",
    *,
    as_json: bool,
    more: Mapping[str, object],
) -> int:
    """Write what a sync changed, and return the exit code."""
    from exitpolicy.operations.change import RecordedOnly
    from exitpolicy.operations.outcome import lifted_state, removal_code

    synced, changed = done.synced, done.result
    if changed is None:
        return say_unchanged(synced, dry_run=options.dry_run, as_json=as_json, more=more)
    whole = {**more, "sync": _numbers(synced)}
    if not as_json:
        words = [
            f"{count:,} {word}"
            for word, count in (
                ("added", len(synced.added)),
                ("renewed", len(synced.renewed)),
                ("lifted", len(synced.lifted)),
                ("unchanged", synced.unchanged),
            )
            if count
        ]
        would = "would be: " if options.dry_run else ""
        say(f"{would}{', '.join(words)}")
    _note_yours(synced.others)
    if isinstance(changed, RecordedOnly) or changed.blocks:
        code = say_changed(host, changed, options, as_json=as_json, more=whole)
    else:
        applied = changed.applied
        if as_json:
            say_json(
                blocks=[],
                dry_run=options.dry_run,
                next_batch=applied.next_batch,
                problems=[output.error_json(problem) for problem in applied.problems],
                **whole,
            )
        elif options.dry_run:
            say_diffs(applied)
        output.report_all(applied.problems)
        code = removal_code(applied, synced.lifted, (), options.watch)
    if not isinstance(changed, RecordedOnly) and not options.dry_run:
        states = Counter(
            str(State.ELSEWHERE) if host.keeps_ledger_only else lifted_state(changed.applied, d)
            for d in synced.lifted
        )
        for state, count in states.items():
            if state != "lifted":
                note(
                    f"{count:,} {state}" if state != State.SCHEDULED else f"{count:,} to be lifted"
                )
        if not changed.blocks and State.SCHEDULED in states:
            render.note_batch(changed.applied.next_batch)
    return code


def say_unchanged(
    synced: "Synced", *, dry_run: bool, as_json: bool, more: Mapping[str, object]
) -> int:
    """Write that a sync has nothing to change, and return the exit code."""
    if as_json:
        say_json(blocks=[], dry_run=dry_run, problems=[], **more, sync=_numbers(synced))
    else:
        count = synced.unchanged
        blocks = "1 block is" if count == 1 else f"{count:,} blocks are"
        say(f"nothing to change: {blocks} what the list names")
    _note_yours(synced.others)
    return ExitCode.DONE


def _numbers(synced: "Synced") -> dict[str, object]:
    return {
        "added": len(synced.added),
        "renewed": len(synced.renewed),
        "lifted": [str(destination) for destination in synced.lifted],
        "unchanged": synced.unchanged,
        "yours": synced.others,
    }


def _note_yours(count: int) -> None:
    if count == 1:
        note("1 block of yours stays as it is")
    elif count:
        note(f"{count:,} blocks of yours stay as they are")
