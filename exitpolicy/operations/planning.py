"""Plan the content of each fragment: the blocks that are safe on every relay that includes it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from exitpolicy.core.block import Block, Blocks
from exitpolicy.core.destination import Destination
from exitpolicy.core.errors import (
    AttentionError,
    ExitpolError,
    InvalidFileError,
    RefusedError,
)
from exitpolicy.core.pace import Pace
from exitpolicy.operations import refusals
from exitpolicy.operations.choosing import Choosing, choosing, ranks_of
from exitpolicy.operations.fitting import Broken, fit, gauges
from exitpolicy.operations.host import Host
from exitpolicy.operations.parallel import in_parallel
from exitpolicy.policy.batching import EVERYTHING_URGENT, Change, Postponed, Urgent
from exitpolicy.policy.descriptor import DESCRIPTOR_LIMIT, least_bytes, rules_bytes
from exitpolicy.policy.evaluate import Decisions
from exitpolicy.policy.minimize import fewest_rules
from exitpolicy.policy.reconcile import View
from exitpolicy.policy.rule import Entry, Rule
from exitpolicy.storage import base_policies
from exitpolicy.storage.config import FitChoice, Relay
from exitpolicy.storage.ledger_file import Ledger
from exitpolicy.tor import fragment, inspect
from exitpolicy.tor.inspect import CandidateError

Stage = Callable[[Path, str], Path | str]
"""Makes a candidate readable for Tor: given the fragment and the text, returns path or text."""

_PLANNED_AT_ONCE = 6
"""How many fragments are planned at once, unless their relays do not answer."""

_NAMED = 3
"""How many destinations a message names before it counts the rest."""


@dataclass(frozen=True, slots=True)
class Pacing:
    """What decides which changes wait for a batch."""

    pace: Pace
    urgent: Urgent


AT_ONCE: Final = Pacing(Pace(), EVERYTHING_URGENT)
"""Nothing waits."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The changes that a fragment waits with."""

    changes: Postponed
    text: str
    """The text with them, as planned now."""
    seconds: float
    """How long they wait, in running time."""


@dataclass(frozen=True, slots=True)
class FragmentPlan:
    """One fragment, the relays that include it, and its planned content."""

    path: Path
    relays: tuple[Relay, ...]
    former: str | None
    """The installed text; None if there is no file."""
    text: str | None
    """The text to install; None to leave the file as it is, because Tor refuses the text."""
    text_without_additions: str
    """The text with removals only. It is restored if Tor exits at the reload."""
    views: tuple[View, ...]
    """For each relay, what was observed, with its files read as if `text` were installed."""
    blocks: Blocks
    """The blocks in force that concern these relays."""
    held: Mapping[Destination, ExitpolError] = field(default_factory=dict)
    """For each block that is not to be installed, the reason."""
    unsafe: tuple[RefusedError, ...] = ()
    """Why the fragment must be empty: any rule would change more than its destination."""
    obstacles: tuple[ExitpolError, ...] = ()
    """Why rules have no effect on a relay, or nothing can be installed."""
    remarks: tuple[AttentionError, ...] = ()
    """What needs the operator and keeps nothing from being installed."""
    closed: bool = False
    """Whether it is to be replaced for its mode: Tor cannot read it, or everybody can write it."""
    batch: Batch | None = None
    """The changes that wait, so that `text` is the installed one; None if none do."""

    @property
    def changed(self) -> bool:
        """Whether the file has to be replaced."""
        return self.text is not None and (self.text != self.former or self.closed)

    @property
    def is_behind(self) -> bool:
        """Whether the file differs from its planned content."""
        return self.text is None or self.text != self.former or self.closed

    @property
    def installed(self) -> tuple[Entry, ...]:
        """The rules of the installed text."""
        return _rules_of(self.former)

    @property
    def rules(self) -> tuple[Entry, ...]:
        """The rules of the text to install, or of the present one."""
        return _rules_of(self.former if self.text is None else self.text)

    @property
    def postponed(self) -> Postponed:
        """How the text to install differs from the desired one, because changes wait."""
        return Postponed() if self.batch is None else self.batch.changes

    def problems(self) -> list[ExitpolError]:
        """Return what keeps blocks from being installed, one error for each reason."""
        emptied = [_emptied(error) for error in self.unsafe if self.installed]
        left_out = self.left_out
        held = {d: error for d, error in self.held.items() if d not in left_out}
        return [*emptied, *self.obstacles, *_grouped(held), *self.remarks]

    @property
    def left_out(self) -> frozenset[Destination]:
        """The blocks of lists that give their room to others, as the config says."""
        return frozenset(
            destination
            for destination, error in self.held.items()
            if isinstance(error, refusals.LeftOutError)
        )


