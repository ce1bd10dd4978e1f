"""`mailnode.resolver` and `mailnode.nameserver` against a DNS server on loopback, over sockets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.threads import deferToThread
from twisted.python.threadable import isInIOThread
from twisted.trial.unittest import TestCase

from mailnode import nameserver
from mailnode import resolver as resolver_module
from mailnode.errors import LookupFailed
from mailnode.nameserver import NameServers, NoReply, Server
from mailnode.records import make_query, parse_answer
from mailnode.resolver import Records, Resolver
from tests import resolver_case
from tests.dns_world import Answer, DnsWorld
from tests.documents import ROOT


class WorldCase(TestCase):
    timeout = 30

    def setUp(self) -> None:
        self.world = DnsWorld(dict(resolver_case.ZONE))
        self.port = self.world.start(reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.world.stop()))
        self.resolver = self.made(f"127.0.0.1:{self.port}")
        self.patch(resolver_module, "TRIES_S", (0.3, 0.3))

    def made(self, *servers: str) -> Resolver:
        made = Resolver(reactor, servers)
        self.addCleanup(lambda: Deferred.fromCoroutine(made.close()))
        return made

    async def failure(self, name: str, kind: str = "A") -> LookupFailed:
        try:
            await self.resolver.look_up(name, kind)
        except LookupFailed as error:
            return error
        raise self.failureException(f"{name} was found")


class SuiteTests(WorldCase, resolver_case.ResolverCase):
    """The suite of every resolver."""


class SocketTests(WorldCase):
    async def test_each_question_has_an_id_and_a_source_port_of_its_own(self) -> None:
        for n in range(20):
            self.world.zone[f"h{n}.example.org", "A"] = ["192.0.2.9"]
            await self.resolver.look_up(f"h{n}.example.org", "A")
        self.assertGreater(len(set(self.world.ids)), 18)
        self.assertGreater(len(set(self.world.ports)), 15)

    async def test_an_answer_that_does_not_fit_is_asked_for_over_tcp(self) -> None:
        many = [f"192.0.2.{n}" for n in range(200)]
        self.world.zone["many.example.org", "A"] = many
        self.world.zone["cut.example.org", "A"] = Answer(["192.0.2.7"], fault="truncated")
        self.assertEqual(200, len((await self.resolver.look_up("many.example.org", "A")).values))
        self.assertEqual(
            ("192.0.2.7",), (await self.resolver.look_up("cut.example.org", "A")).values
        )
        self.assertEqual(["udp", "tcp"] * 2, [over for _, _, over in self.world.asked])

    async def test_up_to_1232_octets_come_over_udp(self) -> None:
        self.world.zone["some.example.org", "A"] = [f"192.0.2.{n}" for n in range(70)]
        self.assertEqual(70, len((await self.resolver.look_up("some.example.org", "A")).values))
        self.assertEqual(["udp"], [over for _, _, over in self.world.asked])

    async def test_what_may_take_long_is_read_away_from_the_reactor(self) -> None:
        threads = []

        def parse(*args: Any) -> Any:
            threads.append(isInIOThread())
            return parse_answer(*args)

        self.patch(nameserver, "parse_answer", parse)
        for count in (2, 70, 150):  # the last one comes over TCP
            name = f"n{count}.example.org"
            self.world.zone[name, "A"] = [f"192.0.2.{n}" for n in range(count)]
            self.assertEqual(count, len((await self.resolver.look_up(name, "A")).values))
        self.assertEqual([True, False, True, False], threads)

    async def test_answers_from_strangers_and_to_other_questions_are_passed_over(self) -> None:
        self.world.zone["bank.example.org", "A"] = Answer(["192.0.2.8"], fault="forged")
        self.assertEqual(
            ("192.0.2.8",), (await self.resolver.look_up("bank.example.org", "A")).values
        )

    async def test_a_server_of_old_is_asked_again_without_edns(self) -> None:
        self.world.without_edns = True
        self.assertEqual(2, len((await self.resolver.look_up("mx.example.org", "A")).values))
        self.assertEqual(2, len(self.world.asked))

    async def test_the_next_server_is_asked_when_one_is_silent_or_not_there(self) -> None:
        silent = reactor.listenUDP(0, DatagramProtocol(), interface="127.0.0.1")
        self.addCleanup(silent.stopListening)
        gone = reactor.listenUDP(0, DatagramProtocol(), interface="127.0.0.1")
        nobody = gone.getHost().port
        await gone.stopListening()
        for port in (silent.getHost().port, nobody):
            resolver = self.made(f"127.0.0.1:{port}", f"127.0.0.1:{self.port}")
            self.assertEqual(2, len((await resolver.look_up("mx.example.org", "A")).values))

    async def test_nobody_there_is_told_at_once_and_with_the_server_s_address(self) -> None:
        gone = reactor.listenUDP(0, DatagramProtocol(), interface="127.0.0.1")
        nobody = gone.getHost().port
        await gone.stopListening()
        self.resolver = self.made(f"127.0.0.1:{nobody}")
        self.patch(resolver_module, "TRIES_S", (20.0,))
        told = await self.failure("mx.example.org")
        self.assertIn(f"127.0.0.1:{nobody}: nobody listens there", str(told))

    async def test_silence_ends(self) -> None:
        self.world.zone["quiet.example.org", "A"] = "silence"
        told = await self.failure("quiet.example.org")
        self.assertIn("nothing within 0.3 s", str(told))
        self.assertEqual(2, len(self.world.asked))

    async def test_silence_over_tcp_ends_too(self) -> None:
        class Half(DnsWorld):
            def answer(self, data: bytes, tcp: bool) -> list[tuple[bytes, bool]]:
                return [] if tcp else super().answer(data, tcp)

        world = Half({("cut.example.org", "A"): Answer(["192.0.2.7"], fault="truncated")})
        port = world.start(reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(world.stop()))
        ask = NameServers(reactor).ask(
            Server("127.0.0.1", port), make_query("cut.example.org", "A"), 0.3
        )
        await self.assertFailure(Deferred.fromCoroutine(ask), NoReply)

    async def test_a_connection_that_is_closed_or_answers_nonsense_is_no_answer(self) -> None:
        query = make_query("cut.example.org", "A")

        class Odd(DnsWorld):
            def answer(self, data: bytes, tcp: bool) -> list[tuple[bytes, bool]]:
                return [(b"nonsense", False)] if tcp else super().answer(data, tcp)

        world = Odd({("cut.example.org", "A"): Answer(["192.0.2.7"], fault="truncated")})
        port = world.start(reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(world.stop()))
        ask = NameServers(reactor).ask(Server("127.0.0.1", port), query, 5)
        told = await self.assertFailure(Deferred.fromCoroutine(ask), NoReply)
        self.assertIn("another question", str(told))

    async def test_a_close_ends_what_is_under_way_and_takes_no_more(self) -> None:
        self.world.zone["quiet.example.org", "A"] = "silence"
        waiting = Deferred.fromCoroutine(self.resolver.look_up("quiet.example.org", "A"))
        self.assertFalse(waiting.called)
        await self.resolver.close()
        await self.assertFailure(waiting, LookupFailed)
        self.assertIn("stops", str(await self.failure("mx.example.org")))

    async def test_those_who_ask_together_ask_once(self) -> None:
        asked = [
            Deferred.fromCoroutine(self.resolver.look_up("mx.example.org", "A")) for _ in range(50)
        ]
        answers: list[Records] = await gatherResults(asked)
        self.assertEqual({2}, {len(each.values) for each in answers})
        self.assertEqual(1, len(self.world.asked))

    async def test_ipv6_servers(self) -> None:
        world = DnsWorld(dict(resolver_case.ZONE))
        try:
            port = world.start(reactor, interface="::1")
        except Exception:
            self.skipTest("no IPv6 here")
        self.addCleanup(lambda: Deferred.fromCoroutine(world.stop()))
        resolver = self.made(f"[::1]:{port}")
        self.assertEqual(2, len((await resolver.look_up("mx.example.org", "A")).values))

    def start_program(self) -> Any:
        zone = Path(self.mktemp())
        zone.write_text(json.dumps({"a.example.org A": {"values": ["192.0.2.5"], "ttl": 1}}))
        command = [sys.executable, "-m", "tests.dns_world", "0", str(zone.absolute())]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        program: Any = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, env=environment)
        self.addCleanup(program.stdout.close)
        self.addCleanup(program.wait)
        self.addCleanup(program.terminate)
        return program

    async def test_the_world_runs_as_a_program_too(self) -> None:
        program = self.start_program()
        port = int(await deferToThread(program.stdout.readline))
        self.patch(resolver_module, "TRIES_S", (20.0,))
        resolver = self.made(f"127.0.0.1:{port}")
        found = await resolver.look_up("a.example.org", "A")
        self.assertEqual(("192.0.2.5",), found.values)
