"""Record the own policy of each exit, and report every change of it.

The own policy is what the relay would enforce without the blocks. Rules for the relay's own and
interface addresses, which Tor adds by itself, do not count.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Final

from exitpolicy.core.errors import ExitCode, InvalidFileError
from exitpolicy.operations import hooks
from exitpolicy.operations.apply import Applied
from exitpolicy.operations.host import Host
from exitpolicy.operations.planning import base_rules
from exitpolicy.policy.difference import Difference, compare
from exitpolicy.policy.evaluate import Decisions
from exitpolicy.policy.options import ExitOptions
from exitpolicy.policy.reconcile import Running, Unobserved, View
from exitpolicy.policy.rule import Entry, Rule
from exitpolicy.storage import history, own_policies
from exitpolicy.storage.locks import WAIT_SECONDS, ledger_lock_path, lock
from exitpolicy.storage.own_policies import OwnPolicy, Values
from exitpolicy.tor import fragment

_DOING: Final = "changing the ledger"
_ACCEPTED_AGAIN: Final = "as accepted before"
_REPAIRED: Final = "set at run time, and repaired"


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """A relay whose own policy is not the accepted one."""

    relay: str
    difference: Difference
    """From the accepted policy to the observed one."""


@dataclass(frozen=True, slots=True)
class _Observed:
    """The own policy of a relay, as it was observed."""

    relay: str
    values: Values
    in_sync: bool
    """Whether Tor runs what its files say, so that the fragment in it is known for certain."""
    local: tuple[Rule, ...]
    """The rules for the relay's own and interface addresses."""


def changes(host: Host, views: Sequence[View]) -> tuple[PolicyChange, ...]:
    """Compare the own policy of each relay with the accepted one.

    A relay without an accepted policy, or one that does not enforce its options yet, is left
    out. Raises InvalidFileError.
    """
    return _compared(host, _observed(host, views), _recorded(host)).changes


def present(host: Host, views: Sequence[View]) -> dict[str, Values | None]:
    """Return the own policy of each relay, by name, without the rules that decide nothing.

    None where it is not known now. Raises InvalidFileError.
    """
    found: dict[str, Values | None] = dict.fromkeys(view.name for view in views)
    for each in _observed(host, views):
        rules = own_policies.rules_of(each.values, _path(host))
        used = Decisions(rules).used()
        found[each.relay] = own_policies.values_of(
            tuple(rule for index, rule in enumerate(rules) if index in used)
        )
    return found


def watch(host: Host, applied: Applied) -> tuple[PolicyChange, ...]:
    """Record the policies of new relays, and write new changes to the history.

    Returns the changes that the apply has repaired: a reload undoes what was set at run time.
    `changes` returns all others. Raises InvalidFileError, LockTimeoutError.
    """
    observed = _observed(host, applied.views)
    recorded = _recorded(host)
    compared = _compared(host, observed, recorded)
    repaired = _repaired(host, applied, compared, recorded)
    if not compared.updated and not repaired:
        return ()
    with lock(ledger_lock_path(host.config.ledger), seconds=WAIT_SECONDS, doing=_DOING):
        # Again: another exitpol may have accepted or reported a policy in between.
        recorded = _recorded(host)
        compared = _compared(host, observed, recorded)
        if compared.updated:
            own_policies.save(_path(host), {**recorded, **compared.updated})
        _write_history(host, "policy-changed", compared.sentences)
        sentences = {change.relay: (*change.difference.sentences, _REPAIRED) for change in repaired}
        _write_history(host, "policy-changed", sentences)
    return repaired


