"""Twisted's contract, both ways: foreign parts behind our SMTP server, ours behind Twisted's.

The foreign parts are written as Twisted's documentation has them, and know nothing of ours.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import CramMD5Credentials
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred, fail, succeed
from twisted.mail import smtp
from twisted.mail._cred import PLAINCredentials
from twisted.mail.interfaces import IMessageDelivery, IMessageDeliveryFactory, IMessageSMTP
from zope.interface import implementer
from zope.interface.verify import verifyClass, verifyObject

from mailnode.cred.portal import SignInPortal
from mailnode.cred.realm import Realm
from mailnode.errors import StoreBusy
from mailnode.interfaces import IChunkedMessage
from mailnode.smtp.server import SmtpServer
from mailnode.smtp.transaction import Incoming, Postbox, Transaction
from tests.unit.smtp_case import LOOPBACK, House, OneAvatar, SmtpCase, portal_to
from tests.unit.test_directory import account

BODY = ("Subject: Hi", "", "One", "..two", "")


@implementer(smtp.IMessage)
class Letter:
    """An `IMessage` as in Twisted's emailserver.tac."""

    def __init__(self, delivery: Delivery) -> None:
        self.delivery = delivery
        self.lines: list[bytes] = []
        self.ended = self.lost = 0

    def lineReceived(self, line: bytes) -> None:
        self.lines.append(line)
        if line == self.delivery.poison:
            raise smtp.SMTPServerError(554, b"No poison")

    def eomReceived(self) -> Deferred[Any]:
        self.ended += 1
        return self.delivery.outcome(self)

    def connectionLost(self) -> None:
        self.lost += 1


@implementer(smtp.IMessageDelivery)
class Delivery:
    """Takes mail for friends of the house; what it answers can be set."""

    poison: bytes | None = None

    def __init__(self) -> None:
        self.letters: list[Letter] = []
        self.froms: list[tuple[Any, Any]] = []
        self.tos: list[Any] = []
        self.headers: list[Any] = []
        self.from_answer: Callable[[Any], Any] = lambda origin: origin
        self.to_answer: Callable[[Any], Any] = lambda user: self.open
        self.outcome: Callable[[Letter], Deferred[Any]] = lambda letter: succeed(None)
        self.header: Any = b"Received: Delivery"

    def receivedHeader(self, helo: Any, origin: Any, recipients: Any) -> Any:
        self.headers.append((helo, origin, recipients))
        return self.header

    def validateFrom(self, helo: Any, origin: Any) -> Any:
        self.froms.append((helo, origin))
        return self.from_answer(origin)

    def validateTo(self, user: Any) -> Any:
        self.tos.append(user)
        return self.to_answer(user)

    def open(self) -> Letter:
        self.letters.append(Letter(self))
        return self.letters[-1]


class ForeignCase(SmtpCase):
    def setUp(self) -> None:
        super().setUp()
        self.delivery = Delivery()
        self.realm = OneAvatar(smtp.IMessageDelivery, self.delivery)
        self.connect(self.factory(portal_to(self.realm, guest="password")))

    def send(self, *recipients: str) -> str:
        self.envelope(*recipients or ("friend@any.example",))
        return self.body(*BODY)


