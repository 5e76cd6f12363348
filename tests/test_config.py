"""`config`: paths, relays and limits, and the error for each invalid config."""

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exitpolicy.core.destination import parse_destination
from exitpolicy.core.errors import InvalidFileError, UsageError
from exitpolicy.core.guard_rule import Rule
from exitpolicy.core.ports import ALL_PORTS
from exitpolicy.core.repeats import Growth
from exitpolicy.storage import config
from exitpolicy.storage.config import (
    Config,
    FitChoice,
    Operator,
    PidFile,
    Relay,
    Unit,
)
from exitpolicy.storage.hook_config import Hooks
from tests.strategies import destinations

PATH = Path("/etc/exitpol/config.yaml")
FULL = b"""\
ledger: blocks.yaml
fragment: ../tor/exitpol.conf
relays:
- {name: one, torrc: /etc/tor/torrc, control: /run/tor/control, password_file: pw}
- {name: two, torrc: torrc2, control: "127.0.0.1:9051"}
- {name: three, torrc: torrc3, control: "unix:/run/three"}
- {name: four, torrc: torrc4, control: "[::1]:9051"}
protected: [198.51.100.0/24, "[2001:db8::1]:22"]
max_prefix: {ipv4: 24}
operator: {name: A B, contact: abuse@example.org, relay_name: r, address: 192.0.2.1}
shared_fronts: fronts.txt
"""


def parse(text: str) -> Config:
    """Read a config at the default path."""
    return config.parse(PATH, text.encode())


def test_everything_it_says_is_read() -> None:
    """Relative paths are relative to the config file; missing keys have their defaults."""
    read = config.parse(PATH, FULL)
    base = PATH.parent
    single = base / "../tor/exitpol.conf"
    assert read == Config(
        ledger=base / "blocks.yaml",
        fragment=single,
        relays=(
            Relay("one", Path("/etc/tor/torrc"), "/run/tor/control", base / "pw", single),
            Relay("two", base / "torrc2", "127.0.0.1:9051", fragment=single),
            Relay("three", base / "torrc3", "/run/three", fragment=single),
            Relay("four", base / "torrc4", "[::1]:9051", fragment=single),
        ),
        protected=(parse_destination("198.51.100.0/24"), parse_destination("[2001:db8::1]:22")),
        max_prefix={4: 24, 6: 32},
        operator=Operator("A B", "abuse@example.org", "r", "192.0.2.1"),
        shared_fronts=base / "fronts.txt",
        source=PATH,
    )


def test_each_relay_has_a_fragment_in_the_folder() -> None:
    """With `fragments` the relay's name is the file's; without it all relays share one file."""
    relays = "relays:\n- {name: a, torrc: t, control: c}\n- {name: b.2, torrc: u, control: d}\n"
    read = parse(f"fragments: /etc/tor/exitpol\n{relays}")
    assert [str(relay.fragment) for relay in read.relays] == [
        "/etc/tor/exitpol/a.conf",
        "/etc/tor/exitpol/b.2.conf",
    ]
    assert read.fragment_of("found") == Path("/etc/tor/exitpol/found.conf")
    assert {relay.fragment for relay in parse(relays).relays} == {config.SINGLE_FRAGMENT}


def test_the_former_fragment_may_stand_beside_the_folder() -> None:
    """`init` writes both keys while some torrcs still include the single file of before."""
    read = parse("fragments: /etc/tor/exitpol\nfragment: /etc/tor/exitpol.conf\n")
    assert read.former == Path("/etc/tor/exitpol.conf")
    assert read.fragment_of("a") == Path("/etc/tor/exitpol/a.conf")
    assert config.parse(PATH, config.render(read)) == read


def test_a_relay_says_how_it_is_run() -> None:
    """The program, the defaults-torrc and the user are read."""
    read = parse(
        "relays:\n- {name: a, torrc: t, control: c, tor: /opt/tor, defaults_torrc: d, user: tor}\n"
        "- {name: b, torrc: u, control: e}\n"
    )
    one, two = read.relays
    assert (one.tor, one.user) == (Path("/opt/tor"), "tor")
    assert one.defaults_torrc is not None
    assert one.defaults_torrc.name == "d"
    assert (two.tor, two.defaults_torrc, two.user) == (None, None, None)


