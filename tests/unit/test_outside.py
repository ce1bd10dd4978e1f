"""users.db of mail for other hosts: what is kept, what goes with what, and rows of others."""

from __future__ import annotations

import sqlite3

from attrs import evolve

from mailnode.addresses import parse_address
from mailnode.errors import AccountError, AlreadyThere, BadRoute, NotFound, StoreBroken
from mailnode.routes import BY_MX, CAPTURE, Gear, SendAs, read_route
from mailnode.store.outside import Outside
from tests.unit.test_accounts import ALICE, BOB, AccountsCase

ME = parse_address("Me@example.net")


class OutsideCase(AccountsCase):
    def setUp(self) -> None:
        super().setUp()
        self.alice = self.accounts.add_account(ALICE, "h")
        self.outside: Outside = self.accounts.outside

    def entry(self, **facts: object) -> SendAs:
        entry = SendAs(0, self.alice.id, str(ME), "mail.example.net", 587, False, "me", b"sealed")
        return evolve(entry, **facts)

    def execute(self, statement: str, *values: object) -> None:
        raw = sqlite3.connect(self.path)
        with raw:
            raw.execute(statement, values)
        raw.close()


class RouteTests(OutsideCase):
    def test_a_route_comes_back_and_is_answered_from_memory(self) -> None:
        route = read_route(".Example.net", "smtps://u@relay:4465", password_file="/etc/secret")
        self.outside.add_route(route)
        self.assertEqual([route], self.outside.routes())
        directory = self.accounts.load_directory()
        self.outside.delete_route(".example.net")
        self.assertEqual(route, directory.route_for(parse_address("x@a.example.net")))
        self.assertEqual(BY_MX, directory.route_for(parse_address("x@example.net")))
        self.assertEqual([], self.outside.routes())

    def test_a_pattern_has_one_route(self) -> None:
        self.outside.add_route(read_route("example.net", "hold"))
        with self.assertRaisesRegex(AlreadyThere, "mailnode route delete 'example.net'"):
            self.outside.add_route(read_route("EXAMPLE.net", "mx"))

    def test_deleting_what_is_not_there_names_the_list(self) -> None:
        for pattern in ("example.net", "no pattern"):
            with self.assertRaisesRegex(NotFound, "mailnode route list"):
                self.outside.delete_route(pattern)

    def test_a_pattern_that_somebody_spelled_otherwise_can_be_deleted(self) -> None:
        for pattern in ("Example.NET", "a b"):
            self.execute(
                "INSERT INTO route (pattern, kind, created_at) VALUES (?, 'hold', 0)", pattern
            )
            self.outside.delete_route(pattern)
        self.assertEqual([], self.outside.routes())


