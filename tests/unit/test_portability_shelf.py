"""A folder of .eml files is gone on with after any end, and never left."""

from __future__ import annotations

import json
import os
from pathlib import Path
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from mailnode.portability import shelf
from mailnode.portability.shelf import PART, STATE, Item, Shelf, ShelfError


class Killed(BaseException):
    """The process is gone."""


def item(uid: int, subject: str = "x", octets: bytes = b"", **facts: object) -> Item:
    octets = octets or b"mail %d\r\n" % uid
    facts = {"generation": 7, "folders": ("ann@a.example",), **facts}
    return Item("1", uid=uid, subject=subject, received_at=1e9, pieces=lambda: [octets], **facts)


class ShelfTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.open()
        self.addCleanup(lambda: self.shelf.close())

    def open(self) -> None:
        self.shelf = Shelf.open(self.folder)

    def begin_again(self) -> None:
        self.shelf.close()
        self.open()

    def files(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in self.folder.rglob("*")
            if path.is_file() and path.name != STATE
        }

    def contents(self) -> list[bytes]:
        return sorted(self.files().values())

    def test_mails_of_one_subject_get_numbers(self) -> None:
        self.assertEqual(self.shelf.put([item(1), item(2), item(3, "X/y")]), 3)
        self.assertEqual(
            self.files(),
            {
                "ann@a.example/x.eml": b"mail 1\r\n",
                "ann@a.example/x (2).eml": b"mail 2\r\n",
                "ann@a.example/X-y.eml": b"mail 3\r\n",
            },
        )
        self.assertEqual(os.stat(self.folder / "ann@a.example/x.eml").st_mtime, 1e9)
        self.assertEqual(self.shelf.done("1", 7), 3)

    def test_the_next_number_is_found_in_few_looks(self) -> None:
        self.shelf.put([item(uid) for uid in range(1, 65)])
        self.shelf.put([item(uid) for uid in range(65, 129)])
        self.begin_again()
        looks = []
        real = os.lstat
        with patch.object(os, "lstat", lambda *a, **k: (looks.append(a), real(*a, **k))[1]):
            self.shelf.put([item(129)])
        self.assertLess(len(looks), 30)
        self.assertIn("ann@a.example/x (129).eml", self.files())

    def test_it_goes_on_where_it_was_settled(self) -> None:
        self.shelf.put([item(1), item(2)])
        self.shelf.passed("1", 7, 5)
        self.shelf.settle()
        self.begin_again()
        self.assertEqual(self.shelf.done("1", 7), 5)

    def test_whatever_step_it_is_killed_at_every_mail_is_there_once(self) -> None:
        steps = 0
        while self.killed_at(steps):
            steps += 1
        self.assertGreater(steps, 15)

    def killed_at(self, step: int) -> bool:
        """Whether there was such a step; then the work was begun again."""
        self.shelf.close()
        self.folder = Path(self.mktemp())
        self.open()
        left = step

        def dying(real):
            def call(*args, **kwargs):
                nonlocal left
                if not left:
                    raise Killed
                left -= 1
                return real(*args, **kwargs)

            return call

        names = ("link", "unlink", "rename", "fsync", "utime")
        mails = [item(1), item(2, octets=b"same\r\n"), item(3, octets=b"same\r\n")]
        patches = [patch.object(shelf.os, name, dying(getattr(os, name))) for name in names]
        for each in patches:
            each.start()
        try:
            self.shelf.put(mails)
            self.shelf.settle()
            return False
        except Killed:
            pass
        finally:
            for each in patches:
                each.stop()
        self.begin_again()
        done = self.shelf.done("1", 7)
        self.shelf.put([each for each in mails if each.uid > done])
        self.assertEqual(self.contents(), [b"mail 1\r\n", b"same\r\n", b"same\r\n"], step)
        return True

    def test_without_a_state_what_lies_there_is_compared(self) -> None:
        same = [item(2, octets=b"same"), item(3, octets=b"same")]
        self.shelf.put([item(1), *same])
        (self.folder / STATE).unlink()
        self.begin_again()
        self.assertEqual(self.shelf.put([item(1), *same, item(4)]), 1)
        self.assertEqual(len(self.files()), 4)

    def test_where_uids_begin_anew_it_is_compared_too(self) -> None:
        self.shelf.put([item(1)])
        self.shelf.settle()
        self.begin_again()
        self.assertEqual(self.shelf.done("1", 8), 0)
        self.assertEqual(self.shelf.put([item(1, generation=8), item(2, generation=8)]), 1)

    def test_links_are_not_followed(self) -> None:
        outside = Path(self.mktemp())
        outside.mkdir()
        (self.folder / "ann@a.example").symlink_to(outside.absolute())
        with self.assertRaises(ShelfError):
            self.shelf.put([item(1)])
        (self.folder / "ann@a.example").unlink()
        (self.folder / "ann@a.example").mkdir()
        victim = outside / "victim"
        victim.write_bytes(b"old")
        for name in ("x.eml", f"{PART}-0"):
            (self.folder / "ann@a.example" / name).symlink_to(victim.absolute())
        self.shelf.put([item(1)])
        self.assertEqual(victim.read_bytes(), b"old")
        self.assertEqual(self.files()["ann@a.example/x (2).eml"], b"mail 1\r\n")

    def test_a_file_of_that_name_that_somebody_makes_meanwhile_stays(self) -> None:
        real, made = os.link, []

        def link(*args, **kwargs):
            if not made:
                made.append(True)
                (self.folder / "ann@a.example" / "x.eml").write_bytes(b"mine")
            return real(*args, **kwargs)

        with patch.object(shelf.os, "link", link):
            self.shelf.put([item(1)])
        self.assertEqual(self.contents(), [b"mail 1\r\n", b"mine"])

    def test_where_there_are_no_hard_links_names_are_given_by_renaming(self) -> None:
        with patch.object(shelf.os, "link", side_effect=PermissionError(1, "no")):
            self.shelf.put([item(1), item(2)])
        self.assertEqual(self.contents(), [b"mail 1\r\n", b"mail 2\r\n"])

    def test_two_do_not_write_at_once(self) -> None:
        with self.assertRaises(ShelfError):
            Shelf.open(self.folder)

    def test_a_damaged_state_is_named(self) -> None:
        for told in (b"{", b"[]", json.dumps({"version": 2, "done": {}, "writing": []}).encode()):
            self.shelf.settle()
            self.shelf.close()
            (self.folder / STATE).write_bytes(told)
            with self.assertRaises(ShelfError):
                Shelf.open(self.folder)
            (self.folder / STATE).unlink()
            self.open()
