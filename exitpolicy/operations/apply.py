"""Make wanted, installed and enforced equal: the step in which every change ends.

Whatever was left undone by a crash, a Tor that was down or a hand that edited a file is found
and done here, because everything is looked at anew.
"""

import contextlib
import time as system_time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from exitpolicy.core.block import State
from exitpolicy.core.clock import Time
from exitpolicy.core.destination import Destination
from exitpolicy.core.errors import ExitpolError, TorRefusesError, TorUnreachableError
from exitpolicy.core.retention import Retention
from exitpolicy.operations.desired import Desired, desired
from exitpolicy.operations.host import Host
from exitpolicy.operations.parallel import in_parallel
from exitpolicy.operations.refusals import check, former_rules
from exitpolicy.policy import reconcile
from exitpolicy.policy.evaluate import Decisions
from exitpolicy.policy.reconcile import Plan, View
from exitpolicy.policy.rule import Entry, Rule
from exitpolicy.storage import files, observed
from exitpolicy.storage.config import Relay
from exitpolicy.storage.ledger_file import Ledger
from exitpolicy.storage.locks import apply_lock_path, lock
from exitpolicy.tor import fragment, inspect, reload

LOCK_SECONDS: Final = 120.0
"""How long another apply is waited for; it may itself wait for Tor."""

UNDER_WAY_SECONDS: Final = 5.0
"""How long a Tor that was not reloaded now is waited for; it needs one second after a reload."""

RELOAD_INTERVAL: Final = 1.1
"""Seconds between two changes. Within one, Tor starts its second anew and enforces neither."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What an apply saw and did."""

    time: Time
    desired: Desired
    former: str | None
    """The fragment's text before."""
    plan: Plan
    views: tuple[View, ...]
    """Each relay as it was seen last; none where another apply has looked instead."""
    states: dict[Destination, State]
    """The state of each block in force."""
    problems: tuple[ExitpolError, ...] = field(default=())
    """What kept relays from being as they should, the gravest first."""

    @property
    def shadowed_by(self) -> dict[Destination, Rule]:
        """For each shadowed block, the accept that wins over it."""
        found: dict[Destination, Rule] = {}
        shadowed = [d for d, state in self.states.items() if state is State.SHADOWED]
        for view in self.views if shadowed else ():
            if view.running is not None and view.running.enforced is not None:
                decisions = Decisions(view.running.enforced)
                for destination in shadowed:
                    if (rule := reconcile.shadowing(destination, decisions)) is not None:
                        found.setdefault(destination, rule)
        return found

    @property
    def settled(self) -> bool:
        """Whether wanted, installed and enforced were seen to be equal everywhere."""
        return not self.problems and all(view.in_sync for view in self.views)


def preview(
    host: Host,
    ledger: Ledger,
    *,
    force: bool = False,
    baseline: tuple[Entry, ...] | None = None,
) -> Applied:
    """Look at what applying a ledger would do, and refuse what would do harm; change nothing.

    `force` lets pass what is the operator's own choice. A limit that is broken already with the
    rules of `baseline` (what is installed, if None) is not held against the ledger.

    Raises RefusedError, TorRefusesError, InvalidFileError. That a relay cannot be reached is only
    noted: its files can be looked at all the same.
    """
    result = observe(host, ledger)
    former = former_rules(result.former)
    check(
        host,
        result.views,
        result.desired,
        former,
        baseline=former if baseline is None else baseline,
        force=force,
    )
    return result


def observe(host: Host, ledger: Ledger) -> Applied:
    """Look at the relays as they are, with what a ledger wants; change and refuse nothing."""
    time = host.time()
    want = desired(ledger, time)
    former = fragment.read(host.config.fragment)
    candidate = inspect.Candidate(host.config.fragment, want.text, want.rules)
    views = tuple(
        in_parallel(lambda relay: inspect.inspect_relay(relay, candidate), host.some_relays())
    )
    return _applied(time, want, former, views)


