"""Which changes of a fragment may wait for the next batch.

A fragment changes as a whole. It waits only if every difference between its installed and its
planned rules comes from blocks of lists or of the guard. So the fragment holds at each moment what
was desired at one moment, and a change that is due at once takes along all others.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from exitpolicy.core.block import Block
from exitpolicy.core.destination import Destination
from exitpolicy.policy.evaluate import Decisions, same_meaning
from exitpolicy.policy.minimize import fewest_rules
from exitpolicy.policy.rule import Rule


@dataclass(frozen=True, slots=True)
class Urgent:
    """The blocks whose changes do not wait: those of the operator, and these."""

    destinations: Collection[Destination] = ()
    everything: bool = False

    def __contains__(self, block: Block) -> bool:
        return self.everything or not block.source or block.destination in self.destinations

    def __bool__(self) -> bool:
        """Tell whether a block of a list may be urgent."""
        return self.everything or bool(self.destinations)


NOTHING_URGENT: Final = Urgent()
EVERYTHING_URGENT: Final = Urgent(everything=True)


@dataclass(frozen=True, slots=True)
class Postponed:
    """How the blocks that a fragment holds differ from the desired ones while it waits."""

    added: frozenset[Destination] = frozenset()
    """The blocks that it does not hold yet."""
    removed: frozenset[Destination] = frozenset()
    """The ended blocks that it still holds."""


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a fragment, and the blocks that may have led to it."""

    installed: Sequence[Rule]
    planned: Sequence[Rule]
    present: Sequence[Block]
    """The blocks that the fragment is to hold."""
    released: Sequence[Block]
    """The blocks that it is to hold no more, if it does."""
    widens: bool = False
    """Whether rules for lists may also reject addresses that no block names."""

    def postponed(self, urgent: Urgent = NOTHING_URGENT) -> Postponed | None:
        """Return what waits if the change does; None for one that is due at once."""
        if urgent.everything or _accepting(self.installed) != _accepting(self.planned):
            return None
        before, after = Decisions(self.installed), Decisions(self.planned)
        added = _differing(self.present, before, after)
        removed = _differing(self.released, after, before)
        if any(block in urgent for block in (*added, *removed)):
            return None
        found = [block.destination for block in (*added, *removed)]
        if self.widens:
            found += self._around(before, after)
        # What else differs comes from no known block: a hand edit has deleted it, for example.
        different = fewest_rules(found)
        if not same_meaning((*different, *self.installed), (*different, *self.planned)):
            return None
        return Postponed(
            frozenset(block.destination for block in added),
            frozenset(block.destination for block in removed),
        )

    def _around(self, before: Decisions, after: Decisions) -> Iterator[Destination]:
        """Yield what changed rules reject around blocks of lists."""
        changed = set(self.installed) ^ set(self.planned)
        rules = {
            decisions.rules[index]
            for block in (*self.present, *self.released)
            if block.source
            for decisions in (before, after)
            for index in decisions.deciding(block.destination)
            if index >= 0
        }
        yield from (rule.destination for rule in rules & changed if not rule.accept)


def _accepting(rules: Sequence[Rule]) -> list[Rule]:
    """Return the accept rules, which come from a base policy."""
    return [rule for rule in rules if rule.accept]


def _differing(blocks: Sequence[Block], without: Decisions, having: Decisions) -> list[Block]:
    """Return the blocks that one policy rejects, and another one does not."""
    return [
        block
        for block in blocks
        if having.rejects(block.destination) and not without.rejects(block.destination)
    ]
