"""`mailnode.pop3.mailbox` and what reads it: locks, snapshots, and Twisted's server on top."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, succeed
from twisted.mail import pop3
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mailnode.errors import MaildropInUse, MailGone, StoreBusy, StoreFull
from mailnode.events import Fetched
from mailnode.interfaces import IMaildrop
from mailnode.model import Blob
from mailnode.pop3.body import FileBody, TopCut, ended
from mailnode.pop3.drop import BadArgument, NoSuchMail, OpenDrop, read_number
from mailnode.wire import head_of, stuff
from tests.fakes_pop3 import HEAD, FakePortal, ForeignMailbox, House, wire

MAIL = b"Subject: x\r\n\r\nbody\r\n"


class MaildropTests(SynchronousTestCase):  # type: ignore[misc]
    def open(self, *bodies: bytes | Blob) -> None:
        self.house = House(list(bodies))
        self.drop, self.logout = self.successResultOf(self.house.open())

    def fetch(self, *indices: int) -> Any:
        return self.successResultOf(self.drop.fetch(list(indices)))

    def test_it_is_what_both_servers_ask_for(self) -> None:
        self.open(MAIL)
        verifyObject(IMaildrop, self.drop)
        verifyObject(pop3.IMailbox, self.drop)

    def test_sizes_are_those_of_the_served_mail_and_0_for_a_deleted_one(self) -> None:
        self.open(MAIL, b"\r\n", b"")
        sizes = [len(HEAD + MAIL), len(HEAD) + 2, len(HEAD)]
        self.assertEqual(list(self.drop.listMessages()), sizes)
        self.drop.deleteMessage(1)
        self.assertEqual(list(self.drop.listMessages()), [sizes[0], 0, sizes[2]])
        self.assertEqual([self.drop.listMessages(i) for i in range(3)], [sizes[0], 0, sizes[2]])
        self.drop.undeleteMessages()
        self.assertEqual(list(self.drop.listMessages()), sizes)

    def test_an_index_out_of_range_is_a_value_error_as_twisted_wants_it(self) -> None:
        self.open(MAIL)
        for method in (self.drop.listMessages, self.drop.getUidl, self.drop.deleteMessage):
            for index in (-1, 1):
                self.assertRaises(ValueError, method, index)
        self.failureResultOf(self.drop.getMessage(1), ValueError)

    def test_unique_ids_are_of_the_folder_and_the_uid(self) -> None:
        self.open(MAIL, MAIL)
        self.assertEqual([self.drop.getUidl(i) for i in (0, 1)], [b"1000.11", b"1000.12"])

    def test_sync_deletes_what_is_marked_in_one_go(self) -> None:
        self.open(MAIL, MAIL, MAIL)
        self.drop.deleteMessage(2)
        self.drop.deleteMessage(0)
        self.successResultOf(self.drop.sync())
        self.assertEqual(self.house.messages.deleted, [11, 13])
        self.drop.undeleteMessages()
        self.assertEqual(self.drop.listMessages(0), 0)

    def test_a_sync_that_fails_deletes_nothing_and_may_be_tried_again(self) -> None:
        self.open(MAIL)
        self.drop.deleteMessage(0)
        self.house.messages.fault = StoreFull()
        self.failureResultOf(self.drop.sync(), StoreFull)
        self.assertEqual(self.drop.told().detail["deleted"], "")
        self.house.messages.fault = None
        self.successResultOf(self.drop.sync())
        self.assertEqual(self.house.messages.deleted, [11])

    def test_several_mails_are_read_in_one_go(self) -> None:
        self.open(MAIL, b".x\r\n", MAIL)
        found = [(head + body, dots) for head, body, dots in self.fetch(0, 1)]
        self.assertEqual(found, [(HEAD + MAIL, 0), (HEAD + b".x\r\n", 1)])
        self.assertEqual(self.house.messages.reads, [[11, 12]])

    def test_reading_stops_before_a_mail_that_is_gone(self) -> None:
        self.open(MAIL, MAIL, MAIL)
        self.house.messages.deleted.append(12)
        self.assertEqual(len(self.fetch(0, 1, 2)), 1)
        self.failureResultOf(self.drop.fetch([1, 2]), MailGone)

    def test_a_blob_is_opened_only_when_it_is_the_first(self) -> None:
        self.open(MAIL, Blob("640"), MAIL)
        self.assertEqual(len(self.fetch(0, 1, 2)), 1)
        self.assertEqual(self.house.blobs.opened, [])
        self.assertEqual(len(self.fetch(1, 2)), 2)
        self.assertEqual(len(self.house.blobs.opened), 1)

    def test_get_message_gives_a_file_with_lf_lines_of_a_row_and_of_a_blob(self) -> None:
        self.open(MAIL, Blob("128"))
        head = HEAD.replace(b"\r\n", b"\n")
        file = self.successResultOf(self.drop.getMessage(0))
        self.assertEqual(file.read(), head + b"Subject: x\n\nbody\n")
        file = self.successResultOf(self.drop.getMessage(1))
        self.assertEqual(file.read(), head + (b"b" * 62 + b"\n") * 2)
        self.assertEqual(self.house.blobs.opened[0].closed, 1)


class LockTests(SynchronousTestCase):  # type: ignore[misc]
    def test_p17_a_maildrop_is_opened_once_at_a_time(self) -> None:
        house = House([MAIL])
        _, logout = self.successResultOf(house.open())
        self.failureResultOf(house.open(), MaildropInUse)
        logout()
        self.successResultOf(house.open())

    def test_logout_frees_and_tells_once(self) -> None:
        house = House([MAIL])
        _, logout = self.successResultOf(house.open())
        logout()
        self.successResultOf(house.open())
        logout()
        self.assertEqual((house.locks.released, house.locks.held), ([5], {5}))
        self.assertEqual(len(house.told), 1)

    def test_a_maildrop_that_cannot_be_read_is_free_again(self) -> None:
        house = House([MAIL])
        house.messages.fault = StoreBusy()
        self.failureResultOf(house.open(), StoreBusy)
        self.assertEqual((house.locks.held, house.told), (set(), []))

    def test_nobody_has_no_maildrop(self) -> None:
        house = House()
        self.failureResultOf(house.maildrops().open(None), UnauthorizedLogin)

    def test_the_end_of_a_session_tells_what_it_read_and_deleted_as_ranges_of_uids(self) -> None:
        house = House([MAIL] * 6)
        drop, logout = self.successResultOf(house.open())
        drop.client = "192.0.2.1"
        for index in (0, 1, 2, 4):
            drop.mark_read(index)
        drop.deleteMessage(5)
        drop.deleteMessage(3)
        drop.undeleteMessages()
        drop.deleteMessage(5)
        self.successResultOf(drop.sync())
        drop.deleteMessage(0)
        logout()
        (event,) = house.told
        self.assertIsInstance(event, Fetched)
        self.assertEqual(event.detail, {"read": "11-13,15", "deleted": "16"})
        self.assertEqual(
            (event.recipient, event.folder_id, event.client), ("alice@example.test", 7, "192.0.2.1")
        )


class StockServerTests(SynchronousTestCase):  # type: ignore[misc]
    """Twisted's own `pop3.POP3` serves our maildrop."""

    def setUp(self) -> None:
        self.house = House([b"Subject: one\r\n\r\n.dot\r\nend\r\n", MAIL])
        self.server = pop3.POP3()
        self.server.portal = FakePortal(self.house.open)
        self.server.schedule = self.at_once
        self.server.callLater = lambda *args: FakeCall()
        self.wire = wire()
        self.server.makeConnection(self.wire)

    def at_once(self, steps: Any) -> Deferred[None]:
        for _ in steps:
            pass
        return succeed(None)

    def say(self, line: bytes) -> bytes:
        self.wire.clear()
        self.server.dataReceived(line + b"\r\n")
        while self.wire.producer is not None:
            self.wire.producer.resumeProducing()
        return bytes(self.wire.value())

    def test_a_whole_session(self) -> None:
        self.say(b"USER alice")
        self.assertIn(b"+OK", self.say(b"PASS secret"))
        one, two = len(HEAD) + 27, len(HEAD + MAIL)
        self.assertEqual(self.say(b"STAT"), b"+OK 2 %d\r\n" % (one + two))
        self.assertIn(b"\r\n1 %d\r\n2 %d\r\n.\r\n" % (one, two), self.say(b"LIST"))
        self.assertIn(b"\r\n1 1000.11\r\n2 1000.12\r\n.\r\n", self.say(b"UIDL"))
        self.assertEqual(
            self.say(b"RETR 1"),
            b"+OK %d\r\n%bSubject: one\r\n\r\n..dot\r\nend\r\n.\r\n" % (one, HEAD),
        )
        self.assertIn(b"Subject: x\r\n\r\n", self.say(b"TOP 2 0"))
        self.assertEqual(self.say(b"DELE 2"), b"+OK \r\n")
        self.assertIn(b"-ERR", self.say(b"RETR 2"))
        self.assertEqual(self.say(b"QUIT"), b"+OK \r\n")
        self.assertEqual(self.house.messages.deleted, [12])
        self.server.connectionLost(None)
        self.assertEqual(self.house.locks.released, [5])
        self.assertEqual(self.house.told[0].detail, {"read": "11-12", "deleted": "12"})


