"""A command that is killed before one of its changes of a file."""

import os
import signal
import sys
from collections.abc import Callable

OPERATIONS = ("rename", "mkdir", "rmdir", "unlink", "fsync", "fchmod", "fchown", "write")
"""What changes a file, apart from opening it."""


def killed_at(step: int, arguments: list[str]) -> tuple[bool, int]:
    """Run a command in a child that dies before its k-th change of a file.

    Returns whether it died, and how many changes it made before.
    """
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        _be_killed(step, arguments, write)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        count = len(pipe.read())
    status = os.waitpid(child, 0)[1]
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, count


def _be_killed(step: int, arguments: list[str], pipe: int) -> None:
    from exitpolicy.cli.app import run  # noqa: PLC0415 - loaded already; for the child alone

    count, real_write = 0, os.write

    def counted(real: Callable[..., object]) -> Callable[..., object]:
        def call(*given: object, **named: object) -> object:
            nonlocal count
            count += 1
            if count == step:
                os.kill(os.getpid(), signal.SIGKILL)
            real_write(pipe, b".")
            return real(*given, **named)

        return call

    for name in OPERATIONS:
        setattr(os, name, counted(getattr(os, name)))
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115 - until it dies
    code = run(arguments)
    os._exit(int(code))
