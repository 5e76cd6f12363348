"""Blocks and their history, read from exitpol's own files without asking Tor."""

from collections import deque
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, get_args

from exitpolicy.core.block import Block, State
from exitpolicy.core.destination import Destination
from exitpolicy.core.errors import UsageError
from exitpolicy.core.host_names import NamedHost
from exitpolicy.core.ports import ALL_PORTS, ports_text
from exitpolicy.operations.host import Host
from exitpolicy.storage import observed

if TYPE_CHECKING:
    from exitpolicy.storage.history import Change

NotInForce = Literal["scheduled", "ended"]
NOT_IN_FORCE: Final = get_args(NotInForce)
"""The states of blocks that are not in force."""

_EXPLAINED: Final = frozenset(
    {State.PENDING, State.LEFT_OUT, State.SCHEDULED, State.UNKNOWN, State.MOOT}
)
"""The states that are shown with their causes."""
_REMOVED: Final = frozenset({State.LIFTING, State.SCHEDULED})
"""The states of blocks that have ended and are enforced still."""
_SILENT: Final = "no Tor answers at its control port"
_NOT_SEEN: Final = "not known yet; to find out: exitpol apply"

MAX_CHANGES: Final = 50_000
"""The most changes of the history that are shown: about 50 MB of memory."""


class Listed(NamedTuple):
    """A block of the ledger with the state in which it was last observed."""

    block: Block
    destination: str
    """The canonical text of the destination."""
    state: State | NotInForce
    """Of several relays, the gravest."""
    on: Mapping[str, State]
    """The state on each relay that the block is for; empty if it is not in force."""
    causes: Mapping[str, str]
    """By relay, why the block is pending, scheduled, unknown or moot."""


class Listing(NamedTuple):
    """Blocks with the states of the last observation."""

    blocks: tuple[Listed, ...]
    observed: datetime | None
    """Time of the last observation; None if Tor was never observed."""
    now: datetime
    next_batch: datetime | None = None
    """When the first changes that waited then are due; None if none did."""


class Filter(NamedTuple):
    """Which blocks are listed. By default, those that are in force."""

    expiring: timedelta | None = None
    """Those that end within this time; None for all."""
    reference: str | None = None
    """Those with this ticket; None for all."""
    states: frozenset[str] = frozenset()
    """Those in one of these states; empty for all."""
    relays: frozenset[str] = frozenset()
    """Those for one of these relays; empty for all."""
    everything: bool = False
    """Also those that are not in force."""

    def selects(self, block: Block, now: datetime) -> bool:
        """Tell whether a block is listed, whatever its state and its relays."""
        until = block.until
        if self.expiring is not None and (until is None or until > now + self.expiring):
            return False
        return self.reference is None or self.reference in block.all_references


def known_states(names: Iterable[str]) -> frozenset[str]:
    """Return the names of states. Raises UsageError for one that no block can have."""
    known = [*map(str, State), *NOT_IN_FORCE]
    for name in names:
        if name not in known:
            raise UsageError(f"no block has the state {name!r}", hint=f"one of {', '.join(known)}")
    return frozenset(names)


def list_blocks(host: Host, wanted: Filter) -> Listing:
    """Return the blocks of the ledger with the state of the last observation.

    Does not ask Tor; only tests whether its control port answers. A removed block that a Tor still
    enforces is listed although it is not in force.
    """
    from exitpolicy.tor.sockets import answers  # noqa: PLC0415 - `history` does not need it

    time = host.time()
    seen = observed.load(host.state_path)
    if seen is not None and seen.when > time.now:
        # The clock was ahead at the observation: what has happened since is unknown.
        seen = None
    silent = {r.name for r in host.relays if r.has_control and not answers(r)}
    last = _Observed(seen, [relay.name for relay in host.relays], silent)
    everything = wanted.everything or not wanted.states.isdisjoint(NOT_IN_FORCE)
    listed: list[Listed] = []
    blocks = host.ledger().blocks
    here = host.here(blocks).by_destination
    of_relays = host.of_relays(blocks, wanted.relays) if wanted.relays else blocks
    for block in of_relays:
        local = here[block.destination]
        if not wanted.selects(block, time.now):
            continue
        text = str(block.destination)
        state: State | NotInForce
        on: Mapping[str, State] = {}
        if time.enforces(block):
            state, on = last.on_relays(local, text)
        elif last.states.get(text) in _REMOVED:
            state = State(last.states[text])
        elif text in last.states and block.is_due(time.now):
            state = State.DUE
        elif everything:
            state = "ended" if block.has_ended(time.now) else "scheduled"
        else:
            continue
        if not wanted.states or state in wanted.states or wanted.states.intersection(on.values()):
            listed.append(Listed(block, text, state, on, last.causes(text, on)))
    return Listing(tuple(listed), None if seen is None else seen.when, time.now, _next_batch(seen))


