"""Change the ledger: block, renew, lift, expire, and the base policy.

Each change is first planned and refused if it would harm a relay, then recorded, then applied.
A change that only removes rules is never refused.
"""

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum, auto
from pathlib import Path

from exitpolicy.core.block import MAX_NAMES, MAX_REFERENCES, Block, Blocks
from exitpolicy.core.clock import Time
from exitpolicy.core.destination import Destination
from exitpolicy.core.errors import (
    ExitpolError,
    InvalidFileError,
    NoSuchBlockError,
    RefusedError,
    TorRefusesError,
    UsageError,
)
from exitpolicy.core.retention import Retention
from exitpolicy.core.shell import word
from exitpolicy.operations import apply, hooks, own_policy, refusals, removals
from exitpolicy.operations.apply import Applied, Watch, attempted
from exitpolicy.operations.host import Host
from exitpolicy.operations.interruption import interrupted_state
from exitpolicy.operations.outcome import elsewhere, on_relays
from exitpolicy.operations.planning import FragmentPlan
from exitpolicy.policy.batching import EVERYTHING_URGENT, NOTHING_URGENT, Urgent
from exitpolicy.storage import base_policies, history, ledger_file, observed
from exitpolicy.storage.ledger_file import Ledger
from exitpolicy.storage.locks import WAIT_SECONDS, ledger_lock_path, lock
from exitpolicy.storage.observed import Moment
from exitpolicy.tor.inspect import CandidateError


class Timing(Enum):
    """Which changes of lists and of the guard are made at once; others always are."""

    OWN = auto()
    """Those of the blocks that the command names."""
    ALL = auto()
    """All, also those that wait."""
    BATCH = auto()
    """None before the next batch."""

    def urgent(self, destinations: Collection[Destination]) -> Urgent:
        """Return what is urgent for a command that names these destinations."""
        if self is Timing.ALL:
            return EVERYTHING_URGENT
        return Urgent(frozenset(destinations)) if self is Timing.OWN else NOTHING_URGENT


@dataclass(frozen=True, slots=True)
class Options:
    """How to make a change."""

    dry_run: bool = False
    """Only report what would happen."""
    force: bool = False
    """Exceed the limits that the operator may choose to exceed."""
    watch: Watch = Watch.SHARED
    """How to observe the result."""
    is_edit: bool = False
    """Refuse nothing, as for an edit of the ledger: what does not fit is recorded and pending."""
    timing: Timing = Timing.OWN
    """Which changes wait for a batch."""


def watch(*, no_wait: bool, own: bool = False) -> Watch:
    """Return how to observe a change, given the options of a command."""
    if no_wait:
        return Watch.NOT
    return Watch.OWN if own else Watch.SHARED


@dataclass(frozen=True, slots=True)
class Changed:
    """A change that was recorded and applied, or planned in a dry run."""

    blocks: tuple[Block, ...]
    """The changed blocks, as they are after it; those that ended, as they were."""
    applied: Applied
    """What was observed on all relays."""
    relays: frozenset[str] = frozenset()
    """The relays that the change is for; empty for all."""
    ended: tuple[Block, ...] = ()
    """Blocks that it ended beside, as they were."""

    @property
    def seen(self) -> Applied:
        """What was observed on the relays that the change is for."""
        return on_relays(self.applied, self.relays)

    @property
    def elsewhere(self) -> tuple[ExitpolError, ...]:
        """The problems of the other relays."""
        return elsewhere(self.applied, self.seen)


@dataclass(frozen=True, slots=True)
class RecordedOnly:
    """A change that was recorded, but could not be applied; a later apply completes it."""

    blocks: tuple[Block, ...]
    """The changed blocks, as in `Changed`."""
    failure: ExitpolError


Result = Changed | RecordedOnly


