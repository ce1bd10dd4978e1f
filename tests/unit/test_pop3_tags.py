"""`mailnode.pop3.tags`: unwanted mail of who asked for it is served under a tagged Subject."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mailnode.model import SUBJECT_MADE, SUBJECT_TAGGED, Blob
from mailnode.pop3.body import readable
from mailnode.pop3.tags import TaggedBody
from tests.fakes import FakeReader
from tests.fakes_pop3 import HEAD, House

MAIL = b"Subject: x\r\n\r\nSubject: in the body\r\n"
BARE = b"From: a@b.example\r\n\r\nbody\r\n"
TAGGED = b"Subject: [SPAM] x\r\n\r\nSubject: in the body\r\n"


class TagsTests(SynchronousTestCase):
    def open(self, *bodies: bytes | Blob, asks: bool = True, **tagged: int) -> None:
        self.house = House(list(bodies), asks_for_tag=asks)
        self.house.messages.tags = {int(uid[1:]): how for uid, how in tagged.items()}
        self.drop, _logout = self.successResultOf(self.house.open())

    def served(self, *indices: int) -> list[bytes]:
        mails = self.successResultOf(self.drop.fetch(list(indices)))
        return [b"".join((head, self.whole(body))) for head, body, _dots in mails]

    def whole(self, body: Any) -> bytes:
        async def read() -> bytes:
            octets = b""
            while chunk := await as_read(source.read(1000)):
                octets += chunk
            return octets

        async def as_read(chunk: Any) -> bytes:
            return bytes(await chunk if isinstance(chunk, Deferred) else chunk)

        source = readable(body)
        return self.successResultOf(Deferred.fromCoroutine(read()))

    def test_the_tag_begins_the_subject_and_its_octets_are_counted(self) -> None:
        self.open(MAIL, MAIL, BARE, u11=SUBJECT_TAGGED, u13=SUBJECT_MADE)
        wanted = [HEAD + TAGGED, HEAD + MAIL, HEAD + b"Subject: [SPAM]\r\n" + BARE]
        self.assertEqual(wanted, self.served(0, 1, 2))
        self.assertEqual(wanted, [each for index in range(3) for each in self.served(index)])
        self.assertEqual([len(each) for each in wanted], list(self.drop.listMessages()))
        self.assertEqual(sum(map(len, wanted)), self.drop.octets)

    def test_who_did_not_ask_gets_the_octets_that_came(self) -> None:
        self.open(MAIL, asks=False, u11=SUBJECT_TAGGED)
        self.assertEqual([HEAD + MAIL], self.served(0))
        self.assertEqual(len(HEAD + MAIL), self.drop.octets)

    def test_mails_without_a_tag_still_come_as_a_run(self) -> None:
        self.open(MAIL, MAIL, BARE, u13=SUBJECT_MADE)
        self.served(0, 1)
        self.assertIn("Run", type(self.successResultOf(self.drop.fetch([0, 1]))).__name__)

    def test_a_large_mail_is_tagged_as_it_is_read(self) -> None:
        mail = b"From: a@b.example\r\nSubject: x\r\n\r\n" + b"body\r\n" * 50_000
        octets = self.whole(TaggedBody(FakeReader(mail), b"[SPAM]"))
        self.assertTrue(octets.startswith(b"From: a@b.example\r\nSubject: [SPAM] x\r\n\r\nbody"))
        self.assertEqual(mail, octets.replace(b" [SPAM]", b""))
