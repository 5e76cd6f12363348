"""The collection is built and installed by ansible-galaxy, from the folder in the package."""

import os
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Final

import pytest
import yaml

from exitpolicy import __version__

pytest.importorskip("ansible")

ROOT: Final = Path(__file__).parents[2]
COLLECTION: Final = ROOT / "exitpolicy" / "ansible"
GALAXY: Final = Path(sys.executable).with_name("ansible-galaxy")
NOT_BUILT: Final = {"galaxy.yml"}
"""Files of the folder that the built collection has in another form."""


def galaxy(*arguments: str | Path, home: Path) -> str:
    """Run `ansible-galaxy collection` with this home folder; return its output."""
    done = subprocess.run(
        [GALAXY, "collection", *arguments],
        check=False, capture_output=True, text=True, timeout=120,
        env={**os.environ, "ANSIBLE_HOME": str(home), "HOME": str(home), "NO_COLOR": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_its_version_is_that_of_exitpol() -> None:
    """A host's exitpol and the collection that sets it up are one release."""
    assert yaml.safe_load((COLLECTION / "galaxy.yml").read_text())["version"] == __version__


def test_it_is_built_with_every_file(tmp_path: Path) -> None:
    """`ansible-galaxy collection build` takes all files of the folder, and no others."""
    galaxy("build", COLLECTION, "--output-path", tmp_path, home=tmp_path)
    (built,) = tmp_path.glob("exitpol-exitpol-*.tar.gz")
    with tarfile.open(built) as archive:
        names = {member.name for member in archive if member.isfile()}
    expected = {
        path.relative_to(COLLECTION).as_posix()
        for path in COLLECTION.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert names == (expected - NOT_BUILT) | {"MANIFEST.json", "FILES.json"}


def test_it_is_installed_from_the_folder(tmp_path: Path) -> None:
    """`ansible-galaxy collection install FOLDER` needs no network and no build before it."""
    galaxy("install", COLLECTION, "-p", tmp_path / "collections", home=tmp_path)
    installed = tmp_path / "collections" / "ansible_collections" / "exitpol" / "exitpol"
    listed = galaxy("list", "-p", tmp_path / "collections", home=tmp_path)
    assert ["exitpol.exitpol", __version__] in [line.split() for line in listed.splitlines()]
    assert (installed / "meta" / "runtime.yml").is_file()
