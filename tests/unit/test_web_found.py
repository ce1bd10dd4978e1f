"""What is done with mails that were found, and the way back to the search."""

from __future__ import annotations

import html
import re
from urllib.parse import quote, urlencode

from mailnode.model import FLAGGED, SEEN
from mailnode.web.pages.lists import PAGE_MAILS
from mailnode.web.pages.sought import MOST_CHARACTERS, Sought
from tests.unit.mail_case import MailCase, fields_of, flash_of, link_of, subjects_of

SEARCH = "/search?q=plans"
NO_MAILS = ("", "1", "/", "1/", "/1", "1/0", "0/1", "1/x", "-1/1", "1/1/1", "٣/1", f"1/{1 << 32}")


def boxes_of(page: str) -> list[str]:
    return re.findall(r'<input type="checkbox" name="mail" value="([^"]*)"', page)


class FoundCase(MailCase):
    async def scattered(self) -> list[str]:
        """Mails in three folders, as the search shows them: the newest is in the inbox, the one
        before it in Junk, the oldest in Trash."""
        await self.begin()
        inbox = await self.indexed("plans one", "plans two", "plans three")
        await self.post(f"/mail/{inbox}/move", uid="2", to="Junk")
        await self.post(f"/mail/{inbox}/move", uid="1", to="Trash")
        page = await self.page(SEARCH)
        self.assertEqual(["plans three", "plans two", "plans one"], subjects_of(page))
        return boxes_of(page)

    async def does(self, what: str, mails: list[str], **fields: str) -> str:
        """The page that it leads to."""
        said = await self.post(f"/search/{what}", mail=mails, found="q=plans", **fields)
        self.assertEqual(SEARCH, said.fields["location"])
        return await self.follow(said)


class FoundTests(FoundCase):
    async def test_marks_are_set_in_whichever_folders_the_mails_lie(self) -> None:
        mails = await self.scattered()
        await self.does("mark", mails[:2], add="flagged")
        await self.does("mark", mails[1:], add="seen")
        flags = [await self.flags(name) for name in ("INBOX", "Junk", "Trash")]
        self.assertEqual([{3: FLAGGED}, {1: FLAGGED | SEEN}, {1: SEEN}], flags)

    async def test_a_move_out_of_several_folders_is_undone_at_once(self) -> None:
        mails = await self.scattered()
        await self.post("/folders", name="Archive")
        page = await self.does("move", mails, to="Archive")
        self.assertEqual("3 mails moved to Archive.", flash_of(page))
        self.assertEqual([1, 2, 3], await self.uids("Archive"))
        undo = fields_of(page, "/mail/undo")
        said = await self.post("/mail/undo", **{**undo, "from_": undo["from"]})
        self.assertEqual(SEARCH, said.fields["location"])
        self.assertEqual("3 mails moved back.", flash_of(await self.follow(said)))
        self.assertEqual([], await self.uids("Archive"))
        self.assertEqual(boxes_of(await self.page(SEARCH))[0].split("/")[0], mails[0].split("/")[0])
        for name in ("INBOX", "Junk", "Trash"):
            self.assertEqual(1, len(await self.uids(name)), name)

    async def test_what_lies_in_trash_is_asked_for_before_anything_is_done(self) -> None:
        mails = await self.scattered()
        said = await self.post("/search/delete", mail=mails, found="q=plans")
        page = said.octets.decode()
        self.assertIn("1 mail will be gone, and nothing brings it back. 2 go to Trash.", page)
        self.assertIn(f'<a href="{SEARCH}"', page)
        self.assertEqual([3], await self.uids("INBOX"))
        fields = fields_of(page, "/search/delete")
        said = await self.post("/search/delete", **fields)
        self.assertEqual(SEARCH, said.fields["location"])
        page = await self.follow(said)
        self.assertEqual("2 mails moved to Trash.", flash_of(page))
        self.assertIn("1 mail deleted for good.", page)
        self.assertEqual([2, 3], sorted(await self.uids("Trash")))
        self.assertEqual([], await self.uids("INBOX"))

    async def test_what_lies_elsewhere_goes_to_trash_without_a_question(self) -> None:
        mails = await self.scattered()
        page = await self.does("delete", mails[:2])
        self.assertEqual("2 mails moved to Trash.", flash_of(page))
        self.assertEqual([1, 2, 3], await self.uids("Trash"))

    async def test_who_chose_nothing_is_told(self) -> None:
        await self.scattered()
        for what in ("mark", "move", "delete"):
            page = await self.does(what, [], add="seen", to="Junk")
            self.assertIn("Choose mails first", flash_of(page))

    async def test_what_is_no_mail_is_refused_and_changes_nothing(self) -> None:
        mails = await self.scattered()
        for said in NO_MAILS:
            for what in ("mark", "move", "delete"):
                answer = await self.post(
                    f"/search/{what}", mail=[mails[0], said], add="seen", to="Junk", sure="yes"
                )
                self.assertEqual(400, answer.status, (what, said))
        self.assertEqual({3: 0}, await self.flags("INBOX"))

    async def test_anothers_mails_and_those_of_a_folder_that_is_gone_are_passed_over(self) -> None:
        mails = await self.scattered()
        others = await self.fill("plans of bob", to="bob")
        gone = ["99999/1", f"{others}/1"]
        await self.does("mark", [*gone, mails[0]], add="flagged")
        await self.does("move", [*gone, mails[0]], to="Junk")
        await self.does("delete", gone, sure="yes")
        self.assertEqual({1: 0}, await self.flags("INBOX", "bob"))
        self.assertEqual({1: 0, 2: FLAGGED}, await self.flags("Junk"))

    async def test_an_undo_names_as_many_folders_as_uids_and_no_more_than_a_page_has(self) -> None:
        await self.scattered()
        inbox, trash = await self.folder_id("INBOX"), await self.folder_id("Trash")
        many = ";".join(["1"] * (PAGE_MAILS + 1))
        for to, uids in (
            ("1;2", "1"), ("1", "1;2"), (f"{inbox};", "1;1"), (";", ";"), (many, many),
        ):  # fmt: skip
            said = await self.post("/mail/undo", from_=str(trash), to=to, uids=uids)
            self.assertEqual(400, said.status, (to, uids))
        self.assertEqual([1], await self.uids("Trash"))


