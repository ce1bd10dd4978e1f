"""The journal is searched by anything that is known of a mail, in pieces that stay small."""

from __future__ import annotations

import time

from attrs import evolve

from mailnode.events import Accepted, Delivered, Event, RefusedMail, SignedIn
from mailnode.store.journal import insert_events
from mailnode.store.journal_search import FoundPage, Sought, search_journal
from tests.stores.support import StoreCase, envelope, message


class SearchTests(StoreCase):
    async def insert(self, *events: Event) -> None:
        await self.database.transact("x", lambda connection: insert_events(connection, events))

    async def seek(
        self, before: int = 0, limit: int = 50, scanned: int = 1000, **known
    ) -> FoundPage:
        return await self.database.read(
            lambda connection: search_journal(
                connection, Sought(**known), before=before, limit=limit, scanned_rows=scanned
            )
        )

    async def ids(self, **known) -> list[str]:
        return [mail.mail_id for mail in (await self.seek(**known)).mails]

    async def a_few(self) -> None:
        await self.insert(
            Accepted(at=100.0, mail_id="M1", sender="shop@example.net", client="192.0.2.7"),
            Delivered(at=100.0, mail_id="M1", recipient="carol+x@example.test", folder_id=1, uid=1,
                      detail={"mailbox": "carol@example.test"}),
            SignedIn(at=150.0, recipient="carol@example.test", client="192.0.2.7"),
            RefusedMail(at=200.0, sender="spam@example.net", recipient="nobody@example.test",
                        client="192.0.2.8", detail={"code": 550, "text": "No such user here"}),
            RefusedMail(at=300.0, mail_id="M2", sender="shop@example.net", client="192.0.2.8",
                        recipient="dave@example.test", detail={"code": 452, "text": "Full"}),
        )  # fmt: skip

    async def test_a_mail_is_found_by_its_sender_its_recipient_and_whose_mailbox_it_lies_in(self):
        await self.a_few()
        self.assertEqual(["M2", "M1"], await self.ids(address="shop@example.net"))
        self.assertEqual(["M2", "M1"], await self.ids(sender="shop@example.net"))
        for known in ({"address": "carol@example.test"}, {"recipient": "carol+x@example.test"}):
            self.assertEqual(["M1"], await self.ids(**known))
        both = {"sender": "shop@example.net", "recipient": "dave@example.test"}
        self.assertEqual(["M2"], await self.ids(**both))
        self.assertEqual([], await self.ids(address="shop@example.ne"))

    async def test_words_stand_in_an_address_an_id_a_client_or_an_answer(self):
        await self.a_few()
        for words, found in (
            ("SHOP@", ["M2", "M1"]),
            ("m1", ["M1"]),
            ("192.0.2.8", ["M2", ""]),
            ("no such USER", [""]),
            ("100%", []),
        ):
            self.assertEqual(found, await self.ids(words=words), words)

    async def test_a_mail_that_is_here_is_found_by_its_subject(self):
        invoice = evolve(message(), subject="Your invoice")
        await self.messages.file_message(envelope(1, mail_id="M3"), invoice)
        await self.messages.file_message(envelope(1, mail_id="M4"), message())
        for known in ({"subject": "INVOICE"}, {"words": "invoice"}):
            self.assertEqual(["M3"], await self.ids(**known))
        found = await self.seek(subject="invoice")
        self.assertEqual("Your invoice", found.mails[0].subject)

    async def test_an_outcome_and_a_time_narrow_it(self):
        await self.a_few()
        self.assertEqual(["M2", ""], await self.ids(outcome="refused"))
        self.assertEqual(["M1"], await self.ids(outcome="delivered"))
        self.assertEqual(["M2"], await self.ids(outcome="refused", address="shop@example.net"))
        self.assertEqual(["", "M1"], await self.ids(until=300.0))
        self.assertEqual(["M2"], await self.ids(since=201.0))
        self.assertEqual([""], await self.ids(since=101.0, until=300.0))
        self.assertEqual(["M2", ""], await self.ids(client="192.0.2.8"))

    async def test_each_mail_stands_on_one_page_whatever_happened_to_it(self):
        for number in range(7):
            await self.insert(
                Accepted(at=number, mail_id=f"M{number}", sender="shop@example.net"),
                Delivered(at=number, mail_id=f"M{number - 3}", recipient="carol@example.test"),
            )
        for known in ({}, {"words": "M"}, {"address": "shop@example.net"}):
            found, before = list[str](), 0
            for _ in range(20):
                page = await self.seek(before=before, limit=2, **known)
                found += [mail.mail_id for mail in page.mails]
                before = page.before
                if not before:
                    break
            self.assertEqual(len(found), len(set(found)), found)
            self.assertTrue({f"M{number}" for number in range(7)} <= set(found), found)

    async def test_words_are_looked_for_in_so_many_rows_and_no_more_at_once(self):
        await self.a_few()
        await self.insert(*[Accepted(at=400.0 + n, mail_id=f"N{n}") for n in range(30)])
        page = await self.seek(words="nobody", scanned=10)
        self.assertEqual((), page.mails)
        self.assertEqual(419.0, page.reached_at)
        pages = 1
        while not page.mails and pages < 9:
            page = await self.seek(words="nobody", scanned=10, before=page.before)
            pages += 1
        self.assertEqual((1, 4), (len(page.mails), pages))
        self.assertEqual((0, None), (page.before, page.reached_at))

    async def test_an_address_is_found_however_old_its_mail_is(self):
        await self.a_few()
        await self.insert(*[Accepted(at=400.0 + n, mail_id=f"N{n}") for n in range(1500)])
        self.assertEqual(["M1"], await self.ids(address="carol@example.test", scanned=10))
        self.assertEqual(["M2"], await self.ids(since=201.0, until=301.0, scanned=10))

    async def test_of_an_address_with_much_mail_so_much_is_looked_at_in_one_go(self):
        await self.a_few()
        many = [Delivered(at=400.0 + n, mail_id=f"N{n}", recipient="carol@example.test")
                for n in range(30)]  # fmt: skip
        await self.insert(*many)
        sought = {"address": "carol@example.test", "outcome": "accepted"}
        page = await self.seek(**sought, scanned=10)
        self.assertEqual((), page.mails)
        self.assertEqual(419.0, page.reached_at)
        pages = 1
        while page.before and pages < 9:
            page = await self.seek(**sought, scanned=10, before=page.before)
            pages += 1
        self.assertEqual(["M1"], [mail.mail_id for mail in page.mails])
        self.assertEqual((4, None), (pages, page.reached_at))

    async def test_a_page_of_a_long_journal_is_there_soon(self):
        rows = [
            Accepted(at=float(n), mail_id=f"N{n}", sender=f"u{n}@example.net", client="192.0.2.1")
            for n in range(60_000)
        ]
        for at in range(0, len(rows), 5000):
            await self.insert(*rows[at : at + 5000])
        began = time.monotonic()
        page = await self.seek(words="nowhere to be found", scanned=50_000)
        self.assertEqual((), page.mails)
        self.assertLess(time.monotonic() - began, 3.0)
