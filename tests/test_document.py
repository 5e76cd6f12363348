"""`document`: the subset of YAML that is accepted, and the line of everything else in errors."""

import time

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from exitpolicy.core.errors import ExitCode, InvalidFileError, UsageError
from exitpolicy.storage import base_policies, yaml_events, yaml_written
from exitpolicy.storage.yaml_document import Document
from exitpolicy.storage.yaml_nodes import Fields, Items, Node, Text


@pytest.fixture(params=["CLoader", "Loader"], autouse=True)
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Read with the parser in C and with the one in Python, which must agree."""
    monkeypatch.setattr(yaml_events, "LOADER", getattr(yaml, request.param))
    return str(request.param)


def plain(node: Node | None) -> object:
    """Return a tree of plain values."""
    if isinstance(node, Fields):
        return {key: plain(value) for key, value in node.values.items()}
    if isinstance(node, Items):
        return [plain(value) for value in node.values]
    return None if node is None else node.value


@pytest.mark.parametrize(
    ("content", "tree"),
    [
        (b"", None),
        (b"# only a comment\n", None),
        (b"---\n...\n", ""),
        (b"a: 1\nb: [x, {c: 'd'}]\n", {"a": "1", "b": ["x", {"c": "d"}]}),
        (b"\xef\xbb\xbfa: 1\r\nb: 2\r\n", {"a": "1", "b": "2"}),
        # Nothing but text: no integers, dates, booleans or nulls.
        (
            b"a: 1:2:3:4:5:6:7:8\nb: 2027-01-31\nc: yes\nd: ~\ne:\nf: 0x10\ng: <<\n",
            {"a": "1:2:3:4:5:6:7:8", "b": "2027-01-31", "c": "yes", "d": "~", "e": "", "f": "0x10"}
            | {"g": "<<"},
        ),
        (b'a: "\\n\\x41\\u263a"\nb: |\n  x\n  y\n', {"a": "\nA\u263a", "b": "x\ny\n"}),
    ],
)
def test_every_scalar_is_text(content: bytes, tree: object) -> None:
    """Mappings, lists and text are read; what a scalar means is for its reader."""
    assert plain(Document("f", content).root) == tree


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        (b"a: 1\nb: [1\n", 3, "broken YAML"),
        (b"a: 1\n\tb: 2\n", 2, "broken YAML"),
        (b"a: 1\nb: 'x\n", 3, "broken YAML"),
        (b"a: 1\nb: 2\n  c: 3\n", 3, "broken YAML"),
        (b"a: \xc3\xa9\nb: \xc3\xa9\0\n", 2, "broken YAML"),
        (b"a: \xc3\xa9\nb: \xc3\xa9\n\x07", 3, "broken YAML"),
        (b"a: 1\nb: caf\xe9\n", 2, "this is not UTF-8 text"),
        (b"\xff\xfea\0:\0 \0001\0", 1, "this is not UTF-8 text"),
        (b"a: 1\nb: \xed\xa0\x80\n", 2, "this is not UTF-8 text"),
        (b'a: 1\nb: "\\ud800"\n', 2, ""),
        (b"a: 1\na: 2\n", 2, "the key 'a' is here twice"),
        (b"a: 1\n---\nb: 2\n", 2, "a second document; one file holds one"),
        (b"a: &x 1\nb: *x\n", 1, "anchors and tags have no meaning here"),
        (b"a: 1\nb: *x\n", 2, "aliases have no meaning here; write the value out"),
        (b"*x\n", 1, "aliases have no meaning here"),
        (b"a: !!int 1\n", 1, "anchors and tags have no meaning here"),
        (b"a: ! 1\n", 1, "anchors and tags have no meaning here"),
        (b"a:\n- !!set {x}\n", 2, "anchors and tags have no meaning here"),
        (b"a:\n- &x [y]\n", 2, "anchors and tags have no meaning here"),
        (b"a: 1\n&x b: 2\n", 2, "a key must be a single word"),
        (b"a: 1\n!!str b: 2\n", 2, "a key must be a single word"),
        (b"a: 1\n? [b]\n: 2\n", 2, "a key must be a single word"),
        (b"a:\n {{b: c}: d}\n", 2, "a key must be a single word"),
        (b"a: 1\nb: " + b"[" * 9 + b"]" * 9 + b"\n", 2, "nested deeper than 8 levels"),
    ],
)
def test_what_is_not_taken_is_named_with_its_line(
    content: bytes, line: int, message: str, loader: str
) -> None:
    """Broken YAML, and YAML outside the subset, is an error with file, line and reason."""
    with pytest.raises(InvalidFileError) as caught:
        Document("blocks.yaml", content)
    assert str(caught.value).startswith(f"blocks.yaml:{line}: {message}"), loader
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code is ExitCode.INVALID_FILE


BOMBS = {
    "deep lists": b"a: " + b"[" * 200_000,
    "deep mappings": b"{a: " * 200_000,
    "deep blocks": b"- " * 5_000 + b"x",
    "deep indents": b"".join(b" " * depth + b"a:\n" for depth in range(500)),
    "aliases": b"a: &a [x,x,x]\n"
    + b"".join(
        b"%c: &%c [%s]\n" % (c, c, b",".join([b"*%c" % (c - 1)] * 9)) for c in range(98, 112)
    ),
    "a long word": b"a: " + b"x" * 2_000_000,
    "a long key": b"x" * 2_000_000 + b": a",
    "a long number": b"a: " + b"9" * 100_000,
    "many keys": b"".join(b"k%d: 1\n" % number for number in range(20_000)),
    "many documents": b"---\n" * 100_000,
    "nothing but blanks": b" " * 500_000 + b"\n" * 500_000,
}


@pytest.mark.parametrize("bomb", list(BOMBS))
def test_no_content_keeps_us_long(bomb: str, loader: str) -> None:
    """Input that attacks a parser gives a value or an error in bounded time."""
    if loader == "Loader" and bomb in (
        "a long word",
        "a long key",
        "nothing but blanks",
        "many keys",
    ):
        pytest.skip("harmless, and slow in the parser that nobody has")
    start = time.monotonic()
    try:
        Document("f", BOMBS[bomb])
    except InvalidFileError as error:
        assert len(str(error)) < 500  # noqa: PT017 - either is right
    assert time.monotonic() - start < 10


_PARTS = [
    b"a: ",
    b"- ",
    b"[",
    b"]",
    b"{",
    b"}",
    b"&x ",
    b"*x",
    b"!!int ",
    b"\n",
    b"  ",
    b"\t",
    b"'",
]
_PARTS += [
    b'"',
    b"\\",
    b"|",
    b">",
    b"#",
    b"---\n",
    b"...\n",
    b"? ",
    b": ",
    b",",
    b"\0",
    b"\xff",
    b"%",
]
_PARTS += [b"\xef\xbb\xbf", b"\r", b"1", b"b", "\u2028".encode(), b"\xed\xb3\xa9"]
_nearly = st.lists(st.sampled_from(_PARTS), max_size=25).map(b"".join)


@settings(max_examples=120)
@given(content=st.binary(max_size=80) | _nearly)
def test_any_bytes_are_a_tree_or_an_error(content: bytes) -> None:
    """No content of a file causes another exception; every value is text that can be encoded."""
    for parser in (yaml.CLoader, yaml.Loader):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(yaml_events, "LOADER", parser)
            try:
                root = Document("f", content).root
            except InvalidFileError:
                continue
            str(plain(root)).encode()


def test_values_have_the_kind_that_their_reader_wants() -> None:
    """A list for a mapping, a mapping for a text and an unknown key are named with their line."""
    doc = Document("f", b"a:\n- 1\nb:\n  c: 2\n")
    top = doc.fields(doc.root or Text("", 0, 0, 0), "the file", ("a", "b"))
    with pytest.raises(InvalidFileError, match=r"^f:2: a must be a mapping: x, y$"):
        doc.fields(top["a"], "a", ("x", "y"))
    with pytest.raises(InvalidFileError, match=r"^f:4: b must be a list$"):
        doc.items(top["b"], "b")
    with pytest.raises(InvalidFileError, match=r"^f:2: a must be a single value$"):
        doc.text(top["a"], "a")
    with pytest.raises(InvalidFileError, match=r"^f:4: unknown key 'c' in b$") as caught:
        doc.fields(top["b"], "b", ("x", "y"))
    assert caught.value.hint == "known are: x, y"


def test_errors_of_a_value_get_its_line_and_keep_their_hint() -> None:
    """An error of a value's reader gets the file and line of the value."""

    def refuse(text: str) -> None:
        raise UsageError(f"{text} is wrong", hint="write 1")

    doc = Document("f", b"\na: 2\n")
    with pytest.raises(InvalidFileError, match=r"^f:2: a: 2 is wrong$") as caught:
        doc.parsed(doc.fields(doc.root or Text("", 0, 0, 0), "f", ("a",))["a"], "a", refuse)
    assert caught.value.hint == "write 1"


