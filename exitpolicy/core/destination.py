"""Destinations: what a block is about, a range of addresses and a set of ports.

Read strictly, written in one canonical way: two destinations mean the same if and only if
they are equal, and then their texts are equal too.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final, Literal

from exitpolicy.core.errors import UsageError

Family = Literal[4, 6]

Ports = tuple[tuple[int, int], ...]
"""A set of TCP ports: closed intervals, ascending, neither touching nor overlapping."""

ALL_PORTS: Final[Ports] = ((1, 65535),)
BITS: Final[dict[Family, int]] = {4: 32, 6: 128}
"""The length of an address in bits."""

MAX_TEXT: Final = 2000
"""Longer texts are refused unread: no destination that a person means is that long."""

_OCTET: Final = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_ONE_IPV4 = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}")
# Patterns for what is rare are compiled when it comes: `list` is over before they all are.
_DOTTED: Final = r"[0-9]+(\.[0-9]+){3}"
_LOOKS_IPV6: Final = r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*"
_MAPPED_FIRST: Final = 0xFFFF << 32
_MAPPED_LAST: Final = _MAPPED_FIRST | 0xFFFFFFFF


@dataclass(frozen=True, slots=True, order=True)
class Destination:
    """A closed range of addresses of one family, and ports.

    Sorts by family, address and ports. `str()` gives the canonical text.
    """

    family: Family
    first: int
    """The lowest address, as a number."""
    last: int
    """The highest address, as a number; equal to `first` for one address."""
    ports: Ports = ALL_PORTS

    def __str__(self) -> str:
        if self.ports == ALL_PORTS:
            return address_range_text(self.family, self.first, self.last)
        text = address_range_text(self.family, self.first, self.last, brackets=self.family == 6)
        return f"{text}:{ports_text(self.ports)}"

    @property
    def widest_prefix(self) -> int:
        """The shortest prefix length in the CIDR decomposition, in bits (0 is everything)."""
        return min(length for _, length in self.prefixes())

    def prefixes(self) -> Iterator[tuple[int, int]]:
        """Yield the CIDR decomposition as (network address, prefix length), ascending."""
        return prefixes(self.first, self.last, BITS[self.family])

    def overlaps(self, other: "Destination") -> bool:
        """Tell whether some address and port belongs to both."""
        return (
            self.family == other.family
            and self.first <= other.last
            and other.first <= self.last
            and any(a <= d and c <= b for a, b in self.ports for c, d in other.ports)
        )


def prefixes(first: int, last: int, bits: int) -> Iterator[tuple[int, int]]:
    """Yield the fewest CIDR prefixes that make up [first, last]: (network address, length)."""
    while first <= last:
        # The largest one that starts here: as aligned as `first`, no longer than what is left.
        size = min(first & -first or 1 << bits, 1 << (last - first + 1).bit_length() - 1)
        yield first, bits - size.bit_length() + 1
        first += size


def address_text(family: Family, number: int) -> str:
    """Return an address in its canonical text (RFC 5952 for IPv6), without brackets."""
    if family == 6:
        return str(IPv6Address(number))
    return f"{number >> 24}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def address_range_text(family: Family, first: int, last: int, *, brackets: bool = False) -> str:
    """Return `A`, `A/LEN` or `A-B`; with `brackets`, each address as Tor wants IPv6: `[A]`."""

    def text(number: int) -> str:
        address = address_text(family, number)
        return f"[{address}]" if brackets else address

    size = last - first + 1
    if size == 1:
        return text(first)
    if size & (size - 1) == 0 and first % size == 0:
        return f"{text(first)}/{BITS[family] - size.bit_length() + 1}"
    return f"{text(first)}-{text(last)}"


def ports_text(ports: Ports) -> str:
    """Return ports as `22`, `80,443`, `6000-6010`; `*` for all."""
    if ports == ALL_PORTS:
        return "*"
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in ports)


def normal_ports(intervals: Iterable[tuple[int, int]]) -> Ports:
    """Return the union of closed port intervals in normal form."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(intervals):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], high))
        else:
            merged.append((low, high))
    return tuple(merged)


