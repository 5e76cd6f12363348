"""The last observation, in a file beside the ledger: for the timer, and for `list`.

It is a cache: it may be lost at any time, and the next apply writes it again. exitpolicy.tick reads
the head of the file, and documents it.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from math import isfinite
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

from exitpolicy import tick
from exitpolicy.core.block import Blocks, State
from exitpolicy.core.clock import Time
from exitpolicy.core.errors import InvalidFileError
from exitpolicy.core.pace import Pace
from exitpolicy.core.retention import Retention
from exitpolicy.storage import files

MAX_BYTES: Final = 64_000_000

_FORMER_KEYS: Final = {"leapt": "jumped-to"}
"""Keys that former versions wrote: a file of theirs must not make a doubted clock trusted."""


_STATES: Final = {str(state): state for state in State}

_BETWEEN: Final = ";"
"""Separates destinations on a line: their texts hold none, and no blank.

A ledger may have 100,000 blocks in one state: one line for all is read in a tenth of the time.
"""


_UNKNOWN_BOOT: Final = "-"


class Moment(NamedTuple):
    """A moment of this host's running time, by a clock that nobody can set."""

    boot: str
    """Identifies the boot of the host; `-` where it is hidden, as in the tick's unit."""
    seconds: float
    """Seconds since that boot, suspension included."""

    @classmethod
    def now(cls) -> "Moment":
        """Return the present moment."""
        try:
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except OSError:
            boot = _UNKNOWN_BOOT
        return cls(boot, tick.running())

    def is_after(self, other: "Moment") -> bool:
        """Tell whether this moment is later than another one of the same boot."""
        return self.boot == other.boot and self.seconds > other.seconds

    def since(self, other: "Moment | None") -> float:
        """Return the seconds of running time that have passed at least since another moment.

        If a boot is unknown, it may be the same one.
        """
        if other is None:
            return 0.0
        if self.boot == other.boot or _UNKNOWN_BOOT in {self.boot, other.boot}:
            return max(0.0, self.seconds - other.seconds)
        return self.seconds


# A named tuple is made faster than a dataclass: `list` is to be quick.
class Observation(NamedTuple):
    """The result of the last apply that reached Tor, or tried to."""

    applied: float
    """When, in Unix time."""
    next_change: float | None
    """When the next block begins or ends, in Unix time; None for never."""
    settled: bool
    """Whether the desired, installed and enforced state were observed to be equal."""
    watched: Mapping[str, str]
    """The files that it depends on, with their fingerprint (tick.fingerprint)."""
    reloaded: float = 0.0
    """When Tor was last told to reload, in Unix time."""
    trusted: float | None = None
    """The latest trusted time (core.clock.Time), in Unix time."""
    jumped_to: float | None = None
    """What the clock said when its jump forward was first seen, in Unix time."""
    begun: Moment | None = None
    """When the observation began."""
    fatal: Mapping[str, str] = MappingProxyType({})
    """For each relay whose Tor exited at its last reload, the fingerprint of its files."""
    states: Mapping[str, str] = MappingProxyType({})
    """The observed state of each block in force, by the destination's canonical text."""
    mixed: Mapping[str, Mapping[str, str]] = MappingProxyType({})
    """The states by relay of each block whose relays have different ones."""
    causes: Mapping[str, Mapping[str, str]] = MappingProxyType({})
    """By relay, why each block is pending, scheduled, unknown or moot: one line of text."""
    retention: Retention = Retention()
    """The running time since blocks ended."""
    changed: Mapping[str, float] = MappingProxyType({})
    """When the policy of each relay was last changed, in the running time of `retention`."""
    batch: float | None = None
    """The seconds after `begun` at which changes that wait for a batch are due; None for none."""

    @property
    def when(self) -> datetime:
        """When Tor was observed."""
        return datetime.fromtimestamp(self.applied, UTC)


def path_beside(ledger: Path) -> Path:
    """Return the state file that belongs to a ledger."""
    return ledger.with_name("state")


def fingerprints(paths: Iterable[Path]) -> dict[str, str]:
    """Return fingerprints that show a later change of files. Call this before reading them."""
    return {str(path): tick.fingerprint(str(path)) for path in paths}


