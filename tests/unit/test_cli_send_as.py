"""`send-as`: a password is tried before it is saved, kept sealed, and shown to nobody."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any
from unittest.mock import patch

import click
from attrs import frozen
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from mailnode.cli import provider
from mailnode.cli.frame import Mistake
from mailnode.routes import SendAs
from mailnode.sealing import Seal
from mailnode.store.accounts import Accounts
from tests.unit.cli_case import CommandCase
from tests.unit.test_cli_accounts import TypedPasswords

SECRET = "pass wörd"
ENTRY = SendAs(1, 7, "me@example.net", "mail.example.net", 587, False, "me", b"")


@frozen
class Answer:
    code: int
    text: str
    stage: str


class Outbound:
    """What the commands use of `mailnode.outbound.sender`, with hosts that answer as they are told.

    Attributes:
        hosts: IP address to the answer of its sign-in, None where it lets in.
        tried: (hop, policy, login) of each attempt.
        quits: sessions that were ended.
    """

    class CannotSend(Exception):
        def __init__(self, answer: Answer) -> None:
            super().__init__()
            self.answer = answer

    @frozen
    class Hop:
        host: str
        address: str
        port: int
        implicit_tls: bool = False

    @frozen
    class TlsPolicy:
        level: str

    @frozen
    class Login:
        user: str
        password: str

    def __init__(self, **hosts: Answer | None) -> None:
        self.hosts = hosts
        self.tried: list[tuple[Any, Any, Any]] = []
        self.quits = 0
        self.tls = "TLSv1.3 TLS_AES_256_GCM_SHA384"

    async def connect(self, hop: Any, policy: Any, login: Any) -> Outbound:
        self.tried.append((hop, policy, login))
        answer = self.hosts[hop.address]
        if answer is not None:
            raise self.CannotSend(answer)
        return self

    async def quit(self) -> None:
        self.quits += 1


class SignInTests(SynchronousTestCase):
    def sign_in(self, outbound: Outbound, entry: SendAs = ENTRY) -> str:
        work = provider.sign_in(outbound, outbound, entry, SECRET, list(outbound.hosts))
        return str(self.successResultOf(Deferred.fromCoroutine(work)))

    def refusal(self, outbound: Outbound) -> Mistake:
        work = provider.sign_in(outbound, outbound, ENTRY, SECRET, list(outbound.hosts))
        mistake = self.failureResultOf(Deferred.fromCoroutine(work), Mistake).value
        self.assertNotIn(SECRET, mistake.message)
        return mistake

    def test_it_signs_in_with_a_verified_certificate_and_says_goodbye(self) -> None:
        outbound = Outbound(a=None, b=None)
        self.assertEqual(outbound.tls, self.sign_in(outbound))
        hop, policy, login = outbound.tried[0]
        self.assertEqual(outbound.Hop("mail.example.net", "a", 587), hop)
        self.assertEqual(("verify", "me", SECRET), (policy.level, login.user, login.password))
        self.assertEqual((1, 1), (len(outbound.tried), outbound.quits))

    def test_an_address_where_nobody_answers_is_passed_over(self) -> None:
        outbound = Outbound(a=Answer(0, "connection refused", "connect"), b=None)
        self.sign_in(outbound)
        self.assertEqual(["a", "b"], [hop.address for hop, _, _ in outbound.tried])

    def test_a_refused_password_is_told_in_the_provider_s_words_and_tried_once(self) -> None:
        outbound = Outbound(a=Answer(535, "5.7.8 no such user", "AUTH"), b=None)
        mistake = self.refusal(outbound)
        self.assertEqual(65, mistake.code)
        self.assertIn("does not let me in: 535 5.7.8 no such user (at AUTH)", mistake.message)
        self.assertEqual(1, len(outbound.tried))

    def test_what_may_pass_is_75(self) -> None:
        for answer in (
            Answer(0, "connection refused", "connect"),
            Answer(454, "4.7.0 try later", "AUTH"),
            Answer(0, "certificate is another host's", "STARTTLS"),
        ):
            self.assertEqual(75, self.refusal(Outbound(a=answer)).code)
        self.assertEqual(75, self.refusal(Outbound()).code)
        self.assertEqual(65, self.refusal(Outbound(a=Answer(554, "go away", "greeting"))).code)


class FakeReactor:
    """Runs what is to be run, then ends; `interrupted` ends before."""

    def __init__(self, interrupted: bool = False) -> None:
        self.interrupted = interrupted
        self.begin: Any = None

    def callWhenRunning(self, begin: Any) -> None:
        self.begin = begin

    def run(self) -> None:
        if not self.interrupted:
            self.begin()

    def stop(self) -> None:
        pass

    def callLater(self, *_: Any) -> FakeReactor:
        return self

    def active(self) -> bool:
        return False

    def cancel(self) -> None:
        pass


class WaitTests(SynchronousTestCase):
    async def work(self, outcome: Any) -> Any:
        if isinstance(outcome, Exception):
            raise outcome
        return await succeed(outcome)

    def test_what_it_comes_to_comes_out(self) -> None:
        self.assertEqual(5, provider._wait(FakeReactor(), self.work(5)))
        self.assertRaises(Mistake, provider._wait, FakeReactor(), self.work(Mistake("no")))

    def test_a_host_that_never_answers_is_given_up(self) -> None:
        late = provider.TimeoutError()
        error = self.assertRaises(Mistake, provider._wait, FakeReactor(), self.work(late))
        self.assertIn("within 60 s", error.message)

    def test_ctrl_c_stops_it(self) -> None:
        work = self.work(5)
        self.addCleanup(work.close)
        self.assertRaises(click.Abort, provider._wait, FakeReactor(True), work)

    def test_a_host_that_is_not_there_is_told(self) -> None:
        def nowhere(*_: Any, **__: Any) -> None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        self.patch(socket, "getaddrinfo", nowhere)
        error = self.assertRaises(Mistake, provider.find_addresses, ENTRY)
        self.assertIn("mail.example.net can't be found: Name or service not known", error.message)

    def test_each_address_is_tried_once(self) -> None:
        rows = [(0, 0, 0, "", (ip, 587)) for ip in ("192.0.2.1", "192.0.2.2", "192.0.2.1")]
        self.patch(socket, "getaddrinfo", lambda *_, **__: rows)
        self.assertEqual(["192.0.2.1", "192.0.2.2"], provider.find_addresses(ENTRY))


class Commands(CommandCase):
    add = "send-as add alice Me@example.net --host Mail.example.net"

    def setUp(self) -> None:
        super().setUp()
        self.make_accounts("alice@example.org", "bob@example.org")
        self.tried: list[tuple[SendAs, str]] = []
        self.refuses = ""
        patched = patch("mailnode.cli.send_as.try_sign_in", self.try_sign_in)
        patched.start()
        self.addCleanup(patched.stop)

    def try_sign_in(self, config: Any, entry: SendAs, password: str) -> str:
        self.tried.append((entry, password))
        if self.refuses:
            raise Mistake(self.refuses)
        return "TLSv1.3"

    def saved(self) -> list[SendAs]:
        accounts = Accounts.open("users.db")
        try:
            return accounts.outside.send_as()
        finally:
            accounts.close()

    def test_one_is_tried_saved_sealed_listed_tested_and_deleted(self) -> None:
        added = self.run_json(self.add, f"{SECRET}\nmore\n")
        (entry,) = self.saved()
        self.assertEqual(
            added,
            {
                "id": entry.id,
                "account": "alice@example.org",
                "address": "Me@example.net",
                "host": "mail.example.net",
                "port": 587,
                "implicit_tls": False,
                "user": "Me@example.net",
            },
        )
        self.assertNotIn(SECRET.encode(), Path("users.db").read_bytes())
        seal = Seal.open(Path("var"))
        self.assertEqual(seal.unseal(entry.sealed_password, entry.about), SECRET.encode())
        self.assertEqual(self.run_json("send-as list"), [added])
        self.assertEqual(self.run_json("send-as list --account bob"), [])
        said = self.run_command("send-as list").stdout
        self.assertIn("mail.example.net:587", said)
        self.assertEqual(self.run_json("send-as test alice ME@example.net")["tls"], "TLSv1.3")
        self.assertEqual([SECRET, SECRET], [password for _, password in self.tried])
        self.run_command("send-as delete alice me@example.net")
        self.assertEqual(self.saved(), [])
        self.assertIn("mailnode send-as add", self.run_command("send-as list").stdout)

    def test_on_a_terminal_the_password_is_asked_for_once_and_may_be_short(self) -> None:
        typed = TypedPasswords(self, "pw")
        said = self.run_command(f"{self.add} --user me --port 465").stdout
        self.assertEqual(typed.asked, ["Password of me at mail.example.net"])
        self.assertIn("let me in (TLSv1.3)", said)
        ((entry, password),) = self.tried
        self.assertEqual((entry.user, entry.implicit_tls, password), ("me", True, "pw"))

    def test_tls_from_the_first_octet_may_be_on_another_port(self) -> None:
        self.run_command(f"{self.add} --port 4465 --implicit-tls", SECRET)
        self.assertTrue(self.saved()[0].implicit_tls)

    def test_a_password_that_is_refused_is_not_saved(self) -> None:
        self.refuses = "mail.example.net does not let me in"
        self.assertIn("does not let me in", self.refusal(self.add, 65, SECRET))
        self.assertEqual(self.saved(), [])

    def test_what_can_not_be_is_told_before_a_password_is_asked_for(self) -> None:
        self.run_command(self.add, SECRET)
        self.tried.clear()
        for line, code, words in (
            (self.add, 73, "delete it first"),
            ("send-as add nobody a@example.net --host h", 67, "no account"),
            ("send-as add alice sales@example.org --host h", 65, "mailnode alias add"),
            ("send-as add alice 'a b' --host h", 65, "an address is such as"),
            ("send-as add alice a@example.net --host h:25", 64, "stands in --port"),
            ("send-as add alice a@example.net --host 'h h'", 65, "no host name"),
            ("send-as test bob me@example.net", 67, "mailnode send-as list"),
            ("send-as delete bob me@example.net", 67, "mailnode send-as list"),
        ):
            self.assertIn(words, self.refusal(line, code))
        self.assertEqual(self.tried, [])

    def test_an_empty_password_is_refused(self) -> None:
        for typed in ("", "\n", "a\x00b\n", b"\xff\n"):
            self.refusal(self.add, 65, typed)
        self.assertEqual(self.tried, [])

    def test_under_another_key_nothing_opens_and_the_mend_is_named(self) -> None:
        self.run_command(self.add, SECRET)
        Path("var/keys/seal.key").unlink()
        said = self.refusal("send-as test alice me@example.net", 78)
        self.assertIn("put that key back", said)
