"""Letters: complete in every language, true, and harmless whatever the facts are."""

import email.policy
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from email import message_from_bytes
from email.message import EmailMessage
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exitpolicy.complaint import Complaint, Envelope, read_complaint
from exitpolicy.complaint import Kind as ComplaintKind
from exitpolicy.core.errors import InvalidFileError
from exitpolicy.reply.compose import Letter, mailbox, write
from exitpolicy.reply.facts import (
    EXONERATOR,
    KINDS,
    LANGUAGES,
    MAX_TEXT,
    PARAGRAPHS,
    RECIPIENTS,
    BlockFact,
    ExitFact,
    Kind,
    Language,
    Original,
    Recipient,
    ReplyFacts,
    canonical_address,
    clean,
    exonerator_urls,
    time_text,
)
from exitpolicy.reply.letters import load_letter, shipped
from exitpolicy.reply.mail import as_eml
from exitpolicy.reply.select import (
    Doubt,
    address_of,
    is_cert,
    kind_of,
    language_of,
    recipient_of,
)
from exitpolicy.reply.syntax import Source
from exitpolicy.reply.template import Template, check_letter, compile_letter
from exitpolicy.storage import reply_templates
from exitpolicy.storage.reply_templates import MAX_BYTES

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MONTH = timedelta(days=30)
FINGERPRINT = "0123456789ABCDEF0123456789ABCDEF01234567"

LIVE = BlockFact(destination="203.0.113.7:22", since=NOON, until=NOON + MONTH, live=True)
FOREVER = BlockFact(destination="2001:db8:7::/48", since=NOON, until=None, live=True)
PENDING = BlockFact(destination="192.0.2.9:443", since=NOON, until=NOON + MONTH, live=False)
ENDED = BlockFact(destination="192.0.2.77", since=NOON - MONTH, until=NOON, live=False)
STILL = BlockFact(destination="192.0.2.78", since=NOON - MONTH, until=NOON, live=True)

FULL = ReplyFacts(
    recipient="reporter",
    operator="Ada Rossi",
    contact="abuse@exit.example",
    relay="lampo",
    fingerprint=FINGERPRINT,
    address="198.51.100.4",
    blocks=(LIVE,),
    references=("KZ-CERT#4711",),
    incidents=(NOON - timedelta(days=3),),
    deadline=NOON + timedelta(days=2),
    to="info@cert.example",
    original=Original(
        subject="Abuse report [KZ-CERT#4711]",
        message_id="<one@cert.example>",
        references=("<zero@cert.example>",),
    ),
)
BARE = ReplyFacts(recipient="reporter")

VARIANTS = {
    "everything known": FULL,
    "nothing known": BARE,
    "no end": replace(FULL, blocks=(FOREVER,)),
    "live and pending": replace(FULL, blocks=(LIVE, FOREVER, PENDING)),
    "only pending": replace(FULL, blocks=(PENDING,)),
    "no block": replace(FULL, blocks=()),
    "lifted": replace(FULL, blocks=(), lifted=(ENDED, replace(ENDED, until=None))),
    "lifted and live": replace(FULL, blocks=(LIVE,), lifted=(ENDED,)),
    "target": replace(FULL, blocks=(), targets=("203.0.113.7:22", "www.victim.example")),
    "shared": replace(FULL, blocks=(), targets=("203.0.113.9:443",), provider="Frontline"),
    "several exits": replace(
        FULL,
        relay=None,
        fingerprint=None,
        exits=(
            ExitFact(address="198.51.100.4", relays=("lampo", "tuono")),
            ExitFact(address="2001:db8:7::1", relays=("lampo",)),
        ),
    ),
    "ordered": replace(FULL, blocks=(PENDING,), is_seen=False),
    "ordered on several exits": replace(
        FULL,
        blocks=(PENDING,),
        is_seen=False,
        exits=(ExitFact(address="198.51.100.4"), ExitFact(address="198.51.100.5")),
    ),
    "named": replace(FULL, blocks=(replace(LIVE, name="www.victim.example"), PENDING)),
    "no operator": replace(FULL, operator=None, contact=None),
    "no relay": replace(FULL, relay=None, fingerprint=None, address=None),
    "long IPv6": replace(
        FULL,
        address="2001:db8:1111:2222:3333:4444:5555:6666",
        incidents=(NOON - MONTH, NOON),
    ),
}

BLOCKED_WORDS = {
    "en": "I have blocked",
    "it": "ho bloccato",
    "de": "habe ich gesperrt",
    "fr": "J'ai bloqué",
    "es": "he bloqueado",
}
"""How each language claims a block. The test below makes sure that it is what letters say."""

ASKING_WORDS = {
    "en": ("target address and port", "address and port that were the target"),
    "it": ("l'indirizzo e la porta colpiti", "l'indirizzo e la porta presi di mira"),
    "de": ("Zieladresse und Port", "die angegriffene Adresse und den Port"),
    "fr": ("l'adresse et le port visés",),
    "es": ("la dirección y el puerto afectados", "la dirección y el puerto atacados"),
}
"""How each language asks for the target."""

NOTHING_WORDS = {
    "en": "so I block nothing",
    "it": "non blocco nulla",
    "de": "sperre ich nichts",
    "fr": "je ne bloque donc rien",
    "es": "no bloqueo nada",
}

LIFTED_WORDS = {
    "en": "has been lifted",
    "it": "è stato rimosso",
    "de": "aufgehoben:",
    "fr": "est levé",
    "es": "se ha levantado",
}


@cache
def template(kind: Kind, language: Language) -> Template:
    """Return a template as it comes with exitpol."""
    return load_letter(kind, language, {})


def load(kind: Kind, language: Language, folder: Path) -> Template:
    """Return a template with the operator's files in a folder."""
    return load_letter(kind, language, reply_templates.read(language, folder))


def flat(letter: Letter) -> str:
    """Return the body as one line, because a phrase may be wrapped anywhere."""
    return " ".join(letter.body.split())


def every_letter() -> list[tuple[Kind, Language, Recipient]]:
    """Return all kinds in all languages to all recipients."""
    return [(k, lang, to) for k in KINDS for lang in LANGUAGES for to in RECIPIENTS]


def assert_tidy(letter: Letter) -> None:
    """Check the form of a letter, whatever it says."""
    assert len(letter.subject.splitlines()) == 1
    assert letter.subject == letter.subject.strip()
    assert letter.body.endswith("\n")
    assert not letter.body.startswith("\n") or letter.body == "\n"
    assert "\n\n\n" not in letter.body
    for line in letter.body.split("\n"):
        assert line == line.rstrip()
        assert len(line) <= 76 or "://" in line
        # What matters to a terminal and a mail program: no control characters at all.
        assert all(c.isprintable() or c == "\u00a0" for c in line)


