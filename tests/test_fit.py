"""`policy.fit`: the best use of a descriptor that cannot hold all blocks."""

import random
from collections.abc import Iterator
from itertools import product

from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, milp

from exitpolicy.core.destination import Destination, parse_destination
from exitpolicy.core.ports import Interval
from exitpolicy.policy.cover_choice import Cover, Forest, best_choice
from exitpolicy.policy.descriptor import rules_bytes
from exitpolicy.policy.evaluate import Decisions
from exitpolicy.policy.fit import Fitted, leave_out, widen
from exitpolicy.policy.fit_trees import Candidate, Widening
from exitpolicy.policy.minimize import fewest_rules
from exitpolicy.policy.prefix_tree import AddressSet, Prefix, line_bytes
from exitpolicy.policy.rule import Rule

FIRST = parse_destination("203.0.113.96").first
"""The first of 16 addresses, whose texts differ in length with those before them."""

prefixes = st.integers(28, 32).flatmap(
    lambda length: st.integers(0, (1 << length - 28) - 1).map(
        lambda n: (FIRST + (n << 32 - length), length)
    )
)


def block(prefix: Prefix, ports: Interval = (1, 65535)) -> Destination:
    """Return the destination of a prefix."""
    return Rule(False, 4, *prefix, *ports).destination


def free(_: Interval) -> AddressSet:
    """Return that no address is off limits."""
    return AddressSet([])


def allow(shortest: int = 28, room: int = 1 << 32) -> Widening:
    """Return a widening that keeps no address free."""
    return Widening(shortest, free, room)


def addresses(destinations: list[Destination]) -> set[int]:
    """Return the addresses of destinations."""
    return {n for one in destinations for n in range(one.first, one.last + 1)}


def held_to(found: Fitted, optimum: int, reached: int) -> None:
    """Assert that a result is within the gap that it states."""
    assert reached - found.gap <= optimum <= reached


# -- The choice on a forest ---------------------------------------------------


@st.composite
def forests(draw: st.DrawFn) -> Forest:
    """Return a small forest."""
    count = draw(st.integers(1, 9))
    parents = [draw(st.integers(node + 1, count)) for node in range(count)]
    required = [draw(st.integers(0, 5)) == 0 for _ in range(count)]
    cover = st.builds(Cover, st.integers(-3, draw(st.sampled_from([5, 5000]))), st.integers(1, 9))
    covers = [draw(st.lists(cover, min_size=int(must), max_size=2)) for must in required]
    return Forest(parents, covers, required)


def every_choice(forest: Forest) -> Iterator[tuple[int, int]]:
    """Yield the value and the cost of every choice on a forest."""
    count = len(forest.parents)
    for picks in product(*(range(-1, len(covers)) for covers in forest.covers)):
        below = [False] * (count + 1)
        for node in range(count - 1, -1, -1):
            parent = forest.parents[node]
            below[node] = below[parent] or (parent < count and picks[parent] >= 0)
        chosen = [node for node, pick in enumerate(picks) if pick >= 0]
        missing = any(
            must and picks[node] < 0 and not below[node]
            for node, must in enumerate(forest.required)
        )
        if not missing and not any(below[node] for node in chosen):
            covers = [forest.covers[node][picks[node]] for node in chosen]
            yield sum(c.value for c in covers), sum(c.cost for c in covers)


@given(forests(), st.integers(0, 40), st.sampled_from([0, 10, 300_000]))
def test_a_choice_is_the_best_or_states_how_far_it_may_be_from_it(
    forest: Forest, budget: int, effort: int
) -> None:
    """Every choice is tried. With the full effort, the best one of a small forest is found."""
    fitting = [value for value, cost in every_choice(forest) if cost <= budget]
    found = best_choice(forest, budget, effort)
    if found is None:
        assert not fitting
        return
    assert found.cost <= budget
    assert found.value == sum(forest.covers[node][k].value for node, k in found.picks)
    assert found.value <= max(fitting) <= found.bound
    if effort == 300_000:
        assert found.value == max(fitting) == found.bound


