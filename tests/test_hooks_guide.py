"""The hooks in the guide work, with a web server, a mail server and a repository of these tests."""

import json
import re
import shutil
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

GUIDE = Path(__file__).parents[1] / "exitpolicy" / "docs" / "guide.md"
EVENT = {
    "schema": 1,
    "id": "0123456789abcdef-3",
    "number": 3,
    "time": "2026-11-27T12:00:00Z",
    "host": "exit1",
    "event": "change",
    "action": "block",
    "count": 2,
    "blocks": [{"destination": "203.0.113.7", "until": None}],
}
HEALTH = {**EVENT, "event": "health", "faults": ["drift", "pending"]}
del HEALTH["action"], HEALTH["count"], HEALTH["blocks"]

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("curl", "jq", "git"))), reason="curl, jq or git is missing"
)


def script(name: str, *replaced: tuple[str, str]) -> str:
    """Return a script of the guide, with other servers."""
    (text,) = re.findall(
        rf"```sh\n(#!/bin/sh\n# /usr/local/bin/{name}\n.*?)```", GUIDE.read_text("utf-8"), re.DOTALL
    )
    for old, new in replaced:
        assert old in text, text
        text = text.replace(old, new)
    return str(text)


def run(folder: Path, text: str, event: dict[str, Any], **environment: str) -> int:
    """Run a script as the unit does, in its working folder; return its exit code."""
    path = folder / "hook"
    path.write_text(text)
    path.chmod(0o755)
    done = subprocess.run(
        [path],
        input=json.dumps(event) + "\n", check=False, capture_output=True, text=True, timeout=30,
        cwd=folder, env={"PATH": "/usr/bin:/bin", "HOME": str(folder), **environment},
    )  # fmt: skip
    return done.returncode


class Requests(BaseHTTPRequestHandler):
    """Keeps what is sent, and answers with the code of the server."""

    def do_POST(self) -> None:
        """Keep a request."""
        length = int(self.headers["Content-Length"])
        body = self.rfile.read(length).decode()
        kept = (self.command, self.path, self.headers["Authorization"], body)
        self.server.kept.append(kept)  # type: ignore[attr-defined]
        self.send_response(self.server.answer)  # type: ignore[attr-defined]
        self.end_headers()

    do_PUT = do_POST  # noqa: N815 - the name is the library's

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def web(answer: int = 200) -> Iterator[tuple[str, list[Any]]]:
    """Serve on loopback; give the address and what was sent."""
    server = HTTPServer(("127.0.0.1", 0), Requests)
    server.kept, server.answer = [], answer  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", server.kept  # type: ignore[attr-defined]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_ntfy_gets_one_line_for_each_event(tmp_path: Path) -> None:
    """A refused one is a failure, so that it is sent again."""
    with web() as (address, kept):
        text = script("exitpol-ntfy", ("https://ntfy.example", address))
        assert [run(tmp_path, text, event) for event in (EVENT, HEALTH)] == [0, 0]
    assert kept == [
        ("POST", "/exitpol", None, "exit1: change block 2 \n"),
        ("POST", "/exitpol", None, "exit1: health   drift, pending\n"),
    ]
    with web(answer=429) as (address, _):
        text = script("exitpol-ntfy", ("https://ntfy.example", address))
        assert run(tmp_path, text, EVENT) != 0


def test_matrix_gets_each_event_with_its_id(tmp_path: Path) -> None:
    """The token comes from a file, and the event is the text of a notice."""
    (tmp_path / "matrix").write_text("Authorization: Bearer secret\n")
    with web() as (address, kept):
        text = script("exitpol-matrix", ("https://matrix.example", address))
        assert run(tmp_path, text, EVENT, CREDENTIALS_DIRECTORY=str(tmp_path)) == 0
    ((method, path, token, body),) = kept
    place = "/_matrix/client/v3/rooms/!room:matrix.example/send/m.room.message"
    assert (method, path, token) == ("PUT", f"{place}/{EVENT['id']}", "Bearer secret")
    assert json.loads(body)["msgtype"] == "m.notice"
    assert json.loads(json.loads(body)["body"]) == EVENT


class Mails(socketserver.StreamRequestHandler):
    """Speaks SMTP as far as curl needs it, and keeps the mails."""

    def handle(self) -> None:
        """Take one mail."""
        self.wfile.write(b"220 test\r\n")
        lines: list[bytes] | None = None
        while line := self.rfile.readline():
            if lines is not None:
                if line != b".\r\n":
                    lines.append(line)
                    continue
                self.server.kept.append(b"".join(lines))  # type: ignore[attr-defined]
                lines = None
            if line.startswith(b"DATA"):
                lines = []
            self.wfile.write(b"354 go\r\n" if lines == [] else b"250 ok\r\n")


def test_a_mail_has_the_event(tmp_path: Path) -> None:
    """Over SMTP, with the line ends of a mail; without a server it is sent again."""
    with socketserver.TCPServer(("127.0.0.1", 0), Mails) as server:
        server.kept = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        place = f"smtp://127.0.0.1:{server.server_address[1]}"
        text = script("exitpol-mail", ("smtp://localhost", place))
        assert run(tmp_path, text, EVENT) == 0
        server.shutdown()
        thread.join()
        (mail,) = server.kept  # type: ignore[attr-defined]
    head, _, body = mail.decode().partition("\r\n\r\n")
    assert head == "From: root\r\nTo: root\r\nSubject: exitpol: a change"
    assert json.loads(body) == EVENT
    assert run(tmp_path, text, EVENT) != 0


def test_git_has_a_commit_for_each_event(tmp_path: Path) -> None:
    """A repeated event makes no second one."""
    text = script("exitpol-git")
    events = [EVENT, {**EVENT, "id": "0123456789abcdef-4"}, EVENT]
    assert [run(tmp_path, text, event) for event in events] == [0, 0, 0]
    log = subprocess.run(
        ["/usr/bin/git", "-C", tmp_path / "changes", "log", "--format=%s"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert log.stdout.splitlines() == ["event 0123456789abcdef-4", "event 0123456789abcdef-3"]
    lines = (tmp_path / "changes/changes.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == events[:2]
