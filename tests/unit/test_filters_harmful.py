"""`mailnode.filters.harmful`: programs, disguises, macros and archives, by tables."""

from __future__ import annotations

from collections.abc import Sequence
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mailnode.errors import FilterFailed, StoreBroken
from mailnode.filters.harmful import ACTIONS, Harm, Harmful, HarmfulMail, find_harm, is_text_alone
from mailnode.interfaces import IContentFilter
from mailnode.model import Blob, Message, Verdict
from mailnode.reading.parts import parts_of
from mailnode.threads import TooMuchWaiting
from tests.unit.filters_case import ENVELOPE, MAIL, message_of
from tests.unit.test_filters_archives import encrypted, in_zip

PROGRAM = b"MZ" + bytes(58) + (64).to_bytes(4, "little") + b"PE\0\0" + bytes(100)
OLE2 = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(1_000)
VBA, ENCRYPTED = ("_VBA_PROJECT".encode("utf-16-le"), "EncryptedPackage".encode("utf-16-le"))


def mail_with(*files: tuple[str, bytes], kind: str = "application/octet-stream") -> bytes:
    mail = EmailMessage(SMTP)
    mail["From"], mail["Subject"] = "dave@elsewhere.example", "Files"
    mail.set_content("See below.\n")
    for name, octets in files:
        main, _, sub = kind.partition("/")
        mail.add_attachment(octets, main, sub, filename=name or None)
    return mail.as_bytes()


def rules(raw: bytes) -> list[str]:
    return [harm.rule for harm in find_harm(raw)]


class NameTests(SynchronousTestCase):
    def check(self, name: str, rule: str, words: str = "") -> None:
        found = find_harm(mail_with((name, b"some text\n")))
        self.assertEqual([rule] if rule else [], [harm.rule for harm in found], name)
        if words:
            self.assertEqual(words, found[0].words)

    def test_programs(self) -> None:
        self.check("setup.exe", "program", '"setup.exe" is a program')
        for name in ("a.SCR", "run.js", "x.vbs", "y.lnk", "z.hta", "b.exe. .", "c.exe "):
            self.check(name, "program")

    def test_two_extensions(self) -> None:
        words = '"invoice.pdf.exe" looks like a .pdf, but is a program'
        self.check("invoice.pdf.exe", "disguised-program", words)
        self.check("photo.jpg  .scr", "disguised-program")
        self.check("archive.tar.gz", "")
        self.check("v1.2.pdf", "")

    def test_extensions_that_are_hidden_in_an_archive(self) -> None:
        """Of a part's name nothing that turns it round is left when it comes here."""
        for name in ("invoice" + " " * 60 + ".exe", "inv\u202efdp.exe", "inv\u202efdp.e\u202cxe"):
            archive = in_zip(name, "b.txt")
            (harm,) = find_harm(mail_with(("a.zip", archive)))
            self.assertEqual("disguised-program", harm.rule)
            self.assertIn(" hides that it is a program (.exe)", harm.words)
        self.assertIn('"inv\N{REPLACEMENT CHARACTER}fdp.e', harm.words)
        self.check("inv\u202efdp.exe", "program", '"invfdp.exe" is a program')

    def test_macros_images_and_what_opens_others(self) -> None:
        for name in ("sheet.xlsm", "letter.docm"):
            for octets in (in_zip("xl/sheet.xml"), in_zip("xl/vbaProject.bin")):
                self.assertEqual(["macros"], rules(mail_with((name, octets))))
        for name, rule in (
            ("cd.iso", "disk-image"),
            ("disk.VHDX", "disk-image"),
            ("click.url", "opens-programs"),
            ("notes.one", "opens-programs"),
        ):
            self.check(name, rule)

    def test_what_people_send(self) -> None:
        for name in ("a.pdf", "b.docx.pdf", "c.txt", "no extension", "d.", ".exe.txt", ""):
            self.check(name, "")
        self.assertEqual([], find_harm(MAIL))

    def test_a_long_name_keeps_its_end(self) -> None:
        (harm,) = find_harm(mail_with(("x" * 180 + ".exe", b"x")))
        self.assertIn('xxx.exe" is a program', harm.words)
        self.assertLess(len(harm.words), 130)

    def test_a_name_can_t_steer_a_terminal_or_a_reply(self) -> None:
        (harm,) = find_harm(mail_with(("a\x1b[2J\u2028b.exe", b"x")))
        self.assertTrue(harm.words.isprintable())


