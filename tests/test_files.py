"""`files`: a file is replaced in one step or not at all; only regular files are read."""

import os
import shutil
import stat
import subprocess
import time
from pathlib import Path

import pytest

from exitpolicy.core.errors import InvalidFileError
from exitpolicy.storage import files
from exitpolicy.storage.files import Ownership

SETFACL = shutil.which("setfacl") or ""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a file that exists already."""
    path = tmp_path / "blocks.yaml"
    path.write_bytes(b"old")
    path.chmod(0o604)
    return path


def mode(path: Path) -> int:
    """Return the mode of a file."""
    return stat.S_IMODE(path.stat().st_mode)


def test_content_is_replaced_whole_and_mode_kept(path: Path) -> None:
    """The file has the new content and its former mode, and no other file is left."""
    os.chown(path, 12345, 54321)
    inode = path.stat().st_ino
    files.replace(path, b"new")
    found = path.stat()
    assert path.read_bytes() == b"new"
    assert (mode(path), found.st_uid, found.st_gid) == (0o604, 12345, 54321)
    assert found.st_ino != inode
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("ownership", "expected"), [(None, 0o640), (Ownership(0o600, 0, 0), 0o600)]
)
def test_a_new_file_is_no_more_open_than_it_should(
    tmp_path: Path, ownership: Ownership | None, expected: int
) -> None:
    """A new file has mode 0640, or the one that is given; the umask does not change it."""
    before = os.umask(0)
    try:
        files.replace(tmp_path / "new", b"x", ownership)
    finally:
        os.umask(before)
    assert mode(tmp_path / "new") == expected


def test_what_is_staged_is_not_yet_there(path: Path) -> None:
    """The file is unchanged until the commit; Tor ignores the name of the candidate."""
    staged = files.stage(path, b"new")
    assert staged == path.with_name(".blocks.yaml.new") == files.staged_path(path)
    assert (path.read_bytes(), staged.read_bytes()) == (b"old", b"new")
    files.commit(path)
    assert path.read_bytes() == b"new"
    assert not staged.exists()


def test_what_a_crash_left_behind_is_overwritten(path: Path, tmp_path: Path) -> None:
    """A half-written candidate, or a link in its place, is replaced."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    files.staged_path(path).symlink_to(victim)
    files.replace(path, b"new")
    assert (path.read_bytes(), victim.read_bytes()) == (b"new", b"precious")
    assert not path.is_symlink()
    files.stage(path, b"half")
    files.replace(path, b"whole")
    assert path.read_bytes() == b"whole"


def test_what_is_discarded_is_gone(path: Path) -> None:
    """A discarded candidate leaves no file; discarding none is no error."""
    files.discard(files.stage(path, b"new"))
    files.discard(files.staged_path(path))
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """The error says in which state the file is."""
    with pytest.raises(
        InvalidFileError, match="cannot be written: No such file or directory; it is"
    ):
        files.replace(tmp_path / "none" / "x", b"new")


def test_a_folder_in_place_of_the_file_is_an_error(tmp_path: Path) -> None:
    """If a folder has the name, nothing is written and no candidate is left."""
    (tmp_path / "x").mkdir()
    with pytest.raises(
        InvalidFileError, match="cannot be written: Is a directory; it is unchanged"
    ):
        files.replace(tmp_path / "x", b"new")


def test_a_full_disk_changes_nothing(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """If writing fails, the file is unchanged and the candidate is removed."""
    real = os.write

    def write(descriptor: int, data: bytes) -> int:
        if len(data) < 3:
            raise OSError(28, "No space left on device")
        return real(descriptor, data[:1])

    monkeypatch.setattr("os.write", write)
    with pytest.raises(InvalidFileError, match="No space left on device; it is unchanged"):
        files.replace(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]


def test_a_file_is_read_up_to_its_limit(path: Path) -> None:
    """The limit itself fits; one byte more is an error, and not read into memory."""
    assert files.read(path, "ledger", limit=3) == b"old"
    with pytest.raises(InvalidFileError, match="the ledger is larger than 2 bytes"):
        files.read(path, "ledger", limit=2)


def test_what_cannot_be_read_is_an_error_at_once(tmp_path: Path) -> None:
    """A FIFO, a device, a folder or a name that is too long is an error without waiting."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    start = time.monotonic()
    for name, why in {
        "fifo": "is not a regular file",
        "/dev/zero": "is not a regular file",
        ".": "cannot be read: Is a directory",
        "loop": "Too many levels of symbolic links",
        "x" * 300: "File name too long",
    }.items():
        with pytest.raises(InvalidFileError, match=why):
            files.read(tmp_path / name, "config", limit=9)
    assert time.monotonic() - start < 1
    with pytest.raises(FileNotFoundError):
        files.read(tmp_path / "none", "config", limit=9)


def test_ownership_of_nothing_is_none(path: Path) -> None:
    """A file has mode and owner, a missing one has none."""
    assert files.ownership_of(path) == Ownership(0o604, os.geteuid(), os.getegid())
    assert files.ownership_of(path.with_name("none")) is None


@pytest.mark.root
@pytest.mark.skipif(not SETFACL, reason="there is no setfacl")
def test_a_link_in_a_folder_that_an_acl_opens_is_not_followed(tmp_path: Path) -> None:
    """The folder belongs to root, but another user can write in it and may have made the link."""
    folder = tmp_path / "shared"
    folder.mkdir(mode=0o755)
    (folder / "blocks.yaml").symlink_to(tmp_path / "other.yaml")
    (tmp_path / "other.yaml").write_text("x")
    assert files.read_own(folder / "blocks.yaml", "ledger", limit=10, follow=True) == b"x"
    subprocess.run([SETFACL, "-m", "u:nobody:rwx", folder], check=True)
    with pytest.raises(InvalidFileError, match="that others can write"):
        files.read_own(folder / "blocks.yaml", "ledger", limit=10, follow=True)
