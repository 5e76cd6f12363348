"""Inspect one relay: what it runs, what it enforces, and what its files say."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from exitpolicy.core.errors import (
    ExitpolError,
    InvalidFileError,
    TorRefusesError,
    TorUnreachableError,
)
from exitpolicy.policy.options import OPTION_NAMES, ExitOptions
from exitpolicy.policy.reconcile import Configured, Running, View
from exitpolicy.policy.rule import Entry, torrc_values
from exitpolicy.storage.config import Relay
from exitpolicy.tor import discovery, restart, verify
from exitpolicy.tor import torrc as torrc_file
from exitpolicy.tor.control import Control, connect
from exitpolicy.tor.running import info, running_of

_QUOTED: Final = re.compile(r"'([^']*)'")


class CandidateError(TorRefusesError):
    """Tor does not take the candidate, though it takes what is installed."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A fragment that is to be read in place of the one that stands at `fragment`."""

    fragment: Path
    content: Path | str
    """Where it is staged, or the text itself."""
    rules: tuple[Entry, ...]


def inspect_relay(relay: Relay, candidate: Candidate) -> View:
    """Look at a relay, and let its own Tor read its files with the candidate.

    Nothing is changed. What is wrong with the relay is said in the view; only what is wrong with
    the candidate raises CandidateError.
    """
    running: Running | None = None
    unreachable: ExitpolError | None = None
    invocation: verify.Invocation | None = None
    started: restart.Started | None = None
    try:
        with connect(relay) as control:
            running = running_of(control)
            invocation = verify.of_process(running.pid)
            if invocation is not None:
                started = _started(control, running.pid)
    except (TorUnreachableError, InvalidFileError) as error:
        unreachable = error
    configured: Configured | None = None
    broken: ExitpolError | None = None
    must_restart: ExitpolError | None = None
    try:
        if invocation is None:
            invocation = verify.of_host(discovery.defaults_torrc(relay))
        torrc = _torrc_of(relay, running)
        include = _include(torrc, invocation, candidate)
        own = _own_options(torrc, invocation, candidate)
        options = verify.with_defaults(invocation, own, {*OPTION_NAMES, "Sandbox"})
        configured = Configured(ExitOptions.read(options), candidate.rules)
        if running is not None and started is not None:
            must_restart = restart.needed(
                relay.name,
                started,
                files=own,
                sandboxed=options.get("Sandbox") == ["1"],
                include=include,
                own=candidate.fragment,
                running=running.options,
            )
    except CandidateError:
        raise
    except (TorRefusesError, InvalidFileError) as error:
        broken = error
    return View(relay.name, running, configured, unreachable, broken, must_restart)


def _started(control: Control, pid: int) -> restart.Started:
    return restart.started(
        pid,
        can_save=info(control, "config-can-saveconf"),
        config_text=info(control, "config-text"),
    )


def _torrc_of(relay: Relay, running: Running | None) -> Path:
    if running is not None and running.torrc:
        told = Path(running.torrc)
        if os.path.realpath(told) != os.path.realpath(relay.torrc):
            raise InvalidFileError(
                f"the Tor at {relay.control} reads {told}, not {relay.torrc}",
                hint=f"correct the relay {relay.name!r} in the config",
            )
    return relay.torrc


def _include(torrc: Path, invocation: verify.Invocation, candidate: Candidate) -> Path:
    """Return the file that includes the fragment. Raises InvalidFileError."""
    place = torrc_file.include_place(torrc, candidate.fragment, invocation.folder)
    if place is None:
        raise InvalidFileError(
            f"{torrc} does not include {candidate.fragment}", hint=f"exitpol init --torrc {torrc}"
        )
    return place.file


def _own_options(
    torrc: Path, invocation: verify.Invocation, candidate: Candidate
) -> Mapping[str, Sequence[str]]:
    """Return what the files with the candidate say against the defaults-torrc, once verified."""
    text = torrc_file.redirected(torrc, candidate.fragment, candidate.content, invocation.folder)
    _verify(torrc, invocation, text, candidate)
    return verify.own_options(invocation, text, {*OPTION_NAMES, *restart.FIXED_OPTIONS})


def _verify(torrc: Path, invocation: verify.Invocation, text: str, candidate: Candidate) -> None:
    """Let tor verify a candidate; blame it only for what is not wrong without it."""
    try:
        warnings = verify.verify(invocation, text)
    except TorRefusesError as error:
        try:
            verify.verify(invocation, torrc_file.read_text(torrc))
        except TorRefusesError as without_us:
            raise TorRefusesError(
                f"{torrc}: {without_us}",
                hint="mend it: this Tor is not reloaded before, for it would exit",
            ) from None
        raise CandidateError(str(error)) from None
    ours = {value.partition(" ")[2] for value in torrc_values(candidate.rules)}
    for warning in warnings:
        # Tor warns, and goes on without the rule, where it should refuse.
        if ours.intersection(_QUOTED.findall(warning)):
            raise CandidateError(f"Tor warns of a rule of ours: {warning}")
