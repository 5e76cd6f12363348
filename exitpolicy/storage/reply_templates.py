"""The operator's own letters: files in a folder for each language."""

from collections.abc import Collection
from pathlib import Path
from typing import Final

from exitpolicy.core.errors import InvalidFileError
from exitpolicy.reply.facts import KINDS, LANGUAGES, PARAGRAPHS, Language
from exitpolicy.reply.syntax import Source
from exitpolicy.storage import files

FOLDER = Path("/etc/exitpol/replies")
"""Where the operator's letters are: `de/spam.txt` replaces the German letter about spam."""

MAX_BYTES: Final = 65536
"""Largest template in bytes."""

_NAMES: Final[Collection[str]] = sorted((*KINDS, *PARAGRAPHS))
_INVISIBLE: Final = "\t\u00a0\u202f"
"""Characters that are not printable by Python's definition, and harmless: French uses the last."""


def read(language: Language, folder: Path | None = None) -> dict[str, Source]:
    """Return the operator's templates of a language by name; none if there is no folder.

    `folder` is FOLDER where it is left out. Raises InvalidFileError, also for a file that would
    never be used.
    """
    folder = folder or FOLDER
    own: dict[str, Source] = {}
    try:
        for path in _visible(folder):
            if path.suffix == ".txt" or (path.is_dir() and path.name not in LANGUAGES):
                raise InvalidFileError(
                    f"{path}:1: this is not a folder for a language",
                    hint=f"the folders are {', '.join(LANGUAGES)}, the files {language}/KIND.txt",
                )
        for path in _visible(folder / language):
            if path.suffix != ".txt":
                continue
            if path.stem not in _NAMES:
                raise InvalidFileError(
                    f"{path}:1: there is no template {path.stem!r} that it could replace",
                    hint=f"there are: {', '.join(_NAMES)}",
                )
            own[path.stem] = Source(str(path), _text(path))
    except OSError as error:
        raise InvalidFileError(
            f"{error.filename or folder}: cannot be read: {error.strerror}"
        ) from error
    return own


def _visible(folder: Path) -> list[Path]:
    """Return the entries of a folder without hidden ones; none if there is no folder."""
    if not folder.exists():
        return []
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _text(path: Path) -> str:
    try:
        data = files.read(path, "template", limit=1_000_000)
    except FileNotFoundError as error:
        raise InvalidFileError(f"{path}: the link leads nowhere") from error
    if len(data) > MAX_BYTES:
        raise InvalidFileError(f"{path}:1: a template of more than {MAX_BYTES} bytes")
    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        raise InvalidFileError(f"{path}:{number}: not UTF-8", hint="save it as UTF-8") from error
    for number, line in enumerate(text.split("\n"), 1):
        if any(not (c.isprintable() or c in _INVISIBLE) for c in line):
            raise InvalidFileError(f"{path}:{number}: a control character", hint="remove it")
    return text