@given(forests(), st.integers(0, 40), st.integers(-10, 20))
def test_no_choice_is_returned_below_the_value_that_is_asked_for(
    forest: Forest, budget: int, least: int
) -> None:
    """With `least`, the same choice is returned, or it is proven that none has that value."""
    found, asked = best_choice(forest, budget), best_choice(forest, budget, least=least)
    if found is not None and found.value >= least:
        assert asked == found
    else:
        assert asked is None or asked == found


def best_by_cost(forest: Forest, budget: int) -> int:
    """Return the best value of a forest without required nodes, by a table of all costs."""
    count = len(forest.parents)
    # The best value below each node at every cost up to the budget.
    tables = [[0] * (budget + 1) for _ in range(count + 1)]
    for node, parent in enumerate(forest.parents):
        own = tables[node]
        for value, price in forest.covers[node]:
            for cost in range(price, budget + 1):
                own[cost] = max(own[cost], value)
        above = tables[parent]
        tables[parent] = [
            max(above[cost - part] + own[part] for part in range(cost + 1))
            for cost in range(budget + 1)
        ]
    return tables[count][budget]


def test_a_choice_on_deep_trees_is_within_its_bound() -> None:
    """Random trees of 200 nodes in several levels, against a table of all costs."""
    for seed in range(12):
        dice = random.Random(seed)  # noqa: S311 - nothing here is secret
        count, budget = 200, 90
        parents = [min(count, node + 1 + int(dice.expovariate(0.2))) for node in range(count)]
        covers = [
            [
                Cover(dice.choice([1, 3, 40, 500]), dice.randint(1, 9))
                for _ in range(dice.randint(0, 3))
            ]
            for _ in range(count)
        ]
        forest = Forest(parents, covers, [False] * count)
        optimum = best_by_cost(forest, budget)
        for effort in (0, 300_000):
            found = best_choice(forest, budget, effort)
            assert found is not None
            assert found.value <= optimum <= found.bound
            assert not effort or found.value == optimum


def test_a_choice_is_as_good_as_that_of_an_integer_programme() -> None:
    """Random knapsacks of 400 covers, against HiGHS."""
    for seed in range(5):
        dice = random.Random(seed)  # noqa: S311 - nothing here is secret
        covers = [
            Cover(1 << dice.choice([0, 0, 0, 4, 8, 8, 10]), dice.randint(17, 28))
            for _ in range(400)
        ]
        budget = 2000
        solved = milp(
            [-cover.value for cover in covers],
            constraints=LinearConstraint([[c.cost for c in covers]], ub=budget),
            integrality=[1] * len(covers),
            bounds=Bounds(0, 1),
            options={"mip_rel_gap": 0},
        )
        flat = Forest([len(covers)] * len(covers), [[c] for c in covers], [False] * len(covers))
        found = best_choice(flat, budget)
        assert found is not None
        assert found.value <= round(-solved.fun) <= found.bound
        assert found.value == round(-solved.fun)


# -- Leave out ----------------------------------------------------------------


@given(st.sets(prefixes, max_size=7), st.integers(0, 160))
def test_the_blocks_that_are_left_out_have_the_fewest_addresses(
    chosen: set[Prefix], budget: int
) -> None:
    """Every subset of the blocks is tried."""
    blocks = [block(prefix) for prefix in sorted(chosen)]
    found = leave_out([Candidate(one, 0) for one in blocks], budget)
    kept = [one for one in blocks if one not in found.left_out]
    assert found.rules == fewest_rules(kept)
    assert found.bytes == rules_bytes(found.rules) <= budget
    every = addresses(blocks)
    assert found.unblocked == len(every - addresses(kept))
    assert found.over_blocked == 0
    subsets = [
        [one for one, flag in zip(blocks, flags, strict=True) if flag]
        for flags in product([False, True], repeat=len(blocks))
    ]
    fitting = [some for some in subsets if rules_bytes(fewest_rules(some)) <= budget]
    best = min(len(every - addresses(some)) for some in fitting)
    held_to(found, best, found.unblocked)
    assert found.unblocked == best


