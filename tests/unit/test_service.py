"""`mailnode.service`: a node starts whole or not at all, takes up changes, and stops in order."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sqlite3
import threading
import time
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.error import CannotListenError
from twisted.internet.task import deferLater
from twisted.protocols.tls import TLSMemoryBIOFactory

from mailnode import house
from mailnode.addresses import parse_address
from mailnode.config import Config
from mailnode.cred.passwords import Passwords
from mailnode.errors import StoreBroken
from mailnode.events import RefusedMail, SignedIn
from mailnode.house import SEVERAL
from mailnode.listening import KINDS
from mailnode.service import TOKENS_S, Node, StartFailed
from mailnode.store.tokens import Token, insert_token, make_secret
from mailnode.tls import Certificate, make_self_signed
from tests.fakes import FakeTransport, Talk
from tests.unit.node_case import FakeSession, NodeCase

ALL = {f"listen__{kind}": (str(2001 + at),) for at, kind in enumerate(KINDS)}


class StartTests(NodeCase):
    def test_every_kind_of_port_has_its_server(self) -> None:
        node = self.started(**ALL)
        servers = {each.kind: each.door.inner for each in node.listeners}
        self.assertEqual([node.smtp, node.submission, node.pop3],
                         [servers[kind] for kind in ("smtp", "submission", "pop3")])  # fmt: skip
        for kind, inside in (("smtps", node.submission), ("pop3s", node.pop3)):
            self.assertIsInstance(servers[kind], TLSMemoryBIOFactory)
            self.assertIs(inside, servers[kind].wrappedFactory)
        self.assertFalse(node.smtp.submission)
        self.assertTrue(node.submission.submission)

    def test_nobody_comes_in_before_everything_is_there(self) -> None:
        node = self.node()
        node.privilegedStartService()
        (port, _other_family) = self.reactor.open_ports()
        self.assertIs(None, port.factory.buildProtocol(port.address))
        self.assertFalse(self.data.exists())
        node.startService()
        talk = Talk(port.factory.buildProtocol(port.address), FakeTransport())
        self.assertTrue(talk.read().startswith("220 mx.example.test"))
        talk.lose()

    def test_a_node_in_an_application_that_sheds_nothing_binds_once(self) -> None:
        self.started()
        self.assertEqual(2, len(self.reactor.ports))

    def test_it_says_to_scripts_where_it_listens_once_the_reactor_runs(self) -> None:
        self.started(listen__pop3=("0", "tcp:110"))
        path = self.data / "listening.json"
        self.assertFalse(path.exists())
        self.reactor.advance(0)
        told = json.loads(path.read_text())
        self.assertEqual(0o600, path.stat().st_mode & 0o777)
        self.assertEqual((os.getpid(), "mx.example.test"), (told["pid"], told["hostname"]))
        self.assertEqual(["127.0.0.1:2525", "[::1]:2525"], told["smtp"])
        self.assertEqual(["127.0.0.1:40002", "[::1]:40002", "0.0.0.0:110"], told["pop3"])
        self.assertEqual([], told["smtps"])
        self.assertIsNone(told["config"])
        self.assertEqual(str((self.data / "tls" / "cert.pem").absolute()), told["tls_cert"])
        self.assertEqual(str((self.data / "tls" / "key.pem").absolute()), told["tls_key"])

    def test_what_it_makes_is_its_owner_s_alone(self) -> None:
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        self.started()
        self.assertEqual(0o700, self.data.stat().st_mode & 0o777)
        for path in [self.users, *(path for path in self.data.rglob("*"))]:
            self.assertEqual(0, path.stat().st_mode & 0o077, path)

    def test_it_tells_the_log_where_it_listens_and_what_is_missing(self) -> None:
        self.started()
        self.assertIn("info: smtp on 127.0.0.1:2525", self.lines)
        self.assertIn("info: TLS with a self-signed certificate for mx.example.test", self.lines)
        self.assertTrue(any("mailnode init --user" in line for line in self.lines))

    def test_a_file_of_settings_that_lies_there_unread_is_told(self) -> None:
        self.addCleanup(os.chdir, Path.cwd())
        self.users, self.data = self.users.absolute(), self.data.absolute()
        os.chdir(self.folder)
        Path("mailnode.toml").touch()
        self.started()
        unread = "warn: mailnode.toml lies here and is not read: --config mailnode.toml reads it"
        self.assertIn(unread, self.lines)

    def test_who_started_it_is_called_once_everything_listens(self) -> None:
        heard: list[tuple[Node, bool]] = []
        node = Node(
            self.config(),
            self.reactor,
            on_started=lambda node: heard.append((node, node.started)),
        )
        self.addCleanup(self.stop, node)
        node.startService()
        self.assertEqual([(node, True)], heard)


class RefusedStartTests(NodeCase):
    """No port, no lock and no thread is left of a node that can't start."""

    def refused(self, code: int, **settings: object) -> str:
        threads = threading.active_count()
        node = self.node(**settings)
        failed = self.assertRaises(StartFailed, self.start, node)
        self.assertEqual(code, failed.code, failed.why)
        self.assertEqual([f"critical: the node can't start: {failed.why}"],
                         [line for line in self.lines if line.startswith("critical")])  # fmt: skip
        self.lines.clear()
        self.assertEqual([], self.reactor.open_ports())
        self.assertFalse(node.started)
        if self.data.is_dir():
            self.assertTrue(self.folder_is_free())
            self.assertFalse((self.data / "listening.json").exists())
        self.threads = threads
        return failed.why

    def start(self, node: Node) -> None:
        node.privilegedStartService()
        node.startService()

    async def starts_now(self, **settings: object) -> None:
        """Nothing of it keeps the next one from starting."""
        await self.until(lambda: threading.active_count() <= self.threads)
        self.started(**settings)

    async def test_demo_accounts_are_for_this_machine_alone(self) -> None:
        self.add_accounts("alice", "bob", demo=True)
        why = self.refused(78, listen__pop3s=("tcp:995",))
        self.assertIn("tcp:995 listens beyond this machine", why)
        delete = "mailnode user delete {}@example.test --yes"
        self.assertTrue(why.endswith(f"{delete.format('alice')} && {delete.format('bob')}"), why)
        self.refused(78, listen__smtp=("tcp:25:interface=192.0.2.1",))
        await self.starts_now()
        self.assertTrue(any("published passwords" in line for line in self.lines))

    async def test_other_accounts_are_served_to_everybody(self) -> None:
        self.add_accounts("alice")
        node = self.started(listen__smtp=("tcp:25",))
        self.assertTrue(node.started)

    async def test_a_port_that_is_none_is_64(self) -> None:
        self.assertIn("listen.smtp: ", self.refused(64, listen__smtp=("nonsense",)))
        await self.starts_now()

    async def test_a_second_node_on_the_folder_is_75_until_the_first_has_stopped(self) -> None:
        first, second = self.started(), self.node(listen__smtp=("2526",))
        failed = self.assertRaises(StartFailed, self.start, second)
        self.assertEqual(75, failed.code)
        self.assertIn(f"another node runs on the data folder {self.data}", failed.why)
        self.assertEqual(
            ["2525"] * 2, [str(each.address.port) for each in self.reactor.open_ports()]
        )
        self.assertEqual({}, first.readiness())
        await self.stop(first)
        self.assertFalse(second.started)
        self.started()

    async def test_the_folder_is_named_before_a_port_that_the_other_node_has(self) -> None:
        self.started()

        def taken(*args: object, **kwargs: object) -> None:
            raise CannotListenError("127.0.0.1", 2525, OSError("in use"))

        self.patch(self.reactor, "listenTCP", taken)
        failed = self.assertRaises(StartFailed, self.start, self.node())
        self.assertEqual(75, failed.code)
        self.assertIn(f"another node runs on the data folder {self.data}", failed.why)

    async def test_a_folder_for_the_accounts_that_is_not_there_is_73_and_named(self) -> None:
        self.users = self.folder / "nowhere" / "users.db"
        self.assertIn(f"There is no folder {self.folder / 'nowhere'}", self.refused(73))

    async def test_a_certificate_that_can_not_be_used_is_78(self) -> None:
        settings = {"tls__cert": "/no/cert.pem", "tls__key": "/no/key.pem"}
        self.assertIn("can't read /no/cert.pem", self.refused(78, **settings))
        self.assertFalse(self.data.exists() or self.users.exists(), "something was made")
        await self.starts_now()

    async def test_a_part_that_is_not_there_is_78_and_no_file_is_made(self) -> None:
        for settings in (
            {"plugins__filters": ("no-such-filter",)},
            {"plugins__checkers": ("no.such:checker",)},
            {"plugins__delivery": "os:sep"},
            {"plugins__smtp_server": "os:PathLike"},
            {"plugins__pop3_server": "mailnode.smtp.server:SmtpServer"},
        ):
            self.assertIn("[plugins] ", self.refused(78, **settings))
            self.assertFalse(self.data.exists())
        await self.starts_now()

    async def test_a_delivery_that_makes_none_is_78(self) -> None:
        why = self.refused(78, plugins__delivery="builtins:id")
        self.assertIn("what builtins:id makes is no IMessageDeliveryFactory (int)", why)
        why = self.refused(78, plugins__delivery="builtins:list")
        self.assertIn("builtins:list: TypeError", why)
        await self.starts_now()

    async def test_files_that_are_no_databases_are_69_and_left_alone(self) -> None:
        self.data.mkdir()
        for path in (self.users, self.data / "mail.db"):
            path.write_bytes(b"nonsense" * 512)
            why = self.refused(69)
            self.assertIn(path.name, why)
            self.assertIn("mailnode doctor", why)
            self.assertEqual(b"nonsense" * 512, path.read_bytes())
            path.unlink()
        await self.starts_now()

    async def test_files_of_a_newer_version_are_78_and_left_alone(self) -> None:
        await self.stop(self.started())
        for path in (self.folder / "users.db", self.folder / "var" / "mail.db"):
            with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
                (version,) = connection.execute("PRAGMA user_version").fetchone()
                connection.execute("PRAGMA user_version = 9999")
                before = path.read_bytes()
                self.assertIn("schema version 9999", self.refused(78))
                self.assertEqual(before, path.read_bytes())
                connection.execute(f"PRAGMA user_version = {version}")
        await self.starts_now()

    async def test_a_folder_that_can_not_be_made_is_77_and_named(self) -> None:
        self.data.write_text("a file")
        self.assertIn(f"{self.data}: File exists", self.refused(77))
        self.data.unlink()
        await self.starts_now()

    async def test_what_fails_after_the_store_was_opened_closes_it(self) -> None:
        self.data.mkdir()
        (self.data / "locks").write_text("a file")
        self.assertIn("locks", self.refused(69))
        (self.data / "locks").unlink()
        await self.starts_now()

    async def test_a_node_that_could_not_start_can_be_stopped(self) -> None:
        node = self.node(listen__smtp=("nonsense",))
        self.assertRaises(StartFailed, node.startService)
        await self.stop(node)
        await self.stop(self.node())


