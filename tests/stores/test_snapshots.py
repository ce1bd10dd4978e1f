"""What lies in a folder, read again and again."""

from __future__ import annotations

from array import array
from functools import partial

from mailnode.store.snapshots import FOLDER_MAILS, Snapshot, Snapshots
from tests.stores.support import StoreCase, envelope, message


class SnapshotsTests(StoreCase):
    def setUp(self) -> None:
        super().setUp()
        self.snapshots = Snapshots()

    async def file_mails(self, account_id: int, count: int) -> int:
        for _ in range(count):
            (filed,) = await self.messages.file_message(envelope(account_id), message())
        return filed.folder_id

    async def read(self, folder_id: int) -> Snapshot:
        return await self.database.read(partial(self.snapshots.read, folder_id=folder_id))

    async def fresh(self, folder_id: int) -> Snapshot:
        return await self.database.read(partial(Snapshots().read, folder_id=folder_id))

    async def assert_true(self, folder_id: int) -> Snapshot:
        """It says the same as one that was never read before."""
        now, fresh = await self.read(folder_id), await self.fresh(folder_id)
        for each in ("folder_id", "uidvalidity", "uids", "message_ids", "sizes"):
            self.assertEqual(getattr(fresh, each), getattr(now, each))
        return now

    async def statements(self, folder_id: int) -> list[str]:
        """What SQLite is asked for one reading."""
        asked: list[str] = []

        def read(connection):
            connection.set_trace_callback(asked.append)
            try:
                return self.snapshots.read(connection, folder_id)
            finally:
                connection.set_trace_callback(None)

        await self.database.read(read)
        return asked

    async def test_a_folder_that_did_not_change_is_not_read_again(self) -> None:
        folder_id = await self.file_mails(1, 3)
        first = await self.read(folder_id)
        self.assertIs(first, await self.read(folder_id))
        asked = await self.statements(folder_id)
        self.assertFalse([each for each in asked if "delivery" in each], asked)

    async def test_new_mails_stand_behind_those_that_are_known(self) -> None:
        folder_id = await self.file_mails(1, 3)
        first = await self.read(folder_id)
        await self.file_mails(1, 2)
        now = await self.assert_true(folder_id)
        self.assertEqual(array("I", [1, 2, 3, 4, 5]), now.uids)
        self.assertEqual(array("I", [1, 2, 3]), first.uids)

    async def test_only_the_rows_of_new_mails_are_read(self) -> None:
        folder_id = await self.file_mails(1, 3)
        await self.read(folder_id)
        await self.file_mails(1, 1)
        asked = [each for each in await self.statements(folder_id) if "delivery" in each]
        self.assertEqual(1, len(asked), asked)
        self.assertIn("uid > 3", asked[0])

    async def test_what_was_deleted_is_in_it_no_more(self) -> None:
        folder_id = await self.file_mails(1, 4)
        await self.read(folder_id)
        await self.messages.delete_mails(folder_id, [2])
        self.assertEqual(array("I", [1, 3, 4]), (await self.assert_true(folder_id)).uids)
        await self.messages.delete_mails(folder_id, [4])
        await self.file_mails(1, 1)  # one went and one came
        self.assertEqual(array("I", [1, 3, 5]), (await self.assert_true(folder_id)).uids)
        await self.messages.delete_mails(folder_id, [1, 3, 5])
        self.assertEqual(array("I"), (await self.assert_true(folder_id)).uids)

    async def test_a_folder_that_is_gone_is_empty(self) -> None:
        folder_id = await self.file_mails(1, 2)
        await self.read(folder_id)
        await self.messages.drop_accounts([1])
        self.assertEqual(array("I"), (await self.assert_true(folder_id)).uids)

    async def test_a_folder_of_another_uidvalidity_is_another_one(self) -> None:
        folder_id = await self.file_mails(1, 2)
        await self.read(folder_id)
        await self.database.transact(
            "renumber",
            lambda connection: (
                connection.execute("UPDATE folder SET uidvalidity = uidvalidity + 1").rowcount
            ),
        )
        await self.assert_true(folder_id)

    async def test_no_more_are_kept_than_there_is_room_for(self) -> None:
        self.snapshots.most_mails = 5 + 2 * FOLDER_MAILS
        folders = [await self.file_mails(account_id, 2) for account_id in (1, 2, 3)]
        kept = [await self.read(folder_id) for folder_id in folders]
        self.assertIs(kept[2], await self.read(folders[2]))
        self.assertIs(kept[1], await self.read(folders[1]))
        self.assertIsNot(kept[0], await self.read(folders[0]))
        large = await self.file_mails(4, 6 + FOLDER_MAILS)
        self.assertIsNot(await self.read(large), await self.read(large))
        await self.assert_true(large)

    async def test_a_crowd_of_empty_folders_has_its_bound_too(self) -> None:
        self.snapshots.most_mails = 3 * FOLDER_MAILS
        first = await self.read(1001)
        for folder_id in (1002, 1003):
            await self.read(folder_id)
        self.assertIs(first, await self.read(1001))
        for folder_id in (1004, 1005, 1006):
            await self.read(folder_id)
        self.assertIsNot(first, await self.read(1001))

    async def test_no_transaction_stays_open_whatever_fails(self) -> None:
        folder_id = await self.file_mails(1, 1)
        await self.database.transact(
            "break", lambda connection: connection.execute("ALTER TABLE delivery RENAME TO moved")
        )
        await self.assertFailure(self.database.read(
            partial(self.snapshots.read, folder_id=folder_id)), Exception)  # fmt: skip
        for _ in range(4):  # whichever thread it was
            self.assertFalse(await self.database.read(lambda each: each.in_transaction))
