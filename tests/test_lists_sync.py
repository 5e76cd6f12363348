"""Sources: the blocks of a list as a set, and what a sync does to them."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exitpolicy.core.block import Block, Blocks
from exitpolicy.core.destination import Destination, parse_destination
from exitpolicy.core.durations import ends_move
from exitpolicy.lists import reading
from exitpolicy.lists.entry import Moment
from exitpolicy.lists.sync import of_source, suspicion, synced
from tests.harness.host import ExitHost, host_maker

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
DAY = timedelta(days=1)
END = NOW + 30 * DAY


def block(number: int, source: str = "list", until: datetime | None = END) -> Block:
    """Return a block of an address that began a day ago."""
    return Block(Destination(4, number, number), NOW - DAY, until, source=source)


def desired(*numbers: int, until: datetime | None = END) -> list[Block]:
    """Return the blocks that a list makes now."""
    return [block(number, until=until)._replace(since=NOW) for number in numbers]


def numbers(destinations: tuple[Destination, ...]) -> list[int]:
    """Return addresses as numbers."""
    return [destination.first for destination in destinations]


def test_a_sync_adds_and_lifts_and_leaves_the_rest() -> None:
    """What the list names is blocked, and what it no longer names is lifted."""
    found = synced(Blocks.of([block(1), block(2)]), "list", desired(2, 3), NOW, ())
    assert (numbers(found.added), numbers(found.lifted), found.unchanged) == ([3], [1], 1)
    assert found.blocks.get(Destination(4, 2, 2)) == block(2)
    assert found.blocks.get(Destination(4, 1, 1)).was_lifted


def test_blocks_of_the_operator_and_of_other_lists_stay() -> None:
    """A block of the operator's is not touched; one of another list goes on for that list."""
    blocks = Blocks.of([block(1, ""), block(2, "other"), block(3, "other list"), block(4, "other")])
    found = synced(blocks, "list", desired(1, 2, until=END + DAY), NOW, ())
    after = found.blocks
    assert after.get(Destination(4, 1, 1)) == block(1, "")
    assert after.get(Destination(4, 2, 2)) == block(2, "other list", END + DAY)
    assert after.get(Destination(4, 3, 3)) == block(3, "other")
    assert after.get(Destination(4, 4, 4)) == block(4, "other")
    assert (found.others, found.lifted, found.changes) == (1, (), True)


def test_a_moving_end_is_renewed_at_half_time() -> None:
    """`30d` moves with each sync: nothing is written before half of the time is over."""
    for left, is_renewed in ((29, False), (16, False), (14, True), (40, True)):
        blocks = Blocks.of([block(1, until=NOW + left * DAY)])
        found = synced(blocks, "list", desired(1), NOW, {END})
        assert found.changes is is_renewed, left
        assert found.blocks.get(Destination(4, 1, 1)).until == (
            END if is_renewed else NOW + left * DAY
        )


def test_a_fixed_end_is_kept_to_the_minute() -> None:
    """An end that the list names counts, sooner or later; rounding changes nothing."""
    for shift, is_renewed in ((0, False), (50, False), (-50, False), (3600, True), (-3600, True)):
        until = END + timedelta(seconds=shift)
        found = synced(Blocks.of([block(1)]), "list", desired(1, until=until), NOW, {NOW})
        assert found.changes is is_renewed
    for old, new in ((None, END), (END, None)):
        found = synced(Blocks.of([block(1, until=old)]), "list", desired(1, until=new), NOW, ())
        assert found.blocks.get(Destination(4, 1, 1)).until == new


def test_an_ended_block_begins_anew() -> None:
    """A block that was lifted or has expired is added again, as a new one."""
    over = [block(1)._replace(ended=NOW - timedelta(hours=1)), block(2, until=NOW)]
    found = synced(Blocks.of(over), "list", desired(1, 2), NOW, ())
    assert numbers(found.added) == [1, 2]
    assert all(one.since == NOW and one.ended is None for one in found.blocks)


_few = st.integers(1, 8)


@settings(max_examples=200)
@given(
    present=st.dictionaries(_few, st.sampled_from(["", "list", "other", "other list"])),
    names=st.sets(_few),
    moving=st.sampled_from([(), (END,)]),
)
def test_after_a_sync_the_source_is_what_the_list_names(
    present: dict[int, str], names: set[int], moving: tuple[datetime, ...]
) -> None:
    """A second sync changes nothing, and no block of another source is lifted."""
    blocks = Blocks.of(block(number, source) for number, source in present.items())
    found = synced(blocks, "list", desired(*names), NOW, moving)
    mine = {number for number, source in present.items() if not source}
    after = {one.destination.first for one in of_source(found.blocks, "list", NOW)}
    assert after == names - mine
    again = synced(found.blocks, "list", desired(*names), NOW, moving)
    assert not again.changes
    assert again.unchanged == len(after)
    for number, source in present.items():
        if "other" in source or not source:
            assert not found.blocks.get(Destination(4, number, number)).was_lifted


