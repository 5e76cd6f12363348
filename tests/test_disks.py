"""Disks that are full, read-only or broken, and missing permissions: no file is truncated."""

import errno
import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.evidence import Thing, record
from tests.harness.host import EXITPOL, LoneExit
from tests.test_crash import CC, build_shim

pytestmark = pytest.mark.tor

THING = Thing.DISKS
FIRST, SECOND = "203.0.113.7", "203.0.113.9"
INVALID_FILE = 8


@pytest.fixture
def host(tmp_path: Path) -> Iterator[LoneExit]:
    """Set up an exit with one block, its ledger below `disk` and its fragment below `torrc.d`."""
    with LoneExit(tmp_path) as host:
        assert host.run("init").returncode == 0
        done = host.run("block", FIRST, "--until", "30d")
        assert done.returncode == 0, done.stderr
        yield host


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 256 kB; skip without the right to mount."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount") or "/bin/mount"
    mounted = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=256k,mode=700", "tmpfs", disk],
        check=False, capture_output=True,
    )  # fmt: skip
    if mounted.returncode != 0:
        pytest.skip("a tmpfs may not be mounted here: this needs root")
    try:
        yield disk
    finally:
        subprocess.run([shutil.which("umount") or "/bin/umount", "-l", disk], check=True)


