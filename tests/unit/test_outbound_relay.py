"""`mailnode.outbound.relay`: what is due is begun, and what a host says is written."""

from __future__ import annotations

import email
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase

from mailnode.addresses import Address
from mailnode.errors import MailError, StoreBusy, StoreFull
from mailnode.model import Recipient, Remote
from mailnode.outbound.delivery import Delivery
from mailnode.outbound.outcome import wait_s
from mailnode.outbound.relay import Relay
from mailnode.outbound.words import Answer, CannotSend
from mailnode.routes import Route, SendAs
from mailnode.settings import OutboundSettings
from tests.unit.relay_case import (
    BEGAN,
    LATER,
    NEVER,
    OK,
    RAW,
    SILENT,
    ListQueue,
    Outside,
    People,
    RelayHouse,
    ScriptedSession,
    row,
)

DAY_S = 86400.0


class RelayCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.house = RelayHouse()
        self.queue, self.outside = self.house.queue, self.house.outside

    def start(self, *rows: Any) -> None:
        self.house.start(*rows)

    def report(self, number: int = 0) -> Any:
        """A report that was filed, read by Python's own parser."""
        return email.message_from_bytes(self.queue.reports[number][1].body)  # type: ignore[arg-type]


class DeliveryTests(RelayCase):
    def test_what_is_due_is_handed_over_and_gone(self) -> None:
        self.start(row(1))
        self.assertEqual(["r1@remote.test"], self.outside.reached)
        self.assertEqual(([], {}), (self.queue.rows, self.queue.leased))
        self.assertEqual(["relayed"], self.queue.names())
        detail = self.queue.events[0].detail
        self.assertEqual("mx.remote.test", detail["host"])
        self.assertEqual("TLSv1.3 X", detail["tls"])
        self.assertEqual("250 2.0.0 taken", detail["reply"])

    def test_what_comes_while_it_runs_is_begun_at_once(self) -> None:
        self.start()
        self.house.add(row(1))
        self.assertEqual(["relayed"], self.queue.names())

    def test_the_octets_are_ours_in_front_and_then_the_mail_s(self) -> None:
        self.start(row(1))
        reader = self.outside.sent[0][1].open()
        said = self.successResultOf(reader.read(10)) + self.successResultOf(reader.read(1000))
        self.assertEqual(b"Received: here\r\n" + RAW, said)
        self.assertEqual(b"", self.successResultOf(reader.read(10)))

    def test_recipients_of_one_mail_go_in_one_transaction(self) -> None:
        self.start(row(1, message_id=7), row(2, message_id=7), row(3))
        self.assertEqual([2, 1], [len(outgoing.targets) for _, outgoing in self.outside.sent])
        self.assertEqual(1, len(self.outside.connects))

    def test_each_recipient_has_an_outcome_of_its_own(self) -> None:
        self.outside.answers = {"r1@remote.test": [LATER], "r2@remote.test": [NEVER]}
        self.start(*(row(number, message_id=7) for number in (1, 2, 3)))
        self.assertEqual(["deferred", "bounced", "relayed"], self.queue.names())
        self.assertEqual([1], [each.queue_id for each in self.queue.rows])

    def test_a_row_whose_mail_is_not_there_holds_up_no_other(self) -> None:
        self.queue.gone.add(1)
        self.start(row(1), row(2))
        self.assertEqual(["r2@remote.test"], self.outside.reached)
        self.assertEqual(["deferred", "relayed"], sorted(self.queue.names()))

    def test_a_session_is_kept_for_five_seconds_and_then_ended_in_order(self) -> None:
        self.start(row(1))
        self.house.add(row(2))
        self.assertEqual(1, len(self.outside.connects))
        self.house.clock.advance(6)
        self.assertEqual(1, self.outside.sessions[0].quits)
        self.assertEqual(0, len(self.house.pool))

    def test_a_host_that_says_421_is_left_and_asked_anew(self) -> None:
        closing = Answer(421, "4.7.0", "enough", "MAIL")
        self.outside.answers = {"r1@remote.test": [closing]}
        self.start(row(1), row(2))
        self.assertEqual(2, len(self.outside.connects))
        self.assertEqual(["deferred", "relayed"], self.queue.names())

    def test_a_connection_lost_behind_the_dot_is_said_to_be_open(self) -> None:
        self.outside.answers = {"r1@remote.test": [Answer(0, "4.4.2", "lost", "dot")]}
        self.start(row(1))
        self.assertIn("may arrive twice", str(self.queue.events[0].detail["because"]))


