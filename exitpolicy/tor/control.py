"""One conversation with Tor over its control port, within a deadline and a budget of bytes.

Stem speaks the protocol; it has no time-outs, and reads lines of any length. So it gets a socket
that knows when to give up, and is used without its threads: a question, then its answer.
"""

import io
import socket
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import stem
import stem.connection
import stem.response
import stem.socket

from exitpolicy.core.errors import InvalidFileError, TorRefusesError, TorUnreachableError
from exitpolicy.storage import files
from exitpolicy.storage.config import Relay
from exitpolicy.tor.sockets import open_socket

ANSWER_SECONDS: Final = 4.0
"""How long a Tor that says nothing is waited for.

It answers in milliseconds; one that takes up 10,000 rules is busy for two seconds. A command looks
twice, before and after it records something, and is to be over in ten.
"""
MAX_BYTES: Final = 6_000_000
"""The most that is read of one answer; 100,000 rules have 2.5 MB.

Stem makes many small objects of an answer, so that it costs a multiple of this in memory.
"""

# Stem meets nonsense with whatever its parser stumbles over.
_NONSENSE: Final = (
    stem.ControllerError,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
)


class NotAnsweredError(Exception):
    """Tor answered that it cannot say: `str()` is its reason."""


class Control:
    """An authenticated control connection. Made by `connect`."""

    def __init__(self, name: str, connection: stem.socket.ControlSocket, raw: "_Raw") -> None:
        self._name = name
        self._connection = connection
        self._raw = raw

    def get_info(self, key: str) -> str:
        """Return what GETINFO says to one key. Raises NotAnsweredError, TorUnreachableError."""
        entries = self._ask(f"GETINFO {key}", "GETINFO").entries
        value = entries.get(key, b"")
        return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)

    def get_conf(self, names: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Return the values of options by name; () for what has no value.

        Raises NotAnsweredError, TorUnreachableError.
        """
        names = tuple(names)
        found = self._ask(f"GETCONF {' '.join(names)}", "GETCONF").entries
        by_name = {key.lower(): value for key, value in found.items()}
        return {name: tuple(by_name.get(name.lower()) or ()) for name in names}

    def reload(self, seconds: float) -> None:
        """Make Tor read its torrc again, and return when it has.

        Raises TorRefusesError if Tor is gone after that, TorUnreachableError.
        """
        self._raw.deadline = time.monotonic() + seconds
        try:
            self._connection.send("SIGNAL RELOAD")
            answer = self._connection.recv()
        except stem.SocketClosed as error:
            if self._raw.gave_up:
                raise self._unreachable(error) from None
            # A configuration that Tor cannot take up ends it, without an answer.
            raise TorRefusesError(
                f"Tor ({self._name}) closed the connection when it was told to reload;"
                " it has probably exited",
                hint="see why: journalctl -u 'tor@*' -n 20; then start it again",
            ) from None
        except _NONSENSE as error:
            raise self._unreachable(error) from None
        if not answer.is_ok():
            raise TorRefusesError(f"Tor ({self._name}) does not reload: {answer}")

    def methods(self) -> tuple[str, ...]:
        """Return how Tor lets in: of NONE, PASSWORD, COOKIE, SAFECOOKIE, UNKNOWN.

        Raises NotAnsweredError, TorUnreachableError.
        """
        answer = self._ask("PROTOCOLINFO 1", "PROTOCOLINFO")
        return tuple(str(method).upper() for method in answer.auth_methods)

    def within(self, seconds: float) -> None:
        """Give what follows so many seconds in all."""
        self._raw.deadline = time.monotonic() + seconds

    def _ask(self, question: str, kind: str) -> Any:  # noqa: ANN401 - stem has no types
        self._raw.left = MAX_BYTES
        try:
            self._connection.send(question)
            answer = self._connection.recv()
            stem.response.convert(kind, answer)
        except (stem.InvalidRequest, stem.OperationFailed) as error:
            raise NotAnsweredError(str(error.message or error)) from None
        except _NONSENSE as error:
            raise self._unreachable(error) from None
        return answer

    def _unreachable(self, error: BaseException) -> TorUnreachableError:
        return unreachable(self._name, self._raw.gave_up or _plain(error))


@contextmanager
def connect(relay: Relay, seconds: float = ANSWER_SECONDS) -> Iterator[Control]:
    """Connect to a relay's control port and authenticate.

    All that is asked must be answered within so many seconds, unless `within` gives more. Raises
    TorUnreachableError.
    """
    try:
        with open_socket(relay, seconds) as raw_socket:
            raw = _Raw(raw_socket, time.monotonic() + seconds)
            connection = _Connection(raw)
            try:
                connection.connect()
                _authenticate(relay, connection, raw)
                yield Control(relay.name, connection, raw)
            finally:
                connection.close()
    except OSError as error:
        raise unreachable(relay.name, f"{relay.control}: {error.strerror or error}") from None


def unreachable(name: str, why: str) -> TorUnreachableError:
    """Return the error for a relay that cannot be talked to."""
    return TorUnreachableError(
        f"Tor ({name}) cannot be reached: {why}", hint="what is wrong: exitpol doctor"
    )


def _authenticate(relay: Relay, connection: "_Connection", raw: "_Raw") -> None:
    password = None if relay.password_file is None else _password(relay)
    try:
        stem.connection.authenticate(connection, password=password)
    except stem.connection.MissingPassword:
        raise _locked_out(relay, "it wants a password", "name its file: password_file") from None
    except stem.connection.IncorrectPassword:
        raise _locked_out(
            relay, f"the password in {relay.password_file} is wrong", "tor --hash-password"
        ) from None
    except stem.connection.UnreadableCookieFile as error:
        raise _locked_out(
            relay, f"its cookie {error.cookie_path} may not be read", "run exitpol as root"
        ) from None
    except stem.connection.IncorrectCookieSize as error:
        raise _locked_out(
            relay, f"its cookie {error.cookie_path} has the wrong size", "restart Tor"
        ) from None
    except (stem.connection.AuthenticationFailure, AssertionError, *_NONSENSE) as error:
        raise unreachable(relay.name, raw.gave_up or _plain(error)) from None


def _locked_out(relay: Relay, why: str, hint: str) -> TorUnreachableError:
    return TorUnreachableError(
        f"Tor ({relay.name}) does not let us in at {relay.control}: {why}", hint=hint
    )


def _password(relay: Relay) -> str:
    assert relay.password_file is not None  # noqa: S101 - the caller has looked
    try:
        content = files.read(relay.password_file, "password file", limit=4096)
    except FileNotFoundError:
        raise InvalidFileError(f"{relay.password_file}: there is no such password file") from None
    if stat.S_IMODE(relay.password_file.stat().st_mode) & 0o007:
        raise InvalidFileError(
            f"{relay.password_file} is open to everybody",
            hint=f"chmod 600 {relay.password_file}",
        )
    return content.decode("utf-8", "replace").partition("\n")[0]


def _plain(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return (text[:200] or type(error).__name__).rstrip(".")


class _Raw(io.RawIOBase):
    """The bytes of a socket until a deadline or a budget ends them."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        super().__init__()
        self._connection = connection
        self.left = MAX_BYTES
        """How much may still be read."""
        self.deadline = deadline
        """When to give up, on the monotonic clock."""
        self.gave_up = ""
        """Why it was given up; empty as long as it was not."""

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - any writable buffer
        count = self._in_time(self._connection.recv_into, buffer)
        self.left -= count
        if self.left < 0:
            self.gave_up = f"it said more than {MAX_BYTES // 1_000_000} MB"
            raise OSError(self.gave_up)
        return count

    def write(self, data: Any) -> int:  # noqa: ANN401 - any buffer
        return self._in_time(self._connection.send, data)

    def _in_time(self, action: Any, data: Any) -> int:  # noqa: ANN401
        try:
            # A time-out of 0 would mean not to wait at all, which has another error.
            self._connection.settimeout(max(self.deadline - time.monotonic(), 0.000_001))
            return int(action(data))
        except TimeoutError:
            self.gave_up = "it does not answer"
            raise


class _File(io.BufferedRWPair):
    """What stem takes for the socket's file: no line of it is longer than the budget."""

    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(MAX_BYTES if size is None or size < 0 else size)
        return bytes(line)


class _Connection(stem.socket.ControlSocket):  # type: ignore[misc]
    """Stem's control socket over ours."""

    def __init__(self, raw: _Raw) -> None:
        super().__init__()
        self._raw = raw

    def _make_socket(self) -> "_Connection._Socket":
        return self._Socket(self._raw)

    class _Socket:
        def __init__(self, raw: _Raw) -> None:
            self._raw = raw

        def makefile(self, mode: str) -> _File:  # noqa: ARG002 - stem says rwb
            return _File(self._raw, self._raw)

        def shutdown(self, how: int) -> None:
            """Leave it to close(): the socket is connect()'s."""

        def close(self) -> None:
            """Leave it to connect(), which made the socket."""
