"""Remove exitpol from a host: each torrc as it was before `init`, then the files of exitpol.

Each relay is done by itself, in steps between which Tor reads good files:

1. Tor verifies the torrc without the include, and the torrc is replaced.
2. Tor reloads it, by the rules of an apply: only if nothing but its exit policy changes.
3. When Tor runs without exitpol's rules, the blocks that ended are written to the history, and the
   fragment is deleted. A Tor that finds an included file missing exits.

When all relays are done, the timer and the other files go. The config and what lies beside the
ledger are deleted only on request, the config last. A crash leaves a state between two steps; the
next removal goes on from there.
"""

import os
import stat
import time as system_time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from exitpolicy.core.block import Block, Blocks
from exitpolicy.core.errors import (
    AttentionError,
    ExitCode,
    ExitpolError,
    InvalidFileError,
    RefusedError,
)
from exitpolicy.core.shell import word
from exitpolicy.operations import apply, hooks, removals, timer
from exitpolicy.operations.host import Host
from exitpolicy.operations.init import known_torrcs
from exitpolicy.operations.interruption import interrupted_state
from exitpolicy.operations.parallel import in_parallel
from exitpolicy.operations.torrc_edits import may_run
from exitpolicy.policy.difference import Difference, compare
from exitpolicy.policy.reconcile import View
from exitpolicy.policy.rule import Entry, Rule, RuleError
from exitpolicy.storage import (
    base_policies,
    files,
    follow_state,
    guard_state,
    history,
    hook_spool,
    last_read,
    ledger_file,
    metrics_file,
    observed,
)
from exitpolicy.storage import own_policies as own_policies_file
from exitpolicy.storage.config import SINGLE_FRAGMENT, Relay, usual_unit
from exitpolicy.storage.ledger_file import Ledger
from exitpolicy.storage.locks import (
    WAIT_SECONDS,
    apply_lock_path,
    complaints_lock_path,
    fleet_lock_path,
    follow_lock_path,
    guard_lock_path,
    ledger_lock_path,
    lock,
    lock_folder,
    report_lock_path,
)
from exitpolicy.tor import fragment, fragment_include, inspect, layout, managed, reload, torrc
from exitpolicy.tor.inspect import Candidate, CandidateError
from exitpolicy.tor.torrc_includes import Place

_AGAIN: Final = "exitpol init --remove"
_SAME: Final = Difference((), ())
_NAMED: Final = 5
"""How many destinations a message names before it counts the rest."""


@dataclass(frozen=True, slots=True)
class RelayRemoval:
    """What a removal does to one relay."""

    relay: Relay
    old: str
    new: str
    """The text of the torrc before and after; the same if it does not include the fragment."""
    policy: tuple[Rule, ...] | None = None
    """The exit policy that results, apart from rules for the relay's own addresses; or None."""
    difference: Difference = _SAME
    """From the policy of the present files to that."""
    opened: Difference = _SAME
    """What the base policy rejects, and the policy that results accepts."""
    base: str | None = None
    """The base policy, which ends too."""
    view: View | None = None
    """With its files read without the include."""
    obstacle: ExitpolError | None = None
    """Why its torrc is left as it is."""
    hindrance: ExitpolError | None = None
    """Why Tor will go on needing the fragment after the change of the torrc."""

    @property
    def changes(self) -> bool:
        """Whether the torrc is changed."""
        return self.obstacle is None and self.new != self.old


