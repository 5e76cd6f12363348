"""Reconcile ledger, fragments and running Tors: the step in which every change ends.

Everything is observed anew, so that this step also completes what a crash, a stopped Tor or a hand
edit left undone.
"""

import contextlib
import time as system_time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum, auto
from pathlib import Path
from typing import Final

from exitpolicy.core.block import Blocks, State
from exitpolicy.core.clock import Time
from exitpolicy.core.destination import Destination, parse_destination
from exitpolicy.core.errors import (
    AttentionError,
    ExitCode,
    ExitpolError,
    ForeignChangesError,
    InvalidFileError,
    TorRefusesError,
    TorUnreachableError,
)
from exitpolicy.operations import removals
from exitpolicy.operations.host import Host
from exitpolicy.operations.parallel import in_parallel
from exitpolicy.operations.pending_causes import hibernation, pending_causes
from exitpolicy.operations.planning import AT_ONCE, FragmentPlan, Pacing, plan_all
from exitpolicy.operations.rejection_causes import moot_reasons
from exitpolicy.policy import reconcile
from exitpolicy.policy.batching import NOTHING_URGENT, Urgent
from exitpolicy.policy.block_states import gravest, is_lifting, states_on
from exitpolicy.policy.evaluate import Decisions
from exitpolicy.policy.reconcile import View
from exitpolicy.policy.rule import Rule
from exitpolicy.storage import files, last_read, ledger_file, observed
from exitpolicy.storage.config import PidFile, Relay
from exitpolicy.storage.ledger_file import Ledger
from exitpolicy.storage.locks import WAIT_SECONDS, apply_lock_path, lock
from exitpolicy.storage.observed import Moment, Observation
from exitpolicy.tor import fragment, layout, reload

UNDER_WAY_SECONDS: Final = 5.0
"""How long to wait for a Tor that has read its files: it enforces them a second later."""

RELOAD_INTERVAL: Final = 1.1
"""Seconds between two changes. A change within a second of the last delays both."""


class Watch(Enum):
    """How the result of an apply is observed."""

    NOT = auto()
    """Do not wait until Tor enforces it."""
    SHARED = auto()
    """Wait, or take the observation of another exitpol that includes this change."""
    OWN = auto()
    """Wait, and observe Tor in this process."""


class Foreign(Enum):
    """What to do with changes in Tor's files outside its exit policy."""

    KEEP = auto()
    """Do not load them: blocks stay pending."""
    LOAD = auto()
    """Load them with the reload."""


@dataclass(frozen=True, slots=True)
class Applied:
    """What an apply observed and did."""

    time: Time
    blocks: Blocks
    """The blocks in force."""
    plans: tuple[FragmentPlan, ...]
    """The plan of each fragment; empty if another apply observed the result."""
    views: tuple[View, ...]
    """Each relay as observed last; empty if another apply observed the result."""
    reload: tuple[str, ...]
    """The names of the relays that have not read their present files yet."""
    states: Mapping[Destination, State]
    """The state of each block in force, and of each removed block that Tor still enforces."""
    problems: tuple[ExitpolError, ...] = field(default=())
    """Why the desired state is not enforced, the gravest reason first."""
    reloaded: tuple[str, ...] = ()
    """The names of the relays that were told to reload."""
    mixed: Mapping[Destination, Mapping[str, State]] = field(default_factory=dict)
    """The states by relay of each block whose relays have different ones."""
    is_preview: bool = False
    """Whether it is what an apply would do: nothing was changed."""
    batches: Mapping[str, datetime] = field(default_factory=dict)
    """When the changes that wait are due, by the relay's name; about a minute later they are made.
    """

    @property
    def installs(self) -> bool:
        """Whether a fragment has to be replaced, or was."""
        return any(plan.changed for plan in self.plans)

    @property
    def does_nothing(self) -> bool:
        """Whether no fragment and no Tor has to be changed, or was."""
        return not (self.installs or self.reload or self.reloaded)

    @property
    def next_batch(self) -> datetime | None:
        """When the first changes that wait are due; None if none wait."""
        return min(self.batches.values(), default=None)

    @property
    def shadowed_by(self) -> dict[Destination, Rule]:
        """For each shadowed block, the accept rule that wins over it."""
        found: dict[Destination, Rule] = {}
        shadowed = [d for d, state in self.states.items() if state is State.SHADOWED]
        for view in self.views if shadowed else ():
            if view.policy is not None:
                decisions = Decisions(view.policy)
                for destination in shadowed:
                    if (rule := reconcile.shadowing(destination, decisions)) is not None:
                        found.setdefault(destination, rule)
        return found

    def state_on(self, destination: Destination, relay: str) -> State | None:
        """Return the state of a block in force on a relay that it is for."""
        on = self.mixed.get(destination)
        return self.states.get(destination) if on is None else on.get(relay)

    def states_on(self, relay: str) -> Mapping[Destination, State | None]:
        """Return the states on a relay: see `state_on`."""
        if not self.mixed:
            return self.states
        return {**self.states, **{d: on.get(relay) for d, on in self.mixed.items()}}

    def with_problems(self, more: Sequence[ExitpolError]) -> "Applied":
        """Return the result with more problems."""
        return replace(self, problems=_gravest_first([*self.problems, *more])) if more else self

    @property
    def settled(self) -> bool:
        """Whether every relay was observed to enforce exactly what is desired.

        A relay without a control port is not observed: it was told to read it.
        """
        return not self.problems and all(view.settled for view in self.views)


