"""`ledger_file`: a written ledger reads back equal, and reading is strict."""

import os
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import cycle
from pathlib import Path
from unicodedata import category

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exitpolicy.core.block import Block, Blocks
from exitpolicy.core.destination import Destination, parse_destination
from exitpolicy.core.durations import parse_time
from exitpolicy.core.errors import InvalidFileError
from exitpolicy.storage import base_policies, ledger_file, ledger_text
from exitpolicy.storage.ledger_file import Ledger
from tests.strategies import blocks, destinations, full_blocks

LINE = '- {destination: "203.0.113.7", since: "2026-11-22T10:00:00Z", until: "never"}\n'
PLAIN = "- {destination: 203.0.113.7, since: 2026-11-22, until: never}\n"
OTHER = LINE.rstrip().replace(".7", ".8")
MANY_LINES = """\
- destination: 2001:db8::1  # an address
  # its dates
  since: 2026-11-22
  until: 2026-11-30  # a Monday
  reason: |
    SSH
    brute force
"""
ledgers = st.builds(
    Ledger,
    st.lists(blocks() | full_blocks(), max_size=3).map(Blocks.of),
    st.none() | st.sampled_from(base_policies.names()),
) | st.builds(
    Ledger,
    st.lists(blocks(), max_size=2).map(Blocks.of),
    st.none(),
    st.dictionaries(
        st.from_regex(r"[A-Za-z0-9_.-]{1,9}", fullmatch=True),
        st.sampled_from(base_policies.names()),
        max_size=3,
    ),
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
@example(Ledger(Blocks.of([ODD]), "web"))
def test_what_is_written_is_read_back_as_the_same(ledger: Ledger) -> None:
    """Any ledger reads back equal, whatever characters its texts have."""
    content = ledger_file.render(ledger)
    read = ledger_file.parse("f", content)
    assert read == ledger
    assert list(read.blocks) == list(ledger.blocks)
    assert ledger_file.render(read) == content


@given(ledgers)
def test_one_block_is_one_line_that_a_terminal_can_show(ledger: Ledger) -> None:
    """A reason with newlines or control characters stays on its line."""
    text = ledger_file.render(ledger).decode()
    lines = text.removesuffix("\n").split("\n")
    assert len(lines) == 3 + len(ledger.blocks) + (ledger_text.policy_yaml(ledger) is not None)
    assert not {category(character) for line in lines for character in line} & {"Cc", "Zl", "Zp"}
    assert len(text.splitlines()) == len(lines)


@given(ledgers)
def test_other_programs_read_the_same(ledger: Ledger) -> None:
    """The file is YAML: PyYAML's safe loader finds the same words in it."""
    read = yaml.safe_load(ledger_file.render(ledger))
    assert read["version"] == 2
    assert [(b.get("reason", ""), b.get("reference", "")) for b in read["blocks"] or ()] == [
        (b.reason, b.reference) for b in ledger.blocks
    ]


def test_a_ledger_may_be_written_by_hand() -> None:
    """Block style, plain words, dates without a time, CRLF, a BOM and comments are accepted."""
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
    """Without the key `blocks`, with an empty one, or an empty list, nothing is blocked."""
    assert ledger_file.parse("f", text.encode()) == Ledger(Blocks.of(), None)


def one(**changes: str) -> str:
    """Return a ledger with one block, with some fields changed or left out."""
    fields = {"destination": "203.0.113.7", "since": "2026-11-22", "until": "never"} | changes
    inner = ", ".join(f'{key}: "{value}"' for key, value in fields.items() if value != "-")
    return f"version: 1\nblocks:\n- {{{inner}}}\n"


def two(**changes: str) -> str:
    """Return the same in version 2."""
    return one(**changes).replace("version: 1", "version: 2")


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("", "f:1: the ledger is empty", "an empty one holds: version: 2"),
        ("- 1\n", "f:1: the ledger must be a mapping", None),
        ("blocks: []\n", "f:1: the ledger does not say version: 2", None),
        (
            "\nversion: 3\n",
            "f:2: the ledger says version: '3'",
            "install that one; nothing was changed",
        ),
        (
            "version: 2\npolicy:\n  exit1: web\n  exit2: wbe\n",
            "f:4: policy: there is no base policy 'wbe'",
            "write one of: default, no-mail",
        ),
        (
            "version: 1\npolicy: wbe\n",
            "f:2: policy: there is no base policy 'wbe'",
            "write one of: d",
        ),
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
        (
            one(since="yesterday"),
            "f:3: since: 'yesterday' is not a time",
            "write it as 2027-01-31T18",
        ),
        (one(since="never"), "f:3: since: 'never' is not a time", "write it as 2027-01-31T18"),
        (one(until="30d"), "f:3: until: '30d' is not a time", "2027-01-31, or never"),
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
        (one(ended="2026-11-23T00:00:00Z"), "f:3: unknown key 'ended' in a block", None),
        (two(ended="2026-11-23"), "f:3: ended: '2026-11-23' is not a time", "T18:00:00Z"),
        (two(relays="a"), "f:3: relays must be a list", None),
        (
            f"version: 2\nblocks:\n{LINE}{LINE}",
            "f:4: a second block for 203.0.113.7",
            "keep the one",
        ),
        (
            f"version: 2\nblocks:\n{LINE}{PLAIN.replace('7', '7/32')}",
            "f:4: a second block for 203.0.113.7",
            "keep the one",
        ),
        (f"version: 2\nblocks:\n{LINE.replace('never', '30d')}", "f:3: until: '30d' is", None),
        (f"version: 2\nblocks: []\n{LINE}", "f:3: broken YAML", None),
        (f"version: 2\nblocks:\n...\n{LINE}", "f:4: broken YAML", None),
        (f"version: 2\n{LINE}blocks:\n", "f:2: broken YAML", None),
    ],
)
def test_an_error_names_file_and_line_and_says_how_to_fix_it(
    text: str, message: str, hint: str | None
) -> None:
    """An invalid hand edit is an error that says where it is and what to write."""
    with pytest.raises(InvalidFileError) as caught:
        ledger_file.parse("f", text.encode())
    assert str(caught.value).startswith(message)
    assert hint is None or hint in (caught.value.hint or "")