_KEYS = st.sampled_from(["a", "bb", "c_1", "null", "y", "1"])
_WORDS = st.sampled_from(
    ["x", "1", "1.5", "null", "~", "-", "...", "/etc/tor", "a.b-c_d", "yes", "x:y", "#", "=", "<<"]
)
_SCALARS = st.one_of(
    _WORDS,
    st.text(st.sampled_from(" !#[]{},:&*'?-ab\\\"\té"), max_size=8).map(lambda text: f'"{text}"'),
)
_MAPPINGS = st.lists(st.tuples(_KEYS, _SCALARS), max_size=3).map(
    lambda pairs: "{" + ", ".join(f"{key}: {value}" for key, value in pairs) + "}"
)
_LISTS = st.lists(_SCALARS, max_size=3).map(lambda items: f"[{', '.join(items)}]")
_LINES = st.one_of(
    st.tuples(_KEYS, st.one_of(_SCALARS, _MAPPINGS, _LISTS)).map(lambda p: f"{p[0]}: {p[1]}"),
    _KEYS.map(lambda key: f"{key}:"),
    st.tuples(st.sampled_from(["", "  "]), st.one_of(_MAPPINGS, _SCALARS)).map(
        lambda p: f"{p[0]}- {p[1]}"
    ),
    st.sampled_from(["", "# comment", "  # comment", "---", "...", "- x", "  a: b", " "]),
    st.text(st.sampled_from("ab:-{}[]\"', #\n\\"), max_size=10),
)


