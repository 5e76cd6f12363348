"""What is blocked and what was: read from our own files, without asking Tor."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from exitpolicy import state
from exitpolicy.block import Block
from exitpolicy.destination import Destination
from exitpolicy.ledger import history
from exitpolicy.operations.host import Host
from exitpolicy.operations.wanted import present
from exitpolicy.reconcile import State
from exitpolicy.tor.probe import answers


@dataclass(frozen=True, slots=True)
class Listed:
    """A block of the ledger, and what was last seen of it."""

    block: Block
    state: State | Literal["scheduled", "ended"]


@dataclass(frozen=True, slots=True)
class Listing:
    """What is blocked, as it was last seen."""

    blocks: tuple[Listed, ...]
    observed: datetime | None
    """When Tor was last looked at; None for never."""
    now: datetime


def listing(host: Host, *, expiring: timedelta | None, everything: bool) -> Listing:
    """Return the blocks of the ledger with the state in which they were last seen.

    Tor is not asked; only whether it is there. `expiring` keeps those that end within that time,
    `everything` adds those that are not in force.
    """
    time = present(host)
    seen = state.load(host.state_path)
    known = {} if seen is None else seen.states
    reachable = all(answers(relay) for relay in host.relays)
    listed: list[Listed] = []
    for block in host.ledger().blocks:
        if expiring is not None and (block.until is None or block.until > time.now + expiring):
            continue
        if time.wants(block):
            last = State(known.get(str(block.destination), State.PENDING))
            listed.append(Listed(block, last if reachable else State.UNKNOWN))
        elif everything:
            listed.append(Listed(block, "ended" if block.has_ended(time.now) else "scheduled"))
    return Listing(tuple(listed), None if seen is None else seen.when, time.now)


def past(host: Host, destination: Destination | None) -> Iterator[history.Change]:
    """Yield the history, oldest first; of one destination only, if given."""
    for change in history.read(host.history_path):
        if destination is None or change.destination == str(destination):
            yield change
