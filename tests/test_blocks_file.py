"""`blocks_file`: the ledger is written so that it reads back the same, and read strictly."""

import os
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from unicodedata import category

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exitpolicy.core.block import Block, Blocks
from exitpolicy.core.destination import parse_destination
from exitpolicy.core.durations import parse_time
from exitpolicy.core.errors import InvalidFileError
from exitpolicy.storage import ledger_file
from exitpolicy.storage.ledger_file import Ledger
from tests.strategies import blocks, words

LINE = '- {destination: "203.0.113.7", since: "2026-11-22T10:00:00Z", until: "never"}\n'
ledgers = st.builds(
    Ledger, st.lists(blocks(), max_size=5).map(Blocks.of), st.none() | words.filter(bool)
)
ODD = Block(
    parse_destination("203.0.113.7"),
    datetime(2026, 11, 22, 10, tzinfo=UTC),
    None,
    "\ufeff\x85\u2028\u2029\x7f\x00\t \"'\\: #{}[],&*!|>%@`\U0001f642 ",
    "yes",
)


@settings(max_examples=150)
@given(ledgers)
@example(Ledger(Blocks.of([ODD]), "~"))
def test_what_is_written_is_read_back_as_the_same(ledger: Ledger) -> None:
    """Any ledger survives, whatever characters its words hold."""
    content = ledger_file.render(ledger)
    read = ledger_file.parse("f", content)
    assert read == ledger
    assert list(read.blocks) == list(ledger.blocks)
    assert ledger_file.render(read) == content


@given(ledgers)
def test_one_block_is_one_line_that_a_terminal_can_show(ledger: Ledger) -> None:
    """Neither a reason with newlines nor one with control characters makes another line."""
    text = ledger_file.render(ledger).decode()
    lines = text.removesuffix("\n").split("\n")
    assert len(lines) == 3 + len(ledger.blocks) + (ledger.policy is not None)
    assert not {category(character) for line in lines for character in line} & {"Cc", "Zl", "Zp"}
    assert len(text.splitlines()) == len(lines)


@given(ledgers)
def test_other_programs_read_the_same(ledger: Ledger) -> None:
    """The file is YAML: PyYAML's safe loader finds the same words in it."""
    read = yaml.safe_load(ledger_file.render(ledger))
    assert read["version"] == 1
    assert [(b.get("reason", ""), b.get("reference", "")) for b in read["blocks"] or ()] == [
        (b.reason, b.reference) for b in ledger.blocks
    ]


def test_a_ledger_may_be_written_by_hand() -> None:
    """Block style, plain words, dates without a time, CRLF, a BOM and comments are all taken."""
    text = (
        "# mine\r\nblocks:\r\n- destination: 2001:db8::1\r\n  since: 2026-11-22\r\n"
        "  until: 2026-11-30\r\n  reason: SSH brute force\r\nversion: 1\r\n"
    )
    (block,) = ledger_file.parse("f", b"\xef\xbb\xbf" + text.encode()).blocks
    assert block.destination == parse_destination("2001:db8::1")
    assert block.since == parse_time("2026-11-22T00:00:00Z")
    assert block.until == parse_time("2026-12-01T00:00:00Z")
    assert (block.reason, block.reference) == ("SSH brute force", "")


@pytest.mark.parametrize(
    "text", ["version: 1\n", "version: 1\nblocks:\n", "version: 1\nblocks: []\npolicy:\n"]
)
def test_a_ledger_may_be_empty(text: str) -> None:
    """No key `blocks`, nothing behind it, or an empty list: nothing is blocked."""
    assert ledger_file.parse("f", text.encode()) == Ledger(Blocks.of(), None)


