"""A control port that attacks its clients, or is broken.

The server speaks the control protocol well enough to be believed, until it gets a certain command;
then it behaves as it was told to.
"""

import contextlib
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Final, Self

Behaviour = Callable[["Conversation"], None]

_POLITE: Final = {
    "PROTOCOLINFO": "250-PROTOCOLINFO 1\r\n250-AUTH METHODS={auth}\r\n"
    '250-VERSION Tor="0.4.8.12"\r\n',
    "AUTHENTICATE": "",
    "SETEVENTS": "",
    "SIGNAL": "",
    "QUIT": "",
}
_INFO: Final = {
    "version": "0.4.8.12",
    "exit-policy/full": "accept *:*",
    "process/pid": "1",
}


class Conversation:
    """One connection, as a behaviour sees it from the command on at which it takes over."""

    def __init__(self, connection: socket.socket, command: str, ended: threading.Event) -> None:
        self.connection = connection
        self.command = command
        """The command that is to be answered; empty at the beginning of a connection."""
        self.ended = ended

    def send(self, data: bytes) -> None:
        """Send all of it, unless the server ends first."""
        while data and not self.ended.is_set():
            if select.select([], [self.connection], [], 0.1)[1]:
                data = data[self.connection.send(data) :]

    def forever(self, data: bytes, pause: float = 0.0) -> None:
        """Send the same again and again."""
        while not self.ended.is_set():
            self.send(data)
            if pause:
                time.sleep(pause)

    def hold(self) -> None:
        """Keep the connection open and say nothing more."""
        self.ended.wait(60)


class HostileControl:
    """A control port at `address` (a socket's path, or `127.0.0.1:0` for a free port)."""

    def __init__(
        self, behaviour: Behaviour, at: str, address: str, torrc: str, auth: str = "NULL"
    ) -> None:
        """Misbehave at the first command that begins with `at`; empty for at once."""
        self._behaviour = behaviour
        self._at = at
        self._torrc = torrc
        self._auth = auth
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []
        if address.startswith("/"):
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(address)
            self.address = address
        else:
            self._listener = socket.create_server(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._listener.listen()
        self._listener.settimeout(0.1)

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, _k: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None
    ) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _start(self, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._ended.is_set():
            with contextlib.suppress(TimeoutError):
                self._start(self._serve, self._listener.accept()[0])

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            for command in self._commands(connection):
                if command.startswith(self._at):
                    self._behaviour(Conversation(connection, command, self._ended))
                    return
                if command:
                    connection.sendall(polite(command, self._torrc, self._auth).encode())

    def _commands(self, connection: socket.socket) -> Iterator[str]:
        """Yield an empty command for the beginning, then each line as it comes."""
        yield ""
        received = b""
        connection.settimeout(0.1)
        while not self._ended.is_set():
            with contextlib.suppress(TimeoutError):
                chunk = connection.recv(4096)
                if not chunk:
                    return
                received += chunk
            while b"\r\n" in received:
                line, _, received = received.partition(b"\r\n")
                yield line.decode("utf-8", "replace")


def polite(command: str, torrc: str = "", auth: str = "NULL") -> str:
    """Return an answer that a client believes."""
    word, _, rest = command.partition(" ")
    if word == "GETINFO":
        known = {**_INFO, "config-file": torrc}
        return "".join(f"250-{key}={known.get(key, '')}\r\n" for key in rest.split()) + "250 OK\r\n"
    if word == "GETCONF":
        names = rest.split()
        return "".join(f"250-{name}\r\n" for name in names[:-1]) + f"250 {names[-1]}\r\n"
    if word in _POLITE:
        return _POLITE[word].format(auth=auth) + "250 OK\r\n"
    return f'510 Unrecognized command "{word}"\r\n'


def _close(conversation: Conversation) -> None:
    conversation.connection.shutdown(socket.SHUT_RDWR)


def _reset(conversation: Conversation) -> None:
    # An RST instead of a FIN: what was sent before is lost as well.
    linger = (1).to_bytes(4, "little") + bytes(4)
    conversation.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


def _half(conversation: Conversation) -> None:
    answer = polite(conversation.command or "PROTOCOLINFO 1").encode()
    conversation.send(answer[: len(answer) // 2])


def _drip(conversation: Conversation) -> None:
    for byte in polite(conversation.command or "PROTOCOLINFO 1").encode():
        conversation.send(bytes([byte]))
        if conversation.ended.wait(0.7):
            return


def _says(*answers: bytes) -> Behaviour:
    def behave(conversation: Conversation) -> None:
        for answer in answers:
            conversation.send(answer)
        conversation.hold()

    return behave


def _repeats(data: bytes, pause: float = 0.0) -> Behaviour:
    return lambda conversation: conversation.forever(data, pause)


BEHAVIOURS: Final[dict[str, Behaviour]] = {
    "closes at once": _close,
    "resets": _reset,
    "never answers": Conversation.hold,
    "answers half, then closes": _half,
    "one byte now and then": _drip,
    "random bytes": _says(os.urandom(4000)),
    "random bytes in lines": _says(os.urandom(3000).replace(b"\n", b"\r\n") + b"\r\n"),
    "an HTTP server": _says(b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n<html>\r\n"),
    "an endless line": _repeats(b"250-exit-policy/full=" + b"a" * 65536),
    "endless lines": _repeats(b"250-exit-policy/full=accept *:*\r\n" * 2000),
    "endless data": _repeats(b"250+exit-policy/full=\r\n" + b"reject 192.0.2.1:*\r\n" * 3000),
    "endless events": _repeats(b"650 DESCCHANGED\r\n" * 1000, 0.001),
    "an event now and then": _repeats(b"650 DESCCHANGED\r\n", 0.5),
    "NUL bytes": _repeats(bytes(65536)),
    "empty lines": _says(b"\r\n" * 50),
    "only line feeds": _says(b"250 OK\n250 OK\n"),
    "a code of two digits": _says(b"25 OK\r\n"),
    "a code of nines": _says(b"999 what\r\n"),
    "a negative code": _says(b"-12 OK\r\n"),
    "an internal error": _says(b"551 Internal error\r\n" * 20),
    "authentication required": _says(b"514 Authentication required.\r\n"),
    "code changes between lines": _says(b"250-version=1\r\n515-x=2\r\n650 OK\r\n"),
    "answers nobody asked for": _says(b"250 OK\r\n" * 200),
    "injected answers": _says(
        b"250-exit-policy/full=accept *:*\r\n250 OK\r\n250-version=9\r\n250 OK\r\n" * 50
    ),
    "not UTF-8": _says(b"250-version=\xff\xfe\x80\r\n250 OK\r\n" * 20),
    "escape sequences": _says(b"551 \x1b]0;owned\x07\x1b[2J\r\n" * 20),
}
"""What the server does when it takes over; the names appear in test results."""
