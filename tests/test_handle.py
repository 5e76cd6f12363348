"""`handle` on a real terminal and a real Tor: from a complaint to a live block and a draft."""

import email.policy
import shutil
import stat
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.message import Message
from email.parser import BytesParser
from email.utils import format_datetime
from pathlib import Path

import pytest

from tests.harness.conversation import Conversation
from tests.harness.dns import NameServer, needs_dnsmasq
from tests.harness.host import ExitHost, HostMaker, host_maker

RELAY = "185.220.101.4"
OPERATOR = (
    "operator: {name: Ada Rossi, contact: abuse@exit.example, relay_name: exit1,"
    f" address: {RELAY}}}\n"
)
WHICH, UNTIL, BLOCK, LETTER = "Block which?", "Until when?", "[y/N]", "The letter?"
NOBODY = 65534


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExitHost]:
    """Give a real exit."""
    with host_maker(tmp_path_factory.mktemp("host")) as make:
        yield make(extra=OPERATOR)


@pytest.fixture
def host(observed: ExitHost) -> ExitHost:
    """Give that exit without blocks, without records of ended ones, and without complaints."""
    observed.run("lift", "--all", "--yes")
    observed.ledger.write_text("version: 2\nblocks: []\n")
    observed.ledger.with_name("complaints.json").unlink(missing_ok=True)
    return observed


def mail(path: Path, number: int, hours: int | None = 48, headers: str = "") -> Path:
    """Write a complaint with the ticket ABC-471NUMBER, about 91.201.214.NUMBER."""
    wanted = "" if hours is None else f"Please answer within {hours} hours.\n"
    path.write_text(
        f"From: Abuse Team <abuse@provider.example>\nSubject: [Ticket ABC-471{number}] SSH attack\n"
        f"Date: {format_datetime(datetime.now(UTC))}\nMessage-ID: <{number}@provider.example>\n"
        f"{headers}\nDear customer,\n\nyour server {RELAY} attacked our server"
        f" 91.201.214.{number} on port 22, SSH brute force, at 2026-11-20 03:12:00 UTC.\n{wanted}"
    )
    return path


def parsed(path: Path) -> Message:
    """Return a draft as mail programs read it."""
    return BytesParser(policy=email.policy.default).parsebytes(path.read_bytes())


def drafts(folder: Path) -> list[Path]:
    """Return the drafts in a folder."""
    return sorted(folder.glob("*.eml"))


def test_six_strokes_lead_from_a_file_to_a_live_block_and_a_draft(
    host: ExitHost, tmp_path: Path
) -> None:
    """On 60 columns; Enter takes what is proposed, and only the block and the draft take a letter.

    The complaint then has an answer, and `status` and `list`, which named it, do not any more.
    """
    report = mail(tmp_path / "report.txt", 7)
    arguments = ("handle", str(report), "--drafts", str(tmp_path))
    with Conversation(host, *arguments, columns=60) as talk:
        shown = talk.answer(WHICH, "")
        assert not host.tor.rejects("91.201.214.7", 22)
        waiting = host.run("list")
        assert "no answer yet: ABC-4717 (brute-force) due in " in waiting.err
        (entry,) = host.run("status", "--json").json["unanswered"]
        assert (entry["references"], entry["kind"]) == (["ABC-4717"], "brute-force")
        talk.answer(UNTIL, "")
        talk.answer(BLOCK, "y")
        proof = talk.answer(LETTER, "d")
        assert talk.end() == 0
    assert talk.strokes <= 6
    lines = shown.split("\n")
    assert len(lines) <= 21
    assert max(map(len, lines)) <= 60
    assert "91.201.214.7:22" in shown
    assert host.tor.rejects("91.201.214.7", 22)
    assert "proof: Tor (default) enforces reject 91.201.214.7:22\n" in proof
    (block,) = host.run("list", "--json").json["blocks"]
    assert (block["reference"], block["state"]) == ("ABC-4717", "live")
    (draft,) = drafts(tmp_path)
    assert stat.S_IMODE(draft.stat().st_mode) == 0o600
    written = parsed(draft)
    assert (written["To"], written["In-Reply-To"]) == (
        "abuse@provider.example",
        "<7@provider.example>",
    )
    assert "91.201.214.7" in str(written.get_payload())
    assert host.run("status", "--json").json["unanswered"] == []
    assert "no answer yet" not in host.run("list").err
    assert "provider.example" not in host.ledger.with_name("complaints.json").read_text()


