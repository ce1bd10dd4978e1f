"""An MTA-STS policy from a web server on loopback: HTTPS, its certificate, and its limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import Certificate as PemCertificate
from twisted.internet.ssl import PrivateCertificate, trustRootFromCertificates
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site
from twisted.web.util import Redirect

from mailnode.outbound import https
from mailnode.outbound.https import MOST_OCTETS, BadHost, Https, NoPage
from mailnode.outbound.mta_sts import PAGE, MtaSts, in_file, read_policies
from mailnode.outbound.mx import find_hosts
from mailnode.outbound.policy import TlsPolicies
from mailnode.resolver import Resolver
from mailnode.tls import make_self_signed
from tests.dns_world import DnsWorld

HOST = "mta-sts.example.org"
POLICY = b"version: STSv1\nmode: enforce\nmx: mx.example.org\nmax_age: 86400\n"


class Page(Resource):
    isLeaf = True

    def __init__(self, body: bytes, kind: bytes = b"text/plain; charset=utf-8") -> None:
        super().__init__()
        self.body, self.kind, self.asked = body, kind, 0

    def render_GET(self, request: Any) -> bytes:
        self.asked += 1
        request.setHeader(b"content-type", self.kind)
        return self.body


class Box(Resource):
    """Takes what is posted, and answers with `code`."""

    isLeaf = True

    def __init__(self, code: int) -> None:
        super().__init__()
        self.code, self.taken = code, list[tuple[bytes, bytes]]()

    def render_POST(self, request: Any) -> bytes:
        self.taken.append((request.getHeader(b"content-type"), request.content.read()))
        request.setResponseCode(self.code)
        return b"thank you"


class Endless(Resource):
    isLeaf = True

    def render_GET(self, request: Any) -> int:
        request.setHeader(b"content-type", b"text/plain")

        class Producer:
            def resumeProducing(self) -> None:
                request.write(b"x" * 16384)

            def stopProducing(self) -> None:
                pass

        request.registerProducer(Producer(), False)
        return NOT_DONE_YET


class WebCase(TestCase):
    timeout = 30

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.world = DnsWorld({(HOST, "A"): ["127.0.0.1"]})
        dns_port = self.world.start(reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.world.stop()))
        self.resolver = Resolver(reactor, [f"127.0.0.1:{dns_port}"])
        self.addCleanup(lambda: Deferred.fromCoroutine(self.resolver.close()))
        self.root = Resource()
        self.trust, pair = self.pair(HOST)
        self.site = Site(self.root)
        self.site.noisy = False
        self.listening = reactor.listenSSL(0, self.site, pair.options(), interface="127.0.0.1")
        self.addCleanup(self.listening.stopListening)
        self.https = self.made(self.listening.getHost().port)

    def pair(self, name: str) -> tuple[Any, PrivateCertificate]:
        cert, key = make_self_signed(self.folder / name, name)
        trust = trustRootFromCertificates([PemCertificate.loadPEM(cert.read_bytes())])
        return trust, PrivateCertificate.loadPEM(cert.read_bytes() + key.read_bytes())

    def made(self, port: int) -> Https:
        return Https(reactor, self.resolver, trust=self.trust, port=port)

    def put(self, page: Resource, path: str = PAGE) -> None:
        self.root = Resource()
        *folders, last = path.strip("/").encode().split(b"/")
        at = self.root
        for folder in folders:
            at.putChild(folder, below := Resource())
            at = below
        at.putChild(last, page)
        self.site.resource = self.root

    async def refused(self, host: str = HOST) -> str:
        try:
            await self.https.fetch(host, PAGE)
        except NoPage as error:
            return str(error)
        raise self.failureException("the page came")


class FetchTests(WebCase):
    async def test_a_page_comes(self) -> None:
        self.put(Page(POLICY))
        self.assertEqual(POLICY, await self.https.fetch(HOST, PAGE))

    async def test_a_certificate_for_another_name_is_no_page(self) -> None:
        self.put(Page(POLICY))
        self.world.zone["mta-sts.example.net", "A"] = ["127.0.0.1"]
        with self.assertRaises(BadHost):
            await self.https.fetch("mta-sts.example.net", PAGE)

    async def test_a_certificate_that_nobody_vouches_for_is_no_page(self) -> None:
        page = Page(POLICY)
        self.put(page)
        self.https.trust, _ = self.pair("other.example")
        self.assertIn("certificate", await self.refused())
        self.https.trust = None  # those that the system trusts
        self.assertIn("certificate", await self.refused())
        self.assertEqual(0, page.asked)

    async def test_another_code_and_a_redirect_are_no_page(self) -> None:
        self.assertIn("404", await self.refused())
        self.put(Page(POLICY), "/elsewhere")
        page = Page(POLICY)
        self.put(Redirect(b"/elsewhere"))
        self.root.putChild(b"elsewhere", page)
        self.assertIn("302", await self.refused())
        self.assertEqual(0, page.asked)

    async def test_another_media_type_is_no_page(self) -> None:
        self.put(Page(POLICY, b"text/html"))
        self.assertIn("text/plain", await self.refused())

    async def test_a_page_that_is_too_large_or_never_ends_is_cut(self) -> None:
        self.put(Page(b"x" * MOST_OCTETS))
        self.assertEqual(MOST_OCTETS, len(await self.https.fetch(HOST, PAGE)))
        self.put(Page(b"x" * (MOST_OCTETS + 1)))
        self.assertIn("over", await self.refused())
        self.put(Endless())
        await self.refused()

    async def test_silence_ends(self) -> None:
        self.patch(https, "PAGE_S", 0.3)
        quiet = reactor.listenTCP(0, Factory.forProtocol(Protocol), interface="127.0.0.1")
        self.addCleanup(quiet.stopListening)
        self.https = self.made(quiet.getHost().port)
        self.assertIn("nothing within 0.3 s", await self.refused())

    async def test_what_is_no_tls_or_nobody_is_no_page(self) -> None:
        class Plain(Protocol):
            def connectionMade(self) -> None:
                assert self.transport is not None
                self.transport.write(b"220 mx.example.org ESMTP\r\n")

        plain = reactor.listenTCP(0, Factory.forProtocol(Plain), interface="127.0.0.1")
        self.https = self.made(plain.getHost().port)
        with self.assertRaises(NoPage) as refused:
            await self.https.fetch(HOST, PAGE)
        self.assertIs(NoPage, type(refused.exception), "no certificate was at fault")
        await plain.stopListening()
        self.assertIn("127.0.0.1", await self.refused())
        self.assertIn("no such domain", (await self.refused("none.example")).lower())

    async def test_a_host_that_tls_can_not_name_is_no_page(self) -> None:
        for name in ("mta-sts.a_b.example", "mta-sts.ab--cd.example", "mta-sts.xn--a.example"):
            self.world.zone[name, "A"] = ["127.0.0.1"]
            await self.refused(name)

    async def test_the_next_address_is_tried(self) -> None:
        self.world.zone[HOST, "A"] = ["127.0.0.99", "127.0.0.1"]
        self.put(Page(POLICY))
        self.assertEqual(POLICY, await self.https.fetch(HOST, PAGE))


class PostTests(WebCase):
    async def test_a_page_is_handed_over(self) -> None:
        for code in (200, 201, 204):
            self.put(box := Box(code), "/report")
            page = bytes(range(256)) * 400
            await self.https.post(HOST, "/report", page, "application/tlsrpt+gzip")
            self.assertEqual([(b"application/tlsrpt+gzip", page)], box.taken)

    async def test_another_answer_and_another_s_certificate_are_errors(self) -> None:
        for code in (302, 404, 500):
            self.put(Box(code), "/report")
            with self.assertRaisesRegex(NoPage, f"it answered {code}"):
                await self.https.post(HOST, "/report", b"x", "text/plain")
        self.put(box := Box(200), "/report")
        self.https.trust, _ = self.pair("other.example")
        with self.assertRaises(BadHost):
            await self.https.post(HOST, "/report", b"x", "text/plain")
        self.assertEqual([], box.taken)


class WholeTests(WebCase):
    async def test_a_policy_on_the_web_chooses_the_hosts_and_is_kept_for_a_restart(self) -> None:
        self.world.zone |= {
            ("_mta-sts.example.org", "TXT"): ["v=STSv1; id=20261001;"],
            ("example.org", "MX"): ["5 other.example.org", "10 mx.example.org"],
            ("mx.example.org", "A"): ["127.0.0.2"],
            ("other.example.org", "A"): ["127.0.0.3"],
        }
        self.put(Page(POLICY))
        path = self.folder / "mta-sts.json"
        sts = MtaSts(self.resolver, self.https.fetch, in_file(path, deferToThread))
        self.addCleanup(lambda: Deferred.fromCoroutine(sts.close()))
        hosts = await find_hosts(self.resolver, "example.org")
        ((host, policy),) = await TlsPolicies(self.resolver, sts).choose("example.org", hosts)
        self.assertEqual(("mx.example.org", "verify"), (host.name, policy.level))
        await sts.written()
        self.assertEqual(sts.policies, read_policies(path))

    async def test_dane_by_a_resolver_on_this_machine(self) -> None:
        self.world.authenticated = True
        self.world.zone |= {
            ("example.org", "MX"): ["10 mx.example.org"],
            ("mx.example.org", "A"): ["127.0.0.2"],
            ("_25._tcp.mx.example.org", "TLSA"): ["3 1 1 " + "ab" * 32],
        }
        hosts = await find_hosts(self.resolver, "example.org")
        ((_, policy),) = await TlsPolicies(self.resolver).choose("example.org", hosts)
        self.assertEqual(("DANE", b"\xab" * 32), (policy.source, policy.dane[0].data))
