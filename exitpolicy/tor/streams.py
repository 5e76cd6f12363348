"""List and close the connections of a Tor to destinations, with ss(8) of iproute2.

A new exit policy does not close streams that are already open, and the control port of an exit can
neither list nor close them. The kernel can do both.
"""

import os
import re
import subprocess
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from exitpolicy.core.addresses import Family, read_endpoint
from exitpolicy.core.destination import Destination, DestinationSet
from exitpolicy.core.errors import ExitCode, ExitpolError
from exitpolicy.tor import process, users

_SECONDS: Final = 30.0
"""The longest wait for ss; it lists 50,000 connections in a fraction of a second."""
_BATCH: Final = 200
"""Connections closed by one filter, which may have 64 KiB (INET_DIAG_REQ_BYTECODE)."""
_STATES: Final = (
    "established",
    "syn-sent",
    "close-wait",
    "fin-wait-1",
    "fin-wait-2",
    "listening",
)
_LISTENING: Final = "LISTEN"

Address = tuple[Family, int, int]
"""Family, address and port, as numbers."""


class StreamsUnknownError(ExitpolError):
    """The connections of Tor cannot be listed, or they cannot be closed."""

    exit_code = ExitCode.ATTENTION


@dataclass(frozen=True, slots=True)
class Stream:
    """One connection that a Tor has made."""

    local: str
    """`ADDRESS:PORT` as ss writes it."""
    peer: str


def open_streams(pids: Iterable[int], destinations: Iterable[Destination]) -> list[Stream]:
    """Return the connections that the processes have made to the destinations.

    Connections that they accepted are left out. Raises StreamsUnknownError.
    """
    owned = _owned(pids)
    states = [word for state in _STATES for word in ("state", state)]
    return connections_in(_ss(["-Htne", *states]), owned, DestinationSet(destinations))


def _owned(pids: Iterable[int]) -> dict[str, int]:
    """Return the process of each inode of the processes' sockets. Raises StreamsUnknownError."""
    owned: dict[str, int] = {}
    try:
        for pid in pids:
            if not process.same_network(pid):
                raise StreamsUnknownError(
                    f"Tor (process {pid}) is in another network namespace",
                    hint="run exitpol where Tor runs",
                )
            owned |= dict.fromkeys(process.socket_inodes(pid), pid)
    except PermissionError as error:
        raise StreamsUnknownError(
            "only root may see which connections are Tor's", hint="run exitpol as root"
        ) from error
    except OSError as error:
        raise StreamsUnknownError(f"Tor's connections cannot be seen: {error}") from error
    return owned


def connection_counts(pids: Iterable[int]) -> dict[Address, int]:
    """Return how many connections the processes have made to each address and port.

    Connections that they accepted, and those of other processes, are left out. Raises
    StreamsUnknownError.
    """
    states = [word for state in _STATES if state != "listening" for word in ("state", state)]
    # Both take half a second for 100,000 connections, and one of them is another process.
    with ThreadPoolExecutor(1) as pool:
        listing = pool.submit(_ss, ["-Htne", *states])
        owned = _owned(pids)
        accepting = {
            (owned[inode], line.split(maxsplit=5)[3].rpartition(":")[2])
            for line in _ss(["-Htnel"]).splitlines()
            if (inode := _inode(line)) in owned
        }
        lines = listing.result()
    found: Counter[str] = Counter()
    for match in re.finditer(r"[^\n]+", lines):
        line = match[0]
        pid = owned.get(_inode(line))
        if pid is not None:
            _, _, _, local, peer, _ = line.split(maxsplit=5)
            if (pid, local.rpartition(":")[2]) not in accepting:
                found[peer] += 1
    counts: dict[Address, int] = {}
    for text, count in found.items():
        # An IPv4 address may also stand as a mapped one.
        if (there := read_endpoint(text)) is not None:
            counts[there] = counts.get(there, 0) + count
    return counts


def _inode(line: str) -> str:
    """Return the inode on a line of `ss -e`; empty if there is none."""
    return line.partition(" ino:")[2].partition(" ")[0]


def connections_in(
    output: str, owned: Mapping[str, int], destinations: DestinationSet
) -> list[Stream]:
    """Return the connections to the destinations that Tor has made, from the output of `ss -Htne`.

    `owned` has the process of each inode of a Tor's sockets.
    """
    listening: set[tuple[int, str]] = set()
    found: list[tuple[int, str, str]] = []
    for line in output.splitlines():
        # State, two queues, both ends, then `ino:N` among others.
        pid = owned.get(_inode(line))
        if pid is None:
            continue
        words = line.split(maxsplit=5)
        if words[0] == _LISTENING:
            listening.add((pid, words[3].rpartition(":")[2]))
        else:
            found.append((pid, words[3], words[4]))
    return [
        Stream(local, peer)
        for pid, local, peer in found
        if (pid, local.rpartition(":")[2]) not in listening
        and (there := read_endpoint(peer)) is not None
        and there in destinations
    ]


def apart_from(streams: Iterable[Stream], relays: Collection[Address]) -> list[Stream]:
    """Return the streams that do not go to other relays.

    `relays` are the ORPorts of all relays. Tor connects to none of them for a client (tor:
    connection_exit_connect in src/core/or/connection_edge.c).
    """
    return [stream for stream in streams if read_endpoint(stream.peer) not in relays]


def cut(streams: Sequence[Stream]) -> None:
    """Close connections from our side; both ends see them end. Raises StreamsUnknownError.

    The kernel does not report connections that it did not close: list them again.
    """
    for start in range(0, len(streams), _BATCH):
        wanted = "\nor ".join(
            f"( src {stream.local} and dst {stream.peer} )"
            for stream in streams[start : start + _BATCH]
        )
        _ss(["-HtnK", "-F", "-"], wanted)


def lister() -> str:
    """Return the path of ss. Raises StreamsUnknownError if it is missing."""
    program = users.trusted_program("ss")
    if program is None:
        raise StreamsUnknownError(
            "the program ss, which lists Tor's connections, is missing, or others than root can"
            " change it",
            hint="apt install iproute2",
        )
    return program


def _ss(arguments: Sequence[str], text: str = "") -> str:
    program = lister()
    try:
        result = subprocess.run(
            [program, *arguments],
            input=text,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_SECONDS,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired as error:
        raise StreamsUnknownError(f"ss has not answered within {_SECONDS:g} s") from error
    except OSError as error:
        raise StreamsUnknownError(f"{program} cannot be run: {error.strerror}") from error
    if "not permitted" in result.stderr:
        raise StreamsUnknownError(
            "the kernel does not let us close connections: that needs root with CAP_NET_ADMIN",
            hint="run exitpol as root",
        )
    if result.returncode != 0 or result.stderr:
        said = " / ".join(result.stderr.splitlines()[:2]) or f"exit code {result.returncode}"
        raise StreamsUnknownError(f"ss cannot do what it is told: {said}")
    return result.stdout
