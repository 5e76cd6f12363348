"""`status --check`, the tick and `doctor` share health checks; each cause here is real."""

import json
import os
import re
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from exitpolicy import tick
from exitpolicy.cli import tick_result
from exitpolicy.doctor import limits, timer
from exitpolicy.doctor.fault import Fault
from exitpolicy.doctor.finding import warn
from exitpolicy.doctor.health import Health
from exitpolicy.operations import timer as timer_units
from exitpolicy.operations.apply import preview
from exitpolicy.operations.host import Host
from exitpolicy.policy.limits import measure
from exitpolicy.policy.options import ExitOptions
from exitpolicy.policy.reconcile import Configured, Running, View
from exitpolicy.policy.rule import parse_entries, parse_policy
from exitpolicy.storage import config, files, health_record, observed
from exitpolicy.storage.config import Relay
from exitpolicy.storage.health_record import HealthRecord
from tests.harness.host import ExitHost, HostMaker
from tests.harness.without_control import start, without_control

OPEN = ("ExitRelay 1", "ExitPolicy accept *:*")


def status(host: ExitHost) -> tuple[int, dict[str, str]]:
    """Return the exit code of `status --check` and, by cause, how to fix each finding."""
    done = host.run("status", "--check", "--json")
    assert bool(done.json["faults"]) == bool(done.code), done
    return done.code, {finding["cause"]: finding["fix"] for finding in done.json["health"]}


def assert_reported(host: ExitHost, cause: str, fix: str) -> None:
    """Check that all three commands report a cause and a fix, and end with 3."""
    code, found = status(host)
    assert code == 3
    assert fix in found[cause]
    for command in ("expire", "doctor"):
        done = host.run(command, "--json")
        assert done.code == 3, command
        (fixes,) = (
            [finding["fix"] for finding in done.json[key] if finding["cause"] == cause]
            for key in ("health", "findings")
            if key in done.json
        )
        assert fixes == [found[cause]], command
    words = host.run("status").err
    assert "warning: default: " in words
    assert fix in words


@pytest.fixture
def exit_(make_host: HostMaker) -> ExitHost:
    """Give an exit that is healthy."""
    host = make_host(OPEN)
    assert status(host) == (0, {})
    return host


def own_lines(count: int) -> Iterable[str]:
    """Return own reject lines that cannot be merged into networks."""
    return (f"ExitPolicy reject 198.{18 + n // 256}.{n % 256}.77:*" for n in range(count))


def test_own_lines_make_the_descriptor_too_long(make_host: HostMaker) -> None:
    """The torrc's own lines are named; blocks are not blamed."""
    host = make_host((OPEN[0], *own_lines(900), OPEN[1]))
    assert_reported(host, "descriptor_too_long", f"remove ExitPolicy lines from {host.tor.torrc}")
    refused = host.run("block", "203.0.113.7", "--until", "1h")
    assert refused.code == 4
    assert "exitpol status names what to remove" in refused.err
    assert "lift some blocks" not in refused.err


def test_a_family_makes_the_descriptor_too_long(exit_: ExitHost) -> None:
    """Blocks no longer fit after MyFamily has grown."""
    lines = [f"11.{n // 250}.{n % 250}.77" for n in range(400)]
    assert exit_.run("block", *lines, "--until", "30d").code == 0
    exit_.tor.add("MyFamily " + ",".join(f"${n:040X}" for n in range(1, 260)))
    exit_.tor.reload()
    assert_after(exit_)
    assert_reported(exit_, "descriptor_too_long", "MyFamily")


def assert_after(host: ExitHost, seconds: float = 10) -> None:
    """Wait until the descriptor holds the family."""
    end = time.monotonic() + seconds
    while b"\nfamily " not in host.tor.descriptor():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_summary_that_rejects_everything_is_reported(make_host: HostMaker) -> None:
    """`p reject 1-65535` with the Exit flag: no client uses the exit."""
    wide = ("ExitPolicy reject 224.0.0.0/4:*", "ExitPolicy reject 240.0.0.0/4:*")
    host = make_host((OPEN[0], *wide, OPEN[1]))
    assert_reported(host, "ports_closed", "reject 224.0.0.0/4:*")
    assert "    ports IPv4     reject 1-65535\n" in host.run("status").out