class ReloadTests(NodeCase):
    def reloading(self) -> Node:
        self.settings: dict[str, object] = {}

        def again() -> Config:
            return self.config(**self.settings)

        node = Node(self.config(), self.reactor, reload_config=again)
        self.addCleanup(self.stop, node)
        self.patch(house, "signal", object())  # it is the test runner's
        node.startService()
        return node

    def test_limits_are_those_of_the_file_as_it_is_now(self) -> None:
        node = self.reloading()
        self.settings = {
            "limits__message_size": "1 MiB", "limits__recipients": 3, "limits__connections": 5,
            "limits__connections_per_address": 2, "limits__pop3_idle": "11m",
            "limits__smtp_idle": "7m", "limits__received_headers": 9, "limits__sign_in_queue": 8,
            "store__blob_over": "1 KiB", "quota__mails": 4, "journal__keep": "1d",
        }  # fmt: skip
        node.reload()
        for factory in (node.smtp, node.submission):
            rules = factory.rules
            self.assertEqual((1 << 20, 3, 420.0),
                             (rules.message_octets, rules.recipients, rules.idle_s))  # fmt: skip
        self.assertEqual(660.0, node.pop3.rules.idle_s)
        for sessions in (node.smtp_sessions, node.pop3_sessions):
            self.assertEqual((5, 2), (sessions.most, sessions.most_per_address))
        self.assertEqual((9, 1024), (node.counter.most_received, node.counter.blob_over))
        self.assertEqual((8, 4), (node.passwords.most_waiting, node.room.quota.mails))
        self.assertEqual(86400.0, node.sweep.settings.keep)

    def test_strangers_are_judged_on_the_port_of_smtp_as_the_file_says_now(self) -> None:
        node = self.reloading()
        self.assertIs(node.arrival, node.smtp.arrival)
        self.assertIsNone(node.submission.arrival)
        self.assertIsNone(node.greylist.rules)
        there, gone = (parse_address(f"{name}@example.test") for name in ("alice", "gone"))
        self.add_accounts("alice")
        node.watch.read_now()
        self.assertEqual([True, False], list(map(node.arrival.is_there, (there, gone))))
        self.assertTrue(node.arrival.is_ours("mx.example.test"))
        self.settings = {"arrival__greylist": True, "arrival__mails_per_sender": 7}
        node.reload()
        self.assertEqual(300.0, node.greylist.rules.wait_s if node.greylist.rules else 0)
        (pace,) = node.arrival.rules.paces
        self.assertEqual(("mails", "sender", 7), (pace.what, pace.of, pace.rate))

    def test_an_address_that_others_than_the_directory_may_know_has_its_strangers_judged(
        self,
    ) -> None:
        self.add_accounts("alice")
        node = self.started()
        returned = parse_address("SRS0=hash=xx=sender.example=anna@example.test")
        self.assertTrue(node.arrival.is_there(returned))
        tickets = parse_address("tickets@example.test")
        self.assertFalse(node.arrival.is_there(tickets))
        node.config = self.config(plugins__delivery="mailnode.smtp.functions:FunctionMailboxes")
        self.assertTrue(node.arrival.is_there(tickets), "it may be a function's")

    async def test_a_node_that_stops_takes_nothing_up(self) -> None:
        node = self.reloading()
        self.settings = {"arrival__greylist": True}
        stopped = node.stopService()
        node.reload()
        await self.waited(stopped)
        node.reload()
        self.assertIsNone(node.greylist.rules)
        self.assertEqual("info: stopped", self.lines[-1])

    def test_what_needs_a_restart_is_said_and_nothing_else(self) -> None:
        node = self.reloading()
        node.reload()
        self.assertEqual([], [line for line in self.lines if "needs a restart" in line])
        self.settings = {"listen__smtp": ("2526",), "node__hostname": "other.example.test"}
        node.reload()
        self.assertIn("warn: [node] changed: it needs a restart", self.lines)
        self.assertIn("warn: [listen] changed: it needs a restart", self.lines)
        self.assertEqual("mx.example.test", node.hostname)

    def test_settings_that_can_not_be_read_change_nothing_and_the_rest_is_taken_up(self) -> None:
        node = self.reloading()
        before = node.config
        self.settings = {"limits__message_size": "nonsense"}
        looked: list[Certificate] = []
        self.patch(Certificate, "refresh", lambda certificate: looked.append(certificate))
        node.reload()
        self.assertIs(before, node.config)
        self.assertTrue(any("limits.message_size must be" in line for line in self.lines))
        self.assertEqual([node.certificate], looked)

    def test_a_changed_certificate_is_taken_up(self) -> None:
        node = self.reloading()
        before = node.certificate._context
        for path in make_self_signed(self.folder / "new", "mx.example.test"):
            path.rename(self.data / "tls" / path.name)
        node.reload()
        self.assertIsNot(before, node.certificate._context)

    def test_a_node_without_settings_of_its_own_reads_the_rest_again(self) -> None:
        node = self.started()
        node.reload()
        self.assertIn("info: reloaded", self.lines)


