"""Lists of mail: pages, marks, moves, undo, deletion, folders of one's own; and what is forged."""

from __future__ import annotations

import html
import re
from typing import Any

from mailnode.model import ANSWERED, FLAGGED, SEEN, STANDARD_FOLDERS
from mailnode.store.folders import Folders
from mailnode.web.pages.lists import PAGE_MAILS
from tests.unit.mail_case import MailCase, fields_of, flash_of, link_of, subjects_of

LARGE = ("9" * 19, "9" * 30, "9" * 5000)
NO_UIDS = ("0", "-1", "1.5", "x", "", "٣", str(1 << 32), "9" * 5000, "1_0", " 1")


class ListTests(MailCase):
    async def test_mail_leads_to_the_inbox_which_shows_the_newest_first(self) -> None:
        await self.begin()
        inbox = await self.fill("one", "<b>two</b>")
        said = await self.look("/mail")
        self.assertEqual((303, f"/mail/{inbox}"), (said.status, said.fields["location"]))
        page = await self.page(f"/mail/{inbox}")
        self.assertEqual(["<b>two</b>", "one"], subjects_of(page))
        self.assertNotIn("<b>two", page)
        self.assertIn("<title>(2) Inbox", page)
        self.assertIn("Words of one.", page)
        self.assertIn("Zed", page)

    async def test_pages_follow_each_other_and_the_first_is_always_whole(self) -> None:
        await self.begin()
        inbox = await self.fill(*(f"s{number}" for number in range(1, 2 * PAGE_MAILS + 6)))
        seen, path, pages = [], f"/mail/{inbox}", []
        while path:
            pages.append(path)
            page = await self.page(path)
            seen += subjects_of(page)
            path = link_of(page, "next")
        self.assertEqual([f"s{number}" for number in range(2 * PAGE_MAILS + 5, 0, -1)], seen)
        self.assertEqual(3, len(pages))
        page = await self.page(pages[2])
        back = link_of(page, "prev")
        page = await self.page(back)
        self.assertEqual(seen[PAGE_MAILS : 2 * PAGE_MAILS], subjects_of(page))
        place = await self.standing(PAGE_MAILS + 20)
        page = await self.follow(await self.look(f"/mail/{inbox}?after={place}"))
        self.assertEqual(seen[:PAGE_MAILS], subjects_of(page))
        self.assertEqual("", link_of(page, "prev"))

    async def test_an_empty_folder_says_so(self) -> None:
        await self.begin()
        page = await self.page(f"/mail/{await self.folder_id('INBOX')}")
        self.assertIn("No mail yet. What comes for alice@example.test", page)
        junk = await self.folder_id("Junk")
        self.assertIn("There is nothing in Junk.", await self.page(f"/mail/{junk}?before=7-7"))

    async def test_a_place_in_a_list_that_is_none_is_the_first_page(self) -> None:
        await self.begin()
        inbox = await self.fill("one")
        for said in ("x", "-1", "7", "7-", "-7-7", "%D9%A3-1", f"{'9' * 5000}-1", "1.5-1"):
            self.assertEqual(["one"], subjects_of(await self.page(f"/mail/{inbox}?before={said}")))

    async def test_drafts_are_written_on_and_what_one_sent_names_who_it_is_for(self) -> None:
        await self.begin()
        inbox = await self.fill("one")
        await self.post(f"/mail/{inbox}/move", uid="1", to="Sent")
        drafts = self.web.desk.drafts
        saved = await self.done(drafts.save(self.ids["alice"], b"To: x@example.org\r\n\r\nx\r\n"))
        sent, place = await self.folder_id("Sent"), f"{saved.folder_id}/{saved.uid}"
        self.assertIn("To: alice@example.test", await self.page(f"/mail/{sent}"))
        page = await self.page(f"/mail/{saved.folder_id}")
        self.assertIn(f'href="/write?draft={place}"', page)
        self.assertIn("To: x@example.org", page)
        self.assertIn('value="x@example.org"', await self.page(f"/write?draft={place}"))

    async def test_a_mail_that_was_moved_into_drafts_is_read_and_never_replaced(self) -> None:
        await self.begin()
        inbox = await self.fill("one")
        await self.post(f"/mail/{inbox}/move", uid="1", to="Drafts")
        drafts = await self.folder_id("Drafts")
        page = await self.page(f"/mail/{drafts}")
        self.assertIn(f'href="/mail/{drafts}/1"', page)
        self.assertIn("Zed", page)
        self.assertEqual(404, (await self.look(f"/write?draft={drafts}/1")).status)


