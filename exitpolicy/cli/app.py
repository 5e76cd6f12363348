"""The command line as a whole: the commands, and the result of every failure."""

import errno
import os
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Final

import typer

from exitpolicy import __version__
from exitpolicy.cli import output
from exitpolicy.cli.arguments import Session, with_ask, with_whole_times
from exitpolicy.cli.output import say
from exitpolicy.core.errors import (
    ExitCode,
    ExitpolError,
    InterruptedByUserError,
    Interruption,
    UsageError,
)
from exitpolicy.storage import config as config_file

COMMANDS: Final = {
    "init": "relays.init",
    "block": "blocks.block",
    "renew": "blocks.renew",
    "lift": "blocks.lift",
    "list": "blocks.list_",
    "check": "relays.check",
    "status": "relays.status",
    "doctor": "doctor.doctor",
    "apply": "relays.apply",
    "expire": "relays.expire",
    "follow": "follow.follow",
    "guard": "guard.guard",
    "history": "blocks.history",
    "import": "lists.import_",
    "export": "lists.export",
    "adopt": "adopt.adopt",
    "fit": "fit.fit",
    "complaint": "complaints.complaint",
    "reply": "replies.reply",
    "handle": "handle.handle",
    "merge": "merge.merge",
    "help": "help.help_",
}
"""The module beside this one, and the function in it, of each command."""
GROUPS: Final = ("source", "policy")
"""The commands that have commands of their own."""

_OTHER_NAMES: Final = {
    "unblock": "lift",
    "unban": "lift",
    "remove": "lift",
    "delete": "lift",
    "ban": "block",
    "add": "block",
    "extend": "renew",
    "show": "list",
    "ls": "list",
    "log": "history",
    "sync": "apply",
    "answer": "reply",
}
"""The command for a name that other tools use. Typer proposes `block` for `unblock`."""

_OUTPUT_ERRORS: Final = (errno.EBADF, errno.EIO, errno.ENOSPC)


def function_of(name: str) -> Callable[..., int]:
    """Return the function of a command."""
    module, function = COMMANDS[name].split(".")
    found: Callable[..., int] = getattr(import_module(f"exitpolicy.cli.{module}"), function)
    return found


def program(arguments: Sequence[str]) -> typer.Typer:
    """Return the command line with the called command, or with all commands if none is called.

    Typer takes longer to read the options of all commands than `list` takes for its work.
    """
    app = typer.Typer(
        name="exitpol",
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(options)
    called = _called(arguments)
    for name in COMMANDS if called is None else [called]:
        app.command(name)(function_of(name))
    if called is None:
        sources = import_module("exitpolicy.cli.sources")
        source_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
        source_app.command("list")(sources.list_)
        source_app.command()(sources.show)
        source_app.command()(sources.remove)
        app.add_typer(source_app, name="source", help="Lists that were imported with a name.")
        policies = import_module("exitpolicy.cli.policies")
        policy_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
        policy_app.command("list")(policies.list_)
        policy_app.command()(policies.show)
        policy_app.command()(policies.use)
        policy_app.command()(policies.accept)
        app.add_typer(
            policy_app, name="policy", help="Base policies below the blocks, and the own policy."
        )
    return app


def _called(arguments: Sequence[str]) -> str | None:
    """Return the called command; None if the arguments do not tell it at once."""
    words = iter(arguments)
    for word in words:
        if word == "--config":
            next(words, None)
        elif not word.startswith("--config="):
            return word if word in COMMANDS else None
    return None


def run(arguments: Sequence[str]) -> int:
    """Run a command line and return its exit code. No exception leaves it."""
    as_json = "--json" in arguments
    try:
        Session.arguments = tuple(arguments)
        given = with_ask(with_whole_times(arguments))
        code = program(given)(args=given, prog_name="exitpol", standalone_mode=False)
        output.flush()
        return int(code or 0)
    except typer.TyperException as error:
        return _misused(error.format_message(), arguments, as_json=as_json)
    except output.ReaderGoneError:
        # The reader of the output has seen enough.
        output.discard()
        return ExitCode.DONE
    except SystemExit as ended:
        # Typer writes the help by itself, and ends the process if its reader is gone.
        if not isinstance(ended.__context__, BrokenPipeError):
            raise
        output.discard()
        return ExitCode.DONE
    except (Exception, Interruption) as error:
        if os.environ.get("EXITPOL_DEBUG"):
            raise
        return _failed(_for_people(error), as_json=as_json)


def _for_people(error: BaseException) -> ExitpolError:
    """Return the error that is shown instead of a traceback."""
    if isinstance(error, ExitpolError):
        return error
    if isinstance(error, Interruption):
        return error.error
    if isinstance(error, typer.Abort):
        return InterruptedByUserError("the input ended at a question", hint="nothing was changed")
    if isinstance(error, OSError) and error.errno in _OUTPUT_ERRORS and error.filename is None:
        # Typer writes the help by itself.
        return output.OutputError(error)
    if isinstance(error, OSError | MemoryError | RecursionError):
        return _of_system(error)
    return ExitpolError(
        f"internal error: {type(error).__name__}: {error}",
        hint="please report it; with EXITPOL_DEBUG=1 the command shows where it happened",
    )


def _of_system(error: Exception) -> ExitpolError:
    """Return what the operating system refused, for people."""
    if isinstance(error, FileNotFoundError) and error.filename is None:
        try:
            Path.cwd()
        except FileNotFoundError:
            return UsageError(
                "the working directory was deleted: a relative path leads nowhere from there",
                hint="cd to another folder, and type the command again",
            )
    return ExitpolError(f"{type(error).__name__}: {error}")


def _misused(message: str, arguments: Sequence[str], *, as_json: bool) -> int:
    """Write what Typer says about the arguments; without arguments that is the help."""
    if message.startswith("Usage:"):
        output.say_text(message)
        return ExitCode.USAGE
    for name in _OTHER_NAMES:
        if message.startswith(f"No such command '{name}'"):
            message, hint = f"No such command '{name}'", f"exitpol {_OTHER_NAMES[name]} --help"
            break
    else:
        hint = _help_hint(arguments)
    if message.startswith("Missing option '--until'"):
        hint = f"add --until 30d; for other times: {hint}"
    return _failed(UsageError(message.rstrip("."), hint=hint), as_json=as_json)


def _failed(error: ExitpolError, *, as_json: bool) -> int:
    if isinstance(error, output.OutputError):
        output.discard()
    elif as_json:
        try:
            output.say_json(error=output.error_json(error))
            output.flush()
        except (output.OutputError, output.ReaderGoneError):
            output.discard()
    output.report(error)
    return int(error.exit_code)


def _help_hint(arguments: Sequence[str]) -> str:
    command = next((word for word in arguments if word in {*COMMANDS, *GROUPS}), None)
    return f"exitpol {command} --help" if command else "exitpol --help"


def _show_version(wanted: bool) -> None:
    if wanted:
        say(f"exitpol {__version__}")
        raise typer.Exit


def options(
    config: Annotated[
        Path | None,
        typer.Option(
            envvar="EXITPOL_CONFIG",
            help=f"The config file, if not {config_file.DEFAULT_PATH}.",
            readable=False,  # the config reports itself if it cannot be read
        ),
    ] = None,
    version: Annotated[  # noqa: ARG001 - its callback does the work
        bool,
        typer.Option("--version", help="Show the version.", is_eager=True, callback=_show_version),
    ] = False,
) -> None:
    """Block destinations on a Tor exit for a limited time.

    The block is enforced by the running Tor, verified, and lifted on its date.
    """
    Session.config = config
