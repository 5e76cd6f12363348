"""`fitting`: which blocks of a ledger that is too large are installed."""

import time
from datetime import UTC, datetime

from exitpolicy.core.block import Block
from exitpolicy.core.destination import Destination, parse_destination
from exitpolicy.operations.choosing import Choosing
from exitpolicy.operations.fitting import Gauge, fit, gauges
from exitpolicy.policy.descriptor import DESCRIPTOR_LIMIT, DESCRIPTOR_SPARE, lone_bytes
from exitpolicy.policy.evaluate import Decisions
from exitpolicy.policy.minimize import fewest_rules
from exitpolicy.policy.options import ExitOptions
from exitpolicy.policy.reconcile import Configured, View
from exitpolicy.policy.rule import parse_policy
from exitpolicy.storage.config import FitChoice

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
OWN = parse_policy(["reject *:25", "accept *:*"])


def exit_relay() -> list[Gauge]:
    """Return the gauge of an exit whose Tor does not run: its descriptor is estimated."""
    return gauges([View("a", None, Configured(ExitOptions(OWN, exit_relay=True), ()))])


def scattered(count: int) -> list[Block]:
    """Return blocks of which no two can share a rule."""
    return [
        Block(parse_destination(f"11.{n // 250}.{n % 250}.{n % 251}:{n % 65000 + 1}"), NOW, None)
        for n in range(count)
    ]


def test_the_first_blocks_get_the_room_and_the_rest_is_named() -> None:
    """In order, as many as fit the descriptor; each of the others would exceed it."""
    blocks = scattered(1500)
    gauge = exit_relay()
    found = fit([], blocks, base=(), baseline=(), on=gauge)
    held = [block.destination in found.held for block in blocks]
    first = held.index(True)
    used = gauge[0].measure(found.rules).descriptor_bytes
    limit = DESCRIPTOR_LIMIT - DESCRIPTOR_SPARE
    assert used <= limit
    for block in blocks[first:]:
        if block.destination in found.held:
            assert used + lone_bytes(block.destination) > limit
    assert len(found.rules) == held.count(False)
    assert 600 < first < 700


def test_blocks_that_together_become_few_rules_fit() -> None:
    """4,096 single addresses of one network are one rule, in whatever order they come."""
    network = parse_destination("203.0.112.0/20")
    singles = [
        Block(Destination(4, n, n, network.ports), NOW, None)
        for n in range(network.first, network.last + 1)
    ]
    found = fit([], singles[::2] + singles[1::2], base=(), baseline=(), on=exit_relay())
    assert not found.held
    assert [rule.destination for rule in found.rules] == [network]


def test_forced_and_installed_blocks_come_first() -> None:
    """Installed blocks keep their space; a hand edit above them does not take it."""
    installed = Block(parse_destination("203.0.113.7"), NOW, None)
    forced = installed._replace(destination=parse_destination("203.0.113.99"), forced=True)
    found = fit([installed], [*scattered(1500), forced], base=(), baseline=(), on=exit_relay())
    assert not {installed.destination, forced.destination} & found.held.keys()


def test_a_ledger_of_20000_scattered_blocks_is_fitted_in_two_seconds() -> None:
    """The time is linear: 100,000 take less than five times as long."""
    blocks = scattered(20_000)
    begun = time.process_time()
    found = fit([], blocks, base=(), baseline=(), on=exit_relay())
    assert time.process_time() - begun < 4  # a margin of two for other work on the machine
    assert len(found.held) > 19_000


def test_a_long_list_that_tor_drops_from_the_policy_fits() -> None:
    """Blocks of a port that a later own rule rejects cost nothing, however many they are."""
    closed = [
        block._replace(destination=block.destination._replace(ports=((25, 25),)))
        for block in scattered(12_000)
    ]
    assert not fit([], closed, base=(), baseline=(), on=exit_relay()).held


def test_the_size_of_a_long_list_is_estimated_well() -> None:
    """The error about 20,000 blocks names the size that an exact measurement gives, within 5 %."""
    blocks = scattered(20_000)
    held = fit([], blocks, base=(), baseline=(), on=exit_relay()).held
    (problem,) = {broken.problem for broken in held.values()}
    (gauge,) = exit_relay()
    exact = gauge.measure(fewest_rules(block.destination for block in blocks))
    assert abs(problem.excess / -exact.descriptor_room - 1) < 0.05
    assert "would have about" in problem.message


