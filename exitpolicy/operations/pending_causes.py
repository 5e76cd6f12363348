"""Why a block is pending on a relay, in one sentence for `list`."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta

from exitpolicy.core.block import State
from exitpolicy.core.destination import Destination
from exitpolicy.core.errors import ExitpolError
from exitpolicy.operations.planning import FragmentPlan
from exitpolicy.policy.reconcile import View

_WAITING = (State.PENDING, State.UNKNOWN, State.LEFT_OUT, State.SCHEDULED)
"""Not a set: members of State are hashed slowly, and thousands of blocks are asked for."""
_SCHEDULED = -1
"""Stands for the one reason of all scheduled blocks; no object has this id."""


def pending_causes(
    plans: Iterable[FragmentPlan],
    views: Iterable[View],
    states_on: Callable[[str], Mapping[Destination, State | None]],
    hindrances: Mapping[str, ExitpolError],
    batches: Mapping[str, datetime],
) -> dict[Destination, Mapping[str, str]]:
    """Return the reason for each block that is pending, left out, scheduled or unknown, by relay.

    `states_on` returns the states of the blocks on a relay, `hindrances` are why relays are not
    reloaded, `batches` is when the changes that wait are due.
    """
    by_name = {view.name: view for view in views}
    found: dict[Destination, Mapping[str, str]] = {}
    for plan in plans:
        for name in (relay.name for relay in plan.relays):
            view, states = by_name[name], states_on(name)
            # Thousands of blocks may have the same error.
            reasons: dict[int, dict[str, str]] = {}
            for block in plan.blocks:
                destination = block.destination
                state = states.get(destination)
                if state not in _WAITING or not block.is_for(name):
                    continue
                held = plan.held.get(destination) if view.unreachable is None else None
                key = _SCHEDULED if state is State.SCHEDULED else id(held)
                reason = reasons.get(key)
                if reason is None:
                    text = (
                        waits_until(batches[name])
                        if state is State.SCHEDULED
                        else str(held or _of_relay(view, plan, hindrances.get(name)))
                    )
                    reason = reasons[key] = {name: " ".join(text.split())}
                others = found.get(destination)
                found[destination] = reason if others is None else {**others, **reason}
    return found


def waits_until(due: datetime) -> str:
    """Return the cause of a block that is scheduled; the tick runs at the next full minute."""
    return f"waits for the next batch, at {due + timedelta(seconds=59):%H:%M} UTC"


def hibernation(view: View) -> str | None:
    """Return why a relay that hibernates enforces nothing new; None if it does not."""
    if view.running is None or not view.running.hibernates:
        return None
    return (
        f"Tor ({view.name}) hibernates until its next accounting period (AccountingMax): it makes"
        " no new connections; what is installed is enforced when it wakes"
    )


def _of_relay(view: View, plan: FragmentPlan, hindrance: ExitpolError | None) -> str:
    """Return why a relay does not enforce what its fragment is to hold."""
    errors = (view.unreachable, view.broken, *plan.obstacles, view.must_restart, hindrance)
    for error in errors:
        if error is not None:
            return str(error)
    asleep = hibernation(view)
    if asleep is not None:
        return asleep
    if view.running is not None and view.running.enforced is None:
        return f"Tor has no exit policy: {view.running.problem}"
    if view.drift:
        return view.drift[0]
    return "Tor has not read its files as they are now"