@pytest.mark.slow
def test_what_was_blocked_before_is_proposed_for_longer(host: ExitHost, tmp_path: Path) -> None:
    """The proposed time is twice what it would be, Enter takes it, and the letter says so."""
    assert host.run("block", "91.201.214.12:22", "--until", "30d").code == 0
    assert host.run("lift", "91.201.214.12:22").code == 0
    report = mail(tmp_path / "report.txt", 12)
    with Conversation(host, "handle", str(report), "--drafts", str(tmp_path)) as talk:
        talk.answer(WHICH, "")
        shown = talk.answer("Until when? [60d]", "")
        talk.answer(BLOCK, "y")
        letter = talk.answer(LETTER, "")
        assert talk.end() == 0
    assert "was blocked once in the last 90d" in " ".join(shown.split())
    assert "is blocked for longer this time" in " ".join(letter.split())
    (block,) = host.run("list", "--json").json["blocks"]
    since, until = (datetime.fromisoformat(block[key]) for key in ("since", "until"))
    assert until - since == timedelta(days=60)


def test_nothing_is_done_without_a_yes(host: ExitHost, tmp_path: Path) -> None:
    """Enter at every question blocks nothing and writes nothing; the complaint goes on waiting."""
    before = host.snapshot()
    report = mail(tmp_path / "report.txt", 8)
    with Conversation(host, "handle", str(report), "--drafts", str(tmp_path)) as talk:
        for question in (WHICH, UNTIL, BLOCK, LETTER):
            talk.answer(question, "")
        assert talk.end() == 0
    record = str(host.ledger.with_name("complaints.json"))
    assert {**host.snapshot(), record: b""} == {**before, record: b""}
    assert drafts(tmp_path) == []
    assert len(host.run("list", "--json").json["unanswered"]) == 1


def test_a_maildir_is_gone_through_by_deadline_and_remembered(
    host: ExitHost, open_folder: Path
) -> None:
    """The second run shows only what has no answer, also after a mail program has moved a mail."""
    box = open_folder / "Maildir"
    for name in ("cur", "new", "tmp"):
        (box / name).mkdir(parents=True)
    for number, hours in ((1, None), (2, 72), (3, 24)):
        mail(box / "new" / f"{number}", number, hours)
    arguments = ("handle", str(box), "--drafts", str(open_folder))
    with Conversation(host, *arguments) as talk:
        assert "== 1 of 3: 3" in talk.answer(WHICH, "n")
        talk.answer(LETTER, "d")
        assert "== 2 of 3: 2" in talk.answer(WHICH, "n")
        talk.answer(LETTER, "")
        assert "== 3 of 3: 1" in talk.answer(WHICH, "n")
        talk.answer(LETTER, "x")
        assert talk.end() == 0
    (box / "new" / "3").rename(box / "cur" / "3:2,S")
    listed = host.run("handle", str(box), "--json").json
    assert ([one["name"] for one in listed["waiting"]], listed["known"]) == (["2"], 2)
    assert host.run("handle", "--answered", "ABC-4712").code == 0
    assert "nothing waits; dealt with before: 3" in host.run("handle", str(box), "--list").err
    assert host.run("handle", "--answered", "ABC-4712").code == 2
    assert sorted(path.name for path in box.rglob("*")) == sorted(
        ["1", "2", "3:2,S", "cur", "new", "tmp"]
    )


@pytest.mark.slow
@pytest.mark.parametrize("key", ["c", "d"])
@pytest.mark.parametrize(
    "stop",
    [
        ([], WHICH, "nothing was blocked, and no answer was written"),
        ([(WHICH, "")], UNTIL, "nothing was blocked, and no answer was written"),
        ([(WHICH, ""), (UNTIL, "")], BLOCK, "nothing was blocked, and no answer was written"),
        (
            [(WHICH, ""), (UNTIL, ""), (BLOCK, "y")],
            LETTER,
            "91.201.214.9:22 is blocked; no answer was written",
        ),
    ],
    ids=["which", "until", "block", "letter"],
)
def test_whoever_stops_at_a_question_is_told_the_state(
    host: ExitHost,
    tmp_path: Path,
    stop: tuple[list[tuple[str, str]], str, str],
    key: str,
) -> None:
    """^C and ^D end with 130, what was done before stands, and the way on is named."""
    answers, question, state = stop
    report = mail(tmp_path / "report.txt", 9)
    with Conversation(host, "handle", str(report), "--drafts", str(tmp_path)) as talk:
        for asked, typed in answers:
            talk.answer(asked, typed)
        talk.see(question)
        talk.see(": ")
        talk.press(key)
        assert talk.end() == 130
    words = " ".join(talk.shown.split())
    assert state in words
    assert f"to go on: exitpol --config {host.config} handle {report}" in words
    assert host.tor.rejects("91.201.214.9", 22) is ("is blocked" in state)
    assert drafts(tmp_path) == []