def one(**changes: str) -> str:
    """Return a ledger with one block, some of whose fields are other or none."""
    fields = {"destination": "203.0.113.7", "since": "2026-11-22", "until": "never"} | changes
    inner = ", ".join(f'{key}: "{value}"' for key, value in fields.items() if value != "-")
    return f"version: 1\nblocks:\n- {{{inner}}}\n"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("", "f:1: the ledger is empty", "an empty one holds: version: 1"),
        ("- 1\n", "f:1: the ledger must be a mapping", None),
        ("blocks: []\n", "f:1: the ledger must say version: 1", "is it from a newer exitpol?"),
        ("\nversion: 2\n", "f:2: the ledger must say version: 1", "is it from a newer exitpol?"),
        ("version: 1\nblock: []\n", "f:2: unknown key 'block' in the ledger", "known are: version"),
        ("version: 1\nblocks: 1\n", "f:2: blocks must be a list", None),
        ("version: 1\nblocks:\n- 1.2.3.4\n", "f:3: a block must be a mapping", None),
        ("version: 1\nblocks: [\n", "f:3: broken YAML", None),
        (one(destination="-"), "f:3: a block without 'destination'", None),
        (one(since="-"), "f:3: a block without 'since'", None),
        (one(until="-"), "f:3: a block without 'until'", None),
        (one(expires="never"), "f:3: unknown key 'expires' in a block", "known are: destination"),
        (one(destination="1.2.3.4/24"), "f:3: destination: '1.2.3.4/24' has host", "write 1.2.3.0"),
        (one(destination="example.com"), "f:3: destination: 'example.com' is no", "not names"),
        (one(since="yesterday"), "f:3: since: 'yesterday' is no time", "write it as 2027-01-31T18"),
        (one(since="never"), "f:3: since: 'never' is no time", "write it as 2027-01-31T18"),
        (one(until="30d"), "f:3: until: '30d' is no time", "2027-01-31, or never"),
        (
            one(until="2026-12-01T10:00:00"),
            "f:3: until: '2026-12-01T10:00:00' has no time zone",
            "Z if",
        ),
        (one(until="2026-11-21"), "f:3: a block that ends before it begins", None),
        (one(until="2026-11-22T00:00:00Z"), "f:3: a block that ends before it begins", None),
        (
            one(reason="x" * 1001),
            "f:3: reason: the reason has 1001 characters; at most 1000 are allowed",
            None,
        ),
        (
            one() + '- {destination: "203.0.113.7/32", since: "2026-11-22", until: never}\n',
            "f:4: a second block for 203.0.113.7",
            "keep the one with the later end",
        ),
    ],
)
def test_what_is_wrong_is_named_with_file_line_and_mend(
    text: str, message: str, hint: str | None
) -> None:
    """A hand edit that means nothing is an error that says where, and what to write."""
    with pytest.raises(InvalidFileError) as caught:
        ledger_file.parse("f", text.encode())
    assert str(caught.value).startswith(message)
    assert hint is None or hint in (caught.value.hint or "")


_parts = st.sampled_from(
    f"version: 1\n|blocks:\n|{LINE}|- {{destination: 1.2.3.4, since: 2026-11-22, until: |}}\n"
    "|never|2026-11-23|policy: web\n|- |destination|: |\n|  |\t|\0".split("|")
)


@settings(max_examples=150)
@given(st.binary(max_size=60) | st.lists(_parts, max_size=9).map(lambda p: "".join(p).encode()))
def test_any_bytes_are_a_ledger_or_an_error(content: bytes) -> None:
    """Nothing that can stand in the file ends in another exception."""
    try:
        ledger = ledger_file.parse("f", content)
    except InvalidFileError as error:
        assert str(error).startswith("f:")  # noqa: PT017 - either is right
        return
    assert ledger_file.parse("f", ledger_file.render(ledger)) == ledger


def test_without_a_ledger_the_hint_is_init(tmp_path: Path) -> None:
    """A ledger that is not there yet is an error with the command that makes it."""
    with pytest.raises(InvalidFileError, match="there is no ledger yet") as caught:
        ledger_file.load(tmp_path / "blocks.yaml")
    assert caught.value.hint == "exitpol init"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Path.mkdir, "the ledger cannot be read: Is a directory"),
        (os.mkfifo, "the ledger is not a regular file"),
        (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
        (lambda path: path.symlink_to("/dev/zero"), "the ledger is not a regular file"),
    ],
)
def test_what_is_no_file_is_an_error_at_once(
    tmp_path: Path, make: Callable[[Path], object], message: str
) -> None:
    """A folder, a FIFO, a device or a link to itself is named; nothing hangs."""
    make(tmp_path / "blocks.yaml")
    with pytest.raises(InvalidFileError, match=message):
        ledger_file.load(tmp_path / "blocks.yaml")


def test_saving_keeps_mode_and_link(tmp_path: Path) -> None:
    """A ledger that is a link into a checkout stays one; its file keeps its mode."""
    real, link = tmp_path / "git" / "blocks.yaml", tmp_path / "blocks.yaml"
    real.parent.mkdir()
    real.write_text("version: 1\n")
    real.chmod(0o604)
    link.symlink_to(real)
    ledger = Ledger(Blocks.of([ODD]))
    ledger_file.save(link, ledger)
    assert link.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o604
    assert ledger_file.load(link) == ledger
    assert [path.name for path in real.parent.iterdir()] == ["blocks.yaml"]


def test_the_ledger_keeps_that_a_block_was_forced() -> None:
    """`forced: yes` survives reading and writing; any other word is an error with its line."""
    line = '- {destination: "202.0.0.0/8", since: "2026-01-01", until: never, forced: "yes"}\n'
    text = f"version: 1\nblocks:\n{line}"
    ledger = ledger_file.parse("x", text.encode())
    assert [block.forced for block in ledger.blocks] == [True]
    again = ledger_file.parse("x", ledger_file.render(ledger))
    assert again.blocks == ledger.blocks
    with pytest.raises(InvalidFileError, match="x:3: forced: 'maybe'"):
        ledger_file.parse("x", text.replace('"yes"', "maybe").encode())