def test_a_relay_says_how_it_is_reloaded() -> None:
    """The control port, a unit and a pid file are told apart; two relays may have no control."""
    read = parse(
        "relays:\n- {name: a, torrc: a, control: c, reload: control}\n"
        "- {name: b, torrc: b, control: none, reload: 'systemd:tor@b.service'}\n"
        "- {name: c, torrc: c, control: none, reload: pid:run/tor.pid}\n"
        "- {name: d, torrc: d, control: d, reload: systemd:tor@d}\n"
    )
    assert [relay.has_control for relay in read.relays] == [True, False, False, True]
    assert [relay.reload for relay in read.relays] == [
        None, Unit("tor@b.service"), PidFile(PATH.parent / "run/tor.pid"), Unit("tor@d"),
    ]  # fmt: skip


@pytest.mark.parametrize("content", [b"", b"# nothing\n", b"{}\n"])
def test_a_config_may_say_nothing(content: bytes) -> None:
    """An empty config has every default."""
    assert config.parse(PATH, content) == Config(source=PATH)


@pytest.mark.parametrize(
    ("lines", "control"),
    [
        ("ControlSocket /run/tor/x GroupWritable\n", "/run/tor/x"),
        ('ControlPort 9051\ncontrolsocket unix:"/run/tor/x"\n', "/run/tor/x"),
        ("ControlSocket 0\nControlPort 9051\n", "127.0.0.1:9051"),
        ("ControlPort [::1]:9051\n", "[::1]:9051"),
        ("#ControlPort 9051\nControlPort auto\n", "/run/tor/control"),
    ],
)
def test_a_hint_names_the_control_port_of_the_torrc(
    tmp_path: Path, lines: str, control: str
) -> None:
    """Debian's socket only where the torrc opens none at a known place."""
    (tmp_path / "torrc").write_text(f"ORPort 9001\n{lines}")
    with pytest.raises(InvalidFileError) as caught:
        config.parse(tmp_path / "config.yaml", b"relays:\n- {name: a, torrc: torrc}\n")
    assert f'control: "{control}"' in (caught.value.hint or "")


def test_without_a_config_the_defaults_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default config may be missing; one that was asked for may not."""
    monkeypatch.setattr(config, "DEFAULT_PATH", tmp_path / "none")
    assert config.load(None) == Config()
    with pytest.raises(InvalidFileError, match="there is no such config"):
        config.load(tmp_path / "none")
    (tmp_path / "none").write_bytes(FULL)
    assert config.load(None).source == tmp_path / "none"


def test_a_relative_path_of_the_config_counts_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lies beside the config is found however the config was named."""
    monkeypatch.chdir(tmp_path)
    assert config.parse(Path("c.yaml"), b"ledger: b\n").ledger == tmp_path / "b"


