"""A Tor in a container: its own mounts, processes, network and user names; its files are shared.

The container is made with unshare(1) and chroot(1), which is what a container engine does with the
volumes and the user of a compose file. Its paths are the same inside and outside.
"""

import os
import pwd
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.harness.host import ExitHost
from tests.harness.tor import TOR, Tor

pytestmark = [pytest.mark.tor, pytest.mark.root]

USER = "debian-tor"
"""The user on the host with the number of Tor's user in the container."""

START = """\
set -e
root=$1 files=$2 user=$3
shift 3
mount --make-rprivate /
mount --bind "$root" "$root"
mount --bind /usr "$root/usr"
mount --bind "$files" "$root$files"
mount -t proc proc "$root/proc"
ip link set lo up
exec chroot --userspec="$user" "$root" "$@"
"""
"""Enters the container: its root folder, that of the shared files, the user, then the command."""


@dataclass
class ContainedTor(Tor):
    """A Tor that sees its own files and nothing else of the host but its programs."""

    user: str = "0:0"
    """The numbers of the user and the group of the container's first process."""

    @property
    def root(self) -> Path:
        """The root folder of the container."""
        return self.folder.with_name("root")

    @property
    def command(self) -> list[str]:
        """The command that makes the container and starts Tor as its first process."""
        started = [TOR, "-f", str(self.torrc), "--defaults-torrc", str(self.defaults), "--hush"]
        names = ["unshare", "--mount", "--pid", "--net", "--fork"]
        return [
            *names,
            "sh",
            "-c",
            START,
            "sh",
            str(self.root),
            str(self.folder),
            self.user,
            *started,
        ]

    def stop(self) -> None:
        """Kill the container's first process: it outlives unshare, as it has another user."""
        if self.process is not None:
            pid = self.process.pid
            for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
                os.kill(int(child), signal.SIGKILL)
        super().stop()

    def prepare(self) -> None:
        """Make the root folder, and the files that the host shares with the container."""
        super().prepare()
        switch = "User tor\n" if self.user == "0:0" else ""
        self.defaults.write_text(f"ContactInfo proof@example.org\n{switch}")
        number = pwd.getpwnam(USER)
        for path in ("etc", "proc", "usr", str(self.folder).lstrip("/")):
            (self.root / path).mkdir(parents=True)
        for name in ("bin", "sbin", "lib", "lib64"):
            if (link := Path("/", name)).is_symlink():
                (self.root / name).symlink_to(link.readlink())
        ids = f"{number.pw_uid}:{number.pw_gid}"
        (self.root / "etc/passwd").write_text(f"tor:x:{ids}::/var/lib/tor:/bin/false\n")
        (self.root / "etc/group").write_text(f"tor:x:{number.pw_gid}:\n")
        # The files and folders in which Tor writes are its user's, the others root's.
        for name in ("log", "pid"):
            (self.folder / name).touch()
        for name in ("data", "control", "log", "pid"):
            shutil.chown(self.folder / name, number.pw_uid, number.pw_gid)
        self.folder.chmod(0o755)


@pytest.fixture(params=["user of compose", "option User"])
def host(request: pytest.FixtureRequest, open_folder: Path) -> Iterator[ExitHost]:
    """Give a host whose one relay runs in a container, and is set up as the guide says."""
    folder = open_folder / "tor"
    tor = ContainedTor.alone(folder, ["ExitRelay 1", "ExitPolicyRejectPrivate 1"], "exit1")
    if request.param == "user of compose":
        number = pwd.getpwnam(USER)
        tor.user = f"{number.pw_uid}:{number.pw_gid}"
    tor.defaults = folder / "defaults"
    tor.prepare()
    host = ExitHost(open_folder, [tor])
    fragments = folder / "exitpol"
    fragments.mkdir(mode=0o755)
    host.fragment = fragments / "exit1.conf"
    host.config.write_text(
        f"ledger: {open_folder}/var/blocks.yaml\nfragments: {fragments}\nrelays:\n"
        f'- {{name: exit1, torrc: "{tor.torrc}", control: "{tor.control_socket}",'
        f' user: {USER}, tor: "{TOR}", defaults_torrc: "{tor.defaults}"}}\n'
    )
    try:
        tor.start()
        yield host
    finally:
        tor.stop()


def test_blocks_reach_a_tor_in_a_container(host: ExitHost) -> None:
    """Set up, block, tick, lift and the checks of health work as on the host itself."""
    done = host.run("init")
    assert done.code == 0, done
    done = host.run("block", "203.0.113.7", "--until", "1d")
    assert (done.code, done.out.split()[1]) == (0, "live"), done
    assert host.tor.rejects("203.0.113.7")
    assert host.tick().code == 0
    assert host.run("check", "203.0.113.7").code == 0
    findings = host.run("doctor", "--json").json["findings"]
    wrong = {f["check"]: f["observed"] for f in findings if f["severity"] != "ok"}
    # There is no timer, and the files are not below /etc/tor.
    assert not wrong.keys() - {"timer", "exit1: AppArmor"}, wrong
    assert host.run("lift", "203.0.113.7").code == 0
    assert not host.tor.rejects("203.0.113.7")
    assert host.tor.alive


@pytest.mark.parametrize("host", ["user of compose"], indirect=True)
def test_what_only_the_host_sees_is_never_loaded(host: ExitHost) -> None:
    """An include outside of the shared files exists on the host only: a reload would end Tor."""
    assert host.run("init").code == 0
    outside = host.folder / "outside.conf"
    outside.write_text("Nickname elsewhere\n")
    text = host.tor.torrc.read_text()
    host.tor.torrc.write_text(f"%include {outside}\n{text}")
    done = host.run("block", "203.0.113.7", "--until", "1d")
    assert (done.code, str(outside) in done.err) == (5, True), done
    assert host.tor.alive
    assert "Received reload signal" not in host.tor.log()
    host.tor.torrc.write_text(text)
    assert host.run("block", "203.0.113.7", "--until", "1d").code == 0
    assert host.tor.rejects("203.0.113.7")
