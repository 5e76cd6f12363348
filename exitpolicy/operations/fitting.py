"""Choose the blocks that a fragment can hold without breaking a limit of Tor on any relay."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Final, NamedTuple

from exitpolicy.core.addresses import BITS
from exitpolicy.core.block import Block
from exitpolicy.core.destination import BOTH, Destination
from exitpolicy.operations.choosing import Choosing
from exitpolicy.policy import limits
from exitpolicy.policy.descriptor import (
    DESCRIPTOR_LIMIT,
    SHORTEST_ADDRESS_RULE,
    SHORTEST_RULE,
    least_bytes,
    lone_bytes,
)
from exitpolicy.policy.evaluate import IMPLICIT_ACCEPT, Decisions
from exitpolicy.policy.limits import Limits
from exitpolicy.policy.minimize import fewest_rules
from exitpolicy.policy.options import ExitOptions
from exitpolicy.policy.port_summary import REJECTED_LIMIT
from exitpolicy.policy.reconcile import Configured, Running, View
from exitpolicy.policy.rule import Entry, Rule
from exitpolicy.storage import base_policies
from exitpolicy.storage.config import FitChoice

_MEASURED_BYTES: Final = 5 * DESCRIPTOR_LIMIT
"""Of longer sets of rules, a part is measured first: 100,000 rules take seconds."""
_PART_BYTES: Final = 3 * DESCRIPTOR_LIMIT
_KEPT: Final = 64
"""Results that are kept: one for each fragment of a host with many relays."""


@dataclass(frozen=True, slots=True)
class Broken:
    """A limit that a block would break."""

    relay: str
    problem: limits.Problem


@dataclass(frozen=True, slots=True)
class Fit:
    """The blocks that a fragment holds, and those that do not fit."""

    rules: tuple[Rule, ...]
    """The fewest rules for the blocks that fit, then those of the base policy."""
    held: Mapping[Destination, Broken]
    """For each block that does not fit, the limit that it would break."""


@dataclass(slots=True)
class Gauge:
    """Measures what fragments cost one relay."""

    relay: str
    """The name of the relay."""
    configured: Configured
    running: Running | None
    """None if the relay cannot be reached."""
    _known: dict[tuple[Entry, ...], Limits] = field(default_factory=dict)

    def policy(self, rules: tuple[Entry, ...]) -> tuple[Rule, ...]:
        """Return the policy of the relay with `rules` in its fragment."""
        options = self.configured.with_fragment(rules).options
        local = () if self.running is None else self.running.local
        return _policy(options.understood, local)

    def measure(self, rules: tuple[Entry, ...]) -> Limits:
        """Return the limits of the relay with `rules` in its fragment."""
        if rules not in self._known:
            options = self.configured.with_fragment(rules).options
            measured = limits.measure(
                self.policy(rules), None if self.running is None else self.running.descriptor
            )
            # A rule that exitpol does not understand takes about its length in the descriptor.
            size = measured.descriptor_bytes + sum(len(str(e)) + 1 for e in options.unknown)
            self._known[rules] = replace(measured, descriptor_bytes=size)
        return self._known[rules]


def gauges(views: Sequence[View]) -> list[Gauge]:
    """Return a gauge for each relay that is an exit and whose files Tor accepts."""
    return [
        Gauge(view.name, view.configured, view.running)
        for view in views
        if view.configured is not None and view.configured.options.exits
    ]


def effective(on: Iterable[Gauge], base: tuple[Rule, ...], blocks: Iterable[Block]) -> list[Block]:
    """Return the blocks that some relay does not reject without them: others take no space."""
    policies = [Decisions(gauge.policy(base)) for gauge in on]
    return [
        block
        for block in blocks
        if not all(policy.rejects(block.destination) for policy in policies)
    ]


def space(on: Iterable[Gauge], base: tuple[Rule, ...]) -> tuple[int, int]:
    """Return how many bytes and addresses the rules of blocks may take above a base policy."""
    bare = [gauge.measure(base) for gauge in on]
    room = min((one.descriptor_room for one in bare), default=DESCRIPTOR_LIMIT)
    rejected = max((one.ipv4.most_rejected for one in bare), default=0)
    return max(0, room), REJECTED_LIMIT[4] - rejected


def _policy(options: ExitOptions, local: Sequence[Rule]) -> tuple[Rule, ...]:
    default, reduced = (base_policies.load(name).rules for name in ("default", "reduced"))
    return options.policy(default=default, local=local, reduced=reduced)


def fit(
    installed: Sequence[Block],
    added: Sequence[Block],
    *,
    base: tuple[Rule, ...],
    baseline: tuple[Entry, ...],
    on: Sequence[Gauge],
    known: tuple[Rule, ...] | None = None,
    choosing: Choosing | None = None,
) -> Fit:
    """Return the fragment for the blocks that fit; it keeps every limit that `baseline` keeps.

    `installed` are the blocks that the present fragment enforces. `added` are others. Both are in
    the order in which they get space. Installed and forced blocks are held to the descriptor's
    limit only. Where a block of the operator's does not fit, installed ones of lists give way.
    `known` are the rules for all blocks, if they have been computed already. With `choosing`, the
    most valuable blocks get the space, if not all fit the descriptor.
    """
    relays = tuple((gauge.relay, gauge.configured, gauge.running) for gauge in on)
    return _fit(_Task(tuple(installed), tuple(added), base, baseline, relays, choosing), known)


class _Task(NamedTuple):
    """What is to be fitted; see `fit`."""

    installed: tuple[Block, ...]
    added: tuple[Block, ...]
    base: tuple[Rule, ...]
    baseline: tuple[Entry, ...]
    relays: tuple[tuple[str, Configured, Running | None], ...]
    choosing: Choosing | None


# A change is fitted before it is recorded, and again when it is applied.
@lru_cache(maxsize=_KEPT)
def _fit(task: _Task, known: tuple[Rule, ...] | None) -> Fit:
    fitting = _fitting(task, known)
    if task.choosing is not None:
        outer = fitting.broken([*task.installed, *task.added])
        if outer is not None and outer.problem.limit == "descriptor":
            return _fit_chosen(task, task.choosing, outer)
    fitting.add([*task.installed, *(block for block in task.added if block.forced)])
    fitting.hold_to_all_limits()
    fitting.add([block for block in task.added if not block.forced])
    of_lists = [block for block in task.installed if block.source]
    if of_lists and any(not b.source and b.destination in fitting.held for b in task.added):
        fitting = _without_precedence(task, of_lists, known)
    return Fit(fitting.rules(fitting.chosen), fitting.held)


def _fit_chosen(task: _Task, choosing: Choosing, outer: Broken) -> Fit:
    """Fit the most valuable blocks. `outer` is the limit that all of them break."""
    blocks = [*task.installed, *task.added]
    fitting = _fitting(task, None)
    counted = fitting.effective(blocks)
    found = choosing.fitted(counted, *fitting.space)
    if found.over_blocked:
        others = {block.destination for block in blocks} - {b.destination for b in counted}
        rules = (*sorted({*found.rules, *fewest_rules(sorted(others))}), *task.base)
        if next(fitting.problems(rules), None) is None:
            return Fit(rules, dict.fromkeys(sorted(found.left_out), outer))
        without = choosing._replace(choice=FitChoice.LEAVE_OUT)
        found = without.fitted(counted, *fitting.space)
    kept = [block for block in blocks if block.destination not in found.left_out]
    count = len(task.installed)
    first = {block.destination for block in blocks[:count]}
    early = [block for block in kept if block.forced or block.destination in first]
    chosen = {block.destination for block in early}
    fitting.add(early)
    fitting.hold_to_all_limits()
    fitting.add([block for block in kept if block.destination not in chosen])
    # What would still fit is chosen already: thousands of others are not tried one by one.
    held = dict.fromkeys(sorted(found.left_out), outer) | fitting.held
    return Fit(fitting.rules(fitting.chosen), held)


def _fitting(task: _Task, known: tuple[Rule, ...] | None) -> "_Fitting":
    fitting = _Fitting(task.base, task.baseline, [Gauge(*relay) for relay in task.relays])
    if known is not None:
        fitting.know(len(task.installed) + len(task.added), known)
    return fitting


def _without_precedence(
    task: _Task, of_lists: list[Block], known: tuple[Rule, ...] | None
) -> "_Fitting":
    """Fit blocks of the operator's first, then those of lists, whether installed or not."""
    fitting = _fitting(task, known)
    own = [block for block in task.installed if not block.source]
    forced = [block for block in task.added if block.forced and not block.source]
    fitting.add([*own, *forced])
    fitting.hold_to_all_limits()
    fitting.add([block for block in task.added if not (block.forced or block.source)])
    fitting.add([*of_lists, *(block for block in task.added if block.source)])
    return fitting


