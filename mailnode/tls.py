"""TLS: the certificate that is there, or one of our own making, taken up anew when it changes."""

from __future__ import annotations

import datetime
import errno
import ipaddress
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import define, field
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer

from mailnode.durable import write_durably
from mailnode.settings import TlsSettings

SELF_SIGNED_DAYS = 825
RENEW_DAYS = 60  # before its end
BACKDATED_DAYS = 2  # a clock that is set back later still finds it valid
RENEWAL_LOOK_S = 3600.0
LOOK_EVERY_S = 1.0

# How long those of our making last: now, and before they were dated back by more than an hour.
OUR_TIMES = (
    datetime.timedelta(days=SELF_SIGNED_DAYS),
    datetime.timedelta(days=SELF_SIGNED_DAYS, hours=1),
)

EXPORTER_LABEL = b"EXPORTER-Channel-Binding"  # RFC 9266
EXPORTED_OCTETS = 32
WEAK_HASHES = ("md5", "sha1")  # in whose place a certificate is hashed by SHA-256 (RFC 5929)

_log = Logger()


@define(eq=False)
class TlsChannel:
    """A connection inside TLS, to which a proof of a password can be bound.

    Args:
        connection: the transport's handle, once that is asked for.
    """

    _connection: Callable[[], Any]

    def binding(self, kind: str) -> bytes | None:
        """What both ends, and nobody in between, know of it; None where there is no such.

        Args:
            kind: tls-exporter, of TLS 1.3 (RFC 9266); tls-server-end-point (RFC 5929).
        """
        connection = self._connection()
        if kind == "tls-exporter":
            # Below, only an extension that can't be asked about makes it safe.
            if connection.get_protocol_version_name() != "TLSv1.3":
                return None
            return bytes(connection.export_keying_material(EXPORTER_LABEL, EXPORTED_OCTETS, b""))
        if kind == "tls-server-end-point":
            return _hash_of(connection.get_certificate())
        return None


def _hash_of(certificate: crypto.X509 | None) -> bytes | None:
    if certificate is None:
        return None
    known = certificate.to_cryptography()
    algorithm = known.signature_hash_algorithm
    if algorithm is None:  # one that has no single hash: RFC 5929 says nothing of it
        return None
    return known.fingerprint(hashes.SHA256() if algorithm.name in WEAK_HASHES else algorithm)


class TlsError(Exception):
    """The certificate or key can't be used: which file, and why."""


@implementer(IOpenSSLServerConnectionCreator)
@define(eq=False)
class Certificate:
    """Makes TLS connections from two PEM files, TLS 1.2 and later.

    The files are looked at before a handshake, once a second at most; a changed pair that
    can't be used is logged and the one before it stays.

    Attributes:
        self_signed: whether it is of our own making.
    """

    cert: Path
    key: Path
    seconds: Callable[[], float]
    self_signed: bool = False
    _context: SSL.Context | None = None
    _stamp: tuple[int, ...] = ()
    _looked_at: float = field(default=float("-inf"))
    _fault: str = ""

    def load(self) -> None:
        """Read both files now.

        Raises:
            TlsError: unreadable, not PEM, or not a pair.
        """
        stamp = self._files_stamp()
        self._context = _context_of(self.cert, self.key)
        self._stamp = stamp

    def serverConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:
        """What Twisted calls for each handshake."""
        now = self.seconds()
        if now - self._looked_at >= LOOK_EVERY_S:
            self._looked_at = now
            self._take_up_changes()
        assert self._context is not None
        return SSL.Connection(self._context, None)

    def around(self, factory: Any) -> TLSMemoryBIOFactory:
        """`factory`'s protocols inside TLS from the first octet."""
        wrapped = TLSMemoryBIOFactory(self, False, factory)
        wrapped.noisy = False
        return wrapped

    def refresh(self) -> None:
        """Take up changed files; a pair that can't be used changes nothing."""
        self._fault = ""
        self._take_up_changes()

    def renew(self, hostname: str) -> None:
        """One of our own making is made anew in good time; a handshake takes it up.

        It may run in a thread: files alone are touched.
        """
        if self.self_signed:
            try:
                make_self_signed(self.cert.parent, hostname)
            except OSError as error:
                _log.error("the certificate can't be renewed: {error}", error=str(error))

    def _take_up_changes(self) -> None:
        try:
            if self._files_stamp() != self._stamp:
                self.load()
                self._fault = ""
                _log.info("certificate {cert} was read again", cert=str(self.cert))
        except TlsError as error:
            if str(error) != self._fault:  # said once, however many handshakes there are
                self._fault = str(error)
                _log.error("the certificate before stays in use: {error}", error=self._fault)

    def _files_stamp(self) -> tuple[int, ...]:
        stamp: list[int] = []
        for path in (self.cert, self.key):
            try:
                seen = path.stat()
            except OSError as error:
                raise TlsError(f"can't read {path}: {error.strerror}") from None
            stamp += [seen.st_mtime_ns, seen.st_ino, seen.st_size]
        return tuple(stamp)


