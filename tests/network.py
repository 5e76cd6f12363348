"""A private Tor network of real tor processes on loopback, and destinations to reach through it.

Three processes carry real exit streams: an authority that is also the first hop, an exit whose
torrc includes a fragment file, and a client whose two-hop circuits this module builds by itself.
A fourth, a middle relay, lets an ordinary client choose its own path. Nothing here leaves
127.0.0.0/8 and ::1: the only directory authority that the processes know is their own.
"""

import contextlib
import http.client
import http.server
import os
import re
import secrets
import shutil
import socket
import socketserver
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self, TypeVar

TOR: Final = shutil.which("tor") or shutil.which("tor", path="/usr/sbin:/usr/bin:/sbin") or ""
TOR_GENCERT: Final = shutil.which("tor-gencert") or ""

T = TypeVar("T")

EXITPOL: Final = (sys.executable, "-m", "exitpolicy")

_COMMON: Final = """\
TestingTorNetwork 1
DataDirectory {folder}/data
PidFile {folder}/pid
Log notice file {folder}/log
ControlSocket {folder}/control
CookieAuthentication 1
Address 127.0.0.1
AssumeReachable 1
ShutdownWaitLength 0
DisableDebuggerAttachment 0
{authority}
"""

_RELAY: Final = """\
Nickname {name}
ContactInfo proof@example.org
ORPort 127.0.0.1:{or_port} IPv4Only
SocksPort 0
"""

# Votes at wall-clock multiples of 5 s, then every 10 s: the shortest that Tor takes.
_AUTHORITY: Final = """\
DirPort 127.0.0.1:{dir_port}
AuthoritativeDirectory 1
V3AuthoritativeDirectory 1
V3AuthVotingInterval 10
V3AuthVoteDelay 2
V3AuthDistDelay 2
V3AuthNIntervalsValid 20
TestingV3AuthInitialVotingInterval 5
TestingV3AuthInitialVoteDelay 2
TestingV3AuthInitialDistDelay 2
TestingMinExitFlagThreshold 0
TestingDirAuthVoteGuard *
TestingAuthDirTimeToLearnReachability 0
AuthDirTestReachability 0
ExitRelay 0
"""

# Clients are to ask the authority only: a relay that answers 404 once costs them 10 s.
_RELAYS_ONLY: Final = "DirCache 0\n"

_EXIT: Final = """\
ExitRelay 1
IPv6Exit 1
RefuseUnknownExits 0
ServerDNSAllowBrokenConfig 1
ServerDNSDetectHijacking 0
ExitPolicyRejectPrivate 0
ExitPolicyRejectLocalInterfaces 0
%include {fragment}
ExitPolicy accept *:*
"""

_CLIENT: Final = """\
SocksPort 127.0.0.1:{socks_port}
ClientRejectInternalAddresses 0
UseEntryGuards 0
"""


class NetworkError(RuntimeError):
    """The private network does not do what the test needs of it."""


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on at this moment.

    Not one that the kernel gives to outgoing connections: a Tor that starts 10 s later would
    sometimes find it taken by one.
    """
    while True:
        port = 10_000 + secrets.randbelow(20_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def wait_until(probe: Callable[[], T | None], seconds: float, what: str, pause: float = 0.05) -> T:
    """Return what `probe` gives as soon as it is truthy; NetworkError after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        if result := probe():
            return result
        if time.monotonic() > deadline:
            raise NetworkError(f"not within {seconds:g} s: {what}")
        time.sleep(pause)