def attempted(action: Callable[[], object]) -> list[ExitpolError]:
    """Do what must not stop the rest; return why it failed, if it did."""
    try:
        action()
    except ExitpolError as error:
        return [error]
    return []


def plan(host: Host, ledger: Ledger, asked: Iterable[Destination] = ()) -> tuple[FragmentPlan, ...]:
    """Return what applying a whole ledger at once would install.

    `asked` are the blocks of a change that the caller refuses if one of them is held by a
    RefusedError. Raises InvalidFileError.
    """
    in_force = host.here(host.time().enforced(ledger.blocks))
    return plan_all(host, in_force, ledger, lambda _, text: text, AT_ONCE, asked=frozenset(asked))


def preview(host: Host, ledger: Ledger, urgent: Urgent = NOTHING_URGENT) -> Applied:
    """Return what applying a ledger would do; change nothing. Raises InvalidFileError."""
    time = host.time()
    in_force = host.here(time.enforced(ledger.blocks))
    last = observed.load(host.state_path)
    pacing = Pacing(observed.pace(last, Moment.now()), urgent)
    plans = plan_all(host, in_force, ledger, lambda _, text: text, pacing)
    removed = _removed(last, removals.announced(host))
    result = _result(in_force, time, plans, _views(host, plans), removed)
    result = _with_hindrances(result, {} if last is None else last.fatal)
    return replace(result, is_preview=True)


def apply(
    host: Host,
    *,
    watch: Watch = Watch.OWN,
    foreign: Foreign = Foreign.KEEP,
    since: Moment | None = None,
    urgent: Urgent = NOTHING_URGENT,
) -> Applied:
    """Install the desired state, reload the relays that do not run it, and return the result.

    What lists change waits for the next batch, unless it is `urgent`. If several
    commands wait for each other, the first one applies the changes of all: with Watch.SHARED, an
    observation that began after `since` is enough. Raises InvalidFileError, LockTimeoutError, and
    TorRefusesError if a Tor ends in the reload.
    """
    with lock(apply_lock_path(host.config.ledger), seconds=WAIT_SECONDS, doing="talking to Tor"):
        if watch is Watch.SHARED and since is not None:
            shared = _observed_since(host, since)
            if shared is not None:
                return shared
        # `init` may have moved a relay to its own fragment while we waited.
        with host.connections.kept():
            return _Apply(host.refreshed(), watch, foreign, urgent).run()


def _observed_since(host: Host, since: Moment) -> Applied | None:
    """Return the result of an apply that began after a moment; None if there is none."""
    last = observed.load(host.state_path)
    if last is None or not last.settled or last.begun is None or not last.begun.is_after(since):
        return None
    if last.batch is not None:
        # What is urgent now may have waited then; and what waits is told with its time.
        return None
    if last.applied > host.clock().timestamp():
        # The clock was ahead then: the observation may be older than the change.
        return None
    paths = {*_watched(host), *map(Path, last.watched)}
    if observed.fingerprints(paths) != last.watched:
        return None
    time = host.time()
    blocks = host.here(time.enforced(host.ledger().blocks))
    if not all(str(block.destination) in last.states for block in blocks):
        return None
    states = {b.destination: State(last.states[str(b.destination)]) for b in blocks}
    return Applied(time, blocks, (), (), (), states)


