"""One rule of a Tor exit policy: how it is read, and how Tor writes it.

The grammar is that of torrc's ExitPolicy (tor(1)) and of a descriptor's policy lines (dir-spec,
"accept" and "reject"); both are read, because `GETCONF ExitPolicy` answers with the first and
`GETINFO exit-policy/full` with the second. They differ in what `*` means.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
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

_RULE = re.compile(
    r"(?P<action>accept|reject)(?P<six>6?)\s+"
    r"(?:(?P<star>\*[46]?|private)|\[(?P<ipv6>[0-9A-Fa-f:.]+)\]|(?P<ipv4>[0-9.]+))"
    r"(?:/(?P<mask>[0-9.]+))?"
    r"(?P<colon>:(?P<ports>[0-9*-]*))?"
)


class RuleError(InvalidFileError, ValueError):
    """The text is no rule that Tor would accept or print."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Accept or reject connections to a network and a range of ports.

    `str()` gives the text of a descriptor; `in_torrc` that of a torrc.
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
        """What the rule is about."""
        return Destination(self.family, self.network, self.last, ((self.low, self.high),))

    @property
    def is_catch_all(self) -> bool:
        """Whether no later rule of the family has any effect."""
        return self.prefix == 0 and (self.low, self.high) == ALL_PORTS[0]

    @property
    def in_torrc(self) -> str:
        """The text that means this in a torrc, where `*` is every address of both families."""
        if self.family == 4 and self.prefix == 0:
            return f"{'accept' if self.accept else 'reject'} *4:{self._ports_text}"
        return str(self)

    def __str__(self) -> str:
        # As policy_write_item with format_for_desc writes it (tor: src/core/or/policies.c).
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


def parse_policy(lines: Iterable[str]) -> tuple[Rule, ...]:
    """Read rules in order, several to a line where commas part them, as Tor reads them.

    `private` and the `*` of both families become one rule a network and family. Raises
    RuleError.
    """
    rules: list[Rule] = []
    for line in lines:
        for item in line.split(","):
            if text := item.strip():
                rules.extend(parse_rule(text))
    return tuple(rules)


def parse_descriptor(text: str) -> tuple[Rule, ...]:
    """Read a policy as Tor prints it, a rule a line: `GETINFO exit-policy/full`.

    Other than in a torrc, a `*` in it is every IPv4 address, unless accept6 or reject6 stands
    before it; but a policy that accepts nothing is one line, `reject *:*` (tor:
    src/feature/relay/router.c, router_dump_exit_policy_to_string). Raises RuleError.
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


def parse_rule(text: str) -> tuple[Rule, ...]:
    """Read one rule into the rules of one network and family that it stands for.

    An empty result is a rule that Tor ignores: accept6 or reject6 with an IPv4 address or
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
            raise RuleError(f"{text!r}: behind private stand only ports")
        if only_ipv6:
            return ()
        networks = [_parse_network(text) for text in PRIVATE]
    elif match["star"] is not None:
        if match["mask"] is not None:
            raise RuleError(f"{text!r} puts a mask behind a wildcard")
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