# --- every letter ---------------------------------------------------------------------------


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_letter_is_complete_and_tidy(variant: str) -> None:
    """Each kind renders in each language, to each recipient, with any facts, without a gap."""
    for kind, language, recipient in every_letter():
        letter = write(template(kind, language), replace(VARIANTS[variant], recipient=recipient))
        assert_tidy(letter)
        for left in ("$", "@if", "@end", "@else", "@each", "@include", "None", "|", "{", "}"):
            assert left not in letter.body, (kind, language, recipient, left)
        assert len(letter.body.split()) >= 20


def test_letters_are_short() -> None:
    """With one block or two targets and everything known, a body has at most 200 words."""
    for kind, language, recipient in every_letter():
        for variant in ("everything known", "shared" if kind == "shared" else "target"):
            facts = replace(VARIANTS[variant], recipient=recipient)
            words = re.findall(r"\w\S*", write(template(kind, language), facts).body)
            assert len(words) <= 200, (kind, language, recipient, variant, len(words))


def test_every_letter_names_the_relay() -> None:
    """Each letter about abuse names the address of the exit."""
    for kind, language, recipient in every_letter():
        if kind not in {"lifted", "unblock"}:
            letter = write(template(kind, language), replace(FULL, recipient=recipient))
            assert "198.51.100.4" in flat(letter)
            assert " Tor" in flat(letter)


def test_every_letter_says_whom_to_write_to() -> None:
    """A reporter always learns how to reach the operator."""
    for kind, language, _ in every_letter():
        assert "abuse@exit.example" in write(template(kind, language), FULL).body


def test_reporters_learn_how_to_block_tor_themselves() -> None:
    """Where filtering Tor would help, the reporter is told of the lists; the provider is not."""
    kinds: tuple[Kind, ...] = (
        "brute-force", "port-scan", "web-attack", "spam", "ddos", "malware", "fraud", "unknown",
        "cert",
    )  # fmt: skip
    for kind in kinds:
        for language in LANGUAGES:
            text = template(kind, language)
            reporter, isp = write(text, FULL), write(text, replace(FULL, recipient="isp"))
            assert "https://check.torproject.org/torbulkexitlist" in reporter.body
            assert "dnsel.torproject.org" in reporter.body
            assert "torbulkexitlist" not in isp.body


def test_letters_point_to_exonerator_on_the_day() -> None:
    """The link holds the day of the incident in UTC and the relay's address, on its own line."""
    line = f"  {EXONERATOR}?ip=198.51.100.4&timestamp=2026-11-19"
    for kind, language, recipient in every_letter():
        if kind not in {"lifted", "unblock", "no-detail"}:
            letter = write(template(kind, language), replace(FULL, recipient=recipient))
            assert line in letter.body.split("\n")


def test_a_letter_names_each_accused_exit() -> None:
    """With its relays, in every language, and says of none that it is the only one."""
    exits = (
        ExitFact(address="198.51.100.4", relays=("lampo", "tuono")),
        ExitFact(address="198.51.100.5", relays=("buio",)),
    )
    facts = replace(FULL, relay=None, fingerprint=None, exits=exits)
    for language in LANGUAGES:
        for kind in ("brute-force", "law-enforcement", "cert"):
            several, one = (
                write(template(kind, language), each).body
                for each in (facts, replace(facts, exits=exits[:1]))
            )
            assert "  198.51.100.4 (lampo, tuono)\n  198.51.100.5 (buio)\n" in several, several
            assert "198.51.100.4 (" not in one
            assert "198.51.100.4 " in one
    body = write(template("brute-force", "en"), facts).body
    assert "exonerator.html?ip=198.51.100.4&" in body
    assert "exonerator.html?ip=198.51.100.5&" in body
    assert "blocked on these exits" in body
    assert "this exit" not in body
    assert "this machine" not in body


def test_a_block_on_another_host_is_neither_live_nor_missing() -> None:
    """Nothing shows whether its Tor enforces the block: the letter says that it is ordered."""
    facts = replace(FULL, blocks=(PENDING,), is_seen=False)
    for language in LANGUAGES:
        body = write(template("brute-force", language), facts).body
        assert BLOCKED_WORDS[language] not in body
        assert "192.0.2.9:443" in body
        assert body != write(template("brute-force", language), replace(facts, is_seen=True)).body
    assert "takes effect with the next update" in write(template("ddos", "en"), facts).body


def test_the_provider_is_asked_to_close_the_ticket() -> None:
    """A letter to the provider has the same facts, and asks to close the ticket."""
    for kind, language, _ in every_letter():
        text = template(kind, language)
        reporter, isp = write(text, FULL), write(text, replace(FULL, recipient="isp"))
        assert not re.search(r"\bticket", flat(reporter), re.IGNORECASE)
        if kind not in {"lifted", "unblock", "no-detail", "law-enforcement"}:
            assert re.search(r"\bticket", flat(isp), re.IGNORECASE), (kind, language)


def test_united_states_law_is_only_in_the_english_copyright_letter() -> None:
    """17 U.S.C. 512(a) is mentioned where it may apply, and nowhere else."""
    for kind, language, recipient in every_letter():
        letter = write(template(kind, language), replace(FULL, recipient=recipient))
        assert ("512(a)" in letter.body) == (kind == "copyright" and language == "en")


def test_the_deadline_is_named() -> None:
    """The answer to a deadline names the deadline."""
    for language in LANGUAGES:
        letter = write(template("deadline", language), replace(FULL, recipient="isp"))
        assert "2026-11-24 12:00 UTC" in flat(letter)


# --- the truth ------------------------------------------------------------------------------


def test_live_blocks_are_claimed_with_their_end() -> None:
    """What Tor enforces is named, with the day on which it ends."""
    for kind, language, recipient in every_letter():
        letter = write(template(kind, language), replace(FULL, recipient=recipient))
        assert "203.0.113.7:22" in flat(letter), (kind, language, recipient)
        assert "2026-12-22 12:00 UTC" in flat(letter)
        if kind not in {"lifted", "unblock"}:
            assert BLOCKED_WORDS[language] in flat(letter), (kind, language, recipient)


@pytest.mark.parametrize("blocks", [(), (PENDING,), (PENDING, ENDED)])
def test_nothing_is_claimed_that_is_not_live(blocks: tuple[BlockFact, ...]) -> None:
    """A block that is only recorded is never called active."""
    for kind, language, recipient in every_letter():
        facts = replace(FULL, recipient=recipient, blocks=blocks)
        assert BLOCKED_WORDS[language] not in flat(write(template(kind, language), facts))


def test_a_pending_block_stands_apart_from_a_live_one() -> None:
    """The claim lists only the live block, the caveat only the pending one."""
    for language in LANGUAGES:
        text = template("brute-force", language)
        body = write(text, replace(FULL, blocks=(PENDING, LIVE))).body
        paragraphs = body.split("\n\n")
        claim = next(p for p in paragraphs if BLOCKED_WORDS[language] in p)
        caveat = next(p for p in paragraphs if PENDING.destination in p)
        assert LIVE.destination in claim
        assert PENDING.destination not in claim
        assert LIVE.destination not in caveat


