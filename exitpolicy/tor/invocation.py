"""Find out how a relay's Tor is started: its program, its options and its user.

The program is never chosen by the process that answers at the control port. Its arguments are
data: those of a known form are passed on, and the program runs as the relay's user.
"""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess
from typing import Final

from exitpolicy.core.errors import TorRefusesError
from exitpolicy.storage.config import Relay
from exitpolicy.tor import layout, mounts, process, users
from exitpolicy.tor.child import UnboundedError, run_as
from exitpolicy.tor.declared import declared
from exitpolicy.tor.peer import Peer
from exitpolicy.tor.users import User

PROGRAMS: Final = tuple(
    Path(folder, "tor")
    for folder in ("/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/opt/tor/bin")
)
"""Where packages put Tor."""

_DEFAULT_TORRC: Final = Path("/etc/tor/torrc")
_TORRC: Final = frozenset({"-f", "--torrc-file"})
_DEFAULTS: Final = "--defaults-torrc"
_WITHOUT_VALUE: Final = frozenset({"--ignore-missing-torrc", "--allow-missing-torrc"})
_DROPPED: Final = frozenset({"--quiet", "--hush"})
_OPTION: Final = re.compile(r"(?:--?)?[+/]?([A-Za-z_][A-Za-z0-9_]*)", re.ASCII)
"""An option of tor(1) on the command line; options that are commands have a dash inside."""
_COMMANDS: Final = frozenset({"service", "keygen", "help", "h", "version", "digests", "library"})
_SECONDS: Final = 10.0
MAX_SECONDS: Final = 120.0
"""How long tor may take to read a configuration: 100,000 rules take it more than a minute."""
_NOBODY: Final = User(65534, 65534, ())


@dataclass(frozen=True, slots=True)
class Invocation:
    """How a relay's Tor is started."""

    command: tuple[str, ...]
    """The program and its options, without the torrc."""
    folder: Path
    """Its working directory, to which relative paths in the torrc are relative."""
    user: User | None = None
    """The user as whom it reads its files; None: our own."""
    seconds: float = MAX_SECONDS
    """How long it may run. Its user can stop it, and must not stop the work on other relays."""

    @property
    def drops_user(self) -> bool:
        """Whether the program is to run as another user than we do."""
        return self.user is not None and os.geteuid() == 0 and self.user.uid != 0

    def run(self, arguments: Sequence[str], text: str) -> CompletedProcess[str]:
        """Run the program as the relay's user, with `text` as its input.

        Raises OSError, ValueError, UnboundedError.
        """
        # Tor refuses to change to a user that it already is: this takes the option away.
        without_user = ["/User"] if os.geteuid() != 0 or self.drops_user else []
        command = [*self.command, *without_user, *arguments]
        return run_as(self.user, command, text, self.seconds, folder=self.folder)


def of_relay(relay: Relay, peer: Peer | None = None) -> Invocation:
    """Return how the Tor of a relay is started: that of the peer, or a new one if that is None.

    Raises TorRefusesError if there is no program that can be trusted.
    """
    pid = 0 if peer is None else peer.pid
    running = process.user(pid) if pid else None
    # After the check of the peer, a setuid program may have changed the process's user.
    if peer is None or running is None or running.uid != peer.uid or not is_tor(pid):
        defaults = layout.defaults_torrc(relay)
        uid = declared(relay).uid
        user = None if uid is None else users.by_uid(uid)
        named = () if defaults is None else (_DEFAULTS, str(defaults))
        return Invocation((str(program(relay)), *named), Path("/"), user)
    options = known_options(process.arguments(pid))
    return Invocation((str(program(relay, pid)), *options), process.working_folder(pid), running)


def as_started(relay: Relay) -> Relay:
    """Return a relay with the defaults-torrc with which its Tor was started.

    The relay is returned unchanged if it names one, if it has the usual one, and if no process that
    can be trusted runs with its torrc.
    """
    if relay.defaults_torrc is not None:
        return relay
    sought = os.path.realpath(relay.torrc)
    started = [_started_defaults(relay, pid) for pid in process.tors() if torrc_of(pid) == sought]
    found = {path for path in started if path is not None}
    if len(found) != 1 or layout.defaults_torrc(relay) in found:
        return relay
    return relay._replace(defaults_torrc=found.pop())


