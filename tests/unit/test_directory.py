"""Who takes the mail for an address, and who signs in under a name."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from mailnode.addresses import parse_address
from mailnode.errors import AliasLoop, MailboxDisabled, NoSuchMailbox, RelayDenied, StoreBroken
from mailnode.model import Recipient, Remote
from mailnode.routes import Gear, SendAs, read_route
from mailnode.store.directory import Account, Alias, Directory, Domain, LiveDirectory
from mailnode.store.elsewhere import NOTHING, Elsewhere, SigningKey


def account(number: int, name: str, **facts: object) -> Account:
    address = parse_address(name if "@" in name else f"{name}@example.test")
    return Account(number, address, address.key, f"hash-{number}", **facts)  # type: ignore[arg-type]


def directory(
    *accounts: Account,
    aliases: tuple[tuple[str, str], ...] = (),
    subaddress: str = "+",
    elsewhere: Elsewhere = NOTHING,
) -> Directory:
    """A node with example.test and other.test; alias names without a domain are example.test's."""
    full = [
        tuple(name if "@" in name else f"{name}@example.test" for name in pair) for pair in aliases
    ]
    return Directory.of(
        [Domain(1, "example.test", 0.0), Domain(2, "other.test", 0.0)],
        accounts,
        [Alias(number, *pair) for number, pair in enumerate(full)],
        subaddress,
        elsewhere,
    )


class BadRowTests(SynchronousTestCase):
    def test_an_alias_that_is_no_address_is_named_with_its_row_and_the_mend(self) -> None:
        good = ("sales", "alice")
        for bad in (("sales", "a b@example.test"), ("two@at@example.test", "alice")):
            error = self.assertRaises(StoreBroken, directory, aliases=(good, good, bad))
            for words in ("id 2,", bad[0], bad[1], "DELETE FROM alias WHERE id = 2"):
                self.assertIn(words, error.detail)


