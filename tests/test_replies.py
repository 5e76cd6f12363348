"""The control protocol is read as Tor writes it, and everything else is an error."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exitpolicy.tor.replies import ClosedError, Reply, ReplyError, ReplyLine, read_reply

texts = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), max_size=20)
data = st.none() | st.lists(texts, min_size=1, max_size=5).map("\n".join)


def written(reply: Reply) -> bytes:
    """Return a reply as Tor writes it (control-spec, section 2.3)."""
    content = ""
    for number, line in enumerate(reply.lines, start=1):
        last = number == len(reply.lines)
        divider = "+" if line.data is not None else " " if last else "-"
        content += f"{reply.status}{divider}{line.text}\r\n"
        for inner in [] if line.data is None else line.data.split("\n"):
            content += f".{inner}\r\n" if inner.startswith(".") else f"{inner}\r\n"
        content += "" if line.data is None else ".\r\n"
    return content.encode()


@given(st.lists(st.builds(ReplyLine, texts, data), max_size=5), texts, st.sampled_from([250, 551]))
def test_a_reply_is_read_as_it_was_written(lines: list[ReplyLine], last: str, status: int) -> None:
    """Lines, data with dots and empty lines, status: nothing is lost; the next reply stays."""
    reply = Reply(status, (*lines, ReplyLine(last, None)))
    stream = io.BytesIO(written(reply) + b"250 OK\r\n")
    assert read_reply(stream) == reply
    assert read_reply(stream) == Reply(250, (ReplyLine("OK", None),))
    assert reply.is_ok == (status == 250)
    assert reply.reason == last


@given(st.binary(max_size=60))
def test_anything_else_is_an_error(content: bytes) -> None:
    """Any bytes give a reply or one of two errors, and no more is read than there is."""
    try:
        reply = read_reply(io.BytesIO(content))
    except (ReplyError, ClosedError):
        return
    assert reply.lines
    assert content.startswith(b"%03d" % reply.status) or len(reply.lines) > 1


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", ClosedError),
        (b"250 OK", ClosedError),
        (b"250-a\r\n", ClosedError),
        (b"250+a=\r\nb\r\n", ClosedError),
        (b"250 OK\n", ReplyError),
        (b"250+a=\r\nb\n.\r\n250 OK\r\n", ReplyError),
        (b"25 OK\r\n", ReplyError),
        (b"250=OK\r\n", ReplyError),
        (b"\xb2\xb250 OK\r\n", ReplyError),
        (b"HTTP/1.1 400 Bad Request\r\n", ReplyError),
        (b"250 O\0K\r\n", ReplyError),
    ],
)
def test_what_is_no_reply(content: bytes, error: type[Exception]) -> None:
    """A connection that ends, and lines of another form, are told apart."""
    with pytest.raises(error):
        read_reply(io.BytesIO(content))


def test_bytes_that_are_no_text_are_kept() -> None:
    """A torrc may hold any bytes."""
    line = read_reply(io.BytesIO(b"250 ContactInfo=\xff\r\n")).lines[0]
    assert line.text.encode("utf-8", "surrogateescape") == b"ContactInfo=\xff"
