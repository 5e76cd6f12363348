"""What a policy costs a relay: the limits of Tor and its authorities, counted as they count.

Three limits bear on an exit policy, and none of them leaves a line in the relay's log:

- the descriptor: an authority refuses more than 20,000 bytes (tor: src/core/or/or.h,
  MAX_DESCRIPTOR_UPLOAD_SIZE; src/feature/dirauth/process_descs.c, dirserv_add_descriptor);
- the port summary, by which clients choose an exit: a port with too many rejected addresses is
  said to be rejected everywhere (src/core/or/policies.c, policy_summarize);
- the Exit flag (src/core/or/policies.c, exit_policy_is_general_exit; given by
  src/feature/dirauth/voteflags.c).

All of them are counted on the policy that Tor publishes, which is the configured one without the
rules that `remove_redundancies` drops. The sources are those of Tor 0.4.9.11.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, Literal

from exitpolicy.core.addresses import Family
from exitpolicy.core.ports import ALL_PORTS, Ports, difference, normal_ports, ports_text
from exitpolicy.policy.rule import PRIVATE, Rule, parse_rule

DESCRIPTOR_LIMIT: Final = 20_000
"""The bytes of the longest descriptor that an authority takes."""

DESCRIPTOR_SPARE: Final = 500
"""Bytes kept free, for what grows without us: uptime, bandwidth, an overload line, the contact."""

OTHER_CONTENT: Final = 4_000
"""Bytes assumed for all but the policy where the descriptor cannot be read."""

REJECTED_LIMIT: Final[Mapping[Family, int]] = {4: 1 << 25, 6: 1 << 48}
"""How much may be rejected of a port that the summary accepts: IPv4 addresses, IPv6 /64s.

Two /8s, and one /16 (src/core/or/policies.c, REJECT_CUTOFF_COUNT_IPV4 and _IPV6).
"""

SUMMARY_LIMIT: Final = 1_000
"""The characters of the longest port summary (policies.c, MAX_EXITPOLICY_SUMMARY_LEN)."""

EXIT_PORTS: Final = (80, 443)
"""The ports that the Exit flag asks for."""

_AVERAGE_LINE: Final = len("reject 203.0.113.77:*\n")
_COUNT_MAX: Final = (1 << 64) - 1
_INTERNAL_SLASH_8: Final = frozenset({0, 10, 127})
_POLICY_KEYWORDS: Final = (b"accept ", b"reject ", b"ipv6-policy ")
_NOTHING: Final = "reject 1-65535"
_PRIVATE: Final = frozenset(
    (rule.family, rule.network, rule.prefix)
    for network in PRIVATE
    for rule in parse_rule(f"reject {network}:*")
)


@dataclass(frozen=True, slots=True)
class PortCount:
    """Ports that the rules treat alike."""

    low: int
    high: int
    rejected: int
    """What Tor counts as rejected before all addresses are accepted, or at the end of the policy.

    IPv4 addresses, IPv6 /64s; what is rejected twice counts twice.
    """
    accepted: bool
    """Whether the count allows the summary to call the ports accepted."""


@dataclass(frozen=True, slots=True)
class PortSummary:
    """What the consensus tells clients of a policy, for one family."""

    family: Family
    counts: tuple[PortCount, ...]
    """All ports from 1 to 65535, ascending; neighbours differ."""
    text: str
    """The `p` or `ipv6-policy` line without its keyword, such as `accept 80,443`."""
    ports: Ports
    """The ports that a client takes from the text to be accepted."""

    @property
    def is_cut(self) -> bool:
        """Whether the text is too long to name all ports that are accepted."""
        return self.ports != normal_ports((c.low, c.high) for c in self.counts if c.accepted)

    def rejected(self, port: int) -> int:
        """Return what is counted as rejected of a port."""
        at = bisect_right(self.counts, port, key=lambda count: count.low) - 1
        return self.counts[at].rejected

    @property
    def most_rejected(self) -> int:
        """The highest count of a port that is accepted; 0 where none is."""
        return max((count.rejected for count in self.counts if count.accepted), default=0)


@dataclass(frozen=True, slots=True)
class Limits:
    """Where a relay stands with a policy, or would stand."""

    descriptor_bytes: int
    """The length of the descriptor as an authority counts it."""
    descriptor_known: bool
    """Whether the length was measured on the relay's own descriptor, or assumed."""
    policy_lines: int
    """How many rules the descriptor publishes: those for IPv4."""
    policy_bytes: int
    """What they take of it."""
    ipv4: PortSummary
    """The `p` line of the consensus, and the counts behind it."""
    ipv6: PortSummary
    """The `ipv6-policy` line, which Tor leaves out where it is `reject 1-65535`."""
    free_networks: tuple[int, int]
    """The /8s that count for the Exit flag on ports 80 and 443: accepted, no part rejected."""

    @property
    def exit_flag(self) -> bool:
        """Whether the authorities give the Exit flag, as far as it hangs on the policy."""
        return all(self.free_networks)

    @property
    def descriptor_room(self) -> int:
        """The bytes that a policy may still grow by; negative where it is too long."""
        return DESCRIPTOR_LIMIT - DESCRIPTOR_SPARE - self.descriptor_bytes

    def as_json(self) -> dict[str, object]:
        """Return the keys `descriptor`, `rejected_addresses` and `exit_flag` of `status`.

        `rejected_addresses` has one key for each interval of ports that the policy leaves open.
        """
        rejected = {
            ports_text(((count.low, count.high),)): count.rejected
            for count in self.ipv4.counts
            if count.accepted
        }
        return {
            "descriptor": {
                "bytes": self.descriptor_bytes if self.descriptor_known else None,
                "limit": DESCRIPTOR_LIMIT,
            },
            "rejected_addresses": {**rejected, "limit": REJECTED_LIMIT[4]},
            "exit_flag": self.exit_flag,
        }


