"""Mail for elsewhere over SMTP: who may send it, to whom, as whom, and what becomes of it."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.mail.smtp import SMTPServerError
from twisted.trial.unittest import SynchronousTestCase

from mailnode.addresses import Address, parse_address
from mailnode.errors import NotYourAddress, SendingTooFast, StoreBusy
from mailnode.model import Blob, Envelope, Message, Remote, Verdict
from mailnode.routes import SendAs
from mailnode.smtp.allowance import MOST_KEPT, Allowance
from mailnode.store.directory import LiveDirectory
from tests.fakes import PASSWORD, SmtpHouse, Talk, small_directory

STRANGER = "192.0.2.1"
HERE = "127.0.0.1"
PLAIN = base64.b64encode(f"\0alice@example.test\0{PASSWORD}".encode()).decode()
OWN = "MAIL FROM:<alice@example.test>"
SRS = "SRS0=abcd=ab=elsewhere.example=carl"


@define(eq=False)
class Outward(LiveDirectory):
    """alice's and bob's, with addresses elsewhere.

    Attributes:
        forwards: aliases here to where they lead.
        outside: of alice.
    """

    in_gear: str = "live"
    forwards: dict[str, tuple[str, ...]] = field(factory=dict)
    outside: tuple[str, ...] = ()

    @property
    def gear(self) -> str:
        return self.in_gear

    def may_leave(self, address: Address) -> bool:
        return self.in_gear == "live" or address.domain == "allowed.example"

    def expand(self, address: Address, limit: int = 1000) -> Any:
        found = []
        for target in map(parse_address, self.forwards.get(str(address), ())):
            if self.is_local(target.domain):
                found += super().expand(target, limit)
            else:
                found.append(Remote(target, alias=address))
        return tuple(found) or super().expand(address, limit)

    def speaks_for(self, account_id: int, address: Address) -> bool:
        return str(address) in self.outside or super().speaks_for(account_id, address)

    def send_as(self, account_id: int, address: Address) -> SendAs | None:
        if str(address) not in self.outside:
            return None
        number = self.outside.index(str(address)) + 1
        return SendAs(number, account_id, str(address), "smtp.example", 465, True, "alice", b"")


class SubmissionCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.open()

    def open(self, host: str = STRANGER, gear: str = "live", sign_in: bool = True) -> Talk:
        self.house = SmtpHouse()
        self.counter = self.house.counter
        self.directory = Outward(small_directory(), in_gear=gear)
        self.counter.directory = self.directory
        self.counter.allowance.seconds = self.house.clock.seconds
        self.talk = self.house.connect(host, tls=True)
        self.talk.say("EHLO client.example.org")
        if sign_in:
            self.check(f"AUTH PLAIN {PLAIN}", "235")
        return self.talk

    def check(self, line: str, start: str) -> str:
        (reply,) = self.talk.say(line)
        self.assertTrue(reply.startswith(start), f"{line!r} was answered {reply!r}")
        return reply

    def begin(self, *to: str, sender: str = "alice@example.test") -> None:
        self.check(f"MAIL FROM:<{sender}>", "250 ")
        for each in to or ("x@elsewhere.example",):
            self.check(f"RCPT TO:<{each}>", "250 ")

    def dot(self, mail: bytes) -> str:
        self.check("DATA", "354 ")
        return self.talk.send(mail + b".\r\n").rstrip()

    def submit(self, mail: bytes, *to: str, sender: str = "alice@example.test") -> None:
        self.begin(*to, sender=sender)
        reply = self.dot(mail)
        self.assertTrue(reply.startswith("250 "), reply)

    def filed(self) -> tuple[Envelope, Message]:
        (mail,) = self.house.messages.filed
        return mail

    def elsewhere(self) -> list[str]:
        return [str(each.address) for each in self.filed()[0].remotes]


class Recipients(SubmissionCase):
    def test_s31_who_has_signed_in_may_send_anywhere(self) -> None:
        self.submit(b"Subject: x\r\n\r\n", "x@Elsewhere.Example", "bob@example.test")
        envelope, _message = self.filed()
        self.assertEqual(envelope.remotes, (Remote(parse_address("x@elsewhere.example")),))
        self.assertEqual([each.mailbox for each in envelope.recipients], ["bob@example.test"])
        self.assertEqual((envelope.account_id, envelope.priority), (1, 1))

    def test_a_mail_with_only_remotes_is_filed_and_acknowledged_by_its_id(self) -> None:
        self.begin()
        reply = self.dot(b"\r\n")
        self.assertEqual(reply, f"250 2.0.0 Ok {self.filed()[0].mail_id}")
        self.assertEqual(self.filed()[0].recipients, ())

    def test_whom_an_account_has_written_to_is_told_once_that_is_sure(self) -> None:
        told: list[Address] = []
        self.counter.wrote_to = told.extend
        self.directory.forwards["all@example.test"] = ("led@elsewhere.example", "bob@example.test")
        self.house.messages.waiting = []
        self.begin("x@elsewhere.example", "all@example.test")
        self.dot(b"\r\n")
        self.assertEqual([], told)
        self.house.messages.waiting[0].callback(())
        self.assertEqual(["x@elsewhere.example"], list(map(str, told)))

    def test_whom_nothing_reaches_nobody_has_written_to(self) -> None:
        for gear, sender in (("capture", "alice@example.test"), ("live", "sender@other.example")):
            self.open(HERE, gear, sign_in=gear == "capture")
            self.directory.forwards["out@example.test"] = ("x@elsewhere.example",)
            told: list[Address] = []
            self.counter.wrote_to = told.extend
            self.submit(b"\r\n", "out@example.test", sender=sender)
            self.assertEqual(["x@elsewhere.example"], self.elsewhere())
            self.assertEqual([], told)

    def test_250_waits_for_the_commit_and_a_failure_is_told(self) -> None:
        self.house.messages.waiting = []
        self.begin()
        self.assertEqual(self.dot(b"\r\n"), "")
        self.house.messages.waiting[0].errback(StoreBusy())
        self.assertTrue(self.talk.read().startswith("451 4.3.0"))

    def test_s31_a_stranger_is_refused_in_every_gear_even_where_nothing_leaves(self) -> None:
        for gear in ("live", "allow-list", "capture"):
            self.open(STRANGER, gear, sign_in=False)
            self.check("MAIL FROM:<x@y.example>", "250 ")
            self.check("RCPT TO:<x@allowed.example>", "550 5.7.1 Relaying denied")

    def test_s31_on_this_machine_anybody_is_captured_and_only_in_that_gear(self) -> None:
        self.open(HERE, "capture", sign_in=False)
        self.begin("x@elsewhere.example", sender="app@nowhere.example")
        self.check("RCPT TO:<nobody@example.test>", "550 5.1.1")
        self.assertTrue(self.dot(b"Bcc: kept\r\n\r\n").startswith("250 "))
        envelope, message = self.filed()
        captured = Remote(parse_address("x@elsewhere.example"), captured=True)
        self.assertEqual((envelope.remotes, envelope.account_id), ((captured,), 0))
        self.assertEqual(message.body, b"Bcc: kept\r\n\r\n")
        for gear in ("live", "allow-list"):
            self.open(HERE, gear, sign_in=False)
            self.check("MAIL FROM:<x@y.example>", "250 ")
            self.check("RCPT TO:<x@elsewhere.example>", "550 5.7.1 Relaying denied")

    def test_what_may_not_leave_is_captured_address_by_address(self) -> None:
        self.open(gear="allow-list")
        self.submit(b"\r\n", "x@elsewhere.example", "x@allowed.example")
        self.assertEqual([each.captured for each in self.filed()[0].remotes], [True, False])

    def test_each_address_elsewhere_is_there_once_in_its_own_spelling(self) -> None:
        self.directory.forwards["list@example.test"] = ("x@a.example", "y@a.example")
        self.submit(b"\r\n", "x@a.example", "list@example.test", "X@A.example", "y@a.example")
        self.assertEqual(self.elsewhere(), ["x@a.example", "y@a.example", "X@a.example"])
        self.assertIsNone(self.filed()[0].remotes[0].alias)

    def test_the_limit_of_mailboxes_counts_them(self) -> None:
        self.counter.most_mailboxes = 2
        self.begin("bob@example.test", "x@a.example")
        self.check("RCPT TO:<y@a.example>", "452 4.5.3")
        self.check("RCPT TO:<alice@example.test>", "452 4.5.3")
        self.check("RCPT TO:<x@a.example>", "250 ")

    def test_what_rcpt_told_of_reports_goes_along(self) -> None:
        delivery = self.house._postbox(self.directory.find_sign_in("alice"))[0].getMessageDelivery()
        self.begin()
        user = self.talk.server._to[0][0]
        user.notify, user.orcpt = "SUCCESS,DELAY", "rfc822;x@b.example"
        delivery.validateFrom(None, user.orig)
        for local in ("x@elsewhere.example", "bob@example.test"):
            user.dest = type(user.dest)(parse_address(local))
            make = delivery.validateTo(user)
        told = {(each.notify, each.orcpt) for each in (*make().remotes, *make().recipients)}
        self.assertEqual(told, {("SUCCESS,DELAY", "rfc822;x@b.example")})

    def test_a_filter_sees_them(self) -> None:
        class Looks:
            name = "looks"
            seen: Any = None

            def judge(self, envelope: Envelope, message: Message) -> Verdict:
                self.seen = envelope
                return Verdict("refuse", "No")

        self.house.intake.filters = [looks := Looks()]
        self.begin()
        self.assertTrue(self.dot(b"\r\n").startswith("550 5.7.1 No"))
        self.assertEqual(len(looks.seen.remotes), 1)


class Forwarding(SubmissionCase):
    def setUp(self) -> None:
        self.open(sign_in=False)
        self.directory.forwards["away@example.test"] = (
            "carl@elsewhere.example",
            "bob@example.test",
        )
        self.counter.srs_forward = lambda sender: f"srs-of-{sender}"

    def test_an_alias_forwards_a_strangers_mail_under_a_reverse_path_of_ours(self) -> None:
        self.submit(b"\r\n", "away@example.test", sender="dave@d.example")
        envelope, _message = self.filed()
        (remote,) = envelope.remotes
        self.assertEqual(str(remote.address), "carl@elsewhere.example")
        self.assertEqual(str(remote.alias), "away@example.test")
        self.assertEqual(remote.sender, "srs-of-dave@d.example")
        self.assertEqual(str(envelope.sender), "dave@d.example")
        self.assertEqual([each.account_id for each in envelope.recipients], [2])

    def test_the_null_reverse_path_and_ours_stay_what_they_are(self) -> None:
        for sender in ("", "alice@example.test"):
            self.submit(b"\r\n", "away@example.test", sender=sender)
            envelope, _message = self.house.messages.filed.pop()
            self.assertIsNone(envelope.remotes[0].sender)
            self.assertEqual(envelope.priority, 1 if sender else 0)

    def test_the_reverse_path_of_who_has_signed_in_stays_as_well(self) -> None:
        self.open()
        self.directory.forwards["away@example.test"] = ("carl@elsewhere.example",)
        self.directory.outside = ("alice@outside.example",)
        mail = b"From: alice@outside.example\r\n\r\n"
        self.submit(mail, "away@example.test", sender="alice@outside.example")
        (remote,) = self.filed()[0].remotes
        self.assertEqual((remote.sender, remote.send_as), (None, 1))

    def test_what_comes_back_goes_to_who_sent_it_first(self) -> None:
        original = parse_address("carl@elsewhere.example")
        self.counter.srs_reverse = lambda address: original if address.local == SRS else None
        self.submit(b"\r\n", f"{SRS}@example.test", sender="")
        (remote,) = self.filed()[0].remotes
        self.assertEqual((remote.address, remote.sender), (original, None))
        self.assertEqual(str(remote.alias), f"{SRS}@example.test")

    def test_nothing_but_reports_comes_back_from_a_stranger(self) -> None:
        """Whoever gets a forwarded mail reads such an address, and could write to anybody by it."""
        original = parse_address("carl@elsewhere.example")
        self.counter.srs_reverse = lambda address: original
        self.check("MAIL FROM:<spam@d.example>", "250 ")
        self.check(f"RCPT TO:<{SRS}@example.test>", "550 5.7.1")

    def test_what_only_looks_so_is_an_unknown_user(self) -> None:
        self.check("MAIL FROM:<>", "250 ")
        self.check("RCPT TO:<SRS0=abcd=ab=elsewhere.example=forged@example.test>", "550 5.1.1")
        self.counter.srs_reverse = lambda address: parse_address("carl@elsewhere.example")
        self.check(f"RCPT TO:<{SRS}@another.example>", "550 5.7.1")
        self.check("RCPT TO:<a=b@example.test>", "550 5.1.1")

    def test_an_original_sender_who_is_here_gets_it_here(self) -> None:
        self.counter.srs_reverse = lambda address: parse_address("bob@example.test")
        self.submit(b"\r\n", f"{SRS}@example.test", sender="")
        self.assertEqual(self.filed()[0].remotes, ())
        self.assertEqual([each.account_id for each in self.filed()[0].recipients], [2])

    def test_what_an_alias_has_forwarded_before_it_forwards_no_more(self) -> None:
        mail = b"Delivered-To: AWAY@example.test\r\n\r\nDelivered-To: other@example.test\r\n"
        self.submit(mail, "away@example.test", sender="d@d.example")
        self.assertEqual(self.filed()[0].remotes, ())
        self.assertEqual(len(self.filed()[0].recipients), 1)

    def test_a_mail_of_which_nothing_is_left_is_a_loop(self) -> None:
        self.directory.forwards["away@example.test"] = ("carl@elsewhere.example",)
        for size in (10, 300_000):
            self.begin("away@example.test", sender="d@d.example")
            mail = b"Delivered-To: broken\r\nDelivered-To: away@example.test\r\n\r\n"
            self.assertTrue(self.dot(mail + b"x" * size + b"\r\n").startswith("554 5.4.6"))
        self.assertEqual(self.house.messages.filed, [])
        self.assertTrue(all(blob.discarded for blob in self.house.blobs.made))

    def test_delivered_to_another_address_is_no_loop(self) -> None:
        self.directory.forwards["away@example.test"] = ("carl@elsewhere.example",)
        self.submit(b"Delivered-To: x@y.example\r\n\r\n", "away@example.test", sender="d@d.example")
        self.assertEqual(len(self.filed()[0].remotes), 1)


class Rights(SubmissionCase):
    def test_the_reverse_path_is_an_address_of_the_account(self) -> None:
        self.directory.outside = ("alice@outside.example",)
        for sender in ("alice@example.test", "Alice+tag@example.test", "team@example.test",
                       "alice@outside.example", ""):  # fmt: skip
            self.check(f"MAIL FROM:<{sender}>", "250 ")
            self.check("RSET", "250 ")
        for sender in ("bob@example.test", "nobody@example.test", "x@elsewhere.example"):
            reply = self.check(f"MAIL FROM:<{sender}>", "550 5.7.1 ")
            self.assertIn(f"{sender} is not yours: send as alice@example.test, or", reply)

    def test_the_reply_names_a_long_address_in_one_short_line_of_ascii(self) -> None:
        local = "\u00fc" * 30
        reply = self.check(f"MAIL FROM:<{local}@{'x' * 60}.{'y' * 60}> SMTPUTF8", "550 5.7.1 ")
        self.assertTrue(reply.isascii() and len(reply) < 500)

    def test_from_and_sender_are_addresses_of_the_account(self) -> None:
        for field_ in (b"From: x@elsewhere.example", b"From: Alice <bob@example.test>",
                       b"from : (alice@example.test) bob@example.test",
                       b"From: alice@example.test,\r\n bob@example.test",
                       b"From: alice@example.test\r\nFrom: bob@example.test",
                       b"From: team:alice@example.test, bob@example.test;",
                       b"Sender: bob@example.test"):  # fmt: skip
            self.begin()
            reply = self.dot(b"Subject: x\r\n" + field_ + b"\r\n\r\nFrom: nobody\r\n")
            self.assertTrue(reply.startswith("550 5.7.1 "), (field_, reply))
        self.assertEqual(self.house.messages.filed, [])

    def test_names_and_comments_are_no_addresses(self) -> None:
        for field_ in (b'From: "bob@example.test" <alice@example.test>',
                       b"From: bob@example.test <team@example.test>",
                       b"From: alice@example.test (bob@example.test (\\) nested) too)",
                       b"From: =?utf-8?q?B=C3=B6b?=\r\n\t<Alice+x@example.test>",
                       b"Sender: alice@example.test"):  # fmt: skip
            self.submit(field_ + b"\r\n\r\n")

    def test_a_from_without_an_address_is_refused_with_the_mend(self) -> None:
        for value in (b"", b"Alice", b"undisclosed:;", b'"alice', b"<alice@example.test> x",
                      b"a:b:alice@example.test;", b"(alice@example.test", b"<>"):  # fmt: skip
            self.begin()
            reply = self.dot(b"From: " + value + b"\r\n\r\n")
            self.assertTrue(reply.startswith("550 5.6.0 From must name an address"), (value, reply))

    def test_an_administrator_may_allow_any_sender(self) -> None:
        self.counter.any_sender = True
        self.submit(b"From: boss@b.example\r\nSender: x\r\n\r\n", sender="anybody@b.example")
        self.submit(b"From: unreadable\r\n\r\n", sender="anybody@b.example")
        self.assertNotIn(b"\nFrom:", self.house.messages.filed[1][1].prefix)

    def test_a_missing_from_is_the_reverse_path_or_the_account(self) -> None:
        for sender, author in (("team@example.test", b"team"), ("", b"alice")):
            self.submit(b"Subject: x\r\n\r\n", sender=sender)
            prefix = self.house.messages.filed[-1][1].prefix
            self.assertTrue(prefix.endswith(b"\r\nFrom: " + author + b"@example.test\r\n"), prefix)

    def test_several_authors_get_the_sender_that_their_mail_lacks(self) -> None:
        authors = b"From: alice@example.test, team@example.test\r\n"
        self.submit(authors + b"\r\n")
        self.assertIn(b"\r\nSender: alice@example.test\r\n", self.filed()[1].prefix)
        self.submit(authors + b"Sender: team@example.test\r\n\r\n")
        self.assertNotIn(b"\r\nSender:", self.house.messages.filed[1][1].prefix)

    def test_a_strangers_mail_is_not_judged(self) -> None:
        self.open(sign_in=False)
        self.submit(b"From: bob@example.test\r\n\r\n", "bob@example.test", sender="x@y.example")
        self.assertNotIn(b"Date", self.filed()[1].prefix)

    def test_mail_from_an_outside_address_is_marked_with_its_provider(self) -> None:
        self.directory.outside = ("alice@one.example", "alice@two.example")
        self.submit(b"From: A <alice@two.example>\r\n\r\n", "x@a.example", "y@a.example")
        self.assertEqual([each.send_as for each in self.filed()[0].remotes], [2, 2])
        self.submit(b"\r\n", sender="alice@one.example")  # it becomes From
        self.assertEqual(self.house.messages.filed[1][0].remotes[0].send_as, 1)

    def test_twisteds_own_server_is_answered_with_its_error(self) -> None:
        account = self.directory.find_sign_in("alice")
        delivery = self.house._postbox(account)[0].getMessageDelivery()
        with self.assertRaises(SMTPServerError) as caught:
            delivery.validateFrom((b"c", b"192.0.2.1"), parse_address("bob@example.test"))
        self.assertEqual(caught.exception.code, 550)
        delivery.validateFrom((b"c", b"192.0.2.1"), parse_address("alice@example.test"))
        user = TwistedUser("x@elsewhere.example")
        message = delivery.validateTo(user)()
        for line in (b"Bcc: y", b"Subject: x", b"", b".body"):
            message.lineReceived(line)
        self.successResultOf(message.eomReceived())
        self.assertEqual(self.filed()[1].body, b"Subject: x\r\n\r\n.body\r\n")
        self.assertEqual(self.elsewhere(), ["x@elsewhere.example"])
        message = delivery.validateTo(TwistedUser("y@elsewhere.example"))()
        message.lineReceived(b"From: bob@example.test")
        message.lineReceived(b"")
        with self.assertRaises(SMTPServerError):
            message.lineReceived(b"body")
        message = delivery.validateTo(TwistedUser("z@elsewhere.example"))()
        message.lineReceived(b"From: bob@example.test")
        self.failureResultOf(message.eomReceived(), NotYourAddress)


class TwistedUser:
    """A recipient as Twisted's own server hands it over."""

    def __init__(self, dest: str) -> None:
        self.dest, self.orig, self.helo = dest, "alice@example.test", (b"client", b"192.0.2.1")


