"""`rule`: what a rule says, judged by the tor program itself; and how it is written."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exitpolicy.core.errors import ExitpolError
from exitpolicy.policy.rule import (
    PRIVATE,
    IgnoredRule,
    Rule,
    RuleError,
    UnknownRule,
    parse_entries,
    parse_policy,
    parse_rule,
    rules_of,
    torrc_values,
)
from tests.harness.tor import TOR
from tests.strategies import rules


@given(rules())
def test_what_is_printed_is_read_back_as_the_same(rule: Rule) -> None:
    """Printing and reading a rule gives an equal one."""
    text = str(rule)
    if rule.prefix == 0:
        # A descriptor's `*` is IPv4 only, a torrc's is both.
        action, star = text.split(" ")
        text = f"{action} {star.replace('*', f'*{rule.family}', 1)}"
    assert parse_rule(text) == (rule,)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("reject 203.0.113.7:*", "reject 203.0.113.7:*"),
        ("reject 203.0.113.7", "reject 203.0.113.7:*"),
        ("reject 203.0.113.7:", "reject 203.0.113.7:*"),
        ("accept\t203.0.113.7:80-80", "accept 203.0.113.7:80"),
        ("reject 203.0.113.7/24:1-65535", "reject 203.0.113.0/24:*"),
        ("reject 203.0.113.7/255.255.255.0:80", "reject 203.0.113.0/24:80"),
        ("reject 203.0.113.7/0:80", "reject *:80"),
        ("reject 203.0.113.7/0024:080", "reject 203.0.113.0/24:80"),
        ("reject 203.0.113.7/00024:000080-000090", "reject 203.0.113.0/24:80-90"),
        ("reject [2001:DB8::1]:22", "reject6 [2001:db8::1]:22"),
        ("reject6 [2001:db8::1]/32:22", "reject6 [2001:db8::]/32:22"),
        ("reject [::]/128:22", "reject6 [::]:22"),
        ("reject *:25", "reject *:25, reject6 *:25"),
        ("reject *4:25", "reject *:25"),
        ("reject *6:25", "reject6 *:25"),
        ("reject6 *:25", "reject6 *:25"),
        ("accept *", "accept *:*, accept6 *:*"),
        # Tor ignores these, with a warning.
        ("reject6 203.0.113.7:25", ""),
        ("accept6 *4:25", ""),
        ("reject6 private:*", ""),
        ("accept6 private:*", ""),
    ],
)
def test_a_rule_of_a_torrc_means_what_tor_makes_of_it(text: str, meaning: str) -> None:
    """Each form that tor(1) allows is read as the rules of a descriptor that it stands for."""
    assert ", ".join(str(rule) for rule in parse_rule(text)) == meaning


def test_private_is_every_private_network() -> None:
    """`private` is a rule for each of Tor's private networks, on the given ports."""
    got = [str(rule).split(" ")[1] for rule in parse_rule("reject private:80-90")]
    assert got == [f"{net}:80-90" if net != "[::]/127" else "[::]/127:80-90" for net in PRIVATE]


NO_RULES = [
    "",
    "reject",
    "reject ",
    "REJECT *:80",
    "drop *:80",
    "reject *:0",
    "reject *:0-80",
    "reject 203.0.113.7:65536",
    "reject 203.0.113.7:443-80",
    "reject 203.0.113.7:80-",
    "reject 203.0.113.7:-80",
    "reject 203.0.113.7 :80",
    "reject 203.0.113.7:80 x",
    "reject 203.0.113.7:80:80",
    "reject 203.0.113.7/33:80",
    "reject 203.0.113.7/24/24:80",
    "reject 203.0.113.7/255.0.255.0:80",
    "reject 203.0.113.7/256.0.0.0:80",
    "reject 203.0.113.07:80",
    "reject 203.0.113:80",
    "reject 203.0.113.256:80",
    "reject 2001:db8::1:80",
    "reject [2001:db8::1:80",
    "reject [2001:db8::1]/129:80",
    "reject [2001:db8::1%eth0]:80",
    "reject [2001:db8:::1]:80",
    "reject *4/8:80",
    "reject */0:80",
    "reject private",
    "reject private/8:80",
    "reject example.com:80",
    "reject 203.0.113.7:ssh",
]
RULES = [
    "reject 203.0.113.7:80",
    "reject 203.0.113.7:",
    "reject *",
    "reject *6:80",
    "reject private:80",
    "reject 203.0.113.7/0024:080-090",
    "reject 203.0.113.7/255.255.0.0:80",
    "reject [2001:db8::1]/32",
    "reject [203.0.113.7]:80",
    "reject6 private:80",
    "reject6 203.0.113.7:80",
]