@pytest.mark.slow
def test_the_letter_that_a_block_has_ended_is_offered_until_it_is_written(
    host: ExitHost, tmp_path: Path
) -> None:
    """Without a FILE, and after a mailbox; Enter leaves it for later, a draft is the last offer."""
    for number in (1, 2):
        done = host.run(
            *("block", f"203.0.113.{number}", "--until", "1d", "--reference", f"T#{number}")
        )
        assert done.code == 0
    assert host.run("lift", "203.0.113.1").code == 0
    box = tmp_path / "Maildir"
    for name in ("cur", "new"):
        (box / name).mkdir(parents=True)
    with Conversation(host, "handle", str(box), "--drafts", str(tmp_path)) as talk:
        assert "a block with the reference T#1 has ended: 203.0.113.1" in talk.answer(LETTER, "")
        assert talk.end() == 0
    with Conversation(host, "handle", "--drafts", str(tmp_path)) as talk:
        assert "203.0.113.1" in talk.answer(LETTER, "s")
        assert "'s' is none of d, e" in talk.answer(LETTER, "d")
        assert talk.end() == 0
    (draft,) = drafts(tmp_path)
    assert "203.0.113.1" in str(parsed(draft).get_payload())
    assert host.run("list", "--json").json["not_told"] == []
    with Conversation(host, "handle", "--drafts", str(tmp_path)) as talk:
        assert talk.end() == 2
    assert "no complaint is named, and no block has ended" in " ".join(talk.shown.split())


def test_without_a_terminal_the_other_commands_are_named(host: ExitHost, tmp_path: Path) -> None:
    """It is a mistake of usage (2), and nothing is recorded."""
    report = mail(tmp_path / "report.txt", 5)
    for arguments in ([str(report)], ["-"]):
        done = host.run("handle", *arguments, stdin="")
        assert done.code == 2
        assert "exitpol complaint FILE --block DEST --until 30d" in done.err
        assert "exitpol reply FILE --eml" in done.err
    assert not host.ledger.with_name("complaints.json").exists()
    assert host.run("handle").code == 2


@pytest.mark.slow
def test_a_mail_on_stdin_is_handled_with_answers_from_the_terminal(
    host: ExitHost, tmp_path: Path
) -> None:
    """As a mail program pipes it."""
    report = mail(tmp_path / "report.txt", 6)
    piped = f"import os; os.dup2(os.open({str(report)!r}, os.O_RDONLY), 0)"
    with Conversation(host, "handle", "-", "--drafts", str(tmp_path), before=piped) as talk:
        talk.answer(WHICH, "n")
        talk.answer(LETTER, "d")
        assert talk.end() == 0
    assert len(drafts(tmp_path)) == 1


@pytest.mark.slow
def test_what_cannot_be_done_is_said_and_asked_again(host: ExitHost, tmp_path: Path) -> None:
    """A wrong number, the relay's own address, a wrong time, and a name without an address."""
    report = mail(tmp_path / "report.txt", 4)
    with Conversation(host, "handle", str(report), "--drafts", str(tmp_path)) as talk:
        talk.answer(WHICH, "7")
        assert "7 is none of the numbers" in talk.answer(WHICH, RELAY)
        assert "an address of this host" in talk.answer(WHICH, "1,203.0.113.9")
        assert "is not" in talk.answer(WHICH, "1 203.0.113.9:80,443")
        talk.answer(UNTIL, "yesterday")
        assert "not a time" in talk.answer(UNTIL, "2d")
        assert "Block 91.201.214.4:22, 203.0.113.9:80,443, until" in talk.answer(BLOCK, "y")
        talk.answer(LETTER, "z")
        assert "none of d, e, s, x" in talk.answer(LETTER, "")
        assert talk.end() == 0
    assert host.tor.rejects("91.201.214.4", 22)
    assert host.tor.rejects("203.0.113.9", 443)


