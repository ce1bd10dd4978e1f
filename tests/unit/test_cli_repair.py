"""`mailnode repair` says line by line what was kept and what was lost."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from contextlib import closing

from mailnode.addresses import parse_address
from mailnode.model import Envelope, Kept, Message, Remote, new_mail_id
from mailnode.store.accept import accept_mails
from mailnode.store.locks import lock_folder
from mailnode.store.rearranging import Move, move_copies
from mailnode.store.use import make_folders
from tests.unit.cli_case import CommandCase

ALICE, BOB = "alice@example.test", "bob@example.test"
RAW = b"Subject: x\r\n\r\nmarmalade\r\n"


class RepairTests(CommandCase):
    def setUp(self) -> None:
        super().setUp()
        self.make_accounts(ALICE, BOB)
        self.mail_db = self.folder / "var" / "mail.db"
        self.mails = [self.file_mail(ALICE, body=RAW), self.file_mail(ALICE, BOB)]
        self.change("UPDATE message SET digest = ? WHERE id = 1", hashlib.sha256(RAW).digest())
        for message_id, body in self.rows("SELECT id, body FROM message"):
            digest = hashlib.sha256(body).digest()
            self.change("UPDATE message SET digest = ? WHERE id = ?", digest, message_id)

    def change(self, text: str, *values: object) -> None:
        connection = sqlite3.connect(self.mail_db, isolation_level=None)
        connection.execute(text, values)
        connection.close()

    def rows(self, text: str) -> list[tuple]:
        connection = sqlite3.connect(self.mail_db)
        try:
            return connection.execute(text).fetchall()
        finally:
            connection.close()

    def test_a_whole_store_is_left_as_it_is(self) -> None:
        before = self.mail_db.stat().st_ino
        self.assertEqual(self.run_json("repair"), {"kept_in": None, "done": []})
        self.assertEqual(self.mail_db.stat().st_ino, before)
        self.assertIn("nothing to repair", self.run_command("repair").stdout)

    def queue_mail(self, *to: str) -> str:
        """A mail to these, elsewhere, is in the queue; its id."""
        remotes = tuple(Remote(parse_address(each)) for each in to)
        envelope = Envelope(new_mail_id(), None, (), remotes=remotes)
        message = Message(b"Received: x\r\n", RAW, len(RAW), hashlib.sha256(RAW).digest())
        self.write_mail(lambda connection: accept_mails(connection, [(envelope, message)]))
        return envelope.mail_id

    def spoil_pages(self, *more: int) -> None:
        """The schema's page is gone: every row is looked for, and none is led to.

        Args:
            more: pages that are gone, too.
        """
        connection = sqlite3.connect(self.mail_db)
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.close()
        octets = bytearray(self.mail_db.read_bytes())
        octets[100:4096] = bytes(3996)
        for page in more:
            octets[(page - 1) * 4096 : page * 4096] = bytes(4096)
        self.mail_db.write_bytes(octets)

    def test_the_queue_stays_whatever_led_to_its_rows(self) -> None:
        mail_id = self.queue_mail("a@example.com", "b@example.net")
        self.spoil_pages()
        answer = self.run_json("repair")
        self.assertNotIn("lost", {told["kind"] for told in answer["done"]}, answer)
        self.assertEqual(
            self.rows("SELECT recipient, state, mail_id FROM queue ORDER BY id"),
            [("a@example.com", "waiting", mail_id), ("b@example.net", "waiting", mail_id)],
        )
        ((following,),) = self.rows("SELECT next FROM counter WHERE name = 'queue'")
        self.assertGreater(following, 2)
        self.run_command("verify")
        self.assertEqual(len(self.run_json("queue list")), 2)

    def test_a_database_that_is_made_anew_lets_nobody_in_on_the_web(self) -> None:
        self.change("INSERT INTO web_session VALUES (?, 1, 1.0, 1.0, 9e9, '', '', 'c')", b"s" * 32)
        self.run_command(f"token add {ALICE} kept --scope read")
        self.run_command(f"token add {ALICE} revoked --scope read")
        self.run_command("token revoke 2")
        self.spoil_pages()
        answer = self.run_json("repair", exit_code=65)
        told = {each["where"]: each["kind"] for each in answer["done"]}
        self.assertEqual(("mended", "lost"), (told["web_session"], told["token"]))
        for table in ("web_session", "token"):
            self.assertEqual([], self.rows(f"SELECT * FROM {table}"))
        self.run_command(f"token add {ALICE} anew --scope read")
        ((number,),) = self.rows("SELECT id FROM token")
        self.assertGreater(number, 2)

    def test_what_an_index_says_of_drafts_is_taken_for_no_mail_in_a_mailbox(self) -> None:
        # As an entry of an index of copies it would say: mail 3, which is BOB's, lies in folder 1.
        self.file_mail(BOB, body=RAW)
        self.change("UPDATE message SET digest = ? WHERE id = 3", hashlib.sha256(RAW).digest())
        self.change("INSERT INTO draft VALUES (9, 2, 3, 1, 100.5)")
        before = self.rows("SELECT folder_id, uid, message_id FROM delivery ORDER BY 1, 2")
        self.spoil_pages()
        self.run_json("repair")
        after = self.rows("SELECT folder_id, uid, message_id FROM delivery ORDER BY 1, 2")
        self.assertEqual(after, before)
        self.assertEqual(self.rows("SELECT * FROM draft"), [(9, 2, 3, 1, 100.5)])

    def test_a_blob_of_a_draft_is_taken_for_no_body_of_a_mail(self) -> None:
        self.change("DELETE FROM delivery WHERE message_id <> 1")
        key, octets = "ab" * 16, b"a large mail\r\n"
        blob = self.folder / "var" / "blobs" / "ab" / key
        blob.parent.mkdir(parents=True)
        blob.write_bytes(octets)
        self.change("UPDATE message SET body = NULL, blob_key = ? WHERE id = 1", key)
        self.change(f"INSERT INTO upload VALUES (1, 1, 1, '', '', 1, '{'cd' * 16}', '', 1.5)")
        for text in (
            "DROP INDEX message_blob",
            "CREATE TABLE gap (x)",  # so that what uploads say is met first
            "CREATE INDEX message_blob ON message (blob_key) WHERE blob_key IS NOT NULL",
        ):
            self.change(text)
        ((root,),) = self.rows("SELECT rootpage FROM sqlite_schema WHERE name = 'message'")
        self.spoil_pages(root)
        self.run_command("repair")
        self.assertEqual(self.rows("SELECT blob_key, size_octets FROM message WHERE id = 1"),
                         [(key, len(octets))])  # fmt: skip

    def test_a_draft_is_found_where_its_text_lies_whatever_uid_that_gets(self) -> None:
        where = "SELECT folder_id, uid FROM delivery WHERE message_id = 1"
        self.change("INSERT INTO draft VALUES (1, 1, 1, 1, 100.5)")
        self.change("UPDATE message SET body = body || x'21' WHERE id = 1")
        self.run_command("repair")
        self.assertEqual(self.rows("SELECT folder_id, uid FROM draft"), [(1, 3)])
        self.assertEqual(self.rows(where), [(1, 3)])
        self.change("INSERT INTO draft VALUES (2, 1, 1, 1, 100.5)")  # its text is gone
        self.change("UPDATE delivery SET uid = uid + 3000000000 WHERE folder_id = 1")
        self.change("UPDATE draft SET uid = uid + 3000000000 WHERE id = 1")
        self.run_command("repair")
        self.assertEqual(self.rows("SELECT id, folder_id, uid FROM draft"), [(1, 1, 1)])
        self.assertEqual(self.rows(where), [(1, 1)])

    def test_no_number_of_a_draft_or_of_a_file_is_given_again(self) -> None:
        self.change("INSERT INTO draft VALUES (5, 1, 1, 1, 100.5)")
        self.change(f"INSERT INTO upload VALUES (7, 1, 5, '', '', 1, '{'cd' * 16}', '', 1.5)")
        self.change("DELETE FROM draft")
        self.change("DELETE FROM upload")
        self.spoil_pages()
        self.run_command("repair")
        self.change("INSERT INTO draft VALUES (NULL, 1, 1, 1, 1.5)")
        ((number,),) = self.rows("SELECT id FROM draft")
        self.assertGreater(number, 5)
        sequence = self.rows("SELECT seq FROM sqlite_sequence WHERE name = 'upload'")
        self.assertGreaterEqual(sequence[0][0], 7)

    def test_a_queued_mail_whose_octets_changed_is_held(self) -> None:
        self.queue_mail("a@example.com")
        self.change(
            "UPDATE message SET body = CAST(replace(body, 'marmalade', 'marmelade') AS BLOB)"
            " WHERE id = 3"
        )
        self.run_json("repair")
        (row,) = self.run_json("queue list --state held")
        self.assertIn("not the ones that came", row["last_reply"])
        self.run_command("verify")

    def test_a_queued_mail_without_octets_is_lost_and_goes_to_nobody(self) -> None:
        self.queue_mail("a@example.com")
        self.change("UPDATE message SET body = x'' WHERE id = 3")
        answer = self.run_json("repair", exit_code=65)
        (lost,) = [
            told["where"]
            for told in answer["done"]
            if told["kind"] == "lost" and told["what"] == "queue"
        ]
        self.assertEqual(lost, "row 1 to a@example.com")
        self.assertEqual(self.rows("SELECT count(*) FROM queue"), [(0,)])
        self.run_command("verify")

    def test_a_queued_mail_whose_message_is_gone_is_lost_and_told(self) -> None:
        self.queue_mail("a@example.com")
        self.change("DELETE FROM message WHERE id = 3")
        answer = self.run_json("repair", exit_code=65)
        self.assertIn("queue", {told["what"] for told in answer["done"]})
        self.run_command("verify")

    def test_a_row_that_names_another_mail_is_put_right_and_nothing_leaves_on_a_guess(self) -> None:
        first, second = self.queue_mail("a@example.com"), self.queue_mail("b@example.com")
        self.change("UPDATE queue SET message_id = 3 WHERE id = 2")
        self.change("UPDATE queue SET mail_id = 'Z' || substr(mail_id, 2) WHERE id = 1")
        self.run_json("repair")
        self.assertEqual(
            self.rows("SELECT message_id, mail_id, state FROM queue ORDER BY id"),
            [(3, first, "held"), (4, second, "waiting")],
        )
        self.run_command("verify")

    def test_a_row_for_whom_the_mail_was_not_accepted_is_held(self) -> None:
        self.queue_mail("a@example.com", "b@example.com")
        self.change("UPDATE queue SET recipient = 'q@example.com' WHERE id = 1")
        self.spoil_pages()
        self.run_json("repair")
        self.assertEqual(
            self.rows("SELECT recipient, state FROM queue ORDER BY id"),
            [("q@example.com", "held"), ("b@example.com", "waiting")],
        )

    def test_a_changed_body_is_marked_and_gets_a_new_uid(self) -> None:
        self.change(
            "UPDATE message SET body = CAST(replace(body, 'marmalade', 'marmelade') AS BLOB)"
            " WHERE id = 1"
        )
        self.run_command("verify", exit_code=65)
        answer = self.run_json("repair")
        (told,) = [each for each in answer["done"] if each["what"] == "mail"]
        self.assertEqual((told["kind"], told["mail_id"]), ("kept", self.mails[0]))
        self.assertEqual(self.rows("SELECT uid FROM delivery WHERE message_id = 1"), [(3,)])
        ((prefix, body),) = self.rows("SELECT prefix, body FROM message WHERE id = 1")
        self.assertTrue(prefix.startswith(b"X-Mailnode-Damaged: 20"))
        self.assertIn(b"marmelade", body)
        self.assertTrue(os.path.exists(f"{answer['kept_in']}/mail.db"))
        self.run_command("verify")

    def test_a_value_of_another_type_is_named_and_is_what_it_was(self) -> None:
        self.change("UPDATE message SET body = CAST(body AS TEXT) WHERE id = 1")
        self.assertIn("message.body", self.run_command("verify", exit_code=65).stdout)
        self.run_command("repair")
        self.assertEqual(self.rows("SELECT body FROM message WHERE id = 1"), [(RAW,)])
        self.run_command("verify")

    def test_a_text_that_is_none_is_named_and_made_one(self) -> None:
        self.change("UPDATE message SET sender = CAST(x'61ff62' AS TEXT) WHERE id = 1")
        self.assertIn("message.sender", self.run_command("verify", exit_code=65).stdout)
        self.run_command("repair")
        self.assertEqual(self.rows("SELECT sender FROM message WHERE id = 1"), [("a\ufffdb",)])
        self.run_command("verify")

    def test_a_lost_body_becomes_a_note_and_the_exit_code_says_so(self) -> None:
        self.change("UPDATE message SET body = NULL, blob_key = ? WHERE id = 2", "a" * 32)
        said = self.run_command("repair", exit_code=65).stdout
        self.assertIn(f"lost: mail message 2 (mail {self.mails[1]}): from <shop@example.net>", said)
        ((body,),) = self.rows("SELECT body FROM message WHERE id = 2")
        self.assertIn(b"Subject: A mail that was lost: Your order", body)
        self.assertIn(b"shop@example.net", body)
        self.run_command("verify")

    def test_counters_are_right_again(self) -> None:
        self.change("UPDATE folder SET mails = 9, octets = 9, uid_next = 1")
        self.change("UPDATE counter SET next = 1")
        self.run_command("repair")
        self.run_command("verify")
        self.assertEqual(self.rows("SELECT uid_next FROM folder ORDER BY id"), [(3,), (2,)])

    def test_a_mail_without_a_place_goes_back_to_it(self) -> None:
        octets = self.mail_db.read_bytes()
        self.change("DELETE FROM delivery")
        self.change("PRAGMA writable_schema = ON")
        self.mail_db.write_bytes(b"\0" * 100 + self.mail_db.read_bytes()[100:])
        self.assertNotEqual(octets, self.mail_db.read_bytes())
        self.run_command("repair")
        copies = self.rows("SELECT message_id, recipient FROM delivery ORDER BY 1, 2")
        self.assertEqual(copies, [(1, ALICE), (2, ALICE), (2, BOB)])
        self.run_command("verify")

    def lose_copies(self) -> None:
        self.change("DELETE FROM delivery")
        self.mail_db.write_bytes(b"\0" * 100 + self.mail_db.read_bytes()[100:])

    def test_a_mail_without_a_place_goes_back_to_where_it_was_moved_and_nowhere_else(self) -> None:
        ((alice,),) = self.rows("SELECT account_id FROM folder WHERE id = 1")

        def move(connection: sqlite3.Connection) -> None:
            make_folders(connection, alice, ["Archive"])
            for source, uid, target in ((1, 1, 3), (3, 1, 1), (1, 3, 3)):
                move_copies(connection, [Move(alice, source, [uid], target, ALICE, time.time())])

        self.write_mail(move)
        self.lose_copies()
        self.run_command("repair")
        copies = self.rows("SELECT message_id, folder_id, uid, recipient FROM delivery ORDER BY 1")
        self.assertEqual(copies, [(1, 3, 2, ALICE), (2, 1, 2, ALICE), (2, 2, 1, BOB)])
        self.run_command("verify")

    def test_a_copy_that_its_sender_kept_comes_back_as_it_was(self) -> None:
        kept = Envelope(new_mail_id(), None, (), kept=Kept(1, ALICE))
        message = Message(b"Received: x\r\n", RAW, len(RAW), hashlib.sha256(RAW).digest())
        self.write_mail(lambda connection: accept_mails(connection, [(kept, message)]))
        text = "SELECT folder_id, uid, recipient, size_octets FROM delivery WHERE message_id = 3"
        before = self.rows(text)
        self.lose_copies()
        self.run_command("repair")
        self.assertEqual(self.rows(text), before)

    def change_beside_its_index(self, index: str, text: str) -> None:
        """As a flipped bit does: the index knows nothing of it."""
        where = f"WHERE name = '{index}'"
        (row,) = self.rows(f"SELECT type, name, tbl_name, rootpage, sql FROM sqlite_schema {where}")
        for more, values in (
            (f"DELETE FROM sqlite_schema {where}", ()),
            ("INSERT INTO sqlite_schema VALUES (?, ?, ?, ?, ?)", row),
        ):
            connection = sqlite3.connect(self.mail_db, isolation_level=None)
            connection.execute("PRAGMA writable_schema = ON")
            connection.execute(more, values)
            connection.close()
            if not values:
                self.change(text)

    def test_a_copy_that_names_another_mail_gets_its_own_back(self) -> None:
        self.change_beside_its_index(
            "delivery_message", "UPDATE delivery SET message_id = 1 WHERE folder_id = 2"
        )
        self.run_command("verify", exit_code=65)
        self.run_command("repair")
        copies = self.rows("SELECT message_id FROM delivery WHERE folder_id = 2")
        self.assertEqual(copies, [(2,)])
        self.run_command("verify")

    def test_a_folder_whose_name_is_damaged_is_the_inbox_again(self) -> None:
        before = self.rows("SELECT id, account_id, name, uid_next FROM folder")
        ((root,),) = self.rows("SELECT rootpage FROM sqlite_schema WHERE name = 'folder'")
        octets, start = bytearray(self.mail_db.read_bytes()), (root - 1) * 4096
        page = octets[start : start + 4096].replace(b"INBOX", b"ILBOX")
        octets[start : start + 4096] = page
        self.mail_db.write_bytes(octets)
        self.assertNotEqual(self.rows("SELECT id, account_id, name, uid_next FROM folder"), before)
        self.run_command("repair")
        self.assertEqual(self.rows("SELECT id, account_id, name, uid_next FROM folder"), before)

    def test_users_db_gets_its_accounts_back(self) -> None:
        path = self.folder / "users.db"
        octets = path.read_bytes()
        at = octets.index(b"$argon2id$")
        start = at // 4096 * 4096
        path.write_bytes(octets[:start] + bytes(4096) + octets[start + 4096 :])
        self.assertIn("users.db", self.run_command("verify", exit_code=65).stdout)
        said = self.run_command("repair", exit_code=65).stdout
        self.assertIn(f"mailnode user passwd {ALICE}", said)
        self.assertEqual([row["address"] for row in self.run_json("user list")], [ALICE, BOB])
        self.assertEqual([row["mails"] for row in self.run_json("mailbox list")], [2, 1])

    def test_of_a_damaged_users_db_no_key_and_no_right_is_believed(self) -> None:
        path = self.folder / "users.db"
        with closing(sqlite3.connect(path, isolation_level=None)) as users:
            users.execute("INSERT INTO scram_key SELECT id, x'00', 4096, x'01' FROM account")
            users.execute(
                "INSERT INTO factor (account_id, kind, name, target, sealed_secret, created_at)"
                " SELECT id, 'totp', 'phone', '', x'00', 1.0 FROM account"
            )
            users.execute("UPDATE domain SET created_at = 'x'")
        said = self.run_command("repair").stdout
        self.assertIn("made again when its owner signs in by password", said)
        with closing(sqlite3.connect(path)) as users:
            (keys,) = users.execute("SELECT count(*) FROM scram_key").fetchone()
            (factors,) = users.execute("SELECT count(*) FROM factor").fetchone()
        self.assertEqual((0, 2), (keys, factors))

    def test_an_owner_who_only_sent_is_named_by_what_was_kept(self) -> None:
        kept = Envelope(new_mail_id(), None, (), kept=Kept(77, "carol@example.test"))
        message = Message(b"", RAW, len(RAW), hashlib.sha256(RAW).digest())
        self.write_mail(lambda connection: accept_mails(connection, [(kept, message)]))
        with closing(sqlite3.connect(self.folder / "users.db", isolation_level=None)) as users:
            users.execute("UPDATE domain SET created_at = 'x'")
        self.run_command("repair", exit_code=65)
        addresses = [row["address"] for row in self.run_json("user list")]
        self.assertIn("carol@example.test", addresses)

    def test_without_its_mail_db_a_folder_keeps_its_blobs(self) -> None:
        blob = self.folder / "var" / "blobs" / "ab" / ("ab" * 16)
        blob.parent.mkdir(parents=True)
        blob.write_bytes(b"a mail")
        self.mail_db.unlink()
        answer = self.run_json("repair")
        (told,) = [each for each in answer["done"] if each["what"] == "blob"]
        with open(told["where"], "rb") as file:
            self.assertEqual(file.read(), b"a mail")
        self.run_command("verify")

    def test_a_node_that_runs_is_75(self) -> None:
        lock = lock_folder(self.folder / "var")
        self.addCleanup(os.close, lock)
        self.assertIn("stop it first", self.refusal("repair", 75))

    def test_where_no_node_was_is_78(self) -> None:
        self.assertIn("there is no ", self.refusal("repair --data nowhere", 78))
