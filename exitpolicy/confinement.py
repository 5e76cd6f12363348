"""Child processes without privileges, for hostile input: complaints and answers of DNS servers.

The child loads what it needs, gives up its privileges and accepts limits of memory, time and files,
and only then reads the input. It answers on stdout, and its answer is not trusted.
"""

import contextlib
import ctypes
import os
import resource
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Final, cast

NOBODY: Final = 65534
"""The user and group of the child, if the parent is root."""
MAX_FILES: Final = 16
"""The files that a child can have open, if it says nothing else."""
_PR_SET_DUMPABLE: Final = 4
_PR_SET_NO_NEW_PRIVS: Final = 38
_CLONE_NEWIPC: Final = 0x08000000
_CLONE_NEWNET: Final = 0x40000000


def run(program: str, stdin: int, *, patience: float, limit: int) -> tuple[bytes, int]:
    """Run a program text in a child; return its answer and its exit code, negative for a signal.

    Its argument is the folder above the package, its standard input the file descriptor `stdin`. It
    is killed after `patience` seconds, or after `limit` bytes of answer. Raises OSError.
    """
    package = Path(__file__).resolve().parent
    with subprocess.Popen(
        [sys.executable, "-I", "-X", "utf8", "-c", program, str(package.parent)],
        stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd="/", env={},
        start_new_session=True,
    ) as child:  # fmt: skip
        timer = threading.Timer(patience, child.kill)
        timer.start()
        try:
            # Popen's type allows None, which is for children without a pipe.
            answer = cast("IO[bytes]", child.stdout).read(limit + 1)
            if len(answer) > limit:
                child.kill()
            return answer, child.wait()
        except BaseException:
            child.kill()
            raise
        finally:
            timer.cancel()


def leave_network() -> None:
    """Reach no network and no process of this host, as far as the system allows that to root."""
    if os.geteuid() != 0 or sys.platform != "linux":
        return
    # One at a time: a kernel may lack one kind of namespace.
    libc = ctypes.CDLL(None)
    for namespace in (_CLONE_NEWNET, _CLONE_NEWIPC):
        libc.unshare(namespace)


def see_only(root: str) -> None:
    """See nothing but the folder `root`, as far as the system allows that to root."""
    if os.geteuid() != 0:
        return
    with contextlib.suppress(OSError):
        os.chroot(root)
        os.chdir("/")


def confine(*, memory: int, seconds: int, open_files: int = MAX_FILES) -> None:
    """Give up all privileges for good, and limit this process.

    `memory` is in bytes of address space, `seconds` is processor time. Raises OSError.
    """
    for limit, value in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_NOFILE, open_files),
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