RELAY = "relays:\n- {{name: a, torrc: t, control: {0}}}\n"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("- 1\n", ":1: the config must be a mapping", None),
        ("\nlegder: x\n", ":2: unknown key 'legder' in the config", "known are: ledger"),
        ("ledger:\n", ":1: ledger: '' is not a path", None),
        ("ledger: [a]\n", ":1: ledger must be a single value", None),
        ('ledger: "a\\0b"\n', ":1: ledger: 'a\\x00b' is not a path", None),
        ('fragment: "a\\nb"\n', ":1: fragment: 'a\\nb' is not a path", None),
        ("fragment: /etc/tor/*.conf\n", ":1: fragment: /etc/tor/*.conf has characters", "plain"),
        ("fragment: 'a\"b'\n", ":1: fragment: ", "choose a plain name"),
        ("fragment: a#b\n", ":1: fragment: ", "choose a plain name"),
        ("fragments: /etc/tor/*\n", ":1: fragments: /etc/tor/* has characters", "plain"),
        (
            "fragments: f\nrelays:\n- {name: ../x, torrc: t, control: c}\n",
            ":3: name: the relay's name '../x' cannot name a file",
            "letters, digits",
        ),
        (RELAY.format("c, restart: control"), ":2: ", None),
        (RELAY.format("c, reload: restart"), ":2: reload: 'restart' is no way to", "systemd:tor@"),
        (RELAY.format("c, reload: 'systemd:--now'"), ":2: reload: 'systemd:--now' is no", "pid:"),
        (RELAY.format("c, reload: 'pid:'"), ":2: reload: '' is not a path", None),
        (
            "relays:\n- {name: i, torrc: /etc/tor/instances/i/torrc, control: none}\n",
            ":2: a relay without a control port needs reload:",
            'control: "none", reload: "systemd:tor@i.service"}',
        ),
        (RELAY.format("c, user: --root"), ":2: user: '--root' is not a user name", None),
        ("relays:\n", ":1: relays must be a list", None),
        ("relays:\n- a\n", ":2: a relay must be a mapping", None),
        (
            "relays:\n- {name: a, torrc: /etc/tor/instances/i/torrc}\n",
            ":2: a relay without 'control'",
            (
                'write: - {name: "a", torrc: "/etc/tor/instances/i/torrc",'
                ' control: "/run/tor-instances/i/control"}'
            ),
        ),
        (
            "relays:\n- {name: a, control: c}\n",
            ":2: a relay without 'torrc'",
            'write: - {name: "a", torrc: "/etc/tor/torrc", control: "c"}',
        ),
        (
            "relays:\n- {name: '', torrc: /etc/tor/torrc}\n",
            ":2: a relay without 'name'",
            'write: - {name: "default", torrc: "/etc/tor/torrc", control: "/run/tor/control"}',
        ),
        ("relays:\n- {port: 9051}\n", ":2: unknown key 'port' in a relay", "known are: name"),
        (
            "relays:\n- {name: a, torrc: t, control: c}\n- {name: a, torrc: t, control: c}\n",
            ":3: a second relay named 'a'",
            "a name of its own, such as: - {name: ",
        ),
        (
            "relays:\n- {name: a, torrc: /t, control: c}\n- {name: b, torrc: /./t, control: d}\n",
            ":3: the relays 'a' and 'b' have the same torrc, /t",
            'keep one of the two entries: - {name: "a", torrc: "/t", control: ',
        ),
        (
            (
                "relays:\n- {name: a, torrc: /t, control: /run/tor/control}\n"
                "- {name: b, torrc: /etc/tor/instances/b/torrc, control: /run/tor/control}\n"
            ),
            ":3: the relays 'a' and 'b' have the same control port, /run/tor/control",
            (
                "write ControlSocket /run/tor-instances/b/control into /etc/tor/instances/b/torrc,"
                ' restart that Tor, and write: - {name: "b", torrc: "/etc/tor/instances/b/torrc",'
                ' control: "/run/tor-instances/b/control"}'
            ),
        ),
        ("unmanaged: /etc/tor/torrc\n", ":1: unmanaged must be a list", None),
        (RELAY.format("9051:x"), ":2: control: '9051:x' is not a control port", "127.0.0.1:9051"),
        (RELAY.format('":9051"'), ":2: control: ':9051' is not a control port", "127.0.0.1:9051"),
        (RELAY.format('"h:0"'), ":2: control: 'h:0' is not a control port", "127.0.0.1:9051"),
        (RELAY.format('"h:65536"'), ":2: control: 'h:65536' is not a control port", None),
        (RELAY.format('"h:0000019051"'), ":2: control: 'h:0000019051' is not a control port", None),
        (RELAY.format('"h:00000170000"'), ":2: control: ", "127.0.0.1:9051"),
        (RELAY.format('"a\\0b"'), ":2: control: 'a\\x00b' is not a path", None),
        (RELAY.format('"a\\0b:9051"'), ":2: control: 'a\\x00b:9051' is not a path", None),
        ('relays:\n- {name: a, torrc: "a\\0b", control: c}\n', ":2: torrc: 'a\\x00b' is", None),
        (
            'relays:\n- {name: a, torrc: t, control: c, password_file: "a\\0b"}\n',
            ":2: password_file: 'a\\x00b' is not a path",
            None,
        ),
        ("protected: 1.2.3.4\n", ":1: protected must be a list", None),
        (
            "protected:\n- 1.2.3.4\n- x.org\n",
            ":3: protected: 'x.org' is not an address",
            "not names",
        ),
        ("max_prefix: {ipv4: 33}\n", ":1: max_prefix: ipv4 is 0 to 32, not '33'", None),
        ("max_prefix: {ipv6: 129}\n", ":1: max_prefix: ipv6 is 0 to 128, not '129'", None),
        ("max_prefix: {ipv4: -1}\n", ":1: max_prefix: ipv4 is 0 to 32, not '-1'", None),
        ("max_prefix: {ipv4: 00000099}\n", ":1: max_prefix: ipv4 is 0 to 32", None),
        (f"max_prefix: {{ipv4: {'0' * 5000}}}\n", ":1: max_prefix: ipv4 is 0 to 32", None),
        ("max_prefix: {ipv4: ４}\n", ":1: max_prefix: ipv4 is 0 to 32", None),  # noqa: RUF001
        ("priorities: {a: -1}\n", ":1: priorities: a is a number from 0 to 9999", None),
        (
            "hooks: {after-change: [mail root]}\n",
            ":1: hooks: after-change: 'mail root' does not begin with the path of a program",
            "write the full path",
        ),
        ('hooks:\n  after-change: ["/a \'b"]\n', ":2: hooks: after-change: ", None),
        ('hooks: {after-change: ["/a\\nb"]}\n', ":1: hooks: after-change: a command has", None),
        ("hooks: {after-change: [/a, /a]}\n", ":1: hooks: after-change has more than 10", None),
        ("hooks: {after-change: /a}\n", ":1: hooks: after-change must be a list", None),
        ("hooks: {fields: [until]}\n", ":1: hooks: fields: 'until' is not a field", "reason, "),
        ('hooks: {spool: "/a\\nb"}\n', ":1: hooks: spool: ", None),
        ("hooks: {before-change: []}\n", ":1: unknown key 'before-change' in hooks", "after-"),
        ("priorities: [a]\n", ":1: priorities: no list of names", "priorities: {spamhaus"),
        ("repeat: {factor: 0.5}\n", ":1: repeat: factor: '0.5' is no number from 1 to", "write 2"),
        ("repeat: {within: 30}\n", ":1: repeat: within: '30' is not a duration", "write 90d"),
        ("repeat: {times: 3}\n", ":1: unknown key 'times' in repeat", "within, factor, at_most"),
        ("batch: soon\n", ":1: batch: 'soon' is not a duration", "write 90d"),
        ("batch: 25h\n", ":1: batch: '25h' is more than a day", "write 10m, 1h or 0"),
        ("batch: [1]\n", ":1: batch", None),
        ("guard: {connections: 19}\n", ":1: guard: connections: '19' is no number from 20", None),
        ("guard: {per_hour: many}\n", ":1: guard: per_hour: 'many' is no number from 1 to", None),
        ("guard: {time: never}\n", ":1: guard: time: 'never' is not a duration", "write 90d"),
        ("guard: {number: 3}\n", ":1: unknown key 'number' in guard", "connections, growth"),
        ("max_prefix: {ipv5: 4}\n", ":1: unknown key 'ipv5' in max_prefix", "ipv4, ipv6"),
        ("operator:\n  mail: x\n", ":2: unknown key 'mail' in operator", "known are: name"),
        ("operator: {name: [x]}\n", ":1: name must be a single value", None),
    ],
)
def test_what_is_wrong_is_named_with_file_line_and_mend(
    text: str, message: str, hint: str | None
) -> None:
    """A config that means nothing is an error that says where, and what to write."""
    with pytest.raises(InvalidFileError) as caught:
        parse(text)
    assert str(caught.value).startswith(f"{PATH}{message}")
    assert hint is None or hint in (caught.value.hint or "")


