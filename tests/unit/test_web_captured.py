"""`mailnode.web.pages.admin_captured` and `captured_mail`: the test inbox of administrators."""

from __future__ import annotations

import base64
import hashlib
import re
import tomllib
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from mailnode.addresses import parse_address
from mailnode.model import Client, Envelope, Message, Recipient, Remote, new_mail_id
from mailnode.store.queue_desk import QueueFilter, list_rows
from mailnode.web.pages.admin_captured import AdminCaptured
from mailnode.web.pages.captured_mail import CapturedMail
from tests.unit.mail_case import MailCase, fields_of, flash_of, link_of, subjects_of

LIST = "/admin/captured"
VECTORS = Path(__file__).parents[1] / "vectors" / "xss.toml"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(20)
HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(1)>'


def hold(row_id: int) -> Any:
    return lambda each: each.execute("UPDATE queue SET state = 'held' WHERE id = ?", (row_id,))


def a_page(html: str) -> bytes:
    """A mail of that HTML alone."""
    head = b"From: Shop <shop@example.test>\r\nContent-Type: text/html; charset=utf-8\r\n"
    octets = base64.encodebytes(html.encode("utf-8", "replace")).replace(b"\n", b"\r\n")
    return head + b"Content-Transfer-Encoding: base64\r\n\r\n" + octets


def a_rich_mail() -> bytes:
    """With text, HTML, a picture in it and one from outside, and two files."""
    mail = EmailMessage()
    mail["From"], mail["To"] = "Shop <shop@example.test>", "Dave <dave@far.example>"
    mail["Cc"], mail["Subject"] = "erin@far.example", "Your order"
    mail.set_content("Plain words\n")
    mail.add_alternative(
        '<p>Rich words <img src="cid:p@x"><img src="https://far.example/x.png" width=90></p>',
        subtype="html",
    )
    page: Any = mail.get_payload()[1]
    page.add_related(PNG, "image", "png", cid="<p@x>")
    mail.add_attachment(b"%PDF-1.4", "application", "pdf", filename="bill.pdf")
    mail.add_attachment("<script>x</script>", subtype="html", filename="page.html")
    return bytes(mail).replace(b"\n", b"\r\n")


class CapturedCase(MailCase):
    async def begin(self, **more: object) -> None:
        await super().begin(**more)
        self.sessions["nobody"] = ("x" * 43, "x" * 43)

    async def capture(
        self,
        *to: str,
        raw: bytes = b"Subject: x\r\n\r\nHello.\r\n",
        subject: str = "",
        sender: str = "shop@example.test",
        here: str = "",
        held: bool = False,
    ) -> list[int]:
        """A mail to these elsewhere, and to an account `here`; the rows, in their order.

        Args:
            held: it isn't captured: it waits for an administrator to let it go.
        """
        remotes = tuple(Remote(parse_address(each), captured=True) for each in to)
        address = f"{here}@example.test"
        local = (Recipient(parse_address(address), self.ids[here], address),) if here else ()
        envelope = Envelope(
            new_mail_id(),
            parse_address(sender) if sender else None,
            local,
            Client(host="192.0.2.1"),
            remotes=remotes,
        )
        digest = hashlib.sha256(raw).digest()
        message = Message(b"Received: by here\r\n", raw, len(raw), digest, subject=subject)
        await self.done(self.node_.messages.file_message(envelope, message))
        rows = await self.rows(mail_ids=(envelope.mail_id,))
        if held:
            await self.done(self.node_.database.transact("hold", hold(rows[0].id)))
        return [row.id for row in rows]

    async def rows(self, **wanted: Any) -> list[Any]:
        found: list[Any] = await self.done(
            self.node_.database.read(lambda each: list_rows(each, QueueFilter(**wanted), 0))
        )
        return found


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
        self.assertIn(said.status, (200, 303))

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
            self.assertNotIn('name="all"', page)

    async def test_what_captured_mail_does_not_know_is_said(self) -> None:
        await self.begin()
        for typed in ("has%3Aattachment", "in%3ATrash", "file%3Ax", "larger%3A1M", "%22x"):
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


