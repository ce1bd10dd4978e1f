"""`mailnode.web.api`: an account's mails and folders, and what is waited for."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from mailnode.web.api.watching import Watching
from tests.unit.api_case import ApiCase, Asking

ALICE, BOB = "alice@example.test", "bob@example.test"
RAW = b"From: alice@example.test\r\nTo: bob@example.test\r\nSubject: Raw\r\n\r\nHello\r\n"


class Messages(ApiCase):
    async def first(self, token: str = "bob", folder: str = "INBOX") -> dict[str, Any]:
        """The newest mail's line."""
        line: dict[str, Any] = (await self.get(f"/messages?folder={folder}", token=token))["items"][
            0
        ]
        return line

    async def test_mails_are_listed_page_by_page(self) -> None:
        await self.begin()
        for number in range(5):
            await self.send(BOB, subject=f"Mail {number}")
        seen, cursor = [], ""
        while True:
            page = await self.get(f"/messages?limit=2{cursor}", token="bob")
            self.assert_fits("listMessages", 200, page)
            seen += [each["subject"] for each in page["items"]]
            if page["cursor"] is None:
                break
            cursor = f"&cursor={page['cursor']}"
        self.assertEqual([f"Mail {number}" for number in (4, 3, 2, 1, 0)], seen)

    async def test_a_cursor_is_of_its_list_alone(self) -> None:
        await self.begin()
        for _ in range(2):
            await self.send(BOB)
        cursor = (await self.get("/messages?limit=1", token="bob"))["cursor"]
        said = await self.ask("GET", f"/messages?folder=Trash&cursor={cursor}", token="bob")
        self.assertEqual({"cursor": "is none of this list"}, said.errors)

    async def test_a_mail_is_read_by_its_copys_id_and_by_its_own(self) -> None:
        await self.begin()
        mail_id = await self.send(
            f"Bob <{BOB}>", subject="Grüße", text="Hello\n", html="<p>Hello</p>",
            headers={"Reply-To": "Help <help@example.org>"}, in_reply_to="<1@example.com>",
            attachments=[{"name": "a.pdf", "kind": "application/pdf", "content": "JVBERi0="}],
        )  # fmt: skip
        line = await self.first()
        self.assertEqual((mail_id, "Grüße", []), (line["mail_id"], line["subject"], line["flags"]))
        mail = await self.get(f"/messages/{line['id']}", token="bob")
        self.assert_fits("getMessage", 200, mail)
        self.assertEqual(mail, await self.get(f"/messages/{mail_id}", token="bob"))
        self.assertEqual([{"name": "Bob", "address": BOB}], mail["to"])
        self.assertEqual([{"name": "Help", "address": "help@example.org"}], mail["reply_to"])
        self.assertEqual(["1@example.com"], mail["references"])
        self.assertEqual(("Hello\n", "<p>Hello</p>\n"), (mail["text"], mail["html"]))
        (file,) = mail["attachments"]
        self.assertEqual(5, file["size_octets"])  # of the file, not of its base64
        self.assertEqual(("a.pdf", "application/pdf"), (file["name"], file["kind"]))
        said = await self.ask("GET", f"/messages/{mail_id}/parts/{file['path']}", token="bob")
        self.assertEqual((200, b"%PDF-"), (said.status, said.octets))
        self.assertEqual("application/pdf", said.fields["content-type"])
        self.assertIn("sandbox", said.fields["content-security-policy"])
        self.assertIn("attachment", said.fields["content-disposition"])

    async def test_the_raw_mail_is_what_came_and_is_not_sent_twice(self) -> None:
        await self.begin()
        await self.ask("POST", "/send", RAW, kind="message/rfc822")
        line = await self.first()
        said = await self.ask("GET", f"/messages/{line['id']}/raw", token="bob")
        self.assertTrue(said.octets.endswith(RAW), said.octets)
        self.assertEqual(line["size_octets"], len(said.octets))
        self.assertEqual(str(len(said.octets)), said.fields["content-length"])
        tag = said.fields["etag"]
        path = f"/messages/{line['id']}/raw"
        for known, status in ((tag, 304), (f'"x", W/{tag}', 304), ("*", 304), ('"x"', 200)):
            again = await self.ask("GET", path, None, f"If-None-Match: {known}", token="bob")
            self.assertEqual((status, tag), (again.status, again.fields["etag"]), known)
        header = await self.ask("GET", f"/messages/{line['id']}/headers", token="bob")
        self.assertEqual("text/plain; charset=utf-8", header.fields["content-type"])
        self.assertIn(b"Subject: Raw", header.octets)
        self.assertNotIn(b"Hello", header.octets)

    async def test_flags_are_set_and_taken(self) -> None:
        await self.begin()
        await self.send(BOB)
        path = f"/messages/{(await self.first())['id']}"
        said = await self.ask("PATCH", path, {"add": ["seen", "flagged"]}, token="bob")
        self.assertEqual(["seen", "flagged"], said.json["flags"])
        said = await self.ask("PATCH", path, {"take": ["seen"]}, token="bob")
        self.assert_fits("markMessage", 200, said.json)
        self.assertEqual(["flagged"], said.json["flags"])
        for body in ({}, {"add": ["red"]}, {"add": "seen"}):
            self.assertEqual(422, (await self.ask("PATCH", path, body, token="bob")).status)

    async def test_a_mail_is_moved_then_deleted_to_trash_then_for_good(self) -> None:
        await self.begin()
        await self.send(BOB)
        made = await self.ask("POST", "/folders", {"name": "Work"}, token="bob")
        self.assertEqual(201, made.status)
        there = (await self.first())["id"]
        moved = await self.ask("POST", f"/messages/{there}/move", {"folder": "work"}, token="bob")
        self.assertEqual(made.json["id"], moved.json["folder"])
        self.assertEqual(404, (await self.ask("GET", f"/messages/{there}", token="bob")).status)
        trashed = await self.ask("DELETE", f"/messages/{moved.json['id']}", token="bob")
        self.assertEqual(200, trashed.status)
        path = f"/messages/{trashed.json['id']}"
        gone = await self.ask("DELETE", path, token="bob")
        self.assertEqual((204, b""), (gone.status, gone.octets))
        self.assertEqual(404, (await self.ask("DELETE", path, token="bob")).status)

    async def test_a_mail_is_deleted_for_good_at_once_where_that_is_said(self) -> None:
        await self.begin()
        await self.send(BOB)
        path = f"/messages/{(await self.first())['id']}?for_good=true"
        self.assertEqual(204, (await self.ask("DELETE", path, token="bob")).status)
        self.assertEqual([], (await self.get("/messages?folder=Trash", token="bob"))["items"])

    async def test_of_several_copies_the_first_is_read_and_none_is_changed_unnamed(self) -> None:
        await self.begin()
        mail_id = await self.send(ALICE)
        read = await self.get(f"/messages/{mail_id}")
        self.assertEqual(ALICE, read["recipient"])
        said = await self.ask("DELETE", f"/messages/{mail_id}")
        self.assertEqual(409, said.status)
        self.assertIn(read["id"], said.json["detail"])
        self.assertEqual(200, (await self.ask("DELETE", f"/messages/{read['id']}")).status)

    async def test_who_sent_it_sees_each_recipient_and_who_got_it_himself(self) -> None:
        await self.begin()
        mail_id = await self.send(BOB, bcc=["x@elsewhere.example"])
        story = await self.get(f"/messages/{mail_id}/story")
        self.assert_fits("getMessageStory", 200, story)
        fates = {each["address"]: each["state"] for each in story["recipients"]}
        self.assertEqual({BOB: "delivered", "x@elsewhere.example": "captured"}, fates)
        story = await self.get(f"/messages/{mail_id}/story", token="bob")
        self.assertEqual([BOB], [each["address"] for each in story["recipients"]])
        self.assertNotIn("elsewhere", json.dumps(story))

    async def test_a_story_is_told_by_its_id_when_the_mail_is_gone_and_to_nobody_else(self) -> None:
        await self.begin()
        mail_id = await self.send(BOB, keep=False)
        path = f"/messages/{(await self.first())['id']}?for_good=true"
        await self.ask("DELETE", path, token="bob")
        story = await self.get(f"/messages/{mail_id}/story", token="bob")
        self.assertEqual("deleted", story["events"][-1]["event"])
        mine = await self.send(ALICE, keep=False)
        said = await self.ask("GET", f"/messages/{mine}/story", token="bob")
        self.assertEqual(404, said.status)


