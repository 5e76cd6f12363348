"""Sentences of wrapped mails: joined where they were wrapped, and nowhere else."""

import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exitpolicy.complaint.input.sentences import is_prose, unwrapped

PROSE = (
    "Since this morning somebody who uses one of your addresses, namely 185.220.101.4, has been "
    "guessing passwords on our mail server at 91.201.214.77, several times a second. "
    "We have blocked it for now. Please let us know what you intend to do about it."
)


@pytest.mark.parametrize("width", [60, 66, 72, 78, 98])
def test_wrapped_text_becomes_its_sentences(width: int) -> None:
    """Each sentence becomes one line, for every width of the mail."""
    lines = list(unwrapped(textwrap.wrap(PROSE, width)))
    assert lines[0] == PROSE[: PROSE.index(" We have")]
    assert " ".join(lines) == PROSE


@pytest.mark.parametrize(
    "lines",
    [
        ["Nov 22 07:10:11 mx postfix/smtpd[123]: warning: unknown[185.220.101.4]: SASL LOGIN",
         "Nov 22 07:10:19 mx postfix/smtpd[123]: warning: unknown[185.220.101.4]: SASL LOGIN"],
        ["reporter_ip,reporter,attacker_ip,attacker_port,victim_ip,victim_port,service,count",
         "207.45.186.2,webhaven,198.96.155.40,40221,207.45.187.11,21,ftp,340"],
        ["2 448120990112 eni-0a91c2 107.189.31.90 172.31.18.40 40122 443 6 31 4120 ACCEPT OK",
         "2 448120990112 eni-0a91c2 107.189.31.90 172.31.18.40 40188 443 6 30 4099 ACCEPT OK"],
        ['172.68.18.77 - - [17/Nov/2026:20:11:04 -0300] "POST /wp-login.php HTTP/1.1" 200 "Moz"',
         '172.70.108.9 - - [17/Nov/2026:20:11:06 -0300] "POST /wp-login.php HTTP/1.1" 200 "Moz"'],
        ["Attacked hosts of the university, as far as we know them:", "- the library, 141.20.1.1"],
        ["| attacker address that we have seen | address of the victim that was attacked |",
         "| 185.220.101.4 | 91.201.214.77 |"],
        ["Destination address of the attack: 91.201.214.77 and others", "Source: 185.220.101.4"],
    ],
)  # fmt: skip
def test_lines_of_logs_tables_and_lists_stay_apart(lines: list[str]) -> None:
    """Lines that are no sentences are not joined."""
    assert list(unwrapped(lines)) == lines


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=90)))
def test_nothing_is_lost_or_added(lines: list[str]) -> None:
    """The letters stay the same, in the same order."""
    joined = "".join(unwrapped(lines))
    assert "".join(joined.split()) == "".join("".join(lines).split())


def test_a_heading_that_ends_with_a_colon_is_not_joined_with_its_list() -> None:
    """A line with a colon at its end is complete."""
    lines = [
        "The following systems of ours were attacked over the whole of last night:",
        "10.1.2.3",
    ]
    assert list(unwrapped(lines)) == lines


@pytest.mark.parametrize("line", ["", "   ", "185.220.101.4", "=====", "a=1 b=2 c=3", "1 2 3 4 5"])
def test_is_prose_needs_words(line: str) -> None:
    """Addresses, rulers and rows of numbers are no prose."""
    assert not is_prose(line)
