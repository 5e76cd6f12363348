"""Words of shell commands, for hints: an operator copies them into a shell of root's."""

import shlex


def word(path: object) -> str:
    """Return a path as one word of a shell command; another user may have chosen its name."""
    return shlex.quote(str(path))
