"""`mailnode token`: made beside a node, shown once, and revoked with a ring of its bell."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from unittest.mock import patch

from mailnode.store.tokens import MOST_TOKENS, hash_secret
from tests.unit.cli_case import CommandCase

ALICE, BOB = "alice@example.test", "bob@example.test"


class TokenTests(CommandCase):
    def setUp(self) -> None:
        super().setUp()
        self.make_accounts(ALICE, BOB)

    def rows(self, text: str) -> list[tuple]:
        connection = sqlite3.connect(self.folder / "var" / "mail.db")
        try:
            return connection.execute(text).fetchall()
        finally:
            connection.close()

    def test_it_stands_on_standard_output_once_and_its_hash_in_the_database(self) -> None:
        secret = self.run_command(f"token add {ALICE} script --scope read").stdout.strip()
        self.assertEqual(
            [(hash_secret(secret), "read")], self.rows("SELECT key_hash, scopes FROM token")
        )
        self.assertNotIn(secret, self.run_command("token list").stdout)
        (row,) = self.run_json("token list")
        self.assertEqual(
            (ALICE, "script", ["read"], None, None, False),
            tuple(
                row[key] for key in ("account", "name", "scopes", "expires_at", "used_at", "void")
            ),
        )

    def test_scopes_and_time_are_as_they_were_told(self) -> None:
        made = self.run_json("token add alice app --scope send,read --scope manage --expires 90d")
        self.assertEqual(["read", "send", "manage"], made["scopes"])
        self.assertAlmostEqual(90 * 86400, made["expires_at"] - made["made_at"], places=3)
        for line in (
            "--scope root",
            "",
            "--scope read --expires never",
            "--scope read --expires 0",
            "--scope read --expires 90",
        ):
            self.refusal(f"token add alice app {line}", 64)
        self.refusal("token add nobody app --scope read", 67)
        self.refusal(f"token add alice '{'x' * 81}' --scope read", 65)

    def test_one_that_administers_is_of_an_administrator(self) -> None:
        self.assertIn("user set", self.refusal("token add alice app --scope admin", 65))
        self.run_command("user set alice --admin")
        self.run_command("token add alice app --scope admin")

    def test_the_list_can_be_of_one_account_and_says_which_a_new_password_voided(self) -> None:
        self.assertIn("there is no token", self.run_command("token list").stdout)
        self.run_command("token add alice one --scope read")
        self.run_command("token add bob two --scope read")
        (row,) = self.run_json("token list --account bob")
        self.assertEqual("two", row["name"])
        self.run_command("user passwd bob", "seven sleepy owls\n")
        self.assertEqual([False, True], [row["void"] for row in self.run_json("token list")])
        self.assertIn("void: a new password", self.run_command("token list").stdout)
        self.run_command("token add bob three --scope read")
        self.assertFalse(self.run_json("token list")[-1]["void"])

    def test_revoking_rings_the_bell_of_the_node(self) -> None:
        self.run_command("token add alice one --scope read")
        rung: list[tuple[Path, str]] = []
        with patch("mailnode.cli.tokens.ring_from_outside", lambda *told: rung.append(told)):
            self.assertEqual({"revoked": [1]}, self.run_json("token revoke 1"))
        self.assertEqual([(Path("var"), "guests")], rung)
        self.assertEqual([], self.rows("SELECT * FROM token"))
        self.refusal("token revoke 1", 67)

    def test_where_one_of_several_is_not_there_none_is_revoked(self) -> None:
        self.run_command("token add alice one --scope read")
        self.refusal("token revoke 1 7", 67)
        self.assertEqual([(1,)], self.rows("SELECT id FROM token"))

    def test_an_account_has_so_many_and_no_more(self) -> None:
        with patch("mailnode.store.tokens.MOST_TOKENS", 1):
            self.run_command("token add alice one --scope read")
            self.assertIn("revoke one", self.refusal("token add alice two --scope read", 65))
        self.assertGreater(MOST_TOKENS, 1)