class ExpandTests(SynchronousTestCase):
    def mailboxes(self, here: Directory, name: str, limit: int = 1000) -> list[str]:
        address = parse_address(name if "@" in name else f"{name}@example.test")
        recipients = here.expand(address, limit)
        self.assertTrue(all(recipient.address is address for recipient in recipients))
        return [recipient.mailbox.removesuffix("@example.test") for recipient in recipients]

    def test_an_account_takes_its_own_mail_in_any_spelling(self) -> None:
        here = directory(account(7, "Alice"))
        asked_for = parse_address("aLiCe@example.test")
        self.assertEqual((Recipient(asked_for, 7, "Alice@example.test"),), here.expand(asked_for))

    def test_where_its_unwanted_mail_lies_goes_with_it(self) -> None:
        here = directory(account(1, "alice"), account(2, "bob", junk="INBOX"))
        names = [parse_address(f"{name}@example.test") for name in ("alice", "bob+x")]
        self.assertEqual(["Junk", "INBOX"], [here.expand(each)[0].junk for each in names])

    def test_local_parts_compare_casefolded_in_nfc(self) -> None:
        here = directory(account(1, "Straße"), account(2, "caf\u00e9"))
        self.assertEqual(["Straße"], self.mailboxes(here, "STRASSE"))
        self.assertEqual(["caf\u00e9"], self.mailboxes(here, "CAFE\u0301"))

    def test_a_foreign_domain_is_relaying(self) -> None:
        self.assertRaises(RelayDenied, self.mailboxes, directory(), "alice@elsewhere.test")

    def test_an_unknown_name_is_no_mailbox(self) -> None:
        self.assertRaises(NoSuchMailbox, self.mailboxes, directory(account(1, "alice")), "bob")
        with self.assertRaises(NoSuchMailbox):
            self.mailboxes(directory(account(1, "alice")), "alice@other.test")

    def test_a_disabled_account_takes_nothing(self) -> None:
        here = directory(account(1, "alice", disabled=True), aliases=(("*", "alice"),))
        self.assertRaises(MailboxDisabled, self.mailboxes, here, "alice")
        self.assertRaises(MailboxDisabled, self.mailboxes, here, "alice+x")
        self.assertRaises(MailboxDisabled, self.mailboxes, here, "nobody")

    def test_an_alias_reaches_each_mailbox_once(self) -> None:
        here = directory(
            account(1, "alice"),
            account(2, "bob"),
            aliases=(("all", "team"), ("all", "bob"), ("team", "alice"), ("team", "bob")),
        )
        self.assertEqual(["bob", "alice"], self.mailboxes(here, "all"))

    def test_a_subaddress_belongs_to_its_account_or_alias(self) -> None:
        here = directory(account(1, "alice"), aliases=(("team", "alice"),))
        self.assertEqual(["alice"], self.mailboxes(here, "alice+lists+x"))
        self.assertEqual(["alice"], self.mailboxes(here, "team+x"))
        self.assertRaises(NoSuchMailbox, self.mailboxes, here, "+alice")

    def test_subaddresses_can_be_switched_off(self) -> None:
        here = directory(account(1, "alice"), subaddress="")
        self.assertRaises(NoSuchMailbox, self.mailboxes, here, "alice+lists")

    def test_the_exact_address_comes_before_the_subaddress_and_the_catch_all_last(self) -> None:
        here = directory(
            account(1, "alice"),
            account(2, "alice+own"),
            account(3, "carol"),
            aliases=(("alice+lists", "carol"), ("*", "carol")),
        )
        self.assertEqual(["alice+own"], self.mailboxes(here, "alice+own"))
        self.assertEqual(["carol"], self.mailboxes(here, "alice+lists"))
        self.assertEqual(["alice"], self.mailboxes(here, "alice+x"))
        self.assertEqual(["carol"], self.mailboxes(here, "nobody"))

    def test_a_catch_all_is_its_own_domains(self) -> None:
        here = directory(account(1, "alice"), aliases=(("*@other.test", "alice"),))
        self.assertEqual(["alice"], self.mailboxes(here, "x@other.test"))
        self.assertRaises(NoSuchMailbox, self.mailboxes, here, "x")

    def test_circles_are_cut_and_others_still_get_it(self) -> None:
        here = directory(
            account(1, "alice"), aliases=(("a", "b"), ("b", "a"), ("b", "alice"), ("c", "c+x"))
        )
        self.assertEqual(["alice"], self.mailboxes(here, "a"))
        self.assertRaises(AliasLoop, self.mailboxes, here, "c")

    def test_ten_aliases_deep_is_the_end(self) -> None:
        chain = [(f"a{n}", f"a{n + 1}") for n in range(11)]
        here = directory(account(1, "a10"), aliases=tuple(chain[:10]))
        self.assertEqual(["a10"], self.mailboxes(here, "a0"))
        here = directory(account(1, "a11"), aliases=tuple(chain))
        self.assertRaises(AliasLoop, self.mailboxes, here, "a0")

    def test_one_address_reaches_so_many_mailboxes_at_most(self) -> None:
        people = [account(n, f"u{n}") for n in range(5)]
        here = directory(*people, aliases=tuple(("all", f"u{n}") for n in range(5)))
        self.assertEqual(5, len(self.mailboxes(here, "all", limit=5)))
        self.assertRaises(AliasLoop, self.mailboxes, here, "all", limit=4)

    def test_members_that_take_nothing_are_passed_over(self) -> None:
        here = directory(
            account(1, "alice"),
            account(2, "bob", disabled=True),
            aliases=(("team", "bob"), ("team", "gone"), ("team", "alice"), ("old", "gone")),
        )
        self.assertEqual(["alice"], self.mailboxes(here, "team"))
        self.assertRaises(NoSuchMailbox, self.mailboxes, here, "old")


