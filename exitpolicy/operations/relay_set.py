"""Choose the relays that `init` sets up: those of the config, those named, or all exits found."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from exitpolicy.core.errors import AttentionError, InvalidFileError, RefusedError, UsageError
from exitpolicy.core.shell import word
from exitpolicy.operations import control_lines, refusals
from exitpolicy.operations.host import with_included
from exitpolicy.storage.config import (
    NO_CONTROL,
    Config,
    Relay,
    Unit,
    entry,
    usual_control,
    usual_name,
    usual_unit,
)
from exitpolicy.tor import discovery, layout
from exitpolicy.tor.discovery import Discovered


class NoControlPortError(InvalidFileError):
    """Relays open no control port; nothing else is missing."""

    def __init__(self, message: str, relays: Sequence[Discovered], *, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.relays = relays


@dataclass(frozen=True, slots=True)
class Chosen:
    """The relays of a host."""

    relays: tuple[Relay, ...]
    unmanaged: tuple[Path, ...]
    """The torrcs of relays that exitpol leaves alone."""
    remarks: tuple[AttentionError, ...] = ()
    """Why relays are left alone."""


def choose(config: Config, named: Sequence[Path], passwords: Path) -> Chosen:
    """Return the relays of a config and the named torrcs; those found on this host without either.

    `config` has the folder and the former path of fragments. `passwords` is the folder in which
    NAME.password is looked for where Tor accepts nothing else. Raises InvalidFileError,
    TorRefusesError, UsageError, and RefusedError if no relay is an exit.
    """
    known = {os.path.realpath(relay.torrc) for relay in config.relays}
    added = [path for path in named if os.path.realpath(path) not in known]
    if config.relays or named:
        taken = {relay.name for relay in config.relays}
        new = _controlled(map(discovery.discover, _named(config, added, taken)), passwords)
        left = [path for path in config.unmanaged if os.path.realpath(path) not in map(str, added)]
        if not config.relays:
            left += _others(named)
        return Chosen((*config.relays, *new), tuple(dict.fromkeys(left)))
    return _all_exits(config, passwords)


def _named(config: Config, torrcs: Sequence[Path], taken: set[str]) -> Iterable[Relay]:
    for path in torrcs:
        usual, count = usual_name(path), 2
        name = usual
        while name in taken:
            name, count = f"{usual}-{count}", count + 1
        taken.add(name)
        yield _relay(config, name, path)


def _all_exits(config: Config, passwords: Path) -> Chosen:
    read = [discovery.discover(_relay(config, name, path)) for name, path in layout.candidates()]
    found = [each for each in read if each.is_relay]
    if not found:
        raise InvalidFileError(
            "there is no relay on this host: neither /etc/tor/torrc nor a torrc in"
            " /etc/tor/instances opens an ORPort",
            hint="for a torrc elsewhere: exitpol init --torrc PATH",
        )
    exits = [each for each in found if each.is_exit]
    others = [each.relay for each in found if not each.is_exit]
    if not exits:
        raise _no_exit(found[0])
    remarks = [
        AttentionError(
            f"{relay.torrc} is left alone: the relay is no exit",
            hint=f"if it becomes one: exitpol init --torrc {word(relay.torrc)}",
        )
        for relay in others
    ]
    unmanaged = tuple(relay.torrc for relay in others)
    return Chosen(_controlled(exits, passwords), unmanaged, tuple(remarks))


def _no_exit(found: Discovered) -> RefusedError:
    if found.own.bridge:
        return refusals.bridge(found.relay)
    if found.own.exit_relay is None:
        return refusals.no_exit(found.relay)
    return RefusedError(
        f"no relay of this host is an exit: {found.relay.torrc} has ExitRelay 0",
        hint=f"to set it up nevertheless: exitpol init --torrc {word(found.relay.torrc)}",
    )


def _relay(config: Config, name: str, torrc: Path) -> Relay:
    relay = Relay(name, torrc, "")
    try:
        own = relay._replace(fragment=config.fragment_of(name))
    except UsageError as error:
        example = entry(relay._replace(name="exit1", control=usual_control(torrc)))
        raise UsageError(
            f"{torrc}: {error}", hint=f"give it a name in the config, under relays:\n- {example}"
        ) from error
    return own if config.former is None else with_included(own, config.former)


def _others(named: Sequence[Path]) -> list[Path]:
    """Return the relays at the usual places that are not among the named ones."""
    return [relay.torrc for relay in layout.new_relays(named)]


def _controlled(found: Iterable[Discovered], passwords: Path) -> tuple[Relay, ...]:
    """Return the relays with their control ports. Raises InvalidFileError, about all that lack one.

    That one error names everything that has to be written.
    """
    relays: list[Relay] = []
    closed: list[Discovered] = []
    problems: list[InvalidFileError] = []
    for each in found:
        control = each.control
        if control is None:
            closed.append(each)
            problems.append(_no_control(each))
            continue
        relay = each.relay._replace(control=control.address)
        if control.needs_password:
            relay = relay._replace(password_file=passwords / f"{relay.name}.password")
            if not os.path.lexists(passwords / f"{relay.name}.password"):
                problems.append(_no_password(relay))
                continue
        relays.append(relay)
    if problems:
        hints = "\n".join(f"{error.hint}" for error in problems)
        message = "; ".join(map(str, problems))
        if len(closed) == len(problems):
            raise NoControlPortError(message, closed, hint=hints)
        raise InvalidFileError(message, hint=hints)
    return tuple(relays)


def _no_control(found: Discovered) -> InvalidFileError:
    """Return the error for a torrc that opens no control port, with the lines to write."""
    return InvalidFileError(
        f"{found.relay.torrc} opens no control port; exitpol needs one to reload Tor",
        hint=f"{control_lines.how_to_open(found)}\n{_without_control(found.relay)}",
    )


def _without_control(relay: Relay) -> str:
    """Return how to set up a relay that is to have no control port."""
    without = relay._replace(control=NO_CONTROL, reload=Unit(f"{usual_unit(relay.torrc)}.service"))
    return (
        "or do without: nothing then shows what Tor enforces, and blocks are at best unverified;"
        f" write into the config, under relays:\n- {entry(without)}"
    )


def _no_password(relay: Relay) -> InvalidFileError:
    return InvalidFileError(
        f"{relay.torrc}: Tor asks for a password at {relay.control}, and there is no"
        f" {relay.password_file}",
        hint=f"write the password into {relay.password_file} (chmod 600) and type exitpol init"
        f" again; or write CookieAuthentication 1 into {relay.torrc} and restart Tor",
    )