class ForeignDeliveryTests(ForeignCase):
    def test_a_mail_is_handed_over_line_by_line(self) -> None:
        self.assertEqual("250 2.0.0", self.send()[:9])
        (letter,) = self.delivery.letters
        self.assertEqual(
            [b"Received: Delivery", b"Subject: Hi", b"", b"One", b".two", b""], letter.lines
        )
        self.assertEqual((1, 0), (letter.ended, letter.lost))

    def test_lines_are_whole_however_the_octets_come(self) -> None:
        self.envelope("friend@any.example")
        self.say("DATA")
        for octet in b"Subject: Hi\r\n\r\n..\r\n.\r\n":
            self.session.dataReceived(bytes([octet]))
        self.assertEqual([b"Subject: Hi", b"", b"."], self.delivery.letters[0].lines[1:])
        self.assertEqual("250", self.said()[:3])

    def test_what_it_is_asked_has_twisteds_shapes(self) -> None:
        self.send("Some.Friend@Any.Example")
        ((helo, origin),) = self.delivery.froms
        self.assertEqual((b"client.example", self.client_host.encode()), helo)
        self.assertIsInstance(origin, smtp.Address)
        self.assertEqual((b"sender", b"elsewhere.example"), (origin.local, origin.domain))
        self.assertEqual("sender@elsewhere.example", str(origin))
        (user,) = self.delivery.tos
        self.assertIsInstance(user, smtp.User)
        self.assertEqual(b"Some.Friend", user.dest.local)
        self.assertEqual(b"any.example", user.dest.domain.lower())
        self.assertEqual((helo, origin, self.session), (user.helo, user.orig, user.protocol))
        self.assertEqual([(helo, origin, [user])], self.delivery.headers)

    def test_the_null_reverse_path_is_an_empty_address(self) -> None:
        self.envelope("friend@any.example", sender="")
        ((_helo, origin),) = self.delivery.froms
        self.assertEqual((b"", b"", ""), (origin.local, origin.domain, str(origin)))

    def test_a_header_of_several_lines_is_handed_over_as_lines(self) -> None:
        text = "Received: from a\n\tby b"
        for header in (text, text.encode(), text.replace("\n", "\r\n").encode()):
            self.delivery.header = header
            self.send()
            lines = self.delivery.letters[-1].lines
            self.assertEqual([b"Received: from a", b"\tby b", b"Subject: Hi"], lines[:3])

    def test_a_delivery_may_have_no_header(self) -> None:
        for header in (None, b""):
            self.delivery.header = header
            self.assertEqual("250", self.send()[:3])
            self.assertEqual(b"Subject: Hi", self.delivery.letters[-1].lines[0])

    def test_the_portal_is_asked_once_and_the_avatar_logged_out_once(self) -> None:
        self.send()
        self.send()
        ((avatar_id, interfaces),) = self.realm.asked
        self.assertEqual((), avatar_id)
        self.assertEqual((IMessageDeliveryFactory, IMessageDelivery), interfaces)
        self.say("QUIT")
        self.hang_up()
        self.assertEqual(1, self.realm.logged_out)

    def test_the_journal_hears_who_took_it(self) -> None:
        self.send("friend@any.example", "other@any.example")
        self.assertEqual(
            ["accepted", "delivered", "delivered"], [event.name for event in self.told]
        )
        self.assertEqual("friend@any.example", self.told[1].recipient)
        self.assertEqual({"handed_to": "Letter"}, self.told[1].detail)


class ValidateFromTests(ForeignCase):
    def mail(self) -> str:
        return self.say("MAIL FROM:<sender@elsewhere.example>")

    def test_it_may_answer_later_and_the_next_command_waits(self) -> None:
        later: Deferred[Any] = Deferred()
        self.delivery.from_answer = lambda origin: later
        self.assertEqual("", self.mail())
        self.assertEqual("", self.say("RCPT TO:<friend@any.example>"))
        self.assertEqual([], self.delivery.tos)
        later.callback(self.delivery.froms[0][1])
        self.assertEqual(["250 2.1.0 Ok", "250 2.1.5 Ok"], self.said().split("\r\n"))

    def test_it_may_refuse_at_once_or_later_with_a_code_of_its_own(self) -> None:
        def refuse(origin: Any) -> Any:
            raise smtp.SMTPBadSender(origin)

        def refuse_later(origin: Any) -> Any:
            return fail(smtp.SMTPBadSender(origin, 451, b"Not today"))

        def refuse_plainly(origin: Any) -> Any:
            raise smtp.SMTPServerError(553, b"5.1.8 Who is that?")

        for answer, reply in (
            (refuse, "550 5.0.0 Sender not acceptable"),
            (refuse_later, "451 4.0.0 Not today"),
            (refuse_plainly, "553 5.1.8 Who is that?"),
        ):
            self.delivery.from_answer = answer
            self.assertEqual(reply, self.mail())
            self.assertEqual("503", self.code("RCPT TO:<friend@any.example>")[:3])
        self.assertEqual("Who is that?", self.told[-1].detail["text"])

    def test_a_bug_in_it_is_temporary(self) -> None:
        self.delivery.from_answer = lambda origin: 1 / 0
        self.assertEqual("451 4.3.0", self.mail()[:9])
        self.delivery.from_answer = lambda origin: fail(KeyError("/secret"))
        self.assertEqual("451 4.3.0", self.mail()[:9])
        self.assertEqual(2, len(self.flushLoggedErrors(ZeroDivisionError, KeyError)))


