"""Commands that inspect Tor and reconcile it with the ledger."""

import os
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from exitpolicy.cli import completion, host_names, output, render
from exitpolicy.cli.arguments import (
    DEST_OR_NAME,
    DryRun,
    Json,
    Now,
    NoWait,
    OnRelays,
    Session,
    read_targets,
    the_host,
    the_set_up_host,
)
from exitpolicy.cli.blocks import say_diffs
from exitpolicy.cli.output import Coloured, say, say_json
from exitpolicy.cli.render import Report
from exitpolicy.core.durations import utc_text
from exitpolicy.core.errors import ExitCode, ExitpolError, UsageError

if TYPE_CHECKING:
    from exitpolicy.core.block import Block
    from exitpolicy.doctor.health import Health
    from exitpolicy.operations.apply import Applied
    from exitpolicy.operations.host import Host
    from exitpolicy.operations.init import Initialized, Plan
    from exitpolicy.operations.rejection_causes import Cause
    from exitpolicy.operations.relay_set import NoControlPortError


def init(
    torrc: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PATH", help="Set up the relay of this torrc only; it may be repeated."
        ),
    ] = None,
    timer: Annotated[
        bool,
        typer.Option("--timer", help="Also install the systemd timer that lifts blocks."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be changed; change nothing.")
    ] = False,
    yes: Annotated[
        bool,
        typer.Option(
            "--yes",
            help="Do not ask: change a torrc although its Tor has to be restarted then;"
            " with --remove, end the blocks in force.",
        ),
    ] = False,
    remove: Annotated[
        bool,
        typer.Option("--remove", help="Undo it: each torrc as it was, no fragment, no timer."),
    ] = False,
    purge: Annotated[
        bool,
        typer.Option(
            "--purge", help="With --remove, also delete the config, the ledger and its history."
        ),
    ] = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force", help="With --remove, also where a base policy ends and the exit opens wider."
        ),
    ] = False,
    as_json: Json = False,
) -> int:
    """Find the relays, and set up exitpol for each of them.

    Example: exitpol init --timer
    """
    if Session.config is None and os.geteuid() != 0:
        # Without root, Tor reads the torrc of its user differently, and says that it is wrong.
        raise UsageError("init changes files of root's and of Tor's", hint="sudo exitpol init")
    if not remove and (purge or force):
        raise UsageError("--purge and --force are for --remove", hint="exitpol init --help")
    if remove:
        if torrc or timer:
            raise UsageError("--remove removes exitpol from all relays, and the timer with it")
        from exitpolicy.cli.uninstall import Removal

        return Removal(the_host(), force=force, purge=purge, yes=yes, as_json=as_json).run(
            dry_run=dry_run
        )
    from exitpolicy.operations import init as init_operation
    from exitpolicy.operations.relay_set import NoControlPortError

    named = [Path(os.path.abspath(path)) for path in torrc or ()]  # noqa: PTH100
    host = the_host(may_miss_config=True)
    try:
        planned = init_operation.plan(host, named, config_path=Session.config)
    except NoControlPortError as error:
        if dry_run or yes or as_json or not sys.stdin.isatty():
            raise
        return _offer_control_ports(host, error)
    if dry_run:
        return _say_planned(planned, timer=timer, as_json=as_json)
    done = init_operation.carry_out(planned, restart=yes or _accepts(planned.restarts))
    return finish(done, timer=timer, as_json=as_json)


def _say_planned(planned: "Plan", *, timer: bool, as_json: bool) -> int:
    """Write what init would change, and return the exit code."""
    from exitpolicy.doctor import timer as timer_checks
    from exitpolicy.operations import timer as timer_operation

    remarks = [*planned.restarts, *planned.remarks]
    units: list[Path] = []
    problems: list[ExitpolError] = []
    if timer:
        try:
            units = timer_operation.changes(planned.future)
        except timer_operation.NoSystemdError as error:
            problems += [error] if timer_checks.cron_of_tick() is None else []
        except ExitpolError as error:
            problems.append(error)
    _say_initialized(
        planned.created,
        planned.edited,
        units,
        as_json=as_json,
        problems=problems,
        remarks=remarks,
        restart=planned.restart_units,
        dry_run=True,
        config=planned.present,
    )
    output.warn_all(remarks)
    output.report_all(problems)
    return problems[0].exit_code if problems else ExitCode.DONE


