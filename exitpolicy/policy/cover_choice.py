"""Choose covers on a forest within a budget, for the greatest value.

A node of the forest has covers, each with a value and a cost. A choice selects nodes of which none
is below another, and one cover of each. A required node must be selected, or be below a selected
one. The value of a choice is the sum of those of its covers, and its cost must not exceed the
budget.

Method. For a multiplier L, one pass from the leaves to the roots finds the choice that maximizes
value - L * cost. Two such choices, one within the budget and one beyond it, give the next L: the
slope between them. When no choice lies above the line through both, L is the one that minimizes
the Lagrangian dual, and the line at the budget bounds the value of every choice. The two choices
differ in nodes where both are best for L; the costs of these fill the budget as a sum of subsets.
What remains is closed by a search among the choices whose loss against the bound is smaller than
the gap. It is exact unless it is cut short; then the bound of the line stands.

Numbers are integers, and L is a ratio of integers, so that no result depends on rounding.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

RECURSE: Final = -1
"""The pick of a node that is not selected itself."""

_STATES: Final = 800
"""How many costs the search keeps for a node."""
EFFORT: Final = 300_000
"""How many combinations the search makes: about half a second."""


class Cover(NamedTuple):
    """One way to select a node."""

    value: int
    cost: int


@dataclass(frozen=True, slots=True)
class Forest:
    """Nodes in an order in which every node comes before its parent."""

    parents: Sequence[int]
    """The index of each node's parent; the number of nodes for a root."""
    covers: Sequence[Sequence[Cover]]
    required: Sequence[bool]
    """Whether a node must be selected, or be below a selected one. It has a cover then."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The best choice that was found."""

    picks: tuple[tuple[int, int], ...]
    """The selected nodes, each with the index of its cover."""
    value: int
    cost: int
    bound: int
    """No choice within the budget has a higher value; equal to `value` for a proven optimum."""


@dataclass(frozen=True, slots=True)
class _Pass:
    """The choice that is best for one multiplier."""

    picks: list[int]
    values: list[int]
    """The value of the best choice below and at each node; last of all, that of the forest."""
    costs: list[int]

    @property
    def value(self) -> int:
        return self.values[-1]

    @property
    def cost(self) -> int:
        return self.costs[-1]


def least_cost(forest: Forest) -> int:
    """Return the cost of the cheapest choice."""
    return _best(forest, 0, 1).cost


def best_choice(
    forest: Forest, budget: int, effort: int = EFFORT, *, least: int | None = None
) -> Choice | None:
    """Return the choice of the greatest value within a budget; None if every choice costs more.

    `effort` is the number of combinations that the search may make. It makes none, and the result
    is None, if it is proven before that every choice has a lower value than `least`.
    """
    cheap, rich = _extremes(forest)
    if cheap.cost > budget:
        return None
    if rich.cost <= budget:
        return Choice(_selected(forest, rich.picks), rich.value, rich.cost, rich.value)
    undecided = _Undecided(forest)
    while True:
        undecided.narrow(cheap, rich)
        # The multiplier is rise / run.
        rise, run = rich.value - cheap.value, rich.cost - cheap.cost
        between = undecided.best(cheap, run, rise)
        if run * between.value - rise * between.cost <= run * cheap.value - rise * cheap.cost:
            break
        if between.cost <= budget:
            cheap = between
        else:
            rich = between
    picks = _filled(forest, cheap, rich, budget)
    value, cost = _totals(forest, picks)
    room = budget - cost
    bound = value + rise * room // run
    if least is not None and bound < least:
        return None
    if bound > value and effort:
        picks = _with_inactive(forest, picks, _best(forest, run, rise).picks)
        search = _Search(forest, picks, _Gap(run, rise, room), effort)
        better, gain = search.improved()
        if gain:
            picks = better
            value, cost = _totals(forest, picks)
        if search.complete:
            bound = value
    return Choice(_selected(forest, picks), value, cost, bound)


def _extremes(forest: Forest) -> tuple[_Pass, _Pass]:
    """Return the cheapest choice and the one of the greatest value; among such, the better one."""
    covers = [cover for each in forest.covers for cover in each]
    # Beyond these factors no sum of the other quantity decides.
    weight = 1 + 2 * sum(abs(cover.value) for cover in covers)
    price = 1 + 2 * sum(cover.cost for cover in covers)
    return _best(forest, 1, weight), _best(forest, price, 1)


def _best(forest: Forest, run: int, rise: int) -> _Pass:
    """Return the choice that maximizes run * value - rise * cost."""
    count = len(forest.parents)
    values, costs, picks = [0] * (count + 1), [0] * (count + 1), [RECURSE] * count
    for node, (parent, covers, required) in enumerate(
        zip(forest.parents, forest.covers, forest.required, strict=True)
    ):
        value, cost = values[node], costs[node]
        best = None if required else run * value - rise * cost
        for index, (own, price) in enumerate(covers):
            score = run * own - rise * price
            if best is None or score > best:
                best, value, cost = score, own, price
                picks[node] = index
        values[node], costs[node] = value, cost
        values[parent] += value
        costs[parent] += cost
    return _Pass(picks, values, costs)