class _Apply:
    """One apply, under the lock."""

    def __init__(self, host: Host, watch: Watch, foreign: Foreign, urgent: Urgent) -> None:
        self.host = host
        self.watch = watch
        self.foreign = foreign
        self.urgent = urgent
        self.begun = Moment.now()
        self.time = host.time()
        self.watched = observed.fingerprints(_watched(host))
        self.last = observed.load(host.state_path)
        self.fatal = dict(self.last.fatal) if self.last is not None else {}
        self.reloaded = self.last.reloaded if self.last is not None else 0.0
        self.invalid: list[ExitpolError] = []
        self.is_valid = True
        self.ledger = self._read_ledger()
        self.in_force = host.here(self.time.enforced(self.ledger.blocks))
        self.retention = observed.retention(self.last, self.begun, self.ledger.blocks, self.time)
        self.pace = observed.pace(self.last, self.begun)
        self.staged: dict[Path, str] = {}
        self.removed: tuple[Destination, ...] = ()

    def _read_ledger(self) -> Ledger:
        """Return the ledger, or what it said when it was last valid. Raises InvalidFileError.

        A mistake in the ledger must not keep the blocks that it names from ending.
        """
        path = self.host.config.ledger
        try:
            ledger = self.host.ledger()
        except InvalidFileError as error:
            last_valid = self.host.last_valid_ledger()
            if last_valid is None:
                raise
            message = f"{error}; until then blocks end as the ledger said when it was last valid"
            self.invalid.append(InvalidFileError(message, hint=error.hint))
            self.is_valid = False
            return last_valid
        unchanged = self.last is not None and self.last.watched.get(str(path)) == self.watched.get(
            str(path)
        )
        if not unchanged or not ledger_file.last_valid_path(path).exists():
            self.invalid += attempted(lambda: ledger_file.remember(path, ledger))
        return ledger

    def run(self) -> Applied:
        """Plan, install, reload, wait; record what happened."""
        try:
            pacing = Pacing(self.pace, self.urgent)
            plans = plan_all(self.host, self.in_force, self.ledger, self._stage, pacing)
            plans = tuple(in_parallel(self._install, plans))
        finally:
            for path in self.staged:
                files.discard(files.staged_path(path))
        self.removed = _removed(self.last, removals.announced(self.host))
        views = _views(self.host, plans)
        waiting = _waiting(plans, views)
        reloading = [
            relay
            for relay, view in zip(self.host.relays, views, strict=True)
            if (relay.name in waiting or (self.foreign is Foreign.LOAD and view.foreign))
            and self._may_reload(view)
        ]
        if reloading:
            self.pace = self.pace.noting(r.name for r in reloading if r.name in waiting)
            self._leave_time()
            self._save_reload()
            views = self._reload(plans, views, reloading)
        elif self.watch is not Watch.NOT:
            views = self._settle(views)
        result = self._result(plans, views)
        result = replace(result, reloaded=tuple(relay.name for relay in reloading))
        # Last, because it waits for who changes the ledger, and a failure must stop no removal.
        failed: list[ExitpolError] = []
        if self.is_valid:
            failed += attempted(lambda: removals.record(self.host, plans))
        result = result.with_problems([*failed, *self.invalid])
        for plan in plans:
            self.watched |= observed.fingerprints([plan.path])
        for view in result.views:
            self.watched = {**view.sources, **self.watched}
        result = result.with_problems(self._save_last_read(result.views))
        return result.with_problems(self._save(result))

    def _stage(self, path: Path, text: str) -> Path:
        self.staged[path] = text
        return fragment.stage(path, text)

    def _install(self, plan: FragmentPlan) -> FragmentPlan:
        """Put a fragment in place. A failure is the problem of its relays alone."""
        if not plan.changed or plan.text is None:
            return plan
        try:
            if self.staged.get(plan.path) != plan.text:
                fragment.stage(plan.path, plan.text)
            files.commit(plan.path)
        except ExitpolError as error:
            return replace(plan, text=None, obstacles=(*plan.obstacles, error))
        self.staged.pop(plan.path, None)
        return plan

    def _result(self, plans: tuple[FragmentPlan, ...], views: tuple[View, ...]) -> Applied:
        result = _result(self.in_force, self.time, plans, views, self.removed)
        return result if self.foreign is Foreign.LOAD else _with_hindrances(result, self.fatal)

    def _may_reload(self, view: View) -> bool:
        if self.foreign is Foreign.LOAD:
            return _not_reloadable(view) is None
        return hindrance(view, self.fatal) is None

    def _settle(self, views: Sequence[View]) -> tuple[View, ...]:
        """Wait for relays that have read their files but do not enforce them yet.

        That is the second after another exitpol's reload, or after a start of Tor.
        """

        def one(pair: tuple[Relay, View]) -> View:
            relay, view = pair
            if view.nearly_in_sync:
                with contextlib.suppress(TorUnreachableError):
                    return reload.wait_settled(
                        relay,
                        view,
                        seconds=UNDER_WAY_SECONDS,
                        connections=self.host.connections,
                    )
            return view

        return tuple(in_parallel(one, list(zip(self.host.relays, views, strict=True))))

    def _reload(
        self, plans: Sequence[FragmentPlan], views: Sequence[View], relays: Sequence[Relay]
    ) -> tuple[View, ...]:
        """Reload relays; return the views of all."""
        by_name = {view.name: view for view in views}
        seconds = None if self.watch is Watch.NOT else reload.SETTLE_SECONDS

        def one(relay: Relay) -> View | ExitpolError:
            try:
                return reload.reload_relay(
                    relay,
                    by_name[relay.name],
                    settle_seconds=seconds,
                    connections=self.host.connections,
                )
            except ExitpolError as error:
                return error

        for relay, outcome in zip(relays, in_parallel(one, relays), strict=True):
            if isinstance(outcome, View):
                # A reload reads all files.
                by_name[relay.name] = replace(outcome, foreign=())
                self.fatal.pop(relay.name, None)
                continue
            view, unobserved = by_name[relay.name], by_name[relay.name].unobserved
            if isinstance(outcome, TorRefusesError):
                self.fatal[relay.name], unobserved = view.fingerprint, None
                outcome = _put_back(plans, relay, outcome)  # noqa: PLW2901 - says more
            # Without a control port, it runs on although it could not be told to reload.
            by_name[relay.name] = replace(
                view, running=None, unobserved=unobserved, unreachable=outcome
            )
        return tuple(by_name.values())

    def _leave_time(self) -> None:
        """Sleep until the reload does not delay the change before it."""
        now = self.host.clock().timestamp()
        since = now - self.reloaded
        if 0 <= since < RELOAD_INTERVAL:
            system_time.sleep(RELOAD_INTERVAL - since)
        self.reloaded = self.host.clock().timestamp()

    def _save_last_read(self, views: Iterable[View]) -> list[ExitpolError]:
        """Record what Tors without a control port have read; return why that failed, if it did."""
        path = self.host.last_read_path
        known = {
            view.name: view.unobserved.last
            for view in views
            if view.unobserved is not None and view.unobserved.last is not None
        }
        before = last_read.load(path) if known else {}
        if known.items() <= before.items():
            return []
        return attempted(lambda: last_read.save(path, {**before, **known}))

    def _save_reload(self) -> None:
        """Save that Tor is told to reload: if this process dies now, the next apply still waits.

        What was observed last stays as it is.
        """
        nothing = Observation(self.time.now.timestamp(), None, settled=False, watched={})
        seen = (self.last or nothing)._replace(
            settled=False, reloaded=self.reloaded, changed=self.pace.changed
        )
        attempted(lambda: observed.save(self.host.state_path, seen))

    def _save(self, result: Applied) -> list[ExitpolError]:
        """Save what was observed; return why that failed, if it did."""
        time = result.time
        # An end that no tick has recorded has passed: the tick does so when this time has come.
        unrecorded = (block.until for block in time.unrecorded_ends(self.ledger.blocks))
        change = min(filter(None, unrecorded), default=self.ledger.blocks.next_change(time.now))
        hindrances = {
            view.name: error
            for view in result.views
            if view.name in result.reload and (error := hindrance(view, self.fatal)) is not None
        }
        causes = pending_causes(
            result.plans, result.views, result.states_on, hindrances, result.batches
        )
        for destination, moot in moot_reasons(self.host, result).items():
            causes[destination] = {**causes.get(destination, {}), **moot}
        texts = list(map(str, result.states))
        observation = Observation(
            applied=time.now.timestamp(),
            next_change=None if change is None else change.timestamp(),
            settled=result.settled,
            watched=self.watched,
            reloaded=self.reloaded,
            trusted=time.trusted.timestamp(),
            jumped_to=None if time.jumped_to is None else time.jumped_to.timestamp(),
            begun=self.begun,
            fatal=self.fatal,
            retention=self.retention,
            changed=self.pace.changed,
            batch=min((p.batch.seconds for p in result.plans if p.batch is not None), default=None),
            states=dict(zip(texts, result.states.values(), strict=True)),
            mixed={str(destination): on for destination, on in result.mixed.items()},
            causes={
                text: cause
                for text, destination in zip(texts, result.states, strict=True)
                if (cause := causes.get(destination)) is not None
            }
            if causes
            else {},
        )
        return attempted(lambda: observed.save(self.host.state_path, observation))


