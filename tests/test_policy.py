"""`policy`: the first matching rule decides, compared with two other evaluators."""

from itertools import product

import stem.exit_policy
from hypothesis import given, settings
from hypothesis import strategies as st

from exitpolicy.core.addresses import BITS, Family
from exitpolicy.core.destination import Destination, parse_destination
from exitpolicy.policy.evaluate import IMPLICIT_ACCEPT, Decisions, same_meaning
from exitpolicy.policy.rule import Rule, parse_policy
from tests.strategies import small_rules

FAMILIES: tuple[Family, ...] = (4, 6)
# All addresses and ports at which the drawn rules differ, and some on either side.
ADDRESSES = range(10)
PORTS = (1, 2, 3, 4, 5, 65533, 65534, 65535)

policies = st.lists(small_rules(), max_size=9)


def first_match(rules: list[Rule], family: Family, address: int, port: int) -> int:
    """Return the deciding rule as the definition has it: the first that matches."""
    return next(
        (
            index
            for index, rule in enumerate(rules)
            if rule.family == family
            and rule.network >> BITS[family] - rule.prefix == address >> BITS[family] - rule.prefix
            and rule.low <= port <= rule.high
        ),
        IMPLICIT_ACCEPT,
    )


def meaning(rules: list[Rule]) -> list[bool]:
    """Return for every address and port that matters whether it is accepted."""
    return [
        (index := first_match(rules, *point)) == IMPLICIT_ACCEPT or rules[index].accept
        for point in product(FAMILIES, (*ADDRESSES, (1 << 32) - 1), PORTS)
    ]


@given(policies)
def test_the_first_matching_rule_decides(rules: list[Rule]) -> None:
    """For every address and port, the deciding rule is the first that matches."""
    decisions = Decisions(rules)
    for family, address, port in product(FAMILIES, ADDRESSES, PORTS):
        point = Destination(family, address, address, ((port, port),))
        assert decisions.deciding(point) == [first_match(rules, family, address, port)]


@given(
    policies,
    st.sampled_from(FAMILIES),
    st.integers(0, 9),
    st.integers(0, 9),
    st.sets(st.sampled_from(PORTS), min_size=1),
)
def test_the_rules_that_decide_a_destination_are_those_of_its_parts(
    rules: list[Rule], family: Family, one: int, other: int, ports: set[int]
) -> None:
    """Exactly the rules that decide a part of a destination are returned."""
    destination = Destination(
        family, min(one, other), max(one, other), tuple((p, p) for p in sorted(ports))
    )
    points = product(range(destination.first, destination.last + 1), sorted(ports))
    expected = {point: first_match(rules, family, *point) for point in points}
    decisions = Decisions(rules)
    assert decisions.deciding(destination) == sorted(set(expected.values()))
    pieces = {
        (address, port): piece.rule
        for piece in decisions.pieces(destination)
        for address in range(piece.destination.first, piece.destination.last + 1)
        for low, high in piece.destination.ports
        for port in range(low, high + 1)
    }
    assert pieces == expected


@given(policies, policies)
def test_meaning_is_equal_exactly_when_every_connection_is(a: list[Rule], b: list[Rule]) -> None:
    """Two policies have the same meaning if and only if they accept the same connections."""
    assert same_meaning(a, b) == (meaning(a) == meaning(b))


@given(policies, st.data())
def test_meaning_survives_what_changes_nothing(rules: list[Rule], data: st.DataObject) -> None:
    """Duplicates, rules behind a catch-all and accepts at the end do not change the meaning."""
    more = list(rules)
    if rules:
        index = data.draw(st.integers(0, len(rules) - 1))
        more.insert(data.draw(st.integers(index + 1, len(rules))), rules[index])
    more.append(Rule(True, 4, 0, 1))
    assert same_meaning(rules, more)
    closed = [*rules, *parse_policy(["reject *:*"])]
    assert same_meaning(closed, [*closed, *more])
    assert not same_meaning(closed, rules) or meaning(closed) == meaning(rules)


@settings(max_examples=60)
@given(policies.map(lambda rules: [rule for rule in rules if rule.family == 4]))
def test_stem_decides_the_same(rules: list[Rule]) -> None:
    """Stem's evaluator, written by others, agrees on every IPv4 address and port."""
    oracle = stem.exit_policy.ExitPolicy(*(str(rule) for rule in rules), "accept *:*")
    decisions = Decisions(rules)
    for address, port in product(ADDRESSES, PORTS):
        point = Destination(4, address, address, ((port, port),))
        (index,) = decisions.deciding(point)
        assert decisions.accepts(index) == oracle.can_exit_to(f"0.0.0.{address}", port)


def test_the_last_address_and_port_belong_to_it() -> None:
    """The highest addresses and ports of both families are covered."""
    rules = parse_policy(["reject 255.255.255.255:65535", "reject [ffff::]/16:65535", "accept *:*"])
    decisions = Decisions(rules)
    assert decisions.deciding(parse_destination("255.255.255.255:65535")) == [0]
    assert decisions.deciding(parse_destination("255.255.255.255:65534-65535")) == [0, 2]
    last = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"
    assert decisions.deciding(parse_destination(last)) == [1]


def test_without_rules_everything_is_accepted() -> None:
    """Where no rule matches, Tor accepts."""
    decisions = Decisions([])
    assert decisions.deciding(parse_destination("203.0.113.7")) == [IMPLICIT_ACCEPT]
    assert decisions.accepts(IMPLICIT_ACCEPT)
    assert decisions.meaning() == Decisions(parse_policy(["accept *:*"])).meaning()


@settings(max_examples=200)
@given(policies, st.lists(st.tuples(st.sampled_from(FAMILIES), st.integers(0, 9)), min_size=1))
def test_a_remembered_answer_is_that_of_its_ports(
    rules: list[Rule], addresses: list[tuple[Family, int]]
) -> None:
    """Asked about many ports of many addresses in turn, a policy answers as it would afresh."""
    decisions = Decisions(rules)
    for family, address in addresses * 2:
        for low, high in ((1, 65535), (1, 3), (3, 65533), (65534, 65535), (2, 2)):
            asked = Destination(family, address, address, ((low, high),))
            expected = not any(
                (index := first_match(rules, family, address, port)) == IMPLICIT_ACCEPT
                or rules[index].accept
                for port in PORTS
                if low <= port <= high
            )
            assert decisions.rejects(asked) is expected
