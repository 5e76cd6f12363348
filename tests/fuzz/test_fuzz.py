"""Whatever is read, from whomever: a value or a documented error, in bounded time."""

import subprocess
import sys
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.evidence import Thing, record
from tests.fuzz.targets import SEEDS, TARGETS, try_one

THING = Thing.FUZZ
EXAMPLES = 300
SECONDS = 5


@pytest.mark.parametrize("target", TARGETS)
def test_seeds_end_in_a_value_or_a_documented_error(target: str) -> None:
    """What is known to be hard is read in time, or refused."""
    for seed in SEEDS[target]:
        begun = time.monotonic()
        try_one(target, seed)
        assert time.monotonic() - begun < SECONDS, seed


@pytest.mark.parametrize("target", TARGETS)
def test_any_bytes_end_in_a_value_or_a_documented_error(target: str) -> None:
    """Random bytes, random text, and good input that was damaged."""
    tried = 0
    seeds = SEEDS[target]

    @settings(
        max_examples=EXAMPLES, deadline=SECONDS * 1000, database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )  # fmt: skip
    @given(st.data())
    def examples(data: st.DataObject) -> None:
        nonlocal tried
        tried += 1
        try_one(target, data.draw(inputs(seeds)))

    examples()
    record(THING, tried)


def inputs(seeds: tuple[bytes, ...]) -> st.SearchStrategy[bytes]:
    """Draw bytes, text in the characters that matter, and seeds with a piece replaced."""
    alphabet = st.sampled_from("0123456789abcdef.:/-,[]{}*\"'\\#%&!|> \n\tTZdhmoywr\u202e\x00\x85")
    damaged = st.builds(
        lambda seed, at, length, piece: seed[:at] + piece + seed[at + length :],
        st.sampled_from(seeds),
        st.integers(0, 200),
        st.integers(0, 20),
        st.binary(max_size=20) | st.text(alphabet, max_size=20).map(str.encode),
    )
    return st.binary(max_size=300) | st.text(alphabet, max_size=120).map(str.encode) | damaged


@pytest.mark.parametrize("target", ["ledger", "config", "policy", "torrc"])
@pytest.mark.parametrize(
    "piece",
    [
        *(b"a", b"- ", b"[", b"{a: ", b"reject 1.2.3.4:*\n"),
        *(pytest.param(piece, marks=pytest.mark.slow) for piece in (b"\n", b"\\\n")),
    ],
)
def test_a_megabyte_of_the_same_is_bounded(target: str, piece: bytes) -> None:
    """Deep, long and repetitive input costs seconds, not the machine."""
    begun = time.monotonic()
    try_one(target, piece * (1_000_000 // len(piece)))
    assert time.monotonic() - begun < 6 * SECONDS


def test_torrc_that_includes_itself_twice_is_no_endless_walk() -> None:
    """Found by fuzzing: two includes of itself at each of 31 levels make 2^31 files to read."""
    code = (
        "from tests.fuzz.targets import try_one; import sys; try_one('torrc', sys.argv[1].encode())"
    )
    command = [sys.executable, "-c", code, "%include torrc\n%include *\n"]
    done = subprocess.run(command, check=False, capture_output=True, timeout=10)
    assert done.returncode == 0, done.stderr
