"""Files are checked with the rights and the mounts of the relay's Tor, not with root's."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from exitpolicy.policy.reconcile import View
from exitpolicy.policy.rule import parse_rule
from exitpolicy.storage.config import Relay
from exitpolicy.tor import child, fragment, inspect, invocation, users, verify
from exitpolicy.tor.mounts import Mounts
from exitpolicy.tor.peer import Peer
from tests.harness.host import ExitHost, HostMaker
from tests.harness.tor import Tor, wait_until

pytestmark = [pytest.mark.root, pytest.mark.tor]

USER = "nobody"
UNSHARE = shutil.which("unshare") or ""
SETFACL = shutil.which("setfacl") or ""
RULES = parse_rule("reject 203.0.113.7:*")


def openable(folder: Path) -> None:
    """Let every user into a folder."""
    for part in (folder, *folder.parents):
        mode = part.stat().st_mode
        if not mode & 0o001:
            part.chmod(mode & 0o7777 | 0o011)


class UserTor(Tor):
    """A Tor that runs as another user than root, by its torrc or from its start on."""

    def prepare(self) -> None:
        """Write the files; what Tor writes belongs to its user."""
        super().prepare()
        openable(self.folder)
        owner = pwd.getpwnam(USER)
        for name in ("log", "pid"):
            (self.folder / name).touch()
        for name in ("data", "control", "log", "pid"):
            os.chown(self.folder / name, owner.pw_uid, owner.pw_gid)

    def ended(self) -> bool:
        """Tell whether the process ends within a second."""
        assert self.process is not None
        try:
            return self.process.wait(1) is not None
        except subprocess.TimeoutExpired:
            return False


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[tuple[UserTor, Relay]]:
    """Give a running Tor of another user, and the relay with its fragment."""
    path = tmp_path / "conf" / "exitpol.conf"
    path.parent.mkdir()
    path.write_text(fragment.render(()))
    tor = UserTor.alone(
        tmp_path / "tor",
        ["ExitRelay 1", f"User {USER}", f"%include {path}", f"%include {tmp_path}/tor/more"],
    )
    tor.prepare()
    (tor.folder / "more").write_text("# more\n")
    tor.start()
    try:
        yield tor, tor.relay._replace(fragment=path)
    finally:
        tor.stop()


def seen(relay: Relay, *, staged: bool = False) -> View:
    """Inspect a relay with a block as candidate, in a file if `staged`."""
    text = fragment.render(RULES)
    content = fragment.stage(relay.fragment, text) if staged else text
    return inspect.inspect_relay(relay, inspect.Candidate(relay.fragment, content, RULES))


Change = Callable[[UserTor, Relay], Path]


def close_torrc(tor: UserTor, _relay: Relay) -> Path:
    """Let only root read the torrc."""
    tor.torrc.chmod(0o600)
    return tor.torrc


def close_include(tor: UserTor, _relay: Relay) -> Path:
    """Let only root read a file that the torrc includes."""
    (tor.folder / "more").chmod(0o600)
    return tor.folder / "more"


def close_folder_of_fragment(_tor: UserTor, relay: Relay) -> Path:
    """Let only root enter the folder of the fragment."""
    relay.fragment.parent.chmod(0o700)
    return relay.fragment.parent


def close_folder_of_torrc(tor: UserTor, _relay: Relay) -> Path:
    """Let only root enter the folder of the torrc."""
    tor.folder.chmod(0o700)
    return tor.folder


@pytest.mark.parametrize(
    "change", [close_torrc, close_include, close_folder_of_fragment, close_folder_of_torrc]
)
@pytest.mark.parametrize("staged", [False, True])
def test_what_only_root_can_read_is_refused(
    relay: tuple[UserTor, Relay], change: Change, *, staged: bool
) -> None:
    """The file is named; once Tor's user can read it, the files are accepted."""
    tor, known = relay
    assert seen(known, staged=staged).broken is None
    closed = change(tor, known)
    mode = closed.stat().st_mode
    view = seen(known, staged=staged)
    assert view.broken is not None
    assert str(closed) in f"{view.broken} {view.broken.hint}"
    assert "Tor's user nobody" in str(view.broken)
    closed.chmod(mode | 0o055)
    assert seen(known, staged=staged).broken is None