@pytest.mark.parametrize(
    ("before", "after", "is_believed"),
    [
        (0, 5000, True), (10, 5, True), (10, 4, False), (10, 100, True), (10, 101, False),
        (1, 1, True), (3, 1, False),
    ],
)  # fmt: skip
def test_a_list_that_shrank_or_grew_very_much_is_not_believed(
    before: int, after: int, *, is_believed: bool
) -> None:
    """By more than half, or more than tenfold; a first import may have any length."""
    assert (suspicion(before, after) is None) is is_believed


@pytest.mark.parametrize(
    ("text", "moves"),
    [("30d", True), ("1h", True), ("2027-01-31", False), ("never", False), ("tomorrow", False)],
)
def test_a_duration_moves_and_a_date_does_not(text: str, *, moves: bool) -> None:
    """Only ends that count from now move."""
    assert ends_move(text, NOW) is moves


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExitHost]:
    """Give one running exit that all tests share; each uses a source of its own."""
    with host_maker(tmp_path_factory.mktemp("sync")) as make:
        yield make(extra="priorities: {second: 7}\nbatch: 0\n")


def run_sync(host: ExitHost, source: str, entries: list[str], *more: str) -> tuple[int, str, str]:
    """Sync a source with a list of entries."""
    path = host.folder / "list"
    path.write_text("".join(f"{entry}\n" for entry in entries))
    done = host.run("import", str(path), "--until", "30d", "--source", source, "--sync", *more)
    return done.code, done.out, done.err


def test_a_sync_on_a_running_exit(observed: ExitHost) -> None:
    """It adds and lifts in one reload; again, it writes nothing and does not reload."""
    code, out, _ = run_sync(observed, "first", ["203.0.113.1", "203.0.113.2", "203.0.113.3"])
    assert (code, out.splitlines()[0]) == (0, "3 added")
    before = observed.snapshot()
    code, out, _ = run_sync(observed, "first", ["203.0.113.1", "203.0.113.2", "203.0.113.3"])
    assert (code, out) == (0, "nothing to change: 3 blocks are what the list names\n")
    assert observed.snapshot() == before
    code, out, _ = run_sync(observed, "first", ["203.0.113.1", "203.0.113.2", "203.0.113.4"])
    assert (code, out.splitlines()[0]) == (0, "1 added, 1 lifted, 2 unchanged")
    assert observed.tor.rejects("203.0.113.4")
    assert not observed.tor.rejects("203.0.113.3")
    assert "lift" in observed.run("history", "203.0.113.3").out
    code, out, _ = run_sync(observed, "first", ["203.0.113.1", "203.0.113.2"])
    assert (code, out.splitlines()) == (0, ["1 lifted, 2 unchanged"])


def test_a_list_that_is_not_believed_changes_nothing(observed: ExitHost) -> None:
    """A torn or empty list is refused; --yes believes all but the empty one."""
    run_sync(observed, "torn", ["198.51.100.1", "198.51.100.3", "198.51.100.5"])
    before = observed.snapshot()
    code, _, err = run_sync(observed, "torn", ["198.51.100.1"])
    assert (code, "shrank from 3 to 1" in err) == (4, True)
    code, _, err = run_sync(observed, "torn", [], "--yes")
    assert (code, "without an entry" in err) == (2, True)
    assert observed.snapshot() == before
    code, out, _ = run_sync(observed, "torn", ["198.51.100.1"], "--yes", "--dry-run")
    assert (code, out.splitlines()[0]) == (0, "would be: 2 lifted, 1 unchanged")
    assert observed.snapshot() == before
    assert observed.run("import", "-", "--until", "1d", "--sync").code == 2


