"""Maildirs, .eml, zips and plain text are read as they are found; names of files are safe."""

from __future__ import annotations

import fcntl
import hashlib
import mailbox
import os
import time
import zipfile
from pathlib import Path
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

from mailnode.model import DRAFT, FLAGGED, SEEN
from mailnode.portability import deposits
from mailnode.portability.archive import ZipReader, ZipWriter
from mailnode.portability.deposits import DepositError, FileInMaking, MaildirWriter
from mailnode.portability.files import EmlReader, MaildirReader, flag_letters, flags_of
from mailnode.portability.letter import Letter, Lost, gather
from mailnode.portability.plaintext import PlaintextReader, User, read_time, read_users
from mailnode.portability.sources import Unknown, guess_format, open_source
from tests.unit.test_portability_mbox import FROM, Memory

MAIL = b"Subject: x\r\nDate: Mon, 1 Jan 2024 12:30:00 +0000\r\n\r\nbody\r\n"
AT = 1704112200.0


class FolderCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def write(self, name: str, octets: bytes = MAIL, at: float | None = None) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(octets)
        if at is not None:
            os.utime(path, (at, at))
        return path


class LetterTests(SynchronousTestCase):
    def test_lf_becomes_crlf_and_a_last_line_gets_an_end(self) -> None:
        for octets, read in (
            (b"A: 1\n\nb", b"A: 1\r\n\r\nb\r\n"),
            (b"A: 1\r\n\r\nb\r\n", b"A: 1\r\n\r\nb\r\n"),
            (b"A: 1\r\n\nb\rc\n", b"A: 1\r\n\r\nb\rc\r\n"),
        ):
            letter = gather(octets, "here")
            assert isinstance(letter, Letter)
            self.assertEqual(letter.octets, read)
            self.assertEqual(letter.digests, (hashlib.sha256(read).digest(),))

    def test_lines_that_begin_with_a_dot_are_counted(self) -> None:
        letter = gather(b"A: 1\n\n.\n.b\nc.\n", "here")
        assert isinstance(letter, Letter)
        self.assertEqual(letter.dot_lines, 2)

    def test_when_it_came_is_told_by_received_else_by_date(self) -> None:
        received = b"Received: from x\r\n\tby y; Mon, 1 Jan 2024 13:30:00 +0000\r\n"
        for octets, at in ((MAIL, AT), (received + MAIL, AT + 3600), (b"Date: no\n\nx", None)):
            letter = gather(octets, "here")
            assert isinstance(letter, Letter)
            self.assertEqual(letter.received_at, at)

    def test_what_a_mailnode_served_is_known_by_what_came_to_that_node(self) -> None:
        front = b"Return-Path: <a@b.example>\r\nDelivered-To: c@d.example\r\n"
        ours = b"Received: from x\r\n\tby y; z\r\nAuthentication-Results: y; spf=pass\r\n"
        letter = gather(front + ours + MAIL, "here")
        assert isinstance(letter, Letter)
        self.assertIn(hashlib.sha256(MAIL).digest(), letter.digests)
        self.assertEqual(letter.sender, "a@b.example")

    def test_a_mail_of_nothing_is_lost(self) -> None:
        self.assertEqual(gather(b"", "here"), Lost("here", "it is empty"))


