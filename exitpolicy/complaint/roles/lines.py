# ruff: noqa: RUF001
# The words of reports in other alphabets are part of this module.
"""Reading a text line by line: what each says of its addresses, and of those of the next ones."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from exitpolicy.complaint.extract.addresses import Mention, is_nowhere, mentions_in, refanged
from exitpolicy.complaint.extract.ports import (
    apply_ports,
    keyed_ports,
    ports_said,
    positional_ports,
)
from exitpolicy.complaint.extract.tables import Table, is_rule, read_heading
from exitpolicy.complaint.input.quoting import unquoted
from exitpolicy.complaint.input.sentences import is_row, looks_logged, unwrapped
from exitpolicy.complaint.language.senses import (
    is_about_acting,
    is_about_host,
    is_filler,
    label_of,
    sense_of,
    words_of,
)
from exitpolicy.complaint.language.vocabulary import pattern, words
from exitpolicy.complaint.roles.context import LINK, scan_back
from exitpolicy.complaint.roles.evidence import (
    LOUD,
    MAX_RECORDS,
    MAX_SIGHTINGS,
    Evidence,
    Record,
    Sighting,
)
from exitpolicy.complaint.roles.one_line import roles_in
from exitpolicy.complaint.roles.scores import Finding, Force, Role

MAX_OTHERS: Final = 4_000
"""From here on only lines that name an own address are: in a long list, ours may come late."""
MAX_CONTEXT: Final = 20_000
"""Lines without addresses that are read for what they say about the next ones."""
LINE_COST: Final = 50
"""Characters of the budget that a line costs in addition to its own."""
MAX_SHOWN: Final = 400
"""Characters of a line that are kept as evidence."""
MAX_LINE: Final = 2_000
"""Longer lines are read in pieces of this length."""
_HEADER_LINE: Final = pattern(
    r"^\s{0,4}(?:received|x-(?!arf)[\w-]{1,40}|authentication-results|received-spf"
    r"|dkim-[\w-]{1,20}|arc-[\w-]{1,30}|return-path|delivered-to|message-id|in-reply-to"
    r"|references|mime-version|user-agent|content-[\w-]{1,30}|envelope-[\w-]{1,20}"
    r"|thread-[\w-]{1,20}|list-[\w-]{1,20}|reply-to|precedence)\s?:\s"
)
_QUIET: Final = pattern(r"<<quiet>>")
"""Lines that name addresses for another reason than the incident."""
_MASKED: Final = pattern(r"<<masked>>")
_TRACE: Final = re.compile(r"^\s{0,4}\d{1,2}\s.{0,80}\d\s?ms\b")
_SIGNATURE: Final = re.compile(r"^(?:--|—)$")
_RESUMED: Final = pattern(
    r"^\s{0,4}(?:[-_=*]{5,}|[-_=]{3,}.{3,60}[-_=]{3,}\s*$|<<greeting>>"
    r"|[^\W\d]{2,12}\s?[:：]\s.{0,80}@)"
)
_CONTACT: Final = pattern(r"\b(?:<<contact>>)\b\s?[.:]")
_CLOSING: Final = pattern(r"^\s{0,4}(?:<<closing>>)[\s,.!\w-]{0,30}$")
_REFERRING: Final = pattern(r"\s{0,4}(?:<<referring>>)(?!\w)")
_HOST_ABOVE: Final = re.compile(
    r"\s{0,8}[^\W\d_]{3,12}\s?:\s{1,12}(?:[a-z][\w-]{0,60}\.){1,6}[a-z]{2,20}\.?\s*$", re.IGNORECASE
)
_ITEM: Final = re.compile(r"\s{0,12}(?:[-*•·+]|\(?\d{1,3}[.)])?\s{0,4}\S{0,2}$")
"""What stands before the address of a list's item."""
_LEADER: Final = re.compile(r"\s?(?:\.{3,}|(?:\. ){3,}|_{4,})\s?:?\s?(?=\S)")
"""What leads the eye from a name to its value."""
_SCHEME_PORTS: Final = {"http": 80, "https": 443, "ftp": 21, "ssh": 22, "rdp": 3389}
_SCHEME: Final = re.compile(r"\b(https?|ftp|ssh|rdp)://(?:[^\s/@]{1,60}@)?\[?$", re.IGNORECASE)
_HOST: Final = re.compile(
    r"(?<![\w@.-])((?:[a-z0-9](?:[a-z0-9-]{0,40}[a-z0-9])?\.){1,5}[a-z]{2,12})(?![\w@-]|\.\w)",
    re.IGNORECASE,
)
_PUBLIC_RESOLVERS: Final = frozenset(
    mention.key
    for mention in mentions_in(
        "8.8.8.8 8.8.4.4 1.1.1.1 1.0.0.1 9.9.9.9 149.112.112.112 208.67.222.222 208.67.220.220 "
        "77.88.8.8 77.88.8.1"
    )
)
"""Google, Cloudflare, Quad9, OpenDNS and Yandex: everybody's configuration names them."""


