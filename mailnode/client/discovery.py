"""Finds a domain's mail servers: SRV records, then autoconfig, as mail programs do.

RFC 6186 and 8314 (SRV); autoconfig as Thunderbird has it.
"""

from __future__ import annotations

import random
import urllib.request
from collections.abc import Callable
from http.client import HTTPException, HTTPMessage
from typing import IO
from urllib.parse import quote
from xml.etree import ElementTree

import dns.exception
import dns.resolver
from attrs import frozen

from mailnode.addresses import parse_domain
from mailnode.client.connection import Server
from mailnode.errors import MailError

PATIENCE_S = 5.0
PAGE_OCTETS = 65536
NAME_CHARACTERS = 255
PORT_DIGITS = 5
IMPLICIT = {"smtp": "submissions", "pop3": "pop3s"}
LATER = {"smtp": "submission", "pop3": "pop3"}
PORTS = {("smtp", True): 465, ("smtp", False): 587, ("pop3", True): 995, ("pop3", False): 110}
_KINDS = ("smtp", "pop3")
_PAGES = (
    "https://autoconfig.{domain}/mail/config-v1.1.xml?emailaddress={address}",
    "https://{domain}/.well-known/autoconfig/mail/config-v1.1.xml",
)

LookUp = Callable[[str], "list[tuple[int, int, int, str]]"]
Fetch = Callable[[str], bytes]


@frozen
class Found:
    """What a domain says of itself, as far as it does.

    Attributes:
        by: who said it.
        user: how the sign-in name is made of the address: "%EMAILADDRESS%" or
            "%EMAILLOCALPART%".
    """

    servers: dict[str, Server]
    by: str = ""
    user: str = "%EMAILADDRESS%"

    def sign_in_name(self, address: str) -> str:
        local, _, domain = address.rpartition("@")
        made = self.user.replace("%EMAILADDRESS%", address).replace("%EMAILLOCALPART%", local)
        return made.replace("%EMAILDOMAIN%", domain)


def look_up(name: str) -> list[tuple[int, int, int, str]]:
    """(priority, weight, port, host) of the SRV records; none where there are none."""
    try:
        resolver = dns.resolver.Resolver()
        resolver.lifetime = PATIENCE_S
        answer = resolver.resolve(name, "SRV")
    except dns.exception.DNSException:
        return []
    return [
        (each.priority, each.weight, each.port, each.target.to_text(omit_final_dot=True))
        for each in answer
    ]


class _InsideTls(urllib.request.HTTPRedirectHandler):
    """Follows to HTTPS alone: on the way in between somebody could say where to go on."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if not newurl.startswith("https:"):
            return None
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def fetch(url: str) -> bytes:
    """A page over HTTPS, b"" where there is none, or where it isn't HTTPS all the way."""
    try:
        opener = urllib.request.build_opener(_InsideTls)
        with opener.open(url, timeout=PATIENCE_S) as page:
            found: bytes = page.read(PAGE_OCTETS)
            return found
    except (OSError, ValueError, HTTPException):
        return b""


def discover(address: str, look_up: LookUp = look_up, fetch: Fetch = fetch) -> Found:
    """The servers for mail of this address; kinds that nobody tells of are not there.

    What is told is no more than a stranger's word: a host that is no host name or this machine, a
    sign-in name that could steer a terminal, and a server without TLS are passed over.

    Raises:
        BadAddress: it has no domain that could be asked.
    """
    domain = parse_domain(address.rpartition("@")[2])
    servers = {
        kind: server for kind in _KINDS if (server := _by_srv(kind, domain, look_up)) is not None
    }
    if len(servers) == len(_KINDS):
        return Found(servers, "the DNS")
    for page in _PAGES:
        if content := fetch(page.format(domain=domain, address=quote(address, errors="replace"))):
            found = _by_autoconfig(content)
            if found.servers:
                return Found(found.servers | servers, "autoconfig", found.user)
    return Found(servers, "the DNS" if servers else "")


def _by_srv(kind: str, domain: str, look_up: LookUp) -> Server | None:
    """Implicit TLS is asked for first; "." says that there is no such service."""
    for name, implicit in ((IMPLICIT[kind], True), (LATER[kind], False)):
        usable = [
            (priority, weight, server)
            for priority, weight, port, host in look_up(f"_{name}._tcp.{domain}")
            if (server := _read_server(host, port, implicit)) is not None
        ]
        if usable:
            first = min(each[0] for each in usable)
            of_first = [each for each in usable if each[0] == first]
            weights = [each[1] + 1 for each in of_first]
            (chosen,) = random.choices(of_first, weights)  # noqa: S311 - a share of the load
            return chosen[2]
    return None


def _by_autoconfig(content: bytes) -> Found:
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:  # nothing to be expanded without end
        return Found({})
    try:
        root = ElementTree.fromstring(content)  # noqa: S314 - no entities, 64 KiB at most
    except ElementTree.ParseError:
        return Found({})
    servers: dict[str, Server] = {}
    user = "%EMAILADDRESS%"
    for kind, tag in (("smtp", "outgoingServer"), ("pop3", "incomingServer")):
        offered = [
            (server, said)
            for each in root.iter(tag)
            if each.get("type") == kind and (server := _server(each)) is not None
            for said in (_text(each, "username"),)
            if said.isprintable() and len(said) <= NAME_CHARACTERS
        ]
        offered.sort(key=lambda each: not each[0].implicit_tls)
        if offered:
            servers[kind] = offered[0][0]
            user = offered[0][1] or user
    return Found(servers, "autoconfig", user)


def _server(told: ElementTree.Element) -> Server | None:
    """None for what isn't inside TLS, or nowhere."""
    host, port, tls = _text(told, "hostname"), _text(told, "port"), _text(told, "socketType")
    if tls.upper() not in ("SSL", "STARTTLS") or not port.isdecimal() or len(port) > PORT_DIGITS:
        return None
    return _read_server(host, int(port), tls.upper() == "SSL")


def _read_server(host: str, port: int, implicit_tls: bool) -> Server | None:
    """None for what is no host name, and for this machine, where certificates don't count."""
    try:
        server = Server(parse_domain(host), port, implicit_tls)
    except MailError:
        return None
    is_elsewhere = not (server.is_here or host.startswith("["))
    return server if is_elsewhere and 0 < port < 65536 else None


def _text(told: ElementTree.Element, name: str) -> str:
    return (told.findtext(name) or "").strip()
