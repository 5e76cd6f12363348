"""The check that the config still names all relays of this host.

It reads the folders and the text of torrcs, and runs no tor.
"""

import os
from collections.abc import Iterator

from exitpolicy.core.errors import ExitCode
from exitpolicy.core.shell import word
from exitpolicy.doctor.fault import Fault
from exitpolicy.doctor.finding import Finding, fail, ok, warn
from exitpolicy.operations.host import Host
from exitpolicy.storage.config import DEFAULT_PATH
from exitpolicy.tor import layout


def check(host: Host) -> Iterator[Finding]:
    """Report relays that appeared since `init`, and those whose torrc is gone."""
    if not host.config.relays:
        yield ok("relays", "the config names none: those at the usual places are used")
        return
    path = host.config.source or DEFAULT_PATH
    known = [*(relay.torrc for relay in host.relays), *host.config.unmanaged]
    new = layout.new_relays(known)
    for relay in new:
        yield warn(
            "relays",
            f"{relay.torrc} opens an ORPort, and {path} does not name this relay",
            why="exitpol blocks nothing on it",
            fix=f"exitpol init --torrc {word(relay.torrc)}; or, to leave it alone, add"
            f" {relay.torrc} to unmanaged: [] in {path}",
            cause=Fault.RELAY_APPEARED,
        )
    gone = [relay for relay in host.relays if not os.path.lexists(relay.torrc)]
    for relay in gone:
        yield fail(
            "relays",
            f"the torrc of the relay {relay.name!r} is gone: {relay.torrc}",
            why="its blocks are not enforced once its Tor starts again",
            fix=f"restore it; or, if the relay is gone, remove its entry from {path}",
            code=ExitCode.INVALID_FILE,
            cause=Fault.RELAY_DISAPPEARED,
        )
    if not new and not gone:
        yield ok("relays", f"{len(host.relays)} in {path}, and no other at the usual places")
