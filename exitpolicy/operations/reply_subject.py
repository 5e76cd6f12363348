"""What an answer is about: the blocks, and the ended blocks, that the answer may name."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Final

from exitpolicy.complaint import Complaint
from exitpolicy.core.block import Block, Blocks
from exitpolicy.core.clock import Time
from exitpolicy.core.destination import Destination, parse_destination
from exitpolicy.core.errors import InvalidFileError, NoSuchBlockError, UsageError
from exitpolicy.core.host_names import NamedHost, parse_host
from exitpolicy.core.ports import difference
from exitpolicy.operations import end_letters
from exitpolicy.operations.host import Host
from exitpolicy.storage import history, shared_fronts
from exitpolicy.storage.ledger_file import Ledger

MAX_TARGETS: Final = 5
"""At most this many destinations that are not blocked are in a letter."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A block that has ended, as the ledger or the history has it."""

    destination: Destination
    at: datetime
    """When it ended."""
    references: tuple[str, ...] = ()
    """Its tickets."""
    names: tuple[str, ...] = ()
    """Its host names."""
    told: datetime | None = None
    """When a letter was written that says so."""
    is_certain: bool = True
    """Whether it cannot come back; a wrong clock may have ended it."""
    is_here: bool = True
    """Whether it was for relays of this host, as far as that is known."""


@dataclass(frozen=True, slots=True)
class Target:
    """What the complaint names as attacked, and no block is for."""

    name: str
    """A destination, or a host name."""
    provider: str | None = None
    """Whose shared address it is; None if it is none, or not known to be one."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What an answer is about."""

    complaint: Complaint | None
    """None if only references or destinations were named."""
    blocks: tuple[Block, ...]
    """The blocks in force that the answer may name."""
    ended: tuple[Ended, ...]
    """The ended blocks that the answer may name."""
    references: tuple[str, ...]
    """The tickets that the answer names."""
    withheld: tuple[Block, ...] = ()
    """Blocks with a reference that the complaint names, but of a destination that it does not.
    Anybody can write somebody else's ticket number into a mail, so the answer does not name them.
    """
    has_ledger: bool = True
    """Whether this host has a ledger: a workstation, on which a mail is answered, may have none."""
    host_names: Mapping[Destination, tuple[str, ...]] = field(default_factory=dict)
    """For each block that the answer may name, those of its host names that it may name."""
    other_references: tuple[str, ...] = ()
    """Further tickets of the named blocks: they may be of another complaint, so the answer does
    not name them unless the operator does."""
    targets: tuple[Target, ...] = ()
    """What the complaint names as attacked and no block is for; at most MAX_TARGETS."""

    @property
    def withheld_references(self) -> list[str]:
        """The references that name the withheld blocks."""
        withheld = {ticket for block in self.withheld for ticket in block.all_references}
        return [reference for reference in self.references if reference in withheld]


