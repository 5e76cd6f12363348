"""A command that asks on a terminal of a given width, and somebody who types the answers."""

import os
import sys
from collections.abc import Mapping
from typing import Any, Self

import pexpect

from tests.harness.host import ExitHost

SECONDS = 60


class Conversation:
    """Types answers to the questions of a command, and keeps what is shown."""

    def __init__(
        self,
        host: ExitHost,
        *arguments: str,
        columns: int = 80,
        before: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Run a command for a host. `before` is Python that runs before it in its process."""
        self.shown = ""
        """All that the terminal has shown, without colours."""
        self.strokes = 0
        """The keys that were typed."""
        code = f"{before}\nfrom exitpolicy.__main__ import main\nmain()"
        self._child: Any = pexpect.spawn(
            sys.executable,
            ["-c", code, "--config", str(host.config), *arguments],
            dimensions=(50, columns),
            env={**os.environ, "NO_COLOR": "1", "TERM": "dumb", **(environment or {})},
            encoding="utf-8",
            timeout=SECONDS,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.close(force=True)

    def see(self, text: str) -> str:
        """Wait until a text is shown; return what was shown since the last answer, and it."""
        self._child.expect_exact(text)
        return self._keep()

    def answer(self, question: str, typed: str) -> str:
        """Wait for a question and type an answer and Enter; return what was shown before it."""
        shown = self.see(question)
        self._child.sendline(typed)
        self.strokes += len(typed) + 1
        return shown

    def press(self, key: str) -> None:
        """Type a control key: `c` for ^C, `d` for ^D."""
        self._child.sendcontrol(key)

    def end(self) -> int:
        """Wait until the command ends, and return its exit code."""
        self._child.expect(pexpect.EOF)
        self._keep()
        self._child.close()
        return int(self._child.exitstatus)

    def _keep(self) -> str:
        after = self._child.after if isinstance(self._child.after, str) else ""
        new = (self._child.before + after).replace("\r\n", "\n")
        self.shown += new
        return str(new)
