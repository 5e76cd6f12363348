"""The modules of the collection, run as Ansible runs them, on a real exitpol and real Tors."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.harness.host import ExitHost, host_maker

pytest.importorskip("ansible")

COLLECTION: Final = Path(__file__).parents[2] / "exitpolicy" / "ansible"
SECRET: Final = "a private reason"


class Modules:
    """Runs modules of the collection on a host, each in a process of its own."""

    def __init__(self, folder: Path, host: ExitHost) -> None:
        self.host = host
        self.collections = folder / "collections"
        place = self.collections / "ansible_collections" / "exitpol"
        place.mkdir(parents=True)
        (place / "exitpol").symlink_to(COLLECTION)
        self.program = folder / "program"
        self.program.write_text(f'#!/bin/sh\nexec {sys.executable} -m exitpolicy "$@"\n')
        self.program.chmod(0o755)

    def run(self, name: str, *, check: bool = False, **arguments: object) -> dict[str, Any]:
        """Run a module and return its result."""
        given = {
            "executable": str(self.program),
            "config": str(self.host.config),
            "_ansible_check_mode": check,
            "_ansible_diff": True,
            "_ansible_remote_tmp": str(self.collections),
            **arguments,
        }
        done = subprocess.run(
            [sys.executable, COLLECTION / "plugins" / "modules" / f"{name}.py"],
            input=json.dumps({"ANSIBLE_MODULE_ARGS": given}),
            env={**os.environ, "PYTHONPATH": str(self.collections)},
            cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.stdout.strip(), done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Modules]:
    """Give a host with two exits."""
    folder = tmp_path_factory.mktemp("modules")
    with host_maker(folder) as make:
        host = make(("ExitRelay 1",), ("ExitRelay 1",), extra="protected: [198.51.100.0/24]\n")
        yield Modules(folder, host)


def ledger(*lines: str) -> str:
    """Return a ledger of blocks without an end."""
    rows = "".join(f"- {{destination: {one}, since: 2026-11-22, until: never}}\n" for one in lines)
    return f"version: 2\nblocks:{'' if rows else ' []'}\n{rows}"


@pytest.mark.tor
def test_the_main_path(modules: Modules) -> None:
    """Block, run again, see the facts, take a ledger, lift: `changed` is true only for changes."""
    given: dict[str, Any] = {
        "destination": ["203.0.113.7:22"],
        "until": "30d",
        "reason": SECRET,
        "references": ["T#1"],
    }
    first = modules.run("block", **given)
    assert (first["changed"], first["rc"], first["not_live"]) == (True, 0, [])
    (block,) = first["blocks"]
    assert (block["destination"], block["state"]) == ("203.0.113.7:22", "live")
    assert SECRET not in json.dumps({**first, "diff": None})
    assert SECRET in first["diff"]["after"]
    assert not modules.run("block", **given)["changed"]

    ours = ledger("203.0.113.1", "198.51.100.7", "203.0.113.2, relays: [second]")
    preview = modules.run("ledger", content=ours, check=True)
    assert (preview["changed"], len(preview["added"])) == (True, 3)
    taken = modules.run("ledger", content=ours)
    assert (taken["changed"], taken["rc"]) == (True, 3)
    assert {one["destination"] for one in taken["not_live"]} == {"198.51.100.7"}
    assert "198.51.100.7 is protected" in json.dumps(taken["warnings"])
    assert taken["states"]["203.0.113.2"] == "live"
    info = modules.run("info")
    assert (info["changed"], info["not_live"]) == (False, taken["not_live"])
    assert "pending" in info["faults"]
    again = modules.run("ledger", content=ours, fail_on_pending=True)
    assert (again["changed"], again["failed"]) == (False, True)

    after = modules.run("ledger", content=ledger("203.0.113.1"))
    assert (after["changed"], sorted(after["lifted"])) == (True, ["198.51.100.7", "203.0.113.2"])
    gone = modules.run("lift", destination=["203.0.113.7:22", "203.0.113.99"])
    assert (gone["changed"], gone["blocks"][0]["state"]) == (True, "lifted")
    assert not modules.host.tor.rejects("203.0.113.7", 22)
    assert not modules.run("lift", destination=["203.0.113.7:22"])["changed"]


@pytest.mark.tor
@pytest.mark.slow
def test_ends_tickets_and_relays_become_what_the_options_say(modules: Modules) -> None:
    """An end that does not move is set, sooner or later; a new ticket or relay is added."""
    name = "203.0.113.20:80,443"

    def block(until: str, *, check: bool = False, **more: object) -> tuple[bool, dict[str, Any]]:
        done = modules.run("block", check=check, destination=name, until=until, **more)
        assert not done.get("failed"), done
        (found,) = done["blocks"]
        return done["changed"], found

    assert block("30d", check=True)[0]
    listed = modules.host.run("list", "--json").json["blocks"]
    assert name not in {one["destination"] for one in listed}
    assert block("2099-01-31", relays=["def*"])[0]
    assert not block("2099-01-31", relays=["def*"])[0]
    assert not modules.host.relays[1].rejects("203.0.113.20", 443)
    later, found = block("2099-06-30", relays=["def*"])
    assert (later, found["until"][:7]) == (True, "2099-07")
    sooner, found = block("2099-01-31", relays=["def*"])
    assert (sooner, found["until"][:7]) == (True, "2099-02")
    kept, found = block("30d", relays=["def*"])
    assert (kept, found["until"][:7]) == (False, "2099-02")
    ticket, found = block("30d", references=["T#2"], relays=["def*"])
    assert (ticket, found["reference"], found["until"][:7]) == (True, "T#2", "2099-02")
    wider, found = block("30d")
    assert (wider, found["relays"], found["until"][:7]) == (True, [], "2099-02")
    refused = modules.run("block", destination="198.51.100.1", until="1d")
    assert (refused["failed"], refused["rc"]) == (True, 4)
    assert "198.51.100.1 is protected" in refused["msg"]
    assert modules.run("lift", destination=name, check=True)["changed"]
    assert modules.run("lift", destination=name)["changed"]


@pytest.mark.tor
@pytest.mark.slow
def test_a_list_of_blocks_is_what_the_host_blocks(modules: Modules) -> None:
    """Without a beginning, a second run changes nothing; what leaves the list is lifted."""
    one = {"destination": "203.0.113.30/32", "until": "2099-01-31", "reason": SECRET}
    two = {"destination": "203.0.113.31:22", "until": "never", "relays": ["second"]}
    first = modules.run("ledger", blocks=[one, two])
    assert first["added"] == ["203.0.113.30", "203.0.113.31:22"], first
    assert SECRET not in json.dumps({**first, "diff": None})
    assert not modules.run("ledger", blocks=[one, two])["changed"]
    partly = modules.run("ledger", blocks=[], only=["203.0.113.30"])
    assert partly["lifted"] == ["203.0.113.30"]
    assert modules.run("ledger", blocks=[])["lifted"] == ["203.0.113.31:22"]
    moving = modules.run("ledger", blocks=[{**one, "until": "30d"}])
    assert (moving["failed"], moving["rc"], "ledger.yaml:3" in moving["msg"]) == (True, 8, True)


@pytest.mark.tor
@pytest.mark.slow
def test_a_tor_that_is_down_is_a_warning_or_a_failure(modules: Modules) -> None:
    """The ledger has the block, and the result names the relay."""
    tor = modules.host.relays[1]
    tor.stop()
    try:
        given: dict[str, Any] = {"destination": "203.0.113.40", "until": "never"}
        done = modules.run("block", **given)
        assert (done["changed"], done["rc"]) == (True, 6), done
        assert [one["relay"] for one in done["not_live"]] == ["second"]
        assert done["warnings"]
        failed = modules.run("block", fail_on_pending=True, **given)
        assert (failed["failed"], failed["changed"]) == (True, False), failed
        info = modules.run("info")
        assert "tor_unreachable" in info["faults"]
        assert not info["healthy"]
    finally:
        tor.start()
    assert modules.run("lift", destination="203.0.113.40")["rc"] == 0


def with_program(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> Modules:
    """Return modules of a host whose exitpol is a script."""
    monkeypatch.chdir(folder)
    host = ExitHost.__new__(ExitHost)
    host.config = folder / "config.yaml"
    modules = Modules(folder, host)
    modules.program.write_text(f"#!/bin/sh\n{script}\n")
    return modules


def test_another_version_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exitpol with other JSON, without an option, or that is none at all is no other failure."""
    refused = json.dumps({"schema": 1, "error": {"message": "No such option: --from"}})
    for answer in (
        "echo '{\"schema\": 2}'",
        f"echo '{refused}'; exit 2",
        "echo nonsense",
        "exit 1",
    ):
        folder = tmp_path / str(abs(hash(answer)))
        folder.mkdir()
        script = f"case $* in *--version) echo exitpol 9.9;; *) {answer};; esac"
        modules = with_program(folder, script, monkeypatch)
        done = modules.run("ledger", content=ledger())
        assert (done["failed"], "exitpol 9.9" in done["msg"]) == (True, True), done


