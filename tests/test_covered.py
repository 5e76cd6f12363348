"""`adopt`: until when blocks reject what a line of a torrc rejects."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from exitpolicy.core.block import Block
from exitpolicy.core.block_index import BlockIndex
from exitpolicy.core.destination import parse_destination
from exitpolicy.operations.adopt import covered_until
from exitpolicy.operations.adoptable import OwnReject
from exitpolicy.tor.torrc_includes import Place

NOW = datetime(2026, 11, 27, tzinfo=UTC)


def block(text: str, days: int | None, relays: tuple[str, ...] = ()) -> Block:
    """Return a block that ends in some days, or never."""
    until = None if days is None else NOW + timedelta(days=days)
    return Block(parse_destination(text), NOW, until, relays=relays)


@pytest.mark.parametrize(
    ("blocks", "days"),
    [
        ([block("203.0.113.0/24", 3)], 3),
        ([block("203.0.113.0/24", None), block("203.0.113.0/25", 1)], None),
        ([block("203.0.113.0/25", 5), block("203.0.113.128/25", 2)], 2),
        ([block("203.0.113.0/25", 5), block("203.0.113.128/25", 2), block("203.0.0.0/16", 4)], 4),
        ([block("203.0.113.0/24", 9, ("a",)), block("203.0.113.0-203.0.113.255:1-65535", 6)], 6),
        ([block("203.0.113.0/24", 9, ("a",)), block("203.0.112.0/23", 7, ("b",))], 7),
        ([block("203.0.113.0/24:22", None), block("203.0.113.0/24", 1)], 1),
        ([block("198.51.100.0/24", 1), block("203.0.113.0/24", 8)], 8),
    ],
)
def test_a_line_is_covered_until_the_first_part_of_it_is_open(
    blocks: list[Block], days: int | None
) -> None:
    """The end is that of the first block without which a relay accepts a part of the line."""
    rule = OwnReject(
        Place(Path("torrc"), 1),
        "reject 203.0.113.0/24:*",
        (parse_destination("203.0.113.0/24"),),
        "",
        frozenset({"a", "b"}),
    )
    expected = None if days is None else NOW + timedelta(days=days)
    assert covered_until(rule, BlockIndex(blocks)) == expected
