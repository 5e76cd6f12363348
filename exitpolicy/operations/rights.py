"""The rights that the tick needs on this host, each with its reason.

The timer's unit runs as root with these rights and no others. They follow from the present owners
of the files and control sockets; `doctor` reports when these have changed.
"""

import grp
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from exitpolicy.core.errors import ExitpolError
from exitpolicy.operations.host import Host
from exitpolicy.storage import files, last_read, ledger_file, observed, own_policies
from exitpolicy.storage.config import PidFile, Relay
from exitpolicy.tor import inspect, invocation, process
from exitpolicy.tor.declared import declared

_READ: Final = 4
_WRITE: Final = 2
_SEARCH: Final = 1
_MAX_LINKS: Final = 40
_USUAL_OPTIONS: Final = {"--defaults-torrc", "--RunAsDaemon"}
"""The options of Debian's units. They change nothing that the files do not say as well."""


@dataclass(slots=True)
class Rights:
    """What the unit of the timer may do."""

    writable: tuple[Path, ...]
    """The folders in which files are replaced; the ledger's links are followed."""
    hosts: tuple[str, ...]
    """The hosts of TCP control ports, IPv6 addresses without brackets."""
    groups: dict[str, str] = field(default_factory=dict)
    """Names of supplementary groups, each with its reason."""
    capabilities: dict[str, str] = field(default_factory=dict)
    """Names of capabilities, each with its reason."""

    def need(self, capability: str, reason: str) -> None:
        """Add a capability; the first reason stays."""
        self.capabilities.setdefault(capability, reason)


def needed(host: Host) -> Rights:
    """Return the rights that a tick needs, from the files of this host as they are now."""
    endpoints = [relay.tcp_control for relay in host.relays]
    found = Rights(
        writable=tuple(sorted(set(_written_folders(host)))),
        hosts=tuple(dict.fromkeys(endpoint[0] for endpoint in endpoints if endpoint)),
    )
    for relay in host.relays:
        _relay(found, relay)
    for path in _replaced(host):
        _owner(found, path)
    if (metrics := host.config.metrics) is not None:
        # A new file there belongs to the owner of the folder.
        _owner(found, metrics if metrics.exists() else metrics.parent)
    for folder in found.writable:
        _reach(found, folder, _WRITE | _SEARCH)
    for path in read_files(host):
        _reach(found, path, _READ)
    return found


def _relay(found: Rights, relay: Relay) -> None:
    """Add what reaching and verifying one relay needs."""
    known = declared(relay)
    if known.uid != 0:
        reason = f"tor verifies {relay.torrc} with the rights of Tor's user"
        found.need("CAP_SETUID", reason)
        found.need("CAP_SETGID", reason)
    if (hidden := _hidden_in_proc(relay)) is not None:
        found.need("CAP_SYS_PTRACE", hidden)
    _signal(found, relay, known.uid)
    if not relay.has_control:
        return
    if relay.tcp_control is None:
        if Path(relay.control).exists():
            _reach(found, Path(relay.control), _READ | _WRITE)
        else:
            found.need("CAP_DAC_OVERRIDE", f"{relay.control} is missing: Tor does not run now")
    if relay.password_file is None:
        for cookie in known.cookies:
            if cookie.exists():
                _reach(found, cookie, _READ)
                break


def _signal(found: Rights, relay: Relay, uid: int | None) -> None:
    """Add what a signal to the process in a pid file needs."""
    if not isinstance(relay.reload, PidFile):
        return
    reason = f"SIGHUP to the Tor of {relay.torrc}"
    if uid != 0:
        found.need("CAP_KILL", f"{reason}, which runs as another user")
    else:
        found.need("CAP_SYS_PTRACE", f"{reason}: its program in /proc shows that it is tor")


