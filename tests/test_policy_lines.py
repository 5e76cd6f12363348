"""Rules that leave the ExitPolicy lines of a torrc, and the texts in which Tor reads the rest."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exitpolicy.tor import fragment_include
from exitpolicy.tor.policy_lines import comment_of, is_divisible, rules_in, without_rules
from exitpolicy.tor.torrc_lines import lines

_RULES = ("reject 203.0.113.7:*", "accept *:80", "reject 192.0.2.0/24:22", "reject *:25")


def rules_of(text: str) -> list[str]:
    """Return the rules of all ExitPolicy lines."""
    return [
        rule
        for line in lines(text)
        if line.keyword in {"exitpolicy", "+exitpolicy"}
        for rule in rules_in(line)
    ]


@st.composite
def policy_lines(draw: st.DrawFn) -> str:
    """Draw one line or a few that belong together, as people write them."""
    keyword = draw(st.sampled_from(("ExitPolicy ", "exitpolicy\t", "  +ExitPolicy  ")))
    rules = draw(st.lists(st.sampled_from(_RULES), min_size=1, max_size=3))
    shape = draw(st.sampled_from(("plain", "comment", "quoted", "continued", "none", "crlf")))
    value = draw(st.sampled_from((",", " , "))).join(rules)
    return {
        "plain": f"{keyword}{value}\n",
        "comment": f"{keyword}{value} # why, reject *:1\n",
        "quoted": f'{keyword}"{value}"\n',
        "continued": f"{keyword}\\\n  {value}\n",
        "none": "# ExitPolicy reject 203.0.113.7:*\n\nNickname x\n",
        "crlf": f"{keyword}{value}\r\n",
    }[shape]


@given(st.lists(policy_lines(), max_size=6), st.sets(st.sampled_from(_RULES)), st.booleans())
def test_exactly_the_named_rules_leave(
    parts: list[str], moved: set[str], has_line_end: bool
) -> None:
    """The other rules stay in order; all lines without one of them stay as they are."""
    text = "".join(parts)
    text = text if has_line_end else text.removesuffix("\n")
    gone: dict[int, set[str]] = {}
    for line in lines(text):
        leaving = set(rules_in(line)) & moved if "exitpolicy" in line.keyword else set()
        if leaving and (is_divisible(line) or leaving == set(rules_in(line))):
            gone[line.number] = leaving
    after = without_rules(text, gone)
    expected = [
        rule
        for line in lines(text)
        if "exitpolicy" in line.keyword
        for rule in rules_in(line)
        if rule not in gone.get(line.number, set())
    ]
    assert rules_of(after) == expected
    untouched = [line.text for line in lines(text) if not line.keyword]
    assert [t for t in untouched if t.startswith("#")] == [
        line.text for line in lines(after) if line.text.startswith("#")
    ]
    assert without_rules(text, {}) == text


def test_a_comment_stays_with_the_rest_of_its_line() -> None:
    """It goes with the last rule; a rule in quotes has none."""
    text = "ExitPolicy reject 203.0.113.7:*,accept *:80 # why\nExitPolicy reject *:25 # mail\n"
    after = without_rules(text, {1: {"reject 203.0.113.7:*"}, 2: {"reject *:25"}})
    assert after == "ExitPolicy accept *:80  # why\n"
    assert [comment_of(line) for line in lines(text)] == ["why", "mail"]
    quoted = 'ExitPolicy "reject 203.0.113.7:*,accept *:80" # why\n'
    assert [comment_of(line) for line in lines(quoted)] == [""]
    with pytest.raises(ValueError, match="cannot be divided"):
        without_rules(quoted, {1: {"accept *:80"}})


def test_texts_stand_in_the_place_of_files(tmp_path: Path) -> None:
    """Also of a file that a file includes, through a link, and of the torrc itself."""
    torrc, one, two, fragment = (tmp_path / name for name in ("torrc", "one", "two", "fragment"))
    link = tmp_path / "link"
    link.symlink_to(two)
    torrc.write_text(f"Nickname a\n%include {one}\n%include {fragment}\n")
    one.write_text(f"ExitPolicy reject 192.0.2.1:*\n%include {link}\n")
    two.write_text("ExitPolicy reject 192.0.2.2:*\n")
    fragment.write_text("ExitPolicy reject 192.0.2.3:*\n")

    def read(texts: dict[Path, str]) -> list[str]:
        text = fragment_include.with_texts(
            torrc, fragment, texts, "ExitPolicy reject 192.0.2.4:*\n"
        )
        copy = tmp_path / "copy"
        copy.write_text(text)
        return [rule for _, rule in fragment_include.own_rules(copy, tmp_path / "none")]

    assert read({}) == [f"reject 192.0.2.{n}:*" for n in (1, 2, 4)]
    assert read({two: ""}) == [f"reject 192.0.2.{n}:*" for n in (1, 4)]
    assert read({one: f"%include {link}\n", two: "Nickname b\n"}) == ["reject 192.0.2.4:*"]
    assert read({torrc: f"%include {one}\n"}) == [f"reject 192.0.2.{n}:*" for n in (1, 2)]