@dataclass(frozen=True, slots=True)
class Problem:
    """A limit that a change would break."""

    limit: Literal["descriptor", "ports", "exit flag"]
    forcible: bool
    """Whether it is the operator's own choice; a descriptor that nobody takes is not."""
    excess: int
    """By how much: bytes, IPv4 addresses or IPv6 /64s of the worst port, /8s."""
    fits: int
    """How much would have fitted: average blocks; addresses or /64s; for the Exit flag, 0."""
    message: str
    """What would happen, as a sentence without a full stop."""
    hint: str
    """What to do instead."""


def measure(rules: Iterable[Rule], descriptor: bytes | None) -> Limits:
    """Return where a relay would stand if `rules` were its whole policy, in order.

    `rules` may be the configured policy or the enforced one (`GETINFO exit-policy/full`).
    `descriptor` is what the relay publishes at present (`GETINFO dir/server/authority`), with
    whatever policy; None where it cannot be read.
    """
    published = remove_redundancies(rules)
    ipv4, ipv6 = port_summary(published, 4), port_summary(published, 6)
    lines = policy_lines(published, ipv6)
    own = [line for line in lines if not line.startswith("ipv6-policy ")]
    other = OTHER_CONTENT if descriptor is None else other_bytes(descriptor)
    return Limits(
        descriptor_bytes=other + sum(len(line) + 1 for line in lines),
        descriptor_known=descriptor is not None,
        policy_lines=len(own),
        policy_bytes=sum(len(line) + 1 for line in own),
        ipv4=ipv4,
        ipv6=ipv6,
        free_networks=(free_networks(published, 80), free_networks(published, 443)),
    )


