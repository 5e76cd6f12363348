# ruff: noqa: RUF001
# The words of reports in other alphabets are part of this module.
"""Whom the report is about: the candidates for the destination, with the lines that speak for them.

Other readers of abuse reports take the source out of them, which is the relay itself. Here every
address gets a role by general evidence (names of keys and columns, arrows, the shape of log
lines, words of direction, whose the address is said to be), the sources are settled first, and
what stands opposite to a source is a destination.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from typing import Final

from exitpolicy.complaint.lexicon import Force, Role, is_filler, label_of, sense_of, words_of
from exitpolicy.complaint.mentions import (
    Key,
    Mention,
    is_documentation,
    is_nowhere,
    is_private,
    mentions_in,
    ports_in,
    refanged,
    too_wide,
)
from exitpolicy.complaint.model import Candidate
from exitpolicy.complaint.roles import (
    COMPANION,
    LINK,
    URL,
    Finding,
    positional_ports,
    roles_in,
    scan_back,
)
from exitpolicy.complaint.tables import Table, is_rule, read_heading
from exitpolicy.destination import ALL_PORTS, Destination, address_range_text, normal_ports

MAX_RECORDS: Final = 5_000
"""Lines with addresses that are weighed; a report says the same long before."""
MAX_OTHERS: Final = 4_000
"""From here on only lines that name an own address are: in a long list, ours may come late."""
MAX_SIGHTINGS: Final = 20_000
"""Addresses, counted as often as they occur, that are weighed."""
MAX_CONTEXT: Final = 20_000
"""Lines without addresses that are read for what they say about the next ones."""
MAX_LINE: Final = 2_000
"""Longer lines are read in pieces of this length."""
MAX_CANDIDATES: Final = 100
MAX_EVIDENCE: Final = 3
MAX_PORTS: Final = 16
"""With more ports than these a destination is meant with all of them."""

HEADING: Final = 74
SUBJECT: Final = 76
"""Forces: the words of a heading above, the subject's accusation."""
_BARE_LABEL: Final = 30
_ALONE: Final = 20
_LOUD: Final = 80
"""Evidence that counts even in places where reports do not name their victims."""
_SURE: Final = 40
"""Evidence from here on is about the address itself, not only about its presence."""