class ControlPort:
    """A connection to a Tor's control port that never waits longer than it says.

    Written without stem, so that what the tests see does not rest on the library under test.
    """

    def __init__(self, path: Path, cookie: Path, timeout: float = 10) -> None:
        self.timeout = timeout
        self._events: deque[str] = deque()
        self._buffer = b""
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.settimeout(timeout)
            self._socket.connect(str(path))
            self.ask(f"AUTHENTICATE {cookie.read_bytes().hex()}")
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def ask(self, command: str) -> list[str]:
        """Send one command and return the lines of its 2xx reply; NetworkError for any other."""
        self._socket.sendall(command.encode() + b"\r\n")
        deadline = time.monotonic() + self.timeout
        while (reply := self._reply(deadline))[0].startswith("650"):
            self._events.append(reply[0])
        if not reply[-1].startswith("2"):
            raise NetworkError(f"{command[:60]!r}: {reply[-1]}")
        return reply

    def info(self, key: str) -> str:
        """Return the value of one GETINFO key."""
        lines = self.ask(f"GETINFO {key}")
        if lines[0].startswith("250+"):
            return "\n".join(lines[1:-1])
        return lines[0].partition("=")[2]

    def event(self, deadline: float) -> str | None:
        """Return the next asynchronous event's first line; None when the deadline passes."""
        if self._events:
            return self._events.popleft()
        try:
            return self._reply(deadline)[0]
        except TimeoutError:
            return None

    def _reply(self, deadline: float) -> list[str]:
        lines: list[str] = []
        data = False
        while True:
            line = self._line(deadline)
            if data:
                data = line != "."
                if data:
                    lines.append(line[1:] if line.startswith("..") else line)
                continue
            lines.append(line)
            data = line[3:4] == "+"
            if line[3:4] == " ":
                return lines

    def _line(self, deadline: float) -> str:
        while b"\r\n" not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._socket.settimeout(left)
            chunk = self._socket.recv(65536)
            if not chunk:
                raise NetworkError("Tor closed the control connection")
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\r\n")
        return line.decode("utf-8", "replace")


@dataclass
class Tor:
    """One tor process with a folder of its own."""

    name: str
    folder: Path
    torrc_text: str
    process: subprocess.Popen[bytes] | None = None
    defaults: Path = Path(os.devnull)
    """The defaults-torrc; Debian's units name one, in which is where the relay lies."""

    @property
    def torrc(self) -> Path:
        """The configuration file that the process was started with."""
        return self.folder / "torrc"

    @property
    def control_socket(self) -> Path:
        """The control port's socket."""
        return self.folder / "control"

    @property
    def cookie(self) -> Path:
        """The control port's cookie."""
        return self.folder / "data" / "control_auth_cookie"

    @property
    def command(self) -> list[str]:
        """The command line, without the host's own defaults."""
        return [TOR, "-f", str(self.torrc), "--defaults-torrc", str(self.defaults), "--hush"]

    def prepare(self) -> None:
        """Write the folder and the torrc."""
        for folder in (self.folder, self.folder / "data"):
            folder.mkdir(mode=0o700, exist_ok=True)
        self.torrc.write_text(self.torrc_text)

    def fingerprint(self) -> str:
        """Make the relay's keys where there are none yet, and return the fingerprint."""
        subprocess.run(
            [*self.command, "--list-fingerprint"], check=True, capture_output=True, timeout=60
        )
        return (self.folder / "data" / "fingerprint").read_text().split()[1]

    def start(self) -> None:
        """Start the process and wait for its control port."""
        with (self.folder / "output").open("ab") as output:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        wait_until(self._ready, 10, f"{self.name} opens its control port\n{self.log()}", 0.02)

    def _ready(self) -> bool:
        if self.process is not None and self.process.poll() is not None:
            raise NetworkError(f"{self.name} ended with {self.process.returncode}\n{self.log()}")
        with contextlib.suppress(OSError, NetworkError), self.control():
            return True
        return False

    def control(self, timeout: float = 10) -> ControlPort:
        """Open an authenticated control connection."""
        return ControlPort(self.control_socket, self.cookie, timeout)

    def alive(self) -> bool:
        """Tell whether the process that was started still runs."""
        return self.process is not None and self.process.poll() is None

    def log(self) -> str:
        """Return what the process has said so far."""
        texts = (self.folder / "output", self.folder / "log")
        return "".join(p.read_text(errors="replace") for p in texts if p.exists())[-4000:]

    def verifies(self) -> subprocess.CompletedProcess[bytes]:
        """Let a second tor verify what the process would read now."""
        return subprocess.run(
            [*self.command[:-1], "--verify-config"], check=False, capture_output=True, timeout=60
        )

    def policy(self) -> list[str]:
        """Return the rules that the process enforces."""
        with self.control() as control:
            return control.info("exit-policy/full").splitlines()

    def reload(self) -> None:
        """Have the process read its configuration again."""
        with self.control() as control:
            control.ask("SIGNAL RELOAD")

    def reload_and_wait(self, seconds: float = 10) -> None:
        """Reload after a change of the policy, until the new one is enforced."""
        with self.control() as control:
            control.ask("SETEVENTS DESCCHANGED")
            control.ask("SIGNAL RELOAD")
            if control.event(time.monotonic() + seconds) is None:
                raise NetworkError("no DESCCHANGED after the reload")

    def stop(self) -> None:
        """End the process, by its id."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None


class Destination:
    """A little HTTP server that answers every request with its own name."""

    def __init__(self, host: str, port: int = 0) -> None:
        body = f"this is {host}".encode()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
            daemon_threads = True

            def server_bind(self) -> None:
                # http.server looks up a name here, which is a query too many for a test.
                socketserver.TCPServer.server_bind(self)

        self.host = host
        self.body = body
        self._server = Server((host, port), Handler)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one stream."""

    kind: Literal["answered", "refused", "other"]
    """`refused` means that the exit itself said EXITPOLICY."""
    detail: str
    """The body of the answer, or Tor's last word."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One answer of an exit to a stream; an ordinary client asks again when it is refused."""

    kind: Literal["answered", "refused"]
    """`refused` means that the exit itself said EXITPOLICY."""
    path: tuple[str, ...]
    """The names of the relays of the circuit, the first hop first."""


