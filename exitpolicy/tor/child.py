"""Run a program as another user, with bounds of time and output.

That user may send signals to the program or trace it: it may stop, print without end, or leave
processes behind that keep its pipes open. None of that may stop the work on other relays.
"""

import contextlib
import os
import selectors
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from select import PIPE_BUF
from typing import IO, Final, cast

from exitpolicy.tor import users
from exitpolicy.tor.users import User

MAX_OUTPUT: Final = 16_000_000
"""In bytes. tor prints the options of a torrc, which may have as many (tor/torrc.py)."""
_CHUNK: Final = 1 << 16
_ENVIRONMENT: Final = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}


class UnboundedError(Exception):
    """A program was ended because it exceeded its time or its output; the text says which."""


def run_as(
    user: User | None,
    command: Sequence[str],
    text: str,
    seconds: float,
    *,
    folder: Path = Path("/"),
) -> "subprocess.CompletedProcess[str]":
    """Run a command as a user, or as root if that is None, with an environment of its own.

    Without root's rights, the command runs as the current user. Raises OSError, ValueError,
    UnboundedError.
    """
    other = user if user is not None and os.geteuid() == 0 and user.uid != 0 else None
    home = users.home_of(os.geteuid() if other is None else other.uid)
    deadline = time.monotonic() + seconds
    child = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=folder if folder.is_dir() else "/",
        env={**_ENVIRONMENT, **({} if home is None else {"HOME": str(home)})},
        user=None if other is None else other.uid,
        group=None if other is None else other.gid,
        extra_groups=None if other is None else other.groups,
        # Otherwise its user could write commands to our terminal.
        start_new_session=True,
    )
    try:
        out, err = _communicate(child, text.encode("utf-8", "surrogateescape"), deadline)
        code = child.wait(max(0.0, deadline - time.monotonic()))
    except (TimeoutError, subprocess.TimeoutExpired) as error:
        raise UnboundedError(f"has not ended within {round(seconds, 1):g} s") from error
    finally:
        _end(child)
    return subprocess.CompletedProcess(command, code, _decoded(out), _decoded(err))


def _decoded(output: bytes) -> str:
    text = output.decode("utf-8", "surrogateescape")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _communicate(
    child: "subprocess.Popen[bytes]", given: bytes, deadline: float
) -> tuple[bytes, bytes]:
    """Write a child's input and return its output. Raises UnboundedError, TimeoutError.

    Unlike Popen.communicate(), this ends a child that prints without end.
    """
    stdin, stdout, stderr = _pipes(child)
    out: dict[int, bytearray] = {stdout.fileno(): bytearray(), stderr.fileno(): bytearray()}
    rest = memoryview(given)
    with selectors.DefaultSelector() as selector:
        selector.register(stdin, selectors.EVENT_WRITE)
        selector.register(stdout, selectors.EVENT_READ)
        selector.register(stderr, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            if time.monotonic() > deadline:
                raise TimeoutError
            for key, _ in ready:
                if key.fileobj is stdin:
                    # A pipe that is ready takes PIPE_BUF bytes at once.
                    try:
                        rest = rest[os.write(key.fd, rest[:PIPE_BUF]) :]
                    except BrokenPipeError:
                        rest = rest[:0]
                    is_done = not rest
                else:
                    chunk = os.read(key.fd, _CHUNK)
                    out[key.fd] += chunk
                    is_done = not chunk
                    if len(out[key.fd]) > MAX_OUTPUT:
                        raise UnboundedError(f"has printed more than {MAX_OUTPUT // 10**6} MB")
                if is_done:
                    selector.unregister(key.fileobj)
                    if key.fileobj is stdin:
                        stdin.close()
        return bytes(out[stdout.fileno()]), bytes(out[stderr.fileno()])


def _pipes(child: "subprocess.Popen[bytes]") -> tuple[IO[bytes], IO[bytes], IO[bytes]]:
    # Popen's type allows None, which is for children without pipes.
    return cast("tuple[IO[bytes], IO[bytes], IO[bytes]]", (child.stdin, child.stdout, child.stderr))


def _end(child: "subprocess.Popen[bytes]") -> None:
    """Close a child's pipes, and kill it if it still runs and we may."""
    for pipe in _pipes(child):
        with contextlib.suppress(OSError):
            pipe.close()
    if child.poll() is None:
        # The timer's unit has no CAP_KILL: systemd ends the child with the unit. To wait for it
        # here would be to wait for as long as its user likes.
        with contextlib.suppress(PermissionError):
            child.kill()
            child.wait()
