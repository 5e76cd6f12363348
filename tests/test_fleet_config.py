"""The key `fleet` of the config: relays and groups, in the config or in a file of its own."""

import os
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from exitpolicy.core.destination import parse_destination
from exitpolicy.core.errors import InvalidFileError
from exitpolicy.core.fleet import Fleet, Member, Reach, told_apart
from exitpolicy.storage import config, fleet_config
from tests.test_config import PATH, parse
from tests.test_schemas import VALIDATORS

ONE = "- {name: exit1, host: web1, addresses: [198.51.100.7]}\n"
FULL = """\
host: web1
default: everywhere
relays:
- {name: exit1, host: web1, addresses: [198.51.100.7, "2001:db8::7"], nickname: quux}
- name: default
  host: web2
  addresses: [198.51.100.9]
  fingerprint: $9695DFC35FFEB861329B9F1AB04C46397020CE31
- {name: default, host: web3, addresses: [198.51.100.10]}
groups:
  berlin: [exit1, "web2/*"]
"""


def indented(text: str) -> str:
    """Return the content of a fleet's file as the value of the key in a config."""
    return "fleet:\n" + "".join(f"  {line}\n" for line in text.splitlines())


def test_a_fleet_is_read_from_the_config_or_from_a_file(tmp_path: Path) -> None:
    """Both say the same; a relative path is relative to the config."""
    inline = parse(indented(FULL))
    assert inline.fleet_file is None
    assert inline.fleet == Fleet(
        told_apart(
            (
                Member(
                    "exit1",
                    "web1",
                    (parse_destination("198.51.100.7"), parse_destination("2001:db8::7")),
                    nickname="quux",
                ),
                Member(
                    "default",
                    "web2",
                    (parse_destination("198.51.100.9"),),
                    fingerprint="9695DFC35FFEB861329B9F1AB04C46397020CE31",
                ),
                Member("default", "web3", (parse_destination("198.51.100.10"),)),
            )
        ),
        {"berlin": ("exit1", "web2/*")},
        "web1",
        Reach.EVERYWHERE,
    )
    assert [one.word for one in inline.fleet.members] == ["exit1", "web2/default", "web3/default"]
    (tmp_path / "fleet.yaml").write_text(FULL)
    of_file = config.parse(tmp_path / "config.yaml", b"fleet: fleet.yaml\n")
    assert (of_file.fleet, of_file.fleet_file) == (inline.fleet, tmp_path / "fleet.yaml")
    rendered = config.render(of_file)
    assert b"exit1" not in rendered
    assert config.parse(tmp_path / "config.yaml", rendered) == of_file
    VALIDATORS["config"].validate(yaml.load(indented(FULL), yaml.BaseLoader))  # noqa: S506
    VALIDATORS["config"].validate({"fleet": "fleet.yaml"})


