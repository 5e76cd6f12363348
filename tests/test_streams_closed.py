"""Closed standard streams, interruptions, and characters that must not reach a terminal."""

import json
import signal
import socket
import subprocess
import sys
import time
import unicodedata
from pathlib import Path

import pytest

from exitpolicy import __version__
from exitpolicy.core.errors import ExitCode

EXITPOL = f"{sys.executable} -m exitpolicy"
HOSTILE = "x\u009b31m\u202e\x1b[2J\u2028\u200b\x85\x07end"
"""C0 and C1 controls, a bidi override, a line separator, an invisible character."""


def shell(command: str, config: Path) -> subprocess.CompletedProcess[bytes]:
    """Run a shell command; `exitpol` in it is the program under test."""
    return subprocess.run(
        ["/bin/sh", "-c", f'exitpol() {{ {EXITPOL} --config "{config}" "$@"; }}; {command}'],
        capture_output=True,
        check=False,
        timeout=60,
    )


@pytest.fixture(name="config")
def _config(tmp_path: Path) -> Path:
    """Return a config with a ledger of one block, whose reason is hostile."""
    ledger = tmp_path / "blocks.yaml"
    reason = json.dumps(HOSTILE)
    ledger.write_text(
        'version: 1\nblocks:\n- {destination: "203.0.113.7", since: "2026-01-01", until: never,'
        f" reason: {reason}}}\n"
    )
    config = tmp_path / "config.yaml"
    config.write_text(
        f"ledger: {ledger}\nfragment: {tmp_path}/exitpol.conf\nrelays:\n"
        f"- {{name: a, torrc: {tmp_path}/torrc, control: {tmp_path}/socket}}\n"
    )
    return config


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        ("exitpol list >&-", 1, b"the output cannot be written: Bad file descriptor"),
        ("exitpol list --json >&-", 1, b"the output cannot be written: Bad file descriptor"),
        ("exitpol policy list >&-", 1, b"the output cannot be written: Bad file descriptor"),
        ("exitpol --help >&-", 1, b"the output cannot be written: Bad file descriptor"),
        ("exitpol block - --until 1d <&-", 2, b"stdin cannot be read: Bad file descriptor"),
        ("exitpol complaint - <&-", 2, b"stdin cannot be read: Bad file descriptor"),
        ("exitpol apply --from - <&-", 2, b"stdin cannot be read: Bad file descriptor"),
        ("exitpol import - --until 1d <&-", 2, b"stdin cannot be read: Bad file descriptor"),
        ("exitpol list 2>&-", 0, b""),
        ("exitpol list <&-", 0, b""),
        ("exitpol list <&- >&- 2>&-", 1, b""),
        ("exitpol lift 203.0.113.8 2>&-", 9, b""),
        ("exitpol lift 203.0.113.8 2>/dev/full", 9, b""),
        ("printf 'caf\\351' | exitpol block - --until 1d", 2, b"stdin:1:"),
    ],
)
def test_a_closed_stream_gives_one_code_and_no_traceback(
    config: Path, command: str, code: int, message: bytes
) -> None:
    """Each stream may be closed at the start. What cannot be written or read is an error."""
    done = shell(command, config)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert b"Traceback" not in done.stderr + done.stdout
    assert b"Exception ignored" not in done.stderr


def test_output_of_a_closed_stream_reaches_no_file(config: Path) -> None:
    """The ledger is not opened under the number of the closed stream and written into."""
    ledger = config.with_name("blocks.yaml")
    before = ledger.read_bytes()
    shell("exitpol list >&- 2>&- <&-; exitpol status >&- 2>&- <&-", config)
    assert ledger.read_bytes() == before


@pytest.mark.parametrize("command", ["list", "list --json", "list --all"])
def test_nothing_that_controls_a_terminal_is_printed(config: Path, command: str) -> None:
    """Reasons with control, format and separator characters are escaped, in text and in JSON."""
    shown = shell(f"exitpol {command}", config).stdout.decode()
    assert "end" in shown
    bad = {c for c in shown if unicodedata.category(c) in {"Cc", "Cf", "Zl", "Zp"} and c != "\n"}
    assert bad == set()
    if "json" in command:
        assert json.loads(shown)["blocks"][0]["reason"] == HOSTILE


def wait_for_read(process: subprocess.Popen[bytes]) -> None:
    """Wait until a process reads from a pipe."""
    deadline = time.monotonic() + 30
    while "pipe" not in Path(f"/proc/{process.pid}/wchan").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, ExitCode.INTERRUPTED), (signal.SIGTERM, ExitCode.TERMINATED)],
)
def test_an_interrupted_command_has_a_code_of_its_own(
    config: Path, number: signal.Signals, code: ExitCode
) -> None:
    """SIGINT and SIGTERM end a command with a message, a hint and no traceback."""
    with subprocess.Popen(
        [sys.executable, "-m", "exitpolicy", "--config", config, "block", "-", "--until", "1d"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        wait_for_read(process)
        process.send_signal(number)
        out, err = process.communicate(timeout=10)
    assert process.returncode == code
    assert out == b""
    assert err == (
        b"exitpol: error: interrupted\n"
        b"exitpol: hint: exitpol status shows what is enforced,"
        b" exitpol apply completes what is recorded\n"
    )


def test_the_version_is_shown(config: Path) -> None:
    """`exitpol --version` needs no command."""
    done = shell("exitpol --version", config)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode() == f"exitpol {__version__}\n"


def test_an_interrupted_change_says_that_nothing_was_changed(config: Path, tmp_path: Path) -> None:
    """While a Tor does not answer, SIGINT ends a block; the ledger is as it was."""
    ledger = config.with_name("blocks.yaml")
    before = ledger.read_bytes()
    (tmp_path / "torrc").write_text(f"ORPort 9001\nExitRelay 1\n%include {tmp_path}/exitpol.conf\n")
    (tmp_path / "exitpol.conf").write_text("")
    (tmp_path / "list").write_text("203.0.113.8\n")
    with socket.socket(socket.AF_UNIX) as silent, (tmp_path / "list").open("rb") as destinations:
        silent.bind(str(tmp_path / "socket"))
        silent.listen()
        with subprocess.Popen(
            [sys.executable, "-m", "exitpolicy", "--config", config, "block", "-", "--until", "1d"],
            stdin=destinations,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            silent.settimeout(30)
            connection, _ = silent.accept()
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=30)
            connection.close()
    assert process.returncode == ExitCode.INTERRUPTED, err
    assert err.startswith(b"exitpol: error: interrupted; nothing was changed\n")
    assert ledger.read_bytes() == before
