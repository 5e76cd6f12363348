"""Move hand-written reject lines of a torrc into the ledger, where they get an end.

Steps between which Tor enforces every line:

1. The blocks are recorded, and applied: the fragment has the rules while the lines are still there.
2. Where a relay was observed to run the fragment with these rules, each file is replaced by one
   without the lines, after Tor has verified it.
3. Tor reloads the files. The enforced policy must mean what it meant before, and the own policy
   without the lines is recorded as the accepted one.

A crash leaves a state between two steps. The next apply completes the first and the third one,
and another adoption the second one: lines that blocks reject already lose nothing but their lines.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from exitpolicy.core.block import Block, is_later
from exitpolicy.core.block_index import BlockIndex
from exitpolicy.core.errors import (
    AttentionError,
    ExitCode,
    ExitpolError,
    InvalidFileError,
    RefusedError,
    UsageError,
)
from exitpolicy.lists.entry import Moment, reason_of
from exitpolicy.lists.exit_policies import said
from exitpolicy.operations import adoptable, apply, change, own_policy, refusals
from exitpolicy.operations.adoptable import Kept, OwnReject
from exitpolicy.operations.apply import Applied, Watch
from exitpolicy.operations.change import Options, RecordedOnly, Timing
from exitpolicy.operations.host import Host
from exitpolicy.operations.interruption import interrupted_state
from exitpolicy.operations.outcome import on_relays
from exitpolicy.operations.own_policy import Accepted
from exitpolicy.operations.torrc_edits import may_run
from exitpolicy.policy.batching import EVERYTHING_URGENT
from exitpolicy.policy.difference import compare
from exitpolicy.policy.evaluate import Decisions, same_meaning
from exitpolicy.policy.minimize import fewest_rules
from exitpolicy.policy.options import OPTION_NAMES, ExitOptions
from exitpolicy.policy.reconcile import View
from exitpolicy.policy.rule import Rule, parse_entries
from exitpolicy.storage import files, observed
from exitpolicy.storage.config import Relay
from exitpolicy.storage.locks import WAIT_SECONDS, apply_lock_path, ledger_lock_path, lock
from exitpolicy.tor import fragment, fragment_include, process, torrc, verify
from exitpolicy.tor import invocation as invocations
from exitpolicy.tor.policy_lines import without_rules

if TYPE_CHECKING:
    from exitpolicy.core.destination import Destination

_AGAIN: Final = "exitpol adopt"


@dataclass(frozen=True, slots=True)
class Terms:
    """What the operator asks for."""

    until: datetime | None = None
    """The latest end; None for never."""
    has_end: bool = False
    """Whether an end was named; if not, lines without an end of their own cannot move."""
    relays: tuple[str, ...] = ()
    """The relays that are named; empty for all."""


class Covered(NamedTuple):
    """A rule that blocks reject already."""

    rule: OwnReject
    until: datetime | None
    """When the blocks no longer reject all of it; None for never."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What an adoption would do."""

    host: Host
    terms: Terms
    applied: Applied
    """The relays as they are now."""
    rules: tuple[OwnReject, ...]
    """The rules that leave their lines."""
    kept: tuple[Kept, ...]
    """The reject rules that stay."""
    blocks: tuple[Block, ...]
    """The blocks to add; none for a rule that a block rejects already."""
    endless: tuple[OwnReject, ...]
    """The rules that have no end, because none is named."""
    covered: tuple[Covered, ...]
    """The rules that blocks reject already. The blocks keep their ends."""
    edits: Mapping[Path, tuple[str, str]]
    """For each changed file: its text before and after."""

    @property
    def refusal(self) -> UsageError | None:
        """Why it cannot be carried out; None if it can."""
        if not self.endless:
            return None
        first = self.endless[0]
        others = f", and {len(self.endless) - 1} more" if len(self.endless) > 1 else ""
        return UsageError(
            f"{first.place}: {first.text!r} has no end{others}; nothing was changed",
            hint="add --until 30d; a line with an end of its own keeps that",
        )

    @property
    def attention(self) -> tuple[Kept, ...]:
        """The rules that stay although they are about single destinations."""
        return tuple(one for one in self.kept if not one.is_policy)


