"""IP addresses and ranges of them: parsing, canonical text, CIDR prefixes.

An address is a family (4 or 6) and a number. `parse_addresses` reads what a person typed and
explains each mistake. `read_address` returns None for any text that is no address.
"""

import re
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

from exitpolicy.core.errors import UsageError

Family = Literal[4, 6]

BITS: Final[dict[Family, int]] = {4: 32, 6: 128}
"""The length of an address in bits."""

_OCTET: Final = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
"""A pattern for a number from 0 to 255 without leading zeros."""
_OCTETS: Final = tuple(map(str, range(256)))
_IPV4: Final = rf"{_OCTET}(?:\.{_OCTET}){{3}}"
# Patterns are compiled at first use: `list` finishes in less time than all of them take.
_DOTTED: Final = r"[0-9]+(\.[0-9]+){3}"
_LOOKS_IPV6: Final = r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*"
_IPV6_CHARACTERS: Final = frozenset("0123456789abcdefABCDEF:")
_GROUP_LENGTHS: Final = frozenset(range(1, 5))
"""Digits in a group of an IPv6 address."""
_ZEROS: Final = tuple(f":{'0:' * count}" for count in range(8, 1, -1))
"""The runs of zeros that `::` stands for, the longest first."""

_MAPPED_FIRST: Final = 0xFFFF << 32
_MAPPED_LAST: Final = _MAPPED_FIRST | 0xFFFFFFFF


class AddressRange(NamedTuple):
    """A closed range of addresses of one family. `str()` gives the canonical text."""

    family: Family
    first: int
    """The lowest address, as a number."""
    last: int
    """The highest address, as a number; equal to `first` for one address."""

    def __str__(self) -> str:
        return self.text()

    def text(self, *, brackets: bool = False) -> str:
        """Return `A`, `A/LEN` or `A-B`; with `brackets`, each address as `[A]`."""
        size = self.size
        text = _bracketed_text if brackets else address_text
        if size == 1:
            return text(self.family, self.first)
        if size & (size - 1) == 0 and self.first % size == 0:
            length = BITS[self.family] - size.bit_length() + 1
            return f"{text(self.family, self.first)}/{length}"
        return f"{text(self.family, self.first)}-{text(self.family, self.last)}"

    @property
    def size(self) -> int:
        """The number of addresses."""
        return self.last - self.first + 1

    def contains(self, other: "AddressRange") -> bool:
        """Tell whether all addresses of `other` are in this range."""
        return self.family == other.family and self.first <= other.first and other.last <= self.last

    def overlaps(self, other: "AddressRange") -> bool:
        """Tell whether some address is in both ranges."""
        return self.family == other.family and self.first <= other.last and other.first <= self.last

    def prefixes(self) -> Iterator[tuple[int, int]]:
        """Yield the fewest CIDR prefixes of the range as (network, length), ascending."""
        return prefixes(self.first, self.last, BITS[self.family])


def network(family: Family, number: int, length: int) -> AddressRange:
    """Return the network of `length` bits around an address."""
    host_bits = BITS[family] - length
    first = number >> host_bits << host_bits
    return AddressRange(family, first, first + (1 << host_bits) - 1)


def prefixes(first: int, last: int, bits: int) -> Iterator[tuple[int, int]]:
    """Yield the fewest CIDR prefixes that make up [first, last] as (network, length)."""
    while first <= last:
        # The largest prefix that starts at `first`: as aligned as it is, and not beyond `last`.
        size = min(first & -first or 1 << bits, 1 << (last - first + 1).bit_length() - 1)
        yield first, bits - size.bit_length() + 1
        first += size


def address_text(family: Family, number: int) -> str:
    """Return an address in its canonical text (RFC 5952 for IPv6), without brackets."""
    if family == 6:
        return _ipv6_text(number)
    first, second = _OCTETS[number >> 24], _OCTETS[number >> 16 & 255]
    return f"{first}.{second}.{_OCTETS[number >> 8 & 255]}.{_OCTETS[number & 255]}"


