"""`limits`: both sides of each limit, and exactly the numbers of a real Tor."""

import random
import time
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exitpolicy.cli.status import limits_json
from exitpolicy.core.addresses import BITS, Family
from exitpolicy.core.destination import Destination
from exitpolicy.policy.descriptor import (
    DESCRIPTOR_LIMIT,
    DESCRIPTOR_SPARE,
    OTHER_CONTENT,
    lone_bytes,
    other_bytes,
    rules_bytes,
)
from exitpolicy.policy.exit_flag import free_networks
from exitpolicy.policy.limits import Limits, assess, measure
from exitpolicy.policy.port_summary import REJECTED_LIMIT, port_summary
from exitpolicy.policy.redundancy import remove_redundancies
from exitpolicy.policy.rule import PRIVATE, Rule, parse_policy
from tests.harness.tor import lone_tor
from tests.strategies import destinations

EVERYTHING = "accept *:*"
SEPARATE_PORTS = [f"reject *:{port}" for port in range(10_001, 10_601, 2)]
DESCRIPTOR = b"router x 192.0.2.1 9001 0 0\nuptime 5\naccept *:*\nipv6-policy accept 80\nend\n\n"


def policy(*rules: str) -> tuple[Rule, ...]:
    """Return rules from their text."""
    return parse_policy(rules)


def summary(family: Family, *rules: str) -> str:
    """Return the text of the port summary of rules."""
    return port_summary(policy(*rules), family).text


def limits(*rules: str) -> Limits:
    """Return the limits of a relay without a readable descriptor."""
    return measure(policy(*rules), None)


def kinds(before: Limits, after: Limits) -> list[tuple[str, bool]]:
    """Return which limits a change breaks, and which of them may be forced."""
    return [(problem.limit, problem.forcible) for problem in assess(before, after)]


# -- the descriptor ------------------------------------------------------------------------------


def descriptor_of(size: int, *rules: str) -> bytes:
    """Return a descriptor so long that with these rules it has `size` bytes."""
    own = sum(len(f"{rule}\n") for rule in rules)
    return b"x" * (size - own - 1) + b"\n" + "".join(f"{rule}\n" for rule in rules).encode()


def test_only_policy_lines_are_replaced_in_a_descriptor() -> None:
    """All lines but accept, reject and ipv6-policy count; empty lines at the end do not."""
    assert other_bytes(DESCRIPTOR) == len(b"router x 192.0.2.1 9001 0 0\nuptime 5\nend\n")
    assert other_bytes(DESCRIPTOR.replace(b"\n", b"\r\n")) == other_bytes(DESCRIPTOR)
    assert other_bytes(b"contact reject this\nonion-key\n") == 30


def test_rules_for_ipv4_are_lines_and_those_for_ipv6_a_summary() -> None:
    """A thousand IPv6 rules cost as much as one; each IPv4 rule costs its line."""
    alone = limits(EVERYTHING).descriptor_bytes
    assert limits("reject 203.0.113.7:*", EVERYTHING).descriptor_bytes - alone == 21
    many = [f"reject [2001:db8::{i:x}]:*" for i in range(1, 1000)]
    assert limits(*many, EVERYTHING).descriptor_bytes == alone
    assert limits("reject [2001:db8::]/32:25", "reject *6:25", EVERYTHING).descriptor_bytes == (
        alone + len("reject 25") - len("accept 1-65535")
    )


def test_a_closed_ipv6_policy_has_no_line() -> None:
    """`ipv6-policy reject 1-65535` is left out."""
    assert limits("reject *6:*", EVERYTHING).descriptor_bytes == OTHER_CONTENT + len("accept *:*\n")
    assert limits("reject *:*").descriptor_bytes == OTHER_CONTENT + len("reject *:*\n")


def test_a_policy_that_accepts_nothing_is_one_line() -> None:
    """Rules after `reject *:*` for both families are not published."""
    assert limits("reject 203.0.113.7:*", "reject *:*").policy_lines == 1


