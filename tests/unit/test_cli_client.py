"""The mail client's commands before they connect: where they would go, and what they say."""

from __future__ import annotations

import importlib
import io
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import click
from attrs import define

from mailnode.cli import maildrop as commands
from mailnode.cli import output, places, progress, watching
from mailnode.cli.frame import Mistake
from mailnode.cli.places import ClientCommand, Place
from mailnode.client import connection
from mailnode.client.connection import Server, Trust
from mailnode.client.discovery import Found
from mailnode.client.trouble import SignInRefused, Unreachable
from mailnode.outbound.words import Answer, Login
from tests.unit.cli_case import CommandCase
from tests.unit.client_case import ScriptedConnection
from tests.unit.test_client_spool import TAKEN


@define
class Opened:
    """What a session was opened with."""

    passwords: list[str]
    right: str

    def open(self, _connection: object, _user: str, password: str) -> str:
        self.passwords.append(password)
        if password != self.right:
            raise SignInRefused("bob is not let in")
        return "in"


send = importlib.import_module("mailnode.cli.send")  # the package has the command by this name


class StoppedNodeTests(CommandCase):
    def test_a_node_here_that_does_not_run_is_named(self) -> None:
        self.make_accounts("bob@example.test")
        for line in ("list bob@example.test", "list bob", "stat"):
            self.assertIn("the node in this folder does not run", self.refusal(line, 75), line)

    def test_mail_of_another_domain_is_none_of_its_business(self) -> None:
        self.make_accounts("bob@example.test")
        with patch.object(places, "discover", side_effect=Mistake("asked")) as asked:
            self.refusal("list bob@elsewhere.test", 65)
        asked.assert_called_once_with("bob@elsewhere.test")

    def test_a_domain_that_tells_nothing_is_no_node_in_this_folder(self) -> None:
        with patch.object(places, "discover", return_value=Found({})):
            told = self.refusal("list bob@example.test", 78)
        self.assertIn("there is no node in this folder; example.test does not say which", told)

    def test_without_a_node_the_domain_is_asked(self) -> None:
        with patch.object(places, "discover", side_effect=Mistake("asked")):
            self.assertIn("asked", self.refusal("list bob@example.test", 65))


class CapturedTests(CommandCase):
    def place(self) -> Place:
        command = ClientCommand("x", example="x")
        place = Place(click.Context(command))
        place.is_node = True
        return place

    def test_what_the_gear_keeps_here_is_known(self) -> None:
        self.make_accounts("bob@example.test")
        place = self.place()
        self.assertTrue(place.is_captured("eve@elsewhere.test"))
        self.assertFalse(place.is_captured("bob@example.test"))
        self.run_command("gear set allow-list --allow elsewhere.test")
        self.assertFalse(place.is_captured("eve@elsewhere.test"))

    def test_of_other_servers_nothing_is_said(self) -> None:
        self.make_accounts("bob@example.test")
        place = self.place()
        place.is_node = False
        self.assertFalse(place.is_captured("eve@elsewhere.test"))


class PasswordTests(CommandCase):
    def sign_in(
        self, right: str, typed: list[str], kept: str | None = None, **chosen: str
    ) -> list[str]:
        """The passwords that were tried."""
        ctx = click.Context(ClientCommand("x", example="x"))
        for name, value in {"pop3": "localhost:1", "user": "bob", **chosen}.items():
            places.choose(ctx, name, value)
        opened = Opened([], right)
        with (
            patch.object(places, "stdin_is_terminal", return_value=True),
            patch.object(places.click, "prompt", side_effect=typed),
            patch.object(places.passwords, "from_keyring", return_value=kept),
            patch.object(places.passwords, "has_keyring", return_value=False),
            patch.object(places, "Connection"),
            patch.object(places.Maildrop, "open", opened.open),
        ):
            self.outcome = None
            try:
                Place(ctx).maildrop()
            except SignInRefused as refusal:
                self.outcome = refusal
        return opened.passwords

    def test_a_wrong_one_is_asked_for_again_three_times_in_all(self) -> None:
        self.assertEqual(["a", "b"], self.sign_in("b", ["a", "b"]))
        self.assertEqual(["a", "b", "c"], self.sign_in("d", ["a", "b", "c"]))
        self.assertIsInstance(self.outcome, SignInRefused)

    def test_one_of_the_keyring_that_is_wrong_by_now_is_asked_for(self) -> None:
        self.assertEqual(["old", "new"], self.sign_in("new", ["new"], kept="old"))
        self.assertIsNone(self.outcome)

    def test_one_that_stands_in_a_file_is_not_asked_for(self) -> None:
        (self.folder / "pw").write_text("wrong\n")
        self.assertEqual(["wrong"], self.sign_in("b", [], password_file="pw"))
        self.assertIsInstance(self.outcome, SignInRefused)


