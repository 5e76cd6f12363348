"""Rules of a Tor exit policy: parsing, and the text that Tor reads and prints.

The grammar is that of ExitPolicy in a torrc (tor(1)) and of a descriptor's policy lines (dir-spec,
"accept" and "reject"). `GETCONF ExitPolicy` answers in the first form, `GETINFO exit-policy/full`
in the second. They differ in what `*` means: both families in a torrc, IPv4 in a descriptor.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from exitpolicy.core.addresses import BITS, Family, address_text, network, read_address
from exitpolicy.core.destination import Destination
from exitpolicy.core.errors import InvalidFileError
from exitpolicy.core.ports import ALL_PORTS, interval_text, read_interval

PRIVATE: Final = (
    "0.0.0.0/8", "169.254.0.0/16", "127.0.0.0/8", "192.168.0.0/16", "10.0.0.0/8", "172.16.0.0/12",
    "[::]/8", "[fc00::]/7", "[fe80::]/10", "[fec0::]/10", "[ff00::]/8", "[::]/127",
)  # fmt: skip
"""What `private` stands for (tor: src/core/or/policies.c, private_nets)."""

_KEPT: Final = 1 << 17
"""Rules that are kept with their text."""

_RULE = re.compile(
    r"(?P<action>accept|reject)(?P<six>6?)\s+"
    r"(?:(?P<star>\*[46]?|private)|\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<ipv4>[0-9.]+))"
    r"(?:/(?P<mask>[0-9.]+))?"
    r"(?P<colon>:(?P<ports>[0-9*-]*))?"
)


class RuleError(InvalidFileError, ValueError):
    """The text is not a rule that Tor accepts or prints, as far as exitpol knows."""


@dataclass(frozen=True, slots=True)
class IgnoredRule:
    """A rule that Tor accepts and ignores, such as `reject6 203.0.113.7:*`."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class UnknownRule:
    """A rule that exitpol does not understand. Tor may."""

    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class Rule:
    """Accept or reject connections to a network and a range of ports.

    `str()` gives the text of a descriptor; `torrc_text` that of a torrc.
    """

    accept: bool
    family: Family
    network: int
    """The network's address, host bits zero, as a number."""
    prefix: int
    """The prefix length in bits; 0 is every address of the family."""
    low: int = 1
    """The lowest port."""
    high: int = 65535
    """The highest port."""

    @property
    def last(self) -> int:
        """The highest address of the network, as a number."""
        return self.network | (1 << BITS[self.family] - self.prefix) - 1

    @property
    def destination(self) -> Destination:
        """The addresses and ports that the rule matches."""
        return Destination(self.family, self.network, self.last, ((self.low, self.high),))

    @property
    def is_catch_all(self) -> bool:
        """Whether no later rule of the family has any effect."""
        return self.prefix == 0 and (self.low, self.high) == ALL_PORTS[0]

    @property
    def torrc_text(self) -> str:
        """The text of this rule in a torrc, where `*` means both families."""
        if self.family == 4 and self.prefix == 0:
            return f"{'accept' if self.accept else 'reject'} *4:{self._ports_text}"
        return str(self)

    def __str__(self) -> str:
        # Follows policy_write_item with format_for_desc (tor: src/core/or/policies.c).
        if self.prefix == 0:
            address = "*"
        else:
            address = address_text(self.family, self.network)
            if self.family == 6:
                address = f"[{address}]"
            if self.prefix < BITS[self.family]:
                address = f"{address}/{self.prefix}"
        action = ("accept" if self.accept else "reject") + ("6" if self.family == 6 else "")
        return f"{action} {address}:{self._ports_text}"

    @property
    def _ports_text(self) -> str:
        if self.low <= 1 and self.high == 65535:
            return "*"
        return interval_text(self.low, self.high)


Entry = Rule | IgnoredRule | UnknownRule
"""One item of an ExitPolicy option."""


def torrc_values(entries: Iterable[Entry]) -> Iterator[str]:
    """Yield the ExitPolicy values that mean these rules in this order.

    `parse_entries` reads the same entries from them. A rule for all IPv4 addresses and the same
    one for all IPv6 addresses behind it become one value with `*`.
    """
    held: Rule | None = None  # an IPv4 wildcard that the next entry may complete
    for entry in entries:
        if held is not None and entry == replace(held, family=6):
            yield str(held)
            held = None
            continue
        if held is not None:
            yield held.torrc_text
            held = None
        if isinstance(entry, Rule) and entry.family == 4 and entry.prefix == 0:
            held = entry
        else:
            yield entry.torrc_text if isinstance(entry, Rule) else entry.text
    if held is not None:
        yield held.torrc_text