@dataclass(frozen=True, slots=True)
class Adopted:
    """What an adoption did."""

    plan: Plan
    applied: Applied
    """What was observed last."""
    edited: tuple[Path, ...]
    """The files that were changed."""
    problems: tuple[ExitpolError, ...] = field(default=())
    accepted: Accepted | None = None
    """The own policies that were recorded; None if lines are left that were to move."""

    @property
    def exit_code(self) -> ExitCode:
        """The exit code: that of the first problem, or 3 for lines that are left."""
        if self.problems:
            return self.problems[0].exit_code
        return ExitCode.ATTENTION if self.plan.attention else ExitCode.DONE


def plan(host: Host, terms: Terms) -> Plan:
    """Return what an adoption would do; change nothing.

    Raises RefusedError for a relay that would not be the same exit without its lines, and why a
    relay is not in order: TorRefusesError, InvalidFileError, AttentionError.
    """
    named = host.relays_here(terms.relays)
    refusals.refuse_shared_fragments(host.relays, named)
    ledger = host.ledger()
    previewed = apply.preview(host, ledger, EVERYTHING_URGENT)
    applied = on_relays(previewed, named)
    _refuse_problems(applied)
    found = adoptable.find(host, ledger, previewed.views, named)
    time = host.time()
    in_force = time.enforced(ledger.blocks)
    by_blocks = _decisions(_names(host), in_force)
    index = BlockIndex(in_force)
    fresh: list[OwnReject] = []
    covered: list[Covered] = []
    for rule in found.rules:
        if _is_rejected(rule, by_blocks):
            covered.append(Covered(rule, covered_until(rule, index)))
        else:
            fresh.append(rule)
    blocks, endless = _blocks(host, fresh, terms)
    texts = {path: torrc.read_text(path) for path in {rule.place.file for rule in found.rules}}
    edits = _edits(found.rules, texts)
    for relay, view in _selected(host, applied):
        _refuse_other_exit(relay, view, found.rules, {p: new for p, (_, new) in edits.items()})
    return Plan(
        host, terms, applied, found.rules, found.kept, tuple(blocks), tuple(endless),
        tuple(covered), edits,
    )  # fmt: skip


def carry_out(planned: Plan) -> Adopted:
    """Record the blocks, apply them, and take the lines out of their files.

    Raises what `plan` and `change.block_all` raise, before anything is changed.
    """
    if planned.refusal is not None:
        raise planned.refusal
    host, terms = planned.host, planned.terms
    if planned.blocks:
        relays = host.known_relays(terms.relays)
        options = Options(watch=Watch.OWN, timing=Timing.ALL)
        changed = change.block_all(host, planned.blocks, options, relays)
        if isinstance(changed, RecordedOnly):
            return _stopped(planned, planned.applied, changed.failure)
        if (problem := _unsettled(host, changed.seen)) is not None:
            return _stopped(planned, changed.seen, problem)
    elif observed.is_waiting(host.state_path):
        # A line that a block covers stays until the block is enforced.
        apply.apply(host, urgent=EVERYTHING_URGENT)
    with (
        interrupted_state(f"the blocks are recorded; lines may be left: {_AGAIN}"),
        lock(apply_lock_path(host.config.ledger), seconds=WAIT_SECONDS, doing="talking to Tor"),
        lock(
            ledger_lock_path(host.config.ledger), seconds=WAIT_SECONDS, doing="changing the ledger"
        ),
    ):
        # Again: another exitpol, or the operator, may have changed any of the files in between.
        present = plan(host.refreshed(), terms)
        if (problem := _unsettled(host, present.applied)) is not None:
            return _stopped(planned, present.applied, problem)
        edited, left = _edit(present)
    applied = apply.apply(host, urgent=EVERYTHING_URGENT)
    applied = on_relays(applied, host.known_relays(terms.relays))
    problems = [*left, *applied.problems, *_differences(planned.applied, applied)]
    accepted = None
    # Without a line to move, what others have changed is not accepted in passing.
    if not problems and (edited or not own_policy.changes(host, applied.views)):
        accepted = own_policy.accept(host, applied.views)
    return Adopted(planned, applied, tuple(edited), tuple(problems), accepted)


def _stopped(planned: Plan, applied: Applied, problem: ExitpolError) -> Adopted:
    """Return the result of an adoption that recorded the blocks and left the lines."""
    left = AttentionError(
        "the blocks are recorded, and the lines of the torrc stay: no Tor is shown to enforce the"
        " blocks yet",
        hint=f"when it is in order: {_AGAIN}",
    )
    return Adopted(planned, applied, (), (problem, left))


