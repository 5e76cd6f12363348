"""The part of `block` and `lift` that changes only the ledger of a fleet."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from exitpolicy.cli import fleet, output, render
from exitpolicy.cli.arguments import Targets
from exitpolicy.cli.output import say, say_json
from exitpolicy.core.block import Block, Blocks, checked_text
from exitpolicy.core.destination import Destination
from exitpolicy.core.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from exitpolicy.operations.fleet_record import Alteration
    from exitpolicy.operations.host import Host


def block(
    host: "Host",
    ledger: Path,
    targets: Targets,
    *,
    until: datetime | None,
    reason: str,
    references: Sequence[str],
    relays: Sequence[str],
    force: bool,
) -> "Alteration":
    """Return the change that blocks destinations. Raises UsageError and RefusedError."""
    from exitpolicy.operations import change

    _refuse_names(targets, ledger)
    for word in relays:
        checked_text("relay", word)
    if host.config.fleet.members:
        host.known_relays(relays)
    new = change.allowed(
        host,
        targets.destinations,
        until=until,
        reason=checked_text("reason", reason),
        references=[checked_text("reference", ticket) for ticket in references],
        force=force,
        relays=tuple(sorted(dict.fromkeys(relays))),
    )
    return lambda blocks: (blocks.blocked(new), targets.destinations)


def lift(
    host: "Host",
    ledger: Path,
    chosen: Callable[[Blocks, datetime], Iterable[Block]],
    *,
    dry_run: bool,
    as_json: bool,
) -> int:
    """End the chosen blocks in the ledger. Raises what `chosen` raises."""
    now = host.clock()

    def alter(blocks: Blocks) -> tuple[Blocks, list[Destination]]:
        destinations = [block.destination for block in chosen(blocks, now)]
        return blocks.lifted(destinations, now), destinations

    return record(ledger, alter, dry_run=dry_run, as_json=as_json)


def record(ledger: Path, alter: "Alteration", *, dry_run: bool, as_json: bool) -> int:
    """Change the ledger, write what changed, and return the exit code."""
    from exitpolicy.operations import fleet_record

    changes, blocks = fleet_record.record(ledger, alter, dry_run=dry_run)
    if as_json:
        say_json(
            blocks=[render.block_json(block) for block in blocks],
            taken=fleet.changes_json(changes),
            dry_run=dry_run,
            problems=[],
        )
        return ExitCode.DONE
    fleet.say_changes(changes, str(ledger), dry_run=dry_run)
    if not changes:
        say(f"{ledger}: nothing to change")
    elif not dry_run:
        output.note("a host follows when it takes this ledger: exitpol apply --from FILE")
    return ExitCode.DONE


def _refuse_names(targets: Targets, ledger: Path) -> None:
    if targets.hosts:
        raise UsageError(
            f"{targets.hosts[0].name} is a host name, and only an exit knows where its Tor finds"
            f" it; nothing was written into {ledger}",
            hint="on an exit: exitpol block NAME --until WHEN --dry-run; then block its addresses",
        )
