"""Which mails count for an aggregate report."""

from __future__ import annotations

from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from mailnode.mailauth.dmarc_seen import Override
from mailnode.model import Message
from mailnode.reports.collecting import Collecting
from tests.unit.reports_case import DAY, DAY_S, NOON, PUBLISHED
from tests.unit.test_mailauth_dmarc_seen import authenticated, envelope

MIDNIGHT = NOON + DAY_S / 2


class CollectingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.counted: list[Any] = []
        self.fault: Exception | None = None
        file: Any = self
        self.collecting = Collecting(file)

    def count(self, *told: Any) -> None:
        if self.fault is not None:
            raise self.fault
        self.counted.append(told)

    def note(self, at: float = NOON, subject: str = "Hello", record: str | None = None) -> None:
        found = authenticated() if record is None else authenticated(record)
        message = evolve(Message(b"", b"\r\n", 2, b""), subject=subject)
        self.collecting.note(
            evolve(envelope(), received_at=at), message, found, "none", Override("other")
        )

    def test_a_mail_counts_for_the_day_in_utc_when_it_came(self) -> None:
        for at in (MIDNIGHT - DAY_S, MIDNIGHT - 0.001, MIDNIGHT):
            self.note(at)
        self.assertEqual([DAY, DAY, "2025-01-02"], [day for day, _, _ in self.counted])
        _, published, row = self.counted[0]
        self.assertEqual((PUBLISHED, (("other", ""),)), (published, row.overrides))

    def test_reports_count_for_nothing_whoever_sends_them(self) -> None:
        for subject in (
            "Report Domain: remote.test Submitter: example.test Report-ID: <a@mx.example.test>",
            "Report domain: remote.test Submitter: google.com Report-ID: 1234",
            "Report Domain: x.test   Submitter:   y.test\tReport-ID: <1>",
        ):
            self.note(subject=subject)
        self.assertEqual([], self.counted)
        self.note(subject="Report Domain: of what?")
        self.assertEqual(1, len(self.counted))

    def test_who_asks_for_nothing_is_not_counted(self) -> None:
        self.note(record="v=DMARC1; p=reject")
        self.assertEqual([], self.counted)

    def test_what_breaks_breaks_no_mail(self) -> None:
        self.fault = RuntimeError("broken")
        self.note()
        self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)))
