"""The config names the relays that `init` found: a new or a missing one is reported."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from exitpolicy.core.errors import ExitCode
from exitpolicy.doctor import finding, known_relays
from exitpolicy.operations.host import Host
from exitpolicy.storage import config
from exitpolicy.tor import layout
from exitpolicy.tor.layout import Candidate


@pytest.fixture
def host_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Host]:
    """Give a function that reads a config on a host with the relays `a` and `b`."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "torrc").write_text("ORPort 9001\n")
    found = tuple(Candidate(name, tmp_path / name / "torrc") for name in ("a", "b"))
    monkeypatch.setattr(layout, "candidates", lambda _root=Path("/"): found)

    def read(text: str) -> Host:
        parsed = config.parse(tmp_path / "config.yaml", text.encode())
        return Host.of(parsed, who="test", clock=lambda: datetime.now(UTC))

    return read


A = "relays:\n- {name: a, torrc: a/torrc, control: c}\n"
B = "- {name: b, torrc: b/torrc, control: d}\n"


def test_a_relay_that_appeared_is_named_with_what_to_type(host_of: Callable[[str], Host]) -> None:
    """It is set up by `init --torrc`, or named among those that are left alone."""
    host = host_of(A)
    (found,) = known_relays.check(host)
    torrc = host.config.source.parent / "b" / "torrc" if host.config.source else None
    assert (found.cause, found.exit_code) == ("relay_appeared", ExitCode.ATTENTION)
    assert f"{torrc} opens an ORPort" in found.observed
    assert f"exitpol init --torrc {torrc}" in found.fix
    for text in (A + B, f"{A}unmanaged: [b/torrc]\n"):
        (found,) = known_relays.check(host_of(text))
        assert found.severity is finding.Severity.OK


def test_a_relay_whose_torrc_is_gone_is_a_fault(host_of: Callable[[str], Host]) -> None:
    """Its entry in the config is to be removed, or its torrc to be restored."""
    host = host_of(A + B)
    host.relays[1].torrc.rename(host.relays[1].torrc.with_name("away"))
    (found,) = known_relays.check(host)
    assert (found.cause, found.exit_code) == ("relay_disappeared", ExitCode.INVALID_FILE)
    assert "'b'" in found.observed


def test_without_recorded_relays_there_is_nothing_to_compare(
    host_of: Callable[[str], Host],
) -> None:
    """Those at the usual places are used then."""
    host = host_of("")
    assert [relay.name for relay in host.relays] == ["a", "b"]
    (found,) = known_relays.check(host)
    assert found.severity is finding.Severity.OK
