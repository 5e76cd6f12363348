"""Complaints are read in a child process that can do nothing but read them."""

import os
import resource
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from exitpolicy import confinement
from exitpolicy.complaint import Complaint, read_complaint, wire
from exitpolicy.core.destination import parse_destination
from exitpolicy.core.errors import InvalidFileError
from exitpolicy.operations import sandbox

CORPUS = Path(__file__).parent / "corpus"
OWN = [parse_destination("185.220.101.4")]
MAIL = (
    b"From: a@b.example\nSubject: [AB-17] attack\nDate: Sun, 22 Nov 2026 10:00:00 +0000\n\n"
    b"185.220.101.4 attacked our server 93.184.216.34, port 22, at 2026-11-22 09:00:00 UTC.\n"
    b"We also own 93.184.216.99. Please answer within 2 days.\n"
)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change its user")


def test_the_child_reads_as_the_parent_would() -> None:
    """The result is that of `read_complaint`, for every form of report."""
    protected = [parse_destination("93.184.216.34")]
    assert sandbox.read_complaint(MAIL, own=OWN, protected=protected) == read_complaint(
        MAIL, own=OWN, protected=protected
    )
    assert sandbox.read_complaint(MAIL, own=OWN, protected=[]).candidates
    for name in ("zh-gb2312", "utf16-attachment", "xarf-v4-login-attack", "zeek-tsv-attachment"):
        data = next(p for p in CORPUS.glob(f"{name}.*") if ".answer" not in p.name).read_bytes()
        assert sandbox.read_complaint(data, own=OWN, protected=[]) == read_complaint(data, own=OWN)


