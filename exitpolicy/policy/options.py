"""How Tor makes an exit policy from the options of a torrc.

The same function of the same options as policies_parse_exit_policy_from_options (tor:
src/core/or/policies.c), so that what Tor enforces can be compared with what was configured.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Final

from exitpolicy.policy.rule import Rule, parse_policy, parse_rule

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
"""The options that make the policy; what others there are does not matter to it."""

_REJECT_ALL: Final = parse_rule("reject *:*")


@dataclass(frozen=True, slots=True)
class ExitOptions:
    """The options of tor(1) that make the exit policy, as configured."""

    exit_policy: tuple[str, ...] = ()
    """The values of the ExitPolicy lines, in order, as they were written."""
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
        """Return the options from their values by name; absent ones have Tor's default."""

        def flag(name: str, *, default: bool) -> bool:
            values = [value for value in options.get(name, ()) if value]
            return values[-1] == "1" if values else default

        relay = [value for value in options.get("ExitRelay", ()) if value]
        return cls(
            exit_policy=tuple(value for value in options.get("ExitPolicy", ()) if value.strip()),
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
    def exits(self) -> bool:
        """Whether Tor makes exit connections at all with these options."""
        if self.exit_relay is None:
            # policy_using_default_exit_options: "auto" is an exit if anything speaks of exiting.
            return bool(self.exit_policy) or self.reduced or self.ipv6_exit
        return self.exit_relay

    def without(self, fragment: Sequence[str]) -> "ExitOptions":
        """Return the operator's own options: less the run of ExitPolicy values that is ours."""
        start = self.position(fragment)
        if start is None:
            return self
        end = start + len(fragment)
        return replace(self, exit_policy=self.exit_policy[:start] + self.exit_policy[end:])

    def position(self, fragment: Sequence[str]) -> int | None:
        """Return at which ExitPolicy value the fragment's run begins; None where it is not."""
        wanted, size = tuple(fragment), len(fragment)
        if size == 0:
            return None
        for start, value in enumerate(self.exit_policy):
            if value == wanted[0] and self.exit_policy[start : start + size] == wanted:
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
        """Return the rules that Tor makes of these options; redundant ones are still there.

        `default` is `GETINFO exit-policy/default`, `local` is `GETINFO
        exit-policy/reject-private/relay`. The reduced policy differs between versions of Tor and
        cannot be asked for: `reduced` is that of this version if it is known, and if it is empty
        the policy is read off the end of `enforced`. Raises RuleError.
        """
        if not self.exits:
            return _REJECT_ALL
        rules: list[Rule] = []
        if not self.ipv6_exit:
            rules += parse_rule("reject *6:*")
        if self.reject_private:
            rules += parse_rule("reject private:*")
        rules += local
        rules += parse_policy(self.exit_policy)
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


def first_catch_all(values: Iterable[str]) -> str | None:
    """Return the first ExitPolicy rule behind which no IPv4 rule has any effect; None if none."""
    for value in values:
        for item in filter(None, map(str.strip, value.split(","))):
            if any(rule.is_catch_all and rule.family == 4 for rule in parse_rule(item)):
                return item
    return None