def test_an_automatic_end_is_promised_only_if_every_block_has_one() -> None:
    """With a block without an end, the sentence about the end is left out."""
    for language in LANGUAGES:
        text = template("brute-force", language)
        ending = flat(write(text, FULL))
        without = flat(write(text, replace(FULL, blocks=(LIVE, FOREVER))))
        word = re.search(r"autom[aá]ti\w+", ending)
        assert word is not None
        assert word[0] not in without


def test_what_the_complaint_names_is_not_asked_for() -> None:
    """Before a block the letter names the address or host name of the complaint."""
    asked = 0
    for kind, language, recipient in every_letter():
        text = template(kind, language)
        facts = replace(FULL, recipient=recipient, blocks=())
        before, named = flat(write(text, facts)), flat(write(text, VARIANTS["target"]))
        if any(words in before for words in ASKING_WORDS[language]):
            asked += 1
            assert "203.0.113.7:22 www.victim.example" in named, (kind, language)
            assert not any(words in named for words in ASKING_WORDS[language]), (kind, language)
    assert asked >= 12 * len(LANGUAGES) * len(RECIPIENTS)


def test_a_shared_address_is_not_offered_for_a_block() -> None:
    """The letter says whose address it is and that nothing is blocked, whatever its kind."""
    told = 0
    for kind, language, recipient in every_letter():
        facts = replace(VARIANTS["shared"], recipient=recipient)
        letter = flat(write(template(kind, language), facts))
        if "203.0.113.9:443" in letter:
            told += 1
            assert "Frontline" in letter
            assert NOTHING_WORDS[language] in letter
            assert not any(words in letter for words in ASKING_WORDS[language])
        if kind == "shared":
            assert "203.0.113.9:443" in letter
            unknown = replace(facts, provider=None, targets=())
            assert NOTHING_WORDS[language] in flat(write(template(kind, language), unknown))
    assert told >= 12 * len(LANGUAGES) * len(RECIPIENTS)


def test_a_block_is_named_with_its_host_name() -> None:
    """The reporter of a web site knows its name, and not which of its addresses was blocked."""
    for language in LANGUAGES:
        letter = flat(write(template("web-attack", language), VARIANTS["named"]))
        assert "203.0.113.7:22 (www.victim.example) " in letter
        assert "192.0.2.9:443 (" not in letter


def test_a_lift_is_announced_only_if_tor_lets_through_again() -> None:
    """An ended block that Tor still rejects is not called lifted."""
    kinds: tuple[Kind, ...] = ("lifted", "unblock")
    for kind in kinds:
        for language in LANGUAGES:
            text = template(kind, language)
            done = flat(write(text, replace(FULL, lifted=(ENDED, STILL))))
            assert LIFTED_WORDS[language] in done, (kind, language)
            assert ENDED.destination in done
            assert STILL.destination not in done
            for lifted in ((), (STILL,)):
                letter = flat(write(text, replace(FULL, blocks=(), lifted=lifted)))
                assert LIFTED_WORDS[language] not in letter, (kind, language)


# --- the languages --------------------------------------------------------------------------


@pytest.mark.parametrize("language", LANGUAGES)
def test_languages_have_the_same_templates(language: Language) -> None:
    """Each language has the same files; each file the same facts, conditions and includes."""
    english, other = shipped("en"), shipped(language)
    assert english.keys() == other.keys() == {*KINDS, *PARAGRAPHS}
    for name, source in english.items():
        tags = re.compile(r"\{[{%].*?[%}]\}")
        assert tags.findall(other[name].text) == tags.findall(source.text), name


def test_template_files_are_tidy() -> None:
    """No tabs, no trailing blanks, no overlong line, one final newline, no lonely typography."""
    for language in LANGUAGES:
        for name, source in shipped(language).items():
            text = source.text
            assert text.endswith("\n"), name
            assert "\n\n\n" not in text, name
            for line in text.split("\n"):
                assert line == line.rstrip()
                assert "\t" not in line
                assert len(line) <= 100, (language, name)


@pytest.mark.parametrize(
    "language",
    [pytest.param(each, marks=() if each == "en" else pytest.mark.slow) for each in LANGUAGES],
)
def test_every_letter_renders_with_every_combination_of_facts(language: Language) -> None:
    """Any facts may be missing, as load_letter also checks for operators' letters."""
    for kind in KINDS:
        check_letter(template(kind, language))


def test_what_belongs_together_is_not_torn_apart() -> None:
    """A line never starts with the colon that French parts from its word, nor with `UTC`."""
    for kind in KINDS:
        for variant in VARIANTS.values():
            for line in write(template(kind, "fr"), variant).body.split("\n"):
                assert not re.match(r"\s*([:;?!»]|UTC)", line), (kind, line)


# --- overrides ------------------------------------------------------------------------------


