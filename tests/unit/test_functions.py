"""A mailbox that is a Python function."""

from __future__ import annotations

from email.message import EmailMessage
from threading import Thread
from typing import Any

from twisted.internet.defer import Deferred
from twisted.mail.interfaces import IMessageDelivery, IMessageDeliveryFactory
from twisted.mail.smtp import SMTPServerError
from zope.interface.verify import verifyObject

from mailnode.addresses import parse_address
from mailnode.errors import BadAddress, Refused, StoreBusy
from mailnode.interfaces import IChunkedMessage
from mailnode.model import Envelope
from mailnode.smtp.functions import FunctionMailboxes
from tests.unit.smtp_case import LOOPBACK, House, SmtpCase, portal_to

LETTER = ("Subject: Help", "", "It is broken.", "..", "")


def in_a_thread(function: Any, *args: Any) -> Deferred[Any]:
    """Runs it elsewhere, and has the result here at once."""
    results: list[Any] = []

    def work() -> None:
        try:
            results.append((True, function(*args)))
        except Exception as error:
            results.append((False, error))

    thread = Thread(target=work)
    thread.start()
    thread.join()
    done: Deferred[Any] = Deferred()
    ((worked, result),) = results
    if worked:
        done.callback(result)
    else:
        done.errback(result)
    return done


class FunctionCase(SmtpCase):
    def setUp(self) -> None:
        super().setUp()
        self.house = House()
        self.house.counter.in_thread = in_a_thread
        self.mailboxes = FunctionMailboxes()
        self.calls: list[tuple[EmailMessage, Envelope]] = []
        self.open()

    def open(self) -> None:
        realm = self.house.realm(IMessageDeliveryFactory, self.mailboxes)
        self.connect(self.factory(portal_to(realm)))

    def keep(self, mail: EmailMessage, envelope: Envelope) -> None:
        self.calls.append((mail, envelope))