def confined(
    code: str, *, memory: int = 1 << 30, seconds: int = 5, isolated: Path | None = None
) -> tuple[int, str]:
    """Run code in a confined process; return its exit code and what it wrote."""
    isolate = ""
    if isolated:
        isolate = f"confinement.leave_network()\nconfinement.see_only({str(isolated)!r})\n"
    program = (
        "import ctypes, os, resource, socket, sys\n"
        f"from exitpolicy import confinement\n{isolate}"
        f"confinement.confine(memory={memory}, seconds={seconds})\n" + textwrap.dedent(code)
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


@needs_root
def test_the_child_is_nobody() -> None:
    """All user and group identities are nobody's, and root's are lost for good."""
    code, output = confined(
        """
        print(os.getresuid(), os.getresgid(), os.getgroups())
        for change in (os.setuid, os.setgid):
            try:
                change(0)
            except PermissionError:
                print("refused")
        status = open("/proc/self/status").read() if os.path.exists("/proc") else ""
        print([line for line in status.splitlines() if line.startswith(("CapEff", "NoNewPrivs"))])
        """
    )
    assert code == 0, output
    nobody = (confinement.NOBODY,) * 3
    assert output.splitlines()[:3] == [f"{nobody} {nobody} []", "refused", "refused"]
    assert "CapEff:\\t0000000000000000" in output
    assert "NoNewPrivs:\\t1" in output


@needs_root
def test_the_child_cannot_read_a_file_of_root(tmp_path: Path) -> None:
    """A file with mode 0600 in an open folder stays closed to it."""
    tmp_path.chmod(0o755)
    secret = tmp_path / "secret"
    secret.write_text("secret")
    secret.chmod(0o600)
    code, output = confined(f"open({str(secret)!r})")
    assert code == 1
    assert "PermissionError" in output
    assert Path("/etc/shadow").exists()
    assert "PermissionError" in confined("open('/etc/shadow')")[1]


@needs_root
def test_the_child_reaches_neither_network_nor_files(tmp_path: Path) -> None:
    """It can connect to no listener of this host, by TCP or by a path, and sees no file."""
    tmp_path.chmod(0o755)
    empty = tmp_path / "empty"
    empty.mkdir()
    path = str(tmp_path / "socket")
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as local:
        local.bind(path)
        local.listen()
        Path(path).chmod(0o777)
        port = server.getsockname()[1]
        code, output = confined(
            f"""
            for family, place in (
                (socket.AF_INET, ("127.0.0.1", {port})), (socket.AF_UNIX, {path!r})
            ):
                try:
                    socket.socket(family).connect(place)
                    print("connected")
                except OSError:
                    print("refused")
            print(os.listdir("/"), os.getcwd())
            """,
            isolated=empty,
        )
    assert (code, output) == (0, "refused\nrefused\n[] /\n")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has prctl")
def test_no_other_process_of_its_user_can_trace_the_child() -> None:
    """Its memory holds the complaint; PR_GET_DUMPABLE is 0."""
    assert confined("print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))") == (0, "0\n")


def test_the_child_can_neither_write_nor_start_programs(tmp_path: Path) -> None:
    """It cannot put a byte into a file that it may write, nor fork."""
    tmp_path.chmod(0o777)
    # Unbuffered: an error of a write that waits for the end of the file object would be lost.
    code, output = confined(f"open({str(tmp_path / 'x')!r}, 'wb', buffering=0).write(b'x')")
    assert code != 0, output
    assert not (tmp_path / "x").exists() or (tmp_path / "x").stat().st_size == 0
    if os.geteuid() == 0:
        code, output = confined("os.fork()")
        assert "BlockingIOError" in output


def test_a_limit_of_this_process_is_never_raised() -> None:
    """A lower limit that the operator set stays."""
    code, output = confined(
        "print(resource.getrlimit(resource.RLIMIT_NOFILE), resource.getrlimit(resource.RLIMIT_AS))",
        memory=1 << 29,
    )
    assert code == 0
    assert output == f"(16, 16) ({1 << 29}, {1 << 29})\n"


def with_reader(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Let the child run this code as its reader, as if a complaint had taken it over."""
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from exitpolicy.complaint import pipeline\n"
        "from exitpolicy.operations import sandbox\n"
        "def taken_over(data, *, own, protected):\n"
        f"{textwrap.indent(textwrap.dedent(code), '    ')}\n"
        "pipeline.read_complaint = taken_over\n"
        "sandbox.serve()\n"
    )
    monkeypatch.setattr(sandbox, "PROGRAM", program)


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("return bytearray(1 << 40)", "too much memory"),
        ("kept = []\nwhile True: kept.append(bytearray(1 << 20))", "too much memory"),
        ("while True: pass", "takes more than 3 s"),
        ("import time; time.sleep(600)", "takes more than 3 s"),
        ("import os; os.abort()", "its reader failed"),
        ("raise RuntimeError", "its reader failed"),
        ("import os; os._exit(0)", "an invalid answer"),
        ("import os; os.write(1, b'[]'); os._exit(0)", "an invalid answer"),
        ("import os; os.write(1, b'[' * 9999); os._exit(0)", "an invalid answer"),
        ("import os\nwhile True: os.write(1, b' ' * 65536)", "takes more than 3 s"),
    ],
)
def test_a_child_out_of_control_is_a_clear_error(
    monkeypatch: pytest.MonkeyPatch, code: str, problem: str
) -> None:
    """Memory, time, a crash and a false answer end in an error that says what to do."""
    monkeypatch.setattr(sandbox, "BASE_SECONDS", 3)
    with_reader(monkeypatch, code)
    with pytest.raises(InvalidFileError, match=problem) as failed:
        sandbox.read_complaint(MAIL, own=OWN, protected=[])
    assert "nothing was blocked" in str(failed.value)
    assert failed.value.hint


def test_a_child_that_cannot_start_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an interpreter, or a place for temporary files, nothing is blocked."""
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    with pytest.raises(InvalidFileError, match="cannot be started"):
        sandbox.read_complaint(MAIL, own=OWN, protected=[])


def test_the_child_inherits_neither_environment_nor_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It sees no variable, no open file but its three, and works in the root folder."""
    monkeypatch.setenv("SECRET", "x")
    read, write = os.pipe()
    os.set_inheritable(read, True)
    program = """
        import os
        left = [key for key in os.environ if key != "LC_CTYPE"]
        found = []
        for fd in range(3, 16):
            try:
                found.append(os.fstat(fd).st_ino)
            except OSError:
                pass
        if left or INODE in found or os.getcwd() != "/":
            raise SystemExit(17)
        raise MemoryError
        """
    with_reader(monkeypatch, program.replace("INODE", str(os.fstat(read).st_ino)))
    # The only error that the child can report by itself.
    with pytest.raises(InvalidFileError, match="needs too much memory"):
        sandbox.read_complaint(MAIL, own=OWN, protected=[])
    os.close(read)
    os.close(write)


def test_a_complaint_survives_the_way_between_processes() -> None:
    """Decoding returns the encoded complaint, for mails of every form."""
    for path in sorted(CORPUS.glob("*.eml"))[::40]:
        complaint = read_complaint(path.read_bytes(), own=OWN)
        assert wire.decode(wire.encode(complaint)) == complaint


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text[:-1],
        lambda text: text.replace(b'"kind": "', b'"kind": "x'),
        lambda text: text.replace(b'"forwarded": false', b'"forwarded": 0'),
        lambda text: text.replace(b'"score": ', b'"score": 0.5, "more": '),
        lambda text: text.replace(b'"score": ', b'"score": true, "x": '),
        lambda text: text.replace(b'"reporter": "', b'"reporter": "' + b"x" * 20_000),
        lambda text: text.replace(b'"reporter": "', b'"reporter": "\\ud800'),
        lambda text: text.replace(b'"references": [', b'"references": [1, '),
        lambda text: text.replace(b'"references": [', b'"references": [' + b'"a",' * 2_000),
        lambda text: text.replace(b"93.184.216.34:22", b"93.184.216.34.5"),
        lambda text: text.replace(b"+00:00", b""),
        lambda text: text.replace(b'"forwarded": false, ', b""),
        lambda _: b"[" * 100_000,
        lambda _: b"null",
        lambda text: b" " * (wire.MAX_SIZE + 1) + text,
    ],
)
def test_a_false_answer_is_refused(change: Callable[[bytes], bytes]) -> None:
    """An answer that is not exactly a complaint is an error."""
    right = wire.encode(read_complaint(MAIL, own=OWN))
    assert isinstance(wire.decode(right), Complaint)
    assert change(right) != right
    with pytest.raises(ValueError, match=r".*"):
        wire.decode(change(right))


def test_this_process_keeps_its_limits() -> None:
    """Only the child is limited."""
    before = resource.getrlimit(resource.RLIMIT_AS), os.getresuid()
    sandbox.read_complaint(MAIL, own=OWN, protected=[])
    assert (resource.getrlimit(resource.RLIMIT_AS), os.getresuid()) == before
