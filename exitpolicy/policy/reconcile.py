"""Wanted, installed, enforced: what has to be done to make them equal, and what is already.

Wanted is what ledger and clock say, installed is what stands in the fragment, enforced is the
live policy of a running Tor. All of it is compared by meaning; nothing is done here.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Final

from exitpolicy.core.block import Block, State
from exitpolicy.core.destination import Destination
from exitpolicy.core.errors import ExitpolError
from exitpolicy.policy.evaluate import Decisions, same_meaning
from exitpolicy.policy.options import ExitOptions
from exitpolicy.policy.rule import Rule, RuleError, parse_policy

_GRAVEST_FIRST: Final = (State.SHADOWED, State.PENDING, State.UNKNOWN, State.LIVE, State.MOOT)


@dataclass(frozen=True, slots=True)
class Running:
    """What a running Tor says of itself."""

    version: str
    torrc: str
    """GETINFO config-file."""
    options: ExitOptions
    """GETCONF: what was configured when it last read its torrc, or was told since."""
    enforced: tuple[Rule, ...] | None
    """GETINFO exit-policy/full; None while Tor has none."""
    problem: str | None
    """Why there is no enforced policy, in Tor's words."""
    default: tuple[Rule, ...] = ()
    """GETINFO exit-policy/default."""
    local: tuple[Rule, ...] = ()
    """GETINFO exit-policy/reject-private/relay."""
    reduced: tuple[Rule, ...] = ()
    """What ReducedExitPolicy means in this version of Tor; empty where we do not know."""
    descriptor: bytes | None = None
    """GETINFO dir/server/authority: the relay's own descriptor; None while there is none."""
    network_disabled: bool = False
    """DisableNetwork: the enforced policy is stale."""
    reload_ignored: bool = False
    """__ReloadTorrcOnSIGHUP 0: a reload reads nothing."""
    pid: int = 0
    """Its process id; 0 if it does not say."""

    @property
    def expected(self) -> tuple[Rule, ...] | None:
        """What Tor is to enforce with its running options; None if that cannot be said."""
        try:
            return self.options.policy(
                default=self.default,
                local=self.local,
                reduced=self.reduced,
                enforced=self.enforced or (),
            )
        except RuleError:
            return None

    @property
    def settled(self) -> bool:
        """Whether Tor enforces what its running options say."""
        expected = self.expected
        return (
            self.enforced is not None
            and expected is not None
            and not self.network_disabled
            and same_meaning(self.enforced, expected)
        )


@dataclass(frozen=True, slots=True)
class Configured:
    """What the files of a relay say, read by its own Tor with a given fragment."""

    options: ExitOptions
    fragment: tuple[str, ...]
    """The fragment's rules, as they were when it was read."""

    @property
    def own(self) -> ExitOptions:
        """The operator's own options, without the fragment."""
        return self.options.without(self.fragment)

    @property
    def shadowed(self) -> tuple[str, ...]:
        """The operator's own ExitPolicy rules below the fragment that decide nothing there."""
        start = self.options.position(self.fragment)
        if start is None:
            return ()
        above = [rule for value in self.options.exit_policy[:start] for rule in _rules(value)]
        ours = parse_policy(self.fragment)
        own = [
            (item.strip(), rule)
            for value in self.options.exit_policy[start + len(self.fragment) :]
            for item in value.split(",")
            for rule in _rules(item)
        ]
        below = [rule for _, rule in own]
        with_us = _used([*above, *ours, *below], len(above) + len(ours))
        without_us = _used([*above, *below], len(above))
        dead = {text for (text, _), a, b in zip(own, with_us, without_us, strict=True) if b > a}
        alive = {text for (text, _), a in zip(own, with_us, strict=True) if a}
        return tuple(
            text for text in dict.fromkeys(text for text, _ in own) if text in dead - alive
        )

    def with_fragment(self, fragment: tuple[str, ...]) -> "Configured":
        """Return what the files would say with another fragment in the same place."""
        own, start = self.own, self.options.position(self.fragment) or 0
        values = (*own.exit_policy[:start], *fragment, *own.exit_policy[start:])
        return Configured(replace(own, exit_policy=values), fragment)


