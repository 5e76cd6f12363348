"""The present, as far as the clock can be believed."""

from datetime import UTC, datetime

from exitpolicy.core.clock import Time, believe
from exitpolicy.operations.host import Host
from exitpolicy.storage import observed


def present(host: Host) -> Time:
    """Return the time, and what to make of it."""
    last = observed.load(host.state_path)
    if last is None:
        return believe(host.clock(), None, None)
    trusted, leapt = (
        None if moment is None else datetime.fromtimestamp(moment, UTC)
        for moment in (last.trusted, last.leapt)
    )
    return believe(host.clock(), trusted, leapt)