def _next_batch(seen: "observed.Observation | None") -> datetime | None:
    """Return when the changes that waited at an observation are due."""
    if seen is None or seen.batch is None:
        return None
    return seen.when + timedelta(seconds=seen.batch)


class _Observed:
    """The states of blocks in force on the relays of a host, as observed last."""

    def __init__(
        self, seen: "observed.Observation | None", relays: list[str], silent: set[str]
    ) -> None:
        """`silent` are the relays that do not answer now."""
        self.states: Mapping[str, str] = {} if seen is None else seen.states
        self._mixed = {} if seen is None else seen.mixed
        self._causes = {} if seen is None else seen.causes
        self._relays = relays
        self._silent = silent
        # Most blocks have the same state on the same relays.
        self._usual: dict[tuple[str, tuple[str, ...]], tuple[State, Mapping[str, State]]] = {}

    def on_relays(self, block: Block, text: str) -> tuple[State, Mapping[str, State]]:
        """Return the gravest state of a block, and its state on each of its relays."""
        state = self.states.get(text, State.PENDING)
        if text in self._mixed:
            return self._on(block, state, self._mixed[text])
        key = (state, block.relays)
        if key not in self._usual:
            self._usual[key] = self._on(block, state, {})
        return self._usual[key]

    def _on(
        self, block: Block, state: str, differing: Mapping[str, str]
    ) -> tuple[State, Mapping[str, State]]:
        names = [name for name in self._relays if block.is_for(name)]
        on = {name: State(differing.get(name, state)) for name in names}
        on |= dict.fromkeys(self._silent.intersection(on), State.UNKNOWN)
        return _gravest(on.values()), on

    def causes(self, text: str, on: Mapping[str, State]) -> dict[str, str]:
        """Return why a block has no effect, by relay."""
        known = self._causes.get(text, {})
        return {
            name: _SILENT if name in self._silent else known.get(name, _NOT_SEEN)
            for name, state in on.items()
            if state in _EXPLAINED
        }


def _gravest(states: Iterable[State]) -> State:
    """Return the gravest of the states on some relays; `elsewhere` if there are no relays."""
    found = set(states)
    if len(found) < 2:
        return next(iter(found), State.ELSEWHERE)
    # Imported here, because most ledgers need no comparison of states.
    from exitpolicy.policy.block_states import gravest  # noqa: PLC0415

    return gravest(found)


def past_changes(host: Host, target: Destination | NamedHost | None) -> "Iterable[Change]":
    """Return the newest MAX_CHANGES changes, oldest first.

    With a destination, only those of it; with a host name, those of all blocks that were made by
    it, with its ports or any.
    """
    from exitpolicy.storage import history  # noqa: PLC0415 - `list` does not need it

    changes = (change for change in history.read(host.history_path) if _is_of(change, target))
    return deque(changes, maxlen=MAX_CHANGES)


def _is_of(change: "Change", target: Destination | NamedHost | None) -> bool:
    if target is None:
        return True
    if isinstance(target, Destination):
        return change.destination == str(target)
    if target.name not in change.name.split():
        return False
    return target.ports == ALL_PORTS or change.destination.endswith(f":{ports_text(target.ports)}")
