"""`exitpol apply --from`: what a host takes from the ledger of its fleet."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exitpolicy.core.block import Block, Blocks
from exitpolicy.core.clock import Time
from exitpolicy.core.destination import Destination
from exitpolicy.core.fleet_ledger import Taken, taken
from tests.harness.host import ExitHost, host_maker

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)
DAY = timedelta(days=1)
END = NOW + 30 * DAY
TIME = Time(NOW, NOW)


def block(number: int, until: datetime | None = END, **more: object) -> Block:
    """Return a block of an address that began a day ago."""
    made = Block(Destination(4, number, number), NOW - DAY, until)
    return made._replace(**more)  # type: ignore[arg-type]


def take(ancestor: list[Block], ours: list[Block], theirs: list[Block]) -> Taken:
    """Take one set of blocks into another."""
    return taken(Blocks.of(ancestor), Blocks.of(ours), Blocks.of(theirs), TIME)


def in_force(blocks: Blocks) -> set[int]:
    """Return the addresses that are blocked now."""
    return {one.destination.first for one in blocks if one.in_force(NOW)}


def test_a_host_takes_what_the_fleet_adds_and_keeps_its_own() -> None:
    """A first ledger is added to the blocks of the host; its guard's and its admin's stay."""
    own = [block(1, source="guard"), block(2)]
    found = take([], own, [block(3), block(4, relays=("elsewhere",))])
    assert in_force(found.blocks) == {1, 2, 3, 4}
    assert found.blocks.get(Destination(4, 1, 1)) == own[0]
    assert found.differences == ()


def test_what_the_fleet_removes_is_lifted_with_a_record() -> None:
    """A removed line and a recorded lift both end the block on the host; its own go on."""
    fleet = [block(1), block(2)]
    found = take(fleet, [*fleet, block(3)], [block(2, ended=NOW)])
    assert in_force(found.blocks) == {3}
    assert all(found.blocks.get(Destination(4, n, n)).was_lifted for n in (1, 2))


def test_a_block_that_was_the_hosts_too_is_lifted_with_the_fleets() -> None:
    """A block that the host had already made is one with the fleet's, and ends with it."""
    earlier = block(1)._replace(since=NOW - 2 * DAY, source="guard")
    once = take([], [earlier], [block(1)])
    assert once.blocks.get(Destination(4, 1, 1)).sources == ()
    assert in_force(take([block(1)], list(once.blocks), []).blocks) == set()


def test_an_end_that_the_host_put_off_outlasts_a_removal() -> None:
    """The promise that was made on the host is kept."""
    longer = block(1, END + DAY)
    assert in_force(take([block(1)], [longer], []).blocks) == {1}
    assert in_force(take([block(1)], [block(1, None)], []).blocks) == {1}


def test_a_lift_on_the_host_stays_and_is_named() -> None:
    """The host does not block again what was lifted there, and says so each time."""
    lifted = block(1).lifted(NOW)
    found = take([block(1)], [lifted], [block(1)])
    assert in_force(found.blocks) == set()
    (difference,) = found.differences
    assert "lifted on this host" in difference.text
    assert in_force(take([block(1)], [], [block(1)]).blocks) == set()
    assert len(take([block(1)], [], [block(1)]).differences) == 1


def test_ended_blocks_of_the_fleet_stay_out_of_a_new_host() -> None:
    """A new host gets no records of blocks that it never had."""
    old = [block(1, NOW - timedelta(hours=1)), block(2, ended=NOW - timedelta(hours=2))]
    assert len(take([], [], old).blocks) == 0


def test_a_clock_that_is_not_trusted_keeps_no_block_out() -> None:
    """While the clock says that a block is over, and is doubted, the block is taken."""
    ahead = Time(END + 400 * DAY, NOW, END + 400 * DAY)
    found = taken(Blocks.of([]), Blocks.of([]), Blocks.of([block(1)]), ahead)
    assert ahead.enforced(found.blocks) == Blocks.of([block(1)])


def test_a_renewal_in_the_fleet_revives_an_expired_block() -> None:
    """The host has recorded the end; the fleet has put it off since."""
    past = block(1, NOW - timedelta(hours=1))
    expired = past._replace(ended=past.until)
    assert in_force(take([past], [expired], [block(1)]).blocks) == {1}


def test_only_named_destinations_change() -> None:
    """Other changes of the fleet wait for the next time, and are not forgotten then."""
    fleet = [block(1), block(2), block(3)]
    before = Blocks.of([block(3), block(4)])
    one = taken(before, before, Blocks.of(fleet), TIME, {Destination(4, 1, 1)})
    assert in_force(one.blocks) == {1, 3, 4}
    rest = taken(one.ancestor, one.blocks, Blocks.of(fleet), TIME)
    assert in_force(rest.blocks) == {1, 2, 3}