@dataclass(frozen=True, slots=True)
class View:
    """All that was seen of one relay."""

    name: str
    running: Running | None
    """None if it cannot be reached."""
    configured: Configured | None
    """None if its files are not good."""
    unreachable: ExitpolError | None = None
    """Why it cannot be reached."""
    broken: ExitpolError | None = None
    """Why its files are not good."""
    must_restart: ExitpolError | None = None
    """Why a reload of its files would end it."""

    @property
    def in_sync(self) -> bool:
        """Whether the relay runs what its files say and enforces it."""
        return (
            self.running is not None
            and self.configured is not None
            and same_options(self.running.options, self.configured.options)
            and self.running.settled
        )

    @property
    def nearly_in_sync(self) -> bool:
        """Whether all that is missing is that Tor enforces what it has read, which takes time."""
        return (
            not self.in_sync
            and self.running is not None
            and self.configured is not None
            and not self.running.network_disabled
            and same_options(self.running.options, self.configured.options)
        )

    @property
    def drift(self) -> tuple[str, ...]:
        """What is not as the files say, in sentences for people; empty when in sync."""
        running = self.running
        if running is None:
            return ()
        found: list[str] = []
        if running.network_disabled:
            found.append("DisableNetwork is 1: Tor is not on the network and its policy is stale")
        if running.reload_ignored:
            found.append("__ReloadTorrcOnSIGHUP is 0: a reload changes nothing")
        if self.configured is not None:
            found += _differences(running.options, self.configured.options)
        if running.enforced is None:
            found.append(f"Tor has no exit policy: {running.problem}")
        elif not running.settled and not running.network_disabled:
            found.append("the enforced policy is not what Tor's own options say")
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Plan:
    """The least that makes wanted, installed and enforced equal."""

    install: bool
    """Whether the fragment has to be replaced."""
    reload: tuple[str, ...]
    """The relays that have to read their files again."""

    @property
    def nothing(self) -> bool:
        """Whether all is as it should be."""
        return not self.install and not self.reload


def _rules(value: str) -> tuple[Rule, ...]:
    try:
        return parse_policy([value])
    except RuleError:
        return ()


def _used(rules: Sequence[Rule], start: int) -> list[bool]:
    """Tell of each rule from `start` on whether it decides anything."""
    deciding = Decisions(rules).used()
    return [index in deciding for index in range(start, len(rules))]


def plan(wanted: str, installed: str | None, views: Iterable[View]) -> Plan:
    """Return what has to be done.

    `wanted` and `installed` are texts of the fragment; the views were read with the wanted one. A
    relay whose files are not good is never reloaded: it would exit.
    """
    return Plan(
        wanted != installed,
        tuple(
            view.name
            for view in views
            if view.running is not None
            and view.configured is not None
            and not same_options(view.running.options, view.configured.options)
        ),
    )


def same_options(running: ExitOptions, configured: ExitOptions) -> bool:
    """Tell whether Tor runs with the exit options that its files say."""
    return running == configured


def _differences(running: ExitOptions, configured: ExitOptions) -> list[str]:
    """Say how the options that Tor runs with differ from those in its files."""
    found: list[str] = []
    missing = [v for v in configured.exit_policy if v not in running.exit_policy]
    extra = [v for v in running.exit_policy if v not in configured.exit_policy]
    if missing:
        found.append(f"Tor does not run {_some(missing)}, which its files say")
    if extra:
        found.append(f"Tor runs {_some(extra)}, which its files do not say")
    if not missing and not extra and running.exit_policy != configured.exit_policy:
        found.append("Tor runs the ExitPolicy lines of its files in another order or number")
    for name in (f.name for f in fields(ExitOptions) if f.name != "exit_policy"):
        here, there = getattr(running, name), getattr(configured, name)
        if here != there:
            found.append(f"Tor runs with {name} {here}, its files say {there}")
    return found


def _some(values: Sequence[str]) -> str:
    more = f" and {len(values) - 3} more" if len(values) > 3 else ""
    return f"{', '.join(repr(value) for value in values[:3])}{more}"


def block_states(
    blocks: Iterable[Block], fragment: Sequence[str], views: Sequence[View]
) -> dict[Destination, State]:
    """Return the state of each block: the gravest that it has on any of the relays."""
    ours = frozenset(parse_policy(fragment))
    blocks = tuple(blocks)
    by_view = [_states_on(view, blocks, ours) for view in views]
    return {
        block.destination: _gravest([states[block.destination] for states in by_view])
        for block in blocks
    }


def shadowing(destination: Destination, decisions: Decisions) -> Rule | None:
    """Return the first rule that accepts a part of a destination; None if none does."""
    for index in decisions.deciding(destination):
        if index >= 0 and decisions.accepts(index):
            return decisions.rules[index]
    return None


def _states_on(
    view: View, blocks: Sequence[Block], ours: frozenset[Rule]
) -> Mapping[Destination, State]:
    running = view.running
    if running is None:
        return dict.fromkeys((block.destination for block in blocks), State.UNKNOWN)
    if running.enforced is None:
        return dict.fromkeys((block.destination for block in blocks), State.PENDING)
    decisions = Decisions(running.enforced)
    # Only where Tor runs our rules and has settled can an accept be said to win for good.
    final = view.in_sync

    def state(destination: Destination) -> State:
        deciding = decisions.deciding(destination)
        if running.network_disabled:
            return State.PENDING
        if any(decisions.accepts(index) for index in deciding):
            return State.SHADOWED if final else State.PENDING
        if any(decisions.rules[index] in ours for index in deciding):
            return State.LIVE
        return State.MOOT

    return {block.destination: state(block.destination) for block in blocks}


def _gravest(states: Sequence[State]) -> State:
    return next((state for state in _GRAVEST_FIRST if state in states), State.UNKNOWN)
