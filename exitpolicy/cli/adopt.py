"""The command that moves reject lines of a torrc into the ledger."""

import shlex
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from exitpolicy.cli import output, render
from exitpolicy.cli.arguments import Json, OnRelays, Session, the_set_up_host
from exitpolicy.cli.output import note, say, say_json
from exitpolicy.core.durations import EXAMPLES, parse_until
from exitpolicy.core.errors import ExitCode, InterruptedByUserError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from exitpolicy.core.errors import ExitpolError
    from exitpolicy.operations.adopt import Adopted, Plan
    from exitpolicy.operations.adoptable import Kept


def adopt(
    until: Annotated[
        str | None,
        typer.Option(
            metavar="WHEN",
            help=f"For lines that name no end of their own, or a later one. {EXAMPLES}",
        ),
    ] = None,
    relay: OnRelays = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would move; change nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Change the files without asking.")] = False,
    as_json: Json = False,
) -> int:
    """Move hand-written reject lines of a torrc into the ledger.

    The lines become blocks with an end, and Tor enforces them all the time. Lines of included files
    move too. Ports that you close at every address stay: they are your exit policy.

    Example: exitpol adopt --until 30d
    """
    from exitpolicy.operations import adopt as operation

    host = the_set_up_host()
    end = None if until is None else parse_until(until, host.clock())
    terms = operation.Terms(end, until is not None, tuple(relay or ()))
    with output.progress("asking Tor"):
        planned = operation.plan(host, terms)
    if dry_run:
        return _preview(planned, as_json=as_json)
    if planned.refusal is not None:
        raise planned.refusal
    if planned.rules and not as_json:
        _say_plan(planned)
    if planned.rules and not yes:
        _confirm(planned)
    with output.progress(output.TOR_READS):
        done = operation.carry_out(planned)
    return _say_done(done, as_json=as_json)


def _confirm(planned: "Plan") -> None:
    """Ask on the terminal. Raises UsageError without one."""
    from exitpolicy.cli.questions import confirmed

    if not sys.stdin.isatty():
        raise UsageError(
            "adopt changes files of yours after a yes, and there is no terminal to ask on; nothing"
            " was changed",
            hint=shlex.join(["exitpol", *Session.arguments, "--yes"]),
        )
    count = len(planned.rules)
    if not confirmed(f"Move {'this rule' if count == 1 else f'these {count} rules'}?"):
        raise InterruptedByUserError("nothing was changed")


def _preview(planned: "Plan", *, as_json: bool) -> int:
    """Write what would be done, and return the exit code."""
    problems = [] if planned.refusal is None else [planned.refusal]
    if as_json:
        say_json(**_json(planned), edited=list(planned.edits), dry_run=True, **_problems(problems))
    else:
        _say_plan(planned)
        _say_kept(planned.kept)
    output.report_all(problems)
    return ExitCode.DONE


def _say_plan(planned: "Plan") -> None:
    for path, (old, new) in planned.edits.items():
        render.say_diff(old, new, str(path))
    for block in planned.blocks[: render.MANY]:
        on = f"  on {', '.join(block.relays)}" if block.relays else ""
        words = render.until_words(block.until, planned.applied.time.now)
        say(f"block: {block.destination}  {words}{on}  {render.why(block)}".rstrip())
    if len(planned.blocks) > render.MANY:
        say(f"and {len(planned.blocks) - render.MANY} more blocks")
    # --until does not hold for them, and their line may have been meant for longer.
    for rule, until in planned.covered[: render.MANY]:
        words = render.until_words(until, planned.applied.time.now)
        say(f"blocked already: {', '.join(map(str, rule.destinations))}  {words}")
    if len(planned.covered) > render.MANY:
        say(f"and {len(planned.covered) - render.MANY} more that are blocked already")


def _say_kept(kept: "Sequence[Kept]") -> None:
    """Name the reject lines that stay, those that need the operator first."""
    ordered = sorted(kept, key=lambda one: one.is_policy)
    for one in ordered[: render.MANY]:
        text = f"{one.place}: {one.text!r} stays: {one.reason}"
        (note if one.is_policy else output.warn)(text)
    if len(ordered) > render.MANY:
        note(f"and {len(ordered) - render.MANY} more stay")


def _say_done(done: "Adopted", *, as_json: bool) -> int:
    planned = done.plan
    if as_json:
        edited, problems = list(done.edited), _problems(done.problems)
        say_json(**_json(planned), edited=edited, dry_run=False, **problems)
    elif done.edited:
        for path in done.edited:
            say(f"{path} changed")
        if not done.problems:
            count = len(planned.rules)
            moved = "1 rule has moved" if count == 1 else f"{count} rules have moved"
            say(f"{moved} into the ledger; Tor enforces the same as before")
        render.note_unverified(done.applied)
    elif not planned.rules:
        say("no line of the torrc rejects a single destination")
    _say_kept(planned.kept)
    output.report_all(done.problems)
    changes = {} if done.accepted is None else done.accepted.changes
    for name, difference in changes.items():
        for sentence in () if difference is None else difference.sentences:
            note(f"{name}: accepted as your own policy: {sentence}")
    return int(done.exit_code)


def _json(planned: "Plan") -> dict[str, Any]:
    return {
        "blocks": [render.block_json(block) for block in planned.blocks],
        "moved": [
            {
                "file": rule.place.file,
                "line": rule.place.line,
                "rule": rule.text,
                "destinations": [str(destination) for destination in rule.destinations],
                "relays": sorted(rule.relays),
            }
            for rule in planned.rules
        ],
        "kept": [
            {
                "file": one.place.file,
                "line": one.place.line,
                "rule": one.text,
                "reason": one.reason,
                "is_policy": one.is_policy,
            }
            for one in planned.kept
        ],
    }


def _problems(problems: "Sequence[ExitpolError]") -> "Mapping[str, Any]":
    return {"problems": [output.error_json(problem) for problem in problems]}
