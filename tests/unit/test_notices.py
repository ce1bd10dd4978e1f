"""Mails to accounts about their sign-in: what they say, and that a node files them."""

from __future__ import annotations

import sqlite3
import time
from email import message_from_bytes, policy
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

from mailnode.addresses import parse_address
from mailnode.audited import Actor, Entry
from mailnode.errors import StoreFull
from mailnode.events import SignedIn
from mailnode.findings import NOTE, find
from mailnode.model import Envelope, Message
from mailnode.notices.mails import WIDTH, make_notice
from mailnode.notices.notices import AGAIN_S, Notices
from mailnode.service import Node
from mailnode.store.audit_lines import read_back
from mailnode.store.seen import Seen
from mailnode.store.seen_rows import ALL, NOTICED, SIGN_INS
from tests.unit.node_case import NodeCase

BOB = "bob@example.test"


def notice(event: str, actor: Actor, last: str = "", **detail: object) -> tuple[Any, str]:
    octets = make_notice(
        Entry(event, BOB, actor, detail, 1_800_000_000.0),
        to=parse_address(BOB),
        sender=parse_address("postmaster@example.test"),
        mail_id="0" * 26,
        hostname="mx.example.test",
        last=last,
    )
    assert b"\n" not in octets.replace(b"\r\n", b"")
    bad = [each for each in find(octets, at=1_800_000_000.0) if each.severity != NOTE]
    assert not bad, bad
    mail = message_from_bytes(octets, policy=policy.default)
    return mail, mail.get_content()


class WordsTests(SynchronousTestCase):
    def test_a_sign_in_says_when_where_from_and_by_what_and_what_to_do(self) -> None:
        mail, text = notice("signed-in", Actor(BOB, "pop3 by phone", "198.51.100.1"))
        self.assertEqual("A new sign-in to your account", mail["subject"])
        self.assertEqual("auto-generated", mail["auto-submitted"])
        for words in ("198.51.100.1", "by POP3", "the app password phone", "2027-01-15 08:00 UTC",
                      "password there", "nothing to do"):  # fmt: skip
            self.assertIn(words, text)

    def test_a_browser_that_is_new_is_called_so(self) -> None:
        _mail, text = notice("signed-in", Actor(BOB, "web", "192.0.2.7"), device="x")
        self.assertIn("a browser that is new", text)

    def test_who_else_changed_it_is_named(self) -> None:
        _mail, text = notice("password-changed", Actor("alice@example.test", "web", "192.0.2.1"))
        self.assertIn("alice@example.test, who looks after the server", text)
        self.assertIn("telephone", text)

    def test_the_last_of_the_day_says_so(self) -> None:
        _mail, text = notice("signed-in", Actor(BOB, "smtp", "192.0.2.7"), last=SIGN_INS)
        self.assertIn("last mail of today about sign-ins and tokens", " ".join(text.split()))
        _mail, text = notice("factor-removed", Actor(BOB, "web"), last=ALL, name="phone")
        self.assertIn("last such mail of today", text)

    def test_what_somebody_called_a_token_breaks_no_line(self) -> None:
        mail, text = notice("token-made", Actor(BOB, "web"), name="häßlich\u2028 \n.x" * 30)
        self.assertEqual([], mail.defects)
        self.assertIn("häßlich", text)

    def test_an_address_beyond_ascii_stands_in_the_field_as_it_is(self) -> None:
        octets = make_notice(
            Entry("signed-in", "юзер@example.test", Actor("", "pop3"), {}, 1_800_000_000.0),
            to=parse_address("юзер@example.test"),
            sender=parse_address("postmaster@example.test"),
            mail_id="0" * 26,
            hostname="mx.example.test",
        )
        self.assertIn("\r\nTo: <юзер@example.test>\r\n", octets.decode())

    def test_each_event_that_is_noticed_has_its_words(self) -> None:
        for event in (*NOTICED, "signed-in"):
            self.assertTrue(notice(event, Actor("root", "command line"))[1])

    def test_prose_is_wrapped_and_what_must_be_encoded_has_lines_of_76_octets(self) -> None:
        for event in (*NOTICED, "signed-in"):
            for name in ("phone", "häßlich " * 40, "x" * 400):
                for last in ("", SIGN_INS, ALL):
                    _, text = notice(event, Actor(BOB, f"pop3 by {name}"), last, name=name)
                    prose = [each for each in text.splitlines() if not each.startswith("    ")]
                    self.assertLessEqual(max(map(len, prose)), WIDTH)


def full_disk(*_args: object) -> None:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL  # type: ignore[misc]
    raise error