def _override(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def same(one: Template, other: Template) -> bool:
    """Tell whether two templates write the same letter."""
    return all(write(one, facts) == write(other, facts) for facts in VARIANTS.values())


def test_the_operator_overrides_a_letter(tmp_path: Path) -> None:
    """A file of the same name replaces the letter; the other letters stay."""
    _override(
        tmp_path, "it/spam.txt", 'Subject: Mio\nCiao, costa 5 $.\n{% include "signature" %}\n'
    )
    letter = write(load("spam", "it", tmp_path), replace(FULL, original=None))
    assert letter.subject == "Mio [KZ-CERT#4711]"
    assert letter.body.startswith("Ciao, costa 5 $. Per qualsiasi")
    assert same(load("ddos", "it", tmp_path), template("ddos", "it"))
    assert same(load("spam", "de", tmp_path), template("spam", "de"))


@pytest.mark.slow
def test_the_operator_overrides_a_shared_paragraph(tmp_path: Path) -> None:
    """A shared paragraph is replaced in every letter that includes it."""
    _override(tmp_path, "en/greeting.txt", "\ufeffDear all,\r\n")
    for kind in ("spam", "fraud"):
        assert write(load(kind, "en", tmp_path), FULL).body.startswith("Dear all,\n\n")


def test_no_folder_is_no_override(tmp_path: Path) -> None:
    """A folder that does not exist, or is empty, changes nothing."""
    assert reply_templates.read("en", tmp_path / "missing") == {}
    assert reply_templates.read("en", tmp_path) == {}
    _override(tmp_path, "README", "notes of the operator")
    _override(tmp_path, "en/spam.txt~", "{% broken")
    _override(tmp_path, ".git/config", "[core]")
    (tmp_path / "en" / ".#spam.txt").symlink_to("user@host.1")
    assert reply_templates.read("en", tmp_path) == {}


def test_what_templates_may_use(tmp_path: Path) -> None:
    """Conditions, defaults and inline forms of Jinja2 work; facts are never templates."""
    _override(
        tmp_path,
        "en/spam.txt",
        "Subject: a\n"
        "{# a note #}\n"
        "| {{ operator if operator else 'nobody' }}, {{ contact | default('unknown') }}\n"
        "{% if relay is defined and not (isp or not blocks) %}\n"
        "| {{ relay }}\n"
        "{% elif isp %}\n"
        "| isp\n"
        "{% endif %}\n"
        "{% for block in live %}\n"
        "| {{ block.destination }}{% if ending %} ends{% endif +%}\n"
        "{% else %}\n"
        "| none\n"
        "{% endfor %}\n"
        "| {{ '{{' }}, {% raw %}{{ x }}{% endraw +%}\n",
    )
    own = load("spam", "en", tmp_path)
    assert write(own, replace(FULL, operator="{{ contact }}{% if %}")).body == (
        "{{ contact }}{% if %}, abuse@exit.example\nlampo\n203.0.113.7:22 ends\n{{, {{ x }}\n"
    )
    assert write(own, replace(BARE, recipient="isp")).body == (
        "nobody, unknown\nisp\nnone\n{{, {{ x }}\n"
    )


BROKEN = {
    "unknown name": ("Subject: a\n\nHello {{ nmae }}\n", 3, "unknown name nmae"),
    "unknown condition": ("Subject: a\n{% if nothing %}\n{% endif %}\n", 2, "unknown name nothing"),
    "unknown field": (
        "Subject: a\n{% for block in live %}\n{{ block.untill }}\n{% endfor %}\n",
        3,
        "unknown name block.untill",
    ),
    "field of a text": ("Subject: a\n{% if contact.upper %}\n{% endif %}\n", 2, "unknown name"),
    "field of a field": (
        "Subject: a\n{% for b in live %}\n{{ b.until.year }}\n{% endfor %}\n",
        3,
        "unknown name",
    ),
    "unguarded": ("Subject: a\n\n\nby {{ deadline }}\n", 4, "deadline may be missing"),
    "guarded elsewhere": (
        "Subject: a\n{% if deadline %}\n{% else %}\n{{ deadline }}\n{% endif %}\n",
        4,
        "deadline may be missing",
    ),
    "guarded by another": (
        "Subject: a\n{% if contact or deadline %}\n{{ deadline }}\n{% endif %}\n",
        3,
        "deadline may be missing",
    ),
    "filtered": ("Subject: a\n{{ contact and contact }}\n", 2, "contact may be missing"),
    "outside its list": ("Subject: a\n{{ block.until }}\n", 2, "unknown name block.until"),
    "after its list": (
        "Subject: a\n{% for url in exonerator %}\n{% endfor %}\n{{ url }}\n",
        4,
        "unknown name url",
    ),
    "field unguarded": (
        "Subject: a\n{% for block in live %}\n{{ block.until }}\n{% endfor %}\n",
        3,
        "block.until may be missing",
    ),
    "item outside its list": ('Subject: a\n{% include "item" %}\n', 1, "unknown name block"),
    "unknown list": ("Subject: a\n{% for block in blocks %}\n{% endfor %}\n", 2, "cannot be"),
    "list of characters": ("Subject: a\n{% for c in contact %}\n{% endfor %}\n", 2, "cannot be"),
    "list with a condition": (
        "Subject: a\n{% for b in live if b.until %}\n{% endfor %}\n",
        2,
        "cannot be repeated",
    ),
    "nested lists": (
        "Subject: a\n{% for b in live %}\n{% for c in live %}\n{% endfor %}\n{% endfor %}\n",
        3,
        "cannot be repeated",
    ),
    "item with the name of a fact": (
        "Subject: a\n{% for isp in live %}\n{% endfor %}\n",
        2,
        "cannot be repeated",
    ),
    "printed list": ("Subject: a\n\n{{ live }}\n", 3, "only a text can be printed"),
    "printed flag": ("Subject: a\n\n{{ not contact }}\n", 3, "only a text can be printed"),
    "number": ("Subject: a\n\n{{ 5 }}\n", 3, "no such"),
    "infinite number": ("Subject: a\n\n{{ 1e999 }}\n", 3, "no such"),
    "too many arguments": ("Subject: a\n\n{{ contact | default('a', 'b', 'c') }}\n", 3, "argument"),
    "unknown argument": ("Subject: a\n\n{% if isp is defined('a') %}{% endif %}\n", 3, "argument"),
    "no end": ("Subject: a\n{% if live %}\nx\n", 3, "Unexpected end"),
    "lone end": ("Subject: a\nx\n{% endif %}\n", 3, "unknown tag"),
    "unclosed": ("Subject: a\n\n{{ contact\n", 3, "."),
    "unknown tag": ("Subject: a\n{% nonsense %}\n", 2, "unknown tag"),
    "missing include": ('Subject: a\n{% include "../../passwd" %}\n', 2, "no template"),
    "computed include": ("Subject: a\n{% include contact %}\n", 2, "no template"),
    "includes a letter": ('Subject: a\n{% include "spam" %}\n', 2, "includes itself"),
    "includes another letter": ('Subject: a\n{% include "ddos" %}\n', 2, "is a letter"),
    "joined lines": ("Subject: a\n\nHello{% if isp %} all{% endif %}\nx\n", 3, "joins it"),
    "no subject": ("Hello\n", 1, "starts with its subject"),
    "empty subject": ("Subject:  \nHello\n", 1, "starts with its subject"),
    "subject with a fact": ("Subject: {{ operator }}\nHello\n", 1, "plain text"),
    "empty": ("", 1, "starts with its subject"),
    "control character": ("Subject: a\n\nx\x1b[2J\n", 3, "control character"),
    "too deep": ("Subject: a\n" + "{% if live %}\n" * 50 + "{% endif %}\n" * 50, 41, "deeper"),
    "far too deep": ("Subject: a\n" + "{% if live %}" * 2500 + "{% endif %}" * 2500, 1, "deep"),
    "deep expression": ("Subject: a\n{% if " + "(" * 9000 + "isp" + ")" * 9000 + " %}", 1, "deep"),
    "long expression": (
        "Subject: a\n{% if " + "isp or " * 60 + "isp %}x{% endif +%}\n",
        2,
        "deep",
    ),
    "too big": ("x" * (MAX_BYTES + 1), 1, "bytes"),
    "too long": ("Subject: a\n" + "x\n" * 3000, 1, "more than 2000 lines"),
    "huge number": ("Subject: a\n{{ " + "9" * 5000 + " }}\n", 1, "number too long"),
}
"""What is wrong with a template: its text, the line that is named, and the message."""

ATTACKS = {
    "memory": "{{ 'x' * 10**10 }}",
    "power": "{{ 9 ** 9 ** 9 }}",
    "format": "{{ '%9999999999d' % 1 }}",
    "format method": "{{ '{:9999999999}'.format(1) }}",
    "endless": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "global": "{{ lipsum(999999) }}",
    "padding": "{{ contact | center(9999999999) }}",
    "replaced": "{{ contact | replace('', contact) }}",
    "class": "{{ ''.__class__.__mro__ }}",
    "attribute": "{{ contact | attr('__class__') }}",
    "item": "{{ contact['__class__'] }}",
    "assignment": "{% set contact = 'x' %}",
    "macro": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "block": "{% block a %}{% endblock %}",
    "inheritance": "{% extends 'ddos' %}",
    "import": "{% import 'ddos' as d %}",
    "call": "{% call contact() %}{% endcall %}",
    "list": "{% if [1] %}{% endif %}",
    "comparison": "{% if contact == 'x' %}{{ deadline }}{% endif %}",
    "concatenation": "{{ contact ~ contact }}",
}
"""Statements that could take time or memory without end, reach Python, or hide a missing fact."""


@pytest.mark.parametrize("case", ATTACKS)
def test_a_template_cannot_do_more_than_write_a_letter(tmp_path: Path, case: str) -> None:
    """Everything that is not needed for a letter is refused before the template runs."""
    path = _override(tmp_path, "en/spam.txt", f"Subject: a\n\n| {ATTACKS[case]}.\n")
    with pytest.raises(InvalidFileError, match=r"no such|unknown name|cannot be") as caught:
        load("ddos", "en", tmp_path)
    assert str(caught.value).startswith(f"{path}:3: ")


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("@include greeting", "@include greeting"),
        ("@if contact", "@if contact"),
        ("@each live", "@each live"),
        ("@end", "@end"),
        ("Write to $contact.", "$contact"),
        ("Write to ${contact}.", "${contact}"),
        ("until $until", "$until"),
        ("It costs 5 $$.", "$$"),
    ],
)
def test_the_former_syntax_is_refused_with_the_new_one(
    tmp_path: Path, line: str, shown: str
) -> None:
    """An operator's letter of an earlier version is never sent as it stands."""
    path = _override(tmp_path, "en/spam.txt", f"Subject: a\n\n{line}\n")
    with pytest.raises(InvalidFileError, match=re.escape(f"{path}:3: {shown!r} is")) as caught:
        load("spam", "en", tmp_path)
    assert "{% if NAME %}" in str(caught.value.hint)


