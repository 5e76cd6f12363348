"""DNS servers of a test, on loopback: a real dnsmasq, and one that answers whatever a test says."""

import contextlib
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from threading import Thread
from typing import Final, Self

import dns.message
import pytest

from exitpolicy.resolver import Server
from tests.harness.tor import free_port, wait_until

DNSMASQ: Final = shutil.which("dnsmasq", path="/usr/sbin:/usr/bin:/sbin") or ""
needs_dnsmasq = pytest.mark.skipif(not DNSMASQ, reason="dnsmasq is missing")

OPTIONS: Final = (
    *("cname=alias.test,www.test,30", "host-record=zero.test,203.0.113.8,0"),
    *("cname=far.test,near.test", "cname=near.test,www.test,60"),
    *("cname=fronted.test,d1.cdn.test", "host-record=d1.cdn.test,203.0.113.66"),
    "txt-record=text.test,no address",
)
"""The records that stay; those of `hosts` change."""
HOSTS: Final = (
    "203.0.113.7 www.test",
    "2001:db8::7 www.test",
    *(f"198.18.{number // 250}.{number % 250 + 1} many.test" for number in range(1000)),
)


class NameServer:
    """A dnsmasq that knows the domain `test` alone."""

    def __init__(self, folder: Path) -> None:
        self.server = Server("127.0.0.1", free_port())
        self._hosts = folder / "hosts"
        self._folder = folder
        self.resolv_conf = folder / "resolv.conf"
        """Names this server alone."""
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._folder.mkdir(exist_ok=True)
        self.resolv_conf.write_text(f"nameserver {self.server.address}:{self.server.port}\n")
        self._write(HOSTS)
        lines = (
            f"port={self.server.port}", "listen-address=127.0.0.1", "bind-interfaces", "no-resolv",
            "no-hosts", f"addn-hosts={self._hosts}", "local-ttl=300", "local=/test/", "user=",
            "log-facility=-", "pid-file=", *OPTIONS,
        )  # fmt: skip
        config = self._folder / "dnsmasq.conf"
        config.write_text("".join(f"{line}\n" for line in lines))
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [DNSMASQ, "--keep-in-foreground", f"--conf-file={config}"], stdout=log, stderr=log
            )
        wait_until(self._listens, what="dnsmasq listens")
        return self

    def __exit__(self, *_: object) -> None:
        self._signal(signal.SIGCONT)
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def change(self, *hosts: str) -> None:
        """Answer with these lines of a hosts file from now on."""
        self._write(hosts)
        before = self._reads()
        self._signal(signal.SIGHUP)
        wait_until(lambda: self._reads() > before, what="dnsmasq reads its hosts")

    @contextlib.contextmanager
    def silent(self) -> Iterator[None]:
        """Never answer in this block."""
        self._signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal(signal.SIGCONT)

    def _write(self, hosts: Iterable[str]) -> None:
        self._hosts.write_text("".join(f"{line}\n" for line in hosts))

    def _reads(self) -> int:
        return (self._folder / "log").read_text().count(f"read {self._hosts} ")

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(self.server, 1):
            return True
        return False

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)


Replies = Callable[[dns.message.Message], Sequence[bytes | dns.message.Message]]
"""What a server sends for a query."""


class HostileServer:
    """A server, of UDP alone, that sends for each query what a function of the test returns."""

    def __init__(self, replies: Replies, address: str = "127.0.0.1") -> None:
        self._replies = replies
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((address, 0))
        self.server = Server(*self._socket.getsockname())
        self._thread = Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        # An empty datagram ends the thread.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closing:
            closing.sendto(b"", self.server)
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            data, asker = self._socket.recvfrom(65535)
            if not data:
                return
            for reply in self._replies(dns.message.from_wire(data)):
                wire = reply if isinstance(reply, bytes) else reply.to_wire()
                self._socket.sendto(wire, asker)
