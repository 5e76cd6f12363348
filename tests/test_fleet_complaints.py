"""Complaints on the machine that keeps a fleet's ledger, and runs none of its relays."""

import re
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path

import pytest

from exitpolicy.cli import block_questions
from exitpolicy.cli.app import run
from exitpolicy.cli.block_questions import Terms
from exitpolicy.cli.questions import Standing
from exitpolicy.complaint import read_complaint
from exitpolicy.complaint.roles import lines
from exitpolicy.core.block import Block, Blocks
from exitpolicy.core.destination import parse_destination
from exitpolicy.core.errors import UsageError
from exitpolicy.core.fleet import Reach
from exitpolicy.operations import complaints
from exitpolicy.operations.host import Host
from exitpolicy.storage import config, ledger_file
from exitpolicy.storage.config import Config
from tests.harness.host import Outcome

FLEET = """\
relays:
- {name: exit1, host: web1, addresses: [198.51.100.7, "2001:db8::7"], nickname: quux1}
- {name: exit2, host: web1, addresses: [198.51.100.7]}
- {name: exit3, host: web2, addresses: [198.51.100.9]}
"""


class Admin:
    """The machine of an admin, in a folder."""

    def __init__(self, folder: Path, fleet: str = FLEET) -> None:
        self.folder = folder
        self.ledger = folder / "blocks.yaml"
        (folder / "fleet.yaml").write_text(fleet)
        (folder / "config.yaml").write_text("ledger: blocks.yaml\nfleet: fleet.yaml\n")

    def run(self, *arguments: str) -> Outcome:
        """Run a command in this process."""
        out, err = StringIO(), StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = run(["--config", str(self.folder / "config.yaml"), *arguments])
        return Outcome(int(code), out.getvalue(), err.getvalue())

    def complain(self, accused: str, victim: str) -> str:
        """Write a complaint, and return its file."""
        mail = self.folder / "report.eml"
        mail.write_text(
            "From: Ada <a@isp.example>\nSubject: [Ticket ABC-4711] attack\n\n"
            f"{accused} attacked our server {victim} port 22, SSH brute force.\n"
        )
        return str(mail)

    @property
    def blocks(self) -> list[Block]:
        """The blocks of the ledger."""
        return list(ledger_file.load(self.ledger).blocks)


@pytest.fixture
def admin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Admin:
    """Return the machine, on which no relay runs, whatever runs where the tests do."""
    monkeypatch.setattr("exitpolicy.operations.host._usual_relays", lambda _: ())
    made = Admin(tmp_path)
    done = made.run("init")
    assert (done.code, "no relay of the fleet runs here" in done.err) == (0, True), done
    return made


@pytest.mark.parametrize(
    ("accused", "relays"),
    [
        ("Your IP 198.51.100.9", ("exit3",)),
        ("Your IP 198.51.100.7", ("exit1", "exit2")),
        ("Your IP 2001:db8::7", ("exit1",)),
        ("Your IPs 198.51.100.9 and 2001:db8::7", ("exit1", "exit3")),
        ("Your IP 192.0.2.200", ()),
    ],
)
def test_a_block_goes_to_the_relays_that_are_accused(
    admin: Admin, accused: str, relays: tuple[str, ...]
) -> None:
    """Each relay with the address; all where none of the fleet is accused."""
    read = config.load(admin.folder / "config.yaml")
    host = Host(read, (), "root", lambda: datetime.now(UTC))
    text = f"{accused} attacked our server 91.201.214.7 port 22, SSH brute force."
    complaint = read_complaint(text.encode(), own=read.fleet.addresses)
    assert complaints.relays_to_block_on(host, complaint, None) == relays


CORPUS = sorted((Path(__file__).parent / "corpus").glob("*.eml"))


@pytest.mark.parametrize("mail", CORPUS[::150], ids=lambda path: path.stem)
def test_a_large_fleet_changes_no_answer(mail: Path) -> None:
    """Thousands of own addresses are searched in another way than a few."""
    content = mail.read_bytes()
    accused = read_complaint(content).sources[:2]
    own = [parse_destination(source) for source in accused if "/" not in source]
    others = [parse_destination(f"100.64.{n // 250}.{n % 250}") for n in range(1000)]
    others += [parse_destination(f"2001:db8:ffff::{n:x}") for n in range(1000)]
    own = own or others[:1]
    assert read_complaint(content, own=[*own, *others]) == read_complaint(content, own=own)


