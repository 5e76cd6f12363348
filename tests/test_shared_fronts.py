"""Shared addresses: the list that comes with exitpol, an operator's own, and what it refuses."""

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exitpolicy.core.addresses import AddressRange, parse_addresses
from exitpolicy.core.destination import Destination, parse_destination
from exitpolicy.core.errors import InvalidFileError
from exitpolicy.core.shared_fronts import SharedFronts, parse
from exitpolicy.storage import shared_fronts
from exitpolicy.storage.config import Config
from tests.harness.host import ExitHost, HostMaker

FRONTS = parse(
    "fronts",
    "# from: the providers\n"
    "cdn 192.0.2.0/24  # a range\n"
    "cdn 2001:db8:1::/48\n"
    "\n"
    "other .Front.example\n",
)


@pytest.mark.parametrize(
    ("destination", "provider"),
    [
        ("192.0.2.7", "cdn"),
        ("192.0.2.7:443", "cdn"),
        ("192.0.2.7:1-100", "cdn"),
        ("192.0.0.0/16", "cdn"),
        ("192.0.1.250-192.0.2.0", "cdn"),
        ("[2001:db8:1::5]:80", "cdn"),
        ("192.0.2.7:22", None),
        ("192.0.3.0", None),
        ("192.0.1.255", None),
        ("2001:db8:2::", None),
    ],
)
def test_an_address_is_shared_at_the_ports_of_web_sites(
    destination: str, provider: str | None
) -> None:
    """Any overlap with a range counts; a port at which no site is served does not."""
    assert FRONTS.provider_of(parse_destination(destination)) == provider


@pytest.mark.parametrize(
    ("name", "provider"),
    [
        ("d1.front.example", "other"),
        ("a.b.front.example", "other"),
        ("front.example", "other"),
        ("notfront.example", None),
        ("front.example.org", None),
        ("", None),
    ],
)
def test_a_canonical_name_is_told_by_whole_labels(name: str, provider: str | None) -> None:
    """`notfront.example` is somebody else's domain."""
    assert FRONTS.provider_of_name(name) == provider


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("cdn", "not a provider and a range or suffix"),
        ("cdn 192.0.2.0/24 more", "not a provider and a range or suffix"),
        ("\x1b[31m 192.0.2.0/24", "not a provider and a range or suffix"),
        ("cdn 192.0.2.7/24", "192.0.2.0/24"),
        ("cdn example.org", "'example.org' is not an address"),
        ("cdn .", "'.' is not the suffix of a name"),
        ("cdn .a..b", "'.a..b' is not the suffix of a name"),
    ],
)
def test_a_malformed_line_is_named(line: str, message: str) -> None:
    """A list that is wrong must not silently protect less."""
    with pytest.raises(InvalidFileError) as caught:
        parse("fronts", f"# one\n{line}\n")
    assert str(caught.value).startswith("fronts:2: ")
    assert message in f"{caught.value} {caught.value.hint}"


def test_the_shipped_list_is_read() -> None:
    """It names providers of both families, and states where its facts come from."""
    fronts = shared_fronts.load(Config())
    assert len(fronts.ranges) > 250
    assert {known.family for known, _ in fronts.ranges} == {4, 6}
    assert fronts.provider_of(parse_destination("104.16.132.229:443")) == "cloudflare"
    assert fronts.provider_of(parse_destination("[2606:4700::1]:443")) == "cloudflare"
    assert fronts.provider_of_name("d111111abcdef8.cloudfront.net") == "amazon"
    # Most of the internet is somebody's own.
    assert sum(known.size for known, _ in fronts.ranges if known.family == 4) < 2**32 // 100
    assert parse_addresses("203.0.113.0/24") not in dict(fronts.ranges)
    assert "ipranges" in shared_fronts.SHIPPED.read_text()


def test_an_operator_replaces_the_list(tmp_path: Path) -> None:
    """Their list counts instead; a list that is missing or no text is an error that names it."""
    own = tmp_path / "own.txt"
    own.write_text("mine 198.51.100.0/24\n")
    fronts = shared_fronts.load(Config(shared_fronts=own))
    assert fronts.provider_of(parse_destination("198.51.100.1")) == "mine"
    assert fronts.provider_of(parse_destination("104.16.132.229")) is None
    own.write_bytes(b"\xff\n")
    with pytest.raises(InvalidFileError, match=f"{own}: .* not UTF-8"):
        shared_fronts.load(Config(shared_fronts=own))
    with pytest.raises(InvalidFileError, match="no such list"):
        shared_fronts.load(Config(shared_fronts=tmp_path / "none"))


@pytest.fixture
def host(make_host: HostMaker, tmp_path: Path) -> ExitHost:
    """Give an exit with a list of shared addresses of its own."""
    (tmp_path / "fronts.txt").write_text("examplecdn 203.0.113.64/26\n")
    return make_host(extra="shared_fronts: fronts.txt\n")


def test_every_shared_address_of_a_list_is_named(host: ExitHost) -> None:
    """A long list is refused whole (4), and can be corrected at once."""
    listed = "".join(f"203.0.113.{number}\n" for number in range(60, 100))
    refused = host.run("block", "-", "--until", "1d", stdin=listed)
    assert refused.code == 4
    assert "36 of these are shared" in refused.err
    assert "shared: 203.0.113.64, 203.0.113.65, " in refused.err
    assert "203.0.113.88 and 11 more" in refused.err


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 20))), st.integers(0, 120))
def test_ranges_may_lie_in_others(ranges: list[tuple[int, int]], number: int) -> None:
    """The search finds a range exactly where one of them holds the address."""
    known = [(AddressRange(4, first, first + size), "x") for first, size in ranges]
    expected = any(first <= number <= first + size for first, size in ranges)
    found = SharedFronts(known).provider_of(Destination(4, number, number))
    assert (found is not None) == expected
    # The same numbers of the other family are other addresses.
    assert SharedFronts(known).provider_of(Destination(6, number, number)) is None


def test_a_long_list_is_compared_quickly() -> None:
    """100,000 addresses are not each compared with every range."""
    fronts = shared_fronts.load(Config())
    destinations = [Destination(4, n << 12, n << 12) for n in range(100_000)]
    begin = time.process_time()
    assert any(map(fronts.provider_of, destinations))
    for destination in destinations:
        fronts.provider_of(destination)
    assert time.process_time() - begin < 5


def test_a_shared_address_is_blocked_only_by_force(host: ExitHost) -> None:
    """Refused (4) with the provider's name, and nothing changes; a port of no sites is blocked."""
    before = host.snapshot()
    refused = host.run("block", "203.0.113.65", "--until", "1d")
    assert refused.code == 4
    assert "shared address of examplecdn" in refused.err
    assert "would also block every other site behind it" in refused.err
    assert "block a port, or answer the reporter" in refused.err
    assert host.snapshot() == before
    assert host.run("block", "203.0.113.65:22", "203.0.113.1", "--until", "1d").code == 0
    assert host.run("block", "203.0.113.65", "--until", "1d", "--force").code == 0
    assert host.tor.rejects("203.0.113.65")
    # What is blocked already stays so, and can be renewed without --force.
    assert host.run("renew", "203.0.113.65", "--until", "2d").code == 0
