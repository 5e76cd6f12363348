"""Blocks: a destination, its beginning, its end and the reason; and the set of blocks of a ledger.

A block is in force while since <= now < until. This module alone decides that.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, NamedTuple

from exitpolicy.core.destination import Destination
from exitpolicy.core.durations import utc_text
from exitpolicy.core.errors import NoSuchBlockError, UsageError
from exitpolicy.core.ports import ALL_PORTS, Ports, ports_text
from exitpolicy.core.shell import word

MAX_TEXT: Final = 1000
"""The maximum length of a reason or a reference, in characters."""

MAX_REFERENCES: Final = 20
"""The most further tickets that a block keeps when blocks are merged, the newest first."""

MAX_NAMES: Final = 3
"""The most host names of a block, which is as many as MAX_TEXT holds of the longest."""

DUE_TIME: Final = timedelta(minutes=2)
"""How long after its end a block may wait for the tick, which runs every minute."""


class State(StrEnum):
    """The observed state of a block."""

    LIVE = "live"
    """Rejected in the enforced policy, by a rule of the fragment."""
    PENDING = "pending"
    """In force, not yet enforced."""
    LEFT_OUT = "left-out"
    """In force, and not enforced because the choice in the config gives its room to others."""
    SHADOWED = "shadowed"
    """An earlier accept rule wins."""
    MOOT = "moot"
    """The relay would not connect there anyway."""
    UNVERIFIED = "unverified"
    """Read by a Tor without a control port, which does not say what it enforces."""
    UNKNOWN = "unknown"
    """No Tor could be asked."""
    ELSEWHERE = "elsewhere"
    """In force, for relays of other hosts only: this host enforces nothing of it."""
    LIFTING = "lifting"
    """Lifted or expired: removed from the fragment, not yet read by Tor."""
    SCHEDULED = "scheduled"
    """It begins or ends with the next batch."""
    DUE = "due"
    """It ended a moment ago, and the next tick lifts it."""


# A named tuple is made faster than a dataclass, and there are many of them.
class Block(NamedTuple):
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
    """The words for the relays that enforce it (`core/fleet.py`); empty for all relays."""
    source: str = ""
    """The names of the lists that it comes from, separated by blanks; empty for the operator's."""
    name: str = ""
    """The host names that the destination was resolved from, separated by blanks."""
    references: tuple[str, ...] = ()
    """Further tickets."""
    ended: datetime | None = None
    """When it was lifted or expired, by the clock of that moment; None while it lasts.

    Earlier than `until`: lifted, for good. At or after `until`: expired, which holds only as long
    as the clock says so. A clock that was ahead for a moment therefore ends no block for good.
    """

    forced: bool = False
    """Whether the operator accepts the limits that --force accepts: width, ports, Exit flag."""
    told: datetime | None = None
    """When a letter was written that says that it has ended; None before."""
    follow: str = ""
    """The host names whose addresses exitpol follows with blocks, separated by blanks.

    A block with `follow` and no `name` was made by its address as well: it stays when a name
    leaves that address.
    """

    @property
    def all_references(self) -> tuple[str, ...]:
        """Every ticket of the block."""
        return tuple(filter(None, (self.reference, *self.references)))

    @property
    def sources(self) -> tuple[str, ...]:
        """Every list that the block comes from; none for a block of the operator's."""
        return tuple(self.source.split())

    @property
    def names(self) -> tuple[str, ...]:
        """Every host name of the block."""
        names = tuple(self.name.split())
        return tuple(dict.fromkeys((*names, *self.followed))) if self.follow else names

    @property
    def followed(self) -> tuple[str, ...]:
        """Every host name that is followed with the block."""
        return tuple(self.follow.split())

    def released(self, name: str, now: datetime) -> "Block":
        """Return the block as it is once a followed name has left its address.

        It ends, unless it was also made by another name or by its address.
        """
        names = self.name.split()
        left = [one for one in self.followed if one != name]
        if not left and names and set(names) <= {name}:
            return self.lifted(now)._replace(follow="")
        others = [one for one in names if one != name]
        return self._replace(name=" ".join(others or (names and left)), follow=" ".join(left))

    def lifted(self, now: datetime) -> "Block":
        """Return the block as it is once it was lifted."""
        ended = now.replace(microsecond=0)
        if self.until is not None:
            # Later, the record would say that it expired, which a wrong clock does too.
            ended = min(ended, self.until - timedelta(seconds=1))
        return self._replace(ended=ended, told=None)

    @property
    def was_lifted(self) -> bool:
        """Whether the block was ended before its time."""
        return self.ended is not None and (self.until is None or self.ended < self.until)

    def is_for(self, relay: str) -> bool:
        """Tell whether a relay is to enforce the block, whose `relays` are names."""
        return not self.relays or relay in self.relays

    def in_force(self, now: datetime) -> bool:
        """Tell whether the block is to be enforced at `now`."""
        # `has_ended`, written out: a command asks this for 100,000 blocks.
        until = self.until
        if self.since > now or (until is not None and until <= now):
            return False
        return self.ended is None or not self.was_lifted

    def has_ended(self, now: datetime) -> bool:
        """Tell whether the block has been lifted, or has expired at `now`."""
        return self.was_lifted or (self.until is not None and self.until <= now)

    def is_due(self, now: datetime) -> bool:
        """Tell whether the block expired within DUE_TIME, and no tick has recorded its end."""
        if self.until is None or self.ended is not None:
            return False
        return timedelta() <= now - self.until < DUE_TIME


