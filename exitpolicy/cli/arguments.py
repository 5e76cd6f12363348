"""Options that several commands share, and the host that they work on."""

import os
import pwd
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final, NamedTuple, TypeVar

import typer

from exitpolicy.cli import completion
from exitpolicy.core.destination import Destination, parse_pasted_destination
from exitpolicy.core.durations import EXAMPLES, count_words
from exitpolicy.core.errors import UsageError
from exitpolicy.core.fleet import Reach
from exitpolicy.core.host_names import NamedHost, parse_host
from exitpolicy.operations.host import Host
from exitpolicy.storage import config as config_file

Destinations = Annotated[
    list[str],
    typer.Argument(
        metavar="DEST...",
        help="203.0.113.7, 203.0.113.0/24, 203.0.113.5-203.0.113.20; with ports: 203.0.113.7:22,80"
        " or [2001:db8::1]:6000-6010; *:25 for every address; a host name or its URL,"
        " which is looked up; - reads one per line",
    ),
]
Blocked = Annotated[
    list[str],
    typer.Argument(
        metavar="DEST...",
        help="The destinations or host names of blocks, as exitpol list shows them; - reads one per"
        " line",
        autocompletion=completion.destinations,
    ),
]
ONE_DEST: Final = "An address, a network or a range, each also with ports: 203.0.113.7:22."
DEST_OR_NAME: Final = f"{ONE_DEST[:-1]}; or a host name of blocks, which is not looked up."
Until = Annotated[str, typer.Option(metavar="WHEN", help=EXAMPLES)]
Json = Annotated[bool, typer.Option("--json", help="Write one JSON object to stdout.")]
OnRelays = Annotated[
    list[str] | None,
    typer.Option(
        "--relay",
        metavar="NAME",
        help="Only on this relay, or those of a pattern or group; may be repeated.",
        autocompletion=completion.relays,
    ),
]
Everywhere = Annotated[
    bool | None,
    typer.Option(
        "--everywhere/--accused",
        help="Block on all relays, or on those of the fleet that the complaint accuses; else as the"
        " config says.",
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Show the change of the fragment; change nothing.")
]
OfFleet = Annotated[
    Path | None,
    typer.Option(
        "--ledger",
        metavar="FILE",
        help="Only write it into this ledger, that of a fleet in git; no Tor is asked.",
    ),
]
Yes = Annotated[
    bool, typer.Option("--yes", help="Block the addresses of host names without asking.")
]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Do not wait until Tor enforces it.")]
Now = Annotated[
    bool,
    typer.Option("--now", help="Change what lists change at once, also what waits for a batch."),
]
Force = Annotated[
    bool,
    typer.Option(
        "--force",
        help="Close a port; exceed max_prefix, the port summary or the Exit flag; block shared"
        " addresses.",
    ),
]


_TIMES: Final = ("--until", "--expiring")
"""The options whose value is a time."""

_GETENT: Final = r"(\S+)\s+(?:STREAM|DGRAM|RAW)(?:\s+\S+)?"
"""A line of `getent ahosts NAME`: an address, a kind of socket, and once the canonical name."""

T = TypeVar("T")


def reach_of(everywhere: bool | None) -> Reach | None:
    """Return where a block for a complaint goes; None if the options leave it to the config."""
    if everywhere is None:
        return None
    return Reach.EVERYWHERE if everywhere else Reach.ACCUSED


ASK: Final = "ask"
"""The value of --block where none is given."""


class Session:
    """The options before the command."""

    config: Path | None = None
    arguments: tuple[str, ...] = ()
    """All arguments, for hints that repeat the command."""


def the_host(who: str | None = None, *, may_miss_config: bool = False) -> Host:
    """Return the host that the config describes. Raises InvalidFileError."""
    path = Session.config
    if may_miss_config and path is not None and not path.exists():
        # init writes it, with the values that apply without a config.
        path = None
    return Host.of(
        config_file.load(path),
        who=who or login_name(),
        clock=lambda: datetime.now(UTC),
    )


def the_set_up_host(who: str | None = None) -> Host:
    """Return the host, for a command that works on an installation.

    Raises InvalidFileError, also if exitpol is not set up.
    """
    return the_host(who).set_up()


def login_name() -> str:
    """Return the login name of the operator, also under sudo and doas."""
    for variable in ("SUDO_USER", "DOAS_USER"):
        if os.environ.get(variable):
            return os.environ[variable]
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


class Targets(NamedTuple):
    """What a command line names."""

    destinations: list[Destination]
    hosts: list[NamedHost]
    """Host names, whose addresses are to be found."""


def read_targets(texts: Sequence[str]) -> Targets:
    """Return the destinations and host names of a command line; `-` stands for the lines of stdin.

    Raises UsageError.
    """
    found = _read(texts, lambda text: parse_host(text) or parse_pasted_destination(text))
    return Targets(
        [one for one in found if isinstance(one, Destination)],
        [one for one in found if isinstance(one, NamedHost)],
    )


def read_destinations(texts: Sequence[str]) -> list[Destination]:
    """Return the destinations of a command line; `-` stands for the lines of stdin.

    Raises UsageError, also for host names.
    """
    return _read(texts, parse_pasted_destination)


def _read(texts: Sequence[str], parse: Callable[[str], T]) -> list[T]:
    found: dict[T, None] = {}
    for text in texts:
        if text == "-":
            found |= dict.fromkeys(_read_stdin(parse))
        else:
            found[parse(text)] = None
    if texts and not found:
        raise UsageError("no destination was given", hint="write one per line")
    return list(found)


def _read_stdin(parse: Callable[[str], T]) -> Iterator[T]:
    try:
        lines = sys.stdin.read().split("\n")
    except OSError as error:
        raise UsageError(f"stdin cannot be read: {error.strerror}") from error
    for number, line in enumerate(lines, start=1):
        words = re.split("[#;]", line, maxsplit=1)[0].strip()
        if address := re.fullmatch(_GETENT, words):
            words = address[1]
        if words:
            try:
                yield parse(words)
            except UsageError as error:
                raise UsageError(f"stdin:{number}: {error}", hint=error.hint) from error


def with_whole_times(arguments: Sequence[str]) -> list[str]:
    """Join the words of a time that the shell has split: `--until 30 days`."""
    given = list(arguments)
    for option in _TIMES:
        if option in given:
            start = given.index(option) + 1
            end = start + count_words(given[start:])
            if end > start:
                given[start:end] = [" ".join(given[start:end])]
    return given


def with_ask(arguments: Sequence[str]) -> list[str]:
    """Give `complaint --block` the value `ask` where no destination follows it.

    Typer has no option with an optional value.
    """
    given = list(arguments)
    if "complaint" not in given or "--block" not in given:
        return given
    place = given.index("--block")
    try:
        read_targets(given[place + 1 : place + 2])
        # The name of a complaint's file can look like that of a host: report.eml.
        alone = place + 1 == len(given) or os.path.exists(given[place + 1])  # noqa: PTH110
    except UsageError:
        alone = True
    return [*given[:place], f"--block={ASK}", *given[place + 1 :]] if alone else given
