"""The present, as far as the clock can be believed."""

from datetime import UTC, datetime

from exitpolicy import state
from exitpolicy.leap import Time, believe
from exitpolicy.operations.host import Host


def present(host: Host) -> Time:
    """Return the time, and what to make of it."""
    last = state.load(host.state_path)
    if last is None:
        return believe(host.clock(), None, None)
    trusted, leapt = (
        None if moment is None else datetime.fromtimestamp(moment, UTC)
        for moment in (last.trusted, last.leapt)
    )
    return believe(host.clock(), trusted, leapt)
