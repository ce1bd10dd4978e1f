"""`mailnode.web.pages.admin_captured`: the list of captured mail, searched and deleted."""

from __future__ import annotations

import re

from mailnode.web.pages import admin_captured
from tests.unit.captured_case import LIST, CapturedCase
from tests.unit.mail_case import fields_of, flash_of, link_of, subjects_of

HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(1)>'


class ListTests(CapturedCase):
    async def test_all_is_in_one_list_the_newest_first_on_pages_and_counted(self) -> None:
        await self.begin()
        for number in range(120):
            await self.capture(f"u{number}@far.example", subject=f"Mail {number}")
        await self.capture("waits@far.example", subject="Waits", held=True)
        first = await self.page(LIST)
        self.assertEqual([f"Mail {n}" for n in range(119, 69, -1)], subjects_of(first))
        self.assertIn("<title>(120) Captured mail", first)
        self.assertIn('aria-label="120 captured"', first)
        second = await self.page(link_of(first, "next"))
        self.assertEqual([f"Mail {n}" for n in range(69, 19, -1)], subjects_of(second))
        third = await self.page(link_of(second, "next"))
        self.assertEqual([f"Mail {n}" for n in range(19, -1, -1)], subjects_of(third))
        self.assertEqual("", link_of(third, "next"))
        back = await self.page(link_of(third, "prev"))
        self.assertEqual(subjects_of(second), subjects_of(back))
        said = await self.look(link_of(back, "prev"))
        self.assertEqual((303, LIST), (said.status, said.fields["location"]))

    async def test_the_menu_of_administrators_has_it_with_its_number_and_no_others(self) -> None:
        await self.begin()
        await self.capture("dave@far.example", "erin@far.example")
        inbox = await self.folder_id("INBOX")
        menu = await self.page(f"/mail/{inbox}")
        self.assertIn('href="/admin/captured"', menu)
        self.assertIn('aria-label="2 captured"', menu)
        theirs = await self.page(f"/mail/{await self.folder_id('INBOX', 'bob')}", who="bob")
        self.assertNotIn("captured", theirs)

    async def test_it_is_found_by_whom_it_is_to_and_from_and_its_subject(self) -> None:
        await self.begin()
        await self.capture("dave@far.example", subject="Grüße")
        await self.capture("erin@far.example", subject="Your order", sender="news@example.test")
        for typed, wanted in (
            ("to%3Adave", ["Grüße"]),
            ("GRUSSE", ["Grüße"]),
            ("from%3Anews%20subject%3Aorder", ["Your order"]),
            ("far.example", ["Your order", "Grüße"]),
            ("to%3Anews", []),
        ):
            page = await self.page(f"{LIST}?q={typed}")
            self.assertEqual(wanted, subjects_of(page), typed)

    async def test_what_captured_mail_does_not_know_is_said(self) -> None:
        await self.begin()
        for typed in (
            "has%3Aattachment",
            "in%3ATrash",
            "file%3Ax",
            "larger%3A1M",
            "%22x",
            "%3F%3F",
        ):
            said = await self.look(f"{LIST}?q={typed}")
            self.assertEqual(400, said.status, typed)
            self.assertIn(b'role="alert"', said.octets)

    async def test_numbers_that_no_row_can_have_are_none(self) -> None:
        await self.begin()
        await self.capture("dave@far.example")
        for query in (f"before={'9' * 40}", f"after={'9' * 40}", "before=x", "q=x&before=-1"):
            self.assertIn((await self.look(f"{LIST}?{query}")).status, (200, 303), query)

    async def test_a_search_goes_on_behind_its_page(self) -> None:
        await self.begin()
        for number in range(60):
            await self.capture(f"u{number}@far.example", subject=f"Order {number}")
        first = await self.page(f"{LIST}?q=order")
        rest = await self.page(link_of(first, "next"))
        self.assertEqual([f"Order {n}" for n in range(9, -1, -1)], subjects_of(rest))

    async def test_what_strangers_wrote_is_escaped(self) -> None:
        await self.begin()
        (row,) = await self.capture("dave@far.example", subject=HOSTILE)
        for path in (LIST, f"{LIST}?q=script", f"{LIST}/{row}", f"{LIST}/{row}/headers"):
            page = await self.page(path)
            self.assertNotIn("<script>alert", page)
            self.assertNotIn("<img src=x", page)


