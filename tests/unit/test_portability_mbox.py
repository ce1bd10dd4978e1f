"""An mbox of any dialect is read mail by mail, in bounded memory; what is written comes back."""

from __future__ import annotations

import hashlib
import mailbox
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailnode.model import ANSWERED, FLAGGED, SEEN
from mailnode.portability.deposits import from_line, write_mbox_mail
from mailnode.portability.letter import Letter, Lost
from mailnode.portability.mbox import LINE_OCTETS, MboxReader, looks_like_mbox

FROM = b"From ann@example.org Mon Jan  1 12:30:00 2024\n"
PIECES = st.sampled_from(
    [b"From ", b">From ", b">>From ", b"\r\n", b"\r\n\r\n", b"a", b".", b"\r", b" ", FROM.strip(),
     b"Subject: x", b"Status: RO", b"\xff\x00", b"Content-Length: 3"]
)  # fmt: skip


class Memory:
    """A spool that keeps what it gets."""

    def __init__(self) -> None:
        self.octets = b""
        self.discarded = False

    def write(self, octets: bytes) -> None:
        self.octets += octets

    def discard(self) -> None:
        self.discarded = True


def crlf(octets: bytes) -> bytes:
    return octets.replace(b"\n", b"\r\n")


class MboxCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.path = self.folder / "box"

    def read(self, octets: bytes, dialect: str = "mbox", **bounds: int) -> list[Letter | Lost]:
        self.path.write_bytes(octets)
        return list(MboxReader(self.path, Memory, dialect, **bounds))

    def bodies(self, octets: bytes, dialect: str = "mbox", **bounds: int) -> list[bytes]:
        found = self.read(octets, dialect, **bounds)
        self.assertTrue(all(isinstance(each, Letter) for each in found), found)
        return [each.octets for each in found]