class ReadingTests(CapturedCase):
    async def test_it_is_shown_as_a_mail_in_a_folder_is(self) -> None:
        await self.begin()
        raw = a_rich_mail()
        (row,) = await self.capture("dave@far.example", raw=raw, subject="Your order")
        path = f"{LIST}/{row}"
        page = await self.page(path)
        self.assertRegex(page, rf'<iframe[^>]*sandbox="[^"]*"[^>]*src="{path}/html\?"')
        self.assertNotIn("allow-scripts", page)
        for words in ("Your order", "Shop</b> &lt;shop@example.test&gt;", "bill.pdf",
                      "application/pdf", "Show pictures from outside (1)"):  # fmt: skip
            self.assertIn(words, page)
        self.assertIn("Plain words", await self.page(f"{path}?view=text"))
        self.assertIn("content-type", await self.page(f"{path}/headers"))
        self.assertIn("Plain words", await self.page(f"{path}/raw"))
        self.assertIn("Rich words", await self.page(f"{path}/print"))
        mail_id = (await self.rows())[0].mail_id
        self.assertIn(f'href="/admin/journal/{mail_id}"', page)
        self.assertIn("captured", await self.page(f"/admin/journal/{mail_id}"))

    async def test_its_frame_loads_pictures_from_outside_only_when_they_are_asked_for(self) -> None:
        await self.begin()
        (row,) = await self.capture("dave@far.example", raw=a_rich_mail())
        said = await self.look(f"{LIST}/{row}/html")
        self.assertIn("sandbox", said.fields["content-security-policy"])
        self.assertNotIn(b"far.example", said.octets)
        said = await self.look(f"{LIST}/{row}/html?remote=1")
        self.assertIn(b"https://far.example/x.png", said.octets)

    async def test_it_is_saved_as_the_octets_that_would_have_left(self) -> None:
        await self.begin()
        raw = b"Subject: x\r\n\r\n" + bytes(range(256))
        (row,) = await self.capture("dave@far.example", raw=raw)
        for tail, kind in (("/eml", "message/rfc822"), ("/raw?all=1", "text/plain")):
            said = await self.look(f"{LIST}/{row}{tail}")
            self.assertEqual(b"Received: by here\r\n" + raw, said.octets)
            self.assertTrue(said.fields["content-type"].startswith(kind))
            self.assertIn("sandbox", said.fields["content-security-policy"])

    async def test_its_files_are_saved_and_never_run(self) -> None:
        await self.begin()
        (row,) = await self.capture("dave@far.example", raw=a_rich_mail())
        page = await self.page(f"{LIST}/{row}")
        paths = re.findall(rf'href="({LIST}/{row}/part/[^"?]*)"', page)
        bill, active = [await self.look(each) for each in paths]
        self.assertEqual((b"%PDF-1.4", "application/pdf"),
                         (bill.octets, bill.fields["content-type"]))  # fmt: skip
        self.assertIn('attachment; filename="page.html"', active.fields["content-disposition"])
        self.assertEqual("application/octet-stream", active.fields["content-type"])
        self.assertEqual(404, (await self.look(f"{LIST}/{row}/part/9")).status)

    async def test_the_envelope_names_all_whom_it_went_to_and_those_that_no_header_does(
        self,
    ) -> None:
        await self.begin()
        rows = await self.capture(
            "dave@far.example", "erin@far.example", "hidden@far.example",
            raw=a_rich_mail(), here="bob",
        )  # fmt: skip
        page = await self.page(f"{LIST}/{rows[0]}")
        told = re.sub(r"\s+", " ", page.partition(">to</span>")[2].partition("</dd>")[0])
        self.assertIn("<b>dave@far.example</b></span>,", told)
        self.assertIn(f'<a href="{LIST}/{rows[1]}">erin@far.example</a></span>,', told)
        self.assertRegex(told, r"hidden@far.example</a> <span[^>]*>\(Bcc")
        self.assertRegex(told, r"bob@example.test <span[^>]*>\(Bcc[^<]*</span> <span[^>]*>\(deliv")
        self.assertIn('<span class="muted">from</span> shop@example.test <', page)

    async def test_of_more_addresses_than_are_read_nobody_is_called_hidden(self) -> None:
        await self.begin()
        named = ", ".join(f"u{number}@far.example" for number in range(60))
        raw = f"To: {named}\r\nSubject: x\r\n\r\nHello.\r\n".encode()
        (row,) = await self.capture("u59@far.example", raw=raw)
        self.assertNotIn("(Bcc", await self.page(f"{LIST}/{row}"))

    async def test_the_null_sender_is_told_as_such(self) -> None:
        await self.begin()
        (row,) = await self.capture("dave@far.example", sender="")
        page = await self.page(f"{LIST}/{row}")
        self.assertIn('<span class="muted">from</span> &lt;&gt; <', page)

    async def test_the_one_before_and_the_one_after_are_a_click_away(self) -> None:
        await self.begin()
        rows = [(await self.capture("dave@far.example"))[0] for _ in range(3)]
        page = await self.page(f"{LIST}/{rows[1]}")
        self.assertEqual(f"{LIST}/{rows[2]}", link_of(page, "prev"))
        self.assertEqual(f"{LIST}/{rows[0]}", link_of(page, "next"))

    async def test_malformed_mail_is_shown_all_the_same(self) -> None:
        await self.begin()
        for raw in (b"\r\n", b"\0" * 999, b"no header at all", b"Content-Type: ;;;\r\n\r\n\xff",
                    b"Subject: =?x?q?y?=\nX:" + b"a" * 9999):  # fmt: skip
            (row,) = await self.capture("dave@far.example", raw=raw)
            for tail in ("", "?view=text", "/headers", "/raw", "/print"):
                self.assertEqual(200, (await self.look(f"{LIST}/{row}{tail}")).status, raw[:9])

    async def test_mail_that_is_on_its_way_is_nobodys_to_read_and_what_is_gone_is_said(
        self,
    ) -> None:
        await self.begin()
        (row,) = await self.capture("dave@far.example", held=True)
        for number in (row, 999, "9" * 30):
            for tail in (
                "",
                "/html",
                "/headers",
                "/raw",
                "/raw?all=1",
                "/eml",
                "/print",
                "/part/1",
            ):
                said = await self.look(f"{LIST}/{number}{tail}")
                self.assertEqual(404, said.status, tail)
        self.assertNotIn("Hello.", await self.page(f"/admin/queue/{row}"))

    async def test_nothing_of_the_corpus_of_hostile_html_is_in_the_frames_document(self) -> None:
        await self.begin()
        corpus = tomllib.loads(VECTORS.read_text("utf-8"))
        vectors = [each for kind in corpus.values() for each in kind["vectors"]]
        self.assertGreater(len(vectors), 199)
        for at in range(0, len(vectors), 25):
            raw = a_page("<hr>".join(vectors[at : at + 25]))
            (row,) = await self.capture("dave@far.example", raw=raw)
            for tail in ("/html", "/html?remote=1", "/print"):
                said = await self.look(f"{LIST}/{row}{tail}")
                policy = said.fields["content-security-policy"]
                self.assertTrue(policy.startswith("default-src 'none'"), policy)
                self.assertIn("sandbox", policy)
                for word in ("allow-scripts", "allow-same-origin", "script-src"):
                    self.assertNotIn(word, policy)
                for tag in re.findall(r"<[^>]*>", said.octets.decode()):
                    bare = re.sub(r'"[^"]*"', '""', tag)
                    self.assertNotRegex(tag, r"^<(script|iframe|object|embed|form|base|svg|math)")
                    self.assertNotRegex(bare, r"\son[a-z]+\s*=")
                    self.assertNotRegex(tag, r'(?:href|src)="\s*(?:javascript|vbscript):')