def subject(host: Host, complaint: Complaint | None, names: Sequence[str]) -> Subject:
    """Find the blocks that a complaint, references, destinations and host names name.

    A complaint names a block by its destination only: an address of the complaint is in the block,
    or the block was made by a host name of the complaint. Raises NoSuchBlockError for a name
    without a block, and InvalidFileError for an invalid ledger, or for none where a name needs it.
    """
    ledger = _ledger(host, names)
    time = host.time()
    known = _Known.of(host, ledger, time)
    found: dict[Block, None] = {}
    ended: dict[Destination, Ended] = {}
    references = dict.fromkeys(complaint.references if complaint is not None else ())
    if complaint is not None:
        mentioned = _Mentioned.by(complaint)
        found |= dict.fromkeys(b for b in known.blocks if mentioned.names(b.destination, b.names))
        ended |= {e.destination: e for e in known.ended if mentioned.names(e.destination, e.names)}
    tickets_of: dict[str, None] = {}
    names_of = {b.destination: b.names for b in found} | {d: e.names for d, e in ended.items()}
    shown = {
        destination: tuple(n for n in of if complaint is not None and n in complaint.host_names)
        for destination, of in names_of.items()
    }
    for name in names:
        here, before, tickets = known.named(name)
        found |= dict.fromkeys(here)
        ended |= {each.destination: each for each in before}
        # The operator names them, and may know all of their names.
        shown |= {block.destination: block.names for block in here}
        shown |= {each.destination: each.names for each in before}
        if complaint is None:
            # A complaint is answered with its own tickets: others belong to somebody else.
            references |= dict.fromkeys(tickets)
            tickets_of |= dict.fromkeys(ticket for b in here for ticket in b.all_references)
            tickets_of |= dict.fromkeys(ticket for e in before for ticket in e.references)
    withheld = [
        block
        for block in known.blocks
        if complaint is not None
        and not set(block.all_references).isdisjoint(complaint.references)
        and block not in found
    ]
    return Subject(
        complaint,
        tuple(found),
        tuple(ended.values()),
        tuple(references),
        tuple(withheld),
        has_ledger=ledger is not None,
        host_names=shown,
        other_references=tuple(ticket for ticket in tickets_of if ticket not in references),
        targets=() if complaint is None else tuple(_targets(host, complaint, list(found))),
    )


def _targets(host: Host, complaint: Complaint, blocks: Sequence[Block]) -> Iterator[Target]:
    """Yield what the complaint names as attacked and no block is for, the likeliest first.

    `blocks` are those that the complaint names, among others.

    Host names count only where there is no address, and only those that the words of the complaint
    call the victim's: it names others, such as that of a public list of abusers.
    """
    certain = [one.destination for one in complaint.candidates if not one.is_guess]
    candidates = certain or [one.destination for one in complaint.candidates]
    free = (
        destination
        for destination in candidates
        if not any(_holds(block.destination, destination) for block in blocks)
    )
    destinations = list(islice(free, MAX_TARGETS))
    blocked = {name for block in blocks for name in block.names}
    victims = [h.name for h in complaint.named_hosts if h.is_victim and h.name not in blocked]
    names = [] if candidates else victims[:MAX_TARGETS]
    if not destinations and not names:
        return
    fronts = shared_fronts.load(host.config)
    for destination in destinations:
        yield Target(str(destination), fronts.provider_of(destination))
    for name in names:
        yield Target(name, fronts.provider_of_name(name))


def _ledger(host: Host, names: Sequence[str]) -> Ledger | None:
    """Return the ledger; None if there is none and no name needs it. Raises InvalidFileError."""
    try:
        return host.ledger()
    except InvalidFileError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise
        if names:
            raise InvalidFileError(
                f"{error}, and only a ledger says what {names[0]!r} is",
                hint="run the command on the relay's host, or name only the FILE of the complaint",
            ) from error
        return None


@dataclass(frozen=True, slots=True)
class _Mentioned:
    """The addresses and host names of a complaint."""

    destinations: tuple[Destination, ...]
    single: frozenset[tuple[int, int]]
    """The family and the number of those that are one address."""
    host_names: frozenset[str]

    @classmethod
    def by(cls, complaint: Complaint) -> "_Mentioned":
        destinations = tuple(one.destination for one in complaint.candidates)
        single = frozenset((d.family, d.first) for d in destinations if d.first == d.last)
        return cls(destinations, single, frozenset(complaint.host_names))

    def names(self, destination: Destination, names: Iterable[str]) -> bool:
        """Tell whether the complaint names a block's destination or one of its host names.

        All addresses of a destination of the complaint are in the block. The reverse is not enough:
        whoever names a wide network would learn all blocks in it.
        """
        if not self.host_names.isdisjoint(names):
            return True
        if destination.first == destination.last:
            # Most blocks of a long ledger.
            return (destination.family, destination.first) in self.single
        return any(_holds(destination, mentioned) for mentioned in self.destinations)


