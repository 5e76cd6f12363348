"""The DNS servers that a relay's Tor asks for its clients' destinations."""

import os
from pathlib import Path
from typing import Final

from exitpolicy import resolver
from exitpolicy.core.errors import ExitpolError, InvalidFileError
from exitpolicy.resolver import Server
from exitpolicy.storage import files
from exitpolicy.storage.config import Relay
from exitpolicy.tor import torrc, verify
from exitpolicy.tor.invocation import of_relay
from exitpolicy.tor.torrc_includes import is_file

_OPTION: Final = "ServerDNSResolvConfFile"
_USUAL: Final = Path("/etc/resolv.conf")
_MAX_BYTES: Final = 1_000_000


def of(relay: Relay | None) -> tuple[Server, ...]:
    """Return the servers of a relay's ServerDNSResolvConfFile; without it, those of this host.

    Where that file is missing, Tor asks 127.0.0.1 (dns.c: configure_nameservers). Raises
    InvalidFileError.
    """
    path = _USUAL if relay is None else _resolv_conf(relay)
    try:
        # Path.exists raises where a folder is closed; `read_own` says which.
        if os.path.exists(path) and not is_file(path):  # noqa: PTH110
            # To open a device may do harm.
            raise InvalidFileError(f"{path}: the list of DNS servers is not a regular file")
        # Tor's user may have named it: only addresses in it are used and shown.
        content = files.read_own(path, "list of DNS servers", limit=_MAX_BYTES, follow=True)
    except FileNotFoundError:
        content = b""
    return resolver.servers(content.decode("utf-8", "replace"))


def _resolv_conf(relay: Relay) -> Path:
    try:
        invocation = of_relay(relay)
        found = verify.options(invocation, torrc.read_text(relay.torrc), [_OPTION])
    except ExitpolError:
        # It is reported where Tor reads the torrc.
        return _USUAL
    values = found.get(_OPTION)
    return invocation.folder / values[-1] if values and values[-1] else _USUAL
