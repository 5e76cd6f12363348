"""Batches: which changes wait, for how long, and that no promise waits."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from exitpolicy.core.block import Block, Blocks
from exitpolicy.core.destination import Destination, parse_destination
from exitpolicy.core.pace import Pace
from exitpolicy.policy.batching import (
    EVERYTHING_URGENT,
    NOTHING_URGENT,
    Change,
    Postponed,
    Urgent,
)
from exitpolicy.policy.evaluate import Decisions, same_meaning
from exitpolicy.policy.minimize import fewest_rules
from exitpolicy.policy.rule import Rule, parse_rule
from tests.strategies import destinations

START = datetime(2026, 11, 26, 12, tzinfo=UTC)
INTERVAL = 600.0


def block(text: str, source: str = "") -> Block:
    """Return a block of a destination."""
    return Block(parse_destination(text), START, None, source=source)


def rules(*blocks: Block) -> tuple[Rule, ...]:
    """Return the rules of blocks."""
    return fewest_rules(one.destination for one in blocks)


LISTED = block("198.51.100.0/24", "drop")
OTHER = block("192.0.2.7", "guard")
YOURS = block("203.0.113.7:22")
D = {one: one.destination for one in (LISTED, OTHER, YOURS)}


def change(
    before: list[Block], after: list[Block], *, widens: bool = False, base: str = ""
) -> Change:
    """Return the change between two sets of blocks; a base policy is new."""
    more = parse_rule(base) if base else ()
    ended = [one for one in before if one not in after]
    return Change(rules(*before), (*rules(*after), *more), after, ended, widens)


def test_what_lists_and_the_guard_change_waits() -> None:
    """Additions and ends, together or alone."""
    found = change([LISTED, YOURS], [OTHER, YOURS]).postponed()
    assert found == Postponed(frozenset([D[OTHER]]), frozenset([D[LISTED]]))
    assert change([], [LISTED]).postponed() == Postponed(frozenset([D[LISTED]]))


def test_a_change_of_the_operators_waits_for_nothing() -> None:
    """Nor do the others with it: they cost nothing more."""
    assert change([LISTED], [LISTED, YOURS]).postponed() is None
    assert change([LISTED, YOURS], [LISTED]).postponed() is None
    assert change([YOURS], [LISTED]).postponed() is None


def test_a_lift_by_hand_of_a_block_of_a_list_does_not_wait() -> None:
    """Nor does any change that a command asks for."""
    for one in (LISTED, OTHER):
        urgent = Urgent([D[one]])
        assert change([LISTED], [OTHER]).postponed(urgent) is None
    assert change([LISTED], [OTHER]).postponed(Urgent([D[YOURS]])) is not None
    assert change([LISTED], [OTHER]).postponed(EVERYTHING_URGENT) is None


def test_what_no_block_explains_does_not_wait() -> None:
    """A line that was deleted from the ledger, a forbidden block, a base policy."""
    deleted = replace(change([LISTED, OTHER], [LISTED]), released=())
    assert deleted.postponed() is None
    assert change([LISTED], [OTHER], base="accept *:80").postponed() is None
    assert change([LISTED], [OTHER], base="reject *:25").postponed() is None


def test_rules_of_one_meaning_may_wait() -> None:
    """A list names what the operator blocks already: no promise changes."""
    same = Change(rules(LISTED), (*rules(LISTED), *rules(OTHER)[:0]), [LISTED], [])
    assert same.postponed() == Postponed()
    inside = block("198.51.100.7", "drop")
    assert change([LISTED], [LISTED, inside]).postponed() == Postponed()


def test_an_end_inside_of_a_block_that_waits_is_kept() -> None:
    """The operator's block ends at its time, although an ended one of a list covers it."""
    inside = block("198.51.100.7")
    both = replace(change([LISTED], []), released=[LISTED, inside])
    assert both.postponed() is None


def test_rules_around_blocks_of_lists_wait_with_them() -> None:
    """With over-block, addresses that no block names come and go with the list."""
    near = block("198.51.101.9", "drop")
    wide = rules(block("198.51.100.0/23"))
    given_ = Change(rules(LISTED), wide, [LISTED, near], [])
    assert given_.postponed() is None
    assert replace(given_, widens=True).postponed() == Postponed(frozenset([near.destination]))
    # A hand edit is not among them.
    alone = Change((*wide, *rules(YOURS)), wide, [LISTED, near], [], widens=True)
    assert alone.postponed() is None


