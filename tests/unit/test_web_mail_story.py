"""What who has a copy of a mail is told of its way, and of why it is unwanted."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mailnode.events import Accepted, CopyKept, Delivered, Fetched, Moved, Queued, Relayed
from mailnode.model import Event
from mailnode.web.pages.mail_story import is_to_be_explained, tell_owner, why_unwanted


class StoryTests(SynchronousTestCase):
    events = (
        Accepted(at=1.0, mail_id="M", sender="a@example.test", client="192.0.2.1",
                 detail={"account": "a@example.test", "protocol": "ESMTPSA", "dialog": "secret"}),
        CopyKept(at=1.0, mail_id="M", recipient="a@example.test", folder_id=1, uid=1,
                 detail={"folder": "Sent"}),
        Delivered(at=1.0, mail_id="M", recipient="list@example.test", folder_id=2, uid=9,
                  detail={"mailbox": "b@example.test"}),
        Queued(at=1.0, mail_id="M", recipient="c@far.example"),
        Moved(at=2.0, mail_id="M", recipient="b@example.test", folder_id=3, uid=1,
              detail={"from_folder": "INBOX", "from_uid": 9, "to_folder": "Junk"}),
        Fetched(at=2.0, recipient="b@example.test", folder_id=2, client="198.51.100.7",
                detail={"read": "9"}),
        Relayed(at=3.0, mail_id="M", recipient="c@far.example",
                detail={"host": "mx.far.example", "reply": "250 ok"}),
    )  # fmt: skip

    def tell(self, name: str, *folder_ids: int, events: tuple[Event, ...] = events) -> Any:
        return tell_owner("M", events, lambda said: said == name, set(folder_ids))

    def test_who_sent_it_learns_what_became_of_each_recipient_that_was_named(self) -> None:
        told = self.tell("a@example.test", 1)
        self.assertEqual(
            [("list@example.test", "delivered"), ("c@far.example", "relayed")],
            [(fate.recipient, fate.state) for fate in told.fates],
        )
        self.assertIn("250 ok", told.fates[1].words)
        self.assertEqual(["accepted", "kept"], [line.event for line in told.lines])

    def test_no_sender_learns_who_is_behind_an_address_or_what_they_do(self) -> None:
        told = str(self.tell("a@example.test", 1))
        for secret in ("b@example.test", "Junk", "198.51.100.7"):
            self.assertNotIn(secret, told)

    def test_a_recipient_learns_of_copies_of_its_own_alone(self) -> None:
        told = self.tell("b@example.test", 2, 3)
        self.assertEqual((), told.fates)
        self.assertEqual(
            ["accepted", "delivered", "moved", "pop3-session"], [line.event for line in told.lines]
        )
        self.assertNotIn("far.example", str(told))
        self.assertNotIn("signed in", str(told))

    def test_why_a_mail_lies_in_junk_is_told_by_each_who_judged_so(self) -> None:
        judged = [
            {"by": "authentication", "facts": {"spf": "pass"}, "reasons": ["it is noted"]},
            {"by": "rspamd", "unwanted": True, "reasons": ["CHEAP (+7.5)", "NO_DATE (+1.0)"]},
            {"by": "own", "unwanted": True},
        ]
        events = (Accepted(at=1.0, mail_id="M", detail={"judged": judged}), *self.events)
        told = ("rspamd: CHEAP (+7.5); NO_DATE (+1.0)", "own: it is unwanted")
        self.assertEqual(told, why_unwanted(events, ()))
        self.assertEqual((), why_unwanted(self.events, ()))
        self.assertEqual((), why_unwanted((), ()))

    def test_what_is_said_of_ones_own_copy_stands_for_what_is_said_of_all(self) -> None:
        def judged(by: str, why: str, *, unwanted: bool = True) -> dict[str, object]:
            return {"by": by, "unwanted": unwanted, "reasons": [why]}

        def delivered(folder_id: int, *said: dict[str, object]) -> Delivered:
            return Delivered(at=2.0, mail_id="M", folder_id=folder_id, detail={"judged": said})

        of_all = {"judged": [judged("learned", "of all"), judged("rspamd", "CHEAP")]}
        events = (
            delivered(2, judged("learned", "of his"), judged("senders", "he blocks it")),
            delivered(3, judged("learned", "of others'")),
            Accepted(at=1.0, mail_id="M", detail=of_all),
        )
        told = ("learned: of his", "rspamd: CHEAP", "senders: he blocks it")
        self.assertEqual(told, why_unwanted(events, {1, 2}))
        self.assertEqual(("learned: of all", "rspamd: CHEAP"), why_unwanted(events, {4}))
        kept = delivered(2, judged("learned", "of his", unwanted=False))
        self.assertEqual(("rspamd: CHEAP",), why_unwanted((*events[1:], kept), {2}))

    def test_no_dialog_of_another_is_told(self) -> None:
        self.assertNotIn("secret", str(self.tell("b@example.test", 2)))

    def test_reasons_are_asked_for_where_what_was_learned_found_a_mail_not_unwanted(self) -> None:
        def judged(name: str, **more: Any) -> Event:
            kind = Accepted if name == "accepted" else Delivered
            by = more.pop("by", "learned")
            return kind(mail_id="M", detail={"judged": [{"by": by, **more}]}, folder_id=2)

        for expected, event in (
            (True, judged("accepted", facts={"verdict": "wanted"})),
            (True, judged("delivered", facts={"verdict": "unsure"})),
            (False, judged("delivered", unwanted=True, reasons=["so"])),
            (False, judged("delivered", reasons=["you have written to a@example.net"])),
            (False, judged("accepted", by="rspamd")),
        ):
            self.assertEqual(expected, is_to_be_explained([event], {2}), event)
        of_another = judged("delivered", facts={"verdict": "unsure"})
        self.assertFalse(is_to_be_explained([of_another, *self.events], {3}))
