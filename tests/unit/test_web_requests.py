"""`mailnode.web.requests`, `channel` and `bodies`: what a client can make the server hold."""

from __future__ import annotations

import gzip
import json
import os
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from mailnode.web import bodies
from mailnode.web.bodies import MOST_FIELDS, read_form
from mailnode.web.channel import BODY_GRACE_S, HEADER_S, IDLE_S, LINGER_S, LOOK_S, STALL_S
from mailnode.web.outflow import Outflow
from mailnode.web.refusals import BadRequest
from mailnode.web.routes import SMALL_OCTETS, Answer, Need, Route, Taken
from tests.unit.web_case import Reply, WebCase, read_reply

LARGE = 1 << 20


@define(eq=False)
class Trials:
    """Pages that only tests have."""

    asked: list[Any] = field(factory=list)
    files: list[Any] = field(factory=list)
    read: list[bytes] = field(factory=list)
    descriptors: int = 0
    waits: Deferred[None] | None = None

    def routes(self) -> list[Route]:
        large = Taken(LARGE, streamed=True)
        return [
            Route("/large", ("POST",), self.large, "x", takes=large),
            Route("/api/v1/large", ("POST",), self.large, "x", scope="send", takes=large),
            Route("/in", ("POST",), self.small, "x"),
            Route("/small", ("POST",), self.small, "x", Need.NOBODY),
            Route("/json", ("POST",), self.json, "x", scope="send"),
            Route("/slow", ("GET",), self.slow, "x", Need.NOBODY),
            Route("/endless", ("GET",), self.endless, "x", Need.NOBODY),
            Route("/flood", ("GET",), self.flood, "x", Need.NOBODY),
        ]

    async def large(self, visit: Any) -> Answer:
        uploads = visit.uploads
        self.files += uploads.files
        self.descriptors = len(os.listdir("/proc/self/fd"))
        self.read = [each.file.read() for each in reversed(uploads.files)][::-1]
        for each in uploads.files:
            each.file.seek(0)
        told = [f"{name}={uploads.form.get(name)}" for name in uploads.form.names()]
        told += [
            f"{each.field}:{each.name}:{each.kind}:{each.size_octets}:{len(each.file.read())}"
            for each in uploads.files
        ]
        return Answer("\n".join(told), kind="text/plain")

    async def small(self, visit: Any) -> Answer:
        self.asked.append(dict(visit.form._fields))
        return Answer(visit.body)

    async def json(self, visit: Any) -> Answer:
        return Answer(str(visit.json()))

    async def slow(self, visit: Any) -> Answer:
        self.asked.append(visit.path)
        self.waits = Deferred()
        await self.waits
        return Answer("at last")

    async def endless(self, visit: Any) -> Answer:
        async def produce(request: Any) -> None:
            request.write(b"one")
            self.waits = Deferred()
            await self.waits
            request.write(b"two")

        return Answer(produce=produce)

    async def flood(self, visit: Any) -> Answer:
        async def produce(request: Any) -> None:
            async with Outflow(request) as out:
                for number in range(10):
                    self.asked.append(number)
                    await out.write(b"%d" % number)

        return Answer(produce=produce, headers=(("X-Accel-Buffering", "no"),))


class RequestCase(WebCase):
    def setUp(self) -> None:
        self.trials = Trials()
        self.more_pages = (self.trials,)
        super().setUp()

    def begin(self, head: str, octets: bytes = b"", **how: Any) -> tuple[Any, Any]:
        channel, wire = self.connect(**how)
        cookies = "; ".join(f"{name}={value}" for name, value in self.jar.items())
        lines = [*head.splitlines(), "Host: localhost", f"Cookie: {cookies}", "", ""]
        channel.dataReceived("\r\n".join(lines).encode() + octets)
        return channel, wire

    def multipart(self, *parts: tuple[str, str, bytes]) -> tuple[str, bytes]:
        """(Content-Type, body) of a form of (name, filename, octets)."""
        body = b""
        for name, filename, octets in parts:
            more = f'; filename="{filename}"' if filename else ""
            kind = "\r\nContent-Type: text/plain; x=y" if filename else ""
            head = f'--BOUND\r\nContent-Disposition: form-data; name="{name}"{more}{kind}\r\n\r\n'
            body += head.encode() + octets + b"\r\n"
        return "Content-Type: multipart/form-data; boundary=BOUND", body + b"--BOUND--\r\n"


