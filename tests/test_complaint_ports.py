# ruff: noqa: RUF001 - punctuation of Chinese
"""Which port was attacked: by number, by the name of a service, and never that of the source."""

import pytest

from tests.test_complaint_roles import OWN, VICTIM, destinations, read


@pytest.mark.parametrize(
    ("text", "port"),
    [
        ("SSH brute force by {o} against our server {v}.", 22),
        ("{o} tries to log in to {v} by RDP all night.", 3389),
        ("Passwort-Angriffe von {o} auf unseren Server {v}, Dienst: IMAP.", 143),
        ("Time;Source;Destination;Service\n10:00:00;{o};{v};POP3\n", 110),
        ("Source,Destination,Proto,Application\n{o},{v},TCP,MySQL\n", 3306),
        ("Source IP,Destination IP,Destination Port\n{o},{v},ssh\n", 22),
        ("Attack type: brute force\nSource: {o}\nTarget: {v}\nService: VNC\n", 5900),
        ("20/Nov/2026: user: pi service: ssh target: {v} source: {o}\n", 22),
        ("SRC={o} DST={v} PROTO=TCP DPT=telnet\n", 23),
        ("{o} scans our server {v} for open telnet ports.", 23),
        ("MySQL brute force {o} -> {v}", 3306),
        ("From {o} there are brute force logins to Microsoft SQL Server {v}", 1433),
        ("Remote desktop attacks from {o} on {v}", 3389),
        ("Servicio: SSH\nOrigen: {o}\nDestino: {v}\n", 22),
        ("Tjänst: SSH\nKälla: {o}\nMål: {v}\n", 22),
        ("服务：SSH\n源地址：{o}\n目的地址：{v}\n", 22),
    ],
)
def test_a_named_service_is_its_port(text: str, port: int) -> None:
    """The name of a service gives the port that IANA registered for it."""
    assert destinations(read(text.format(o=OWN, v=VICTIM))) == [f"{VICTIM}:{port}"]


@pytest.mark.parametrize(
    "text",
    [
        "SSH and FTP logins by {o} on our server {v}.",
        "SQL injection by {o} against our web site on {v}. We use SSH only for ourselves.",
        "Our server {v} was attacked:\nNov 20 10:00:00 vps sshd[1]: Failed password from {o}\n",
        "HTTP flood by {o} against {v}",
        "Brute force by {o} against https logins on {v}",
    ],
)
def test_a_service_in_passing_is_no_port(text: str) -> None:
    """Several services, those of the web, and programs in log lines tell no port."""
    assert destinations(read(text.format(o=OWN, v=VICTIM))) == [VICTIM]


@pytest.mark.parametrize(
    "text",
    [
        "Target server public IP\t{v}\nTarget server SIP Port\t8022\nSource\t{o}\n",
        "Source IP: {o}\nDestination IP: {v}\nDestination Port\n8022\n",
        "Source IP\n{o}\nDestination IP\n{v}\nDestination Port:\n8022/tcp\n",
        "Source | {o} | Destination | {v} | Destination Port | 8022\n",
        "Attacker,{o}\nTarget address,{v}\nTarget port,8022\n",
        "[Source IP]: {o} [Destination IP]: {v} [Info]: 64092 --> 8022 Len=1000\n",
        "Source {o}, destination {v}, 64092 → 8022 [SYN] Seq=0\n",
        "The source port 4711 of {o} attacked {v} on port 8022.\n",
        "src {o} srcport 50956 dst {v} dstport 8022\n",
    ],
)
def test_a_port_beside_is_found(text: str) -> None:
    """The port is in the next row, line, or column, or in the flow."""
    assert destinations(read(text.format(o=OWN, v=VICTIM))) == [f"{VICTIM}:8022"]