def block(
    host: Host,
    destinations: Sequence[Destination],
    *,
    until: datetime | None,
    reason: str,
    references: Sequence[str],
    options: Options,
    relays: Sequence[str] = (),
    names: Mapping[Destination, str] | None = None,
    follow: bool = False,
) -> Result:
    """Block destinations from now on, on all relays or on those named.

    `references` are the tickets, the most important first. `names` are the host names of those
    that were resolved, which the blocks may `follow`. Raises RefusedError, TorRefusesError,
    InvalidFileError, and UsageError for an unknown relay.
    """
    named = host.known_relays(relays)
    refusals.refuse_shared_fragments(host.relays, named)
    new = allowed(
        host,
        destinations,
        until=until,
        reason=reason,
        references=references,
        force=options.force,
        relays=tuple(sorted(set(relays))),
        names=names,
        follow=follow,
    )
    return block_all(host, new, options, named)


def allowed(
    host: Host,
    destinations: Sequence[Destination],
    *,
    until: datetime | None,
    reason: str,
    references: Sequence[str],
    force: bool,
    relays: tuple[str, ...] = (),
    names: Mapping[Destination, str] | None = None,
    follow: bool = False,
) -> list[Block]:
    """Return blocks from now on, if the config allows them. Raises RefusedError."""
    now = host.clock().replace(microsecond=0)
    reference, *others = list(dict.fromkeys(filter(None, references))) or [""]
    known = {d: " ".join(text.split()[:MAX_NAMES]) for d, text in (names or {}).items()}
    new = [
        Block(
            destination,
            now,
            until,
            reason,
            reference,
            relays=relays,
            references=tuple(others[:MAX_REFERENCES]),
            forced=force,
            name=known.get(destination, ""),
            follow=known.get(destination, "") if follow else "",
        )
        for destination in destinations
    ]
    for one in new:
        forbidden = refusals.forbidden(host.config, one)
        if forbidden is not None:
            raise forbidden
    if not force:
        refusals.refuse_shared_fronts(host.config, destinations)
    return new


def block_all(host: Host, new: Sequence[Block], options: Options, relays: frozenset[str]) -> Result:
    """Add blocks that the config allows; `relays` are those that were named.

    Raises what `block` raises.
    """
    destinations = [one.destination for one in new]
    change = _Addition("block", lambda blocks: blocks.blocked(new), destinations, relays)
    return _add(host, change, options)


def renew(
    host: Host,
    destinations: Sequence[Destination],
    until: datetime | None,
    options: Options,
    relays: Sequence[str] = (),
) -> Result:
    """Give blocks a new end, sooner or later. Raises NoSuchBlockError, and what `block` raises.

    A block has one end for all of its relays: with `relays`, it has to be for no others.
    """
    named = host.known_relays(relays)

    def altered(blocks: Blocks) -> Blocks:
        for destination in destinations if named else ():
            others = set(host.each_relay(blocks.get(destination).relays)) - set(
                host.each_relay(named)
            )
            if others:
                raise UsageError(
                    f"the block for {destination} is also for {', '.join(sorted(others))}, and has"
                    " one end for all of its relays",
                    hint="leave --relay out, or end it on the others: exitpol lift --relay",
                )
        return blocks.renewed(destinations, until, host.clock())

    return _add(host, _Addition("renew", altered, destinations, named), options)


