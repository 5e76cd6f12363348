"""Read a text line by line, and collect what each line says about addresses.

A line also says something about the next lines: a heading, a table's column names, a signature.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import count, pairwise
from typing import Final

from exitpolicy.complaint.extract.addresses import Mention, is_nowhere, mentions_in, refanged
from exitpolicy.complaint.extract.ports import (
    assign_ports,
    keyed_ports,
    keyed_service,
    positional_ports,
)
from exitpolicy.complaint.extract.rows import restored
from exitpolicy.complaint.extract.tables import Table, is_rule, read_heading
from exitpolicy.complaint.input.quoting import is_header, unquoted
from exitpolicy.complaint.input.sentences import (
    has_cells,
    is_prose,
    is_row,
    looks_logged,
    unwrapped,
)
from exitpolicy.complaint.language.senses import (
    is_about_acting,
    is_about_host,
    is_filler,
    label_of,
    sense_of,
    words_of,
)
from exitpolicy.complaint.language.vocabulary import pattern
from exitpolicy.complaint.roles.context import LINK, LIST
from exitpolicy.complaint.roles.one_line import roles_in
from exitpolicy.complaint.roles.scores import (
    MAX_PORTS,
    Hint,
    Role,
    Score,
    Sense,
    is_audible,
    stronger,
)
from exitpolicy.core.addresses import AddressRange
from exitpolicy.core.destination import SCHEME_PORTS

MAX_CHARACTERS: Final = 60_000
"""Maximum characters that are read. After that, only lines with an own address are read."""
MAX_LATE: Final = 20_000
"""After that, maximum characters of lines with an own address."""
LINE_COST: Final = 80
"""Characters that each line costs in addition to its length."""
MAX_REPEATED: Final = 50
"""Maximum lines that differ only in numbers, such as times and ports."""
MAX_SHOWN: Final = 400
"""Maximum characters of a line that is shown as evidence."""
MAX_LINE: Final = 2_000
"""Longer lines are read in pieces of this length."""
_SIGNATURE_LINES: Final = 40
_CLOSING_LINES: Final = 12
"""Lines after "kind regards" that belong to the signature, unless another text begins."""
_TABLE_REACH: Final = 6
"""Maximum lines between a table's heading, or its last row, and the next row."""
_HEADING_REACH: Final = 3
_MAX_SHAPE: Final = 80
"""Characters before an address that lines of one list have in common."""
_PORT_REACH: Final = 8