@pytest.mark.slow
def test_a_report_that_speaks_against_itself_proposes_nothing(
    host: ExitHost, tmp_path: Path
) -> None:
    """Of a spoofed report and of one about another machine, Enter blocks nothing."""
    report = tmp_path / "scan.txt"
    report.write_text(
        f"This is an automated report. Your IP {RELAY} sent SYN packets, a port scan.\n"
        f"2026-11-20 03:12:00 UTC SRC={RELAY} DST=91.201.214.90 PROTO=TCP DPT=22 SYN\n"
    )
    other = tmp_path / "other.txt"
    other.write_text("Your IP 203.0.113.77 attacked our server 91.201.214.91 port 22 SSH.\n")
    for path in (report, other):
        with Conversation(host, "handle", str(path), "--drafts", str(tmp_path)) as talk:
            assert "[n]" in talk.answer(WHICH, "") + talk.see("]")
            talk.answer(LETTER, "x")
            assert talk.end() == 0
    assert not host.run("list", "--json").json["blocks"]


@pytest.mark.slow
@needs_dnsmasq
def test_a_name_is_looked_up_when_it_is_chosen(make_host: HostMaker, tmp_path: Path) -> None:
    """Its addresses are shown before the question, and the letter can name the block."""
    report = tmp_path / "report.txt"
    report.write_text(f"Your IP {RELAY} attacked the login of our site, by brute force.\n")
    with NameServer(tmp_path / "dns") as dns:
        exit_ = make_host(
            ["ExitRelay 1", f"ServerDNSResolvConfFile {dns.resolv_conf}"], extra=OPERATOR
        )
        with Conversation(exit_, "handle", str(report), "--drafts", str(tmp_path)) as talk:
            talk.answer(WHICH, "gone.test")
            assert "gone.test" in talk.answer(WHICH, "https://zero.test/login")
            assert "203.0.113.8:443" in talk.answer(UNTIL, "2d")
            talk.answer(BLOCK, "y")
            talk.answer(LETTER, "")
            assert talk.end() == 0
    assert exit_.tor.rejects("203.0.113.8", 443)
    (block,) = exit_.run("list", "--json").json["blocks"]
    assert block["name"] == "zero.test"


EDITOR = """#!/bin/sh
id -u > {folder}/uid
ls -ln "$1" > {folder}/listed
sed -i 's/^Subject: /Subject: [mine] /; 3iBcc: evil@x.example' "$1"
"""


@pytest.mark.slow
@pytest.mark.root
@pytest.mark.parametrize("user", ["", "nobody"])
def test_the_letter_is_edited_by_who_typed_sudo(
    host: ExitHost, open_folder: Path, user: str
) -> None:
    """The editor runs as that user; what it writes changes the text, and adds no header."""
    open_folder.chmod(0o777)
    editor = open_folder / "editor"
    editor.write_text(EDITOR.format(folder=open_folder))
    editor.chmod(0o755)
    report = mail(open_folder / "report.txt", 3)
    environment = {"EDITOR": str(editor), "VISUAL": "", "SUDO_USER": user}
    arguments = ("handle", str(report), "--drafts", str(open_folder))
    with Conversation(host, *arguments, environment=environment) as talk:
        talk.answer(WHICH, "n")
        talk.answer(LETTER, "e")
        assert "Bcc: evil@x.example" in talk.answer(LETTER, "d")
        assert talk.end() == 0
    uid = NOBODY if user else 0
    assert (open_folder / "uid").read_text().strip() == str(uid)
    mode, _, owner, *_ = (open_folder / "listed").read_text().split()
    assert (mode.rstrip("."), owner) == ("-rw-------", str(uid))
    written = parsed(drafts(open_folder)[0])
    assert written["Bcc"] is None
    assert str(written["Subject"]).startswith("[mine] Re: ")
    assert not list(Path("/tmp").glob("exitpol-????????/letter.txt"))


@pytest.fixture
def sendmail() -> Iterator[Path]:
    """Give a mail system in a folder that only root can change: it writes what it gets to files."""
    folder = Path(tempfile.mkdtemp(prefix="exitpol-", dir="/usr/local/lib"))
    folder.chmod(0o755)
    program = folder / "sendmail"
    program.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" > {folder}/arguments\ncat > {folder}/mail\n'
        f"env > {folder}/environment\n"
    )
    program.chmod(0o755)
    yield program
    shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.root
