"""Set up a host: the config, the ledger, a fragment for each relay, and the include in its torrc.

A former version gave all relays one fragment. `init` moves each relay to its own, in steps between
which Tor reads good files and the tick works on:

1. The config names the folder of the new fragments beside the former one. From now on every command
   takes for each relay the fragment that its torrc includes (`Host.refreshed`).
2. The new fragment gets the rules of the former one, and then the torrc includes it instead. The
   policy is the same before and after, so that no reload is needed.
3. When no torrc includes the former fragment, and every Tor has answered since (so that none is in
   the midst of reading it), its rules are removed, and the config forgets it. The file stays: a
   template or a backup may still name it, and a Tor that finds an included file missing exits.

A crash leaves a state between two steps; the next `init` goes on from there.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from exitpolicy.core.block import Blocks
from exitpolicy.core.errors import (
    AttentionError,
    ExitCode,
    ExitpolError,
    InvalidFileError,
    RefusedError,
)
from exitpolicy.core.shell import word
from exitpolicy.operations import apply, hooks, own_policy, relay_set
from exitpolicy.operations.apply import Applied, Watch
from exitpolicy.operations.host import Host, with_included
from exitpolicy.operations.outcome import exit_code
from exitpolicy.operations.torrc_edits import TorrcEdit, may_run, plan_edit
from exitpolicy.policy.batching import EVERYTHING_URGENT
from exitpolicy.storage import config as config_file
from exitpolicy.storage import config_edit, files, history, ledger_file
from exitpolicy.storage import last_read as last_read_file
from exitpolicy.storage.config import DEFAULT_PATH, SINGLE_FRAGMENT, Config, usual_unit
from exitpolicy.storage.ledger_file import Ledger
from exitpolicy.storage.locks import (
    WAIT_SECONDS,
    apply_lock_path,
    ledger_lock_path,
    lock,
    lock_folder,
)
from exitpolicy.tor import fragment, fragment_include, last_read, layout, verify
from exitpolicy.tor import invocation as invocations

_FOLDER_NAME = "exitpol"
"""The folder of the fragments, beside the former single one."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What `init` would do."""

    host: Host
    """As the config describes it now."""
    torrcs: tuple[Path, ...]
    """Those that were named."""
    config: Config
    """As it is to be."""
    config_path: Path
    old_config: bytes | None
    new_config: bytes
    edits: tuple[TorrcEdit, ...]
    remarks: tuple[AttentionError, ...]

    @property
    def restarts(self) -> tuple[RefusedError, ...]:
        """Why Tors have to be restarted after it, one error for each."""
        return tuple(edit.restart for edit in self.edits if edit.restart is not None)

    @property
    def restart_units(self) -> tuple[str, ...]:
        """The systemd units of the Tors that have to be restarted after it.

        Also those that were not restarted after a former one.
        """
        return tuple(
            f"{usual_unit(edit.relay.torrc)}.service"
            for edit in self.edits
            if edit.restart is not None or edit.unread
        )

    @property
    def present(self) -> dict[str, Any]:
        """The config as it is now, with all scalars as text; empty if there is none."""
        old = self.old_config
        return {} if old is None else config_file.plain(self.config_path, old)

    @property
    def future(self) -> Host:
        """The host as its config will describe it."""
        return Host.of(self.config, who=self.host.who, clock=self.host.clock)

    @property
    def created(self) -> tuple[Path, ...]:
        """The files that are missing."""
        paths = [self.config.ledger, *(edit.own for edit in self.edits)]
        missing = [path for path in dict.fromkeys(paths) if not path.exists()]
        return (*missing, *([self.config_path] if self.old_config is None else []))

    @property
    def edited(self) -> tuple[tuple[Path, str, str], ...]:
        """For each changed file: its path, its text before and after."""
        found = [(edit.relay.torrc, edit.old, edit.new) for edit in self.edits if edit.changes]
        if self.old_config is not None and self.new_config != self.old_config:
            texts = (self.old_config.decode(), self.new_config.decode())
            found.append((self.config_path, *texts))
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Initialized:
    """What `init` did."""

    created: tuple[Path, ...]
    """New files."""
    edited: tuple[tuple[Path, str, str], ...]
    """For each changed torrc, and the config: its path, its text before and after."""
    host: Host
    """As it is now."""
    applied: Applied
    remarks: tuple[ExitpolError, ...] = field(default=())
    """What the operator should know, although nothing is wrong now."""
    restart_units: tuple[str, ...] = ()
    """The systemd units of the Tors that have to be restarted now."""

    @property
    def exit_code(self) -> ExitCode:
        """The exit code of `init`, which does not wait until Tor enforces its files."""
        return exit_code(self.applied, (), Watch.NOT)