class FunctionTests(FunctionCase):
    def test_a_function_gets_the_parsed_mail_and_its_envelope(self) -> None:
        self.mailboxes.at("help@example.test")(self.keep)
        self.envelope("help@example.test")
        self.assertEqual("250", self.body(*LETTER)[:3])
        ((mail, envelope),) = self.calls
        self.assertEqual("Help", mail["Subject"])
        self.assertEqual("It is broken.\r\n.\r\n\r\n", mail.get_content())
        self.assertIn("for <help@example.test>", mail["Received"])
        self.assertEqual(parse_address("sender@elsewhere.example"), envelope.sender)
        self.assertEqual(["help@example.test"], [str(to.address) for to in envelope.recipients])
        self.assertEqual("client.example", envelope.client.helo)
        self.assertIn(envelope.mail_id, mail["Received"])
        self.assertEqual([], self.house.store.filed)

    def test_250_is_said_after_it_returned(self) -> None:
        waiting: list[Deferred[Any]] = []

        def later(function: Any, *args: Any) -> Deferred[Any]:
            waiting.append(Deferred())
            return waiting[-1].addCallback(lambda _: function(*args))

        self.house.counter.in_thread = later
        self.mailboxes.at("help@example.test")(self.keep)
        self.envelope("help@example.test")
        self.assertEqual("", self.body(*LETTER))
        waiting[0].callback(None)
        self.assertEqual("250", self.said()[:3])

    def test_what_it_raises_is_451_with_a_traceback_in_the_log(self) -> None:
        @self.mailboxes.at("help@example.test")
        def broken(mail: EmailMessage, envelope: Envelope) -> None:
            raise KeyError("/secret/path")

        self.envelope("help@example.test")
        reply = self.body(*LETTER)
        self.assertEqual("451 4.3.0", reply[:9])
        self.assertNotIn("secret", reply)
        self.assertEqual(1, len(self.flushLoggedErrors(KeyError)))
        self.assertIn("broken: KeyError", str(self.told[-1].detail["because"]))

    def test_a_mail_error_and_twisteds_own_are_the_clients_answer(self) -> None:
        @self.mailboxes.at("help@example.test")
        def refuse(mail: EmailMessage, envelope: Envelope) -> None:
            if mail["Subject"] == "Help":
                raise Refused("No, thank you")
            raise SMTPServerError(554, b"Never")

        self.envelope("help@example.test")
        self.assertEqual("550 5.7.1 No, thank you", self.body(*LETTER))
        self.envelope("help@example.test")
        self.assertEqual("554 5.0.0 Never", self.body("Subject: else", "", ""))

    def test_an_async_function_runs_on_the_reactor_and_is_waited_for(self) -> None:
        ready: Deferred[None] = Deferred()

        @self.mailboxes.at("help@example.test")
        async def slow(mail: EmailMessage, envelope: Envelope) -> None:
            await ready
            self.keep(mail, envelope)

        self.envelope("help@example.test")
        self.assertEqual("", self.body(*LETTER))
        ready.callback(None)
        self.assertEqual("250", self.said()[:3])
        self.assertEqual("Help", self.calls[0][0]["Subject"])

    def test_mail_that_is_no_mail_is_given_all_the_same(self) -> None:
        self.mailboxes.at("help@example.test")(self.keep)
        self.envelope("help@example.test")
        self.assertEqual("250", self.body("no header at all", "\0\0")[:3])
        self.assertEqual(1, len(self.calls))

    def test_a_field_that_python_cannot_parse_is_given_as_it_stands(self) -> None:
        self.mailboxes.at("help@example.test")(self.keep)
        self.envelope("help@example.test")
        self.assertEqual("250", self.body("Message-ID: <((((1@x>", "", "It is broken.")[:3])
        self.assertEqual("<((((1@x>", self.calls[0][0]["Message-ID"])

    def test_a_larger_mail_is_refused_at_rcpt_or_at_the_dot(self) -> None:
        self.mailboxes.most_octets = 1000
        self.mailboxes.at("help@example.test")(self.keep)
        self.say("MAIL FROM:<a@b.example> SIZE=1001")
        said = self.say("RCPT TO:<help@example.test>")
        self.assertEqual("552 5.3.4", said[:9])
        self.assertIn(" 1000 octets ", said)
        self.assertEqual("250 2.1.5", self.code("RCPT TO:<alice@example.test>"))
        self.say("RSET")
        self.envelope("help@example.test")
        self.assertEqual("552 5.3.4", self.body(*["x" * 99] * 20)[:9])
        self.assertEqual([], self.calls)
        self.assertEqual("250 2.0.0", self.code("NOOP"))

    def test_an_abandoned_mail_calls_nobody(self) -> None:
        self.mailboxes.at("help@example.test")(self.keep)
        self.envelope("help@example.test")
        self.say("DATA", *LETTER)
        self.hang_up()
        self.assertEqual([], self.calls)


class BareLineFeedTests(FunctionCase):
    def send_lf(self) -> str:
        self.mailboxes.at("help@example.test")(self.keep)
        self.envelope("help@example.test")
        self.say("DATA")
        self.session.dataReceived(b"Subject: Help\n\nbody\n\r\n.\r\n")
        return self.said()[:10].strip()

    def test_bare_line_feeds_of_strangers_are_refused(self) -> None:
        self.assertEqual("550 5.6.11", self.send_lf())
        self.assertEqual([], self.calls)

    def test_those_of_this_machine_are_mended(self) -> None:
        self.client_host = LOOPBACK
        self.open()
        self.assertEqual("250 2.0.0", self.send_lf())
        self.assertEqual("body\r\n\r\n", self.calls[0][0].get_content())


