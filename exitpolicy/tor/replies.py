"""Read the replies of a control port (control-spec, section 2.3).

The other side may be anything, and what is no reply is an error. The stream that is read from
limits how much is read and for how long.
"""

from typing import BinaryIO, Final, NamedTuple

_STATUS: Final = 3
"""Digits before the text of each line."""


class ReplyError(ValueError):
    """What was read is no reply."""


class ClosedError(Exception):
    """The other side closed the connection."""


class ReplyLine(NamedTuple):
    """One line of a reply, without its status and its end."""

    text: str
    """Bytes that are not UTF-8 are kept as surrogates."""
    data: str | None
    """The lines that belong to it, which end with a line feed but the last; None without any."""


class Reply(NamedTuple):
    """One reply, which is never empty."""

    status: int
    """The status of the last line; 250 is success."""
    lines: tuple[ReplyLine, ...]

    @property
    def is_ok(self) -> bool:
        """Whether the command was carried out."""
        return 250 <= self.status < 260

    @property
    def reason(self) -> str:
        """The text of the last line: with a failure, why."""
        return self.lines[-1].text


def read_reply(stream: BinaryIO) -> Reply:
    """Read one reply. Raises ReplyError, ClosedError, OSError."""
    found: list[ReplyLine] = []
    while True:
        line = _line(stream)
        status, divider, text = line[:_STATUS], line[_STATUS : _STATUS + 1], line[_STATUS + 1 :]
        if not status.isdigit() or divider not in {b" ", b"-", b"+"}:
            raise ReplyError("what it says is no reply of the control protocol")
        data = _data(stream) if divider == b"+" else None
        found.append(ReplyLine(_text(text), data))
        if divider == b" ":
            return Reply(int(status), tuple(found))


def _data(stream: BinaryIO) -> str:
    """Read the lines up to one with a single dot."""
    lines: list[bytes] = []
    while (line := _line(stream)) != b".":
        # A dot at the beginning of a line is doubled.
        lines.append(line[1:] if line.startswith(b".") else line)
    return _text(b"\n".join(lines))


def _line(stream: BinaryIO) -> bytes:
    """Read one line and return it without its end."""
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise ClosedError("it closed the connection")
    if not line.endswith(b"\r\n"):
        raise ReplyError("a line of its reply has no proper end")
    if b"\0" in line:
        # Tor never says it, and no path or name that is made of an answer can hold it.
        raise ReplyError("a line of its reply has a NUL byte")
    return line[:-2]


def _text(content: bytes) -> str:
    return content.decode("utf-8", "surrogateescape")