def test_the_port_summary_is_always_shown(exit_: ExitHost) -> None:
    """It is shown even if nothing is wrong with it."""
    assert "    ports IPv4     accept 1-65535\n" in exit_.run("status").out
    relay = exit_.run("status", "--json").json["relays"][0]
    assert relay["port_summary"] == {"ipv4": "accept 1-65535", "ipv6": "reject 1-65535"}


def test_accept_rules_for_some_addresses_only_are_no_exit(make_host: HostMaker) -> None:
    """The consensus then says that every port is rejected."""
    host = make_host((OPEN[0], "ExitPolicy accept 8.0.0.0/8:443", "ExitPolicy reject *:*"))
    assert_reported(host, "ports_closed", "accept *:443")


def test_an_exit_of_nothing_is_reported(make_host: HostMaker) -> None:
    """`reject *:*` also closes IPv6: the accept6 line below it is never reached."""
    lines = ("IPv6Exit 1", "ExitPolicy reject *:*", "ExitPolicy accept6 *:443")
    host = make_host((OPEN[0], *lines))
    assert_reported(host, "accepts_nothing", "which closes IPv4 and IPv6")


def test_a_tor_whose_dns_does_not_work_is_not_told_to_change_its_policy() -> None:
    """Tor enforces `reject *:*` then, whatever its options say."""
    options = ExitOptions(exit_policy=parse_entries(["accept *:*"]), exit_relay=True)
    enforced = parse_policy(["reject *:*"])
    view = View("a", Running("", "", options, enforced, None), Configured(options, ()))
    relay = Relay("a", Path("/etc/tor/torrc"), "/run/tor/control")
    (found,) = [
        finding
        for finding in limits.check(relay, view, measure(enforced, None))
        if finding.cause == Fault.ACCEPTS_NOTHING
    ]
    assert "DNS servers" in found.why
    assert "ServerDNSResolvConfFile" in found.fix
    meant = replace(options, exit_policy=parse_entries(["reject *:*"]))
    own = View("a", Running("", "", meant, enforced, None), Configured(meant, ()))
    assert not any("DNS" in one.why for one in limits.check(relay, own, measure(enforced, None)))


def test_the_exit_flag_that_own_lines_cost_is_reported(make_host: HostMaker) -> None:
    """One rejected address in every /8 is enough."""
    lines = (f"ExitPolicy reject {n}.1.1.1:*" for n in range(1, 224) if n not in {10, 127})
    host = make_host((OPEN[0], *lines, "ExitPolicy reject 224.0.0.0/3:80", OPEN[1]))
    assert "exit_flag_lost" in status(host)[1]


def test_an_exit_without_port_80_may_be_meant(make_host: HostMaker) -> None:
    """No Exit flag is then the operator's choice."""
    host = make_host((OPEN[0], "ExitPolicy accept *:443", "ExitPolicy reject *:*"))
    assert status(host) == (0, {})


def test_a_tick_that_does_not_run_is_reported_by_cause(exit_: ExitHost) -> None:
    """It is reported after five minutes, or without its state; each run of the tick counts."""
    for seconds in (-301, 310):
        # The time of the future is from a clock that was ahead.
        late = time.time() + seconds
        os.utime(exit_.state, (late, late))
        assert status(exit_)[0] == 3
        assert next(iter(status(exit_)[1])) in {"tick_late", "timer_missing"}
        assert exit_.tick().code == 0
        assert status(exit_) == (0, {})
    assert status(exit_) == (0, {})
    exit_.state.unlink()
    assert list(status(exit_)[1]) == ["state_missing"]
    assert exit_.tick().code == 0
    assert status(exit_) == (0, {})


