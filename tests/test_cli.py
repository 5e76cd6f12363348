"""The command line itself, without any Tor: rules for every command."""

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from exitpolicy import __version__
from exitpolicy.cli.app import COMMANDS, run
from exitpolicy.core.errors import ExitCode
from exitpolicy.storage import complaint_record
from exitpolicy.storage.complaint_record import Answer, Entry

LEDGER = (
    "version: 1\nblocks:\n"
    '- {destination: "203.0.113.7", since: "2026-01-01", until: never, reference: "T#1"}\n'
)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Write a config whose one relay is not there."""
    path = tmp_path / "config.yaml"
    path.write_text(
        "ledger: blocks.yaml\nfragment: exitpol.conf\nrelays:\n"
        "- {name: gone, torrc: torrc, control: control}\n"
    )
    (tmp_path / "blocks.yaml").write_text(LEDGER)
    return path


def test_no_arguments_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    """`exitpol` alone says what there is, and ends with the code for usage."""
    assert run([]) == ExitCode.USAGE
    shown = capsys.readouterr().out
    assert all(name in shown for name in COMMANDS)


def test_with_json_an_error_is_an_object_too(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stdout holds one object with the schema, the message, the hint and the code."""
    code = run(["--config", str(config), "lift", "203.0.113.9", "--json"])
    said = json.loads(capsys.readouterr().out)
    assert code == said["error"]["exit_code"] == ExitCode.NO_SUCH_BLOCK
    assert said["schema"] == 1
    assert said["error"]["hint"]