@settings(max_examples=80)
@given(ledgers, st.lists(st.integers(0, 60), max_size=3), st.sampled_from(["", "# x", " ", "  #"]))
def test_lines_of_exitpol_are_read_as_yaml_reads_them(
    ledger: Ledger, places: list[int], inserted: str
) -> None:
    """The fast parser of written lines returns what the YAML parser returns, or None."""
    text = ledger_file.render(ledger).decode()
    lines = text.splitlines()
    for place in places:
        lines.insert(3 + place % len(lines), inserted)
    for content in (text, "\n".join(lines), "\r\n".join(lines), text.replace('"', "'")):
        fast = ledger_text.parse_written_lines("f", content.encode())
        try:
            slow = ledger_text.parse_any_yaml("f", content.encode())
        except InvalidFileError:
            assert fast is None
        else:
            assert fast is None or fast.ledger == slow.ledger
            assert fast is None or [e.block for e in fast.entries] == [
                e.block for e in slow.entries
            ]
    assert not ledger.blocks or ledger_text.parse_written_lines("f", text.encode()) is not None


@pytest.mark.parametrize(
    "text",
    [
        f'policy: "\n{LINE}"\nblocks:\n',
        f'blocks:\n- {{destination: 1.2.3.4, since: 2026-11-22, until: never, reason: "\n{LINE}"}}',
        f"blocks:\n{MANY_LINES}{LINE}",
        f"blocks:\n  {PLAIN}{LINE}",
        f"blocks: # all\n\n# one\n{LINE.rstrip()}   # more\npolicy: web\n",
        f"blocks:\n{LINE}policy: web\n{LINE}",
        f"blocks:\n# a\u2028{LINE}",
        f"blocks:\n# a\r{LINE}",
        f"x: {{blocks:\n{LINE}}}\n",
        f"? blocks\n: \n{LINE}",
        f"blocks: ''\n{LINE}",
        f"blocks: &a\n{LINE}",
        f'blocks:\n{LINE}{OTHER}"x\n',
        f'blocks:\n{LINE}{OTHER}"x"\n',
        f'blocks:\n{LINE}{OTHER}"x"}}\n',
        f'blocks:\n{LINE}{OTHER[:-1]}"\n',
        f'blocks:\n{LINE}{OTHER[:-1]}, forced: "no"}}\n',
        f'blocks:\n{LINE}{OTHER[:-1]}, forced: "yes"}}\n',
        f'blocks:\n{LINE}{OTHER[:-1]}, source: "a", name: "b.example", ended: "2026-11-23"}}\n',
        f'blocks:\n{LINE}{OTHER[:-1]}, name: "b.example", source: "a"}}\n',
        f'blocks:\n{LINE}{OTHER[:-1]}, reason: "a", reason: "b"}}\n',
        f'blocks:\n{LINE}{OTHER[:-1]}, reason:: "a"}}\n',
        f'blocks:\n{LINE}{OTHER[:-1]}, relays: "a"}}\n',
        f"blocks:\n{LINE}{OTHER.replace('destination', 'reason')}\n",
    ],
)
def test_a_line_in_an_odd_place_is_what_yaml_makes_of_it(text: str) -> None:
    """A written line inside another value, or below another key, is not a block."""
    content = f"version: 2\n{text}".encode()

    def outcome(read: Callable[[str, bytes], ledger_text.Source]) -> Ledger | str:
        try:
            return read("f", content).ledger
        except InvalidFileError as error:
            return str(error)

    assert outcome(ledger_text.parse_source) == outcome(ledger_text.parse_any_yaml)