def _hidden_in_proc(relay: Relay) -> str | None:
    """Return what must be read from /proc of the running Tor, which needs CAP_SYS_PTRACE.

    Without that right the tick verifies with this host's tor, in the folder /, and knows the
    options of a Tor behind a TCP port only from its files. That is nearly always the same.
    """
    try:
        pid = inspect.process_of(relay)
        if not pid:
            return None
        if invocation.program(relay, pid) != invocation.program(relay):
            return f"{process.executable(pid)} runs, and not the tor of this host"
    except ExitpolError:
        return None
    if (folder := process.working_folder(pid)) != Path("/"):
        return f"the Tor of {relay.torrc} runs in {folder}, to which its paths may be relative"
    given = invocation.known_options(process.arguments(pid))
    is_tcp = relay.tcp_control is not None
    if is_tcp and not {word for word in given if word.startswith("--")} <= _USUAL_OPTIONS:
        return f"the Tor of {relay.torrc} was started with options on its command line"
    return None


def _owner(found: Rights, path: Path) -> None:
    """Add the rights that are needed to replace a file and keep its owner and mode."""
    try:
        status = path.stat()
    except OSError:
        return
    if status.st_uid != 0:
        reason = f"{path} belongs to user {status.st_uid}, and is replaced with its owner kept"
        found.need("CAP_CHOWN", reason)
        found.need("CAP_FOWNER", reason)
    elif status.st_gid != 0:
        _join(found, status.st_gid, f"{path} belongs to it, and is replaced with its group kept")


def _reach(found: Rights, path: Path, rights: int) -> None:
    """Add the rights that are needed to use a path: a group, or else the right to ignore modes."""
    if not path.exists():
        return
    real = Path(os.path.realpath(path))
    steps = [*((parent, _SEARCH) for parent in reversed(real.parents)), (real, rights)]
    for place, wanted in steps:
        try:
            status = place.stat()
        except OSError:
            # Who owns a folder above it may take it away at any moment.
            return
        bits = stat.S_IMODE(status.st_mode)
        if status.st_uid == 0:
            granted = bits >> 6
        elif _is_member(found, status.st_gid):
            granted = bits >> 3
        elif bits & wanted != wanted and (bits >> 3) & wanted == wanted:
            _join(found, status.st_gid, f"{path} is open to it")
            granted = bits >> 3
        else:
            granted = bits
        if granted & wanted != wanted:
            only_read = not (rights & _WRITE)
            name = "CAP_DAC_READ_SEARCH" if only_read else "CAP_DAC_OVERRIDE"
            found.need(name, f"{place} is closed to root without it")
            return


def _is_member(found: Rights, gid: int) -> bool:
    return gid == 0 or _group_name(gid) in found.groups


def _join(found: Rights, gid: int, reason: str) -> None:
    found.groups.setdefault(_group_name(gid), reason)


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _written_folders(host: Host) -> Iterator[Path]:
    yield from _folders(host.config.ledger)
    for path in _fragments(host):
        yield from _folders(path)
    if host.config.metrics is not None:
        yield from _folders(host.config.metrics)


def _folders(path: Path) -> Iterator[Path]:
    """Yield the folder of a path, and of each file that it links to where a tick follows links."""
    place = path.absolute()
    follows = _is_followed(path)
    for _ in range(_MAX_LINKS):
        folder = Path(os.path.realpath(place.parent))
        yield folder
        if not follows or not place.is_symlink():
            break
        place = folder / place.readlink()


def _is_followed(path: Path) -> bool:
    """Tell whether a file is replaced where links lead, and not refused."""
    try:
        with files.place(path, follow=True):
            return True
    except OSError:
        return False


def _fragments(host: Host) -> Iterable[Path]:
    found = [relay.fragment for relay in host.relays]
    return found or [host.config.fragment]


def _replaced(host: Host) -> Iterator[Path]:
    """Yield the files that a tick replaces or appends to."""
    ledger = host.config.ledger
    yield ledger
    yield observed.path_beside(ledger)
    yield own_policies.path_beside(ledger)
    yield last_read.path_beside(ledger)
    yield ledger_file.last_valid_path(ledger)
    yield host.history_path
    yield host.health_path
    yield from _fragments(host)


def read_files(host: Host) -> Iterator[Path]:
    """Yield the files of the operator and of Tor that a tick reads, without the fragments."""
    yield host.config.ledger
    if host.config.source is not None:
        yield host.config.source
    if host.config.fleet_file is not None:
        yield host.config.fleet_file
    for relay in host.relays:
        yield relay.torrc
        if isinstance(relay.reload, PidFile):
            yield relay.reload.path
        if relay.password_file is not None:
            yield relay.password_file
