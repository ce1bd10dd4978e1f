"""`mailnode.web.site` and `mailnode.measures`: health and metrics, and who may read them."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mailnode import __version__
from mailnode.admission import Sessions
from mailnode.events import Accepted, Event, RefusedMail
from mailnode.gate import ProxyGate
from mailnode.measures import describe
from mailnode.telemetry import MailLog, Metrics
from mailnode.timings import Timings
from mailnode.web.channel import Crowd
from mailnode.web.site import make_site
from tests.fakes import SmtpHouse


class SiteTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.faults: dict[str, str] = {}
        self.metrics = "x 1\n"
        self.site = make_site(lambda: self.faults, lambda: self.metrics)

    def ask(
        self, path: str, *headers: str, verb: str = "GET", client: Any = "127.0.0.1"
    ) -> tuple[int, dict[str, str], str]:
        """(status, header fields, body) of the answer to one request."""
        if isinstance(client, str):
            kind = IPv6Address if ":" in client else IPv4Address
            client = kind("TCP", client, 40000)
        transport = StringTransport(peerAddress=client)
        channel = self.site.buildProtocol(client)
        channel.makeConnection(transport)
        lines = [f"{verb} {path} HTTP/1.1", "Host: x", "Connection: close", *headers]
        channel.dataReceived("\r\n".join([*lines, "", ""]).encode())
        head, _, body = transport.value().decode().partition("\r\n\r\n")
        first, *fields = head.split("\r\n")
        told = dict(field.lower().split(": ", 1) for field in fields)
        channel.connectionLost(Failure(ConnectionDone()))
        return int(first.split()[1]), told, body

    def test_a_node_that_answers_is_alive_whatever_else(self) -> None:
        self.faults["store"] = "broken"
        self.assertEqual((200, "alive\n"), self.ask("/livez")[::2])

    def test_it_is_ready_when_nothing_is_wrong(self) -> None:
        self.assertEqual((200, "ready\n"), self.ask("/readyz")[::2])

    def test_what_is_wrong_is_said_part_by_part_with_503(self) -> None:
        self.faults |= {"store": "broken", "disk": "full"}
        self.assertEqual((503, "disk: full\nstore: broken\n"), self.ask("/readyz")[::2])
        self.faults.clear()
        self.assertEqual(200, self.ask("/readyz")[0])

    def test_metrics_are_for_this_machine_alone(self) -> None:
        for client in ("127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1", UNIXAddress(None)):
            self.assertEqual((200, "x 1\n"), self.ask("/metrics", client=client)[::2])
        for client in ("192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1", "10.0.0.1"):
            status, _fields, body = self.ask("/metrics", client=client)
            self.assertEqual(403, status)
            self.assertNotIn("x 1", body)

    def test_what_a_proxy_brings_is_not_from_this_machine(self) -> None:
        for header in (
            "Forwarded: for=1",
            "X-Forwarded-For: 127.0.0.1",
            "X-Forwarded-For:",
            "X-Forwarded-Host: x",
            "x-real-ip: 127.0.0.1",
            "Via: 1.1 proxy",
        ):
            self.assertEqual(403, self.ask("/metrics", header)[0], header)
            self.assertEqual(200, self.ask("/livez", header)[0], header)

    def test_health_is_for_everybody(self) -> None:
        for path in ("/livez", "/readyz"):
            self.assertEqual(200, self.ask(path, client="192.0.2.1")[0])

    def test_pages_are_plain_text_that_nobody_keeps(self) -> None:
        for path in ("/livez", "/readyz", "/metrics"):
            _status, fields, _body = self.ask(path)
            self.assertEqual("text/plain; charset=utf-8", fields["content-type"])
            self.assertEqual("no-store", fields["cache-control"])
            self.assertEqual("nosniff", fields["x-content-type-options"])

    def test_there_is_nothing_else_and_nothing_to_send(self) -> None:
        for path in ("/", "/nowhere", "/LIVEZ", "//livez"):
            self.assertEqual(404, self.ask(path)[0], path)
        self.assertEqual(405, self.ask("/livez", "Content-Length: 0", verb="POST")[0])
        self.assertEqual((200, ""), self.ask("/livez", verb="HEAD")[::2])
        self.assertEqual([], self.flushWarnings())

    def test_too_large_a_header_is_431_in_words(self) -> None:
        status, fields, body = self.ask("/livez", "X: " + "x" * 17_000)
        self.assertEqual((431, "text/plain; charset=utf-8"), (status, fields["content-type"]))
        self.assertEqual(
            "The header is over 16.0 KiB or 100 fields", body.split(";")[0].strip("\n")
        )
        self.assertEqual(414, self.ask("/" + "x" * 17_000)[0])

    def test_a_page_that_breaks_shows_nothing_of_it(self) -> None:
        def broken() -> str:
            raise ValueError("a secret")

        self.site = make_site(lambda: self.faults, broken)
        status, _fields, body = self.ask("/metrics")
        self.assertEqual(500, status)
        self.assertNotIn("secret", body)
        self.assertEqual(1, len(self.flushLoggedErrors(ValueError)))

    def test_a_failure_that_was_told_is_not_left_over_to_be_told_again(self) -> None:
        ready: Deferred[None] = succeed(None)
        self.site = make_site(dict, lambda: str(1 // 0), refresh=lambda: ready)
        self.assertEqual(500, self.ask("/metrics")[0])
        self.assertIsNone(self.successResultOf(ready))
        self.flushLoggedErrors(ZeroDivisionError)


MOST_CONNECTIONS, MOST_PER_ADDRESS = 100, 20


class BoundTests(SynchronousTestCase):
    """What strangers can make the HTTP server hold."""

    def setUp(self) -> None:
        crowd = Crowd(MOST_CONNECTIONS, MOST_PER_ADDRESS)
        self.site = make_site(dict, lambda: "x 1\n", Clock(), crowd=crowd)
        self.open: list[Any] = []

    def come(self, host: str) -> bool:
        peer = IPv4Address("TCP", host, 40000)
        channel = self.site.buildProtocol(peer)
        if channel is not None:
            channel.makeConnection(StringTransport(peerAddress=peer))
            self.open.append(channel)
        return channel is not None

    def leave(self) -> None:
        self.open.pop().connectionLost(Failure(ConnectionDone()))

    def test_so_many_connections_and_no_more_until_one_goes(self) -> None:
        for _ in range(MOST_CONNECTIONS):
            self.assertTrue(self.come("127.0.0.1"))
        self.assertFalse(self.come("127.0.0.1"))
        self.assertFalse(self.come("192.0.2.1"))
        self.leave()
        self.assertTrue(self.come("192.0.2.1"))
        self.assertFalse(self.come("192.0.2.2"))

    def test_one_address_leaves_room_for_the_others(self) -> None:
        for _ in range(MOST_PER_ADDRESS):
            self.assertTrue(self.come("192.0.2.1"))
        self.assertFalse(self.come("192.0.2.1"))
        self.assertTrue(self.come("192.0.2.2"))
        self.leave()
        self.leave()
        self.assertTrue(self.come("192.0.2.1"))

    def test_nothing_of_a_request_s_body_is_kept(self) -> None:
        for length in ("Content-Length: 1000000", "Transfer-Encoding: chunked"):
            self.come("192.0.2.1")
            channel = self.open[-1]
            head = f"POST /livez HTTP/1.1\r\nHost: x\r\n{length}\r\n\r\n"
            channel.dataReceived(head.encode())
            (request,) = channel.wrappedProtocol.requests
            channel.dataReceived(b"186A0\r\n" * ("chunked" in length) + b"x" * 100_000)
            self.assertEqual(b"", request.content.getvalue(), length)


class MeasuresTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.house = SmtpHouse()
        self.journal: list[Event] = []
        self.log = MailLog(self.house.clock, self.journal.extend)
        database: Any = SimpleNamespace(
            stats=SimpleNamespace(batches=3, jobs=9, commit_s=0.5), queue_depth=2
        )
        journal: Any = SimpleNamespace(dropped=4)
        self.accepts = Timings()
        self.judged: dict[tuple[str, str], int] = {}
        queue: Any = SimpleNamespace(counts={"waiting": 7, "leased": 2}, oldest_at=70.0)
        self.metrics = Metrics()
        describe(
            self.metrics,
            log=self.log,
            database=database,
            journal=journal,
            directory=self.house.directory,
            sessions={"smtp": self.house.sessions, "pop3": Sessions(self.house.clock)},
            gate=ProxyGate(self.house.clock),
            queue=queue,
            accepts=self.accepts,
            now=lambda: 100.0,
            judged=lambda: self.judged,
        )

    def value(self, line: str) -> float:
        (found,) = re.findall(rf"^{re.escape(line)} (\S+)$", self.metrics.text(), re.M)
        return float(found)

    def test_every_measure_has_a_prefix_of_ours_and_a_word_about_it(self) -> None:
        for name, about in self.metrics.names():
            self.assertTrue(name.startswith("mailnode_") and about, name)
        self.assertEqual(1, self.value(f'mailnode_info{{version="{__version__}"}}'))

    def test_mail_and_refusals_are_counted(self) -> None:
        self.log.committed([Accepted(detail={"size_octets": 100})] * 2)
        self.log.tell(RefusedMail(detail={"code": 550}))
        self.assertEqual(2, self.value('mailnode_events_total{event="accepted"}'))
        self.assertEqual(1, self.value('mailnode_refusals_total{code="550"}'))
        self.assertEqual(200, self.value("mailnode_accepted_octets_total"))

    def test_what_filters_said_is_counted_by_name_whatever_that_is(self) -> None:
        self.judged |= {("clamd", "refused"): 3, ('a "b"\\\n', "accepted"): 1}
        self.assertEqual(3, self.value('mailnode_judged_total{by="clamd",result="refused"}'))
        escaped = r'by="a \"b\"\\\n",result="accepted"'
        self.assertEqual(1, self.value(f"mailnode_judged_total{{{escaped}}}"))

    def test_sessions_are_counted_by_server(self) -> None:
        self.house.connect()
        self.house.connect().say("QUIT")
        self.house.sessions.most = 0
        self.house.connect()
        for name, count in (
            ("sessions", 2),
            ("sessions_total", 2),
            ("sessions_turned_away_total", 1),
        ):
            self.assertEqual(count, self.value(f'mailnode_{name}{{server="smtp"}}'))
            self.assertEqual(0, self.value(f'mailnode_{name}{{server="pop3"}}'))

    def test_what_accepting_took_is_counted_by_bounds(self) -> None:
        for duration_s in (0.004, 0.005, 0.3, 60.0):
            self.accepts.add(duration_s)
        for bound, count in (("0.0025", 0), ("0.005", 2), ("0.5", 3), ("10", 3), ("+Inf", 4)):
            name = f'mailnode_accepted_within_total{{le="{bound}"}}'
            self.assertEqual(self.value(name), count)
        self.assertAlmostEqual(60.309, self.value("mailnode_accept_seconds_total"))

    def test_the_queue_says_since_when_the_first_waits(self) -> None:
        self.assertEqual(30.0, self.value("mailnode_queue_oldest_seconds"))

    def test_the_queue_is_shown_by_state(self) -> None:
        self.assertEqual(self.value('mailnode_queue_recipients{state="waiting"}'), 7)
        self.assertEqual(self.value('mailnode_queue_recipients{state="leased"}'), 2)

    def test_the_store_and_the_accounts_are_shown_as_they_are(self) -> None:
        for name, value in (
            ("store_batches_total", 3), ("store_jobs_total", 9), ("store_queue_depth", 2),
            ("store_commit_seconds_total", 0.5), ("journal_dropped_total", 4), ("accounts", 4),
        ):  # fmt: skip
            self.assertEqual(value, self.value(f"mailnode_{name}"), name)
