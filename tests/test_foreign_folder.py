"""Root works in another user's folder: a planted link reaches only files of that user."""

import contextlib
import ctypes
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from exitpolicy import tick
from exitpolicy.core.block import Block, Blocks
from exitpolicy.core.destination import parse_destination
from exitpolicy.core.errors import ExitpolError, InvalidFileError
from exitpolicy.operations import complaints, fleet_ledger, fleet_record, lists, removals
from exitpolicy.operations.host import Host
from exitpolicy.storage import files, history, ledger_file, observed, own_policies
from exitpolicy.storage.config import Config
from exitpolicy.storage.ledger_file import Ledger
from exitpolicy.storage.locks import apply_lock_path, ledger_lock_path, lock, lock_folder
from exitpolicy.storage.observed import Observation

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who has something to lose")

USER, OTHER = 12345, 23456
PRECIOUS = b"version: 2\nblocks: []\n"
"""Root's own file. It is a valid ledger, so that its content is no reason to refuse it."""
BLOCK = Block(parse_destination("203.0.113.7"), datetime(2026, 11, 22, tzinfo=UTC), None, "$(id)")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Return a folder of root that every user can enter."""
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    return tmp_path


@pytest.fixture
def ledger(base: Path) -> Path:
    """Return a ledger in a folder of USER's."""
    folder = base / "home"
    folder.mkdir()
    path = folder / "blocks.yaml"
    path.write_bytes(PRECIOUS)
    for owned in (folder, path):
        os.chown(owned, USER, USER)
    return path


@pytest.fixture
def victim(base: Path) -> Path:
    """Return a file of root's, with the set-user-ID bit, outside that folder."""
    path = base / "victim"
    path.write_bytes(PRECIOUS)
    path.chmod(0o4755)
    return path


def use(ledger: Path) -> list[str]:
    """Run everything that exitpol does in the ledger's folder; return the messages."""
    said = []

    def attempt(do: Callable[[], object]) -> None:
        try:
            do()
        except ExitpolError as error:
            said.append(str(error))

    def locked(path: Path) -> None:
        with lock(path, seconds=0.1, doing="x"):
            pass

    history_path, state = ledger.with_name("history.jsonl"), observed.path_beside(ledger)
    attempt(lambda: locked(apply_lock_path(ledger)))
    attempt(lambda: locked(ledger_lock_path(ledger)))
    attempt(lambda: ledger_file.load(ledger))
    attempt(lambda: ledger_file.save(ledger, Ledger(Blocks.of([BLOCK]))))
    attempt(lambda: ledger_file.remember(ledger, Ledger(Blocks.of([BLOCK]))))
    attempt(lambda: ledger_file.load(ledger_file.last_valid_path(ledger)))
    attempt(lambda: history.append(history_path, "block", [BLOCK], BLOCK.since, "root"))
    attempt(lambda: list(history.read(history_path)))
    attempt(lambda: observed.save(state, Observation(1.0, None, True, {})))
    attempt(lambda: observed.load(state))
    attempt(lambda: tick.due(str(state), 1.0))
    policies = own_policies.path_beside(ledger)
    attempt(lambda: own_policies.load(policies))
    attempt(lambda: own_policies.save(policies, {}))
    host = Host(Config(ledger=ledger), (), "root", lambda: BLOCK.since)
    attempt(lambda: removals.announce(host, "lift", [BLOCK]))
    attempt(lambda: removals.announced(host))
    attempt(lambda: removals.record(host, ()))
    return said


