"""A socket for stem with a deadline, and a maximum size of what is read from it.

stem implements the control protocol, but it has no time-outs and reads lines of any length.
"""

import io
import select
import socket
import time
from collections.abc import Iterable
from typing import Any, Final

import stem.socket

MAX_BYTES: Final = 6_000_000
"""The maximum size of one answer; 100,000 rules have 2.5 MB.

stem needs a multiple of this in memory, because it makes many small objects of an answer.
"""
_BUFFER: Final = 1 << 16
"""The most bytes of one read."""


class BoundedSocket(io.RawIOBase):
    """The bytes of a socket until a deadline or a budget ends them."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        super().__init__()
        self.connection = connection
        self.left = MAX_BYTES
        """How much may still be read."""
        self.deadline = deadline
        """When to give up, on the monotonic clock."""
        self.gave_up = ""
        """Why it was given up; empty as long as it was not."""

    def readable(self) -> bool:
        """Return True."""
        return True

    def writable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - any writable buffer
        """Read into a buffer; return how many bytes. Raises OSError."""
        count = self._in_time(self.connection.recv_into, buffer)
        self.left -= count
        if self.left < 0:
            self.gave_up = f"it said more than {MAX_BYTES // 1_000_000} MB"
            raise OSError(self.gave_up)
        if b"\0" in bytes(buffer[:count]):
            # Tor never says it, and no path or name that is made of an answer can hold it.
            self.gave_up = "its reply has a NUL byte"
            raise OSError(self.gave_up)
        return count

    def write(self, data: Any) -> int:  # noqa: ANN401 - any buffer
        """Write a part of the data; return how many bytes. Raises OSError."""
        return self._in_time(self.connection.send, data)

    def is_readable(self, seconds: float) -> bool:
        """Wait at most so long for bytes, or the end of the connection; tell if there are any."""
        poll = select.poll()
        poll.register(self.connection, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def _in_time(self, action: Any, data: Any) -> int:  # noqa: ANN401
        left = self.deadline - time.monotonic()
        try:
            if left > 0:
                self.connection.settimeout(left)
                return int(action(data))
        except TimeoutError:
            pass
        # Whoever talks without end is never waited for, and ends here as well.
        self.gave_up = "it does not answer"
        raise TimeoutError


class _File:
    """What stem takes for the socket's file. The budget bounds the length of a line."""

    def __init__(self, raw: BoundedSocket) -> None:
        self._raw = raw
        # A method of Python's own would be called for each of a thousand lines.
        self.readline = io.BufferedReader(raw, _BUFFER).readline

    def write(self, data: bytes) -> None:
        """Write all of the data. Raises OSError."""
        rest = memoryview(data)
        while rest:
            rest = rest[self._raw.write(rest) :]

    def flush(self) -> None:
        """Do nothing: nothing is held back."""

    def close(self) -> None:
        """Leave it to Control, which owns the socket."""


class ControlSocket(stem.socket.ControlSocket):  # type: ignore[misc]
    """Stem's control socket over ours."""

    def __init__(self, raw: BoundedSocket) -> None:
        super().__init__()
        self._raw = raw

    def _make_socket(self) -> "ControlSocket._Socket":
        return self._Socket(self._raw)

    def send_lines(self, lines: Iterable[str]) -> None:
        """Send commands of one line each in one message."""
        message = "".join(f"{line}\r\n" for line in lines)
        self._send(message, lambda _, file, text: stem.socket.send_message(file, text, raw=True))

    class _Socket:
        def __init__(self, raw: BoundedSocket) -> None:
            self._raw = raw

        def makefile(self, mode: str) -> _File:  # noqa: ARG002 - stem says rwb
            return _File(self._raw)

        def shutdown(self, how: int) -> None:
            """Leave it to Control, which owns the socket."""

        def close(self) -> None:
            """Leave it to Control, which owns the socket."""
