"""Our own files: whether they can be read, mean something, and are nobody else's to change."""

import os
import pwd
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from exitpolicy.core.errors import ExitCode, InvalidFileError
from exitpolicy.doctor.finding import Finding, fail, failed, ok, warn
from exitpolicy.operations.desired import Desired
from exitpolicy.operations.host import Host
from exitpolicy.tor import fragment

_WHY = "who can change it decides what Tor rejects, and what root reads"


def config(host: Host) -> Iterator[Finding]:
    """Yield what is to be said about the config, which could be read."""
    source = host.config.source
    if source is None:
        yield ok("config", "none: the defaults hold")
        return
    yield from guarded("config", source)
    for relay in host.config.relays:
        if relay.password_file is not None:
            yield from guarded(f"{relay.name}: password file", relay.password_file)


def ledger(host: Host) -> Iterator[Finding]:
    """Yield what is to be said about the ledger."""
    try:
        count = len(host.ledger().blocks)
    except InvalidFileError as error:
        yield failed("ledger", error, why="it says what is blocked: without it nothing changes")
        return
    yield from guarded("ledger", host.config.ledger, f", {count} block{'s' * (count != 1)}")
    folder = host.config.ledger.parent
    if not os.access(folder, os.W_OK):
        yield fail(
            "ledger",
            f"{folder} may not be written by {_name(os.geteuid())}",
            why="blocks are recorded there, beside their history and the locks",
            mend="run exitpol as root",
        )


def fragment_file(host: Host, want: Desired | None) -> Iterator[Finding]:
    """Yield what is to be said about the fragment. `want` is None where the ledger is none."""
    path = host.config.fragment
    try:
        installed = fragment.read(path)
    except InvalidFileError as error:
        yield failed("fragment", error, why="it is the file that Tor includes")
        return
    if installed is None:
        yield fail(
            "fragment",
            f"{path} is not there",
            why="a Tor that includes it ends at its next reload",
            mend="exitpol init",
            code=ExitCode.INVALID_FILE,
        )
        return
    count = len(fragment.rules_of(installed))
    yield from guarded("fragment", path, f", {count} rule{'s' * (count != 1)}")
    if want is not None and installed != want.text:
        yield warn(
            "fragment",
            f"{path} is not what the ledger and the clock want",
            why="it was changed by hand, or a change has not been applied yet",
            mend="exitpol apply",
        )


def guarded(point: str, path: Path, more: str = "") -> Iterator[Finding]:
    """Yield whether nobody but its owner, root or us, can change or replace a file.

    Raises OSError.
    """
    real = Path(os.path.realpath(path))
    found = path.stat()
    chain = list(dict.fromkeys([path, real, *path.absolute().parents, *real.parents]))
    faults = [fault for place in chain for fault in _faults(point, place)]
    if faults:
        yield from faults
    else:
        yield ok(point, f"{path} ({_name(found.st_uid)}, {stat.S_IMODE(found.st_mode):04o}{more})")


def _faults(point: str, place: Path) -> Iterable[Finding]:
    """Yield what makes a file, or a folder above it, another's to change."""
    found = place.stat()
    mode = stat.S_IMODE(found.st_mode)
    # In a sticky folder, nobody replaces what belongs to another.
    sticky = stat.S_ISDIR(found.st_mode) and bool(mode & stat.S_ISVTX)
    if mode & 0o002 and not sticky:
        yield fail(point, f"{place} is writable by everybody", why=_WHY, mend=f"chmod o-w {place}")
    if mode & 0o020 and not sticky and found.st_gid not in (0, os.getegid()):
        seen = f"{place} is writable by the group {found.st_gid}"
        yield warn(point, seen, why=_WHY, mend=f"chmod g-w {place}")
    if found.st_uid not in (0, os.geteuid()):
        seen = f"{place} belongs to {_name(found.st_uid)}"
        yield warn(point, seen, why=_WHY, mend=f"chown {_name(os.geteuid())} {place}")


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
