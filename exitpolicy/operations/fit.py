"""What each choice would make of blocks that do not all fit into a descriptor."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from exitpolicy.core.block import Block, Blocks
from exitpolicy.core.errors import InvalidFileError, UsageError
from exitpolicy.operations import apply, refusals
from exitpolicy.operations.choosing import choosing
from exitpolicy.operations.fitting import effective, gauges, space
from exitpolicy.operations.host import Host
from exitpolicy.operations.planning import FragmentPlan, base_rules
from exitpolicy.policy.fit import Fitted, first_that_fit
from exitpolicy.storage import config as config_file
from exitpolicy.storage import config_edit, files
from exitpolicy.storage.config import FitChoice
from exitpolicy.storage.ledger_file import Ledger
from exitpolicy.storage.locks import WAIT_SECONDS, apply_lock_path, lock


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a choice makes of the blocks on the relays of one fragment."""

    relays: tuple[str, ...]
    choice: FitChoice
    blocks: int
    """The number of blocks that are for the relays and take space in a descriptor."""
    budget: int
    """The bytes that the rules of blocks may take in the descriptor."""
    fitted: Fitted


def outcomes(
    host: Host,
    choices: Sequence[FitChoice],
    relays: Sequence[str] = (),
    added: Sequence[Block] = (),
) -> list[Outcome]:
    """Return what each choice would make of the blocks of each relay that is an exit.

    The blocks are those of the ledger and the ones `added`. Raises UsageError for an unknown relay,
    and where no relay is an exit.
    """
    named = host.relays_here(relays)
    # The plan is made for what it observes. With this choice it takes the least time.
    plain = replace(host, config=host.config._replace(fit=FitChoice.LEAVE_OUT))
    ledger = host.ledger()
    if added:
        new = {block.destination for block in added}
        kept = (block for block in ledger.blocks if block.destination not in new)
        ledger = replace(ledger, blocks=Blocks.of([*kept, *added]))
    found: list[Outcome] = []
    for plan in apply.plan(plain, ledger):
        if not named or any(relay.name in named for relay in plan.relays):
            found += _outcomes_on(host, ledger, plan, choices)
    if not found:
        raise UsageError(
            "no relay is an exit whose files Tor accepts: there is nothing to fit",
            hint="to see why: exitpol doctor",
        )
    return found


def _outcomes_on(
    host: Host, ledger: Ledger, plan: FragmentPlan, choices: Sequence[FitChoice]
) -> Iterator[Outcome]:
    on = gauges(plan.views)
    if not on:
        return
    base = base_rules(ledger, plan.relays)
    allowed = [one for one in plan.blocks if refusals.forbidden(host.config, one) is None]
    blocks = effective(on, base, allowed)
    budget, room = space(on, base)
    names = tuple(relay.name for relay in plan.relays)
    for choice in choices:
        how = choosing(host.config, choice, plan.views, ledger.blocks, plan.blocks)
        if choice is FitChoice.REFUSE:
            fitted = first_that_fit(how.candidates(blocks), budget)
        else:
            fitted = how.fitted(blocks, budget, room)
        yield Outcome(names, choice, len(blocks), budget, fitted)


def forecast(host: Host, added: Sequence[Block], relay: str) -> str:
    """Return what `leave-out` would make of blocks that a relay has no room for, as a hint."""
    if not all(block.source for block in added):
        return "of a list with a --source, exitpol fit can leave out what does not fit"
    found = outcomes(host, [FitChoice.LEAVE_OUT], [relay], added)[0].fitted
    kept = sum(block.destination not in found.left_out for block in added)
    return f"to block {kept:,} of the {len(added):,}: exitpol fit --use leave-out, and again"


def use(host: Host, choice: FitChoice) -> None:
    """Write a choice into the config. Raises InvalidFileError, LockTimeoutError."""
    path = host.config.source
    if path is None:
        raise InvalidFileError(
            f"there is no config to write the choice into, {config_file.DEFAULT_PATH}",
            hint="to write one: exitpol init",
        )
    with lock(apply_lock_path(host.config.ledger), seconds=WAIT_SECONDS, doing="talking to Tor"):
        content = files.read(path, "config", limit=config_file.MAX_BYTES)
        desired = config_file.parse(path, content)._replace(fit=choice)
        files.replace(path, config_edit.edited(path, content, desired), follow=True)
