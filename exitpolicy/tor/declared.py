"""What a relay's files say about its user and its cookie.

Whoever answers at a control port is compared with this, and is authenticated to with this. So it
comes from the config, the torrc and the defaults-torrc, never from the answers.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exitpolicy.core.errors import InvalidFileError
from exitpolicy.storage.config import Relay
from exitpolicy.tor import layout, torrc, users

_NAMES: Final = frozenset({"user", "datadirectory", "cookieauthfile"})
_COOKIE: Final = "control_auth_cookie"
_DEFAULT_DATA_DIRECTORY: Final = Path("/var/lib/tor")


@dataclass(frozen=True, slots=True)
class Declared:
    """The user and the cookie of a relay."""

    uid: int | None
    """The user that Tor runs as; None if the files do not say."""
    cookies: tuple[Path, ...]
    """Where its cookie may be, the likeliest first: the files may have changed since its start."""

    @property
    def peers(self) -> frozenset[int]:
        """The users that may answer at the control port: root, Tor's, and our own."""
        return frozenset({0, os.geteuid()} if self.uid is None else {0, os.geteuid(), self.uid})


def declared(relay: Relay, defaults: Path | None = None) -> Declared:
    """Read what a relay's files say; `defaults` is its defaults-torrc where that is known.

    A file that cannot be read says nothing here: it is reported where Tor reads it.
    """
    found: dict[str, list[str]] = {}
    cookies: list[Path] = []
    for path in (relay.torrc, defaults or layout.defaults_torrc(relay)):
        if path is not None:
            try:
                values = torrc.values(path, _NAMES)
            except InvalidFileError:
                continue
            found = {**values, **found}
            cookie = _last_path(values.get("cookieauthfile"))
            if cookie is not None:
                cookies.append(cookie)
    directory = _last_path(found.get("datadirectory"))
    uid = _uid(relay, found.get("user"), directory)
    cookies += [path / _COOKIE for path in _data_directories(uid, directory)]
    return Declared(uid, tuple(dict.fromkeys(cookies)))


def _uid(relay: Relay, names: list[str] | None, directory: Path | None) -> int | None:
    name = relay.user or (names[-1] if names else None)
    if name:
        user = users.by_name(name)
        return None if user is None else user.uid
    try:
        # Tor insists that this folder is its user's own (tor: check_private_dir).
        return None if directory is None else directory.stat().st_uid
    except OSError:
        return None


def _data_directories(uid: int | None, directory: Path | None) -> list[Path]:
    if directory is not None:
        return [directory]
    home = users.home_of(0 if uid is None else uid)
    in_home = [] if home is None or home == Path("/") else [home / ".tor"]
    return [*in_home, _DEFAULT_DATA_DIRECTORY]


def _last_path(values: list[str] | None) -> Path | None:
    return Path("/", values[-1]) if values and values[-1] else None
