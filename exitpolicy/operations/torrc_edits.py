"""The change that `init` makes in a relay's torrc: a new include, or another path in a former one.

A former path stays where changing it would end Tor, or would not last.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from exitpolicy.core.errors import (
    AttentionError,
    InvalidFileError,
    RefusedError,
    TorUnreachableError,
    UsageError,
)
from exitpolicy.operations import refusals
from exitpolicy.storage.config import Relay, usual_unit
from exitpolicy.tor import discovery, fragment_include, inspect, managed, sockets, torrc
from exitpolicy.tor import invocation as invocations
from exitpolicy.tor.control import NotAnsweredError, connect
from exitpolicy.tor.discovery import Discovered


@dataclass(frozen=True, slots=True)
class TorrcEdit:
    """What `init` does to the torrc of a relay."""

    relay: Relay
    """With the fragment that it includes afterwards."""
    own: Path
    """The fragment of its own, whether it includes that or not."""
    old: str
    new: str
    """The text of the torrc before and after; the same if nothing is changed."""
    former: Path | None = None
    """The former single fragment, if `new` no longer includes it."""
    restart: RefusedError | None = None
    """Why Tor has to be restarted after the change."""
    unread: bool = False
    """Whether Tor has to be restarted for a former change of `init`."""
    remarks: tuple[AttentionError, ...] = ()
    """Why the former path stays, and what will overwrite the change."""

    @property
    def changes(self) -> bool:
        """Whether the torrc is changed."""
        return self.new != self.old


def plan_edit(relay: Relay, own: Path, former: Path) -> TorrcEdit:
    """Plan the edit of a relay; its present fragment is `own` or, as its torrc says, `former`.

    Raises RefusedError for a relay that is no exit or has its exit policy in the defaults-torrc,
    TorRefusesError and InvalidFileError.
    """
    found = discovery.discover(relay)
    discovery.let_verify(found)
    if found.own.bridge:
        raise refusals.bridge(relay)
    if not found.own.exits and found.own.exit_relay is None:
        raise refusals.no_exit(relay)
    old = torrc.read_text(relay.torrc)
    remarks = _overwritten(relay, own)
    if fragment_include.include_place(relay.torrc, relay.fragment) is None:
        if any(character in str(own) for character in '"\\#*?[ \t\n'):
            raise UsageError(f"{own} is not allowed in a torrc", hint="choose a plain name")
        hidden = inspect.hidden_from_tor(relay, own)
        if hidden is not None:
            raise hidden
        policy = inspect.defaults_policy(found.invocation, relay.torrc, relay.fragment)
        if policy and found.own.exits:
            raise refusals.policy_in_defaults(relay, policy, "and type exitpol init again")
        new = fragment_include.with_include(relay.torrc, own)
        restart = _restart(relay) if _runs_sandboxed(relay, found) else None
        return TorrcEdit(relay, own, old, new, restart=restart, remarks=remarks)
    if relay.fragment == own:
        return TorrcEdit(relay, own, old, old, unread=_is_unread(relay), remarks=remarks)
    moved = fragment_include.with_other_include(relay.torrc, former, own)
    stays = _why_it_stays(relay, own, found, moved)
    if moved is None or stays is not None:
        return TorrcEdit(relay, own, old, old, remarks=(stays,) if stays else ())
    return TorrcEdit(relay._replace(fragment=own), own, old, moved, former=former)


def may_run(relay: Relay) -> bool:
    """Tell whether the Tor of a relay runs, or may run where exitpol cannot see it."""
    return sockets.answers(relay) or (
        Path(os.path.realpath(relay.torrc)) in invocations.running_torrcs()
    )


def _why_it_stays(
    relay: Relay, own: Path, found: Discovered, moved: str | None
) -> AttentionError | None:
    """Return why the torrc of a relay goes on including the former fragment; None if not."""
    message = f"the relay {relay.name!r} goes on including {relay.fragment}"
    if managed.is_claimed(relay.torrc):
        return AttentionError(
            f"{message}: a configuration tool writes {relay.torrc}",
            hint=managed.how_to_include(relay.torrc, own),
        )
    if moved is None:
        place = fragment_include.include_place(relay.torrc, relay.fragment)
        return AttentionError(
            f"{message}: the include at {place} is not one line of {relay.torrc} with that path",
            hint=f"write %include {own} there instead, and type exitpol init",
        )
    if _runs_sandboxed(relay, found):
        unit = usual_unit(relay.torrc)
        return AttentionError(
            f"{message}: Tor runs with Sandbox 1, and exits at a reload that finds another file",
            hint="when you restart it anyway:"
            f" systemctl stop {unit}; exitpol init; systemctl start {unit}",
        )
    return None


def _overwritten(relay: Relay, own: Path) -> tuple[AttentionError, ...]:
    """Return a warning of a tool that writes the torrc of a relay."""
    try:
        comment = managed.claim(relay.torrc)
    except InvalidFileError:
        return ()
    if comment is None or managed.includes_by_variables(relay.torrc, own):
        return ()
    return (
        AttentionError(
            f"{relay.torrc} says: {comment}; what overwrites it removes the include, and with it"
            " all blocks",
            hint=managed.how_to_include(relay.torrc, own),
        ),
    )


def _runs_sandboxed(relay: Relay, found: Discovered) -> bool:
    """Tell whether Tor runs with Sandbox 1 now; its files decide where it cannot be asked."""
    try:
        with connect(relay) as control:
            return control.get_conf(["Sandbox"])["Sandbox"] == ("1",)
    except (TorUnreachableError, InvalidFileError, NotAnsweredError):
        return found.sandboxed and may_run(relay)


def _is_unread(relay: Relay) -> bool:
    """Tell whether Tor runs with Sandbox 1 and has read no include since its start."""
    try:
        with connect(relay) as control:
            if control.get_conf(["Sandbox"])["Sandbox"] != ("1",):
                return False
            return control.get_info(inspect.CAN_SAVE) == "1"
    except (TorUnreachableError, InvalidFileError, NotAnsweredError):
        return False


def _restart(relay: Relay) -> RefusedError:
    return RefusedError(
        f"Tor ({relay.name}) runs with Sandbox 1: once its torrc includes a new file it exits at"
        " its next reload, also that of logrotate; it has to be restarted right after init",
        hint=f"exitpol init --yes && systemctl restart {usual_unit(relay.torrc)}",
    )