@dataclass(slots=True)
class _Place:
    """Where in a text the reader is: what the lines above say about the next one."""

    table: Table | None = None
    table_age: int = 0
    heading: Finding | None = None
    heading_age: int = 0
    in_headers: bool = False
    signature: int = 0
    last_age: int = 99
    listed: list[Sighting] = field(default_factory=list)
    """The addresses of the lines directly above, all of one role."""
    said: str = ""
    """The sentence before; below a list, the one that announced it."""
    announced: bool = False
    """Whether that one ends with a colon, so that this one is what it speaks of."""
    port: tuple[int, ...] = ()
    port_age: int = 99

    def remember(self, sightings: list[Sighting]) -> None:
        """Keep the addresses of a line, with those directly above it if they are of one role."""
        role = sightings[-1].role
        if self.last_age > 1 or (self.listed and self.listed[-1].role is not role):
            self.listed = []
        self.listed.extend(sightings)
        self.last_age = 0

    def acting(self, line: str) -> bool:
        """Tell whether a line, or what it refers to, speaks of something done to somebody."""
        refers = self.announced or _REFERRING.match(line) is not None
        return is_about_acting(line) or (refers and is_about_acting(self.said))

    def shows_links(self) -> bool:
        """Tell whether what is announced are links to what was done, not to more about it."""
        return self.announced and LINK.search(self.said) is None


def collect(text: str, evidence: Evidence, *, subject: bool = False) -> None:
    """Add what the lines of a text say to the evidence."""
    place = _Place()
    for whole in unwrapped(_affordable(text, evidence)):
        for line in _pieces(whole):
            if len(evidence.records) >= MAX_RECORDS or evidence.sightings >= MAX_SIGHTINGS:
                evidence.full = True
                return
            _read_line(line, place, evidence, subject=subject)


def _affordable(text: str, evidence: Evidence) -> Iterator[str]:
    """Yield the lines of a text without quotation marks, as long as there is budget.

    After that, only lines that name an own address.
    """
    for line in text.split("\n"):
        if evidence.budget > 0 or any(own in line for own in evidence.own):
            bare = unquoted(line)
            yield bare[: max(MAX_LINE, evidence.budget)]
            evidence.budget -= len(bare) + LINE_COST
        else:
            evidence.full = True


def _pieces(line: str) -> Iterator[str]:
    """Cut a line that is too long, where possible between two words."""
    start = 0
    while len(line) - start > MAX_LINE:
        low, high = start + MAX_LINE // 2, start + MAX_LINE
        cut = max(line.rfind(mark, low, high) for mark in (" ", ",", "}"))
        cut = cut + 1 if cut > 0 else high
        yield line[start:cut]
        start = cut
    yield line[start:]


def _read_line(line: str, place: _Place, evidence: Evidence, *, subject: bool) -> None:
    if not line.strip():
        place.in_headers = False
        place.table_age += 1
        place.heading_age += 1
        place.last_age += 2
        return
    if _skip_header(line, place):
        return
    line = _LEADER.sub(": ", refanged(line))
    if len(evidence.records) >= MAX_OTHERS and not any(text in line for text in evidence.own):
        evidence.full = True
        return
    mentions = mentions_in(line) if _may_hold_address(line) else []
    if not evidence.masked and _MASKED.search(line):
        senses = (label_of(word) for word in words_of(line[:300]))
        evidence.masked = any(s is not None and s.role is Role.DESTINATION for s in senses)
    place.last_age += 1
    place.port_age += 1
    acting = bool(mentions) and place.acting(line)
    sightings = _sightings(line, mentions, place, acting=acting, subject=subject)
    above = place.said
    listed = mentions and place.announced and _ITEM.match(line[: mentions[0].start])
    if not listed:
        place.said, place.announced = line, line.rstrip().endswith((":", "："))
    if not mentions:
        evidence.context += 1
        if evidence.context <= MAX_CONTEXT:
            _read_context(line, place)
        return
    if line.rstrip().endswith(":"):
        place.heading, place.heading_age = _heading_role(words_of(line[mentions[-1].end :])), 0
    if sightings:
        evidence.sightings += len(sightings)
        loglike = is_row(line) or looks_logged(line)
        speaking = acting or _HOST_ABOVE.match(above) or is_about_host(line)
        hinting = not evidence.understood or bool(speaking)
        evidence.records.append(
            Record(_shown(line, mentions[0]), sightings, loglike, acting, hinting)
        )