def lift(
    host: Host,
    choose: Callable[[Blocks, datetime], Iterable[Block]],
    options: Options,
    relays: Sequence[str] = (),
) -> Result:
    """End now the blocks that `choose` returns, given all blocks and the time.

    With `relays`, on those only; a block goes on on its other relays. Raises what `choose` raises,
    UsageError, NoSuchBlockError and LockTimeoutError. No state of a relay refuses it, and no error
    in the ledger but in the lines of these blocks.
    """
    now = host.clock()
    named = host.known_relays(relays)
    each_relay = host.each_relay(())

    def altered(before: Blocks, chosen: Sequence[Block]) -> Blocks:
        destinations = [block.destination for block in chosen]
        if not named:
            return _unfollowed(before.lifted(destinations, now), chosen, now)
        # A pattern or a group becomes the names of its relays, those of other hosts included.
        each = Blocks.of(b._replace(relays=host.each_relay(b.relays)) for b in chosen if b.relays)
        spelled_out = Blocks({**before.by_destination, **each.by_destination})
        reduced = spelled_out.lifted_on(destinations, host.each_relay(named), each_relay)
        rest = [d for d in destinations if reduced.get(d) == spelled_out.get(d)]
        reduced = Blocks({**reduced.by_destination, **{d: before.get(d) for d in rest}})
        return _unfollowed(reduced.lifted(rest, now), chosen, now)

    if options.dry_run:
        ledger = _ledger(host)
        chosen = list(choose(ledger.blocks, now))
        blocks = altered(ledger.blocks, chosen)
        urgent = options.timing.urgent([block.destination for block in chosen])
        previewed = apply.preview(host, replace(ledger, blocks=blocks), urgent)
        return Changed(tuple(chosen), previewed, _concerned(host, named, chosen))
    with _ledger_lock(host):
        around = None if named else _lift_around_errors(host, choose, altered, now)
        if around is not None:
            chosen, failed = around
        else:
            ledger = _ledger(host)
            chosen = list(choose(ledger.blocks, now))
            blocks = altered(ledger.blocks, chosen)
            after = [blocks.get(block.destination) for block in chosen]
            ended = [old for old, new in zip(chosen, after, strict=True) if new.ended is not None]
            reduced = [new for new in after if new.ended is None]
            failed = attempted(lambda: removals.announce(host, "lift", ended)) if ended else []
            ledger_file.save(host.config.ledger, replace(ledger, blocks=blocks))
            if reduced:
                failed += attempted(lambda: hooks.record(host, "relays-changed", reduced))
        recorded = Moment.now()
    urgent = options.timing.urgent([block.destination for block in chosen])
    applied = _apply(host, options.watch, urgent, recorded, failed)
    if isinstance(applied, ExitpolError):
        return RecordedOnly(tuple(chosen), applied)
    return Changed(tuple(chosen), applied, _concerned(host, named, chosen))


def _lift_around_errors(
    host: Host,
    choose: Callable[[Blocks, datetime], Iterable[Block]],
    altered: Callable[[Blocks, Sequence[Block]], Blocks],
    now: datetime,
) -> tuple[list[Block], list[ExitpolError]] | None:
    """Lift blocks in a ledger that has errors elsewhere; return them, and what failed.

    While the ledger is invalid, an apply goes by what it said when it was last valid: the blocks
    end there too. None if the ledger is valid, or if the blocks are not among its readable ones.
    """
    path = host.config.ledger
    try:
        host.ledger()
    except InvalidFileError:
        last = host.last_valid_ledger()
    else:
        return None
    try:
        readable = ledger_file.load_readable(path)
        chosen = list(choose(readable, now))
    except (InvalidFileError, NoSuchBlockError):
        return None
    if last is None or not chosen:
        return None
    before, after = readable.by_destination, altered(readable, chosen).by_destination
    failed = attempted(lambda: removals.announce(host, "lift", chosen))
    ledger_file.save_around_errors(path, {d: b for d, b in after.items() if b != before[d]})
    known = (last.blocks.by_destination.get(block.destination) for block in chosen)
    present = [block for block in known if block is not None and block.ended is None]
    ledger_file.remember(path, replace(last, blocks=altered(last.blocks, present)))
    return chosen, failed


def _unfollowed(blocks: Blocks, lifted: Iterable[Block], now: datetime) -> Blocks:
    """Follow no longer the names of which some blocks were lifted, and others were not.

    Otherwise a lifted address would be blocked again when its name is looked up.
    """
    changed = {block.destination for block in lifted}
    ended = {(name, b.destination.ports) for b in lifted for name in b.followed}
    if not ended:
        return blocks
    return blocks.unfollowed(
        (name, block.destination.ports)
        for block in blocks.lasting(now)
        for name in block.followed
        if (name, block.destination.ports) in ended and block.destination not in changed
    )


def _concerned(host: Host, named: Iterable[str], blocks: Sequence[Block]) -> frozenset[str]:
    """Return the relays that a change is for, named or those of its blocks; empty for all."""
    if not named and all(block.relays for block in blocks):
        return frozenset(name for block in host.here(Blocks.of(blocks)) for name in block.relays)
    return frozenset(named)


