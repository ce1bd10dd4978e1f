"""Twisted's contract, both ways, from the portal on: foreign parts behind our POP3 server, and
Twisted's own server in front of our portal, realm and maildrops.

What a foreign mailbox may answer is in test_pop3_server.py, what Twisted's server makes of our
maildrop in test_pop3_mailbox.py.
"""

from __future__ import annotations

import base64
from typing import Any

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import CramMD5Credentials
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ConnectionLost
from twisted.internet.protocol import ServerFactory
from twisted.internet.task import Clock
from twisted.mail import pop3
from twisted.mail._cred import CramMD5ClientAuthenticator, PLAINCredentials
from twisted.mail.interfaces import IMailboxPOP3
from twisted.mail.smtp import LOGINCredentials
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mailnode.cred.portal import SignInPortal
from mailnode.cred.realm import Realm
from mailnode.errors import StoreBusy
from mailnode.pop3.factory import Pop3Factory
from mailnode.pop3.mailbox import Maildrop, Maildrops
from mailnode.pop3.server import Pop3Server
from mailnode.store.directory import Account, Directory, Domain, LiveDirectory
from tests.fakes_pop3 import BufferedWire, ForeignMailbox, House, wire
from tests.unit.smtp_case import OneAvatar
from tests.unit.test_directory import account

HELLO = b"Subject: Hi\n\nOne\n.two\n"


def coded(octets: bytes) -> bytes:
    return base64.b64encode(octets)


def passwords(**known: bytes) -> Any:
    return InMemoryUsernamePasswordDatabaseDontUse(**known)


class Talk(SynchronousTestCase):
    """A client's end."""

    server: Any
    wire: BufferedWire

    def talk_to(self, server: Any) -> bytes:
        self.server, self.wire = server, wire()
        server.makeConnection(self.wire)
        return bytes(self.wire.value())

    def say(self, *lines: bytes) -> bytes:
        self.wire.clear()
        self.server.dataReceived(b"".join(line + b"\r\n" for line in lines))
        return bytes(self.wire.value())