def _holds(blocked: Destination, named: Destination) -> bool:
    """Tell whether a complaint's destination is in a blocked one.

    Its ports need not be, except where a port is blocked at every address.
    """
    ports = not blocked.is_port or not difference(named.ports, blocked.ports)
    return ports and blocked.contains_addresses(named)


@dataclass(frozen=True, slots=True)
class _Known:
    """The blocks of the ledger, and the ended ones that the history has as well."""

    blocks: Blocks
    ended: tuple[Ended, ...]

    @classmethod
    def of(cls, host: Host, ledger: Ledger | None, time: Time) -> "_Known":
        """Read the history, which has what the ledger no longer has. Raises InvalidFileError."""
        present = Blocks.of() if ledger is None else ledger.blocks
        retention = end_letters.retention_of(host)
        here = host.here(present).by_destination
        in_force = Blocks.of(block for block in present if not block.has_ended(time.now))
        ended = {
            each.destination: each
            for each in _ended_before(history.read(host.history_path))
            if each.destination not in in_force
        }
        for block in present:
            if block.ended is not None and end_letters.has_ended(block, time):
                ended[block.destination] = Ended(
                    block.destination,
                    block.ended,
                    block.all_references,
                    block.names,
                    block.told,
                    retention.is_certain(block),
                    is_here=any(map(here[block.destination].is_for, host.names)),
                )
            else:
                # The history may say that it ended by a clock that was wrong.
                ended.pop(block.destination, None)
        return cls(in_force, tuple(ended.values()))

    def named(self, name: str) -> tuple[list[Block], list[Ended], list[str]]:
        """Return the blocks, the ended blocks and the tickets of a reference, a DEST or a name."""
        same = [block for block in self.blocks if name in block.all_references]
        before = [each for each in self.ended if name in each.references]
        if name and (same or before):
            return same, before, [name]
        wanted = _parsed(name)
        if isinstance(wanted, NamedHost):
            same = [
                block
                for block in self.blocks
                if wanted.name in block.names and _overlap(wanted, block.destination)
            ]
            before = [
                each
                for each in self.ended
                if wanted.name in each.names and _overlap(wanted, each.destination)
            ]
            if not same and not before:
                raise NoSuchBlockError(
                    f"no block was made by the host name {wanted}",
                    hint="exitpol list --all shows the blocks; reply takes an address as well",
                )
        else:
            same = [block for block in self.blocks if block.destination.overlaps(wanted)]
            before = [each for each in self.ended if each.destination == wanted]
            if not same and not before:
                self.blocks.get(wanted)
        tickets = [*(b.reference for b in same), *(e.references[0] for e in before if e.references)]
        return same, before, [ticket for ticket in tickets if ticket]


def _parsed(name: str) -> NamedHost | Destination:
    """Return the destination or host name that is named. Raises NoSuchBlockError."""
    try:
        return parse_host(name) or parse_destination(name)
    except UsageError as error:
        raise NoSuchBlockError(
            f"{name!r} is neither a file, nor the reference of a block, nor a destination",
            hint=error.hint or "see them: exitpol list --all",
        ) from error


def _overlap(host: NamedHost, destination: Destination) -> bool:
    """Tell whether a host name with ports means a block of these ports."""
    return destination.overlaps(destination._replace(ports=host.ports))


def _ended_before(changes: Iterable[history.Change]) -> Iterator[Ended]:
    """Yield the destinations whose last change in the history is the end of their block."""
    ends: dict[str, tuple[history.Change, str | None]] = {}
    for change in changes:
        if change.action in {"lift", "expire", "remove"}:
            ends[change.destination] = (change, None)
        elif change.action == "told" and change.destination in ends:
            ends[change.destination] = (ends[change.destination][0], change.time)
        else:
            ends.pop(change.destination, None)
    for change, told in ends.values():
        # Anybody who can write the history may have damaged a line.
        with suppress(UsageError, ValueError):
            yield Ended(
                parse_destination(change.destination),
                history.moment(change.time),
                change.all_references,
                tuple(change.name.split()),
                told=None if told is None else history.moment(told),
            )
