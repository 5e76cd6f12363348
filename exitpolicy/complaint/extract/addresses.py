# ruff: noqa: RUF001
# The words for "port" in other alphabets are part of this module.
"""Addresses in a line of text, defanged or not, with the ports that are written beside them."""

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv6Address, IPv6Network, ip_network
from typing import Final

from exitpolicy.complaint.language.vocabulary import pattern
from exitpolicy.core.addresses import Family

MAX_IN_LINE: Final = 32
"""Addresses beyond are not looked at; no line of a report names more."""

_DEFANGED: Final = re.compile(
    r"\s?[\[({<]\s?(?:\.|dot|punkt|punto|point)\s?[\])}>]\s?|\s?\[\.|\.\]", re.IGNORECASE
)
_DEFANGED_URL: Final = re.compile(r"\bh(?:xx|XX|\*\*|__)p(s?)(?=\W)|\bmeow(s?)(?=:)", re.IGNORECASE)
_SPOKEN_DOT: Final = re.compile(r"(?<=\d)\s(?:dot|punkt|punto|point)\s(?=\d)", re.IGNORECASE)
_ESCAPED_DOT: Final = re.compile(r"(?<=\d)\\\.(?=\d)")
_WIDE_DIGITS: Final = str.maketrans("０１２３４５６７８９．：／", "0123456789.:/")

_OCTET: Final = r"\d{1,3}"
_IPV4: Final = re.compile(
    rf"(?<![\w.])(?:(?<![A-Za-z]/)|(?<=TCP/)|(?<=UDP/)|(?<=TLS/)|(?<=IPV4/)|(?<=side/)|(?<=dmz/)|(?<=wan/)"
    rf"|(?<=lan/))(?<!\d/)(?<!\d-)({_OCTET})\.({_OCTET})\.({_OCTET})\.({_OCTET})"
    r"(?![\w])(?!\.[A-Za-z_])(?!\.\d+\.\d)(?!-[A-Za-z])"
)
_IPV6: Final = re.compile(
    r"(?<![\w:.])((?:[0-9A-Fa-f]{0,4}:){2,7}(?:[0-9A-Fa-f]{1,4}"
    r"|(?<=::)))(?![\w:])(?!\.\d+[A-Za-z_.])(?!\.\d{6})"
)
_RANGE: Final = re.compile(
    rf"\s?(?:-|\u2013|bis|to|until)\s?({_OCTET})\.({_OCTET})\.({_OCTET})\.({_OCTET})(?![\w.])"
)
_LENGTH: Final = re.compile(r"\]?/(\d{1,5})(?!\w|\.\d)")
_FIREWALL: Final = re.compile(
    r"\b(?:tcp|udp|src|dst|deny|denied|permit|permitted)\b", re.IGNORECASE
)
"""Words of the lines in which Cisco writes `203.0.113.7/22` for a port."""
_PORT_AFTER: Final = re.compile(
    r"\]?(?::(\d{1,5})(?!\w|\.\d|:\d)"  # 203.0.113.7:22
    r"|\s?\((?:(?:on\s)?(?:tcp|udp|port)?\s?[/:]?\s?)?(\d{1,5})(?:/(?:tcp|udp))?\)"  # (tcp/22)
    r"|#(\d{1,5})(?!\w)"  # BIND's 203.0.113.7#53
    r"|:\s{1,8}(\d{1,5})\s*$"  # columns: 203.0.113.7:   22
    r")",
    re.IGNORECASE,
)
_PORT_DOT: Final = re.compile(r"\.(\d{1,5})(?![\w.])(?=\s*(?:[>:<]|$))")
_PORT_WORD: Final = pattern(
    r"[\])]?[\s,;(\"']{0,4}(?:(?:<<each>>)\s)?(?:(?:<<on>>|<<before port>>|<<and>>)\s)?"
    r"(?:the\s)?(?:(?:tcp|udp|dest(?:ination)?|target|dst)[ -]{1,2})?"
    r"(?:<<port>>)(?:\s(?:tcp|udp))?(?![\w-]*[\s_-]?(?:scan|scans|scanning))"
    r"[\s:=#(nr.º°]{0,5}(\d{1,5}(?:\s{0,2}(?:,|-|<<and>>)\s{0,2}\d{1,5}(?!\d"
    r"|\.\d|\s(?:<<counted>>))){0,20})(?!\d|\.\d)"
)
_PROTO_PORT: Final = pattern(
    r"[\s,]{1,3}(?:(\d{1,5})/(?:tcp|udp)|(?:tcp|udp)/(\d{1,5}))(?!\w)"
    r"|\s?[的の]\s?(\d{1,5})\s?(?:<<port after number>>)"
)