class DeletingTests(CapturedCase):
    async def test_chosen_ones_go_at_once_and_the_journal_knows_who_did_it(self) -> None:
        await self.begin()
        rows = [(await self.capture(f"u{n}@far.example", subject=f"M{n}"))[0] for n in range(3)]
        mail_id = (await self.rows(ids=(rows[0],)))[0].mail_id
        said = await self.post(f"{LIST}/delete", row=rows[:2])
        page = await self.follow(said)
        self.assertEqual("2 mails deleted for good.", flash_of(page))
        self.assertEqual(["M2"], subjects_of(page))
        self.assertIn("alice@example.test", await self.page(f"/admin/journal/{mail_id}"))

    async def test_all_go_after_a_question_but_those_that_came_meanwhile(self) -> None:
        await self.begin()
        for number in range(3):
            await self.capture(f"u{number}@far.example", subject=f"M{number}")
        (waits,) = await self.capture("waits@far.example", held=True)
        newest = re.search(r'name="all" value="(\d+)"', await self.page(LIST))
        assert newest is not None
        asked = await self.post(f"{LIST}/delete", all=newest[1])
        self.assertEqual(200, asked.status)
        page = asked.octets.decode()
        self.assertIn("Delete all 3 for good", page)
        self.assertIn("nothing brings them back", page)
        self.assertEqual(4, len(await self.rows()))
        await self.capture("late@far.example", subject="Late")
        after = await self.follow(
            await self.post(f"{LIST}/delete", **one(fields_of(page, f"{LIST}/delete")))
        )
        self.assertEqual("3 mails deleted for good.", flash_of(after))
        self.assertEqual(["Late"], subjects_of(after))
        self.assertIn(waits, [row.id for row in await self.rows()])

    async def test_all_that_fits_a_search_goes_after_a_question_and_nothing_else(self) -> None:
        await self.begin()
        for number in range(60):
            subject = f"Order {number}" if number % 2 else f"News {number}"
            await self.capture(f"u{number}@far.example", subject=subject)
        found = await self.page(f"{LIST}?q=subject%3Aorder")
        newest = re.search(r'name="all" value="(\d+)"', found)
        assert newest is not None
        self.patch(admin_captured, "SEARCHED_ROWS", 7)
        self.patch(admin_captured, "DELETED_AT_ONCE", 8)
        asked = await self.post(f"{LIST}/delete", all=newest[1], q="subject:order")
        page = asked.octets.decode()
        self.assertIn("Delete all 30 for good", page)
        self.assertIn("Searched for: subject:order", page)
        await self.capture("late@far.example", subject="Order that is late")
        fields = one(fields_of(page, f"{LIST}/delete"))
        after = await self.follow(await self.post(f"{LIST}/delete", **fields))
        self.assertEqual("30 mails deleted for good.", flash_of(after))
        self.assertEqual(["Order that is late"], subjects_of(after))
        self.assertEqual(31, len(await self.rows()))
        for wrong in ("has:file", "?!"):
            none = await self.post(f"{LIST}/delete", all=newest[1], q=wrong, sure="yes")
            self.assertEqual(400, none.status, wrong)
        self.assertEqual(31, len(await self.rows()))

    async def test_nothing_chosen_deletes_nothing(self) -> None:
        await self.begin()
        await self.capture("dave@far.example")
        page = await self.follow(await self.post(f"{LIST}/delete"))
        self.assertIn("Choose mails first", flash_of(page))
        for wrong in ({"row": "x"}, {"row": "0"}, {"all": "x", "sure": "yes"}):
            said = await self.post(f"{LIST}/delete", **wrong)
            self.assertEqual(400, said.status, wrong)
        self.assertEqual(1, len(await self.rows()))

    async def test_mail_on_its_way_is_not_deleted_here_and_copies_in_folders_stay(self) -> None:
        await self.begin()
        (waits,) = await self.capture("waits@far.example", held=True)
        (both,) = await self.capture("dave@far.example", here="bob", subject="Both")
        page = await self.follow(await self.post(f"{LIST}/delete", row=waits))
        self.assertIn("Nothing of that is captured", flash_of(page))
        await self.follow(await self.post(f"{LIST}/delete", row=both))
        self.assertEqual([waits], [row.id for row in await self.rows()])
        inbox = await self.folder_id("INBOX", "bob")
        self.assertIn("Hello.", await self.page(f"/mail/{inbox}/1", who="bob"))

    async def test_a_forged_form_deletes_nothing(self) -> None:
        await self.begin()
        (row,) = await self.capture("dave@far.example")
        said = await self.look(f"{LIST}/delete", form={"row": row}, csrf="x")
        self.assertEqual(403, said.status)
        self.assertEqual(1, len(await self.rows()))

    async def test_the_list_is_led_back_to_where_it_was(self) -> None:
        await self.begin()
        (row,) = await self.capture("dave@far.example")
        for asked, wanted in (
            ({"before": "9"}, f"{LIST}?before=9"),
            ({"q": "to:dave x"}, f"{LIST}?q=to%3Adave+x"),
            ({"before": "//evil.example"}, LIST),
        ):
            said = await self.post(f"{LIST}/delete", **asked)
            self.assertEqual(wanted, said.fields["location"])
        self.assertEqual([row], [each.id for each in await self.rows()])


def one(fields: dict[str, list[str]]) -> dict[str, str]:
    return {name: values[-1] for name, values in fields.items()}