def expire(host: Host, options: Options) -> Changed:
    """Record the end of expired blocks, and apply.

    Blocks that a wrong clock ended are in force again. Old records of ended blocks are removed.
    Where the ledger cannot be written, expired blocks leave Tor all the same.
    """
    time = host.time()
    try:
        ledger = host.ledger()
    except InvalidFileError:
        if options.dry_run or host.last_valid_ledger() is None:
            raise
        # Nothing is recorded in a ledger that is invalid, but what it named still ends.
        return Changed((), apply.apply(host))
    ends = _ends(ledger, host, time)
    failed: list[ExitpolError] = []
    is_saved = True
    if options.dry_run:
        return Changed(tuple(ends.expired), apply.preview(host, ledger))
    if any((ends.expired, ends.resumed, ends.removed)):
        with _ledger_lock(host):
            ledger = host.ledger()
            # Again, because another exitpol may have renewed one in between.
            ends = _ends(ledger, host, time)
            failed += attempted(lambda: removals.announce(host, "expire", ends.expired))
            blocks = ledger.blocks.resumed(time.now)
            blocks = blocks.expired((block.destination for block in ends.expired), time.now)
            blocks = blocks.without(block.destination for block in ends.removed)
            if blocks != ledger.blocks:
                failed += attempted(
                    lambda: ledger_file.save(host.config.ledger, replace(ledger, blocks=blocks))
                )
                is_saved = host.ledger().blocks == blocks
            if is_saved:
                failed += attempted(
                    lambda: hooks.record(host, "resume", ends.resumed, now=time.now)
                )
            else:
                # A later one tries again: the one that can record their end says so.
                failed += attempted(lambda: removals.withdraw(host, ends.expired))
    expired = tuple(ends.expired) if is_saved else ()
    return Changed(expired, apply.apply(host).with_problems(failed))


@dataclass(frozen=True, slots=True)
class _Ends:
    """What a tick changes in the ledger."""

    expired: list[Block]
    """Blocks whose end has come."""
    resumed: list[Block]
    """Blocks that a wrong clock ended."""
    removed: list[Block]
    """Ended blocks whose record was kept long enough."""


def _ends(ledger: Ledger, host: Host, time: Time) -> _Ends:
    """Return what a tick changes, as far as the clock is trusted."""
    last = observed.load(host.state_path)
    retention = Retention() if last is None else last.retention
    ended = (b for b in ledger.blocks if b.ended is not None and b.has_ended(time.now))
    return _Ends(
        list(time.unrecorded_ends(ledger.blocks)),
        list(ledger.blocks.resumable(time.now)),
        [b for b in ended if not time.enforces(b) and retention.is_over(b)],
    )


@dataclass(frozen=True, slots=True)
class PolicyUsed:
    """The result of a new base policy."""

    seen: Applied
    """What was observed on the relays that it is for."""
    elsewhere: tuple[ExitpolError, ...]
    """The problems of the other relays."""
    shadowed: tuple[str, ...]
    """The operator's own ExitPolicy rules that have no effect below it."""