def _context_of(cert: Path, key: Path) -> SSL.Context:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_CIPHER_SERVER_PREFERENCE)
    context.set_options(SSL.OP_NO_RENEGOTIATION)
    context.set_cipher_list(b"ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:!aNULL:!MD5")
    context.set_session_id(b"mailnode")
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    chain, private = _read(cert), _read(key)
    if b"ENCRYPTED" in private:  # OpenSSL would ask on the terminal, and wait
        raise TlsError(f"{key} has a passphrase; without: openssl pkey -in {key} -out NEW-KEY")
    try:
        context.use_certificate_chain_file(os.fspath(cert))
    except (SSL.Error, crypto.Error) as error:
        raise TlsError(_what_is_wrong_with(cert, chain, "certificate", error)) from None
    try:
        context.use_privatekey_file(os.fspath(key))
        context.check_privatekey()
    except (SSL.Error, crypto.Error) as error:
        if "mismatch" in _reason(error):
            raise TlsError(
                f"{key} is not the key of {cert}: tls.key must name the one that the first "
                "certificate in tls.cert was made for"
            ) from None
        raise TlsError(_what_is_wrong_with(key, private, "private key", error)) from None
    return context


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        mend = ""
        if error.errno in (errno.EACCES, errno.EPERM):
            mend = "; the user that the node runs as must be let in"
        raise TlsError(f"can't read {path}: {error.strerror}{mend}") from None


_BEGINNINGS = {
    "certificate": re.compile(rb"-----BEGIN (TRUSTED |X509 )?CERTIFICATE-----"),
    "private key": re.compile(rb"-----BEGIN ([A-Z]+ )?PRIVATE KEY-----"),
}
_FROM_DER = {"certificate": "openssl x509", "private key": "openssl pkey"}


def _what_is_wrong_with(path: Path, text: bytes, wanted: str, error: Exception) -> str:
    """What OpenSSL found in a file, with the mend; of a damaged one it says "PEM lib" alone."""
    (other,) = _BEGINNINGS.keys() - {wanted}
    if _BEGINNINGS[wanted].search(text):
        reason = _reason(error)
        why = "is damaged" if reason.endswith(" lib") else f"can't be used: {reason}"
        return f"the {wanted} in {path} {why}; put a good copy there, or a newly made one"
    if _BEGINNINGS[other].search(text):
        return f"{path} holds a {other} and no {wanted}: tls.cert and tls.key may be exchanged"
    if not text.strip():
        return f"{path} is empty; it must hold a {wanted} in PEM"
    return (
        f"{path} holds no {wanted} in PEM; from DER: "
        f"{_FROM_DER[wanted]} -inform DER -in {path} -out NEW-FILE"
    )


def _reason(error: Exception) -> str:
    details = error.args[0] if error.args else ""
    if isinstance(details, list) and details:
        return str(details[-1][-1])
    return str(error) or type(error).__name__


def open_certificate(
    settings: TlsSettings, folder: Path, hostname: str, seconds: Callable[[], float]
) -> Certificate:
    """The pair that the settings name, or one of our own making in `folder`.

    Raises:
        TlsError: it can't be used.
    """
    if settings.cert:
        certificate = Certificate(Path(settings.cert), Path(settings.key), seconds)
    else:
        certificate = Certificate(*make_self_signed(folder, hostname), seconds, self_signed=True)
    certificate.load()
    return certificate


def make_self_signed(folder: Path, hostname: str) -> tuple[Path, Path]:
    """`cert.pem` and `key.pem` for a host name, made when they are missing.

    A certificate made here that ends soon, or that a clock of tomorrow dated, is replaced; its
    key stays, for somebody may have pinned it. The key is written before the certificate, each
    under another name first, so that a crash between them leaves no half pair in use.
    """
    cert, key = folder / "cert.pem", folder / "key.pem"
    if cert.exists() and key.exists():
        if (same := _key_to_renew(cert, key)) is not None:
            write_durably(cert, _self_signed(same, hostname))
            _log.info("the self-signed certificate {cert} was renewed", cert=str(cert))
        return cert, key
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    private = ec.generate_private_key(ec.SECP256R1())
    write_durably(
        key,
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )
    write_durably(cert, _self_signed(private, hostname))
    return cert, key


def _key_to_renew(cert: Path, key: Path) -> ec.EllipticCurvePrivateKey | None:
    """The key of a certificate of our own making whose time is nearly over; else None.

    What somebody else put there is left alone, and what can't be read tells why when it is used.
    """
    try:
        made = x509.load_pem_x509_certificate(cert.read_bytes())
        private = serialization.load_pem_private_key(key.read_bytes(), None)
    except (ValueError, TypeError, OSError):
        return None
    begins, ends = made.not_valid_before_utc, made.not_valid_after_utc
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        return None
    if made.issuer != made.subject or private.public_key() != made.public_key():
        return None
    now = datetime.datetime.now(datetime.UTC)
    soon = now + datetime.timedelta(days=RENEW_DAYS)
    due = now < begins or ends < soon
    return private if due and ends - begins in OUR_TIMES else None


def _self_signed(private: ec.EllipticCurvePrivateKey, hostname: str) -> bytes:
    """A certificate in PEM."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hostname[:64])])
    begins = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=BACKDATED_DAYS)
    loopback = [ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")]
    names = [x509.DNSName(each) for each in dict.fromkeys([hostname, "localhost"])]
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + OUR_TIMES[0])
        .add_extension(
            x509.SubjectAlternativeName([*names, *(x509.IPAddress(ip) for ip in loopback)]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(private, hashes.SHA256())
    )
    return built.public_bytes(serialization.Encoding.PEM)
