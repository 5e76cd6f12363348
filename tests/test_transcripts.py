"""Sessions of an operator at a real Tor: commands, output and exit codes, in tests/transcripts.

To rewrite the transcripts after an intended change of output, and then read the difference:

    EXITPOL_REWRITE=1 scripts/test tests/test_transcripts.py; git diff tests/transcripts
"""

import os
import re
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from exitpolicy.core.errors import ExitCode
from tests.harness.dns import DNSMASQ, NameServer
from tests.harness.host import ExitHost, HostMaker
from tests.harness.transcript import Transcript, matches, parse, perform, rewritten

FILES = sorted(Path(__file__).with_name("transcripts").glob("*.txt"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_program_does_what_the_transcript_shows(
    make_host: HostMaker, file: Path, tmp_path: Path
) -> None:
    """Each command of the file gives the output and the exit code that stand below it.

    A relay that asks the DNS server NAME_SERVER asks a real one of the tests.
    """
    transcript = parse(file.read_text())
    with ExitStack() as stack:
        relay = transcript.relay
        if any("NAME_SERVER" in line for line in relay):
            if not DNSMASQ:
                pytest.skip("dnsmasq is missing")
            server = stack.enter_context(NameServer(tmp_path / "dns"))
            relay = tuple(line.replace("NAME_SERVER", str(server.resolv_conf)) for line in relay)
        check(make_host(relay, init=False), file, transcript)


def check(host: ExitHost, file: Path, transcript: Transcript) -> None:
    """Run the commands of a transcript and compare what they show."""
    environment = {
        "EXITPOL_CONFIG": str(host.config),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin",
        "COLUMNS": "100",
        "USER": "root",
    }
    seen = [perform(step.command, host.folder, environment) for step in transcript.steps]
    if os.environ.get("EXITPOL_REWRITE"):
        file.write_text(rewritten(transcript, seen))
        return
    for step, output in zip(transcript.steps, seen, strict=True):
        shown = "\n".join((f"$ {step.command}", *output))
        assert matches(step.expected, output), f"{file.name} expects something else:\n{shown}"


def test_every_exit_code_stands_in_a_transcript() -> None:
    """A reader finds an example of each code that the program can end with."""
    steps = [step for file in FILES for step in parse(file.read_text()).steps]
    last = [step.expected[-1] for step in steps if step.expected]
    shown = {int(code[1]) for line in last if (code := re.fullmatch(r"\[(\d+)\]", line))}
    # A lock is waited for during two minutes: tests/test_lock.py shows that code.
    assert shown >= set(ExitCode) - {ExitCode.DONE, ExitCode.LOCK_TIMEOUT}


@pytest.mark.parametrize(
    ("expected", "seen", "same"),
    [
        (["a"], ["a"], True),
        (["a"], ["a", "b"], False),
        (["a", "b"], ["a"], False),
        (["until [..] (30d left)"], ["until 2026-12-22 (30d left)"], True),
        (["until [..] (30d left)"], ["until 2026-12-22 (29d left)"], False),
        (["[..]"], ["a", "b"], False),
        (["[...]"], [], True),
        (["a", "[...]", "z"], ["a", "b", "c", "z"], True),
        (["a", "[...]", "z"], ["a", "b", "c"], False),
        (["a.c"], ["abc"], False),
        (["[3]"], ["3"], False),
        ([], ["! error"], False),
    ],
)
def test_patterns_match_what_they_say_and_nothing_else(
    expected: list[str], seen: list[str], *, same: bool
) -> None:
    """`[..]` stands for text within a line, `[...]` for lines; all else is literal."""
    assert matches(expected, seen) is same


def test_a_line_that_belongs_to_no_command_is_an_error() -> None:
    """Expected output that belongs to no command is an error."""
    with pytest.raises(ValueError, match="line 3"):
        parse("$ true\n# comment\nlost output\n")


def test_a_rewritten_transcript_expects_what_was_seen() -> None:
    """Rewriting keeps what matched, with its patterns, and hides what changes from run to run."""
    text = "# head\nrelay: ExitRelay 1\n\n$ one\nuntil [..]\n\n# more\n$ two\nwrong\n"
    seen = [("until noon",), ("at 2026-01-01T00:00:00Z", "! no", "[3]")]
    new = rewritten(parse(text), seen)
    assert new == text.replace("wrong", "at [..]\n! no\n[3]")
    assert all(matches(s.expected, o) for s, o in zip(parse(new).steps, seen, strict=True))


def test_perform_shows_output_errors_and_code_without_the_folder(tmp_path: Path) -> None:
    """Standard error is marked, the code stands last, and blank lines are dots."""
    command = "echo here: $PWD; echo; echo wrong >&2; exit 3"
    assert perform(command, tmp_path, {}) == ("here: DIR", ".", "! wrong", "[3]")
