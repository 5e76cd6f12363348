"""`fragment`: the text that Tor includes, and its file."""

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exitpolicy.core.errors import InvalidFileError
from exitpolicy.policy.rule import Rule, parse_rule
from exitpolicy.storage import files
from exitpolicy.tor import fragment
from tests.strategies import rules


@given(st.lists(rules(), max_size=8))
def test_the_rules_are_read_back_in_their_order(written: list[Rule]) -> None:
    """The fragment holds exactly these rules, in this order, below a header of comments."""
    text = fragment.render(written)
    assert fragment.rules_of(text) == tuple(written)
    rest = [line for line in text.splitlines() if not line.startswith("ExitPolicy ")]
    assert len(rest) == 2
    assert all(line.startswith("# ") for line in rest)


@given(st.text())
def test_any_text_has_rules_or_none(text: str) -> None:
    """Of a fragment that somebody has edited, only the ExitPolicy lines count."""
    assert len(fragment.rules_of(text)) <= text.count("ExitPolicy ")


def test_a_fragment_is_read_as_it_is(tmp_path: Path) -> None:
    """A missing fragment is None; bytes that are not UTF-8 are kept."""
    path = tmp_path / "exitpol.conf"
    assert fragment.read(path) is None
    path.write_bytes(b"# caf\xe9\n")
    assert (fragment.read(path) or "").encode("utf-8", "surrogateescape") == b"# caf\xe9\n"


def test_a_link_is_refused(tmp_path: Path) -> None:
    """A rename would replace the link; the hint turns it into a file, even a link to itself."""
    path = tmp_path / "exitpol.conf"
    for target in ("other", "exitpol.conf"):
        path.symlink_to(target)
        with pytest.raises(InvalidFileError, match="is a symbolic link") as caught:
            fragment.read(path)
        assert caught.value.hint == (
            f"make it a file of its own: cp --remove-destination {tmp_path / target} {path}"
        )
        path.unlink()


@pytest.mark.parametrize(
    ("make", "message"),
    [(os.mkdir, "cannot be read: Is a directory"), (os.mkfifo, "is not a regular file")],
)
def test_what_is_no_file_is_an_error(tmp_path: Path, make: object, message: str) -> None:
    """A folder or a FIFO in its place is named at once."""
    assert callable(make)
    make(tmp_path / "exitpol.conf")
    with pytest.raises(InvalidFileError, match=f"the fragment {message}"):
        fragment.read(tmp_path / "exitpol.conf")
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidFileError, match="Not a directory"):
        fragment.read(tmp_path / "file" / "exitpol.conf")


@pytest.mark.parametrize(("before", "after"), [(None, 0o644), (0o600, 0o644), (0o664, 0o664)])
def test_every_tor_of_the_host_may_read_it(tmp_path: Path, before: int | None, after: int) -> None:
    """The relays run as different users, so the candidate is readable by all; the owner stays."""
    path = tmp_path / "exitpol.conf"
    if before is not None:
        path.write_text("")
        path.chmod(before)
        os.chown(path, 12345, 54321)
    staged = fragment.stage(path, fragment.render(parse_rule("reject *:25")))
    found = staged.stat()
    assert stat.S_IMODE(found.st_mode) == after
    assert (found.st_uid, found.st_gid) == (
        (12345, 54321) if before is not None else (os.geteuid(), os.getegid())
    )
    files.commit(path)
    assert fragment.read(path) == fragment.render(parse_rule("reject *:25"))
