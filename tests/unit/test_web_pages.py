"""The pages of one's own account: in and out, sessions, tokens, the password."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrs import evolve

import mailnode.web
from mailnode.settings import PasswordSettings
from mailnode.web.pages.signin import BUSY, WRONG
from mailnode.web.routes import Answer, Route
from mailnode.web.templates import time_of
from mailnode.web.visit import Visit
from tests.unit.web_case import AT, PASSWORD, Reply, WebCase

TEMPLATES = Path(mailnode.web.__file__).parent / "templates"


class SignInTests(WebCase):
    def test_name_and_password_lead_in_and_sign_out_leads_out(self) -> None:
        self.assertEqual(303, self.ask("/settings").status)
        self.assertEqual("/", self.sign_in("bob@example.test").header("Location"))
        self.assertIn("bob@example.test", self.ask("/settings").text)
        cookie = dict(self.jar)
        reply = self.ask("/sign-out", form={"csrf": self.csrf()})
        self.assertEqual((303, "/sign-in"), (reply.status, reply.header("Location")))
        self.jar = cookie  # whoever kept it
        self.assertEqual(303, self.ask("/settings").status)

    def test_a_wrong_name_and_a_wrong_password_are_told_apart_by_nothing(self) -> None:
        texts = set()
        for name, password in (("alice", "no"), ("nobody", PASSWORD), ("", ""), ("a" * 999, "x")):
            csrf = self.ask("/sign-in").csrf
            form = {"csrf": csrf, "name": name, "password": password}
            reply = self.ask("/sign-in", form=form)
            self.assertEqual(401, reply.status)
            self.assertNotIn("mailnode-8080", self.jar)
            texts.add(reply.text.replace(f'value="{name}"', 'value=""').replace(" autofocus", ""))
        self.assertEqual(1, len(texts))
        self.assertIn(WRONG, texts.pop())

    def test_a_crowd_is_told_to_come_again(self) -> None:
        self.portal.busy = True
        reply = self.sign_in()
        self.assertEqual(503, reply.status)
        self.assertIn(BUSY, reply.text)

    def test_who_guessed_too_often_is_told_when_to_come_back(self) -> None:
        self.portal.blocked_s = 899.2
        reply = self.sign_in()
        self.assertEqual((429, "900"), (reply.status, reply.header("Retry-After")))
        self.assertIn("Too many failed sign-ins from your address", reply.text)

    def test_what_was_typed_is_shown_as_text_and_the_password_never(self) -> None:
        csrf = self.ask("/sign-in").csrf
        form = {"csrf": csrf, "name": '"><script>x', "password": "a secret"}
        reply = self.ask("/sign-in", form=form)
        self.assertNotIn("<script>x", reply.text)
        self.assertIn("&lt;script&gt;x", reply.text)
        self.assertNotIn("a secret", reply.text)


class SettingsTests(WebCase):
    def setUp(self) -> None:
        super().setUp()
        self.sign_in("bob")

    def post(self, path: str, **fields: object):
        return self.ask(path, form={"csrf": self.csrf(), **fields})

    def test_sessions_are_listed_and_another_can_be_ended_by_its_owner_alone(self) -> None:
        mine, self.jar = self.jar, {}
        self.sign_in("bob")
        others, self.jar = self.jar, mine
        text = self.ask("/settings").text
        self.assertEqual(1, text.count("this one"))
        (path,) = re.findall(r'action="(/settings/sessions/\w{64}/end)"', text)
        self.jar = {}
        self.sign_in("alice")
        self.post(path)
        self.jar = others
        self.assertEqual(200, self.ask("/settings").status)
        self.jar = mine
        self.post(path)
        self.assertIn("is signed out", self.ask("/settings").text)
        self.assertNotIn("is signed out", self.ask("/settings").text)  # it is said once
        self.jar = others
        self.assertEqual(303, self.ask("/settings").status)
        self.jar = mine
        self.assertEqual(404, self.post("/settings/sessions/xyz/end").status)

    def test_all_others_end_together(self) -> None:
        mine, self.jar = self.jar, {}
        self.sign_in("bob")
        others, self.jar = self.jar, mine
        self.post("/settings/sessions/end")
        self.assertEqual(200, self.ask("/settings").status)
        self.jar = others
        self.assertEqual(303, self.ask("/settings").status)

    def test_a_token_is_shown_once_and_revoked_by_its_owner_alone(self) -> None:
        reply = self.post("/settings/tokens", name="<b>", scope=["read", "send"], days="30")
        self.assertEqual(1, len(re.findall(r"mailnode_[\w-]{43}", reply.text)))
        self.assertNotIn("<b>", reply.text)
        text = self.ask("/settings").text
        self.assertNotIn("mailnode_", text)
        self.assertIn("read send", text)
        mine, self.jar = self.jar, {}
        self.sign_in("alice")
        self.post("/settings/tokens/1/revoke")
        self.assertEqual(1, len(self.guests.tokens_by))
        self.jar = mine
        self.post("/settings/tokens/1/revoke")
        self.assertEqual({}, self.guests.tokens_by)

    def test_a_token_that_can_not_be_is_told_why(self) -> None:
        for fields in (
            {"name": "x", "days": "30"}, {"name": "x", "scope": "root"},
            {"name": "x", "scope": "read", "days": "9999"}, {"name": "x", "scope": "admin"},
            {"name": "x", "scope": "read", "days": "-1"},
            {"name": "x", "scope": "read", "days": "9" * 5000},
        ):  # fmt: skip
            reply = self.post("/settings/tokens", **fields)
            self.assertEqual(422, reply.status, fields)
            self.assertIn('class="flash failed"', reply.text)
        self.assertEqual({}, self.guests.tokens_by)

    def test_where_unwanted_mail_lies_is_chosen(self) -> None:
        for asked, kept in (
            ("INBOX", "INBOX"),
            ("Junk", "Junk"),
            ("tagged", "tagged"),
            ("INBOX", "INBOX"),
            ("x", "Junk"),
        ):
            self.assertEqual(303, self.post("/settings/junk", junk=asked).status)
            (account,) = [each for each in self.accounts.values() if each.junk != "Junk"] or [None]
            folder = "INBOX" if kept == "tagged" else kept
            self.assertEqual(folder, account.junk if account else "Junk")
            self.assertEqual(kept == "tagged", account is not None and account.tag_subject)
            page = self.ask("/settings").text
            self.assertIn(f'value="{kept}" checked', page)
            self.assertIn("Unwanted mail lies in", page)

    def test_a_new_password_needs_the_old_one_and_signs_out_everywhere_else(self) -> None:
        mine, self.jar = self.jar, {}
        self.sign_in("bob")
        others, self.jar = self.jar, mine
        for fields in (
            {"now": "wrong", "new": "another sleepy owl", "again": "another sleepy owl"},
            {"now": PASSWORD, "new": "another sleepy owl", "again": "another sleepy cat"},
            {"now": PASSWORD, "new": "short", "again": "short"},
            {"now": PASSWORD, "new": "password 1234", "again": "password 1234"},
            {"now": PASSWORD, "new": "bob@example.test", "again": "bob@example.test"},
            {"now": PASSWORD, "new": " " * 9, "again": " " * 9},
            {"now": PASSWORD, "new": "with\x01 control", "again": "with\x01 control"},
        ):
            self.assertEqual(422, self.post("/settings/password", **fields).status, fields)
        self.assertEqual(PASSWORD, self.passwords[2])
        before = dict(self.jar)
        reply = self.post(
            "/settings/password", now=PASSWORD, new="another sleepy owl", again="another sleepy owl"
        )
        self.assertEqual(303, reply.status)
        self.assertEqual("another sleepy owl", self.passwords[2])
        self.assertNotEqual(before["mailnode-8080"], self.jar["mailnode-8080"])
        self.assertIn("The password is changed", self.ask("/settings").text)
        for old in (others, before):
            self.jar = old
            self.assertEqual(303, self.ask("/settings").status)


class AppPasswordTests(WebCase):
    def make(self, **form: Any) -> Any:
        fields = {"csrf": self.csrf(), "name": "phone", "scope": ["smtp", "pop3"]} | form
        return self.ask("/settings/app-passwords", form=fields)

    def test_one_is_shown_once_for_mail_alone(self) -> None:
        self.sign_in("bob")
        reply = self.make(scope=["smtp", "admin", "read"])
        self.assertEqual(200, reply.status)
        found = re.search(r'<code class="secret">(([a-z2-9]{4}-){4}[a-z2-9]{4})</code>', reply.text)
        assert found, reply.text
        self.assertNotIn(found[1], self.ask("/settings").text)
        (token,) = self.guests.tokens_by.values()
        self.assertEqual(("smtp",), token.scopes)
        self.assertIn("bob@example.test", reply.text)

    def test_it_stands_among_app_passwords_and_a_token_of_programs_among_tokens(self) -> None:
        self.sign_in("bob")
        self.make()
        form = {"csrf": self.csrf(), "name": "script", "scope": ["read", "smtp"], "days": "30"}
        self.ask("/settings/tokens", form=form)
        of_mail, _, of_programs = self.ask("/settings").text.partition('id="tokens"')
        self.assertIn("Revoke phone", of_mail)
        self.assertNotIn("Revoke phone", of_programs)
        self.assertIn("Revoke script", of_programs)
        self.assertEqual(("read",), list(self.guests.tokens_by.values())[-1].scopes)

    def test_without_a_use_or_a_form_of_ours_none_is_made(self) -> None:
        self.sign_in("bob")
        self.assertEqual(422, self.make(scope=[]).status)
        self.assertEqual(422, self.make(scope=["read"]).status)
        self.assertEqual(403, self.make(csrf="x").status)
        self.assertEqual({}, self.guests.tokens_by)


class LookTests(WebCase):
    def test_the_folders_stand_beside_the_settings(self) -> None:
        self.sign_in("alice")
        self.assertIn('href="/mail/41"', self.ask("/settings").text)

    def test_a_time_is_told_in_utc_to_whoever_runs_no_script(self) -> None:
        self.assertEqual(
            '<time datetime="2027-01-15T08:00:00Z" data-to="minute" title="2027-01-15 08:00 UTC">'
            "2027-01-15 08:00 UTC</time>",
            str(time_of(AT)),
        )
        self.sign_in("alice")
        self.assertIn(time_of(AT), self.ask("/settings").text)

    def test_every_page_tells_its_times_so(self) -> None:
        for path in TEMPLATES.glob("*.html"):
            text = path.read_text()
            self.assertNotIn("<time", text, path.name)
            self.assertNotRegex(text, r"\{\{ *when\(", path.name)

    def test_what_is_a_link_is_called_one(self) -> None:
        for path in TEMPLATES.glob("*.html"):
            self.assertNotRegex(path.read_text(), r'<a [^>]*role="button"', path.name)


class ElsewhereTests(WebCase):
    def test_where_another_checker_judges_passwords_none_is_set_here(self) -> None:
        self.settings.passwords_here = False
        self.sign_in()
        page = self.ask("/settings")
        self.assertNotIn('action="/settings/password"', page.text)
        form = {
            "csrf": page.csrf,
            "now": PASSWORD,
            "new": "another sleepy owl",
            "again": "another sleepy owl",
        }
        self.assertEqual(403, self.ask("/settings/password", form=form).status)
        self.assertEqual(PASSWORD, self.passwords[1])


class DocsTests(WebCase):
    def test_the_licences_of_others_stand_beside_their_files(self) -> None:
        from mailnode.web import assets
        from tests.vendored import FOLDER, PACKAGES

        text = (FOLDER / "README").read_text()
        for package, (_digest, files) in PACKAGES.items():
            name, _, version = package.rpartition("@")
            self.assertIn(f"{name} {version}", text)
            for file in files:
                self.assertIn(file, text)
        there = {each.name for each in FOLDER.iterdir()} - {"README"}
        self.assertEqual(there, {file for _, files in PACKAGES.values() for file in files})
        self.assertTrue(assets.Assets.read("x").files)


class Mail:
    """A page beside the settings."""

    def routes(self) -> Sequence[Route]:
        return (Route("/mail", ("GET", "POST"), self.show, "Mail"),)

    async def show(self, visit: Visit) -> Answer:
        return Answer("mail")


class OldPasswordTests(WebCase):
    """bob's password may be 90 days old."""

    more_pages = (Mail(),)

    def sign_in_after(self, days: float) -> Reply:
        self.password_settings = PasswordSettings(max_age=90 * 86400.0)
        changed_at = AT - days * 86400
        self.accounts[2] = evolve(self.accounts[2], password_changed_at=changed_at)
        return self.sign_in("bob")

    def post(self, path: str, **fields: object) -> Reply:
        return self.ask(path, form={"csrf": self.csrf(), **fields})

    def test_of_a_password_that_gets_old_its_owner_reads_in_the_settings(self) -> None:
        self.sign_in_after(80)
        self.assertIn("It is to be changed by", self.ask("/settings").text)
        self.assertEqual("mail", self.ask("/mail").text)

    def test_with_one_that_is_too_old_nothing_can_be_done_but_its_change(self) -> None:
        self.assertEqual(303, self.sign_in_after(90).status)
        answer = self.ask("/mail")
        self.assertEqual((303, "/settings"), (answer.status, answer.header("Location")))
        for path in ("/mail", "/settings/tokens", "/settings/junk"):
            self.assertEqual(403, self.post(path, name="x", scope="read", junk="INBOX").status)
        new = "another sleepy owl"
        changed = self.post("/settings/password", now=PASSWORD, new=new, again=new)
        self.assertEqual(303, changed.status)
        self.assertEqual(new, self.passwords[2])

    def test_a_script_of_a_page_is_sent_there_too(self) -> None:
        self.sign_in_after(90)
        answer = self.ask("/mail", "HX-Request: true")
        self.assertEqual((403, "/settings"), (answer.status, answer.header("HX-Redirect")))

    def test_who_has_it_may_leave(self) -> None:
        self.sign_in_after(90)
        self.assertEqual("/sign-in", self.post("/sign-out").header("Location"))