_PROTO_THEN_PORTS: Final = pattern(
    r"[\s,(]{1,3}(?:(?:udp/)?(?:tcp|udp)(?:/udp|/tcp)?[ /:]\s?(?=\d{1,5}(?:\)|$))"
    r"|(?:<<on>>|<<before port>>)\s(?:tcp|udp)[ /])"
    r"(\d{1,5}(?:(?:,\s?|\s(?:<<and>>)\s)\d{1,5}){0,16})(?!\w|[.-]\d)"
)
_PORT_BARE: Final = pattern(r"\s(?:<<on>>)\s(\d{3,5})(?=\s[a-z]|[,;.]?\s*$|[.;]\s)", 0)
"""`1.2.3.4 on 5900`; a day of the month has two digits at most."""

_MAPPED: Final = IPv6Network("::ffff:0:0/96")
_GLOBAL: Final = IPv6Network("2000::/3")
_LOCAL: Final = IPv6Network("fc00::/7")
_MAX_WIDTH: Final[dict[Family, int]] = {4: 1 << 16, 6: 1 << 96}
"""Wider networks are allocations out of a registry, not somebody's victim."""

Key = tuple[Family, int, int]
"""Family, first and last address: what a mention is about."""


def _spans(texts: str) -> tuple[Key, ...]:
    networks = (ip_network(text) for text in texts.split())
    return tuple(
        (4 if net.version == 4 else 6, int(net.network_address), int(net.broadcast_address))
        for net in networks
    )


_DOCUMENTATION: Final = _spans(
    "192.0.2.0/24 198.51.100.0/24 203.0.113.0/24 2001:db8::/32 3fff::/20"
)
_PRIVATE: Final = _spans(
    "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 100.64.0.0/10 198.18.0.0/15 fc00::/7 64:ff9b::/96"
)
_NOWHERE: Final = _spans(
    "0.0.0.0/8 127.0.0.0/8 169.254.0.0/16 224.0.0.0/3 192.0.0.0/24 ::/128 ::1/128 "
    "fe80::/10 ff00::/8"
)


@dataclass(slots=True)
class Mention:
    """An address, or a range of them, in a line."""

    key: Key
    start: int
    end: int
    """Where it stands in the refanged line, ports included."""
    ports: tuple[int, ...] = ()


def refanged(line: str) -> str:
    """Undo what keeps people from clicking: `1[.]2[.]3[.]4`, `hxxp`."""
    if not line.isascii():
        line = line.translate(_WIDE_DIGITS)
    if "xx" in line or "XX" in line or "**" in line or "meow" in line:
        line = _DEFANGED_URL.sub(lambda found: f"http{found[1] or found[2] or ''}", line)
    if "[" in line or "(" in line or "{" in line or "<" in line:
        line = _DEFANGED.sub(".", line)
        line = line.replace("[:]", ":").replace("[://]", "://").replace("[:", ":")
    if " dot " in line or " DOT " in line or " punto " in line or " punkt " in line:
        line = _SPOKEN_DOT.sub(".", line)
    if "\\" in line:
        line = _ESCAPED_DOT.sub(".", line)
    return line


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


def is_documentation(key: Key) -> bool:
    """Tell whether an address is one of those for examples (RFC 5737, 3849, 9637)."""
    return _within(key, _DOCUMENTATION)


def is_private(key: Key) -> bool:
    """Tell whether an address means something only inside somebody's network."""
    return _within(key, _PRIVATE)


def is_nowhere(key: Key) -> bool:
    """Tell whether an address can be nobody's: loopback, multicast, link-local, unspecified."""
    return _within(key, _NOWHERE)


def _within(key: Key, spans: tuple[Key, ...]) -> bool:
    family, first, last = key
    return any(family == f and low <= first and last <= high for f, low, high in spans)