def parse_destination(text: str) -> Destination:
    """Read one destination as a person writes it.

    `203.0.113.7`, `203.0.113.0/24`, `203.0.113.5-203.0.113.20`, each also with ports (`:22`,
    `:80,443`, `:6000-6010`); IPv6 bare, or in brackets when ports follow (`[2001:db8::1]:22`,
    `[2001:db8::]/32:22`). Raises UsageError, whose hint says what to write instead.
    """
    if _ONE_IPV4.fullmatch(text):
        # By far the most in any list, so they do not go the long way.
        number = _ipv4(text)
        return Destination(4, number, number)
    if len(text) > MAX_TEXT:
        raise UsageError(
            f"a destination of {len(text)} characters: that is no address",
            hint="for a list, write one a line and read it with -",
        )
    text = text.strip()
    if (plain := _refanged(text)) != text:
        raise UsageError(f"{text!r} is written so that nobody clicks on it", hint=f"write {plain}")
    addresses, ports = _split_ports(text)
    family, first, last = _parse_addresses(addresses, text)
    if family == 6 and first <= _MAPPED_LAST and last >= _MAPPED_FIRST and last - first < 1 << 33:
        ends = {max(first, _MAPPED_FIRST), min(last, _MAPPED_LAST)}
        inner = (IPv4Address(number & 0xFFFFFFFF) for number in sorted(ends))
        raise UsageError(
            f"{text!r} is an IPv4-mapped IPv6 address, which no exit connects to",
            hint=f"write the IPv4 address: {'-'.join(str(address) for address in inner)}",
        )
    return Destination(family, first, last, ALL_PORTS if ports is None else _parse_ports(ports))


def _ipv4(text: str) -> int:
    """Return the number of an address that is known to be one."""
    first, second, third, fourth = text.split(".")
    return int(first) << 24 | int(second) << 16 | int(third) << 8 | int(fourth)


def _split_ports(text: str) -> tuple[str, str | None]:
    """Separate the addresses from the ports; None where no ports are named."""
    if text.startswith("["):
        closing = text.rfind("]")
        if closing < 0:
            raise UsageError(
                f"{text!r} has no closing bracket", hint="write IPv6 with ports as [2001:db8::1]:22"
            )
        colon = text.find(":", closing)
        return (text, None) if colon < 0 else (text[:colon], text[colon + 1 :])
    if text.count(":") == 1:
        addresses, _, ports = text.partition(":")
        return addresses, ports
    return text, None


def _parse_addresses(text: str, whole: str) -> tuple[Family, int, int]:
    """Read `A`, `A/LEN` or `A-B` into (family, lowest, highest)."""
    if "[" in text or "]" in text:
        bare = text.replace("[", "").replace("]", "")
        if text not in _bracketed(bare):
            raise UsageError(
                f"the brackets in {whole!r} are not where they belong",
                hint="write [2001:db8::1]:22, [2001:db8::]/32:22 or [2001:db8::1]-[2001:db8::9]:22",
            )
        if ":" not in bare:
            raise UsageError(
                f"only IPv6 addresses stand in brackets, not {bare!r}",
                hint=f"write {whole.replace('[', '').replace(']', '')}",
            )
        text = bare
    if "/" in text:
        address, _, length = text.partition("/")
        return _parse_network(address, length, whole)
    if "-" in text and not any(c.isalpha() and c not in "abcdefABCDEF" for c in text):
        low, _, high = text.partition("-")
        (family, first), (other, last) = _parse_address(low, whole), _parse_address(high, whole)
        if family != other:
            raise UsageError(
                f"{whole!r} is a range from IPv{family} to IPv{other}",
                hint="write one range for each family",
            )
        if first > last:
            raise UsageError(f"the range {whole!r} runs backwards", hint=f"write {high}-{low}")
        return family, first, last
    family, first = _parse_address(text, whole)
    return family, first, first


def _bracketed(bare: str) -> set[str]:
    """Return the ways in which brackets may be put around bare addresses."""
    if "/" in bare:
        address, _, length = bare.partition("/")
        return {f"[{bare}]", f"[{address}]/{length}"}
    if "-" in bare:
        low, _, high = bare.partition("-")
        return {f"[{bare}]", f"[{low}]-[{high}]"}
    return {f"[{bare}]"}


