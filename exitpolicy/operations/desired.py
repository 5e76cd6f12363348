"""What the ledger and the clock want of the fragment. Talks to nobody."""

from dataclasses import dataclass

from exitpolicy.core.block import Blocks
from exitpolicy.core.clock import Time
from exitpolicy.policy.minimize import fewest_rules
from exitpolicy.storage import base_policies
from exitpolicy.storage.ledger_file import Ledger
from exitpolicy.tor import fragment


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the ledger and the clock want."""

    blocks: Blocks
    """Those in force."""
    rules: tuple[str, ...]
    """The fragment's rules: the fewest for the blocks, then the base policy's."""

    @property
    def text(self) -> str:
        """The fragment's text."""
        return fragment.render(self.rules)


def wanted(ledger: Ledger, time: Time) -> Wanted:
    """Return what a ledger wants at a time. Raises UsageError for an unknown base policy."""
    blocks = Blocks.of(block for block in ledger.blocks if time.wants(block))
    rules = [rule.in_torrc for rule in fewest_rules(block.destination for block in blocks)]
    if ledger.policy is not None:
        rules += base_policies.load(ledger.policy).rules
    return Wanted(blocks, tuple(rules))