class FakeCall:
    def cancel(self) -> None:
        pass

    def reset(self, seconds: float) -> None:
        pass

    def active(self) -> bool:
        return False


class NumberTests(SynchronousTestCase):  # type: ignore[misc]
    def drop(self, *sizes: int) -> OpenDrop:
        mailbox = ForeignMailbox(*(b"x" * size for size in sizes))
        return self.successResultOf(Deferred.fromCoroutine(OpenDrop.of(mailbox)))

    def test_p08_only_ascii_digits_are_a_number(self) -> None:
        for text in (b"", b"-1", b"+1", b" 1", b"1 ", b"1_0", b"0x1", "\u0661".encode(), b"1" * 11):
            self.assertRaises(BadArgument, read_number, text)
        self.assertEqual((read_number(b"0"), read_number(b"007")), (0, 7))

    def test_p08_a_number_is_1_to_n(self) -> None:
        drop = self.drop(1, 1)
        self.assertEqual((drop.index_of(b"1"), drop.index_of(b"2")), (0, 1))
        for number in (b"0", b"3", b"4294967297"):
            self.assertRaises(NoSuchMail, drop.index_of, number)

    def test_what_is_named_is_planned_before_what_is_guessed(self) -> None:
        drop = self.drop(*[10_000] * 20)
        self.assertEqual(drop.plan(3), [3, 4, 5, 6, 7, 8])
        self.assertEqual(
            drop.plan(0, b"RETR 11\r\nDELE 1\r\ntop 13 0\r\n"), [0, 10, 12, 13, 14, 15]
        )
        self.assertEqual(drop.plan(0, b"xRETR 9\r\n", 1)[:2], [0, 8])

    def test_nothing_behind_another_command_is_planned(self) -> None:
        drop = self.drop(*[60_000] * 20)
        for waiting in (
            b"QUIT\r\nRETR 5\r\n",
            b"RETR 5",
            b"RETR five\r\n",
            b"RETR 0\r\n",
            b"RETR 21\r\n",
        ):
            self.assertEqual(drop.plan(0, waiting), [0])

    def test_what_is_marked_or_stands_before_is_not_planned(self) -> None:
        drop = self.drop(*[20_000] * 8)
        drop.mark(2)
        self.assertEqual(drop.plan(1), [1])
        self.assertEqual(drop.plan(4, b"RETR 4\r\nRETR 3\r\nRETR 6\r\n"), [4, 5, 6])

    def test_a_mail_over_every_bound_is_planned_alone(self) -> None:
        self.assertEqual(self.drop(2 << 20, 10).plan(0, b"RETR 2\r\n"), [0])