def groups(relays: Iterable[Relay]) -> list[tuple[Path, tuple[Relay, ...]]]:
    """Return each fragment with the relays that include it."""
    found: dict[Path, list[Relay]] = {}
    for relay in relays:
        found.setdefault(relay.fragment, []).append(relay)
    return [(path, tuple(group)) for path, group in found.items()]


def plan_all(
    host: Host,
    in_force: Blocks,
    ledger: Ledger,
    stage: Stage,
    pacing: Pacing,
    *,
    asked: frozenset[Destination] = frozenset(),
) -> tuple[FragmentPlan, ...]:
    """Plan every fragment of the host, given the blocks in force and the ledger.

    `asked` are the blocks of a change that is refused if one of them is held by a RefusedError: Tor
    does not verify the fragment without them then. Raises InvalidFileError for a host without
    relays, unless it only keeps a fleet's ledger.
    """
    found = groups(host.relays if host.keeps_ledger_only else host.some_relays())
    return tuple(
        in_parallel(
            lambda group: _Planner(host, ledger, in_force, stage, pacing, *group, asked).plan(),
            found,
            at_once=_PLANNED_AT_ONCE,
        )
    )


def concerns(block: Block, relays: Iterable[Relay]) -> bool:
    """Tell whether a block is for any of the relays."""
    return not block.relays or any(relay.name in block.relays for relay in relays)


def base_rules(ledger: Ledger, relays: Sequence[Relay]) -> tuple[Rule, ...]:
    """Return the rules of the base policy of relays that include one fragment; none for none.

    If their policies differ, it is that of the first one.
    """
    name = ledger.policy if not relays else ledger.policy_of(relays[0].name)
    return () if name is None else base_policies.load(name).rules


def _conflicting_policies(ledger: Ledger, relays: Sequence[Relay]) -> list[AttentionError]:
    """Report relays that include one fragment and have different base policies in the ledger."""
    first, *others = relays
    return [
        AttentionError(
            f"the relays {first.name!r} and {other.name!r} include the same fragment, and the"
            f" ledger gives them different base policies; both have that of {first.name!r}",
            hint="to give each relay its own fragment: exitpol init",
        )
        for other in others
        if ledger.policy_of(first.name) != ledger.policy_of(other.name)
    ]


