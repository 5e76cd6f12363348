"""The command `help`, which many tools have beside `--help`."""

from typing import Annotated

import typer


def help_(
    command: Annotated[
        list[str] | None,
        typer.Argument(metavar="[COMMAND]", help="The command; all commands if left out."),
    ] = None,
) -> int:
    """Show how a command is used.

    Example: exitpol help block
    """
    # Imported here, because app.py imports the commands.
    from exitpolicy.cli.app import run

    return run([*(command or ()), "--help"])
