"""The JSON schemas of config and ledger accept what exitpol reads, and refuse what it refuses.

exitpol takes every scalar as text; other programs make a number of `version: 2`. A schema judges
both the same.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exitpolicy.core.errors import InvalidFileError
from exitpolicy.storage import base_policies, config, hook_config, ledger_file, ledger_text
from exitpolicy.storage.config import Config
from exitpolicy.storage.ledger_file import Ledger
from tests import test_blocks_file, test_config

FOLDER: Final = Path(__file__).parents[1] / "exitpolicy" / "schemas"
SCHEMAS: Final[dict[str, Any]] = {
    name: json.loads((FOLDER / f"{name}.schema.json").read_text()) for name in ("config", "ledger")
}
VALIDATORS: Final = {
    name: jsonschema.Draft202012Validator(schema) for name, schema in SCHEMAS.items()
}
NOT_IN_A_SCHEMA: Final = {
    "config": (
        *("a second relay named", "have the same torrc", "have the same control port"),
        *("has an open quote", "is more than a day"),
    ),
    "ledger": ("a second block for", "host bits set", "ends before it begins"),
}
"""What exitpol alone can tell."""


class OtherLoader(yaml.SafeLoader):
    """Read a file as programs with YAML 1.2 do: numbers, null, and true and false."""


OtherLoader.yaml_implicit_resolvers = {
    first: [
        (tag, re.compile("^(?:true|false)$") if tag.endswith(":bool") else pattern)
        for tag, pattern in resolvers
        if not tag.endswith((":timestamp", ":merge", ":value"))
    ]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def error_of(kind: str, content: bytes) -> str | None:
    """Return what exitpol says about a config or a ledger; None if it reads it."""
    try:
        if kind == "config":
            config.parse(Path("/etc/exitpol/config.yaml"), content)
        else:
            ledger_file.parse("f", content)
    except InvalidFileError as error:
        return str(error)
    return None


def accepts(kind: str, content: bytes, loader: type[Any] = yaml.BaseLoader) -> bool:
    """Tell whether the schema accepts the content of a file, as a loader reads it."""
    return bool(VALIDATORS[kind].is_valid(yaml.load(content, loader)))  # noqa: S506 - safe ones


def cases(test: Callable[..., None]) -> list[str]:
    """Return the first value of each case of a parametrized test."""
    (mark,) = (mark for mark in test.pytestmark if mark.name == "parametrize")  # type: ignore[attr-defined]
    return [case if isinstance(case, str) else case[0] for case in mark.args[1]]


WRONG: Final = [
    *(
        ("config", text)
        for text in cases(test_config.test_what_is_wrong_is_named_with_file_line_and_mend)
    ),
    *(
        ("ledger", text)
        for text in cases(test_blocks_file.test_an_error_names_file_and_line_and_says_how_to_fix_it)
    ),
]


@pytest.mark.parametrize("kind", SCHEMAS)
def test_it_is_a_schema(kind: str) -> None:
    """The file is valid by its own standard, and describes each key."""
    jsonschema.Draft202012Validator.check_schema(SCHEMAS[kind])
    for key, value in SCHEMAS[kind]["properties"].items():
        assert value.get("description"), key


def test_it_knows_the_keys_that_exitpol_knows() -> None:
    """A key that is added to the reader is added to the schema, in the same order."""
    top, relay = SCHEMAS["config"]["properties"], SCHEMAS["config"]["$defs"]["relay"]
    assert tuple(top) == config.KEYS
    assert tuple(relay["properties"]) == tuple(config.RELAY_KEYS)
    assert tuple(top["operator"]["properties"]) == config.OPERATOR_KEYS
    assert tuple(top["hooks"]["properties"]) == hook_config.KEYS
    assert tuple(top["hooks"]["properties"]["fields"]["items"]["enum"]) == hook_config.FIELDS
    blocks = SCHEMAS["ledger"]["$defs"]
    assert tuple(SCHEMAS["ledger"]["properties"]) == ledger_text.TOP_KEYS
    assert tuple(blocks["block_of_version_1"]["properties"]) == ledger_text.BLOCK_KEYS["1"]
    assert tuple(blocks["block"]["properties"]) == ledger_text.BLOCK_KEYS["2"]
    names = blocks["base_policy"]["enum"]
    assert {name for name in names if name} == set(base_policies.names())


@pytest.mark.parametrize(("kind", "text"), WRONG)
def test_what_exitpol_refuses_is_refused(kind: str, text: str) -> None:
    """Every invalid file of the other tests is invalid here, except where YAML is broken."""
    content = text.encode()
    message = error_of(kind, content)
    assert message is not None
    try:
        accepted = accepts(kind, content)
    except yaml.YAMLError:
        assert "broken YAML" in message
        return
    assert accepted == any(words in message for words in NOT_IN_A_SCHEMA[kind]), message


@pytest.mark.parametrize("kind", SCHEMAS)
def test_what_a_schema_cannot_tell_occurs(kind: str) -> None:
    """Each exception above has a case."""
    messages = [error_of(other, text.encode()) or "" for other, text in WRONG if other == kind]
    for words in NOT_IN_A_SCHEMA[kind]:
        assert any(words in message for message in messages), words


@pytest.mark.parametrize("loader", [yaml.BaseLoader, OtherLoader])
@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("config", test_config.FULL),
        *(("config", content) for content in (b"", b"# nothing\n", b"{}\n", b"relays: []\n")),
        ("config", b"max_prefix: {ipv4: 0, ipv6: 128}\noperator: {name: 4711, contact: }\n"),
        ("config", b"relays:\n- {name: 4711, torrc: t, control: 'unix:/c', user: tor}\n"),
        ("config", b"relays:\n- {name: a, torrc: t, control: sock}\n"),
        *(
            ("ledger", text.encode())
            for text in cases(test_blocks_file.test_a_ledger_may_be_empty)
        ),
        ("ledger", f"version: 1\nblocks:\n{test_blocks_file.PLAIN}".encode()),
        ("ledger", f"version: 2\nblocks:\n{test_blocks_file.MANY_LINES}".encode()),
        ("ledger", b"version: 2\npolicy: {exit1: web, exit2: ''}\n"),
        ("ledger", f"version: 2\npolicy: web\nblocks:\n{test_blocks_file.LINE}".encode()),
        (
            "ledger",
            (
                b"version: 2\nblocks:\n- {destination: '[2001:db8::]/32:*', relays: [1, a],"
                b" since: 2026-01-01 10:00z, until: '2027-01-01T00:00:00,5+0100', reason: 4711,"
                b" forced: yes}\n"
            ),
        ),
    ],
)  # fmt: skip
def test_what_a_person_writes_is_accepted(kind: str, content: bytes, loader: type[Any]) -> None:
    """Plain words, numbers, empty files and both versions, read by exitpol or another program."""
    assert error_of(kind, content) is None
    assert accepts(kind, content, loader)


@settings(max_examples=20)
@given(test_config.configs())
def test_a_config_that_exitpol_writes_is_accepted(written: Config) -> None:
    """Whatever the paths and words in it."""
    content = config.render(written)
    assert accepts("config", content)
    assert accepts("config", content, OtherLoader)


@settings(max_examples=50)
@given(test_blocks_file.ledgers)
def test_a_ledger_that_exitpol_writes_is_accepted(ledger: Ledger) -> None:
    """Whatever the blocks."""
    content = ledger_file.render(ledger)
    assert accepts("ledger", content)
    assert accepts("ledger", content, OtherLoader)


def line(key: str, text: str) -> tuple[str, bytes]:
    """Return a file in which a key has a value: its kind, and its content."""
    value = json.dumps(text)
    if key == "control":
        return "config", f"relays:\n- {{name: a, torrc: t, control: {value}}}\n".encode()
    values = {"destination": '"1.2.3.4"', "since": '"0001-01-01"', "until": "never"} | {key: value}
    inner = ", ".join(f"{name}: {word}" for name, word in values.items())
    return "ledger", f"version: 2\nblocks:\n- {{{inner}}}\n".encode()


@settings(max_examples=300)
@given(
    st.sampled_from(["destination", "since", "until", "ended", "control"]),
    st.lists(
        st.sampled_from(
            [
                *("203.0.113.7", "2001:db8::1", "::", "0", "1", "32", "65535", "/", "-", ":", ","),
                *("*", "[", "]", " ", "2026-11-22", "10:00", "T", "Z", "+01:00", ".5", "never"),
                "unix:",
            ]
        ),
        max_size=6,
    ).map("".join),
)
@example("destination", "[2001:db8::1]-[2001:db8::9]:22,80-90")
@example("destination", "[2001:db8::/32]")
@example("until", "2026-11-22T10:00+01:00")
@example("control", "[::1]:9051")
def test_the_patterns_accept_what_exitpol_accepts(key: str, text: str) -> None:
    """No value of a file that exitpol reads is underlined in an editor."""
    kind, content = line(key, text)
    if error_of(kind, content) is None:
        assert accepts(kind, content), text
