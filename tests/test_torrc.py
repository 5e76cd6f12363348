"""`torrc`: includes are read as the tor program reads them."""

import contextlib
import glob
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exitpolicy.core.errors import InvalidFileError, TorRefusesError
from exitpolicy.policy.rule import parse_rule
from exitpolicy.storage import files
from exitpolicy.tor import fragment_include, torrc, torrc_includes, torrc_lines, verify
from exitpolicy.tor.invocation import Invocation
from exitpolicy.tor.torrc_includes import IncludeLimitError
from tests.harness.tor import TOR

pytestmark = pytest.mark.tor

REJECT_ALL = parse_rule("reject *:*")[0]
ACCEPT_ALL = parse_rule("accept *:*")[0]
OURS = "ExitPolicy reject 203.0.113.7:*\n"
CANDIDATE = "ExitPolicy reject 198.51.100.9:*\nExitPolicy reject *:25\n"
NAMES = ("ExitPolicy", "ContactInfo", "Nickname")


class Host:
    """A folder with a torrc, our fragment and whatever else is included."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.torrc = folder / "torrc"
        self.fragment = folder / "exitpol.conf"
        self.write("exitpol.conf", OURS)
        self.write("candidate", CANDIDATE)

    def write(self, name: str, text: str | bytes) -> Path:
        """Write a file below the folder; @ in its text stands for the folder."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True, parents=True)
        raw = text if isinstance(text, bytes) else text.encode()
        path.write_bytes(raw.replace(b"@", os.fsencode(self.folder)))
        return path

    def read(self, text: str) -> dict[str, list[str]] | None:
        """Return what the tor program makes of a torrc; None if it refuses it."""
        data = f"SocksPort 0\nExitRelay 1\nDataDirectory {self.folder}/data\n"
        invocation = Invocation((TOR, "--defaults-torrc", "/dev/null"), self.folder)
        try:
            found = verify.options(invocation, data + text, NAMES)
        except TorRefusesError:
            return None
        return {name: list(values) for name, values in found.items()}

    def original(self) -> str:
        """Return the torrc as it is."""
        return torrc.read_text(self.torrc)

    def redirected(self, candidate: Path | str) -> str:
        """Return the torrc with a candidate."""
        return fragment_include.redirected(self.torrc, self.fragment, candidate, self.folder)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """Return a host of its own."""
    return Host(tmp_path)


