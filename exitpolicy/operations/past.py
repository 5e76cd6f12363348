"""What was blocked: the history."""

from collections.abc import Iterator

from exitpolicy.core.destination import Destination
from exitpolicy.operations.host import Host
from exitpolicy.storage import history


def past(host: Host, destination: Destination | None) -> Iterator[history.Change]:
    """Yield the history, oldest first; of one destination only, if given."""
    for change in history.read(host.history_path):
        if destination is None or change.destination == str(destination):
            yield change
