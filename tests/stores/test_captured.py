"""Captured mail as administrators see it: newest first, found by words, and counted."""

from __future__ import annotations

from attrs import evolve

from mailnode.model import Blob
from mailnode.reading.query import read_query
from mailnode.store import captured as captured_module
from mailnode.store.captured import CapturedMails, Level, search_captured
from mailnode.store.queue_desk import QueueFilter, count_rows
from tests.stores.support import PREFIX, envelope, message
from tests.stores.test_queue import AT, RAW, QueueCase, remote


class CapturedTests(QueueCase):
    def open_store(self) -> None:
        super().open_store()
        self.captured = CapturedMails(self.database)

    async def capture(self, to: str, subject: str = "", sender: str = "shop@example.test"):
        sent = envelope(remotes=(remote(to, captured=True),), received_at=AT, sender=sender)
        await self.messages.file_message(sent, evolve(message(RAW), subject=subject))
        return sent

    async def found(self, typed: str, **more):
        words = read_query(typed).words
        page = await self.database.read(
            lambda connection: search_captured(connection, words, **more)
        )
        return [each.recipient for each in page.rows], page.before

    async def test_a_page_goes_on_before_and_after_a_row(self):
        for number in range(5):
            await self.capture(f"u{number}@example.com")
        await self.send("waits@example.com")
        ids = [each.id for each in await self.captured.page(limit=9)]
        self.assertEqual(sorted(ids, reverse=True), ids)
        older = await self.captured.page(before=ids[1], limit=2)
        self.assertEqual(ids[2:4], [each.id for each in older])
        newer = await self.captured.page(after=ids[3], limit=2)
        self.assertEqual(ids[1:3], [each.id for each in newer])

    async def test_words_are_found_whatever_their_case_and_accents_and_where_they_stand(self):
        await self.capture("dave@example.com", "Grüße aus Köln")
        await self.capture("erin@example.com", "Your order 4711", "orders@example.test")
        for typed, who in (
            ("GRUSSE KÖLN", "dave"),
            ("koln", "dave"),
            ("köln order", ""),
            ("example.com", "erin dave"),
            ("to:erin", "erin"),
            ("to:orders", ""),
            ("from:orders", "erin"),
            ("from:orders@example.test to:erin@example.com subject:order", "erin"),
            ("subject:ord", ""),
            ("subject:ord*", "erin"),
            ('"order 4711"', "erin"),
            ('"4711 order"', ""),
            ("-order", "dave"),
            ("example -from:orders", "dave"),
        ):
            found, _before = await self.found(typed)
            self.assertEqual([f"{each}@example.com" for each in who.split()], found, typed)

    async def test_a_search_stops_at_its_page_or_its_bound_and_goes_on_from_there(self):
        for number in range(7):
            await self.capture(f"u{number}@example.com", "even" if number % 2 == 0 else "odd")
        first, before = await self.found("even", limit=2)
        self.assertEqual(["u6@example.com", "u4@example.com"], first)
        rest, end = await self.found("even", limit=9, before=before)
        self.assertEqual((["u2@example.com", "u0@example.com"], 0), (rest, end))
        self.patch(captured_module, "SEARCHED_AT_ONCE", 3)
        found, before = await self.found("subject:odd to:u1", searched_rows=3)
        self.assertEqual([], found)
        found, _end = await self.found("subject:odd to:u1", searched_rows=9, before=before)
        self.assertEqual(["u1@example.com"], found)

    async def test_the_level_rises_and_falls_with_what_is_captured_alone(self):
        self.assertEqual(Level(0, 0), await self.captured.level())
        await self.capture("a@example.com")
        await self.send("waits@example.com")
        await self.capture("b@example.com")
        newest = (await self.captured.page(limit=1))[0].id
        self.assertEqual(Level(newest, 2), await self.captured.level())

    async def test_one_is_opened_as_it_would_leave_and_no_mail_that_waits_is(self):
        await self.capture("a@example.com")
        await self.send("waits@example.com")
        (row,) = await self.captured.page()
        found = await self.captured.find(row.id)
        assert found is not None
        _row, mail = found
        self.assertEqual((PREFIX, RAW), (mail.head, mail.body))
        self.assertNotIsInstance(mail.body, Blob)
        self.assertEqual(len(PREFIX + RAW), mail.size_octets)
        self.assertIsNone(await self.captured.find(row.id + 1))
        self.assertIsNone(await self.captured.find(99))

    async def test_all_up_to_a_row_leaves_what_came_later(self):
        for number in range(3):
            await self.capture(f"u{number}@example.com")
        middle = (await self.captured.page())[1].id
        wanted = QueueFilter(state="captured", up_to=middle)
        self.assertEqual(2, await self.database.read(lambda each: count_rows(each, wanted)))
