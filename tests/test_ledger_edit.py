"""`ledger_edit`: a change touches only the lines of the blocks that it changes."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exitpolicy.core.block import Block, Blocks
from exitpolicy.core.destination import Destination, parse_destination
from exitpolicy.core.errors import InvalidFileError
from exitpolicy.storage import ledger_file
from exitpolicy.storage.ledger_edit import edited
from exitpolicy.storage.ledger_file import Ledger
from exitpolicy.storage.ledger_text import parse_source, render
from tests.strategies import blocks, full_blocks

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
ONE, TWO, THREE, FOUR = (parse_destination(f"203.0.113.{number}") for number in (1, 2, 3, 4))
NEW = Block(FOUR, NOW, None, "new")
NEW_LINE = (
    '- {destination: "203.0.113.4", since: "2026-11-22T10:00:00Z", until: "never", reason: "new"}'
)
TEXT = """\
# our ledger, kept in git
version: 2
policy: "web"  # below the blocks

blocks:
# --- the scanner ---
- {destination: "203.0.113.1", since: "2026-11-22T10:00:00Z", until: "never"}  # asked twice
- destination: 203.0.113.2
  # until the hearing
  until: 2026-12-24   # Christmas
  since: 2026-11-22
  reason: |
    SSH
    brute force
  reference: A#1

# --- others ---
- { until: never, destination: 203.0.113.3,
    since: 2026-11-22 }  # by hand
