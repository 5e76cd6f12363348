"""A running Tor as the kernel shows it: proc(5)."""

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_UNIT: Final = re.compile(r"/([^/\n]+\.service)(?:/|$)", re.MULTILINE)
_SOCKET: Final = re.compile(r"socket:\[(\d+)\]")


@dataclass(frozen=True, slots=True)
class User:
    """With whose rights a process reads files."""

    uid: int
    gid: int
    groups: tuple[int, ...]


def started(pid: int) -> float | None:
    """Return when a process was started, in Unix time to 10 ms; None if that cannot be seen."""
    try:
        # The name in field 2 may hold blanks and brackets; the start is field 22.
        words = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        ticks = int(words[19])
        since_boot = time.clock_gettime(time.CLOCK_BOOTTIME)
    except (OSError, ValueError, IndexError, AttributeError):
        return None
    return time.time() - since_boot + ticks / os.sysconf("SC_CLK_TCK")


def user(pid: int) -> User | None:
    """Return with whose rights a process runs; None if that cannot be seen."""
    fields: dict[str, list[str]] = {}
    try:
        for line in Path(f"/proc/{pid}/status").read_text("utf-8", "replace").splitlines():
            key, _, value = line.partition(":")
            fields[key] = value.split()
        groups = tuple(int(group) for group in fields["Groups"])
        # Real, effective, saved, and the one that counts for files.
        return User(int(fields["Uid"][3]), int(fields["Gid"][3]), groups)
    except (OSError, ValueError, LookupError):
        return None


def unit(pid: int) -> str | None:
    """Return the systemd unit that a process belongs to; None if to none."""
    try:
        found = _UNIT.findall(Path(f"/proc/{pid}/cgroup").read_text("utf-8", "replace"))
    except OSError:
        return None
    return next((name for name in found if "tor" in name), None)


def confinement(pid: int) -> str | None:
    """Return the AppArmor label of a process, such as `unconfined`; None without AppArmor."""
    try:
        return Path(f"/proc/{pid}/attr/current").read_text("utf-8", "replace").strip("\0\n ")
    except OSError:
        return None


def socket_inodes(pid: int) -> frozenset[str]:
    """Return the inodes of a process's sockets; none if it has ended. Raises PermissionError."""
    folder = f"/proc/{pid}/fd"
    found: set[str] = set()
    try:
        names = os.listdir(folder)  # noqa: PTH208 - 100,000 Path objects cost more than the look
    except (FileNotFoundError, ProcessLookupError):
        return frozenset()
    for name in names:
        try:
            match = _SOCKET.fullmatch(os.readlink(f"{folder}/{name}"))  # noqa: PTH115 - likewise
        except (FileNotFoundError, ProcessLookupError):
            continue
        if match is not None:
            found.add(match[1])
    return frozenset(found)


def same_network(pid: int) -> bool:
    """Tell whether a process is in our network namespace. Raises PermissionError."""
    try:
        return Path(f"/proc/{pid}/ns/net").stat().st_ino == Path("/proc/self/ns/net").stat().st_ino
    except (FileNotFoundError, ProcessLookupError):
        return True
