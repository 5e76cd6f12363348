"""The desired state: the blocks in force and the rules that enforce them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from exitpolicy.core.block import Blocks, State
from exitpolicy.core.clock import Time
from exitpolicy.operations.planning import base_rules, concerns
from exitpolicy.policy.minimize import fewest_rules
from exitpolicy.policy.rule import Rule
from exitpolicy.storage.config import Relay
from exitpolicy.storage.ledger_file import Ledger
from exitpolicy.tor import fragment


@dataclass(frozen=True, slots=True)
class Desired:
    """The blocks in force by ledger and clock, and the rules that enforce them."""

    blocks: Blocks
    """The blocks in force."""
    rules: tuple[Rule, ...]
    """The rules of the fragment: the fewest for the blocks, then those of the base policy."""

    @property
    def text(self) -> str:
        """The text of the fragment."""
        return fragment.render(self.rules)


def desired(ledger: Ledger, time: Time, relays: Sequence[Relay] = ()) -> Desired:
    """Return the desired state of a ledger at a time: of some relays, or of all if none is given.

    Raises UsageError for an unknown policy.
    """
    blocks = Blocks.of(
        block
        for block in ledger.blocks
        if time.enforces(block) and (not relays or concerns(block, relays))
    )
    rules = fewest_rules(block.destination for block in blocks)
    return Desired(blocks, (*rules, *base_rules(ledger, relays)))


def due(ledger: Ledger, time: Time, states: Mapping[str, str]) -> Blocks:
    """Return the blocks that the next tick will lift, and that Tor enforces until then.

    `states` are those of the last observation, by the destination's canonical text.
    """
    return Blocks.of(
        block
        for block in ledger.blocks
        if block.is_due(time.now)
        and not time.enforces(block)
        and states.get(str(block.destination), State.LIFTING) != State.LIFTING
    )


def with_due(ledger: Ledger, waiting: Blocks) -> Ledger:
    """Return the ledger as if due blocks had not ended: as the last tick left the relays."""
    if not waiting:
        return ledger
    lasting = {block.destination: block._replace(until=None) for block in waiting}
    return replace(ledger, blocks=Blocks({**ledger.blocks.by_destination, **lasting}))