QUIET: Final = pattern(r"<<quiet>>")
"""Finds lines that name addresses for a reason other than the incident."""
_WHOIS: Final = pattern(r"<<whois>>")
_CLOCK: Final = re.compile(r"\d{1,2}:\d{2}:\d{2}")
_MASKED: Final = pattern(r"<<masked>>")
_TRACEROUTE: Final = re.compile(r"^\s{0,4}\d{1,2}\s.{0,80}\d\s?ms\b")
_SIGNATURE: Final = re.compile(r"^(?:--|—)$")
_RESUMED: Final = pattern(
    r"^\s{0,4}(?:[-_=*]{5,}|[-_=]{3,}.{3,60}[-_=]{3,}\s*$|<<greeting>>"
    r"|[^\W\d]{2,12}\s?[:\uff1a]\s.{0,80}@)"
)
"""Begins another text below a signature: a ruler, a greeting, a header."""
_CONTACT: Final = pattern(r"\b(?:<<contact>>)\b\s?[.:]")
_CLOSING: Final = pattern(r"^\s{0,4}(?:<<closing>>)[\s,.!\w-]{0,30}$")
_REFERRING: Final = pattern(r"\s{0,4}(?:<<referring>>)(?!\w)")
_HOST_ABOVE: Final = re.compile(
    r"\s{0,8}[^\W\d_]{3,12}\s?:\s{1,12}(?:[a-z][\w-]{0,60}\.){1,6}[a-z]{2,20}\.?\s*$", re.IGNORECASE
)
"""`Name: www.example.com`, as nslookup prints it above the address."""
_NUMBER: Final = re.compile(r"\s*\d{1,5}(?:\s?/\s?(?:tcp|udp))?\s*", re.IGNORECASE)
_PAIR: Final = re.compile(r"^\s*\"?([^\d\",;:]{3,42})\"?[,;]\s?\"?(\d{1,5})\"?\s*$")
"""`Target port,22`, a row of two cells."""
_BULLET: Final = re.compile(r"\s{0,12}(?:[-*•·+]|\(?\d{1,3}[.)])?\s{0,4}\S{0,2}$")
_VARYING: Final = re.compile(r"[0-9A-Fa-f.:]{2,}|\d")
"""The part that differs between the lines of a list."""
_NUMBER_OR_ADDRESS: Final = re.compile(
    r"((?:\d{1,3}\.){3}\d{1,3}|(?:[0-9A-Fa-f]{0,4}:){3,7}[0-9A-Fa-f]{0,4})|\d{1,12}"
)
_ADDRESS: Final = re.compile(r"(?:\d{1,3}\.){3}\d{1,3}|[0-9a-f]{0,4}:[0-9a-f:.]{1,60}")
"""What may be an address in a line in lower case."""
_FEW_OWN: Final = 50
"""The most own addresses that are searched one by one in a line."""
_HOST: Final = re.compile(r"(?:[\w-]{1,60}\.){1,6}[A-Za-z]{2,20}")
_NEXT_ELEMENT: Final = re.compile(r"</(\w{1,30})>\s{0,3}<\1>")
"""The text between the values of two elements of the same name."""
_LETTER: Final = re.compile(r"\w")
_LEADER: Final = re.compile(r"\s?(?:\.{3,}|(?:\. ){3,}|_{4,})\s?:?\s?(?=\S)")
"""Dots between a name and its value: `Destination ..... A`."""
_SCHEME: Final = re.compile(r"\b([a-z]{2,8})://(?:[^\s/@]{1,60}@)?\[?$", re.IGNORECASE)
_COLONS: Final = (":", "\uff1a")
_ARROWS: Final = ("->", "=>", "→")
_LARGE_RESOLVERS: Final = (
    "8.8.8.8 8.8.4.4 1.1.1.1 1.0.0.1 9.9.9.9 149.112.112.112 208.67.222.222 208.67.220.220 "
    "77.88.8.8 77.88.8.1"
)
"""Resolvers of Google, Cloudflare, Quad9, OpenDNS and Yandex, which many configurations name."""


@dataclass(slots=True)
class Evidence:
    """A line with addresses, and what the line says about them."""

    line: str
    mentions: list[Mention]
    is_log: bool
    acting: bool
    """Whether the line says that somebody did something to somebody."""
    hint: Hint
    """How likely the line mentions the victim without saying so."""
    record: int
    """The number of its record: lines that no empty line separates."""


@dataclass(slots=True)
class _Place:
    """The position in a text, and what the lines above say about the next one."""

    numbers: Iterator[int]
    """Yields numbers that are unique in the report."""
    record: int = 0
    """The number of the current record: lines that no empty line separates."""
    whois: int = -1
    """The number of the record that quotes a whois database."""
    block: int = 0
    """The number of the current block: lines with addresses, without another line between."""
    table: Table | None = None
    table_name: str = ""
    table_age: int = 0
    """Lines since the heading or the last row."""
    heading: Sense | None = None
    heading_age: int = 0
    in_headers: bool = False
    signature: int = 0
    """Maximum lines of the signature that still follow."""
    last_age: int = 99
    """Lines since the last address."""
    listed: list[Mention] = field(default_factory=list)
    """The addresses of the lines directly above that have the same role."""
    said: str = ""
    """The previous sentence; in a list, the sentence that announces the list."""
    announced: bool = False
    """Whether that sentence ends with a colon, so that it is about this line."""
    port: tuple[int, ...] = ()
    port_age: int = 99

    def remember(self, mentions: list[Mention]) -> None:
        """Keep the addresses of a line, with those above it if they have the same role."""
        role = mentions[-1].role
        if self.last_age > 1 or (self.listed and self.listed[-1].role is not role):
            self.listed = []
        self.listed.extend(mentions)
        self.last_age = 0

    def admits(self, table: Table) -> bool:
        """Tell whether a heading begins a table; one without roles does not end another table."""
        return table.has_roles or self.table is None or self.table_age > _TABLE_REACH

    def is_acting(self, line: str) -> bool:
        """Tell whether a line, or what it refers to, says that somebody did something."""
        refers = self.announced or _REFERRING.match(line) is not None
        return is_about_acting(line) or (refers and is_about_acting(self.said))

    def announces_links(self) -> bool:
        """Tell whether the sentence before announces links to what was attacked."""
        return self.announced and LINK.search(self.said) is None

    def announce_destination(self) -> None:
        """Let the addresses of the next line be destinations."""
        self.heading, self.heading_age = Sense(Role.DESTINATION, Score.HEADING), 0


