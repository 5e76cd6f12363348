"""Host names as people copy them out of a complaint: in URLs, defanged, in any script."""

import re
from typing import Final, NamedTuple

from exitpolicy.core.defang import refang
from exitpolicy.core.destination import MAX_TEXT, SCHEME_PORTS
from exitpolicy.core.errors import UsageError
from exitpolicy.core.ports import ALL_PORTS, Ports, parse_ports, ports_text
from exitpolicy.core.shell import word

MAX_NAME: Final = 253
"""Maximum characters of a name in ASCII (RFC 1035 section 2.3.4)."""

_LETTER: Final = r"[^\W\d_]"
_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_TOP: Final = r"[a-z]{2,63}|xn--[a-z0-9-]{1,59}"
"""A top-level domain has no digits (RFC 3696 section 2): `203.0.113.7x` is no name."""


ASCII_NAME: Final = rf"(?:{_LABEL}\.)+(?:{_TOP})"
"""A name as `ascii_name` returns it, with at least two labels."""


class NamedHost(NamedTuple):
    """A host name and ports: a destination whose addresses are not known yet."""

    name: str
    """In ASCII and lower case, without a final dot; other scripts in punycode (`xn--...`)."""
    ports: Ports = ALL_PORTS

    def __str__(self) -> str:
        return self.name if self.ports == ALL_PORTS else f"{self.name}:{ports_text(self.ports)}"


def parse_host(text: str) -> NamedHost | None:
    """Read a host name, also with ports or defanged, or the URL of one; None for anything else.

    `www.example.org`, `www.example.org:443`, `hxxps://www.example[.]org/login`. The scheme of a URL
    gives the port. Raises UsageError for a name that cannot be resolved.
    """
    if len(text) > MAX_TEXT or not re.search(_LETTER, text):
        return None
    plain = refang(text.strip())
    scheme, is_url, rest = _url(plain)
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in authority or "\\" in authority or authority.count(":") > 1:
        return None
    host, colon, ports = authority.partition(":")
    host = host.rstrip(".")
    if not _looks_like_name(host):
        return None
    name = ascii_name(host)
    if not is_url and authority != rest:
        raise UsageError(
            f"{text!r} is a URL without a scheme, which would say the port",
            hint=f"write {word(f'https://{rest}')}, or for all ports: {name}",
        )
    if colon:
        return NamedHost(name, parse_ports(ports))
    if not is_url:
        return NamedHost(name)
    port = SCHEME_PORTS.get(scheme.lower())
    if port is None:
        raise UsageError(
            f"the port of {text!r} is unknown", hint=f"write {name}:PORT, or {name} for all ports"
        )
    return NamedHost(name, ((port, port),))


def _url(text: str) -> tuple[str, str, str]:
    """Separate the scheme of a URL from the rest; the first two are empty where there is none."""
    before, separator, after = text.partition("://")
    return (before, separator, after) if separator else ("", "", text)


def _looks_like_name(host: str) -> bool:
    """Tell whether a text can only mean a host name: it has a dot and a top-level domain."""
    top = host.rpartition(".")[2]
    if "." not in host or re.search(r"[\s/]", host):
        return False
    return not host.isascii() or bool(re.fullmatch(_TOP, top, re.IGNORECASE))


def ascii_name(text: str) -> str:
    """Return a host name in ASCII and lower case, other scripts in punycode. Raises UsageError.

    Letters that only look like others (homographs) are seen in this form, and marks that change the
    direction of text are refused. Mapped as browsers do it (UTS 46, not transitional).
    """
    name = text.lower()
    if not text.isascii():
        # Imported here, because few names are in another script.
        import idna  # noqa: PLC0415

        if len(text) > MAX_NAME:
            # Releases before 3.7 would take quadratic time.
            raise _no_name(text)
        try:
            name = idna.encode(text, uts46=True, transitional=False).decode()
        except (idna.IDNAError, UnicodeError) as error:
            raise _no_name(text) from error
    labels = name.split(".")
    if len(name) > MAX_NAME or not all(re.fullmatch(_LABEL, label) for label in labels):
        raise _no_name(text)
    if not re.fullmatch(_TOP, labels[-1]):
        raise _no_name(text)
    if labels[-1] == "onion":
        raise UsageError(
            f"{name} is an onion service, to which no exit connects",
            hint="answer the reporter that exits do not reach it",
        )
    return name


def _no_name(text: str) -> UsageError:
    shown = text if len(text) <= MAX_NAME else f"{text[:MAX_NAME]}..."
    return UsageError(
        f"{shown!r} is not a host name", hint="write a name such as www.example.org, or an address"
    )
