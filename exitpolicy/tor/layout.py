"""Where Debian puts torrcs and defaults-torrcs, known without running tor.

Debian's service starts `/etc/tor/torrc`, and one instance for each folder in `/etc/tor/instances`
that holds a torrc. ansible-relayor puts its relays there too.
"""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from exitpolicy.core.errors import InvalidFileError
from exitpolicy.storage import config, files
from exitpolicy.storage.config import Relay
from exitpolicy.tor import torrc

RENDERED: Final = Path("/run/exitpol")
"""The folder of defaults-torrcs that exitpol renders for instances that were never started."""

_DEFAULT: Final = Path("etc/tor/torrc")
_INSTANCES: Final = Path("etc/tor/instances")
_DEFAULTS: Final = Path("usr/share/tor/tor-service-defaults-torrc")
_TEMPLATE: Final = Path("usr/share/tor/tor-service-defaults-torrc-instances")
_NAME: Final = "@@NAME@@"
_MAX_BYTES: Final = 1_000_000


class Candidate(NamedTuple):
    """A torrc at a usual place, and the name that its relay would have."""

    name: str
    torrc: Path


def candidates(root: Path = Path("/")) -> tuple[Candidate, ...]:
    """Return the torrcs at the usual places below `root`; that of `/etc/tor` comes first."""
    found = [root / _DEFAULT]
    with contextlib.suppress(OSError):
        found += sorted(folder / "torrc" for folder in (root / _INSTANCES).iterdir())
    return tuple(
        Candidate(config.usual_name(Path("/") / path.relative_to(root)), path)
        for path in found
        if os.path.isfile(path)  # noqa: PTH113 - Path.is_file may raise
    )


def watched(root: Path = Path("/")) -> tuple[Path, ...]:
    """Return what changes when a relay appears: the folder of instances, and each torrc.

    Paths that do not fit on a line of the observation's file are left out.
    """
    torrcs = (found.torrc for found in candidates(root))
    return (root / _INSTANCES, *(path for path in torrcs if "\n" not in str(path)))


def relays(root: Path = Path("/")) -> tuple[Relay, ...]:
    """Return the relays at the usual places, by the text of their torrcs and by Debian's sockets.

    This is for hosts that `exitpol init` has not recorded in the config. It runs no tor.
    """
    found = (
        Relay(name, path, str(root / config.usual_control(_below(path, root)).lstrip("/")))
        for name, path in candidates(root)
    )
    return tuple(relay for relay in found if opens_or_port(relay, root))


def opens_or_port(relay: Relay, root: Path = Path("/")) -> bool:
    """Tell by its text whether a torrc, or its defaults-torrc, opens an ORPort.

    A torrc that cannot be read counts as one: nothing is known of it.
    """
    for path in (relay.torrc, defaults_torrc(relay, root)):
        if path is None:
            continue
        try:
            ports = torrc.values(path, ["orport"]).get("orport")
        except InvalidFileError:
            return path == relay.torrc
        if ports is not None:
            return any(port.split()[:1] != ["0"] for port in ports)
    return False


def defaults_torrc(relay: Relay, root: Path = Path("/")) -> Path | None:
    """Return a relay's defaults-torrc: as in the config, or as Debian's units have it; or None."""
    if relay.defaults_torrc is not None:
        return relay.defaults_torrc
    if relay.torrc.parent.parent == root / _INSTANCES:
        return _of_instance(relay.torrc.parent.name, root)
    usual = root / _DEFAULTS
    return usual if relay.torrc == root / _DEFAULT and usual.is_file() else None


def _of_instance(name: str, root: Path) -> Path | None:
    """Return the defaults-torrc of an instance.

    Its unit writes that file at each start. Until then exitpol renders the same template.
    """
    written = root / "run/tor-instances" / f"{name}.defaults"
    if written.is_file():
        return written
    rendered = root / RENDERED.relative_to("/") / f"{name}.defaults"
    try:
        template = files.read(root / _TEMPLATE, "template", limit=_MAX_BYTES)
        content = template.replace(_NAME.encode(), os.fsencode(name))
        if not (rendered.is_file() and rendered.read_bytes() == content):
            # Tor reads it as its own user.
            files.make_folder(rendered.parent, public=True)
            files.replace(rendered, content, files.Ownership(0o644, os.geteuid(), os.getegid()))
    except (OSError, InvalidFileError):
        return None
    return rendered


def new_relays(known: Iterable[Path], root: Path = Path("/")) -> tuple[Relay, ...]:
    """Return the relays at the usual places whose torrc is none of the known ones."""
    names = {os.path.realpath(path) for path in known}
    return tuple(relay for relay in relays(root) if os.path.realpath(relay.torrc) not in names)


def _below(path: Path, root: Path) -> Path:
    return Path("/") / path.relative_to(root)
