"""Restore the links that mail gateways rewrote.

Gateways also turn bare addresses into links, so that the cell of a table becomes a link.
"""

import base64
import binascii
import re
from functools import cache
from typing import Final
from urllib.parse import unquote

from exitpolicy.complaint.language import vocabulary

MAX_LINK: Final = 4_000
"""Characters of a link; a longer one stays as it is."""
MAX_REWRITES: Final = 3
"""Maximum gateways that rewrote a link one after the other."""
_LINK: Final = re.compile(
    rf"https?://([a-z0-9][a-z0-9.-]{{3,80}})(?::\d{{1,5}})?(/[^\s<>\"]{{4,{MAX_LINK}}})",
    re.IGNORECASE,
)
_BARE: Final = re.compile(
    r"https?://(\d{1,3}(?:\.\d{1,3}){3}|\[[0-9a-f:.]{3,45}\])(:\d{1,5})?\Z", re.IGNORECASE
)
"""An address without a path: the gateway, or the mailer, made a link of it."""
_TWICE: Final = re.compile(r"(?<![\w.-])([\w.-]{4,80})\s?<(?:https?://)?\1/?>")
"""`A<http://A>`, as Outlook writes a link into plain text."""
_UNDERLINES: Final = re.compile(r"/v3/__(.{3,}?)__;")

_gateways = cache(lambda: tuple(vocabulary.family("gateway")))


def original_links(text: str) -> str:
    """Return a text with its original links."""
    return _TWICE.sub(r"\1", _LINK.sub(_original, text)) if "://" in text else text


def _original(link: re.Match[str]) -> str:
    written = link[0]
    for _ in range(MAX_REWRITES):
        found = _LINK.fullmatch(written)
        inner = _inside(found[1].lower(), found[2]) if found else ""
        if not inner:
            break
        written = inner
    if written == link[0]:
        return written
    bare = _BARE.match(written)
    return bare[1] + (bare[2] or "") if bare else written


def _inside(host: str, path: str) -> str:
    """Return the link inside a gateway's link; an empty string if it is none."""
    for where, hosts in _gateways():
        if hosts.search(host) and (found := _at(path, *where.split())):
            return found
    return ""


def _at(path: str, encoding: str, parameter: str = "") -> str:
    """Return the link in a gateway's path: in a parameter, between underlines, or at its end."""
    if encoding == "underlines":
        value = _UNDERLINES.match(path)
        return value[1] if value else ""
    if encoding == "path":
        return _link(unquote(path.rpartition("/")[2], errors="replace"))
    value = re.search(rf"[?&](?:amp;)?{parameter}=([^&\s]+)", path, re.IGNORECASE)
    if value is None:
        return ""
    if encoding == "base64":
        return _link(_base64(unquote(value[1], errors="replace")))
    if encoding == "dashes":
        return _link(unquote(value[1].replace("-", "%").replace("_", "/"), errors="replace"))
    return _link(unquote(value[1], errors="replace"))


def _link(text: str) -> str:
    """Return a text that is a link; an empty string for any other."""
    return text if re.fullmatch(r"[a-z]{2,10}://\S+", text, re.IGNORECASE) else ""


def _base64(text: str) -> str:
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return ""
    return data.decode("utf-8", "replace")