@dataclass(frozen=True, slots=True)
class Plan:
    """What a removal would do."""

    host: Host
    relays: tuple[RelayRemoval, ...]
    in_force: tuple[Block, ...]
    """The blocks in force."""
    deleted: tuple[Path, ...]
    """The files that would be deleted."""
    unreadable: InvalidFileError | None = None
    """Why the blocks are not known."""

    @property
    def ending(self) -> tuple[Block, ...]:
        """The blocks in force that end, because a torrc no longer includes them."""
        changed = {each.relay.name for each in self.relays if each.changes}
        return tuple(
            block
            for block in self.in_force
            if changed and (not block.relays or not changed.isdisjoint(block.relays))
        )

    @property
    def edited(self) -> tuple[tuple[Path, str, str], ...]:
        """For each changed torrc: its path, its text before and after."""
        found = [each for each in self.relays if each.changes]
        return tuple((each.relay.torrc, each.old, each.new) for each in found)

    @property
    def obstacles(self) -> tuple[ExitpolError, ...]:
        """Why relays are left as they are."""
        return tuple(each.obstacle for each in self.relays if each.obstacle is not None)

    @property
    def hindrances(self) -> tuple[ExitpolError, ...]:
        """Why fragments of changed relays stay."""
        return tuple(each.hindrance for each in self.relays if each.hindrance is not None)

    @property
    def is_empty(self) -> bool:
        """Whether nothing of exitpol is on this host."""
        return not (self.edited or self.deleted or self.obstacles or self.hindrances)

    @property
    def has_records(self) -> bool:
        """Whether there is a config, or a folder of the ledger."""
        return self.host.config.source is not None or self.host.config.ledger.parent.is_dir()

    @property
    def refusal(self) -> RefusedError | None:
        """Why it needs --force: the exit becomes wider open than its operator has set it up."""
        for each in self.relays:
            if each.changes and each.opened.accepted:
                wider = Difference(each.opened.accepted, ()).sentences[0]
                return RefusedError(
                    f"the base policy {each.base!r} ends with exitpol, and leaves the relay"
                    f" {each.relay.name!r} with its own lines: {wider}",
                    hint=f"write the rules that you need into {each.relay.torrc}, or accept that:"
                    f" {_AGAIN} --force",
                )
        if self.unreadable is not None and self.edited:
            return RefusedError(
                f"{self.unreadable}; so it is not known what ends",
                hint=f"correct it; or, to remove exitpol nevertheless: {_AGAIN} --force",
            )
        return None

    @property
    def promise(self) -> RefusedError | None:
        """Why it has to be confirmed: it ends blocks before their date."""
        if not self.ending or not self.edited:
            return None
        count = len(self.ending)
        named = ", ".join(str(block.destination) for block in self.ending[:_NAMED])
        more = f" and {count - _NAMED} more" if count > _NAMED else ""
        ends = "1 block in force would end" if count == 1 else f"{count} blocks in force would end"
        return RefusedError(f"{ends}: {named}{more}", hint=f"to accept that: {_AGAIN} --yes")


@dataclass(frozen=True, slots=True)
class Removed:
    """What a removal did."""

    plan: Plan
    """As it was carried out."""
    deleted: tuple[Path, ...]
    problems: tuple[ExitpolError, ...] = field(default=())
    """Why relays are left as they are, or keep their fragments."""

    @property
    def is_complete(self) -> bool:
        """Whether every relay is done."""
        return not self.problems

    @property
    def exit_code(self) -> ExitCode:
        """The exit code: that of the first problem."""
        return self.problems[0].exit_code if self.problems else ExitCode.DONE


def plan(host: Host) -> Plan:
    """Return what a removal would do; change nothing. Raises InvalidFileError."""
    unreadable: InvalidFileError | None = None
    ledger = Ledger(Blocks.of())
    if host.config.ledger.exists():
        try:
            ledger = host.best_known_ledger()
        except InvalidFileError as error:
            unreadable = error
    relays = in_parallel(
        lambda relay: _plan_one(host, relay, ledger.policy_of(relay.name)), host.relays
    )
    time = host.time()
    in_force = tuple(host.here(time.enforced(ledger.blocks)))
    return Plan(host, tuple(relays), in_force, _deletable(host, relays), unreadable)


def carry_out(planned: Plan, *, force: bool, purge: bool) -> Removed:
    """Remove exitpol from each relay that can be done, and from the host if all can.

    `purge` also deletes the config, the ledger and all that lies beside it. Raises RefusedError
    without `force`, InvalidFileError, LockTimeoutError.
    """
    host = planned.host
    if not force and planned.refusal is not None:
        raise planned.refusal
    lock_folder(host.config.ledger)
    with (
        interrupted_state(f"exitpol may be removed in part; to go on: {_AGAIN}"),
        lock(apply_lock_path(host.config.ledger), seconds=WAIT_SECONDS, doing="talking to Tor"),
        lock(
            ledger_lock_path(host.config.ledger), seconds=WAIT_SECONDS, doing="changing the ledger"
        ),
    ):
        # Again: another exitpol may have changed any of the files in between.
        planned = plan(host.refreshed())
        if not force and planned.refusal is not None:
            raise planned.refusal
        _remember(planned)
        _leave_time(host)
        found = in_parallel(lambda each: _remove(host, each), planned.relays)
        problems = [problem for problem in found if problem is not None]
        done = [
            each.relay for each, problem in zip(planned.relays, found, strict=True) if not problem
        ]
        problems += apply.attempted(lambda: _record_ends(planned, done))
        deleted, kept = _delete_fragments(host, done)
        problems += kept
        if not problems:
            deleted += timer.remove(host)
            deleted += _delete([*_rendered(), *_metrics(host)])
            # What was observed last is not true any more.
            _delete(
                [
                    host.state_path,
                    host.health_path,
                    host.last_read_path,
                    follow_state.path_beside(host.config.ledger),
                    hooks.dropped_path(host),
                    guard_state.path_beside(host.config.ledger),
                ]
            )
            _remove_folders([layout.RENDERED])
            if host.config.hooks.after_change:
                _delete(hook_spool.files_in(host.config.hooks.spool))
                _remove_folders([host.config.hooks.spool])
            if purge:
                deleted += _purge(host)
    return Removed(planned, tuple(deleted), tuple(problems))