@dataclass(frozen=True, slots=True)
class _Planner:
    host: Host
    ledger: Ledger
    in_force: Blocks
    stage: Stage
    pacing: Pacing
    path: Path
    relays: tuple[Relay, ...]
    asked: frozenset[Destination]

    def plan(self) -> FragmentPlan:
        """Plan the fragment. Its errors concern only the relays that include it."""
        blocks = self.in_force
        if not all(concerns(block, self.relays) for block in blocks):
            blocks = Blocks.of(block for block in blocks if concerns(block, self.relays))
        former: str | None = None
        try:
            former = fragment.read(self.path)
            closed = former is not None and not fragment.is_public(self.path)
            return self._in_batch(replace(self._plan(blocks, former), closed=closed))
        except InvalidFileError as error:
            return self._untouched(blocks, former, error)

    def _in_batch(self, plan: FragmentPlan) -> FragmentPlan:
        """Return a plan, or the one that leaves the fragment as it is until the next batch.

        What repairs harm never waits: rules that make a relay an exit, that Tor refuses, or that
        the config forbids.
        """
        interval = self.host.config.batch.total_seconds()
        seconds = self.pacing.pace.wait((relay.name for relay in self.relays), interval)
        if not seconds or plan.former is None or not plan.changed or plan.closed or plan.unsafe:
            return plan
        changes = self._postponed(plan)
        if changes is None or plan.text is None:
            return plan
        present = inspect.Candidate(self.path, self.path, plan.installed)
        try:
            views = in_parallel(lambda relay: self._inspect_one(relay, present), self.relays)
        except CandidateError:
            return plan
        return replace(
            plan,
            text=plan.former,
            text_without_additions=plan.former,
            views=tuple(views),
            batch=Batch(changes, plan.text, seconds),
        )

    def _postponed(self, plan: FragmentPlan) -> Postponed | None:
        """Return the changes of a plan if all of them may wait."""
        # Most hosts have no list, and need no comparison.
        if not any(block.source for block in self.ledger.blocks):
            return None
        rules = _plain(plan.installed), _plain(plan.rules)
        if (len(rules[0]), len(rules[1])) != (len(plan.installed), len(plan.rules)):
            return None
        left_out = plan.left_out
        released = [b for b in self.ledger.blocks if b.destination not in plan.blocks]
        released += (block for block in plan.blocks if block.destination in left_out)
        present = [block for block in plan.blocks if block.destination not in plan.held]
        widens = self.host.config.fit is FitChoice.OVER_BLOCK
        return Change(*rules, present, released, widens).postponed(self.pacing.urgent)

    def _plan(self, blocks: Blocks, former: str | None) -> FragmentPlan:
        base = self._base()
        installed, added, held = self._sorted(blocks, _rules_of(former))
        allowed: Iterable[Destination] = blocks.by_destination
        if held:
            allowed = [destination for destination in allowed if destination not in held]
        rules = (*fewest_rules(allowed), *base)
        # Tor takes minutes to read very many rules. If they cannot all be installed, Tor reads its
        # files with a few of them, and exitpol computes the rest.
        short = least_bytes(rules) <= DESCRIPTOR_LIMIT and rules_bytes(rules) <= DESCRIPTOR_LIMIT
        read = rules if short else (*rules[:1], *base)
        views, refused = self._inspect(read, former)
        fewer = self._fewer(installed, held, former, base)
        unsafe = self._unsafe(views)
        if unsafe:
            # On a relay that is no exit the blocks are moot; on any other one they are missing.
            exits = any(view.configured is not None and view.configured.own.exits for view in views)
            held = dict.fromkeys(blocks.by_destination, unsafe[0]) if exits else {}
            chosen: tuple[Rule, ...] = ()
        else:
            found = fit(
                self._ranked(installed),
                self._ranked(added),
                base=base,
                baseline=self._baseline(former, base),
                on=gauges(views),
                known=rules,
                choosing=self._choosing(views, blocks),
            )
            chosen = found.rules
            # Thousands of blocks may be held for one reason: it is made once.
            limits = {id(one): one for one in found.held.values()}
            reasons = {number: refusals.BeyondLimitError(one) for number, one in limits.items()}
            held |= {d: reasons[id(one)] for d, one in found.held.items()}
            held |= self._left_out(blocks, found.held)
        is_refused = any(isinstance(held.get(one), RefusedError) for one in self.asked)
        if chosen != read and not is_refused:
            views, refused = self._inspect(chosen, former)
        plan = FragmentPlan(self.path, self.relays, former, None, fewer, views, blocks, held)
        if refused is not None or all(view.configured is None for view in views):
            return _without_additions(plan, installed, refused)
        pairs = list(zip(self.relays, views, strict=True))
        without_effect = (refusals.without_effect(*pair) for pair in pairs if chosen)
        return replace(
            plan,
            text=fragment.render(chosen),
            text_without_additions=fragment.render(()) if unsafe else fewer,
            unsafe=tuple(unsafe),
            obstacles=tuple(error for error in without_effect if error is not None),
            remarks=(
                *_conflicting_policies(self.ledger, self.relays),
                *(one for pair in pairs for one in refusals.not_understood(*pair)),
            ),
        )

    def _untouched(self, blocks: Blocks, former: str | None, error: ExitpolError) -> FragmentPlan:
        present = inspect.Candidate(self.path, former or "", _rules_of(former))
        views = in_parallel(lambda relay: self._inspect_one(relay, present), self.relays)
        _, added, held = self._sorted(blocks, present.rules)
        return FragmentPlan(
            self.path,
            self.relays,
            former,
            None,
            former or "",
            tuple(views),
            blocks,
            {**dict.fromkeys((block.destination for block in added), error), **held},
            obstacles=(error,),
        )

    def _ranked(self, blocks: Sequence[Block]) -> list[Block]:
        """Return the operator's blocks first, then those of lists by their priority."""
        ranks = ranks_of(blocks, self.host.config.priorities)
        return sorted(blocks, key=lambda block: ranks[block.source])

    def _choosing(self, views: Sequence[View], blocks: Blocks) -> Choosing | None:
        config = self.host.config
        if config.fit is FitChoice.REFUSE:
            return None
        return choosing(config, config.fit, views, self.ledger.blocks, blocks)

    def _left_out(
        self, blocks: Blocks, held: Mapping[Destination, Broken]
    ) -> dict[Destination, ExitpolError]:
        """Return for the blocks of lists that are left out by choice that this is so.

        A block of the operator's is a promise: that it has no room is a fault.
        """
        choice = self.host.config.fit
        if choice is FitChoice.REFUSE:
            return {}
        reasons: dict[str, ExitpolError] = {}
        found: dict[Destination, ExitpolError] = {}
        for destination, broken in held.items():
            if broken.problem.limit == "descriptor" and blocks.get(destination).source:
                reason = reasons.setdefault(
                    broken.relay, refusals.LeftOutError(broken.relay, choice)
                )
                found[destination] = reason
        return found

    def _base(self) -> tuple[Rule, ...]:
        return base_rules(self.ledger, self.relays)

    def _sorted(
        self, blocks: Blocks, rules: tuple[Entry, ...]
    ) -> tuple[list[Block], list[Block], dict[Destination, ExitpolError]]:
        """Return the installed blocks, the others, and those that the config forbids."""
        installed: list[Block] = []
        added: list[Block] = []
        held: dict[Destination, ExitpolError] = {}
        decisions = Decisions([rule for rule in rules if isinstance(rule, Rule)])
        for block in blocks:
            forbidden = refusals.forbidden(self.host.config, block)
            if forbidden is not None:
                held[block.destination] = forbidden
            elif rules and decisions.rejects(block.destination):
                installed.append(block)
            else:
                added.append(block)
        return installed, added, held

    def _baseline(self, former: str | None, base: tuple[Rule, ...]) -> tuple[Entry, ...]:
        """Return the rules whose use of the limits does not count against new blocks.

        These are the installed rules, or those of a new base policy: what the policy closes is no
        harm done by the blocks above it.
        """
        rules = _rules_of(former)
        return rules if not base or rules[-len(base) :] == base else base

    def _unsafe(self, views: Sequence[View]) -> list[RefusedError]:
        """Return why the fragment has to be empty."""
        pairs = list(zip(self.relays, views, strict=True))
        if any(view.configured is not None and view.configured.own.exits for view in views):
            # A relay with ExitRelay 0 may share the fragment with an exit, as long as that line
            # remains.
            pairs = [(relay, view) for relay, view in pairs if not _says_no(view)]
        errors = (refusals.unsafe(relay, view) for relay, view in pairs)
        return [error for error in errors if error is not None]

    def _inspect(
        self, rules: tuple[Entry, ...], former: str | None
    ) -> tuple[tuple[View, ...], CandidateError | None]:
        """Observe the relays; return also why Tor refuses the candidate, if it does."""
        text = fragment.render(rules)
        same = text == former and fragment.is_public(self.path)
        content = self.path if same else self.stage(self.path, text)
        candidate = inspect.Candidate(self.path, content, rules)

        def one(relay: Relay) -> tuple[View, CandidateError | None]:
            try:
                return self._inspect_one(relay, candidate), None
            except CandidateError as error:
                present = inspect.Candidate(self.path, former or "", _rules_of(former))
                return self._inspect_one(relay, present), error

        found = in_parallel(one, self.relays)
        errors = [error for _, error in found if error is not None]
        return tuple(view for view, _ in found), errors[0] if errors else None

    def _inspect_one(self, relay: Relay, candidate: inspect.Candidate) -> View:
        return inspect.inspect_relay(
            relay,
            candidate,
            self.host.readings,
            record=self.host.last_read_path,
            connections=self.host.connections,
        )

    def _fewer(
        self,
        installed: Sequence[Block],
        held: Mapping[Destination, ExitpolError],
        former: str | None,
        base: tuple[Rule, ...],
    ) -> str:
        """Return the text for the blocks that are installed and stay so."""
        kept = [b.destination for b in installed if not held or b.destination not in held]
        rules = (*fewest_rules(kept), *base)
        present = _rules_of(former)
        if former is not None and (rules == present or not _is_part(rules, present)):
            return former
        if rules_bytes(rules) > max(DESCRIPTOR_LIMIT, rules_bytes(_plain(present))):
            # The present rules are wider than the blocks. Those for no block any more are removed.
            decisions = Decisions(rules)
            return fragment.render(
                rule
                for rule in _plain(present)
                if not decisions.is_unmatched(rule.family, rule.network, rule.last)
            )
        return fragment.render(rules)


