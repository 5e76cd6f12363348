"""Connect to control ports. Imports no stem, so that `list` starts quickly."""

import errno
import socket

from exitpolicy.storage.config import Relay


def open_socket(relay: Relay, seconds: float) -> socket.socket:
    """Return a socket connected to a relay's control port. Raises OSError."""
    if not relay.has_control:
        # As a path, it would name a socket in the working folder.
        raise ConnectionRefusedError(errno.ECONNREFUSED, "it has no control port")
    if relay.tcp_control is not None:
        return socket.create_connection(relay.tcp_control, timeout=seconds)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(seconds)
        connection.connect(relay.control)
    except OSError:
        connection.close()
        raise
    return connection


def answers(relay: Relay, seconds: float = 1.0) -> bool:
    """Tell whether anything listens at a relay's control port."""
    try:
        open_socket(relay, seconds).close()
    except OSError:
        return False
    return True
