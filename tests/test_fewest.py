"""`fewest_rules`: exactly the union, with the fewest rules and the fewest characters.

Two oracles check minimality without the theorem in policy/minimize.py: a search over all covers,
for every union of a small universe, and an integer program, for larger ones. Both choose among all
rules that reject nothing outside the union.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from exitpolicy.core.addresses import BITS, Family
from exitpolicy.core.destination import Destination, parse_destination
from exitpolicy.core.ports import ALL_PORTS, normal_ports
from exitpolicy.policy.minimize import fewest_prefixes, fewest_rules
from exitpolicy.policy.rule import Rule
from tests.harness.tor import lone_tor

Point = tuple[int, int]
"""An address, counted from the base of its universe, and a port."""

RULE = 10_000
"""The cost of a rule in the oracles, in characters: more than the text of any instance."""


def seeded(seed: object) -> random.Random:
    """Return a random generator with a fixed seed."""
    return random.Random(repr(seed))  # noqa: S311 - nothing here is secret


def texts(*destinations: str) -> list[str]:
    """Return the rules for destinations in their text."""
    return [str(rule) for rule in fewest_rules(map(parse_destination, destinations))]


def points(rules: Iterable[Rule], base: int) -> list[Point]:
    """Evaluate rules the slow way: every address and port that they reject, repeated ones too."""
    return [
        (address - base, port)
        for rule in rules
        for address in range(rule.network, rule.last + 1)
        for port in range(rule.low, rule.high + 1)
    ]


def candidates(family: Family, base: int, bits: int, ports: Sequence[int]) -> Iterator[Rule]:
    """Yield every rule of a universe of 2**bits addresses and some consecutive ports."""
    for inner in range(bits + 1):
        for network in range(0, 1 << bits, 1 << inner):
            for low, high in product(ports, ports):
                if low <= high:
                    yield Rule(False, family, base + network, BITS[family] - inner, low, high)


def cost(rules: Iterable[Rule]) -> int:
    """Return the number of rules and, after it, their characters."""
    return sum(RULE + len(str(rule)) for rule in rules)


class Universe:
    """A few addresses and ports, and all unions of them as bit sets."""

    def __init__(self, family: Family, base: int, bits: int, ports: Sequence[int]) -> None:
        self.family, self.base, self.ports = family, base, ports
        self.points = list(product(range(1 << bits), ports))
        index = {point: i for i, point in enumerate(self.points)}
        self.rules = [
            (sum(1 << index[point] for point in points([rule], base)), cost([rule]))
            for rule in candidates(family, base, bits, ports)
        ]
        self.by_lowest = [
            [rule for rule in self.rules if rule[0] >> i & 1] for i in range(len(self.points))
        ]

    def destinations(self, union: int) -> list[Destination]:
        """Return one destination for every address and port of a union."""
        return [
            Destination(self.family, self.base + address, self.base + address, ((port, port),))
            for i, (address, port) in enumerate(self.points)
            if union >> i & 1
        ]

    def least(self, union: int) -> int:
        """Return the cost of the cheapest rules for a union, by trying all."""

        @cache
        def search(left: int) -> int:
            if not left:
                return 0
            lowest = (left & -left).bit_length() - 1
            return min(
                price + search(left & ~mask)
                for mask, price in self.by_lowest[lowest]
                if not mask & ~union
            )

        return search(union)

    def check(self, union: int) -> None:
        """Check meaning and cost of what `fewest_rules` makes of a union."""
        rules = fewest_rules(self.destinations(union))
        expected = {point for i, point in enumerate(self.points) if union >> i & 1}
        assert set(points(rules, self.base)) == expected
        assert cost(rules) == self.least(union), [str(rule) for rule in rules]


def v4(text: str) -> int:
    """Return an address as a number."""
    return parse_destination(text).first


@pytest.mark.parametrize(
    "universe",
    [
        pytest.param(Universe(4, v4("203.0.113.8"), 2, (79, 80, 81)), id="IPv4"),
        pytest.param(Universe(4, v4("10.0.0.0"), 2, (9, 10, 11)), id="short-host"),
        pytest.param(Universe(4, v4("10.0.0.8"), 2, (99, 100, 101)), id="digits"),
        pytest.param(
            Universe(4, v4("10.0.0.96"), 3, (8, 9)),
            id="8-addresses-2-digits",
            marks=pytest.mark.slow,
        ),
        pytest.param(Universe(4, v4("10.0.0.100"), 2, (65533, 65534, 65535)), id="last-ports"),
        pytest.param(Universe(6, v4("2001:db8::"), 2, (1, 2, 3)), id="IPv6"),
        pytest.param(Universe(4, v4("10.0.0.8"), 1, range(8, 14)), id="6-ports"),
    ],
)
def test_every_union_of_a_small_universe_gets_the_least_text(universe: Universe) -> None:
    """All unions: exactly the union, the fewest rules, and of those the fewest characters."""
    for union in range(1 << len(universe.points)):
        universe.check(union)


@pytest.mark.parametrize(
    ("family", "base", "ports"),
    [
        (4, v4("203.0.113.8"), (79, 80, 81)),
        (4, v4("10.0.0.0"), (9, 10, 11)),
        (6, v4("2001:db8::8"), (99, 100, 101)),
    ],
)
def test_systematic_unions_of_8_addresses_and_3_ports_get_the_least_text(
    family: Family, base: int, ports: tuple[int, ...]
) -> None:
    """8 addresses with 3 ports: 1,200 unions, at random densities, dense ones most."""
    universe = Universe(family, base, 3, ports)
    dice = seeded((family, base))
    for _ in range(400):
        density = dice.choice((0.5, 0.7, 0.8, 0.9, 0.95))
        union = sum(1 << i for i in range(24) if dice.random() < density)
        universe.check(union)


def nested_destinations(
    dice: random.Random, family: Family, base: int, ports: Sequence[int], count: int
) -> list[Destination]:
    """Return overlapping prefixes and port ranges among 32 addresses."""
    result = []
    for _ in range(count):
        inner = dice.randrange(6)
        first = base + (dice.randrange(32) >> inner << inner)
        low, high = sorted(dice.choices(ports, k=2))
        if dice.random() < 0.3:
            high = low
        result.append(Destination(family, first, first + (1 << inner) - 1, ((low, high),)))
    return result


def least_by_integer_programme(
    family: Family, base: int, ports: Sequence[int], union: set[Point]
) -> int:
    """Return the cost of the cheapest rules for a union, by weighted set cover."""
    order = {point: i for i, point in enumerate(sorted(union))}
    covers, prices = [], []
    for rule in candidates(family, base, 5, ports):
        covered = points([rule], base)
        if union.issuperset(covered):
            covers.append([order[point] for point in covered])
            prices.append(cost([rule]))
    rows = np.concatenate([np.array(rows) for rows in covers])
    columns = np.repeat(np.arange(len(covers)), [len(rows) for rows in covers])
    matrix = csr_array((np.ones(len(rows)), (rows, columns)), shape=(len(order), len(covers)))
    answer = milp(
        np.array(prices),
        constraints=LinearConstraint(matrix, lb=1),
        integrality=np.ones(len(prices)),
        bounds=Bounds(0, 1),
        options={"mip_rel_gap": 0},
    )
    assert answer.success, answer.message
    return round(float(answer.fun))


@pytest.mark.parametrize("seed", range(40))
def test_random_nested_blocks_get_what_an_integer_programme_finds_least(seed: int) -> None:
    """32 addresses with 12 ports, up to 25 overlapping destinations, both families."""
    dice = seeded(seed)
    family: Family = dice.choice((4, 6))
    base = v4("10.0.0.0") if family == 4 else v4("2001:db8::")
    base += dice.choice((0, 96, 224))
    start = dice.choice((1, 5, 92, 995))
    ports = range(start, start + 12)
    destinations = nested_destinations(dice, family, base, ports, dice.randint(2, 25))
    rules = fewest_rules(destinations)
    wanted = set(
        points(
            (
                Rule(
                    False,
                    family,
                    d.first,
                    BITS[family] - (d.last - d.first + 1).bit_length() + 1,
                    *d.ports[0],
                )
                for d in destinations
            ),
            base,
        )
    )
    assert set(points(rules, base)) == wanted
    assert cost(rules) == least_by_integer_programme(family, base, ports, wanted)


def test_whole_addresses_are_joined_to_prefixes() -> None:
    """Neighbours of any order, repeated ones and parts of others become the CIDR cover."""
    assert texts("10.0.0.3", "10.0.0.0/31", "10.0.0.2", "10.0.0.3", "10.0.1.0-10.0.1.4") == [
        "reject 10.0.0.0/30:*",
        "reject 10.0.1.0/30:*",
        "reject 10.0.1.4:*",
    ]


def test_everything_is_one_rule() -> None:
    """Two halves of a family become the whole family; ranges up to the last address work."""
    assert texts("0.0.0.0/1", "128.0.0.0/1") == ["reject *:*"]
    assert texts("::/1", "8000::/1") == ["reject6 *:*"]
    assert texts("0.0.0.0/0:22") == ["reject *:22"]
    assert texts("255.255.255.255") == ["reject 255.255.255.255:*"]
    assert texts() == []


def test_families_and_ports_do_not_mix() -> None:
    """IPv4 comes first, then network and ports, as numbers and not as text."""
    assert texts("[2001:db8::1]:22", "10.0.0.9:443", "9.0.0.1", "10.0.0.9:80") == [
        "reject 9.0.0.1:*",
        "reject 10.0.0.9:80",
        "reject 10.0.0.9:443",
        "reject6 [2001:db8::1]:22",
    ]


def test_ports_that_touch_become_one_rule() -> None:
    """Ports of several destinations of one address are merged; all ports become `*`."""
    assert texts("10.0.0.1:1-79", "10.0.0.1:80", "10.0.0.1:81-65535") == ["reject 10.0.0.1:*"]


def test_a_port_of_the_network_is_not_said_again_for_an_address_in_it() -> None:
    """The address's own rule shrinks to the one port that the network's rule leaves."""
    assert texts("10.0.0.0/24:80", "10.0.0.5:80-81") == [
        "reject 10.0.0.0/24:80",
        "reject 10.0.0.5:81",
    ]


def test_of_equal_texts_the_one_with_fewer_ports_is_taken() -> None:
    """Tor's port summary counts an overlap of rules twice: no rule rejects more than needed."""
    assert texts("10.0.0.0/24:80-85", "10.0.0.5:80-90", "10.0.0.6:75-85") == [
        "reject 10.0.0.0/24:80-85",
        "reject 10.0.0.5:86-90",
        "reject 10.0.0.6:75-79",
    ]


