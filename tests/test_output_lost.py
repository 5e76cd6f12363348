"""Output that cannot be written: the command completes, and reports the error if possible."""

import subprocess
import sys
from pathlib import Path

import pytest

FULL = Path("/dev/full")
"""A device that has no space left (full(4))."""

pytestmark = pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full")


def into_full(*arguments: str, errors: bool = False) -> subprocess.CompletedProcess[str]:
    """Run a command whose output, or both outputs, go to a full disk."""
    with FULL.open("w") as full:
        return subprocess.run(
            [sys.executable, "-m", "exitpolicy", *arguments],
            stdin=subprocess.DEVNULL, stdout=full, stderr=full if errors else subprocess.PIPE,
            check=False, text=True, timeout=60,
        )  # fmt: skip


@pytest.mark.parametrize("more", [(), ("--json",)], ids=["text", "JSON"])
def test_output_to_a_full_disk_is_an_error_that_says_so(more: tuple[str, ...]) -> None:
    """The message says that the output failed; there is no traceback."""
    done = into_full("policy", "list", *more)
    assert done.returncode == 1
    assert done.stderr == (
        "exitpol: error: the output cannot be written: No space left on device\n"
        "exitpol: hint: exitpol status shows what is enforced\n"
    )


def test_another_error_is_said_although_its_json_cannot_be_written(tmp_path: Path) -> None:
    """The command's own error and exit code are reported, not the failed output's."""
    done = into_full("--config", str(tmp_path / "none"), "list", "--json")
    assert done.returncode == 8
    assert done.stderr.startswith("exitpol: error: ")
    assert "there is no such config" in done.stderr
    assert "Traceback" not in done.stderr


def test_code_is_kept_where_there_is_nowhere_left_to_say_anything(tmp_path: Path) -> None:
    """With `>>log 2>&1` on a full disk, the exit code still tells the error."""
    for more in ((), ("--json",)):
        done = into_full("--config", str(tmp_path / "none"), "list", *more, errors=True)
        assert done.returncode == 8