@settings(max_examples=60)
@given(
    st.lists(blocks() | full_blocks(), min_size=1, max_size=3),
    st.lists(destinations(), min_size=2, max_size=6, unique=True),
    st.lists(st.sampled_from(["", " # x", "\r", "  "]), min_size=6, max_size=6),
)
def test_lines_that_differ_in_their_destination_alone_are_read_as_yaml_reads_them(
    some: list[Block], where: list[Destination], behind: list[str]
) -> None:
    """Blocks with the same terms are the same blocks, in the same places, as by YAML."""
    made = [block._replace(destination=one) for block, one in zip(cycle(some), where)]
    lines = [ledger_text.render_block(block) for block in made]
    text = "".join(f"- {line}{end}\n" for line, end in zip(lines, behind, strict=False))
    content = f"version: 2\nblocks:\n{text}".encode()
    fast = ledger_text.parse_written_lines("f", content)
    assert fast is None or [entry.block for entry in fast.entries] == made
    found = fast or ledger_text.parse_any_yaml("f", content)
    assert (
        found.ledger == ledger_text.parse_any_yaml("f", content).ledger == Ledger(Blocks.of(made))
    )
    assert [found.text[entry.start : entry.end] for entry in found.entries] == lines


@pytest.mark.parametrize(
    "odd",
    [r"203.0.113.8\x30", " 203.0.113.8 ", "\t203.0.113.8", "203.0.113.8\u00a0", "203.0.113.8\x7f"],
)
def test_an_odd_destination_is_what_yaml_makes_of_it(odd: str) -> None:
    """A destination is read with care also where the rest of its line was read before."""
    text = f"version: 2\nblocks:\n{LINE}{LINE.replace('203.0.113.7', odd)}".encode()
    assert LINE.count("203.0.113.7") == 1

    def outcome(read: Callable[[str, bytes], ledger_text.Source]) -> Ledger | str:
        try:
            return read("odd", text).ledger
        except InvalidFileError as error:
            return str(error)

    assert outcome(ledger_text.parse_source) == outcome(ledger_text.parse_any_yaml)