LAYOUTS: dict[str, dict[str, str]] = {
    "plain": {"torrc": "Nickname a\n%include @/exitpol.conf\nExitPolicy accept *:80\n"},
    "no line end": {"torrc": "ExitPolicy accept *:1\n%include @/exitpol.conf"},
    "CRLF": {"torrc": "Nickname a\r\n%include @/exitpol.conf\r\nExitPolicy accept *:80\r\n"},
    "indented, with a comment": {"torrc": " \t%include  @/exitpol.conf  # ours\nNickname a\n"},
    "comment without blank": {"torrc": "%include @/exitpol.conf#ours\nNickname a\n"},
    "quoted": {"torrc": '%include "@/exitpol.conf" # ours\nNickname a\n'},
    "quoted with escapes": {"torrc": '%include "@/e\\x78it\\160ol.conf"\nNickname a\n'},
    "relative": {"torrc": "%include exitpol.conf\nNickname a\n"},
    "glob": {
        "torrc": "ExitPolicy accept *:1\n%include @/*.conf\nExitPolicy accept *:2\n",
        "a.conf": "ExitPolicy accept *:3\n",
        "z.conf": "ExitPolicy accept *:4\n",
        ".hidden.conf": "ExitPolicy accept *:5\n",
    },
    "glob with a set": {"torrc": "%include @/[d-f]x?tpol.conf\nNickname a\n"},
    "folder": {
        "torrc": "%include @/d\nExitPolicy accept *:1\n",
        "d/10": "ExitPolicy accept *:2\n",
        "d/20": "%include @/exitpol.conf\n",
        "d/9": "ExitPolicy accept *:4",
        "d/.x": "ExitPolicy accept *:5\n",
        "d/sub/x": "ExitPolicy accept *:6\n",
    },
    "folder and slash": {"torrc": "%include @/d/\n", "d/a": "%include @/exitpol.conf\nNickname a"},
    "glob of folders": {
        "torrc": "%include @/d*\n",
        "d1/x": "ExitPolicy accept *:1\n",
        "d2/x": "ExitPolicy accept *:2\n%include @/exitpol.conf\nExitPolicy accept *:3\n",
        "d2/y": "ExitPolicy accept *:4\n",
    },
    "nested": {
        "torrc": "ExitPolicy accept *:1\n%include @/one\nExitPolicy accept *:2\n",
        "one": "ExitPolicy accept *:3\n%include @/two\nExitPolicy accept *:4",
        "two": "%include @/empty\n%include @/exitpol.conf\nExitPolicy accept *:5\n",
        "empty": "",
    },
    "twice": {"torrc": "%include @/exitpol.conf\nExitPolicy accept *:1\n%include @/exitpol.conf\n"},
    "another include stays": {
        "torrc": "%include @/other\n%include @/exitpol.conf\n",
        "other": "ContactInfo x\nExitPolicy accept *:1",
    },
    "no match of a glob": {"torrc": "%include @/none*\n%include @/exitpol.conf\n"},
    "continued value": {
        "torrc": "ExitPolicy accept *:1, \\\n accept *:2\n%include @/exitpol.conf\nNickname a\n"
    },
    "an include in a value is none": {
        "torrc": "ContactInfo a \\\n%include @/exitpol.conf\n%include @/exitpol.conf\n"
    },
    "backslash in a comment": {
        "torrc": "# a \\\n%include @/exitpol.conf\nContactInfo b # c \\\nNickname a\n"
    },
    "backslash in a comment behind a value": {
        "torrc": "ContactInfo b # c \\\n%include @/exitpol.conf\nNickname a\n"
    },
    "comment in a continued value": {
        "torrc": "ContactInfo a \\\n# b\n%include @/exitpol.conf\n\n%include @/exitpol.conf\n"
    },
    "comments and continuations": {
        "torrc": "ContactInfo a \\\n# b \\\n c # d\n e\n%include @/exitpol.conf\nNickname a\n"
    },
    "backslash and CRLF": {
        "torrc": "ContactInfo a \\\r\n%include b\r\n%include @/exitpol.conf\r\nNickname a\r\n"
    },
    "quoted value with a backslash": {
        "torrc": 'ContactInfo "a \\" # b" # c \\\n%include @/exitpol.conf\nNickname a\n'
    },
    "a value that goes on at the end of a file": {
        "torrc": "%include @/one\nNickname a\n",
        "one": "%include @/exitpol.conf\nContactInfo b \\\n",
    },
    "a comment that goes on at the end of a file": {
        "torrc": "%include @/one\nNickname a\n",
        "one": "%include @/exitpol.conf\nContactInfo b \\\n# c\n",
    },
    "keyword and comment": {"torrc": "%include# x\n%include @/exitpol.conf\nNickname#a\n"},
    "odd blanks": {"torrc": "\v\f%include @/exitpol.conf\v\nNickname a\n"},
    "no-break space": {"torrc": "ContactInfo a\u00a0\n%include @/exitpol.conf\n"},
}


def lay_out(host: Host, layout: str) -> None:
    """Write the files of a layout."""
    for name, text in LAYOUTS[layout].items():
        host.write(name, text)


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_the_candidate_is_read_as_the_fragment_will_be(host: Host, layout: str) -> None:
    """Tor reads the copy exactly as it reads the torrc once the candidate is installed.

    That holds for a candidate that is included and for one that stands there itself.
    """
    lay_out(host, layout)
    copies = [host.redirected(host.folder / "candidate"), host.redirected(CANDIDATE)]
    before = host.read(host.original())
    host.write("exitpol.conf", CANDIDATE)
    after = host.read(host.original())
    assert [host.read(copy) for copy in copies] == [after, after]
    if after is not None:
        assert before != after
        assert "reject 198.51.100.9:*" in after["ExitPolicy"]
        assert fragment_include.include_place(host.torrc, host.fragment, host.folder) is not None


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_the_place_of_the_include_is_one(host: Host, layout: str) -> None:
    """The named line is an include; without it, Tor reads another policy."""
    lay_out(host, layout)
    place = fragment_include.include_place(host.torrc, host.fragment, host.folder)
    assert place is not None
    lines = place.file.read_bytes().split(b"\n")
    assert b"%include" in lines[place.line - 1]
    assert str(place) == f"{place.file}:{place.line}"
    before = host.read(host.original())
    del lines[place.line - 1]
    place.file.write_bytes(b"\n".join(lines))
    assert before is None or host.read(host.original()) != before


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Nickname a\n",
        "# %include @/exitpol.conf\n",
        "%include @/other.conf\n",
        "ContactInfo x \\\n%include @/exitpol.conf\n",
        '%include "@/exitpol.conf\n',
        "%include @/none\n",
        "%include @/a\0b\n",
        "%include @/" + "x" * 300 + "\n",
        "%include @/loop\n",
        "%include\n",
    ],
)
def test_without_an_include_there_is_no_place(host: Host, text: str) -> None:
    """Comments, values and other files are not taken for the include."""
    host.write("other.conf", "Nickname b\n")
    (host.folder / "loop").symlink_to("loop")
    host.write("torrc", text)
    assert fragment_include.include_place(host.torrc, host.fragment, host.folder) is None
    assert host.redirected(CANDIDATE).removesuffix("\n") == host.original().removesuffix("\n")