def test_an_unknown_descriptor_is_assumed_to_be_long() -> None:
    """Without a descriptor 4,000 bytes are assumed, and that is said."""
    unknown, known = limits(EVERYTHING), measure(policy(EVERYTHING), DESCRIPTOR)
    assert not unknown.descriptor_known
    assert known.descriptor_known
    assert unknown.descriptor_bytes - known.descriptor_bytes == 4000 - other_bytes(DESCRIPTOR)


@pytest.mark.parametrize(("bytes_after", "fits"), [(19_500, True), (19_501, False)])
def test_the_descriptor_keeps_500_bytes_spare(bytes_after: int, fits: bool) -> None:
    """19,500 bytes are accepted, one more is not, also with --force."""
    text = descriptor_of(bytes_after - 21, EVERYTHING, "ipv6-policy accept 1-65535")
    before = measure(policy(EVERYTHING), text)
    after = measure(policy("reject 203.0.113.7:*", EVERYTHING), text)
    assert after.descriptor_bytes == bytes_after
    assert kinds(before, after) == ([] if fits else [("descriptor", False)])


def test_a_descriptor_problem_says_how_much_too_much_and_how_much_fits() -> None:
    """1,000 addresses of 21 bytes each, of which only a part fits."""
    text = descriptor_of(2_000, EVERYTHING, "ipv6-policy accept 1-65535")
    before = measure(policy(EVERYTHING), text)
    rules = [f"reject 203.0.{100 + i // 100}.{100 + i % 100}:*" for i in range(1000)]
    after = measure(policy(*rules, EVERYTHING), text)
    (problem,) = assess(before, after)
    assert problem.excess == after.descriptor_bytes - 19_500 == 2_000 + 23_000 - 19_500
    assert problem.fits == 17_500 // 23
    assert "25,000 bytes" in problem.message
    assert "760 more rules" in problem.hint


def test_lifting_is_allowed_where_the_descriptor_is_too_long_already() -> None:
    """A change that does not make a broken limit worse is allowed; a byte more is not."""
    text = descriptor_of(25_000, EVERYTHING, "reject 203.0.113.7:*")
    more = measure(policy("reject 203.0.113.7:*", EVERYTHING), text)
    less = measure(policy(EVERYTHING), text)
    assert less.descriptor_room < 0
    assert kinds(more, less) == []
    assert kinds(more, more) == []
    assert kinds(less, more) == [("descriptor", False)]


# -- the port summary ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "rules", "text"),
    [
        (4, ["reject 20.0.0.0/7:*"], "accept 1-65535"),
        (4, ["reject 20.0.0.0/7:*", "reject 30.0.0.1:*"], "reject 1-65535"),
        (4, ["reject 20.0.0.0/7:80", "reject 30.0.0.1:79-81"], "reject 80"),
        (4, ["reject 20.0.0.0/8:*", "reject 20.0.0.0/8:80", "reject 20.0.0.0/9:*"], "reject 80"),
        (4, ["reject 20.0.0.0/8:*", "reject 20.0.0.0/8:80"], "accept 1-65535"),
        (6, ["reject [2001::]/16:*"], "accept 1-65535"),
        (6, ["reject [2001::]/16:*", "reject [2002::]/64:*"], "reject 1-65535"),
        (6, ["reject [2001::]/16:*", "reject [2002::]/65:*"], "accept 1-65535"),
        (6, ["reject [2000::]/15:22"], "reject 22"),
        (6, ["reject *6:22", "reject *6:22"], "reject 22"),
    ],
)
def test_a_port_is_closed_by_one_address_too_many(
    family: Family, rules: list[str], text: str
) -> None:
    """2^25 addresses or 2^48 /64s are the most; overlaps count twice, smaller networks not."""
    assert summary(family, *rules, EVERYTHING) == text


@pytest.mark.parametrize("network", PRIVATE)
def test_exactly_the_private_networks_do_not_count(network: str) -> None:
    """`reject private` is free; half of a private network counts like any other."""
    rule = policy(f"reject {network}:*")[0]
    assert port_summary([rule], rule.family).rejected(80) == 0
    if (rule.family, rule.prefix) != (6, 127):
        half = rule._replace(prefix=rule.prefix + 1)
        bits = 32 if rule.family == 4 else 64
        assert port_summary([half], rule.family).rejected(80) == 2 ** (bits - half.prefix)


