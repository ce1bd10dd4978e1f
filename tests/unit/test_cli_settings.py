"""`config show`, `version`, `verify`."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from pathlib import Path

import mailnode
from mailnode.config import load_config
from mailnode.settings import all_settings
from tests.unit.cli_case import CommandCase


class ConfigShow(CommandCase):
    def test_each_setting_is_there_with_its_value_and_default(self) -> None:
        told = self.run_json("config show")
        self.assertIsNone(told["file"])
        self.assertEqual(
            [row["setting"] for row in told["settings"]],
            [f"{section}.{key}" for section, key, _, _ in all_settings()],
        )
        self.assertEqual({row["source"] for row in told["settings"]}, {"default"})

    def test_it_says_where_each_value_came_from(self) -> None:
        Path("node.toml").write_text('[limits]\nrecipients = 7\n[node]\nhostname = "a.example"\n')
        os.environ["MAILNODE_LIMITS__ERRORS"] = "3"
        told = self.run_json("config show --changed --config node.toml --data elsewhere")
        self.assertEqual(
            {row["setting"]: (row["value"], row["source"]) for row in told["settings"]},
            {
                "limits.recipients": (7, "node.toml"),
                "node.hostname": ("a.example", "node.toml"),
                "limits.errors": (3, "MAILNODE_LIMITS__ERRORS"),
                "node.data": ("elsewhere", "--data"),
            },
        )

    def test_a_secret_is_not_shown(self) -> None:
        Path("node.toml").write_text('[rspamd]\npassword = "open-sesame"\n')
        for command in ("config show", "config show --json"):
            told = self.run_command(f"{command} --config node.toml").stdout
            self.assertNotIn("open-sesame", told)
            self.assertIn("(a secret)", told)
        self.assertNotIn("open-sesame", repr(load_config("node.toml", {})))

    def test_people_read_values_as_they_stand_in_the_file(self) -> None:
        Path("node.toml").write_text(
            '[listen]\nsmtp = ["25", "tcp:2525"]\n[journal]\ndialog = true\n'
        )
        told = self.run_command("config show --config node.toml").stdout
        self.assertIn('["25", "tcp:2525"]', told)
        self.assertIn("true", told)

    def test_a_mailnode_toml_that_is_not_read_is_mentioned(self) -> None:
        self.assertNotIn("mailnode.toml", self.run_command("config show --changed").stdout)
        Path("mailnode.toml").write_text("")
        self.assertIn("is not read", self.run_command("config show").stdout)

    def test_nothing_changed_is_said(self) -> None:
        self.assertIn("every setting", self.run_command("config show --changed").stdout)


class Version(CommandCase):
    def test_it_names_mailnode_and_what_it_stands_on(self) -> None:
        told = self.run_json("version")
        self.assertEqual(told["mailnode"], mailnode.__version__)
        self.assertEqual(told["sqlite"], sqlite3.sqlite_version)
        self.assertTrue({"python", "twisted", "openssl", "system"} <= set(told))
        self.assertIn("twisted", self.run_command("version").stdout)

    def test_it_needs_no_node_and_no_good_settings(self) -> None:
        self.run_command("--config nowhere.toml version")


class Verify(CommandCase):
    def setUp(self) -> None:
        super().setUp()
        self.make_accounts("carol@example.org")
        body = b"Subject: x\r\n\r\nhello\r\n"
        self.mail_id = self.file_mail("carol@example.org", body=body)
        digest = hashlib.sha256(body).digest()
        self.change("UPDATE message SET digest = ?", digest)

    def change(self, statement: str, *values: object) -> None:
        connection = sqlite3.connect("var/mail.db")
        with connection:
            connection.execute(statement, values)
        connection.close()

    def test_a_whole_store_is_said_to_be_so(self) -> None:
        self.assertIn("no fault", self.run_command("verify").stdout)
        self.assertEqual(self.run_json("verify"), {"faults": []})

    def test_a_flipped_bit_is_65_and_names_the_mail(self) -> None:
        self.change("UPDATE message SET body = ?", b"Subject: x\r\n\r\nhelln\r\n")
        self.assertIn(self.mail_id, self.run_command("verify", exit_code=65).stdout)
        (fault,) = self.run_json("verify", exit_code=65)["faults"]
        self.assertEqual((fault["what"], fault["mail_id"]), ("body", self.mail_id))

    def test_before_the_first_start_it_is_78(self) -> None:
        self.assertIn("when it first starts", self.refusal("verify --data nowhere", 78))
