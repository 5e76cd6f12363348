# ruff: noqa: RUF001
# The words for "port" in other alphabets are part of this module.
"""Which ports belong to which address of a line: by keys, by words, and by place."""

import re
from itertools import pairwise
from typing import Final

from exitpolicy.complaint.extract.addresses import Mention, ports_in
from exitpolicy.complaint.input.sentences import is_prose, looks_logged
from exitpolicy.complaint.language.senses import label_of, words_of
from exitpolicy.complaint.language.vocabulary import pattern
from exitpolicy.complaint.roles.context import LIST
from exitpolicy.complaint.roles.evidence import Sighting
from exitpolicy.complaint.roles.scores import Role

_PORT_VALUE: Final = pattern(
    r"(?:[:=：>\t]\s{0,16}|\s{3,16})[\"'\[]?\s?(?:(?:tcp|udp)[ /]{1,2})?"
    r"(\d{1,5}(?:(?:\s?[,/;]\s?|\s(?:<<and>>)\s)\d{1,5}){0,30})(?![\w.-])"
)
_KEY: Final = re.compile(r"[^\d:=,;|\t\n\"'{}]{1,42}\Z")
_HAS_PORT: Final = pattern(r"port|[ds]pt(?![a-z])|service|<<port>>")
PORT_WORD: Final = pattern(
    r"^(?:[ds]?pt|.{0,12}ports?|(?:<<port>>)\w{0,2})$|[^\x00-\u0fff]{0,12}(?:<<port>>)"
)
_PORT_BEFORE: Final = pattern(
    r"(?:<<port>>)\s{0,2}[:#]?\s{0,2}(\d{1,5})(?:/(?:tcp|udp))?[\s)]{0,3}"
    r"(?:[^\W\d]{1,12}\s{1,2}){0,4}[(\s]{0,2}$"
    r"|[\s(](\d{1,5})/(?:tcp|udp)\)?\s(?:[^\W\d]{1,12}\s){0,4}$"
)
_PORT_SAID: Final = pattern(
    r"(?<![^\W_])(?:<<port>>)(?:\s?(?:<<port is>>):?)?\s?"
    r"(\d{1,5}(?:(?:,\s?|\s(?:<<and>>)\s)\d{1,5}){0,16})(?![\d.-]\d)"
)
_PORT_BARE: Final = pattern(r"\s(?:<<on>>)\s((?!19|20)\d{4,5}|\d{3})(?=\s[a-zà-ÿ]|[,;.)]|$)", 0)
_PORT_WORDS: Final = re.compile(r"[(\s]")
_LEADING_PORT: Final = re.compile(r"\s{1,12}(\d{1,5})(?![\w.:/])")
_PAIR_THEN_PORTS: Final = re.compile(
    r"[\"']?([,;\t| ])[\"']?(\d{1,5})[\"']?\1[\"']?(\d{1,5})[\"']?(?=\1|\s*\Z)"
)
_SERVICE_THEN_PORTS: Final = re.compile(r"\s[\w.-]{1,20}/(?:tcp|udp)\s(\d{1,5})\s(\d{1,5})(?!\S)")
"""`A B ssh/tcp 44012 22`."""
_PORT_FIELD: Final = re.compile(r"[\"']?\s?([,;\t| ])\s{0,8}[\"']?(\d{1,5})[\"']?(?=\s?\1|\s*\Z)")


def keyed_ports(line: str) -> list[tuple[Role | None, tuple[int, ...]]]:
    """Return the ports that a key in the line names, with the role that the key says."""
    found: list[tuple[Role | None, tuple[int, ...]]] = []
    if not _HAS_PORT.search(line):
        return found
    for match in _PORT_VALUE.finditer(line):
        key = _KEY.search(line[max(0, match.start() - 42) : match.start()].rstrip("\"' ()"))
        words = words_of(key.group())[-6:] if key else []
        if not any(PORT_WORD.search(word) for word in words) and words[-1:] != ["service"]:
            continue
        role: Role | None = None
        for place, word in enumerate(words):
            # `s_port` is a source's, `port(s)` is not.
            if word in {"dpt", "dport", "spt", "sport"} or (place == 0 and word in {"s", "d"}):
                role = Role.DESTINATION if word[0] == "d" else Role.SOURCE
            elif (sense := label_of(word)) is not None:
                role = sense.role
        if ports := _ports(match[1]):
            found.append((role, ports))
    return found