def retention(last: Observation | None, now: Moment, blocks: Blocks, time: Time) -> Retention:
    """Return the running time since blocks ended, one observation after `last`."""
    if last is None:
        return Retention().observed(0.0, blocks, time)
    return last.retention.observed(now.since(last.begun), blocks, time)


def pace(last: Observation | None, now: Moment) -> Pace:
    """Return when the policies of relays changed, some time after the observation `last`."""
    if last is None:
        return Pace()
    return Pace(last.retention.after(now.since(last.begun)), last.changed)


def save(path: Path, observation: Observation) -> None:
    """Write the observation. Raises InvalidFileError."""
    lines = [
        "version 1",
        f"applied {observation.applied:.3f}",
        f"next {'never' if observation.next_change is None else f'{observation.next_change:.3f}'}",
        f"settled {int(observation.settled)}",
        *_batch_lines(observation),
        *(f"watch {mark} {name}" for name, mark in sorted(observation.watched.items())),
        "",
        f"reloaded {observation.reloaded:.3f}",
    ]
    if observation.trusted is not None:
        lines.append(f"trusted {observation.trusted:.3f}")
    if observation.jumped_to is not None:
        lines.append(f"jumped-to {observation.jumped_to:.3f}")
    if observation.begun is not None:
        lines.append(f"begun {observation.begun.boot} {observation.begun.seconds:.6f}")
    lines.append(f"running {observation.retention.seconds:.3f}")
    lines += (f"ended {at:.3f} {record}" for record, at in observation.retention.seen.items())
    lines += (f"fatal {mark} {name}" for name, mark in observation.fatal.items())
    lines += (f"changed {seconds:.3f} {name}" for name, seconds in observation.changed.items())
    lines += _state_lines(observation.states)
    lines += (
        f"on {state} {name} {relay}"
        for name, states in observation.mixed.items()
        for relay, state in states.items()
    )
    lines += _cause_lines(observation.causes)
    files.replace(path, ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape"))


# Not a dataclass, which takes longer to make than to use: `list` is to be quick.
class _Lines:
    """What the lines of a state file say."""

    def __init__(self) -> None:
        self.words: dict[str, str] = {}
        """The value of each key that has one."""
        self.watched: dict[str, str] = {}
        self.states: dict[str, str] = {}
        self.mixed: dict[str, dict[str, str]] = {}
        self.ended: dict[str, float] = {}
        self.fatal: dict[str, str] = {}
        self.changed: dict[str, float] = {}
        self.causes: dict[str, Mapping[str, str]] = {}
        self.texts: dict[str, str] = {}
        """The causes by number."""

    def add(self, line: str) -> None:
        """Read a line. Raises ValueError, KeyError."""
        key, _, value = line.partition(" ")
        if key == "state":
            state, names = value.split(" ", 1)
            self.states |= dict.fromkeys(names.split(_BETWEEN), _STATES[state])
        elif key == "on":
            state, name, relay = value.split(" ", 2)
            self.mixed.setdefault(name, {})[relay] = _STATES[state]
        elif key == "cause":
            number, text = value.split(" ", 1)
            self.texts[number] = text
        elif key == "because":
            number, names, relay = value.split(" ", 2)
            cause = {relay: self.texts[number]}
            found = names.split(_BETWEEN)
            # Thousands of blocks share one cause.
            others = {n: {**self.causes[n], **cause} for n in found if n in self.causes}
            self.causes |= dict.fromkeys(found, cause) | others
        elif key == "ended":
            at, record = value.split(" ", 1)
            self.ended[record] = _seconds(at)
        elif key == "fatal":
            mark, name = value.split(" ", 1)
            self.fatal[name] = mark
        elif key == "changed":
            seconds, name = value.split(" ", 1)
            self.changed[name] = _seconds(seconds)
        elif key == "watch":
            ctime, size, inode, name = value.split(" ", 3)
            self.watched[name] = f"{ctime} {size} {inode}"
        else:
            self.words[_FORMER_KEYS.get(key, key)] = value


def load(path: Path) -> Observation | None:
    """Return the last observation; None if there is none, or none that can be read."""
    try:
        return _parse(files.read_own(path, "state", limit=MAX_BYTES))
    except (FileNotFoundError, InvalidFileError):
        return None


def is_waiting(path: Path) -> bool:
    """Tell whether changes waited for a batch at the last observation."""
    last = load(path)
    return last is not None and last.batch is not None


# A command reads the same state several times.
@lru_cache(maxsize=1)
def _parse(content: bytes) -> Observation | None:
    text = content.decode("utf-8", "surrogateescape")
    lines = _Lines()
    words = lines.words
    try:
        # Not splitlines(), which also splits at what may stand in a path.
        for line in text.split("\n"):
            lines.add(line)
        if words["version"] != "1":
            return None
        return Observation(
            applied=_moment(words["applied"]),
            next_change=None if words["next"] == "never" else _moment(words["next"]),
            settled=words["settled"] == "1",
            watched=lines.watched,
            reloaded=_moment(words["reloaded"]),
            trusted=_moment(words["trusted"]) if "trusted" in words else None,
            jumped_to=_moment(words["jumped-to"]) if "jumped-to" in words else None,
            begun=_begun(words["begun"]) if "begun" in words else None,
            fatal=lines.fatal,
            states=lines.states,
            mixed=lines.mixed,
            causes=lines.causes,
            retention=Retention(_seconds(words.get("running", "0")), lines.ended),
            changed=lines.changed,
            batch=_wait(words["batch"]) if "batch" in words else None,
        )
    except (KeyError, ValueError, OverflowError, OSError):
        return None


def _state_lines(states: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each state: `state STATE DESTINATION;DESTINATION...`."""
    by_state: dict[str, list[str]] = {}
    last, names = "", list[str]()
    for name, state in states.items():
        # Members of State are hashed slowly, and most blocks have the state of the one before.
        if state is not last:
            last, names = state, by_state.setdefault(state, [])
        names.append(name)
    yield from (f"state {state} {_BETWEEN.join(names)}" for state, names in by_state.items())


def _cause_lines(causes: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """Yield a line for each cause, and behind it one for each relay that has it.

    They are `cause NUMBER TEXT` and `because NUMBER DESTINATION;DESTINATION... RELAY`.
    """
    # Thousands of blocks share the same mapping.
    shared: dict[int, tuple[Mapping[str, str], list[str]]] = {}
    for name, by_relay in causes.items():
        shared.setdefault(id(by_relay), (by_relay, []))[1].append(name)
    names: dict[tuple[str, str], list[str]] = {}
    for by_relay, found in shared.values():
        for relay, text in by_relay.items():
            names.setdefault((text, relay), []).extend(found)
    texts = dict.fromkeys(text for text, _ in names)
    numbers = {text: number for number, text in enumerate(texts)}
    yield from (f"cause {number} {text}" for text, number in numbers.items())
    for (text, relay), found in names.items():
        yield f"because {numbers[text]} {_BETWEEN.join(found)} {relay}"


def _batch_lines(observation: Observation) -> list[str]:
    """Return the line by which the tick knows when a batch is due; none if nothing waits."""
    if observation.batch is None or observation.begun is None:
        return []
    begun = observation.begun.seconds
    return [f"batch {begun:.3f} {begun + observation.batch:.3f}"]


def _wait(text: str) -> float:
    """Return the seconds between the moments of a batch. Raises ValueError."""
    begun, end = text.split(" ")
    return round(_seconds(end) - _seconds(begun), 3)


def _begun(text: str) -> Moment:
    """Return a moment of running time. Raises ValueError."""
    boot, seconds = text.split(" ")
    return Moment(boot, _seconds(seconds))


def _seconds(text: str) -> float:
    """Return a duration that can be added and compared. Raises ValueError."""
    if not isfinite(seconds := float(text)):
        raise ValueError(text)
    return seconds


def _moment(text: str) -> float:
    """Return a Unix time that is one. Raises ValueError, OverflowError, OSError."""
    datetime.fromtimestamp(float(text), UTC)
    return float(text)
