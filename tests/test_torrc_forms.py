"""Each form in which operators write a torrc, through init, block, check, lift and doctor."""

import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exitpolicy.policy.options import ExitOptions
from exitpolicy.policy.rule import Rule, parse_entries, parse_rule
from exitpolicy.tor import fragment_include, torrc_includes, verify
from exitpolicy.tor.invocation import Invocation
from tests.harness.host import ExitHost, HostMaker
from tests.harness.tor import TOR, Tor, wait_until

EXIT = b"ExitRelay 1\n"
ADDRESS, OTHER = "203.0.113.7", "203.0.113.8"
BLOCK = f"{ADDRESS}:80"


@dataclass(frozen=True)
class Form:
    """What is added to a torrc; @ stands for the folder of the host."""

    text: bytes
    files: dict[str, bytes] = field(default_factory=dict)
    """Other files, by their names in the folder of the host."""

    def write(self, host: ExitHost) -> None:
        """Append the text to the torrc of a host, and write the other files."""
        folder = str(host.folder).encode()
        for name, content in self.files.items():
            path = host.folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content.replace(b"@", folder))
        # Not text mode, which would write other line ends.
        path = host.tor.torrc
        path.write_bytes(path.read_bytes() + self.text.replace(b"@", folder))


MORE = {"more": b"ExitPolicy reject *:25\nExitPolicy accept *:*\n"}
FORMS = {
    "lower case": Form(b"exitrelay 1\nexitpolicy reject *:25\nexitpolicy accept *:*\n"),
    "mixed case": Form(b"EXITRELAY 1\nExitpolicy reject *:25\nExitpolicy accept *:*\n"),
    "comma list": Form(EXIT + b"ExitPolicy reject *:25,reject *:119 , accept *:*\n"),
    "comments": Form(
        b"ExitRelay 1 # yes\nExitPolicy reject *:25#mail\nExitPolicy accept *:* # x\n"
    ),
    "continuation": Form(EXIT + b"ExitPolicy reject *:25, \\\n# mail \\\n  accept *:*\n"),
    "include on two lines": Form(EXIT + b"%include \\\n@/more\n", MORE),
    "pattern": Form(EXIT + b"%include @/d/*.conf\n", {"d/1.conf": MORE["more"], "d/x": b"Bad 1"}),
    "folder": Form(EXIT + b"%include @/d\n", {"d/1": MORE["more"], "d/.hidden": b"Bad 1"}),
    "nested": Form(EXIT + b"%include @/a\n", {"a": b"%include @/more\n", **MORE}),
    "added lines": Form(EXIT + b"+ExitPolicy reject *:25\n+ExitPolicy accept *:*\n"),
    "removed lines": Form(EXIT + b"ExitPolicy reject *:*\n/ExitPolicy\nExitPolicy accept *:80\n"),
    "removed at the end": Form(EXIT + b"ExitPolicy reject *:*\n/ExitPolicy\n"),
    "removed by an include": Form(
        EXIT + b"ExitPolicy reject *:*\n%include @/a\nExitPolicy accept *:*\n",
        {"a": b"/exitpolicy\n"},
    ),
    "quoted": Form(EXIT + b'ExitPolicy "reject *:25, accept *:*" # both\n'),
    "tabs": Form(b"ExitRelay\t1\n\tExitPolicy\treject\t*:25\nExitPolicy\t accept  *:*\t\n"),
    "quoted tab": Form(EXIT + b'ExitPolicy "reject\\t*:25,\\taccept *:*"\n'),
    "reduced": Form(b"ReducedExitPolicy 1\n"),
    "without ports": Form(EXIT + b"ExitPolicy reject 203.0.113.200\nExitPolicy accept *\n"),
    "netmask": Form(EXIT + b"ExitPolicy reject 203.0.113.128/255.255.255.128:80-90\n"),
    "private": Form(EXIT + b"ExitPolicy reject private:*\nExitPolicy accept *:*\n"),
    "IPv4 alone": Form(EXIT + b"ExitPolicy accept *4:80\nExitPolicy reject *:*\n"),
    "IPv6": Form(EXIT + b"IPv6Exit 1\nExitPolicy accept *:*\n"),
    "accept6": Form(EXIT + b"IPv6Exit 1\nExitPolicy accept6 *6:443\nExitPolicy reject6 *:*\n"),
    "offline key": Form(EXIT + b"OfflineMasterKey 0\nAccountingMax 4 TBytes\n"),
    "several addresses": Form(EXIT + b"ORPort 127.0.0.2:auto\nORPort [::1]:auto\nAddress ::1\n"),
    "CRLF": Form(b"ExitRelay 1\r\nExitPolicy reject *:25, \\\r\n accept *:*\r\n"),
    "stray carriage return": Form(EXIT + b"ExitPol\ricy accept *:80\nExitPolicy reject *:*\n"),
    "no line end": Form(EXIT + b"ExitPolicy reject *:25\nExitPolicy accept *:*"),
    "long line": Form(EXIT + b"#" + b"x" * 300_000 + b"\nExitPolicy accept *:*\n"),
    "Latin-1": Form(EXIT + b"# Stra\xdfe\nExitPolicy accept *:*\n"),
    "UTF-8": Form(EXIT + "ContactInfo Jürgen\n".encode() + b"ExitPolicy accept *:*\n"),
    "rules below all": Form(
        EXIT + b"ExitPolicy accept *:* # all\nExitPolicy reject private:*\nIPv6Exit 1\n"
        b"ExitPolicy accept6 *:*\nExitPolicy reject6 [FC00::]/7:*\n"
    ),
    "IPv4 in a rule for IPv6": Form(
        EXIT + b"ExitPolicy reject6 198.51.100.1:*\nExitPolicy accept *:*\n"
    ),
    "IPv6 in a rule for both": Form(
        EXIT + b"IPv6Exit 1\nExitPolicy reject [FD00::]/8:*, reject6 private:*, accept *:*\n"
    ),
    "ports of one service": Form(EXIT + b"ExitPolicy accept *:20-80, accept *:443,reject *:*\n"),
    "local interfaces": Form(EXIT + b"ExitPolicyRejectLocalInterfaces 1\nReducedExitPolicy 1\n"),
    "folder with a slash": Form(EXIT + b'%include "@/d/" # more\n', {"d/1.conf": MORE["more"]}),
    "pattern without a match": Form(EXIT + b"%include @/d/*.conf\nExitPolicy accept *:*\n"),
}