def _selected(host: Host, applied: Applied) -> Iterable[tuple[Relay, View]]:
    relays = {relay.name: relay for relay in host.relays}
    return [(relays[view.name], view) for view in applied.views]


def _refuse_problems(applied: Applied) -> None:
    """Raise why rules in a fragment have no effect, or would harm a relay."""
    names = {view.name for view in applied.views}
    for each in applied.plans:
        if not any(relay.name in names for relay in each.relays):
            continue
        broken = (view.broken for view in each.views if view.broken is not None)
        for reason in (*each.unsafe, *each.obstacles, *broken):
            raise reason


def _unsettled(host: Host, applied: Applied) -> ExitpolError | None:
    """Return why a relay may not enforce its fragment; None if all of them do, or do not run."""
    for relay, view in _selected(host, applied):
        if view.settled or (not view.is_reachable and not may_run(relay)):
            continue
        if applied.problems:
            return applied.problems[0]
        return AttentionError(
            f"Tor ({relay.name}) is not in sync with its files", hint="exitpol status"
        )
    return None


def _names(host: Host) -> list[str]:
    return [relay.name for relay in host.relays]


def _decisions(relays: Iterable[str], blocks: Iterable[Block]) -> dict[str, Decisions]:
    """Return what blocks reject on each of the relays."""
    chosen = tuple(blocks)
    return {
        name: Decisions(fewest_rules(b.destination for b in chosen if b.is_for(name)))
        for name in relays
    }


def covered_until(rule: OwnReject, blocks: BlockIndex) -> datetime | None:
    """Return when blocks no longer reject all of a rule that they reject now; None for never."""
    near = {b.destination: b for d in rule.destinations for b in blocks.overlapping(d)}.values()

    def is_open_after(end: datetime) -> bool:
        left = (block for block in near if is_later(block.until, end))
        return not _is_rejected(rule, _decisions(rule.relays, left))

    ends = sorted({block.until for block in near if block.until is not None})
    first = bisect_left(ends, x=True, key=is_open_after)
    return ends[first] if first < len(ends) else None


def _is_rejected(rule: OwnReject, by: Mapping[str, Decisions]) -> bool:
    """Tell whether rules, by relay, reject what a line rejects, on every relay that reads it."""
    return all(by[name].rejects(one) for name in rule.relays for one in rule.destinations)


def _blocks(
    host: Host, rules: Sequence[OwnReject], terms: Terms
) -> tuple[list[Block], list[OwnReject]]:
    """Return the blocks for rules, one for each destination; and the rules that have no end."""
    now = host.clock().replace(microsecond=0)
    moment = Moment(now, now.astimezone().tzinfo or UTC)
    found: dict[Destination, Block] = {}
    endless: list[OwnReject] = []
    every = frozenset(relay.name for relay in host.relays)
    for rule in rules:
        own, reason = _said(rule, moment)
        if own is None and not terms.has_end:
            endless.append(rule)
            continue
        until = (
            own if terms.until is None or (own is not None and own < terms.until) else terms.until
        )
        for destination in rule.destinations:
            former = found.get(destination)
            relays = rule.relays if former is None else rule.relays | (set(former.relays) or every)
            block = Block(
                destination, now, until, reason or reason_of(f"from {rule.place}"), forced=False
            )
            if former is not None and is_later(former.until, block.until):
                block = former
            names = () if relays >= every else tuple(sorted(relays))
            found[destination] = block._replace(relays=names)
    return list(found.values()), endless


def _said(rule: OwnReject, moment: Moment) -> tuple[datetime | None, str]:
    """Return the end and the reason that the comment of a line names; None for an end that passed.

    The line is enforced without regard to its comment.
    """
    try:
        until, reason = said(rule.comment, moment)
    except UsageError:
        return None, reason_of(rule.comment)
    return (until if until is not None and until > moment.now else None), reason


def _edits(rules: Iterable[OwnReject], texts: Mapping[Path, str]) -> dict[Path, tuple[str, str]]:
    """Return the text of each file before, as in `texts`, and after rules leave it."""
    gone: dict[Path, dict[int, set[str]]] = {}
    for rule in rules:
        of_file = gone.setdefault(rule.place.file, {})
        of_file.setdefault(rule.place.line, set()).add(rule.text)
    return {path: (texts[path], without_rules(texts[path], of)) for path, of in gone.items()}


