"""Pages for administrators: who may ask, and what they do to accounts, domains, aliases, routes."""

from __future__ import annotations

import re

from attrs import evolve

from mailnode.addresses import parse_address
from mailnode.errors import NotFound
from mailnode.routes import read_route
from mailnode.web.pages.admin_accounts import make_password
from mailnode.web.routes import Need
from tests.unit.admin_case import AdminCase


class WhoTests(AdminCase):
    def test_each_page_is_for_administrators_and_for_nobody_else(self) -> None:
        routes = [each for each in self.web.routes if each.path.startswith("/admin")]
        self.assertLess(20, len(routes))
        for route in routes:
            self.assertGreaterEqual(route.need, Need.DOMAIN_ADMIN, route.path)
            self.assertIsNone(route.scope, route.path)

    def test_they_are_walked_as_nobody_as_a_user_and_as_an_administrator(self) -> None:
        self.put_queued("dave@example.net", "captured")
        paths = [
            re.sub(r"<int:\w+>", "1", each.path).replace("<mail_id>", "0" * 26)
            for each in self.web.routes
            if each.path.startswith("/admin") and each.methods == ("GET",)
        ]
        posts = [
            re.sub(r"<int:\w+>", "1", each.path)
            for each in self.web.routes
            if each.path.startswith("/admin") and each.methods == ("POST",)
        ]
        for path in paths:
            self.assertEqual(303, self.ask(path).status, path)
            self.assertIn("/sign-in", self.ask(path).header("location"), path)
        for path in posts:
            self.assertIn(self.ask(path, form={"csrf": "x"}).status, (401, 403), path)
        self.sign_in("bob")
        for path in paths:
            self.assertEqual(403, self.ask(path).status, path)
        for path in posts:
            self.assertEqual(403, self.sent(path).status, path)
        self.jar.clear()
        self.sign_in("alice")
        for path in paths:
            expected = 404 if "0000" in path else 303 if path == "/admin/queue/1" else 200
            page = self.ask(path)
            self.assertEqual(expected, page.status, path)
            if expected == 200 and page.header("content-type").startswith("text/html"):
                self.assertIn('href="/mail/41"', page.text, f"{path} has one's folders beside it")

    def test_a_form_of_another_page_changes_nothing(self) -> None:
        self.sign_in()
        form = {"csrf": "forged", "name": "example.org"}
        self.assertEqual(403, self.ask("/admin/domains", form=form).status)
        self.assertEqual(1, len(self.users.domains()))


