"""Follow host names: which of their addresses are blocked, as the answers of DNS servers change.

Whoever owns a name chooses its addresses. So an address is blocked only when it was seen twice, a
name has at most MAX_ADDRESSES blocks, and the exit policy of a relay changes at most once an hour.

All moments here are in seconds of the host's running time, as far as it was observed: a clock that
is set neither adds nor drops an address.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from exitpolicy.core.addresses import Family
from exitpolicy.core.block import Block, Blocks
from exitpolicy.core.clock import Time
from exitpolicy.core.destination import Destination
from exitpolicy.core.host_names import NamedHost
from exitpolicy.core.pace import Pace

if TYPE_CHECKING:
    from exitpolicy.core.ports import Ports

MAX_ADDRESSES: Final = 8
"""The most addresses of a followed name that are blocked."""
MAX_FOLLOWED: Final = 100
"""The most names that a host follows. Each with other ports counts."""
TIMES: Final = 2
"""The answers in which an address must be seen before it is blocked."""
UNSEEN_SECONDS: Final = 86_400.0
"""How long an address must be absent from all answers before its block ends."""
CHANGE_SECONDS: Final = 3_600.0
"""The shortest time between two changes of a relay: each uploads a descriptor."""
MIN_SECONDS: Final = 300.0
"""The shortest time between two questions for a name."""
MAX_SECONDS: Final = 3_600.0
"""The longest: Tor asks again after an hour, whatever the TTL (feature/relay/dns.c:
clip_dns_ttl)."""
MAX_SIGHTINGS: Final = 64
"""The most addresses of a name that are remembered."""

Address = tuple[Family, int]
EACH_FAMILY: Final[frozenset[Family]] = frozenset((4, 6))


class Answer(NamedTuple):
    """What the DNS servers say of a name."""

    addresses: frozenset[Address]
    ttl: int
    """In seconds."""
    families: frozenset[Family] = EACH_FAMILY
    """Those of which the servers told all addresses: no other address is absent."""


class Failure(NamedTuple):
    """Why the DNS servers give no answer that can be used."""

    reason: str


class Sighting(NamedTuple):
    """When an address of a name was seen."""

    times: int
    """The answers that had it, of which at most TIMES are counted."""
    absent: float = 0.0
    """How long the answers have not had it since."""


@dataclass(frozen=True, slots=True)
class Observed:
    """What the answers for a followed name were."""

    due: float
    """When to ask again."""
    answered: float
    """When the last answer came that could be used, or when the following began."""
    seen: Mapping[Address, Sighting] = field(default_factory=dict)
    failure: str = ""
    """Why the last answer could not be used; empty if it could."""

    @classmethod
    def begun(cls, blocked: Iterable[Address], now: float) -> "Observed":
        """Return the state of a name of which nothing but its blocks is known."""
        return cls(now, now, {address: Sighting(TIMES) for address in blocked})


@dataclass(frozen=True, slots=True)
class Following:
    """What is known of all followed names of a host."""

    seconds: float = 0.0
    """The observed running time."""
    names: Mapping[NamedHost, Observed] = field(default_factory=dict)
    changed: Mapping[str, float] = field(default_factory=dict)
    """When the exit policy of each relay was last changed by this, by the relay's name."""

    @classmethod
    def begun(cls, relays: Iterable[str]) -> "Following":
        """Return a state without memory: it may be that a relay was changed a moment ago."""
        return cls(changed=dict.fromkeys(relays, 0.0))

    def after(self, interval: float) -> "Following":
        """Return the state after some seconds of running time, of which at most an hour counts."""
        return replace(self, seconds=self.seconds + min(max(interval, 0.0), MAX_SECONDS))


class Followed(NamedTuple):
    """A followed name, as the ledger says."""

    relays: frozenset[str]
    """The names of the relays that its blocks are for."""
    blocked: frozenset[Address]
    """The addresses of its blocks."""
    taken: frozenset[Address]
    """The addresses that get no block: they have one, or theirs ended while this name was followed.
    """


class Change(NamedTuple):
    """What changes for one name."""

    host: NamedHost
    added: tuple[Address, ...]
    dropped: tuple[Address, ...]


