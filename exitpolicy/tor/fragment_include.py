"""Find where a torrc includes the fragment, and write the include or another one in its place.

A copy of the torrc in which that line includes a candidate is what Tor verifies.
"""

import os
from collections.abc import Collection, Iterator, Mapping
from enum import Enum, auto
from pathlib import Path
from typing import Final, NamedTuple

from exitpolicy.core.errors import InvalidFileError
from exitpolicy.policy.rule import Rule, parse_entries
from exitpolicy.tor.torrc import includes, includes_below, read_text
from exitpolicy.tor.torrc_includes import Level, Place, check_depth, included, is_file
from exitpolicy.tor.torrc_lines import SPACE, Line, in_quotes, lines


class _Mark(Enum):
    """What is read among the rules of the ExitPolicy lines."""

    INCLUDED = auto()
    """The include of the fragment."""
    REMOVED = auto()
    """A line `/ExitPolicy`, which removes all rules above it."""


_INCLUDED: Final = _Mark.INCLUDED
_REMOVED: Final = _Mark.REMOVED
_REMOVING: Final = "/exitpolicy"
"""The keyword of a line that removes all rules above it."""
_END_OF_VALUE: Final = " \n"
"""The line above an include where the file ended in a continued value, which it ends likewise.

Its space tells it from an empty line of the operator's.
"""


def include_place(torrc: Path, fragment: Path, folder: Path = Path("/")) -> Place | None:
    """Return where the torrc, or a file that it includes, includes the fragment; None if nowhere.

    `folder` is the working directory of Tor, to which relative paths are relative.
    """
    return _include_place(torrc, fragment, folder, Level())


def include_places(torrc: Path, fragment: Path, folder: Path = Path("/")) -> list[Place]:
    """Return every place at which the fragment is included, in the order in which Tor reads."""
    return [place for place, part in _policy(torrc, fragment, folder, Level()) if part is _INCLUDED]


def first_exit_policy(
    torrc: Path, fragment: Path, sought: Rule, folder: Path = Path("/")
) -> Place | None:
    """Return the place of the first ExitPolicy line that holds a rule; None if there is none."""
    for place, text in own_rules(torrc, fragment, folder):
        if sought in parse_entries([text]):
            return place
    return None


def removed_at(torrc: Path, fragment: Path, folder: Path = Path("/")) -> Place | None:
    """Return the line `/ExitPolicy` that removes the fragment's rules; None if they remain."""
    removing: Place | None = None
    included = False
    for place, part in _policy(torrc, fragment, folder, Level()):
        if part is _INCLUDED:
            removing = None
            included = True
        elif part is _REMOVED and included and removing is None:
            removing = place
    return removing


def rules_above(
    torrc: Path, fragment: Path, folder: Path = Path("/")
) -> Iterator[tuple[Place, str]]:
    """Yield the ExitPolicy rules that Tor applies before the fragment's, each with its place."""
    remaining = _remaining(torrc, fragment, folder)
    if any(part is _INCLUDED for _, part in remaining):
        for place, part in remaining:
            if not isinstance(part, str):
                return
            yield place, part


def own_rules(torrc: Path, fragment: Path, folder: Path = Path("/")) -> Iterator[tuple[Place, str]]:
    """Yield the ExitPolicy rules outside of the fragment that Tor applies, with their places."""
    for place, part in _remaining(torrc, fragment, folder):
        if isinstance(part, str):
            yield place, part


def replaces_policy(torrc: Path, fragment: Path, folder: Path = Path("/")) -> bool:
    """Tell whether a torrc, without the fragment, replaces the policy of the defaults-torrc.

    A line `+ExitPolicy` only adds to it. Raises InvalidFileError.
    """
    others = (
        path for _, path in includes(torrc, folder) if is_file(path) and not _same(path, fragment)
    )
    return any(
        line.keyword in {"exitpolicy", _REMOVING}
        for path in (torrc, *others)
        if "exitpolicy" in (text := read_text(path)).lower()
        for line in lines(text)
    )


