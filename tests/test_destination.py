"""`destination`: accepted forms, refused forms with their hints, and the canonical text."""

from contextlib import suppress
from ipaddress import AddressValueError, IPv6Address, ip_address, summarize_address_range
from itertools import pairwise

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from exitpolicy.core.addresses import BITS, address_text, read_address
from exitpolicy.core.destination import (
    MAX_TEXT,
    Destination,
    DestinationSet,
    parse_destination,
    parse_pasted_destination,
)
from exitpolicy.core.errors import ExitCode, UsageError
from exitpolicy.core.ports import normal_ports
from tests.strategies import destinations


@given(destinations())
def test_what_is_printed_is_read_back_as_the_same(destination: Destination) -> None:
    """Printing and reading a destination gives an equal one: the text is canonical."""
    assert parse_destination(str(destination)) == destination


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("203.0.113.7", "203.0.113.7"),
        (" 203.0.113.7\n", "203.0.113.7"),
        ("203.0.113.0/24", "203.0.113.0/24"),
        ("203.0.113.0-203.0.113.255", "203.0.113.0/24"),
        ("203.0.113.5-203.0.113.20", "203.0.113.5-203.0.113.20"),
        ("203.0.113.7-203.0.113.7", "203.0.113.7"),
        ("203.0.113.7/32", "203.0.113.7"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("203.0.113.7:*", "203.0.113.7"),
        ("203.0.113.7:1-65535", "203.0.113.7"),
        ("203.0.113.7:443,80", "203.0.113.7:80,443"),
        ("203.0.113.7:22,80,443,81", "203.0.113.7:22,80-81,443"),
        ("203.0.113.7:6000-6010,6005-6020", "203.0.113.7:6000-6020"),
        ("203.0.113.0/24:22", "203.0.113.0/24:22"),
        ("2001:DB8:0::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:22", "[2001:db8::1]:22"),
        ("[2001:db8::]/32:22", "[2001:db8::]/32:22"),
        ("[2001:db8::/32]:22", "[2001:db8::]/32:22"),
        ("2001:db8::1-2001:db8::9", "2001:db8::1-2001:db8::9"),
        ("[2001:db8::1]-[2001:db8::9]:22", "[2001:db8::1]-[2001:db8::9]:22"),
        ("::/0", "::/0"),
        ("*:25", "*:25"),
        (" *:6000-6010,25 ", "*:25,6000-6010"),
    ],
)
def test_every_way_to_write_one_has_one_canonical_text(text: str, canonical: str) -> None:
    """Different forms of one destination give the same text."""
    assert str(parse_destination(text)) == canonical


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("", "is not an address", "write an address such as"),
        ("203.0.113.7/24", "has host bits set", "write 203.0.113.0/24 for the network"),
        ("2001:db8::1/32", "has host bits set", "write 2001:db8::/32 for the network"),
        ("203.0.113.0/024", "has leading zeros", "write 203.0.113.0/24"),
        ("203.0.113.0/33", "no valid IPv4 prefix length", "write /0 to /32"),
        ("2001:db8::/129", "no valid IPv6 prefix length", "write /0 to /128"),
        ("203.0.113.0/", "no valid IPv4 prefix length", "write /0 to /32"),
        ("203.0.113.0/-1", "no valid IPv4 prefix length", "write /0 to /32"),
        ("203.0.113.0/255.255.255.0", "no valid IPv4 prefix length", "write /0 to /32"),
        ("203.0.113.007", "has leading zeros", "write 203.0.113.7 if that is what you mean"),
        ("203.0.113.256", "an octet is above 255", "each of the four numbers is 0 to 255"),
        ("1111111111.1.1.1", "an octet is above 255", "each of the four numbers is 0 to 255"),
        (
            "1111111111.1111111111.1111111111.1111111111",
            "an octet is above 255",
            "each of the four numbers is 0 to 255",
        ),
        ("203.0.113", "is not an address", "all four octets are needed"),
        (
            "203.0.113.7:0",
            "port '0' is not between 1 and 65535",
            "leave the ports out",
        ),
        (
            "203.0.113.7:65536",
            "port '65536' is not between 1 and 65535",
            "leave the ports out",
        ),
        ("203.0.113.7:022", "has leading zeros", "write 22"),
        ("203.0.113.7:443-80", "runs backwards", "write 80-443"),
        ("203.0.113.7:", "'' is not a port", "write ports as :22"),
        ("203.0.113.7:22,", "'' is not a port", "write ports as :22"),
        ("203.0.113.7:ssh", "'ssh' is not a port", "write ports as :22"),
        ("203.0.113.7:-1", "'-1' is not a port", "write ports as :22"),
        ("203.0.113.20-203.0.113.5", "runs backwards", "write 203.0.113.5-203.0.113.20"),
        (
            "203.0.113.5-2001:db8::1",
            "is a range from IPv4 to IPv6",
            "write one range for each family",
        ),
        ("203.0.113.5-", "is not an address", "write an address such as"),
        ("fe80::1%eth0", "is not an address", "exits ignore IPv6 zones: write fe80::1"),
        ("example.com", "is not an address", "holds addresses, not names"),
        ("example.com:443", "is not an address", "holds addresses, not names"),
        ("https://example.com/", "is not an address", "holds addresses, not names"),
        ("my-host.example", "is not an address", "holds addresses, not names"),
        ("*", "is every destination", "name the ports, such as *:25"),
        ("*:*", "is every destination", "write ExitRelay 0 into the torrc"),
        ("*:1-65535", "is every destination", "name the ports, such as *:25"),
        ("*:", "is not a port", "write ports as :22"),
        ("*4:25", "is not an address", "write 0.0.0.0/0:25"),
        ("*6:25", "is not an address", "write [::]/0:25"),
        ("**:25", "is not an address", "write *:25"),
        ("203.0.113.*:25", "is not an address", "for a port at every address write *:25"),
        ("203.0.113[.]7", "is a defanged address", "write 203.0.113.7"),
        ("203.0.113(dot)7", "is a defanged address", "write 203.0.113.7"),
        ("2001[:]db8::1", "is a defanged address", "write 2001:db8::1"),
        ("[2001:db8::1", "has no closing bracket", "[2001:db8::1]:22"),
        ("2001:db8::1]:22", "misplaced brackets in", "write [2001:db8::1]:22"),
        ("[[2001:db8::1]]:22", "misplaced brackets in", "write [2001:db8::1]:22"),
        ("[2001:db8::1]22", "misplaced brackets in", "write [2001:db8::1]:22"),
        (
            "[203.0.113.7]:22",
            "only IPv6 addresses are written in brackets",
            "without brackets",
        ),
        ("2001:db8::1:22:80:1:2:3:4", "is not an IPv6 address", "write the address in brackets"),
        ("2001:db8:::1", "is not an IPv6 address", "write the address in brackets"),
        ("::ffff:203.0.113.7", "IPv4-mapped", "write the IPv4 address: 203.0.113.7"),
        ("::ffff:203.0.113.0/120", "IPv4-mapped", "203.0.113.0-203.0.113.255"),
        ("::fffe:ffff:ffff-::ffff:0.0.0.9", "IPv4-mapped", "0.0.0.0-0.0.0.9"),
        ("203.0.113.7\x00", "is not an address", "write an address such as"),
        ("２０３.0.113.7", "is a defanged address", "write 203.0.113.7"),  # noqa: RUF001
        ("203.0.113.7:２２", "is a defanged address", "write 203.0.113.7:22"),  # noqa: RUF001
        ("\udcff", "is not an address", "write an address such as"),
        (
            "1" * (MAX_TEXT + 1),
            "a text of 2001 characters is not a destination",
            "one destination per line",
        ),
    ],
)
def test_what_is_no_destination_is_refused_with_advice(text: str, message: str, hint: str) -> None:
    """A malformed destination is a usage error that says what to write instead."""
    with pytest.raises(UsageError) as caught:
        parse_destination(text)
    assert message in str(caught.value)
    assert hint in (caught.value.hint or "")
    assert caught.value.exit_code is ExitCode.USAGE


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("203[.]0[.]113[.]8", "203.0.113.8"),
        ("203.0.113[.]8:22", "203.0.113.8:22"),
        ("203.0.113.8(.)", "203.0.113.8"),
        ("2001[:]db8::1", "2001:db8::1"),
        ("hxxp://203.0.113[.]8/x?y=http://198.51.100.1/", "203.0.113.8:80"),
        ("hXXps://203.0.113.8#at", "203.0.113.8:443"),
        ("http://203.0.113.8:8080/", "203.0.113.8:8080"),
        ("SSH://203.0.113.8", "203.0.113.8:22"),
        ("http://[2001:db8::1]/", "[2001:db8::1]:80"),
        ("203.0.113.7:22", "203.0.113.7:22"),
    ],
)
def test_a_destination_is_read_as_it_is_copied_from_a_complaint(text: str, canonical: str) -> None:
    """Defanged forms and URLs of addresses mean the address; the scheme gives the port."""
    assert str(parse_pasted_destination(text)) == canonical


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("https://shop.example/login", "names a host", "getent ahosts shop.example"),
        ("hxxp://shop[.]example:8080", "names a host", "getent ahosts shop.example"),
        ("http://203.0.113.7@198.51.100.9/", "hides its host", "write the address"),
        ("http://198.51.100.9\\@203.0.113.7/", "hides its host", "write the address"),
        ("gopher://203.0.113.7/", "the port of", "203.0.113.7 for all ports"),
        ("http://203.0.113.256/", "an octet is above 255", "0 to 255"),
        ("http:///x", "is not an address", "write an address"),
    ],
)
def test_a_url_that_names_no_address_for_sure_is_refused(
    text: str, message: str, hint: str
) -> None:
    """Names are not resolved, and programs disagree about a URL with `@` or a backslash."""
    with pytest.raises(UsageError) as caught:
        parse_pasted_destination(text)
    assert message in str(caught.value)
    assert hint in (caught.value.hint or "")


