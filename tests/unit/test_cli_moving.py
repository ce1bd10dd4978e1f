"""`mailnode import` and `mailnode export`: what people ask of them, and what they are told."""

from __future__ import annotations

import contextlib
import hashlib
import mailbox
import os
import signal
import sqlite3
import zipfile
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

from mailnode.cli import exporting, following, importing
from mailnode.cred.passwords import password_matches
from mailnode.portability.mbox import MboxReader
from mailnode.portability.shelf import STATE, Shelf
from mailnode.store import spooling
from mailnode.store.accounts import Accounts
from mailnode.store.locks import writing_blobs
from tests.unit.cli_case import CommandCase

CAROL, DAVE = "carol@example.org", "dave@example.org"
PLACES = {"mbox": "a.mbox", "maildir": "md", "eml": "tree", "zip": "a.zip"}
FROM = b"From shop@example.net Mon Jan  1 12:30:00 2024\n"


def mbox(*numbers: int) -> bytes:
    return b"".join(FROM + b"Subject: mail %d\n\nbody\n\n" % number for number in numbers)


class MovingCase(CommandCase):
    def setUp(self) -> None:
        super().setUp()
        self.make_accounts(CAROL, DAVE)

    def write(self, name: str, octets: bytes) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(octets)

    def subjects(self, name: str = CAROL) -> list[str]:
        return [each["subject"] for each in self.run_json(f"mailbox show {name} --limit 0")][::-1]

    @contextlib.contextmanager
    def users(self) -> Iterator[Accounts]:
        accounts = Accounts.open(self.folder / "users.db")
        try:
            yield accounts
        finally:
            accounts.close()

    def mend_digests(self, from_id: int = 1) -> None:
        """What `file_mail` files has none."""
        connection = sqlite3.connect(self.folder / "var" / "mail.db")
        for number, body in connection.execute("SELECT id, body FROM message").fetchall():
            if number >= from_id:
                digest = hashlib.sha256(body).digest()
                connection.execute("UPDATE message SET digest = ? WHERE id = ?", (digest, number))
        connection.commit()
        connection.close()


