"""Whom an account has written to, by what the store knows."""

from __future__ import annotations

from functools import partial

from attrs import evolve

from mailnode.addresses import parse_address
from mailnode.model import SENT, Client, Kept, Remote
from mailnode.store import correspondents
from mailnode.store.correspondents import has_written
from tests.stores.support import StoreCase, envelope, message

ALICE = "user1@example.test"
BOB = "Bob@example.net"


def signed_in(account: str = ALICE) -> Client:
    return Client("192.0.2.1", helo="laptop", protocol="ESMTPSA", account=account)


class WrittenTests(StoreCase):
    async def has_written(self, address: str, account_id: int = 1, mailbox: str = ALICE) -> bool:
        return await self.database.read(
            partial(
                has_written,
                account_id=account_id,
                mailbox=mailbox,
                address=parse_address(address),
            )
        )

    async def sent(self, *to: Remote, raw: bytes = b"Subject: x\r\n\r\nhi\r\n", **more) -> None:
        made = envelope(client=signed_in(), sender=ALICE, **more)
        await self.messages.file_message(evolve(made, remotes=to), message(raw))

    async def test_who_was_sent_a_mail_is_known_to_its_sender_alone(self):
        self.assertFalse(await self.has_written(BOB))
        await self.sent(Remote(parse_address(BOB)))
        self.assertTrue(await self.has_written(BOB))
        self.assertFalse(await self.has_written("rob@example.net"))
        self.assertFalse(await self.has_written(BOB, 2, "user2@example.test"))

    async def test_case_makes_no_difference_to_one_who_writes_back_in_small_letters(self):
        await self.sent(Remote(parse_address(BOB.lower())))
        self.assertTrue(await self.has_written(BOB))

    async def test_who_has_a_mailbox_here_is_known_too(self):
        await self.messages.file_message(envelope(2, client=signed_in(), sender=ALICE), message())
        self.assertTrue(await self.has_written("user2@example.test"))

    async def test_what_was_captured_or_forwarded_was_not_written_to(self):
        await self.sent(Remote(parse_address(BOB), captured=True))
        await self.sent(Remote(parse_address(BOB), alias=parse_address("list@example.test")))
        stranger = envelope(1, sender=BOB)
        forwarded = (Remote(parse_address("c@example.net")),)
        await self.messages.file_message(evolve(stranger, remotes=forwarded), message())
        for address in (BOB, "c@example.net"):
            self.assertFalse(await self.has_written(address), address)

    async def test_what_lies_in_sent_is_known_when_the_journal_has_forgotten_it(self):
        raw = b"To: Bob <bob@EXAMPLE.net>, jim.rob@example.net\r\nCc: c@example.net\r\n\r\nx\r\n"
        kept = Kept(1, ALICE, SENT)
        await self.sent(Remote(parse_address(BOB)), raw=raw, kept=kept)
        await self.database.transact(
            "forget", lambda connection: connection.execute("DELETE FROM journal")
        )
        for address, expected in (
            (BOB, True),
            ("c@example.net", True),
            ("rob@example.net", False),  # a part of an address is none
            ("x@example.net", False),
        ):
            self.assertEqual(expected, await self.has_written(address), address)
        self.assertFalse(await self.has_written(BOB, 2, "user2@example.test"))

    async def test_only_the_newest_of_sent_are_looked_at(self):
        kept = Kept(1, ALICE, SENT)
        for name in ("a", "b", "c"):
            raw = f"To: {name}@example.net\r\n\r\nx\r\n".encode()
            await self.sent(Remote(parse_address("z@example.com")), raw=raw, kept=kept)
        self.patch(correspondents, "NEWEST", 2)
        self.assertEqual(
            [False, True, True], [await self.has_written(f"{each}@example.net") for each in "abc"]
        )