def _without_additions(
    plan: FragmentPlan, installed: Iterable[Block], refused: CandidateError | None
) -> FragmentPlan:
    """Return a plan that adds nothing: Tor refuses the candidate, or the files of its relays.

    A Tor whose own files are broken exits at its next reload, whatever its fragment holds: removals
    are installed then.
    """
    broken = next((view.broken for view in plan.views if view.broken is not None), None)
    reason = refused or broken or AttentionError(f"{plan.path} could not be verified")
    present = {block.destination for block in installed}
    absent = (d for d in plan.blocks.by_destination if d not in present and d not in plan.held)
    keeps_text = refused is not None or plan.former is None
    return replace(
        plan,
        text=None if keeps_text else plan.text_without_additions,
        held={**plan.held, **dict.fromkeys(absent, reason)},
        obstacles=() if refused is None else (refused,),
    )


def _says_no(view: View) -> bool:
    return view.configured is not None and view.configured.own.exit_relay is False


def _is_part(rules: Iterable[Rule], others: Iterable[Entry]) -> bool:
    """Tell whether rejecting rules reject nothing that the others do not reject."""
    decisions = Decisions([rule for rule in others if isinstance(rule, Rule)])
    return all(rule.accept or decisions.rejects(rule.destination) for rule in rules)


