"""The limits on a relay's exit policy: where the relay stands, and what a change would break.

Three limits apply to an exit policy, and Tor logs nothing when one is exceeded: the size of the
descriptor, the port summary, and the Exit flag; each has a module. All are counted on the policy
that Tor publishes, which is the configured one without redundant rules.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, Literal

from exitpolicy.core.ports import ALL_PORTS, Ports, difference, ports_text
from exitpolicy.policy.descriptor import (
    DESCRIPTOR_LIMIT,
    DESCRIPTOR_SPARE,
    OTHER_CONTENT,
    other_bytes,
    policy_lines,
)
from exitpolicy.policy.exit_flag import EXIT_PORTS, free_networks
from exitpolicy.policy.port_summary import (
    NO_PORT,
    REJECTED_LIMIT,
    SUMMARY_LIMIT,
    PortSummary,
    port_summary,
)
from exitpolicy.policy.redundancy import remove_redundancies
from exitpolicy.policy.rule import Rule

_AVERAGE_LINE: Final = len("reject 203.0.113.77:*\n")


_KEPT: Final = 4
"""Cached measurements: status and its health checks need the same one."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a policy uses of each limit."""

    descriptor_bytes: int
    """The size of the descriptor as an authority counts it."""
    descriptor_known: bool
    """Whether the size comes from the relay's own descriptor; otherwise it is assumed."""
    policy_lines: int
    """The number of rules in the descriptor: those for IPv4."""
    policy_bytes: int
    """Their size in the descriptor."""
    ipv4: PortSummary
    """The `p` line of the consensus, and the counts behind it."""
    ipv6: PortSummary
    """The `ipv6-policy` line, which Tor leaves out where it is `reject 1-65535`."""
    free_networks: tuple[int, int]
    """The /8s that count for the Exit flag on ports 80 and 443: accepted, no part rejected."""
    is_estimate: bool = False
    """Whether the size of the policy is estimated from a part of it."""

    @property
    def exit_flag(self) -> bool:
        """Whether the authorities give the Exit flag, as far as the policy decides it."""
        return all(self.free_networks)

    @property
    def descriptor_room(self) -> int:
        """By how many bytes the policy may grow; negative where it is too long."""
        return DESCRIPTOR_LIMIT - DESCRIPTOR_SPARE - self.descriptor_bytes


@dataclass(frozen=True, slots=True)
class Problem:
    """A limit that a change would exceed."""

    limit: Literal["descriptor", "ports", "exit flag"]
    forcible: bool
    """Whether --force allows it. A descriptor that no authority accepts is never allowed."""
    excess: int
    """By how much: bytes; IPv4 addresses or IPv6 /64s of the worst port; /8s."""
    fits: int
    """How much would fit: average blocks; addresses or /64s; 0 for the Exit flag."""
    message: str
    """What would happen, as a sentence without a final full stop."""
    hint: str
    """What to do instead."""


def measure(rules: Iterable[Rule], descriptor: bytes | None) -> Limits:
    """Return what `rules`, as the whole policy of a relay, would use of each limit.

    `rules` may be the configured policy or the enforced one (`GETINFO exit-policy/full`).
    `descriptor` is the one that the relay publishes now, with any policy
    (`GETINFO dir/server/authority`); None where it cannot be read.
    """
    of_policy = _measure(tuple(rules))
    if descriptor is None:
        return of_policy
    other = other_bytes(descriptor)
    return replace(
        of_policy,
        descriptor_bytes=of_policy.descriptor_bytes - OTHER_CONTENT + other,
        descriptor_known=True,
    )


@lru_cache(maxsize=_KEPT)
def _measure(rules: tuple[Rule, ...]) -> Limits:
    """Return the limits with an assumed size of the rest of the descriptor."""
    published = remove_redundancies(rules)
    ipv4, ipv6 = port_summary(published, 4), port_summary(published, 6)
    lines = policy_lines(published, ipv6)
    own = [line for line in lines if not line.startswith("ipv6-policy ")]
    return Limits(
        descriptor_bytes=OTHER_CONTENT + sum(len(line) + 1 for line in lines),
        descriptor_known=False,
        policy_lines=len(own),
        policy_bytes=sum(len(line) + 1 for line in own),
        ipv4=ipv4,
        ipv6=ipv6,
        free_networks=(free_networks(published, 80), free_networks(published, 443)),
    )