def test_a_dollar_and_an_at_sign_are_text(tmp_path: Path) -> None:
    """Only what was a statement of the former syntax is taken for one."""
    _override(tmp_path, "en/spam.txt", "Subject: a\n\n@all: 5 $ or US$5, $contacts\n")
    assert write(load("spam", "en", tmp_path), BARE).body == "@all: 5 $ or US$5, $contacts\n"


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_override_names_file_and_line(tmp_path: Path, case: str) -> None:
    """An error in a template is reported with file and line, before a letter is written."""
    text, line, message = BROKEN[case]
    path = _override(tmp_path, "en/spam.txt", text)
    if case == "item outside its list":
        path = Path(shipped("en")["item"].path)
    with pytest.raises(InvalidFileError, match=message) as caught:
        load("spam", "en", tmp_path)
    assert str(caught.value).startswith(f"{path}:{line}: ")


def test_a_broken_override_is_found_from_any_letter(tmp_path: Path) -> None:
    """A mistake in a letter that is not needed today is reported today."""
    path = _override(tmp_path, "en/spam.txt", "Subject: a\n{{ nonsense }}\n")
    with pytest.raises(InvalidFileError, match=re.escape(f"{path}:2: ")):
        load("ddos", "en", tmp_path)


def test_a_mistake_in_a_paragraph_is_found_in_its_own_file(tmp_path: Path) -> None:
    """The file named is the included one; and paragraphs that include each other are refused."""
    path = _override(tmp_path, "en/closing.txt", "fine\n{{ nonsense }}\n")
    with pytest.raises(InvalidFileError, match=re.escape(f"{path}:2: ")):
        load("spam", "en", tmp_path)
    path = _override(tmp_path, "en/closing.txt", '{% include "signature" %}\n')
    _override(tmp_path, "en/signature.txt", '{% include "closing" %}\n')
    with pytest.raises(InvalidFileError, match="includes itself"):
        load("spam", "en", tmp_path)


def test_includes_do_not_explode(tmp_path: Path) -> None:
    """Paragraphs that include others many times over are refused, quickly."""
    chain = ["closing", "exonerator", "your-side", "blocked", "tor-exit", "greeting", "reference"]
    for name, inner in pairwise(chain):
        _override(tmp_path, f"en/{name}.txt", f'{{% include "{inner}" %}}\n' * 30)
    with pytest.raises(InvalidFileError, match="more than 2000 lines"):
        load("spam", "en", tmp_path)


@pytest.mark.parametrize("name", ["en/portscan.txt", "english/spam.txt", "spam.txt"])
def test_a_misnamed_override_is_an_error(tmp_path: Path, name: str) -> None:
    """A file that no letter uses is an error."""
    _override(tmp_path, name, "Subject: a\n")
    with pytest.raises(InvalidFileError, match=r":1: "):
        load("spam", "en", tmp_path)


def test_an_override_that_is_no_text_is_an_error(tmp_path: Path) -> None:
    """Latin-1, a folder, or a file where the folder should be: the error names the place."""
    path = _override(tmp_path, "en/spam.txt", "")
    path.write_bytes(b"Subject: a\nperch\xe9\n")
    with pytest.raises(InvalidFileError, match=re.escape(f"{path}:2: not UTF-8")):
        load("spam", "en", tmp_path)
    path.unlink()
    path.mkdir()
    with pytest.raises(InvalidFileError, match="Is a directory"):
        load("spam", "en", tmp_path)
    with pytest.raises(InvalidFileError, match="cannot be read"):
        load("spam", "en", _override(tmp_path, "file", "x"))
    path.rmdir()
    path.symlink_to("/dev/zero")
    with pytest.raises(InvalidFileError, match="not a regular file"):
        load("spam", "en", tmp_path)
    path.unlink()
    (tmp_path / "en").rmdir()
    _override(tmp_path, "en", "a file, not a folder")
    with pytest.raises(InvalidFileError, match="cannot be read"):
        load("spam", "en", tmp_path)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["{% if live %}", "{% if operator %}", "{% else %}", "{% elif isp %}", "{% endif %}",
             "{% for block in live %}", "{% for url in exonerator %}", "{% endfor %}", "",
             '{% include "signature" %}', '{% include "item" %}', "{{ operator }}",
             "{{ block.destination }}", "{{ block.until }}", "{{ url }}", "| {{ contact }}",
             "text $", "{% if block.until %}", "{% if not contact %}", "{{ relay or 'x' }}", "| ",
             "%}", "#}", "{%", "{{", "}}", "{#", "{{ 1e999 }}", "{{ relay is defined }}",
             "{% raw %}", "{% include relay %}", "{{ '%s' % relay }}", "-%}", "{{ block }}"]
        ),
        max_size=12,
    ),
    st.sampled_from(sorted(VARIANTS)),
)  # fmt: skip
def test_a_template_that_is_accepted_always_renders(lines: list[str], variant: str) -> None:
    """Either a template is refused when it is loaded, or it renders whatever the facts are."""
    text = "\n".join(["Subject: a", *lines])
    sources = {**shipped("en"), "spam": Source("spam", text)}
    try:
        compiled = compile_letter("spam", sources)
        check_letter(compiled)
    except InvalidFileError as error:
        assert re.match(r"\S+:\d+: ", str(error))  # noqa: PT017 - either outcome is right
        return
    letter = write(compiled, VARIANTS[variant])
    assert "None" not in letter.body
    assert_tidy(letter)


