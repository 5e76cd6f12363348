"""What an ordinary client sees of a block: a user's Tor that chooses its own path to the exit.

Four processes: authority, middle, exit and client. No controller builds circuits or attaches
streams here; the control port is only listened to. Such a client is not told of a block: the
consensus has a port summary only. So it goes on choosing the exit, is refused with EXITPOLICY and
asks again, here, where there is no other exit, dozens of times a second over a Conflux circuit that
it has already. What its application gets is no answer, and a SOCKS failure after SocksTimeout,
which is two minutes; the one of this test gives up after 2 s. The client remembers a refusal for
one circuit at most (relay.c, adjust_exit_policy_from_exitpolicy_failure: it knows the exit by a
microdescriptor only), so that the next stream after a lift works at once, with no NEWNYM.
"""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from tests.evidence import Thing, record
from tests.harness.network import PrivateNetwork, StreamOutcome, destinations

pytestmark = [pytest.mark.tor, pytest.mark.slow]

THING = Thing.STREAMS
A, B = "127.0.1.7", "127.0.1.8"


@pytest.fixture(scope="module")
def network() -> Iterator[PrivateNetwork]:
    """Four processes, and an exit that exitpol has been set up for."""
    with PrivateNetwork(middle=True) as net:
        assert net.run("init").returncode == 0
        yield net


@contextmanager
def asking(network: PrivateNetwork, host: str, port: int) -> Iterator[Future[list[StreamOutcome]]]:
    """Fetch from a destination again and again until the end; yield the outcomes."""
    ended = threading.Event()

    def ask() -> list[StreamOutcome]:
        outcomes: list[StreamOutcome] = []
        while not ended.wait(0.1):
            outcomes.append(network.ordinary(host, port))
        return outcomes

    with ThreadPoolExecutor(1) as pool:
        try:
            yield pool.submit(ask)
        finally:
            ended.set()


def test_ordinary_client_is_refused_while_blocked_and_others_are_answered(
    network: PrivateNetwork,
) -> None:
    """The exit refuses every stream to a blocked destination, and no other stream ever fails."""
    with destinations(A, B) as servers:
        port = servers[0].port
        for host in (A, B):
            assert network.ordinary(host, port) == StreamOutcome("answered", f"this is {host}")
        (before,) = network.attempts(A, port)
        assert before.kind == "answered"
        # Three hops that the client has chosen, not the two of a circuit built by hand.
        assert sorted(before.path) == ["authority", "exit", "middle"]
        assert before.path[-1] == "exit"

        with asking(network, B, port) as other:
            blocked = network.run("block", A, "--until", "1d")
            assert blocked.returncode == 0, blocked.stderr
            assert "live" in blocked.stdout
            refusals = 0
            for _ in range(2):
                assert network.ordinary(A, port, seconds=2).kind == "other"
                attempts = network.attempts(A, port)
                assert attempts
                assert {attempt.kind for attempt in attempts} == {"refused"}
                assert {attempt.path[-1] for attempt in attempts} == {"exit"}
                refusals += len(attempts)
            lifted = network.run("lift", A)
            assert lifted.returncode == 0, lifted.stderr
            begun = time.monotonic()
            assert network.ordinary(A, port) == StreamOutcome("answered", f"this is {A}")
            assert time.monotonic() - begun < 2
    outcomes = other.result()
    assert len(outcomes) > 20
    assert set(outcomes) == {StreamOutcome("answered", f"this is {B}")}
    record(THING, refusals + len(outcomes) + 3)