class TogetherTests(RelayCase):
    """What costs a look into the store, or a commit, is done for many at once."""

    def test_the_mails_of_a_batch_are_read_together(self) -> None:
        self.start(row(1, message_id=7), row(2, message_id=7), row(3), row(4))
        self.assertEqual([[7, 3, 4]], self.queue.reads)

    def test_what_was_too_much_to_be_read_ahead_is_read_in_its_turn(self) -> None:
        self.queue.read_at_most = 2
        self.start(*map(row, (1, 2, 3)))
        self.assertEqual([[1, 2, 3], [3]], self.queue.reads)
        self.assertEqual(3, len(self.outside.reached))

    def test_one_that_cannot_be_read_is_put_off_and_holds_up_no_other(self) -> None:
        self.queue.damaged = {2}
        self.start(*map(row, (1, 2, 3)))
        self.assertEqual([[1, 2, 3], [2, 3], [3]], self.queue.reads[:3])
        self.assertEqual(["deferred", "relayed", "relayed"], sorted(self.queue.names()))
        self.assertEqual([2], [each.queue_id for each in self.queue.rows])

    def test_what_ends_while_the_queue_is_written_is_written_together(self) -> None:
        self.queue.hold = hold = Deferred()
        self.start(*map(row, (1, 2, 3, 4)))
        self.assertEqual([1], self.queue.settlements)
        hold.callback(None)
        self.assertEqual([1, 3], self.queue.settlements)
        self.assertEqual(([], {}), (self.queue.rows, self.queue.leased))

    def test_one_that_can_t_be_written_holds_up_none_that_ended_with_it(self) -> None:
        self.queue.hold = hold = Deferred()
        self.start(*map(row, (1, 2, 3, 4)))
        self.queue.faults = [StoreFull(), StoreFull()]  # of the three together, of the first alone
        hold.callback(None)
        self.assertEqual(([1, 1, 1], [2]), (self.queue.settlements, list(self.queue.leased)))
        self.house.pass_s(1)
        self.assertEqual(([], {}), (self.queue.rows, self.queue.leased))

    def test_a_mail_s_report_is_written_with_nothing_but_its_own_rows(self) -> None:
        self.outside.answers = {"r2@remote.test": [NEVER]}
        self.queue.hold = hold = Deferred()
        self.start(*map(row, (1, 2, 3)))
        self.assertEqual(([1, 1], 1), (self.queue.settlements, len(self.queue.reports)))
        hold.callback(None)
        self.assertEqual([1, 1, 1], self.queue.settlements)

    def test_nobody_looks_in_vain_for_more_than_is_due(self) -> None:
        self.start(*map(row, range(1, 26)))
        self.assertEqual([20, 5], [len(ids) for _, ids in self.queue.leases])

    def test_what_falls_due_later_is_found_behind_what_was_due(self) -> None:
        self.start(row(1), row(2, due_at=BEGAN + 100))
        self.house.pass_s(90)
        self.assertEqual(["r1@remote.test"], self.outside.reached)
        self.house.pass_s(20)
        self.assertEqual(2, len(self.outside.reached))


