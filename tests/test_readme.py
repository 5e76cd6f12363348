"""The README is true: its tables are those of the program, its config is one."""

import re
from pathlib import Path

import pytest

from exitpolicy.cli.app import COMMANDS, function_of, run
from exitpolicy.core.block import State
from exitpolicy.core.errors import ExitCode
from exitpolicy.storage import config

POLICY = ("policy", "Base policies, to stand below the blocks.")
"""The row of the group of commands `policy`, which has no function of its own."""

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_every_command_stands_in_the_readme_with_its_own_first_sentence() -> None:
    """The table of commands has each command of the program once, described as --help does."""
    table = README.split("<!-- commands")[1].split("<!-- end of commands -->")[0]
    rows = re.findall(r"^\| `exitpol (\w+)[^|]*\| (.*) \|$", table, re.MULTILINE)
    documented = [(name, str(function_of(name).__doc__).splitlines()[0]) for name in COMMANDS]
    assert sorted(rows) == sorted([*documented, POLICY])


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--help` works for each command and shows how to call it."""
    assert run([name, "--help"]) == 0
    assert f"xample: exitpol {name}" in " ".join(capsys.readouterr().out.split())


def test_the_exit_codes_in_the_readme_are_those_of_the_program() -> None:
    """Each code stands in the table once, and no other."""
    table = README.split("### Exit codes")[1].split("##")[0]
    assert [int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)] == list(
        ExitCode
    )


def test_the_config_in_the_readme_is_one() -> None:
    """It has every key there is, and is read without an error."""
    (text,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    read = config.parse(Path("/etc/exitpol/config.yaml"), text.encode())
    assert read.ledger == Path("/var/lib/exitpol/blocks.yaml")
    assert set(config._KEYS) == set(re.findall(r"^(\w+):", text, re.MULTILINE))


def test_every_state_is_explained() -> None:
    """A state that `list` can show stands in the README."""
    for state in State:
        assert f"**{state}**" in README
