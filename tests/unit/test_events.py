"""`mailnode.events`: told apart by class and name, and stay as they are."""

from __future__ import annotations

import attrs
from twisted.trial.unittest import SynchronousTestCase

from mailnode import events
from mailnode.events import Accepted, Delivered, Event


class EventTests(SynchronousTestCase):
    def test_events_are_told_apart_by_their_class(self) -> None:
        self.assertNotEqual(Accepted(at=1.0, mail_id="A"), Delivered(at=1.0, mail_id="A"))
        self.assertEqual(Accepted(at=1.0, mail_id="A"), Accepted(at=1.0, mail_id="A"))

    def test_every_event_has_a_name_of_its_own(self) -> None:
        kinds = [kind for kind in Event.__subclasses__() if kind.__module__ == events.__name__]
        self.assertEqual(len({kind.name for kind in kinds} | {Event.name}), len(kinds) + 1)

    def test_an_event_can_t_be_changed(self) -> None:
        event = Accepted(mail_id="A")
        with self.assertRaises(attrs.exceptions.FrozenInstanceError):
            event.mail_id = "B"  # type: ignore[misc]