def _rules_of(text: str | None) -> tuple[Entry, ...]:
    return () if text is None else fragment.rules_of(text)


def _plain(entries: Iterable[Entry]) -> tuple[Rule, ...]:
    return tuple(entry for entry in entries if isinstance(entry, Rule))


def _emptied(error: ExitpolError) -> AttentionError:
    return AttentionError(f"{error}; exitpol's rules are taken out", hint=error.hint)


def _grouped(held: Mapping[Destination, ExitpolError]) -> list[ExitpolError]:
    """Return one error for each reason, which names the blocks that it concerns."""
    by_reason: dict[str, tuple[ExitpolError, list[Destination]]] = {}
    # Thousands of blocks may have the same error.
    by_error: dict[int, list[Destination]] = {}
    for destination, error in held.items():
        found = by_error.get(id(error))
        if found is None:
            found = by_error[id(error)] = by_reason.setdefault(str(error), (error, []))[1]
        found.append(destination)
    return [_not_installed(error, found) for error, found in by_reason.values()]


def _not_installed(error: ExitpolError, destinations: Sequence[Destination]) -> AttentionError:
    named = ", ".join(map(str, destinations[:_NAMED]))
    more = f" and {len(destinations) - _NAMED} more" if len(destinations) > _NAMED else ""
    return AttentionError(f"not installed: {named}{more}: {error}", hint=error.hint)