class MaildirTests(FolderCase):
    def read(self) -> list[Letter | Lost]:
        return list(MaildirReader(self.folder, Memory))

    def make(self) -> None:
        for part in ("cur", "new", "tmp"):
            (self.folder / part).mkdir()

    def test_flags_times_and_folders_are_kept_and_tmp_is_left_alone(self) -> None:
        self.make()
        self.write("cur/1700000001.a.host:2,FS", at=AT)
        self.write("new/1700000000.b.host", at=AT + 1)
        self.write("tmp/1700000002.c.host")
        self.write(".Sent/cur/1.d:2,D", at=AT)
        (self.folder / ".Sent/new").mkdir()
        found = self.read()
        told = [(each.folder, each.flags, each.received_at) for each in found]
        self.assertEqual(told, [("", 0, AT + 1), ("", FLAGGED | SEEN, AT), ("Sent", DRAFT, AT)])

    def test_what_a_program_gave_other_flags_meanwhile_is_found(self) -> None:
        self.make()
        self.write("cur/1.a:2,")
        self.write("cur/2.b:2,")
        reading = iter(MaildirReader(self.folder, Memory))
        next(reading)
        (self.folder / "cur/2.b:2,").rename(self.folder / "cur/2.b:2,S")
        (found,) = reading
        assert isinstance(found, Letter)
        self.assertEqual(found.flags, SEEN)

    def test_what_can_not_be_read_is_named(self) -> None:
        self.make()
        (self.folder / "cur" / "1.dir:2,").mkdir()
        os.mkfifo(self.folder / "cur" / "2.pipe:2,")
        self.assertEqual([each.why for each in self.read()], ["it is no file"] * 2)

    def test_a_letter_is_a_bit(self) -> None:
        self.assertEqual(flag_letters(flags_of("1.x:2,SRFDTP")), "DFPRST")
        self.assertEqual(flags_of("1.x:1,S"), 0)

    def test_what_is_written_another_program_reads_and_it_is_written_once(self) -> None:
        for _ in range(2):
            writer = MaildirWriter(self.folder / "md")
            writer.add("01A_1", AT, SEEN, [MAIL[:9], MAIL[9:]])
            writer.add("01B_2", AT + 1, 0, [MAIL])
        box = mailbox.Maildir(self.folder / "md")
        self.assertEqual(sorted(each.get_flags() for each in box), ["", "S"])
        self.assertEqual([each.get_subdir() for each in box].count("new"), 1)
        read = list(MaildirReader(self.folder / "md", Memory))
        self.assertEqual([each.octets for each in read], [MAIL, MAIL])
        self.assertEqual([each.received_at for each in read], [AT, AT + 1])

    def test_a_cr_at_the_edge_of_a_piece_stays_what_it_is(self) -> None:
        MaildirWriter(self.folder).add("a", AT, 0, [b"A: 1\r", b"\n\r\nx\r", b"y\r\n"])
        (path,) = (self.folder / "new").iterdir()
        self.assertEqual(path.read_bytes(), b"A: 1\n\nx\ry\n")


class TreeTests(FolderCase):
    def test_all_eml_files_of_a_tree_are_read_in_the_order_of_their_names(self) -> None:
        for name in ("b/2.EML", "a/1.eml", "a/notes.txt", ".hidden/3.eml"):
            self.write(name)
        (self.folder / "loop").symlink_to(self.folder)
        found = list(EmlReader(self.folder, Memory))
        self.assertEqual([each.where for each in found], ["a/1.eml", "b/2.EML"])
        self.assertEqual({each.received_at for each in found}, {AT})

    def test_a_zip_gives_back_what_was_put_in(self) -> None:
        path = self.folder / "x.zip"
        with path.open("wb") as file:
            writer = ZipWriter(file)
            writer.add("a@b/x.eml", AT, [MAIL])
            writer.add("a@b/y.eml", 0, [b"A: 1\r\n\r\n", b"y" * 600_000 + b"\r\n"])
            writer.close()
        one, two = ZipReader(path, Memory)
        self.assertEqual(one.octets, MAIL)
        self.assertEqual(two.size_octets, 600_010)

    def test_a_damaged_zip_is_named_and_so_is_a_damaged_mail_in_it(self) -> None:
        path = self.write("x.zip", b"PK\x03\x04 nothing")
        (lost,) = ZipReader(path, Memory)
        self.assertIn("can't be read as a zip", lost.why)
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("1.eml", MAIL)
        path.write_bytes(path.read_bytes().replace(b"body", b"bodx", 1))
        (lost,) = ZipReader(path, Memory)
        self.assertIn("CRC", lost.why)

    def test_a_file_that_is_there_is_replaced_on_demand_alone_and_only_by_a_whole_one(self) -> None:
        path = self.write("x", b"old")
        with self.assertRaises(DepositError), FileInMaking(path):
            pass
        with self.assertRaises(ZeroDivisionError), FileInMaking(path, force=True) as making:
            making.file.write(b"new")
            raise ZeroDivisionError
        self.assertEqual((path.read_bytes(), os.listdir(self.folder)), (b"old", ["x"]))
        with FileInMaking(path, force=True) as making:
            making.file.write(b"new")
        self.assertEqual((path.read_bytes(), os.listdir(self.folder)), (b"new", ["x"]))

    def test_what_another_export_has_just_finished_is_not_written_over(self) -> None:
        """It opened the file before that got its name, and locked it after."""
        path = self.folder / "x"
        with FileInMaking(path) as first:
            first.file.write(b"whole")
            second = FileInMaking(path, force=True)
            with self.assertRaisesRegex(DepositError, "another export writes"):
                second.__enter__()
        real = fcntl.flock

        def finish(fd: int, how: int) -> None:
            (self.folder / ".x.part").rename(path)
            real(fd, how)

        self.write(".x.part", b"whole")
        late = patch.object(deposits.fcntl, "flock", finish)
        with late, self.assertRaisesRegex(DepositError, "another export writes"):
            FileInMaking(path, force=True).__enter__()
        self.assertEqual(path.read_bytes(), b"whole")

    def test_nothing_is_written_into_a_file_that_somebody_laid_there(self) -> None:
        self.write(".x.part", b"")
        somebody = patch.object(deposits.os, "geteuid", lambda: os.getuid() + 1)
        with somebody, self.assertRaisesRegex(DepositError, "somebody else's"):
            FileInMaking(self.folder / "x").__enter__()
        (self.folder / ".x.part").chmod(0o666)
        with FileInMaking(self.folder / "x"):
            pass
        self.assertEqual((self.folder / "x").stat().st_mode & 0o777, 0o600)