class SendAsTests(OutsideCase):
    def test_an_outside_address_comes_back_with_an_id_that_is_never_used_again(self) -> None:
        made = self.outside.add_send_as(self.entry())
        self.assertEqual(self.entry(id=made.id), made)
        self.assertEqual([made], self.outside.send_as())
        self.assertEqual([made], self.outside.send_as(self.alice.id))
        self.assertEqual([], self.outside.send_as(self.alice.id + 1))
        self.outside.delete_send_as(self.alice.id, parse_address("ME@example.net"))
        self.assertEqual([], self.outside.send_as())
        self.assertGreater(self.outside.add_send_as(self.entry()).id, made.id)

    def test_the_directory_finds_it_by_account_and_address_and_by_id(self) -> None:
        made = self.outside.add_send_as(self.entry())
        directory = self.accounts.load_directory()
        self.assertEqual(made, directory.send_as(self.alice.id, parse_address("ME@Example.net")))
        self.assertEqual(made, directory.send_as_by_id(made.id))
        self.assertIsNone(directory.send_as(self.alice.id + 1, ME))
        self.assertIsNone(directory.send_as_by_id(made.id + 1))

    def test_an_account_has_an_address_once_and_two_may_share_one(self) -> None:
        bob = self.accounts.add_account(BOB, "h")
        self.outside.add_send_as(self.entry())
        for refuse in (
            lambda: self.outside.add_send_as(self.entry(address="ME@example.net")),
            lambda: self.outside.require_free(self.alice.id, ME),
        ):
            self.assertRaises(AlreadyThere, refuse)
        self.outside.require_free(bob.id, ME)
        self.outside.add_send_as(self.entry(account_id=bob.id))
        self.assertEqual(2, len(self.outside.send_as()))

    def test_an_address_of_this_node_is_an_alias_s_business(self) -> None:
        with self.assertRaisesRegex(AccountError, "mailnode alias add"):
            self.outside.add_send_as(self.entry(address="sales@example.test"))

    def test_an_address_whose_domain_came_here_later_is_nobody_s_outside_address(self) -> None:
        self.outside.add_send_as(self.entry())
        self.accounts.add_domain("example.net")
        directory = self.accounts.load_directory()
        self.assertIsNone(directory.send_as(self.alice.id, ME))
        self.assertFalse(directory.speaks_for(self.alice.id, ME))

    def test_who_is_gone_has_none(self) -> None:
        self.assertRaises(NotFound, self.outside.add_send_as, self.entry(account_id=9))
        self.assertRaises(NotFound, self.outside.delete_send_as, self.alice.id, ME)

    def test_it_goes_with_its_account(self) -> None:
        self.outside.add_send_as(self.entry())
        self.accounts.delete_account("alice")
        self.assertEqual([], self.outside.send_as())


class KeyTests(OutsideCase):
    def test_keys_sign_side_by_side_until_they_are_set_to_rest_or_deleted(self) -> None:
        rsa = self.outside.add_key("Example.test", "S1", "rsa-sha256", b"sealed", "public")
        second = self.outside.add_key("example.test", "s2", "ed25519-sha256", b"sealed2", "public2")
        self.assertEqual(("s1", "example.test", True), (rsa.selector, rsa.domain, rsa.active))
        self.assertEqual([rsa, second], self.outside.keys("EXAMPLE.test"))
        signing = self.accounts.load_directory().signing_keys
        self.assertEqual((rsa, second), signing("example.test"))
        self.assertEqual((), signing("sub.example.test"))
        self.outside.set_key_active("example.test", "S1", False)
        self.assertEqual([evolve(rsa, active=False), second], self.outside.keys())
        self.assertEqual((second,), self.accounts.load_directory().signing_keys("example.test"))
        self.outside.delete_key("example.test", "s2")
        self.assertEqual((), self.accounts.load_directory().signing_keys("example.test"))

    def test_one_domain_s_are_listed_alone(self) -> None:
        self.accounts.add_domain("other.test")
        self.outside.add_key("other.test", "s1", "rsa-sha256", b"sealed", "public")
        self.assertEqual([], self.outside.keys("example.test"))
        self.assertEqual(["other.test"], [key.domain for key in self.outside.keys("other.test")])

    def test_what_can_not_be_is_refused(self) -> None:
        add = self.outside.add_key
        add("example.test", "s1", "rsa-sha256", b"sealed", "public")
        self.assertRaises(AlreadyThere, add, "example.test", "S1", "rsa-sha256", b"", "")
        self.assertRaises(NotFound, add, "other.test", "s1", "rsa-sha256", b"", "")
        self.assertRaises(AccountError, add, "example.test", "s2", "rsa-sha1", b"", "")
        for selector in ("", "a b", "[192.0.2.1]", "s_1"):
            self.assertRaises(AccountError, add, "example.test", selector, "rsa-sha256", b"", "")
        self.assertRaises(NotFound, self.outside.delete_key, "example.test", "s2")
        self.assertRaises(NotFound, self.outside.set_key_active, "other.test", "s1", True)
        self.assertRaises(NotFound, self.outside.keys, "other.test")

    def test_what_is_sealed_does_not_show_in_a_log(self) -> None:
        key = self.outside.add_key("example.test", "s1", "rsa-sha256", b"sealed", "public")
        self.assertNotIn("sealed", repr(key).replace("sealed_key", ""))


