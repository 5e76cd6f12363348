"""Real streams through a real exit on a private network are refused and answered as promised."""

import json
import time
from collections.abc import Callable, Iterator

import pytest

from tests.evidence import Thing, record
from tests.harness.network import Destination, PrivateNetwork, destinations
from tests.harness.tor import wait_until

pytestmark = pytest.mark.tor

THING = Thing.STREAMS
A, B, C, SIX = "127.0.1.7", "127.0.1.8", "127.0.2.9", "::1"


@pytest.fixture(scope="module")
def network() -> Iterator[PrivateNetwork]:
    """Three processes, and an exit that exitpol has been set up for."""
    with PrivateNetwork() as net:
        assert net.run("init").returncode == 0
        yield net
        record(THING, net.streams)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Serve four destinations on one port, and name it."""
    with destinations(A, B, C, SIX) as servers:
        yield servers[0].port


@pytest.fixture(autouse=True)
def unblocked(network: PrivateNetwork, port: int) -> Iterator[None]:
    """Before and after every test, all destinations answer."""
    assert answers(network, port) == "ABC6"
    yield
    blocks = json.loads(network.run("list", "--json").stdout)["blocks"]
    if blocks:
        done = network.run("lift", *(block["destination"] for block in blocks))
        assert done.returncode == 0, done.stderr


def answers(network: PrivateNetwork, port: int) -> str:
    """Open a stream to each destination; name those that answer. The others must be refused."""
    found = ""
    for name, host in (("A", A), ("B", B), ("C", C), ("6", SIX)):
        outcome = network.stream(host, port)
        assert outcome.kind in ("answered", "refused"), outcome
        if outcome.kind == "answered":
            assert outcome.detail == f"this is {host}"
            found += name
    return found


def block(network: PrivateNetwork, *destinations: str, until: str = "1d") -> None:
    """Block, and see that "live" is said."""
    done = network.run("block", *destinations, "--until", until)
    assert done.returncode == 0, done.stderr
    assert "live" in done.stdout


def lift(network: PrivateNetwork, *destinations: str) -> None:
    """End blocks now."""
    done = network.run("lift", *destinations)
    assert done.returncode == 0, done.stderr


def test_fragment_written_by_hand_is_enforced_a_second_after_a_reload(
    network: PrivateNetwork, port: int
) -> None:
    """Without exitpol, the network shows the refusals of a fragment written by hand."""
    before = network.fragment.read_bytes()
    network.fragment.write_text(f"ExitPolicy reject {A}:*\n")
    network.exit.reload_and_wait()
    assert answers(network, port) == "BC6"
    network.fragment.write_bytes(before)
    network.exit.reload_and_wait()
    assert answers(network, port) == "ABC6"


def test_very_next_stream_after_live_is_refused(network: PrivateNetwork, port: int) -> None:
    """Once `block` has said "live", the next stream there is refused; others are not."""
    block(network, A)
    assert network.stream(A, port).kind == "refused"
    assert answers(network, port) == "BC6"


def test_next_stream_after_lift_works(network: PrivateNetwork, port: int) -> None:
    """Once `lift` has returned, the next stream there is answered."""
    block(network, A, B)
    assert answers(network, port) == "C6"
    lift(network, A)
    assert network.stream(A, port).kind == "answered"
    assert answers(network, port) == "AC6"


def test_port_block_refuses_that_port_only(network: PrivateNetwork, port: int) -> None:
    """A block with a port leaves the other ports of the address alone."""
    other = Destination(A)
    try:
        block(network, f"{A}:{port}")
        assert network.stream(A, port).kind == "refused"
        assert network.stream(A, other.port).kind == "answered"
        assert answers(network, port) == "BC6"
    finally:
        other.close()


def test_network_block_refuses_all_of_it(network: PrivateNetwork, port: int) -> None:
    """A /24 refuses each of its addresses and none outside."""
    block(network, "127.0.1.0/24")
    assert answers(network, port) == "C6"


def test_range_block_refuses_its_ends_and_no_more(network: PrivateNetwork, port: int) -> None:
    """A range that is no network refuses its first and last address, not the next one."""
    block(network, "127.0.0.3-127.0.1.7")
    assert answers(network, port) == "BC6"


def test_ipv6_block_refuses_ipv6_only(network: PrivateNetwork, port: int) -> None:
    """An IPv6 address is refused; IPv4 is not."""
    block(network, SIX)
    assert answers(network, port) == "ABC"


def test_stream_on_a_new_circuit_is_refused_too(network: PrivateNetwork, port: int) -> None:
    """The refusal is the exit's, not that of one circuit."""
    block(network, A)
    assert wait_until(network.new_circuit, 20, "a new circuit")
    assert network.stream(A, port).kind == "refused"
    assert network.stream(B, port).kind == "answered"


def test_tick_lifts_an_expired_block_and_the_next_stream_works(
    network: PrivateNetwork, port: int
) -> None:
    """The tick lifts on time: refused until then, answered after; the other never fails."""
    block(network, A, until="10m")
    block(network, B)
    ends = time.time() + 6
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(ends))
    assert network.run("renew", A, "--until", stamp).returncode == 0
    assert network.run("expire").returncode == 0
    assert answers(network, port) == "C6"
    while time.time() < ends + 1:
        assert network.stream(C, port).kind == "answered"
        time.sleep(0.2)
    tick = network.run("expire")
    assert tick.returncode == 0, tick.stderr
    assert network.stream(A, port).kind == "answered"
    assert answers(network, port) == "AC6"


def test_other_destination_never_fails_while_blocks_come_and_go(
    network: PrivateNetwork, port: int
) -> None:
    """Streams to a destination that nobody blocks are answered at every moment of a change."""
    with network.background("block", A, B, "--until", "1d") as running:
        asked = keep_asking(network, port, running.poll)
    with network.background("lift", A, B) as running:
        asked += keep_asking(network, port, running.poll)
    assert asked > 20


def keep_asking(network: PrivateNetwork, port: int, poll: Callable[[], int | None]) -> int:
    """Fetch from C until the process has ended; return how often."""
    asked = 0
    while poll() is None:
        outcome = network.stream(C, port)
        assert outcome.kind == "answered", outcome
        asked += 1
        time.sleep(0.02)
    assert poll() == 0
    return asked
