"""Ask the kernel who listens at a control port.

Any user may listen at a free TCP port, and a socket may be replaced. A password that is sent to the
wrong process is disclosed. So the user of the peer is determined before anything is sent.
"""

import socket
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exitpolicy.core.addresses import BITS, mapped, read_address
from exitpolicy.tor import process

_UNSEEN_SECONDS: Final = 0.2
"""How long a new connection may be missing from the tables."""
_POLL_SECONDS: Final = 0.01
_TABLES: Final = (Path("/proc/self/net/tcp"), Path("/proc/self/net/tcp6"))


class PeerUnknownError(Exception):
    """The kernel does not say who is at the other end; `str()` says why."""


@dataclass(frozen=True, slots=True)
class Peer:
    """The process at the other end of a connection."""

    uid: int
    pid: int
    """0 if it cannot be seen."""


def of_connection(connection: socket.socket, seconds: float) -> Peer:
    """Return who accepted a connection; wait at most `seconds` for that. Nothing is sent.

    Raises PeerUnknownError.
    """
    if connection.family == socket.AF_UNIX:
        return _of_unix(connection)
    return _of_tcp(connection, seconds)


def _of_unix(connection: socket.socket) -> Peer:
    try:
        layout = struct.Struct("3i")
        data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, layout.size)
        pid, uid, _ = layout.unpack(data)
        return Peer(uid, pid)
    except (OSError, struct.error) as error:
        raise PeerUnknownError(f"the kernel does not say who listens: {error}") from error


def _of_tcp(connection: socket.socket, seconds: float) -> Peer:
    """Find the other end of the connection in the kernel's tables.

    The listening socket is not looked up, because another one may have replaced it by now. Until
    the connection is accepted, its other end has no inode.
    """
    try:
        ours, theirs = connection.getsockname()[:2], connection.getpeername()[:2]
    except OSError as error:
        raise PeerUnknownError(f"it closed the connection: {error.strerror}") from error
    pairs = [f" {a} {b} ".encode() for a, b in zip(_forms(theirs), _forms(ours), strict=True)]
    begun = time.monotonic()
    while True:
        found = _row(pairs)
        if found is not None and found[1] != 0:
            uid, inode = found
            return Peer(uid, process.socket_holder(inode, uid))
        waited = time.monotonic() - begun
        if found is None and waited >= _UNSEEN_SECONDS:
            raise PeerUnknownError("the kernel does not say who listens there on this host")
        if waited >= seconds:
            raise PeerUnknownError("it does not answer")
        time.sleep(_POLL_SECONDS)


def _row(pairs: list[bytes]) -> tuple[int, int] | None:
    """Return user and inode of the socket with one of the pairs of addresses; None if none."""
    for table, pair in ((table, pair) for table in _TABLES for pair in pairs):
        try:
            content = table.read_bytes()
        except OSError:
            continue
        start = content.find(pair)
        if start >= 0:
            # Addresses (2), state, queues, timer, retransmissions, user, time-out, inode.
            words = content[start:].split(b"\n", 1)[0].split()
            return int(words[6]), int(words[8])
    return None


def _forms(address: tuple[str, int]) -> tuple[str, ...]:
    """Return an address as these tables write it: native words in hex.

    An IPv4 address has two forms, because a socket for IPv6 holds it IPv4-mapped.
    """
    host, port = address[0].partition("%")[0], address[1]
    found = read_address(host)
    if found is None:
        raise PeerUnknownError(f"the address of its connection is not understood: {host}")
    family, number = found
    forms = [number.to_bytes(BITS[family] // 8)]
    if family == 4:
        forms.append(mapped(number).to_bytes(16))
    return tuple(f"{_words(packed)}:{port:04X}" for packed in forms)


def _words(packed: bytes) -> str:
    return "".join(f"{word:08X}" for (word,) in struct.iter_unpack("=I", packed))