@pytest.mark.parametrize(
    "text",
    [
        "srcport 50956 mwtype tinba destaddr {v} attacker {o}\n",
        "Attack from source port 50956 on our server {v} by {o}.\n",
        "Our server {v} was attacked all day by {o} (source port 50956).\n",
        "Source IP: {o}\nDestination IP: {v}\nSource Port\n50956\n",
        "Attacker | {o} | Target | {v} | Source Port | 50956\n",
        "our host {v} was hit from {o} port 50956 again\n",
    ],
)
def test_the_port_of_the_source_is_not_taken(text: str) -> None:
    """A port that the relay used is no port of the victim."""
    assert destinations(read(text.format(o=OWN, v=VICTIM))) == [VICTIM]


@pytest.mark.parametrize(
    ("text", "port"),
    [
        ("target: www.shop.example ({v}), HTTPS\nattacker: {o}\n", 443),
        ("SQL injection by {o} against our server {v} (https).", 443),
        ("Our VPN was attacked by {o} ({v}, UDP/TCP 443, SSL-VPN).", 443),
        ("{o} attacks our proxy {v} all day.\nThe proxy listens on TCP 5060.\n", 5060),
        ("IMAP logins by {o} on our server {v}.\nDovecot log, IMAPS (993/tcp):\n", 993),
    ],
)
def test_a_port_apart_from_the_address_is_found(text: str, port: int) -> None:
    """A service or a port follows the address, or stands alone in another sentence."""
    assert destinations(read(text.format(o=OWN, v=VICTIM))) == [f"{VICTIM}:{port}"]


def test_two_ports_in_other_sentences_are_not_taken() -> None:
    """With two ports in other sentences, none of them is known to be the victim's."""
    text = f"{OWN} attacks our server {VICTIM}.\nWe offer port 25.\nWe offer port 993, too.\n"
    assert destinations(read(text)) == [VICTIM]


def test_a_service_in_a_host_name_is_no_port() -> None:
    """The name of a host is no word."""
    text = f"{OWN} guesses passwords on smtp.victim.example ({VICTIM}), see ssh.html@victim.example"
    assert destinations(read(text)) == [VICTIM]


def test_a_port_in_a_log_without_the_destination_is_that_of_the_only_victim() -> None:
    """If the log leaves the victim out, the sentence above names it."""
    log = f"kernel: SRC={OWN} PROTO=TCP SPT=4711 DPT=3389 SYN\n"
    assert destinations(read(f"The log at {VICTIM}:\n{log}")) == [f"{VICTIM}:3389"]
    two = f"Attacked: {VICTIM}, 93.184.216.35\n\n{log}"
    assert destinations(read(two)) == [VICTIM, "93.184.216.35"]


@pytest.mark.parametrize(
    "text",
    [
        "Someone at {o} attacked port 22 of our server {v}.",
        "{o} connects to port 22 on {v} all day",
        "TCP port 22 (SSH) of {v} was attacked by {o}",
        "attacks on 22/tcp at {v} from {o}",
        "Von {o} wurde Port 22 unseres Servers {v} angegriffen",
        "{o} attacks {v} on 22/tcp since monday",
        "{o} 40000 -> {v} 22 TCP",
    ],
)
def test_a_port_before_the_address_is_found(text: str) -> None:
    """The port may stand before the address, or after it without the word."""
    assert destinations(read(text.format(o=OWN, v=VICTIM))) == [f"{VICTIM}:22"]


@pytest.mark.parametrize(
    "text",
    ["{o}:40000 -> {v}:redis attack", "{v} was scanned by {o} on port 6379", "{o} hit {v}:redis"],
)
def test_a_service_or_a_port_after_the_source_is_the_victims(text: str) -> None:
    """A service may follow the address; a port after "by A" is not A's."""
    assert destinations(read(text.format(o=OWN, v=VICTIM))) == [f"{VICTIM}:6379"]


@pytest.mark.parametrize(
    "heading", ["origem  porta  destino  porta", "Źródło  Port źr.  Cel  Port doc."]
)
def test_a_port_column_is_that_of_the_address_before_it(heading: str) -> None:
    """Two columns of the same name are the ports of the source and of the destination."""
    text = f"Port scan\n\n{heading}\n{OWN}  35011  {VICTIM}  23\n{OWN}  35090  {VICTIM}  23\n"
    assert destinations(read(text)) == [f"{VICTIM}:23"]
