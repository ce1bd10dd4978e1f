"""`mailnode.filters.clamd`, and what all filters share that ask a program: limits and failures."""

from __future__ import annotations

from struct import pack, unpack

from twisted.internet.defer import Deferred
from twisted.logger import formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from mailnode.errors import FilterFailed, Refused, StoreBroken
from mailnode.filters.clamd import Clamd
from mailnode.filters.limits import MOST_AT_ONCE
from mailnode.filters.octets import MailReader
from mailnode.interfaces import IContentFilter
from mailnode.model import Blob, Message, Verdict
from tests.unit.filters_case import (
    MAIL,
    RECEIVED,
    BlobReader,
    FilterCase,
    blob_message,
    message_of,
    split,
)

FOUND = b"stream: Eicar-Test FOUND\0"


def streamed(octets: bytes) -> bytes:
    """The mail in a whole INSTREAM."""
    command, _, rest = octets.partition(b"\0")
    assert command == b"zINSTREAM"
    mail = b""
    while size := unpack(">I", rest[:4])[0]:
        assert size <= 65_536
        mail, rest = mail + rest[4 : 4 + size], rest[4 + size :]
    assert rest == pack(">I", 0)
    return mail


class ScanTests(FilterCase):
    def test_it_is_a_content_filter(self) -> None:
        verifyObject(IContentFilter, self.make(Clamd))

    def test_the_whole_mail_goes_there_and_nothing_is_found(self) -> None:
        judging = self.judge(self.make(Clamd))
        self.assertEqual(RECEIVED + MAIL, streamed(self.endpoint.wire.value()))
        self.endpoint.wire.say(b"stream: OK\0")
        self.assertEqual(Verdict(), self.successResultOf(judging))

    def test_a_large_mail_goes_in_pieces(self) -> None:
        reader = BlobReader(bytes(range(256)) * 1_000)
        judging = self.judge(self.make(Clamd), blob_message(reader))
        self.assertEqual(RECEIVED + reader.octets, streamed(self.endpoint.wire.value()))
        self.endpoint.wire.say(b"stream: OK\0")
        self.assertEqual(Verdict(), self.successResultOf(judging))
        self.assertTrue(reader.closed)

    def test_what_is_found_is_refused_with_550_5_7_0_and_its_name(self) -> None:
        for pieces in ([FOUND], split(FOUND)):
            self.endpoint.wires.clear()
            judging = self.judge(self.make(Clamd))
            for piece in pieces:
                self.endpoint.wire.say(piece)
            error = self.refusal(judging)
            self.assertEqual((550, "5.7.0"), (error.smtp_code, error.enhanced))
            self.assertEqual("Message refused: Eicar-Test was found in it", error.text)

    def test_a_signature_s_name_can_t_write_lines(self) -> None:
        judging = self.judge(self.make(Clamd))
        self.endpoint.wire.say(b"stream: a\r\n250 b\xff<%s> FOUND\0" % (b"x" * 200))
        text = self.refusal(judging).text
        self.assertTrue(text.startswith("Message refused: a??250?b??x"), text)
        self.assertLess(len(text), 160)


