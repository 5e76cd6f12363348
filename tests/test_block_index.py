"""`core.block_index`: the blocks of some addresses."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from exitpolicy.core.block import Block
from exitpolicy.core.block_index import BlockIndex
from exitpolicy.core.destination import Destination
from tests.strategies import destinations, families, ports

NOW = datetime(2026, 11, 27, tzinfo=UTC)
FIRST = 203 << 24

# Among a few addresses, most destinations meet.
near = st.builds(
    lambda family, first, size, some: Destination(
        family, FIRST + first, FIRST + first + size, some
    ),
    families,
    st.integers(0, 40),
    st.integers(0, 20),
    ports,
)


@given(st.lists(near | destinations(), max_size=12, unique=True), near | destinations())
def test_the_index_finds_exactly_the_blocks_that_overlap(
    some: list[Destination], asked: Destination
) -> None:
    """The index returns what a comparison with every block returns."""
    blocks = [Block(destination, NOW, None) for destination in some]
    found = {block.destination for block in BlockIndex(blocks).overlapping(asked)}
    assert found == {destination for destination in some if destination.overlaps(asked)}
