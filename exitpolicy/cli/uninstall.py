"""`exitpol init --remove`: show what ends, ask, and remove exitpol from the host."""

import itertools
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from exitpolicy.cli import output, render
from exitpolicy.cli.output import say, say_json
from exitpolicy.core.errors import ExitCode, InterruptedByUserError, RefusedError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from exitpolicy.core.errors import ExitpolError
    from exitpolicy.operations.host import Host
    from exitpolicy.operations.uninstall import Plan, RelayRemoval


@dataclass(frozen=True, slots=True)
class Removal:
    """A removal that was asked for, with its options."""

    host: "Host"
    force: bool
    purge: bool
    yes: bool
    as_json: bool

    def run(self, *, dry_run: bool) -> int:
        """Show what a removal would do, or remove exitpol from the host."""
        from exitpolicy.operations import uninstall

        planned = uninstall.plan(self.host)
        if planned.is_empty and not (self.purge and planned.has_records):
            self._say_done(planned, (), (), dry_run=dry_run)
            return ExitCode.DONE
        return self._preview(planned) if dry_run else self._remove(planned)

    def _preview(self, planned: "Plan") -> int:
        if not self.as_json:
            _say_plan(planned)
        found = (planned.refusal, planned.promise, *planned.obstacles, *planned.hindrances)
        problems = [problem for problem in found if problem is not None]
        self._say_done(planned, planned.deleted, problems, dry_run=True)
        # Nothing has failed: this is what a removal will say or ask.
        output.warn_all(problems)
        return ExitCode.DONE

    def _remove(self, planned: "Plan") -> int:
        from exitpolicy.operations import uninstall

        if planned.refusal is not None and not self.force:
            raise planned.refusal
        asks = sys.stdin.isatty() and not self.yes and not self.as_json
        if not self.as_json:
            _say_plan(planned)
        if not self.yes:
            _confirm(planned.promise, asks=asks)
        purge = self.purge or (asks and _wants_purge(planned))
        with output.progress(output.TOR_READS):
            done = uninstall.carry_out(planned, force=self.force, purge=purge)
        self._say_done(done.plan, done.deleted, done.problems, dry_run=False)
        output.report_all(done.problems)
        _say_what_stays(done.plan, purged=purge, is_complete=done.is_complete)
        return done.exit_code

    def _say_done(
        self,
        planned: "Plan",
        deleted: "Sequence[Path]",
        problems: "Sequence[ExitpolError]",
        *,
        dry_run: bool,
    ) -> None:
        if self.as_json:
            say_json(
                edited=[path for path, _, _ in planned.edited],
                deleted=deleted,
                relays=[_relay_json(each) for each in planned.relays if each.changes],
                ending=[render.block_json(block) for block in planned.ending],
                dry_run=dry_run,
                problems=[output.error_json(problem) for problem in problems],
            )
            return
        if planned.is_empty and not deleted:
            say("nothing of exitpol is set up here")
        for path in deleted:
            say(f"{path} {'would be ' if dry_run else ''}deleted")


def _relay_json(each: "RelayRemoval") -> dict[str, object]:
    return {
        "relay": each.relay.name,
        "policy": None if each.policy is None else _values(each),
        "difference": each.difference.sentences,
    }


def _confirm(promise: RefusedError | None, *, asks: bool) -> None:
    """Ask on a terminal; without one raise why blocks must not end unasked, if any do."""
    from exitpolicy.cli.questions import confirmed

    if not asks:
        if promise is not None:
            raise promise
        return
    if promise is not None:
        output.warn(str(promise))
    if not confirmed("Remove exitpol from these relays?"):
        raise InterruptedByUserError("nothing was changed")


def _wants_purge(planned: "Plan") -> bool:
    from exitpolicy.cli.questions import confirmed

    return planned.has_records and confirmed(
        f"Also delete the config, the ledger and its history ({_records(planned)})?"
    )


def _records(planned: "Plan") -> str:
    """Return where the config and the ledger are."""
    config = planned.host.config
    return " and ".join(map(str, filter(None, (config.source, config.ledger.parent))))


def _say_plan(planned: "Plan") -> None:
    for path, old, new in planned.edited:
        say(f"{path}:")
        render.say_diff(old, new, str(path))
    for each in planned.relays:
        if each.changes:
            _say_policy(each)
    now = datetime.now(UTC)
    for block in planned.ending[: render.MANY]:
        words = render.until_words(block.until, now)
        say(f"ends: {block.destination}  {words}  {render.why(block)}".rstrip())
    if len(planned.ending) > render.MANY:
        say(f"and {len(planned.ending) - render.MANY} more blocks end")


def _say_policy(each: "RelayRemoval") -> None:
    """Write the exit policy that results."""
    if each.policy is None:
        output.note(f"the exit policy of {each.relay.name} without exitpol is not known")
        return
    say(f"the exit policy of {each.relay.name} without exitpol:")
    for value in _values(each):
        say(f"    {value}")
    for sentence in each.difference.sentences:
        say(f"    {sentence}")


def _values(each: "RelayRemoval") -> list[str]:
    """Return the rules that decide anything in the exit policy that results."""
    from exitpolicy.policy.evaluate import Decisions
    from exitpolicy.policy.rule import torrc_values

    policy = each.policy or ()
    used = Decisions(policy).used()
    # Both halves of a `*` rule are shown, even if only one of them decides: they are one line.
    pairs = enumerate(itertools.pairwise(policy))
    halves = [index for index, (rule, other) in pairs if other == rule._replace(family=6)]
    used |= {index + 1 for index in halves if index in used}
    used |= {index for index in halves if index + 1 in used}
    return list(torrc_values(policy[index] for index in sorted(used) if index >= 0))


def _say_what_stays(planned: "Plan", *, purged: bool, is_complete: bool) -> None:
    """Say what of exitpol is still there, and what it is good for."""
    config = planned.host.config
    if not is_complete:
        output.note("the config, the ledger and the timer stay until every relay is done")
    elif not purged and planned.has_records:
        again = "exitpol init sets all up again, with the blocks in force"
        output.note(f"kept: {_records(planned)}; {again}")
        output.hint("to delete them too: exitpol init --remove --purge")
    elif config.ledger.parent.is_dir():
        output.note(f"kept: {config.ledger.parent}, which holds other files")
