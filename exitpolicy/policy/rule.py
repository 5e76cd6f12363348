"""Rules of a Tor exit policy: parsing, and the text that Tor reads and prints.

The grammar is that of ExitPolicy in a torrc (tor(1)) and of a descriptor's policy lines (dir-spec,
"accept" and "reject"). `GETCONF ExitPolicy` answers in the first form, `GETINFO exit-policy/full`
in the second. They differ in what `*` means: both families in a torrc, IPv4 in a descriptor.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Final, NamedTuple

from exitpolicy.core.addresses import BITS, Family, address_text, network, read_address
from exitpolicy.core.destination import Destination, all_addresses
from exitpolicy.core.errors import InvalidFileError
from exitpolicy.core.ports import ALL_PORTS, MAX_PORT, interval_text

PRIVATE: Final = (
    "0.0.0.0/8", "169.254.0.0/16", "127.0.0.0/8", "192.168.0.0/16", "10.0.0.0/8", "172.16.0.0/12",
    "[::]/8", "[fc00::]/7", "[fe80::]/10", "[fec0::]/10", "[ff00::]/8", "[::]/127",
)  # fmt: skip
"""What `private` stands for (tor: src/core/or/policies.c, private_nets)."""

_KEPT: Final = 1 << 17
"""Cached rules, by their text."""

_ACTIONS: Final = frozenset({"accept", "accept6", "reject", "reject6"})
_STARS: Final[dict[str, tuple[Family, ...]]] = {"*": (4, 6), "*4": (4,), "*6": (6,)}
_MAX_TARGET: Final = 80
"""Bytes; MAX_ADDRESS_LENGTH in src/lib/net/address.c."""
_LONG_MAX: Final = (1 << 63) - 1
_MAPPED: Final = 0xFFFF
"""The upper 96 bits of an IPv4-mapped IPv6 address."""
_SPACE: Final = " \t\n\v\f\r"

_SINGLE = re.compile(r"(accept|reject) ([0-9.]+):\*")
_PLAIN = re.compile(r"((?:accept|reject)6?)[ \t]+([!-\"$-~]+)")
"""An action and one word, without a comment."""
_DELIMITER = re.compile(r"[ \t\r\n#]")
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
"""Blanks and comments; only at the start of a text."""
_NUMBER = re.compile(r"[ \t\n\v\f\r]*([+-]?)([0-9]+)")
_QUAD = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}")


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


# A named tuple is made, compared and hashed faster than a dataclass, and there are many of them.
class Rule(NamedTuple):
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
        if self.prefix == 32 and self.family == 4:
            # Most rules of a long policy.
            action = "accept" if self.accept else "reject"
            return f"{action} {address_text(4, self.network)}:{self._ports_text}"
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
        if held is not None and entry == held._replace(family=6):
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


def destinations_of(rules: Iterable[Rule]) -> list[Destination]:
    """Return what rules match, one by one, whether they accept or reject it.

    A rule for all IPv4 addresses and the same one for all IPv6 addresses behind it are one
    destination, `*:22`, as they are one value in a torrc.
    """
    found: list[Destination] = []
    held: Rule | None = None
    for rule in rules:
        if held is not None and rule == held._replace(family=6):
            found[-1] = all_addresses(found[-1].ports)
        else:
            found.append(rule.destination)
        held = rule if rule.family == 4 and rule.prefix == 0 else None
    return found


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
            if text := item.strip(_SPACE):
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
    `private`. Raises RuleError for what Tor refuses.

    Reads what Tor reads (router_parse_addr_policy_item_from_string in
    src/feature/dirparse/policy_parse.c, get_next_token in parsecommon.c,
    tor_addr_parse_mask_ports and parse_port_range in src/lib/net/address.c):

    - A word `opt` may stand first. A comment may follow, but what precedes its # in the same word
      makes a word of its own. All behind the first line is ignored.
    - The address ends at the first `/`, or else at the first `:`; in brackets, at the `]`. What
      stands between `]` and the next `/` or `:` is ignored, so that `[2001:db8::1]:80/32` is a
      /32 on all ports. IPv6 needs no brackets where a mask follows. `[*]` is `*`.
    - A mask is read by strtol(3) and cut to 32 bits: `+24` and `4294967320` are 24, and an empty
      mask is 0. Otherwise it is an IPv4 netmask, for IPv6 as well. The mask of an IPv4-mapped
      address is 96 plus its remainder by 32; 33 to 95 are refused.
    - A port is read by strtol(3): `+22` is 22. What follows the second number of a range is
      ignored: `22-23-24` is `22-23`. No port, `:` and `:*` are all ports.
    - The text behind the action is at most 80 bytes long, except for `private`.
    """
    if (single := _SINGLE.fullmatch(text)) and (found := read_address(single[2])) is not None:
        # Most rules of any long policy are such.
        return (Rule(single[1] == "accept", *found, BITS[4]),)
    action, target = _words(text)
    accept, only_ipv6 = action.startswith("accept"), action.endswith("6")
    if target.startswith("private"):
        if not target.startswith("private:"):
            raise RuleError(f"{text!r}: only ports may follow private")
        if only_ipv6:
            return ()
        low, high = _ports(target.removeprefix("private:"), text)
        return tuple(Rule(accept, *private, low, high) for private in _private_networks())
    if len(target) > _MAX_TARGET:
        raise RuleError(f"{text!r} is too long for a rule")
    address, mask, ports = _split(target, text)
    low, high = _ports(ports, text)
    if (families := _STARS.get(address)) is not None:
        if mask is not None:
            raise RuleError(f"{text!r} has a mask after a wildcard")
        # accept6 and reject6 with `*` mean IPv6 alone; with `*4`, they are ignored.
        networks = [(family, 0, 0) for family in families]
    else:
        networks = [_network(address, mask, text)]
    return tuple(
        Rule(accept, family, number, prefix, low, high)
        for family, number, prefix in networks
        if family == 6 or not only_ipv6
    )


