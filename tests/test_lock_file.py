"""requirements.lock holds what pyproject.toml asks for, with hashes; `scripts/lock` writes it."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCK = (ROOT / "requirements.lock").read_text()
ENTRIES = re.findall(
    r"^(\S+)==(\S+) \\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", LOCK, re.MULTILINE
)


def test_every_dependency_is_locked_to_a_version_that_it_allows() -> None:
    """The lock file is up to date with pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    locked = {canonicalize_name(name): version for name, version, _ in ENTRIES}
    for requirement in map(Requirement, project["dependencies"]):
        version = locked.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement} is missing: run scripts/lock"
        assert requirement.specifier.contains(version), f"{requirement}: run scripts/lock"


def test_every_entry_has_hashes_and_nothing_else_is_in_the_file() -> None:
    """Each package has a hash, because pip refuses a partial file; no index is named."""
    rest = LOCK
    for name, version, hashes in ENTRIES:
        rest = rest.replace(f"{name}=={version} \\\n{hashes}", "")
    assert ENTRIES
    assert [line for line in rest.splitlines() if line and not line.startswith("#")] == []
    assert "://" not in LOCK
