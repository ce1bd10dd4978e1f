"""Which of a page's turns are kept."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mailnode.store.drafts import Drafts
from mailnode.web.pages.turns import MOST_OF_ACCOUNT, MOST_PAGES, Page, Turn, Turns, read_turn
from mailnode.web.refusals import TooManyBodies
from tests.unit.mail_case import MailCase

NAME = "0123456789abcdef"


class TurnsOfPages(SynchronousTestCase):
    def setUp(self) -> None:
        self.turns = Turns()

    def keep(self, name: str, number: int, until: Deferred[None] | None = None) -> Deferred[Page]:
        async def run() -> Page:
            async with self.turns.of(1, Turn(name, number)) as page:
                if until is not None:
                    await until
                page.number = max(page.number, number)
                page.draft_id = page.draft_id or number
                return page

        return Deferred.fromCoroutine(run())

    def has(self, account_id: int, number: int) -> bool:
        asked = Deferred.fromCoroutine(self.turns.has(account_id, Turn(NAME, number)))
        return bool(self.successResultOf(asked))

    def test_a_turn_is_a_page_s_name_and_a_number(self) -> None:
        self.assertEqual(Turn(NAME, 17), read_turn(f"{NAME}-17"))
        for rest in ("", "-", "-x", f"-{10**15}", "-1\n"):
            self.assertEqual(Turn(), read_turn(f"{NAME}{rest}"), rest)
        for text in ("", "short-1"):
            self.assertEqual(Turn(), read_turn(text), text)

    def test_what_is_kept_is_known_to_its_account_alone(self) -> None:
        self.keep(NAME, 3)
        self.assertEqual([True, True, False], [self.has(1, number) for number in (2, 3, 4)])
        self.assertFalse(self.has(2, 3))

    def test_who_comes_second_waits_for_what_the_first_became(self) -> None:
        until: Deferred[None] = Deferred()
        first, second = self.keep(NAME, 1, until), self.keep(NAME, 2)
        self.assertNoResult(second)
        until.callback(None)
        page = self.successResultOf(second)
        self.assertIs(self.successResultOf(first), page)
        self.assertEqual(1, page.draft_id)

    def test_pages_without_a_name_know_nothing_of_each_other(self) -> None:
        first, second = self.keep("", 1), self.keep("", 1)
        self.assertIsNot(self.successResultOf(first), self.successResultOf(second))
        self.assertEqual({}, self.turns._pages)

    def test_no_more_pages_are_remembered_than_so_many(self) -> None:
        self.keep(NAME, 1)
        for number in range(MOST_PAGES):
            self.keep(f"page{number:012}", 1)
        self.assertEqual(MOST_PAGES, len(self.turns._pages))
        self.assertFalse(self.has(1, 1))

    def test_of_pages_that_are_left_no_more_are_kept_at_a_time_than_so_many(self) -> None:
        until: Deferred[None] = Deferred()

        async def work(page: Page) -> int:
            await until
            return page.number

        def run(account_id: int) -> Deferred[int]:
            return Deferred.fromCoroutine(self.turns.run(account_id, Turn(NAME, 1), work))

        for _ in range(MOST_OF_ACCOUNT):
            left = run(1)
            left.cancel()
            self.failureResultOf(left)
        self.failureResultOf(run(1), TooManyBodies)
        other = run(2)
        self.assertNoResult(other)
        until.callback(None)
        self.assertEqual(-1, self.successResultOf(other))
        self.assertEqual(-1, self.successResultOf(run(1)))
        self.assertEqual({}, dict(self.turns._keeping))


class PagesThatAreLeft(MailCase):
    def form(self, number: int) -> dict[str, str]:
        return {"subject": "Left", "text": f"text {number}", "turn": f"{NAME}-{number}"}

    async def test_what_a_browser_breaks_off_and_what_it_says_last_are_one_draft(self) -> None:
        await self.begin()
        saves, stored = Drafts.save, Deferred[None]()
        heard: Deferred[None] = Deferred()

        async def save(drafts: Drafts, *what: Any) -> Any:
            saved = await saves(drafts, *what)
            if not stored.called:
                stored.callback(None)
                await heard
            return saved

        self.patch(Drafts, "save", save)
        first = self.look_off("/write/0", form=self.form(1))
        await self.until(lambda: stored.called)
        first.leave()
        heard.callback(None)
        await self.post("/write/0", **self.form(2))
        (uid,) = await self.uids("Drafts")
        page = await self.page(f"/write?draft={await self.folder_id('Drafts')}/{uid}")
        self.assertIn("text 2", page)
        kept = await self.look(f"/write/kept?turn={NAME}-2")
        self.assertEqual({"kept": True}, json.loads(kept.octets))
