"""Read-only queries of the running Tors: what they reject, and their status."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from exitpolicy.core.block import Block, Blocks, State
from exitpolicy.core.destination import Destination
from exitpolicy.core.errors import ExitCode, ExitpolError, TorUnreachableError
from exitpolicy.operations import apply
from exitpolicy.operations.desired import due, with_due
from exitpolicy.operations.host import Host
from exitpolicy.operations.parallel import in_parallel
from exitpolicy.policy.evaluate import Decisions
from exitpolicy.policy.limits import Limits, measure
from exitpolicy.policy.reconcile import View
from exitpolicy.policy.rule import Rule
from exitpolicy.storage import observed
from exitpolicy.storage.config import Relay
from exitpolicy.storage.ledger_file import Ledger
from exitpolicy.tor import fragment, inspect
from exitpolicy.tor.inspect import Candidate

Verdict = Literal["rejected", "accepted", "partly"]


@dataclass(frozen=True, slots=True)
class Checked:
    """How one relay treats connections to a destination."""

    relay: str
    destination: Destination
    verdict: Verdict
    deciding: tuple[Rule, ...]
    """The rules of the enforced policy that decide, in order."""
    blocks: tuple[Block, ...]
    """The blocks behind the rejecting rules."""
    observed: bool = True
    """Whether Tor said so; without a control port only the files that it has read say so."""


@dataclass(frozen=True, slots=True)
class Status:
    """The relays as they are now, and the ledger."""

    applied: apply.Applied
    blocks: Blocks
    """All blocks of the ledger."""
    next_expiry: datetime | None
    fragment_changed: bool
    """Whether an installed fragment differs from the desired one."""

    @property
    def exit_code(self) -> ExitCode:
        """The exit code of `status --check`."""
        if self.applied.problems:
            return self.applied.problems[0].exit_code
        shadowed = State.SHADOWED in self.applied.states.values()
        if shadowed or self.fragment_changed or not self.applied.settled:
            return ExitCode.ATTENTION
        return ExitCode.DONE

    @property
    def unreachable_code(self) -> ExitCode:
        """The exit code of `status` without --check: why a Tor could not be asked, or 0."""
        errors = (view.unreachable for view in self.applied.views)
        return next((error.exit_code for error in errors if error is not None), ExitCode.DONE)


@dataclass(frozen=True, slots=True)
class Checks:
    """How relays treat connections to destinations."""

    results: tuple[Checked, ...]
    problems: tuple[ExitpolError, ...]
    """Why the other relays did not tell."""

    @property
    def exit_code(self) -> ExitCode:
        """0 if every relay rejects every destination wholly; else the code of the reason."""
        if self.problems:
            return self.problems[0].exit_code
        safe = all(result.verdict == "rejected" for result in self.results)
        return ExitCode.DONE if safe else ExitCode.ATTENTION


def check(host: Host, destinations: Sequence[Destination], relays: Sequence[str] = ()) -> Checks:
    """Return how each relay, or each of those named, treats each destination.

    Raises UsageError for an unknown relay. If no relay tells, raises why the first does not:
    TorUnreachableError for one that does not answer or has no policy yet.
    """
    named = host.relays_here(relays)
    asked = [relay for relay in host.some_relays() if not named or relay.name in named]
    time = host.time()
    ledger = host.ledger()
    ledger = with_due(ledger, due_now(host, ledger))
    blocks = host.here(time.enforced(ledger.blocks))

    def inspected(relay: Relay) -> View:
        text = fragment.read(relay.fragment) or ""
        return inspect.inspect_relay(
            relay,
            Candidate(relay.fragment, text, fragment.rules_of(text)),
            record=host.last_read_path,
        )

    results: list[Checked] = []
    problems: list[ExitpolError] = []
    for view in in_parallel(inspected, asked):
        try:
            results += _checked(view, destinations, blocks)
        except ExitpolError as error:
            problems.append(error.about(view.name))
    if problems and not results:
        raise problems[0]
    return Checks(tuple(results), tuple(problems))


def status(host: Host) -> Status:
    """Inspect every relay. Raises InvalidFileError for an invalid ledger.

    Blocks that the next tick will lift are expected to be enforced until then.
    """
    ledger = host.ledger()
    waiting = due_now(host, ledger)
    applied = _with_due(apply.preview(host, with_due(ledger, waiting)), waiting)
    behind = any(plan.is_behind for plan in applied.plans)
    return Status(applied, ledger.blocks, next_expiry(applied), behind)


def next_expiry(applied: apply.Applied) -> datetime | None:
    """Return when the next block in force ends; None if none does."""
    now = applied.time.now
    ends = (block.until for block in applied.blocks if block.until and block.until > now)
    return min(ends, default=None)


def due_now(host: Host, ledger: Ledger) -> Blocks:
    """Return the blocks that the next tick will lift."""
    last = observed.load(host.state_path)
    return Blocks.of() if last is None else due(ledger, host.time(), last.states)


def _with_due(applied: apply.Applied, waiting: Blocks) -> apply.Applied:
    """Return a preview in which due blocks are due, on relays that answer."""
    states = {
        destination: State.DUE if destination in waiting and state is not State.UNKNOWN else state
        for destination, state in applied.states.items()
    }
    mixed = {d: on for d, on in applied.mixed.items() if d not in waiting}
    return replace(applied, states=states, mixed=mixed)


def limits_of(view: View) -> Limits | None:
    """Return what the enforced policy uses of each limit; None for a relay that is no exit."""
    running = view.running
    if running is None or running.enforced is None or not running.options.exits:
        return None
    return measure(running.enforced, running.descriptor)


def _policy(view: View) -> tuple[Rule, ...]:
    """Return the policy that a relay enforces, or has read. Raises ExitpolError."""
    if view.policy is not None:
        return view.policy
    if view.unobserved is not None:
        raise view.broken or TorUnreachableError(
            f"Tor ({view.name}) has not read its files as they are now, and has no control port"
            " that says what it enforces",
            hint="exitpol apply",
        )
    if view.running is None:
        raise view.unreachable or TorUnreachableError(f"Tor ({view.name}) cannot be reached")
    raise TorUnreachableError(
        f"Tor ({view.name}) has no exit policy yet: {view.running.problem}",
        hint="wait a second after its start, then try again",
    )


def _checked(view: View, destinations: Sequence[Destination], blocks: Blocks) -> Iterator[Checked]:
    decisions = Decisions(_policy(view))
    for destination in destinations:
        deciding = decisions.deciding(destination)
        accepted = {decisions.accepts(index) for index in deciding}
        verdict: Verdict = "partly"
        if len(accepted) == 1:
            verdict = "accepted" if accepted.pop() else "rejected"
        rules = tuple(decisions.rules[index] for index in deciding if index >= 0)
        yield Checked(
            view.name,
            destination,
            verdict,
            rules,
            tuple(
                block
                for block in blocks
                if block.destination.overlaps(destination)
                and block.is_for(view.name)
                and any(not r.accept and r.destination.overlaps(block.destination) for r in rules)
            ),
            view.unobserved is None,
        )