def test_blocks_of_lists_give_way_to_one_of_the_operator() -> None:
    """A full fragment of a list makes room for a new complaint, and for nothing else."""
    many = [block._replace(source="list") for block in scattered(1500)]
    full = fit([], many, base=(), baseline=(), on=exit_relay())
    installed = [block for block in many if block.destination not in full.held]
    complaint = Block(parse_destination("203.0.113.7:65000"), NOW, None)
    found = fit(installed, [complaint], base=(), baseline=full.rules, on=exit_relay())
    assert complaint.destination not in found.held
    assert len(found.held) == 1
    assert found.held.keys() <= {block.destination for block in installed}
    # Another list takes no room from it.
    other = complaint._replace(source="other")
    found = fit(installed, [other], base=(), baseline=full.rules, on=exit_relay())
    assert set(found.held) == {complaint.destination}


def test_the_last_blocks_of_lists_give_way_first() -> None:
    """The order of the installed blocks, which is that of priorities, says which give way."""
    many = [block._replace(source="list") for block in scattered(1500)]
    full = fit([], many, base=(), baseline=(), on=exit_relay())
    installed = [block for block in many if block.destination not in full.held]
    complaints = [
        Block(parse_destination(f"203.0.113.{n * 2}:65000"), NOW, None) for n in range(100)
    ]
    found = fit(installed, complaints, base=(), baseline=full.rules, on=exit_relay())
    gone = [number for number, b in enumerate(installed) if b.destination in found.held]
    assert len(gone) == len(found.held)
    assert min(gone) > len(installed) - 150


# -- What the config lets choose ----------------------------------------------


def listed(count: int, network: int = 11) -> list[Block]:
    """Return blocks of a list: single addresses of which no two adjoin."""
    first = network << 24
    return [
        Block(Destination(4, first + n * 1021, first + n * 1021), NOW, None, source="list")
        for n in range(count)
    ]


def choose(choice: FitChoice, off_limits: tuple[Destination, ...] = ()) -> Choosing:
    """Return how to choose."""
    return Choosing(choice, (), 16, off_limits)


def test_blocks_of_lists_give_way_to_those_of_the_operator() -> None:
    """Whatever the order and whether they are installed."""
    of_list, own = listed(900), [block._replace(source="") for block in listed(50, 12)]
    gauge = exit_relay()
    found = fit(
        of_list,
        own,
        base=(),
        baseline=fewest_rules(block.destination for block in of_list[:700]),
        on=gauge,
        choosing=choose(FitChoice.LEAVE_OUT),
    )
    assert not found.held.keys() & {block.destination for block in own}
    assert 100 < len(found.held) < 350
    assert gauge[0].measure(found.rules).descriptor_room >= 0
    assert {broken.problem.limit for broken in found.held.values()} == {"descriptor"}


def test_nothing_is_chosen_where_everything_fits() -> None:
    """The rules are those without any choice."""
    blocks = listed(500)
    plain = fit([], blocks, base=(), baseline=(), on=exit_relay())
    for choice in (FitChoice.LEAVE_OUT, FitChoice.OVER_BLOCK):
        assert (
            fit([], blocks, base=(), baseline=(), on=exit_relay(), choosing=choose(choice)) == plain
        )


def test_wider_rules_reject_every_block_and_spare_what_is_off_limits() -> None:
    """They keep all limits of the relay."""
    blocks = listed(900)
    spared = Destination(4, blocks[3].destination.first + 1, blocks[3].destination.first + 1)
    gauge = exit_relay()
    how = choose(FitChoice.OVER_BLOCK, (spared,))
    found = fit([], blocks, base=(), baseline=(), on=gauge, choosing=how)
    decisions = Decisions(found.rules)
    assert not found.held
    assert all(decisions.rejects(block.destination) for block in blocks)
    assert not decisions.rejects(spared)
    assert min(rule.prefix for rule in found.rules) >= 16
    assert gauge[0].measure(found.rules).descriptor_room >= 0


def test_blocks_that_the_own_policy_rejects_take_no_space() -> None:
    """Tor drops their rules: they do not push out others."""
    closed = [
        Block(parse_destination(f"{block.destination}:25"), NOW, None, source="list")
        for block in listed(900)
    ]
    others = [block._replace(source="other") for block in listed(600, 12)]
    found = fit(
        [],
        [*closed, *others, *listed(200, 13)],
        base=(),
        baseline=(),
        on=exit_relay(),
        choosing=choose(FitChoice.LEAVE_OUT),
    )
    assert 50 < len(found.held) < 250
    assert not found.held.keys() & {block.destination for block in closed}


def test_a_choice_among_many_blocks_takes_little_time() -> None:
    """9,000 blocks of which 650 fit; trying the others one by one took most of a minute."""
    blocks = listed(9000)
    began = time.process_time()
    found = fit(
        [], blocks, base=(), baseline=(), on=exit_relay(), choosing=choose(FitChoice.LEAVE_OUT)
    )
    assert len(found.held) > 8000
    assert time.process_time() - began < 8
