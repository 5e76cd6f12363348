"""Blocks and their history, read from exitpol's own files without asking Tor."""

from collections import deque
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from exitpolicy.core.block import Block, State
from exitpolicy.core.destination import Destination
from exitpolicy.operations.host import Host
from exitpolicy.storage import observed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from exitpolicy.storage.history import Change

MAX_CHANGES: Final = 50_000
"""The most changes of the history that are shown: about 50 MB of memory."""


class Listed(NamedTuple):
    """A block of the ledger with the state in which it was last observed."""

    block: Block
    destination: str
    """The canonical text of the destination."""
    state: State | Literal["scheduled", "ended"]


class Listing(NamedTuple):
    """Blocks with the states of the last observation."""

    blocks: tuple[Listed, ...]
    observed: datetime | None
    """Time of the last observation; None if Tor was never observed."""
    now: datetime


def list_blocks(host: Host, *, expiring: timedelta | None, everything: bool) -> Listing:
    """Return the blocks of the ledger with the state of the last observation.

    Does not ask Tor; only tests whether its control port answers. `expiring` selects the blocks
    that end within that time, `everything` adds those that are not in force. A removed block that a
    Tor still enforces is always listed.
    """
    from exitpolicy.tor.sockets import answers  # noqa: PLC0415 - `history` does not need it

    time = host.time()
    seen = observed.load(host.state_path)
    if seen is not None and seen.when > time.now:
        # The clock was ahead at the observation: what has happened since is unknown.
        seen = None
    known = {} if seen is None else seen.states
    reachable = all(answers(relay) for relay in host.relays)
    listed: list[Listed] = []
    for block in host.ledger().blocks:
        if expiring is not None and (block.until is None or block.until > time.now + expiring):
            continue
        text = str(block.destination)
        if time.enforces(block):
            last = known.get(text, State.PENDING) if reachable else State.UNKNOWN
            listed.append(Listed(block, text, State(last)))
        elif known.get(text) == State.LIFTING:
            listed.append(Listed(block, text, State.LIFTING))
        elif everything:
            ended = block.has_ended(time.now)
            listed.append(Listed(block, text, "ended" if ended else "scheduled"))
    return Listing(tuple(listed), None if seen is None else seen.when, time.now)


def past_changes(host: Host, destination: Destination | None) -> "Iterable[Change]":
    """Return the newest MAX_CHANGES changes, oldest first; only those of a destination if given."""
    from exitpolicy.storage import history  # noqa: PLC0415 - `list` does not need it

    changes = (
        change
        for change in history.read(host.history_path)
        if destination is None or change.destination == str(destination)
    )
    return deque(changes, maxlen=MAX_CHANGES)
