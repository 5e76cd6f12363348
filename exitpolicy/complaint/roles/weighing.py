"""Decide who attacked and who was attacked.

Other readers of abuse reports extract the source, which is the relay itself. Here every address
gets a role from general evidence: names of keys and columns, arrows, formats of log lines, words
of direction, possessives. Sources are decided first; the other side of a source is a destination.
"""

from collections.abc import Collection, Iterator
from typing import Final

from exitpolicy.complaint.extract.addresses import (
    Mention,
    is_documentation,
    is_private,
    is_too_wide,
)
from exitpolicy.complaint.language.vocabulary import pattern
from exitpolicy.complaint.model import Candidate, Caution, Kind, Warn
from exitpolicy.complaint.roles.lines import Evidence
from exitpolicy.complaint.roles.scores import (
    MAX_PORTS,
    Hint,
    Role,
    Score,
    Sense,
    Tally,
    is_audible,
    is_owned_in_passing,
)
from exitpolicy.core.addresses import AddressRange
from exitpolicy.core.destination import Destination
from exitpolicy.core.ports import ALL_PORTS, normal_ports

MAX_CANDIDATES: Final = 100
MAX_SHOWN: Final = 3
"""Lines of evidence that are shown for one candidate."""
_NO_VICTIM: Final = frozenset({Kind.COPYRIGHT, Kind.FRAUD, Kind.THREATS})
"""Kinds without a host as victim, in most reports: a link to a phishing site is no victim."""
_SITES: Final = frozenset({Kind.FRAUD, Kind.THREATS})
"""Kinds whose reports name hosts, such as that of a phishing site, but rarely a victim's."""
_ATTACKS: Final = frozenset({Kind.BRUTE_FORCE, Kind.PORT_SCAN, Kind.WEB_ATTACK, Kind.DDOS})
"""Kinds with a host as victim. In a report of another kind, a server may be a hosted site."""
_BYSTANDER_LINE: Final = pattern(r"<<bystander line>>")

Tallies = dict[AddressRange, Tally]


def weigh(
    evidence: list[Evidence],
    own: Collection[Destination],
    protected: Collection[Destination],
    *,
    kind: Kind,
    masked: bool,
) -> tuple[tuple[Candidate, ...], tuple[str, ...], tuple[Caution, ...]]:
    """Return the candidates, the accused addresses, and cautions about them.

    `masked`: whether the report hides the victim's address.
    """
    mentioned = _mentioned(own, evidence)
    _accuse_neighbours(evidence, mentioned)
    tallies = _tallies(evidence, mentioned)
    ours = {addresses for addresses in tallies if _is_among(addresses, mentioned)}
    sources = _sources(tallies, ours)
    _add_companions(evidence, tallies, sources, ours)
    guarded = {addresses for addresses in tallies if _is_among(addresses, protected)}
    ranked = _ranked(
        tallies,
        sources,
        ours | guarded,
        guess=_least_hint(kind) if sources and not masked and (ours or not own) else None,
        masked=masked,
    )
    if kind in _NO_VICTIM:
        ranked = [found for found in ranked if not tallies[found].is_only_linked()]
    if kind in _SITES:
        ranked = [found for found in ranked if not tallies[found].is_only_beside()]
    ranked, only_private = _without_odd(ranked, tallies, sources)
    if not only_private:
        ranked = _without_companions(ranked, tallies)
    accused = [str(addresses) for addresses in tallies if addresses in sources]
    cautions = _cautions(
        accused=accused if own and not ours else [],
        only_private=only_private,
        protected=any(tallies[addresses].is_rather_destination() for addresses in guarded),
        left_out=max(0, len(ranked) - MAX_CANDIDATES),
    )
    candidates = tuple(_candidate(found, tallies[found]) for found in ranked[:MAX_CANDIDATES])
    return candidates, tuple(accused[:MAX_CANDIDATES]), tuple(cautions)


