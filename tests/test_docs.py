"""The documents are true: they are compared with the program."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from exitpolicy.cli.app import COMMANDS, run
from exitpolicy.cli.reference import commands_markdown
from exitpolicy.core.block import State
from exitpolicy.core.errors import ExitCode
from exitpolicy.doctor.fault import Fault
from exitpolicy.storage import config

ANALYZE = shutil.which("systemd-analyze")
ROOT = Path(__file__).parents[1]
DOCS = ROOT / "exitpolicy" / "docs"
REFERENCE = (DOCS / "reference.md").read_text()
WRITTEN = sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md")])


def test_the_reference_has_the_commands_of_the_program() -> None:
    """The section of commands is what `scripts/reference` writes today."""
    section = REFERENCE.split("<!-- commands: written by scripts/reference -->\n")[1]
    assert section.split("<!-- end of commands -->")[0] == commands_markdown(), (
        "run scripts/reference"
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--help` works for each command and shows how to call it."""
    assert run([name, "--help"]) == 0
    assert f"xample: exitpol {name}" in " ".join(capsys.readouterr().out.split())


def test_the_exit_codes_in_the_reference_are_those_of_the_program() -> None:
    """Each code stands in the table once, and no other."""
    table = REFERENCE.split("## Exit codes")[1].split("##")[0]
    codes = [int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)]
    assert sorted(codes) == sorted(map(int, ExitCode))


def test_the_config_in_the_reference_is_valid(tmp_path: Path) -> None:
    """The program reads it, and the file of the fleet that it names, without an error."""
    text = REFERENCE.split("## Config")[1]
    example, fleet = re.findall(r"```yaml\n(.*?)```", text.split("## Ledger")[0], re.DOTALL)
    (tmp_path / "fleet.yaml").write_text(fleet)
    example = example.replace("/etc/exitpol/fleet.yaml", str(tmp_path / "fleet.yaml"))
    read = config.parse(Path("/etc/exitpol/config.yaml"), example.encode())
    assert read.ledger == Path("/var/lib/exitpol/blocks.yaml")
    assert [one.word for one in read.fleet.members] == ["exit1", "web2/default", "web3/default"]


def test_every_state_is_explained() -> None:
    """Each state that `list` can show is in the table once."""
    table = REFERENCE.split("## States of a block")[1].split("##")[0]
    for state in State:
        assert table.count(f"| `{state}` |") == 1, state


def test_every_fault_is_explained() -> None:
    """The table of health has each name once, and no other."""
    table = REFERENCE.split("## Health")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(map(str, Fault))


def test_the_readme_is_short() -> None:
    """At most 100 lines of at most 100 columns."""
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 100
    assert [line for line in lines if len(line) > 100] == []


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.name)
def test_every_link_leads_to_a_file(path: Path) -> None:
    """A relative link names a file that exists."""
    for target in re.findall(r"\]\(([^)#]+)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target).exists(), target


@pytest.mark.skipif(ANALYZE is None, reason="there is no systemd-analyze")
def test_systemd_understands_the_units_of_the_guide(tmp_path: Path) -> None:
    """Those that send a mail when the health changes."""
    guide = (DOCS / "guide.md").read_text()
    units = re.findall(r"```ini\n# /etc/systemd/system/(\S+)\n(.*?)```", guide, re.DOTALL)
    assert [name for name, _ in units] == ["exitpol-mail.path", "exitpol-mail.service"]
    for name, text in units:
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        [ANALYZE or "", "verify", "--recursive-errors=no", *(name for name, _ in units)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    ours = [text for text in done.stderr.splitlines() if "exitpol-mail" in text]
    assert (done.returncode, ours) == (0, [])
