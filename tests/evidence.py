"""What a proof measured, kept for the table that scripts/prove prints."""

import json
import os
import sys
from collections import Counter
from collections.abc import Mapping
from enum import Enum
from pathlib import Path


class Thing(Enum):
    """What is tried: the rows of the table, in this order."""

    STREAMS = "streams through a real exit: refused where blocked, answered everywhere else"
    LIMITS = "policies given to a directory authority, which does as `exitpol` predicts"
    MISTAKES = "a broken torrc while `exitpol` applies; a middle relay that is given a block"
    KILLS = (
        "SIGKILL at each call that writes, renames, syncs or sends, in block, lift, renew, expire"
        " and apply; then one tick"
    )
    CROWD = "commands of up to 32 processes at once on 1,000 destinations, with foreign reloads"
    DISKS = "disks full, failing (EIO), read-only or closed, and each call of block failing"
    CLOCKS = "ticks by a clock that is wrong by a day to three years"
    HOSTILE = "answers of a hostile control port"
    FOREIGN_FOLDER = (
        "commands of root in a ledger folder of another user, with something planted for each file"
    )
    SWAPS = "commands of root while another user swaps names in the ledger's folder with links"
    FAKE_CONTROL = "commands that meet a control port of another user, with each authentication"
    CLOSED = "commands with standard streams closed, full or broken, in each combination"
    STEPS = "commands at a clock that is wrong by a minute to ten years, both ways"
    HAND_EDITS = "hand edits of the ledger that exceed each limit"
    MIDDLE = "relays that stop being an exit while blocks stand, and middle relays"
    UNREADABLE = "files that Tor's own user cannot read, before each command"
    ATTRIBUTES = (
        "commands that replace a file with an owner, a mode or an ACL of its own; then a reload"
    )
    NAMESPACES = (
        "commands for a Tor with each way to say its user and each mount over its files; then a"
        " reload"
    )
    UNLOADED = "commands while the torrc holds a line that would end the running Tor"
    MAILS = "hostile mails of half a megabyte, read in the child process"
    FUZZ = "inputs from fuzzers, random and guided by coverage, to every reader"
    SYSTEMD = "a booted Debian whose own timer lifts a block; its units verified and scored"
    PACKAGE = (
        "the Debian package on a booted Debian: set up, upgraded with blocks in force, removed,"
        " refused where the exit would open, purged; the same with two instances"
    )
    REMOVALS = "`init --remove` killed at each change of a file; then a reload, and once more"


def record(thing: Thing, tried: int, most: Mapping[str, float] | None = None) -> None:
    """Keep how often something was tried without a loss, where EXITPOL_EVIDENCE names a file.

    `most` are measures, each named by what the table is to say of the largest, such as
    `longest tick {:.0f} s`.
    """
    _add({"thing": thing.name, "tried": tried, "most": dict(most or {})})


def lose(thing: Thing) -> None:
    """Keep that a test of something failed; it does not come to its own `record` then."""
    _add({"thing": thing.name, "lost": 1})


def _add(entry: dict[str, object]) -> None:
    if path := os.environ.get("EXITPOL_EVIDENCE"):
        # One write of one line: several processes do this at a time.
        with Path(path).open("a") as file:
            file.write(json.dumps(entry) + "\n")


def table(lines: list[str]) -> str:
    """Return the evidence as a table, a row for each thing; what was not tried is named as such."""
    tried: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    most: dict[str, dict[str, float]] = {}
    for entry in map(json.loads, lines):
        tried[entry["thing"]] += entry.get("tried", 0)
        lost[entry["thing"]] += entry.get("lost", 0)
        measures = most.setdefault(entry["thing"], {})
        for measure, value in entry.get("most", {}).items():
            measures[measure] = max(value, measures.get(measure, value))
    rows = ["| what was tried | times | lost |", "|---|---:|---|"]
    for thing in Thing:
        said = [measure.format(value) for measure, value in most.get(thing.name, {}).items()]
        what = f"{thing.value} ({', '.join(said)})" if said else thing.value
        if lost[thing.name]:
            loss = f"failed: {lost[thing.name]}"
        else:
            loss = "nothing" if tried[thing.name] else "not run"
        rows.append(f"| {what} | {tried[thing.name]:,} | {loss} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.stdout.write(table(Path(sys.argv[1]).read_text().splitlines()))