class ImportTests(MovingCase):
    def test_an_mbox_comes_into_a_node_that_never_ran_and_once(self) -> None:
        self.write("box", mbox(1, 2, 3))
        told = self.run_command(f"import box --to {CAROL}").stdout
        self.assertIn("box is taken as mbox", told)
        self.assertIn(f"3 mails, 75 B, came to {CAROL}", told)
        self.assertEqual(sorted(self.subjects()), ["mail 1", "mail 2", "mail 3"])
        self.write("box", mbox(3, 4))
        told = self.run_command(f"import box --to {CAROL}").stdout
        self.assertIn("1 mail lay there already", told)
        self.assertEqual(len(self.subjects()), 4)
        self.run_command("verify")

    def test_a_dry_run_counts_and_writes_nothing(self) -> None:
        self.write("box", mbox(1, 2, 2))
        told = self.run_json(f"import box --to {CAROL} --dry-run")
        self.assertEqual((told["filed"], told["already_there"], told["format"]), (2, 1, "mbox"))
        self.assertFalse((self.folder / "var" / "mail.db").exists())

    def test_what_can_not_be_taken_is_listed_at_the_end(self) -> None:
        self.write("tree/1.eml", b"")
        self.write("tree/2.eml", b"Subject: two\r\n\r\n")
        told = self.run_command(f"import tree --to {CAROL}", exit_code=65).stdout
        self.assertIn("not taken: 1\n  1.eml: it is empty\n", told)
        self.assertEqual(self.subjects(), ["two"])

    def test_folders_come_into_the_inbox_but_for_what_was_thrown_away(self) -> None:
        for name in ("cur/1:2,", ".Sent/cur/2:2,", ".Trash/cur/3:2,", ".Lists.Spam/cur/4:2,"):
            self.write(f"md/{name}", b"Subject: %s\r\n\r\n" % name[:5].encode())
            self.write(f"md/{name.rpartition('cur')[0]}new/.keep", b"")
        told = self.run_command(f"import md --to {CAROL}").stdout
        self.assertIn("of other folders, into INBOX: Sent 1\n", told)
        self.assertIn("left out: Lists.Spam 1, Trash 1; --folders all brings them", told)
        self.assertEqual(len(self.subjects()), 2)
        self.assertEqual(self.run_json(f"import md --to {CAROL} --folders all")["filed"], 2)
        self.assertEqual(self.run_json(f"import md --to {DAVE} --folders none")["filed"], 1)
        self.assertEqual(self.run_json(f"import md --to {DAVE} --folders keep")["filed"], 3)
        rows = self.run_json(f"mailbox show {DAVE}")
        self.assertEqual({row["folder"] for row in rows}, {"INBOX", "Sent", "Trash", "Lists.Spam"})
        self.run_command(f"export {DAVE} --to out --format maildir")
        self.assertTrue((self.folder / "out" / ".Lists.Spam" / "cur").is_dir())
        self.run_command(f"export {DAVE} --to dave.mbox")
        self.assertEqual(len(mailbox.mbox(self.folder / "dave.Sent.mbox")), 1)

    def test_a_full_mailbox_stops_it_and_more_room_lets_it_go_on(self) -> None:
        self.run_command(f"user quota {CAROL} --quota-mails 2")
        self.write("box", mbox(1, 2, 3, 4))
        result = self.run_command(f"import box --to {CAROL}", exit_code=65)
        self.assertIn(f"2 mails, 50 B, came to {CAROL}", result.stdout)
        self.assertIn("the mailbox of carol@example.org is full", result.stderr)
        told = self.run_json(f"import box --to {CAROL} --over-quota")
        self.assertEqual((told["filed"], told["already_there"]), (2, 2))

    def test_a_disk_that_is_nearly_full_is_one_clear_line(self) -> None:
        self.write("box", mbox(1))
        with patch.dict("os.environ", MAILNODE_STORE__FREE_SPACE="900000 GiB"):
            result = self.run_command(f"import box --to {CAROL}", exit_code=75)
        self.assertIn("mailnode: The disk is nearly full", result.stderr)
        self.assertIn("0 mails", result.stdout)

    def test_interrupted_it_keeps_what_it_read_and_goes_on_later(self) -> None:
        self.write("box", mbox(*range(600)))
        real = importing.Import._take

        def take(work, letter, account):
            if letter.subject == "mail 300":
                signal.raise_signal(signal.SIGINT)
            real(work, letter, account)

        with patch.object(importing.Import, "_take", take):
            result = self.run_command(f"import box --to {CAROL}", exit_code=130)
        self.assertIn("301 mails", result.stdout)
        self.assertIn("it was interrupted; run it again to go on", result.stderr)
        self.assertEqual(self.run_json(f"import box --to {CAROL}")["filed"], 299)

    def test_a_second_signal_cuts_it_off_and_what_was_committed_stays(self) -> None:
        self.write("box", mbox(*range(600)))
        real = importing.Import._take

        def take(work: Any, letter: Any, account: Any) -> None:
            if letter.subject == "mail 300":
                for _ in range(2):
                    signal.raise_signal(signal.SIGINT)
            real(work, letter, account)

        with patch.object(importing.Import, "_take", take):
            self.assertIn("cut off", self.refusal(f"import box --to {CAROL} --json", 130))
        self.assertEqual(len(self.subjects()), 256)
        self.assertEqual(self.run_json(f"import box --to {CAROL}")["filed"], 344)
        self.run_command("verify")

    def test_a_source_that_can_not_be_read_on_is_named_and_the_rest_is_kept(self) -> None:
        self.write("box", mbox(1, 2))
        real = MboxReader._mails

        def mails(reader: MboxReader) -> Iterator[Any]:
            yield next(real(reader))
            raise OSError(5, "Input/output error")

        with patch.object(MboxReader, "_mails", mails):
            told = self.run_command(f"import box --to {CAROL}", exit_code=65).stdout
        self.assertIn("Input/output error: what follows can't be read", told)
        self.assertEqual(self.subjects(), ["mail 1"])

    def test_a_disk_that_fails_beneath_the_store_is_no_fault_of_the_source(self) -> None:
        """Nothing may be deleted at a POP3 server then: what was read is not here."""
        self.write("box", mbox(1, 2))
        with patch.object(spooling.os, "statvfs", side_effect=OSError(5, "Input/output error")):
            result = self.run_command(f"import box --to {CAROL}", exit_code=69)
        self.assertIn(
            "mailnode: the store has a fault: [Errno 5] Input/output error", result.stderr
        )
        self.assertNotIn("can't be read", result.stdout)

    def test_names_in_an_older_charset_are_told_and_become_folders_all_the_same(self) -> None:
        for name in (b"cur/1.\xe9:2,S", b"cur/2.\xff:2,", b".Entw\xfcrfe/cur/3:2,"):
            octets = b"" if b"\xff" in name else b"Subject: %d\r\n\r\n" % len(name)
            self.write(f"md/{os.fsdecode(name)}", octets)
            self.write(f"md/{os.fsdecode(name.rpartition(b'cur')[0])}new/.keep", b"")
        told = self.run_command(f"import md --to {CAROL} --folders keep", exit_code=65).stdout
        self.assertIn("Entw\N{REPLACEMENT CHARACTER}rfe 1", told)
        self.assertIn("cur/2.\N{REPLACEMENT CHARACTER}:2,: it is empty", told)
        folders = {row["folder"] for row in self.run_json(f"mailbox show {CAROL}")}
        self.assertEqual(folders, {"INBOX", "Entw\N{REPLACEMENT CHARACTER}rfe"})

    def test_an_empty_mailbox_that_was_exported_is_taken_without_a_word_of_its_format(self) -> None:
        self.write("box", mbox(1))
        self.run_command(f"import box --to {CAROL}")
        self.run_command(f"export {DAVE} --to empty.mbox")
        self.assertEqual((self.folder / "empty.mbox").read_bytes(), b"")
        told = self.run_command(f"import empty.mbox --to {DAVE}").stdout
        self.assertIn("empty.mbox is taken as mbox\n0 mails", told)
        self.assertIn("there was no mail in it", told)
        self.write("boxes/Sent.mbox", b"")
        self.assertEqual(self.run_json(f"import boxes --to {DAVE}")["filed"], 0)
        self.write("what", b"")
        self.assertIn("it is empty; --format says", self.refusal(f"import what --to {DAVE}", 65))
        self.run_command(f"import what --to {DAVE} --format mbox")

    def test_from_lines_that_part_no_mails_are_told_at_the_end(self) -> None:
        self.write("box", mbox(1).removesuffix(b"\n") + mbox(2, 3))
        told = self.run_command(f"import box --to {CAROL}").stdout
        self.assertIn("2 mails", told)
        self.assertIn("but for a blank line before them: 1; they are text of the mails", told)
        self.assertIn("the first in box at octet 0", told)
        self.assertEqual(self.run_json(f"import box --to {DAVE}")["unparted_from_lines"], 1)

    def test_mistakes_name_their_mend(self) -> None:
        self.write("box", mbox(1))
        self.write("what", b"hello")
        self.assertIn("--to ADDRESS", self.refusal("import box", 64))
        self.assertIn("no account", self.refusal("import box --to eve@example.org", 67))
        self.assertIn("--format says", self.refusal(f"import what --to {CAROL}", 65))
        self.assertIn("No such file", self.refusal(f"import gone --to {CAROL}", 66))
        self.assertIn("goes with", self.refusal(f"import box --to {CAROL} --domain x", 64))
        self.assertIn("go with pop3s://", self.refusal(f"import box --to {CAROL} --delete", 64))
        for source in ("pop3s://host", "pop3://a:b@host", "pop3s://@host"):
            told = self.refusal(f"import {source} --to {CAROL}", 64)
            self.assertIn("://USER@HOST names a mailbox elsewhere", told)

    def test_repair_waits_for_it(self) -> None:
        self.file_mail(CAROL)
        with writing_blobs(self.folder / "var"):
            self.assertIn("an import into", self.refusal("repair", 75))
        self.run_command("repair")

    def test_trace_tells_of_it(self) -> None:
        self.write("box", mbox(1))
        self.run_command(f"import box --to {CAROL}")
        told = self.run_command(f"trace --to {CAROL}").stdout
        self.assertIn("imported into the mailbox of carol@example.org as uid 1", told)
        self.assertIn("it lay in box at octet 0", told)


