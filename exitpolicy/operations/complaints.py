"""From the complaint to the answer: what it is about on this host, and what is true of it."""

import socket
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Final

from exitpolicy.complaint import Complaint, read_complaint
from exitpolicy.core.block import Block, Blocks, State
from exitpolicy.core.destination import Destination, parse_destination
from exitpolicy.core.errors import ExitpolError, NoSuchBlockError, UsageError
from exitpolicy.operations import query
from exitpolicy.operations.host import Host
from exitpolicy.reply.facts import BlockFact, Operator, Original, Recipient, Relay, ReplyFacts
from exitpolicy.storage import config, files, history
from exitpolicy.tor import identity, torrc, verify
from exitpolicy.tor.invocation import of_relay

MAX_BYTES: Final = 256_000_000
"""The largest complaint that is taken at all; of a large one only the beginning is read."""

_ADDRESS_OPTIONS: Final = (
    "Address",
    "ORPort",
    "OutboundBindAddress",
    "OutboundBindAddressExit",
    "OutboundBindAddressOR",
)


def read(host: Host, data: bytes) -> Complaint:
    """Read a complaint to this host."""
    return read_complaint(data, own=own_addresses(host), protected=host.config.protected)


def read_file(path: Path) -> bytes:
    """Return the bytes of a complaint. Raises UsageError, InvalidFileError."""
    try:
        return files.read(path, "complaint", limit=MAX_BYTES)
    except FileNotFoundError:
        raise UsageError(f"{path}: there is no such file", hint="- reads stdin") from None


def own_addresses(host: Host) -> tuple[Destination, ...]:
    """Return the addresses of this host: of its interfaces, its torrcs, its Tors, its config."""
    texts = {host.config.operator.address, *_interface_addresses()}
    for relay in host.relays:
        texts.update(_torrc_addresses(relay))
        texts.update(identity.own_addresses(relay))
    found: set[Destination] = set()
    for text in texts:
        try:
            found.add(parse_destination(text.strip("[]").partition("%")[0]))
        except UsageError:
            continue
    return tuple(sorted(found))


def _interface_addresses() -> Iterator[str]:
    """Yield the addresses of the interfaces, as Linux lists them in /proc."""
    try:
        lines = Path("/proc/net/fib_trie").read_text().splitlines()
    except OSError:
        lines = []
    for address, kind in pairwise(lines):
        if "/32 host LOCAL" in kind:
            yield address.split()[-1]
    try:
        entries = Path("/proc/net/if_inet6").read_text().splitlines()
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


@dataclass(frozen=True, slots=True)
class Subject:
    """What an answer is about."""

    complaint: Complaint | None
    """None if only a reference or a destination was named."""
    blocks: tuple[Block, ...]
    """The blocks in force that belong to it."""
    ended: tuple[history.Change, ...]
    """What the history says of blocks that belonged to it and are over."""
    references: tuple[str, ...]


def subject(host: Host, named: str) -> Subject:
    """Find what FILE, REFERENCE or DEST names. Raises NoSuchBlockError, UsageError."""
    blocks = host.ledger().blocks
    if named == "-" or Path(named).is_file():
        raise UsageError("a complaint is read by its caller", hint="exitpol reply FILE")
    past = list(history.read(host.history_path))
    same = tuple(block for block in blocks if block.reference == named)
    ended = _ended((c for c in past if c.reference == named), blocks)
    if same or ended:
        return Subject(None, same, ended, (named,))
    try:
        destination = parse_destination(named)
    except UsageError as error:
        raise NoSuchBlockError(
            f"{named!r} is no file, no reference of a block and no destination",
            hint=error.hint or "see them: exitpol list --all",
        ) from None
    found = tuple(block for block in blocks if block.destination.overlaps(destination))
    ended = _ended((c for c in past if c.destination == str(destination)), blocks)
    if not found and not ended:
        blocks.get(destination)
    references = tuple(dict.fromkeys(b.reference for b in found if b.reference))
    return Subject(None, found, ended, references)


def subject_of(host: Host, complaint: Complaint) -> Subject:
    """Return what is known of a complaint: by its references and by its candidates."""
    blocks = host.ledger().blocks
    wanted = [candidate.destination for candidate in complaint.candidates]
    found = tuple(
        block
        for block in blocks
        if block.reference in complaint.references
        or (not block.reference and any(block.destination.overlaps(d) for d in wanted))
    )
    past = history.read(host.history_path)
    ended = _ended((c for c in past if c.reference in complaint.references), blocks)
    return Subject(complaint, found, ended, complaint.references)


def _ended(changes: Iterable[history.Change], blocks: Blocks) -> tuple[history.Change, ...]:
    """Return the last change of each destination that has no block any more."""
    last = {change.destination: change for change in changes}
    present = {str(block.destination) for block in blocks}
    return tuple(
        change
        for name, change in last.items()
        if name not in present and change.action in {"lift", "expire"}
    )


def facts(host: Host, about: Subject, recipient: Recipient) -> ReplyFacts:
    """Return what may be said in an answer: only what the ledger says and Tor was seen to do."""
    status = query.status(host)
    states = status.applied.states
    rejected = {State.LIVE, State.MOOT}
    blocks = tuple(
        BlockFact(
            destination=str(block.destination),
            since=block.since,
            until=block.until,
            live=states.get(block.destination) in rejected,
        )
        for block in about.blocks
    )
    complaint = about.complaint
    operator, identity = host.config.operator, _identity(host, complaint)
    return ReplyFacts(
        recipient=recipient,
        operator=Operator(
            name=operator.name or None,
            contact=operator.contact or None,
            relay_name=operator.relay_name or None,
            address=_accused(host, complaint) or operator.address or None,
        ),
        relay=identity,
        blocks=blocks,
        lifted=_lifted(host, about.ended),
        references=about.references,
        incidents=() if complaint is None else tuple(i.time for i in complaint.incidents),
        deadline=None if complaint is None else complaint.deadline,
        original=None if complaint is None else _original(complaint),
    )


def _accused(host: Host, complaint: Complaint | None) -> str | None:
    """Return the address of this host that a complaint accuses; None if it names none."""
    if complaint is None:
        return None
    own = {str(address) for address in own_addresses(host)}
    return next((source for source in complaint.sources if source in own), None)


def _identity(host: Host, complaint: Complaint | None) -> Relay:
    """Return what Tor says of the relay that is accused, or else of the first that answers."""
    accused = _accused(host, complaint)
    known = [found for relay in host.relays if (found := identity.identity_of(relay)) is not None]
    chosen = next((one for one in known if one.address == accused), known[0] if known else None)
    if chosen is None:
        return Relay()
    return Relay(nickname=chosen.nickname, fingerprint=chosen.fingerprint, address=chosen.address)


def _lifted(host: Host, ended: Sequence[history.Change]) -> tuple[BlockFact, ...]:
    """Return the ended blocks that every Tor was seen to accept again."""
    found: list[BlockFact] = []
    for change in ended:
        try:
            checked = query.check(host, [parse_destination(change.destination)])
        except ExitpolError:
            continue
        moment = datetime.fromisoformat(change.time)
        found.append(
            BlockFact(
                destination=change.destination,
                since=moment,
                until=moment,
                live=any(one.verdict == "rejected" for one in checked),
            )
        )
    return tuple(found)


def _original(complaint: Complaint) -> Original:
    envelope = complaint.envelope
    return Original(
        subject=envelope.subject or None,
        message_id=envelope.message_id,
        references=tuple((envelope.references or "").split()),
        reply_to=envelope.reply_to,
    )
