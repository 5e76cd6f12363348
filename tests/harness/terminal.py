"""A command on a terminal, to which an answer is typed."""

import os
import pty
import select
import sys
import time

from tests.harness.host import ExitHost


def on_a_terminal(
    host: ExitHost, arguments: list[str], question: str, typed: str, code: int = 0
) -> str:
    """Run a command on a terminal, type an answer to a question, and return all that is shown."""
    child, terminal = pty.fork()
    if child == 0:
        command = [sys.executable, "-m", "exitpolicy", "--config", str(host.config)]
        os.execv(sys.executable, [*command, *arguments])  # noqa: S606 - in the child of a fork
    shown, end, answered = b"", time.monotonic() + 30, False
    while time.monotonic() < end:
        ready, _, _ = select.select([terminal], [], [], 0.2)
        try:
            shown += os.read(terminal, 4096) if ready else b""
        except OSError:
            break
        if not answered and question.encode() in shown:
            os.write(terminal, f"{typed}\n".encode())
            answered = True
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == code, shown.decode()
    return shown.decode().replace("\r\n", "\n")
