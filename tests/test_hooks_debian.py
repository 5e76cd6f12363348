"""Hooks on a booted Debian: systemd's own timer runs them as a user without rights."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.test_hooks import MAX_EXPOSURE
from tests.test_systemd import observed_in_debian

SCRIPT = Path(__file__).parent / "harness" / "hooks_in_container.py"
FIRST, SECOND = "203.0.113.7", "203.0.113.9"


@pytest.mark.slow
@pytest.mark.parametrize("release", ["bookworm", "trixie"])
def test_real_changes_reach_hooks_without_rights(tmp_path: Path, release: str) -> None:
    """A block, an end by the tick, a failure that is repaired, and a spool that is gone."""
    check(*observed_in_debian(tmp_path, release, SCRIPT))


def check(seen: dict[str, Any], output: str) -> None:
    """Check from the observations what the hooks got, and what they could do."""
    what = json.dumps(seen, indent=1) + output
    for step in ("init", "timer", "block", "renew", "run again"):
        assert seen[step]["code"] == 0, f"{step}: {what}"
    assert seen["doctor at first"] == ["commands that get each event: 2"], what
    assert seen["told"] == [
        [1, "block", [FIRST, SECOND]],
        [2, "renew", [FIRST]],
        [3, "expire", [FIRST]],
    ], what
    assert "Ada" not in seen["event"], what
    assert 0 < seen["seconds until the block is told"] < 75, what
    (failure,) = seen["doctor of the failure"]
    failing = r"/usr/local/bin/other has failed since \S+: exit code 7; waiting events: 3"
    assert re.match(failing, failure), what
    assert seen["failed unit"]["stdout"] == "failed\n", what
    assert seen["told to the other"] == [], what
    assert seen["told to the other in the end"] == seen["told"], what
    # 6: Tor is stopped.
    assert seen["tick without a spool"]["code"] == 0, what
    (loss,) = seen["doctor of the loss"]
    assert re.match("events dropped since .*Z: 1; /var/spool/exitpol cannot be used: ", loss), what
    assert seen["lift"]["code"] == 6, what
    assert [event[1:] for event in seen["told in the end"][3:]] == [["lift", [SECOND]]], what
    assert 61184 <= int(seen["uid"]) <= 65519, what
    assert (seen["readable"], seen["writable"]) == ("", ""), what
    level = re.search(r"exposure level for \S+ ([0-9.]+)", seen["exposure"]["stdout"])
    assert level is not None, what
    assert float(level[1]) <= MAX_EXPOSURE, what
    assert seen["units left"]["stdout"] == "", what
    assert not seen["spool left"], what