def test_only_rules_for_all_addresses_accept() -> None:
    """In the summary, `accept` of a network opens no port, and `accept` of all addresses does."""
    assert summary(4, "accept 20.0.0.0/8:*", "reject *:*") == "reject 1-65535"
    assert summary(4, "accept *:80", "accept *:443", "reject *:*") == "accept 80,443"
    assert summary(4) == "reject 1-65535"


def test_the_count_that_matters_is_that_before_the_accept() -> None:
    """Reject rules after the accept rule neither close a port nor count."""
    counted = port_summary(
        policy("reject 20.0.0.0/24:80", "accept *:80", "reject 30.0.0.0/5:80", "reject *:*"), 4
    )
    assert counted.text == "accept 80"
    assert counted.rejected(80) == counted.most_rejected == 256
    assert counted.rejected(81) == 2**32


def test_counters_do_not_overflow() -> None:
    """`::/0` counts as the maximum, also if it occurs several times."""
    counted = port_summary(policy("reject *6:22", "reject *6:20-30", "reject [2001::]/16:22"), 6)
    assert counted.rejected(22) == 2**64 - 1
    assert counted.rejected(1) == 0


def test_a_long_summary_is_cut_before_the_comma() -> None:
    """If neither form fits into 1,000 characters, the last accepted ports are lost."""
    counted = port_summary(policy(*SEPARATE_PORTS, EVERYTHING), 4)
    assert counted.text.startswith("accept 1-10000,10002,10004,")
    assert counted.is_cut
    assert len(counted.text) <= 1000 < len(counted.text) + len(",10002")
    last = int(counted.text.rsplit(",", 1)[1])
    assert counted.ports[-1] == (last, last)
    short = port_summary(policy(*SEPARATE_PORTS[:150], EVERYTHING), 4)
    assert not short.is_cut
    assert short.text.startswith("reject 10001,10003,")


PORTS = (1, 22, 79, 80, 81, 443, 65535)
port_ranges = st.tuples(st.sampled_from(PORTS), st.sampled_from(PORTS)).map(sorted)


@st.composite
def any_rule(draw: st.DrawFn) -> Rule:
    """Any rule of a small part of the world, where rules often meet."""
    family: Family = draw(st.sampled_from((4, 6)))
    bits = BITS[family]
    low, high = draw(port_ranges)
    lengths = (0, 0, 1, 7, 8, 9, 16, 24, 32) if family == 4 else (0, 0, 15, 16, 17, 64, 65, 128)
    prefix = draw(st.sampled_from(lengths))
    network = draw(st.integers(0, 7)) << bits - 3 | draw(st.integers(0, 3)) << bits - 9
    network |= draw(st.integers(0, 2))
    if draw(st.booleans()):
        low, high = 1, 65535
    network = network >> bits - prefix << bits - prefix
    return Rule(draw(st.booleans()), family, network, prefix, low, high)


rule_lists = st.lists(any_rule(), max_size=14)


@given(rule_lists)
@settings(deadline=None)
def test_counts_are_those_of_each_port_alone(rules: list[Rule]) -> None:
    """For each port, the result is that of a walk over the rules of this port only."""
    private = {str(rule.destination) for n in PRIVATE for rule in policy(f"reject {n}:*")}
    families: tuple[Family, ...] = (4, 6)
    for family in families:
        found = port_summary(rules, family)
        for port in {q for p in PORTS for q in (p - 1, p, p + 1)} - {0, 65536}:
            count, accepted = 0, False
            for rule in rules:
                if rule.family != family or not rule.low <= port <= rule.high:
                    continue
                if rule.accept and rule.prefix == 0:
                    accepted = count <= REJECTED_LIMIT[family]
                    break
                whole = str(rule._replace(low=1, high=65535).destination)
                if not rule.accept and whole not in private:
                    size = rule.last - rule.network + 1
                    count += size if family == 4 else size >> 64
            assert found.rejected(port) == min(count, 2**64 - 1)
            assert any(low <= port <= high for low, high in found.ports) == accepted


