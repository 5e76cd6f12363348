"""The command that follows host names; a timer runs it."""

from typing import TYPE_CHECKING, Annotated

import typer

from exitpolicy.cli import output
from exitpolicy.cli.arguments import Json, the_host
from exitpolicy.cli.output import note, say, say_json, warn
from exitpolicy.core.errors import ExitCode
from exitpolicy.core.following import Change, Failure
from exitpolicy.core.ports import ports_text

if TYPE_CHECKING:
    from exitpolicy.operations.follow import Run


def follow(
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Print nothing unless a block was added or ended.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Look followed host names up again; block new addresses.

    Names whose time has come are looked up, each at most every 5 minutes. An address is blocked
    when it was seen twice, and its block ends when it was not seen for a day. A relay changes at
    most once an hour. The tick, or exitpol apply, lets Tor enforce it. Exit code 3 if a name has no
    usable answer. Example: exitpol follow
    """
    from exitpolicy.operations import follow as operation

    host = the_host(who="timer" if quiet else None)
    with output.progress("asking the DNS servers"):
        run = operation.run(host)
    if as_json:
        say_json(**_as_json(run))
    else:
        _say(run, quiet=quiet)
    output.report_all(run.problems)
    if run.problems:
        return run.problems[0].exit_code
    unusable = any(run.known[one].failure for one in run.answers if one in run.known)
    return ExitCode.ATTENTION if unusable else ExitCode.DONE


def _as_json(run: "Run") -> dict[str, object]:
    from exitpolicy.operations.follow import destination_of

    changes = {one: Change(one, (), ()) for one in run.followed}
    changes |= {change.host: change for change in run.changes}
    return {
        "names": [
            {
                "name": one.name,
                "ports": ports_text(one.ports),
                "asked": one in run.answers,
                "failure": run.known[one].failure,
                "added": [str(destination_of(one, a)) for a in changes[one].added],
                "dropped": [str(destination_of(one, a)) for a in changes[one].dropped],
            }
            for one in run.followed
        ],
        "problems": [output.error_json(problem) for problem in run.problems],
    }


def _say(run: "Run", *, quiet: bool) -> None:
    """Write what changed; unless quiet, also what was asked for."""
    from exitpolicy.operations.follow import destination_of

    for change in run.changes:
        # Never the name: this reaches the journal and the mails of cron.
        for address in change.added:
            say(f"{destination_of(change.host, address)}  added")
        for address in change.dropped:
            say(f"{destination_of(change.host, address)}  dropped")
    if quiet:
        return
    for one, answer in run.answers.items():
        known = run.known.get(one)
        failure = answer.reason if isinstance(answer, Failure) else known and known.failure
        if failure:
            warn(f"{one}: {failure}; its blocks stay as they are")
        else:
            note(f"{one}: looked up")
    if not run.followed:
        note("no block follows a host name; to make one: exitpol block NAME --until WHEN --follow")
    elif not run.answers:
        note("no name is due: each is looked up after its TTL, at most every 5 minutes")
    if run.changes:
        note("the timer lets Tor enforce it within a minute; at once: exitpol apply")
