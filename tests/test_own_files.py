"""`doctor` checks the fragment of each relay."""

from datetime import UTC, datetime
from pathlib import Path

from exitpolicy.doctor import own_files
from exitpolicy.operations.host import Host
from exitpolicy.storage import config


def test_each_relay_has_its_own_fragment_checked(tmp_path: Path) -> None:
    """With `fragments:`, the fragment of each relay is checked, not the former single one."""
    (tmp_path / "one.conf").write_text("ExitPolicy reject 203.0.113.7:*\n")
    text = (
        f"fragments: {tmp_path}\nrelays:\n"
        "- {name: one, torrc: t1, control: c1}\n- {name: two, torrc: t2, control: c2}\n"
    )
    read = config.parse(Path("/etc/exitpol/config.yaml"), text.encode())
    host = Host.of(read, who="test", clock=lambda: datetime.now(UTC))
    found = [finding.observed for finding in own_files.fragment_files(host, None)]
    assert any(f"{tmp_path}/one.conf" in observed for observed in found)
    assert f"{tmp_path}/two.conf is missing" in found
    assert not any("/etc/tor/exitpol.conf" in observed for observed in found)
