"""`mailnode rollback` goes back to before an upgrade, and loses nothing that came since."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from contextlib import closing
from pathlib import Path

from mailnode.addresses import parse_address
from mailnode.model import Envelope, Message, Remote, new_mail_id
from mailnode.store import sqlite
from mailnode.store.accept import accept_mails
from mailnode.store.accounts import Accounts
from mailnode.store.blobs import blob_path
from mailnode.store.locks import lock_folder
from mailnode.store.sqlite import connect, migrate, prepare
from mailnode.store.upgrade import copies, upgrade
from mailnode.store.verify import verify
from tests.faults.upgrading import newer_scripts, newer_version
from tests.unit.cli_case import CommandCase

MAIL, USERS = (max(sqlite.schema_scripts(engine)) for engine in ("sqlite", "accounts"))
ALICE, BOB = "alice@example.test", "bob@example.test"


class RollbackTests(CommandCase):
    def setUp(self) -> None:
        super().setUp()
        self.make_accounts(ALICE, BOB)
        self.before = self.file_mail(ALICE)
        self.mail_db = self.folder / "var" / "mail.db"

    def upgrade(self) -> None:
        with newer_version():
            self.make_accounts()
        connection = connect(self.mail_db)
        upgrade(connection, self.mail_db, newer_scripts(), self.folder / "var" / "kept")
        connection.close()

    def rows(self, path: Path, text: str) -> list[tuple]:
        connection = sqlite3.connect(path)
        try:
            return connection.execute(text).fetchall()
        finally:
            connection.close()

    def file_newer_mail(self, *boxes: str, **facts) -> str:
        """By the newer version, which alone opens its store."""
        from tests.unit import cli_case

        self.patch(cli_case, "schema_scripts", newer_scripts)
        with newer_version():
            mail_id = self.file_mail(*boxes, **facts)
        self.patch(cli_case, "schema_scripts", sqlite.schema_scripts)
        return mail_id

    def roll_back(self) -> list[dict]:
        with newer_version():
            return self.run_json("rollback")["rolled_back"]

    def test_both_databases_are_as_before_and_mail_that_came_since_lies_in_files(self) -> None:
        self.upgrade()
        since = self.file_newer_mail(ALICE, BOB, body=b"Subject: since\r\n\r\nthen\r\n")
        mail, users = self.roll_back()
        self.assertEqual(
            (mail["database"], mail["from_schema"], mail["to_schema"]), ("mail.db", MAIL + 1, MAIL)
        )
        self.assertEqual((users["database"], users["to_schema"]), ("users.db", USERS))
        self.assertEqual(self.rows(self.mail_db, "PRAGMA user_version"), [(MAIL,)])
        self.assertEqual(self.rows(self.mail_db, "SELECT mail_id FROM message"), [(self.before,)])
        files = [Path(name).read_bytes() for name in mail["mails_since"]]
        self.assertEqual(len(files), 2)
        self.assertTrue(all(each.endswith(b"\r\nSubject: since\r\n\r\nthen\r\n") for each in files))
        self.assertIn(b"Delivered-To: bob@example.test\r\n", b"".join(files))
        kept = Path(mail["newer_kept_in"])
        self.assertIn((since,), self.rows(kept, "SELECT mail_id FROM message"))

    def test_nobody_is_signed_in_on_the_web_and_a_token_that_was_revoked_since_stays_so(
        self,
    ) -> None:
        for name in ("kept", "revoked"):
            self.run_command(f"token add {ALICE} {name} --scope read")
        self.run_command(f"user set {ALICE} --admin")
        with connect(self.mail_db) as connection:
            connection.execute(
                "INSERT INTO web_session VALUES (?, 1, 1.0, 1.0, 9e9, '', '', 'c')", (b"s" * 32,)
            )
        connection.close()
        self.upgrade()
        with connect(self.mail_db) as connection:
            connection.execute("DELETE FROM token WHERE id = 2")
        connection.close()
        with newer_version():
            self.run_command(f"user set {ALICE} --no-admin")
        self.roll_back()
        self.assertEqual([("kept",)], self.rows(self.mail_db, "SELECT name FROM token"))
        self.assertEqual([], self.rows(self.mail_db, "SELECT * FROM web_session"))
        admins = self.rows(self.folder / "users.db", "SELECT admin FROM account ORDER BY key")
        self.assertEqual([(0,), (0,)], admins)

    def test_what_the_newest_upgrade_left_as_it_was_is_left_so(self) -> None:
        self.upgrade()
        kept = self.folder / "var" / "kept"
        (copy,) = (each for each in copies(kept) if each.database == "users.db")
        copy.path.rename(kept / f"users.db-schema-{copy.version}-20200101T000000Z")
        (mail,) = self.roll_back()
        self.assertEqual("mail.db", mail["database"])
        users = self.folder / "users.db"
        self.assertEqual([(USERS + 1,)], self.rows(users, "PRAGMA user_version"))
        (users,) = self.roll_back()
        self.assertEqual(("users.db", USERS), (users["database"], users["to_schema"]))

    def queue_mail(self, *to: str) -> str:
        remotes = tuple(Remote(parse_address(each)) for each in to)
        envelope = Envelope(new_mail_id(), None, (), remotes=remotes)
        body = b"Subject: out\r\n\r\nbye\r\n"
        message = Message(b"Received: x\r\n", body, len(body), hashlib.sha256(body).digest())
        connection = connect(self.mail_db)
        connection.execute("BEGIN IMMEDIATE")
        accept_mails(connection, [(envelope, message)])
        connection.execute("COMMIT")
        connection.close()
        return envelope.mail_id

    def test_nothing_that_left_since_is_sent_again_and_what_was_queued_since_is_a_file(
        self,
    ) -> None:
        left = self.queue_mail("left@example.com")
        waits = self.queue_mail("waits@example.com", "held@example.com")
        self.upgrade()
        connection = connect(self.mail_db)
        connection.execute("DELETE FROM queue WHERE id = 1")
        connection.execute("DELETE FROM message WHERE mail_id = ?", (left,))
        connection.execute("UPDATE queue SET state = 'held' WHERE id = 3")
        connection.close()
        self.queue_mail("since@example.com", "too@example.com")
        mail = self.roll_back()[0]
        self.assertEqual(
            self.rows(self.mail_db, "SELECT recipient, mail_id, state FROM queue ORDER BY id"),
            [("waits@example.com", waits, "waiting"), ("held@example.com", waits, "held")],
        )
        self.assertEqual((mail["deleted_since"], mail["mails_since"]), (0, []))
        first, second = (Path(name).read_bytes() for name in sorted(mail["queued_since"]))
        self.assertIn(b"X-Mailnode-Queued-For: since@example.com\r\nReceived: x\r\n", first)
        self.assertTrue(second.endswith(b"\r\nSubject: out\r\n\r\nbye\r\n"))
        self.assertEqual(
            self.rows(self.mail_db, "SELECT next FROM counter WHERE name = 'queue'"), [(6,)]
        )
        self.assertEqual([f for f in verify(self.mail_db.parent) if f.what != "body"], [])

    def test_a_store_of_before_the_queue_comes_back_and_all_of_the_queue_is_files(self) -> None:
        self.mail_db.unlink()
        first = {1: sqlite.schema_scripts()[1]}
        prepare(self.mail_db)
        connection = connect(self.mail_db)
        migrate(connection, first)
        upgrade(connection, self.mail_db, sqlite.schema_scripts(), self.folder / "var" / "kept")
        connection.close()
        self.queue_mail("a@example.com")
        said = self.run_command("rollback").stdout
        self.assertIn("mail.db is back to schema 1 ", said)
        self.assertIn("1 recipient elsewhere did not get a mail that came since", said)
        self.assertEqual(self.rows(self.mail_db, "PRAGMA user_version"), [(1,)])

    def test_a_large_mail_that_came_since_is_whole_in_its_file(self) -> None:
        self.upgrade()
        since = self.file_newer_mail(ALICE)
        blob = blob_path(self.folder / "var", "a" * 32)
        blob.parent.mkdir(parents=True)
        blob.write_bytes(b"large")
        connection = connect(self.mail_db)
        connection.execute(
            "UPDATE message SET body = NULL, blob_key = ? WHERE mail_id = ?", ("a" * 32, since)
        )
        connection.close()
        (name,) = self.roll_back()[0]["mails_since"]
        self.assertTrue(Path(name).read_bytes().endswith(b"\r\nlarge"))

    def test_no_uid_that_a_mail_had_since_is_given_again(self) -> None:
        self.upgrade()
        self.file_newer_mail(ALICE)
        self.file_newer_mail(ALICE)
        self.roll_back()
        self.file_mail(ALICE)
        self.assertEqual(self.rows(self.mail_db, "SELECT uid FROM delivery"), [(1,), (4,)])

    def test_no_number_of_a_draft_or_a_token_that_was_made_since_is_given_again(self) -> None:
        self.upgrade()
        with connect(self.mail_db) as connection:
            connection.execute("INSERT INTO draft VALUES (7, 1, 1, 1, 1.5)")
            connection.execute("UPDATE sqlite_sequence SET seq = 9 WHERE name = 'journal'")
            token = "8, x'01', 1, 'n', '', 1.5, 0, 0, '', NULL"
            connection.execute(f"INSERT INTO token VALUES ({token})")
        connection.close()
        self.roll_back()
        self.assertEqual([], self.rows(self.mail_db, "SELECT * FROM draft"))
        found = dict(self.rows(self.mail_db, "SELECT name, seq FROM sqlite_sequence"))
        self.assertEqual((7, 8), (found["draft"], found["token"]))

    def test_accounts_that_were_made_since_stay(self) -> None:
        self.upgrade()
        with newer_version():
            self.make_accounts("carol@example.test")
        users = self.roll_back()[1]
        self.assertEqual(users["made_since"], ["account carol@example.test"])
        self.assertEqual(len(self.run_json("user list")), 3)

    def test_what_was_set_for_mail_elsewhere_since_stays_and_the_gear_is_not_put_back(self) -> None:
        self.run_command("gear set live --yes")
        self.upgrade()
        with newer_version():
            self.run_command("gear set capture")
            self.run_command("route add example.net smtp://127.0.0.1:25")
        users = self.roll_back()[1]
        self.assertEqual(users["made_since"], ["route example.net"])
        self.assertEqual(self.run_json("gear show")["gear"], "capture")

    def test_who_may_not_sign_in_any_more_may_not_after_it_either(self) -> None:
        self.make_accounts("carol@example.test")
        self.upgrade()
        with newer_version():
            accounts = Accounts.open(self.folder / "users.db", data=self.folder / "var")
            self.addCleanup(accounts.close)
            accounts.set_password(ALICE, "another")
            accounts.set_disabled(BOB, True)
            accounts.delete_account("carol@example.test")
        users = self.roll_back()[1]
        self.assertEqual(users["back_disabled"], ["carol@example.test"])
        self.assertEqual(
            self.rows(
                self.folder / "users.db",
                "SELECT password_hash = 'another', disabled FROM account ORDER BY key",
            ),
            [(1, 0), (0, 1), (0, 1)],
        )

    def test_keys_codes_and_rights_that_were_withdrawn_since_let_nobody_in(self) -> None:
        path = self.folder / "users.db"
        with closing(sqlite3.connect(path, isolation_level=None)) as users:
            users.execute("INSERT INTO scram_key SELECT id, x'00', 4096, x'01' FROM account")
            users.execute(
                "INSERT INTO recovery_code (account_id, key_hash, created_at)"
                " SELECT id, key, 1.0 FROM account"
            )
            users.execute(
                "INSERT INTO domain_admin (account_id, domain_id, created_at)"
                " SELECT id, domain_id, 1.0 FROM account"
            )
        self.upgrade()
        with newer_version():
            accounts = Accounts.open(path, data=self.folder / "var")
            self.addCleanup(accounts.close)
            accounts.set_password(ALICE, "another")
            with accounts.file.change() as sql:
                sql.execute("UPDATE recovery_code SET used_at = 2.0")
                sql.execute("DELETE FROM domain_admin")
                sql.execute(
                    "INSERT INTO factor (account_id, kind, name, target, sealed_secret,"
                    " created_at) SELECT id, 'totp', 'phone', '', x'00', 1.0 FROM account"
                )
        self.roll_back()
        for query, found in (
            ("SELECT key FROM account JOIN scram_key ON account_id = account.id", [(BOB,)]),
            ("SELECT count(*) FROM recovery_code WHERE used_at IS NULL", [(0,)]),
            ("SELECT count(*) FROM domain_admin", [(0,)]),
            ("SELECT count(*) FROM factor", [(2,)]),
            ("SELECT count(*) FROM former_password", [(1,)]),
        ):
            self.assertEqual(found, self.rows(path, query), query)

    def test_users_db_may_have_any_name(self) -> None:
        (self.folder / "users.db").rename(self.folder / "people")
        with newer_version():
            Accounts.open(self.folder / "people", data=self.folder / "var").close()
            (done,) = self.run_json("rollback --users people")["rolled_back"]
        self.assertEqual(done["database"], "people")
        self.assertEqual(self.rows(self.folder / "people", "PRAGMA user_version"), [(USERS,)])

    def test_what_root_makes_is_the_node_s(self) -> None:
        given: list[str] = []
        self.patch(os, "geteuid", lambda: 0)
        self.patch(os, "chown", lambda path, *_: given.append(Path(path).name))
        self.upgrade()
        self.assertIn("kept", given)
        self.assertEqual(2, sum("-schema-" in name for name in given))
        given.clear()
        self.file_newer_mail(ALICE)
        self.roll_back()
        self.assertTrue({"mails", "mail.db.part", "users.db.part"} <= set(given))
        self.assertTrue(any(name.endswith(".eml") for name in given))

    def test_mails_that_were_deleted_since_are_told(self) -> None:
        self.upgrade()
        connection = connect(self.mail_db)
        connection.execute("DELETE FROM delivery")
        connection.execute("DELETE FROM message")
        connection.close()
        self.assertEqual(self.roll_back()[0]["deleted_since"], 1)

    def test_a_large_mail_that_was_deleted_since_with_its_blob_is_no_mail_without_a_body(
        self,
    ) -> None:
        large = self.file_mail(ALICE, BOB)
        connection = connect(self.mail_db)
        connection.execute(
            "UPDATE message SET body = NULL, blob_key = ? WHERE mail_id = ?", ("b" * 32, large)
        )
        connection.close()
        self.upgrade()
        connection = connect(self.mail_db)
        connection.execute("DELETE FROM delivery")
        connection.execute("DELETE FROM message")
        connection.close()
        self.assertEqual(self.roll_back()[0]["deleted_since"], 1)
        self.assertEqual(self.rows(self.mail_db, "SELECT mail_id FROM message"), [(self.before,)])
        counted = (
            "SELECT octets - total(size_octets), folder.mails - count(uid)"
            " FROM folder LEFT JOIN delivery ON folder_id = id GROUP BY id"
        )
        self.assertEqual(self.rows(self.mail_db, counted), [(0, 0), (0, 0)])

    def test_it_says_in_words_what_it_did_and_what_comes_next(self) -> None:
        self.upgrade()
        self.file_newer_mail(ALICE)
        with newer_version():
            said = self.run_command("rollback").stdout
        self.assertIn(f"mail.db is back to schema {MAIL}", said)
        self.assertIn("1 mail came since: ", said)
        self.assertIn("install the version of mailnode that ran before", said)

    def test_without_an_upgrade_there_is_nothing_to_go_back_to(self) -> None:
        self.assertIn("there is nothing to go back to", self.refusal("rollback", 65))

    def test_a_node_that_runs_is_75(self) -> None:
        self.upgrade()
        lock = lock_folder(self.folder / "var")
        self.addCleanup(os.close, lock)
        self.assertIn("stop it first", self.refusal("rollback", 75))

    def test_where_no_node_was_is_78(self) -> None:
        self.assertIn("there is no ", self.refusal("rollback --data nowhere", 78))