def apply(
    host: Host,
    *,
    settle_seconds: float | None = reload.SETTLE_SECONDS,
    recorded: float | None = None,
) -> Applied:
    """Install what is wanted and reload the relays that do not run it; return what is enforced.

    Waits for Tor at most `settle_seconds`, or not at all (None). Where many commands wait for each
    other, the first applies the changes of all: with `recorded`, the Unix time of the change that
    is to be applied, what another has seen since then is enough. Raises RefusedError,
    TorRefusesError, InvalidFileError and LockTimeoutError; the fragment is then as it was.
    """
    with lock(apply_lock_path(host.config.ledger), seconds=LOCK_SECONDS, doing="talking to Tor"):
        seen = None if recorded is None else _seen_since(host, recorded)
        return seen or _apply(host, settle_seconds)


def _seen_since(host: Host, recorded: float) -> Applied | None:
    """Return what another apply has seen that began after a moment; None if that is not enough."""
    last = observed.load(host.state_path)
    # The state has milliseconds.
    if last is None or not last.settled or last.applied <= recorded + 0.001:
        return None
    if last.applied > host.clock().timestamp():
        # The clock was ahead then: the observation may be older than the change.
        return None
    if observed.fingerprints(_watched(host)) != last.watched:
        return None
    time = host.time()
    want = desired(host.ledger(), time)
    if not all(str(block.destination) in last.states for block in want.blocks):
        return None
    states = {b.destination: State(last.states[str(b.destination)]) for b in want.blocks}
    return Applied(time, want, want.text, Plan(install=False, reload=()), (), states)


def _apply(host: Host, settle_seconds: float | None) -> Applied:
    begun = observed.Moment.now()
    now = host.time()
    watched = observed.fingerprints(_watched(host))
    last = observed.load(host.state_path)
    ledger = host.ledger()
    retention = observed.retention(last, begun, ledger.blocks, now)
    want = desired(ledger, now)
    path = host.config.fragment
    former = fragment.read(path)
    changed = former != want.text
    staged = fragment.stage(path, want.text) if changed else path
    candidate = inspect.Candidate(path, staged, want.rules)
    try:
        views = tuple(
            in_parallel(lambda relay: inspect.inspect_relay(relay, candidate), host.some_relays())
        )
        # What was recorded with --force is wanted; a descriptor that nobody takes never is.
        rules = former_rules(former)
        check(host, views, want, rules, baseline=rules, force=True)
    except ExitpolError:
        if changed:
            files.discard(staged)
        raise
    result = _applied(now, want, former, views)
    if changed:
        files.commit(path)
    reloading = [
        relay
        for relay, view in zip(host.relays, views, strict=True)
        if view.name in result.plan.reload and not _not_reloadable(view)
    ]
    reloaded = last.reloaded if last is not None else 0.0
    if reloading:
        _leave_time(reloaded, host.clock().timestamp())
        reloaded = host.clock().timestamp()
        # Before the reload: should we die in it, the next apply still leaves the time.
        _save_state(
            host,
            replace(result, problems=_PENDING),
            ledger,
            watched,
            reloaded,
            begun=begun,
            retention=retention,
        )
        result = _reload(host, result, reloading, settle_seconds)
    elif settle_seconds is not None:
        result = _settle(host, result)
    watched[str(path)] = observed.fingerprints([path])[str(path)]
    _save_state(host, result, ledger, watched, reloaded, begun=begun, retention=retention)
    return result


_PENDING: Final = (ExitpolError("a reload is under way"),)


def _settle(host: Host, result: Applied) -> Applied:
    """Wait for relays that have read what is wanted but do not enforce it yet.

    So it is in the second after another exitpol's reload, and after a start of Tor.
    """
    by_name = {view.name: view for view in result.views}

    def one(relay: Relay) -> View:
        view = by_name[relay.name]
        if view.nearly_in_sync:
            with contextlib.suppress(TorUnreachableError):
                return reload.wait_settled(relay, view, seconds=UNDER_WAY_SECONDS)
        return view

    views = in_parallel(one, host.relays)
    return _applied(result.time, result.desired, result.former, tuple(views), plan=result.plan)


