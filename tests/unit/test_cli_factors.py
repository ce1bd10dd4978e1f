"""`mailnode user factor`: an administrator looks at second factors, and takes lost ones off."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from unittest.mock import patch

from mailnode.store.accounts import Accounts
from mailnode.store.beside import make_mail_database
from tests.unit.cli_case import CommandCase

ALICE, BOB = "alice@example.test", "bob@example.test"


class FactorTests(CommandCase):
    def setUp(self) -> None:
        super().setUp()
        self.make_accounts(ALICE, BOB)
        with closing(Accounts.open(self.folder / "users.db")) as accounts:
            alice, bob = accounts.account(ALICE), accounts.account(BOB)
            rows = accounts.factors
            rows.add(alice.id, "totp", "phone", "", b"sealed secret")
            rows.add(alice.id, "mail", "other mail", "a@elsewhere.example")
            rows.add(bob.id, "totp", "phone", "", b"sealed secret")
            rows.set_recovery_codes(alice.id, [bytes([each]) * 32 for each in range(10)])
            rows.use_recovery_code(alice.id, bytes(32))
        self.alice = alice

    def names(self, account: str = ALICE) -> list[str]:
        told = self.run_json(f"user factor list {account}")
        return [each["name"] for each in told["factors"]]

    def test_the_list_tells_all_but_secrets(self) -> None:
        said = self.run_command(f"user factor list {ALICE}").stdout
        for words in ("phone", "a@elsewhere.example", "9 of 10"):
            self.assertIn(words, said)
        told = json.dumps(self.run_json(f"user factor list {ALICE}"))
        self.assertNotIn("sealed", told)
        self.assertIn(
            "has no second factor",
            self.run_command("user add carol@example.test", "a sentence 87 long\n").stdout
            + self.run_command("user factor list carol").stdout,
        )

    def test_one_is_taken_off_by_its_name_or_number(self) -> None:
        self.run_command(f"user factor remove {ALICE} phone")
        self.assertEqual(["other mail"], self.names())
        (row,) = self.run_json(f"user factor list {ALICE}")["factors"]
        self.run_command(f"user factor remove {ALICE} {row['id']}")
        self.assertEqual([], self.names())
        self.assertEqual(["phone"], self.names(BOB))

    def test_with_the_last_the_recovery_codes_go(self) -> None:
        self.run_command(f"user factor remove {ALICE} --all")
        self.assertEqual(0, self.run_json(f"user factor list {ALICE}")["recovery_codes_left"])

    def test_what_is_not_there_changes_nothing(self) -> None:
        self.refusal(f"user factor remove {ALICE} phone 99", 67)
        self.refusal(f"user factor remove {ALICE}", 64)
        self.refusal(f"user factor remove {ALICE} phone --all", 64)
        self.refusal("user factor list nobody", 67)
        self.assertEqual(["phone", "other mail"], self.names())

    def test_browsers_are_signed_out_and_the_journal_says_who_did_it(self) -> None:
        data = self.folder / "var"
        make_mail_database(data)
        with closing(sqlite3.connect(data / "mail.db")) as mail:
            row = (b"k", self.alice.id, 0, 0, 0, "", "", "")
            mail.execute("INSERT INTO web_session VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
            mail.commit()
            rung: list[str] = []

            def ring(_data: Path, topic: str) -> None:
                rung.append(topic)

            with patch("mailnode.cli.factors.ring_from_outside", ring):
                self.run_command(f"user factor remove {ALICE} phone")
            self.assertEqual(["guests"], rung)
            self.assertEqual([], mail.execute("SELECT * FROM web_session").fetchall())
            ((event, detail),) = mail.execute("SELECT event, detail FROM journal").fetchall()
        self.assertEqual("factor-removed", event)
        told = json.loads(detail)
        self.assertEqual((ALICE, "phone"), (told["account"], told["factor"]))
        self.assertTrue(told["by"])
