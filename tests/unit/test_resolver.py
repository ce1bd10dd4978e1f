"""`mailnode.resolver`: which server is asked, what is kept and how long, and who shares what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dns.message
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailnode import resolver as resolver_module
from mailnode.errors import LookupFailed, NoSuchName
from mailnode.nameserver import NoReply, Server
from mailnode.records import parse_answer
from mailnode.resolver import (
    FAILED_S,
    LOOK_EVERY_S,
    SILENT_S,
    WAIT_S,
    Cache,
    Records,
    Resolver,
    read_resolv_conf,
)
from tests import resolver_case
from tests.dns_world import NEGATIVE_TTL_S, Answer, answer_query
from tests.fakes import FakeResolver

FIRST, SECOND = Server("127.0.0.1", 5301), Server("192.0.2.53")


class FakeServers:
    """Answers from a zone; `held` keeps the answers back, `silent` says nothing."""

    def __init__(self, zone: dict[tuple[str, str], Any]) -> None:
        self.zone = zone
        self.asked: list[tuple[Server, str]] = []
        self.silent: set[Server] = set()
        self.faults: dict[Server, str] = {}
        self.held: list[Deferred[None]] | None = None
        self.ended: list[str] = []

    async def ask(self, server: Server, query: dns.message.Message, timeout_s: float) -> Any:
        name = query.question[0].name.to_text(omit_final_dot=True)
        self.asked.append((server, name))
        if self.held is not None:
            wait: Deferred[None] = Deferred()
            self.held.append(wait)
            try:
                await wait
            finally:
                self.ended.append(name)
        if server in self.silent:
            raise NoReply("nothing")
        zone = self.zone
        if server in self.faults:
            zone = {(name, kind): self.faults[server] for name, kind in zone}
        made = answer_query(zone, query, authenticated=True)
        assert made is not None
        return parse_answer(made.to_wire(), query)

    def release(self) -> None:
        assert self.held is not None
        held, self.held = self.held, None
        for each in held:
            each.callback(None)


class ResolverTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.servers = FakeServers(
            {
                ("a.example.org", "A"): ["192.0.2.1"],
                ("b.example.org", "A"): ["192.0.2.2"],
                ("zero.example.org", "A"): Answer(["192.0.2.3"], ttl=0),
            }
        )
        self.resolver = self.made(FIRST, SECOND)

    def made(self, *servers: Server, **more: Any) -> Resolver:
        return Resolver(
            self.clock,
            [str(each) for each in servers],
            ask=self.servers.ask,
            in_thread=maybeDeferred,
            **more,
        )

    def start(self, name: str, kind: str = "A") -> Deferred[Records]:
        return Deferred.fromCoroutine(self.resolver.look_up(name, kind))

    def find(self, name: str = "a.example.org", kind: str = "A") -> Records:
        return self.successResultOf(self.start(name, kind))

    def fail_of(self, kind: type[Exception], name: str) -> Any:
        return self.failureResultOf(self.start(name), kind).value

    def test_an_answer_is_kept_until_its_time_is_over(self) -> None:
        self.assertEqual(300, self.find().expires_in_s)
        self.clock.advance(299)
        self.assertEqual((("192.0.2.1",), 1), (self.find().values, self.find().expires_in_s))
        self.assertEqual(1, len(self.servers.asked))
        self.clock.advance(1)
        self.find()
        self.assertEqual(2, len(self.servers.asked))
        self.assertEqual({"answered": 2, "kept": 2}, dict(self.resolver.counts))

    def test_kinds_are_kept_apart_and_case_and_the_last_dot_do_not_matter(self) -> None:
        self.find()
        self.find("A.example.ORG.")
        self.assertEqual((), self.find("a.example.org", "AAAA").values)
        self.assertEqual(2, len(self.servers.asked))

    def test_failures_in_a_row_are_counted_until_a_name_is_found_or_known_not_to_be(self) -> None:
        self.servers.faults = {FIRST: "SERVFAIL", SECOND: "REFUSED"}
        for name in ("a.example.org", "b.example.org"):
            self.fail_of(LookupFailed, name)
        self.assertEqual(2, self.resolver.failing.count)
        self.assertIn("127.0.0.1:5301: SERVFAIL", self.resolver.failing.why)
        self.servers.faults = {}
        self.fail_of(NoSuchName, "none.example.org")
        self.assertEqual(0, self.resolver.failing.count)

    def test_what_is_not_there_is_kept_by_the_soa_minimum(self) -> None:
        for _ in range(3):
            self.fail_of(NoSuchName, "none.example.org")
            self.find("a.example.org", "MX")
        self.assertEqual(2, len(self.servers.asked))
        self.clock.advance(NEGATIVE_TTL_S)
        self.fail_of(NoSuchName, "none.example.org")
        self.assertEqual(3, len(self.servers.asked))

    def test_a_failure_is_kept_for_a_few_seconds(self) -> None:
        self.servers.faults = {FIRST: "SERVFAIL", SECOND: "REFUSED"}
        for _ in range(3):
            error = self.fail_of(LookupFailed, "a.example.org")
        self.assertEqual(2, len(self.servers.asked))
        self.assertIn("127.0.0.1:5301: SERVFAIL; 192.0.2.53:53: REFUSED", error.detail)
        self.servers.faults = {}
        self.clock.advance(FAILED_S)
        self.assertEqual(("192.0.2.1",), self.find().values)

    def test_what_lives_for_no_time_is_not_kept(self) -> None:
        self.find("zero.example.org")
        self.find("zero.example.org")
        self.assertEqual((2, 0), (len(self.servers.asked), len(self.resolver.cache)))

    def test_a_server_that_fails_is_followed_by_the_next(self) -> None:
        self.servers.faults = {FIRST: "SERVFAIL"}
        self.assertEqual(("192.0.2.1",), self.find().values)
        self.assertEqual([FIRST, SECOND], [server for server, _ in self.servers.asked])

    def test_a_silent_server_is_asked_behind_the_others_for_a_while(self) -> None:
        self.servers.silent = {FIRST}
        self.find()
        self.find("b.example.org")
        self.clock.advance(SILENT_S)
        self.servers.silent = set()
        self.find("zero.example.org")
        self.assertEqual(
            [FIRST, SECOND, SECOND, FIRST], [server for server, _ in self.servers.asked]
        )

    def test_when_all_are_silent_each_is_asked_twice(self) -> None:
        self.servers.silent = {FIRST, SECOND}
        self.fail_of(LookupFailed, "a.example.org")
        self.assertEqual([FIRST, SECOND] * 2, [server for server, _ in self.servers.asked])

    def test_dnssec_is_believed_from_a_server_on_this_machine_alone(self) -> None:
        self.assertTrue(self.find().authenticated)
        self.servers.silent = {FIRST}
        self.assertFalse(self.find("b.example.org").authenticated)

    def test_those_who_ask_together_ask_once_and_one_who_leaves_takes_nobody_along(self) -> None:
        self.servers.held = []
        asked = [self.start("a.example.org") for _ in range(3)]
        asked[0].cancel()
        self.failureResultOf(asked[0])
        self.servers.release()
        for each in asked[1:]:
            self.assertEqual(("192.0.2.1",), self.successResultOf(each).values)
        self.assertEqual(1, len(self.servers.asked))

    def test_a_failure_is_shared_too(self) -> None:
        self.servers.held = []
        asked = [self.start("none.example.org") for _ in range(3)]
        self.servers.release()
        for each in asked:
            self.failureResultOf(each, NoSuchName)

    def test_no_more_than_so_many_are_asked_at_a_time(self) -> None:
        self.patch(resolver_module, "MOST_UNDER_WAY", 2)
        self.patch(resolver_module, "MOST_WAITING", 1)
        self.resolver = self.made(FIRST)
        self.servers.held = []
        asked = [self.start(name) for name in ("a.example.org", "b.example.org")]
        waiting = self.start("zero.example.org")
        self.assertEqual(2, len(self.servers.asked))
        self.fail_of(LookupFailed, "one-too-many.example.org")
        self.servers.release()
        for each in (*asked, waiting):
            self.assertEqual(1, len(self.successResultOf(each).values))

    def test_who_waits_too_long_for_a_place_is_told_so(self) -> None:
        self.patch(resolver_module, "MOST_UNDER_WAY", 1)
        self.resolver = self.made(FIRST)
        self.servers.held = []
        first, second = self.start("a.example.org"), self.start("b.example.org")
        self.clock.advance(WAIT_S)
        self.assertIn("too many", str(self.failureResultOf(second, LookupFailed).value))
        self.servers.release()
        self.successResultOf(first)
        self.assertEqual(("192.0.2.3",), self.find("zero.example.org").values)

    def test_a_cname_that_leads_out_of_the_answer_is_followed(self) -> None:
        self.servers.zone |= {
            ("c.example.org", "CNAME"): Answer(["d.example.org"], follow=False),
            ("d.example.org", "CNAME"): Answer(["a.example.org"], ttl=9, follow=False),
            ("loop.example.org", "CNAME"): Answer(["loop.example.org"], follow=False),
            ("out.example.org", "CNAME"): Answer(["none.example.org"], follow=False),
        }
        found = self.find("c.example.org")
        self.assertEqual((("192.0.2.1",), 9.0), (found.values, found.expires_in_s))
        self.assertEqual("a.example.org", found.name)
        self.assertTrue(found.authenticated)
        self.fail_of(LookupFailed, "loop.example.org")
        self.fail_of(NoSuchName, "out.example.org")

    def test_what_is_no_name_is_not_asked_for(self) -> None:
        self.fail_of(NoSuchName, "a..example.org")
        self.assertEqual([], self.servers.asked)

    def test_a_close_ends_what_is_under_way(self) -> None:
        self.servers.held = []
        waiting = self.start("a.example.org")
        self.successResultOf(Deferred.fromCoroutine(self.resolver.close()))
        self.assertEqual(["a.example.org"], self.servers.ended)
        self.failureResultOf(waiting, LookupFailed)
        self.fail_of(LookupFailed, "b.example.org")
        self.assertEqual(1, len(self.servers.asked))


class CacheTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()

    def kept(self, octets: int = 1) -> Any:
        return resolver_module.Kept(Records(("x" * octets,)), None, 100.0)

    def test_what_was_used_longest_ago_goes_when_there_are_too_many(self) -> None:
        cache = Cache(most=2)
        cache.keep(("a", "A"), self.kept())
        cache.keep(("b", "A"), self.kept())
        cache.find(("a", "A"), 0)
        cache.keep(("c", "A"), self.kept())
        self.assertEqual(
            [True, False, True], [cache.find((name, "A"), 0) is not None for name in "abc"]
        )

    def test_large_answers_have_a_bound_together(self) -> None:
        cache = Cache(most_octets=100_000)
        for n in range(10):
            cache.keep((str(n), "TXT"), self.kept(40_000))
        self.assertEqual(2, len(cache))
        for _ in range(10):
            cache.keep(("9", "TXT"), self.kept(40_000))
        self.assertEqual(2, len(cache))
        cache.find(("9", "TXT"), 100)
        self.assertEqual(1, len(cache))


class ResolvConfTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.path = Path(self.mktemp())
        self.servers = FakeServers({("a.example.org", "A"): Answer(["192.0.2.1"], ttl=1000)})
        self.resolver = Resolver(
            self.clock, (), ask=self.servers.ask, in_thread=maybeDeferred, resolv_conf=self.path
        )

    def find(self) -> list[Server]:
        before = len(self.servers.asked)
        self.successResultOf(Deferred.fromCoroutine(self.resolver.look_up("a.example.org", "A")))
        return [server for server, _ in self.servers.asked[before:]]

    def test_its_servers_are_asked_and_a_changed_file_is_read_again(self) -> None:
        self.path.write_text("# by hand\nsearch example.org\nnameserver 192.0.2.7\n")
        self.assertEqual([Server("192.0.2.7")], self.find())
        self.path.write_text("nameserver ::1\n")
        self.assertEqual([], self.find())
        self.clock.advance(LOOK_EVERY_S)
        self.resolver.cache.clear()
        self.assertEqual([Server("::1")], self.find())

    def test_what_was_kept_goes_with_other_servers(self) -> None:
        self.path.write_text("nameserver 192.0.2.7\n")
        self.find()
        self.path.write_text("nameserver 192.0.2.8\n")
        self.clock.advance(LOOK_EVERY_S)
        self.successResultOf(Deferred.fromCoroutine(self.resolver.look_up("a.example.org", "MX")))
        self.assertEqual([Server("192.0.2.8")], self.find())

    def test_three_servers_count_and_what_is_no_address_is_passed_over(self) -> None:
        self.path.write_text("nameserver\nnameserver x\n" + "nameserver 192.0.2.7 \n" * 5)
        self.assertEqual(3, len(read_resolv_conf(self.path)))

    def test_without_the_file_or_servers_in_it_this_machine_is_asked(self) -> None:
        self.assertEqual((Server("127.0.0.1"),), read_resolv_conf(self.path))
        self.path.write_bytes(b"\xff\xfe options edns0\n")
        self.assertEqual((Server("127.0.0.1"),), read_resolv_conf(self.path))


class ServerTests(SynchronousTestCase):
    def test_spellings(self) -> None:
        for text, host, port in (
            ("192.0.2.53", "192.0.2.53", 53),
            ("127.0.0.1:5353", "127.0.0.1", 5353),
            ("::1", "::1", 53),
            ("[::1]", "::1", 53),
            ("[2001:DB8::1]:5353", "2001:db8::1", 5353),
        ):
            self.assertEqual(Server(host, port), Server.parse(text))
            self.assertEqual(Server(host, port), Server.parse(str(Server(host, port))))

    def test_what_is_none(self) -> None:
        for text in (
            "",
            "x",
            "127.0.0.1:",
            "127.0.0.1:0",
            "127.0.0.1:99999",
            "[::1]x",
            "[::1",
            ":53",
        ):
            self.assertRaises(ValueError, Server.parse, text)

    def test_loopback(self) -> None:
        self.assertEqual(
            [True, True, False],
            [Server(host).loopback for host in ("127.0.0.53", "::1", "192.0.2.1")],
        )


class FakeResolverTests(resolver_case.ResolverCase):
    """The one that tests use in memory passes the suite of every resolver."""

    def setUp(self) -> None:
        zone: dict[tuple[str, str], Any] = dict(resolver_case.VALUES)
        zone["broken.example.org", "MX"] = LookupFailed()
        self.resolver = FakeResolver(zone)
