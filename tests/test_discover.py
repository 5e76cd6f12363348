"""`discover`: the relays of a host where its packages put them."""

from pathlib import Path

import pytest

from exitpolicy.storage.config import Relay
from exitpolicy.tor import discovery


def host(root: Path, *files: str) -> None:
    """Put empty files below a root."""
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


DEBIAN = "etc/tor/torrc"
INSTANCES = "etc/tor/instances"
BSD = "usr/local/etc/tor/torrc"


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ((), []),
        ((DEBIAN,), [("default", DEBIAN, "run/tor/control")]),
        ((BSD,), [("default", BSD, "var/run/tor/control")]),
        ((DEBIAN, BSD), [("default", DEBIAN, "run/tor/control")]),
        (
            (
                DEBIAN,
                f"{INSTANCES}/b/torrc",
                f"{INSTANCES}/192.0.2.1_443/torrc",
                # Neither is an instance.
                f"{INSTANCES}/README",
                f"{INSTANCES}/empty/x",
            ),
            [
                ("default", DEBIAN, "run/tor/control"),
                (
                    "192.0.2.1_443",
                    "etc/tor/instances/192.0.2.1_443/torrc",
                    "run/tor-instances/192.0.2.1_443/control",
                ),
                ("b", "etc/tor/instances/b/torrc", "run/tor-instances/b/control"),
            ],
        ),
        (
            ("etc/tor/instances/b/torrc",),
            [("b", "etc/tor/instances/b/torrc", "run/tor-instances/b/control")],
        ),
    ],
)
def test_relays_are_found_where_packages_put_them(
    tmp_path: Path, files: tuple[str, ...], found: list[tuple[str, str, str]]
) -> None:
    """Debian's default comes first, then its instances by name; FreeBSD's where Debian has none."""
    host(tmp_path, *files)
    assert list(discovery.relays(tmp_path)) == [
        Relay(name, tmp_path / torrc, str(tmp_path / control)) for name, torrc, control in found
    ]


def test_a_folder_in_place_of_a_torrc_is_no_relay(tmp_path: Path) -> None:
    """Only files are torrcs."""
    (tmp_path / DEBIAN).mkdir(parents=True)
    (tmp_path / "etc/tor/instances").touch()
    assert discovery.relays(tmp_path) == ()


def test_each_relay_has_the_defaults_of_its_unit(tmp_path: Path) -> None:
    """As in Debian's units: an instance has its own file, the default relay the package's."""
    usual, own = "usr/share/tor/tor-service-defaults-torrc", "run/tor-instances/b.defaults"
    host(tmp_path, DEBIAN, "etc/tor/instances/b/torrc", "etc/tor/instances/c/torrc")
    relays = discovery.relays(tmp_path)
    assert [discovery.defaults_torrc(relay, tmp_path) for relay in relays] == [None, None, None]
    host(tmp_path, usual, own)
    assert [discovery.defaults_torrc(relay, tmp_path) for relay in relays] == [
        tmp_path / usual,
        tmp_path / own,
        tmp_path / usual,
    ]
    elsewhere = Relay("x", tmp_path / "home/torrc", "control")
    assert discovery.defaults_torrc(elsewhere, tmp_path) is None