_parts = st.sampled_from(
    f"version: 1\n|blocks:\n|{LINE}|- {{destination: 1.2.3.4, since: 2026-11-22, until: |}}\n"
    "|never|2026-11-23|policy: web\n|- |destination|: |\n|  |\t|\0".split("|")
)


@settings(max_examples=150)
@given(st.binary(max_size=60) | st.lists(_parts, max_size=9).map(lambda p: "".join(p).encode()))
def test_any_bytes_are_a_ledger_or_an_error(content: bytes) -> None:
    """No content of the file causes another exception."""
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
    """A ledger that is a link into a checkout stays a link; the target keeps its mode."""
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
    text = f"version: 2\nblocks:\n{line}"
    ledger = ledger_file.parse("x", text.encode())
    assert [block.forced for block in ledger.blocks] == [True]
    again = ledger_file.parse("x", ledger_file.render(ledger))
    assert again.blocks == ledger.blocks
    with pytest.raises(InvalidFileError, match="x:3: forced: 'maybe'"):
        ledger_file.parse("x", text.replace('"yes"', "maybe").encode())


def test_a_file_that_was_read_before_is_read_as_strictly() -> None:
    """A line that was a block in the former text is an error where the new text forbids it."""
    rare = LINE.replace("}", ', relays: ["a"]}')
    for text in (f"version: 2\nblocks:\n{LINE}", f"version: 2\nblocks:\n{rare}"):
        assert len(ledger_text.parse_source("again", text.encode()).ledger.blocks) == 1
    refused = {
        "unknown key 'relays'": f"version: 1\nblocks:\n{rare}",
        "a second block": f"version: 2\nblocks:\n{rare}{LINE}",
        "unknown key": f"version: 2\nblocks:\n{rare}policy2:\n{LINE}",
    }
    for message, text in refused.items():
        with pytest.raises(InvalidFileError, match=message):
            ledger_text.parse_source("again", text.encode())


@settings(max_examples=40)
@given(st.lists(blocks() | full_blocks(), max_size=4), st.lists(blocks(), max_size=4))
def test_what_was_read_before_changes_nothing(before: list[Block], after: list[Block]) -> None:
    """A text is the same ledger, in the same places, whatever was read under its name before."""
    texts = [
        ledger_file.render(Ledger(Blocks.of(some))) for some in (before, [*before, *after], after)
    ]
    for text in texts:
        fresh = ledger_text.parse_written_lines("f", text) or ledger_text.parse_any_yaml("f", text)
        assert ledger_text.parse_source("f", text) == fresh


def test_a_ledger_that_could_not_be_read_again_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ledger beyond the limit of reading is refused, and the file stays."""
    path = tmp_path / "blocks.yaml"
    monkeypatch.setattr(ledger_file, "MAX_BYTES", 300)
    one = Block(parse_destination("203.0.113.7"), datetime(2026, 11, 26, tzinfo=UTC), None)
    many = [one._replace(destination=parse_destination(f"203.0.113.{n}")) for n in range(9)]
    with pytest.raises(InvalidFileError, match="too long for exitpol to read"):
        ledger_file.save(path, Ledger(Blocks.of(many)))
    assert not path.exists()
    ledger_file.save(path, Ledger(Blocks.of([one])))
    before = path.read_bytes()
    with pytest.raises(InvalidFileError, match="nothing was changed"):
        ledger_file.save(path, Ledger(Blocks.of(many)))
    assert path.read_bytes() == before
    # An end is written whatever the length.
    monkeypatch.setattr(ledger_file, "MAX_BYTES", len(before) + 50)
    ledger_file.save(path, Ledger(Blocks.of([one._replace(ended=one.since)])))
    assert "ended" in path.read_text()