def _reload(
    host: Host, result: Applied, relays: Sequence[Relay], settle_seconds: float | None
) -> Applied:
    by_name = {view.name: view for view in result.views}

    def one(relay: Relay) -> View | ExitpolError:
        try:
            return reload.reload_relay(relay, by_name[relay.name], settle_seconds=settle_seconds)
        except ExitpolError as error:
            return error

    died: TorRefusesError | None = None
    for relay, outcome in zip(relays, in_parallel(one, relays), strict=True):
        if isinstance(outcome, View):
            by_name[relay.name] = outcome
        elif isinstance(outcome, TorRefusesError):
            died = died or outcome
        else:
            by_name[relay.name] = replace(by_name[relay.name], running=None, unreachable=outcome)
    if died is not None:
        # First of all a file with which Tor starts again, then the truth.
        if result.former is not None and result.plan.install:
            files.replace(host.config.fragment, result.former.encode("utf-8", "surrogateescape"))
            died = TorRefusesError(
                f"{died}; {host.config.fragment} is again as it was before", hint=died.hint
            )
        raise died
    return _applied(
        result.time, result.desired, result.former, tuple(by_name.values()), plan=result.plan
    )


def _applied(
    now: Time,
    want: Desired,
    former: str | None,
    views: tuple[View, ...],
    plan: Plan | None = None,
) -> Applied:
    return Applied(
        now,
        want,
        former,
        plan or reconcile.plan(want.text, former, views),
        views,
        reconcile.block_states(want.blocks, want.rules, views),
        tuple(problem for view in views for problem in _problems(view)),
    )


def _problems(view: View) -> list[ExitpolError]:
    """Return what keeps a relay from being as it should."""
    found = [problem for problem in (view.unreachable, view.broken) if problem is not None]
    if view.must_restart is not None:
        # Also where nothing is to be done: the next reload may be that of logrotate.
        return [*found, view.must_restart]
    blocked = _not_reloadable(view)
    return found if blocked is None or view.in_sync else [*found, blocked]


def _not_reloadable(view: View) -> ExitpolError | None:
    """Return why a relay must not or cannot be reloaded; None if it can."""
    if view.must_restart is not None:
        return view.must_restart
    if view.running is not None and view.running.reload_ignored:
        return TorRefusesError(
            f"Tor ({view.name}) reads nothing at a reload: __ReloadTorrcOnSIGHUP is 0",
            hint="remove that option and restart Tor",
        )
    return None


def _leave_time(reloaded: float, now: float) -> None:
    """Sleep until a change of ours is no danger to the one before."""
    since = now - reloaded
    if 0 <= since < RELOAD_INTERVAL:
        system_time.sleep(RELOAD_INTERVAL - since)


def _watched(host: Host) -> list[Path]:
    paths = [host.config.ledger, host.config.fragment, *(relay.torrc for relay in host.relays)]
    return [*paths, host.config.source] if host.config.source else paths


def _save_state(
    host: Host,
    result: Applied,
    ledger: Ledger,
    watched: dict[str, str],
    reloaded: float,
    *,
    begun: observed.Moment,
    retention: Retention,
) -> None:
    change = ledger.blocks.next_change(result.time.now)
    observed.save(
        host.state_path,
        observed.Observation(
            applied=result.time.now.timestamp(),
            next_change=None if change is None else change.timestamp(),
            settled=result.settled,
            watched=watched,
            reloaded=reloaded,
            trusted=result.time.trusted.timestamp(),
            leapt=None if result.time.jumped_to is None else result.time.jumped_to.timestamp(),
            begun=begun,
            states={str(destination): str(seen) for destination, seen in result.states.items()},
            retention=retention,
        ),
    )
