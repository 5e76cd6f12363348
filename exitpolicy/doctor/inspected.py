"""The present state of one relay, which its checks inspect."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

from exitpolicy.core.errors import ExitpolError, InvalidFileError
from exitpolicy.operations.desired import Desired
from exitpolicy.operations.host import Host
from exitpolicy.policy.reconcile import View
from exitpolicy.storage.config import Relay, usual_unit
from exitpolicy.tor import fragment, inspect, process
from exitpolicy.tor.inspect import Candidate, CandidateError


@dataclass(frozen=True, slots=True)
class Inspected:
    """One relay, as inspected for its checks."""

    host: Host
    relay: Relay
    blocks_ipv6: bool
    """Whether a block in force has an IPv6 destination."""
    view: View
    candidate_error: ExitpolError | None
    """Why Tor refuses the desired fragment; None if it accepts it."""
    folder: Path
    """Tor's working directory, to which relative includes refer."""

    @property
    def fragment(self) -> Path:
        """The fragment that exitpol writes for this relay."""
        return self.relay.fragment

    @property
    def pid(self) -> int:
        """The process of its Tor; 0 if unknown."""
        return self.view.pid

    @property
    def unit(self) -> str:
        """The systemd unit of this Tor; a guess from Debian's layout if it does not run."""
        found = process.unit(self.pid) if self.pid else None
        if found is not None:
            return found.removesuffix(".service")
        if self.relay.torrc.is_relative_to("/etc/tor"):
            return usual_unit(self.relay.torrc)
        return "tor"


def inspected(host: Host, relay: Relay, desired: Desired | None) -> Inspected:
    """Inspect a relay with the desired fragment.

    `desired` is None if the ledger is invalid, or changes wait for a batch; the installed fragment
    is inspected then.
    """
    path, text = relay.fragment, ""
    with contextlib.suppress(InvalidFileError):  # The check "fragment" reports it.
        text = fragment.read(path) or ""
    installed = Candidate(path, text, fragment.rules_of(text))
    candidate = installed if desired is None else Candidate(path, desired.text, desired.rules)
    refused: ExitpolError | None = None
    try:
        view = _view(host, relay, candidate)
    except CandidateError as error:
        refused = error
        view = _view(host, relay, installed)
    pid = view.pid
    folder = process.working_folder(pid) if pid else Path("/")
    ipv6 = desired is not None and any(block.destination.family == 6 for block in desired.blocks)
    return Inspected(host, relay, ipv6, view, refused, folder)


def _view(host: Host, relay: Relay, candidate: Candidate) -> View:
    return inspect.inspect_relay(relay, candidate, host.readings, record=host.last_read_path)