@pytest.mark.parametrize(
    "arguments",
    [["list"], ["history"], ["policy", "list"], ["policy", "show", "web"], ["list", "--all"]],
)
def test_json_of_every_command_that_needs_no_tor_has_the_schema(
    config: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    """One object, `"schema": 1`."""
    assert run(["--config", str(config), *arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["schema"] == 1


def test_list_says_unknown_where_no_tor_listens(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No block is called live if no Tor could be observed."""
    run(["--config", str(config), "list", "--json"])
    (block,) = json.loads(capsys.readouterr().out)["blocks"]
    assert block["state"] == "unknown"
    assert block["until"] is None


def test_a_block_without_an_end_never_expires_soon(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`list --expiring` leaves out what never ends."""
    assert run(["--config", str(config), "list", "--expiring", "9y"]) == 0
    assert capsys.readouterr().out == ""


def test_a_control_character_in_the_ledger_does_nothing_to_a_terminal(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What would move the cursor is written as an escape."""
    config.with_name("blocks.yaml").write_text(LEDGER.replace("T#1", r"\x1b[2J"))
    run(["--config", str(config), "list"])
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "\\x1b[2J" in shown


def test_colours_are_for_terminals_only(config: Path) -> None:
    """In a pipe there is no escape sequence."""
    command = [sys.executable, "-m", "exitpolicy", "--config", str(config), "list"]
    assert b"\x1b" not in subprocess.run(command, capture_output=True, check=True).stdout


@pytest.mark.parametrize("options", [[], ["--json"]])
@pytest.mark.parametrize("bytes_read", [0, 10, 100_000])
def test_a_reader_that_closes_the_pipe_is_no_error(
    config: Path, options: list[str], bytes_read: int
) -> None:
    """`exitpol list | head` ends with 0 and without a message, whenever `head` ends."""
    rows = "".join(
        f'- {{destination: "203.0.113.{n % 256}:{n + 1}", since: "2026-01-01", until: never}}\n'
        for n in range(5000)
    )
    config.with_name("blocks.yaml").write_text(f"version: 1\nblocks:\n{rows}")
    with subprocess.Popen(
        [sys.executable, "-m", "exitpolicy", "--config", str(config), "list", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Unbuffered, Python does not write the rest after a short write, and meets no EPIPE.
        env={k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"},
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert len(process.stdout.read(bytes_read)) == bytes_read
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == ExitCode.DONE


@pytest.mark.parametrize("arguments", [["--help"], ["list", "--help"], ["--version"]])
def test_a_reader_that_is_gone_already_is_no_error(arguments: list[str]) -> None:
    """Typer writes the help by itself, and would end with 1."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "exitpolicy", *arguments]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (ExitCode.DONE, b"")


@pytest.mark.parametrize("arguments", [["list"], ["history"], ["policy", "list"], ["--help"]])
def test_what_does_not_talk_to_tor_loads_little(config: Path, arguments: list[str]) -> None:
    """Loading what talks to Tor and what writes letters would take longer than their work."""
    code = (
        "import sys; from exitpolicy.cli.app import run; "
        f"run(['--config', {str(config)!r}, *{arguments!r}]); "
        "sys.exit('exitpolicy.tor.control' in sys.modules or 'jinja2' in sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode
        == 0
    )


@pytest.mark.parametrize("name", ["EXITPOL_CONFIG"])
def test_the_config_may_be_named_by_the_environment(config: Path, name: str) -> None:
    """EXITPOL_CONFIG does the same as --config."""
    done = subprocess.run(
        [sys.executable, "-m", "exitpolicy", "list", "--json"],
        capture_output=True,
        check=True,
        env={name: str(config), "PATH": "/usr/bin"},
    )
    assert len(json.loads(done.stdout)["blocks"]) == 1


def test_a_config_that_is_not_there_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    """A named config must exist (8); only the default one may be missing."""
    assert run(["--config", "/nowhere/config.yaml", "list"]) == ExitCode.INVALID_FILE
    assert "/nowhere/config.yaml" in capsys.readouterr().err


def test_completion_is_offered_for_bash_zsh_and_fish() -> None:
    """--show-completion prints a script for the shell."""
    for shell in ("bash", "zsh", "fish"):
        done = subprocess.run(
            [Path(sys.executable).with_name("exitpol")],
            capture_output=True,
            text=True,
            check=False,
            env={"_EXITPOL_COMPLETE": f"source_{shell}", "PATH": "/usr/bin"},
        )
        assert "_EXITPOL_COMPLETE" in done.stdout, shell


PROPOSED = (
    "version: 2\nblocks:\n"
    '- {destination: "203.0.113.7:22", since: "2026-01-01", until: never, reference: "KZ#1"}\n'
    '- {destination: "198.51.100.9", since: "2026-01-01", until: never, reference: "$(reboot)"}\n'
    '- {destination: "192.0.2.1", since: "2026-01-01", until: never, reference: "old;reboot", '
    'ended: "2026-02-01T00:00:00Z"}\n'
    '- {destination: "192.0.2.2", since: "2026-01-01", until: never, reference: "KZ#2", '
    'ended: "2026-02-01T00:00:00Z"}\n'
    '- {destination: "192.0.2.3", since: "2026-01-01", until: never, reference: "KZ#3", '
    'ended: "2026-02-01T00:00:00Z", told: "2026-02-02T00:00:00Z"}\n'
)


@pytest.mark.parametrize(
    ("words", "proposed"),
    [
        ("lift ", ["203.0.113.7:22", "198.51.100.9"]),
        ("renew 19", ["198.51.100.9"]),
        ("check 203", ["203.0.113.7:22"]),
        ("lift --reference ", ["KZ#1"]),
        ("list --reference K", ["KZ#1"]),
        ("list --state s", ["shadowed", "scheduled"]),
        ("lift --relay ", ["gone"]),
        ("reply K", ["KZ#1", "KZ#2"]),
        ("reply 192", ["192.0.2.1", "192.0.2.2"]),
        ("reply ", []),
        ("handle --answered ", ["T#1", "0" * 8]),
    ],
)
def test_the_shell_completes_what_the_ledger_has(
    config: Path, words: str, proposed: list[str]
) -> None:
    """References that a shell would run are not proposed, nor ended blocks but for a letter.

    The same holds for the tickets of complaints without an answer.
    """
    config.with_name("blocks.yaml").write_text(PROPOSED)
    now = datetime.now(UTC)
    complaints = (
        Entry("0" * 32, now, "spam", None, ("T#1", "$(reboot)")),
        Entry("1" * 32, now, "spam", None, ("T#2",), Answer.SENT, now),
    )
    record = config.with_name("complaints.json")
    complaint_record.update(record, lambda empty: empty.with_entries(complaints))
    assert completed(config, words) == proposed


@pytest.mark.parametrize("ledger", ["not: a ledger\n", "blocks: [\n", None, "#" * 3_000_000])
def test_completion_says_nothing_where_the_ledger_cannot_be_read(
    config: Path, ledger: str | None
) -> None:
    """A broken, missing or huge ledger is no error at a key press."""
    if ledger is None:
        config.with_name("blocks.yaml").unlink()
    else:
        config.with_name("blocks.yaml").write_text(ledger)
    assert completed(config, "lift ") == []
    assert completed(config, "reply K") == []


def completed(config: Path, words: str) -> list[str]:
    """Return what bash would be told to propose for a command line."""
    line = f"exitpol {words}"
    done = subprocess.run(
        [Path(sys.executable).with_name("exitpol")],
        capture_output=True,
        text=True,
        check=False,
        env={
            "_EXITPOL_COMPLETE": "complete_bash",
            "EXITPOL_CONFIG": str(config),
            "COMP_WORDS": line,
            "COMP_CWORD": str(line.count(" ")),
            "PATH": "/usr/bin",
        },
    )
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.parametrize("arguments", [["--help"], ["policy", "--help"]])
def test_each_command_is_described_in_one_whole_line_of_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    """Typer cuts a longer description and ends it with dots."""
    monkeypatch.setenv("COLUMNS", "80")
    assert run(arguments) == 0
    commands = capsys.readouterr().out.split("Commands:\n")[1].splitlines()
    assert commands
    assert [line for line in commands if line.endswith("...")] == []


@pytest.mark.parametrize(("name", "command"), [("unblock", "lift"), ("ban", "block")])
def test_the_name_of_another_tool_leads_to_the_right_command(
    capsys: pytest.CaptureFixture[str], name: str, command: str
) -> None:
    """`block` is never proposed to whoever wants to unblock."""
    assert run([name, "203.0.113.7"]) == ExitCode.USAGE
    said = capsys.readouterr().err
    assert "Did you mean" not in said
    assert f"hint: exitpol {command} --help" in said


def test_help_shows_what_the_option_shows(capsys: pytest.CaptureFixture[str]) -> None:
    """`help`, `help COMMAND` and `help policy use` work like --help; a wrong name is an error."""
    for words in ([], ["block"], ["policy", "use"], ["help"]):
        assert run(["help", *words]) == run([*words, "--help"]) == 0
        shown = capsys.readouterr().out
        assert shown[: len(shown) // 2] == shown[len(shown) // 2 :] != ""
    assert run(["help", "nonsense"]) == ExitCode.USAGE
    assert "No such command 'nonsense'" in capsys.readouterr().err


def test_the_version_is_shown_without_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    """`exitpol --version` needs no config and no Tor."""
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"exitpol {__version__}\n"


FILTERED = (
    "version: 2\nblocks:\n"
    '- {destination: "203.0.113.1", since: "2026-01-01", until: never, reference: "T#1"}\n'
    '- {destination: "203.0.113.2", since: "2026-01-01", until: never, reference: "T#2", '
    'references: ["T#1"]}\n'
    '- {destination: "203.0.113.3", since: "2026-01-01", until: never, relays: [gone]}\n'
    '- {destination: "203.0.113.4", since: "2026-01-01", until: never, relays: [other]}\n'
    '- {destination: "203.0.113.5", since: "2099-01-01", until: never}\n'
    '- {destination: "203.0.113.6", since: "2025-01-01", until: "2026-01-01T00:00:00Z"}\n'
)


@pytest.mark.parametrize(
    ("options", "listed"),
    [
        ([], "1234"),
        (["--all"], "123456"),
        (["--reference", "T#1"], "12"),
        (["--reference", "T#9"], ""),
        (["--relay", "gone"], "123"),
        (["--state", "unknown"], "123"),
        (["--state", "elsewhere"], "4"),
        (["--state", "live"], ""),
        (["--state", "scheduled"], "5"),
        (["--state", "ended", "--state", "scheduled"], "56"),
        (["--reference", "T#1", "--relay", "gone", "--all"], "12"),
    ],
)
def test_list_shows_the_blocks_that_are_asked_for(
    config: Path, capsys: pytest.CaptureFixture[str], options: list[str], listed: str
) -> None:
    """By reference, also a former one, by relay and by state; all filters have to match."""
    config.with_name("blocks.yaml").write_text(FILTERED)
    assert run(["--config", str(config), "list", *options, "--json"]) == 0
    blocks = json.loads(capsys.readouterr().out)["blocks"]
    assert "".join(block["destination"][-1] for block in blocks) == listed


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        (["--relay", "default"], "this host has no relay 'default'", "its relays are: gone"),
        (["--state", "blocked"], "no block has the state 'blocked'", "live, pending"),
    ],
)
def test_a_filter_that_cannot_match_is_an_error(
    config: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str, hint: str
) -> None:
    """A wrong name of a relay or a state is not the same as no block."""
    assert run(["--config", str(config), "list", *options]) == ExitCode.USAGE
    said = capsys.readouterr().err
    assert message in said
    assert hint in said


def test_a_lifted_block_has_no_time_left(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`list --all` says when it ended, although its date is still to come."""
    ledger = config.with_name("blocks.yaml")
    ledger.write_text(
        'version: 2\nblocks:\n- {destination: "203.0.113.7", since: "2020-01-01", until: never,'
        ' ended: "2020-02-01T00:00:00Z"}\n'
    )
    assert run(["--config", str(config), "list", "--all"]) == ExitCode.DONE
    assert re.search(r"ended  never  ended \d+d( \d+h)? ago", capsys.readouterr().out)


@pytest.mark.parametrize("option", [["--until", "30d"], ["--reason", "why"], ["--yes"], ["--cut"]])
def test_options_of_a_block_need_block(
    config: Path, capsys: pytest.CaptureFixture[str], option: list[str]
) -> None:
    """`complaint --until 30d` alone blocks nothing, and says so (2)."""
    code = run(["--config", str(config), "complaint", "mail.eml", *option])
    said = capsys.readouterr().err
    assert (code, f"{option[0]} is for --block" in said) == (ExitCode.USAGE, True)


@pytest.mark.parametrize(
    "arguments", [["--all"], ["--all", "203.0.113.7"], ["--all", "--yes", "*"]]
)
def test_everything_is_lifted_only_if_that_is_meant(
    config: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    """`lift --all` needs an answer or --yes, and takes nothing else beside it."""
    assert run(["--config", str(config), "lift", *arguments]) == ExitCode.USAGE
    assert "hint:" in capsys.readouterr().err
    assert config.with_name("blocks.yaml").read_text() == LEDGER


def test_without_blocks_there_is_nothing_to_lift(config: Path) -> None:
    """`lift --all` says so, with the code for a missing block."""
    config.with_name("blocks.yaml").write_text("version: 2\nblocks: []\n")
    assert run(["--config", str(config), "lift", "--all", "--yes"]) == ExitCode.NO_SUCH_BLOCK


def test_lift_of_everything_is_not_a_destination(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`lift '*'` proposes nothing that `lift` does not have."""
    assert run(["--config", str(config), "lift", "*"]) == ExitCode.USAGE
    assert "--force" not in capsys.readouterr().err


@pytest.mark.parametrize("option", ["30 days", "1 month", "2027-01-31 18:00Z"])
def test_a_time_of_several_words_needs_no_quotes(
    config: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    """`--until 30 days` means the same as `--until '30 days'`."""
    for words in (option.split(), [option]):
        code = run(["--config", str(config), "renew", "--until", *words, "203.0.113.9"])
        assert code == ExitCode.NO_SUCH_BLOCK, "the time and the destination were understood"
        assert "203.0.113.9" in capsys.readouterr().err
    assert run(["--config", str(config), "list", "--expiring", *option.split()]) == 0


COMPLAINT = Path(__file__).with_name("corpus") / "abuseipdb-style.eml"


def test_a_workstation_writes_the_letter_that_names_no_block(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mail is answered without ledger and relay; what needs them says which is missing."""
    config = tmp_path / "config.yaml"
    config.write_text("ledger: blocks.yaml\nfragments: exitpol\noperator: {name: Ada Rossi}\n")
    assert run(["--config", str(config), "reply", str(COMPLAINT), "--lang", "en"]) == 0
    letter, said = capsys.readouterr()
    assert "Thank you for your report" in letter
    assert "Ada Rossi" in letter
    assert "this host has no ledger" in said
    assert run(["--config", str(config), "reply", "T#1"]) == ExitCode.INVALID_FILE
    assert "only a ledger says what 'T#1' is" in capsys.readouterr().err
    # A broken or unreadable ledger is not the same as none.
    config.with_name("blocks.yaml").write_text("version: 9\n")
    assert run(["--config", str(config), "reply", str(COMPLAINT)]) == ExitCode.INVALID_FILE
    assert list(tmp_path.glob("exitpol*")) == [], "nothing was made"
