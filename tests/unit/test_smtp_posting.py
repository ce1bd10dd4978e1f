"""Mail that accounts submit otherwise than by SMTP is judged and taken as by SMTP."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mailnode.addresses import parse_address
from mailnode.errors import (
    MailboxFull,
    MailError,
    NoSuchMailbox,
    NotYourAddress,
    SendingTooFast,
    StoreBusy,
    StoreFull,
    TooLarge,
    TooManyRecipients,
)
from mailnode.events import RefusedMail
from mailnode.model import Client, Kept, Remote
from mailnode.smtp.functions import FunctionMailboxes
from mailnode.smtp.posting import NobodyToSendTo, Posted, Posting, PostOffice
from mailnode.smtp.transaction import Postbox
from tests.fakes import SmtpHouse, small_directory
from tests.unit.test_smtp_submission import Outward

WEB = Client(host="192.0.2.9", helo="", protocol="HTTPS", account="alice@example.test")
KEPT = Kept(1, "alice@example.test")
RAW = b"From: alice@example.test\r\nTo: x@elsewhere.example\r\nBcc: y@z.example\r\n\r\nHello\r\n"


class PostingCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.house = SmtpHouse()
        self.counter = self.house.counter
        self.counter.directory = Outward(small_directory(), outside=("alice@outside.example",))
        self.counter.allowance.seconds = self.house.clock.seconds
        self.alice: Any = self.counter.directory.find_by_id(1)
        self.wrap: Any = lambda postbox: postbox
        self.office = PostOffice(
            hostname="mx.example.test",
            delivery_for=lambda account: self.wrap(Postbox(self.counter, account)),
            tell=self.house.told.append,
        )

    def run_now(self, coroutine: Any) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(coroutine))

    def fails(self, coroutine: Any, kind: type[MailError]) -> MailError:
        error = self.failureResultOf(Deferred.fromCoroutine(coroutine), kind).value
        assert isinstance(error, MailError)
        return error

    def begin(self, **more: Any) -> Posting:
        posting: Posting = self.run_now(self.office.begin(self.alice, WEB, **more))
        return posting

    def post(self, raw: bytes = RAW, *to: str, **more: Any) -> Posted:
        posting = self.begin(**more)
        for each in to or ("x@elsewhere.example", "bob@example.test"):
            self.run_now(posting.add(parse_address(each)))
        posting.write(raw)
        posted: Posted = self.run_now(posting.end())
        return posted

    def refusals(self) -> list[RefusedMail]:
        return [event for event in self.house.told if isinstance(event, RefusedMail)]


class Taking(PostingCase):
    def test_a_mail_is_filed_and_queued_for_who_was_named_and_its_sender_keeps_a_copy(self) -> None:
        posted = self.post(kept=KEPT)
        ((envelope, message),) = self.house.messages.filed
        self.assertEqual(posted.mail_id, envelope.mail_id)
        self.assertEqual(1, len(posted.filed))
        self.assertEqual("alice@example.test", str(envelope.sender))
        self.assertEqual((Remote(parse_address("x@elsewhere.example")),), envelope.remotes)
        self.assertEqual(["bob@example.test"], [to.mailbox for to in envelope.recipients])
        self.assertEqual((1, KEPT, WEB), (envelope.account_id, envelope.kept, envelope.client))
        self.assertEqual(RAW.replace(b"Bcc: y@z.example\r\n", b""), message.body)
        self.assertIn(b"Received: from", message.prefix)
        self.assertIn(b" with HTTPS id " + posted.mail_id.encode(), message.prefix)
        self.assertIn(b"Message-ID: ", message.prefix)

    def test_lines_come_cut_anywhere_and_end_with_crlf_whatever_they_ended_with(self) -> None:
        posting = self.begin()
        self.run_now(posting.add(parse_address("bob@example.test")))
        for octet in b"Subject: x\n\r\n.a\r\nb":
            posting.write(bytes([octet]))
        self.run_now(posting.end())
        ((_envelope, message),) = self.house.messages.filed
        self.assertEqual(b"Subject: x\r\n\r\n.a\r\nb\r\n", message.body)
        self.assertEqual(1, message.dot_lines)

    def test_a_large_one_goes_to_a_blob_and_whoever_writes_waits(self) -> None:
        self.counter.blob_over = 100
        self.house.blobs.behind = True
        posting = self.begin()
        self.run_now(posting.add(parse_address("bob@example.test")))
        self.assertIsInstance(posting.write(b"\r\n" + b"x" * 200), Deferred)

    def test_functions_of_the_settings_get_their_mail_and_the_journal_is_told(self) -> None:
        mailboxes, got = FunctionMailboxes(), []

        @mailboxes.at("robot@example.test")
        async def take(mail: Any, envelope: Any) -> None:
            got.append((mail["From"], str(envelope.sender)))

        self.wrap = mailboxes
        self.post(RAW, "robot@example.test")
        self.assertEqual([("alice@example.test", "alice@example.test")], got)
        self.assertEqual([], self.house.messages.filed)
        self.assertEqual(["accepted", "delivered"], [event.name for event in self.house.told])


class Refusing(PostingCase):
    def test_what_a_recipient_is_refused_for_is_said_of_it_alone(self) -> None:
        posting = self.begin()
        self.fails(posting.add(parse_address("nobody@example.test")), NoSuchMailbox)
        self.fails(posting.add(parse_address("dave@example.test")), MailboxFull)
        self.run_now(posting.add(parse_address("bob@example.test")))
        posting.write(RAW)
        self.run_now(posting.end())
        self.assertEqual(1, len(self.house.messages.filed))
        self.assertEqual(
            [("nobody@example.test", "RCPT", 550), ("dave@example.test", "RCPT", 452)],
            [(e.recipient, e.detail["stage"], e.detail["code"]) for e in self.refusals()],
        )

    def test_a_sender_or_author_that_isnt_the_accounts_is_refused(self) -> None:
        sender = parse_address("bob@example.test")
        self.fails(self.office.begin(self.alice, WEB, sender=sender), NotYourAddress)
        posting = self.begin(sender=parse_address("alice@outside.example"))
        self.run_now(posting.add(parse_address("bob@example.test")))
        posting.write(b"From: bob@example.test\r\n\r\n")
        self.fails(posting.end(), NotYourAddress)
        self.assertEqual([], self.house.messages.filed)

    def test_too_large_is_said_at_once_where_it_is_known_and_at_the_end_where_it_isnt(self) -> None:
        self.office.most_octets = 100
        self.fails(self.office.begin(self.alice, WEB, size_octets=101), TooLarge)
        posting = self.begin()
        self.run_now(posting.add(parse_address("bob@example.test")))
        for _ in range(50):
            posting.write(b"\r\n" + b"x" * 50)
        self.fails(posting.end(), TooLarge)
        self.assertEqual([], self.house.messages.filed)

    def test_a_mail_to_nobody_and_one_to_too_many_are_refused(self) -> None:
        posting = self.begin()
        self.assertRaises(NobodyToSendTo, posting.write, b"x")
        self.fails(posting.end(), NobodyToSendTo)
        self.office.most_recipients = 1
        self.run_now(posting.add(parse_address("bob@example.test")))
        self.fails(posting.add(parse_address("alice@example.test")), TooManyRecipients)

    def test_the_store_that_is_busy_is_told_and_nothing_is_kept(self) -> None:
        self.house.messages.failure = StoreBusy(detail="locked")
        posting = self.begin()
        self.run_now(posting.add(parse_address("bob@example.test")))
        posting.write(RAW)
        self.fails(posting.end(), StoreBusy)
        self.assertEqual("locked", self.refusals()[-1].detail["because"])

    def test_a_full_disk_takes_no_mail(self) -> None:
        self.house.disk_has_room = False
        self.fails(self.office.begin(self.alice, WEB), StoreFull)

    def test_a_fault_of_ours_is_temporary_and_its_traceback_is_in_the_log(self) -> None:
        def broken(account: Any) -> Any:
            raise ZeroDivisionError("ours")

        self.office.delivery_for = broken
        error = self.fails(self.office.begin(self.alice, WEB), MailError)
        self.assertTrue(error.temporary)
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))

    def test_the_allowance_counts_and_what_is_abandoned_costs_nothing(self) -> None:
        self.counter.allowance.burst = self.counter.allowance.rate = 1
        posting = self.begin()
        self.run_now(posting.add(parse_address("x@elsewhere.example")))
        self.fails(posting.add(parse_address("y@elsewhere.example")), SendingTooFast)
        posting.abandon()
        self.post(RAW, "x@elsewhere.example")
        self.fails(self.begin().add(parse_address("y@elsewhere.example")), SendingTooFast)

    def test_an_abandoned_body_leaves_no_blob(self) -> None:
        self.counter.blob_over = 10
        posting = self.begin()
        self.run_now(posting.add(parse_address("bob@example.test")))
        posting.write(b"\r\n" + b"x" * 50)
        posting.abandon()
        self.assertTrue(all(blob.discarded for blob in self.house.blobs.made))


class Judging(PostingCase):
    """Recipients while they are typed."""

    def judge(self, *to: str) -> list[str]:
        addresses = [parse_address(each) for each in to]
        answers = self.run_now(self.office.judge(self.alice, WEB, addresses))
        return [answer.text if answer else "" for answer in answers]

    def test_each_is_told_what_it_would_be_refused_for(self) -> None:
        self.assertEqual(
            ["", "", "No such user here", "Mailbox is full", "This mailbox is disabled"],
            self.judge(
                "bob@example.test",
                "x@elsewhere.example",
                "nobody@example.test",
                "dave@example.test",
                "carol@example.test",
            ),
        )

    def test_nobody_hears_of_it_and_it_costs_nothing(self) -> None:
        self.counter.allowance.burst = self.counter.allowance.rate = 1
        for _ in range(3):
            self.judge("x@elsewhere.example", "nobody@example.test")
        self.assertEqual([], self.house.told)
        self.assertEqual([], self.house.messages.filed)
        self.post(RAW, "x@elsewhere.example")
        self.assertIn("too many recipients", self.judge("y@elsewhere.example")[0])

    def test_a_node_that_takes_nothing_says_so(self) -> None:
        self.house.disk_has_room = False
        address = parse_address("bob@example.test")
        self.fails(self.office.judge(self.alice, WEB, [address]), StoreFull)

    def test_functions_of_the_settings_take_what_they_take(self) -> None:
        mailboxes = FunctionMailboxes()

        @mailboxes.at("robot@example.test")
        async def take(mail: Any, envelope: Any) -> None:
            """Nothing comes."""

        self.wrap = mailboxes
        self.assertEqual(["", "No such user here"],
                         self.judge("robot@example.test", "x@example.test"))  # fmt: skip
