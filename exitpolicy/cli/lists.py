"""Commands for block lists of other programs: import and export."""

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from exitpolicy.cli import completion, output, render
from exitpolicy.cli.arguments import (
    DryRun,
    Force,
    Json,
    Now,
    NoWait,
    OnRelays,
    Until,
    the_host,
    the_set_up_host,
)
from exitpolicy.cli.blocks import say_changed
from exitpolicy.cli.output import note, say_exact, say_json
from exitpolicy.cli.sources import say_synced, say_unchanged
from exitpolicy.core.durations import ends_move, parse_until
from exitpolicy.core.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from datetime import datetime

    from exitpolicy.lists.reading import Listing
    from exitpolicy.operations.lists import Plan

_FORMATS: Final = (
    "plain, firehol, spamhaus, spamhaus-json, ipsum, crowdsec, crowdsec-json, fail2ban, csv,"
    " nftables, ipset, torrc, relayor, json"
)
"""Those of exitpolicy.lists.reading, which `--help` of other commands does not need to load."""
_WRITTEN: Final = "json, csv, plain, torrc, nftables, relayor, crowdsec"


def import_(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The list; - is stdin.")],
    until: Until,
    format_name: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help=f"The format, if it is not recognised: {_FORMATS}.",
            autocompletion=completion.read_formats,
        ),
    ] = None,
    source: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="The name of the list, to tell its blocks from others.",
            autocompletion=completion.sources,
        ),
    ] = "",
    skip_bad: Annotated[
        bool,
        typer.Option(
            "--skip-bad", help="Leave out lines that are not understood or not to be blocked."
        ),
    ] = False,
    sync: Annotated[
        bool,
        typer.Option(
            "--sync", help="Also lift the blocks of this source that the list no longer names."
        ),
    ] = False,
    yes: Annotated[
        bool,
        typer.Option("--yes", help="With --sync: believe a list that shrank or grew very much."),
    ] = False,
    relay: OnRelays = None,
    dry_run: DryRun = False,
    force: Force = False,
    no_wait: NoWait = False,
    at_once: Now = False,
    as_json: Json = False,
) -> int:
    """Block what a list names, until a time.

    The format is recognised. An entry with an end of its own keeps it, if it is before WHEN. A list
    is imported whole or not at all. With --sync, the blocks of a source become what its list names.

    Example: exitpol import drop.txt --until 30d --source spamhaus-drop
    """
    from exitpolicy.operations import lists, sources

    if sync and not source:
        raise UsageError("--sync needs the name of the list", hint="add --source NAME")
    host = the_set_up_host()
    now = host.clock()
    end = parse_until(until, now)
    terms = lists.Terms(
        end, lists.checked_source(source) if source else "", tuple(relay or ()), force
    )
    with output.progress("reading the list"):
        listing = lists.read(host, lists.content_of(file), format_name)
        if not sync and not listing.faults:
            lists.refuse_too_long(host, [e.destination for e in listing.entries], terms.relays)
        planned = lists.plan(host, listing, terms)
    _note_list(listing, planned, skip_bad=skip_bad)
    refusal = lists.refusal(listing, planned, skip_bad=skip_bad)
    if refusal is not None:
        if as_json:
            say_json(error=output.error_json(refusal), list=_list_json(listing, planned))
        output.report(refusal)
        return refusal.exit_code
    more = {"list": _list_json(listing, planned)}
    moving: frozenset[datetime] = frozenset()
    if end is not None and ends_move(until, now):
        moving = frozenset((end, *planned.longer))
    wish = sources.Sync(source, planned.blocks, moving, yes) if sync else None
    done = None if wish is None or at_once else sources.unchanged(host, wish)
    if done is not None:
        return say_unchanged(done.synced, dry_run=dry_run, as_json=as_json, more=more)
    # It imports stem, which costs more than a sync that has nothing to change.
    from exitpolicy.operations import change

    timing = change.Timing.ALL if at_once else change.Timing.BATCH
    options = change.Options(dry_run, force, change.watch(no_wait=no_wait), timing=timing)
    with output.progress(output.TOR_READS):
        if wish is not None:
            done = sources.make(host, wish, options)
            return say_synced(host, done, options, as_json=as_json, more=more)
        changed = lists.import_blocks(host, planned, terms, options)
    return say_changed(host, changed, options, as_json=as_json, more=more)


def _note_list(listing: "Listing", planned: "Plan", *, skip_bad: bool) -> None:
    """Write what the list is, and the lines that are left out."""
    from exitpolicy.lists.reading import said_omitted

    count = len(planned.blocks)
    text = f"{listing.title}, {count:,} destination{'' if count == 1 else 's'}"
    if listing.omitted:
        text += f"; left out: {said_omitted(listing.omitted)}"
    note(text)
    if planned.longer:
        many = len(planned.longer)
        blocked = (
            "1 of them was blocked before, and is"
            if many == 1
            else (f"{many:,} of them were blocked before, and are")
        )
        note(f"{blocked} blocked for longer (repeat: in the config)")
    # The refusal says what is wrong with the list as a whole.
    faults = [fault for fault in planned.faults if fault.number]
    for fault in faults[: render.MANY]:
        place = f"{'left out: ' * skip_bad}{listing.unit} {fault.number}: "
        # Most messages quote what is wrong.
        quoted = f" ({fault.text})" if fault.text and "'" not in fault.message else ""
        note(f"{place}{fault.message}{quoted}")
    if len(faults) > render.MANY:
        note(f"and {len(faults) - render.MANY:,} more")


def _list_json(listing: "Listing", planned: "Plan") -> dict[str, Any]:
    return {
        "format": listing.format,
        "omitted": listing.omitted,
        "longer": len(planned.longer),
        "faults": [
            {listing.unit: fault.number, "text": fault.text, "message": fault.message}
            for fault in planned.faults
        ],
    }


def export(
    format_name: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help=f"One of: {_WRITTEN}.",
            autocompletion=completion.written_formats,
        ),
    ],
    source: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Only the blocks of this list.",
            autocompletion=completion.sources,
        ),
    ] = None,
    as_json: Json = False,
) -> int:
    """Write the blocks as a list for other programs.

    The formats json and csv carry all that the ledger holds, for another exitpol. The others carry
    what is blocked now, and until when.

    Example: exitpol export --format nftables
    """
    from exitpolicy.lists import writing
    from exitpolicy.operations import lists

    if format_name not in writing.FORMATS:
        raise UsageError(f"there is no format {format_name!r}", hint=f"one of: {_WRITTEN}")
    host = the_host()
    now = host.clock().replace(microsecond=0)
    written = writing.write(format_name, lists.exported(host, source), now)
    if as_json and format_name != "json":
        say_json(
            format=format_name,
            text=written.text,
            left_out=[str(block.destination) for block in written.left_out],
        )
    else:
        say_exact(written.text)
    if written.left_out:
        count = len(written.left_out)
        blocks = "1 block is" if count == 1 else f"{count:,} blocks are"
        output.warn(f"{blocks} left out: {format_name} has no ports")
    return ExitCode.DONE
