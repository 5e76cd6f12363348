"""The package on a booted Debian with a real Tor: installed, upgraded, removed and purged."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.evidence import Thing, record
from tests.harness.debian import boot, debian
from tests.harness.tor import ALONE, LOOPBACK

THING = Thing.PACKAGE

ROOT = Path(__file__).parents[1]
SCRIPT = Path(__file__).parent / "harness" / "package_in_container.py"
TORRC = (
    f"{LOOPBACK}{ALONE}ExitRelay 1\nExitPolicyRejectPrivate 1\nExitPolicy reject *:25\n"
    "ExitPolicy accept *:*\n"
)
LONG, SHORT = "reject 203.0.113.7:*", "reject 203.0.113.9:*"
RELEASE_SCRIPT = SCRIPT.with_name("release_in_container.py")
MOVED = ("etc/exitpol", "var/lib/exitpol", "etc/tor", "etc/systemd/system")
"""What an upgrade of Debian leaves as it is."""
NEWER = "99.0"
MAX_SECONDS = 20
"""From `exitpol init --timer` to the first live block."""


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the package, and the same one with a newer version; return their folder."""
    folder = tmp_path_factory.mktemp("packages")
    built = subprocess.run(
        [ROOT / "scripts" / "deb", folder],
        check=False, capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr + built.stdout
    (package,) = folder.glob("exitpol_*_all.deb")
    package.rename(folder / "old.deb")
    tree = folder / "tree"
    subprocess.run(["/usr/bin/dpkg-deb", "-R", folder / "old.deb", tree], check=True)
    for name, key in (
        ("DEBIAN/control", "Version: "),
        ("usr/lib/python3/dist-packages/exitpolicy/__init__.py", "__version__ = "),
    ):
        lines = (tree / name).read_text().splitlines()
        quoted = f'"{NEWER}"' if "=" in key else NEWER
        new = [f"{key}{quoted}" if line.startswith(key) else line for line in lines]
        assert new != lines
        (tree / name).write_text("".join(f"{line}\n" for line in new))
    new_package = str(folder / "new.deb")
    command = ["/usr/bin/dpkg-deb", "--root-owner-group", "-b", str(tree), new_package]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="this is not Debian")
@pytest.mark.parametrize("release", ["bookworm", "trixie"])
def test_the_life_of_the_package(tmp_path: Path, release: str, packages: Path) -> None:
    """Blocks outlive an upgrade and still end; a removal leaves Tor as it was before exitpol."""
    root = debian(tmp_path, release)
    try:
        (root / "proof").mkdir()
        for name in ("old.deb", "new.deb"):
            shutil.copy(packages / name, root / "proof")
        shutil.copy(root / "etc/tor/torrc", root / "proof/torrc.shipped")
        (root / "etc/tor/torrc").write_text(TORRC)
        seen, output = boot(root, SCRIPT)
    finally:
        shutil.rmtree(root)
    what = json.dumps(seen, indent=1) + output
    assert "error" not in seen, what
    check_one_relay(seen, what)
    check_refused(seen, what)
    check_instances(seen, what)
    record(THING, 1, {"first live block after {:.0f} s": seen["seconds to the first live block"]})


def check_one_relay(seen: dict[str, Any], what: str) -> None:
    """See that the block outlives the upgrade, and that the timer lifts the short one."""
    steps = (
        "install",
        "init",
        "block",
        "block for a moment",
        "upgrade",
        "doctor",
        "remove",
        "purge",
    )
    for step in steps:
        assert seen[step]["code"] == 0, f"{step}: {what}"
    assert seen["seconds to the first live block"] < MAX_SECONDS, what
    assert "  live  " in seen["block"]["stdout"], what
    assert NEWER not in seen["version"]["stdout"], what
    assert NEWER in seen["version after"]["stdout"], what
    assert LONG in seen["enforced after the upgrade"], what
    assert "203.0.113.7  live" in seen["list after the upgrade"]["stdout"], what
    assert seen["timer after the upgrade"]["stdout"] == "active\n", what
    assert 0 < seen["seconds to the lift"] < 75, what
    assert LONG in seen["enforced after the lift"], what
    assert seen["tick"]["stdout"] == "success\n", what
    assert seen["torrc is as it was"] is True, what
    assert LONG not in seen["enforced after the removal"], what
    assert "reject *:25" in seen["enforced after the removal"], what
    assert "exitpol-expire" not in seen["units after the removal"]["stdout"], what
    assert seen["ledger after the removal"] is True, what
    assert seen["fragments after the removal"] is False, what
    assert seen["left by the purge"] == [], what
    states = {seen[f"tor {when}"] for when in ("at first", "after the removal", "after the purge")}
    assert states == {seen["tor at first"]}, what
    assert seen["tor at first"].endswith(" active"), what


