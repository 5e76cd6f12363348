"""`exitpol merge` as git calls it: two admins, two clones of one ledger."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from exitpolicy.cli import app
from exitpolicy.storage.ledger_file import load
from tests.test_merge_text import BASE, HEAD, line

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is missing")

Run = Callable[..., subprocess.CompletedProcess[str]]
LEDGER = "our ledger's.yaml"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Return a function that runs a program in a folder, with a config of exitpol that is bad."""
    bad = tmp_path / "bad.yaml"
    bad.write_text("nonsense\n")
    environment = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "EXITPOL_CONFIG": str(bad),
        "GIT_CONFIG_NOSYSTEM": "1",
        **{
            f"GIT_{who}_{what}": "admin@example.org"
            for who in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        },
    }

    def call(folder: Path, *command: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == code, (command, done.stdout, done.stderr)
        return done

    return call


@pytest.fixture
def clones(tmp_path: Path, run: Run) -> tuple[Path, Path]:
    """Return two clones of a ledger, each with the commands that --install prints."""
    shared, ours, theirs = (tmp_path / name for name in ("shared.git", "ours", "theirs"))
    run(tmp_path, "git", "init", "-q", "--bare", "-b", "main", str(shared))
    for clone in (ours, theirs):
        run(tmp_path, "git", "clone", "-q", str(shared), str(clone))
        run(clone, "git", "checkout", "-q", "-B", "main")
    (ours / LEDGER).write_text(BASE)
    lines = run(ours, "exitpol", "merge", "--install").stdout
    run(ours, "sh", "-ec", lines.replace("blocks.yaml", '"our?ledger*.yaml"'))
    run(ours, "git", "add", "-A")
    run(ours, "git", "commit", "-qm", "ledger")
    run(ours, "git", "push", "-q", "-u", "origin", "main")
    run(theirs, "sh", "-ec", "\n".join(one for one in lines.splitlines() if "config" in one))
    run(theirs, "git", "pull", "-q", "origin", "main")
    return ours, theirs


def commit(run: Run, clone: Path, text: str) -> None:
    """Write the ledger and commit it."""
    (clone / LEDGER).write_text(text)
    run(clone, "git", "commit", "-qam", "change")


def pull(run: Run, clone: Path, *options: str, code: int = 0) -> str:
    """Merge what the other clone has pushed; return what git and exitpol write."""
    done = run(clone, "git", "pull", "--no-edit", *options, "origin", "main", code=code)
    return done.stdout + done.stderr


@pytest.mark.parametrize("how", ["--no-rebase", "--rebase"])
def test_two_admins_change_one_ledger(clones: tuple[Path, Path], run: Run, how: str) -> None:
    """Both add a block at the end, and change the same line: git alone cannot merge that."""
    ours, theirs = clones
    commit(
        run,
        ours,
        BASE.replace(line(1), line(1, reason="scans")).replace("# the", f"{line(4)}# the"),
    )
    commit(
        run,
        theirs,
        BASE.replace(line(1), line(1, until="never")).replace("# the", f"{line(5)}# the"),
    )
    run(ours, "git", "push", "-q")
    shown = pull(run, theirs, how)
    # A rebase has the other side for ours.
    assert f"{LEDGER}: 1 added, 1 changed, 0 removed" in shown
    text = (theirs / LEDGER).read_text()
    assert line(1, until="never", reason="scans") in text
    assert line(4) in text
    assert line(5) in text
    assert len(load(theirs / LEDGER).blocks) == 5
    run(theirs, "git", "push", "-q", "origin", "main")
    pull(run, ours, "--ff-only")
    assert (ours / LEDGER).read_text() == text


def test_a_contradiction_stops_the_merge(clones: tuple[Path, Path], run: Run) -> None:
    """Git leaves the conflict in the file; the reader names it; resolved, it is committed."""
    ours, theirs = clones
    commit(run, ours, BASE.replace(line(1), ""))
    commit(run, theirs, BASE.replace(line(1), line(1, until="never")) + line(4))
    run(ours, "git", "push", "-q")
    shown = pull(run, theirs, "--no-rebase", code=1)
    assert f"{LEDGER}:5: 203.0.113.1: one side changed the block, the other one removed it" in shown
    assert f"exitpol: error: {LEDGER} has 1 conflict; the rest is merged" in shown
    assert "CONFLICT" in shown
    assert run(theirs, "git", "diff", "--name-only", "--diff-filter=U").stdout
    text = (theirs / LEDGER).read_text()
    start, end = text.index("<<<<<<<"), text.index(">>>>>>> theirs\n") + len(">>>>>>> theirs\n")
    (theirs / LEDGER).write_text(text[:start] + line(1, until="never") + text[end:])
    assert len(load(theirs / LEDGER).blocks) == 4
    run(theirs, "git", "commit", "-qam", "resolved")


def test_a_side_that_is_no_ledger_stops_the_merge(clones: tuple[Path, Path], run: Run) -> None:
    """A commit of a stranger cannot get into the ledger by a merge that nobody has read."""
    ours, theirs = clones
    commit(run, ours, BASE.replace("blocks:", "blocks: !!python/object:os.system"))
    commit(run, theirs, BASE + line(4))
    run(ours, "git", "push", "-q")
    shown = pull(run, theirs, "--no-rebase", code=1)
    assert "exitpol: error: theirs is not a valid ledger" in shown
    text = (theirs / LEDGER).read_text()
    assert text.startswith("<<<<<<< theirs is not a valid ledger, see its line ")
    assert text.endswith(BASE + line(4))
    assert "python/object" in run(theirs, "git", "show", f":3:{LEDGER}").stdout


def test_histories_that_cross_are_merged(clones: tuple[Path, Path], run: Run) -> None:
    """Each admin merges the other's first commit; git merges the two bases with exitpol too."""
    ours, theirs = clones
    sides = {ours: line(4), theirs: line(5)}
    for clone, added in sides.items():
        commit(run, clone, BASE + added)
        run(clone, "git", "push", "-q", "origin", f"main:{clone.name}")
    for clone in sides:
        run(clone, "git", "fetch", "-q", "origin")
        other = "ours" if clone == theirs else "theirs"
        run(clone, "git", "merge", "-q", "--no-edit", f"origin/{other}")
        commit(run, clone, (clone / LEDGER).read_text() + line(6 if clone == ours else 7))
        run(clone, "git", "push", "-q", "origin", f"main:{clone.name}")
    run(ours, "git", "fetch", "-q", "origin")
    run(ours, "git", "merge", "--no-edit", "origin/theirs")
    assert len(load(ours / LEDGER).blocks) == 7


def test_it_needs_no_config_and_says_what_it_did(tmp_path: Path, run: Run) -> None:
    """As JSON too; the file of the result keeps its mode; other files stay."""
    paths = [tmp_path / name for name in ("base", "ours", "theirs")]
    for path, added in zip(paths, ("", line(4), line(5)), strict=True):
        path.write_text(BASE + added)
    paths[1].chmod(0o604)
    done = run(tmp_path, "exitpol", "merge", "--json", *map(str, paths))
    shown = json.loads(done.stdout)
    assert shown == {
        "schema": 1,
        "added": 1,
        "changed": 0,
        "removed": 0,
        "conflicts": [],
        "warnings": [],
    }
    assert paths[1].stat().st_mode & 0o777 == 0o604
    assert paths[0].read_text() == BASE
    assert paths[2].read_text() == BASE + line(5)


@pytest.mark.root
def test_any_user_can_merge(tmp_path: Path) -> None:
    """In a folder of one's own, without a config and without a right to read exitpol's files."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    try:
        paths = [folder / name for name in ("base", "ours", "theirs")]
        for path, added in zip(paths, ("", line(4), line(5)), strict=True):
            path.write_text(BASE + added)
            os.chown(path, 65534, 65534)
        os.chown(folder, 65534, 65534)
        # What is imported later may lie where this user cannot read.
        shutil.copytree(folder, tmp_path / "first")
        files = [str(tmp_path / "first" / path.name) for path in paths]
        assert app.run(["merge", *files]) == 0
        child = os.fork()
        if child == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            os._exit(app.run(["merge", *map(str, paths)]))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert len(load(paths[1]).blocks) == 5
        assert paths[1].stat().st_uid == 65534
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("base",), 2, "exitpol merge needs three files: BASE OURS THEIRS"),
        (("--install", "base"), 2, "--install takes no files"),
        (("base", "none", "theirs"), 8, "none: there is no such file"),
        (
            ("none", "ours", "theirs"),
            8,
            "the base is not a valid ledger: none: there is no such file",
        ),
        (("base", "ours", "fifo"), 8, "theirs is not a valid ledger: fifo"),
    ],
)
def test_bad_arguments(
    tmp_path: Path, run: Run, arguments: tuple[str, ...], code: int, message: str
) -> None:
    """The error says what is missing; nothing hangs."""
    for name in ("base", "ours", "theirs"):
        (tmp_path / name).write_text(f"{HEAD}{line(1)}")
    os.mkfifo(tmp_path / "fifo")
    done = run(tmp_path, "exitpol", "merge", *arguments, code=code)
    assert f"exitpol: error: {message}" in done.stderr
