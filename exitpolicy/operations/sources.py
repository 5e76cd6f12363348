"""Sources: the blocks of one list as a set."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from exitpolicy.core.block import Block, Blocks
from exitpolicy.core.errors import NoSuchBlockError, RefusedError
from exitpolicy.lists.sync import Synced, of_source, suspicion, synced
from exitpolicy.operations import lists
from exitpolicy.operations.host import Host

if TYPE_CHECKING:
    from exitpolicy.operations.change import Options, Result


@dataclass(frozen=True, slots=True)
class SyncResult:
    """What a sync changed."""

    synced: Synced
    result: "Result | None"
    """What was observed; None if nothing was to be changed."""


@dataclass(frozen=True, slots=True)
class Sync:
    """A sync that is to be made."""

    source: str
    desired: Sequence[Block]
    """The blocks that its list makes now."""
    moving: frozenset[datetime] = frozenset()
    """As in `synced`."""
    yes: bool = False
    """Whether to believe a list that shrank or grew very much."""

    def planned(self, blocks: Blocks, now: datetime) -> Synced:
        """Return what it changes. Raises RefusedError for a list that is not believed."""
        present = len(of_source(blocks, self.source, now))
        doubt = suspicion(present, len(self.desired))
        if doubt is not None and not self.yes:
            raise RefusedError(
                f"the list of {self.source!r} is not believed: {doubt}; nothing was changed",
                hint="if the list is right, add --yes",
            )
        return synced(blocks, self.source, self.desired, now, self.moving)


def unchanged(host: Host, sync: Sync) -> SyncResult | None:
    """Return the result of a sync that has nothing to change; None for any other.

    Only the ledger is read. Raises what `make` raises.
    """
    planned = sync.planned(host.ledger().blocks, host.clock().replace(microsecond=0))
    return None if planned.changes else SyncResult(planned, None)


def make(host: Host, sync: Sync, options: "Options") -> SyncResult:
    """Make the blocks of a source equal to those of its list.

    Raises RefusedError for a list that is not believed, and what `change.block` raises.
    """
    now = host.clock().replace(microsecond=0)
    relays = host.known_relays({word for block in sync.desired for word in block.relays})
    destinations = [block.destination for block in sync.desired]
    lists.refuse_too_long(host, destinations, relays, replaced=sync.source)
    with lists.saying_what_fits(host, sync.desired):
        return _rearranged(host, lambda blocks: sync.planned(blocks, now), options, relays)


def remove(host: Host, source: str, options: "Options") -> SyncResult:
    """Lift the blocks of a source; those of other lists as well go on. Raises NoSuchBlockError."""
    now = host.clock().replace(microsecond=0)

    def of(blocks: Blocks) -> Synced:
        if not of_source(blocks, source, now):
            raise unknown(blocks, source, now)
        return synced(blocks, source, (), now, ())

    return _rearranged(host, of, options, frozenset())


def _rearranged(
    host: Host, plan: Callable[[Blocks], Synced], options: "Options", relays: frozenset[str]
) -> SyncResult:
    """Make the change that `plan` returns for the blocks of the locked ledger."""
    from exitpolicy.operations import change  # noqa: PLC0415 - an unchanged list needs no Tor

    made: list[Synced] = []

    def alter(blocks: Blocks) -> Blocks:
        made.append(plan(blocks))
        return made[-1].blocks

    result = change.rearrange(host, alter, options, relays)
    return SyncResult(made[-1], result)


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
