"""The command of the guard; a timer runs it."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from exitpolicy.cli import output, render
from exitpolicy.cli.arguments import Json, the_host
from exitpolicy.cli.output import note, say, say_json, warn
from exitpolicy.core.block import State
from exitpolicy.core.durations import until_text
from exitpolicy.core.errors import ExitCode, UsageError
from exitpolicy.core.guard_rule import Rule

if TYPE_CHECKING:
    from datetime import datetime

    from exitpolicy.operations.guard import Run


def guard(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only report what is flooded; change nothing.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Print nothing unless it blocks or a port is flooded.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Block destinations with very many connections from this exit.

    Off until the config has `guard`. It counts the connections of this host's Tors to each address
    and port, without those to relays. Whoever uses the exit can open connections, and so choose
    what is blocked: read the guide first. A port that is flooded at many addresses is reported
    (exit code 3), not blocked. Example: exitpol guard --dry-run
    """
    from exitpolicy.operations import guard as operation
    from exitpolicy.operations import timer

    host = the_host(who="timer" if quiet else None).set_up()
    rule = host.config.guard
    if rule is None and not dry_run:
        raise UsageError(
            "the guard is off: the config has no `guard`",
            hint="see what it would do: exitpol guard --dry-run; then write into"
            f" {host.config.source or '/etc/exitpol/config.yaml'}:\n"
            "guard: {connections: 1000, time: 1h, per_hour: 10}",
        )
    with output.progress("counting the connections of Tor"):
        counted = operation.count(host)
        run = operation.run(host, rule or Rule(), counted, dry_run=dry_run)
    if as_json:
        say_json(**_as_json(run), dry_run=dry_run)
    else:
        _say(run, dry_run=dry_run, quiet=quiet)
        if not quiet:
            total, places = sum(counted.counts.values()), len(counted.counts)
            word = "destination" if places == 1 else "destinations"
            note(
                f"{total:,} connections to {places:,} {word}, without relays;"
                f" more than {(rule or Rule()).connections:,} to one are a flood"
            )
            if rule is not None and not dry_run and not timer.guards(host):
                note("no timer of systemd runs the guard; to install it: exitpol init --timer")
    output.report_all(run.problems)
    return _code(run)


def _say(run: "Run", *, dry_run: bool, quiet: bool) -> None:
    """Write what is flooded; if quiet, only what was not written before."""
    states = _states(run)
    scheduled = False
    for one in run.decision.flooded:
        text = str(one.destination)
        if text in states:
            until, state = states[text]
            say(f"{text}  {one}; blocked until {until} ({state})")
            scheduled = scheduled or state == State.SCHEDULED
        elif not quiet:
            would = "would be blocked" if dry_run else "not blocked, see below"
            say(f"{text}  {one}; {f'left: {one.left}' if one.left else would}")
    if scheduled:
        render.note_batch(_next_batch(run))
    for port in run.decision.ports:
        if not quiet or port.port in run.new_ports:
            warn(f"{port}; a port is reported, not blocked")


def _states(run: "Run") -> dict[str, tuple[str, str]]:
    """Return the end and the state of each block that was made, by its destination."""
    from exitpolicy.operations.change import RecordedOnly

    if run.result is None:
        return {}
    recorded = isinstance(run.result, RecordedOnly)
    states = {} if isinstance(run.result, RecordedOnly) else run.result.seen.states
    usual = "unknown" if recorded else "pending"
    return {
        str(block.destination): (
            until_text(block.until),
            str(states.get(block.destination, usual)),
        )
        for block in run.result.blocks
    }


def _next_batch(run: "Run") -> "datetime | None":
    """Return when the blocks that wait are made."""
    from exitpolicy.operations.change import Changed

    return run.result.seen.next_batch if isinstance(run.result, Changed) else None


def _as_json(run: "Run") -> dict[str, Any]:
    states = _states(run)
    return {
        "flooded": [
            {
                "destination": str(one.destination),
                "connections": one.connections,
                "growth": one.growth,
                "left": one.left or None,
                "until": states.get(str(one.destination), (None, None))[0],
                "state": states.get(str(one.destination), (None, None))[1],
            }
            for one in run.decision.flooded
        ],
        "ports": [one._asdict() for one in run.decision.ports],
        "next_batch": _next_batch(run),
        "problems": [output.error_json(problem) for problem in run.problems],
    }


def _code(run: "Run") -> int:
    """Return the exit code: that of the blocks, of a problem, or of a flooded port."""
    from exitpolicy.operations.change import RecordedOnly
    from exitpolicy.operations.outcome import exit_code

    if isinstance(run.result, RecordedOnly):
        output.report(run.result.failure)
        return int(run.result.failure.exit_code)
    if run.problems:
        return int(run.problems[0].exit_code)
    if run.result is not None:
        from exitpolicy.operations.apply import Watch

        applied = run.result.seen
        output.report_all(applied.problems)
        states = {
            block.destination: str(applied.states.get(block.destination, "scheduled"))
            for block in run.result.blocks
        }
        code = exit_code(applied, states, Watch.SHARED)
        if code != ExitCode.DONE:
            return int(code)
    return ExitCode.ATTENTION if run.decision.ports else ExitCode.DONE