_HEADER_LINE: Final = re.compile(
    r"^\s{0,4}(?:received|x-(?!arf)[\w-]{1,40}|authentication-results|received-spf"
    r"|dkim-[\w-]{1,20}|arc-[\w-]{1,30}"
    r"|return-path|delivered-to|message-id|in-reply-to|references|mime-version|user-agent"
    r"|content-[\w-]{1,30}"
    r"|envelope-[\w-]{1,20}|thread-[\w-]{1,20}|list-[\w-]{1,20}|reply-to|precedence)\s?:\s",
    re.IGNORECASE,
)
_IRRELEVANT: Final = re.compile(
    r"^\s{0,8}(?:inet6?num|netrange|cidr|route6?|origin|nserver|netname|range|inetnum"
    r"|nethandle|aut-num"
    r"|network|ip range|allocated to)\s?:"
    r"|name\s?servers?\b.{0,20}:|\bdns-?servers?\s?:|dnsbl|spamhaus\.org/|\.sbl\."
    r"|whitelist|allow-?list|allow list"
    r"|(?:sent|submitted|generated|reported) (?:by|from|via) (?:our )?(?:report|mail|abuse"
    r"|system|ticket|relay|sensor|manager)"
    r"|outgoing mail|mail ?gateway of|(?:this|diese|questa) (?:e-?mail|message|nachricht"
    r"|mail|notification|notice|report) (?:was|wurde|is|has been) (?:sent|generated"
    r"|versandt|submitted)"
    r"|office network|pgp|fingerprint|\bversion\b|\bfirmware\b|\brelease\b"
    r"|\bmirrors?\b|\btracker\b|info.?hash|torrent hash|look-?up\b|\b(?:vat|ust-?id|tax"
    r"|p\.?\s?iva)\b",
    re.IGNORECASE,
)
_MASKED: Final = re.compile(
    r"\*{2,}|(?<!\w)x{1,3}\.|\.x{1,3}(?!\w)|redacted|masked|removed|hidden|anonymi|withheld",
    re.IGNORECASE,
)
_TRACE: Final = re.compile(r"^\s{0,4}\d{1,2}\s.{0,80}\d\s?ms\b")
_SIGNATURE: Final = re.compile(r"^(?:--|—)$")
_RESUMED: Final = re.compile(
    r"^\s{0,4}(?:[-_=*]{5,}|[-_=]{3,}.{3,60}[-_=]{3,}\s*$|(?:dear|hello|hi|greetings|sehr "
    r"geehrte|guten tag|hallo|bonjour|madame|monsieur"
    r"|gentil|buongiorno|salve|estimad|hola|prezad|olá|geachte|beste|szanown|dzień dobry"
    r"|здравств|уважаем|добрый|dobrý den|vážen|hej|様)\b"
    r"|[^\W\d]{2,12}\s?[:：]\s.{0,80}@)",
    re.IGNORECASE,
)
_CONTACT: Final = re.compile(
    r"\b(?:tel|phone|fax|telefon|telefono|téléphone|teléfono|telefoon|тел|mobile|mob|vat"
    r"|ust-id|p\.?\s?iva|iban"
    r"|hotline|zip|street|straße|headquarters|noc)\b\s?[.:]|電話|电话",
    re.IGNORECASE,
)
_CLOSING: Final = re.compile(
    r"^\s{0,4}(?:(?:with )?(?:kind|best|warm|many)?\s?(?:regards|wishes|thanks)|sincerely"
    r"|yours|cheers|thank you|thanks"
    r"|mit freundlichen grüßen|mit freundlichem gruß|freundliche grüße|viele grüße|beste "
    r"grüße|mfg|gruß"
    r"|cordiali saluti|distinti saluti|saluti|cordialement|bien à vous|salutations|saludos"
    r"|un saludo|atentamente"
    r"|atenciosamente|cumprimentos|met vriendelijke groet|groeten|z poważaniem|pozdrawiam"
    r"|с уважением"
    r"|s pozdravem|med vänlig hälsning|mvh|hälsningar|med venlig hilsen|terveisin|以上"
    r"|よろしく|此致|敬上)"
    r"[\s,.!\w-]{0,30}$",
    re.IGNORECASE,
)
_LOGLIKE: Final = re.compile(
    r"\d{1,2}:\d{2}:\d{2}|\d{4}-\d{2}-\d{2}|[=:|\t;,\"]\S{0,60}[=:|\t;,\"]"
)
_PORT_VALUE: Final = re.compile(
    r"[:=：>\t]\s{0,6}[\"'\[]?\s?(?:(?:tcp|udp)[ /]{1,2})?"
    r"(\d{1,5}(?:(?:\s?[,/;]\s?|\s(?:and|und|et|e|y|и)\s)\d{1,5}){0,30})(?![\w.-])",
    re.IGNORECASE,
)
_KEY: Final = re.compile(r"[^\d:=,;|\t\n\"'{}]{1,42}\Z")
_HAS_PORT: Final = re.compile(
    r"port|puerto|poort|порт|ポート|端口|포트|[ds]pt(?![a-z])", re.IGNORECASE
)
_PORT_PART: Final = re.compile(
    r"^(?:[ds]p(?:or)?t|.{0,12}ports?|porta|porte|puertos?|poort\w*|порт\w*|porty?"
    r"|portti\w*)$|ポート|端口|포트",
    re.IGNORECASE,
)
_PORT_BEFORE: Final = re.compile(
    r"(?:ports?|porta|puerto|poort|porte|порт[а-яё]{0,2}|portti\w*|포트|ポート"
    r"|端口)\s{0,2}[:#]?\s{0,2}(\d{1,5})"
    r"(?:/(?:tcp|udp))?[\s)]{0,3}(?:[^\W\d]{1,12}\s{1,2}){0,4}[(\s]{0,2}$"
    r"|[\s(](\d{1,5})/(?:tcp|udp)\)?\s(?:[^\W\d]{1,12}\s){0,4}$",
    re.IGNORECASE,
)
_PORT_SAID: Final = re.compile(
    r"(?<![^\W_])(?:ports?|porta|puerto|poort|porte|порт[а-яё]{0,2}|ポート|端口"
    r"|포트)\s(\d{1,5}(?:(?:,\s?|\s(?:and|und|et|e|y|и)\s)\d{1,5}){0,16})(?![\d.-]\d)",
    re.IGNORECASE,
)
_BYSTANDER: Final = re.compile(
    r"(?<!\w)ASN?\s?\d{3,6}(?!\w)|\bgateway\b|\bconsole\b|looking glass|redirect"
    r"|weiterleit|\bother ip|\bandere ip"
    r"|\baltr[oi] ip|\botr[ao]s? ip|\bautre ip|zugestellt|delivered|\bheader\b|\bproxy\b"
    r"|\bproxies\b",
    re.IGNORECASE,
)
_VARYING: Final = re.compile(r"[0-9A-Fa-f.:]{2,}|\d")
_SCHEME_PORTS: Final = {"http": 80, "https": 443, "ftp": 21, "ssh": 22, "rdp": 3389}
_SCHEME: Final = re.compile(r"\b(https?|ftp|ssh|rdp)://(?:[^\s/@]{1,60}@)?\[?$", re.IGNORECASE)
_HOST: Final = re.compile(
    r"(?<![\w@.-])((?:[a-z0-9](?:[a-z0-9-]{0,40}[a-z0-9])?\.){1,5}[a-z]{2,12})(?![\w@-]|\.\w)",
    re.IGNORECASE,
)


