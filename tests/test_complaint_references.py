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
        ("x", "Case .................: WD-5590217", ["WD-5590217"]),
        ("x", "Our reference is TKT0099123.", ["TKT0099123"]),
        ("x", "Please quote 2026-ABC-0043 in your reply.", ["2026-ABC-0043"]),
        ("x", "We opened ticket NOC-44120 for this.", ["NOC-44120"]),
        ("x", '"report_id": "7f3a9c21-4c8e"', ["7f3a9c21-4c8e"]),
        ("x", "回复时请注明编号 HY-FK-20250215-07。", ["HY-FK-20250215-07"]),
        ("Rapport 7F-2210: loginforsøg", "", ["7F-2210"]),
        ("NCX-44120: scan", "", ["NCX-44120"]),
        ("[CASE-QWPLKDMTRZ] Alerte de sécurité", "", ["CASE-QWPLKDMTRZ"]),
        ("abuse report - service: ssh - RID: 1098827411", "", ["1098827411"]),
        (
            "RID: 1098827411",
            "Reported-From: a@a.example\nSource: 192.0.2.1\nReport-ID: 1098827411@a.example",
            ["1098827411@a.example"],
        ),
        ("Portscan", "kernel: DROP TTL=49 ID=22411 PROTO=TCP", []),
        ("Portscan", "NOTICE[2210]: chan_sip.c: failed", []),
        ("Attack from AS64500 with CVE202612345", "", []),
        (f"Portscan of {OWN} on 20261113", "", []),
    ],
)
def test_the_number_of_the_ticket_is_found(subject: str, text: str, expected: list[str]) -> None:
    """Without the words before it, but with a name that the report never leaves out."""
    assert list(read(text, subject).references) == expected


@pytest.mark.parametrize(
    ("subject", "forwarder", "inner", "expected"),
    [
        ("[DC-5512] Fwd: [KZ-CERT#26110417]", "See below.", "[KZ-CERT#26110417]", "DC-5512"),
        ("Fwd: [KZ-CERT#26110417]", "See below.", "[KZ-CERT#26110417]", "KZ-CERT#26110417"),
        ("Fwd: [KZ-CERT#26110417]", "Our ticket: DC-5512", "[KZ-CERT#26110417]", "DC-5512"),
        ("Fwd: Attack", "Our ticket: DC-5512", "Attack, case 26110417", "DC-5512"),
        ("Fwd: Attack", "Please act.", "Attack, case 26110417", "26110417"),
    ],
)
def test_the_first_ticket_is_that_of_the_person_who_gets_the_reply(
    subject: str, forwarder: str, inner: str, expected: str
) -> None:
    """The ticket of the forwarder, wherever it is; without one, that of the reporter."""
    text = (
        f"{forwarder}\n\n---- Forwarded message ----\nFrom: soc@cert.example\n"
        f"Subject: {inner}\n\n{OWN} attacked 93.184.216.34\n"
    )
    assert read(text, subject).references[0] == expected