class OwnerTests(CommandCase):
    """Whose password goes to which server, where a profile says one and somebody is named."""

    def setUp(self) -> None:
        super().setUp()
        os.environ["MAILNODE_CLIENT"] = str(self.folder / "client.toml")
        self.signed_in: list[tuple[str, str, str]] = []

    def profile(self, text: str) -> None:
        (self.folder / "client.toml").write_text(f"[work]\n{text}\n")

    def sign_in(self, line: str, exit_code: int = 77) -> tuple[str, str, str]:
        """(server, user, password) of the one attempt; the keyring has a password for everybody."""

        def open_maildrop(server: Server, user: str, password: str) -> None:
            self.signed_in.append((str(server), user, password))
            raise SignInRefused("not let in")

        def open_submission(server: Server, login: Login | None = None) -> None:
            assert login is not None
            open_maildrop(server, login.user, login.password)

        def found(address: str) -> Found:
            domain = address.rpartition("@")[2]
            return Found({"pop3": Server(f"pop.{domain}", 995, True),
                          "smtp": Server(f"smtp.{domain}", 465, True)})  # fmt: skip

        self.signed_in.clear()
        with (
            patch.object(places, "discover", found),
            patch.object(places, "Connection", lambda server, trust, **_: server),
            patch.object(places.Maildrop, "open", open_maildrop),
            patch.object(places.Submission, "open", open_submission),
            patch.object(places.passwords, "from_keyring", lambda user, host: f"{user} {host}"),
        ):
            self.run_command(line, exit_code=exit_code)
        (attempt,) = self.signed_in
        return attempt

    def test_its_own_address_gets_the_profiles_password(self) -> None:
        self.profile('address = "carol@example.org"\npassword_command = "echo secret"')
        carols = ("pop.example.org:995", "carol@example.org", "secret")
        for line in ("list", "list Carol@Example.org", "list carol@example.org --profile work",
                     "list --user carol@example.org", "stat"):  # fmt: skip
            server, user, password = self.sign_in(line)
            self.assertEqual(carols, (server, user.lower(), password), line)
        self.assertEqual("secret", self.sign_in("list carol")[2])

    def test_another_address_gets_another_server_and_its_own_password(self) -> None:
        carols = 'address = "carol@example.org"\npassword_command = "echo secret"'
        for more in ("", 'pop3 = "pop.example.org"', 'user = "c123"', 'server = "x.test"'):
            self.profile(f"{more}\n{carols}")
            for line in ("list mallory@evil.example", "stat --user mallory@evil.example",
                         "list mallory@evil.example --user carol@example.org"):  # fmt: skip
                server, user, password = self.sign_in(line)
                self.assertEqual("pop.evil.example:995", server, line)
                self.assertEqual(f"{user} pop.evil.example", password, line)

    def test_a_profile_that_was_named_lends_another_its_servers_alone(self) -> None:
        self.profile('address = "carol@example.org"\npop3 = "pop.example.org:995"\n'
                     'password_command = "echo secret"')  # fmt: skip
        self.assertEqual(
            ("pop.example.org:995", "dave@example.org", "dave@example.org pop.example.org"),
            self.sign_in("list dave@example.org --profile work"),
        )

    def test_who_has_no_domain_and_no_profile_is_asked_where(self) -> None:
        self.profile('address = "carol@example.org"\npop3 = "pop.example.org:995"')
        told = self.refusal("list dave", 64)
        self.assertIn("there is no profile of dave; give --server HOST", told)

    def test_a_profile_without_an_address_knows_its_own_servers_alone(self) -> None:
        for user in ("", 'user = "carol"\n'):
            self.profile(f'{user}password_command = "echo secret"')
            server, user, password = self.sign_in(
                "send --from m@evil.example --to b@x.test --user m@evil.example hello"
            )
            self.assertEqual(("smtp.evil.example:465", "m@evil.example"), (server, user))
            self.assertNotIn("secret", password)
        server, user, password = self.sign_in("send --from m@evil.example --to b@x.test hello")
        self.assertEqual("smtp.evil.example:465", server)
        self.assertNotIn("secret", password)

    def test_a_password_on_the_command_line_is_for_whom_the_command_line_names(self) -> None:
        self.profile('address = "carol@example.org"\npassword_command = "echo secret"')
        self.assertEqual(
            ("pop.evil.example:995", "mallory@evil.example", "theirs"),
            self.sign_in("list mallory@evil.example --password-command 'echo theirs'"),
        )

    def test_a_profile_with_an_address_never_means_the_node_in_this_folder(self) -> None:
        self.profile('address = "carol@example.org"\npassword_command = "echo secret"')
        running = SimpleNamespace(listening={"pop3": ["127.0.0.1:1100"]})
        with patch.object(places, "running_node", return_value=running):
            self.assertEqual("pop.example.org:995", self.sign_in("list --profile work")[0])
            self.assertEqual(
                ("127.0.0.1:1100", "bob@example.test", "bob@example.test 127.0.0.1"),
                self.sign_in("list bob@example.test"),
            )

    def test_the_server_that_takes_mail_may_have_a_name_and_a_password_of_its_own(self) -> None:
        self.profile(
            'address = "carol@example.org"\npassword_command = "echo secret"\n'
            'smtp_user = "c-out"\nsmtp_password_command = "echo other"'
        )
        letter = "send --to b@x.test --subject s hello"
        self.assertEqual(("smtp.example.org:465", "c-out", "other"), self.sign_in(letter))
        self.assertEqual(
            ("pop.example.org:995", "carol@example.org", "secret"), self.sign_in("list")
        )
        self.profile(
            'address = "carol@example.org"\npassword_command = "echo secret"\nsmtp_user = "c-out"'
        )
        self.assertEqual(("smtp.example.org:465", "c-out", "secret"), self.sign_in(letter))
        _, user, password = self.sign_in(f"{letter} --from m@evil.example --user m@evil.example")
        self.assertEqual("m@evil.example", user)
        self.assertEqual("m@evil.example smtp.evil.example", password)

    def test_a_server_that_takes_mail_without_a_sign_in_gets_no_password(self) -> None:
        profile = (
            'address = "carol@example.org"\npassword_command = "echo secret"\n'
            'smtp = "localhost:1"\n'
        )
        self.profile(f"{profile}smtp_sign_in = false")
        logins: list[Login | None] = []
        answers = [("b@x.test", Answer(530, "5.7.0", "sign in first", "MAIL"))]

        def open_submission(_server: Server, login: Login | None = None) -> object:
            logins.append(login)
            return SimpleNamespace(send=lambda *_: answers, quit=lambda: None)

        with (
            patch.object(places, "Connection"),
            patch.object(places.Submission, "open", open_submission),
            patch.object(places, "stdin_is_terminal", return_value=True),
            patch.object(send, "stdin_is_terminal", return_value=False),
        ):
            self.run_command("send --to b@x.test --subject s hello", exit_code=77)
            self.assertEqual([None], logins)
            self.run_command("send --to b@x.test --subject s --user carol hello", exit_code=77)
            self.assertEqual(Login("carol", "secret"), logins[-1])

    def test_a_refused_sign_in_at_this_machine_names_the_way_without(self) -> None:
        profile = 'address = "carol@example.org"\npassword_command = "echo secret"\n'
        letter = "send --to b@x.test --subject s hello"
        for server, told in (("localhost:1", True), ("mail.example.org", False)):
            self.profile(f'{profile}smtp = "{server}"')
            with (
                patch.object(places, "Connection"),
                patch.object(places.Submission, "open", side_effect=SignInRefused("not let in")),
            ):
                said = self.refusal(letter, 77)
            self.assertEqual(told, "smtp_sign_in = false" in said, said)

    def test_what_was_typed_is_forgotten_and_the_profile_is_not(self) -> None:
        self.profile('address = "carol@example.org"\npassword_command = "echo wrong"')
        place = Place.of(click.Context(ClientCommand("x", example="x")))
        place.forget()
        self.assertEqual("carol@example.org", place.user)

    def test_a_name_with_control_characters_or_in_no_utf_8_signs_in_nowhere(self) -> None:
        for name in ("bob\x1b[2J", "\udcff@x.test"):
            ctx = click.Context(ClientCommand("x", example="x"))
            places.choose(ctx, "user", name)
            places.choose(ctx, "pop3", "localhost:1")
            with self.assertRaisesRegex(Mistake, "is no name to sign in as"):
                Place.of(ctx).maildrop()

    def test_its_certificates_lie_in_the_home_where_it_says_so(self) -> None:
        self.profile('trust = "~/ca.pem"')
        ctx = click.Context(ClientCommand("x", example="x"))
        self.assertEqual(Path.home() / "ca.pem", Place.of(ctx).trust.file)