def fill(disk: Path, pages: int) -> None:
    """Fill a disk, except for this many pages of 4 kB."""
    filler = disk / "filler"
    filler.unlink(missing_ok=True)
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as error:
            assert error.errno == errno.ENOSPC  # noqa: PT017 - this is how the disk is filled
            os.ftruncate(file.fileno(), max(0, file.seek(0, os.SEEK_END) // 4096 - pages) * 4096)


def destinations(ledger: Path) -> set[str]:
    """Read the ledger with another reader than exitpol's."""
    blocks = yaml.safe_load(ledger.read_text())["blocks"]
    return {block["destination"] for block in blocks if "ended" not in block}


def see_whole(host: LoneExit) -> None:
    """Check that ledger and fragment are complete, and that Tor runs and can read them."""
    assert FIRST in destinations(host.ledger)
    assert f"ExitPolicy reject {FIRST}:*" in host.fragment.read_text().splitlines()
    assert host.exit.alive
    assert host.exit.verifies().returncode == 0


def see_healed(host: LoneExit) -> None:
    """Check that one tick makes the desired, installed and enforced state equal."""
    tick = host.run("expire")
    assert tick.returncode == 0, tick.stderr
    wanted = {f"{destination}:*" for destination in destinations(host.ledger)}
    installed = re.findall(r"(?m)^ExitPolicy reject (\S+)$", host.fragment.read_text())
    assert set(installed) == wanted == host.rejected()


def see_failed(done: subprocess.CompletedProcess[str], code: int = INVALID_FILE) -> None:
    """Check that the output is an error for people."""
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == code, done.stderr
    assert "exitpol: error:" in done.stderr


@pytest.mark.slow
def test_full_disk_under_the_ledger_leaves_it_as_it_was(tmp_path: Path, small_disk: Path) -> None:
    """ENOSPC with 0 to 6 pages left: code 8 and the old ledger, or 0 and the new one."""
    with LoneExit(tmp_path) as host:
        (tmp_path / "ledger").symlink_to(small_disk)
        assert host.run("init").returncode == 0
        blocks = [f"198.18.0.{2 * number + 1}" for number in range(100)]
        assert host.run("block", FIRST, *blocks, "--until", "30d").returncode == 0
        outcomes = []
        for pages in range(7):
            before = destinations(host.ledger)
            fill(small_disk, pages)
            new = f"198.18.1.{2 * pages + 1}"
            done = host.run("block", new, "--until", "30d")
            outcomes.append(done.returncode)
            assert "Traceback" not in done.stderr, done.stderr
            assert done.returncode in (0, INVALID_FILE), done.stderr
            see_whole(host)
            assert before <= destinations(host.ledger) <= before | {new}
            if done.returncode == 0:
                assert new in destinations(host.ledger)
        assert outcomes[0] == INVALID_FILE
        fill(small_disk, 40)
        see_healed(host)
        record(THING, len(outcomes))


def test_full_disk_under_the_fragment_leaves_tor_with_the_old_one(
    tmp_path: Path, small_disk: Path
) -> None:
    """ENOSPC beside the torrc: the block is recorded, the old fragment stays, a tick repairs it."""
    with LoneExit(tmp_path) as host:
        real = small_disk / host.fragment.name
        real.write_text("")
        host.exit.torrc_text = host.exit.torrc_text.replace(str(host.fragment), str(real))
        host.exit.stop()
        host.fragment = real
        with host:
            assert host.run("init").returncode == 0
            assert host.run("block", FIRST, "--until", "30d").returncode == 0
            for pages in (0, 1):
                fill(small_disk, pages)
                done = host.run("block", f"198.18.2.{2 * pages + 1}", "--until", "30d")
                assert done.returncode in (0, INVALID_FILE), done.stderr
                assert "Traceback" not in done.stderr
                see_whole(host)
            fill(small_disk, 40)
            see_healed(host)
            record(THING, 2)


def test_read_only_disk_is_named_and_changes_nothing(tmp_path: Path, small_disk: Path) -> None:
    """A ledger on a file system that went read-only: code 8, and Tor is left alone."""
    with LoneExit(tmp_path) as host:
        (tmp_path / "ledger").symlink_to(small_disk)
        assert host.run("init").returncode == 0
        assert host.run("block", FIRST, "--until", "30d").returncode == 0
        mount = shutil.which("mount") or "/bin/mount"
        subprocess.run([mount, "-o", "remount,ro", small_disk], check=True)
        for command in (("block", SECOND, "--until", "1d"), ("lift", FIRST)):
            see_failed(host.run(*command))
        assert host.run("list").returncode == 0
        see_whole(host)
        subprocess.run([mount, "-o", "remount,rw", small_disk], check=True)
        see_healed(host)
        record(THING, 2)


class BreakableDisk:
    """An ext4 on a loop device. Its storage is a memory file, which can be made to fail for good.

    A sealed file refuses writes, and the device reports that as EIO.
    """

    def __init__(self, folder: Path, options: str) -> None:
        self.folder = folder
        """Where it is mounted."""
        self._storage = os.memfd_create("disk", os.MFD_ALLOW_SEALING)
        os.ftruncate(self._storage, 8 << 20)
        path = f"/proc/self/fd/{self._storage}"
        make = shutil.which("mkfs.ext4", path="/usr/sbin:/sbin") or "mkfs.ext4"
        subprocess.run([make, "-q", "-F", path], pass_fds=[self._storage], check=True)
        with open("/dev/loop-control", "rb") as control:  # noqa: PTH123 - a device
            number = fcntl.ioctl(control, 0x4C82)  # LOOP_CTL_GET_FREE
        self._loop = os.open(f"/dev/loop{number}", os.O_RDWR)
        # Without O_DIRECT, what is beyond the file's end would be read as zeros.
        direct = os.open(path, os.O_RDWR | os.O_DIRECT)
        fcntl.ioctl(self._loop, 0x4C00, direct)  # LOOP_SET_FD
        os.close(direct)
        mount = shutil.which("mount") or "/bin/mount"
        command = [mount, "-t", "ext4", "-o", options, f"/dev/loop{number}", str(folder)]
        if subprocess.run(command, check=False).returncode != 0:
            self._detach()
            raise OSError(errno.EPERM, "an ext4 may not be mounted")

    def break_writing(self) -> None:
        """Let every write of the device fail from now on."""
        os.sync()
        fcntl.fcntl(self._storage, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)

    def break_reading(self, *paths: Path) -> None:
        """Lose the disk blocks of these files, and all later ones."""
        first = 8 << 20
        for path in paths:
            with path.open("rb") as file:
                os.fsync(file.fileno())
                answer = fcntl.ioctl(file, 1, bytes(4))  # FIBMAP
                size = os.fstatvfs(file.fileno()).f_bsize
                first = min(first, int.from_bytes(answer, sys.byteorder) * size)
        os.sync()
        os.ftruncate(self._storage, first)
        fcntl.fcntl(self._storage, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW)
        for path in paths:
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            with pytest.raises(OSError, match="Input/output error"):
                path.read_bytes()

    def replace_with(self, backup: dict[str, bytes]) -> None:
        """Remove the disk, and put the files of its backup in its place."""
        self.remove()
        for name, content in backup.items():
            (self.folder / name).write_bytes(content)

    def remove(self) -> None:
        """Remove the disk; a second call does nothing."""
        if self._loop >= 0:
            umount = shutil.which("umount") or "/bin/umount"
            subprocess.run([umount, "-l", self.folder], check=True)
            self._detach()

    def _detach(self) -> None:
        fcntl.ioctl(self._loop, 0x4C01)  # LOOP_CLR_FD
        os.close(self._loop)
        os.close(self._storage)
        self._loop = -1


@pytest.fixture
def breakable(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BreakableDisk]:
    """Mount a disk that can be broken; skip without the right to do so."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        disk = BreakableDisk(folder, getattr(request, "param", "errors=continue"))
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no disk can be broken here: this needs root and loop devices ({error})")
    yield disk
    disk.remove()


def set_up(host: LoneExit, disk: BreakableDisk) -> dict[str, bytes]:
    """Set up an exit with one block and return the backup of its disk: all files of its folder."""
    assert host.run("init").returncode == 0
    assert host.run("block", FIRST, "--until", "30d").returncode == 0
    return {path.name: path.read_bytes() for path in disk.folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("breakable", ["errors=continue", "errors=remount-ro"], indirect=True)
def test_disk_that_no_longer_writes_keeps_the_ledger_it_has(
    tmp_path: Path, breakable: BreakableDisk
) -> None:
    """EIO from a device under the ledger: code 8, the old ledger, Tor left alone."""
    with LoneExit(tmp_path) as host:
        (tmp_path / "ledger").symlink_to(breakable.folder)
        backup = set_up(host, breakable)
        breakable.break_writing()
        commands = (
            ("block", SECOND, "--until", "1d"),
            ("lift", FIRST),
            ("renew", FIRST, "--until", "2d"),
        )
        for command in commands:
            see_failed(host.run(*command))
            see_whole(host)
            assert destinations(host.ledger) == {FIRST}
        assert FIRST in host.run("list").stdout
        assert host.rejected() == {f"{FIRST}:*"}
        breakable.replace_with(backup)
        see_healed(host)
        record(THING, len(commands))


def test_ledger_that_cannot_be_read_is_not_an_empty_one(
    tmp_path: Path, breakable: BreakableDisk
) -> None:
    """EIO at reading the ledger: code 8, nothing is lifted, also not by the tick."""
    with LoneExit(tmp_path) as host:
        (tmp_path / "ledger").symlink_to(breakable.folder)
        backup = set_up(host, breakable)
        breakable.break_reading(host.ledger)
        commands = (("expire",), ("apply",), ("list",), ("block", SECOND, "--until", "1d"))
        for command in commands:
            done = host.run(*command)
            see_failed(done)
            assert "Input/output error" in done.stderr
            assert host.rejected() == {f"{FIRST}:*"}
        breakable.replace_with(backup)
        see_healed(host)
        record(THING, len(commands))


@pytest.mark.parametrize("fault", ["writing", "reading"])
def test_disk_that_breaks_under_the_fragment_does_not_harm_tor(
    tmp_path: Path, breakable: BreakableDisk, fault: str
) -> None:
    """EIO beside the torrc: code 8, Tor keeps the old rules, a new disk repairs it."""
    with LoneExit(tmp_path) as host:
        real = breakable.folder / host.fragment.name
        real.write_text("")
        host.exit.torrc_text = host.exit.torrc_text.replace(str(host.fragment), str(real))
        host.exit.stop()
        host.fragment = real
        with host:
            backup = set_up(host, breakable)
            if fault == "writing":
                breakable.break_writing()
            else:
                breakable.break_reading(real)
            done = host.run("block", SECOND, "--until", "30d")
            see_failed(done)
            # What a new block would do to the relay cannot be judged without the present rules.
            recorded = {FIRST, SECOND} if fault == "writing" else {FIRST}
            assert destinations(host.ledger) == recorded
            assert host.exit.alive
            assert host.rejected() == {f"{FIRST}:*"}
            breakable.replace_with(backup)
            see_whole(host)
            see_healed(host)
            record(THING, 1)


PERMISSIONS = {
    "ledger unreadable": ("ledger/blocks.yaml", 0o000),
    "ledger's folder read-only": ("ledger", 0o500),
    "ledger's folder closed": ("ledger", 0o000),
    "config unreadable": ("config.yaml", 0o000),
}


@pytest.mark.parametrize("what", PERMISSIONS)
def test_missing_permissions_are_named_and_change_nothing(host: LoneExit, what: str) -> None:
    """Files that may not be read or written: code 8 with a hint, everything as before."""
    name, mode = PERMISSIONS[what]
    path = host.folder / name
    before = path.stat().st_mode
    path.chmod(mode)
    try:
        see_failed(as_anybody(host, "block", SECOND, "--until", "1d"))
    finally:
        path.chmod(before)
    see_whole(host)
    see_healed(host)
    record(THING, 1)


def test_fragment_that_may_not_be_replaced_stays_and_the_block_is_kept(host: LoneExit) -> None:
    """Without the right to write beside the fragment: code 8; a tick with that right repairs it."""
    folder = host.fragment.parent
    folder.chmod(0o555)
    try:
        done = as_anybody(host, "block", SECOND, "--until", "1d")
    finally:
        folder.chmod(0o755)
    see_failed(done)
    see_whole(host)
    see_healed(host)
    record(THING, 1)


def as_anybody(host: LoneExit, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run exitpol subject to permissions, even if the tests run as root."""
    command = [*EXITPOL, *arguments]
    if os.geteuid() == 0:
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            pytest.skip("setpriv (util-linux) is missing: root would pass all permissions")
        command = [setpriv, "--bounding-set", "-dac_override,-dac_read_search", *command]
    return subprocess.run(
        command, env=host.environment, check=False, capture_output=True, text=True, timeout=60
    )


@pytest.mark.slow
@pytest.mark.skipif(not CC, reason="no C compiler to build crash.c with")
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC, errno.EDQUOT], ids=errno.errorcode.get)
def test_each_call_may_fail_and_nothing_is_lost(host: LoneExit, tmp_path: Path, error: int) -> None:
    """Each call of `block` in turn fails with EIO, ENOSPC or EDQUOT: nothing is lost."""
    environment = {"LD_PRELOAD": str(build_shim(tmp_path)), "PYTHONDONTWRITEBYTECODE": "1"}
    log = tmp_path / "calls"
    done = host.run(
        "block", "198.18.9.1", "--until", "1d", environment=environment | {"CRASH_COUNT": str(log)}
    )
    assert done.returncode == 0
    steps = len(log.read_text().splitlines())
    for step in range(1, steps + 1):
        before = destinations(host.ledger)
        new = f"198.19.{step // 100}.{step % 100 * 2 + 1}"
        fault = {"CRASH_AT": str(step), "CRASH_ERRNO": str(error)}
        done = host.run("block", new, "--until", "30d", environment=environment | fault)
        what = (step, log.read_text().splitlines()[step - 1], done)
        assert "Traceback" not in done.stderr, what
        # The last call writes the output: all work is done by then.
        silenced = done.returncode == 1 and "the output cannot be written" in done.stderr
        assert silenced or done.returncode in (0, 3, 5, 6, 7, 8), what
        assert before <= destinations(host.ledger) <= before | {new}, what
        if done.returncode == 0 or silenced:
            assert new in destinations(host.ledger), what
        see_whole(host)
        see_healed(host)
    record(THING, steps)


