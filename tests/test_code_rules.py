"""Rules of the code that no linter checks: few booleans, and no assertion in place of a type."""

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import typer

import exitpolicy
from exitpolicy.cli.app import options, program
from exitpolicy.storage import base_policies

PACKAGE = Path(exitpolicy.__file__).parent
MAX_BOOLEANS = 2
PUBLIC = {"_replace", "_asdict", "_fields", "_make"}
"""Public methods of named tuples, in spite of their names."""


def trees() -> Iterator[tuple[Path, ast.Module]]:
    """Yield each module with its syntax tree."""
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path, ast.parse(path.read_text())


def commands(app: typer.Typer) -> Iterator[tuple[Path, str]]:
    """Yield file and name of each function whose parameters Typer makes into options."""
    for command in app.registered_commands:
        assert command.callback is not None
        yield Path(inspect.getfile(command.callback)), command.callback.__name__
    for group in app.registered_groups:
        assert group.typer_instance is not None
        yield from commands(group.typer_instance)


def too_many_booleans(module: ast.Module) -> Iterator[str]:
    """Yield the names of functions with more booleans than a caller can tell apart."""
    for function in ast.walk(module):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments = function.args
            booleans = [
                argument.arg
                for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
                if argument.annotation is not None
                and ast.unparse(argument.annotation).strip("'\"") in {"bool", "bool | None"}
            ]
            if len(booleans) > MAX_BOOLEANS:
                yield function.name


def asserted_optionals(module: ast.Module) -> Iterator[int]:
    """Yield the lines of assertions that a value is not None."""
    for statement in ast.walk(module):
        if isinstance(statement, ast.Assert):
            for part in ast.walk(statement.test):
                if isinstance(part, ast.Compare) and isinstance(part.ops[0], ast.IsNot):
                    yield statement.lineno


def test_no_function_has_more_than_two_booleans() -> None:
    """Only the functions of commands may: their parameters are options with names."""
    exempt = {*commands(program([])), (Path(inspect.getfile(options)), "options")}
    found = [
        (path.name, name)
        for path, module in trees()
        for name in too_many_booleans(module)
        if (path, name) not in exempt
    ]
    assert found == []


def test_no_assertion_narrows_an_optional_value() -> None:
    """Values that exclude each other are a union; a missing value is handled where it is read."""
    found = [(path.name, line) for path, module in trees() for line in asserted_optionals(module)]
    assert found == []


def test_the_rules_find_what_they_forbid() -> None:
    """A function with three booleans and an assertion about None are found."""
    module = ast.parse(
        "def f(a: bool, /, b: 'bool', *, c: bool | None): assert a and b.c is not None\n"
    )
    assert list(too_many_booleans(module)) == ["f"]
    assert list(asserted_optionals(module)) == [1]


def test_each_base_policy_has_a_data_file_and_is_a_choice() -> None:
    """The names that the command line lists are those of the files, in order."""
    assert base_policies.names() == get_args(base_policies.Name)
    files = sorted(path.stem for path in base_policies.folder().glob("*.yaml"))
    assert list(base_policies.names()) == files


def test_no_test_uses_a_private_name_of_the_program() -> None:
    """A test that does binds the code to its present form; what deserves a test is public."""
    found = [
        (path.name, node.lineno, node.attr)
        for path in sorted(Path(__file__).parent.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.startswith("__")
        and node.attr not in PUBLIC
        and not (isinstance(node.value, ast.Name) and node.value.id in {"self", "cls", "os", "sys"})
    ]
    assert found == []
