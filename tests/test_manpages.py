"""The man pages say what the program and the reference say, and every reader of them is content."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from exitpolicy.cli.app import COMMANDS
from exitpolicy.core.block import State
from exitpolicy.core.errors import ExitCode
from scripts import manpages

MAN = shutil.which("man") or ""
MANDOC = shutil.which("mandoc") or ""
PAGES = [manpages.FOLDER / name for name in manpages.NAMES]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_page_is_what_the_script_writes(path: Path) -> None:
    """The page agrees with the program and with reference.md; its date is of its last change."""
    text = path.read_text()
    assert text == manpages.page(path.name, manpages.date_of(text)), "run scripts/reference"


def shown(path: Path, tmp_path: Path) -> str:
    """Return a page as `man` shows it on 200 columns, without formatting."""
    done = subprocess.run(
        [MAN, "--warnings", "--nh", "--nj", "-P", "cat", "-l", path],
        check=False, capture_output=True, text=True, timeout=60,
        env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "MANWIDTH": "200",
             "HOME": str(tmp_path)},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.skipif(not MAN, reason="man is not installed")
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_man_shows_it_without_a_warning(path: Path, tmp_path: Path) -> None:
    """Groff accepts every request, and no markup of the reference is left."""
    text = shown(path, tmp_path)
    assert "SEE ALSO" in text
    for markup in ("`", "**", "](", "|---", "\\(", "<!--"):
        assert markup not in text


@pytest.mark.skipif(not MANDOC, reason="mandoc is not installed")
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_mandoc_has_nothing_to_say(path: Path) -> None:
    """`mandoc -Tlint` finds neither an error nor a matter of style."""
    done = subprocess.run(
        [MANDOC, "-Tlint", "-W", "all", path], check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.skipif(not MAN, reason="man is not installed")
def test_the_page_of_the_program_is_complete(tmp_path: Path) -> None:
    """Every command, state and exit code stands in it, and an option with all its choices."""
    words = shown(PAGES[0], tmp_path).split()
    text = " ".join(words)
    for name in COMMANDS:
        assert f"exitpol {name}" in text
    assert {str(int(code)) for code in ExitCode} <= set(words)
    assert {state.value for state in State} <= set(words)
    assert "KIND is one of: brute-force, port-scan, web-attack," in text


@pytest.mark.parametrize(
    ("markdown", "lines"),
    [
        (".x 'y'", [r"\&.x \(aqy\(aq"]),
        ("a `-b` and\n**c\\d**", [r"a \fB\-b\fR and \fBc\ed\fR"]),
        ("One. Two", ["One.", "Two"]),
        ("é", [r"\[u00E9]"]),
        ("```yaml\n.a: 1\n\n- b\n```", [".nf", r"\&.a: 1", "", r"\- b", ".fi"]),
        ("| a | b | mode |\n|-|-|-|\n| `x\\|y` | z | 1 |", [".TP", r"\fBx|y\fR", "z (mode 1)"]),
        ("- a\n  b\n- c", [r".IP \(bu 2", "a b", r".IP \(bu 2", "c"]),
    ],
)  # fmt: skip
def test_markdown_becomes_roff(markdown: str, lines: list[str]) -> None:
    """Text stays text: nothing in it is taken for a request or an escape."""
    assert list(manpages.roff(markdown)) == lines
