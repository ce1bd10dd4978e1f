"""`mailnode.store.windows`: a large mail looked at in its file, block by block."""

from __future__ import annotations

import random
from collections import OrderedDict
from pathlib import Path
from threading import Thread

from twisted.trial.unittest import SynchronousTestCase

from mailnode.errors import StoreBroken
from mailnode.reading.parts import parts_of
from mailnode.store import windows
from mailnode.store.windows import Windows


class WindowsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(windows, "BLOCK_OCTETS", 16)
        self.patch(windows, "KEPT_BLOCKS", 3)
        self.path = Path(self.mktemp())

    def open(self, head: bytes, body: bytes) -> Windows:
        self.path.write_bytes(body)
        opened = Windows.of_file(head, self.path)
        self.addCleanup(opened.close)
        return opened

    def test_it_is_what_the_octets_are(self) -> None:
        chance = random.Random(6)
        whole = bytes(chance.choice(b"ab\n") for _ in range(300))
        mail = self.open(whole[:21], whole[21:])
        self.assertEqual(300, len(mail))
        for _ in range(3000):
            start, end = sorted((chance.randrange(310), chance.randrange(310)))
            self.assertEqual(whole[start:end], mail[start:end])
            wanted = bytes(chance.choice(b"ab\n") for _ in range(chance.randint(1, 20)))
            self.assertEqual(whole.find(wanted, start), mail.find(wanted, start))
            self.assertEqual(whole.find(wanted, start, end), mail.find(wanted, start, end))
            self.assertEqual(
                whole.startswith((wanted, b"ab"), start, end),
                mail.startswith((wanted, b"ab"), start, end),
            )

    def test_what_another_thread_forgets_while_it_is_looked_up_is_still_found(self) -> None:
        class Watched(OrderedDict):
            def get(self, key, default=None):
                found = super().get(key, default)
                other = Thread(target=mail.forget)
                other.start()
                other.join(0.05)
                return found

        mail = self.open(b"", b"0123456789")
        mail._blocks = Watched()
        self.assertEqual([b"01", b"23"], [mail[0:2], mail[2:4]])

    def test_no_more_blocks_are_kept_than_so_many(self) -> None:
        mail = self.open(b"", b"x" * 1000)
        mail.find(b"y")
        self.assertEqual(3, len(mail._blocks))
        mail.forget()
        self.assertEqual(0, len(mail._blocks))

    def test_parts_are_those_of_the_octets(self) -> None:
        for each in (Path(__file__).parents[1] / "vectors" / "torture").glob("*.eml"):
            raw = each.read_bytes()
            self.path = Path(self.mktemp())
            self.patch(windows, "BLOCK_OCTETS", 997)
            mail = self.open(raw[:10], raw[10:])
            here, there = parts_of(raw), parts_of(mail)
            self.assertEqual(
                [(p.path, p.kind, p.span[:]) for p in here],
                [(p.path, p.kind, p.span[:]) for p in there],
                each.name,
            )

    def test_a_missing_file_is_a_fault_of_the_store(self) -> None:
        self.assertRaises(StoreBroken, Windows.of_file, b"", self.path)

    def test_a_file_that_was_cut_is_one_too(self) -> None:
        mail = self.open(b"", b"x" * 1000)
        self.path.write_bytes(b"x")
        self.assertRaises(StoreBroken, mail.find, b"y")

    def test_who_reads_on_when_it_is_closed_is_told(self) -> None:
        mail = self.open(b"", b"x" * 1000)
        mail.close()
        mail.close()
        self.assertRaises(StoreBroken, mail.find, b"y")
