"""What a tick leaves for others: the file of metrics, and the record of the health.

The tick reports faults when they change, and not every minute: cron mails what it prints.
"""

from collections.abc import Iterable

from exitpolicy.cli import metrics
from exitpolicy.cli.render import Report
from exitpolicy.core.errors import ExitpolError, InvalidFileError
from exitpolicy.doctor import health as health_checks
from exitpolicy.doctor.fault import Fault
from exitpolicy.doctor.finding import warn
from exitpolicy.doctor.health import Health
from exitpolicy.operations.apply import Applied
from exitpolicy.operations.host import Host
from exitpolicy.storage import health_record, metrics_file
from exitpolicy.storage.health_record import HealthRecord


def write_metrics(host: Host, applied: Applied, health: Health) -> Health:
    """Write the file of metrics, if the config names one; return the health with its failure."""
    path = host.config.metrics
    if path is None:
        return health
    try:
        metrics_file.write(path, metrics.of_host(host, applied, health))
    except InvalidFileError as error:
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
    unwell = [view.name for view in applied.views if view.running is None or not view.in_sync]
    places = [*unwell, *(finding.check for finding in health.findings)]
    messages = [*map(str, applied.problems), *(f"{f.check}: {f.observed}" for f in health.findings)]
    if not _is_news(host, faults, places, messages):
        return Report.KNOWN
    return Report.NEW if faults else Report.WELL_AGAIN


def record_failure(host: Host, error: ExitpolError) -> bool:
    """Record a tick that failed; tell whether that is news."""
    return _is_news(host, {Fault.TICK_FAILED, health_checks.of_error(error)}, [], [str(error)])


def _is_news(
    host: Host, faults: Iterable[Fault], places: Iterable[str], messages: Iterable[str]
) -> bool:
    """Record the health; tell whether it has changed. What cannot be recorded is reported."""
    names = frozenset(map(str, faults))
    found = HealthRecord(host.clock(), names, frozenset(places), tuple(messages))
    try:
        return health_record.update(host.health_path, found)
    except InvalidFileError:
        return bool(names)
