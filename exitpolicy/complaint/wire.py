"""Carry a complaint from one process to another as JSON.

The sender may be under the control of an attacker: `decode` accepts exactly what `encode` writes,
within limits. It never makes objects of other types than those of `model`.
"""

import json
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from types import NoneType, UnionType
from typing import Final, Union, get_args, get_origin, get_type_hints

from exitpolicy.complaint.model import Complaint
from exitpolicy.core.destination import Destination, parse_destination
from exitpolicy.core.errors import UsageError

MAX_SIZE: Final = 4_000_000
"""Bytes of an encoded complaint."""
MAX_ITEMS: Final = 1_000
MAX_TEXT: Final = 10_000
"""Characters of one text."""


def encode(complaint: Complaint) -> bytes:
    """Return a complaint as JSON in ASCII."""
    return json.dumps(_plain(complaint)).encode("ascii")


def decode(data: bytes) -> Complaint:
    """Return the complaint that `encode` wrote. Raises ValueError for anything else."""
    if len(data) > MAX_SIZE:
        raise ValueError("too large")
    try:
        complaint = _typed(Complaint, json.loads(data))
    except (RecursionError, OverflowError, UsageError) as error:
        raise ValueError("invalid value") from error
    if not isinstance(complaint, Complaint):
        raise ValueError("no complaint")  # noqa: TRY004 - of the sender, not the caller
    return complaint


def _plain(value: object) -> object:
    if isinstance(value, Destination):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    return value


def _typed(kind: object, value: object) -> object:
    """Return a JSON value as an object of the annotated type `kind`. Raises ValueError."""
    if get_origin(kind) in {UnionType, Union}:
        (other,) = (option for option in get_args(kind) if option is not NoneType)
        return None if value is None else _typed(other, value)
    if get_origin(kind) is tuple and isinstance(value, list) and len(value) <= MAX_ITEMS:
        return tuple(_typed(get_args(kind)[0], item) for item in value)
    if kind in {bool, int} and type(value) is kind:
        return value
    if isinstance(value, str) and len(value) <= MAX_TEXT:
        return _of_text(kind, value)
    if isinstance(kind, type) and is_dataclass(kind) and isinstance(value, dict):
        hints = get_type_hints(kind)
        names = {field.name for field in fields(kind)}
        if set(value) == names:
            return kind(**{name: _typed(hints[name], value[name]) for name in names})
    raise ValueError(f"not a {kind}")


def _of_text(kind: object, text: str) -> object:
    if kind is str:
        text.encode("utf-8")  # raises UnicodeEncodeError, a ValueError, for half a surrogate pair
        return text
    if kind is Destination:
        return parse_destination(text)
    if kind is datetime:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError("a time without a zone")
        return moment
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(text)
    raise ValueError(f"not a {kind}")