# --- choosing -------------------------------------------------------------------------------


NOTHING = read_complaint(b"")
DESTINATION = read_complaint(b"2026-11-21 10:00:00Z 198.51.100.4 -> 93.184.216.34:22").candidates


def complaint(**changes: object) -> Complaint:
    """Return a complaint that names a destination and nothing else."""
    base = replace(NOTHING, kind=ComplaintKind.UNKNOWN, candidates=DESTINATION)
    return replace(base, **changes)  # type: ignore[arg-type]


ISP, REPORTER = replace(BARE, recipient="isp"), BARE


@pytest.mark.parametrize("kind", ComplaintKind)
def test_the_kind_follows_the_complaint(kind: ComplaintKind) -> None:
    """Every kind of complaint has the letter of its name."""
    assert kind_of(complaint(kind=kind), ISP) == kind.value


def test_what_is_shared_is_answered_so() -> None:
    """A block excludes it; copyright notices and threats have letters with more to say."""
    shared = replace(ISP, provider="Frontline", targets=("203.0.113.9:443",))
    for kind in ComplaintKind:
        own = kind in {ComplaintKind.COPYRIGHT, ComplaintKind.THREATS}
        assert kind_of(complaint(kind=kind), shared) == (kind.value if own else "shared")
        assert kind_of(complaint(kind=kind), replace(shared, blocks=(LIVE,))) == kind.value


def test_without_a_kind_the_circumstances_decide() -> None:
    """What is missing comes first, then a provider's deadline, then a CERT."""
    everything = complaint(deadline=NOON, reporter="KZ-CERT <info@cert.example>")
    assert kind_of(replace(everything, candidates=()), ISP) == "no-detail"
    only_a_name = replace(ISP, targets=("www.victim.example",))
    assert kind_of(replace(everything, candidates=()), only_a_name) == "deadline"
    assert kind_of(everything, ISP) == "deadline"
    assert kind_of(everything, REPORTER) == "cert"
    assert kind_of(replace(everything, reporter="A concert hall"), REPORTER) == "unknown"


def test_without_a_complaint_only_a_lift_has_a_letter_of_its_own() -> None:
    """A reference or a destination does not say what it was about."""
    assert kind_of(None, replace(ISP, lifted=(ENDED,))) == "lifted"
    assert kind_of(None, replace(ISP, lifted=(ENDED,), blocks=(LIVE,))) == "unknown"
    assert kind_of(None, ISP) == "unknown"


@pytest.mark.parametrize(
    "name",
    ["CERT", "KZ-CERT <info@kz-cert.example>", "info@cert.org", "cert-fr@ssi.example",
     "US-CERT", "GovCERT.ch", "AusCERT", "JPCERT/CC", "CERT-Bund Reports", "certbund@bsi.example",
     "CSIRT Italia", "csirt@uni.example", "Team <report@cert.example>", "DFN-CERT Services GmbH"],
)  # fmt: skip
def test_a_cert_is_recognized(name: str) -> None:
    """`CERT` is a word of its own, or the end of the name of a team."""
    assert is_cert(name)


@pytest.mark.parametrize(
    "name",
    ["concert", "Concert Hall <tickets@concert.example>", "CONCERT", "Certified Hosting",
     "certificate-authority", "Robert <robert@certainty.example>", "desconcertado", "disconcert",
     "abuse@letsencrypt.example", "", None],
)  # fmt: skip
def test_what_only_contains_the_letters_is_no_cert(name: str | None) -> None:
    """A word that contains `cert`, such as concert, names no CERT."""
    assert not is_cert(name)


@pytest.mark.parametrize(
    ("tag", "language"),
    [("it", "it"), ("de", "de"), ("fr", "fr"), ("es", "es"), ("kk", "en"), (None, "en")],
)
def test_the_language_falls_back_to_english(tag: str | None, language: str) -> None:
    """A complaint in a language without letters is answered in English."""
    assert language_of(complaint(language=tag), "isp") == language
    assert language_of(None, "isp") == "en"


def test_the_language_is_that_of_who_is_answered() -> None:
    """Behind a provider the reporter may write in another language than the provider."""
    passed_on = complaint(forwarded=True, language="it", reporter_language="de")
    assert recipient_of(passed_on) == "isp"
    assert language_of(passed_on, "isp") == "it"
    assert language_of(passed_on, "reporter") == "de"
    direct = replace(passed_on, forwarded=False)
    assert recipient_of(direct) == "reporter"
    assert language_of(direct, "reporter") == "it"
    assert recipient_of(None) == "isp"


@pytest.mark.parametrize(
    ("senders", "replies", "expected"),
    [
        (("a@isp.example",), None, "a@isp.example"),
        (("a@isp.example",), ("b@isp.example",), "b@isp.example"),
        (("a@isp.example",), ("b@ISP.example",), "b@ISP.example"),
        ((), None, None),
        (("a@isp.example",), ("b@other.example",), "Reply-To is b@other.example, but From is a@"),
        (("a@isp.example",), ("b@isp.example.other",), "but From is a@isp.example"),
        (("a@isp.example",), (), "Reply-To names no valid address"),
        (("a@isp.example",), ("a@isp.example", "b@isp.example"), "Reply-To names several"),
        (("a@isp.example", "b@isp.example"), None, "From names several"),
        (("a@isp.example", "b@isp.example"), ("a@isp.example",), "From names several"),
        ((), ("b@other.example",), "but From is no valid address"),
    ],
)
def test_a_reply_to_is_followed_only_where_it_is_certain(
    senders: tuple[str, ...], replies: tuple[str, ...] | None, expected: str | None
) -> None:
    """Another domain, several addresses or an unusable one leave the choice to the operator."""
    found = address_of(Envelope(from_addresses=senders, reply_to_addresses=replies))
    if isinstance(found, Doubt):
        assert expected is not None
        assert expected in found.text
        assert set(found.addresses) == {*senders, *(replies or ())}
    else:
        assert found == expected


# --- subject, mail --------------------------------------------------------------------------


def subject(original: str | None, *references: str) -> str:
    """Return the subject of an answer to a mail."""
    facts = ReplyFacts(recipient="isp", references=references, original=Original(subject=original))
    return write(template("unknown", "en"), facts).subject


