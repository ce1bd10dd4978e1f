"""`mailnode learn`: mails that somebody has sorted teach, and are taken back."""

from __future__ import annotations

import mailbox
import signal
from pathlib import Path
from typing import Any
from unittest.mock import patch

from mailnode.cli import learning
from mailnode.learning.features import MAIL_OCTETS, likeness_of
from mailnode.learning.form import read_model
from mailnode.learning.model import NODE_BITS, UNWANTED, WANTED, Model
from mailnode.model import DRAFTS, JUNK, SENT, TRASH
from mailnode.store.models import NODE, ModelFiles
from mailnode.store.rearranging import Move, move_copies
from mailnode.store.use import make_folders
from tests.unit.cli_case import CommandCase
from tests.unit.learning_case import BAD, GOOD, mail

CAROL, DAVE = "carol@example.org", "dave@example.org"


def word(number: int) -> str:
    return f"q{chr(97 + number // 26)}{chr(97 + number % 26)}"


def raw(words: list[str], number: int) -> bytes:
    return mail(" ".join([*words, word(number)]))


class LearnCase(CommandCase):
    def setUp(self) -> None:
        super().setUp()
        self.make_accounts(CAROL, DAVE)
        self.files = ModelFiles(self.folder / "var")

    def make_mbox(self, name: str, words: list[str], count: int) -> None:
        box = mailbox.mbox(self.folder / name)
        for number in range(count):
            box.add(raw(words, number))
        box.close()

    def model(self, account_id: int = NODE) -> Model:
        return read_model(self.files.path_of(account_id), NODE_BITS).model

    def taught(self, words: list[str], number: int, account_id: int = NODE) -> str | None:
        return self.model(account_id).taught(likeness_of(raw(words, number)))


class FilesTests(LearnCase):
    def test_an_mbox_teaches_the_node_that_never_ran(self) -> None:
        self.make_mbox("spam", BAD, 12)
        told = self.run_command("learn spam spam").stdout
        self.assertIn("the node learned 12 unwanted mails of 12 that were read", told)
        self.assertEqual((0, 12), self.model().mails)
        self.assertEqual(0o700, (self.folder / "var").stat().st_mode & 0o777)

    def test_a_mail_is_one_lesson_and_changes_sides(self) -> None:
        self.make_mbox("box", BAD, 3)
        self.run_command("learn spam box")
        self.assertEqual(0, self.run_json("learn spam box")["learned"])
        self.assertEqual(3, self.run_json("learn ham box")["learned"])
        self.assertEqual((3, 0), self.model().mails)

    def test_an_account_is_taught_alone(self) -> None:
        self.make_mbox("box", GOOD, 3)
        told = self.run_json(f"learn ham box --account {DAVE}")
        self.assertEqual((DAVE, "wanted", 3), (told["model"], told["label"], told["learned"]))
        (dave,) = self.files.account_ids()
        self.assertEqual((3, 0), self.model(dave).mails)
        self.assertFalse(self.files.path_of(NODE).exists())

    def test_what_was_taught_so_is_taken_back_and_nothing_else(self) -> None:
        self.make_mbox("box", BAD, 4)
        self.run_command("learn spam box")
        self.assertEqual(0, self.run_json("learn ham box --forget")["learned"])
        told = self.run_command("learn spam box --forget").stdout
        self.assertIn("the node forgot 4 unwanted mails of 4", told)
        self.assertEqual((0, 0), self.model().mails)

    def test_lessons_are_counted_and_those_that_are_taken_back(self) -> None:
        self.make_mbox("box", BAD, 4)
        self.run_command("learn spam box")
        self.run_command("learn spam box")
        self.run_command(f"learn ham box --account {DAVE}")
        self.run_command("learn spam box --forget")
        told = {("command", UNWANTED): 4, ("command", WANTED): 4, ("forgotten", UNWANTED): 4}
        self.assertEqual(told, self.files.counted().lessons)

    def test_eml_files_and_maildirs_are_read_too(self) -> None:
        (self.folder / "a.eml").write_bytes(raw(BAD, 1))
        box = mailbox.Maildir(self.folder / "md")
        box.add(raw(BAD, 2))
        told = self.run_json("learn spam a.eml md")
        self.assertEqual((2, 2), (told["read"], told["learned"]))

    def test_of_a_large_mail_what_is_judged_is_learned(self) -> None:
        large = raw(BAD, 1) + b"x\r\n" * MAIL_OCTETS
        (self.folder / "a.eml").write_bytes(large)
        self.run_command("learn spam a.eml")
        self.assertEqual(UNWANTED, self.model().taught(likeness_of(large)))

    def test_many_mails_are_learned_in_pieces(self) -> None:
        self.make_mbox("box", BAD, 7)
        with patch.object(learning, "AT_ONCE", 3):
            self.assertEqual(7, self.run_json("learn spam box")["learned"])

    def test_what_ends_early_has_learned_what_it_read(self) -> None:
        self.make_mbox("box", BAD, 7)
        made = likeness_of

        def asked_to_end(octets: bytes) -> Any:
            if word(3).encode() in octets:
                signal.raise_signal(signal.SIGTERM)
            return made(octets)

        with patch.object(learning, "likeness_of", asked_to_end):
            self.assertIn(
                "run it again to go on", self.run_command("learn spam box", "", 130).stderr
            )
        self.assertEqual((0, 4), self.model().mails)

    def test_what_can_t_be_read_is_told(self) -> None:
        self.assertIn("no.mbox", self.refusal("learn spam no.mbox", 66))
        Path("text").write_text("no mail")
        self.assertIn("it begins with no From line", self.refusal("learn spam text", 65))
        Path("empty.eml").touch()
        told = self.run_command("learn spam empty.eml --format eml", "", 65).stdout
        self.assertIn("not read: 1", told)
        self.assertIn(
            "nobody@example.org", self.refusal("learn ham text --account nobody@example.org", 67)
        )