class ContentTests(SynchronousTestCase):
    def test_a_program_by_any_name(self) -> None:
        for name, rule in (
            ("photo.jpg", "disguised-program"),
            ("photo", "program"),
            ("", "program"),
        ):
            found = find_harm(mail_with((name, PROGRAM)))
            self.assertEqual([rule], [harm.rule for harm in found])
            self.assertIn("(Windows program)", found[0].words)
        self.assertEqual(["program"], rules(mail_with(("", b"\x7fELF" + bytes(60)))))

    def test_a_program_as_the_text_of_a_mail(self) -> None:
        raw = b"Content-Type: text/plain\r\n\r\n" + PROGRAM
        self.assertEqual(["program"], rules(raw))

    def test_a_type_that_says_program(self) -> None:
        self.assertEqual(
            ["program"], rules(mail_with(("a", b"text"), kind="application/x-msdownload"))
        )

    def test_old_office_documents(self) -> None:
        for octets, found in (
            (OLE2, []),
            (OLE2 + VBA, ["macros"]),
            (OLE2 + bytes(500_000) + VBA + bytes(100), ["macros"]),
            (OLE2 + ENCRYPTED, ["encrypted"]),
            (OLE2 + VBA + VBA + ENCRYPTED, ["macros", "encrypted"]),
        ):
            self.assertEqual(found, rules(mail_with(("a.doc", octets))))
        self.assertEqual(["encrypted"], rules(mail_with(("a.docx", OLE2 + ENCRYPTED))))
        self.assertEqual([], rules(mail_with(("a.bin2", VBA))))

    def test_what_is_cut_by_the_end_of_a_piece(self) -> None:
        part = parts_of(mail_with(("a.doc", OLE2 + bytes(100_000)))).all[-1]
        first = len(next(part.pieces()))
        for cut in (1, 5, len(VBA) - 1):
            octets = OLE2 + bytes(first - len(OLE2) - cut) + VBA + bytes(50_000)
            self.assertEqual(["macros"], rules(mail_with(("a.doc", octets))), cut)

    def test_in_a_mail_in_a_mail(self) -> None:
        outer = EmailMessage(SMTP)
        outer["Subject"] = "Fwd"
        outer.set_content("Look.\n")
        inner = mail_with(("a.exe", b"x"))
        raw = outer.as_bytes().replace(
            b"Content-Type: text/plain", b"Content-Type: message/rfc822", 1
        )
        head = raw.partition(b"\r\n\r\n")[0]
        (harm,) = find_harm(head + b"\r\n\r\n" + inner)
        self.assertEqual("program", harm.rule)

    def test_more_parts_than_can_be_read(self) -> None:
        raw = b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n' + b"--b\r\n\r\nx\r\n" * 2_000
        self.assertEqual(["too-many-parts"], rules(raw))


