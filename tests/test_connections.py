"""One control connection serves a whole command, as long as it is safe to go on with it."""

import time
from threading import Event, Lock

import pytest

from exitpolicy.core.errors import TorUnreachableError
from exitpolicy.operations.parallel import in_parallel
from exitpolicy.tor.connections import Connections
from tests.harness.host import HostMaker

OPENED = "New control connection opened"


@pytest.mark.tor
def test_a_block_connects_once(make_host: HostMaker) -> None:
    """The preview, the apply, the reload and the wait share one connection."""
    host = make_host()
    log = host.tor.folder / "log"
    before = log.read_text().count(OPENED)
    assert host.run("block", "203.0.113.7", "--until", "1d").code == 0
    assert log.read_text().count(OPENED) - before == 1
    assert host.run("lift", "203.0.113.7").code == 0
    assert log.read_text().count(OPENED) - before == 2


@pytest.mark.tor
def test_a_tor_that_was_restarted_is_connected_to_again(make_host: HostMaker) -> None:
    """A connection that was kept is not used once its process has ended."""
    host = make_host()
    connections = Connections()
    with connections.kept():
        with connections.connect(host.tor.relay) as control:
            former = control.peer.pid
            assert control.get_info("process/pid") == str(former)
        with connections.connect(host.tor.relay) as control:
            assert control.get_info("process/pid") == str(former)
        host.tor.stop()
        host.tor.start()
        with connections.connect(host.tor.relay) as control:
            assert control.peer.pid != former
            assert control.get_info("process/pid") == str(control.peer.pid)


@pytest.mark.tor
def test_a_connection_is_kept_only_where_a_command_says_so(make_host: HostMaker) -> None:
    """Outside of `kept`, and after it, each conversation has a connection of its own."""
    host = make_host()
    connections = Connections()
    with connections.connect(host.tor.relay) as first:
        pass
    with connections.kept(), connections.connect(host.tor.relay) as second:
        assert second is not first
        assert second.get_info("version")
    for control in (first, second):
        with pytest.raises(TorUnreachableError):
            control.get_info("version")


def test_a_few_work_at_once() -> None:
    """More begin when one has ended; one that hangs does not hold the others up."""
    lock, done = Lock(), Event()
    working = most = 0

    def work(number: int) -> int:
        nonlocal working, most
        with lock:
            working += 1
            most = max(most, working)
        time.sleep(0.002)
        with lock:
            working -= 1
        return number * 2

    assert in_parallel(work, range(40), at_once=3) == [number * 2 for number in range(40)]
    assert most < 20, "on a busy machine, more than three"

    def wait(number: int) -> bool:
        if number == 9:
            done.set()
        return done.wait(5)

    assert in_parallel(wait, range(10), at_once=3) == [True] * 10
