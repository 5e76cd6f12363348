"""Comparison of the desired, the installed and the enforced state. Changes nothing.

Desired is what ledger and clock say, installed is what the fragment holds, enforced is the policy
of a running Tor. Policies are compared by meaning.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from exitpolicy.core.destination import Destination
from exitpolicy.core.errors import ExitpolError
from exitpolicy.policy.evaluate import Decisions, same_meaning
from exitpolicy.policy.options import ExitOptions
from exitpolicy.policy.rule import Entry, Rule, RuleError, torrc_values


@dataclass(frozen=True, slots=True)
class Running:
    """The state that a running Tor reports."""

    version: str
    torrc: str
    """GETINFO config-file."""
    options: ExitOptions
    """GETCONF: as read from its torrc at the last reload, or set since."""
    enforced: tuple[Rule, ...] | None
    """GETINFO exit-policy/full; None while Tor has none."""
    problem: str | None
    """Why there is no enforced policy, in Tor's words."""
    default: tuple[Rule, ...] = ()
    """GETINFO exit-policy/default."""
    local: tuple[Rule, ...] = ()
    """GETINFO exit-policy/reject-private/relay."""
    reduced: tuple[Rule, ...] = ()
    """The rules of ReducedExitPolicy in this version of Tor; empty if unknown."""
    descriptor: bytes | None = None
    """GETINFO dir/server/authority: the relay's own descriptor; None while there is none."""
    network_disabled: bool = False
    """DisableNetwork 1: the enforced policy is stale."""
    reload_ignored: bool = False
    """__ReloadTorrcOnSIGHUP 0: a reload reads nothing."""
    pid: int = 0
    """Its process id; 0 if unknown."""
    hibernates: bool = False
    """AccountingMax is reached: it makes no new connections, and no new policy until it wakes."""

    def policy_of(self, options: ExitOptions) -> tuple[Rule, ...] | None:
        """Return the policy that this Tor makes of options; None if a rule is not understood."""
        try:
            return options.policy(
                default=self.default,
                local=self.local,
                reduced=self.reduced,
                enforced=self.enforced or (),
            )
        except RuleError:
            return None

    @property
    def settled(self) -> bool:
        """Whether the enforced policy is the one that the running options make.

        Where exitpol does not understand a rule, those before it are compared.
        """
        if self.enforced is None or self.network_disabled:
            return False
        expected = self.policy_of(self.options)
        if expected is None:
            expected = (*self.options.certain(self.local), *self.enforced)
        return same_meaning(self.enforced, expected)


class LastRead(NamedTuple):
    """What a Tor has read last, as marks: texts that differ where what they mark differs."""

    process: str
    """Identifies the process."""
    options: str
    """The mark of its exit options; empty if they are not known."""
    lines: tuple[str, ...]
    """The name and the mark of each other line."""
    versions: str
    """The mark of when its files were changed last: it may have read what they said in between."""


@dataclass(frozen=True, slots=True)
class Unobserved:
    """A running Tor without a control port: what it enforces cannot be observed."""

    pid: int
    files: LastRead
    """What it would have read if it read its files now."""
    last: LastRead | None
    """What it has read at its start or at a reload of exitpol's; None if that is not known."""
    paths: tuple[str, ...] = ()
    """Its files, with the fragment."""
    default: tuple[Rule, ...] = ()
    """Tor's default policy."""
    reduced: tuple[Rule, ...] = ()
    """The rules of ReducedExitPolicy."""

    @property
    def has_read_options(self) -> bool:
        """Whether it has read the exit options of its files as they are now, and nothing since."""
        last, files = self.last, self.files
        return last is not None and (last.options, last.versions) == (files.options, files.versions)

    def policy_of(self, options: ExitOptions) -> tuple[Rule, ...] | None:
        """Return the policy that Tor makes of options, apart from rules for its own addresses.

        None if a rule is not understood.
        """
        try:
            return options.policy(default=self.default, local=(), reduced=self.reduced)
        except RuleError:
            return None


