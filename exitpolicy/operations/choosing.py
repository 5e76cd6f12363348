"""How to choose among blocks that do not all fit, as `fit:` in the config says."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from exitpolicy.core.block import Block, Blocks
from exitpolicy.core.destination import Destination
from exitpolicy.core.ports import Interval, overlap
from exitpolicy.core.shared_fronts import WEB_PORTS
from exitpolicy.policy.reconcile import View
from exitpolicy.storage import shared_fronts
from exitpolicy.storage.config import Config, FitChoice

# Imported where a choice is made: every command imports this module, and few have to choose.
if TYPE_CHECKING:
    from exitpolicy.policy.fit import Fitted
    from exitpolicy.policy.fit_trees import Candidate
    from exitpolicy.policy.prefix_tree import AddressSet


class Choosing(NamedTuple):
    """How to choose."""

    choice: FitChoice
    priorities: tuple[tuple[str, int], ...]
    """The priority of lists by their name."""
    shortest: int
    """The shortest prefix of a widened rule."""
    off_limits: tuple[Destination, ...] = ()
    """What no widened rule may reject."""

    def fitted(self, blocks: Sequence[Block], budget: int, room: int) -> "Fitted":
        """Return what fits into `budget` bytes of a descriptor.

        Widened rules reject at most `room` addresses.
        """
        from exitpolicy.policy import fit  # noqa: PLC0415 - as above
        from exitpolicy.policy.fit_trees import Widening  # noqa: PLC0415

        candidates = self.candidates(blocks)
        if self.choice is not FitChoice.OVER_BLOCK:
            return fit.leave_out(candidates, budget)
        return fit.widen(candidates, budget, Widening(self.shortest, self._free, room))

    def candidates(self, blocks: Sequence[Block]) -> "list[Candidate]":
        """Return blocks with their ranks."""
        from exitpolicy.policy.fit_trees import Candidate  # noqa: PLC0415 - as above

        ranks = ranks_of(blocks, dict(self.priorities))
        return [Candidate(block.destination, ranks[block.source]) for block in blocks]

    def _free(self, ports: Interval) -> "AddressSet":
        """Return the addresses that no widened rule for some ports may reject."""
        from exitpolicy.policy.prefix_tree import AddressSet  # noqa: PLC0415 - as above

        return AddressSet(
            (part.first, part.last)
            for one in self.off_limits
            if overlap(one.ports, (ports,))
            for part in one.ranges
            if part.family == 4
        )


def ranks_of(blocks: Iterable[Block], priorities: Mapping[str, int]) -> dict[str, int]:
    """Return the rank of the blocks of each source: the operator's 0, then lists by priority."""
    sources = {block.source for block in blocks} - {""}
    highest = {
        source: max((priorities.get(name, 0) for name in source.split()), default=0)
        for source in sources
    }
    places = {
        priority: place
        for place, priority in enumerate(sorted(set(highest.values()), reverse=True), start=1)
    }
    return {"": 0} | {source: places[priority] for source, priority in highest.items()}


def choosing(
    config: Config,
    choice: FitChoice,
    views: Iterable[View],
    ledger: Blocks,
    in_force: Blocks,
) -> Choosing:
    """Return how to choose for a fragment, given its relays, all blocks and those in force there.

    Widened rules spare protected and shared addresses, those of the relays, and those of every
    block that is not in force: a lifted destination is accepted again.
    """
    priorities = tuple(sorted(config.priorities.items()))
    if choice is not FitChoice.OVER_BLOCK:
        return Choosing(choice, priorities, config.max_prefix[4])
    spared = [
        *config.protected,
        *(
            rule.destination
            for view in views
            if view.running is not None
            for rule in view.running.local
        ),
        *(
            Destination(known.family, known.first, known.last, WEB_PORTS)
            for known, _ in shared_fronts.load(config).ranges
        ),
        *(block.destination for block in ledger if block.destination not in in_force),
    ]
    return Choosing(choice, priorities, config.max_prefix[4], tuple(spared))