def test_defaults_that_only_root_can_read_are_refused(tmp_path: Path) -> None:
    """At a reload Tor would continue without these options."""
    tor = UserTor.alone(tmp_path / "tor", ["ExitRelay 1", f"User {USER}"], "default")
    tor.defaults = tmp_path / "tor" / "defaults"
    tor.prepare()
    tor.defaults.write_text("ContactInfo defaults@example.org\n")
    tor.start()
    try:
        host = ExitHost(tmp_path, [tor])
        assert host.run("init").code == 0
        tor.defaults.chmod(0o600)
        done = host.run("block", "203.0.113.7", "--until", "1d")
        assert (done.code, str(tor.defaults) in done.err) == (5, True), done
        assert "lose the options" in done.err
        tor.defaults.chmod(0o644)
        assert host.run("block", "203.0.113.7", "--until", "1d").code == 0
    finally:
        tor.stop()


def test_reload_of_what_only_root_can_read_ends_tor(relay: tuple[UserTor, Relay]) -> None:
    """Tor does exit in the case that is refused, and verification as root accepts it."""
    tor, known = relay
    (tor.folder / "more").write_text("ExitPolicy reject *:25\n")
    close_include(tor, known)
    assert tor.verifies().returncode == 0
    assert seen(known).broken is not None
    with tor.control() as control, pytest.raises(Exception, match="closed the control"):
        control.ask("SIGNAL RELOAD")
    assert tor.ended()


def test_fragment_that_only_root_can_read_is_staged_for_all(relay: tuple[UserTor, Relay]) -> None:
    """The candidate is readable by all, whatever the mode of the fragment."""
    tor, known = relay
    assert fragment.is_public(known.fragment)
    known.fragment.chmod(0o600)
    assert not fragment.is_public(known.fragment)
    assert seen(known, staged=True).broken is None
    present = inspect.Candidate(known.fragment, known.fragment, ())
    assert "cannot read" in str(inspect.inspect_relay(known, present).broken)
    assert tor.alive


def test_tor_without_a_user_line_is_known_by_its_data(tmp_path: Path) -> None:
    """With `User=` in a unit, the owner of the data directory is Tor's user."""
    tor = UserTor.alone(tmp_path / "tor", ["ExitRelay 1"], "default")
    tor.prepare()
    owner = users.by_name(USER)
    assert owner is not None
    tor.process = subprocess.Popen(
        [*tor.command, "--quiet"], user=owner.uid, group=owner.gid, extra_groups=[]
    )
    try:
        wait_until(lambda: tor.cookie.exists() and tor.has_policy())
        host = ExitHost(tmp_path, [tor])
        assert host.run("init").code == 0
        done = host.run("block", "203.0.113.7", "--until", "1d")
        assert (done.code, done.err) == (0, "")
        assert "live" in done.out
    finally:
        tor.stop()


def test_verification_runs_as_the_user_of_the_relay(relay: tuple[UserTor, Relay]) -> None:
    """A running Tor's user is known from its process, otherwise from its files."""
    tor, known = relay
    assert tor.process is not None
    uid = pwd.getpwnam(USER).pw_uid
    for peer in (Peer(uid, tor.process.pid), None):
        found = invocation.of_relay(known, peer)
        assert found.user is not None
        assert found.user.uid == uid
        assert found.drops_user
    who = child.run_as(users.by_uid(uid), ["/usr/bin/id", "-u"], "", 10)
    assert who.stdout == f"{uid}\n"


def deny(path: Path) -> None:
    """Take the rights of Tor's user away with an access control list."""
    subprocess.run([SETFACL, "--modify", f"u:{USER}:-", str(path)], check=True)


def give_away(path: Path) -> None:
    """Let another user's group read it, and nobody else."""
    path.chmod(0o440)
    os.chown(path, 4711, 4711)


def put_another(path: Path) -> None:
    """Put a closed file in its place."""
    path.unlink()
    path.touch(0o600)


def put_link(path: Path) -> None:
    """Put a link to a closed file in its place."""
    other = path.with_name("other")
    other.touch(0o600)
    path.unlink()
    path.symlink_to(other)


CLOSED: dict[str, Callable[[Path], None]] = {
    "mode": lambda path: path.chmod(0o600),
    "owner and mode": give_away,
    "folder": lambda path: path.parent.chmod(0o700),
    "folder above": lambda path: path.parent.parent.chmod(0o700),
    "access control list": deny,
    "list of the folder": lambda path: deny(path.parent),
    "another file": put_another,
    "link": put_link,
}


