"""Generate the reference of commands from the program itself."""

from collections.abc import Iterator
from typing import Any

import typer

from exitpolicy.cli.app import program


def commands_markdown() -> str:
    """Return a Markdown section for each command: its usage, help, arguments and options."""
    root: Any = typer.main.get_command(program([]))
    return "\n".join(
        line for name, command in _commands(root, "exitpol") for line in _section(name, command)
    )


def _commands(group: Any, prefix: str) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - Typer's own type
    """Yield each command below a group with its full name, in the program's order."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _commands(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}", command


def _section(name: str, command: Any) -> Iterator[str]:  # noqa: ANN401 - Typer's own type
    shown = [parameter for parameter in command.params if not getattr(parameter, "hidden", False)]
    arguments = [p for p in shown if p.param_type_name == "argument"]
    options = [p for p in shown if p.param_type_name == "option"]
    usage = " ".join([name, *(_metavar(p) for p in arguments), *(["[OPTIONS]"] if options else [])])
    yield f"### `{usage}`"
    yield ""
    yield from (line.strip() for line in (command.help or "").strip().splitlines())
    yield ""
    if shown:
        yield "| argument or option | meaning |"
        yield "|---|---|"
        for parameter in [*arguments, *options]:
            required = " Required." if parameter.required else ""
            text = " ".join((parameter.help or "").split()).replace("|", "\\|")
            yield f"| `{_label(parameter)}` | {text}{required} |"
        yield ""


def _metavar(parameter: Any) -> str:  # noqa: ANN401 - Typer's own type
    return str(parameter.metavar or parameter.name.upper())


def _label(parameter: Any) -> str:  # noqa: ANN401 - Typer's own type
    """Return `NAME` of an argument, or an option with what it takes: `--until WHEN`."""
    if parameter.param_type_name == "argument":
        return _metavar(parameter).replace("|", "\\|")
    names = ", ".join([*parameter.opts, *parameter.secondary_opts])
    if parameter.is_flag:
        return names
    choices = getattr(parameter.type, "choices", None)
    value = "\\|".join(map(str, choices)) if choices else parameter.metavar or parameter.type.name
    return f"{names} {value}"