def test_a_prefix_whose_other_half_rejects_more_shrinks_to_an_address() -> None:
    """`10.0.0.0/31:80` says no more than `10.0.0.0:80` where .1 rejects 79 to 81."""
    assert texts("10.0.0.0/31:80", "10.0.0.1:79-81") == [
        "reject 10.0.0.0:80",
        "reject 10.0.0.1:79-81",
    ]


def test_the_range_that_saves_more_wins_where_both_cannot_shrink() -> None:
    """The prefix stays wide where that shortens the rules of two addresses."""
    assert texts("10.0.0.0/30:8080-8090", "10.0.0.1:8080-8091", "10.0.0.2-10.0.0.3:8079-8090") == [
        "reject 10.0.0.0/30:8080-8090",
        "reject 10.0.0.1:8091",
        "reject 10.0.0.2/31:8079",
    ]


@st.composite
def destination(draw: st.DrawFn) -> Destination:
    """Any destination, often near others."""
    family: Family = draw(st.sampled_from((4, 6)))
    low, high = 0, 2 ** BITS[family] - 1
    near = st.integers(0, 40).map(lambda n: v4("10.0.0.0") + n if family == 4 else n)
    edge = st.integers(0, 3).map(lambda n: high - n)
    first, last = sorted(draw(st.tuples(*[st.one_of(near, edge, st.integers(low, high))] * 2)))
    if draw(st.booleans()):
        last = first
    port = st.one_of(st.integers(78, 84), st.integers(1, 65535), st.just(65535))
    intervals = draw(st.lists(st.tuples(port, port).map(sorted), min_size=1, max_size=4))
    ports = normal_ports((a, b) for a, b in intervals)
    return Destination(family, first, last, draw(st.sampled_from((ports, ALL_PORTS))))


