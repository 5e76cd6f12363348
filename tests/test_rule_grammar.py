"""The reader of rules against the tor program itself, on values that nobody would write."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from exitpolicy.policy.evaluate import same_meaning
from exitpolicy.policy.rule import Rule, RuleError, parse_policy, parse_rule
from tests.harness.tor import TOR, Tor, lone_tor

pytestmark = pytest.mark.tor

BATCH: Final = 150
"""Rules in one run of tor."""

ADDRESSES = [
    "*", "*4", "*6", "*5", "private", "1.2.3.4", "203.0.113.7", "01.2.3.4", "1.2.3", "1.2.3.256",
    "[2001:db8::1]", "2001:db8::1", "[*]", "[1.2.3.4]", "[::ffff:1.2.3.4]", "[::01.2.3.4]",
    "[1:2:3:4:5:6:7::]", "[::]", "[]", "[::1", "::1", "[fe80::1%lo]", "[1::2::3]", "[::ffff:0:1]",
    "[2001:db8::1]x", "[1:2:3:4:5:6:1.2.3.4]", "[:1::]", "[::1:]", "[private]", "", "[]1.2.3.4",
]  # fmt: skip
MASKS = [
    "", "", "", "/", "/24", "/+24", "/-0", "/0024", "/33", "/64", "/95", "/96", "/128", "/129",
    "/255.255.0.0", "/255.0.255.0", "/0.0.0.0", "/255.255.00.0", "/4294967320", "/-1",
    "/2147483648", "/99999999999999999999", "/-99999999999999999999", "/24x", "/\v24", "//24",
    "/[::]", "/24/24",
]  # fmt: skip
PORTS = [
    "", ":", ":*", ":22", ":+22", ":022", ":22-23", ":22-23-24", ":22-23abc", ":22abc", ":22-",
    ":22-+23", ":22--23", ":-22", ":0", ":0-80", ":65535-65536", ":65536", ":1-65535", ":443-80",
    ":18446744073709551638", ":\v22", ":22-\f23", ":22:23", ":22/24", "x:22", ":**", ":0x16",
    f":{'0' * 70}22", f":{'0' * 90}22",
]  # fmt: skip
ACTIONS = ["accept", "reject", "accept6", "reject6", "opt accept", "opt opt reject", "Reject", ""]
SPACES = [" ", " ", " ", "\t", "  ", "", "\r", "\v", "\n", "#", " # x\n", "\x1c", "\xa0"]
ENDS = ["", "", "", " ", "\r", "\v", " # comment", "#comment", " x", "\nreject *:1", "\u2003"]

odd_rules = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["", "", " ", "# x\n", "\n", "\v"]),
        st.sampled_from(ACTIONS[:2] * 6 + ACTIONS),
        st.sampled_from(SPACES),
        st.sampled_from(ADDRESSES),
        st.sampled_from(MASKS),
        st.sampled_from(PORTS),
        st.sampled_from(ENDS),
    ),
)
plain_ends = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(ACTIONS[:2]),
        st.just(" "),
        st.sampled_from(ADDRESSES),
        st.sampled_from(MASKS),
        st.sampled_from(PORTS),
    ),
)
batches = st.lists(odd_rules | plain_ends, min_size=BATCH, max_size=BATCH)
in_few_runs = settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
    # A failure names the rules; to make the batch smaller would take many minutes.
    phases=[Phase.generate],
)


def quoted(value: str) -> str:
    """Return a value as it may stand in a torrc, with every byte but the plainest escaped."""
    plain = re.compile(rb"[A-Za-z0-9 .:*/+\[\]_-]")
    characters = (bytes([byte]) for byte in value.encode())
    return '"' + "".join(
        c.decode() if plain.fullmatch(c) else f"\\x{c.hex()}" for c in characters
    ) + '"'  # fmt: skip


def understood(rule: str) -> bool:
    """Tell whether exitpol reads a rule. An item without any text is passed over, as by Tor."""
    if not rule.strip(" \t\n\v\f\r"):
        return True
    try:
        parse_policy([rule])
    except RuleError:
        return False
    return True


def verify(folder: Path, rules: list[str]) -> tuple[bool, int]:
    """Let tor verify rules; return whether it takes them all, and how many it calls malformed."""
    lines = "".join(f"ExitPolicy {quoted(rule)}\n" for rule in rules)
    result = subprocess.run(
        [TOR, "-f", "-", "--defaults-torrc", "/dev/null", "--verify-config"],
        input=f"SocksPort 0\nDataDirectory {folder}/d\nExitRelay 1\n{lines}".encode(),
        capture_output=True,
        check=False,
        timeout=60,
    )
    return result.returncode == 0, result.stdout.count(b"Malformed policy '")


def disputed(folder: Path, rules: list[str]) -> list[str]:
    """Return the rules that tor takes and exitpol does not, or the other way round."""
    taken = [rule for rule in rules if understood(rule)]
    refused = [rule for rule in rules if not understood(rule)]
    all_taken = verify(folder, taken)[0]
    if all_taken and verify(folder, refused)[1] == len(refused):
        return []
    return [rule for rule in rules if verify(folder, [rule])[0] != understood(rule)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder to the runs of tor."""
    return tmp_path_factory.mktemp("grammar")


