"""Run the commands of a transcript and compare their output with what stands there.

A transcript is a text file that reads like a terminal session:

    # A comment; it may stand anywhere between commands.
    relay: ExitRelay 1
    $ exitpol block 203.0.113.7 --until 30d
    203.0.113.7  live      until [..]
    $ exitpol lift 203.0.113.9
    ! exitpol: error: 203.0.113.9 is not blocked
    [9]

`relay:` gives one line of the torrc of the relay, and stands before the first command. A line that
begins with `$ ` is run by the shell, in the folder of the host, and the lines below it are its
standard output. Lines of standard error begin with `! ` and stand after those of standard output;
an exit code other than 0 stands last, in brackets. `[..]` stands for any text within a line, and a
line `[...]` for any number of lines. `DIR` is the folder of the host.
"""

import os
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ANY_TEXT: Final = "[..]"
ANY_LINES: Final = "[...]"
_CHANGES = re.compile(
    r"\b[\d,]+(?= of 20,000 bytes)"
    r"|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z|\b\d+s (ago|left)|Tor \d[\w.-]*"
    r"|\b\d{4}-\d\d-\d\d( \d\d:\d\d UTC)?\b"
)
"""What differs from run to run; `rewritten` puts ANY_TEXT in its place."""


@dataclass(frozen=True)
class Step:
    """One command, with the lines that stood above it and what it is expected to do."""

    above: tuple[str, ...]
    """Comments and blank lines."""
    command: str
    expected: tuple[str, ...]


@dataclass(frozen=True)
class Transcript:
    """A whole file."""

    relay: tuple[str, ...]
    """Lines of the relay's torrc."""
    head: tuple[str, ...]
    """All lines up to the last `relay:`."""
    steps: tuple[Step, ...]


def parse(text: str) -> Transcript:
    """Read a transcript; raise ValueError with the line of what is none."""
    head: list[str] = []
    above: list[str] = []
    commands: list[tuple[tuple[str, ...], str, list[str]]] = []
    relay: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("$ "):
            commands.append((tuple(above), line[2:], []))
            above = []
        elif line == "" or line.startswith("#"):
            above.append(line)
        elif commands and not above:
            commands[-1][2].append(line)
        elif line.startswith("relay: ") and not commands:
            relay.append(line.removeprefix("relay: "))
            head += [*above, line]
            above = []
        else:
            raise ValueError(f"line {number} belongs to no command: {line!r}")
    steps = tuple(Step(above, command, tuple(lines)) for above, command, lines in commands)
    return Transcript(tuple(relay), tuple(head), steps)


def perform(command: str, folder: Path, environment: dict[str, str]) -> tuple[str, ...]:
    """Run one command with the shell and return what a transcript would show."""
    done = subprocess.run(
        ["/bin/bash", "-c", command],
        check=False, capture_output=True, text=True, timeout=60, cwd=folder,
        stdin=subprocess.DEVNULL, env={**os.environ, **environment},
    )  # fmt: skip
    shown = done.stdout.splitlines() + [f"! {line}" for line in done.stderr.splitlines()]
    if done.returncode:
        shown.append(f"[{done.returncode}]")
    # A blank line would end the command's output: it is written as a dot.
    return tuple(line.replace(str(folder), "DIR").rstrip() or "." for line in shown)


def matches(expected: Iterable[str], seen: Iterable[str]) -> bool:
    """Tell whether output is as expected, patterns included."""
    pattern = "".join(
        r"(?:.*\n)*?" if line == ANY_LINES
        else ".*".join(map(re.escape, line.split(ANY_TEXT))) + r"\n"
        for line in expected
    )  # fmt: skip
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in seen)) is not None


def rewritten(transcript: Transcript, seen: Iterable[tuple[str, ...]]) -> str:
    """Return the transcript's text with what was seen where it differs from what was expected."""
    lines = list(transcript.head)
    for step, output in zip(transcript.steps, seen, strict=True):
        lines += [*step.above, f"$ {step.command}"]
        if matches(step.expected, output):
            lines += step.expected
        else:
            lines += [_CHANGES.sub(ANY_TEXT, line) for line in output]
    return "\n".join(lines) + "\n"
