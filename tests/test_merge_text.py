"""`storage.ledger_merge`: the merged text keeps comments and order, and conflicts are refused."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exitpolicy.core.block import Blocks
from exitpolicy.core.errors import InvalidFileError
from exitpolicy.core.merging import merged
from exitpolicy.storage import ledger_merge
from exitpolicy.storage.ledger_conflicts import Conflict
from exitpolicy.storage.ledger_merge import Result, Unreadable, merge
from exitpolicy.storage.ledger_text import Ledger, parse, render
from tests.strategies import blocks, full_blocks

HEAD = "# ours, kept in git\nversion: 2\nblocks:\n"


def line(
    number: int, *, until: str = "2026-12-22T10:00:00Z", reason: str = "", after: str = ""
) -> str:
    """Return the line of one block."""
    rest = f', reason: "{reason}"' if reason else ""
    return (
        f'- {{destination: "203.0.113.{number}", since: "2026-11-22T10:00:00Z",'
        f' until: "{until}"{rest}}}{after}\n'
    )


BASE = f"{HEAD}# --- scans ---\n{line(1)}{line(2)}\n# --- mail ---\n{line(3)}# the end\n"


def result(base: str, ours: str, theirs: str) -> Result:
    """Merge texts; every side is a valid ledger."""
    found = merge("blocks.yaml", base.encode(), ours.encode(), theirs.encode())
    assert isinstance(found, Result)
    return found


def text(base: str, ours: str, theirs: str) -> str:
    """Return the merged text; there is no conflict."""
    found = result(base, ours, theirs)
    assert not found.conflicts
    return found.content.decode()


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        (BASE, BASE, BASE),
        # Each adds a block: both come below their neighbour, with the comment above them.
        (
            BASE.replace(line(2), f"{line(2)}{line(20)}"),
            BASE.replace(line(2), f"{line(2)}# a botnet\n{line(21)}"),
            BASE.replace(line(2), f"{line(2)}# a botnet\n{line(21)}{line(20)}"),
        ),
        (
            BASE.replace(line(1), f"{line(20)}{line(1)}"),
            BASE.replace("# the end\n", f"# the end\n{line(21)}"),
            BASE.replace(line(1), f"{line(20)}{line(1)}").replace(line(3), f"{line(3)}{line(21)}"),
        ),
        # A line that theirs has changed comes as it is, with what stands behind the block.
        (
            BASE.replace(line(1), line(1, reason="x")),
            BASE.replace(line(3), line(3, until="never", after="  # asked twice")),
            BASE.replace(line(1), line(1, reason="x")).replace(
                line(3), line(3, until="never", after="  # asked twice")
            ),
        ),
        (
            BASE.replace(line(1), line(1, reason="x")),
            BASE.replace(line(1), line(1, after="  # seen")),
            BASE.replace(line(1), line(1, reason="x")),
        ),
        # A block that both have changed: the line of ours, changed where it must be.
        (
            BASE.replace(line(1), f"{line(1, reason='x', after=' # ours')}"),
            BASE.replace(line(1), line(1, until="never")),
            BASE.replace(line(1), f"{line(1, reason='x', until='never', after=' # ours')}"),
        ),
        # Comments: those that one side has added or removed.
        (
            BASE.replace("# --- scans", "# see the wiki\n# --- scans"),
            BASE.replace("# --- mail ---", "# --- spam ---").replace("# the end\n", ""),
            BASE.replace("# --- scans", "# see the wiki\n# --- scans")
            .replace("# --- mail ---", "# --- spam ---")
            .replace("# the end\n", ""),
        ),
        # A removed block leaves the comment above it.
        (BASE.replace(line(2), ""), BASE.replace(line(1), ""), BASE.replace(line(1) + line(2), "")),
        # The last line has no end.
        (
            BASE.removesuffix("# the end\n").removesuffix("\n"),
            BASE.replace(line(3), line(3) + line(4)),
            BASE.removesuffix("# the end\n") + line(4),
        ),
        (f"{HEAD[:-1]} []  # none\n", BASE, f"{HEAD[:-1]}  # none\n"),
    ],
)
def test_the_text_is_that_of_ours_with_the_changes_of_theirs(
    ours: str, theirs: str, expected: str
) -> None:
    """Comments and order of both sides stay."""
    assert text(BASE, ours, theirs) == expected


def test_a_ledger_without_blocks_takes_those_of_theirs_with_their_comments() -> None:
    """Both sides began the file apart: git gives an empty base."""
    ours = "version: 2\npolicy: web\nblocks: []\n"
    found = text("", ours, BASE)
    assert found == BASE.replace(HEAD, "version: 2\npolicy: web\n# ours, kept in git\nblocks:\n")
    for sides in (("", BASE), (BASE, "")):
        assert parse("f", text("", *sides).encode()) == parse("f", BASE.encode())


@pytest.mark.parametrize("form", ["flow", "map", "indented"])
def test_other_forms_of_yaml_are_merged_by_what_they_say(form: str) -> None:
    """A ledger may be written in any form of YAML."""
    block = "{destination: 203.0.113.9, since: 2026-11-22, until: never}"
    ours = {
        "flow": f"{{version: 2, blocks: [{block}]}}\n",
        "map": "blocks:\n- until: never\n  # why\n  destination: 203.0.113.9\n  since: 2026-11-22\n"
        "version: 2\n",
        "indented": f"version: 2\nblocks:\n  - {block}\n",
    }[form]
    for sides in ((ours, BASE), (BASE, ours)):
        found = parse("f", text("", *sides).encode())
        assert found.blocks.by_destination == {
            **parse("f", BASE.encode()).blocks.by_destination,
            **parse("f", ours.encode()).blocks.by_destination,
        }


CONFLICT = f"""\
{HEAD}# --- scans ---
<<<<<<< ours: one side changed the block, the other one removed it
{line(1, until="never")}||||||| base
{line(1)}=======
# no block for 203.0.113.1
>>>>>>> theirs
"""


def test_a_contradiction_is_a_conflict_in_its_place() -> None:
    """Its lines say what each side has; the rest of the file is merged."""
    ours = BASE.replace(line(1), line(1, until="never"))
    theirs = BASE.replace(line(1), "").replace(line(3), line(3, reason="x"))
    found = result(BASE, ours, theirs)
    rest = BASE.partition(line(1))[2].replace(line(3), line(3, reason="x"))
    assert found.content.decode() == CONFLICT + rest
    why = "one side changed the block, the other one removed it"
    assert found.conflicts == (Conflict(5, "203.0.113.1", why),)
    assert (found.added, found.changed, found.removed) == (0, 1, 0)
    mirrored = result(BASE, theirs, ours).content.decode()
    assert "# no block for 203.0.113.1\n||||||| base\n" in mirrored


@pytest.mark.parametrize(
    "form",
    [
        "- destination: 203.0.113.1\n  # why\n  since: 2026-11-22\n  until: {}\n",
        "-\n  # why\n\n  destination: 203.0.113.1\n  since: 2026-11-22\n  until: {}\n",
        "- # why\n  {{destination: 203.0.113.1,\n    since: 2026-11-22, until: {}}} # so\n",
        "  - {{destination: 203.0.113.1, since: 2026-11-22, until: {}}}\n",
    ],
)
def test_a_conflict_takes_all_lines_of_a_block(form: str) -> None:
    """Whatever its form: one side alone, without the marks, is a ledger."""
    base, ours = (f"version: 2\nblocks:\n{form.format(end)}" for end in ("2026-12-01", "never"))
    lines = result(base, ours, "version: 2\nblocks: []\n").content.decode().splitlines()
    marks = [n for n, one in enumerate(lines) if one[:7] in {"<" * 7, "|" * 7, "=" * 7, ">" * 7}]
    assert len(marks) == 4
    kept = [*lines[: marks[0]], *lines[marks[0] + 1 : marks[1]], *lines[marks[3] + 1 :]]
    resolved = parse("f", "\n".join(kept).encode()).blocks
    assert resolved == parse("f", ours.encode()).blocks


def test_no_reader_takes_a_conflict_for_a_ledger() -> None:
    """The error names the line and says what to do; resolved, the ledger is valid."""
    with pytest.raises(InvalidFileError, match=r"^f:5: a conflict of a merge that nobody") as error:
        parse("f", CONFLICT.encode())
    assert "remove the others" in str(error.value.hint)
    lines = CONFLICT.splitlines(keepends=True)
    for kept in (5, 7, 9):
        resolved = "".join([*lines[:4], lines[kept]])
        assert len(parse("f", resolved.encode()).blocks) == (kept != 9)


@pytest.mark.parametrize("mark", ["<<<<<<< x: y", "|||||||", "=======\r", ">>>>>>> theirs"])
def test_a_mark_that_is_left_is_found(mark: str) -> None:
    """Also where the rest would be YAML; within a text it is no mark."""
    with pytest.raises(InvalidFileError, match=r"^f:4: a conflict"):
        parse("f", f"{HEAD}{mark}\n{line(1)}".encode())
    parse("f", f"{HEAD}# {mark}\n{line(1, reason='<<<<<<< x')}".encode())


@pytest.mark.parametrize(
    ("base", "ours", "theirs", "expected"),
    [
        ("", "policy: web\n", "", "policy: web\n"),
        ("policy: web\n", "", "policy: web\n", ""),
        ("policy: web\n", "policy: web\n", "policy: reduced\n", 'policy: "reduced"\n'),
        (
            "policy: {a: web}\n",
            "policy: {a: web, b: web}\n",
            "policy: {a: reduced}\n",
            'policy: {"a": "reduced", "b": "web"}\n',
        ),
    ],
)
def test_base_policies_are_merged(base: str, ours: str, theirs: str, expected: str) -> None:
    """By relay, where each has its own."""
    head = "version: 2\n"
    found = text(*(f"{head}{policy}blocks:\n{line(1)}" for policy in (base, ours, theirs)))
    assert found == f"{head}{expected}blocks:\n{line(1)}"


def test_two_base_policies_are_a_conflict() -> None:
    """The policy of all relays can be only one."""
    sides = [f"version: 2\n{policy}blocks: []\n" for policy in ("", "policy: web\n")]
    found = result(sides[0], sides[1], sides[1].replace("web", "reduced"))
    assert found.content.decode() == (
        "version: 2\n<<<<<<< ours: both sides changed the base policy\n"
        'policy: "web"\n||||||| base\n# no base policy\n=======\npolicy: "reduced"\n'
        ">>>>>>> theirs\nblocks:\n"
    )
    assert [(one.line, one.subject) for one in found.conflicts] == [(2, "policy")]


def test_a_conflict_begins_on_a_line_of_its_own() -> None:
    """Also where the last line has no end."""
    found = result("version: 2\npolicy: web\n", "version: 2", "version: 2\npolicy: reduced\n")
    assert found.content.startswith(b"version: 2\n<<<<<<< ours: both sides changed")
    assert found.conflicts[0].line == 2


def test_only_a_line_feed_ends_a_line_of_a_comment() -> None:
    """Other characters that end a line somewhere stay within it."""
    comment = "# one\u2028# two\u0085# three\n"
    theirs = BASE.replace(line(3), f"{comment}{line(3, reason='x')}")
    assert comment in text(BASE, BASE + line(4), theirs)


@pytest.mark.parametrize("side", ["ours", "theirs"])
def test_a_side_that_is_no_ledger_leaves_a_conflict_above_ours(side: str) -> None:
    """What it says is not copied; whoever commits the file all the same has no valid ledger."""
    bad = f'{HEAD}- {{destination: "evil"}}\n'.encode()
    sides = {"ours": BASE.encode(), "theirs": BASE.encode(), side: bad}
    found = merge("blocks.yaml", BASE.encode(), **sides)
    assert isinstance(found, Unreadable)
    assert str(found.error).startswith(f"{side} is not a valid ledger: line 4: ")
    head, _, rest = found.content.partition(b"remove these four lines\n")
    assert head.startswith(f"<<<<<<< {side} is not a valid ledger, see its line 4;".encode())
    assert rest == sides["ours"]
    with pytest.raises(InvalidFileError, match="a conflict of a merge"):
        parse("f", found.content)


def test_without_a_valid_base_nothing_is_lost() -> None:
    """Git merges criss-cross histories with a base that may hold conflicts."""
    found = result(CONFLICT, f"{HEAD}{line(1)}", f"{HEAD}{line(2)}")
    assert found.content.decode() == f"{HEAD}{line(1)}{line(2)}"
    (remark,) = found.remarks
    assert remark == (
        "the common ancestor is not a valid ledger, and is left out: blocks.yaml:5: a conflict of a"
        " merge that nobody has resolved"
    )


def test_a_result_that_no_command_could_read_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two ledgers near the limit may exceed it together."""
    paths = [tmp_path / name for name in ("base", "ours", "theirs")]
    for path, number in zip(paths, (1, 2, 3), strict=True):
        path.write_text(BASE.replace(line(1), "".join(line(10 * number + n) for n in range(9))))
    before = paths[1].read_text()
    monkeypatch.setattr(ledger_merge, "MAX_BYTES", len(before) + 100)
    found = ledger_merge.merge_files("f", *paths)
    assert isinstance(found, Unreadable)
    assert "the result is not a valid ledger: it would have 0 MB" in str(found.error)
    assert paths[1].read_text().startswith("<<<<<<< the result is not a valid ledger")
    assert paths[1].read_text().endswith(before)


