"""Follow host names: ask the DNS servers again, and let the blocks of a name follow its addresses.

Only the ledger changes here. The tick sees that, and lets Tor enforce it as any hand edit: what
does not fit into the limits of a relay is pending, and reported.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

from exitpolicy import resolver
from exitpolicy.core import following
from exitpolicy.core.block import Block, Blocks
from exitpolicy.core.clock import Time
from exitpolicy.core.destination import Destination
from exitpolicy.core.errors import ExitpolError, RefusedError
from exitpolicy.core.following import (
    EACH_FAMILY,
    MAX_ADDRESSES,
    MAX_FOLLOWED,
    Address,
    Answer,
    Change,
    Failure,
    Followed,
    Following,
    Observed,
    address_of,
)
from exitpolicy.core.host_names import NamedHost
from exitpolicy.operations import hooks, host_names, removals
from exitpolicy.operations.apply import attempted
from exitpolicy.operations.host import Host
from exitpolicy.operations.host_names import Fitness, Resolved
from exitpolicy.storage import follow_state, ledger_file
from exitpolicy.storage.locks import WAIT_SECONDS, follow_lock_path, ledger_lock_path, lock
from exitpolicy.storage.observed import Moment

_LOCK_SECONDS: Final = 60.0
"""How long to wait for another run, which asks at most MAX_FOLLOWED names."""


@dataclass(frozen=True, slots=True)
class Run:
    """What a run did."""

    followed: tuple[NamedHost, ...]
    """All names that are followed."""
    answers: Mapping[NamedHost, Answer | Failure]
    """Those that were asked for."""
    known: Mapping[NamedHost, Observed]
    """What is known of each name now."""
    changes: tuple[Change, ...]
    """How the blocks changed."""
    problems: tuple[ExitpolError, ...] = ()
    """What could not be recorded."""


def run(host: Host) -> Run:
    """Ask for the names that are due, and change the ledger as far as it is time to.

    Raises InvalidFileError, LockTimeoutError.
    """
    path = ledger_lock_path(host.config.ledger)
    with lock(
        follow_lock_path(host.config.ledger), seconds=_LOCK_SECONDS, doing="asking for names"
    ):
        before = _present(host)
        if not before.hosts and before.is_new:
            return Run((), {}, {}, ())
        found = _ask(host, before.hosts, following.due(before.state, before.hosts))
        with lock(path, seconds=WAIT_SECONDS, doing="changing the ledger"):
            # Again: a block may have been lifted in between.
            present = _present(host)
            fit = _Fit(host, found.detailed)
            state, changes = following.step(
                present.state,
                present.hosts,
                {one: answer for one, answer in found.answers.items() if one in present.hosts},
                fit.allows,
                may_change=present.time.is_certain,
            )
            # First, because without it the next change would not wait for an hour.
            follow_state.save(follow_state.path_beside(host.config.ledger), state, present.moment)
            problems = _change(host, present, changes) if changes else []
    return Run(tuple(present.hosts), found.answers, state.names, changes, tuple(problems))


@dataclass(frozen=True, slots=True)
class _Present:
    """The followed names and what is known of them now."""

    ledger: ledger_file.Ledger
    time: Time
    hosts: Mapping[NamedHost, Followed]
    state: Following
    moment: Moment
    is_new: bool
    """Whether nothing was known before."""


def _present(host: Host) -> _Present:
    """Read the ledger and the state. Raises InvalidFileError."""
    ledger, time, moment = host.ledger(), host.time(), Moment.now()
    relays = [relay.name for relay in host.relays]
    saved = follow_state.load(follow_state.path_beside(host.config.ledger))
    state = (
        Following.begun(relays)
        if saved is None
        else saved.following.after(moment.since(saved.moment))
    )
    hosts = following.followed(host.here(ledger.blocks), time, relays)
    return _Present(ledger, time, hosts, state, moment, saved is None)


@dataclass(frozen=True, slots=True)
class _Found:
    """The answers of DNS servers."""

    answers: Mapping[NamedHost, Answer | Failure]
    detailed: Mapping[NamedHost, resolver.Answer]
    """With the canonical names."""


def _ask(host: Host, hosts: Mapping[NamedHost, Followed], due: Sequence[NamedHost]) -> _Found:
    """Ask the servers of the relays that the blocks of each name are for."""
    answers: dict[NamedHost, Answer | Failure] = {}
    detailed: dict[NamedHost, resolver.Answer] = {}
    known = {relay.name for relay in host.relays}
    by_relays: dict[frozenset[str], list[NamedHost]] = {}
    for one in due:
        by_relays.setdefault(hosts[one].relays & known, []).append(one)
    for relays, chosen in by_relays.items():
        names = list(dict.fromkeys(one.name for one in chosen))
        for start in range(0, len(names), resolver.MAX_NAMES):
            some = names[start : start + resolver.MAX_NAMES]
            results = _look_up(host, some, relays)
            for one in chosen:
                result = results.get(one.name)
                if isinstance(result, Failure):
                    answers[one] = result
                elif result is not None:
                    answers[one], detailed[one] = result
    return _Found(answers, detailed)


def _look_up(
    host: Host, names: Sequence[str], relays: frozenset[str]
) -> Mapping[str, tuple[Answer, resolver.Answer] | Failure]:
    """Return the answer for each name, also with its canonical names, or why there is none."""
    if not relays:
        return dict.fromkeys(names, Failure("no relay of this host is to enforce its blocks"))
    try:
        found, _ = host_names.look_up(host, names, sorted(relays))
    except ExitpolError as error:
        return dict.fromkeys(names, Failure(str(error)))
    return {name: _answer(results) for name, results in found.items()}


def _answer(results: Sequence[resolver.Result]) -> tuple[Answer, resolver.Answer] | Failure:
    """Return what the servers of some relays say of a name: the addresses of all count."""
    joined = host_names.joined(results)
    if isinstance(joined, resolver.Failure):
        return Failure(str(joined.reason))
    answers = [result for result in results if isinstance(result, resolver.Answer)]
    families = EACH_FAMILY.difference(a.unknown[0] for a in answers if a.unknown is not None)
    if len(answers) < len(results):
        # What the other server knows alone is not absent.
        families = frozenset()
    return Answer(frozenset(joined.addresses), joined.ttl, families), joined


class _Fit:
    """Which addresses the followed names may have blocked."""

    def __init__(self, host: Host, answers: Mapping[NamedHost, resolver.Answer]) -> None:
        self._host = host
        self._answers = answers

    @cached_property
    def _fitness(self) -> Fitness:
        # Most runs change nothing, and need not ask Tor for its addresses.
        return Fitness(self._host)

    def allows(self, named: NamedHost, address: Address) -> bool:
        """Tell whether an address may be blocked for a name: no private, own or shared one."""
        answer = self._answers.get(named)
        destination = destination_of(named, address)
        return (
            answer is not None
            and self._fitness.unfit(destination) is None
            and self._fitness.provider(destination, answer) is None
        )


def destination_of(named: NamedHost, address: Address) -> Destination:
    """Return the destination of a name's block for an address."""
    family, number = address
    return Destination(family, number, number, named.ports)