def _shown(line: str, first: Mention) -> str:
    """Return what is kept of a line as evidence: all of it, or the part around its addresses."""
    start = 0 if len(line) <= MAX_SHOWN else max(0, first.start - MAX_SHOWN // 3)
    return line[start : start + MAX_SHOWN].strip()


def _may_hold_address(line: str) -> bool:
    return line.count(".") >= 3 or line.count(":") >= 2


def _skip_header(line: str, place: _Place) -> bool:
    """Tell whether the line belongs to a mail header that someone pasted into the text."""
    if _HEADER_LINE.match(line):
        place.in_headers = True
        return True
    if place.in_headers and line[:1] in " \t":
        return True
    place.in_headers = False
    return False


def _read_context(line: str, place: _Place) -> None:
    """Learn from a line without addresses what it says about those that follow."""
    if _SIGNATURE.match(line.strip()):
        place.signature = 40
    elif _RESUMED.match(line):
        place.signature = 0
    elif _CLOSING.match(line):
        place.signature = 12
    elif place.signature:
        place.signature -= 1
    if is_rule(line):
        return
    if line.rstrip().endswith(("->", "=>", "→")):
        place.heading, place.heading_age = Finding(Role.DESTINATION, Force.HEADING), 0
    if table := read_heading(line):
        place.table, place.table_age = table, 0
    else:
        place.table_age += 1
    _read_port_line(line, place)
    stripped = line.strip()
    words = words_of(stripped)[-14:]
    short = len(words) <= 5 and ":" not in stripped
    heading = _heading_role(words) if stripped.endswith((":", "：")) or short else None
    if heading is not None or stripped.endswith((":", "：")):
        place.heading, place.heading_age = heading, 0
    else:
        place.heading_age += 1


def _heading_role(words: list[str]) -> Finding | None:
    """Return what a heading says of the addresses below it: its last telling word does."""
    for word in reversed(words):
        sense = sense_of(word)
        if sense is not None and sense.force is not Force.PREPOSITION:
            return Finding(sense.role, Force.HEADING)
    return None


def _read_port_line(line: str, place: _Place) -> None:
    """Give `Destination port: 22`, on a line of its own, to the address above or below."""
    keyed = keyed_ports(line)
    if not keyed and (said := ports_said(line)):
        keyed = [(None, said)]
    for role, ports in keyed:
        if role is Role.SOURCE:
            continue
        named = [s for s in place.listed if s.role is Role.DESTINATION and not s.ports]
        if not named:
            named = [s for s in place.listed if s.role is None and not s.ports]
            # What has a destination port is the destination, whatever it was called.
            named = named[-1:] if role is Role.DESTINATION else named
        if place.last_age <= 8 and named:
            for sighting in named:
                sighting.ports = ports
                if sighting.role is None and role is Role.DESTINATION:
                    sighting.role, sighting.force = Role.DESTINATION, Force.HEADING
        elif role is Role.DESTINATION or (place.heading and place.heading.role is Role.DESTINATION):
            place.port, place.port_age = ports, 0


def _sightings(
    line: str, mentions: list[Mention], place: _Place, *, acting: bool, subject: bool
) -> list[Sighting]:
    if not mentions:
        return []
    found = roles_in(line, mentions, acting=acting)
    _apply_table(line, mentions, found, place)
    _apply_heading(line, mentions, found, place)
    for left, right in pairwise(mentions):
        positional_ports(line, left, right)
    quiet = _is_quiet(line, place)
    sightings = [
        _sighting(line, mention, finding, quiet=quiet, subject=subject, shown=place.shows_links())
        for mention, finding in zip(mentions, found, strict=True)
        if not is_nowhere(mention.key)
    ]
    apply_ports(line, mentions, sightings)
    _apply_port_above(sightings, place)
    if line.rstrip().endswith(("->", "=>", "→")):
        # A flow that was wrapped: its destination opens the next line.
        place.heading, place.heading_age = Finding(Role.DESTINATION, Force.HEADING), 0
    if sightings:
        place.remember(sightings)
    return sightings


def _sighting(
    line: str,
    mention: Mention,
    finding: Finding | None,
    *,
    quiet: bool,
    subject: bool,
    shown: bool,
) -> Sighting:
    before = line[max(0, mention.start - 100) : mention.start]
    scheme = _SCHEME.search(before)
    if scheme and not mention.ports:
        mention.ports = (_SCHEME_PORTS[scheme[1].lower()],)
    alone = shown and not before[: scheme.start()].strip(" -*•<") if scheme else False
    if scheme and ((finding is None and not alone) or LINK.search(before)):
        quiet = True
    role, force = (finding.role, finding.force) if finding else (None, 0)
    if mention.key in _PUBLIC_RESOLVERS and force < LOUD:
        role = Role.BYSTANDER
    titled = subject and role is None
    if titled:
        role, force = Role.SOURCE, Force.SUBJECT
    return Sighting(mention.key, mention.ports, role, force, quiet, titled)


def _apply_table(
    line: str, mentions: list[Mention], found: list[Finding | None], place: _Place
) -> None:
    if place.table is None or place.table_age > 6:
        return
    roles = place.table.roles(line, mentions)
    if roles is None:
        return
    place.table_age = 0
    for index, finding in enumerate(roles):
        old = found[index]
        if finding is not None and (old is None or old.force < finding.force):
            found[index] = finding
    port = place.table.port(line)
    if port is None:
        return
    for mention, finding in zip(mentions, found, strict=True):
        if finding is not None and finding.role is Role.DESTINATION and not mention.ports:
            mention.ports = (port,)


def _apply_heading(
    line: str, mentions: list[Mention], found: list[Finding | None], place: _Place
) -> None:
    """Let lines that hold little but addresses be what the heading above says they are."""
    rest = line
    for mention in reversed(mentions):
        rest = rest[: mention.start] + " " + rest[mention.end :]
    telling = [word for word in words_of(rest) if not is_filler(word)]
    if len(telling) > 2 or any(found):
        if len(telling) > 2:
            place.heading_age += 3
        return
    if place.heading is not None and place.heading_age <= 3:
        for index in range(len(found)):
            found[index] = place.heading
        place.heading_age = 0
    elif _is_bare_label(rest):
        # `IP: A` in a report, with no word more, is the one that is reported; below the name of a
        # host it is that host's, as nslookup writes it.
        named = _HOST_ABOVE.match(place.said)
        found[0] = None if named else Finding(Role.SOURCE, Force.BARE_LABEL)


def _is_bare_label(text: str) -> bool:
    """Tell whether what stands beside an address is no more than `IP address:`."""
    named, bare = words_of(text), words("address")
    return (
        text.strip(" \t-*•").endswith(":")
        and 0 < len(named) <= 3
        and all(word in bare or len(word) == 1 for word in named)
    )


def _apply_port_above(sightings: list[Sighting], place: _Place) -> None:
    """Give the port that a line above named to the first destination that has none."""
    for sighting in sightings:
        if place.port and place.port_age <= 8 and sighting.role is Role.DESTINATION:
            sighting.ports, place.port = sighting.ports or place.port, ()


def _is_quiet(line: str, place: _Place) -> bool:
    if place.signature:
        place.signature -= 1
    return (
        _QUIET.search(line) is not None
        or _TRACE.match(line) is not None
        or _CONTACT.search(line) is not None
        or (place.signature > 0 and not looks_logged(line))
    )


def host_names(text: str, limit: int = 5) -> tuple[str, ...]:
    """Return names of hosts that a text names as the victim's, without an address."""
    found: dict[str, None] = {}
    for line in text[:200_000].split("\n"):
        plain = refanged(unquoted(line))
        if "." not in plain or _HEADER_LINE.match(plain) or _QUIET.search(plain):
            continue
        for match in _HOST.finditer(plain[:MAX_LINE]):
            back = scan_back(plain[max(0, match.start() - 80) : match.start()])
            if (
                back is not None
                and back.role is Role.DESTINATION
                and not match[1].endswith((".log", ".php"))
            ):
                found.setdefault(match[1].lower())
        if len(found) >= limit:
            break
    return tuple(found)[:limit]