def test_between_its_end_and_the_next_tick_a_block_is_due(exit_: ExitHost) -> None:
    """Nothing is wrong then: no command raises an alarm before two minutes have passed."""
    assert exit_.run("block", "203.0.113.9", "--until", "1h").code == 0
    assert exit_.run("block", "203.0.113.7", "--until", "3s").code == 0
    time.sleep(3.1)
    assert status(exit_) == (0, {})
    shown = exit_.run("status")
    assert (shown.code, shown.err) == (0, "")
    assert "2 in force: 1 live, 1 due" in shown.out
    (due,) = exit_.run("list", "--state", "due", "--json").json["blocks"]
    assert due["destination"] == "203.0.113.7"
    checks = exit_.run("doctor", "--json").json["findings"]
    assert {c["severity"] for c in checks if c["check"] == "fragment"} == {"ok"}
    assert exit_.tick().code == 0
    assert "1 in force: 1 live\n" in exit_.run("status").out
    assert [b["state"] for b in exit_.run("list", "--json").json["blocks"]] == ["live"]


def test_a_block_that_no_tick_lifts_is_reported(exit_: ExitHost) -> None:
    """Two minutes after its end it is due no longer."""
    now = datetime.now(UTC)
    assert exit_.run("block", "203.0.113.7", "--until", "1h").code == 0
    text = exit_.ledger.read_text()
    (until,) = re.findall('until: "([^"]+)"', text)
    for seconds, code in ((90, 0), (130, 3)):
        ended = (now - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
        began = '2026-01-01T00:00:00Z"'
        text_now = re.sub('since: "[^"]+"', f'since: "{began}', text.replace(until, ended))
        exit_.ledger.write_text(text_now)
        done = exit_.run("status", "--check", "--json")
        assert (seconds, done.code, done.json["fragment_changed"]) == (seconds, code, code == 3)


def test_a_tor_that_does_not_answer_is_a_failure_of_status(exit_: ExitHost) -> None:
    """Also without --check: code 6, and a text that says so."""
    exit_.tor.stop()
    done = exit_.run("status")
    assert (done.code, done.out.splitlines()[0]) == (6, "default  unreachable")
    assert "cannot be reached" in done.err


def test_a_lost_include_is_never_shown_as_live(exit_: ExitHost) -> None:
    """A tool writes the torrc again, and Tor reloads: the tick records what it sees."""
    assert exit_.run("block", "203.0.113.7", "--until", "1h").code == 0
    torrc = exit_.tor.torrc
    lines = torrc.read_text().splitlines(keepends=True)
    torrc.write_text("".join(line for line in lines if not line.startswith("%include")))
    exit_.tor.reload()
    time.sleep(1.5)  # Tor enforces the policy of a reload a second later.
    assert exit_.tick().code == 8
    assert [b["state"] for b in exit_.run("list", "--json").json["blocks"]] == ["pending"]


def test_reasons_do_not_reach_the_journal(exit_: ExitHost) -> None:
    """The tick names only destinations: other people read the journal and cron's mails."""
    for number in (7, 9):
        done = exit_.run(
            "block", f"203.0.113.{number}", "--until", "2s",
            "--reason", "personal", "--reference", "KZ#1",
        )  # fmt: skip
        assert done.code == 0
    time.sleep(2.1)
    ticked = exit_.tick()
    assert ticked.code == 0
    assert ticked.out.splitlines()[:2] == ["203.0.113.7  ended", "203.0.113.9  ended"]
    assert "personal" not in ticked.out + ticked.err
    assert "KZ#1" not in ticked.out + ticked.err


@pytest.mark.parametrize(
    ("line", "cause", "words"),
    [
        (None, "timer_missing", "neither systemd nor cron runs it"),
        ("* * * * * root PYTHON -I -S TICK STATE -- PYTHON -m exitpolicy expire", "tick_late", ""),
        ("* * * * * root PYTHON -I -S /gone/exitpolicy/tick.py STATE -- PYTHON expire",
         "program_gone", "/gone/exitpolicy/tick.py"),
        ("* * * * * root PYTHON -I -S TICK STATE -- /old/python3 -m exitpolicy expire",
         "program_gone", "/old/python3"),
        ("* * * * * root /old/exitpol expire --quiet", "program_gone", "/old/exitpol"),
    ],
)  # fmt: skip
def test_why_the_tick_does_not_run(  # noqa: PLR0917 - fixtures, then parameters
    exit_: ExitHost,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    line: str | None,
    cause: str,
    words: str,
) -> None:
    """No timer, a program that is gone as after an upgrade of the system, or something else."""
    crontab = tmp_path / "crontab"
    if line is not None:
        line = line.replace("PYTHON", sys.executable).replace("TICK", tick.__file__)
        crontab.write_text(f"# exitpol expire\n{line}\n")
    monkeypatch.setattr(timer, "_CRON", (str(crontab),))
    monkeypatch.setattr(timer_units, "RUNNING", tmp_path / "none")
    late = time.time() - 301
    os.utime(exit_.state, (late, late))
    done = exit_.run("status", "--check", "--json")
    (finding,) = done.json["health"]
    assert (done.code, finding["cause"]) == (3, cause)
    assert words in finding["observed"]


@pytest.mark.parametrize(
    ("answers", "cause"),
    [
        ({"is-failed": "failed", "is-active": "active"}, "unit_failed"),
        ({"is-failed": "failed", "is-active": "inactive"}, None),
        ({"is-failed": "inactive", "is-active": "active"}, None),
    ],
)
def test_a_failed_unit_counts_only_where_its_timer_runs(
    exit_: ExitHost,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    answers: dict[str, str],
    cause: str | None,
) -> None:
    """Cron may run the tick beside a unit that failed long ago."""
    crontab = tmp_path / "crontab"
    crontab.write_text("* * * * * root exitpol expire --quiet\n")
    monkeypatch.setattr(timer, "_CRON", (str(crontab),))
    monkeypatch.setattr(timer_units, "booted", lambda: True)
    monkeypatch.setattr(timer, "systemctl", lambda word, _unit: answers[word])
    assert list(status(exit_)[1]) == ([] if cause is None else [cause])


@pytest.mark.parametrize(
    ("active", "enabled", "said"),
    [
        ("active", "enabled", None),
        ("inactive", "enabled", "is stopped"),
        ("failed", "enabled", "is failed"),
        ("active", "disabled", "is disabled: it does not start at boot"),
        ("not known to systemctl", "not known to systemctl", None),
    ],
)
def test_a_stopped_timer_is_a_fault_at_once(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    active: str,
    enabled: str,
    said: str | None,
) -> None:
    """The tick ran a moment ago, but nothing runs it any more."""
    answers = {"is-failed": "inactive", "is-active": active, "is-enabled": enabled}
    parsed = config.parse(tmp_path / "c", b"ledger: blocks.yaml\n")
    host = Host(parsed, (), "root", lambda: datetime.now(UTC))
    saved = observed.Observation(time.time(), None, settled=True, watched={})
    observed.save(host.state_path, saved)
    monkeypatch.setattr(timer, "_CRON", ())
    monkeypatch.setattr(timer_units, "booted", lambda: True)
    monkeypatch.setattr(timer_units, "installed", lambda _host: [tmp_path])
    monkeypatch.setattr(timer, "systemctl", lambda word, _unit: answers[word])
    (finding,) = timer.tick(host)
    if said is None:
        assert finding.severity == "ok"
    else:
        assert finding.observed.endswith(said)
        assert finding.cause == "timer_missing"
        assert finding.fix == "systemctl enable --now exitpol-expire.timer"


def test_changes_that_tor_has_not_read_are_reported(exit_: ExitHost) -> None:
    """The next reload would load them, whoever asks for it."""
    exit_.tor.add("ContactInfo somebody else")
    assert_reported(exit_, "foreign_changes", "exitpol apply --load-foreign")
    assert "ContactInfo" in exit_.run("status").err
    exit_.tor.reload()
    time.sleep(1.5)
    assert status(exit_) == (0, {})


def test_the_tick_reports_a_fault_once(exit_: ExitHost) -> None:
    """Cron mails what a tick prints: it prints when the health changes, not every minute."""
    assert exit_.run("block", "203.0.113.7", "--until", "1h", "--reason", "personal").code == 0
    assert (exit_.tick().err, exit_.tick().err) == ("", "")
    exit_.tor.stop()
    first, second = exit_.tick(), exit_.tick()
    assert (first.code, second.code) == (6, 6)
    assert "cannot be reached" in first.err
    assert (second.out, second.err) == ("", "")
    record = json.loads(exit_.ledger.with_name("health.json").read_text())
    assert record["faults"] == ["tor_unreachable"]
    assert "cannot be reached" in record["messages"][0]
    assert "personal" not in str(record)
    exit_.tor.start()
    again = exit_.tick()
    assert (again.code, again.err) == (0, "exitpol: health: all is well again\n")
    assert (exit_.tick().out, exit_.tick().err) == ("", "")
    assert json.loads(exit_.ledger.with_name("health.json").read_text())["faults"] == []


def test_the_same_fault_of_another_relay_is_news(make_host: HostMaker) -> None:
    """The second Tor that stops is reported as the first one was."""
    host = make_host(OPEN, OPEN)
    for tor in host.relays:
        tor.stop()
        assert tor.name in host.tick().err
        assert host.tick().err == ""


def test_a_record_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    """A damaged one is written again; text of others reaches a mail in ASCII only."""
    path = tmp_path / "health.json"
    assert health_record.load(path) is None
    whole = '{"since": "2026-01-01T00:00:00Z", "faults": [], "places": [], "messages": []'
    for text in (
        *("", "[]", "{}", '{"since": "x"}', "[" * 100_000, "\0", "7", '{"since": 7}'),
        *(f'{whole}, "failed_after": "x"}}', f'{whole}, "failed_after": {"9" * 400}}}'),
        whole.replace('"messages": []', '"messages": {}') + "}",
        whole.replace("2026", "0000") + "}",
    ):
        path.write_text(text)
        assert health_record.load(path) is None
    # A time without a zone could not be compared; no text is longer than exitpol writes it.
    path.write_text(
        whole.replace("Z", "").replace('"messages": []', f'"messages": ["{"x" * 9_999}"]}}')
    )
    read = health_record.load(path)
    assert read is not None
    assert read.since.tzinfo is not None
    assert len(read.messages[0]) == 4_000
    path.unlink()
    found = HealthRecord(datetime.now(UTC), frozenset({"drift"}), messages=("\u202e\x1b" * 9_999,))
    assert health_record.update(path, found)
    assert not health_record.update(path, found)
    assert path.read_bytes().isascii()
    assert path.stat().st_size < 30_000
    assert health_record.update(path, HealthRecord(datetime.now(UTC), frozenset()))
    path.unlink()
    assert not health_record.update(path, HealthRecord(datetime.now(UTC), frozenset()))


def test_a_tick_that_fails_says_so_once(exit_: ExitHost) -> None:
    """The record holds the failure, and `status --check` reports it until the tick works again."""
    text = exit_.ledger.read_text()
    exit_.ledger.write_text("version: 7\n")
    exit_.ledger.with_name("last_valid.yaml").unlink()
    first, second = exit_.tick(), exit_.tick()
    assert (first.code, second.code) == (8, 8)
    assert str(exit_.ledger) in first.err
    assert second.err == ""
    as_json = exit_.run("expire", "--quiet", "--json")
    assert (as_json.code, as_json.json["error"]["exit_code"]) == (8, 8)
    exit_.ledger.write_text(text)
    assert list(status(exit_)[1]) == ["tick_failed"]
    assert exit_.tick().err == "exitpol: health: all is well again\n"
    assert status(exit_) == (0, {})


def test_a_tick_that_goes_on_failing_stays_reported(exit_: ExitHost) -> None:
    """A command that works in between must not hide it, and neither may a clock that was set."""

    def failing_tick() -> str:
        """Let the tick fail, as where only its unit lacks a right; return what it says."""
        text = exit_.ledger.read_text()
        last_valid = exit_.ledger.with_name("last_valid.yaml")
        kept = last_valid.read_text()
        exit_.ledger.write_text("version: 7\n")
        last_valid.unlink()
        said = exit_.tick()
        assert said.code == 8, said
        exit_.ledger.write_text(text)
        last_valid.write_text(kept)
        return said.err

    assert failing_tick()
    assert not failing_tick()
    assert list(status(exit_)[1]) == ["tick_failed"]
    assert exit_.run("apply").code == 0
    assert status(exit_) == (0, {})
    assert failing_tick()
    assert list(status(exit_)[1]) == ["tick_failed"]
    record = exit_.ledger.with_name("health.json")
    content = json.loads(record.read_text())
    for since in ("2000-01-01T00:00:00Z", "2100-01-01T00:00:00Z"):
        record.write_text(json.dumps({**content, "since": since}))
        assert list(status(exit_)[1]) == ["tick_failed"]
    assert exit_.tick().err == "exitpol: health: all is well again\n"
    assert status(exit_) == (0, {})


@pytest.mark.slow
def test_two_relays_without_control_port_are_told_apart(make_host: HostMaker) -> None:
    """The second Tor that stops is news, although the fault is the same."""
    host = make_host(OPEN, OPEN, start=False, init=False)
    start(host)
    for tor in host.relays:
        without_control(host, f"pid:{tor.folder / 'pid'}", tor)
    assert host.run("init").code == 0
    assert host.tick().err == ""
    for tor in host.relays:
        tor.stop()
        (tor.folder / "pid").unlink()
        assert f"Tor ({tor.name}) is not found" in host.tick().err
        assert host.tick().err == ""


def test_ticks_that_end_at_once_write_whole_files(make_host: HostMaker, tmp_path: Path) -> None:
    """Cron starts one each minute, also while the last one still waits for Tor."""
    (tmp_path / "textfile").mkdir()
    host = make_host(OPEN, extra="metrics: textfile/exitpol.prom\n")
    real, inside = files.write_all, threading.Lock()

    def slowly(descriptor: int, content: bytes) -> None:
        if content.startswith((b"# HELP", b'{\n "schema"')):
            assert inside.acquire(blocking=False), "two writers at once"
            time.sleep(0.3)
            inside.release()
        real(descriptor, content)

    host_of = Host.of(config.load(host.config), who="timer", clock=lambda: datetime.now(UTC))
    applied = preview(host_of, host_of.ledger())
    well, unwell = Health((), {}), Health((warn("x", "y", why="z", fix="w"),), {})
    failures: list[BaseException] = []

    def report(health: Health) -> None:
        try:
            assert tick_result.write_metrics(host_of, applied, health) == health
            tick_result.record(host_of, applied, health)
        except BaseException as error:  # noqa: BLE001 - shown by the test
            failures.append(error)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "write_all", slowly)
        ticks = [threading.Thread(target=report, args=(each,)) for each in (well, unwell)]
        for each in ticks:
            each.start()
        for each in ticks:
            each.join()
    assert failures == []
    assert host.metrics.read_text().endswith('exitpol_fault{name="attention"} 0\n') or (
        host.metrics.read_text().endswith('exitpol_fault{name="attention"} 1\n')
    )
    assert health_record.load(host.ledger.with_name("health.json")) is not None
