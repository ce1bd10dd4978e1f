"""TLS with a remote host: the handshake, and whether its certificate is one that we may believe.

By what the policy asks for: none, the authorities that this machine trusts and the host's name
(RFC 6125), or TLSA records (RFC 6698, 7672); docs/rfc.rst C6.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Sequence
from typing import Any

from attrs import define, field
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from OpenSSL import SSL, crypto
from service_identity import CertificateError, VerificationError
from service_identity.cryptography import (
    verify_certificate_hostname,
    verify_certificate_ip_address,
)
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from zope.interface import implementer

from mailnode.errors import MailError
from mailnode.outbound.words import Hop, Tlsa, TlsPolicy

# What OpenSSL finds most often (X509_V_ERR_...); the others are told by their number.
_FAULTS = {
    9: "the certificate is not yet valid",
    10: "the certificate has expired",
    18: "the certificate is self-signed",
    19: "the certificate's authority is not one that we trust",
    20: "the certificate's authority is not one that we trust",
    21: "the certificate's authority is not one that we trust",
    23: "the certificate was revoked",
    26: "the certificate is not for servers",
}


class BadCertificate(MailError):
    """The remote host shows a certificate that the policy doesn't let us believe."""

    enhanced = "4.7.5"
    text = "the certificate can't be verified"


@define(eq=False)
class Trust:
    """Whom we believe, in contexts that are made once.

    Attributes:
        roots: a file of certificates in PEM; "" for those of this machine.
    """

    roots: str = ""
    _contexts: dict[bool, SSL.Context] = field(factory=dict)

    def context(self, verify: bool) -> SSL.Context:
        """For clients, TLS 1.2 and later.

        Args:
            verify: OpenSSL ends the handshake where no trusted authority made the certificate.
        """
        if (context := self._contexts.get(verify)) is None:
            context = self._contexts[verify] = SSL.Context(SSL.TLS_CLIENT_METHOD)
            context.set_min_proto_version(SSL.TLS1_2_VERSION)
            context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
            context.set_mode(SSL.MODE_RELEASE_BUFFERS)
            if verify and self.roots:
                context.load_verify_locations(self.roots)
            elif verify:
                context.set_default_verify_paths()
        return context


@implementer(IOpenSSLClientConnectionCreator)
@define(eq=False)
class Handshake:
    """One handshake with a host, and the verdict on what it showed.

    Attributes:
        fault: what OpenSSL found wrong, "" for nothing.
        doubt: what would have been wrong, had the policy not been on trial.
    """

    hop: Hop
    policy: TlsPolicy
    trust: Trust
    fault: str = ""
    doubt: str = ""

    @property
    def _by_authority(self) -> bool:
        return self.policy.level == "verify" and not self.policy.dane

    def clientConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:
        """What Twisted calls."""
        verify = self._by_authority or self.policy.trial
        connection = SSL.Connection(self.trust.context(verify), None)
        host = bare_host(self.hop.host)
        if host and not _is_ip(host):
            connection.set_tlsext_host_name(host.encode("ascii", "replace"))
        if verify:
            connection.set_verify(SSL.VERIFY_PEER, self._verified)
        return connection

    def _verified(self, _connection: Any, _cert: Any, error: int, _depth: int, fine: int) -> bool:
        if fine:
            return True
        why = _FAULTS.get(error, f"the certificate is not valid (OpenSSL's {error})")
        if self.policy.trial:
            self.doubt = self.doubt or why
            return True
        self.fault = why
        return False

    def judge(self, connection: Any) -> str:
        """How the certificate was verified: "DANE-EE", "verified", or "" for not at all.

        Raises:
            BadCertificate: it is not what the policy asks for.
        """
        shown = [each.to_cryptography() for each in connection.get_peer_cert_chain() or ()]
        names = (self.hop.host, *self.policy.names)
        if self.policy.dane:
            return match_dane(self.policy.dane, shown, names)
        if self.policy.trial:
            self._try_names(shown, names)
        if not self._by_authority:
            return ""
        if not shown:
            raise BadCertificate("no certificate was shown")
        match_names(shown[0], names)
        return "verified"

    def _try_names(self, shown: Sequence[x509.Certificate], names: Sequence[str]) -> None:
        try:
            if shown and not self.doubt:
                match_names(shown[0], names)
        except BadCertificate as error:
            self.doubt = error.text