class EndTests(CommandCase):
    """How a command ends where a server or a person breaks off."""

    CAPA, OK = b"+OK\r\nTOP\r\nUIDL\r\n.\r\n", b"+OK\r\n"
    LIST = b"+OK\r\n1 99\r\n2 99\r\n.\r\n"
    HEAD = b"+OK\r\nSubject: =?utf-8?q?bill=C2=9B2J?= 1\r\n\r\n.\r\n"

    def serve(self, *replies: bytes, at_end: BaseException | None = None) -> None:
        """A server that says this and then is gone."""
        connection = ScriptedConnection(self.OK, [self.CAPA, self.OK, self.OK, *replies])
        write = connection.write

        def written(data: bytes) -> None:
            if at_end is not None and data == b"QUIT\r\n":
                raise at_end
            write(data)

        connection.write = written  # type: ignore[method-assign]
        for name, value in (("Connection", lambda *_, **__: connection),
                            ("stdin_is_terminal", lambda: False)):  # fmt: skip
            change = patch.object(places, name, value)
            change.start()
            self.addCleanup(change.stop)
        (self.folder / "pw").write_text("secret\n")
        self.options = "--pop3 localhost:1 --user bob --password-file pw"

    def test_a_server_that_is_gone_at_the_end_takes_nothing_from_what_it_said(self) -> None:
        self.serve(b"+OK 2 198\r\n")
        self.assertIn("2 mails", self.run_command(f"stat {self.options}").output)

    def test_nobody_knows_what_was_deleted_where_it_is_gone_then(self) -> None:
        for error, code in ((None, 75), (KeyboardInterrupt(), 130)):
            self.serve(self.LIST, self.OK, at_end=error)
            told = self.refusal(f"delete 1 {self.options}", code)
            self.assertIn("nobody knows whether they were deleted", told)

    def test_a_subject_steers_no_terminal_by_a_mistake(self) -> None:
        self.serve(self.LIST, self.HEAD, self.HEAD)
        told = self.refusal(f"read bill {self.options}", 65)
        self.assertIn("2 mails have 'bill'", told)
        self.assertTrue(told.isprintable(), told)

    def test_mails_are_deleted_by_numbers_and_ranges(self) -> None:
        self.serve(self.LIST, self.OK + self.OK, self.OK)
        told = self.run_command(f"delete 1-2 {self.options}").output
        self.assertIn("deleted 2 mails", told)
        for which, code, words in (
            ("3-4", 67, "there is no mail 3 to 4; nothing was deleted"),
            ("1 3", 67, "there is no mail 3; nothing was deleted"),
            ("invoice", 64, "what is deleted is named by numbers"),
            ("1 bob@x.test", 64, "stands in --user: `mailnode delete 1 --user bob@x.test`"),
        ):
            self.serve(self.LIST, self.OK)
            self.assertIn(words, self.refusal(f"delete {which} {self.options}", code))
        told = self.refusal(f"read 1 bob@x.test {self.options}", 64)
        self.assertIn("`mailnode read 1 --user bob@x.test`", told)

    def test_all_is_asked_about_on_a_terminal(self) -> None:
        for options, answer, deleted in (
            ("", False, 0), ("", True, 2), ("--yes", None, 2), ("--json", None, 2),
        ):  # fmt: skip
            self.serve(self.LIST, *((self.OK + self.OK,) if deleted else ()), self.OK)
            with (
                patch.object(commands, "stdin_is_terminal", lambda: True),
                patch.object(commands.click, "confirm", return_value=answer) as asked,
            ):
                told = self.run_command(f"delete all {options} {self.options}").output
            self.assertEqual(answer is not None, asked.called, options)
            if asked.called:
                self.assertEqual("Delete 2 mails of bob for good?", asked.call_args.args[0])
            if options != "--json":
                self.assertIn(f"deleted {deleted} mails", told)

    def test_a_watch_says_what_it_watches_and_once_that_nobody_is_there(self) -> None:
        looks: list[Any] = [([], set()), Unreachable("gone"), Unreachable("gone"), ([], set()),
                            ([], set()), Unreachable("gone"), KeyboardInterrupt()]  # fmt: skip
        self.serve()
        with (
            patch.object(watching, "look", side_effect=looks),
            patch.object(watching.time, "sleep"),
        ):
            told = self.run_command(f"watch {self.options}").stderr.splitlines()
        again = "mailnode: gone; it is tried again"
        self.assertEqual(
            ["mailnode: watching bob, every 5 s; Ctrl-C ends it", again,
             "mailnode: it is there again", again], told,
        )  # fmt: skip

    def test_an_empty_standard_input_is_an_empty_mail_and_a_note(self) -> None:
        with patch.object(send, "hand_over", return_value=[("b@x.test", TAKEN)]) as handed:
            done = self.run_command("send --from a@x.test --to b@x.test --subject s")
        self.assertIn("note: body: it is empty", done.stderr)
        self.assertTrue(handed.call_args.args[1].open().read().endswith(b"\r\n\r\n"))

    def test_whoever_stops_sending_is_not_told_that_nothing_was_sent(self) -> None:
        with patch.object(places.Submission, "open", side_effect=KeyboardInterrupt):
            self.serve()
            line = "send --smtp localhost:1 --from a@x.test --to b@x.test --subject s x"
            told = self.refusal(line, 130)
        self.assertIn("nobody knows whether it was sent", told)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@define
