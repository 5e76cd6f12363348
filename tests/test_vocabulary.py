"""The words of complaints: the format of the files, and the content of ours."""

import json
import re
import shutil
import subprocess
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

import exitpolicy
from exitpolicy.complaint import Kind
from exitpolicy.complaint.language import vocabulary
from exitpolicy.complaint.language.detect import language_of
from exitpolicy.complaint.language.kinds import kind_of
from exitpolicy.complaint.language.word_files import FORMATS, Vocabulary, vocabularies
from exitpolicy.complaint.language.word_files import parse as plainly_parsed
from exitpolicy.core.errors import InvalidFileError
from tests.word_rules import MAX_COLUMNS, parse

FOLDER = files("exitpolicy.complaint.language") / "words"
OURS = vocabularies()
ARGUMENTS = ("kind ", "month ", "number ", "spelling ", "type ", "zone ", "gateway ", "service ")
"""Sections whose name has an argument."""
LANGUAGES = [ours.language for ours in OURS if "frequent" in ours.sections]


def sections(text: str) -> dict[str, list[str]]:
    """Return the entries of a file with this text by section."""
    return {name: list(entries) for name, entries in parse("xx", text).sections.items()}


@pytest.mark.parametrize("ours", OURS, ids=lambda ours: ours.language)
def test_each_entry_of_ours_can_be_found(ours: Vocabulary) -> None:
    """The files follow README.txt, are in NFC form, and have no empty section."""
    assert parse(ours.language, (FOLDER / f"{ours.language}.txt").read_text("utf-8")) == ours
    assert all(ours.sections.values())
    entries = [entry for section in ours.sections.values() for entry in section]
    assert entries == [unicodedata.normalize("NFC", entry) for entry in entries]


def test_no_file_is_left_unread() -> None:
    """Every file in the folder is read, except README.txt."""
    names = {file.name for file in FOLDER.iterdir()} - {"README.txt"}
    assert names == {f"{ours.language}.txt" for ours in OURS}


def test_each_section_is_described() -> None:
    """README.txt describes each section that a file may have, and no other."""
    text = (FOLDER / "README.txt").read_text(encoding="utf-8")
    assert max(map(len, text.splitlines())) <= MAX_COLUMNS
    described = re.findall(r"^([a-z][a-z ]*?)(?: [A-Z]+)*  ", text, re.MULTILINE)
    used = {name for ours in OURS for name in ours.sections}
    families = {re.sub(r" .*", "", n) if n.startswith(ARGUMENTS) else n for n in used}
    assert sorted(described) == sorted(families)
    kinds = {name.split()[1] for name in used if name.startswith("kind ")}
    assert kinds == {kind.value for kind in Kind} - {"unknown"}
    assert all(kind in text for kind in kinds)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_is_told_by_its_frequent_words(language: str) -> None:
    """A text of the frequent words of a language is in that language."""
    (ours,) = (ours for ours in OURS if ours.language == language)
    assert language_of(" ".join(ours.sections["frequent"])) == language


def test_words_are_whole_begin_so_or_hold_it() -> None:
    """`word`, `word*` and `*word*` mean what README.txt says."""
    source = vocabulary.words("source")
    assert "rip" in source
    assert "ripe" not in source
    assert "angreiferin" in source
    assert "quell" in source
    assert "requell" not in source
    assert "" not in source
    assert source.parts.search("攻撃元ホスト")
    assert "攻撃元" not in source


def test_phrases_of_all_languages_are_looked_for() -> None:
    """Phrases of every language match, in upper and lower case."""
    assert kind_of("", "FUERZA BRUTA") is Kind.BRUTE_FORCE
    assert kind_of("", "Ein Portscan") is Kind.PORT_SCAN
    assert kind_of("", "ПОДБОР ПАРОЛЯ") is Kind.BRUTE_FORCE
    assert kind_of("", "nothing of the sort") is Kind.UNKNOWN


def test_a_word_of_two_languages_counts_for_both() -> None:
    """A frequent word of several languages counts for each of them."""
    assert vocabulary.frequent()["adresse"] == ("da", "de", "fr", "no")