def test_the_wait_is_the_longest_of_the_relays() -> None:
    """Relays that share a fragment change together."""
    pace = Pace(1000.0).noting(["one"])
    assert pace.wait(["one", "other"], INTERVAL) == INTERVAL
    later = pace._replace(seconds=1200.0).noting(["other"])._replace(seconds=1300.0)
    assert later.wait(["one"], INTERVAL) == 300.0
    assert later.wait(["one", "other"], INTERVAL) == 500.0
    assert later.wait(["third"], INTERVAL) == 0.0
    assert later.wait(["one"], 0.0) == 0.0


@given(
    st.floats(0, 1e9),
    st.dictionaries(st.sampled_from("ab"), st.floats(-1e9, 1e9)),
    st.floats(0, 1e5),
)
def test_nothing_waits_longer_than_the_interval(
    seconds: float, changed: dict[str, float], interval: float
) -> None:
    """Whatever a damaged state says: a moment that lies ahead does not count."""
    pace = Pace(seconds, changed)
    wait = pace.wait("ab", interval)
    assert 0.0 <= wait <= interval
    assert pace._replace(seconds=seconds + wait + 0.02).wait("ab", interval) <= interval - wait
    if all(moment > seconds + 1 for moment in changed.values()):
        assert wait == 0.0


@dataclass
class Fragment:
    """A fragment that changes as the planner changes it."""

    now: float = 0.0
    pace: Pace = field(default_factory=Pace)
    blocks: dict[Destination, Block] = field(default_factory=dict)
    ended: dict[Destination, Block] = field(default_factory=dict)
    installed: tuple[Rule, ...] = ()
    differs_since: float | None = None
    """Since when it is not what is desired."""
    changes_of_batches: list[float] = field(default_factory=list)
    """When it changed although nothing was due at once."""

    @property
    def desired(self) -> tuple[Rule, ...]:
        """The rules of all blocks in force."""
        return rules(*self.blocks.values())

    def apply(self, urgent: Urgent = NOTHING_URGENT) -> None:
        """Apply as the tick does, or a command for which something is urgent."""
        pace = self.pace._replace(seconds=self.now)
        present, ended = list(self.blocks.values()), list(self.ended.values())
        may_wait = Change(self.installed, self.desired, present, ended).postponed(urgent)
        if self.installed != self.desired and not (may_wait and pace.wait(["relay"], INTERVAL)):
            self.installed = self.desired
            self.pace = pace.noting(["relay"])
            self.changes_of_batches += [self.now] * (may_wait is not None)
        if same_meaning(self.installed, self.desired):
            self.differs_since = None
        elif self.differs_since is None:
            self.differs_since = self.now


some_blocks = st.builds(
    lambda destination, source: Block(destination, START, None, source=source),
    destinations(),
    st.sampled_from(["", "list", "guard"]),
)
steps = st.lists(
    st.tuples(some_blocks, st.sampled_from(["block", "end", "lift"]), st.integers(0, 15)),
    max_size=12,
)


@settings(max_examples=100, deadline=None)
@given(steps)
def test_no_promise_waits_and_nothing_waits_longer_than_the_interval(
    given_steps: list[tuple[Block, str, int]],
) -> None:
    """Whatever lists, the guard and the operator do, and whenever; the tick runs every minute."""
    fragment = Fragment()
    for new, what, minutes in given_steps:
        urgent = NOTHING_URGENT
        at_once: Destination | None = None
        if what == "block":
            fragment.blocks = dict(Blocks(fragment.blocks).blocked([new]).by_destination)
            fragment.ended.pop(new.destination, None)
            at_once = None if new.source else new.destination
        elif fragment.blocks:
            old = fragment.blocks.pop(next(iter(fragment.blocks)))
            fragment.ended[old.destination] = old
            urgent = Urgent([old.destination]) if what == "lift" else NOTHING_URGENT
            at_once = old.destination if what == "lift" or not old.source else None
        fragment.apply(urgent)
        if at_once is not None:
            wanted = Decisions(fragment.desired).rejects(at_once)
            assert Decisions(fragment.installed).rejects(at_once) == wanted
        for _ in range(minutes):
            fragment.now += 60.0
            fragment.apply()
            if fragment.differs_since is not None:
                assert fragment.now - fragment.differs_since < INTERVAL
    moments = fragment.changes_of_batches
    assert all(later - earlier >= INTERVAL for earlier, later in pairwise(moments))
