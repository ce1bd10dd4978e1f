"""`tests.mends`: every entry has a mend that can be taken out of the tree as it is."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import mailnode
from tests.mends import ENTRIES, Mend, MendError, find_test, read_mends, tests_of


class MendsTests(SynchronousTestCase):
    def test_every_entry_has_a_mend_and_a_test(self) -> None:
        self.assertEqual({mend.entry for mend in read_mends()}, set(ENTRIES))
        for entry in ENTRIES:
            self.assertTrue(tests_of(entry), entry)

    def test_each_can_be_taken_out_of_the_tree_as_it_is(self) -> None:
        for mend in read_mends():
            path = Path(mailnode.__file__).parents[1] / mend.file  # the tree, or the wheel
            mend.applied(path.read_text("utf-8"))

    def test_each_names_tests_that_there_are(self) -> None:
        for mend in read_mends():
            self.assertTrue(mend.tests, mend.out)
            for test in mend.tests:
                find_test(test)

    def test_no_two_of_an_entry_are_the_same(self) -> None:
        told = [(mend.entry, mend.out) for mend in read_mends()]
        self.assertEqual(len(told), len(set(told)))


class PatchTests(SynchronousTestCase):
    def applied(self, source: str, old: str, new: str = "") -> str:
        mend = Mend(entry="S1", out="", file="x.py", old=old, new=new, tests=())
        return mend.applied(source)

    def test_white_space_is_not_minded(self) -> None:
        self.assertEqual(self.applied("if a(\n    b\n):\n    c\n", "a( b )", "d"), "if d:\n    c\n")

    def test_what_is_not_there_or_there_twice_is_told(self) -> None:
        for source in ("b\n", "a\na\n"):
            self.assertRaises(MendError, self.applied, source, "a", "c")

    def test_what_is_no_python_any_more_is_told(self) -> None:
        self.assertRaises(MendError, self.applied, "if a:\n    b\n", "b")

    def test_a_test_that_there_is_not_is_told(self) -> None:
        self.assertRaises(MendError, find_test, "test_nobody_wrote_this")
