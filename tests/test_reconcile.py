"""`reconcile` and `block_states`: which relays to reload, and the state of each block."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exitpolicy.core.block import Block, State
from exitpolicy.core.destination import parse_destination
from exitpolicy.core.errors import TorRefusesError, TorUnreachableError
from exitpolicy.policy.block_states import gravest, states_on
from exitpolicy.policy.evaluate import Decisions
from exitpolicy.policy.options import ExitOptions
from exitpolicy.policy.reconcile import (
    Configured,
    Running,
    View,
    same_options,
    shadowing,
)
from exitpolicy.policy.rule import parse_entries, parse_policy

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
TEXTS = ("reject 203.0.113.7:*", "reject 203.0.113.9:22")
RULES = parse_policy(TEXTS)
DEFAULT = parse_policy(["reject *:25", "accept *:*"])
BLOCKED = parse_destination("203.0.113.7")
BLOCK = Block(BLOCKED, NOW, None)


def options(*lines: str) -> ExitOptions:
    """Return the options of an exit with these ExitPolicy lines."""
    return ExitOptions(exit_policy=parse_entries(lines), exit_relay=True)


def running(ran: ExitOptions, *enforced: str) -> Running:
    """Return a Tor that runs with options; it enforces what they say, unless told otherwise."""
    rules = parse_policy(enforced) if enforced else ran.policy(default=DEFAULT, local=())
    return Running("0.4.9.11", "/etc/tor/torrc", ran, rules, None, default=DEFAULT)


def view(name: str = "a", ran: ExitOptions | None = None, *enforced: str) -> View:
    """Return a relay whose files hold our rules, above one line of the operator's."""
    files = options(*TEXTS, "accept *:80")
    return View(name, running(ran or files, *enforced), Configured(files, RULES))


UNREACHABLE = replace(view(), running=None, unreachable=TorUnreachableError("gone"))
BROKEN = replace(view(), configured=None, broken=TorRefusesError("broken"))


def state(*views: View, block: Block = BLOCK) -> State:
    """Return the state of one block."""
    return gravest(states_on(seen, [block], ())[block.destination] for seen in views)


def test_a_relay_that_enforces_its_files_is_left_alone() -> None:
    """It needs no reload, and nothing is reported about it."""
    assert not view().needs_reload
    assert view().in_sync
    assert view().drift == ()


def test_only_relays_that_run_something_else_are_reloaded() -> None:
    """Unreachable relays are not reloaded, nor any whose files Tor rejects: it would exit."""
    stale = view("stale", options("accept *:80"))
    broken = replace(BROKEN, name="broken", running=stale.running)
    assert stale.needs_reload
    assert not UNREACHABLE.needs_reload
    assert not broken.needs_reload


def test_a_block_that_is_held_back_is_never_live_or_shadowed() -> None:
    """What is not installed is pending, whatever the relay accepts or another rule rejects."""
    assert states_on(view(), [BLOCK], [BLOCKED]) == {BLOCKED: State.PENDING}
    other = Block(parse_destination("203.0.113.8"), NOW, None)
    assert states_on(view(), [other], [other.destination]) == {other.destination: State.PENDING}


def test_the_order_of_the_rules_is_part_of_the_options() -> None:
    """Another order of the rules is a difference, because the first match wins."""
    assert not same_options(options("a", "b"), options("b", "a"))
    assert same_options(options("a"), options("a"))
    assert not same_options(options("a"), replace(options("a"), ipv6_exit=True))


def test_a_block_that_our_rules_reject_is_live() -> None:
    """`live` means that a rule of the fragment rejects it in the enforced policy."""
    assert state(view()) is State.LIVE


@pytest.mark.parametrize(
    "seen",
    [
        view("a", options("accept *:80")),
        view("a", options(*TEXTS, "accept *:80"), "accept *:*"),
        replace(view(), running=replace(running(options()), enforced=None, problem="not yet")),
        replace(view(), running=replace(view().running or pytest.fail("?"), network_disabled=True)),
    ],
    ids=["not reloaded", "not settled", "no policy", "network disabled"],
)
def test_a_block_that_is_not_enforced_yet_is_pending(seen: View) -> None:
    """Until Tor has loaded and enforces the rules and is on the network, a block is pending."""
    assert state(seen) is State.PENDING


def test_a_block_behind_an_accept_is_shadowed() -> None:
    """A block is shadowed once Tor enforces its files and an earlier accept decides."""
    files = options("accept 203.0.113.0/24:80", *TEXTS)
    seen = View("a", running(files), Configured(files, RULES))
    assert seen.in_sync
    assert state(seen) is State.SHADOWED
    decisions = Decisions(seen.running.enforced or ()) if seen.running else Decisions([])
    assert str(shadowing(BLOCKED, decisions)) == "accept 203.0.113.0/24:80"
    assert shadowing(parse_destination("203.0.113.7:22"), decisions) is None