class ForwardTests(SynchronousTestCase):
    """Aliases that lead elsewhere."""

    def reached(self, here: Directory, name: str, limit: int = 1000) -> list[str]:
        address = parse_address(f"{name}@example.test")
        found = here.expand(address, limit)
        for each in found:
            if isinstance(each, Remote):
                self.assertEqual(Remote(each.address, alias=address), each)
        return [
            each.mailbox.removesuffix("@example.test")
            if isinstance(each, Recipient)
            else f"-> {each.address}"
            for each in found
        ]

    def test_an_alias_that_leads_elsewhere_alone_is_a_remote(self) -> None:
        here = directory(aliases=(("sales", "Bob@elsewhere.test"),))
        self.assertEqual(["-> Bob@elsewhere.test"], self.reached(here, "sales"))
        self.assertEqual(["-> Bob@elsewhere.test"], self.reached(here, "Sales+x"))

    def test_members_here_and_elsewhere_are_reached_each_once_in_their_order(self) -> None:
        here = directory(
            account(1, "alice"),
            account(2, "bob", disabled=True),
            aliases=(
                ("team", "bob"),
                ("team", "x@elsewhere.test"),
                ("team", "alice"),
                ("team", "more"),
                ("more", "X@Elsewhere.test"),
                ("more", "alice"),
                ("more", "x@other.elsewhere.test"),
            ),
        )
        self.assertEqual(
            ["-> x@elsewhere.test", "alice", "-> x@other.elsewhere.test"],
            self.reached(here, "team"),
        )

    def test_a_circle_on_the_way_is_cut(self) -> None:
        here = directory(aliases=(("a", "b"), ("b", "a"), ("b", "x@elsewhere.test")))
        self.assertEqual(["-> x@elsewhere.test"], self.reached(here, "a"))

    def test_ten_aliases_deep_is_the_end(self) -> None:
        chain = [(f"a{n}", f"a{n + 1}") for n in range(10)]
        here = directory(aliases=(*chain, ("a10", "x@elsewhere.test")))
        self.assertRaises(AliasLoop, self.reached, here, "a0")
        self.assertEqual(["-> x@elsewhere.test"], self.reached(here, "a1"))

    def test_they_count_to_the_limit(self) -> None:
        aliases = tuple(("all", f"u{n}@elsewhere.test") for n in range(4))
        here = directory(account(1, "alice"), aliases=(("all", "alice"), *aliases))
        self.assertEqual(5, len(self.reached(here, "all", limit=5)))
        self.assertRaises(AliasLoop, self.reached, here, "all", limit=4)

    def test_a_catch_all_may_lead_elsewhere_and_takes_nobody_s_mail(self) -> None:
        here = directory(account(1, "alice"), aliases=(("*", "x@elsewhere.test"),))
        self.assertEqual(["alice"], self.reached(here, "alice"))
        self.assertEqual(["-> x@elsewhere.test"], self.reached(here, "nobody"))

    def test_what_is_elsewhere_itself_is_relaying_whatever_leads_there(self) -> None:
        here = directory(aliases=(("sales", "bob@elsewhere.test"),))
        self.assertRaises(RelayDenied, here.expand, parse_address("bob@elsewhere.test"))


class SpeaksForTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.entry = SendAs(
            5, 1, "me@elsewhere.test", "mail.elsewhere.test", 587, False, "me", b"s"
        )
        self.here = directory(
            account(1, "alice"),
            account(2, "bob"),
            account(3, "alice+own"),
            aliases=(
                ("sales", "alice"),
                ("team", "sales"),
                ("team", "bob"),
                ("loop", "loop2"),
                ("loop2", "loop"),
                ("*@other.test", "alice"),
                ("away", "x@elsewhere.test"),
            ),
            elsewhere=Elsewhere.of(send_as=[self.entry]),
        )

    def speaks(self, account_id: int, name: str) -> bool:
        address = parse_address(name if "@" in name else f"{name}@example.test")
        return self.here.speaks_for(account_id, address)

    def test_an_account_speaks_for_itself_its_subaddresses_and_aliases(self) -> None:
        for name in ("alice", "ALICE", "alice+lists", "sales", "sales+x", "team", "x@other.test"):
            self.assertTrue(self.speaks(1, name), name)

    def test_and_for_its_outside_addresses(self) -> None:
        self.assertTrue(self.speaks(1, "Me@Elsewhere.test"))
        self.assertFalse(self.speaks(2, "me@elsewhere.test"))

    def test_what_it_may_send_as_is_told_but_for_what_has_no_number(self) -> None:
        def told(account_id: int) -> list[str]:
            return [str(each) for each in self.here.own_addresses(account_id)]

        alice = ["alice@example.test", "sales@example.test", "team@example.test"]
        self.assertEqual([*alice, "me@elsewhere.test"], told(1))
        self.assertEqual(["bob@example.test", "team@example.test"], told(2))
        self.assertEqual(["alice+own@example.test"], told(3))
        self.assertEqual([], told(9))

    def test_but_for_nobody_else(self) -> None:
        for name in ("bob", "alice+own", "nobody", "loop", "away", "x@elsewhere.test"):
            self.assertFalse(self.speaks(1, name), name)
        for name in ("alice", "sales", "x@other.test"):
            self.assertFalse(self.speaks(2, name), name)
        self.assertTrue(self.speaks(2, "team"))
        self.assertTrue(self.speaks(3, "alice+own"))
        self.assertFalse(self.speaks(9, "alice"))