def _least_hint(kind: Kind) -> Hint | None:
    """Return the least hint on which a guess may rest, in a complaint of this kind."""
    if kind in _ATTACKS:
        return Hint.PORT
    return None if kind in _SITES else Hint.PROSE


def _cautions(
    *, accused: list[str], only_private: bool, protected: bool, left_out: int
) -> Iterator[Caution]:
    if accused:
        yield Caution(
            Warn.NOT_OURS,
            f"the report accuses {', '.join(accused[:3])}, no address of this relay",
        )
    if only_private:
        yield Caution(
            Warn.PRIVATE,
            "the destination is a private address, which no exit reaches: ask for the public one",
        )
    if protected:
        yield Caution(Warn.PROTECTED, "the report names a protected destination")
    if left_out:
        yield Caution(Warn.MANY, f"{left_out} more destinations than the first {MAX_CANDIDATES}")


def _mentioned(own: Collection[Destination], evidence: list[Evidence]) -> Collection[Destination]:
    """Return those of the own addresses that the evidence mentions: a fleet has thousands."""
    found = {mention.addresses for one in evidence for mention in one.mentions}
    networks = [addresses for addresses in found if addresses.size > 1]
    return [
        destination
        for destination in own
        if destination.first != destination.last
        or any(AddressRange(*part) in found for part in destination.ranges)
        or any(destination.overlaps(Destination(*addresses)) for addresses in networks)
    ]


def _is_among(addresses: AddressRange, destinations: Collection[Destination]) -> bool:
    return any(destination.overlaps(Destination(*addresses)) for destination in destinations)


def _accuse_neighbours(evidence: list[Evidence], own: Collection[Destination]) -> None:
    """Accuse the addresses that share a list, a column or an enumeration with an own address.

    In a line that also names an own address, only an enumeration counts: another address in that
    line may be the victim.
    """
    lists: dict[str, set[tuple[Role | None, int]]] = {}
    ours: set[int] = set()
    for one in evidence:
        for mention in one.mentions:
            if mention.addresses.size == 1 and _is_among(mention.addresses, own):
                ours.add(id(one))
                for name in mention.lists:
                    lists.setdefault(name, set()).add((mention.role, mention.score))
    for one in evidence:
        for mention in one.mentions:
            shared = lists.keys() & mention.lists
            if id(one) in ours:
                shared = {name for name in shared if name.startswith(("enumeration", "bare"))}
            if any(_is_loose(mention, name, lists[name]) for name in shared):
                mention.role, mention.score = Role.SOURCE, Score.HEADING
                mention.is_in_subject = False


def _is_loose(mention: Mention, name: str, ours: set[tuple[Role | None, int]]) -> bool:
    """Tell whether the role of an address may be wrong, because an own address is in its list.

    `ours` are the roles of the own addresses in that list, with their scores.
    """
    if mention.role is None or name.startswith("bare"):
        return True
    if name.startswith("key"):
        # The same key may be below two headings, which tell who is who.
        return mention.score == Score.URL
    is_announced = Sense(mention.role, mention.score).is_announced
    return is_announced or mention.is_in_subject or (mention.role, mention.score) in ours


def _tallies(evidence: list[Evidence], own: Collection[Destination]) -> Tallies:
    """Add up the evidence for each address, in the order of the report."""
    tallies: Tallies = {}
    mentioned = {mention.addresses for one in evidence for mention in one.mentions}
    ours = {addresses for addresses in mentioned if _is_among(addresses, own)}
    foreign = _foreign_records(evidence, ours)
    for one in evidence:
        # A row about another host, in a list for a whole network, is not about this relay.
        accuses = any(mention.role is Role.SOURCE for mention in one.mentions)
        is_foreign = bool(ours) and accuses and all(m.addresses not in ours for m in one.mentions)
        is_foreign |= one.record in foreign
        for mention in one.mentions:
            tally = tallies.setdefault(mention.addresses, Tally(len(tallies), one.line))
            if mention.role is Role.BYSTANDER:
                tally.is_bystander = True
            elif is_audible(mention.score, quiet=mention.is_quiet):
                names_ours = not ours or mention.addresses in ours
                _count(tally, mention, one, is_foreign=is_foreign, names_ours=names_ours)
    return tallies


