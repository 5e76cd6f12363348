"""Run the hooks: hand each event to each command, in order, at least once.

    CREDENTIALS_DIRECTORY=... STATE_DIRECTORY=... python3 -I -S hook_delivery.py COMMAND...

The unit exitpol-hooks.service runs it every minute as a user without rights. It runs as a script of
its own, and imports the standard library alone. systemd hands it a copy of the spool
(exitpolicy.storage.hook_spool), which is root's, as the credential `events`. It keeps in
STATE_DIRECTORY/delivered.json what each command has taken:

    {"version": 1, "spool": ID,
     "commands": {COMMAND: {"number": NUMBER, "failure": null or {"since": TIME, "why": TEXT}}}}

A COMMAND is split into words as by a shell, but no shell runs it. It gets one event as JSON on
stdin, and has taken it when it exits with 0 within SECONDS. Otherwise the same event comes again in
the next run, and later events wait. The commands do not wait for each other.
"""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

EVENTS: Final = "events"
"""The name of the credential."""
DELIVERED: Final = "delivered.json"
SECONDS: Final = 30.0
"""How long a command may take for one event."""
MAX_SECONDS: Final = 240.0
"""After this time, in equal parts for all commands, no further event is begun until the next run.
"""
MAX_BYTES: Final = 1_000_000
"""The most bytes of each of the two files."""


class Delivered(NamedTuple):
    """What a command has taken."""

    number: int
    """The number of the last event that it took; those before it are done."""
    failure: dict[str, str] | None = None
    """Since when it fails for the event after that, and why: `since`, `why`."""


class State(NamedTuple):
    """The content of the file of deliveries."""

    spool: str
    """The spool that the numbers belong to."""
    commands: dict[str, Delivered]


def state_of(content: bytes) -> State | None:
    """Return what a file of deliveries says; None if it is damaged."""
    try:
        document = json.loads(content)
        return State(
            str(document["spool"]),
            {
                str(command): Delivered(int(entry["number"]), _failure(entry["failure"]))
                for command, entry in document["commands"].items()
            },
        )
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
        return None


def _failure(entry: Any) -> dict[str, str] | None:  # noqa: ANN401 - it comes from JSON
    """Return why a command fails. Raises LookupError, TypeError."""
    return None if entry is None else {key: str(entry[key])[:500] for key in ("since", "why")}


def starts(state: State | None, spool: dict[str, Any], commands: list[str]) -> State:
    """Return from where each command goes on.

    A new command takes no event that another one has taken before: it starts where the foremost is.
    """
    first = min((event["number"] for event in spool["events"]), default=spool["next"])
    known = state.commands if state is not None and state.spool == spool["spool"] else {}
    foremost = max((each.number for each in known.values()), default=first - 1)
    return State(
        spool["spool"],
        {command: known.get(command, Delivered(foremost)) for command in commands},
    )


def take(command: str, event: dict[str, Any], last: Delivered) -> Delivered:
    """Hand a command the next event; return what it has taken then."""
    lost = event["number"] - last.number - 1
    if lost and last.failure is None:
        _say(f"events dropped before {event['id']}: {lost}")
    why = run(command, event)
    if why is None:
        return Delivered(event["number"])
    _say(f"{_program(command)} failed for event {event['id']}: {why}; it is tried again")
    since = _now() if last.failure is None else last.failure["since"]
    return last._replace(failure={"since": since, "why": why})


def waiting(spool: dict[str, Any], last: Delivered) -> list[dict[str, Any]]:
    """Return the events that a command has not taken."""
    return [event for event in spool["events"] if event["number"] > last.number]


def run(command: str, event: dict[str, Any], seconds: float = SECONDS) -> str | None:
    """Run a command with an event on stdin; return why it failed, None if it did not."""
    home = os.environ["STATE_DIRECTORY"]
    try:
        process = subprocess.Popen(
            shlex.split(command),
            stdin=subprocess.PIPE,
            cwd=home,
            env={**os.environ, "HOME": home},
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        return f"it cannot be run: {error}"
    with process:
        try:
            process.communicate((json.dumps(event) + "\n").encode(), timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return f"it took more than {seconds:g} s"
    return None if process.returncode == 0 else f"exit code {process.returncode}"


def _program(command: str) -> str:
    """Return the program of a command: its arguments may be secret."""
    return command.split(maxsplit=1)[0]


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _say(text: str) -> None:
    sys.stderr.write(f"exitpol: hooks: {text}\n")


def _read(path: Path) -> bytes:
    """Return the first bytes of a file. Raises OSError."""
    with path.open("rb") as file:
        return file.read(MAX_BYTES)


def _save(path: Path, state: State) -> None:
    """Replace the file of deliveries. Raises OSError."""
    document = {
        "version": 1,
        "spool": state.spool,
        "commands": {command: each._asdict() for command, each in state.commands.items()},
    }
    new = path.with_name(f".{path.name}.new")
    with new.open("w") as file:
        json.dump(document, file)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def _spool(path: Path) -> dict[str, Any]:
    """Return the copy of the spool. Raises OSError, ValueError, LookupError, TypeError."""
    spool = json.loads(_read(path))
    numbers = [event["number"] for event in spool["events"]]
    if not all(isinstance(number, int) for number in (spool["next"], *numbers)):
        raise TypeError
    return {"spool": str(spool["spool"]), "next": spool["next"], "events": spool["events"]}


def _state(path: Path) -> State | None:
    """Return what the commands have taken; None if that is not known. Raises OSError."""
    try:
        return state_of(_read(path))
    except FileNotFoundError:
        return None


def _deliver(spool: dict[str, Any], commands: list[str], path: Path) -> int:
    """Hand the events to the commands; return 1 if one failed. Raises OSError."""
    state = starts(_state(path), spool, commands)
    for command in commands:
        end = time.monotonic() + MAX_SECONDS / len(commands)
        for event in waiting(spool, state.commands[command]):
            state.commands[command] = take(command, event, state.commands[command])
            # After each event, so that few come twice after a power cut.
            _save(path, state)
            if state.commands[command].failure is not None or time.monotonic() >= end:
                break
    return int(any(each.failure is not None for each in state.commands.values()))


def main(commands: list[str]) -> int:
    """Deliver what is in the spool; return an exit code: 0 if every command took its events."""
    given, folder = map(os.environ.get, ("CREDENTIALS_DIRECTORY", "STATE_DIRECTORY"))
    if given is None or folder is None:
        _say("to run the hooks: systemctl start exitpol-hooks")
        return 2
    if os.geteuid() == 0:
        _say("hooks do not run as root; see User= in: systemctl cat exitpol-hooks.service")
        return 1
    try:
        spool = _spool(Path(given) / EVENTS)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        _say(f"the spool cannot be read ({error!r}); the next event begins a new one")
        return 1
    try:
        return _deliver(spool, commands, Path(folder) / DELIVERED)
    except OSError as error:
        _say(f"{Path(folder) / DELIVERED} cannot be used: {error.strerror}")
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
