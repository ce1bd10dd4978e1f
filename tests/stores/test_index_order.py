"""Lists in the order of time: of what is indexed, of what isn't yet, and while both change."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import closing

from mailnode.errors import NoSuchFolder, NoSuchMail
from mailnode.model import Standing
from mailnode.store import index_order
from mailnode.store.index_order import Listed
from mailnode.store.sqlite import connect
from tests.stores.test_index import IndexCase, mail

AT = 1_700_000_000.0


class OrderCase(IndexCase):
    async def came(self, *minutes: float) -> list[int]:
        """A mail for each, that came so many minutes after some time; their message ids."""
        return [await self.file(mail(f"m{each}"), received_at=AT + 60 * each) for each in minutes]

    def folder(self, name: str = "INBOX") -> int:
        ((folder_id,),) = self.rows("SELECT id FROM folder WHERE account_id = 1 AND name = ?", name)
        return int(folder_id)

    async def page(self, name: str = "INBOX", limit: int = 50, **place: Standing) -> list[Listed]:
        return await self.indexes.page(1, self.folder(name), limit=limit, **place)

    async def walk(self, limit: int, name: str = "INBOX") -> list[int]:
        """Minutes of all mails, page by page to the end, and back again the same ones."""
        found: list[Listed] = []
        page = await self.page(name, limit)
        while page:
            found += page
            page = await self.page(name, limit, before=found[-1].standing)
        back: list[Listed] = []
        page = await self.page(name, limit, after=Standing(-(1 << 62), 0))
        while page:
            back = page + back
            page = await self.page(name, limit, after=back[0].standing)
        self.assertEqual(back, found)
        return minutes(found)


def minutes(listed: Sequence[Listed]) -> list[int]:
    return [round((each.copy.received_at - AT) / 60) for each in listed]


class OrderTests(OrderCase):
    async def test_the_mail_that_came_last_stands_first_wherever_it_lay(self):
        one, two, three = await self.came(1, 2, 3)
        await self.fill()
        for each in (three, one, two):
            await self.move(each, "Archive")
            self.assertEqual(sorted(minutes(await self.page("Archive")), reverse=True),
                             minutes(await self.page("Archive")))  # fmt: skip
        self.assertEqual([3, 2, 1], minutes(await self.page("Archive")))
        await self.fill()
        self.assertEqual([3, 2, 1], minutes(await self.page("Archive")))
        self.assertEqual([], await self.page("INBOX"))

    async def test_pages_follow_each_other_both_ways_however_much_is_indexed(self):
        await self.came(5, 1, 9, 3)
        await self.fill()
        await self.came(4, 8, 0, 9, 10)
        wanted = [10, 9, 9, 8, 5, 4, 3, 1, 0]
        for limit in (1, 2, 3, 200):
            self.assertEqual(wanted, await self.walk(limit), limit)
        await self.fill()
        for limit in (1, 2, 3, 200):
            self.assertEqual(wanted, await self.walk(limit), limit)

    async def test_mails_of_one_moment_stand_by_uid_and_none_is_left_out_or_shown_twice(self):
        await self.came(*[7 + part / 1e9 for part in range(9)], 7.123456789, 6.987654321)
        for _ in range(2):
            found = await self.page(limit=2)
            while page := await self.page(limit=2, before=found[-1].standing):
                found = found + page
            self.assertEqual(sorted(found, key=lambda each: each.standing, reverse=True), found)
            self.assertEqual(11, len({each.copy.uid for each in found}))
            await self.fill()

    async def test_what_comes_meanwhile_moves_no_page(self):
        await self.came(*range(10))
        await self.fill()
        first = await self.page(limit=4)
        await self.came(50, 3)
        second = await self.page(limit=4, before=first[-1].standing)
        self.assertEqual([5, 4, 3, 3], minutes(second))
        self.assertEqual(first, await self.page(limit=4, after=second[0].standing))

    async def test_a_page_can_begin_behind_what_is_gone(self):
        ids = await self.came(*range(10))
        await self.fill()
        first = await self.page(limit=4)
        await self.delete(*ids[4:8])
        self.assertEqual([3, 2], minutes(await self.page(limit=2, before=first[-1].standing)))
        self.assertEqual([9, 8], minutes(await self.page(limit=2, after=first[-1].standing)))

    async def test_an_index_that_is_far_behind_leaves_the_order_to_the_uids(self):
        self.patch(index_order, "MOST_SORTED", 3)
        await self.came(5, 1, 9, 3)
        self.assertEqual([3, 9, 1, 5], await self.walk(2))
        await self.fill()
        self.assertEqual([9, 5, 3, 1], await self.walk(2))
        await self.came(4, 0, 8)
        self.assertEqual([9, 8, 5, 4, 3, 1, 0], await self.walk(2))

    async def test_an_index_that_is_made_anew_goes_on_from_any_place(self):
        await self.came(5, 1, 9, 3)
        await self.fill()
        (first,) = await self.page(limit=1)
        await self.indexes.rebuild(1)
        self.assertEqual([5, 3, 1], minutes(await self.page(before=first.standing)))
        await self.fill()
        self.assertEqual([5, 3, 1], minutes(await self.page(before=first.standing)))

    async def test_a_folder_that_begins_anew_shows_what_lies_there_now(self):
        await self.came(5, 1)
        await self.fill()
        await self.write("UPDATE folder SET uidvalidity = uidvalidity + 1")
        await self.write(f"UPDATE delivery SET received_at = {AT + 600} WHERE uid = 1")
        for _ in range(2):
            self.assertEqual([10, 1], minutes(await self.page()))
            await self.fill()

    async def test_neighbours_are_those_of_the_list(self):
        await self.came(5, 1, 9)
        for _ in range(2):
            newer, older = await self.indexes.around(1, self.folder(), 1)
            self.assertEqual([9, 1], minutes([newer, older]))
            newer, older = await self.indexes.around(1, self.folder(), 3)
            self.assertEqual((None, [5]), (newer, minutes([older])))
            await self.fill()
        with self.assertRaises(NoSuchMail):
            await self.indexes.around(1, self.folder(), 4)

    async def test_anothers_folder_is_not_there(self):
        await self.came(1)
        await self.file(mail(), 2)
        ((others,),) = self.rows("SELECT id FROM folder WHERE account_id = 2")
        with self.assertRaises(NoSuchFolder):
            await self.indexes.page(1, others)
        with self.assertRaises(NoSuchFolder):
            await self.indexes.around(1, others, 1)


class LeavingTests(OrderCase):
    async def test_what_left_is_not_shown_and_leaves_the_order(self):
        self.patch(index_order, "GONE_AT_ONCE", 4)
        ids = await self.came(*range(30))
        await self.fill()
        await self.delete(*ids[5:])
        self.assertEqual([4, 3, 2, 1, 0], minutes(await self.page()))
        await self.fill()
        self.assertEqual([(5,)], self.inside("SELECT count(*) FROM lying"))
        self.assertEqual([4, 3, 2, 1, 0], minutes(await self.page()))

    async def test_the_order_of_a_folder_that_is_gone_goes_with_it(self):
        one, _two = await self.came(1, 2)
        await self.move(one, "Archive")
        await self.fill()
        archive = self.folder("Archive")
        self.assertEqual([(2,)], self.inside("SELECT count(*) FROM lying"))
        await self.delete(one)
        await self.write(f"DELETE FROM folder WHERE id = {archive}")
        await self.fill()
        self.assertEqual([(self.folder(),)], self.inside("SELECT folder_id FROM lying"))

    async def test_a_page_is_found_by_the_order_and_nothing_is_sorted_but_what_is_behind(self):
        await self.came(1)
        await self.fill()
        with closing(connect(self.data / "index" / "1.db")) as connection:
            connection.execute("ATTACH ? AS node", (str(self.data / "mail.db"),))
            values = (self.folder(), 1, 1, 50, 1, index_order.MOST_SORTED)
            plan = [
                row[3] for text in index_order._TEXTS_BY_TIME
                for row in connection.execute(f"EXPLAIN QUERY PLAN {text}", values)
            ]  # fmt: skip
        searches = [each for each in plan if each.startswith("SEARCH l USING PRIMARY KEY")]
        self.assertEqual(2, sum("(at_ms,uid)" in each for each in searches), plan)
        self.assertFalse([each for each in plan if re.match("SCAN [dl]", each)])