class ValidateToTests(ForeignCase):
    def setUp(self) -> None:
        super().setUp()
        self.envelope()

    def rcpt(self) -> str:
        return self.say("RCPT TO:<friend@any.example>")

    def test_it_may_answer_later_and_the_next_command_waits(self) -> None:
        later: Deferred[Any] = Deferred()
        self.delivery.to_answer = lambda user: later
        self.assertEqual("", self.rcpt())
        self.assertEqual("", self.say("DATA"))
        later.callback(self.delivery.open)
        codes = [line[:3] for line in self.said().split("\r\n")]
        self.assertEqual(["250", "354"], codes)
        self.assertEqual("250", self.say(*BODY, ".")[:3])
        self.assertEqual(1, len(self.delivery.letters))

    def test_it_may_refuse_at_once_or_later_with_a_code_of_its_own(self) -> None:
        def refuse(user: Any) -> Any:
            raise smtp.SMTPBadRcpt(user)

        def refuse_later(user: Any) -> Any:
            return fail(smtp.SMTPBadRcpt(user, 450, b"Away"))

        def refuse_plainly(user: Any) -> Any:
            raise smtp.SMTPServerError(552, "Full")

        for answer, reply in (
            (refuse, "550 5.0.0 Cannot receive for specified address"),
            (refuse_later, "450 4.0.0 Away"),
            (refuse_plainly, "552 5.0.0 Full"),
        ):
            self.delivery.to_answer = answer
            self.assertEqual(reply, self.rcpt())
        self.assertEqual("503", self.code("DATA")[:3])
        self.assertEqual("friend@any.example", self.told[-1].recipient)

    def test_a_bug_in_it_is_temporary(self) -> None:
        self.delivery.to_answer = lambda user: 1 / 0
        self.assertEqual("451 4.3.0", self.rcpt()[:9])
        self.flushLoggedErrors(ZeroDivisionError)

    def test_an_answer_after_the_client_has_gone_opens_nothing(self) -> None:
        later: Deferred[Any] = Deferred()
        self.delivery.to_answer = lambda user: later
        self.rcpt()
        self.hang_up()
        later.callback(self.delivery.open)
        self.assertEqual([], self.delivery.letters)
        self.assertEqual(1, self.realm.logged_out)


class EndOfMailTests(ForeignCase):
    def test_the_reply_waits_for_it(self) -> None:
        later: Deferred[Any] = Deferred()
        self.delivery.outcome = lambda letter: later
        self.assertEqual("", self.send())
        self.assertEqual("", self.say("NOOP"))
        later.callback("whatever")
        self.assertEqual(["250", "250"], [line[:3] for line in self.said().split("\r\n")])

    def test_a_failure_is_temporary_unless_it_has_a_code(self) -> None:
        for failure, reply in (
            (smtp.SMTPServerError(554, b"5.6.0 Not nice"), "554 5.6.0 Not nice"),
            (smtp.SMTPServerError(450, "Busy"), "450 4.0.0 Busy"),
            (StoreBusy(), "451 4.3.0 The mail store is busy, please try again later"),
        ):
            self.delivery.outcome = lambda letter, failure=failure: fail(failure)
            self.assertEqual(reply, self.send())
        self.delivery.outcome = lambda letter: fail(OSError("/secret/disk"))
        reply = self.send()
        self.assertEqual("451 4.3.0", reply[:9])
        self.assertNotIn("secret", reply)
        self.assertEqual(1, len(self.flushLoggedErrors(OSError)))
        self.assertEqual([], [event for event in self.told if event.name != "refused"])

    def test_raising_is_failing(self) -> None:
        def broken(letter: Letter) -> Deferred[Any]:
            raise smtp.SMTPServerError(554, b"At once")

        self.delivery.outcome = broken
        self.assertEqual("554 5.0.0 At once", self.send())
        self.assertEqual("250", self.code("NOOP")[:3])

    def test_a_line_that_it_refuses_refuses_the_mail_at_the_dot(self) -> None:
        self.delivery.poison = b"One"
        self.assertEqual("554 5.0.0 No poison", self.send())
        (letter,) = self.delivery.letters
        self.assertEqual((b"One", 0, 1), (letter.lines[-1], letter.ended, letter.lost))

    def test_a_mail_that_can_not_be_begun_leaves_nothing_open(self) -> None:
        self.delivery.poison = b"Received: Delivery"
        self.envelope("friend@any.example", "other@any.example")
        self.assertEqual("554 5.0.0 No poison", self.say("DATA"))
        self.assertEqual([1, 1], [letter.lost for letter in self.delivery.letters])
        self.delivery.poison = None
        self.assertEqual("250", self.send()[:3])

    def test_a_lost_connection_abandons_the_message_once(self) -> None:
        self.envelope("friend@any.example")
        self.say("DATA", *BODY)
        self.hang_up()
        (letter,) = self.delivery.letters
        self.assertEqual((0, 1), (letter.ended, letter.lost))

    def test_one_lost_while_it_is_delivered_does_not(self) -> None:
        later: Deferred[Any] = Deferred()
        self.delivery.outcome = lambda letter: later
        self.send()
        self.hang_up()
        later.callback(None)
        self.assertEqual((1, 0), (self.delivery.letters[0].ended, self.delivery.letters[0].lost))


