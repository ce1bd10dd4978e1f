"""A node and next hops that misbehave at every step: each recipient's outcome, and none is lost."""

from __future__ import annotations

import json
import smtplib
import sqlite3
import time
from collections.abc import Callable
from typing import Any

from attrs import define, evolve, field
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from mailnode.addresses import parse_address
from mailnode.outbound import conversation
from mailnode.routes import Gear, Route
from mailnode.service import Node
from tests import remote as host
from tests.embedded.test_node import PASSWORD, NodeCase
from tests.remote import Pair, Remote, RemoteSession, make_pair

ALICE = "alice@example.test"
VERBS = ("GREETING", "EHLO", "MAIL", "RCPT", "DATA", "DOT")
LATE_S = 0.5
SETTLE_S = 45.0
SHORT_S = 1.5
LATER = ["deferred", "relayed"]
NEVER = ["bounced"]


def once(verb: str, deed: str) -> dict[str, Callable[[str], str]]:
    """Do this at the first `verb`, and from then on what hosts usually say."""
    said: list[str] = []

    def say(argument: str) -> str:
        said.append(argument)
        return deed if len(said) == 1 else str(host._USUAL.get(verb, "250 remote.test"))

    return {verb: say}


class LateSession(RemoteSession):
    def connectionMade(self) -> None:
        deferLater(reactor, LATE_S, super().connectionMade)


class LateRemote(Remote):
    def buildProtocol(self, addr: object) -> RemoteSession:
        self.connections += 1
        return LateSession(self)


@define(eq=False)
class Case:
    """One host, whose domain's number is its place in the list.

    Attributes:
        outcomes: events of the journal for each recipient, in order.
        taken: how many mails the host takes.
    """

    name: str
    remote: Remote
    outcomes: dict[str, list[str]]
    taken: int
    kind: str = "smtp"
    tls: str = "may"
    domain: str = ""
    stories: dict[str, list[dict[str, Any]]] = field(factory=dict)

    @property
    def is_settled(self) -> bool:
        return all(len(self.stories[whom]) >= len(told) for whom, told in self.outcomes.items())


def same(name: str, remote: Remote, outcome: list[str], taken: int, **more: str) -> Case:
    """Both recipients have the same outcome."""
    return Case(name, remote, {"ann": outcome, "bob": outcome}, taken, **more)


class BadHostCase(NodeCase):
    timeout = 120

    async def run_cases(self, *cases: Case) -> None:
        """Send a mail to two recipients at each host, and compare what became of them."""
        node = await self.start_sender()
        for number, case in enumerate(cases):
            case.domain = f"d{number}.test"
            listening = reactor.listenTCP(0, case.remote, interface="127.0.0.1")
            self.addCleanup(self.close, case.remote)
            self.addCleanup(listening.stopListening)
            port = listening.getHost().port
            route = Route(case.domain, case.kind, "127.0.0.1", port, tls=case.tls)
            node.accounts.outside.add_route(route)
        node.bell.ring("accounts")
        while node.directory.route_for(parse_address(f"ann@{cases[-1].domain}")).kind == "mx":
            await deferLater(reactor, 0.01)
        await deferToThread(self.submit, node, cases)
        await self.until_settled(cases)
        for case in cases:
            told = {whom: [row["event"] for row in rows] for whom, rows in case.stories.items()}
            self.assertEqual(case.outcomes, told, f"{case.name}: {case.stories}")
            self.assertEqual(case.taken, len(case.remote.taken), case.name)
        waiting = sum(story[-1] == "deferred" for case in cases for story in case.outcomes.values())
        self.assertEqual([(waiting,)], self.ask("SELECT count(*) FROM queue"))
        reports = [mail for mail in await self.fetch(node) if b"Action: failed" in mail]
        failed = [case for case in cases if NEVER in case.outcomes.values()]
        self.assertEqual(len(failed), len(reports))

    async def start_sender(self) -> Node:
        node = self.start(outbound__rate="0", outbound__retry_first="1s", outbound__retry_most="1s")
        await self.add_alice(node)
        node.accounts.outside.set_gear(Gear("live"))
        return node

    async def close(self, remote: Remote) -> None:
        for session in list(remote.here):
            session.transport.abortConnection()
        while remote.here:
            await deferLater(reactor, 0.01)

    def submit(self, node: Node, cases: tuple[Case, ...]) -> None:
        with smtplib.SMTP("127.0.0.1", self.port(node, "smtp"), timeout=30) as session:
            session.login(ALICE, PASSWORD)
            for case in cases:
                recipients = [f"{name}@{case.domain}" for name in case.outcomes]
                raw = f"From: {ALICE}\r\nSubject: {case.name}\r\n\r\n.Hello\r\n..\r\n"
                session.sendmail(ALICE, recipients, raw.encode())

    async def until_settled(self, cases: tuple[Case, ...]) -> None:
        """Until each recipient has as many events as it should have, or more."""
        deadline = time.monotonic() + SETTLE_S
        while True:
            stories = self.read_journal()
            for case in cases:
                case.stories = {
                    name: stories.get(f"{name}@{case.domain}", []) for name in case.outcomes
                }
            if all(case.is_settled for case in cases):
                return
            if time.monotonic() > deadline:
                late = {case.name: case.stories for case in cases if not case.is_settled}
                raise AssertionError(f"after {SETTLE_S:.0f} s: {late}")
            await deferLater(reactor, 0.05)

    def read_journal(self) -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = {}
        for event, recipient, detail in self.ask(
            "SELECT event, recipient, detail FROM journal"
            " WHERE event IN ('deferred', 'relayed', 'bounced') ORDER BY id"
        ):
            found.setdefault(recipient, []).append({"event": event, **json.loads(detail)})
        return found

    def ask(self, question: str) -> list[Any]:
        path = self.folder / "var" / "mail.db"
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            return connection.execute(question).fetchall()
        finally:
            connection.close()