class MarkTests(MailCase):
    async def test_marks_are_set_and_taken(self) -> None:
        await self.begin()
        inbox = await self.fill("one", "two", "three")
        path = f"/mail/{inbox}/mark"
        await self.post(path, uid=["1", "3"], add=["seen", "flagged"])
        await self.post(path, uid="3", add="answered", take="seen")
        both = FLAGGED | ANSWERED
        self.assertEqual({1: SEEN | FLAGGED, 2: 0, 3: both}, await self.flags("INBOX"))
        page = await self.page(f"/mail/{inbox}")
        self.assertIn("<title>(2) Inbox", page)
        await self.post(path, all="2", take="flagged", add="seen")
        self.assertEqual({1: SEEN, 2: SEEN, 3: both}, await self.flags("INBOX"))

    async def test_a_mark_that_there_is_not_is_refused_and_changes_nothing(self) -> None:
        await self.begin()
        inbox = await self.fill("one")
        for fields in ({"add": "x"}, {"take": "draft"}, {"add": ["seen", "4"]}):
            said = await self.post(f"/mail/{inbox}/mark", uid="1", **fields)
            self.assertEqual(400, said.status)
            self.assertIn(b"A mark is one of seen, flagged, answered", said.octets)
        self.assertEqual({1: 0}, await self.flags("INBOX"))

    async def test_uids_that_are_none_are_refused(self) -> None:
        await self.begin()
        inbox = await self.fill("one")
        for what in ("mark", "move", "delete"):
            for uid in NO_UIDS:
                fields = {"uid": ["1", uid], "add": "seen", "to": "Junk", "sure": "yes"}
                said = await self.post(f"/mail/{inbox}/{what}", **fields)
                self.assertEqual(400, said.status, (what, uid))
                self.assertIn(b"number is missing or is none", said.octets)
        for name in ("all", "before", "after"):
            said = await self.post(f"/mail/{inbox}/mark", uid="1", add="seen", **{name: "-1"})
            self.assertEqual(400, said.status, name)
        self.assertEqual({1: 0}, await self.flags("INBOX"))

    async def test_uids_that_are_gone_are_passed_over(self) -> None:
        await self.begin()
        inbox = await self.fill("one", "two")
        for what in ("mark", "move"):
            said = await self.post(
                f"/mail/{inbox}/{what}", uid=["2", "77", "77"], add="seen", to="Junk"
            )
            self.assertEqual(303, said.status)
        self.assertEqual([1], await self.uids("INBOX"))
        self.assertEqual({1: SEEN}, await self.flags("Junk"))

    async def test_two_hundred_mails_are_marked_and_moved_at_once(self) -> None:
        await self.begin()
        inbox = await self.fill(*(f"s{number}" for number in range(250)))
        chosen = [str(uid) for uid in range(1, 201)]
        await self.post(f"/mail/{inbox}/mark", uid=chosen, add="flagged")
        await self.post(f"/mail/{inbox}/move", uid=chosen, to="Junk")
        self.assertEqual([*range(201, 251)], await self.uids("INBOX"))
        self.assertEqual({FLAGGED}, set((await self.flags("Junk")).values()))
        said = await self.post(f"/mail/{inbox}/mark", uid=["1"] * 2000, add="seen")
        self.assertEqual(400, said.status)

    async def test_who_chose_nothing_is_told_and_nothing_is_done(self) -> None:
        await self.begin()
        inbox = await self.fill("one")
        trash = await self.folder_id("Trash")
        for path in (f"/mail/{inbox}/mark", f"/mail/{inbox}/move", f"/mail/{inbox}/delete",
                     f"/mail/{trash}/delete"):  # fmt: skip
            page = await self.follow(await self.post(path, add="seen", to="Junk"))
            self.assertIn("Choose mails first", flash_of(page), path)
        self.assertEqual({1: 0}, await self.flags("INBOX"))

    async def test_an_action_leads_back_to_the_page_that_it_was_done_on(self) -> None:
        await self.begin()
        inbox = await self.fill(*(f"s{number}" for number in range(1, 3 * PAGE_MAILS + 1)))
        path = f"/mail/{inbox}"
        for _ in range(3):
            page = await self.page(path)
            shown, place = subjects_of(page), fields_of(page, f"/mail/{inbox}/mark")
            uid = shown[0].removeprefix("s")
            said = await self.post(f"/mail/{inbox}/mark", uid=uid, add="flagged", **place)
            self.assertEqual(shown, subjects_of(await self.follow(said)))
            path = link_of(page, "next")
        said = await self.post(f"/mail/{inbox}/mark", uid="1", add="seen", stay="yes")
        self.assertEqual(f"/mail/{inbox}/1", said.fields["location"])

    async def test_where_a_whole_page_went_the_mails_before_it_are_shown(self) -> None:
        await self.begin()
        inbox = await self.fill(*(f"s{number}" for number in range(1, 2 * PAGE_MAILS + 3)))
        page = await self.page(f"/mail/{inbox}?before={await self.standing(3)}")
        self.assertEqual(["s2", "s1"], subjects_of(page))
        place = fields_of(page, f"/mail/{inbox}/mark")
        said = await self.post(f"/mail/{inbox}/delete", uid=["1", "2"], **place)
        said = await self.look(said.fields["location"])
        page = await self.follow(said)
        self.assertEqual([f"s{number}" for number in range(52, 2, -1)], subjects_of(page))
        self.assertEqual("2 mails moved to Trash.", flash_of(page))


