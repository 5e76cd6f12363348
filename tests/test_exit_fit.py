"""`exitpol fit` on a real exit: a list that is too long for its descriptor."""

import random
from collections import Counter
from collections.abc import Iterator

import pytest

from exitpolicy.core.addresses import address_text
from tests.harness.host import ExitHost, host_maker

HOSTS = 1200


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExitHost]:
    """Yield a host whose relay is an exit."""
    with host_maker(tmp_path_factory.mktemp("fit")) as make:
        yield make(("ExitRelay 1",))


@pytest.fixture(scope="module")
def addresses() -> list[str]:
    """Return scattered addresses, more than a descriptor holds."""
    dice = random.Random(7)  # noqa: S311 - nothing here is secret
    numbers = dice.sample(range(203 << 24, 204 << 24), HOSTS)
    return [address_text(4, number) for number in numbers]


def states(host: ExitHost) -> Counter[str]:
    """Return how many blocks are in each state."""
    return Counter(block["state"] for block in host.run("list", "--json").json["blocks"])


def test_a_list_that_is_too_long_is_fitted(host: ExitHost, addresses: list[str]) -> None:
    """Refused with what would fit; left out; widened, and no lifted address is rejected again."""
    path = host.folder / "list"
    path.write_text("\n".join(addresses))
    command = ("import", str(path), "--until", "30d", "--source", "long", "--now")
    assert host.run("block", "198.51.100.7", "--until", "30d").code == 0
    refused = host.run(*command)
    assert refused.code == 4
    assert f"of the {HOSTS:,}: exitpol fit --use leave-out" in refused.err
    assert states(host) == {"live": 1}

    assert host.run("fit", "--use", "leave-out").code == 0
    assert host.run(*command).code == 0
    found = states(host)
    assert found.keys() == {"live", "left-out"}
    assert found.total() == HOSTS + 1
    assert 600 < found["live"] < 900
    assert host.tor.rejects("198.51.100.7")
    assert host.run("apply").code == 0

    shown = host.run("fit", "--over-block", "--json").json
    by_choice = {one["choice"]: one for one in shown["outcomes"]}
    left_out = by_choice["leave-out"]
    assert shown["in_use"] == "leave-out"
    assert len(left_out["left_out"]) == left_out["unblocked"] == found["left-out"]
    assert left_out["bytes"] <= left_out["budget"]
    assert left_out["gap"] == 0
    assert by_choice["refuse"]["unblocked"] >= left_out["unblocked"]
    assert by_choice["over-block"]["left_out"] == []

    # A promise comes before a list, and takes the room of what is installed.
    assert host.run("block", "198.51.100.9", "--until", "30d").code == 0
    assert host.tor.rejects("198.51.100.9")

    assert host.run("fit", "--use", "over-block").code == 2
    assert host.run("fit", "--over-block", "--use", "over-block").code == 0
    assert states(host) == {"live": HOSTS + 2}
    assert all(host.tor.rejects(address) for address in addresses[:20])
    assert host.run("lift", addresses[0]).code == 0
    assert not host.tor.rejects(addresses[0])
    assert states(host) == {"live": HOSTS + 1}
    assert "fit: over-block" in host.config.read_text()
