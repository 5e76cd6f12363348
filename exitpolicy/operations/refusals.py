"""What is refused, because it would harm a relay: decided before anything is changed."""

from collections.abc import Sequence

from exitpolicy.core.errors import InvalidFileError, RefusedError
from exitpolicy.operations.desired import Desired
from exitpolicy.operations.host import Host
from exitpolicy.policy import limits
from exitpolicy.policy.options import ExitOptions, first_catch_all
from exitpolicy.policy.reconcile import View
from exitpolicy.policy.rule import Entry, Rule
from exitpolicy.storage import base_policies
from exitpolicy.storage.config import Relay
from exitpolicy.tor import fragment, torrc


def check(
    host: Host,
    views: Sequence[View],
    want: Desired,
    former: tuple[Entry, ...],
    *,
    baseline: tuple[Entry, ...],
    force: bool,
) -> None:
    """Refuse what would harm a relay. Raises RefusedError, TorRefusesError, InvalidFileError."""
    for relay, view in zip(host.relays, views, strict=True):
        # A fragment that has had no rules and gets none does nothing.
        if view.configured is None or not (want.rules or former):
            continue
        if not view.configured.own.exits and view.configured.own.exit_relay is None:
            raise no_exit(relay)
        above = _above(view)
        if above is not None:
            place = torrc.first_exit_policy(relay.torrc, host.config.fragment, above)
            raise InvalidFileError(
                f"{place or relay.torrc}: {str(above)!r} stands above the include of"
                f" {host.config.fragment}, so that no block has any effect",
                hint=f"move the line %include {host.config.fragment} above it",
            )
        _check_limits(view, baseline, force=force)
    broken = [view.broken for view in views if view.broken is not None]
    if len(broken) == len(views):
        raise broken[0]


def _check_limits(view: View, baseline: tuple[Entry, ...], *, force: bool) -> None:
    """Refuse what would break a limit of Tor's that `baseline` keeps. Raises RefusedError."""
    assert view.configured is not None  # noqa: S101 - the caller has looked
    if view.configured.fragment == baseline or not view.configured.options.exits:
        return
    default, reduced = (base_policies.load(name).rules for name in ("default", "reduced"))
    running = view.running
    descriptor = None if running is None else running.descriptor

    def measured(options: ExitOptions) -> limits.Limits:
        policy = options.policy(
            default=default,
            local=() if running is None else running.local,
            reduced=reduced,
        )
        return limits.measure(policy, descriptor)

    before = measured(view.configured.with_fragment(baseline).options)
    for problem in limits.assess(before, measured(view.configured.options)):
        if not (problem.forcible and force):
            more = "; or add --force, if you accept that" if problem.forcible else ""
            raise RefusedError(
                f"relay {view.name!r}: {problem.message}", hint=f"{problem.hint}{more}"
            )


def no_exit(relay: Relay) -> RefusedError:
    """Return the refusal for a relay that one reject line would turn into an exit."""
    return RefusedError(
        f"the relay {relay.name!r} is no exit: {relay.torrc} has ExitRelay auto and no exit option,"
        " and one reject line would make it exit to everywhere",
        hint=f"if it is to be an exit, write ExitRelay 1 into {relay.torrc}; if not, ExitRelay 0",
    )


def _above(view: View) -> Rule | None:
    """Return the catch-all of the operator above our rules; None if there is none."""
    assert view.configured is not None  # noqa: S101 - the caller has looked
    position = view.configured.options.position(view.configured.fragment)
    if position is None:
        return None
    return first_catch_all(view.configured.options.exit_policy[:position])


def former_rules(former: str | None) -> tuple[Entry, ...]:
    """Return the rules that the fragment held."""
    return () if former is None else fragment.rules_of(former)
