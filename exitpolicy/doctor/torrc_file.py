"""The checks of a relay's torrc: where it includes the fragment, and who else writes it."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from exitpolicy.core.destination import Destination, parse_destination
from exitpolicy.core.errors import ExitCode, UsageError
from exitpolicy.core.shell import word
from exitpolicy.doctor.finding import Finding, fail, ok, warn
from exitpolicy.doctor.inspected import Inspected
from exitpolicy.policy.difference import rejecting
from exitpolicy.policy.evaluate import Decisions
from exitpolicy.policy.rule import Rule, RuleError, parse_rule
from exitpolicy.storage import history
from exitpolicy.tor import fragment_include, managed

_FEW: Final = 5


def same_torrc(subject: Inspected, check: str) -> Iterator[Finding]:
    """Report whether the running Tor reads the torrc that the config names."""
    running, relay = subject.view.running, subject.relay
    if running is None or not running.torrc:
        return
    actual = Path(running.torrc)
    if os.path.realpath(actual) == os.path.realpath(relay.torrc):
        yield ok(check, f"the Tor at {relay.control} reads {relay.torrc}")
        return
    yield fail(
        check,
        f"the Tor at {relay.control} reads {actual}, not {relay.torrc}",
        why="the fragment is included in a file that this Tor does not read",
        fix=f"correct the relay {relay.name!r} in the config",
        code=ExitCode.INVALID_FILE,
    )


def included_once(subject: Inspected, check: str) -> Iterator[Finding]:
    """Report whether the torrc includes the fragment exactly once."""
    path, fragment = subject.relay.torrc, subject.fragment
    places = fragment_include.include_places(path, fragment, subject.folder)
    if not places:
        yield fail(
            check,
            f"{path} does not include {fragment}",
            why="without the include no block has any effect",
            fix=f"exitpol init --torrc {word(path)}",
            code=ExitCode.INVALID_FILE,
        )
    elif len(places) > 1:
        yield warn(
            check,
            f"{fragment} is included {len(places)} times:"
            f" {', '.join(str(place) for place in places)}",
            why="each copy of the rules counts in the descriptor and slows Tor down",
            fix=f"remove the include at {places[-1]}",
        )
    else:
        yield ok(check, f"{fragment} is included at {places[0]}")


def order(subject: Inspected, check: str) -> Iterator[Finding]:
    """Report what takes the effect of blocks: rules above the include, and what replaces them."""
    path, fragment = subject.relay.torrc, subject.fragment
    if not fragment_include.include_places(path, fragment, subject.folder):
        return
    option = subject.view.command_line_policy
    if option:
        yield fail(
            check,
            f"Tor was started with {option} on its command line",
            why=f"it replaces all ExitPolicy lines of {path}: no block has any effect",
            fix=f"take it out of the command that starts Tor, write its rules into {path},"
            " and restart Tor",
        )
        return
    removing = fragment_include.removed_at(path, fragment, subject.folder)
    if removing is not None:
        yield fail(
            check,
            f"{removing}: /ExitPolicy is below the include",
            why="it removes all rules above it: no block has any effect",
            fix=f"move the line %include {fragment} below it",
        )
        return
    fix = f"move the line %include {fragment} above it"
    for place, text in fragment_include.rules_above(path, fragment, subject.folder):
        try:
            rules = parse_rule(text)
        except RuleError:
            continue
        if any(rule.is_catch_all for rule in rules):
            why = "the first match wins: no block below it has any effect"
            yield fail(check, f"{place}: {text!r} is above the include", why=why, fix=fix)
            return
        if any(rule.accept for rule in rules):
            why = "the first match wins: what it accepts cannot be blocked"
            yield warn(check, f"{place}: {text!r} is above the include", why=why, fix=fix)
            return
    yield ok(check, "no accept rule is above the include")


def left_over(subject: Inspected, check: str) -> Iterator[Finding]:
    """Report reject lines of the torrc that are former blocks: SAVECONF FORCE leaves such lines."""
    path = subject.relay.torrc
    rules = [
        (place, rule)
        for place, text in fragment_include.own_rules(path, subject.fragment, subject.folder)
        for rule in _understood(text)
        if not rule.accept and not rule.is_catch_all
    ]
    if not rules:
        yield ok(check, f"{path} rejects no single destination")
        return
    blocked = Decisions(
        tuple(rule for block in _once_blocked(subject) for rule in rejecting(block))
    )
    places = dict.fromkeys(
        str(place)
        for place, rule in rules
        if not any(blocked.accepts(index) for index in blocked.deciding(rule.destination))
    )
    if not places:
        yield ok(check, f"no line of {path} is a former block")
        return
    named = ", ".join(list(places)[:_FEW]) + (" and more" if len(places) > _FEW else "")
    yield warn(
        check,
        f"{len(places)} ExitPolicy line{'s are' if len(places) > 1 else ' is'} also in the"
        f" history of blocks: {named}",
        why="such lines stay when the block ends: the destination is rejected for ever",
        fix="exitpol adopt --until 30d moves them into the ledger, unless they are your own rules",
    )


def _once_blocked(subject: Inspected) -> list[Destination]:
    """Return the destinations in the history."""
    found: list[Destination] = []
    texts = dict.fromkeys(change.destination for change in history.read(subject.host.history_path))
    for text in texts:
        # What is written of own policies is about no destination.
        with contextlib.suppress(UsageError):
            found.append(parse_destination(text))
    return found


def _understood(text: str) -> tuple[Rule, ...]:
    try:
        return parse_rule(text)
    except RuleError:
        return ()


def other_tools(subject: Inspected, check: str) -> Iterator[Finding]:
    """Report a comment by which another tool claims the torrc."""
    path = subject.relay.torrc
    comment = managed.claim(path)
    if comment is None:
        yield ok(check, f"no comment in {path} says that a tool writes it")
        return
    yield warn(
        check,
        f"{path} says: {comment}",
        why="a tool that writes the file again removes the include, and with it all blocks",
        fix=managed.how_to_include(path, subject.fragment),
    )
