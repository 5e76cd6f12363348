"""The torrc lines that open a control port: shown to the operator, or added on request."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exitpolicy.core.errors import InvalidFileError
from exitpolicy.operations.host import Host
from exitpolicy.storage import files
from exitpolicy.storage.config import usual_control, usual_unit
from exitpolicy.storage.locks import WAIT_SECONDS, apply_lock_path, lock, lock_folder
from exitpolicy.tor import discovery, layout, managed, torrc, verify
from exitpolicy.tor.discovery import Discovered

_NAMES: Final = ("ControlSocket", "ControlPort", "CookieAuthentication")


@dataclass(frozen=True, slots=True)
class Opening:
    """A torrc to which the lines of a control port can be added."""

    torrc: Path
    old: str
    new: str
    """Its text before and after."""
    unit: str
    """The systemd unit to restart then."""


def how_to_open(found: Discovered) -> str:
    """Return what opens a control port: lines for the torrc, or for the tool that writes it."""
    path = found.relay.torrc
    if "relayor" in (managed.claim(path) or "").lower():
        return "in the variables of ansible-relayor: tor_enableControlSocket: true"
    return (
        f"write into {path}, instead of its own lines of these names, and restart Tor"
        f" (systemctl restart {usual_unit(found.relay.torrc)}):\n{_lines(found)}"
    )


def openings(relays: Iterable[Discovered]) -> list[Opening]:
    """Return the torrcs to which the lines can be added.

    Left out are those that a tool writes, those with lines of these names of their own, which would
    have to be changed, and those of a sandboxed Tor, which may exit at a reload before its restart.
    Raises TorRefusesError, InvalidFileError.
    """
    return [opening for found in relays if (opening := _opening(found)) is not None]


def _opening(found: Discovered) -> Opening | None:
    path, folder = found.relay.torrc, found.invocation.folder
    own = torrc.values(path, [name.lower() for name in _NAMES], folder)
    if own or found.sandboxed or managed.is_claimed(path):
        return None
    old = torrc.read_text(path)
    end = "\n" if old and not old.endswith("\n") else ""
    new = f"{old}{end}{_lines(found)}\n"
    # A last line that goes on would swallow the first of them.
    if discovery.control_of(verify.options(found.invocation, new, _NAMES)) is None:
        return None
    return Opening(path, old, new, usual_unit(found.relay.torrc))


def add(host: Host, chosen: Iterable[Opening]) -> None:
    """Write the lines. Raises InvalidFileError, LockTimeoutError."""
    ledger = host.config.ledger
    lock_folder(ledger)
    with lock(apply_lock_path(ledger), seconds=WAIT_SECONDS, doing="talking to Tor"):
        for opening in chosen:
            if torrc.read_text(opening.torrc) != opening.old:
                raise InvalidFileError(
                    f"{opening.torrc} was changed in the meantime, and is left as it is",
                    hint="exitpol init",
                )
            content = opening.new.encode("utf-8", "surrogateescape")
            files.replace(opening.torrc, content, follow=True)


def _lines(found: Discovered) -> str:
    """Return the lines that open a control port: the one in the config, or the usual one.

    Tor refuses a socket in a folder that others can enter, such as Debian's, unless it is told not
    to check that.
    """
    relay = found.relay
    if relay.tcp_control is not None:
        return f"ControlPort {relay.control}\nCookieAuthentication 1"
    socket = relay.control
    if not socket and relay.torrc in {candidate.torrc for candidate in layout.candidates()}:
        socket = usual_control(relay.torrc)
    data = next(iter(found.options.get("DataDirectory", ())), "/var/lib/tor")
    socket = socket or f"{data}/control"
    flags = " GroupWritable RelaxDirModeCheck" if socket.startswith("/run/") else ""
    return f"ControlSocket {socket}{flags}\nCookieAuthentication 1"
