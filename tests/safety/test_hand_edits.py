"""Hand edits of the ledger that exceed a limit: they are not installed, and stop nothing else."""

import pytest

from tests.evidence import Thing, record
from tests.harness.host import ExitHost, HostMaker

THING = Thing.HAND_EDITS

GOOD, PAST, LATER = "203.0.113.7", "203.0.113.8", "203.0.113.9"
VIOLATIONS = {
    "protected": ["198.51.100.9"],
    "a network around what is protected": ["198.51.64.0/18"],
    "wider than the maximum": ["20.0.0.0/8"],
    "wider than the maximum, IPv6": ["2600::/12"],
    "everything": ["0.0.0.0/0"],
    "everything on one port": ["0.0.0.0/0:80"],
    "too many addresses for one port": [f"{n}.0.0.0/8" for n in (20, 30, 40)],
    "too long for a descriptor": [f"203.0.{n // 250}.{n % 250}:{n + 1}" for n in range(1500)],
    "no more /8 for the Exit flag": [f"{n}.1.1.1" for n in range(1, 256) if n not in (10, 127)],
}
QUICK = ("protected", "wider than the maximum")


def row(destination: str, until: str = "never") -> str:
    """Return one line of a ledger."""
    return f'- {{destination: "{destination}", since: "2026-01-01T00:00:00Z", until: "{until}"}}\n'


def edited(host: ExitHost, destinations: list[str]) -> None:
    """Write a ledger by hand: what violates, between what does not and what has ended."""
    rows = [
        row(GOOD), *(row(d) for d in destinations), row(PAST, "2026-02-01T00:00:00Z"), row(LATER)
    ]  # fmt: skip
    host.ledger.write_text(f"version: 2\nblocks:\n{''.join(rows)}")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in VIOLATIONS],
)
def test_what_violates_a_limit_is_named_and_the_rest_is_done(
    make_host: HostMaker, name: str
) -> None:
    """The tick installs what fits and lifts what has ended; lifts and blocks go on working."""
    host = make_host(("ExitRelay 1", "IPv6Exit 1"), extra="protected: [198.51.100.0/24]\n")
    assert host.run("block", PAST, "--until", "30d").code == 0
    edited(host, VIOLATIONS[name])
    done = host.tick()
    assert "Traceback" not in done.err
    assert done.code == 3, done
    assert host.tor.alive
    assert not host.tor.rejects(PAST), "what has ended was not lifted"
    assert host.tor.rejects(GOOD), "what stands above the violation is not installed"
    assert host.tor.rejects(LATER) or "descriptor" in name, "what stands below is not installed"
    status = host.run("status", "--check", "--json")
    assert status.code == 3, status
    # Commands still work for what has nothing to do with the violation.
    lifted = host.run("lift", GOOD)
    assert not host.tor.rejects(GOOD), lifted
    assert lifted.code in (0, 3), lifted
    # Not one of the violating rules stands in the fragment unless it fits.
    if len(VIOLATIONS[name]) == 1:
        kept = host.fragment.read_text()
        assert VIOLATIONS[name][0].partition(":")[0] not in kept.replace("*:*", ""), kept
    length = len(host.tor.descriptor())
    assert 0 < length <= 20_000
    # The hand edit taken back, all is in order again.
    edited(host, [])
    host.tick()
    assert host.run("status", "--check").code == 0
    record(THING, 1)
