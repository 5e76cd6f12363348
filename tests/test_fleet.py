"""`fleet`: which relays the words of a block select, and which relays have an address."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exitpolicy.core.block import Block, Blocks
from exitpolicy.core.destination import parse_destination
from exitpolicy.core.fleet import Fleet, Member, told_apart

SINCE = datetime(2026, 11, 22, tzinfo=UTC)
VICTIM = parse_destination("203.0.113.7")


def member(name: str, host: str, *addresses: str) -> Member:
    """Return a relay of the fleet."""
    return Member(name, host, tuple(map(parse_destination, addresses)))


MEMBERS = told_apart(
    (
        member("exit1", "web1", "198.51.100.7", "2001:db8::7"),
        member("exit2", "web1", "198.51.100.7"),
        member("exit3", "web2", "198.51.100.9"),
        member("default", "web3", "198.51.100.11"),
        member("default", "web4", "198.51.100.12"),
    )
)
FLEET = Fleet(MEMBERS, {"berlin": ("exit1", "web3/*"), "odd": ("exit[13]",)}, host="web1")
NAMES = ("exit1", "exit2")


def block(*words: str) -> Block:
    """Return a block for the relays that words select."""
    return Block(VICTIM, SINCE, None, relays=words)


@pytest.mark.parametrize(
    ("word", "selected"),
    [
        ("exit1", "web1/exit1"),
        ("exit*", "web1/exit1 web1/exit2 web2/exit3"),
        ("exit?", "web1/exit1 web1/exit2 web2/exit3"),
        ("default", "web3/default web4/default"),
        ("web4/default", "web4/default"),
        ("web1/*", "web1/exit1 web1/exit2"),
        ("web[34]/default", "web3/default web4/default"),
        ("berlin", "web1/exit1 web3/default"),
        ("odd", "web1/exit1 web2/exit3"),
        ("*", "web1/exit1 web1/exit2 web2/exit3 web3/default web4/default"),
        # A pattern without a host is one of names: web1 is a host.
        ("web*", ""),
        ("EXIT1", ""),
        ("exit", ""),
        ("/exit1", ""),
        ("web1/", ""),
    ],
)
def test_a_word_selects_relays(word: str, selected: str) -> None:
    """A name, HOST/NAME, a pattern of either, or a group of these."""
    found = [f"{m.host}/{m.name}" for m in MEMBERS if FLEET.selects([word], m.name, m.host)]
    assert found == selected.split()


def test_a_relay_without_a_known_host_is_selected_by_its_name_only() -> None:
    """On a host without a name in the fleet, HOST/NAME selects nothing."""
    assert Fleet().selects(["exit*"], "exit1", "")
    assert not Fleet().selects(["*/exit1"], "exit1", "")


def test_blocks_get_the_names_of_their_relays_on_this_host() -> None:
    """The words stay: a block of other hosts is never taken for one of all relays."""
    blocks = Blocks.of([block("exit?")])
    (here,) = FLEET.here(blocks, NAMES)
    assert here.relays == ("exit1", "exit2", "exit?")
    assert [here.is_for(name) for name in ("exit1", "exit2", "exit3")] == [True, True, False]
    (elsewhere,) = FLEET.here(Blocks.of([block("web2/*")]), NAMES)
    assert elsewhere.relays == ("web2/*",)
    assert not any(map(elsewhere.is_for, NAMES))
    (of_group,) = FLEET.here(Blocks.of([block("berlin", "exit9")]), NAMES)
    assert of_group.relays == ("exit1", "berlin", "exit9")


def test_plain_names_need_nothing() -> None:
    """A ledger without patterns is the same object, however long it is."""
    blocks = Blocks.of([block("exit1", "exit3"), block()])
    assert FLEET.here(blocks, NAMES) is blocks


def test_words_are_spelled_out_as_relays_of_all_hosts() -> None:
    """Those whose name is on two hosts are HOST/NAME; what nobody knows stays."""
    assert FLEET.spelled_out(("exit1", "exit9"), NAMES) == ("exit1", "exit9")
    assert FLEET.spelled_out(("nobody*",), NAMES) == ("nobody*",)
    assert FLEET.spelled_out(("web9/*", "exit3"), NAMES) == ("exit3", "web9/*")
    assert FLEET.spelled_out(("exit*",), NAMES) == ("exit1", "exit2", "exit3")
    assert FLEET.spelled_out(("*/default", "exit9"), NAMES) == (
        "web3/default",
        "web4/default",
        "exit9",
    )
    every = ("exit1", "exit2", "exit3", "web3/default", "web4/default")
    assert FLEET.everywhere(NAMES) == every
    third = FLEET._replace(host="web3")
    assert third.everywhere(("default",)) == (
        "default",
        "exit1",
        "exit2",
        "exit3",
        "web4/default",
    )
    assert third.spelled_out(("def*",), ("default",)) == ("default", "web4/default")


def test_relays_with_the_accused_address_are_accused() -> None:
    """Two relays may share an address; the texts are canonical."""
    assert [m.name for m in FLEET.accused(["198.51.100.7"])] == ["exit1", "exit2"]
    assert [m.name for m in FLEET.accused(["2001:db8::7", "198.51.100.9"])] == ["exit1", "exit3"]
    assert [m.word for m in FLEET.accused(["198.51.100.12"])] == ["web4/default"]
    assert FLEET.accused(["203.0.113.7"]) == ()


words = st.lists(
    st.sampled_from(
        ["exit1", "exit*", "web1/*", "web2/*", "berlin", "*", "default", "nobody", "x*", "web9/*"]
    ),
    min_size=1,
    max_size=3,
    unique=True,
).map(tuple)


@given(words, st.sampled_from(["web1", "web2", "web3", "web4"]))
def test_a_host_enforces_what_the_fleet_expects_of_it(chosen: tuple[str, ...], host: str) -> None:
    """What each host finds by itself is what an inventory of all hosts says."""
    here = FLEET._replace(host=host)
    names = [m.name for m in MEMBERS if m.host == host]
    (local,) = here.here(Blocks.of([block(*chosen)]), names)
    for one in MEMBERS:
        if one.host == host:
            assert local.is_for(one.name) == FLEET.is_for(block(*chosen), one)


@given(words)
def test_spelled_out_words_select_the_same_relays(chosen: tuple[str, ...]) -> None:
    """A lift on some relays loses none of the others."""
    same = FLEET.spelled_out(chosen, NAMES)
    assert same, "a block without words is for all relays"
    for one in MEMBERS:
        assert FLEET.selects(same, one.name, one.host) == FLEET.selects(chosen, one.name, one.host)
