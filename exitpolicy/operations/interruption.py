"""What an interrupted command has done so far."""

from collections.abc import Iterator
from contextlib import contextmanager

from exitpolicy.core.errors import Interruption


@contextmanager
def interrupted_state(state: str) -> Iterator[None]:
    """Add the state that things are in to an interruption inside the `with` block."""
    try:
        yield
    except Interruption as stopped:
        stopped.add_note(state)
        raise