@pytest.mark.parametrize("text", ["2001:db8::1", "10.0.0.1"])
def test_a_block_where_the_relay_would_not_exit_is_moot(text: str) -> None:
    """A destination that the relay rejects without the fragment makes its block moot."""
    block = Block(parse_destination(text), NOW, None)
    value = f"reject {'[2001:db8::1]' if ':' in text else text}:*"
    files, rules = options(value), parse_policy([value])
    seen = View("a", running(files), Configured(files, rules))
    assert states_on(seen, [block], ()) == {block.destination: State.MOOT}


def test_without_a_tor_the_state_is_unknown() -> None:
    """The state is unknown if the relay cannot be reached, or if there is none."""
    assert state(UNREACHABLE) is State.UNKNOWN
    assert state() is State.UNKNOWN


VIEWS = {
    State.SHADOWED: View(
        "s",
        running(options("accept *:80", *TEXTS)),
        Configured(options("accept *:80", *TEXTS), RULES),
    ),
    State.PENDING: view("p", options("accept *:80")),
    State.UNKNOWN: UNREACHABLE,
    State.LIVE: view("l"),
    State.MOOT: View("m", running(ExitOptions(exit_relay=False)), None),
}


@given(st.lists(st.sampled_from(list(VIEWS)), min_size=1))
def test_of_several_relays_the_gravest_state_counts(states: list[State]) -> None:
    """A block is live only where it is so on every relay that would exit there."""
    gravest_first = list(VIEWS)
    assert [state(VIEWS[one]) for one in gravest_first] == gravest_first
    assert state(*(VIEWS[one] for one in states)) is min(states, key=gravest_first.index)


def test_the_operators_own_options_are_without_ours() -> None:
    """The fragment's rules are removed, and another fragment takes their place."""
    files = options("reject *:1", *TEXTS, "accept *:80")
    configured = Configured(files, RULES)
    assert configured.own == options("reject *:1", "accept *:80")
    other = configured.with_fragment(parse_policy(["reject *:9"]))
    assert other.options == options("reject *:1", "reject *:9", "accept *:80")
    assert other.with_fragment(RULES) == configured
    assert configured.with_fragment(()).options == configured.own


def test_no_copy_of_the_fragment_is_the_operators_own() -> None:
    """A second include of it, or another fragment, is no part of the operator's rules."""
    longer = parse_policy([*TEXTS, "reject *:9"])
    files = options("reject *:1", *TEXTS, *TEXTS, *TEXTS, "reject *:9", "accept *:80")
    configured = Configured(files, RULES, copies=2, other_fragments=(longer,))
    assert configured.own == options("reject *:1", "accept *:80")
    one = Configured(options(*TEXTS, *TEXTS), RULES, copies=2).with_fragment(RULES)
    assert one == Configured(options(*TEXTS), RULES)


def drift(changed: Running) -> tuple[str, ...]:
    """Return the reported differences between a Tor and its files."""
    return replace(view(), running=changed).drift


def test_drift_is_said_in_sentences() -> None:
    """Each difference between files, options and enforced policy is named."""
    good = view().running
    assert good is not None
    assert UNREACHABLE.drift == ()
    many = options(*(f"reject *:{port}" for port in range(1, 6)))
    assert drift(running(many)) == (
        (
            "its files say 'reject 203.0.113.7:*', 'reject 203.0.113.9:22', 'accept *:80',"
            " and Tor does not run it"
        ),
        "Tor runs 'reject *:1', 'reject *:2', 'reject *:3' and 2 more, and no file says so",
    )
    assert drift(running(options("accept *:80", *TEXTS))) == (
        "Tor runs the ExitPolicy rules of its files in another order or number",
    )
    assert drift(running(replace(good.options, ipv6_exit=True))) == (
        "its files say IPv6Exit 0, and Tor runs IPv6Exit 1",
    )
    assert drift(running(good.options, "accept *:*")) == (
        "the enforced policy is not the one that Tor's own options make",
    )
    assert drift(replace(good, enforced=None, problem="not yet")) == (
        "Tor has no exit policy: not yet",
    )
    assert drift(replace(good, network_disabled=True)) == (
        "DisableNetwork is 1: Tor is not on the network and its policy is stale",
    )
    assert drift(replace(good, reload_ignored=True)) == (
        "__ReloadTorrcOnSIGHUP is 0: a reload changes nothing",
    )


def test_options_that_cannot_be_read_are_not_settled() -> None:
    """With a rule that only Tor understands, the expected policy is unknown."""
    odd = Running("0.4.9.11", "", options("reject *:0"), DEFAULT, None, default=DEFAULT)
    assert odd.policy_of(odd.options) is None
    assert not odd.settled