@dataclass(slots=True)
class Sighting:
    """An address in a line, with what the line says of it."""

    key: Key
    ports: tuple[int, ...]
    role: Role | None
    force: int
    quiet: bool
    """Whether the line is no place where a report names its victim."""


@dataclass(slots=True)
class Record:
    """A line with addresses."""

    line: str
    sightings: list[Sighting]
    loglike: bool


@dataclass(slots=True)
class Evidence:
    """All that a report says about addresses, before it is weighed."""

    own: tuple[str, ...] = ()
    """The relay's addresses as reports write them."""
    records: list[Record] = field(default_factory=list)
    sightings: int = 0
    context: int = 0
    masked: bool = False
    """Whether the report says that it does not name the destination."""
    full: bool = False
    """Whether there were more lines than are weighed."""


@dataclass(slots=True)
class _Place:
    """Where in a text the reader is: what the lines above say about the next one."""

    table: Table | None = None
    table_age: int = 0
    heading: Finding | None = None
    heading_age: int = 0
    in_headers: bool = False
    signature: int = 0
    last: Sighting | None = None
    last_age: int = 99
    port: tuple[int, ...] = ()
    port_age: int = 99


def collect(text: str, evidence: Evidence, *, subject: bool = False) -> None:
    """Add what the lines of a text say to the evidence."""
    place = _Place()
    for whole in text.split("\n"):
        for line in _pieces(whole):
            if len(evidence.records) >= MAX_RECORDS or evidence.sightings >= MAX_SIGHTINGS:
                evidence.full = True
                return
            _read_line(line, place, evidence, subject=subject)


