"""`options`: the computed policy of a Tor equals the policy that it enforces."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exitpolicy.policy.evaluate import same_meaning
from exitpolicy.policy.options import OPTION_NAMES, ExitOptions, first_catch_all
from exitpolicy.policy.rule import (
    Entry,
    Rule,
    RuleError,
    UnknownRule,
    parse_entries,
    parse_policy,
)
from exitpolicy.storage import base_policies
from exitpolicy.tor import verify
from exitpolicy.tor.invocation import Invocation
from tests.harness.tor import TOR, Tor, lone_tor

OWN: tuple[tuple[str, ...], ...] = (
    (),
    ("reject 203.0.113.7:*", "reject [2001:db8::1]:22,accept *:443", "reject *:25"),
    ("accept *:80", "reject *:*"),
)
Combination = tuple[str, str, str, str, tuple[str, ...]]


def kills_tor(combination: Combination) -> bool:
    """Tell whether Tor 0.4.9.11 fails an assertion: an exit with nothing before its default."""
    exit_relay, ipv6_exit, _, reject_private, own = combination
    return exit_relay != "0" and ipv6_exit == "1" and reject_private == "0" and not own


COMBINATIONS: Sequence[Combination] = [
    combination
    for combination in product(("0", "1", "auto"), ("0", "1"), ("0", "1"), ("0", "1"), OWN)
    if not kills_tor(combination)
]
TORS = 6
"""How many Tors share the work: each change takes one of them more than a second."""
SETTLED = 1.15
"""Seconds after which a reloaded Tor enforces what it read."""


def compared(tor: Tor, combination: Combination) -> str | None:
    """Reload a Tor with a combination; return what differs from what is expected, if anything."""
    exit_relay, ipv6_exit, reduced, reject_private, own = combination
    kept = [line for line in tor.torrc.read_text().splitlines() if line.split()[0] not in OPTIONS]
    options = [f"ExitRelay {exit_relay}", f"IPv6Exit {ipv6_exit}", f"ReducedExitPolicy {reduced}"]
    # Tor makes no new policy when nothing but ReducedExitPolicy changes.
    options += [f"ExitPolicyRejectPrivate {reject_private}", f"ContactInfo {combination}"]
    options += [f"ExitPolicy {line}" for line in own]
    tor.torrc.write_text("".join(f"{line}\n" for line in (*kept, *options)))
    tor.reload()
    time.sleep(SETTLED)
    enforced = parse_policy(tor.policy())
    with tor.control() as control:
        told = {name: control.conf(name) for name in OPTION_NAMES}
        default = control.info("exit-policy/default")
        local = control.info("exit-policy/reject-private/relay").splitlines()
    running = ExitOptions.read(told)
    expected = running.policy(
        default=parse_policy([default]),
        local=parse_policy(local),
        # Not what it enforces, for that is to be told; the base policy is the same one.
        enforced=base_policies.load("reduced").rules,
    )
    invocation = Invocation((TOR, "--defaults-torrc", "/dev/null"), Path("/"))
    read = verify.options(invocation, tor.torrc.read_text(), OPTION_NAMES)
    if ExitOptions.read(read) != running:
        return f"{combination}: tor reads {read}, runs {running}"
    if not same_meaning(enforced, expected):
        return f"{combination}: enforced {enforced}, expected {expected}"
    if running.exits == same_meaning(enforced, parse_policy(["reject *:*"])):
        return f"{combination}: is it an exit?"
    return None


OPTIONS = {"ExitRelay", "IPv6Exit", "ReducedExitPolicy", "ExitPolicyRejectPrivate", "ExitPolicy"}
OPTIONS |= {"ContactInfo"}


@pytest.mark.tor
def test_the_policy_is_what_tor_enforces_for_all_combinations(tmp_path: Path) -> None:
    """Of all exit options together a real Tor makes the policy that we say, and runs what it reads.

    Whether it exits at all is what `exits` says.
    """

    def part(number: int) -> list[str | None]:
        folder = tmp_path / str(number)
        folder.mkdir()
        with lone_tor(folder, ()) as tor:
            return [compared(tor, combination) for combination in COMBINATIONS[number::TORS]]

    with ThreadPoolExecutor(TORS) as pool:
        results = [result for results in pool.map(part, range(TORS)) for result in results]
    assert len(results) == len(COMBINATIONS) == 68
    assert [result for result in results if result is not None] == []


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, ExitOptions()),
        ({"ExitRelay": ("auto",)}, ExitOptions()),
        ({"ExitRelay": ("1",)}, ExitOptions(exit_relay=True)),
        ({"ExitRelay": ("0", "1", "0")}, ExitOptions(exit_relay=False)),
        ({"TestingTorNetwork": ("1",)}, ExitOptions(reject_private=False)),
        (
            {"TestingTorNetwork": ("1",), "ExitPolicyRejectPrivate": ("1",)},
            ExitOptions(reject_private=True),
        ),
        ({"ExitPolicyRejectPrivate": ("0",)}, ExitOptions(reject_private=False)),
        (
            {"ExitPolicy": ("reject *:25", "", " ")},
            ExitOptions(exit_policy=parse_entries(["reject *:25"])),
        ),
        (
            {"IPv6Exit": ("1",), "BridgeRelay": ("1",), "ReducedExitPolicy": ("1",)},
            ExitOptions(ipv6_exit=True, bridge=True, reduced=True),
        ),
        (
            {"ExitPolicy": ("reject *4:22, \t", "accept *:0")},
            ExitOptions(exit_policy=(Rule(False, 4, 0, 0, 22, 22), UnknownRule("accept *:0"))),
        ),
        ({"ContactInfo": ("x",)}, ExitOptions()),
    ],
)
def test_what_is_not_said_has_tors_default(
    values: dict[str, Sequence[str]], expected: ExitOptions
) -> None:
    """Absent options have their default; the last of several values counts."""
    assert ExitOptions.read(values) == expected


@pytest.mark.parametrize(
    ("options", "exits"),
    [
        (ExitOptions(), False),
        (ExitOptions(exit_policy=parse_entries(["reject 203.0.113.7:*"])), True),
        (ExitOptions(exit_policy=parse_entries(["reject6 203.0.113.7:*"])), True),
        (ExitOptions(exit_policy=parse_entries(["accept *:0"])), True),
        (ExitOptions(reduced=True), True),
        (ExitOptions(ipv6_exit=True), True),
        (
            ExitOptions(
                exit_relay=False, exit_policy=parse_entries(["accept *:*"]), ipv6_exit=True
            ),
            False,
        ),
        (ExitOptions(exit_relay=True), True),
    ],
)
def test_one_exit_option_makes_an_exit_of_a_relay_on_auto(
    options: ExitOptions, exits: bool
) -> None:
    """With ExitRelay auto, any exit option makes the relay an exit, even a reject."""
    assert options.exits is exits


def test_a_bridge_ends_in_reject() -> None:
    """A bridge gets no default policy but rejects what its own lines do not accept."""
    options = ExitOptions(exit_policy=parse_entries(["accept *:80"]), bridge=True, ipv6_exit=True)
    default = parse_policy(["accept *:*"])
    got = options.policy(default=default, local=())
    assert same_meaning(got, parse_policy(["reject private:*", "accept *:80", "reject *:*"]))


entries = st.lists(
    st.sampled_from(parse_entries(["reject *4:1", "reject *6:2", "odd *:3"])), max_size=5
)


@given(entries, entries, entries)
def test_the_operators_options_are_what_is_left_without_ours(
    above: list[Entry], ours: list[Entry], below: list[Entry]
) -> None:
    """Removing the fragment's rules leaves the operator's rules in their order."""
    options = ExitOptions(exit_policy=(*above, *ours, *below))
    own = options.without(ours)
    assert own.exit_policy == (*above, *below) or options.position(ours) != len(above)
    assert len(own.exit_policy) == len(above) + len(below)
    position = options.position(ours)
    assert (position is None) == (not ours)
    if position is not None:
        assert list(options.exit_policy[position : position + len(ours)]) == ours


def test_what_is_not_there_is_not_taken_out() -> None:
    """Rules that are not adjacent in the options are not the fragment's."""
    options = ExitOptions(exit_policy=parse_entries(["reject *:1", "reject *:9", "reject *:2"]))
    for texts in (("reject *:1", "reject *:2"), ("reject *:3",)):
        absent = parse_entries(texts)
        assert options.without(absent) is options
        assert options.position(absent) is None


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        ((), None),
        (("reject 203.0.113.7:*", "accept *:80"), None),
        (("reject *:25, accept *:*", "reject *:*"), "accept *4:*"),
        (("accept *:80", "reject *4:*"), "reject *4:*"),
        (("accept 0.0.0.0/0:1-65535",), "accept *4:*"),
        (("accept *:",), "accept *4:*"),
        (("opt reject *:80", "accept *:*"), "accept *4:*"),
    ],
)
def test_the_first_catch_all_is_found(values: tuple[str, ...], rule: str | None) -> None:
    """The first catch-all rule is found, whatever precedes it."""
    found = first_catch_all(parse_entries(values))
    assert (found and found.torrc_text) == rule


def test_a_rule_that_is_not_understood_is_an_error_of_ours() -> None:
    """A rule that only Tor understands is named in an error."""
    options = ExitOptions(exit_policy=parse_entries(["reject *:0"]), exit_relay=True)
    assert [str(entry) for entry in options.unknown] == ["reject *:0"]
    with pytest.raises(RuleError, match=r"'reject \*:0' is not an exit policy rule"):
        options.policy(default=(), local=())
