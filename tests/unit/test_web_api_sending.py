"""`mailnode.web.api.sending`: a mail goes to all whom it names, or to nobody, and once."""

from __future__ import annotations

import base64
import time
from typing import Any

from mailnode.web.api.orders import FIELDS, FORM_FIELDS
from tests.unit.api_case import JSON, ApiCase, Said

ALICE, BOB, FAR = "alice@example.test", "bob@example.test", "dave@elsewhere.example"
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=x"
RAW = "message/rfc822"
IN_BRACKETS = "must be a message-id in its brackets"


def parts(*each: tuple[str, str, bytes]) -> bytes:
    """A form with files: (field, file's name or "", content) of each part."""
    lines = b""
    for name, file, content in each:
        said = f'; filename="{file}"' if file else ""
        lines += f'--x\r\nContent-Disposition: form-data; name="{name}"{said}\r\n\r\n'.encode()
        lines += content + b"\r\n"
    return lines + b"--x--\r\n"


class Sending(ApiCase):
    async def order(self, order: Any = None, *headers: str, **more: Any) -> Said:
        fields = {"to": BOB, "subject": "Hi", "text": "Hello\n"} if order is None else order
        return await self.ask("POST", "/send", fields, *headers, **more)

    async def inbox(self, token: str = "bob", folder: str = "INBOX") -> list[dict[str, Any]]:
        """Each mail, read; the newest first."""
        lines = (await self.get(f"/messages?folder={folder}", token=token))["items"]
        return [await self.get(f"/messages/{line['id']}", token=token) for line in lines]

    async def raw(self, token: str = "bob") -> bytes:
        (line,) = (await self.get("/messages", token=token))["items"]
        return (await self.ask("GET", f"/messages/{line['id']}/raw", token=token)).octets

    async def test_it_is_filed_here_queued_for_elsewhere_and_kept_in_sent(self) -> None:
        await self.begin()
        said = await self.order({"to": [BOB, f"Dave <{FAR}>"], "text": "Hello\n"})
        self.assertEqual(202, said.status)
        self.assert_fits("send", 202, said.json)
        told = [(each["address"], each["field"], each["state"]) for each in said.json["recipients"]]
        self.assertEqual([(BOB, "to[0]", "accepted"), (FAR, "to[1]", "accepted")], told)
        (mail,) = await self.inbox()
        self.assertEqual((said.json["id"], said.json["message_id"]),
                         (mail["mail_id"], mail["message_id"]))  # fmt: skip
        self.assertEqual(1, len(await self.inbox("alice", "Sent")))
        (captured,) = (await self.get("/captured"))["items"]
        self.assertEqual((FAR, said.json["id"]), (captured["recipient"], captured["mail_id"]))

    async def test_no_copy_is_kept_where_none_is_wanted(self) -> None:
        await self.begin()
        await self.send(BOB, keep=False)
        self.assertEqual([], await self.inbox("alice", "Sent"))

    async def test_bcc_is_a_recipient_that_nobody_sees(self) -> None:
        await self.begin()
        await self.order({"to": FAR, "bcc": [BOB], "text": "x"})
        self.assertNotIn(b"bcc", (await self.raw()).lower())

    async def test_one_refused_recipient_refuses_the_mail_and_each_is_named(self) -> None:
        await self.begin()
        to = [BOB, "nobody@example.test", "nobody2@example.test"]
        said = await self.order({"to": to, "cc": "nobody3@example.test", "text": "x"})
        self.assertEqual(422, said.status)
        self.assertEqual({"to[1]", "to[2]", "cc"}, set(said.errors))
        self.assertIn("No such user here", said.errors["to[1]"])
        self.assertEqual("5.1.1", said.json["errors"][0]["code"])
        self.assertEqual([], await self.inbox())

    async def test_with_partial_the_others_get_it_and_it_is_said_who_does_not(self) -> None:
        await self.begin()
        order = {"to": [BOB, "nobody@example.test"], "text": "x", "partial": True}
        said = await self.order(order)
        self.assertEqual(202, said.status)
        states = [each["state"] for each in said.json["recipients"]]
        self.assertEqual(["accepted", "refused"], states)
        self.assertEqual(1, len(await self.inbox()))
        said = await self.order(order | {"to": "nobody@example.test"})
        self.assertEqual(422, said.status)

    async def test_all_that_is_malformed_is_said_at_once_with_its_field(self) -> None:
        await self.begin()
        said = await self.order(
            {
                "from": "carol",
                "to": ["dave@nowhere", BOB],
                "cc": "no at sign",
                "headers": {"Subject": "x", "X-Two": "a\nb"},
                "attachments": [{"name": "a", "content": "%%%"}],
            }
        )
        fields = {"from", "to[0]", "cc", "headers.Subject", "headers.X-Two",
                  "attachments[0].content"}  # fmt: skip
        self.assertEqual(fields, set(said.errors))

    async def test_what_is_not_of_its_schema_is_said_in_words(self) -> None:
        await self.begin()
        for order, field, words in (
            ({"to": BOB, "subjet": "x"}, "subjet", 'is unknown; did you mean "subject"?'),
            ({"to": 5}, "to", "must be a text or a list"),
            ({"to": BOB, "subject": "a\nb"}, "subject", "must be one line"),
            ({"to": BOB, "keep": "yes"}, "keep", "must be true or false"),
            ({"to": BOB, "in_reply_to": "1"}, "in_reply_to",
             "must be a message-id in its brackets"),
            ({"to": BOB, "attachments": [{"name": "a"}]}, "attachments[0].content", "is missing"),
            ({"text": "x"}, "to", "names nobody"),
            ({"to": [], "text": "x"}, "to", "names nobody"),
        ):  # fmt: skip
            said = await self.order(order)
            self.assertEqual((422, words), (said.status, said.errors[field]), order)

    async def test_another_ones_address_is_not_sent_from(self) -> None:
        await self.begin()
        said = await self.order({"from": BOB, "to": BOB, "text": "x"})
        self.assertEqual(403, said.status)
        self.assertIn("not yours", said.errors["from"])

    async def test_the_same_request_under_a_key_sends_one_mail_and_another_is_refused(self) -> None:
        await self.begin()
        key = "Idempotency-Key: order-66"
        first = await self.order(None, key)
        again = await self.order(None, key)
        self.assertEqual((202, first.json), (again.status, again.json))
        self.assertEqual("true", again.fields["idempotency-replayed"])
        other = await self.order({"to": BOB, "text": "another"}, key)
        self.assertEqual(422, other.status)
        self.assertIn("Idempotency-Key", other.errors)
        self.assertEqual(1, len(await self.inbox()))
        bobs = await self.order(None, key, token="bob")
        self.assertNotEqual(first.json["id"], bobs.json["id"])

    async def test_the_same_request_twice_at_once_sends_one_mail(self) -> None:
        await self.begin()
        order = {"to": BOB, "text": "x"}
        there = [self.send_off("POST", "/send", order, "Idempotency-Key: once") for _ in range(5)]
        await self.until(lambda: all(each.is_over for each in there))
        self.assertEqual(1, len({each.said.json["id"] for each in there}))
        self.assertEqual({202}, {each.said.status for each in there})
        self.assertEqual(1, len(await self.inbox()))

    async def test_a_key_that_is_none_is_refused(self) -> None:
        await self.begin()
        for key in ("", "x" * 201, "with blank", "gr\xfc\xdfe", "\udcd7"):
            said = await self.order(None, f"Idempotency-Key: {key}")
            self.assertEqual(422, said.status, key)

    async def test_a_form_with_files_has_them_attached_and_shown(self) -> None:
        await self.begin()
        body = parts(
            ("to", "", BOB.encode()), ("to", "", f"Dave <{FAR}>".encode()),
            ("subject", "", b"Files"),
            ("html", "", b'<img src="cid:a.png">'), ("header", "", b"X-Shop: 5"),
            ("attachment", "large.bin", b"\0\r\n" * 200_000), ("inline", "a.png", b"\x89PNG"),
        )  # fmt: skip
        said = await self.ask("POST", "/send", body, kind=MULTIPART)
        self.assertEqual(202, said.status, said)
        (mail,) = await self.inbox()
        names = {each["name"]: each for each in mail["attachments"]}
        self.assertEqual({"large.bin", "a.png"}, set(names))
        self.assertEqual("a.png", names["a.png"]["content_id"])
        path = f"/messages/{mail['id']}/parts/{names['large.bin']['path']}"
        content = (await self.ask("GET", path, token="bob")).octets
        self.assertEqual(b"\0\r\n" * 200_000, content)
        self.assertIn(b"X-Shop: 5", await self.raw())

    async def test_a_form_with_files_under_a_key_is_the_same_whatever_its_boundary(self) -> None:
        await self.begin()
        body = parts(("to", "", BOB.encode()), ("attachment", "a", b"abc"))
        key = "Idempotency-Key: k"
        first = await self.ask("POST", "/send", body, key, kind=MULTIPART)
        again = await self.ask(
            "POST",
            "/send",
            body.replace(b"--x", b"--yy"),
            key,
            kind=MULTIPART.replace("=x", "=yy"),
        )
        self.assertEqual(first.json, again.json)
        other = body.replace(b"abc", b"abd")
        self.assertEqual(422, (await self.ask("POST", "/send", other, key, kind=MULTIPART)).status)

    async def test_a_form_s_unknown_fields_are_named(self) -> None:
        await self.begin()
        body = parts(("to", "", BOB.encode()), ("sbject", "", b"x"), ("atachment", "a", b"abc"))
        said = await self.ask("POST", "/send", body, kind=MULTIPART)
        self.assertEqual({"sbject", "atachment"}, set(said.errors))
        self.assertIn('did you mean "attachment"?', said.errors["atachment"])

    async def test_a_browser_s_form_leads_to_a_page_of_ours_alone(self) -> None:
        await self.begin()
        for redirect, status in (("/thanks", 303), ("//evil.example", 422),
                                 ("https://evil.example/", 422), ("", 202)):  # fmt: skip
            body = f"to={BOB}&subject=Form&text=Hello&redirect={redirect}"
            said = await self.ask("POST", "/send", body, kind=FORM)
            self.assertEqual(status, said.status, redirect)
            if status == 303:
                self.assertEqual("/thanks", said.fields["location"])
        self.assertEqual(2, len(await self.inbox()))

    async def test_a_browser_s_form_needs_its_session_s_token_in_a_field(self) -> None:
        await self.begin()
        account = self.node_.directory.find_sign_in("alice")
        assert account is not None
        secret, session = await self.done(self.web.guests.open_session(account, "", ""))
        cookie = f"Cookie: mailnode-8080={secret}"
        for csrf, status in (("", 403), ("&csrf=x", 403), (f"&csrf={session.csrf}", 202)):
            body = f"to={BOB}&text=Hello{csrf}"
            said = await self.ask("POST", "/send", body, cookie, token=None, kind=FORM)
            self.assertEqual(status, said.status, csrf)

    async def test_a_whole_mail_goes_to_whom_it_names_without_its_bcc(self) -> None:
        await self.begin()
        raw = (f"From: {ALICE}\nTo: Bob <{BOB}>\nBcc: {ALICE}\nSubject: Raw\n\nHello\n").encode()
        said = await self.ask("POST", "/send?keep=false", raw, kind=RAW)
        fields = [each["field"] for each in said.json["recipients"]]
        self.assertEqual(["to", "bcc"], fields)
        for name in ("bob", "alice"):
            octets = await self.raw(name)
            self.assertNotIn(b"Bcc", octets)
            self.assertTrue(octets.endswith(b"Subject: Raw\r\n\r\nHello\r\n"), octets)

    async def test_a_whole_mail_goes_to_whom_the_address_names_instead(self) -> None:
        await self.begin()
        raw = f"From: {ALICE}\r\nTo: nobody@nowhere.example\r\n\r\nHello\r\n".encode()
        said = await self.ask("POST", f"/send?to={BOB},{FAR}", raw, kind=RAW)
        self.assertEqual([BOB, FAR], [each["address"] for each in said.json["recipients"]])

    async def test_a_whole_mail_that_names_nobody_or_no_author_is_refused(self) -> None:
        await self.begin()
        for raw in (
            b"", b"\r\n", b"no header at all", f"From: {ALICE}\r\n\r\nx".encode(),
            b"To: (((\r\n\r\nx", f"From: {BOB}\r\nTo: {BOB}\r\n\r\nx".encode(),
        ):  # fmt: skip
            said = await self.ask("POST", "/send", raw, kind=RAW)
            self.assertIn(said.status, (400, 403, 422), (raw, said))
        self.assertEqual([], await self.inbox())

    async def test_whatever_names_them_there_are_a_thousand_recipients_at_most(self) -> None:
        await self.begin()
        many = [f"u{at}@x.example" for at in range(1001)]
        people = ",".join(many)
        raw = f"From: {ALICE}\r\nTo: {people}\r\n\r\nx".encode()
        for body, kind, field in (({"to": many[:600], "cc": many[600:]}, JSON, "cc[400]"),
                                  (f"to={people}", FORM, "to"), (raw, RAW, "to")):  # fmt: skip
            said = await self.ask("POST", "/send", body, kind=kind)
            words = {field: "a mail has 1000 recipients at most"}
            self.assertEqual((422, words), (said.status, said.errors), field)

    async def test_a_form_s_list_of_people_keeps_nobody_waiting(self) -> None:
        await self.begin()
        for list_ in (b"," * 1_000_000, b"a@x.example," * 80_000):
            began = time.process_time()
            form = parts(("to", "", list_))
            said = await self.ask("POST", "/send", form, kind=MULTIPART)
            self.assertEqual((422, ["to"]), (said.status, list(said.errors)), said)
            self.assertLess(time.process_time() - began, 5)

    async def test_too_much_json_and_too_large_a_mail_are_413(self) -> None:
        await self.begin(limits__message_size=100_000)
        large = base64.b64encode(b"x" * 200_000).decode()
        order = {"to": BOB, "attachments": [{"name": "a", "content": large}]}
        said = await self.order(order)
        self.assertEqual(413, said.status, said)
        said = await self.ask("POST", "/send", b'{"to": "' + b"x" * (9 << 20) + b'"}')
        self.assertEqual(413, said.status)

    async def test_who_sends_too_fast_is_told_when_to_come_back(self) -> None:
        await self.begin(outbound__rate=60, outbound__burst=2)
        for _ in range(2):
            await self.send(FAR)
        said = await self.order({"to": FAR, "text": "x"})
        self.assertEqual(429, said.status)
        self.assertTrue(0 < int(said.fields["retry-after"]) <= 61, said.fields)
        self.assertEqual(202, (await self.order()).status)

    async def test_what_is_of_a_whole_mail_alone_is_not_passed_over_for_others(self) -> None:
        await self.begin()
        said = await self.ask("POST", "/send?keep=false", {"to": BOB, "text": "x"})
        self.assertEqual((422, {"keep"}), (said.status, set(said.errors)))
        self.assertEqual([], await self.inbox())

    async def test_another_kind_of_body_is_415_and_names_those_that_are_taken(self) -> None:
        await self.begin()
        said = await self.ask("POST", "/send", b"x", kind="text/plain")
        self.assertEqual(415, said.status)
        self.assertIn("message/rfc822", said.json["detail"])

    async def test_nothing_of_an_interrupted_upload_stays(self) -> None:
        await self.begin()
        asking = self.send_off("POST", "/send", None, f"Content-Type: {RAW}",
                               "Content-Length: 100000")  # fmt: skip
        asking.channel.dataReceived(b"From: x" * 1000)
        asking.leave()
        self.assertEqual(202, (await self.order()).status)
        self.assertEqual(1, len(await self.inbox()))

    def test_a_form_takes_what_json_does(self) -> None:
        self.assertLessEqual({"from", "to", "cc", "bcc", "subject", "text", "html", "in_reply_to"},
                             set(FIELDS) & set(FORM_FIELDS))  # fmt: skip
