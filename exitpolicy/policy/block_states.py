"""The state of each block on a relay, read from the policy that the relay enforces.

Pure: a `View` holds everything that is needed.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

from exitpolicy.core.block import Block, State
from exitpolicy.core.destination import Destination
from exitpolicy.policy.evaluate import Decisions
from exitpolicy.policy.reconcile import View

_GRAVEST_FIRST: Final = (
    State.SHADOWED,
    State.PENDING,
    State.UNKNOWN,
    State.LIFTING,
    State.LEFT_OUT,
    State.SCHEDULED,
    State.UNVERIFIED,
    State.DUE,
    State.LIVE,
    State.MOOT,
    State.ELSEWHERE,
)


def gravest(states: Iterable[State]) -> State:
    """Return the state to report for a block that has these states on its relays."""
    found = set(states)
    return next((state for state in _GRAVEST_FIRST if state in found), State.UNKNOWN)


def states_on(
    view: View, blocks: Sequence[Block], held: Collection[Destination]
) -> Mapping[Destination, State]:
    """Return the state of each block in force on one relay.

    `held` are the destinations of blocks that are not installed there: at best they are pending.
    """
    running = view.running
    destinations = [block.destination for block in blocks]
    if view.unobserved is not None:
        return _states_by_files(view, destinations, held)
    if running is None:
        return dict.fromkeys(destinations, State.UNKNOWN)
    if running.enforced is None or running.network_disabled:
        return dict.fromkeys(destinations, State.PENDING)
    enforced = Decisions(running.enforced)
    own = view.own_policy
    own_decisions = None if own is None else Decisions(own)
    # An accept wins for good only where Tor runs the files and enforces what it read.
    final = view.in_sync

    # Members of an Enum are looked up slowly.
    live, pending, shadowed, moot = State.LIVE, State.PENDING, State.SHADOWED, State.MOOT

    def state(destination: Destination) -> State:
        if not enforced.rejects(destination):
            return shadowed if final else pending
        if own_decisions is None and not running.options.exits:
            return moot
        if own_decisions is not None and own_decisions.rejects(destination):
            return moot
        return live

    found = {destination: state(destination) for destination in destinations}
    for destination in held:
        if found.get(destination) in (live, shadowed):
            found[destination] = pending
    return found


def _states_by_files(
    view: View, destinations: Sequence[Destination], held: Collection[Destination]
) -> Mapping[Destination, State]:
    """Return the state of each block in force on a Tor that does not say what it enforces."""
    if not view.settled:
        return dict.fromkeys(destinations, State.PENDING)
    own, policy = view.own_policy, view.policy_after_reload
    own_decisions = None if own is None else Decisions(own)
    decisions = None if policy is None else Decisions(policy)

    def state(destination: Destination) -> State:
        if destination in held:
            return State.PENDING
        if decisions is not None and not decisions.rejects(destination):
            return State.SHADOWED
        if own_decisions is not None and own_decisions.rejects(destination):
            return State.MOOT
        return State.UNVERIFIED

    return {destination: state(destination) for destination in destinations}


def is_lifting(view: View, destination: Destination) -> bool:
    """Tell whether a relay still enforces a removed block, because it has not read its files."""
    if view.unobserved is not None:
        return not view.settled
    running = view.running
    if running is None:
        return True
    if running.enforced is None or view.in_sync:
        return False
    enforced = Decisions(running.enforced)
    rejecting = [i for i in enforced.deciding(destination) if not enforced.accepts(i)]
    if not rejecting:
        return False
    expected = view.policy_after_reload
    return expected is None or not Decisions(expected).rejects(destination)
