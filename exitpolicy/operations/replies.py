"""The answer to a complaint: a letter that states what is true of its subject."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from exitpolicy.complaint import Complaint
from exitpolicy.core.block import Block, State
from exitpolicy.core.destination import Destination
from exitpolicy.core.durations import until_text, utc_text
from exitpolicy.core.errors import AttentionError, ExitpolError, UsageError
from exitpolicy.core.fleet import Member
from exitpolicy.operations import query, repeats
from exitpolicy.operations.apply import Applied
from exitpolicy.operations.host import Host
from exitpolicy.operations.reply_subject import Subject, subject
from exitpolicy.operations.signing import Signer, signer
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
from exitpolicy.storage import reply_templates

__all__ = ["Answer", "Choices", "Subject", "answer", "facts", "subject", "template_text"]


@dataclass(frozen=True, slots=True)
class Answer:
    """A letter, and what was chosen for it."""

    letter: compose.Letter
    facts: ReplyFacts
    kind: Kind
    language: Language
    ended: tuple[Destination, ...] = ()
    """The blocks of which the letter says that they have ended: `end_letters.record` records it."""
    not_lifted: tuple[str, ...] = ()
    """Why a letter about ended blocks does not say so of some: sentences without a full stop."""
    elsewhere: tuple[Block, ...] = ()
    """The named blocks that the accused relay does not enforce: the letter does not name them."""
    unseen: tuple[Member, ...] = ()
    """The accused relays on other hosts: the letter does not say that they enforce a block."""


@dataclass(frozen=True, slots=True)
class Choices:
    """What the operator chose; None leaves the choice to the complaint."""

    kind: Kind | None = None
    language: Language | None = None
    recipient: Recipient | None = None
    to: str | None = None
    """The mail address that is answered."""
    again: bool = False
    """Whether to say once more that a block has ended."""


def answer(host: Host, about: Subject, choices: Choices) -> Answer:
    """Write the answer.

    Raises InvalidFileError for an invalid template of the operator's, UsageError if a letter has
    said already that the blocks have ended, and AttentionError if none of them has.
    """
    recipient = choices.recipient or select.recipient_of(about.complaint)
    by = signer(host, about)
    known = facts(host, about, by, recipient, choices.to)
    kind = choices.kind or select.kind_of(about.complaint, known)
    language = choices.language or select.language_of(about.complaint, recipient)
    ended: tuple[Destination, ...] = ()
    not_lifted: tuple[str, ...] = ()
    if kind == "lifted":
        known, not_lifted = _said_once(about, known, again=choices.again)
        said = {fact.destination for fact in known.lifted if not fact.live}
        ended = tuple(e.destination for e in about.ended if str(e.destination) in said)
    template = letters.load_letter(kind, language, reply_templates.read(language))
    letter = compose.write(template, known)
    named = {fact.destination for fact in known.blocks}
    elsewhere = tuple(block for block in about.blocks if str(block.destination) not in named)
    return Answer(letter, known, kind, language, ended, not_lifted, elsewhere, by.elsewhere)


def _said_once(
    about: Subject, known: ReplyFacts, *, again: bool
) -> tuple[ReplyFacts, tuple[str, ...]]:
    """Leave out the ended blocks of which a letter has said it; return why others are left out.

    Raises UsageError if all are, and AttentionError if none of the named blocks has ended.
    """
    told = {str(e.destination): e.told for e in about.ended if e.told is not None and not again}
    lifted = [fact for fact in known.lifted if not fact.live]
    fresh = tuple(fact for fact in lifted if fact.destination not in told)
    before = [
        f"a letter of {utc_text(time)} says already that the block of {destination} has ended"
        for destination, time in told.items()
        if any(fact.destination == destination for fact in lifted)
    ]
    if before and not fresh:
        raise UsageError(before[0], hint="to write it again, add --again")
    reasons = (*before, *_not_lifted(about, known))
    if not fresh and reasons:
        raise AttentionError(
            f"no letter was written: {reasons[0]}", hint="exitpol list --all shows what has ended"
        )
    return replace(known, lifted=fresh), reasons


def _not_lifted(about: Subject, known: ReplyFacts) -> Iterator[str]:
    """Yield why a letter cannot say that blocks have been lifted."""
    live = {fact.destination: fact.live for fact in known.lifted}
    for each in about.ended:
        text = str(each.destination)
        if not each.is_certain:
            yield (
                f"the block of {text} expired at {utc_text(each.at)}, which a wrong clock may do"
                " as well; a letter says so once the timer has run for an hour after it"
            )
        elif text not in live:
            yield f"no Tor says whether it accepts {text} again; to find out: exitpol status"
        elif live[text]:
            yield f"{text} is still rejected, or a part of it; to see why: exitpol check {text}"
    for block in about.blocks:
        yield f"{block.destination} is blocked until {until_text(block.until)}"


def template_text(name: Kind | Paragraph, language: Language) -> str:
    """Return the source of a letter or paragraph as it is in use. Raises InvalidFileError.

    An empty file of the operator is ignored: with `--template NAME > FILE`, the shell empties FILE
    before exitpol reads it.
    """
    own = reply_templates.read(language).get(name)
    return (
        own.text if own is not None and own.text.strip() else letters.shipped(language)[name].text
    )


def facts(
    host: Host, about: Subject, by: Signer, recipient: Recipient, to: str | None = None
) -> ReplyFacts:
    """Return what an answer may state: what the ledger says and what Tor was seen to do."""
    # A letter that names no block needs no relay, and can be written elsewhere.
    applied = query.status(host).applied if by.blocks else None
    complaint, operator = about.complaint, host.config.operator
    return ReplyFacts(
        recipient=recipient,
        operator=operator.name or None,
        contact=operator.contact or None,
        relay=by.relay,
        fingerprint=by.fingerprint,
        address=canonical_address(by.address),
        exits=by.exits,
        blocks=tuple(
            BlockFact(
                destination=str(block.destination),
                since=block.since,
                until=block.until,
                live=applied is not None and _is_live(applied, by, block.destination),
                name=_names(about, block.destination),
            )
            for block in by.blocks
        ),
        lifted=tuple(_lifted(host, about)),
        references=about.references,
        incidents=() if complaint is None else tuple(i.time for i in complaint.incidents),
        deadline=None if complaint is None else complaint.deadline,
        is_seen=not by.elsewhere,
        longer=bool(by.blocks) and repeats.is_longer(host, by.blocks, host.clock()),
        targets=tuple(target.name for target in about.targets)
        + tuple(str(b.destination) for b in about.blocks if complaint and b not in by.blocks),
        provider=_provider(about),
        to=to,
        original=None if complaint is None else _original(complaint),
    )


def _is_live(applied: Applied, by: Signer, destination: Destination) -> bool:
    """Tell whether the accused relays were seen to reject a destination."""
    states = [applied.states.get(destination)]
    if by.names or by.elsewhere:
        states = [applied.state_on(destination, name) for name in by.names]
    return not by.elsewhere and all(state in {State.LIVE, State.MOOT} for state in states)


def _lifted(host: Host, about: Subject) -> Iterator[BlockFact]:
    """Yield the ended blocks for which every Tor told whether it accepts the destination again.

    Those that a wrong clock may have ended are left out, and those of other hosts.
    """
    for each in about.ended:
        if not (each.is_certain and each.is_here):
            continue
        try:
            checked = query.check(host, [each.destination])
        except ExitpolError:
            continue
        if checked.problems:
            continue
        yield BlockFact(
            destination=str(each.destination),
            since=each.at,
            until=each.at,
            # The operator's own rules reject a part of nearly everything, such as port 25.
            live=any(one.verdict == "rejected" or one.blocks for one in checked.results),
            name=_names(about, each.destination),
        )


def _names(about: Subject, destination: Destination) -> str:
    """Return the host names of a block that the answer may name."""
    return ", ".join(about.host_names.get(destination, ()))


def _provider(about: Subject) -> str | None:
    """Return all whose shared addresses the targets are; None unless all are shared ones."""
    providers = dict.fromkeys(target.provider for target in about.targets)
    return None if None in providers else ", ".join(filter(None, providers)) or None


def _original(complaint: Complaint) -> Original:
    envelope = complaint.envelope
    return Original(
        subject=envelope.subject or None,
        message_id=envelope.message_id,
        references=tuple((envelope.references or "").split()),
    )