def test_a_block_gives_way_only_to_blocks_of_its_rank_or_a_better_one() -> None:
    """Single addresses of a better rank stay, and networks of a worse one go."""
    better = [parse_destination(f"203.0.{n}.7") for n in range(100, 110)]
    worse = [parse_destination(f"198.51.{n}.0/24") for n in range(100, 120, 2)]
    candidates = [*(Candidate(one, 1) for one in worse), *(Candidate(one, 0) for one in better)]
    found = leave_out(candidates, rules_bytes(fewest_rules(better)) + 70)
    assert found.left_out < set(worse)
    assert len(found.left_out) == 8
    found = leave_out(candidates, rules_bytes(fewest_rules(better)) - 1)
    assert set(worse) < found.left_out
    assert len(found.left_out) == 11


def test_blocks_with_ports_of_their_own_take_lines_of_their_own() -> None:
    """A block of two ports takes two lines, and is kept or left out as a whole."""
    blocks = [parse_destination(f"203.0.113.{n}:22,443") for n in (3, 6, 9)]
    blocks += [parse_destination("203.0.113.64/26:25"), parse_destination("2001:db8::1")]
    found = leave_out([Candidate(one, 0) for one in blocks], 100)
    assert found.bytes <= 100
    assert not found.left_out & set(blocks[3:])
    assert len(found.left_out) == 2
    assert found.unblocked == 4
    decisions = Decisions(found.rules)
    assert [one in found.left_out for one in blocks] == [not decisions.rejects(b) for b in blocks]


def test_a_block_within_another_costs_nothing() -> None:
    """The rule for a network also enforces the blocks of its single ports."""
    inner = [parse_destination(f"203.0.113.{n}:{n}") for n in range(1, 200)]
    candidates = [Candidate(one, 1) for one in inner]
    candidates.append(Candidate(parse_destination("203.0.113.0/24"), 0))
    found = leave_out(candidates, 30)
    assert (found.left_out, found.unblocked) == (frozenset(), 0)


def test_nothing_is_left_out_where_everything_fits() -> None:
    """Without blocks and without bytes there is nothing to do either."""
    assert leave_out([], 0).rules == ()
    blocks = [parse_destination("203.0.113.7"), parse_destination("*:25")]
    found = leave_out([Candidate(one, 0) for one in blocks], 1000)
    assert (found.left_out, found.rules) == (frozenset(), fewest_rules(blocks))


# -- Widen --------------------------------------------------------------------


def every_cover(
    prefix: Prefix, wanted: set[int], off: AddressSet
) -> dict[int, set[tuple[int, int]]]:
    """Return by bytes how many addresses within a prefix may stay unblocked and be over-blocked."""
    network, length = prefix
    inside = set(range(network, network + (1 << 32 - length)))
    found: dict[int, set[tuple[int, int]]] = {0: {(len(wanted & inside), 0)}}
    if length < 32:
        half = 1 << 31 - length
        one = every_cover((network, length + 1), wanted, off)
        two = every_cover((network + half, length + 1), wanted, off)
        for (a, some), (b, others) in product(one.items(), two.items()):
            found.setdefault(a + b, set()).update(
                (x + u, y + v) for (x, y), (u, v) in product(some, others)
            )
    if inside <= wanted or not off.meets(prefix):
        cost = line_bytes(prefix, (1, 65535))
        found.setdefault(cost, set()).add((0, len(inside - wanted)))
    return {cost: {min(some)} for cost, some in found.items()}


