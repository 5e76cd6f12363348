"""`output`: text for terminals and programs is harmless, whatever it contains."""

import fcntl
import io
import json
import os
import struct
import subprocess
import sys
import termios
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exitpolicy.cli import output, render
from exitpolicy.core.block import Block
from exitpolicy.core.destination import parse_destination
from exitpolicy.core.errors import RefusedError

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
BLOCK = Block(parse_destination("203.0.113.7:22"), NOW, None, "why\n\x1b[2J", "KZ#1")
Capture = pytest.CaptureFixture[str]


@given(st.text())
def test_printable_text_does_nothing_to_a_terminal(text: str) -> None:
    """No printed character moves the cursor or ends a line; harmless characters are unchanged."""
    shown = output.printable(text)
    assert shown.isprintable()
    assert text != shown or text.isprintable()
    shown.encode()


def test_an_error_is_two_kinds_of_lines_on_stderr(capsys: Capture) -> None:
    """The message and each line of the hint stand on lines of their own, harmless."""
    output.report(RefusedError("no\nway \x1b", hint="do\nthis"))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert (
        captured.err == "exitpol: error: no\\nway \\x1b\nexitpol: hint: do\nexitpol: hint: this\n"
    )


def test_json_is_one_object_with_a_schema(capsys: Capture) -> None:
    """Times are ISO texts in UTC, `never` is null, and other texts are unchanged."""
    output.say_json(blocks=[render.block_json(BLOCK)], error=output.error_json(RefusedError("x")))
    read = json.loads(capsys.readouterr().out)
    assert read["schema"] == 1
    assert read["blocks"] == [
        {
            "destination": "203.0.113.7:22",
            "since": "2026-11-22T10:00:00Z",
            "until": None,
            "reason": BLOCK.reason,
            "reference": "KZ#1",
            "references": [],
            "relays": [],
            "name": "",
            "follow": "",
        }
    ]
    assert read["error"] == {"message": "x", "hint": None, "exit_code": 4, "relays": []}


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
def test_whatever_the_terminal_takes_nothing_is_lost(
    monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    """Characters that the terminal cannot show are escaped; they are no error."""
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding=encoding))
    text = "caf\udce9 \u65e5\u672c \U0001f642"
    output.say_json(words=text)
    sys.stdout.flush()
    assert json.loads(raw.getvalue().decode(encoding))["words"] == text
    raw.truncate(0)
    output.say(text)
    render.say_diff("a\n", f"a\n{text}\n", "torrc")
    output.table(("A",), [(text,)])
    sys.stdout.flush()
    shown = raw.getvalue().decode(encoding)
    assert "\\udce9" in shown
    assert ("\u65e5" if encoding == "utf-8" else "\\u65e5") in shown


def test_a_table_has_columns(capsys: Capture) -> None:
    """Each column is as wide as its widest cell, and no line ends in blanks."""
    output.table(("A", "STATE", "C"), [("1", "live", ""), ("1234", "pending", "x\ny")])
    assert capsys.readouterr().out == ("A     STATE    C\n1     live\n1234  pending  x\\ny\n")


TABLE = (
    "from exitpolicy.cli.output import table; "
    "table(('DESTINATION', 'STATE', 'UNTIL', 'REFERENCE', 'REASON'), "
    "[('198.51.100.0/24:80,443', 'live', '2026-12-22T10:00:00Z', 'KZ-CERT#4711', "
    "'SSH brute force from many addresses'), ('203.0.113.7', 'live', 'never', '', '')], "
    "spare=('UNTIL',))"
)


