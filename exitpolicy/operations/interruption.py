"""What a command that is interrupted has done so far."""

from collections.abc import Iterator
from contextlib import contextmanager

from exitpolicy.core.errors import Interruption


@contextmanager
def interrupted_state(state: str) -> Iterator[None]:
    """Add to an interruption inside the block what state things are in then."""
    try:
        yield
    except Interruption as stopped:
        stopped.add_note(state)
        raise
