"""The words of complaints, a file a language: what they may hold, and what ours do."""

import re
import time
import unicodedata
from importlib.resources import files

import pytest

from exitpolicy.complaint import Kind
from exitpolicy.complaint.language import vocabulary
from exitpolicy.complaint.language.detect import language_of
from exitpolicy.complaint.language.kinds import kind_of
from exitpolicy.complaint.language.vocabulary import FORMATS, Vocabulary, check, parse
from exitpolicy.core.errors import InvalidFileError

FOLDER = files("exitpolicy.complaint.language") / "words"
OURS = vocabulary.vocabularies()
LANGUAGES = [ours.language for ours in OURS if "frequent" in ours.sections]


def sections(text: str) -> dict[str, list[str]]:
    """Return the entries of a file with this text by section."""
    return {name: list(entries) for name, entries in parse("xx", text).sections.items()}


@pytest.mark.parametrize("ours", OURS, ids=lambda ours: ours.language)
def test_each_entry_of_ours_can_be_found(ours: Vocabulary) -> None:
    """Our files hold what README.txt allows, composed as mails are, and no section is empty."""
    check(ours)
    assert all(ours.sections.values())
    entries = [entry for section in ours.sections.values() for entry in section]
    assert entries == [unicodedata.normalize("NFC", entry) for entry in entries]


def test_no_file_is_left_unread() -> None:
    """All that lies in the folder is read, but for the description."""
    names = {file.name for file in FOLDER.iterdir()} - {"README.txt"}
    assert names == {f"{ours.language}.txt" for ours in OURS}


def test_each_section_is_described() -> None:
    """README.txt says what each section means, and of each sort what a section may be."""
    text = (FOLDER / "README.txt").read_text(encoding="utf-8")
    assert max(map(len, text.splitlines())) <= vocabulary.MAX_COLUMNS
    described = set(re.findall(r"^([a-z]+(?: [a-z]+)?|kind NAME WEIGHT)  ", text, re.MULTILINE))
    kinds = {name for ours in OURS for name in ours.sections if name.startswith("kind ")}
    used = {name for ours in OURS for name in ours.sections} - kinds
    assert described == used | {"kind NAME WEIGHT"}
    assert {name.split()[1] for name in kinds} == {kind.value for kind in Kind} - {"unknown"}
    assert all(name.split()[1] in text for name in kinds)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_is_told_by_its_frequent_words(language: str) -> None:
    """A text of all of a language's frequent words is in that language."""
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
    """A mail is searched for the phrases of every language, in any case."""
    assert kind_of("", "FUERZA BRUTA") is Kind.BRUTE_FORCE
    assert kind_of("", "Ein Portscan") is Kind.PORT_SCAN
    assert kind_of("", "ПОДБОР ПАРОЛЯ") is Kind.BRUTE_FORCE
    assert kind_of("", "nothing of the sort") is Kind.UNKNOWN


def test_a_word_of_two_languages_counts_for_both() -> None:
    """Frequent words of several languages are told as such, in the order of the files."""
    assert vocabulary.frequent()["adresse"] == ("da", "de", "fr", "no")


def test_long_words_are_searched_quickly() -> None:
    """A mail of one long word does not keep the reader busy: every phrase has an end."""
    start = time.process_time()
    assert kind_of("", "attack" * 6600 + " angriff" * 5000) is Kind.UNKNOWN
    assert kind_of("", "angreif" * 6000) is Kind.UNKNOWN
    assert time.process_time() - start < 10


