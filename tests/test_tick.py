"""`tick`: decides when exitpol must run, and does nothing else."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exitpolicy import tick
from exitpolicy.storage import observed
from exitpolicy.storage.observed import Moment, Observation

NOW = 1_800_000_000.0


@pytest.fixture
def watched(tmp_path: Path) -> Path:
    """Return a file that must not change."""
    file = tmp_path / "torrc\x85 \u2028 odd"
    file.write_text("ExitPolicy reject *:*\n")
    return file


@pytest.fixture
def path(tmp_path: Path, watched: Path) -> Path:
    """Return a state in which there is nothing to do."""
    path = tmp_path / "state"
    write(path, watched)
    return path


def write(
    path: Path,
    watched: Path,
    *,
    applied: float = NOW,
    next_change: float | None = None,
    settled: bool = True,
) -> None:
    """Write a state as exitpol does after an apply."""
    marks = observed.fingerprints([watched, path.parent / "absent"])
    observed.save(
        path, Observation(applied, next_change, settled, marks, states={"1.2.3.4": "live"})
    )


def test_with_nothing_due_there_is_no_reason_to_run(path: Path) -> None:
    """Right after an apply, and for all of the next 15 minutes, there is nothing to do."""
    assert tick.due(str(path), NOW) is None
    assert tick.due(str(path), NOW + tick.LOOK_EVERY - 0.001) is None


def test_a_batch_is_due_by_the_running_time(path: Path, watched: Path) -> None:
    """Not by the clock, which may be set; and after a start of the host, exitpol runs."""
    marks = observed.fingerprints([watched])
    for begun, batch, is_due in ((-10, 600, False), (-601, 600, True), (+600, 600, True)):
        moment = Moment("boot", tick.running() + begun)
        observed.save(path, Observation(NOW, None, True, marks, begun=moment, batch=batch))
        for clock in (NOW, NOW + 300):
            assert (tick.due(str(path), clock) is not None) is is_due


def test_tor_is_observed_every_15_minutes(path: Path) -> None:
    """After 15 minutes, and after the clock was set in either direction, exitpol runs."""
    for now in (NOW + tick.LOOK_EVERY, NOW - 0.001, NOW - 1e9, NOW + 1e9):
        assert tick.due(str(path), now) == (
            "the last observation of Tor is too old, or the clock was set"
        )


def test_a_head_without_an_end_is_not_believed(path: Path, watched: Path) -> None:
    """A watched file may be named beyond the part of the state that is read."""
    for count in (1, 10_000):
        name = f"{watched}{'x' * 100}"
        marks = {
            **observed.fingerprints([watched]),
            **{f"{name}{n}": "0 0 0" for n in range(count)},
        }
        observed.save(path, Observation(NOW, None, settled=True, watched=marks))
        assert tick.due(str(path), NOW) == (
            None if count == 1 else "the state is cut short, or too long"
        )


def test_a_block_that_begins_or_ends_is_a_reason(path: Path, watched: Path) -> None:
    """The command runs at that moment, and not before."""
    write(path, watched, next_change=NOW + 60)
    assert tick.due(str(path), NOW + 59.999) is None
    assert tick.due(str(path), NOW + 60) == "a block begins or ends"


def test_what_is_pending_is_a_reason(path: Path, watched: Path) -> None:
    """The command runs at every tick until the relays were observed to be settled."""
    write(path, watched, settled=False)
    assert tick.due(str(path), NOW) == "something is pending"


def test_a_changed_file_is_a_reason(path: Path, watched: Path) -> None:
    """An edit, a removal, and a file that was not there before are all noticed."""
    watched.write_text("ExitPolicy reject *:25\n")
    assert tick.due(str(path), NOW) == f"{watched} has changed"
    watched.unlink()
    assert tick.due(str(path), NOW) == f"{watched} has changed"
    write(path, watched)
    assert tick.due(str(path), NOW) is None
    (path.parent / "absent").touch()
    assert tick.due(str(path), NOW) == f"{path.parent / 'absent'} has changed"


@pytest.mark.parametrize(
    ("line", "other", "reason"),
    [
        ("version 1", "version 2", "the state has another version"),
        ("version 1\n", "", "the state is incomplete"),
        ("applied ", "x ", "the state is incomplete"),
        ("next never\n", "", "the state is incomplete"),
        ("settled 1\n", "", "the state is incomplete"),
        ("watch ", "watched ", "the state is incomplete"),
        ("next never", "next soon", "the state is not understood"),
        ("next never", "next nan", "a block begins or ends"),
        ("applied 1800000000.000", "applied nan", "the last observation of Tor"),
        ("watch ", "watch\n", "the state is not understood"),
    ],
)
def test_what_is_not_understood_is_a_reason(path: Path, line: str, other: str, reason: str) -> None:
    """If the state is incomplete, of another version or invalid, exitpol runs."""
    text = path.read_bytes().decode()
    assert line in text
    path.write_bytes(text.replace(line, other).encode())
    assert (tick.due(str(path), NOW) or "").startswith(reason)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (Path.mkdir, "there is no state yet"),
        (os.mkfifo, "the state is not a regular file"),
        (lambda path: path.symlink_to(path), "there is no state yet"),
        (lambda path: path.symlink_to("/dev/zero"), "there is no state yet"),
        (lambda _: None, "there is no state yet"),
    ],
)
def test_what_is_no_file_is_a_reason(
    tmp_path: Path, make: Callable[[Path], object], reason: str
) -> None:
    """A folder, a FIFO, a device, a link to itself or nothing: exitpol runs, and nothing hangs."""
    make(tmp_path / "state")
    assert tick.due(str(tmp_path / "state"), NOW) == reason


@settings(max_examples=80)
@given(
    content=st.binary(max_size=80)
    | st.lists(
        st.sampled_from(
            [
                "version 1",
                "applied 1800000000",
                "next never",
                "next 1",
                "settled 1",
                "watch 0 0 0 /x\x00",
                "watch 0 0 0 /none",
                "watch 1",
                "",
            ]
        )
    ).map(lambda lines: "\n".join(lines).encode())
)
def test_any_bytes_are_understood_or_a_reason(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    """No content raises an exception."""
    path = tmp_path_factory.getbasetemp() / "any-state"
    path.write_bytes(content)
    reason = tick.due(str(path), NOW)
    if reason is None:
        lines = content.split(b"\n\n")[0].split(b"\n")
        assert {line.split(b" ")[0] for line in lines} >= {b"version", b"watch", b"next"}


def test_metrics_that_show_another_observation_are_a_reason(path: Path, tmp_path: Path) -> None:
    """The file has the time of the state as long as it shows that state; both are touched."""
    metrics = tmp_path / "exitpol.prom"
    missing = "the metrics are missing, or cannot be touched"
    assert tick.due(str(path), NOW, str(metrics)) == missing
    metrics.write_text("exitpol_info 1\n")
    os.utime(metrics, (5, 5))
    older = "the metrics do not show the last observation"
    assert tick.due(str(path), NOW, str(metrics)) == older
    assert metrics.stat().st_mtime == 5
    os.utime(path, (5, 5))
    assert tick.due(str(path), NOW, str(metrics)) is None
    assert metrics.stat().st_mtime_ns == path.stat().st_mtime_ns
    assert 0 <= time.time() - metrics.stat().st_mtime < 10


def test_no_link_in_the_place_of_the_metrics_is_touched(path: Path, tmp_path: Path) -> None:
    """The folder may belong to another user."""
    victim, link = tmp_path / "victim", tmp_path / "link"
    victim.touch()
    link.symlink_to(victim)
    for file in (path, victim):
        os.utime(file, (5, 5))
    os.utime(link, (5, 5), follow_symlinks=False)
    assert tick.due(str(path), NOW, str(link)) is None
    assert victim.stat().st_mtime == 5


def run(
    path: Path, *command: str, strace: Path | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run the tick as the timer does."""
    tracing = ["strace", "-f", "-o", str(strace)] if strace else []
    return subprocess.run(
        [*tracing, sys.executable, "-I", "-S", tick.__file__, str(path), "--", *command],
        capture_output=True,
        text=True,
        check=False,
    )


