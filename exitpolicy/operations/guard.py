"""The guard: count the connections of this host's Tors, and block what is flooded.

Connections to other relays never count, because they carry the circuits of many people; nor do
connections that a Tor accepted, nor those of other programs.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from exitpolicy.core import guard
from exitpolicy.core.block import Block, Blocks
from exitpolicy.core.clock import Time
from exitpolicy.core.destination import Destination, DestinationSet
from exitpolicy.core.errors import AttentionError, ExitpolError, InvalidFileError
from exitpolicy.core.guard import Before, Decision, Endpoint, Flooded
from exitpolicy.core.guard_rule import LONGEST, SOURCE, Rule
from exitpolicy.operations import change, repeats
from exitpolicy.operations.change import Options, Result, Timing
from exitpolicy.operations.host import Host
from exitpolicy.operations.host_names import Fitness
from exitpolicy.storage import guard_state, shared_fronts
from exitpolicy.storage.guard_state import Saved
from exitpolicy.storage.locks import WAIT_SECONDS, guard_lock_path, lock
from exitpolicy.storage.observed import Moment
from exitpolicy.tor import identity, inspect, streams

if TYPE_CHECKING:
    from exitpolicy.storage.config import Relay

_HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Counted:
    """The connections of this host's Tors, without those to relays."""

    counts: Mapping[Endpoint, int]
    relays: frozenset[Endpoint]
    """The addresses and ORPorts of all relays."""
    problems: tuple[ExitpolError, ...] = ()
    """Why the connections of some Tors are not among them."""


@dataclass(frozen=True, slots=True)
class Run:
    """What a run of the guard found, and what it did."""

    decision: Decision
    result: Result | None
    """The blocks that were made; None if there were none, or in a dry run."""
    new_ports: frozenset[int]
    """The flooded ports that the run before did not report."""
    problems: tuple[ExitpolError, ...] = ()


def count(host: Host) -> Counted:
    """Count the connections. Raises TorUnreachableError and others if no Tor can be asked."""
    pids: list[int] = []
    asked: list[Relay] = []
    problems: list[ExitpolError] = []
    for relay in host.some_relays():
        try:
            if not relay.has_control:
                raise AttentionError(
                    f"{relay.name}: a Tor without a control port does not say which connections"
                    " are to other relays; they were not counted",
                    hint=f"add ControlSocket to {relay.torrc}: exitpol help init",
                )
            pid = inspect.process_of(relay)
            if not pid:
                raise AttentionError(
                    f"{relay.name}: the process of its Tor cannot be seen; its connections were not"
                    " counted",
                    hint="run exitpol where Tor runs, also in the same container; only one Tor may"
                    f" be started with {relay.torrc}",
                )
            pids.append(pid)
            asked.append(relay)
        except ExitpolError as error:
            problems.append(error)
    if not asked:
        raise problems[0]
    relays = identity.relay_addresses(asked)
    counts = streams.connection_counts(pids)
    apart = {endpoint: n for endpoint, n in counts.items() if endpoint not in relays}
    return Counted(apart, relays, tuple(problems))


def run(host: Host, rule: Rule, counted: Counted, *, dry_run: bool) -> Run:
    """Decide, and block what is flooded; in a dry run only decide.

    Runs at the same time wait for each other: together they block no more than one may. Raises
    LockTimeoutError and what `change.block` raises, except that what does not fit is among the
    problems.
    """
    if dry_run:
        return _run(host, rule, counted, dry_run=True)
    path = guard_lock_path(host.config.ledger)
    with lock(path, seconds=WAIT_SECONDS, doing="blocking what is flooded"):
        return _run(host, rule, counted, dry_run=False)


def _run(host: Host, rule: Rule, counted: Counted, *, dry_run: bool) -> Run:
    now = Moment.now()
    path = guard_state.path_beside(host.config.ledger)
    saved = guard_state.load(path, now)
    blocks, time = host.ledger().blocks, host.time()
    room = rule.per_hour - max(len(saved.made), _made(blocks, time))
    unfit = _unfit(host, blocks, time, counted.relays)
    decision = guard.decide(rule, counted.counts, saved.before, unfit, room)
    ports = frozenset(one.port for one in decision.ports)
    if dry_run:
        return Run(decision, None, ports - saved.ports, counted.problems)
    seen = Saved(Before(counted.counts, rule.remembered), ports, saved.made)
    guard_state.save(path, seen, now)
    problems = list(counted.problems)
    result: Result | None = None
    if decision.to_block:
        try:
            result = _block(host, rule, decision.to_block)
            made = (*saved.made, *[now.seconds] * len(result.blocks))
            guard_state.save(path, seen._replace(made=made), now)
        except InvalidFileError:
            raise
        except ExitpolError as error:
            # It is tried again at the next run.
            problems.append(error)
    return Run(decision, result, ports - saved.ports, tuple(problems))


def _made(blocks: Blocks, time: Time) -> int:
    """Return how many of the blocks were made within an hour, where the state says less.

    The ledger keeps ended blocks for a month. After a step back of the clock, some lie ahead.
    """
    return sum(SOURCE in block.sources and block.since > time.now - _HOUR for block in blocks)


def _unfit(
    host: Host, blocks: Blocks, time: Time, relays: Collection[Endpoint]
) -> Callable[[Destination], str | None]:
    """Return what tells why a destination must not be blocked."""
    fitness, fronts = Fitness(host), shared_fronts.load(host.config)
    blocked = DestinationSet(block.destination for block in blocks if time.enforces(block))
    of_relays = {endpoint[:2] for endpoint in relays}

    def unfit(destination: Destination) -> str | None:
        (only,) = destination.ranges
        if not time.is_certain:
            return "the clock has jumped, and is trusted an hour later"
        if (only.family, only.first, destination.ports[0][0]) in blocked:
            return "it is blocked already"
        if (only.family, only.first) in of_relays:
            return "an address of a relay"
        reason = fitness.unfit(destination)
        provider = None if reason else fronts.provider_of(destination)
        return reason or (provider and f"a shared address of {provider}")

    return unfit


def _block(host: Host, rule: Rule, chosen: Collection[Flooded]) -> Result:
    """Block destinations on all relays. Raises what `change.block` raises."""
    since = host.clock().replace(microsecond=0)
    new = [
        Block(one.destination, since, since + rule.time, str(one), source=SOURCE) for one in chosen
    ]
    longer = repeats.lengthened(host, new, since)
    latest = since + max(rule.time, LONGEST)
    new = [
        one._replace(until=min(longer[one.destination], latest))
        if one.destination in longer
        else one
        for one in new
    ]
    return change.block_all(host, new, Options(timing=Timing.BATCH), frozenset())