def test_groups_need_no_relays() -> None:
    """A host may use patterns of names without an inventory."""
    read = parse('fleet: {groups: {berlin: [exit1, "ber*"]}}\n')
    assert read.fleet == Fleet(groups={"berlin": ("exit1", "ber*")})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("relay: []\n", "1: unknown key 'relay' in fleet"),
        ("relays: {}\n", "1: relays must be a list"),
        ("relays:\n- {name: a}\n", "2: a relay of the fleet without 'addresses'"),
        ("relays:\n- {addresses: [198.51.100.7]}\n", "2: a relay of the fleet without 'name'"),
        ("relays:\n- {name: a, addresses: []}\n", "2: addresses: a relay has 1 to 16"),
        ("relays:\n- {name: a, addresses: [x]}\n", "2: addresses: "),
        ("relays:\n- {name: a, addresses: [198.51.100.0/24]}\n", "2: addresses: '198.51.100.0/24'"),
        ('relays:\n- {name: a, addresses: ["198.51.100.7:443"]}\n', "2: addresses: '198"),
        ('relays:\n- {name: "", addresses: [198.51.100.7]}\n', "2: name: '' is not a name"),
        ('relays:\n- {name: "a\\nb", addresses: [198.51.100.7]}\n', "2: name: 'a\\nb' is not"),
        (f"relays:\n{ONE}{ONE}", "3: a second relay named 'exit1'"),
        (
            f"relays:\n{ONE}- {{name: exit1, addresses: [198.51.100.8]}}\n",
            "3: a second relay named 'exit1'",
        ),
        (
            f"relays:\n- {{name: exit1, addresses: [198.51.100.8]}}\n{ONE}",
            "3: a second relay named 'exit1'",
        ),
        (
            "relays:\n- {name: a, addresses: [198.51.100.7], fingerprint: 9695}\n",
            "2: fingerprint: '9695' is no fingerprint",
        ),
        ("default: nowhere\n", "1: default: 'nowhere' is no choice"),
        (f"host: web2\nrelays:\n{ONE}", "1: host: no relay of the fleet is on the host 'web2'"),
        (f"relays:\n{ONE}groups: {{exit1: [a]}}\n", "3: groups: 'exit1' is the name of a relay"),
        ("groups: {a: [b], b: [c]}\n", "1: groups: 'a' holds the group 'b'"),
        ('groups: {"a/b": [c]}\n', "1: groups: 'a/b' cannot name a group"),
        ("groups: [a]\n", "1: groups: no list of groups"),
        ("groups: {a: b}\n", "1: groups: a must be a list"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    """In a file of its own, the line is that of the file."""
    path = tmp_path / "fleet.yaml"
    path.write_text(text)
    with pytest.raises(InvalidFileError) as caught:
        config.parse(PATH, f"fleet: {path}\n".encode())
    assert str(caught.value).startswith(f"{path}:{message}")


def test_a_file_that_is_missing_or_empty_is_an_error(tmp_path: Path) -> None:
    """Without its inventory, a complaint could block in the wrong place."""
    with pytest.raises(InvalidFileError, match=r"config.yaml:2: fleet: there is no /nowhere"):
        parse("protected: []\nfleet: /nowhere/fleet.yaml\n")
    (tmp_path / "fleet.yaml").write_text("# nothing\n")
    with pytest.raises(InvalidFileError, match="it names no relay"):
        config.parse(tmp_path / "config.yaml", b"fleet: fleet.yaml\n")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidFileError):
        config.parse(tmp_path / "config.yaml", b"fleet: pipe\n")


def test_a_fleet_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is too long is an error before it is read into memory."""
    path = tmp_path / "fleet.yaml"
    path.write_text("#" * (fleet_config.MAX_BYTES + 1))
    with pytest.raises(InvalidFileError, match=r"fleet\.yaml"):
        config.parse(PATH, f"fleet: {path}\n".encode())
    monkeypatch.setattr(fleet_config, "MAX_RELAYS", 1)
    two = f"relays:\n{ONE}- {{name: exit2, addresses: [198.51.100.8]}}\n"
    with pytest.raises(InvalidFileError, match="at most 1 relays"):
        parse(indented(two))


names = st.from_regex(r"[a-z][a-z0-9_.-]{0,8}", fullmatch=True)
addresses = st.integers(0, 255).map(lambda n: parse_destination(f"198.51.100.{n}"))
members = st.builds(
    Member,
    names,
    names,
    st.lists(addresses, min_size=1, max_size=3, unique=True).map(tuple),
    st.just("") | names,
    st.just("") | st.just("0" * 39 + "A"),
)


@given(
    st.lists(members, max_size=3, unique_by=(lambda m: m.name,)),
    st.dictionaries(st.sampled_from(["A", "B.x"]), st.lists(names, max_size=2).map(tuple)),
    st.sampled_from(Reach),
)
def test_a_rendered_fleet_is_read_back_as_the_same(
    chosen: list[Member], groups: dict[str, tuple[str, ...]], reach: Reach
) -> None:
    """`init` writes a config anew."""
    host = chosen[0].host if chosen else ""
    fleet = Fleet(told_apart(chosen), groups, host, reach)
    written = config.Config(fleet=fleet, source=PATH)
    assert config.parse(PATH, config.render(written)) == written
