"""Reload one relay, and wait until it enforces what it has read."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Final

from exitpolicy.core.errors import AttentionError
from exitpolicy.policy.reconcile import Running, Unobserved, View
from exitpolicy.storage import observed
from exitpolicy.storage.config import Relay
from exitpolicy.tor import daemon, last_read, verify
from exitpolicy.tor.answer_time import answer_seconds
from exitpolicy.tor.connections import Connections
from exitpolicy.tor.control import Control
from exitpolicy.tor.running import after_reload, changed, running_of

SETTLE_SECONDS: Final = 75.0
"""Seconds within which a reloaded Tor must enforce what it has read."""

UNCERTAIN_SECONDS: Final = 3.0
"""Seconds to wait for a new policy where exitpol cannot tell the new from the former one."""

_LEAST_PAUSE: Final = 0.01
_LONGEST_PAUSE: Final = 0.5
"""Seconds between two questions for the policy."""


def reload_relay(
    relay: Relay,
    view: View,
    *,
    settle_seconds: float | None,
    connections: Connections | None = None,
) -> View:
    """Reload a relay; wait at most `settle_seconds` until it enforces what its files say.

    `None` does not wait. A Tor without a control port only has to go on running for a moment.
    Raises TorRefusesError if Tor has ended, TorUnreachableError if it does not answer, and
    AttentionError if its files were changed just now.
    """
    if view.unobserved is not None:
        return _signalled(relay, view, view.unobserved)
    with (connections or Connections()).connect(relay) as control:
        if settle_seconds:
            control.watch_descriptor()
        if relay.reload is None:
            control.reload(verify.SECONDS)
        else:
            daemon.reload(relay)
        if settle_seconds and view.configured is not None and view.configured.options.unknown:
            control.within(UNCERTAIN_SECONDS + answer_seconds(relay))
            _changed(control, _running(control, view), time.monotonic() + UNCERTAIN_SECONDS)
        return _settled(control, relay, view, settle_seconds or 0)


def _signalled(relay: Relay, view: View, tor: Unobserved) -> View:
    """Reload a Tor without a control port, unless its files were changed since they were verified.

    Raises AttentionError, TorRefusesError, TorUnreachableError.
    """
    if observed.fingerprints(map(Path, view.sources)) != view.sources:
        raise AttentionError(
            f"Tor ({relay.name}) is not reloaded: its files were changed just now",
            hint="exitpol apply",
        )
    configured = view.configured
    # The fragment was installed after they were verified.
    files = tor.files._replace(versions=last_read.versions(map(Path, tor.paths)))
    daemon.reload(relay, 0 if configured is None else len(configured.options.exit_policy))
    if last_read.versions(map(Path, tor.paths)) != files.versions:
        # What it has read is not known.
        return view
    return replace(view, unobserved=replace(tor, files=files, last=files), foreign=())


def wait_settled(
    relay: Relay, view: View, *, seconds: float, connections: Connections | None = None
) -> View:
    """Wait at most `seconds` until a relay enforces what its files say.

    Raises TorUnreachableError if it does not answer.
    """
    with (connections or Connections()).connect(relay) as control:
        control.watch_descriptor()
        return _settled(control, relay, view, seconds)


def _settled(control: Control, relay: Relay, view: View, seconds: float) -> View:
    control.within(seconds + answer_seconds(relay))
    deadline = time.monotonic() + seconds
    running = _running(control, view)
    view = replace(view, running=running)
    while not view.in_sync and not running.hibernates and time.monotonic() < deadline:
        running = _changed(control, running, deadline)
        view = replace(view, running=running)
    return view


def _running(control: Control, view: View) -> Running:
    return running_of(control) if view.running is None else after_reload(control, view.running)


def _changed(control: Control, running: Running, deadline: float) -> Running:
    """Return what Tor runs once its policy differs from that in `running`, or at the deadline.

    Tor says when its descriptor has changed. In case it does not, it is asked as well: seldom,
    because 50 relays with long policies would be asked for nothing while they compute new ones.
    """
    now = running
    while now.enforced == running.enforced and not now.hibernates and time.monotonic() < deadline:
        # A peer that talks all the time does not shorten this.
        time.sleep(_LEAST_PAUSE)
        control.wait_for_descriptor(_LONGEST_PAUSE)
        now = changed(control, running)
    return now
