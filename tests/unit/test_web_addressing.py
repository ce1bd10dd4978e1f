"""Recipients as they are typed: judged by who will take them, looked up seldom, completed."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mailnode.addresses import Address
from mailnode.errors import LookupFailed, MailError, NoSuchName
from mailnode.model import Client
from mailnode.outbound.mx import TakesNoMail
from mailnode.smtp.posting import PostOffice
from mailnode.smtp.transaction import Postbox
from mailnode.store.correspondents import Correspondent, correspondents_of
from mailnode.web.pages.addressing import LOOKUP_S, Addressing, CheckedTooOften
from tests.fakes import SmtpHouse


class AddressingCase(SynchronousTestCase):
    def setUp(self) -> None:
        house = self.house = SmtpHouse()
        self.alice: Any = house.directory.find_by_id(1)
        self.asked: list[str] = []
        self.answers: dict[str, Any] = {}
        self.known = [
            Correspondent("zed@far.example", "Dr. Zed", 9),
            Correspondent("Bob@example.test", "Bob", 3),
            Correspondent("alice@example.test", "Myself", 3),
        ]
        office = PostOffice(
            hostname="mx.example.test",
            delivery_for=lambda account: Postbox(house.counter, account),
            tell=house.told.append,
        )
        desk: Any = SimpleNamespace(directory=house.directory, post_office=office)
        self.times_known = 0

        async def known(account_id: int) -> list[Correspondent]:
            self.times_known += 1
            return self.known

        self.addressing = Addressing(
            desk, self.takes_mail, known, house.clock, now=house.clock.seconds
        )

    async def takes_mail(self, address: Address) -> None:
        self.asked.append(str(address))
        answer = self.answers.get(address.domain)
        if isinstance(answer, MailError):
            raise answer
        if answer is not None:
            await answer

    def ask(self, text: str, whose: str = "session") -> Deferred[list[str]]:
        return Deferred.fromCoroutine(self.addressing.faults_of(self.alice, Client(), whose, text))

    def faults(self, text: str, whose: str = "session") -> list[str]:
        return self.successResultOf(self.ask(text, whose))


class Checking(AddressingCase):
    def test_the_server_says_it_in_its_own_words(self) -> None:
        self.answers = {
            "gone.example": NoSuchName("There is no domain gone.example"),
            "null.example": TakesNoMail("The domain null.example takes no mail"),
        }
        self.assertEqual(
            [
                "'sina' has no @: an address is such as carol@example.org",
                "'a@sina': 'sina' is not a whole domain",
                "nobody@example.test: No such user here",
                "x@gone.example: There is no domain gone.example",
                "y@null.example: The domain null.example takes no mail",
            ],
            self.faults(
                "sina, a@sina, nobody@example.test, x@gone.example, y@null.example, "
                "bob@example.test, z@good.example"
            ),
        )

    def test_what_can_not_be_looked_up_now_is_no_fault(self) -> None:
        self.answers = {"a.example": LookupFailed(), "b.example": Deferred()}
        asked = self.ask("x@a.example, x@b.example")
        self.assertNoResult(asked)
        self.house.clock.advance(LOOKUP_S)
        self.assertEqual([], self.successResultOf(asked))

    def test_a_domain_is_looked_up_once_a_minute(self) -> None:
        for _ in range(5):
            self.faults("x@a.example, y@a.example")
        self.assertEqual(1, len(self.asked))
        self.house.clock.advance(61)
        self.faults("x@a.example")
        self.assertEqual(2, len(self.asked))

    def test_a_session_looks_up_so_many_a_minute_and_others_are_let_alone(self) -> None:
        for number in range(60):
            self.faults(f"x@d{number}.example")
        self.failureResultOf(self.ask("x@one-more.example"), CheckedTooOften)
        self.assertEqual([], self.faults("x@d1.example"), "what is known still is")
        self.assertEqual([], self.faults("x@one-more.example", "another"))
        self.house.clock.advance(60)
        self.assertEqual([], self.faults("x@two-more.example"))

    def test_addresses_here_are_looked_up_nowhere(self) -> None:
        self.faults("bob@example.test, nobody@example.test, sina")
        self.assertEqual([], self.asked)
        self.assertEqual([], self.house.told)


class Completing(AddressingCase):
    def people(self, text: str) -> list[tuple[str, str]]:
        visit: Any = SimpleNamespace(
            query=lambda name: text, guest=SimpleNamespace(account=self.alice)
        )
        answer = self.successResultOf(Deferred.fromCoroutine(self.addressing.show_people(visit)))
        return [(each["address"], each["name"]) for each in json.loads(answer.body)["people"]]

    def test_whoever_begins_so_is_offered_by_name_address_or_domain(self) -> None:
        zed = [("zed@far.example", "Dr. Zed")]
        for text in ("ze", "ZED@", "dr", "far.ex", "dr. z"):
            self.assertEqual(zed, self.people(text), text)
        self.assertEqual([], self.people("ed"))
        self.assertEqual([], self.people(""))

    def test_accounts_of_the_domain_are_offered_where_that_is_wanted(self) -> None:
        self.assertEqual([("dave@example.test", "")], self.people("da"))
        self.assertEqual([("Bob@example.test", "Bob")], self.people("bo"))
        self.assertEqual([], self.people("carol"), "nobody can write to who is disabled")
        self.assertEqual([], self.people("ali"), "nor would one write to oneself")
        self.house.clock.advance(61)
        self.addressing.show_accounts = False
        self.assertEqual([], self.people("da"))

    def test_mail_is_looked_through_once_a_minute(self) -> None:
        for _ in range(9):
            self.people("z")
        self.assertEqual(1, self.times_known)


class Known(SynchronousTestCase):
    def test_who_was_written_to_counts_more_than_who_wrote(self) -> None:
        def mail(field: str) -> bytes:
            return f"{field}\r\nSubject: x\r\n\r\nTo: no@field.example\r\n".encode()

        heads = [
            ("Sent", "", mail("To: Ann <ann@x.example>, b@x.example\r\nCc: broken")),
            ("INBOX", "bounce+1@y.example", mail("From: List <list@y.example>")),
            ("INBOX", "bounce+2@y.example", mail("From: list@y.example")),
            ("INBOX", "large@z.example", b""),
            ("INBOX", "", b""),
            ("Other", "x", mail("From: ANN@x.example")),
        ]
        self.assertEqual(
            [
                Correspondent("ann@x.example", "Ann", 5),
                Correspondent("b@x.example", "", 4),
                Correspondent("list@y.example", "List", 2),
                Correspondent("large@z.example", "", 1),
            ],
            correspondents_of(heads),
        )
