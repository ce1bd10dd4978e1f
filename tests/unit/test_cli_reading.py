"""`list`, `read` and `watch` where servers and mails mean harm: one line, no steered terminal."""

from __future__ import annotations

import base64
import io
from unittest.mock import patch

from mailnode.cli import maildrop as commands
from mailnode.cli import output
from mailnode.cli.places import Place
from mailnode.cli.watching import look
from mailnode.client.maildrop import Maildrop
from tests.unit.cli_case import CommandCase
from tests.unit.client_case import ScriptedConnection

WHERE = "--pop3 localhost:1 --user bob@x.test"
LIST = b"+OK\r\n1 100\r\n.\r\n"
HEAD = b"From: a@b.example\r\nSubject: hi\r\n"
EVIL = "\x1b]0;own\x07\x9b31m\u202egpj"


def body(octets: bytes) -> bytes:
    return b"+OK\r\n" + octets + b"\r\n.\r\n"


class HostileCase(CommandCase):
    def serve(self, *replies: bytes) -> None:
        connection = ScriptedConnection(b"", replies)
        opened = patch.object(Place, "maildrop", lambda place: Maildrop(connection))
        opened.start()
        self.addCleanup(opened.stop)

    def read(self, mail: bytes, options: str = "") -> str:
        self.serve(LIST, body(mail), b"+OK\r\n")
        return self.run_command(f"read 1 {WHERE} {options}").stdout

    def test_a_list_says_in_words_what_nobody_knows(self) -> None:
        trace = b"Return-Path: <r@x.test>\r\nReceived: by b; Mon, 1 Jan 2024 00:00:00 +0000\r\n"
        heads = [trace, b"Return-Path: <>\r\n", HEAD + b"Date: Mon, 1 Jan 2024 00:00:00 +0000\r\n"]
        three = b"+OK\r\n1 100\r\n2 100\r\n3 100\r\n.\r\n"
        at = output.day_and_time(1704067200)
        for options in ("", "--json"):
            self.serve(three, *map(body, heads), b"+OK 3 300\r\n", b"+OK\r\n")
            if options:
                lines = self.run_json(f"list {WHERE}")
                told = [(each["sender"], each["at"]) for each in lines]
                self.assertEqual([("r@x.test", 1704067200.0), ("", None)], told[:2])
            else:
                lines = self.run_command(f"list {WHERE}").stdout.splitlines()
                self.assertRegex(lines[1], rf"1  r@x\.test +{at} ")
                self.assertRegex(lines[2], r"2  \(no sender\)  \(no date\) ")
                self.assertRegex(lines[3], rf"3  a@b\.example +{at} ")

    def test_several_are_read_one_after_the_other(self) -> None:
        two = b"+OK\r\n1 100\r\n2 100\r\n.\r\n"
        for which in ("1-2", "1 2", "all", "2,1"):
            self.serve(two, body(HEAD + b"\r\nfirst"), body(HEAD + b"\r\nsecond"), b"+OK\r\n")
            shown = self.run_command(f"read {which} {WHERE}").stdout
            self.assertIn("first", shown)
            self.assertIn("second", shown)
        self.serve(two, body(HEAD), body(HEAD), b"+OK\r\n")
        self.assertEqual([1, 2], [each["number"] for each in self.run_json(f"read 1-2 {WHERE}")])

    def test_numbers_that_no_mailbox_has_are_one_line(self) -> None:
        for digits in (400, 5000):
            self.serve(b"+OK\r\n1 " + b"9" * digits + b"\r\n.\r\n")
            self.assertIn("what is no reply to it", self.refusal(f"list {WHERE}", 76))
            self.assertIn(
                "is no number of a mail", self.refusal(f"read {'9' * digits} {WHERE}", 64)
            )

    def test_html_that_no_parser_takes_is_shown_as_browsers_do(self) -> None:
        shown = self.read(HEAD + b"Content-Type: text/html\r\n\r\n<p>a<![<![ b>c")
        self.assertEqual(["ac"], shown.splitlines()[-1:])

    def test_of_a_mail_that_is_too_deep_it_is_said_that_there_is_more(self) -> None:
        deep = HEAD + b"Content-Type: message/rfc822\r\n\r\n" * 300 + b"\r\ninmost"
        for options in ("", "--json"):
            shown = self.read(deep, options)
            self.assertIn("message/rfc822", shown)
            self.assertIn("the rest is not shown: `read --raw` and `save`", shown)

    def test_what_a_stranger_wrote_steers_no_terminal(self) -> None:
        evil = EVIL.encode()
        word = b"=?utf-8?b?" + base64.b64encode(evil) + b"?="
        mail = HEAD + b"To: " + word + b"\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n" + evil
        shown = self.read(mail)
        for each in "\x1b\x07\x9b\u202e":
            self.assertNotIn(each, shown)
        self.assertEqual(2, shown.count("31m"))

    def test_nor_does_a_mail_as_it_came(self) -> None:
        class Terminal(io.StringIO):
            def isatty(self) -> bool:
                return True

        self.assertIn(EVIL, self.read(HEAD + b"\r\n" + EVIL.encode(), "--raw"))
        with patch.object(commands.sys, "stdout", Terminal()) as terminal:
            commands._write(HEAD + b"\r\n" + EVIL.encode() + b"\r\n")
        for each in "\x1b\x07\x9b\u202e\r":
            self.assertNotIn(each, terminal.getvalue())
        self.assertTrue(terminal.getvalue().endswith("31m\ufffdgpj\n"))

    def test_a_text_is_shown_whole_in_pieces(self) -> None:
        text = "".join(f"{at:07}\r\n" for at in range(20_000))
        self.assertTrue(self.read(HEAD + b"\r\n" + text.encode()).endswith(text.replace("\r", "")))

    def test_a_uidl_of_a_mail_that_is_not_there_is_passed_over(self) -> None:
        self.serve(b"+OK\r\n1 a\r\n7 b\r\n.\r\n", LIST, body(HEAD), b"+OK\r\n")
        (line,), known = look(Place(None), {"x"})  # type: ignore[arg-type]
        self.assertEqual((1, {"a", "b"}), (line.number, known))
