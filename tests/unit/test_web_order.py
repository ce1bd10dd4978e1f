"""The order of lists: by when mail came, wherever it lay since, with or without an index."""

from __future__ import annotations

import re
from typing import Any

from twisted.internet.defer import fail

from mailnode.errors import MailError, StoreBroken, StoreBusy, StoreFull
from mailnode.store.index import Indexes
from mailnode.web.pages.lists import PAGE_MAILS
from tests.unit.mail_case import MailCase, fields_of, link_of, subjects_of

AT = 1_700_000_000.0


class OrderTests(MailCase):
    async def ages(self, *minutes: int) -> int:
        """A mail for each, that came so many minutes after some time; the inbox."""
        for each in minutes:
            inbox = await self.indexed(f"m{each}", at=AT + 60 * each)
        return inbox

    async def shown(self, path: str) -> list[str]:
        return subjects_of(await self.page(path))

    async def test_what_was_moved_and_moved_back_stands_where_it_stood(self) -> None:
        await self.begin()
        inbox = await self.ages(1, 2, 3)
        said = await self.post(f"/mail/{inbox}/move", uid="2", to="Junk")
        page = await self.follow(said)
        self.assertEqual(["m3", "m1"], subjects_of(page))
        undo = fields_of(page, "/mail/undo")
        page = await self.follow(await self.post("/mail/undo", **undo))
        self.assertEqual(["m3", "m2", "m1"], subjects_of(page))
        await self.indexed("m4", at=AT + 240)
        self.assertEqual(["m4", "m3", "m2", "m1"], await self.shown(f"/mail/{inbox}"))

    async def test_a_mails_page_leads_to_its_neighbours_in_the_list(self) -> None:
        await self.begin()
        inbox = await self.ages(5, 1, 9)
        page = await self.page(f"/mail/{inbox}/1")
        self.assertEqual(f"/mail/{inbox}/3", link_of(page, "prev"))
        self.assertEqual(f"/mail/{inbox}/2", link_of(page, "next"))
        page = await self.page(f"/mail/{inbox}/2")
        self.assertEqual((f"/mail/{inbox}/1", ""), (link_of(page, "prev"), link_of(page, "next")))

    async def test_all_means_what_lay_there_however_it_is_ordered(self) -> None:
        await self.begin()
        inbox = await self.ages(*range(PAGE_MAILS + 3), -1)
        page = await self.page(f"/mail/{inbox}?before={await self.standing(PAGE_MAILS)}")
        self.assertNotIn(f'name="all" value="{PAGE_MAILS}"', page)
        self.assertIn(f'name="all" value="{PAGE_MAILS + 4}"', page)

    async def test_without_an_index_a_list_goes_on_by_uid(self) -> None:
        await self.begin()
        inbox = await self.ages(*range(PAGE_MAILS + 3), -1)
        first = await self.page(f"/mail/{inbox}")

        def is_away(error: MailError) -> Any:
            return lambda *args, **more: fail(error)

        for error in (StoreBusy(), StoreFull(), StoreBroken()):
            for name in ("page", "around", "summaries"):
                self.patch(Indexes, name, is_away(error))
            page = await self.page(f"/mail/{inbox}")
            self.assertEqual("m-1", subjects_of(page)[0])
            self.assertIn("zed@example.org", page)
            self.assertEqual(["m2", "m1", "m0"], await self.shown(link_of(first, "next")))
            older = await self.page(link_of(page, "next"))
            self.assertEqual(["m3", "m2", "m1", "m0"], subjects_of(older))
            place = re.sub("before=", "after=", link_of(first, "next"))
            self.assertEqual(303, (await self.look(place)).status)
            page = await self.page(f"/mail/{inbox}/5")
            self.assertEqual(f"/mail/{inbox}/6", link_of(page, "prev"))
            self.assertEqual(f"/mail/{inbox}/4", link_of(page, "next"))
