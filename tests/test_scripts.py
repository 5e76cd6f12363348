"""The scripts for contributors say what they do before they do it."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"
NAMES = ["bench", "deb", "demo", "lock", "prove", "reference", "test"]


def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a script with a PATH on which nothing can be installed, for at most 10 s."""
    return subprocess.run(
        [SCRIPTS / name, *arguments],
        check=False, capture_output=True, text=True, timeout=10, env={"PATH": "/usr/bin:/bin"},
    )  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_is_shown_and_nothing_is_run(name: str, flag: str) -> None:
    """`--help` prints the usage and ends at once."""
    done = run(name, flag)
    assert done.returncode == 0
    assert done.stdout.startswith(f"Usage: scripts/{name}")
    assert done.stderr == ""
    assert "#" not in done.stdout


def test_every_script_is_tested_here() -> None:
    """A new script joins the list above; files that are sourced are not executable."""
    executable = [p.name for p in SCRIPTS.iterdir() if p.is_file() and p.stat().st_mode & 0o100]
    assert sorted(executable) == NAMES


@pytest.mark.parametrize("name", ["bench", "prove"])
def test_an_unknown_part_is_a_usage_error(name: str) -> None:
    """An unknown part is an error, and no other part runs."""
    done = run(name, "no-such-part")
    assert done.returncode == 2
    assert "no-such-part" in done.stderr
    assert f"scripts/{name} --help" in done.stderr


def test_every_bench_stands_in_the_help() -> None:
    """A bench that is added is named in the help and runs by default."""
    text = (SCRIPTS / "bench").read_text()
    for bench in (SCRIPTS / "benches").glob("*.py"):
        assert f"#     {bench.stem} " in text
        assert bench.stem in text.partition("set -- ")[2].partition("\n")[0].split()


def test_every_part_of_the_proof_stands_in_the_help() -> None:
    """The list of parts, the help and the functions agree."""
    text = (SCRIPTS / "prove").read_text()
    parts = text.partition("all=(")[2].partition(")")[0].split()
    assert parts
    for part in parts:
        assert f"\n#     {part} " in text
        assert f"\nrun_{part}() " in text


def test_the_harness_needs_no_package_for_development() -> None:
    """`scripts/demo` starts its Tor with the harness, and installs what exitpol needs to run."""
    code = (
        "import sys\n"
        "for name in ('hypothesis', 'pytest', 'scipy'): sys.modules[name] = None\n"
        "import tests.harness.tor\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=False, capture_output=True, text=True, timeout=60, cwd=SCRIPTS.parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
