"""Change a config file that its operator wrote: only the keys that commands set.

Comments, order and all other keys stay. The result is parsed before anybody writes it.
"""

from pathlib import Path
from typing import Final

from exitpolicy.core.errors import InvalidFileError
from exitpolicy.storage import config
from exitpolicy.storage.config import Config
from exitpolicy.storage.yaml_document import Document, quoted
from exitpolicy.storage.yaml_nodes import Fields, Items, Node

_KEYS: Final = ("fragments", "fragment", "relays", "unmanaged", "fit")
"""The keys that commands set."""


def edited(path: Path, content: bytes, desired: Config) -> bytes:
    """Return the content of the config at `path`, changed to mean `desired`.

    Raises InvalidFileError, with the lines to write by hand, for a form that cannot be changed.
    """
    present = config.parse(path, content)
    root = Document(str(path), content).root
    text = content.decode("utf-8-sig")
    text = text if text.endswith("\n") or not text else f"{text}\n"
    values, keys = (root.values, root.keys) if isinstance(root, Fields) else ({}, {})
    changes: list[tuple[int, int, str]] = []
    missing: list[str] = []
    # The folder is named where the former single file was, and with it.
    replaces = "fragment" in values and "fragments" not in values
    for key in _KEYS[1:] if replaces else _KEYS:
        new = _lines(desired, key)
        if key == "fragment" and replaces:
            new = _lines(desired, "fragments") + new
        if new == _lines(present, key) and (key in values or not new):
            continue
        node = values.get(key)
        if node is None:
            missing.append(new)
            continue
        start = text.rfind("\n", 0, keys[key]) + 1
        end = _line_end(text, node.end)
        added = _added(text, node, present, desired) if key == "relays" else None
        changes.append((start, end, new) if added is None else (end, end, added))
    for start, end, new in sorted(changes, reverse=True):
        text = text[:start] + new + text[end:]
    result = (text + "".join(missing)).encode()
    _check(path, result, desired)
    return result


def _check(path: Path, content: bytes, desired: Config) -> None:
    try:
        if config.parse(path, content) == config.parse(path, config.render(desired)):
            return
        reason = "it has a form that exitpol does not change"
    except InvalidFileError as error:
        reason = str(error)
    lines = "".join(_lines(desired, key) for key in _KEYS)
    raise InvalidFileError(
        f"{path} is not changed: {reason}", hint=f"write these keys there yourself:\n{lines}"
    )


def _lines(meant: Config, key: str) -> str:
    """Return the lines of a key; empty if it is to be left out."""
    if key == "relays":
        return "".join(config.relays_lines(meant.relays))
    if key == "unmanaged":
        return config.unmanaged_line(meant.unmanaged) if meant.unmanaged else ""
    if key == "fit":
        return config.fit_line(meant.fit)
    if meant.fragments is None:
        return f"fragment: {quoted(str(meant.fragment))}\n" if key == "fragment" else ""
    path = meant.fragments if key == "fragments" else meant.former
    return "" if path is None else f"{key}: {quoted(str(path))}\n"


def _added(text: str, node: Node, present: Config, desired: Config) -> str | None:
    """Return the lines of the new relays if the others stay as they stand; None otherwise."""
    count = len(present.relays)
    before = [config.entry(relay) for relay in present.relays]
    after = [config.entry(relay) for relay in desired.relays]
    if not isinstance(node, Items) or node.flow or not node.values or after[:count] != before:
        return None
    start = text.rfind("\n", 0, node.values[0].start) + 1
    indent = text[start:].partition("-")[0]
    return "".join(f"{indent}- {entry}\n" for entry in after[count:])


def _line_end(text: str, offset: int) -> int:
    """Return where the line of an offset ends, behind its line end."""
    end = text.find("\n", offset)
    return len(text) if end < 0 else end + 1