def test_a_policy_of_20000_alternating_rules_is_summarized_in_two_seconds() -> None:
    """The time does not grow with the product of accept and reject rules."""
    rules = policy(*(f"{'accept' if n % 2 else 'reject'} *:{n * 3 + 1}" for n in range(20_000)))
    begun = time.process_time()
    port_summary(rules, 4)
    assert time.process_time() - begun < 2


def test_the_shorter_form_is_taken_and_accept_where_both_are_as_long() -> None:
    """`reject` needs to be shorter, not just as short."""
    assert summary(4, "reject *:1", "reject *:65535", EVERYTHING) == "accept 2-65534"
    assert summary(4, "reject *:1", "reject *:6553", EVERYTHING) == "reject 1,6553"


@pytest.mark.parametrize(("first", "is_cut"), [(9, False), (10, True)])
def test_a_list_of_993_characters_is_not_cut(first: int, is_cut: bool) -> None:
    """With `accept` and a blank that is 1,000; one character more is too long."""
    counted = port_summary(policy(f"reject *:1-{first}", *SEPARATE_PORTS[:165], EVERYTHING), 4)
    assert counted.is_cut == is_cut
    assert counted.text.startswith("accept" if is_cut else "reject")


def test_a_list_is_cut_behind_993_characters_where_a_comma_follows() -> None:
    """The comma itself may be the 994th character."""
    counted = port_summary(policy("reject *:1-99", *SEPARATE_PORTS, EVERYTHING), 4)
    assert len(counted.text) == 1000


def test_a_port_that_would_be_closed_is_the_operators_choice() -> None:
    """Three /8s close all ports: the error says by how much and what would fit; --force works."""
    before = limits("reject 20.0.0.0/8:*", EVERYTHING)
    after = limits("reject 20.0.0.0/8:*", "reject 30.0.0.0/7:*", EVERYTHING)
    (problem,) = assess(before, after)
    assert (problem.limit, problem.forcible) == ("ports", True)
    assert problem.excess == 2**24
    assert problem.fits == 2**24
    assert "on every port: " in problem.message
    assert "16,777,216" in problem.message
    assert kinds(after, before) == []
    assert kinds(after, after) == []


def test_each_family_has_its_own_ports() -> None:
    """IPv6 is judged like IPv4, in /64 networks."""
    before = limits(EVERYTHING)
    after = limits("reject [2000::]/15:22", EVERYTHING)
    (problem,) = assess(before, after)
    assert problem.excess == 2**48
    assert "IPv6 on port 22" in problem.message


def test_ports_that_were_closed_before_are_not_held_against_a_change() -> None:
    """More blocks on a port that no client can use anyway are allowed."""
    before = limits("reject *:25", EVERYTHING)
    after = limits("reject 30.0.0.0/6:25", "reject *:25", EVERYTHING)
    assert kinds(before, after) == []


def test_a_summary_that_would_be_cut_is_a_problem() -> None:
    """With very many separate ports, the line has no room for all accepted ones."""
    before, after = limits(*SEPARATE_PORTS[:150], EVERYTHING), limits(*SEPARATE_PORTS, EVERYTHING)
    assert not before.ipv4.is_cut
    assert after.ipv4.is_cut
    problems = assess(before, after)
    assert {problem.limit for problem in problems} == {"ports"}
    assert all(len(problem.message) < 250 for problem in problems)


# -- the Exit flag -------------------------------------------------------------------------------


def touch(*networks: int, port: str = "*") -> list[str]:
    """Return a block of one address in each /8."""
    return [f"reject {network}.1.2.3:{port}" for network in networks]


