"""Ask a running Tor for its options and its enforced policy."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from exitpolicy.policy.options import OPTION_NAMES, ExitOptions
from exitpolicy.policy.reconcile import Running
from exitpolicy.policy.rule import Rule, RuleError, parse_descriptor, parse_policy
from exitpolicy.storage import base_policies
from exitpolicy.tor.control import Control, NotAnsweredError

_ENFORCED: Final = "exit-policy/full"
_LOCAL: Final = "exit-policy/reject-private/relay"
_DEFAULT: Final = "exit-policy/default"
_DESCRIPTOR: Final = "dir/server/authority"
_TORRC: Final = "config-file"
_VERSION: Final = "version"
_CONSTANT: Final = (_VERSION, _TORRC, _DEFAULT)
"""What a process does not change."""
_HIBERNATING: Final = "accounting/hibernating"
_CHANGING: Final = (_ENFORCED, _LOCAL, _HIBERNATING)
"""What changes while Tor runs with the same options."""
_OPTIONS: Final = (*OPTION_NAMES, "DisableNetwork", "__ReloadTorrcOnSIGHUP")

_ASLEEP: Final = frozenset({"soft", "hard"})
"""What `GETINFO accounting/hibernating` says of a relay that takes no more connections."""
_MAX_LOCAL: Final = 4_000
"""The most rules for addresses of a host, one for each of them."""
_REDUCED_OF: Final = "0.4.9."
"""Prefix of the Tor versions whose ReducedExitPolicy equals the base policy `reduced`."""


def running_of(
    control: Control, infos: Sequence[str] = (), confs: Sequence[Sequence[str]] = ()
) -> Running:
    """Return what a Tor runs and enforces. Raises TorUnreachableError, NotAnsweredError.

    `infos` and `confs` are what the caller asks for afterwards: it is asked for in one message.
    """
    unknown = [key for key in _CONSTANT if key not in control.constant]
    control.ask_ahead([*_CHANGING, _DESCRIPTOR, *unknown, *infos], [_OPTIONS, *confs])
    options = control.get_conf(_OPTIONS)
    for key in unknown:
        control.constant[key] = info(control, key)
    known = Running(
        version=control.constant[_VERSION],
        torrc=control.constant[_TORRC],
        options=ExitOptions(),
        enforced=None,
        problem=None,
        default=_default(control.constant[_DEFAULT]),
        reduced=_reduced(control.constant[_VERSION]),
        descriptor=info(control, _DESCRIPTOR).encode("utf-8", "surrogateescape") or None,
        pid=control.peer.pid,
    )
    return _with_answers(control, known, options)


def after_reload(control: Control, running: Running) -> Running:
    """Return what a Tor runs and enforces, given what it ran before it read its files.

    The descriptor stays the former one. Raises TorUnreachableError, NotAnsweredError.
    """
    control.ask_ahead(_CHANGING, [_OPTIONS])
    return _with_answers(control, running, control.get_conf(_OPTIONS))


def _with_answers(
    control: Control, running: Running, options: Mapping[str, Sequence[str]]
) -> Running:
    return replace(
        _with_policy(control, running),
        options=ExitOptions.read(options),
        network_disabled=options["DisableNetwork"] == ("1",),
        reload_ignored=options["__ReloadTorrcOnSIGHUP"] == ("0",),
    )


def changed(control: Control, running: Running) -> Running:
    """Return what a Tor runs, with the policy that it enforces now.

    Raises TorUnreachableError.
    """
    control.ask_ahead(_CHANGING, [])
    return _with_policy(control, running)


def _with_policy(control: Control, running: Running) -> Running:
    """Return what a Tor runs, with the policy that it enforces now."""
    hibernates = info(control, _HIBERNATING) in _ASLEEP
    enforced, problem = _enforced_policy(control, hibernates=hibernates)
    # The expected policy depends on Tor's own addresses, which it may have learned only now.
    return replace(
        running,
        enforced=enforced,
        problem=problem,
        local=_local_rules(control),
        hibernates=hibernates,
    )


def _enforced_policy(
    control: Control, *, hibernates: bool
) -> tuple[tuple[Rule, ...] | None, str | None]:
    """Return the enforced policy, or None and the reason why there is none."""
    try:
        text = control.get_info(_ENFORCED)
    except NotAnsweredError as error:
        if hibernates:
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


def _default(text: str) -> tuple[Rule, ...]:
    try:
        return parse_policy([text])
    except RuleError:
        return ()


def _local_rules(control: Control) -> tuple[Rule, ...]:
    """Return the rules that Tor adds for its own addresses; empty if it reports none.

    Empty as well for more than any host has: they go into every plan, before a block is lifted.
    """
    text = info(control, _LOCAL)
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
