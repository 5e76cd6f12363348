"""A look at one relay: what it runs, what it enforces, and what its files would make of it."""

import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from exitpolicy.core.addresses import read_endpoint
from exitpolicy.core.errors import (
    ExitpolError,
    InvalidFileError,
    TorRefusesError,
    TorUnreachableError,
)
from exitpolicy.policy.options import OPTION_NAMES, ExitOptions
from exitpolicy.policy.reconcile import Configured, Running, View
from exitpolicy.policy.rule import (
    Entry,
    Rule,
    RuleError,
    parse_descriptor,
    parse_policy,
    torrc_values,
)
from exitpolicy.storage import base_policies
from exitpolicy.storage.config import Relay
from exitpolicy.tor import discovery, restart, verify
from exitpolicy.tor import torrc as torrc_file
from exitpolicy.tor.control import ANSWER_SECONDS, Control, NotAnsweredError, connect
from exitpolicy.tor.streams import Address

SETTLE_SECONDS: Final = 75.0
"""How long a reloaded Tor is waited for until it enforces what it read."""

_POLL_SECONDS: Final = 0.03


_REDUCED_OF: Final = "0.4.9."
"""The versions of Tor whose ReducedExitPolicy is our base policy `reduced`."""
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


def at(relay: Relay, candidate: Candidate) -> View:
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
            running = _running(control)
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


def reload(relay: Relay, view: View, *, settle_seconds: float | None) -> View:
    """Reload a relay and look until it enforces what its files say, at most so long.

    `settle_seconds` None does not wait. Raises TorRefusesError if Tor has ended, and
    TorUnreachableError if it does not answer.
    """
    with connect(relay) as control:
        control.reload(verify.SECONDS)
        return _settled(control, view, settle_seconds or 0)


def settle(relay: Relay, view: View, *, seconds: float) -> View:
    """Look at a relay until it enforces what its files say, at most so long.

    Raises TorUnreachableError if it does not answer.
    """
    with connect(relay) as control:
        return _settled(control, view, seconds)


def _settled(control: Control, view: View, seconds: float) -> View:
    control.within(seconds + ANSWER_SECONDS)
    deadline = time.monotonic() + seconds
    running = _running(control)
    view = replace(view, running=running)
    while not view.in_sync and time.monotonic() < deadline:
        running = _changed(control, running, deadline)
        view = replace(view, running=running)
    return view


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a relay is."""

    nickname: str | None
    fingerprint: str | None
    address: str | None


def identity(relay: Relay) -> Identity | None:
    """Return who a running relay says it is; None if it cannot be reached."""
    try:
        with connect(relay) as control:
            nickname = control.get_conf(["Nickname"])["Nickname"]
            return Identity(
                nickname[0] if nickname else None,
                _info(control, "fingerprint") or None,
                _info(control, "address") or None,
            )
    except (TorUnreachableError, InvalidFileError, NotAnsweredError):
        return None


def own_addresses(relay: Relay) -> tuple[str, ...]:
    """Return the addresses that a running relay says are its own; empty if it says nothing."""
    try:
        with connect(relay) as control:
            found = [_info(control, "address"), _info(control, "address/v6")]
    except (TorUnreachableError, InvalidFileError):
        return ()
    return tuple(address for address in found if address)


def methods(relay: Relay) -> tuple[str, ...]:
    """Return how the relay's control port lets in. Raises TorUnreachableError."""
    with connect(relay) as control:
        try:
            return control.methods()
        except NotAnsweredError:
            return ()


def relay_addresses(relays: Iterable[Relay]) -> frozenset[Address]:
    """Return the addresses and ORPorts of all relays that the Tors of this host know of.

    Raises TorUnreachableError.
    """
    found: set[Address] = set()
    for relay in relays:
        with connect(relay) as control:
            for line in _info(control, "ns/all").splitlines():
                words = line.split()
                # dir-spec 3.4.1: `r nick id [digest] date time IP ORPort DirPort`, `a [IPv6]:port`.
                if words[:1] == ["r"] and len(words) >= 8:
                    text = ":".join(words[-3:-1])
                elif words[:1] == ["a"] and len(words) == 2:
                    text = words[1]
                else:
                    continue
                address = read_endpoint(text)
                if address is not None:
                    found.add(address)
    return frozenset(found)


def _changed(control: Control, running: Running, deadline: float) -> Running:
    """Return what Tor runs as soon as its policy is not the one in `running`."""
    before = running.enforced
    while time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
        enforced, problem = _enforced(control)
        if enforced != before:
            # The rules against which Tor's are compared depend on its addresses, which it may
            # only now know: ask for them again.
            return replace(running, enforced=enforced, problem=problem, local=_local(control))
    return running


def _running(control: Control) -> Running:
    names = (*OPTION_NAMES, "DisableNetwork", "__ReloadTorrcOnSIGHUP")
    values = control.get_conf(names)
    enforced, problem = _enforced(control)
    return Running(
        version=_info(control, "version"),
        torrc=_info(control, "config-file"),
        options=ExitOptions.read(values),
        enforced=enforced,
        problem=problem,
        default=_default(control),
        reduced=_reduced(_info(control, "version")),
        local=_local(control),
        descriptor=_info(control, "dir/server/authority").encode("utf-8", "surrogateescape")
        or None,
        network_disabled=values["DisableNetwork"] == ("1",),
        reload_ignored=values["__ReloadTorrcOnSIGHUP"] == ("0",),
        pid=_pid(control),
    )


def _enforced(control: Control) -> tuple[tuple[Rule, ...] | None, str | None]:
    try:
        text = control.get_info("exit-policy/full")
    except NotAnsweredError as error:
        return None, str(error)
    try:
        return parse_descriptor(text), None
    except RuleError as error:
        return None, f"its policy is not understood: {error}"


def _reduced(version: str) -> tuple[Rule, ...]:
    """Return the reduced policy of a version of Tor; empty if it may be another than ours."""
    if not version.startswith(_REDUCED_OF):
        return ()
    return base_policies.load("reduced").rules


def _default(control: Control) -> tuple[Rule, ...]:
    try:
        return parse_policy([_info(control, "exit-policy/default")])
    except RuleError:
        return ()


def _local(control: Control) -> tuple[Rule, ...]:
    try:
        return parse_descriptor(_info(control, "exit-policy/reject-private/relay"))
    except RuleError:
        return ()


def _info(control: Control, key: str) -> str:
    try:
        return control.get_info(key)
    except NotAnsweredError:
        return ""


def _pid(control: Control) -> int:
    pid = _info(control, "process/pid")
    return int(pid) if pid.isascii() and pid.isdigit() else 0


def _started(control: Control, pid: int) -> restart.Started:
    return restart.started(
        pid,
        can_save=_info(control, "config-can-saveconf"),
        config_text=_info(control, "config-text"),
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