class ReadingTests(MboxCase):
    def test_mails_are_parted_by_a_from_line_behind_a_blank_line(self) -> None:
        one, two = b"Subject: 1\n\nbody\n", b"Subject: 2\n\nFrom here on\nFrom ann\n"
        self.assertEqual(
            self.bodies(FROM + one + b"\n" + FROM + two + b"\n"), [crlf(one), crlf(two)]
        )

    def test_a_from_line_that_is_none_is_the_bodys(self) -> None:
        text = b"Subject: 1\n\nbody\n\nFrom now on it is mine\n"
        self.assertEqual(self.bodies(FROM + text + b"\n"), [crlf(text)])

    def test_crlf_stays_and_so_do_a_bare_cr_and_octets_of_any_value(self) -> None:
        text = b"Subject: 1\r\n\r\nbo\rdy \xff\0\r\n"
        self.assertEqual(self.bodies(crlf(FROM) + text + b"\r\n" + crlf(FROM) + text), [text] * 2)

    def test_one_sign_is_taken_off_quoted_lines(self) -> None:
        text = b"Subject: 1\n\n>From a\n>>From b\n> From c\nx >From d\n"
        read = b"Subject: 1\n\nFrom a\n>From b\n> From c\nx >From d\n"
        self.assertEqual(self.bodies(FROM + text), [crlf(read)])

    def test_as_mboxo_a_line_with_two_signs_stays(self) -> None:
        self.assertEqual(
            self.bodies(FROM + b"A: 1\n\n>From a\n>>From b\n", "mboxo"),
            [crlf(b"A: 1\n\nFrom a\n>>From b\n")],
        )

    def test_a_content_length_that_is_right_counts_and_the_body_is_left_as_it_is(self) -> None:
        body = b"x\n\n" + FROM + b">From y\n"
        header = b"Subject: 1\nContent-Length: %d\nLines: 4\n\n" % len(body)
        mail = FROM + header + body + b"\n"
        self.assertEqual(self.bodies(mail * 2), [crlf(b"Subject: 1\n\n" + body)] * 2)

    def test_one_that_is_wrong_does_not(self) -> None:
        mail = FROM + b"Content-Length: 3\n\nlonger\n\n"
        self.assertEqual(self.bodies(mail * 2), [crlf(b"Content-Length: 3\n\nlonger\n")] * 2)

    def test_status_becomes_flags_and_leaves_the_header(self) -> None:
        (found,) = self.read(FROM + b"Status: RO\nA: 1\nX-Status: AF\n\nStatus: RO\n")
        assert isinstance(found, Letter)
        self.assertEqual(found.octets, b"A: 1\r\n\r\nStatus: RO\r\n")
        self.assertEqual(found.flags, SEEN | ANSWERED | FLAGGED)

    def test_the_from_line_tells_sender_and_time(self) -> None:
        for line, at in (
            (b"From ann@example.org Mon Jan  1 12:30:00 2024", 1704112200),
            (b"From ann@example.org Mon Jan 01 13:30:00 +0100 2024", 1704112200),
            (b"From ann@example.org Mon Jan  1 12:30 2024", 1704112200),
            (b"From ann@example.org Mon, 1 Jan 2024 12:30:00 +0000", 1704112200),
            (b"From ann@example.org Mon Jan  1 12:30:00 UTC 2024", 1704112200),
        ):
            (found,) = self.read(line + b"\nA: 1\n\nx\n")
            assert isinstance(found, Letter)
            self.assertEqual((found.sender, found.received_at), ("ann@example.org", at), line)

    def test_one_of_thunderbird_has_the_author_for_a_sender(self) -> None:
        (found,) = self.read(b"From - Mon Jan  1 12:30:00 2024\nFrom: B <b@example.org>\n\nx\n")
        assert isinstance(found, Letter)
        self.assertEqual(found.sender, "b@example.org")

    def test_mails_without_a_body_or_a_header_are_parted_too(self) -> None:
        for mail in (b"A: 1\n\n", b"A: 1\n"):
            read = self.bodies((FROM + mail + b"\n") * 3)
            self.assertEqual([each[:6] for each in read], [b"A: 1\r\n"] * 3)

    def test_notes_of_a_mail_program_are_no_mail(self) -> None:
        notes = b"Subject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\n\nx\n\n"
        self.assertEqual(self.bodies(FROM + notes + FROM + b"A: 1\n\nx\n"), [b"A: 1\r\n\r\nx\r\n"])

    def test_what_stands_before_the_first_mail_is_named(self) -> None:
        lost, found = self.read(b"no mail\n\n" + FROM + b"A: 1\n\nx\n")
        self.assertEqual(lost, Lost("box at octet 0", "9 octets before the first From line"))
        assert isinstance(found, Letter)

    def test_blank_lines_before_the_first_mail_are_nothing(self) -> None:
        self.assertEqual(self.bodies(b"\n\r\n" + FROM + b"A: 1\n\nx\n"), [b"A: 1\r\n\r\nx\r\n"])

    def test_an_empty_file_has_no_mail(self) -> None:
        self.assertEqual(self.read(b""), [])

    def test_no_octet_is_lost_at_an_endless_from_line_or_behind_endless_blank_lines(
        self,
    ) -> None:
        for between in (FROM.strip() + b" x" * LINE_OCTETS + b"\n", b"\n" * 3 * LINE_OCTETS):
            one = b"A: 1\nContent-Length: 2\n\nx\n\n" + between
            two = b"here\n\n" + FROM + b"A: 2\n\n" + b"y" * 2 * LINE_OCTETS + b"\n"
            first, second = self.bodies(FROM + one + two)
            self.assertIn(b"here\r\n", first)
            self.assertTrue(second.startswith(b"A: 2\r\n"), between[:9])

    def test_from_lines_behind_no_blank_line_are_text_and_counted(self) -> None:
        box = FROM + b"A: 1\n\nx\n" + FROM + b"A: 2\n\nFrom now on\ny\r\n" + FROM + b"z\n\n"
        box += FROM + b"A: 3\n\nx\n"
        for octets in (1, 7, 64, 1 << 20):
            found = self.read(box, read_octets=octets)
            self.assertEqual([each.unparted for each in found], [2, 0], octets)
            self.assertEqual(found[0].octets.count(b"\r\nFrom ann@"), 2)

    def test_an_empty_mail_is_named(self) -> None:
        (lost,) = self.read(FROM)
        self.assertEqual(lost, Lost("box at octet 0", "it is empty"))

    def test_a_large_mail_goes_to_a_spool(self) -> None:
        text = b"A: 1\n\n" + b"line\n" * 200_000
        found = self.read((FROM + text + b"\n") * 2)
        for each in found:
            assert isinstance(each, Letter)
            assert isinstance(each.spool, Memory)
            self.assertIsNone(each.octets)
            self.assertEqual(each.spool.octets, crlf(text))
            self.assertEqual(each.digest, hashlib.sha256(crlf(text)).digest())
            self.assertEqual(each.size_octets, len(crlf(text)))

    def test_where_it_is_cut_for_reading_changes_nothing(self) -> None:
        text = b"A: 1\n\n" + b"".join(b">From %d\n" % n for n in range(50)) + b"x" * 300 + b"\n"
        box = (FROM + text + b"\n") * 3
        self.assertEqual(len(set(self.bodies(box))), 1)
        for octets in (1, 2, 3, 5, 7, 64, 1001):
            self.assertEqual(self.bodies(box, read_octets=octets), self.bodies(box))

    def test_what_another_program_wrote_is_read(self) -> None:
        box = mailbox.mbox(self.path)
        for number in range(3):
            mail = mailbox.mboxMessage(f"Subject: {number}\n\nbody\n\nFrom ann\n")
            mail.set_flags("R")
            box.add(mail)
        box.close()
        found = list(MboxReader(self.path, Memory))
        self.assertEqual([each.subject for each in found], ["0", "1", "2"])
        self.assertEqual({each.flags for each in found}, {SEEN})
        self.assertIn(b"\r\n\r\nFrom ann\r\n", found[0].octets)

    def test_what_is_one_is_told_by_its_begin(self) -> None:
        self.assertTrue(looks_like_mbox(FROM))
        self.assertFalse(looks_like_mbox(b"From here\n"))