def _plan_one(host: Host, relay: Relay, base: str | None) -> RelayRemoval:
    """Plan the removal from one relay. Its errors concern only this relay."""
    try:
        old = torrc.read_text(relay.torrc)
        place = fragment_include.include_place(relay.torrc, relay.fragment)
    except InvalidFileError as error:
        is_gone = not os.path.lexists(relay.torrc) and not may_run(relay)
        return RelayRemoval(relay, "", "", obstacle=None if is_gone else error)
    try:
        view = _view(host, relay, Candidate.without(relay.fragment))
        hindrance = _hindrance(host, relay, view) if os.path.lexists(relay.fragment) else None
        if place is None:
            return RelayRemoval(relay, old, old, view=view, hindrance=hindrance)
        new = fragment_include.without_include(relay.torrc, relay.fragment)
        if new is None or managed.is_claimed(relay.torrc):
            return RelayRemoval(relay, old, old, obstacle=_not_ours(relay, place))
        if view.broken is not None:
            return RelayRemoval(relay, old, old, obstacle=view.broken)
        present = fragment.rules_of(fragment.read(relay.fragment) or "")
        after = _policy(view)
        return RelayRemoval(
            relay,
            old,
            new,
            after,
            _difference(host, relay, present, after),
            _difference(host, relay, base_policies.load(base).rules, after) if base else _SAME,
            base,
            view,
            hindrance=hindrance,
        )
    except ExitpolError as error:
        return RelayRemoval(relay, old, old, obstacle=error)


def _deletable(host: Host, relays: Sequence[RelayRemoval]) -> tuple[Path, ...]:
    """Return the files that would be deleted: no fragment that a Tor or a torrc still needs."""
    waiting = [each for each in relays if each.obstacle or each.hindrance]
    needed = {each.relay.fragment for each in waiting}
    changed = {each.relay.torrc: each.relay.fragment for each in relays if each.changes}
    torrcs = known_torrcs(host)
    fragments = [
        path
        for path in _fragments(host)
        if path not in needed
        and not any(changed.get(user) != path and _includes(user, path) for user in torrcs)
    ]
    if waiting:
        return tuple(fragments)
    return (*fragments, *timer.installed(host), *_rendered(), *_metrics(host))


def _view(host: Host, relay: Relay, candidate: Candidate) -> View:
    """Inspect a relay. Raises CandidateError."""
    return inspect.inspect_relay(relay, candidate, host.readings, record=host.last_read_path)


def _not_ours(relay: Relay, place: Place) -> AttentionError:
    """Return why the operator has to take out the include."""
    stays = f"the relay {relay.name!r} goes on including {relay.fragment}"
    if managed.is_claimed(relay.torrc):
        return AttentionError(
            f"{stays}: a configuration tool writes {relay.torrc}, and would write it again",
            hint=f"take {place} out of its template, let the tool write it, reload Tor, and"
            f" type: {_AGAIN}",
        )
    return AttentionError(
        f"{stays}: the include at {place} is not one line of {relay.torrc} with that path",
        hint=f"take it out, reload Tor, and type: {_AGAIN}",
    )


def _difference(
    host: Host, relay: Relay, rules: tuple[Entry, ...], after: tuple[Rule, ...] | None
) -> Difference:
    """Return the difference from the policy with these rules in the fragment to another policy."""
    candidate = Candidate(relay.fragment, fragment.render(rules), rules)
    try:
        before = _policy(_view(host, relay, candidate))
    except CandidateError:
        before = None
    return _SAME if before is None or after is None else compare(before, after)


