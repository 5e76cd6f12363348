"""Read what the kernel reports about a running Tor: proc(5). Arguments are data, never commands."""

import contextlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from exitpolicy.tor.users import User

_UNIT: Final = re.compile(r"/([A-Za-z0-9:_.@\\-]+\.service)(?:/|$)", re.MULTILINE)
_SOCKET: Final = "socket:["
"""What stands before the inode in the link of a socket's descriptor (proc(5))."""


def started(pid: int) -> float | None:
    """Return the start of a process in Unix time, to 10 ms; None if it cannot be seen."""
    ticks = start_ticks(pid)
    if ticks is None:
        return None
    since_boot = time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.time() - since_boot + ticks / os.sysconf("SC_CLK_TCK")


def start_ticks(pid: int) -> int | None:
    """Return the start of a process in clock ticks since the boot; None if it cannot be seen."""
    try:
        # The name in field 2 may hold blanks and brackets; the start is field 22.
        words = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        return int(words[19])
    except (OSError, ValueError, IndexError):
        return None


def user(pid: int) -> User | None:
    """Return the user as whom a process reads files; None if it cannot be seen."""
    try:
        fields = _status(pid)
        groups = tuple(int(group) for group in fields["Groups"])
        # Real, effective, saved, and the one that counts for files.
        return User(int(fields["Uid"][3]), int(fields["Gid"][3]), groups)
    except (OSError, ValueError, LookupError):
        return None


def catches(pid: int, number: int) -> bool:
    """Tell whether a process has a handler for a signal; False if it cannot be seen."""
    try:
        return bool(int(_status(pid)["SigCgt"][0], 16) >> (number - 1) & 1)
    except (OSError, ValueError, LookupError):
        return False


def is_stopped(pid: int) -> bool:
    """Tell whether a process is stopped, by SIGSTOP or a debugger; False if it cannot be seen."""
    try:
        return _status(pid)["State"][0] in {"T", "t"}
    except (OSError, LookupError):
        return False


def _status(pid: int) -> dict[str, list[str]]:
    """Return the words of each line of /proc/PID/status. Raises OSError."""
    text = Path(f"/proc/{pid}/status").read_text("utf-8", "replace")
    # Not splitlines(), which also splits at what may stand in a name.
    lines = (line.partition(":") for line in text.split("\n"))
    return {key: value.split() for key, _, value in lines}


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
    found: set[str] = set()
    try:
        folder = os.open(f"/proc/{pid}/fd", os.O_RDONLY | os.O_DIRECTORY)
    except (FileNotFoundError, ProcessLookupError):
        return frozenset()
    try:
        # A Tor may have 100,000: what each of them costs matters.
        for name in os.listdir(folder):  # noqa: PTH208 - pathlib takes no descriptor
            try:
                target = os.readlink(name, dir_fd=folder)
            except (FileNotFoundError, ProcessLookupError):
                continue
            if target.startswith(_SOCKET):
                found.add(target[len(_SOCKET) : -1])
    except (FileNotFoundError, ProcessLookupError):
        return frozenset()
    finally:
        os.close(folder)
    return frozenset(found)


def socket_holder(inode: int, uid: int) -> int:
    """Return the tor process of a user that holds a socket; 0 if none can be seen."""
    for pid in tors_of(uid):
        with contextlib.suppress(OSError):
            if str(inode) in socket_inodes(pid):
                return pid
    return 0


def tors() -> Iterator[int]:
    """Yield the processes that are called tor."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and name(int(entry.name)) == "tor":
            yield int(entry.name)


def tors_of(uid: int) -> Iterator[int]:
    """Yield the processes of a user that are called tor."""
    for pid in tors():
        found = user(pid)
        if found is not None and found.uid == uid:
            yield pid


def arguments(pid: int) -> tuple[str, ...]:
    """Return the arguments of a process without its name; () if they cannot be seen."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]
    except OSError:
        return ()
    return tuple(os.fsdecode(word) for word in words[1:])


def executable(pid: int) -> Path | None:
    """Return the program that a process runs; None if it cannot be seen."""
    try:
        name = os.readlink(f"/proc/{pid}/exe")  # noqa: PTH115 - like the others
    except OSError:
        return None
    # A program that was replaced by an upgrade.
    return Path(name.removesuffix(" (deleted)"))


def name(pid: int) -> str:
    """Return the short name of a process; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/comm").read_text("utf-8", "replace").strip()
    except OSError:
        return ""


def working_folder(pid: int) -> Path:
    """Return the working folder of a process; `/` if it cannot be seen."""
    try:
        return Path(f"/proc/{pid}/cwd").readlink()
    except OSError:
        return Path("/")


def same_network(pid: int) -> bool:
    """Tell whether a process is in our network namespace. Raises PermissionError."""
    try:
        return Path(f"/proc/{pid}/ns/net").stat().st_ino == Path("/proc/self/ns/net").stat().st_ino
    except (FileNotFoundError, ProcessLookupError):
        return True
