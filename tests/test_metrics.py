"""Metrics: what they say about a real exit, when the tick writes them, and what reads them."""

import os
import re
import shutil
import stat
import subprocess
import time
from pathlib import Path

import pytest

from exitpolicy.core.block import State
from exitpolicy.core.errors import InvalidFileError
from exitpolicy.doctor.fault import Fault
from exitpolicy.storage import metrics_file
from tests.harness.host import ExitHost, HostMaker
from tests.harness.without_control import start, without_control

OPEN = ("ExitRelay 1", "ExitPolicy accept *:*")
PROMTOOL = shutil.which("promtool")


def samples(text: str) -> dict[str, float]:
    """Return the value of each sample by its name and labels."""
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def faults(found: dict[str, float]) -> set[str]:
    """Return the names of the faults."""
    names = {re.findall('"(.*)"', key)[0]: value for key, value in found.items() if "fault{" in key}
    assert set(names) == set(map(str, Fault))
    return {name for name, value in names.items() if value}


@pytest.fixture
def metered(make_host: HostMaker, tmp_path: Path) -> ExitHost:
    """Give an exit whose tick writes metrics."""
    (tmp_path / "textfile").mkdir()
    host = make_host(OPEN, extra="metrics: textfile/exitpol.prom\n")
    assert host.metrics.parent == tmp_path / "textfile"
    return host


