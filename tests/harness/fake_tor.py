"""A control port that is no Tor's: run by another user, who wants root's secrets and rights.

Started as `python3 fake_tor.py ADDRESS LOG SCRIPT`, with the standard library alone, because other
users may not read the project. ADDRESS is the path of a socket, or a TCP port of 127.0.0.1. SCRIPT
is a JSON object from the first word of a command to the answer; `{pid}` in it is the process's own.
What it is sent is appended to LOG.
"""

import json
import os
import socket
import sys
from pathlib import Path


def answer(script: dict[str, str], line: str) -> str:
    """Return the answer to a command; one that a client believes where the script has none."""
    word, _, rest = line.partition(" ")
    for key in (line, word):
        if key in script:
            return script[key].replace("{pid}", str(os.getpid()))
    if word == "GETINFO":
        return "".join(f"250-{key}=\r\n" for key in rest.split()) + "250 OK\r\n"
    if word == "GETCONF":
        names = rest.split()
        return "".join(f"250-{name}\r\n" for name in names[:-1]) + f"250 {names[-1]}\r\n"
    return "250 OK\r\n"


def main(address: str, log: Path, script: dict[str, str]) -> None:
    """Serve one connection after the other, for ever."""
    if address.startswith("/"):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(address)
        Path(address).chmod(0o777)
    else:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", int(address)))
    listener.listen()
    while True:
        connection, _ = listener.accept()
        connection.settimeout(20)
        try:
            with connection, connection.makefile("rb") as lines:
                for line in lines:
                    with log.open("ab") as file:
                        file.write(line)
                    text = line.decode("utf-8", "replace").strip()
                    connection.sendall(answer(script, text).encode("utf-8", "surrogateescape"))
        except OSError:
            continue


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3]))