class FailureTests(FilterCase):
    def test_what_clamd_can_t_do_is_passed_or_deferred(self) -> None:
        for answer, why in (
            (b"stream: Can't allocate memory ERROR\0", "Can't allocate memory ERROR"),
            (b"stream: FOUND\0", "FOUND"),
            (b"stream: OK FOUND it\0", "OK FOUND it"),
            (b"\0", "its answer is empty"),
        ):
            for setting, check in (("pass", self.check_unjudged), ("defer", self.check_deferred)):
                self.endpoint.wires.clear()
                judging = self.judge(self.make(Clamd, on_failure=setting))
                self.endpoint.wire.say(answer)
                check(judging, why)

    def test_nobody_listens(self) -> None:
        self.endpoint.refuses = True
        self.check_unjudged(self.judge(self.make(Clamd)), "nobody is there")
        self.check_deferred(self.judge(self.make(Clamd, on_failure="defer")), "nobody is there")

    def test_nothing_comes_within_the_limit(self) -> None:
        judging = self.judge(self.make(Clamd, timeout_s=20.0))
        self.endpoint.wire.say(b"stream: ")
        self.clock.advance(19.9)
        self.assertNoResult(judging)
        self.clock.advance(0.2)
        self.check_unjudged(judging, "nothing within 20 s")
        self.assertTrue(self.endpoint.wire.is_aborted)

    def test_connecting_takes_too_long(self) -> None:
        self.endpoint.waits = True
        judging = self.judge(self.make(Clamd))
        self.clock.advance(30.1)
        self.check_unjudged(judging, "nothing within 30 s")

    def test_octets_that_drip_put_no_limit_off(self) -> None:
        judging = self.judge(self.make(Clamd))
        for _ in range(31):
            self.endpoint.wire.say(b"x")
            self.clock.advance(1.0)
        self.check_unjudged(judging, "nothing within 30 s")

    def test_it_hangs_up(self) -> None:
        for said in (b"", b"stream: Eicar-Test FOUND"):
            self.endpoint.wires.clear()
            judging = self.judge(self.make(Clamd))
            self.endpoint.wire.say(said)
            self.endpoint.wire.lose()
            self.check_unjudged(judging, "the connection was lost")

    def test_an_answer_without_an_end_is_not_gathered(self) -> None:
        judging = self.judge(self.make(Clamd))
        said = self.endpoint.wire.say_for_ever(b"x" * 1_000)
        self.assertLess(said, 10_000)
        self.check_unjudged(judging, "a line of its answer is over 4096 octets")

    def test_what_it_says_before_it_has_all_is_heard(self) -> None:
        """Past its StreamMaxLength it says so and hangs up."""
        reader = BlobReader(bytes(1 << 20))

        def heard(wire: object, data: bytes) -> None:
            if len(self.endpoint.wire.value()) > 200_000:
                self.endpoint.wire.say(b"INSTREAM size limit exceeded. ERROR\0")
                self.endpoint.wire.lose()

        self.endpoint.heard = heard
        scanner = self.make(Clamd, on_failure="defer")
        judging = self.judge(scanner, blob_message(reader))
        self.check_unjudged(judging, "INSTREAM size limit exceeded")
        self.assertEqual((0, 1), (scanner.failed, scanner.too_large))
        self.assertLess(reader.read_octets, 300_000)
        self.assertTrue(reader.closed)

    def test_a_mail_over_the_limit_is_not_sent(self) -> None:
        small = len(RECEIVED) + len(MAIL)
        scanner = self.make(Clamd, most_octets=small - 1)
        self.check_unjudged(self.judge(scanner), f"it is over {small - 1} octets")
        deferring = self.make(Clamd, most_octets=small - 1, on_too_large="defer")
        self.check_deferred(self.judge(deferring), f"it is over {small - 1} octets")
        self.assertEqual([], self.endpoint.wires)
        self.assertEqual((0, 0, 1), (scanner.asked, scanner.failed, scanner.too_large))
        judging = self.judge(self.make(Clamd, most_octets=small))
        self.endpoint.wire.say(b"stream: OK\0")
        self.successResultOf(judging)

    def test_failures_are_counted(self) -> None:
        scanner = self.make(Clamd)
        self.endpoint.refuses = True
        for _ in range(3):
            self.judge(scanner)
        self.endpoint.refuses = False
        self.judge(scanner)
        self.endpoint.wire.say(b"stream: OK\0")
        self.assertEqual((4, 3), (scanner.asked, scanner.failed))

    def test_a_failure_is_told_when_it_begins_and_when_it_ends(self) -> None:
        lines: list[str] = []
        hear = lambda event: lines.append(formatEvent(event))  # noqa: E731
        globalLogPublisher.addObserver(hear)
        self.addCleanup(globalLogPublisher.removeObserver, hear)
        scanner = self.make(Clamd)
        for said in (b"\0", b"\0", b"\0", b"stream: OK\0", b"stream: OK\0", b"\0", FOUND):
            self.endpoint.wires.clear()
            self.judge(scanner).addErrback(lambda failure: failure.trap(Refused))
            self.endpoint.wire.say(said)
        begin = "filter clamd does not judge, first mail 01JUDGED (pass): its answer is empty"
        self.assertEqual(
            [
                begin,
                "filter clamd judges again, after 3 mails",
                begin,
                "filter clamd judges again, after 1 mails",
            ],
            lines,
        )

    def test_while_it_puts_off_mail_it_says_so_and_why(self) -> None:
        for on_failure, says in (("defer", True), ("pass", False)):
            scanner = self.make(Clamd, on_failure=on_failure)
            self.assertEqual("", scanner.trouble)
            for _ in range(2):
                self.endpoint.wires.clear()
                self.judge(scanner).addErrback(lambda failure: failure.trap(FilterFailed))
                self.endpoint.wire.say(b"\0")
            told = scanner.trouble
            self.assertEqual(says, told.startswith("mail is put off (451), 2 times since "), told)
            self.assertEqual(says, told.endswith("clamd does not judge: its answer is empty"), told)
            self.endpoint.wires.clear()
            self.judge(scanner)
            self.endpoint.wire.say(b"stream: OK\0")
            self.assertEqual("", scanner.trouble)

    def test_a_setting_that_is_none_is_told(self) -> None:
        for name in ("on_failure", "on_too_large"):
            with self.assertRaisesRegex(ValueError, f'{name} is "pass" or "defer"'):
                self.make(Clamd, **{name: "drop"})


