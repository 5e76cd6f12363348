"""Read complaints in a child process without privileges.

A complaint is hostile input. The child loads the whole program, gives up the network, the file
system and all privileges, accepts limits of memory, time and files, and only then reads the
complaint. Its answer is JSON, which is validated strictly (`exitpolicy.complaint.wire`).
"""

import contextlib
import ctypes
import encodings
import importlib
import json
import os
import pkgutil
import resource
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Collection
from enum import IntEnum
from pathlib import Path
from typing import IO, Final, cast

from exitpolicy.complaint import wire
from exitpolicy.complaint.model import Complaint
from exitpolicy.core.destination import Destination, parse_destination
from exitpolicy.core.errors import InvalidFileError

NOBODY: Final = 65534
"""The user and group of the child, if the parent is root."""
BASE_MEMORY: Final = 300 << 20
"""Bytes of address space of the child, in addition to four times the complaint."""
BASE_SECONDS: Final = 10
"""Seconds of processor time of the child, in addition to two for each megabyte."""
_MAX_FILES: Final = 16
PROGRAM: Final = (
    "import sys; sys.path.insert(0, sys.argv[1]);"
    " from exitpolicy.operations import sandbox; sandbox.serve()"
)
"""What the child runs; its argument is the folder of the package."""
_PR_SET_DUMPABLE: Final = 4
_PR_SET_NO_NEW_PRIVS: Final = 38
_CLONE_NEWIPC: Final = 0x08000000
_CLONE_NEWNET: Final = 0x40000000
_LAZY_MODULES: Final = (
    *("charset_normalizer", "csv", "email.header", "email.headerregistry", "email.utils"),
    *("ipaddress", "quopri", "zipfile"),
)
"""Modules that reading imports at first use."""


class _Exit(IntEnum):
    """The exit codes of the child."""

    DONE = 0
    OUT_OF_MEMORY = 10
    PRIVILEGED = 11


def read_complaint(
    data: bytes, *, own: Collection[Destination], protected: Collection[Destination]
) -> Complaint:
    """Read a complaint in a child process. The arguments are those of `pipeline.read_complaint`.

    Raises InvalidFileError if the child fails or exceeds a limit.
    """
    seconds = BASE_SECONDS + 2 * (len(data) >> 20)
    request: dict[str, object] = {
        "own": [str(destination) for destination in own],
        "protected": [str(destination) for destination in protected],
        "seconds": seconds,
        "memory": BASE_MEMORY + 4 * len(data),
    }
    try:
        with tempfile.TemporaryFile() as stdin, tempfile.TemporaryDirectory() as empty:
            request["root"] = empty
            stdin.write(json.dumps(request).encode("ascii") + b"\n" + data)
            stdin.seek(0)
            answer, code = _run(stdin.fileno(), 2 * seconds)
    except OSError as error:
        raise _failure(f"its reader cannot be started ({error.strerror})") from error
    if code == _Exit.DONE:
        try:
            return wire.decode(answer)
        except ValueError as error:
            raise _failure("its reader gave an invalid answer") from error
    if code == _Exit.OUT_OF_MEMORY:
        raise _failure("reading it needs too much memory")
    if code == _Exit.PRIVILEGED:
        raise _failure("its reader could not give up its privileges")
    if code in {-signal.SIGXCPU, -signal.SIGKILL}:
        raise _failure(f"reading it takes more than {seconds} s")
    raise _failure("its reader failed")


def _failure(reason: str) -> InvalidFileError:
    return InvalidFileError(
        f"the complaint cannot be read: {reason}; nothing was blocked",
        hint="copy the part with the addresses into a text file, and read that",
    )


def _run(stdin: int, patience: int) -> tuple[bytes, int]:
    """Run the child; return its answer and its exit code, negative for a signal."""
    package = Path(__file__).resolve().parents[1]
    with subprocess.Popen(
        [sys.executable, "-I", "-X", "utf8", "-c", PROGRAM, str(package.parent)],
        stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd="/", env={},
        start_new_session=True,
    ) as child:  # fmt: skip
        timer = threading.Timer(patience, child.kill)
        timer.start()
        try:
            # Popen's type allows None, which is for children without a pipe.
            answer = cast("IO[bytes]", child.stdout).read(wire.MAX_SIZE + 1)
            if len(answer) > wire.MAX_SIZE:
                child.kill()
            return answer, child.wait()
        except BaseException:
            child.kill()
            raise
        finally:
            timer.cancel()


def serve() -> None:
    """Be the child: read a request and a complaint from stdin, write the answer to stdout."""
    from exitpolicy.complaint import pipeline  # noqa: PLC0415 - only the child needs it
    from exitpolicy.complaint.language.word_files import vocabularies  # noqa: PLC0415

    vocabularies()
    _load_all()
    with os.fdopen(os.dup(0), "rb") as stdin:
        request = json.loads(stdin.readline())
        isolate(request["root"])
        try:
            confine(memory=request["memory"], seconds=request["seconds"])
        except OSError:
            os._exit(_Exit.PRIVILEGED)
        try:
            complaint = pipeline.read_complaint(
                stdin.read(),
                own=[parse_destination(text) for text in request["own"]],
                protected=[parse_destination(text) for text in request["protected"]],
            )
            answer = wire.encode(complaint)
        except MemoryError:
            os._exit(_Exit.OUT_OF_MEMORY)
    sys.stdout.buffer.write(answer)
    sys.stdout.flush()


def _load_all() -> None:
    """Load what reading may import later: the program's files cannot be opened then."""
    charsets = [f"encodings.{found.name}" for found in pkgutil.iter_modules(encodings.__path__)]
    for name in (*_LAZY_MODULES, *charsets):
        with contextlib.suppress(ImportError):  # charsets of other systems
            importlib.import_module(name)


def isolate(root: str) -> None:
    """Leave the network, and see nothing but the folder `root`, as far as the system allows that.

    Only root can do this, and a container may forbid it to root: the other limits still hold.
    """
    if os.geteuid() != 0:
        return
    if sys.platform == "linux":
        # One at a time: a kernel may lack one kind of namespace.
        libc = ctypes.CDLL(None)
        for namespace in (_CLONE_NEWNET, _CLONE_NEWIPC):
            libc.unshare(namespace)
    with contextlib.suppress(OSError):
        os.chroot(root)
        os.chdir("/")


def confine(*, memory: int, seconds: int) -> None:
    """Give up all privileges for good, and limit this process.

    `memory` is in bytes of address space, `seconds` is processor time. Raises OSError.
    """
    for limit, value in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_NOFILE, _MAX_FILES),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
    ):
        hard = resource.getrlimit(limit)[1]
        least = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (least, least))
    libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
    if libc is not None and libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        if 0 in {*os.getresuid(), *os.getresgid()}:
            raise PermissionError("still root")
    if libc is not None and libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        # Other processes of nobody could trace this one.
        raise OSError(ctypes.get_errno(), "prctl")