_WORDS = "ledger: |fragment: |relays:\n|- |name: a|torrc: |control: |{|}|, |[|]|\n|ipv4: |0|9|:"
_WORDS += '|127.0.0.1|/|unix:|max_prefix: |protected: |operator: |\'\\0\'|"\\0"|  |"\\ud800"'
_words = st.sampled_from(_WORDS.split("|"))


@settings(max_examples=200)
@given(st.binary(max_size=60) | st.lists(_words, max_size=14).map(lambda w: "".join(w).encode()))
def test_any_bytes_are_a_config_or_an_error(content: bytes) -> None:
    """Nothing that can stand in the file ends in another exception."""
    try:
        read = config.parse(PATH, content)
    except InvalidFileError:
        return
    for path in (read.ledger, read.fragment, *(relay.torrc for relay in read.relays)):
        assert not path.is_file() or path.is_absolute()


@given(
    st.lists(st.from_regex(r"[a-z][a-z0-9._-]{0,8}", fullmatch=True), unique=True, max_size=4),
    st.integers(0, 32),
    st.integers(0, 128),
)
def test_what_is_written_is_read_back_as_the_same(names: list[str], four: int, six: int) -> None:
    """Relays and limits of a config are read."""
    lines = [f'- {{name: "{n}", torrc: "/{n}", control: "/run/{n}"}}\n' for n in names]
    text = "relays:" + ("\n" if names else " []\n") + "".join(lines)
    read = parse(f"{text}max_prefix: {{ipv4: {four}, ipv6: {six}}}\n")
    assert read.relays == tuple(Relay(n, Path(f"/{n}"), f"/run/{n}") for n in names)
    assert read.max_prefix == {4: four, 6: six}