class GuessTests(FolderCase):
    def test_each_form_is_told_by_what_lies_there(self) -> None:
        self.write("box", FROM + b"A: 1\n\n")
        self.write("one.eml")
        self.write("tree/below/one.eml")
        self.write("system/userinfo.txt", b"a b\n")
        self.write("boxes/Sent", FROM + b"A: 1\n\n")
        for part in ("cur", "new"):
            (self.folder / "md" / part).mkdir(parents=True)
        forms = {"box": "mbox", "one.eml": "eml", "tree": "eml", "system": "userinfo",
                 "boxes": "mbox", "md": "maildir"}  # fmt: skip
        for name, form in forms.items():
            self.assertEqual(guess_format(self.folder / name), form, name)
        self.write("what", b"hello")
        (self.folder / "nothing").mkdir()
        for name in ("what", "nothing"):
            self.assertRaises(Unknown, guess_format, self.folder / name)

    def test_mboxes_of_a_folder_are_folders(self) -> None:
        for name in ("INBOX", "Sent.mbox", "notes"):
            self.write(name, (b"" if name == "notes" else FROM) + b"A: 1\n\nx\n")
        source = open_source(self.folder, "mbox", Memory)
        source.measure()
        self.assertEqual([each.folder for each in source], ["", "Sent"])
        self.assertEqual(source.done, source.count)


