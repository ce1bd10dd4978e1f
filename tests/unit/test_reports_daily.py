"""Once a day who asks for it is told: when, to whom, once, and what becomes of it otherwise."""

from __future__ import annotations

import email
import gzip
from pathlib import Path
from typing import Any

import dkim
from attrs import evolve
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mailnode.addresses import parse_address
from mailnode.errors import LookupFailed, StoreBusy
from mailnode.mailauth.dkim import ED25519
from mailnode.mailauth.dmarc_seen import Published, Seen
from mailnode.mailauth.keys import key_record, make_private_key, packed, public_text, seal_label
from mailnode.outbound.reporting import Reports
from mailnode.outbound.signing import Signer
from mailnode.reports.daily import FIRST_S, SPREAD_S, DmarcReporting
from mailnode.reports.mails import mail_id_for
from mailnode.sealing import Seal
from mailnode.store.dmarc_rows import OPEN, SENT, UNSENT, Collected
from mailnode.store.elsewhere import SigningKey
from tests.fakes import FakeResolver
from tests.unit.relay_case import People
from tests.unit.reports_case import (
    DAY,
    DAY_S,
    DOMAIN,
    HOUR_S,
    NOON,
    PUBLISHED,
    collected,
    read_feedback,
    seen,
)
from tests.unit.test_outbound_signing import FakeDirectory, FakeThreads

AWAY = "remote.test._report._dmarc.reports.example"
TO_AWAY = "v=DMARC1; p=none; rua=mailto:a@reports.example"


class Counts:
    """Stands where `DmarcFile` does: all is in memory, and outlives who sends."""

    def __init__(self) -> None:
        self.reports: dict[int, Collected] = {}
        self.rows: dict[int, list[tuple[Seen, int]]] = {}
        self.broken = False
        self.lost: list[str] = []

    def add(self, *rows: Seen, published: Published = PUBLISHED, day: str = DAY) -> int:
        number = len(self.reports) + 1
        self.reports[number] = collected(
            report_id=number, day=day, domain=published.domain, record=published.record
        )
        self.rows[number] = [(each, 1) for each in rows or (seen(),)]
        return number

    def waiting_before(self, day: str) -> Deferred[list[tuple[int, str, str]]]:
        return succeed(
            [
                (each.report_id, each.day, each.domain)
                for each in self.reports.values()
                if each.day < day and each.state == OPEN
            ]
        )

    def read(self, report_id: int) -> Deferred[Any]:
        return succeed((self.reports[report_id], self.rows[report_id]))

    def settle(self, report_id: int, state: str, note: str) -> Deferred[None]:
        if self.broken:
            raise OSError("the disk is gone")
        self.reports[report_id] = evolve(self.reports[report_id], state=state, note=note)
        return succeed(None)

    def state(self, report_id: int = 1) -> str:
        return self.reports[report_id].state

    def note(self, report_id: int = 1) -> str:
        return self.reports[report_id].note


class DailyCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.people, self.counts = Clock(), People(), Counts()
        self.zone: dict[tuple[str, str], Any] = {}
        self.filed: list[Any] = []
        self.fault: Exception | None = None
        self.directory, self.seal = FakeDirectory(), Seal.open(Path(self.mktemp()))
        self.reporting = self.start()

    def start(self, **more: Any) -> DmarcReporting:
        made = DmarcReporting(
            **{
                "enabled": True,
                "clock": self.clock,
                "now": lambda: NOON + self.clock.seconds(),
                "resolver": FakeResolver(self.zone),
                "reports": Reports(self.people, "mx.example.test"),
                "signer": Signer(self.directory, self.seal, FakeThreads()),  # type: ignore[arg-type]
                "counts": self.counts,  # type: ignore[dict-item]
                "file": self.file,
                "was_filed": self.was_filed,
                "in_thread": maybeDeferred,
                **more,
            }
        )
        made.start()
        return made

    def file(self, envelope: Any, message: Any) -> Deferred[Any]:
        if self.fault is not None:
            raise self.fault
        self.assertNotIn(envelope.mail_id, [each.mail_id for each, _ in self.filed], "twice")
        self.filed.append((envelope, message))
        return succeed(())

    async def was_filed(self, mail_id: str) -> bool:
        return mail_id in [envelope.mail_id for envelope, _ in self.filed]

    def stop(self) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.reporting.stop()))

    def pass_hours(self, hours: float) -> None:
        self.clock.pump([60.0] * round(hours * 60))

    def recipients(self, number: int = 0) -> list[str]:
        return [str(each.address) for each in self.filed[number][0].remotes]


