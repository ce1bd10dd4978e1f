"""A mail that came is read as it came: by whom, to whom, with what was said of it then."""

from __future__ import annotations

from attrs import evolve

from mailnode.addresses import parse_address
from mailnode.model import SENT, Client, Judgement, Kept, Remote
from mailnode.store.arrived import Arrived, Opening, ids_between, read_arrived
from tests.stores.support import StoreCase, envelope, message, recipient

CLIENT = Client("192.0.2.9", 0, "mx.example", "ESMTPS", "TLSv1.3 x", "", loopback=False)
FIELDS = (
    b"Received: from mx.example ([192.0.2.9])\r\n\tby here; today\r\n"
    b"X-Stray-Lines:\r\n"
    b"Authentication-Results: here; spf=pass\r\n\treason=x\r\n"
    b"X-Spam-Flag: YES\r\nX-Milter: a\r\n b\r\n"
)


class ArrivedTests(StoreCase):
    def read(self) -> list[Arrived | None]:
        opening = Opening({"user1@example.test": 1}.__getitem__, self.opened.append)
        return self.database.read_now(
            lambda connection: [
                read_arrived(connection, each, opening)
                for each in ids_between(connection, 0, 1 << 40)
            ]
        )

    def setUp(self) -> None:
        super().setUp()
        self.opened: list[str] = []

    async def arrived(self, *recipients: object, **more) -> Arrived:
        made = message(**more.pop("message", {}))
        await self.messages.file_message(envelope(*recipients, client=CLIENT, **more), made)
        (found,) = self.read()
        assert found is not None
        return found

    async def test_who_sent_it_to_whom_is_as_it_was(self):
        remotes = (Remote(parse_address("c@example.net")),)
        found = await self.arrived(1, 2, remotes=remotes, sender="a@b.example", received_at=7e8)
        told = found.envelope
        self.assertEqual(CLIENT, told.client)
        self.assertEqual(("a@b.example", 7e8, 0), (str(told.sender), told.received_at, 0))
        self.assertEqual([1, 2], [each.account_id for each in told.recipients])
        self.assertEqual(["c@example.net"], [str(each.address) for each in told.remotes])
        self.assertEqual({1, 2}, found.kept)

    async def test_a_bounce_has_no_sender(self):
        self.assertIsNone((await self.arrived(1, sender=None)).envelope.sender)

    async def test_filters_get_the_fields_that_they_got_then(self):
        made = evolve(message(), prefix=FIELDS)
        await self.messages.file_message(envelope(1), made)
        (found,) = self.read()
        self.assertEqual(FIELDS, found.fields)
        self.assertEqual(FIELDS[: FIELDS.index(b"Authentication-Results")], found.message.prefix)
        self.assertEqual((made.body, made.digest), (found.message.body, found.message.digest))

    async def test_what_was_said_is_said_of_the_same_copies(self):
        own = Judgement("learned", True, ("a word",), {"verdict": "unwanted"})
        of_all = Judgement("rspamd", reasons=("CHEAP",), facts={"x": "y"}, wanted=True)
        to = evolve(recipient(1), judgements=(own,))
        found = await self.arrived(to, 2, message={"judgements": (of_all,)})
        self.assertEqual((of_all, Judgement("learned", of_copies={1: own})), found.said)

    async def test_who_signed_in_is_no_stranger(self):
        client = evolve(CLIENT, account="user1@example.test")
        await self.messages.file_message(envelope(2, client=client), message())
        (found,) = self.read()
        self.assertEqual(1, found.envelope.account_id)

    async def test_what_its_sender_keeps_in_sent_is_no_copy_that_came(self):
        kept = Kept(1, "user1@example.test", SENT)
        await self.messages.file_message(envelope(2, kept=kept), message())
        (found,) = self.read()
        self.assertEqual([2], [each.account_id for each in found.envelope.recipients])

    async def test_a_large_one_is_opened_where_it_lies(self):
        found = await self.arrived(1, message={"body": await self.make_blob(b"x" * 100)})
        found.message.body.open()
        self.assertEqual([found.message.body.key], self.opened)

    async def test_one_of_which_the_journal_knows_nothing_is_none(self):
        await self.arrived(1)
        await self.database.transact(
            "forget", lambda connection: connection.execute("DELETE FROM journal")
        )
        self.assertEqual([None], self.read())