def test_a_letter_is_sent_after_a_yes_to_the_one_who_was_shown(
    host: ExitHost, tmp_path: Path, sendmail: Path
) -> None:
    """A Reply-To of another domain is asked about; sendmail gets one recipient, and no secret."""
    replaced = (
        "from pathlib import Path; from exitpolicy.operations import outgoing;"
        f" outgoing.SENDMAIL = Path({str(sendmail)!r})"
    )
    report = mail(tmp_path / "report.txt", 2, headers="Reply-To: cert@other.example\n")
    environment = {"SECRET": "1"}
    arguments = ("handle", str(report), "--drafts", str(tmp_path))
    with Conversation(host, *arguments, before=replaced, environment=environment) as talk:
        talk.answer(WHICH, "n")
        assert "1. cert@other.example" in talk.answer("Answer to which?", "2")
        assert "To: abuse@provider.example" in talk.answer(LETTER, "s")
        talk.answer("Send it to abuse@provider.example? [y/N]", "")
        assert not (sendmail.parent / "mail").exists()
        talk.answer(LETTER, "s")
        talk.answer("Send it to abuse@provider.example? [y/N]", "y")
        assert talk.end() == 0
    typed = (sendmail.parent / "arguments").read_text().split("\n")
    assert typed[:-1] == ["-i", "-f", "abuse@exit.example", "--", "abuse@provider.example"]
    assert "SECRET" not in (sendmail.parent / "environment").read_text()
    assert parsed(sendmail.parent / "mail")["To"] == "abuse@provider.example"
    assert host.run("list", "--json").json["unanswered"] == []

    sendmail.write_text("#!/bin/sh\necho 'no route'; exit 75\n")
    with Conversation(host, *arguments, before=replaced) as talk:
        assert "this complaint was sent at" in talk.answer(WHICH, "n")
        talk.answer("Answer to which?", "1")
        talk.answer(LETTER, "s")
        talk.answer("[y/N]", "y")
        failed = " ".join(talk.answer(LETTER, "d").split())
        assert "ended with code 75, and said: no route" in failed
        assert talk.end() == 0
    sendmail.chmod(0o777)
    with Conversation(host, *arguments, before=replaced) as talk:
        talk.answer(WHICH, "n")
        talk.answer("Answer to which?", "1")
        talk.answer(LETTER, "s")
        talk.answer("[y/N]", "y")
        assert "others than root can change" in talk.answer(LETTER, "q")
        assert talk.end() == 0


def test_no_mailbox_can_keep_the_others_from_being_read(host: ExitHost, tmp_path: Path) -> None:
    """A mail that cannot be read is named, and the others wait."""
    box = tmp_path / "Maildir"
    for name in ("cur", "new"):
        (box / name).mkdir(parents=True)
    mail(box / "new" / "1", 1)
    (box / "new" / "2").symlink_to("/etc/shadow")
    done = host.run("handle", str(box), "--json").json
    assert [one["name"] for one in done["waiting"]] == ["1"]
    assert "symbolic link" in done["problems"][0]["message"]


def test_a_record_that_is_invalid_stops_neither_list_nor_status(host: ExitHost) -> None:
    """They report it, and show the rest."""
    (host.ledger.with_name("complaints.json")).write_text("{")
    for command in ("list", "status"):
        done = host.run(command, "--json")
        assert (done.code, done.json["unanswered"]) == (0, None)
        assert "not a record of complaints" in done.err
    assert "not a record of complaints" in host.run("list").err


@pytest.mark.slow
def test_old_complaints_are_not_named_for_ever(host: ExitHost, tmp_path: Path) -> None:
    """Two weeks after its deadline, `status` no longer asks for an answer."""
    report = mail(tmp_path / "report.txt", 1)
    late = datetime.now(UTC) - timedelta(days=10)
    text = report.read_text().replace(
        next(line for line in report.read_text().split("\n") if line.startswith("Date:")),
        f"Date: {format_datetime(late)}",
    )
    report.write_text(text)
    assert host.run("handle", str(report), "--json").code == 0
    assert "ABC-4711 (brute-force) overdue" in host.run("list").err
    older = format_datetime(datetime.now(UTC) - timedelta(days=20))
    report.write_text(text.replace(format_datetime(late), older).replace("<1@", "<old@"))
    assert host.run("handle", str(report), "--json").code == 0
    assert len(host.run("list", "--json").json["unanswered"]) == 1
