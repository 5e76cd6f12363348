"""Read complaints to this host or its fleet, whose addresses are its own."""

import socket
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Final

from exitpolicy.complaint.model import Complaint
from exitpolicy.core.destination import Destination, parse_destination
from exitpolicy.core.errors import ExitpolError, RefusedError, UsageError
from exitpolicy.core.fleet import Member, Reach
from exitpolicy.operations import sandbox
from exitpolicy.operations.host import Host
from exitpolicy.storage import config, files
from exitpolicy.tor import identity, torrc, verify
from exitpolicy.tor.invocation import of_relay

MAX_BYTES: Final = 256_000_000
"""Maximum bytes of a complaint; of a large one only the beginning is read."""

_ADDRESS_OPTIONS: Final = (
    "Address",
    "ORPort",
    "OutboundBindAddress",
    "OutboundBindAddressExit",
    "OutboundBindAddressOR",
)


def read(host: Host, data: bytes) -> Complaint:
    """Read a complaint to this host, in a child process without privileges."""
    return sandbox.read_complaint(data, own=own_addresses(host), protected=host.config.protected)


def read_file(path: Path) -> bytes:
    """Return the bytes of a complaint. Raises UsageError, InvalidFileError."""
    try:
        return files.read(path, "complaint", limit=MAX_BYTES)
    except FileNotFoundError as error:
        raise UsageError(f"{path}: there is no such file", hint="- reads stdin") from error


def own_addresses(host: Host) -> tuple[Destination, ...]:
    """Return the addresses of this host and of the relays of its fleet.

    Those of this host are the ones of its interfaces, its torrcs, its Tors and its config.
    """
    texts = {host.config.operator.address, *_interface_addresses()}
    for relay in host.relays:
        texts.update(_torrc_addresses(relay))
        texts.update(identity.own_addresses(relay))
    found = set(host.config.fleet.addresses)
    for text in texts:
        try:
            found.add(parse_destination(text.strip("[]").partition("%")[0]))
        except UsageError:
            continue
    return tuple(sorted(found))


def accused(host: Host, complaint: Complaint) -> tuple[Member, ...]:
    """Return the relays of the fleet that a complaint accuses."""
    return host.config.fleet.accused(complaint.sources)


def relays_to_block_on(host: Host, complaint: Complaint, reach: Reach | None) -> tuple[str, ...]:
    """Return the words for the relays that a block for a complaint is for; empty for all.

    Without `reach`, the config says where it goes. Without a fleet, and where the complaint accuses
    no relay of it, the block is for all. Raises UsageError if that is not what `reach` says.
    """
    fleet = host.config.fleet
    if (reach or fleet.reach) is Reach.EVERYWHERE or not (fleet.members or reach):
        return ()
    found = accused(host, complaint)
    if reach is not None and not found:
        raise UsageError(
            "the complaint accuses no relay of the fleet"
            if fleet.members
            else "--accused needs the relays of the fleet, and the config names none",
            hint="to block on all relays: --everywhere",
        )
    return tuple(member.word for member in found)


def refuse_own_addresses(host: Host, destinations: Iterable[Destination]) -> None:
    """Raise RefusedError if one of the destinations is an address of this host or its fleet."""
    own = own_addresses(host)
    for destination in destinations:
        if found := next((address for address in own if address.overlaps(destination)), None):
            relay = next(iter(host.config.fleet.accused([str(found)])), None)
            whose = "this host" if relay is None else f"the relay {relay}"
            raise RefusedError(
                f"{found} is an address of {whose}; nothing was blocked",
                hint="block the destination that the complaint says was attacked",
            )


def _interface_addresses() -> Iterator[str]:
    """Yield the addresses of the interfaces, as Linux lists them in /proc.

    A unit with ProcSubset=pid sees /proc/self/net, but not /proc/net.
    """
    try:
        lines = Path("/proc/self/net/fib_trie").read_text().splitlines()
    except OSError:
        lines = []
    for address, kind in pairwise(lines):
        if "/32 host LOCAL" in kind:
            yield address.split()[-1]
    try:
        entries = Path("/proc/self/net/if_inet6").read_text().splitlines()
    except OSError:
        entries = []
    for entry in entries:
        yield socket.inet_ntop(socket.AF_INET6, bytes.fromhex(entry.split()[0]))


def _torrc_addresses(relay: config.Relay) -> Iterator[str]:
    """Yield the addresses that a torrc names as its relay's."""
    try:
        text = torrc.read_text(relay.torrc)
        options = verify.options(of_relay(relay), text, _ADDRESS_OPTIONS)
    except ExitpolError:
        return
    for name, values in options.items():
        for value in values:
            word = value.split()[0] if value.split() else ""
            if word.startswith("["):
                yield word[1:].partition("]")[0]
            else:
                yield word.rpartition(":")[0] if name == "ORPort" else word