blocks_of_a_side = st.lists(
    st.builds(
        block,
        st.integers(1, 5),
        st.sampled_from([END, END + DAY, NOW - DAY / 2, None]),
        ended=st.sampled_from([None, NOW - DAY / 4]),
        relays=st.sampled_from([(), ("a",), ("a", "b")]),
        source=st.sampled_from(["", "guard", "list guard"]),
        reason=st.sampled_from(["", "one", "other"]),
    ),
    unique_by=lambda one: one.destination,
    max_size=5,
)


@given(blocks_of_a_side, blocks_of_a_side, blocks_of_a_side)
def test_taking_twice_changes_nothing_and_no_own_block_is_lost(
    ancestor: list[Block], ours: list[Block], theirs: list[Block]
) -> None:
    """A second run changes nothing; each record stays; what no fleet names stays as it is."""
    first = take(ancestor, ours, theirs)
    second = take(list(first.ancestor), list(first.blocks), theirs)
    assert (second.blocks, second.ancestor) == (first.blocks, first.ancestor)
    assert second.differences == first.differences
    fleets = {one.destination for one in (*ancestor, *theirs)}
    for one in ours:
        after = first.blocks.get(one.destination)
        assert after == one or one.destination in fleets


@given(blocks_of_a_side, blocks_of_a_side)
def test_every_block_of_the_fleet_is_in_force_on_a_host_that_follows_it(
    old: list[Block], new: list[Block]
) -> None:
    """A host that made no change of its own blocks what the fleet blocks, and no more."""
    first = take([], [], old)
    found = take(list(first.ancestor), list(first.blocks), new)
    fleet = Blocks.of(new)
    assert in_force(found.blocks) == in_force(fleet)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExitHost]:
    """Give a host with two exits."""
    with host_maker(tmp_path_factory.mktemp("fleet")) as make:
        yield make(("ExitRelay 1",), ("ExitRelay 1",), extra="protected: [198.51.100.0/24]\n")


def ledger(*lines: str) -> str:
    """Return a ledger of blocks without an end."""
    rows = "".join(
        f"- {{destination: {line}, since: 2026-11-22, until: never}}\n" for line in lines
    )
    return f"version: 2\nblocks:{'' if rows else ' []'}\n{rows}"


@pytest.mark.tor
def test_a_host_follows_the_ledger_of_its_fleet(host: ExitHost, tmp_path: Path) -> None:
    """Blocks are live on their relays; what one host refuses is named and stops no lift."""
    fleet = tmp_path / "fleet.yaml"

    def apply(*options: str) -> dict[str, object]:
        done = host.run("apply", "--from", str(fleet), "--json", *options)
        found: dict[str, object] = {"code": done.code, **json.loads(done.out)}
        return found

    host.run("block", "203.0.113.9", "--until", "1d")
    fleet.write_text(
        ledger(
            "203.0.113.1",
            "203.0.113.2, relays: ['sec*']",
            "203.0.113.3, relays: ['web2/*', exit7]",
        )
    )
    before = host.snapshot()
    preview = apply("--dry-run")
    assert (preview["code"], preview["idle"], len(preview["taken"])) == (0, False, 3)  # type: ignore[arg-type]
    assert host.snapshot() == before
    first = apply()
    assert first["code"] == 0
    assert first["blocks"] == {
        **dict.fromkeys(["203.0.113.1", "203.0.113.2", "203.0.113.9"], "live"),
        "203.0.113.3": "elsewhere",
    }
    assert not host.tor.rejects("203.0.113.2")
    again = apply()
    assert (again["code"], again["taken"], again["idle"]) == (0, [], True)

    fleet.write_text(ledger("203.0.113.2, relays: [second]", "198.51.100.7"))
    refused = apply()
    assert refused["code"] == 3
    assert "198.51.100.7 is protected" in str(refused["problems"])
    assert refused["blocks"] == {
        "203.0.113.2": "live",
        "203.0.113.9": "live",
        "198.51.100.7": "pending",
    }
    assert not host.tor.rejects("203.0.113.1")

    fleet.write_text(ledger())
    assert apply("--only", "203.0.113.2")["blocks"] == {
        "203.0.113.9": "live",
        "198.51.100.7": "pending",
    }
    last = apply()
    assert (last["code"], last["blocks"]) == (0, {"203.0.113.9": "live"})
    history = host.run("history", "203.0.113.1", "--json").json["changes"]
    assert [one["action"] for one in history] == ["block", "lift"]