class HeadTests(RequestCase):
    """Heads without an end: what is answered, and that no more is kept than was."""

    LINE = b"GET %b HTTP/1.1\r\nHost: localhost\r\n"
    HEADS = (
        b"X: " + b"x" * 17_000,  # a line without an end
        b"X: " + b"x" * 17_000 + b"\r\n\r\n",
        b"X: " + b"x" * 9_000 + b"\r\nY: " + b"y" * 9_000 + b"\r\n\r\n",
        b"X: x\r\n" + b" y\r\n" * 9_000,
        b"".join(b"X-%d: y\r\n" % number for number in range(101)) + b"\r\n",
        b"X: y\r\n" * 5_000,
    )

    def answered(self, octets: bytes, at_once: int = 0) -> tuple[Reply, Any, Any]:
        channel, wire = self.connect()
        for at in range(0, len(octets), at_once or len(octets)):
            channel.dataReceived(octets[at : at + (at_once or len(octets))])
        return read_reply(wire.value()), channel, wire

    def test_too_large_a_head_is_431_in_words_for_people_and_for_programs(self) -> None:
        for head in self.HEADS:
            for at_once in (0, 1000, 16_384):
                what = (head[:9], len(head), at_once)
                reply, _, wire = self.answered(self.LINE % b"/" + head, at_once)
                self.assertEqual((431, "close"), (reply.status, reply.header("Connection")), what)
                self.assertEqual(1, wire.value().count(b"HTTP/1.1 "), what)
                self.assertTrue(
                    wire.value().startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
                )
                self.assertIn("over 16.0 KiB or 100 fields", reply.text)
                self.assertEqual("nosniff", reply.header("X-Content-Type-Options"))
                reply, _, wire = self.answered(self.LINE % b"/api/v1/folders" + head, at_once)
                self.assertEqual(431, reply.status)
                self.assertEqual("application/problem+json", reply.header("Content-Type"))
                told = json.loads(reply.text)
                self.assertEqual((431, "Too large"), (told["status"], told["title"]))
                self.assertLess(len(wire.value()), 4_000)

    def test_too_long_an_address_is_414(self) -> None:
        for start, kind in ((b"GET /api/", "application/problem+json"), (b"GET /", "text/html"),
                            (b"x", "text/html"), (b"\x17\x03\x01", "text/html")):  # fmt: skip
            for end in (b"", b" HTTP/1.1\r\nHost: localhost\r\n\r\n"):
                reply, _, _ = self.answered(start + b"x" * 20_000 + end)
                self.assertEqual(414, reply.status)
                self.assertTrue(reply.header("Content-Type").startswith(kind), start)

    def test_what_fits_is_answered_to_its_last_octet(self) -> None:
        fields = b"".join(b"X-%d: y\r\n" % number for number in range(99))
        reply, _, _ = self.answered(self.LINE % b"/sign-in" + fields + b"\r\n")
        self.assertEqual(200, reply.status)
        room = 16_384 - len(self.LINE % b"/sign-in") + 4 - len("X: ")
        for octets, status in ((room, 200), (room + 1, 431)):
            head = self.LINE % b"/sign-in" + b"X: " + b"x" * octets + b"\r\n\r\n"
            self.assertEqual(status, self.answered(head)[0].status)

    def test_a_second_request_of_a_connection_has_the_same_bounds(self) -> None:
        channel, wire = self.connect()
        channel.dataReceived(self.LINE % b"/sign-in" + b"\r\n")
        self.assertEqual(200, read_reply(wire.value()).status)
        wire.clear()
        channel.dataReceived(self.LINE % b"/sign-in" + self.HEADS[0])
        self.assertEqual(431, read_reply(wire.value()).status)

    def test_what_comes_behind_is_thrown_away_and_the_connection_ends(self) -> None:
        for head in (*(self.LINE % b"/" + each for each in self.HEADS), b"x" * 20_000):
            _, channel, wire = self.answered(head)
            wire.clear()
            for _ in range(100):
                channel.dataReceived(b"GET / HTTP/1.1\r\n\r\n" * 3_000)
            kept = channel.wrappedProtocol
            self.assertEqual((b"", b"", []), (wire.value(), kept._buffer, kept.requests))
            self.assertFalse(wire.disconnecting)
            self.clock.advance(LINGER_S)
            self.assertTrue(wire.disconnecting)
            self.clock.advance(LINGER_S)
            self.assertTrue(wire.aborted)

    def test_no_answer_comes_behind_a_connection_s_end(self) -> None:
        _, channel, _ = self.answered(self.LINE % b"/" + self.HEADS[0])
        channel.connectionLost(Failure(ConnectionDone()))
        self.assertEqual([], self.clock.getDelayedCalls())


