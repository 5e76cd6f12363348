"""The commands for base policies and for the own policy."""

from typing import Annotated, Final, Literal, get_args

import typer

from exitpolicy.cli import output
from exitpolicy.cli.arguments import DryRun, Force, Json, the_host
from exitpolicy.cli.output import say, say_json
from exitpolicy.cli.relays import say_applied
from exitpolicy.core.errors import ExitCode

# Typer reads it at run time, to list the choices in the help.
from exitpolicy.storage.base_policies import Name

_BASE_POLICY: Final = f"One of: {', '.join(get_args(Name))}."


def list_(as_json: Json = False) -> int:
    """Show the base policies that come with exitpol.

    Example: exitpol policy list
    """
    from exitpolicy.storage import base_policies

    policies = [base_policies.load(name) for name in base_policies.names()]
    used = the_host().ledger().policy if the_host().config.ledger.exists() else None
    if as_json:
        say_json(
            policies=[{"name": p.name, "description": p.description} for p in policies], used=used
        )
    else:
        output.table(
            ("NAME", "USED", "DESCRIPTION"),
            ((p.name, "yes" if p.name == used else "", p.description) for p in policies),
        )
    return ExitCode.DONE


def show(
    name: Annotated[Name, typer.Argument(metavar="NAME", help=_BASE_POLICY)], as_json: Json = False
) -> int:
    """Show the rules of a base policy.

    Example: exitpol policy show web
    """
    from exitpolicy.policy.rule import torrc_values
    from exitpolicy.storage import base_policies

    policy = base_policies.load(name)
    rules = list(torrc_values(policy.rules))
    if as_json:
        say_json(name=policy.name, description=policy.description, rules=rules)
    else:
        say(f"# {policy.description}")
        for rule in rules:
            say(f"ExitPolicy {rule}")
    return ExitCode.DONE


def use(
    name: Annotated[
        Literal[Name, "none"], typer.Argument(metavar="NAME|none", help=f"{_BASE_POLICY} Or none.")
    ],
    dry_run: DryRun = False,
    force: Force = False,
    as_json: Json = False,
) -> int:
    """Put a base policy below the blocks, or none.

    Example: exitpol policy use reduced
    """
    from exitpolicy.operations import change
    from exitpolicy.operations.outcome import exit_code

    used = change.use_policy(
        the_host(), None if name == "none" else name, change.Options(dry_run=dry_run, force=force)
    )
    for rule in used.shadowed:
        output.warn(f"{rule!r} in your torrc has no effect below {name}")
    applied = used.applied
    return say_applied(applied, exit_code(applied, applied.states), as_json=as_json)


def accept(as_json: Json = False) -> int:
    """Record the own policy as accepted; later changes are reported.

    Example: exitpol policy accept
    """
    from exitpolicy.operations import own_policy, query

    host = the_host()
    views = query.status(host).applied.views
    accepted = own_policy.accept(host, views)
    if as_json:
        say_json(
            accepted=[
                {
                    "relay": name,
                    "changes": [] if difference is None else difference.sentences,
                    "recorded_before": difference is not None,
                }
                for name, difference in accepted.changes.items()
            ],
            left_out=accepted.left_out,
        )
    else:
        for name, difference in accepted.changes.items():
            if difference is None:
                say(f"{name}: the own policy is recorded")
            elif not difference:
                say(f"{name}: nothing has changed")
            for sentence in () if difference is None else difference.sentences:
                say(f"{name}: {sentence}")
    for name in accepted.left_out:
        output.warn(f"{name}: not accepted, because its Tor is not in sync: exitpol status")
    return accepted.exit_code
