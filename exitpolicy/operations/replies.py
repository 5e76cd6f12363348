"""The answer to a complaint: the blocks that it is about, and what is true of them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from exitpolicy.complaint import Complaint
from exitpolicy.core.block import Block, Blocks, State
from exitpolicy.core.destination import Destination, parse_destination
from exitpolicy.core.errors import ExitpolError, InvalidFileError, NoSuchBlockError, UsageError
from exitpolicy.core.ports import difference
from exitpolicy.operations import query
from exitpolicy.operations.complaints import own_addresses
from exitpolicy.operations.host import Host
from exitpolicy.reply import compose, letters, select
from exitpolicy.reply.facts import (
    BlockFact,
    Kind,
    Language,
    Original,
    Paragraph,
    Recipient,
    ReplyFacts,
    canonical_address,
)
from exitpolicy.storage import history, reply_templates
from exitpolicy.tor import identity


@dataclass(frozen=True, slots=True)
class Subject:
    """What an answer is about."""

    complaint: Complaint | None
    """None if only references or destinations were named."""
    blocks: tuple[Block, ...]
    """The blocks in force that the answer may name."""
    ended: tuple[history.Change, ...]
    """The last change of blocks that have ended and that the answer may name."""
    references: tuple[str, ...]
    withheld: tuple[Block, ...] = ()
    """Blocks with a reference that the complaint names, but of a destination that it does not.
    Anybody can write somebody else's ticket number into a mail, so the answer does not name them.
    """
    has_ledger: bool = True
    """Whether this host has a ledger: a workstation, on which a mail is answered, may have none."""

    @property
    def withheld_references(self) -> list[str]:
        """The references that name the withheld blocks."""
        withheld = set().union(*map(_tickets, self.withheld))
        return [reference for reference in self.references if reference in withheld]


@dataclass(frozen=True, slots=True)
class Answer:
    """A letter, and what was chosen for it."""

    letter: compose.Letter
    facts: ReplyFacts
    kind: Kind
    language: Language


@dataclass(frozen=True, slots=True)
class Choices:
    """What the operator chose; None leaves the choice to the complaint."""

    kind: Kind | None = None
    language: Language | None = None
    recipient: Recipient | None = None
    to: str | None = None
    """The mail address that is answered."""


def subject(host: Host, complaint: Complaint | None, names: Sequence[str]) -> Subject:
    """Find the blocks that a complaint, references and destinations name.

    A complaint names a block by its destination only: an address of the complaint is in the block.
    Raises NoSuchBlockError for a name without a block, and InvalidFileError for an invalid ledger,
    or for none where a name needs it.
    """
    now = host.clock()
    try:
        ledger = host.ledger()
    except InvalidFileError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise
        if names:
            raise InvalidFileError(
                f"{error}, and only a ledger says what {names[0]!r} is",
                hint="run the command on the relay's host, or name only the FILE of the complaint",
            ) from error
        ledger = None
    present = () if ledger is None else ledger.blocks
    blocks = Blocks.of(block for block in present if not block.has_ended(now))
    past = list(history.read(host.history_path))
    found: dict[Block, None] = {}
    ended: dict[str, history.Change] = {}
    references = dict.fromkeys(complaint.references if complaint is not None else ())
    if complaint is not None:
        found.update(dict.fromkeys(block for block in blocks if _names(complaint, block)))
        ended.update((c.destination, c) for c in _ended(past, blocks) if _names_ended(complaint, c))
    for name in names:
        here, before, tickets = _named(blocks, past, name)
        found.update(dict.fromkeys(here))
        ended.update((change.destination, change) for change in before)
        if complaint is None:
            # A complaint is answered with its own tickets: others belong to somebody else.
            references.update(dict.fromkeys(tickets))
    withheld = [
        block
        for block in blocks
        if complaint is not None
        and not _tickets(block).isdisjoint(complaint.references)
        and block not in found
    ]
    return Subject(
        complaint,
        tuple(found),
        tuple(ended.values()),
        tuple(references),
        tuple(withheld),
        has_ledger=ledger is not None,
    )


def _names(complaint: Complaint, block: Block) -> bool:
    """Tell whether all addresses of a destination of the complaint are in the block.

    The reverse is not enough: whoever names a wide network would learn all blocks in it.
    """
    return any(_holds(block.destination, one.destination) for one in complaint.candidates)


def _names_ended(complaint: Complaint, change: history.Change) -> bool:
    try:
        ended = parse_destination(change.destination)
    except UsageError:
        return False
    return any(_holds(ended, one.destination) for one in complaint.candidates)


def _holds(blocked: Destination, named: Destination) -> bool:
    """Tell whether a complaint's destination is in a blocked one.

    Its ports need not be, except where a port is blocked at every address.
    """
    ports = not blocked.is_port or not difference(named.ports, blocked.ports)
    return ports and blocked.contains_addresses(named)


def _named(
    blocks: Blocks, past: Sequence[history.Change], name: str
) -> tuple[list[Block], list[history.Change], list[str]]:
    """Return the blocks, the ended blocks and the tickets that REFERENCE or DEST names."""
    same = [block for block in blocks if name in _tickets(block)]
    before = list(_ended((change for change in past if name in change.all_references), blocks))
    if same or before:
        return same, before, [name]
    try:
        destination = parse_destination(name)
    except UsageError as error:
        raise NoSuchBlockError(
            f"{name!r} is neither a file, nor the reference of a block, nor a destination",
            hint=error.hint or "see them: exitpol list --all",
        ) from error
    found = [block for block in blocks if block.destination.overlaps(destination)]
    same_place = (change for change in past if change.destination == str(destination))
    before = list(_ended(same_place, blocks))
    if not found and not before:
        blocks.get(destination)
    return found, before, [block.reference for block in found if block.reference]


def _tickets(block: Block) -> set[str]:
    return {block.reference, *block.references}


def _ended(changes: Iterable[history.Change], blocks: Blocks) -> Iterator[history.Change]:
    """Yield the last change of each destination that has no block any more."""
    last = {change.destination: change for change in changes}
    present = {str(block.destination) for block in blocks}
    for destination, change in last.items():
        if destination not in present and change.action in {"lift", "expire"}:
            yield change


def answer(host: Host, about: Subject, choices: Choices) -> Answer:
    """Write the answer. Raises InvalidFileError for an invalid template of the operator's."""
    recipient = choices.recipient or select.recipient_of(about.complaint)
    known = facts(host, about, recipient, choices.to)
    kind = choices.kind or select.kind_of(about.complaint, known)
    language = choices.language or select.language_of(about.complaint, recipient)
    template = letters.load_letter(kind, language, reply_templates.read(language))
    letter = compose.write(template, known)
    return Answer(letter, known, kind, language)


