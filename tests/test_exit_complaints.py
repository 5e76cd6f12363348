"""From the complaint to the answer, on a real Tor exit."""

import email.policy
import shlex
from collections.abc import Iterator
from email.parser import BytesParser
from pathlib import Path

import pytest

from exitpolicy.core.errors import InvalidFileError
from tests.harness.host import ExitHost, HostMaker, host_maker
from tests.harness.terminal import on_a_terminal

MAIL = Path(__file__).parent / "corpus" / "provider-forward-it-kz-cert.eml"
OPERATOR = (
    "operator: {name: Ada Rossi, contact: abuse@exit.example, relay_name: exit1,"
    " address: 185.220.101.4}\n"
)


@pytest.fixture(scope="module")
def blocked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExitHost]:
    """Give a host on which the destination of MAIL was blocked by `complaint --block`."""
    with host_maker(tmp_path_factory.mktemp("host")) as make:
        host = make(extra=OPERATOR)
        done = host.run("complaint", str(MAIL), "--block", "91.201.214.77", "--until", "30d")
        assert done.code == 0, done
        yield host


def test_a_complaint_is_read_into_the_keys_of_the_contract(blocked: ExitHost) -> None:
    """`complaint --json` names who, what, when, and the destination, not the relay."""
    read = blocked.run("complaint", str(MAIL), "--json").json
    assert read["references"] == ["KZ-CERT#90211"]
    assert read["kind"] == "brute-force"
    assert [c["destination"] for c in read["candidates"]] == ["91.201.214.77"]
    assert read["candidates"][0]["evidence"]
    assert {"reporter", "incidents", "deadline", "language", "cautions"} <= read.keys()


def test_the_evidence_shows_the_address_however_long_its_sentence_is(
    blocked: ExitHost, tmp_path: Path
) -> None:
    """A long sentence is cut around the destination, with marks where it was cut."""
    mail = tmp_path / "long.eml"
    mail.write_text(
        "From: a@victim.example\nSubject: scan\n\n"
        f"{'For a good many nights now we see that ' * 4}somebody at 185.220.101.4 scans our "
        f"server 91.201.214.99 again and again,{' and it does not seem to end' * 9}.\n"
    )
    (shown,) = [line for line in blocked.run("complaint", str(mail)).out.split("\n") if "…" in line]
    assert "our server 91.201.214.99 again" in shown
    assert shown.strip().startswith("…")
    assert shown.endswith("…")
    assert len(shown) <= 80


def test_the_block_keeps_the_reference_and_nothing_else_of_the_mail(blocked: ExitHost) -> None:
    """Ledger and history hold the ticket, but no name or address of a person; the torrc neither."""
    assert blocked.tor.rejects("91.201.214.77")
    (block,) = blocked.run("list", "--json").json["blocks"]
    assert (block["reference"], block["reason"]) == ("KZ-CERT#90211", "")
    kept = blocked.ledger.read_text() + blocked.ledger.with_name("history.jsonl").read_text()
    for personal in ("@", "Servizio", "portal.example"):
        assert personal not in kept
    assert "KZ-CERT" not in blocked.fragment.read_text()


def test_the_answer_goes_to_the_provider_in_its_language_and_says_what_is_true(
    blocked: ExitHost,
) -> None:
    """The forward is in Italian, so is the letter; it names the block, its end, and the ticket."""
    done = blocked.run("reply", str(MAIL))
    assert done.code == 0, done
    assert "KZ-CERT#90211" in done.out.splitlines()[0]
    assert "91.201.214.77" in done.out
    assert "Gentile" in done.out or "Buongiorno" in done.out
    assert "185.220.101.4" in done.out
    english = blocked.run("reply", str(MAIL), "--lang", "en").out
    assert "I have blocked on this exit:" in english


