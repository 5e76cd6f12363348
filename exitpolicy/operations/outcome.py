"""What came of an apply, in a word and in an exit code."""

from collections.abc import Iterable

from exitpolicy.core.block import State
from exitpolicy.core.destination import Destination
from exitpolicy.core.errors import ExitCode
from exitpolicy.operations.apply import Applied

_OPEN = (State.PENDING, State.SHADOWED, State.UNKNOWN)


def exit_code(applied: Applied, destinations: Iterable[Destination], *, waited: bool) -> ExitCode:
    """Return 0 if all that was asked for was seen to be enforced; else what kept it from it.

    Who did not want to wait is content with what is recorded and sent to Tor.
    """
    if applied.problems:
        return applied.problems[0].exit_code
    states = [applied.states[d] for d in destinations if d in applied.states]
    if State.SHADOWED in states:
        return ExitCode.ATTENTION
    if waited and (any(state in _OPEN for state in states) or not applied.settled):
        return ExitCode.ATTENTION
    return ExitCode.DONE


def lifted_state(applied: Applied) -> str:
    """Return what is true of a block that was lifted: `lifted`, or `pending` until Tor knows."""
    return "lifted" if applied.settled else "pending"
