"""Lists in JSON: Spamhaus DROP (a line each), decisions of CrowdSec, and exitpol's own.

- Spamhaus: `{"cidr": NETWORK, "sblid": ..., "rir": ...}` a line, and at the end one with
  `"type": "metadata"` (spamhaus.org/drop/drop_v4.json).
- CrowdSec: `cscli decisions list -o json` is a list of alerts, each with `decisions`; without any
  it is `null`. `cscli decisions import` reads a list of decisions.
- exitpol: `{"schema": 1, "blocks": [...]}`, as `list --json` and `export --format json` write it.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Final

from exitpolicy.core.errors import UsageError
from exitpolicy.lists.entry import Item, Moment, fault
from exitpolicy.lists.records import item_of, standing_for

_NO_JSON: Final = "this is no JSON"


def read_json_lines(lines: Sequence[str], moment: Moment) -> Iterator[Item]:
    """Yield the items of a list with a JSON object a line."""
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            yield fault(number, line, _NO_JSON)
            continue
        if isinstance(value, dict) and value.get("type") == "metadata":
            continue
        yield _item(number, value, line, moment)


def read_crowdsec(lines: Sequence[str], moment: Moment) -> Iterator[Item]:
    """Yield the items of decisions of CrowdSec; the number of an item counts the decisions."""
    try:
        value = json.loads("\n".join(lines))
    except (ValueError, RecursionError) as error:
        yield fault(0, "", f"{_NO_JSON}: {error}")
        return
    number = 0
    for alert in value if isinstance(value, list) else []:
        decisions = alert.get("decisions", [alert]) if isinstance(alert, dict) else [alert]
        for decision in decisions if isinstance(decisions, list) else []:
            number += 1
            yield _item(number, decision, str(decision), moment)


def read_own(lines: Sequence[str], moment: Moment) -> Iterator[Item]:
    """Yield the blocks of a JSON object of exitpol."""
    try:
        value = json.loads("\n".join(lines))
    except (ValueError, RecursionError) as error:
        yield fault(0, "", f"{_NO_JSON}: {error}")
        return
    blocks = value.get("blocks") if isinstance(value, dict) else None
    if not isinstance(blocks, list):
        yield fault(0, "", "the object has no list `blocks`")
        return
    for number, block in enumerate(blocks, start=1):
        yield _item(number, block, str(block), moment)


def _item(number: int, value: object, text: str, moment: Moment) -> Item:
    if not isinstance(value, dict):
        return fault(number, text, "this is no object with an address")
    try:
        record = {meaning: value[key] for meaning, key in standing_for(value).items()}
        return item_of(number, record, moment)
    except UsageError as error:
        return fault(number, text, str(error))
