"""Which exit code a mistake has: 75 where later may do, 66 where an input isn't there."""

from __future__ import annotations

import importlib
import socket
import ssl
from unittest.mock import patch

from mailnode.client import connection
from mailnode.client.connection import Server, Trust
from mailnode.client.trouble import NotTrusted
from mailnode.outbound.words import Answer
from tests.unit.cli_case import CommandCase

send = importlib.import_module("mailnode.cli.send")  # the package has the command by this name

LETTER = "send --smtp localhost:1 --from a@x.test --to b@x.test --subject s"
BOX = "--pop3 localhost:1 --user bob --password-file pw"


class ServerTests(CommandCase):
    def setUp(self) -> None:
        super().setUp()
        (self.folder / "pw").write_text("secret\n")
        self.make_accounts("bob@x.test")

    def fails(self, error: OSError, line: str, code: int) -> str:
        with patch.object(connection.socket, "create_connection", side_effect=error):
            return self.refusal(line, code)

    def test_a_server_that_is_down_is_75_whoever_asks(self) -> None:
        refused = ConnectionRefusedError(111, "Connection refused")
        for line in (f"{LETTER} x", f"list {BOX}", f"stat {BOX}", f"watch {BOX}"):
            told = self.fails(refused, line, 75)
            self.assertIn("there is no connection to localhost:1: Connection refused", told)
        line = "import pop3://bob@localhost:1 --to bob@x.test --password-file pw"
        with patch.object(connection.socket, "create_connection", side_effect=refused):
            self.assertIn("Connection refused", self.run_command(line, exit_code=75).stderr)

    def test_a_name_that_no_host_has_is_68_and_one_that_nobody_could_look_up_75(self) -> None:
        for number, code in ((socket.EAI_NONAME, 68), (socket.EAI_AGAIN, 75)):
            told = self.fails(socket.gaierror(number, "why"), f"list {BOX}", code)
            self.assertIn("localhost can't be found: why", told)

    def test_a_port_without_tls_is_76(self) -> None:
        error = ssl.SSLError(1, "wrong version number")
        error.reason = "WRONG_VERSION_NUMBER"

        class Context:
            def wrap_socket(self, *_: object, **__: object) -> None:
                raise error

        line = "list --pop3 pop3s://localhost:1 --user bob --password-file pw"
        with (
            patch.object(connection.socket, "create_connection"),
            patch.object(Trust, "context", return_value=Context()),
        ):
            self.assertIn("no TLS with localhost:1", self.refusal(line, 76))

    def test_the_words_of_a_certificate_end_without_a_full_stop(self) -> None:
        error = ssl.SSLCertVerificationError()
        error.verify_message = "IP address mismatch, certificate is not valid for '127.0.0.1'."

        class Context:
            def wrap_socket(self, *_: object, **__: object) -> None:
                raise error

        with (
            patch.object(connection.socket, "create_connection"),
            patch.object(Trust, "context", return_value=Context()),
            self.assertRaisesRegex(NotTrusted, "valid for '127.0.0.1'; if you know"),
        ):
            connection.Connection(Server("localhost", 1, True), Trust())

    def test_a_server_that_wants_a_sign_in_is_77_and_the_options_are_named(self) -> None:
        wanted = [("b@x.test", Answer(530, "5.7.0", "Authentication required", "MAIL"))]
        with patch.object(send, "hand_over", return_value=wanted):
            done = self.run_command(f"{LETTER} x", exit_code=77)
        self.assertIn("refused for b@x.test: 530", done.stdout)
        self.assertIn("say as whom by --user NAME", done.stderr)
        self.assertIn("--password-file FILE", done.stderr)


class InputTests(CommandCase):
    def test_what_is_to_be_read_and_is_not_there_is_66(self) -> None:
        self.make_accounts("carol@example.org")
        for line, words in (
            ("import gone --to carol@example.org", "gone: No such file"),
            ("check gone", "there is no file gone"),
            (f"{LETTER} --attach gone x", "gone: No such file"),
            (f"{LETTER} --html gone x", "gone: No such file"),
            ("list --pop3 localhost:1 --user bob --password-file gone", "gone: No such file"),
            ("list --pop3 localhost:1 --user bob --password-file .", ".: Is a directory"),
            ("route add '*' smtps://carol@relay.example --password-file gone", "No such file"),
            ("backups list gone", "there is no folder gone"),
            ("backups verify gone", "there is no folder gone"),
            ("restore gone --to new", "there is no folder gone"),
        ):
            self.assertIn(words, self.refusal(line, 66), line)

    def test_so_are_certificates_to_believe(self) -> None:
        (self.folder / "pw").write_text("secret\n")
        line = "list --pop3 pop3s://localhost:1 --user bob --password-file pw --trust gone"
        with patch.object(connection.socket, "create_connection"):
            self.assertIn("gone: No such file", self.refusal(line, 66))

    def test_a_userinfo_is_moved_in_by_its_folder(self) -> None:
        self.make_accounts("carol@example.org")
        (self.folder / "old").mkdir()
        (self.folder / "old/userinfo.txt").write_text("ann secret words\n")
        told = self.refusal("import old/userinfo.txt --domain example.org", 65)
        self.assertIn(f"lies in: {self.folder / 'old'}", told)
        self.assertNotIn("--format", told)