class SystemTests(MovingCase):
    def setUp(self) -> None:
        super().setUp()
        self.write(
            "old/userinfo.txt", b"ann correct horse\nben short\ncarol other words\nnobody\na@b c\n"
        )
        for name in ("ann", "ben", "carol"):
            self.write(
                f"old/USERS/{name}/my_mailbox.txt",
                b"From: x\nSubject: to %s\nhi\n.\n" % name.encode(),
            )

    def test_people_are_told_which_accounts_the_first_ten_of_them(self) -> None:
        told = self.run_command("import old --dry-run", exit_code=65).stdout
        self.assertIn(
            "accounts would be made: 3 (ann@example.org, ben@example.org, nobody@example.org)", told
        )
        self.write("old/userinfo.txt", b"".join(b"u%d good passphrase\n" % n for n in range(12)))
        told = self.run_command("import old", exit_code=65).stdout
        self.assertIn("accounts made: 12 (u0@example.org, ", told)
        self.assertIn("u9@example.org, and 2 more)", told)

    def test_users_get_accounts_with_their_passwords_and_all_their_mail(self) -> None:
        told = self.run_json("import old", exit_code=65)
        self.assertEqual(told["filed"], 3)
        self.assertEqual(
            told["accounts"]["made"], ["ann@example.org", "ben@example.org", "nobody@example.org"]
        )
        self.assertEqual(told["accounts"]["kept"], [CAROL])
        self.assertEqual(told["accounts"]["weak_passwords"], ["ben@example.org"])
        self.assertEqual(
            [each["where"] for each in told["accounts"]["unusable"]], ["nobody@example.org", "a@b"]
        )
        for name in ("ann@example.org", "ben@example.org", CAROL):
            self.assertEqual(self.subjects(name), [f"to {name.partition('@')[0]}"])
        with self.users() as accounts:
            self.assertTrue(accounts.account("ann").password_hash.startswith("$argon2id$"))
            self.assertTrue(
                password_matches(accounts.account("ann").password_hash, "correct horse")
            )
            self.assertTrue(password_matches(accounts.account("ben").password_hash, "short"))
            self.assertFalse(
                password_matches(accounts.account("carol").password_hash, "other words")
            )
            self.assertEqual(accounts.account("nobody").password_hash, "")
        again = self.run_json("import old", exit_code=65)
        self.assertEqual(
            (again["filed"], again["already_there"], again["accounts"]["made"]), (0, 3, [])
        )

    def test_what_one_user_has_is_not_kept_in_memory_for_the_next(self) -> None:
        real, kept = importing.Import.take, list[int]()

        def take(work: importing.Import, *args: Any) -> bool:
            kept.append(len(work._filings))
            return real(work, *args)

        with patch.object(importing.Import, "take", take):
            self.assertEqual(self.run_json("import old", exit_code=65)["filed"], 3)
        self.assertEqual(kept, [0, 0, 0])

    def test_a_dry_run_makes_nobody(self) -> None:
        told = self.run_json("import old --dry-run", exit_code=65)
        self.assertEqual((told["filed"], len(told["accounts"]["made"])), (3, 3))
        with self.users() as accounts:
            self.assertEqual(len(accounts.accounts()), 2)

    def test_the_domain_is_chosen_and_must_be_here(self) -> None:
        self.assertIn("mailnode domain add", self.refusal("import old --domain other.example", 67))
        self.run_command("domain add other.example")
        told = self.run_json("import old --domain other.example", exit_code=65)
        self.assertIn("carol@other.example", told["accounts"]["made"])

    def test_it_says_itself_whose_mail_it_is(self) -> None:
        self.assertIn("leave --to out", self.refusal(f"import old --to {CAROL}", 64))

    def test_people_are_told_of_weak_and_unusable_ones(self) -> None:
        told = self.run_command("import old", exit_code=65).stdout
        for words in (
            "accounts made: 3",
            "stay as they are: carol@example.org",
            "weak passwords, kept",
            "a@b: ",
        ):
            self.assertIn(words, told)