class RetryTests(RelayCase):
    def test_waits_grow_twofold_from_a_minute_to_four_hours(self) -> None:
        waits = [wait_s(attempts, OutboundSettings(), lambda: 0.5) for attempts in range(1, 11)]
        self.assertEqual([60, 120, 240, 480, 960, 1920, 3840, 7680, 14400, 14400], waits)

    def test_what_failed_together_is_not_tried_together(self) -> None:
        waits = {wait_s(1, OutboundSettings(), lambda part=part: part) for part in (0.0, 0.5, 1.0)}
        self.assertEqual({48.0, 60.0, 72.0}, {round(each, 6) for each in waits})

    def test_recipients_of_a_mail_that_failed_together_stay_together(self) -> None:
        chances = iter([0.1, 0.9])
        self.house.delivery.random = lambda: next(chances)
        self.outside.answers = {"r1@remote.test": [LATER, OK], "r2@remote.test": [LATER, OK]}
        self.start(row(1, message_id=7), row(2, message_id=7))
        self.house.pass_s(80)
        self.assertEqual([2, 2], [len(outgoing.targets) for _, outgoing in self.outside.sent])

    def test_it_is_tried_again_when_it_is_due(self) -> None:
        self.outside.answers = {"r1@remote.test": [LATER, OK]}
        self.start(row(1))
        self.house.pass_s(50)
        self.assertEqual(["deferred"], self.queue.names())
        self.house.pass_s(20)
        self.assertEqual(["deferred", "relayed"], self.queue.names())
        self.assertEqual(1, self.queue.events[0].detail["attempt"])

    def test_after_four_hours_the_sender_is_told_once_and_after_five_days_for_good(self) -> None:
        self.outside.answers = {"r1@remote.test": [LATER]}
        self.start(row(1))
        self.house.pass_s(4 * 3600 - 60, 60)
        self.assertEqual([], self.queue.reports)
        self.house.pass_s(5 * 3600, 60)
        self.assertEqual(1, len(self.queue.reports))
        self.house.pass_s(5 * DAY_S, 600)
        self.assertEqual(2, len(self.queue.reports))
        self.assertEqual("bounced", self.queue.names()[-1])
        self.assertEqual([], self.queue.rows)
        for number, action in enumerate(("delayed", "failed")):
            self.assertIn(f"Action: {action}", self.report(number).as_string())
        self.assertIn("Status: 5.4.7", self.report(1).as_string())

    def test_the_last_attempt_is_made_when_the_time_is_up(self) -> None:
        self.outside.answers = {"r1@remote.test": [LATER]}
        self.start(row(1))
        self.house.pass_s(5 * DAY_S + 600, 60)
        self.assertAlmostEqual(5 * DAY_S, self.queue.events[-1].at - BEGAN, delta=200)


class DeadHostTests(RelayCase):
    def write_in(self, seconds: float) -> None:
        """A write takes so long, and the outside is dead; one connection serves a line."""
        self.house = RelayHouse(OutboundSettings(connections=1))
        self.queue, self.outside, clock = self.house.queue, self.house.outside, self.house.clock
        self.queue.write = lambda: setattr(clock, "rightNow", clock.rightNow + seconds)
        self.outside.down = {"mx.remote.test": SILENT}

    def test_all_that_is_due_is_told_and_the_line_sleeps(self) -> None:
        self.outside.down = {"mx.remote.test": SILENT}
        self.start(*map(row, range(1, 51)))
        self.assertEqual(["deferred"] * 50, self.queue.names())
        self.assertEqual(1, len(self.outside.connects))
        self.house.add(row(60))
        self.assertEqual(1, len(self.outside.connects))

    def test_it_holds_up_no_other(self) -> None:
        self.outside.down = {"mx.remote.test": SILENT}
        self.start(*map(row, range(1, 51)), row(60, domain="well.test", recipient="a@well.test"))
        self.assertEqual(["a@well.test"], self.outside.reached)

    def test_what_it_is_told_is_written_in_pieces_a_tenth_of_the_time(self) -> None:
        self.write_in(0.01)
        self.start(*map(row, range(1, 101)))
        told = len(self.queue.names())
        self.assertEqual(40, told)  # what was attempted, and one piece
        self.house.pass_s(1.7, 0.1)  # that took 0.2 s
        self.assertEqual(told, len(self.queue.names()))
        self.house.pass_s(10, 0.1)
        self.assertEqual(["deferred"] * 100, self.queue.names())
        self.assertEqual(1, len(self.outside.connects))

    def test_what_is_not_told_by_then_is_attempted_when_the_line_wakes(self) -> None:
        self.write_in(0.5)
        self.start(*map(row, range(1, 101)))
        self.outside.down.clear()
        self.house.pass_s(300)
        self.assertEqual(100, self.queue.names().count("relayed"))
        self.assertLess(self.queue.names().count("deferred"), 100)

    def test_the_next_address_is_asked_and_the_silent_one_rests(self) -> None:
        self.house.ways.hosts = {"remote.test": ["one", "two"]}
        self.outside.down = {"one": SILENT}
        self.start(row(1))
        self.assertEqual(["one", "two"], [hop.address for hop, _, _ in self.outside.connects])
        self.house.pass_s(10)  # the session with the second is over
        self.house.add(row(2))
        self.assertEqual("two", self.outside.connects[-1][0].address)
        self.assertEqual(3, len(self.outside.connects))

    def test_a_refusal_bounces_nothing_while_another_host_may_answer_later(self) -> None:
        self.house.ways.hosts = {"remote.test": ["one", "two", "three"]}
        refusal = Answer(554, "5.7.1", "no mail from there", "greeting")
        self.outside.down = {"one": refusal, "two": SILENT, "three": refusal}
        self.start(row(1))
        self.assertEqual(["deferred"], self.queue.names())
        self.assertIn("connection refused", self.queue.events[0].detail["reply"])
        self.outside.down = dict.fromkeys(("one", "two", "three"), refusal)
        self.house.pass_s(120)
        self.assertEqual(["deferred", "bounced"], self.queue.names())

    def test_one_that_is_back_gets_all_of_it(self) -> None:
        self.outside.down = {"mx.remote.test": SILENT}
        self.start(*map(row, range(1, 51)))
        self.outside.down.clear()
        self.house.pass_s(200)
        self.assertEqual(50, self.queue.names().count("relayed"))

    def test_it_is_asked_again_when_the_line_wakes_however_early_that_is(self) -> None:
        self.house.delivery.random = lambda: 0.0
        self.outside.down = {"mx.remote.test": SILENT}
        self.start(row(1))
        self.house.pass_s(50, 1)
        self.assertEqual(2, len(self.outside.connects))

    def test_one_that_is_woken_is_asked_at_once(self) -> None:
        self.outside.down = {"mx.remote.test": SILENT}
        self.start(row(1), row(2))
        self.outside.down.clear()
        self.queue.rows[0] = evolve(self.queue.rows[0], due_at=self.house.now())
        self.house.relay.wake()
        self.assertEqual(["r1@remote.test"], self.outside.reached)

    def test_a_name_server_that_is_silent_is_no_fault_of_the_mail(self) -> None:
        self.house.ways.faults = {"remote.test": MailError("DNS is silent", enhanced="4.4.3")}
        self.start(row(1))
        self.assertEqual(["deferred"], self.queue.names())
        self.assertIn("DNS is silent", str(self.queue.events[0].detail["reply"]))

    def test_a_domain_that_there_is_not_bounces(self) -> None:
        gone = MailError("no such domain", code=550, enhanced="5.1.2")
        self.house.ways.faults = {"remote.test": gone}
        self.start(row(1))
        self.assertEqual(["bounced"], self.queue.names())
        self.assertIn("5.1.2", self.report().as_string())