class _Undecided:
    """The nodes on which the choices for two multipliers differ.

    Where both have the same value and cost below and at a node, these are best there for every
    multiplier between the two: the greatest value - L * cost is convex in L. Only the other nodes
    are considered again, and they become fewer with every step.
    """

    def __init__(self, forest: Forest) -> None:
        self._forest = forest
        self._nodes: Sequence[int] = range(len(forest.parents))
        """In the order of the forest."""
        self._values = [0] * (len(forest.parents) + 1)
        """The value of what is decided below each of the nodes; last of all, below no node."""
        self._costs = [0] * (len(forest.parents) + 1)

    def narrow(self, one: _Pass, other: _Pass) -> None:
        """Leave the nodes out on which two choices agree, and those below them."""
        parents, values, costs = self._forest.parents, one.values, one.costs
        present = [False] * len(parents) + [True]
        left: list[int] = []
        for node in reversed(self._nodes):
            parent = parents[node]
            if not present[parent]:
                continue
            if values[node] == other.values[node] and costs[node] == other.costs[node]:
                self._values[parent] += values[node]
                self._costs[parent] += costs[node]
            else:
                present[node] = True
                left.append(node)
        left.reverse()
        self._nodes = left

    def best(self, decided: _Pass, run: int, rise: int) -> _Pass:
        """Return the choice that maximizes run * value - rise * cost.

        What is not considered again is as in `decided`.
        """
        parents, covers, required = self._forest.parents, self._forest.covers, self._forest.required
        values, costs, picks = decided.values.copy(), decided.costs.copy(), decided.picks.copy()
        below_values, below_costs = self._values.copy(), self._costs.copy()
        for node in self._nodes:
            value, cost, pick = below_values[node], below_costs[node], RECURSE
            best = None if required[node] else run * value - rise * cost
            for index, (own, price) in enumerate(covers[node]):
                score = run * own - rise * price
                if best is None or score > best:
                    best, value, cost, pick = score, own, price, index
            values[node], costs[node], picks[node] = value, cost, pick
            below_values[parents[node]] += value
            below_costs[parents[node]] += cost
        values[-1], costs[-1] = below_values[-1], below_costs[-1]
        return _Pass(picks, values, costs)


def _active(forest: Forest, picks: Sequence[int]) -> list[bool]:
    """Return for each node whether no node above it is selected."""
    count = len(picks)
    active = [True] * (count + 1)
    for node in range(count - 1, -1, -1):
        parent = forest.parents[node]
        active[node] = active[parent] and (parent == count or picks[parent] == RECURSE)
    return active


def _selected(forest: Forest, picks: Sequence[int]) -> tuple[tuple[int, int], ...]:
    active = _active(forest, picks)
    return tuple((node, k) for node, k in enumerate(picks) if active[node] and k != RECURSE)


def _totals(forest: Forest, picks: Sequence[int]) -> Cover:
    chosen = [forest.covers[node][k] for node, k in _selected(forest, picks)]
    return Cover(sum(one.value for one in chosen), sum(one.cost for one in chosen))


def _with_inactive(forest: Forest, picks: Sequence[int], others: Sequence[int]) -> list[int]:
    """Return the picks, with those of another choice below the selected nodes."""
    active = _active(forest, picks)
    return [mine if active[node] else others[node] for node, mine in enumerate(picks)]


def _filled(forest: Forest, cheap: _Pass, rich: _Pass, budget: int) -> list[int]:
    """Return a mixture of two choices that both are best for one multiplier: the dearest that fits.

    Where they differ, value is in proportion to cost, so that only the sum of costs matters.
    """
    count = len(cheap.picks)
    common, steps = [True] * (count + 1), []
    for node in range(count - 1, -1, -1):
        parent = forest.parents[node]
        if parent < count:
            common[node] = (
                common[parent] and cheap.picks[parent] == RECURSE and rich.picks[parent] == RECURSE
            )
        if common[node] and cheap.picks[node] != rich.picks[node]:
            steps.append((node, rich.costs[node] - cheap.costs[node]))
    # Steps that save are taken first, and taken back where that fills the budget.
    taken = {node for node, step in steps if step < 0}
    room = budget - cheap.cost - sum(step for _, step in steps if step < 0)
    for index in _subset([abs(step) for _, step in steps], room):
        taken ^= {steps[index][0]}
    switched = [False] * (count + 1)
    picks = list(cheap.picks)
    for node in range(count - 1, -1, -1):
        switched[node] = switched[forest.parents[node]] or node in taken
        if switched[node]:
            picks[node] = rich.picks[node]
    return picks