@pytest.mark.parametrize(
    ("original", "references", "expected"),
    [
        ("Abuse", ("T#1",), "Re: Abuse [T#1]"),
        ("Abuse [T#1]", ("T#1",), "Re: Abuse [T#1]"),
        ("Abuse [T#1]", ("[T#1]",), "Re: Abuse [T#1]"),
        ("Abuse T#1", ("[T#1]",), "Re: Abuse T#1"),
        ("x[T#1]", ("[T#1]",), "Re: x[T#1]"),
        ("Re: RE: AW: R: Re[2]: Abuse", (), "Re: Abuse"),
        ("Re : Abuse", (), "Re: Abuse"),
        ("Fwd: Abuse", (), "Re: Fwd: Abuse"),
        ("Report: abuse", (), "Re: Report: abuse"),
        ("[T#1] Re: Abuse [T#1] t#1", ("T#1",), "Re: [T#1] Re: Abuse"),
        ("Ticket 47110", ("4711",), "Re: Ticket 47110 [4711]"),
        ("Abuse", ("4711", "KZ-CERT#4711", "kz-cert#4711"), "Re: Abuse [KZ-CERT#4711]"),
        ("Abuse [A-1]", ("A-1", "B-2"), "Re: Abuse [A-1] [B-2]"),
        ("Re: ", ("A-1",), "Your report about a Tor exit [A-1]"),
        (None, ("A-1",), "Your report about a Tor exit [A-1]"),
        ("  ", (), "Your report about a Tor exit"),
        ("a\r\nBcc: victim@example.org", (), "Re: a Bcc: victim@example.org"),
        ("a b a b b", ("a b",), "Re: a b b"),
        ("=?utf-8?q?=0ABcc:_x?=", (), "Re: = ?utf-8?q?=0ABcc:_x?="),
        ("T =T?utf-8?q?=0ABcc:_x?=", ("T",), "Re: T = ?utf-8?q?=0ABcc:_x?="),
    ],
)
def test_the_subject_of_an_answer(
    original: str | None, references: tuple[str, ...], expected: str
) -> None:
    """One `Re:`, each ticket once, the original's words; where there are none, the template's."""
    assert subject(original, *references) == expected


def parse(letter: Letter) -> EmailMessage:
    """Read the .eml back as a mail program would."""
    raw = as_eml(letter)
    assert raw.isascii()
    assert b"\r" not in raw
    assert max(map(len, raw.split(b"\n"))) <= 998
    message = message_from_bytes(raw, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    assert not message.defects
    return message


def test_an_eml_reads_back() -> None:
    """The mail threads, carries the ticket and the text, in every kind and language."""
    for kind, language, recipient in every_letter():
        letter = write(template(kind, language), replace(FULL, recipient=recipient))
        message = parse(letter)
        assert message["Subject"] == "Re: Abuse report [KZ-CERT#4711]"
        assert message["From"] == "Ada Rossi <abuse@exit.example>"
        assert message["To"] == "info@cert.example"
        assert message["In-Reply-To"] == "<one@cert.example>"
        assert message["References"] == "<zero@cert.example> <one@cert.example>"
        assert message["Date"] is None
        assert message["Message-ID"] is None
        assert message.get_content_charset() == "utf-8"
        assert message.get_content() == letter.body


def test_date_and_message_id_are_given_from_outside() -> None:
    """The module reads no clock and no host name."""
    letter = write(template("spam", "en"), FULL)
    message = message_from_bytes(
        as_eml(letter, date=NOON, message_id="<two@exit.example>"), policy=email.policy.default
    )
    assert message["Date"] == "Sun, 22 Nov 2026 12:00:00 +0000"
    assert message["Message-ID"] == "<two@exit.example>"


def test_long_message_ids_stay_whole() -> None:
    """Ids longer than a line are folded between, never within or as encoded words."""
    ids = [f"<{letter * 300}@mail.example>" for letter in "abcd"]
    original = Original(message_id=ids[3], references=tuple(ids[:3]))
    raw = as_eml(write(template("spam", "en"), replace(FULL, original=original))).decode()
    assert f"In-Reply-To: {ids[3]}\n" in raw
    assert f"References: {ids[0]}\n {ids[1]}\n {ids[2]}\n {ids[3]}\n" in raw


@pytest.mark.parametrize(
    "text",
    [
        "word " * 38 + "end",
        "x" * 150,
        "Überlastung durch Anfragen über einen Tor-Exit, länger als eine Zeile",
        "Password guessing through a Tor exit [x a: victim@example.org] [[31mred]",
        "日本語の件名 " * 20,
    ],
)
def test_long_subjects_are_folded_without_loss(text: str) -> None:
    """Every word and blank survives, the ticket too, and no line is empty."""
    facts = replace(FULL, original=Original(subject=text), references=("A-1",))
    letter = write(template("spam", "en"), facts)
    raw = as_eml(letter).decode().split("\n\n", 1)[0]
    assert parse(letter)["Subject"] == f"Re: {text.strip()} [A-1]"
    assert not re.search(r"^\S+:\s*$|^\s*$", raw, re.MULTILINE)
    assert max(map(len, raw.split("\n"))) <= 78 or text.startswith("xx")


def test_many_references_are_cut_in_the_middle() -> None:
    """Of a long thread, the first and the last ids are kept."""
    ids = tuple(f"<{n}@mail.example>" for n in range(1000))
    original = Original(message_id=ids[-1], references=(*ids, *ids))
    message = parse(write(template("spam", "en"), replace(FULL, original=original)))
    kept = str(message["References"]).split()
    assert kept == [ids[0], *ids[-19:]]


@pytest.mark.parametrize(
    "bad",
    [
        "<a@b>\r\nBcc: x@y",
        "<a b@c>",
        "a@b",
        "<a@b><c@d>",
        "<>",
        "<é@b>",
        "<a@b>\x00",
        "",
        "<a\n@b>",
    ],
)
def test_invalid_message_ids_are_left_out(bad: str) -> None:
    """A text that is no message id is not written into a header."""
    original = Original(message_id=bad, references=(bad, "<ok@b>"))
    message = parse(write(template("spam", "en"), replace(FULL, original=original)))
    assert message["In-Reply-To"] is None
    assert message["References"] == "<ok@b>"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a@example.org", "a@example.org"),
        ("Ada <a@example.org>", "a@example.org"),
        ('"x <evil@example.org>" <a@example.org>', "a@example.org"),
        ("a@example.org, b@example.org", None),
        ("a@example.org\r\nBcc: b@example.org", None),
        ("x\r\nBcc: b@example.org", None),
        ("write to b@example.org", None),
        ("Ada <a@example.org\nBcc: c@example.org>", None),
        ("a..b@example.org", None),
        (".@example.org", None),
        ("a@.", None),
        ("a" * 65 + "@example.org", None),
        ("a@", None),
        ("@", None),
        ("https://exit.example/abuse", None),
        ("abuse AT exit DOT example", None),
        ("ä@example.org", None),
        ("", None),
        (None, None),
    ],
)
def test_only_a_plain_mail_address_becomes_a_header(text: str | None, expected: str | None) -> None:
    """A contact that is not a mail address stays in the letter and out of the headers."""
    assert mailbox(text) == expected


@settings(max_examples=200, deadline=None)
@given(
    st.text("aB9.!#$%&'*+/=?^_`{|}~-@<>()\"\\ ,:;", min_size=1, max_size=12),
    st.text("aB9.-_[]:<> ", min_size=1, max_size=12),
)
def test_every_mailbox_survives_as_a_header(local: str, domain: str) -> None:
    """Whatever passes as a mail address is written and read back as just that address."""
    address = mailbox(f"{local}@{domain}")
    if address is not None:
        message = parse(Letter("s", "b\n", (("From", address), ("To", address))))
        for name in ("From", "To"):
            assert [a.addr_spec for a in message[name].addresses] == [address]
            assert not message[name].defects