class ReportTests(RelayCase):
    def test_words_of_ours_are_no_other_server_s(self) -> None:
        self.start(row(1, bounce="we moved"))
        text = self.report().as_string()
        self.assertIn("The reason:", text)
        self.assertNotIn("server refuses", text)
        self.assertNotIn("Remote-MTA", text)

    def test_a_silence_is_told_when_it_lasted_too_long(self) -> None:
        self.outside.down = {"mx.remote.test": SILENT}
        self.start(row(1, queued_at=BEGAN - 5 * DAY_S))
        self.assertIn("connection refused", self.report().as_string())

    def test_who_sent_it_is_told_with_the_remote_s_words(self) -> None:
        self.outside.answers = {"r1@remote.test": [NEVER]}
        self.start(row(1))
        envelope, _message = self.queue.reports[0]
        self.assertEqual((None, 0), (envelope.sender, envelope.priority))
        self.assertEqual(["alice@example.test"], [each.mailbox for each in envelope.recipients])
        text = self.report().as_string()
        for words in ("no such user", "r1@remote.test", "Subject: hello"):
            self.assertIn(words, text)

    def test_one_report_tells_of_all_recipients_of_a_mail(self) -> None:
        self.outside.answers = {f"r{number}@remote.test": [NEVER] for number in (1, 2)}
        self.start(row(1, message_id=7), row(2, message_id=7))
        self.assertEqual(1, len(self.queue.reports))
        self.assertEqual(2, self.report().as_string().count("Action: failed"))

    def test_nobody_is_told_who_asked_for_silence(self) -> None:
        self.outside.answers = {"r1@remote.test": [NEVER]}
        self.start(row(1, notify="NEVER"))
        self.assertEqual(([], ["bounced"]), (self.queue.reports, self.queue.names()))

    def test_a_report_that_fails_goes_to_the_postmaster_and_begins_no_circle(self) -> None:
        self.outside.answers = {"r1@remote.test": [NEVER]}
        self.start(row(1, sender=""))
        envelope, _ = self.queue.reports[0]
        self.assertEqual(
            ["postmaster@example.test"], [each.mailbox for each in envelope.recipients]
        )
        self.outside.answers = {"r2@remote.test": [LATER]}
        self.house.add(row(2, sender="", queued_at=BEGAN - 5 * 3600))
        self.assertEqual(1, len(self.queue.reports))

    def test_a_postmaster_elsewhere_is_not_told_of_its_own_failure(self) -> None:
        def expand(people: People, address: Address, limit: int = 1000) -> Any:
            return (Remote(Address("pm", "far.test"), alias=address), *self.here)

        self.patch(People, "expand", expand)
        self.outside.answers = {f"r{n}@remote.test": [NEVER] for n in (1, 2, 3)}
        self.here: tuple[Recipient, ...] = ()
        self.start(row(1, sender=""))
        (remote,) = self.queue.reports[0][0].remotes
        self.assertEqual("pm@far.test", str(remote.address))
        self.house.add(row(2, sender="", alias=str(remote.alias)))
        self.assertEqual(1, len(self.queue.reports))
        self.here = (Recipient(Address("alice", "example.test"), 1, "alice@example.test"),)
        self.house.add(row(3, sender="", alias=str(remote.alias)))
        envelope, _ = self.queue.reports[1]
        self.assertEqual((self.here, ()), (envelope.recipients, envelope.remotes))

    def test_success_is_told_to_who_asked_unless_the_remote_does(self) -> None:
        self.start(row(1, notify="SUCCESS"))
        self.assertIn("Action: relayed", self.report().as_string())
        self.outside.sessions[0].dsn = True
        self.house.add(row(2, notify="SUCCESS"))
        self.assertEqual(1, len(self.queue.reports))

    def test_a_sender_elsewhere_has_its_report_queued(self) -> None:
        self.outside.answers = {"r1@remote.test": [NEVER]}
        self.start(row(1, sender="bob@far.test"))
        envelope, _ = self.queue.reports[0]
        self.assertEqual(["bob@far.test"], [str(each.address) for each in envelope.remotes])

    def test_what_nobody_can_be_told_of_is_held_and_not_lost(self) -> None:
        self.outside.answers = {"r1@remote.test": [NEVER]}
        self.house.delivery.reports = None  # type: ignore[assignment]
        self.start(row(1))
        self.assertEqual([1], self.queue.held)
        self.assertEqual(1, len(self.flushLoggedErrors(AttributeError)))