class SendingTests(DailyCase):
    def test_who_asks_is_told_once_when_the_day_is_over(self) -> None:
        self.counts.add(seen(), seen(source="192.0.2.8"))
        self.pass_hours(12)
        self.assertEqual([], self.filed)
        self.pass_hours((FIRST_S + SPREAD_S) / HOUR_S + 0.1)
        ((envelope, message),) = self.filed
        self.assertEqual(["dmarc@remote.test"], self.recipients())
        mail = email.message_from_bytes(message.body)
        read = read_feedback(gzip.decompress(mail.get_payload()[1].get_payload(decode=True)))
        self.assertEqual(2, len(read["record"]))
        self.assertEqual("mx.example.test", read["report_metadata"]["org_name"])
        self.assertEqual("postmaster@example.test", read["report_metadata"]["email"])
        self.assertEqual(mail_id_for(self.counts.reports[1], "mx.example.test"), envelope.mail_id)
        self.assertEqual(
            (SENT, f"by mail {envelope.mail_id} to dmarc@remote.test"),
            (self.counts.state(), self.counts.note()),
        )
        self.pass_hours(72)
        self.assertEqual((1, {"sent": 1}), (len(self.filed), self.reporting.outcomes))

    def test_a_report_that_fails_is_told_to_nobody(self) -> None:
        """So no report makes a bounce; its reverse-path is one that SPF can align."""
        self.counts.add()
        self.pass_hours(17)
        envelope, _ = self.filed[0]
        self.assertEqual(["NEVER"], [each.notify for each in envelope.remotes])
        self.assertEqual("postmaster@example.test", str(envelope.sender))

    def test_it_comes_from_whom_the_settings_name_signed_where_there_is_a_key(self) -> None:
        self.stop()
        key = make_private_key(ED25519)
        sealed = self.seal.seal(packed(key), seal_label("reports.example.test", "s1"))
        self.directory.keys["reports.example.test"] = (
            SigningKey("s1", ED25519, sealed, "reports.example.test", public_text(key)),
        )
        address = parse_address("dmarc@reports.example.test")
        self.reporting = self.start(address=address, organization="Example, Inc.")
        self.counts.add()
        self.pass_hours(17)
        envelope, message = self.filed[0]
        raw = message.prefix + message.body
        self.assertEqual(address, envelope.sender)
        self.assertEqual(
            "DMARC reports of reports.example.test <dmarc@reports.example.test>",
            email.message_from_bytes(raw)["From"],
        )
        answer = key_record(ED25519, public_text(key)).encode()
        self.assertTrue(dkim.DKIM(raw).verify(dnsfunc=lambda name, timeout=5: answer))

    def test_domains_have_moments_of_their_own_and_the_same_again_after_a_restart(self) -> None:
        for number in range(40):
            self.counts.add(published=evolve(PUBLISHED, domain=f"d{number}.remote.test"))
        self.pass_hours(12.2)
        seen_at = []
        for _ in range(9):
            self.pass_hours(0.5)
            seen_at.append(len(self.filed))
            self.stop()
            self.reporting = self.start()
        self.assertEqual(40, seen_at[-1])
        self.assertGreater(len(set(seen_at)), 6, "they come bit by bit")

    def test_while_it_is_off_nothing_is_sent(self) -> None:
        self.stop()
        self.reporting = self.start(enabled=False)
        self.counts.add()
        self.pass_hours(40)
        self.assertEqual(([], OPEN), (self.filed, self.counts.state()))
        self.assertEqual(float("inf"), self.reporting.next_at)

    def test_a_day_that_begins_while_reports_are_sent_waits_for_its_end(self) -> None:
        self.counts.add(day="2025-01-02")
        self.pass_hours(35.9)
        self.assertEqual([], self.filed)
        self.pass_hours(5)
        self.assertEqual(1, len(self.filed))

    def test_without_a_domain_nobody_reports(self) -> None:
        self.people.first_domain = None
        self.counts.add()
        self.pass_hours(60)
        self.assertEqual(([], UNSENT), (self.filed, self.counts.state()))


