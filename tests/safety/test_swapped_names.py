"""The owner of the ledger's folder swaps names there while root works: between any two steps."""

import itertools
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from exitpolicy.cli.app import run
from exitpolicy.core.errors import ExitCode
from tests.evidence import Thing, record
from tests.harness.attack import NOBODY, PUBLIC_PYTHON, as_nobody, picture, spawn_as_nobody

THING = Thing.SWAPS
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(sys.platform != "linux", reason="renameat2 is of Linux"),
    pytest.mark.skipif(not PUBLIC_PYTHON, reason="no Python that every user may run"),
]

SECRET = "root-only-secret-41c0"
LEDGER = (
    "version: 2\nblocks:\n"
    '- {destination: "203.0.113.2", since: "2026-01-01T00:00:00Z", until: never}\n'
)
NAMES = [
    "blocks.yaml", "history.jsonl", "state", ".blocks.yaml.lock", ".apply.lock",
    ".blocks.yaml.new", ".state.new", "own_policies.json", "removals.jsonl", "",
]  # fmt: skip
"""Each is swapped with a link; the empty name stands for the folder itself."""
TARGETS = ["secret", "other.yaml", "created", "."]
"""Where the link leads, below root's folder: a file, a valid ledger, nothing, the folder."""
COMMANDS: list[tuple[str, ...]] = [
    ("block", "203.0.113.{number}", "--until", "never", "--no-wait"),
    ("list",),
    ("lift", "203.0.113.{number}"),
    ("apply",),
    ("history",),
]
QUICK = [("blocks.yaml", "other.yaml"), ("", ".")]
SECONDS = 3
IN_THE_PROOF = 20
"""How long the names are swapped. In the proof, the most telling pairs are swapped for longer."""


@contextmanager
def swapping(base: Path, one: Path, other: Path) -> Iterator[None]:
    """Let nobody swap two names until the block ends."""
    source = base / "swap.py"
    shutil.copy(Path(__file__).parents[1] / "harness" / "swap.py", source)
    source.chmod(0o644)
    process = spawn_as_nobody(PUBLIC_PYTHON, str(source), str(one), str(other))
    try:
        time.sleep(0.5)
        assert process.poll() is None
        yield
    finally:
        process.kill()
        process.wait()


def prepare(base: Path, name: str, target: str) -> tuple[Path, Path]:
    """Write the files; return the name to swap, and the link to swap it with."""
    root, home = base / "root", base / "home"
    root.mkdir(mode=0o755)
    for file, text in (("secret", SECRET), ("other.yaml", LEDGER)):
        (root / file).write_text(text)
        (root / file).chmod(0o600)
    (home / "var").mkdir(parents=True)
    (home / "var" / "blocks.yaml").write_text(LEDGER)
    for path in (home, home / "var", home / "var" / "blocks.yaml"):
        shutil.chown(path, NOBODY, NOBODY)
    (base / "config.yaml").write_text(
        "ledger: home/var/blocks.yaml\nfragment: exitpol.conf\nrelays:\n"
        "- {name: demo, torrc: torrc, control: control}\n"
    )
    (base / "torrc").write_text(f"ORPort 9001\nExitRelay 1\n%include {base}/exitpol.conf\n")
    (base / "exitpol.conf").write_text("")
    link = home / "link"
    as_nobody("ln", "-s", str(root / target), str(link))
    return home / "var" / name if name else home / "var", link


def exitpol(base: Path, *arguments: str) -> tuple[int, str]:
    """Run a command in this process: many times a second."""
    output = StringIO()
    with redirect_stdout(output), redirect_stderr(output):
        code = run(["--config", str(base / "config.yaml"), *arguments])
    return int(code), output.getvalue()


@pytest.mark.parametrize(
    ("name", "target"),
    [
        pytest.param(n, t, marks=() if (n, t) in QUICK else pytest.mark.slow, id=f"{n or '/'}-{t}")
        for n in NAMES
        for t in TARGETS
    ],
)
def test_no_swap_reaches_a_file_of_roots(open_folder: Path, name: str, target: str) -> None:
    """Whatever a name is at the moment, nothing of root's is read, written or made."""
    path, link = prepare(open_folder, name, target)
    root = open_folder / "root"
    before = picture(root)
    tries, lost = 0, []
    with swapping(open_folder, path, link):
        in_proof = "EXITPOL_EVIDENCE" in os.environ and (name, target) in QUICK
        deadline = time.monotonic() + (IN_THE_PROOF if in_proof else SECONDS)
        for number in itertools.cycle(range(1, 255)):
            if time.monotonic() > deadline:
                break
            for command in COMMANDS:
                words = [word.format(number=number) for word in command]
                code, output = exitpol(open_folder, *words)
                tries += 1
                if code == ExitCode.INTERNAL or "Traceback" in output:
                    lost.append(f"{words}: {output[-300:]}")
                if SECRET in output:
                    lost.append(f"{words} shows the secret: {output}")
            if picture(root) != before:
                lost.append(f"root's files changed after {tries} commands")
                break
    everything = [p for p in open_folder.rglob("*") if p.is_file() and not p.is_symlink()]
    copies = [p for p in everything if p.parent != root and SECRET.encode() in p.read_bytes()]
    lost += [f"the secret is copied into {p}" for p in copies]
    assert lost[:5] == []
    record(THING, tries)


def test_the_swapping_works(open_folder: Path) -> None:
    """A program that does not mind what it opens meets both files: the attack is a real one."""
    one, other = open_folder / "nobody" / "one", open_folder / "nobody" / "other"
    one.parent.mkdir()
    for path in (one, other):
        path.write_text(path.name)
    shutil.chown(one.parent, NOBODY, NOBODY)
    with swapping(open_folder, one, other):
        seen = {one.read_text() for _ in range(5_000)}
    assert seen == {"one", "other"}