def _policy(view: View) -> tuple[Rule, ...] | None:
    """Return the policy of a relay's files, without rules for its own addresses.

    None if its files are broken, or if exitpol does not understand a rule.
    """
    if view.configured is None:
        return None
    options = view.configured.options
    default, reduced = (base_policies.load(name).rules for name in ("default", "reduced"))
    if view.running is not None:
        default, reduced = view.running.default, view.running.reduced or reduced
    try:
        return options.policy(default=default, local=(), reduced=reduced)
    except RuleError:
        return None


def _remember(planned: Plan) -> None:
    """Record what Tors without a control port have read before their torrcs change."""
    path = planned.host.last_read_path
    known = last_read.load(path)
    found = dict(known)
    for each in planned.relays:
        tor = None if each.view is None else each.view.unobserved
        if each.changes and tor is not None and tor.last is not None:
            found[each.relay.name] = tor.last
    if found != known:
        last_read.save(path, found)


def _leave_time(host: Host) -> None:
    """Sleep until a reload does not delay the change before it."""
    last = observed.load(host.state_path)
    since = host.clock().timestamp() - (0.0 if last is None else last.reloaded)
    if 0 <= since < apply.RELOAD_INTERVAL:
        system_time.sleep(apply.RELOAD_INTERVAL - since)


def _remove(host: Host, planned: RelayRemoval) -> ExitpolError | None:
    """Remove exitpol from one relay; return why Tor may still need the fragment, or None."""
    if planned.obstacle is not None:
        return planned.obstacle
    if not planned.old:
        return None
    relay = planned.relay
    try:
        if planned.changes:
            if torrc.read_text(relay.torrc) != planned.old:
                return InvalidFileError(
                    f"{relay.torrc} was changed just now, and is left as it is", hint=_AGAIN
                )
            content = planned.new.encode("utf-8", "surrogateescape")
            files.replace(relay.torrc, content, follow=True)
        return _unread(host, relay)
    except ExitpolError as error:
        return error


def _unread(host: Host, relay: Relay) -> ExitpolError | None:
    """Let Tor read its files, which do not include the fragment; return why it has not.

    Raises what a reload raises.
    """
    view = _view(host, relay, Candidate.without(relay.fragment))
    hindrance = _hindrance(host, relay, view)
    if hindrance is not None:
        return hindrance
    if view.nearly_in_sync:
        reload.wait_settled(relay, view, seconds=apply.UNDER_WAY_SECONDS)
    if not view.needs_reload:
        return None
    seen = reload.reload_relay(relay, view, settle_seconds=reload.SETTLE_SECONDS)
    if not seen.needs_reload:
        return None
    return AttentionError(
        f"{_stays(relay)}: it was reloaded, and runs other rules", hint=f"to try again: {_AGAIN}"
    )


def _hindrance(host: Host, relay: Relay, view: View) -> ExitpolError | None:
    """Return why Tor cannot be told to read its files without the include; None if it can."""
    if view.broken is not None:
        return view.broken
    if view.running is None and view.unobserved is None:
        if not may_run(relay):
            return None
        return AttentionError(
            f"{_stays(relay)}: Tor runs and does not answer: {view.unreachable}",
            hint=f"when it answers: {_AGAIN}",
        )
    if not view.needs_reload:
        return None
    last = observed.load(host.state_path)
    hindrance = apply.hindrance(view, {} if last is None else last.fatal)
    if hindrance is None:
        return None
    verb = "reload" if view.foreign and view.must_restart is None and view.running else "restart"
    return AttentionError(
        f"{_stays(relay)}: {hindrance}",
        hint=f"systemctl {verb} {usual_unit(relay.torrc)}; {_AGAIN}",
    )


def _stays(relay: Relay) -> str:
    return f"{relay.fragment} stays until Tor ({relay.name}) has read its torrc without it"


def _record_ends(planned: Plan, done: Sequence[Relay]) -> None:
    """Write the blocks that no relay enforces any more into the history, once.

    Raises InvalidFileError.
    """
    host = planned.host
    finished = {relay.name for relay in done}
    had = {relay.name for relay in host.relays if os.path.lexists(relay.fragment)}
    known = history.removed(host.history_path)
    ended = [
        block
        for block in planned.in_force
        if (names := {relay.name for relay in host.relays if block.is_for(relay.name)}) <= finished
        and names & had
        and str(block.destination) not in known
    ]
    hooks.record(host, "remove", ended)


