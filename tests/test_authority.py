"""A real directory authority as judge: it does what exitpol's limits predict."""

import re
from collections.abc import Iterator, Sequence

import pytest

from exitpolicy.policy.exit_flag import free_networks
from exitpolicy.policy.port_summary import port_summary
from exitpolicy.policy.rule import parse_policy
from tests.evidence import Thing, record
from tests.harness.network import PrivateNetwork
from tests.harness.tor import HarnessError, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.tor,
]

THING = Thing.LIMITS
REFUSED = 4
CONSENSUS_SECONDS = 40
"""A little more than three intervals between consensuses of the private network."""


@pytest.fixture(scope="module")
def network() -> Iterator[PrivateNetwork]:
    """Start an authority, and an exit that exitpol has been set up for."""
    with PrivateNetwork() as net:
        done = net.run("init")
        assert done.returncode == 0, done.stderr
        yield net


def scattered(count: int) -> list[str]:
    """Return addresses that cannot be merged, each in its own /24, in few /8s."""
    numbers = (number * 40_503 % 2**16 for number in range(count))
    return [f"214.{number >> 8}.{number & 255}.77" for number in numbers]


def accepted_by_authority(network: PrivateNetwork) -> str:
    """Return the exit's descriptor as the authority holds it."""
    with network.authority.control() as control:
        return control.info(f"desc/id/{network.exit_fingerprint}")


def by_hand(network: PrivateNetwork, rules: Sequence[str]) -> None:
    """Put rules into the fragment without asking exitpol, and have Tor enforce them."""
    network.fragment.write_text("".join(f"ExitPolicy {rule}\n" for rule in rules))
    network.exit.reload_and_wait(20)


def test_largest_ledger_is_accepted_and_one_block_more_refused(network: PrivateNetwork) -> None:
    """The authority takes the longest ledger that exitpol allows, and refuses a longer one."""
    addresses = scattered(1000)
    fits, too_many = 1, len(addresses)
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        done = network.run("block", *addresses[:middle], "--until", "30d", "--dry-run")
        assert done.returncode in (0, REFUSED), done.stderr
        fits, too_many = (middle, too_many) if done.returncode == 0 else (fits, middle)
    done = network.run("block", *addresses[:fits], "--until", "30d")
    assert done.returncode == 0, done.stderr
    wanted = f"reject {addresses[fits - 1]}:*"
    wait_until(lambda: wanted in accepted_by_authority(network), 20, "the descriptor is accepted")
    size = len(accepted_by_authority(network))
    one_more = network.run("block", addresses[fits], "--until", "30d")
    assert one_more.returncode == REFUSED, one_more.stderr
    assert "descriptor" in one_more.stderr
    forced = network.run("block", addresses[fits], "--until", "30d", "--force")
    assert forced.returncode == REFUSED, forced.stderr

    # By hand, into the spare bytes that exitpol leaves, and then beyond the limit itself.
    more = fits + (20_000 - size) // (len(wanted) + 1) - 1
    by_hand(network, [f"reject {address}:*" for address in addresses[:more]])
    last = f"reject {addresses[more - 1]}:*"
    wait_until(lambda: last in accepted_by_authority(network), 20, "one below the limit is taken")
    beyond = more + 10
    by_hand(network, [f"reject {address}:*" for address in addresses[:beyond]])
    wait_until(lambda: "too large" in network.exit.log(), 20, "the authority says too large")
    assert f"reject {addresses[beyond - 1]}:*" not in accepted_by_authority(network)

    healed = network.run("expire")
    assert healed.returncode == 0, healed.stderr
    lifted = network.run("lift", *addresses[:fits])
    assert lifted.returncode == 0, lifted.stderr
    # Refused by exitpol, and by the authority.
    record(THING, 3, {"largest ledger {:.0f} blocks": fits, "{:,.0f} bytes": size})


def slash_eights(count: int) -> list[str]:
    """Return whole /8s without private addresses."""
    return [f"reject {number}.0.0.0/8:*" for number in range(11, 11 + count)]


def one_in_each(numbers: Sequence[int]) -> list[str]:
    """Return one address in each of the /8s, on port 80."""
    return [f"reject {number}.1.2.3:80" for number in numbers]


# An authority of a testing network counts internal addresses too (DirAllowPrivateAddresses).
ALL_BUT_EIGHT = [number for number in range(256) if number != 8]

POLICIES = {
    "2^25 addresses": slash_eights(2),
    "2^25 addresses and one": [*slash_eights(2), "reject 8.8.8.8:*"],
    "2^25 and one, on a port": [*slash_eights(2), "reject 8.8.8.8:443"],
    "all but one /8 touched": one_in_each(ALL_BUT_EIGHT),
    "each /8 touched": one_in_each(range(256)),
    "mail": ["reject *:25", "reject *:465"],
    "a /15 of IPv6": ["reject6 [2000::]/15:*", "reject 8.8.4.4:*"],
    # For an authority, a change of IPv6 alone is cosmetic: it keeps the former descriptor for
    # hours.
    "a /16 of IPv6": ["reject6 [2002::]/16:*", "reject 8.8.8.8:*"],
}


@pytest.mark.parametrize("what", POLICIES)
def test_port_summary_and_exit_flag_are_those_of_the_consensus(
    network: PrivateNetwork, what: str
) -> None:
    """On both sides of each limit, the authority publishes what exitpol predicts."""
    by_hand(network, POLICIES[what])
    rules = parse_policy(network.exit.policy())
    expected = (
        port_summary(rules, 4).text,
        port_summary(rules, 6).text,
        all(free_networks(rules, port) > 0 for port in (80, 443)),
    )
    found: tuple[str, str, bool] | None = None

    def published() -> bool:
        nonlocal found
        found = judged(network)
        return found == expected

    try:
        wait_until(published, CONSENSUS_SECONDS, "a consensus", 0.5)
    except HarnessError:
        assert found == expected
    record(THING, 1)


def judged(network: PrivateNetwork) -> tuple[str, str, bool] | None:
    """Return IPv4 summary, IPv6 summary and Exit flag as the consensus has them."""
    consensus = network.directory("/tor/status-vote/current/consensus-microdesc")
    entry = re.search(r"(?m)^r exit .*\n(?:(?!r ).*\n)*", consensus)
    if entry is None:
        return None
    flags = re.search(r"(?m)^s (.*)$", entry[0])
    digest = re.search(r"(?m)^m (\S+)$", entry[0])
    if flags is None or digest is None:
        return None
    text = network.directory(f"/tor/micro/d/{digest[1]}")
    four, six = (re.search(rf"(?m)^{key} (.*)$", text) for key in ("p", "p6"))
    return (
        four[1] if four else "reject 1-65535",
        six[1] if six else "reject 1-65535",
        "Exit" in flags[1].split(),
    )