def plan(host: Host, torrcs: Sequence[Path] = (), *, config_path: Path | None = None) -> Plan:
    """Return what `init` would do: with the named torrcs only, or with all relays.

    Raises RefusedError for a relay that is no exit, TorRefusesError, UsageError and
    InvalidFileError.
    """
    path = host.config.source or config_path or DEFAULT_PATH
    present = host.config
    if host.keeps_ledger_only and not torrcs:
        config = files.read(path, "config", limit=config_file.MAX_BYTES)
        return Plan(host, (), present, path, config, config, (), (_no_relay_here(host),))
    former = present.former or (SINGLE_FRAGMENT if present.fragments else present.fragment)
    folder = present.fragments or present.fragment.parent / _FOLDER_NAME
    moving = present._replace(fragments=folder, former=former)
    chosen = relay_set.choose(moving, torrcs, path.parent)
    relays = [
        with_included(relay._replace(fragment=moving.fragment_of(relay.name)), former)
        for relay in chosen.relays
    ]
    named = {os.path.realpath(torrc) for torrc in torrcs}
    edits = [
        plan_edit(relay, moving.fragment_of(relay.name), former)
        for relay in relays
        if not named or os.path.realpath(relay.torrc) in named
    ]
    desired = moving._replace(
        former=former if any(relay.fragment == former for relay in relays) else None,
        relays=chosen.relays,
        unmanaged=chosen.unmanaged,
    )
    old = (
        None if present.source is None else files.read(path, "config", limit=config_file.MAX_BYTES)
    )
    new = config_file.render(desired) if old is None else config_edit.edited(path, old, desired)
    remarks = (*chosen.remarks, *(remark for edit in edits for remark in edit.remarks))
    return Plan(host, tuple(torrcs), desired, path, old, new, tuple(edits), remarks)


def _no_relay_here(host: Host) -> AttentionError:
    return AttentionError(
        f"no relay of the fleet runs here: {host.config.ledger} is kept, and this host enforces"
        " nothing of it",
        hint="to bring it to the hosts of the relays: ansible-playbook exitpol.exitpol.apply"
        f" -e exitpol_ledger={host.config.ledger}",
    )


def carry_out(planned: Plan, *, restart: bool = False) -> Initialized:
    """Create missing files, include each fragment, verify, and apply; keep existing files.

    `restart` says that sandboxed Tors will be restarted. Without that raises RefusedError for
    them, before anything is changed. Raises what `plan` raises. Never installs a torrc that Tor
    refuses.
    """
    # Refused before any folder is made: a relay that is no exit leaves no trace.
    _check_restarts(planned, restart=restart)
    host = planned.host
    lock_folder(host.config.ledger)
    with _locked(host):
        # Again: another exitpol may have created or changed any of the files in between.
        planned = plan(_reread(host), planned.torrcs, config_path=planned.config_path)
        _check_restarts(planned, restart=restart)
        created, edited = planned.created, planned.edited
        _create(planned)
        _remember(planned)
        for edit in planned.edits:
            _edit(edit)
    present = _read(host, planned.config_path)
    applied = apply.apply(present, urgent=EVERYTHING_URGENT)
    own_policy.accept(present, applied.views)
    failed = apply.attempted(lambda: _record_resumed(present, applied))
    remarks = [*planned.remarks, *failed, *_retire(present, applied, planned)]
    return Initialized(
        created,
        edited,
        _read(host, planned.config_path),
        applied,
        tuple(remarks),
        planned.restart_units,
    )


@contextmanager
def _locked(host: Host) -> Iterator[None]:
    """Hold both locks."""
    ledger = host.config.ledger
    with (
        lock(apply_lock_path(ledger), seconds=WAIT_SECONDS, doing="talking to Tor"),
        lock(ledger_lock_path(ledger), seconds=WAIT_SECONDS, doing="changing the ledger"),
    ):
        yield


def _check_restarts(planned: Plan, *, restart: bool) -> None:
    if planned.restarts and not restart:
        raise planned.restarts[0]


def _reread(host: Host) -> Host:
    """Return the host as its config describes it now."""
    return host if host.config.source is None else _read(host, host.config.source)


def _read(host: Host, path: Path) -> Host:
    return Host.of(config_file.load(path), who=host.who, clock=host.clock)


