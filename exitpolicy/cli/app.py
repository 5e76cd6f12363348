"""The command line as a whole: which commands there are, and what every failure ends in."""

import gc
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from exitpolicy import __version__
from exitpolicy.cli import blocks, complaints, doctor, output, policies, relays
from exitpolicy.cli.common import Session
from exitpolicy.cli.output import say, say_json
from exitpolicy.errors import ExitCode, ExitpolError, UsageError
from exitpolicy.ledger import config as config_file

app = typer.Typer(
    name="exitpol",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
COMMANDS: Final[dict[str, Callable[..., int]]] = {
    "init": relays.init,
    "block": blocks.block,
    "renew": blocks.renew,
    "lift": blocks.lift,
    "list": blocks.list_,
    "check": relays.check,
    "status": relays.status,
    "doctor": doctor.doctor,
    "apply": relays.apply,
    "expire": relays.expire,
    "history": blocks.history,
    "complaint": complaints.complaint,
    "reply": complaints.reply,
}
for name, function in COMMANDS.items():
    app.command(name)(function)

policy_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
policy_app.command("list")(policies.list_)
policy_app.command()(policies.show)
policy_app.command()(policies.use)
app.add_typer(policy_app, name="policy", help="Base policies, to stand below the blocks.")


def run(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit code; nothing escapes but its output."""
    # A short life that makes many small objects and no cycles worth finding.
    gc.disable()
    wants_json = "--json" in arguments
    try:
        code = app(args=complaints.with_ask(arguments), prog_name="exitpol", standalone_mode=False)
        sys.stdout.flush()
        return int(code or 0)
    except typer.TyperException as error:
        return _misused(error.format_message(), arguments, wants_json)
    except ExitpolError as error:
        return _failed(error, wants_json)
    except (KeyboardInterrupt, typer.Abort):
        return _failed(ExitpolError("interrupted", hint="exitpol apply finishes it"), wants_json)
    except BrokenPipeError:
        # Whoever read our output has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.DONE
    except (OSError, MemoryError, RecursionError) as error:
        return _failed(ExitpolError(f"{type(error).__name__}: {error}"), wants_json)


def _misused(message: str, arguments: Sequence[str], wants_json: bool) -> int:
    """Write what typer has to say about the arguments; where there are none, it is the help."""
    if message.startswith("Usage:"):
        say(message)
        return ExitCode.USAGE
    return _failed(UsageError(message.rstrip("."), hint=_help_hint(arguments)), wants_json)


def _failed(error: ExitpolError, wants_json: bool) -> int:
    if wants_json:
        say_json(error=output.error_json(error))
    output.report(error)
    return int(error.exit_code)


def _help_hint(arguments: Sequence[str]) -> str:
    command = next((word for word in arguments if word in COMMANDS), None)
    return f"exitpol {command} --help" if command else "exitpol --help"


@app.callback()
def options(
    config: Annotated[
        Path | None,
        typer.Option(
            envvar="EXITPOL_CONFIG",
            help=f"The config file, if not {config_file.DEFAULT_PATH}.",
            readable=False,  # whether it can be read is for the config's own errors
        ),
    ] = None,
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    """Keep a Tor exit's promises about abuse complaints.

    Block a destination, have Tor enforce it, see that it does, and lift it on its day.
    """
    if version:
        say(f"exitpol {__version__}")
        raise typer.Exit
    Session.config = config
