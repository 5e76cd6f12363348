"""Blocks: a destination, from when, until when, and why; and the set of them that is wanted.

Whether a block is in force is decided here and nowhere else: since <= now < until.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

from exitpolicy.core.destination import Destination
from exitpolicy.core.durations import utc_text
from exitpolicy.core.errors import NoSuchBlockError, UsageError

MAX_TEXT: Final = 1000
"""The most characters that a reason or a reference may have."""

_UNDECODABLE = re.compile("[\ud800-\udfff]")


class State(StrEnum):
    """What has become of a block that is in force."""

    LIVE = "live"
    """Rejected in the enforced policy, by rules of ours."""
    PENDING = "pending"
    """Wanted, not yet enforced."""
    SHADOWED = "shadowed"
    """An earlier accept wins."""
    MOOT = "moot"
    """The relay would not exit there anyway."""
    UNKNOWN = "unknown"
    """No Tor says anything about it."""
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
    """Why, in the operator's words."""
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
    """The blocks of a ledger in their order; one for a destination."""

    by_destination: Mapping[Destination, Block]

    @classmethod
    def of(cls, blocks: Iterable[Block] = ()) -> "Blocks":
        """Return the set of `blocks`; of two for one destination, the later in order wins."""
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
        """Return the blocks that are over at `now`."""
        return Blocks.of(block for block in self if block.has_ended(now))

    def next_change(self, now: datetime) -> datetime | None:
        """Return the first moment after `now` at which a block begins or ends; None if none."""
        lasting = (block for block in self if not block.was_lifted)
        moments = (moment for block in lasting for moment in (block.since, block.until))
        return min((moment for moment in moments if moment and moment > now), default=None)

    def blocked(self, new: Iterable[Block]) -> "Blocks":
        """Add blocks. A destination that has one already keeps the later end of the two.

        It keeps its beginning too, and takes the new reason and reference where they say
        anything; a block that was over at the new one's beginning is replaced. Raises UsageError
        for a block that ends before it begins.
        """
        blocks = dict(self.by_destination)
        for block in new:
            _lasting(block)
            old = blocks.get(block.destination)
            if old is not None and not old.has_ended(block.since):
                later = old if _later(old.until, block.until) else block
                block = replace(  # noqa: PLW2901 - the same block, seen with what was known of it
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

        Raises NoSuchBlockError, and UsageError for a block that would begin only then.
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
        hint = "see what is blocked: exitpol list --all"
        if near:
            hint = f"these overlap it: {', '.join(near[:5])}" + (" …" if len(near) > 5 else "")
        raise NoSuchBlockError(f"no block for {destination}", hint=hint)

    def referring_to(self, reference: str) -> "Blocks":
        """Return the blocks with exactly this reference. Raises NoSuchBlockError if none."""
        found = Blocks.of(block for block in self if block.reference == reference)
        if not reference or not found:
            raise NoSuchBlockError(
                f"no block with the reference {reference!r}", hint="see them: exitpol list --all"
            )
        return found


def checked_text(name: str, text: str) -> str:
    """Return a reason or a reference as it can be kept. Raises UsageError.

    Any character may stand in it but what is no character: the undecodable bytes of a terminal.
    """
    if len(text) > MAX_TEXT:
        raise UsageError(
            f"the {name} has {len(text)} characters; {MAX_TEXT} fit",
            hint="keep the rest where the complaint is kept",
        )
    if _UNDECODABLE.search(text):
        raise UsageError(
            f"the {name} holds bytes that are not UTF-8 text", hint="leave those characters out"
        )
    return text


def _lasting(block: Block) -> Block:
    """Return a block if it is ever in force: no ledger may hold another. Raises UsageError."""
    if block.until is not None and block.until <= block.since:
        raise UsageError(
            f"the block for {block.destination} would end before it begins, at"
            f" {utc_text(block.since)}",
            hint=f"choose a later end, or: exitpol lift {block.destination}",
        )
    return block


def _later(one: datetime | None, other: datetime | None) -> bool:
    """Tell whether the end `one` comes after `other`; never comes after all."""
    return one is None or (other is not None and one > other)
