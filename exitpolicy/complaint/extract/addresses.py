"""Find the addresses in a line, with the ports written beside them."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Final

from exitpolicy.complaint.language.vocabulary import numbered, pattern, words
from exitpolicy.complaint.roles.scores import Role
from exitpolicy.core.addresses import (
    BITS,
    AddressRange,
    Family,
    network,
    parse_addresses,
    read_address,
)
from exitpolicy.core.defang import refang
from exitpolicy.core.ports import read_interval

MAX_IN_LINE: Final = 32
"""Addresses of one line that are read."""
MAX_PORT_RANGE: Final = 100
"""Ports of a range `A-B`; of a larger one, only the ends are read."""

_DOTTED: Final = r"\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}"
_IPV4: Final = re.compile(
    rf"(?<![\w.])(?:(?<![A-Za-z]/)|(?<=TCP/)|(?<=UDP/)|(?<=TLS/)|(?<=IPV4/)|(?<=side/)|(?<=dmz/)|(?<=wan/)"
    rf"|(?<=lan/))(?:(?<!\d/)|(?<=\.\d/)|(?<=\.\d\d/)|(?<=\.\d\d\d/))(?<!\d-)({_DOTTED})"
    r"(?![\w])(?!\.[A-Za-z_])(?!\.\d+\.\d)(?!-[A-Za-z])"
)
_IPV6: Final = re.compile(
    r"(?<![\w:.])((?:[0-9A-Fa-f]{0,4}:){2,7}(?:[0-9A-Fa-f]{1,4}"
    r"|(?<=::)))(?![\w:])(?!\.\d+[A-Za-z_.])(?!\.\d{6})"
)
_RANGE: Final = pattern(rf"\s?(?:-|\u2013|<<range>>)\s?({_DOTTED})(?![\w.])")
_VERSION: Final = pattern(r"(?<![^\W_])(?:<<version>>)(?:\s(?:is|to))?[\s:=/(]{0,3}v?$")
_LENGTH: Final = re.compile(r"\]?/(\d{1,5})(?!\w|\.\d)")
_FIREWALL: Final = re.compile(
    r"\b(?:tcp|udp|src|dst|deny|denied|permit|permitted)\b", re.IGNORECASE
)
"""Words of firewall lines, in which Cisco writes a port as `203.0.113.7/22`."""
_PORT_AFTER: Final = re.compile(
    r"\]?(?::(\d{1,5})(?!\w|\.\d|:\d)"  # 203.0.113.7:22
    r"|\s?\((?:(?:on\s)?(?:tcp|udp|port)?\s?[/:]?\s?)?(\d{1,5})(?:/(?:tcp|udp))?\)"  # (tcp/22)
    r"|#(\d{1,5})(?!\w)"  # BIND's 203.0.113.7#53
    r"|:\s{1,8}(\d{1,5})\s*$"  # columns: 203.0.113.7:   22
    r"|\s/\s(\d{3,5})\s*$"  # address / port: 203.0.113.7 / 8080
    r")",
    re.IGNORECASE,
)
_PORT_SERVICE: Final = pattern(r"\]?(?:[)\]]?,\s|\s\(|:)(<<service>>)(?![\w.@/:-])")
"""`A:ssh`, `A (SSH)`, `A), HTTPS`."""
_PORT_DOT: Final = re.compile(r"\.(\d{1,5})(?![\w.])(?=\s*(?:[>:<]|$))")
_PORT_WORD: Final = pattern(
    r"[\])]?[\s,;(\"']{0,4}(?:(?:<<each>>)\s)?(?:(?:<<on>>|<<before port>>|<<and>>)\s)?"
    r"(?:the\s)?(?:(?:tcp|udp|dest(?:ination)?|target|dst)[ _-]{0,2})?"
    r"(?:<<port>>)(?:\s(?:tcp|udp))?(?![\w-]*[\s_-]?(?:scan|scans|scanning))"
    r"[\s:=#(nr.º°]{0,5}(\d{1,5}(?:\s{0,2}(?:,|-|<<and>>)\s{0,2}\d{1,5}(?!\d"
    r"|\.\d|\s(?:<<counted>>))){0,20})(?!\d|\.\d)"
)
_PROTO_PORT: Final = pattern(
    r"[\s,]{1,3}(?:(?:<<on>>|<<before port>>)\s)?"
    r"(?:(\d{1,5})/(?:tcp|udp)|(?:tcp|udp)/(\d{1,5}))(?!\w)"
    r"|\s?[^\W\d_]?\s?(\d{1,5})\s?(?:<<port after number>>)"
)

_PROTO_THEN_PORTS: Final = pattern(
    r"[\s,(]{1,3}(?:(?:udp/)?(?:tcp|udp)(?:/udp|/tcp)?[ /:]\s?(?=\d{1,5}(?:[),;]|$))"
    r"|(?:<<on>>|<<before port>>)\s(?:tcp|udp)[ /])"
    r"(\d{1,5}(?:(?:,\s?|\s(?:<<and>>)\s)\d{1,5}){0,16})(?!\w|[.-]\d)"
)
_MAX_SIZE: Final[dict[Family, int]] = {4: 1 << 16, 6: 1 << 96}
"""Larger networks are allocations of a registry, not a victim."""
_DOCUMENTATION: Final = "192.0.2.0/24 198.51.100.0/24 203.0.113.0/24 2001:db8::/32 3fff::/20"
_PRIVATE: Final = (
    "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 100.64.0.0/10 198.18.0.0/15 fc00::/7 64:ff9b::/96"
)
_NOWHERE: Final = (
    "0.0.0.0/8 127.0.0.0/8 169.254.0.0/16 224.0.0.0/3 192.0.0.0/24 ::/128 ::1/128"
    " fe80::/10 ff00::/8"
)
_GLOBAL: Final = "2000::/3 fc00::/7"


@dataclass(slots=True)
class Mention:
    """An address, or a range of addresses, in a line."""

    addresses: AddressRange
    start: int
    end: int
    """The position in the refanged line, including the ports."""
    ports: tuple[int, ...] = ()
    role: Role | None = None
    score: int = 0
    """The score of the role; see `Score`."""
    is_quiet: bool = False
    """Whether it is in a place where reports usually do not name a victim."""
    is_in_subject: bool = False
    """Whether only its place in the subject accuses it."""
    lists: tuple[str, ...] = ()
    """Names of the lists and table columns without a role that it is in."""


@cache
def _dots() -> tuple[str, ...]:
    return tuple(sorted(words("dot").whole))


def refanged(line: str) -> str:
    """Return a line with defanged addresses as they were; see `core.defang.refang`."""
    return refang(line, _dots())


def mentions_in(line: str) -> list[Mention]:
    """Find the addresses in a refanged line, in order."""
    found: list[Mention] = []
    dots = line.count(".") >= 3
    if dots:
        position = 0
        while len(found) < MAX_IN_LINE and (match := _IPV4.search(line, position)):
            mention = _ipv4(line, match)
            position = match.end()
            if mention is not None:
                found.append(mention)
                position = max(position, mention.end)
    if line.count(":") >= 2:
        found.extend(_ipv6s(line, MAX_IN_LINE - len(found)))
        found.sort(key=lambda mention: mention.start)
    return found


def is_documentation(addresses: AddressRange) -> bool:
    """Tell whether an address is for documentation (RFC 5737, 3849, 9637)."""
    return _within(addresses, _DOCUMENTATION)


def is_private(addresses: AddressRange) -> bool:
    """Tell whether an address is only valid in a private network."""
    return _within(addresses, _PRIVATE)


def is_nowhere(addresses: AddressRange) -> bool:
    """Tell whether no host has this address: loopback, multicast, link-local, unspecified."""
    return _within(addresses, _NOWHERE)


def _within(addresses: AddressRange, networks: str) -> bool:
    return any(network.contains(addresses) for network in _networks(networks))


@cache
def _networks(texts: str) -> tuple[AddressRange, ...]:
    return tuple(map(parse_addresses, texts.split()))


def _ipv4(line: str, match: re.Match[str]) -> Mention | None:
    found = read_address(match[1])
    if found is None or _VERSION.search(line[max(0, match.start() - 24) : match.start()]):
        return None
    first = found[1]
    mention = Mention(AddressRange(4, first, first), match.start(), match.end())
    if other := _RANGE.match(line, match.end()):
        last = read_address(other[1])
        if last is not None and first < last[1] and first >> 24 == last[1] >> 24:
            mention.addresses, mention.end = AddressRange(4, first, last[1]), other.end()
            return mention
    if length := _LENGTH.match(line, match.end()):
        return _with_slash(line, mention, int(length[1]), length.end())
    if port := _PORT_DOT.match(line, match.end()):
        return _with_ports(mention, (port[1],), port.end())
    if re.match(r"\.\d", line[match.end() : match.end() + 2]):
        return None  # a version or an object identifier
    return _with_written_port(line, mention)


def _with_slash(line: str, mention: Mention, number: int, end: int) -> Mention:
    """Read `/24` as a network if no host bits are set, else as a port as Cisco writes it."""
    family, first, _ = mention.addresses
    bits = BITS[family]
    mention.end = end
    if 8 <= number <= bits and (found := network(family, first, number)).first == first:
        mention.addresses = found
        return _with_written_port(line, mention)
    if number > bits or (family == 4 and 0 < number < bits and _FIREWALL.search(line)):
        return _with_ports(mention, (str(number),), end)
    return mention


def _with_ports(mention: Mention, texts: tuple[str, ...], end: int) -> Mention:
    if ports := valid_ports(texts):
        mention.ports, mention.end = ports, end
    return mention


def _with_port_list(mention: Mention, found: re.Match[str]) -> Mention:
    if ports := ports_in(found[1]):
        mention.ports, mention.end = ports, found.end()
    return mention


def valid_ports(texts: Iterable[str]) -> tuple[int, ...]:
    """Return the ports among numbers."""
    found = map(read_interval, texts)
    return tuple(interval[0] for interval in found if interval is not None)


def _with_written_port(line: str, mention: Mention) -> Mention:
    if found := _PORT_SERVICE.match(line, mention.end):
        mention.ports, mention.end = (numbered("service")[found[1]],), found.end()
        return mention
    if found := _PORT_AFTER.match(line, mention.end):
        text = next(group for group in found.groups() if group)
        return _with_ports(mention, (text,), found.end())
    if found := _PROTO_PORT.match(line, mention.end):
        return _with_ports(mention, (found[1] or found[2] or found[3],), found.end())
    if found := _PORT_WORD.match(line, mention.end):
        return _with_port_list(mention, found)
    if found := _PROTO_THEN_PORTS.match(line, mention.end):
        return _with_port_list(mention, found)
    return mention


def ports_in(text: str) -> tuple[int, ...]:
    """Return the ports of `22, 80 and 443` or `6000-6003`."""
    numbers = re.findall(r"\d{1,5}", text)
    if "-" in text and len(numbers) == 2:
        interval = read_interval("-".join(numbers))
        if interval is not None and interval[1] - interval[0] < MAX_PORT_RANGE:
            return tuple(range(interval[0], interval[1] + 1))
    return valid_ports(numbers)


def _ipv6s(line: str, limit: int) -> list[Mention]:
    found: list[Mention] = []
    for match in _IPV6.finditer(line):
        if len(found) >= limit:
            break
        address = read_address(match[1])
        if address is None or not _within(AddressRange(*address, address[1]), _GLOBAL):
            continue
        mention = Mention(AddressRange(*address, address[1]), match.start(), match.end())
        if length := _LENGTH.match(line, match.end()):
            bits = int(length[1])
            if 16 <= bits <= 128 and (whole := network(*address, bits)).first == address[1]:
                mention.addresses, mention.end = whole, length.end()
        elif port := _PORT_DOT.match(line, match.end()):
            mention = _with_ports(mention, (port[1],), port.end())  # tcpdump's `::1.22 >`
        elif line[match.end() : match.end() + 1] in {"]", " ", ",", "(", ""}:
            mention = _with_written_port(line, mention)
        found.append(mention)
    return found


def is_too_wide(addresses: AddressRange) -> bool:
    """Tell whether a range is too wide for a victim."""
    return addresses.size > _MAX_SIZE[addresses.family]