class NodeTests(NodeCase):
    async def mails(self, node: Node) -> list[str]:
        """Subjects in bob's inbox."""
        account = node.directory.find(parse_address(BOB))
        assert account is not None
        found = await self.done(
            node.database.read(
                lambda sql: sql.execute(
                    "SELECT subject FROM message JOIN delivery ON message_id = message.id"
                    " JOIN folder ON folder.id = folder_id WHERE account_id = ?"
                    " ORDER BY message.id",
                    (account.id,),
                ).fetchall()
            )
        )
        return [str(subject) for (subject,) in found]

    async def follow(self, node: Node) -> None:
        await self.done(node.audit.flush())
        assert node.notices is not None
        await self.done(node.notices.run())

    async def signed_in_once(self) -> tuple[Node, Notices]:
        self.add_accounts("bob")
        node = self.started()
        await self.follow(node)
        self.sign_in(node, "192.0.2.7")
        await self.follow(node)
        assert node.notices is not None
        return node, node.notices

    def sign_in(self, node: Node, client: str, **more: object) -> None:
        detail = {"account": BOB, "service": "pop3", **more}
        node.mail_log.tell(SignedIn(client=client, detail=detail))

    async def test_a_sign_in_from_elsewhere_is_told_by_a_mail_and_the_first_is_not(self) -> None:
        self.add_accounts("bob")
        node = self.started()
        await self.follow(node)
        self.sign_in(node, "192.0.2.7")
        await self.follow(node)
        self.assertEqual([], await self.mails(node))
        self.sign_in(node, "198.51.100.1")
        await self.follow(node)
        await self.follow(node)
        self.assertEqual(["A new sign-in to your account"], await self.mails(node))
        self.assertEqual({"signed-in": 1}, dict(node.notices.counts))  # type: ignore[union-attr]

    async def test_a_password_that_was_set_beside_the_node_is_told(self) -> None:
        self.add_accounts("bob")
        node = self.started()
        self.sign_in(node, "192.0.2.7")
        await self.follow(node)
        node.accounts.by(Actor("root", "command line")).set_password(BOB, "other hash")
        await self.follow(node)
        self.assertEqual(["Your password was changed"], await self.mails(node))

    async def test_on_a_full_disk_what_was_told_is_told_once_and_the_log_has_a_warning(
        self,
    ) -> None:
        node, notices = await self.signed_in_once()
        for told, method in enumerate(("_keep", "_find"), 1):
            broken = self.patch(Seen, method, full_disk)
            self.sign_in(node, f"198.51.{told}.1")
            await self.follow(node)
            self.assertEqual(1, len([each for each in self.lines if "are told later" in each]))
            self.lines.clear()
            await self.follow(node)  # it is not looked at again at once
            self.assertEqual([], [each for each in self.lines if "are told later" in each])
            broken.restore()
            now = notices.now() + AGAIN_S
            notices.now = lambda now=now: now  # type: ignore[misc]
            await self.follow(node)
            self.assertEqual(told, len(await self.mails(node)))
        self.assertEqual([], self.flushLoggedErrors())

    async def test_when_one_mail_finds_no_room_the_ones_before_it_are_filed_once(self) -> None:
        node, notices = await self.signed_in_once()
        file, filed = notices.file, []

        def file_one(envelope: Envelope, message: Message) -> Deferred[Any]:
            filed.append(envelope)
            return fail(StoreFull()) if len(filed) == 2 else file(envelope, message)

        notices.file = file_one
        self.sign_in(node, "198.51.100.1")
        self.sign_in(node, "203.0.113.1")
        await self.follow(node)
        self.assertEqual(1, len(await self.mails(node)))
        notices.now = lambda: time.time() + AGAIN_S
        await self.follow(node)
        self.assertEqual(2, len(await self.mails(node)))
        self.assertEqual({"signed-in": 2}, dict(notices.counts))

    async def test_a_demo_account_is_told_nothing(self) -> None:
        self.add_accounts("bob", demo=True)
        node = self.started()
        await self.follow(node)
        self.sign_in(node, "192.0.2.7")
        self.sign_in(node, "198.51.100.1")
        await self.follow(node)
        self.assertEqual([], await self.mails(node))

    async def test_they_can_be_switched_off(self) -> None:
        self.add_accounts("bob")
        node = self.started(audit__notices=False)
        await self.follow(node)
        for client in ("192.0.2.7", "198.51.100.1"):
            self.sign_in(node, client)
            await self.follow(node)
        self.assertEqual([], await self.mails(node))
        account = node.directory.find(parse_address(BOB))
        assert account is not None
        self.assertEqual(2, len(await self.done(node.seen.recent(account.id))))

    async def test_what_waits_at_the_stop_is_in_the_stream(self) -> None:
        self.add_accounts("bob")
        node = self.started()
        self.sign_in(node, "192.0.2.7")
        await self.done(node.stopService())
        self.assertIn("signed-in", [each.entry.event for each in read_back(self.data)])