def test_with_nothing_to_do_nothing_is_written_locked_or_run(
    path: Path, watched: Path, tmp_path: Path
) -> None:
    """A tick that finds nothing due opens files for reading only, and ends in silence with 0."""
    write(path, watched, applied=time.time())
    trace = tmp_path / "trace"
    before = sorted(tmp_path.iterdir())
    result = run(path, "/bin/false", strace=trace)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    calls = trace.read_text()
    assert f'"{path}", O_RDONLY' in calls
    for call in (
        "O_WRONLY",
        "O_RDWR",
        "O_CREAT",
        "flock(",
        "F_SETLK",
        "socket(",
        "fork(",
        "rename",
    ):
        assert call not in calls, call
    assert calls.count("execve(") == 1
    assert sorted([*before, trace]) == sorted(tmp_path.iterdir())


def test_with_nothing_to_do_nothing_is_imported(path: Path, watched: Path) -> None:
    """The tick imports no module from a file: the interpreter has all of them."""
    write(path, watched, applied=time.time())
    script = (
        "import sys\nbefore = set(sys.modules)\n"
        f"sys.argv = ['tick.py', {str(path)!r}, '--', '/bin/false']\n"
        f"code = compile(open({tick.__file__!r}).read(), 'tick.py', 'exec')\n"
        "try:\n    exec(code, {'__name__': '__main__'})\n"
        "except SystemExit as end:\n    print(end.code)\n"
        "print(*(f'{name}:{sys.modules[name].__spec__.origin}' for name in sys.modules"
        " if name not in before))\n"
    )
    result = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=False
    )
    code, _, imported = result.stdout.partition("\n")
    assert (code, result.stderr) == ("0", "")
    origins = dict(module.split(":") for module in imported.split())
    assert set(origins.values()) <= {"frozen", "built-in"}
    assert set(origins) <= {"time", "os", "stat", "_stat", "posixpath", "genericpath"} | {
        "os.path", "_collections_abc", "abc", "_abc"
    }  # fmt: skip