def assess(before: Limits, after: Limits) -> tuple[Problem, ...]:
    """Return the limits that a change from `before` to `after` breaks.

    A limit that was broken before is not held against a change that makes it no worse, so that
    blocks can always be lifted.
    """
    problems = [
        _descriptor_problem(before, after),
        _ports_problem(before.ipv4, after.ipv4),
        _ports_problem(before.ipv6, after.ipv6),
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


def _descriptor_problem(before: Limits, after: Limits) -> Problem | None:
    if after.descriptor_room >= 0 or after.descriptor_bytes <= before.descriptor_bytes:
        return None
    more = after.policy_lines - before.policy_lines
    grown = after.policy_bytes - before.policy_bytes
    line = max(1, grown // more) if more > 0 and grown > 0 else _AVERAGE_LINE
    fits = max(0, before.descriptor_room // line)
    known = "" if after.descriptor_known else ", by a careful guess, for it cannot be read now"
    return Problem(
        "descriptor",
        forcible=False,
        excess=-after.descriptor_room,
        fits=fits,
        message=f"the relay's descriptor would have {after.descriptor_bytes:,} bytes{known}:"
        f" {-after.descriptor_room:,} more than is safe, and the authorities refuse more"
        f" than {DESCRIPTOR_LIMIT:,}",
        hint=f"about {fits:,} more rules like these fit: lift some blocks, or block"
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
        # No rule accepts it for all addresses: a base policy that closes ports is asked to.
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
    """Name ports for people, not all of them where they are many."""
    if ports == ALL_PORTS:
        return "every port"
    more = f" and {len(ports) - 5} other ranges" if len(ports) > 5 else ""
    return f"port {ports_text(ports[:5])}{more}"


def _highest(summary: PortSummary, ports: tuple[int, int]) -> int:
    """Return the highest count of an interval of ports."""
    low, high = ports
    return max(c.rejected for c in summary.counts if c.low <= high and low <= c.high)


def other_bytes(descriptor: bytes) -> int:
    """Return the bytes of a descriptor without its policy, as an authority counts them.

    An authority counts no empty line at the end (src/feature/dirparse/routerparse.c,
    router_parse_entry_from_string); line ends may be those of the control port.
    """
    lines = descriptor.replace(b"\r\n", b"\n").rstrip(b"\n").split(b"\n")
    return sum(len(line) + 1 for line in lines if not line.startswith(_POLICY_KEYWORDS))


def policy_lines(published: Sequence[Rule], ipv6: PortSummary) -> list[str]:
    """Return the lines of a descriptor that hang on the policy.

    src/feature/relay/router.c, router_dump_router_to_string and
    router_dump_exit_policy_to_string: IPv6 has a summary only, and no line where it is closed.
    """
    if _rejects_all(published, 4) and _rejects_all(published, 6):
        lines = ["reject *:*"]
    else:
        lines = [str(rule) for rule in published if rule.family == 4]
    if ipv6.text != _NOTHING:
        lines.append(f"ipv6-policy {ipv6.text}")
    return lines


def _rejects_all(rules: Iterable[Rule], family: Family) -> bool:
    """Tell whether nothing is accepted for certain (policies.c, policy_is_reject_star)."""
    for rule in rules:
        if rule.family == family:
            if rule.accept:
                return False
            if _closes(rule):
                return True
    return True


def _closes(rule: Rule) -> bool:
    """Tell whether no later rule of the family has any effect."""
    return rule.prefix == 0 and rule.low <= 1 and rule.high >= 65535


def port_summary(rules: Iterable[Rule], family: Family) -> PortSummary:
    """Summarize the ports of a policy (policies.c, policy_summarize).

    A port is accepted where a rule accepts it for every address while no more than
    `REJECTED_LIMIT` are counted as rejected before.
    """
    own = [rule for rule in rules if rule.family == family]
    starts = sorted(
        {1, 65536, *(edge for rule in own for edge in (max(rule.low, 1), rule.high + 1))}
    )
    index = {port: i for i, port in enumerate(starts)}
    changes = [0] * len(starts)  # what is added to the count from here on
    decided: list[int | None] = [None] * (len(starts) - 1)
    counts = [0] * (len(starts) - 1)
    stale = False
    for rule in own:
        first, end = index[max(rule.low, 1)], index[rule.high + 1]
        if not rule.accept:
            if count := _count(rule):
                changes[first] += count
                changes[end] -= count
                stale = True
        elif rule.prefix == 0:
            if stale:
                _add_up(counts, changes)
                stale = False
            for i in range(first, end):
                if decided[i] is None:
                    decided[i] = min(counts[i], _COUNT_MAX)
    _add_up(counts, changes)
    limit = REJECTED_LIMIT[family]
    merged: list[PortCount] = []
    for i, (low, after) in enumerate(pairwise(starts)):
        at = decided[i]
        accepted = at is not None and at <= limit
        rejected = min(counts[i], _COUNT_MAX) if at is None else at
        start = low
        if merged and (merged[-1].rejected, merged[-1].accepted) == (rejected, accepted):
            start = merged.pop().low
        merged.append(PortCount(start, after - 1, rejected, accepted))
    text, ports = _summary_text(merged)
    return PortSummary(family, tuple(merged), text, ports)


def _count(rule: Rule) -> int:
    """Return what a reject rule adds to the count (policies.c, policy_summary_reject)."""
    if (rule.family, rule.network, rule.prefix) in _PRIVATE:
        return 0
    if rule.family == 4:
        return 1 << 32 - rule.prefix
    if rule.prefix > 64:
        return 0
    return 1 << 64 - rule.prefix if rule.prefix else _COUNT_MAX


def _add_up(counts: list[int], changes: list[int]) -> None:
    """Bring counts up to date from the changes noted so far."""
    total = 0
    for i in range(len(counts)):
        total += changes[i]
        counts[i] = total


def _summary_text(counts: Iterable[PortCount]) -> tuple[str, Ports]:
    """Return the summary's text, cut where Tor cuts it, and the ports that it accepts."""
    counts = list(counts)
    accepted = normal_ports((c.low, c.high) for c in counts if c.accepted)
    rejected = normal_ports((c.low, c.high) for c in counts if not c.accepted)
    if not accepted:
        return _NOTHING, ()
    if not rejected:
        return "accept 1-65535", ALL_PORTS
    accepts, rejects = ports_text(accepted), ports_text(rejected)
    longest = SUMMARY_LIMIT - len("accept") - 1
    if len(accepts) > longest and len(rejects) > longest:
        accepts = accepts[: accepts.rindex(",", 0, longest + 1)]
        return f"accept {accepts}", accepted[: accepts.count(",") + 1]
    if len(rejects) < len(accepts):
        return f"reject {rejects}", accepted
    return f"accept {accepts}", accepted


def free_networks(rules: Iterable[Rule], port: int) -> int:
    """Return how many /8s count for the Exit flag on a port; one is enough.

    Those are accepted by one rule before any rule rejects a part of them, and do not begin with
    an internal address (policies.c, exit_policy_is_general_exit_helper).
    """
    touched, free = set(_INTERNAL_SLASH_8), set[int]()
    for rule in rules:
        if rule.family == 4 and rule.low <= port <= rule.high:
            networks = range(rule.network >> 24, (rule.last >> 24) + 1)
            if not rule.accept:
                touched.update(i for i in networks if i not in free)
            elif rule.prefix <= 8:
                free.update(i for i in networks if i not in touched)
    return len(free)


@dataclass(slots=True)
class _Intervals:
    """Port intervals of one network, none of which lies within another."""

    lows: list[int] = field(default_factory=list)
    highs: list[int] = field(default_factory=list)

    def holds(self, low: int, high: int) -> bool:
        """Tell whether one of them contains all the ports."""
        at = bisect_right(self.lows, low) - 1
        return at >= 0 and high <= self.highs[at]

    def add(self, low: int, high: int) -> None:
        """Add an interval that none of them contains."""
        start = bisect_left(self.lows, low)
        stop = start
        while stop < len(self.highs) and self.highs[stop] <= high:
            stop += 1
        self.lows[start:stop] = [low]
        self.highs[start:stop] = [high]


def remove_redundancies(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """Drop what Tor drops from a policy (policies.c, exit_policy_remove_redundancies).

    That is every rule behind a catch-all of its family; every rule that one earlier rule covers;
    and every rule that one later rule of the same kind covers, with no rule of the other kind
    between them that meets it. Tor's work is quadratic; this is not, but for the last step where
    very many accept and reject rules alternate.
    """
    return tuple(_without_covered_later(_without_covered_earlier(_without_unreachable(rules))))


def _without_unreachable(rules: Iterable[Rule]) -> Iterator[Rule]:
    closed = set[Family]()
    for rule in rules:
        if rule.family not in closed:
            yield rule
            if _closes(rule):
                closed.add(rule.family)


def _without_covered_earlier(rules: Iterable[Rule]) -> Iterator[Rule]:
    # By family and prefix length, then by network: the ports that are spoken for.
    seen: defaultdict[Family, dict[int, dict[int, _Intervals]]] = defaultdict(dict)
    for rule in rules:
        lengths = seen[rule.family]
        for length, networks in lengths.items():
            if length <= rule.prefix:
                around = networks.get(_cut(rule, length))
                if around is not None and around.holds(rule.low, rule.high):
                    break
        else:
            own = lengths.setdefault(rule.prefix, {}).setdefault(rule.network, _Intervals())
            own.add(rule.low, rule.high)
            yield rule


def _without_covered_later(rules: Iterable[Rule]) -> Iterator[Rule]:
    rules = list(rules)
    kinds: dict[bool, list[int]] = {True: [], False: []}
    places: defaultdict[tuple[bool, Family], dict[int, dict[int, list[int]]]] = defaultdict(dict)
    for i, rule in enumerate(rules):
        kinds[rule.accept].append(i)
        lengths = places[rule.accept, rule.family]
        lengths.setdefault(rule.prefix, {}).setdefault(rule.network, []).append(i)
    for i, rule in enumerate(rules):
        covering = len(rules)
        for length, networks in places[rule.accept, rule.family].items():
            if length <= rule.prefix:
                for j in _after(networks.get(_cut(rule, length), ()), i):
                    if j >= covering:
                        break
                    if rules[j].low <= rule.low and rule.high <= rules[j].high:
                        covering = j
        others = kinds[not rule.accept]
        between = range(bisect_right(others, i), bisect_left(others, covering))
        if covering == len(rules) or any(_meet(rule, rules[others[at]]) for at in between):
            yield rule


def _cut(rule: Rule, length: int) -> int:
    """Return the network of a rule, cut to a shorter prefix."""
    bits = 32 if rule.family == 4 else 128
    return rule.network >> bits - length << bits - length


def _after(places: Sequence[int], i: int) -> Iterator[int]:
    """Yield the places behind i."""
    for at in range(bisect_right(places, i), len(places)):
        yield places[at]


def _meet(rule: Rule, other: Rule) -> bool:
    """Tell whether some address and port belongs to both."""
    return (
        rule.family == other.family
        and rule.low <= other.high
        and other.low <= rule.high
        and rule.network <= other.last
        and other.network <= rule.last
    )