def check_refused(seen: dict[str, Any], what: str) -> None:
    """See that a removal that opens the exit wider leaves the fragment, and Tor with it."""
    for step in ("install again", "init again", "refused removal", "purge of the refused"):
        assert seen[step]["code"] == 0, f"{step}: {what}"
    assert "the base policy 'web' ends" in seen["refused removal"]["stdout"], what
    assert "/etc/tor/torrc still includes its fragment" in seen["refused removal"]["stdout"], what
    assert seen["torrc stays"] is True, what
    assert "kept /etc/exitpol, /var/lib/exitpol" in seen["purge of the refused"]["stdout"], what
    assert "reject *:*" in seen["enforced after that purge"], what
    assert seen["forced"]["code"] == 0, what
    assert seen["torrc after the force"] is True, what
    assert seen["left by the last purge"] == [], what
    for when in ("after the refusal", "after that purge", "after the last purge"):
        assert seen[f"tor {when}"] == seen["tor at first"], what


def check_instances(seen: dict[str, Any], what: str) -> None:
    """See that both instances enforce the block, and that the timer lifts it."""
    for step in ("create a", "create b", "init of instances", "block on instances"):
        assert seen[step]["code"] == 0, f"{step}: {what}"
    (block,) = json.loads(seen["list of instances"]["stdout"])["blocks"]
    assert block["states"] == {"a": "live", "b": "live"}, what
    assert all(SHORT in policy for policy in seen["enforced by instances"]), what
    assert 0 < seen["instances, seconds to the lift"] < 75, what
    assert all(state.endswith(" active") for state in seen["instances after all"]), what
    assert seen["left by instances"] == [], what
    assert seen["failed units"]["stdout"] == "", what


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="this is not Debian")
def test_the_timer_goes_on_after_an_upgrade_of_debian(tmp_path: Path, packages: Path) -> None:
    """Debian 13, with its Python and its Tor, lifts what was blocked on Debian 12.

    It has the files of Debian 12; its package was unpacked there anew.
    """
    roots = []
    try:
        for release in ("bookworm", "trixie"):
            (tmp_path / release).mkdir()
            root = debian(tmp_path / release, release)
            roots.append(root)
            (root / "proof").mkdir()
            shutil.copy(packages / "old.deb", root / "proof")
        first, second = roots
        (first / "etc/tor/torrc").write_text(TORRC)
        before, output = boot(first, RELEASE_SCRIPT)
        for name in MOVED:
            subprocess.run(["/bin/cp", "-aT", first / name, second / name], check=True)
        (second / "etc/systemd/system/multi-user.target.wants/proof.service").unlink()
        command = ["/usr/sbin/chroot", str(second), "dpkg", "-i", "/proof/old.deb"]
        subprocess.run(command, check=True, capture_output=True)
        (second / "proof" / "next-release").touch()
        after, more = boot(second, RELEASE_SCRIPT)
    finally:
        for root in roots:
            shutil.rmtree(root)
    what = json.dumps([before, after], indent=1) + output + more
    for steps, names in ((before, ("install", "init", "block")), (after, ("lift", "doctor"))):
        for name in names:
            assert steps[name]["code"] == 0, f"{name}: {what}"
    assert LONG in before["enforced"], what
    assert SHORT in before["enforced"], what
    assert after["python"].startswith("3.13"), what
    assert LONG in after["enforced"], what
    assert SHORT not in after["enforced"], what
    assert "timer" in after["history"]["stdout"], what
    assert after["timer"]["stdout"] == "active\n", what
    assert after["tick"]["stdout"] == "success\n", what
    assert LONG not in after["enforced in the end"], what
    record(THING, 1)
