"""The table of the proof says what was tried, what was lost, and what was not tried."""

from pathlib import Path

import pytest

from tests.evidence import Thing, lose, record, table


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Name a file for the evidence."""
    path = tmp_path / "evidence"
    monkeypatch.setenv("EXITPOL_EVIDENCE", str(path))
    return path


def row(file: Path, thing: Thing) -> str:
    """Return the row of the table for a thing."""
    lines = table(file.read_text().splitlines()).splitlines()
    assert len(lines) == 2 + len(Thing)
    return next(line for line in lines if thing.value in line)


def test_tries_are_summed_and_of_measures_the_largest_is_said(file: Path) -> None:
    """Each thing has one row, even if several tests record it."""
    record(Thing.KILLS, 700)
    record(Thing.KILLS, 1300)
    record(Thing.CROWD, 1, {"the longest {:.0f} s": 24.4})
    record(Thing.CROWD, 1, {"the longest {:.0f} s": 3})
    assert row(file, Thing.KILLS) == f"| {Thing.KILLS.value} | 2,000 | nothing |"
    assert row(file, Thing.CROWD).endswith("(the longest 24 s) | 2 | nothing |")


def test_failed_and_missing_tests_are_seen_in_the_table(file: Path) -> None:
    """A skipped part says so, and a failed part does not say that nothing was lost.

    Otherwise a skipped test would look like a passed one.
    """
    record(Thing.KILLS, 700)
    lose(Thing.KILLS)
    assert row(file, Thing.KILLS).endswith("| 700 | failed: 1 |")
    assert row(file, Thing.SYSTEMD).endswith("| 0 | not run |")


def test_nothing_is_kept_where_no_file_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in every ordinary run of the tests."""
    monkeypatch.delenv("EXITPOL_EVIDENCE", raising=False)
    record(Thing.KILLS, 1)
    lose(Thing.KILLS)