class BoundsTests(FilterCase):
    def test_no_more_is_read_of_a_mail_than_clamd_takes(self) -> None:
        reader = BlobReader(bytes(4 << 20))

        def heard(wire: object, data: bytes) -> None:
            self.endpoint.wire.protocol.pauseProducing()  # as a transport does past 64 KiB

        self.endpoint.heard = heard
        judging = self.judge(self.make(Clamd), blob_message(reader))
        self.assertEqual(0, reader.read_octets)  # the command is not out yet
        self.endpoint.wire.protocol.resumeProducing()  # now that is, and what is in front
        for pieces in range(5):
            self.assertEqual(65_536 * pieces, reader.read_octets)
            self.endpoint.wire.protocol.resumeProducing()
        self.assertNoResult(judging)
        self.clock.advance(31)
        self.check_unjudged(judging, "nothing within 30 s")
        self.assertTrue(reader.closed)

    def test_what_it_says_too_early_waits_in_the_kernel(self) -> None:
        reader = BlobReader(bytes(1 << 20))
        reader.held = Deferred()
        judging = self.judge(self.make(Clamd), blob_message(reader))
        said = self.endpoint.wire.say_for_ever(b"x" * 8_192)
        self.assertLessEqual(said, 65_536)
        reader.held.callback(b"x")
        self.check_unjudged(judging, "a line of its answer is over")

    def test_more_mails_than_it_may_have_wait(self) -> None:
        scanner = self.make(Clamd)
        asked = [self.judge(scanner) for _ in range(MOST_AT_ONCE + 2)]
        self.assertEqual(MOST_AT_ONCE, len(self.endpoint.wires))
        self.endpoint.wires[3].say(b"stream: OK\0")
        self.successResultOf(asked[3])
        self.assertEqual(MOST_AT_ONCE + 1, len(self.endpoint.wires))
        self.clock.advance(31)  # those that wait have no longer limit
        for each in (*asked[:3], *asked[4:]):
            self.check_unjudged(each, "nothing within 30 s")

    def test_a_thread_that_still_reads_is_not_disturbed(self) -> None:
        """A file that is closed in the middle of a read may be another's by then."""
        reader = BlobReader(bytes(1_000))
        reader.held = Deferred(lambda _: self.fail("it was cancelled"))
        judging = self.judge(self.make(Clamd), blob_message(reader))
        self.clock.advance(31)
        self.check_unjudged(judging, "nothing within 30 s")
        self.assertTrue(reader.closed)  # which the reader itself puts off
        reader.held.callback(b"x")

    def test_a_body_that_can_t_be_read_is_the_store_s_fault(self) -> None:
        reader = BlobReader(bytes(1_000))
        reader.held = Deferred()
        judging = self.judge(self.make(Clamd), blob_message(reader))
        reader.held.errback(Failure(StoreBroken()))
        self.assertIsInstance(self.refusal(judging), StoreBroken)
        unopened = Message(b"", Blob("key"), 3, b"")
        self.endpoint.wires.clear()
        self.assertIsInstance(self.refusal(self.judge(self.make(Clamd), unopened)), StoreBroken)

    def test_a_reader_that_is_closed_opens_nothing_again(self) -> None:
        reader = BlobReader(bytes(100))
        mail = MailReader.of(blob_message(reader))
        for expected in (RECEIVED, bytes(100), b"", b""):
            self.assertEqual(expected, self.successResultOf(mail.read()))
        mail.close()
        self.assertEqual(b"", self.successResultOf(mail.read()))
        self.assertEqual((1, True), (reader.opened, reader.closed))

    def test_nothing_that_is_read_later_is_sent(self) -> None:
        reader = BlobReader(bytes(1_000))
        reader.held = Deferred()
        self.judge(self.make(Clamd), blob_message(reader))
        self.endpoint.wire.lose()
        reader.held.callback(b"\xee" * 10)
        self.assertNotIn(b"\xee", self.endpoint.wire.value())

    def test_an_empty_mail(self) -> None:
        judging = self.judge(self.make(Clamd), message_of(b"", b""))
        self.assertEqual(b"", streamed(self.endpoint.wire.value()))
        self.endpoint.wire.say(b"stream: OK\0")
        self.assertEqual(Verdict(), self.successResultOf(judging))