class BodyTests(RequestCase):
    def small(self, *headers: str, body: bytes = b"", **how: Any) -> Reply:
        csrf = f"X-CSRF-Token: {self.ask('/sign-in').csrf}"
        return self.ask("/small", csrf, *headers, verb="POST", body=body, **how)

    def test_a_small_body_comes_as_it_was_sent(self) -> None:
        body = bytes(range(256)) * (SMALL_OCTETS // 256)
        reply = self.small(body=body)
        self.assertEqual((200, body), (reply.status, reply.body))

    def test_a_larger_one_is_413_before_it_is_sent_and_the_connection_ends_behind_a_while(
        self,
    ) -> None:
        head = f"POST /small HTTP/1.1\nContent-Length: {SMALL_OCTETS + 1}"
        channel, wire = self.begin(head)
        reply = read_reply(wire.value())
        self.assertEqual((413, "close"), (reply.status, reply.header("Connection")))
        self.assertIn("larger than the 64.0 KiB that are taken here", reply.text)
        self.assertFalse(wire.disconnecting)
        wire.clear()
        for _ in range(100):
            channel.dataReceived(b"x" * 65536)  # read, and thrown away
        self.assertEqual(b"", wire.value())
        self.clock.advance(LINGER_S)
        self.assertTrue(wire.disconnecting)

    def test_one_of_untold_length_is_413_where_it_grows_too_large(self) -> None:
        csrf = self.ask("/sign-in").csrf
        head = f"POST /small HTTP/1.1\nTransfer-Encoding: chunked\nX-CSRF-Token: {csrf}"
        channel, wire = self.begin(head)
        channel.dataReceived(b"8000\r\n" + b"x" * 0x8000 + b"\r\n")
        self.assertEqual(b"", wire.value())
        channel.dataReceived(b"8001\r\n" + b"x" * 0x8001 + b"\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n")
        self.assertEqual(413, read_reply(wire.value()).status)
        self.assertEqual(1, wire.value().count(b"HTTP/1.1"))

    def test_who_waits_for_leave_to_send_is_told_no_before(self) -> None:
        csrf = self.ask("/sign-in").csrf
        expects = f"POST /small HTTP/1.1\nExpect: 100-continue\nX-CSRF-Token: {csrf}"
        _channel, wire = self.begin(f"{expects}\nContent-Length: {SMALL_OCTETS + 1}")
        self.assertTrue(wire.value().startswith(b"HTTP/1.1 413"))
        channel, wire = self.begin(f"{expects}\nContent-Length: 3")
        self.assertEqual(b"HTTP/1.1 100 Continue\r\n\r\n", wire.value())
        channel.dataReceived(b"abc")
        self.assertEqual((200, b"abc"), (read_reply(wire.value()).status, channel and b"abc"))
        _channel, wire = self.begin("POST /settings/password HTTP/1.1\nExpect: 100-continue\n"
                                    "Content-Length: 3")  # fmt: skip
        self.assertTrue(wire.value().startswith(b"HTTP/1.1 401"))

    def test_a_small_refused_request_leaves_the_connection_for_the_next(self) -> None:
        channel, wire = self.begin("POST /nowhere HTTP/1.1\nContent-Length: 3", b"abc")
        self.assertEqual(404, read_reply(wire.value()).status)
        wire.clear()
        channel.dataReceived(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        self.assertEqual(b"alive\n", read_reply(wire.value()).body)

    def test_a_get_with_a_large_body_is_refused(self) -> None:
        _channel, wire = self.begin("GET /sign-in HTTP/1.1\nContent-Length: 999999")
        self.assertEqual(413, read_reply(wire.value()).status)

    def test_requests_that_come_together_are_answered_in_their_order(self) -> None:
        one = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
        two = b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n"
        channel, wire = self.connect()
        channel.dataReceived(one + two + one)
        self.assertEqual(
            [b"200", b"404", b"200"],
            [part[1:4] for part in wire.value().split(b"HTTP/1.1")[1:]],
        )

    def test_one_at_a_time_is_worked_on_and_no_more_is_read_meanwhile(self) -> None:
        slow = b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n"
        channel, wire = self.connect()
        channel.dataReceived(slow * 3)
        self.assertEqual(1, len(self.trials.asked))
        channel.dataReceived(slow * 2000)
        self.assertEqual("paused", wire.producerState)
        assert self.trials.waits is not None
        self.trials.waits.callback(None)
        self.assertEqual(2, len(self.trials.asked))

    def test_forms_have_bounds(self) -> None:
        self.assertEqual(["b"], list(read_form(b"a=1&a=b").all("a"))[1:])
        for octets in (b"a=%ff", b"\xff=a", b"&".join([b"a=b"] * (MOST_FIELDS + 1))):
            self.assertRaises(BadRequest, read_form, octets)

    def test_what_is_no_json_is_400(self) -> None:
        self.sign_in()
        csrf = f"X-CSRF-Token: {self.csrf()}"
        for body, status in ((b'{"a": 1}', 200), (b"{", 400), (b"[" * 60_000, 400), (b"\xff", 400)):
            reply = self.ask("/json", csrf, verb="POST", body=body)
            self.assertEqual(status, reply.status, body[:9])


class LargeTests(RequestCase):
    def setUp(self) -> None:
        super().setUp()
        self.sign_in("bob")
        self.say = f"X-CSRF-Token: {self.csrf()}"

    def test_files_of_a_form_lie_on_the_disk_and_are_gone_behind_the_answer(self) -> None:
        kind, body = self.multipart(
            ("to", "", "b@b \xe9".encode()), ("a", "C:\\x\\..\\y.txt", b"\0" * 300_000),
            ("a", "../../etc/passwd", b"\r\n--BOUN"), ("b", "", b"last"), ("c", "e.txt", b""),
        )  # fmt: skip
        reply = self.ask("/large", self.say, kind, verb="POST", body=body)
        self.assertEqual(
            ["to=b@b \xe9", "b=last", "a:y.txt:text/plain:300000:300000",
             "a:passwd:text/plain:8:8", "c:e.txt:text/plain:0:0"],
            reply.text.split("\n"),
        )  # fmt: skip
        self.assertTrue(all(each.file.closed for each in self.trials.files))
        self.assertEqual([], list(self.folder.iterdir()))

    def test_it_does_not_matter_where_the_network_cuts_it(self) -> None:
        kind, body = self.multipart(("to", "", b"x"), ("a", "y.txt", b"\r\n--BOUN-\r" * 30))
        head = f"POST /large HTTP/1.1\n{self.say}\n{kind}\nContent-Length: {len(body)}"
        for size in (1, 2, 7, 64):
            channel, wire = self.begin(head)
            for at in range(0, len(body), size):
                channel.dataReceived(body[at : at + size])
            self.assertIn("a:y.txt:text/plain:300:300", read_reply(wire.value()).text)

    def test_a_raw_body_is_a_file(self) -> None:
        kind = "Content-Type: message/rfc822; x=y"
        reply = self.ask("/large", self.say, kind, verb="POST", body=b"Subject: x\r\n" * 9)
        self.assertEqual(
            ":file:message/rfc822:108:108".replace("file", ""), reply.text.replace("file", "")
        )

    def test_nothing_is_read_from_who_is_not_signed_in_or_comes_from_elsewhere(self) -> None:
        head = "POST /large HTTP/1.1\nContent-Length: 900000\nContent-Type: text/plain"
        self.refused(403, head)
        self.refused(403, f"{head}\nX-CSRF-Token: x")
        self.refused(403, f"{head}\n{self.say}\nOrigin: http://evil.example")
        self.room = False
        self.refused(507, f"{head}\n{self.say}")
        self.jar.clear()
        self.refused(401, head)
        self.refused(401, head.replace("/large", "/api/v1/large"))

    def refused(self, status: int, head: str) -> None:
        _channel, wire = self.begin(head)
        self.assertEqual(status, read_reply(wire.value()).status, head)
        self.assertEqual([], self.trials.files)

    def test_a_form_may_say_in_its_first_field_that_it_is_ours(self) -> None:
        csrf = self.say.split()[1].encode()
        kind, body = self.multipart(("csrf", "", csrf), ("a", "a", b"x"))
        self.assertEqual(200, self.ask("/large", kind, verb="POST", body=body).status)
        for parts in (
            (("a", "a", b"x"), ("csrf", "", csrf)),
            (("csrf", "", b"x"), ("a", "a", b"x")),
            (("to", "", b"x"),),
        ):
            kind, body = self.multipart(*parts)
            self.assertEqual(403, self.ask("/large", kind, verb="POST", body=body).status, parts)

    def test_too_large_a_one_is_413_told_or_not(self) -> None:
        head = f"POST /large HTTP/1.1\n{self.say}\nContent-Type: text/plain"
        _channel, wire = self.begin(f"{head}\nContent-Length: {LARGE + 1}")
        self.assertEqual(413, read_reply(wire.value()).status)
        channel, wire = self.begin(f"{head}\nTransfer-Encoding: chunked")
        for _ in range(16):
            channel.dataReceived(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
        self.assertEqual(b"", wire.value())
        channel.dataReceived(b"1\r\nx\r\n")
        self.assertEqual(413, read_reply(wire.value()).status)

    def test_malformed_forms_are_400(self) -> None:
        self.patch(bodies, "MOST_FIELD_OCTETS", 100_000)
        kind, whole = self.multipart(("a", "a", b"x"))
        many = self.multipart(*[("a", "", b"")] * (MOST_FIELDS + 1))[1]
        fields = self.multipart(*[("a", "", b"x" * 60_000)] * 2)[1]
        for status, body in (
            (400, b""), (400, b"x"), (400, whole[:-9]), (400, many), (413, fields),
            (400, self.multipart(("n" * 201, "", b"x"))[1]),
            (400, self.multipart(("a", "", b"\xff"))[1]),
            (400, whole.replace(b"form-data", b"attachment")),
            (400, whole.replace(b'name="a"; filename', b'title="a"; filename')),
        ):  # fmt: skip
            reply = self.ask("/large", self.say, kind, verb="POST", body=body)
            self.assertEqual(status, reply.status, body[:80])
        reply = self.ask(
            "/large", self.say, "Content-Type: multipart/form-data", verb="POST", body=b""
        )
        self.assertEqual(400, reply.status)

    def test_no_more_is_read_than_the_disk_takes(self) -> None:
        writes: list[tuple[Any, Any, Deferred[Any]]] = []

        def later(function: Any, *arguments: Any) -> Deferred[Any]:
            writes.append((function, arguments, Deferred()))
            return writes[-1][2]

        self.web.in_thread = later
        channel, wire = self.begin(
            f"POST /large HTTP/1.1\n{self.say}\nContent-Type: text/plain\nContent-Length: {LARGE}"
        )
        sent = 0
        while not writes and sent < LARGE:
            channel.dataReceived(b"x" * 65536)
            sent += 65536
        self.assertLessEqual(sent, 256 << 10)
        self.assertEqual("paused", wire.producerState)
        channel.dataReceived(b"x" * 65536)  # was on its way
        sent += 65536
        self.assertEqual(1, len(writes))
        while sent < LARGE and writes:
            self.finish(writes.pop())
            self.assertEqual("producing", wire.producerState)
            while not writes and sent < LARGE:
                channel.dataReceived(b"x" * 65536)
                sent += 65536
        while writes:
            self.finish(writes.pop(0))
        self.assertIn(f":{LARGE}:{LARGE}", read_reply(wire.value()).text)

    def test_who_is_signed_out_while_a_body_comes_has_sent_nothing(self) -> None:
        self.trials.waits = None
        for kind, path in (("text/plain", "/large"), ("application/x-www-form-urlencoded", "/in")):
            self.sign_in()
            say = f"X-CSRF-Token: {self.csrf()}"
            channel, wire = self.begin(
                f"POST {path} HTTP/1.1\n{say}\nContent-Type: {kind}\nContent-Length: 3", b"a="
            )
            self.guests.sessions_by.clear()
            channel.dataReceived(b"b")
            self.assertEqual(401, read_reply(wire.value()).status)
        self.assertEqual([], self.trials.asked + self.trials.files)

    def test_many_files_of_a_body_cost_one_descriptor(self) -> None:
        kind, body = self.multipart(*[("a", f"{n}.txt", b"%d" % n) for n in range(500)])
        head = f"POST /large HTTP/1.1\n{self.say}\n{kind}\nContent-Length: {len(body)}"
        before = len(os.listdir("/proc/self/fd"))
        _channel, wire = self.begin(head, body)
        self.assertLessEqual(self.trials.descriptors, before + 1)
        self.assertEqual(before, len(os.listdir("/proc/self/fd")))
        self.assertIn("a:499.txt:text/plain:3:3", read_reply(wire.value()).text)
        self.assertEqual([b"%d" % n for n in range(500)], self.trials.read)

    def test_so_many_large_bodies_of_an_account_come_at_a_time(self) -> None:
        self.patch(bodies, "MOST_LARGE_OF_ACCOUNT", 2)
        head = f"POST /large HTTP/1.1\n{self.say}\nContent-Type: text/plain\nContent-Length: 9"
        channels = [self.begin(head, b"x")[0] for _ in range(2)]
        self.assertEqual(429, read_reply(self.begin(head)[1].value()).status)
        channels.pop().connectionLost(Failure(ConnectionDone()))
        _channel, wire = self.begin(head, b"x" * 9)
        self.assertEqual(200, read_reply(wire.value()).status)
        self.assertEqual(200, read_reply(self.begin(head, b"x" * 9)[1].value()).status)

    def test_a_body_ends_where_the_disk_has_no_more_room(self) -> None:
        head = f"POST /large HTTP/1.1\n{self.say}\nContent-Type: text/plain\nContent-Length: 9"
        channel, wire = self.begin(head, b"x")
        self.room = False
        channel.dataReceived(b"x" * 8)
        self.assertEqual(507, read_reply(wire.value()).status)

    def finish(self, write: tuple[Any, Any, Deferred[Any]]) -> None:
        function, arguments, done = write
        done.callback(function(*arguments))

    def test_what_a_client_left_behind_is_closed(self) -> None:
        channel, _wire = self.begin(
            f"POST /large HTTP/1.1\n{self.say}\nContent-Type: text/plain\nContent-Length: {LARGE}"
        )
        channel.dataReceived(b"x" * 300_000)
        (request,) = channel.wrappedProtocol.requests
        (file,) = request.admission.body.uploads.files
        channel.connectionLost(Failure(ConnectionDone()))
        self.assertTrue(file.file.closed)


class TimeTests(RequestCase):
    def test_a_header_that_drips_is_cut_off(self) -> None:
        channel, wire = self.connect()
        for letter in b"GET / HTTP/1.1\r\nX: " + b"x" * int(HEADER_S):
            channel.dataReceived(bytes([letter]))
            self.clock.advance(0.9)
            if wire.aborted:
                break
        self.assertTrue(wire.aborted)
        self.assertLessEqual(self.clock.seconds(), HEADER_S + 1)

    def test_so_is_one_that_began_behind_the_request_before(self) -> None:
        for begun in (b"GET / HTTP/1.1\r\nX: ", b"GE"):
            channel, wire = self.connect()
            channel.dataReceived(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n" + begun)
            assert self.trials.waits is not None
            self.trials.waits.callback(None)
            for _ in range(int(HEADER_S) + 1):
                channel.dataReceived(b"x")
                self.clock.advance(1)
            self.assertTrue(wire.aborted, begun)

    def test_a_slow_answer_behind_another_is_waited_for(self) -> None:
        slow = b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n"
        channel, wire = self.connect()
        channel.dataReceived(slow * 2)
        assert self.trials.waits is not None
        self.trials.waits.callback(None)
        self.clock.pump([30] * 10)
        self.assertFalse(wire.disconnecting)
        self.trials.waits.callback(None)
        self.assertEqual(2, wire.value().count(b"at last"))

    def test_a_tls_handshake_in_clear_is_answered_at_once(self) -> None:
        for hello in (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", b"\x16"):
            channel, wire = self.connect()
            channel.dataReceived(hello)
            self.assertTrue(wire.value().startswith(b"HTTP/1.1 400 "))
            head, _, body = wire.value().partition(b"\r\n\r\n")
            self.assertIn(b"Content-Length: %d" % len(body), head)
            self.assertIn(b"without TLS", body)
            self.assertTrue(wire.disconnecting)

    def test_a_connection_without_a_word_is_cut_off(self) -> None:
        _channel, wire = self.connect()
        self.clock.advance(HEADER_S)
        self.assertTrue(wire.aborted)

    def test_between_requests_a_connection_is_kept_for_a_minute(self) -> None:
        channel, wire = self.connect()
        for _ in range(3):
            channel.dataReceived(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
            self.clock.pump([1] * (IDLE_S - 1))
            self.assertFalse(wire.disconnecting)
        self.clock.pump([1] * 2)
        self.assertTrue(wire.disconnecting)

    def test_a_body_may_be_slow_but_not_drip(self) -> None:
        csrf = self.ask("/sign-in").csrf
        head = f"POST /small HTTP/1.1\nContent-Length: 60000\nX-CSRF-Token: {csrf}"
        for octets, holds in ((12_000, True), (40, False)):
            channel, wire = self.begin(head)
            for _ in range(int(BODY_GRACE_S / LOOK_S) - 1):
                channel.dataReceived(b"x" * (octets // 12))
                self.clock.advance(LOOK_S)
            for _ in range(3):
                channel.dataReceived(b"x" * octets)
                self.clock.advance(LOOK_S)
            self.assertEqual(holds, not wire.aborted, octets)

    def test_an_answer_that_takes_long_is_waited_for(self) -> None:
        _channel, wire = self.begin("GET /slow HTTP/1.1")
        self.clock.pump([30] * 20)
        self.assertFalse(wire.disconnecting)
        assert self.trials.waits is not None
        self.trials.waits.callback(None)
        self.assertEqual(b"at last", read_reply(wire.value()).body)

    def test_what_has_no_end_comes_as_it_is_written_and_ends_with_its_client(self) -> None:
        channel, wire = self.begin("GET /endless HTTP/1.1")
        self.assertIn(b"one", wire.value())
        channel.connectionLost(Failure(ConnectionDone()))
        assert self.trials.waits is not None
        self.assertTrue(self.trials.waits.called)

    def test_what_is_large_goes_out_as_its_client_reads(self) -> None:
        channel, wire = self.connect()
        protocol = channel.wrappedProtocol
        write = wire.write

        def full(octets: bytes) -> None:
            write(octets)
            if b"3" in octets:
                protocol.pauseProducing()

        wire.write = full
        wire.writeSequence = lambda pieces: [full(each) for each in pieces if each.isdigit()]
        channel.dataReceived(b"GET /flood HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.assertEqual([0, 1, 2, 3], self.trials.asked)
        wire.write = write
        protocol.resumeProducing()
        self.assertEqual(list(range(10)), self.trials.asked)
        self.clock.pump([10] * 3)
        self.assertFalse(wire.aborted)

    def test_who_reads_nothing_of_it_is_cut_off(self) -> None:
        channel, wire = self.connect()
        write = wire.write
        protocol = channel.wrappedProtocol
        wire.writeSequence = lambda pieces: (write(b"".join(pieces)), protocol.pauseProducing())
        channel.dataReceived(b"GET /flood HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.assertLess(len(self.trials.asked), 10)
        self.clock.advance(STALL_S)
        self.assertTrue(wire.aborted)
        channel.connectionLost(Failure(ConnectionDone()))
        self.assertLess(len(self.trials.asked), 10)

    def test_a_length_that_can_be_read_in_two_ways_is_400(self) -> None:
        for smuggled in (
            "Content-Length: 3\nContent-Length: 4",
            "Content-Length: 3\nTransfer-Encoding: chunked",
            "Content-Length: +3",
            "Transfer-Encoding: gzip",
        ):
            _channel, wire = self.begin(f"POST /small HTTP/1.1\n{smuggled}")
            self.assertIn(b"400", wire.value()[:20], smuggled)


class AssetTests(WebCase):
    def test_a_page_brings_what_it_names_within_its_bound_and_browsers_keep_it(self) -> None:
        page = self.ask("/sign-in").text
        octets = len(page)
        names = [part.split('"')[0].split("#")[0] for part in page.split('"/static/')[1:]]
        self.assertGreater(len(names), 5)
        for name in set(names):
            reply = self.ask(f"/static/{name}", "Accept-Encoding: br, gzip")
            self.assertEqual(200, reply.status, name)
            self.assertIn("immutable", reply.header("Cache-Control"))
            octets += len(reply.body)
            if reply.header("Content-Encoding"):
                plain = self.ask(f"/static/{name}", "Accept-Encoding: gzip;q=0").body
                self.assertEqual(plain, gzip.decompress(reply.body))
        self.assertLess(octets, 100 << 10)

    def test_under_the_address_of_another_version_it_is_not_kept(self) -> None:
        reply = self.ask("/static/0123/app.css")
        self.assertEqual((200, ["no-cache"]), (reply.status, reply.headers("Cache-Control")))

    def test_it_can_be_installed(self) -> None:
        reply = self.ask("/manifest.webmanifest")
        self.assertEqual("application/manifest+json", reply.header("Content-Type"))
        self.assertIn('"display": "standalone"', reply.text)
        for size in (192, 512):
            (src,) = {
                part.split('"')[0] for part in reply.text.split('"src": "')[1:]
                if f"icon-{size}" in part[:60]
            }  # fmt: skip
            self.assertTrue(self.ask(src).body.startswith(b"\x89PNG"))

    def test_nothing_in_a_page_needs_what_the_policy_forbids(self) -> None:
        self.sign_in()
        for path in ("/sign-in", "/settings", "/nowhere"):
            page = self.ask(path).text
            self.assertNotRegex(page, r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=|javascript:")
            self.assertNotIn("http://", page)
            self.assertNotIn("https://", page)
