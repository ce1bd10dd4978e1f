"""`mailnode.outbound.relay`: where hosts answer and nothing waits, it takes mail as it comes."""

from __future__ import annotations

from sys import getsizeof

from attrs import evolve, fields
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mailnode.errors import StoreBusy
from mailnode.outbound import relay as relay_module
from mailnode.outbound.lines import Line
from mailnode.outbound.relay import CLAIMED_OCTETS, CLAIMED_ROWS
from mailnode.outbound.words import Answer
from mailnode.queued import ROW_OCTETS, Begun, Leased
from mailnode.settings import OutboundSettings
from tests.unit.relay_case import LATER, RAW, SILENT, RelayHouse, row

KEY = ("remote.test", 0)


class ClaimCase(SynchronousTestCase):
    settings = OutboundSettings()

    def setUp(self) -> None:
        self.house = RelayHouse(self.settings)
        self.queue, self.outside = self.house.queue, self.house.outside
        self.claims = self.house.relay.claims

    def know(self) -> None:
        """Begin, and let remote.test have answered a first mail."""
        self.house.start(row(1))
        self.assertEqual([], self.queue.rows)
        self.queue.leases.clear()
        self.queue.reads.clear()
        self.outside.sent.clear()

    def claimed(self, *rows: Leased) -> None:
        """Commit these as the relay's, whatever it claims by now: the writer is a batch late."""
        begun = []
        for each in rows:
            self.queue.rows.append(each)
            self.queue.leased[each.queue_id] = self.claims.by, self.claims.until()
            mail = self.queue.mail(each.message_id)
            assert mail is not None
            begun.append(Begun((each,), mail, self.claims.until()))
        self.house.relay.queued((), begun)

    def claimed_together(self, *rows: Leased) -> None:
        """Commit these of one mail as the relay's."""
        mail = self.queue.mail(rows[0].message_id)
        assert mail is not None
        self.queue.rows += rows
        until = self.claims.until()
        self.queue.leased.update((each.queue_id, (self.claims.by, until)) for each in rows)
        self.house.relay.queued((), [Begun(rows, mail, until)])

    def is_clear(self) -> None:
        """Nothing is in the queue, and nothing of what may be in memory is taken."""
        self.assertEqual(([], {}), (self.queue.rows, self.queue.leased))
        self.assertEqual(CLAIMED_OCTETS, self.claims.octets)


class AtOnceTests(ClaimCase):
    def test_nothing_is_claimed_for_hosts_that_have_not_answered(self) -> None:
        self.house.start()
        self.assertEqual({}, self.claims.rows)

    def test_what_comes_for_one_that_has_is_sent_without_another_look_into_the_store(self) -> None:
        self.know()
        self.assertEqual({KEY: CLAIMED_ROWS}, self.claims.rows)
        self.house.add(row(2), row(3))
        self.assertEqual(["r2@remote.test", "r3@remote.test"], self.outside.reached)
        self.assertEqual(([], []), (self.queue.leases, self.queue.reads))
        self.assertEqual({KEY: CLAIMED_ROWS}, self.claims.rows)
        self.is_clear()

    def test_it_goes_out_octet_for_octet(self) -> None:
        self.know()
        self.house.add(row(2))
        said = self.successResultOf(self.outside.sent[0][1].open().read(1000))
        self.assertEqual(b"Received: here\r\n" + RAW, said)

    def test_recipients_of_a_mail_go_in_one_transaction(self) -> None:
        self.know()
        self.claimed_together(*(row(number, message_id=7) for number in (2, 3)))
        self.assertEqual([2], [len(outgoing.targets) for _, outgoing in self.outside.sent])
        self.is_clear()

    def test_what_the_host_puts_off_is_attempted_when_it_is_due(self) -> None:
        self.know()
        self.outside.answers = {"r2@remote.test": [LATER]}
        self.house.add(row(2))
        self.assertEqual(["r2@remote.test"], self.outside.reached)
        self.outside.answers.clear()
        self.house.pass_s(80)
        self.assertEqual(["r2@remote.test"] * 2, self.outside.reached)
        self.is_clear()

    def test_a_lease_that_came_so_is_renewed_and_kept_until_the_end(self) -> None:
        self.know()
        self.outside.hold = hold = Deferred()
        self.house.add(row(2))
        self.house.pass_s(2400)
        self.assertGreater(self.queue.leased[2][1], self.house.now())
        hold.callback(None)
        self.assertEqual("relayed", self.queue.names()[-1])
        self.is_clear()