@pytest.mark.parametrize("text", NO_RULES)
def test_what_is_no_rule_is_an_error(text: str) -> None:
    """What Tor refuses is an error that the edge of the program knows how to show."""
    with pytest.raises(RuleError) as caught:
        parse_rule(text)
    assert isinstance(caught.value, ExitpolError)
    assert repr(text) in str(caught.value) or "the mask" in str(caught.value)


@pytest.mark.tor
@pytest.mark.parametrize("text", NO_RULES + RULES)
def test_tor_takes_exactly_what_we_take(text: str, tmp_path: Path) -> None:
    """The tor program agrees on what is a rule and what is none."""
    torrc = f"SocksPort 0\nDataDirectory {tmp_path}/d\nExitRelay 1\nExitPolicy accept *:1,{text}\n"
    result = subprocess.run(
        [TOR, "-f", "-", "--defaults-torrc", "/dev/null", "--verify-config", "--hush"],
        input=torrc,
        capture_output=True,
        text=True,
        check=False,
    )
    # Tor passes over an empty item of a list.
    assert (result.returncode == 0) == (text in RULES or text == "")


PARTS = ["accept", "reject", "6", " ", "*", "4", "[", "]", "::1", "1.2.3.4", "/", ":", "-"]
PARTS += ["24", "0", "9999999999", "private", ".", "\n"]


@given(
    st.text(max_size=30)
    | st.lists(
        st.sampled_from(PARTS),
        max_size=9,
    ).map("".join)
)
def test_any_text_is_a_rule_or_an_error(text: str) -> None:
    """Nothing ends in another exception, and what is read can be read again."""
    try:
        rules_ = parse_rule(text)
    except RuleError:
        return
    for rule in rules_:
        assert rule in parse_rule(str(rule))


def test_a_line_may_hold_several_rules() -> None:
    """Commas part rules, blank items are passed over, and the order stays."""
    got = parse_policy(["reject 203.0.113.7:25 , accept *4:80,", "", " reject *6:*"])
    assert [str(r) for r in got] == ["reject 203.0.113.7:25", "accept *:80", "reject6 *:*"]


@pytest.mark.parametrize(
    ("text", "catch_all"),
    [
        ("accept *4:*", True),
        ("reject6 *:*", True),
        ("reject 0.0.0.0/0:1-65535", True),
        ("reject *4:1-65534", False),
        ("reject 0.0.0.0/1:*", False),
    ],
)
def test_a_catch_all_has_every_address_and_port(text: str, catch_all: bool) -> None:
    """Only a rule for all addresses and all ports leaves nothing for later ones."""
    assert [rule.is_catch_all for rule in parse_rule(text)] == [catch_all]


@given(st.lists(rules(), max_size=8))
def test_the_values_for_a_torrc_are_read_back_as_the_same_rules(written: list[Rule]) -> None:
    """Writing rules into a torrc and reading them gives equal rules in the same order."""
    assert parse_entries(torrc_values(written)) == tuple(written)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["reject *:25"], ["reject *:25"]),
        (["reject *4:25", "reject *6:25"], ["reject *:25"]),
        (["reject *6:25", "reject *4:25"], ["reject6 *:25", "reject *4:25"]),
        (["reject *4:25", "accept *6:25"], ["reject *4:25", "accept6 *:25"]),
        (["reject *4:25", "reject *6:26"], ["reject *4:25", "reject6 *:26"]),
        (["reject *4:25", "reject *4:25", "reject *6:25"], ["reject *4:25", "reject *:25"]),
        (["reject 0.0.0.0/8:25", "reject *:1"], ["reject 0.0.0.0/8:25", "reject *:1"]),
        (["reject6 1.2.3.4:25, opt *:1", ""], ["reject6 1.2.3.4:25", "opt *:1"]),
        ([], []),
    ],
)
def test_both_halves_of_a_wildcard_are_written_as_one(
    values: list[str], expected: list[str]
) -> None:
    """`*` for both families costs one line, as an operator would write it; the rest is kept."""
    assert list(torrc_values(parse_entries(values))) == expected


def test_a_rule_that_is_not_understood_or_ignored_keeps_its_text() -> None:
    """Entries that are no rules are told apart: Tor ignores one, the other may mean anything."""
    entries = parse_entries(["reject6 1.2.3.4:25", "accept *:0", "accept *4:80"])
    assert entries == (
        IgnoredRule("reject6 1.2.3.4:25"),
        UnknownRule("accept *:0"),
        Rule(True, 4, 0, 0, 80, 80),
    )
    with pytest.raises(RuleError, match=r"'accept \*:0' is not an exit policy rule"):
        rules_of(entries)
    assert rules_of((entries[0], entries[2])) == (Rule(True, 4, 0, 0, 80, 80),)