def test_the_exit_flag_needs_one_slash_8_without_any_block() -> None:
    """One address uses up its whole /8; the last unused /8 keeps the flag."""
    public = [network for network in range(256) if network not in {0, 10, 127}]
    assert limits(*touch(*public[:-1]), EVERYTHING).free_networks == (1, 1)
    assert limits(*touch(*public[:-1]), EVERYTHING).exit_flag
    assert not limits(*touch(*public), EVERYTHING).exit_flag
    assert limits(EVERYTHING).free_networks == (253, 253)
    assert limits(*touch(*public, port="22"), EVERYTHING).exit_flag


@pytest.mark.parametrize("port", ["80", "443"])
def test_the_exit_flag_needs_both_ports(port: str) -> None:
    """Losing port 80 or 443 alone costs the flag, which --force allows."""
    before = limits(*touch(*range(1, 255)), EVERYTHING)
    after = limits(*touch(*range(1, 255)), *touch(255, port=port), EVERYTHING)
    assert before.exit_flag
    (problem,) = assess(before, after)
    assert (problem.limit, problem.forcible) == ("exit flag", True)
    assert problem.message.endswith(f"port {port}")
    assert kinds(after, before) == []


def test_a_slash_8_must_be_accepted_by_one_rule() -> None:
    """An accepted /8 is enough, its two halves are not; internal ones do not count."""
    assert free_networks(policy("accept 20.0.0.0/8:80", "reject *:*"), 80) == 1
    assert free_networks(policy("accept 20.0.0.0/9:80", "accept 20.128.0.0/9:80"), 80) == 0
    assert free_networks(policy("accept 10.0.0.0/8:80"), 80) == 0
    assert free_networks(policy("accept 20.0.0.0/7:80"), 80) == 2
    assert free_networks(policy("accept 20.0.0.0/7:80", "reject 20.0.0.1:80"), 80) == 2
    assert free_networks(policy("reject 20.0.0.1:80", "accept 20.0.0.0/7:80"), 80) == 1


def test_the_keys_of_status() -> None:
    """`descriptor`, `rejected_addresses` by open ports, `port_summary`, `exit_flag`."""
    known = measure(policy("reject 20.0.0.0/24:80", "reject *:25", EVERYTHING), DESCRIPTOR)
    assert limits_json(known) == {
        "descriptor": {"bytes": known.descriptor_bytes, "limit": DESCRIPTOR_LIMIT},
        "rejected_addresses": {"1-24": 0, "26-79": 0, "80": 256, "81-65535": 0, "limit": 2**25},
        "port_summary": {"ipv4": "reject 25", "ipv6": "reject 25"},
        "exit_flag": True,
    }
    assert limits_json(limits(EVERYTHING))["descriptor"] == {"bytes": None, "limit": 20_000}


# -- what Tor drops ------------------------------------------------------------------------------


def covers(wide: Rule, rule: Rule) -> bool:
    """Tell whether a rule covers another, as Tor does."""
    return (
        wide.family == rule.family
        and wide.network <= rule.network
        and rule.last <= wide.last
        and wide.low <= rule.low
        and rule.high <= wide.high
    )


def reduced_slowly(rules: Iterable[Rule]) -> list[Rule]:
    """Do what Tor does, step by step and with its quadratic loops."""
    left: list[Rule] = []
    closed = set()
    for rule in rules:
        if rule.family not in closed:
            left.append(rule)
        if rule.is_catch_all:
            closed.add(rule.family)
    i = 0
    while i < len(left):
        left[i + 1 :] = [rule for rule in left[i + 1 :] if not covers(left[i], rule)]
        i += 1
    i = 0
    while i < len(left):
        for other in left[i + 1 :]:
            if other.accept != left[i].accept:
                if other.destination.overlaps(left[i].destination):
                    break
            elif covers(other, left[i]):
                del left[i]
                i -= 1
                break
        i += 1
    return left


@given(rule_lists)
@settings(max_examples=400, deadline=None)
def test_redundant_rules_are_those_of_the_quadratic_loops(rules: list[Rule]) -> None:
    """The quick way drops just what Tor's own loops drop."""
    assert list(remove_redundancies(rules)) == reduced_slowly(rules)


