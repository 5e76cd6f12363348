"""Destinations: what a block is about, a range of addresses and a set of ports.

Two destinations mean the same if and only if they are equal, and then their texts are equal.
"""

import re
from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

from exitpolicy.core.addresses import (
    BITS,
    AddressRange,
    Family,
    address_text,
    is_mapped,
    parse_addresses,
    plain_ipv6,
)
from exitpolicy.core.errors import UsageError
from exitpolicy.core.ports import ALL_PORTS, MAX_PORT, Ports, overlap, parse_ports, ports_text

MAX_TEXT: Final = 2000
"""Longer texts are refused unread: no destination that a person means is that long."""

BOTH: Final = 0
"""Stands for IPv4 and IPv6 together, in the place of a family."""

EVERY_ADDRESS: Final = (AddressRange(4, 0, 2**32 - 1), AddressRange(6, 0, 2**128 - 1))
"""What `*` stands for."""


# A named tuple is made, compared and hashed faster than a dataclass, and there are many of them.
class Destination(NamedTuple):
    """A closed range of addresses of one family, or all addresses of both; and ports.

    Sorts by family, address and ports. `str()` gives the canonical text.
    """

    family: Literal[0, 4, 6]
    """4, 6, or BOTH for all addresses."""
    first: int
    """The lowest address, as a number."""
    last: int
    """The highest address, as a number; equal to `first` for one address."""
    ports: Ports = ALL_PORTS

    def __str__(self) -> str:
        family, first, last, ports = self
        if first == last:
            # Most destinations are single addresses.
            text = address_text(6 if family == 6 else 4, first)
            if ports == ALL_PORTS:
                return text
            return f"{f'[{text}]' if family == 6 else text}:{ports_text(ports)}"
        if family == BOTH:
            return f"*:{ports_text(ports)}"
        addresses = AddressRange(family, first, last)
        if ports == ALL_PORTS:
            return addresses.text()
        return f"{addresses.text(brackets=family == 6)}:{ports_text(ports)}"

    @property
    def ranges(self) -> tuple[AddressRange, ...]:
        """The addresses without the ports: one range, or one for each family."""
        if self.family == BOTH:
            return EVERY_ADDRESS
        return (AddressRange(self.family, self.first, self.last),)

    @property
    def is_port(self) -> bool:
        """Whether it is every address of a family, or of both: it closes its ports for clients."""
        return self.family == BOTH or self.ranges[0] in EVERY_ADDRESS

    def contains_addresses(self, other: "Destination") -> bool:
        """Tell whether all addresses of the other one belong to this one, whatever the ports."""
        if self.family == other.family:
            return self.first <= other.first and other.last <= self.last
        return all(any(mine.contains(part) for mine in self.ranges) for part in other.ranges)

    def overlaps(self, other: "Destination") -> bool:
        """Tell whether some address and port belongs to both."""
        if BOTH in {self.family, other.family}:
            return overlap(self.ports, other.ports)
        return (
            self.family == other.family
            and self.first <= other.last
            and other.first <= self.last
            and overlap(self.ports, other.ports)
        )


def all_addresses(ports: Ports) -> Destination:
    """Return the destination of some ports at every address, IPv4 and IPv6: `*:25`."""
    return Destination(BOTH, 0, EVERY_ADDRESS[1].last, ports)


class DestinationSet:
    """Destinations in a form that finds one address quickly: one step for each prefix length."""

    def __init__(self, destinations: Iterable[Destination]) -> None:
        self._ports: dict[tuple[Family, int], dict[int, list[Ports]]] = {}
        for destination in destinations:
            for part in destination.ranges:
                for network, length in part.prefixes():
                    shift = BITS[part.family] - length
                    networks = self._ports.setdefault((part.family, shift), {})
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
    `[2001:db8::]/32:22`). `*:25` is a port at every address, of both families. Raises UsageError,
    whose hint says what to write instead.
    """
    if (common := _of_ipv4(text)) is not None:
        return common
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
        if addresses.startswith("*"):
            return _of_every_address(addresses, ports)
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
    if (common := _of_ipv4(text)) is not None:
        return common
    if len(text) > MAX_TEXT:
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


_OCTETS: Final = {str(number): number for number in range(256)}


def _of_ipv4(text: str) -> Destination | None:
    """Return the destination of `203.0.113.7` or `203.0.113.7:22`; None for anything else.

    Nearly every line of a large ledger is such. The general parser gives the same result and takes
    five times as long.
    """
    host, colon, port = text.partition(":")
    try:
        one, two, three, four = host.split(".")
        address = _OCTETS[one] << 24 | _OCTETS[two] << 16 | _OCTETS[three] << 8 | _OCTETS[four]
    except (ValueError, KeyError):
        return None
    if not colon:
        return Destination(4, address, address)
    number = _plain_port(port)
    return None if number is None else Destination(4, address, address, ((number, number),))


def _of_ipv6_and_port(text: str) -> Destination | None:
    """Return the destination of `[2001:db8::1]:22`; None for anything else.

    The general parser gives the same result and takes three times as long.
    """
    host, _, port = text[1:].partition("]:")
    number, plain = plain_ipv6(host), _plain_port(port)
    if number is None or plain is None or is_mapped(number):
        return None
    return Destination(6, number, number, ((plain, plain),))


def _plain_port(text: str) -> int | None:
    """Return one port without leading zeros; None for anything else."""
    if len(text) > 5 or not (text.isascii() and text.isdigit()) or text[0] == "0":
        return None
    number = int(text)
    return number if number <= MAX_PORT else None


def _of_every_address(addresses: str, text: str | None) -> Destination:
    """Return the destination of `*:PORTS`. Raises UsageError without ports."""
    if addresses != "*":
        families = {"*4": "0.0.0.0/0", "*6": "[::]/0"}
        plain = families.get(addresses, "*")
        raise UsageError(f"{addresses!r} is not an address", hint=f"write {plain}:{text or 'PORT'}")
    ports = ALL_PORTS if text is None else parse_ports(text)
    if ports == ALL_PORTS:
        raise UsageError(
            f"{addresses if text is None else f'{addresses}:{text}'!r} is every destination",
            hint="name the ports, such as *:25; to be no exit any more, write ExitRelay 0 into the"
            " torrc",
        )
    return all_addresses(ports)


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
