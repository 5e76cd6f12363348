"""Streams that were open before a block took effect: how many there are, and their end."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from exitpolicy.core.block import State
from exitpolicy.core.destination import Destination
from exitpolicy.core.errors import ExitpolError
from exitpolicy.operations.apply import Applied
from exitpolicy.operations.host import Host
from exitpolicy.tor import inspect, streams
from exitpolicy.tor.streams import Address, Stream, StreamsUnknownError


@dataclass(frozen=True, slots=True)
class Remaining:
    """What is known of the streams to blocked destinations."""

    open: int | None
    """How many are open now; None if that is not known."""
    closed: int | None = None
    """How many were closed; None if that was not asked for or not possible."""
    problem: ExitpolError | None = None
    """Why something is not known or was not done."""


def look_for(
    host: Host, applied: Applied, destinations: Iterable[Destination], *, cut: bool
) -> Remaining:
    """Count the streams to destinations that are blocked now, and close them if `cut`.

    Only where the block is enforced: before, new ones would come after every count.
    """
    enforced = [
        destination
        for destination in destinations
        if applied.states.get(destination) in (State.LIVE, State.MOOT)
    ]
    if not enforced:
        early = "streams are only closed once the block is live; then give the same command again"
        return Remaining(None, None, StreamsUnknownError(early) if cut else None)
    if not applied.views:
        # Another exitpol has looked at Tor with this change; it counts its own.
        return Remaining(None)
    silent = [view.name for view in applied.views if view.running is None or not view.running.pid]
    if silent:
        return Remaining(
            None,
            None,
            StreamsUnknownError(f"Tor ({silent[0]}) does not say which process it is"),
        )
    pids = [view.running.pid for view in applied.views if view.running is not None]
    try:
        found = streams.open_streams(pids, enforced)
        relays: frozenset[Address] = frozenset()
        if found:
            # Connections to other relays carry the circuits of many, and are none of a block.
            relays = inspect.relay_addresses(host.relays)
            found = streams.apart_from(found, relays)
    except ExitpolError as error:
        return Remaining(None, None, error)
    if not (cut and found):
        return Remaining(len(found), 0 if cut else None)
    return _cut(found, pids, enforced, relays)


def _cut(
    found: Sequence[Stream],
    pids: Sequence[int],
    enforced: Sequence[Destination],
    relays: frozenset[Address],
) -> Remaining:
    try:
        streams.cut(found)
        left = streams.apart_from(streams.open_streams(pids, enforced), relays)
    except StreamsUnknownError as error:
        return Remaining(len(found), 0, error)
    closed = len(set(found).difference(left))
    if closed:
        return Remaining(len(left), closed)
    return Remaining(
        len(left),
        0,
        StreamsUnknownError(
            "the kernel has closed none of them: it is built without CONFIG_INET_DIAG_DESTROY",
            hint="only a restart of Tor ends those streams, and all others with them",
        ),
    )
