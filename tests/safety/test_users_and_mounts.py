"""Who Tor is, and what it sees at the paths that root sees: no command loads other files.

systemd gives a service a user (`User=`) and mounts of its own (`PrivateTmp=`, `ProtectHome=`,
`ProtectSystem=`, `BindPaths=`). The mounts are made here with unshare(1), in place of systemd.
"""

import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.evidence import Thing, record
from tests.harness.host import ExitHost
from tests.harness.tor import Tor, wait_until
from tests.safety.relays import USER, unprivileged_tor

THING = Thing.NAMESPACES
UNSHARE = shutil.which("unshare") or ""
pytestmark = [
    pytest.mark.root,
    pytest.mark.tor,
    pytest.mark.skipif(not UNSHARE, reason="unshare is missing"),
]

COMMANDS: list[tuple[str, ...]] = [
    ("init",),
    ("block", "203.0.113.7", "--until", "1d"),
    ("tick",),
    ("apply",),
    ("apply", "--load-foreign"),
    ("lift", "203.0.113.7"),
    ("status", "--check"),
]


@dataclass(frozen=True)
class Who:
    """How Tor becomes its user."""

    torrc: tuple[str, ...] = ()
    defaults: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    from_start: bool = False


USERS = {
    "root": Who(),
    "User in the torrc": Who(torrc=(f"User {USER}",)),
    "User in the defaults-torrc": Who(defaults=(f"User {USER}",)),
    "User on the command line": Who(arguments=("--User", USER)),
    "User= of the unit": Who(from_start=True),
}
MOUNTS = {
    "the same": "",
    "read-only": 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1"',
    "an empty folder, as PrivateTmp makes it": 'cp -a "$1" "$2" && mount -t tmpfs -o mode=755 none'
    ' "$1" && cp -a "$2/." "$1"',
    "another folder, as BindPaths makes it": 'cp -a "$1" "$2" && mount --bind "$2" "$1"',
    "another file": 'cp -a "$1" "$2" && for f in "$1"/*; do test -d "$f" ||'
    ' mount --bind "$2/${f##*/}" "$f"; done',
}
"""What is done to the folder $1 before Tor starts; $2 does not exist yet."""
HARMLESS = ("the same", "read-only")
PLACES = ("fragment", "include", "torrc")
"""The file in whose folder the mount is made."""
QUICK = [
    ("User in the torrc", "an empty folder, as PrivateTmp makes it", "fragment"),
    ("User= of the unit", "read-only", "torrc"),
]


@contextmanager
def running(base: Path, who: Who, name: str, place: str) -> Iterator[ExitHost]:
    """Run a Tor of this user with this mount; its fragment, include and torrc have folders."""
    folders = {one: base / one for one in PLACES}
    for folder in folders.values():
        folder.mkdir()
        folder.chmod(0o755)
    include = folders["include"] / "more.conf"
    include.write_text("Nickname more\n")
    tor = unprivileged_tor(base / "tor", [*who.torrc, f"%include {include}"])
    moved = Moved(tor.name, tor.folder, tor.torrc_text)
    shutil.move(tor.torrc, moved.torrc)
    if who == USERS["root"]:
        for path in (tor.folder, *tor.folder.iterdir()):
            shutil.chown(path, 0, 0)
    moved.defaults = base / "defaults"
    moved.defaults.write_text("".join(f"{line}\n" for line in who.defaults))
    host = ExitHost(base, [moved])
    host.fragment = folders["fragment"] / f"{moved.name}.conf"
    text = host.config.read_text()
    text = text.replace("fragments: exitpol", f"fragments: {host.fragment.parent}")
    host.config.write_text(text)
    if "empty" not in name:
        # exitpol is set up already. Otherwise `init` is the first of the commands.
        host.run("init")
        assert host.fragment.exists()
    script = f'{MOUNTS[name] or ":"} && shift 2 && exec "$@"'
    user = pwd.getpwnam(USER)
    drop = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    moved.process = subprocess.Popen(
        [
            UNSHARE, "--mount", "--propagation", "private", "sh", "-ec", script, "sh",
            str(folders[place]), str(base / "copy"), *(drop if who.from_start else ()),
            *moved.command, *who.arguments,
        ],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    opened = (moved.control_socket, moved.cookie)
    try:
        wait_until(lambda: all(path.exists() for path in opened), what="Tor starts")
        wait_until(moved.has_policy, what="Tor has a policy")
        yield host
    finally:
        moved.stop()


class Moved(Tor):
    """A Tor whose torrc is in a folder without its data."""

    @property
    def torrc(self) -> Path:
        """The configuration file."""
        return self.folder.parent / "torrc" / "torrc"


def lost(host: ExitHost, *, is_hidden: bool) -> list[str]:
    """Run the commands; return what went wrong."""
    found: list[str] = []
    for command in COMMANDS:
        done = host.tick() if command == ("tick",) else host.run(*command)
        what = f"{' '.join(command)}: code {done.code} {done.out} {done.err}"
        if not host.tor.alive:
            return [*found, f"{what}: Tor ended: {host.tor.log()[-300:]}"]
        if done.code == 1 or "Traceback" in done.err:
            found.append(what)
        enforced = host.tor.rejects("203.0.113.7")
        if not is_hidden and done.code not in (0, 3):
            found.append(f"{what}: refused without a reason")
        if command[0] == "block" and "live" in done.out.split() and not enforced:
            found.append(f"{what}: live, but not enforced")
        if command[0] == "block" and not is_hidden and not enforced:
            found.append(f"{what}: not enforced")
        if command[0] == "lift" and "lifted" in done.out.split() and enforced:
            found.append(f"{what}: lifted, but still rejected")
    host.tor.signal(signal.SIGHUP)
    time.sleep(1.2)
    if not host.tor.alive:
        found.append(f"a reload ended Tor: {host.tor.log()[-300:]}")
    return found


@pytest.mark.parametrize(
    ("who", "mount", "place"),
    [
        pytest.param(
            u, m, p, id=f"{u}: {m} over the {p}",
            marks=() if (u, m, p) in QUICK else pytest.mark.slow,
        )
        for u in USERS for m in MOUNTS for p in PLACES
        if m != "the same" or p == "fragment"
    ],
)  # fmt: skip
def test_no_command_loads_files_that_tor_does_not_see(
    open_folder: Path, who: str, mount: str, place: str
) -> None:
    """Tor lives, whatever it sees; where it sees what root sees, blocks are enforced."""
    with running(open_folder, USERS[who], mount, place) as host:
        assert lost(host, is_hidden=mount not in HARMLESS) == []
    record(THING, len(COMMANDS))