@pytest.mark.skipif(not CC, reason="no C compiler to build crash.c with")
def test_failed_replacement_says_rightly_whether_the_file_is_the_old_one(tmp_path: Path) -> None:
    """EIO at each call of a replacement: the file is old or new, and the message says which."""
    path, log = tmp_path / "file", tmp_path / "calls"
    code = (
        "import pathlib, sys\n"
        "from exitpolicy.core import errors\n"
        "from exitpolicy.storage import files\n"
        "try: files.replace(pathlib.Path(sys.argv[1]), b'new')\n"
        "except errors.InvalidFileError as error: print(error)\n"
    )

    def replace(**more: str) -> str:
        path.write_text("old")
        environment = {**os.environ, **more, "LD_PRELOAD": str(build_shim(tmp_path))}
        environment["PYTHONDONTWRITEBYTECODE"] = "1"
        return subprocess.run(
            [sys.executable, "-c", code, path],
            env=environment, check=True, capture_output=True, text=True, timeout=60,
        ).stdout  # fmt: skip

    assert replace(CRASH_COUNT=str(log)) == ""
    assert path.read_text() == "new"
    steps = len(log.read_text().splitlines())
    said = []
    for step in range(1, steps + 1):
        said.append(replace(CRASH_AT=str(step), CRASH_ERRNO=str(errno.EIO)))
        assert "Input/output error" in said[-1], step
        assert ("it is unchanged" in said[-1]) == (path.read_text() == "old"), said[-1]
    assert "is changed, but" in said[-1]
    record(THING, steps)