def test_a_merge_that_is_killed_leaves_no_valid_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git leaves ours in the file when the driver dies: a commit of all files would lose theirs."""
    paths = [tmp_path / name for name in ("base", "ours", "theirs")]
    for path in paths:
        path.write_text(BASE)

    def killed(*_: object) -> Result:
        raise KeyboardInterrupt

    monkeypatch.setattr(ledger_merge, "merge", killed)
    with pytest.raises(KeyboardInterrupt):
        ledger_merge.merge_files("f", *paths)
    with pytest.raises(InvalidFileError, match="f:1: a conflict of a merge"):
        parse("f", paths[1].read_bytes())
    head = "<<<<<<< the merge was interrupted; below is ours\n"
    assert paths[1].read_text().startswith(head)
    assert paths[1].read_text().endswith(BASE)


def test_the_numbers_count_the_blocks_of_ours() -> None:
    """Added, changed and removed."""
    theirs = f"{HEAD}{line(2, until='never')}{line(3)}{line(4)}{line(5)}"
    found = result(BASE, BASE, theirs)
    assert (found.added, found.changed, found.removed) == (2, 1, 1)


@settings(max_examples=60)
@given(
    *(st.lists(blocks() | full_blocks(), max_size=3).map(Blocks.of) for _ in range(3)),
    st.data(),
)
def test_the_text_says_what_the_blocks_do(
    base: Blocks, more: Blocks, others: Blocks, data: st.DataObject
) -> None:
    """Whatever the sides have done, the text holds the merged blocks and every comment."""

    def side(number: int, added: Blocks) -> tuple[Blocks, bytes]:
        kept = [
            block._replace(reason=data.draw(st.sampled_from((block.reason, "x"))))
            for block in base
            if data.draw(st.booleans())
        ]
        found = Blocks.of([*kept, *added])
        lines = render(Ledger(found)).decode().splitlines()
        lines[3:] = [one for old in lines[3:] for one in (f"# {number}", old)]
        return found, "\n".join(lines).encode()

    (ours, our_text), (theirs, their_text) = side(1, more), side(2, others)
    expected = merged(base, ours, theirs)
    found = merge("f", render(Ledger(base)), our_text, their_text)
    assert isinstance(found, Result)
    assert {one.subject for one in found.conflicts} == {
        str(one.destination) for one in expected.contradictions
    }
    if not found.conflicts:
        assert parse("f", found.content).blocks == expected.blocks
        assert found.content.count(b"# 1\n") == our_text.count(b"# 1\n")
        assert (b"# 2\n" in found.content) == (b"# 2\n" in their_text)
