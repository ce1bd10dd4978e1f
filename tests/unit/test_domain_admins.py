"""Who looks after a domain: what lies beyond it, and what is told of who did what."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mailnode.addresses import parse_address
from mailnode.audited import Auditor, Entry
from mailnode.domain_stories import events_of_domains
from mailnode.errors import AlreadyThere, NotFound
from mailnode.events import Accepted, Delivered, Event, Queued, RefusedMail, Relayed
from mailnode.store.accounts import Accounts
from tests.unit.admin_case import AdminCase

OWN, FAR = "own.test", "far.example"


class DomainAdminCase(AdminCase):
    """bob looks after own.test, which has carol, dora (an administrator) and erin (looks after
    example.test); he lives in example.test himself."""

    def setUp(self) -> None:
        self.entries: list[Entry] = []
        super().setUp()
        self.users.add_domain(OWN)
        self.ids = {"bob": 2}
        for name in ("carol", "dora", "erin"):
            made = self.users.add_account(parse_address(f"{name}@{OWN}"), "h", admin=name == "dora")
            self.ids[name] = made.id
        self.users.domain_admins.add("bob@example.test", OWN)
        self.users.domain_admins.add(f"erin@{OWN}", "example.test")
        self.users.add_alias(f"sales@{OWN}", f"carol@{OWN}")
        self.users.add_alias("shop@example.test", f"carol@{OWN}")
        self.desk.accounts = Accounts(self.users.file, Auditor(self.entries.extend))
        self.take_up()
        self.accounts |= {each.id: each for each in self.directory.accounts()}
        self.sign_in("bob")

    def one(self, name: str, what: str, **fields: Any) -> int:
        return self.sent(f"/admin/accounts/{self.ids[name]}/{what}", **fields).status


class PagesTests(DomainAdminCase):
    def test_he_is_led_to_the_accounts_and_sees_no_other_tab(self) -> None:
        self.assertIn('href="/admin/accounts"', self.ask("/settings").text)
        page = self.ask("/admin/accounts").text
        self.assertIn("carol@own.test", page)
        for hidden in ("alice@example.test", "/admin/queue", "/admin/audit", 'name="admin"'):
            self.assertNotIn(hidden, page)
        self.assertIn("3 in all", page)

    def test_an_account_of_his_domain_is_changed_and_the_stream_says_by_whom(self) -> None:
        self.assertEqual(303, self.one("carol", "quota", quota="1 GiB"))
        self.assertEqual(200, self.one("carol", "password", typed="no"))
        self.assertEqual(303, self.one("carol", "state", disabled="yes"))
        self.assertEqual(
            ["account-changed", "password-changed", "account-changed"],
            [each.event for each in self.entries],
        )
        for each in self.entries:
            self.assertEqual(
                ("carol@own.test", "bob@example.test", "web", "127.0.0.1"),
                (each.account, each.actor.by, each.actor.way, each.actor.client),
            )

    def test_an_account_that_may_do_more_is_shown_and_not_changed(self) -> None:
        for name in ("dora", "erin"):
            page = self.ask(f"/admin/accounts/{self.ids[name]}")
            self.assertIn("changed by administrators", page.text)
            for what in ("quota", "password", "state", "delete"):
                self.assertEqual(403, self.one(name, what), (name, what))
        self.assertEqual([], self.entries)

    def test_nobody_is_made_an_administrator_by_him(self) -> None:
        self.assertEqual(403, self.one("carol", "admin", admin="yes"))
        self.assertEqual(403, self.one("carol", "domains", domain=OWN))
        made = {"address": f"new@{OWN}", "typed": "no", "admin": "yes"}
        self.assertEqual(200, self.sent("/admin/accounts", **made).status)
        self.assertFalse(self.users.account(f"new@{OWN}").admin)

    def test_no_account_is_made_in_another_domain(self) -> None:
        for address in ("new@example.test", f"new@{FAR}"):
            page = self.sent("/admin/accounts", address=address, typed="no")
            self.assertEqual(422, page.status, address)
            self.assertIn(f"don&#39;t look after {address.partition('@')[2]}", page.text)

    def test_a_bare_name_is_of_his_domain(self) -> None:
        self.sent("/admin/accounts", address="new", typed="no")
        self.assertTrue(self.users.account(f"new@{OWN}"))

    def test_he_sees_aliases_of_his_domain_alone_and_adds_and_deletes_no_other(self) -> None:
        page = self.ask("/admin/aliases").text
        self.assertIn("sales@own.test", page)
        self.assertNotIn("shop@example.test", page)
        added = self.sent("/admin/aliases", source="x@example.test", targets=f"carol@{OWN}")
        self.assertEqual(422, added.status)
        gone = self.sent("/admin/aliases/delete", source="shop@example.test")
        self.assertEqual(403, gone.status)
        self.assertEqual(2, len(self.users.aliases()))
        self.assertNotIn("shop", self.ask(f"/admin/accounts/{self.ids['carol']}").text)

    def test_mail_for_a_subaddress_of_an_account_that_may_do_more_is_led_nowhere(self) -> None:
        for name in ("dora+reset", "DORA+reset", "erin+x"):
            made = {"source": f"{name}@{OWN}", "targets": f"carol@{OWN}"}
            self.assertEqual(422, self.sent("/admin/aliases", **made).status, name)
            account = {"address": f"{name}@{OWN}", "typed": "no"}
            self.assertEqual(422, self.sent("/admin/accounts", **account).status, name)
        self.assertEqual([], self.entries)
        made = {"source": f"carol+x@{OWN}", "targets": "bob@example.test"}
        self.assertEqual(303, self.sent("/admin/aliases", **made).status)

    def test_a_domain_that_was_added_a_moment_ago_is_not_his_either(self) -> None:
        self.users.add_domain(FAR)  # and this process has not heard of it
        made = {"source": f"x@{FAR}", "targets": f"carol@{OWN}"}
        self.assertEqual(422, self.sent("/admin/aliases", **made).status)
        self.assertEqual([], self.users.aliases(FAR))

    def test_an_account_that_got_more_rights_a_moment_ago_is_not_changed(self) -> None:
        self.users.set_admin(f"carol@{OWN}", True)  # and this process has not heard of it
        was = self.users.account(f"carol@{OWN}")
        for what, fields in (
            ("password", {"typed": "no"}),
            ("quota", {"quota": "1 GiB"}),
            ("state", {"disabled": "yes"}),
        ):
            self.assertEqual(403, self.one("carol", what, **fields), what)
        self.users.delete_alias("shop@example.test")
        self.assertEqual(403, self.one("carol", "delete", sure="yes", aliases="yes"))
        self.assertEqual(was, self.users.account(f"carol@{OWN}"))

    def test_an_alias_of_another_domain_that_leads_to_a_subaddress_keeps_it_too(self) -> None:
        self.users.delete_alias("shop@example.test")
        self.users.add_alias("shop@example.test", f"carol+shop@{OWN}")
        self.assertEqual(422, self.one("carol", "delete", sure="yes", aliases="yes"))
        self.assertTrue(self.users.account(f"carol@{OWN}"))
        self.assertEqual(2, len(self.users.aliases()))

    def test_an_account_to_which_aliases_of_others_lead_stays(self) -> None:
        self.assertEqual(422, self.one("carol", "delete", sure="yes", aliases="yes"))
        self.assertTrue(self.users.account(f"carol@{OWN}"))
        self.users.delete_alias("shop@example.test")
        self.assertEqual(303, self.one("carol", "delete", sure="yes", aliases="yes"))
        self.assertEqual(["account-deleted"], [each.event for each in self.entries])

    def test_his_right_ends_when_it_is_taken(self) -> None:
        self.users.domain_admins.remove("bob@example.test", OWN)
        self.take_up()
        self.accounts |= {each.id: each for each in self.directory.accounts()}
        self.assertEqual(403, self.ask("/admin/accounts").status)

    def test_the_journal_shows_him_mail_of_his_domain_alone(self) -> None:
        mine, other = "A" * 26, "B" * 26
        self.tell(
            Accepted(mail_id=mine, sender=f"x@{FAR}", client="192.0.2.1"),
            Delivered(mail_id=mine, recipient=f"carol@{OWN}", folder_id=1, uid=1),
            Delivered(mail_id=mine, recipient="bob@example.test", folder_id=2, uid=1),
            Accepted(mail_id=other, sender=f"carol@{OWN}"),  # as anybody may write
            Delivered(mail_id=other, recipient="bob@example.test", folder_id=2, uid=2),
        )
        page = self.ask("/admin/journal").text
        self.assertIn(mine, page)
        self.assertNotIn(other, page)
        self.assertNotIn("bob@example.test</li>", page)
        story = self.ask(f"/admin/journal/{mine}").text
        self.assertIn(f"carol@{OWN}", story)
        self.assertNotIn("to &lt;bob@", story)
        self.assertEqual(404, self.ask(f"/admin/journal/{other}").status)

    def test_an_administrator_sets_the_domains_that_an_account_looks_after(self) -> None:
        self.jar.clear()
        self.sign_in("alice")
        self.assertEqual(303, self.one("carol", "domains", domain=[OWN, "example.test"]))
        self.assertEqual(("example.test", OWN), self.users.account(f"carol@{OWN}").looks_after)
        self.assertEqual(303, self.one("carol", "domains"))
        self.assertEqual((), self.users.account(f"carol@{OWN}").looks_after)
        names = [each.event for each in self.entries]
        self.assertEqual(["domain-admin-added"] * 2 + ["domain-admin-removed"] * 2, names)


class RowsTests(DomainAdminCase):
    def test_one_is_added_and_removed_once(self) -> None:
        admins = self.users.domain_admins
        with self.assertRaises(AlreadyThere):
            admins.add("bob@example.test", OWN)
        admins.remove("bob@example.test", OWN)
        with self.assertRaises(NotFound):
            admins.remove("bob@example.test", OWN)
        with self.assertRaises(NotFound):
            admins.add("bob@example.test", FAR)

    def test_a_domain_or_account_that_is_gone_takes_them_along(self) -> None:
        self.users.add_domain(FAR)
        self.users.domain_admins.add(f"carol@{OWN}", FAR)
        self.users.delete_domain(FAR)
        self.assertEqual((), self.users.account(f"carol@{OWN}").looks_after)
        self.users.delete_account("bob@example.test")
        with self.users.file.look() as sql:
            rows = sql.execute("SELECT account_id FROM domain_admin").fetchall()
        self.assertEqual([(self.ids["erin"],)], rows)


class StoriesTests(SynchronousTestCase):
    def told(self, *events: Event) -> list[tuple[str, str | None]]:
        return [(each.name, each.recipient) for each in events_of_domains(events, (OWN,))]

    def test_who_sent_a_mail_learns_what_became_of_each_and_not_in_whose_mailbox(self) -> None:
        events = (
            Accepted(detail={"account": f"carol@{OWN}", "dialog": "RCPT TO..."}),
            Delivered(recipient="team@example.test", detail={"mailbox": "bob@example.test"}),
            Queued(recipient=f"x@{FAR}"),
            Relayed(recipient=f"x@{FAR}"),
        )
        self.assertEqual(4, len(self.told(*events)))
        for each in events_of_domains(events, (OWN,)):
            self.assertNotIn("mailbox", each.detail)
            self.assertNotIn("dialog", each.detail)

    def test_a_mail_by_an_alias_of_his_that_leads_elsewhere_is_followed(self) -> None:
        told = self.told(
            Accepted(),
            Queued(recipient=f"x@{FAR}", detail={"alias": f"sales@{OWN}"}),
            Relayed(recipient=f"x@{FAR}"),
            Queued(recipient=f"y@{FAR}"),
        )
        self.assertEqual(
            [("accepted", None), ("queued", f"x@{FAR}"), ("relayed", f"x@{FAR}")], told
        )

    def test_a_mail_of_others_is_nothing_to_him_whoever_it_says_it_is_from(self) -> None:
        self.assertEqual(
            [], self.told(Accepted(sender=f"carol@{OWN}"), Delivered(recipient="bob@example.test"))
        )
        self.assertEqual([], self.told(RefusedMail(recipient="bob@example.test")))

    def test_a_refusal_of_mail_for_his_domain_is_told(self) -> None:
        self.assertEqual([("refused", f"no@{OWN}")], self.told(RefusedMail(recipient=f"no@{OWN}")))

    def test_a_mail_to_many_is_looked_through_without_comparing_its_events(self) -> None:
        class Uncompared(dict[str, object]):
            def __eq__(self, other: object) -> bool:
                raise AssertionError("of a mail to a thousand these are millions")

            __hash__ = None  # type: ignore[assignment]

        events = [Delivered(recipient=f"x@{OWN}", detail=Uncompared(), at=1.0) for _ in range(3)]
        self.assertEqual(3, len(self.told(*events)))

    def test_an_address_that_only_ends_like_his_domain_is_another(self) -> None:
        self.assertEqual([], self.told(Delivered(recipient="x@not-own.test")))
