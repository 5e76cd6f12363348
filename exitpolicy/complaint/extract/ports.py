"""Assign ports to the addresses of a line, by keys, words and positions."""

import re
from itertools import pairwise
from typing import Final

from exitpolicy.complaint.extract.addresses import Mention, mentions_in, ports_in, valid_ports
from exitpolicy.complaint.input.sentences import is_prose, looks_logged
from exitpolicy.complaint.language.senses import label_of, sense_of, words_of
from exitpolicy.complaint.language.vocabulary import numbered, pattern
from exitpolicy.complaint.roles.context import LIST
from exitpolicy.complaint.roles.scores import Role

_PORT_VALUE: Final = pattern(
    r"(?:[:=\uff1a>\t|]\s{0,16}|\s{3,16})[\"'\[]?\s?(?:(?:tcp|udp)[ /]{1,2})?"
    r"(\d{1,5}(?:(?:\s?[,/;]\s?|\s(?:<<and>>)\s)\d{1,5}){0,30})(?![\w.-])"
)
_KEY: Final = re.compile(r"[^\d:=,;|\t\n\"'{}]{1,42}\Z")
_HAS_PORT: Final = pattern(r"port|[ds]pt(?![a-z])|service|<<port>>")
PORT_WORD: Final = pattern(
    r"^(?:[ds]?pt|.{0,12}ports?|(?:<<port>>)\w{0,2})$|[^\x00-\u0fff]{0,12}(?:<<port>>)"
)
_PORT_SAID: Final = pattern(
    r"(?<![^\W_])(?:<<port>>)(?:\s?(?:<<port is>>):?)?\s?"
    r"(\d{1,5}(?:(?:,\s?|\s(?:<<and>>)\s)\d{1,5}){0,16})(?![\d.-]\d)"
)
_PROTO: Final = pattern(
    r"(?<![\w/:.-])(?:(\d{1,5})/(?:tcp|udp)|(?:tcp|udp)[ /](\d{1,5}))(?![\w. -]\d)"
)
_PORT_BARE: Final = pattern(r"\s(?:<<on>>)\s((?!19|20)\d{4,5}|\d{3})(?=\s[a-zà-ÿ]|[,;.)]|$)", 0)
_SERVICE_VALUE: Final = pattern(
    r"(?<![^\W_])(?:<<key of service>>|dpt|dport|dst_?port|(?:dest(?:ination)?|target)[ _]port)"
    r"(?:\s?[:=\uff1a]\s{0,4}|\s?[\t|]\s?|\s{3,16})[\"'(\[]?(<<service>>)(?![\w-])"
)
_TIME: Final = re.compile(r"\d{1,2}:\d{2}:\d{2}")
_COMPOUND: Final = re.compile(r"\S{0,200}\w[.@/:]\w\S{0,200}")
"""Host names, mail addresses and links."""
WEB_PORTS: Final = frozenset({80, 443})
"""Ports of the web. Every report names the web, and sites also have other ports."""
_ON_PORT: Final = pattern(
    r"[\s,](?:<<on>>|<<before port>>|dst|dest\w{0,8}|target)\s.{0,12}(?:<<port>>)"
)
_PORT_ARROW: Final = re.compile(r"(?<![\w.:-])\d{1,5}\s?(?:-{1,3}>|→)\s?(\d{1,5})(?![\w.:-])")
"""`64092 --> 32800`, the ports of a flow in Wireshark, apart from its addresses."""
_PAIR_THEN_PORTS: Final = re.compile(
    r"[\"']?([,;\t| ])[\"']?(\d{1,5})[\"']?\1[\"']?(\d{1,5})[\"']?(?=\1|\s*\Z)"
)
_SERVICE_THEN_PORTS: Final = re.compile(r"\s[\w.-]{1,20}/(?:tcp|udp)\s(\d{1,5})\s(\d{1,5})(?!\S)")
"""`A B ssh/tcp 44012 22`."""
_PORT_FIELD: Final = re.compile(r"[\"']?\s?([,;\t| ])\s{0,8}[\"']?(\d{1,5})[\"']?(?=\s?\1|\s*\Z)")


def keyed_ports(line: str) -> list[tuple[Role | None, tuple[int, ...]]]:
    """Return the ports after each key such as `dst port:`, with the role that the key names."""
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
            if word in numbered("service"):
                continue  # in `SIP port`, `sip` is no source
            # `s_port` is a source's, `port(s)` is not.
            if word in {"dpt", "dport", "spt", "sport"} or (place == 0 and word in {"s", "d"}):
                role = Role.DESTINATION if word[0] == "d" else Role.SOURCE
            elif (sense := label_of(word)) is not None:
                role = sense.role
        if ports := ports_in(match[1]):
            found.append((role, ports))
    return found


