"""Streams that were open before a block took effect: count them and close them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from exitpolicy.core.block import State
from exitpolicy.core.destination import Destination
from exitpolicy.core.errors import ExitpolError
from exitpolicy.operations.apply import Applied
from exitpolicy.operations.host import Host
from exitpolicy.tor import identity, streams
from exitpolicy.tor.streams import Address, Stream, StreamsUnknownError


@dataclass(frozen=True, slots=True)
class OpenStreams:
    """The open streams to blocked destinations."""

    open: int | None
    """Number of streams that are open now; None if unknown."""
    closed: int | None = None
    """Number of streams that were closed; None if not requested or not possible."""
    problem: ExitpolError | None = None
    """Why a number is unknown or a stream was not closed."""


def count_open(
    host: Host, applied: Applied, destinations: Iterable[Destination], *, cut: bool
) -> OpenStreams:
    """Count the open streams to blocked destinations, and close them if `cut`.

    Considers only enforced blocks: as long as a block is pending, clients open new streams.
    """
    enforced = [
        destination
        for destination in destinations
        if applied.states.get(destination) in (State.LIVE, State.MOOT)
    ]
    if not enforced:
        why = "streams are closed only once the block is live; repeat the command then"
        if any(view.unobserved is not None for view in applied.views):
            why = "Tor has no control port that says which connections are to other relays"
        return OpenStreams(None, None, StreamsUnknownError(why) if cut else None)
    if not applied.views:
        # Another exitpol observed Tor with this change, and counts the streams of its own blocks.
        return OpenStreams(None)
    silent = [view.name for view in applied.views if view.running is None or not view.running.pid]
    if silent:
        return OpenStreams(
            None,
            None,
            StreamsUnknownError(f"Tor ({silent[0]}) does not say which process it is"),
        )
    pids = [view.running.pid for view in applied.views if view.running is not None]
    try:
        found = streams.open_streams(pids, enforced)
        relays: frozenset[Address] = frozenset()
        if found:
            # A connection to another relay carries circuits of many clients: never close it.
            relays = identity.relay_addresses(host.relays)
            found = streams.apart_from(found, relays)
    except ExitpolError as error:
        return OpenStreams(None, None, error)
    if not (cut and found):
        return OpenStreams(len(found), 0 if cut else None)
    return _cut(found, pids, enforced, relays)


def _cut(
    found: Sequence[Stream],
    pids: Sequence[int],
    enforced: Sequence[Destination],
    relays: frozenset[Address],
) -> OpenStreams:
    try:
        streams.cut(found)
        left = streams.apart_from(streams.open_streams(pids, enforced), relays)
    except StreamsUnknownError as error:
        return OpenStreams(len(found), 0, error)
    closed = len(set(found).difference(left))
    if closed:
        return OpenStreams(len(left), closed)
    return OpenStreams(
        len(left),
        0,
        StreamsUnknownError(
            "the kernel has closed none of them: it is built without CONFIG_INET_DIAG_DESTROY",
            hint="only a restart of Tor ends those streams, and all others with them",
        ),
    )