class PlaceTests(DailyCase):
    def test_elsewhere_it_goes_where_it_is_wanted(self) -> None:
        self.counts.add(published=Published(DOMAIN, TO_AWAY))
        self.counts.add(published=Published("other.test", TO_AWAY))
        self.zone[AWAY, "TXT"] = ["v=DMARC1"]
        self.pass_hours(17)
        self.assertEqual(["a@reports.example"], self.recipients())
        self.assertEqual(1, len(self.filed))
        self.assertEqual(
            (UNSENT, "the domain of a@reports.example does not say that it takes it"),
            (self.counts.state(2), self.counts.note(2)),
        )

    def test_who_takes_no_more_than_that_gets_nothing_larger(self) -> None:
        record = "v=DMARC1; p=none; rua=mailto:small@remote.test!100,mailto:large@remote.test!1m"
        self.counts.add(published=Published(DOMAIN, record))
        small = "v=DMARC1; p=none; rua=mailto:small@remote.test!100"
        self.counts.add(published=Published("remote.test", small))
        self.pass_hours(17)
        self.assertEqual(["large@remote.test"], self.recipients())
        self.assertNotIn(b"small@", self.filed[0][1].body)
        self.assertEqual(
            (UNSENT, "it is too large for small@remote.test"),
            (self.counts.state(2), self.counts.note(2)),
        )

    def test_where_the_gear_lets_nothing_out_it_stays(self) -> None:
        self.people.stays = {DOMAIN}
        self.counts.add()
        self.pass_hours(17)
        self.assertEqual(([], UNSENT), (self.filed, self.counts.state()))

    def test_an_address_here_gets_it_in_its_mailbox(self) -> None:
        record = "v=DMARC1; p=none; rua=mailto:alice@example.test"
        self.counts.add(published=Published("example.test", record))
        self.pass_hours(17)
        envelope, _ = self.filed[0]
        self.assertEqual(["alice@example.test"], [each.mailbox for each in envelope.recipients])

    def test_who_can_not_be_asked_is_asked_each_hour_and_at_last_left_out(self) -> None:
        record = f"{TO_AWAY},mailto:dmarc@remote.test"
        self.counts.add(published=Published(DOMAIN, record))
        self.zone[AWAY, "TXT"] = LookupFailed()
        self.pass_hours(30)
        self.assertEqual([], self.filed)
        self.assertGreater(self.reporting.outcomes["put-off"], 12)
        self.pass_hours(6)
        self.assertEqual(["dmarc@remote.test"], self.recipients())

    def test_one_that_can_be_asked_later_is_told_later(self) -> None:
        self.counts.add(published=Published(DOMAIN, TO_AWAY))
        self.zone[AWAY, "TXT"] = LookupFailed()
        self.pass_hours(20)
        self.zone[AWAY, "TXT"] = ["v=DMARC1"]
        self.pass_hours(2)
        self.assertEqual(["a@reports.example"], self.recipients())