class AddressTests(FunctionCase):
    def test_other_addresses_go_the_usual_way(self) -> None:
        self.mailboxes.at("help@example.test")(self.keep)
        self.envelope("alice@example.test")
        self.assertEqual("250", self.body(*LETTER)[:3])
        self.assertEqual(["alice@example.test"], [who for who, _ in self.house.store.copies()])
        self.say("MAIL FROM:<a@b.example>")
        self.assertEqual("550 5.1.1", self.code("RCPT TO:<nobody@example.test>"))
        self.assertEqual("550 5.7.1", self.code("RCPT TO:<help@elsewhere.example>"))
        self.assertEqual([], self.calls)

    def test_case_and_subaddress_reach_it_and_domains_of_its_own_and_catch_alls(self) -> None:
        self.mailboxes.at("Help@example.test", "*@robots.example")(self.keep)
        for address in ("HELP@Example.Test", "help+urgent@example.test", "r2@robots.example"):
            self.envelope(address)
            self.assertEqual("250", self.body(*LETTER)[:3])
        asked = [str(envelope.recipients[0].address) for _, envelope in self.calls]
        self.assertEqual(
            ["HELP@example.test", "help+urgent@example.test", "r2@robots.example"], asked
        )

    def test_two_addresses_of_one_function_are_one_call(self) -> None:
        self.mailboxes.at("help@example.test", "info@example.test")(self.keep)
        self.envelope("help@example.test", "info@example.test", "help@example.test")
        self.assertEqual("250", self.body(*LETTER)[:3])
        ((mail, envelope),) = self.calls
        asked = [str(to.address) for to in envelope.recipients]
        self.assertEqual(["help@example.test", "info@example.test"], asked)
        self.assertNotIn("for <", mail["Received"])

    def test_an_address_has_one_function(self) -> None:
        self.mailboxes.at("help@example.test")(self.keep)
        self.assertRaises(ValueError, self.mailboxes.at("HELP@example.test"), self.keep)

    def test_what_is_no_address_is_named(self) -> None:
        refused = self.assertRaises(BadAddress, self.mailboxes.at("counter"), self.keep)
        self.assertIn("at('counter'): Address has no @domain", str(refused))

    def test_a_function_that_takes_something_else_is_refused_by_its_name(self) -> None:
        def count_mail(mail: EmailMessage) -> None: ...

        at: Any = self.mailboxes.at("help@example.test")
        refused = self.assertRaises(TypeError, at, count_mail)
        self.assertIn("count_mail can't be called with (mail, envelope)", str(refused))
        self.assertIs(None, self.mailboxes.find(parse_address("help@example.test")))
        at(lambda mail, envelope, *others, urgent=False: None)


class MixedTests(FunctionCase):
    """One mail to a function and to a mailbox: one transaction, one reply."""

    def setUp(self) -> None:
        super().setUp()
        self.mailboxes.at("help@example.test")(self.keep)

    def test_both_get_it(self) -> None:
        self.envelope("help@example.test", "alice@example.test")
        self.assertEqual("250", self.body(*LETTER)[:3])
        self.assertEqual(1, len(self.calls))
        self.assertEqual(["alice@example.test"], [who for who, _ in self.house.store.copies()])

    def test_the_journal_hears_of_what_the_store_does_not_tell(self) -> None:
        self.envelope("help@example.test", "alice@example.test")
        self.body(*LETTER)
        (event,) = self.told
        self.assertEqual(("delivered", "help@example.test"), (event.name, event.recipient))
        handed_to = f"{__name__}.FunctionCase.keep"
        self.assertEqual({"handed_to": handed_to}, event.detail)
        self.assertEqual(self.calls[0][1].mail_id, event.mail_id)
        self.told.clear()
        self.envelope("help@example.test")
        self.body(*LETTER)
        accepted, delivered = self.told
        self.assertEqual(("accepted", "sender@elsewhere.example"), (accepted.name, accepted.sender))
        self.assertEqual(accepted.mail_id, delivered.mail_id)
        self.assertEqual(37, accepted.detail["size_octets"])

    def test_nothing_is_filed_when_the_function_fails(self) -> None:
        @self.mailboxes.at("broken@example.test")
        def broken(mail: EmailMessage, envelope: Envelope) -> None:
            raise StoreBusy()

        self.envelope("alice@example.test", "broken@example.test")
        self.assertEqual("451", self.body(*LETTER)[:3])
        self.assertEqual([], self.house.store.filed)

    def test_a_failing_store_is_the_reply_even_when_the_function_returned(self) -> None:
        self.house.store.failure = StoreBusy()
        self.envelope("help@example.test", "alice@example.test")
        self.assertEqual("451", self.body(*LETTER)[:3])
        self.assertEqual(1, len(self.calls))


class ContractTests(FunctionCase):
    def test_they_provide_what_they_say(self) -> None:
        postbox = self.mailboxes(self.house.postbox())
        delivery = postbox.getMessageDelivery()
        verifyObject(IMessageDeliveryFactory, postbox)
        verifyObject(IMessageDelivery, delivery)
        self.mailboxes.at("help@example.test")(self.keep)
        self.session.lookupMethod("RSET")(b"")
        self.envelope("help@example.test")
        (_user, make) = self.session._to[0]
        verifyObject(IChunkedMessage, make())
