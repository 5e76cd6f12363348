"""Changing the ledger: block, renew, lift, expire, and the base policy.

Each looks first whether the change would harm the relay, then records it, then applies.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from exitpolicy.core.block import Block, Blocks
from exitpolicy.core.clock import Time
from exitpolicy.core.destination import Destination
from exitpolicy.core.errors import ExitpolError, RefusedError
from exitpolicy.core.retention import Retention
from exitpolicy.operations import apply, own_policy
from exitpolicy.operations.apply import Applied
from exitpolicy.operations.host import Host
from exitpolicy.operations.interruption import interrupted_state
from exitpolicy.storage import base_policies, history, ledger_file, observed
from exitpolicy.storage.ledger_file import Ledger
from exitpolicy.storage.locks import ledger_lock_path, lock
from exitpolicy.tor.reload import SETTLE_SECONDS

LOCK_SECONDS: Final = 10.0
"""How long another change of the ledger is waited for; each takes milliseconds."""


@dataclass(frozen=True, slots=True)
class Options:
    """How a change is to be made."""

    dry_run: bool = False
    """Only look at what would happen."""
    force: bool = False
    """Go beyond the limits that are the operator's own choice."""
    wait: bool = True
    """Wait until Tor enforces it."""
    look: bool = False
    """Look at Tor, even if another exitpol has just done so with this change."""


@dataclass(frozen=True, slots=True)
class Changed:
    """What a change did to the ledger, and what came of it."""

    blocks: tuple[Block, ...]
    """The blocks that were changed, as they are after it; those that ended, as they were."""
    applied: Applied | None
    """None if it was recorded but not applied: `failure` says why."""
    failure: ExitpolError | None = None


def block(
    host: Host,
    destinations: Sequence[Destination],
    *,
    until: datetime | None,
    reason: str,
    reference: str,
    options: Options,
) -> Changed:
    """Block destinations from now on. Raises what `apply.preview` raises, and RefusedError."""
    now = host.clock().replace(microsecond=0)
    for destination in destinations:
        _protect(host, destination, force=options.force)
    new = [Block(destination, now, until, reason, reference) for destination in destinations]
    return _change(host, "block", lambda blocks: blocks.blocked(new), destinations, options)


def renew(
    host: Host, destinations: Sequence[Destination], until: datetime | None, options: Options
) -> Changed:
    """Give blocks a new end, sooner or later. Raises NoSuchBlockError among others."""
    return _change(
        host,
        "renew",
        lambda blocks: blocks.renewed(destinations, until, host.clock()),
        destinations,
        options,
    )


def lift(
    host: Host, destinations: Sequence[Destination], reference: str | None, options: Options
) -> Changed:
    """End blocks now: those of the destinations, or those with a reference.

    Raises NoSuchBlockError among others.
    """
    if reference is not None:
        found = host.ledger().blocks.referring_to(reference, host.clock())
        destinations = [block.destination for block in found]
    now = host.clock()
    return _change(
        host, "lift", lambda blocks: blocks.lifted(destinations, now), destinations, options
    )


def expire(host: Host, options: Options) -> Changed:
    """Record the end of expired blocks, and apply.

    Blocks that a wrong clock ended go on, and records that were kept long enough are removed.
    """
    time = host.time()
    ends = _ends(host.ledger(), host, time)
    if options.dry_run:
        return Changed(tuple(ends.expired), apply.preview(host, host.ledger()))
    if any((ends.expired, ends.resumed, ends.removed)):
        with lock(
            ledger_lock_path(host.config.ledger), seconds=LOCK_SECONDS, doing="changing the ledger"
        ):
            ledger = host.ledger()
            # Again, because another exitpol may have renewed one in between.
            ends = _ends(ledger, host, time)
            blocks = ledger.blocks.resumed(time.now)
            blocks = blocks.expired((block.destination for block in ends.expired), time.now)
            blocks = blocks.without(block.destination for block in ends.removed)
            if blocks != ledger.blocks:
                ledger_file.save(host.config.ledger, replace(ledger, blocks=blocks))
            history.append(host.history_path, "resume", ends.resumed, time.now, host.who)
            history.append(host.history_path, "expire", ends.expired, time.now, host.who)
    return Changed(tuple(ends.expired), apply.apply(host))


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
    ended = [b for b in ledger.blocks if b.has_ended(time.now) and not time.enforces(b)]
    return _Ends(
        [block for block in ended if block.ended is None],
        list(ledger.blocks.resumable(time.now)),
        [block for block in ended if block.ended is not None and retention.is_over(block)],
    )


