"""Programs that root runs beside tor are found where only root can change them."""

import os
from pathlib import Path

import pytest

from exitpolicy.tor import streams, users

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who has something to lose")


def planted(folder: Path, name: str, uid: int) -> Path:
    """Put a program into a folder, both of a user's."""
    folder.mkdir(parents=True)
    path = folder / name
    path.write_text("#!/bin/sh\nexit 1\n")
    path.chmod(0o755)
    for owned in (folder, path):
        os.chown(owned, uid, uid)
    return path


@pytest.mark.parametrize("name", ["ss", "systemctl"])
def test_no_program_of_another_user_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Neither in a folder of theirs, nor by a link of root's to it, nor where root works."""
    theirs = planted(tmp_path / "theirs", name, 12345)
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / name).symlink_to(theirs)
    monkeypatch.chdir(theirs.parent)
    monkeypatch.setenv("PATH", f".::{theirs.parent}:{linked}")
    found = users.trusted_program(name)
    assert found is None or found.startswith(("/usr/", "/bin/", "/sbin/"))
    roots = planted(tmp_path / "roots", name, 0)
    monkeypatch.setenv("PATH", f".:{theirs.parent}:{roots.parent}")
    assert users.trusted_program(name) == str(roots)


def test_a_planted_ss_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard and `block --cut` ask it which connections Tor has."""
    theirs = planted(tmp_path / "theirs", "ss", 12345)
    monkeypatch.chdir(theirs.parent)
    monkeypatch.setenv("PATH", f".:{theirs.parent}:{os.environ['PATH']}")
    assert Path(streams.lister()).parent not in {Path(), theirs.parent}