def test_a_late_line_that_names_the_fleet_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the budget of a long mail, only lines with an own address are read, in any form."""
    others = [parse_destination(f"100.64.{n // 250}.{n % 250}") for n in range(1000)]
    own = [*others, parse_destination("198.51.100.9"), parse_destination("2001:db8::7")]
    monkeypatch.setattr(lines, "MAX_CHARACTERS", 500)
    filler = "".join(f"line {n} of our report says nothing at all here\n" for n in range(40))
    for late in ("198.51.100.9:4711 -> 91.201.214.7:22", "[2001:DB8::7]:9 -> 91.201.214.7:22"):
        read = read_complaint(f"{filler}{late} SSH brute force\n".encode(), own=own)
        assert [str(one.destination) for one in read.candidates] == ["91.201.214.7:22"], late
        assert len(read.sources) == 1


def test_the_ledger_says_on_which_relays_a_complaint_blocks(admin: Admin) -> None:
    """The command says it too, and that nothing here enforces it."""
    mail = admin.complain("Your IP 198.51.100.7", "91.201.214.7")
    done = admin.run("complaint", mail, "--block", "91.201.214.7:22", "--until", "30d")
    assert (done.code, "elsewhere" in done.out) == (3, True), done
    assert [block.relays for block in admin.blocks] == [("exit1", "exit2")]
    assert "for the relays that the complaint accuses: exit1, exit2" in done.err
    assert "nothing of it is enforced on this host" in done.err
    assert "the hosts of the relays (web1): ansible-playbook exitpol.exitpol.apply -e" in done.err
    assert f"exitpol_ledger={admin.ledger}" in done.err
    other = admin.complain("Your IP 192.0.2.200", "91.201.214.8")
    done = admin.run("complaint", other, "--block", "91.201.214.8", "--until", "30d")
    assert "accuses no relay of the fleet: the block is for all relays" in done.err
    assert admin.blocks[-1].relays == ()


def test_addresses_of_the_whole_fleet_are_no_destinations(admin: Admin) -> None:
    """The reader knows them as its own, and they cannot be named either."""
    mail = admin.complain("Our exit 198.51.100.9", "91.201.214.7 (seen from 198.51.100.7)")
    read = admin.run("complaint", mail, "--json").json
    assert [one["destination"] for one in read["candidates"]] == ["91.201.214.7:22"]
    assert {one["relay"] for one in read["accused"]} == {"exit1", "exit2", "exit3"}
    refused = admin.run("complaint", mail, "--block", "198.51.100.0/29", "--until", "1d")
    assert refused.code == 4
    assert "198.51.100.7 is an address of the relay exit1 (host web1)" in refused.err
    assert admin.blocks == []


def test_the_config_or_an_option_says_where_blocks_go(admin: Admin) -> None:
    """`default: everywhere` and --everywhere; --accused needs an accused relay."""
    mail = admin.complain("Your IP 198.51.100.9", "91.201.214.7")
    block = ("complaint", mail, "--until", "30d", "--block")
    admin.run(*block, "91.201.214.1", "--everywhere")
    (admin.folder / "fleet.yaml").write_text(f"default: everywhere\n{FLEET}")
    admin.run(*block, "91.201.214.2")
    admin.run(*block, "91.201.214.3", "--accused")
    assert [block.relays for block in admin.blocks] == [(), (), ("exit3",)]
    other = admin.complain("Your IP 192.0.2.200", "91.201.214.7")
    refused = admin.run("complaint", other, "--block", "91.201.214.4", "--until", "1d", "--accused")
    assert (refused.code, "accuses no relay of the fleet" in refused.err) == (2, True)
    alone = admin.run("complaint", mail, "--everywhere")
    assert (alone.code, "--everywhere is for --block" in alone.err) == (2, True)


def test_without_a_fleet_a_block_is_for_all_relays() -> None:
    """As it was before; --accused has no meaning then."""
    host = Host(Config(), (), "root", lambda: datetime.now(UTC))
    read = read_complaint(b"Your IP 198.51.100.9 attacked our server 91.201.214.7")
    assert complaints.relays_to_block_on(host, read, None) == ()
    assert complaints.relays_to_block_on(host, read, Reach.EVERYWHERE) == ()
    with pytest.raises(UsageError, match="--accused needs the relays of the fleet"):
        complaints.relays_to_block_on(host, read, Reach.ACCUSED)


def test_a_lift_on_one_relay_leaves_the_block_to_the_others(admin: Admin) -> None:
    """A pattern becomes the names of the relays that go on, whatever host they are on."""
    admin.run("block", "91.201.214.7", "--until", "1d", "--relay", "exit*")
    admin.run("block", "91.201.214.8", "--until", "1d")
    assert admin.run("lift", "91.201.214.7", "91.201.214.8", "--relay", "web1/*").code == 3
    assert [block.relays for block in admin.blocks] == [("exit3",), ("exit3",)]
    assert admin.run("history").out.splitlines()[0].split()[4] == "RELAYS"
    again = admin.run("lift", "91.201.214.7", "--relay", "exit1")
    assert (again.code, "it is for: exit3" in again.err) == (9, True)
    assert admin.run("lift", "--all", "--yes", "--relay", "exit1").code == 9
    ended = admin.run("lift", "--all", "--yes", "--relay", "exit[3]")
    assert (ended.code, ended.out.count("elsewhere")) == (3, 2), ended
    assert not Blocks.of(admin.blocks).lasting(admin.blocks[0].since)


def test_a_pattern_of_unknown_relays_never_becomes_all(admin: Admin) -> None:
    """A lift on a relay that the block is not for changes nothing."""
    admin.run("block", "91.201.214.7", "--until", "1d", "--relay", "other*", "--no-wait")
    refused = admin.run("lift", "91.201.214.7", "--relay", "exit1")
    assert (refused.code, "it is for: other*" in refused.err) == (9, True), refused
    assert [block.relays for block in admin.blocks] == [("other*",)]


@pytest.mark.parametrize("word", ["\udcff*", "x" * 1001 + "*", ""])
def test_a_word_that_the_ledger_cannot_hold_is_refused(admin: Admin, word: str) -> None:
    """Bytes that are not text would make the ledger invalid."""
    refused = admin.run("block", "91.201.214.7", "--until", "1d", "--relay", word)
    assert refused.code == 2, refused
    assert admin.blocks == []


def test_a_letter_names_the_relay_and_claims_nothing(admin: Admin) -> None:
    """No Tor of this machine says whether the relay enforces the block."""
    mail = admin.complain("Your IP 2001:db8::7", "91.201.214.7")
    admin.run("complaint", mail, "--block", "91.201.214.7:22", "--until", "30d")
    letter = admin.run("reply", mail)
    assert "2001:db8::7 is an exit relay of the Tor network" in letter.out
    assert "takes effect with the next update:\n  91.201.214.7:22 until" in letter.out
    assert letter.out.endswith("Tor exit relay quux1\n")
    assert "blocked" not in letter.out
    assert "what Tor enforces on exit1 (host web1) is known only there" in letter.err
    both = admin.complain("Your IPs 198.51.100.9 and 2001:db8::7", "91.201.214.7")
    letter = admin.run("reply", both)
    assert "  198.51.100.9 (exit3)\n  2001:db8::7 (quux1)\n" in letter.out, letter
    # Not on both of them.
    assert "91.201.214.7:22 until" not in letter.out


def test_what_needs_a_tor_says_so(admin: Admin) -> None:
    """Commands that ask Tor name the way; the others are calm."""
    admin.run("block", "91.201.214.7", "--until", "1d")
    checked = admin.run("check", "91.201.214.7")
    assert (checked.code, "this host only keeps the ledger" in checked.err) == (8, True)
    assert admin.run("apply").code == 0
    assert admin.run("expire").code == 0
    # No tick runs here, and none has to.
    state = admin.folder / "state"
    state.write_text(re.sub(r"(?m)^applied .*$", "applied 1000000000.000", state.read_text()))
    status = admin.run("status", "--check")
    assert (status.code, "1 elsewhere" in status.out) == (0, True), status
    assert admin.run("block", "91.201.214.8", "--until", "1d", "--no-wait").code == 0
    preview = admin.run("block", "91.201.214.9", "--until", "1d", "--dry-run")
    assert (preview.code, "recorded" in preview.err) == (0, False)
    listed = admin.run("list", "--json").json["blocks"]
    assert [block["state"] for block in listed] == ["elsewhere", "elsewhere"]
    found = admin.run("doctor", "--json").json["findings"]
    relays = [each["severity"] for each in found if each["check"] == "relays"]
    assert (relays, {each["check"] for each in found} & {"timer", "tick"}) == (["ok"], set())


def test_handle_asks_about_the_accused_relays(
    admin: Admin, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The question names them; where the complaint accuses others, it is about all relays."""
    host = Host(config.load(admin.folder / "config.yaml"), (), "root", lambda: datetime.now(UTC))
    asked: list[str] = []
    typed = iter(["1", "", "1", "", "1", ""])
    monkeypatch.setattr(block_questions, "ask", lambda *_: next(typed))

    def agrees(text: str, _: Standing) -> bool:
        asked.append(text)
        return True

    monkeypatch.setattr(block_questions, "agrees", agrees)
    standing = Standing("nothing was blocked", "")

    def block(accused: str, victim: str, reach: Reach | None) -> int:
        text = f"Your IP {accused} attacked our server {victim} port 22, SSH brute force."
        complaint = read_complaint(text.encode(), own=host.config.fleet.addresses)
        return block_questions.block(host, complaint, Terms("1d", reach), standing)

    assert block("198.51.100.7", "91.201.214.7", None) == 3
    assert block("198.51.100.9", "91.201.214.8", Reach.EVERYWHERE) == 3
    assert block("192.0.2.200", "91.201.214.9", Reach.ACCUSED) == 3
    assert [text.partition(", until")[0] for text in asked] == [
        "Block 91.201.214.7:22 on exit1, exit2",
        "Block 91.201.214.8:22 on all relays",
        "Block 91.201.214.9:22 on all relays",
    ]
    assert [one.relays for one in admin.blocks] == [("exit1", "exit2"), (), ()]
    assert "nothing of it is enforced on this host" in capsys.readouterr().err
    assert standing.state.startswith("the block of 91.201.214.9:22 is recorded")


def test_a_history_of_many_relays_stays_readable(admin: Admin) -> None:
    """The table names the first ones, and the JSON all."""
    words = [f"exit[{number}]" for number in range(1, 10)]
    chosen = [option for word in words for option in ("--relay", word)]
    admin.run("block", "91.201.214.7", "--until", "1d", "--no-wait", *chosen)
    assert "exit[1], exit[2], exit[3] and 6 more" in admin.run("history").out
    (change,) = admin.run("history", "--json").json["changes"]
    assert change["relays"] == words