class AccountTests(AdminCase):
    def setUp(self) -> None:
        super().setUp()
        self.sign_in()

    def test_the_list_shows_what_each_keeps_and_how_full_it_is(self) -> None:
        self.quota = evolve(self.quota, octets=4096)
        page = self.ask("/admin/accounts").text
        line = page.partition("bob@example.test</a>")[2].partition("</tr>")[0]
        for words in (">3<", "2.0 KiB", "4.0 KiB", 'value="50"'):
            self.assertIn(words, line)
        self.assertNotIn("bob@", self.ask("/admin/accounts?q=ALICE").text.partition("<main")[2])

    def test_a_password_is_made_shown_once_and_kept_as_a_hash(self) -> None:
        reply = self.sent("/admin/accounts", address="carol", typed="no", admin="yes")
        self.assertEqual(200, reply.status)
        shown = re.findall(r'class="secret">([^<]+)<', reply.text)
        account = self.users.account("carol@example.test")
        self.assertEqual(f"hash of {shown[0]}", account.password_hash)
        self.assertTrue(account.admin)
        self.assertNotIn(shown[0], self.ask(f"/admin/accounts/{account.id}").text)

    def test_a_typed_password_is_not_shown(self) -> None:
        fields = {"address": "carol@example.test", "typed": "yes", "password": "correct horse"}
        reply = self.sent("/admin/accounts", **fields, quota="2 GiB", quota_mails="7")
        account = self.users.account("carol")
        self.assertEqual(f"/admin/accounts/{account.id}", reply.header("location"))
        self.assertEqual("hash of correct horse", account.password_hash)
        self.assertEqual((2 << 30, 7), (account.quota_octets, account.quota_mails))
        self.assertNotIn("correct horse", self.ask(f"/admin/accounts/{account.id}").text)

    def test_what_was_typed_is_the_password_whatever_is_ticked_beside_it(self) -> None:
        self.sent("/admin/accounts", address="carol@example.test", password="correct horse")
        account = self.users.account("carol")
        self.assertEqual("hash of correct horse", account.password_hash)
        self.sent(f"/admin/accounts/{account.id}/password", password="another horse")
        self.assertEqual("hash of another horse", self.users.account("carol").password_hash)

    def test_each_mistake_is_told_at_its_field_and_what_was_typed_stays(self) -> None:
        for field, wrong, words in (
            ("address", "", "has an address"),
            ("address", "a b@example.test", "such as carol@example.org"),
            ("address", "carol@example.org", "no domain here"),
            ("address", "bob", "is an account here already"),
            ("password", "short", "at least 10"),
            ("password", "password 1234", "easy to guess"),
            ("password", " " * 9, "blank"),
            ("quota", "much", "25 MiB"),
            ("quota_mails", "-1", "whole number"),
        ):
            fields = {"address": "carol@example.test", "typed": "yes", "password": "correct horse"}
            fields |= {"quota": "3 GiB", "quota_mails": "9", field: wrong}
            reply = self.sent("/admin/accounts", **fields)
            self.assertEqual(422, reply.status, wrong)
            told = re.search(rf'<small id="{field}-help" class="fault"[^>]*>([^<]*)<', reply.text)
            self.assertIn(words, told[1] if told else "", (field, wrong))
            kept = {
                name: value for name, value in fields.items() if name not in ("password", field)
            }
            for name, value in kept.items():
                if name == "typed":
                    self.assertIn('name="typed" value="yes" checked', reply.text)
                else:
                    self.assertIn(f'value="{value}"', reply.text, (field, name))
            self.assertNotIn("correct horse", reply.text)
            self.assertIn("autofocus", reply.text)
        self.assertEqual(2, len(self.users.accounts()))

    def test_a_quota_is_set_and_taken_back(self) -> None:
        self.sent("/admin/accounts/2/quota", quota="1 MiB", quota_mails="5")
        account = self.users.account("bob")
        self.assertEqual((1 << 20, 5), (account.quota_octets, account.quota_mails))
        self.assertIn('value="1 MiB"', self.ask("/admin/accounts/2").text)
        self.sent("/admin/accounts/2/quota", quota="", quota_mails="")
        self.assertIsNone(self.users.account("bob").quota_octets)
        self.assertEqual(422, self.sent("/admin/accounts/2/quota", quota="x").status)

    def test_a_new_password_ends_the_old_one(self) -> None:
        reply = self.sent("/admin/accounts/2/password", typed="no")
        shown = re.findall(r'class="secret">([^<]+)<', reply.text)
        self.assertEqual(f"hash of {shown[0]}", self.users.account("bob").password_hash)
        self.sent("/admin/accounts/2/password", typed="yes", password="another sleepy owl")
        self.assertEqual("hash of another sleepy owl", self.users.account("bob").password_hash)
        wrong = self.sent("/admin/accounts/2/password", typed="yes", password="x")
        self.assertEqual(422, wrong.status)

    def test_one_is_disabled_and_enabled_made_an_administrator_and_none(self) -> None:
        for path, field, fact in (("state", "disabled", "disabled"), ("admin", "admin", "admin")):
            for said, expected in (("yes", True), ("no", False)):
                self.sent(f"/admin/accounts/2/{path}", **{field: said})
                self.assertEqual(expected, getattr(self.users.account("bob"), fact))

    def test_nobody_shuts_demotes_or_deletes_the_account_that_he_is_signed_in_with(self) -> None:
        for path, fields in (
            ("state", {"disabled": "yes"}),
            ("admin", {"admin": "no"}),
            ("delete", {"sure": "yes"}),
        ):
            reply = self.sent(f"/admin/accounts/1/{path}", **fields)
            self.assertEqual(422, reply.status)
            self.assertIn("your own account", reply.text)
        self.assertEqual("/settings", self.sent("/admin/accounts/1/password").header("location"))
        alice = self.users.account("alice")
        self.assertEqual((False, True, "h"), (alice.disabled, alice.admin, alice.password_hash))

    def test_a_deletion_asks_first_and_says_what_goes(self) -> None:
        asked = self.sent("/admin/accounts/2/delete")
        self.assertEqual(200, asked.status)
        self.assertIn("3 mails", asked.text)
        self.assertEqual(2, len(self.users.accounts()))
        self.sent("/admin/accounts/2/delete", sure="yes")
        self.assertRaises(NotFound, self.users.account, "bob")
        self.assertEqual(404, self.ask("/admin/accounts/2").status)

    def test_aliases_that_lead_to_it_go_where_that_is_said(self) -> None:
        self.users.add_alias("sales@example.test", "bob@example.test")
        refused = self.sent("/admin/accounts/2/delete", sure="yes")
        self.assertEqual(422, refused.status)
        self.assertIn("sales@example.test", refused.text)
        self.assertEqual(2, len(self.users.accounts()))
        self.sent("/admin/accounts/2/delete", sure="yes", aliases="yes")
        self.assertEqual(([], 1), (self.users.aliases(), len(self.users.accounts())))

    def test_where_another_checker_judges_passwords_none_is_set(self) -> None:
        self.desk.sets_passwords = False
        self.sent("/admin/accounts", address="carol", typed="no")
        self.assertEqual("", self.users.account("carol").password_hash)
        self.assertEqual(422, self.sent("/admin/accounts/2/password", typed="no").status)
        self.assertEqual("h", self.users.account("bob").password_hash)

    def test_a_long_list_goes_on_behind_its_last_one(self) -> None:
        for number in range(150):
            self.users.add_account(parse_address(f"u{number}@example.test"), "h")
        self.take_up()
        first = self.ask("/admin/accounts?q=u")
        link = re.search(r'href="(/admin/accounts\?[^"]+)" rel="next"', first.text)
        assert link is not None
        second = self.ask(link[1].replace("&amp;", "&")).text
        self.assertIn("u149@", second)
        self.assertNotIn("u0@", second)

    def test_made_passwords_differ_and_are_long(self) -> None:
        made = {make_password() for _ in range(50)}
        self.assertEqual(50, len(made))
        self.assertEqual({23}, {len(each) for each in made})


