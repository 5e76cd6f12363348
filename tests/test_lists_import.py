"""`import` and `export` on a real Tor exit."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from exitpolicy.core.durations import parse_time
from tests.harness.host import EXITPOL, ExitHost, host_maker

NFT = shutil.which("nft", path=f"{os.environ['PATH']}:/usr/sbin")
UNSHARE = shutil.which("unshare")


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ExitHost]:
    """Give one running exit that all tests share; each uses addresses of its own."""
    with host_maker(tmp_path_factory.mktemp("lists")) as make:
        yield make(("ExitRelay 1", "IPv6Exit 1"), extra="protected: [198.51.100.0/24]\n")


def listed(host: ExitHost, text: str) -> str:
    """Write a list to a file, and return its name."""
    path = host.folder / "list"
    path.write_text(text)
    return str(path)


def ends(host: ExitHost) -> dict[str, datetime | None]:
    """Return the end of each block that lasts."""
    blocks = host.run("list", "--json").json["blocks"]
    return {b["destination"]: parse_time(b["until"] or "") for b in blocks}


def test_a_list_is_live_and_keeps_its_own_ends(observed: ExitHost) -> None:
    """Each entry is enforced; an end of the list counts if it is before --until."""
    text = "duration,scope,value\n2h,ip,203.0.113.1\n90d,range,203.0.113.16/28\n"
    done = observed.run(
        "import", listed(observed, text), "--until", "30d", "--source", "shared", "--json"
    )
    assert (done.code, done.json["list"]["format"]) == (0, "crowdsec"), done
    assert {b["destination"]: b["state"] for b in done.json["blocks"]} == {
        "203.0.113.1": "live",
        "203.0.113.16/28": "live",
    }
    assert observed.tor.rejects("203.0.113.31")
    now = datetime.now(UTC)
    found = ends(observed)
    one, other = found["203.0.113.1"], found["203.0.113.16/28"]
    assert one is not None
    assert other is not None
    assert timedelta(hours=1.9) < one - now < timedelta(hours=2.1)
    assert timedelta(days=29.9) < other - now < timedelta(days=30.1)
    assert 'source: "shared"' in observed.ledger.read_text()


def test_a_bad_line_stops_the_import_unless_it_is_left_out(observed: ExitHost) -> None:
    """Nothing is recorded; with --skip-bad the other lines are imported."""
    name = listed(observed, "203.0.113.50\n010.0.0.1\nexample.com\n")
    before = observed.snapshot()
    done = observed.run("import", name, "--until", "1d")
    assert done.code == 2
    assert "line 2: '010.0.0.1' has leading zeros" in done.err
    assert "line 3: 'example.com' is a host name" in done.err
    assert "2 lines are not understood; nothing was imported" in done.err
    assert observed.snapshot() == before
    said = observed.run("import", name, "--until", "1d", "--json")
    assert [fault["line"] for fault in said.json["list"]["faults"]] == [2, 3]
    done = observed.run("import", name, "--until", "1d", "--skip-bad")
    assert (done.code, done.out.split()[:2]) == (0, ["203.0.113.50", "live"])
    assert "left out: line 2" in done.err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("198.51.100.9", "protected"),
        ("10.0.0.0/8", "wider than a /16"),
        ("104.16.0.1", "is a shared address of"),
        ("*4:25", "0.0.0.0/0:25 is protected"),
    ],
)
def test_what_must_not_be_blocked_refuses_the_list(
    observed: ExitHost, line: str, said: str
) -> None:
    """The list is refused whole, naming the line, and nothing is recorded."""
    before = observed.snapshot()
    text = f"reject 203.0.113.60\nreject {line}\n"
    done = observed.run("import", listed(observed, text), "--until", "1d")
    assert done.code == 4
    assert "line 2: " in done.err
    assert said in done.err
    assert "nothing was imported" in done.err
    assert observed.snapshot() == before


def test_a_list_that_no_relay_can_hold_is_refused_whole(observed: ExitHost) -> None:
    """The refusal names the relay, and how many of the entries would fit."""
    before = observed.snapshot()
    text = "".join(f"5.{i % 250}.{i // 250}.{i * 13 % 250}\n" for i in range(2000))
    done = observed.run("import", listed(observed, text), "--until", "1d")
    assert done.code == 4
    assert "relay 'default'" in done.err
    assert " of the 2,000 would fit" in done.err
    assert observed.snapshot() == before


def test_a_dry_run_shows_the_rules_and_changes_nothing(observed: ExitHost) -> None:
    """The difference of the fragment is shown."""
    before = observed.snapshot()
    name = listed(observed, "203.0.113.70\n203.0.113.71\n")
    done = observed.run("import", name, "--until", "1d", "--dry-run")
    assert done.code == 0
    assert "+ExitPolicy reject 203.0.113.70/31:*" in done.out
    assert observed.snapshot() == before


def test_an_export_and_an_import_give_the_same_ledger(observed: ExitHost, tmp_path: Path) -> None:
    """Blocks with references, ends, ports and sources pass to another host as they are."""
    observed.run(
        "block", "203.0.113.80:22,80", "--until", "20d", "--reason", "a \\ b", "--reference", "T#1"
    )
    text = observed.ledger.read_text()
    for form in ("json", "csv"):
        exported = observed.run("export", "--format", form)
        assert exported.code == 0
        folder = tmp_path / form
        folder.mkdir()
        with host_maker(folder) as make:
            other = make(start=False, init=False)
            other.run("init")
            name = listed(other, exported.out)
            done = other.run("import", name, "--until", "never", "--no-wait")
            assert done.code in {0, 3, 6}, done
            assert sorted(other.ledger.read_text().splitlines()) == sorted(text.splitlines())


@pytest.mark.parametrize("form", ["plain", "torrc", "nftables", "relayor", "crowdsec"])
def test_each_export_is_imported_again(observed: ExitHost, form: str) -> None:
    """A dry run with what was exported changes no rule."""
    exported = observed.run("export", "--format", form)
    assert exported.code == 0
    name = listed(observed, exported.out)
    done = observed.run("import", name, "--until", "never", "--dry-run")
    assert (done.code, "fragment would not change" in done.err) == (0, True), done


@pytest.mark.root
@pytest.mark.skipif(NFT is None or UNSHARE is None, reason="nft or unshare is missing")
def test_nft_loads_the_export(observed: ExitHost, tmp_path: Path) -> None:
    """nft(8) reads the sets, and what it lists again is imported as the same rules."""
    observed.run("block", "203.0.113.90:22,80", "203.0.113.90:80-90", "--until", "1d")
    path = tmp_path / "sets.nft"
    path.write_text(observed.run("export", "--format", "nftables").out)
    script = f"{NFT} -f {path} && {NFT} list ruleset"
    loaded = subprocess.run(
        [str(UNSHARE), "-n", "sh", "-c", script], capture_output=True, text=True, check=False
    )
    if "Operation not permitted" in loaded.stderr:
        pytest.skip("no network namespace here")
    assert loaded.returncode == 0, loaded.stderr
    done = observed.run("import", listed(observed, loaded.stdout), "--until", "never", "--dry-run")
    assert (done.code, "fragment would not change" in done.err) == (0, True), done


def test_a_list_on_stdin_and_endless_input(observed: ExitHost) -> None:
    """`-` reads stdin, and input without an end is refused at a bound."""
    command = [*EXITPOL, "--config", str(observed.config), "import", "-", "--until", "1d"]
    done = subprocess.run(
        [*command, "--dry-run"], input="203.0.113.99\n", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done
    with subprocess.Popen(["/usr/bin/yes", "203.0.113.99"], stdout=subprocess.PIPE) as lines:
        endless = subprocess.run(
            command, stdin=lines.stdout, capture_output=True, text=True, check=False
        )
        lines.kill()
    assert endless.returncode == 2
    assert "longer than 64,000,000 bytes" in endless.stderr


def test_an_unknown_format_is_an_error_for_both_commands(observed: ExitHost) -> None:
    """The formats are named."""
    name = listed(observed, "203.0.113.7\n")
    for command in (["import", name, "--until", "1d"], ["export"]):
        done = observed.run(*command, "--format", "p2p")
        assert done.code == 2
        assert "nftables" in done.err


def test_the_json_of_an_export_is_a_list_that_jq_reads(observed: ExitHost) -> None:
    """`export --format json` is one object with the schema's number."""
    whole = json.loads(observed.run("export", "--format", "json", "--source", "shared").out)
    assert whole["schema"] == 1
    assert {block["source"] for block in whole["blocks"]} == {"shared"}