@dataclass(frozen=True, slots=True)
class PolicyUsed:
    """What came of a new base policy."""

    applied: Applied
    shadowed: tuple[str, ...]
    """The operator's own ExitPolicy rules that have no effect below it."""


def use_policy(host: Host, name: str | None, options: Options) -> PolicyUsed:
    """Put a base policy below the blocks, or none.

    Raises UsageError for an unknown one, and RefusedError if rules of the operator's own would
    lose their effect: they are named, and `force` accepts it.
    """
    ledger = host.ledger()
    # The ports that the policy itself closes are not a harm done by the blocks above it.
    rules = () if name is None else base_policies.load(name).rules
    previewed = apply.preview(
        host, replace(ledger, policy=name), force=options.force, baseline=rules
    )
    shadowed = tuple(
        dict.fromkeys(
            rule
            for view in previewed.views
            if view.configured is not None
            for rule in view.configured.shadowed
        )
    )
    if shadowed and not (options.force or options.dry_run):
        raise RefusedError(
            f"these rules of your own torrc would have no effect below {name}:"
            f" {', '.join(shadowed)}",
            hint="take them out of the torrc, or add --force to keep them there without effect",
        )
    if options.dry_run:
        return PolicyUsed(previewed, shadowed)
    with lock(
        ledger_lock_path(host.config.ledger), seconds=LOCK_SECONDS, doing="changing the ledger"
    ):
        ledger_file.save(host.config.ledger, replace(host.ledger(), policy=name))
    applied = apply.apply(host)
    own_policy.accept(host, applied.views)
    return PolicyUsed(applied, shadowed)


def _change(
    host: Host,
    action: history.Action,
    alter: Callable[[Blocks], Blocks],
    destinations: Sequence[Destination],
    options: Options,
) -> Changed:
    ledger = host.ledger()
    altered = alter(ledger.blocks)
    with interrupted_state("nothing was changed"):
        previewed = apply.preview(host, replace(ledger, blocks=altered), force=options.force)
    if options.dry_run:
        return Changed(_changed(ledger.blocks, altered, destinations), previewed)
    with lock(
        ledger_lock_path(host.config.ledger), seconds=LOCK_SECONDS, doing="changing the ledger"
    ):
        ledger = host.ledger()
        altered = alter(ledger.blocks)
        changed = _changed(ledger.blocks, altered, destinations)
        if altered != ledger.blocks:
            ledger_file.save(host.config.ledger, replace(ledger, blocks=altered))
            history.append(host.history_path, action, changed, host.clock(), host.who)
        recorded = host.clock().timestamp()
    try:
        with interrupted_state("the change is recorded in the ledger"):
            applied = apply.apply(
                host,
                settle_seconds=SETTLE_SECONDS if options.wait else None,
                recorded=None if options.look else recorded,
            )
    except ExitpolError as error:
        # From here on the promise is on record: whatever fails now is healed by a later apply.
        return Changed(changed, None, error)
    return Changed(changed, applied)


def _changed(
    before: Blocks, after: Blocks, destinations: Sequence[Destination]
) -> tuple[Block, ...]:
    return tuple(
        after.get(destination) if destination in after else before.get(destination)
        for destination in dict.fromkeys(destinations)
    )


def _protect(host: Host, destination: Destination, *, force: bool) -> None:
    """Refuse what must never be blocked, and what is too wide. Raises RefusedError."""
    for protected in host.config.protected:
        if protected.overlaps(destination):
            raise RefusedError(
                f"{destination} is protected: {protected} in {host.config.source}",
                hint="block a part that does not touch it, or change the config",
            )
    limit = host.config.max_prefix[destination.family]
    if destination.widest_prefix < limit and not force:
        raise RefusedError(
            f"{destination} is wider than a /{limit}:"
            f" that would be {destination.last - destination.first + 1:,} addresses",
            hint="block less, or add --force",
        )
