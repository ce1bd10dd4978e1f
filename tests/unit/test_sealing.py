"""Secrets are readable with the data folder's key alone, and for what they were sealed for."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mailnode.errors import SealBroken
from mailnode.sealing import KEY_FILE, Seal, read_password_file


class SealTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.data = Path(self.mktemp())
        self.seal = Seal.open(self.data)

    def test_what_was_sealed_opens_again_even_by_another_process(self) -> None:
        for plain in (b"", b"secret", bytes(range(256)) * 100):
            sealed = self.seal.seal(plain, b"it")
            self.assertEqual(plain, Seal.open(self.data).unseal(sealed, b"it"))

    def test_the_same_sealed_twice_does_not_look_the_same(self) -> None:
        one, other = (self.seal.seal(b"secret", b"it") for _ in range(2))
        self.assertNotEqual(one, other)
        self.assertNotIn(b"secret", one)

    def test_it_opens_for_nothing_else(self) -> None:
        sealed = self.seal.seal(b"secret", b"mail.example.net")
        self.assertRaises(SealBroken, self.seal.unseal, sealed, b"evil.example")

    def test_one_changed_octet_or_a_cut_is_noticed(self) -> None:
        sealed = self.seal.seal(b"secret", b"it")
        for at in range(len(sealed)):
            changed = sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]
            self.assertRaises(SealBroken, self.seal.unseal, changed, b"it")
            self.assertRaises(SealBroken, self.seal.unseal, sealed[:at], b"it")

    def test_another_key_opens_nothing_and_the_mend_is_named(self) -> None:
        other = Seal.open(Path(self.mktemp()))
        error = self.assertRaises(SealBroken, other.unseal, self.seal.seal(b"secret", b""), b"")
        self.assertIn("seal.key", str(error))
        self.assertTrue(error.temporary, "mail waits until the key is back")

    def test_the_key_is_its_owners_alone_and_stays(self) -> None:
        path = self.data / KEY_FILE
        self.assertEqual(0o600, stat.S_IMODE(path.stat().st_mode))
        for folder in (path.parent, self.data):
            self.assertEqual(0o700, stat.S_IMODE(folder.stat().st_mode))
        self.assertEqual([path], list(path.parent.iterdir()))
        before = path.read_bytes()
        Seal.open(self.data)
        self.assertEqual((32, before), (len(before), path.read_bytes()))

    def test_many_that_begin_at_once_have_one_key(self) -> None:
        data, seals = Path(self.mktemp()), []
        threads = [threading.Thread(target=lambda: seals.append(Seal.open(data))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        sealed = seals[0].seal(b"secret", b"")
        self.assertEqual([b"secret"] * 8, [seal.unseal(sealed, b"") for seal in seals])

    def test_where_there_are_no_links_the_key_is_there_too(self) -> None:
        def no_links(*_: object) -> None:
            raise PermissionError(1, "no links here")

        self.patch(os, "link", no_links)
        data = Path(self.mktemp())
        sealed = Seal.open(data).seal(b"secret", b"")
        self.assertEqual(b"secret", Seal.open(data).unseal(sealed, b""))

    def test_what_root_makes_is_the_node_s(self) -> None:
        given: list[str] = []
        self.patch(os, "geteuid", lambda: 0)
        self.patch(os, "chown", lambda path, *_: given.append(Path(path).name))
        Seal.open(Path(self.mktemp()))
        self.assertIn("keys", given)
        self.assertTrue(any(name.startswith("seal.key") for name in given))

    def test_a_file_that_is_no_key_is_named_and_left_alone(self) -> None:
        path = self.data / KEY_FILE
        path.write_bytes(b"short")
        error = self.assertRaises(SealBroken, Seal.open, self.data)
        self.assertIn(str(path), str(error))
        self.assertEqual(b"short", path.read_bytes())

    def test_the_key_does_not_show_in_a_log(self) -> None:
        self.assertNotIn(repr((self.data / KEY_FILE).read_bytes())[2:-1], repr(self.seal))


class PasswordFileTests(SynchronousTestCase):
    def file(self, octets: bytes) -> Path:
        path = Path(self.mktemp())
        path.write_bytes(octets)
        return path

    def test_the_first_line_is_the_password(self) -> None:
        for octets in (b"s\xc3\xa9cret", b"s\xc3\xa9cret\n", b"s\xc3\xa9cret\r\nmore\n"):
            self.assertEqual("s\u00e9cret", read_password_file(self.file(octets)))

    def test_no_password_is_a_fault_that_names_the_file(self) -> None:
        for octets in (b"", b"\nsecret\n", b"\xff\xfe\n"):
            path = self.file(octets)
            error = self.assertRaises(SealBroken, read_password_file, path)
            self.assertIn(str(path), str(error))
