"""Nothing is sent to a control port before the kernel says who listens there."""

import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from exitpolicy.core.errors import TorUnreachableError
from exitpolicy.storage.config import Relay
from exitpolicy.tor import cookie_file, peer, process
from exitpolicy.tor.control import connect
from exitpolicy.tor.declared import declared
from tests.harness.hostile_control import BEHAVIOURS, HostileControl
from tests.harness.tor import wait_until

pytestmark = pytest.mark.root

NOBODY, STRANGER = 65534, 12345

# It answers as a Tor does that asks for nothing, and writes down all that it is sent.
FAKE = textwrap.dedent("""\
    import os, socket, sys
    address, proof, uid = sys.argv[1:4]
    os.setgroups([])
    os.setgid(int(uid))
    os.setuid(int(uid))
    if address.startswith("/"):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(address)
    else:
        listener = socket.create_server(("127.0.0.1", int(address)))
    listener.listen()
    open(proof, "w").close()
    while True:
        connection, _ = listener.accept()
        for line in connection.makefile("rb"):
            with open(proof, "ab") as file:
                file.write(line)
            if line.startswith(b"PROTOCOLINFO"):
                connection.sendall(b'250-PROTOCOLINFO 1\\r\\n250-AUTH METHODS=NULL\\r\\n'
                                   b'250-VERSION Tor="0.4.9.11"\\r\\n')
            connection.sendall(b"250 OK\\r\\n")
    """)


@contextmanager
def fake(folder: Path, address: str, *more: str) -> Iterator[Path]:
    """Run a fake Tor as the user nobody; yield the file that records what it receives."""
    folder.chmod(0o777)
    for part in folder.parents:
        if not part.stat().st_mode & 0o001:
            part.chmod(part.stat().st_mode | 0o001)
    proof = folder / "proof"
    command = [sys.executable, "-c", FAKE, address, str(proof), str(NOBODY), *more]
    with subprocess.Popen(command) as process:
        try:
            wait_until(proof.exists)
            yield proof
        finally:
            process.kill()


def relay_of(folder: Path, control: str, torrc: str, **more: object) -> Relay:
    """Return a relay with a torrc."""
    (folder / "torrc").write_text(torrc)
    return Relay("r", folder / "torrc", control, **more)  # type: ignore[arg-type]


def free_port() -> int:
    """Return a port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.mark.parametrize("kind", ["unix", "tcp"])
@pytest.mark.parametrize(
    ("torrc", "expected"),
    [
        ("User root\n", "Tor runs as root"),
        ("ExitRelay 1\n", "does not say as whom Tor runs"),
        ("DataDirectory {folder}/data\n", "Tor runs as root"),
    ],
)
def test_stranger_is_sent_nothing(tmp_path: Path, kind: str, torrc: str, expected: str) -> None:
    """The error names the other user, and the process receives no byte."""
    (tmp_path / "data").mkdir(mode=0o700)
    address = f"{tmp_path}/socket" if kind == "unix" else str(free_port())
    control = address if kind == "unix" else f"127.0.0.1:{address}"
    relay = relay_of(tmp_path, control, torrc.format(folder=tmp_path))
    with fake(tmp_path, address) as proof:
        with (
            pytest.raises(TorUnreachableError, match="user nobody listens at") as caught,
            connect(relay),
        ):
            pass
        assert expected in str(caught.value)
        assert "nothing was sent" in str(caught.value)
        assert "user: nobody" in (caught.value.hint or "")
        assert proof.read_bytes() == b""


@pytest.mark.parametrize("kind", ["unix", "tcp"])
@pytest.mark.parametrize("known_by", ["config", "torrc", "data"])
def test_user_of_tor_is_talked_to(tmp_path: Path, kind: str, known_by: str) -> None:
    """The user in the config, in the torrc, or the owner of the data directory is Tor's."""
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    address = f"{tmp_path}/socket" if kind == "unix" else str(free_port())
    control = address if kind == "unix" else f"127.0.0.1:{address}"
    more: dict[str, object] = {}
    torrc = "ExitRelay 1\n"
    if known_by == "config":
        more = {"user": "nobody"}
    elif known_by == "torrc":
        torrc = 'User "nobody"  # as we like\n'
    else:
        os.chown(data, NOBODY, NOBODY)
        torrc = f"DataDirectory {data}\n"
    relay = relay_of(tmp_path, control, torrc, **more)
    with fake(tmp_path, address) as proof:
        with connect(relay) as talk:
            assert talk.peer.uid == NOBODY
        assert proof.read_bytes().startswith(b"PROTOCOLINFO 1")


