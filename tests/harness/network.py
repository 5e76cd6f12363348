"""A private Tor network of real tor processes on loopback, and destinations to reach through it.

Three processes carry real exit streams: an authority that is also the first hop, an exit whose
torrc includes a fragment file, and a client whose two-hop circuits this module builds by itself.
A fourth, a middle relay, lets an ordinary client choose its own path. Nothing here leaves
127.0.0.0/8 and ::1: the only directory authority that the processes know is their own.
"""

import contextlib
import http.client
import http.server
import re
import shutil
import socket
import socketserver
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self

from tests.harness.host import Operated
from tests.harness.tor import (
    COMMON,
    TOR_GENCERT,
    ControlPort,
    HarnessError,
    Tor,
    free_port,
    wait_until,
)

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
class StreamOutcome:
    """The outcome of one stream."""

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
    client_control: ControlPort = field(init=False)
    _controls: list[ControlPort] = field(init=False, default_factory=list)
    circuit: str = field(init=False, default="")
    _paths: dict[str, tuple[str, ...]] = field(init=False, default_factory=dict)
    socks_port: int = field(init=False)
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
        text = "".join((COMMON, *parts)).format(
            name=name, folder=folder, or_port=free_port(), **values
        )
        tor = Tor(name, folder, f"{text}{authority}\n")
        tor.prepare()
        self._tors.append(tor)
        return tor

    def _start(self) -> None:
        self.directory_port, or_port = free_port(), free_port()
        # The authority's own line needs its fingerprint, so its keys are made first.
        keys = Tor("keys", self.folder / "authority", "")
        fake = f"DirAuthority a v3ident={'A' * 40} 127.0.0.1:9 {'A' * 40}\n"
        text = COMMON.format(folder=keys.folder) + fake
        keys.torrc_text = text + _RELAY.format(name="authority", or_port=or_port)
        keys.prepare()
        self._first_hop = keys.fingerprint()
        line = (
            f"DirAuthority authority orport={or_port} v3ident={self._certificate(keys.folder)}"
            f" 127.0.0.1:{self.directory_port} {self._first_hop}"
        )
        self.fragment = self.folder / "exitpol" / "exit.conf"
        self.fragment.parent.mkdir(mode=0o755, exist_ok=True)
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
        self.socks_port = free_port()
        self.client = self._tor("client", line, _CLIENT, socks_port=self.socks_port)
        self.exit_fingerprint = self.exit.fingerprint()
        # The vote is at a wall-clock multiple of 5 s; relays need about a second to publish.
        time.sleep((3.5 - time.time()) % 5)
        for tor in self._tors[:-1]:
            tor.start(with_policy=False)
        relays = 3 if self.middle else 2
        wait_until(lambda: self._published(relays), 25, "a consensus with all relays")
        self.client.start(with_policy=False)
        self.client_control = self.client.control(30)
        self._controls.append(self.client_control)
        # Not before: the client would leave its own directory streams unattached as well.
        wait_until(
            lambda: self.client_control.info("status/enough-dir-info") == "1", 60, "a directory"
        )
        self.attach_by_hand(yes=True)
        self.client_control.ask("SETEVENTS STREAM CIRC")
        wait_until(self.new_circuit, 60, "the client's first circuit", 0.2)
        self.write_config()
        if self.middle:
            self.attach_by_hand(yes=False)
            # Ordinary clients would use it on.
            self.client_control.ask(f"CLOSECIRCUIT {self.circuit}")

    def directory(self, path: str) -> str:
        """Fetch a document such as `/tor/status-vote/current/consensus` from the authority.

        HarnessError where the authority answers with anything but 200.
        """
        connection = http.client.HTTPConnection("127.0.0.1", self.directory_port, timeout=10)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            if response.status != 200:
                raise HarnessError(f"{path}: {response.status} {response.reason}")
            return response.read().decode()
        except (OSError, http.client.HTTPException) as error:
            raise HarnessError(f"{path}: {error}") from error
        finally:
            connection.close()

    def _published(self, relays: int) -> bool:
        """Tell whether a client that starts now gets at once all that it needs.

        The authority answers 404 to the microdescriptors of its first consensus for some time, and
        a client that meets this asks again only after 10 s.
        """
        with contextlib.suppress(HarnessError):
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
        self.client_control.ask(
            f"SETCONF __LeaveStreamsUnattached={number} __DisablePredictedCircuits={number}"
        )

    def new_circuit(self) -> bool:
        """Build a new circuit, client to authority to exit, for the streams to come."""
        control = self.client_control
        try:
            (reply,) = control.ask(
                f"EXTENDCIRCUIT 0 ${self._first_hop},${self.exit_fingerprint} purpose=general"
            )
        except HarnessError:
            return False  # The client does not know both relays yet.
        circuit = reply.split()[2]
        deadline = time.monotonic() + 10
        while event := control.event(deadline):
            words = event.split()
            if words[1:3] == ["CIRC", circuit]:
                if words[3] == "BUILT":
                    self.circuit = circuit
                    return True
                if words[3] in ("FAILED", "CLOSED"):
                    return False
        return False

    def stream(self, host: str, port: int, *, seconds: float = 10) -> StreamOutcome:
        """Open one new stream through the exit, fetch a page, and return the outcome."""
        self.streams += 1
        control = self.client_control
        deadline = time.monotonic() + seconds
        with socks_connect(self.socks_port, host, port, seconds) as connection:
            source = f"SOURCE_ADDR=127.0.0.1:{connection.getsockname()[1]}"
            stream = ""
            while event := control.event(deadline):
                words = event.split()
                if words[1] == "CIRC" and words[2:4] == [self.circuit, "CLOSED"]:
                    return StreamOutcome("other", event)
                if words[1] != "STREAM":
                    continue
                if words[3] == "NEW" and source in words:
                    stream = words[2]
                    control.ask(f"ATTACHSTREAM {stream} {self.circuit}")
                elif words[2] == stream and words[3] == "SUCCEEDED":
                    return _fetch(connection, deadline)
                elif words[2] == stream and words[3] in ("DETACHED", "FAILED", "CLOSED"):
                    if words[3] == "DETACHED":
                        control.ask(f"CLOSESTREAM {stream} 1")
                    refused = "REMOTE_REASON=EXITPOLICY" in words
                    return StreamOutcome("refused" if refused else "other", event)
        return StreamOutcome("other", f"nothing within {seconds:g} s")

    def ordinary(self, host: str, port: int, *, seconds: float = 10) -> StreamOutcome:
        """Fetch a page as any user would, on a path that the client chooses (needs `middle`)."""
        with socks_connect(self.socks_port, host, port, seconds) as connection:
            return _fetch(connection, time.monotonic() + seconds)

    def attempts(self, host: str, port: int) -> list[Attempt]:
        """Return the answers that ordinary streams got from there since this was last asked."""
        control = self.client_control
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


def socks_connect(socks_port: int, host: str, port: int, seconds: float) -> socket.socket:
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


def _fetch(connection: socket.socket, deadline: float) -> StreamOutcome:
    """Read the SOCKS answer, then fetch a page."""
    received = b""
    try:
        connection.settimeout(max(0.1, deadline - time.monotonic()))
        answer = connection.recv(4)
        if answer[:2] != b"\5\0":
            return StreamOutcome("other", f"SOCKS answered {answer.hex()}")
        connection.recv(6 if answer[3] == 1 else 18)
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        while chunk := connection.recv(65536):
            received += chunk
    except OSError as error:
        return StreamOutcome("other", f"{type(error).__name__} after {received[:80]!r}")
    head, _, body = received.partition(b"\r\n\r\n")
    return StreamOutcome("answered" if b" 200 " in head else "other", body.decode())


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