class MemoryTests(NodeCase):
    def test_many_sessions_share_the_memory_for_bodies(self) -> None:
        node = self.started()
        self.assertEqual((256 << 10, 512 << 10), (node.counter.blob_over, node.blobs.piece_octets))
        sessions = [FakeSession() for _ in range(4096)]
        for session in sessions:
            node.smtp_sessions.admit(session, "127.0.0.1", True)
        self.reactor.advance(1)
        self.assertEqual((64 << 10, 64 << 10), (node.counter.blob_over, node.blobs.piece_octets))
        node._apply_limits()  # as new settings do
        self.assertEqual(64 << 10, node.counter.blob_over)
        for session in sessions:
            node.smtp_sessions.leave(session)
        self.reactor.advance(1)
        self.assertEqual((256 << 10, 512 << 10), (node.counter.blob_over, node.blobs.piece_octets))


class RenewalTests(NodeCase):
    async def test_the_node_looks_each_hour_whether_its_certificate_must_be_renewed(self) -> None:
        looked: list[str] = []
        self.patch(Certificate, "renew", lambda certificate, name: looked.append(name))
        self.started()
        self.reactor.advance(3599)
        self.assertEqual([], looked)
        self.reactor.advance(1)
        await self.until(lambda: bool(looked))
        self.assertEqual(["mx.example.test"], looked)