pieces = st.one_of(
    st.sampled_from([b"\r\n", b"\r", b"\n", b".", b"a", b"\r\n\r\n"]), st.binary(max_size=3)
)
octets = st.lists(pieces, max_size=25).map(b"".join)
cuts = st.lists(st.integers(min_value=1, max_value=5), max_size=60)


def cut(data: bytes, lengths: list[int]) -> list[bytes]:
    chunks = []
    for length in lengths:
        chunks.append(data[:length])
        data = data[length:]
    return [chunk for chunk in [*chunks, data] if chunk]


class BodyTests(SynchronousTestCase):  # type: ignore[misc]
    @settings(max_examples=400, deadline=None)
    @given(octets, cuts, st.integers(min_value=0, max_value=4))
    def test_p11_a_top_in_chunks_is_that_of_the_whole(
        self, data: bytes, lengths: list[int], lines: int
    ) -> None:
        top, out = TopCut(lines), b""
        for chunk in cut(data, lengths):
            if not top.done:
                out += top.feed(chunk)
        self.assertEqual(out, head_of(data, lines))

    def test_a_top_of_all_of_many_short_lines_is_quick(self) -> None:
        def best_s(work: Callable[[], object]) -> float:
            took = []
            for _ in range(5):
                began = time.process_time()
                work()
                took.append(time.process_time() - began)
            return min(took)

        chunk = b"A: b\r\n\r\n" + b"\r\n" * 131_000
        top_s = best_s(lambda: TopCut(999_999_999).feed(chunk))
        self.assertLess(top_s, best_s(lambda: chunk.split(b"\r\n")))

    @settings(max_examples=400, deadline=None)
    @given(octets, cuts)
    def test_a_foreign_file_comes_with_crlf_lines_however_it_is_read(
        self, data: bytes, lengths: list[int]
    ) -> None:
        body = FileBody(Chunks(cut(data, lengths)))
        out = b""
        while chunk := body.read(1):
            out += chunk
        self.assertEqual(out, re.sub(rb"(?<!\r)\n", b"\r\n", data))

    @settings(max_examples=200, deadline=None)
    @given(octets)
    def test_a_mail_without_dot_lines_ends_as_stuffing_would_end_it(self, data: bytes) -> None:
        for head in (b"", b"A: b\r\n"):
            if not data.startswith(b".") and b"\r\n." not in data:
                self.assertEqual(b"".join(ended(head, data, 0)), stuff(head + data))
            self.assertEqual(b"".join(ended(head, data, None)), stuff(head + data))


class Chunks:
    """A file that gives its octets in these pieces."""

    def __init__(self, pieces: list[bytes]) -> None:
        self.pieces = pieces

    def read(self, count: int) -> bytes:
        return self.pieces.pop(0) if self.pieces else b""
