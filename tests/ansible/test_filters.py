"""What the playbooks decide: which hosts change at once, and what became of each."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

FOLDER: Final = Path(__file__).parents[2] / "exitpolicy" / "ansible" / "plugins" / "filter"


def loaded(name: str) -> Callable[..., Any]:
    """Return a filter of the collection."""
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Callable[..., Any] = module.FilterModule().filters()[name]
    return found


batches = loaded("batches")
outcome = loaded("outcome")
WELL: Final[dict[str, Any]] = {"faults": [], "not_live": [], "problems": []}


@given(st.lists(st.integers(0, 9), min_size=1), st.integers(1, 12))
def test_no_batch_has_more_relays_than_the_bound(counts: list[int], most: int) -> None:
    """All hosts are in a batch, in order; two hosts together never exceed the bound."""
    sizes = batches(counts, most)
    assert sum(sizes) == len(counts)
    left = list(counts)
    for size in sizes:
        batch, left = left[:size], left[size:]
        assert size == 1 or sum(batch) <= most
        # The next host would not have fitted.
        assert not left or sum(batch) + left[0] > most


def test_a_play_without_hosts_has_a_size() -> None:
    """Ansible refuses an empty list."""
    assert batches([], 3) == [1]


def test_a_host_that_took_the_change_is_done() -> None:
    """It is neither hurt nor failed, and the report counts what changed."""
    applied = {"changed": True, "rc": 0, "added": ["203.0.113.1"], "not_live": []}
    found = outcome({"exitpol_before": WELL, "exitpol_applied": applied, "exitpol_after": WELL})
    assert found == {
        "done": True,
        "hurt": "",
        "failed": "",
        "lines": ["in the ledger of the host: 1 added"],
    }


def test_each_relay_that_is_not_live_is_named_with_the_reason() -> None:
    """Blocks with one reason share a line, which no text of a host can break."""
    one = {"relay": "exit1", "state": "pending", "cause": "limit\nof Tor"}
    seen = [{**one, "destination": f"203.0.113.{n}"} for n in range(7)]
    applied = {"changed": False, "rc": 3, "not_live": seen}
    found = outcome({"exitpol_before": WELL, "exitpol_applied": applied})
    assert (found["failed"], found["hurt"]) == ("", "")
    (line,) = found["lines"]
    assert line.startswith("exit1: 203.0.113.0, 203.0.113.1, ")
    assert line.endswith(", 203.0.113.4 and 2 more pending: limit of Tor")


@pytest.mark.parametrize(
    ("before", "applied", "after", "hurt", "failed"),
    [
        (WELL, {"rc": 5, "msg": "Tor ended"}, WELL, "Tor ended", "Tor ended"),
        ({"faults": ["tor_refuses"]}, {"rc": 5, "msg": "still"}, WELL, "", "still"),
        (
            WELL,
            {"changed": True, "rc": 0},
            {"faults": ["tor_unreachable"]},
            "cannot be reached",
            "",
        ),
        (
            {"faults": ["tor_unreachable"]},
            {"changed": True, "rc": 6},
            {"faults": ["tor_unreachable"]},
            "",
            "",
        ),
        (WELL, {"changed": True, "rc": 3}, {"faults": ["pending", "refused"]}, "", ""),
        (WELL, {"unreachable": True, "msg": "gone"}, {}, "connection broke", "gone"),
        (WELL, {"changed": True, "rc": 0}, {"unreachable": True}, "connection broke", ""),
        ({"unreachable": True, "msg": "down"}, {}, {}, "", "down"),
        ({"msg": "another version", "rc": 0}, {}, {}, "", "another version"),
        (WELL, {"rc": 7, "msg": "another exitpol"}, WELL, "", "another exitpol"),
        (WELL, {"rc": 0, "msg": "another version"}, WELL, "", "another version"),
        (WELL, {"skipped": True, "changed": False}, {"skipped": True}, "", ""),
    ],
)
def test_only_what_users_notice_stops_later_hosts(
    before: object, applied: object, after: object, hurt: str, failed: str
) -> None:
    """A relay that was broken before, or a limit, hurts nothing; an unknown state does."""
    found = outcome({"exitpol_before": before, "exitpol_applied": applied, "exitpol_after": after})
    assert (hurt in found["hurt"], bool(found["hurt"])) == (True, bool(hurt)), found
    assert (failed in found["failed"], bool(found["failed"])) == (True, bool(failed)), found
    assert not (found["failed"] and found["done"])
    json.dumps(found)


def test_a_host_without_results_is_not_done() -> None:
    """Nothing is known of a host that no task reached."""
    assert not outcome({})["done"]