def test_with_something_to_do_it_becomes_the_command(path: Path, watched: Path) -> None:
    """The command gets its arguments as they are, and its exit code is the tick's."""
    write(path, watched, applied=time.time(), settled=False)
    result = run(path, "/bin/sh", "-c", 'echo "$0:$$"; exit 7', "a b")
    assert (result.returncode, result.stderr) == (7, "")
    assert result.stdout.startswith("a b:")


def test_a_command_that_cannot_be_run_is_an_error_with_a_hint(tmp_path: Path) -> None:
    """If exitpol was moved, the tick reports it."""
    result = run(tmp_path / "state", str(tmp_path / "gone"), "expire")
    assert result.returncode == 1
    assert result.stderr == (
        f"exitpol: error: {tmp_path}/gone cannot be run: No such file or directory\n"
        "exitpol: hint: if exitpol was moved: exitpol init --timer\n"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["state"],
        ["state", "--"],
        ["state", "exitpol", "x"],
        ["--", "exitpol"],
        ["state", "metrics", "more", "--", "exitpol"],
    ],
)
def test_wrong_arguments_are_a_usage_error(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Without STATE, `--` and COMMAND, it prints the usage and exits with 2."""
    assert tick.main(arguments) == 2
    assert capsys.readouterr().err == "usage: tick.py STATE [METRICS] -- COMMAND [ARGUMENT...]\n"