@given(
    st.lists(
        st.builds(
            lambda accept, prefix, host, low, span: Rule(
                accept, 4, host >> 32 - prefix << 32 - prefix, prefix, low, low + span
            ),
            st.booleans(),
            st.sampled_from([0, 30, 31, 32]),
            st.integers(0, 3),
            st.integers(1, 12),
            st.sampled_from([0, 0, 0, 1, 3]),
        ),
        min_size=30,
        max_size=80,
    )
)
@settings(max_examples=150, deadline=None)
def test_redundant_rules_of_few_networks_with_many_ports(rules: list[Rule]) -> None:
    """The same where many rules share a network, and accept and reject alternate."""
    assert list(remove_redundancies(rules)) == reduced_slowly(rules)


def test_very_many_alternating_rules_take_no_quadratic_time() -> None:
    """20,000 rules that alternate by port: no rule is compared with all that follow it."""
    rules = [Rule(port % 2 == 0, 4, 0, 0, port, port) for port in range(1, 20_001)]
    rules += [Rule(accept, 4, host << 8, 24) for accept in (True, False) for host in range(5_000)]
    began = time.process_time()
    left = remove_redundancies([*rules, *parse_policy(["accept *:*"])])
    assert time.process_time() - began < 10  # quadratic: more than a minute
    # The last rule covers the accepting ones: no reject in between has their port.
    assert [rule.prefix for rule in left if rule.accept] == [0, 0]


def random_policy(seed: int) -> list[str]:
    """Return an unusual policy, as a torrc could have it."""
    dice = random.Random(seed)  # noqa: S311 - nothing here is secret
    rules = []
    for _ in range(60):
        action = dice.choice(("accept", "reject", "reject"))
        prefix = dice.choice((8, 9, 16, 24, 32))
        number = dice.choice((20 << 24, 30 << 24)) | dice.getrandbits(5) << 19 | dice.getrandbits(3)
        number = number >> 32 - prefix << 32 - prefix
        address = ".".join(str(byte) for byte in number.to_bytes(4, "big"))
        if dice.random() < 0.3:
            address, prefix = f"[2001:db8:{dice.getrandbits(2):x}::]", dice.choice((32, 48, 128))
            if prefix == 32:
                address = "[2001:db8::]"
        ports = dice.choice(("*", "22", "80", "443", "20-25", "79-81", "1-1023"))
        rules.append(f"{action} {address}/{prefix}:{ports}")
    return rules


POLICIES: Sequence[list[str]] = [
    ["reject 203.0.113.7:*", "reject 203.0.113.0/24:80", "reject [2001:db8::]/32:*"],
    [f"reject 198.51.100.{i}:*" for i in range(100)] + ["reject 198.51.100.0/26:22"],
    ["reject private:*", "reject 10.0.0.0/9:*", "accept *:80", "accept *:443", "reject *:*"],
    ["reject [2001::]/16:*", EVERYTHING],
    ["reject [2001::]/16:*", "reject [2002::]/64:*", EVERYTHING],
    ["reject [2001::]/16:22", "reject [2002::]/64:20-30", "reject [2003::]/65:*", EVERYTHING],
    [*SEPARATE_PORTS, EVERYTHING],
    [*SEPARATE_PORTS[:150], EVERYTHING],
    ["reject *6:*", EVERYTHING],
    ["reject 203.0.113.7:*", "reject *:*"],
    [*random_policy(1), EVERYTHING],
    [*random_policy(2), "accept *:22-443", "reject *:*"],
    ["reject *4:25", "reject *6:26", EVERYTHING],
    ["reject *:1", "reject *:65535", EVERYTHING],  # both forms have the same length
    ["reject *:1-9", *SEPARATE_PORTS[:165], EVERYTHING],  # 993 characters, the most
    ["reject *:1-10", *SEPARATE_PORTS[:165], EVERYTHING],  # 994
    ["reject *:1-99", *SEPARATE_PORTS, EVERYTHING],  # cut at a comma behind 993 characters
]