class TurnTests(ClaimCase):
    """Nothing that waits is overtaken for long."""

    def test_nothing_is_claimed_while_something_waits(self) -> None:
        self.know()
        self.outside.hold = hold = Deferred()
        self.house.add(row(2))
        self.queue.rows.append(row(3))
        self.house.relay.queued([KEY])  # as another process has it
        self.assertEqual({}, self.claims.rows)
        self.outside.hold = None
        hold.callback(None)
        self.assertEqual({KEY: CLAIMED_ROWS}, self.claims.rows)
        self.is_clear()

    def test_a_line_claims_so_many_and_no_more(self) -> None:
        self.know()
        self.outside.hold = Deferred()
        self.house.add(row(2))
        self.house.add(*(row(number) for number in range(3, 13)))
        self.assertEqual({KEY: CLAIMED_ROWS - 10}, self.claims.rows)
        self.house.add(*(row(number) for number in range(13, 613)))
        self.assertEqual({}, self.claims.rows)
        waiting = [each for each in self.queue.rows if each.queue_id not in self.queue.leased]
        self.assertGreater(len(waiting), 0)

    def test_it_claims_recipients_however_few_mails_they_have(self) -> None:
        self.house.delivery.settings = evolve(self.settings, connections=1)
        self.know()
        self.outside.hold = hold = Deferred()
        self.house.add(row(2))
        self.claimed_together(*(row(number, message_id=7) for number in range(3, 63)))
        self.assertEqual({KEY: CLAIMED_ROWS - 60}, self.claims.rows)
        self.claimed_together(*(row(number, message_id=8) for number in range(63, 103)))
        self.assertEqual({}, self.claims.rows)
        hold.callback(None)
        self.assertEqual({KEY: CLAIMED_ROWS}, self.claims.rows)
        self.is_clear()

    def test_each_recipient_takes_memory(self) -> None:
        self.know()
        self.outside.hold = hold = Deferred()
        self.claimed_together(*(row(number, message_id=7) for number in range(2, 102)))
        self.assertLess(self.claims.octets, CLAIMED_OCTETS - 100 * ROW_OCTETS)
        hold.callback(None)
        self.is_clear()

    def test_a_destination_for_which_nothing_is_claimed_takes_little_memory(self) -> None:
        line = Line(*KEY)
        parts = [getattr(line, each.name) for each in fields(Line)]
        self.assertLess(getsizeof(line) + sum(map(getsizeof, parts)), 700)

    def test_what_is_claimed_takes_memory_until_it_is_sent(self) -> None:
        self.know()
        self.outside.hold = hold = Deferred()
        self.house.add(row(2), row(3))
        mail = self.queue.mail(2)
        assert mail is not None
        each = Begun((row(2),), mail, 0.0).octets
        self.assertGreater(each, len(RAW))
        self.assertEqual(CLAIMED_OCTETS - 2 * each, self.claims.octets)
        hold.callback(None)
        self.is_clear()

    def test_many_are_served_by_several(self) -> None:
        self.know()
        self.outside.hold = hold = Deferred()
        self.house.add(*(row(number) for number in range(2, 82)))
        self.assertEqual(4, len({id(session) for session, _ in self.outside.sent}))
        hold.callback(None)
        self.is_clear()

    def test_destinations_that_have_not_answered_for_longest_are_forgotten(self) -> None:
        self.patch(relay_module, "MOST_KNOWN", 2)
        domains = ["a.test", "b.test", "c.test"]
        self.house.start(*(row(n, domain=each) for n, each in enumerate(domains)))
        self.assertEqual({("b.test", 0), ("c.test", 0)}, set(self.claims.rows))