def redirected(torrc: Path, fragment: Path, candidate: Path | str, folder: Path = Path("/")) -> str:
    """Return the torrc's text with a candidate in place of the fragment.

    A Path is included in place of the fragment; a str is inserted there. Other includes do not
    change, except those of files that include the fragment: their text is inserted.
    """
    return _redirected(torrc, _Replaced(fragment, candidate, {}), folder, Level())


def with_texts(
    torrc: Path, fragment: Path, texts: Mapping[Path, str], rules: str, folder: Path = Path("/")
) -> str:
    """Return the torrc's text with other texts in place of those of files that Tor reads.

    `texts` are by the files' paths without links, and may have one for the torrc itself; `rules` is
    the text of the fragment.
    """
    return _redirected(torrc, _Replaced(fragment, rules, texts), folder, Level())


def rules_and_include(
    torrc: Path, fragment: Path, folder: Path = Path("/")
) -> list[tuple[Place, str | None]]:
    """Return the ExitPolicy rules that Tor applies, and None for each include of the fragment.

    In Tor's order, each with its place, without what a line `/ExitPolicy` removes.
    """
    remaining = _remaining(torrc, fragment, folder)
    return [(place, part if isinstance(part, str) else None) for place, part in remaining]


def with_include(torrc: Path, fragment: Path, folder: Path = Path("/")) -> str:
    """Return the torrc's text with `%include FRAGMENT` above the first ExitPolicy line.

    Lines that a later `/ExitPolicy` removes are no such lines: it would remove the fragment's rules
    as well. An include of a file that has an ExitPolicy line counts as one. Without any,
    `%include FRAGMENT` becomes the last line. The text ends with a line end only if it did before,
    so that `without_include` returns what was there. Raises InvalidFileError.
    """
    text = read_text(torrc)
    if "\0" in text:
        number = text[: text.index("\0")].count("\n") + 1
        raise InvalidFileError(
            f"{Place(torrc, number)}: a NUL byte, and Tor reads nothing behind it",
            hint="remove the NUL byte",
        )
    texts: list[str] = []
    place: int | None = None
    goes_on = False
    level = Level()
    for line in lines(text):
        goes_on = line.goes_on
        keywords = set(_exit_policy_keywords(torrc, line, folder, level))
        if _REMOVING in keywords:
            place = None
        elif keywords and place is None:
            place = len(texts)
        texts.append(line.text)
    ours = f"%include {fragment}\n"
    if place is not None:
        texts.insert(place, ours)
    else:
        texts += [_END_OF_VALUE, ours] if goes_on else [ours]
    return _ended_like(text, texts)


def without_include(torrc: Path, fragment: Path) -> str | None:
    """Return the torrc's text without each `%include FRAGMENT`: the text before `with_include`.

    None if one of them is not a line of the torrc itself that names the file: it may stand in
    another file, or be a pattern or a folder. Raises InvalidFileError.
    """
    places = include_places(torrc, fragment)
    if any(place.file != torrc for place in places):
        return None
    numbers = {place.line for place in places}
    text = read_text(torrc)
    texts: list[str] = []
    goes_on = ended = False
    for line in lines(text):
        if line.number not in numbers:
            texts.append(line.text)
            goes_on, ended = line.goes_on, goes_on and line.text == _END_OF_VALUE
        elif line.goes_on or line.content != str(fragment):
            return None
        elif ended:
            texts.pop()
    return _ended_like(text, texts)


def _ended_like(text: str, texts: Collection[str]) -> str:
    """Return lines as a text that ends with a line end only if `text` does."""
    result = "".join(texts)
    return result if text.endswith("\n") else result.removesuffix("\n")


def with_other_include(torrc: Path, former: Path, fragment: Path) -> str | None:
    """Return the torrc's text with `%include FRAGMENT` in place of the one include of `former`.

    None if that is not a line of the torrc itself that names the file: it may stand in another
    file, or be a pattern or a folder. Raises InvalidFileError.
    """
    places = include_places(torrc, former)
    text = read_text(torrc)
    if len(places) != 1 or places[0].file != torrc:
        return None
    result: list[str] = []
    for line in lines(text):
        if line.number == places[0].line:
            if line.goes_on or line.content != str(former):
                return None
            result.append(f"%include {fragment}\n")
        else:
            result.append(line.text)
    return "".join(result)


