"""Ask a running Tor for its options and its enforced policy."""

from typing import Final

from exitpolicy.policy.options import OPTION_NAMES, ExitOptions
from exitpolicy.policy.reconcile import Running
from exitpolicy.policy.rule import Rule, RuleError, parse_descriptor, parse_policy
from exitpolicy.storage import base_policies
from exitpolicy.tor.control import Control, NotAnsweredError

_ASLEEP: Final = frozenset({"soft", "hard"})
"""What `GETINFO accounting/hibernating` says of a relay that takes no more connections."""
_MAX_LOCAL: Final = 4_000
"""The most rules for addresses of a host, one for each of them."""
_REDUCED_OF: Final = "0.4.9."
"""Prefix of the Tor versions whose ReducedExitPolicy equals the base policy `reduced`."""


def running_of(control: Control) -> Running:
    """Return what a Tor runs and enforces. Raises TorUnreachableError, NotAnsweredError."""
    names = (*OPTION_NAMES, "DisableNetwork", "__ReloadTorrcOnSIGHUP")
    values = control.get_conf(names)
    enforced, problem = enforced_policy(control)
    return Running(
        version=info(control, "version"),
        torrc=info(control, "config-file"),
        options=ExitOptions.read(values),
        enforced=enforced,
        problem=problem,
        default=_default(control),
        reduced=_reduced(info(control, "version")),
        local=local_rules(control),
        descriptor=info(control, "dir/server/authority").encode("utf-8", "surrogateescape") or None,
        network_disabled=values["DisableNetwork"] == ("1",),
        reload_ignored=values["__ReloadTorrcOnSIGHUP"] == ("0",),
        pid=control.peer.pid,
    )


def enforced_policy(control: Control) -> tuple[tuple[Rule, ...] | None, str | None]:
    """Return the enforced policy, or None and the reason why there is none."""
    try:
        text = control.get_info("exit-policy/full")
    except NotAnsweredError as error:
        if info(control, "accounting/hibernating") in _ASLEEP:
            return None, "Tor hibernates until its next accounting period (AccountingMax)"
        return None, str(error)
    try:
        return parse_descriptor(text), None
    except RuleError as error:
        return None, f"its policy is not understood: {error}"


def _reduced(version: str) -> tuple[Rule, ...]:
    """Return the reduced policy of a version of Tor; empty if it may differ from `reduced`."""
    if not version.startswith(_REDUCED_OF):
        return ()
    return base_policies.load("reduced").rules


def _default(control: Control) -> tuple[Rule, ...]:
    try:
        return parse_policy([info(control, "exit-policy/default")])
    except RuleError:
        return ()


def local_rules(control: Control) -> tuple[Rule, ...]:
    """Return the rules that Tor adds for its own addresses; empty if it reports none.

    Empty as well for more than any host has: they go into every plan, before a block is lifted.
    """
    text = info(control, "exit-policy/reject-private/relay")
    try:
        return () if text.count("\n") > _MAX_LOCAL else parse_descriptor(text)
    except RuleError:
        return ()


def info(control: Control, key: str) -> str:
    """Return the answer to GETINFO of one key; empty if Tor has none."""
    try:
        return control.get_info(key)
    except NotAnsweredError:
        return ""
