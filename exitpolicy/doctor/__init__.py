"""Health checks: whether this host can enforce every block and lift it on time.

The checks read everything and change nothing. A fault never raises: it is a finding that says how
to fix it.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from exitpolicy.core.errors import ExitpolError
from exitpolicy.doctor import following, health, own_files, relay, timer
from exitpolicy.doctor import host as host_checks
from exitpolicy.doctor.finding import Finding, attempt, failed, ok
from exitpolicy.operations.desired import desired, with_due
from exitpolicy.operations.host import Host
from exitpolicy.operations.parallel import in_parallel
from exitpolicy.operations.query import due_now
from exitpolicy.storage import config as config_file
from exitpolicy.storage import observed
from exitpolicy.storage.config import Relay
from exitpolicy.storage.ledger_file import Ledger


def run(config: Path | None, *, who: str, clock: Callable[[], datetime]) -> list[Finding]:
    """Check the set-up that a config describes (None: the default config)."""
    if config is None and os.geteuid() != 0:
        # What the usual files are like cannot be told without the right to read them.
        return attempt("rights", host_checks.too_few_rights)
    found = attempt("rights", host_checks.rights)
    found += attempt("program", host_checks.program)
    found += attempt("clock", lambda: host_checks.clock(clock()))
    found += attempt("tor program", host_checks.tor_program)
    try:
        host = Host.of(config_file.load(config), who=who, clock=clock)
    except ExitpolError as error:
        why = "all other checks need the config and were left out"
        return [*found, failed("config", error, why=why)]
    try:
        host.set_up()
    except ExitpolError as error:
        why = "nothing is blocked; the checks of an installation were left out"
        found.append(failed("set-up", error, why=why))
        first = in_parallel(lambda each: relay.before_set_up(host, each), host.relays)
        return [*found, *(finding for findings in first for finding in findings)]
    ledger = _ledger(host)
    found += attempt("clock", lambda: host_checks.steady_clock(host))
    found += attempt("config", lambda: own_files.config(host))
    found += attempt("ledger", lambda: own_files.ledger(host))
    if host.keeps_ledger_only:
        text = "none of the fleet runs here: nothing of the ledger is enforced on this host"
        return [*found, ok("relays", text)]
    found += attempt("fragment", lambda: own_files.fragment_files(host, ledger))
    found += attempt("timer", lambda: timer.installed(host))
    if os.geteuid() == 0:
        found += attempt("unit", lambda: timer.unit(host))
        found += attempt("follow unit", lambda: following.unit(host))
    found += health.of_host(host)
    try:
        relays = host.some_relays()
    except ExitpolError as error:
        return [*found, failed("relays", error, why="exitpol has no Tor to block anything on")]

    def check(each: Relay) -> list[Finding]:
        sharing = [other for other in relays if other.fragment == each.fragment]
        target = None if ledger is None else desired(ledger, host.time(), sharing)
        return relay.run(host, each, target)

    return [*found, *(finding for findings in in_parallel(check, relays) for finding in findings)]


def _ledger(host: Host) -> Ledger | None:
    """Return the ledger as the relays should enforce it until the next tick.

    None if it is invalid, which is a finding of its own, and while changes wait for a batch.
    """
    if observed.is_waiting(host.state_path):
        return None
    try:
        ledger = host.ledger()
        ledger = with_due(ledger, due_now(host, ledger))
        return replace(ledger, blocks=host.here(ledger.blocks))
    except ExitpolError:
        return None
