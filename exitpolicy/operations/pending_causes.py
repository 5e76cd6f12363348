"""Why a block is pending on a relay, in one sentence for `list`."""

from collections.abc import Mapping

from exitpolicy.core.block import State
from exitpolicy.core.destination import Destination
from exitpolicy.core.errors import ExitpolError
from exitpolicy.operations.planning import FragmentPlan
from exitpolicy.policy.reconcile import View

_WAITING = frozenset({State.PENDING, State.UNKNOWN})


def pending_causes(
    plans: tuple[FragmentPlan, ...],
    views: tuple[View, ...],
    states: Mapping[Destination, Mapping[str, State]],
    hindrances: Mapping[str, ExitpolError],
) -> dict[Destination, dict[str, str]]:
    """Return the reason for each block that is pending or unknown, by relay.

    `states` are those of each block by relay, `hindrances` why relays are not reloaded.
    """
    by_name = {view.name: view for view in views}
    plan_of = {relay.name: plan for plan in plans for relay in plan.relays}
    of_relay: dict[str, str] = {}
    found: dict[Destination, dict[str, str]] = {}
    for destination, on in states.items():
        for name, state in on.items():
            if state not in _WAITING:
                continue
            held = plan_of[name].held.get(destination)
            if held is not None and by_name[name].unreachable is None:
                reason = str(held)
            else:
                if name not in of_relay:
                    of_relay[name] = _of_relay(by_name[name], plan_of[name], hindrances.get(name))
                reason = of_relay[name]
            found.setdefault(destination, {})[name] = " ".join(reason.split())
    return found


def _of_relay(view: View, plan: FragmentPlan, hindrance: ExitpolError | None) -> str:
    """Return why a relay does not enforce what its fragment is to hold."""
    errors = (view.unreachable, view.broken, *plan.obstacles, view.must_restart, hindrance)
    for error in errors:
        if error is not None:
            return str(error)
    if view.running is not None and view.running.enforced is None:
        return f"Tor has no exit policy: {view.running.problem}"
    if view.drift:
        return view.drift[0]
    return "Tor has not read its files as they are now"