class _Fitting:
    """Adds blocks as long as they fit."""

    def __init__(
        self, base: tuple[Rule, ...], baseline: tuple[Entry, ...], on: Sequence[Gauge]
    ) -> None:
        self.chosen: list[Block] = []
        self.held: dict[Destination, Broken] = {}
        self._base = base
        self._baseline = baseline
        self._gauges = on
        self._known: tuple[int, tuple[Rule, ...]] = (0, base)
        self._counts: Callable[[limits.Problem], bool] = lambda problem: not problem.forcible

    def hold_to_all_limits(self) -> None:
        """Hold further blocks also to the limits that --force may exceed.

        A limit that the chosen blocks break already does not count.
        """
        self._baseline = self.rules(self.chosen)
        self._counts = lambda _: True

    def know(self, count: int, rules: tuple[Rule, ...]) -> None:
        """Remember the rules of the fragment that holds all blocks; `count` is their number."""
        self._known = count, rules

    def rules(self, blocks: Sequence[Block]) -> tuple[Rule, ...]:
        """Return the rules of the fragment that holds these blocks, each of them once."""
        count, rules = self._known
        if len(blocks) == count:
            return rules
        return (*fewest_rules(block.destination for block in blocks), *self._base)

    def add(self, blocks: Sequence[Block], outer: Broken | None = None) -> None:
        """Choose the blocks that fit, in order. `outer` is the limit that a larger set breaks."""
        if outer is not None:
            blocks = self._without_too_long(blocks, outer)
        if not blocks:
            return
        broken = self.broken([*self.chosen, *blocks])
        if broken is None:
            self.chosen += blocks
            return
        # The error about the whole set says by how much the limit is exceeded.
        outer = outer or broken
        if len(blocks) == 1:
            self.held[blocks[0].destination] = outer
            return
        middle = self._leading(blocks, outer) or (len(blocks) + 1) // 2
        self.add(blocks[:middle], outer)
        self.add(blocks[middle:], outer)

    def effective(self, blocks: Sequence[Block]) -> list[Block]:
        """Return the blocks that take space."""
        return effective(self._gauges, self._base, blocks)

    @property
    def space(self) -> tuple[int, int]:
        """How many bytes and addresses the rules of blocks may take."""
        return space(self._gauges, self._base)

    def broken(self, blocks: Sequence[Block]) -> Broken | None:
        """Return the first limit that counts and that blocks would break."""
        return next(self.problems(self.rules(blocks)), None)

    def problems(self, rules: tuple[Rule, ...]) -> Iterator[Broken]:
        """Yield the limits that count and that rules would break."""
        if rules == self._baseline:
            return
        for gauge in self._gauges:
            before = gauge.measure(self._baseline)
            after = self._estimate(gauge, rules) or gauge.measure(rules)
            for problem in limits.assess(before, after):
                if self._counts(problem):
                    yield Broken(gauge.relay, problem)

    def _estimate(self, gauge: Gauge, rules: tuple[Rule, ...]) -> Limits | None:
        """Return about what a long set of rules uses, if a part of it exceeds the descriptor.

        Tor drops a rule only because a rule of the operator's covers it, as no rule of a fewest set
        covers another. The whole set is therefore at least as long as any part of it. The part has
        the widest rules, as only they cover own rules, and some of all.
        """
        least = least_bytes(rules)
        if least <= _MEASURED_BYTES:
            return None
        rules = tuple(rule for rule in rules[: len(rules) - len(self._base)] if rule.family == 4)
        wide = sorted((r for r in rules if r.prefix < BITS[4]), key=lambda rule: rule.prefix)
        count = _PART_BYTES // SHORTEST_ADDRESS_RULE
        part = dict.fromkeys((*wide[:count], *rules[:: len(rules) // count + 1]))
        measured = gauge.measure((*part, *self._base))
        if measured.descriptor_room >= 0:
            return None
        factor = least / least_bytes(part)
        lines, length = round(measured.policy_lines * factor), round(measured.policy_bytes * factor)
        return replace(
            measured,
            descriptor_bytes=measured.descriptor_bytes - measured.policy_bytes + length,
            is_estimate=True,
            policy_lines=lines,
            policy_bytes=length,
        )

    def _without_too_long(self, blocks: Sequence[Block], outer: Broken) -> list[Block]:
        """Hold back blocks whose own line exceeds the room in the descriptor; return the others.

        This saves a measurement for each of many blocks. A line costs its length, unless it
        overlaps or adjoins a chosen rule and can be merged with it.
        """
        if outer.problem.limit != "descriptor" or not self._gauges:
            return list(blocks)
        chosen = self.rules(self.chosen)
        room = self._room(chosen)
        decisions = Decisions(chosen[: len(chosen) - len(self._base)])
        rest: list[Block] = []
        for block in blocks:
            destination = block.destination
            if _exceeds(destination, room) and _is_apart(decisions, destination):
                self.held[destination] = outer
            else:
                rest.append(block)
        return rest

    def _leading(self, blocks: Sequence[Block], outer: Broken) -> int:
        """Return how many of the first blocks surely fit the descriptor, but not all of them."""
        if outer.problem.limit != "descriptor" or not self._gauges:
            return 0
        room = self._room(self.rules(self.chosen))
        for count, block in enumerate(blocks[:-1]):
            room -= lone_bytes(block.destination)
            if room < 0:
                return count
        return len(blocks) - 1

    def _room(self, rules: tuple[Rule, ...]) -> int:
        return min(gauge.measure(rules).descriptor_room for gauge in self._gauges)


def _exceeds(destination: Destination, room: int) -> bool:
    """Tell whether the rules for a destination, by themselves, take more than `room` bytes."""
    family, first, last, _ = destination
    if family == 6:
        return False
    least = SHORTEST_ADDRESS_RULE if first == last else SHORTEST_RULE
    return least > room or lone_bytes(destination) > room


def _is_apart(decisions: Decisions, destination: Destination) -> bool:
    """Tell whether no rule matches the destination or an address next to it."""
    family, first, last, ports = destination
    if family == BOTH:
        return decisions.deciding(destination) == [IMPLICIT_ACCEPT]
    first, last = max(0, first - 1), min((1 << BITS[family]) - 1, last + 1)
    if decisions.is_unmatched(family, first, last):
        return True
    return decisions.deciding(Destination(family, first, last, ports)) == [IMPLICIT_ACCEPT]