class RouteTests(RelayCase):
    def test_refuse_bounces_hold_holds_and_discard_throws_away(self) -> None:
        for number, kind in enumerate(("refuse", "hold", "discard"), 1):
            self.house.people.routes[f"r{number}@remote.test"] = Route("x", kind)
        self.start(*map(row, (1, 2, 3)))
        self.assertEqual(["bounced", "queue-changed", "relayed"], self.queue.names())
        self.assertEqual(([2], []), (self.queue.held, self.outside.connects))

    def test_what_may_not_leave_any_more_is_captured(self) -> None:
        self.house.people.stays.add("remote.test")
        self.start(row(1))
        self.assertEqual(([1], []), (self.queue.captured, self.outside.connects))

    def test_routes_of_one_domain_go_their_own_ways(self) -> None:
        self.house.people.routes["r2@remote.test"] = Route("x", "smtp", "smart", 2525)
        self.start(*map(row, (1, 2)))
        self.assertEqual(
            {"mx.remote.test", "smart"}, {hop.host for hop, _, _ in self.outside.connects}
        )

    def test_a_dead_one_of_them_does_not_strike_the_other(self) -> None:
        self.house.people.routes["r2@remote.test"] = Route("x", "smtp", "smart", 2525)
        self.outside.down = {"smart": SILENT}
        self.start(*map(row, (1, 2)))
        self.assertEqual(["deferred", "relayed"], sorted(self.queue.names()))

    def test_a_dead_one_of_an_address_puts_no_other_mail_to_sleep(self) -> None:
        self.house.people.routes["r2@remote.test"] = Route("r2@remote.test", "smtp", "smart", 25)
        self.outside.down = {"smart": SILENT}
        self.start(*map(row, (1, 2)))
        self.house.add(row(3))
        self.assertEqual(["r1@remote.test", "r3@remote.test"], self.outside.reached)
        self.house.pass_s(120)
        self.assertEqual(2, self.queue.names().count("deferred"))

    def test_an_administrator_s_bounce_is_a_bounce(self) -> None:
        self.start(row(1, bounce="we do not want it"))
        self.assertEqual((["bounced"], []), (self.queue.names(), self.outside.connects))
        self.assertIn("we do not want it", self.report().as_string())

    def test_an_outside_address_leaves_by_its_provider(self) -> None:
        provider = SendAs(3, 1, "me@isp.test", "smtp.isp.test", 587, False, "me", b"")
        self.house.people.providers[3] = provider
        self.start(row(1, send_as=3))
        hop, policy, login = self.outside.connects[0]
        self.assertEqual(("smtp.isp.test", "verify"), (hop.host, policy.level))
        assert login is not None
        self.assertEqual("me", login.user)

    def test_a_refused_sign_in_is_told_at_once_and_tried_again(self) -> None:
        provider = SendAs(3, 1, "me@isp.test", "smtp.isp.test", 587, False, "me", b"")
        self.house.people.providers[3] = provider
        self.outside.down = {"smtp.isp.test": Answer(535, "5.7.8", "bad password", "AUTH")}
        self.start(row(1, send_as=3))
        self.assertEqual(["deferred"], self.queue.names())
        self.assertIn("bad password", self.report().as_string())
        self.outside.down.clear()
        self.house.pass_s(200)
        self.assertEqual("relayed", self.queue.names()[-1])