def _foreign_records(evidence: list[Evidence], ours: set[AddressRange]) -> set[int]:
    """Return the records that accuse only other addresses than the relay's.

    Only in a report with a record for each accused address, in which the relay's names a victim.
    """
    of_ours: set[int] = set()
    of_others: set[int] = set()
    with_victim: set[int] = set()
    for one in evidence:
        for mention in one.mentions:
            if mention.addresses in ours:
                of_ours.add(one.record)
            elif mention.role is Role.SOURCE and not mention.is_in_subject:
                of_others.add(one.record)
            elif mention.role is Role.DESTINATION:
                with_victim.add(one.record)
    return (of_others & with_victim) - of_ours if of_ours & with_victim else set()


def _count(
    tally: Tally, mention: Mention, evidence: Evidence, *, is_foreign: bool, names_ours: bool
) -> None:
    """Add one mention to the tally of its address.

    `is_foreign`: whether the line is about another source than this relay. `names_ours`: whether
    the address may be one of this relay.
    """
    if not names_ours and is_owned_in_passing(mention.role, mention.score):
        tally.add_hint(evidence.hint, has_port=False)
        return  # "a server all its own" is "all your own" in Italian
    if not names_ours and mention.is_in_subject:
        return  # a subject may name the victim as well
    if not _BYSTANDER_LINE.search(evidence.line):
        tally.add_hint(evidence.hint, has_port=bool(mention.ports))
    tally.audible += 1
    tally.lists.update(name for name in mention.lists if name.startswith(("lines", "table")))
    tally.nearby_ports.update(mention.ports)
    if mention.role is Role.SOURCE:
        tally.add_source(mention.score)
    elif mention.role is Role.DESTINATION:
        if is_foreign:
            tally.is_bystander = True
        else:
            tally.add_destination(mention.score, evidence.line, mention.ports)


def _sources(tallies: Tallies, ours: set[AddressRange]) -> set[AddressRange]:
    """Return the accused addresses; if there is none, the address that is mentioned most."""
    sources = ours | {addresses for addresses, tally in tallies.items() if tally.is_source()}
    if sources:
        return sources
    unnamed = [found for found, tally in tallies.items() if not tally.destination and tally.audible]
    if unnamed:
        # Every complaint names the source, and not every one names the victim.
        sources.add(max(unnamed, key=lambda found: (tallies[found].audible, -tallies[found].order)))
    return sources


def _add_companions(
    evidence: list[Evidence],
    tallies: Tallies,
    sources: set[AddressRange],
    ours: set[AddressRange],
) -> None:
    """Count an address without a role as the destination of the source in the same line."""
    nearby = {_neighbourhood(source) for source in sources}
    accused = ours or sources  # the rows of others name the victims of others
    for one in evidence:
        if len(one.mentions) < 2 or not any(m.addresses in accused for m in one.mentions):
            continue
        answered = any(m.addresses in ours and m.role is Role.DESTINATION for m in one.mentions)
        for mention in one.mentions:
            addresses = mention.addresses
            if mention.is_quiet or mention.role is Role.BYSTANDER or addresses in ours:
                continue
            # A packet to the relay is a reply: its sender is the one that was attacked.
            is_reply = answered and mention.role is Role.SOURCE
            is_beside = _neighbourhood(addresses) in nearby
            telling = one.is_log or (one.acting and not is_beside)
            # A private address without a port is a balancer or a sensor of the reporter's.
            telling &= bool(mention.ports) or not is_private(addresses)
            unsaid = mention.role is None and addresses not in sources and telling
            if (unsaid and not _BYSTANDER_LINE.search(one.line)) or is_reply:
                tally = tallies[addresses]
                if is_reply:
                    tally.source = 0
                    sources.discard(addresses)
                score = Score.COMPANION if one.is_log or is_reply else Score.SENTENCE
                tally.add_destination(score, one.line, () if is_reply else mention.ports)