class PermissionTests(CapturedCase):
    async def test_no_page_of_it_is_for_anybody_but_administrators(self) -> None:
        await self.begin()
        (row,) = await self.capture("dave@far.example", raw=a_rich_mail())
        pages = [
            each for each in self.web.web.pages if isinstance(each, AdminCaptured | CapturedMail)
        ]
        routes = [route for each in pages for route in each.routes()]
        self.assertEqual(10, len(routes))
        for route in routes:
            path = route.path.replace("<int:row_id>", str(row)).replace("<path>", "2")
            form = {"row": str(row)} if "POST" in route.methods else None
            said = await self.look(path, who="bob", form=form)
            self.assertEqual(403, said.status, path)
            said = await self.look(path, who="nobody", form=form)
            if "/cid/" in path:
                self.assertEqual(403, said.status, path)
            elif form is None:
                self.assertEqual(303, said.status, path)
                self.assertTrue(said.fields["location"].startswith("/sign-in?next="), path)
            else:
                self.assertIn(said.status, (401, 403), path)
            for who in ("alice", "bob"):  # a token opens no page
                said = await self.ask("GET", path, token=who, base="")
                self.assertIn(said.status, (403, 405), path)
        self.assertEqual(1, len(await self.rows()))

    async def test_the_key_of_its_pictures_opens_those_alone(self) -> None:
        await self.begin()
        raw = a_rich_mail()
        (row,) = await self.capture("dave@far.example", raw=raw)
        (other,) = await self.capture("dave@far.example", raw=raw)
        inbox = await self.fill("Mine")
        frame = (await self.look(f"{LIST}/{row}/html")).octets.decode()
        (address,) = re.findall(rf'src="({LIST}/{row}/cid/[^"]*)"', frame)
        picture = await self.look(address, who="nobody")
        self.assertEqual((200, PNG), (picture.status, picture.octets))
        path, _, key = address.partition("?key=")
        tail = path.rpartition("/")[2]
        for wrong in (
            path,
            f"{path}?key={key[:-1]}x",
            f"{LIST}/{other}/cid/{tail}?key={key}",
            f"/mail/{inbox}/1/cid/{tail}?key={key}",
            f"/mail/{row}/{row}/cid/{tail}?key={key}",
        ):
            self.assertEqual(403, (await self.look(wrong, who="nobody")).status, wrong)
        for page in ("", "/eml", "/html"):
            said = await self.look(f"{LIST}/{row}{page}?key={key}", who="nobody")
            self.assertEqual(303, said.status)
        said = await self.look(f"{path.replace(tail, '9')}?key={key}", who="nobody")
        self.assertEqual(404, said.status)

    async def test_who_is_no_administrator_any_more_has_no_key_either(self) -> None:
        await self.begin()
        (row,) = await self.capture("dave@far.example", raw=a_rich_mail())
        frame = (await self.look(f"{LIST}/{row}/html")).octets.decode()
        (address,) = re.findall(rf'src="({LIST}/{row}/cid/[^"]*)"', frame)
        accounts = self.accounts()
        accounts.set_admin("alice@example.test", False)
        self.node_.watch.look()
        await self.until(lambda: not self.is_admin("alice"))
        self.assertEqual(403, (await self.look(address, who="nobody")).status)
        self.assertIn((await self.look(LIST)).status, (303, 403))

    def is_admin(self, name: str) -> bool:
        account = self.node_.directory.find(parse_address(f"{name}@example.test"))
        return account is not None and account.admin


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
