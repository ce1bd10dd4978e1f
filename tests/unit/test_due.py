"""`mailnode.due`: the clock that due times are read from."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mailnode.due import CLOCK, DueClock, read_clock, write_clock


class DueClockTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.data = Path(self.mktemp())
        self.data.mkdir()

    def test_the_wall_s_is_the_wall_s(self) -> None:
        self.assertEqual(7.0, DueClock(wall=lambda: 7.0).now())

    def test_one_that_is_moved_by_hand_goes_on_from_where_it_was(self) -> None:
        clock = DueClock.manual(self.data)
        clock.wall = lambda: 100.0
        clock.move_to(130.0)
        clock.keep()
        again = DueClock.manual(self.data)
        again.wall = lambda: 200.0
        self.assertEqual((130.0, 230.0), (clock.now(), again.now()))

    def test_it_never_goes_back(self) -> None:
        clock = DueClock(wall=lambda: 100.0)
        clock.move_to(130.0)
        clock.move_to(110.0)
        self.assertEqual(130.0, clock.now())

    def test_what_somebody_wants_is_kept_beside_what_it_is(self) -> None:
        clock = DueClock.manual(self.data)
        write_clock(self.data / CLOCK, ahead_s=0.0, wanted_s=50.0)
        clock.ahead_s = 20.0
        clock.keep()
        self.assertEqual({"ahead_s": 20.0, "wanted_s": 50.0}, read_clock(self.data / CLOCK))
        self.assertEqual(50.0, clock.wanted())

    def test_a_file_that_is_none_is_no_time(self) -> None:
        for text in ("", "[]", "{", '{"ahead_s": "x"}'):
            (self.data / CLOCK).write_text(text)
            self.assertEqual(0.0, read_clock(self.data / CLOCK)["ahead_s"], text)

    def test_a_node_with_the_wall_s_clock_forgets_the_other_and_says_how_far_it_was(self) -> None:
        write_clock(self.data / CLOCK, ahead_s=50.0, wanted_s=50.0)
        self.assertEqual(50.0, DueClock.of_wall(self.data)[1])
        self.assertEqual(0.0, DueClock.of_wall(self.data)[1])
        self.assertFalse((self.data / CLOCK).exists())