def _number(octets: tuple[str, ...]) -> int | None:
    values = [int(octet) for octet in octets]
    if max(values) > 255:
        return None
    return values[0] << 24 | values[1] << 16 | values[2] << 8 | values[3]


def _ipv4(line: str, match: re.Match[str]) -> Mention | None:
    first = _number(match.groups())
    if first is None:
        return None
    mention = Mention((4, first, first), match.start(), match.end())
    if other := _RANGE.match(line, match.end()):
        last = _number(other.groups())
        if last is not None and first < last and last - first < 1 << 12:
            mention.key, mention.end = (4, first, last), other.end()
            return mention
    if length := _LENGTH.match(line, match.end()):
        return _with_slash(line, mention, int(length[1]), length.end())
    if port := _PORT_DOT.match(line, match.end()):
        return _with_ports(mention, (port[1],), port.end())
    if (
        line[match.end() : match.end() + 1] == "."
        and line[match.end() + 1 : match.end() + 2].isdigit()
    ):
        return None  # a version or an object identifier
    return _with_written_port(line, mention)


def _with_slash(line: str, mention: Mention, number: int, end: int) -> Mention:
    """Read `/24` as a network where no host bits are set, else as Cisco's port."""
    family, first, _ = mention.key
    bits = 32 if family == 4 else 128
    mention.end = end
    if 8 <= number <= bits and first % (1 << bits - number) == 0:
        mention.key = (family, first, first + (1 << bits - number) - 1)
        return _with_written_port(line, mention)
    if number > bits or (family == 4 and 0 < number < bits and _FIREWALL.search(line)):
        return _with_ports(mention, (str(number),), end)
    return mention


def _with_ports(mention: Mention, texts: tuple[str, ...], end: int) -> Mention:
    ports = tuple(port for port in map(int, texts) if 0 < port < 65536)
    if ports:
        mention.ports, mention.end = ports, end
    return mention


def _with_written_port(line: str, mention: Mention) -> Mention:
    if found := _PORT_AFTER.match(line, mention.end):
        text = next(group for group in found.groups() if group)
        return _with_ports(mention, (text,), found.end())
    if found := _PROTO_PORT.match(line, mention.end):
        return _with_ports(mention, (found[1] or found[2] or found[3],), found.end())
    if found := _PORT_WORD.match(line, mention.end):
        return _with_ports(mention, ports_in(found[1]), found.end())
    if found := _PROTO_THEN_PORTS.match(line, mention.end):
        return _with_ports(mention, ports_in(found[1]), found.end())
    if (found := _PORT_BARE.match(line, mention.end)) and not 1900 < int(found[1]) < 2100:
        return _with_ports(mention, (found[1],), found.end())
    return mention


def ports_in(text: str) -> tuple[str, ...]:
    """Split `22, 80 and 443` or `6000-6003` into numbers."""
    numbers = re.findall(r"\d{1,5}", text)
    if "-" in text and len(numbers) == 2 and 0 <= int(numbers[1]) - int(numbers[0]) < 100:
        return tuple(str(port) for port in range(int(numbers[0]), int(numbers[1]) + 1))
    return tuple(numbers)


def _ipv6s(line: str, limit: int) -> list[Mention]:
    found: list[Mention] = []
    for match in _IPV6.finditer(line):
        if len(found) >= limit:
            break
        try:
            address = IPv6Address(match[1])
        except AddressValueError:
            continue
        if address not in _GLOBAL and address not in _LOCAL:
            continue
        number = int(address)
        mention = Mention((6, number, number), match.start(), match.end())
        if length := _LENGTH.match(line, match.end()):
            bits = int(length[1])
            if 16 <= bits <= 128 and number % (1 << 128 - bits) == 0:
                mention.key = (6, number, number + (1 << 128 - bits) - 1)
                mention.end = length.end()
        elif port := _PORT_DOT.match(line, match.end()):
            mention = _with_ports(mention, (port[1],), port.end())  # tcpdump's `::1.22 >`
        elif (
            line[match.end() : match.end() + 1] == "]"
            or line[match.end() : match.end() + 1] in " ,("
        ):
            mention = _with_written_port(line, mention)
        found.append(mention)
    return found


def too_wide(key: Key) -> bool:
    """Tell whether a range is wider than any victim."""
    return key[2] - key[1] >= _MAX_WIDTH[key[0]]