NAMES = (
    "blocks.yaml",
    ".blocks.yaml.new",
    ".blocks.yaml.lock",
    ".apply.lock",
    "history.jsonl",
    "history.jsonl.1",
    "state",
    ".state.new",
    "own_policies.json",
    "last_valid.yaml",
    "removals.jsonl",
)
PLANTS: dict[str, Callable[[Path, Path], None]] = {
    "link": lambda path, victim: path.symlink_to(victim),
    "link to nothing": lambda path, victim: path.symlink_to(victim.with_name("new")),
    "relative link": lambda path, victim: path.symlink_to(f"../{victim.name}"),
    "hard link": lambda path, victim: path.hardlink_to(victim),
    "FIFO": lambda path, _: os.mkfifo(path),
    "folder": lambda path, _: path.mkdir(),
    "endless": lambda path, _: path.symlink_to("/dev/zero"),
    "full": lambda path, _: path.symlink_to("/dev/full"),
    "loop": lambda path, _: path.symlink_to(path),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("plant", PLANTS)
def test_nothing_planted_reaches_a_file_of_root(
    ledger: Path, victim: Path, name: str, plant: str
) -> None:
    """Nothing changes outside the folder, nothing hangs, and errors name the file."""
    path = ledger.with_name(name)
    path.unlink(missing_ok=True)
    PLANTS[plant](path, victim)
    os.lchown(path, 0 if plant == "hard link" else USER, -1)
    victim.chmod(0o4755)
    start = time.monotonic()
    said = use(ledger)
    assert time.monotonic() - start < 3
    assert all(str(ledger.parent) in message for message in said)
    assert victim.read_bytes() == PRECIOUS
    assert stat.S_IMODE(victim.stat().st_mode) == 0o4755
    assert sorted(p.name for p in ledger.parent.parent.iterdir()) == ["home", "victim"]
    for made in ledger.parent.iterdir():
        found = made.lstat()
        if stat.S_ISREG(found.st_mode) and not os.path.samestat(found, victim.stat()):
            assert not found.st_mode & 0o7000, made


def test_a_folder_that_is_swapped_for_a_link_is_not_followed(base: Path, victim: Path) -> None:
    """A link above the ledger leads only to a folder of the user who could make it."""
    home, ours, theirs = base / "home", base / "home" / "own", base / "elsewhere"
    for folder, owner in ((home, USER), (ours, USER), (theirs, OTHER)):
        folder.mkdir()
        os.chown(folder, owner, owner)
    ledger = home / "git" / "blocks.yaml"
    for target in (base, theirs):
        (home / "git").symlink_to(target)
        with pytest.raises(InvalidFileError, match="leads to a folder that is not that user's"):
            ledger_file.save(ledger, Ledger(Blocks.of()))
        with pytest.raises(InvalidFileError, match="leads to a folder that is not that user's"):
            lock_folder(home / "git" / "new" / "blocks.yaml")
        assert not (target / "blocks.yaml").exists()
        (home / "git").unlink()
    (home / "git").symlink_to("own")
    ledger_file.save(ledger, Ledger(Blocks.of([BLOCK])))
    assert (ours / "blocks.yaml").stat().st_uid == USER
    assert victim.read_bytes() == PRECIOUS


def test_a_ledger_may_be_a_link_as_far_as_its_author_reaches(base: Path, ledger: Path) -> None:
    """Root's link leads to a user's checkout; a user's link leads to that user's other folders."""
    other = base / "checkout"
    other.mkdir()
    os.chown(other, USER, USER)
    real = other / "real.yaml"
    ledger.rename(real)
    by_root = base / "blocks.yaml"
    for link in (ledger, by_root):
        link.symlink_to(real)
        if link is ledger:
            os.lchown(link, USER, USER)
        ledger_file.save(link, Ledger(Blocks.of([BLOCK])))
        assert link.is_symlink()
        assert list(ledger_file.load(link).blocks) == [BLOCK]
        assert (real.stat().st_uid, real.stat().st_gid) == (USER, USER)
        ledger_file.save(link, Ledger(Blocks.of()))


def test_a_file_that_the_operator_names_is_no_link_to_a_secret(
    base: Path, ledger: Path, victim: Path
) -> None:
    """An error would quote it. This holds for the ledger of a fleet, a list and a complaint."""
    victim.write_text("root:$6$secret:20228:0:99999:7:::\n")
    victim.chmod(0o600)
    named = ledger.with_name("from.yaml")
    named.symlink_to(victim)
    os.lchown(named, USER, USER)
    for read in (
        fleet_ledger.read,
        lists.content_of,
        lambda name: complaints.read_file(Path(name)),
        lambda name: fleet_record.record(Path(name), lambda blocks: (blocks, ()), dry_run=True),
    ):
        with pytest.raises(ExitpolError, match="symbolic link of another user") as caught:
            read(str(named))
        assert "secret" not in str(caught.value)
    # A link to a file of its author, and one that root placed, are followed.
    named.unlink()
    named.symlink_to(ledger)
    os.lchown(named, USER, USER)
    by_root = base / "by_root"
    by_root.symlink_to(ledger)
    for path in (named, by_root, ledger):
        assert fleet_ledger.read(str(path)) == Ledger(Blocks.of())
    with ledger.open("rb") as file:
        number = f"/dev/fd/{file.fileno()}"
        ledger.unlink()
        assert fleet_ledger.read(number) == Ledger(Blocks.of()), "a file without a name"


def test_in_a_shared_folder_no_link_is_followed(base: Path, victim: Path) -> None:
    """In a folder that all can write, a link counts only with the sticky bit, as its owner's."""
    shared = base / "shared"
    shared.mkdir()
    link = shared / "blocks.yaml"
    link.symlink_to(victim)
    os.lchown(link, USER, USER)
    for mode, why in (
        (0o777, "a symbolic link in a folder that others can write"),
        (0o1777, "leads to a folder that is not that user's"),
    ):
        shared.chmod(mode)
        with pytest.raises(InvalidFileError, match=why):
            ledger_file.load(link)
    os.lchown(link, 0, 0)
    assert ledger_file.load(link) == Ledger(Blocks.of())


def test_a_new_file_belongs_to_the_user_of_the_folder(ledger: Path) -> None:
    """The user can read and remove what root makes; others read what the ledger holds, if that."""
    assert use(ledger) == []
    for made in ledger.parent.iterdir():
        found = made.stat()
        assert (found.st_uid, found.st_gid) == (USER, USER), made
        as_ledger = {ledger, ledger_file.last_valid_path(ledger)}
        assert not found.st_mode & 0o007 or made in as_ledger, made


SWAP = """
import ctypes, os, sys
os.setgid(int(sys.argv[3]))
os.setuid(int(sys.argv[3]))
os_rename = ctypes.CDLL(None).renameat2
print("swapping", flush=True)
while True:
    os_rename(-100, sys.argv[1].encode(), -100, sys.argv[2].encode(), 2)
"""


@pytest.fixture
def swapped(ledger: Path, victim: Path) -> Iterator[Path]:
    """Let USER exchange the ledger and a link to root's file as fast as possible."""
    if not hasattr(ctypes.CDLL(None), "renameat2"):
        pytest.skip("this libc has no renameat2")
    link = ledger.with_name("link")
    link.symlink_to(victim)
    os.lchown(link, USER, USER)
    command = [sys.executable, "-c", SWAP, str(ledger), str(link), str(USER)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield ledger
        process.kill()


def test_no_moment_between_check_and_use(swapped: Path, victim: Path) -> None:
    """However the link and the ledger are exchanged, root's file is never the one written."""
    written = 0
    end = time.monotonic() + 4
    while time.monotonic() < end:
        with contextlib.suppress(InvalidFileError):
            files.replace(swapped, b"new", follow=True)
            written += 1
        assert victim.read_bytes() == PRECIOUS
    assert written


@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_deep_folders_are_writable_by_their_owner_only(base: Path, umask: int) -> None:
    """No umask of the caller makes a new folder writable by others."""
    before = os.umask(umask)
    try:
        lock_folder(base / "a" / "b" / "c" / "blocks.yaml")
    finally:
        os.umask(before)
    for folder in (base / "a", base / "a" / "b", base / "a" / "b" / "c"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o755 & ~umask


def acl(path: Path) -> list[str]:
    """Return the ACL entries of a file."""
    done = subprocess.run(
        ["/usr/bin/getfacl", "-cpn", str(path)], capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_a_replaced_file_keeps_its_acl(ledger: Path) -> None:
    """Named users keep their access, and the folder's default ACL adds nobody."""
    command = ["/usr/bin/setfacl", "-m", f"u:{OTHER}:r", str(ledger)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no ACLs here")
    before = acl(ledger)
    assert f"user:{OTHER}:r--" in before
    files.replace(ledger, b"new")
    assert acl(ledger) == before
    plain = ledger.with_name("plain")
    files.replace(plain, b"old")
    before = acl(plain)
    subprocess.run(
        ["/usr/bin/setfacl", "-d", "-m", f"u:{OTHER}:rw", str(ledger.parent)], check=True
    )
    files.replace(plain, b"new")
    assert acl(plain) == before