def test_sources_are_listed_shown_and_removed(observed: ExitHost) -> None:
    """`source` shows the numbers and the blocks of a list, and lifts them all."""
    run_sync(observed, "second", ["192.0.2.1", "192.0.2.5 # why"])
    rows = [line.split() for line in observed.run("source", "list").out.splitlines()]
    assert ["second", "2", "7"] in [row[:3] for row in rows]
    (said,) = [
        one
        for one in observed.run("source", "list", "--json").json["sources"]
        if one["name"] == "second"
    ]
    assert (said["blocks"], said["priority"]) == (2, 7)
    assert "why" in observed.run("source", "show", "second").out
    shown = observed.run("source", "show", "second", "--json").json["blocks"]
    assert [one["destination"] for one in shown] == ["192.0.2.1", "192.0.2.5"]
    assert observed.run("source", "remove", "second").code == 2
    done = observed.run("source", "remove", "second", "--yes", "--json")
    assert (done.code, done.json["sync"]["lifted"]) == (0, ["192.0.2.1", "192.0.2.5"])
    assert not observed.tor.rejects("192.0.2.1")
    for command in (["show"], ["remove", "--yes"]):
        gone = observed.run("source", command[0], "second", *command[1:])
        assert (gone.code, "no block comes from" in gone.err) == (9, True)


def test_a_sync_whose_additions_do_not_fit_changes_nothing(observed: ExitHost) -> None:
    """It is refused whole, also what it would lift."""
    run_sync(observed, "large", [f"11.0.{n}.9" for n in range(200)])
    before = observed.snapshot()
    code, _, err = run_sync(
        observed, "large", [f"11.1.{n // 250}.{n % 250}" for n in range(1, 1900, 2)]
    )
    assert (code, "would fit" in err) == (4, True), err
    assert observed.snapshot() == before


def test_a_complaint_takes_the_room_of_a_list(observed: ExitHost) -> None:
    """Where a list fills the descriptor, blocks of the operator's are enforced all the same."""
    observed.run("source", "remove", "large", "--yes")
    entries = [f"11.{n % 9}.{n % 250}.{n % 7 * 2}" for n in range(1500)]
    _, _, refused = run_sync(observed, "large", entries)
    (fits,) = re.findall(r"([0-9]+) of the 1,500 would fit", refused)
    assert run_sync(observed, "large", entries[: int(fits) - 5])[0] == 0
    targets = [f"100.100.{n}.100" for n in range(40)]
    done = observed.run("block", *targets, "--until", "1d")
    assert done.code == 3, done
    assert "not installed: 11." in done.err
    assert observed.tor.rejects("100.100.39.100")
    states = observed.run("list", "--json").json["blocks"]
    assert all(b["state"] == "live" for b in states if b["destination"] in targets)
    observed.run("lift", *targets)
    observed.run("apply")
    assert "pending" not in observed.run("list").out


def test_parse_and_sync_agree_on_destinations() -> None:
    """An entry of a list and a block of the ledger for it are the same destination."""
    texts = ("203.0.113.7", "203.0.113.0/24:22", "*:25")
    old = [block(1)._replace(destination=parse_destination(text)) for text in texts]
    listing = reading.read("\n".join(texts).encode(), None, Moment(NOW, UTC))
    new = [Block(entry.destination, NOW, END, source="list") for entry in listing.entries]
    found = synced(Blocks.of(old), "list", new, NOW, ())
    assert (found.changes, found.unchanged) == (False, 3)


def test_two_names_at_once_are_no_source() -> None:
    """A block of two lists belongs to each of them, and to no list of both names."""
    assert of_source([block(1, "one other")], "one other", NOW) == []
    assert of_source([block(1, "one other")], "other", NOW) == [block(1, "one other")]


@pytest.mark.slow
def test_a_pending_block_of_a_list_stops_no_sync(observed: ExitHost) -> None:
    """Blocks that gave way to a complaint are pending; others are lifted all the same."""
    entries = [f"12.{n % 9}.{n % 250}.{n % 7 * 2}" for n in range(1500)]
    observed.run("lift", "--all", "--yes")
    _, _, refused = run_sync(observed, "full", entries)
    (fits,) = re.findall(r"([0-9]+) of the 1,500 would fit", refused)
    entries = entries[: int(fits) - 5]
    assert run_sync(observed, "full", entries)[0] == 0
    targets = [f"100.101.{n}.100" for n in range(40)]
    assert observed.run("block", *targets, "--until", "1d").code == 3
    path = observed.folder / "list"
    path.write_text("".join(f"{entry}\n" for entry in entries[1:]))
    done = observed.run("import", str(path), "--until", "7d", "--source", "full", "--sync")
    assert done.code == 3, done
    assert done.out.splitlines()[0].endswith("renewed, 1 lifted")
    assert not observed.tor.rejects(entries[0])
    assert observed.run("source", "remove", "full", "--yes").code == 0