class MoveTests(MailCase):
    async def test_a_move_can_be_undone(self) -> None:
        await self.begin()
        inbox = await self.fill("one", "two", "three")
        page = await self.follow(await self.post(f"/mail/{inbox}/move", uid=["1", "3"], to="Junk"))
        self.assertEqual("2 mails moved to Junk.", flash_of(page))
        self.assertEqual(["two"], subjects_of(page))
        undo = fields_of(page, "/mail/undo")
        page = await self.follow(await self.post("/mail/undo", **{**undo, "from_": undo["from"]}))
        self.assertEqual("2 mails moved back.", flash_of(page))
        self.assertEqual({"one", "two", "three"}, set(subjects_of(page)))
        self.assertEqual([], await self.uids("Junk"))
        said = await self.post("/mail/undo", **undo)  # once more
        self.assertEqual("0 mails moved back.", flash_of(await self.follow(said)))

    async def test_a_target_is_a_folders_id_or_name_of_a_button_or_beside_it(self) -> None:
        await self.begin()
        inbox = await self.fill("one", "two", "three", "four")
        made = await self.post("/folders", name="Täglich/Post")
        own = int(made.fields["location"].rpartition("/")[2])
        path = f"/mail/{inbox}/move"
        await self.post(path, uid="1", to=str(own))
        await self.post(path, uid="2", target=str(own))
        await self.post(path, uid="3", to="täglich/post")
        self.assertEqual([1, 2, 3], await self.uids("Täglich/Post"))
        for said in ("", "Nowhere", "99999", *LARGE, "INBOX\0"):
            answer = await self.post(path, uid="4", to=said)
            self.assertEqual(404, answer.status, said[:40])
        self.assertEqual([4], await self.uids("INBOX"))

    async def test_a_move_to_where_they_lie_is_none(self) -> None:
        await self.begin()
        inbox = await self.fill("one")
        page = await self.follow(await self.post(f"/mail/{inbox}/move", uid="1", to="INBOX"))
        self.assertEqual("", flash_of(page))
        self.assertEqual([1], await self.uids("INBOX"))

    async def test_what_is_no_undo_is_refused(self) -> None:
        await self.begin()
        inbox, trash = await self.fill("one"), await self.folder_id("Trash")
        right = {"from_": str(inbox), "to": str(trash), "uids": "1"}
        for wrong, status in (
            ({"from_": "x"}, 400), ({"to": ""}, 400), ({"to": "1_0"}, 400), ({"from_": "-1"}, 400),
            ({"from_": "9" * 19}, 400), ({"to": "9" * 4000}, 400), ({"to": "99999"}, 404),
            ({"from_": "99999"}, 404), ({"uids": "1-x"}, 400), ({"uids": "1-5000000000"}, 400),
            ({"uids": "1,,-"}, 400),
        ):  # fmt: skip
            said = await self.post("/mail/undo", **{**right, **wrong})
            self.assertEqual(status, said.status, wrong)
        self.assertEqual([1], await self.uids("INBOX"))
        said = await self.post("/mail/undo", **{**right, "uids": "5-1"})
        self.assertEqual(303, said.status)
        self.assertEqual([1], await self.uids("INBOX"))

    async def test_an_undo_costs_what_lies_there_however_much_it_names(self) -> None:
        await self.begin()
        inbox, trash = await self.fill("one", "two", "three"), await self.folder_id("Trash")
        asked: list[list[int]] = []
        move = Folders.move

        async def watched(
            folders: Folders, whose: int, where: int, uids: Any, *more: Any, **named: Any
        ) -> Any:
            asked.append(list(uids))
            return await move(folders, whose, where, uids, *more, **named)

        self.patch(Folders, "move", watched)
        fields = {"from_": str(inbox), "to": str(trash), "uids": "2-4000000000,3,1-2"}
        page = await self.follow(await self.post("/mail/undo", **fields))
        self.assertEqual("3 mails moved back.", flash_of(page))
        self.assertEqual([[1, 2, 3]], asked)
        self.assertEqual(([], [1, 2, 3]), (await self.uids("INBOX"), await self.uids("Trash")))