def test_a_refusal_names_the_relay_and_a_lock_is_a_clear_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Codes 4 and 7 fail with what exitpol says; 6 is a warning."""
    for code, key, is_failed in ((4, "error", True), (7, "error", True), (6, "problems", False)):
        folder = tmp_path / str(code)
        folder.mkdir()
        error = {"message": "relay 'exit1': no room", "hint": "block less", "exit_code": code}
        answer = json.dumps(
            {
                "schema": 1,
                "blocks": {} if code == 6 else None,
                "taken": [] if code == 6 else None,
                key: error if key == "error" else [error],
            }
        )
        modules = with_program(
            folder, f"echo '{answer.replace(chr(39), '')}'; exit {code}", monkeypatch
        )
        done = modules.run("ledger", content=ledger())
        assert done.get("failed", False) is is_failed, done
        assert "relay exit1: no room" in json.dumps(done), done
        assert done["rc"] == code


def test_what_others_can_change_is_not_run_as_root(tmp_path: Path) -> None:
    """The default program has to be root's alone, with all folders above it."""
    modules = Modules(tmp_path, ExitHost.__new__(ExitHost))
    modules.host.config = tmp_path / "config.yaml"
    done = modules.run("info", executable=None)
    assert done["failed"]
    assert "exitpol is not installed" in done["msg"] or "is not run as root" in done["msg"]


def test_a_destination_is_no_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What exitpol would take for an option, or for stdin, never reaches it."""
    modules = with_program(tmp_path, "touch ran", monkeypatch)
    for given in ("-", "--all", ["203.0.113.1", "--force"], [], ""):
        for name in ("block", "lift"):
            until: dict[str, Any] = {"until": "30d"} if name == "block" else {}
            done = modules.run(name, destination=given, **until)
            assert done["failed"], done
    assert not (tmp_path / "ran").exists()
