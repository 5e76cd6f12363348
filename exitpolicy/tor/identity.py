"""Ask a running relay who it is, and which other relays it knows."""

from collections.abc import Iterable
from dataclasses import dataclass

from exitpolicy.core.addresses import read_endpoint
from exitpolicy.core.errors import InvalidFileError, TorUnreachableError
from exitpolicy.storage.config import Relay
from exitpolicy.tor.control import NotAnsweredError, connect
from exitpolicy.tor.running import info
from exitpolicy.tor.streams import Address


@dataclass(frozen=True, slots=True)
class Identity:
    """The nickname, fingerprint and address that a relay reports; None where it reports none."""

    nickname: str | None
    fingerprint: str | None
    address: str | None


def identity_of(relay: Relay) -> Identity | None:
    """Return the identity that a running relay reports; None if it cannot be reached."""
    try:
        with connect(relay) as control:
            nickname = control.get_conf(["Nickname"])["Nickname"]
            return Identity(
                nickname[0] if nickname else None,
                info(control, "fingerprint") or None,
                info(control, "address") or None,
            )
    except (TorUnreachableError, InvalidFileError, NotAnsweredError):
        return None


def own_addresses(relay: Relay) -> tuple[str, ...]:
    """Return the own addresses that a running relay reports; empty if it reports none."""
    try:
        with connect(relay) as control:
            found = [info(control, "address"), info(control, "address/v6")]
    except (TorUnreachableError, InvalidFileError):
        return ()
    return tuple(address for address in found if address)


def auth_methods(relay: Relay) -> tuple[str, ...]:
    """Return the authentication methods that a relay offers. Raises TorUnreachableError."""
    with connect(relay) as control:
        return control.methods()


def relay_addresses(relays: Iterable[Relay]) -> frozenset[Address]:
    """Return the addresses and ORPorts of all relays that the Tors of this host know of.

    Raises TorUnreachableError.
    """
    found: set[Address] = set()
    for relay in relays:
        with connect(relay) as control:
            for line in info(control, "ns/all").splitlines():
                words = line.split()
                # dir-spec 3.4.1: `r nick id [digest] date time IP ORPort DirPort`, `a [IPv6]:port`.
                if words[:1] == ["r"] and len(words) >= 8:
                    text = ":".join(words[-3:-1])
                elif words[:1] == ["a"] and len(words) == 2:
                    text = words[1]
                else:
                    continue
                address = read_endpoint(text)
                if address is not None:
                    found.add(address)
    return frozenset(found)