class DeleteTests(MailCase):
    async def test_what_is_deleted_goes_to_trash_and_from_there_for_good_when_sure(self) -> None:
        await self.begin()
        inbox = await self.fill("one", "two")
        page = await self.follow(await self.post(f"/mail/{inbox}/delete", uid=["1", "2"]))
        self.assertEqual("2 mails moved to Trash.", flash_of(page))
        trash = await self.folder_id("Trash")
        self.assertEqual([1, 2], await self.uids("Trash"))
        said = await self.post(f"/mail/{trash}/delete", uid="1")
        self.assertEqual(200, said.status)
        self.assertIn(b"1 mail will be gone", said.octets)
        self.assertEqual([1, 2], await self.uids("Trash"))
        fields = fields_of(said.octets.decode(), f"/mail/{trash}/delete")
        page = await self.follow(await self.post(f"/mail/{trash}/delete", **fields))
        self.assertEqual("1 mail deleted for good.", flash_of(page))
        self.assertEqual([2], await self.uids("Trash"))

    async def test_all_of_a_folder_go_and_what_came_meanwhile_stays(self) -> None:
        await self.begin()
        inbox = await self.fill(*(f"s{number}" for number in range(PAGE_MAILS + 10)))
        page = await self.page(f"/mail/{inbox}")
        self.assertIn(f'name="all" value="{PAGE_MAILS + 10}"', page)
        await self.fill("late")
        await self.post(f"/mail/{inbox}/delete", all=str(PAGE_MAILS + 10), uid="1")
        self.assertEqual([PAGE_MAILS + 11], await self.uids("INBOX"))
        trash = await self.folder_id("Trash")
        said = await self.post(f"/mail/{trash}/delete", all=str(PAGE_MAILS))
        self.assertIn(b"50 mails will be gone", said.octets)
        fields = fields_of(said.octets.decode(), f"/mail/{trash}/delete")
        self.assertEqual({"all": [str(PAGE_MAILS)], "sure": ["yes"]}, fields)
        await self.post(f"/mail/{trash}/delete", **fields)
        self.assertEqual([*range(PAGE_MAILS + 1, PAGE_MAILS + 11)], await self.uids("Trash"))

    async def test_the_question_keeps_the_page_that_it_was_asked_on(self) -> None:
        await self.begin()
        inbox = await self.fill(*(f"s{number}" for number in range(2 * PAGE_MAILS)))
        await self.post(f"/mail/{inbox}/delete", all=str(2 * PAGE_MAILS))
        trash = await self.folder_id("Trash")
        place = await self.standing(51, "Trash")
        said = await self.post(f"/mail/{trash}/delete", uid="3", before=place)
        self.assertIn(f'href="/mail/{trash}?before={place}"', said.octets.decode())
        fields = fields_of(said.octets.decode(), f"/mail/{trash}/delete")
        said = await self.post(f"/mail/{trash}/delete", **fields)
        self.assertEqual(f"/mail/{trash}?before={place}", said.fields["location"])


