"""What is blocked and what was: read from our own files, without asking Tor."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from exitpolicy.core.block import Block, State
from exitpolicy.operations.clock import present
from exitpolicy.operations.host import Host
from exitpolicy.storage import observed
from exitpolicy.tor.sockets import answers


@dataclass(frozen=True, slots=True)
class Listed:
    """A block of the ledger, and what was last seen of it."""

    block: Block
    destination: str
    """Its canonical text."""
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
    seen = observed.load(host.state_path)
    known = {} if seen is None else seen.states
    reachable = all(answers(relay) for relay in host.relays)
    listed: list[Listed] = []
    for block in host.ledger().blocks:
        if expiring is not None and (block.until is None or block.until > time.now + expiring):
            continue
        text = str(block.destination)
        if time.wants(block):
            last = known.get(text, State.PENDING) if reachable else State.UNKNOWN
            listed.append(Listed(block, text, State(last)))
        elif everything:
            ended = block.has_ended(time.now)
            listed.append(Listed(block, text, "ended" if ended else "scheduled"))
    return Listing(tuple(listed), None if seen is None else seen.when, time.now)