def test_user_is_not_taken_from_the_arguments_of_the_listener(tmp_path: Path) -> None:
    """A process whose arguments name a torrc with `User nobody` is still a stranger."""
    (tmp_path / "other.conf").write_text("User nobody\n")
    relay = relay_of(tmp_path, f"{tmp_path}/socket", "ExitRelay 1\n")
    names = ("--defaults-torrc", f"{tmp_path}/other.conf")
    with fake(tmp_path, f"{tmp_path}/socket", *names) as proof:
        with pytest.raises(TorUnreachableError, match="nobody listens"), connect(relay):
            pass
        assert proof.read_bytes() == b""


def test_owner_of_a_tcp_connection_is_who_accepted_it() -> None:
    """Until the connection is accepted, its other end has no owner; it is not taken for root."""
    server = socket.create_server(("127.0.0.1", 0))
    with server, socket.create_connection(server.getsockname()) as client:
        with pytest.raises(peer.PeerUnknownError, match="does not answer"):
            peer.of_connection(client, 0.3)
        accepted, _ = server.accept()
        with accepted:
            assert peer.of_connection(client, 1).uid == os.geteuid()


def test_listener_for_both_families_is_found() -> None:
    """A connection to 127.0.0.1, accepted by a listener at ::, is in the IPv6 table."""
    listener = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    with listener, socket.create_connection(("127.0.0.1", listener.getsockname()[1])) as client:
        accepted, _ = listener.accept()
        with accepted:
            assert peer.of_connection(client, 1).uid == os.geteuid()


def test_path_of_the_cookie_is_never_the_peers(tmp_path: Path) -> None:
    """A peer that names another file as its cookie receives neither it nor a proof."""
    secret = tmp_path / "secret"
    secret.write_bytes(os.urandom(32))
    relay = relay_of(tmp_path, f"{tmp_path}/socket", f"CookieAuthFile {tmp_path}/cookie\n")
    for method in ("COOKIE", "SAFECOOKIE", "COOKIE,SAFECOOKIE"):
        auth = f'{method} COOKIEFILE="{secret}"'
        behaviour = BEHAVIOURS["never answers"]
        with (
            HostileControl(behaviour, "AUTHENTICATE", f"{tmp_path}/socket", "", auth),
            pytest.raises(TorUnreachableError, match="does not let us in") as caught,
            connect(relay),
        ):
            pass
        assert "secret" not in str(caught.value)
        (tmp_path / "socket").unlink()


def test_cookie_of_another_user_or_behind_a_link_is_not_read(tmp_path: Path) -> None:
    """Only a regular file of 32 bytes, of root or of Tor's user, is a cookie."""
    path = tmp_path / "cookie"
    path.write_bytes(bytes(range(32)))
    assert cookie_file.read_all([tmp_path / "missing", path], {0}) == [bytes(range(32))]
    os.chown(path, STRANGER, STRANGER)
    with pytest.raises(cookie_file.CookieError, match="belongs to user 12345"):
        cookie_file.read_all([path], {0, NOBODY})
    assert cookie_file.read_all([path], {0, STRANGER}) == [bytes(range(32))]
    link = tmp_path / "link"
    link.symlink_to(path)
    with pytest.raises(cookie_file.CookieError, match="may not be read"):
        cookie_file.read_all([link], {0, STRANGER})
    path.write_bytes(bytes(33))
    with pytest.raises(cookie_file.CookieError, match="wrong size"):
        cookie_file.read_all([path], {0, STRANGER})


def test_files_say_who_tor_is_and_where_its_cookie_is(tmp_path: Path) -> None:
    """The torrc overrides the defaults-torrc; includes are followed; quotes are read."""
    defaults = tmp_path / "defaults"
    defaults.write_text(f"User nobody\nDataDirectory {tmp_path}/one\n")
    (tmp_path / "more").write_text(f'CookieAuthFile "{tmp_path}/a b"\n')
    relay = relay_of(tmp_path, "socket", f"%include {tmp_path}/more\n", defaults_torrc=defaults)
    assert declared(relay).uid == NOBODY
    assert declared(relay).cookies[:1] == (tmp_path / "a b",)
    relay = relay_of(tmp_path, "socket", "User root\n", defaults_torrc=defaults)
    assert declared(relay).uid == 0
    assert declared(relay).cookies == (tmp_path / "one" / "control_auth_cookie",)


def test_a_process_that_ends_while_it_is_read_has_no_sockets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A Tor may be restarted between the opening of its folder in /proc and its reading."""
    opened = os.open
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:

        def then_ended(path: str, flags: int) -> int:
            folder = opened(path, flags)
            child.kill()
            child.wait()
            return folder

        monkeypatch.setattr(os, "open", then_ended)
        assert process.socket_inodes(child.pid) == frozenset()
