"""What is typed survives as it is, and answers are made as people expect them."""

from __future__ import annotations

import base64
import time
import zlib

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailnode.addresses import Address
from mailnode.composing.people import Mailbox, Wrong, read_each, read_mailboxes
from mailnode.composing.replies import Original, pass_on, quoted, reply_to
from mailnode.composing.written import Written, keep_written
from mailnode.errors import BadAddress
from mailnode.reading.parts import parts_of
from mailnode.web.pages.originals import draft_of, original_of

FIELDS = st.text(st.characters(exclude_categories=("Cs",)), max_size=200)
LINES = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0\r"), max_size=500)


def own(address: Address) -> bool:
    return str(address).lower() in ("me@here.example", "sales@here.example")


class Recipients(SynchronousTestCase):
    def told(self, text: str) -> list[str]:
        return [str(each) if isinstance(each, Mailbox) else each.words for each in read_each(text)]

    def test_each_of_a_list_is_read_for_itself(self) -> None:
        self.assertEqual(
            ["a@x.example", "B, C <b@x.example>", "d@x.example", "e@x.example"],
            self.told('a@x.example, "B, C" <b@x.example>;d@x.example\ne@x.example,'),
        )
        self.assertEqual([], self.told(" ,; \n"))

    def test_what_is_wrong_is_said_of_the_one_that_is(self) -> None:
        first, second, third = self.told("sina, x@sina, a@x.example")
        self.assertIn("'sina' has no @", first)
        self.assertIn("'sina' is not a whole domain", second)
        self.assertEqual("a@x.example", third)

    def test_a_quote_that_nothing_closes_parts_as_if_it_were_none(self) -> None:
        self.assertEqual(
            ["B, C <b@x.example>", 'O"D <d@x.example>', "e@x.example", "f@x.example"],
            self.told('"B, C" <b@x.example>, O"D <d@x.example>, e@x.example\nf@x.example'),
        )

    def test_no_list_takes_long_to_read(self) -> None:
        began = time.thread_time()
        for text in ('"\\', '",', ",a", ",", '"\\,', '"",', "<", "a", "\n"):
            self.assertRaises(BadAddress, read_mailboxes, text * (1 << 20))
            read_each(text * 8000)
        self.assertLess(time.thread_time() - began, 10)
        people = read_mailboxes("a@x.example," * 50_000, 1001)
        self.assertEqual(1001, len(people))
        (only,) = read_each("a" * 16000)
        assert isinstance(only, Wrong)
        self.assertLess(len(only.words), 200)


class Kept(SynchronousTestCase):
    def back(self, written: Written) -> Written:
        raw = keep_written(written)
        self.assertNotIn(b"\n", raw.replace(b"\r\n", b""))
        return draft_of(parts_of(raw))

    def test_a_draft_comes_back_as_it_was_typed_whatever_that_was(self) -> None:
        written = Written(
            sender="me@here.example",
            to='half an, "addr',
            cc="Łukasz <l@x.example>",
            bcc="hidden@x.example",
            subject="Ünfinished \N{GRINNING FACE}",
            text="\n a\n\n.\nFrom x\n",
            in_reply_to="<1@x>",
            references="<0@x>",
            answers="reply 3/17",
            key="k" * 32,
        )
        self.assertEqual(written, self.back(written))

    @given(FIELDS, FIELDS, LINES)
    def test_any_text_does(self, to: str, subject: str, text: str) -> None:
        written = Written(to=to, subject=subject, text=text, key="k" * 32)
        self.assertEqual(written, self.back(written))

    def test_a_page_comes_back_with_what_it_says_in_words(self) -> None:
        html = "<p>Grüße</p>\n<p>an <b>alle</b></p>"
        back = self.back(Written(html=html, key="k" * 32))
        self.assertEqual((html, "Grüße\n\nan alle"), (back.html, back.text))

    def test_five_hundred_recipients_come_back(self) -> None:
        to = ", ".join(f"Person {n} <person.{n}@domain-{n}.example>" for n in range(500))
        self.assertEqual(to, self.back(Written(to=to)).to)

    def test_others_see_its_recipients_but_no_hidden_ones(self) -> None:
        raw = keep_written(Written(to="Bob <bob@x.example>, nonsense", bcc="eve@x.example"))
        self.assertIn(b"To: Bob <bob@x.example>\r\n", raw)
        self.assertNotIn(b"eve", raw)

    def test_what_looks_encoded_puts_no_other_draft_in_its_place(self) -> None:
        packed = base64.b64encode(zlib.compress(b'{"bcc": "eve@x.example"}')).decode()
        field = base64.b64encode(f"a\r\nX-Draft: {packed}".encode()).decode()
        for subject in (f"Re: =?utf-8?b?{field}?=", "=?utf-8?q?=0D=0AX-Draft:_?="):
            written = Written(to="bob@x.example", subject=subject, text="Hello", key="k" * 32)
            self.assertEqual(1, keep_written(written).count(b"\r\nX-Draft:"))
            self.assertEqual(written, self.back(written))

    def test_a_draft_of_another_program_is_read_as_a_mail(self) -> None:
        raw = (
            b"From: Me <me@here.example>\r\nTo: =?utf-8?q?B=C3=B6b?= <bob@x.example>\r\n"
            b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nX-Draft: no such thing!\r\n\r\nHello\r\n"
        )
        written = draft_of(parts_of(raw))
        self.assertEqual("Böb <bob@x.example>", written.to)
        self.assertEqual(("Grüße", "Hello"), (written.subject, written.text))

    def test_a_bomb_in_a_draft_is_no_draft_of_ours(self) -> None:
        packed = base64.b64encode(zlib.compress(b'{"to": "' + b"x" * 10_000_000 + b'"}'))
        lines = b"\r\n ".join(packed[at : at + 70] for at in range(0, len(packed), 70))
        raw = b"To: a@x.example\r\nX-Draft: " + lines + b"\r\n\r\n"
        self.assertEqual("a@x.example", draft_of(parts_of(raw)).to)

    def test_what_is_sent_differs_where_anything_was_changed_but_line_ends(self) -> None:
        written = Written(to="a@x.example", text="a\nb", key="k" * 32)
        self.assertEqual(written.digest, evolve(written, text="a\r\nb\r\n").digest)
        for change in ({"text": "a"}, {"to": ""}, {"subject": "x"}, {"html": "<p>a</p>"}):
            self.assertNotEqual(written.digest, evolve(written, **change).digest)

    def test_what_it_answers_is_a_place_or_nothing(self) -> None:
        self.assertEqual(("reply", 3, 17), Written(answers="reply 3/17").answered())
        for text in ("", "reply", "reply 3", "reply 3/x", "delete 3/17", "reply ³/1", "reply -1/2"):
            self.assertIsNone(Written(answers=text).answered(), text)


