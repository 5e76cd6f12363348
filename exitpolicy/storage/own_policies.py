"""The own policy of each relay, as the operator accepted it: own_policies.json beside the ledger.

    {"version": 1, "relays": {"NAME": {"accepted": [RULES], "reported": [RULES] or null}}}

RULES are ExitPolicy values of a torrc, in order.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from exitpolicy.core.errors import InvalidFileError
from exitpolicy.core.shell import word
from exitpolicy.policy.rule import Rule, RuleError, parse_policy, torrc_values
from exitpolicy.storage import files

MAX_BYTES: Final = 64_000_000
_VERSION: Final = 1

Values = tuple[str, ...]
"""ExitPolicy values; two policies with equal values are equal."""


@dataclass(frozen=True, slots=True)
class OwnPolicy:
    """What is recorded of one relay."""

    accepted: Values
    """The policy that the operator accepted."""
    reported: Values | None = None
    """The changed policy that the history named last; None if it is the accepted one."""


def values_of(rules: tuple[Rule, ...]) -> Values:
    """Return the text form of a policy."""
    return tuple(torrc_values(rules))


def path_beside(ledger: Path) -> Path:
    """Return the file that belongs to a ledger."""
    return ledger.with_name("own_policies.json")


def load(path: Path) -> dict[str, OwnPolicy]:
    """Return the recorded policies by relay name; none if there is no file.

    Raises InvalidFileError.
    """
    try:
        content = files.read_own(path, "record of own policies", limit=MAX_BYTES)
    except FileNotFoundError:
        return {}
    try:
        document = json.loads(content)
        if document["version"] != _VERSION:
            raise ValueError(f"version {document['version']!r} is not supported")  # noqa: TRY301
        return {str(name): _read(entry) for name, entry in document["relays"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidFileError(
            f"{path}: this is not a record of own policies: {error}",
            hint=f"rm {word(path)}; then check the exit policies and: exitpol policy accept",
        ) from error


def _read(entry: Mapping[str, Any]) -> OwnPolicy:
    reported = entry["reported"]
    return OwnPolicy(_values(entry["accepted"]), None if reported is None else _values(reported))


def _values(texts: object) -> Values:
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError("a policy is not a list of rules")
    return tuple(texts)


def rules_of(values: Values, path: Path) -> tuple[Rule, ...]:
    """Return the rules of a recorded policy. Raises InvalidFileError."""
    try:
        return parse_policy(values)
    except RuleError as error:
        raise InvalidFileError(
            f"{path}: {error}",
            hint=f"rm {word(path)}; then check the exit policies and: exitpol policy accept",
        ) from error


def save(path: Path, policies: Mapping[str, OwnPolicy]) -> None:
    """Write the record. The caller holds the lock of the ledger. Raises InvalidFileError."""
    relays = {
        name: {"accepted": policy.accepted, "reported": policy.reported}
        for name, policy in sorted(policies.items())
    }
    text = json.dumps({"version": _VERSION, "relays": relays}, indent=1)
    files.replace(path, f"{text}\n".encode())
