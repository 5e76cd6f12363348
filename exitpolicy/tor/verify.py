"""The tor program: what it makes of a configuration before a running Tor ever sees it."""

import os
import re
import shutil
import subprocess
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exitpolicy.core.errors import TorRefusesError

SECONDS: Final = 120.0
"""How long tor may take to read a configuration: 100,000 rules take it more than a minute."""

_SILENCING: Final = frozenset({"--quiet", "--hush"})
_TORRC: Final = frozenset({"-f", "--torrc-file"})
_MESSAGE = re.compile(r"^\w{3} \d\d [\d:.]+ \[(warn|err)\] (.*)$")
_TELLING = re.compile(r"(?i)fail|malformed|unknown|invalid|parse|error|unable|couldn't|can't")
_VERIFIED: Final = "Configuration was valid"


@dataclass(frozen=True, slots=True)
class Invocation:
    """How a relay's tor is started."""

    command: tuple[str, ...]
    """The program and its options but for the torrc."""
    folder: Path
    """Its working directory, to which relative paths in the torrc are relative."""


def of_process(pid: int) -> Invocation | None:
    """Return how a running tor was started; None if that cannot be seen."""
    process = Path(f"/proc/{pid}")
    try:
        words = [os.fsdecode(word) for word in (process / "cmdline").read_bytes().split(b"\0")[:-1]]
        folder = (process / "cwd").readlink()
    except OSError:
        return None
    program = shutil.which(words[0]) if words else None
    if program is None or "tor" not in Path(program).name:
        return None
    options: list[str] = []
    rest = iter(words[1:])
    for word in rest:
        if word in _TORRC:
            next(rest, None)
        elif word not in _SILENCING:
            options.append(word)
    return Invocation((program, *options), folder)


def of_host(defaults_torrc: Path | None) -> Invocation:
    """Return how a tor that does not run would be started. Raises TorRefusesError."""
    program = shutil.which("tor") or shutil.which("tor", path="/usr/sbin:/usr/local/bin:/usr/bin")
    if program is None:
        raise TorRefusesError("there is no tor program to verify with", hint="apt install tor")
    defaults = ("--defaults-torrc", str(defaults_torrc)) if defaults_torrc else ()
    return Invocation((program, *defaults), Path("/"))


def version(program: str) -> str:
    """Return the version of a tor program. Raises TorRefusesError."""
    try:
        result = subprocess.run(
            [program, "--version"], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TorRefusesError(f"{program} cannot be run: {error}") from None
    match = re.search(r"Tor version (\S+?)\.?(?:\s|$)", result.stdout)
    if match is None:
        raise TorRefusesError(f"{program} does not say its version")
    return match[1]


def verify(invocation: Invocation, torrc: str) -> tuple[str, ...]:
    """Let tor verify a torrc's text and return its warnings. Raises TorRefusesError."""
    result = _run(invocation, torrc, "--verify-config")
    messages = _messages(result.stdout)
    if result.returncode != 0 or _VERIFIED not in result.stdout:
        raise TorRefusesError(_complaint(messages, result))
    return messages


def options(
    invocation: Invocation, torrc: str, names: Collection[str]
) -> Mapping[str, Sequence[str]]:
    """Return the values of the named options in a torrc's text, as tor reads it.

    Only those that are not at Tor's own default are there. Raises TorRefusesError.
    """
    return with_defaults(invocation, own_options(invocation, torrc, names), names)


def with_defaults(
    invocation: Invocation, own: Mapping[str, Sequence[str]], names: Collection[str]
) -> Mapping[str, Sequence[str]]:
    """Return the values of the named options: `own` ones, or else those of the defaults-torrc.

    Raises TorRefusesError.
    """
    stated = {name: values for name, values in own.items() if name in names}
    defaults = _defaults_text(invocation)
    if any(name.lower() in defaults.lower() for name in names):
        program, *_ = invocation.command
        bare = Invocation((program, "--defaults-torrc", "/dev/null"), invocation.folder)
        return {**own_options(bare, defaults, names), **stated}
    return stated


def _defaults_text(invocation: Invocation) -> str:
    """Return what stands in the defaults-torrc of an invocation; empty if there is none."""
    words = invocation.command
    place = words.index("--defaults-torrc") + 1 if "--defaults-torrc" in words else len(words)
    path = Path(words[place]) if place < len(words) else Path("/etc/tor/torrc-defaults")
    try:
        return (invocation.folder / path).read_text("utf-8", "surrogateescape")
    except OSError:
        return ""


def own_options(
    invocation: Invocation, torrc: str, names: Collection[str]
) -> Mapping[str, Sequence[str]]:
    """Return the values of the named options as a torrc's text has them against the defaults-torrc.

    What is as the defaults-torrc has it is not there, nor is it in a running Tor's `config-text`.
    Raises TorRefusesError.
    """
    # "short": the full dump of Tor 0.4.9 ends in an assertion (options_dump).
    result = _run(invocation, torrc, "--dump-config", "short")
    if result.returncode != 0:
        # Dumping, tor ends without a word about what is wrong: let it say so.
        verify(invocation, torrc)
        raise TorRefusesError(_complaint(_messages(result.stdout), result))
    found: dict[str, list[str]] = {}
    for line in result.stdout.splitlines():
        name, _, value = line.partition(" ")
        if name in names:
            found.setdefault(name, []).append(value)
    return found


def _run(invocation: Invocation, torrc: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [*invocation.command, "-f", "-", *arguments]
    try:
        return subprocess.run(
            command,
            input=torrc,
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            cwd=invocation.folder if invocation.folder.is_dir() else "/",
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise TorRefusesError(f"tor has not read the configuration within {SECONDS:g} s") from None
    except (OSError, ValueError) as error:
        raise TorRefusesError(f"{command[0]} cannot be run: {error}") from None


def _messages(output: str) -> tuple[str, ...]:
    """Return the warnings and errors in what tor logs."""
    return tuple(match[2] for line in output.splitlines() if (match := _MESSAGE.match(line)))


def _complaint(messages: Sequence[str], result: "subprocess.CompletedProcess[str]") -> str:
    """Return what tor says is wrong: its last complaints, or the last that it said at all."""
    telling = [message for message in messages if _TELLING.search(message)]
    said = telling or list(messages) or result.stderr.splitlines() or result.stdout.splitlines()
    last = " / ".join(said[-3:]) or f"exit code {result.returncode}"
    return f"Tor refuses the configuration: {last}"
