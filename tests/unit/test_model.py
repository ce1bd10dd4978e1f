"""`mailnode.model`: ids that sort by time, and ranges."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailnode import model
from mailnode.model import in_ranges, new_mail_id, ranges_of


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
