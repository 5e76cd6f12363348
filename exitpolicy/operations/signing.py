"""The relays that a letter is about, and the blocks that it may name for them."""

from dataclasses import dataclass
from itertools import islice

from exitpolicy.complaint import Complaint
from exitpolicy.core.block import Block, Blocks
from exitpolicy.core.fleet import Member
from exitpolicy.operations.complaints import own_addresses
from exitpolicy.operations.host import Host
from exitpolicy.operations.reply_subject import Subject
from exitpolicy.reply.facts import ExitFact, canonical_address
from exitpolicy.tor import identity


@dataclass(frozen=True, slots=True)
class Signer:
    """What a letter says of the relays that it is about."""

    blocks: tuple[Block, ...]
    """The blocks that each of them is to enforce: the letter may name these."""
    relay: str | None = None
    """The name of the relay; those of all that have the one accused address."""
    fingerprint: str | None = None
    """That of the only relay."""
    address: str | None = None
    """The first accused address, or the one that Tor reports."""
    exits: tuple[ExitFact, ...] = ()
    """Each accused address of the fleet with its relays."""
    names: tuple[str, ...] = ()
    """The relays of this host that the complaint accuses; empty without a fleet."""
    elsewhere: tuple[Member, ...] = ()
    """The accused relays on other hosts: no Tor of this host says what they enforce."""


def signer(host: Host, about: Subject) -> Signer:
    """Return what a letter about a subject says of its relays.

    A complaint is about the relays of the fleet that have an accused address. Where none has, it is
    about those of this host that have one, or about any of the host. A block has to be on all of
    these. Without a complaint, it is about the first relay that has all of the blocks.
    """
    accused = _accused(host, about.complaint)
    members = host.config.fleet.accused(accused)
    if members:
        return _of_fleet(host, about, accused, members)
    known = {r.name: found for r in host.relays if (found := identity.identity_of(r)) is not None}
    here = host.here(Blocks.of(about.blocks)).by_destination
    names = [name for name, found in known.items() if accused and found.address == accused[0]]
    if about.complaint is None:
        with_all = (name for name in known if all(block.is_for(name) for block in here.values()))
        names = list(islice((*with_all, *known), 1))
    names = names or list(known)
    blocks = tuple(
        block
        for block in about.blocks
        if all(here[block.destination].is_for(name) for name in names)
    )
    found = known[names[0]] if names else identity.Identity(None, None, None)
    operator = host.config.operator
    addresses = (*accused[:1], operator.address, found.address)
    return Signer(
        blocks,
        operator.relay_name or found.nickname,
        found.fingerprint,
        next(filter(None, map(canonical_address, addresses)), None),
    )


def _accused(host: Host, complaint: Complaint | None) -> tuple[str, ...]:
    """Return the addresses of this host or its fleet that a complaint accuses."""
    if complaint is None:
        return ()
    own = {str(address) for address in own_addresses(host)}
    return tuple(source for source in complaint.sources if source in own)


def _of_fleet(
    host: Host, about: Subject, accused: tuple[str, ...], members: tuple[Member, ...]
) -> Signer:
    """Return what a letter says of relays of the fleet."""
    fleet = host.config.fleet
    relays = {relay.name: relay for relay in host.relays}
    # The hosts of a fleet may have relays of one name.
    here = {m.word: relays[m.name] for m in members if m.name in relays and _is_here(host, m)}
    known = {word: identity.identity_of(relay) for word, relay in here.items()}

    def name_of(member: Member) -> str:
        found = known.get(member.word)
        return member.nickname or (found.nickname if found else None) or member.name

    exits = tuple(
        ExitFact(address=address, relays=tuple(map(name_of, fleet.accused([address]))))
        for address in accused
        if fleet.accused([address])
    )
    fingerprint: str | None = None
    if len(members) == 1:
        found = known.get(members[0].word)
        fingerprint = members[0].fingerprint or (found.fingerprint if found else None)
    return Signer(
        tuple(b for b in about.blocks if all(fleet.is_for(b, member) for member in members)),
        ", ".join(exits[0].relays) if len(exits) == 1 else None,
        fingerprint,
        exits[0].address,
        exits,
        tuple(relay.name for relay in here.values()),
        tuple(member for member in members if member.word not in here),
    )


def _is_here(host: Host, member: Member) -> bool:
    return not member.host or member.host == host.config.fleet.host
