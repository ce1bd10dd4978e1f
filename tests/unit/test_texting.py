"""A text by a program of the administrator's: what it is given, and how its failures are told."""

from __future__ import annotations

import os
import stat
import sys
import time
from pathlib import Path

from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase, TestCase

from mailnode.texting import MOST_TOLD, TextFailed, read_number, send_text


class NumberTests(SynchronousTestCase):
    def test_what_parts_digits_is_no_part_of_a_number(self) -> None:
        for typed in ("+49 30 1234567", "+49 (30) 123-45-67", "+49.30/1234567"):
            self.assertEqual("+49301234567", read_number(typed))
        self.assertEqual("0301234567", read_number("030 1234567"))

    def test_nothing_that_a_program_could_take_for_an_option_or_a_command_is_one(self) -> None:
        for typed in (
            "",
            "-v",
            "--help",
            "+49;rm",
            "$(id)",
            "12\n34567",
            "1234",
            "1" * 16,
            "١٢٣٤٥٦",
        ):
            number = read_number(typed)
            self.assertTrue(number is None or (number.isascii() and number.isdigit()), typed)
            self.assertNotEqual(typed, number)


class SendTests(TestCase):
    timeout = 60

    def program(self, text: str) -> list[str]:
        path = Path(self.mktemp())
        path.write_text(f"#!{sys.executable}\nimport os, sys, time\n{text}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return [str(path.resolve()), "--from", "node; echo"]

    def told(self) -> Path:
        """Where a program writes."""
        return Path(self.mktemp()).resolve()

    async def failure(self, command: list[str], timeout_s: float = 30.0) -> str:
        try:
            await send_text(reactor, command, "+49301234567", "text", timeout_s)
        except TextFailed as failed:
            return str(failed)
        self.fail("it did not fail")

    async def test_the_number_is_its_last_argument_and_the_text_its_input(self) -> None:
        told = self.told()
        command = self.program(
            f"open({str(told)!r}, 'w').write(repr((sys.argv[1:], sys.stdin.read())))"
        )
        await send_text(reactor, command, "+49301234567", "123456 is \u00e9 `id`\n")
        wanted = (["--from", "node; echo", "+49301234567"], "123456 is \u00e9 `id`\n")
        self.assertEqual(repr(wanted), told.read_text())

    async def test_it_knows_nothing_of_the_node_s_environment(self) -> None:
        self.patch(os, "environ", {**os.environ, "MAILNODE_TLS__KEY_FILE": "secret"})
        told = self.told()
        command = self.program(f"open({str(told)!r}, 'w').write(repr(sorted(os.environ)))")
        await send_text(reactor, command, "+49301234567", "text")
        self.assertNotIn("MAILNODE", told.read_text())
        self.assertIn("PATH", told.read_text())

    async def test_one_that_fails_is_told_with_what_it_said(self) -> None:
        failed = await self.failure(self.program("sys.exit('no \\x1b[1m credit')"))
        self.assertIn("exit code 1", failed)
        self.assertIn("no  [1m credit", failed)

    async def test_what_it_says_is_kept_in_bounds(self) -> None:
        failed = await self.failure(self.program("sys.exit('x' * 100000)"))
        self.assertLess(len(failed), MOST_TOLD + 200)

    async def test_one_that_is_not_there_is_told(self) -> None:
        self.assertTrue(await self.failure(["/nonexistent/texter"]))

    async def test_one_that_hangs_is_ended_and_nobody_waits_for_it(self) -> None:
        began = time.monotonic()
        failed = await self.failure(self.program("time.sleep(600)"), timeout_s=0.5)
        self.assertIn("ended", failed)
        self.assertLess(time.monotonic() - began, 30)

    async def test_what_it_has_started_itself_keeps_nobody_waiting(self) -> None:
        began = time.monotonic()
        failed = await self.failure(self.program("os.fork() or time.sleep(60)"), timeout_s=0.5)
        self.assertIn("ended", failed)
        self.assertLess(time.monotonic() - began, 30)

    async def test_one_that_reads_nothing_does_not_hang_it(self) -> None:
        await send_text(reactor, self.program("pass"), "+49301234567", "x" * 1000)
