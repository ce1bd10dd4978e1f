"""`mailnode.tls`: the certificate of our own making, and pairs that change, all in memory."""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import Logger, LogPublisher, formatEvent
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mailnode import tls
from mailnode.settings import TlsSettings
from mailnode.tls import Certificate, TlsChannel, TlsError, make_self_signed, open_certificate


def shake_hands(server: SSL.Connection, **client: Any) -> SSL.Connection:
    """A client's side of a handshake with `server`, through memory."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_cipher_list(b"ALL:@SECLEVEL=0")
    for setting, value in client.items():
        getattr(context, setting)(value)
    connection = SSL.Connection(context, None)
    connection.set_connect_state()
    server.set_accept_state()
    for _ in range(10):
        for one, other in ((connection, server), (server, connection)):
            with contextlib.suppress(SSL.WantReadError):
                one.do_handshake()
            with contextlib.suppress(SSL.WantReadError):
                while True:
                    other.bio_write(one.bio_read(65536))
    return connection


class TlsCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.clock = Clock()
        self.said: list[str] = []
        publisher = LogPublisher(lambda event: self.said.append(formatEvent(event)))
        self.patch(tls, "_log", Logger(observer=publisher))

    def made(self, name: str = "mx.example.test", folder: str = "made") -> tuple[Path, Path]:
        return make_self_signed(self.folder / folder, name)

    def certificate(self) -> Certificate:
        certificate = Certificate(*self.made(), self.clock.seconds)
        certificate.load()
        return certificate

    def served(self, certificate: Certificate) -> str:
        """The name on what a client is shown now."""
        return self.shown(shake_hands(certificate.serverConnectionForTLS(None)))

    def shown(self, connection: SSL.Connection) -> str:
        shown = connection.get_peer_certificate()
        assert shown is not None
        (name,) = shown.to_cryptography().subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return str(name.value)

    def put(self, name: str, *files: str) -> None:
        """Another pair takes the place of the one in use, by rename."""
        if not (self.folder / f"of {name}").exists():
            self.made(name, f"of {name}")
        for file in files or ("key.pem", "cert.pem"):
            (self.folder / f"of {name}" / file).rename(self.folder / "made" / file)


class SelfSignedTests(TlsCase):
    def test_it_is_made_once(self) -> None:
        cert, key = self.made()
        before = cert.read_bytes(), key.read_bytes()
        self.assertEqual((cert, key), self.made("other.example.test"))
        self.assertEqual(before, (cert.read_bytes(), key.read_bytes()))

    def test_half_a_pair_is_made_whole(self) -> None:
        cert, key = self.made()
        for lost in (cert, key):
            lost.unlink()
            self.made()
            Certificate(cert, key, self.clock.seconds).load()

    def test_only_the_owner_can_read_it_and_nothing_else_is_left(self) -> None:
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        for path in self.made():
            self.assertEqual(0o600, path.stat().st_mode & 0o777)
        self.assertEqual(0o700, (self.folder / "made").stat().st_mode & 0o777)
        self.assertEqual({"cert.pem", "key.pem"}, set(os.listdir(self.folder / "made")))

    def test_it_is_for_the_host_name_localhost_and_loopback(self) -> None:
        cert, _key = self.made()
        read = x509.load_pem_x509_certificate(cert.read_bytes())
        names = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.assertEqual(["mx.example.test", "localhost"], names.get_values_for_type(x509.DNSName))
        self.assertEqual(
            [ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("::1")],
            names.get_values_for_type(x509.IPAddress),
        )
        lasts = read.not_valid_after_utc - read.not_valid_before_utc
        self.assertEqual(825, lasts.days)

    def test_a_host_name_of_any_length_and_localhost_itself_will_do(self) -> None:
        for name in ("localhost", ".".join(["x" * 60] * 4)):
            cert, key = self.made(name, f"for {len(name)}")
            Certificate(cert, key, self.clock.seconds).load()
            read = x509.load_pem_x509_certificate(cert.read_bytes())
            names = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            expected = list(dict.fromkeys([name, "localhost"]))
            self.assertEqual(expected, names.get_values_for_type(x509.DNSName))


class RenewalTests(TlsCase):
    """A certificate of our own making, `days` after it was made."""

    def read(self, path: Path) -> x509.Certificate:
        return x509.load_pem_x509_certificate(path.read_bytes())

    def renewed(self, days: float) -> bool:
        cert, key = self.made()
        before = cert.read_bytes(), key.read_bytes()
        with self.later(days):
            self.assertEqual((cert, key), self.made())
            if cert.read_bytes() == before[0]:
                return False
            now = tls.datetime.datetime.now(tls.datetime.UTC)
        self.assertEqual(before[1], key.read_bytes())
        Certificate(cert, key, self.clock.seconds).load()
        read = self.read(cert)
        self.assertTrue(read.not_valid_before_utc < now < read.not_valid_after_utc)
        self.assertEqual(0o600, cert.stat().st_mode & 0o777)
        return True

    @contextlib.contextmanager
    def later(self, days: float) -> Iterator[None]:
        """The wall clock is so many days on."""
        real = tls.datetime
        by = real.timedelta(days=days)
        later = SimpleNamespace(now=lambda zone: real.datetime.now(zone) + by)
        tls.datetime = SimpleNamespace(datetime=later, timedelta=real.timedelta, UTC=real.UTC)
        try:
            yield
        finally:
            tls.datetime = real

    def test_it_stays_while_it_has_time(self) -> None:
        for days in (0, 400, 760):
            self.assertFalse(self.renewed(days), days)

    def test_it_is_replaced_two_months_before_its_end_and_keeps_its_key(self) -> None:
        self.assertTrue(self.renewed(765))

    def test_one_that_has_ended_is_replaced(self) -> None:
        self.assertTrue(self.renewed(2000))

    def test_one_that_a_clock_of_a_later_day_made_is_replaced_once_it_would_not_be_valid(
        self,
    ) -> None:
        self.assertFalse(self.renewed(-1))
        self.assertTrue(self.renewed(-3))

    def test_somebody_else_s_certificate_in_its_place_is_left_alone(self) -> None:
        cert, key = self.made()
        self.patch(tls, "OUR_TIMES", (tls.datetime.timedelta(days=800),) * 2)
        before = cert.read_bytes()
        with self.later(2000):
            self.assertEqual((cert, key), self.made())
        self.assertEqual(before, cert.read_bytes())

    def test_a_running_node_s_is_taken_up_by_the_next_handshake(self) -> None:
        certificate = open_certificate(
            TlsSettings(), self.folder / "own", "mx.example.test", self.clock.seconds
        )
        before = self.read(certificate.cert).serial_number
        certificate.renew("mx.example.test")
        self.assertEqual(before, self.read(certificate.cert).serial_number)
        with self.later(800):
            certificate.renew("mx.example.test")
        shown = shake_hands(certificate.serverConnectionForTLS(None)).get_peer_certificate()
        assert shown is not None
        self.assertNotEqual(before, shown.to_cryptography().serial_number)
        self.assertEqual(2, len(self.said), self.said)

    def test_one_that_the_settings_name_is_never_touched(self) -> None:
        cert, key = self.made()
        certificate = open_certificate(
            TlsSettings(cert=str(cert), key=str(key)),
            self.folder,
            "mx.example.test",
            self.clock.seconds,
        )
        before = cert.read_bytes()
        with self.later(2000):
            certificate.renew("mx.example.test")
        self.assertEqual(before, cert.read_bytes())

    def test_a_renewal_that_can_not_be_written_is_said_and_the_one_before_stays(self) -> None:
        certificate = open_certificate(
            TlsSettings(), self.folder / "own", "mx.example.test", self.clock.seconds
        )
        certificate.cert.with_name(f"cert.pem.{os.getpid()}.new").mkdir()
        with self.later(800):
            certificate.renew("mx.example.test")
        self.assertIn("can't be renewed", self.said[0])
        self.assertEqual("mx.example.test", self.served(certificate))


class OpenTests(TlsCase):
    def open(self, **settings: str) -> Certificate:
        return open_certificate(
            TlsSettings(**settings), self.folder / "own", "mx.example.test", self.clock.seconds
        )

    def test_the_pair_that_the_settings_name_is_used_and_none_is_made(self) -> None:
        cert, key = self.made("named.example.test")
        certificate = self.open(cert=str(cert), key=str(key))
        self.assertFalse(certificate.self_signed)
        self.assertEqual("named.example.test", self.served(certificate))
        self.assertFalse((self.folder / "own").exists())

    def test_without_one_it_is_of_our_own_making(self) -> None:
        certificate = self.open()
        self.assertTrue(certificate.self_signed)
        self.assertEqual("mx.example.test", self.served(certificate))

    def test_a_pair_that_can_not_be_used_is_told_with_its_files(self) -> None:
        cert, key = self.made()
        _other_cert, other_key = self.made(folder="other")
        files: dict[str, bytes] = {
            "nonsense": b"half a certifi",
            "empty": b"\n",
            "cut-cert": cert.read_bytes()[:-80],
            "cut-key": key.read_bytes()[:-60],
        }
        for name, content in files.items():
            (self.folder / name).write_bytes(content)
        nonsense, empty, cut_cert, cut_key = (self.folder / name for name in files)
        for pair, wrong in (
            ((cert, other_key), f"{other_key} is not the key of {cert}"),
            ((nonsense, key), f"{nonsense} holds no certificate in PEM"),
            ((cert, nonsense), f"{nonsense} holds no private key in PEM"),
            ((empty, key), f"{empty} is empty"),
            ((cert, empty), f"{empty} is empty"),
            ((cert, cert), f"{cert} holds a certificate and no private key"),
            ((key, cert), f"{key} holds a private key and no certificate"),
            ((cut_cert, key), f"the certificate in {cut_cert} is damaged"),
            ((cert, cut_key), f"the private key in {cut_key}"),
        ):
            error = self.assertRaises(TlsError, self.open, cert=str(pair[0]), key=str(pair[1]))
            self.assertTrue(str(error).startswith(wrong), str(error))
            self.assertNotIn("\n", str(error))
            self.assertNotIn(" lib", str(error))
        error = self.assertRaises(TlsError, self.open, cert=str(cert), key="/no/such.pem")
        self.assertEqual("can't read /no/such.pem: No such file or directory", str(error))

    def test_a_file_that_may_not_be_read_is_told_with_who_must_be_let_in(self) -> None:
        cert, key = self.made()
        denied = PermissionError(errno.EACCES, "Permission denied", str(key))
        with patch.object(Path, "read_bytes", side_effect=denied):
            error = self.assertRaises(TlsError, self.open, cert=str(cert), key=str(key))
        self.assertIn("Permission denied; the user that the node runs as", str(error))

    def test_a_key_with_a_passphrase_is_told_and_nobody_is_asked_for_it(self) -> None:
        cert, key = self.made()
        private = serialization.load_pem_private_key(key.read_bytes(), None)
        key.write_bytes(
            private.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.BestAvailableEncryption(b"secret"),
            )
        )
        error = self.assertRaises(TlsError, self.open, cert=str(cert), key=str(key))
        self.assertIn("without: openssl pkey", str(error))


class ReloadTests(TlsCase):
    def test_a_changed_pair_is_taken_up_within_a_second_and_not_looked_for_more_often(self) -> None:
        certificate = self.certificate()
        self.assertEqual("mx.example.test", self.served(certificate))
        self.put("two.example.test")
        self.clock.advance(0.5)
        self.assertEqual("mx.example.test", self.served(certificate))
        self.clock.advance(0.5)
        self.assertEqual("two.example.test", self.served(certificate))
        self.assertEqual(1, len(self.said))
        self.clock.advance(5)
        self.served(certificate)
        self.assertEqual(1, len(self.said))

    def test_a_bad_pair_changes_nothing_until_it_is_whole(self) -> None:
        certificate = self.certificate()
        self.put("two.example.test", "key.pem")
        self.clock.advance(1)
        self.assertEqual("mx.example.test", self.served(certificate))
        self.put("two.example.test", "cert.pem")
        self.clock.advance(1)
        self.assertEqual("two.example.test", self.served(certificate))

    def test_a_pair_that_goes_away_changes_nothing(self) -> None:
        certificate = self.certificate()
        certificate.cert.unlink()
        certificate.refresh()
        self.assertEqual("mx.example.test", self.served(certificate))
        self.assertIn("can't read", self.said[0])

    def test_what_is_wrong_is_said_once_for_all_handshakes_and_at_each_reload(self) -> None:
        certificate = self.certificate()
        certificate.cert.write_text("half a certifi")
        for _ in range(5):
            self.clock.advance(1)
            self.served(certificate)
        self.assertEqual(1, len(self.said))
        certificate.refresh()
        self.assertEqual(2, len(self.said))
        certificate.key.unlink()
        self.clock.advance(1)
        self.served(certificate)
        self.assertEqual(3, len(self.said))


class HandshakeTests(TlsCase):
    def test_it_is_what_twisted_asks(self) -> None:
        verifyObject(IOpenSSLServerConnectionCreator, self.certificate())

    def test_tls_1_2_and_1_3_are_spoken_and_nothing_older(self) -> None:
        certificate = self.certificate()
        for version, name in ((SSL.TLS1_2_VERSION, "TLSv1.2"), (SSL.TLS1_3_VERSION, "TLSv1.3")):
            client = shake_hands(
                certificate.serverConnectionForTLS(None), set_max_proto_version=version
            )
            self.assertEqual(name, client.get_protocol_version_name())
        certificate = self.certificate()
        assert certificate._context is not None
        certificate._context.set_cipher_list(b"ALL:@SECLEVEL=0")  # the version alone is at stake
        for version in (SSL.TLS1_VERSION, SSL.TLS1_1_VERSION):
            with self.assertRaises(SSL.Error) as refused:
                shake_hands(certificate.serverConnectionForTLS(None), set_max_proto_version=version)
            self.assertIn("unsupported protocol", str(refused.exception))

    def test_a_server_inside_tls_has_the_certificate_of_the_moment(self) -> None:
        certificate = self.certificate()
        inside = certificate.around(Factory.forProtocol(Protocol))
        self.assertFalse(inside.noisy)
        self.put("two.example.test")
        server, transport = inside.buildProtocol(None), StringTransport()
        server.makeConnection(transport)
        client = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
        client.set_connect_state()
        self.assertRaises(SSL.WantReadError, client.do_handshake)
        server.dataReceived(client.bio_read(65536))
        client.bio_write(transport.value())
        client.do_handshake()
        self.assertEqual("two.example.test", self.shown(client))


class ChannelTests(TlsCase):
    """What a proof of a password is bound to, at both ends."""

    def ends(self, version: int) -> tuple[SSL.Connection, SSL.Connection]:
        server = self.certificate().serverConnectionForTLS(None)
        return shake_hands(server, set_max_proto_version=version), server

    def test_both_ends_export_the_same_of_tls_1_3_and_no_others_do(self) -> None:
        client, server = self.ends(SSL.TLS1_3_VERSION)
        ours = TlsChannel(lambda: server).binding("tls-exporter")
        theirs = client.export_keying_material(b"EXPORTER-Channel-Binding", 32, b"")
        self.assertEqual(theirs, ours)
        another = self.ends(SSL.TLS1_3_VERSION)[1]
        self.assertNotEqual(ours, TlsChannel(lambda: another).binding("tls-exporter"))

    def test_below_nothing_is_exported(self) -> None:
        server = self.ends(SSL.TLS1_2_VERSION)[1]
        self.assertIsNone(TlsChannel(lambda: server).binding("tls-exporter"))

    def test_the_end_point_is_the_hash_of_the_certificate(self) -> None:
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            client, server = self.ends(version)
            shown = client.get_peer_certificate()
            assert shown is not None
            expected = shown.to_cryptography().fingerprint(hashes.SHA256())
            channel = TlsChannel(lambda server=server: server)
            self.assertEqual(expected, channel.binding("tls-server-end-point"))

    def test_any_other_binding_there_is_none(self) -> None:
        server = self.ends(SSL.TLS1_2_VERSION)[1]
        for kind in ("tls-unique", "", "tls-Exporter"):
            self.assertIsNone(TlsChannel(lambda: server).binding(kind))