class BackTests(ClaimCase):
    """What can't be begun now waits in the queue, as if it had not been claimed."""

    def test_a_line_that_falls_asleep_claims_nothing_and_all_of_it_is_told(self) -> None:
        self.know()
        self.outside.hold = hold = Deferred()
        self.house.add(row(2))
        self.house.add(*(row(number) for number in range(3, 13)))
        self.outside.answers = {"r2@remote.test": [SILENT]}
        self.house.clock.advance(1)
        self.outside.down = {"mx.remote.test": SILENT}
        hold.callback(None)
        self.house.pass_s(10, 0.5)
        self.assertEqual({}, self.claims.rows)
        self.assertEqual(11, len(self.queue.rows))
        self.assertEqual({1}, {each.attempts for each in self.queue.rows})
        self.assertEqual({}, self.queue.leased)
        self.outside.down, self.outside.answers, self.outside.hold = {}, {}, None
        self.house.pass_s(200)
        self.is_clear()
        self.assertEqual({KEY: CLAIMED_ROWS}, self.claims.rows)

    def test_a_line_that_wakes_claims_nothing_before_a_host_has_answered_again(self) -> None:
        self.know()
        self.outside.down = {"mx.remote.test": SILENT}
        self.house.clock.advance(10)  # no session stands idle
        self.house.add(row(2))
        self.outside.down, self.outside.greeting = {}, Deferred()
        connects = len(self.outside.connects)
        self.house.pass_s(200)
        self.assertEqual(connects + 1, len(self.outside.connects))
        self.assertEqual({}, self.claims.rows)
        self.outside.greeting.callback(None)
        self.assertEqual({KEY: CLAIMED_ROWS}, self.claims.rows)
        self.is_clear()

    def test_what_waited_before_a_host_turned_all_away_is_attempted_when_it_is_due(self) -> None:
        self.know()
        self.outside.answers = {"r2@remote.test": [LATER]}
        self.house.add(row(2))
        due_at = self.queue.rows[0].due_at
        self.house.clock.advance(10)  # no session stands idle
        self.outside.down = {"mx.remote.test": Answer(554, "5.3.2", "no service here", "connect")}
        self.house.add(row(3))
        self.assertEqual(["relayed", "deferred", "bounced"], self.queue.names())
        self.assertGreaterEqual(self.house.relay.next_at, due_at)
        self.assertLess(self.house.relay.next_at, due_at + 100)

    def test_what_was_claimed_when_the_line_fell_asleep_waits_until_it_wakes(self) -> None:
        self.know()
        self.outside.down = {"mx.remote.test": SILENT}
        self.house.clock.advance(10)  # no session stands idle
        self.house.add(row(2))
        self.claimed(row(3))
        self.assertEqual({}, self.queue.leased)
        self.assertEqual(CLAIMED_OCTETS, self.claims.octets)
        self.outside.down = {}
        self.house.pass_s(200)
        self.is_clear()

    def test_a_stop_puts_back_what_is_not_begun(self) -> None:
        self.know()
        self.outside.hold = hold = Deferred()
        self.house.add(row(2))
        self.house.add(row(3))
        stopping = Deferred.fromCoroutine(self.house.relay.stop(30))
        self.assertEqual({}, self.claims.rows)
        self.assertEqual([2], list(self.queue.leased))
        hold.callback(None)
        self.successResultOf(stopping)
        self.assertEqual([3], [each.queue_id for each in self.queue.rows])
        self.assertEqual(0, self.queue.rows[0].attempts)

    def test_a_stop_puts_back_all_of_it_together(self) -> None:
        domains = ["remote.test", "other.test"]
        self.house.start(*(row(n, domain=each) for n, each in enumerate(domains, 1)))
        self.outside.hold = hold = Deferred()
        self.house.add(*(row(n, domain=each) for n, each in enumerate(domains, 3)))
        self.house.add(*(row(n, domain=each) for n, each in enumerate(domains, 5)))
        self.queue.settlements.clear()
        stopping = Deferred.fromCoroutine(self.house.relay.stop(30))
        self.assertEqual([2], self.queue.settlements)
        hold.callback(None)
        self.successResultOf(stopping)
        self.assertEqual([5, 6], [each.queue_id for each in self.queue.rows])

    def test_a_stop_cuts_off_what_takes_too_long_while_the_disk_does_too(self) -> None:
        self.know()
        self.outside.hold = hold = Deferred()
        self.house.add(row(2))
        self.house.add(row(3))
        self.queue.hold = written = Deferred()
        stopping = Deferred.fromCoroutine(self.house.relay.stop(30))
        self.house.pass_s(40)
        self.assertTrue(self.outside.sessions[-1].aborted)
        hold.callback(None)
        self.assertNoResult(stopping)
        written.callback(None)
        self.successResultOf(stopping)

    def test_a_stop_waits_until_it_is_put_back(self) -> None:
        self.know()
        self.outside.hold = hold = Deferred()
        self.house.add(row(2))
        stopping = Deferred.fromCoroutine(self.house.relay.stop(30))
        self.queue.faults = [StoreBusy()] * 2
        self.claimed(row(3))
        hold.callback(None)
        self.assertNoResult(stopping)
        self.house.pass_s(60)
        self.successResultOf(stopping)
        self.assertEqual([3], [each.queue_id for each in self.queue.rows])
        self.assertEqual({}, self.queue.leased)

    def test_nobody_is_idle_while_it_is_put_back(self) -> None:
        self.know()
        self.outside.down = {"mx.remote.test": SILENT}
        self.house.clock.advance(10)
        self.house.add(row(2))
        self.queue.hold = written = Deferred()
        self.claimed(row(3))
        idle = self.house.relay.when_idle()
        self.assertNoResult(idle)
        written.callback(None)
        self.successResultOf(idle)
        self.assertGreater(self.house.relay.next_at, self.house.now())

    def test_what_is_committed_behind_the_stop_is_put_back(self) -> None:
        self.know()
        self.successResultOf(Deferred.fromCoroutine(self.house.relay.stop(30)))
        self.claimed(row(2))
        self.assertEqual({}, self.queue.leased)
        self.assertEqual([], self.outside.sent)

    def test_a_fault_of_ours_loses_nothing(self) -> None:
        self.know()
        self.house.ways.faults["remote.test"] = ZeroDivisionError("a bug")
        self.house.add(row(2))
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))
        self.assertEqual(({}, CLAIMED_OCTETS), (self.queue.leased, self.claims.octets))
        self.house.ways.faults.clear()
        self.house.pass_s(10)
        self.is_clear()
