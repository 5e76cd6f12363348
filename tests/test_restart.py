"""A reload that would end Tor is not sent: Tor has to be restarted once."""

import json
from pathlib import Path

import pytest

from exitpolicy.tor import process
from tests.harness.host import LoneExit
from tests.harness.tor import HarnessError

pytestmark = pytest.mark.tor

OPTIONS = "ExitRelay 1\nIPv6Exit 1\n"


def without_include(exit_: LoneExit) -> None:
    """Take the include out of the torrc before Tor is started."""
    lines = exit_.exit.torrc_text.splitlines(keepends=True)
    exit_.exit.torrc_text = "".join(line for line in lines if not line.startswith("%include"))


def test_sandboxed_tor_that_does_not_know_the_include_is_not_reloaded(tmp_path: Path) -> None:
    """Tor keeps running, the block is recorded, and each command asks for a restart of Tor."""
    exit_ = LoneExit(tmp_path, f"{OPTIONS}Sandbox 1\n")
    without_include(exit_)
    with exit_:
        done = exit_.run("init", "--yes")
        assert done.returncode == 5, done.stderr
        assert "Sandbox 1" in done.stderr
        dry = json.loads(exit_.run("init", "--dry-run", "--json").stdout)
        assert (dry["edited"], dry["restart"]) == ([], ["tor@default.service"])
        blocked = exit_.run("block", "203.0.113.7", "--until", "1d")
        assert blocked.returncode == 5
        assert "pending" in blocked.stdout
        assert "restart Tor (exit) once" in blocked.stderr
        assert exit_.run("status", "--check").returncode == 5
        assert exit_.exit.alive
        exit_.exit.stop()
        exit_.exit.start()
        assert json.loads(exit_.run("init", "--dry-run", "--json").stdout)["restart"] == []
        assert exit_.run("apply").returncode == 0
        assert "203.0.113.7:*" in exit_.rejected()


def test_sandboxed_tor_that_knows_the_include_is_reloaded(tmp_path: Path) -> None:
    """Neither Sandbox 1 nor a later change of the torrc alone requires a restart."""
    with LoneExit(tmp_path, f"{OPTIONS}Sandbox 1\n") as exit_:
        assert exit_.run("init").returncode == 0
        assert exit_.run("block", "203.0.113.7", "--until", "1d").returncode == 0
        assert "203.0.113.7:*" in exit_.rejected()
        exit_.exit.torrc.write_text(exit_.exit.torrc_text + "# changed\n")
        done = exit_.run("block", "203.0.113.8", "--until", "1d")
        assert done.returncode == 0, done.stderr
        assert "203.0.113.8:*" in exit_.rejected()
        assert exit_.exit.alive


@pytest.mark.parametrize("line", ["Sandbox 1", "DisableAllSwap 1", "PidFile {folder}/other"])
def test_changed_option_that_a_running_tor_refuses_is_not_reloaded(
    tmp_path: Path, line: str
) -> None:
    """Tor would end at the reload of an option that it cannot change while it runs."""
    option = line.partition(" ")[0]
    with LoneExit(tmp_path, OPTIONS) as exit_:
        assert exit_.run("init").returncode == 0
        changed = f"{line.format(folder=tmp_path)}\n"
        text = exit_.exit.torrc.read_text()
        kept = [one for one in text.splitlines(keepends=True) if not one.startswith(option)]
        exit_.exit.torrc.write_text(changed + "".join(kept))
        done = exit_.run("block", "203.0.113.7", "--until", "1d", "--json")
        assert done.returncode == 5, done.stderr
        (problem,) = json.loads(done.stdout)["problems"]
        assert problem["message"].startswith(f"restart Tor (exit) once: {option} was changed")
        assert exit_.exit.alive
        with pytest.raises(HarnessError, match="closed the control connection"):
            exit_.exit.reload()
        assert exit_.exit.process is not None
        assert exit_.exit.process.wait(10) != 0, "Tor has survived what we kept from it"


def with_defaults(exit_: LoneExit, *options: str) -> None:
    """Move these options of the torrc into a defaults-torrc, as Debian's package has them."""
    lines = exit_.exit.torrc_text.splitlines(keepends=True)
    moved = [line for line in lines if line.startswith(options)]
    assert moved
    exit_.exit.folder.mkdir(mode=0o700, exist_ok=True)
    exit_.exit.defaults = exit_.exit.folder / "defaults"
    exit_.exit.defaults.write_text("".join(moved))
    exit_.exit.torrc_text = "".join(line for line in lines if line not in moved)


def test_options_that_stand_in_the_defaults_torrc_are_no_change(tmp_path: Path) -> None:
    """Debian sets DataDirectory, PidFile and User there: its Tor can be reloaded."""
    exit_ = LoneExit(tmp_path, OPTIONS)
    with_defaults(exit_, "DataDirectory", "ControlSocket", "PidFile")
    with exit_:
        assert exit_.run("init").returncode == 0
        done = exit_.run("block", "203.0.113.7", "--until", "1d")
        assert done.returncode == 0, done.stderr
        assert "203.0.113.7:*" in exit_.rejected()


def test_option_that_overrides_the_defaults_torrc_is_a_change(tmp_path: Path) -> None:
    """A torrc that now overrides the defaults-torrc would end Tor at a reload."""
    exit_ = LoneExit(tmp_path, OPTIONS)
    with_defaults(exit_, "DataDirectory", "ControlSocket", "PidFile")
    with exit_:
        assert exit_.run("init").returncode == 0
        text = exit_.exit.torrc.read_text()
        exit_.exit.torrc.write_text(f"PidFile {tmp_path}/other\n{text}")
        done = exit_.run("block", "203.0.113.7", "--until", "1d")
        assert done.returncode == 5
        assert "PidFile was changed" in done.stderr
        assert exit_.exit.alive


def test_start_of_a_process_is_known_to_a_fraction_of_a_second(tmp_path: Path) -> None:
    """A Tor restarted in the same second as its torrc was written is seen as newer than it."""
    exit_ = LoneExit(tmp_path)
    before = exit_.fragment.stat().st_mtime
    with exit_:
        assert exit_.exit.process is not None
        begun = process.started(exit_.exit.process.pid)
        assert begun is not None
        assert before - 0.02 <= begun <= exit_.exit.torrc.stat().st_mtime + 0.5
