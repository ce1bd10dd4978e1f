"""`mailnode.workers.counts` and what counts by them: limits hold across processes."""

from __future__ import annotations

import os

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailnode.errors import SendingTooFast
from mailnode.workers.counts import Counts, make_memory
from mailnode.workers.sharing import PassedBell, SharedAllowance, SharedSessions
from tests.unit.node_case import FakeSession

KEY = b"k" * 32


class CountsCase(SynchronousTestCase):
    """Each worker has its own view of the same memory."""

    def setUp(self) -> None:
        memory = make_memory(3)
        self.views = [Counts(os.dup(memory), 3, KEY) for _ in range(3)]
        os.close(memory)
        for view in self.views:
            self.addCleanup(view.close)


class CountsTests(CountsCase):
    def test_what_one_worker_adds_the_others_see(self) -> None:
        first, second, third = self.views
        first.add(0, "smtp", "192.0.2.1", 1)
        second.add(1, "smtp", "192.0.2.1", 1)
        second.add(1, "smtp", "192.0.2.2", 1)
        self.assertEqual(3, third.total("smtp"))
        self.assertEqual(2, third.of_address("smtp", "192.0.2.1"))
        self.assertEqual(1, third.of_address("smtp", "192.0.2.2"))
        self.assertEqual(0, third.of_address("smtp", "192.0.2.3"))

    def test_servers_are_counted_apart(self) -> None:
        self.views[0].add(0, "pop3", "192.0.2.1", 1)
        self.assertEqual((0, 1), (self.views[1].total("smtp"), self.views[1].total("pop3")))
        self.assertEqual(0, self.views[1].of_address("smtp", "192.0.2.1"))

    def test_a_dead_worker_s_connections_are_gone_and_others_stay(self) -> None:
        for worker in (0, 1, 2):
            self.views[worker].add(worker, "smtp", "192.0.2.1", 1)
        self.views[2].clear(1)
        self.assertEqual(2, self.views[0].total("smtp"))
        self.assertEqual(2, self.views[0].of_address("smtp", "192.0.2.1"))

    def test_twenty_thousand_other_addresses_make_none_look_like_many(self) -> None:
        view = self.views[0]
        for number in range(20_000):
            view.add(number % 3, "smtp", f"2001:db8:{number:x}::/64", 1)
        most = max(view.of_address("smtp", f"198.51.100.{n}") for n in range(256))
        self.assertLess(most, 5)
        for number in range(20_000):
            view.add(number % 3, "smtp", f"2001:db8:{number:x}::/64", -1)
        self.assertEqual(0, view.total("smtp"))
        self.assertEqual(0, view.of_address("smtp", "2001:db8:1::/64"))

    def test_who_does_not_know_the_key_does_not_know_which_addresses_meet(self) -> None:
        other = Counts(os.dup(self.views[0].memory), 3, b"another key")
        self.addCleanup(other.close)
        self.assertNotEqual(other._places("192.0.2.1"), self.views[0]._places("192.0.2.1"))


class SharedSessionsTests(CountsCase):
    def setUp(self) -> None:
        super().setUp()
        self.servers = [
            SharedSessions(Clock(), 9, 2, counts=view, worker=number, server="smtp", most_of_all=5)
            for number, view in enumerate(self.views)
        ]

    def come(self, worker: int, host: str, loopback: bool = False) -> FakeSession | None:
        session = FakeSession()
        return session if self.servers[worker].admit(session, host, loopback) else None

    def test_an_address_has_its_limit_with_all_workers_together(self) -> None:
        first = self.come(0, "192.0.2.1")
        self.assertTrue(first and self.come(1, "192.0.2.1"))
        self.assertIs(None, self.come(2, "192.0.2.1"))
        self.assertEqual(1, self.servers[2].turned_away)
        self.assertTrue(self.come(2, "192.0.2.2"))
        assert first is not None
        self.servers[0].leave(first)
        self.assertTrue(self.come(2, "192.0.2.1"))
        self.assertIs(None, self.come(0, "192.0.2.1"))

    def test_a_network_of_ipv6_is_one_address(self) -> None:
        self.assertTrue(self.come(0, "2001:db8::1") and self.come(1, "2001:db8::2"))
        self.assertIs(None, self.come(2, "2001:db8::3"))

    def test_all_connections_have_theirs_loopback_included(self) -> None:
        for number in range(5):
            self.assertTrue(self.come(number % 3, "127.0.0.1", loopback=True))
        self.assertIs(None, self.come(0, "127.0.0.1", loopback=True))
        self.assertIs(None, self.come(1, "192.0.2.9"))

    def test_who_is_turned_away_by_the_worker_itself_leaves_no_count(self) -> None:
        self.servers[0].draining = True
        self.assertIs(None, self.come(0, "192.0.2.1"))
        self.assertEqual(0, self.views[1].total("smtp"))
        self.assertEqual(1, self.servers[0].turned_away)

    def test_a_session_that_was_never_admitted_leaves_without_a_trace(self) -> None:
        self.servers[0].leave(FakeSession())
        self.assertEqual(0, self.views[0].total("smtp"))


class SharedAllowanceTests(CountsCase):
    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.clock.advance(1000)
        self.workers = [
            SharedAllowance(3600, 10, self.clock.seconds, counts=view) for view in self.views
        ]

    def taken(self, account_id: int) -> int:
        """How many it may send to, wherever it asks."""
        for count in range(1000):
            try:
                self.workers[count % 3].take(account_id, 1)
            except SendingTooFast:
                return count
        return 1000

    def test_an_account_has_one_burst_and_one_rate_with_all_workers_together(self) -> None:
        self.assertEqual(10, self.taken(1))
        self.assertEqual(10, self.taken(2))
        self.clock.advance(4)
        self.assertEqual(4, self.taken(1))

    def test_it_is_no_connection(self) -> None:
        self.views[0].add(2, "pop3", "192.0.2.1", 1)
        self.workers[0].take(0, 10)
        self.assertEqual((0, 1), (self.views[1].total("smtp"), self.views[1].total("pop3")))
        self.views[1].clear(2)
        self.assertRaises(SendingTooFast, self.workers[1].take, 0, 1)


class BellTests(SynchronousTestCase):
    def test_a_ring_is_heard_here_and_passed_on_and_one_from_elsewhere_only_heard(self) -> None:
        heard: list[str] = []
        passed: list[str] = []
        bell = PassedBell(pass_on=passed.append)
        bell.on("accounts", lambda: heard.append("accounts"))
        bell.ring("accounts")
        self.assertEqual((["accounts"], ["accounts"]), (heard, passed))
        bell.ring_here("accounts")
        self.assertEqual((2, 1), (len(heard), len(passed)))
