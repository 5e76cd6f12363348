"""Sources: the blocks of one list as a set."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from exitpolicy.core.block import Block, Blocks
from exitpolicy.core.errors import NoSuchBlockError, RefusedError
from exitpolicy.lists.sync import Synced, of_source, suspicion, synced
from exitpolicy.operations import change
from exitpolicy.operations.change import Options, Result
from exitpolicy.operations.host import Host


@dataclass(frozen=True, slots=True)
class SyncResult:
    """What a sync changed."""

    synced: Synced
    result: Result | None
    """What was observed; None if nothing was to be changed."""


def sync(
    host: Host,
    source: str,
    desired: Sequence[Block],
    options: Options,
    *,
    moving: datetime | None = None,
    yes: bool = False,
) -> SyncResult:
    """Make the blocks of a source equal to those of its list. `moving` as in `synced`.

    Raises RefusedError for a list that shrank or grew beyond belief, unless `yes`, and what
    `change.block` raises.
    """
    now = host.clock().replace(microsecond=0)

    def of(blocks: Blocks) -> Synced:
        doubt = suspicion(len(of_source(blocks, source, now)), len(desired))
        if doubt is not None and not yes:
            raise RefusedError(
                f"the list of {source!r} is not believed: {doubt}; nothing was changed",
                hint="if the list is right, add --yes",
            )
        return synced(blocks, source, desired, now, moving)

    planned = of(host.ledger().blocks)
    if not planned.changes:
        return SyncResult(planned, None)
    relays = frozenset(name for block in desired for name in block.relays)
    result = change.rearrange(host, lambda blocks: of(blocks).blocks, options, relays)
    return SyncResult(planned, result)


def remove(host: Host, source: str, options: Options) -> SyncResult:
    """Lift the blocks of a source; those of other lists as well go on. Raises NoSuchBlockError."""
    now = host.clock().replace(microsecond=0)

    def of(blocks: Blocks) -> Synced:
        if not of_source(blocks, source, now):
            raise unknown(blocks, source, now)
        return synced(blocks, source, (), now, None)

    planned = of(host.ledger().blocks)
    result = change.rearrange(host, lambda blocks: of(blocks).blocks, options, frozenset())
    return SyncResult(planned, result)


def unknown(blocks: Blocks, source: str, now: datetime) -> NoSuchBlockError:
    """Return the error for a source without a block."""
    known = [one.name for one in summaries(blocks, now)]
    return NoSuchBlockError(
        f"no block comes from the source {source!r}",
        hint=f"the sources are: {', '.join(known)}"
        if known
        else "a list is imported with a source by: exitpol import FILE --until WHEN --source NAME",
    )


@dataclass(frozen=True, slots=True)
class Summary:
    """The blocks of a source, in numbers."""

    name: str
    blocks: int
    newest: datetime
    """When the newest block began."""
    next_end: datetime | None
    """When the first block ends; None if none does."""


def summaries(blocks: Blocks, now: datetime) -> list[Summary]:
    """Return the sources of the blocks that have not ended, by name."""
    names = sorted({name for block in blocks for name in block.sources})
    found = ((name, of_source(blocks, name, now)) for name in names)
    return [
        Summary(
            name,
            len(present),
            max(block.since for block in present),
            min((block.until for block in present if block.until is not None), default=None),
        )
        for name, present in found
        if present
    ]
