"""One conversation with Tor over its control port, within a deadline and a budget of bytes.

stem implements the protocol, but it has no time-outs and reads lines of any length. It therefore
gets a socket with a deadline and a maximum size of answers. It is used without its threads:
questions, then their answers.
"""

import hmac
import os
import socket
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import stem
from stem.response import ControlMessage
from stem.response.authchallenge import AuthChallengeResponse
from stem.response.getconf import GetConfResponse
from stem.response.getinfo import GetInfoResponse

from exitpolicy.core.errors import InvalidFileError, TorRefusesError, TorUnreachableError
from exitpolicy.core.shell import word
from exitpolicy.storage import files
from exitpolicy.storage.config import Relay
from exitpolicy.tor import cookie_file, invocation, process, users
from exitpolicy.tor import peer as peers
from exitpolicy.tor.answer_time import answer_seconds
from exitpolicy.tor.control_socket import MAX_BYTES, BoundedSocket, ControlSocket
from exitpolicy.tor.declared import Declared, declared
from exitpolicy.tor.peer import Peer, PeerUnknownError
from exitpolicy.tor.sockets import open_socket
from exitpolicy.tor.torrc_lines import plain_value

_EVENT: Final = "650"
"""The status of a message that answers no question (control-spec 4.1)."""
_MOST_EVENTS: Final = 10
"""The most events before one answer: a Tor changes its descriptor once in a second at most."""
_SERVER_KEY: Final = b"Tor safe cookie authentication server-to-controller hash"
_CLIENT_KEY: Final = b"Tor safe cookie authentication controller-to-server hash"

# What the parser of stem raises for answers that are not in the protocol.
_NONSENSE: Final = (
    stem.ControllerError,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
)


_KINDS: Final[dict[str, type[ControlMessage]]] = {
    "AUTHCHALLENGE": AuthChallengeResponse,
    "GETCONF": GetConfResponse,
    "GETINFO": GetInfoResponse,
}
_METHODS: Final = {"NULL": "NONE", "HASHEDPASSWORD": "PASSWORD"}
"""The methods of PROTOCOLINFO with another name here."""


class NotAnsweredError(Exception):
    """Tor refused to answer a question; `str()` is its reason."""


