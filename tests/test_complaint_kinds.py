"""What a complaint is about."""

import pytest

from exitpolicy.complaint import Kind
from exitpolicy.complaint.input.quoting import without_scanner_footers
from tests.test_complaint_roles import OWN, VICTIM, read


@pytest.mark.parametrize(
    ("subject", "text", "kind"),
    [
        ("POP3 attack by {o}", "Accepted connection from {o}, port 995", Kind.BRUTE_FORCE),
        ("Abuse", "{o} shows abusive behaviour towards our SIP server.", Kind.BRUTE_FORCE),
        ("Attack", "We are attacked by {o} on {v} port 3389.", Kind.BRUTE_FORCE),
        ("Attack", "We are attacked by {o} on {v} port 443.", Kind.WEB_ATTACK),
        ("Attack by {o}", '{o} - - [x] "GET / HTTP/1.1" 404 1', Kind.WEB_ATTACK),
        ("Attack by {o}", "#Fields: date c-ip s-ip cs-uri\n2026 {o} {v} /", Kind.WEB_ATTACK),
        ("HTTP probes from {o}", "See the log.", Kind.WEB_ATTACK),
        ("IPs banned: {o}", "abusive POST requests on one of our servers", Kind.WEB_ATTACK),
        ("Report", "Attack Type : I13_Tomcat_adminpage", Kind.WEB_ATTACK),
        (
            "Attack on our software",
            (
                "It infringes our rights: a command and control server of malware is at {o}. "
                "Stop the infringement."
            ),
            Kind.MALWARE,
        ),
        ("abuse: compromised client", "online-banking fraud category: andromeda", Kind.MALWARE),
        ("Report", "{o} is a bot of type qakbot", Kind.MALWARE),
        ("Report", "mac 02-A0-98-12-C2-60 of {o}", Kind.UNKNOWN),
        ("Notice", "Reach your server {o} by SSH, or by the VNC console.", Kind.UNKNOWN),
        ("Report", "About {o}.\n-- \nThis email was scanned for threats by Scanner.", Kind.UNKNOWN),
    ],
)
def test_the_kind_is_told(subject: str, text: str, kind: Kind) -> None:
    """By its phrases, else by the service that was attacked."""
    complaint = read(text.format(o=OWN, v=VICTIM), subject.format(o=OWN))
    assert complaint.kind is kind


@pytest.mark.parametrize(
    "footer",
    [
        "This email has been scanned for email related threats and delivered safely by MailGate.",
        "This message has been scanned for viruses and is believed to be clean.",
        "Diese E-Mail wurde auf Viren geprüft.",
        "Ce message a été analysé par un antivirus.",
        "Virus-free. www.scanner.example",
    ],
)
def test_the_footer_of_a_scanner_is_left_out(footer: str) -> None:
    """Its line says nothing about the incident, and the other lines stay."""
    assert without_scanner_footers(f"one\n{footer}\ntwo\n") == "one\n\ntwo\n"
    assert without_scanner_footers(footer) == ""


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Our contact form was filled in 87 times with advertising for casinos from {o}.", "spam"),
        ("Depuis {o}, notre formulaire de contact reçoit des publicités en masse.", "spam"),
        ("An order was placed with a stolen card from {o}.", "fraud"),
        ("Von {o} wurde ein fremdes Kundenkonto übernommen und Ware bestellt.", "fraud"),
        ("Defamatory reviews and insults were posted from {o}.", "threats"),
        ("Masscan activity from {o} against our range", "port-scan"),
        ("{o} scrapes our web shop.", "web-attack"),
        ("Account lockouts caused by {o} on our VPN", "brute-force"),
        ("Szerzői jogi jogsértés, {o}", "copyright"),
        ("Pe {o} este un program malițios", "malware"),
        ("Palvelunestohyökkäys osoitteesta {o}", "ddos"),
    ],
)
def test_plain_words_tell_the_kind(text: str, kind: str) -> None:
    """Words of everyday tell the kind, in the languages of the word files."""
    assert read(text.format(o=OWN)).kind == kind