class OwnFolderTests(MailCase):
    async def test_a_long_name_is_shortened_in_the_menu_and_told_whole_beside_it(self) -> None:
        await self.begin()
        inbox = await self.fill("one")
        name = "Rechnungen" * 9 + "2026"
        said = await self.post("/folders", name=name)
        own = said.fields["location"].rpartition("/")[2]
        short = f"{name[:23]}…{name[-12:]}"
        for path in (f"/mail/{inbox}", f"/mail/{inbox}/1"):
            option = f'<option value="{own}" title="{name}">{short}</option>'
            self.assertIn(option, await self.page(path))
        self.assertIn(
            f'<h1 class="cut" title="{name}">{name}</h1>', await self.page(f"/mail/{own}")
        )
        page = await self.follow(await self.post(f"/mail/{inbox}/move", uid="1", to=own))
        self.assertEqual(f"1 mail moved to {short}.", flash_of(page))

    async def test_a_folder_is_made_renamed_and_removed_and_its_mail_goes_to_trash(self) -> None:
        await self.begin()
        inbox = await self.fill("one")
        page = await self.follow(await self.post("/folders", name="  My   <i>bills</i> "))
        self.assertIn("My &lt;i&gt;bills&lt;/i&gt;", page)
        own = await self.folder_id("My <i>bills</i>")
        await self.post(f"/mail/{inbox}/move", uid="1", to=str(own))
        self.assertIn(f'action="/folders/{own}/rename"', await self.page(f"/folders/{own}"))
        await self.follow(await self.post(f"/folders/{own}/rename", name="Bills"))
        self.assertEqual([1], await self.uids("Bills"))
        said = await self.post(f"/folders/{own}/remove")
        self.assertEqual((303, "/mail"), (said.status, said.fields["location"]))
        page = await self.page(f"/mail/{inbox}")
        self.assertEqual("The folder Bills is gone; 1 mail went to Trash.", flash_of(page))
        self.assertEqual([1], await self.uids("Trash"))
        self.assertEqual(404, (await self.look(f"/mail/{own}")).status)

    async def test_what_can_not_be_a_name_is_told(self) -> None:
        await self.begin()
        said = await self.post("/folders", name="Bills")
        own = int(said.fields["location"].rpartition("/")[2])
        await self.post("/folders", name="Other")
        for name, words in (
            ("", "needs a name"), (" \t\r\n", "needs a name"), ("x" * 101, "100 characters"),
            ("a\0b", "control characters"), ("a\u202eb", "control characters"), ("a//b", "a word"),
            ("../x", "a word"), ("inbox", "already"), ("OTHER", "already"), ("trash", "already"),
        ):  # fmt: skip
            for path in ("/folders", f"/folders/{own}/rename"):
                said = await self.post(path, name=name)
                self.assertEqual(400, said.status, (path, name))
                page = said.octets.decode()
                self.assertIn(words, html.unescape(page.partition('role="alert">')[2]), name)
                typed = re.search(rf'action="{path}".*?name="name" value="([^"]*)"', page, re.S)
                assert typed, page
                self.assertEqual(name, html.unescape(typed[1]))
        self.assertEqual(303, (await self.post(f"/folders/{own}/rename", name="BILLS")).status)
        self.assertEqual(400, (await self.post("/folders")).status)

    async def test_a_standard_folder_is_neither_renamed_nor_removed(self) -> None:
        await self.begin()
        for name in STANDARD_FOLDERS:
            folder = await self.folder_id(name)
            for path in (f"/folders/{folder}/rename", f"/folders/{folder}/remove"):
                said = await self.post(path, name="X")
                self.assertEqual(400, said.status, path)
                self.assertIn(b"every account has it", said.octets)