@pytest.mark.parametrize(
    "name",
    # Every third one is quick to run beside all other tests; the proof runs them all.
    [
        pytest.param(name, marks=() if index % 3 == 0 else pytest.mark.slow)
        for index, name in enumerate(FORMS)
    ],
)
def test_a_block_comes_and_goes(make_host: HostMaker, name: str) -> None:
    """The block is live, and after its lift torrc and policy are what they were."""
    host = make_host((), start=False, init=False)
    FORMS[name].write(host)
    host.tor.start()
    policy = host.tor.policy()
    assert not host.tor.rejects(ADDRESS)
    assert host.run("init").code == 0
    written = host.tor.torrc.read_bytes()
    blocked = host.run("block", BLOCK, "--until", "1h")
    assert blocked.code == 0, blocked
    assert " live " in blocked.out
    assert host.tor.rejects(ADDRESS)
    assert not host.tor.rejects(OTHER)
    checked = host.run("check", BLOCK)
    assert (checked.code, checked.out.split()[1]) == (0, "rejected")
    doctor = host.run("doctor").out
    assert "ok    default: order" in doctor
    assert "ok    default: include" in doctor
    assert host.run("lift", BLOCK).code == 0
    assert host.tor.torrc.read_bytes() == written
    assert host.tor.policy() == policy


def test_a_torrc_behind_a_link_stays_a_link(make_host: HostMaker) -> None:
    """The file that it leads to is changed, and a read-only one keeps its mode."""
    host = make_host(start=False, init=False)
    real = host.folder / "real"
    host.tor.torrc.rename(real)
    host.tor.torrc.symlink_to(real)
    real.chmod(0o444)
    host.tor.start()
    assert host.run("init").code == 0
    assert host.tor.torrc.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o444
    assert host.run("block", BLOCK, "--until", "1h").code == 0
    assert host.tor.rejects(ADDRESS)