# --- hostile facts --------------------------------------------------------------------------

HOSTILE = [
    "x\r\nBcc: victim@example.org", "x\n\nNew paragraph", "\x00\x1b[31mred", "\u202egnp.exe",
    "a\u200bb\ufeffc", "\u2028line", "é" * 5000, "x" * 5000, "word " * 2000,
    "{{ operator }} {% if %}",
    "{% include 'signature' %}", "| bar", "\ud800", "=?utf-8?q?=0ABcc:_x?=", "Re: " * 1000,
    "<script>", '"; \\', "a@b\r\n c@d", "שלום", "  ", "", ",", "@", "<>", "[", "[]",
]  # fmt: skip

hostile = st.one_of(
    st.none(),
    st.sampled_from(HOSTILE),
    st.text(max_size=60),
    st.text("Re: []#1a\n\u202e", max_size=20),
)
times = st.datetimes(
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=14)), timezone(-timedelta(hours=12))])
)
block_facts = st.builds(
    BlockFact,
    destination=st.one_of(st.sampled_from(HOSTILE), st.just("203.0.113.7:22")),
    since=times,
    until=st.one_of(st.none(), times),
    live=st.booleans(),
    name=st.one_of(st.sampled_from(HOSTILE), st.just(""), st.just(f"{'long-' * 50}.example")),
)
texts = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=40))
reply_facts = st.builds(
    ReplyFacts,
    recipient=st.sampled_from(RECIPIENTS),
    operator=hostile,
    contact=st.one_of(hostile, st.just("me@exit.example")),
    relay=hostile,
    fingerprint=hostile,
    address=hostile,
    blocks=st.lists(block_facts, max_size=3).map(tuple),
    lifted=st.lists(block_facts, max_size=2).map(tuple),
    references=st.lists(texts, max_size=7).map(tuple),
    incidents=st.lists(times, max_size=4).map(tuple),
    deadline=st.one_of(st.none(), times),
    targets=st.lists(texts, max_size=3).map(tuple),
    provider=hostile,
    to=st.one_of(hostile, st.just("you@cert.example")),
    original=st.one_of(
        st.none(),
        st.builds(
            Original,
            subject=hostile,
            message_id=hostile,
            references=st.lists(texts, max_size=4).map(tuple),
        ),
    ),
)
ALLOWED_HEADERS = {
    "from", "to", "subject", "in-reply-to", "references", "content-type", "mime-version",
    "content-transfer-encoding",
}  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(reply_facts, st.sampled_from(KINDS), st.sampled_from(LANGUAGES))
def test_hostile_facts_do_no_harm(facts: ReplyFacts, kind: Kind, language: Language) -> None:
    """Hostile mails lead to no new header and no hidden character."""
    letter = write(template(kind, language), facts)
    assert_tidy(letter)
    message = parse(letter)
    assert {name.lower() for name in message.keys()} <= ALLOWED_HEADERS  # noqa: SIM118 - no dict
    assert len(message.keys()) == len(set(message.keys()))
    assert message.get_content() == letter.body
    assert message["Subject"] == letter.subject
    for name, address in (("From", facts.contact), ("To", facts.to)):
        if name in message:
            # Either what every example may hold, or a text that is by chance an address.
            assert [found.addr_spec for found in message[name].addresses] == [address]
    if not any(block.live for block in facts.blocks):
        hidden = {BLOCKED_WORDS[language]} - {f.destination for f in (*facts.blocks, *facts.lifted)}
        assert not any(words in flat(letter) for words in hidden)


@settings(max_examples=300, deadline=None)
@example("B[]1:B", "B")
@given(
    st.text("Re: []#1-aB\t", max_size=30),
    st.text("#1-aB", min_size=1, max_size=6).filter(lambda text: clean(text) is not None),
)
def test_the_ticket_is_in_the_subject_exactly_once(original: str, reference: str) -> None:
    """However often the original names the ticket, the answer names it once."""
    edge = [
        r"(?<!\w)" if reference[0].isalnum() else "",
        r"(?!\w)" if reference[-1].isalnum() else "",
    ]
    whole = re.compile(edge[0] + re.escape(reference) + edge[1], re.IGNORECASE)
    assert len(whole.findall(subject(original, reference))) == 1


@given(st.text(max_size=300))
def test_clean_text_is_one_printable_line(text: str) -> None:
    """Cleaned text is one visible line; cleaning it again changes nothing."""
    line = clean(text)
    if line is not None:
        assert line.isprintable()
        assert len(line) <= MAX_TEXT
        assert line.encode()
        assert clean(line) == line


def test_a_time_without_a_zone_is_refused() -> None:
    """A naive time could mean another day: the caller must say which zone it is in."""
    naive = NOON.replace(tzinfo=None)
    for change in (
        {"incidents": (naive,)},
        {"deadline": naive},
        {"blocks": (replace(LIVE, until=naive),)},
        {"lifted": (replace(LIVE, since=naive),)},
    ):
        with pytest.raises(ValueError, match="zone"):
            replace(FULL, **change)


def test_times_are_written_one_way() -> None:
    """ISO date, minutes and UTC, whatever zone they came in; what UTC cannot express is missing."""
    assert time_text(datetime(2026, 12, 22, 1, 5, tzinfo=timezone(timedelta(hours=5)))) == (
        "2026-12-21 20:05 UTC"
    )
    assert time_text(datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=5)))) is None
    assert time_text(datetime(9, 1, 1, tzinfo=UTC)) == "0009-01-01 00:00 UTC"


def test_exonerator_is_asked_for_the_first_and_the_last_day() -> None:
    """Many incidents make two links; without an address or a day it is the front page."""
    days = [NOON + timedelta(days=n) for n in (5, 1, 3)]
    assert exonerator_urls("198.51.100.4", days) == (
        f"{EXONERATOR}?ip=198.51.100.4&timestamp=2026-11-23",
        f"{EXONERATOR}?ip=198.51.100.4&timestamp=2026-11-27",
    )
    assert exonerator_urls(None, days) == exonerator_urls("198.51.100.4", ()) == (EXONERATOR,)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("198.51.100.4", "198.51.100.4"), ("[2001:DB8::1]", "2001:db8::1"), (" ::1%lo ", "::1"),
     ("exit.example", None), ("", None), (None, None)],
)  # fmt: skip
def test_an_address_is_canonical_or_missing(text: str | None, expected: str | None) -> None:
    """Only an IP address is written as the relay's address."""
    assert canonical_address(text) == expected


def test_a_letter_prints_with_its_subject() -> None:
    """On stdout the subject comes first, to be pasted apart."""
    letter = write(template("spam", "en"), BARE)
    assert str(letter).startswith("Subject: Spam through a Tor exit\n\nHello,\n\nThank you")