def _subset(sizes: Sequence[int], room: int) -> Iterator[int]:
    """Yield the indices of a subset with the largest sum that is at most `room`."""
    mask = (1 << room + 1) - 1
    # Bit n of a number tells whether some subset of the first sizes has the sum n.
    sums = [1]
    for size in sizes:
        sums.append((sums[-1] | sums[-1] << size) & mask)
    total = sums[-1].bit_length() - 1
    for index in range(len(sizes) - 1, -1, -1):
        if not sums[index] >> total & 1:
            total -= sizes[index]
            yield index


_Changes = tuple["_Changes", "_Changes"] | tuple[int, int, "_Changes"] | None
"""Picks that differ from those of a choice: joined, or a node, its pick and those below it."""
_States = dict[int, tuple[int, _Changes]]
"""Alternatives by their difference in cost: the loss in run * value - rise * cost, and changes."""
_ALONE: Final[_States] = {0: (0, None)}


class _Gap(NamedTuple):
    """What is left between a choice and the bound."""

    run: int
    rise: int
    """The multiplier is rise / run."""
    room: int
    """By how much the cost may grow."""


class _Search:
    """Finds the best choice among those that lose less than the gap."""

    def __init__(self, forest: Forest, picks: list[int], gap: _Gap, effort: int) -> None:
        """Take a choice that is best for the multiplier."""
        self.complete = True
        """Whether the search has considered every choice that may be better."""
        self._forest = forest
        self._picks = picks
        self._effort = effort
        self._run, self._rise, self._room = gap
        # A better choice has a value that is greater by one at least.
        self._limit = gap.rise * gap.room - gap.run

    def improved(self) -> tuple[list[int], int]:
        """Return the picks of the best choice found, and by how much its value is greater."""
        gain, changes = 0, None
        for more, (loss, found) in self._states().items():
            value = (self._rise * more - loss) // self._run
            if more <= self._room and value > gain:
                gain, changes = value, found
        picks = list(self._picks)
        for node, pick in _listed(changes):
            picks[node] = pick
        return picks, gain

    def _states(self) -> _States:
        """Return the alternatives for the whole forest."""
        forest, run, rise, limit = self._forest, self._run, self._rise, self._limit
        count = len(self._picks)
        values, costs = [0] * (count + 1), [0] * (count + 1)
        below: dict[int, _States] = {}
        for node, (parent, covers) in enumerate(zip(forest.parents, forest.covers, strict=True)):
            pick = self._picks[node]
            inner = Cover(values[node], costs[node])
            own = inner if pick == RECURSE else covers[pick]
            best = run * own.value - rise * own.cost
            states: _States = {}
            if not forest.required[node]:
                lost = best - (run * inner.value - rise * inner.cost)
                for more, (loss, found) in below.get(node, _ALONE).items():
                    if lost + loss <= limit:
                        changes = found if pick == RECURSE else (node, RECURSE, found)
                        _add(states, inner.cost - own.cost + more, lost + loss, changes)
            below.pop(node, None)
            for index, cover in enumerate(covers):
                lost = best - (run * cover.value - rise * cover.cost)
                if lost <= limit:
                    changes = None if index == pick else (node, index, None)
                    _add(states, cover.cost - own.cost, lost, changes)
            values[parent] += own.value
            costs[parent] += own.cost
            if len(states) > 1:
                below[parent] = self._joined(below.get(parent, _ALONE), states)
        return below.get(count, _ALONE)

    def _joined(self, some: _States, others: _States) -> _States:
        """Return the combinations of the alternatives of two nodes."""
        self._effort -= len(some) * len(others)
        if self._effort < 0:
            self.complete = False
            return some
        found: _States = {}
        for more, (loss, changes) in some.items():
            for extra, (lost, added) in others.items():
                if loss + lost <= self._limit:
                    _add(found, more + extra, loss + lost, _both(changes, added))
        found = self._undominated(found)
        if len(found) > _STATES:
            near = sorted(found, key=lambda cost: (found[cost][0], abs(cost)))
            self.complete = False
            found = {cost: found[cost] for cost in near[:_STATES]}
        return found

    def _undominated(self, states: _States) -> _States:
        """Return the alternatives without those that cost more than another for no more value."""
        found: _States = {}
        highest = None
        for cost in sorted(states):
            value = self._rise * cost - states[cost][0]
            if highest is None or value > highest:
                highest = value
                found[cost] = states[cost]
        return found


def _add(states: _States, cost: int, loss: int, changes: _Changes) -> None:
    former = states.get(cost)
    if former is None or loss < former[0]:
        states[cost] = loss, changes


def _both(some: _Changes, others: _Changes) -> _Changes:
    if some is None or others is None:
        return some or others
    return some, others


def _listed(changes: _Changes) -> Iterable[tuple[int, int]]:
    """Yield the changed picks."""
    rest = [changes]
    while rest:
        one = rest.pop()
        if one is None:
            continue
        if len(one) == 3:
            yield one[0], one[1]
            rest.append(one[2])
        else:
            rest += one