class RoundTripTests(MboxCase):
    @settings(max_examples=200, deadline=None)
    @given(st.lists(st.lists(PIECES, min_size=1, max_size=12).map(b"".join), max_size=4))
    def test_what_is_written_comes_back_octet_by_octet(self, contents: list[bytes]) -> None:
        mails = [b"X: 1\r\n\r\n" + each.replace(b"\n", b"").replace(b"\r", b"") + b"\r\n" + each
                 for each in contents]  # fmt: skip
        mails = [each if each.endswith(b"\r\n") else each + b"\r\n" for each in mails]
        bad = (b"\r\r\n",)  # LF lines can't tell these two
        mails = [each for each in mails if not any(octets in each for octets in bad)]
        with self.path.open("wb") as file:
            for mail in mails:
                pieces = [mail[at : at + 3] for at in range(0, len(mail), 3)]
                write_mbox_mail(file, "a@b.example", 1e9, SEEN, pieces)
        found = list(MboxReader(self.path, Memory, read_octets=17))
        self.assertEqual([each.octets for each in found], mails)
        self.assertEqual({each.flags for each in found} - {SEEN}, set())
        self.assertEqual(len(mailbox.mbox(self.path)), len(mails))

    def test_the_from_line_has_no_word_that_parts_it(self) -> None:
        self.assertTrue(from_line("a b\nc", 0).startswith(b"From MAILER-DAEMON Thu Jan  1 "))
        self.assertTrue(looks_like_mbox(from_line("", 0, ANSWERED)))
