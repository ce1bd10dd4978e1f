"""A stranger's SMTP session in memory, over a DNS that answers when the test wants it."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from mailnode.arrival.arrival import Arrival
from mailnode.config import load_config
from mailnode.events import Event
from mailnode.interfaces import IResolver
from mailnode.model import Judgement
from mailnode.records import Records
from mailnode.settings import ArrivalSettings
from mailnode.store.greylist_rows import Look
from tests.fakes import FakeResolver, SmtpHouse, Talk

CLIENT, CLIENT6 = "192.0.2.7", "2001:db8::7"
ALICE, BOB = "RCPT TO:<alice@example.test>", "RCPT TO:<bob@example.test>"
MAIL = "MAIL FROM:<anna@sender.example>"
HELO = "EHLO mail.sender.example"
SILENCE = "silence"
ZONE = {
    ("7.2.0.192.in-addr.arpa", "PTR"): ["mail.sender.example"],
    ("mail.sender.example", "A"): [CLIENT],
}


@implementer(IResolver)
class SlowResolver(FakeResolver):
    """A name whose value is SILENCE is answered when `speak` says so, or never."""

    def __init__(self, zone: dict[tuple[str, str], Any]) -> None:
        super().__init__(zone)
        self.silent: dict[tuple[str, str], Deferred[None]] = {}

    async def look_up(self, name: str, kind: str) -> Records:
        if self.zone.get((name, kind)) == SILENCE:
            self.asked.append((name, kind))
            self.silent[name, kind] = speaking = Deferred[None]()
            await speaking
        return await super().look_up(name, kind)

    def speak(self, name: str, kind: str, values: Any) -> None:
        self.zone[name, kind] = values
        self.silent.pop((name, kind)).callback(None)


class FakeGreylist:
    """Answers `looks` in turn, and then always the last of them."""

    def __init__(self, *looks: Any) -> None:
        self.looks = list(looks)
        self.asked: list[tuple[str, str, str]] = []

    def look(self, network: str, sender: str, recipient: str) -> Deferred[Look]:
        self.asked.append((network, sender, recipient))
        look = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        return look if isinstance(look, Deferred) else succeed(look)


class ArrivalCase(SynchronousTestCase):
    """Each test says what the settings and the DNS are, and talks."""

    def come(
        self,
        client: str = CLIENT,
        zone: dict[tuple[str, str], Any] | None = None,
        greylist: Any = None,
        **settings: Any,
    ) -> Talk:
        self.house = SmtpHouse()
        self.resolver = SlowResolver(dict(ZONE if zone is None else zone))
        directory = self.house.directory

        def is_there(address: Any) -> bool:
            return directory.is_local(address.domain) and address.local != "nobody"

        self.arrival = Arrival(
            clock=self.house.clock,
            resolver=self.resolver,
            greylist=greylist,
            is_ours=lambda domain: domain == "mx.example.test" or directory.is_local(domain),
            is_there=is_there,
        )
        self.set(**settings)
        self.house.factory.arrival = self.arrival
        return self.come_again(client)

    def set(self, **settings: Any) -> None:
        options = {f"arrival.{name}": (value, "test") for name, value in settings.items()}
        self.settings: ArrivalSettings = load_config(environment={}, options=options).arrival
        self.arrival.apply(evolve(self.settings))

    def come_again(self, client: str = CLIENT) -> Talk:
        self.talk = self.house.connect(client)
        self.greeting = self.talk.read()
        return self.talk

    def say(self, *lines: str) -> str:
        """The last reply."""
        return self.talk.say(*lines)[-1]

    def envelope(self) -> None:
        for reply in self.talk.say(HELO, MAIL, ALICE):
            self.assertEqual("250", reply[:3], reply)

    def send(self) -> str:
        """A mail's body; the reply at its dot, "" while it waits."""
        self.assertEqual("354", self.say("DATA")[:3])
        return self.talk.send("Subject: x\r\n\r\nx\r\n.\r\n")

    def judged(self) -> Judgement | None:
        """What the last filed mail brings with it."""
        _envelope, message = self.house.messages.filed[-1]
        return message.judgements[0] if message.judgements else None

    def facts(self) -> dict[str, str]:
        """Of one mail, sent."""
        self.envelope()
        self.assertEqual("250", self.send()[:3])
        judged = self.judged()
        return dict(judged.facts) if judged is not None else {}

    def refused(self) -> Event:
        """The last refusal that the journal is told."""
        return next(each for each in reversed(self.house.told) if each.name == "refused")

    def because(self) -> object:
        return self.refused().detail.get("because")
