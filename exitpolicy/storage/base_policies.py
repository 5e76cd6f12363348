"""The base policies that come with exitpol. One of them can follow the blocks in the fragment."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, get_args

from exitpolicy.core.errors import InvalidFileError, UsageError
from exitpolicy.policy.rule import Rule, RuleError, parse_rule
from exitpolicy.storage import files
from exitpolicy.storage.yaml_document import Document

_PACKAGE = Path(__file__).resolve().parents[1]
# In the package if it is installed, beside the package in a checkout.
_FOLDERS = (_PACKAGE / "policies", _PACKAGE.parent / "policies")

Name = Literal["default", "no-mail", "reduced", "web"]
"""The names of all base policies, in order; each has a data file of the same name."""


@dataclass(frozen=True, slots=True)
class BasePolicy:
    """A named exit policy."""

    name: str
    description: str
    rules: tuple[Rule, ...]
    """In order."""


def names() -> tuple[str, ...]:
    """Return the names of all base policies."""
    return get_args(Name)


# The limits of each relay are measured with two of them.
@cache
def load(name: str) -> BasePolicy:
    """Return a base policy. Raises UsageError if there is none with that name."""
    if name not in names():
        raise UsageError(
            f"there is no base policy {name!r}", hint=f"choose one of: {', '.join(names())}"
        )
    path = folder() / f"{name}.yaml"
    document = Document(str(path), files.read(path, "base policy", limit=1_000_000))
    if document.root is None:
        raise document.error(1, "the base policy is empty")
    fields = document.fields(document.root, "a base policy", ("name", "description", "rules"))
    rules: list[Rule] = []
    for node in document.items(fields["rules"], "rules"):
        text = document.text(node, "a rule")
        try:
            rules.extend(parse_rule(text))
        except RuleError as error:
            raise document.error(node.line, str(error)) from error
    return BasePolicy(name, document.text(fields["description"], "description"), tuple(rules))


def folder() -> Path:
    """Return the folder of the data files. Raises InvalidFileError if it is missing."""
    for folder in _FOLDERS:
        if folder.is_dir():
            return folder
    raise InvalidFileError(
        "the base policies are missing from this installation", hint="install exitpol again"
    )