class GearTests(OutsideCase):
    def test_it_captures_until_somebody_set_it(self) -> None:
        self.assertEqual(CAPTURE, self.outside.gear())
        self.assertEqual("capture", self.accounts.load_directory().gear)
        self.outside.set_gear(Gear("live"))
        directory = self.accounts.load_directory()
        self.assertEqual(("live", True), (directory.gear, directory.may_leave(ME)))

    def test_patterns_of_the_list_are_kept_each_once_in_one_spelling(self) -> None:
        odd = "a\u2028b@example.org"
        self.outside.set_gear(
            Gear("allow-list", ("ME@example.net", "me@Example.net", ".Example", odd))
        )
        gear = self.outside.gear()
        self.assertEqual(Gear("allow-list", ("me@example.net", ".example", odd)), gear)
        self.assertTrue(self.accounts.load_directory().may_leave(ME))
        self.assertFalse(self.accounts.load_directory().may_leave(parse_address("x@example.org")))
        self.outside.set_gear(Gear("allow-list"))
        self.assertEqual((), self.outside.gear().allowed)

    def test_another_gear_or_pattern_is_refused_and_nothing_changes(self) -> None:
        self.assertRaises(AccountError, self.outside.set_gear, Gear("reverse"))
        self.assertRaises(BadRoute, self.outside.set_gear, Gear("live", ("a b",)))
        self.assertEqual(CAPTURE, self.outside.gear())


class ForeignRowTests(OutsideCase):
    """What a program that isn't ours wrote."""

    def broken(self, statement: str, *values: object) -> str:
        self.execute(statement, *values)
        return self.assertRaises(StoreBroken, self.accounts.load_directory).detail

    def test_a_route_that_is_none_is_named_with_its_row_and_the_mend(self) -> None:
        said = self.broken(
            "INSERT INTO route (id, pattern, kind, created_at) VALUES (7, 'a.test', 'pigeon', 0)"
        )
        for words in ("table route with id 7", "'a.test'", "DELETE FROM route WHERE id = 7"):
            self.assertIn(words, said)

    def test_so_is_an_outside_address(self) -> None:
        made = self.outside.add_send_as(self.entry())
        for column, value in (
            ("address", "a b"),
            ("host", ""),
            ("user", b"u"),
            ("port", 0),
            ("port", "x"),
            ("sealed_password", "in clear"),
        ):
            self.execute("DELETE FROM send_as")
            self.outside.add_send_as(made)
            said = self.broken(f"UPDATE send_as SET {column} = ?", value)
            self.assertIn("DELETE FROM send_as WHERE id = ", said)
            self.assertNotIn("in clear", said)

    def test_so_is_a_key(self) -> None:
        self.outside.add_key("example.test", "s1", "rsa-sha256", b"sealed", "public")
        self.assertIn("'s1' of example.test", self.broken("UPDATE dkim_key SET algorithm = 'md5'"))

    def test_so_is_a_gear_and_mail_does_not_leave_by_a_mistake(self) -> None:
        self.assertIn(
            "DELETE FROM setting WHERE name = 'gear'",
            self.broken("INSERT INTO setting VALUES ('gear', 'LIVE')"),
        )
        self.execute("DELETE FROM setting")
        self.assertIn(
            "name = 'gear-allow'",
            self.broken("INSERT INTO setting VALUES ('gear-allow', 'a b')"),
        )

    def test_another_spelling_of_a_route_is_taken(self) -> None:
        self.execute(
            "INSERT INTO route (pattern, kind, created_at) VALUES ('Example.NET', 'hold', 0)"
        )
        self.assertEqual("hold", self.accounts.load_directory().route_for(ME).kind)
