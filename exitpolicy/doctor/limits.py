"""The checks of the limits of Tor and its authorities, whoever broke them.

A block that would break a limit is refused. These checks find the limits that something else
broke: the torrc's own ExitPolicy lines, MyFamily, or blocks that were forced.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from exitpolicy.core.addresses import Family
from exitpolicy.core.ports import Ports, difference, normal_ports, ports_text
from exitpolicy.doctor.fault import Fault
from exitpolicy.doctor.finding import Finding, fail, ok, warn
from exitpolicy.policy.descriptor import DESCRIPTOR_LIMIT
from exitpolicy.policy.limits import Limits
from exitpolicy.policy.port_summary import REJECTED_LIMIT, PortSummary
from exitpolicy.policy.reconcile import View
from exitpolicy.policy.rule import Rule, parse_rule
from exitpolicy.storage.config import Relay

_FEW: Final = 5
_EXIT_PORTS: Ports = ((80, 80), (443, 443))


def check(relay: Relay, view: View, limits: Limits | None) -> Iterator[Finding]:
    """Check all limits of a relay. `limits` is None if it is no exit or has no policy."""
    running = view.running
    if limits is None or running is None or running.enforced is None:
        return
    yield _descriptor(relay, view, limits)
    if not any(rule.accept for rule in running.enforced):
        yield _accepts_nothing(relay, view)
        return
    yield from _ports(relay, running.enforced, limits.ipv4)
    if running.options.ipv6_exit:
        yield from _ports(relay, running.enforced, limits.ipv6)
    yield from _exit_flag(relay, running.enforced, limits)


def _descriptor(relay: Relay, view: View, limits: Limits) -> Finding:
    name = f"{relay.name}: descriptor"
    size = limits.descriptor_bytes
    if size <= DESCRIPTOR_LIMIT or not limits.descriptor_known:
        return ok(name, f"{size:,} of {DESCRIPTOR_LIMIT:,} bytes")
    return fail(
        name,
        f"{size:,} bytes; the directory authorities refuse more than {DESCRIPTOR_LIMIT:,}",
        why="the relay drops out of the consensus within a day, and no client uses it then",
        fix=_shorten(relay, view, limits),
        cause=Fault.DESCRIPTOR_TOO_LONG,
    )


def _shorten(relay: Relay, view: View, limits: Limits) -> str:
    """Say what takes the most of the descriptor and how to make it shorter."""
    descriptor = b"" if view.running is None else view.running.descriptor or b""
    family = sum(len(line) + 1 for line in descriptor.splitlines() if line.startswith(b"family "))
    configured = view.configured
    ours = 0
    if configured is not None and configured.options.position(configured.fragment) is not None:
        ours = sum(
            len(str(rule)) + 1
            for rule in configured.fragment
            if isinstance(rule, Rule) and rule.family == 4
        )
    ours = min(ours, limits.policy_bytes)
    parts = [
        (
            limits.policy_bytes - ours,
            "the torrc's own ExitPolicy lines",
            f"remove ExitPolicy lines from {relay.torrc}, or merge them into networks",
        ),
        (ours, "the blocks", "lift some (exitpol list), or block whole networks"),
        (family, "MyFamily", f"remove former relays from MyFamily in {relay.torrc}"),
    ]
    size, what, action = max(parts)
    return f"{what} {'take' if what != 'MyFamily' else 'takes'} {size:,} bytes: {action}"


def _accepts_nothing(relay: Relay, view: View) -> Finding:
    own = () if view.configured is None else view.configured.own.exit_policy
    closing = next(
        (rule for rule in own if isinstance(rule, Rule) and not rule.accept and rule.is_catch_all),
        None,
    )
    why = "no connection leaves through this relay: all blocks are moot"
    fix = f"write the accept rules of the exit into {relay.torrc}, or ExitRelay 0"
    if _rejects_by_itself(view):
        why = (
            "Tor rejects everything while its DNS servers are missing, do not answer, or give"
            " false answers; its log says which"
        )
        fix = "correct the DNS servers of this host, in /etc/resolv.conf or the file that"
        fix += f" ServerDNSResolvConfFile in {relay.torrc} names; Tor asks them again by itself"
    elif closing is not None:
        fix = (
            f"move the accept rules in {relay.torrc} above its line `reject *:*`, which closes"
            " IPv4 and IPv6; or write ExitRelay 0"
        )
    return warn(
        f"{relay.name}: port summary",
        "the enforced policy accepts no connection at all",
        why=why,
        fix=fix,
        cause=Fault.ACCEPTS_NOTHING,
    )


def _rejects_by_itself(view: View) -> bool:
    """Tell whether Tor rejects everything although its options do not say so.

    Tor replaces the policy of an exit by `reject *:*` where its DNS does not work
    (router_build_fresh_unsigned_routerinfo in src/feature/relay/router.c).
    """
    running = view.running
    return running is not None and not running.settled


def _ports(relay: Relay, enforced: Sequence[Rule], summary: PortSummary) -> Iterator[Finding]:
    """Check that the port summary accepts each port that the policy accepts for most addresses."""
    family = summary.family
    name = f"{relay.name}: port summary"
    general = generally_accepted(enforced, family)
    lost = difference(general, summary.ports)
    if not lost:
        if not summary.ports and any(r.accept and r.family == family for r in enforced):
            yield warn(
                name,
                f"the consensus says {summary.text} for IPv{family}, because no accept rule"
                " applies to all addresses",
                why="no client chooses this exit for an address that it accepts",
                fix=f"write an accept rule with * into {relay.torrc}, such as accept *:443",
                cause=Fault.PORTS_CLOSED,
            )
        else:
            yield ok(name, f"IPv{family}: {summary.text}")
        return
    limit = REJECTED_LIMIT[family]
    unit = "addresses" if family == 4 else "/64 networks"
    ports = ports_text(lost[:_FEW]) + (" and more" if len(lost) > _FEW else "")
    named = "every port" if ports == "*" else f"port {ports}"
    yield fail(
        name,
        f"the consensus says that the relay rejects all of IPv{family} on {named}:"
        f" more than {limit:,} {unit} are rejected there, or the summary is too long",
        why="no client chooses this exit for these ports, although its policy accepts them",
        fix=_narrow(relay, enforced, family),
        cause=Fault.PORTS_CLOSED,
    )


def _narrow(relay: Relay, enforced: Sequence[Rule], family: Family) -> str:
    """Name the widest reject rules, without those of the private networks."""
    private = {str(rule) for rule in parse_rule("reject private:*")}
    wide = sorted(
        (
            rule
            for rule in enforced
            if rule.family == family
            and not rule.accept
            and rule.prefix > 0
            and str(rule) not in private
        ),
        key=lambda rule: rule.prefix,
    )
    named = ", ".join(str(rule) for rule in wide[:3])
    return (
        f"remove or narrow the widest reject rules ({named}) in {relay.torrc}; or, if they are"
        " blocks, lift them: exitpol lift"
    )


def generally_accepted(enforced: Sequence[Rule], family: Family) -> Ports:
    """Return the ports that the policy accepts for all addresses, narrower rules ignored."""
    open_ports: list[tuple[int, int]] = []
    decided: Ports = ()
    for rule in enforced:
        if rule.family == family and rule.prefix == 0:
            ports = ((max(rule.low, 1), rule.high),)
            if rule.accept:
                open_ports += difference(ports, decided)
            decided = normal_ports((*decided, *ports))
    return normal_ports(open_ports)


def _exit_flag(relay: Relay, enforced: Sequence[Rule], limits: Limits) -> Iterator[Finding]:
    """Check the Exit flag of a relay that accepts ports 80 and 443."""
    name = f"{relay.name}: Exit flag"
    general = generally_accepted(enforced, 4)
    if difference(_EXIT_PORTS, general):
        yield ok(name, "not given: the policy does not accept ports 80 and 443 for all addresses")
    elif limits.exit_flag:
        yield ok(name, f"given: {min(limits.free_networks)} /8s without a rejected address")
    else:
        yield fail(
            name,
            "not given: in every /8 some address is rejected on port 80 or 443",
            why="clients rarely choose an exit without the Exit flag",
            fix=f"leave one /8 without any reject rule: see {relay.torrc} and exitpol list",
            cause=Fault.EXIT_FLAG_LOST,
        )
