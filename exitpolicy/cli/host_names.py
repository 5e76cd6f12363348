"""Host names on the command line: look them up, show what they lead to, and ask."""

import shlex
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from exitpolicy.cli import output
from exitpolicy.cli.arguments import Session
from exitpolicy.core.block import Block
from exitpolicy.core.destination import Destination
from exitpolicy.core.errors import ExitpolError, UsageError
from exitpolicy.core.host_names import NamedHost

if TYPE_CHECKING:
    from exitpolicy.operations.host import Host
    from exitpolicy.operations.host_names import Resolved


def look_up(
    host: "Host", named: Sequence[NamedHost], relays: Sequence[str], *, force: bool
) -> tuple["Resolved", ...]:
    """Resolve host names, if there are any. Raises what `resolve` and `refuse_unfit` raise."""
    if not named:
        return ()
    from exitpolicy.operations import host_names

    with output.progress("asking the DNS servers"):
        resolved = host_names.resolve(host, named, relays)
    host_names.refuse_unfit(host, resolved, force=force)
    return resolved


def show(resolved: Sequence["Resolved"], *, as_json: bool) -> None:
    """Write the addresses of names with canonical name and TTL; with JSON, to stderr."""
    write = output.note if as_json else output.say
    for one in resolved:
        answer = one.answer
        write(f"{one.host} (canonical name {answer.canonical_name}, TTL {answer.ttl} s)")
        for destination in one.destinations:
            write(f"    {destination}")
        if answer.unknown is not None:
            family, reason = answer.unknown
            output.warn(f"{one.host.name}: its IPv{family} addresses are not known: {reason}")


def is_confirmed(resolved: Sequence["Resolved"], *, yes: bool) -> bool:
    """Ask on the terminal whether to block what names lead to; `yes` is the answer if given.

    Raises UsageError without a terminal.
    """
    from exitpolicy.cli.questions import confirmed

    if yes or not resolved:
        return True
    if not sys.stdin.isatty():
        raise UsageError(
            "the addresses of a host name are blocked after a yes, and there is no terminal to ask"
            " on; nothing was blocked",
            hint=shlex.join(["exitpol", *Session.arguments, "--yes"]),
        )
    count = len(destinations(resolved))
    what = "this destination" if count == 1 else f"these {count} destinations"
    return confirmed(f"Block {what}?")


def destinations(resolved: Sequence["Resolved"]) -> dict[Destination, str]:
    """Return the destinations of names, each with its name."""
    found: dict[Destination, str] = {}
    for one in resolved:
        for destination in one.destinations:
            found[destination] = " ".join(filter(None, (found.get(destination), one.host.name)))
    return found


def as_json(resolved: Sequence["Resolved"]) -> list[dict[str, Any]]:
    """Return the JSON values of names and what they lead to."""
    return [
        {
            "name": one.host.name,
            "canonical_name": one.answer.canonical_name,
            "ttl": one.answer.ttl,
            "destinations": [str(destination) for destination in one.destinations],
        }
        for one in resolved
    ]


def of_blocks(host: "Host", named: Iterable[NamedHost]) -> list[Destination]:
    """Return the destinations of the blocks that were made by names. Raises NoSuchBlockError."""
    found: dict[Destination, None] = {}
    for one in named:
        blocks = host.ledger().blocks.named(one.name, one.ports, host.clock())
        found |= dict.fromkeys(block.destination for block in blocks)
    return list(found)


def refuse_to_follow(host: "Host", resolved: Sequence["Resolved"]) -> None:
    """Refuse names that cannot be followed. Raises RefusedError, InvalidFileError."""
    from exitpolicy.operations import follow

    follow.refuse(host, resolved)


def begin_to_follow(host: "Host", resolved: Sequence["Resolved"]) -> None:
    """Note what blocked names lead to, and see to it that they are looked up again."""
    from exitpolicy.doctor import following
    from exitpolicy.operations import follow, timer

    try:
        follow.begin(host, resolved)
        for path in timer.install_follow(host):
            output.note(f"{path} installed")
    except ExitpolError as error:
        output.warn_all([error])
    if not following.is_run(host):
        output.warn("no timer looks the name up again: its blocks keep their addresses")
        for line in following.fix(host).splitlines():
            output.hint(line)


def note_unfollowed(host: "Host", lifted: Iterable[Block]) -> None:
    """Say which names are followed no more although some of their blocks go on."""
    ended = {host_ for block in lifted for host_ in _hosts(block, block.followed)}
    if not ended:
        return
    blocks = host.ledger().blocks.lasting(host.clock())
    left = {host_ for block in blocks for host_ in _hosts(block, block.names)}
    followed = {host_ for block in blocks for host_ in _hosts(block, block.followed)}
    for one in sorted(ended & left - followed):
        output.note(
            f"{one} is not followed any more, and its other addresses stay blocked; to follow it"
            f" again: exitpol block {one} --until WHEN --follow"
        )


def _hosts(block: Block, names: Iterable[str]) -> Iterable[NamedHost]:
    return (NamedHost(name, block.destination.ports) for name in names)


def of_ledger(host: "Host", named: Sequence[NamedHost]) -> list[Destination]:
    """Return the destinations of the blocks of names, and say that nothing is looked up.

    Raises NoSuchBlockError.
    """
    found = of_blocks(host, named)
    if named:
        names = ", ".join(map(str, named))
        output.note(f"{names}: the addresses that are blocked by that name; it is not looked up")
    return found
