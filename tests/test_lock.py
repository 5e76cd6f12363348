"""`lock`: one holder at a time, and free when its holder dies."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from exitpolicy.cli.app import run
from exitpolicy.core.errors import ExitCode, InvalidFileError, LockTimeoutError
from exitpolicy.operations import change
from exitpolicy.storage.locks import apply_lock_path, ledger_lock_path, lock, lock_folder

HOLDER = (
    "import sys, time\nfrom pathlib import Path\nfrom exitpolicy.storage.locks import lock\n"
    "with lock(Path(sys.argv[1]), seconds=1, doing='x'):\n"
    "    print('held', flush=True)\n    time.sleep(60)\n"
)


@pytest.fixture
def held(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """Let another process hold the lock."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_command_that_waits_too_long_says_who_holds_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`lift` beside a command that never ends: exit code 7, and how to find that command."""
    ledger = tmp_path / "blocks.yaml"
    ledger.write_text("version: 2\nblocks: []\n")
    config = tmp_path / "config.yaml"
    config.write_text(f"ledger: {ledger}\n")
    monkeypatch.setattr(change, "WAIT_SECONDS", 0.2)
    with lock(ledger_lock_path(ledger), seconds=1, doing="x"):
        code = run(["--config", str(config), "lift", "203.0.113.7"])
    told = capsys.readouterr().err
    assert code == ExitCode.LOCK_TIMEOUT, told
    assert "another exitpol has been changing the ledger for more than 0.2 s" in told
    assert f"fuser -v {ledger_lock_path(ledger)}" in told


def test_a_lock_is_held_by_one_at_a_time(tmp_path: Path, held: "subprocess.Popen[str]") -> None:
    """Waiting too long ends with exit code 7; when the holder dies, the lock is free."""
    start = time.monotonic()
    with (
        pytest.raises(
            LockTimeoutError, match=r"another exitpol has been writing for more than 0.2 s"
        ) as caught,
        lock(tmp_path / "lock", seconds=0.2, doing="writing"),
    ):
        pytest.fail("two hold it")
    assert 0.2 <= time.monotonic() - start < 2
    assert caught.value.hint == f"see which one holds it: fuser -v {tmp_path}/lock"
    assert caught.value.exit_code is ExitCode.LOCK_TIMEOUT
    held.kill()
    held.wait()
    with lock(tmp_path / "lock", seconds=2, doing="writing"):
        pass


def test_a_lock_is_free_after_an_error(tmp_path: Path) -> None:
    """An error releases the lock; its file remains, readable by its owner only."""
    path = tmp_path / "lock"
    for _ in range(2):
        with pytest.raises(ValueError, match="work"), lock(path, seconds=0.1, doing="x"):
            raise ValueError("work")
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Path.mkdir, "cannot be locked"),
        (lambda path: path.symlink_to(path), "cannot be locked"),
    ],
)
def test_what_cannot_be_locked_is_an_error(
    tmp_path: Path, make: Callable[[Path], object], message: str
) -> None:
    """A folder or a link instead of the lock file is an error without waiting."""
    make(tmp_path / "lock")
    start = time.monotonic()
    with (
        pytest.raises(InvalidFileError, match=message),
        lock(tmp_path / "lock", seconds=5, doing="x"),
    ):
        pytest.fail("nothing was locked")
    assert time.monotonic() - start < 1


def test_without_its_folder_the_hint_is_init(tmp_path: Path) -> None:
    """`init` makes a missing folder."""
    ledger = tmp_path / "a" / "b" / "blocks.yaml"
    path = ledger_lock_path(ledger)
    with pytest.raises(InvalidFileError) as caught, lock(path, seconds=1, doing="x"):
        pytest.fail("nothing was locked")
    assert caught.value.hint == "exitpol init"
    assert list(tmp_path.iterdir()) == []
    lock_folder(ledger)
    lock_folder(ledger)
    with lock(path, seconds=1, doing="x"), lock(apply_lock_path(ledger), seconds=1, doing="x"):
        assert sorted(os.listdir(ledger.parent)) == [".apply.lock", ".blocks.yaml.lock"]  # noqa: PTH208


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    """A file in the place of the folder is named."""
    (tmp_path / "a").write_text("")
    with pytest.raises(InvalidFileError, match="b cannot be made: Not a directory"):
        lock_folder(tmp_path / "a" / "b" / "blocks.yaml")
