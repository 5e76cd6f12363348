"""The check that the tick keeps the file of metrics up to date."""

from collections.abc import Iterator
from datetime import UTC, datetime

from exitpolicy.core.durations import remaining_text
from exitpolicy.doctor.fault import Fault
from exitpolicy.doctor.finding import Finding, ok, warn
from exitpolicy.doctor.timer import LATE_SECONDS
from exitpolicy.operations.host import Host


def check(host: Host) -> Iterator[Finding]:
    """Report a file of metrics that is missing, or that ticks leave as it is. Raises OSError."""
    path, source = host.config.metrics, host.config.source
    if path is None or source is None:
        return
    now = host.clock()
    ran = host.state_path.stat().st_mtime if host.state_path.exists() else 0.0
    written = path.stat().st_mtime if path.exists() else None
    # A tick that does not run is another fault; a new config waits for the next tick.
    since = source.stat().st_mtime if written is None else written
    if now.timestamp() - since <= LATE_SECONDS or now.timestamp() - ran > LATE_SECONDS:
        yield ok("metrics", str(path))
        return
    when = (
        "missing"
        if written is None
        else f"{remaining_text(now, datetime.fromtimestamp(written, UTC))} old"
    )
    yield warn(
        "metrics",
        f"{path} is {when}, although the tick runs",
        why="the timer does not name this file, or may not write it",
        fix="exitpol init --timer",
        cause=Fault.METRICS_NOT_WRITTEN,
    )