class Searching(ApiCase):
    async def find(self, query: str) -> dict[str, Any]:
        """What is found once all is indexed."""
        while True:
            found: dict[str, Any] = await self.get(f"/search?{query}", token="bob")
            if not found["is_behind"]:
                return found

    async def test_mails_are_found_by_their_words_page_by_page(self) -> None:
        await self.begin()
        for number in range(3):
            await self.send(BOB, subject=f"Invoice {number}", text="Please pay.\n")
        await self.send(BOB, subject="Else", attachments=[{"name": "a.txt", "content": "YQ=="}])
        found = await self.find("q=invoice&limit=2")
        self.assert_fits("search", 200, found)
        rest = await self.find(f"q=invoice&limit=2&cursor={found['cursor']}")
        subjects = [each["subject"] for each in found["items"] + rest["items"]]
        self.assertEqual(["Invoice 2", "Invoice 1", "Invoice 0"], subjects)
        self.assertEqual("Please pay.", found["items"][0]["snippet"])
        (file,) = (await self.find("q=has:attachment"))["items"]
        self.assertEqual((["a.txt"], ALICE), (file["attachments"], file["from"]["address"]))
        self.assertEqual([], (await self.find("q=invoice&folder=Trash"))["items"])

    async def test_what_cannot_be_looked_for_is_said(self) -> None:
        await self.begin()
        for query in ("before:yesterday", "in:Nowhere", '"open'):
            said = await self.ask("GET", f"/search?q={quote(query)}")
            self.assertEqual((422, {"q"}), (said.status, set(said.errors)), query)
        self.assertEqual({"q": "is missing"}, (await self.ask("GET", "/search")).errors)