class Bcc(SubmissionCase):
    HEADER = (
        b"Subject: x\r\nBcc: a@b.example,\r\n\tb@b.example\r\n .folded\r\nTo: c@c.example\r\n"
        b"bCC : d\r\nResent-Bcc: e\r\nBcc\r\n : f\r\n g\r\nBccx: stays\r\nX-Bcc: stays\r\n"
    )
    KEPT = b"Subject: x\r\nTo: c@c.example\r\nBccx: stays\r\nX-Bcc: stays\r\n"
    BODY = b"\r\nBcc: of the body\r\n.dot\r\n"

    def assert_kept(self, octets: bytes, dots: int = 1) -> None:
        _envelope, message = self.house.messages.filed.pop()
        body = message.body
        kept = self.house.blobs.kept["blob1"] if isinstance(body, Blob) else body
        self.assertEqual(kept, octets)
        self.assertEqual(message.size_octets, len(octets))
        self.assertEqual(message.digest, hashlib.sha256(octets).digest())
        self.assertEqual(message.dot_lines, dots)

    def test_bcc_is_cut_whole_and_nothing_else_changes(self) -> None:
        self.submit(self.HEADER + self.BODY.replace(b".dot", b"..dot"))
        self.assertEqual(self.house.messages.filed[0][1].subject, "x")
        self.assert_kept(self.KEPT + self.BODY)

    def test_however_the_octets_come_and_wherever_they_go(self) -> None:
        mail = self.HEADER + self.BODY
        for blob_over in (1 << 20, 30):
            self.counter.blob_over = blob_over
            for size in (1, 2, 3, 7, 50):
                self.begin()
                for at in range(0, len(mail), size):
                    piece = mail[at : at + size]
                    self.check_piece(f"BDAT {len(piece)}\r\n".encode() + piece)
                self.check_piece(b"BDAT 0 LAST\r\n")
                self.assert_kept(self.KEPT + self.BODY)

    def check_piece(self, octets: bytes) -> None:
        reply = self.talk.send(octets)
        self.assertTrue(reply.startswith("250 "), reply)

    def test_a_mail_that_is_all_header(self) -> None:
        for blob_over in (1 << 20, 30):
            self.counter.blob_over = blob_over
            self.submit(self.HEADER)
            self.assert_kept(self.KEPT, 0)
        self.submit(b"Bcc: x\r\n")
        self.assert_kept(b"", 0)

    def test_a_mail_without_a_header(self) -> None:
        self.submit(b"\r\nBcc: text\r\n")
        self.assert_kept(b"\r\nBcc: text\r\n", 0)
        self.submit(b"")
        self.assert_kept(b"", 0)

    def test_bare_line_feeds_are_mended_before(self) -> None:
        self.submit(b"Bcc: a\n b\nSubject: x\n\nbody\n\r\n")
        self.assert_kept(b"Subject: x\r\n\r\nbody\r\n\r\n", 0)

    def test_a_header_over_64_kib_is_552_and_not_held(self) -> None:
        for end in (b"\r\n", b""):
            self.begin()
            reply = self.dot((b"X: " + b"x" * 900 + b"\r\n") * 73 + end)
            self.assertTrue(reply.startswith("552 5.3.4 Header is larger than 64 KiB"), reply)
        self.submit((b"X: " + b"x" * 900 + b"\r\n") * 72 + b"\r\n")

    def begin_and_wait_for_the_disk(self) -> Deferred[None]:
        """A mail that is all header, and more than stays in memory."""
        self.counter.blob_over = 10
        self.house.blobs.behind = True
        self.begin()
        self.assertEqual(self.dot(b"Subject: longer than ten\r\n"), "")
        assert self.house.blobs.wait is not None
        return self.house.blobs.wait

    def test_the_reply_waits_for_a_disk_that_is_behind(self) -> None:
        self.begin_and_wait_for_the_disk().callback(None)
        self.assertTrue(self.talk.read().startswith("250 "))

    def test_a_disk_that_fails_leaves_no_blob(self) -> None:
        self.begin_and_wait_for_the_disk().errback(StoreBusy())
        self.assertTrue(self.talk.read().startswith("451 4.3.0"))
        self.assertTrue(self.house.blobs.made[0].discarded)