class InterruptedTests(DailyCase):
    def test_a_kill_behind_the_commit_sends_nothing_twice(self) -> None:
        self.counts.add()
        self.counts.broken = True  # nobody hears that it was sent
        self.pass_hours(17)
        self.assertEqual((1, OPEN), (len(self.filed), self.counts.state()))
        self.assertEqual({}, self.reporting.outcomes)
        self.counts.broken = False
        self.reporting = self.start()
        self.pass_hours(2)
        self.assertEqual((1, SENT), (len(self.filed), self.counts.state()))
        self.assertIn("before this start", self.counts.note())

    def test_a_kill_in_front_of_it_loses_nothing(self) -> None:
        self.counts.add()
        self.reporting.file = lambda *mail: Deferred()  # nobody ever hears of it again
        self.pass_hours(17)
        self.reporting = self.start()
        self.pass_hours(2)
        self.assertEqual((1, SENT), (len(self.filed), self.counts.state()))

    def test_a_store_that_is_busy_is_asked_again(self) -> None:
        self.counts.add()
        self.fault = StoreBusy()
        self.pass_hours(17)
        self.assertEqual(OPEN, self.counts.state())
        self.fault = None
        self.pass_hours(1.1)
        self.assertEqual(SENT, self.counts.state())

    def test_a_report_that_breaks_holds_up_no_other_and_is_given_up_at_the_end(self) -> None:
        self.counts.add(published=Published("bad.test", "no policy; rua=mailto:a@bad.test"))
        self.counts.rows[1] = [None]  # type: ignore[list-item]
        self.counts.add()
        self.pass_hours(17)
        self.assertEqual((SENT, OPEN), (self.counts.state(2), self.counts.state(1)))
        self.pass_hours(24)
        self.assertEqual(UNSENT, self.counts.state(1))
        self.assertTrue(self.flushLoggedErrors())

    def test_days_for_which_it_is_too_late_are_given_up(self) -> None:
        self.counts.add(day="2024-12-29")
        self.counts.add(day="2024-12-31")
        self.pass_hours(6)
        self.assertEqual((UNSENT, "not in time"), (self.counts.state(1), self.counts.note(1)))
        self.assertEqual(SENT, self.counts.state(2))

    def test_a_clock_that_was_wrong_by_a_year_delays_nothing_once_it_is_right(self) -> None:
        self.stop()
        wrong_s = 365 * DAY_S
        self.reporting = self.start(now=lambda: NOON + self.clock.seconds() + wrong_s)
        self.pass_hours(1)
        self.reporting.now = lambda: NOON + self.clock.seconds()
        self.counts.add()
        self.pass_hours(16)
        self.assertEqual(SENT, self.counts.state())

    def test_at_a_stop_nobody_waits_for_a_nameserver(self) -> None:
        silent: Deferred[Any] = Deferred()

        class Silent:
            async def look_up(self, name: str, kind: str) -> Any:
                await silent

        self.stop()
        self.reporting = self.start(resolver=Silent())
        self.counts.add(published=Published(DOMAIN, TO_AWAY))
        self.pass_hours(17)
        self.stop()
        self.assertEqual(([], OPEN), (self.filed, self.counts.state()))
        self.assertEqual([], self.clock.getDelayedCalls())
        self.assertEqual([], self.flushLoggedErrors())

    def test_who_asks_while_it_is_sent_waits_for_the_same(self) -> None:
        self.counts.add()
        silent: Deferred[Any] = Deferred()
        self.reporting.file = lambda *mail: silent
        self.clock.advance(17 * HOUR_S)
        first, second = self.reporting.run(), self.reporting.run()
        self.assertNoResult(second)
        silent.callback(())
        self.successResultOf(first)
        self.successResultOf(second)
        self.assertEqual({"sent": 1}, self.reporting.outcomes)

    def test_between_reports_it_knows_when_the_next_is_due(self) -> None:
        self.clock.advance(0.5)
        self.successResultOf(self.reporting.run())
        self.assertEqual(NOON + 12 * HOUR_S + FIRST_S, self.reporting.next_at)
        self.counts.add()
        self.clock.advance(12 * HOUR_S + FIRST_S)
        self.successResultOf(self.reporting.run())
        begin = NOON + 12 * HOUR_S + FIRST_S
        self.assertTrue(begin < self.reporting.next_at < begin + SPREAD_S)
        self.clock.advance(self.reporting.next_at - NOON - self.clock.seconds())
        self.successResultOf(self.reporting.run())
        self.assertEqual(SENT, self.counts.state())
        self.assertEqual(NOON + 12 * HOUR_S + DAY_S + FIRST_S, self.reporting.next_at)
