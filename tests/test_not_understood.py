"""A rule that exitpol does not understand is named with its line and delays nothing."""

import time

import pytest

from exitpolicy.policy import rule
from exitpolicy.policy.rule import Rule, RuleError
from tests.harness.host import ExitHost, HostMaker

pytestmark = pytest.mark.tor

STRANGE = "accept *:4711"
"""Stands for a form of rule that a later Tor may take. To this Tor it is an ordinary one."""


@pytest.fixture
def host(make_host: HostMaker, monkeypatch: pytest.MonkeyPatch) -> ExitHost:
    """Give an exit with a rule that exitpol does not understand in its torrc."""
    understood = rule.parse_rule

    def parse(text: str) -> tuple[Rule, ...]:
        if text == STRANGE:
            raise RuleError(f"{text!r} is not an exit policy rule")
        return understood(text)

    monkeypatch.setattr(rule, "parse_rule", parse)
    return make_host(["ExitRelay 1", "ExitPolicy reject *:25", f"ExitPolicy {STRANGE}"], init=False)


def place(host: ExitHost) -> str:
    """Return file and line of the rule."""
    lines = host.tor.torrc.read_text().splitlines()
    return f"{host.tor.torrc}:{lines.index(f'ExitPolicy {STRANGE}') + 1}"


def test_the_rule_is_named_with_its_line_and_blocks_come_and_go(host: ExitHost) -> None:
    """A block is live at once, a lift lifts it, and each command names the line (3)."""
    host.run("init")
    begun = time.monotonic()
    blocked = host.run("block", "203.0.113.7", "--until", "1d")
    assert time.monotonic() - begun < 20, "it waited for what it cannot know"
    assert host.tor.rejects("203.0.113.7")
    assert "203.0.113.7  live" in blocked.out
    assert blocked.code == 3
    assert f"{place(host)}: exitpol does not understand the rule '{STRANGE}'" in blocked.err
    assert place(host) in host.run("status").err
    lifted = host.run("lift", "203.0.113.7")
    assert "203.0.113.7  lifted" in lifted.out, lifted
    assert not host.tor.rejects("203.0.113.7")


def test_the_limits_hold_beside_the_rule(host: ExitHost) -> None:
    """More blocks than the descriptor has room for are refused (4), as on any other relay."""
    host.run("init")
    many = "\n".join(f"10.{n >> 8}.{n & 255}.77:22" for n in range(1000))
    refused = host.run("block", "-", "--until", "1d", stdin=many.replace("10.", "11."))
    assert refused.code == 4, refused
    assert "descriptor" in refused.err
    assert "ExitPolicy" not in host.fragment.read_text()


def test_the_rule_in_the_fragment_stops_no_removal(host: ExitHost) -> None:
    """A hand edit of the fragment that exitpol does not understand is repaired."""
    host.run("init")
    host.run("block", "203.0.113.7", "203.0.113.8", "--until", "1d")
    with host.fragment.open("a") as file:
        file.write(f"ExitPolicy {STRANGE}\n")
    host.tor.reload_and_wait()
    host.run("lift", "203.0.113.7")
    assert STRANGE not in host.fragment.read_text()
    assert not host.tor.rejects("203.0.113.7")
    assert host.tor.rejects("203.0.113.8")
