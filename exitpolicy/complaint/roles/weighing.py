"""Whom the report is about: the candidates for the destination, with the lines that speak for them.

Other readers of abuse reports take the source out of them, which is the relay itself. Here every
address gets a role by general evidence (names of keys and columns, arrows, the shape of log
lines, words of direction, whose the address is said to be), the sources are settled first, and
what stands opposite to a source is a destination.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from exitpolicy.complaint.extract.addresses import Key, is_documentation, is_private, too_wide
from exitpolicy.complaint.language.vocabulary import pattern
from exitpolicy.complaint.model import Candidate
from exitpolicy.complaint.roles.evidence import LOUD, Evidence, Sighting
from exitpolicy.complaint.roles.scores import Force, Role
from exitpolicy.core.addresses import AddressRange
from exitpolicy.core.destination import Destination
from exitpolicy.core.ports import ALL_PORTS, normal_ports

MAX_CANDIDATES: Final = 100
MAX_EVIDENCE: Final = 3
MAX_PORTS: Final = 16
"""With more ports than these a destination is meant with all of them."""
_BY_NAME: Final = 60
"""Evidence from here on outweighs that the address is elsewhere named for another reason."""
_SURE: Final = 40
"""Evidence from here on is about the address itself, not only about its presence."""
_BYSTANDER: Final = pattern(r"<<bystander line>>")
_VARYING: Final = re.compile(r"[0-9A-Fa-f.:]{2,}|\d")
_BLANKS: Final = re.compile(r"\s+")


@dataclass(slots=True)
class _Weight:
    """What speaks for an address being a source, and for it being a destination."""

    source: int = 0
    source_lines: int = 0
    destination: int = 0
    destination_lines: int = 0
    ports: set[int] = field(default_factory=set)
    evidence: list[tuple[int, str]] = field(default_factory=list)
    unsaid: set[int] = field(default_factory=set)
    """Ports beside it in any line."""
    loud: int = 0
    """Times it was seen where a report may name its victim."""
    bystander: bool = False
    """Whether any line names it for another reason than an attack."""
    hinted: bool = False
    """Whether a line that names it without a role speaks of an attack or of a host."""
    line: str = ""
    order: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came out of weighing the evidence."""

    candidates: tuple[Candidate, ...]
    sources: tuple[str, ...]
    own_seen: bool
    """Whether an own address is named anywhere."""
    protected_seen: bool
    odd_only: bool
    """Whether there are only private or documentation addresses among real ones."""
    left_out: int
    """How many more candidates there were than are kept."""


def weigh(
    evidence: Evidence,
    own: Collection[Destination],
    protected: Collection[Destination],
    *,
    attack: bool = True,
) -> Verdict:
    """Decide which addresses are destinations.

    `attack`: whether the complaint is of a kind that has a host as its victim. A phishing site or
    a threat mostly has none, so that a link in it is not taken for one.
    """
    weights = _weights(evidence, own)
    own_keys = {key for key in weights if _is_among(key, own)}
    sources = _sources(weights, own_keys)
    _add_listed(evidence, weights, sources)
    _add_companions(evidence, weights, sources, own_keys)
    guarded = {key for key in weights if _is_among(key, protected)}
    guess = not evidence.masked and bool(sources)
    ranked = _ranked(weights, sources, own_keys | guarded, guess=guess, masked=evidence.masked)
    ranked = [key for key in ranked if attack or weights[key].destination != Force.URL]
    ranked, odd = _without_odd(ranked, weights, sources)
    accused = sorted((key for key in sources if key in weights), key=lambda key: weights[key].order)
    return Verdict(
        tuple(_candidate(key, weights[key]) for key in ranked[:MAX_CANDIDATES]),
        tuple(AddressRange(*key).text() for key in accused[:MAX_CANDIDATES]),
        bool(own_keys),
        any(weights[key].destination > weights[key].source for key in guarded),
        odd,
        max(0, len(ranked) - MAX_CANDIDATES),
    )


def _is_among(key: Key, destinations: Collection[Destination]) -> bool:
    return any(destination.overlaps(Destination(*key)) for destination in destinations)