# the end
"""


def change(text: str, alter: Callable[[Ledger], Ledger]) -> str:
    """Return the text after a change."""
    source = parse_source("f", text.encode())
    ledger = alter(source.ledger)
    after = edited("f", source, ledger)
    assert parse_source("f", after).ledger == ledger
    return after.decode()


def with_block(destination: Destination, **changes: object) -> Callable[[Ledger], Ledger]:
    """Return the change of one block."""

    def alter(ledger: Ledger) -> Ledger:
        found = dict(ledger.blocks.by_destination)
        found[destination] = found[destination]._replace(**changes)  # type: ignore[arg-type]
        return replace(ledger, blocks=Blocks(found))

    return alter


def without(destination: Destination) -> Callable[[Ledger], Ledger]:
    """Return the removal of one block."""
    return lambda ledger: replace(
        ledger, blocks=Blocks.of(b for b in ledger.blocks if b.destination != destination)
    )


def add(ledger: Ledger) -> Ledger:
    """Return the ledger with one more block."""
    return replace(ledger, blocks=ledger.blocks.blocked([NEW]))


@pytest.mark.parametrize(
    ("alter", "old", "new"),
    [
        (lambda ledger: ledger, "", ""),
        (
            with_block(ONE, until=NOW.replace(day=30)),
            'until: "never"}  # asked',
            'until: "2026-11-30T10:00:00Z"}  # asked',
        ),
        (with_block(TWO, until=None), "until: 2026-12-24 ", 'until: "never" '),
        (
            with_block(TWO, reason="x"),
            "reason: |\n    SSH\n    brute force\n",
            'reason: "x"\n',
        ),
        (with_block(TWO, reason=""), "  reason: |\n    SSH\n    brute force\n", ""),
        (
            with_block(TWO, ended=NOW),
            "  reference: A#1\n",
            '  reference: A#1\n  ended: "2026-11-22T10:00:00Z"\n',
        ),
        (
            with_block(THREE, relays=("a", "b")),
            "{ until: never, destination: 203.0.113.3,\n    since: 2026-11-22 }",
            (
                '{destination: "203.0.113.3", since: "2026-11-22T00:00:00Z", until: "never",'
                ' relays: ["a", "b"]}'
            ),
        ),
        (
            without(ONE),
            (
                '- {destination: "203.0.113.1", since: "2026-11-22T10:00:00Z", until: "never"}'
                "  # asked twice\n"
            ),
            "",
        ),
        (
            without(TWO),
            TEXT[TEXT.index("- destination: 203.0.113.2") : TEXT.index("\n# --- others")],
            "",
        ),
        (
            without(THREE),
            "- { until: never, destination: 203.0.113.3,\n    since: 2026-11-22 }  # by hand\n",
            "",
        ),
        (add, "# by hand\n", f"# by hand\n{NEW_LINE}\n"),
        (lambda ledger: replace(ledger, policy="reduced"), '"web"', '"reduced"'),
        (lambda ledger: replace(ledger, policy=None), 'policy: "web"  # below the blocks\n', ""),
    ],
)
def test_only_the_changed_lines_change(
    alter: Callable[[Ledger], Ledger], old: str, new: str
) -> None:
    """Comments, order, blank lines and the form of every other block stay as they are."""
    assert TEXT.count(old) == 1 or not old
    assert change(TEXT, alter) == TEXT.replace(old, new, 1)


@pytest.mark.parametrize(
    ("before", "name", "relays", "after"),
    [
        ('policy: "web" # c\n', "reduced", ["a"], 'policy: {"a": "reduced", "b": "web"} # c\n'),
        ("# c\n", "web", ["b"], 'policy: {"b": "web"}\n# c\n'),
        ("policy: {a: web, b: web} # c\n", None, ["a"], 'policy: {"b": "web"} # c\n'),
        ("policy: {b: web}\n# c\n", None, ["b"], "# c\n"),
        ("policy:\n  a: web\n# c\n", "web", ["b"], 'policy: {"a": "web", "b": "web"}\n# c\n'),
        ("policy:\n  a: web\n", "reduced", [], 'policy: "reduced"\n'),
        ("policy: {a: web}\n", None, [], ""),
    ],
)
def test_a_base_policy_of_one_relay_changes_one_line(
    before: str, name: str | None, relays: list[str], after: str
) -> None:
    """Comments and blocks stay; the policies of the other relays stay as well."""
    head, tail = (
        "version: 2\n",
        "blocks:\n- # one\n  {destination: 203.0.113.1, since: 2026-11-22, until: never}\n",
    )
    found = change(f"{head}{before}{tail}", lambda one: one.with_policy(name, relays, ["a", "b"]))
    assert found == f"{head}{after}{tail}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("version: 2\n", f"version: 2\nblocks:\n{NEW_LINE}\n"),
        ("version: 2", f"version: 2\nblocks:\n{NEW_LINE}\n"),
        ("version: 2\nblocks: []  # none\n", f"version: 2\nblocks:  # none\n{NEW_LINE}\n"),
        ("blocks:\n# none\nversion: 2\n", f"blocks:\n{NEW_LINE}\n# none\nversion: 2\n"),
        ("version: '1' # old\nblocks:\n", f"version: 2 # old\nblocks:\n{NEW_LINE}\n"),
        ("version: 2\r\nblocks:\r\n", f"version: 2\r\nblocks:\r\n{NEW_LINE}\r\n"),
        (
            (
                "version: 2\nblocks:\n  - destination: 203.0.113.1\n    since: 2026-11-22\n"
                "    until: never"
            ),
            (
                "version: 2\nblocks:\n  - destination: 203.0.113.1\n    since: 2026-11-22\n"
                f"    until: never\n  {NEW_LINE}\n"
            ),
        ),
        (
            "version: 2\nblocks: [{destination: 203.0.113.1, since: 2026-11-22, until: never}] #\n",
            (
                'version: 2\nblocks: #\n- {destination: "203.0.113.1",'
                f' since: "2026-11-22T00:00:00Z", until: "never"}}\n{NEW_LINE}\n'
            ),
        ),
        ("version: 2\npolicy: # c\n", f"version: 2\npolicy: # c\nblocks:\n{NEW_LINE}\n"),
    ],
)
def test_a_block_is_added_to_any_form_of_list(text: str, expected: str) -> None:
    """The new line stands below the last block, in its column, with the file's line breaks."""
    assert change(text, add) == expected


@pytest.mark.parametrize(
    "text",
    [
        "{version: 2, blocks: []}\n",
        "version: 2\nblocks: []\n...\n",
        "version: 2\nblocks: [\n]\n",
        (
            "\ufeffversion: 2\nblocks:\n-\n  # x\n  destination: 203.0.113.1\n  since: 2026-11-22\n"
            "  until: never\n"
        ),
        (
            "version: 2\nblocks:\n- ended: 2027-01-01T00:00:00Z\n  destination: 203.0.113.1\n"
            '  since: 2026-11-22\n  "until": never\n'
        ),
        (
            "? version\n: 2\n? blocks\n: - ? destination\n    : 203.0.113.1\n    ? since\n"
            "    : 2026-11-22\n    ? until\n    : never\n"
        ),
        (
            'version: 2\nblocks:\n- {destination: 203.0.113.1, since: 2026-11-22, until: "nev\\\n'
            '  er"}\n'
        ),
        (
            "version: 2\nblocks:\n- destination: >-\n    203.0.113.1\n  since: 2026-11-22\n"
            "  until: never\n  reason: |+\n    x\n\n\n"
        ),
    ],
)
def test_whatever_the_form_the_new_text_says_what_was_meant(text: str) -> None:
    """Where the form cannot be kept the content is: `change` compares it."""
    change(text, add)
    if ONE in parse_source("f", text.encode()).ledger.blocks:
        change(text, without(ONE))
        change(text, with_block(ONE, ended=None, until=NOW.replace(day=30), reason="a\nb"))
        change(text, with_block(ONE, ended=NOW, relays=("a",)))


