"""Choose what of too many blocks a descriptor holds.

Two choices exist. *Leave out* keeps whole blocks, and no rule covers an address that no block
names. *Widen* also covers addresses between blocks, by prefixes that are wider than the blocks and
not wider than the operator allows. Both serve the blocks by rank: a block gives way only to blocks
of its own rank or of a more important one. Within a rank, the addresses count.

What counts, exactly: the rules for an interval of ports are a tree of prefixes. An address counts
once in each tree in which a block names it. What another block names with more ports does not
count, because a rule for those blocks it too. The result is a proven optimum of that number, or
the gap to a proven bound is stated; see `cover_choice`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from exitpolicy.core.destination import Destination
from exitpolicy.policy.cover_choice import EFFORT, Choice, best_choice, least_cost
from exitpolicy.policy.descriptor import lone_bytes, rules_bytes
from exitpolicy.policy.evaluate import Decisions
from exitpolicy.policy.fit_trees import Candidate, Stage, Trees, Widening, Worth
from exitpolicy.policy.minimize import fewest_rules
from exitpolicy.policy.prefix_tree import size
from exitpolicy.policy.rule import Rule

_TRIED: Final = 20
"""Blocks that are tried for the last bytes of the budget."""
_RATES: Final = range(-16, 17)
"""Exponents of 2: how many other addresses a desired one may cost, where not all fit."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """What a descriptor holds of the blocks."""

    rules: tuple[Rule, ...]
    left_out: frozenset[Destination]
    """The blocks that the rules do not reject, or not wholly."""
    bytes: int
    """The size of the rules in a descriptor."""
    unblocked: int
    """Addresses of the blocks that are left out; see the module about what counts."""
    over_blocked: int = 0
    """Addresses that the rules reject and no block names."""
    gap: int = 0
    """By how many addresses a better choice may at most be better; 0 for a proven optimum."""
    gap_of: Literal["unblocked", "over-blocked"] = "unblocked"
    """What a better choice would lower."""


def first_that_fit(candidates: Sequence[Candidate], budget: int) -> Fitted:
    """Return the first blocks by rank whose rules have at most `budget` bytes.

    Nothing is chosen, so that no gap is known: it is 0.
    """
    order = sorted(candidates, key=lambda one: one.rank)

    def rules(count: int) -> tuple[Rule, ...]:
        return fewest_rules(one.destination for one in order[:count])

    low, high = 0, len(order)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if rules_bytes(rules(middle)) <= budget else (low, middle - 1)
    trees = Trees(order)
    left_out = frozenset(one.destination for one in order[low:])
    unblocked = _unblocked(trees, range(low)) if trees.ranks else 0
    return Fitted(rules(low), left_out, rules_bytes(rules(low)), unblocked)


def leave_out(candidates: Sequence[Candidate], budget: int) -> Fitted:
    """Return the most valuable blocks whose rules have at most `budget` bytes."""
    return _left_out(Trees(candidates), budget)


def _left_out(trees: Trees, budget: int) -> Fitted:
    """Return what `leave_out` returns for the candidates of some trees."""
    exceeding = _exceeding(trees, budget)
    if exceeding is None:
        rules = fewest_rules(one.destination for one in trees.candidates)
        return Fitted(rules, frozenset(), rules_bytes(rules), 0)
    rank, stage = exceeding
    choice = best_choice(stage.forest(rank), budget)
    if choice is None:
        raise AssertionError("the blocks of the more important ranks fit")
    kept, _ = trees.chosen(stage, choice)
    rules, chosen = _filled(trees, kept, budget)
    return Fitted(
        rules,
        _others(trees, chosen),
        rules_bytes(rules),
        _unblocked(trees, chosen),
        gap=max(0, choice.bound - trees.addresses(chosen, rank)),
    )


def _exceeding(trees: Trees, budget: int) -> tuple[int, Stage] | None:
    """Return the first rank that does not fit with all before it; None if everything fits."""
    if not trees.ranks:
        return None
    *before, last = trees.ranks
    whole = trees.stage(last)
    if _fits(whole, last, budget):
        return None
    for rank in before:
        stage = trees.stage(rank)
        if not _fits(stage, rank, budget):
            return rank, stage
    return last, whole


def _fits(stage: Stage, rank: int, budget: int) -> bool:
    """Tell whether all blocks up to a rank fit."""
    return least_cost(stage.forest(rank + 1)) <= budget


def _filled(trees: Trees, kept: Sequence[int], budget: int) -> tuple[tuple[Rule, ...], list[int]]:
    """Return the rules for the blocks that are kept, and all blocks that fit besides them."""
    candidates = trees.candidates
    chosen = [candidates[index].destination for index in kept]
    rules = fewest_rules(chosen)
    room = budget - rules_bytes(rules)
    present = set(kept)
    others = sorted(set(range(len(candidates))) - present, key=lambda i: candidates[i].rank)
    small = [i for i in others if lone_bytes(candidates[i].destination) <= room]
    for index in small[:_TRIED]:
        more = fewest_rules([*chosen, candidates[index].destination])
        if rules_bytes(more) <= budget:
            rules = more
            chosen.append(candidates[index].destination)
    return rules, _rejected(trees, rules, kept)


def _rejected(trees: Trees, rules: Sequence[Rule], kept: Iterable[int]) -> list[int]:
    """Return the candidates that rules reject, given some that they do."""
    present, decisions = set(kept), Decisions(rules)
    return [
        index
        for index, one in enumerate(trees.candidates)
        if index in present or decisions.rejects(one.destination)
    ]


def _others(trees: Trees, chosen: Iterable[int]) -> frozenset[Destination]:
    present = set(chosen)
    return frozenset(
        one.destination for index, one in enumerate(trees.candidates) if index not in present
    )


def _unblocked(trees: Trees, chosen: Sequence[int]) -> int:
    last = trees.ranks[-1]
    every = range(len(trees.candidates))
    return trees.addresses(every, last) - trees.addresses(chosen, last)


def widen(candidates: Sequence[Candidate], budget: int, widening: Widening) -> Fitted:
    """Return rules of at most `budget` bytes that may reject other addresses besides the blocks.

    As many addresses of the blocks are rejected as possible, and as few others.
    """
    trees = Trees(candidates)
    every: tuple[Stage, Choice] | None = None
    for rank in trees.ranks:
        stage = trees.stage(rank, widening)
        # The rules may cover `room` addresses in all.
        least = stage.addresses - widening.room
        choice = best_choice(stage.forest(rank + 1, Worth(0, 1)), budget, least=least)
        if choice is None or _size(stage, choice) > widening.room:
            return _widened_in_part(trees, stage, rank, budget, widening.room)
        every = stage, choice
    if every is None:
        return _left_out(trees, budget)
    stage, choice = every
    return _result(trees, stage, choice, choice.bound - choice.value, "over-blocked")


def _widened_in_part(trees: Trees, stage: Stage, rank: int, budget: int, room: int) -> Fitted:
    """Widen where the blocks of a rank do not all fit.

    A desired address may cost a number of others. The highest number is taken with which the rules
    cover at most `room` addresses.
    """

    def choice_at(rate: int, effort: int) -> tuple[Choice | None, int]:
        exponent = _RATES[rate]
        worth = Worth(1 << max(0, exponent), 1 << max(0, -exponent))
        choice = best_choice(stage.forest(rank, worth), budget, effort)
        fits = choice is not None and _size(stage, choice) <= room
        return choice if fits else None, worth.desired

    low, high = 0, len(_RATES)
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if choice_at(middle, 0)[0] else (low, middle)
    if low == 0:
        return _left_out(trees, budget)
    choice, value = choice_at(low - 1, EFFORT)
    if choice is None:
        # The better choice covers too many addresses.
        choice, value = choice_at(low - 1, 0)
    if choice is None:
        return _left_out(trees, budget)
    return _result(trees, stage, choice, (choice.bound - choice.value) // value, "unblocked")


def _size(stage: Stage, choice: Choice) -> int:
    return sum(size(stage.lines[node][pick]) for node, pick in choice.picks)


def _result(
    trees: Trees,
    stage: Stage,
    choice: Choice,
    gap: int,
    gap_of: Literal["unblocked", "over-blocked"],
) -> Fitted:
    kept, lines = trees.chosen(stage, choice)
    # Rules for IPv6 take no bytes.
    free = [
        trees.candidates[index].destination
        for index in kept
        if trees.candidates[index].destination.family != 4
    ]
    # Two widened rules that adjoin stay two: together they would be wider than is allowed.
    rules = tuple(sorted({*(line.unit.rule for line in lines), *fewest_rules(free)}))
    chosen = kept if len(kept) == len(trees.candidates) else _rejected(trees, rules, kept)
    return Fitted(
        rules,
        _others(trees, chosen),
        rules_bytes(rules),
        _unblocked(trees, chosen),
        sum(line.unit.size - line.desired for line in lines),
        gap,
        gap_of,
    )