def test_long_words_are_searched_quickly() -> None:
    """A mail of one long word is read quickly: every phrase has a maximum length."""
    start = time.process_time()
    assert kind_of("", "attack" * 6600 + " angriff" * 5000) is Kind.UNKNOWN
    assert kind_of("", "angreif" * 6000) is Kind.UNKNOWN
    assert time.process_time() - start < 10


def test_entries_are_parted_by_blanks_or_commas() -> None:
    """Blanks separate words; a comma and a blank separate phrases; comments are skipped."""
    text = (
        "# Sample\n\n[source]\na b*\nc\n\n[acting]\n# of two words\nto hack, a{1,2}\nb\n"
        "[kind spam 3]\nbuy (?:this\n    |that)\n    [ ]now, get\n"
    )
    assert sections(text) == {
        "source": ["a", "b*", "c"],
        "acting": ["to hack", "a{1,2}", "b"],
        "kind spam 3": ["buy (?:this|that)[ ]now", "get"],
    }


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("[form]\na\n", 1, "unknown section [form]"),
        ("[kind rudeness 3]\na\n", 1, "unknown section [kind rudeness 3]"),
        ("[kind unknown 3]\na\n", 1, "unknown section [kind unknown 3]"),
        ("[kind spam 0]\na\n", 1, "unknown section [kind spam 0]"),
        ("[our]\nmy\n\n[our]\nmine\n", 4, "a second section [our]"),
        ("# hm\nmy\n[our]\n", 2, "'my' is before the first section"),
        ("[our]\nmy our\nmine my\n", 3, "'my' is in [our] already"),
        ("[acting]\nto do, to do\n", 2, "'to do' is in [acting] already"),
        ("[acting]\nto do,\nto act\n", 2, "nothing after a comma"),
        ("[acting]\nto do, , to act\n", 2, "nothing after a comma"),
        ("[our]\nMy\n", 2, "'My' is not in lower case"),
        ("[acting]\n\\bAct\\S\n", 2, "'\\\\bAct\\\\S' is not in lower case"),
        ("[our]\nour*\n", 2, "'our*': [our] does not allow the beginning of a word (`word*`)"),
        ("[filler]\n*x*\n", 2, "'*x*': [filler] does not allow a part of a word (`*word*`)"),
        ("[source]\n*x\n", 2, "'*x': [source] does not allow a part of a word (`*word*`)"),
        ("[source]\nx*y\n", 2, "'x*y': [source] does not allow the beginning of a word (`word*`)"),
        ("[source]\n*\n", 2, "'*': [source] does not allow a part of a word (`*word*`)"),
        ("[our]\n    my\n", 2, "begins with a blank, but there is no phrase to continue"),
        ("[our]\nmy\n    our\n", 3, "begins with a blank, but there is no phrase to continue"),
        ("[acting]\nact \n", 2, "an invisible blank at the end: write [ ]"),
        ("[acting]\n" + "a" * 101, 2, "more than 100 columns"),
    ],
)
def test_what_a_file_must_not_hold(text: str, line: int, problem: str) -> None:
    """A file that breaks the rules of README.txt is an error with the line number."""
    with pytest.raises(InvalidFileError) as refused:
        parse("xx", text)
    assert str(refused.value) == f"words/xx.txt:{line}: {problem}"
    assert "README.txt" in (refused.value.hint or "")


def test_formats_have_no_frequent_words() -> None:
    """formats.txt has no frequent words."""
    with pytest.raises(InvalidFileError, match=re.escape("words/formats.txt:1: [frequent]")):
        parse(FORMATS, "[frequent]\na\n")


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("[our]\nmy\nwell-known\n", 3, "'well-known': no word contains '-'"),
        ("[acting]\nact\nb(?:c\n", 3, "'b(?:c' is not a regular expression"),
        ("[acting]\na)|(?:b\n", 2, "'a)|(?:b' is not a regular expression"),
        ("[acting]\na?\n", 2, "'a?' matches everywhere, even in an empty text"),
        ("[acting]\na\\w*b\n", 2, "'a\\\\w*b': * and + have no limit, write {0,20}"),
        ("[acting]\na{2,}\n", 2, "'a{2,}': * and + have no limit, write {0,20}"),
        ("[acting]\nab|[|]\n", 2, "'ab|[|]': write two entries for a|b"),
        ("[acting]\n(a|b)\n", 2, "'(a|b)': write (?:…) for (…)"),
    ],
)
def test_what_an_entry_must_not_be(text: str, line: int, problem: str) -> None:
    """An entry that never matches, or matches everywhere, is an error with its line."""
    with pytest.raises(InvalidFileError, match=re.escape(f"words/xx.txt:{line}: {problem}")):
        parse("xx", text)