def bare_host(host: str) -> str:
    """A host's name, or an address without the brackets of a literal."""
    if host.startswith("["):
        host = host[1:-1]
        host = host[5:] if host[:5].lower() == "ipv6:" else host
    return host.rstrip(".")


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def match_names(certificate: x509.Certificate, names: Sequence[str]) -> None:
    """The certificate is for one of these names.

    Raises:
        BadCertificate: for none.
    """
    for name in map(bare_host, names):
        try:
            if _is_ip(name):
                verify_certificate_ip_address(certificate, name)
            else:
                verify_certificate_hostname(certificate, name)
            return
        except (VerificationError, CertificateError, ValueError):
            continue
    raise BadCertificate(f"the certificate is not for {names[0]}")


def match_dane(
    records: Sequence[Tlsa], shown: Sequence[x509.Certificate], names: Sequence[str]
) -> str:
    """Which kind of record the certificates match; "" when none of the records can be used.

    PKIX-TA(0) and PKIX-EE(1) can't (RFC 7672 section 3.1.3): then TLS alone is the must. DANE-EE
    minds neither names nor dates (section 3.1.1); DANE-TA minds both.

    Raises:
        BadCertificate: there are records that can be used, and none matches.
    """
    usable = [each for each in records if _is_usable(each)]
    if not usable:
        return ""
    if not shown:
        raise BadCertificate("no certificate was shown")
    if any(_matches(each, shown[0]) for each in usable if each.usage == 3):
        return "DANE-EE"
    why = "the certificate matches no TLSA record"
    for anchor in _anchors([each for each in usable if each.usage == 2], shown):
        try:
            _verify_chain(anchor, shown)
            match_names(shown[0], names)
        except BadCertificate as error:
            why = error.text
        else:
            return "DANE-TA"
    raise BadCertificate(why)


def _is_usable(record: Tlsa) -> bool:
    return (
        record.usage in (2, 3)
        and record.selector in (0, 1)
        and record.matching in (0, 1, 2)
        and len(record.data) == {1: 32, 2: 64}.get(record.matching, len(record.data) or -1)
    )


def _matches(record: Tlsa, certificate: x509.Certificate) -> bool:
    if record.selector == 0:
        selected = certificate.public_bytes(Encoding.DER)
    else:
        try:
            key = certificate.public_key()
        except (ValueError, UnsupportedAlgorithm):  # a key that we can't read matches nothing
            return False
        selected = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if record.matching == 1:
        selected = hashlib.sha256(selected).digest()
    elif record.matching == 2:
        selected = hashlib.sha512(selected).digest()
    return selected == record.data


def _anchors(
    records: Sequence[Tlsa], shown: Sequence[x509.Certificate]
) -> Sequence[x509.Certificate]:
    """The authorities that the records name: shown by the host, or whole in a record."""
    found = [each for each in shown if any(_matches(record, each) for record in records)]
    for record in records:
        if record.selector == 0 and record.matching == 0:
            try:
                found.append(x509.load_der_x509_certificate(record.data))
            except ValueError:
                continue
    return found


def _verify_chain(anchor: x509.Certificate, shown: Sequence[x509.Certificate]) -> None:
    store = crypto.X509Store()
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)  # the anchor may be no root
    store.add_cert(crypto.X509.from_cryptography(anchor))
    leaf, *others = map(crypto.X509.from_cryptography, shown)
    try:
        crypto.X509StoreContext(store, leaf, others).verify_certificate()
    except crypto.X509StoreContextError as error:
        raise BadCertificate(f"the certificate is not valid: {error}") from None