def _policy(
    torrc: Path, fragment: Path, folder: Path, level: Level
) -> Iterator[tuple[Place, "str | _Mark"]]:
    """Yield each rule of an ExitPolicy line as written, and a mark for each other part."""
    for line in lines(read_text(torrc)):
        place = Place(torrc, line.number)
        if line.keyword.lstrip("+") == "exitpolicy":
            for rule in line.content.split(","):
                yield place, rule.strip(SPACE)
        elif line.keyword == _REMOVING:
            yield place, _REMOVED
        elif line.keyword == "%include":
            check_depth(torrc, line, level)
            for path in included(line.content, folder, level):
                if _same(path, fragment):
                    yield place, _INCLUDED
                elif is_file(path):
                    yield from _policy(path, fragment, folder, level.below())


def _remaining(torrc: Path, fragment: Path, folder: Path) -> list[tuple[Place, "str | _Mark"]]:
    """Return the rules, and the includes of the fragment, that no `/ExitPolicy` removes."""
    found: list[tuple[Place, str | _Mark]] = []
    for place, part in _policy(torrc, fragment, folder, Level()):
        if part is _REMOVED:
            found.clear()
        else:
            found.append((place, part))
    return found


def _include_place(torrc: Path, fragment: Path, folder: Path, level: Level) -> Place | None:
    policy = _policy(torrc, fragment, folder, level)
    return next((place for place, part in policy if part is _INCLUDED), None)


class _Replaced(NamedTuple):
    """What stands in place of files."""

    fragment: Path
    candidate: Path | str
    """The path to include, or the text to insert, in place of the fragment."""
    texts: Mapping[Path, str]
    """The texts of other files, by their paths without links."""

    def is_in(self, path: Path, folder: Path, level: Level) -> bool:
        """Tell whether a file, or one that it includes, is replaced."""
        if not is_file(path):
            return False
        if Path(os.path.realpath(path)) in self.texts:
            return True
        if _include_place(path, self.fragment, folder, level) is not None:
            return True
        inner = (one for _, one in includes_below(path, folder, level)) if self.texts else ()
        return any(Path(os.path.realpath(one)) in self.texts for one in inner)


def _redirected(torrc: Path, replacing: _Replaced, folder: Path, level: Level) -> str:
    fragment, candidate, texts = replacing
    result: list[str] = []
    replaced = continuing = False
    text = texts.get(Path(os.path.realpath(torrc))) if texts else None
    for line in lines(read_text(torrc) if text is None else text):
        if continuing and replaced:
            continuing = line.goes_on
            continue
        continuing = line.goes_on
        paths = []
        if line.keyword == "%include":
            check_depth(torrc, line, level)
            paths = included(line.content, folder, level)
        leading = [
            path
            for path in paths
            if _same(path, fragment) or replacing.is_in(path, folder, level.below())
        ]
        replaced = bool(leading)
        if not leading:
            result.append(line.text)
        for path in paths if leading else ():
            if _same(path, fragment):
                result.append(
                    f"%include {candidate}\n" if isinstance(candidate, Path) else candidate
                )
            elif path in leading:
                inner = _redirected(path, replacing, folder, level.below())
                # The blank line ends a continued value.
                result.append(f"{inner}\n")
            else:
                result.append(f"%include {in_quotes(str(path))}\n")
    return "".join(result)


def _exit_policy_keywords(torrc: Path, line: Line, folder: Path, level: Level) -> Iterator[str]:
    """Yield the keyword of each ExitPolicy line that a line is, or includes."""
    if line.keyword == "%include":
        check_depth(torrc, line, level)
        for path in included(line.content, folder, level):
            if is_file(path):
                for inner in lines(read_text(path)):
                    yield from _exit_policy_keywords(path, inner, folder, level.below())
    elif line.keyword.lstrip("+/") == "exitpolicy":
        yield line.keyword


def _same(path: Path, fragment: Path) -> bool:
    # Not resolve(), which has an error of its own for links that go round.
    return path == fragment or os.path.realpath(path) == os.path.realpath(fragment)
