"""What an answer is about: the blocks of ledger and history that a complaint or a person names."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from exitpolicy.complaint import Candidate, Complaint, read_complaint
from exitpolicy.complaint.model import HostName
from exitpolicy.core.block import Block, Blocks
from exitpolicy.core.destination import parse_destination
from exitpolicy.core.errors import InvalidFileError, NoSuchBlockError
from exitpolicy.core.retention import SETTLED_SECONDS, Retention, record_of
from exitpolicy.operations import end_letters
from exitpolicy.operations.host import Host
from exitpolicy.operations.replies import facts
from exitpolicy.operations.reply_subject import subject
from exitpolicy.operations.signing import signer
from exitpolicy.storage import config, history, ledger_file, observed
from exitpolicy.storage.ledger_file import Ledger
from exitpolicy.storage.observed import Observation

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
DAY = timedelta(days=1)


def block(text: str, reference: str = "T#1", **changes: object) -> Block:
    """Return a block from yesterday until tomorrow."""
    made = Block(parse_destination(text), NOW - DAY, NOW + DAY, "", reference)
    return made._replace(**changes)  # type: ignore[arg-type]


MakeHost = Callable[..., Host]


@pytest.fixture
def make(tmp_path: Path) -> MakeHost:
    """Return a function that makes a host without relays, with these blocks in its ledger."""

    def host(*blocks: Block, running: float = 0.0) -> Host:
        (tmp_path / "config.yaml").write_text("ledger: blocks.yaml\nrelays: []\n")
        found = Host(config.load(tmp_path / "config.yaml"), (), "ada", lambda: NOW)
        ledger_file.save(found.config.ledger, Ledger(Blocks.of(blocks)))
        seen = {record_of(each): 0.0 for each in blocks if each.ended}
        retention = Retention(running, seen)
        state = Observation(NOW.timestamp(), None, settled=True, watched={}, retention=retention)
        observed.save(found.state_path, state)
        return found

    return host


def complaint(
    *named: str, hosts: tuple[tuple[str, bool], ...] = (), guess: bool = False
) -> Complaint:
    """Return a complaint with these candidates and host names."""
    candidates = tuple(Candidate(parse_destination(each), (), 1 if guess else 90) for each in named)
    names = tuple(HostName(name, (), is_victim) for name, is_victim in hosts)
    return replace(read_complaint(b""), candidates=candidates, named_hosts=names)


def names(blocks: tuple[Block, ...]) -> list[str]:
    """Return the destinations of blocks as text."""
    return [str(each.destination) for each in blocks]


@pytest.mark.parametrize(
    ("blocked", "named", "is_found"),
    [
        ("203.0.113.7", "203.0.113.7", True),
        ("203.0.113.7:22", "203.0.113.7", True),
        ("203.0.113.7:22", "203.0.113.7:80", True),
        ("203.0.113.0/24", "203.0.113.7:80", True),
        ("203.0.113.7", "203.0.113.8", False),
        ("203.0.113.7", "203.0.113.0/24", False),
        ("203.0.113.0/25", "203.0.113.0/24", False),
        ("2001:db8::7", "2001:db8::7", True),
        ("*:22", "203.0.113.7:22", True),
        ("*:22", "203.0.113.7", False),
        ("*:22", "203.0.113.7:80", False),
    ],
)
def test_a_complaint_names_a_block_by_an_address_in_it(
    make: MakeHost, blocked: str, named: str, is_found: bool
) -> None:
    """What it names is in the block; otherwise it is a target that no block is for."""
    about = subject(make(block(blocked)), complaint(named), [])
    assert names(about.blocks) == [blocked] * is_found
    assert [target.name for target in about.targets] == [named] * (not is_found)


def test_a_target_is_the_likeliest_that_is_known(make: MakeHost) -> None:
    """Guesses count only where nothing is certain, host names only where there is no address."""
    host = make(block("203.0.113.1"), block("203.0.113.2", name="blocked.example"))
    mixed = complaint("203.0.113.1", "203.0.113.9", hosts=(("a.example", True),))
    guess = Candidate(parse_destination("203.0.113.5"), (), 1)
    mixed = replace(mixed, candidates=(*mixed.candidates, guess))
    assert [t.name for t in subject(host, mixed, []).targets] == ["203.0.113.9"]
    guessed = complaint("203.0.113.5", guess=True)
    assert [t.name for t in subject(host, guessed, []).targets] == ["203.0.113.5"]
    hosts = (("a.example", True), ("list.example", False), ("blocked.example", True))
    assert [t.name for t in subject(host, complaint(hosts=hosts), []).targets] == ["a.example"]
    many = complaint(*(f"198.51.100.{n}" for n in range(100)))
    assert len(subject(host, many, []).targets) == 5


def test_a_front_is_known_by_address_and_by_name(make: MakeHost) -> None:
    """No server is asked: a name tells only if it is the provider's own."""
    host = make()
    fronts = complaint("104.16.132.229:443", "104.16.132.229:22")
    assert [t.provider for t in subject(host, fronts, []).targets] == ["cloudflare", None]
    named = complaint(hosts=(("d111.cloudfront.net", True), ("www.victim.example", True)))
    assert [t.provider for t in subject(host, named, []).targets] == ["amazon", None]