class ExportTests(MovingCase):
    def setUp(self) -> None:
        super().setUp()
        self.write("box", mbox(1, 2))
        self.run_command(f"import box --to {CAROL}")

    def test_an_mbox_comes_out_as_it_went_in(self) -> None:
        told = self.run_command(f"export {CAROL} --to out.mbox").stdout
        self.assertIn("2 mails of 1 account", told)
        self.assertEqual((self.folder / "out.mbox").read_bytes(), mbox(1, 2))
        self.assertIn("--force", self.refusal(f"export {CAROL} --to out.mbox", 73))
        self.run_command(f"export {CAROL} --to out.mbox --force")

    def test_mail_that_was_delivered_comes_out_as_it_is_served_and_is_known_when_it_returns(
        self,
    ) -> None:
        self.file_mail(DAVE, body=b"Subject: x\r\n\r\nhello\r\n")
        self.mend_digests()
        self.run_command(f"export {DAVE} --to dave --format eml")
        (path,) = (self.folder / "dave" / DAVE).iterdir()
        self.assertEqual(
            path.read_bytes(),
            b"Return-Path: <shop@example.net>\r\nDelivered-To: dave@example.org\r\n"
            b"Received: here\r\nSubject: x\r\n\r\nhello\r\n",
        )
        self.assertEqual(self.run_json(f"import dave --to {DAVE}")["already_there"], 1)

    def test_each_account_has_a_place_of_its_own(self) -> None:
        self.write("box", mbox(3))
        self.run_command(f"import box --to {DAVE}")
        self.run_command("export --all --to boxes")
        self.assertEqual(len(mailbox.mbox(self.folder / "boxes" / f"{CAROL}.mbox")), 2)
        self.assertEqual(len(mailbox.mbox(self.folder / "boxes" / f"{DAVE}.mbox")), 1)
        self.run_command("export --all --to all.zip")
        with zipfile.ZipFile(self.folder / "all.zip") as archive:
            self.assertEqual(
                sorted(archive.namelist()),
                [f"{CAROL}/mail 1.eml", f"{CAROL}/mail 2.eml", f"{DAVE}/mail 3.eml"],
            )
        for _ in range(2):
            told = self.run_json("export --all --to dirs --format maildir")
        self.assertEqual((told["mails"], told["new"]), (3, 0))
        self.assertEqual(len(mailbox.Maildir(self.folder / "dirs" / CAROL)), 2)

    def test_names_in_a_zip_are_given_once(self) -> None:
        for subject in ("x", "x (2)", "x", "x", "x (2)"):
            self.file_mail(DAVE, subject=subject)
        self.mend_digests()
        self.run_command(f"export {DAVE} --to dave.zip")
        with zipfile.ZipFile(self.folder / "dave.zip") as archive:
            self.assertEqual(len(set(archive.namelist())), 5)

    def test_every_form_comes_back_as_it_was(self) -> None:
        for form, name in PLACES.items():
            self.run_command(f"export {CAROL} --to {name} --format {form}")
            told = self.run_json(f"import {name} --to {CAROL}")
            self.assertEqual((told["filed"], told["already_there"]), (0, 2), form)

    def test_what_is_damaged_is_left_out_and_named(self) -> None:
        connection = sqlite3.connect(self.folder / "var" / "mail.db")
        connection.execute("UPDATE message SET body = x'41' WHERE id = 1")
        connection.commit()
        connection.close()
        for form, name in PLACES.items():
            told = self.run_command(f"export {CAROL} --to {name} --format {form}", exit_code=65)
            self.assertIn("not exported: 1\n  carol@example.org, INBOX uid 1 (mail 01", told.stdout)
        self.assertEqual(len(mailbox.mbox(self.folder / "a.mbox")), 1)

    def test_mistakes_name_their_mend(self) -> None:
        self.assertIn("--follow", self.refusal(f"export {CAROL}", 64))
        self.assertIn("--all", self.refusal("export --to x", 64))
        self.assertIn("no account", self.refusal("export eve@example.org --to x", 67))
        self.write("full/x", b"")
        self.assertIn("no Maildir", self.refusal(f"export {CAROL} --to full --format maildir", 73))
        self.assertIn(".eml", self.refusal(f"export {CAROL} --follow x --format mbox", 64))
        self.write("file", b"")
        for place in ("nope", "file"):
            for name in ("x.mbox", "x.zip"):
                told = self.refusal(f"export {CAROL} --to {place}/{name}", 73)
                self.assertIn(f"there is no folder {place}: make it", told)
        told = self.refusal(f"export {CAROL} --to full --force --format mbox", 73)
        self.assertIn("full is a folder: name a file in it", told)

    def test_interrupted_it_leaves_no_half_file(self) -> None:
        real = exporting.write_mbox_mail

        def write(*args: Any) -> None:
            real(*args)
            signal.raise_signal(signal.SIGINT)

        with patch.object(exporting, "write_mbox_mail", write):
            self.refusal(f"export {CAROL} --to out.mbox", 130)
        self.assertEqual([path.name for path in self.folder.glob("*out.mbox*")], [])