def _put_back(
    plans: Iterable[FragmentPlan], relay: Relay, error: TorRefusesError
) -> TorRefusesError:
    """Remove the new rules from the fragment of a Tor that exited at the reload.

    Tor then starts with rules that it has run before. Removed blocks stay removed.
    """
    for plan in plans:
        if relay not in plan.relays or not plan.changed or plan.text == plan.text_without_additions:
            continue
        text = plan.text_without_additions
        try:
            files.replace(plan.path, text.encode("utf-8", "surrogateescape"))
        except InvalidFileError as failure:
            # That Tor ended must be known all the same: it must not be reloaded so again.
            return TorRefusesError(f"{error}; {failure}", hint=error.hint)
        now = "is again as it was before" if text == plan.former else "holds no new rule"
        return TorRefusesError(f"{error}; {plan.path} {now}", hint=error.hint)
    return error


def _removed(last: Observation | None, announced: Iterable[Destination]) -> tuple[Destination, ...]:
    """Return the removed blocks that a Tor may still enforce."""
    before = {} if last is None else last.states
    lifting = [parse_destination(name) for name, s in before.items() if s == State.LIFTING]
    return tuple(dict.fromkeys([*lifting, *announced]))


def _views(host: Host, plans: Iterable[FragmentPlan]) -> tuple[View, ...]:
    """Return the views of the plans in the order of the host's relays."""
    by_name = {view.name: view for plan in plans for view in plan.views}
    return tuple(by_name[relay.name] for relay in host.relays)


