"""The units of the timer are valid and hardened, and a real systemd lifts a real block."""

import json
import os
import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import typer

import exitpolicy
from exitpolicy.operations import timer
from exitpolicy.operations.host import Host
from exitpolicy.storage.config import Config, Relay
from tests.evidence import Thing, record
from tests.harness.debian import boot, debian
from tests.harness.tor import ALONE, LOOPBACK

THING = Thing.SYSTEMD
ANALYZE = shutil.which("systemd-analyze")
MAX_EXPOSURE, MAX_EXPOSURE_TCP = 1.5, 2.0

SCRIPT = Path(__file__).parent / "harness" / "in_container.py"
TORRC = f"{LOOPBACK}{ALONE}ExitRelay 1\nExitPolicy accept *:*\n"


@pytest.fixture(params=["unix", "tcp"])
def units(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Path]:
    """Write the units as `exitpol init --timer` would, for files as on Debian."""
    ledger, fragment = tmp_path / "lib" / "blocks.yaml", tmp_path / "tor" / "exitpol.conf"
    config = Config(ledger=ledger, fragment=fragment)
    control = tmp_path / "run" / "control"
    control.parent.mkdir()
    control.touch()
    cookie, torrc = tmp_path / "run" / "cookie", tmp_path / "torrc"
    cookie.touch()
    torrc.write_text(f"CookieAuthFile {cookie}\n")
    for path, mode in ((control.parent, 0o2755), (control, 0o660), (cookie, 0o640)):
        os.chown(path, 4711, 4712)
        path.chmod(mode)
    place = str(control) if request.param == "unix" else "127.0.0.1:9"
    relay = Relay("default", torrc, place, fragment=fragment, user="nobody")
    host = Host(config, (relay,), "root", lambda: datetime.now(UTC))
    written = {}
    for name, text in timer.units(host).items():
        written[name] = tmp_path / name
        written[name].write_text(text)
    return written


def test_every_placeholder_is_filled_in(units: dict[str, Path]) -> None:
    """No @NAME@ is left, and only the folders of ledger and fragment may be written."""
    service = units["exitpol-expire.service"].read_text()
    assert not re.findall(r"@[A-Z_]+@", "".join(path.read_text() for path in units.values()))
    folder = units["exitpol-expire.service"].parent
    assert f"\nReadWritePaths={folder}/lib {folder}/tor\n" in service


