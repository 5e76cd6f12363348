"""`history`: every change is one line, and no line damages another."""

import json
import os
import subprocess
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exitpolicy.core.block import Block
from exitpolicy.core.destination import parse_destination
from exitpolicy.core.durations import until_text
from exitpolicy.core.errors import InvalidFileError
from exitpolicy.storage import history
from exitpolicy.storage.history import Change
from tests.strategies import blocks

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
BLOCK = Block(parse_destination("203.0.113.7"), NOW, None, 'a "b"\n\u2028', "KZ#1")
CHANGE = Change(
    "2026-11-22T10:00:00Z", "block", "203.0.113.7", "never", BLOCK.reason, "KZ#1", "root"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a history may be written."""
    return tmp_path / "history.jsonl"


@settings(max_examples=50)
@given(many=st.lists(blocks(), min_size=1, max_size=4))
def test_what_is_appended_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, many: list[Block]
) -> None:
    """Each block is one change, in order, with its reason and reference unchanged."""
    path = tmp_path_factory.mktemp("history") / "history.jsonl"
    history.append(path, "renew", many, NOW, "timer")
    assert [(c.destination, c.until, c.reason, c.reference) for c in history.read(path)] == [
        (str(b.destination), until_text(b.until), b.reason, b.reference) for b in many
    ]
    assert path.read_bytes().count(b"\n") == len(many)


def test_changes_are_added_at_the_end(path: Path) -> None:
    """Earlier lines stay as they are; no change makes no file."""
    history.append(path, "lift", [], NOW, "root")
    assert not path.exists()
    assert list(history.read(path)) == []
    history.append(path, "block", [BLOCK], NOW, "root")
    before = path.read_bytes()
    history.append(path, "expire", [BLOCK], NOW, "timer")
    assert path.read_bytes().startswith(before)
    assert [(c.action, c.who) for c in history.read(path)] == [
        ("block", "root"),
        ("expire", "timer"),
    ]
    assert next(history.read(path)) == CHANGE
    assert path.stat().st_mode & 0o777 == 0o640
    assert path.name == "history.jsonl"


def test_the_relays_of_a_block_are_kept(path: Path) -> None:
    """A block of all relays names none, and a line that says something else is skipped."""
    history.append(path, "block", [BLOCK._replace(relays=("exit1", 'a"b/*'))], NOW, "root")
    history.append(path, "block", [BLOCK], NOW, "root")
    with path.open("a") as file:
        file.write(GOOD[:-1] + ', "relays": "exit1"}\n')
    assert [change.relays for change in history.read(path)] == [("exit1", 'a"b/*'), ()]


@pytest.mark.parametrize("rest", ['{"time": "2026', '{"time": "caf\udcc3', "\0"])
def test_a_line_that_was_cut_short_swallows_no_other(path: Path, rest: str) -> None:
    """After a crash in the middle of a line the next change starts a new one."""
    path.write_bytes(rest.encode("utf-8", "surrogateescape"))
    history.append(path, "block", [BLOCK], NOW, "root")
    assert list(history.read(path)) == [CHANGE]


GOOD = json.dumps(
    {
        name: getattr(CHANGE, name)
        for name in Change.__dataclass_fields__
        if name not in {"references", "name", "relays"}
    }
)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"nonsense",
        b"\xff\xfe",
        b"9" * 5000,
        b"[" * 100_000,
        b'{"a":' * 100_000,
        GOOD.replace("time", "when").encode(),
        GOOD.replace("}", ', "references": "T#1"}').encode(),
        GOOD.encode()[:-1],
    ],
)
def test_a_line_that_is_none_is_passed_over(path: Path, line: bytes) -> None:
    """An invalid line between two changes is skipped."""
    path.write_bytes(b"\n".join([GOOD.encode(), line, GOOD.encode()]) + b"\n")
    assert list(history.read(path)) == [CHANGE, CHANGE]


def test_every_ticket_is_kept(path: Path) -> None:
    """The provider's ticket is kept beside the CERT's; a line of a former version has none."""
    block = BLOCK._replace(references=("ISP-1", "R 2"))
    history.append(path, "block", [block, BLOCK], NOW, "root")
    both, one = history.read(path)
    assert both.all_references == ("KZ#1", "ISP-1", "R 2")
    assert one.all_references == ("KZ#1",)
    assert path.read_text().count('"references"') == 1


def test_the_names_of_a_block_are_kept(path: Path) -> None:
    """Those that are followed as well; a block without any has no key."""
    blocks = [BLOCK._replace(name="a.test", follow="b.test"), BLOCK]
    history.append(path, "block", blocks, NOW, "root")
    assert [change.name for change in history.read(path)] == ["a.test b.test", ""]
    assert path.read_text().count('"name"') == 1


def test_every_value_can_be_written_to_a_terminal(path: Path) -> None:
    """A login name of undecodable bytes, or an odd value, is read as text that can be encoded."""
    history.append(path, "block", [BLOCK], NOW, "caf\udce9")
    path.write_text(path.read_text() + GOOD.replace('"KZ#1"', '{"\\ud800": [1, null]}') + "\n")
    one, other = history.read(path)
    assert one.who == "caf\\udce9"
    assert other.reference.encode()


@settings(max_examples=100)
@given(
    content=st.binary(max_size=60)
    | st.lists(st.sampled_from(GOOD)).map(lambda c: "".join(c).encode())
)
def test_any_bytes_are_changes_or_nothing(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    """No content of the file causes an exception."""
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    path.write_bytes(content)
    assert all(isinstance(change, Change) for change in history.read(path))


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_is_no_file_is_an_error(path: Path, make: Callable[[Path], None]) -> None:
    """A folder or FIFO in its place is an error at once, which says what it is."""
    make(path)
    with pytest.raises(InvalidFileError, match="the history"):
        list(history.read(path))
    with pytest.raises(InvalidFileError, match="is in the ledger but not in the history"):
        history.append(path, "block", [BLOCK], NOW, "root")


def test_a_long_history_is_rotated_and_read_in_order(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full file becomes the first old one; the oldest go; what is left is read oldest first."""
    monkeypatch.setattr(history, "ROTATE_BYTES", 2 * (len(GOOD) + 1))
    for number in range(13):
        history.append(path, "block", [BLOCK], NOW, f"{number:04}")
    assert sorted(file.name for file in path.parent.iterdir()) == [
        "history.jsonl",
        *(f"history.jsonl.{number}" for number in range(1, 1 + history.KEPT)),
    ]
    assert [change.who for change in history.read(path)] == [f"{n:04}" for n in range(4, 13)]
    assert [change.who for change in history.newest(path, 2)] == ["0011", "0012"]


def test_a_history_that_cannot_be_rotated_goes_on(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder in the place of the old file costs no line."""
    monkeypatch.setattr(history, "ROTATE_BYTES", 1)
    (path.with_name("history.jsonl.1") / "x").mkdir(parents=True)
    (path.with_name("history.jsonl.2") / "x").mkdir(parents=True)
    for _ in range(2):
        history.append(path, "block", [BLOCK], NOW, "root")
    assert list(history.read(path)) == [CHANGE, CHANGE]


def test_of_a_huge_file_the_end_is_read_in_little_memory(path: Path) -> None:
    """A file of any size, or a line without an end, costs no more than one line of memory."""
    with path.open("wb") as file:
        file.truncate(3_000_000_000)
        file.seek(0, os.SEEK_END)
        file.write(b"\n" + GOOD.encode() + b"\n")
    tracemalloc.start()
    assert list(history.read(path)) == [CHANGE]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * history.MAX_LINE


def test_a_file_with_a_second_name_is_not_written(path: Path, tmp_path: Path) -> None:
    """A hard link may lead to any user's file: nothing is appended, and the error says why."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path.hardlink_to(victim)
    with pytest.raises(InvalidFileError, match="second name"):
        history.append(path, "block", [BLOCK], NOW, "root")
    assert victim.read_text() == "precious"


def test_root_is_not_told_to_become_root(path: Path) -> None:
    """Where root may not write, the file may be immutable: the hint shows how to see that."""
    history.append(path, "block", [BLOCK], NOW, "root")
    if subprocess.run(["/usr/bin/chattr", "+i", str(path)], check=False).returncode != 0:
        pytest.skip("no file can be made immutable here")
    try:
        with pytest.raises(InvalidFileError, match="Operation not permitted") as caught:
            history.append(path, "block", [BLOCK], NOW, "root")
    finally:
        subprocess.run(["/usr/bin/chattr", "-i", str(path)], check=True)
    assert caught.value.hint == (
        f"it may be immutable or append-only: lsattr -d {path} {path.parent}"
    )
