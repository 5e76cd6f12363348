"""Debian's AppArmor profile lets Tor read some files only; a reload of others would end it."""

import os
from pathlib import Path

import pytest

from exitpolicy.tor import apparmor, process
from tests.harness.host import HostMaker

PROFILE = """\
profile system_tor flags=(attach_disconnected) {
  #include <abstractions/tor>
  owner /var/lib/tor/** rwk,
  /var/lib/tor/** r,
  /{,var/}run/tor/control w,
  /{,var/}run/tor/control.authcookie.tmp rw,
  #include <local/system_tor>
}
"""
ABSTRACTION = "  #include <abstractions/base>\n  /etc/tor/** r,\n  /usr/share/tor/** r,\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a profile as Debian's package tor has it."""
    path = tmp_path / "apparmor.d"
    for part in ("abstractions", "local"):
        (path / part).mkdir(parents=True)
    (path / "system_tor").write_text(PROFILE)
    (path / "abstractions" / "tor").write_text(ABSTRACTION)
    monkeypatch.setattr(apparmor, "FOLDER", path)
    return path


@pytest.mark.parametrize(
    ("path", "is_allowed"),
    [
        ("/etc/tor/torrc", True),
        ("/etc/tor/exitpol/default.conf", True),
        ("/etc/tor/instances/a/torrc", True),
        ("/usr/share/tor/tor-service-defaults-torrc", True),
        ("/var/lib/tor/x", True),
        ("/run/tor/control.authcookie.tmp", True),
        ("/var/run/tor/control.authcookie.tmp", True),
        ("/run/tor/control", False),
        ("/etc/torrc", False),
        ("/srv/tor/exitpol.conf", False),
        ("/etc/exitpol/default.conf", False),
    ],
)
@pytest.mark.usefixtures("folder")
def test_rules_are_read_as_apparmor_reads_them(
    path: str, *, is_allowed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rules for the owner only, and rules to write, allow nothing here."""
    monkeypatch.setattr(os.path, "realpath", os.path.normpath)
    assert (apparmor.forbidden([Path(path)]) == []) is is_allowed


def test_rules_of_the_host_and_links_count(folder: Path, tmp_path: Path) -> None:
    """The kernel checks where a link leads; what `how_to_allow` says allows it."""
    file, link = tmp_path / "real" / "x.conf", tmp_path / "link"
    file.parent.mkdir()
    file.touch()
    link.symlink_to(file)
    assert apparmor.forbidden([link]) == [link]
    assert f"""'"{file}" r,'""" in apparmor.how_to_allow(link)
    for rule in (f"{file} r,", f"{file.parent}/* r,", f"{tmp_path}/{{real,other}}/[x-z].conf mr,"):
        (folder / "local" / "system_tor").write_text(f"  {rule}\n")
        assert apparmor.forbidden([link]) == [], rule
    (folder / "local" / "system_tor").write_text(f"# {file} r,\n{file.parent}/? r,\n")
    assert apparmor.forbidden([link]) == [link]


@pytest.mark.tor
def test_confined_tor_is_not_reloaded_with_a_forbidden_file(
    folder: Path, make_host: HostMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tor that verifies the files is not confined, and would accept them."""
    host = make_host()
    monkeypatch.setattr(process, "confinement", lambda _: "system_tor (enforce)")
    done = host.run("block", "203.0.113.7", "--until", "1d")
    assert done.code == 5, done
    assert "AppArmor does not let Tor read" in done.err
    assert not host.tor.rejects("203.0.113.7")
    (folder / "local" / "system_tor").write_text(f"{host.folder}/** r,\n")
    assert host.run("block", "203.0.113.7", "--until", "1d").code == 0
    assert host.tor.rejects("203.0.113.7")


@pytest.mark.usefixtures("folder")
def test_other_labels_forbid_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A profile in complain mode, another one, and a kernel without AppArmor."""
    for label in ("unconfined", "system_tor (complain)", "docker-default (enforce)", None):
        monkeypatch.setattr(process, "confinement", lambda _, label=label: label)
        assert not apparmor.is_enforced(1)