class SoonTimer:
    """A second is over at once."""

    after_s: float
    do: Callable[[], None]
    daemon: bool = False

    def start(self) -> None:
        self.do()

    def cancel(self) -> None:
        """It is too late."""

    def join(self) -> None:
        """It is over."""


@define
class FakeSocket:
    """A socket of a pair, which has no TCP to be told of."""

    socket: socket.socket

    def setsockopt(self, *_: object) -> None:
        """It has none."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.socket, name)


class ShownTests(CommandCase):
    def waited(self, stderr: io.StringIO) -> str:
        os.environ["TERM"] = "xterm"
        with patch.object(progress, "Timer", SoonTimer), patch("sys.stderr", stderr):
            with progress.waiting_for("mail.test\x1b[2J:995"):
                pass
            return stderr.getvalue()

    def test_a_terminal_says_who_is_waited_for_and_nothing_else_does(self) -> None:
        shown = self.waited(Terminal())
        self.assertIn("waiting for mail.test\N{REPLACEMENT CHARACTER}[2J:995", shown)
        self.assertTrue(shown.endswith("\x1b[2K"), "its line is cleared")
        self.assertEqual("", self.waited(io.StringIO()))

    def test_a_server_that_does_not_greet_is_told_with_what_it_may_wait_for(self) -> None:
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        told: list[str] = []

        def greet(why: str) -> None:
            told.append(why)
            theirs.sendall(b"+OK ready\r\n")

        with (
            patch.object(connection, "PATIENCE_S", 0.01),
            patch.object(connection.socket, "create_connection", return_value=FakeSocket(ours)),
        ):
            found = connection.Connection(Server("localhost", 1), Trust(), on_silence=greet)
            found.expect_greeting()
        self.assertEqual(b"+OK ready", found.read_line())
        (why,) = told
        self.assertIn("it says nothing yet; does TLS begin at once there?", why)

    def test_what_is_told_of_a_wait_stands_beside_it(self) -> None:
        os.environ["TERM"] = "xterm"
        with patch.object(progress, "Timer", SoonTimer), patch("sys.stderr", Terminal()) as stderr:
            with progress.waiting_for("mail.test:995") as tell:
                tell("it says nothing\x1b[2J")
            shown = stderr.getvalue()
        self.assertIn("waiting for mail.test:995: it says nothing\N{REPLACEMENT CHARACTER}", shown)
        with progress.waiting_for("mail.test:995") as tell:
            tell("nobody sees it")

    def test_a_sign_in_says_whom_it_waits_for(self) -> None:
        ctx = click.Context(ClientCommand("x", example="x"))
        for name, value in {"pop3": "localhost:1", "user": "bob", "password_file": "pw"}.items():
            places.choose(ctx, name, value)
        (self.folder / "pw").write_text("secret\n")
        with (
            patch.object(places, "Connection"),
            patch.object(places.Maildrop, "open"),
            patch.object(places, "waiting_for") as waiting,
        ):
            Place(ctx).maildrop()
        waiting.assert_called_once_with("localhost:1")

    def test_a_date_that_no_clock_shows_is_not_shown(self) -> None:
        for at in (1e300, -1e300, float("inf"), float("nan"), 253402300799.0 + 86400):
            self.assertEqual("", output.day_and_time(at))
        with patch.dict(os.environ, {"TZ": "UTC"}):
            time.tzset()
            self.addCleanup(time.tzset)
            self.assertEqual("1970-01-01 00:01", output.day_and_time(60.0))