def test_a_link_to_the_fragment_is_the_fragment(host: Host) -> None:
    """A torrc may include it by another name."""
    (host.folder / "link").symlink_to(host.fragment)
    host.write("torrc", "%include @/link\n")
    assert host.redirected("x\n") == "x\n"


def places(host: Host) -> list[Callable[[], object]]:
    """Return what finds a place in a torrc and in all that it includes."""
    return [
        lambda: fragment_include.include_place(host.torrc, host.fragment, host.folder),
        lambda: host.redirected(""),
        lambda: fragment_include.with_include(host.torrc, host.fragment, host.folder),
        lambda: fragment_include.first_exit_policy(
            host.torrc, host.fragment, REJECT_ALL, host.folder
        ),
    ]


@pytest.mark.parametrize("text", ["%include @/torrc\n" * 2, "%include @/one\n" * 2])
def test_a_file_that_includes_itself_is_an_error_at_once(host: Host, text: str) -> None:
    """More than 30 levels are refused, as Tor does, without trying every path."""
    host.write("torrc", text)
    host.write("one", "%include @/torrc\n%include @/one\n")
    start = time.monotonic()
    for look in places(host):
        with pytest.raises(InvalidFileError, match=r":\d+: an include that is more than 30 levels"):
            look()
    assert time.monotonic() - start < 2
    assert host.read(host.original()) is None


def twice_each(host: Host) -> str:
    """Make 29 files that include the next one twice: 2^29 includes in all."""
    for level in range(1, 29):
        host.write(str(level), f"%include @/{level + 1}\n" * 2)
    host.write("29", "")
    return "%include @/1\n"


def everything(host: Host) -> str:
    """Make a folder of links to itself, and a pattern that searches it a million times."""
    (host.folder / "links").mkdir()
    for number in range(10):
        (host.folder / f"links/{number}").symlink_to(host.folder / "links")
    return "%include @/links/*/*/*/*/*/*/no-such-name-*\n"


def large_again(host: Host) -> str:
    """Include a large file again and again."""
    host.write("large", "# " + "x" * 8_000_000)
    return "%include @/large\n" * 1000


@pytest.mark.parametrize(
    "make", [twice_each, pytest.param(everything, marks=pytest.mark.slow), large_again]
)
def test_a_torrc_that_takes_for_ever_to_read_is_refused(
    host: Host, make: Callable[[Host], str]
) -> None:
    """Tor's user may own it, and must not keep root from the other relays of the host."""
    host.write("torrc", make(host))
    start = time.monotonic()
    looks: list[Callable[[], object]] = [
        *places(host),
        lambda: torrc.includes(host.torrc, host.folder),
        lambda: torrc.values(host.torrc, {"nickname"}, host.folder),
    ]
    for look in looks:
        with pytest.raises(IncludeLimitError, match="more than"):
            look()
    with contextlib.suppress(IncludeLimitError):
        torrc.sources(host.torrc, host.folder)
    assert time.monotonic() - start < 60