def rejected(rules: Iterable[Rule], family: Family, address: int, port: int) -> bool:
    """Tell whether some rule rejects the address and port."""
    return any(
        rule.family == family
        and rule.network <= address <= rule.last
        and rule.low <= port <= rule.high
        for rule in rules
    )


@given(st.lists(destination(), max_size=8), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_any_destinations_are_rejected_exactly_and_always_alike(
    destinations: list[Destination], dice: random.Random
) -> None:
    """At every corner of every destination the rules agree with the destinations.

    And their own destinations, or the same ones in another order, give the same rules.
    """
    rules = fewest_rules(destinations)
    corners = {4: {0}, 6: {0}}
    edges = {1, 65535}
    for one in destinations:
        corners[one.family] |= {one.first - 1, one.first, one.last, one.last + 1}
        edges |= {p + i for low, high in one.ports for p, i in ((low, -1), (low, 0), (high, 1))}
    families: tuple[Family, ...] = (4, 6)
    for family in families:
        for address, port in product(corners[family], edges):
            wanted = any(
                one.family == family
                and one.first <= address <= one.last
                and any(low <= port <= high for low, high in one.ports)
                for one in destinations
            )
            assert rejected(rules, family, address, port) == wanted
    assert list(rules) == sorted(
        rules, key=lambda rule: (rule.family, rule.network, rule.prefix, rule.low)
    )
    assert not any(rule.accept for rule in rules)
    shuffled = list(destinations)
    dice.shuffle(shuffled)
    assert fewest_rules(shuffled) == rules
    assert fewest_rules(rule.destination for rule in rules) == rules


def test_prefixes_of_many_addresses_are_those_of_the_set() -> None:
    """5,000 of 8,192 addresses: each is in one prefix, and no two prefixes are halves of one."""
    dice = seeded(5)
    wanted = set(dice.sample(range(8192), 5000))
    found = fewest_prefixes([a << 32 | a for a in wanted], 32)
    held = [a for network, length in found for a in range(network, network + 2 ** (32 - length))]
    assert sorted(held) == sorted(wanted)
    pairs = set(found)
    assert not any((network ^ 1 << 32 - length, length) in pairs for network, length in found)


@pytest.mark.tor
def test_a_real_tor_keeps_each_of_the_rules_as_it_is_written(tmp_path: Path) -> None:
    """Tor keeps all of them as they are written, and in front of its other rules."""
    dice = seeded("tor")
    destinations = [
        *nested_destinations(dice, 4, v4("203.0.113.0"), range(70, 90), 60),
        *nested_destinations(dice, 4, v4("20.0.0.0"), range(1, 65536), 60),
        *nested_destinations(dice, 6, v4("2001:db8::"), range(70, 90), 60),
        parse_destination("198.51.100.0/24"),
    ]
    rules = [str(rule) for rule in fewest_rules(destinations)]
    with lone_tor(tmp_path, [*rules, "accept *:*"], ["IPv6Exit 1"]) as tor:
        assert tor.policy() == [*rules, "accept *:*", "accept6 *:*"]
