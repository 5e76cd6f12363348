"""How long the fewest rules take, against others that join prefixes, side by side in one run.

Whole processes: each reads 100,000 IPv4 addresses, one a line, from a file, joins them and writes
the result, in the way that is natural for it. They take turns, and the shortest time of each
counts, as the one that other work on the machine disturbed least. Only ratios are compared.
Within this process, processor time counts. Needs `iprange` (the Debian package) and netaddr (the
dependency group `bench`).
"""

import math
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from exitpolicy.core.destination import Destination
from exitpolicy.core.ports import ALL_PORTS, Ports, normal_ports
from exitpolicy.policy.minimize import fewest_rules

HOSTS = 100_000
TURNS = 7

PLAIN = """
import sys
from array import array
from socket import inet_aton
from exitpolicy.policy.minimize import fewest_prefixes

with open(sys.argv[1]) as file:
    numbers = array("I", b"".join(map(inet_aton, file.read().split())))
if sys.byteorder == "little":
    numbers.byteswap()
halves = [f"{a}.{b}" for a in range(256) for b in range(256)]
sys.stdout.write("".join([
    f"reject {halves[n >> 16]}.{halves[n & 65535]}:*\\n" if length == 32
    else f"reject {halves[n >> 16]}.{halves[n & 65535]}/{length}:*\\n"
    for n, length in fewest_prefixes([n << 32 | n for n in numbers], 32)
]))
"""

OBJECTS = """
import sys
from exitpolicy.core.destination import parse_destination
from exitpolicy.policy.minimize import fewest_rules

with open(sys.argv[1]) as file:
    rules = fewest_rules(map(parse_destination, file))
sys.stdout.write("".join([f"{rule}\\n" for rule in rules]))
"""

NETADDR = """
import sys
from netaddr import cidr_merge

with open(sys.argv[1]) as file:
    networks = cidr_merge([line.strip() for line in file])
sys.stdout.write("".join([f"{network}\\n" for network in networks]))
"""

IPADDRESS = """
import sys
from ipaddress import IPv4Network, collapse_addresses

with open(sys.argv[1]) as file:
    networks = collapse_addresses([IPv4Network(line.strip()) for line in file])
sys.stdout.write("".join([f"{network}\\n" for network in networks]))
"""


def processes(commands: dict[str, Sequence[str]]) -> dict[str, float]:
    """Return the shortest time of each command, in seconds; they take turns."""
    times: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(TURNS):
        for name, command in commands.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            times[name].append(time.perf_counter() - start)
    return {name: min(found) for name, found in times.items()}


def hosts(dice: random.Random, count: int) -> list[Destination]:
    """Return different addresses, in no order."""
    return [Destination(4, n, n) for n in dice.sample(range(1 << 24, 224 << 24), count)]


def mixed(dice: random.Random, count: int) -> list[Destination]:
    """Return blocks as a long ledger may have them: many hosts, some networks, ports of all kinds.

    Half of them crowd into one /16, so that they overlap and lie within each other.
    """
    result = []
    for i in range(count):
        length = dice.choice((32, 32, 32, 30, 28, 24, 20))
        address = dice.randrange(1 << 24, 224 << 24)
        if i % 2:
            address = 203 << 24 | 7 << 16 | address & 0xFFFF
        first = address >> 32 - length << 32 - length
        ports: Ports = ALL_PORTS
        if i % 3 == 1:
            some = dice.sample((22, 25, 80, 443, 993, 6667, 8080), dice.randint(1, 4))
            ports = normal_ports((port, port) for port in some)
        elif i % 3 == 2:
            low = dice.randint(1, 65535)
            ports = ((low, dice.randint(low, 65535)),)
        result.append(Destination(4, first, first + (1 << 32 - length) - 1, ports))
    return result


def best_of_three(*lists: Sequence[Destination]) -> float:
    """Return the seconds of the processor that a list takes on average, least of three rounds."""
    times = []
    for _ in range(3):
        start = time.process_time()
        for destinations in lists:
            fewest_rules(destinations)
        times.append(time.process_time() - start)
    return min(times) / len(lists)


def row(what: str, value: str, target: str, met: bool) -> bool:
    """Print a line of the table."""
    print(f"{what:<76}{value:>8}  {target:<16}{'met' if met else 'MISSED'}")
    return met


def main() -> int:
    """Print the table; return 1 where a target is missed and 2 where a program is."""
    iprange = shutil.which("iprange")
    if iprange is None:
        print("fewest: iprange is not installed (apt install iprange)", file=sys.stderr)
        return 2
    dice = random.Random(20261122)  # noqa: S311 - nothing here is secret
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "hosts")
        addresses = "".join(f"{block}\n" for block in hosts(dice, HOSTS))
        Path(path).write_text(addresses)
        python = [sys.executable, "-c"]
        took = processes(
            {
                "iprange": [iprange, path],
                "plain": [*python, PLAIN, path],
                "objects": [*python, OBJECTS, path],
                "netaddr": [*python, NETADDR, path],
                "ipaddress": [*python, IPADDRESS, path],
            }
        )
    plain, objects = took["plain"], took["objects"]
    print(f"fewest rules, Python {sys.version.split()[0]}, netaddr {version('netaddr')}")
    results = [
        row(
            f"{HOSTS:,} hosts, process: fewest_prefixes / iprange",
            f"{plain / took['iprange']:.1f} x",
            "at most 5 x",
            plain <= 5 * took["iprange"],
        ),
    ]
    for other in "netaddr", "ipaddress":
        name = {"netaddr": "netaddr.cidr_merge", "ipaddress": "ipaddress.collapse_addresses"}[other]
        for ours, own in ("fewest_prefixes", plain), ("fewest_rules with all objects", objects):
            results.append(
                row(
                    f"{HOSTS:,} hosts, process: {ours} / {name}",
                    f"{own / took[other]:.2f} x",
                    "below 1 x",
                    own < took[other],
                )
            )
    ratio = objects / took["iprange"]
    print(f"{'for comparison: fewest_rules with all objects / iprange':<76}{ratio:>6.1f} x")
    sizes = (10_000, 100_000, 1_000_000)
    # Many short lists, lest they stay in a cache that a long one does not fit into.
    times = [
        best_of_three(*(hosts(dice, size) for _ in range(count)))
        for size, count in zip(sizes, (50, 5, 1), strict=True)
    ]
    for i, j in (0, 1), (1, 2), (0, 2):
        allowed = sizes[j] * math.log(sizes[j]) / (sizes[i] * math.log(sizes[i]))
        # A half more for a busy machine: growth by n * n would be ten times as much a step.
        results.append(
            row(
                f"fewest_rules, {sizes[i]:,} to {sizes[j]:,} hosts: growth",
                f"{times[j] / times[i]:.1f} x",
                f"n log n {allowed:.1f} x",
                times[j] / times[i] <= 1.5 * allowed,
            )
        )
    blocks = mixed(dice, 14_000)
    took_mixed = best_of_three(blocks)
    results.append(
        row(
            f"14,000 blocks with mixed ports: {len(fewest_rules(blocks)):,} rules",
            f"{took_mixed:.2f} s",
            "under 1 s",
            took_mixed < 1,
        )
    )
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