class Folders(ApiCase):
    async def test_folders_are_listed_made_renamed_and_removed(self) -> None:
        await self.begin()
        listed = await self.get("/folders")
        self.assert_fits("listFolders", 200, listed)
        names = [each["name"] for each in listed["items"]]
        self.assertEqual(["INBOX", "Drafts", "Sent", "Junk", "Trash"], names)
        made = await self.ask("POST", "/folders", {"name": "Work"})
        self.assert_fits("makeFolder", 201, made.json)
        again = await self.ask("POST", "/folders", {"name": "work"})
        self.assertEqual(400, again.status)
        path = f"/folders/{made.json['id']}"
        self.assertEqual("Old", (await self.ask("PATCH", path, {"name": "Old"})).json["name"])
        await self.send(ALICE, keep=False)
        (line,) = (await self.get("/messages"))["items"]
        await self.ask("POST", f"/messages/{line['id']}/move", {"folder": str(made.json["id"])})
        self.assertEqual({"moved": 1}, (await self.ask("DELETE", path)).json)
        self.assertEqual(404, (await self.ask("DELETE", path)).status)

    async def test_a_standard_one_stays_and_anothers_is_not_there(self) -> None:
        await self.begin()
        inbox = (await self.get("/folders"))["items"][0]["id"]
        self.assertEqual(400, (await self.ask("DELETE", f"/folders/{inbox}")).status)
        for method, body in (("DELETE", None), ("PATCH", {"name": "X"})):
            said = await self.ask(method, f"/folders/{inbox}", body, token="bob")
            self.assertEqual(404, said.status)
        self.assertEqual(
            404, (await self.ask("GET", f"/messages?folder={inbox}", token="bob")).status
        )


