"""Find the process of a relay's Tor without its control port, and tell it to reload.

A unit of systemd or a pid file names the process. Tor's user may write the pid file, and a process
id may be used again. So a process gets the signal only if it runs as root or as Tor's user, runs
tor, and was started with the relay's torrc. A handle on it (pidfd_open(2)) is taken before these
checks, and the signal goes to that handle. SIGHUP ends a process that does not handle it: a Tor
that has just started, or one with __DisableSignalHandlers. So the handler must be there.
"""

import os
import re
import select
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exitpolicy.core.errors import (
    ExitpolError,
    InvalidFileError,
    TorRefusesError,
    TorUnreachableError,
)
from exitpolicy.storage import files
from exitpolicy.storage.config import PidFile, Relay, Unit
from exitpolicy.tor import invocation, process, users
from exitpolicy.tor.child import UnboundedError, run_as
from exitpolicy.tor.declared import declared

ALIVE_SECONDS: Final = 2.0
"""How long a Tor must go on running after a reload. One that refuses its files ends within one."""

SYSTEMCTL: Final = "systemctl"
_RULES_A_SECOND: Final = 5_000
"""How many rules Tor reads at least in a second."""
_SYSTEMCTL_SECONDS: Final = 30.0
_MAX_BYTES: Final = 64
"""Of a pid file."""
_PID: Final = re.compile("0*[1-9][0-9]{0,6}")
"""Linux counts to 4194304."""
_HANDLER_SECONDS: Final = 5.0
"""How long to wait for a Tor that has just started to handle SIGHUP."""
_POLL_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class Daemon:
    """A running Tor."""

    pid: int
    uid: int
    handle: int
    """A pidfd. It is readable once the process has ended."""

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended."""
        return self.ends_within(0.0)

    def ends_within(self, seconds: float) -> bool:
        """Wait at most `seconds`; tell whether the process has ended."""
        poll = select.poll()
        poll.register(self.handle, select.POLLIN)
        return bool(poll.poll(seconds * 1000))


@contextmanager
def opened(relay: Relay) -> Iterator[Daemon]:
    """Give the running Tor of a relay that is reloaded by a unit or a pid file.

    Raises TorUnreachableError if it does not run, or if the process is not the relay's Tor.
    """
    pid = _pid_of(relay)
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError as error:
        raise _unreachable(
            relay, f"{_source(relay)} names process {pid}, which does not run"
        ) from error
    except OSError as error:
        raise _unreachable(
            relay, f"{_source(relay)} names {pid}, of which no handle can be had: {error.strerror}"
        ) from error
    try:
        uid = _checked(relay, pid)
        daemon = Daemon(pid, uid, handle)
        if daemon.has_ended:
            # What was checked may be another process with the same number.
            raise _unreachable(relay, f"process {pid} has just ended")
        yield daemon
    finally:
        os.close(handle)


def reload(relay: Relay, rules: int = 0) -> None:
    """Tell the Tor of a relay to read its files. `rules` is how many they hold.

    Returns once it has run on for ALIVE_SECONDS. Raises TorRefusesError if it has ended,
    TorUnreachableError if it could not be told.
    """
    with opened(relay) as daemon:
        _check_ready(relay, daemon)
        failure = _tell(relay, daemon)
        if daemon.ends_within(ALIVE_SECONDS + rules / _RULES_A_SECOND):
            raise TorRefusesError(
                f"Tor ({relay.name}), process {daemon.pid}, ended when it was told to reload",
                hint="see why: journalctl -u 'tor@*' -n 20; then start it again",
            )
        if failure is not None:
            raise failure


def _check_ready(relay: Relay, daemon: Daemon) -> None:
    """Wait until a Tor handles SIGHUP. Raises TorUnreachableError if it does not, or is stopped."""
    deadline = time.monotonic() + _HANDLER_SECONDS
    while not process.catches(daemon.pid, signal.SIGHUP):
        if daemon.ends_within(_POLL_SECONDS):
            raise _unreachable(relay, f"process {daemon.pid} has just ended")
        if time.monotonic() > deadline:
            raise TorUnreachableError(
                f"Tor ({relay.name}) is not reloaded: process {daemon.pid} does not handle SIGHUP,"
                " which would end it",
                hint="it may be starting: exitpol apply; or remove __DisableSignalHandlers from its"
                " torrc and restart it",
            )
    if process.is_stopped(daemon.pid):
        raise TorUnreachableError(
            f"Tor ({relay.name}) is not reloaded: process {daemon.pid} is stopped",
            hint=f"let it go on: kill -CONT {daemon.pid}",
        )


def _tell(relay: Relay, daemon: Daemon) -> ExitpolError | None:
    """Tell a Tor to reload; return why that failed, if it did."""
    if isinstance(relay.reload, Unit):
        try:
            _systemctl("reload", relay.reload.name)
        except _SystemctlError as error:
            return TorUnreachableError(
                f"Tor ({relay.name}) is not reloaded:"
                f" systemctl reload {relay.reload.name}: {error}",
                hint=f"systemctl status {relay.reload.name}",
            )
        return None
    try:
        signal.pidfd_send_signal(daemon.handle, signal.SIGHUP)
    except ProcessLookupError:
        pass  # It has ended, which is found next.
    except OSError as error:
        return TorUnreachableError(
            f"Tor ({relay.name}) is not reloaded: SIGHUP to process {daemon.pid}: {error.strerror}",
            hint="run exitpol as root",
        )
    return None


def _pid_of(relay: Relay) -> int:
    """Return the process id that a unit or a pid file names. Raises TorUnreachableError."""
    if isinstance(relay.reload, Unit):
        return _main_process(relay, relay.reload)
    if isinstance(relay.reload, PidFile):
        return _in_file(relay, relay.reload.path)
    raise _unreachable(relay, "the config says neither reload: systemd:UNIT nor pid:FILE")


def _main_process(relay: Relay, unit: Unit) -> int:
    try:
        text = _systemctl("show", "--property=MainPID", "--value", unit.name).strip()
    except _SystemctlError as error:
        raise _unreachable(relay, f"systemctl show {unit.name}: {error}") from error
    if not _PID.fullmatch(text) or int(text) == 1:
        raise _unreachable(
            relay,
            f"the unit {unit.name} has no main process",
            f"systemctl status {unit.name}; Debian's units of relays are tor@default.service and"
            " tor@INSTANCE.service, not tor.service",
        )
    return int(text)


def _in_file(relay: Relay, path: Path) -> int:
    try:
        # Tor's user may put a link there: to open a device as root may do harm, such as to a
        # watchdog, which then resets the host.
        content = files.read_own(path, "pid file", limit=_MAX_BYTES, follow=True)
        text = content.decode("ascii", "replace").strip()
    except FileNotFoundError as error:
        raise _unreachable(
            relay, f"there is no {path}", f"start Tor; it writes that file with PidFile {path}"
        ) from error
    except InvalidFileError as error:
        raise _unreachable(relay, str(error), error.hint) from error
    if not _PID.fullmatch(text) or int(text) == 1:
        raise _unreachable(relay, f"{path} does not hold a process id")
    return int(text)


def _checked(relay: Relay, pid: int) -> int:
    """Return the user of the relay's Tor. Raises TorUnreachableError for another process."""
    user = process.user(pid)
    if user is None:
        raise _unreachable(relay, f"process {pid} has just ended")
    named = f"process {pid}, which {_source(relay)} names,"
    files_say = declared(relay)
    if user.uid not in files_say.peers:
        told = (
            "its files name no user"
            if files_say.uid is None
            else f"Tor's is {users.name_of(files_say.uid)}"
        )
        raise _unreachable(
            relay,
            f"{named} runs as user {users.name_of(user.uid)}, and {told}",
            "correct reload: in the config; or name Tor's user there: user: NAME",
        )
    seen = process.executable(pid)
    may_pose = user.uid == 0 and isinstance(relay.reload, PidFile)
    if (may_pose and seen is None) or not invocation.is_tor(pid):
        # A user may start a setuid program under any name.
        raise _unreachable(relay, f"{named} does not run tor", "correct reload: in the config")
    torrc = invocation.torrc_of(pid)
    if torrc != os.path.realpath(relay.torrc):
        raise _unreachable(
            relay,
            f"{named} was started with {torrc}, not with {relay.torrc}",
            "correct reload: or torrc: in the config",
        )
    return user.uid


def _source(relay: Relay) -> str:
    return f"reload: {relay.reload}"


def _unreachable(relay: Relay, why: str, hint: str | None = None) -> TorUnreachableError:
    return TorUnreachableError(
        f"Tor ({relay.name}) is not found: {why}", hint=hint or "what is wrong: exitpol doctor"
    )


class _SystemctlError(Exception):
    """systemctl failed; `str()` says why."""


def _systemctl(*arguments: str) -> str:
    """Return what systemctl prints. Raises _SystemctlError."""
    try:
        result = run_as(None, [SYSTEMCTL, "--no-ask-password", *arguments], "", _SYSTEMCTL_SECONDS)
    except (OSError, ValueError, UnboundedError) as error:
        raise _SystemctlError(str(error)) from error
    if result.returncode != 0:
        said = result.stderr.strip().splitlines() or [f"exit code {result.returncode}"]
        raise _SystemctlError(said[0])
    return result.stdout