class CrowdTests(RelayCase):
    def test_a_long_line_is_served_by_several_up_to_the_limit(self) -> None:
        self.outside.hold = Deferred()
        self.start(*map(row, range(1, 1001)))
        self.assertEqual(20, len(self.outside.sessions))
        hold, self.outside.hold = self.outside.hold, None
        assert hold is not None
        hold.callback(None)
        self.assertEqual(1000, len(self.outside.reached))
        self.assertEqual(20, len(self.outside.connects))

    def test_many_lines_stay_under_the_limit_of_all(self) -> None:
        self.outside.hold = Deferred()
        self.start(*(row(n, domain=f"d{n}.test", recipient=f"r@d{n}.test") for n in range(1, 500)))
        self.assertEqual(150, len(self.outside.sessions))  # strangers, all of them
        hold, self.outside.hold = self.outside.hold, None
        assert hold is not None
        hold.callback(None)
        self.assertEqual(499, len(self.outside.reached))

    def test_a_line_whose_mails_have_all_bounced_is_forgotten(self) -> None:
        self.outside.down = {"mx.remote.test": Answer(554, "5.7.1", "no mail", "greeting")}
        self.start(row(1))
        self.assertEqual(["bounced"], self.queue.names())
        self.house.pass_s(1000)
        self.assertEqual({}, self.house.relay._lines)

    def test_an_attempt_that_takes_long_has_nothing_looked_at_meanwhile(self) -> None:
        plans, plan = [], Relay._begin_due
        self.patch(Relay, "_begin_due", lambda relay: (plans.append(relay), plan(relay)))
        self.outside.hold = Deferred()
        self.start(row(1))
        self.house.pass_s(60, 0.05)
        self.assertLess(len(plans), 10)

    def test_a_place_that_is_free_is_filled_without_a_look_at_all_lines(self) -> None:
        plans, plan = [], Relay._begin_due
        self.patch(Relay, "_begin_due", lambda relay: (plans.append(relay), plan(relay)))
        self.outside.hold = hold = Deferred()
        self.start(*(row(n, domain=f"d{n}.test", recipient=f"r@d{n}.test") for n in range(1, 500)))
        self.outside.hold = None
        hold.callback(None)
        self.assertEqual(499, len(self.outside.reached))
        self.assertEqual(1, len(plans))

    def test_a_hundred_connections_at_most_stand_idle(self) -> None:
        self.start(*(row(n, domain=f"d{n}.test", recipient=f"r@d{n}.test") for n in range(1, 500)))
        self.assertEqual(499, len(self.outside.reached))
        self.assertEqual(100, len(self.house.pool))
        self.house.add(row(500, domain="d1.test", recipient="again@d1.test"))
        self.assertEqual(499, len(self.outside.connects))
        self.house.pass_s(10)
        self.assertEqual((0, {}), (len(self.house.pool), self.house.pool._idle))

    def test_a_host_that_takes_few_connections_gets_its_mail_over_these(self) -> None:
        connect, send = Outside.connect, ScriptedSession.send
        refusal = Answer(421, "4.7.0", "too many connections", "greeting")

        async def connect_a_few(outside: Outside, *how: Any) -> ScriptedSession:
            if sum(each.usable for each in outside.sessions) >= 5:
                raise CannotSend(refusal)
            return await connect(outside, *how)

        async def send_in_a_second(session: ScriptedSession, *what: Any) -> Any:
            await deferLater(self.house.clock, 1.0, lambda: None)
            return await send(session, *what)

        self.patch(Outside, "connect", connect_a_few)
        self.patch(ScriptedSession, "send", send_in_a_second)
        self.start(*map(row, range(1, 201)))
        self.house.pass_s(60, 0.5)
        self.assertEqual(["relayed"] * 200, self.queue.names())
        self.assertLess(len(self.outside.connects), 40)
        self.house.pass_s(30)
        self.assertEqual({}, self.house.pool._fewer)

    def test_a_host_that_refuses_all_is_not_asked_once_for_each_that_waits(self) -> None:
        self.outside.greeting = hold = Deferred()
        self.outside.down = {"mx.remote.test": SILENT}
        self.start(*map(row, range(1, 1001)))
        self.assertEqual(20, len(self.outside.connects))
        hold.callback(None)
        self.house.pass_s(20, 1)
        self.assertEqual(20, len(self.outside.connects))
        self.assertEqual((1000, {}), (self.queue.names().count("deferred"), self.queue.leased))

    def test_replies_go_before_lists(self) -> None:
        rows = [row(n, priority=2) for n in range(1, 15)] + [row(30, priority=0)]
        self.start(*rows)
        self.assertEqual("r30@remote.test", self.outside.reached[0])


