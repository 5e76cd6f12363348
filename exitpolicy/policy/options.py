"""The options of a torrc that make the exit policy, and the policy that Tor makes of them.

Follows policies_parse_exit_policy_from_options (tor: src/core/or/policies.c), so that what Tor
enforces can be compared with what is configured.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Final

from exitpolicy.policy.rule import Entry, Rule, UnknownRule, parse_entries, parse_rule, rules_of

OPTION_NAMES: Final = (
    "ExitPolicy",
    "ExitRelay",
    "IPv6Exit",
    "ReducedExitPolicy",
    "ExitPolicyRejectPrivate",
    "ExitPolicyRejectLocalInterfaces",
    "BridgeRelay",
    "TestingTorNetwork",
)
"""The options that make the policy; no other option changes it."""

_REJECT_ALL: Final = parse_rule("reject *:*")


@dataclass(frozen=True, slots=True)
class ExitOptions:
    """The values of the exit options of tor(1)."""

    exit_policy: tuple[Entry, ...] = ()
    """The rules of the ExitPolicy lines, in order."""
    exit_relay: bool | None = None
    """ExitRelay; None is `auto`."""
    ipv6_exit: bool = False
    reduced: bool = False
    """ReducedExitPolicy."""
    reject_private: bool = True
    """ExitPolicyRejectPrivate."""
    reject_local_interfaces: bool = False
    """ExitPolicyRejectLocalInterfaces."""
    bridge: bool = False
    """BridgeRelay."""

    @classmethod
    def read(cls, options: Mapping[str, Sequence[str]]) -> "ExitOptions":
        """Return the options, given their values by name; absent ones have Tor's default."""

        def flag(name: str, *, default: bool) -> bool:
            values = [value for value in options.get(name, ()) if value]
            return values[-1] == "1" if values else default

        relay = [value for value in options.get("ExitRelay", ()) if value]
        return cls(
            exit_policy=parse_entries(options.get("ExitPolicy", ())),
            exit_relay=None if not relay or relay[-1] == "auto" else relay[-1] == "1",
            ipv6_exit=flag("IPv6Exit", default=False),
            reduced=flag("ReducedExitPolicy", default=False),
            # A testing network has another default (tor: src/app/config/testnet.inc).
            reject_private=flag(
                "ExitPolicyRejectPrivate", default=not flag("TestingTorNetwork", default=False)
            ),
            reject_local_interfaces=flag("ExitPolicyRejectLocalInterfaces", default=False),
            bridge=flag("BridgeRelay", default=False),
        )

    @property
    def flags(self) -> dict[str, str]:
        """The options besides ExitPolicy, by their names, as a torrc writes them."""
        of = {
            "IPv6Exit": self.ipv6_exit,
            "ReducedExitPolicy": self.reduced,
            "ExitPolicyRejectPrivate": self.reject_private,
            "ExitPolicyRejectLocalInterfaces": self.reject_local_interfaces,
            "BridgeRelay": self.bridge,
        }
        relay = "auto" if self.exit_relay is None else str(int(self.exit_relay))
        return {"ExitRelay": relay, **{name: str(int(value)) for name, value in of.items()}}

    @property
    def exits(self) -> bool:
        """Whether Tor makes any exit connection with these options."""
        if self.exit_relay is None:
            # policy_using_default_exit_options: with "auto", any exit option makes an exit.
            return bool(self.exit_policy) or self.reduced or self.ipv6_exit
        return self.exit_relay

    @property
    def unknown(self) -> tuple[UnknownRule, ...]:
        """The ExitPolicy rules that exitpol does not understand."""
        return tuple(entry for entry in self.exit_policy if isinstance(entry, UnknownRule))

    @property
    def understood(self) -> "ExitOptions":
        """The options without the ExitPolicy rules that exitpol does not understand."""
        known = tuple(entry for entry in self.exit_policy if not isinstance(entry, UnknownRule))
        return replace(self, exit_policy=known)

    def without(self, fragment: Sequence[Entry]) -> "ExitOptions":
        """Return the operator's own options: without the first run of the fragment's rules."""
        start = self.position(fragment)
        if start is None:
            return self
        end = start + len(fragment)
        return replace(self, exit_policy=self.exit_policy[:start] + self.exit_policy[end:])

    def position(self, fragment: Sequence[Entry]) -> int | None:
        """Return the index in `exit_policy` of the first run of the fragment's rules, or None."""
        sought, size = tuple(fragment), len(fragment)
        if size == 0:
            return None
        for start, entry in enumerate(self.exit_policy):
            if entry == sought[0] and self.exit_policy[start : start + size] == sought:
                return start
        return None

    def policy(
        self,
        *,
        default: Sequence[Rule],
        local: Sequence[Rule],
        reduced: Sequence[Rule] = (),
        enforced: Sequence[Rule] = (),
    ) -> tuple[Rule, ...]:
        """Return the rules that Tor makes of these options, redundant ones included.

        `default` is `GETINFO exit-policy/default`, `local` is `GETINFO
        exit-policy/reject-private/relay`. The reduced policy differs between versions of Tor, and
        Tor does not tell it: `reduced` is that of this version where it is known; where it is
        empty, the policy is taken from the end of `enforced`. Raises RuleError for a rule that
        exitpol does not understand.
        """
        if not self.exits:
            return _REJECT_ALL
        rules = [*self._first(local), *rules_of(self.exit_policy)]
        if self.bridge:
            rules += _REJECT_ALL
        elif self.reduced and reduced:
            rules += reduced
        elif self.reduced:
            tail = takewhile(lambda rule: rule.prefix == 0, reversed(enforced))
            rules += reversed(list(tail))
        else:
            rules += default
        return tuple(rules)

    def certain(self, local: Sequence[Rule]) -> tuple[Rule, ...]:
        """Return the rules of the policy up to the first that exitpol does not understand.

        What one of them matches is decided, whatever follows. `local` is as for `policy`.
        """
        if not self.exits:
            return _REJECT_ALL
        known = takewhile(lambda entry: not isinstance(entry, UnknownRule), self.exit_policy)
        return (*self._first(local), *rules_of(known))

    def _first(self, local: Sequence[Rule]) -> list[Rule]:
        """Return the rules that Tor puts before those of the ExitPolicy lines."""
        return [
            *(() if self.ipv6_exit else parse_rule("reject *6:*")),
            *(parse_rule("reject private:*") if self.reject_private else ()),
            *local,
        ]


def first_catch_all(entries: Iterable[Entry]) -> Rule | None:
    """Return the first rule after which no IPv4 rule has any effect; None if there is none."""
    for entry in entries:
        if isinstance(entry, Rule) and entry.is_catch_all and entry.family == 4:
            return entry
    return None
