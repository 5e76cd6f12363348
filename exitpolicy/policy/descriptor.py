"""The size of a relay's descriptor, which grows with its exit policy.

An authority refuses a descriptor of more than 20,000 bytes (tor: src/core/or/or.h,
MAX_DESCRIPTOR_UPLOAD_SIZE; src/feature/dirauth/process_descs.c, dirserv_add_descriptor).
"""

from collections.abc import Iterable, Sequence
from typing import Final

from exitpolicy.core.addresses import Family, address_text
from exitpolicy.core.destination import Destination
from exitpolicy.core.ports import ports_text
from exitpolicy.policy.port_summary import NO_PORT, PortSummary
from exitpolicy.policy.rule import Rule

DESCRIPTOR_LIMIT: Final = 20_000
"""The size in bytes of the longest descriptor that an authority accepts."""

DESCRIPTOR_SPARE: Final = 500
"""Bytes kept free for lines that change by themselves: uptime, bandwidth, overload, contact."""

OTHER_CONTENT: Final = 4_000
"""The assumed size of all but the policy, in bytes, where the descriptor cannot be read."""

SHORTEST_RULE: Final = len("reject *:1\n")
"""The size in a descriptor of the shortest rule, in bytes."""

SHORTEST_ADDRESS_RULE: Final = len("reject 1.1.1.1:1\n")
"""The same, of a rule for a single address."""

_POLICY_KEYWORDS: Final = (b"accept ", b"reject ", b"ipv6-policy ")


def other_bytes(descriptor: bytes) -> int:
    """Return the size of a descriptor without its policy, as an authority counts it.

    An authority does not count empty lines at the end (src/feature/dirparse/routerparse.c,
    router_parse_entry_from_string). Line ends may be those of the control port.
    """
    lines = descriptor.replace(b"\r\n", b"\n").rstrip(b"\n").split(b"\n")
    return sum(len(line) + 1 for line in lines if not line.startswith(_POLICY_KEYWORDS))


def rules_bytes(rules: Iterable[Rule]) -> int:
    """Return the size of rules in a descriptor, if none of them is redundant."""
    return sum([len(str(rule)) + 1 for rule in rules if rule.family == 4])


def least_bytes(rules: Iterable[Rule]) -> int:
    """Return a number of bytes that rules take at least, if none of them is redundant.

    For long lists it is found much faster than the exact number.
    """
    return SHORTEST_RULE * sum([rule.family == 4 for rule in rules])


def lone_bytes(destination: Destination) -> int:
    """Return the size in a descriptor of the rules that reject one destination.

    Together with other destinations it may take less: rules that meet or adjoin become one.
    """
    if destination.family == 6:
        return 0
    if destination.first == destination.last:
        # Most destinations are single addresses, and a ledger may have 100,000 of them.
        rule = len(f"reject {address_text(4, destination.first)}:\n")
        ports = destination.ports
        return rule * len(ports) + len(ports_text(ports)) - (len(ports) - 1)
    return rules_bytes(
        Rule(False, part.family, network, length, low, high)
        for part in destination.ranges
        for network, length in part.prefixes()
        for low, high in destination.ports
    )


def policy_lines(published: Sequence[Rule], ipv6: PortSummary) -> list[str]:
    """Return the lines of a descriptor that depend on the policy.

    IPv6 rules are only summarized, and a summary that accepts no port is left out
    (src/feature/relay/router.c, router_dump_router_to_string and
    router_dump_exit_policy_to_string).
    """
    if _rejects_all(published, 4) and _rejects_all(published, 6):
        lines = ["reject *:*"]
    else:
        lines = [str(rule) for rule in published if rule.family == 4]
    if ipv6.text != NO_PORT:
        lines.append(f"ipv6-policy {ipv6.text}")
    return lines


def _rejects_all(rules: Iterable[Rule], family: Family) -> bool:
    """Tell whether no rule can accept anything (policies.c, policy_is_reject_star)."""
    for rule in rules:
        if rule.family == family:
            if rule.accept:
                return False
            if rule.is_catch_all:
                return True
    return True
