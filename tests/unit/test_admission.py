"""`mailnode.admission`: who may be connected, and how sessions are swept, drained and ended."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailnode.admission import Connected, Sessions


class FakeSession:
    def __init__(self, account: str = "") -> None:
        self.account = account
        self.token_id: int | None = None
        self.calls: list[Any] = []
        self.broken = False
        self.peer_host, self.began_s = "192.0.2.1", 0.0

    def tls_name(self) -> str:
        return "TLSv1.3 X" if self.account else ""

    def sweep(self, now: float) -> None:
        if self.broken:
            raise ValueError("a bug in a session")
        self.calls.append(("sweep", now))

    def drain(self) -> None:
        self.calls.append("drain")

    def abort(self) -> None:
        self.calls.append("abort")

    def revoke(self) -> None:
        self.calls.append("revoke")


class SessionsCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.sessions = Sessions(self.clock, most=4, most_per_address=2)

    def come(self, host: str = "192.0.2.1", loopback: bool = False, **more: Any) -> FakeSession:
        session = FakeSession(**more)
        self.let_in = self.sessions.admit(session, host, loopback)
        return session


class LimitTests(SessionsCase):
    def test_one_address_has_so_many_sessions_and_no_more(self) -> None:
        first = self.come()
        self.come()
        self.come()
        self.assertFalse(self.let_in)
        self.come("192.0.2.2")
        self.assertTrue(self.let_in)
        self.sessions.leave(first)
        self.come()
        self.assertTrue(self.let_in)

    def test_all_servers_together_have_so_many_and_no_more(self) -> None:
        others = 2
        self.sessions.most_together = 4
        self.sessions.everybody = lambda: len(self.sessions) + others
        self.come()
        self.assertTrue(self.let_in)
        self.come("192.0.2.2")
        self.come("192.0.2.3")
        self.assertFalse(self.let_in)
        others = 1
        self.come("192.0.2.3")
        self.assertTrue(self.let_in)

    def test_this_machine_has_as_many_as_it_likes_of_those_there_are(self) -> None:
        for _ in range(4):
            self.come("127.0.0.1", loopback=True)
            self.assertTrue(self.let_in)
        self.come("127.0.0.1", loopback=True)
        self.assertFalse(self.let_in)
        self.assertEqual(4, len(self.sessions))

    def test_a_64_of_ipv6_is_one_address(self) -> None:
        for host in ("2001:db8::1", "2001:db8::2", "2001:db8::3"):
            self.come(host)
        self.assertFalse(self.let_in)
        self.come("2001:db8:0:1::1")
        self.assertTrue(self.let_in)

    def test_who_was_let_in_and_turned_away_is_counted(self) -> None:
        for _ in range(5):
            self.come()
        self.assertEqual((2, 3), (self.sessions.accepted, self.sessions.turned_away))

    def test_one_who_was_turned_away_leaves_nothing_behind(self) -> None:
        kept = [self.come(), self.come()]
        turned_away = self.come()
        self.sessions.leave(turned_away)
        self.assertEqual(2, len(self.sessions))
        self.come()
        self.assertFalse(self.let_in)
        for session in kept:
            self.sessions.leave(session)
            self.sessions.leave(session)
        self.assertEqual(0, len(self.sessions))
        self.assertEqual({}, dict(self.sessions._per_address))


class ConnectedTests(SessionsCase):
    def test_who_is_there_is_told_the_oldest_first_and_no_more_than_asked(self) -> None:
        self.clock.advance(5)
        first, _second = self.come(account="carol@example.test"), self.come()
        told = self.sessions.connected(10)
        self.assertEqual(Connected("192.0.2.1", "carol@example.test", "TLSv1.3 X", 5.0), told[0])
        self.assertEqual(Connected("192.0.2.1", "", "", 5.0), told[1])
        self.assertEqual(told[:1], self.sessions.connected(1))
        self.sessions.leave(first)
        self.assertEqual(told[1:], self.sessions.connected(10))


class SweepTests(SessionsCase):
    def test_every_session_is_looked_at_each_second(self) -> None:
        self.sessions.start()
        session = self.come()
        self.clock.pump([1.0, 1.0])
        self.assertEqual([("sweep", 1.0), ("sweep", 2.0)], session.calls)
        self.sessions.stop()

    def test_one_that_breaks_is_aborted_and_the_others_are_swept_on(self) -> None:
        self.sessions.start()
        broken, well = self.come(), self.come("192.0.2.2")
        broken.broken = True
        self.clock.pump([1.0, 1.0])
        self.assertEqual(["abort", "abort"], broken.calls)
        self.assertEqual(2, len(well.calls))
        self.assertEqual(2, len(self.flushLoggedErrors(ValueError)))
        self.sessions.stop()

    def test_a_session_may_leave_while_it_is_swept(self) -> None:
        session, other = self.come(), self.come()
        self.patch(session, "sweep", lambda now: self.sessions.leave(session))
        self.sessions.sweep()
        self.assertEqual(1, len(other.calls))
        self.assertEqual(1, len(self.sessions))

    def test_a_stop_ends_the_sessions_and_the_timer(self) -> None:
        self.sessions.start()
        session = self.come()
        self.sessions.stop()
        self.assertEqual(["abort"], session.calls)
        self.assertEqual([], self.clock.getDelayedCalls())
        self.sessions.stop()


class DrainTests(SessionsCase):
    def test_it_is_over_at_once_when_nobody_is_there(self) -> None:
        self.successResultOf(self.sessions.drain())

    def test_it_is_over_when_the_last_one_is_gone_and_nobody_comes_in_meanwhile(self) -> None:
        first, second = self.come(), self.come("192.0.2.2")
        drained = self.sessions.drain()
        self.assertEqual([["drain"], ["drain"]], [first.calls, second.calls])
        self.come("192.0.2.3")
        self.assertFalse(self.let_in)
        self.sessions.leave(first)
        self.assertNoResult(drained)
        self.sessions.leave(second)
        self.successResultOf(drained)

    def test_who_waits_no_longer_is_not_told_when_the_last_one_goes(self) -> None:
        session = self.come()
        drained = self.sessions.drain()
        drained.cancel()
        self.failureResultOf(drained, CancelledError)
        self.sessions.leave(session)
        self.assertEqual(0, len(self.sessions))


class RevokeTests(SessionsCase):
    def test_sessions_of_a_changed_account_end_and_no_others(self) -> None:
        alice, bob, nobody = (self.come(f"192.0.2.{n}") for n in (1, 2, 3))
        alice.account, bob.account = "alice@example.test", "bob@example.test"
        asked: list[str] = []

        def changed(account: str) -> bool:
            asked.append(account)
            return account.startswith("alice")

        self.sessions.revoke(changed)
        self.assertEqual([["revoke"], [], []], [alice.calls, bob.calls, nobody.calls])
        self.assertEqual(["alice@example.test", "bob@example.test"], asked)

    def test_sessions_of_an_app_password_that_ended_end_and_no_others(self) -> None:
        phone, laptop, own = (self.come(f"192.0.2.{n}") for n in (1, 2, 3))
        phone.token_id, laptop.token_id = 7, 8
        self.assertEqual({7, 8}, self.sessions.tokens())
        self.sessions.revoke_tokens({7})
        self.assertEqual([["revoke"], [], []], [phone.calls, laptop.calls, own.calls])