def _ipv6_text(number: int) -> str:
    # Three times as fast as ipaddress, which makes an object first: a policy has thousands.
    digits = f"{number:032x}"
    groups = ":".join([digits[at : at + 4].lstrip("0") or "0" for at in range(0, 32, 4)])
    framed = f":{groups}:"
    for zeros in _ZEROS if "0:0" in groups else ():
        if (at := framed.find(zeros)) >= 0:
            return f"{framed[1:at]}::{framed[at + len(zeros) : -1]}"
    return groups


def _bracketed_text(family: Family, number: int) -> str:
    return f"[{address_text(family, number)}]"


def read_address(text: str) -> tuple[Family, int] | None:
    """Return the family and number of one address without brackets; None if it is none.

    IPv4 with leading zeros and IPv6 with a zone are none.
    """
    if ":" in text:
        if (number := plain_ipv6(text)) is not None:
            return 6, number
        from ipaddress import AddressValueError, IPv6Address  # noqa: PLC0415 - few texts come here

        try:
            address = IPv6Address(text)
        except AddressValueError:
            return None
        return None if address.scope_id else (6, int(address))
    return (4, _ipv4(text)) if re.fullmatch(_IPV4, text) else None


def plain_ipv6(text: str) -> int | None:
    """Return the number of an IPv6 address in hexadecimal groups; None for anything else.

    Three times as fast as ipaddress, which reads the other forms: a ledger has thousands.
    """
    if not _IPV6_CHARACTERS.issuperset(text):
        return None
    head, gap, tail = text.partition("::")
    left = head.split(":") if head else []
    right = tail.split(":") if tail else []
    zeros = 8 - len(left) - len(right)
    if (zeros < 1) if gap else zeros:
        return None
    groups = [*left, *"0" * zeros, *right]
    if not _GROUP_LENGTHS.issuperset(map(len, groups)):
        return None
    return int("".join([group.zfill(4) for group in groups]), 16)


def read_endpoint(text: str) -> tuple[Family, int, int] | None:
    """Return family, address and port of `192.0.2.1:80` or `[2001:db8::1%eth0]:80`.

    An IPv4-mapped IPv6 address becomes the IPv4 address. None if the text is no such pair.
    """
    host, _, port = text.rpartition(":")
    found = read_address(host.strip("[]").partition("%")[0])
    if found is None or not port.isascii() or not port.isdigit():
        return None
    family, number = found
    if family == 6 and is_mapped(number):
        return 4, number - _MAPPED_FIRST, int(port)
    return family, number, int(port)


def is_mapped(number: int) -> bool:
    """Tell whether an IPv6 address is the IPv4-mapped form of an IPv4 address."""
    return _MAPPED_FIRST <= number <= _MAPPED_LAST


def mapped(number: int) -> int:
    """Return the IPv4-mapped IPv6 address of an IPv4 address (RFC 4291, section 2.5.5.2)."""
    return _MAPPED_FIRST + number


def is_loopback(family: Family, number: int) -> bool:
    """Tell whether an address is in 127.0.0.0/8, is ::1, or is the IPv4-mapped form of one."""
    if family == 6 and is_mapped(number):
        family, number = 4, number - _MAPPED_FIRST
    return number >> 24 == 127 if family == 4 else number == 1


def parse_addresses(text: str) -> AddressRange:
    """Read `A`, `A/LEN` or `A-B`, IPv6 also in brackets, as a person types it.

    Raises UsageError, whose hint says what to write instead.
    """
    if re.fullmatch(_IPV4, text):
        # Most entries of any list are single IPv4 addresses: skip the checks below.
        number = _ipv4(text)
        return AddressRange(4, number, number)
    found = _parse_range(_without_brackets(text), text)
    if (
        found.family == 6
        and found.first <= _MAPPED_LAST
        and found.last >= _MAPPED_FIRST
        and found.size <= 1 << 33
    ):
        first, last = max(found.first, _MAPPED_FIRST), min(found.last, _MAPPED_LAST)
        ends = (address_text(4, number - _MAPPED_FIRST) for number in sorted({first, last}))
        raise UsageError(
            f"{text!r} is an IPv4-mapped IPv6 address, which no exit connects to",
            hint=f"write the IPv4 address: {'-'.join(ends)}",
        )
    return found