def _started_defaults(relay: Relay, pid: int) -> Path | None:
    """Return the defaults-torrc that a process with a relay's torrc names; None without a safe one.

    Any user may start a tor with any torrc. So the process must run as root, as ourselves, or as
    the user that the files name; only root may change the defaults-torrc; and the process must see
    the same files as we do.
    """
    named, running = defaults_of(process.arguments(pid)), process.user(pid)
    if named is None or running is None:
        return None
    path = process.working_folder(pid) / named
    is_safe = os.path.isfile(path) and users.only_changed_by_root(Path(os.path.realpath(path)))  # noqa: PTH113 - Path.is_file may raise
    if not (is_safe and mounts.is_shared(pid, relay.torrc) and mounts.is_shared(pid, path)):
        return None
    trusted = {0, os.geteuid(), declared(relay, path).uid}
    return path if running.uid in trusted else None


def process_of(relay: Relay, uid: int) -> int:
    """Return the one tor process of a user that was started with a relay's torrc; 0 if none is."""
    sought = os.path.realpath(relay.torrc)
    found = [pid for pid in process.tors_of(uid) if torrc_of(pid) == sought]
    return found[0] if len(found) == 1 else 0


def running_torrcs() -> frozenset[Path]:
    """Return the torrcs with which the tor processes that we see were started, links resolved."""
    return frozenset(Path(torrc_of(pid)) for pid in process.tors())


def torrc_of(pid: int) -> str:
    """Return the torrc with which a process was started, links resolved, if it is a Tor."""
    words = iter(process.arguments(pid))
    named = next((next(words, "") for word in words if word in _TORRC), str(_DEFAULT_TORRC))
    return os.path.realpath(process.working_folder(pid) / named)


def is_tor(pid: int) -> bool:
    """Tell whether a process is named like Tor. That proves nothing unless its user is trusted."""
    seen = process.executable(pid)
    return (process.name(pid) if seen is None else seen.name).startswith("tor")


def program(relay: Relay | None = None, pid: int = 0) -> Path:
    """Return the Tor program that verifies a relay's files.

    It is the one in the config, or else that of the process `pid` or this host's, if only root can
    change it. Raises TorRefusesError.
    """
    if relay is not None and relay.tor is not None:
        return relay.tor
    running = process.executable(pid) if pid else None
    named_tor = [] if running is None or running.name != "tor" else [running]
    for path in (*named_tor, *PROGRAMS):
        real = Path(os.path.realpath(path))
        if real.is_file() and os.access(real, os.X_OK) and users.only_changed_by_root(real):
            return real
    raise TorRefusesError(
        "there is no tor program that only root can change",
        hint="apt install tor; or name it in the config: tor: PATH, under the relay",
    )


def known_options(arguments: Sequence[str]) -> tuple[str, ...]:
    """Return those arguments of a Tor that are options of tor(1), without the torrc.

    A word of another form, and whatever follows it, is left out.
    """
    return tuple(word for part in _parts(arguments) for word in part)


def defaults_of(arguments: Sequence[str]) -> Path | None:
    """Return the defaults-torrc that the arguments of a Tor name; None if they name none."""
    named = [part[1] for part in _parts(arguments) if part[0] == _DEFAULTS]
    return Path(named[-1]) if named else None


def option_that_replaces(arguments: Sequence[str], name: str) -> str:
    """Return the argument of a Tor that replaces an option of its files; empty if none does.

    `+Name` adds to it, and `/Name` removes it.
    """
    for word, *_ in _parts(arguments):
        match = _OPTION.fullmatch(word)
        if match and match[1].lower() == name.lower() and "+" not in word:
            return word
    return ""


def _parts(arguments: Sequence[str]) -> Iterator[tuple[str, ...]]:
    rest = iter(arguments)
    for word in rest:
        if word in _TORRC:
            next(rest, None)
        elif word in _WITHOUT_VALUE:
            yield (word,)
        elif word in _DROPPED:
            continue
        elif word == _DEFAULTS:
            value = next(rest, None)
            if value is not None:
                yield word, value
        elif (match := _OPTION.fullmatch(word)) and match[1].lower() not in _COMMANDS:
            if "/" in word:
                yield (word,)
            else:
                value = next(rest, None)
                if value is not None:
                    yield word, value
        else:
            # No option of a relay: the meaning of the rest is unknown.
            return


def version(path: Path | str) -> str:
    """Return the version of a tor program, which needs no rights for that. Raises TorRefusesError.

    The program may be one that a running Tor has chosen.
    """
    try:
        result = run_as(_NOBODY, [str(path), "--version"], "", _SECONDS)
    except (OSError, ValueError) as error:
        raise TorRefusesError(f"{path} cannot be run: {error}") from error
    except UnboundedError as error:
        raise TorRefusesError(f"{path} --version {error}") from error
    match = re.search(r"Tor version (\S+?)\.?(?:\s|$)", result.stdout)
    if match is None:
        raise TorRefusesError(f"{path} does not say its version")
    return match[1]
