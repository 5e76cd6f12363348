"""Why a relay rejects a destination that has no block: the rule and its origin."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from exitpolicy.core.block import State
from exitpolicy.core.destination import Destination
from exitpolicy.core.errors import InvalidFileError
from exitpolicy.operations.apply import Applied
from exitpolicy.operations.host import Host
from exitpolicy.policy.evaluate import Decisions
from exitpolicy.policy.options import ExitOptions
from exitpolicy.policy.reconcile import View
from exitpolicy.policy.rule import Rule, RuleError, parse_rule
from exitpolicy.storage.config import Relay
from exitpolicy.tor import fragment_include, torrc_includes

_PRIVATE: Final = frozenset(parse_rule("reject private:*"))
_NO_IPV6: Final = frozenset(parse_rule("reject *6:*"))


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a relay rejects a destination."""

    destination: Destination
    relay: str
    reason: str
    """The rule and its origin."""
    removable: bool
    """Whether a block or a line of the operator's rejects it, and not Tor's own options."""


def still_rejected(
    host: Host, applied: Applied, destinations: Iterable[Destination]
) -> tuple[Cause, ...]:
    """Return why relays still reject destinations whose blocks were removed from Tor."""
    gone = [d for d in destinations if applied.states.get(d) is not State.LIFTING]
    found = (
        _cause_of(relay, view, applied, decisions, destination)
        for relay, view, decisions in _enforced(host, applied)
        for destination in gone
    )
    return tuple(cause for cause in found if cause is not None)


def moot_causes(
    host: Host, applied: Applied, destinations: Iterable[Destination]
) -> tuple[Cause, ...]:
    """Return why relays reject the destinations of moot blocks anyway."""
    moot = [d for d in destinations if applied.states.get(d) is State.MOOT]
    found: list[Cause] = []
    for relay, view in _observed(host, applied):
        if not moot or (view.running is None and view.unobserved is None):
            continue
        policy = view.own_policy
        if policy is None:
            if view.running is not None and not view.running.options.exits:
                reason = _no_exit(view.running.options)
                found += [Cause(d, relay.name, reason, removable=False) for d in moot]
            continue
        decisions = Decisions(policy)
        for destination in moot:
            deciding = decisions.deciding(destination)
            if not any(map(decisions.accepts, deciding)):
                rule = decisions.rules[deciding[0]]
                found.append(_of_options(relay, view, destination, rule))
    return tuple(found)


def own_addresses(applied: Applied, destinations: Iterable[Destination]) -> list[Destination]:
    """Return the destinations that are addresses of the observed relays themselves."""
    own = {
        rule.destination.addresses
        for view in applied.views
        if view.running is not None
        for rule in view.running.local
    }
    return [d for d in destinations if any(one.contains(d.addresses) for one in own)]


def _enforced(host: Host, applied: Applied) -> Iterator[tuple[Relay, View, Decisions]]:
    for relay, view in _observed(host, applied):
        if view.policy is not None:
            yield relay, view, Decisions(view.policy)


def _observed(host: Host, applied: Applied) -> Iterator[tuple[Relay, View]]:
    """Yield the observed relays of a host with their views."""
    relays = {relay.name: relay for relay in host.relays}
    for view in applied.views:
        yield relays[view.name], view


def _cause_of(
    relay: Relay, view: View, applied: Applied, decisions: Decisions, destination: Destination
) -> Cause | None:
    deciding = decisions.deciding(destination)
    rejecting = [decisions.rules[index] for index in deciding if not decisions.accepts(index)]
    whole = len(rejecting) == len(deciding)
    ours = {rule for plan in applied.plans if relay in plan.relays for rule in plan.rules}
    for rule in rejecting:
        blocks = [
            str(block.destination)
            for block in applied.blocks
            if block.destination.overlaps(destination)
            and block.destination.overlaps(rule.destination)
        ]
        if rule in ours and blocks:
            more = f" and {len(blocks) - 3} more" if len(blocks) > 3 else ""
            reason = f"the block of {', '.join(blocks[:3])}{more}"
            return Cause(destination, relay.name, reason, removable=True)
        # A rule for all addresses is the relay's choice of ports, not a block.
        if whole or rule.prefix:
            cause = _of_options(relay, view, destination, rule)
            if whole or cause.removable:
                return cause
    return None


def _of_options(relay: Relay, view: View, destination: Destination, rule: Rule) -> Cause:
    """Return the origin of a rule that exitpol did not write."""
    options = None if view.running is None else view.running.options
    if view.unobserved is not None and view.configured is not None:
        options = view.configured.options
    local = () if view.running is None else view.running.local
    place = _place(relay, rule)
    if options is not None and not options.exits:
        reason = _no_exit(options)
    elif options is not None and rule in _NO_IPV6 and not options.ipv6_exit:
        reason = "IPv6Exit 0"
    elif place is not None:
        reason = f"'{rule}' in {place}"
    elif options is not None and rule in _PRIVATE and options.reject_private:
        reason = "a private address (ExitPolicyRejectPrivate)"
    elif rule in local:
        reason = "an address of this host"
    else:
        reason = f"'{rule}' of Tor's default policy"
    return Cause(destination, relay.name, reason, removable=place is not None)


def _no_exit(options: ExitOptions) -> str:
    """Return the option by which a relay is no exit."""
    if options.exit_relay is None:
        return "the relay is not an exit: its torrc has no exit option"
    return "ExitRelay 0"


def _place(relay: Relay, rule: Rule) -> torrc_includes.Place | None:
    try:
        return fragment_include.first_exit_policy(relay.torrc, relay.fragment, rule)
    except (InvalidFileError, RuleError):
        return None
