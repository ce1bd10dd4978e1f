"""Search and threads: what fits, in one's own mail alone; and what can't be looked for."""

from __future__ import annotations

import re
from typing import Any

from attrs import evolve

from mailnode.model import SEEN
from mailnode.store.index_asking import Progress
from mailnode.web.pages.lists import PAGE_MAILS
from mailnode.web.pages.search import HELP
from tests.unit.mail_case import MailCase, link_of, subjects_of


class SearchTests(MailCase):
    async def test_what_fits_is_shown_the_newest_first_with_where_it_lies(self) -> None:
        await self.begin()
        inbox = await self.indexed("plans one", "bills", "plans <b>two</b>")
        await self.post(f"/mail/{inbox}/move", uid="1", to="Junk")
        page = await self.page("/search?q=plans")
        self.assertEqual(["plans <b>two</b>", "plans one"], subjects_of(page))
        self.assertNotIn("<b>two", page)
        self.assertIn(">Junk<", page)
        self.assertIn(f'href="/mail/{inbox}/3?found=q%3Dplans"', page)
        self.assertEqual(["bills"], subjects_of(await self.page("/search?q=-plans+from:zed")))

    async def test_it_can_be_in_one_folder_and_none_of_anothers(self) -> None:
        await self.begin()
        inbox = await self.indexed("plans one", "plans two")
        others = await self.indexed("plans of bob", to="bob")
        await self.post(f"/mail/{inbox}/move", uid="1", to="Junk")
        junk = await self.folder_id("Junk")
        page = await self.page(f"/search?q=plans&in={junk}")
        self.assertEqual(["plans one"], subjects_of(page))
        self.assertIn("In Junk alone", page)
        for inside in (str(others), "0", "x", "9" * 5000):
            page = await self.page(f"/search?q=plans&in={inside}")
            self.assertEqual(["plans two", "plans one"], subjects_of(page), inside)

    async def test_pages_go_on_and_their_place_can_be_any(self) -> None:
        await self.begin()
        await self.indexed(*(f"plans s{number}" for number in range(PAGE_MAILS + 7)))
        path, seen = "/search?q=plans+%22words+of%22", list[str]()
        while path:
            page = await self.page(path)
            seen += subjects_of(page)
            path = link_of(page, "next")
        self.assertEqual([f"plans s{number}" for number in range(PAGE_MAILS + 6, -1, -1)], seen)
        for before in ("9" * 19, "9" * 30, "9" * 5000, "-1", "0", "x"):
            page = await self.page(f"/search?q=plans&before={before}")
            self.assertEqual(seen[:PAGE_MAILS], subjects_of(page), before[:30])

    async def test_while_the_index_is_behind_it_is_told_what_may_lack(self) -> None:
        await self.begin()
        indexes = type(self.web.desk.indexes)
        search, ahead = indexes.search, list[Progress]()

        async def searched(of: Any, *args: Any, **named: Any) -> Any:
            return evolve(await search(of, *args, **named), progress=ahead.pop(0))

        self.patch(indexes, "search", searched)
        ahead += Progress(3, 1200), Progress(14, 14), Progress(14, 14, is_done=True)
        for told in (
            "3 of 1,200 mails are known. What came before may lack here.",
            "what came or was moved just now may lack here.",
        ):
            self.assertIn(told, await self.page("/search?q=plans"))
        self.assertNotIn("may lack", await self.page("/search?q=plans"))

    async def test_nothing_typed_leads_back_and_nothing_found_is_told_with_what_there_is(self):
        await self.begin()
        inbox = await self.indexed("plans")
        for path, leads in (
            ("/search", "/mail"), ("/search?q=+++", "/mail"),
            (f"/search?q=&in={inbox}", f"/mail/{inbox}"), ("/search?q=&in=99", "/mail"),
        ):  # fmt: skip
            self.assertEqual(leads, (await self.look(path)).fields["location"])
        page = await self.page("/search?q=nothing")
        self.assertIn("Nothing fits.", page)
        for typed, _about in HELP:
            self.assertIn(typed.replace('"', "&#34;"), page)

    async def test_what_the_help_shows_can_be_searched_for(self) -> None:
        await self.begin()
        await self.indexed("plans")
        for typed, _about in HELP:
            said = await self.look(f"/search?q={re.sub(' ', '+', typed)}")
            self.assertEqual(200, said.status, typed)

    async def test_what_can_not_be_looked_for_is_told_with_what_was_typed(self) -> None:
        await self.begin()
        await self.indexed("plans")
        for typed, shown in (
            ("larger:much", "larger:much"), ("in:Nowhere", "in:Nowhere"), ("is:blue", "is:blue"),
            ("before:%22%3E%3Cscript%3E", "before:&#34;&gt;&lt;script&gt;"),
        ):  # fmt: skip
            said = await self.look(f"/search?q={typed}")
            self.assertEqual(400, said.status, typed)
            page = said.octets.decode()
            self.assertIn('id="fault" role="alert"', page)
            self.assertIn(f'name="q" value="{shown}"', page)
            self.assertNotIn("<script>", page)
        self.assertEqual(400, (await self.look("/search?q=%ff")).status)
        for typed in ("x" * 12_000, "%22" * 999, "a+" * 2000, "%00", "*", "a%22b"):
            said = await self.look(f"/search?q={typed}")
            self.assertIn(said.status, (200, 400), typed[:20])
        self.assertEqual([], [line for line in self.lines if line.startswith("critical")])

    async def test_a_thread_shows_each_mail_once_the_newest_first(self) -> None:
        await self.begin()
        inbox = await self.fill("plans\r\nMessage-ID: <1@example.org>", "other",
                                "Re: plans\r\nIn-Reply-To: <1@example.org>")  # fmt: skip
        await self.indexed("last")
        await self.post(f"/mail/{inbox}/move", uid="1", to="Junk")
        page = await self.page(f"/mail/{inbox}/3/thread")
        self.assertEqual(["Re: plans", "plans"], subjects_of(page))
        self.assertIn(f'href="/mail/{inbox}/3"', page)
        self.assertEqual(["other"], subjects_of(await self.page(f"/mail/{inbox}/2/thread")))
        self.assertNotIn(SEEN, (await self.flags("INBOX")).values())


class NameTests(MailCase):
    async def test_a_name_that_looks_like_an_address_is_shown_as_the_address(self) -> None:
        await self.begin()
        wide = "alice\N{FULLWIDTH COMMERCIAL AT}example.test"
        for name in ("alice@example.test", "Alice <alice@example.test>", wide):
            inbox = await self.indexed("plans", sender=f'"{name}" <mallory@evil.example>')
        for path in (f"/mail/{inbox}", "/search?q=plans", f"/mail/{inbox}/1/thread"):
            page = await self.page(path)
            shown = re.findall(
                r'<span class="who">(?:<span class="dot".*?</span>)?(\S+@.*?)<', page
            )
            self.assertEqual(
                {"mallory@evil.example"}, set(shown[1:]), path
            )  # the first is who is signed in

    async def test_whom_one_wrote_to_is_shown_by_the_address_behind_such_a_name(self) -> None:
        await self.begin()
        to = '"alice@example.test" <mallory@evil.example>, Carol <carol@example.test>'
        raw = f"To: {to}\r\n\r\nx\r\n".encode()
        await self.done(self.web.desk.drafts.save(self.ids["alice"], raw))
        page = await self.page(f"/mail/{await self.folder_id('Drafts')}")
        self.assertIn("To: mallory@evil.example, Carol", page)