def _create(planned: Plan) -> None:
    """Create missing files and write the config. The caller holds both locks."""
    config = planned.config
    if not config.ledger.exists():
        ledger_file.save(config.ledger, Ledger(Blocks.of()))
    for edit in planned.edits:
        # Before any torrc includes it: a missing file ends Tor.
        if not edit.own.exists():
            files.make_folder(edit.own.parent, public=True)
            _write_fragment(edit.own, fragment.render(()))
    if planned.new_config != planned.old_config:
        files.make_folder(planned.config_path.parent, public=True)
        ownership = files.Ownership(0o644, os.geteuid(), os.getegid())
        fresh = ownership if planned.old_config is None else None
        files.replace(planned.config_path, planned.new_config, fresh, follow=True)


def _record_resumed(host: Host, applied: Applied) -> None:
    """Write the blocks that go on after a removal of exitpol into the history.

    Raises InvalidFileError, LockTimeoutError.
    """
    if not applied.blocks:
        return
    ledger = host.config.ledger
    with lock(ledger_lock_path(ledger), seconds=WAIT_SECONDS, doing="changing the ledger"):
        known = history.removed(host.history_path)
        again = [block for block in applied.blocks if str(block.destination) in known]
        hooks.record(host, "resume", again)


def _remember(planned: Plan) -> None:
    """Record what Tors without a control port have read before their torrcs change.

    The caller holds both locks.
    """
    path = last_read_file.path_beside(planned.config.ledger)
    known = last_read_file.load(path)
    found = dict(known)
    for edit in planned.edits:
        if edit.changes and not edit.relay.has_control:
            read = last_read.of_start(edit.relay)
            before = known.get(edit.relay.name)
            if read is not None and (before is None or before.process != read.process):
                found[edit.relay.name] = read
    if found != known:
        last_read_file.save(path, found)


def _edit(edit: TorrcEdit) -> None:
    """Change a torrc. The caller holds both locks."""
    if not edit.changes:
        return
    if edit.former is not None:
        # Ticks since the last attempt have changed only the former one.
        _write_fragment(edit.own, fragment.read(edit.former) or fragment.render(()))
    verify.verify(invocations.of_relay(edit.relay), edit.new)
    files.replace(edit.relay.torrc, edit.new.encode("utf-8", "surrogateescape"), follow=True)


def _write_fragment(path: Path, text: str) -> None:
    present = fragment.read(path)
    if present and not fragment.is_fragment(present):
        raise InvalidFileError(
            f"{path} is not exitpol's: it has another first line",
            hint=f"move it away, or name another folder in the config: fragments: {path.parent}2",
        )
    fragment.stage(path, text)
    files.commit(path)


def _retire(host: Host, applied: Applied, planned: Plan) -> list[ExitpolError]:
    """Take the rules out of the former fragment once no Tor can read it; return why not yet."""
    before = planned.host.config
    single = before.fragment if before.fragments is None else None
    former = planned.config.former or before.former or single
    if former is None or not (host.config.former or os.path.lexists(former)):
        return []
    users = [path for path in known_torrcs(host) if _includes(path, former)]
    if users:
        return (
            []
            if any(relay.fragment == former for relay in host.relays)
            else [
                AttentionError(
                    f"{former} keeps its rules: {users[0]} includes it",
                    hint=f"exitpol init --torrc {word(users[0])}",
                )
            ]
        )
    silent = [
        relay.name
        for relay, view in zip(host.relays, applied.views, strict=True)
        if view.running is None and view.unobserved is None and may_run(relay)
    ]
    if silent:
        return [
            AttentionError(
                f"{former} keeps its rules: Tor ({silent[0]}) runs and does not answer",
                hint="when it answers: exitpol init",
            )
        ]
    with _locked(host):
        text = fragment.read(former)
        if text and fragment.is_fragment(text):
            fragment.stage(former, fragment.RETIRED)
            files.commit(former)
        path = planned.config_path
        content = files.read(path, "config", limit=config_file.MAX_BYTES)
        forgotten = config_file.parse(path, content)._replace(former=None)
        files.replace(path, config_edit.edited(path, content, forgotten), follow=True)
    return []


def known_torrcs(host: Host) -> set[Path]:
    """Return every torrc that is known: of the config, at the usual places, of running Tors."""
    found = {relay.torrc for relay in host.relays} | set(host.config.unmanaged)
    found |= {candidate.torrc for candidate in layout.candidates()}
    return found | set(invocations.running_torrcs())


def _includes(path: Path, included: Path) -> bool:
    try:
        return fragment_include.include_place(path, included) is not None
    except InvalidFileError:
        return False