def _words(text: str) -> tuple[str, str]:
    """Return the action of a rule, and the one word behind it. Raises RuleError."""
    plain = _PLAIN.fullmatch(text)
    if plain is not None:
        return plain[1], plain[2]
    line, _, rest = _BLANK.sub("", text, count=1).partition("\n")
    word, line = _first_word(line)
    if word == "opt":
        word, line = _first_word(line)
    targets: list[str] = []
    while line and len(targets) < 2:  # a second one is one too many
        end = _DELIMITER.search(line)
        targets.append(line[: end.start()] if end else line)
        line = _BLANK.sub("", line[end.end() :], count=1) if end else ""
    if word not in _ACTIONS or len(targets) != 1 or rest.lstrip().startswith("-----BEGIN "):
        raise RuleError(f"{text!r} is not an exit policy rule")
    return word, targets[0]


def _first_word(line: str) -> tuple[str, str]:
    """Return the first word of a line, and what follows the blanks behind it."""
    end = _DELIMITER.search(line)
    return (line[: end.start()], line[end.start() :].lstrip(" \t\r")) if end else (line, "")


def _split(target: str, text: str) -> tuple[str, str | None, str]:
    """Return the address, the mask and the ports; no mask is None. Raises RuleError."""
    bracketed: str | None = None
    if target.startswith("["):
        bracketed, closing, target = target[1:].partition("]")
        if not closing:
            raise RuleError(f"{text!r} has no closing bracket")
    slash = target.find("/")
    colon = target.find(":", max(slash, 0))
    rest, ports = (target, "") if colon < 0 else (target[:colon], target[colon + 1 :])
    address, mask = (rest, None) if slash < 0 else (rest[:slash], rest[slash + 1 :])
    return address if bracketed is None else bracketed, mask, ports


def _strtol(text: str) -> tuple[int | None, str]:
    """Return the number at the start of a text, None if there is none, and what follows it.

    Reads like strtol(3) with base 10.
    """
    found = _NUMBER.match(text)
    if found is None:
        return None, text
    digits = found[2].lstrip("0")[:20] or "0"  # 20 digits are more than a long holds
    number = max(-_LONG_MAX - 1, min(int(found[1] + digits), _LONG_MAX))
    return number, text[found.end() :]


def _ports(ports: str, text: str) -> tuple[int, int]:
    """Read a range of ports. Raises RuleError."""
    if ports in {"", "*"}:
        return ALL_PORTS[0]
    low, rest = _strtol(ports)
    high = low
    if rest.startswith("-"):
        high, rest = _strtol(rest[1:])
        rest = ""
    if low is None or high is None or rest or not 1 <= low <= high <= MAX_PORT:
        raise RuleError(f"the ports of {text!r} are not a range within 1 to {MAX_PORT}")
    return low, high


@cache
def _private_networks() -> tuple[tuple[Family, int, int], ...]:
    found = (network_text.partition("/") for network_text in PRIVATE)
    return tuple(_network(address.strip("[]"), mask, address) for address, _, mask in found)


def _network(address: str, mask: str | None, text: str) -> tuple[Family, int, int]:
    found = read_address(_unpadded(address) if ":" in address else address)
    if found is None:
        raise RuleError(f"{text!r} names no valid address")
    family, number = found
    prefix = BITS[family] if mask is None else _prefix(mask, text)
    mapped = family == 6 and number >> 32 == _MAPPED
    if prefix > BITS[family] or (mapped and 32 < prefix < 96):
        raise RuleError(f"{text!r} has a mask that does not fit the address")
    if mapped and mask is not None:
        prefix = 96 + prefix % 32
    return family, network(family, number, prefix).first, prefix


def _unpadded(address: str) -> str:
    """Return an IPv6 address without the leading zeros that Tor allows in its IPv4 part."""
    head, colon, tail = address.rpartition(":")
    if _QUAD.fullmatch(tail) is None:
        return address
    return f"{head}{colon}{'.'.join(str(int(octet)) for octet in tail.split('.'))}"


def _prefix(mask: str, text: str) -> int:
    """Read a prefix length, or an IPv4 netmask as old torrc files have them. Raises RuleError."""
    number, rest = _strtol(mask)
    if not rest:
        cut = (number or 0) & 0xFFFFFFFF
        if cut < 1 << 31:
            return cut
    found = read_address(mask) if rest else None
    inverse = -1 if found is None or found[0] == 6 else found[1] ^ 0xFFFFFFFF
    if inverse < 0 or inverse & inverse + 1:
        raise RuleError(f"the mask of {text!r} is not a prefix")
    return 32 - inverse.bit_length()
