"""`mailnode.tagging`: a tag is put into a Subject, and nothing else of the mail is another."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mailnode.mime import subject_of
from mailnode.model import SUBJECT_MADE, SUBJECT_TAGGED
from mailnode.tagging import HEADER_OCTETS, field_of, how_to_tag, octets_of_tag, put_tag

TAG = b"[SPAM]"
FIELDS = (b"From: a@b.example\r\n", b"Subject: x\r\n", b"SUBJECT:x\r\n", b"Subject:\r\n folded\r\n",
          b"X-Subject: y\r\n", b"X: z\r\n subject: in it\r\n", b"Subject : odd\r\n")  # fmt: skip


class TaggingTests(SynchronousTestCase):
    def subject(self, field: bytes) -> str:
        self.assertEqual(SUBJECT_TAGGED, how_to_tag(field))
        return subject_of(put_tag(field, TAG))

    def test_it_begins_the_subject_however_that_is_written(self) -> None:
        for field in (
            b"Subject: Hello\r\n",
            b"From: a@b.example\r\nsubject: Hello\r\n",
            b"Subject:\r\n Hello\r\n",
            b"Subject: =?utf-8?q?Hello?=\r\n",
        ):
            self.assertEqual("[SPAM] Hello", self.subject(field))
        self.assertEqual("[SPAM]", self.subject(b"Subject:\r\n"))

    def test_a_mail_without_a_subject_gets_one(self) -> None:
        for mail in (b"From: a@b.example\r\n\r\nSubject: body\r\n", b"\r\nSubject: body\r\n", b""):
            self.assertEqual(SUBJECT_MADE, how_to_tag(mail))
        self.assertEqual(b"Subject: [SPAM]\r\n", field_of(TAG))
        self.assertEqual(len(field_of(TAG)), octets_of_tag(TAG, SUBJECT_MADE))

    def test_of_a_header_that_does_not_end_nothing_is_said(self) -> None:
        far = b"X: y\r\n" * (HEADER_OCTETS // 6 + 1)
        self.assertEqual(0, how_to_tag(far[:HEADER_OCTETS]))
        self.assertEqual(SUBJECT_TAGGED, how_to_tag(b"Subject: x\r\n" + far))

    @given(st.lists(st.sampled_from(FIELDS)), st.binary())
    def test_without_the_tag_it_is_the_mail_that_came(
        self, fields: list[bytes], body: bytes
    ) -> None:
        mail = b"".join(fields) + b"\r\n" + body
        tagged = put_tag(mail, TAG)
        if how_to_tag(mail) == SUBJECT_TAGGED:
            self.assertEqual(len(mail) + octets_of_tag(TAG, SUBJECT_TAGGED), len(tagged))
            self.assertEqual(mail, tagged.replace(b" " + TAG, b"", 1))
        else:
            self.assertEqual(mail, tagged)