def use_policy(
    host: Host, name: str | None, options: Options, relays: Sequence[str] = ()
) -> PolicyUsed:
    """Put a base policy below the blocks, or none: of all relays, or of those named.

    Raises UsageError for an unknown policy or relay, and RefusedError if rules of the operator's
    own would lose their effect: they are named, and `force` accepts it.
    """
    named = host.relays_here(relays)
    refusals.refuse_shared_fragments(host.relays, named)
    if name is not None:
        base_policies.load(name)

    def altered(ledger: Ledger) -> Ledger:
        return ledger.with_policy(name, sorted(named), host.names)

    if options.dry_run:
        previewed = apply.preview(host, altered(_ledger(host)), EVERYTHING_URGENT)
        return _used(previewed, named, _shadowed(on_relays(previewed, named)))
    with _ledger_lock(host):
        ledger = _ledger(host)
        with interrupted_state("nothing was changed"):
            previewed = apply.preview(host, altered(ledger), EVERYTHING_URGENT)
            shadowed = _shadowed(on_relays(previewed, named))
            if name is not None:
                _refuse_harm(_plans_of(previewed, named), [])
                _refuse_shadows(name, shadowed, options)
        ledger_file.save(host.config.ledger, altered(ledger))
        text = "no base policy" if name is None else f"base policy {name}"
        text += f" on {', '.join(sorted(named))}" if named else ""
        failed = attempted(lambda: hooks.record_policy(host, "policy-used", text))
    with interrupted_state("the change is recorded in the ledger"):
        applied = apply.apply(host, urgent=EVERYTHING_URGENT).with_problems(failed)
    own_policy.accept(host, on_relays(applied, named).views)
    return _used(applied, named, shadowed)


def _used(applied: Applied, named: frozenset[str], shadowed: tuple[str, ...]) -> PolicyUsed:
    seen = on_relays(applied, named)
    return PolicyUsed(seen, elsewhere(applied, seen), shadowed)


def _plans_of(applied: Applied, named: frozenset[str]) -> list[FragmentPlan]:
    """Return the plans of the named relays, or of all if none is named."""
    return [
        plan
        for plan in applied.plans
        if not named or any(relay.name in named for relay in plan.relays)
    ]


def _shadowed(previewed: Applied) -> tuple[str, ...]:
    """Return the rules of the operator's own that lose their effect."""
    return tuple(
        dict.fromkeys(
            rule
            for view in previewed.views
            if view.configured is not None
            for rule in view.configured.shadowed
        )
    )


def _refuse_shadows(name: str, shadowed: Sequence[str], options: Options) -> None:
    """Refuse a base policy that takes the effect of own rules, unless it is forced."""
    if shadowed and not options.force:
        raise RefusedError(
            f"these rules of your own torrc would have no effect below {name}:"
            f" {', '.join(shadowed)}",
            hint="take them out of the torrc, or add --force to keep them there without effect",
        )


@dataclass(frozen=True, slots=True)
class _Addition:
    """A change that may add rules."""

    action: history.Action
    alter: Callable[[Blocks], Blocks]
    """Returns the blocks after it, given those before it."""
    destinations: Sequence[Destination]
    """Those of the changed blocks."""
    relays: frozenset[str]
    """The relays that were named; empty if none were."""


def _add(host: Host, change: _Addition, options: Options) -> Result:
    """Make a change that may add rules, unless it would harm a relay.

    It is planned with the ledger that it is written to: two changes that fit one by one, but not
    together, are not both accepted.
    """
    if options.dry_run:
        ledger = _ledger(host)
        altered = change.alter(ledger.blocks)
        urgent = options.timing.urgent(change.destinations)
        previewed = apply.preview(host, replace(ledger, blocks=altered), urgent)
        _refuse_harm(previewed.plans, change.destinations)
        changed = _chosen(altered, change.destinations)
        return Changed(changed, previewed, _concerned(host, change.relays, changed))
    with host.connections.kept():
        return _add_and_apply(host, change, options)


def _add_and_apply(host: Host, change: _Addition, options: Options) -> Result:
    failed: list[ExitpolError] = []
    with _ledger_lock(host):
        ledger = _ledger(host)
        altered = change.alter(ledger.blocks)
        with interrupted_state("nothing was changed"):
            plans = apply.plan(host, replace(ledger, blocks=altered), change.destinations)
            _refuse_harm(plans, change.destinations)
        changed = _chosen(altered, change.destinations)
        if altered != ledger.blocks:
            expired = _replaced(ledger.blocks, changed)
            ledger_file.save(host.config.ledger, replace(ledger, blocks=altered))
            failed += attempted(lambda: hooks.record(host, "expire", expired))
            failed += attempted(lambda: hooks.record(host, change.action, changed))
        recorded = Moment.now()
    urgent = options.timing.urgent(change.destinations)
    applied = _apply(host, options.watch, urgent, recorded, failed)
    if isinstance(applied, ExitpolError):
        return RecordedOnly(changed, applied)
    return Changed(changed, applied, _concerned(host, change.relays, changed))


