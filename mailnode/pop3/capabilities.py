"""What CAPA says in each state (RFC 2449, 2595, 3206, 5034, 6856; P12)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.logger import Logger
from twisted.mail import pop3

if TYPE_CHECKING:
    from mailnode.pop3.server import Pop3Server

_log = Logger()


def capabilities_of(server: Pop3Server) -> list[bytes]:
    """One line each: what works for this client now, and nothing else."""
    signed_in = server.drop is not None
    lines = [b"TOP", b"UIDL", b"PIPELINING", b"RESP-CODES", b"AUTH-RESP-CODE", b"UTF8 USER"]
    if not signed_in:
        if server.maySignIn():
            lines.append(b"USER")
            if server.challengers and server.portal is not None:
                lines.append(b"SASL " + b" ".join(server.mechanisms()))
        if server.tls_offered:
            lines.append(b"STLS")
    if pop3.IServerFactory.providedBy(server.factory):
        for name in ("EXPIRE", "LOGIN-DELAY", "IMPLEMENTATION"):
            if name == "IMPLEMENTATION" and not signed_in:
                continue  # no stranger needs to know (RFC 2449 section 6.9)
            try:
                lines.append(name.encode() + b" " + _WORDS[name](server))
            except NotImplementedError:  # a factory says so that it doesn't know
                continue
            except Exception:
                _log.failure("a capability could not be told")
    return lines


def _expire(server: Pop3Server) -> bytes:
    days = server.factory.cap_EXPIRE()
    return _of_user(server, days, server.factory.perUserExpiration(), "messageExpiration")


def _login_delay(server: Pop3Server) -> bytes:
    seconds = server.factory.cap_LOGIN_DELAY()
    return _of_user(server, seconds, server.factory.perUserLoginDelay(), "loginDelay")


def _implementation(server: Pop3Server) -> bytes:
    return _octets(server.factory.cap_IMPLEMENTATION())


def _of_user(server: Pop3Server, value: object, per_user: object, attribute: str) -> bytes:
    if per_user and server.mbox is not None:
        return _octets(getattr(server.mbox, attribute))
    return _octets(value) + (b" USER" if per_user else b"")


def _octets(value: object) -> bytes:
    if value is None:
        return b"NEVER"
    return value if isinstance(value, bytes) else str(value).encode()


_WORDS = {"EXPIRE": _expire, "LOGIN-DELAY": _login_delay, "IMPLEMENTATION": _implementation}
