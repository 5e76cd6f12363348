"""What is blocked, what is enforced and what would be: questions that change nothing."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from exitpolicy.core.block import Block, Blocks
from exitpolicy.core.destination import Destination
from exitpolicy.core.errors import TorUnreachableError
from exitpolicy.operations import apply
from exitpolicy.operations.clock import present
from exitpolicy.operations.desired import wanted
from exitpolicy.operations.host import Host
from exitpolicy.operations.parallel import at_once
from exitpolicy.operations.refusals import former_rules
from exitpolicy.policy.evaluate import Decisions
from exitpolicy.policy.reconcile import View
from exitpolicy.policy.rule import Rule
from exitpolicy.tor import fragment, inspect
from exitpolicy.tor.inspect import Candidate

Verdict = Literal["rejected", "accepted", "partly"]


@dataclass(frozen=True, slots=True)
class Checked:
    """What one exit would do with connections to a destination."""

    relay: str
    destination: Destination
    verdict: Verdict
    deciding: tuple[Rule, ...]
    """The rules of the enforced policy that decide it, in order."""
    blocks: tuple[Block, ...]
    """The blocks behind those of them that reject."""


@dataclass(frozen=True, slots=True)
class Status:
    """Each relay as it is now, and what the ledger says."""

    applied: apply.Applied
    blocks: Blocks
    """All blocks of the ledger."""
    next_expiry: datetime | None
    fragment_changed: bool
    """Whether the installed fragment is not what is wanted."""


def check(host: Host, destinations: Sequence[Destination]) -> list[Checked]:
    """Return what each exit of the host would do with each destination.

    Raises TorUnreachableError if one of them does not say.
    """
    time = present(host)
    want = wanted(host.ledger(), time)
    installed = fragment.read(host.config.fragment) or ""
    candidate = Candidate(host.config.fragment, installed, former_rules(installed))
    views = at_once(lambda relay: inspect.at(relay, candidate), host.some_relays())
    return [result for view in views for result in _checked(view, destinations, want.blocks)]


def status(host: Host) -> Status:
    """Look at every relay. Raises InvalidFileError if the ledger is none."""
    ledger = host.ledger()
    applied = apply.observe(host, ledger)
    now = applied.time.now
    ends = [block.until for block in applied.wanted.blocks if block.until and block.until > now]
    return Status(
        applied, ledger.blocks, min(ends, default=None), applied.former != applied.wanted.text
    )


def _checked(view: View, destinations: Sequence[Destination], blocks: Blocks) -> Iterator[Checked]:
    if view.running is None:
        raise view.unreachable or TorUnreachableError(f"Tor ({view.name}) cannot be reached")
    if view.running.enforced is None:
        raise TorUnreachableError(
            f"Tor ({view.name}) has no exit policy yet: {view.running.problem}",
            hint="it takes a second after its start; then try again",
        )
    decisions = Decisions(view.running.enforced)
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
                and any(not r.accept and r.destination.overlaps(block.destination) for r in rules)
            ),
        )