@pytest.mark.parametrize(
    "pattern",
    ["/d/*", "/d/x*", "/d/.*", "/*/x?", "/d/[xy]1", "/d/*/", "/d/../d/x*", "/d//x1", "/no/*"],
)
def test_a_pattern_takes_in_what_glob_does(tmp_path: Path, pattern: str) -> None:
    """Hidden names only where the pattern begins with a dot."""
    (tmp_path / "d/sub").mkdir(parents=True)
    for name in ("x1", "x2", "y1", ".x3", "sub/x4"):
        (tmp_path / "d" / name).write_text("Nickname a\n")
    (tmp_path / "torrc").write_text(f"%include {tmp_path}{pattern}\n")
    found = [path for _, path in torrc.includes(tmp_path / "torrc")]
    expected = [
        inner
        for name in sorted(glob.glob(f"{tmp_path}{pattern}"))  # noqa: PTH207
        for inner in (sorted(Path(name).iterdir()) if Path(name).is_dir() else [Path(name)])
        if inner.is_file()
    ]
    assert found == expected


@pytest.mark.parametrize("levels", [torrc_includes.MAX_DEPTH, torrc_includes.MAX_DEPTH + 1])
def test_a_chain_of_includes_is_followed_as_deep_as_tor_does(host: Host, levels: int) -> None:
    """Thirty levels are the most that the tor program follows, and so do we."""
    host.write("torrc", "%include @/1\n")
    for level in range(1, levels - 1):
        host.write(str(level), f"%include @/{level + 1}\n")
    host.write(str(levels - 1), "%include @/exitpol.conf\n%include @/after\n")
    # Not empty: Tor does not open an empty file.
    host.write("exitpol.conf", "# x\n")
    host.write("after", "# x\n")
    if levels > torrc_includes.MAX_DEPTH:
        assert host.read(host.original()) is None
        with pytest.raises(InvalidFileError, match="more than 30 levels"):
            host.redirected(CANDIDATE)
    else:
        assert host.read(host.original()) == {}
        assert host.read(host.redirected(CANDIDATE)) == host.read(CANDIDATE)


@pytest.mark.parametrize(
    ("files", "line"),
    [
        ({"torrc": "Nickname a\nExitPolicy accept *:1\n"}, 2),
        ({"torrc": "Nickname a\n"}, 2),
        ({"torrc": "Nickname a"}, 2),
        ({"torrc": ""}, 2),
        ({"torrc": "exitpolicy accept *:1\nNickname a\n"}, 1),
        ({"torrc": "+ExitPolicy accept *:1\n"}, 1),
        ({"torrc": "# ExitPolicy reject *:*\nNickname a\nExitPolicy accept *:1\n"}, 3),
        ({"torrc": "ContactInfo \\\nExitPolicy\n# x\n\nNickname a\nExitPolicy accept *:1\n"}, 6),
        ({"torrc": "Nickname a\n%include @/one\n", "one": "ExitPolicy accept *:1\n"}, 2),
        ({"torrc": "Nickname a\n%include @/d\n", "d/x": "# \nExitPolicy accept *:1\n"}, 2),
        ({"torrc": "Nickname a\n%include @/one\n", "one": "ContactInfo x\n"}, 3),
        ({"torrc": "ContactInfo b \\\n"}, 3),
        ({"torrc": "ContactInfo b \\\n# c\n"}, 4),
    ],
)
def test_our_include_goes_above_the_first_exit_policy(
    host: Host, files: dict[str, str], line: int
) -> None:
    """Tor then reads the fragment first; the rest of the torrc is unchanged."""
    for name, text in files.items():
        host.write(name, text)
    before = host.read(host.original())
    host.write("torrc", fragment_include.with_include(host.torrc, host.fragment, host.folder))
    assert fragment_include.include_place(
        host.torrc, host.fragment, host.folder
    ) == torrc_includes.Place(host.torrc, line)
    after = host.read(host.original())
    if before is not None:
        assert after is not None
        assert after["ExitPolicy"] == ["reject 203.0.113.7:*", *before.pop("ExitPolicy", [])]
        assert {k: v for k, v in after.items() if k != "ExitPolicy"} == before


def test_bytes_that_are_no_text_stay_as_they_are(host: Host) -> None:
    """A torrc in Latin-1 is copied byte for byte."""
    host.write("torrc", b"ContactInfo Andr\xe9\n%include @/exitpol.conf\n")
    copy = host.redirected(CANDIDATE).encode("utf-8", "surrogateescape")
    assert copy == b"ContactInfo Andr\xe9\n" + CANDIDATE.encode()


