"""Is this host set up so that promises are kept? Looks at everything and changes nothing.

Never raises for what it finds: each fault is a finding, with what mends it.
"""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from exitpolicy.core.errors import ExitpolError
from exitpolicy.doctor import own_files, relay, surroundings
from exitpolicy.doctor.finding import Finding, attempt, failed
from exitpolicy.operations.desired import Desired, desired
from exitpolicy.operations.host import Host
from exitpolicy.operations.parallel import in_parallel
from exitpolicy.storage import config as config_file
from exitpolicy.storage.config import Relay


def examine(config: Path | None, *, who: str, clock: Callable[[], datetime]) -> list[Finding]:
    """Go through the set-up that a config describes (None: the usual one)."""
    found = attempt("rights", surroundings.rights)
    found += attempt("clock", lambda: surroundings.clock(clock()))
    found += attempt("tor program", surroundings.tor_program)
    try:
        host = Host.of(config_file.load(config), who=who, clock=clock)
    except ExitpolError as error:
        why = "without it nothing else is known: what follows from it was not looked at"
        return [*found, failed("config", error, why=why)]
    want = _desired(host)
    found += attempt("clock", lambda: surroundings.steady_clock(host))
    found += attempt("config", lambda: own_files.config(host))
    found += attempt("ledger", lambda: own_files.ledger(host))
    found += attempt("fragment", lambda: own_files.fragment_file(host, want))
    found += attempt("timer", lambda: surroundings.timer(host))
    found += attempt("last look", lambda: surroundings.last_look(host))
    try:
        relays = host.some_relays()
    except ExitpolError as error:
        return [*found, failed("relays", error, why="there is nothing to block anything on")]

    def one(each: Relay) -> list[Finding]:
        return relay.examine(host, each, want)

    return [*found, *(finding for findings in in_parallel(one, relays) for finding in findings)]


def _desired(host: Host) -> Desired | None:
    """Return what the ledger wants; None where it says nothing, which is a finding elsewhere."""
    try:
        return desired(host.ledger(), host.time())
    except ExitpolError:
        return None