class FaultTests(RelayCase):
    def test_what_was_taken_is_written_however_often_that_fails(self) -> None:
        self.start()
        self.queue.faults = [StoreFull(), StoreFull()]
        self.house.add(row(1))
        self.house.pass_s(10, 1)
        self.assertEqual(
            (["relayed"], ["r1@remote.test"]), (self.queue.names(), self.outside.reached)
        )

    def test_what_was_taken_is_not_given_back_because_the_next_can_t_be_read(self) -> None:
        read, faults = ListQueue.read, [StoreBusy()]

        def read_one(queue: ListQueue, message_id: int) -> Any:
            return fail(faults.pop()) if message_id == 2 and faults else read(queue, message_id)

        self.patch(ListQueue, "read", read_one)
        self.queue.faults = [StoreFull()]
        self.start(row(1), row(2))
        self.house.pass_s(60, 1)
        self.assertEqual(["r1@remote.test", "r2@remote.test"], self.outside.reached)
        self.assertEqual({}, self.queue.leased)

    def test_a_row_that_names_no_address_is_held_and_holds_up_no_other(self) -> None:
        self.start(row(1, recipient="no address"), row(2))
        self.assertEqual(["r2@remote.test"], self.outside.reached)
        self.assertEqual([1], self.queue.held)

    def test_a_fault_while_all_are_told_of_a_dead_host_leaves_nothing_leased(self) -> None:
        self.house.delivery.settings = OutboundSettings(connections=1)
        self.outside.down = {"mx.remote.test": SILENT}
        by_way, faults = Delivery.by_way, [None, StoreBusy()]

        def fault_once(delivery: Delivery, rows: Any) -> Any:
            fault = faults.pop(0) if faults else None
            return fail(fault) if fault else Deferred.fromCoroutine(by_way(delivery, rows))

        self.patch(Delivery, "by_way", fault_once)
        self.start(*map(row, range(1, 51)))
        self.assertEqual({}, self.queue.leased)
        self.assertEqual({}, self.house.delivery.leases._held)

    def test_an_interrupted_attempt_is_taken_up(self) -> None:
        self.queue.leased = {1: ("killed", BEGAN + 1000)}
        self.start(row(1))
        self.assertEqual(["relayed"], self.queue.names())

    def test_one_that_can_t_be_taken_up_at_the_start_is_a_little_later(self) -> None:
        self.queue.leased = {1: ("killed", BEGAN + 1000)}
        self.queue.recover_faults = [StoreBusy()]
        self.outside.hold = Deferred()
        self.start(row(1), row(2))
        self.house.pass_s(60)
        self.assertEqual(["here"], [by for by, _ in self.queue.leased.values()])
        self.outside.hold.callback(None)
        self.assertEqual(["r2@remote.test", "r1@remote.test"], self.outside.reached)

    def test_a_stop_waits_for_what_is_under_way_and_begins_nothing(self) -> None:
        self.outside.hold = hold = Deferred()
        self.start(row(1), row(2))
        stopped = Deferred.fromCoroutine(self.house.relay.stop(30.0))
        self.house.add(row(3, domain="new.test"))
        self.assertNoResult(stopped)
        hold.callback(None)
        self.successResultOf(stopped)
        self.assertEqual(["r1@remote.test"], self.outside.reached)
        self.assertEqual({}, self.queue.leased)
        self.assertEqual([2, 3], [each.queue_id for each in self.queue.rows])
        self.assertEqual([], self.house.clock.getDelayedCalls())

    def test_a_stop_cuts_off_what_takes_too_long(self) -> None:
        self.outside.hold = Deferred()
        self.start(row(1))
        stopped = Deferred.fromCoroutine(self.house.relay.stop(30.0))
        self.house.pass_s(40)
        self.assertTrue(self.outside.sessions[0].aborted)
        self.outside.hold.callback(None)
        self.successResultOf(stopped)

    def test_a_stop_cuts_off_a_host_that_never_greets(self) -> None:
        self.outside.greeting = Deferred()
        self.start(row(1))
        stopped = Deferred.fromCoroutine(self.house.relay.stop(30.0))
        self.house.pass_s(20)
        self.assertNoResult(stopped)
        self.house.pass_s(20)
        self.successResultOf(stopped)
        self.assertEqual(({}, []), (self.queue.leased, self.queue.names()))
        self.assertEqual(0, len(self.house.pool))

    def test_leases_are_renewed_while_an_attempt_lasts(self) -> None:
        self.outside.hold = Deferred()
        self.start(row(1))
        before = self.queue.leased[1][1]
        self.house.pass_s(301)
        self.assertGreater(self.queue.leased[1][1], before)