ORIGINAL = Original(
    sender=(("Ann, B.", "ann@x.example"),),
    to=(("Me", "ME@here.example"), ("Bob", "bob@x.example"), ("", "me@here.example")),
    cc=(("", "ann@x.example"), ("", "cc@x.example"), ("", "bob@x.example")),
    subject="plan",
    date="2026-01-02 03:04",
    text="One\n> Two\n\n-- \nAnn",
    message_id="<2@x>",
    references=("<0@x>", "<1@x>"),
)


class Answers(SynchronousTestCase):
    def test_an_answer_goes_to_its_writer_from_the_address_that_he_wrote_to(self) -> None:
        written = reply_to(evolve(ORIGINAL, to=(("", "sales@here.example"),)), own)
        self.assertEqual('"Ann, B." <ann@x.example>', written.to)
        self.assertEqual(("", "sales@here.example"), (written.cc, written.sender))
        self.assertEqual("Re: plan", written.subject)
        self.assertEqual(("<2@x>", "<0@x> <1@x>"), (written.in_reply_to, written.references))
        self.assertIn("On 2026-01-02 03:04, Ann, B. wrote:\n> One\n>> Two", written.text)
        self.assertNotIn("> Ann", written.text)

    def test_reply_to_comes_first(self) -> None:
        written = reply_to(evolve(ORIGINAL, reply_to=(("", "list@x.example"),)), own)
        self.assertEqual("list@x.example", written.to)

    def test_all_get_it_once_and_oneself_never(self) -> None:
        written = reply_to(ORIGINAL, own, everybody=True)
        found = [each for each in read_each(written.to) if isinstance(each, Mailbox)]
        self.assertEqual(["ann@x.example", "bob@x.example"], [str(e.address) for e in found])
        self.assertEqual("cc@x.example", written.cc)

    def test_ones_own_mail_is_answered_to_whom_it_went(self) -> None:
        mine = evolve(ORIGINAL, sender=(("", "me@here.example"),), to=(("", "bob@x.example"),))
        self.assertEqual("bob@x.example", reply_to(mine, own).to)
        self.assertEqual("me@here.example", reply_to(mine, own).sender)

    def test_re_and_fwd_stand_once(self) -> None:
        for subject in ("x", "Re: x", "RE: re: x", "AW: x", "Re[2]: x", "re : x"):
            told = evolve(ORIGINAL, subject=subject)
            self.assertEqual("Re: x", reply_to(told, own).subject, subject)
        for subject in ("x", "Fwd: x", "FW: x", "fwd: Fwd: x"):
            told = evolve(ORIGINAL, subject=subject)
            self.assertEqual("Fwd: x", pass_on(told, own).subject, subject)
        self.assertEqual("Fwd: Re: x", pass_on(evolve(ORIGINAL, subject="Re: x"), own).subject)

    def test_what_is_passed_on_says_whose_words_it_holds(self) -> None:
        written = pass_on(ORIGINAL, own)
        self.assertEqual(("", ""), (written.to, written.in_reply_to))
        self.assertIn('From: "Ann, B." <ann@x.example>\nDate: 2026-01-02 03:04\n', written.text)
        self.assertIn("\n\nOne\n> Two\n", written.text)

    def test_a_thread_of_any_length_keeps_its_beginning_and_its_end(self) -> None:
        ids = tuple(f"<{n}@x>" for n in range(1000))
        found = reply_to(evolve(ORIGINAL, references=ids), own).references.split()
        self.assertEqual((30, "<0@x>", "<999@x>"), (len(found), found[0], found[-1]))

    def test_a_mail_without_anything_can_be_answered(self) -> None:
        written = reply_to(original_of(parts_of(b"")), own, everybody=True)
        self.assertEqual(("", "", "Re:"), (written.to, written.cc, written.subject))
        self.assertEqual(">", quoted(""))

    def test_addresses_that_are_none_are_shown_as_they_came(self) -> None:
        raw = b"From: <(((\r\nTo: a b c\r\nCc: \xff\xfe@@\r\nDate: never\r\n\r\nx\r\n"
        written = reply_to(original_of(parts_of(raw)), own, everybody=True)
        self.assertTrue(all(isinstance(each, Wrong) for each in read_each(written.to)))