class ForeignRealmTests(Talk):
    """A realm and a portal as Twisted's documentation has them."""

    def setUp(self) -> None:
        self.mailbox: Any = ForeignMailbox(HELLO)
        self.realm = OneAvatar(pop3.IMailbox, self.mailbox)
        self.portal = Portal(self.realm, [passwords(guest=b"password")])

    def open(self, **challengers: Any) -> None:
        named = {name.replace("_", "-").encode(): each for name, each in challengers.items()}
        factory = Pop3Factory(
            self.portal, hostname="example.test", challengers=named, clock=Clock()
        )
        self.talk_to(factory.buildProtocol(None))

    def check_served(self, reply: bytes) -> None:
        self.assertEqual(b"+OK 1 messages (22 octets)\r\n", reply)
        self.assertEqual(
            b"+OK 22 octets\r\nSubject: Hi\r\n\r\nOne\r\n..two\r\n.\r\n", self.say(b"RETR 1")
        )

    def test_user_and_pass_are_asked_of_the_portal_once(self) -> None:
        self.open()
        self.say(b"USER guest")
        self.check_served(self.say(b"PASS password"))
        self.assertEqual([(b"guest", (IMailboxPOP3,))], self.realm.asked)
        self.assertEqual(b"+OK Marked\r\n+OK Bye\r\n", self.say(b"DELE 1", b"QUIT"))
        self.server.connectionLost(Failure(ConnectionLost()))
        self.assertEqual((1, 1), (self.mailbox.synced, self.realm.logged_out))

    def test_a_wrong_password_is_a_refusal(self) -> None:
        self.open()
        for name in (b"guest", b"nobody"):
            reply = self.say(b"USER " + name, b"PASS wrong").split(b"\r\n")[1]
            self.assertEqual(b"-ERR [AUTH] Authentication failed", reply)
        self.assertEqual([], self.realm.asked)

    def test_mechanisms_of_twisted_sign_in(self) -> None:
        self.open(CRAM_MD5=CramMD5Credentials, LOGIN=LOGINCredentials, PLAIN=PLAINCredentials)
        self.assertIn(b"\r\nSASL CRAM-MD5 LOGIN PLAIN\r\n", self.say(b"CAPA"))
        self.check_served(self.say(b"AUTH PLAIN " + coded(b"\0guest\0password")))
        self.open(CRAM_MD5=CramMD5Credentials)
        challenge = base64.b64decode(self.say(b"AUTH CRAM-MD5").removeprefix(b"+ "))
        answer = CramMD5ClientAuthenticator(b"guest").challengeResponse(b"password", challenge)
        self.check_served(self.say(coded(answer)))
        self.open(LOGIN=LOGINCredentials)
        self.say(b"AUTH LOGIN", coded(b"guest"))
        self.check_served(self.say(coded(b"password")))

    def test_what_a_mechanism_can_not_read_is_said_and_the_session_goes_on(self) -> None:
        self.open(CRAM_MD5=CramMD5Credentials, PLAIN=PLAINCredentials)
        self.assertEqual(b"-ERR Malformed response\r\n", self.say(b"AUTH PLAIN " + coded(b"x")))
        self.say(b"AUTH CRAM-MD5")
        self.assertEqual(b"-ERR Malformed response\r\n", self.say(coded(b"x")))
        self.say(b"USER guest")
        self.check_served(self.say(b"PASS password"))

    def test_a_factory_written_for_twisted_makes_our_server(self) -> None:
        portal = self.portal

        class TheirFactory(ServerFactory):
            protocol = Pop3Server

            def buildProtocol(self, addr: Any) -> Any:
                protocol: Any = super().buildProtocol(addr)
                protocol.portal = portal
                return protocol

        self.assertEqual(b"+OK", self.talk_to(TheirFactory().buildProtocol(None))[:3])
        self.assertNotIn(b"IMPLEMENTATION", self.say(b"CAPA"))
        self.say(b"USER guest")
        self.check_served(self.say(b"PASS password"))

    def test_twisteds_own_empty_mailbox_is_served(self) -> None:
        self.realm.avatar = pop3.Mailbox()
        self.open()
        self.say(b"USER guest")
        self.assertEqual(b"+OK 0 messages (0 octets)\r\n", self.say(b"PASS password"))
        self.assertEqual(b"+OK 0 0\r\n", self.say(b"STAT"))
        self.assertEqual(b"+OK 0 messages (0 octets)\r\n.\r\n", self.say(b"LIST"))
        self.assertEqual(b"+OK\r\n.\r\n", self.say(b"UIDL"))
        for verb in (b"RETR 1", b"TOP 1 0", b"DELE 1", b"LIST 1", b"UIDL 1"):
            self.assertEqual(b"-ERR No such message\r\n", self.say(verb))
        self.assertEqual(b"+OK Bye\r\n", self.say(b"QUIT"))

    def test_the_same_with_our_portal(self) -> None:
        self.portal = SignInPortal(self.realm, [passwords(guest=b"password")], clock=Clock())
        self.open()
        self.say(b"USER guest")
        self.check_served(self.say(b"PASS password"))


class Later:
    """What Twisted's server asks of a delayed call."""

    def active(self) -> bool:
        return False

    def cancel(self) -> None:
        pass

    def reset(self, _seconds: float) -> None:
        pass