class PlaintextTests(FolderCase):
    def read(self, octets: bytes) -> list[Letter | Lost]:
        path = self.write("my_mailbox.txt", octets, AT)
        return list(PlaintextReader(path, Memory, "example.org"))

    def bodies(self, octets: bytes) -> list[bytes]:
        return [(each.octets or b"").partition(b"\r\n\r\n")[2] for each in self.read(octets)]

    def test_fields_become_a_header_and_received_a_date(self) -> None:
        (found,) = self.read(
            b"From: ben\nTo: <ann@here.example>\nSubject: caf\xc3\xa9\n"
            b"Received: 2024-01-01T12:30:00+00:00\nAt one?\n.\n"
        )
        assert isinstance(found, Letter)
        header, _, body = (found.octets or b"").partition(b"\r\n\r\n")
        self.assertIn(b"From: ben@example.org\r\nTo: ann@here.example\r\n", header)
        self.assertIn(b"Date: Mon, 01 Jan 2024 ", header)
        self.assertEqual((found.subject, found.received_at, body), ("café", AT, b"At one?\r\n"))

    def test_several_mails_lie_in_one_file_with_crlf_or_lf_and_blank_lines_between(self) -> None:
        mails = b"From: a\nTo: b\n\nx\n.\n\n\nFrom: c\r\nSubject: s\r\ny\r\n.\r\nTo: d\nz"
        self.assertEqual(self.bodies(mails), [b"x\r\n", b"y\r\n", b"z\r\n"])

    def test_a_full_stop_that_ends_nothing_is_the_bodys(self) -> None:
        mails = b"From: a\nx\n.\nstill\n\n.\n\nthis\n.\nFrom: b\ny\n.\n"
        self.assertEqual(
            self.bodies(mails), [b"x\r\n.\r\nstill\r\n\r\n.\r\n\r\nthis\r\n", b"y\r\n"]
        )

    def test_what_has_no_fields_is_a_mail_of_its_files_time(self) -> None:
        (found,) = self.read(b"hello\n.\n")
        assert isinstance(found, Letter)
        self.assertEqual((found.octets, found.received_at), (b"\r\nhello\r\n", AT))

    def test_each_bare_name_of_several_gets_the_domain_and_names_of_people_stay(self) -> None:
        (found,) = self.read(
            b'From: Ann Smith <ann>\nTo: ben, "Gus; the cat" <gus>;dan@else.where\n'
            b"Cc: Zo\xc3\xab <zoe>,x y\nSubject: s\n\nx\n.\n"
        )
        assert isinstance(found, Letter)
        header = (found.octets or b"").partition(b"\r\n\r\n")[0].split(b"\r\n")
        self.assertIn(b"From: Ann Smith <ann@example.org>", header)
        self.assertIn(
            b'To: ben@example.org, "Gus; the cat" <gus@example.org>, dan@else.where', header
        )
        self.assertIn(b"Cc: =?utf-8?q?Zo=C3=AB?= <zoe@example.org>, x y", header)

    def test_other_fields_count_among_the_four_and_before_a_blank_line_where_one_lacks(
        self,
    ) -> None:
        for octets, kept, body in (
            (b"From: a\nCc: b\nSubject: s\nDate: 2024-01-01\n\nx\n.\n", b"Cc: b@example.org", b"x"),
            (b"From: a\nMessage-ID: <1@x>\nTo: b\nx\n.\n", b"Message-ID: <1@x>", b"x"),
            (b"From: a\nX-Mood: good\nTo: b\nx\n.\n", b"X-Mood: good", b"x"),
            (b"From: a\nTo: b\nCc: c\nx\n.\n", b"To: b@example.org", b"Cc: c\r\nx"),
            (b"From: a\nTo: b\nSubject: s\nReceived: 2024-01-01\nCc: c\n\nx\n.\n",
             b"Subject: s", b"Cc: c\r\n\r\nx"),
            (b"From: a\nCc: b\nCc: c\nSubject: s\nx\n.\n", b"From: a@example.org",
             b"Cc: b\r\nCc: c\r\nSubject: s\r\nx"),
        ):  # fmt: skip
            (found,) = self.read(octets)
            assert isinstance(found, Letter)
            header, _, rest = (found.octets or b"").partition(b"\r\n\r\n")
            self.assertIn(kept, header.split(b"\r\n"), octets)
            self.assertEqual(body + b"\r\n", rest, octets)

    def test_date_is_the_mails_and_received_is_when_it_came(self) -> None:
        (found,) = self.read(
            b"From: a\nDate: 2023-12-31T10:00:00+00:00\nReceived: 2024-01-01T12:30:00+00:00\nx\n.\n"
        )
        assert isinstance(found, Letter)
        self.assertIn(b"Date: Sun, 31 Dec 2023 ", found.octets or b"")
        self.assertEqual(AT, found.received_at)

    def test_a_date_that_nobody_reads_stays(self) -> None:
        (found,) = self.read(b"From: a\nReceived: yesterday\nx\n.\n")
        assert isinstance(found, Letter)
        self.assertIn(b"X-Received: yesterday\r\n", found.octets or b"")

    def test_a_body_beyond_ascii_has_its_charset_told(self) -> None:
        for octets, charset in ((b"\xc3\xa9", b"utf-8"), (b"\xe9", b"iso-8859-1")):
            (found,) = self.read(b"From: a\n\n" + octets + b"\n.\n")
            assert isinstance(found, Letter)
            self.assertIn(b"charset=" + charset + b"\r\n", found.octets or b"")
            self.assertTrue((found.octets or b"").endswith(octets + b"\r\n"))

    def test_a_body_of_any_size_is_spooled(self) -> None:
        (found,) = self.read(b"From: a\n\n" + b"line\n" * 100_000 + b".\n")
        assert isinstance(found, Letter)
        assert isinstance(found.spool, Memory)
        self.assertEqual(found.spool.octets.count(b"line\r\n"), 100_000)

    def test_dates_are_read_as_programs_write_them(self) -> None:
        at = time.mktime((2024, 2, 13, 14, 5, 0, 0, 0, -1))
        for text in (
            "2024-02-13 14:05", "2024-02-13 : 14 : 05", "13/02/2024 14:05:00", "02/13/2024 14:05",
            "13.2.24, 14:05", "Tue Feb 13 14:05:00 2024", "13 Feb 2024 14:05", "2024-02-13T14:05",
        ):  # fmt: skip
            self.assertEqual(read_time(text), at, text)
        for text in ("", "soon", "99/99/2024 10:00", "31/02/2024"):
            self.assertIsNone(read_time(text), text)

    def test_users_have_names_passwords_and_mailboxes(self) -> None:
        self.write("userinfo.txt", b"\xef\xbb\xbfann two words\r\n\nben\nann x\n\xff y\ncat \xff\n")
        mailbox_of_ann = self.write("USERS/ann/my_mailbox.txt", b"x")
        self.write("USERS/eve/my_mailbox.txt", b"x")
        found = list(read_users(self.folder))
        self.assertEqual(
            [each for each in found if isinstance(each, User)],
            [
                User("ann", "two words", mailbox_of_ann),
                User("ben", None, None),
                User("cat", None, None),
            ],
        )
        self.assertEqual(
            [each.where for each in found if isinstance(each, Lost)],
            ["userinfo.txt, line 4", "userinfo.txt, line 5", "eve"],
        )
