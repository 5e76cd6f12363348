"""Mails made to cost time or memory: the child process reads each within 1 s for each megabyte."""

import resource
from collections.abc import Callable

import pytest

from exitpolicy.core.destination import parse_destination
from exitpolicy.operations import sandbox
from tests.evidence import Thing, record

THING = Thing.MAILS

OWN = [parse_destination("185.220.101.4")]
HEAD = b"From: a@b.example\nTo: c@d.example\nSubject: x\n"
SIZE = 1 << 19
START = 1.0
"""Seconds of processor time that the process needs in addition, on a busy machine."""
SECONDS_PER_MEGABYTE = 1.0
BUSY = 3.0
"""How much slower a busy machine is."""


def repeated(unit: bytes) -> bytes:
    """Return a text of `SIZE` bytes."""
    return (unit * (SIZE // len(unit) + 1))[:SIZE]


def numbered(line: Callable[[int], bytes]) -> bytes:
    """Return lines for ascending numbers, `SIZE` bytes in all."""
    count = SIZE // len(line(1_000)) + 1
    return b"".join(map(line, range(count)))[:SIZE]


def plain(text: bytes) -> bytes:
    """Return a mail of one text."""
    return HEAD + b"Content-Type: text/plain; charset=utf-8\n\n" + text


def html(text: bytes) -> bytes:
    """Return a mail in HTML."""
    return HEAD + b"Content-Type: text/html; charset=utf-8\n\n" + text


def mixed(parts: bytes) -> bytes:
    """Return a multipart mail."""
    return HEAD + b'Content-Type: multipart/mixed; boundary="b"\n\n' + parts + b"--b--\n"


def address(number: int) -> bytes:
    """Return a public address for a number."""
    return b"93.%d.%d.%d" % (number >> 16 & 255, number >> 8 & 255, number & 255)


OWN_LINE = b"185.220.101.4"
MAILS: dict[str, Callable[[], bytes]] = {
    "growing quotation": lambda: plain(
        numbered(lambda n: b"> " * (n % 49) + b"1.2.3.4 attacked 185.220.101.4 port 22\n")
    ),
    "quotation marks": lambda: plain(repeated(b"> ")),
    "quoted headers": lambda: plain(
        numbered(lambda n: b"> " * (n % 9) + b"On Sun, Bob %d <bob%d@x.example> wrote:\n" % (n, n))
    ),
    "sentences": lambda: plain(
        numbered(
            lambda n: b"Your address " + OWN_LINE + b" attacked our server " + address(n) + b" port"
            b" 22 at 2026-11-22 10:00:00 UTC.\n"
        )
    ),
    "a table": lambda: plain(
        b"source | target | port | time\n"
        + numbered(lambda n: OWN_LINE + b" | " + address(n) + b" | 22 | 2026-11-22 10:00:00\n")
    ),
    "key and value": lambda: plain(
        numbered(lambda n: b"src=" + OWN_LINE + b" dst=" + address(n) + b" proto=tcp dpt=22\n")
    ),
    "addresses, one a line": lambda: plain(numbered(lambda n: address(n) + b"\n")),
    "addresses with ports": lambda: plain(numbered(lambda n: address(n) + b":22, ")),
    "ranges of ports": lambda: plain(repeated(b"1.2.3.4:1-65535 ")),
    "IPv6": lambda: plain(numbered(lambda n: b"2a02:%x::%x\n" % (n & 65535, n))),
    "almost IPv6": lambda: plain(repeated(b"1:2:3:4:5:6:7:")),
    "colons": lambda: plain(repeated(b":")),
    "digits and dots": lambda: plain(repeated(b"1.")),
    "defanged": lambda: plain(numbered(lambda n: address(n).replace(b".", b" dot ") + b"\n")),
    "brackets": lambda: plain(repeated(b"[")),
    "URLs": lambda: plain(numbered(lambda n: b"http://" + address(n) + b":8080/a ")),
    "telling words": lambda: plain(repeated(b"attack source target from to ")),
    "one word": lambda: plain(repeated(b"a")),
    "blanks": lambda: plain(repeated(b"a" + b" " * 500 + b"\n")),
    "short lines": lambda: plain(repeated(b"a\n")),
    "cells": lambda: plain(repeated(b"|source")),
    "times": lambda: plain(repeated(b"2026-11-22 10:00:00 1.2.3.4 Nov 22 10:00 ")),
    "tickets": lambda: plain(numbered(lambda n: b"[ABC#%d] Ticket: ABC-%d\n" % (n, n))),
    "combining marks": lambda: plain(repeated("\u0315\u0300".encode())),
    "nested tags": lambda: html(repeated(b"<div>")),
    "nested tables": lambda: html(repeated(b"<table><tr><td>")),
    "unclosed tags": lambda: html(repeated(b"<a")),
    "comments": lambda: html(repeated(b"<!-- --")),
    "one wide row": lambda: html(
        b"<table><tr>" + numbered(lambda n: b"<td>" + address(n) + b"</td>")
    ),
    "entities": lambda: html(repeated(b"&#49;&#46;&notit;")),
    "breaks": lambda: html(numbered(lambda n: b"<br>" + address(n))),
    "nested parts": lambda: HEAD + numbered(
        lambda n: b'Content-Type: multipart/mixed; boundary="b%d"\n\n--b%d\n' % (n, n)
    ),
    "nested messages": lambda: repeated(HEAD + b"Content-Type: message/rfc822\n\n"),
    "many parts": lambda: mixed(repeated(b"--b\n\n185.220.101.4 -> 1.2.3.4\n")),
    "many charsets": lambda: mixed(repeated(b"--b\n\n\xcf\xf0\xe8\xe2\xe5\xf2 1.2.3.4\n")),
    "headers": lambda: HEAD + numbered(lambda n: b"X-%d: y\n" % n) + b"\nx",
    "one long header": lambda: HEAD + b"X: " + repeated(b"y") + b"\n\nx",
    "folded header": lambda: HEAD + b"Subject: y" + repeated(b"\n y") + b"\n\nx",
    "encoded words": lambda: HEAD + b"Subject: " + repeated(b"=?utf-8?q?a?= ") + b"\n\nx",
    "addresses in From": lambda: b"From: "
    + numbered(lambda n: b"a%d <a%d@b.example>, " % (n, n)) + b"\n\nx",
    "comments in From": lambda: b"From: " + repeated(b"(") + b" a@b.example\n\nx",
    "parameters": lambda: HEAD + b"Content-Type: text/plain"
    + numbered(lambda n: b"; a*%d=b" % n) + b"\n\nx",
    "quoted-printable": lambda: HEAD + b"Content-Transfer-Encoding: quoted-printable\n\n"
    + repeated(b"=31=2E=32="),
    "JSON in depth": lambda: repeated(b'{"a":'),
    "JSON of addresses": lambda: b"["
    + numbered(lambda n: b'{"target_ip":"' + address(n) + b'","port":22},') + b"{}]",
    "one long number": lambda: b"[" + repeated(b"9") + b"]",
}  # fmt: skip
QUICK = ("growing quotation", "sentences", "nested tags")


def seconds_to_read(mail: bytes) -> float:
    """Return the seconds of processor time of the child that reads a mail, its start included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    sandbox.read_complaint(mail, own=OWN, protected=[])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize(
    "shape", [pytest.param(s, marks=() if s in QUICK else pytest.mark.slow) for s in MAILS]
)
def test_time_is_bounded_by_the_size(shape: str) -> None:
    """No shape costs more, and each is read without an error.

    On a slow machine the time may be longer, but then it grows with the size, not with its square.
    """
    mail = MAILS[shape]()
    seconds = seconds_to_read(mail)
    if seconds > START + BUSY * SECONDS_PER_MEGABYTE * len(mail) / (1 << 20):
        assert seconds <= 6 * seconds_to_read(mail[: len(mail) // 4])
    record(THING, 1, {"at most {:.1f} s, with the start of the process": seconds})