class SeveralRecipientsTests(ForeignCase):
    def test_each_has_a_message_of_its_own(self) -> None:
        self.assertEqual("250", self.send("one@any.example", "two@any.example")[:3])
        one, two = self.delivery.letters
        self.assertEqual(one.lines, two.lines)
        self.assertEqual([1, 1], [one.ended, two.ended])
        self.assertEqual(
            [["one@any.example"], ["two@any.example"]],
            [[str(user) for user in users] for _, _, users in self.delivery.headers],
        )

    def test_one_failure_is_the_one_reply_and_what_follows_is_abandoned(self) -> None:
        self.delivery.outcome = lambda letter: fail(smtp.SMTPServerError(452, b"Full"))
        self.assertEqual("452 4.0.0 Full", self.send("one@any.example", "two@any.example"))
        one, two = self.delivery.letters
        self.assertEqual([(1, 0), (0, 1)], [(one.ended, one.lost), (two.ended, two.lost)])

    def test_one_object_for_several_gets_the_mail_once(self) -> None:
        letter = Letter(self.delivery)
        self.delivery.to_answer = lambda user: lambda: letter
        self.assertEqual("250", self.send("one@any.example", "two@any.example")[:3])
        self.assertEqual(1, letter.ended)
        self.assertEqual(1, letter.lines.count(b"Subject: Hi"))
        ((_helo, _origin, users),) = self.delivery.headers
        self.assertEqual(["one@any.example", "two@any.example"], [str(user) for user in users])


class BareLineFeedTests(ForeignCase):
    def send_lf(self) -> str:
        self.envelope("friend@any.example")
        self.say("DATA")
        self.session.dataReceived(b"Subject: Hi\n\nOne\n\r\n.\r\n")
        return self.said()[:10].strip()

    def test_a_stranger_is_refused_and_the_message_abandoned(self) -> None:
        self.assertEqual("550 5.6.11", self.send_lf())
        (letter,) = self.delivery.letters
        self.assertEqual((0, 1), (letter.ended, letter.lost))

    def test_from_this_machine_it_becomes_lines(self) -> None:
        self.client_host = LOOPBACK
        self.connect(self.factory(portal_to(self.realm)))
        self.assertEqual("250 2.0.0", self.send_lf())
        self.assertEqual([b"Subject: Hi", b"", b"One", b""], self.delivery.letters[0].lines[1:])


@implementer(smtp.IMessageDeliveryFactory)
class DeliveryFactory:
    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []

    def getMessageDelivery(self) -> Delivery:
        self.deliveries.append(Delivery())
        return self.deliveries[-1]


class ForeignFactoryTests(SmtpCase):
    """Where deliveries come from, as Twisted's classes know it."""

    def test_a_delivery_factory_gives_each_mail_its_delivery(self) -> None:
        factory = DeliveryFactory()
        self.connect(self.factory(portal_to(OneAvatar(IMessageDeliveryFactory, factory))))
        for _ in range(2):
            self.envelope("friend@any.example")
            self.assertEqual("250", self.body(*BODY)[:3])
        self.assertEqual([1, 1], [len(each.letters) for each in factory.deliveries])

    def test_a_factory_written_for_twisted_sets_the_delivery_itself(self) -> None:
        delivery = Delivery()

        class TheirFactory(smtp.SMTPFactory):
            protocol = SmtpServer
            domain = b"mx.their.example"

            def buildProtocol(self, addr: Any) -> Any:
                protocol = super().buildProtocol(addr)
                protocol.delivery = delivery
                return protocol

        self.connect(TheirFactory())
        self.assertIn("250", self.say("EHLO again.example"))
        self.envelope("friend@any.example")
        self.assertEqual("250", self.body(*BODY)[:3])
        self.assertEqual(1, len(delivery.letters))

    def test_a_portal_that_knows_no_anonymous_client_asks_for_a_sign_in(self) -> None:
        realm = OneAvatar(IMessageDelivery, Delivery())
        checker: Any = InMemoryUsernamePasswordDatabaseDontUse(guest=b"password")
        self.connect(self.factory(Portal(realm, [checker])))
        self.assertEqual("530 5.7.0", self.code("MAIL FROM:<a@b.example>"))


