"""Programs that run as another user get nothing of root's environment, which may hold secrets."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import exitpolicy
from exitpolicy.tor import child, invocation
from exitpolicy.tor.users import User
from tests.evidence import Thing, record
from tests.harness.attack import NOBODY

THING = Thing.FOREIGN_FOLDER
PACKAGE = Path(exitpolicy.__file__).parent


def calls_as_another_user() -> Iterator[tuple[str, ast.Call]]:
    """Yield each call in the program that starts a process as another user, with its place."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and "user" in {k.arg for k in node.keywords}:
                name = ast.unparse(node.func)
                if name.startswith("subprocess."):
                    yield f"{path.name}:{node.lineno}", node


def test_each_such_program_gets_an_environment_of_its_own() -> None:
    """Its user can read it in /proc."""
    found = dict(calls_as_another_user())
    assert found
    for place, call in found.items():
        assert "env" in {keyword.arg for keyword in call.keywords}, place
    record(THING, len(found))


@pytest.mark.root
def test_a_program_of_tors_user_sees_no_variable_of_roots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what it needs: where programs are, the language, and its home."""
    monkeypatch.setenv("BACKUP_PASSWORD", "hunter2")
    done = child.run_as(User(NOBODY, NOBODY, ()), ["/usr/bin/env"], "", 10)
    assert {line.partition("=")[0] for line in done.stdout.splitlines()} <= {
        "PATH", "LC_ALL", "HOME",
    }  # fmt: skip


@pytest.mark.root
def test_the_version_of_a_tor_is_asked_without_rights(open_folder: Path) -> None:
    """The program may be one that a running Tor has chosen."""
    program = open_folder / "tor"
    program.write_text("#!/bin/sh\necho Tor version 0.4.$(id -u).\n")
    program.chmod(0o755)
    assert invocation.version(program) == f"0.4.{NOBODY}"
