"""The checks of exitpol's own files: whether they are valid, and safe from other users."""

import os
import pwd
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from exitpolicy.core.errors import ExitCode, InvalidFileError
from exitpolicy.core.shell import word
from exitpolicy.doctor.finding import Finding, fail, failed, ok, warn
from exitpolicy.operations import planning
from exitpolicy.operations.desired import Desired, desired
from exitpolicy.operations.host import Host
from exitpolicy.storage.ledger_file import Ledger
from exitpolicy.tor import fragment

_WHY = "who can change it decides what Tor rejects and what root reads"


def config(host: Host) -> Iterator[Finding]:
    """Check the config, which was read without error, and the password files that it names."""
    source = host.config.source
    if source is None:
        yield ok("config", "no config file: the defaults are used")
        return
    yield from protected("config", source)
    if host.config.fleet_file is not None:
        yield from protected("fleet", host.config.fleet_file)
    for relay in host.config.relays:
        if relay.password_file is not None:
            yield from protected(f"{relay.name}: password file", relay.password_file)


def ledger(host: Host) -> Iterator[Finding]:
    """Check the ledger and its folder."""
    try:
        count = len(host.ledger().blocks)
    except InvalidFileError as error:
        why = "it holds the blocks: without it nothing is blocked or lifted any more"
        yield failed("ledger", error, why=why)
        return
    yield from protected("ledger", host.config.ledger, f", {count} block{'s' * (count != 1)}")
    folder = host.config.ledger.parent
    if not os.access(folder, os.W_OK):
        yield fail(
            "ledger",
            f"{_name(os.geteuid())} may not write {folder}",
            why="the ledger, its history and its locks are written there",
            fix="run exitpol as root",
        )


def fragment_files(host: Host, ledger: Ledger | None) -> Iterator[Finding]:
    """Check each fragment. `ledger` is None if it is invalid, or changes wait for a batch."""
    for path, relays in planning.groups(host.relays):
        target = None if ledger is None else desired(ledger, host.time(), relays)
        yield from _fragment_file(path, target)


def _fragment_file(path: Path, target: Desired | None) -> Iterator[Finding]:
    try:
        installed = fragment.read(path)
    except InvalidFileError as error:
        yield failed("fragment", error, why="Tor includes this file")
        return
    if installed is None:
        yield fail(
            "fragment",
            f"{path} is missing",
            why="a Tor that includes it exits at its next reload",
            fix="exitpol init",
            code=ExitCode.INVALID_FILE,
        )
        return
    count = len(fragment.rules_of(installed))
    yield from protected("fragment", path, f", {count} rule{'s' * (count != 1)}")
    if target is not None and installed != target.text:
        yield warn(
            "fragment",
            f"{path} differs from what the ledger says",
            why="Tor's next reload loads it: a hand edit, or a change that was not applied",
            fix="exitpol apply",
        )


def protected(check: str, path: Path, more: str = "") -> Iterator[Finding]:
    """Report other users than root and the present one who can change a file. Raises OSError."""
    real = Path(os.path.realpath(path))
    status = path.stat()
    chain = list(dict.fromkeys([path, real, *path.absolute().parents, *real.parents]))
    faults = [fault for place in chain for fault in _faults(check, place)]
    if faults:
        yield from faults
    else:
        mode = f"{stat.S_IMODE(status.st_mode):04o}"
        yield ok(check, f"{path} ({_name(status.st_uid)}, {mode}{more})")


def _faults(check: str, place: Path) -> Iterable[Finding]:
    """Yield how other users can change a file, or a folder above it."""
    status = place.stat()
    mode = stat.S_IMODE(status.st_mode)
    quoted = word(place)
    # In a folder with the sticky bit, only the owner of a file can replace it.
    sticky = stat.S_ISDIR(status.st_mode) and bool(mode & stat.S_ISVTX)
    if mode & 0o002 and not sticky:
        observed = f"{place} is writable by everybody"
        yield fail(check, observed, why=_WHY, fix=f"chmod o-w {quoted}")
    if mode & 0o020 and not sticky and status.st_gid not in (0, os.getegid()):
        observed = f"{place} is writable by the group {status.st_gid}"
        yield warn(check, observed, why=_WHY, fix=f"chmod g-w {quoted}")
    if status.st_uid not in (0, os.geteuid()):
        observed = f"{place} belongs to {_name(status.st_uid)}"
        yield warn(check, observed, why=_WHY, fix=f"chown {_name(os.geteuid())} {quoted}")


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