def assess(before: Limits, after: Limits) -> tuple[Problem, ...]:
    """Return the limits that a change from `before` to `after` exceeds.

    A limit that is exceeded before is no problem of a change that does not make it worse, so that
    blocks can always be lifted.
    """
    problems = [
        _descriptor_problem(before, after),
        _ports_problem(before.ipv4, after.ipv4),
        _ports_problem(before.ipv6, after.ipv6),
        _nothing_left(before, after),
    ]
    if before.exit_flag and not after.exit_flag:
        ports = [p for p, free in zip(EXIT_PORTS, after.free_networks, strict=True) if not free]
        named = " and ".join(map(str, ports))
        problems.append(
            Problem(
                "exit flag",
                forcible=True,
                excess=1,
                fits=0,
                message=f"the relay would lose the Exit flag: some address of every /8 would be"
                f" rejected on port {named}",
                hint=f"leave one /8 without any block on port {named}",
            )
        )
    return tuple(problem for problem in problems if problem is not None)


def _nothing_left(before: Limits, after: Limits) -> Problem | None:
    """Return the problem of an exit to nowhere, which no client uses and which is still an exit."""
    if {after.ipv4.text, after.ipv6.text} != {NO_PORT} or after.ipv4.is_cut:
        return None
    if {before.ipv4.text, before.ipv6.text} == {NO_PORT}:
        return None
    return Problem(
        "ports",
        forcible=False,
        excess=0,
        fits=0,
        message="the consensus would say that the relay rejects every port, so that no client would"
        " use it as an exit",
        hint="leave a port open; or if it is to be no exit any more, write ExitRelay 0 into its"
        " torrc",
    )


def _descriptor_problem(before: Limits, after: Limits) -> Problem | None:
    if after.descriptor_room >= 0 or after.descriptor_bytes <= before.descriptor_bytes:
        return None
    more = after.policy_lines - before.policy_lines
    grown = after.policy_bytes - before.policy_bytes
    line = max(1, grown // more) if more > 0 and grown > 0 else _AVERAGE_LINE
    fits = max(0, before.descriptor_room // line)
    known = "" if after.descriptor_known else ", an estimate, because it cannot be read now"
    size, excess = f"{after.descriptor_bytes:,}", f"{-after.descriptor_room:,}"
    if after.is_estimate:
        size = f"about {round(after.descriptor_bytes, -4):,}"
        excess = f"about {round(-after.descriptor_room, -4):,}"
    return Problem(
        "descriptor",
        forcible=False,
        excess=-after.descriptor_room,
        fits=fits,
        message=f"the relay's descriptor would have {size} bytes{known}:"
        f" {excess} more than is safe, and the authorities refuse more"
        f" than {DESCRIPTOR_LIMIT:,}",
        hint="it is over that limit without this change: exitpol status names what to remove"
        if before.descriptor_bytes > DESCRIPTOR_LIMIT
        else f"about {fits:,} more rules like these fit: lift some blocks, or block"
        " whole networks instead of single addresses",
    )


def _ports_problem(before: PortSummary, after: PortSummary) -> Problem | None:
    lost = difference(before.ports, after.ports)
    if not lost:
        return None
    limit = REJECTED_LIMIT[after.family]
    what = "addresses" if after.family == 4 else "/64 networks"
    excess = max(_highest(after, ports) for ports in lost) - limit
    room = limit - max(_highest(before, ports) for ports in lost)
    message = f"the consensus would say that the relay rejects all of IPv{after.family} on"
    named = f"{message} {_named(lost)}"
    if excess <= 0 and not after.is_cut:
        # No rule accepts the ports for all addresses: a base policy closes them on purpose.
        return None
    if excess <= 0:
        return Problem(
            "ports",
            forcible=True,
            excess=0,
            fits=max(0, room),
            message=f"{named}: its summary of ports would be cut at {SUMMARY_LIMIT:,} characters",
            hint="block fewer separate ports, or all ports of the destinations",
        )
    return Problem(
        "ports",
        forcible=True,
        excess=excess,
        fits=max(0, room),
        message=f"{named}: {excess:,} {what} more would be rejected there"
        f" than the {limit:,} that it lets pass",
        hint=f"{max(0, room):,} more {what} fit: block smaller networks",
    )


def _named(ports: Ports) -> str:
    """Return the names of ports for people, shortened where there are many."""
    if ports == ALL_PORTS:
        return "every port"
    more = f" and {len(ports) - 5} other ranges" if len(ports) > 5 else ""
    return f"port {ports_text(ports[:5])}{more}"


def _highest(summary: PortSummary, ports: tuple[int, int]) -> int:
    """Return the highest count in an interval of ports."""
    low, high = ports
    return max(c.rejected for c in summary.counts if c.low <= high and low <= c.high)