@pytest.mark.parametrize(
    ("files", "place"),
    [
        ({"torrc": "Nickname a\nExitPolicy reject *:25, accept  *:*\n"}, "torrc:2"),
        (
            {"torrc": "%include @/one\nExitPolicy accept *:*\n", "one": "ExitPolicy accept *:*"},
            "one:1",
        ),
        ({"torrc": "ExitPolicy reject *:25 # accept *:*\n"}, None),
        ({"torrc": "%include @/none\n"}, None),
    ],
)
def test_a_rule_is_found_where_it_stands(
    host: Host, files: dict[str, str], place: str | None
) -> None:
    """The first line with the rule is named, in whichever file it is."""
    for name, text in files.items():
        host.write(name, text)
    found = fragment_include.first_exit_policy(host.torrc, host.fragment, ACCEPT_ALL, host.folder)
    assert (found and str(found)) == (place and f"{host.folder}/{place}")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "there is no such torrc"),  # noqa: ARG005
        (Path.mkdir, "the torrc is not a regular file"),
        (os.mkfifo, "the torrc is not a regular file"),
        (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
    ],
)
def test_what_is_no_torrc_is_an_error(
    host: Host, make: Callable[[Path], object], message: str
) -> None:
    """A missing torrc, a folder, a FIFO, a link to itself: an error that names it, at once."""
    make(host.torrc)
    with pytest.raises(InvalidFileError, match=message):
        fragment_include.include_place(host.torrc, host.fragment)


_PARTS = (
    '%include |@/exitpol.conf|@/*|@/d|\n|\\\n|\\|#|"| |\r\n|ExitPolicy |accept *:1|ContactInfo '
)
_PARTS += "|x|\t|ExitPolicy accept *:2\n|%include @/exitpol.conf\n|%include @/one\n"
_parts = st.sampled_from(_PARTS.split("|"))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.lists(_parts, max_size=12).map("".join), inner=st.lists(_parts, max_size=4).map("".join)
)
def test_whatever_tor_takes_the_copy_means_the_same(host: Host, text: str, inner: str) -> None:
    """Tor reads the copy like the torrc, for any lines, comments, quotes and continuations."""
    host.write("one", inner.replace("@/*", "@/d").replace("@/one", "@/d"))
    host.write("d/x", "ExitPolicy accept *:9\n")
    host.write("torrc", text.replace("@/*", "@/exitpol*"))
    host.write("exitpol.conf", OURS)
    try:
        copy = host.redirected(CANDIDATE)
    except InvalidFileError:
        return
    host.write("exitpol.conf", CANDIDATE)
    after = host.read(host.original())
    place = fragment_include.include_place(host.torrc, host.fragment, host.folder)
    if after is not None and place is not None:
        assert host.read(copy) == after


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=80))
def test_any_bytes_are_a_torrc(host: Host, content: bytes) -> None:
    """No content raises an unexpected exception, and every byte is kept."""
    host.torrc.write_bytes(content)
    copy = host.redirected("").encode("utf-8", "surrogateescape")
    assert copy.removesuffix(b"\n") == content.removesuffix(b"\n") or b"%include" in content
    if b"\0" in content:
        with pytest.raises(InvalidFileError, match="a NUL byte"):
            fragment_include.with_include(host.torrc, host.fragment, host.folder)
    else:
        host.torrc.write_text(
            fragment_include.with_include(host.torrc, host.fragment, host.folder),
            "utf-8",
            "surrogateescape",
        )
        without = fragment_include.without_include(host.torrc, host.fragment)
        assert without is not None
        assert without.encode("utf-8", "surrogateescape") == content


@pytest.mark.parametrize(
    "text",
    [
        "Nickname a\n",
        "Nickname a",
        "Nickname a\r\nExitPolicy reject *:25\r\n",
        "ExitPolicy reject *:25\nNickname a",
        " \nExitPolicy reject *:25\n",
        "ContactInfo b \\\n",
        "ContactInfo b \\\n\n",
        "ContactInfo b \\",
        "ContactInfo b \\\n# c\n",
        "ContactInfo b \\\n \nNickname a",
        "ExitPolicy reject *:25\n/ExitPolicy\nNickname a\n\n",
    ],
)
def test_a_removed_include_leaves_every_byte_as_it_was(host: Host, text: str) -> None:
    """Also the line end at the end of the file, and a value that goes on there."""
    host.torrc.write_text(text, newline="")
    before = host.read(host.original())
    host.torrc.write_text(fragment_include.with_include(host.torrc, host.fragment), newline="")
    included = host.read(host.original())
    assert included is not None
    assert included["ExitPolicy"][0] == "reject 203.0.113.7:*"
    assert fragment_include.without_include(host.torrc, host.fragment) == text
    assert before is None or before.get("ContactInfo") == included.get("ContactInfo")


