"""What has become of each recipient of a mail, as its events tell."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mailnode.events import (
    Accepted,
    Bounced,
    CopyKept,
    Delivered,
    Event,
    Interrupted,
    PutOff,
    QueueChanged,
    Queued,
    Relayed,
)
from mailnode.stories import as_asked, events_for, fates_of, tell_story

X, Y = "x@elsewhere.test", "y@elsewhere.test"


def at(second: float, kind: type[Event], recipient: str = X, **detail: Any) -> Event:
    return kind(at=second, recipient=recipient, detail=detail)


class Fates(SynchronousTestCase):
    def state(self, *events: Event) -> str:
        (fate,) = fates_of(events)
        return fate.state

    def test_the_last_event_of_a_recipient_decides_whatever_order_they_are_given_in(self) -> None:
        queued, put_off = at(1, Queued), at(2, PutOff, reply="450 busy", due_at=62.0)
        self.assertEqual("queued", self.state(queued))
        (fate,) = fates_of([put_off, queued])
        self.assertEqual(("deferred", 2, 62.0), (fate.state, fate.at, fate.due_at))
        self.assertIn("450 busy", fate.words)
        self.assertEqual("relayed", self.state(queued, put_off, at(3, Relayed)))
        self.assertEqual("bounced", self.state(queued, at(3, Bounced)))
        self.assertEqual("queued", self.state(queued, at(3, Interrupted)))

    def test_each_recipient_has_its_own_in_the_order_that_they_came_up(self) -> None:
        fates = fates_of(
            [at(1, Delivered, "bob@here.test"), at(1, Queued, Y), at(1, Queued), at(2, Relayed, Y)]
        )
        self.assertEqual(
            [("bob@here.test", "delivered"), (Y, "relayed"), (X, "queued")],
            [(each.recipient, each.state) for each in fates],
        )

    def test_what_was_captured_or_an_administrator_did_is_told(self) -> None:
        self.assertEqual("captured", self.state(at(1, Queued, captured=True)))
        for action, state in (("held", "held"), ("released", "queued"), ("dropped", "dropped")):
            self.assertEqual(state, self.state(at(1, Queued), at(2, QueueChanged, action=action)))
        self.assertEqual("queued", self.state(at(1, Queued), at(2, QueueChanged, action="other")))

    def test_whom_an_alias_leads_to_is_told_to_nobody_who_sends_to_it(self) -> None:
        alias, sender = "team@here.test", "eve@here.test"
        events = [
            at(0, Accepted, "", account=sender),
            at(1, Delivered, alias, mailbox="bob@here.test"),
            at(1, Queued, X, alias=alias, domain="elsewhere.test"),
            at(2, PutOff, X, reply=f"450 {X} busy", host="mx.elsewhere.test", due_at=62.0),
            at(3, Bounced, X, reply=f"550 {X} unknown", host="mx.elsewhere.test"),
            at(4, Queued, Y),
        ]
        for seen in (as_asked(events), events_for(events, sender)):
            told = repr(fates_of(seen)) + repr(tell_story("M", seen))
            self.assertNotIn("bob@", told)
            self.assertNotIn("x@elsewhere", told)
            self.assertNotIn("mx.elsewhere", told)
            states = [(fate.recipient, fate.state) for fate in fates_of(seen)]
            self.assertEqual([(alias, "bounced"), (Y, "queued")], states)
        self.assertIn("bob@here.test", repr(tell_story("M", events_for(events, "bob@here.test"))))

    def test_a_copy_that_is_kept_is_no_recipient(self) -> None:
        self.assertEqual([], fates_of([at(1, CopyKept, folder="Sent")]))


class Judged(SynchronousTestCase):
    def test_what_filters_found_stands_behind_the_accept_with_its_reasons(self) -> None:
        event = at(
            1,
            Accepted,
            judged=[
                {"by": "authentication", "facts": {"spf": "pass example.org", "dkim": "none"}},
                {"by": "words", "unwanted": True, "reasons": ["the word viagra", "spf fail"]},
                {"by": "rspamd", "reasons": ["score 3 of 15"]},
                {"by": "senders", "wanted": True, "reasons": ["b@here.test allows x.test"]},
            ],
        )
        _accepted, *judged = (line.words for line in tell_story("M", [event]).lines)
        self.assertEqual(
            [
                "judged by authentication (spf pass example.org, dkim none)",
                "judged unwanted by words, because the word viagra; spf fail",
                "judged by rspamd: score 3 of 15",
                "judged wanted by senders, because b@here.test allows x.test",
            ],
            judged,
        )

    def test_a_folder_that_is_not_the_inbox_is_named(self) -> None:
        (line,) = tell_story("M", [at(1, Delivered, folder="Junk", mailbox="b@here.test")]).lines
        self.assertIn(
            "mailbox of b@here.test (asked for: x@elsewhere.test) (folder Junk)", line.words
        )

    def test_what_a_copy_s_owner_has_taught_is_told_to_nobody_else(self) -> None:
        alice, bob = "alice@here.test", "bob@here.test"
        judged = [{"by": "learned", "unwanted": True, "reasons": ["the word secret"]}]
        events = [
            at(1, Accepted, account="carol@here.test"),
            at(1, Delivered, recipient=alice, judged=judged),
            at(1, Delivered, recipient="b@here.test", mailbox=bob, judged=judged),
        ]
        for address, times in (("carol@here.test", 0), (alice, 1), (bob, 1)):
            told = repr(tell_story("M", events_for(events, address)))
            self.assertEqual(times, told.count("because the word secret"), address)
        self.assertNotIn("secret", repr(tell_story("M", as_asked(events))))