def test_an_entry_that_ends_before_it_begins_names_its_own_end(observed: ExitHost) -> None:
    """The message has the end that counts: here that of the list, before --until."""
    row = "203.0.113.61,2099-01-01T00:00:00Z,2098-01-01T00:00:00Z"
    name = listed(observed, f"destination,since,until\n{row}\n")
    done = observed.run("import", name, "--until", "never")
    assert done.code == 2
    assert "would end at 2098-01-01T00:00:00Z, and begins at 2099-01-01T00:00:00Z" in done.err


def test_a_long_list_is_refused_before_each_entry_becomes_a_block(observed: ExitHost) -> None:
    """A list of 20,000 scattered addresses is refused with the relay and what would fit."""
    before = observed.snapshot()
    text = "".join(f"5.{i % 250}.{i // 250}.{i * 13 % 250}\n" for i in range(20_000))
    done = observed.run("import", listed(observed, text), "--until", "1d", "--dry-run")
    assert done.code == 4
    assert "relay 'default': with the list, the blocks take 20,0" in done.err
    (fits,) = re.findall(r"about ([0-9]+) of its 20,000 entries would fit", done.err)
    assert 600 < int(fits) < 900
    assert observed.snapshot() == before


def test_a_long_list_that_adjoins_is_imported(observed: ExitHost) -> None:
    """4,096 addresses of one network, in any order, are one rule."""
    text = "".join(f"203.7.{i * 7 % 16}.{i // 16 % 256}\n" for i in range(4096))
    done = observed.run("import", listed(observed, text), "--until", "1d", "--dry-run")
    assert (done.code, "+ExitPolicy reject 203.7.0.0/20:*" in done.out) == (0, True), done


def test_a_pipe_that_the_shell_makes_is_read(observed: ExitHost) -> None:
    """`import <(command)` names a pipe."""
    reading, writing = os.pipe()
    with subprocess.Popen(["/bin/echo", "203.0.113.101"], stdout=writing):
        os.close(writing)
        done = observed.run("import", f"/dev/fd/{reading}", "--until", "1d", "--dry-run")
    os.close(reading)
    assert (done.code, "+ExitPolicy reject 203.0.113.101:*" in done.out) == (0, True), done


@pytest.mark.parametrize(
    ("name", "said"),
    [("/dev/zero", "not a regular file"), ("/etc", "Is a directory"), ("/none", "no such list")],
)
def test_what_is_no_file_is_an_error(observed: ExitHost, name: str, said: str) -> None:
    """A device, a folder and a missing file are errors of usage."""
    done = observed.run("import", name, "--until", "1d")
    assert (done.code, said in done.err) == (2, True)