@pytest.mark.parametrize(
    "text", ["%include @/*.conf\n", "%include @/other\n", "%include \\\n@/exitpol.conf\n"]
)
def test_an_include_of_another_form_is_the_operators_to_remove(host: Host, text: str) -> None:
    """A pattern, an include in another file, a line that goes on: each may hold more."""
    host.write("torrc", text)
    host.write("other", "%include @/exitpol.conf\n")
    assert fragment_include.include_place(host.torrc, host.fragment) is not None
    assert fragment_include.without_include(host.torrc, host.fragment) is None


def test_sources_name_files_and_the_folders_that_can_get_new_ones(tmp_path: Path) -> None:
    """Literal files, also absent ones; a pattern's folder; an included folder; nested includes."""
    own = tmp_path / "own"
    own.mkdir()
    (own / "a.conf").write_text(f"%include {tmp_path}/deep\n")
    (own / "note").write_text("")
    path = tmp_path / "torrc"
    path.write_text(f"%include {own}/*.conf\n%include {tmp_path}/absent\n%include {own}\n")
    names = {own, own / "a.conf", own / "note", tmp_path / "deep", tmp_path / "absent", path}
    assert set(torrc.sources(path)) == names


@pytest.mark.parametrize(
    "name", ['a"\nExitRelay 1\n#', "a\\", "a\tb", 'a"b', "\udcff\u00e9", "a#b"]
)
def test_the_name_of_an_included_file_is_no_line(tmp_path: Path, name: str) -> None:
    """Whoever may put a file into an included folder chooses its name, not what Tor verifies."""
    folder, fragment = tmp_path / "d", tmp_path / "exitpol.conf"
    folder.mkdir()
    fragment.touch()
    (folder / name).write_text("ContactInfo x\n")
    (folder / "z.conf").write_text(f"%include {fragment}\n")
    path = tmp_path / "torrc"
    path.write_text(f"%include {folder}\n")
    text = fragment_include.redirected(path, fragment, "")
    assert [line.keyword for line in torrc_lines.lines(text) if line.keyword] == ["%include"]
    path.write_text(text, "utf-8", "surrogateescape")
    assert [found for _, found in torrc.includes(path)] == [folder / name]


def test_a_changed_torrc_is_read_again(tmp_path: Path) -> None:
    """A text is kept as long as its file is the same: content, owner, mode and time of change."""
    path = tmp_path / "torrc"
    for text in ("ORPort 1\n", "ORPort 2\n", "ORPort 3\n"):
        # The same size each time, and a time of modification that tells nothing.
        path.write_text(text)
        os.utime(path, ns=(1, 1))
        assert torrc.read_text(path) == text
        assert torrc.read_text(path) == text
    other = tmp_path / "other"
    other.write_text("ORPort 4\n")
    os.utime(other, ns=(1, 1))
    other.replace(path)
    assert torrc.read_text(path) == "ORPort 4\n"
    path.unlink()
    with pytest.raises(InvalidFileError):
        torrc.read_text(path)


def test_an_old_torrc_is_read_from_the_disk_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that has not been changed lately costs one system call; a later change is seen."""
    path = tmp_path / "torrc"
    path.write_text("ORPort 1\n")
    later = time.time_ns() + 10 * 10**9
    monkeypatch.setattr(time, "time_ns", lambda: later)
    assert torrc.read_text(path) == "ORPort 1\n"
    with monkeypatch.context() as patched:
        patched.setattr(files, "read_own", lambda *_, **__: pytest.fail("read again"))
        assert torrc.read_text(path) == "ORPort 1\n"
    time.sleep(0.05)  # the kernel may note both times as the same otherwise
    path.write_text("ORPort 2\n")
    assert torrc.read_text(path) == "ORPort 2\n"
