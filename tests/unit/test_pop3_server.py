"""`mailnode.pop3.server`: what a dialog can't show: who waits for whom, writes, bounds, seats."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.mail import pop3
from zope.interface.verify import verifyObject

from mailnode.errors import SignInBusy, StoreBroken, StoreBusy
from mailnode.model import Blob
from mailnode.pop3.mailbox import Maildrop
from mailnode.pop3.sending import SLICE_MAILS
from mailnode.pop3.server import Pop3Server
from tests.fakes_pop3 import HEAD, ForeignMailbox, House, KernelWire, LateMailbox, wire
from tests.unit.pop3_case import Pop3Case

MAIL = b"Subject: x\r\n\r\nbody\r\n"
SERVED = HEAD + MAIL
REPLY = b"+OK %d octets\r\n%b.\r\n" % (len(SERVED), SERVED)


def mail_of(size: int) -> bytes:
    """A mail that is served with `size` octets."""
    return b"x" * (size - len(HEAD) - 2) + b"\r\n"


class PipelineTests(Pop3Case):
    def test_p02_while_the_client_does_not_read_nothing_is_parsed_and_input_is_paused(self) -> None:
        self.house(mail_of(200_000))
        self.say(b"RETR 1", *[b"NOOP"] * 1000)
        self.assertEqual(self.wire.writes, [self.wire.writes[0]])
        self.server.dataReceived(b"NOOP\r\n" * 1000)
        self.assertEqual(self.wire.producerState, "paused")
        self.wire.read()
        self.assertEqual(self.take().count(b"+OK\r\n"), 2000)
        self.assertEqual(self.wire.producerState, "producing")

    def test_p02_many_small_commands_with_large_replies_do_not_fill_memory(self) -> None:
        self.house(*[MAIL] * 1000)
        self.send(*[b"LIST"] * 300)
        self.assertEqual(self.read_all().count(b"+OK 1000 messages"), 300)
        self.assertLess(self.wire.most, 3 * 65536)

    def test_p01_a_bug_in_one_verb_is_a_temporary_failure_and_the_session_goes_on(self) -> None:
        class Broken(Pop3Server):
            def do_XBUG(self) -> None:
                raise KeyError("/var/secret")

        self.session(lambda: ForeignMailbox(), protocol=Broken)
        said = self.say(b"XBUG", b"NOOP")
        self.assertRegex(said, rb"^-ERR \[SYS/TEMP\] [^/]*\r\n\+OK\r\n$")
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_half_a_command_waits_for_its_other_half(self) -> None:
        self.house()
        self.server.dataReceived(b"NO")
        self.assertEqual(self.take(), b"")
        self.server.dataReceived(b"OP\r\nNOO")
        self.assertEqual(self.take(), b"+OK\r\n")

    def test_a_half_closed_client_gets_all_that_it_asked_for(self) -> None:
        self.house(mail_of(262_060), MAIL)
        self.say(b"RETR 1", b"RETR 2", b"QUIT")
        self.server.readConnectionLost()
        self.assertFalse(self.wire.disconnecting)
        self.wire.read()
        self.assertEqual(self.take(), REPLY + b"+OK Bye\r\n")
        self.assertTrue(self.wire.disconnecting)


class SignInTests(Pop3Case):
    def test_p04_commands_behind_a_sign_in_wait_for_it(self) -> None:
        self.session(lambda: ForeignMailbox(b"x\n"), signed_in=False)
        self.portal.held = held = Deferred()
        self.assertEqual(self.say(b"USER alice", b"PASS secret", b"STAT"), b"+OK Send PASS\r\n")
        held.callback(None)
        self.assertEqual(self.take(), b"+OK 1 messages (2 octets)\r\n+OK 1 2\r\n")

    def test_an_account_that_changes_while_its_maildrop_is_opened_lets_nobody_in(self) -> None:
        maildrop: Deferred[Any] = Deferred()
        self.session(lambda: maildrop, signed_in=False)
        self.say(b"USER alice", b"PASS secret")
        self.sessions.revoke(lambda name: name == "alice")
        maildrop.callback(ForeignMailbox(MAIL))
        self.assertEqual(self.take(), b"-ERR [AUTH] Your account has changed, sign in again\r\n")
        self.assertEqual(self.say(b"LIST"), b"")
        self.assertTrue(self.wire.disconnecting)
        self.assertEqual(self.portal.logouts, 1)

    def test_it_is_so_behind_auth_too(self) -> None:
        maildrop: Deferred[Any] = Deferred()
        self.session(lambda: maildrop, signed_in=False)
        self.say(b"AUTH PLAIN " + b64encode(b"\0alice\0secret"))
        self.sessions.revoke(lambda name: name == "alice")
        maildrop.callback(ForeignMailbox(MAIL))
        self.assertTrue(self.take().startswith(b"-ERR [AUTH]"))

    def test_a_sign_in_that_failed_leaves_nothing_to_revoke(self) -> None:
        self.session(lambda: ForeignMailbox(MAIL), signed_in=False)
        self.portal.held = Deferred()
        self.say(b"USER mallory", b"PASS wrong")
        self.sessions.revoke(lambda name: True)
        self.portal.held.callback(None)
        self.clock.advance(10)
        self.assertTrue(self.take().startswith(b"-ERR"))
        self.sessions.revoke(lambda name: True)
        self.assertRegex(self.say(b"USER alice", b"PASS secret"), rb"^\+OK.*\r\n\+OK 1 ")

    def test_p04_who_leaves_during_the_sign_in_is_logged_out_once(self) -> None:
        self.session(lambda: ForeignMailbox(), signed_in=False)
        self.portal.held = held = Deferred()
        self.say(b"USER alice", b"PASS secret")
        self.lose()
        self.assertEqual(self.portal.logouts, 0)
        held.callback(None)
        self.assertEqual(self.portal.logouts, 1)

    def test_p04_who_leaves_while_the_mailbox_is_listed_is_logged_out_once(self) -> None:
        mailbox = LateMailbox()
        self.session(lambda: mailbox, signed_in=False)
        self.say(b"USER alice", b"PASS secret")
        self.lose()
        self.assertEqual(self.portal.logouts, 1)
        mailbox.fire()
        self.assertEqual(self.portal.logouts, 1)

    def test_p04_quit_logs_out_once_before_it_replies(self) -> None:
        self.session(lambda: ForeignMailbox())
        self.say(b"QUIT")
        self.assertEqual(self.portal.logouts, 1)
        self.lose()
        self.assertEqual(self.portal.logouts, 1)

    def test_p04_a_lost_connection_logs_out_at_once(self) -> None:
        self.session(lambda: ForeignMailbox())
        self.lose()
        self.assertEqual(self.portal.logouts, 1)

    def test_p04_a_mailbox_that_cannot_be_listed_is_logged_out_and_one_may_try_again(self) -> None:
        mailbox = ForeignMailbox()
        self.session(lambda: mailbox, signed_in=False)
        self.patch(mailbox, "listMessages", lambda: fail(StoreBusy()))
        said = self.say(b"USER alice", b"PASS secret", b"STAT")
        self.assertIn(b"-ERR [SYS/TEMP] The mail store is busy", said)
        self.assertIn(b"-ERR Sign in first", said)
        self.assertEqual(self.portal.logouts, 1)
        self.assertEqual(self.server.errors, 1)

    def test_p07_a_password_may_have_spaces_also_at_its_ends(self) -> None:
        self.session(lambda: ForeignMailbox(), signed_in=False)
        self.portal.password = b" a  b "
        self.assertIn(b"+OK 0 messages", self.say(b"USER alice", b"PASS  a  b "))

    def test_the_portal_is_told_where_the_client_is(self) -> None:
        self.session(lambda: ForeignMailbox(), signed_in=False)
        self.say(b"USER alice", b"PASS secret")
        self.assertEqual(self.portal.asked, [(b"alice", b"secret", "127.0.0.1")])

    def test_p13_nobody_beyond_loopback_is_asked_for_a_password_in_clear(self) -> None:
        self.session(lambda: ForeignMailbox(), peer="192.0.2.1", signed_in=False)
        said = self.say(b"USER alice", b"PASS secret", b"AUTH PLAIN AGFsaWNlAHNlY3JldA==")
        self.assertEqual(said.count(b"-ERR Signing in needs encryption"), 3)
        self.assertEqual(self.portal.asked, [])

    def test_p19_three_failures_end_the_session_with_one_text(self) -> None:
        self.session(lambda: ForeignMailbox(), signed_in=False)
        self.portal.password = b"another"
        said = self.say(*[b"USER alice", b"PASS secret"] * 4)
        failed = b"+OK Send PASS\r\n-ERR [AUTH] Authentication failed\r\n"
        self.assertEqual(said, failed * 3)
        self.assertTrue(self.wire.disconnecting)

    def test_p19_a_busy_password_check_is_temporary_and_no_failure(self) -> None:
        self.session(lambda: fail(SignInBusy()), signed_in=False)
        said = self.say(*[b"USER alice", b"PASS secret"] * 5)
        self.assertEqual(said.count(b"-ERR [SYS/TEMP] Temporary authentication failure"), 5)
        self.assertFalse(self.wire.disconnecting)

    def test_a_portal_that_fails_tells_nothing_of_why(self) -> None:
        self.session(lambda: fail(RuntimeError("/etc/shadow")), signed_in=False)
        said = self.say(b"USER alice", b"PASS secret")
        self.assertRegex(said, rb"-ERR \[SYS/TEMP\] Temporary failure[^/]*\r\n$")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)


class UpdateTests(Pop3Case):
    def test_p09_quit_replies_after_the_deletion_and_frees_the_maildrop_before(self) -> None:
        house = self.house(MAIL, MAIL)
        house.messages.held = held = Deferred()
        self.assertEqual(self.say(b"DELE 1", b"QUIT"), b"+OK Marked\r\n")
        self.assertEqual(house.locks.released, [])
        held.callback(None)
        self.assertEqual(self.take(), b"+OK Bye\r\n")
        self.assertEqual((house.messages.deleted, house.locks.released), ([11], [5]))

    def test_p09_who_leaves_while_quit_deletes_frees_the_maildrop_after_the_deletion(self) -> None:
        house = self.house(MAIL)
        house.messages.held = held = Deferred()
        self.say(b"DELE 1", b"QUIT")
        self.lose()
        self.assertEqual(house.locks.released, [])
        held.callback(None)
        self.assertEqual((house.messages.deleted, house.locks.released), ([11], [5]))
        self.assertEqual(house.told[0].detail, {"read": "", "deleted": "11"})

    def test_p09_a_deletion_that_fails_is_said_and_frees_the_maildrop(self) -> None:
        house = self.house(MAIL)
        self.say(b"DELE 1")
        house.messages.fault = StoreBusy(detail="/var/mail.db")
        self.assertRegex(self.say(b"QUIT"), rb"^-ERR \[SYS/TEMP\] [^/]*\r\n$")
        self.assertTrue(self.wire.disconnecting)
        self.assertEqual((house.messages.deleted, house.locks.released), ([], [5]))

    def test_quit_before_the_sign_in_just_ends(self) -> None:
        self.session(lambda: ForeignMailbox(), signed_in=False)
        self.assertEqual(self.say(b"QUIT"), b"+OK Bye\r\n")
        self.assertTrue(self.wire.disconnecting)


class ReadingTests(Pop3Case):
    def test_p16_nagle_is_off(self) -> None:
        self.house()
        self.assertTrue(self.wire.no_delay)

    def test_p16_reply_mail_and_dot_are_one_write(self) -> None:
        self.house(MAIL)
        self.say(b"RETR 1")
        self.assertEqual(self.wire.writes, [REPLY])

    def test_p16_mails_asked_for_together_are_read_once_and_written_once(self) -> None:
        house = self.house(*[mail_of(20_000)] * 8)
        self.say(b"RETR 1", b"RETR 2", b"DELE 1", b"RETR 3")
        self.assertEqual(house.messages.reads, [[11, 12, 13]])
        self.assertEqual(len(self.wire.writes), 1)

    def test_p16_what_is_asked_for_together_is_answered_in_its_order(self) -> None:
        mails = [b"%d\r\n" % number for number in range(1, 7)]
        mails[2] = b".3\r\n"
        house = self.house(*mails)
        asked = [b"RETR 1", b"RETR 2", b"retr 4", b"RETR 3", b"RETR 5", b"RETR 7", b"RETR 0",
                 b"RETR 5", b"DELE 6", b"RETR 6", b"NOOP"]  # fmt: skip
        by_one = [self.say(line) for line in asked]
        house = self.house(*mails)
        self.assertEqual(self.say(*asked), b"".join(by_one))
        self.say(b"QUIT")
        self.assertEqual(house.told[0].detail, {"read": "11-15", "deleted": "16"})

    def test_p16_no_more_is_made_for_who_does_not_read_than_one_write(self) -> None:
        self.house(*[mail_of(10_000)] * 60)
        self.send(*[b"RETR %d" % number for number in range(1, 61)])
        self.assertLess(self.wire.most, 330 << 10)
        self.assertEqual(self.read_all().count(b"+OK"), 60)

    def test_p02_nothing_more_is_made_once_the_client_is_behind(self) -> None:
        self.house(*[mail_of(60 << 10)] * 16)
        self.send(*[b"RETR %d" % number for number in range(1, 17)])
        self.assertLess(self.wire.most, 330 << 10)
        self.assertEqual(self.read_all().count(b"+OK"), 16)

    def test_p16_what_the_kernel_takes_leaves_at_once_and_no_more_is_buffered(self) -> None:
        mails = [mail_of(size << 10) for size in (20, 60, 9, 90, 30, 70, 40, 50)]
        replies = [b"+OK %d octets\r\n" % (len(HEAD) + len(mail)) + HEAD + mail + b".\r\n"
                   for mail in mails]  # fmt: skip
        asked = [b"RETR %d" % number for number in range(1, 9)]
        for room in (0, 1, 70_000, len(b"".join(replies[:3])), 200_000, 1 << 20):
            house = House(list(mails))
            wire = self.session(house.open, over=KernelWire)
            assert isinstance(wire, KernelWire)
            wire.sent.clear()
            wire.room = room
            self.send(*asked)
            self.assertLess(self.wire.most, 330 << 10)
            if room > 1:
                self.assertEqual(wire.sent[:1], [min(room, len(b"".join(replies)))])
            if room == 70_000:
                self.assertEqual(wire.writes[0], b"".join(replies[:2])[room:])
            self.assertEqual(self.read_all(), b"".join(replies))
            self.lose()
            self.assertEqual(house.told[0].detail["read"], "11-18")

    def test_p16_a_large_mail_that_was_read_ahead_goes_out_in_chunks_too(self) -> None:
        self.house(b"1\r\n", b"2\r\n", mail_of(600 << 10), b"4\r\n")
        self.send(*[b"RETR %d" % number for number in range(1, 5)])
        self.assertLess(self.wire.most, 300 << 10)
        self.assertEqual(self.read_all().count(b"+OK"), 4)

    def test_p16_what_follows_is_read_ahead_up_to_64_kib(self) -> None:
        house = self.house(*[mail_of(20_000)] * 20)
        self.say(b"RETR 1")
        self.assertEqual(house.messages.reads, [[11, 12, 13]])
        self.say(b"RETR 2")
        self.say(b"RETR 3")
        self.assertEqual(house.messages.reads, [[11, 12, 13]])
        self.say(b"RETR 5")
        self.assertEqual(house.messages.reads[1:], [[15, 16, 17]])

    def test_p16_the_guess_grows_to_512_kib_while_it_is_right(self) -> None:
        house = self.house(*[mail_of(20_000)] * 90)
        for number in range(1, 49):
            self.send(b"RETR %d" % number)
            self.read_all()
        self.assertEqual([len(uids) for uids in house.messages.reads], [3, 6, 13, 26])
        self.send(b"RETR 55")
        self.assertEqual(len(house.messages.reads[-1]), 3)

    def test_p16_a_batch_has_64_mails_and_1_mib_at_most(self) -> None:
        house = self.house(*[MAIL] * 100)
        self.say(*[b"RETR %d" % number for number in range(1, 101)])
        self.assertEqual([len(uids) for uids in house.messages.reads], [64, 36])
        house = self.house(*[mail_of(250 << 10)] * 8)
        self.send(*[b"RETR %d" % number for number in range(1, 9)])
        self.read_all()
        self.assertEqual([len(uids) for uids in house.messages.reads], [4, 4])

    def test_a_maildrop_of_others_may_give_its_mails_in_any_row_and_none_is_gone(self) -> None:
        self.house(MAIL, MAIL)
        found: list[Any] = [((b"", SERVED, 0),), ()]
        self.patch(Maildrop, "fetch", lambda drop, indices: succeed(found.pop(0)))
        self.assertEqual(self.say(b"RETR 1"), REPLY)
        self.assertRegex(self.say(b"RETR 2"), rb"^-ERR ")
        self.assertEqual(self.say(b"NOOP"), b"+OK\r\n")

    def test_who_is_revoked_while_mails_are_read_gets_the_one_that_is_under_way(self) -> None:
        house = self.house(*[MAIL] * 5)
        held: Deferred[None] = Deferred()
        read = house.messages.read_run
        late = lambda _, *args: held.addCallback(lambda _: read(*args))  # noqa: E731
        self.patch(type(house.messages), "read_run", late)
        self.assertEqual(self.say(*[b"RETR %d" % number for number in range(1, 6)]), b"")
        self.sessions.revoke(lambda account: True)
        held.callback(None)
        said = self.take()
        self.assertEqual(said.count(b"+OK"), 1)
        self.assertRegex(said[len(REPLY) :], rb"^-ERR \[AUTH\]")

    def test_what_was_read_ahead_and_marked_is_not_read_again(self) -> None:
        house = self.house(MAIL, MAIL, MAIL)
        self.say(b"RETR 1")
        self.assertIn(b"marked as deleted", self.say(b"DELE 2", b"RETR 2"))
        self.assertEqual(self.say(b"RETR 3"), REPLY)
        self.assertEqual(len(house.messages.reads), 1)

    def test_what_was_read_ahead_is_forgotten_by_an_idle_session(self) -> None:
        self.house(MAIL, MAIL)
        self.say(b"RETR 1")
        self.assertIn(1, self.server.drop.ahead)
        self.wait(11)
        self.assertFalse(self.server.drop.ahead)
        self.assertEqual(self.say(b"RETR 2"), REPLY)

    def test_only_mail_that_was_sent_is_told_as_read(self) -> None:
        house = self.house(MAIL, MAIL, MAIL)
        self.say(b"RETR 2", b"TOP 1 0", b"QUIT")
        self.assertEqual(house.told[0].detail, {"read": "12", "deleted": ""})
        self.assertEqual(house.told[0].client, "127.0.0.1")

    def test_a_top_that_gave_all_of_a_mail_is_told_as_read(self) -> None:
        lines = b"".join(b"%d\r\n" % number for number in range(3))
        house = self.house(b"\r\n" + lines, b"\r\n" + lines, b"\r\n" + lines, Blob("640"))
        self.send(b"TOP 1 99999999", b"TOP 2 3", b"TOP 3 2", b"TOP 4 99999999", b"QUIT")
        self.read_all()
        self.assertEqual(house.told[0].detail, {"read": "11-12,14", "deleted": ""})

    def test_a_mail_that_is_gone_is_said_and_counts_as_no_error(self) -> None:
        house = self.house(MAIL, MAIL)
        house.messages.deleted.append(11)
        gone = b"-ERR That message is no longer here\r\n"
        self.assertEqual(self.say(*[b"RETR 1"] * 20, b"RETR 2"), gone * 20 + REPLY)

    def test_p16_a_large_mail_goes_out_in_chunks_as_the_client_reads(self) -> None:
        body = b"".join(b".%062d\r\n" % line for line in range(20_000))
        self.house(body)
        self.send(b"RETR 1")
        said = self.read_all()
        served = (HEAD + body).replace(b"\r\n.", b"\r\n..")
        self.assertEqual(said, b"+OK %d octets\r\n%b.\r\n" % (len(HEAD + body), served))
        self.assertLess(self.wire.most, 300 << 10)
        self.assertEqual(len(self.wire.writes), 6)

    def test_p16_a_blob_is_read_chunk_by_chunk_and_closed(self) -> None:
        house = self.house(Blob(str(64 * 20_000)))
        self.send(b"RETR 1", b"NOOP")
        self.assertGreater(house.blobs.opened[0].left, 64 * 10_000)
        said = self.read_all()
        self.assertTrue(said.endswith(b"b\r\n.\r\n+OK\r\n"))
        self.assertEqual(said.count(b"b" * 62 + b"\r\n"), 20_000)
        self.assertEqual(house.blobs.opened[0].closed, 1)
        self.assertLess(self.wire.most, 600 << 10)

    def test_a_small_blob_is_one_write_too(self) -> None:
        house = self.house(Blob("640"))
        self.say(b"RETR 1")
        self.assertEqual(len(self.wire.writes), 1)
        self.assertEqual(house.blobs.opened[0].closed, 1)

    def test_top_of_a_blob_reads_no_more_than_it_needs(self) -> None:
        house = self.house(Blob(str(64 * 20_000)))
        self.send(b"TOP 1 1")
        self.assertEqual(self.read_all().count(b"b" * 62), 20_000)  # no blank line: all is header
        self.assertEqual(house.blobs.opened[0].closed, 1)
        house.blobs.blank_line = True
        self.send(b"TOP 1 1")
        self.assertEqual(self.read_all(), b"+OK\r\n" + HEAD + b"\r\n" + b"b" * 62 + b"\r\n.\r\n")
        self.assertGreater(house.blobs.opened[1].left, 64 * 10_000)
        self.assertEqual(house.blobs.opened[1].closed, 1)

    def test_who_leaves_in_the_middle_of_a_blob_closes_it(self) -> None:
        house = self.house(Blob(str(64 * 20_000)))
        self.say(b"RETR 1")
        self.lose()
        self.assertEqual(house.blobs.opened[0].closed, 1)
        self.assertEqual(house.told[0].detail["read"], "")

    def test_a_blob_that_cannot_be_read_at_all_is_an_error(self) -> None:
        house = self.house(Blob("640"))
        house.blobs.breaks_at = 640
        self.assertRegex(self.say(b"RETR 1", b"NOOP"), rb"^-ERR \[SYS/TEMP\] [^/]*\r\n\+OK\r\n$")
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_a_blob_of_another_size_than_the_mails_is_never_served_as_the_mail(self) -> None:
        for lost in (64, 640, -64):
            house = self.house(Blob("640"))
            house.blobs.lost = lost
            said = self.say(b"RETR 1", b"NOOP")
            self.assertRegex(said, rb"^-ERR \[SYS/TEMP\] [^/]*\r\n\+OK\r\n$")

    def test_a_large_blob_that_is_cut_short_ends_the_connection(self) -> None:
        house = self.house(Blob(str(64 * 20_000)))
        house.blobs.lost = 64
        self.send(b"RETR 1", b"NOOP")
        said = self.read_all()
        self.assertTrue(self.wire.aborted)
        self.assertFalse(said.endswith(b".\r\n") or b"-ERR" in said)
        self.assertEqual(len(self.flushLoggedErrors(StoreBroken)), 1)

    def test_a_blob_that_breaks_off_ends_the_connection(self) -> None:
        house = self.house(Blob(str(64 * 20_000)))
        house.blobs.breaks_at = 64 * 4000
        self.send(b"RETR 1", b"NOOP")
        said = self.read_all()
        self.assertTrue(self.wire.aborted)
        self.assertFalse(said.endswith(b".\r\n") or b"-ERR" in said)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_what_was_asked_for_behind_a_mail_that_was_cut_off_is_not_done(self) -> None:
        house = self.house(Blob(str(64 * 20_000)), b"two\r\n")
        house.blobs.breaks_at = 64 * 4000
        self.send(b"RETR 1", b"RETR 2", b"DELE 1", b"QUIT")
        self.assertTrue(self.read_all().endswith(b"b\r\n"))
        self.send(b"RETR 2")
        self.assertEqual((self.take(), house.messages.deleted), (b"", []))
        self.lose()
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)


class ListTests(Pop3Case):
    def test_lists_of_100_000_mails_are_made_in_slices_and_wait_for_the_client(self) -> None:
        self.house(*[MAIL] * 100_000)
        for command, line in ((b"LIST", b"%d 70"), (b"UIDL", b"%d 1000.%d")):
            self.wire.most = 0
            self.wire.writes.clear()
            self.send(command, b"NOOP")
            said = self.read_all()
            lines = said.split(b"\r\n")
            self.assertEqual(len(lines), 1 + 100_000 + 1 + 1 + 1)
            last = line % ((100_000,) if command == b"LIST" else (100_000, 100_010))
            self.assertEqual(
                lines[-4:], [last.replace(b"70", b"%d" % len(SERVED)), b".", b"+OK", b""]
            )
            self.assertLess(self.wire.most, 300 << 10)
            self.assertLessEqual(max(w.count(b"\n") for w in self.wire.writes), SLICE_MAILS + 2)

    def test_who_leaves_in_the_middle_of_a_list_leaves_nothing_behind(self) -> None:
        house = self.house(*[MAIL] * 30_000)
        self.say(b"LIST")
        self.lose()
        self.assertEqual(house.locks.released, [5])

    def test_p10_a_marked_mail_is_in_no_list(self) -> None:
        self.house(MAIL, MAIL, MAIL)
        size = len(SERVED)
        self.say(b"DELE 2")
        self.assertEqual(self.say(b"STAT"), b"+OK 2 %d\r\n" % (2 * size))
        self.assertIn(b"\r\n1 %d\r\n3 %d\r\n.\r\n" % (size, size), self.say(b"LIST"))
        self.assertEqual(self.say(b"UIDL"), b"+OK\r\n1 1000.11\r\n3 1000.13\r\n.\r\n")


class TimeTests(Pop3Case):
    def test_p15_ten_minutes_of_silence_end_the_session_without_a_word(self) -> None:
        house = self.house(MAIL)
        self.say(b"DELE 1")
        self.wait(599)
        self.assertFalse(self.wire.disconnecting)
        self.wait(3)
        self.assertTrue(self.wire.disconnecting)
        self.assertEqual((self.take(), house.messages.deleted), (b"", []))

    def test_p15_no_clock_runs_while_the_server_works(self) -> None:
        mailbox = LateMailbox(b"x\n")
        self.session(lambda: mailbox, signed_in=False)
        self.say(b"USER alice", b"PASS secret")
        self.wait(2000)
        self.assertFalse(self.wire.disconnecting)
        mailbox.fire()
        self.assertIn(b"+OK 1 messages", self.take())

    def test_p15_a_reply_that_the_client_does_not_read_is_given_up(self) -> None:
        self.house(mail_of(1 << 20))
        self.say(b"RETR 1")
        self.wait(599)
        self.wire.read()
        self.wait(599)
        self.assertFalse(self.wire.aborted)
        self.wait(3)
        self.assertTrue(self.wire.aborted)

    def test_p15_who_has_just_read_has_ten_minutes_for_the_next_command(self) -> None:
        self.house(mail_of(100_000))
        self.say(b"RETR 1")
        self.wait(599)
        self.wire.read()
        self.wait(599)
        self.assertFalse(self.wire.disconnecting)
        self.wait(3)
        self.assertTrue(self.wire.disconnecting)

    def test_a_client_that_does_not_close_is_aborted_after_ten_seconds(self) -> None:
        self.house()
        self.say(b"QUIT")
        self.wait(9)
        self.assertFalse(self.wire.aborted)
        self.wait(3)
        self.assertTrue(self.wire.aborted)


class StopTests(Pop3Case):
    def test_a_stop_ends_idle_sessions_with_a_temporary_failure(self) -> None:
        self.house(MAIL)
        self.sessions.drain()
        self.assertRegex(self.take(), rb"^-ERR \[SYS/TEMP\] Service is stopping")
        self.assertTrue(self.wire.disconnecting)

    def test_a_stop_lets_a_session_with_marks_reach_its_quit(self) -> None:
        house = self.house(MAIL, MAIL)
        self.say(b"DELE 1")
        self.sessions.drain()
        self.assertFalse(self.wire.disconnecting)
        self.assertEqual(self.say(b"QUIT"), b"+OK Bye\r\n")
        self.assertEqual(house.messages.deleted, [11])

    def test_too_many_connections_are_told_so(self) -> None:
        self.house()
        self.sessions.most = 1
        self.server, self.wire = self.factory.buildProtocol(None), wire()
        self.server.makeConnection(self.wire)
        self.assertRegex(self.take(), rb"^-ERR \[SYS/TEMP\] Too many connections")
        self.assertTrue(self.wire.disconnecting)


class ForeignMailboxTests(Pop3Case):
    """The contract with Twisted: an `IMailbox` that knows nothing of us."""

    MAILS = (b"A: b\n\n.\n.x\nend\n", b"A: c\r\n\r\nCRLF\r\n", b"A: d\n\nno end")

    def dialog(self, mailbox: ForeignMailbox, settle: Any) -> dict[bytes, bytes]:
        self.session(lambda: mailbox, signed_in=False)
        replies = {}
        for line in (
            b"USER alice",
            b"PASS secret",
            b"STAT",
            b"LIST",
            b"LIST 2",
            b"UIDL",
            b"UIDL 1",
            b"RETR 1",
            b"RETR 2",
            b"RETR 3",
            b"TOP 1 1",
            b"DELE 1",
            b"RSET",
            b"DELE 2",
            b"DELE 9",
            b"QUIT",
        ):
            said = self.say(line)
            settle()
            replies[line] = said + self.take()
        return replies

    def check(self, said: dict[bytes, bytes]) -> None:
        total = sum(map(len, self.MAILS))
        self.assertEqual(said[b"STAT"], b"+OK 3 %d\r\n" % total)
        self.assertIn(b"\r\n1 15\r\n2 14\r\n3 12\r\n.\r\n", said[b"LIST"])
        self.assertEqual(said[b"LIST 2"], b"+OK 2 14\r\n")
        self.assertEqual(
            said[b"UIDL"], b"+OK\r\n1 foreign-0\r\n2 foreign-1\r\n3 foreign-2\r\n.\r\n"
        )
        self.assertEqual(said[b"UIDL 1"], b"+OK 1 foreign-0\r\n")
        self.assertEqual(said[b"RETR 1"], b"+OK 15 octets\r\nA: b\r\n\r\n..\r\n..x\r\nend\r\n.\r\n")
        self.assertEqual(said[b"RETR 2"], b"+OK 14 octets\r\nA: c\r\n\r\nCRLF\r\n.\r\n")
        self.assertEqual(said[b"RETR 3"], b"+OK 12 octets\r\nA: d\r\n\r\nno end\r\n.\r\n")
        self.assertEqual(said[b"TOP 1 1"], b"+OK\r\nA: b\r\n\r\n..\r\n.\r\n")
        self.assertEqual(said[b"DELE 1"], b"+OK Marked\r\n")
        self.assertEqual(said[b"RSET"], b"+OK 3 messages (%d octets)\r\n" % total)
        self.assertEqual(said[b"DELE 9"], b"-ERR No such message\r\n")
        self.assertEqual(said[b"QUIT"], b"+OK Bye\r\n")

    def test_one_that_answers_at_once_is_served(self) -> None:
        mailbox = ForeignMailbox(*self.MAILS)
        self.check(self.dialog(mailbox, lambda: None))
        self.assertEqual((mailbox.synced, mailbox.marked), (1, {1}))

    def test_one_that_answers_by_deferreds_is_served(self) -> None:
        mailbox = LateMailbox(*self.MAILS)
        self.check(self.dialog(mailbox, mailbox.fire))
        self.assertEqual((mailbox.synced, mailbox.marked), (1, {1}))

    def test_one_that_raises_for_a_mail_it_has_not_is_answered(self) -> None:
        for error in (ValueError, IndexError):
            mailbox = ForeignMailbox(b"x\n")
            self.session(lambda mailbox=mailbox: mailbox)

            def refuse(index: int, error: type[Exception] = error) -> None:
                raise error("/home/alice/Maildir")

            for name, line in (("getMessage", b"RETR 1"), ("deleteMessage", b"DELE 1")):
                self.patch(mailbox, name, refuse)
                self.assertEqual(self.say(line), b"-ERR No such message\r\n")

    def test_p10_an_empty_mail_of_others_is_a_mail(self) -> None:
        self.session(lambda: ForeignMailbox(b"x\n", b""))
        self.assertEqual(self.say(b"STAT"), b"+OK 2 2\r\n")
        self.assertEqual(self.say(b"LIST"), b"+OK 2 messages (2 octets)\r\n1 2\r\n2 0\r\n.\r\n")
        self.assertEqual(self.say(b"LIST 2"), b"+OK 2 0\r\n")
        self.assertEqual(self.say(b"RETR 2"), b"+OK 0 octets\r\n.\r\n")

    def test_p18_a_unique_id_that_the_rfc_does_not_allow_is_hashed(self) -> None:
        mailbox = ForeignMailbox(b"x\n", b"y\n", b"z\n")
        names = [b"two words", b"a" * 71, "ok"]
        self.patch(mailbox, "getUidl", lambda index: names[index])
        self.session(lambda: mailbox)
        self.assertRegex(
            self.say(b"UIDL"), rb"^\+OK\r\n1 [0-9a-f]{64}\r\n2 [0-9a-f]{64}\r\n3 ok\r\n\.\r\n$"
        )

    def test_a_deletion_that_fails_later_is_not_told_as_done(self) -> None:
        mailbox = ForeignMailbox(b"x\n")
        self.session(lambda: mailbox)
        self.patch(mailbox, "sync", lambda: fail(OSError("/home/alice/Maildir")))
        self.assertRegex(self.say(b"QUIT"), rb"^-ERR \[SYS/TEMP\] [^/]*\r\n$")
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)


class VerbsOfOnesOwn(Pop3Server):
    AUTH_CMDS = [*Pop3Server.AUTH_CMDS, b"XHELLO"]

    def do_XECHO(self, first: bytes, second: bytes = b"-") -> None:
        self.successResponse(first + b" " + second)

    async def do_XLATE(self, *words: bytes) -> None:
        await self.later
        self.successResponse(b"%d words" % len(words))

    def do_XHELLO(self) -> None:
        self.failResponse("not so loud")

    later: Deferred[None]


class CountsRetr(Pop3Server):
    asked = 0

    def do_RETR(self, number: bytes) -> object:
        self.asked += 1
        return super().do_RETR(number)


class SeatTests(Pop3Case):
    def test_a_verb_of_ones_own_gets_its_arguments_counted(self) -> None:
        self.session(lambda: ForeignMailbox(), protocol=VerbsOfOnesOwn)
        self.assertEqual(self.say(b"xecho a"), b"+OK a -\r\n")
        self.assertEqual(self.say(b"XECHO a b"), b"+OK a b\r\n")
        wrong = b"-ERR Wrong number of arguments\r\n"
        self.assertEqual(self.say(b"XECHO", b"XECHO a b c"), wrong * 2)

    def test_retr_of_ones_own_is_called_for_each_mail(self) -> None:
        house = House([MAIL] * 9)
        self.session(house.open, protocol=CountsRetr)
        self.say(*[b"RETR %d" % number for number in range(1, 10)])
        self.assertEqual(self.server.asked, 9)

    def test_an_async_verb_holds_back_the_next_command(self) -> None:
        self.session(lambda: ForeignMailbox(), protocol=VerbsOfOnesOwn)
        self.server.later = Deferred()
        self.assertEqual(self.say(b"XLATE a b c", b"NOOP"), b"")
        self.server.later.callback(None)
        self.assertEqual(self.take(), b"+OK 3 words\r\n+OK\r\n")

    def test_a_verb_needs_a_sign_in_unless_auth_cmds_has_it(self) -> None:
        self.session(lambda: ForeignMailbox(), protocol=VerbsOfOnesOwn, signed_in=False)
        self.assertEqual(
            self.say(b"XECHO a", b"XHELLO"), b"-ERR Sign in first\r\n-ERR not so loud\r\n"
        )

    def test_the_factory_is_twisteds_and_says_what_capa_needs(self) -> None:
        self.house()
        verifyObject(pop3.IServerFactory, self.factory)
        self.assertIsInstance(self.server, pop3.POP3)
        self.assertIn(b"EXPIRE NEVER\r\n", self.say(b"CAPA"))

    def test_p06_the_greeting_has_no_stamp(self) -> None:
        self.house()
        self.assertEqual(self.greeting, b"+OK example.test POP3 ready\r\n")

    def test_p12_a_factorys_own_words_stand_in_capa(self) -> None:
        mailbox = ForeignMailbox()
        mailbox.messageExpiration = 30
        self.session(lambda: mailbox, signed_in=False)

        def unknown() -> int:
            raise NotImplementedError

        self.patch(self.factory, "cap_EXPIRE", lambda: 60)
        self.patch(self.factory, "perUserExpiration", lambda: True)
        self.patch(self.factory, "cap_LOGIN_DELAY", unknown)
        said = self.say(b"CAPA")
        self.assertIn(b"\r\nEXPIRE 60 USER\r\n", said)
        self.assertNotIn(b"LOGIN-DELAY", said)
        self.say(b"USER alice", b"PASS secret")
        self.assertIn(b"\r\nEXPIRE 30\r\n", self.say(b"CAPA"))
