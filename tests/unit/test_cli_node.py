"""`mailnode.cli.node`: the files that a command works on, and whether a node runs there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import mailnode
from mailnode.cli import node
from mailnode.cli.frame import Mistake
from mailnode.cli.node import make_private_folder, require_mail, running_node
from mailnode.config import load_config
from tests.unit.cli_case import CommandCase

CAROL = "carol@example.org"


class RunningTests(CommandCase):
    def setUp(self) -> None:
        super().setUp()
        self.config = load_config(environment={})
        (self.folder / "var").mkdir()

    def told(self, told: Any) -> None:
        text = told if isinstance(told, str) else json.dumps(told)
        (self.folder / "var" / "listening.json").write_text(text)

    def test_a_node_that_is_up_says_where_it_listens(self) -> None:
        self.told({"pid": os.getpid(), "hostname": "mx.example.org", "smtp": ["127.0.0.1:25"]})
        found = running_node(self.config)
        assert found is not None
        self.assertEqual((os.getpid(), "mx.example.org"), (found.pid, found.hostname))
        self.assertEqual(("127.0.0.1:25",), found.listening["smtp"])
        self.assertEqual((), found.listening["pop3s"])

    def test_what_a_killed_node_left_is_no_running_one(self) -> None:
        gone = subprocess.Popen([sys.executable, "-c", ""])
        gone.wait()
        self.told({"pid": gone.pid, "hostname": "mx.example.org"})
        self.assertIs(None, running_node(self.config))

    def test_a_node_of_another_user_runs_all_the_same(self) -> None:
        def kill(pid: int, signal: int) -> None:
            raise PermissionError

        self.patch(os, "kill", kill)
        self.told({"pid": 4711, "hostname": "mx.example.org"})
        found = running_node(self.config)
        assert found is not None
        self.assertEqual(4711, found.pid)

    def test_nonsense_in_the_file_is_no_running_node(self) -> None:
        self.assertIs(None, running_node(self.config))
        for nonsense in ("", "{", "[]", {}, {"pid": "x"}, {"pid": None}, {"pid": 1, "smtp": 7}):
            self.told(nonsense)
            self.assertIs(None, running_node(self.config), nonsense)


class FileTests(CommandCase):
    def cant(self, mode: int) -> None:
        """Whatever is asked for in that mode may not be had; root may have everything."""
        before = os.access
        self.patch(node.os, "access", lambda path, asked: asked != mode and before(path, asked))

    def test_accounts_that_can_not_be_read_or_written_are_77_and_say_whose_they_are(self) -> None:
        self.make_accounts(CAROL)
        self.cant(os.W_OK)
        said = self.refusal(f"user disable {CAROL}", 77)
        self.assertIn("can't write users.db; run this as the user that the node runs as", said)
        self.run_command("user list")
        self.cant(os.R_OK)
        self.assertIn("can't read users.db", self.refusal("user list", 77))

    def test_a_folder_in_place_of_users_db_is_78(self) -> None:
        (self.folder / "users.db").mkdir()
        self.assertIn("users.db is no file", self.refusal("user list", 78))

    def test_mail_that_can_not_be_read_is_77(self) -> None:
        self.make_accounts(CAROL)
        self.file_mail(CAROL)
        self.cant(os.R_OK)
        refused = self.assertRaises(Mistake, require_mail, load_config(environment={}))
        self.assertEqual(77, refused.code)

    def test_mail_in_a_folder_that_is_closed_to_us_is_there_and_77(self) -> None:
        def closed(path: Path) -> bool:
            raise PermissionError

        self.patch(Path, "is_file", closed)
        refused = self.assertRaises(Mistake, require_mail, load_config(environment={}))
        self.assertEqual(77, refused.code)

    def test_a_private_folder_is_made_once_and_its_owner_s_alone(self) -> None:
        path = Path("a") / "b"
        self.assertTrue(make_private_folder(path))
        self.assertEqual(0o700, path.stat().st_mode & 0o777)
        self.assertFalse(make_private_folder(path))

    def test_a_folder_that_can_not_be_made_is_73(self) -> None:
        Path("a").write_text("a file")
        refused = self.assertRaises(Mistake, make_private_folder, Path("a") / "b")
        self.assertEqual(73, refused.code)
        self.assertIn("can't make a/b: Not a directory", str(refused))


class MailboxTests(CommandCase):
    def test_no_mailbox_and_no_mail_are_said_with_what_to_do(self) -> None:
        self.make_accounts()
        self.write_mail(lambda connection: None)
        self.assertIn("mailnode user add", self.run_command("mailbox list").stdout)
        self.make_accounts(CAROL)
        self.file_mail(CAROL)
        self.make_accounts("dave@example.org")
        said = self.run_command("mailbox show dave@example.org").stdout
        self.assertIn("the mailbox of dave@example.org is empty", said)

    def test_a_mailbox_s_own_quota_goes_before_the_node_s(self) -> None:
        self.make_accounts(CAROL, quota_octets=7, quota_mails=3)
        self.write_mail(lambda connection: None)
        (row,) = self.run_json("mailbox list")
        self.assertEqual((7, 3), (row["quota_octets"], row["quota_mails"]))


class ModuleTests(CommandCase):
    def test_it_runs_as_a_module_too(self) -> None:
        root = str(Path(mailnode.__file__).parents[1])
        done = subprocess.run(
            [sys.executable, "-m", "mailnode.cli", "version"],
            env=os.environ | {"PYTHONPATH": root},
            capture_output=True,
            text=True,
            timeout=60,
        )
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertIn(mailnode.__version__, done.stdout)