class StockServerTests(Talk):
    """Twisted's own server, our portal, our realm, our maildrops."""

    def setUp(self) -> None:
        self.house = House([b"Subject: one\r\n\r\n.dot\r\n", b"Subject: two\r\n\r\n2\r\n"])
        self.drops: Maildrops = self.house.maildrops()
        people = (account(5, "alice"), account(6, "off", disabled=True))
        directory = LiveDirectory(Directory.of([Domain(1, "example.test", 0.0)], people))
        self.clock = Clock()
        realm = Realm(directory, {IMailboxPOP3: self.open_drop})
        known = passwords(alice=b"secret", off=b"secret", carol=b"secret")
        self.portal = SignInPortal(
            realm, [known], clock=self.clock, sign_in_key=directory.sign_in_key
        )
        self.talk_to(self.stock())

    def open_drop(self, account: Account | None) -> Deferred[Any]:
        return self.drops.open(account)

    def stock(self) -> Any:
        server = pop3.POP3()
        server.portal = self.portal
        server.factory = None
        server.schedule = _at_once
        server.callLater = lambda *args: Later()
        return server

    def sign_in(self, name: bytes, password: bytes = b"secret") -> bytes:
        self.say(b"USER " + name)
        reply = self.say(b"PASS " + password)
        if not reply:
            self.clock.advance(20)
            reply = bytes(self.wire.value())
        return reply

    def read(self, line: bytes) -> bytes:
        said = self.say(line)
        while self.wire.producer is not None:
            self.wire.producer.resumeProducing()
            said = bytes(self.wire.value())
        return said

    def test_a_mail_is_read_and_deleted(self) -> None:
        self.assertEqual(b"+OK", self.sign_in(b"alice")[:3])
        said = self.read(b"RETR 1")
        self.assertTrue(said.endswith(b"\r\nSubject: one\r\n\r\n..dot\r\n.\r\n"), said)
        self.assertEqual(b"+OK \r\n", self.say(b"DELE 2"))
        self.assertEqual(b"+OK \r\n", self.say(b"RSET"))
        self.assertEqual(b"+OK \r\n", self.say(b"DELE 1"))
        self.assertEqual(b"+OK \r\n", self.say(b"QUIT"))
        self.assertEqual([11], self.house.messages.deleted)
        self.server.connectionLost(Failure(ConnectionLost()))
        self.assertEqual([5], self.house.locks.released)

    def test_who_is_refused_hears_an_error_and_may_try_again(self) -> None:
        for name, password in (
            (b"alice", b"wrong"),
            (b"off", b"secret"),
            (b"carol", b"secret"),
            (b"nobody", b"secret"),
        ):
            self.assertEqual(b"-ERR", self.sign_in(name, password)[:4], name)
        self.assertEqual(b"+OK", self.sign_in(b"alice")[:3])

    def test_a_second_session_is_refused_until_the_first_is_gone(self) -> None:
        self.sign_in(b"alice")
        first = self.server
        self.talk_to(self.stock())
        self.assertEqual(b"-ERR", self.sign_in(b"alice")[:4])
        self.flushLoggedErrors()
        first.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(b"+OK", self.sign_in(b"alice")[:3])

    def test_a_deletion_that_fails_deletes_nothing_and_frees_the_maildrop(self) -> None:
        self.sign_in(b"alice")
        self.say(b"DELE 1")
        self.house.messages.fault = StoreBusy()
        sync, failed = Maildrop.sync, []

        def caught(drop: Maildrop) -> Deferred[None]:  # Twisted's server drops the failure
            return sync(drop).addErrback(lambda failure: failed.append(failure.value))

        self.patch(Maildrop, "sync", caught)
        self.say(b"QUIT")
        self.assertIsInstance(failed[0], StoreBusy)
        self.assertEqual([], self.house.messages.deleted)
        self.server.connectionLost(Failure(ConnectionLost()))
        self.assertEqual([5], self.house.locks.released)


def _at_once(steps: Any) -> Deferred[None]:
    for _ in steps:
        pass
    return succeed(None)


class ImplementerTests(SynchronousTestCase):
    def test_ours_provide_what_twisted_asks_for(self) -> None:
        factory = Pop3Factory(None, hostname="example.test")
        verifyObject(pop3.IServerFactory, factory)
        house = House([])
        maildrop, _logout = self.successResultOf(house.open())
        verifyObject(pop3.IMailbox, maildrop)
        verifyObject(pop3.IMailbox, ForeignMailbox())