class ArchiveTests(SynchronousTestCase):
    def check(self, archive: bytes, *expected: str, name: str = "a.zip") -> list[Harm]:
        found = find_harm(mail_with((name, archive)))
        self.assertEqual(list(expected), [harm.rule for harm in found])
        return found

    def test_a_harmless_one(self) -> None:
        self.check(in_zip("a.txt", "folder/", "folder/b.pdf"))
        self.check(in_zip())

    def test_programs(self) -> None:
        (harm,) = self.check(in_zip("folder/run.js"), "archive-of-programs")
        self.assertEqual('"run.js" in "a.zip" is a program', harm.words)
        self.check(in_zip("run.js", "run.exe"), "archive-of-programs")
        self.check(in_zip("run.js", "read.me"), "program-in-archive")
        (harm,) = self.check(in_zip("b.txt", "x/invoice.pdf.exe"), "disguised-program")
        self.assertEqual(
            '"invoice.pdf.exe" looks like a .pdf, but is a program, in "a.zip"', harm.words
        )

    def test_a_zip_by_another_name_or_by_none(self) -> None:
        for name in ("a.dat", "", "a.jpg"):
            self.check(in_zip("a.exe"), "archive-of-programs", name=name)

    def test_macros_in_new_office_documents(self) -> None:
        document = in_zip("[Content_Types].xml", "word/document.xml", "word/vbaProject.bin")
        self.check(document, "macros", name="letter.docx")
        self.check(in_zip("word/document.xml"), name="letter.docx")
        self.check(in_zip("letters/a.docm", "b.txt"), "macros")

    def test_an_encrypted_one_is_named(self) -> None:
        (harm,) = self.check(encrypted(in_zip("a.txt")), "encrypted")
        self.assertEqual('"a.zip" is encrypted: nobody can look into it', harm.words)
        self.check(encrypted(in_zip("a.exe")), "encrypted", "archive-of-programs")

    def test_an_archive_in_it_is_named(self) -> None:
        (harm,) = self.check(in_zip("a.txt", "b/inner.ZIP"), "archive-in-archive")
        self.assertEqual(
            '"inner.ZIP" in "a.zip" is an archive, too, and is not looked into', harm.words
        )

    def test_a_disk_image_in_it(self) -> None:
        self.check(in_zip("a.iso"), "disk-image")

    def test_damaged_ones(self) -> None:
        whole = in_zip("a.exe", "b.txt")
        self.check(whole[:-30], "broken-archive")
        self.check(whole[: len(whole) // 2], "broken-archive")
        self.check(b"PK\x03\x04" + bytes(1_000), "broken-archive")
        self.check(b"no archive at all", "broken-archive")
        self.check(b"no archive at all", "broken-archive", name="letter.docx")

    def test_files_in_all_archives_of_a_mail_are_counted(self) -> None:
        archive = in_zip(*[f"{number}.txt" for number in range(2_000)])
        many = [(f"{number}.zip", archive) for number in range(5)]
        self.assertEqual(["too-many-parts"], rules(mail_with(*many)))
        self.assertEqual([], rules(mail_with(*many[:4])))
        self.assertEqual(["too-many-parts"], rules(mail_with(*many, ("a.zip", in_zip("a.exe")))))

    def test_damaged_archives_are_counted_too(self) -> None:
        many = [(f"{number}.zip", b"none") for number in range(30)]
        self.assertEqual(["broken-archive"] * 20 + ["too-many-parts"], rules(mail_with(*many)))

    def test_one_with_something_in_front(self) -> None:
        self.check(b"#!/bin/unpack\n" + in_zip("a.exe"), "archive-of-programs")


class FakeThreads:
    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.held: Deferred[Any] | None = None
        self.calls = 0

    def run(self, function: Any, *arguments: Any) -> Deferred[Any]:
        self.calls += 1
        if self.failure is not None:
            return fail(self.failure)
        return self.held or succeed(function(*arguments))


class JudgeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.threads = Clock(), FakeThreads()
        self.opened: list[Any] = []

    def make(self, **more: Any) -> Harmful:
        return Harmful(clock=self.clock, threads=self.threads, open_octets=self.open, **more)  # type: ignore[arg-type]

    def open(self, key: str, front: bytes) -> Any:
        class Closing(bytes):
            closed = False

            def close(self) -> None:
                self.closed = True

        self.opened.append(Closing(mail_with(("a.exe", b"x"))))
        return self.opened[-1]

    def judge(self, message: Message, **more: Any) -> Deferred[Verdict]:
        judging = self.make(**more).judge(ENVELOPE, message)
        return Deferred.fromCoroutine(judging)

    def verdict(self, raw: bytes, **more: Any) -> Verdict:
        return self.successResultOf(self.judge(message_of(raw), **more))

    def test_it_is_a_content_filter(self) -> None:
        verifyObject(IContentFilter, self.make())

    def test_a_program_is_refused_with_550_5_7_0(self) -> None:
        judging = self.judge(message_of(mail_with(("päper.pdf.exe", b"x"))))
        error = self.failureResultOf(judging, HarmfulMail).value
        self.assertEqual((550, "5.7.0"), (error.smtp_code, error.enhanced))
        self.assertEqual(
            'Message refused: "p?per.pdf.exe" looks like a .pdf, but is a program', error.text
        )
        words = '"päper.pdf.exe" looks like a .pdf, but is a program'
        self.assertEqual(f"by filter harmful: {words}", error.detail)

    def test_macros_are_unwanted_and_what_is_noted_is_told_behind(self) -> None:
        archive = encrypted(in_zip("a.docm", "inner.zip"))
        verdict = self.verdict(mail_with(("a.zip", archive)))
        self.assertEqual(("accept", True), (verdict.action, verdict.unwanted))
        self.assertEqual(
            [
                '"a.docm" is a document with macros, in "a.zip"',
                '"a.zip" is encrypted: nobody can look into it',
                '"inner.zip" in "a.zip" is an archive, too, and is not looked into',
            ],
            list(verdict.reasons),
        )

    def test_what_is_noted_alone_leaves_it_wanted(self) -> None:
        verdict = self.verdict(mail_with(("a.zip", encrypted(in_zip("a.txt")))))
        self.assertFalse(verdict.unwanted)
        self.assertEqual(1, len(verdict.reasons))

    def test_settings_change_the_table(self) -> None:
        program = mail_with(("a.exe", b"x"))
        self.assertTrue(self.verdict(program, actions={"program": "unwanted"}).unwanted)
        noted = self.verdict(program, actions={"program": "note"})
        self.assertEqual((False, 1), (noted.unwanted, len(noted.reasons)))
        self.assertEqual(Verdict(), self.verdict(program, actions={"program": "off"}))
        macros = self.judge(message_of(mail_with(("a.docm", b"x"))), actions={"macros": "refuse"})
        self.failureResultOf(macros, HarmfulMail)
        for wrong in ({"programs": "off"}, {"program": "drop"}):
            with self.assertRaises(ValueError):
                self.make(actions=wrong)

    def test_ten_reasons_at_most(self) -> None:
        verdict = self.verdict(mail_with(*[(f"{number}.docm", in_zip()) for number in range(30)]))
        self.assertEqual(10, len(verdict.reasons))

    def test_every_rule_has_an_action(self) -> None:
        for rule, action in ACTIONS.items():
            try:
                self.make().verdict_on([Harm(rule, "words")])
            except HarmfulMail:
                self.assertEqual("refuse", action)

    def test_a_blob_is_opened_and_closed(self) -> None:
        judging = self.judge(Message(b"", Blob("key"), 1_000, b""))
        self.failureResultOf(judging, HarmfulMail)
        self.assertTrue(self.opened[0].closed)

    def test_a_text_alone_needs_no_thread(self) -> None:
        self.assertEqual(Verdict(), self.verdict(MAIL))
        self.assertEqual(0, self.threads.calls)

    def test_what_is_a_text_alone(self) -> None:
        for fields, alone in (
            (b"", True),
            (b"Content-Type: text/plain; charset=utf-8\r\n", True),
            (b"CONTENT-TYPE : text/html\r\n", True),
            (b"Content-Type:\r\n text/plain\r\n", True),
            (b"Content-Type: text/plain; name=a.exe\r\n", False),
            (b"Content-Disposition: attachment; filename=a.exe\r\n", False),
            (b"Content-Type: MULTIPART/mixed; boundary=b\r\n", False),
            (b"content-type: application/zip\r\n", False),
            (b"Content-Type: message/rfc822\r\n", False),
            (b"Content-Type:\r\n\timage/png\r\n", False),
            (b"Content-Type: text/plain\r\nContent-Type: application/zip\r\n", False),
        ):
            raw = b"Subject: x\r\n" + fields + b"\r\nmultipart/ name\r\n"
            self.assertEqual(alone, is_text_alone(raw), fields)

    def test_threads_that_have_too_much_to_do_are_a_failure(self) -> None:
        self.threads.failure = TooMuchWaiting()
        raw = mail_with(("a.exe", b"x"))
        self.assertIn("too much waits", self.verdict(raw).reasons[0])
        judging = self.judge(message_of(raw), on_failure="defer")
        self.failureResultOf(judging, FilterFailed)

    def test_a_look_that_takes_too_long_is_a_failure(self) -> None:
        self.threads.held = Deferred()
        judging = self.judge(message_of(mail_with(("a.exe", b"x"))))
        self.clock.advance(31)
        self.assertIn("nothing within 30 s", self.successResultOf(judging).reasons[0])

    def test_a_body_that_can_t_be_read_is_the_store_s_fault(self) -> None:
        self.threads.failure = StoreBroken()
        judging = self.judge(message_of(mail_with(("a.exe", b"x"))))
        self.failureResultOf(judging, StoreBroken)


class HostileTests(SynchronousTestCase):
    @settings(max_examples=200, deadline=None)
    @given(
        st.lists(
            st.sampled_from(
                [
                    b'Content-Type: multipart/mixed; boundary="b"\r\n',
                    b"Content-Type: application/zip\r\n",
                    b"Content-Type: message/rfc822\r\n",
                    b"Content-Transfer-Encoding: base64\r\n",
                    b"Content-Transfer-Encoding: quoted-printable\r\n",
                    b"Content-Disposition: attachment; filename=a.zip\r\n",
                    b"Content-Disposition: attachment; filename*0=a; filename*1=.exe\r\n",
                    b"\r\n",
                    b"--b\r\n",
                    b"--b--\r\n",
                    in_zip("a.exe"),
                    PROGRAM,
                    OLE2,
                    VBA,
                    b"UEsDBA==\r\n",
                    b"=\r\n=5",
                    b"\xff\0",
                ]
            ),
            max_size=30,
        )
    )
    def test_no_mail_breaks_it(self, pieces: Sequence[bytes]) -> None:
        for harm in find_harm(b"".join(pieces)):
            self.assertIn(harm.rule, ACTIONS)
            self.assertTrue(harm.words.isprintable())
