"""The ticket numbers of a report."""

import pytest

from tests.test_complaint_roles import OWN, read


@pytest.mark.parametrize(
    ("subject", "text", "expected"),
    [
        ("[Ticket ID: NGH-70489002] Abuse", "", ["NGH-70489002"]),
        ("[CERT#2026111610000593] infected system", "", ["2026111610000593"]),
        ("[CERT #1792132] malware", "", ["1792132"]),
        ("Ticket #8839917", "", ["8839917"]),
        ("[AbuseID:10C4F2A:27] report", "", ["AbuseID:10C4F2A:27"]),
        ("[KZ-CERT#2026111200417]", "", ["KZ-CERT#2026111200417"]),
        ("[KZ-CERT#2026111200417]", "Case No.: 2026111200417", ["2026111200417"]),
        ("[www.shop.example.net 93.184.216.34] phishing", "", []),
        ("[shop.example.net] [ABC-12345]", "", ["ABC-12345"]),
        ("EgoCERT_20261004-C670364: attempts", "", ["EgoCERT_20261004-C670364"]),
        ("x", "an incident reference number (NC_20261004-C67) was assigned", ["NC_20261004-C67"]),
        ("Notice of Infringement - DMCA52392934", "", ["DMCA52392934"]),
        ("New ticket: HY20261113-0872", "", ["HY20261113-0872"]),
        ("[Fail2Ban] sshd: banned", "", []),
        ("Botnet", "let us know (ID: TH-1402981), it uses (CVE-2021-44228)", ["TH-1402981"]),
        ("Chamado 20250217-33", "", ["20250217-33"]),
        ("x", "sprawę zgłosiliśmy na Policję (sygnatura RSD-214/25)", ["RSD-214/25"]),
        ("x", "Mention reference number 4471923 in the subject", ["4471923"]),
        ("x", "Unser Zeichen: 2026-AB-7781", ["2026-AB-7781"]),
        ("x", "Číslo jednací: KRPA-1123/2026", ["KRPA-1123/2026"]),
        ("Attack from AS64500 with CVE202612345", "", []),
        (f"Portscan of {OWN} on 20261113", "", []),
    ],
)
def test_the_number_of_the_ticket_is_found(subject: str, text: str, expected: list[str]) -> None:
    """Without the words before it, but with a name that the report never leaves out."""
    assert list(read(text, subject).references) == expected
