"""What was observed last, beside the ledger: for the timer, and for `list`.

Nothing here is wanted, installed or enforced: it may be lost at any time, and the next apply
writes it again. The head of the file is read by exitpolicy.tick, which describes it.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from exitpolicy import tick
from exitpolicy.core.block import State
from exitpolicy.core.errors import InvalidFileError
from exitpolicy.storage import files

MAX_BYTES: Final = 64_000_000


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment of this host's running time, by a clock that nobody can set."""

    boot: str
    """Which start of the host."""
    seconds: float
    """Since that start, suspension included."""

    @classmethod
    def now(cls) -> "Moment":
        """Return the present moment."""
        clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
        try:
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except OSError:
            boot = "-"
        return cls(boot, time.clock_gettime(clock))

    def is_after(self, other: "Moment") -> bool:
        """Tell whether this moment is later than another one since the same start."""
        return self.boot == other.boot and self.seconds > other.seconds


@dataclass(frozen=True, slots=True)
class Observation:
    """The result of the last apply that talked to Tor, or tried to."""

    applied: float
    """When, in Unix time."""
    next_change: float | None
    """When the next block begins or ends, in Unix time; None for never."""
    settled: bool
    """Whether wanted, installed and enforced were seen to be equal."""
    watched: Mapping[str, str]
    """Files that were read for it, with their fingerprint (tick.fingerprint)."""
    reloaded: float = 0.0
    """When Tor was last told to reload, in Unix time."""
    trusted: float | None = None
    """The latest time that was believed (leap.Time), in Unix time."""
    leapt: float | None = None
    """When the clock was first seen to have leapt, in Unix time."""
    begun: Moment | None = None
    """When the observation began."""
    fatal: Mapping[str, str] = field(default_factory=dict)
    """For each relay that ended in its last reload, the fingerprint of its files."""
    states: Mapping[str, str] = field(default_factory=dict)
    """The state in which each block in force was seen, by the destination's canonical text."""

    @property
    def when(self) -> datetime:
        """When Tor was looked at."""
        return datetime.fromtimestamp(self.applied, UTC)


def path_beside(ledger: Path) -> Path:
    """Return the state file that belongs to a ledger."""
    return ledger.with_name("state")


def fingerprints(paths: Iterable[Path]) -> dict[str, str]:
    """Return what tells whether any of the files has changed, to be taken before reading them."""
    return {str(path): tick.fingerprint(str(path)) for path in paths}


def save(path: Path, observation: Observation) -> None:
    """Write the state. Raises InvalidFileError."""
    lines = [
        "version 1",
        f"applied {observation.applied:.3f}",
        f"next {'never' if observation.next_change is None else f'{observation.next_change:.3f}'}",
        f"settled {int(observation.settled)}",
        *(f"watch {mark} {name}" for name, mark in sorted(observation.watched.items())),
        "",
        f"reloaded {observation.reloaded:.3f}",
    ]
    if observation.trusted is not None:
        lines.append(f"trusted {observation.trusted:.3f}")
    if observation.leapt is not None:
        lines.append(f"leapt {observation.leapt:.3f}")
    if observation.begun is not None:
        lines.append(f"begun {observation.begun.boot} {observation.begun.seconds:.6f}")
    lines += (f"fatal {mark} {name}" for name, mark in observation.fatal.items())
    lines += (f"state {state} {name}" for name, state in observation.states.items())
    files.replace(path, ("\n".join(lines) + "\n").encode("utf-8", "surrogateescape"))


def load(path: Path) -> Observation | None:
    """Return the last observation; None if there is none that can be understood."""
    try:
        text = files.read_own(path, "state", limit=MAX_BYTES).decode("utf-8", "surrogateescape")
    except (FileNotFoundError, InvalidFileError):
        return None
    words: dict[str, str] = {}
    watched: dict[str, str] = {}
    states: dict[str, str] = {}
    fatal: dict[str, str] = {}
    try:
        # Not splitlines(), which also splits at what may stand in a path.
        for line in text.split("\n"):
            key, _, value = line.partition(" ")
            if key == "state":
                state, name = value.split(" ", 1)
                states[name] = State(state)
            elif key == "fatal":
                mark, name = value.split(" ", 1)
                fatal[name] = mark
            elif key == "watch":
                mtime, size, inode, name = value.split(" ", 3)
                watched[name] = f"{mtime} {size} {inode}"
            else:
                words[key] = value
        if words["version"] != "1":
            return None
        return Observation(
            applied=_moment(words["applied"]),
            next_change=None if words["next"] == "never" else _moment(words["next"]),
            settled=words["settled"] == "1",
            watched=watched,
            reloaded=_moment(words["reloaded"]),
            trusted=_moment(words["trusted"]) if "trusted" in words else None,
            leapt=_moment(words["leapt"]) if "leapt" in words else None,
            begun=_begun(words["begun"]) if "begun" in words else None,
            fatal=fatal,
            states=states,
        )
    except (KeyError, ValueError, OverflowError, OSError):
        return None


def _begun(text: str) -> Moment:
    """Return a moment of running time. Raises ValueError."""
    boot, seconds = text.split(" ")
    return Moment(boot, float(seconds))


def _moment(text: str) -> float:
    """Return a Unix time that is one. Raises ValueError, OverflowError, OSError."""
    datetime.fromtimestamp(float(text), UTC)
    return float(text)
