"""Standard streams that are closed, full or gone: each combination of the three, each command."""

import itertools
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final

import pytest
import yaml

from exitpolicy.core.errors import ExitCode
from tests.evidence import Thing, record
from tests.harness.attack import SECONDS

THING = Thing.CLOSED

LEDGER = (
    "version: 1\nblocks:\n"
    '- {destination: "203.0.113.1", since: "2026-01-01", until: never, reference: "T#1"}\n'
)
MAIL = "From: a@example.org\nSubject: abuse\n\nYour 192.0.2.1 attacked 203.0.113.7 port 22.\n"
COMMANDS: Final[dict[str, Sequence[str]]] = {
    "list": ("list",),
    "list json": ("list", "--json"),
    "history": ("history",),
    "status": ("status", "--check"),
    "check": ("check", "203.0.113.1:80"),
    "block": ("block", "203.0.113.9", "--until", "1d"),
    "block stdin": ("block", "-", "--until", "1d"),
    "block json": ("block", "203.0.113.9", "--until", "1d", "--json"),
    "renew": ("renew", "203.0.113.1", "--until", "9d"),
    "lift": ("lift", "203.0.113.1"),
    "lift nothing": ("lift", "203.0.113.99"),
    "apply": ("apply",),
    "expire": ("expire", "--quiet"),
    "doctor": ("doctor",),
    "policy": ("policy", "show", "web"),
    "complaint": ("complaint", "-"),
    "complaint file": ("complaint", "mail"),
    "help": ("--help",),
    "usage": ("block",),
}
QUICK = ("list",)
STATES = ("open", "closed", "full", "gone")
"""What stdout and stderr can be: to a file, not there, to a full disk, to a reader that ended."""


def run(base: Path, command: Sequence[str], states: Sequence[str]) -> tuple[int, str]:
    """Run a command with stdin, stdout and stderr in these states; return code and output."""
    with (base / "in").open() as given, (base / "out").open("w+") as out:
        with Path("/dev/full").open("w") as full:
            reader, gone = os.pipe()
            os.close(reader)
            files: dict[str, IO[str] | int] = {
                "open": out,
                "closed": out,
                "full": full,
                "gone": gone,
            }

            def close() -> None:
                for number, state in enumerate(states):
                    if state == "closed":
                        os.close(number)

            done = subprocess.run(
                [sys.executable, "-m", "exitpolicy", "--config", str(base / "config"), *command],
                stdin=given, stdout=files[states[1]], stderr=files[states[2]],
                preexec_fn=close,
                check=False, timeout=SECONDS,
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
            )  # fmt: skip
            os.close(gone)
        out.seek(0)
        return done.returncode, out.read()


def prepare(base: Path) -> None:
    """Write config, ledger and input anew; the relay of the config is down."""
    for path in base.iterdir():
        if path.is_file():
            path.unlink()
    (base / "config").write_text(
        f"ledger: {base}/blocks.yaml\nfragment: {base}/exitpol.conf\nrelays:\n"
        f"- {{name: a, torrc: {base}/torrc, control: {base}/socket}}\n"
    )
    (base / "blocks.yaml").write_text(LEDGER)
    (base / "torrc").write_text(f"ORPort 9001\nExitRelay 1\n%include {base}/exitpol.conf\n")
    (base / "exitpol.conf").write_text("")
    (base / "mail").write_text(MAIL)
    (base / "in").write_text("203.0.113.7\n")


def ledger(base: Path) -> set[str]:
    """Return the destinations in the ledger that have not ended."""
    blocks = yaml.safe_load((base / "blocks.yaml").read_text())["blocks"]
    return {block["destination"] for block in blocks if "ended" not in block}


def words(base: Path, name: str) -> list[str]:
    """Return the arguments of a command; the mail is a file below `base`."""
    return [str(base / word) if word == "mail" else word for word in COMMANDS[name]]


def faults(base: Path, name: str, states: Sequence[str], normal: tuple[int, set[str]]) -> list[str]:
    """Run one case; return what is wrong with it."""
    prepare(base)
    try:
        code, output = run(
            base, [str(base / w) if w == "mail" else w for w in COMMANDS[name]], states
        )
    except subprocess.TimeoutExpired:
        return [f"{name} {states}: hangs"]
    found = []
    if re.search("Traceback|Exception ignored|Error:", output):
        found.append(f"traceback: {output[-300:]}")
    allowed = {normal[0], ExitCode.INTERNAL} if {"closed", "full"} & set(states) else {normal[0]}
    if "gone" in states:
        allowed |= {ExitCode.DONE}
    if states[0] == "closed" and "-" in COMMANDS[name]:
        allowed |= {ExitCode.USAGE}
    if code not in allowed:
        found.append(f"code {code}, allowed {sorted(map(int, allowed))}: {output[-200:]}")
    read = ledger(base)
    if read not in (normal[1], {"203.0.113.1"}):
        found.append(f"the ledger holds {read}")
    files = [base / file for file in ("exitpol.conf", "history.jsonl", "state")]
    texts = {path.name: path.read_text() for path in files if path.exists()}
    stray = re.compile(r"exitpol: |DESTINATION  |Usage:|  unknown  ")
    found += [f"output went into {n}: {t[:200]}" for n, t in texts.items() if stray.search(t)]
    return [f"{name} {states}: {fault}" for fault in found]


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in COMMANDS],
)
def test_no_combination_gives_a_traceback_or_harms_a_file(tmp_path: Path, name: str) -> None:
    """Each ends in a documented code; what a command has done does not depend on its readers."""
    prepare(tmp_path)
    code, _ = run(tmp_path, words(tmp_path, name), ("open",) * 3)
    normal = code, ledger(tmp_path)
    cases = list(itertools.product(("open", "closed"), STATES, STATES))
    lost = [fault for case in cases for fault in faults(tmp_path, name, case, normal)]
    assert lost == []
    record(THING, len(cases))
