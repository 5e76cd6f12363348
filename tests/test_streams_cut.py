"""Streams that were open before a block took effect are counted, and closed if wanted."""

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exitpolicy.core.addresses import BITS, Family, read_endpoint
from exitpolicy.core.destination import Destination, DestinationSet, parse_destination
from exitpolicy.tor import streams
from exitpolicy.tor.streams import Stream, StreamsUnknownError
from tests.harness.host import EXITPOL
from tests.harness.network import PrivateNetwork, socks_connect
from tests.harness.tor import TOR, TOR_GENCERT, HarnessError

WITHOUT = ("/usr/bin/setpriv",)
A, B, SIX = "127.0.1.7", "127.0.1.8", "::1"


@contextmanager
def connection(host: str) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Connect to a server of our own: our end and its end."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with (
        socket.create_server((host, 0), family=family) as server,
        socket.create_connection(server.getsockname()[:2]) as ours,
    ):
        theirs, _ = server.accept()
        with theirs:
            yield ours, theirs


def peer(ours: socket.socket) -> Destination:
    """Return where a connection goes to."""
    host, port = ours.getpeername()[:2]
    return parse_destination(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")


@pytest.mark.parametrize("host", [A, SIX])
def test_connection_that_a_process_has_made_is_found(host: str) -> None:
    """By address and port, in both families."""
    with connection(host) as (ours, _):
        here = peer(ours)
        (found,) = streams.open_streams([os.getpid()], [here])
        assert found.peer.rpartition(":")[2] == str(ours.getpeername()[1])
        other = Destination(here.family, here.first, here.last, ((1, 7),))
        assert streams.open_streams([os.getpid()], [other]) == []


def test_connection_of_another_process_is_not_found() -> None:
    """Only Tor's are looked for."""
    with connection(A) as (ours, _):
        assert streams.open_streams([os.getppid()], [peer(ours)]) == []
        assert streams.open_streams([2**22 - 1], [peer(ours)]) == []


def test_connection_that_a_process_has_accepted_is_not_found() -> None:
    """Other relays and the control port's clients come from anywhere, also from what is blocked."""
    with connection(A) as (ours, theirs):
        incoming = parse_destination(f"{ours.getsockname()[0]}:{ours.getsockname()[1]}")
        assert theirs.getpeername() == ours.getsockname()
        assert streams.open_streams([os.getpid()], [incoming]) == []


def test_connection_to_another_relay_is_not_found() -> None:
    """It carries the circuits of many people."""
    with connection(A) as (ours, _):
        here = peer(ours)
        relays = {(here.ranges[0].family, here.first, here.ports[0][0])}
        found = streams.open_streams([os.getpid()], [here])
        assert found
        assert streams.apart_from(found, relays) == []
        assert streams.apart_from(found, {(here.ranges[0].family, here.first, 1)}) == found


def test_more_connections_than_one_filter_holds_are_closed_and_no_others() -> None:
    """Filters go to ss in parts; what is not in them lives on."""
    with socket.create_server((A, 0), backlog=500) as server, connection(B) as (spared, _):
        ours = [socket.create_connection(server.getsockname()) for _ in range(450)]
        theirs = [server.accept()[0] for _ in ours]
        here = peer(ours[0])
        found = streams.open_streams([os.getpid()], [here])
        assert len(found) == 450
        streams.cut(found)
        assert streams.open_streams([os.getpid()], [here]) == []
        for end in (*ours, *theirs):
            with pytest.raises(OSError, match=r"abort|reset"):
                end.recv(1)
            end.close()
        spared.send(b"x")


def test_nothing_to_close_closes_nothing() -> None:
    """An empty filter would mean everything."""
    with connection(A) as (ours, theirs):
        streams.cut([])
        ours.send(b"x")
        assert theirs.recv(1) == b"x"


@given(st.data())
def test_destinations_hold_what_any_of_them_holds(data: st.DataObject) -> None:
    """The look-up by prefix length says the same as looking at each destination."""
    numbers = st.integers(0, 300)
    ports = st.tuples(st.integers(1, 9), st.integers(1, 9)).map(lambda p: (min(p), max(p)))
    families: st.SearchStrategy[Family] = st.sampled_from((4, 6))
    one = st.builds(
        lambda family, a, b, interval: Destination(family, min(a, b), max(a, b), (interval,)),
        families, numbers, numbers, ports,
    )  # fmt: skip
    destinations = data.draw(st.lists(one, max_size=5))
    within = DestinationSet(destinations)
    for family in BITS:
        number, port = data.draw(numbers), data.draw(st.integers(1, 9))
        single = Destination(family, number, number, ((port, port),))
        expected = any(destination.overlaps(single) for destination in destinations)
        assert ((family, number, port) in within) == expected


@given(st.text(max_size=40))
def test_no_address_breaks_the_reader(text: str) -> None:
    """What ss may write in another version is no address, not an error."""
    read_endpoint(text)


def test_many_connections_and_many_destinations_take_less_than_two_seconds() -> None:
    """An exit has tens of thousands of connections, and thousands of blocks."""
    lines = [
        f"ESTAB 0 0 192.0.2.1:{n % 60000 + 1024} 10.{n % 250}.{n // 250}.7:443"
        f" uid:102 ino:{n + 1} sk:{n:x} cgroup:/ <->"
        for n in range(50_000)
    ]
    owned = {str(n + 1): 7 for n in range(50_000)}
    destinations = [parse_destination(f"10.{n % 250}.{n // 250}.7:443") for n in range(5_000)]
    begun = time.process_time()
    found = streams.connections_in("\n".join(lines), owned, DestinationSet(destinations))
    assert time.process_time() - begun < 2
    assert len(found) == 5_000


def test_without_rights_it_is_said_that_root_is_needed() -> None:
    """Another user's connections are nobody's to see."""
    program = (
        "import sys\n"
        "from exitpolicy.tor import streams\n"
        "try: streams.open_streams([int(sys.argv[1])], [])\n"
        "except streams.StreamsUnknownError as error: print(error)\n"
    )
    done = subprocess.run(
        [*WITHOUT, "--bounding-set=-all", "--inh-caps=-all", EXITPOL[0], "-c", program, "1"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "only root may see which connections are Tor's\n", done.stderr


class Held:
    """A stream through the exit to a server of ours that is kept open."""

    def __init__(self, network: PrivateNetwork, host: str) -> None:
        control = network.client_control
        with socket.create_server((host, 0)) as server:
            self.port: int = server.getsockname()[1]
            self.client = socks_connect(network.socks_port, host, self.port, 10)
            source = f"SOURCE_ADDR=127.0.0.1:{self.client.getsockname()[1]}"
            while event := control.event(time.monotonic() + 10):
                words = event.split()
                if words[1] == "STREAM" and words[3] == "NEW" and source in words:
                    control.ask(f"ATTACHSTREAM {words[2]} {network.circuit}")
                    break
            server.settimeout(10)
            self.server, _ = server.accept()
        assert self.client.recv(10)[:2] == b"\5\0"

    def alive(self) -> bool:
        """Tell whether what is sent at one end comes out at the other."""
        with suppress(OSError):
            self.server.settimeout(10)
            self.client.sendall(b"?")
            return self.server.recv(1) == b"?"
        return False

    def ended_for_the_client(self) -> bool:
        """Tell whether the client is told within 10 s that its stream has ended."""
        self.client.settimeout(10)
        with suppress(ConnectionResetError):
            return self.client.recv(1) == b""
        return True

    def close(self) -> None:
        """Close both ends."""
        self.client.close()
        self.server.close()


@pytest.fixture(scope="module")
def network() -> Iterator[PrivateNetwork]:
    """Three processes, and an exit that exitpol has been set up for."""
    if not (TOR and TOR_GENCERT):
        pytest.skip("tor or tor-gencert is missing")
    with PrivateNetwork() as net:
        assert net.run("init").returncode == 0
        yield net


@pytest.fixture
def held(network: PrivateNetwork) -> Iterator[tuple[Held, Held, Held]]:
    """Three streams: two to A, one to B."""
    try:
        ends = (Held(network, A), Held(network, A), Held(network, B))
    except HarnessError:
        assert network.new_circuit()
        ends = (Held(network, A), Held(network, A), Held(network, B))
    yield ends
    for end in ends:
        end.close()
    network.run("lift", A)


def test_block_counts_open_streams_and_cut_closes_just_those(
    network: PrivateNetwork, held: tuple[Held, Held, Held]
) -> None:
    """A block leaves open streams alone and says so; with --cut they end, and no others do."""
    one, two, other = held
    done = network.run("block", A, "--until", "1d")
    assert done.returncode == 0, done.stderr
    assert done.stderr == (
        "exitpol: 2 open streams to blocked destinations; to close them, add --cut\n"
    )
    assert one.alive()
    assert two.alive()
    assert other.alive()
    seen = network.run("block", A, "--until", "1d", "--json")
    assert json.loads(seen.stdout)["open_streams"] == 2
    assert json.loads(seen.stdout)["closed_streams"] is None
    cut = network.run("block", A, "--until", "1d", "--cut")
    assert cut.returncode == 0
    assert cut.stderr == "exitpol: 2 open streams closed, 0 still open\n"
    assert one.ended_for_the_client()
    assert two.ended_for_the_client()
    assert other.alive()
    assert network.stream(A, one.port).kind == "refused"
    again = network.run("block", A, "--until", "1d", "--cut", "--json")
    found = json.loads(again.stdout)
    assert (found["open_streams"], found["closed_streams"]) == (0, 0)


def test_without_the_right_to_close_the_block_stands_and_the_reason_is_said(
    network: PrivateNetwork, held: tuple[Held, Held, Held]
) -> None:
    """Root without CAP_NET_ADMIN sees the streams, and the kernel refuses to close them."""
    done = subprocess.run(
        [*WITHOUT, "--bounding-set=-net_admin", *EXITPOL, "block", A, "--until", "1d", "--cut"],
        env=network.environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "live" in done.stdout
    assert "2 open streams to blocked destinations\n" in done.stderr
    assert "that needs root with CAP_NET_ADMIN" in done.stderr
    assert "close them" not in done.stderr
    assert held[0].alive()


def test_without_ss_the_block_stands_and_the_number_is_not_known(
    network: PrivateNetwork, held: tuple[Held, Held, Held]
) -> None:
    """There is no `ss` in a namespace of its own where its file is hidden."""
    hide = "for f in /usr/bin/ss /usr/sbin/ss; do [ ! -e $f ] || mount --bind /dev/null $f; done"
    done = subprocess.run(
        ["/usr/bin/unshare", "--mount", "sh", "-c", f'{hide}; exec "$@"', "sh",
         *EXITPOL, "block", A, "--until", "1d", "--cut", "--json"],
        env=network.environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["open_streams"] is None
    assert "the program ss" in done.stderr
    assert "apt install iproute2" in done.stderr
    assert held[0].alive()


def test_streams_are_not_closed_before_the_block_is_live(network: PrivateNetwork) -> None:
    """New ones could be opened after it; so --cut with --no-wait says to come again."""
    done = network.run("block", "203.0.113.9", "--until", "1d", "--no-wait", "--cut", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["open_streams"] is None
    assert "once the block is live" in done.stderr
    time.sleep(1.2)
    assert network.run("lift", "203.0.113.9").returncode == 0


def test_error_has_a_hint() -> None:
    """A filter that ss does not understand is an error of ours, said in its words."""
    with pytest.raises(StreamsUnknownError, match="ss cannot do what it is told"):
        streams.cut([Stream("nonsense", "nonsense")])