class BadHostTests(BadHostCase):
    async def test_what_fails_for_now_arrives_once_and_what_fails_for_good_comes_back(
        self,
    ) -> None:
        cases = []
        for verb in VERBS:
            for offers in (host.OFFERS, ()):
                way = "" if offers else ", no PIPELINING"
                for deed in (host.DROP, "421 4.3.2 Closing", "451 4.3.0 Not now"):
                    case = same(
                        f"{deed} at {verb}{way}", Remote(once(verb, deed), offers), LATER, 1
                    )
                    if verb == "RCPT" and deed[:3] == "451":  # said to the first of them alone
                        case.outcomes, case.taken = {"ann": LATER, "bob": ["relayed"]}, 2
                    cases.append(case)
                never = Remote({verb: "550 5.7.1 Never", "HELO": "550 5.7.1 Never"}, offers)
                cases.append(same(f"550 at {verb}{way}", never, NEVER, 0))
        await self.run_cases(*cases)
        lost = [case for case in cases if case.name.startswith(f"{host.DROP} at DOT")]
        self.assertEqual(2, len(lost))
        for case in lost:
            self.assertIn("may arrive twice", case.stories["ann"][0]["because"])

    async def test_what_is_no_reply_bounces_nothing(self) -> None:
        await self.run_cases(
            *[
                same(f"{reply!r} at {verb}", Remote(once(verb, reply)), LATER, 1)
                for verb in VERBS
                for reply in (host.ENDLESS, "hello", "450-a\n251 b", "999 what", "\x00\xff")
            ]
        )

    async def test_each_recipient_has_an_outcome_of_its_own(self) -> None:
        def refuse_bob(code: str) -> Callable[[str], str]:
            return lambda argument: f"{code} Not him" if "bob@" in argument else "250 2.1.5 Ok"

        tries: list[str] = []

        def bob_later(argument: str) -> str:
            if "bob@" in argument and not tries:
                tries.append(argument)
                return "450 4.2.1 Not now"
            return "250 2.1.5 Ok"

        one = {"ann": ["relayed"], "bob": NEVER}
        later = {"ann": ["relayed"], "bob": LATER}
        say = {"DOT": refuse_bob("552 5.2.2")}
        await self.run_cases(
            Case("bob is refused", Remote({"RCPT": refuse_bob("550 5.1.1")}), one, 1),
            Case("bob comes later", Remote({"RCPT": bob_later}), later, 2),
            Case("LMTP", Remote(say, lmtp=True), one, 1, kind="lmtp"),
            same("no EHLO", Remote({"EHLO": "502 5.5.1 What?"}), ["relayed"], 1),
        )

    async def test_a_host_that_greets_late_gets_it(self) -> None:
        await self.run_cases(same("late", LateRemote(), ["relayed"], 1))

    async def test_silence_has_an_end_and_loses_nothing(self) -> None:
        self.patch(conversation, "USUAL_S", SHORT_S)
        self.patch(conversation, "DEADLINES_S", {})
        await self.run_cases(
            *[
                same(f"silent at {verb}", Remote(once(verb, host.SILENCE), ()), LATER, 1)
                for verb in VERBS
            ],
            same("reads no more", Remote(once("DATA", host.READS_NO_MORE)), LATER, 1),
        )

    async def test_who_takes_the_mail_and_drops_gets_it_twice_and_the_journal_says_so(self) -> None:
        remote = Remote()
        taken: list[str] = []

        def take_and_drop(argument: str) -> str:
            taken.append(argument)
            return host.DROP if len(taken) == 1 else "250 2.0.0 Taken"

        remote.says = {"DOT": take_and_drop}
        case = same("takes and drops", remote, LATER, 1)
        await self.run_cases(case)
        self.assertEqual(2, len(taken))
        self.assertIn("may arrive twice", case.stories["bob"][0]["because"])

    async def test_a_bad_certificate_costs_no_mail_and_verify_gives_it_to_nobody(self) -> None:
        expired, other = make_pair("localhost", days=-1), make_pair("other.test")
        pairs: tuple[tuple[str, Pair], ...] = (("expired", expired), ("other", other))
        cases = [same(name, Remote(tls=pair), ["relayed"], 1) for name, pair in pairs]
        cases += [
            same(f"{name}, verify", Remote(tls=pair), ["deferred"], 0, tls="verify")
            for name, pair in pairs
        ]
        old = evolve(make_pair("localhost"), old=True)
        cases += [
            same("old TLS", Remote(tls=old), ["relayed"], 1),
            same("no TLS, verify", Remote(), ["deferred"], 0, tls="verify"),
            same("early octets", Remote({"STARTTLS": host.TOO_EARLY}, tls=other), ["deferred"], 0),
        ]
        await self.run_cases(*cases)
        self.assertTrue(all(case.remote.taken[0].tls for case in cases[:2]))
        self.assertIn("in_clear", cases[4].stories["ann"][0])
        for case in (cases[2], cases[3], cases[5]):
            self.assertEqual([], [verb for verb in case.remote.verbs() if verb == "MAIL"])
