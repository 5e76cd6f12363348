"""Words of shell commands, for hints: an operator copies them into a shell of root's."""

import shlex


def word(text: object) -> str:
    """Return a text, such as a path, as one word of a shell command.

    Another user may have chosen it.
    """
    return shlex.quote(str(text))