class LineReader:
    """Collect evidence from the lines of several texts."""

    def __init__(self, own: Collection[str], *, understood: bool = True) -> None:
        """Begin without evidence.

        `own` are the relay's addresses as reports write them. `understood`: whether the language
        of the report is known so well that a sentence without known words says nothing.
        """
        self.evidence: list[Evidence] = []
        self.lone_ports: set[int] = set()
        """Destination ports in lines that name the relay but no destination."""
        self.is_masked = False
        """Whether the report says that it hides the victim's address."""
        self.is_cut = False
        """Whether not all lines were read."""
        self._numbers = count()
        self._own = own
        self._many_own = frozenset(own) if len(own) > _FEW_OWN else None
        self._understood = understood
        self._budget = MAX_CHARACTERS
        self._late = MAX_LATE
        self._shapes: Counter[str] = Counter()
        """How often lines with the same words and addresses were read."""

    def read(self, text: str, *, is_subject: bool = False) -> None:
        """Add what the lines of a text say."""
        place = _Place(self._numbers, next(self._numbers))
        for sentence in unwrapped(restored(list(self._affordable(text)))):
            for line in _pieces(sentence):
                self._read_line(line, place, is_subject=is_subject)

    def _affordable(self, text: str) -> Iterator[str]:
        """Yield lines without quotation marks; after the budget, only with an own address.

        Of the lines that are left out, the last one is yielded at the end: it has the time of the
        last incident.
        """
        last = ""
        for line in text.split("\n"):
            late = self._budget <= 0
            if late and not self._names_own(line):
                self.is_cut = True
                continue
            if self._is_repeated(line) or (late and self._late <= 0):
                self.is_cut |= late
                last = line
                continue
            bare = unquoted(line)
            yield bare[: max(MAX_LINE, self._budget)]
            if late:
                self._late -= min(len(bare), MAX_LINE) + LINE_COST
            else:
                self._budget -= len(bare) + LINE_COST
        if last:
            yield unquoted(last)[:MAX_LINE]

    def _is_repeated(self, line: str) -> bool:
        """Tell whether enough lines with the same words and addresses were read."""
        if line.count(".") < 3 or len(line) > MAX_LINE:
            return False
        shape = _NUMBER_OR_ADDRESS.sub(_masked, line)
        self._shapes[shape] += 1
        return self._shapes[shape] > MAX_REPEATED

    def _names_own(self, line: str) -> bool:
        if self._many_own is None:
            return any(address in line for address in self._own)
        # A fleet has thousands of addresses, too many to search a line for each.
        found = _ADDRESS.findall(line.lower())
        return any(text.rstrip(".:") in self._many_own for text in found)

    def _read_line(self, line: str, place: _Place, *, is_subject: bool) -> None:
        if not line.strip():
            place.in_headers = False
            place.table_age += 1
            place.heading_age += 1
            place.last_age += 2
            place.record = next(place.numbers)
            return
        if _skip_header(line, place):
            return
        line = _LEADER.sub(": ", refanged(line))
        mentions = mentions_in(line) if line.count(".") >= 3 or line.count(":") >= 2 else []
        if not self.is_masked and _MASKED.search(line):
            senses = (label_of(word) for word in words_of(line[:300]))
            self.is_masked = any(s is not None and s.role is Role.DESTINATION for s in senses)
        place.last_age += 1
        place.port_age += 1
        acting = bool(mentions) and place.is_acting(line)
        shown = _with_roles(line, mentions, place, acting=acting, is_subject=is_subject)
        above = place.said
        if not (mentions and place.announced and _BULLET.match(line[: mentions[0].start])):
            place.said, place.announced = line, line.rstrip().endswith(_COLONS)
        if not mentions:
            _read_context(line, place, above)
            return
        after = words_of(line[mentions[-1].end :])
        if line.rstrip().endswith(":") or (after and _ends_open(after)):
            place.heading, place.heading_age = _sense_of_heading(after), 0
        if shown:
            speaking = acting or _HOST_ABOVE.match(above) or is_about_host(line)
            hint = _hint(line, speaks=not self._understood or bool(speaking))
            excerpt = _excerpt(line, mentions[0])
            # Addresses with ports, outside of a sentence, are the ends of a connection.
            ends = len(shown) > 1 and all(m.ports for m in shown) and not is_prose(line)
            is_log = is_row(line) or looks_logged(line) or ends
            self.evidence.append(Evidence(excerpt, shown, is_log, acting, hint, place.record))
            self._note_lone_ports(line, shown)

    def _note_lone_ports(self, line: str, mentions: list[Mention]) -> None:
        """Keep the destination ports of a line that names the relay but no destination."""
        if len(mentions) == 1 and self._names_own(line) and len(self.lone_ports) <= MAX_PORTS:
            keyed = keyed_ports(line)
            self.lone_ports.update(*(p for role, p in keyed if role is Role.DESTINATION))