@given(
    st.text(max_size=40)
    | st.text("htp:s/[]().x@0123456789ag\\", max_size=40).map("http://".__add__)
)
def test_any_pasted_text_is_a_destination_or_a_usage_error(text: str) -> None:
    """No text ends the program with another error."""
    with suppress(UsageError):
        parse_pasted_destination(text)


_NEARLY = st.text("0123456789abcdef.:/-[],*% \n()xzg", max_size=40)
_MASHED = st.lists(
    st.sampled_from(
        ("203.0.113.7", "2001:db8::1", "::", "[", "]", ":", "/", "-", "22", "0", "1" * 12, ",", ".")
    ),
    max_size=9,
).map("".join)


@given(st.text(max_size=50) | _NEARLY | _MASHED)
@example("1111111111.1111111111.1111111111.1111111111")
def test_any_text_is_a_destination_or_a_usage_error(text: str) -> None:
    """No input causes another exception; each accepted one has a canonical text."""
    try:
        destination = parse_destination(text)
    except UsageError:
        return
    assert parse_destination(str(destination)) == destination
    assert all(0 <= one.first <= one.last < 1 << BITS[one.family] for one in destination.ranges)
    assert normal_ports(destination.ports) == destination.ports


@st.composite
def _near(draw: st.DrawFn) -> Destination:
    first, last = sorted((draw(st.integers(0, 6)), draw(st.integers(0, 6))))
    pairs = draw(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 3)), min_size=1, max_size=3))
    ports = normal_ports((low, low + more) for low, more in pairs)
    return Destination(draw(st.sampled_from((4, 6))), first, last, ports)


