"""Hosts whose Tor gives up root's rights."""

import os
import pwd
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from tests.harness.host import ExitHost
from tests.harness.tor import Tor

USER: Final = "nobody"
"""As whom Tor runs."""


def unprivileged_tor(folder: Path, lines: Iterable[str]) -> Tor:
    """Return a Tor, not started, whose files its user may use."""
    tor = Tor.alone(folder, ["ExitRelay 1", "ExitPolicyRejectPrivate 1", *lines], "a")
    tor.prepare()
    tor.folder.chmod(0o755)
    for name in ("log", "pid", "output"):
        (tor.folder / name).touch()
    account = pwd.getpwnam(USER)
    for path in (tor.folder, *tor.folder.iterdir()):
        os.chown(path, account.pw_uid, account.pw_gid)
    os.chown(tor.torrc, 0, 0)
    tor.torrc.chmod(0o644)
    return tor


def unprivileged_host(base: Path, *lines: str) -> ExitHost:
    """Start a Tor that gives up root's rights; exitpol is not yet set up for it."""
    tor = unprivileged_tor(base / "tor", [f"User {USER}", *lines])
    host = ExitHost(base, [tor])
    tor.start()
    return host