class Blocks:  # noqa: PLW1641 - a mapping has no hash
    """The blocks of a ledger in their order, at most one per destination. Never changed."""

    __slots__ = ("by_destination",)

    def __init__(self, by_destination: Mapping[Destination, Block]) -> None:
        self.by_destination: Final = by_destination

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Blocks):
            return NotImplemented
        return self.by_destination == other.by_destination

    def __repr__(self) -> str:
        return f"Blocks({self.by_destination!r})"

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

    def lasting(self, now: datetime) -> "Blocks":
        """Return the blocks that have not been recorded as ended."""
        return Blocks.of(b for b in self if b.ended is None or not b.has_ended(now))

    def next_change(self, now: datetime) -> datetime | None:
        """Return the first moment after `now` at which a block begins or ends; None if none."""
        lasting = [b for b in self if b.ended is None or not b.was_lifted]
        # Thousands of blocks have the same times.
        moments = {block.since for block in lasting} | {block.until for block in lasting}
        return min((moment for moment in moments if moment and moment > now), default=None)

    def blocked(self, new: Iterable[Block]) -> "Blocks":
        """Add blocks. For a destination that has a block already, the later end of the two counts.

        The earlier beginning counts too, and a new reason or reference replaces the old one unless
        it is empty; the old reference stays among `references`. The relays of both enforce it. A
        block that has ended when the new one begins is replaced. Raises UsageError for a block that
        ends before it begins.
        """
        blocks = dict(self.by_destination)
        for block in new:
            _lasting(block)
            old = blocks.get(block.destination)
            if old is not None and not old.has_ended(block.since):
                block = _merged(old, block)  # noqa: PLW2901 - the same block from here on
            blocks[block.destination] = block
        return Blocks(blocks)

    def unfollowed(self, hosts: Iterable[tuple[str, Ports]]) -> "Blocks":
        """Let the blocks of host names and ports stay as they are, and follow the names no more."""
        gone = set(hosts)
        blocks = dict(self.by_destination)
        for block in self:
            if block.follow:
                ports = block.destination.ports
                left = [name for name in block.followed if (name, ports) not in gone]
                if len(left) < len(block.followed):
                    blocks[block.destination] = block._replace(
                        name=" ".join(block.names), follow=" ".join(left)
                    )
        return Blocks(blocks)

    def renewed(
        self, destinations: Iterable[Destination], until: datetime | None, now: datetime
    ) -> "Blocks":
        """Give blocks a new end, sooner or later.

        Raises NoSuchBlockError, and UsageError for a block that would end before it begins.
        """
        blocks = dict(self.by_destination)
        for destination in destinations:
            block = self.current(destination, now)
            blocks[destination] = _lasting(block._replace(until=until, ended=None))
        return Blocks(blocks)

    def lifted(self, destinations: Iterable[Destination], now: datetime) -> "Blocks":
        """End blocks at `now`, for good: whatever the clock says later. Raises NoSuchBlockError."""
        blocks = dict(self.by_destination)
        for destination in destinations:
            blocks[destination] = self.current(destination, now).lifted(now)
        return Blocks(blocks)

    def lifted_on(
        self, destinations: Iterable[Destination], relays: Collection[str], known: Iterable[str]
    ) -> "Blocks":
        """Let blocks go on without some relays; `known` are all relays of the host.

        A block that is left without a relay does not change: it is to be lifted. Raises
        NoSuchBlockError for a block that none of the relays enforces.
        """
        blocks = dict(self.by_destination)
        known = tuple(known)
        for destination in destinations:
            block = self.get(destination)
            before = block.relays or known
            left = tuple(name for name in before if name not in relays)
            if left == before:
                raise NoSuchBlockError(
                    f"the block for {destination} is not for {', '.join(sorted(relays))}",
                    hint=f"it is for: {', '.join(before)}",
                )
            if left:
                blocks[destination] = block._replace(relays=left)
        return Blocks(blocks)

    def expired(self, destinations: Iterable[Destination], now: datetime) -> "Blocks":
        """Record that blocks expired, as far as the clock is right. Raises NoSuchBlockError."""
        blocks = dict(self.by_destination)
        for destination in destinations:
            block = self.get(destination)
            ended = now.replace(microsecond=0)
            if block.until is not None:
                ended = max(ended, block.until)
            blocks[destination] = block._replace(ended=ended, told=None)
        return Blocks(blocks)

    def told(self, destinations: Iterable[Destination], now: datetime) -> "Blocks":
        """Record that a letter says that blocks have ended. Those that have no record stay out."""
        blocks = dict(self.by_destination)
        for destination in destinations:
            block = blocks.get(destination)
            if block is not None and block.ended is not None:
                blocks[destination] = block._replace(told=now.replace(microsecond=0))
        return Blocks(blocks)

    def resumable(self, now: datetime) -> "Blocks":
        """Return the expired blocks that have not ended by a clock that says `now`."""
        return Blocks.of(b for b in self if b.ended is not None and not b.has_ended(now))

    def resumed(self, now: datetime) -> "Blocks":
        """Let blocks that a wrong clock ended go on."""
        blocks = {block.destination: block._replace(ended=None) for block in self.resumable(now)}
        return Blocks({**self.by_destination, **blocks})

    def without(self, destinations: Iterable[Destination]) -> "Blocks":
        """Remove the records of blocks."""
        gone = set(destinations)
        return Blocks.of(block for block in self if block.destination not in gone)

    def current(self, destination: Destination, now: datetime) -> Block:
        """Return a block that has not been recorded as ended. Raises NoSuchBlockError."""
        block = self.get(destination)
        if block.ended is not None and block.has_ended(now):
            what = "was lifted" if block.was_lifted else "expired"
            raise NoSuchBlockError(
                f"no block for {destination}: it {what} at {utc_text(block.ended)}",
                hint=f"to block it again: exitpol block {word(destination)} --until WHEN",
            )
        return block

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

    def referring_to(self, reference: str, now: datetime) -> "Blocks":
        """Return the blocks with this reference that have not been recorded as ended.

        Raises NoSuchBlockError if there is none.
        """
        found = Blocks.of(block for block in self.lasting(now) if reference in block.all_references)
        if not reference or not found:
            raise NoSuchBlockError(
                f"no block with the reference {reference!r}",
                hint="to see all references: exitpol list --all",
            )
        return found

    def named(self, name: str, ports: Ports, now: datetime) -> "Blocks":
        """Return the blocks of a host name and these ports that have not been recorded as ended.

        For all ports, those of any ports. Raises NoSuchBlockError if there is none.
        """
        found = Blocks.of(
            block
            for block in self.lasting(now)
            if name in block.names and ports in {ALL_PORTS, block.destination.ports}
        )
        if not found:
            at = "" if ports == ALL_PORTS else f":{ports_text(ports)}"
            raise NoSuchBlockError(
                f"no block was made by the host name {name}{at}",
                hint="exitpol list shows the blocks; lift takes an address as well",
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


def _merged(old: Block, new: Block) -> Block:
    """Return the block that keeps the promises of both."""
    later = old if is_later(old.until, new.until) else new
    every_relay = not old.relays or not new.relays
    follow = list(dict.fromkeys((*new.followed, *old.followed)))[:MAX_NAMES]
    names = list(dict.fromkeys((*new.names, *old.names)))[:MAX_NAMES]
    by_address = follow and not (new.name and old.name)
    reference = new.reference or old.reference
    former = dict.fromkeys((*new.references, old.reference, *old.references))
    references = [one for one in former if one not in {"", reference}]
    return new._replace(
        since=min(old.since, new.since),
        until=later.until,
        reason=new.reason or old.reason,
        reference=reference,
        relays=() if every_relay else tuple(dict.fromkeys((*old.relays, *new.relays))),
        # A block that the operator made stays when the list drops the destination.
        source=" ".join(dict.fromkeys((*old.sources, *new.sources)))
        if old.source and new.source
        else "",
        name="" if by_address else " ".join(names),
        references=tuple(references[:MAX_REFERENCES]),
        forced=new.forced or old.forced,
        told=old.told,
        follow=" ".join(follow),
    )


def _lasting(block: Block) -> Block:
    """Return a block if it ends after it begins. Raises UsageError."""
    if block.until is not None and block.until <= block.since:
        raise UsageError(
            f"the block for {block.destination} would end before it begins, at"
            f" {utc_text(block.since)}",
            hint=f"choose a later end, or: exitpol lift {word(block.destination)}",
        )
    return block


def is_later(one: datetime | None, other: datetime | None) -> bool:
    """Tell whether the end `one` is later than `other`; None, which is never, is the latest."""
    return one is None or (other is not None and one > other)