@dataclass(frozen=True, slots=True)
class Configured:
    """The options in a relay's files, as its own Tor reads them with a given fragment."""

    options: ExitOptions
    fragment: tuple[Entry, ...]
    """The rules of the fragment that was read."""
    copies: int = 1
    """How often the fragment is included."""
    other_fragments: tuple[tuple[Entry, ...], ...] = ()
    """The rules of each other file of exitpol's that is included, as a former fragment."""

    @property
    def own(self) -> ExitOptions:
        """The operator's own options, without any rule of exitpol's."""
        own = self.options
        # The longest first: a shorter one may be a part of it.
        for rules in sorted((self.fragment,) * self.copies + self.other_fragments, key=len)[::-1]:
            own = own.without(rules)
        return own

    @property
    def shadowed(self) -> tuple[str, ...]:
        """The operator's own rules that have no effect because of the fragment above them."""
        start = self.options.position(self.fragment)
        if start is None:
            return ()
        end = start + len(self.fragment)
        above = _understood(self.options.exit_policy[:start])
        ours = _understood(self.options.exit_policy[start:end])
        below = _understood(self.options.exit_policy[end:])
        effective = _used([*above, *ours, *below], len(above) + len(ours))
        effective_alone = _used([*above, *below], len(above))
        texts = [_item_text(rule) for rule in below]
        kept = {text for text, used in zip(texts, effective, strict=True) if used}
        return tuple(
            dict.fromkeys(
                text
                for text, used in zip(texts, effective_alone, strict=True)
                if used and text not in kept
            )
        )

    def with_fragment(self, fragment: tuple[Entry, ...]) -> "Configured":
        """Return the configuration with another fragment in the same place."""
        rest, start = self.options, self.options.position(self.fragment) or 0
        for _ in range(self.copies):
            rest = rest.without(self.fragment)
        entries = (*rest.exit_policy[:start], *fragment, *rest.exit_policy[start:])
        options = replace(rest, exit_policy=entries)
        return Configured(options, fragment, other_fragments=self.other_fragments)


