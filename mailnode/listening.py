"""Ports: a bare number listens on this machine alone, an endpoint string where it says."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Any

from attrs import define, field
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import ServerFactory
from twisted.python.failure import Failure

from mailnode.machine import is_loopback

TRIES_FOR_A_PAIR = 20


class CannotBind(Exception):
    """A port could not be had: which, and why, in one line."""


class BadEndpoint(Exception):
    """What was given is no port and no endpoint string."""


class Door(ServerFactory):
    """Holds a port from the moment it is bound (as root, perhaps) until its server is built."""

    noisy = False

    def __init__(self) -> None:
        self.inner: Any = None

    def buildProtocol(self, addr: IAddress | None) -> Any:
        return self.inner.buildProtocol(addr) if self.inner is not None else None


@define(eq=False)
class Listener:
    """One thing to listen on, as it was asked for.

    Attributes:
        kind: smtp, submission, smtps, pop3, pop3s or http.
        where: a port number or an endpoint string.
    """

    kind: str
    where: str
    door: Door = field(factory=Door)
    _ports: list[Any] = field(factory=list)

    def bind(self, reactor: Any, backlog: int) -> None:
        """Listen now.

        Raises:
            BadEndpoint, CannotBind.
        """
        if self.where.isdigit():
            self._ports = _bind_loopback(reactor, int(self.where), self.door, backlog)
        else:
            self._ports = [_bind_endpoint(reactor, self.where, self.door, backlog)]

    def addresses(self) -> Iterator[str]:
        """`host:port` of each socket, IPv6 in brackets, `unix:PATH`."""
        for port in self._ports:
            yield show_address(port.getHost())

    @property
    def beyond_loopback(self) -> bool:
        """Whether somebody else than this machine can connect."""
        return any(
            isinstance(port.getHost(), IPv4Address | IPv6Address)
            and not is_loopback(port.getHost().host)
            for port in self._ports
        )

    def close(self) -> list[Deferred[Any]]:
        ports, self._ports = self._ports, []
        stopped = [port.stopListening() for port in ports]
        return [each for each in stopped if isinstance(each, Deferred)]


def show_address(address: Any) -> str:
    if isinstance(address, UNIXAddress):
        name = address.name or b""
        return f"unix:{name.decode('utf-8', 'replace')}"
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"{host}:{address.port}"


def _bind_loopback(reactor: Any, number: int, door: Door, backlog: int) -> list[Any]:
    """Both families on one port number; IPv4 alone where there is no IPv6."""
    if number > 65535:
        raise BadEndpoint(f"there is no port {number}: they end at 65535")
    for _ in range(TRIES_FOR_A_PAIR):
        first = _listen(reactor, number, door, backlog, "127.0.0.1")
        try:
            second = _listen(reactor, first.getHost().port, door, backlog, "::1")
        except CannotBind as error:
            cause = error.__cause__
            code = getattr(getattr(cause, "socketError", None), "errno", None)
            if code in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.ENETUNREACH):
                return [first]
            first.stopListening()
            if number:
                raise
        else:
            return [first, second]
    raise CannotBind("no port is free on both 127.0.0.1 and ::1")


def _listen(reactor: Any, number: int, door: Door, backlog: int, host: str) -> Any:
    try:
        return reactor.listenTCP(number, door, backlog, host)
    except CannotListenError as error:
        where = f"[{host}]:{number}" if ":" in host else f"{host}:{number}"
        raise CannotBind(f"can't listen on {where}: {_reason(error)}") from error


def _bind_endpoint(reactor: Any, where: str, door: Door, backlog: int) -> Any:
    kind = where.partition(":")[0]
    if kind in ("tcp", "tcp6", "unix") and "backlog=" not in where:
        where = f"{where}:backlog={backlog}"
    try:
        endpoint = serverFromString(reactor, where)
    except (ValueError, TypeError, KeyError) as error:
        raise BadEndpoint(
            f'"{where}" is no port and no endpoint: say 2525 or tcp:25 ({error})'
        ) from None
    results: list[Any] = []
    endpoint.listen(door).addBoth(results.append)
    if not results:
        raise BadEndpoint(f'"{where}" can\'t be bound at the start')
    if isinstance(results[0], Failure):
        raise CannotBind(f"can't listen on {where}: {_reason(results[0].value)}")
    return results[0]


def _reason(error: BaseException | None) -> str:
    cause = getattr(error, "socketError", None) or error
    text = getattr(cause, "strerror", None) or str(cause)
    if getattr(cause, "errno", None) == errno.EADDRINUSE:
        return f"{text}; another program uses that port"
    if getattr(cause, "errno", None) == errno.EACCES:
        return f"{text}; ports below 1024 need root (and --uid, --gid to shed it)"
    return str(text)
