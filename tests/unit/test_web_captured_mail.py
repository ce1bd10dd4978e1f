"""`mailnode.web.pages.captured_mail`: a captured mail as its reader sees it, and who may be one."""

from __future__ import annotations

import base64
import re
import tomllib
from pathlib import Path

from mailnode.addresses import parse_address
from mailnode.web.pages.admin_captured import AdminCaptured
from mailnode.web.pages.captured_mail import CapturedMail
from tests.unit.captured_case import LIST, PNG, CapturedCase, a_rich_mail
from tests.unit.mail_case import link_of

TORTURES = Path(__file__).parents[1] / "vectors" / "torture"
VECTORS = Path(__file__).parents[1] / "vectors" / "xss.toml"


def a_page(html: str) -> bytes:
    """A mail of that HTML alone."""
    head = b"From: Shop <shop@example.test>\r\nContent-Type: text/html; charset=utf-8\r\n"
    octets = base64.encodebytes(html.encode("utf-8", "replace")).replace(b"\n", b"\r\n")
    return head + b"Content-Transfer-Encoding: base64\r\n\r\n" + octets


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

    async def test_of_many_recipients_the_one_whose_copy_it_is_stands_first(self) -> None:
        await self.begin()
        rows = await self.capture(*(f"u{number}@far.example" for number in range(60)))
        page = await self.page(f"{LIST}/{rows[-1]}")
        told = page.partition(">to</span>")[2].partition("</dd>")[0]
        self.assertTrue(told.strip().startswith('<span class="person"><b>u59@far.example</b>'))
        self.assertEqual(50, told.count('class="person"'))
        self.assertIn("and more</a>", told)

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

    async def test_its_links_lead_back_to_no_search_of_ones_own_mail(self) -> None:
        await self.begin()
        (row,) = await self.capture("dave@far.example", raw=a_rich_mail())
        for tail in ("", "/headers", "/raw"):
            page = await self.page(f"{LIST}/{row}{tail}?found=q%3Dplans")
            self.assertNotIn("found=", page)
            self.assertNotIn("Search results", page)

    async def test_malformed_mail_is_shown_all_the_same(self) -> None:
        await self.begin()
        tortures = [each.read_bytes() for each in sorted(TORTURES.glob("*.eml"))]
        self.assertTrue(tortures)
        malformed = (
            b"\r\n",
            b"\0" * 999,
            b"no header at all",
            b"Content-Type: ;;;\r\n\r\n\xff",
            b"Subject: =?x?q?y?=\nX:" + b"a" * 9999,
        )
        for raw in (*tortures, *malformed):
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

    async def test_who_is_no_administrator_any_more_hears_of_none(self) -> None:
        await self.begin()
        listening = self.look_off("/events")
        await self.until(lambda: b"data: 0-0" in listening.transport.value())
        self.accounts().set_admin("alice@example.test", False)
        self.node_.watch.look()
        await self.until(lambda: not self.is_admin("alice"))
        await self.capture("dave@far.example")
        for _ in range(20):  # it is looked at, and what was heard is gathered
            self.reactor.advance(0.3)
            await self.rows()
        self.assertNotIn(b"-1", listening.transport.value())

    def is_admin(self, name: str) -> bool:
        account = self.node_.directory.find(parse_address(f"{name}@example.test"))
        return account is not None and account.admin