class Waiting(ApiCase):
    @property
    def watching(self) -> Watching:
        (found,) = (each for each in self.api.resources if isinstance(each, Watching))
        return found

    async def waiting(self, query: str, token: str = "bob") -> Asking:
        """Who waits, once he listens."""
        happenings = self.watching.happenings
        there = len(happenings)
        asking = self.send_off("GET", f"/messages/wait?{query}", token=token)
        await self.until(lambda: len(happenings) > there or asking.is_over)
        return asking

    def waiters(self) -> int:
        return sum(self.watching.waiters._count.values())

    async def test_a_mail_that_comes_ends_the_wait_and_another_does_not(self) -> None:
        await self.begin()
        asking = await self.waiting("timeout=120&subject=WANTED&to=bob&from=alice%40example.test")
        await self.send(BOB, subject="Another")
        self.assertFalse(asking.is_over)
        mail_id = await self.send(BOB, subject="The wanted one")
        await self.until(lambda: asking.is_over)
        self.assert_fits("waitForMessage", 200, asking.said.json)
        self.assertEqual(mail_id, asking.said.json["mail_id"])

    async def test_what_is_there_already_counts_where_since_says_so(self) -> None:
        await self.begin()
        mail_id = await self.send(BOB)
        since = "since=2020-01-01T00:00:00%2B01:00"
        said = await self.ask("GET", f"/messages/wait?timeout=120&{since}", token="bob")
        self.assertEqual((200, mail_id), (said.status, said.json["mail_id"]))
        asking = await self.waiting("timeout=1&since=2099-01-01T00:00:00Z")
        self.reactor.advance(1.0)
        await self.until(lambda: asking.is_over)
        self.assertEqual(204, asking.said.status)

    async def test_when_none_comes_there_is_no_content(self) -> None:
        await self.begin()
        asking = await self.waiting("timeout=120")
        self.reactor.advance(119.0)
        self.assertFalse(asking.is_over)
        self.reactor.advance(1.5)
        await self.until(lambda: asking.is_over)
        self.assertEqual((204, b""), (asking.said.status, asking.said.octets))
        self.assertEqual(0, self.waiters())

    async def test_so_many_of_an_account_wait_at_most_and_who_leaves_makes_room(self) -> None:
        await self.begin()
        there = [await self.waiting("timeout=120") for _ in range(20)]
        said = await self.ask("GET", "/messages/wait?timeout=1", token="bob")
        self.assertEqual((429, "10"), (said.status, said.fields["retry-after"]))
        there[0].leave()
        await self.until(lambda: self.waiters() == 19)
        again = await self.waiting("timeout=120")
        self.assertFalse(again.is_over)
        for each in (*there[1:], again):
            each.leave()
        await self.until(lambda: not self.waiters())

    async def test_bounds_of_the_time_are_kept(self) -> None:
        await self.begin()
        for query in ("timeout=0", "timeout=121", "timeout=x", "since=yesterday",
                      "since=2027-02-31T00:00:00Z"):  # fmt: skip
            said = await self.ask("GET", f"/messages/wait?{query}", token="bob")
            self.assertEqual(422, said.status, query)

    async def test_events_are_told_as_they_happen_until_the_token_is_revoked(self) -> None:
        await self.begin()
        token = await self.token("bob", "read")
        asking = self.send_off("GET", "/events", token=token)
        await self.until(lambda: len(self.web.desk.changes) > 0)
        await self.send(BOB)
        await self.until(lambda: b"event: mail" in asking.transport.value())
        self.assertIn(b"text/event-stream", asking.transport.value())
        self.assertFalse(asking.is_over)
        (made, *_) = [each for each in await self.done(self.web.guests.tokens(self._bob()))
                      if each.scopes == ("read",)]  # fmt: skip
        await self.done(self.web.guests.end_token(self._bob(), made.id))
        await self.send(BOB)
        await self.until(lambda: asking.is_over)

    def _bob(self) -> int:
        account = self.node_.directory.find_sign_in("bob")
        assert account is not None
        return account.id