class WayBackTests(FoundCase):
    async def test_a_hit_leads_back_to_the_page_of_the_search(self) -> None:
        await self.begin()
        inbox = await self.indexed(*(f"plans <&> s{number}" for number in range(PAGE_MAILS + 3)))
        first = await self.page(f"/search?{urlencode({'q': 'plans from:zed', 'in': inbox})}")
        path = link_of(first, "next")
        second = await self.page(path)
        href = html.unescape(re.findall(r'<a href="(/mail/[^"]*/3\?[^"]*)"', second)[0])
        page = await self.page(href)
        self.assertIn(f'<a href="{html.escape(path)}" data-key="up">Search results</a>', page)
        self.assertEqual(subjects_of(second), subjects_of(await self.page(path)))
        found = href.partition("?")[2]
        for tab in ("headers", "raw", "story", "thread"):
            self.assertIn(f"/{tab}?{found}", page)
            beside = await self.page(f"/mail/{inbox}/3/{tab}?{found}")
            self.assertIn(f'href="/mail/{inbox}/3?{found}"', beside)
        self.assertEqual(f"/mail/{inbox}/4?{found}", link_of(page, "prev"))

    async def test_what_is_done_with_a_hit_on_its_page_leads_back_to_the_search(self) -> None:
        mails = await self.scattered()
        page = await self.page(f"/mail/{mails[0]}?found=q%3Dplans")
        folder_id = mails[0].split("/")[0]
        for what, fields, leads in (
            ("mark", {"add": "flagged", "stay": "yes"}, f"/mail/{mails[0]}?found=q%3Dplans"),
            ("mark", {"take": "seen"}, SEARCH), ("delete", {}, SEARCH),
        ):  # fmt: skip
            path = f"/mail/{folder_id}/{what}"
            given = fields_of(page, path)
            said = await self.post(path, uid=given["uid"], found=given["found"], **fields)
            self.assertEqual(leads, said.fields["location"])
        self.assertIn("found", fields_of(await self.follow(said), "/mail/undo"))

    async def test_a_mail_that_was_not_found_by_a_search_leads_to_its_folder(self) -> None:
        mails = await self.scattered()
        long = quote("q=" + "x" * MOST_CHARACTERS + "yz")
        for said in ("", "?found=", "?found=in%3D7", "?found=%26%3D%26", "?found=a%3Db%26" * 9):
            page = await self.page(f"/mail/{mails[0]}{said}")
            self.assertNotIn("Search results", page, said)
            self.assertIn('data-key="up" class="cut" title="Inbox">Inbox', page)
        page = await self.page(f"/mail/{mails[0]}?found={long}")
        self.assertNotIn("xyz", page)

    async def test_a_hit_that_is_gone_leads_back_to_the_search(self) -> None:
        mails = await self.scattered()
        await self.does("delete", mails[:1])
        said = await self.look(f"/mail/{mails[0]}?found=q%3Dplans")
        self.assertEqual(404, said.status)
        self.assertIn(f'<a href="{SEARCH}" data-key="up">Search results</a>', said.octets.decode())

    async def test_a_way_back_leads_nowhere_else(self) -> None:
        mails = await self.scattered()
        for said in ("//evil.example", "q=x\r\nX-Y: z", "https://evil.example/?q=x", "q=//x"):
            answer = await self.post("/search/mark", mail=mails[0], add="seen", found=said)
            self.assertRegex(answer.fields["location"], r"^/search(\?q=[\w%+.-]*)?$")

    def test_a_search_is_read_as_it_was_written(self) -> None:
        for sought in (Sought("a&b=c +ü", "7", "9"), Sought("x"), Sought("", "7")):
            read = Sought.read(sought.text)
            self.assertEqual(sought if sought else Sought(), read)