class PostmasterTests(SynchronousTestCase):
    def taker(self, here: Directory, name: str = "Postmaster@example.test") -> list[str]:
        return [recipient.mailbox for recipient in here.expand(parse_address(name))]

    def test_it_goes_to_the_first_account_of_its_domain(self) -> None:
        here = directory(account(1, "x@other.test"), account(2, "alice"), account(3, "bob"))
        self.assertEqual(["alice@example.test"], self.taker(here))

    def test_in_a_domain_without_accounts_it_goes_to_the_nodes_first(self) -> None:
        here = directory(account(1, "alice"), account(2, "bob"))
        self.assertEqual(["alice@example.test"], self.taker(here, "postmaster@other.test"))

    def test_an_account_alias_or_catch_all_comes_first(self) -> None:
        alice, bob = account(1, "alice"), account(2, "bob")
        own = account(3, "postmaster")
        self.assertEqual(["postmaster@example.test"], self.taker(directory(alice, own)))
        for source in ("postmaster", "*"):
            here = directory(alice, bob, aliases=((source, "bob"),))
            self.assertEqual(["bob@example.test"], self.taker(here))

    def test_disabled_accounts_do_not_stand_in_the_way(self) -> None:
        alice = account(1, "alice", disabled=True)
        own = account(2, "postmaster", disabled=True)
        here = directory(alice, own, account(3, "bob"))
        self.assertEqual(["bob@example.test"], self.taker(here))

    def test_a_node_without_accounts_has_none(self) -> None:
        self.assertRaises(NoSuchMailbox, self.taker, directory())

    def test_a_foreign_postmaster_is_relaying(self) -> None:
        here = directory(account(1, "alice"))
        self.assertRaises(RelayDenied, self.taker, here, "postmaster@elsewhere.test")


class SignInTests(SynchronousTestCase):
    def test_a_bare_name_means_the_first_domain(self) -> None:
        alice, other = account(1, "alice"), account(2, "alice@other.test")
        here = directory(other, alice)
        self.assertIs(alice, here.find_sign_in("ALICE"))
        self.assertIs(other, here.find_sign_in("Alice@OTHER.test"))

    def test_aliases_and_subaddresses_do_not_sign_in(self) -> None:
        here = directory(account(1, "alice"), aliases=(("team", "alice"),))
        self.assertIsNone(here.find_sign_in("team"))
        self.assertIsNone(here.find_sign_in("alice+x"))

    def test_malformed_names_are_nobody(self) -> None:
        here = directory(account(1, "alice"))
        for name in ("", "@", "a b", "alice@", "@example.test", "alice\0", "x" * 10_000):
            self.assertIsNone(here.find_sign_in(name), name)

    def test_all_spellings_share_one_key_whether_or_not_there_is_an_account(self) -> None:
        here = directory()
        keys = {here.sign_in_key(name) for name in ("Bob", "bob@example.test", "BOB@Example.Test")}
        self.assertEqual({"bob@example.test"}, keys)
        self.assertIsNone(Directory.of().sign_in_key("bob"))


class LiveDirectoryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.alice, self.bob = account(1, "alice"), account(2, "bob")
        self.live = LiveDirectory(directory(self.alice, self.bob))
        self.changes: list[set[int]] = []
        self.live.subscribe(self.changes.append)

    def test_look_ups_ask_the_one_that_counts_now(self) -> None:
        carol = account(3, "carol", demo=True)
        self.live.replace(directory(carol))
        self.assertIs(carol, self.live.find(carol.address))
        self.assertIs(carol, self.live.find_by_id(3))
        self.assertIs(carol, self.live.find_sign_in("carol"))
        self.assertEqual("carol@example.test", self.live.sign_in_key("carol"))
        self.assertEqual((carol,), self.live.accounts())
        self.assertEqual((carol,), self.live.demo_accounts)
        self.assertEqual("example.test", self.live.first_domain)
        self.assertTrue(self.live.is_local("other.test"))
        self.assertFalse(self.live.is_local("elsewhere.test"))
        self.assertEqual([3], [r.account_id for r in self.live.expand(carol.address)])
        self.assertIsNone(self.live.find_by_id(1))

    def test_so_do_those_for_mail_elsewhere(self) -> None:
        bob = parse_address("bob@elsewhere.test")
        entry = SendAs(5, 1, str(bob), "mail.elsewhere.test", 587, False, "bob", b"sealed")
        route = read_route("elsewhere.test", "hold")
        key = SigningKey("s1", "rsa-sha256", b"sealed", "example.test")
        self.assertEqual("capture", self.live.gear)
        self.live.replace(
            directory(
                self.alice,
                self.bob,
                elsewhere=Elsewhere.of([route], [entry], [key], Gear("live")),
            )
        )
        self.assertEqual("live", self.live.gear)
        self.assertTrue(self.live.may_leave(bob))
        self.assertEqual(route, self.live.route_for(bob))
        self.assertEqual(entry, self.live.send_as(1, bob))
        self.assertEqual(entry, self.live.send_as_by_id(5))
        self.assertEqual((key,), self.live.signing_keys("example.test"))
        self.assertTrue(self.live.speaks_for(1, bob))
        self.assertEqual(("example.test", "other.test"), self.live.domains)
        self.assertEqual([], self.changes, "nobody's sign-in changed")

    def test_a_new_password_disabling_and_deleting_are_told_with_the_new_state_in_place(
        self,
    ) -> None:
        seen: list[Account | None] = []
        self.live.subscribe(lambda ids: seen.append(self.live.find_by_id(1)))
        changed = evolve(self.alice, password_hash="other", sign_in_changed_at=7.0)
        self.live.replace(directory(changed, self.bob))
        self.live.replace(directory(changed, evolve(self.bob, disabled=True)))
        self.live.replace(directory(evolve(self.bob, disabled=True)))
        self.assertEqual([{1}, {2}, {1}], self.changes)
        self.assertEqual([changed, changed, None], seen)

    def test_nothing_is_told_of_a_hash_that_is_renewed(self) -> None:
        self.live.replace(directory(evolve(self.alice, password_hash="better"), self.bob))
        self.assertEqual([], self.changes)

    def test_nothing_is_told_of_quotas_and_new_accounts(self) -> None:
        self.live.replace(
            directory(evolve(self.alice, quota_mails=3), self.bob, account(3, "carol"))
        )
        self.assertEqual([], self.changes)

    def test_one_listener_that_fails_does_not_stop_the_others(self) -> None:
        live = LiveDirectory(directory(self.alice))
        live.subscribe(lambda ids: 1 / 0)
        live.subscribe(self.changes.append)
        live.replace(directory())
        self.assertEqual([{1}], self.changes)
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))


class SecretTests(SynchronousTestCase):
    def test_an_account_in_a_log_does_not_show_its_hash(self) -> None:
        self.assertNotIn("hash-1", repr(account(1, "alice")))
