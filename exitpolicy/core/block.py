"""Blocks: a destination, its beginning, its end and the reason; and the set of blocks of a ledger.

A block is in force while since <= now < until. This module alone decides that.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from exitpolicy.core.destination import Destination
from exitpolicy.core.durations import utc_text
from exitpolicy.core.errors import NoSuchBlockError, UsageError

MAX_TEXT: Final = 1000
"""The maximum length of a reason or a reference, in characters."""


class State(StrEnum):
    """The observed state of a block."""

    LIVE = "live"
    """Rejected in the enforced policy, by a rule of the fragment."""
    PENDING = "pending"
    """In force, not yet enforced."""
    SHADOWED = "shadowed"
    """An earlier accept rule wins."""
    MOOT = "moot"
    """The relay would not connect there anyway."""
    UNKNOWN = "unknown"
    """No Tor could be asked."""
    LIFTING = "lifting"
    """Lifted or expired: removed from the fragment, not yet read by Tor."""


@dataclass(frozen=True, slots=True)
class Block:
    """A promise: connections to `destination` are rejected from `since` until `until`."""

    destination: Destination
    since: datetime
    """The first moment at which it is in force."""
    until: datetime | None
    """The first moment at which it is no longer in force; None for never."""
    reason: str = ""
    """The reason, in the operator's words."""
    reference: str = ""
    """The ticket of the complaint that led to it."""
    relays: tuple[str, ...] = ()
    """The names of the relays that enforce it; empty for all relays of the host."""
    source: str = ""
    """The name of the list that it comes from; empty for a block of the operator's."""
    name: str = ""
    """The host name that the destination was resolved from."""
    references: tuple[str, ...] = ()
    """Further tickets."""
    ended: datetime | None = None
    """When it was lifted or expired, by the clock of that moment; None while it lasts.

    Earlier than `until`: lifted, for good. At or after `until`: expired, which holds only as long
    as the clock says so. A clock that was ahead for a moment therefore ends no block for good.
    """

    forced: bool = False
    """Whether the operator accepts the limits that --force accepts: width, ports, Exit flag."""

    @property
    def was_lifted(self) -> bool:
        """Whether the block was ended before its time."""
        return self.ended is not None and (self.until is None or self.ended < self.until)

    def in_force(self, now: datetime) -> bool:
        """Tell whether the block is to be enforced at `now`."""
        return self.since <= now and not self.has_ended(now)

    def has_ended(self, now: datetime) -> bool:
        """Tell whether the block has been lifted, or has expired at `now`."""
        return self.was_lifted or (self.until is not None and self.until <= now)


@dataclass(frozen=True, slots=True)
class Blocks:
    """The blocks of a ledger in their order, at most one per destination."""

    by_destination: Mapping[Destination, Block]

    @classmethod
    def of(cls, blocks: Iterable[Block] = ()) -> "Blocks":
        """Return the set of `blocks`; of two with the same destination, the later in order wins."""
        return cls({block.destination: block for block in blocks})

    def __iter__(self) -> Iterator[Block]:
        return iter(self.by_destination.values())

    def __len__(self) -> int:
        return len(self.by_destination)

    def __contains__(self, destination: object) -> bool:
        return destination in self.by_destination

    def in_force(self, now: datetime) -> "Blocks":
        """Return the blocks to be enforced at `now`."""
        return Blocks.of(block for block in self if block.in_force(now))

    def ended(self, now: datetime) -> "Blocks":
        """Return the blocks that have ended at `now`."""
        return Blocks.of(block for block in self if block.has_ended(now))

    def next_change(self, now: datetime) -> datetime | None:
        """Return the first moment after `now` at which a block begins or ends; None if none."""
        lasting = (block for block in self if not block.was_lifted)
        moments = (moment for block in lasting for moment in (block.since, block.until))
        return min((moment for moment in moments if moment and moment > now), default=None)

    def blocked(self, new: Iterable[Block]) -> "Blocks":
        """Add blocks. For a destination that has a block already, the later end of the two counts.

        The earlier beginning counts too, and a new reason or reference replaces the old one unless
        it is empty. A block that has ended when the new one begins is replaced. Raises UsageError
        for a block that ends before it begins.
        """
        blocks = dict(self.by_destination)
        for block in new:
            _lasting(block)
            old = blocks.get(block.destination)
            if old is not None and not old.has_ended(block.since):
                later = old if _later(old.until, block.until) else block
                block = replace(  # noqa: PLW2901 - the same block, merged with the old one
                    block,
                    since=min(old.since, block.since),
                    until=later.until,
                    reason=block.reason or old.reason,
                    reference=block.reference or old.reference,
                    forced=block.forced or old.forced,
                )
            blocks[block.destination] = block
        return Blocks(blocks)

    def renewed(self, destinations: Iterable[Destination], until: datetime | None) -> "Blocks":
        """Give existing blocks a new end, sooner or later.

        Raises NoSuchBlockError, and UsageError for a block that would end before it begins.
        """
        blocks = dict(self.by_destination)
        for destination in destinations:
            blocks[destination] = _lasting(replace(self.get(destination), until=until))
        return Blocks(blocks)

    def lifted(self, destinations: Iterable[Destination]) -> "Blocks":
        """Remove blocks. Raises NoSuchBlockError."""
        gone = {self.get(destination).destination for destination in destinations}
        return Blocks.of(block for block in self if block.destination not in gone)

    def get(self, destination: Destination) -> Block:
        """Return the block of exactly this destination. Raises NoSuchBlockError."""
        block = self.by_destination.get(destination)
        if block is not None:
            return block
        near = [str(other.destination) for other in self if other.destination.overlaps(destination)]
        hint = "to see all blocks: exitpol list --all"
        if near:
            hint = f"blocks that overlap it: {', '.join(near[:5])}" + (
                " …" if len(near) > 5 else ""
            )
        raise NoSuchBlockError(f"no block for {destination}", hint=hint)

    def referring_to(self, reference: str) -> "Blocks":
        """Return the blocks with exactly this reference. Raises NoSuchBlockError if none."""
        found = Blocks.of(block for block in self if block.reference == reference)
        if not reference or not found:
            raise NoSuchBlockError(
                f"no block with the reference {reference!r}",
                hint="to see all references: exitpol list --all",
            )
        return found


def checked_text(name: str, text: str) -> str:
    """Return a reason or a reference if the ledger can hold it. Raises UsageError.

    Too long texts and undecodable bytes, which Python represents as surrogates, are refused.
    """
    if len(text) > MAX_TEXT:
        raise UsageError(
            f"the {name} has {len(text)} characters; at most {MAX_TEXT} are allowed",
            hint="shorten it, and keep the full text with the complaint",
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"the {name} holds bytes that are not UTF-8 text", hint="remove those characters"
        ) from error
    return text


def _lasting(block: Block) -> Block:
    """Return a block if it ends after it begins. Raises UsageError."""
    if block.until is not None and block.until <= block.since:
        raise UsageError(
            f"the block for {block.destination} would end before it begins, at"
            f" {utc_text(block.since)}",
            hint=f"choose a later end, or: exitpol lift {block.destination}",
        )
    return block


def _later(one: datetime | None, other: datetime | None) -> bool:
    """Tell whether the end `one` is later than `other`; None, which is never, is the latest."""
    return one is None or (other is not None and one > other)
