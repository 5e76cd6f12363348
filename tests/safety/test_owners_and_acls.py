"""Owner, mode and ACL of each file that exitpol replaces: they are kept, and Tor can read it."""

import grp
import os
import pwd
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.evidence import Thing, record
from tests.harness.host import ExitHost
from tests.safety.relays import USER, unprivileged_host

THING = Thing.ATTRIBUTES
SETFACL = shutil.which("setfacl") or ""
pytestmark = [
    pytest.mark.root,
    pytest.mark.tor,
    pytest.mark.skipif(not SETFACL, reason="setfacl is missing"),
]

OTHER = "daemon"
GROUP = grp.getgrgid(pwd.getpwnam(USER).pw_gid).gr_name
COMMANDS: list[tuple[str, ...]] = [
    ("block", "203.0.113.9", "--until", "1d"),
    ("renew", "203.0.113.7", "--until", "2d"),
    ("lift", "203.0.113.8"),
    ("tick",),
    ("apply",),
    ("init",),
]


def acl(*entries: str) -> Callable[[Path], None]:
    """Return a function that adds entries to the ACL of a file."""
    return lambda path: _setfacl("--modify", ",".join(entries), str(path))


def _setfacl(*arguments: str) -> None:
    subprocess.run([SETFACL, *arguments], check=True)


def mode(bits: int, owner: str = "root", group: str = "root") -> Callable[[Path], None]:
    """Return a function that sets owner and mode of a file."""

    def change(path: Path) -> None:
        shutil.chown(path, owner, group)
        path.chmod(bits)

    return change


def both(*changes: Callable[[Path], None]) -> Callable[[Path], None]:
    """Return a function that makes several changes."""

    def change(path: Path) -> None:
        for one in changes:
            one(path)

    return change


def folder_default(path: Path) -> None:
    """Let the folder give an ACL to new files; the present file has none."""
    _setfacl("--modify", f"d:u:{OTHER}:rwx,d:g:{OTHER}:rwx,d:o::-", str(path.parent))


READABLE: dict[str, Callable[[Path], None]] = {
    "0644 root": mode(0o644),
    "0644 of another user": mode(0o644, OTHER, OTHER),
    "0640 with Tor's group": mode(0o640, "root", GROUP),
    "0600 of Tor's user": mode(0o600, USER, GROUP),
    "0444": mode(0o444),
    "0664 with another group": mode(0o664, "root", OTHER),
    "only by a named user": both(mode(0o600), acl(f"u:{USER}:r")),
    "only by a named group": both(mode(0o600), acl(f"g:{GROUP}:r")),
    "named user, narrow mask": both(mode(0o600), acl(f"u:{USER}:rwx", "m::r")),
    "another named user": acl(f"u:{OTHER}:rw"),
    "another named group": acl(f"g:{OTHER}:rw"),
    "named users, another owner": both(mode(0o600, OTHER, OTHER), acl(f"u:{USER}:r", "u:bin:rw")),
    "default ACL of the folder": folder_default,
}
"""What an operator may have set; Tor's user can read each."""

FILES: dict[str, Callable[[ExitHost], Path]] = {
    "torrc": lambda host: host.tor.torrc,
    "defaults-torrc": lambda host: host.folder / "tor" / "defaults",
    "include": lambda host: host.folder / "tor" / "more",
    "fragment": lambda host: host.fragment,
    "config": lambda host: host.config,
    "ledger": lambda host: host.ledger,
    "history": lambda host: host.ledger.with_name("history.jsonl"),
    "state": lambda host: host.state,
    "own policies": lambda host: host.ledger.with_name("own_policies.json"),
}
QUICK = ("named users, another owner",)


@dataclass(frozen=True)
class Attributes:
    """Owner, mode and ACL of a file."""

    uid: int
    gid: int
    mode: str
    acl: bytes

    @classmethod
    def of(cls, path: Path) -> "Attributes":
        """Return those of a file."""
        found = path.stat()
        try:
            entries = os.getxattr(path, "system.posix_acl_access")
        except OSError:
            entries = b""
        return cls(found.st_uid, found.st_gid, oct(stat.S_IMODE(found.st_mode)), entries)


@contextmanager
def running(base: Path) -> Iterator[ExitHost]:
    """Run a Tor with a defaults-torrc and another include; exitpol is set up for it."""
    host = unprivileged_host(base)
    host.tor.stop()
    host.tor.defaults = base / "tor" / "defaults"
    host.tor.defaults.write_text("ContactInfo defaults\n")
    (base / "tor" / "more").write_text("Nickname more\n")
    host.tor.add(f"%include {base}/tor/more")
    # The defaults-torrc is named on the command line, and exitpol finds it there.
    host.tor.start()
    try:
        yield host
    finally:
        host.tor.stop()


def harm(file: str, path: Path, before: Attributes) -> str | None:
    """Return what a command took from a file."""
    after = Attributes.of(path)
    if file != "fragment":
        return None if after == before else f"{file}: {after}, was {before}"
    # Every Tor must be able to read it. Its owner, and the entries of its ACL, are kept.
    if (after.uid, after.gid) != (before.uid, before.gid):
        return f"owner of the fragment: {after}, was {before}"
    return "the ACL of the fragment is gone" if before.acl and not after.acl else None


def lost(host: ExitHost, paths: dict[str, Path]) -> list[str]:
    """Run the commands; return what they took from the files, or from Tor."""
    before = {file: Attributes.of(path) for file, path in paths.items()}
    found = []
    for command in COMMANDS:
        done = host.tick() if command == ("tick",) else host.run(*command)
        what = f"{' '.join(command)}: {done.err}"
        harms = [harm(file, path, before[file]) for file, path in paths.items()]
        found += [f"{what}: {one}" for one in harms if one]
        if done.code != 0:
            found.append(f"{what}: code {done.code}")
        if not host.tor.alive:
            return [*found, f"{what}: Tor ended: {host.tor.log()[-300:]}"]
    host.tor.signal(signal.SIGHUP)
    time.sleep(1.2)
    if not host.tor.alive:
        found.append(f"a reload ended Tor: {host.tor.log()[-300:]}")
    elif not host.tor.rejects("203.0.113.9") or host.tor.rejects("203.0.113.8"):
        found.append("what was blocked and lifted is not what Tor enforces")
    return found


@pytest.mark.parametrize(
    "kind",
    [pytest.param(k, marks=() if k in QUICK else pytest.mark.slow, id=k) for k in READABLE],
)
def test_attributes_are_kept_and_tor_reads_on(open_folder: Path, kind: str) -> None:
    """Commands leave owner, mode and ACL of each file as the operator has set them.

    Before that, `init` writes the include into a torrc with these attributes.
    """
    with running(open_folder) as host:
        READABLE[kind](host.tor.torrc)
        before = Attributes.of(host.tor.torrc)
        done = host.run("init")
        assert done.code == 0, done
        assert Attributes.of(host.tor.torrc) == before
        assert f"%include {host.fragment}" in host.tor.torrc.read_text()
        blocks = ("block", "203.0.113.7", "203.0.113.8", "--until", "1d")
        assert host.run(*blocks).code == 0
        assert host.tick().code == 0
        paths = {file: find(host) for file, find in FILES.items()}
        for path in paths.values():
            READABLE[kind](path)
        assert lost(host, paths) == []
    record(THING, len(COMMANDS) * len(FILES))