def ports_said(line: str) -> tuple[int, ...]:
    """Return the ports that a sentence names in words: `port 22`, `ports 80 and 443`."""
    said = None if looks_logged(line) else _PORT_SAID.search(line)
    return _ports(said[1]) if said else ()


def _ports(text: str) -> tuple[int, ...]:
    return tuple(port for port in map(int, ports_in(text)) if 0 < port < 65536)


def apply_ports(line: str, mentions: list[Mention], sightings: list[Sighting]) -> None:
    """Give the ports that the line names elsewhere to its destinations."""
    targets = [s for s in sightings if s.role is Role.DESTINATION and not s.ports]
    others = [s for s in sightings if s.role is None and not s.ports]
    for role, ports in keyed_ports(line):
        if role is Role.DESTINATION:
            for sighting in targets or others:
                sighting.ports = ports
        elif role is None and len(targets) == 1 and not targets[0].ports:
            targets[0].ports = ports
    _apply_ports_before(line, mentions, targets)
    _apply_ports_after(line, mentions, targets or others)
    _share_ports(line, mentions, sightings)


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
    if not targets or (looks_logged(line) and not is_prose(line)):
        return
    last = targets[-1]
    for index, mention in enumerate(mentions):
        end = mentions[index + 1].start if index + 1 < len(mentions) else len(line)
        reach = min(end, mention.end + 100)
        said = _PORT_SAID.search(line, mention.end, reach) or _PORT_BARE.search(
            line, mention.end, reach
        )
        if said and mention.key == last.key and not last.ports:
            last.ports = _ports(said[1])


def _share_ports(line: str, mentions: list[Mention], sightings: list[Sighting]) -> None:
    """Read `A and B (port 445)`: the port of a list's last address, in words, is that of all."""
    ports = {sighting.key: sighting for sighting in sightings}
    for left, right in reversed(list(pairwise(mentions))):
        one, other = ports.get(left.key), ports.get(right.key)
        if one is None or other is None or one.ports or one.role is not other.role:
            continue
        glued = line[right.end - 1 : right.end].isdigit() and not _PORT_WORDS.search(
            line[right.start : right.end]
        )
        if other.ports and LIST.match(line[left.end : right.start]) and not (right.ports and glued):
            one.ports = other.ports


def symmetric_ports(line: str, left: Mention, right: Mention, between: str) -> None:
    """Read `A 4444 -> B 22`: a number after both is the port of both."""
    one = _LEADING_PORT.match(between)
    other = _LEADING_PORT.match(line, right.end)
    if one and other and not left.ports and not right.ports:
        left.ports = (int(one[1]),)
        if 0 < int(other[1]) < 65536:
            right.ports = (int(other[1]),)


def positional_ports(line: str, left: Mention, right: Mention) -> None:
    """Read the ports of `A,B,4444,22` and of `A,4444,B,22`, two flows without column names."""
    if left.ports or right.ports:
        return
    if named := _SERVICE_THEN_PORTS.match(line, right.end):
        left.ports, right.ports = _port(named[1]), _port(named[2])
        return
    if pair := _PAIR_THEN_PORTS.match(line, right.end):
        if line[left.end : right.start].strip("\"' ") == pair[1].strip():
            left.ports, right.ports = _port(pair[2]), _port(pair[3])
        return
    one, other = _PORT_FIELD.match(line, left.end), _PORT_FIELD.match(line, right.end)
    if one and other:
        left.ports, right.ports = _port(one[2]), _port(other[2])


def _port(text: str) -> tuple[int, ...]:
    return (int(text),) if 0 < int(text) < 65536 else ()
