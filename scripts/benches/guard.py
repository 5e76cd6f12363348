"""What the guard's look at 100,000 connections costs.

They are real connections from a network namespace to another one, so that the kernel lists the ends
of one side only, as on an exit. Needs root, `ip` and `ss` (Debian: iproute2).
"""

import os
import resource
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

UNSHARE = "/usr/bin/unshare"
IP = shutil.which("ip", path="/usr/sbin:/sbin:/usr/bin:/bin") or "ip"
CONNECTIONS = 100_000
SERVERS = 60
PORT = 4430
SECONDS = 1.0
MEGABYTES = 100.0
TURNS = 3
SPAN = 300.0
"""How long the processes live that hold the connections, in seconds."""


def main() -> int:
    """Measure, print two rows, and return 1 if a target was missed and 2 if it cannot be run."""
    role = sys.argv[1] if len(sys.argv) > 1 else ""
    if role == "serve":
        return _serve()
    if role == "count":
        return _count([int(pid) for pid in sys.argv[2:]])
    if role == "inside":
        return _inside()
    if os.geteuid() != 0:
        print("guard: making network namespaces needs root", file=sys.stderr)
        return 2
    return subprocess.run(
        [UNSHARE, "-n", sys.executable, __file__, "inside"], check=False
    ).returncode


def _serve() -> int:
    """Accept connections in the kernel's queue, in a namespace of our own."""
    sys.stdin.readline()
    Path("/proc/sys/net/core/somaxconn").write_text("200000")
    _ip("addr add 10.9.0.2/16 dev far", "link set far up", "link set lo up")
    _ip("route add local 10.9.1.0/24 dev lo")
    servers = [
        socket.create_server((f"10.9.1.{n + 1}", PORT), backlog=60_000) for n in range(SERVERS)
    ]
    print("ready", flush=True)
    time.sleep(SPAN)
    del servers  # they listen until here
    return 0


def _ip(*commands: str) -> None:
    for command in commands:
        subprocess.run([IP, *command.split()], check=True)


def _inside() -> int:
    server = subprocess.Popen(
        [UNSHARE, "-n", sys.executable, __file__, "serve"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    children: list[int] = []
    try:
        assert server.stdin is not None
        assert server.stdout is not None
        time.sleep(1)
        _ip(f"link add near type veth peer name far netns {server.pid}")
        _ip("addr add 10.9.0.1/16 dev near", "link set near up", "link set lo up")
        Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("1024 65535")
        server.stdin.write("go\n")
        server.stdin.flush()
        server.stdout.readline()
        children = _connected()
        words = map(str, children)
        return subprocess.run([sys.executable, __file__, "count", *words], check=False).returncode
    finally:
        for pid in children:
            os.kill(pid, 15)
        server.kill()


def _connected() -> list[int]:
    """Return processes that hold the connections: no process may open so many files."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    processes = -(-CONNECTIONS // min(most - 100, CONNECTIONS))
    reading, writing = os.pipe()
    children: list[int] = []
    for number in range(processes):
        child = os.fork()
        if child == 0:
            held = [
                socket.create_connection((f"10.9.1.{(number + i) % SERVERS + 1}", PORT))
                for i in range(CONNECTIONS // processes)
            ]
            os.write(writing, b"x")
            time.sleep(SPAN)
            del held  # they are open until here
            os._exit(0)
        children.append(child)
    for _ in children:
        os.read(reading, 1)
    return children


def _count(pids: list[int]) -> int:
    """Count the connections of processes some times, and print what the fastest run took."""
    from exitpolicy.tor import streams  # noqa: PLC0415 - only this process is measured

    own = wall = float("inf")
    found = 0
    for _ in range(TURNS):
        began, used = time.perf_counter(), time.process_time()
        found = sum(streams.connection_counts(pids).values())
        own = min(own, time.process_time() - used)
        wall = min(wall, time.perf_counter() - began)
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    print(f"{found:,} connections, with other work on this machine: {wall:.2f} s")
    missed = _row("seconds of processor time, while ss runs beside it", own, SECONDS)
    return int(_row("MB", most, MEGABYTES) + missed > 0)


def _row(what: str, measured: float, target: float) -> bool:
    met = measured <= target
    print(f"{what:<52} {measured:7.2f}   at most {target:6.2f}   {'met' if met else 'MISSED'}")
    return not met


if __name__ == "__main__":
    sys.exit(main())
