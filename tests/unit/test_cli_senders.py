"""`mailnode sender`: whose mail an account or a domain allows and blocks."""

from __future__ import annotations

from unittest.mock import patch

from mailnode.addresses import parse_address
from mailnode.cli import senders as cli_senders
from mailnode.store import senders
from mailnode.store.accounts import Accounts
from mailnode.store.sender_rules import SenderRules
from tests.unit.cli_case import CommandCase

CAROL, DAVE = "carol@example.org", "dave@second.example"
SHOP = parse_address("Info@Shop.example")


class SenderTests(CommandCase):
    def setUp(self) -> None:
        super().setUp()
        self.make_accounts(CAROL, DAVE)

    def rules(self) -> SenderRules:
        accounts = Accounts.open(self.folder / "users.db")
        try:
            return accounts.load_directory().elsewhere.senders
        finally:
            accounts.close()

    def found(self, name: str) -> tuple[str, str] | None:
        accounts = Accounts.open(self.folder / "users.db")
        try:
            account = accounts.account(name)
        finally:
            accounts.close()
        rule = self.rules().find(account.id, account.address.domain, SHOP)
        return None if rule is None else (rule.verdict, rule.pattern)

    def test_an_account_blocks_and_allows_an_address_in_any_spelling(self) -> None:
        self.assertTrue(self.rules().is_empty)
        told = self.run_command("sender block carol INFO@shop.example").stdout
        self.assertIn(f"{CAROL} blocks info@shop.example", told)
        self.assertEqual(("block", "info@shop.example"), self.found(CAROL))
        self.assertIsNone(self.found(DAVE))
        self.run_command(f"sender allow {CAROL} info@shop.example")
        self.assertEqual(("allow", "info@shop.example"), self.found(CAROL))

    def test_a_domain_does_for_all_of_its_accounts(self) -> None:
        self.run_command("sender block example.org shop.example @other.example")
        self.assertEqual(("block", "shop.example"), self.found(CAROL))
        self.assertIsNone(self.found(DAVE))
        rows = self.run_json("sender list")
        self.assertEqual(["other.example", "shop.example"], [row["sender"] for row in rows])

    def test_a_star_or_nothing_before_the_at_is_the_domain(self) -> None:
        for text in ("*@shop.example", "@shop.example"):
            told = self.run_command(f"sender block carol '{text}'").stdout
            self.assertIn(f"{CAROL} blocks shop.example", told)
            self.assertEqual(("block", "shop.example"), self.found(CAROL))
            self.run_command(f"sender remove carol '{text}'")

    def test_what_no_sender_can_be_is_refused_and_one_of_before_can_be_removed(self) -> None:
        told = self.refusal("sender block carol shop", 65)
        self.assertIn("'shop': 'shop' is no whole domain, such as shop.com", told)
        self.assertIn(
            "a * stands for all of a domain", self.refusal("sender block carol 'a*@b.example'", 65)
        )
        self.refusal("sender block carol '*.shop.example'", 65)
        with (
            patch.object(cli_senders, "read_new_pattern", senders.read_pattern),
            patch.object(senders, "read_new_pattern", senders.read_pattern),
        ):
            self.run_command("sender block carol shop")
        self.run_command("sender remove carol shop")
        self.assertTrue(self.rules().is_empty)

    def test_a_rule_is_removed(self) -> None:
        self.run_command(f"sender block {CAROL} shop.example")
        self.assertIn(
            "no rule for info@shop", self.refusal("sender remove carol info@shop.example", 67)
        )
        self.run_command("sender remove carol shop.example")
        self.assertTrue(self.rules().is_empty)
        self.assertIn("nobody is allowed or blocked", self.run_command("sender list").stdout)

    def test_rules_go_with_their_owner(self) -> None:
        self.run_command(f"sender block {DAVE} shop.example")
        self.run_command("sender block second.example shop.example")
        self.run_command(f"user delete {DAVE} --yes")
        self.assertEqual(["second.example"], [r["owner"] for r in self.run_json("sender list")])
        self.run_command("domain delete second.example")
        self.assertEqual([], self.run_json("sender list"))
        self.assertTrue(self.rules().is_empty)

    def test_the_list_can_be_of_one_owner(self) -> None:
        self.run_command(f"sender block {CAROL} a.example")
        self.run_command(f"sender allow {DAVE} b.example")
        self.assertIn("allows", self.run_command(f"sender list {DAVE}").stdout)
        self.assertEqual(1, len(self.run_json(f"sender list {CAROL}")))

    def test_mistakes_are_told_with_their_mend(self) -> None:
        self.assertIn("user list", self.refusal("sender block nobody x.example", 67))
        self.assertIn("domain add", self.refusal("sender block third.example x.example", 67))
        self.assertIn("shop@example.net", self.refusal("sender block carol 'a b@c'", 65))
        with patch.object(senders, "MOST_RULES", 1):
            self.run_command("sender block carol a.example")
            self.run_command("sender allow carol a.example")
            self.assertIn("remove some first", self.refusal("sender block carol b.example", 65))

    def test_a_row_that_no_command_writes_is_named(self) -> None:
        self.run_command("sender block carol a.example")
        accounts = Accounts.open(self.folder / "users.db")
        with accounts.file.change() as sql:
            sql.execute("UPDATE setting SET value = 'hate a.example' WHERE name LIKE 'senders-%'")
        accounts.close()
        told = self.refusal("sender list", 69)
        self.assertIn("the store has a fault", told)
        self.assertIn("'hate a.example'", told)
