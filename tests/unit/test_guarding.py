"""What a node keeps and tells of those who guess."""

from __future__ import annotations

import time
from typing import Any

from twisted.cred.error import UnauthorizedLogin
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.testing import StringTransport

from mailnode.addresses import parse_address
from mailnode.audited import THE_NODE, Actor
from mailnode.cred.credentials import PasswordCredentials
from mailnode.cred.guessing import Asked
from mailnode.cred.passwords import Passwords
from mailnode.errors import NotFound, SignInBlocked
from mailnode.guarding import BELL
from mailnode.networks import BadBan
from mailnode.service import Node
from mailnode.store.audit_lines import read_back
from mailnode.store.guard import Ban, GuardFile, read_kept_out
from tests.unit.node_case import NodeCase

THERE, HOME = "198.51.100.7", "192.0.2.1"
ALICE = Actor("alice@example.test", "token 1 (wall)", "192.0.2.200")


class GuardingCase(NodeCase):
    def setUp(self) -> None:
        super().setUp()
        self.add_accounts("alice", "bob")

    def begun(self, **more: object) -> Node:
        return self.started(guessing__failures=3, **more)

    def asked(self, node: Node, client: str = THERE, guess: int | None = None) -> Asked:
        found = node.directory.find(parse_address("alice@example.test"))
        assert found is not None
        said = node.guard.guesses.guess_of("alice", b"%d" % guess) if guess is not None else None
        return Asked(client, "alice@example.test", found.id, said)

    def guess(self, node: Node, client: str = THERE, count: int = 3) -> None:
        for number in range(count):
            node.guard.guesses.failed(self.asked(node, client, number))

    async def again(self, node: Node) -> Node:
        await self.stop(node)
        return self.begun()

    async def done(self, work: Any) -> Any:
        results: list[Any] = []
        Deferred.fromCoroutine(work).addBoth(results.append)
        await self.until(lambda: bool(results))
        if hasattr(results[0], "raiseException"):
            results[0].raiseException()
        return results[0]

    def file(self) -> GuardFile:
        opened = GuardFile(self.data)
        self.addCleanup(opened.close)
        return opened

    def told(self, node: Node, name: str) -> int:
        node.mail_log.tell_late()
        return node.mail_log.counts[name]

    async def audited(self, node: Node) -> list[tuple[str, Actor, dict[str, object]]]:
        """Of the audit stream, the oldest first."""
        flushed = node.audit.flush()
        await self.until(lambda: flushed.called)
        entries = [each.entry for each in read_back(self.data)][::-1]
        return [
            (each.event, each.actor, dict(each.detail))
            for each in entries
            if each.event in ("banned", "unbanned")
        ]


class KeepingTests(GuardingCase):
    async def test_a_restart_forgives_nobody_and_knows_the_owners(self) -> None:
        node = self.begun()
        node.guard.guesses.signed_in(self.asked(node, HOME))
        self.guess(node)
        node = await self.again(node)
        self.assertGreater(node.guard.guesses.closed_s(THERE), 890)
        self.assertTrue(node.guard.guesses.is_known(self.asked(node, HOME)))
        self.assertGreater(node.guard.guesses.failed(self.asked(node, THERE)), 3)

    async def test_failures_are_written_together_once_a_second(self) -> None:
        node = self.begun()
        written: list[int] = []
        write = GuardFile.write

        def count(file: GuardFile, *rows: Any) -> None:
            written.append(len(rows[1]))
            write(file, *rows)

        self.patch(GuardFile, "write", count)
        for number in range(500):
            self.guess(node, f"203.0.113.{number % 200}", 1)
        self.assertEqual([], written)
        self.reactor.advance(1)
        await self.until(lambda: bool(written))
        self.reactor.advance(0.5)
        self.assertEqual([200], written)  # rows, of as many addresses

    async def test_a_deleted_account_leaves_nothing_behind(self) -> None:
        node = self.begun()
        node.guard.guesses.signed_in(self.asked(node, HOME))
        self.guess(node, count=2)
        self.reactor.advance(1)
        accounts = self.accounts()
        file = self.file()
        await self.until(lambda: bool(file.account_ids()))
        accounts.delete_account("alice@example.test")
        self.reactor.advance(1)
        await self.until(lambda: not file.account_ids())

    async def test_what_can_not_be_written_is_told_once_and_nobody_waits_for_it(self) -> None:
        node = self.begun()

        def fails(*_rows: Any) -> None:
            raise BadBan("the disk is gone")

        self.patch(GuardFile, "write", fails)
        for _ in range(3):
            self.guess(node)
            self.reactor.advance(1)
            await self.until(lambda: node.guard._working is None)
        self.assertEqual(1, sum("the disk is gone" in line for line in self.lines))
        self.assertGreater(node.guard.guesses.closed_s(THERE), 0)