class DescriptorTests(NodeCase):
    """`limits.connections` beside a descriptor limit of 1,024."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(resource, "getrlimit", lambda which: (1024, 1024))

    def about(self) -> list[str]:
        return [line for line in self.lines if "limits.connections" in line]

    def test_more_than_there_are_descriptors_for_is_lowered_with_a_warning(self) -> None:
        node = self.started(limits__connections=900, listen__pop3=("1100",))
        self.assertEqual((624, 832), (node.smtp_sessions.most, node.smtp_sessions.most_together))
        self.assertEqual((624, 624), (node.pop3_sessions.most, node.gate.most))
        (line,) = self.about()
        self.assertTrue(line.startswith("warn: limits.connections is 900, "), line)
        self.assertIn("624 a server, 832 together", line)

    def test_sessions_of_all_servers_count_together(self) -> None:
        node = self.started(limits__connections=900, listen__pop3=("1100",))
        for sessions, count in ((node.smtp_sessions, 624), (node.pop3_sessions, 208)):
            for _ in range(count):
                self.assertTrue(sessions.admit(FakeSession(), "127.0.0.1", True))
            self.assertFalse(sessions.admit(FakeSession(), "127.0.0.1", True))

    def test_a_server_alone_has_them_all(self) -> None:
        self.assertEqual(832, self.started(limits__connections=900).smtp_sessions.most)

    def test_what_nobody_chose_is_lowered_without_a_word(self) -> None:
        node = self.started(listen__pop3=("1100",))
        self.assertEqual(624, node.smtp_sessions.most)
        self.assertEqual([], self.about())

    def test_what_fits_is_left_alone(self) -> None:
        node = self.started(limits__connections=400, listen__pop3=("1100",))
        self.assertEqual((400, None), (node.pop3_sessions.most, node.pop3_sessions.most_together))
        self.assertEqual([], self.about())


class AccountTests(NodeCase):
    def session(self, node: Node, account: str) -> FakeSession:
        session = FakeSession(account)
        self.assertTrue(node.pop3_sessions.admit(session, "192.0.2.1", False))
        self.addCleanup(node.pop3_sessions.leave, session)
        return session

    async def test_an_app_password_that_has_ended_ends_its_sessions_though_no_bell_was_heard(
        self,
    ) -> None:
        self.add_accounts("alice")
        node = self.started(listen__pop3=("1100",))
        alice = node.directory.accounts()[0].id
        tokens: list[Token] = []

        def make(sql: sqlite3.Connection) -> None:
            for name in ("phone", "laptop"):
                secret, at = make_secret(["pop3"]), time.time() + 1
                tokens.append(insert_token(sql, alice, name, ["pop3"], at, None, secret))

        await self.waited(node.database.transact("test", make))
        sessions = [self.session(node, "alice@example.test") for _ in range(3)]
        for session, token in zip(sessions, tokens, strict=False):
            session.token_id = token.id
        gone = node.database.transact(
            "test", lambda sql: sql.execute("DELETE FROM token WHERE name = 'phone'").close()
        )
        await self.waited(gone)
        self.reactor.advance(TOKENS_S)
        await self.until(lambda: bool(sessions[0].calls))
        self.assertEqual([["revoke"], [], []], [each.calls for each in sessions])

    async def test_a_new_account_is_known_at_the_next_look(self) -> None:
        node = self.started()
        self.add_accounts("alice")
        self.assertIs(None, node.directory.find_sign_in("alice@example.test"))
        self.reactor.advance(house.POLL_S)
        await self.until(lambda: node.directory.find_sign_in("alice@example.test") is not None)

    async def test_the_bell_makes_it_look_at_once(self) -> None:
        node = self.started()
        self.add_accounts("alice")
        node.bell.ring("accounts")
        await self.until(lambda: len(node.directory.accounts()) == 1)
        self.assertLess(self.reactor.seconds(), 60)

    async def test_sessions_of_a_changed_account_end_and_others_go_on(self) -> None:
        admin = self.add_accounts("alice", "bob", "carol")
        node = self.started()
        forgotten: list[int] = []
        self.patch(Passwords, "forget", lambda passwords, who: forgotten.append(who))
        alice, bob, carol = (
            self.session(node, f"{name}@example.test") for name in ("alice", "bob", "carol")
        )
        changed = [node.directory.find_sign_in(name).id for name in ("alice", "bob")]  # type: ignore[union-attr]
        admin.set_password("alice", "another hash")
        admin.delete_account("bob")
        node.bell.ring("accounts")
        await self.until(lambda: bool(bob.calls))
        self.assertEqual([["revoke"], ["revoke"], []], [alice.calls, bob.calls, carol.calls])
        self.assertEqual(changed, sorted(set(forgotten)))

    async def test_a_new_account_ends_nobody_s_session(self) -> None:
        self.add_accounts("alice")
        node = self.started()
        session = self.session(node, "alice@example.test")
        self.add_accounts("bob")
        node.bell.ring("accounts")
        await self.until(lambda: len(node.directory.accounts()) == 2)
        self.assertEqual([], session.calls)

    def test_a_full_mailbox_is_full_by_its_own_quota_or_the_node_s(self) -> None:
        self.add_accounts("alice", quota_octets=1000)
        self.add_accounts("bob")
        node = self.started(quota__octets=2000)
        alice, bob = (node.directory.find_sign_in(name) for name in ("alice", "bob"))
        for account, size, fits in ((alice, 1000, True), (alice, 1001, False), (bob, 2001, False)):
            self.assertEqual(fits, node.counter.room_for(account, size))


class ReadinessTests(NodeCase):
    async def test_it_is_ready_from_its_start_to_its_stop(self) -> None:
        node = self.started()
        self.assertEqual({}, node.readiness())
        await self.stop(node)
        self.assertEqual(["node"], list(node.readiness()))

    def test_a_full_disk_and_a_broken_store_are_told(self) -> None:
        node = self.started(store__free_space="1000 TiB")
        self.assertFalse(node.counter.disk_has_room())
        node.database._batches.fault = StoreBroken(detail="malformed")
        self.assertEqual({"disk", "store"}, set(node.readiness()))
        self.assertIn("malformed", node.readiness()["store"])

    def test_a_program_that_puts_off_all_mail_is_told_and_dead_dns_is_a_warning(self) -> None:
        node = self.started(clamd__endpoint="unix:path=/run/clamd.ctl")
        self.assertEqual(({}, {}), (node.readiness(), node.warnings()))
        (some,) = [each for each in node.taking.judges.filters if each.name == "clamd"]
        some._judge._failing.failed("no such file")
        told = node.readiness()
        self.assertEqual(["filter clamd"], list(told))
        self.assertIn("mail is put off (451), once since ", told["filter clamd"])
        for _ in range(SEVERAL):
            self.assertEqual({}, node.warnings())
            node.arrival_resolver.failing.failed("192.0.2.53:53: nothing")
        self.assertIn("No name can be looked up, 5 times since", node.warnings()["dns"])

    def test_a_failed_flush_ends_the_process_with_74(self) -> None:
        node, ends = self.started(), list[int]()
        self.patch(os, "_exit", ends.append)
        node.mail_log.tell(SignedIn(client="192.0.2.1"))
        node.database._on_fatal(OSError("no disk"))
        self.assertEqual([74], ends)
        self.assertIn("signed-in client=192.0.2.1", self.lines[-2])
        self.assertTrue(self.lines[-1].startswith("critical: a flush failed"), self.lines)


class StopTests(NodeCase):
    async def test_nothing_is_left_of_it(self) -> None:
        threads = threading.active_count()
        node = self.started(**ALL)
        self.reactor.advance(0)
        await self.stop(node)
        self.assertEqual([], self.reactor.open_ports())
        self.assertEqual([], self.reactor.getDelayedCalls())
        self.assertFalse((self.data / "listening.json").exists())
        self.assertTrue(self.folder_is_free())
        await self.until(lambda: threading.active_count() <= threads)

    async def test_a_stop_before_the_reactor_runs_leaves_no_word_of_ports(self) -> None:
        stopped = self.started().stopService()
        while not stopped.called:
            await deferLater(reactor, 0.001, lambda: None)
        self.reactor.advance(1)
        self.assertFalse((self.data / "listening.json").exists())

    async def test_a_second_stop_is_no_error(self) -> None:
        node = self.started()
        await self.stop(node)
        await self.stop(node)
        self.assertEqual(1, self.lines.count("info: stopped"))

    async def test_it_waits_for_what_is_under_way_and_lets_nobody_in(self) -> None:
        node = self.started()
        session = FakeSession()
        node.smtp_sessions.admit(session, "127.0.0.1", True)
        stopped = node.stopService()
        self.assertEqual(["drain"], session.calls)
        self.assertEqual([], self.reactor.open_ports())
        self.assertFalse(node.pop3_sessions.admit(FakeSession(), "127.0.0.1", True))
        self.reactor.pump([1.0] * 29)
        self.assertNoResult(stopped)
        self.assertFalse(self.folder_is_free())
        node.smtp_sessions.leave(session)
        await self.waited(stopped)
        self.assertEqual(["drain"], session.calls)

    async def test_after_the_limit_it_is_cut_off(self) -> None:
        node = self.started(limits__stop="5s")
        sessions = {node.smtp_sessions: FakeSession(), node.pop3_sessions: FakeSession()}
        for of, session in sessions.items():
            of.admit(session, "127.0.0.1", True)
        stopped = node.stopService()
        self.reactor.pump([1.0] * 4)
        self.assertNoResult(stopped)
        self.reactor.advance(1.0)
        await self.waited(stopped)
        for session in sessions.values():
            self.assertEqual(["drain", "abort"], session.calls)
        self.assertTrue(any("is cut off" in line for line in self.lines))

    async def test_who_is_waited_for_is_said_after_a_second(self) -> None:
        node = self.started()
        session = FakeSession()
        node.smtp_sessions.admit(session, "127.0.0.1", True)
        stopped = node.stopService()
        self.reactor.advance(1.0)
        self.assertTrue(any("sessions that are still busy: 1; they get up to 30 s" in line
                            for line in self.lines), self.lines)  # fmt: skip
        node.smtp_sessions.leave(session)
        await self.waited(stopped)

    async def test_a_stop_in_a_hurry_waits_for_nobody(self) -> None:
        node = self.started()
        node.cut_off()
        session = FakeSession()
        node.smtp_sessions.admit(session, "127.0.0.1", True)
        stopped = node.stopService()
        node.cut_off()
        await self.waited(stopped)
        self.assertEqual(["drain", "abort"], session.calls)
        self.assertLess(self.reactor.seconds(), 1)
        node.cut_off()

    async def test_refusals_summed_so_far_are_told(self) -> None:
        node = self.started()
        for _ in range(12):
            node.mail_log.tell(RefusedMail(client="192.0.2.1", detail={"code": 550}))
        await self.stop(node)
        self.assertEqual(1, node.mail_log.counts["refused-more"])


class MinuteTests(NodeCase):
    def test_a_minute_s_refusals_are_summed_when_it_is_over(self) -> None:
        node = self.started()
        for _ in range(12):
            node.mail_log.tell(RefusedMail(client="192.0.2.1", detail={"code": 550}))
        self.reactor.pump([1.0] * 61)
        self.assertEqual(1, node.mail_log.counts["refused-more"])