def _waiting(plans: Iterable[FragmentPlan], views: Iterable[View]) -> tuple[str, ...]:
    """Return the names of the relays that have to read their files."""
    untouched = {relay.name for plan in plans if plan.text is None for relay in plan.relays}
    return tuple(v.name for v in views if v.needs_reload and v.name not in untouched)


def _result(
    blocks: Blocks,
    time: Time,
    plans: tuple[FragmentPlan, ...],
    views: tuple[View, ...],
    removed: Iterable[Destination],
) -> Applied:
    by_name = {view.name: view for view in views}
    waiting = frozenset[Destination]().union(*(plan.postponed.removed for plan in plans))
    lifting = [
        destination
        for destination in removed
        if destination not in blocks
        and (
            any(is_lifting(view, destination) for view in views)
            or any(removals.is_installed(destination, plan) for plan in plans if plan.batch is None)
        )
    ]
    states, mixed = _states(plans, by_name)
    states |= {d: State.ELSEWHERE for d in blocks.by_destination if d not in states}
    problems = [problem.about(view.name) for view in views for problem in _problems(view)]
    for plan in plans:
        names = [relay.name for relay in plan.relays]
        problems += [problem.about(*names) for problem in plan.problems()]
    for view in views:
        reason = hibernation(view)
        pending = (
            mixed.get(block.destination, {}).get(view.name, states.get(block.destination))
            for block in blocks
            if block.is_for(view.name)
        )
        if reason is not None and (
            State.PENDING in pending or any(is_lifting(view, each) for each in lifting)
        ):
            problems.append(AttentionError(reason).about(view.name))
    return Applied(
        time,
        blocks,
        plans,
        views,
        _waiting(plans, views),
        {
            **states,
            **{d: State.SCHEDULED for d in sorted(waiting) if d not in blocks},
            **dict.fromkeys(lifting, State.LIFTING),
        },
        _gravest_first(problems),
        mixed=mixed,
        batches={
            relay.name: time.now + timedelta(seconds=plan.batch.seconds)
            for plan in plans
            if plan.batch is not None
            for relay in plan.relays
        },
    )


