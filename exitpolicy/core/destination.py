"""Destinations: what a block is about, a range of addresses and a set of ports.

Two destinations mean the same if and only if they are equal, and then their texts are equal.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from exitpolicy.core.addresses import (
    BITS,
    OCTET,
    AddressRange,
    Family,
    address_text,
    is_mapped,
    parse_addresses,
    plain_ipv6,
)
from exitpolicy.core.errors import UsageError
from exitpolicy.core.ports import ALL_PORTS, Ports, overlap, parse_ports, ports_text

MAX_TEXT: Final = 2000
"""Longer texts are refused unread: no destination that a person means is that long."""


# A named tuple is made, compared and hashed faster than a dataclass, and there are many of them.
class Destination(NamedTuple):
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
        if self.first == self.last:
            # Most destinations are single addresses.
            text = address_text(self.family, self.first)
            if self.ports == ALL_PORTS:
                return text
            return f"{f'[{text}]' if self.family == 6 else text}:{ports_text(self.ports)}"
        if self.ports == ALL_PORTS:
            return self.addresses.text()
        return f"{self.addresses.text(brackets=self.family == 6)}:{ports_text(self.ports)}"

    @property
    def addresses(self) -> AddressRange:
        """The addresses without the ports."""
        return AddressRange(self.family, self.first, self.last)

    @property
    def widest_prefix(self) -> int:
        """The shortest prefix length in the CIDR decomposition, in bits (0 is everything)."""
        return min(length for _, length in self.prefixes())

    def prefixes(self) -> Iterator[tuple[int, int]]:
        """Yield the CIDR decomposition as (network, length), ascending."""
        return self.addresses.prefixes()

    def overlaps(self, other: "Destination") -> bool:
        """Tell whether some address and port belongs to both."""
        return self.addresses.overlaps(other.addresses) and overlap(self.ports, other.ports)


class DestinationSet:
    """Destinations in a form that finds one address quickly: one step for each prefix length."""

    def __init__(self, destinations: Iterable[Destination]) -> None:
        self._ports: dict[tuple[Family, int], dict[int, list[Ports]]] = {}
        for destination in destinations:
            for network, length in destination.prefixes():
                shift = BITS[destination.family] - length
                networks = self._ports.setdefault((destination.family, shift), {})
                networks.setdefault(network >> shift, []).append(destination.ports)

    def __contains__(self, address: tuple[Family, int, int]) -> bool:
        """Tell whether a destination holds an address: its family, number and port."""
        family, number, port = address
        return any(
            low <= port <= high
            for (other, shift), networks in self._ports.items()
            if other == family
            for ports in networks.get(number >> shift, ())
            for low, high in ports
        )


def parse_destination(text: str) -> Destination:
    """Read one destination as a person writes it.

    `203.0.113.7`, `203.0.113.0/24`, `203.0.113.5-203.0.113.20`, each also with ports (`:22`,
    `:80,443`, `:6000-6010`); IPv6 bare, or in brackets when ports follow (`[2001:db8::1]:22`,
    `[2001:db8::]/32:22`). Raises UsageError, whose hint says what to write instead.
    """
    if common := _COMMON.fullmatch(text):
        return _of_common(common)
    if text.startswith("[") and (found := _of_ipv6_and_port(text)) is not None:
        return found
    if len(text) > MAX_TEXT:
        raise UsageError(
            f"a text of {len(text)} characters is not a destination",
            hint="write a list as one destination per line, and pass - to read it from stdin",
        )
    text = text.strip()
    try:
        addresses, ports = _split_ports(text)
        return Destination(
            *parse_addresses(addresses), ALL_PORTS if ports is None else parse_ports(ports)
        )
    except UsageError as error:
        # Imported here, because few texts are defanged.
        from exitpolicy.core.defang import refang  # noqa: PLC0415

        if (plain := refang(text)) != text:
            raise UsageError(f"{text!r} is a defanged address", hint=f"write {plain}") from error
        raise


SCHEME_PORTS: Final = {
    "ftp": 21,
    "ssh": 22,
    "sftp": 22,
    "telnet": 23,
    "smtp": 25,
    "http": 80,
    "imap": 143,
    "https": 443,
    "imaps": 993,
    "rdp": 3389,
}
"""The port that a URL means without naming it (IANA)."""


def parse_pasted_destination(text: str) -> Destination:
    """Read a destination as people copy it out of a complaint.

    Besides what `parse_destination` reads: a defanged address (`203.0.113[.]7`), and the URL of an
    address, also defanged (`hxxps://203.0.113[.]7/x`), whose port is the one that its scheme
    means. Raises UsageError, also for the URL of a host name.
    """
    if _COMMON.fullmatch(text) or len(text) > MAX_TEXT:
        return parse_destination(text)
    # Imported here, because few texts are defanged.
    from exitpolicy.core.defang import refang  # noqa: PLC0415

    plain = refang(text.strip())
    if "://" in plain:
        return _of_url(plain, text)
    if plain != text.strip():
        # Some put the dot at the end of the sentence in brackets too.
        plain = plain.rstrip(".")
    return parse_destination(plain)


def _of_url(url: str, text: str) -> Destination:
    """Return the destination of a URL that was written as `text`."""
    scheme, _, rest = url.partition("://")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in authority or "\\" in authority:
        # Programs disagree about which part is the host.
        raise UsageError(
            f"the URL {text!r} hides its host", hint="write the address, for example 203.0.113.7:80"
        )
    host, ports = _split_ports(authority)
    if re.search(r"[g-z]", host, re.IGNORECASE):
        from exitpolicy.core.shell import word  # noqa: PLC0415 - as above

        raise UsageError(
            f"the URL {text!r} names a host, not an address",
            hint=f"an exit policy holds addresses: resolve it (getent ahosts {word(host)})"
            " and name the addresses",
        )
    port = ports or SCHEME_PORTS.get(scheme.lower())
    if port is None:
        raise UsageError(
            f"the port of {text!r} is unknown", hint=f"write {host}:PORT, or {host} for all ports"
        )
    return parse_destination(f"{host}:{port}")


# One IPv4 address with at most one port: nearly every line of a large ledger. The general parser
# gives the same result and takes five times as long.
_PORT: Final = "[1-9][0-9]{0,3}|[1-5][0-9]{4}"
"""Most ports; the general parser reads all of them."""
_COMMON: Final = re.compile(rf"({OCTET})\.({OCTET})\.({OCTET})\.({OCTET})(?::({_PORT}))?")


def _of_common(match: re.Match[str]) -> Destination:
    one, two, three, four, port = match.groups()
    address = int(one) << 24 | int(two) << 16 | int(three) << 8 | int(four)
    ports = ALL_PORTS if port is None else ((int(port), int(port)),)
    return Destination(4, address, address, ports)


def _of_ipv6_and_port(text: str) -> Destination | None:
    """Return the destination of `[2001:db8::1]:22`; None for anything else.

    The general parser gives the same result and takes three times as long.
    """
    host, _, port = text[1:].partition("]:")
    number = plain_ipv6(host)
    if number is None or is_mapped(number) or not re.fullmatch(_PORT, port):
        return None
    return Destination(6, number, number, ((int(port), int(port)),))


def _split_ports(text: str) -> tuple[str, str | None]:
    """Separate the addresses from the ports; None where there are no ports."""
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