def coded(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


PLAIN = b"\0guest\0password"


class ForeignChallengerTests(SmtpCase):
    """`challengers` as Twisted's documentation fills it."""

    client_host = LOOPBACK

    def setUp(self) -> None:
        super().setUp()
        self.delivery = Delivery()
        self.realm = OneAvatar(smtp.IMessageDelivery, self.delivery)
        challengers = {
            b"CRAM-MD5": CramMD5Credentials,
            b"LOGIN": smtp.LOGINCredentials,
            b"PLAIN": PLAINCredentials,
        }
        portal = portal_to(self.realm, guest="password")
        self.connect(self.factory(portal, challengers=challengers))

    def check_signed_in(self, reply: str) -> None:
        self.assertEqual("235 2.7.0", reply[:9])
        self.assertEqual(b"guest", self.realm.asked[-1][0])
        self.envelope("friend@any.example")
        self.assertEqual("250", self.body(*BODY)[:3])
        self.assertEqual("guest", self.delivery.froms[-1][1].client.account)

    def test_they_are_listed(self) -> None:
        self.assertIn("250 AUTH CRAM-MD5 LOGIN PLAIN", self.say("EHLO x").replace("-AUTH", " AUTH"))

    def test_cram_md5(self) -> None:
        challenge = base64.b64decode(self.say("AUTH CRAM-MD5").removeprefix("334 "))
        answer = smtp.CramMD5ClientAuthenticator(b"guest").challengeResponse(b"password", challenge)
        self.check_signed_in(self.say(coded(answer)))

    def test_login_asks_twice_or_takes_the_name_at_once(self) -> None:
        theirs: Any = smtp.LOGINCredentials()
        name, word = theirs.getChallenge(), theirs.getChallenge()
        self.assertEqual(f"334 {coded(name)}", self.say("AUTH LOGIN"))
        self.assertEqual(f"334 {coded(word)}", self.say(coded(b"guest")))
        self.check_signed_in(self.say(coded(b"password")))
        self.connect(self.session.factory)
        self.assertEqual("334", self.code(f"AUTH LOGIN {coded(b'guest')}")[:3])
        self.check_signed_in(self.say(coded(b"password")))

    def test_plain(self) -> None:
        self.check_signed_in(self.say(f"AUTH PLAIN {coded(PLAIN)}"))

    def test_what_they_can_not_read_is_501_and_a_wrong_password_535(self) -> None:
        self.assertEqual("501 5.5.2", self.code(f"AUTH PLAIN {coded(b'guest')}"))
        self.say("AUTH CRAM-MD5")
        self.assertEqual("501 5.5.2", self.code(coded(b"guest")))
        self.say("AUTH CRAM-MD5")
        self.assertEqual("535 5.7.8", self.code(coded(b"guest 0123456789")))

    def test_credentials_that_no_checker_judges_are_a_refusal(self) -> None:
        portal = Portal(self.realm, [])
        self.connect(self.factory(portal, challengers={b"PLAIN": PLAINCredentials}))
        self.assertEqual("535 5.7.8", self.code(f"AUTH PLAIN {coded(PLAIN)}"))

    def test_they_work_with_our_portal_too(self) -> None:
        checker: Any = InMemoryUsernamePasswordDatabaseDontUse(guest=b"password")
        portal = SignInPortal(self.realm, [checker], clock=self.clock)
        self.connect(self.factory(portal, challengers={b"CRAM-MD5": CramMD5Credentials}))
        challenge = base64.b64decode(self.say("AUTH CRAM-MD5").removeprefix("334 "))
        answer = smtp.CramMD5ClientAuthenticator(b"guest").challengeResponse(b"password", challenge)
        self.assertEqual("235", self.code(coded(answer))[:3])


class StockServerCase(SmtpCase):
    """Twisted's own `smtp.ESMTP` in front of our realm."""

    def setUp(self) -> None:
        super().setUp()
        self.house = House(
            (account(1, "alice"), account(2, "bob"), account(3, "off", disabled=True))
        )
        self.open(self.house)

    def open(self, house: House) -> None:
        self.server = smtp.ESMTP()
        self.server.host = b"mx.example.test"
        self.server.timeout = None
        self.server.noisy = False
        self.server.portal = portal_to(house.realm(IMessageDeliveryFactory))
        self.talk_to(self.server)
        self.say("EHLO client.example")


class StockServerTests(StockServerCase):
    def test_a_mail_is_filed(self) -> None:
        self.envelope("Alice@example.test")
        self.assertEqual("250", self.body(*BODY)[:3])
        ((envelope, message),) = self.house.store.filed
        self.assertEqual("sender@elsewhere.example", str(envelope.sender))
        self.assertEqual(["Alice@example.test"], [str(to.address) for to in envelope.recipients])
        self.assertEqual(b"Subject: Hi\r\n\r\nOne\r\n.two\r\n\r\n", message.body)
        self.assertEqual(1, message.dot_lines)
        self.assertIn(b"for <Alice@example.test>", message.prefix)
        self.assertIn(b"from client.example ([192.0.2.7])", message.prefix)

    def test_several_recipients_have_one_copy_each(self) -> None:
        self.envelope("alice@example.test", "bob@example.test", "alice+again@example.test")
        self.assertEqual("250", self.body(*BODY)[:3])
        mailboxes = sorted(mailbox for mailbox, _ in self.house.store.copies())
        self.assertEqual(["alice@example.test", "bob@example.test"], mailboxes)

    def test_a_second_mail_begins_anew(self) -> None:
        for _ in range(2):
            self.envelope("alice@example.test", sender="")
            self.assertEqual("250", self.body(*BODY)[:3])
        self.assertEqual(2, len(self.house.store.copies()))
        self.assertIsNone(self.house.store.filed[0][0].sender)

    def test_refusals_have_their_codes(self) -> None:
        self.envelope()
        for address, reply in (
            ("nobody@example.test", "550 5.1.1"),
            ("off@example.test", "550 5.2.1"),
            ("alice@elsewhere.example", "550 5.7.1"),
        ):
            self.assertEqual(reply, self.code(f"RCPT TO:<{address}>"))
        house = House(has_room=lambda account, size: False)
        self.open(house)
        self.envelope()
        self.assertEqual("452 4.2.2", self.code("RCPT TO:<alice@example.test>"))
        house.counter.disk_has_room = lambda: False
        self.say("RSET")
        self.assertEqual("452 4.3.1", self.code("MAIL FROM:<a@b.example>"))

    def test_a_failing_store_is_not_250(self) -> None:
        self.house.store.failure = StoreBusy()
        self.envelope("alice@example.test")
        self.assertEqual("550", self.body(*BODY)[:3])  # Twisted knows no other (S16)
        self.flushLoggedErrors(StoreBusy)

    def test_bare_line_ends_are_refused_and_the_session_goes_on(self) -> None:
        self.envelope("alice@example.test")
        self.assertEqual("550", self.body("Subject: Hi", "", "a\nb")[:3])
        self.flushLoggedErrors()
        self.assertEqual([], self.house.store.filed)
        self.envelope("alice@example.test")
        self.assertEqual("250", self.body(*BODY)[:3])

    def test_an_abandoned_mail_leaves_nothing(self) -> None:
        self.envelope("alice@example.test")
        self.say("DATA", *BODY)
        self.hang_up()
        self.assertEqual([], self.house.store.filed)


class ImplementerTests(SmtpCase):
    def test_ours_provide_what_twisted_asks_for(self) -> None:
        house = House()
        postbox = house.postbox()
        self.assertIsInstance(postbox, Postbox)
        verifyObject(IMessageDeliveryFactory, postbox)
        delivery = postbox.getMessageDelivery()
        self.assertIsInstance(delivery, Transaction)
        verifyObject(IMessageDelivery, delivery)
        realm = house.realm(IMessageDeliveryFactory)
        self.assertIsInstance(realm, Realm)
        verifyObject(IRealm, realm)
        self.connect(self.factory(portal_to(realm)))
        self.envelope("alice@example.test")
        incoming = self.session._to[0][1]()
        self.assertIsInstance(incoming, Incoming)
        verifyObject(IChunkedMessage, incoming)
        verifyObject(IMessageSMTP, incoming)

    def test_the_foreign_ones_here_are_written_right(self) -> None:
        verifyObject(IMessageDelivery, Delivery())
        verifyClass(IMessageSMTP, Letter)
        verifyObject(IMessageDeliveryFactory, DeliveryFactory())