def _fragments(host: Host) -> list[Path]:
    """Return the fragments of this host: those of its relays, of former ones, the former one."""
    config = host.config
    found = [relay.fragment for relay in host.relays]
    if config.fragments is not None:
        found += sorted(config.fragments.glob("*.conf"))
        if config.fragments.parent == SINGLE_FRAGMENT.parent:
            found.append(SINGLE_FRAGMENT)
    else:
        found.append(config.fragment)
    if config.former is not None:
        found.append(config.former)
    own = {relay.fragment for relay in host.relays}
    return [path for path in dict.fromkeys(found) if _is_ours(path, may_be_empty=path in own)]


def _is_ours(path: Path, *, may_be_empty: bool) -> bool:
    """Tell whether exitpol has written a file in the place of a fragment."""
    try:
        text = fragment.read(path)
    except InvalidFileError:
        return False
    if not text:
        return text is not None and may_be_empty
    return fragment.is_fragment(text) or text == fragment.RETIRED


def _delete_fragments(host: Host, done: Sequence[Relay]) -> tuple[list[Path], list[ExitpolError]]:
    """Delete the fragments that no Tor needs; return them, and why others stay."""
    names = {relay.name for relay in done}
    needed = {relay.fragment for relay in host.relays if relay.name not in names}
    torrcs = known_torrcs(host)
    deleted: list[Path] = []
    kept: list[ExitpolError] = []
    for path in _fragments(host):
        if path in needed:
            continue
        users = [user for user in torrcs if _includes(user, path)]
        if users:
            kept.append(
                AttentionError(
                    f"{path} stays: {users[0]} includes it, or cannot be read",
                    hint=f"take that line out, reload Tor, and type: {_AGAIN}",
                )
            )
            continue
        files.discard(files.staged_path(path))
        deleted += _delete([path])
    if host.config.fragments is not None:
        _remove_folders([host.config.fragments])
    return deleted, kept


def _includes(user: Path, path: Path) -> bool:
    """Tell whether a torrc includes a file. One that is there and cannot be read may do so."""
    try:
        return fragment_include.include_place(user, path) is not None
    except InvalidFileError:
        return os.path.lexists(user)


def _rendered() -> list[Path]:
    """Return the defaults-torrcs that exitpol has rendered."""
    return sorted(layout.RENDERED.glob("*.defaults"))


def _metrics(host: Host) -> list[Path]:
    """Return the file of metrics, which nothing renews any more."""
    path = host.config.metrics
    return [path] if path is not None and metrics_file.is_ours(path) else []


def _purge(host: Host) -> list[Path]:
    """Delete the ledger, all that exitpol keeps beside it, and the config; return what it was."""
    ledger = host.config.ledger
    beside = [
        ledger,
        ledger_file.former_path(ledger),
        ledger_file.last_valid_path(ledger),
        ledger_file.last_taken_path(ledger),
        *history.paths(host.history_path),
        own_policies_file.path_beside(ledger),
        removals.path_of(host),
        host.complaints_path,
    ]
    deleted = _delete(beside)
    locks = (
        *(ledger_lock_path, apply_lock_path, report_lock_path, complaints_lock_path),
        *(follow_lock_path, fleet_lock_path, guard_lock_path),
    )
    _delete([path_of(ledger) for path_of in locks])
    _remove_folders([ledger.parent])
    if host.config.source is not None:
        deleted += _delete([host.config.source])
        _remove_folders([host.config.source.parent])
    return deleted


def _delete(paths: Iterable[Path]) -> list[Path]:
    """Delete files, not what links lead to; return those that were there.

    Raises InvalidFileError.
    """
    return list(_deleting(paths))


def _deleting(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        try:
            with files.place(path) as target:
                if stat.S_ISDIR(os.lstat(target.name, dir_fd=target.folder).st_mode):
                    continue
                os.unlink(target.name, dir_fd=target.folder)
                files.sync_folder(target.folder)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise InvalidFileError(
                f"{path} cannot be deleted: {error.strerror}", hint=f"rm {word(path)}"
            ) from error
        yield path


def _remove_folders(folders: Iterable[Path]) -> None:
    """Remove folders that are empty."""
    for folder in folders:
        with suppress(OSError), files.place(folder) as target:
            os.rmdir(target.name, dir_fd=target.folder)
