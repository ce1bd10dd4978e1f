"""Ports: a bare number listens on this machine alone, an endpoint string where it says."""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet import unix
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import ServerFactory
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure

from mailnode.addresses import bracketed
from mailnode.endpoints import why_no_endpoint
from mailnode.machine import is_loopback
from mailnode.settings import ListenSettings

KINDS = ("smtp", "submission", "smtps", "pop3", "pop3s", "http", "https")
WEB_KINDS = ("http", "https")
LISTENING = "listening.json"
TRIES_FOR_A_PAIR = 20
_PLAIN = ("tcp", "tcp6", "unix", "systemd", "fd")


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

    def stopFactory(self) -> None:
        if self.inner is not None:
            self.inner.doStop()


@define(eq=False)
class Listener:
    """One thing to listen on, as it was asked for.

    Attributes:
        kind: smtp, submission, smtps, pop3, pop3s, http or https.
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
        if self.where.isascii() and self.where.isdigit():
            self._ports = _bind_loopback(reactor, self.where, self.door, backlog)
        else:
            self._ports = [_bind_endpoint(reactor, self.where, self.door, backlog)]

    def hand_over(self) -> list[int]:
        """The sockets' descriptors; from now on nobody is accepted here."""
        for port in self._ports:
            port.stopReading()
            port._shouldShutdown = False  # closing it here must not end it for the others
        return [port.fileno() for port in self._ports]

    def adopt(self, reactor: Any, descriptors: Iterable[int], backlog: int) -> None:
        """Accept from sockets that another process bound for the same `where`, and closes."""
        for descriptor in descriptors:
            adopting: Any = _AdoptingReactor(reactor, descriptor, backlog)
            if self.where.partition(":")[0] in _PLAIN or self.where.isdigit():
                self._ports.append(adopting.listenTCP(0, self.door))
            else:  # what the endpoint puts around each connection, such as TLS, is around ours
                self._ports.append(_bind_endpoint(adopting, self.where, self.door, backlog))
            os.close(descriptor)

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


def bind_all(
    reactor: Any, settings: ListenSettings, sources: Mapping[str, str] | None = None
) -> list[Listener]:
    """All that the settings name, listening; or nothing listens.

    Args:
        sources: "listen.smtp" to where its value is from, as `Config` has it; None for options.

    Raises:
        BadEndpoint, CannotBind: which one, and why.
    """
    listeners: list[Listener] = []
    try:
        for kind in KINDS:
            for where in getattr(settings, kind):
                listener = Listener(kind, where)
                listener.bind(reactor, settings.backlog)
                listeners.append(listener)
    except BadEndpoint as error:
        _close_all(listeners)
        raise BadEndpoint(f"{_named(kind, sources)}: {error}") from None
    except CannotBind as error:
        _close_all(listeners)
        port = port_of(where)
        twice = [each for each in listeners if port and port_of(each.where) == port]
        if not twice:
            raise
        names = _named(twice[0].kind, sources), _named(kind, sources)
        both = f"{names[0]} names it twice" if names[0] == names[1] else f"{' and '.join(names)} do"
        raise BadEndpoint(f"two can't listen on port {port}: {both}") from error
    except BaseException:
        _close_all(listeners)
        raise
    return listeners


def port_of(where: str) -> str:
    """The TCP port of a number or an endpoint string; "" for none, or one that is picked."""
    kind, _, rest = where.partition(":")
    if not rest:
        port = kind
    elif kind in ("tcp", "tcp4", "tcp6", "ssl"):
        port = rest.partition(":")[0].removeprefix("port=")
    else:
        port = ""
    return port if port.isascii() and port.strip("0").isdigit() else ""


def _named(kind: str, sources: Mapping[str, str] | None) -> str:
    """What the setting is called where its value is from."""
    source = (sources or {}).get(f"listen.{kind}", f"--{kind}")
    return source if source.startswith(("--", "MAILNODE_")) else f"{source}: listen.{kind}"


def _close_all(listeners: Iterable[Listener]) -> None:
    for listener in listeners:
        listener.close()