class FoldersTests(LearnCase):
    def file(self, words: list[str], number: int, folder: str, *mailboxes: str) -> None:
        mail_id = self.file_mail(*mailboxes, body=raw(words, number))
        if folder != "INBOX":
            self.write_mail(lambda connection: self.move(connection, mail_id, folder))

    def move(self, connection: Any, mail_id: str, folder: str) -> None:
        copies = connection.execute(
            "SELECT f.account_id, f.id, d.uid FROM delivery AS d JOIN folder AS f"
            " ON f.id = d.folder_id JOIN message AS m ON m.id = d.message_id WHERE m.mail_id = ?",
            (mail_id,),
        ).fetchall()
        for account_id, folder_id, uid in copies:
            make_folders(connection, account_id, [folder])
            (target,) = connection.execute(
                "SELECT id FROM folder WHERE account_id = ? AND name = ?", (account_id, folder)
            ).fetchone()
            move_copies(connection, [Move(account_id, folder_id, [uid], target, CAROL, 1.0)])

    def fill(self) -> None:
        self.file(GOOD, 1, "INBOX", CAROL)
        self.file(GOOD, 2, "Friends", CAROL)
        self.file(BAD, 3, JUNK, CAROL)
        for number, folder in enumerate((TRASH, DRAFTS, SENT), 4):
            self.file(GOOD, number, folder, CAROL)
        self.file(BAD, 7, JUNK, DAVE)

    def test_where_mail_lies_says_what_it_is(self) -> None:
        self.fill()
        told = self.run_command(f"learn --from-folders {CAROL}").stdout
        self.assertIn(f"{CAROL}: 2 wanted mails and 1 unwanted mail", told)
        (carol,) = self.files.account_ids()
        for account_id in (NODE, carol):
            self.assertEqual((2, 1), self.model(account_id).mails)
            self.assertEqual(UNWANTED, self.taught(BAD, 3, account_id))
            self.assertEqual(WANTED, self.taught(GOOD, 2, account_id))

    def test_without_an_address_all_accounts_teach(self) -> None:
        self.fill()
        rows = self.run_json("learn --from-folders")
        self.assertEqual([(CAROL, 2, 1), (DAVE, 0, 1)], [tuple(r.values())[:3] for r in rows])
        self.assertEqual((2, 2), self.model().mails)
        self.assertEqual(2, len(self.files.account_ids()))

    def test_a_mistake_in_what_is_asked_is_told(self) -> None:
        self.fill()
        self.assertIn("spam, ham, show", self.refusal("learn --data var", 64))
        self.assertIn("stands without show", self.refusal("learn --from-folders= show", 64))


class ShowTests(LearnCase):
    def test_it_counts_the_lessons_of_each_model(self) -> None:
        self.assertIn("nothing was learned so far", self.run_command("learn show").stdout)
        self.make_mbox("bad", BAD, 10)
        self.make_mbox("good", GOOD, 10)
        self.run_command("learn spam bad")
        self.run_command("learn ham good")
        self.run_command(f"learn ham good --account {CAROL}")
        node, carol = self.run_json("learn show")
        self.assertEqual(("node", 10, 10, True), tuple(node.values())[:4])
        self.assertEqual((CAROL, 10, 0, False), tuple(carol.values())[:4])
        told = self.run_command("learn show").stdout
        self.assertIn("judges from 10 of each on", told)

    def test_that_it_is_switched_off_is_told(self) -> None:
        self.make_mbox("bad", BAD, 1)
        Path("off.toml").write_text("[learning]\nenabled = false\n")
        told = self.run_command("learn spam bad --config off.toml").stdout
        self.assertIn("learning.enabled is false: nothing is judged by it", told)

    def test_a_file_that_is_no_model_is_left_out(self) -> None:
        self.make_mbox("bad", BAD, 1)
        self.run_command("learn spam bad")
        (self.files.folder / "7.model").write_bytes(b"nonsense")
        self.assertEqual(["node"], [each["model"] for each in self.run_json("learn show")])

    def test_what_was_learned_is_in_a_backup(self) -> None:
        self.file_mail(CAROL)
        self.make_mbox("bad", BAD, 2)
        self.run_command("learn spam bad")
        self.run_command("backup kept")
        self.run_command("restore kept --to other")
        there = ModelFiles(self.folder / "other" / "var").path_of(NODE)
        self.assertEqual(self.files.path_of(NODE).read_bytes(), there.read_bytes())