def _change(host: Host, present: _Present, changes: Iterable[Change]) -> list[ExitpolError]:
    """Change the blocks in the ledger; return what could not be recorded elsewhere.

    The caller holds the ledger's lock. Raises InvalidFileError.
    """
    now = host.clock().replace(microsecond=0)
    blocks = present.ledger.blocks
    added: list[Block] = []
    ended: list[Block] = []
    for change in changes:
        its = [b for b in blocks if change.host.name in b.followed and present.time.enforces(b)]
        pattern = max((b for b in its if b.destination.ports == change.host.ports), key=_end_of)
        new = [
            pattern._replace(
                destination=destination_of(change.host, address),
                since=now,
                ended=None,
                name=change.host.name,
                follow=change.host.name,
                forced=False,
            )
            for address in change.added
        ]
        added += new
        released = {destination_of(change.host, address) for address in change.dropped}
        after = [blocks.get(d).released(change.host.name, now) for d in sorted(released)]
        ended += [blocks.get(block.destination) for block in after if block.ended is not None]
        blocks = Blocks({**blocks.by_destination, **{b.destination: b for b in after}}).blocked(new)
    failed = attempted(lambda: removals.announce(host, "unfollow", ended)) if ended else []
    ledger_file.save(host.config.ledger, replace(present.ledger, blocks=blocks))
    failed += attempted(lambda: hooks.record(host, "follow", added))
    return failed


def _end_of(block: Block) -> tuple[bool, float]:
    """Return what sorts blocks by their end."""
    return block.until is None, 0.0 if block.until is None else block.until.timestamp()


def refuse(host: Host, resolved: Sequence[Resolved]) -> None:
    """Refuse names that cannot be followed. Raises RefusedError, InvalidFileError."""
    for one in resolved:
        if len(one.destinations) > MAX_ADDRESSES:
            raise RefusedError(
                f"{one.host.name} has {len(one.destinations)} addresses, and a name with more than"
                f" {MAX_ADDRESSES} is not followed; nothing was blocked",
                hint="leave --follow out, or name the addresses that were attacked",
            )
    known = following.followed(host.ledger().blocks, host.time(), ())
    count = len({*known, *(one.host for one in resolved)})
    if count > MAX_FOLLOWED:
        raise RefusedError(
            f"this host would follow {count} names, and at most {MAX_FOLLOWED} are followed;"
            " nothing was blocked",
            hint="leave --follow out, or lift names that need not be followed any more",
        )


def begin(host: Host, resolved: Sequence[Resolved]) -> None:
    """Note the answers with which blocks of names were made. Raises InvalidFileError."""
    with lock(
        ledger_lock_path(host.config.ledger), seconds=WAIT_SECONDS, doing="changing the ledger"
    ):
        present = _present(host)
        now = present.state.seconds
        names = {one: known for one, known in present.state.names.items() if one in present.hosts}
        for one in resolved:
            its = present.hosts.get(one.host)
            if its is not None:
                blocked = its.blocked | {address_of(d) for d in one.destinations}
                names[one.host] = replace(
                    Observed.begun(blocked, now), due=now + following.MIN_SECONDS
                )
        state = replace(present.state, names=names)
        follow_state.save(follow_state.path_beside(host.config.ledger), state, present.moment)