@define(eq=False)
class FakeSigner:
    """Signs when it is told to."""

    bodies: list[bytes] = field(factory=list)
    asked: list[tuple[Any, ...]] = field(factory=list)
    answer: Deferred[bytes] = field(factory=lambda: succeed(b"DKIM-Signature: s\r\n"))
    has_key: bool = True

    def body_hash(self, domain: str) -> FakeSigner | None:
        if not self.has_key:
            return None
        self.bodies.append(b"")
        return self

    def feed(self, chunk: bytes) -> None:
        self.bodies[-1] += chunk

    def digest(self) -> bytes:
        return b"digest"

    async def sign(self, domain: str, header: bytes, body_hash: bytes, at: int) -> bytes:
        self.asked.append((domain, header, body_hash, at))
        return await self.answer


class Signing(SubmissionCase):
    def setUp(self) -> None:
        super().setUp()
        self.counter.signer = self.signer = FakeSigner()

    def test_nothing_is_hashed_or_asked_for_a_domain_without_a_key(self) -> None:
        self.signer.has_key = False
        self.submit(b"From: alice@example.test\r\n\r\none\r\n")
        self.assertEqual(([], []), (self.signer.bodies, self.signer.asked))
        self.assertNotIn(b"DKIM-Signature", self.filed()[1].prefix)

    def test_header_and_body_are_signed_as_they_leave(self) -> None:
        mail = b"Date: d\r\nBcc: y\r\nFrom: alice@example.test\r\n\r\none\r\n" + b"x" * 300_000
        self.submit(mail + b"\r\n")
        envelope, message = self.filed()
        ((domain, header, digest, at),) = self.signer.asked
        self.assertEqual(
            (domain, digest, at), ("example.test", b"digest", int(envelope.received_at))
        )
        self.assertEqual(self.signer.bodies, [b"one\r\n" + b"x" * 300_000 + b"\r\n"])
        received, signature, added = message.prefix.partition(b"DKIM-Signature: s\r\n")
        self.assertTrue(received.startswith(b"Received: ") and signature)
        self.assertEqual(header, added + b"Date: d\r\nFrom: alice@example.test\r\n")
        self.assertTrue(added.startswith(b"Message-ID: "))

    def test_the_reply_and_the_commit_wait_for_it(self) -> None:
        self.signer.answer = Deferred()
        self.begin()
        self.assertEqual(self.dot(b"Subject: x\r\n\r\nbody\r\n"), "")
        self.assertEqual(self.house.messages.filed, [])
        self.signer.answer.callback(b"")
        self.assertTrue(self.talk.read().startswith("250 "))

    def test_a_key_that_cannot_is_temporary_and_nothing_is_kept(self) -> None:
        self.signer.answer = fail(ZeroDivisionError())
        self.begin()
        self.assertTrue(self.dot(b"\r\n").startswith("451 4.3.0"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.house.messages.filed, [])

    def test_only_domains_here_are_signed_for(self) -> None:
        self.directory.outside = ("alice@outside.example",)
        self.submit(b"From: alice@outside.example\r\n\r\n")
        self.assertEqual((self.signer.asked, self.signer.bodies), ([], []))

    def test_a_mail_without_a_body_is_signed_too(self) -> None:
        self.submit(b"Subject: x\r\n")
        self.assertEqual((len(self.signer.asked), self.signer.bodies), (1, [b""]))

    def test_a_strangers_mail_is_not(self) -> None:
        self.open(HERE, "capture", sign_in=False)
        self.counter.signer = self.signer
        self.submit(b"From: alice@example.test\r\n\r\n", sender="a@b.example")
        self.assertEqual(self.signer.bodies, [])


class Priorities(SubmissionCase):
    def test_reports_and_replies_go_first_and_lists_last(self) -> None:
        for header, sender, priority in (
            (b"Subject: x\r\n", "alice@example.test", 1),
            (b"Precedence: bulk\r\n", "", 0),
            (b"In-Reply-To: <1@x>\r\n", "alice@example.test", 0),
            (b"references : <1@x>\r\n", "alice@example.test", 0),
            (b"X-References: <1@x>\r\n", "alice@example.test", 1),
            (b"precedence: List\r\n", "alice@example.test", 2),
            (b"Precedence: first-class\r\n", "alice@example.test", 1),
            (b"References: <1@x>\r\nList-Id: <l.x>\r\n", "alice@example.test", 2),
        ):
            self.submit(header + b"\r\nList-Id: body\r\n", sender=sender)
            self.assertEqual(self.house.messages.filed[-1][0].priority, priority, header)


class Rate(SubmissionCase):
    def test_past_the_burst_it_is_450_until_time_has_passed(self) -> None:
        self.counter.allowance.burst, self.counter.allowance.rate = 2, 60
        self.begin("x@a.example", "y@a.example", "bob@example.test", "x@a.example")
        reply = self.check("RCPT TO:<z@a.example>", "450 4.7.1 ")
        self.assertIn("You have sent to too many recipients, try again in 61 s", reply)
        self.check("RCPT TO:<alice@example.test>", "250 ")
        self.house.clock.advance(61)
        self.check("RCPT TO:<z@a.example>", "250 ")
        self.assertTrue(self.dot(b"\r\n").startswith("250 "))
        self.assertEqual(self.elsewhere(), ["x@a.example", "y@a.example", "z@a.example"])

    def test_a_mail_that_is_given_up_costs_nothing(self) -> None:
        self.counter.allowance.burst = 2
        for end in ("RSET", "EHLO again"):
            self.begin("x@a.example", "y@a.example")
            self.talk.say(end)
        self.begin("x@a.example", "y@a.example")
        self.talk.server.connectionLost()
        self.counter.allowance.take(1, 2)

    def test_refusals_for_the_rate_end_no_session(self) -> None:
        self.counter.allowance.burst = 1
        self.begin("x@a.example")
        for number in range(20):
            self.check(f"RCPT TO:<{number}@a.example>", "450 4.7.1")
        self.assertTrue(self.dot(b"\r\n").startswith("250 "))

    def test_a_refused_recipient_costs_nothing(self) -> None:
        self.counter.allowance.burst, self.counter.most_mailboxes = 2, 1
        self.begin("x@a.example")
        self.check("RCPT TO:<y@a.example>", "452 4.5.3")
        self.counter.most_mailboxes = 9
        self.check("RCPT TO:<y@a.example>", "250 ")
        self.check("RCPT TO:<z@a.example>", "450 4.7.1")

    def test_who_has_no_account_is_not_counted(self) -> None:
        self.open(HERE, "capture", sign_in=False)
        self.counter.allowance.burst = 1
        self.begin(*(f"{number}@a.example" for number in range(60)), sender="x@y.example")


class AllowanceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.allowance = Allowance(3600, 10, self.clock.seconds)

    def taken(self, account_id: int, times: int = 1000) -> int:
        for count in range(times):
            try:
                self.allowance.take(account_id, 1)
            except SendingTooFast:
                return count
        return times

    def test_a_burst_and_then_the_rate(self) -> None:
        self.assertEqual(self.taken(1), 10)
        self.clock.advance(5)
        self.assertEqual(self.taken(1), 5)
        self.clock.advance(3600)
        self.assertEqual(self.taken(1), 10)

    def test_each_account_has_its_own(self) -> None:
        self.assertEqual([self.taken(1), self.taken(2)], [10, 10])

    def test_no_rate_is_no_limit(self) -> None:
        self.allowance.rate = 0
        self.assertEqual(self.taken(1), 1000)

    def test_an_alias_to_more_than_the_burst_needs_a_full_bucket_and_is_paid_for(self) -> None:
        self.allowance.take(1, 30)
        self.clock.advance(20)
        self.assertEqual(self.taken(1), 0)
        self.clock.advance(1.5)
        self.assertEqual(self.taken(1), 1)
        self.assertRaises(SendingTooFast, self.allowance.take, 1, 30)

    def test_memory_is_bounded(self) -> None:
        for account_id in range(MOST_KEPT + 50):
            self.allowance.take(account_id, 1)
        self.assertEqual(len(self.allowance._full_at), MOST_KEPT)
        self.clock.advance(2)
        self.allowance.take(1, 1)
        self.assertEqual(len(self.allowance._full_at), 1)
