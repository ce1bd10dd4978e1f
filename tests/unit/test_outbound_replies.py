"""`mailnode.outbound.replies`: what a remote host says, cut anywhere, and what is no reply."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailnode.outbound.replies import BadReply, Reply, ReplyReader, printable
from mailnode.outbound.words import Answer
from tests.unit.test_wire import cut, cuts

texts = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=20)
replies = st.builds(
    Reply, st.integers(200, 599), st.lists(texts, min_size=1, max_size=4).map(tuple)
)


def on_the_wire(reply: Reply) -> bytes:
    *others, last = reply.lines
    lines = [*[f"{reply.code}-{each}" for each in others], f"{reply.code} {last}"]
    return b"".join(line.encode() + b"\r\n" for line in lines)


def read(*chunks: bytes) -> list[Reply]:
    reader, found = ReplyReader(), []
    for chunk in chunks:
        reader.feed(chunk)
        while (reply := reader.take()) is not None:
            found.append(reply)
    return found


class ReaderTests(SynchronousTestCase):
    @settings(max_examples=300, deadline=None)
    @given(st.lists(replies, max_size=4), cuts)
    def test_replies_come_out_as_they_were_however_they_are_cut(
        self, said: list[Reply], lengths: list[int]
    ) -> None:
        self.assertEqual(said, read(*cut(b"".join(map(on_the_wire, said)), lengths)))

    def test_a_code_alone_and_a_bare_lf_are_taken(self) -> None:
        self.assertEqual([Reply(250, ("",)), Reply(354, ("Go",))], read(b"250\r\n354 Go\n"))

    def test_half_a_reply_is_none_and_stays(self) -> None:
        reader = ReplyReader()
        reader.feed(b"250-a\r\n250")
        self.assertIsNone(reader.take())
        self.assertTrue(reader.rest)
        reader.feed(b" b\r\n")
        self.assertEqual(Reply(250, ("a", "b")), reader.take())
        self.assertFalse(reader.rest)

    def test_c03_what_is_no_reply_is_an_error(self) -> None:
        for octets in (
            *(b"hello\r\n", b"\r\n", b"25 a\r\n", b"2500 a\r\n", b"199 a\r\n", b"600 a\r\n"),
            *(b"250_a\r\n", b"\xb2\xb5\xb0 a\r\n", b" 250 a\r\n", b"250-a\r\n251 b\r\n"),
        ):
            self.assertRaises(BadReply, read, octets)

    def test_c03_a_reply_has_100_lines_at_most(self) -> None:
        (reply,) = read(b"250-a\r\n" * 99 + b"250 a\r\n")
        self.assertEqual(100, len(reply.lines))
        self.assertRaises(BadReply, read, b"250-a\r\n" * 100)

    def test_c03_a_reply_has_64_kib_at_most(self) -> None:
        (reply,) = read(b"250 " + b"a" * (65536 - 6) + b"\r\n")
        self.assertEqual(65530, len(reply.lines[0]))
        self.assertRaises(BadReply, read, b"250 " + b"a" * 65533)
        self.assertRaises(BadReply, read, *[b"250-" + b"a" * 2000 + b"\r\n"] * 33)

    def test_many_replies_together_may_be_longer(self) -> None:
        self.assertEqual(9000, len(read(b"250 2.1.5 ok\r\n" * 9000)))


class AnswerTests(SynchronousTestCase):
    def answer(self, code: int, *lines: str) -> Answer:
        return Reply(code, lines).answer("RCPT")

    def test_enhanced_codes_are_read_from_every_line(self) -> None:
        self.assertEqual(
            Answer(550, "5.1.1", "No such user Sorry", "RCPT"),
            self.answer(550, "5.1.1 No such user", "5.1.1 Sorry"),
        )
        self.assertEqual(Answer(250, "2.0.0", "", "RCPT"), self.answer(250, "2.0.0"))

    def test_without_one_the_class_is_what_is_known(self) -> None:
        self.assertEqual("5.0.0", self.answer(550, "No").enhanced)
        self.assertEqual(
            Answer(450, "4.0.0", "5.1.1 No", "RCPT"), self.answer(450, "5.1.1 No")
        )  # another class than the code's

    def test_words_are_one_printable_line_of_500_characters(self) -> None:
        self.assertEqual("a b c", self.answer(250, "a\t b", "\rc").text)
        self.assertEqual("a?[31m", printable("a\x1b[31m"))
        self.assertEqual("Grüße ?", printable("Grüße \u202e"))
        self.assertEqual(500, len(printable("x" * 1000)))

    def test_an_answer_in_words(self) -> None:
        for code, enhanced, words in (
            (550, "5.1.1", "550 5.1.1 No"),
            (550, "5.0.0", "550 No"),
            (0, "4.4.2", "No"),
        ):
            self.assertEqual(words, str(Answer(code, enhanced, "No", "RCPT")))

    def test_every_answer_is_one_of_three(self) -> None:
        for code, kind in ((0, 1), (250, 0), (421, 1), (450, 1), (550, 2)):
            answer = Answer(code, "", "", "dot")
            kinds = [answer.delivered, answer.temporary, answer.permanent]
            self.assertEqual([at == kind for at in range(3)], kinds)