class ForwardTests(RelayCase):
    def test_what_an_alias_forwards_says_by_which(self) -> None:
        self.start(row(1, alias="sales@example.test"))
        outgoing = self.outside.sent[0][1]
        said = self.successResultOf(outgoing.open().read(100_000))
        self.assertEqual(b"Delivered-To: sales@example.test\r\nReceived: here\r\n" + RAW, said)
        self.assertEqual(len(said), outgoing.size_octets)

    def test_a_kept_connection_that_had_died_costs_no_attempt(self) -> None:
        self.start(row(1))
        self.outside.answers = {"r2@remote.test": [Answer(0, "4.4.2", "closed", "MAIL"), OK]}
        self.house.add(row(2))
        self.assertEqual(["relayed", "relayed"], self.queue.names())
        self.assertEqual(2, len(self.outside.connects))


class CrowdOfStrangersTests(RelayCase):
    def test_hosts_that_never_greet_leave_room_for_those_that_have_answered(self) -> None:
        self.start(row(1))
        self.outside.hold = hold = Deferred()
        for number in range(1000, 1400):
            self.house.add(row(number, domain=f"d{number}.test", recipient=f"r@d{number}.test"))
        self.assertEqual(1 + 150, len(self.outside.sessions))
        self.house.add(row(2))
        self.assertEqual("r2@remote.test", self.outside.reached[-1])
        self.outside.hold = None
        hold.callback(None)
        self.assertEqual(402, len(self.outside.reached))


class UnfiledReportTests(RelayCase):
    def test_a_report_that_can_not_be_filed_holds_up_no_outcome(self) -> None:
        self.outside.answers = {"r1@remote.test": [NEVER]}
        self.queue.faults = [ValueError("a bug")] * 5
        self.start(row(1))
        self.house.pass_s(120, 1)
        self.assertEqual(([1], []), (self.queue.held, self.queue.reports))
        (bounced,) = [each for each in self.queue.events if each.name == "bounced"]
        self.assertEqual("", bounced.detail["told"])
        self.assertEqual(["r1@remote.test"], self.outside.reached)
        self.assertEqual(5, len(self.flushLoggedErrors(ValueError)))