@settings(max_examples=60)
@given(
    st.lists(blocks() | full_blocks(), max_size=3).map(Blocks.of),
    st.lists(blocks() | full_blocks(), max_size=3).map(Blocks.of),
    st.data(),
)
def test_any_change_of_any_ledger_is_what_was_meant(
    before: Blocks, more: Blocks, data: st.DataObject
) -> None:
    """Blocks are removed, changed and added at once; comments between them stay."""
    lines = render(Ledger(before)).decode().splitlines()
    lines[3:] = [line for old in lines[3:] for line in ("# comment", old)]
    kept = [b for b in before if data.draw(st.booleans())]
    after = Ledger(
        Blocks.of(
            [*(b._replace(reason=data.draw(st.just(b.reason) | st.text("x"))) for b in kept), *more]
        ),
        data.draw(st.sampled_from([None, "web"])),
    )
    assert change("\n".join(lines), lambda _: after).count("# comment") == len(before)


@pytest.mark.parametrize(
    "bad",
    [
        '- {destination: "203.0.113.9/33", since: "2026-11-01", until: never}',
        '- {destination: "203.0.113.9", since: "2026-11-01"}',
        '- {destination: "203.0.113.9", since: "2026-11-01", until: never, why: x}',
        '- {destination: "203.0.113.9", since: "2026-11-01", until: "2026-10-01"}',
        "- destination: 203.0.113.9\n  since: 2026-11-01\n  until: soon",
        "- 203.0.113.9",
        "-",
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_a_block_ends_beside_a_line_with_an_error(tmp_path: Path, bad: str, first: bool) -> None:
    """Of the text only its own line changes, whatever form it has."""
    path = tmp_path / "blocks.yaml"
    head, body = TEXT.split("blocks:\n")
    lines = f"{bad}\n{body}" if first else f"{body}{bad}\n"
    path.write_text(f"{head}blocks:\n{lines}")
    with pytest.raises(InvalidFileError):
        ledger_file.load(path)
    readable = ledger_file.load_readable(path)
    assert {ONE, TWO} <= set(readable.by_destination)
    for one in (ONE, TWO):
        before = path.read_text()
        ledger_file.save_around_errors(path, {one: readable.get(one).lifted(NOW)})
        found = ledger_file.load_readable(path).by_destination
        assert found[one].ended is not None
        assert bad in path.read_text()
        old, new = before.splitlines(), path.read_text().splitlines()
        assert sum(line not in new for line in old) <= 1
    assert [b.destination for b in ledger_file.load_readable(path)] == list(readable.by_destination)


@pytest.mark.parametrize("text", ["", "blocks: []\n", "version: 1\nblocks: []\n", "a: [\n"])
def test_a_text_that_is_no_ledger_of_this_version_is_not_changed(tmp_path: Path, text: str) -> None:
    """Its blocks cannot be told from other text."""
    path = tmp_path / "blocks.yaml"
    path.write_text(text)
    with pytest.raises(InvalidFileError):
        ledger_file.load_readable(path)


def test_version_1_becomes_2_at_the_first_change_with_a_backup(tmp_path: Path) -> None:
    """Reading changes nothing; the first change keeps the former file beside the new one."""
    path, backup = tmp_path / "blocks.yaml", tmp_path / "blocks.yaml.v1"
    text = TEXT.replace("version: 2", "version: 1")
    path.write_text(text)
    path.chmod(0o604)
    ledger = ledger_file.load(path)
    ledger_file.save(path, add(ledger))
    assert ledger_file.load(path) == add(ledger)
    assert (backup.read_text(), backup.stat().st_mode & 0o777) == (text, 0o604)
    assert path.read_text().startswith("# our ledger, kept in git\nversion: 2\n")
    ledger_file.save(path, ledger)
    assert backup.read_text() == text
