"""The ledger's folder belongs to another user, who plants something for every file in it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.evidence import Thing, record
from tests.harness.attack import NOBODY, as_nobody, exitpol, picture

THING = Thing.FOREIGN_FOLDER
pytestmark = pytest.mark.root

SECRET = "root-only-secret-8f1b"
LEDGER = (
    "version: 1\nblocks:\n"
    '- {destination: "203.0.113.1", since: "2026-01-01", until: "2026-01-02", reason: "$(id)"}\n'
    '- {destination: "203.0.113.2", since: "2026-01-01", until: never}\n'
)
FILES = [
    "blocks.yaml", "history.jsonl", "state", ".blocks.yaml.lock", ".apply.lock",
    ".blocks.yaml.new", ".state.new", ".history.jsonl.new",
]  # fmt: skip
COMMANDS: list[tuple[str, ...]] = [
    ("block", "203.0.113.9", "--until", "1d", "--no-wait"),
    ("renew", "203.0.113.2", "--until", "2d"),
    ("lift", "203.0.113.2"),
    ("apply",),
    ("tick",),
    ("init",),
    ("list", "--all"),
    ("history",),
    ("status",),
    # The last one: it deletes the config.
    ("init", "--remove", "--purge", "--yes", "--force"),
]


def link_to_file(path: Path, root: Path) -> None:
    """Point to a file that only root may read and write."""
    as_nobody("ln", "-s", str(root / "secret"), str(path))


def link_to_ledger(path: Path, root: Path) -> None:
    """Point to a file of root's that is a valid ledger."""
    as_nobody("ln", "-s", str(root / "other.yaml"), str(path))


def link_to_nothing(path: Path, root: Path) -> None:
    """Point to a file that root would create in its own folder."""
    as_nobody("ln", "-s", str(root / "created"), str(path))


def link_to_folder(path: Path, root: Path) -> None:
    """Point to a folder of root's."""
    as_nobody("ln", "-s", str(root), str(path))


def link_to_itself(path: Path, _root: Path) -> None:
    """Point to itself."""
    as_nobody("ln", "-s", str(path), str(path))


def link_to_endless(path: Path, _root: Path) -> None:
    """Point to a file without an end."""
    as_nobody("ln", "-s", "/dev/zero", str(path))


def hard_link(path: Path, root: Path) -> None:
    """Be another name of root's file, as where protected_hardlinks is 0."""
    path.hardlink_to(root / "secret")


def fifo(path: Path, _root: Path) -> None:
    """Be a pipe that nobody writes to."""
    as_nobody("mkfifo", str(path))


def folder(path: Path, _root: Path) -> None:
    """Be a folder, with a file in it."""
    as_nobody("mkdir", str(path))
    as_nobody("touch", str(path / "x"))


def unreadable(path: Path, _root: Path) -> None:
    """Be a file without any rights."""
    as_nobody("sh", "-c", f"printf x > '{path}' && chmod 000 '{path}'")


def noise(path: Path, _root: Path) -> None:
    """Be a file of bytes that are no text."""
    as_nobody("sh", "-c", f"head -c 5000 /dev/urandom > '{path}'")


PLANTS = [
    link_to_file, link_to_ledger, link_to_nothing, link_to_folder, link_to_itself, link_to_endless,
    hard_link, fifo, folder, unreadable, noise,
]  # fmt: skip


def prepare(base: Path) -> tuple[Path, Path]:
    """Write root's files and the ledger folder of nobody anew, and return both folders."""
    root, var = base / "root", base / "var"
    for old in (root, var):
        shutil.rmtree(old, ignore_errors=True)
    root.mkdir(mode=0o755)
    for name, text in (("secret", SECRET), ("other.yaml", LEDGER)):
        (root / name).write_text(text)
        (root / name).chmod(0o600)
    var.mkdir()
    (var / "blocks.yaml").write_text(LEDGER)
    for path in (var, var / "blocks.yaml"):
        shutil.chown(path, NOBODY, NOBODY)
    return root, var


def holds_secret(path: Path, secret: Path) -> bool:
    """Tell whether a file of nobody's holds what only root may read."""
    if path.is_symlink() or not path.is_file() or path.samefile(secret):
        return False
    return SECRET.encode() in path.read_bytes()


def attack(base: Path, file: str, plant: Callable[[Path, Path], None]) -> list[str]:
    """Plant one thing before each command; return what root lost or gave away."""
    lost: list[str] = []
    config = base / "config.yaml"
    config.write_text(
        "ledger: var/blocks.yaml\nfragment: exitpol.conf\nrelays:\n"
        "- {name: demo, torrc: torrc, control: control}\n"
    )
    (base / "torrc").write_text(f"ORPort 9001\nExitRelay 1\n%include {base}/exitpol.conf\n")
    (base / "exitpol.conf").write_text("")
    for command in COMMANDS:
        root, var = prepare(base)
        (var / file).unlink(missing_ok=True)
        plant(var / file, root)
        before = picture(root)
        done = exitpol(config, *command)
        what = f"{file} as {plant.__name__}, {command[0]}"
        if done.fault:
            lost.append(f"{what}: {done.fault}")
        if picture(root) != before:
            lost.append(f"{what}: root's files changed")
        if SECRET in done.output:
            lost.append(f"{what}: the secret is shown: {done.output}")
        copies = [p.name for p in var.rglob("*") if holds_secret(p, root / "secret")]
        lost += [f"{what}: the secret is copied into {name}" for name in copies]
    return lost


@pytest.mark.parametrize(
    "plant",
    [pytest.param(p, marks=() if p is link_to_file else pytest.mark.slow) for p in PLANTS],
    ids=lambda plant: plant.__name__,
)
@pytest.mark.parametrize("file", FILES)
def test_nothing_of_roots_is_written_read_or_waited_for(
    open_folder: Path, file: str, plant: Callable[[Path, Path], None]
) -> None:
    """Whatever stands in the place of a file, commands end and root's files are untouched."""
    assert attack(open_folder, file, plant) == []
    record(THING, len(COMMANDS))
