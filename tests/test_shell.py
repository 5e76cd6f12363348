"""Hints are commands: a file's name must not add one."""

import shlex
from pathlib import Path

import pytest

from exitpolicy.core.destination import parse_pasted_destination
from exitpolicy.core.errors import UsageError
from exitpolicy.core.shell import word
from exitpolicy.tor import apparmor


@pytest.mark.parametrize("name", ["a b", "x'; reboot; '", "$(reboot)", "`reboot`", "a;b", "&", "~"])
def test_a_path_is_one_word(name: str) -> None:
    """The shell reads the path back, and nothing else."""
    assert shlex.split(f"rm {word(Path('/etc/tor') / name)}") == ["rm", f"/etc/tor/{name}"]


def test_a_plain_path_stays_as_it_is() -> None:
    """A person reads it without quotes."""
    assert word(Path("/etc/tor/exitpol/exit-1.conf")) == "/etc/tor/exitpol/exit-1.conf"


def test_the_host_of_a_pasted_url_is_one_word() -> None:
    """A complaint names it, and the hint to resolve it is a command."""
    with pytest.raises(UsageError) as caught:
        parse_pasted_destination("http://$(reboot).example/")
    assert "(getent ahosts '$(reboot).example')" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("x'; reboot; '", "x'; reboot; '"),
        ("**", r"\*\*"),
        ("{a,b}?[c]", r"\{a\,b\}\?\[c\]"),
        ('a" rw, "/', r"a\" rw\, \"/"),
    ],
)
def test_a_path_widens_no_rule_of_apparmor(tmp_path: Path, name: str, rule: str) -> None:
    """The rule allows that file alone, and the shell writes that rule alone."""
    folder = tmp_path.resolve()
    words = shlex.split(apparmor.how_to_allow(Path(f"{folder}/{name}")))
    assert words[:3] == ["echo", f'"{folder}/{rule.rstrip("/")}" r,', ">>"]
