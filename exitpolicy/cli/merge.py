"""The command that merges ledgers for git."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from exitpolicy.cli import output
from exitpolicy.cli.arguments import Json
from exitpolicy.cli.output import say, say_json, say_text
from exitpolicy.core.errors import AttentionError, ExitCode, UsageError

if TYPE_CHECKING:
    from exitpolicy.storage.ledger_merge import Result

_ATTRIBUTES: Final = "blocks.yaml merge=exitpol"
_CONFIG: Final = (
    "git config merge.exitpol.name 'ledgers of exitpol, by block'",
    "git config merge.exitpol.driver 'exitpol merge --name=%P %O %A %B'",
)
_INSTALL: Final = f"""\
# Once, in the folder of the ledger, with its name if that is not blocks.yaml; commit the file:
echo '{_ATTRIBUTES}' >>.gitattributes
# In each clone, by each admin:
{_CONFIG[0]}
{_CONFIG[1]}
"""
_SHOWN: Final = 10
"""The most conflicts that are named on stderr; all of them are in the file."""


def merge(
    base: Annotated[
        Path | None, typer.Argument(metavar="BASE", help="The common ancestor; git's %O.")
    ] = None,
    ours: Annotated[
        Path | None,
        typer.Argument(metavar="OURS", help="One side, and the file of the result; git's %A."),
    ] = None,
    theirs: Annotated[
        Path | None, typer.Argument(metavar="THEIRS", help="The other side; git's %B.")
    ] = None,
    name: Annotated[
        str, typer.Option("--name", metavar="NAME", help="The file's name in messages; git's %P.")
    ] = "",
    install: Annotated[
        bool, typer.Option("--install", help="Print the commands that make git use it.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Merge two ledgers by block, as a merge driver of git.

    What one side changed is taken from it. Of two ends the later one counts; a lift wins over a
    block that began before it. A contradiction is written into OURS as a conflict, with exit code
    3: no command of exitpol accepts the ledger until you have decided.

    Example: exitpol merge --install
    """
    if install:
        if base is not None:
            raise UsageError("--install takes no files", hint="exitpol merge --install")
        if as_json:
            say_json(gitattributes=_ATTRIBUTES, commands=_CONFIG)
        else:
            say_text(_INSTALL)
        return ExitCode.DONE
    if base is None or ours is None or theirs is None:
        raise UsageError(
            "exitpol merge needs three files: BASE OURS THEIRS",
            hint="to let git call it: exitpol merge --install",
        )
    from exitpolicy.storage import ledger_merge

    with output.progress("merging the ledgers"):
        result = ledger_merge.merge_files(name or str(ours), base, ours, theirs)
    if isinstance(result, ledger_merge.Unreadable):
        raise result.error
    return _say_result(name or str(ours), result, as_json=as_json)


def _say_result(name: str, result: "Result", *, as_json: bool) -> int:
    for remark in result.remarks:
        output.warn(remark)
    problem = _problem(name, result)
    if as_json:
        say_json(
            added=result.added,
            changed=result.changed,
            removed=result.removed,
            conflicts=[conflict._asdict() for conflict in result.conflicts],
            warnings=result.remarks,
            **({} if problem is None else {"error": output.error_json(problem)}),
        )
    else:
        parts = [f"{result.added:,} added", f"{result.changed:,} changed"]
        parts.append(f"{result.removed:,} removed")
        if result.conflicts:
            parts.append(_conflicts(len(result.conflicts)))
        say(f"{name}: {', '.join(parts)}")
    if problem is None:
        return ExitCode.DONE
    for conflict in result.conflicts[:_SHOWN]:
        output.note(f"{name}:{conflict.line}: {conflict.subject}: {conflict.text}")
    if len(result.conflicts) > _SHOWN:
        output.note(f"and {len(result.conflicts) - _SHOWN:,} more")
    output.report(problem)
    return problem.exit_code


def _problem(name: str, result: "Result") -> AttentionError | None:
    """Return the error that says that a person must decide; None if there is no conflict."""
    count = len(result.conflicts)
    if count == 0:
        return None
    return AttentionError(
        f"{name} has {_conflicts(count)}; the rest is merged",
        hint="of the lines between <<<<<<< and >>>>>>> keep those that are right, then git add",
    )


def _conflicts(count: int) -> str:
    return f"{count:,} conflict{'' if count == 1 else 's'}"