def test_signs_may_be_looked_for() -> None:
    """An escaped star or plus is allowed."""
    parse("xx", "[acting]\nc\\+\\+, \\*{3}, \\S{1,3}\n")


@pytest.fixture
def other_words(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Return a function that replaces the words of all languages."""

    def replace(*texts: str) -> None:
        found = tuple(
            plainly_parsed(f"x{letter}", text) for letter, text in zip("xyz", texts, strict=False)
        )
        monkeypatch.setattr(vocabulary, "vocabularies", lambda: found)
        vocabulary.words.cache_clear()

    yield replace
    vocabulary.words.cache_clear()


def test_a_section_without_entries_matches_nowhere(other_words: Callable[..., None]) -> None:
    """Without any words nothing matches; an empty alternation would match everywhere."""
    other_words()
    assert not vocabulary.pattern("<<acting>>").search("attack")
    assert "attack" not in vocabulary.words("source")
    assert not vocabulary.words("source").parts.search("attack")
    assert list(vocabulary.kinds()) == []


def test_a_placeholder_stands_for_the_entries_of_all_languages(
    other_words: Callable[..., None],
) -> None:
    """`<<section>>` is an alternation, the longest entry first, numbered sections together."""
    other_words("[port]\nab\n\n[month 1]\nun\n", "[port]\nab?c\n\n[month 2]\nduo\n")
    found = vocabulary.pattern("(?:<<port>>) (?:<<month>>)").search("ABC duo")
    assert found is not None
    assert found.group() == "abc duo"
    assert vocabulary.numbered.__wrapped__("month") == {"un": 1, "duo": 2}


MADE_UP = """\
# A language that nobody speaks

[our]
zorbik

[from]
plu

[to]
gim

[acting]
krazat

[passive]
fib krazaten

[port]
dorf

[month 3]
tilmar

[zone -0500]
xqt

[ticket prefix]
zakk

[dot]
zib

[type spam]
klonk

[within]
flen

[days]
murgs

[closing]
yub nub

[frequent]
ek oz plu gim zorbik fib
"""
MAIL = """\
From: a@b.example
To: c@d.example
Subject: krazat ZAKK-4711
Date: Sun, 22 Nov 2026 10:00:00 +0000

Ek krazat oz 12 tilmar 2026 04:05:06 XQT plu 185.220.101.4 gim zorbik 93.184.216.34 dorf 22.
93[zib]184[zib]216[zib]35 fib krazaten oz.
Ek oz flen 3 murgs.

Yub nub
tel. 93.184.216.36
"""


def test_a_new_language_needs_only_its_file(tmp_path: Path) -> None:
    """A made-up language works after a data file is added to a copy of the program."""
    package = Path(exitpolicy.__file__).parent
    shutil.copytree(package, tmp_path / "exitpolicy", ignore=shutil.ignore_patterns("*.pyc"))
    program = (
        "import json, sys; from exitpolicy.complaint import as_json, read_complaint;"
        "print(json.dumps(as_json(read_complaint(sys.stdin.buffer.read()))))"
    )

    def read() -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-c", program],
            input=MAIL.encode(), cwd=tmp_path, check=True, capture_output=True,
        )  # fmt: skip
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    before = read()
    words = tmp_path / "exitpolicy" / "complaint" / "language" / "words" / "xq.txt"
    words.write_text(MADE_UP, encoding="utf-8")
    after = read()
    assert before["language"] is None
    assert before["deadline"] is None
    assert before["incidents"] == []
    assert after["language"] == "xq"
    assert after["deadline"] == "2026-11-25T10:00:00Z"
    assert after["incidents"] == [{"time": "2026-03-12T09:05:06Z", "zone_said": True}]
    assert after["references"] == ["ZAKK-4711"]
    found = [candidate["destination"] for candidate in after["candidates"]]
    assert found == ["93.184.216.34:22", "93.184.216.35"]
    assert after["sources"] == ["185.220.101.4"]