def rearrange(
    host: Host, alter: Callable[[Blocks], Blocks], options: Options, relays: frozenset[str]
) -> Result:
    """Add, renew and end blocks in one step: what `alter` returns, given the blocks before.

    What it adds is refused as by `block`, and then nothing is changed, unless the options say that
    it is an edit. A block that goes on or ends refuses nothing. Raises what `block` raises, and
    what `alter` raises.
    """
    if options.dry_run:
        ledger = _ledger(host)
        altered = alter(ledger.blocks)
        differences = _differences(ledger.blocks, altered)
        urgent = options.timing.urgent(differences.destinations)
        previewed = apply.preview(host, replace(ledger, blocks=altered), urgent)
        if differences.added and not options.is_edit:
            _refuse_harm(previewed.plans, [block.destination for block in differences.added])
        present = differences.present
        return Changed(present, previewed, _concerned(host, relays, present), differences.ended)
    failed: list[ExitpolError] = []
    with host.connections.kept():
        with _ledger_lock(host):
            ledger = _ledger(host)
            altered = alter(ledger.blocks)
            differences = _differences(ledger.blocks, altered)
            if differences.added and not options.is_edit:
                with interrupted_state("nothing was changed"):
                    plans = apply.plan(host, replace(ledger, blocks=altered))
                    _refuse_harm(plans, [block.destination for block in differences.added])
            if altered != ledger.blocks:
                failed += _record(host, ledger, altered, differences)
            recorded = Moment.now()
        urgent = options.timing.urgent(differences.destinations)
        applied = _apply(host, options.watch, urgent, recorded, failed)
    present = differences.present
    if isinstance(applied, ExitpolError):
        return RecordedOnly(present, applied)
    return Changed(present, applied, _concerned(host, relays, present), differences.ended)


@dataclass(frozen=True, slots=True)
class _Differences:
    """What a change does to blocks."""

    added: tuple[Block, ...]
    """Blocks that begin, or that more relays enforce."""
    renewed: tuple[Block, ...]
    """Blocks that go on with another end or of other sources."""
    ended: tuple[Block, ...]
    """Blocks that it ends, as they were."""

    @property
    def present(self) -> tuple[Block, ...]:
        """The blocks that last, as they are after it."""
        return (*self.added, *self.renewed)

    @property
    def destinations(self) -> list[Destination]:
        """Those of all changed blocks."""
        return [block.destination for block in (*self.present, *self.ended)]


def _differences(before: Blocks, after: Blocks) -> _Differences:
    """Return what a change does, given the blocks before and after it."""
    added: list[Block] = []
    renewed: list[Block] = []
    ended: list[Block] = []
    for block in after:
        old = before.by_destination.get(block.destination)
        if old is block or old == block:
            continue
        if block.ended is not None:
            ended += [] if old is None or old.ended is not None else [old]
        elif (
            old is None
            or old.ended is not None
            or old.has_ended(block.since)
            or (old.relays and not (block.relays and set(block.relays) <= set(old.relays)))
        ):
            added.append(block)
        else:
            renewed.append(block)
    return _Differences(tuple(added), tuple(renewed), tuple(ended))


def _record(
    host: Host, ledger: Ledger, altered: Blocks, differences: _Differences
) -> list[ExitpolError]:
    """Write a change into ledger and history; return what failed. Raises InvalidFileError."""
    replaced = _replaced(ledger.blocks, differences.added)
    ended = differences.ended
    failed = attempted(lambda: removals.announce(host, "lift", ended)) if ended else []
    ledger_file.save(host.config.ledger, replace(ledger, blocks=altered))
    failed += attempted(lambda: hooks.record(host, "expire", replaced))
    failed += attempted(lambda: hooks.record(host, "block", differences.added))
    failed += attempted(lambda: hooks.record(host, "renew", differences.renewed))
    return failed