def keyed_service(line: str) -> tuple[int, ...]:
    """Return the ports of the services that keys name: `service: ssh`, `DPT=ssh`."""
    named = dict.fromkeys(match[1] for match in _SERVICE_VALUE.finditer(line))
    return tuple(numbered("service")[name] for name in named)


def services_in(text: str) -> set[int]:
    """Return the ports of the services that a text names in words, except those of the web.

    Log lines do not count: the name of a program does not tell on which port it listens.
    """
    names = numbered("service")
    lines = (_COMPOUND.sub(" ", line) for line in text.split("\n") if not _TIME.search(line))
    said = (word for line in lines for word in words_of(line))
    return {names[word] for word in said if word in names} - WEB_PORTS


def service_ports() -> frozenset[int]:
    """Return the ports of all services whose names are known."""
    return frozenset(numbered("service").values())


def is_source_port(line: str, start: int) -> bool:
    """Tell whether the word "port" at a position is about the port of the source."""
    words = words_of(line[max(0, start - 24) : start])
    sense = sense_of(words[-1]) if words else None
    return sense is not None and sense.role is Role.SOURCE


def ports_written(text: str) -> set[int]:
    """Return the ports that lines without an address name: `port 22`, `TCP 5060`, `app: ssh`."""
    lines = [line for line in text.split("\n") if not _TIME.search(line) and not mentions_in(line)]
    said = [
        ports_in(match[1])
        for line in lines
        for match in _PORT_SAID.finditer(line)
        if not is_source_port(line, match.start())
    ]
    protocols = [valid_ports([m[1] or m[2]]) for line in lines for m in _PROTO.finditer(line)]
    return set().union(*said, *protocols, *({*keyed_service(line)} - WEB_PORTS for line in lines))


def assign_ports(line: str, mentions: list[Mention]) -> None:
    """Give the ports that the line names elsewhere to its destinations."""
    destinations = [m for m in mentions if m.role is Role.DESTINATION and not m.ports]
    others = [m for m in mentions if m.role is None and not m.ports]
    for role, ports in keyed_ports(line):
        if role is Role.DESTINATION:
            for mention in destinations or others:
                mention.ports = ports
        elif role is None and len(destinations) == 1 and not destinations[0].ports:
            destinations[0].ports = ports
    if any(not mention.ports for mention in destinations):
        if flow := _PORT_ARROW.search(line):
            _assign(destinations, valid_ports([flow[1]]))
        _assign(destinations, keyed_service(line))
    _move_ports(line, mentions)
    _assign_said(line, mentions, destinations or others)
    for left, right in reversed(list(pairwise(mentions))):
        # `A and B (port 445)`: the port after a list is that of all.
        listed = left.role is right.role and LIST.match(line[left.end : right.start])
        if right.ports and not left.ports and listed:
            left.ports = right.ports


def _move_ports(line: str, mentions: list[Mention]) -> None:
    """Read `A was attacked by B on port 22`: the port after the source is the victim's."""
    without = [m for m in mentions if m.role is Role.DESTINATION and not m.ports]
    for mention in mentions:
        written = line[mention.start : mention.end]
        if without and mention.role is Role.SOURCE and _ON_PORT.search(written):
            _assign(without, mention.ports)
            mention.ports = ()


def _assign(mentions: list[Mention], ports: tuple[int, ...]) -> None:
    """Give ports to the addresses that have none."""
    for mention in mentions:
        mention.ports = mention.ports or ports


def _assign_said(line: str, mentions: list[Mention], destinations: list[Mention]) -> None:
    """Read `port 22 of our server A`, `A was scanned all day (ports 22, 80)`."""
    if all(mention.ports for mention in destinations) or (
        looks_logged(line) and not is_prose(line)
    ):
        return
    for said in (*_PORT_SAID.finditer(line), *_PROTO.finditer(line), *_PORT_BARE.finditer(line)):
        written = any(m.start < said.end() and said.start() < m.end for m in mentions)
        if not written and not is_source_port(line, said.start()):
            _assign(destinations, ports_in(said[1] or said[2]))
            return


def positional_ports(line: str, left: Mention, right: Mention) -> None:
    """Read the ports of `A,B,4444,22` and `A,4444,B,22`, flows without column names."""
    if left.ports or right.ports:
        return
    if named := _SERVICE_THEN_PORTS.match(line, right.end):
        left.ports, right.ports = valid_ports([named[1]]), valid_ports([named[2]])
        return
    if pair := _PAIR_THEN_PORTS.match(line, right.end):
        if line[left.end : right.start].strip("\"' ") == pair[1].strip():
            left.ports, right.ports = valid_ports([pair[2]]), valid_ports([pair[3]])
        return
    one, other = _PORT_FIELD.match(line, left.end), _PORT_FIELD.match(line, right.end)
    if one and other:
        left.ports, right.ports = valid_ports([one[2]]), valid_ports([other[2]])
