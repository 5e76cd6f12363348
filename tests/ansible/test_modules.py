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
    assert block["states"] == {"default": "live", "second": "live"}
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
    assert taken["states"]["203.0.113.2"] == {"second": "live"}
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