def finish(done: "Initialized", *, timer: bool, as_json: bool) -> int:
    """Install the timer if it is asked for, write the result, and return the exit code."""
    from exitpolicy.operations import timer as timer_operation

    units: list[Path] = []
    removed: list[Path] = []
    crontab: Path | None = None
    no_timer: ExitpolError | None = None
    if timer:
        from exitpolicy.doctor import timer as timer_checks

        before = timer_operation.installed(done.host)
        try:
            units = timer_operation.install(done.host)
        except timer_operation.NoSystemdError as error:
            crontab = timer_checks.cron_of_tick()
            no_timer = error if crontab is None else None
        except ExitpolError as error:
            # The relays are set up all the same, and that is said first.
            no_timer = error
        # Units of host names, hooks and the guard, which nothing needs any more.
        removed = [
            unit for unit in before if not unit.exists() and unit.parent == timer_operation.FOLDER
        ]
    problems = [*done.applied.problems, *([no_timer] if no_timer else [])]
    _say_initialized(
        done.created,
        done.edited,
        units,
        removed,
        as_json=as_json,
        problems=problems,
        remarks=done.remarks,
        restart=done.restart_units,
    )
    if crontab is not None:
        output.note(f"cron runs the tick: {crontab}")
    output.warn_all(done.remarks)
    output.report_all(problems)
    if not timer and not done.host.keeps_ledger_only:
        _warn_of_missing_timer(done.host)
    return no_timer.exit_code if no_timer else done.exit_code


def _offer_control_ports(host: "Host", error: "NoControlPortError") -> int:
    """Ask on the terminal whether to add the lines for control ports to torrcs that lack them."""
    from exitpolicy.cli.questions import confirmed
    from exitpolicy.operations import control_lines

    output.report(error)
    openings = control_lines.openings(error.relays)
    paths = " and ".join(str(opening.torrc) for opening in openings)
    if not openings or not confirmed(f"Add these lines to {paths}?"):
        return error.exit_code
    control_lines.add(host, openings)
    for opening in openings:
        say(f"{opening.torrc} changed:")
        render.say_diff(opening.old, opening.new, str(opening.torrc))
    units = " ".join(opening.unit for opening in openings)
    output.hint(f"systemctl restart {units}; exitpol init")
    return ExitCode.ATTENTION


def _accepts(restarts: "Sequence[ExitpolError]") -> bool:
    """Ask whether Tors will be restarted after the change; no without a terminal."""
    from exitpolicy.cli.questions import confirmed

    if not restarts or not sys.stdin.isatty():
        return False
    output.report_all(restarts)
    return confirmed("Will you restart it right after this?")


def _say_initialized(
    created: Sequence[Path],
    edited: Sequence[tuple[Path, str, str]],
    units: Sequence[Path],
    removed: Sequence[Path] = (),
    *,
    as_json: bool,
    problems: "Sequence[ExitpolError]" = (),
    remarks: "Sequence[ExitpolError]" = (),
    restart: Sequence[str] = (),
    dry_run: bool = False,
    config: Mapping[str, Any] | None = None,
) -> None:
    if as_json:
        say_json(
            created=created,
            edited=[path for path, _, _ in edited],
            diffs=[
                {"path": path, "diff": render.diff_text(old, new, str(path))}
                for path, old, new in edited
            ],
            units=units,
            restart=restart,
            removed=removed,
            dry_run=dry_run,
            **({} if config is None else {"config": config}),
            problems=[output.error_json(problem) for problem in problems],
            remarks=[output.error_json(remark) for remark in remarks],
        )
        return
    would = "would be " if dry_run else ""
    for path in created:
        say(f"{path} {would}created")
    for path, old, new in edited:
        say(f"{path} {would}changed:")
        render.say_diff(old, new, str(path))
    for path in units:
        say(f"{path} {would}{'changed' if dry_run else 'installed'}")
    for path in removed:
        say(f"{path} deleted: nothing needs it any more")
    if not created and not edited and not (dry_run and units):
        say("everything is set up")


