"""The template files: those that come with exitpol, and the operator's own in their place."""

from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Final

from exitpolicy.core.errors import InvalidFileError
from exitpolicy.reply.facts import KINDS, LANGUAGES, Kind, Language
from exitpolicy.reply.template import Source, Template, compile_letter

MAX_BYTES: Final = 65536
"""The largest template that is read."""


def load_template(kind: Kind, language: Language, overrides: Path | None = None) -> Template:
    """Read and compile the letter `kind`.

    `overrides` is the operator's folder (/etc/exitpol/replies): its file `de/spam.txt` takes the
    place of the one of the same name that comes with exitpol, and so do the shared paragraphs
    (`de/closing.txt`). A missing folder is an empty one. All letters of the language are checked
    where the operator changed any, so that a mistake shows before the day the letter is needed.
    Raises InvalidFileError.
    """
    sources = _shipped(language)
    own = _overriding(language, overrides, sources)
    sources.update(own)
    if own:
        for other in KINDS:
            compile_letter(other, sources)
    return compile_letter(kind, sources)


def template_texts(language: Language, overrides: Path | None = None) -> dict[str, str]:
    """Return the source of every letter and paragraph of a language by name, as it is in use.

    Raises InvalidFileError.
    """
    sources = _shipped(language)
    sources.update(_overriding(language, overrides, sources))
    return {name: source.text for name, source in sorted(sources.items())}


def _shipped(language: Language) -> dict[str, Source]:
    folder = files("exitpolicy.reply") / "templates" / language
    return {
        file.name.removesuffix(".txt"): Source(str(file), file.read_text(encoding="utf-8"))
        for file in folder.iterdir()
        if file.name.endswith(".txt")
    }


def _overriding(language: Language, folder: Path | None, known: Iterable[str]) -> dict[str, Source]:
    if folder is None:
        return {}
    names = sorted(known)
    own: dict[str, Source] = {}
    try:
        for path in _visible(folder):
            if path.suffix == ".txt" or (path.is_dir() and path.name not in LANGUAGES):
                raise InvalidFileError(
                    f"{path}:1: letters lie in a folder for each language",
                    hint=f"the folders are {', '.join(LANGUAGES)}, the files {language}/KIND.txt",
                )
        for path in _visible(folder / language):
            if path.suffix != ".txt":
                continue
            if path.stem not in names:
                raise InvalidFileError(
                    f"{path}:1: there is no template {path.stem!r} to put this in the place of",
                    hint=f"there are: {', '.join(names)}",
                )
            own[path.stem] = Source(str(path), _read(path))
    except OSError as error:
        raise InvalidFileError(
            f"{error.filename or folder}: cannot be read: {error.strerror}"
        ) from error
    return own


def _visible(folder: Path) -> list[Path]:
    """Return what lies in a folder, without what git and editors keep there; nothing if none."""
    if not folder.exists():
        return []
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _read(path: Path) -> str:
    if not path.is_file():
        raise InvalidFileError(f"{path}:1: not a file")
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise InvalidFileError(f"{path}:1: a template of more than {MAX_BYTES} bytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        raise InvalidFileError(f"{path}:{number}: not UTF-8", hint="save it as UTF-8") from error
    text = text.replace("\r\n", "\n")
    for number, line in enumerate(text.split("\n"), 1):
        if any(not (c.isprintable() or c in "\t\u00a0\u202f") for c in line):
            raise InvalidFileError(f"{path}:{number}: a control character")
    return text