@given(st.lists(_LINES, max_size=6).map("\n".join), st.sampled_from(["", "\n"]))
@settings(max_examples=500, deadline=None)
def test_the_written_form_is_read_as_the_parser_reads_it(text: str, end: str) -> None:
    """What is read without the YAML parser is equal to what it reads, with every place."""
    found = yaml_written.read(text + end)
    if found is not None:
        assert found == yaml_events.read("file", text + end)


def test_what_exitpol_writes_needs_no_yaml_parser() -> None:
    """The files of a host, as exitpol writes them, are in the form that is read without PyYAML."""
    config = (
        '# a comment\n\nledger: "/var/lib/exitpol/blocks.yaml"\nfragments: "/etc/tor/exitpol"\n'
        'relays:\n- {name: "default", torrc: "/etc/tor/torrc", control: "127.0.0.1:9051"}\n'
        '- {name: "b", torrc: "/etc/tor/b", control: "/run/b"}\n'
        'protected: ["203.0.113.0/24", "[2001:db8::]/32"]\nmax_prefix: {ipv4: 16, ipv6: 32}\n'
        'operator: {name: "A. B", contact: "a@example.org"}\n'
    )
    ledgers = ("version: 2\nblocks: []\n", "version: 2\npolicy: web\nblocks:\n# x\n")
    # Each command that asks Tor reads two of them.
    policies = [
        (base_policies.folder() / f"{name}.yaml").read_text() for name in base_policies.names()
    ]
    for text in (config, *ledgers, *policies):
        assert yaml_written.read(text) == yaml_events.read("file", text)
        assert yaml_written.read(text) is not None