def enforced(lines: Sequence[str]) -> tuple[Rule, ...]:
    """Read exit-policy/full, where `*` without a 6 is IPv4 alone, unlike in torrc.

    But a policy that accepts nothing is written `reject *:*`, for both.
    """
    if list(lines) == ["reject *:*"]:
        return policy("reject *:*")
    return tuple(
        rule
        for line in lines
        for rule in policy(line)
        if (rule.family == 6) == line.startswith(("accept6", "reject6"))
    )


def fixed(descriptor: bytes) -> bytes:
    """Return a descriptor without its lines that change length by themselves."""
    return b"".join(
        line
        for line in descriptor.splitlines(keepends=True)
        if not line.startswith((b"uptime ", b"bandwidth "))
    )


@pytest.fixture(scope="module", name="observed")
def _observed(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[list[str], bytes]]:
    """Return what a real Tor enforces and publishes under each of the policies."""
    seen = []
    folder = tmp_path_factory.mktemp("tor")
    options = ["IPv6Exit 1", "ExitPolicyRejectPrivate 0", "ContactInfo reject spam, accept mail"]
    with lone_tor(folder, POLICIES[0], options) as tor:
        seen.append((tor.policy(), tor.descriptor()))
        for rules in POLICIES[1:]:
            tor.set_policy(rules)
            seen.append((tor.policy(), tor.descriptor()))
    return seen


@pytest.mark.parametrize("i", range(len(POLICIES)))
def test_a_real_tor_keeps_the_rules_that_are_predicted(
    observed: list[tuple[list[str], bytes]], i: int
) -> None:
    """The rules of the torrc, followed by Tor's default policy, reduce to exit-policy/full."""
    configured = policy(*POLICIES[i])
    live = enforced(observed[i][0])
    if not any(rule.is_catch_all for rule in configured):
        default = next(at for at, rule in enumerate(live) if str(rule) == "reject *:25")
        configured += live[default:]
    predicted = remove_redundancies(configured)
    if any(rule.accept for rule in predicted):
        assert predicted == live
    else:
        assert observed[i][0] == ["reject *:*"]


@pytest.mark.parametrize("i", range(len(POLICIES)))
def test_a_real_tors_descriptor_has_the_bytes_that_are_predicted(
    observed: list[tuple[list[str], bytes]], i: int
) -> None:
    """The exact bytes, from its own descriptor and from one with another policy."""
    rules, descriptor = observed[i]
    for known in descriptor, observed[i - 1][1]:
        predicted = measure(enforced(rules), fixed(known))
        assert predicted.descriptor_bytes == len(fixed(descriptor))


@pytest.mark.parametrize("i", range(len(POLICIES)))
def test_a_real_tors_policy_lines_are_those_predicted(
    observed: list[tuple[list[str], bytes]], i: int
) -> None:
    """Its ipv6-policy line is the predicted summary, which nothing else shows of policy_summarize.

    `p` lines come from the same function of Tor, for the other family.
    """
    rules, descriptor = observed[i]
    lines = descriptor.decode().splitlines()
    written = [line.partition(" ")[2] for line in lines if line.startswith("ipv6-policy ")]
    predicted = measure(enforced(rules), None)
    assert written == [predicted.ipv6.text] * (predicted.ipv6.text != "reject 1-65535")
    assert predicted.policy_lines == sum(line.startswith(("accept ", "reject ")) for line in lines)


def test_spare_and_limit_are_those_of_the_authorities() -> None:
    """The numbers that the README states."""
    assert (DESCRIPTOR_LIMIT, DESCRIPTOR_SPARE) == (20_000, 500)
    assert REJECTED_LIMIT == {4: 2**25, 6: 2**48}


@given(destinations())
def test_lone_bytes_are_those_of_its_rules(destination: Destination) -> None:
    """The size of a destination's lines, also where they are counted without rules."""
    rules = [
        Rule(False, part.family, network, length, low, high)
        for part in destination.ranges
        for network, length in part.prefixes()
        for low, high in destination.ports
    ]
    assert lone_bytes(destination) == rules_bytes(rules)