@pytest.mark.skipif(not ANALYZE, reason="systemd-analyze is missing")
def test_units_are_verified_by_systemd(units: dict[str, Path]) -> None:
    """`systemd-analyze verify` reports nothing about service and timer."""
    assert ANALYZE is not None
    done = subprocess.run(
        [ANALYZE, "verify", "--man=no", *units.values()],
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    ours = [line for line in done.stderr.splitlines() if "exitpol" in line]
    assert (done.returncode, ours) == (0, [])


@pytest.mark.skipif(not ANALYZE, reason="systemd-analyze is missing")
def test_service_is_hardly_exposed(units: dict[str, Path]) -> None:
    """1.5 with a control socket, 2.0 with a TCP port, where nothing is in a home."""
    assert ANALYZE is not None
    service = units["exitpol-expire.service"]
    # The Python of these tests may lie in a home, which costs 0.1.
    service.write_text(service.read_text().replace("ProtectHome=read-only", "ProtectHome=yes"))
    done = subprocess.run(
        [ANALYZE, "security", "--offline=true", "--no-pager", service],
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    level = re.search(r"Overall exposure level for \S+ ([0-9.]+)", done.stdout)
    assert level is not None, done.stderr
    is_unix = "\nPrivateNetwork=yes\n" in service.read_text()
    assert float(level[1]) <= (MAX_EXPOSURE if is_unix else MAX_EXPOSURE_TCP)
    record(THING, 2, {"exposure {:.1f}": float(level[1])})


@pytest.mark.slow
@pytest.mark.parametrize("release", ["bookworm", "trixie"])
def test_real_timer_lifts_a_real_block_in_a_booted_debian(tmp_path: Path, release: str) -> None:
    """In a Debian of its own, systemd's timer lifts an expired block on a real Tor; others stay.

    The ledger is a link into another folder, which the unit may write.
    """
    check(*observed_in_debian(tmp_path, release, SCRIPT))


def observed_in_debian(folder: Path, release: str, script: Path) -> tuple[dict[str, Any], str]:
    """Run a script in a Debian with a Tor and exitpol; return its observations and its output."""
    root = debian(folder, release)
    try:
        add_program(root)
        binds = [
            f"{Path(exitpolicy.__file__).parents[1]}:/proof/source",
            f"{Path(typer.__file__).parents[1]}:/proof/packages",
        ]
        return boot(root, script, python="/proof/venv/bin/python3", binds=binds)
    finally:
        shutil.rmtree(root)


def add_program(root: Path) -> None:
    """Add exitpol in a virtual environment that has the modules of these tests."""
    (root / "etc/tor/torrc").write_text(
        # The server of this test answers every name alike, as one does that falsifies answers.
        f"{TORRC}ServerDNSDetectHijacking 0\nServerDNSResolvConfFile /etc/tor/servers\n"
    )
    (root / "etc/tor/servers").write_text("nameserver 127.0.0.1\n")
    chroot = shutil.which("chroot") or "/usr/sbin/chroot"
    venv = [chroot, str(root), "python3", "-m", "venv", "--without-pip", "/proof/venv"]
    subprocess.run(venv, check=True, capture_output=True)
    (packages,) = (root / "proof/venv/lib").glob("python3.*/site-packages")
    (packages / "exitpol.pth").write_text("/proof/source\n/proof/packages\n")


def check(seen: dict[str, Any], output: str) -> None:
    """Check from the observations that only the timer lifted the block, in time."""
    what = json.dumps(seen, indent=1) + output
    bounding = re.findall(r"^CapabilityBoundingSet=(.*)$", seen["unit"]["stdout"], re.MULTILINE)
    assert bounding == ["CAP_SETGID CAP_SETUID"], what
    level = re.search(r"exposure level for \S+ ([0-9.]+)", seen["exposure"]["stdout"])
    assert level is not None, what
    assert float(level[1]) <= MAX_EXPOSURE, what
    assert "reject 203.0.113.11:*" in seen["enforced after the edit"], what
    assert "/etc/tor/secret" in seen["refused journal"]["stdout"], what
    assert seen["tor after"]["stdout"] == "active\n", what
    assert seen["good again"]["code"] == 0, what
    assert seen["tor"]["stdout"] == "active\n", what
    steps = ["init", "timer", "timer active", "block", "block another", "status"]
    for step in (*steps, "follow", "follow timer", "first look-up", "second look-up"):
        assert seen[step]["code"] == 0, f"{step}: {what}"
    assert "reject 203.0.113.7:*" in seen["enforced before"], what
    assert "reject 203.0.113.7:*" not in seen["enforced after"], what
    assert "reject 203.0.113.9:*" in seen["enforced after"], what
    # A tick a minute, then Tor's own second.
    assert 0 < seen["seconds after its end"] < 75, what
    assert "timer" in seen["history"]["stdout"], what
    assert "reject 198.51.100.14:443" in seen["enforced after the look-up"], what
    assert "198.51.100.14:443  added" in seen["look-up journal"]["stdout"], what
    assert "www.test" not in seen["look-up journal"]["stdout"], what
    assert re.search("^IPAddressAllow=localhost$", seen["follow unit"]["stdout"], re.MULTILINE), (
        what
    )
    assert seen["link"] == "/srv/checkout/blocks.yaml", what
    assert re.search(r"^ReadWritePaths=.*/srv/checkout", seen["unit"]["stdout"], re.MULTILINE), what
    assert seen["doctor of the moved"]["code"] != 0, what
    assert "/srv/other" in seen["doctor of the moved"]["stdout"], what
    assert seen["timer of the moved"]["code"] == 0, what
    assert seen["tick of the moved"]["code"] == 0, what
    assert "reject 203.0.113.11:*" not in seen["enforced in the end"], what
    assert "ended" in seen["ledger in the end"], what
    assert seen["service"]["stdout"] == "success\n", what
    assert seen["failed units"]["stdout"] == "", what
    record(THING, 1, {"{:.0f} s after its end": seen["seconds after its end"]})
