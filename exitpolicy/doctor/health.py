"""The checks that `status --check`, the tick and `doctor` share.

They need nothing but what those commands have inspected anyway. Each finding has a `cause`.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from exitpolicy.core.block import State
from exitpolicy.core.errors import (
    ExitCode,
    ExitpolError,
    ForeignChangesError,
    IncludeLostError,
    InvalidFileError,
    RefusedError,
    TorRefusesError,
    TorUnreachableError,
)
from exitpolicy.doctor import following, guarding, hooks, known_relays, limits, metrics, timer
from exitpolicy.doctor.fault import Fault
from exitpolicy.doctor.finding import Finding, Severity, attempt, exit_code, ok, warn
from exitpolicy.operations import own_policy
from exitpolicy.operations.apply import Applied
from exitpolicy.operations.host import Host
from exitpolicy.operations.query import limits_of
from exitpolicy.policy.limits import Limits
from exitpolicy.policy.reconcile import View
from exitpolicy.storage.config import Relay

_FEW: Final = 5


def of_host(host: Host) -> list[Finding]:
    """Check what does not depend on a relay; nothing where only a fleet's ledger is kept."""
    if host.keeps_ledger_only:
        return []
    return [
        *attempt("tick", lambda: timer.tick(host)),
        *attempt("followed names", lambda: following.check(host)),
        *_of_root(host),
        *attempt("relays", lambda: known_relays.check(host)),
        *attempt("metrics", lambda: metrics.check(host)),
    ]


def _of_root(host: Host) -> Iterator[Finding]:
    """Check what only root can see: the units of the hooks and of the guard."""
    if os.geteuid() != 0:
        return
    for cause, check, name in (
        (Fault.HOOKS_FAILING, hooks.check, "hooks"),
        (Fault.GUARD_NOT_RUN, guarding.check, "guard"),
    ):
        for finding in attempt(name, partial(check, host)):
            yield finding if finding.severity is Severity.OK else replace(finding, cause=cause)


def of_relay(host: Host, relay: Relay, view: View, measured: Limits | None) -> list[Finding]:
    """Check one relay. `measured` is what its enforced policy uses of each limit."""
    return [
        *attempt(f"{relay.name}: limits", lambda: limits.check(relay, view, measured)),
        *attempt(f"{relay.name}: own policy", lambda: _own_policy(host, relay, view)),
        *attempt(f"{relay.name}: foreign changes", lambda: _foreign(relay, view)),
    ]


def faults(result: Applied, findings: Iterable[Finding]) -> frozenset[Fault]:
    """Return what is wrong: what an apply or a preview observed, and what checks found.

    It is empty exactly where `status --check` ends with 0.
    """
    found = {_FAULTS[state] for state in result.states.values() if state in _FAULTS}
    found |= {of_error(problem) for problem in result.problems}
    found |= {finding.cause or Fault.ATTENTION for finding in findings}
    behind = result.is_preview and any(plan.is_behind for plan in result.plans)
    if behind or not all(view.settled for view in result.views if view.is_reachable):
        found.add(Fault.DRIFT)
    if any(view.foreign for view in result.views):
        found.add(Fault.FOREIGN_CHANGES)
    return frozenset(found)


def of_error(error: ExitpolError) -> Fault:
    """Return the fault that an error is."""
    kinds = (
        (ForeignChangesError, Fault.FOREIGN_CHANGES),
        (IncludeLostError, Fault.INCLUDE_LOST),
        (InvalidFileError, Fault.FILE_INVALID),
        (TorUnreachableError, Fault.TOR_UNREACHABLE),
        (TorRefusesError, Fault.TOR_REFUSES),
        (RefusedError, Fault.REFUSED),
    )
    return next((fault for kind, fault in kinds if isinstance(error, kind)), Fault.ATTENTION)


_FAULTS: Final = {
    State.PENDING: Fault.PENDING,
    State.LIFTING: Fault.LIFTING,
    State.SHADOWED: Fault.SHADOWED,
}


@dataclass(frozen=True, slots=True)
class Health:
    """The health of a host and its relays, as far as a command has inspected them."""

    findings: tuple[Finding, ...]
    """Those that somebody has to act on."""
    limits: Mapping[str, Limits | None]
    """What each relay uses of each limit, by name; None for a relay that is no exit."""

    def adding(self, finding: Finding) -> "Health":
        """Return the health with one more finding that somebody has to act on."""
        return replace(self, findings=(*self.findings, finding))

    def exit_code(self, code: ExitCode) -> ExitCode:
        """Return the exit code of a command: its own `code`, or that of the gravest finding."""
        return code or exit_code(self.findings)


def inspected(host: Host, views: Sequence[View]) -> Health:
    """Check the host and the relays that were inspected."""
    return _health(host, views, of_host(host))


def applied(host: Host, result: Applied) -> Health:
    """Check the relays after an apply: record new own policies and write changes to the history.

    The tick itself is running, so that there is nothing to check about it.
    """

    def watch() -> Iterator[Finding]:
        for change in own_policy.watch(host, result):
            yield warn(
                f"{change.relay}: own policy",
                f"it was changed at run time: {'; '.join(change.difference.sentences)}",
                why="somebody else controls this Tor; the reload has repaired it",
                fix="find out who uses Tor's control port",
                cause=Fault.OWN_POLICY_CHANGED,
            )

    found = [
        *attempt("own policy", watch),
        *attempt("followed names", lambda: following.check(host)),
        *attempt("relays", lambda: known_relays.check(host)),
    ]
    return _health(host, result.views, found)


def _health(host: Host, views: Sequence[View], found: Sequence[Finding]) -> Health:
    relays = {relay.name: relay for relay in host.relays}
    measured = {view.name: limits_of(view) for view in views}
    findings = [
        *found,
        *(
            finding
            for view in views
            for finding in of_relay(host, relays[view.name], view, measured[view.name])
        ),
    ]
    faults = (finding for finding in findings if finding.severity is not Severity.OK)
    return Health(tuple(dict.fromkeys(faults)), measured)


def _foreign(relay: Relay, view: View) -> Iterator[Finding]:
    check = f"{relay.name}: foreign changes"
    # A Tor that has to be reloaded is a problem of its own, which names the changes.
    if view.foreign and not view.needs_reload:
        named = "; ".join(view.foreign[:_FEW])
        more = f"; and {len(view.foreign) - _FEW} more" if len(view.foreign) > _FEW else ""
        yield warn(
            check,
            f"Tor has not read changes of its files: {named}{more}",
            why="the next reload loads them, whoever asks for it; exitpol waits until they are"
            " loaded or undone",
            fix=f"undo them in {relay.torrc}; or, if they are right, load them:"
            " exitpol apply --load-foreign",
            cause=Fault.FOREIGN_CHANGES,
        )
    elif not view.foreign:
        yield ok(check, "Tor has read all of its files")


def _own_policy(host: Host, relay: Relay, view: View) -> Iterator[Finding]:
    check = f"{relay.name}: own policy"
    found = own_policy.changes(host, [view])
    for change in found:
        yield warn(
            check,
            f"it is not the one that you accepted: {'; '.join(change.difference.sentences)}",
            why="somebody has changed the exit policy apart from the blocks",
            fix=f"correct {relay.torrc} and reload Tor; or, if it is right: exitpol policy accept",
            cause=Fault.OWN_POLICY_CHANGED,
        )
    if not found:
        yield ok(check, "as accepted, or not recorded yet")
