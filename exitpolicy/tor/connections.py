"""Control connections that one command uses several times.

A command inspects each relay before it records a change, and again when it applies the change. To
connect and to authenticate costs as much as all the questions. Imports stem only to connect, so
that `list` starts quickly.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from exitpolicy.storage.config import Relay

if TYPE_CHECKING:
    from exitpolicy.tor.control import Control
    from exitpolicy.tor.peer import Peer


class Connections:
    """The control connections of one command. Each thread uses those of its own relays."""

    def __init__(self) -> None:
        self._open: dict[Relay, Control] = {}
        self._keeps = False

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep connections open within the block for the next `connect`."""
        if self._keeps:
            yield
            return
        self._keeps = True
        try:
            yield
        finally:
            self._keeps = False
            while self._open:
                self._open.popitem()[1].close()

    @contextmanager
    def connect(self, relay: Relay) -> "Iterator[Control]":
        """Connect to a relay as `connect` does, or go on with a connection that was kept."""
        from exitpolicy.tor.answer_time import answer_seconds  # noqa: PLC0415
        from exitpolicy.tor.control import opened, reported  # noqa: PLC0415

        with reported(relay):
            control = self._known(relay) or opened(relay, answer_seconds(relay))
            try:
                yield control
            except BaseException:
                control.close()
                raise
            if self._keeps:
                self._open[relay] = control
            else:
                control.close()

    def _known(self, relay: Relay) -> "Control | None":
        """Return the connection that was kept, if it is open and its peer still who it was."""
        control = self._open.pop(relay, None)
        if control is None:
            return None
        from exitpolicy.tor.answer_time import answer_seconds  # noqa: PLC0415

        if control.is_silent() and _is_still(control.peer, relay):
            control.within(answer_seconds(relay))
            return control
        control.close()
        return None


def _is_still(peer: "Peer", relay: Relay) -> bool:
    """Tell whether a peer may answer for a relay, as its files and the kernel say now."""
    from exitpolicy.tor import process  # noqa: PLC0415
    from exitpolicy.tor.declared import declared  # noqa: PLC0415

    user = process.user(peer.pid) if peer.pid else None
    is_same = not peer.pid or (user is not None and user.uid == peer.uid)
    return is_same and peer.uid in declared(relay).peers