def _ipv4(text: str) -> int:
    """Return the number of a text that matches `_IPV4`."""
    first, second, third, fourth = text.split(".")
    return int(first) << 24 | int(second) << 16 | int(third) << 8 | int(fourth)


def _without_brackets(text: str) -> str:
    """Return addresses without their brackets. Raises UsageError for misplaced ones."""
    if "[" not in text and "]" not in text:
        return text
    bare = text.replace("[", "").replace("]", "")
    if text not in _bracketed_forms(bare):
        raise UsageError(
            f"misplaced brackets in {text!r}",
            hint="write [2001:db8::1]:22, [2001:db8::]/32:22 or [2001:db8::1]-[2001:db8::9]:22",
        )
    if ":" not in bare:
        raise UsageError(
            f"only IPv6 addresses are written in brackets, not {bare!r}",
            hint=f"write {bare} without brackets",
        )
    return bare


def _bracketed_forms(bare: str) -> set[str]:
    """Return the ways in which brackets may be put around bare addresses."""
    if "/" in bare:
        address, _, length = bare.partition("/")
        return {f"[{bare}]", f"[{address}]/{length}"}
    if "-" in bare:
        low, _, high = bare.partition("-")
        return {f"[{bare}]", f"[{low}]-[{high}]"}
    return {f"[{bare}]"}


def _parse_range(text: str, whole: str) -> AddressRange:
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
        return AddressRange(family, first, last)
    family, first = _parse_address(text, whole)
    return AddressRange(family, first, first)


def _parse_network(address: str, length: str, whole: str) -> AddressRange:
    family, number = _parse_address(address, whole)
    bits = BITS[family]
    if not re.fullmatch(r"[0-9]{1,3}", length) or int(length) > bits:
        raise UsageError(
            f"{whole!r} has no valid IPv{family} prefix length",
            hint=f"write /0 to /{bits}, or a range {address}-LAST",
        )
    if length != str(int(length)):
        raise UsageError(f"{whole!r} has leading zeros", hint=f"write {address}/{int(length)}")
    found = network(family, number, int(length))
    if found.first != number:
        raise UsageError(
            f"{whole!r} has host bits set",
            hint=f"write {found} for the network, or {address} for the one address",
        )
    return found


def _parse_address(text: str, whole: str) -> tuple[Family, int]:
    found = read_address(text)
    if found is not None:
        return found
    if re.fullmatch(_DOTTED, text):
        plain = ".".join(octet.lstrip("0") or "0" for octet in text.split("."))
        if re.fullmatch(_IPV4, plain):
            raise UsageError(
                f"{whole!r} has leading zeros, which some programs read as octal",
                hint=f"write {plain} if that is what you mean",
            )
        raise UsageError(
            f"{whole!r} is not an IPv4 address: an octet is above 255",
            hint="each of the four numbers is 0 to 255",
        )
    if re.fullmatch(_LOOKS_IPV6, text):
        raise UsageError(
            f"{whole!r} is not an IPv6 address",
            hint="with ports, write the address in brackets: [2001:db8::1]:22",
        )
    raise UsageError(f"{whole!r} is not an address", hint=_advice(text))


def _advice(text: str) -> str:
    """Return what to write instead of something that is no address at all."""
    examples = "write an address such as 203.0.113.7, 203.0.113.0/24 or 2001:db8::1"
    if "%" in text:
        return f"exits ignore IPv6 zones: write {text.partition('%')[0]}"
    if "*" in text:
        return "for a port at every address write *:25"
    if re.fullmatch(r"[0-9]+(\.[0-9]+){1,2}", text):
        return f"all four octets are needed: {examples}"
    if re.search(r"[A-Za-z]", text) and re.fullmatch(r"[A-Za-z0-9._/:@?&=-]+", text):
        return (
            "an exit policy holds addresses, not names: resolve it"
            " (getent ahosts NAME) and name the addresses"
        )
    return examples