def _ranked(
    tallies: Tallies,
    sources: set[AddressRange],
    barred: set[AddressRange],
    *,
    guess: Hint | None,
    masked: bool,
) -> list[AddressRange]:
    """Return the possible destinations, the likeliest first.

    `guess`: if there is no other destination, the least hint that makes an address one that the
    report only mentions; None if no hint is enough.
    """
    barred = barred | sources
    eligible = {
        addresses: tally
        for addresses, tally in tallies.items()
        if addresses not in barred and not is_too_wide(addresses) and not tally.is_only_bystander()
    }
    named = [found for found, tally in eligible.items() if tally.is_named(masked=masked)]
    # With only a private address, an address that a sentence mentions may be the public one.
    if guess is None or not all(map(is_private, named)):
        return sorted(named, key=lambda found: tallies[found].rank())
    nearby = {_neighbourhood(source) for source in sources}
    members: dict[str, set[AddressRange]] = {}
    for addresses, tally in tallies.items():
        for name in tally.lists:
            members.setdefault(name, set()).add(addresses)
    for addresses, tally in tallies.items():
        if tally.destination or tally.source or tally.is_bystander or tally.hint < guess:
            continue
        if is_private(addresses) and not tally.nearby_ports:
            continue
        if any(len(members[name]) > 1 for name in tally.lists):
            continue
        # A network that is only mentioned is somebody's allocation.
        alone = addresses.size == 1 and _neighbourhood(addresses) not in nearby
        if alone:
            ports = tuple(tally.nearby_ports)[:MAX_PORTS]
            tally.add_destination(Score.ALONE, tally.line, ports)
    found = [addresses for addresses, tally in eligible.items() if tally.destination]
    return sorted(found, key=lambda addresses: tallies[addresses].rank())


def _without_companions(ranked: list[AddressRange], tallies: Tallies) -> list[AddressRange]:
    """Omit addresses that are only beside a source, if the report names another destination.

    Such an address is a gateway or a sensor of the reporter's.
    """
    if any(tallies[found].is_sure() for found in ranked):
        return [found for found in ranked if not tallies[found].is_companion()]
    return ranked


def _neighbourhood(addresses: AddressRange) -> tuple[int, int]:
    """Return the /24 (or /48) of an address: neighbours likely have the same operator."""
    return addresses.family, addresses.first >> (8 if addresses.family == 4 else 80)


def _without_odd(
    ranked: list[AddressRange], tallies: Tallies, sources: set[AddressRange]
) -> tuple[list[AddressRange], bool]:
    """Drop private and documentation addresses if the report has real destinations.

    Also return whether only private addresses remain.
    """
    uses_examples = all(map(is_documentation, sources))

    def oddness(addresses: AddressRange) -> int:
        if is_private(addresses):
            return 2
        return 1 if is_documentation(addresses) and not uses_examples else 0

    for level in (0, 1, 2):
        chosen = [found for found in ranked if oddness(found) <= level]
        examples = any(oddness(found) == 1 for found in ranked)
        sure = any(tallies[found].is_named(masked=False) for found in chosen)
        if sure or (chosen and not examples):
            if not sure:
                # A public address has the ports of the private one behind it.
                private = set().union(
                    *(tallies[found].ports for found in ranked if is_private(found))
                )
                for found in chosen:
                    tallies[found].ports = tallies[found].ports or private
            return chosen, level > 1
    return ranked, any(map(is_private, ranked))


def _candidate(addresses: AddressRange, tally: Tally) -> Candidate:
    ports = ALL_PORTS
    if 0 < len(tally.ports) <= MAX_PORTS:
        ports = normal_ports((port, port) for port in tally.ports)
    evidence = sorted(tally.evidence, key=lambda item: -item[0])[:MAX_SHOWN]
    return Candidate(
        Destination(*addresses, ports), tuple(line for _, line in evidence), tally.total()
    )
