"""The result of an apply, in a word and in an exit code."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from exitpolicy.core.block import Block, Blocks, State
from exitpolicy.core.destination import Destination
from exitpolicy.core.errors import ExitCode, ExitpolError
from exitpolicy.operations.apply import Applied, Watch
from exitpolicy.operations.host import Host
from exitpolicy.operations.rejection_causes import Cause
from exitpolicy.operations.removals import is_installed
from exitpolicy.policy.block_states import gravest, is_lifting

_OPEN = (State.PENDING, State.SHADOWED, State.UNKNOWN, State.LIFTING)


def on_relays(applied: Applied, relays: Collection[str]) -> Applied:
    """Return an apply as far as it concerns some relays; all of it if none is named."""
    if not relays:
        return applied
    views = tuple(view for view in applied.views if view.name in relays)
    states: dict[Destination, State] = {}
    mixed: dict[Destination, dict[str, State]] = {}
    for destination, state in applied.states.items():
        block = applied.blocks.by_destination.get(destination)
        if block is None:
            # Removed: the state is LIFTING or SCHEDULED.
            if any(is_lifting(view, destination) for view in views) or any(
                is_installed(destination, plan)
                for plan in applied.plans
                if any(relay.name in relays for relay in plan.relays)
            ):
                states[destination] = state
        elif not block.relays or not set(relays).isdisjoint(block.relays):
            on = applied.mixed.get(destination, {})
            here = {name: state for name, state in on.items() if name in relays}
            states[destination] = gravest(here.values()) if here else state
            if len(set(here.values())) > 1:
                mixed[destination] = here
    return replace(
        applied,
        views=views,
        states=states,
        mixed=mixed,
        batches={name: due for name, due in applied.batches.items() if name in relays},
        problems=tuple(
            problem
            for problem in applied.problems
            if not problem.relay_names or not set(relays).isdisjoint(problem.relay_names)
        ),
    )


def elsewhere(applied: Applied, seen: Applied) -> tuple[ExitpolError, ...]:
    """Return the problems of an apply that are not among those of the part that was asked for."""
    return tuple(problem for problem in applied.problems if problem not in seen.problems)


def exit_code(
    applied: Applied, destinations: Iterable[Destination], watch: Watch = Watch.OWN
) -> ExitCode:
    """Return 0 if everything asked for was observed to be enforced; else the code of the reason.

    With `Watch.NOT`, it is enough that the change is recorded and sent to Tor. A preview gives 0.
    """
    if applied.is_preview:
        return ExitCode.DONE
    if applied.problems:
        return applied.problems[0].exit_code
    states = [state for d in destinations if (state := applied.states.get(d)) is not None]
    if State.SHADOWED in states:
        return ExitCode.ATTENTION
    if watch is not Watch.NOT and (any(state in _OPEN for state in states) or not applied.settled):
        return ExitCode.ATTENTION
    return ExitCode.DONE


def change_code(
    code: ExitCode, applied: Applied, states: Mapping[Destination, str], watch: Watch
) -> ExitCode:
    """Return the exit code of a change, given the one of what was observed here.

    It is 3 in the place of 0 where this host enforces nothing of a block: the ledger is to be
    brought to other hosts. With `Watch.NOT`, it is enough that the change is recorded.
    """
    is_recorded_only = State.ELSEWHERE in states.values() and watch is not Watch.NOT
    if code is ExitCode.DONE and is_recorded_only and not applied.is_preview:
        return ExitCode.ATTENTION
    return code


def removal_code(
    applied: Applied,
    destinations: Iterable[Destination],
    causes: Sequence[Cause],
    watch: Watch,
) -> ExitCode:
    """Return the exit code of a lift: 3 also where a block or a torrc still rejects it."""
    code = exit_code(applied, destinations, watch)
    if code is ExitCode.DONE and any(cause.removable for cause in causes):
        return ExitCode.ATTENTION
    return code


def removed_state(host: Host, applied: Applied, block: Block) -> str:
    """Return the state of a removed block: `elsewhere` for one of relays of other hosts only."""
    (local,) = host.here(Blocks.of([block]))
    if any(map(local.is_for, host.names)):
        return lifted_state(applied, block.destination)
    return str(State.ELSEWHERE)


def lifted_state(applied: Applied, destination: Destination) -> str:
    """Return the state of a block that was removed from all observed relays.

    It is `lifted`, or `lifting` until Tor has read it, or `scheduled` until the next batch. It is
    `removed` where a Tor that has read it does not say what it enforces.
    """
    # A block that goes on on other relays has no state here.
    removed = destination not in applied.blocks
    if removed and applied.states.get(destination) is State.SCHEDULED:
        return str(State.SCHEDULED)
    if applied.states.get(destination) is State.LIFTING or (
        not removed and any(is_lifting(view, destination) for view in applied.views)
    ):
        return str(State.LIFTING)
    observed = all(view.unobserved is None for view in applied.views)
    return "lifted" if observed else "removed"