@given(
    st.sets(prefixes, min_size=1, max_size=9),
    st.integers(20, 160),
    st.sets(st.integers(0, 15), max_size=3),
)
def test_wider_rules_reject_all_blocks_and_the_fewest_other_addresses(
    chosen: set[Prefix], budget: int, kept_free: set[int]
) -> None:
    """Every set of prefixes within a /28 is tried. No address that is kept free is rejected."""
    blocks = [block(prefix) for prefix in sorted(chosen)]
    off = AddressSet([(FIRST + n, FIRST + n) for n in kept_free])
    widening = Widening(28, lambda _: off, 1 << 32)
    found = widen([Candidate(one, 0) for one in blocks], budget, widening)
    rejected = addresses([rule.destination for rule in found.rules])
    wanted = addresses(blocks)
    assert found.bytes == rules_bytes(found.rules) <= budget
    assert found.over_blocked == len(rejected - wanted)
    assert not (rejected - wanted) & {FIRST + n for n in kept_free}
    left = [one for one in blocks if not addresses([one]) <= rejected]
    assert found.left_out == frozenset(left)
    best = min(
        pair
        for cost, some in every_cover((FIRST, 28), wanted, off).items()
        if cost <= budget
        for pair in some
    )
    if best[0] == 0:
        assert found.gap_of == "over-blocked"
        assert not left
        held_to(found, best[1], found.over_blocked)
        assert found.over_blocked == best[1]
    else:
        assert found.unblocked >= best[0]


def test_a_rule_is_never_wider_than_the_operator_allows() -> None:
    """Two addresses of one /16 share it; with a longer prefix allowed, one is left out."""
    blocks = [Candidate(parse_destination(f"203.0.{n}.129"), 0) for n in (0, 255)]
    found = widen(blocks, 25, allow(16))
    assert [str(rule) for rule in found.rules] == ["reject 203.0.0.0/16:*"]
    assert (found.left_out, found.over_blocked) == (frozenset(), 65534)
    found = widen(blocks, 25, allow(17))
    assert len(found.left_out) == found.unblocked == 1
    assert found.gap_of == "unblocked"


def test_the_rules_cover_no_more_addresses_than_there_is_room_for() -> None:
    """Where wide rules would exceed the room, addresses are left out instead."""
    blocks = [Candidate(parse_destination(f"203.{n}.0.7"), 0) for n in range(100, 140)]
    blocks += [Candidate(parse_destination(f"203.{n}.{1 << n % 8}.9"), 0) for n in range(100, 140)]
    found = widen(blocks, 1000, allow(16))
    assert (found.left_out, found.gap_of) == (frozenset(), "over-blocked")
    narrow = widen(blocks, 1000, allow(16, room=1 << 18))
    assert narrow.over_blocked <= 1 << 18
    assert narrow.unblocked == len(narrow.left_out) > 0
    assert narrow.unblocked < leave_out(blocks, 1000).unblocked


def test_blocks_with_other_ports_within_a_wide_rule_are_not_left_out() -> None:
    """What a wide rule rejects is rejected, although its line was chosen for other blocks."""
    blocks = [Candidate(parse_destination(f"203.0.113.{n}"), 0) for n in range(0, 64, 2)]
    blocks += [Candidate(parse_destination("203.0.113.9:25"), 1)]
    found = widen(blocks, 26, allow(24))
    assert found.left_out == frozenset()


# -- Sizes --------------------------------------------------------------------


@given(st.integers(0, 2**32 - 1), st.integers(0, 32), st.sampled_from([(1, 65535), (22, 443)]))
def test_the_size_of_a_line_is_that_of_its_text(number: int, length: int, ports: Interval) -> None:
    """Without its text, which would take longer."""
    network = number >> 32 - length << 32 - length
    text = str(Rule(False, 4, network, length, *ports))
    assert line_bytes((network, length), ports) == len(text) + 1


def test_the_order_of_the_blocks_decides_nothing() -> None:
    """Each apply computes the choice again, and must not change the policy by it."""
    dice = random.Random(1)  # noqa: S311 - nothing here is secret
    blocks = [
        Candidate(Destination(4, n, n), dice.randrange(2))
        for n in dice.sample(range(1 << 24, 1 << 31), 300)
    ]
    found = leave_out(blocks, 3000), widen(blocks, 3000, allow(8))
    dice.shuffle(blocks)
    assert (leave_out(blocks, 3000), widen(blocks, 3000, allow(8))) == found
