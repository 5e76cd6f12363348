"""Repeat offenders: what was blocked before is blocked for longer, or that is proposed."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exitpolicy.cli import repeats as shown
from exitpolicy.core.block import Block
from exitpolicy.core.destination import parse_destination
from exitpolicy.core.durations import duration_text, parse_duration
from exitpolicy.core.repeats import End, FormerBlocks, Growth
from exitpolicy.operations import repeats
from exitpolicy.operations.host import Host
from exitpolicy.reply.compose import write
from exitpolicy.reply.facts import LANGUAGES, BlockFact, Language, ReplyFacts
from exitpolicy.reply.letters import load_letter
from exitpolicy.storage import config, history
from tests.harness.host import HostMaker

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("days", "times", "longer"),
    [(30, 0, 30), (30, 1, 60), (30, 2, 120), (30, 3, 180), (30, 10**6, 180), (200, 1, 200)],
)
def test_each_earlier_block_multiplies_the_time(days: int, times: int, longer: int) -> None:
    """Up to the bound, and never to less than what was asked for."""
    growth = Growth(90 * DAY, 2, 180 * DAY)
    assert growth.longer(NOW + days * DAY, NOW, times) == NOW + longer * DAY
    assert growth.longer(None, NOW, times) is None


@given(st.integers(1, 10**9), st.integers(0, 50), st.floats(1, 100), st.integers(60, 10**9))
def test_a_time_never_shrinks_nor_leaves_its_bound(
    seconds: int, times: int, factor: float, bound: int
) -> None:
    """Whatever the rule."""
    until = NOW + timedelta(seconds=seconds)
    longer = Growth(DAY, factor, timedelta(seconds=bound)).longer(until, NOW, times)
    assert longer is not None
    assert until <= longer <= max(until, NOW + timedelta(seconds=bound))


@given(st.integers(1, 10**9))
def test_a_duration_is_read_back_as_it_was_written(seconds: int) -> None:
    """`60d` for what `60d` means, and seconds where nothing larger fits."""
    duration = timedelta(seconds=seconds)
    assert parse_duration(duration_text(duration)) == duration


@pytest.mark.parametrize(
    ("before", "now", "counts"),
    [
        ("203.0.113.7", "203.0.113.7", True),
        ("203.0.113.7:22", "203.0.113.7", True),
        ("203.0.113.7", "203.0.113.7:22", True),
        ("203.0.113.7:22", "203.0.113.7:80", False),
        ("203.0.113.7", "203.0.113.8", False),
        ("203.0.113.7", "203.0.113.0/24", False),
        ("[2001:db8::1]:22", "2001:db8::1", True),
        ("*:22", "*:22", True),
    ],
)
def test_the_same_addresses_with_a_port_in_common_count(
    before: str, now: str, *, counts: bool
) -> None:
    """Another port of the same host was not blocked before."""
    former = FormerBlocks([End(parse_destination(before), NOW, None)])
    assert (former.of(parse_destination(now)) is not None) is counts


def test_ports_of_one_host_that_ended_together_count_once() -> None:
    """They were one case; the last end is the latest."""
    ends = [End(parse_destination(f"203.0.113.7:{port}"), NOW, None) for port in (22, 80)]
    ends.append(End(parse_destination("203.0.113.7:22"), NOW - DAY, DAY))
    found = FormerBlocks(ends).of(parse_destination("203.0.113.7"))
    assert found is not None
    assert (found.times, found.last.at) == (2, NOW)


MakeHost = Callable[..., Host]


@pytest.fixture
def make(tmp_path: Path) -> MakeHost:
    """Return a function that makes a host without relays and with a history.

    Each step of the history is a text of an action, a destination and days before NOW.
    """

    def host(*steps: tuple[str, str, int], rule: str = "") -> Host:
        (tmp_path / "config.yaml").write_text(f"ledger: blocks.yaml\nrelays: []\n{rule}")
        found = Host(config.load(tmp_path / "config.yaml"), (), "ada", lambda: NOW)
        for action, text, days in steps:
            at = NOW - days * DAY
            block = Block(parse_destination(text), at, at + 5 * DAY)
            if action != "block":
                block = block._replace(until=at)
            history.append(found.history_path, action, [block], at, "ada")  # type: ignore[arg-type]
        return found

    return host


ONE = "203.0.113.7"


@pytest.mark.parametrize(
    ("steps", "times"),
    [
        ([], 0),
        ([("block", ONE, 40)], 0),
        ([("block", ONE, 40), ("expire", ONE, 10)], 1),
        ([("block", ONE, 40), ("lift", ONE, 10)], 1),
        ([("block", ONE, 99), ("expire", ONE, 95)], 0),
        ([("expire", ONE, 20), ("resume", ONE, 19)], 0),
        ([("expire", ONE, 20), ("resume", ONE, 19), ("expire", ONE, 5)], 1),
        ([("block", ONE, 40), ("remove", ONE, 10)], 0),
        ([("block", ONE, 9), ("block", ONE, 8), ("expire", ONE, 7)], 1),
        ([("expire", ONE, 9), ("expire", f"{ONE}:22", 8), ("expire", "203.0.113.70", 7)], 2),
    ],
)
def test_the_history_says_how_often_a_destination_was_blocked(
    make: MakeHost, steps: list[tuple[str, str, int]], times: int
) -> None:
    """Ends within the window count, unless a wrong clock made them."""
    found = repeats.proposals(make(*steps), [parse_destination(ONE)], NOW + 30 * DAY, NOW)
    assert [one.former.times for one in found] == [times] * bool(times)
    if times:
        assert found[0].proposed == NOW + 30 * 2**times * DAY
        assert shown.longest(found, NOW) == f"{30 * 2**times}d"
    assert shown.longest(repeats.proposals(make(*steps), [], NOW + DAY, NOW), NOW) is None


@pytest.mark.parametrize("many", [1, 50])
def test_only_the_config_lets_lists_take_a_longer_time(make: MakeHost, many: int) -> None:
    """With `repeat`, each block that was made before gets one, in short and in long lists."""
    steps = [("block", ONE, 40), ("expire", ONE, 10), ("expire", "203.0.113.200", 3)]
    texts = [f"203.0.113.{number}" for number in range(7, 7 + many)]
    blocks = [Block(parse_destination(text), NOW, NOW + 2 * DAY) for text in texts]
    assert repeats.lengthened(make(*steps), blocks, NOW) == {}
    host = make(rule="repeat: {within: 30d, factor: 3, at_most: 5d}\n")
    assert repeats.lengthened(host, blocks, NOW) == {parse_destination(ONE): NOW + 5 * DAY}


@pytest.mark.parametrize(("days", "is_longer"), [(5, False), (6, True)])
def test_a_letter_says_so_only_of_a_longer_time(
    make: MakeHost, days: int, *, is_longer: bool
) -> None:
    """The time that the block before was made for is compared."""
    host = make(("block", ONE, 10), ("expire", ONE, 5))
    # The expire record holds the end that the block had.
    block = Block(parse_destination(ONE), NOW, NOW + days * DAY)
    assert repeats.is_longer(host, [block], NOW) is is_longer
    other = Block(parse_destination("203.0.113.9"), NOW, NOW + days * DAY)
    assert not repeats.is_longer(host, [other], NOW)


def test_a_block_of_what_was_blocked_before(make_host: HostMaker) -> None:
    """The operator's own time is taken, and a longer one proposed; a list takes the longer one."""
    host = make_host(extra="repeat: {factor: 3}\n")
    host.run("block", ONE, "--until", "30d")
    host.run("lift", ONE)
    done = host.run("block", ONE, "--until", "10d")
    assert done.code == 0
    assert f"{ONE} was blocked once in the last 90d" in done.err
    assert f"for longer this time: exitpol renew {ONE} --until 20" in done.err
    again = host.run("block", ONE, "--until", "9d", "--json")
    assert again.json["repeats"] == []
    host.run("lift", ONE)
    path = host.folder / "list"
    path.write_text(f"{ONE}\n203.0.113.8\n")
    arguments = ("import", str(path), "--until", "10d", "--source", "a", "--sync")
    done = host.run(*arguments)
    assert done.code == 0
    assert "1 of them was blocked before, and is blocked for longer" in done.err
    ends = {
        block["destination"]: block["until"] for block in host.run("list", "--json").json["blocks"]
    }
    first, second = (datetime.fromisoformat(ends[text]) for text in (ONE, "203.0.113.8"))
    assert timedelta(days=79) < first - second < timedelta(days=81)
    before = host.snapshot()
    assert host.run(*arguments).out.startswith("nothing to change")
    assert host.snapshot() == before


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_letter_says_that_the_time_is_longer(language: Language) -> None:
    """One line more, in each language, and only then."""
    block = BlockFact(destination=ONE, since=NOW, until=NOW + DAY, live=True)
    template = load_letter("brute-force", language, {})
    plain, longer = (
        write(template, ReplyFacts(recipient="reporter", blocks=(block,), longer=is_longer)).body
        for is_longer in (False, True)
    )
    assert len(longer) > len(plain) + 40
