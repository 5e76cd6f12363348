"""Hosts whose relays exitpol reloads without a control port."""

import time

from tests.harness.host import ExitHost
from tests.harness.tor import Tor


def without_control(host: ExitHost, reload: str | None = None, relay: Tor | None = None) -> None:
    """Let exitpol know no control port of the first relay; the test itself still asks Tor.

    `relay` is another one.
    """
    tor = relay or host.tor
    old = f'control: "{tor.control_socket}"'
    text = host.config.read_text()
    assert old in text
    way = reload or f"pid:{tor.folder / 'pid'}"
    host.config.write_text(text.replace(old, f'control: none, reload: "{way}"'))


def start(host: ExitHost) -> None:
    """Start the Tors of a host a moment after their files were written, as on a real host.

    Of a file that is changed within 20 ms of the start, exitpol cannot tell which was first.
    """
    time.sleep(0.05)
    for tor in host.relays:
        if not tor.alive:
            tor.start()