def _warn_of_missing_timer(host: "Host") -> None:
    """Say that nothing lifts blocks on their date, if that is so."""
    from exitpolicy.doctor import timer
    from exitpolicy.doctor.finding import Severity, attempt

    if any(f.severity is not Severity.OK for f in attempt("timer", lambda: timer.installed(host))):
        output.warn("no timer runs: blocks are not lifted on their date")
        output.hint("exitpol init --timer")


def check(
    dest: Annotated[
        list[str],
        typer.Argument(
            metavar="ADDR[:PORT]...", help=DEST_OR_NAME, autocompletion=completion.destinations
        ),
    ],
    relay: OnRelays = None,
    as_json: Json = False,
) -> int:
    """Tell whether this exit connects to a destination, and why.

    Exit code 3 if it would, wholly or partly; 6 if a Tor cannot be reached.
    Example: exitpol check 203.0.113.7:22
    """
    from exitpolicy.operations import query

    host, targets = the_host(), read_targets(dest)
    named = host_names.of_ledger(host, targets.hosts)
    destinations = list(dict.fromkeys((*targets.destinations, *named)))
    with output.progress("asking Tor"):
        checked = query.check(host, destinations, relay or ())
    if as_json:
        say_json(
            results=[
                {
                    "relay": result.relay,
                    "destination": str(result.destination),
                    "verdict": result.verdict,
                    "observed": result.observed,
                    "decided_by": {
                        "rule": str(result.deciding[0]) if result.deciding else None,
                        "block": str(result.blocks[0].destination) if result.blocks else None,
                    },
                    "rules": [str(rule) for rule in result.deciding],
                    "blocks": [str(b.destination) for b in result.blocks],
                }
                for result in checked.results
            ],
            problems=[output.error_json(problem) for problem in checked.problems],
        )
    else:
        several = bool(checked.problems) or len({r.relay for r in checked.results}) > 1
        for result in checked.results:
            at = f"{result.relay}: " if several else ""
            rules = ", ".join(str(rule) for rule in result.deciding[:4]) or "no rule"
            more = f" and {len(result.deciding) - 4} more" if len(result.deciding) > 4 else ""
            seen = "" if result.observed else " (not verified: no control port)"
            say(
                f"{at}{result.destination}  ",
                Coloured(result.verdict),
                f"{seen}  by {rules}{more}",
            )
            for block_ in result.blocks[:4]:
                words = render.until_words(block_.until, datetime.now(UTC))
                say(f"    block {block_.destination}  {words}  {render.why(block_)}".rstrip())
    output.report_all(checked.problems)
    return checked.exit_code


