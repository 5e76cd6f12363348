"""One control connection serves a whole command, as long as it is safe to go on with it."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Event, Lock

import pytest

from exitpolicy.core.errors import TorUnreachableError
from exitpolicy.operations.parallel import in_parallel
from exitpolicy.storage.config import Relay
from exitpolicy.tor import verify
from exitpolicy.tor.answer_time import ANSWER_SECONDS, answer_seconds
from exitpolicy.tor.connections import Connections
from tests.harness.host import HostMaker

OPENED = "New control connection opened"


def test_a_connection_needs_only_a_part_of_stem() -> None:
    """stem.control and its descriptors take a tenth of the time of a block to import."""
    code = "import sys, exitpolicy.tor.control; sys.exit('stem.control' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


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


def test_a_tor_with_many_rules_has_more_time_for_its_answers(tmp_path: Path) -> None:
    """It is busy for seconds; the time grows with its torrc and the included files, to a limit."""
    torrc = tmp_path / "torrc"
    relay = Relay("default", torrc, "/nowhere")
    assert answer_seconds(relay) == ANSWER_SECONDS
    torrc.write_text("ORPort 9001\n")
    assert answer_seconds(relay) == ANSWER_SECONDS
    rules = "".join(f"ExitPolicy reject 11.0.{n >> 8}.{n & 255}:22\n" for n in range(19_700))
    torrc.write_text(rules)
    many = answer_seconds(relay)
    assert 25 < many < 60
    torrc.write_text(f"ORPort 9001\n%include {tmp_path}/rules\n")
    (tmp_path / "rules").write_text(rules)
    assert answer_seconds(relay) == pytest.approx(many, abs=0.1)
    torrc.write_text("# \n" * 4_000_000)
    assert answer_seconds(relay) == verify.SECONDS


@pytest.mark.tor
def test_a_tor_that_is_busy_with_its_rules_is_waited_for(make_host: HostMaker) -> None:
    """With 19,700 own lines, status and lift used to end with 6 while Tor made its policy."""
    host = make_host()
    host.tor.add("# " + "x" * 450_000)
    host.tor.signal(signal.SIGSTOP)
    waiting = host.spawn("status")
    try:
        time.sleep(ANSWER_SECONDS + 1)
        assert waiting.poll() is None
    finally:
        host.tor.signal(signal.SIGCONT)
    _, err = waiting.communicate(timeout=30)
    assert waiting.returncode == 0, err
