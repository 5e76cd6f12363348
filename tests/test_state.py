"""`observed`: an observation is read back as written; an invalid file is no observation."""

import os
import string
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exitpolicy.core.block import State
from exitpolicy.core.errors import InvalidFileError
from exitpolicy.core.retention import Retention
from exitpolicy.storage import observed
from exitpolicy.storage.observed import Moment, Observation
from tests.strategies import destinations

instants = st.integers(0, 4_000_000_000_000).map(lambda milliseconds: milliseconds / 1000)
names = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\n\0"), min_size=1, max_size=30
) | st.just("caf\udce9")
marks = st.tuples(*[st.integers(0, 2**63)] * 3).map(lambda three: " ".join(map(str, three)))
observations = st.builds(
    Observation,
    applied=instants,
    next_change=st.none() | instants,
    settled=st.booleans(),
    watched=st.dictionaries(names, marks, max_size=4),
    reloaded=instants,
    trusted=st.none() | instants,
    jumped_to=st.none() | instants,
    begun=st.none()
    | st.builds(Moment, st.just("b-1"), st.integers(0, 10**12).map(lambda ms: ms / 1000)),
    fatal=st.dictionaries(names, st.sampled_from(["1a", "2b"]), max_size=2),
    states=st.dictionaries(destinations().map(str), st.sampled_from(State), max_size=4),
    mixed=st.dictionaries(
        destinations().map(str),
        st.dictionaries(names, st.sampled_from(State), min_size=1, max_size=3),
        max_size=3,
    ),
    causes=st.dictionaries(
        destinations().map(str),
        st.dictionaries(names, names | st.sampled_from(["a b", "same"]), min_size=1, max_size=3),
        max_size=3,
    ),
    retention=st.builds(
        Retention,
        instants,
        st.dictionaries(
            destinations().map(lambda d: f"2026-11-22T10:00:00Z {d}"), instants, max_size=3
        ),
    ),
    changed=st.dictionaries(names, instants, max_size=2),
    batch=st.none() | st.integers(1, 86_400_000).map(lambda milliseconds: milliseconds / 1000),
).map(lambda seen: seen if seen.begun is not None else seen._replace(batch=None))
SIMPLE = Observation(1.0, None, True, {"/etc/tor/torrc": "1 2 3"})


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where a state may be written."""
    return tmp_path_factory.mktemp("state") / "state"


@settings(max_examples=60)
@given(observation=observations)
def test_what_is_written_is_read_back_as_the_same(path: Path, observation: Observation) -> None:
    """Times to the millisecond, odd paths and states survive."""
    observed.save(path, observation)
    assert observed.load(path) == observation


def test_blocks_that_share_a_state_share_a_line(path: Path) -> None:
    """A file with a line for each of 100,000 blocks takes longer to read than the ledger."""
    blocks = [f"203.0.113.{number}:22" for number in range(99)]
    cause = {"default": "there is no room"}
    before = SIMPLE._replace(
        states=dict.fromkeys(blocks, State.PENDING), causes=dict.fromkeys(blocks, cause)
    )
    observed.save(path, before)
    assert len([line for line in path.read_text().split("\n") if "203.0.113.7:22" in line]) == 2
    assert observed.load(path) == before


def test_a_state_with_a_line_for_each_block_is_read_after_an_upgrade(path: Path) -> None:
    """Former versions wrote it so."""
    observed.save(path, SIMPLE)
    with path.open("a") as file:
        file.write(
            "state pending 203.0.113.7\nstate pending 203.0.113.8:80,443\ncause 0 no room\n"
            "because 0 203.0.113.7 default\nbecause 0 203.0.113.7 second relay\n"
        )
    found = observed.load(path)
    assert found is not None
    assert found.states == dict.fromkeys(["203.0.113.7", "203.0.113.8:80,443"], State.PENDING)
    assert found.causes == {"203.0.113.7": {"default": "no room", "second relay": "no room"}}


def test_a_doubted_clock_stays_in_doubt_after_an_upgrade(path: Path) -> None:
    """The key of former versions is read."""
    observed.save(path, SIMPLE._replace(trusted=1.0, jumped_to=9.0))
    path.write_text(path.read_text().replace("jumped-to 9", "leapt 9"))
    found = observed.load(path)
    assert found is not None
    assert found.jumped_to == 9.0


def test_there_may_be_none(tmp_path: Path) -> None:
    """Without a file nothing was observed."""
    assert observed.load(tmp_path / "state") is None


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_is_no_file_is_no_observation(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """A folder or a FIFO instead of the file is no observation, without waiting."""
    make(tmp_path / "state")
    assert observed.load(tmp_path / "state") is None


@pytest.mark.parametrize(
    ("line", "other"),
    [
        ("version 1", "version 2"),
        ("version 1\n", ""),
        ("applied 1.000", "applied nan"),
        ("applied 1.000", "applied inf"),
        ("applied 1.000", "applied 1e300"),
        ("applied 1.000", "applied soon"),
        ("applied 1.000\n", ""),
        ("next never", "next -inf"),
        ("next never", "next"),
        ("settled 1\n", ""),
        ("reloaded 0.000", "reloaded 1e300"),
        ("reloaded 0.000\n", ""),
        ("reloaded 0.000", "reloaded 0.000\ntrusted 999999999999999"),
        ("reloaded 0.000", "reloaded 0.000\njumped-to nan"),
        ("reloaded 0.000", "reloaded 0.000\nstate gone 203.0.113.7"),
        ("reloaded 0.000", "reloaded 0.000\nstate live"),
        ("reloaded 0.000", "reloaded 0.000\non live 203.0.113.7"),
        ("reloaded 0.000", "reloaded 0.000\non gone 203.0.113.7 default"),
        ("reloaded 0.000", "reloaded 0.000\nbegun b nan"),
        ("reloaded 0.000", "reloaded 0.000\nbegun b"),
        ("reloaded 0.000", "reloaded 0.000\nended inf 2026-11-22T10:00:00Z 203.0.113.7"),
        ("running 0.000", "running nan"),
        ("watch 1 2 3 /etc/tor/torrc", "watch 1 2 3"),
    ],
)
def test_what_is_not_understood_is_no_observation(path: Path, line: str, other: str) -> None:
    """If one line is invalid or missing, the whole file is ignored."""
    observed.save(path, SIMPLE)
    text = path.read_text()
    assert line in text
    path.write_text(text.replace(line, other))
    assert observed.load(path) is None


_NEARLY = st.lists(
    st.sampled_from(
        [
            "version 1",
            "applied 1",
            "next never",
            "settled 1",
            "reloaded 1",
            "trusted 1e18",
            "state live 1.2.3.4",
            "state x y",
            "watch 1 2 3 /",
            "watch",
            "applied 1e400",
            "jumped-to -1",
        ]
    )
    | st.text(string.printable, max_size=9),
    max_size=10,
).map(lambda lines: "\n".join(lines).encode())


@settings(max_examples=150)
@given(content=st.binary(max_size=60) | _NEARLY)
@example(content=b"version 1\napplied -62135596800.1\nnext never\nsettled 1\nreloaded 1\n")
def test_any_bytes_are_an_observation_or_none(path: Path, content: bytes) -> None:
    """No content raises an exception, at reading or when its times are used."""
    path.write_bytes(content)
    found = observed.load(path)
    if found is not None:
        assert found.when.tzinfo is UTC
        for moment in (found.trusted, found.jumped_to, found.next_change):
            assert moment is None or datetime.fromtimestamp(moment, UTC).tzinfo is UTC


def test_a_change_of_a_watched_file_changes_its_fingerprint(tmp_path: Path) -> None:
    """New content, replacement, removal and creation change the fingerprint."""
    file = tmp_path / "file"
    marks_seen = [observed.fingerprints([file])[str(file)]]
    assert marks_seen == ["0 0 0"]
    file.write_text("a")
    marks_seen.append(observed.fingerprints([file])[str(file)])
    file.write_text("bb")
    marks_seen.append(observed.fingerprints([file])[str(file)])
    (tmp_path / "new").write_text("bb")
    (tmp_path / "new").rename(file)
    marks_seen.append(observed.fingerprints([file])[str(file)])
    assert len(set(marks_seen)) == 4


def test_where_it_is(tmp_path: Path) -> None:
    """The state lies beside the ledger, and a folder that is not there is an error."""
    assert observed.path_beside(Path("/var/lib/exitpol/blocks.yaml")) == Path(
        "/var/lib/exitpol/state"
    )
    with pytest.raises(InvalidFileError, match="cannot be written: No such file"):
        observed.save(tmp_path / "none" / "state", SIMPLE._replace(settled=False))


def test_running_time_counts_from_the_start_of_the_host() -> None:
    """In what may be one boot the difference counts; after another boot, the time since that."""
    assert Moment("a", 50.0).since(Moment("a", 20.0)) == 30.0
    assert Moment("b", 50.0).since(Moment("a", 20.0)) == 50.0
    # The tick's unit cannot see which boot it is: a shell's command after it is no reboot.
    for one, other in (("-", "a"), ("a", "-"), ("-", "-")):
        assert Moment(one, 50.0).since(Moment(other, 20.0)) == 30.0
        assert Moment(one, 20.0).since(Moment(other, 50.0)) == 0.0
    assert Moment("a", 50.0).since(None) == 0.0
    assert Moment.now().since(Moment.now()) <= 0.0
    assert Moment("a", 2.0).is_after(Moment("a", 1.0))
    assert not Moment("a", 2.0).is_after(Moment("b", 1.0))
