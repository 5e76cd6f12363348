"""The collection passes what is asked of published collections: ansible-lint and ansible-test."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

pytest.importorskip("ansible")
pytestmark = pytest.mark.slow

COLLECTION: Final = Path(__file__).parents[2] / "exitpolicy" / "ansible"
RULES: Final = Path(__file__).with_name("ansible-lint.yml")
PYTHON: Final = f"{sys.version_info.major}.{sys.version_info.minor}"

SANITY: Final = (
    "ansible-doc", "compile", "empty-init", "import", "line-endings", "no-assert", "pep8", "pylint",
    "runtime-metadata", "shebang", "symlinks", "use-argspec-type-path", "validate-modules",
    "yamllint",
)  # fmt: skip
"""The tests of `ansible-test sanity` that are for collections and need no container."""

GET_PIP: Final = """\
import ensurepip, os, subprocess, sys
ensurepip.bootstrap()
os.environ.pop("PIP_CONFIG_FILE", None)
words = [word for word in sys.argv[1:] if word not in ("--no-setuptools", "--no-wheel")]
sys.exit(subprocess.call([sys.executable, "-m", "pip", "install", *words]))
"""
"""In place of the get-pip.py that ansible-test would download: it takes the pip of Python."""


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give a copy of the collection in a git repository, at a path that names it."""
    root = tmp_path_factory.mktemp("lint")
    place = root / "ansible_collections" / "exitpol" / "exitpol"
    shutil.copytree(COLLECTION, place, ignore=shutil.ignore_patterns("__pycache__"))
    for command in (["init", "--quiet"], ["add", "--all"]):
        subprocess.run(["git", *command], check=True, cwd=place)  # noqa: S607
    # The modules have the licence of exitpol, and not that of Ansible.
    ignored = (path.relative_to(place) for path in sorted(place.glob("plugins/modules/*.py")))
    sanity = place / "tests" / "sanity"
    sanity.mkdir(parents=True, exist_ok=True)
    lines = [f"{path} validate-modules:missing-gplv3-license\n" for path in ignored]
    (sanity / f"ignore-{ansible_version()}.txt").write_text("".join(lines))
    yield place
    shutil.rmtree(root, ignore_errors=True)


def ansible_version() -> str:
    """Return the first two numbers of the version of Ansible."""
    from ansible import release  # noqa: PLC0415 - where it is installed

    return ".".join(release.__version__.split(".")[:2])


def run(place: Path, program: str, *arguments: str | Path) -> None:
    """Run a program of Ansible in the collection; show what it says if it finds anything."""
    home = place.parents[2] / "home"
    cache = home / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    (cache / "get_pip_24_2.py").write_text(GET_PIP)
    done = subprocess.run(
        [Path(sys.executable).with_name(program), *arguments],
        check=False, capture_output=True, text=True, cwd=place, timeout=1200,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(home),
            "ANSIBLE_COLLECTIONS_PATH": str(place.parents[2]),
            "NO_COLOR": "1",
        },
    )  # fmt: skip
    if "does not have pip available" in done.stderr:
        pytest.skip("ansible-test cannot make a virtual environment here")
    assert done.returncode == 0, done.stdout + done.stderr


def test_ansible_lint_finds_nothing(collection: Path) -> None:
    """By its strictest profile, `production`."""
    run(collection, "ansible-lint", "-c", RULES, "--nocolor", "-q")


def test_ansible_test_finds_nothing(collection: Path) -> None:
    """The sanity tests for collections."""
    tests = [word for name in SANITY for word in ("--test", name)]
    run(collection, "ansible-test", "sanity", "--python", PYTHON, "--color", "no", *tests)