def _members(destination: Destination) -> set[tuple[int, int, int]]:
    return {
        (destination.family, address, port)
        for address in range(destination.first, destination.last + 1)
        for low, high in destination.ports
        for port in range(low, high + 1)
    }


@given(_near(), _near())
def test_overlapping_is_that_of_the_sets(a: Destination, b: Destination) -> None:
    """`overlaps` is true exactly if two destinations have a common member."""
    assert a.overlaps(b) == bool(_members(a) & _members(b))


@given(destinations())
def test_prefixes_are_the_standard_librarys(destination: Destination) -> None:
    """The CIDR decomposition is the one of ipaddress.summarize_address_range."""
    for part in destination.ranges:
        ends = [ip_address(n.to_bytes(BITS[part.family] // 8)) for n in (part.first, part.last)]
        networks = summarize_address_range(*ends)
        expected = [(int(net.network_address), net.prefixlen) for net in networks]
        assert list(part.prefixes()) == expected


def test_a_port_at_every_address_is_that_port_of_both_families() -> None:
    """`*:25` overlaps and holds what has the port, and is not what its two halves are alone."""
    every = parse_destination("*:25")
    halves = [parse_destination(text) for text in ("0.0.0.0/0:25", "[::]/0:25")]
    assert [Destination(*part, every.ports) for part in every.ranges] == halves
    for text in ("203.0.113.7:25", "[2001:db8::1]:20-30", "203.0.113.0/24", "*:25,80"):
        assert every.overlaps(parse_destination(text)), text
        assert parse_destination(text).overlaps(every), text
    for text in ("203.0.113.7:26", "[2001:db8::1]:1-24", "*:80"):
        assert not every.overlaps(parse_destination(text)), text
        assert not parse_destination(text).overlaps(every), text
    assert all(every.contains_addresses(half) for half in halves)
    assert not any(half.contains_addresses(every) for half in halves)
    assert all(half.is_port for half in (every, *halves))
    assert not parse_destination("0.0.0.0/1:25").is_port
    assert (4, 1, 25) in DestinationSet([every])
    assert (6, 1, 25) in DestinationSet([every])
    assert (6, 1, 26) not in DestinationSet([every])


@given(st.lists(st.tuples(st.integers(1, 30), st.integers(0, 5)), max_size=8))
def test_normal_ports_are_the_union_in_one_form(pairs: list[tuple[int, int]]) -> None:
    """Intervals of ports become their union, ascending and separate."""
    intervals = [(low, low + more) for low, more in pairs]
    normal = normal_ports(intervals)
    union = {port for low, high in intervals for port in range(low, high + 1)}
    assert {port for low, high in normal for port in range(low, high + 1)} == union
    assert all(a[1] + 1 < b[0] for a, b in pairwise(normal))


def test_destinations_sort_by_family_and_number() -> None:
    """IPv4 comes before IPv6, and 9 before 10: not the order of the texts."""
    texts = ["2001:db8::1", "203.0.113.10", "203.0.113.9:80", "203.0.113.9"]
    order = [str(d) for d in sorted(parse_destination(text) for text in texts)]
    assert order == ["203.0.113.9", "203.0.113.9:80", "203.0.113.10", "2001:db8::1"]


octets = st.integers(0, 300).map(str) | st.sampled_from(["00", "01", "256", "٣"])


@given(st.lists(octets, min_size=4, max_size=4), st.none() | st.integers(0, 70000).map(str))
def test_the_short_way_gives_what_the_general_way_gives(parts: list[str], port: str | None) -> None:
    """A blank before the address, which only the slow parser takes, changes nothing."""
    text = ".".join(parts) + ("" if port is None else f":{port}")

    def outcome(text: str) -> Destination | str:
        try:
            return parse_destination(text)
        except UsageError as error:
            return str(error)

    assert outcome(text) == outcome(f" {text}")


@given(
    st.lists(st.sampled_from([0, 0, 0, 1, 0xA0, 0xFFFF]), min_size=8, max_size=8).map(
        lambda groups: int("".join(f"{group:04x}" for group in groups), 16)
    )
)
@settings(max_examples=1000)
def test_text_of_ipv6_is_that_of_ipaddress(number: int) -> None:
    """The canonical text (RFC 5952): `::` for the longest run of zeros, for the first of equals."""
    assume(number >> 32 != 0xFFFF)  # Python 3.13 writes an IPv4-mapped address in dots
    assert address_text(6, number) == str(IPv6Address(number))


@given(st.text("01af:.A%", min_size=2, max_size=24).filter(lambda text: ":" in text))
@example("::")
@example("1:2:3:4:5:6:7::")
@example("::2:3:4:5:6:7:8")
@example("1:2:3:4:5:6:7:8::")
@example("1::2::3")
@example("::00001")
@example(":::")
@example("1:2:3:4:5:6:7")
@settings(max_examples=2000)
def test_ipv6_is_read_as_ipaddress_reads_it(text: str) -> None:
    """Any text: the same number, or no address."""
    try:
        address = IPv6Address(text)
        expected = None if address.scope_id else (6, int(address))
    except AddressValueError:
        expected = None
    assert read_address(text) == expected