def _masked(found: re.Match[str]) -> str:
    """Return an address as it is, and 0 for any other number."""
    return found[1] or "0"


def _hint(line: str, *, speaks: bool) -> Hint:
    """Return how likely a line mentions the victim without saying so.

    `speaks`: whether the line is about an attack or a host.
    """
    if has_cells(line):
        return Hint.NONE
    if speaks:
        return Hint.PROSE if is_prose(line) else Hint.FIELD
    return Hint.PORT


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


def _excerpt(line: str, first: Mention) -> str:
    """Return the line, or the part of a long line that begins near its first address."""
    start = 0 if len(line) <= MAX_SHOWN else max(0, first.start - MAX_SHOWN // 3)
    return line[start : start + MAX_SHOWN].strip()


def _skip_header(line: str, place: _Place) -> bool:
    """Tell whether the line belongs to a mail header that was pasted into the text."""
    if is_header(line):
        place.in_headers = True
        return True
    if place.in_headers and line[:1] in " \t":
        return True
    place.in_headers = False
    return False


def _read_context(line: str, place: _Place, above: str) -> None:
    """Keep what a line without addresses says about the next lines."""
    stripped = line.strip()
    if _SIGNATURE.match(stripped):
        place.signature = _SIGNATURE_LINES
    elif _RESUMED.match(line):
        place.signature = 0
    elif _CLOSING.match(line):
        place.signature = _CLOSING_LINES
    elif place.signature:
        place.signature -= 1
    if is_rule(line):
        return
    if stripped.endswith(_ARROWS):
        place.announce_destination()
    place.block = next(place.numbers)
    if (table := read_heading(line)) and place.admits(table):
        place.table, place.table_age, place.table_name = table, 0, f"table {place.block}"
    else:
        place.table_age += 1
    _read_port_line(_PAIR.sub(r"\1: \2", line), place, above)
    last_words = words_of(stripped)[-14:]
    with_colon = stripped.endswith(_COLONS)
    short = len(last_words) <= 5 and ":" not in stripped
    opened = bool(last_words) and _ends_open(last_words)
    heading = _sense_of_heading(last_words) if with_colon or short or opened else None
    if heading is not None or with_colon:
        place.heading, place.heading_age = heading, 0
    else:
        place.heading_age += 1


def _ends_open(words_before: list[str]) -> bool:
    """Tell whether a line ends with a preposition, so that its object is on the next line."""
    sense = sense_of(words_before[-1])
    return sense is not None and sense.is_preposition


def _sense_of_heading(heading: list[str]) -> Sense | None:
    """Return the sense of the last word of a heading that tells a role."""
    if heading and (last := sense_of(heading[-1])) is not None and last.is_preposition:
        return Sense(last.role, Score.HEADING)
    for word in reversed(heading):
        sense = sense_of(word)
        if sense is not None and not sense.is_preposition:
            return Sense(sense.role, Score.HEADING)
    return None


def _read_port_line(line: str, place: _Place, above: str) -> None:
    """Assign `Destination port: 22`, on its own line or on two, to the address above or below."""
    if _NUMBER.fullmatch(line):
        line = f"{above.strip().rstrip(':')}: {line.strip()}"
    keyed = keyed_ports(line)
    if not keyed and (said := keyed_service(line)):
        keyed = [(None, said)]
    for role, ports in keyed:
        if role is Role.SOURCE:
            continue
        without = [m for m in place.listed if m.role is Role.DESTINATION and not m.ports]
        if not without:
            without = [m for m in place.listed if m.role is None and not m.ports]
            # What has a destination port is a destination.
            without = without[-1:] if role is Role.DESTINATION else without
        if place.last_age <= _PORT_REACH and without:
            for mention in without:
                mention.ports = ports
                if mention.role is None and role is Role.DESTINATION:
                    mention.role, mention.score = Role.DESTINATION, Score.HEADING
        elif role is Role.DESTINATION or (place.heading and place.heading.role is Role.DESTINATION):
            place.port, place.port_age = ports, 0


def _with_roles(
    line: str, mentions: list[Mention], place: _Place, *, acting: bool, is_subject: bool
) -> list[Mention]:
    """Give the addresses of a line their roles and ports; return those that a host can have."""
    if not mentions:
        return []
    senses = roles_in(line, mentions, acting=acting)
    _apply_table(line, mentions, senses, place)
    _apply_heading(line, mentions, senses, place)
    _note_lists(line, mentions, place)
    for left, right in pairwise(mentions):
        positional_ports(line, left, right)
    quiet = _is_quiet(line, place)
    linked = place.announces_links()
    kept: list[Mention] = []
    for mention, sense in zip(mentions, senses, strict=True):
        if is_nowhere(mention.addresses):
            continue
        mention.is_quiet = _reads_scheme(line, mention, sense, linked=linked) or quiet
        _apply_sense(mention, sense, is_subject=is_subject)
        kept.append(mention)
    assign_ports(line, kept)
    _apply_port_above(kept, place)
    if line.rstrip().endswith(_ARROWS):
        # A wrapped flow: its destination begins the next line.
        place.announce_destination()
    if kept:
        place.remember(kept)
    return kept


def _note_lists(line: str, mentions: list[Mention], place: _Place) -> None:
    """Keep which addresses share an enumeration, the lines of a list, or a key."""
    before = line[: mentions[0].start]
    prefix = " ".join(_VARYING.sub("0", _HOST.sub("h", before)).split())[:_MAX_SHAPE]
    end = mentions[0].end
    mark = _LETTER.sub("0", line[end : end + 3].replace('"', "")[:2])
    mentions[0].lists += (f"lines {place.block} {prefix} {mark}",)
    if len(mentions) == 1 and prefix.endswith((":", "=")):
        mentions[0].lists += (f"key {prefix}",)
    if _is_bare_list(line, mentions):
        name = f"bare {next(place.numbers)}"
        for mention in mentions:
            mention.lists += (name,)
    name = f"enumeration {next(place.numbers)}"
    for left, right in pairwise(mentions):
        between = line[left.end : right.start]
        if not (LIST.match(between) or _NEXT_ELEMENT.fullmatch(between)):
            name = f"enumeration {next(place.numbers)}"
            continue
        if name not in left.lists:
            left.lists += (name,)
        right.lists += (name,)


def _is_bare_list(line: str, mentions: list[Mention]) -> bool:
    """Tell whether a line has three addresses or more, and nothing else but their key."""
    between = {line[left.end : right.start].strip() for left, right in pairwise(mentions)}
    before = line[: mentions[0].start].strip()
    return (
        len(mentions) > 2
        and between in ({""}, {","}, {";"})
        and (not before or before.endswith((":", "=")))
        and not line[mentions[-1].end :].strip(" .;,")
    )


def _reads_scheme(line: str, mention: Mention, sense: Sense | None, *, linked: bool) -> bool:
    """Set the port of an address from its URL. Return whether the URL is only for information."""
    before = line[max(0, mention.start - 100) : mention.start]
    scheme = _SCHEME.search(before)
    if scheme is None:
        return False
    if not mention.ports and (port := SCHEME_PORTS.get(scheme[1].lower())):
        mention.ports = (port,)
    alone = linked and not before[: scheme.start()].strip(" -*•<")
    return (sense is None and not alone) or LINK.search(before) is not None


def _apply_sense(mention: Mention, sense: Sense | None, *, is_subject: bool) -> None:
    mention.role, mention.score = sense or (None, 0)
    if mention.addresses in _large_resolvers() and not is_audible(mention.score, quiet=True):
        mention.role = Role.BYSTANDER
    if is_subject and mention.role is None:
        mention.is_in_subject = True
        mention.role, mention.score = Role.SOURCE, Score.SUBJECT


@cache
def _large_resolvers() -> frozenset[AddressRange]:
    return frozenset(mention.addresses for mention in mentions_in(_LARGE_RESOLVERS))


def _apply_table(
    line: str, mentions: list[Mention], senses: list[Sense | None], place: _Place
) -> None:
    """Give the addresses of a table row the roles of their columns."""
    if place.table is None or place.table_age > _TABLE_REACH:
        return
    columns = place.table.places(line, mentions)
    if columns is None:
        return
    place.table_age = 0
    for index, (mention, column) in enumerate(zip(mentions, columns, strict=True)):
        sense = place.table.columns[column].sense
        senses[index] = stronger(senses[index], sense)
        if sense is None and place.table.columns[column].is_address:
            mention.lists += (f"{place.table_name} {column}",)
    port = place.table.port(line)
    if port is None:
        return
    for mention, sense in zip(mentions, senses, strict=True):
        if sense is not None and sense.role is Role.DESTINATION and not mention.ports:
            mention.ports = (port,)


def _apply_heading(
    line: str, mentions: list[Mention], senses: list[Sense | None], place: _Place
) -> None:
    """Give the addresses of a line with few other words the role that the heading above names."""
    rest = line
    for mention in reversed(mentions):
        rest = rest[: mention.start] + " " + rest[mention.end :]
    telling = [word for word in words_of(rest) if not is_filler(word)]
    if len(telling) > 2 or any(senses):
        if len(telling) > 2:
            place.heading_age += 3
        return
    if place.heading is not None and place.heading_age <= _HEADING_REACH:
        for index in range(len(senses)):
            senses[index] = place.heading
        place.heading_age = 0


def _apply_port_above(mentions: list[Mention], place: _Place) -> None:
    """Give the port that a line above names to the first destination without a port."""
    for mention in mentions:
        if place.port and place.port_age <= _PORT_REACH and mention.role is Role.DESTINATION:
            mention.ports, place.port = mention.ports or place.port, ()


def _is_quiet(line: str, place: _Place) -> bool:
    """Tell whether a line of this sort usually names no victim: signature, contact, traceroute."""
    if place.signature:
        place.signature -= 1
    if _WHOIS.search(line):
        place.whois = place.record
    return (
        QUIET.search(line) is not None
        or (place.whois == place.record and not _CLOCK.search(line))
        or _TRACEROUTE.match(line) is not None
        or _CONTACT.search(line) is not None
        or (place.signature > 0 and not looks_logged(line))
    )
