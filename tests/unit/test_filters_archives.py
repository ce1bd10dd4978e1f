"""`mailnode.filters.archives`: what is in a zip archive, by its directory alone."""

from __future__ import annotations

import contextlib
import io
import zipfile

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailnode.filters import archives
from mailnode.filters.archives import DIRECTORY_OCTETS, Listing, NoDirectory, list_zip
from tests.unit.filters_case import split


def in_zip(*names: str, octets: bytes = b"x") -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in names:
            archive.writestr(name, octets)
    return packed.getvalue()


def encrypted(archive: bytes) -> bytes:
    """With the bit set that says so, in the header and in the directory."""
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = archive.index(mark) + at
        archive = archive[:place] + bytes([archive[place] | 1]) + archive[place + 1 :]
    return archive


class ListTests(SynchronousTestCase):
    def test_pieces_of_any_size(self) -> None:
        archive = in_zip("a.txt", "b/c.exe")
        for size in (1, 7, 1_000_000):
            listing = list_zip(split(archive, size))
            self.assertEqual(Listing(("a.txt", "b/c.exe"), False), listing)

    def test_of_a_large_archive_the_end_is_kept(self) -> None:
        archive = in_zip("a.txt", octets=bytes(3 << 20))
        end = archives._End()
        for piece in split(archive, 65_536):
            end.feed(piece)
            self.assertLess(len(end._kept), 3 * (DIRECTORY_OCTETS + 66_000))
        self.assertEqual(("a.txt",), list_zip(split(archive, 65_536)).names)

    def test_the_long_form_of_the_directory(self) -> None:
        packed = io.BytesIO()
        with (
            zipfile.ZipFile(packed, "w") as archive,
            archive.open(zipfile.ZipInfo("a.txt"), "w", force_zip64=True) as file,
        ):
            file.write(b"x")
        self.assertEqual(("a.txt",), list_zip([packed.getvalue()]).names)

    def test_a_long_comment(self) -> None:
        packed = io.BytesIO(in_zip("a.txt", octets=bytes(500_000)))
        with zipfile.ZipFile(packed, "a") as archive:
            archive.comment = b"c" * 65_535
        self.assertEqual(("a.txt",), list_zip(split(packed.getvalue(), 65_536)).names)

    def test_a_directory_that_is_too_large(self) -> None:
        archive = in_zip(*[f"{number:0100d}.txt" for number in range(3_000)])
        with self.assertRaisesRegex(NoDirectory, "too many files"):
            list_zip(split(archive, 65_536))

    def test_sizes_that_lie(self) -> None:
        archive = bytearray(in_zip("a.txt"))
        end = archive.rindex(b"PK\x05\x06")
        for at in (8, 10, 12, 16, 20):
            for value in (b"\xff\xff\xff\xff", b"\0\0\0\x80"):
                lying = bytes(archive[: end + at]) + value + bytes(archive[end + at + 4 :])
                with contextlib.suppress(NoDirectory):
                    list_zip([lying])

    @settings(max_examples=300, deadline=None)
    @given(st.data())
    def test_whatever_was_changed_it_is_listed_or_damaged(self, data: st.DataObject) -> None:
        archive = bytearray(encrypted(in_zip("a.txt", "é.exe")))
        for _ in range(data.draw(st.integers(1, 6))):
            place = data.draw(st.integers(0, len(archive) - 1))
            archive[place] = data.draw(st.integers(0, 255))
        with contextlib.suppress(NoDirectory):
            list_zip([bytes(archive)])