def test_entries_are_parted_by_blanks_or_commas() -> None:
    """Words are parted by blanks, phrases by a comma and a blank; comments are left out."""
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
        ("[form]\na\n", 1, "there is no section [form]"),
        ("[kind rudeness 3]\na\n", 1, "there is no section [kind rudeness 3]"),
        ("[kind unknown 3]\na\n", 1, "there is no section [kind unknown 3]"),
        ("[kind spam 0]\na\n", 1, "there is no section [kind spam 0]"),
        ("[our]\nmy\n\n[our]\nmine\n", 4, "a second section [our]"),
        ("# hm\nmy\n[our]\n", 2, "'my' stands before the first section"),
        ("[our]\nmy our\nmine my\n", 3, "'my' is in [our] already"),
        ("[acting]\nto do, to do\n", 2, "'to do' is in [acting] already"),
        ("[acting]\nto do,\nto act\n", 2, "a comma, but nothing after it in this line"),
        ("[acting]\nto do, , to act\n", 2, "a comma, but nothing after it in this line"),
        ("[our]\nMy\n", 2, "'My' is not all in lower case"),
        ("[acting]\n\\bAct\\S\n", 2, "'\\\\bAct\\\\S' is not all in lower case"),
        ("[our]\nour*\n", 2, "'our*': [our] does not hold beginnings of words (`word*`)"),
        ("[filler]\n*x*\n", 2, "'*x*': [filler] does not hold parts of words (`*word*`)"),
        ("[source]\n*x\n", 2, "'*x': [source] does not hold parts of words (`*word*`)"),
        ("[source]\nx*y\n", 2, "'x*y': [source] does not hold beginnings of words (`word*`)"),
        ("[source]\n*\n", 2, "'*': [source] does not hold parts of words (`*word*`)"),
        ("[our]\n    my\n", 2, "begins with a blank, but there is nothing to continue"),
        ("[our]\nmy\n    our\n", 3, "begins with a blank, but there is nothing to continue"),
        ("[acting]\nact \n", 2, "a blank at the end, which nobody sees: write [ ]"),
        ("[acting]\n" + "a" * 101, 2, "more than 100 columns"),
    ],
)
def test_what_a_file_must_not_hold(text: str, line: int, problem: str) -> None:
    """A file that is not as README.txt says is refused, with the number of the line."""
    with pytest.raises(InvalidFileError) as refused:
        parse("xx", text)
    assert str(refused.value) == f"words/xx.txt:{line}: {problem}"
    assert "README.txt" in (refused.value.hint or "")


def test_formats_have_no_frequent_words() -> None:
    """What belongs to no language tells none."""
    with pytest.raises(InvalidFileError, match=re.escape("words/formats.txt:1: [frequent]")):
        parse(FORMATS, "[frequent]\na\n")


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("[our]\nmy\nwell-known\n", 3, "'well-known': no word has a '-' in it"),
        ("[acting]\nact\nb(?:c\n", 3, "'b(?:c' is no regular expression"),
        ("[acting]\na)|(?:b\n", 2, "'a)|(?:b' is no regular expression"),
        ("[acting]\na?\n", 2, "'a?' is found everywhere, even in nothing"),
        ("[acting]\na\\w*b\n", 2, "'a\\\\w*b': * and + have no end, write {0,20}"),
        ("[acting]\na{2,}\n", 2, "'a{2,}': * and + have no end, write {0,20}"),
        ("[acting]\n(a|b)\n", 2, "'(a|b)': write (?:…) for (…)"),
    ],
)
def test_what_an_entry_must_not_be(text: str, line: int, problem: str) -> None:
    """An entry that is never found, found everywhere or no expression is refused by its line."""
    read = parse("xx", text)
    with pytest.raises(InvalidFileError, match=re.escape(f"words/xx.txt:{line}: {problem}")):
        check(read)


def test_signs_may_be_looked_for() -> None:
    """A star or a plus that stands for itself has an end."""
    check(parse("xx", "[acting]\nc\\+\\+, \\*{3}, \\S{1,3}\n"))


def test_a_bad_expression_is_named_where_the_words_are_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where the phrases of all files make no expression, the error says which one it is."""
    broken = (parse("xx", "[acting]\na\n"), parse("yy", "[acting]\n\nb(?:c\n"))
    monkeypatch.setattr(vocabulary, "vocabularies", lambda: broken)
    with pytest.raises(InvalidFileError, match=re.escape("words/yy.txt:3: 'b(?:c'")):
        vocabulary.phrases("acting")


def test_a_section_that_no_file_has_finds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any words nothing is found, rather than everything."""
    monkeypatch.setattr(vocabulary, "vocabularies", lambda: ())
    assert not vocabulary.phrases("acting").search("attack")
    assert "attack" not in vocabulary.words("source")
    assert not vocabulary.words("source").parts.search("attack")
    assert list(vocabulary.kinds()) == []
