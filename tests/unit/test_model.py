"""`mailnode.model`: ids that sort by time, ranges, and values that stay as they are."""

from __future__ import annotations

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailnode import model
from mailnode.model import Accepted, Delivered, Event, in_ranges, new_mail_id, ranges_of


class MailIdTests(SynchronousTestCase):
    def test_it_is_a_ulid_of_26_characters(self) -> None:
        self.assertRegex(new_mail_id(), r"^[0-7][0-9A-HJKMNP-TV-Z]{25}$")
        self.assertEqual(len(new_mail_id()), model.MAIL_ID_LENGTH)

    def test_it_begins_with_the_time_as_ulids_write_it(self) -> None:
        self.assertEqual(new_mail_id(1469918176.385)[:10], "01ARYZ6S41")  # the spec's own example

    def test_ids_sort_by_time(self) -> None:
        ids = [new_mail_id(at) for at in (0.0, 0.001, 1.0, 1e9, 1.7e9, 1.7e9 + 0.001, 4e9)]
        self.assertEqual(ids, sorted(ids))

    def test_ids_of_one_millisecond_differ(self) -> None:
        self.assertEqual(len({new_mail_id(1.0) for _ in range(1000)}), 1000)


class RangesTests(SynchronousTestCase):
    def test_runs_are_written_short(self) -> None:
        self.assertEqual(ranges_of([1, 2, 3, 7, 9, 10]), "1-3,7,9-10")
        self.assertEqual(ranges_of([]), "")
        self.assertEqual(ranges_of([10, 2, 1]), "1-2,10")

    @given(st.sets(st.integers(min_value=1, max_value=60)), st.integers(min_value=0, max_value=61))
    def test_a_number_is_in_what_was_written_exactly_when_it_was_among_them(
        self, numbers: set[int], number: int
    ) -> None:
        self.assertEqual(in_ranges(number, ranges_of(list(numbers))), number in numbers)


class EventTests(SynchronousTestCase):
    def test_events_are_told_apart_by_their_class(self) -> None:
        self.assertNotEqual(Accepted(at=1.0, mail_id="A"), Delivered(at=1.0, mail_id="A"))
        self.assertEqual(Accepted(at=1.0, mail_id="A"), Accepted(at=1.0, mail_id="A"))

    def test_every_event_has_a_name_of_its_own(self) -> None:
        kinds = [kind for kind in Event.__subclasses__() if kind.__module__ == model.__name__]
        self.assertEqual(len({kind.name for kind in kinds} | {Event.name}), len(kinds) + 1)

    def test_an_event_can_t_be_changed(self) -> None:
        event = Accepted(mail_id="A")
        with self.assertRaises(attrs.exceptions.FrozenInstanceError):
            event.mail_id = "B"  # type: ignore[misc]