paths = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0\n/"), min_size=1, max_size=9
).map(lambda name: Path("/") / f"x{name}")
file_names = st.from_regex(r"[a-z][a-z0-9._-]{0,8}", fullmatch=True)
relays_ = st.builds(
    Relay,
    name=file_names,
    torrc=paths,
    control=paths.map(str) | st.integers(1, 65535).map("[::1]:{}".format),
    password_file=st.none() | paths,
    fragment=st.just(Path()),
    tor=st.none() | paths,
    defaults_torrc=st.none() | paths,
    user=st.none() | file_names,
    reload=st.none() | st.builds(Unit, file_names) | st.builds(PidFile, paths),
)
words = st.from_regex(r"/[ -!#-&(-\[\]-~\u00e4]{0,9}", fullmatch=True)
commands = st.lists(words, unique=True, max_size=2).map(tuple)
spools = paths.filter(lambda path: str(path).isprintable())
lines_ = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)

minutes_ = st.integers(1, 10**6).map(lambda count: timedelta(minutes=count))
rules_ = st.builds(
    Rule,
    st.integers(20, 999),
    st.integers(0, 999),
    st.sampled_from([ALL_PORTS, ((80, 80), (443, 444))]),
    minutes_,
    st.integers(1, 60),
    st.integers(0, 10**7),
)
growths_ = st.builds(Growth, minutes_, st.integers(4, 40).map(lambda n: n / 4), minutes_)


@st.composite
def configs(draw: st.DrawFn) -> Config:
    """Any config that can be read from a file at PATH."""
    folder = draw(st.none() | st.just(Path("/etc/tor/exitpol")))
    made = Config(
        ledger=draw(paths),
        fragments=folder,
        former=None if folder is None else draw(st.none() | st.just(Path("/etc/tor/former.conf"))),
        unmanaged=tuple(draw(st.lists(paths, max_size=2))),
        protected=tuple(draw(st.lists(destinations(), max_size=2))),
        max_prefix={4: draw(st.integers(0, 32)), 6: draw(st.integers(0, 128))},
        operator=draw(st.builds(Operator, lines_, lines_, lines_, lines_)),
        shared_fronts=draw(st.none() | paths),
        priorities=draw(st.dictionaries(lines_, st.integers(0, 9999), max_size=2)),
        guard=draw(st.none() | rules_),
        batch=draw(st.integers(0, 1440).map(lambda count: timedelta(minutes=count))),
        repeat=draw(st.none() | growths_),
        hooks=draw(st.builds(Hooks, commands, st.just(("who", "name")) | st.just(()), spools)),
        fit=draw(st.sampled_from(FitChoice)),
        source=PATH,
    )
    apart = (lambda r: r.name, lambda r: r.torrc, lambda r: r.control)
    found = draw(st.lists(relays_, unique_by=apart, max_size=3))
    return made._replace(relays=tuple(r._replace(fragment=made.fragment_of(r.name)) for r in found))


@given(configs())
@example(Config(ledger=Path('/a"b: #c\\'), source=PATH))
def test_a_rendered_config_is_read_back_as_the_same(written: Config) -> None:
    """Any path reads back equal, whatever characters it has."""
    assert config.parse(PATH, config.render(written)) == written


def test_a_path_that_is_not_text_is_refused() -> None:
    """A name of undecodable bytes is an error before anything is written."""
    with pytest.raises(UsageError, match="is not UTF-8 and cannot be stored in the config"):
        config.render(Config(ledger=Path("/caf\udce9")))
