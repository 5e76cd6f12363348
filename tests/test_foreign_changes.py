"""Sentences about changes of Tor's files that Tor has not read."""

from pathlib import Path

from exitpolicy.tor.foreign_changes import sentences
from exitpolicy.tor.loaded import Difference


def test_each_change_names_its_line_and_what_tor_runs(tmp_path: Path) -> None:
    """A changed value is one sentence; a value that Tor reports in another form has a line, too."""
    torrc = tmp_path / "torrc"
    torrc.write_text('ORPort 9001\nNickname "new"\nContactInfo  me\n+SocksPort 9050\n')
    found = [
        Difference("Nickname", "new", in_files=True),
        Difference("Nickname", "old", in_files=False),
        Difference("ContactInfo", "me", in_files=True),
        Difference("SocksPort", "127.0.0.1:9050", in_files=True),
        Difference("MyFamily", "A" * 40, in_files=True),
        Difference("Log", "notice file /var/log/tor", in_files=False),
        Difference("HashedControlPassword", "16:AB", in_files=False),
    ]
    assert sentences(found, [torrc, tmp_path / "missing"]) == (
        f"{torrc}:2 says Nickname new, and Tor runs Nickname old",
        f"{torrc}:3 says ContactInfo me, and Tor runs no such line",
        f"{torrc}:4 says SocksPort 127.0.0.1:9050, and Tor runs no such line",
        f"the files say MyFamily {'A' * 40}, and Tor runs no such line",
        "Tor runs Log notice file /var/log/tor, and no file says so any more",
        "Tor runs HashedControlPassword (not shown), and no file says so any more",
    )