def _weights(evidence: Evidence, own: Collection[Destination]) -> dict[Key, _Weight]:
    weights: dict[Key, _Weight] = {}
    ours = {s.key for record in evidence.records for s in record.sightings if _is_among(s.key, own)}
    for record in evidence.records:
        # A row about somebody else's host, in a list for a whole network, is not about this relay.
        accused = [s.key for s in record.sightings if s.role is Role.SOURCE]
        foreign = bool(ours and accused) and not any(s.key in ours for s in record.sightings)
        for sighting in record.sightings:
            weight = weights.setdefault(sighting.key, _Weight(order=len(weights)))
            weight.line = weight.line or record.line
            if sighting.role is Role.BYSTANDER:
                weight.bystander = True
                continue
            if sighting.quiet and sighting.force < LOUD:
                continue
            if ours and sighting.key not in ours and _is_your_in_passing(sighting):
                weight.hinted |= record.hinting
                continue  # "a server all its own" is "all your own" in Italian
            if sighting.titled and ours and sighting.key not in ours:
                continue  # a subject may name the victim as well
            weight.hinted |= record.hinting or bool(sighting.ports)
            weight.loud += 1
            weight.unsaid.update(sighting.ports)
            if sighting.role is Role.SOURCE:
                weight.source = max(weight.source, sighting.force)
                weight.source_lines += 1
            elif sighting.role is Role.DESTINATION:
                force = min(sighting.force, _SURE - 5) if foreign else sighting.force
                _speak_for(weight, force, record.line, () if foreign else sighting.ports)
    return weights


def _is_your_in_passing(sighting: Sighting) -> bool:
    """Tell whether no more than a possessive, in a sentence about no attack, accuses."""
    return sighting.role is Role.SOURCE and Force.URL < sighting.force < Force.PREPOSITION


def _speak_for(weight: _Weight, force: int, line: str, ports: tuple[int, ...]) -> None:
    weight.destination = max(weight.destination, force)
    weight.destination_lines += 1
    if len(weight.ports) <= MAX_PORTS:
        weight.ports.update(ports)
    if len(weight.evidence) < 50 and (force, line) not in weight.evidence:
        weight.evidence.append((force, line))


def _sources(weights: dict[Key, _Weight], own: set[Key]) -> set[Key]:
    """Return the addresses that are accused; where the report names none so, the likeliest."""
    sources = own | {
        key
        for key, weight in weights.items()
        if _source_weight(weight) > _destination_weight(weight)
    }
    if sources:
        return sources
    unnamed = [key for key, weight in weights.items() if not weight.destination and weight.loud]
    if unnamed:
        # Every complaint names whom it accuses, and not every one names whom it was done to.
        sources.add(max(unnamed, key=lambda key: (weights[key].loud, -weights[key].order)))
    return sources


def _source_weight(weight: _Weight) -> int:
    return weight.source + min(10, weight.source_lines) if weight.source else 0


def _destination_weight(weight: _Weight) -> int:
    return weight.destination + min(10, weight.destination_lines) if weight.destination else 0


def _add_listed(evidence: Evidence, weights: dict[Key, _Weight], sources: set[Key]) -> None:
    """Take what stands in a list of the sources, one a line, for a source."""
    alone = [r for r in evidence.records if len(r.sightings) == 1 and r.sightings[0].role is None]
    shapes = {_shape(r.line) for r in alone if r.sightings[0].key in sources}
    if not shapes:
        return
    for record in alone:
        key = record.sightings[0].key
        if not weights[key].destination and _shape(record.line) in shapes:
            sources.add(key)


def _shape(line: str) -> str:
    """Return a line without what differs between the lines of a list."""
    return _BLANKS.sub(" ", _VARYING.sub("0", line)).strip()[:120]


