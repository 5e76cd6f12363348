"""Relays of a host: where Debian puts their torrcs, and what Tor reads in these."""

import os
import subprocess
from pathlib import Path

import pytest

from exitpolicy.core.errors import InvalidFileError
from exitpolicy.storage.config import Relay
from exitpolicy.tor import discovery, layout
from tests.harness.tor import TOR

DEBIAN = "etc/tor/torrc"
INSTANCES = "etc/tor/instances"
PORT = "ORPort 9001\n"


def host(root: Path, **files: str) -> None:
    """Put files below a root; `default`, `defaults` and `template` stand for Debian's."""
    usual = {
        "default": DEBIAN,
        "defaults": "usr/share/tor/tor-service-defaults-torrc",
        "template": "usr/share/tor/tor-service-defaults-torrc-instances",
    }
    for name, text in files.items():
        path = root / usual.get(name, f"{INSTANCES}/{name}/torrc")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_a_torrc_with_an_orport_is_a_relay_by_its_place(tmp_path: Path) -> None:
    """Debian's default comes first, then its instances by name, with Debian's sockets."""
    host(tmp_path, default=PORT, b="orport 0\nORPort 9002\n", a=PORT)
    assert list(layout.relays(tmp_path)) == [
        Relay("default", tmp_path / DEBIAN, str(tmp_path / "run/tor/control")),
        Relay("a", tmp_path / INSTANCES / "a/torrc", str(tmp_path / "run/tor-instances/a/control")),
        Relay("b", tmp_path / INSTANCES / "b/torrc", str(tmp_path / "run/tor-instances/b/control")),
    ]


def test_what_opens_no_orport_is_no_relay(tmp_path: Path) -> None:
    """Debian's torrc as it is shipped, and an instance as tor-instance-create makes it."""
    host(tmp_path, default="## ORPort 9001\n", a="+SocksPort auto\n", b="ORPort 0\n")
    (tmp_path / INSTANCES / "empty").mkdir()
    (tmp_path / INSTANCES / "README").touch()
    assert layout.relays(tmp_path) == ()
    assert [found.name for found in layout.candidates(tmp_path)] == ["default", "a", "b"]


def test_a_folder_in_place_of_a_torrc_is_no_relay(tmp_path: Path) -> None:
    """Only files are torrcs."""
    (tmp_path / DEBIAN).mkdir(parents=True)
    (tmp_path / "etc/tor/instances").touch()
    assert layout.candidates(tmp_path) == ()


def test_a_relay_that_appeared_later_is_found_without_tor(tmp_path: Path) -> None:
    """It is compared with the torrcs that are known, links resolved."""
    host(tmp_path, default=PORT, a=PORT)
    (tmp_path / "link").symlink_to(tmp_path / DEBIAN)
    new = layout.new_relays([tmp_path / "link"], tmp_path)
    assert [relay.name for relay in new] == ["a"]


def test_each_relay_has_the_defaults_of_its_unit(tmp_path: Path) -> None:
    """The default one has the package's, an instance the file that its unit writes."""
    host(tmp_path, default=PORT, defaults="", b=PORT)
    written = tmp_path / "run/tor-instances/b.defaults"
    written.parent.mkdir(parents=True)
    written.touch()
    relays = layout.relays(tmp_path)
    assert [layout.defaults_torrc(relay, tmp_path) for relay in relays] == [
        tmp_path / "usr/share/tor/tor-service-defaults-torrc",
        written,
    ]
    named = relays[0]._replace(defaults_torrc=tmp_path / "mine")
    assert layout.defaults_torrc(named, tmp_path) == tmp_path / "mine"
    elsewhere = Relay("x", tmp_path / "home/torrc", "control")
    assert layout.defaults_torrc(elsewhere, tmp_path) is None


def test_an_instance_that_never_started_has_the_template_of_its_unit(tmp_path: Path) -> None:
    """Everybody can read what is rendered, since Tor's user reads it, whatever the umask is."""
    host(tmp_path, b=PORT, template="User _tor-@@NAME@@\nPidFile /run/@@NAME@@/pid\n")
    (relay,) = layout.relays(tmp_path)
    old = os.umask(0o077)
    try:
        path = layout.defaults_torrc(relay._replace(name="another"), tmp_path)
    finally:
        os.umask(old)
    assert path is not None
    assert path.read_text() == "User _tor-b\nPidFile /run/b/pid\n"
    assert path.stat().st_mode & 0o777 == 0o644
    assert path.parent.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize(
    ("lines", "defaults", "address", "password"),
    [
        ("", "", None, False),
        ("ControlSocket /run/tor/x", "", "/run/tor/x", False),
        ('ControlSocket unix:"/run/a b" WorldWritable', "", "/run/a b", False),
        ("ControlPort unix:/run/tor/x GroupWritable", "", "/run/tor/x", False),
        ("ControlPort 9051\nCookieAuthentication 1", "", "127.0.0.1:9051", False),
        ("ControlPort [::1]:9051\nHashedControlPassword @", "", "[::1]:9051", True),
        ("ControlPort 9051\nHashedControlPassword @\nCookieAuthentication 1", "", "127.0.0.1:9051",
         False),
        ("controlport auto", "", None, False),
        # The defaults-torrc opens a socket; a torrc says the same, nothing, or that there is none.
        ("", "ControlSocket /run/d", "/run/d", False),
        ("ControlSocket /run/d", "ControlSocket /run/d", "/run/d", False),
        ("ControlSocket 0", "ControlSocket /run/d", None, False),
        ("ControlSocket 0\nControlPort 9052", "ControlSocket /run/d", "127.0.0.1:9052", False),
    ],
)  # fmt: skip
@pytest.mark.tor
def test_the_control_port_is_the_one_that_tor_reads(
    tmp_path: Path, lines: str, defaults: str, address: str | None, *, password: bool
) -> None:
    """Tor's own dump of the torrc and of the defaults-torrc decides, not their text."""
    if "@" in lines:
        hashed = subprocess.run(
            [TOR, "--hash-password", "x"], capture_output=True, text=True, check=True
        )
        lines = lines.replace("@", hashed.stdout.splitlines()[-1])
    (tmp_path / "torrc").write_text(f"{PORT}DataDirectory {tmp_path}/data\n{lines}\n")
    (tmp_path / "defaults").write_text(f"{defaults}\n")
    relay = Relay("a", tmp_path / "torrc", "", defaults_torrc=tmp_path / "defaults")
    found = discovery.discover(relay)
    assert found.is_relay
    control = found.control
    assert (control and control.address) == address
    assert password == (control is not None and control.needs_password)


@pytest.mark.tor
def test_orports_come_from_both_files(tmp_path: Path) -> None:
    """`ORPort 0` in the torrc takes that of the defaults-torrc away."""
    (tmp_path / "defaults").write_text(PORT)
    relay = Relay("a", tmp_path / "torrc", "", defaults_torrc=tmp_path / "defaults")
    for text, is_relay in (("", True), ("ORPort 0\n", False), ("ORPort 9002\n", True)):
        relay.torrc.write_text(f"DataDirectory {tmp_path}/data\n{text}")
        assert discovery.discover(relay).is_relay is is_relay, text


def test_a_torrc_that_is_missing_is_an_error(tmp_path: Path) -> None:
    """It says how to name another."""
    with pytest.raises(InvalidFileError, match="there is no such torrc"):
        discovery.discover(Relay("a", tmp_path / "torrc", ""))
