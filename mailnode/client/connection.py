"""A connection to a mail server: a blocking socket, TLS as safely as it can be had."""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

from attrs import define, field, frozen

from mailnode.addresses import bracketed
from mailnode.client.trouble import (
    Late,
    NoCertificates,
    NoSuchHost,
    NoTls,
    NotTrusted,
    Unreachable,
)

CONNECT_S = 30.0
GREETING_S = 60.0
PATIENCE_S = 5.0  # then it is said that no greeting has come
SILENCE_S = 300.0
CHUNK_OCTETS = 65536
LINE_OCTETS = 65536


@frozen
class Server:
    """Where a server is, and how TLS begins there.

    Attributes:
        host: a name or an IP address, without brackets.
        implicit_tls: with the first octet; otherwise by STARTTLS or STLS.
    """

    host: str
    port: int
    implicit_tls: bool = False

    def __str__(self) -> str:
        return f"{bracketed(self.host)}:{self.port}"

    @property
    def is_here(self) -> bool:
        """Whether it is named as this machine, where nobody listens on the way."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


@frozen
class Trust:
    """Whose certificates are believed.

    Attributes:
        file: PEM certificates that are believed in place of the system's authorities; None for
            those.
        name: what the certificate must name; "" for the host.
        clear: whether a password may be said in clear, and any certificate will do.
    """

    file: Path | None = None
    name: str = ""
    clear: bool = False

    def context(self, server: Server) -> ssl.SSLContext:
        """How to shake hands with it; on this machine any certificate does, unless one is named.

        Raises:
            NotTrusted: the file holds no certificates, or isn't there.
        """
        context = ssl.create_default_context()
        if self.file is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            try:
                context.load_verify_locations(self.file)
            except FileNotFoundError as error:
                raise NoCertificates(f"{self.file}: {error.strerror}") from None
            except (OSError, ssl.SSLError) as error:
                raise NotTrusted(f"{self.file} holds no certificates in PEM: {error}") from None
        if self.clear or (server.is_here and self.file is None):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context


def _nobody(why: str) -> None:
    """Nobody looks."""


@define(eq=False)
class Connection:
    """Octets to and from one server.

    Attributes:
        on_wire: told each piece as it goes, with True when it is ours; for `--debug`.
        on_silence: told why, when no greeting has come after a while; it is waited for on.
    """

    server: Server
    trust: Trust
    on_wire: Callable[[bytes, bool], object] | None = None
    on_silence: Callable[[str], object] = field(default=_nobody, kw_only=True)
    _socket: socket.socket = field(init=False)
    _buffer: bytearray = field(factory=bytearray, init=False)

    def __attrs_post_init__(self) -> None:
        """
        Raises:
            Unreachable: with the reason, of several addresses the last one's.
        """
        server = self.server
        try:
            self._socket = socket.create_connection((server.host, server.port), CONNECT_S)
        except socket.gaierror as error:
            late = error.errno == socket.EAI_AGAIN
            kind = Unreachable if late else NoSuchHost
            raise kind(f"{server.host} can't be found: {error.strerror}") from None
        except TimeoutError:
            raise Unreachable(f"{server} does not answer within {CONNECT_S:.0f} s") from None
        except OSError as error:
            why = error.strerror or str(error)
            raise Unreachable(f"there is no connection to {server}: {why}") from None
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.settimeout(SILENCE_S)
        if server.implicit_tls:
            self.secure()

    @property
    def is_secure(self) -> bool:
        return isinstance(self._socket, ssl.SSLSocket)

    @property
    def tls(self) -> str:
        """Version and cipher; "" in clear."""
        if not isinstance(self._socket, ssl.SSLSocket):
            return ""
        cipher = self._socket.cipher()
        return f"{self._socket.version()} {cipher[0] if cipher else ''}".strip()

    def secure(self) -> None:
        """Shake hands.

        Raises:
            NotTrusted: the certificate is not one that we trust.
            Unreachable: there is no TLS.
        """
        if self._buffer:  # somebody on the way could have put it there
            self.close()
            raise NotTrusted(f"{self.server} said more in clear than it should have, before TLS")
        name = self.trust.name or self.server.host
        try:
            self._socket = self.trust.context(self.server).wrap_socket(
                self._socket, server_hostname=name
            )
        except ssl.SSLCertVerificationError as error:
            self.close()
            raise NotTrusted(
                f"the certificate of {self.server} is not to be trusted: "
                f"{error.verify_message.rstrip('.')}; "
                "if you know the server, give its certificate: --trust FILE"
            ) from None
        except OSError as error:
            self.close()
            hint = "" if not self.server.implicit_tls else "; is this a port where TLS comes later?"
            kind = NoTls if isinstance(error, ssl.SSLError) else Unreachable
            raise kind(f"no TLS with {self.server}: {_reason(error)}{hint}") from None

    def write(self, data: bytes) -> None:
        if self.on_wire is not None:
            self.on_wire(data, True)
        try:
            self._socket.sendall(data)
        except TimeoutError:
            raise self._late() from None
        except OSError as error:
            raise self._lost(error) from None

    def read(self) -> bytes:
        """What has come, 1 to 65,536 octets.

        Raises:
            Unreachable: the server has closed, or was silent for five minutes.
        """
        if self._buffer:
            data = bytes(self._buffer)
            self._buffer.clear()
            return data
        try:
            return self._taken(self._receive())
        except TimeoutError:
            raise self._late() from None

    def _taken(self, data: bytes) -> bytes:
        if not data:
            raise self._lost(None)
        if self.on_wire is not None:
            self.on_wire(data, False)
        return data

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(CHUNK_OCTETS)
        except TimeoutError:  # whoever waits for it knows what that means
            raise
        except OSError as error:
            raise self._lost(error) from None

    def wait_at_most(self, seconds: float) -> None:
        """From here the server has so long for each of its words."""
        self._socket.settimeout(seconds)

    def expect_greeting(self) -> None:
        """The first octets have come, or the reason why they don't.

        Raises:
            Unreachable: the server closes, or says nothing for a minute.
        """
        self.wait_at_most(min(PATIENCE_S, GREETING_S))
        try:
            try:
                greeting = self._taken(self._receive())
            except TimeoutError:
                self.on_silence(f"it says nothing yet{self._hint}")
                self.wait_at_most(GREETING_S)
                greeting = self.read()
            self.put_back(greeting)
        except Late as error:
            raise Late(f"{error.text}{self._hint}") from None
        except Unreachable as error:
            raise Unreachable(f"{error.text}{self._hint}") from None
        self.wait_at_most(SILENCE_S)

    @property
    def _hint(self) -> str:
        """What a server that doesn't greet may be waiting for."""
        if self.server.implicit_tls:
            return ""
        return "; does TLS begin at once there? Then it is smtps:// or pop3s:// in front"

    def put_back(self, data: bytes) -> None:
        """What was read too much comes again."""
        self._buffer[:0] = data

    def read_line(self) -> bytes:
        """One line, without its CRLF (or LF).

        Raises:
            Unreachable: it is endless, or the connection ended before it did.
        """
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > LINE_OCTETS:
                self.close()
                raise Unreachable(f"{self.server} sends a line without an end")
            held = bytes(self._buffer)
            self._buffer.clear()
            self._buffer += held + self.read()
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line.removesuffix(b"\r")

    def close(self) -> None:
        self._socket.close()

    def _late(self) -> Late:
        self.close()
        return Late(f"{self.server} has been silent for {self._socket.gettimeout():.0f} s")

    def _lost(self, error: OSError | None) -> Unreachable:
        self.close()
        why = f": {_reason(error)}" if error is not None else ""
        return Unreachable(f"{self.server} has closed the connection{why}")


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    return os.strerror(error.errno) if error.errno else str(error)
