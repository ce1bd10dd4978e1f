"""Servers as a person names them: HOST, HOST:PORT, smtps://HOST:PORT."""

from __future__ import annotations

from mailnode.cli.frame import EX_USAGE, Mistake
from mailnode.client.connection import Server
from mailnode.client.discovery import LATER, PORT_DIGITS, PORTS

_SCHEMES = {"smtp": ("smtp", False), "smtps": ("smtp", True), "pop3": ("pop3", False),
            "pop3s": ("pop3", True)}  # fmt: skip


def read_server(kind: str, text: str) -> list[Server]:
    """HOST, HOST:PORT or with a scheme in front; without a port the usual ones, TLS first.

    Raises:
        Mistake: it is none of that.
    """
    scheme, mark, rest = text.partition("://")
    if not mark:
        scheme, rest = "", text
    elif _SCHEMES.get(scheme, ("",))[0] != kind:
        raise Mistake(f"{text!r}: {kind}:// or {kind}s:// stands in front, or nothing", EX_USAGE)
    rest = rest.rstrip("/")
    host, mark, port = rest.rpartition(":")
    if rest.endswith("]") or (":" in host and not host.startswith("[")):  # IPv6 without a port
        host, mark, port = rest, "", ""
    elif not mark:
        host, port = rest, ""
    host = host.strip("[]")
    if not _is_host(host) or (mark and not _is_port(port)):
        raise Mistake(f"{text!r} is no server: it is such as mail.example.org:{_usual(kind)}",
                      EX_USAGE)  # fmt: skip
    if port:
        implicit = _SCHEMES[scheme][1] if scheme else int(port) == PORTS[kind, True]
        return [Server(host, int(port), implicit)]
    if scheme:
        implicit = _SCHEMES[scheme][1]
        return [Server(host, PORTS[kind, implicit], implicit)]
    return [Server(host, PORTS[kind, True], True), Server(host, PORTS[kind, False])]


def _is_host(text: str) -> bool:
    """Whether it could be looked up."""
    try:
        return bool(text.encode("idna")) and not any(c.isspace() for c in text)
    except UnicodeError:
        return False


def _is_port(text: str) -> bool:
    return text.isdecimal() and len(text) <= PORT_DIGITS and 0 < int(text) < 65536


def _usual(kind: str) -> int:
    return PORTS[kind, LATER[kind] == kind and kind == "smtp"]
