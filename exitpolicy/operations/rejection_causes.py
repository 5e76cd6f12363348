"""Why a relay rejects a destination although no block does it: the rule and its origin."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, Literal

from exitpolicy.core.block import State
from exitpolicy.core.destination import Destination
from exitpolicy.core.errors import InvalidFileError
from exitpolicy.policy.evaluate import Decisions
from exitpolicy.policy.options import ExitOptions
from exitpolicy.policy.reconcile import View
from exitpolicy.policy.rule import Entry, Rule, RuleError, parse_entries, parse_rule
from exitpolicy.storage.config import Relay
from exitpolicy.tor import fragment_include
from exitpolicy.tor.torrc_includes import Place

if TYPE_CHECKING:
    from exitpolicy.operations.apply import Applied
    from exitpolicy.operations.host import Host

_PRIVATE: Final = frozenset(parse_rule("reject private:*"))
_NO_IPV6: Final = frozenset(parse_rule("reject *6:*"))


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a relay rejects a destination."""

    destination: Destination
    relay: str
    reason: str
    """The rule and its origin."""
    origin: Literal["block", "line", "option"]
    """What rejects it: another block, a line of the torrc, or an option or default of Tor."""

    @property
    def removable(self) -> bool:
        """Whether the operator can lift a block, or remove a line, to have it accepted."""
        return self.origin != "option"


def still_rejected(
    host: "Host", applied: "Applied", destinations: Iterable[Destination]
) -> tuple[Cause, ...]:
    """Return why relays still reject destinations whose blocks were removed from Tor."""
    waiting = (State.LIFTING, State.SCHEDULED)
    gone = [d for d in destinations if applied.states.get(d) not in waiting]
    found: list[Cause | None] = []
    for relay, view in _observed(host, applied):
        if gone and view.policy is not None:
            decisions, origins = Decisions(view.policy), _Origins(relay, view)
            found += [_cause_of(origins, applied, decisions, d) for d in gone]
    return tuple(cause for cause in found if cause is not None)


def moot_causes(
    host: "Host", applied: "Applied", destinations: Iterable[Destination]
) -> tuple[Cause, ...]:
    """Return why relays reject the destinations of moot blocks anyway."""
    states, mixed, moot_state = applied.states, applied.mixed, State.MOOT
    # Of the destinations of a long list, few are moot.
    some = [d for d in destinations if states.get(d) is moot_state or (mixed and d in mixed)]
    blocks = [b for d in some if (b := applied.blocks.by_destination.get(d)) is not None]
    found: list[Cause] = []
    for relay, view in _observed(host, applied):
        moot = [
            block.destination
            for block in blocks
            if block.is_for(relay.name)
            and applied.state_on(block.destination, relay.name) is State.MOOT
        ]
        found += _moot_on(relay, view, moot)
    return tuple(found)


def moot_reasons(host: "Host", applied: "Applied") -> dict[Destination, Mapping[str, str]]:
    """Return why each moot block has no effect, by relay."""
    # Of 100,000 blocks, few are moot. One with different states may be moot on one relay.
    states, mixed = applied.states, applied.mixed
    moot_state = State.MOOT
    moot = [d for d, state in states.items() if state is moot_state or (mixed and d in mixed)]
    found: dict[Destination, dict[str, str]] = {}
    for cause in moot_causes(host, applied, moot):
        found.setdefault(cause.destination, {})[cause.relay] = cause.reason
    return dict(found)


def _moot_on(relay: Relay, view: View, moot: list[Destination]) -> Iterator[Cause]:
    if not moot or (view.running is None and view.unobserved is None):
        return
    policy = view.own_policy
    if policy is None:
        if view.running is not None and not view.running.options.exits:
            reason = _no_exit(view.running.options)
            yield from (Cause(d, relay.name, reason, "option") for d in moot)
        return
    decisions, origins = Decisions(policy), _Origins(relay, view)
    for destination in moot:
        deciding = decisions.deciding(destination)
        if not any(map(decisions.accepts, deciding)):
            yield origins.cause(destination, decisions.rules[deciding[0]])


def own_addresses(applied: "Applied", destinations: Iterable[Destination]) -> list[Destination]:
    """Return the destinations that are addresses of the observed relays themselves."""
    own = {
        rule.destination
        for view in applied.views
        if view.running is not None
        for rule in view.running.local
    }
    return [d for d in destinations if any(one.contains_addresses(d) for one in own)]


def _observed(host: "Host", applied: "Applied") -> Iterator[tuple[Relay, View]]:
    """Yield the observed relays of a host with their views."""
    relays = {relay.name: relay for relay in host.relays}
    for view in applied.views:
        yield relays[view.name], view


def _cause_of(
    origins: "_Origins", applied: "Applied", decisions: Decisions, destination: Destination
) -> Cause | None:
    relay = origins.relay
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
        # That some addresses are blocked on another ground does not close a port.
        counts = whole or not destination.is_port
        if rule in ours and blocks and counts:
            more = f" and {len(blocks) - 3} more" if len(blocks) > 3 else ""
            those = "another block covers it" if len(blocks) == 1 else "other blocks cover it"
            reason = f"{those}: {', '.join(blocks[:3])}{more}"
            return Cause(destination, relay.name, reason, "block")
        # A rule for all addresses is the relay's choice of ports, not a block.
        if whole or (rule.prefix and counts):
            cause = origins.cause(destination, rule)
            if whole or cause.removable:
                return cause
    return None


class _Origins:
    """Where the rules of one relay come from that exitpol did not write."""

    def __init__(self, relay: Relay, view: View) -> None:
        self.relay = relay
        self._options = None if view.running is None else view.running.options
        if view.unobserved is not None and view.configured is not None:
            self._options = view.configured.options
        self._local = () if view.running is None else view.running.local

    def cause(self, destination: Destination, rule: Rule) -> Cause:
        """Return the cause that a rule is."""
        options, place = self._options, self._places.get(rule)
        if options is not None and not options.exits:
            reason = _no_exit(options)
        elif options is not None and rule in _NO_IPV6 and not options.ipv6_exit:
            reason = "IPv6Exit 0"
        elif place is not None:
            reason = f"'{rule}' in {place}"
        elif options is not None and rule in _PRIVATE and options.reject_private:
            reason = "a private address (ExitPolicyRejectPrivate)"
        elif rule in self._local:
            reason = "an address of this host"
        else:
            reason = f"'{rule}' of Tor's default policy"
        return Cause(destination, self.relay.name, reason, "option" if place is None else "line")

    @cached_property
    def _places(self) -> Mapping[Entry, Place]:
        """The first ExitPolicy line of the torrc that holds each rule."""
        found: dict[Entry, Place] = {}
        try:
            for place, text in fragment_include.own_rules(self.relay.torrc, self.relay.fragment):
                for entry in parse_entries([text]):
                    found.setdefault(entry, place)
        except (InvalidFileError, RuleError):
            # What is not read is not named; the inspection of the relay reports it.
            pass
        return found


def _no_exit(options: ExitOptions) -> str:
    """Return the option by which a relay is no exit."""
    if options.exit_relay is None:
        return "the relay is not an exit: its torrc has no exit option"
    return "ExitRelay 0"