def test_what_they_say_is_what_status_says(make_host: HostMaker) -> None:
    """Blocks by state and relay, limits, moments; every state and every fault has a sample."""
    host = make_host(OPEN, OPEN)
    begun = time.time()
    assert host.run("block", "203.0.113.7", "--until", "1h").code == 0
    assert host.run("block", "203.0.113.9", "--until", "2h", "--relay", "second").code == 0
    done = host.run("status", "--prometheus")
    assert (done.code, done.err) == (0, "")
    found = samples(done.out)
    status = host.run("status", "--json").json
    for number, relay in enumerate(("default", "second"), 1):
        shown = status["relays"][number - 1]
        label = f'relay="{relay}"'
        counts = {s: found[f'exitpol_blocks{{{label},state="{s}"}}'] for s in State}
        assert counts == {**dict.fromkeys(State, 0), State.LIVE: number}
        assert found[f"exitpol_relay_reachable{{{label}}}"] == 1
        assert found[f"exitpol_relay_in_sync{{{label}}}"] == shown["in_sync"] == 1
        assert found[f"exitpol_relay_exit_flag{{{label}}}"] == shown["exit_flag"] == 1
        assert found[f"exitpol_descriptor_bytes{{{label}}}"] == shown["descriptor"]["bytes"]
        assert found[f'exitpol_rejected_addresses{{{label},family="ipv4"}}'] == number
    assert found["exitpol_descriptor_limit_bytes"] == 20000
    assert 3590 < found["exitpol_next_expiry_timestamp_seconds"] - begun < 3620
    for moment in ("tick", "observation"):
        assert -1 < found[f"exitpol_last_{moment}_timestamp_seconds"] - begun < 30
    assert faults(found) == set()


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian: prometheus)")
def test_promtool_finds_nothing_wrong(make_host: HostMaker) -> None:
    """Neither with the names nor with the format."""
    text = make_host(OPEN).run("status", "--prometheus").out
    done = subprocess.run(
        [PROMTOOL or "", "check", "metrics"],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_faults_have_the_names_of_the_health_checks(make_host: HostMaker) -> None:
    """The file is written whatever is wrong; the exit code stays that of `status`."""
    host = make_host(OPEN)
    assert host.run("block", "203.0.113.7", "--until", "1h").code == 0
    host.tor.stop()
    path = host.folder / "out.prom"
    assert host.run("status", "--prometheus", "--output", str(path)).code == 6
    found = samples(path.read_text())
    assert faults(found) == {"tor_unreachable"}
    assert found['exitpol_blocks{relay="default",state="unknown"}'] == 1
    assert found['exitpol_relay_reachable{relay="default"}'] == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


@pytest.mark.parametrize("arguments", [("--output", "x"), ("--prometheus", "--json")])
def test_options_that_do_not_fit_are_a_usage_error(
    tmp_path: Path, arguments: tuple[str, ...], make_host: HostMaker
) -> None:
    """Nothing is written."""
    host = make_host(OPEN, start=False, init=False)
    assert host.run("status", *arguments).code == 2
    assert not (tmp_path / "x").exists()


def test_the_tick_writes_them_when_something_changed(metered: ExitHost) -> None:
    """Otherwise it only touches the file: Prometheus sees that it runs."""
    path = metered.metrics
    assert metered.tick(path).code == 0
    first = path.read_text()
    assert faults(samples(first)) == set()
    inode = path.stat().st_ino
    os.utime(metered.state, (1, 1))
    os.utime(path, (1, 1))
    assert metered.tick(path).code == 0
    assert path.stat().st_ino == inode
    assert time.time() - path.stat().st_mtime < 10
    # A command observes Tor: the next tick shows what it saw.
    assert metered.run("block", "203.0.113.7", "--until", "1h").code == 0
    assert path.read_text() == first
    assert metered.tick(path).code == 0
    assert samples(path.read_text())['exitpol_blocks{relay="default",state="live"}'] == 1
    inode = path.stat().st_ino
    assert metered.tick(path).code == 0
    assert path.stat().st_ino == inode
    path.unlink()
    assert metered.tick(path).code == 0
    assert path.exists()


def test_a_tick_that_fails_lets_the_file_grow_old(metered: ExitHost) -> None:
    """The age of the file is what tells that ticks do not work."""
    path = metered.metrics
    assert metered.tick(path).code == 0
    os.utime(path, (1, 1))
    metered.ledger.write_text("version: 7\n")
    metered.ledger.with_name("last_valid.yaml").unlink()
    assert metered.tick(path).code == 8
    assert path.stat().st_mtime == 1


def test_a_folder_that_is_gone_is_reported_once(metered: ExitHost) -> None:
    """It is a fault; blocks are enforced all the same."""
    path = metered.metrics
    path.parent.rmdir()
    done = metered.tick(path)
    assert (done.code, "make the folder" in done.err) == (3, True)
    done = metered.tick(path)
    assert (done.code, done.out, done.err) == (3, "", "")
    path.parent.mkdir()
    done = metered.tick(path)
    assert (done.code, done.err) == (0, "exitpol: health: all is well again\n")


def test_a_timer_that_does_not_know_the_file_is_reported(metered: ExitHost) -> None:
    """The config names a file, and the installed unit or crontab does not."""
    path = metered.metrics
    assert metered.tick(path).code == 0
    assert metered.run("status", "--check").code == 0
    old = time.time() - 301
    os.utime(path, (old, old))
    done = metered.run("status", "--check", "--json")
    assert (done.code, [f["cause"] for f in done.json["health"]]) == (3, ["metrics_not_written"])


def test_only_a_file_of_metrics_is_replaced(tmp_path: Path) -> None:
    """A mistyped path names the torrc, or /dev/null: neither is lost, and no device is opened."""
    torrc, device, fifo = tmp_path / "torrc", tmp_path / "null", tmp_path / "fifo"
    link, folder = tmp_path / "link", tmp_path / "folder"
    torrc.write_text("ORPort 9001\n")
    os.mkfifo(fifo)
    link.symlink_to(torrc)
    folder.mkdir()
    wrong = [torrc, fifo, link, folder]
    if os.geteuid() == 0:
        os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        wrong.append(device)
    before = sorted(tmp_path.iterdir())
    for path in wrong:
        kind = stat.S_IFMT(path.lstat().st_mode)
        with pytest.raises(InvalidFileError, match="is not replaced"):
            metrics_file.write(path, "# HELP exitpol_x\n")
        assert stat.S_IFMT(path.lstat().st_mode) == kind
    assert torrc.read_text() == "ORPort 9001\n"
    assert sorted(tmp_path.iterdir()) == before
    empty = tmp_path / "empty"
    empty.touch()
    for text in ("# HELP exitpol_x 1\n", "# HELP exitpol_x 2\n"):
        metrics_file.write(empty, text)
        assert empty.read_text() == text


@pytest.mark.root
def test_no_link_of_another_user_is_followed(tmp_path: Path) -> None:
    """The folder may belong to the user of node_exporter."""
    folder, victim = tmp_path / "theirs", tmp_path / "victim"
    folder.mkdir()
    os.chown(folder, 65534, 65534)
    victim.write_text("# HELP exitpol_x\n")
    os.utime(victim, (1, 1))
    (folder / "exitpol.prom").symlink_to(victim)
    with pytest.raises(InvalidFileError):
        metrics_file.write(folder / "exitpol.prom", "x 1\n")
    state = tmp_path / "state"
    state.write_text("version 1\napplied 0.000\n")
    metrics_file.mark_shown(folder / "exitpol.prom", state, 0.0, 5.0)
    assert (folder / "exitpol.prom").lstat().st_mtime == 5, "the link was not marked"
    assert victim.read_text() == "# HELP exitpol_x\n"
    assert victim.stat().st_mtime == 1
    (folder / "exitpol.prom").unlink()
    metrics_file.write(folder / "exitpol.prom", "x 1\n")
    found = (folder / "exitpol.prom").lstat()
    assert (stat.S_ISREG(found.st_mode), found.st_uid) == (True, 65534)


def test_a_relay_without_control_port_claims_nothing(make_host: HostMaker) -> None:
    """It runs, and its blocks are unverified: it is neither in sync nor out of sync."""
    host = make_host(OPEN, OPEN, start=False, init=False)
    start(host)
    without_control(host)
    assert host.run("init").code == 0
    assert host.run("block", "203.0.113.7", "--until", "1h").code == 0
    found = samples(host.run("status", "--prometheus").out)
    one, two = ('relay="default"', 'relay="second"')
    assert found[f"exitpol_relay_reachable{{{one}}}"] == 1
    assert found[f"exitpol_relay_reachable{{{two}}}"] == 1
    assert found[f"exitpol_relay_in_sync{{{two}}}"] == 1
    observed = ("in_sync", "exit_flag")
    assert not [key for name in observed for key in found if f"relay_{name}{{{one}" in key]
    assert found[f'exitpol_blocks{{{one},state="unverified"}}'] == 1
    assert found[f'exitpol_blocks{{{one},state="live"}}'] == 0
    assert found[f'exitpol_blocks{{{two},state="live"}}'] == 1
    assert faults(found) == set()
    # Own lines that Tor has not read are drift, here as well.
    host.tor.add("ExitPolicy reject 198.51.100.0/24:*")
    done = host.run("status", "--check", "--json")
    assert (done.code, "drift" in done.json["faults"]) == (3, True), done
    for tor in host.relays:
        tor.stop()
    found = samples(host.run("status", "--prometheus").out)
    assert [found[f"exitpol_relay_reachable{{{each}}}"] for each in (one, two)] == [0, 0]
    assert not [key for key in found if "relay_in_sync{" in key]