def _parse_network(address: str, length: str, whole: str) -> tuple[Family, int, int]:
    family, first = _parse_address(address, whole)
    bits = BITS[family]
    if not re.fullmatch(r"[0-9]{1,3}", length) or int(length) > bits:
        raise UsageError(
            f"{whole!r} has no prefix length that IPv{family} knows",
            hint=f"write /0 to /{bits}, or a range {address}-LAST",
        )
    if length != str(int(length)):
        raise UsageError(f"{whole!r} has leading zeros", hint=f"write {address}/{int(length)}")
    size = 1 << bits - int(length)
    if first % size:
        network = address_range_text(family, first - first % size, first - first % size + size - 1)
        raise UsageError(
            f"{whole!r} has host bits set",
            hint=f"write {network} for the network, or {address} for the one address",
        )
    return family, first, first + size - 1


def _parse_address(text: str, whole: str) -> tuple[Family, int]:
    if _ONE_IPV4.fullmatch(text):
        return 4, _ipv4(text)
    if re.fullmatch(_DOTTED, text):
        plain = ".".join(octet.lstrip("0") or "0" for octet in text.split("."))
        if _ONE_IPV4.fullmatch(plain):
            raise UsageError(
                f"{whole!r} has leading zeros, which some programs read as octal",
                hint=f"write {plain} if that is what is meant",
            )
        raise UsageError(
            f"{whole!r} is no IPv4 address: an octet is above 255",
            hint="each of the four numbers is 0 to 255",
        )
    if re.fullmatch(_LOOKS_IPV6, text):
        try:
            return 6, int(IPv6Address(text))
        except AddressValueError:
            raise UsageError(
                f"{whole!r} is no IPv6 address",
                hint="with ports, write the address in brackets: [2001:db8::1]:22",
            ) from None
    raise UsageError(f"{whole!r} is no address", hint=_mend(text))


def _refanged(text: str) -> str:
    """Undo the `1[.]2[.]3[.]4` of those who pass on malicious addresses."""
    text = re.sub(r"\[\.\]|\(\.\)|\[dot\]|\(dot\)", ".", text, flags=re.IGNORECASE)
    return text.replace("[:]", ":")


def _mend(text: str) -> str:
    """Say what to write instead of something that is no address at all."""
    examples = "write an address such as 203.0.113.7, 203.0.113.0/24 or 2001:db8::1"
    if "%" in text:
        return f"an exit knows no zones: write {text.partition('%')[0]}"
    if "*" in text:
        return "for every address write 0.0.0.0/0 or ::/0, which also needs --force"
    if re.fullmatch(r"[0-9]+(\.[0-9]+){1,2}", text):
        return f"all four octets are needed: {examples}"
    if re.search(r"[A-Za-z]", text) and re.fullmatch(r"[A-Za-z0-9._/:@?&=-]+", text):
        return (
            "an exit policy knows addresses, not names: look it up"
            " (getent ahosts NAME) and block what you find"
        )
    return examples


def _parse_ports(text: str) -> Ports:
    if text == "*":
        return ALL_PORTS
    return normal_ports(_parse_port_range(item) for item in text.split(","))


def _parse_port_range(item: str) -> tuple[int, int]:
    low, dash, high = item.partition("-")
    if not re.fullmatch(r"[0-9]{1,5}", low) or (dash and not re.fullmatch(r"[0-9]{1,5}", high)):
        raise UsageError(
            f"{item!r} is no port", hint="write ports as :22, :80,443 or :6000-6010; none means all"
        )
    first, last = int(low), int(high if dash else low)
    if (plain := f"{first}-{last}" if dash else f"{first}") != item:
        raise UsageError(f"port {item!r} has leading zeros", hint=f"write {plain}")
    if not 1 <= first <= 65535 or not 1 <= last <= 65535:
        raise UsageError(
            f"port {item!r} is not between 1 and 65535", hint="for all ports, name none"
        )
    if first > last:
        raise UsageError(f"the port range {item!r} runs backwards", hint=f"write {high}-{low}")
    return first, last
