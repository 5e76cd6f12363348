"""What a tick leaves for others: the file of metrics, and the record of the health.

The tick reports faults when they change, and not every minute: cron mails what it prints. Two ticks
may run at once, as under cron after a long one: each writes its files under a lock.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from exitpolicy.cli import metrics
from exitpolicy.cli.render import Report
from exitpolicy.core.errors import ExitpolError
from exitpolicy.doctor import health as health_checks
from exitpolicy.doctor.fault import Fault
from exitpolicy.doctor.finding import warn
from exitpolicy.doctor.health import Health
from exitpolicy.operations import hooks
from exitpolicy.operations.apply import Applied
from exitpolicy.operations.host import Host
from exitpolicy.storage import health_record, metrics_file, observed
from exitpolicy.storage.health_record import HealthRecord
from exitpolicy.storage.locks import lock, report_lock_path

_SECONDS: Final = 10.0
"""How long to wait for another exitpol that writes the same files."""


def write_metrics_to(path: Path, host: Host, applied: Applied, health: Health) -> None:
    """Replace a file by the metrics. Raises InvalidFileError, LockTimeoutError."""
    text = metrics.of_host(host, applied, health)
    with _locked(host):
        metrics_file.write(path, text)


def write_metrics(host: Host, applied: Applied, health: Health) -> Health:
    """Write the file of metrics, if the config names one; return the health with its failure."""
    path = host.config.metrics
    if path is None:
        return health
    try:
        write_metrics_to(path, host, applied, health)
    except ExitpolError as error:
        return health.adding(
            warn(
                "metrics",
                str(error),
                why="Prometheus sees no change of this host",
                fix=error.hint or "exitpol init --timer",
                cause=Fault.METRICS_NOT_WRITTEN,
            )
        )
    observed_at, now = applied.time.now.timestamp(), host.clock().timestamp()
    metrics_file.mark_shown(path, host.state_path, observed_at, now)
    return health


def record(host: Host, applied: Applied, health: Health) -> Report:
    """Record the health after a tick; return which of its faults are to be reported."""
    faults = health_checks.faults(applied, health.findings)
    unwell = [view.name for view in applied.views if not view.settled]
    places = [*unwell, *(finding.check for finding in health.findings)]
    messages = [*map(str, applied.problems), *(f"{f.check}: {f.observed}" for f in health.findings)]
    found = _record(host, faults, messages, places=places)
    if not _is_news(host, found):
        return Report.KNOWN
    return Report.NEW if faults else Report.WELL_AGAIN


def record_failure(host: Host, error: ExitpolError) -> bool:
    """Record a tick that failed; tell whether that is news."""
    last = observed.load(host.state_path)
    faults = {Fault.TICK_FAILED, health_checks.of_error(error)}
    found = _record(host, faults, [str(error)], after=None if last is None else last.applied)
    return _is_news(host, found)


def _record(
    host: Host,
    faults: Iterable[Fault],
    messages: Iterable[str],
    *,
    places: Iterable[str] = (),
    after: float | None = None,
) -> HealthRecord:
    names = frozenset(map(str, faults))
    return HealthRecord(host.clock(), names, frozenset(places), tuple(messages), after)


def _is_news(host: Host, found: HealthRecord) -> bool:
    """Record the health; tell whether it has changed. What cannot be recorded is reported."""
    try:
        with _locked(host):
            is_news = health_record.update(host.health_path, found)
            if is_news:
                hooks.health_changed(host, found)
            return is_news
    except ExitpolError:
        return bool(found.faults)


def _locked(host: Host) -> AbstractContextManager[None]:
    path = report_lock_path(host.config.ledger)
    return lock(path, seconds=_SECONDS, doing="writing its report")