def _add_companions(
    evidence: Evidence, weights: dict[Key, _Weight], sources: set[Key], own: set[Key]
) -> None:
    """Count what stands in one line with a source, and has no other role, as its destination."""
    nearby = {_neighbourhood(source) for source in sources}
    for record in evidence.records:
        sightings = record.sightings
        if len(sightings) < 2 or not any(s.key in sources for s in sightings):
            continue
        answered = any(s.key in own and s.role is Role.DESTINATION for s in sightings)
        for sighting in sightings:
            if sighting.quiet or sighting.role is Role.BYSTANDER or sighting.key in own:
                continue
            # A packet to the relay is an answer: who sent it is the one that was attacked.
            reply = answered and sighting.role is Role.SOURCE
            beside = _neighbourhood(sighting.key) in nearby
            telling = record.loglike or (record.acting and not beside)
            unsaid = sighting.role is None and sighting.key not in sources and telling
            if (unsaid and not _BYSTANDER.search(record.line)) or reply:
                weight = weights[sighting.key]
                if reply:
                    weight.source = 0
                    sources.discard(sighting.key)
                force = Force.COMPANION if record.loglike or reply else Force.SENTENCE
                _speak_for(weight, force, record.line, sighting.ports if not reply else ())


def _ranked(
    weights: dict[Key, _Weight],
    sources: set[Key],
    barred: set[Key],
    *,
    guess: bool,
    masked: bool,
) -> list[Key]:
    def strength(key: Key) -> tuple[int, int, int]:
        weight = weights[key]
        lines = min(9, weight.destination_lines)
        return -(weight.destination + lines), -weight.destination_lines, weight.order

    def eligible(key: Key) -> bool:
        weight = weights[key]
        by_chance = weight.bystander and weight.destination < _BY_NAME
        return key not in sources and key not in barred and not too_wide(key) and not by_chance

    least = LOUD if masked else _SURE
    named = [key for key, w in weights.items() if w.destination >= least and eligible(key)]
    # A private address alone is no end: what a sentence names beside it may be the public one.
    if (named and not all(map(is_private, named))) or not guess:
        return sorted(named, key=strength)
    nearby = {_neighbourhood(source) for source in sources}
    for key, weight in weights.items():
        if weight.destination or weight.source or weight.bystander or not weight.hinted:
            continue
        if is_private(key) and not weight.unsaid:
            continue
        # A network that is only named is somebody's allocation.
        single = key[1] == key[2] and _neighbourhood(key) not in nearby
        if single and not _is_bystanders(weight.line):
            _speak_for(weight, Force.ALONE, weight.line, tuple(weight.unsaid)[:MAX_PORTS])
    return sorted((k for k, w in weights.items() if w.destination and eligible(k)), key=strength)


@lru_cache(maxsize=64)
def _is_bystanders(line: str) -> bool:
    """Tell whether a line speaks of who only stood by; a line may name thousands of addresses."""
    return _BYSTANDER.search(line) is not None


def _neighbourhood(key: Key) -> tuple[int, int]:
    """Return the /24 (or /48) of an address: its neighbours are likely one operator's."""
    return key[0], key[1] >> (8 if key[0] == 4 else 80)


def _without_odd(
    ranked: list[Key], weights: dict[Key, _Weight], sources: set[Key]
) -> tuple[list[Key], bool]:
    """Drop private addresses and examples where the report has real destinations."""
    written_in_examples = all(is_documentation(key) for key in sources)

    def oddness(key: Key) -> int:
        if is_private(key):
            return 2
        return 1 if is_documentation(key) and not written_in_examples else 0

    for level in (0, 1, 2):
        chosen = [key for key in ranked if oddness(key) <= level]
        others = [key for key in ranked if oddness(key) == 1]
        sure = any(weights[key].destination >= _SURE for key in chosen)
        if sure or (chosen and not others):
            if not sure:
                _inherit_ports(weights, chosen, ranked)
            return chosen, level > 1
    return ranked, any(map(is_private, ranked))


def _inherit_ports(weights: dict[Key, _Weight], chosen: list[Key], ranked: list[Key]) -> None:
    """Give a public address the ports at which logs name the private one behind it."""
    private = set().union(*(weights[key].ports for key in ranked if is_private(key)))
    for key in chosen:
        weights[key].ports = weights[key].ports or private


def _candidate(key: Key, weight: _Weight) -> Candidate:
    ports = ALL_PORTS
    if 0 < len(weight.ports) <= MAX_PORTS:
        ports = normal_ports((port, port) for port in weight.ports)
    evidence = sorted(weight.evidence, key=lambda item: -item[0])[:MAX_EVIDENCE]
    return Candidate(
        Destination(*key, ports),
        tuple(line for _, line in evidence),
        min(100, weight.destination + min(9, weight.destination_lines)),
    )