def _repaired(
    host: Host, applied: Applied, compared: "_Compared", recorded: Mapping[str, OwnPolicy]
) -> tuple[PolicyChange, ...]:
    """Return the changes that were there before the reload and are not there any more."""
    before = [view for plan in applied.plans for view in plan.views if not view.settled]
    former = {relay.name: plan.installed for plan in applied.plans for relay in plan.relays}
    still = {change.relay for change in compared.changes}
    found = []
    for each in _observed(host, before, former):
        known = recorded.get(each.relay)
        # A change that was reported before was in the files, which have been corrected.
        if known is not None and known.reported is None and each.relay not in still:
            difference = _compare(host, each, known.accepted)
            if difference:
                found.append(PolicyChange(each.relay, difference))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The relays whose own policy was recorded as the accepted one."""

    changes: Mapping[str, Difference | None]
    """The difference from the former accepted policy by relay name; None if there was none."""
    left_out: tuple[str, ...]
    """The relays that are not in sync, whose own policy is therefore not known."""

    @property
    def exit_code(self) -> ExitCode:
        """The exit code of `policy accept`: 3 if a relay was left out."""
        return ExitCode.ATTENTION if self.left_out else ExitCode.DONE


def accept(host: Host, views: Sequence[View]) -> Accepted:
    """Record the own policies as the accepted ones. Raises InvalidFileError, LockTimeoutError."""
    observed = [each for each in _observed(host, views) if each.in_sync]
    accepted: dict[str, Difference | None] = {}
    with lock(ledger_lock_path(host.config.ledger), seconds=WAIT_SECONDS, doing=_DOING):
        try:
            recorded = _recorded(host)
        except InvalidFileError:
            # What cannot be read is replaced by what is accepted now.
            recorded = {}
        for each in observed:
            known = recorded.get(each.relay)
            accepted[each.relay] = None if known is None else _compare(host, each, known.accepted)
        updated = {each.relay: OwnPolicy(each.values) for each in observed}
        if any(recorded.get(name) != policy for name, policy in updated.items()):
            own_policies.save(_path(host), {**recorded, **updated})
            sentences = {name: found.sentences for name, found in accepted.items() if found}
            _write_history(host, "policy-accepted", sentences)
    left_out = tuple(view.name for view in views if view.name not in accepted)
    return Accepted(accepted, left_out)


def _path(host: Host) -> Path:
    return own_policies.path_beside(host.config.ledger)


def _recorded(host: Host) -> dict[str, OwnPolicy]:
    return own_policies.load(_path(host))


def _observed(
    host: Host, views: Sequence[View], former: Mapping[str, tuple[Entry, ...]] | None = None
) -> list[_Observed]:
    """Return the own policies of the relays that enforce their options.

    `former` are the fragments that were installed when the views were made, by relay name; the
    installed ones if it is None.
    """
    ledger = host.best_known_ledger()
    relays = {relay.name: relay for relay in host.relays}
    found = []
    for view in views:
        if former is None:
            installed = fragment.rules_of(fragment.read(relays[view.name].fragment) or "")
        else:
            installed = former.get(view.name, ())
        base = base_rules(ledger, [relays[view.name]])
        values = _own_policy(view, installed, base)
        if values is not None:
            local = () if view.running is None else view.running.local
            found.append(_Observed(view.name, values, view.settled, local))
    return found


def _own_policy(view: View, installed: tuple[Entry, ...], base: Sequence[Rule]) -> Values | None:
    """Return the own policy of a relay; None if it does not enforce its options now.

    `base` is the base policy at the end of the fragment, which belongs to the own policy. Of a
    relay without a control port, it is the policy that it has read.
    """
    tor: Running | Unobserved
    if view.running is not None and view.running.settled:
        # The addresses of the relay's interfaces change without the operator: they do not count.
        tor, options = replace(view.running, local=()), view.running.options
    elif view.unobserved is not None and view.settled and view.configured is not None:
        tor, options = view.unobserved, view.configured.options
    else:
        return None
    candidates = [installed] if view.configured is None else [view.configured.fragment, installed]
    # The longer one first: a fragment from which blocks were removed is part of the former one.
    for rules in sorted(candidates, key=len, reverse=True):
        if (start := options.position(rules)) is not None:
            kept = tuple(base) if base and rules[-len(base) :] == tuple(base) else ()
            options = _replaced(options, start, start + len(rules), kept)
            for _ in range(1, 1 if view.configured is None else view.configured.copies):
                options = options.without(rules)
            break
    policy = tor.policy_of(options)
    return None if policy is None else own_policies.values_of(policy)


def _replaced(
    options: ExitOptions, start: int, end: int, entries: tuple[Entry, ...]
) -> ExitOptions:
    before, after = options.exit_policy[:start], options.exit_policy[end:]
    return replace(options, exit_policy=(*before, *entries, *after))


def _compare(host: Host, observed: _Observed, accepted: Values) -> Difference:
    if accepted == observed.values:
        return Difference((), ())
    # Tor may still run the rule of a block that has just ended: it is not an own rule.
    recently = host.clock() - timedelta(hours=1)
    blocked = [
        block.destination
        for block in host.best_known_ledger().blocks
        if block.ended is None or block.ended > recently
    ]
    return compare(
        own_policies.rules_of(accepted, _path(host)),
        own_policies.rules_of(observed.values, _path(host)),
        ignoring=[*blocked, *(rule.destination for rule in observed.local)],
    )


@dataclass(frozen=True, slots=True)
class _Compared:
    """What a comparison of all relays found."""

    changes: tuple[PolicyChange, ...]
    updated: dict[str, OwnPolicy]
    """The records that are to be written, by relay name."""
    sentences: dict[str, tuple[str, ...]]
    """What the history does not say yet, by relay name."""


def _compared(
    host: Host, observed: Sequence[_Observed], recorded: Mapping[str, OwnPolicy]
) -> _Compared:
    found: list[PolicyChange] = []
    updated: dict[str, OwnPolicy] = {}
    sentences: dict[str, tuple[str, ...]] = {}
    for each in observed:
        known = recorded.get(each.relay)
        if known is None:
            if each.in_sync:
                updated[each.relay] = OwnPolicy(each.values)
            continue
        difference = _compare(host, each, known.accepted)
        if difference:
            found.append(PolicyChange(each.relay, difference))
            if known.reported != each.values:
                updated[each.relay] = replace(known, reported=each.values)
                sentences[each.relay] = difference.sentences
        elif known.reported is not None:
            updated[each.relay] = replace(known, reported=None)
            sentences[each.relay] = (_ACCEPTED_AGAIN,)
    return _Compared(tuple(found), updated, sentences)


def _write_history(
    host: Host, action: history.PolicyAction, sentences: Mapping[str, Sequence[str]]
) -> None:
    for relay, words in sentences.items():
        hooks.record_policy(host, action, f"{relay}: {'; '.join(words)}")
