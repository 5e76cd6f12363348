"""The commands for base policies and for the own policy."""

from collections.abc import Sequence
from typing import Annotated, Final, Literal, get_args

import typer

from exitpolicy.cli import output
from exitpolicy.cli.arguments import DryRun, Json, OnRelays, the_host, the_set_up_host
from exitpolicy.cli.output import say, say_json
from exitpolicy.cli.relays import say_applied
from exitpolicy.core.errors import ExitCode, UsageError

# Typer reads it at run time, to list the choices in the help.
from exitpolicy.storage.base_policies import Name

_BASE_POLICY: Final = f"One of: {', '.join(get_args(Name))}."


def list_(as_json: Json = False) -> int:
    """Show the base policies that come with exitpol.

    Example: exitpol policy list
    """
    from exitpolicy.storage import base_policies

    policies = [base_policies.load(name) for name in base_policies.names()]
    ledger = the_host().ledger() if the_host().config.ledger.exists() else None
    used = None if ledger is None else ledger.policy
    by_relay = {} if ledger is None else ledger.policies
    if as_json:
        say_json(
            policies=[{"name": p.name, "description": p.description} for p in policies],
            used=used,
            used_by=by_relay,
        )
        return ExitCode.DONE

    def words(name: str) -> str:
        on = [relay for relay, policy in by_relay.items() if policy == name]
        return "yes" if name == used else ", ".join(on)

    output.table(
        ("NAME", "USED", "DESCRIPTION"), ((p.name, words(p.name), p.description) for p in policies)
    )
    return ExitCode.DONE


def show(
    name: Annotated[
        Name | None, typer.Argument(metavar="[NAME]", help=f"{_BASE_POLICY} Of relays if left out.")
    ] = None,
    relay: OnRelays = None,
    as_json: Json = False,
) -> int:
    """Show a base policy, or the policy of relays without the blocks.

    Example: exitpol policy show web; exitpol policy show --relay exit1
    """
    from exitpolicy.policy.rule import torrc_values
    from exitpolicy.storage import base_policies

    if name is None:
        return _show_relays(relay or (), as_json=as_json)
    if relay:
        raise UsageError(
            "NAME shows a base policy, and --relay the policy of a relay", hint="leave one out"
        )
    policy = base_policies.load(name)
    rules = list(torrc_values(policy.rules))
    if as_json:
        say_json(name=policy.name, description=policy.description, rules=rules)
    else:
        say(f"# {policy.description}")
        for rule in rules:
            say(f"ExitPolicy {rule}")
    return ExitCode.DONE


def _show_relays(names: Sequence[str], *, as_json: bool) -> int:
    """Write the policy of each relay, or of each of those named, without the blocks."""
    from exitpolicy.operations import own_policy, query
    from exitpolicy.operations.outcome import on_relays

    host = the_set_up_host()
    named = host.relays_here(names)
    with output.progress("asking Tor"):
        seen = on_relays(query.status(host).applied, named)
    ledger = host.ledger()
    policies = own_policy.present(host, seen.views)
    if as_json:
        say_json(
            relays=[
                {"relay": relay, "base": ledger.policy_of(relay), "rules": rules}
                for relay, rules in policies.items()
            ],
            problems=[output.error_json(problem) for problem in seen.problems],
        )
    for relay, rules in {} if as_json else policies.items():
        base = ledger.policy_of(relay)
        said = f"with the base policy {base}" if base else "without a base policy"
        say(f"# {relay}, {said} and without the blocks")
        for rule in rules or ("is not known",):
            say(f"ExitPolicy {rule}" if rules else f"# {rule}")
    output.report_all(seen.problems)
    if None not in policies.values():
        return ExitCode.DONE
    return seen.problems[0].exit_code if seen.problems else ExitCode.ATTENTION


def use(
    name: Annotated[
        Literal[Name, "none"], typer.Argument(metavar="NAME|none", help=f"{_BASE_POLICY} Or none.")
    ],
    relay: OnRelays = None,
    dry_run: DryRun = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Use it also where rules of the torrc lose their effect."),
    ] = False,
    as_json: Json = False,
) -> int:
    """Put a base policy below the blocks, or none.

    Example: exitpol policy use reduced
    """
    from exitpolicy.operations import change
    from exitpolicy.operations.outcome import exit_code

    options = change.Options(dry_run=dry_run, force=force)
    with output.progress(output.TOR_READS):
        used = change.use_policy(
            the_set_up_host(), None if name == "none" else name, options, relay or ()
        )
    for rule in used.shadowed:
        output.warn(f"{rule!r} in your torrc has no effect below {name}")
    code = say_applied(used.seen, exit_code(used.seen, used.seen.states), as_json=as_json)
    output.note_elsewhere(used.elsewhere)
    return code


def accept(relay: OnRelays = None, as_json: Json = False) -> int:
    """Record the own policy as accepted; later changes are reported.

    Example: exitpol policy accept
    """
    from exitpolicy.operations import own_policy, query
    from exitpolicy.operations.outcome import on_relays

    host = the_set_up_host()
    named = host.relays_here(relay or ())
    views = on_relays(query.status(host).applied, named).views
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