@pytest.mark.parametrize(
    ("columns", "lines"),
    [
        (
            80,
            [
                "DESTINATION             STATE  REFERENCE     REASON",
                "198.51.100.0/24:80,443  live   KZ-CERT#4711  SSH brute force from many addresses",
                "203.0.113.7             live",
            ],
        ),
        (
            70,
            [
                "DESTINATION             STATE  REFERENCE     REASON",
                "198.51.100.0/24:80,443  live   KZ-CERT#4711  SSH brute force from many",
                "                                             addresses",
                "203.0.113.7             live",
            ],
        ),
        (
            40,
            [
                "DESTINATION             STATE",
                "    REFERENCE  REASON",
                "198.51.100.0/24:80,443  live",
                "    KZ-CERT#4711  SSH brute force from",
                "    many addresses",
                "203.0.113.7             live",
            ],
        ),
        (
            16,
            [
                "DESTINATION",
                "    STATE",
                "    REFERENCE",
                "    REASON",
                "198.51.100.0/24:80,443",
                "    live",
                "    KZ-CERT#4711",
                "    SSH brute",
                "    force from",
                "    many",
                "    addresses",
                "203.0.113.7",
                "    live",
            ],
        ),
    ],
)
def test_a_table_fits_the_terminal_without_a_broken_word(
    monkeypatch: pytest.MonkeyPatch, columns: int, lines: list[str]
) -> None:
    """What can be spared is left out, then reasons are broken between words, then stand below."""
    monkeypatch.setenv("NO_COLOR", "1")
    assert on_terminal(TABLE, columns=columns).splitlines() == lines
    done = subprocess.run([sys.executable, "-c", TABLE], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[0].endswith("UNTIL                 REFERENCE     REASON")


def test_colours_are_for_terminals_only(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """States have colours on a terminal without NO_COLOR; the width does not change."""
    assert str(output.Coloured("live", 6)) == "live  "
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert str(output.Coloured("live", 6)) == "\033[32mlive  \033[0m"
    assert str(output.Coloured("203.0.113.7", 6)) == "203.0.113.7"
    monkeypatch.setenv("NO_COLOR", "1")
    assert str(output.Coloured("live", 6)) == "live  "
    assert capsys.readouterr().out == ""


def test_a_diff_shows_what_changes(capsys: Capture) -> None:
    """Added and removed lines are marked; without a change, a message says so."""
    render.say_diff("a\nb\n", "a\nc\n", "fragment")
    assert capsys.readouterr().out == (
        "--- fragment\n+++ fragment (new)\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n"
    )
    render.say_diff("a\n", "a\n", "fragment")
    assert capsys.readouterr() == ("", "exitpol: fragment would not change\n")


def test_a_diff_of_a_file_without_a_last_line_end_stays_on_its_lines(capsys: Capture) -> None:
    """An added line stays separate if the torrc has no final line end."""
    render.say_diff("a", "a\nb\n", "torrc")
    assert capsys.readouterr().out.splitlines()[3:] == [
        "-a", "\\ No newline at end of file", "+a", "+b"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("until", "text"),
    [
        (None, "never ends"),
        (NOW + timedelta(days=30), "until 2026-12-22T10:00:00Z (30d left)"),
        (NOW, "until 2026-11-22T10:00:00Z (ended)"),
    ],
)
def test_an_end_is_said_with_what_is_left(until: datetime | None, text: str) -> None:
    """The text has the end and the remaining time, or `ended`."""
    assert render.until_words(until, NOW) == text


def test_why_is_reference_and_reason() -> None:
    """Reference and reason end a line, with control characters escaped; both may be empty."""
    assert render.why(BLOCK) == "KZ#1  why\\n\\x1b[2J"
    assert render.why(Block(BLOCK.destination, NOW, None)) == ""


def test_on_a_terminal_a_message_is_broken_between_words_but_no_command() -> None:
    """A command or a line for cron is to be copied; with no terminal nothing is broken."""
    program = (
        "from exitpolicy.cli import output\n"
        "output.note('exitpol blocks it; one two three four')\n"
        "output.hint('one two three: exitpol init --torrc /etc/tor/torrc; or else do it')\n"
        "output.hint('to end it: exitpol source remove spamhaus-drop')\n"
        "output.hint('or exitpol lift 203.0.113.7:80,443 --yes, as before')\n"
        "output.hint('or go back: cp -p last_valid.yaml blocks.yaml')\n"
        "output.hint('or: echo \\'\"/a\" r,\\' >> /etc/apparmor.d/local/x; done')\n"
        "output.hint('* * * * * root exitpol expire; one more word')\n"
        "output.say_prose('head  ', text='one two three four five six')\n"
    )
    assert on_terminal(program, columns=26).splitlines() == [
        "exitpol: exitpol blocks",
        "    it; one two three four",
        "exitpol: hint: one two",
        "    three:",
        "    exitpol init --torrc /etc/tor/torrc;",
        "    or else do it",
        "exitpol: hint: to end it:",
        "    exitpol source remove spamhaus-drop",
        "exitpol: hint: or",
        "    exitpol lift 203.0.113.7:80,443 --yes,",
        "    as before",
        "exitpol: hint: or go back:",
        "    cp -p last_valid.yaml blocks.yaml",
        "exitpol: hint: or:",
        "    echo '\"/a\" r,' >> /etc/apparmor.d/local/x;",
        "    done",
        "exitpol: hint:",
        "    * * * * * root exitpol expire; one more word",
        "head  one two three four",
        "      five six",
    ]
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert len(done.stderr.splitlines()) == 7
    assert len(done.stdout.splitlines()) == 1


def test_a_wait_of_more_than_a_second_is_explained_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The line is erased afterwards; a short wait and a pipe have none."""
    monkeypatch.setenv("TERM", "xterm")
    program = (
        "import time; from exitpolicy.cli.output import note, progress\n"
        "with progress('asking Tor'): time.sleep({seconds})\n"
        "note('done')"
    )
    shown = on_terminal(program.format(seconds=1.4), columns=80)
    assert shown == "exitpol: asking Tor ...\r\x1b[Kexitpol: done\r\n"
    assert on_terminal(program.format(seconds=0), columns=80) == "exitpol: done\r\n"
    done = subprocess.run(
        [sys.executable, "-c", program.format(seconds=1.4)],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert done.stderr == "exitpol: done\n"


def on_terminal(program: str, *, columns: int) -> str:
    """Return what a Python program writes to a terminal of that width."""
    controller, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    subprocess.run(
        [sys.executable, "-c", program],
        check=True, stdin=terminal, stdout=terminal, stderr=terminal, timeout=60,
    )  # fmt: skip
    os.close(terminal)
    shown = os.read(controller, 4096).decode()
    os.close(controller)
    return shown