def template_text(name: Kind | Paragraph, language: Language) -> str:
    """Return the source of a letter or paragraph as it is in use. Raises InvalidFileError.

    An empty file of the operator is ignored: with `--template NAME > FILE`, the shell empties FILE
    before exitpol reads it.
    """
    own = reply_templates.read(language).get(name)
    return (
        own.text if own is not None and own.text.strip() else letters.shipped(language)[name].text
    )


def facts(host: Host, about: Subject, recipient: Recipient, to: str | None = None) -> ReplyFacts:
    """Return what an answer may state: what the ledger says and what Tor was seen to do."""
    # A letter that names no block needs no relay, and can be written elsewhere.
    states = query.status(host).applied.states if about.blocks else {}
    complaint = about.complaint
    accused = _accused(host, complaint)
    operator, relay = host.config.operator, _identity(host, accused)
    addresses = (accused, operator.address, relay.address if relay is not None else None)
    return ReplyFacts(
        recipient=recipient,
        operator=operator.name or None,
        contact=operator.contact or None,
        relay=operator.relay_name or (relay.nickname if relay is not None else None),
        fingerprint=relay.fingerprint if relay is not None else None,
        address=next(filter(None, map(canonical_address, addresses)), None),
        blocks=tuple(
            BlockFact(
                destination=str(block.destination),
                since=block.since,
                until=block.until,
                live=states.get(block.destination) in {State.LIVE, State.MOOT},
            )
            for block in about.blocks
        ),
        lifted=tuple(_lifted(host, about.ended)),
        references=about.references,
        incidents=() if complaint is None else tuple(i.time for i in complaint.incidents),
        deadline=None if complaint is None else complaint.deadline,
        to=to,
        original=None if complaint is None else _original(complaint),
    )


def _accused(host: Host, complaint: Complaint | None) -> str | None:
    """Return the address of this host that a complaint accuses; None if it names none."""
    if complaint is None:
        return None
    own = {str(address) for address in own_addresses(host)}
    return next((source for source in complaint.sources if source in own), None)


def _identity(host: Host, accused: str | None) -> identity.Identity | None:
    """Return what Tor says of the relay that is accused, or else of the first that answers."""
    known = [found for relay in host.relays if (found := identity.identity_of(relay)) is not None]
    return next((one for one in known if one.address == accused), known[0] if known else None)


def _lifted(host: Host, ended: Sequence[history.Change]) -> Iterator[BlockFact]:
    """Yield the ended blocks for which every Tor told whether it accepts the destination again."""
    for change in ended:
        try:
            checked = query.check(host, [parse_destination(change.destination)])
        except ExitpolError:
            continue
        if checked.problems:
            continue
        moment = datetime.fromisoformat(change.time)
        yield BlockFact(
            destination=change.destination,
            since=moment,
            until=moment,
            live=any(one.verdict == "rejected" for one in checked.results),
        )


def _original(complaint: Complaint) -> Original:
    envelope = complaint.envelope
    return Original(
        subject=envelope.subject or None,
        message_id=envelope.message_id,
        references=tuple((envelope.references or "").split()),
    )