def _pieces(line: str) -> Iterable[str]:
    """Cut lines that are too long, where possible between two words."""
    while len(line) > MAX_LINE:
        cut = max(line.rfind(mark, MAX_LINE // 2, MAX_LINE) for mark in (" ", ",", "}"))
        cut = cut + 1 if cut > 0 else MAX_LINE
        yield line[:cut]
        line = line[cut:]
    yield line


def _read_line(line: str, place: _Place, evidence: Evidence, *, subject: bool) -> None:
    line = _unquoted(line)
    if not line.strip():
        place.in_headers = False
        place.table_age += 1
        place.heading_age += 1
        place.last_age += 2
        return
    if _skip_header(line, place):
        return
    line = refanged(line)
    if len(evidence.records) >= MAX_OTHERS and not any(text in line for text in evidence.own):
        evidence.full = True
        return
    mentions = mentions_in(line) if _may_hold_address(line) else []
    if not evidence.masked and _MASKED.search(line):
        senses = (label_of(word) for word in words_of(line[:300]))
        evidence.masked = any(s is not None and s.role is Role.DESTINATION for s in senses)
    place.last_age += 1
    place.port_age += 1
    if not mentions:
        evidence.context += 1
        if evidence.context <= MAX_CONTEXT:
            _read_context(line, place)
        return
    sightings = _sightings(line, mentions, place, subject=subject)
    if line.rstrip().endswith(":"):
        place.heading, place.heading_age = _heading_role(words_of(line[mentions[-1].end :])), 0
    if sightings:
        evidence.sightings += len(sightings)
        loglike = _LOGLIKE.search(line) is not None
        evidence.records.append(Record(line.strip()[:300], sightings, loglike))


def _unquoted(line: str) -> str:
    """Drop the marks of quotation."""
    stripped = line.lstrip(" \u00a0")
    while stripped.startswith(">") and not stripped.startswith(">>>>"):
        line = stripped[1:].removeprefix(" ")
        stripped = line.lstrip(" \u00a0")
    return line


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
        place.heading, place.heading_age = Finding(Role.DESTINATION, HEADING), 0
    if table := read_heading(line):
        place.table, place.table_age = table, 0
    else:
        place.table_age += 1
    _read_port_line(line, place)
    stripped = line.strip()
    words = words_of(stripped)[-14:]
    heading = _heading_role(words) if stripped.endswith((":", "：")) or len(words) <= 5 else None
    if heading is not None or stripped.endswith((":", "：")):
        place.heading, place.heading_age = heading, 0
    else:
        place.heading_age += 1


def _heading_role(words: list[str]) -> Finding | None:
    """Return what a heading says of the addresses below it: its last telling word does."""
    for word in reversed(words):
        sense = sense_of(word)
        if sense is not None and sense.force is not Force.PREPOSITION:
            return Finding(sense.role, HEADING)
    return None


def _read_port_line(line: str, place: _Place) -> None:
    """Give `Destination port: 22`, on a line of its own, to the address above or below."""
    keyed = _keyed_ports(line)
    if not keyed and not _LOGLIKE.search(line) and (said := _PORT_SAID.search(line)):
        numbers = (int(text) for text in ports_in(said[1]))
        keyed = [(None, tuple(number for number in numbers if 0 < number < 65536))]
    for role, ports in keyed:
        if role is Role.SOURCE:
            continue
        last = place.last
        near = last is not None and place.last_age <= 8 and not last.ports
        if last is not None and near and (role is None or last.role is Role.DESTINATION):
            last.ports = ports
        elif role is Role.DESTINATION or (place.heading and place.heading.role is Role.DESTINATION):
            place.port, place.port_age = ports, 0


def _keyed_ports(line: str) -> list[tuple[Role | None, tuple[int, ...]]]:
    """Return the ports that a key in the line names, with the role that the key says."""
    found: list[tuple[Role | None, tuple[int, ...]]] = []
    if not _HAS_PORT.search(line):
        return found
    for match in _PORT_VALUE.finditer(line):
        key = _KEY.search(line[max(0, match.start() - 42) : match.start()].rstrip("\"' ()"))
        words = words_of(key.group())[-6:] if key else []
        if not any(_PORT_PART.search(word) for word in words):
            continue
        role: Role | None = None
        for word in words:
            if word in {"dpt", "dport", "spt", "sport"}:
                role = Role.DESTINATION if word[0] == "d" else Role.SOURCE
            elif (sense := label_of(word)) is not None:
                role = sense.role
        numbers = (int(text) for text in ports_in(match[1]))
        if ports := tuple(number for number in numbers if 0 < number < 65536):
            found.append((role, ports))
    return found


def _sightings(
    line: str, mentions: list[Mention], place: _Place, *, subject: bool
) -> list[Sighting]:
    found = roles_in(line, mentions)
    _apply_table(line, mentions, found, place)
    _apply_heading(line, mentions, found, place)
    for left, right in pairwise(mentions):
        positional_ports(line, left, right)
    quiet = _is_quiet(line, place)
    sightings = []
    for mention, finding in zip(mentions, found, strict=True):
        if is_nowhere(mention.key):
            continue
        before = line[max(0, mention.start - 100) : mention.start]
        scheme = _SCHEME.search(before)
        if not mention.ports and scheme:
            mention.ports = (_SCHEME_PORTS[scheme[1].lower()],)
        role, force = (finding.role, finding.force) if finding else (None, 0)
        if subject and role is None:
            role, force = Role.SOURCE, SUBJECT
        aside = quiet or (scheme is not None and LINK.search(before) is not None)
        sightings.append(Sighting(mention.key, mention.ports, role, force, aside))
    _apply_ports(line, mentions, sightings, place)
    if line.rstrip().endswith(("->", "=>", "→")):
        # A flow that was wrapped: its destination opens the next line.
        place.heading, place.heading_age = Finding(Role.DESTINATION, HEADING), 0
    if sightings:
        place.last, place.last_age = sightings[-1], 0
    return sightings


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
    elif not telling and rest.strip(" \t-*•").endswith(":") and words_of(rest):
        # `IP: A` in a report, with no word more, is the one that is reported.
        found[0] = Finding(Role.SOURCE, _BARE_LABEL)


def _is_quiet(line: str, place: _Place) -> bool:
    if place.signature:
        place.signature -= 1
    return (
        _IRRELEVANT.search(line) is not None
        or _TRACE.match(line) is not None
        or _CONTACT.search(line) is not None
        or (place.signature > 0 and not _LOGLIKE.search(line))
    )


def _apply_ports(
    line: str, mentions: list[Mention], sightings: list[Sighting], place: _Place
) -> None:
    """Give the ports that the line names elsewhere to its destinations."""
    targets = [s for s in sightings if s.role is Role.DESTINATION and not s.ports]
    others = [s for s in sightings if s.role is None and not s.ports]
    for role, ports in _keyed_ports(line):
        if role is Role.DESTINATION:
            for sighting in targets or others:
                sighting.ports = ports
        elif role is None and len(sightings) == 1:
            for sighting in targets:
                sighting.ports = ports
    _apply_ports_before(line, mentions, targets)
    _apply_ports_after(line, mentions, targets)
    if place.port and place.port_age <= 8 and targets:
        targets[0].ports = targets[0].ports or place.port
        place.port = ()


def _apply_ports_before(line: str, mentions: list[Mention], targets: list[Sighting]) -> None:
    """Read `port 22 of our server A`."""
    for mention in mentions:
        before = _PORT_BEFORE.search(line[max(0, mention.start - 60) : mention.start])
        port = int(before[1] or before[2]) if before else 0
        for sighting in targets:
            if 0 < port < 65536 and sighting.key == mention.key and not sighting.ports:
                sighting.ports = (port,)


def _apply_ports_after(line: str, mentions: list[Mention], targets: list[Sighting]) -> None:
    """Read `A was scanned all day (ports 22, 80)`, where no other address comes between."""
    if len(targets) != 1 or _LOGLIKE.search(line):
        return
    for index, mention in enumerate(mentions):
        end = mentions[index + 1].start if index + 1 < len(mentions) else len(line)
        said = _PORT_SAID.search(line, mention.end, min(end, mention.end + 100))
        if said and mention.key == targets[0].key and not targets[0].ports:
            ports = tuple(int(text) for text in ports_in(said[1]))
            targets[0].ports = tuple(port for port in ports if 0 < port < 65536)


@dataclass(slots=True)
class _Weight:
    """What speaks for an address being a source, and for it being a destination."""

    source: int = 0
    source_lines: int = 0
    destination: int = 0
    destination_lines: int = 0
    ports: set[int] = field(default_factory=set)
    evidence: list[tuple[int, str]] = field(default_factory=list)
    seen: int = 0
    unsaid: set[int] = field(default_factory=set)
    """Ports beside it in any line."""
    loud: int = 0
    """Times it was seen where a report may name its victim."""
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
    a threat has none, so that an address or a link that is only mentioned is no guess.
    """
    weights = _weights(evidence, own)
    own_keys = {key for key in weights if _is_among(key, own)}
    sources = _sources(weights, own_keys)
    _add_listed(evidence, weights, sources)
    _add_companions(evidence, weights, sources, own_keys)
    guarded = {key for key in weights if _is_among(key, protected)}
    guess = attack and not evidence.masked and bool(sources)
    ranked = _ranked(weights, sources, own_keys | guarded, guess=guess)
    ranked = [key for key in ranked if attack or weights[key].destination > URL]
    ranked, odd = _without_odd(ranked, weights, sources)
    accused = sorted((key for key in sources if key in weights), key=lambda key: weights[key].order)
    return Verdict(
        tuple(_candidate(key, weights[key]) for key in ranked[:MAX_CANDIDATES]),
        tuple(address_range_text(*key) for key in accused[:MAX_CANDIDATES]),
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
            weight.seen += 1
            weight.line = weight.line or record.line
            if sighting.quiet and sighting.force < _LOUD:
                continue
            weight.loud += 1
            weight.unsaid.update(sighting.ports)
            if sighting.role is Role.SOURCE:
                weight.source = max(weight.source, sighting.force)
                weight.source_lines += 1
            elif sighting.role is Role.DESTINATION:
                force = min(sighting.force, _SURE - 5) if foreign else sighting.force
                _speak_for(weight, force, record.line, sighting.ports)
    return weights


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
    return _VARYING.sub("0", line)[:120]


def _add_companions(
    evidence: Evidence, weights: dict[Key, _Weight], sources: set[Key], own: set[Key]
) -> None:
    """Count what stands in one line with a source, and has no other role, as its destination."""
    for record in evidence.records:
        sightings = record.sightings
        if len(sightings) < 2 or not any(s.key in sources for s in sightings):
            continue
        answered = any(s.key in own and s.role is Role.DESTINATION for s in sightings)
        for sighting in sightings:
            if sighting.quiet or sighting.key in own:
                continue
            # A packet to the relay is an answer: who sent it is the one that was attacked.
            reply = answered and sighting.role is Role.SOURCE
            unsaid = sighting.role is None and sighting.key not in sources and record.loglike
            if (unsaid and not _BYSTANDER.search(record.line)) or reply:
                weight = weights[sighting.key]
                if reply:
                    weight.source = 0
                    sources.discard(sighting.key)
                _speak_for(weight, COMPANION, record.line, sighting.ports if not reply else ())


def _ranked(
    weights: dict[Key, _Weight], sources: set[Key], barred: set[Key], *, guess: bool
) -> list[Key]:
    def strength(key: Key) -> tuple[int, int, int]:
        weight = weights[key]
        lines = min(9, weight.destination_lines)
        return -(weight.destination + lines), -weight.destination_lines, weight.order

    def eligible(key: Key) -> bool:
        return key not in sources and key not in barred and not too_wide(key)

    named = [key for key, w in weights.items() if w.destination >= _SURE and eligible(key)]
    if named:
        return sorted(named, key=strength)
    if not guess:
        return []
    nearby = {_neighbourhood(source) for source in sources}
    for key, weight in weights.items():
        if weight.destination or weight.source or not weight.loud:
            continue
        # A network that is only named is somebody's allocation.
        single = key[1] == key[2] and _neighbourhood(key) not in nearby
        if single and not _is_bystanders(weight.line):
            _speak_for(weight, _ALONE, weight.line, tuple(weight.unsaid)[:MAX_PORTS])
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
        if any(weights[key].destination >= _SURE for key in chosen):
            return chosen, level > 1
    return ranked, any(map(is_private, ranked))


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


def host_names(text: str, limit: int = 5) -> tuple[str, ...]:
    """Return names of hosts that a text names as the victim's, without an address."""
    found: dict[str, None] = {}
    for line in text[:200_000].split("\n"):
        plain = refanged(_unquoted(line))
        if "." not in plain or _HEADER_LINE.match(plain) or _IRRELEVANT.search(plain):
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
