"""The letters of a language: the operator's, and exitpol's for all others."""

from collections.abc import Mapping
from importlib.resources import files

from exitpolicy.reply.facts import KINDS, Kind, Language
from exitpolicy.reply.syntax import Source
from exitpolicy.reply.template import Template, check_letter, compile_letter


def load_letter(kind: Kind, language: Language, own: Mapping[str, Source]) -> Template:
    """Compile the letter `kind`; `own` are the operator's files by name, which replace ours.

    All letters that use one of the operator's files are checked, so that a mistake shows before the
    letter is needed. Raises InvalidFileError with file, line and correction.
    """
    sources = {**shipped(language), **own}
    for other in KINDS if own else ():
        letter = compile_letter(other, sources)
        if letter.files & own.keys():
            check_letter(letter)
    return compile_letter(kind, sources)


def shipped(language: Language) -> dict[str, Source]:
    """Return the letters and paragraphs of a language that come with exitpol, by name."""
    folder = files("exitpolicy.reply") / "templates" / language
    return {
        file.name.removesuffix(".txt"): Source(str(file), file.read_text(encoding="utf-8"))
        for file in folder.iterdir()
        if file.name.endswith(".txt")
    }