class AddressTests(AdminCase):
    def setUp(self) -> None:
        super().setUp()
        self.sign_in()

    def test_a_domain_is_added_and_deleted_after_a_question(self) -> None:
        self.sent("/admin/domains", name="Example.ORG")
        self.assertEqual("example.org", self.users.domains()[1].name)
        asked = self.sent("/admin/domains/delete", name="example.org")
        self.assertIn("example.org", asked.text)
        self.assertEqual(2, len(self.users.domains()))
        self.sent("/admin/domains/delete", name="example.org", sure="yes")
        self.assertEqual(1, len(self.users.domains()))

    def test_one_in_use_is_not_deleted_and_says_why(self) -> None:
        reply = self.sent("/admin/domains/delete", name="example.test", sure="yes")
        self.assertEqual(400, reply.status)
        self.assertIn("still has accounts (2)", reply.text)

    def test_what_is_no_domain_is_told_and_kept(self) -> None:
        for wrong in ("-x.org", "a b.org", "example.test", ""):
            reply = self.sent("/admin/domains", name=wrong)
            self.assertEqual(422, reply.status, wrong)
            self.assertIn('aria-invalid="true"', reply.text)
            self.assertIn(f'value="{wrong}"', reply.text)
        self.assertEqual(1, len(self.users.domains()))

    def test_an_alias_leads_to_all_that_were_named_or_to_none(self) -> None:
        self.sent(
            "/admin/aliases", source="sales", targets="bob, alice@example.test\nx@example.net"
        )
        self.assertEqual(
            ["bob@example.test", "alice@example.test", "x@example.net"],
            [each.target for each in self.users.aliases()],
        )
        reply = self.sent("/admin/aliases", source="shop", targets="bob nobody@example.test")
        self.assertEqual(422, reply.status)
        self.assertIn("nobody@example.test is no account", reply.text)
        self.assertIn("bob nobody@example.test</textarea>", reply.text)
        self.assertEqual(3, len(self.users.aliases()))

    def test_mistakes_in_an_alias_are_told_at_their_field(self) -> None:
        for fields, at in (
            ({"source": "", "targets": "bob"}, "source"),
            ({"source": "bob", "targets": "alice"}, "source"),
            ({"source": "x@example.org", "targets": "bob"}, "source"),
            ({"source": "shop", "targets": ""}, "targets"),
            ({"source": "shop", "targets": "a b@"}, "targets"),
        ):
            reply = self.sent("/admin/aliases", **fields)
            self.assertEqual(422, reply.status, fields)
            told = re.findall(r'id="(\w+)-help" class="fault"', reply.text)
            self.assertEqual([at], told, fields)
        self.assertEqual([], self.users.aliases())

    def test_a_deleted_alias_comes_back_by_undo(self) -> None:
        self.sent("/admin/aliases", source="sales", targets="bob alice")
        self.sent("/admin/aliases/delete", source="sales@example.test", target="bob@example.test")
        self.assertEqual(1, len(self.users.aliases()))
        self.says()
        self.sent("/admin/aliases/delete", source="sales@example.test")
        self.assertEqual([], self.users.aliases())
        said = self.says()
        self.assertIn('action="/admin/aliases"', said)
        self.assertIn('value="alice@example.test"', said)

    def test_a_route_is_added_tested_and_deleted(self) -> None:
        self.sent("/admin/routes", pattern="example.net", target="smtp://relay.example.org", tls="")
        self.assertEqual("smtp://relay.example.org:25", self.users.outside.routes()[0].target)
        page = self.ask("/admin/routes?test=dave@example.net").text
        self.assertIn("goes to relay.example.org port 25 by SMTP", page)
        self.assertIn("does not leave", page)
        self.assertIn(
            "is filed here, for bob", self.ask("/admin/routes?test=bob@example.test").text
        )
        for wrong in ("nobody@example.test", "no address"):
            reply = self.ask(f"/admin/routes?test={wrong.replace(' ', '+')}")
            self.assertIn('class="fault"', reply.text)
            self.assertIn(f'value="{wrong}"', reply.text)
        self.sent("/admin/routes/delete", pattern="example.net")
        self.assertEqual([], self.users.outside.routes())
        self.assertIn('value="smtp://relay.example.org:25"', self.says())

    def test_mistakes_in_a_route_are_told_at_their_field(self) -> None:
        self.users.outside.add_route(read_route("example.net", "hold"))
        for pattern, target, tls, at in (
            ("a b", "hold", "", "pattern"),
            ("example.net", "mx", "", "pattern"),
            ("example.org", "relay.example.org", "", "target"),
            ("example.org", "ftp://x", "", "target"),
            ("example.org", "smtps://me@relay.example.org", "", "target"),
        ):
            reply = self.sent("/admin/routes", pattern=pattern, target=target, tls=tls)
            self.assertEqual(422, reply.status, target)
            told = re.findall(r'id="(\w+)-help" class="fault"', reply.text)
            self.assertEqual([at], told, target)
            self.assertIn(f'value="{target}"', reply.text)
        wrong = {"pattern": "example.org", "target": "hold", "tls": "often"}
        self.assertEqual(422, self.sent("/admin/routes", **wrong).status)
        self.assertEqual(1, len(self.users.outside.routes()))
