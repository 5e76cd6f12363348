"""`scripts/uploads.py`: the page about uploads holds what the program computes."""

from pathlib import Path

import pytest

from scripts.uploads import DAYS, FLEETS, Assumptions, Day, downloads, main, text, uploads

PAGE = Path(__file__).parents[1] / "exitpolicy" / "docs" / "uploads.md"
GIVEN = Assumptions()


def test_the_page_holds_the_tables_of_the_program() -> None:
    """To write them anew: python3 scripts/uploads.py."""
    page = PAGE.read_text()
    tables = page.partition("scripts/uploads.py -->\n")[2].partition("<!-- end of tables -->")[0]
    assert tables == text(FLEETS, DAYS, GIVEN)


def test_the_page_names_the_assumptions_of_the_program() -> None:
    """Each number of the program stands in the table of assumptions."""
    rows = PAGE.read_text().partition("## Assumptions")[2]
    numbers = ("authorities", "descriptor", "rule", "rules", "extra_info", "connection", "caches")
    for name in numbers:
        assert f"| {getattr(GIVEN, name):,} " in rows, name
    assert f"| {GIVEN.compressed} |" in rows
    assert f"| {FLEETS['every exit of the network']:,} |" in rows


def test_batches_bound_what_may_wait_and_nothing_else() -> None:
    """At most one such change in ten minutes; those at once are made at once."""
    day = Day("attack", 20, 1_420)
    assert day.changes(None) == 1_440
    assert day.changes(10) == 20 + 144
    assert Day("quiet", 20, 5).changes(10) == 25
    assert uploads(1_000, day, GIVEN, None) > 8 * uploads(1_000, day, GIVEN, 10)


def test_the_measured_upload_is_what_the_program_computes() -> None:
    """One upload to one authority, without the headers of packets: 5,320 bytes were measured."""
    measured = Assumptions(descriptor=4_349, rules=0, extra_info=698)
    assert measured.upload == pytest.approx(5_320 * 1500 / 1448 + 7 * 52, rel=0.01)


def test_downloads_are_bounded_by_the_hourly_consensus() -> None:
    """A cache fetches a relay's descriptor at most 24 times a day."""
    always = downloads(1, Day("all the time", 1e6, 0), GIVEN, None)
    assert always == pytest.approx(24 * GIVEN.download * GIVEN.caches / GIVEN.authorities)
    assert downloads(1, DAYS[0], GIVEN, None) < always / 15


def test_other_numbers_can_be_given(capsys: pytest.CaptureFixture[str]) -> None:
    """A fleet of one's own has a table of its own."""
    main(["--relays", "50", "--at-once", "3", "--waiting", "288", "--batch", "60"])
    shown = capsys.readouterr().out
    assert "| 50 relays | " in shown
    assert "| your relays | 291 → 27 | " in shown