@pytest.mark.skipif(not SETFACL, reason="acl is missing")
@pytest.mark.parametrize("way", CLOSED)
def test_a_user_is_tried_again_when_rights_have_changed(
    tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One program answers as long as nothing changed; after any change another one is run."""
    path = tmp_path / "folder" / "inner" / "torrc"
    path.parent.mkdir(parents=True)
    path.touch()
    openable(path.parent)
    runs: list[object] = []

    def counted(*arguments: object, **named: object) -> object:
        runs.append(arguments)
        return child.run_as(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(verify, "run_as", counted)
    user = users.by_name(USER)
    assert user is not None
    names = [str(path), f"{path.parent}/"]
    assert verify.unreadable(user, names) == verify.unreadable(user, names) == []
    assert len(runs) == 1
    CLOSED[way](path)
    assert verify.unreadable(user, names)
    assert len(runs) == 2
    assert verify.unreadable(user, names), "what cannot be read is not remembered"


@pytest.mark.skipif(not UNSHARE, reason="util-linux is missing")
def test_file_behind_a_mount_of_the_service_is_refused(tmp_path: Path) -> None:
    """With PrivateTmp or ProtectHome, Tor does not read the file that was verified."""
    masked = tmp_path / "masked"
    masked.mkdir()
    path = masked / "exitpol.conf"
    path.write_text(fragment.render(()))
    tor = Tor.alone(tmp_path / "tor", ["ExitRelay 1", f"%include {path}"])
    tor.prepare()
    script = 'mount -t tmpfs none "$1" && : > "$2" && shift 2 && exec "$@"'
    tor.process = subprocess.Popen(
        [UNSHARE, "--mount", "sh", "-c", script, "sh", str(masked), str(path), *tor.command]
    )
    try:
        wait_until(lambda: tor.cookie.exists() and tor.has_policy())
        known = tor.relay._replace(fragment=path)
        broken = seen(known).broken
        assert broken is not None
        assert f"{path} is not the file that Tor sees there" in str(broken)
        for outside in (tmp_path / "other.conf", Path("/etc/tor/exitpol.conf")):
            assert inspect.hidden_from_tor(known, outside) is None
        assert inspect.hidden_from_tor(known, masked / "new.conf") is not None
    finally:
        tor.stop()


MOUNTS = b"""\
20 1 8:1 / / rw - ext4 /dev/sda1 rw
21 20 0:5 / /proc rw - proc proc rw
22 20 8:1 /etc/tor /etc/tor ro - ext4 /dev/sda1 rw
23 20 8:1 /tmp/private-x/tmp /tmp rw - ext4 /dev/sda1 rw
24 20 0:30 / /home ro - tmpfs tmpfs ro
25 24 0:31 / /home ro - tmpfs tmpfs ro
26 20 8:2 / /srv/with\\040blank rw - ext4 /dev/sda2 rw
27 20 0:32 / /srv rw - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("/", ("8:1", "/")),
        ("/etc/passwd", ("8:1", "/etc/passwd")),
        ("/etc/tor/torrc", ("8:1", "/etc/tor/torrc")),
        ("/tmp/torrc", ("8:1", "/tmp/private-x/tmp/torrc")),
        ("/home/a/torrc", ("0:31", "/a/torrc")),
        ("/srv/x", ("0:32", "/x")),
        ("/srv/with blank/x", ("0:32", "/with blank/x")),
    ],
)
def test_mounts_are_read_as_the_kernel_follows_them(path: str, where: tuple[str, str]) -> None:
    """A bind mount shows the same file; a later mount hides the one below it."""
    assert Mounts(MOUNTS).locate(path) == where


def test_closed_fragment_is_reported_and_opened_again(make_host: HostMaker) -> None:
    """If a script closes the fragment, the next apply opens it again."""
    host = make_host()
    assert host.run("block", "203.0.113.7", "--until", "1d").code == 0
    host.fragment.chmod(0o600)
    assert host.run("status", "--check").code == 3
    assert host.run("apply").code == 0
    assert host.fragment.stat().st_mode & 0o777 == 0o644
    assert host.run("status", "--check").code == 0


def test_only_the_operator_loads_what_he_has_not_loaded(make_host: HostMaker) -> None:
    """A block waits behind another change of the torrc, a lift too; then both are enforced."""
    host = make_host()
    host.tor.add("Nickname other")
    done = host.run("block", "203.0.113.7", "--until", "1d")
    assert done.code == 3
    assert "pending" in done.out
    assert "says Nickname other, and Tor runs Nickname alone" in done.err
    assert not host.tor.rejects("203.0.113.7")
    assert host.run("apply", "--load-foreign").code == 0
    assert host.tor.rejects("203.0.113.7")
    with host.tor.control() as control:
        assert control.conf("Nickname") == ["other"]
    assert host.tor.alive