class Operated:
    """An exit, and the operator's side of it: exitpol with a config, a ledger and a fragment."""

    folder: Path
    exit: Tor
    fragment: Path
    """The file that the exit's torrc includes; empty at first."""

    @property
    def ledger(self) -> Path:
        """The ledger that the config names; `exitpol init` makes it."""
        return self.folder / "ledger" / "blocks.yaml"

    @property
    def environment(self) -> dict[str, str]:
        """The environment in which exitpol runs."""
        return {**os.environ, "EXITPOL_CONFIG": str(self.folder / "config.yaml"), "NO_COLOR": "1"}

    def write_config(self, more: str = "") -> None:
        """Write exitpol's config for this exit."""
        (self.folder / "config.yaml").write_text(
            f"ledger: {self.ledger}\nfragment: {self.fragment}\nrelays:\n- {{name: exit,"
            f" torrc: {self.exit.torrc}, control: {self.exit.control_socket}}}\n{more}"
        )

    def run(
        self, *arguments: str, seconds: float = 60, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run `exitpol` for this exit, as an operator would."""
        return subprocess.run(
            [*EXITPOL, *arguments],
            env={**self.environment, **(environment or {})},
            stdin=subprocess.DEVNULL, capture_output=True, check=False, text=True, timeout=seconds,
        )  # fmt: skip

    def background(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start `exitpol` without waiting for it."""
        return subprocess.Popen(
            [*EXITPOL, *arguments], env=self.environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def rejected(self) -> set[str]:
        """Return what the exit rejects now, as rules without their action."""
        policy = self.exit.policy()
        return {rule.partition(" ")[2] for rule in policy if rule.startswith("reject")}


_LONE: Final = """\
Nickname lone
ContactInfo proof@example.org
ORPort 127.0.0.1:{or_port} IPv4Only
SocksPort 0
PublishServerDescriptor 0
DirCache 0
"""


class LoneExit(Operated):
    """One exit that has no network but makes its policy: up in about a second."""

    def __init__(
        self,
        folder: Path,
        options: str = "ExitRelay 1\nIPv6Exit 1\nExitPolicyRejectPrivate 0\n",
        policy: str = "ExitPolicy accept *:*\n",
    ) -> None:
        self.folder = folder
        self.fragment = folder / "exitpol.conf"
        self.fragment.write_text("")
        fake = f"DirAuthority fake 127.0.0.1:9 {'A' * 40}"
        text = (_COMMON + _LONE).format(folder=folder / "exit", authority=fake, or_port=free_port())
        self.exit = Tor(
            "exit",
            folder / "exit",
            f"{text}{options}%include {self.fragment}\n{policy}",
        )

    def __enter__(self) -> Self:
        self.exit.prepare()
        self.exit.start()
        self.write_config()
        try:
            wait_until(self._answers, 15, f"a policy\n{self.exit.log()}")
        except BaseException:
            self.exit.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.exit.stop()

    def _answers(self) -> bool:
        with contextlib.suppress(NetworkError):
            return bool(self.exit.policy())
        return False


@dataclass
class PrivateNetwork(Operated):
    """The processes, as a context manager; up when it is entered.

    On an error inside, the folder with all logs is kept and named on stderr.
    """

    middle: bool = False
    """Whether to add the fourth process that ordinary clients need."""
    exit_options: str = ""
    """More lines for the exit's torrc, above the include."""
    folder: Path = field(init=False)
    authority: Tor = field(init=False)
    exit: Tor = field(init=False)
    client: Tor = field(init=False)
    fragment: Path = field(init=False)
    seconds_to_start: float = field(init=False, default=0)
    streams: int = field(init=False, default=0)
    """How many were opened by `stream`."""
    _tors: list[Tor] = field(init=False, default_factory=list)
    _client_control: ControlPort = field(init=False)
    _controls: list[ControlPort] = field(init=False, default_factory=list)
    _circuit: str = field(init=False, default="")
    _paths: dict[str, tuple[str, ...]] = field(init=False, default_factory=dict)
    _socks_port: int = field(init=False)
    exit_fingerprint: str = field(init=False)
    directory_port: int = field(init=False)
    """The authority's port for plain HTTP."""
    _first_hop: str = field(init=False)

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="exitpol-net-"))
        begun = time.monotonic()
        try:
            self._start()
        except BaseException:
            self._stop(keep=True)
            raise
        self.seconds_to_start = time.monotonic() - begun
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None
    ) -> None:
        self._stop(keep=kind is not None)

    def _stop(self, *, keep: bool) -> None:
        for control in self._controls:
            control.close()
        for tor in reversed(self._tors):
            tor.stop()
        if keep:
            sys.stderr.write(f"the logs of the private network are in {self.folder}\n")
        else:
            shutil.rmtree(self.folder)

    def _tor(self, name: str, authority: str, *parts: str, **values: object) -> Tor:
        folder = self.folder / name
        text = "".join((_COMMON, *parts)).format(
            name=name, folder=folder, authority=authority, or_port=free_port(), **values
        )
        tor = Tor(name, folder, text)
        tor.prepare()
        self._tors.append(tor)
        return tor

    def _start(self) -> None:
        self.directory_port, or_port = free_port(), free_port()
        # The authority's own line needs its fingerprint, so its keys are made first.
        keys = Tor("keys", self.folder / "authority", "")
        keys.torrc_text = _COMMON.format(
            folder=keys.folder,
            authority="DirAuthority a v3ident=%s 127.0.0.1:9 %s" % (("A" * 40,) * 2),
        ) + _RELAY.format(name="authority", or_port=or_port)
        keys.prepare()
        self._first_hop = keys.fingerprint()
        line = (
            f"DirAuthority authority orport={or_port} v3ident={self._certificate(keys.folder)}"
            f" 127.0.0.1:{self.directory_port} {self._first_hop}"
        )
        self.fragment = self.folder / "exitpol.conf"
        self.fragment.write_text("")
        self.authority = self._tor(
            "authority", line, _RELAY, _AUTHORITY, dir_port=self.directory_port
        )
        self.authority.torrc_text = re.sub(
            r"(?m)^ORPort .*", f"ORPort 127.0.0.1:{or_port} IPv4Only", self.authority.torrc_text
        )
        self.authority.prepare()
        self.exit = self._tor(
            "exit", line, _RELAY, _RELAYS_ONLY, self.exit_options, _EXIT, fragment=self.fragment
        )
        if self.middle:
            self._tor("middle", line, _RELAY, _RELAYS_ONLY, "ExitRelay 0\n")
        self._socks_port = free_port()
        self.client = self._tor("client", line, _CLIENT, socks_port=self._socks_port)
        self.exit_fingerprint = self.exit.fingerprint()
        # The vote is at a wall-clock multiple of 5 s; relays need about a second to publish.
        time.sleep((3.5 - time.time()) % 5)
        for tor in self._tors[:-1]:
            tor.start()
        relays = 3 if self.middle else 2
        wait_until(lambda: self._published(relays), 25, "a consensus with all relays")
        self.client.start()
        self._client_control = self.client.control(30)
        self._controls.append(self._client_control)
        # Not before: the client would leave its own directory streams unattached as well.
        wait_until(
            lambda: self._client_control.info("status/enough-dir-info") == "1", 60, "a directory"
        )
        self.attach_by_hand(yes=True)
        self._client_control.ask("SETEVENTS STREAM CIRC")
        wait_until(self.new_circuit, 60, "the client's first circuit", 0.2)
        self.write_config()
        if self.middle:
            self.attach_by_hand(yes=False)
            # Ordinary clients would use it on.
            self._client_control.ask(f"CLOSECIRCUIT {self._circuit}")

    def directory(self, path: str) -> str:
        """Fetch a document such as `/tor/status-vote/current/consensus` from the authority.

        NetworkError where the authority answers with anything but 200.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.directory_port, timeout=10)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            if response.status != 200:
                raise NetworkError(f"{path}: {response.status} {response.reason}")
            return response.read().decode()
        except (OSError, http.client.HTTPException) as error:
            raise NetworkError(f"{path}: {error}") from error
        finally:
            connection.close()

    def _published(self, relays: int) -> bool:
        """Tell whether a client that starts now gets at once all that it needs.

        The authority answers 404 to the microdescriptors of its first consensus for some time, and
        a client that meets this asks again only after 10 s.
        """
        with contextlib.suppress(NetworkError):
            consensus = self.directory("/tor/status-vote/current/consensus-microdesc")
            digests = re.findall(r"(?m)^m (\S+)$", consensus)
            exits = re.findall(r"(?m)^s .*\bExit\b", consensus)
            if len(digests) == relays and exits:
                found = self.directory("/tor/micro/d/" + "-".join(digests))
                return len(re.findall(r"(?m)^ntor-onion-key ", found)) == relays
        return False

    def _certificate(self, folder: Path) -> str:
        """Make the authority's long-term key and certificate; return its v3ident."""
        keys = folder / "data" / "keys"
        keys.mkdir(mode=0o700, exist_ok=True)
        subprocess.run(
            [TOR_GENCERT, "--create-identity-key", "--passphrase-fd", "0", "-m", "12"],
            input=b"x\n", cwd=keys, check=True, capture_output=True, timeout=60,
        )  # fmt: skip
        certificate = (keys / "authority_certificate").read_text()
        return str(re.findall(r"(?m)^fingerprint ([0-9A-F]{40})$", certificate)[0])

    def attach_by_hand(self, *, yes: bool) -> None:
        """Choose between `stream` (yes) and `ordinary` (no)."""
        number = int(yes)
        self._client_control.ask(
            f"SETCONF __LeaveStreamsUnattached={number} __DisablePredictedCircuits={number}"
        )

    def new_circuit(self) -> bool:
        """Build a new circuit, client to authority to exit, for the streams to come."""
        control = self._client_control
        try:
            (reply,) = control.ask(
                f"EXTENDCIRCUIT 0 ${self._first_hop},${self.exit_fingerprint} purpose=general"
            )
        except NetworkError:
            return False  # The client does not know both relays yet.
        circuit = reply.split()[2]
        deadline = time.monotonic() + 10
        while event := control.event(deadline):
            words = event.split()
            if words[1:3] == ["CIRC", circuit]:
                if words[3] == "BUILT":
                    self._circuit = circuit
                    return True
                if words[3] in ("FAILED", "CLOSED"):
                    return False
        return False

    def stream(self, host: str, port: int, *, seconds: float = 10) -> Outcome:
        """Open one new stream through the exit, ask for a page, and tell what came of it."""
        self.streams += 1
        control = self._client_control
        deadline = time.monotonic() + seconds
        with _socks_connect(self._socks_port, host, port, seconds) as connection:
            source = f"SOURCE_ADDR=127.0.0.1:{connection.getsockname()[1]}"
            stream = ""
            while event := control.event(deadline):
                words = event.split()
                if words[1] == "CIRC" and words[2:4] == [self._circuit, "CLOSED"]:
                    return Outcome("other", event)
                if words[1] != "STREAM":
                    continue
                if words[3] == "NEW" and source in words:
                    stream = words[2]
                    control.ask(f"ATTACHSTREAM {stream} {self._circuit}")
                elif words[2] == stream and words[3] == "SUCCEEDED":
                    return _fetch(connection, deadline)
                elif words[2] == stream and words[3] in ("DETACHED", "FAILED", "CLOSED"):
                    if words[3] == "DETACHED":
                        control.ask(f"CLOSESTREAM {stream} 1")
                    refused = "REMOTE_REASON=EXITPOLICY" in words
                    return Outcome("refused" if refused else "other", event)
        return Outcome("other", f"nothing within {seconds:g} s")

    def ordinary(self, host: str, port: int, *, seconds: float = 10) -> Outcome:
        """Fetch a page as any user would, on a path that the client chooses (needs `middle`)."""
        with _socks_connect(self._socks_port, host, port, seconds) as connection:
            return _fetch(connection, time.monotonic() + seconds)

    def attempts(self, host: str, port: int) -> list[Attempt]:
        """Return the answers that ordinary streams got from there since this was last asked."""
        control = self._client_control
        found: list[Attempt] = []
        # Long enough for what Tor has sent already; streams to elsewhere may never end.
        deadline = time.monotonic() + 0.3
        while event := control.event(deadline):
            words = event.split()
            if words[1] == "CIRC" and words[3] == "BUILT":
                self._paths[words[2]] = tuple(re.findall(r"~(\w+)", words[4]))
            elif words[1] == "STREAM" and words[5] == f"{host}:{port}":
                path = self._paths.get(words[4], ())
                if words[3] == "SUCCEEDED":
                    found.append(Attempt("answered", path))
                elif "REMOTE_REASON=EXITPOLICY" in words:
                    found.append(Attempt("refused", path))
        return found