@pytest.mark.parametrize(
    ("named", "provider"),
    [
        (("104.16.132.229:443",), "cloudflare"),
        (("104.16.132.229:443", "104.16.132.230:443"), "cloudflare"),
        (("104.16.132.229:443", "151.101.1.1:443"), "cloudflare, fastly"),
        (("104.16.132.229:443", "203.0.113.7"), None),
        ((), None),
    ],
)
def test_a_letter_names_every_provider_of_what_is_shared(
    make: MakeHost, named: tuple[str, ...], provider: str | None
) -> None:
    """None if a target is nobody's shared address: that one can be blocked."""
    host = make()
    about = subject(host, complaint(*named), [])
    assert facts(host, about, signer(host, about), "reporter").provider == provider


def test_an_end_by_the_clock_is_certain_after_an_hour(make: MakeHost) -> None:
    """A lift is certain at once."""
    expired = block("203.0.113.7", until=NOW - DAY / 2, ended=NOW - DAY / 2)
    lifted = block("203.0.113.8", ended=NOW - DAY / 2)
    for running, certain in ((SETTLED_SECONDS - 1, False), (SETTLED_SECONDS, True)):
        host = make(expired, lifted, running=running)
        found = {str(e.destination): e.is_certain for e in subject(host, None, ["T#1"]).ended}
        assert found == {"203.0.113.7": certain, "203.0.113.8": True}
        due = names(end_letters.due(host, host.ledger()))
        assert due == ["203.0.113.7"] * certain + ["203.0.113.8"]


def test_only_ends_with_a_reference_and_without_a_letter_are_due(make: MakeHost) -> None:
    """Nobody waits for a letter about a block without a ticket."""
    host = make(
        block("203.0.113.7", ended=NOW - DAY / 2),
        block("203.0.113.8", "", ended=NOW - DAY / 2),
        block("203.0.113.9", "", references=("T#2",), ended=NOW - DAY / 2),
        block("203.0.113.10", ended=NOW - DAY / 2, told=NOW),
        block("203.0.113.11"),
        block("203.0.113.12", source="list", ended=NOW - DAY / 2),
    )
    assert names(end_letters.due(host, host.ledger())) == ["203.0.113.7", "203.0.113.9"]
    end_letters.record(host, [parse_destination("203.0.113.9"), parse_destination("192.0.2.1")])
    assert names(end_letters.due(host, host.ledger())) == ["203.0.113.7"]
    (told,) = history.read(host.history_path)
    assert (told.action, told.destination, told.who) == ("told", "203.0.113.9", "ada")


def test_the_history_has_what_the_ledger_has_no_more(make: MakeHost) -> None:
    """A block whose record was removed is found, with the letter that was written."""
    host = make(block("203.0.113.9"))
    gone, back, again = (
        block("203.0.113.7", references=("T#2",), name="a.example b.example"),
        block("203.0.113.8"),
        block("203.0.113.9"),
    )
    for action, changed, hours in (
        ("lift", gone, 1), ("told", gone, 2), ("expire", back, 1), ("resume", back, 2),
        ("lift", again, 1),
    ):  # fmt: skip
        time = NOW - DAY + timedelta(hours=hours)
        history.append(host.history_path, action, [changed], time, "ada")  # type: ignore[arg-type]
    with host.history_path.open("a") as file:
        file.write(
            '{"time": "soon", "action": "lift", "destination": "203.0.113.77", "until": "",'
            ' "reason": "", "reference": "T#2", "who": ""}\n'
        )
    about = subject(host, None, ["T#2"])
    (ended,) = about.ended
    assert (str(ended.destination), ended.at, ended.told, ended.is_certain) == (
        "203.0.113.7", NOW - DAY + timedelta(hours=1), NOW - DAY + timedelta(hours=2), True,
    )  # fmt: skip
    assert about.other_references == ("T#1",)
    assert subject(host, None, ["b.example"]).ended == (ended,)
    named = subject(host, complaint(hosts=(("b.example", False),)), [])
    assert (named.ended, named.host_names) == ((ended,), {ended.destination: ("b.example",)})
    with pytest.raises(NoSuchBlockError):
        subject(host, None, ["203.0.113.8"])


def test_a_name_needs_a_ledger_and_a_complaint_does_not(make: MakeHost) -> None:
    """A workstation answers a mail without one."""
    host = make()
    host.config.ledger.unlink()
    assert not subject(host, complaint("203.0.113.7"), []).has_ledger
    with pytest.raises(InvalidFileError, match="only a ledger says what"):
        subject(host, None, ["T#1"])


@pytest.mark.parametrize("name", ["", " ", "-", "T#", "www.\u202eexample.org", "x" * 5000])
def test_what_names_nothing_is_said(make: MakeHost, name: str) -> None:
    """An empty or odd name finds no block by chance."""
    with pytest.raises(NoSuchBlockError):
        subject(make(block("203.0.113.7", "")), None, [name])