def status(
    check_: Annotated[
        bool,
        typer.Option("--check", help="For monitoring: exit code 3 if anything needs attention."),
    ] = False,
    prometheus: Annotated[
        bool, typer.Option("--prometheus", help="Write metrics in the format of Prometheus.")
    ] = False,
    output_: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", help="Replace this file by the metrics."),
    ] = None,
    as_json: Json = False,
) -> int:
    """Show what each Tor enforces, and how near its limits are.

    Exit code 6 if a Tor cannot be reached. Example: exitpol status --check
    """
    if as_json and prometheus:
        raise UsageError("--json and --prometheus exclude each other", hint="choose one of them")
    if output_ is not None and not prometheus:
        raise UsageError("--output is for --prometheus", hint="add --prometheus")
    from exitpolicy.cli import ended_blocks, metrics, tick_result, unanswered
    from exitpolicy.cli import status as status_output
    from exitpolicy.doctor import health
    from exitpolicy.operations import query
    from exitpolicy.operations.rejection_causes import moot_causes

    host = the_set_up_host()
    with output.progress("asking Tor"):
        seen = query.status(host)
        found = health.inspected(host, seen.applied.views)
    if as_json:
        say_json(
            **status_output.as_json(seen, found),
            faults=sorted(health.faults(seen.applied, found.findings)),
            unanswered=unanswered.as_json(host),
            not_told=ended_blocks.as_json(host),
        )
    elif prometheus:
        if output_ is None:
            output.say_exact(metrics.of_host(host, seen.applied, found))
        else:
            tick_result.write_metrics_to(output_, host, seen.applied, found)
    else:
        status_output.write(seen, found, moot_causes(host, seen.applied, seen.applied.states))
        unanswered.note_unanswered(host, seen.applied.time.now)
        ended_blocks.note_not_told(host)
    return found.exit_code(seen.exit_code) if check_ else seen.unreachable_code


def apply(
    dry_run: DryRun = False,
    no_wait: NoWait = False,
    load_foreign: Annotated[
        bool,
        typer.Option(
            "--load-foreign",
            help="Also load changes of Tor's files outside of its exit policy.",
        ),
    ] = False,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="First take what changed in this ledger of a fleet; - is stdin.",
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DEST", help="With --from, take only this destination; may be repeated."
        ),
    ] = None,
    now: Now = False,
    as_json: Json = False,
) -> int:
    """Reconcile ledger, torrc fragments and running Tors.

    After an edit of the ledger by hand, for example: exitpol apply
    """
    from exitpolicy.cli import fleet
    from exitpolicy.operations import apply as operation
    from exitpolicy.operations.apply import Foreign, Watch
    from exitpolicy.operations.change import Options, Timing
    from exitpolicy.operations.outcome import exit_code
    from exitpolicy.policy.batching import EVERYTHING_URGENT, NOTHING_URGENT

    if from_ is None and only:
        raise UsageError("--only is for --from", hint="add --from FILE, the ledger of the fleet")
    if from_ is not None and load_foreign:
        raise UsageError(
            "--from and --load-foreign exclude each other", hint="type one command after the other"
        )
    host = the_set_up_host()
    watch = Watch.NOT if no_wait else Watch.OWN
    urgent = EVERYTHING_URGENT if now else NOTHING_URGENT
    more: dict[str, object] = {}
    if from_ is not None:
        timing = Timing.ALL if now else Timing.OWN if only else Timing.BATCH
        options = Options(dry_run, watch=watch, timing=timing)
        taken = fleet.take(host, from_, only or (), options)
        found = fleet.applied_of(taken, as_json=as_json)
        if isinstance(found, int):
            return found
        applied, more = found, fleet.as_keys(taken)
    elif dry_run:
        applied = operation.preview(host, host.ledger(), urgent)
    else:
        foreign = Foreign.LOAD if load_foreign else Foreign.KEEP
        with output.progress(output.TOR_READS):
            applied = operation.apply(host, watch=watch, foreign=foreign, urgent=urgent)
    code = exit_code(applied, applied.states, watch)
    health = _health(host, applied)
    return say_applied(applied, code, as_json=as_json, health=health, more=more)


