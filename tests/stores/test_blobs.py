"""Blobs: whole or not there, and never more in memory than a bound."""

from __future__ import annotations

import contextlib
import errno
import os

from twisted.internet import reactor
from zope.interface.verify import verifyObject

from mailnode.errors import StoreBroken, StoreFull
from mailnode.interfaces import IBlobs
from mailnode.store import blobs as blobs_module
from mailnode.store.blobs import PIECE_OCTETS, FileBlobs
from tests.stores.support import StoreCase

BUFFER_OCTETS = 2 * PIECE_OCTETS
PIECE = bytes(range(256)) * 256  # 64 KiB


def open_files() -> list[str]:
    found = []
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
    return found


class OsWith:
    """The os module as blobs.py sees it, with some functions replaced."""

    def __init__(self, **replaced) -> None:
        self.__dict__.update(replaced)

    def __getattr__(self, name):
        return getattr(os, name)


class BlobTests(StoreCase):
    async def read_blob(self, key: str, count: int = 100_000) -> bytes:
        reader = self.blobs.open(key)
        pieces = []
        while piece := await reader.read(count):
            self.assertLessEqual(len(piece), count)
            pieces.append(piece)
        reader.close()
        return b"".join(pieces)

    def files(self) -> tuple[list[str], list[str]]:
        kept = sorted(path.name for path in self.blobs.kept.glob("*/*"))
        return sorted(path.name for path in self.blobs.spool.iterdir()), kept

    def test_it_keeps_the_interface(self):
        verifyObject(IBlobs, self.blobs)

    async def test_what_was_written_is_read_back(self):
        writer = self.blobs.create()
        for _ in range(40):
            if (wait := writer.write(PIECE)) is not None:
                await wait
        key = await writer.commit()
        self.assertEqual(await self.read_blob(key), PIECE * 40)
        self.assertEqual(self.files(), ([], [key]))

    async def test_an_empty_blob_is_a_blob(self):
        key = await self.blobs.create().commit()
        self.assertEqual(await self.read_blob(key), b"")

    async def test_a_writer_that_is_ahead_of_the_disk_is_told_to_wait(self):
        writer = self.blobs.create()
        waits = [writer.write(PIECE) for _ in range(BUFFER_OCTETS // len(PIECE))]
        self.assertEqual([wait is None for wait in waits], [True] * (len(waits) - 1) + [False])
        await waits[-1]
        self.assertLess(writer._buffered + writer._writing, BUFFER_OCTETS)
        await writer.discard()

    async def test_the_disk_is_written_in_large_pieces(self):
        sizes: list[int] = []

        def write(fd, data):
            sizes.append(len(data))
            return os.write(fd, data)

        self.patch(blobs_module, "os", OsWith(write=write))
        writer = self.blobs.create()
        for _ in range(32):
            if (wait := writer.write(PIECE)) is not None:
                await wait
        await writer.commit()
        self.assertGreaterEqual(min(sizes), PIECE_OCTETS)

    async def test_where_many_come_less_of_each_is_in_memory(self):
        writer = self.blobs.create()
        self.assertIs(writer.write(PIECE * 5), None)  # not enough for a piece of the usual size
        self.assertEqual(writer._writing, 0)
        self.blobs.piece_octets = len(PIECE)
        wait = writer.write(PIECE)
        self.assertEqual((writer._buffered, writer._writing), (0, 6 * len(PIECE)))
        await wait
        for _ in range(10):
            await (writer.write(PIECE * 2) or self.blobs.in_thread(str))
            self.assertLess(writer._buffered + writer._writing, 2 * len(PIECE))
        self.assertEqual(await self.read_blob(await writer.commit()), PIECE * 26)

    async def test_a_discarded_blob_leaves_nothing_before_or_after_its_commit(self):
        early, late, empty = self.blobs.create(), self.blobs.create(), self.blobs.create()
        early.write(PIECE * 20)
        late.write(PIECE)
        await late.commit()
        for writer in (early, late, empty):
            await writer.discard()
        self.assertEqual(self.files(), ([], []))
        self.assertEqual([path for path in open_files() if "/spool/" in path], [])

    async def test_it_is_written_flushed_renamed_and_its_folder_flushed_in_that_order(self):
        order: list[str] = []
        real_rename = blobs_module.Path.rename

        def path_of(fd):
            return os.path.basename(os.readlink(f"/proc/self/fd/{fd}"))

        def write(fd, data):
            order.append("write")
            return os.write(fd, data)

        def fsync(fd):
            name = path_of(fd)
            order.append(f"fsync {'file' if len(name) == 32 else name}")
            return os.fsync(fd)

        def rename(path, target):
            order.append("rename")
            return real_rename(path, target)

        self.patch(blobs_module, "os", OsWith(write=write, fsync=fsync))
        self.patch(blobs_module.Path, "rename", rename)
        writer = self.blobs.create()
        writer.write(PIECE)
        key = await writer.commit()
        order.append("committed")
        expected = ["write", "fsync file", "fsync blobs", "rename", f"fsync {key[:2]}", "committed"]
        self.assertEqual(order, expected)

    async def test_a_full_disk_is_store_full_and_what_was_written_can_be_discarded(self):
        def write(fd, data):
            raise OSError(errno.ENOSPC, "No space left on device")

        self.patch(blobs_module, "os", OsWith(write=write))
        writer = self.blobs.create()
        wait = None
        while wait is None:
            wait = writer.write(PIECE)
        await self.assertFailure(wait, StoreFull)
        await self.assertFailure(writer.commit(), StoreFull)
        await self.assertFailure(writer.write(PIECE), StoreFull)
        await writer.discard()
        self.assertEqual(self.files(), ([], []))

    async def test_a_flush_that_fails_keeps_no_blob(self):
        def fsync(fd):
            raise OSError(errno.EIO, "Input/output error")

        self.patch(blobs_module, "os", OsWith(fsync=fsync))
        writer = self.blobs.create()
        writer.write(PIECE)
        await self.assertFailure(writer.commit(), StoreBroken)
        await writer.discard()
        self.assertEqual(self.files(), ([], []))

    async def test_a_missing_blob_is_store_broken(self):
        reader = self.blobs.open("0" * 32)
        await self.assertFailure(reader.read(10), StoreBroken)
        reader.close()

    async def test_a_key_that_names_a_path_is_refused(self):
        for key in ("../mail.db", "", "a/b", "/etc/passwd"):
            await self.assertFailure(self.blobs.open(key).read(10), StoreBroken)

    async def test_deleting_what_is_missing_is_no_error(self):
        blob = await self.make_blob(b"x")
        self.assertEqual(await self.blobs.delete(["0" * 32, blob.key]), 1)
        self.assertEqual(await self.blobs.keys(), [])

    async def test_a_blob_that_is_deleted_while_it_is_read_is_read_to_its_end(self):
        blob = await self.make_blob(b"0123456789")
        reader = self.blobs.open(blob.key)
        first = await reader.read(5)
        await self.blobs.delete([blob.key])
        self.assertEqual(first + await reader.read(5), b"0123456789")
        reader.close()

    async def test_keys_tells_size_and_time_of_each(self):
        blob = await self.make_blob(b"x" * 17)
        ((key, size, written_at),) = await self.blobs.keys()
        self.assertEqual((key, size), (blob.key, 17))
        self.assertAlmostEqual(written_at, os.stat(self.blobs.path_of(key)).st_mtime)

    async def test_what_is_no_blob_of_ours_is_passed_over(self):
        blob = await self.make_blob(b"x")
        (self.blobs.kept / "README").write_text("a file of somebody")
        (self.blobs.kept / "lost+found").mkdir()
        (self.blobs.path_of(blob.key).parent / "folder").mkdir()
        (self.blobs.spool / "lost+found").mkdir()
        self.assertEqual([key for key, _, _ in await self.blobs.keys()], [blob.key])
        self.assertEqual(await self.blobs.clear_spool(), 0)

    async def test_the_spool_is_cleared_of_others_leftovers_alone(self):
        ours = self.blobs.create()
        ours.write(PIECE * 20)
        (self.blobs.spool / ("f" * 32)).write_bytes(b"left by a crash")
        await ours._until_idle()
        self.assertEqual(await self.blobs.clear_spool(), 1)
        key = await ours.commit()
        self.assertEqual(await self.read_blob(key), PIECE * 20)

    async def test_a_blob_that_is_begun_while_the_spool_is_cleared_is_left(self):
        in_thread, begun = self.blobs.in_thread, []

        def begin_another(function, trouble=None):
            if not begun:
                begun.append(self.blobs.create())
                begun[0]._append(PIECE)
            return in_thread(function, trouble)

        self.patch(FileBlobs, "in_thread", lambda _, *asked: begin_another(*asked))
        self.assertEqual(await self.blobs.clear_spool(), 0)
        key = await begun[0].commit()
        self.assertEqual(await self.read_blob(key), PIECE)

    async def test_files_are_for_their_owner_alone(self):
        blob = await self.make_blob(b"x")
        path = self.blobs.path_of(blob.key)
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        for folder in (path.parent, self.blobs.kept, self.blobs.spool):
            self.assertEqual(folder.stat().st_mode & 0o777, 0o700)

    async def test_so_is_a_folder_of_blobs_that_was_not_there(self):
        data = self.data / "uploads"
        self.addCleanup(os.umask, os.umask(0o022))
        FileBlobs(data, reactor.callFromThread)
        self.assertEqual(data.stat().st_mode & 0o777, 0o700)