@pytest.mark.tor
def test_a_ledger_that_cannot_be_taken_changes_nothing(host: ExitHost, tmp_path: Path) -> None:
    """An invalid ledger, an unknown destination and a lost ancestor are errors for people."""
    before = host.snapshot()
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text("version: 2\nblocks: [{destination: 203.0.113.1}]\n")
    for arguments, code, said in (
        (["--from", str(fleet)], 8, "fleet.yaml:2"),
        (["--from", str(tmp_path / "none")], 2, "there is no such ledger"),
        (["--only", "203.0.113.1"], 2, "add --from"),
        (["--from", str(fleet), "--load-foreign"], 2, "exclude each other"),
    ):
        done = host.run("apply", *arguments)
        assert (done.code, said in done.err) == (code, True), done
    fleet.write_text(ledger())
    done = host.run("apply", "--from", str(fleet), "--only", "192.0.2.1")
    assert (done.code, "neither the ledger of the fleet" in done.err) == (2, True), done
    assert host.snapshot() == before
    last = host.ledger.with_name("last_taken.yaml")
    kept = last.read_bytes()
    last.write_text("nonsense")
    done = host.run("apply", "--from", str(fleet))
    assert (done.code, f"rm {last}" in done.err) == (8, True), done
    last.write_bytes(kept)


def test_the_admin_records_what_no_tor_of_theirs_enforces(tmp_path: Path) -> None:
    """`--ledger` changes that file alone: no lock file lies beside it, and nothing is set up."""
    with host_maker(tmp_path) as make:
        here = make(start=False, init=False)
    fleet = tmp_path / "git" / "fleet.yaml"
    fleet.parent.mkdir()
    fleet.write_text(f"# ours\n{ledger('203.0.113.1')}")

    def run(*arguments: str) -> tuple[int, list[dict[str, dict[str, object]]]]:
        done = here.run(*arguments, "--ledger", str(fleet), "--json")
        return done.code, done.json["taken"]

    command = ("block", "203.0.113.2", "--until", "30d", "--relay", "elsewhere")
    before = fleet.read_bytes()
    code, changes = run(*command, "--dry-run")
    assert (code, fleet.read_bytes()) == (0, before)
    assert changes[0]["before"] is None
    code, changes = run(*command)
    assert (code, changes[0]["after"]["relays"]) == (0, ["elsewhere"])
    assert run(*command[:3], changes[0]["after"]["until"], *command[4:]) == (0, [])
    code, changes = run("lift", "203.0.113.1")
    assert (code, changes[0]["after"]["ended"] is None) == (0, False)
    assert fleet.read_text().startswith("# ours\nversion: 2\n")
    assert [path.name for path in fleet.parent.iterdir()] == ["fleet.yaml"]
    assert not here.ledger.exists()
    for arguments, code, said in (
        (("lift", "203.0.113.1"), 9, "it was lifted"),
        (("lift", "--all"), 2, "does not go with --ledger"),
        (("lift", "203.0.113.2", "--relay", "elsewhere"), 2, "does not go with --ledger"),
        (("block", "203.0.113.3", "--until", "1d", "--cut"), 2, "needs an exit"),
        (("block", "203.0.0.0/8", "--until", "1d"), 4, "wider than"),
    ):
        before = fleet.read_bytes()
        done = here.run(*arguments, "--ledger", str(fleet))
        assert (done.code, said in done.err, fleet.read_bytes()) == (code, True, before), done
    done = here.run("lift", "203.0.113.2", "--ledger", str(tmp_path / "none.yaml"))
    assert (done.code, "to begin one" in done.err) == (2, True), done


@pytest.mark.tor
@pytest.mark.slow
def test_two_at_the_same_time_wait_for_each_other(host: ExitHost, tmp_path: Path) -> None:
    """Whichever comes last, nothing of the other ledger stays when its fleet drops it."""
    names = [f"203.0.113.{100 + number}" for number in range(4)]
    files = [tmp_path / f"{number}.yaml" for number in range(4)]
    for name, file in zip(names, files, strict=True):
        file.write_text(ledger(name))
    running = [host.spawn("apply", "--from", str(file), "--json") for file in files]
    for process in running:
        process.communicate(timeout=120)
    assert {process.returncode for process in running} == {0}
    blocks = host.run("list", "--json").json["blocks"]
    assert len({one["destination"] for one in blocks} & set(names)) == 1
    (tmp_path / "none.yaml").write_text(ledger())
    assert host.run("apply", "--from", str(tmp_path / "none.yaml")).code == 0
    blocks = host.run("list", "--json").json["blocks"]
    assert not {one["destination"] for one in blocks} & set(names)
