"""Where the way to a file ends for a user."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mailnode.reach import barred_at


class ReachTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        (self.folder / "home" / "mail").mkdir(parents=True)
        self.closed: dict[Path, int] = {}
        self.patch(os, "access", lambda path, mode: not self.closed.get(Path(path), 0) & mode)

    def test_nothing_stands_in_the_way_of_what_is_there_or_can_be_made(self) -> None:
        for path in (self.folder / "home", self.folder / "home" / "mail" / "deep" / "var"):
            self.assertIs(None, barred_at(path, os.R_OK))

    def test_a_folder_on_the_way_is_named_rather_than_what_lies_in_it(self) -> None:
        self.closed = {self.folder / "home": os.X_OK, self.folder / "home" / "mail": os.W_OK}
        bar = barred_at(self.folder / "home" / "mail" / "var", os.R_OK)
        self.assertEqual(self.folder / "home", bar)

    def test_what_can_not_be_made_is_barred_where_it_would_be(self) -> None:
        self.closed = {self.folder / "home" / "mail": os.W_OK}
        bar = barred_at(self.folder / "home" / "mail" / "deep" / "var", os.R_OK)
        self.assertEqual(self.folder / "home" / "mail", bar)

    def test_what_is_there_must_allow_what_is_wanted_of_it(self) -> None:
        self.closed = {self.folder / "home" / "mail": os.W_OK}
        self.assertIs(None, barred_at(self.folder / "home" / "mail", os.R_OK))
        bar = barred_at(self.folder / "home" / "mail", os.R_OK | os.W_OK)
        self.assertEqual(self.folder / "home" / "mail", bar)
