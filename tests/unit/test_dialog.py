"""A session's lines, for `trace --show-dialog`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mailnode.dialog import LINE_OCTETS, MAIL_OCTETS, SESSION_OCTETS, Dialog


class DialogTests(SynchronousTestCase):
    def test_a_mail_that_is_done_is_forgotten_and_one_that_came_to_nothing_is_not(self) -> None:
        dialog = Dialog()
        dialog.note("S: 220")
        dialog.begin_mail()
        dialog.note("C: MAIL one")
        dialog.begin_mail()
        dialog.note("C: MAIL two")
        self.assertEqual("S: 220\nC: MAIL one\nC: MAIL two", str(dialog))
        dialog.end_mail()
        self.assertEqual("S: 220\nC: MAIL one", str(dialog))

    def test_it_is_bounded_and_says_that_something_is_left_out(self) -> None:
        dialog = Dialog()
        for _ in range(3):
            for _ in range(200):
                dialog.note("C: " + "x" * 5000)
            self.assertTrue(str(dialog).endswith("\n..."))
            dialog.begin_mail()
        self.assertEqual(1, str(dialog).count("\n..."))
        self.assertLess(len(str(dialog)), SESSION_OCTETS + MAIL_OCTETS + 2 * LINE_OCTETS)