def expire(
    quiet: Annotated[
        bool,
        typer.Option("--quiet", help="Print nothing unless the blocks or the health changed."),
    ] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
) -> int:
    """Lift expired blocks and repair drift; the timer runs this.

    Example: exitpol expire
    """
    from exitpolicy.cli import tick_result
    from exitpolicy.operations import change
    from exitpolicy.operations.apply import Watch
    from exitpolicy.operations.outcome import removal_code
    from exitpolicy.operations.rejection_causes import still_rejected

    host = the_host(who="timer" if quiet else None)
    try:
        changed = change.expire(host.set_up(), change.Options(dry_run=dry_run))
    except ExitpolError as error:
        is_news = not quiet or tick_result.record_failure(host, error)
        if is_news or as_json:
            raise
        return error.exit_code
    ends = [] if dry_run else [block.destination for block in changed.blocks]
    causes = still_rejected(host, changed.applied, ends)
    if not as_json:
        for ended in changed.blocks:
            # Never the reason or the reference: this reaches the journal and the mails of cron.
            say(f"{ended.destination}  {'would end' if dry_run else 'ended'}")
    health = _health(host, changed.applied)
    report = Report.ALL
    if health is not None:
        health = tick_result.write_metrics(host, changed.applied, health)
        if quiet:
            report = tick_result.record(host, changed.applied, health)
    return say_applied(
        changed.applied,
        removal_code(changed.applied, changed.applied.states, causes, Watch.OWN),
        as_json=as_json,
        report=report,
        ended=changed.blocks,
        causes=[cause for cause in causes if cause.removable],
        health=health,
    )


def _health(host: "Host", applied: "Applied") -> "Health | None":
    """Check the relays that an apply has inspected, and record their own policies.

    None for a preview, which records nothing.
    """
    from exitpolicy.doctor import health

    return None if applied.is_preview else health.applied(host, applied)


def _in_sync(applied: "Applied") -> bool | None:
    """Tell whether all relays are in sync; None where one of them cannot be observed."""
    unobserved = any(view.unobserved is not None for view in applied.views)
    if unobserved and all(view.settled for view in applied.views):
        return None
    return all(view.in_sync for view in applied.views)


def say_applied(
    applied: "Applied",
    code: ExitCode,
    *,
    as_json: bool,
    report: Report = Report.ALL,
    ended: Sequence["Block"] = (),
    causes: Sequence["Cause"] = (),
    health: "Health | None" = None,
    more: Mapping[str, object] | None = None,
) -> int:
    """Write the result of an apply that ends with `code`; return the code with its health.

    `more` are further keys of the JSON.
    """
    findings = () if health is None else health.findings
    if health is not None:
        code = health.exit_code(code)
    if as_json:
        say_json(
            installed=applied.installs and not applied.is_preview,
            reloaded=list(applied.reloaded),
            in_sync=_in_sync(applied),
            blocks={str(d): str(state) for d, state in applied.states.items()},
            next_batch=applied.next_batch,
            ended=[render.block_json(b) for b in ended],
            still_rejected=render.causes_json(causes),
            dry_run=applied.is_preview,
            idle=applied.does_nothing,
            problems=[output.error_json(problem) for problem in applied.problems],
            health=render.findings_json(findings),
            **(more or {}),
        )
        render.warn_of_causes(causes)
        render.warn_of_shadows(applied.shadowed_by)
        output.report_all(applied.problems)
        return code
    held = applied.time.held(applied.blocks)
    if held:
        output.warn(
            f"the clock jumped to {utc_text(applied.time.now)}; {len(held)} blocks that would"
            " not be in force at that time are kept for an hour, in case the clock is wrong"
        )
    if applied.is_preview:
        say_diffs(applied)
    elif report is Report.ALL or not applied.does_nothing:
        counts = {s: list(applied.states.values()).count(s) for s in set(applied.states.values())}
        words = ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))
        idle = "nothing to do" if applied.settled else "nothing was done"
        done = idle if applied.does_nothing else "applied"
        say(f"{done}: {words or 'no blocks in force'}")
        render.note_unverified(applied)
        if report is Report.ALL:
            render.note_batch(applied.next_batch)
    render.warn_of_causes(causes)
    if report is Report.KNOWN:
        return code
    render.warn_of_shadows(applied.shadowed_by)
    output.report_all(applied.problems)
    render.report_findings(findings)
    if report is Report.WELL_AGAIN:
        output.note("health: all is well again")
    return code