class ForgedTests(MailCase):
    """Another's folders are not there, whatever is asked of them."""

    PATHS = (
        ("/mail/{}", None), ("/mail/{}?before=3", None), ("/mail/{}?after=1", None),
        ("/folders/{}", None), ("/mail/{}/1/thread", None),
        ("/mail/{}/mark", {"uid": "1", "add": "flagged"}), ("/mail/{}/mark", {"all": "9"}),
        ("/mail/{}/move", {"uid": "1", "to": "Trash"}),
        ("/mail/{}/move", {"all": "9", "to": "Junk"}),
        ("/mail/{}/delete", {"uid": "1", "sure": "yes"}), ("/mail/{}/delete", {"all": "9"}),
        ("/folders/{}/rename", {"name": "Mine"}), ("/folders/{}/remove", {}),
    )  # fmt: skip

    async def test_anothers_folder_is_not_there(self) -> None:
        await self.begin()
        inbox = await self.fill("one", "two", to="bob")
        mine = await self.fill("mine")
        own = await self.done(self.folders.make(self.ids["bob"], "Bobs"))
        await self.post(f"/mail/{inbox}/move", who="bob", uid="2", to="Bobs")
        for path, form in self.PATHS:
            for folder_id in (inbox, own.folder_id):
                said = await self.look(path.format(folder_id), form=form)
                self.assertEqual(404, said.status, (path, said))
        for fields in (
            {"from_": str(inbox), "to": str(mine), "uids": "1"},
            {"from_": str(mine), "to": str(inbox), "uids": "1"},
        ):
            self.assertEqual(404, (await self.post("/mail/undo", **fields)).status)
        for target in (str(inbox), "Bobs"):
            said = await self.post(f"/mail/{mine}/move", uid="1", to=target)
            self.assertEqual(404, said.status)
        self.assertEqual({1: 0}, await self.flags("INBOX", "bob"))
        self.assertEqual({1: 0}, await self.flags("Bobs", "bob"))
        self.assertEqual([1], await self.uids("INBOX"))

    async def test_a_number_of_any_length_is_just_not_there(self) -> None:
        await self.begin()
        await self.fill("one")
        for number in ("0", *LARGE):
            for path, form in self.PATHS:
                said = await self.look(path.format(number), form=form)
                self.assertEqual(404, said.status, (path, number[:30], said))
        inbox = await self.folder_id("INBOX")
        for number in ("0", "7", *LARGE):
            self.assertEqual(404, (await self.look(f"/mail/{inbox}/{number}/thread")).status)
        self.assertEqual([], [line for line in self.lines if "Traceback" in line])
        self.assertEqual([], [line for line in self.lines if line.startswith("critical")])

    async def test_nothing_is_done_without_what_the_page_was_given(self) -> None:
        await self.begin()
        inbox = await self.fill("one")
        paths = [(path.format(inbox), form) for path, form in self.PATHS if form is not None]
        paths += [
            ("/mail/undo", {"from": "1", "to": "2", "uids": "1"}),
            ("/folders", {"name": "X"}),
        ]
        for path, form in paths:
            for csrf in ("", "x", self.sessions["bob"][1]):
                said = await self.look(path, form=form, csrf=csrf)
                self.assertEqual(403, said.status, path)
            self.assertEqual(405, (await self.look(path, verb="PUT")).status, path)
        self.assertEqual({1: 0}, await self.flags("INBOX"))
