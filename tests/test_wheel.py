"""The wheel holds everything, and exitpol runs from it in a virtual environment of its own.

The environment has nothing but the wheel and its dependencies, which are those of this Python.
"""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Final

import pytest
import typer

from exitpolicy import __version__
from tests.harness.host import HostMaker

ROOT: Final = Path(__file__).parents[1]
COMPLAINT: Final = ROOT / "tests" / "corpus" / "asterisk-sip.eml"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a wheel of this tree."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT, timeout=120)
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a virtual environment in which the wheel is installed."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True, timeout=120)
    python = folder / "bin" / "python"
    pip = f"{sys.executable} -m pip --python {python} install --no-deps --no-index {wheel}"
    subprocess.run(
        pip.split(),
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    (packages,) = folder.glob("lib/python3*/site-packages")
    (packages / "dependencies.pth").write_text(f"{Path(typer.__file__).parents[1]}\n")
    return folder


def run(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the installed program outside of this tree."""
    return subprocess.run(
        [installed / "bin" / "exitpol", *arguments],
        check=False, capture_output=True, text=True, timeout=60, cwd=installed,
        env={"PATH": os.environ["PATH"]},
    )  # fmt: skip


def test_every_file_of_the_package_is_in_the_wheel(wheel: Path) -> None:
    """Code, words, letters, documents, units, schemas, policies and man pages; nothing else."""
    expected = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "exitpolicy").rglob("*")
        if path.is_file() and not {"__pycache__", "man"} & set(path.parts)
    }
    expected |= {f"exitpolicy/policies/{path.name}" for path in (ROOT / "policies").iterdir()}
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    data = f"exitpol-{__version__}"
    expected |= {
        f"{data}.data/data/share/man/man{path.suffix[1:]}/{path.name}"
        for path in (ROOT / "exitpolicy" / "man").iterdir()
    }
    about = ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")
    assert names == expected | {f"{data}.dist-info/{name}" for name in about}


def test_it_runs_without_this_tree(installed: Path) -> None:
    """The program, its data files and the child process that reads a mail come from the wheel."""
    code = "import exitpolicy; print(exitpolicy.__file__)"
    found = subprocess.run(
        [installed / "bin" / "python", "-I", "-c", code], check=True, capture_output=True, text=True
    )
    assert found.stdout.startswith(f"{installed}/")
    assert run(installed, "--version").stdout == f"exitpol {__version__}\n"
    done = run(installed, "complaint", str(COMPLAINT), "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["reporter"] == "voip@telco.example"
    done = run(installed, "policy", "show", "web")
    assert done.returncode == 0
    assert "443" in done.stdout
    done = run(installed, "reply", "--template", "greeting", "--lang", "it")
    assert (done.returncode, "Buongiorno" in done.stdout) == (0, True), done.stderr


def test_man_finds_the_pages(installed: Path) -> None:
    """A man page of a program on PATH is found in ../share/man (manpath(5))."""
    assert (installed / "share" / "man" / "man1" / "exitpol.1").is_file()
    assert (installed / "share" / "man" / "man5" / "exitpol.yaml.5").is_file()


def test_it_sets_up_a_relay(installed: Path, make_host: HostMaker) -> None:
    """`init --dry-run` on a real Tor shows the line, and changes nothing."""
    host = make_host(init=False)
    before = host.tor.torrc.read_bytes()
    done = run(
        installed, "--config", str(host.config), "init", "--torrc", str(host.tor.torrc), "--dry-run"
    )
    assert done.returncode == 0, done.stderr
    assert "+%include " in done.stdout
    assert host.tor.torrc.read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tool", "install"),
    [("pip", "pip install {}"), ("pipx", "pipx install {}"), ("uv", "uv tool install {}")],
)
def test_each_installer_takes_it(wheel: Path, tmp_path: Path, tool: str, install: str) -> None:
    """The wheel brings its dependencies from the index, and the program is on PATH afterwards."""
    folder = tmp_path / "bin"
    if tool == "pip":
        subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
        folder = tmp_path / "venv" / "bin"
        install = f"{folder}/{install}"
    elif shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    environment = {
        "PIPX_HOME": f"{tmp_path}/pipx", "PIPX_BIN_DIR": f"{folder}",
        "PIPX_MAN_DIR": f"{tmp_path}/man",
        "UV_TOOL_DIR": f"{tmp_path}/uv", "UV_TOOL_BIN_DIR": f"{folder}",
    }  # fmt: skip
    done = subprocess.run(
        install.format(wheel).split(),
        check=False, capture_output=True, text=True, timeout=600, env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shown = subprocess.run(
        [folder / "exitpol", "complaint", COMPLAINT, "--json"],
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (shown.returncode, shown.stderr) == (0, "")