def _refuse_other_exit(
    relay: Relay, view: View, rules: Iterable[OwnReject], texts: Mapping[Path, str]
) -> None:
    """Refuse to take the last line away that makes a relay an exit, or replaces another policy.

    Raises RefusedError, TorRefusesError.
    """
    moved = {(rule.place, rule.text) for rule in rules if relay.name in rule.relays}
    if not moved or view.configured is None:
        return
    invocation = invocations.of_relay(relay)
    text = fragment_include.with_texts(
        relay.torrc, relay.fragment, texts, "", _folder(view, invocation.folder)
    )
    before = view.configured.own
    after = ExitOptions.read(verify.options(invocation, text, OPTION_NAMES))
    if before.exits and not after.exits:
        raise RefusedError(
            f"without these lines the relay {relay.name!r} would be no exit: {relay.torrc} has"
            " ExitRelay auto and no other exit option; nothing was changed",
            hint=f"write ExitRelay 1 into {relay.torrc}, reload Tor, and type: {_AGAIN}",
        )
    # A file that is included twice counts twice.
    follow = cache(files.without_links)
    gone = Counter(
        entry
        for place, rule in fragment_include.own_rules(relay.torrc, relay.fragment)
        if (adoptable.resolved(place, follow), rule) in moved
        for entry in parse_entries([rule])
    )
    if Counter(after.exit_policy) + gone != Counter(before.exit_policy):
        raise RefusedError(
            f"without these lines other ExitPolicy lines would count on the relay {relay.name!r},"
            " such as those of its defaults-torrc; nothing was changed",
            hint=f"copy those that are to count into {relay.torrc}, and type: {_AGAIN}",
        )


def _folder(view: View, otherwise: Path) -> Path:
    """Return the folder to which relative paths in a torrc are relative."""
    return process.working_folder(view.pid) if view.pid else otherwise


def _edit(present: Plan) -> tuple[list[Path], list[ExitpolError]]:
    """Take the lines out whose rules are in the fragments.

    Returns the changed files, and why lines are left. The caller holds both locks.
    """
    host = present.host
    texts = {relay.name: fragment.read(relay.fragment) or "" for relay in host.relays}
    installed = {
        name: Decisions([rule for rule in fragment.rules_of(text) if isinstance(rule, Rule)])
        for name, text in texts.items()
    }
    ready = [rule for rule in present.rules if _is_rejected(rule, installed)]
    left: list[ExitpolError] = [
        AttentionError(
            f"{rule.place}: {rule.text!r} stays: the fragment does not have its rule yet",
            hint=_AGAIN,
        )
        for rule in present.rules
        if not _is_rejected(rule, installed)
    ]
    changed: list[Path] = []
    planned = {path: old for path, (old, _) in present.edits.items()}
    for path, (old, new) in _edits(ready, planned).items():
        readers = {name for rule in ready if rule.place.file == path for name in rule.relays}
        try:
            for relay, view in _selected(host, present.applied):
                if relay.name in readers:
                    _verify(relay, view, {path: new}, texts[relay.name])
            # Last, because Tor may take long to verify.
            if torrc.read_text(path) != old:
                raise InvalidFileError(f"{path} was changed just now", hint=_AGAIN)
            files.replace(path, new.encode("utf-8", "surrogateescape"))
            changed.append(path)
        except ExitpolError as error:
            stays = f"the lines of {path} stay; the blocks for them are recorded and installed"
            left.append(type(error)(f"{error}; {stays}", hint=error.hint))
    return changed, left


def _verify(relay: Relay, view: View, texts: Mapping[Path, str], rules: str) -> None:
    """Let Tor verify the files of a relay with other texts. Raises TorRefusesError."""
    invocation = invocations.of_relay(relay)
    folder = _folder(view, invocation.folder)
    text = fragment_include.with_texts(relay.torrc, relay.fragment, texts, rules, folder)
    verify.verify(invocation, text)


def _differences(before: Applied, after: Applied) -> list[ExitpolError]:
    """Return how the enforced policies differ from what they were, which they should not."""
    former = {view.name: view.running for view in before.views}
    found: list[ExitpolError] = []
    for view in after.views:
        was, now = former.get(view.name), view.running
        if was is None or now is None or was.enforced is None or now.enforced is None:
            continue
        if not same_meaning(was.enforced, now.enforced):
            sentences = compare(was.enforced, now.enforced).sentences
            if sentences:
                said_so = f"Tor ({view.name}) enforces another policy: {'; '.join(sentences)}"
                found.append(AttentionError(said_so, hint="exitpol status").about(view.name))
    return found