def test_the_answer_is_found_by_reference_and_by_destination(blocked: ExitHost) -> None:
    """Weeks later the ticket or the address is enough."""
    for name in ("KZ-CERT#90211", "91.201.214.77"):
        assert "I have blocked" in blocked.run("reply", name, "--lang", "en").out
    assert blocked.run("reply", "T#unknown").code == 9


def test_every_ticket_of_the_chain_finds_the_block(blocked: ExitHost, tmp_path: Path) -> None:
    """The provider's ticket and the CERT's are kept: `list`, `reply` and `lift` know both."""
    mail = _mail(
        tmp_path,
        "From: abuse@isp.example\nSubject: Abuse report [Ticket#2026112210001]",
        "Please answer this report.\n\n-------- Forwarded Message --------\n"
        "From: KZ-CERT <info@kz-cert.example>\nSubject: [KZ-CERT#5150] SSH brute force\n\n"
        "185.220.101.4 attacked our server 91.201.214.95 port 22, SSH brute force.",
    )
    tickets = blocked.run("complaint", mail, "--json").json["references"]
    assert len(tickets) == 2, tickets
    done = blocked.run("complaint", mail, "--block", "91.201.214.95:22", "--until", "1d")
    assert done.code == 0, done
    for ticket, other in (tickets, tickets[::-1]):
        listed = blocked.run("list", "--reference", ticket, "--json").json["blocks"]
        assert [block["destination"] for block in listed] == ["91.201.214.95:22"]
        assert [listed[0]["reference"], *listed[0]["references"]] == tickets
        found = blocked.run("reply", ticket)
        assert "91.201.214.95:22" in found.out
        assert other not in found.out, "it may be the ticket of another complaint"
        assert f"exitpol reply {shlex.join((ticket, other))}" in found.err
        both = blocked.run("reply", ticket, other)
        assert (f"{ticket}, {other}" in both.out, both.err) == (True, "")
    assert blocked.run("lift", "--reference", tickets[1]).code == 0
    for ticket in tickets:
        ended = blocked.run("reply", ticket, "--again").out
        assert "91.201.214.95:22 since" in ended, ended
    changes = blocked.run("history", "91.201.214.95:22", "--json").json["changes"]
    assert [[c["reference"], *c["references"]] for c in changes] == [tickets] * 4


def test_the_reporter_is_told_once_that_the_block_has_ended(blocked: ExitHost) -> None:
    """`list` and `status` offer the letter until it is written; then it needs --again."""
    block = ("block", "91.201.214.96:22", "--until", "1d", "--reference", "T#96 a")
    assert blocked.run(*block).code == 0
    refused = blocked.run("reply", "T#96 a", "--kind", "lifted")
    assert (refused.code, refused.out) == (3, ""), refused
    assert "91.201.214.96:22 is blocked until" in refused.err
    assert blocked.run("list", "--json").json["not_told"] == []
    assert blocked.run("lift", "91.201.214.96:22").code == 0
    (offered,) = blocked.run("list", "--json").json["not_told"]
    assert (offered["destination"], offered["reference"]) == ("91.201.214.96:22", "T#96 a")
    for command in ("list", "status"):
        said = blocked.run(command).err
        assert "no letter says so: 91.201.214.96:22 (T#96 a); to write it: " in said, said
        assert "exitpol reply 91.201.214.96:22 --kind lifted" in said
    letter = blocked.run("reply", "T#96 a", "--kind", "lifted", "--json").json
    assert "has been lifted" in letter["body"]
    assert letter["ended"] == ["91.201.214.96:22"]
    assert blocked.run("status", "--json").json["not_told"] == []
    assert "no letter" not in blocked.run("list").err
    for names in (["T#96 a"], ["91.201.214.96:22", "--kind", "lifted"]):
        again = blocked.run("reply", *names)
        assert (again.code, again.out) == (2, ""), again
        assert "says already that the block of 91.201.214.96:22 has ended" in again.err
        assert "--again" in again.err
    assert "has been lifted" in blocked.run("reply", "T#96 a", "--again").out
    actions = [c["action"] for c in blocked.run("history", "--json").json["changes"]]
    assert actions[-4:] == ["block", "lift", "told", "told"]