class BanTests(GuardingCase):
    async def test_a_ban_of_the_command_line_holds_once_the_bell_is_rung_and_is_told(self) -> None:
        node = self.begun()
        file = self.file()
        file.ban(Ban("198.51.100.0/24", time.time(), None, "why", "command"))
        node.bell.ring(BELL)
        await self.until(lambda: node.guard.guesses.closed_s(THERE) > 0)
        self.assertEqual(1, self.told(node, "banned"))
        self.assertIn("banned client=198.51.100.0/24 reason=why by=command", "".join(self.lines))
        file.lift("198.51.100.0/24", time.time())
        self.reactor.advance(6)  # without a bell it is seen as well
        await self.until(lambda: node.guard.guesses.closed_s(THERE) == 0)
        self.assertEqual(1, self.told(node, "unbanned"))
        self.assertEqual([], await self.audited(node))  # the command has told it

    async def test_the_audit_stream_has_who_banned_and_lifted_by_the_node_once(self) -> None:
        node = self.begun()
        self.guess(node)
        await self.done(node.guard.ban("198.51.100.0/24", 60, "why", ALICE))
        node.guard.take_up()
        await self.until(lambda: node.guard._working is None)
        await self.done(node.guard.lift("198.51.100.0/24", ALICE))
        network = {"network": "198.51.100.0/24"}
        failures = {"failures": 3, "for_s": 900, "reason": "guessing"}
        self.assertEqual(
            [
                ("banned", THE_NODE, {"network": THERE} | failures),
                ("banned", ALICE, network | {"for_s": 60, "reason": "why"}),
                ("unbanned", ALICE, network | {"blocks": 1}),
            ],
            await self.audited(node),
        )

    async def test_a_ban_that_was_there_at_the_start_is_not_told_again(self) -> None:
        node = self.begun()
        await self.done(node.guard.ban(THERE, 60, "why", ALICE))
        node = await self.again(node)
        self.assertGreater(node.guard.guesses.closed_s(THERE), 0)
        node.guard.take_up()
        await self.until(lambda: node.guard._working is None)
        self.assertEqual(0, self.told(node, "banned"))

    async def test_a_block_is_told_with_its_time_and_is_lifted_by_the_command_line(self) -> None:
        node = self.begun()
        self.guess(node)
        self.assertEqual(1, self.told(node, "banned"))
        self.assertIn(f"banned client={THERE} for_s=900 reason=guessing", "".join(self.lines))
        self.reactor.advance(1)
        await self.until(lambda: bool(read_kept_out(self.data, time.time())[1]))
        self.file().lift(f"{THERE}/32", time.time())
        node.bell.ring(BELL)
        await self.until(lambda: node.guard.guesses.closed_s(THERE) == 0)
        self.assertEqual(1, self.told(node, "unbanned"))
        self.assertEqual(([], []), node.guard.kept_out())

    async def test_an_administrator_lifts_a_block_that_was_not_written_yet(self) -> None:
        node = self.begun()
        self.guess(node)
        await self.done(node.guard.lift(THERE, ALICE))
        self.assertEqual(0, node.guard.guesses.closed_s(THERE))
        with self.assertRaises(NotFound):
            await self.done(node.guard.lift(THERE, ALICE))

    async def test_settings_are_taken_up_while_it_runs(self) -> None:
        node = self.begun()
        self.guess(node, count=2)
        node.config = self.config(guessing__failures=3, guessing__never=("198.51.100.0/24",))
        node._apply_limits()
        self.guess(node, count=9)
        self.assertEqual(0, node.guard.guesses.closed_s(THERE))


class DoorTests(GuardingCase):
    """What a blocked client hears."""

    def hears(self, factory: Any, client: str = THERE, *said: str) -> str:
        peer = IPv4Address("TCP", client, 4711)
        transport = StringTransport(peerAddress=peer)
        transport.abortConnection = transport.loseConnection  # type: ignore[attr-defined]
        protocol = factory.buildProtocol(peer)
        protocol.makeConnection(transport)
        for line in said:
            protocol.dataReceived(line.encode() + b"\r\n")
        self.left = transport.disconnecting
        return transport.value().decode()

    async def test_pop3_and_submission_close_and_mail_of_servers_comes_in(self) -> None:
        known = ("198.51.100.0/24",)  # nobody is looked up
        node = self.begun(
            listen__pop3=("1100",), listen__submission=("5870",), arrival__known=known
        )
        self.guess(node)
        said = self.hears(node.pop3)
        self.assertEqual(("-ERR [SYS/TEMP]", True), (said[:15], self.left))
        self.assertIn("from your address", said)
        self.assertTrue(self.hears(node.submission).startswith("421 4.7.0 "))
        self.assertTrue(self.left)
        self.assertTrue(self.hears(node.pop3, HOME).startswith("+OK"))
        said = self.hears(node.smtp, THERE, "EHLO mx.example.net", "MAIL FROM:<a@b.example>")
        self.assertIn("250 2.1.0", said)
        self.assertFalse(self.left)
        self.assertEqual(2, node.guard.guesses.turned_away)

    async def test_no_password_is_checked_for_a_blocked_client(self) -> None:
        node = self.begun()
        self.guess(node)

        def checked(*_: object) -> None:
            raise AssertionError("a password was checked")

        self.patch(Passwords, "verify", checked)
        login = node.portal.login(PasswordCredentials(b"alice", b"x", THERE), None)
        blocked = self.failureResultOf(login, SignInBlocked).value
        self.assertEqual((454, "SYS/TEMP", 429),
                         (blocked.smtp_code, blocked.pop3_code, blocked.http_status))  # fmt: skip
        self.assertGreater(blocked.retry_after_s, 890)
        self.assertNotIsInstance(blocked, UnauthorizedLogin)