@in_few_runs
@given(batches)
def test_every_value_that_tor_takes_is_understood(folder: Path, rules: list[str]) -> None:
    """Tor and exitpol agree on which texts are rules."""
    assert disputed(folder, rules) == []


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tor]:
    """Run an exit without rules of its own."""
    options = ["IPv6Exit 1", "ExitPolicyRejectPrivate 0", "ExitPolicyRejectLocalInterfaces 0"]
    with lone_tor(tmp_path_factory.mktemp("meaning"), ["reject *:*"], options) as tor:
        yield tor


def narrowest_first(texts: list[str]) -> list[str]:
    """Sort rules so that none hides a narrower one."""
    return sorted(texts, key=lambda text: -max((r.prefix for r in parse_policy([text])), default=0))


@settings(parent=in_few_runs, max_examples=6)
@given(batches)
def test_odd_values_mean_what_tor_makes_of_them(running: Tor, rules: list[str]) -> None:
    """The policy that Tor enforces is the one that exitpol reads from the same values."""
    taken = narrowest_first([rule for rule in dict.fromkeys(rules) if understood(rule)])
    running.set_policy([*map(quoted, taken), "accept *:7", "reject *:*"])
    expected = parse_policy([*taken, "accept *:7", "reject *:*"])
    assert same_meaning(running.rules(), expected)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("accept *:+22", ["accept *:22", "accept6 *:22"]),
        ("accept *4:22-23-24", ["accept *:22-23"]),
        ("opt reject 1.2.3.4:25", ["reject 1.2.3.4:25"]),
        ("reject 1.2.3.4/:25", ["reject *:25"]),
        ("reject 1.2.3.4/4294967320:25", ["reject 1.2.3.0/24:25"]),
        ("reject 2001:db8::1/32:25", ["reject6 [2001:db8::]/32:25"]),
        ("reject [2001:db8::1]:80/32", ["reject6 [2001:db8::]/32:*"]),
        ("reject [2001:db8::1]:80/32:22", ["reject6 [2001:db8::]/32:22"]),
        ("reject [2001:db8::1]x:22", ["reject6 [2001:db8::1]:22"]),
        ("reject [*4]:22", ["reject *:22"]),
        ("reject [::ffff:1.2.3.4]/24:22", ["reject6 [::ffff:102:300]/120:22"]),
        ("reject [::ffff:1.2.3.4]/32:22", ["reject6 [::ffff:0:0]/96:22"]),
        ("reject *4:22 # why", ["reject *:22"]),
    ],
)
def test_an_odd_form_has_this_meaning(text: str, meaning: list[str]) -> None:
    """Each peculiarity of Tor's reader that is described in `parse_rule`, by an example."""
    assert [str(rule) for rule in parse_rule(text)] == meaning


def test_the_fuzz_reaches_what_is_odd() -> None:
    """Without this, the tests above could agree on nothing but refusals."""
    assert understood("reject [::ffff:1.2.3.4]/+24:\v22")
    assert not understood("reject [::ffff:1.2.3.4]/33:22")
    assert isinstance(parse_rule("accept *4:22")[0], Rule)