REFUSED = {
    "byte order mark": (b"\xef\xbb\xbfExitRelay 1\n", 5, "Tor refuses"),
    "Latin-1 in an option": (EXIT + b"ContactInfo J\xfcrgen\n", 5, "must be UTF-8"),
    "a list of ports": (EXIT + b"ExitPolicy accept *:80,443\n", 5, "Malformed policy '443'"),
    "a capital letter": (EXIT + b"ExitPolicy Accept *:80\n", 5, "Malformed policy 'Accept *:80'"),
    "NUL": (EXIT + b"ContactInfo a\0b\nExitPolicy accept *:*\n", 8, "a NUL byte"),
    "bridge": (b"BridgeRelay 1\nDirCache 1\n", 4, "is a bridge"),
    "bridge with a policy": (
        b"BridgeRelay 1\nDirCache 1\nExitRelay 1\nExitPolicy accept *:*\n", 4, "is a bridge",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", list(REFUSED))
def test_what_cannot_work_is_refused(make_host: HostMaker, name: str) -> None:
    """`init` says why, and changes nothing."""
    text, code, why = REFUSED[name]
    host = make_host((), start=False, init=False)
    Form(text).write(host)
    before = host.tor.torrc.read_bytes()
    refused = host.run("init")
    assert (refused.code, why in refused.err) == (code, True), refused
    assert host.tor.torrc.read_bytes() == before
    assert not host.ledger.exists()


def test_removed_rules_are_no_block(make_host: HostMaker) -> None:
    """A line /ExitPolicy below the include is named by block and doctor, with what helps."""
    host = make_host(["ExitRelay 1"])
    host.tor.add("/ExitPolicy", "ExitPolicy accept *:*")
    number = len(host.tor.torrc.read_text().splitlines()) - 1
    host.tor.reload()
    refused = host.run("block", BLOCK, "--until", "1h")
    assert refused.code == 8
    for said in (refused.err, host.run("doctor").out):
        assert f"{host.tor.torrc}:{number}: /ExitPolicy" in said
        assert f"move the line %include {host.fragment} below it" in said
    text = host.tor.torrc.read_text()
    include = f"%include {host.fragment}\n"
    text = text.replace(include, "").replace("/ExitPolicy\n", f"/ExitPolicy\n{include}")
    host.tor.torrc.write_text(text)
    assert host.run("block", BLOCK, "--until", "1h").code == 0
    assert host.tor.rejects(ADDRESS)


class Commanded(Tor):
    """A Tor with more options on its command line."""

    options: tuple[str, ...] = ()

    @property
    def command(self) -> list[str]:
        """The command line."""
        return [*super().command, *self.options]


@pytest.mark.parametrize(
    "options",
    [("--ExitPolicy", "accept *:80"), ("exitpolicy", "accept *:80"), ("/ExitPolicy",)],
    ids=["dashes", "lower case", "removed"],
)
def test_the_command_line_wins(make_host: HostMaker, options: tuple[str, ...]) -> None:
    """A policy on Tor's command line replaces all rules: block refuses, doctor says why."""
    host = make_host(start=False, init=False)
    commanded = Commanded("default", host.tor.folder, host.tor.torrc_text)
    commanded.options = options
    try:
        commanded.start()
        assert host.run("init").code == 0
        refused = host.run("block", BLOCK, "--until", "1h")
        assert refused.code == 4
        assert f"{options[0]} on its command line" in refused.err
        assert f"{options[0]} on its command line" in host.run("doctor").out
        assert host.run("list", "--json").json["blocks"] == []
    finally:
        commanded.stop()


def test_a_hibernating_relay_says_so(make_host: HostMaker) -> None:
    """Without a policy, `check` and doctor name the reason that Tor knows."""
    host = make_host(start=False, init=False)
    host.tor.add("AccountingStart month 1 00:00", "AccountingMax 1 KBytes")
    host.tor.start(with_policy=False)
    assert host.run("init").code == 0
    checked = host.run("check", BLOCK)
    assert checked.code == 6
    assert "hibernates" in checked.err
    assert "hibernates" in host.run("doctor").out


def test_a_hibernating_relay_is_not_waited_for(make_host: HostMaker) -> None:
    """Tor makes no new policy before it wakes: the block is installed, and the reason is named."""
    host = make_host(start=False, init=False)
    host.tor.add("AccountingStart month 1 00:00", "AccountingMax 100 KBytes")
    host.tor.start()
    assert host.run("init").code == 0

    def sleeps() -> bool:
        with host.tor.control() as control:
            # What a control connection carries counts as well.
            control.info("config/names")
            return control.info("accounting/hibernating") in {"soft", "hard"}

    wait_until(sleeps, what="hibernation")
    began = time.monotonic()
    blocked = host.run("block", BLOCK, "--until", "1h")
    assert time.monotonic() - began < 20
    assert blocked.code == 3, blocked
    assert "pending" in blocked.out
    assert "hibernates until its next accounting period" in blocked.err
    assert f"reject {BLOCK}" in host.fragment.read_text()
    assert host.run("lift", BLOCK).code == 0, "it is accepted as before"


def test_the_command_line_adds(make_host: HostMaker) -> None:
    """A policy that is added on the command line is no obstacle."""
    host = make_host(start=False, init=False)
    commanded = Commanded("default", host.tor.folder, host.tor.torrc_text)
    commanded.options = ("+ExitPolicy", "reject *:81")
    try:
        commanded.start()
        assert host.run("init").code == 0
        assert host.run("block", BLOCK, "--until", "1h").code == 0
        assert commanded.rejects(ADDRESS)
    finally:
        commanded.stop()


_RULES = st.sampled_from(
    (
        "reject *:25", "accept *4:80", "reject6 [2001:db8::]/32:*", "accept6 *6:443", "reject *",
        "reject 198.51.100.0/24:1-1024", "reject 198.51.100.9", "reject private:*", "accept *:*",
    )
)  # fmt: skip
_GAPS = st.sampled_from((" ", "\t", "  \t"))
_ENDS = st.sampled_from(("\n", "\r\n", " \n", "\t# why, or not\n", " \r\n"))


@st.composite
def _lines(draw: st.DrawFn) -> str:
    """Draw a line of a torrc, or several that belong together."""
    keyword = draw(st.sampled_from(("ExitPolicy", "exitpolicy", "EXITPOLICY", "+ExitPolicy")))
    rules = draw(st.lists(_RULES, min_size=1, max_size=3))
    form = draw(st.sampled_from(("list", "quoted", "continued", "clear", "comment", "include")))
    gap, end = draw(_GAPS), draw(_ENDS)
    if form == "list":
        return f"{keyword}{gap}{','.join(rules)}{end}"
    if form == "quoted":
        return f'{keyword}{gap}"{", ".join(rules)}"{end}'
    if form == "continued":
        middle = draw(st.sampled_from((", \\\n", ",\\\r\n\t", ", \\\n# mail \\\n ", ",\\\n")))
        return f"{keyword}{gap}{middle.join(rules)}\n\n"
    if form == "clear":
        return f"/{keyword.strip('+')}{end}"
    if form == "comment":
        return draw(st.sampled_from(("# ExitPolicy reject *:* \\\n", "\n", " \t\r\n", "#\n")))
    # Tor keeps the blanks before a comment in a value of several lines.
    two_lines = st.just("\\\n@/one\n")
    names = st.sampled_from(("@/one", "@/d", "@/d/*.conf", '"@/one"', "@/none*"))
    return f"%include{gap}{draw(two_lines | st.builds(str.__add__, names, _ENDS))}"


class Reader:
    """Lets the tor program read a file, as a Tor that starts with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("torrc", "one", "fragment", "d/1.conf", "d/2"):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).touch()

    def write(self, name: str, text: str) -> Self:
        """Write a file; @ stands for the folder."""
        (self.folder / name).write_bytes(text.replace("@", str(self.folder)).encode())
        return self

    def rules(self) -> list[Rule]:
        """Return the rules of the ExitPolicy lines that Tor reads in the torrc."""
        here = f"%include {self.folder}/torrc\n"
        command = (TOR, "--defaults-torrc", "/dev/null", "--DataDirectory", f"{self.folder}/data")
        invocation = Invocation(command, self.folder)
        found = verify.options(invocation, here, ["ExitPolicy"])
        return [rule for rule in ExitOptions.read(found).exit_policy if isinstance(rule, Rule)]


@pytest.mark.skipif(not TOR, reason="tor is missing")
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.lists(_lines(), max_size=6).map("".join),
    inner=st.lists(_RULES.map("ExitPolicy {}\r\n".format), max_size=2).map("".join),
    clears=st.sampled_from(("", "/ExitPolicy\n")),
)
def test_exitpol_reads_what_tor_reads(tmp_path: Path, text: str, inner: str, clears: str) -> None:
    """The own rules are Tor's, at lines that exist; the include stands above all that count."""
    folder = tmp_path / "reader"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    reader = Reader(folder).write("torrc", text).write("one", clears + inner).write("d/2", inner)
    path, fragment = folder / "torrc", folder / "fragment"
    own = list(fragment_include.own_rules(path, fragment))
    told = reader.rules()
    assert understood(own) == told
    for place, _ in own:
        assert 1 <= place.line <= len(place.file.read_bytes().split(b"\n"))
    path.write_bytes(fragment_include.with_include(path, fragment).encode())
    reader.write("fragment", "ExitPolicy reject 203.0.113.7:80\n")
    above = understood(fragment_include.rules_above(path, fragment))
    assert fragment_include.removed_at(path, fragment) is None
    assert reader.rules() == [*above, *parse_rule("reject 203.0.113.7:80"), *told[len(above) :]]
    if not clears:
        assert above == []


def understood(policy: Iterable[tuple[torrc_includes.Place, str]]) -> list[Rule]:
    """Return the rules of a policy, as exitpol takes them."""
    entries = parse_entries([text for _, text in policy])
    return [entry for entry in entries if isinstance(entry, Rule)]