class Control:
    """An authenticated control connection. Made by `connect`."""

    def __init__(self, name: str, raw: BoundedSocket, peer: Peer) -> None:
        self._name = name
        self._connection = ControlSocket(raw)
        self._raw = raw
        self._ahead: dict[str, dict[Any, Any] | NotAnsweredError] = {}
        """The answers to questions that were asked ahead."""
        self._is_watching = False
        """Whether Tor is to say when its descriptor changes."""
        self._is_notified = False
        """Whether Tor has said that its descriptor changed, since that was last asked."""
        self.peer = peer
        """The process that answers, as the kernel says."""
        self.constant: dict[str, str] = {}
        """Known answers to GETINFO that a process does not change."""

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
        self._raw.connection.close()

    def is_silent(self) -> bool:
        """Tell whether the connection is open, and nothing was said that nobody has asked for."""
        return not self._raw.is_readable(0)

    def authenticate(self, relay: Relay, cookies: Sequence[Path]) -> None:
        """Authenticate with the password of the config, or the cookie at one of the paths.

        Raises TorUnreachableError, InvalidFileError.
        """
        self._connection.connect()
        offered = self.methods()
        if "NONE" in offered:
            self._login(relay, "AUTHENTICATE", "it refuses us although it asks for nothing")
        elif relay.password_file is not None and "PASSWORD" in offered:
            password = _password(relay, relay.password_file)
            quoted = password.replace("\\", "\\\\").replace('"', '\\"')
            wrong = f"the password in {relay.password_file} is wrong"
            self._login(relay, f'AUTHENTICATE "{quoted}"', wrong, "tor --hash-password")
        elif "SAFECOOKIE" in offered:
            self._prove_cookie(relay, cookies)
        elif "PASSWORD" in offered:
            raise _locked_out(relay, "it asks for a password", "name its file: password_file")
        else:
            raise _locked_out(
                relay,
                f"it offers no safe authentication, only {', '.join(offered) or 'none'}",
                f"write CookieAuthentication 1 into {relay.torrc} and restart Tor",
            )

    def _prove_cookie(self, relay: Relay, cookies: Sequence[Path]) -> None:
        """Authenticate with SAFECOOKIE (control-spec 3.24).

        Tor first proves that it knows the cookie. The cookie itself is never sent, and a process
        that does not know it learns nothing about it.
        """
        try:
            known = cookie_file.read_all(cookies, {0, os.geteuid(), self.peer.uid})
        except cookie_file.CookieError as error:
            raise self._no_cookie(relay, str(error), error.hint) from error
        nonce = os.urandom(32)
        try:
            answer = self._ask(f"AUTHCHALLENGE SAFECOOKIE {nonce.hex()}", "AUTHCHALLENGE")
        except NotAnsweredError as error:
            raise unreachable(self._name, str(error)) from error
        proof = answer.server_hash or b""
        for message in (cookie + nonce + (answer.server_nonce or b"") for cookie in known):
            if hmac.compare_digest(_hmac(_SERVER_KEY, message), proof):
                command = f"AUTHENTICATE {_hmac(_CLIENT_KEY, message).hex()}"
                self._login(relay, command, "its cookie is another", "restart Tor")
                return
        raise self._no_cookie(
            relay,
            f"it does not know the cookie in {' or '.join(str(path) for path in cookies)}",
            "restart Tor, which writes it anew; or name its defaults_torrc in the config",
        )

    def _no_cookie(self, relay: Relay, why: str, hint: str) -> TorUnreachableError:
        """Return the error for a cookie that cannot be used, with its cause where that is known."""
        other = _other_torrc(relay, self.peer.pid)
        if other:
            return _locked_out(
                relay,
                f"the Tor there was started with {other}, not with {relay.torrc}",
                f"each Tor needs a ControlSocket of its own: correct that of {relay.torrc} and"
                f" restart its Tor, or correct control: of the relay {relay.name!r} in the config",
            )
        started = process.started(self.peer.pid) if self.peer.pid else None
        try:
            changed = relay.torrc.stat().st_mtime
        except OSError:
            changed = 0.0
        if started is None or changed <= started:
            return _locked_out(relay, why, hint)
        return _locked_out(
            relay,
            f"{why}; {relay.torrc} was changed after Tor was started, and may name another place",
            "if DataDirectory or CookieAuthFile was changed, take that back, or restart Tor:"
            f" systemctl restart {process.unit(self.peer.pid) or 'tor'}",
        )

    def _login(
        self, relay: Relay, command: str, refused: str, hint: str = "exitpol doctor"
    ) -> None:
        try:
            self._connection.send(command)
            answer = self._receive()
        except _NONSENSE as error:
            raise self._unreachable(error) from error
        if not answer.is_ok():
            raise _locked_out(relay, refused, hint)

    def get_info(self, key: str) -> str:
        """Return the answer to one GETINFO key. Raises NotAnsweredError, TorUnreachableError."""
        value = self._entries(_info(key)).get(key, b"")
        return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)

    def get_conf(self, names: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """Return the values of options by name; () for an option without a value.

        Raises NotAnsweredError, TorUnreachableError.
        """
        names = tuple(names)
        found = self._entries(_conf(names))
        by_name = {key.lower(): value for key, value in found.items()}
        return {
            name: tuple(plain_value(value) for value in by_name.get(name.lower()) or ())
            for name in names
        }

    def ask_ahead(self, infos: Iterable[str], confs: Iterable[Sequence[str]]) -> None:
        """Ask for all of this in one message; the next `get_info` and `get_conf` have the answers.

        Each of `confs` is for one call of `get_conf`. Raises TorUnreachableError.
        """
        questions = [*map(_info, infos), *map(_conf, confs)]
        questions = [question for question in questions if question.isprintable()]
        self._ahead.clear()
        try:
            self._connection.send_lines(questions)
        except _NONSENSE as error:
            raise self._unreachable(error) from error
        for question in questions:
            try:
                self._ahead[question] = self._answer(question.partition(" ")[0]).entries
            except NotAnsweredError as error:
                self._ahead[question] = error

    def watch_descriptor(self) -> None:
        """Let Tor say when its descriptor changes, and with it the enforced policy."""
        try:
            self._connection.send_lines(["SETEVENTS DESCCHANGED"])
            self._is_watching = True
            # A Tor that refuses is asked for its policy from time to time.
            self._receive()
        except _NONSENSE as error:
            raise self._unreachable(error) from error

    def wait_for_descriptor(self, seconds: float) -> None:
        """Return once Tor says that its descriptor has changed, or after so many seconds."""
        if not self._is_notified:
            self._raw.is_readable(seconds)
        self._is_notified = False

    def reload(self, seconds: float) -> None:
        """Make Tor read its torrc again, and return when it has.

        Raises TorRefusesError if Tor is gone after that, TorUnreachableError.
        """
        self._raw.deadline = time.monotonic() + seconds
        try:
            self._connection.send("SIGNAL RELOAD")
            answer = self._receive()
        except stem.SocketClosed as error:
            if self._raw.gave_up:
                raise self._unreachable(error) from error
            # Tor exits without an answer if it cannot load its configuration.
            raise TorRefusesError(
                f"Tor ({self._name}) closed the connection when it was told to reload;"
                " it has probably exited",
                hint="see why: journalctl -u 'tor@*' -n 20; then start it again",
            ) from error
        except _NONSENSE as error:
            raise self._unreachable(error) from error
        if not answer.is_ok():
            raise TorRefusesError(f"Tor ({self._name}) does not reload: {answer}")

    def methods(self) -> tuple[str, ...]:
        """Return the authentication methods that Tor offers.

        They are NONE, PASSWORD, COOKIE and SAFECOOKIE, or names that control-spec does not have.
        Raises TorUnreachableError.
        """
        try:
            self._connection.send("PROTOCOLINFO 1")
            return _offered(self._receive())
        except _NONSENSE as error:
            raise self._unreachable(error) from error

    def within(self, seconds: float) -> None:
        """Set a new deadline for the rest of the conversation, in seconds from now."""
        self._raw.deadline = time.monotonic() + seconds

    def _entries(self, question: str) -> dict[Any, Any]:
        """Return what Tor answers to GETINFO or GETCONF, or has answered ahead."""
        known = self._ahead.pop(question, None)
        if known is None:
            known = self._ask(question, question.partition(" ")[0]).entries
        if isinstance(known, NotAnsweredError):
            raise known
        return known

    def _ask(self, question: str, kind: str) -> Any:  # noqa: ANN401 - stem has no types
        if not question.isprintable():
            # A second line would be a second command.
            raise NotAnsweredError("what is asked does not fit on one line")
        try:
            self._connection.send(question)
        except _NONSENSE as error:
            raise self._unreachable(error) from error
        return self._answer(kind)

    def _answer(self, kind: str) -> Any:  # noqa: ANN401 - likewise
        """Read the answer to the next question. Raises NotAnsweredError, TorUnreachableError."""
        try:
            answer = self._receive()
            _convert(kind, answer)
        except (stem.InvalidRequest, stem.OperationFailed) as error:
            raise NotAnsweredError(str(error.message or error)) from error
        except _NONSENSE as error:
            raise self._unreachable(error) from error
        return answer

    def _receive(self) -> Any:  # noqa: ANN401 - likewise
        """Return the next message that is no event. Raises ValueError for too many events."""
        self._raw.left = MAX_BYTES
        for _ in range(_MOST_EVENTS if self._is_watching else 1):
            message = self._connection.recv()
            if message.content()[0][0] != _EVENT:
                return message
            self._is_notified = True
        raise ValueError("it reports events instead of answers")

    def _unreachable(self, error: BaseException) -> TorUnreachableError:
        return unreachable(self._name, self._raw.gave_up or _plain(error))


def _convert(kind: str, answer: Any) -> None:  # noqa: ANN401 - stem has no types
    """Make a message the answer to a kind of question, as stem.response.convert does.

    That function imports all of stem first, which takes a tenth of the time of a block.
    """
    answer.__class__ = _KINDS[kind]
    answer._parse_message()  # noqa: SLF001


def _offered(answer: Any) -> tuple[str, ...]:  # noqa: ANN401 - likewise
    """Return the methods in an answer to PROTOCOLINFO (control-spec 3.21).

    Not by stem, which imports all of itself for that too. Raises one of _NONSENSE.
    """
    if not answer.is_ok():
        raise ValueError(f"it does not say how to authenticate: {answer}")
    for line in answer:
        if line.pop() == "AUTH" and line.is_next_mapping("METHODS"):
            methods = line.pop_mapping()[1].split(",")
            return tuple(_METHODS.get(method, method) for method in methods)
    return ()


@contextmanager
def connect(relay: Relay, seconds: float | None = None) -> Iterator[Control]:
    """Connect to a relay's control port and authenticate.

    Nothing is sent before the kernel confirms that root or Tor's user listens there. All answers
    must arrive within `seconds` (None: `answer_seconds`), unless `within` sets another deadline.
    Raises TorUnreachableError, also for an answer that Tor refuses within the block, and
    InvalidFileError.
    """
    with reported(relay):
        control = opened(relay, answer_seconds(relay) if seconds is None else seconds)
        try:
            yield control
        finally:
            control.close()


@contextmanager
def reported(relay: Relay) -> Iterator[None]:
    """Raise TorUnreachableError for what goes wrong in a conversation with a relay."""
    try:
        yield
    except NotAnsweredError as error:
        raise unreachable(relay.name, f"it does not say: {_plain(error)}") from error
    except OSError as error:
        raise unreachable(relay.name, f"{relay.control}: {error.strerror or error}") from error


def opened(relay: Relay, seconds: float) -> Control:
    """Return an authenticated connection. Raises TorUnreachableError, InvalidFileError, OSError."""
    connection = open_socket(relay, seconds)
    try:
        deadline = time.monotonic() + seconds
        peer, cookies = _known_peer(relay, connection, seconds)
        control = Control(relay.name, BoundedSocket(connection, deadline), peer)
        control.authenticate(relay, cookies)
    except BaseException:
        connection.close()
        raise
    return control


def unreachable(name: str, why: str) -> TorUnreachableError:
    """Return the error for a relay that cannot be reached."""
    return TorUnreachableError(
        f"Tor ({name}) cannot be reached: {why}", hint="what is wrong: exitpol doctor"
    )


def _known_peer(
    relay: Relay, connection: socket.socket, seconds: float
) -> tuple[Peer, tuple[Path, ...]]:
    """Return who listens, and where the cookie may be. Raises TorUnreachableError."""
    files_say = declared(relay)
    try:
        peer = peers.of_connection(connection, seconds)
    except PeerUnknownError as error:
        raise unreachable(relay.name, f"{relay.control}: {error}") from error
    if peer.uid not in files_say.peers:
        raise _stranger(relay, peer, files_say)
    user = process.user(peer.pid) if peer.pid else None
    if user is None or user.uid != peer.uid:
        # By now the process number may be that of another process, or the process is hidden.
        peer = replace(peer, pid=invocation.process_of(relay, peer.uid))
    if not peer.pid:
        return peer, files_say.cookies
    defaults = invocation.defaults_of(process.arguments(peer.pid))
    if defaults is not None:
        real = Path(os.path.realpath(process.working_folder(peer.pid) / defaults))
        if peer.uid == 0 or users.only_changed_by_root(real):
            return peer, declared(relay, real).cookies
    return peer, files_say.cookies


def _stranger(relay: Relay, peer: Peer, files_say: Declared) -> TorUnreachableError:
    if files_say.uid is None:
        expected = f"{relay.torrc} does not say as whom Tor runs"
    else:
        expected = f"Tor runs as {users.name_of(files_say.uid)}"
    name = users.name_of(peer.uid)
    return TorUnreachableError(
        f"Tor ({relay.name}) cannot be reached: user {name} listens at {relay.control}, and"
        f" {expected}; nothing was sent there",
        hint=f"find out who that is: ps -fu {name}; if it is Tor, write user: {name} under the"
        " relay in the config",
    )


def _other_torrc(relay: Relay, pid: int) -> str:
    """Return the torrc with which the Tor of another relay was started; empty if it is ours.

    Empty also if the process cannot be seen.
    """
    if not pid or process.executable(pid) is None or not invocation.is_tor(pid):
        return ""
    started = invocation.torrc_of(pid)
    return "" if started == os.path.realpath(relay.torrc) else started


def _locked_out(relay: Relay, why: str, hint: str) -> TorUnreachableError:
    return TorUnreachableError(
        f"Tor ({relay.name}) does not let us in at {relay.control}: {why}", hint=hint
    )


def _password(relay: Relay, path: Path) -> str:
    try:
        content = files.read(path, "password file", limit=4096)
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        raise InvalidFileError(f"{path}: there is no such password file") from error
    except OSError as error:
        raise InvalidFileError(f"{path} cannot be read: {error.strerror}") from error
    if stat.S_IMODE(mode) & 0o007:
        raise InvalidFileError(f"{path} is open to everybody", hint=f"chmod 600 {word(path)}")
    password = content.decode("utf-8", "replace").partition("\n")[0].rstrip("\r")
    if not password.isprintable():
        raise InvalidFileError(f"{path}: the password of relay {relay.name!r} is not one line")
    return password


def _info(key: str) -> str:
    return f"GETINFO {key}"


def _conf(names: Sequence[str]) -> str:
    return f"GETCONF {' '.join(names)}"


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")


def _plain(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return (text[:200] or type(error).__name__).rstrip(".")