def followed(blocks: Blocks, time: Time, relays: Iterable[str]) -> dict[NamedHost, Followed]:
    """Return the names that the blocks in force follow, at most MAX_FOLLOWED, in their order.

    `relays` are the names of all relays of the host.
    """
    every = frozenset(relays)
    chosen = dict(list(to_follow(blocks, time).items())[:MAX_FOLLOWED])
    taken = _taken(blocks, chosen, time.now)
    return {
        host: Followed(
            frozenset().union(*(frozenset(block.relays) or every for block in its)),
            frozenset(address_of(block.destination) for block in its),
            taken[host],
        )
        for host, its in chosen.items()
    }


def to_follow(blocks: Blocks, time: Time) -> dict[NamedHost, list[Block]]:
    """Return all names that the blocks in force are to follow, each with its blocks."""
    found: dict[NamedHost, list[Block]] = {}
    for block in blocks:
        if block.follow and is_address(block.destination) and time.enforces(block):
            for name in block.followed:
                found.setdefault(NamedHost(name, block.destination.ports), []).append(block)
    return found


def _taken(
    blocks: Blocks, hosts: Mapping[NamedHost, Sequence[Block]], now: datetime
) -> dict[NamedHost, frozenset[Address]]:
    """Return the addresses that get no block for each name, given the blocks of the names."""
    lasting: dict[Ports, set[Address]] = {host.ports: set() for host in hosts}
    before: dict[NamedHost, list[Block]] = {}
    for block in blocks if hosts else ():
        ports = block.destination.ports
        if ports not in lasting or not is_address(block.destination):
            continue
        if not block.has_ended(now):
            lasting[ports].add(address_of(block.destination))
            continue
        for host in (NamedHost(name, ports) for name in block.names):
            if host in hosts:
                before.setdefault(host, []).append(block)
    ended = {host: _ended_since(host.name, hosts[host], its) for host, its in before.items()}
    # Most names share one set, which may be large.
    shared = {ports: frozenset(addresses) for ports, addresses in lasting.items()}
    return {
        host: shared[host.ports] | ended[host] if host in ended else shared[host.ports]
        for host in hosts
    }


def _ended_since(name: str, blocks: Sequence[Block], before: Iterable[Block]) -> set[Address]:
    """Return the addresses whose blocks ended since a name is followed.

    `blocks` are those of the name that are in force, `before` those that have ended. Of these, the
    ones that the name has left do not follow it any more.
    """
    begun = min(block.since for block in blocks)
    found: set[Address] = set()
    ends = [(end, block) for block in before if (end := block.ended or block.until) is not None]
    for end, block in sorted(ends, key=lambda one: one[0], reverse=True):
        if end < begun:
            break
        # It stood when a later one began: the name has been followed since it began itself.
        begun = min(begun, block.since)
        if name in block.followed:
            found.add(address_of(block.destination))
    return found


def is_address(destination: Destination) -> bool:
    """Tell whether a destination is a single address."""
    return destination.first == destination.last


def address_of(destination: Destination) -> Address:
    """Return the address of a destination that has only one."""
    (only,) = destination.ranges
    return only.family, only.first


def due(following: Following, hosts: Mapping[NamedHost, Followed]) -> list[NamedHost]:
    """Return the names that are to be asked for now, the longest overdue first."""
    moments = dict.fromkeys(hosts, 0.0)
    moments |= {host: known.due for host, known in following.names.items() if host in hosts}
    return sorted(
        (host for host, moment in moments.items() if moment <= following.seconds),
        key=lambda host: moments[host],
    )