def parse_entries(values: Iterable[str]) -> tuple[Entry, ...]:
    """Read ExitPolicy values in order, as `parse_policy` does, keeping what is not understood."""
    entries: list[Entry] = []
    for item in _items(values):
        try:
            entries.extend(parse_rule(item) or [IgnoredRule(item)])
        except RuleError:
            entries.append(UnknownRule(item))
    return tuple(entries)


def rules_of(entries: Iterable[Entry]) -> tuple[Rule, ...]:
    """Return the rules of entries. Raises RuleError for one that is not understood."""
    rules: list[Rule] = []
    for entry in entries:
        if isinstance(entry, UnknownRule):
            raise RuleError(f"{entry.text!r} is not an exit policy rule")
        if isinstance(entry, Rule):
            rules.append(entry)
    return tuple(rules)


def parse_policy(values: Iterable[str]) -> tuple[Rule, ...]:
    """Read ExitPolicy values in order; a value may hold several rules separated by commas.

    `private`, and `*` for both families, become one rule per network and family. Raises RuleError.
    """
    return tuple(rule for item in _items(values) for rule in parse_rule(item))


def _items(values: Iterable[str]) -> Iterator[str]:
    """Yield the texts of single rules."""
    for value in values:
        for item in value.split(","):
            if text := item.strip():
                yield text


def parse_descriptor(text: str) -> tuple[Rule, ...]:
    """Read a policy as Tor prints it, one rule per line: `GETINFO exit-policy/full`.

    Unlike in a torrc, `*` means all IPv4 addresses, except after accept6 or reject6. A policy that
    accepts nothing is the single line `reject *:*` (tor: src/feature/relay/router.c,
    router_dump_exit_policy_to_string). Raises RuleError.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if lines == ["reject *:*"]:
        return parse_rule("reject *:*")
    return tuple(
        rule
        for line in lines
        for rule in parse_rule(line)
        if rule.family == 4 or line.startswith(("accept6", "reject6")) or "[" in line
    )


# A command reads nearly the same rules many times: from the fragment, the options and the policy.
@lru_cache(maxsize=_KEPT)
def parse_rule(text: str) -> tuple[Rule, ...]:
    """Read one rule; the result has one rule per network and family.

    It is empty for a rule that Tor ignores: accept6 or reject6 with an IPv4 address or
    `private` (tor: src/feature/dirparse/policy_parse.c). Raises RuleError.
    """
    match = _RULE.fullmatch(text)
    if match is None:
        raise RuleError(f"{text!r} is not an exit policy rule")
    ports = ALL_PORTS[0] if match["ports"] in {None, "", "*"} else read_interval(match["ports"])
    if ports is None:
        raise RuleError(f"the ports of {text!r} are not a range within 1 to 65535")
    accept = match["action"] == "accept"
    only_ipv6 = bool(match["six"])
    if match["star"] == "private":
        if match["mask"] is not None or match["colon"] is None:
            raise RuleError(f"{text!r}: only ports may follow private")
        if only_ipv6:
            return ()
        networks = [_parse_network(text) for text in PRIVATE]
    elif match["star"] is not None:
        if match["mask"] is not None:
            raise RuleError(f"{text!r} has a mask after a wildcard")
        families: dict[str, tuple[Family, ...]] = {"*": (4, 6), "*4": (4,), "*6": (6,)}
        networks = [(family, 0, 0) for family in families[match["star"]]]
    else:
        networks = [_network(match["ipv4"] or match["ipv6"], match["mask"], text)]
    return tuple(
        Rule(accept, family, address, prefix, *ports)
        for family, address, prefix in networks
        if family == 6 or not only_ipv6
    )


def _parse_network(text: str) -> tuple[Family, int, int]:
    address, _, mask = text.partition("/")
    return _network(address.strip("[]"), mask, text)


def _network(address: str, mask: str | None, text: str) -> tuple[Family, int, int]:
    found = read_address(address)
    if found is None:
        raise RuleError(f"{text!r} names no valid address")
    family, number = found
    prefix = BITS[family] if mask is None else _prefix(mask)
    if prefix > BITS[family]:
        raise RuleError(f"{text!r} has a mask longer than an address")
    return family, network(family, number, prefix).first, prefix


def _prefix(mask: str) -> int:
    """Read a prefix length, or an IPv4 netmask as old torrc files have them."""
    if "." not in mask:
        return int(mask.lstrip("0")[:4] or "0")
    found = read_address(mask)
    inverse = -1 if found is None else found[1] ^ 0xFFFFFFFF
    if inverse < 0 or inverse & inverse + 1:
        raise RuleError(f"the mask {mask} is not a prefix")
    return 32 - inverse.bit_length()