def _replaced(before: Blocks, changed: Iterable[Block]) -> list[Block]:
    """Return the blocks whose end no tick has recorded, and which new ones have replaced."""
    return [
        old
        for new in changed
        if (old := before.by_destination.get(new.destination)) is not None
        and old.ended is None
        and old.has_ended(new.since)
    ]


def _apply(
    host: Host, watch: Watch, urgent: Urgent, recorded: Moment, failed: Sequence[ExitpolError]
) -> Applied | ExitpolError:
    """Apply a recorded change, or return why that failed: a later apply completes it.

    `failed` are the problems so far, which stop nothing.
    """
    try:
        with interrupted_state("the change is recorded in the ledger"):
            applied = apply.apply(host, watch=watch, since=recorded, urgent=urgent)
            return applied.with_problems(failed)
    except ExitpolError as error:
        return error


def _chosen(blocks: Blocks, destinations: Iterable[Destination]) -> tuple[Block, ...]:
    return tuple(blocks.get(destination) for destination in dict.fromkeys(destinations))


def _refuse_harm(plans: Sequence[FragmentPlan], destinations: Iterable[Destination]) -> None:
    """Refuse a change whose blocks cannot be installed on a relay that they are for.

    A relay that is broken for another reason refuses nothing, as long as another one takes the
    blocks. Raises RefusedError, TorRefusesError, InvalidFileError.
    """
    destinations = list(destinations)
    # A relay that the blocks are not for refuses none of them.
    plans = [plan for plan in plans if any(d in plan.blocks for d in destinations)] or plans
    unable: list[ExitpolError] = []
    for plan in plans:
        held = [plan.held[d] for d in destinations if d in plan.held] if plan.held else []
        held = [reason for reason in held if not isinstance(reason, refusals.LeftOutError)]
        for reason in [*held, *plan.obstacles]:
            if isinstance(reason, refusals.BeyondLimitError) and len(destinations) > 1:
                fitting = sum(d in plan.blocks and d not in plan.held for d in destinations)
                raise refusals.BeyondLimitError(
                    reason.broken, fitting=fitting, count=len(destinations)
                )
            if isinstance(reason, RefusedError | CandidateError):
                raise reason
        broken = [view.broken for view in plan.views if view.broken is not None]
        if len(broken) < len(plan.views):
            broken = []
        # With ExitRelay 0, which the operator wrote, a block is moot and does no harm.
        no_exit = [error for error in plan.unsafe if error.hint]
        unable += [*broken, *held, *plan.obstacles, *no_exit][:1]
    if unable and len(unable) == len(plans):
        error = unable[0]
        if isinstance(error, TorRefusesError):
            # It speaks of the relay's files. The person asks what became of the block.
            said = str(error).rstrip(".")
            raise TorRefusesError(f"{said}; nothing was recorded", hint=error.hint).about(
                *error.relay_names
            ) from error
        raise error


def _ledger(host: Host) -> Ledger:
    """Return the ledger that is to be changed. Raises InvalidFileError that says how to go on."""
    try:
        return host.ledger()
    except InvalidFileError as error:
        path = host.config.ledger
        if host.last_valid_ledger() is None:
            raise
        advice = f"{error.hint or 'correct the ledger'}; then type the command again"
        if _only_own(path):
            last_valid = word(ledger_file.last_valid_path(path))
            advice += f"\nor return to the last valid ledger first: cp -p {last_valid} {word(path)}"
        raise InvalidFileError(
            f"{error}; nothing was changed, and blocks end as the last valid ledger says",
            hint=advice,
        ) from error


def _only_own(path: Path) -> bool:
    """Tell whether nobody else can put a link in the place of a file, which cp would follow."""
    try:
        folder = path.parent.stat()
    except OSError:
        return False
    return folder.st_uid == os.geteuid() and not folder.st_mode & 0o022 and not path.is_symlink()


def _ledger_lock(host: Host) -> AbstractContextManager[None]:
    return lock(
        ledger_lock_path(host.config.ledger), seconds=WAIT_SECONDS, doing="changing the ledger"
    )
