"""A remote host that follows a script: whatever next hops do, good and bad, on loopback.

    remote = Remote({"RCPT": "550 5.1.1 No such user"})
    port = reactor.listenTCP(0, remote, interface="127.0.0.1")

What it says at each verb is a reply's lines without the last CRLF; a tuple of them, said one
after the other (the last one stays); a function of the command's argument; or a deed of this
module. Verbs are GREETING, EHLO, HELO, STARTTLS, AUTH, RSET, MAIL, RCPT, DATA, DOT and QUIT.
"""

from __future__ import annotations

import base64
import datetime
import ipaddress
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from attrs import define, field, frozen
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer

from mailnode.wire import DotReader

DROP = "(drops the connection)"
SILENCE = "(says nothing)"
ENDLESS = "(a reply without an end)"
TOO_EARLY = "(a reply, and octets in clear behind it)"
READS_NO_MORE = "(354, and the body stays unread)"
OFFERS = ("PIPELINING", "SIZE 10000000", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES")

Say = str | tuple[str, ...] | Callable[[str], str]

_USUAL: dict[str, Say] = {
    "GREETING": "220 remote.test ESMTP",
    "HELO": "250 remote.test",
    "STARTTLS": "220 2.0.0 Go ahead",
    "RSET": "250 2.0.0 Reset",
    "MAIL": "250 2.1.0 Sender ok",
    "RCPT": "250 2.1.5 Recipient ok",
    "DATA": "354 Go ahead",
    "DOT": "250 2.0.0 Taken",
    "QUIT": "221 2.0.0 Bye",
}


@frozen
class Taken:
    """One mail that the remote host took: paths with their parameters, as they were said."""

    sender: str
    recipients: tuple[str, ...]
    body: bytes
    tls: bool
    user: str = ""


@define(eq=False)
class Remote(Factory):
    """A remote host.

    Attributes:
        says: what it says at a verb, where that is not the usual thing.
        offers: lines of its reply to EHLO.
        lmtp: it takes LHLO, and answers behind the dot for each recipient.
        tls: offers STARTTLS with this certificate.
        users: who may sign in, with their passwords.
        taken: the mails it took.
        lines: every command, of all connections.
        connections: how many there were.
    """

    says: Mapping[str, Say] = field(factory=dict)
    offers: tuple[str, ...] = OFFERS
    lmtp: bool = False
    tls: Pair | None = None
    implicit_tls: bool = False
    users: Mapping[str, str] = field(factory=dict)
    taken: list[Taken] = field(factory=list)
    lines: list[str] = field(factory=list)
    connections: int = 0
    here: list[RemoteSession] = field(factory=list)

    noisy = False

    def buildProtocol(self, addr: object) -> RemoteSession:
        self.connections += 1
        return RemoteSession(self)

    def verbs(self) -> list[str]:
        return [line.split()[0].upper() for line in self.lines]


class RemoteSession(Protocol):
    """One connection of it."""

    transport: Any

    def __init__(self, remote: Remote) -> None:
        self.remote = remote
        self.said: dict[str, int] = {}
        self.input = b""
        self.user, self.sign_in = "", ""
        self.tls = False
        self.dots: DotReader | None = None
        self.forget()

    def forget(self) -> None:
        self.sender, self.recipients, self.body = "", [], b""  # type: tuple[str, list[str], bytes]

    def connectionMade(self) -> None:
        self.remote.here.append(self)
        if self.remote.implicit_tls:
            self.shake_hands()
        self.say("GREETING", "")

    def connectionLost(self, reason: object = None) -> None:
        self.remote.here.remove(self)

    def shake_hands(self) -> None:
        assert self.remote.tls is not None
        self.tls, self.input = True, b""
        self.transport.startTLS(self.remote.tls)

    def dataReceived(self, data: bytes) -> None:
        self.input += data
        while self.input:
            if self.dots is not None:
                data, self.input = self.input, b""
                piece, ended = self.dots.feed(data)
                self.body += piece
                if not ended:
                    return
                self.input, self.dots = self.dots.rest, None
                self.end_of_body()
            else:
                line, end, rest = self.input.partition(b"\r\n")
                if not end:
                    return
                self.input = rest
                self.command(line.decode())

    def say(self, verb: str, argument: str) -> str:
        """Say what the script says; the reply's code, "" for a deed."""
        script: Any = self.remote.says.get(verb, _USUAL.get(verb))
        if isinstance(script, tuple):
            at = self.said[verb] = self.said.get(verb, -1) + 1
            script = script[min(at, len(script) - 1)]
        if callable(script):
            script = script(argument)
        if script == DROP:
            self.transport.abortConnection()
        elif script == ENDLESS:
            self.transport.write(b"250-and on and on\r\n" * 20000)
        elif script == TOO_EARLY:
            self.transport.write(b"220 Go ahead\r\n250 evil\r\n")
        elif script == READS_NO_MORE:
            self.transport.write(b"354 Go ahead\r\n")
            self.transport.pauseProducing()
        elif script != SILENCE:
            self.transport.write(script.replace("\n", "\r\n").encode() + b"\r\n")
            return str(script[:3])
        return ""

    def command(self, line: str) -> None:
        self.remote.lines.append(line)
        verb, _, argument = line.partition(" ")
        verb = verb.upper()
        if self.sign_in:
            self.login_line(line)
        elif verb == ("LHLO" if self.remote.lmtp else "EHLO"):
            if "EHLO" in self.remote.says:
                self.say("EHLO", argument)
            else:
                self.greet()
        elif verb == "STARTTLS":
            if self.say(verb, argument) == "220":
                self.shake_hands()
        elif verb == "AUTH":
            self.auth(argument)
        elif verb == "MAIL":
            self.forget()
            if self.say(verb, argument)[:1] == "2":
                self.sender = argument.removeprefix("FROM:")
        elif verb == "RCPT":
            if not self.sender:
                self.transport.write(b"503 5.5.1 MAIL first\r\n")
            elif self.say(verb, argument)[:1] == "2":
                self.recipients.append(argument.removeprefix("TO:"))
        elif verb == "DATA":
            if not self.recipients and "DATA" not in self.remote.says:
                self.transport.write(b"503 5.5.1 RCPT first\r\n")
            elif self.say(verb, argument) == "354":
                self.dots, self.body = DotReader(), b""
        elif verb == "RSET":
            self.forget()
            self.say(verb, argument)
        elif verb == "QUIT":
            if self.say(verb, argument):
                self.transport.loseConnection()
        elif verb == "HELO":
            self.say(verb, argument)
        else:
            self.transport.write(b"500 5.5.2 What?\r\n")

    def greet(self) -> None:
        offers = list(self.remote.offers)
        if self.remote.tls is not None and not self.tls:
            offers.append("STARTTLS")
        if self.remote.users and self.tls:
            offers.append("AUTH PLAIN LOGIN" if "AUTH" not in self.remote.says else "AUTH LOGIN")
        lines = ["remote.test", *offers]
        reply = [f"250{'-' if at < len(lines) - 1 else ' '}{line}" for at, line in enumerate(lines)]
        self.transport.write("\r\n".join(reply).encode() + b"\r\n")

    def auth(self, argument: str) -> None:
        mechanism, _, initial = argument.partition(" ")
        if mechanism == "LOGIN":
            self.sign_in = "user"
            self.transport.write(b"334 VXNlcm5hbWU6\r\n")
        else:
            _, user, password = base64.b64decode(initial).decode().split("\0")
            self.signed_in(user, password)

    def login_line(self, line: str) -> None:
        word = base64.b64decode(line).decode()
        if self.sign_in == "user":
            self.sign_in = f"password {word}"
            self.transport.write(b"334 UGFzc3dvcmQ6\r\n")
        else:
            user, self.sign_in = self.sign_in.partition(" ")[2], ""
            self.signed_in(user, word)

    def signed_in(self, user: str, password: str) -> None:
        if self.remote.users.get(user) == password:
            self.user = user
            self.transport.write(b"235 2.7.0 Welcome\r\n")
        else:
            self.transport.write(f"535 5.7.8 {password} is wrong\r\n".encode())

    def end_of_body(self) -> None:
        whom = self.recipients if self.remote.lmtp else [""]
        codes = [self.say("DOT", recipient) for recipient in whom]
        taken = [one for one, code in zip(whom, codes, strict=True) if code[:1] == "2"]
        if taken:
            who = tuple(taken if self.remote.lmtp else self.recipients)
            mail = Taken(self.sender, who, self.body, self.tls, self.user)
            self.remote.taken.append(mail)
        self.forget()


# Certificates


@implementer(IOpenSSLServerConnectionCreator)
@define(eq=False)
class Pair:
    """A certificate with its key, and those that are shown behind it.

    Attributes:
        old: the TLS it speaks is so old that nobody wants it.
    """

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    shown: tuple[x509.Certificate, ...] = ()
    old: bool = False

    def serverConnectionForTLS(self, protocol: object) -> SSL.Connection:
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        if self.old:
            context.set_min_proto_version(SSL.TLS1_VERSION)
            context.set_max_proto_version(SSL.TLS1_1_VERSION)
            context.set_cipher_list(b"ALL:@SECLEVEL=0")
        context.use_certificate(self.certificate)
        context.use_privatekey(self.key)
        for each in self.shown:
            context.add_extra_chain_cert(each)
        return SSL.Connection(context, None)

    def write(self, path: Path) -> str:
        """The certificate alone, in PEM: a file of trust roots."""
        path.write_bytes(self.certificate.public_bytes(Encoding.PEM))
        return str(path)


def make_pair(
    name: str,
    issuer: Pair | None = None,
    *,
    authority: bool = False,
    days: int = 30,
    key: ec.EllipticCurvePrivateKey | None = None,
) -> Pair:
    """A certificate for a host, by an authority or by itself; with negative days it has expired."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    by = issuer.certificate.subject if issuer else subject
    names: list[x509.GeneralName] = [x509.DNSName(name)]
    if name == "localhost":
        names.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=60))
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    if not authority:
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
        made = made.add_extension(usage, critical=False)
    signed = made.sign(issuer.key if issuer else key, hashes.SHA256())
    return Pair(signed, key, (issuer.certificate,) if issuer else ())