def _states(
    plans: Iterable[FragmentPlan], by_name: Mapping[str, View]
) -> tuple[dict[Destination, State], dict[Destination, dict[str, State]]]:
    """Return the gravest state of each block in force, and the states by relay if they differ."""
    on: dict[str, Mapping[Destination, State]] = {}
    for plan in plans:
        blocks = tuple(plan.blocks)
        for relay in plan.relays:
            concerned = [b for b in blocks if b.is_for(relay.name)]
            left_out, added = plan.left_out, plan.postponed.added
            found = states_on(by_name[relay.name], concerned, plan.held.keys() | added)
            if left_out or added:
                found = {
                    d: _unalarming(d, left_out, added) or state if state is State.PENDING else state
                    for d, state in found.items()
                }
            on[relay.name] = found
    if len(on) == 1:
        return dict(*on.values()), {}
    states: dict[Destination, State] = {}
    differing: dict[Destination, None] = {}
    for found in on.values():
        differing |= {d: None for d, state in found.items() if states.setdefault(d, state) != state}
    mixed = {d: {name: of[d] for name, of in on.items() if d in of} for d in differing}
    return {**states, **{d: gravest(of.values()) for d, of in mixed.items()}}, mixed


def _unalarming(
    destination: Destination, left_out: Collection[Destination], added: Collection[Destination]
) -> State | None:
    """Return the state of a block that is not installed by choice; None for any other."""
    if destination in added:
        return State.SCHEDULED
    return State.LEFT_OUT if destination in left_out else None


def _problems(view: View) -> list[ExitpolError]:
    """Return what keeps a relay from enforcing what its files hold."""
    found = [problem for problem in (view.unreachable, view.broken) if problem is not None]
    if view.must_restart is not None:
        # Also if there is nothing to do: the next reload may be that of logrotate.
        return [*found, view.must_restart]
    cannot = _not_reloadable(view)
    return found if cannot is None or view.settled else [*found, cannot]


def _with_hindrances(result: Applied, fatal: Mapping[str, str]) -> Applied:
    """Add why relays that have to be reloaded are not."""
    found = [
        error.about(view.name)
        for view in result.views
        if view.name in result.reload
        and _not_reloadable(view) is None
        and (error := hindrance(view, fatal)) is not None
    ]
    return replace(result, problems=_gravest_first([*result.problems, *found]))


def hindrance(view: View, fatal: Mapping[str, str]) -> ExitpolError | None:
    """Return why a relay is not reloaded; None if it is.

    `fatal` has the fingerprint of the files with which a reload ended a Tor, by relay.
    """
    cannot = _not_reloadable(view)
    if cannot is not None:
        return cannot
    if view.foreign:
        return _foreign(view)
    if view.fingerprint and fatal.get(view.name) == view.fingerprint:
        return TorRefusesError(
            f"a reload of these files ended Tor ({view.name}) before: they are not loaded again,"
            " and its blocks are pending",
            hint="see Tor's log and correct the files, or try again: exitpol apply --load-foreign",
        )
    return None


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


def _foreign(view: View) -> ForeignChangesError:
    named = "; ".join(view.foreign[:5])
    more = f"; and {len(view.foreign) - 5} more" if len(view.foreign) > 5 else ""
    asked = view.unobserved is None
    return ForeignChangesError(
        f"Tor ({view.name}) is not reloaded, because that would load other changes of its files"
        f" that it {'has not read' if asked else 'may not have read'}: {named}{more}",
        # Without a control port, exitpol does not see that somebody else has reloaded it.
        hint="undo these changes; or, if they are right, load them: exitpol apply --load-foreign",
    )


_CODES: Final = (
    ExitCode.TOR_REFUSES,
    ExitCode.TOR_UNREACHABLE,
    ExitCode.INVALID_FILE,
    ExitCode.REFUSED,
    ExitCode.ATTENTION,
)


def _gravest_first(problems: Iterable[ExitpolError]) -> tuple[ExitpolError, ...]:
    def rank(problem: ExitpolError) -> int:
        code = problem.exit_code
        return _CODES.index(code) if code in _CODES else -1

    return tuple(sorted(problems, key=rank))


def _watched(host: Host) -> list[Path]:
    """Return the files whose change calls for an apply, apart from what the torrcs include."""
    fragments = {relay.fragment for relay in host.relays}
    paths = [host.config.ledger, *sorted(fragments), *(relay.torrc for relay in host.relays)]
    # Tor makes a new socket when it starts: it may have read other files then.
    paths += [Path(relay.control) for relay in host.relays if relay.control.startswith("/")]
    # Likewise a pid file.
    paths += [relay.reload.path for relay in host.relays if isinstance(relay.reload, PidFile)]
    # A relay may appear at the usual places.
    paths += layout.watched()
    return [*paths, *filter(None, (host.config.source, host.config.fleet_file))]