def write_listening(
    data: Path,
    hostname: str,
    listeners: Iterable[Listener],
    cert: Path,
    key: Path,
    settings: Path | None,
) -> None:
    """`listening.json`: the ports that the node has, for who asked for port 0, and its files.

    Args:
        cert, key: its TLS pair.
        settings: the file that it has them from; None for none.
    """
    told: dict[str, Any] = {"pid": os.getpid(), "hostname": hostname}
    told |= {"tls_cert": os.fspath(cert.absolute()), "tls_key": os.fspath(key.absolute())}
    told["config"] = None if settings is None else os.fspath(settings.absolute())
    told |= {kind: [] for kind in KINDS}
    for listener in listeners:
        told[listener.kind] += listener.addresses()
    path = data / LISTENING
    unfinished = path.with_suffix(".new")
    unfinished.write_text(json.dumps(told, indent=1) + "\n")
    unfinished.chmod(0o600)
    unfinished.rename(path)


def show_address(address: Any) -> str:
    if isinstance(address, UNIXAddress):
        name = address.name or b""
        return f"unix:{name.decode('utf-8', 'replace')}"
    return f"{bracketed(address.host)}:{address.port}"


def _bind_loopback(reactor: Any, where: str, door: Door, backlog: int) -> list[Any]:
    """Both families on one port number; IPv4 alone where there is no IPv6."""
    if len(where) > 5 or int(where) > 65535:
        raise BadEndpoint(f"there is no port {where:.20}: they end at 65535")
    number = int(where)
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
    kind, full = where.partition(":")[0], where
    if kind in ("tcp", "tcp6", "unix") and "backlog=" not in where:
        full = f"{where}:backlog={backlog}"
    try:
        endpoint = serverFromString(reactor, full)
    except Exception as error:  # each kind of endpoint has its own, and plug-ins more
        raise BadEndpoint(
            f'"{where}" is no port and no endpoint: say 2525 or tcp:25 '
            f"({why_no_endpoint(where, error)})"
        ) from None
    results: list[Any] = []
    endpoint.listen(door).addBoth(results.append)
    if not results:
        raise BadEndpoint(f'"{where}" can\'t be bound at the start')
    if isinstance(results[0], Failure):
        if results[0].check(OverflowError):
            raise BadEndpoint(f"there is no such port as in {where}: they end at 65535")
        raise CannotBind(f"can't listen on {where}: {_reason(results[0].value)}")
    return results[0]


@define(eq=False)
class _AdoptingReactor:
    """A reactor whose next port is there already."""

    _reactor: Any
    _descriptor: int
    _backlog: int

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenTCP(self, _port: object, factory: Any, *_: object, **__: object) -> Any:
        with socket.socket(fileno=os.dup(self._descriptor)) as bound:
            family = bound.family
        if family != socket.AF_UNIX:
            return self._reactor.adoptStreamPort(self._descriptor, family, factory)
        port: Any = unix.Port._fromListeningDescriptor(self._reactor, self._descriptor, factory)
        # The file is the other process's: with a name outside the file system Twisted neither
        # changes its mode nor removes it.
        port._bindPath = b"\0" + port._bindPath
        port.backlog = self._backlog
        port._shouldShutdown = False  # that would be for all who have the socket
        port.startListening()
        return port

    def listenUNIX(self, _address: object, factory: Any, *_: object, **__: object) -> Any:
        return self.listenTCP(0, factory)

    def listenSSL(
        self, _port: object, factory: Any, contextFactory: Any, *_: object, **__: object
    ) -> Any:
        return self.listenTCP(0, TLSMemoryBIOFactory(contextFactory, False, factory))


def _reason(error: BaseException | None) -> str:
    cause = getattr(error, "socketError", None) or error
    text = getattr(cause, "strerror", None) or str(cause)
    if getattr(cause, "errno", None) == errno.EADDRINUSE:
        return f"{text}; another program uses that port"
    if getattr(cause, "errno", None) == errno.EACCES:
        return f"{text}; ports below 1024 need root (and --uid, --gid to shed it)"
    return str(text)