class FollowTests(MovingCase):
    def follow(self, then: Callable[[], Iterator[None]], whom: str = CAROL) -> str:
        """Follow; `then` is gone on with at each look, and its end is SIGTERM."""
        steps = then()

        def sleep(seconds: float) -> None:
            if next(steps, "end") == "end":
                signal.raise_signal(signal.SIGTERM)

        with patch.object(following.time, "sleep", sleep):
            return self.run_command(f"export {whom} --follow out").stdout

    def files(self, name: str = CAROL) -> list[str]:
        return sorted(path.name for path in (self.folder / "out" / name).iterdir())

    def test_mail_becomes_files_as_it_comes_and_after_the_end_it_goes_on(self) -> None:
        self.file_mail(CAROL, subject="one")
        self.mend_digests()

        def then() -> Iterator[None]:
            self.assertEqual(self.files(), ["one.eml"])
            self.file_mail(CAROL, subject="two")
            self.mend_digests()
            yield
            self.assertEqual(self.files(), ["one.eml", "two.eml"])

        told = self.follow(then)
        self.assertIn("1 mail into out/carol@example.org", told)
        self.assertIn("is up to date; what comes is added", told)
        self.assertIn("ended; out is up to date to here", told)
        self.file_mail(CAROL, subject="two")
        self.mend_digests()
        self.follow(lambda: iter(()))
        self.assertEqual(self.files(), ["one.eml", "two (2).eml", "two.eml"])

    def test_what_is_deleted_stays_a_file(self) -> None:
        self.file_mail(CAROL, subject="one")
        self.mend_digests()

        def then() -> Iterator[None]:
            self.write_mail(lambda connection: connection.execute("DELETE FROM delivery"))
            yield

        self.follow(then)
        self.assertEqual(self.files(), ["one.eml"])

    def test_accounts_that_come_later_are_everybodys(self) -> None:
        self.file_mail(CAROL, subject="one")
        self.mend_digests()

        def then() -> Iterator[None]:
            self.make_accounts("eve@example.org")
            self.file_mail("eve@example.org", subject="hers")
            self.mend_digests()
            yield
            self.assertEqual(self.files("eve@example.org"), ["hers.eml"])

        with patch.object(following, "ACCOUNTS_S", 0.0):
            self.follow(then, "--all")

    def test_a_damaged_mail_is_told_and_the_next_ones_come(self) -> None:
        self.file_mail(CAROL, subject="bad")

        def then() -> Iterator[None]:
            self.file_mail(CAROL, subject="good", body=b"A: 1\r\n\r\n")
            self.mend_digests(2)
            yield

        self.assertIn("not exported: INBOX uid 1", self.follow(then))
        self.assertEqual(self.files(), ["good.eml"])

    def test_a_large_mail_that_is_deleted_while_it_is_read_does_not_end_it(self) -> None:
        self.write("box", FROM + b"Subject: large\n\n" + b"x\n" * 300_000 + b"\n" + mbox(1))
        self.run_command(f"import box --to {CAROL}")
        real = Shelf.put

        def put(shelf: Shelf, items: Any) -> int:
            for blob in (self.folder / "var").glob("blobs/*/*"):
                blob.unlink()
                self.write_mail(
                    lambda connection: connection.execute("DELETE FROM delivery WHERE uid = 1")
                )
            return real(shelf, items)

        with patch.object(Shelf, "put", put):
            self.assertIn("up to date", self.follow(lambda: iter([None])))
        self.assertEqual(self.files(), ["mail 1.eml"])

    def test_a_folder_of_somebodys_state_is_refused_in_one_line(self) -> None:
        self.file_mail(CAROL)
        self.write(f"out/{STATE}", b"{")
        self.assertIn("is damaged; delete it", self.refusal(f"export {CAROL} --follow out", 73))
