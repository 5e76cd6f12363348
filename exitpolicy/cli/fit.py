"""The command that chooses among blocks that do not all fit."""

from typing import TYPE_CHECKING, Annotated

import typer

from exitpolicy.cli import output
from exitpolicy.cli.arguments import Json, OnRelays, the_set_up_host
from exitpolicy.cli.output import note, say, say_json
from exitpolicy.core.errors import ExitCode, UsageError
from exitpolicy.storage.config import FitChoice

if TYPE_CHECKING:
    from exitpolicy.operations.fit import Outcome


def fit(
    over_block: Annotated[
        bool,
        typer.Option(
            "--over-block",
            help="Also show, or use, rules that reject other addresses besides the blocks.",
        ),
    ] = False,
    relays: OnRelays = None,
    use: Annotated[
        FitChoice | None,
        typer.Option("--use", metavar="CHOICE", help="Write a choice into the config, and apply."),
    ] = None,
    as_json: Json = False,
) -> int:
    """Show each choice for blocks that do not all fit.

    The choices: refuse (commands add no more than fits; the default), leave-out (the least worth
    of lists), and over-block (whole networks). Example: exitpol fit --use leave-out
    """
    from exitpolicy.operations import fit as operation

    if use is FitChoice.OVER_BLOCK and not over_block:
        raise UsageError(
            "over-block rejects addresses that no block names",
            hint="if that is what you want: exitpol fit --over-block --use over-block",
        )
    if use is not None:
        if relays:
            raise UsageError("a choice is for all relays", hint="leave out --relay")
        return _use(use, as_json=as_json)
    host = the_set_up_host()
    choices = [FitChoice.REFUSE, FitChoice.LEAVE_OUT]
    if over_block:
        choices.append(FitChoice.OVER_BLOCK)
    with output.progress("comparing the choices"):
        found = operation.outcomes(host, choices, relays or ())
    present = host.config.fit
    if as_json:
        say_json(in_use=str(present), outcomes=[_json(one) for one in found])
        return ExitCode.DONE
    output.table(
        ("RELAY", "CHOICE", "BYTES", "LEFT OUT", "UNBLOCKED", "OVER-BLOCKED", "GAP"),
        (_row(one, present) for one in found),
    )
    for relay, budget, blocks in dict.fromkeys(
        (", ".join(one.relays), one.budget, one.blocks) for one in found
    ):
        count = "1 block that counts" if blocks == 1 else f"{blocks:,} blocks that count"
        note(f"{relay}: {count}; the rules may take {budget:,} bytes")
    if all(not one.fitted.left_out for one in found):
        note("all blocks fit: no choice changes anything")
    return ExitCode.DONE


def _use(choice: FitChoice, *, as_json: bool) -> int:
    from exitpolicy.cli.relays import apply
    from exitpolicy.operations import fit as operation

    host = the_set_up_host()
    if host.config.fit is not choice:
        operation.use(host, choice)
        if not as_json:
            say(f"fit: {choice} is written to {host.config.source}")
    return apply(now=True, as_json=as_json)


def _row(one: "Outcome", present: FitChoice) -> tuple[str, ...]:
    fitted = one.fitted
    mark = " (in use)" if one.choice is present else ""
    gap = "not sought" if one.choice is FitChoice.REFUSE else "optimum"
    if fitted.gap:
        gap = f"at most {fitted.gap:,} {fitted.gap_of}"
    return (
        ", ".join(one.relays),
        f"{one.choice}{mark}",
        f"{fitted.bytes:,}",
        f"{len(fitted.left_out):,} of {one.blocks:,}",
        f"{fitted.unblocked:,}",
        f"{fitted.over_blocked:,}",
        gap,
    )


def _json(one: "Outcome") -> dict[str, object]:
    fitted = one.fitted
    sought = one.choice is not FitChoice.REFUSE
    return {
        "relays": list(one.relays),
        "choice": str(one.choice),
        "blocks": one.blocks,
        "budget": one.budget,
        "bytes": fitted.bytes,
        "left_out": sorted(map(str, fitted.left_out)),
        "unblocked": fitted.unblocked,
        "over_blocked": fitted.over_blocked,
        "gap": fitted.gap if sought else None,
        "gap_of": fitted.gap_of if sought else None,
    }