@dataclass(frozen=True, slots=True)
class View:
    """The observed state of one relay."""

    name: str
    running: Running | None
    """None if it cannot be reached, or has no control port."""
    configured: Configured | None
    """None if Tor rejects its files."""
    unreachable: ExitpolError | None = None
    """Why it cannot be reached."""
    broken: ExitpolError | None = None
    """Why Tor rejects its files."""
    must_restart: ExitpolError | None = None
    """Why a reload of its files would end it."""
    foreign: tuple[str, ...] = ()
    """The lines, apart from the exit policy, that a reload would change in the running Tor."""
    defaults_policy: tuple[str, ...] = ()
    """The ExitPolicy lines of the defaults-torrc that the first rule of the fragment replaces."""
    command_line_policy: str = ""
    """The option on Tor's command line that replaces the ExitPolicy lines of its files, if any."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """The files and folders that Tor reads, with fingerprints by which a change is noticed."""
    fingerprint: str = ""
    """Changes with every file that a reload reads, except the fragment; empty if unreadable."""
    unobserved: Unobserved | None = None
    """Its Tor if that runs without a control port."""
    without_include: ExitOptions | None = None
    """The options in its files if they have lost the include of the fragment; else None."""

    @property
    def pid(self) -> int:
        """The process of its Tor; 0 if unknown."""
        tor = self.running or self.unobserved
        return 0 if tor is None else tor.pid

    @property
    def is_reachable(self) -> bool:
        """Whether its Tor answers; without a control port, whether it runs."""
        return self.running is not None or self.unobserved is not None

    @property
    def policy(self) -> tuple[Rule, ...] | None:
        """The enforced policy; without a control port, that of the files if it has read them."""
        if self.unobserved is not None:
            return self.policy_after_reload if self.settled else None
        return None if self.running is None else self.running.enforced

    @property
    def own_policy(self) -> tuple[Rule, ...] | None:
        """The policy that the files define without exitpol's rules.

        None where the files or the running Tor do not tell.
        """
        tor = self.running or self.unobserved
        own = self.without_include if self.configured is None else self.configured.own
        return None if own is None or tor is None else tor.policy_of(own)

    @property
    def policy_after_reload(self) -> tuple[Rule, ...] | None:
        """The policy that the relay enforces after it has read its files."""
        tor = self.running or self.unobserved
        if self.configured is None or tor is None:
            return None
        return tor.policy_of(self.configured.options)

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
    def settled(self) -> bool:
        """Whether it is in sync; without a control port, whether it was told to read its files."""
        if self.unobserved is not None:
            return self.configured is not None and self.unobserved.has_read_options
        return self.in_sync

    @property
    def needs_reload(self) -> bool:
        """Whether the relay has to read its files; a relay whose files Tor rejects would end."""
        if self.unobserved is not None:
            return self.configured is not None and not self.unobserved.has_read_options
        return (
            self.running is not None
            and self.configured is not None
            and not same_options(self.running.options, self.configured.options)
        )

    @property
    def nearly_in_sync(self) -> bool:
        """Whether Tor has read its files and only the policy is not yet enforced."""
        return (
            not self.in_sync
            and self.running is not None
            and self.configured is not None
            and not self.running.network_disabled
            and same_options(self.running.options, self.configured.options)
        )

    @property
    def drift(self) -> tuple[str, ...]:
        """The differences between Tor and its files, as sentences; empty when in sync."""
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
            found.append("the enforced policy is not the one that Tor's own options make")
        return tuple(found)


def _understood(entries: Iterable[Entry]) -> list[Rule]:
    return [entry for entry in entries if isinstance(entry, Rule)]


def _item_text(rule: Rule) -> str:
    """Return a rule's text, the same for both halves of a `*` rule."""
    return str(rule._replace(family=4)) if rule.prefix == 0 else str(rule)


def _used(rules: Sequence[Rule], start: int) -> list[bool]:
    """Tell for each rule from index `start` on whether it decides anything."""
    deciding = Decisions(rules).used()
    return [index in deciding for index in range(start, len(rules))]


def same_options(running: ExitOptions, configured: ExitOptions) -> bool:
    """Tell whether Tor runs with the exit options of its files."""
    return running == configured


def _differences(running: ExitOptions, configured: ExitOptions) -> list[str]:
    """Return sentences about how the running options differ from those in the files."""
    found: list[str] = []
    in_files, in_tor = set(configured.exit_policy), set(running.exit_policy)
    missing = [entry for entry in configured.exit_policy if entry not in in_tor]
    extra = [entry for entry in running.exit_policy if entry not in in_files]
    if missing:
        found.append(f"its files say {_some(missing)}, and Tor does not run it")
    if extra:
        found.append(f"Tor runs {_some(extra)}, and no file says so")
    if not missing and not extra and running.exit_policy != configured.exit_policy:
        found.append("Tor runs the ExitPolicy rules of its files in another order or number")
    runs = running.flags
    for name, there in configured.flags.items():
        if (here := runs[name]) != there:
            found.append(f"its files say {name} {there}, and Tor runs {name} {here}")
    return found


def _some(entries: Iterable[Entry]) -> str:
    values = list(torrc_values(entries))
    more = f" and {len(values) - 3} more" if len(values) > 3 else ""
    return f"{', '.join(repr(value) for value in values[:3])}{more}"


def shadowing(destination: Destination, decisions: Decisions) -> Rule | None:
    """Return the first rule that accepts a part of a destination; None if none does."""
    for index in decisions.deciding(destination):
        if index >= 0 and decisions.accepts(index):
            return decisions.rules[index]
    return None
