"""What mailers, gateways and spreadsheets wrapped a report into is undone."""

import pytest

from exitpolicy.complaint.extract.rows import restored
from tests.test_complaint_roles import ACCUSED, OWN, VICTIM, destinations, read

OTHER = "93.184.216.35"


@pytest.mark.parametrize(
    "text",
    [
        "Source IP\nDestination IP\nDestination Port\n{o}\n{v}\n22\n{o}\n{w}\n22\n",
        (
            "Time\nSource IP\nTarget IP\nTarget Port\n2026-11-20 10:00\n{o}\n{v}\n22\n"
            "2026-11-20 10:01\n{o}\n{w}\n22\n\nKind regards\n"
        ),
        "Quelle\n\nZiel\n\nZielport\n\n{o}\n\n{v}\n\n22\n\n{o}\n\n{w}\n\n22\n",
        (
            "time,src_ip,src_port,dst_ip,dst_port\n2026-11-20\n10:00:00,{o},40000,{v},22\n"
            "2026-11-20\n10:00:01,{o},40001,{w},22\n"
        ),
        (
            "time;src_ip;src_port;dst_ip;\ndst_port\n2026-11-20 10:00:00;{o};40000;{v};22\n"
            "2026-11-20 10:00:01;{o};40001;\n{w};22\n"
        ),
        (
            '"asn","ip","timestamp","src_port","dst_ip","dst_port"\n'
            '"64600","{o}","2026-11-20\n10:00:00","40000","{v}","22"\n'
            '"64600","{o}","2026-11-20\n10:00:01","40001","{w}","22"\n'
        ),
    ],
)
def test_broken_rows_are_whole_again(text: str) -> None:
    """A table with a row on several lines is read like one with a row on each line."""
    complaint = read(text.format(o=OWN, v=VICTIM, w=OTHER))
    assert sorted(destinations(complaint)) == [f"{VICTIM}:22", f"{OTHER}:22"]


def test_a_stacked_table_of_the_accused_names_no_victim() -> None:
    """In a table with a cell on each line, the other hosts of the column are accused, too."""
    head = "IP\nTimestamp (UTC)\nSource Port\nDestination Port\n"
    rows = "".join(f"{ip}\n2026-11-20T10:00:00Z\n36668\n22\n" for ip in (ACCUSED, OWN))
    assert destinations(read(f"SSH attacks on our server:\n\n{head}{rows}")) == []


@pytest.mark.parametrize(
    "text",
    [
        f"Source IP: {OWN}\nDestination IP: {VICTIM}\n",
        f"Destination\n{VICTIM}\nSource\n{OWN}\n",
        f"Hello,\nplease look at\n{OWN}\nand stop it.\n",
        'He said "this is bad, very bad, really\nand went away, far, far away.\n',
        "a,b,c\n1,2\n3\n4\n5\n",
    ],
)
def test_other_lines_stay_as_they_are(text: str) -> None:
    """What is no row of a table is not joined."""
    lines = text.split("\n")
    assert list(restored(lines)) == lines
