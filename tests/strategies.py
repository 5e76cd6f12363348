"""What hypothesis draws: destinations, rules, blocks, in shapes where mistakes hide."""

from datetime import UTC, datetime

from hypothesis import strategies as st

from exitpolicy.core.addresses import BITS, Family
from exitpolicy.core.block import Block
from exitpolicy.core.destination import Destination, all_addresses
from exitpolicy.core.ports import ALL_PORTS, Ports, normal_ports
from exitpolicy.policy.rule import Rule

_MAPPED = 0xFFFF << 32

families: st.SearchStrategy[Family] = st.sampled_from((4, 6))
_port = st.integers(1, 65535) | st.sampled_from((1, 2, 80, 443, 65534, 65535))
ports: st.SearchStrategy[Ports] = st.lists(
    st.tuples(_port, _port).map(lambda pair: (min(pair), max(pair))), min_size=1, max_size=5
).map(normal_ports)


@st.composite
def destinations(draw: st.DrawFn) -> Destination:
    """Addresses, networks and ranges of one family, none of them IPv4 in disguise; and `*:PORT`."""
    if draw(st.integers(0, 9)) == 9:
        return all_addresses(draw(ports.filter(lambda drawn: drawn != ALL_PORTS)))
    family = draw(families)
    bits = BITS[family]
    first = draw(st.integers(0, (1 << bits) - 1))
    shape = draw(st.sampled_from(("address", "network", "range")))
    if shape == "address":
        last = first
    elif shape == "network":
        size = 1 << draw(st.integers(0, bits))
        first -= first % size
        last = first + size - 1
    else:
        last = draw(st.integers(first, min(first + 300, (1 << bits) - 1)))
    if family == 6 and first <= _MAPPED + 0xFFFFFFFF and last >= _MAPPED and last - first < 1 << 33:
        first = last = 1
    return Destination(family, first, last, draw(ports | st.just(ALL_PORTS)))


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    """Any rule of one network and family."""
    family = draw(families)
    bits = BITS[family]
    prefix = draw(st.integers(0, bits))
    network = draw(st.integers(0, (1 << bits) - 1)) >> bits - prefix << bits - prefix
    low, high = sorted((draw(_port), draw(_port)))
    return Rule(draw(st.booleans()), family, network, prefix, low, high)


@st.composite
def small_rules(draw: st.DrawFn) -> Rule:
    """Rules that meet: about the lowest addresses and the ports at both ends."""
    family = draw(families)
    bits = BITS[family]
    prefix = draw(st.sampled_from((0, 0, bits - 3, bits - 2, bits - 1, bits)))
    network = draw(st.integers(0, 7)) >> bits - prefix << bits - prefix
    low = draw(st.sampled_from((1, 1, 2, 3, 65534)))
    high = draw(st.sampled_from([port for port in (1, 2, 3, 4, 65535) if port >= low]))
    return Rule(draw(st.booleans()), family, network, prefix, low, high)


moments = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)).map(  # noqa: DTZ001
    lambda moment: moment.replace(microsecond=0, tzinfo=UTC)
)
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@st.composite
def blocks(draw: st.DrawFn) -> Block:
    """Any block that has not ended, as a ledger of version 1 can hold."""
    since, until = draw(moments), draw(moments | st.none())
    if until is not None:
        since, until = sorted((since, until))
        if since == until:
            until = None
    return Block(draw(destinations()), since, until, draw(words), draw(words))


@st.composite
def full_blocks(draw: st.DrawFn) -> Block:
    """Any block that a ledger of version 2 can hold."""
    return draw(blocks())._replace(
        relays=draw(_names),
        source=draw(words),
        name=draw(words),
        references=draw(_names),
        ended=draw(st.none() | moments),
        told=draw(st.none() | moments),
        forced=draw(st.booleans()),
        follow=draw(st.sampled_from(("", "", "www.example.org", "a.example xn--4dbc.example"))),
    )


_names = st.lists(words.filter(bool), max_size=2, unique=True).map(tuple)
