"""`Node` in somebody's own test, as docs/extending.rst shows it: a real reactor and real ports."""

from __future__ import annotations

import poplib
import smtplib
from pathlib import Path
from typing import Any

from twisted.application.service import Application, IServiceCollection
from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from mailnode.addresses import parse_address
from mailnode.config import Config, load_config
from mailnode.cred.passwords import hash_password
from mailnode.errors import StoreBusy
from mailnode.service import Node, StartFailed
from mailnode.smtp.functions import FunctionMailboxes

PASSWORD = "correct horse 7"
MAIL = b"Subject: Hello\r\n\r\nIt works.\r\n"

mailboxes = FunctionMailboxes()
subjects: list[str] = []


@mailboxes.at("note@example.test")
def note(mail: Any, envelope: Any) -> None:
    subjects.append(mail["Subject"])


class NodeCase(TestCase):
    timeout = 60

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()

    def config(self, **more: object) -> Config:
        options: dict[str, tuple[object, str]] = {
            "node.users": (str(self.folder / "users.db"), "test"),
            "node.data": (str(self.folder / "var"), "test"),
            "node.hostname": ("mx.example.test", "test"),
            "listen.smtp": (("0",), "test"),
            "listen.pop3": (("0",), "test"),
        }
        given = {name.replace("__", "."): (value, "test") for name, value in more.items()}
        return load_config(environment={}, options=options | given)

    def start(self, **more: object) -> Node:
        node = Node(self.config(**more), reactor)
        node.privilegedStartService()
        node.startService()
        self.addCleanup(node.stopService)
        return node

    async def add_alice(self, node: Node) -> None:
        address = parse_address("alice@example.test")
        node.accounts.add_domain("example.test")
        node.accounts.add_account(address, hash_password(PASSWORD))
        node.bell.ring("accounts")
        while node.directory.find(address) is None:  # it is read in a thread
            await deferLater(reactor, 0.01)

    def port(self, node: Node, kind: str) -> int:
        (where,) = [each for each in node.listeners if each.kind == kind]
        return int(next(iter(where.addresses())).rpartition(":")[2])

    def send(self, node: Node, to: str) -> Deferred[Any]:
        def talk() -> None:
            with smtplib.SMTP("127.0.0.1", self.port(node, "smtp"), timeout=30) as client:
                client.sendmail("dave@elsewhere.example", [to], MAIL)

        return deferToThread(talk)

    def fetch(self, node: Node) -> Deferred[list[bytes]]:
        def talk() -> list[bytes]:
            client = poplib.POP3("127.0.0.1", self.port(node, "pop3"), timeout=30)
            client.user("alice")
            client.pass_(PASSWORD)
            mails = [b"\r\n".join(client.retr(n + 1)[1]) for n in range(client.stat()[0])]
            client.quit()
            return mails

        return deferToThread(talk)


class BusyStore:
    def file_message(self, envelope: object, message: object) -> Deferred[None]:
        return fail(StoreBusy())


class NodeTests(NodeCase):
    async def test_it_takes_a_mail_and_gives_it_out_and_starts_again(self) -> None:
        node = self.start()
        self.assertEqual({}, node.readiness())
        await self.add_alice(node)
        await self.send(node, "alice@example.test")
        (mail,) = await self.fetch(node)
        self.assertIn(b"by mx.example.test", mail)
        self.assertTrue(mail.endswith(b"Subject: Hello\r\n\r\nIt works."), mail)
        self.assertEqual(1, node.mail_log.counts["accepted"])
        await node.stopService()
        self.assertFalse((self.folder / "var" / "listening.json").exists())
        again = self.start()
        self.assertEqual([mail], await self.fetch(again))

    async def test_its_parts_can_be_set_by_name(self) -> None:
        node = self.start(plugins__delivery=f"{__name__}:mailboxes")
        await self.add_alice(node)
        subjects.clear()
        await self.send(node, "note@example.test")
        self.assertEqual(["Hello"], subjects)
        self.assertEqual([], await self.fetch(node))

    async def test_its_parts_can_be_used_and_broken(self) -> None:
        node = self.start()
        await self.add_alice(node)

        self.patch(node.intake, "messages", BusyStore())
        error = await self.assertFailure(
            self.send(node, "alice@example.test"), smtplib.SMTPDataError
        )
        self.assertEqual(451, error.smtp_code)

    async def test_two_nodes_run_side_by_side_and_a_folder_has_one(self) -> None:
        first = self.start()
        folder = self.folder
        self.folder = folder / "other"
        self.folder.mkdir()
        second = self.start()
        self.assertNotEqual(self.port(first, "smtp"), self.port(second, "smtp"))
        self.folder = folder
        third = Node(self.config(), reactor)
        refused = self.assertRaises(StartFailed, third.startService)
        self.assertEqual(75, refused.code)
        self.assertIn("another node runs", refused.why)
        await self.add_alice(first)
        await self.send(first, "alice@example.test")

    async def test_a_node_that_can_not_start_leaves_nothing_behind(self) -> None:
        for settings, code in (
            ({"plugins__delivery": "no_such_module:x"}, 78),
            ({"plugins__filters": ("no-such-filter",)}, 78),
            ({"listen__pop3": ("99999",)}, 64),
        ):
            node = Node(self.config(**settings), reactor)
            refused = self.assertRaises(StartFailed, node.startService)
            self.assertEqual(code, refused.code)
            await node.stopService()
        self.start()


class ServiceTests(NodeCase):
    async def test_an_application_starts_and_stops_it(self) -> None:
        application = Application("mail")
        node = Node(self.config(), reactor)
        node.setServiceParent(application)
        services = IServiceCollection(application)
        self.assertIs(node, services.getServiceNamed("mailnode"))
        services.privilegedStartService()
        services.startService()
        self.assertTrue(node.started)
        await services.stopService()
        self.assertFalse(node.started)
