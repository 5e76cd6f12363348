"""`policy.difference`: what one exit policy accepts and another does not."""

from hypothesis import given
from hypothesis import strategies as st

from exitpolicy.core.destination import Destination, parse_destination
from exitpolicy.policy.difference import compare
from exitpolicy.policy.evaluate import Decisions
from exitpolicy.policy.rule import Rule, parse_policy
from tests import strategies

WEB = ("reject private:*", "accept *4:80", "accept *4:443", "reject *:*")


def sentences(before: tuple[str, ...], after: tuple[str, ...], *ignoring: str) -> tuple[str, ...]:
    """Compare policies written as torrc rules."""
    destinations = [parse_destination(text) for text in ignoring]
    return compare(parse_policy(before), parse_policy(after), ignoring=destinations).sentences


def test_a_port_for_all_addresses_is_written_with_a_star() -> None:
    """Private addresses are rejected by both policies and do not spoil the star."""
    mail = (WEB[0], "accept *4:25", *WEB[1:])
    assert sentences(WEB, mail) == ("now accepted: *:25",)
    assert sentences(mail, WEB) == ("no longer accepted: *:25",)


def test_a_few_addresses_are_named() -> None:
    """A rejected network is named with the ports that it loses."""
    narrower = (WEB[0], "reject 203.0.113.0/24:443", *WEB[1:])
    assert sentences(WEB, narrower) == ("no longer accepted: 203.0.113.0/24:443",)


def test_exceptions_of_a_star_are_mentioned() -> None:
    """A port that is accepted for most addresses is not reported as accepted for all."""
    mail = (WEB[0], "reject 203.0.113.0/24:25", "accept *4:25", *WEB[1:])
    assert sentences(WEB, mail) == ("now accepted: *:25 (not for all addresses)",)


def test_both_directions_and_ipv6_are_reported() -> None:
    """The case of October 2026: a web exit becomes open, but for mail."""
    after = ("reject *6:*", "reject private:*", "reject *4:443", "accept *4:*")
    before = (*WEB[:3], "accept *6:22", "reject *:*")
    assert sentences(before, after) == (
        "now accepted: *:1-79,81-442,444-65535",
        "no longer accepted: *:443, *6:22",
    )


def test_ignored_destinations_do_not_count() -> None:
    """Own addresses and blocks may change without a report."""
    narrower = ("reject 203.0.113.7:*", "reject 203.0.113.9:80", *WEB)
    assert sentences(WEB, narrower, "203.0.113.7", "203.0.113.9:80") == ()
    assert sentences(WEB, narrower, "203.0.113.7") == ("no longer accepted: 203.0.113.9:80",)


def test_long_lists_are_counted() -> None:
    """At most eight destinations are named."""
    many = tuple(f"reject 203.0.113.{2 * number}:80" for number in range(12))
    (sentence,) = sentences(WEB, (*many, *WEB))
    assert sentence.endswith(" and 4 more")
    assert sentence.count(":80") == 8


policies = st.lists(strategies.small_rules(), max_size=8)


@given(policies, policies, st.integers(0, 15), st.sampled_from([1, 2, 3, 4, 65534, 65535]))
def test_the_difference_is_what_only_one_policy_accepts(
    before: list[Rule], after: list[Rule], address: int, port: int
) -> None:
    """For every point, the difference agrees with both policies."""
    found = compare(before, after)

    def accepts(rules: list[Rule], family: int) -> bool:
        decisions = Decisions(rules)
        (piece,) = decisions.pieces(
            Destination(4 if family == 4 else 6, address, address, ((port, port),))
        )
        return decisions.accepts(piece.rule)

    for family in (4, 6):
        for areas, expected in (
            (found.accepted, accepts(after, family) and not accepts(before, family)),
            (found.rejected, accepts(before, family) and not accepts(after, family)),
        ):
            inside = [
                area
                for area in areas
                if area.family == family
                and any(first <= address <= last for first, last in area.addresses)
                and any(low <= port <= high for low, high in area.ports)
            ]
            assert len(inside) == expected