def step(
    following: Following,
    hosts: Mapping[NamedHost, Followed],
    answers: Mapping[NamedHost, Answer | Failure],
    is_fit: Callable[[NamedHost, Address], bool],
    *,
    may_change: bool = True,
) -> tuple[Following, tuple[Change, ...]]:
    """Return the state after new answers, and what changes.

    `is_fit` tells whether an address may be blocked for a name. Without `may_change`, answers are
    noted and nothing changes. Names that are followed no more are forgotten.
    """
    names: dict[NamedHost, Observed] = {}
    changes: list[Change] = []
    for host, its in hosts.items():
        known = following.names.get(host) or Observed.begun(its.blocked, following.seconds)
        answer = answers.get(host)
        names[host] = known
        if answer is None:
            continue
        usable = _usable(host, its, answer, is_fit)
        if isinstance(usable, Failure):
            # What is blocked stays: the last answer counts.
            names[host] = replace(known, due=following.seconds + MIN_SECONDS, failure=usable.reason)
            continue
        names[host] = _heard(known, its, usable, following.seconds)
        if may_change and _is_time(following, its):
            # Two names with new blocks for one address would need two changes.
            others = {a for c in changes if c.host.ports == host.ports for a in c.added}
            change = _change(host, its, names[host].seen, others, is_fit)
            if change.added or change.dropped:
                changes.append(change)
                seen = {a: s for a, s in names[host].seen.items() if a not in change.dropped}
                names[host] = replace(names[host], seen=seen)
    changed = dict(following.changed)
    for change in changes:
        changed |= dict.fromkeys(hosts[change.host].relays, following.seconds)
    return replace(following, names=names, changed=changed), tuple(changes)


def _usable(
    host: NamedHost,
    its: Followed,
    answer: Answer | Failure,
    is_fit: Callable[[NamedHost, Address], bool],
) -> Answer | Failure:
    """Return the answer, or why it counts as none."""
    if isinstance(answer, Failure):
        return answer
    if len(answer.addresses) > MAX_ADDRESSES:
        return Failure(f"it has {len(answer.addresses):,} addresses, more than {MAX_ADDRESSES}")
    if not any(a in its.blocked or is_fit(host, a) for a in answer.addresses):
        return Failure("none of its addresses may be blocked")
    return answer


def _heard(known: Observed, its: Followed, answer: Answer, now: float) -> Observed:
    """Return what is known of a name after an answer."""
    # While no answer came, nothing was absent from it.
    interval = min(max(now - known.answered, 0.0), MAX_SECONDS)
    seen: dict[Address, Sighting] = {}
    for address in {*known.seen, *its.blocked, *answer.addresses}:
        times, absent = known.seen.get(address, Sighting(0))
        if address in answer.addresses:
            seen[address] = Sighting(min(times + 1, TIMES))
        elif address[0] not in answer.families:
            seen[address] = Sighting(times, absent)
        elif address in its.blocked or absent + interval < UNSEEN_SECONDS:
            seen[address] = Sighting(times, absent + interval)
    # The blocked ones first: what is forgotten of them would begin anew.
    order = sorted(seen, key=lambda a: (a not in its.blocked, seen[a].absent, a))
    kept = {address: seen[address] for address in order[:MAX_SIGHTINGS]}
    wait = min(max(float(answer.ttl), MIN_SECONDS), MAX_SECONDS)
    return Observed(now + wait, now, kept)


def _is_time(following: Following, its: Followed) -> bool:
    """Tell whether no relay of a name was changed within an hour."""
    pace = Pace(following.seconds, following.changed)
    return not pace.wait(its.relays, CHANGE_SECONDS)


def _change(
    host: NamedHost,
    its: Followed,
    seen: Mapping[Address, Sighting],
    others: Collection[Address],
    is_fit: Callable[[NamedHost, Address], bool],
) -> Change:
    """Return what to add and to drop; `others` are added for other names."""
    gone = sorted(
        (a for a in its.blocked if a in seen and seen[a].absent >= UNSEEN_SECONDS),
        key=lambda a: (-seen[a].absent, a),
    )
    room = max(MAX_ADDRESSES - (len(its.blocked) - len(gone)), 0)
    candidates = sorted(
        (
            address
            for address, sighting in seen.items()
            if sighting.times >= TIMES
            and not any(address in known for known in (its.blocked, its.taken, others))
        ),
        key=lambda a: (seen[a].absent, a),
    )
    added = [address for address in candidates if is_fit(host, address)][:room]
    if len(gone) == len(its.blocked) and not added:
        # The last one stays: a promise does not end because a name leads nowhere.
        gone = gone[:-1]
    return Change(host, tuple(added), tuple(gone))