def _socks_connect(socks_port: int, host: str, port: int, seconds: float) -> socket.socket:
    """Send a SOCKS5 request without waiting for its answer."""
    connection = socket.create_connection(("127.0.0.1", socks_port), seconds)
    try:
        connection.sendall(b"\5\1\0")
        connection.recv(2)
        family, kind = (socket.AF_INET6, 4) if ":" in host else (socket.AF_INET, 1)
        connection.sendall(
            struct.pack("!BBBB", 5, 1, 0, kind)
            + socket.inet_pton(family, host)
            + struct.pack("!H", port)
        )
    except BaseException:
        connection.close()
        raise
    return connection


def _fetch(connection: socket.socket, deadline: float) -> Outcome:
    """Read the SOCKS answer, then fetch a page."""
    received = b""
    try:
        connection.settimeout(max(0.1, deadline - time.monotonic()))
        answer = connection.recv(4)
        if answer[:2] != b"\5\0":
            return Outcome("other", f"SOCKS answered {answer.hex()}")
        connection.recv(6 if answer[3] == 1 else 18)
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        while chunk := connection.recv(65536):
            received += chunk
    except OSError as error:
        return Outcome("other", f"{type(error).__name__} after {received[:80]!r}")
    head, _, body = received.partition(b"\r\n\r\n")
    return Outcome("answered" if b" 200 " in head else "other", body.decode())


@contextlib.contextmanager
def destinations(*hosts: str, port: int = 0) -> Iterator[list[Destination]]:
    """Run one server on each host, all on the same port."""
    servers: list[Destination] = []
    try:
        for host in hosts:
            servers.append(Destination(host, servers[0].port if servers else port))
        yield servers
    finally:
        for server in servers:
            server.close()