@pytest.mark.parametrize(
    ("ended", "other"),
    [("91.201.212.9", "91.201.212.9:22"), ("91.201.211.0/24", "91.201.211.0/25")],
)
def test_no_letter_says_that_users_can_go_where_another_block_stands(
    blocked: ExitHost, ended: str, other: str
) -> None:
    """A block of a port, or of a part of the network, still stands."""
    assert blocked.run("block", ended, "--until", "1d", "--reference", f"T {ended}").code == 0
    assert blocked.run("block", other, "--until", "1d", "--reference", f"T {other}").code == 0
    assert blocked.run("lift", ended).code == 3
    refused = blocked.run("reply", f"T {ended}", "--kind", "lifted")
    assert (refused.code, refused.out) == (3, ""), refused
    assert f"{ended} is still rejected, or a part of it" in refused.err
    assert blocked.run("lift", other).code == 0
    done = blocked.run("reply", f"T {ended}", "--kind", "lifted")
    assert (done.code, f"  {ended} since" in done.out) == (0, True), done
    assert blocked.run("reply", f"T {other}", "--kind", "lifted").code == 0


def test_a_letter_that_cannot_be_recorded_is_written_with_a_warning(
    blocked: ExitHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The letter is there; the warning says that it may be offered again, and why."""
    block = ("block", "91.201.214.97", "--until", "1d", "--reference", "T#97")
    assert blocked.run(*block).code == 0
    assert blocked.run("lift", "91.201.214.97").code == 0

    def fail(*_: object) -> None:
        raise InvalidFileError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr("exitpolicy.storage.ledger_file.save", fail)
        done = blocked.run("reply", "T#97")
    assert (done.code, "has been lifted" in done.out) == (0, True), done
    assert "may offer this letter again, because it was not recorded: the disk is full" in done.err
    assert blocked.run("list", "--json").json["not_told"] != []
    assert blocked.run("reply", "T#97").code == 0


def test_a_ticket_that_looks_like_an_option_is_none_in_a_hint(blocked: ExitHost) -> None:
    """The command that a hint shows does what it says, whatever a stranger calls a ticket."""
    ticket = "--recipient=evil@x.example"
    options = ("--reference", "T#98", f"--reference={ticket}")
    assert blocked.run("block", "91.201.214.98", "--until", "1d", *options).code == 0
    said = blocked.run("reply", "T#98").err
    assert f"exitpol reply -- 'T#98' {ticket}" in said, said
    done = blocked.run("reply", "--", "T#98", ticket)
    assert (done.code, f"Reference: T#98, {ticket}" in done.out) == (0, True), done
    assert blocked.run("lift", "91.201.214.98").code == 0
    assert "exitpol reply 'T#98' --kind lifted" in blocked.run("list").err
    assert blocked.run("reply", "T#98").code == 0


@pytest.mark.parametrize(
    ("body", "named", "warning"),
    [
        (
            "185.220.101.4 attacked our server 91.201.214.60 port 22, SSH brute force.",
            "91.201.214.60:22",
            "warning: not blocked: 91.201.214.60:22\n",
        ),
        (
            "185.220.101.4 attacks our web server www.victim.example, many login attempts.",
            "www.victim.example",
            "warning: not blocked: www.victim.example\n",
        ),
        (
            "185.220.101.4 attacked our server 104.16.132.229 port 443, SQL injection.",
            "I block nothing",
            "104.16.132.229:443 is not blocked: it is a shared address of cloudflare\n",
        ),
        (
            "Your IP 198.51.100.200 attacked our server 91.201.214.60 port 22, SSH brute force.",
            "91.201.214.60:22",
            "accuses 198.51.100.200, no address of this relay: it is about another machine",
        ),
    ],
)
def test_what_the_complaint_names_and_is_not_blocked_is_warned_of(
    blocked: ExitHost, tmp_path: Path, body: str, named: str, warning: str
) -> None:
    """Before a block the letter names it and does not ask for it; nothing is looked up."""
    mail = _mail(tmp_path, "From: admin@victim.example\nSubject: attack", body)
    done = blocked.run("reply", mail)
    assert done.code == 0, done
    assert named in " ".join(done.out.split())
    assert "target address and port" not in done.out
    assert warning in done.err, done.err
    if "warning: not blocked" in warning:
        assert f"exitpol complaint {mail} --block {named} --until 30d" in done.err


def test_a_host_name_finds_its_blocks_and_is_named_to_those_who_know_it(
    make_host: HostMaker, tmp_path: Path
) -> None:
    """Whoever complains about an address does not learn by which name it was blocked."""
    host = make_host(extra=OPERATOR)
    text = host.ledger.read_text()
    line = (
        '- {destination: "91.201.214.99:443", since: "2026-11-22T10:00:00Z", until: "never",'
        ' reference: "N#1", name: "www.victim.example shop.victim.example"}\n'
    )
    host.ledger.write_text(f"{text.partition('blocks:')[0]}blocks:\n{line}")
    assert host.run("apply").code == 0
    for name in ("www.victim.example", "https://shop.victim.example/login", "N#1"):
        letter = host.run("reply", name).out
        assert "91.201.214.99:443 (www.victim.example, shop.victim.example)" in letter, letter
    for name in ("victim.example", "www.victim.example:80", "x.www.victim.example"):
        assert host.run("reply", name).code == 9
    headers = "From: admin@victim.example\nSubject: attack"
    by_name = "185.220.101.4 attacks our web server www.victim.example, many login attempts."
    assert "91.201.214.99:443 (www.victim.example) " in host.run(
        "reply", _mail(tmp_path, headers, by_name)
    ).out.replace("\n", " ")
    by_address = "185.220.101.4 attacked our server 91.201.214.99 port 443, SQL injection."
    letter = host.run("reply", _mail(tmp_path, headers, by_address)).out
    assert ("91.201.214.99:443" in letter, "victim.example" in letter) == (True, False), letter
    assert host.run("lift", "www.victim.example").code == 0
    letter = host.run("reply", "www.victim.example").out
    assert "91.201.214.99:443 (www.victim.example, shop.victim.example)" in letter, letter


def test_an_eml_answers_the_mail(blocked: ExitHost) -> None:
    """`--eml` has In-Reply-To, References, To and the ticket once in the subject."""
    done = blocked.run("reply", str(MAIL), "--eml")
    mail = BytesParser(policy=email.policy.default).parsebytes(done.out.encode())
    assert mail["In-Reply-To"] == "<9795da09e7154ed9@provider.example>"
    assert mail["To"] == "abuse@provider.example"
    assert str(mail["Subject"]).count("KZ-CERT#90211") == 1


def test_what_tor_does_not_enforce_is_not_said_to_be_blocked(make_host: HostMaker) -> None:
    """With Tor down the block is on record, and the letter does not claim it."""
    host = make_host(extra=OPERATOR)
    host.tor.stop()
    assert host.run("block", "91.201.214.77", "--until", "1d", "--reference", "T#1").code == 6
    done = host.run("reply", "T#1", "--lang", "en")
    assert "I have blocked" not in done.out
    assert "91.201.214.77" in done.err


@pytest.mark.slow
def test_a_letter_that_is_printed_and_put_in_place_writes_the_same_answer(
    blocked: ExitHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The output of `reply --template` is a valid file for the operator to change."""
    monkeypatch.setattr("exitpolicy.storage.reply_templates.FOLDER", tmp_path)
    answer = blocked.run("reply", str(MAIL)).out
    printed = blocked.run("reply", "--template", "greeting", "--lang", "it")
    assert (printed.code, printed.err) == (0, "")
    own = tmp_path / "it" / "greeting.txt"
    own.parent.mkdir()
    own.write_text("")  # as the shell leaves it in `exitpol reply --template greeting > FILE`
    assert blocked.run("reply", "--template", "greeting", "--lang", "it").out == printed.out
    own.write_text(printed.out)
    assert blocked.run("reply", str(MAIL)).out == answer
    own.write_text(printed.out.replace("Buongiorno", "Gentili colleghi"))
    assert blocked.run("reply", str(MAIL)).out == answer.replace("Buongiorno", "Gentili colleghi")
    assert "Gentili" in blocked.run("reply", "--template", "greeting", "--lang", "it").out


@pytest.mark.parametrize("option", ["--template", "--kind", "--lang", "--to"])
def test_a_choice_that_is_not_there_is_named_with_those_that_are(
    blocked: ExitHost, option: str
) -> None:
    """A wrong choice is a mistake of usage (2) that lists the right ones, and so does the help."""
    known = {"--lang": "fr", "--to": "reporter"}.get(option, "law-enforcement")
    done = blocked.run("reply", str(MAIL), option, "nope")
    assert done.code == 2
    assert known in done.err
    assert known in blocked.run("reply", "--help").out


def test_nothing_to_answer_is_a_mistake_of_usage(blocked: ExitHost) -> None:
    """Neither a file nor a name, two files, and an invalid address end with 2."""
    assert blocked.run("reply").code == 2
    assert blocked.run("reply", str(MAIL), str(MAIL.with_name("README.md"))).code == 2
    assert blocked.run("reply", "x" * 5000).code == 9
    done = blocked.run("reply", str(MAIL), "--recipient", "Ada <a@b.example>")
    assert (done.code, "--recipient a@b.example" in done.err) == (2, True)


def _mail(folder: Path, headers: str, body: str) -> str:
    path = folder / f"{len(list(folder.iterdir()))}.eml"
    path.write_text(f"{headers}\nMessage-ID: <a@b.example>\n\n{body}\n", encoding="utf-8")
    return str(path)


ATTACK = "Your IP 185.220.101.4 attacked our server 91.201.214.77 port 22, SSH brute force."


@pytest.mark.parametrize(
    "sender",
    [
        "=?utf-8?q?ceo=40bank=2Eexample?= <abuse@isp.example>",
        '"ceo@bank.example" <abuse@isp.example>',
        "abuse@isp.example (ceo@bank.example)",
    ],
)
def test_the_sender_is_answered_and_not_the_name_that_he_gives_himself(
    blocked: ExitHost, tmp_path: Path, sender: str
) -> None:
    """The address is parsed before the name is decoded."""
    mail = _mail(tmp_path, f"From: {sender}\nSubject: x", ATTACK)
    done = blocked.run("reply", mail, "--eml")
    assert done.code == 0, done
    assert "\nTo: abuse@isp.example\n" in f"\n{done.out}"


@pytest.mark.parametrize(
    "headers",
    [
        "From: abuse@isp.example\nReply-To: victim@third.example",
        "From: abuse@isp.example\nReply-To: v1@isp.example, v2@isp.example",
        "From: abuse@isp.example\nReply-To: group: v1@isp.example, v2@isp.example;",
        "From: abuse@isp.example\nReply-To: abuse@isp.example\nReply-To: victim@third.example",
        'From: abuse@isp.example\nReply-To: "|/bin/sh" <"|/bin/sh -c id"@localhost>',
        "From: abuse@isp.example\nReply-To: -oQ/tmp@isp.example",
        "From: abuse@isp.example\nReply-To: abuse@\u0456sp.example",
        "From: abuse@isp.example\nFrom: victim@third.example",
        'From: "unbalanced abuse@isp.example <victim@third.example>',
    ],
)
def test_an_unclear_address_needs_a_decision(
    blocked: ExitHost, tmp_path: Path, headers: str
) -> None:
    """Without a terminal nothing is written (2) until --recipient says who gets the answer."""
    mail = _mail(tmp_path, f"{headers}\nSubject: x", ATTACK)
    for form in ("--eml", "--json"):
        done = blocked.run("reply", mail, form)
        assert (done.code, "Subject" in done.out) == (2, False), done
        assert "--recipient ADDRESS" in done.err
        assert "abuse@isp.example" in done.err
    named = blocked.run("reply", mail, "--eml", "--recipient", "noc@isp.example")
    assert (named.code, "\nTo: noc@isp.example\n" in named.out) == (0, True), named
    text = blocked.run("reply", mail)
    assert text.code == 0
    assert "decide who gets it" in text.err


def test_a_domain_that_looks_like_another_is_shown(blocked: ExitHost, tmp_path: Path) -> None:
    """A punycode domain is shown in the letters that a mail program shows."""
    mail = _mail(tmp_path, "From: abuse@xn--80ak6aa92e.com\nSubject: x", ATTACK)
    assert "\u0430\u0440\u0440\u04cf\u0435.com" in blocked.run("reply", mail, "--eml").err


def test_what_a_hostile_mail_holds_reaches_no_header(blocked: ExitHost, tmp_path: Path) -> None:
    """Encoded line ends, escape sequences and bidirectional controls add and hide nothing."""
    mail = _mail(
        tmp_path,
        "From: =?utf-8?q?a=0ABcc=3A_evil=40x.example?= <abuse@isp.example>\n"
        "Subject: =?utf-8?q?hi=0ABcc=3A_evil=40x.example=0A=0Abody?= "
        "\u202eRTL\x1b]0;pwned\x07\x9b2J\n"
        "References: <x@y.example>\n =?utf-8?q?=0ABcc=3A_e=40x?= <r2@\u202ex>",
        ATTACK,
    )
    done = blocked.run("reply", mail, "--eml")
    assert done.code == 0, done
    parsed = BytesParser(policy=email.policy.default).parsebytes(done.out.encode())
    assert parsed["Bcc"] is None
    assert parsed["To"] == "abuse@isp.example"
    assert parsed["References"] == "<x@y.example> <a@b.example>"
    assert str(parsed["Subject"]).isprintable()
    assert all(c.isprintable() or c == "\n" for c in done.out + done.err)


def test_a_stranger_who_names_a_ticket_learns_nothing_of_its_blocks(
    make_host: HostMaker, tmp_path: Path
) -> None:
    """Only a destination that the complaint names, or a block that the operator names, is in it."""
    host = make_host(extra=OPERATOR)
    for destination, ticket in (("91.201.214.77", "KZ-CERT#4711"), ("91.201.214.88", "ABC-1234")):
        done = host.run("block", destination, "--until", "30d", "--reference", ticket)
        assert done.code == 0, done
    headers = "From: evil@x.example\nSubject: hello KZ-CERT#4711"
    stranger = _mail(tmp_path, headers, "Ticket: KZ-CERT#4711, Ticket: ABC-1234. Please answer.")
    answer = host.run("reply", stranger)
    assert answer.code == 0, answer
    assert "91.201.214" not in answer.out
    assert "91.201.214.77" in answer.err
    assert f"exitpol reply {stranger} 'KZ-CERT#4711'" in answer.err

    wide = _mail(tmp_path, headers, "Your IP 185.220.101.4 attacked our network 91.201.0.0/16.")
    assert "91.201.214" not in host.run("reply", wide).out

    named = host.run("reply", stranger, "KZ-CERT#4711").out
    assert "91.201.214.77" in named
    assert "91.201.214.88" not in named
    other = _mail(tmp_path, "From: evil@x.example\nSubject: hello", "Please answer.")
    by_destination = host.run("reply", other, "91.201.214.88").out
    assert "91.201.214.88" in by_destination
    assert "ABC-1234" not in by_destination
    assert host.run("reply", stranger, "T#unknown").code == 9

    # A port that is closed at every address answers a complaint about that port only.
    assert host.run("block", "*:23", "--until", "30d", "--force").code in {0, 3}
    telnet = _mail(tmp_path, headers, "Your IP 185.220.101.4 attacked our server 192.0.2.9:23.")
    assert "*:23" in host.run("reply", telnet).out
    assert "*:23" not in host.run("reply", wide).out
    assert host.run("lift", "*:23").code == 0

    victim = _mail(tmp_path, headers, ATTACK)
    assert "91.201.214.77" in host.run("reply", victim).out

    assert host.run("lift", "91.201.214.77").code == 0
    assert "91.201.214" not in host.run("reply", stranger, "--kind", "lifted").out
    assert "91.201.214.77" in host.run("reply", victim, "--kind", "lifted").out


def test_without_a_terminal_a_destination_must_be_named(blocked: ExitHost) -> None:
    """`--block` alone has nobody to ask; the candidates are in the hint (2)."""
    done = blocked.run("complaint", str(MAIL), "--block", "--until", "30d")
    assert done.code == 2
    assert "--block '91.201.214.77'" in done.err


def test_the_hosts_own_address_is_never_blocked(blocked: ExitHost) -> None:
    """Naming the accused relay itself is refused (4)."""
    done = blocked.run("complaint", str(MAIL), "--block", "185.220.101.4", "--until", "30d")
    assert done.code == 4
    assert not blocked.tor.rejects("185.220.101.4")


def test_a_report_that_may_be_spoofed_is_blocked_only_on_purpose(
    blocked: ExitHost, tmp_path: Path
) -> None:
    """A SYN scan reported by an automatic sender is not blocked without --despite-spoofing (4)."""
    report = tmp_path / "scan.txt"
    report.write_text(
        "This is an automated report. Your IP 185.220.101.4 sent SYN packets, a port scan.\n"
        "2026-11-20 03:12:00 UTC SRC=185.220.101.4 DST=91.201.214.90 PROTO=TCP DPT=22 SYN\n"
    )
    arguments = ("complaint", str(report), "--block", "91.201.214.90", "--until", "1d")
    done = blocked.run(*arguments)
    assert (done.code, "spoofed" in done.err) == (4, True), done
    assert not blocked.tor.rejects("91.201.214.90")
    assert "add --despite-spoofing" in done.err
    assert blocked.run(*arguments, "--yes").code == 4
    assert blocked.run(*arguments, "--despite-spoofing").code == 0
    assert blocked.tor.rejects("91.201.214.90")


def test_on_a_terminal_it_asks_which_to_block(make_host: HostMaker) -> None:
    """The candidates are numbered, and the one with the typed number is blocked."""
    host = make_host(extra=OPERATOR)
    on_a_terminal(host, ["complaint", str(MAIL), "--block", "--until", "1d"], "Block which?", "1")
    assert host.tor.rejects("91.201.214.77")


def test_on_a_terminal_it_asks_who_gets_the_answer(blocked: ExitHost, tmp_path: Path) -> None:
    """Both addresses are shown with numbers, and the one with the typed number gets the answer."""
    headers = "From: abuse@isp.example\nReply-To: noc@xn--80ak6aa92e.com\nSubject: x"
    shown = on_a_terminal(
        blocked, ["reply", _mail(tmp_path, headers, ATTACK), "--eml"], "Answer to which?", "2"
    )
    assert "1. noc@xn--80ak6aa92e.com (shown as \u0430\u0440\u0440\u04cf\u0435.com)" in shown
    assert "2. abuse@isp.example" in shown
    assert "\nTo: abuse@isp.example\n" in shown
